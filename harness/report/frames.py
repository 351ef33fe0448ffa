# SPDX-License-Identifier: GPL-2.0-only
"""A report's functions with their lines, and what patches have to do with them, as text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.model import Culprit, Frame, Place, Splat
from harness.parse import blocked, splat_sections
from harness.parse.splat_sections import NONE, Heading
from harness.parse.splat_trace import helper, reporting
from harness.report.text import visible

_WIDEST = 40
# Of a report in short:
_FIRST = 16  # functions
_BESIDE = 2  # of those that stand in no stack
_OTHERS = 5  # of who allocated and who freed what is used
_ALLOCATOR = 12  # within so many functions its own end
_WHOSE = re.compile(r"(?:[Aa]llocated|[Ff]reed) by task ")
_SAID = 5  # lines of words
_WORDS = 120  # characters of each, and of a heading
_LEFT, _HEADING = 4, 40  # headings of what is left out, and characters of each


def blame(splat: Splat) -> str:
    """The patch that a report accuses, on one line; "" if it accuses none."""
    word = blocked.ON_THE_STACK if splat.kind == blocked.KIND else "blame"
    return f"{word}: {splat.culprit.said}" if splat.culprit is not None else ""


def lines(splat: Splat) -> list[str]:
    """Each stack under its heading, a line for each function, an inlined one before what it is
    inlined into. Empty where not one line is known."""
    stacks = _stacks(splat, splat_sections.sections(splat.report).heading)
    if not _known(stacks):
        return []
    width = _width([row for rows in stacks.values() for row in rows])
    found: list[str] = []
    for (_, heading), rows in stacks.items():
        indent = "  " if heading else ""
        found += [heading] if heading else []
        found += [f"{indent}{_line(row, width)}" for row in rows]
    return found


def short(splat: Splat) -> list[str]:
    """What the kernel says in words, and the stack of the report itself (else each in short) from
    where it no longer only reports, the line that is blamed always; what else there is by its
    heading. Empty where not one line is known."""
    parts = splat_sections.sections(splat.report)
    stacks = _stacks(splat, parts.heading)
    if not _known(stacks):
        return []
    traces = [each for each in stacks if splat_sections.is_trace(each)]
    accused = [each for each in traces if any(_is(row, splat.culprit) for row in stacks[each])]
    own = [*accused, *traces][:1] or [*stacks]
    picked: dict[Heading, Sequence[_Row | None]] = {}
    if NONE in stacks and NONE not in own:  # where it stood, in front of who called it
        picked[NONE] = stacks[NONE][:_BESIDE]
    picked |= {each: _picked(stacks[each], _FIRST // len(own), splat.culprit) for each in own}
    whose = [each for each in stacks if each not in picked and _WHOSE.match(each[1])]
    picked |= {each: _asked(stacks[each])[:_OTHERS] for each in whose}
    width = _width([row for rows in picked.values() for row in rows if row is not None])
    found = [_cut(text, _WORDS) for text in parts.said[:_SAID]]
    for (_, heading), rows in picked.items():
        found += [_cut(heading, _WORDS)] if heading else []
        indent = "  " if heading else ""
        found += [f"{indent}{'…' if row is None else _line(row, width)}" for row in rows]
    left = [_cut(each[1].rstrip(":"), _HEADING) for each in stacks if each not in picked]
    if left:
        found.append(f"and: {', '.join(left[:_LEFT])}{', …' if len(left) > _LEFT else ''}")
    return found


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


@dataclass(frozen=True)
class _Row:
    """name: as it is printed. frame: what it is of. place: its line, None where it is not known."""

    name: str
    frame: Frame
    place: Place | None


def _known(stacks: Mapping[Heading, Sequence[_Row]]) -> bool:
    return any(row.place is not None for rows in stacks.values() for row in rows)


def _width(rows: Sequence[_Row]) -> int:
    return min(max(len(row.name) for row in rows), _WIDEST)


def _stacks(splat: Splat, heading: Mapping[int, Heading]) -> dict[Heading, list[_Row]]:
    """The functions of a report by the heading of their stack, NONE for what stands in none: that
    is left out where a stack has it, too, and where it is said twice (registers are)."""
    named = [(heading.get(frame.line, NONE), frame) for frame in splat.frames]
    known = {_key(frame) for under, frame in named if under != NONE}
    found: dict[Heading, list[_Row]] = {}
    for under, frame in named:
        if under == NONE:
            if _key(frame) in known:
                continue
            known.add(_key(frame))
        found.setdefault(under, []).extend(_rows(frame))
    return found


def _key(frame: Frame) -> tuple[str, str, int]:
    return frame.module, frame.function, frame.offset


def _picked(rows: Sequence[_Row], most: int, blamed: Culprit | None) -> list[_Row | None]:
    """So many of a stack's, without what only reports in front and what the kernel doubts; None
    is what was left out before the line that is blamed."""
    sure = [row for row in rows if row.frame.sure] or list(rows)
    from_ = next((n for n, row in enumerate(sure) if not reporting(row.frame.function)), 0)
    told = sure[from_:]
    at = next((n for n, row in enumerate(told) if _is(row, blamed)), 0)
    return [*told[:most]] if at < most else [*told[: most - 2], None, told[at]]


def _asked(rows: Sequence[_Row]) -> Sequence[_Row]:
    """Who allocated or freed, without the allocator and what watches it."""
    names = [row.frame.function for row in rows[:_ALLOCATOR]]
    from_ = max(
        (n for n, name in enumerate(names, 1) if reporting(name) or helper(name)), default=0
    )
    return rows[from_:]


def _is(row: _Row, blamed: Culprit | None) -> bool:
    place = row.place
    return (
        blamed is not None
        and place is not None
        and (place.file, place.line) == (blamed.file, blamed.line)
    )


def _rows(frame: Frame) -> Iterator[_Row]:
    doubt = "" if frame.sure else "? "
    for place in frame.places[:-1]:
        yield _Row(f"{doubt}{place.function} (inlined)", frame, place)
    module = f" [{frame.module}]" if frame.module else ""
    yield _Row(
        f"{doubt}{frame.function}{module}", frame, frame.places[-1] if frame.places else None
    )


def _line(row: _Row, width: int) -> str:
    place = row.place
    if place is None:
        return f"{row.name:<{width}}  -"
    patch = f"by {place.patch.removesuffix('.patch')}" if place.patch else ""
    return f"{row.name:<{width}}  {place.file}:{place.line}  {patch}".rstrip()


def of_record(report: Mapping[str, Any]) -> list[str]:
    """A report of run.json in short: its title, whom it accuses, and its first functions with
    their lines, or as it was printed where not one line is known."""
    blamed = report["blame"]
    head = [report["title"], *([f"blame: {blamed['said']}"] if blamed is not None else [])]
    splat = Splat(
        report["kind"],
        report["title"],
        "",
        report["first_line"],
        report["last_line"],
        report["report"],
        frames=tuple(_frame(each) for each in report["frames"]),
        culprit=None if blamed is None else _culprit(blamed),
    )
    rest = short(splat) or report["report"].splitlines()[:_FIRST]
    return [visible(line).rstrip() for line in (*head, *(f"  {line}" for line in rest))]


def _frame(each: Mapping[str, Any]) -> Frame:
    return Frame(
        each["line"],
        each["function"],
        each["offset"],
        0,
        each["module"],
        sure=each["sure"],
        places=tuple(Place(**place) for place in each["places"]),
    )


def _culprit(blamed: Mapping[str, Any]) -> Culprit:
    names = ("patch", "subject", "file", "line", "function", "brought", "inside")
    return Culprit(**{name: blamed[name] for name in names})
