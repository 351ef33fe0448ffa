# SPDX-License-Identifier: GPL-2.0-only
"""Who holds a page, as the kernel tells it: page_owner's records, and the pages that it dumps.

Source: Documentation/mm/page_owner.rst, mm/page_owner.c (print_page_owner), mm/debug.c
(__dump_page: since v4.17 with the pfn). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.model import Caller

_ALLOCATED = re.compile(
    r"^Page allocated via order (\d{1,2}), .{0,300}?, pid (\d{1,10})"
    r"(?:, tgid \d{1,10} \((.{0,16}?)\))?"
)
_PFN = re.compile(r"^PFN (0x[0-9a-f]{1,16}|\d{1,19}) type (\w+) Block \d+ type (\w+)")
FRAME = re.compile(
    r"^ +(?:\[<[0-9a-f]{1,16}>\] )?([A-Za-z_][\w.]{0,200})"
    r"\+0x[0-9a-f]{1,16}/0x[0-9a-f]{1,16}(?: \[(\w{1,64})\])?"
)
_PAGE = re.compile(
    r"\bpage: ?refcount:(-?\d{1,10}) mapcount:(-?\d{1,10}) .*?\bpfn:0x([0-9a-f]{1,16})\s*$"
)
_FLAGS = re.compile(r"\bflags: 0x[0-9a-f]{1,16}\(([^()]{0,300})\)")
_TYPE = re.compile(r"\bpage_type: f?[0-9a-fx]{1,10}\((\w{1,24})\)")
_WHY = re.compile(r"\bpage dumped because: (.{1,120}?)\s*$")
_STAMP = re.compile(r"^\[ *\d{1,10}\.\d{1,9}\]")
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
    """A page that the kernel dumped. type: ``slab`` and such, "" if it says none. stack: of its
    allocation, where page_owner is on."""

    pfn: int
    refcount: int
    mapcount: int
    flags: str = ""
    type: str = ""
    why: str = ""
    stack: tuple[Caller, ...] = ()


def owner(record: str) -> Owner | None:
    """A record of page_owner, None where the text is none (free pages have none)."""
    lines = record.splitlines()
    first = _ALLOCATED.match(lines[0]) if lines else None
    second = _PFN.match(lines[1]) if len(lines) > 1 else None
    if first is None or second is None:
        return None
    frames = []
    for line in lines[2:]:
        found = FRAME.match(line)
        if found is None:
            break
        frames.append(Caller(found[1], found[2] or ""))
    return Owner(
        pfn=int(second[1], 0),
        order=int(first[1]),
        pid=int(first[2]),
        comm=first[3] or "",
        type=second[2],
        stack=own(frames),
    )


def dumps(lines: Iterable[str]) -> Iterator[tuple[int, Dumped]]:
    """(line, page) for each page that a kernel log shows dumped; line: where, counted from 1.

    A dump that breaks off counts, with what was said of it.
    """
    dump: _Dump | None = None
    for number, line in enumerate(lines, 1):
        if dump is not None and not dump.take(line):
            yield dump.line, dump.page()
            dump = None
        if dump is None and (found := _PAGE.search(line)) is not None:
            dump = _Dump(number, found)
    if dump is not None:
        yield dump.line, dump.page()


class _Dump:
    """One dump as its lines come."""

    def __init__(self, line: int, found: re.Match[str]) -> None:
        self.line = line
        self._page = Dumped(int(found[3], 16), int(found[1]), int(found[2]))
        self._frames: list[Caller] = []
        self._told = self._allocated = False

    def take(self, line: str) -> bool:
        """Whether a line belongs to it; the reason is the last but for page_owner's stack."""
        if _PAGE.search(line) is not None:
            return False
        if self._allocated:
            found = FRAME.match(_STAMP.sub("", line))
            if found is None:
                return False
            self._frames.append(Caller(found[1], found[2] or ""))
        elif self._told:
            self._allocated = "page last allocated via" in line
            return self._allocated or "page_owner tracks the page" in line
        elif (flags := _FLAGS.search(line)) is not None:
            self._page = replace(self._page, flags=flags[1])
        elif (kind := _TYPE.search(line)) is not None:
            self._page = replace(self._page, type=kind[1])
        elif (why := _WHY.search(line)) is not None:
            self._page = replace(self._page, why=why[1])
            self._told = True
        return True

    def page(self) -> Dumped:
        return replace(self._page, stack=own(self._frames))


def own(frames: Sequence[Caller]) -> tuple[Caller, ...]:
    """A stack without the page allocator's own calls at its top."""
    at = next((n for n, f in enumerate(frames) if not _ALLOCATORS.match(f.function)), len(frames))
    return tuple(frames[at:])
