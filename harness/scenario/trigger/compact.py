# SPDX-License-Identifier: GPL-2.0-only
"""Compaction on demand: of everything, and of each node.

Source: Documentation/admin-guide/sysctl/vm.rst (compact_memory),
Documentation/ABI/stable/sysfs-devices-node (node<N>/compact).
"""

from __future__ import annotations

import re

from harness.errors import CannotRun, EvidenceError
from harness.model import Guest

COMPACT = "/proc/sys/vm/compact_memory"
_NODES = "/sys/devices/system/node/node*/compact"
_SECONDS = 300.0  # that one compaction of everything may take


def probe(guest: Guest) -> None:
    """CannotRun where the kernel cannot compact on demand."""
    if guest.run(f"[ -w {COMPACT} ]").status != 0:
        raise CannotRun(
            f"this kernel cannot compact memory on demand: there is no {COMPACT}",
            hint="build it with CONFIG_COMPACTION=y",
        )


def nodes(guest: Guest) -> list[str]:
    """The files that compact one node each; none on a kernel without NUMA."""
    return guest.run(f"ls -d {_NODES} 2>/dev/null").stdout.decode().split()


def everything(guest: Guest) -> int:
    """Compact all zones; the flags of the task that did it, afterwards.

    Source: proc_pid_stat(5), the ninth field; include/linux/sched.h, PF_*.
    """
    said = guest.must(f"echo 1 > {COMPACT} && cat /proc/$$/stat", timeout=_SECONDS)
    flags = re.fullmatch(r"\d+ \(.*\) \S(?: -?\d+){5} (\d+) .*", said.strip())
    if flags is None:
        raise EvidenceError(f"/proc/PID/stat of the shell that compacted is {said[:200]!r}")
    return int(flags[1])


def node(guest: Guest, path: str) -> None:
    guest.write(path, b"1", timeout=_SECONDS)
