# SPDX-License-Identifier: GPL-2.0-only
"""A census of memory, taken after each of several rounds: who has how much of it.

Everything is read by one command, in one go, after all that can be given back has been: caches
are dropped, and slabs shrunk, after which SLUB's counts of objects are exact (mm/slub.c:
__kmem_cache_do_shrink, count_partial).
"""

from __future__ import annotations

from collections import Counter

from harness import busybox, leakage
from harness.errors import EvidenceError
from harness.model import JSON
from harness.parse import census, vmstat
from harness.scenario.recorder import Recorder

_STACKS = "/sys/kernel/debug/page_owner_stacks/show_stacks"
_THRESHOLD = "/sys/kernel/debug/page_owner_stacks/count_threshold"
_PARTS = {
    "zoneinfo": "/proc/zoneinfo",
    "vmstat": "/proc/vmstat",
    "slabinfo": "/proc/slabinfo",
    "modules": "/proc/modules",
    "stacks": _STACKS,
}
_MARK = "@census "
# Counts of pages by what they are (mm/vmstat.c: vmstat_text), but for free ones.
_COUNTERS = (
    *("nr_isolated_anon", "nr_isolated_file", "nr_slab_unreclaimable", "nr_slab_reclaimable"),
    *("nr_anon_pages", "nr_mapped", "nr_file_pages", "nr_shmem", "nr_unevictable", "nr_mlock"),
    *("nr_inactive_anon", "nr_active_anon", "nr_inactive_file", "nr_active_file"),
    *("nr_zone_unevictable", "nr_zspages", "nr_dirty", "nr_writeback", "nr_page_table_pages"),
)
_SETTLE = (
    "echo 3 > /proc/sys/vm/drop_caches; "
    "for each in /sys/kernel/slab/*/shrink; do echo 1 > $each 2>/dev/null; done"
)
# Processors keep differences to themselves, of some dozens of pages each (mm/vmstat.c).
_REFRESH = "[ ! -w /proc/sys/vm/stat_refresh ] || echo 1 > /proc/sys/vm/stat_refresh"


class Census:
    """Taken in one guest, as often as it is asked for."""

    def __init__(self, record: Recorder) -> None:
        self._record = record
        self._symbols = census.Symbols((), ())
        self._stacks: dict[census.Stack, int] = {}
        self._has = {name: record.has(path) for name, path in _PARTS.items()}
        if self._has["stacks"]:
            record.guest.run(f"echo 0 > {_THRESHOLD}")
        for name, there in self._has.items():
            if not there:
                record.event("census", "absent", part=name, why=f"there is no {_PARTS[name]}")

    def moving(self) -> Counter[census.Stack] | None:
        """Pages that an owner or a migration has allocated, by stack; None where nobody counts."""
        if not self._has["stacks"]:
            return None
        found = census.stacks(self._record.text(_STACKS, timeout=120), self._symbols)
        return Counter({s: n for s, n in found.items() if n and leakage.of_a_move(s)})

    def learn(self) -> None:
        """Remember where the functions of modules are, for when those have been unloaded."""
        said = self._record.bulk("grep -F '[' /proc/kallsyms || true").decode(errors="replace")
        self._symbols = census.symbols(said.splitlines(), self._symbols)

    def take(self, number: int, ops: int, moved: int = 0) -> None:
        """ops: operations of the round that it comes after, 0 if that was idle; moved: pages that
        moved in it, 0 where nobody counted them."""
        parts = self._read()
        data: dict[str, JSON] = {"free": census.free(parts["zoneinfo"])}
        values = vmstat.vmstat(parts["vmstat"])
        data["vmstat"] = {name: values[name] for name in _COUNTERS if name in values}
        data["modules"] = {**census.modules(parts["modules"])}
        if "slabinfo" in parts:
            slabs = census.slabinfo(parts["slabinfo"])
            data["slabs"] = {name: [*each] for name, each in slabs.items() if each[0]}
        if "stacks" in parts:
            data["stacks"], data["new"] = self._owners(parts["stacks"])
        self._record.event("census", "round", number=number, ops=ops, moved=moved, **data)

    def _read(self) -> dict[str, str]:
        self._record.guest.must(f"{_SETTLE}; true", timeout=120)
        reads = [
            f"echo '{_MARK}{name}'; {busybox.cat(path)}"
            for name, path in _PARTS.items()
            if self._has[name]
        ]
        said = self._record.bulk("; ".join([_REFRESH, *reads])).decode(errors="replace")
        parts = dict[str, str]()
        for piece in f"\n{said}".split(f"\n{_MARK}")[1:]:
            name, _, text = piece.partition("\n")
            parts[name] = text
        missing = [name for name, there in self._has.items() if there and name not in parts]
        if missing:
            raise EvidenceError(f"the census did not come whole: {', '.join(missing)} is missing")
        return parts

    def _owners(self, text: str) -> tuple[list[JSON], list[JSON]]:
        """(number of a stack, pages) of each, and the stacks that are new: number, calls."""
        rows: list[JSON] = []
        new: list[JSON] = []
        for stack, pages in census.stacks(text, self._symbols).items():
            if stack not in self._stacks:
                self._stacks[stack] = len(self._stacks)
                calls: list[JSON] = [[each.function, each.module] for each in stack]
                new.append([self._stacks[stack], calls])
            rows.append([self._stacks[stack], pages])
        return rows, new
