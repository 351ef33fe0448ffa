# SPDX-License-Identifier: GPL-2.0-only
"""A window of tracepoints around a drive, and what it saw as events."""

from __future__ import annotations

from harness import busybox
from harness.model import JSON, Guest
from harness.parse import trace
from harness.scenario.recorder import Recorder

EVENTS = (
    "migrate/mm_migrate_pages",
    "kmem/mm_page_free",
    "compaction/mm_compaction_begin",
    "compaction/mm_compaction_end",
    "compaction/mm_compaction_isolate_migratepages",
)
_NAMES = frozenset(name.rpartition("/")[2] for name in EVENTS)
_MARK = "tracing_mark_write"  # what is written to trace_marker
_SUMMED = "mm_compaction_isolate_migratepages"
_PLACES = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
BUFFER_KIB = 16384  # for each CPU; a page freed takes some 32 bytes of it


def _place(guest: Guest) -> str | None:
    guest.run(
        "[ -d /sys/kernel/tracing ] && ! grep -q ' /sys/kernel/tracing ' /proc/mounts"
        " && mount -t tracefs tracefs /sys/kernel/tracing"
    )
    for place in _PLACES:
        if guest.run(f"[ -w {place}/tracing_on ]").status == 0:
            return place
    return None


class Window:
    """Tracing that is on between ``open`` and ``close``; without tracefs it says so instead."""

    def __init__(self, record: Recorder) -> None:
        self._record = record
        self._guest = record.guest
        self._open = False
        self._place = _place(record.guest)
        if self._place is None:
            record.event("trace", "absent", why="this kernel has no tracefs")
            return
        self._set("tracing_on", "0")
        self._set("buffer_size_kb", str(BUFFER_KIB))
        missing: list[JSON] = []
        for name in EVENTS:
            if self._guest.run(f"[ -w {self._place}/events/{name}/enable ]").status == 0:
                self._set(f"events/{name}/enable", "1")
            else:
                missing.append(name)
        if missing:
            record.event("trace", "missing", events=missing)
        self._set("trace", "\n")

    def _set(self, name: str, value: str) -> None:
        self._guest.write(f"{self._place}/{name}", value.encode(), timeout=60)

    def open(self) -> None:
        if self._place is not None:
            self._set("tracing_on", "1")
            self._open = True

    def marking(self, number: int) -> str:
        """A shell's command by which what is traced from then on belongs to the attempt of this
        number, 0: to none. ``:`` where nothing is traced."""
        if self._place is None or not self._open:
            return ":"
        return f"printf attempt={number} > {self._place}/trace_marker"

    def close(self) -> None:
        if self._place is not None:
            self._open = False
            self._set("tracing_on", "0")

    def emit(self) -> None:
        """All that was traced, as events, and whether anything was lost."""
        if self._place is None:
            return
        self._stats()
        said = self._record.bulk(busybox.cat(f"{self._place}/trace")).decode(errors="replace")
        seen = trace.trace(said.splitlines())
        freed: list[JSON] = []
        summed = {"events": 0, "nr_scanned": 0, "nr_taken": 0}
        for event in seen.events:
            if event.name == "mm_page_free":
                freed.append([trace.number(event, "pfn"), trace.number(event, "order")])
            elif event.name == _SUMMED:
                summed["events"] += 1
                for field in ("nr_scanned", "nr_taken"):
                    summed[field] += trace.number(event, field)
            elif event.name == _MARK:
                self._record.event("trace", "mark", number=trace.number(event, "attempt"))
            elif event.name in _NAMES:
                fields: dict[str, JSON] = {**event.fields, "time": event.time}
                self._record.event("trace", event.name, **fields)
        self._record.event("trace", _SUMMED, **summed)
        self._record.event("trace", "mm_page_free", frames=freed)
        self._record.event("trace", "read", events=len(seen.events), lost=seen.lost)

    def _stats(self) -> None:
        listed = self._guest.must(f"ls -d {self._place}/per_cpu/cpu*/stats").split()
        for path in listed:
            cpu = path.split("/")[-2]
            counts: dict[str, JSON] = {**trace.stats(self._record.text(path), f"{cpu}/stats")}
            self._record.event("trace", "stats", cpu=cpu, counts=counts)
