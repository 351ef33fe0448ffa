# SPDX-License-Identifier: GPL-2.0-only
"""A report's functions with their lines, and what patches have to do with them, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.model import Frame, Place, Splat
from harness.parse import blocked

_WIDEST = 40


def blame(splat: Splat) -> str:
    """The patch that a report accuses, on one line; "" if it accuses none."""
    word = blocked.ON_THE_STACK if splat.kind == blocked.KIND else "blame"
    return f"{word}: {splat.culprit.said}" if splat.culprit is not None else ""


def lines(splat: Splat, most: int | None = None) -> list[str]:
    """A line for each function, an inlined one before what it is inlined into.

    most: so many of them and a word on the rest. Empty where not one line is known.
    """
    frames = list(_once(splat.frames))
    if not any(frame.places for frame in frames):
        return []
    rows = [row for frame in frames for row in _rows(frame)]
    width = min(max(len(name) for name, _, _ in rows), _WIDEST)
    shown = rows if most is None else rows[:most]
    found = [f"{name:<{width}}  {where}  {patch}".rstrip() for name, where, patch in shown]
    if len(shown) < len(rows):
        found.append(f"and {len(rows) - len(shown)} more lines")
    return found


def _once(frames: Sequence[Frame]) -> Iterator[Frame]:
    """Each function and offset where it comes first: registers are printed twice."""
    seen: set[tuple[str, str, int]] = set()
    for frame in frames:
        key = (frame.module, frame.function, frame.offset)
        if key not in seen:
            seen.add(key)
            yield frame


def _rows(frame: Frame) -> Iterator[tuple[str, str, str]]:
    doubt = "" if frame.sure else "? "
    for place in frame.places[:-1]:
        yield f"{doubt}{place.function} (inlined)", f"{place.file}:{place.line}", _patch(place)
    module = f" [{frame.module}]" if frame.module else ""
    where, patch = "-", ""
    if frame.places:
        place = frame.places[-1]
        where, patch = f"{place.file}:{place.line}", _patch(place)
    yield f"{doubt}{frame.function}{module}", where, patch


def _patch(place: Place) -> str:
    return f"by {place.patch.removesuffix('.patch')}" if place.patch else ""
