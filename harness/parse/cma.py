# SPDX-License-Identifier: GPL-2.0-only
"""Contiguous memory: the module's results, and the areas that a kernel log tells of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from harness.parse.lines import body, integer, refuse

HEADER = "cma_alloc-results 1"
_PAGE = 4096
# "cma: CMA: reserved 64 MiB at 3c000000" (v3.11), "cma: Reserved 64 MiB at 0x7c000000[ on node -1]"
_RESERVED = re.compile(r"cma: (?:CMA: )?[Rr]eserved (\d{1,7}) MiB at (?:0x)?([0-9a-f]{1,16})\b")


@dataclass(frozen=True)
class Result:
    """One attempt. align: an order of pages. pfn: 0 where nothing was had. seconds: its time."""

    seq: int
    thread: int
    pages: int
    align: int
    pfn: int
    errno: int
    seconds: float


@dataclass(frozen=True)
class Area:
    """A contiguous area: its name, first frame, and number of frames."""

    name: str
    first: int
    count: int

    def has(self, first: int, count: int) -> bool:
        return self.first <= first and first + count <= self.first + self.count

    def longest_run(self, taken: Iterable[int]) -> int:
        """The most frames of it in a row of which none is one of these."""
        own = sorted(frame for frame in taken if self.has(frame, 1))
        edges = [self.first - 1, *own, self.first + self.count]
        return max(later - earlier - 1 for earlier, later in pairwise(edges))


def results(text: str) -> tuple[Result, ...]:
    """The lines of ``results``; refused if it was cut short, or older ones no longer fit."""
    source, found, dropped, number = "cma_alloc results", list[Result](), None, 1
    for number, line in body(text, HEADER, source):
        words = line.split()
        if dropped is not None:
            raise refuse(source, number, "nothing may follow the 'dropped' line", line)
        if words[:1] == ["dropped"] and len(words) == 2:
            dropped = integer(words[1], source, number, line)
            continue
        if len(words) != 7:
            raise refuse(source, number, f"7 fields are due, there are {len(words)}", line)
        seq, thread, pages, align, pfn, errno, nanoseconds = (
            integer(word, source, number, line) for word in words
        )
        found.append(Result(seq, thread, pages, align, pfn, errno, nanoseconds / 1e9))
    if dropped is None:
        raise refuse(source, number, "it is cut short: there is no 'dropped' line at its end")
    if dropped:
        raise refuse(source, number, f"{dropped} results no longer fit in it")
    return tuple(found)


def reserved(lines: Iterable[str]) -> Iterator[Area]:
    """The areas that a kernel says at boot it has reserved."""
    for line in lines:
        if match := _RESERVED.search(line):
            first, size = int(match[2], 16), int(match[1]) << 20
            yield Area("reserved", first // _PAGE, size // _PAGE)
