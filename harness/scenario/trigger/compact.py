# SPDX-License-Identifier: GPL-2.0-only
"""Compaction on demand: of everything, and of each node.

Source: Documentation/admin-guide/sysctl/vm.rst (compact_memory),
Documentation/ABI/stable/sysfs-devices-node (node<N>/compact).
"""

from __future__ import annotations

from harness.errors import CannotRun
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


def everything(guest: Guest) -> None:
    guest.write(COMPACT, b"1", timeout=_SECONDS)


def node(guest: Guest, path: str) -> None:
    guest.write(path, b"1", timeout=_SECONDS)
