# SPDX-License-Identifier: GPL-2.0-only
"""Who holds a page, as the kernel tells it: page_owner's records, and the pages that it dumps.

Source: Documentation/mm/page_owner.rst, mm/page_owner.c (print_page_owner), mm/debug.c
(__dump_page: since v4.17 with the pfn). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from harness.model import Caller

_ALLOCATED = re.compile(
    r"^Page allocated via order (\d{1,2}), .{0,300}?, pid (\d{1,10})"
    r"(?:, tgid \d{1,10} \((.{0,16}?)\))?"
)
_PFN = re.compile(r"^PFN (0x[0-9a-f]{1,16}|\d{1,19}) type (\w+) Block \d+ type (\w+)")
_FRAME = re.compile(
    r"^ +(?:\[<[0-9a-f]{1,16}>\] )?([A-Za-z_][\w.]{0,200})"
    r"\+0x[0-9a-f]{1,16}/0x[0-9a-f]{1,16}(?: \[(\w{1,64})\])?"
)
_PAGE = re.compile(
    r"\bpage: ?refcount:(-?\d{1,10}) mapcount:(-?\d{1,10}) .*?\bpfn:0x([0-9a-f]{1,16})\s*$"
)
_FLAGS = re.compile(r"\bflags: 0x[0-9a-f]{1,16}\(([^()]{0,300})\)")
_TYPE = re.compile(r"\bpage_type: f?[0-9a-fx]{1,10}\((\w{1,24})\)")
_WHY = re.compile(r"\bpage dumped because: (.{1,120}?)\s*$")
# What every allocation of a page goes through, which tells nothing of who asked for it.
_ALLOCATORS = re.compile(
    r"^(?:__)?(?:set_page_owner|post_alloc_hook|prep_new_page|get_page_from_freelist|alloc_pages?\w*"
    r"|folio_alloc\w*|alloc_frozen_pages\w*|vma_alloc_folio\w*|save_stack\w*|stack_trace_save\w*)"
)


@dataclass(frozen=True)
class Owner:
    """A page's allocation. stack: the latest call first, the page allocator's own left out."""

    pfn: int
    order: int
    pid: int
    comm: str
    type: str
    stack: tuple[Caller, ...]

    @property
    def module(self) -> str:
        """The module that asked for it, "" if the kernel itself did."""
        return next((caller.module for caller in self.stack if caller.module), "")


@dataclass(frozen=True)
class Dumped:
    """A page that the kernel dumped. type: ``slab`` and such, "" if it says none."""

    pfn: int
    refcount: int
    mapcount: int
    flags: str = ""
    type: str = ""
    why: str = ""


def owner(record: str) -> Owner | None:
    """A record of page_owner, None where the text is none (free pages have none)."""
    lines = record.splitlines()
    first = _ALLOCATED.match(lines[0]) if lines else None
    second = _PFN.match(lines[1]) if len(lines) > 1 else None
    if first is None or second is None:
        return None
    frames = []
    for line in lines[2:]:
        found = _FRAME.match(line)
        if found is None:
            break
        frames.append(Caller(found[1], found[2] or ""))
    while frames and _ALLOCATORS.match(frames[0].function):
        frames.pop(0)
    return Owner(
        pfn=int(second[1], 0),
        order=int(first[1]),
        pid=int(first[2]),
        comm=first[3] or "",
        type=second[2],
        stack=tuple(frames),
    )


def dumps(lines: Iterable[str]) -> Iterator[tuple[int, Dumped]]:
    """(line, page) for each page that a kernel log shows dumped; line: where, counted from 1.

    A dump that breaks off counts, with what was said of it.
    """
    now: tuple[int, Dumped] | None = None
    for number, line in enumerate(lines, 1):
        if (page := _PAGE.search(line)) is not None:
            if now is not None:
                yield now
            now = number, Dumped(int(page[3], 16), int(page[1]), int(page[2]))
        elif now is None:
            continue
        elif (flags := _FLAGS.search(line)) is not None:
            now = now[0], replace(now[1], flags=flags[1])
        elif (kind := _TYPE.search(line)) is not None:
            now = now[0], replace(now[1], type=kind[1])
        elif (why := _WHY.search(line)) is not None:
            yield now[0], replace(now[1], why=why[1])
            now = None
    if now is not None:
        yield now
