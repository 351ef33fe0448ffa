# SPDX-License-Identifier: GPL-2.0-only
"""Memory that is taken away: what has to move finds no room."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import EvidenceError
from harness.model import Guest

_PLACE = "/tmp/eaten"
_PAGES_IN_MIB = 256


@contextmanager
def eaten(guest: Guest, leave: int) -> Iterator[None]:
    """All free memory but for so many pages is in a file, until the context ends."""
    said = guest.read("/proc/meminfo").decode(errors="replace")
    free = re.search(r"^MemFree: +(\d{1,12}) kB$", said, re.MULTILINE)
    if free is None:
        raise EvidenceError("/proc/meminfo has no line MemFree")
    mib = max(0, int(free[1]) // 1024 - leave // _PAGES_IN_MIB)
    guest.must(f"mkdir -p {_PLACE} && mount -t tmpfs -o size=100% tmpfs {_PLACE}")
    try:
        guest.must(f"dd if=/dev/zero of={_PLACE}/all bs=1M count={mib} status=none", timeout=120)
        yield
    finally:
        guest.run(f"umount {_PLACE}", timeout=60)
