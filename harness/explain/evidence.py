# SPDX-License-Identifier: GPL-2.0-only
"""What a run's events, consoles and reports say beside its ledger. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.errors import EvidenceError
from harness.explain.classify import BUSY_RANGE, FULL_AREA, Facts
from harness.model import Event, Splat
from harness.parse import marks, pageflags
from harness.parse.cma import Area

_LINES = 4  # of the kernel log that are kept of an attempt
_STARVED = "alloc-failure"  # kind of a report
_TELLING = re.compile(f"(?:{BUSY_RANGE.pattern})|(?:{FULL_AREA.pattern})")
# Counters that say how migration fared; those that a kernel lacks are left out.
COUNTERS = (
    *("pgmigrate_success", "pgmigrate_fail", "thp_migration_fail", "compact_stall"),
    *("compact_fail", "compact_success", "cma_alloc_fail"),
)


@dataclass(frozen=True)
class Counts:
    """The kernel's own figures of an arm's drive.

    traced: reason of migrate_pages() → (pages that moved, pages that failed). vmstat: counter → how
    much it grew. reached: a zone's first and last frame → how many compactions of it ended, and the
    furthest frame to which one of them came with looking for pages to move.
    """

    traced: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    vmstat: Mapping[str, int] = field(default_factory=dict)
    reached: Mapping[tuple[int, int], tuple[int, int]] = field(default_factory=dict)


def wanted(source: str, name: str) -> bool:
    """Whether an event is one that is looked at here."""
    return (source, name) in _WANTED


_WANTED = frozenset(
    {
        ("pageflags", "flags"),
        ("memory", "block"),
        ("vmstat", "vmstat"),
        ("harness", "area"),
        ("pinner", "ledger"),
        ("trace", "mm_migrate_pages"),
        ("trace", "mm_compaction_end"),
    }
)


def facts(arm: str, events: Iterable[Event], console: str, splats: Sequence[Splat]) -> Facts:
    """EvidenceError where an event has not the form that its name promises."""
    released: dict[int, frozenset[str]] = {}
    zones: dict[str, str] = {}
    area: Area | None = None
    pinned: dict[str, dict[int, int]] = {}
    for event in events:
        if event.arm != arm:
            continue
        try:
            if (event.source, event.name) == ("memory", "block"):
                movable = str(event.data["how"]).endswith("movable")
                zones[str(event.data["block"])] = "movable" if movable else "kernel"
            elif (event.source, event.name) == ("pageflags", "flags"):
                _released(released, event)
            elif (event.source, event.name) == ("harness", "area"):
                area = Area("", _number(event.data["first"]), _number(event.data["count"]))
            elif (event.source, event.name) == ("pinner", "ledger"):
                pinned[str(event.data["when"])] = _frames(event.data["rows"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise _malformed(event, error) from error
    starved = frozenset(s.during for s in splats if s.arm == arm and s.kind == _STARVED)
    lines = log(console.splitlines())
    return Facts(released, lines, starved - {0}, zones, _unpinned(area, pinned))


def _frames(rows: object) -> dict[int, int]:
    """Handle → frame, of a ledger."""
    found = {}
    for row in _list(rows, "rows"):
        handle, _, frame, *_ = _list(row, "a row")
        found[_number(handle)] = _number(frame)
    return found


def _unpinned(area: Area | None, pinned: Mapping[str, Mapping[int, int]]) -> int | None:
    """See Facts. A page that is in the same frame before and after was there all the time, or was
    brought back to it, which nobody does."""
    if area is None or not {"before", "after"} <= pinned.keys():
        return None
    after = pinned["after"]
    return area.longest_run(f for handle, f in pinned["before"].items() if after.get(handle) == f)


def _list(value: object, what: str) -> Sequence[object]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"{what} is no list")
    return value


def _released(known: dict[int, frozenset[str]], event: Event) -> None:
    if event.data["when"] != "released":
        return
    for row in _list(event.data["frames"], "frames"):
        frame, flags = (_number(value) for value in _list(row, "a frame's flags"))
        names = frozenset(pageflags.names(flags))
        known[frame] = known.get(frame, names) & names


def log(lines: Sequence[str]) -> dict[int, tuple[str, ...]]:
    """Attempt → the first lines of the kernel log in it that tell of a range that was busy."""
    told = [number for number, line in enumerate(lines, 1) if _TELLING.search(line)]
    found: dict[int, tuple[str, ...]] = {}
    for attempt, first, last in marks.spans(lines):
        own = [lines[number - 1] for number in told if first < number < last]
        if own:
            found[attempt] = tuple(own[:_LINES])
    return found


def counts(arm: str, events: Iterable[Event]) -> Counts:
    """EvidenceError as above."""
    moved: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    readings: dict[str, Mapping[str, object]] = {}
    reached: dict[tuple[int, int], tuple[int, int]] = {}
    for event in events:
        if event.arm != arm:
            continue
        data = event.data
        try:
            if (event.source, event.name) == ("trace", "mm_migrate_pages"):
                reason = str(data["reason"])
                moved[reason] += _number(data["nr_succeeded"])
                failed[reason] += _number(data["nr_failed"])
            elif (event.source, event.name) == ("trace", "mm_compaction_end"):
                first, last, came = (
                    int(str(data[name]), 0) for name in ("zone_start", "zone_end", "migrate_pfn")
                )
                times, furthest = reached.get((first, last), (0, 0))
                reached[first, last] = (times + 1, max(furthest, came))
            elif (event.source, event.name) == ("vmstat", "vmstat"):
                readings[str(data["when"])] = _mapping(data["values"])
        except (KeyError, TypeError, ValueError) as error:
            raise _malformed(event, error) from error
    then, now = (readings.get(f"outer-{when}", {}) for when in ("before", "after"))
    grown = {
        name: after - before
        for name in COUNTERS
        if isinstance(before := then.get(name), int) and isinstance(after := now.get(name), int)
    }
    traced = {reason: (moved[reason], failed[reason]) for reason in moved}
    return Counts(traced, grown, reached)


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f"{str(value)[:40]!r} is no number")
    return int(value)


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError("values are no mapping")
    return value


def _malformed(event: Event, error: Exception) -> EvidenceError:
    return EvidenceError(
        f"the event {event.source} {event.name} of arm {event.arm} is malformed: {error}",
        hint="events.jsonl was written by another version, or by hand",
    )
