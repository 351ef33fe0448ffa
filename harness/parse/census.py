# SPDX-License-Identifier: GPL-2.0-only
"""Who has how much memory: page_owner's stacks, slab counts, modules, free pages. Pure.

Source: mm/page_owner.c (stack_print, since v6.9), mm/slub.c and mm/slab_common.c (slabinfo 2.1),
kernel/module/procfs.c, mm/vmstat.c (zoneinfo_show_print).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.model import Caller
from harness.parse.lines import integer, refuse
from harness.parse.page_owner import own

_FRAME = re.compile(
    r"([A-Za-z_][\w.]{0,200})\+0x[0-9a-f]{1,16}/0x[0-9a-f]{1,16}(?: \[(\w{1,64})\])?$"
)
_ADDRESS = re.compile(r"0x([0-9a-f]{1,16})$")
_SYMBOL = re.compile(r"([0-9a-f]{8,16}) [a-zA-Z] ([A-Za-z_][\w.]{0,200})\t\[(\w{1,64})\]$")
_PAGES = "nr_base_pages:"
_SLABINFO = "slabinfo - version: 2.1"
_FREE = re.compile(r"^ *(?:pages free|count:) +(\d{1,12})$", re.MULTILINE)
_FAR = 1 << 16  # bytes behind a symbol that may still be the function's

Stack = tuple[Caller, ...]


@dataclass(frozen=True)
class Symbols:
    """Functions of modules by address, for stacks that outlive their module."""

    addresses: tuple[int, ...]
    callers: tuple[Caller, ...]

    def find(self, address: int) -> Caller:
        """The function that an address lies in; "?" where none is known there."""
        at = bisect_right(self.addresses, address) - 1
        if at < 0 or address - self.addresses[at] > _FAR:
            return Caller("?")
        return self.callers[at]


def symbols(kallsyms: Iterable[str], before: Symbols | None = None) -> Symbols:
    """The functions of /proc/kallsyms that are modules', over those of an earlier reading."""
    known = dict(zip(before.addresses, before.callers, strict=True)) if before else {}
    for line in kallsyms:
        if found := _SYMBOL.match(line):
            known[int(found[1], 16)] = Caller(found[2], found[3])
    addresses = tuple(sorted(known))
    return Symbols(addresses, tuple(known[each] for each in addresses))


def stacks(text: str, modules: Symbols) -> Counter[Stack]:
    """Stack of an allocation, the latest call first → pages that it has now.

    Stacks that differ in offsets alone are one.
    """
    pages: Counter[Stack] = Counter()
    frames: list[Caller] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith(_PAGES):
            count = integer(line.removeprefix(_PAGES).strip(), "show_stacks", number, raw)
            pages[own(frames)] += count
            frames = []
        elif found := _FRAME.match(line):
            frames.append(Caller(found[1], found[2] or ""))
        elif found := _ADDRESS.match(line):
            frames.append(modules.find(int(found[1], 16)))
        elif line:
            raise refuse("show_stacks", number, "neither a call nor a number of pages", raw)
    if frames:
        raise refuse("show_stacks", 1, "it is cut short: the last stack has no number of pages")
    return pages


def slabinfo(text: str) -> Mapping[str, tuple[int, int]]:
    """Cache → (objects in use, bytes of one)."""
    lines = text.splitlines()
    if not lines or not lines[0].startswith(_SLABINFO):
        raise refuse("slabinfo", 1, f"{_SLABINFO!r} is due", lines[0] if lines else "")
    found = {}
    for number, line in enumerate(lines[1:], 2):
        words = line.split()
        if not words or words[0] == "#":
            continue
        if len(words) < 4:
            raise refuse("slabinfo", number, "a name and three numbers are due", line)
        active, _, size = (integer(word, "slabinfo", number, line) for word in words[1:4])
        found[words[0]] = active, size
    return found


def modules(text: str) -> Mapping[str, int]:
    """Module → references, by /proc/modules."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if len(words) < 3:
            raise refuse("modules", number, "a name, a size and references are due", line)
        found[words[0]] = integer(words[2], "modules", number, line)
    return found


def free(zoneinfo: str) -> int:
    """Free pages, those of the processors' own lists included: the two change places."""
    counts = _FREE.findall(zoneinfo)
    if not counts:
        raise refuse("zoneinfo", 1, "it has no free pages")
    return sum(map(int, counts))
