# SPDX-License-Identifier: GPL-2.0-only
"""Compaction on demand: of everything, and of each node.

Source: Documentation/admin-guide/sysctl/vm.rst (compact_memory),
Documentation/ABI/stable/sysfs-devices-node (node<N>/compact).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from harness.errors import CannotRun, EvidenceError
from harness.model import Guest
from harness.parse import vmstat
from harness.scenario.trigger import huge

COMPACT = "/proc/sys/vm/compact_memory"
_NODES = "/sys/devices/system/node/node*/compact"
_TRIES = 4
_SECONDS = 300.0  # that one compaction of everything may take
# It came in v4.1, and is there on no kernel that needs what follows.
_NEWER = "/proc/sys/vm/compact_unevictable_allowed"
# Kswapd is awake while the low watermark, five quarters of what is kept, is more than is free; an
# allocation has to come past it. It sleeps twice then, a moment and for good, and is done once it
# no longer wakes.
_FORGET = r"""(
[ -e {newer} ] && exit 0
keep=/proc/sys/vm/min_free_kbytes over=/proc/sys/vm/overcommit_memory
was=$(cat $keep) heuristic=$(cat $over)
runs() {{ sed -n 's/^pageoutrun //p' /proc/vmstat; }}
naps() {{
	for each in $(grep -sl '^kswapd' /proc/[0-9]*/comm); do
		grep 'State\|voluntary' "${{each%comm}}status"
	done
}}
before=$(runs)
free=$(sed -n 's/^MemFree: *\([0-9]*\) kB/\1/p' /proc/meminfo)
echo 1 > $over  # what is kept is not to be had (mm/mmap.c: __vm_enough_memory)
echo $((free * 9 / 10)) > $keep
tries=0
while [ $(runs) = $before ] && [ $tries -lt 50 ]; do tries=$((tries + 1)); sleep 0.02; done
echo $was > $keep
echo $heuristic > $over
[ $tries -lt 50 ] || {{ echo 'kswapd did not wake' >&2; exit 1; }}
while [ "$seen" != "$(naps)" ]; do seen=$(naps); sleep 0.3; done
)"""


def probe(guest: Guest) -> None:
    """CannotRun where the kernel cannot compact on demand."""
    if guest.run(f"[ -w {COMPACT} ]").status != 0:
        raise CannotRun(
            f"this kernel cannot compact memory on demand: there is no {COMPACT}",
            hint="build it with CONFIG_COMPACTION=y",
        )


def for_all(guest: Guest) -> bool:
    """Whether this kernel compacts for whoever wants a huge page, the pool of hugetlb among them;
    v3.11 does not. It goes by a file that came in v4.1."""
    return guest.run(f"[ -e {_NEWER} ]").status == 0


def nodes(guest: Guest) -> list[str]:
    """The files that compact one node each; none on a kernel without NUMA."""
    return guest.run(f"ls -d {_NODES} 2>/dev/null").stdout.decode().split()


def forget(guest: Guest, *, compacted: bool = True) -> None:
    """Have old kernels look again at blocks in which a compaction had nothing to isolate.

    compacted: one that ended early is brought to its end first, as it does not count as one.

    Until v3.16 they are passed over by a write to compact_memory too, and the next one begins
    where the last ended, until kswapd goes to sleep (mm/compaction.c: isolation_suitable,
    mm/vmscan.c: kswapd_try_to_sleep): so it is woken. Newer kernels look anyway.
    """
    guest.must(_forgetting(COMPACT if compacted else "/dev/null"), timeout=_SECONDS)


def _forgetting(first: str = COMPACT) -> str:
    """A shell's command for it, which does nothing on a newer kernel. The first compaction is the
    shell's own, for whoever looks at its flags."""
    return f"{{ [ -e {_NEWER} ] || echo 1 > {first}; }} && {_FORGET.format(newer=_NEWER)}"


def everything(guest: Guest) -> int:
    """Compact all zones, looking everywhere; the flags of the task that did it, afterwards.

    Source: proc_pid_stat(5), the ninth field; include/linux/sched.h, PF_*.
    """
    said = guest.must(
        f"{_forgetting()} && echo 1 > {COMPACT} && cat /proc/$$/stat", timeout=_SECONDS
    )
    flags = re.fullmatch(r"\d+ \(.*\) \S(?: -?\d+){5} (\d+) .*", said.strip())
    if flags is None:
        raise EvidenceError(f"/proc/PID/stat of the shell that compacted is {said[:200]!r}")
    return int(flags[1])


def until(guest: Guest, enough: Callable[[], bool]) -> bool:
    """Compact until it is enough, a few times: a compaction may give up early, where others have
    pages isolated.

    CannotRun where compaction is at a standstill, see there.
    """
    most = 0
    for _ in range(_TRIES):
        before = scanned(guest)
        everything(guest)
        most = max(most, scanned(guest) - before)
        if enough():
            return True
    standstill(guest, most)
    return False


def standstill(guest: Guest, most: int) -> None:
    """CannotRun where this kernel's compaction has come to a standstill; nothing if it has not.

    Before v3.14 it ends as soon as its free scanner is at the end, which nobody takes note of, so
    that every further one begins and ends there (mm/compaction.c; 7ed695e069c3, "mm: compaction:
    detect when scanners meet in isolate_freepages"). most: pages that compactions of everything,
    of which nothing came, looked at: less than a quarter of memory.
    """
    total = huge.meminfo(guest)["MemTotal"] // 4  # pages
    if most < total // 4 and tires(guest):
        raise CannotRun(
            f"this kernel's compaction is at a standstill: it looked at {most} of {total} pages",
            hint="it is mended by 7ed695e069c3 (v3.14); no more than a first compaction works",
        )


def tires(guest: Guest) -> bool:
    """Whether this kernel's compaction can come to a standstill; it goes by a file of v4.1."""
    return guest.run(f"[ -e {_NEWER} ]").status != 0


def scanned(guest: Guest) -> int:
    said = vmstat.vmstat(guest.read("/proc/vmstat").decode(errors="replace"))
    return said.get("compact_migrate_scanned", 0)


def node(guest: Guest, path: str) -> None:
    guest.must(f"{_forgetting()} && echo 1 > {path}", timeout=_SECONDS)
