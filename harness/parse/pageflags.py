# SPDX-License-Identifier: GPL-2.0-only
"""/proc/kpageflags: 64 bits for each page frame, in the order of their numbers.

The bits are the stable ones of include/uapi/linux/kernel-page-flags.h.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType

from harness.errors import EvidenceError

ENTRY = 8

BITS: Mapping[str, int] = MappingProxyType(
    {
        "LOCKED": 0,
        "ERROR": 1,
        "REFERENCED": 2,
        "UPTODATE": 3,
        "DIRTY": 4,
        "LRU": 5,
        "ACTIVE": 6,
        "SLAB": 7,
        "WRITEBACK": 8,
        "RECLAIM": 9,
        "BUDDY": 10,
        "MMAP": 11,
        "ANON": 12,
        "SWAPCACHE": 13,
        "SWAPBACKED": 14,
        "COMPOUND_HEAD": 15,
        "COMPOUND_TAIL": 16,
        "HUGE": 17,
        "UNEVICTABLE": 18,
        "HWPOISON": 19,
        "NOPAGE": 20,
        "KSM": 21,
        "THP": 22,
        "OFFLINE": 23,
        "ZERO_PAGE": 24,
        "IDLE": 25,
        "PGTABLE": 26,
    }
)
FREE = (1 << BITS["BUDDY"]) | (1 << BITS["NOPAGE"]) | (1 << BITS["OFFLINE"])
# What a page of an owner's never is, but one that was freed and given to another may be.
FOREIGN = sum(1 << BITS[name] for name in ("LRU", "SLAB", "ANON", "HUGE", "THP", "KSM", "PGTABLE"))

# A page in somebody's hands. PG_isolated of pages that are not on the LRU is PG_reclaim
# (include/linux/page-flags.h), which the pages of an owner have no other use for.
HANDLED = sum(1 << BITS[name] for name in ("LOCKED", "RECLAIM"))


def pageflags(data: bytes, first: int) -> dict[int, int]:
    """pfn → flags of a piece of the file that begins at page frame ``first``."""
    if len(data) % ENTRY:
        raise EvidenceError(
            f"/proc/kpageflags: {len(data)} bytes are no whole number of entries",
            hint="the guest cut its answer short; run it again",
        )
    return {first + at: value for at, (value,) in enumerate(struct.iter_unpack("=Q", data))}


def names(flags: int) -> list[str]:
    """The names of the bits that are set, unknown ones as ``bitN``."""
    known = {bit: name for name, bit in BITS.items()}
    return [known.get(bit, f"bit{bit}") for bit in range(64) if flags >> bit & 1]
