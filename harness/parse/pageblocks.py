# SPDX-License-Identifier: GPL-2.0-only
"""What the pageblocks of a machine are full of, by /proc/kpageflags. Pure.

Source: fs/proc/page.c (stable_page_flags). Before v4.15 only the first frame of a free block says
that it is free; those behind it, up to where the block has to end, say nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import astuple, dataclass

from harness.errors import EvidenceError
from harness.parse.pageflags import BITS, ENTRY

PAGEBLOCK = 512  # frames: order 9, on x86_64 and on arm64 with pages of 4 KiB


def _bits(*names: str) -> int:
    return sum(1 << BITS[name] for name in names)


_ABSENT = _bits("NOPAGE", "OFFLINE")
_FREE = _bits("BUDDY")
_HUGE = _bits("HUGE", "THP")
_MOVABLE = _bits("LRU", "ANON", "MMAP", "SWAPCACHE", "KSM")
_KINDS = ((4, _ABSENT), (2, _HUGE), (1, _MOVABLE))  # places in Content
_LARGEST = 1 << 10  # frames of the largest free block


@dataclass(frozen=True)
class Content:
    """Frames of a pageblock, by what they are. kernel: whatever is none of the others; pins are
    among them, as no flag tells those apart."""

    free: int = 0
    movable: int = 0
    huge: int = 0
    kernel: int = 0
    absent: int = 0


@dataclass(frozen=True)
class Run:
    """Neighbouring pageblocks with the same content. first: page frame; blocks: how many."""

    first: int
    blocks: int
    content: Content


def pageblocks(data: bytes) -> tuple[Run, ...]:
    """The pageblocks of /proc/kpageflags, read from its beginning; the last may be a part.

    Those with nothing in them (holes, memory that is offline) are left out at the end.
    """
    if len(data) % ENTRY:
        raise EvidenceError(
            f"/proc/kpageflags: {len(data)} bytes are no whole number of entries",
            hint="the guest cut its answer short; run it again",
        )
    runs: list[Run] = []
    for first, content in _contents(data):
        last = runs[-1] if runs else None
        if last is not None and last.content == content:
            runs[-1] = Run(last.first, last.blocks + 1, content)
        else:
            runs.append(Run(first, 1, content))
    if runs and runs[-1].content == Content(absent=PAGEBLOCK):
        runs.pop()
    return tuple(runs)


def _contents(data: bytes) -> Iterator[tuple[int, Content]]:
    size = PAGEBLOCK * ENTRY
    hole = struct.pack("=Q", 1 << BITS["NOPAGE"]) * PAGEBLOCK
    empty = Content(absent=PAGEBLOCK)
    free_until = 0
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        first = at // ENTRY
        if piece == hole:
            yield first, empty
            continue
        counts = [0, 0, 0, 0, 0]
        for frame, (flags,) in enumerate(struct.iter_unpack("=Q", piece), first):
            if flags & _FREE:
                kind = 0
                if frame >= free_until:
                    free_until = frame + min(_LARGEST, frame & -frame or _LARGEST)
            elif not flags and frame < free_until:
                kind = 0
            else:
                free_until = min(frame, free_until)
                kind = next((at for at, bits in _KINDS if flags & bits), 3)
            counts[kind] += 1
        yield first, Content(*counts)


def row(run: Run) -> list[int]:
    """A run as an event has it: first frame, blocks, and the counts in Content's order."""
    return [run.first, run.blocks, *astuple(run.content)]
