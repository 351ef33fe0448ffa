# SPDX-License-Identifier: GPL-2.0-only
"""The prober module in a guest, driven and read; everything becomes an event."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from harness.errors import CannotRun, EvidenceError, GuestCommandError
from harness.model import JSON
from harness.parse import vmstat
from harness.scenario.recorder import Recorder, mount, short_lists
from harness.scenario.trigger import compact

PROBER = "/sys/kernel/debug/prober"
COMPACT = "/proc/sys/vm/compact_memory"
_MODULE = "/modules/prober.ko"
_BLOCKS = "/sys/devices/system/memory"
_SLAB = "/sys/kernel/slab"
_CACHE = re.compile(r"/kmalloc-(\d{1,6})$")
_ERRNO = {"Operation not supported": 95, "Invalid argument": 22, "No such file or directory": 2}
_FREE = re.compile(r"^ *(?:pages free|count:) +(\d{1,12})$", re.MULTILINE)
_COMPACTIONS = 5  # at most
_DONE = "/tmp/compacted"
_UNASKED = "/proc/sys/vm/compaction_proactiveness"
_ENOUGH = 1000  # pages: a quarter of what a probe pins
_OFFLINE = 20  # seconds for one block: the kernel would try for ever


class Prober:
    """One guest with the prober loaded."""

    def __init__(self, record: Recorder) -> None:
        self.record, self.guest = record, record.guest
        mount(self.guest)
        local = self.guest.module("prober")
        if self.guest.run(f"[ -e {_MODULE} ]").status != 0:
            self.guest.put(local, _MODULE)
        self.guest.must(f"insmod {_MODULE}", timeout=60)

    def do(self, command: str, *, timeout: float = 120) -> None:
        """Have it do something that must be done."""
        self.record.event("prober", "command", text=command, errno=0)
        self.guest.write(f"{PROBER}/control", command.encode(), timeout=timeout)

    def offered(self, command: str) -> bool:
        """Whether it does something that makes no sense on every kernel."""
        try:
            self.do(command)
        except GuestCommandError as error:
            said = error.message + error.detail
            errno = next((n for text, n in _ERRNO.items() if text in said), 1)
            self.record.event("prober", "command", text=command, errno=errno)
            return False
        return True

    def facts(self, when: str = "after") -> None:
        self.record.event("prober", "facts", when=when, values={**self._facts()})

    def _facts(self) -> dict[str, int]:
        return vmstat.vmstat(self.record.text(f"{PROBER}/facts"))

    def settle(self) -> None:
        """Have all that can be freed freed, and what can move do so, before pages are counted."""
        self.guest.write("/proc/sys/vm/drop_caches", b"3", timeout=60)

    def vmstat(self, when: str) -> None:
        """Counters, and ``free``: free pages, those of the processors' own lists included.

        The latter change places with the others all the time: both are from one reading.
        """
        self.settle()
        # Counters that are negative read 0: this has them told in the kernel log, where it can.
        self.guest.run("[ ! -w /proc/sys/vm/stat_refresh ] || echo 1 > /proc/sys/vm/stat_refresh")
        values: dict[str, JSON] = {**vmstat.vmstat(self.record.text("/proc/vmstat"))}
        counts = _FREE.findall(self.record.text("/proc/zoneinfo"))
        values["free"] = sum(map(int, counts))
        self.record.event("vmstat", "vmstat", when=when, values=values)

    def compact(self, *, enough: Callable[[Mapping[str, int]], bool] = lambda _: False) -> None:
        """Compact memory, and again where the kernel gave up before it had isolated much.

        enough: whether by the prober's facts nothing more has to be isolated. The kernel gives up
        where more is isolated than half of the LRU's pages, of which a guest this small has
        few (mm/compaction.c: too_many_isolated(), COMPACT_CONTENDED).
        """
        if self.guest.run(f"[ -w {COMPACT} ]").status != 0:
            raise CannotRun(f"this kernel cannot compact memory on demand: there is no {COMPACT}")
        for _ in range(_COMPACTIONS):
            before = self._isolated()
            self.guest.write(COMPACT, b"1", timeout=300)
            if self._isolated() - before >= _ENOUGH or enough(self._facts()):
                break

    def migrate(self, calls: int) -> None:
        """Have pages of ours asked to move, so many times at least.

        Compaction comes to a standstill on old kernels (see harness/scenario/trigger/compact.py);
        there contiguous allocation goes on where it gave up.
        """
        self.compact(enough=lambda facts: facts["calls"] >= calls)
        if self._facts()["calls"] < calls and compact.tires(self.guest):
            self.offered("contig")

    def _isolated(self) -> int:
        return vmstat.vmstat(self.record.text("/proc/vmstat")).get("compact_isolated", 0)

    def compact_or_wait(self, seconds: int, fact: str = "", enough: int = 0) -> None:
        """Compact beside us, and say whether that has ended in time, and where it waits if not.

        fact: one of the prober's, of which so many are enough; "" where only the end is.
        """
        self.guest.must(
            f"rm -f {_DONE}; (echo 1 > {COMPACT}; : > {_DONE}) >/dev/null 2>&1 </dev/null & "
            f"echo $! > /tmp/compactor"
        )
        self._watch(seconds, fact, enough)
        ended = self._ended()
        look = "p=$(cat /tmp/compactor); cat /proc/$p/wchan; echo; grep State /proc/$p/status"
        said = "" if ended else self.guest.run(look).stdout.decode(errors="replace")
        self.record.event("harness", "waits", ended=ended, seconds=seconds, where=said.split())

    def compacted(self, seconds: int) -> None:
        """Have what compacts beside us end, now that nothing is in its way."""
        self._watch(seconds)
        if not self._ended():
            raise EvidenceError(f"the compaction did not end within {seconds} s")

    def _watch(self, seconds: int, fact: str = "", enough: int = 0) -> None:
        count = f"sed -n 's/^{fact} //p' {PROBER}/facts"
        more = f' && [ "$({count})" -lt {enough} ]' if fact else ""
        self.guest.must(
            f"i=0; while [ ! -e {_DONE} ] && [ $i -lt {seconds} ]{more}; do "
            "sleep 1; i=$((i+1)); done",
            timeout=2 * seconds + 60,
        )

    def _ended(self) -> bool:
        return self.guest.run(f"[ -e {_DONE} ]").status == 0

    def slab_check(self, size: int) -> None:
        """Have the slab allocator check the objects of its general caches.

        CannotRun: an object of ``size`` bytes gets a larger one, so that what is written behind it
        stays in its own (arm64 until v6.5: ARCH_DMA_MINALIGN).
        """
        names = self.guest.must(f"ls -d {_SLAB}/kmalloc-[0-9]*").split()
        sizes = sorted(int(each) for name in names for each in _CACHE.findall(name))
        if not sizes or sizes[0] > size:
            raise CannotRun(
                f"the smallest object of this kernel's slab has {sizes[0] if sizes else '?'} "
                f"bytes: what is written behind one of {size} stays in it"
            )
        self.guest.must(f"for f in {_SLAB}/kmalloc-*/validate; do echo 1 > $f || exit; done")

    def offline(self) -> None:
        """Try to take each block of memory offline in turn; each try is an event."""
        if self.guest.run(f"[ -w {_BLOCKS}/memory0/state ]").status != 0:
            raise CannotRun("this kernel cannot take memory offline: it has no memory blocks")
        size = int(self.record.text(f"{_BLOCKS}/block_size_bytes"), 16) // 4096
        pins: dict[int, int] = {}
        for word in self.record.text(f"{PROBER}/pages").split():
            block = int(word) // size
            pins[block] = pins.get(block, 0) + 1
        names = self.guest.must(f"ls -d {_BLOCKS}/memory[0-9]*").split()
        blocks = sorted(int(re.sub(r".*memory", "", name)) for name in names)
        for block in blocks[1:-1]:  # the ends of memory never go
            command = (
                f"timeout -s INT {_OFFLINE} sh -c 'echo offline > {_BLOCKS}/memory{block}/state'"
            )
            done = self.guest.run(command, timeout=4 * _OFFLINE)
            said = done.stderr.decode(errors="replace").strip()
            state = self.record.text(f"{_BLOCKS}/memory{block}/state").strip()
            self.record.event(
                "memory", "block", block=block, pins=pins.get(block, 0), state=state, said=said
            )

    def free_pages(self) -> int:
        found = re.search(r"^MemFree: +(\d{1,12}) kB$", self.record.text("/proc/meminfo"), re.M)
        if found is None:
            raise EvidenceError("/proc/meminfo has no line MemFree")
        return int(found.group(1)) // 4

    def steady(self) -> None:
        """Nothing is compacted unasked, and what is freed is free, on kernels that do otherwise."""
        self.guest.run(f"[ ! -e {_UNASKED} ] || echo 0 > {_UNASKED}")
        short_lists(self.guest)

    def blocks_of_pins(self) -> None:
        """How many pageblocks are mostly pins, and how many the allocator keeps for movable pages.

        Source: /proc/pagetypeinfo (mm/vmstat.c), the table of numbers of blocks.
        """
        text = self.record.text("/proc/pagetypeinfo")
        size = re.search(r"^Pages per block: +(\d{1,6})$", text, re.MULTILINE)
        _, _, table = text.partition("Number of blocks type")
        names, *rows = table.splitlines() or [""]
        if size is None or "Movable" not in names:
            raise EvidenceError("/proc/pagetypeinfo has no table of blocks")
        at = names.split().index("Movable") - len(names.split())
        movable = sum(int(row.split()[at]) for row in rows if row.startswith("Node"))
        pins: dict[int, int] = {}
        for word in self.record.text(f"{PROBER}/pages").split():
            block = int(word) // int(size.group(1))
            pins[block] = pins.get(block, 0) + 1
        mostly = sum(2 * count > int(size.group(1)) for count in pins.values())
        self.record.event("memory", "pageblocks", pins=mostly, movable=movable)

    def soft_offline(self) -> None:
        """Have the first page of ours taken out of use, as one with many corrected errors is."""
        control = f"{_BLOCKS}/soft_offline_page"
        if self.guest.run(f"[ -e {control} ]").status != 0:
            raise CannotRun(f"this kernel cannot take a page out of use: there is no {control}")
        pfn = int(self.record.text(f"{PROBER}/pages").split()[0])
        done = self.guest.run(f"echo {pfn << 12:#x} > {control}", timeout=120)
        said = done.stderr.decode(errors="replace").strip()
        self.record.event("memory", "page", pfn=pfn, status=done.status, said=said)

    def end(self) -> None:
        """The probe has done what it wanted."""
        self.record.event("prober", "end")
