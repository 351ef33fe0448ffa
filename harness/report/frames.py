# SPDX-License-Identifier: GPL-2.0-only
"""A report's functions with their lines, and what patches have to do with them, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.model import Frame, Place, Splat
from harness.parse import blocked
from harness.report.text import visible

_WIDEST = 40
_FIRST = 16  # lines of a report in short


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


def of_record(report: Mapping[str, Any]) -> list[str]:
    """A report of run.json in short: its title, whom it accuses, and its first functions with
    their lines, or as it was printed where not one line is known."""
    blamed = report["blame"]
    head = [report["title"], *([f"blame: {blamed['said']}"] if blamed is not None else [])]
    found = tuple(
        Frame(
            each["line"],
            each["function"],
            each["offset"],
            0,
            each["module"],
            sure=each["sure"],
            places=tuple(Place(**place) for place in each["places"]),
        )
        for each in report["frames"]
    )
    splat = Splat(report["kind"], report["title"], "", 0, 0, report["report"], frames=found)
    rest = lines(splat, _FIRST) or report["report"].splitlines()[:_FIRST]
    return [visible(line).rstrip() for line in (*head, *(f"  {line}" for line in rest))]
