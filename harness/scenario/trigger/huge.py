# SPDX-License-Identifier: GPL-2.0-only
"""Huge pages: the pool of hugetlb, transparent ones at a fault, and those of khugepaged.

Source: Documentation/admin-guide/mm/hugetlbpage.rst, transhuge.rst. Each gives how many were had
of so many asked for, and the kernel's counters beside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from harness.errors import CannotRun, EvidenceError
from harness.model import Guest
from harness.parse import vmstat
from harness.scenario.trigger import user
from harness.scenario.trigger.attempt import Done

_POOL = "/proc/sys/vm/nr_hugepages"
_THP = "/sys/kernel/mm/transparent_hugepage"
_COLLAPSED = f"{_THP}/khugepaged/pages_collapsed"
_KIB = 2048  # of a huge page
_MIB = 2
_SECONDS = 300.0
_SCANS = 3  # of everything, by khugepaged, that nothing must come of any more
_MEMINFO = re.compile(r"^([A-Za-z_()]{1,32}): +(\d{1,15})", re.MULTILINE)


def probe(guest: Guest) -> None:
    """CannotRun where the kernel has no pool, no transparent ones, or other sizes than 2 MiB."""
    for path, symbol in ((_POOL, "HUGETLBFS"), (f"{_THP}/enabled", "TRANSPARENT_HUGEPAGE")):
        if guest.run(f"[ -w {path} ]").status != 0:
            raise CannotRun(
                f"this kernel has no huge pages to ask for: there is no {path}",
                hint=f"it needs CONFIG_{symbol}",
            )
    size = meminfo(guest).get("Hugepagesize")
    if size != _KIB:
        raise CannotRun(f"huge pages of {size} kB, where this scenario counts with 2048 kB")


def meminfo(guest: Guest) -> Mapping[str, int]:
    """Lines of /proc/meminfo: kB, or a plain number where they have no unit."""
    text = guest.read("/proc/meminfo").decode(errors="replace")
    return {name: int(value) for name, value in _MEMINFO.findall(text)}


def pool(guest: Guest, asked: int) -> Done:
    """Ask for a pool of so many huge pages, see how many there are, and give them back."""
    before = _vmstat(guest).get("htlb_buddy_alloc_success")
    guest.write(_POOL, f"{asked}".encode(), timeout=_SECONDS)
    said = meminfo(guest)
    after = _vmstat(guest).get("htlb_buddy_alloc_success")
    guest.write(_POOL, b"0", timeout=_SECONDS)
    if meminfo(guest).get("HugePages_Total") != 0:
        raise EvidenceError("the pool of huge pages could not be given back")
    also = {"HugePages_Free": said["HugePages_Free"]}
    if before is not None and after is not None:
        also["vmstat htlb_buddy_alloc_success"] = after - before
    return Done(0, asked=asked, got=said["HugePages_Total"], also=also)


def at_fault(guest: Guest, asked: int) -> Done:
    """A process that advises huge pages, and gets them or small ones as it touches its memory."""
    _only_advised(guest)
    before, collapsed = _vmstat(guest).get("thp_fault_alloc"), _number(guest, _COLLAPSED)
    with user.holder(guest, asked * _MIB, way="huge") as held:
        _stop_khugepaged(guest)
        after = _vmstat(guest).get("thp_fault_alloc")
        got = held.smaps("AnonHugePages") // _KIB
        bad, _ = held.whole()
        collapsed = _number(guest, _COLLAPSED) - collapsed
    _only_advised(guest)
    also = {}
    if before is not None and after is not None:
        # What khugepaged made of small ones meanwhile is huge as well.
        also["vmstat thp_fault_alloc"] = after - before + collapsed
    return Done(0, "", checks={"contents": not bad}, asked=asked, got=got, also=also)


def by_khugepaged(guest: Guest, asked: int, *, seconds: float) -> Done:
    """A process with small pages, which khugepaged makes huge ones of until no more come."""
    _only_advised(guest)
    own = f"{_THP}/khugepaged"
    for name, value in (
        ("pages_to_scan", 1 << 16),
        ("scan_sleep_millisecs", 50),
        ("alloc_sleep_millisecs", 50),
    ):
        guest.write(f"{own}/{name}", f"{value}".encode())
    with user.holder(guest, asked * _MIB, way="small") as held:
        before = _number(guest, _COLLAPSED)
        errno = held.advise_huge()
        if errno:
            return Done(errno, "madvise", asked=asked, got=0)
        # Until so many scans of everything have come to nothing new, or all are huge.
        ended = guest.run(
            f"end=$(($(date +%s)+{seconds:.0f})); had=-1; since=0; "
            f"while [ $(date +%s) -lt $end ]; do "
            f"now=$(cat {_COLLAPSED}); scans=$(cat {own}/full_scans); "
            f"[ $((now-{before})) -lt {asked} ] || exit 0; "
            f"[ $now = $had ] || {{ had=$now; since=$scans; }}; "
            f"[ $((scans-since)) -lt {_SCANS} ] || exit 0; usleep 100000; done; exit 9",
            timeout=seconds + 60,
        )
        _stop_khugepaged(guest)
        collapsed = _number(guest, _COLLAPSED) - before
        got = held.smaps("AnonHugePages") // _KIB
        bad, _ = held.whole()
    _only_advised(guest)
    said = "" if ended.status == 0 else f"khugepaged was still at it after {seconds:g} s"
    return Done(
        0,
        said,
        checks={"contents": not bad},
        asked=asked,
        got=got,
        also={"khugepaged pages_collapsed": collapsed},
    )


def _stop_khugepaged(guest: Guest) -> None:
    """It would go on between two counts. The write waits for the end of its thread
    (mm/khugepaged.c: start_stop_khugepaged)."""
    guest.write(f"{_THP}/enabled", b"never")


def _only_advised(guest: Guest) -> None:
    """Nobody else in the guest gets transparent huge pages; who asks has them compacted for."""
    for name in ("enabled", "defrag"):
        guest.write(f"{_THP}/{name}", b"madvise")


def _vmstat(guest: Guest) -> Mapping[str, int]:
    return vmstat.vmstat(guest.read("/proc/vmstat").decode(errors="replace"))


def _number(guest: Guest, path: str) -> int:
    text = guest.read(path).decode(errors="replace").strip()
    if not text.isdigit():
        raise EvidenceError(f"{path} is no number: {text[:40]!r}")
    return int(text)
