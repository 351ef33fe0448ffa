# SPDX-License-Identifier: GPL-2.0-only
"""Memory blocks: taken offline and brought online through sysfs.

Source: Documentation/admin-guide/mm/memory-hotplug.rst. ``removable`` always reads 1 since v5.8,
so nobody is asked beforehand. An offline goes on until it succeeds or a signal comes: it gets one
at its deadline (mm/memory_hotplug.c: offline_pages).
"""

from __future__ import annotations

import errno as numbers
import re
from dataclasses import dataclass
from itertools import pairwise

from harness.errors import CannotRun, EvidenceError, GuestHang
from harness.model import Guest, PluggedMemory
from harness.scenario.recorder import Recorder
from harness.scenario.trigger.attempt import Done, errno_of

BLOCKS = "/sys/devices/system/memory"
_PAGE = 4096
_ZONE = re.compile(r"^Node (\d{1,4}), zone", re.MULTILINE)
_PRESENT = re.compile(r"^ *present +(\d{1,15})$", re.MULTILINE)
_SIGNALLED = (None, 130, 143)  # what a command killed by a signal ends with
_GRACE = 60.0  # seconds for a command beyond the deadline of what it waits for
_PATIENCE = 10


@dataclass(frozen=True)
class Block:
    """A memory block: its number, first pfn, and number of frames."""

    number: int
    first: int
    count: int

    @property
    def name(self) -> str:
        return f"memory{self.number}"


def probe(guest: Guest) -> None:
    """CannotRun where the kernel cannot take memory offline."""
    if guest.run(f"[ -r {BLOCKS}/block_size_bytes ]").status != 0:
        raise CannotRun(
            f"this kernel cannot take memory offline: there is no {BLOCKS}",
            hint="it needs CONFIG_MEMORY_HOTPLUG and CONFIG_MEMORY_HOTREMOVE",
        )


def block_pages(guest: Guest) -> int:
    """Frames of a memory block."""
    text = guest.read(f"{BLOCKS}/block_size_bytes").decode(errors="replace").strip()
    try:
        return int(text, 16) // _PAGE
    except ValueError:
        raise EvidenceError(f"{BLOCKS}/block_size_bytes is no number: {text[:40]!r}") from None


def blocks_of(guest: Guest, memory: PluggedMemory, *, seconds: float = 60) -> tuple[Block, ...]:
    """The blocks of plugged memory, once the kernel has made them all.

    GuestHang where it has not within so many seconds, CannotRun where the kernel does not take
    notice of such memory at all (no driver).
    """
    size = block_pages(guest)
    first, count = memory.first // size, memory.count // size
    found = tuple(Block(first + at, (first + at) * size, size) for at in range(count))
    paths = " ".join(f"{BLOCKS}/{block.name}" for block in found)
    watch = (
        f"i=0; while ! ls -d {paths} >/dev/null 2>&1; do "
        f"[ $i -lt {seconds * 10:.0f} ] || exit 9; i=$((i+1)); usleep 100000; done"
    )
    done = guest.run(watch, timeout=seconds + _GRACE)
    if done.status == 0:
        return found
    if guest.run(f"ls -d {paths} 2>/dev/null | grep -q .").status != 0:
        raise CannotRun(
            f"this kernel takes no notice of a {memory.device} that is plugged",
            hint="it needs CONFIG_ACPI_HOTPLUG_MEMORY, or CONFIG_VIRTIO_MEM",
        )
    raise GuestHang(f"only some of the {count} blocks of {memory.name} came within {seconds:g} s")


def state(guest: Guest, block: Block) -> str:
    return guest.read(f"{BLOCKS}/{block.name}/state").decode(errors="replace").strip()


def online(guest: Guest, block: Block, how: str) -> Done:
    """Bring a block online; how: online, online_movable or online_kernel."""
    before = present(guest)
    done = guest.run(f"echo {how} > {BLOCKS}/{block.name}/state", timeout=_GRACE)
    errno, said = errno_of(done)
    checks = {
        "sysfs state": state(guest, block) == "online",
        "zoneinfo present": present(guest) - before >= block.count // 2,
    }
    return Done(errno, said, None, None, checks)


def patience(seconds: int, expected: bool | None) -> int:
    """What has to succeed ends by itself, and gets ten times as long on a busy host; what nobody
    can move would be tried for ever (mm/memory_hotplug.c: offline_pages)."""
    return seconds * _PATIENCE if expected else seconds


def offline(record: Recorder, block: Block, *, seconds: float) -> Done:
    """Take a block offline; at the deadline it gets a SIGINT, and ends with EINTR."""
    guest = record.guest
    before = present(guest)
    command = f"timeout -s INT {seconds:g} dd bs=7 status=none of={BLOCKS}/{block.name}/state"
    done = guest.run(command, timeout=seconds + _GRACE, stdin=b"offline")
    errno, said = errno_of(done)
    if done.status in _SIGNALLED and done.seconds >= seconds:
        errno, said = numbers.EINTR, f"interrupted after {seconds:g} s"
    now = state(guest, block)
    checks = {
        "sysfs state": now == "offline",
        "zoneinfo present": before - present(guest) >= block.count // 2,
    }
    frames = None if errno else (block.first, block.count)
    return Done(errno, said, frames, None, checks)


def present(guest: Guest, node: int | None = None) -> int:
    """Pages that all zones have together, or those of one node, by /proc/zoneinfo."""
    text = guest.read("/proc/zoneinfo").decode(errors="replace")
    zones = [zone.start() for zone in _ZONE.finditer(text)]
    pages = 0
    for first, last in pairwise([*zones, len(text)]):
        zone = text[first:last]
        found, its_node = _PRESENT.search(zone), _ZONE.match(zone)
        if found is None or its_node is None:
            raise EvidenceError("/proc/zoneinfo names a zone without its present pages")
        if node in (None, int(its_node[1])):
            pages += int(found[1])
    if not zones:
        raise EvidenceError("/proc/zoneinfo names no zone")
    return pages
