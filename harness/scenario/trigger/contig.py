# SPDX-License-Identifier: GPL-2.0-only
"""Contiguous memory: the areas reserved at boot, and buffers from them.

Two interfaces of the kernel's own: the module cma_alloc asks as a driver does, with an alignment
and side by side; debugfs (CONFIG_CMA_DEBUGFS, mm/cma_debug.c, since v4.1) takes a number of pages.
"""

from __future__ import annotations

import errno as numbers
from collections.abc import Sequence

from harness.errors import CannotRun, EvidenceError, GuestCommandError
from harness.model import Guest
from harness.parse import cma, vmstat
from harness.scenario.recorder import Recorder
from harness.scenario.trigger.attempt import Done, errno_of

SUCCESS = "cma_alloc_success"  # of /proc/vmstat, since v5.14
_DEBUGFS = "/sys/kernel/debug/cma"
_MODULE = "/modules/cma_alloc.ko"
_OWN = "/sys/kernel/debug/cma_alloc"
_RESERVE = 4096  # kB that the kernel keeps for itself
CONTROL = f"{_OWN}/control"
_SECONDS = 120.0  # that one allocation may take


def keep_little(guest: Guest) -> None:
    """Have the kernel keep no more for itself than a small machine does.

    Huge pages have it keep more than is left outside of a small area (mm/khugepaged.c:
    set_recommended_min_free_kbytes): no more of the area would be lent, and whoever wants an
    unmovable page while it is finds none.
    """
    guest.write("/proc/sys/vm/min_free_kbytes", f"{_RESERVE}".encode())


def areas(guest: Guest) -> tuple[cma.Area, ...]:
    """The contiguous areas of the machine, the largest first.

    By debugfs; before v4.1 by what the kernel said at boot. CannotRun where there is none.
    """
    names = guest.run(f"ls {_DEBUGFS} 2>/dev/null").stdout.decode().split()
    if names:
        found = [
            cma.Area(name, _number(guest, name, "base_pfn"), _number(guest, name, "count"))
            for name in names
        ]
    else:
        found = list(cma.reserved(guest.must("dmesg", timeout=60).splitlines()))
    if not found:
        raise CannotRun(
            "this kernel has no contiguous areas",
            hint="it needs CONFIG_CMA, and cma=64M on its command line",
        )
    return tuple(sorted(found, key=lambda area: -area.count))


def _number(guest: Guest, area: str, name: str) -> int:
    text = guest.read(f"{_DEBUGFS}/{area}/{name}").decode(errors="replace").strip()
    if not text.isdigit():
        raise EvidenceError(f"{_DEBUGFS}/{area}/{name} is no number: {text[:40]!r}")
    return int(text)


class Buffers:
    """The module in one guest."""

    def __init__(self, record: Recorder, area: cma.Area) -> None:
        self._record, self._guest, self._area = record, record.guest, area
        self._seen = 0  # results so far
        local = self._guest.module("cma_alloc")
        if self._guest.run(f"[ -e {_MODULE} ]").status != 0:
            self._guest.put(local, _MODULE)
        done = self._guest.run(f"insmod {_MODULE}", timeout=60)
        if done.status != 0:
            said = done.stderr.decode(errors="replace").strip()
            if "not supported" in said:
                raise CannotRun(
                    f"this kernel gives modules no contiguous memory: {said}",
                    hint="it needs CONFIG_CMA and CONFIG_DMA_CMA",
                )
            raise GuestCommandError(f"the module cma_alloc could not be loaded: {said}")

    def alloc(self, pages: int, align: int) -> Done:
        """A buffer that is kept. What came from elsewhere than the area was not had."""
        before = self._successes()
        self._control(f"alloc {pages} {align}")
        (result,) = self._results()
        taken = self._taken(result)
        checks = {}
        after = self._successes()
        if before is not None and after is not None and taken.errno != numbers.EEXIST:
            checks[f"vmstat {SUCCESS}"] = after > before
        if taken.frames is not None:
            checks["pageflags"] = self._record.taken(*taken.frames)
        return Done(taken.errno, taken.said, taken.frames, taken.seconds, checks)

    def storm(self, threads: int, tries: int, pages: int, align: int) -> Sequence[Done]:
        """Buffers got and given back by threads side by side: what came of each. One with a page
        that another has at that moment was not had (EEXIST)."""
        before = self._successes()
        self._control(f"storm {threads} {tries} {pages} {align}")
        tried = [self._taken(result) for result in self._results()]
        after = self._successes()
        checks = {}
        if before is not None and after is not None:
            had = sum(not each.errno for each in tried)
            checks[f"vmstat {SUCCESS}"] = after - before >= had
        return [
            Done(each.errno, each.said, None, each.seconds, {} if each.errno else checks)
            for each in tried
        ]

    def free_all(self) -> None:
        self._control("free_all")

    def forget(self) -> None:
        """Give back all buffers, and look no more at what came of them, whoever asked."""
        self.free_all()
        self._results()

    def unload(self) -> None:
        self._guest.must("rmmod cma_alloc", timeout=120)

    def _control(self, command: str) -> None:
        self._guest.write(CONTROL, command.encode(), timeout=_SECONDS)

    def _results(self) -> tuple[cma.Result, ...]:
        found = cma.results(self._record.text(f"{_OWN}/results"))[self._seen :]
        self._seen += len(found)
        return found

    def _taken(self, result: cma.Result) -> Done:
        if result.errno:
            twice = result.errno == -numbers.EEXIST
            said = f"the kernel has given pages of it twice, at pfn {result.pfn}" if twice else ""
            return Done(-result.errno, said, None, result.seconds)
        if not self._area.has(result.pfn, result.pages):
            said = f"it lies at pfn {result.pfn}, outside of the area {self._area.name}"
            return Done(12, said, None, result.seconds)  # ENOMEM: what the area answered
        return Done(0, "", (result.pfn, result.pages), result.seconds)

    def _successes(self) -> int | None:
        return vmstat.vmstat(self._record.text("/proc/vmstat")).get(SUCCESS)


def by_debugfs(guest: Guest, area: cma.Area, pages: int) -> Done:
    """A buffer through debugfs, given back at once; ENOENT where the kernel has not that."""
    folder = f"{_DEBUGFS}/{area.name}"
    used = _number(guest, area.name, "used")
    errno, said = errno_of(guest.run(f"echo {pages} > {folder}/alloc", timeout=_SECONDS))
    more = _number(guest, area.name, "used") - used
    if not errno:
        guest.must(f"echo {pages} > {folder}/free", timeout=_SECONDS)
    return Done(errno, said, None, None, {"debugfs used": more >= pages})


def has_debugfs(guest: Guest) -> bool:
    return guest.run(f"[ -d {_DEBUGFS} ]").status == 0
