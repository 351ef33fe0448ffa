# SPDX-License-Identifier: GPL-2.0-only
"""The lines that attempts leave in the kernel log, and which attempt a line belongs to; and those
that say that lines are missing, or that a program died. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.model import Splat
from harness.parse import starved

_ALIKE = 4  # reports of the same that are kept
_VARIES = re.compile(r"0x[0-9a-f]+|\d+")  # in a title
_DROPPED = re.compile(r"\*\* (\d{1,9}) printk messages dropped \*\*")
# arch/x86/mm/fault.c: show_signal_msg(), arch/x86/kernel/traps.c: show_signal(), of v3.11 too;
# arch/arm64/kernel/traps.c: arm64_show_signal()
_FAULTED = re.compile(
    r"\b(?:traps: \S{1,16}\[\d{1,10}\]:? (?:trap |general protection)"
    r"|\S{1,16}\[\d{1,10}\]: (?:segfault at |unhandled exception: )).{0,200}"
)
_MARK = re.compile(r"\bpinpage: attempt (\d{1,9}) (begins|ends)\b")


def begins(number: int, what: str) -> str:
    """The line before an attempt; what: its trigger and target, for who reads the log, of which
    one line has to do: a second one might look like a report."""
    return f"pinpage: attempt {number} begins: {' '.join(what.split())}"


def ends(number: int) -> str:
    return f"pinpage: attempt {number} ends"


def spans(lines: Iterable[str]) -> list[tuple[int, int, int]]:
    """(attempt, first line, last line), counted from 1; one that never ended lasts to the end."""
    found: list[tuple[int, int, int]] = []
    open_at: dict[int, int] = {}
    last = 0
    for last, line in enumerate(lines, 1):
        mark = _MARK.search(line)
        if mark is None:
            continue
        number = int(mark[1])
        if mark[2] == "begins":
            open_at[number] = last
        elif number in open_at:
            found.append((number, open_at.pop(number), last))
    found += [(number, first, last) for number, first in open_at.items()]
    return sorted(found, key=lambda span: span[1])


def dropped(lines: Iterable[str]) -> int:
    """Messages that a console never got (kernel/printk/printk.c: console_prepend_dropped())."""
    return sum(int(found[1]) for line in lines if (found := _DROPPED.search(line)))


def faulted(lines: Iterable[str]) -> list[str]:
    """What the kernel says of programs that met a fault and were not ready for it."""
    return [found[0].strip() for line in lines if (found := _FAULTED.search(line))]


def thinned(splats: Iterable[Splat]) -> list[Splat]:
    """The first few of those that say the same in one attempt: a bug in a loop may report itself
    ten thousand times. The first of all knows how many more there were."""
    kept: list[Splat] = []
    alike: dict[tuple[object, ...], list[int]] = {}
    dropped: Counter[int] = Counter()
    for splat in splats:
        what = _VARIES.sub("#", splat.title)
        of = (splat.arm, splat.during, splat.fatal, splat.provoked)
        excuse = bool(starved.excuse(splat.kind, splat.report))
        own = alike.setdefault((splat.kind, splat.function, what, excuse, *of), [])
        if len(own) < _ALIKE:
            own.append(len(kept))
            kept.append(replace(splat, again=0))
        else:
            dropped[own[0]] += 1
        dropped[own[0]] += splat.again
    return [replace(splat, again=dropped[at]) for at, splat in enumerate(kept)]


def attribute(splats: Iterable[Splat], lines: Sequence[str], arm: str) -> list[Splat]:
    """The splats of an arm's console, each with the attempt that it fell into, if any."""
    tried = spans(lines)
    return [
        replace(
            splat,
            arm=arm,
            during=next(
                (n for n, first, last in tried if first < splat.first_line < last),
                0,
            ),
        )
        for splat in splats
    ]
