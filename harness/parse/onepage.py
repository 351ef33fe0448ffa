# SPDX-License-Identifier: GPL-2.0-only
"""One page frame: what the kernel's files say of it, and what migration would do with it. Pure.

Source: fs/proc/page.c (stable_page_flags), mm/compaction.c (isolate_migratepages_block),
mm/page_isolation.c (has_unmovable_pages), mm/migrate.c, Documentation/admin-guide/mm/pagemap.rst.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harness.errors import EvidenceError
from harness.parse.cma import Area
from harness.parse.ledger import Pin
from harness.parse.page_owner import Owner
from harness.parse.pageflags import names

PAGEBLOCK = 512  # frames, where the kernel does not say
# Flags that are for kernel hackers alone (include/linux/kernel-page-flags.h).
_MORE: Mapping[str, str] = MappingProxyType(
    {
        "bit32": "RESERVED",
        "bit33": "MLOCKED",
        "bit34": "OWNER_2",
        "bit35": "PRIVATE",
        "bit36": "PRIVATE_2",
        "bit37": "OWNER_PRIVATE",
        "bit38": "ARCH",
        "bit39": "UNCACHED",
        "bit40": "SOFTDIRTY",
        "bit41": "ARCH_2",
    }
)
_ZONE = re.compile(r"^Node (\d{1,4}), zone +(\w{1,16})$", re.MULTILINE)
_SPANNED = re.compile(r"^ +spanned +(\d{1,15})$", re.MULTILINE)
_START = re.compile(r"^ +start_pfn: +(\d{1,15})$", re.MULTILINE)
_PER_BLOCK = re.compile(r"^Pages per block: +(\d{1,9})$", re.MULTILINE)
_TYPE = re.compile(r"^PFN (0x[0-9a-f]{1,16}|\d{1,19}) type \w+ Block \d+ type (\w+)", re.MULTILINE)
_NODE = re.compile(r"/node(\d{1,4})$", re.MULTILINE)


@dataclass(frozen=True)
class Zone:
    """A zone of a node; first: page frame, spanned: frames, holes among them."""

    node: int
    name: str
    first: int
    spanned: int


@dataclass(frozen=True)
class MemoryBlock:
    """A block of memory as sysfs has it. removable: what its file says, which since v5.8 is always
    yes; zones: what it is in, or while it is offline, may be brought into."""

    name: str
    state: str
    removable: bool | None
    node: int | None
    zones: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What is known of a page. flags: of /proc/kpageflags. mapcount: of /proc/kpagecount. refs:
    references, which only the pinner tells of its own. first: of its pageblock, whose type is
    known by page_owner alone, "" if it is not. zones: that span the frame. pin: its row in the
    pinner's ledger, in this mode. unevictable: whether compaction takes unevictable pages."""

    pfn: int
    flags: int
    mapcount: int | None = None
    refs: int | None = None
    zones: tuple[Zone, ...] = ()
    block: MemoryBlock | None = None
    first: int = 0
    pageblock: int = PAGEBLOCK
    type: str = ""
    owner: Owner | None = None
    cma: Area | None = None
    pin: Pin | None = None
    mode: str = ""
    unevictable: bool = True

    def has(self, *flags: str) -> bool:
        """Whether one of these flags is set."""
        return any(flag in self.names for flag in flags)

    @property
    def names(self) -> list[str]:
        return [_MORE.get(name, name) for name in names(self.flags)]


@dataclass(frozen=True)
class Fate:
    """What migration does with a page. what: free, absent, migrated, whole, asked, stays or
    unknown; why: a sentence."""

    what: str
    why: str


def zones(text: str) -> tuple[Zone, ...]:
    """Those of /proc/zoneinfo that have any frames."""
    found = []
    starts = [*_ZONE.finditer(text)]
    if not starts:
        raise EvidenceError("/proc/zoneinfo names no zone")
    ends = [zone.start() for zone in starts[1:]] + [len(text)]
    for zone, end in zip(starts, ends, strict=True):
        body = text[zone.end() : end]
        spanned, first = _SPANNED.search(body), _START.search(body)
        if spanned is None:
            raise EvidenceError(f"/proc/zoneinfo names zone {zone[2]} without its spanned pages")
        if first is not None and int(spanned[1]):  # a zone without memory has no start
            found.append(Zone(int(zone[1]), zone[2], int(first[1]), int(spanned[1])))
    return tuple(found)


def spanning(all_zones: tuple[Zone, ...], pfn: int) -> tuple[Zone, ...]:
    """The zones that span a frame: several where they lie in one another."""
    return tuple(zone for zone in all_zones if 0 <= pfn - zone.first < zone.spanned)


def pages_per_block(text: str) -> int:
    """Frames of a pageblock, by /proc/pagetypeinfo."""
    found = _PER_BLOCK.search(text)
    return int(found[1]) if found and int(found[1]) else PAGEBLOCK


def block_type(record: str, first: int, count: int) -> str:
    """The type of a pageblock, by page_owner's record of any of its pages; "" if it is none of
    them."""
    found = _TYPE.search(record)
    if found is None or not 0 <= int(found[1], 0) - first < count:
        return ""
    return found[2]


def memory_block(number: int, text: str) -> MemoryBlock:
    """A block, from ``NAME VALUE`` lines of its files and the paths of its links to nodes."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        values.setdefault(name, value.strip())
    removable = {"0": False, "1": True}.get(values.get("removable", ""))
    node = _NODE.search(text)
    return MemoryBlock(
        name=f"memory{number}",
        state=values.get("state", ""),
        removable=removable,
        node=int(node[1]) if node else None,
        zones=tuple(values.get("valid_zones", "").split()),
    )


# ---------------------------------------------------------------------------------------------
# What migration would do
# ---------------------------------------------------------------------------------------------


def fate(facts: Facts) -> Fate:
    """What comes of an attempt to move the page, and why; the first reason that holds."""
    for judge in (_absent, _owned, _kernels, _moved):
        found = judge(facts)
        if found is not None:
            return found
    return _nobodys(facts)


def _absent(facts: Facts) -> Fate | None:
    if facts.block is not None and facts.block.state == "offline":
        return Fate("absent", f"there is nothing to move: {facts.block.name} is offline")
    if facts.has("NOPAGE"):
        return Fate("absent", "there is no memory at this frame")
    if facts.has("OFFLINE"):
        return Fate("absent", "the page is the host's: a balloon or a virtio-mem has given it back")
    if facts.has("HWPOISON"):
        return Fate("stays", "the page is poisoned, and nobody uses it any more")
    if facts.has("BUDDY"):
        return Fate("free", "there is nothing to move: the page is free, in the buddy allocator")
    return None


def _owned(facts: Facts) -> Fate | None:
    if facts.pin is None:
        return None
    if facts.mode != "pinpage":
        return Fate(
            "stays",
            "the module pinner has pinned it and is registered with nobody, so there is nobody to "
            "ask",
        )
    said = "the module pinner has registered it: its migrate callback moves it, or refuses"
    if facts.pin.errno:
        said += f" (as it last did, with errno {abs(facts.pin.errno)})"
    return Fate("asked", said)


_UNMOVABLE: Mapping[str, str] = MappingProxyType(
    {
        "SLAB": "it holds slab objects, which others point at",
        "PGTABLE": "it is a page table",
        "ZERO_PAGE": "it is the zero page",
        "RESERVED": "it is reserved: the kernel's image, firmware, or the memory map",
    }
)


def _kernels(facts: Facts) -> Fate | None:
    why = next((why for flag, why in _UNMOVABLE.items() if facts.has(flag)), None)
    return None if why is None else Fate("stays", f"nobody can move it: {why}")


def _moved(facts: Facts) -> Fate | None:
    if facts.has("HUGE"):
        return Fate(
            "whole",
            "it is part of a hugetlb page: that is migrated as one where a free one of its size "
            "can be had (by hotplug and contiguous allocation; compaction passes over it)",
        )
    if not facts.has("LRU"):
        return None
    kind = "anonymous" if facts.has("ANON") else "a file's"
    mapped = f", mapped {_times(facts.mapcount)}" if facts.mapcount else ""
    if facts.has("UNEVICTABLE") and not facts.unevictable:
        return Fate(
            "stays",
            "it is unevictable, and compaction passes over it (compact_unevictable_allowed is 0); "
            "hotplug and contiguous allocation migrate it",
        )
    what = "whole" if facts.has("THP") else "migrated"
    said = f"it is on the LRU ({kind}{mapped}), and is migrated"
    if facts.has("THP"):
        said += " as part of a huge page, whole or split"
    if facts.has("WRITEBACK"):
        said += " once its writeback has ended"
    return Fate(what, f"{said}, unless somebody holds a further reference (get_user_pages)")


def _nobodys(facts: Facts) -> Fate:
    """In use, and no flag says by whom."""
    owner = facts.owner
    if owner is None:
        return Fate(
            "unknown",
            "it is in use, off the LRU: it stays, unless it has an owner whom no flag shows",
        )
    by = f"the module {owner.module}" if owner.module else "the kernel itself"
    first = f" ({owner.stack[0].function})" if owner.stack else ""
    if owner.type == "Movable":
        return Fate(
            "unknown",
            f"{by}{first} allocated it as movable, off the LRU: it moves if its owner registered "
            "it (pin page subsystem, movable_operations), which no flag shows",
        )
    return Fate("stays", f"{by}{first} allocated it as {owner.type.lower()}, for itself")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
