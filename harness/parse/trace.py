# SPDX-License-Identifier: GPL-2.0-only
"""tracefs: the lines of ``trace`` and the counts of ``per_cpu/cpu*/stats``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from harness.errors import EvidenceError
from harness.parse.lines import integer, refuse

# comm-pid [cpu] flags time: event: fields; the comm may hold anything, so it is not read.
_LINE = re.compile(r"\[(\d{3,5})\] +(?:\S{4,6} +)?(\d{1,12}\.\d{1,9}): (\w{1,64}): ?(.*)$")
_LOST = re.compile(r"CPU:\d+ \[LOST (?:(\d{1,20}) )?EVENTS\]")
_FIELD = re.compile(r"(\w{1,40})=([^\s,(]\S*|\([^)]{0,80}\))")


@dataclass(frozen=True)
class Traced:
    """One event. fields: as printed, in the tracepoint's own words."""

    cpu: int
    time: float
    name: str
    fields: dict[str, str]


@dataclass(frozen=True)
class Trace:
    """Events in the order of the file; lost: how many it says went missing between them."""

    events: tuple[Traced, ...]
    lost: int

    def named(self, name: str) -> list[Traced]:
        return [event for event in self.events if event.name == name]


def trace(lines: Iterable[str]) -> Trace:
    events: list[Traced] = []
    lost = 0
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        if found := _LOST.match(line):
            lost += int(found[1] or 1)
            continue
        match = _LINE.search(line)
        if match is None:
            raise refuse("trace", number, "this is no event", line)
        fields = {name: value.rstrip(",") for name, value in _FIELD.findall(match[4])}
        events.append(Traced(int(match[1]), float(match[2]), match[3], fields))
    return Trace(tuple(events), lost)


def number(event: Traced, field: str) -> int:
    """A field's value, decimal or 0x…; refused where it is missing or something else."""
    word = event.fields.get(field, "")
    try:
        return int(word, 0)
    except ValueError:
        raise EvidenceError(
            f"trace: {event.name} at {event.time} has no number {field}: {word[:24]!r}",
            hint="the tracepoint's format is in /sys/kernel/tracing/events/*/*/format",
        ) from None


STATS = ("entries", "overrun", "commit overrun", "dropped events")


def stats(text: str, source: str) -> dict[str, int]:
    """The counts of one CPU's ring buffer that say whether it kept everything."""
    values: dict[str, int] = {}
    for line_number, line in enumerate(text.splitlines(), 1):
        name, colon, value = line.partition(":")
        if not colon:
            raise refuse(source, line_number, "a name and a value are due", line)
        if name in STATS:
            values[name] = integer(value.strip(), source, line_number, line)
    for name in STATS:
        if name not in values:
            raise refuse(source, 1, f"{name!r} is missing")
    return values
