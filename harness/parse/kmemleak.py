# SPDX-License-Identifier: GPL-2.0-only
"""What kmemleak lists, and names for the calls of a module that is gone. Pure.

Source: Documentation/dev-tools/kmemleak.rst, mm/kmemleak.c (print_unreferenced). A module's
functions lose their names when it goes (the stack is printed with ``%pS``), so they are noted
before, from /proc/kallsyms.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.model import Caller

_FIRST = re.compile(
    r"^(?:kmemleak: )?unreferenced object (?:\(percpu\) )?0x[0-9a-f]{1,16} \(size (\d{1,19})\)"
)
_WHO = re.compile(r'^  comm "(.{0,16}?)", pid \d{1,10}')
_CALL = re.compile(
    r"^ +(?:\[<[0-9a-f]{1,16}>\] )?"
    r"(?:([A-Za-z_][\w.]{0,200})\+0x[0-9a-f]{1,16}/0x[0-9a-f]{1,16}(?: \[(\w{1,64})\])?"
    r"|0x([0-9a-f]{1,16}))\s*$"
)
_SYMBOL = re.compile(r"^([0-9a-f]{1,16}) [tT] ([\w.]{1,255})\t\[(\w{1,64})\]$")
_SPAN = 1 << 16  # bytes behind a module's last symbol that may be that function's
# What every allocation goes through, which tells nothing of who asked for it.
_ALLOCATORS = re.compile(
    r"^(?:__)?(?:kmalloc|kmem_cache_alloc|kmemleak_alloc|slab_post_alloc|vmalloc|kvmalloc|krealloc"
    r"|kmalloc_node_track_caller|alloc_pages)\w*$"
)


@dataclass(frozen=True)
class Symbol:
    """A function of a module and its address."""

    address: int
    name: str
    module: str


@dataclass(frozen=True)
class Leak:
    """An object that nothing points at. size: bytes. stack: of its allocation, the latest call
    first, the allocators' own left out. text: as it was listed."""

    size: int
    comm: str
    stack: tuple[Caller, ...]
    text: str


def symbols(kallsyms: Iterable[str]) -> tuple[Symbol, ...]:
    """The functions of modules in /proc/kallsyms, by address; those that hide theirs (0) not."""
    found = [
        Symbol(int(match[1], 16), match[2], match[3])
        for line in kallsyms
        if (match := _SYMBOL.match(line)) and int(match[1], 16)
    ]
    return tuple(sorted(found, key=lambda symbol: symbol.address))


def leaks(text: str, known: Sequence[Symbol] = ()) -> tuple[Leak, ...]:
    """Each object of /sys/kernel/debug/kmemleak."""
    found = []
    for block in _blocks(text.splitlines()):
        first = _FIRST.match(block[0])
        assert first is not None  # a block begins with it
        who = next((match[1] for line in block if (match := _WHO.match(line))), "")
        calls = [_caller(match, known) for line in block if (match := _CALL.match(line))]
        stack = [call for call in calls if not _ALLOCATORS.match(call.function)]
        found.append(Leak(int(first[1]), who, tuple(stack or calls), "\n".join(block)))
    return tuple(found)


def _blocks(lines: Iterable[str]) -> list[list[str]]:
    blocks: list[list[str]] = []
    for line in lines:
        if _FIRST.match(line):
            blocks.append([line])
        elif blocks:
            blocks[-1].append(line)
    return blocks


def _caller(match: re.Match[str], known: Sequence[Symbol]) -> Caller:
    if match[1]:
        return Caller(match[1], match[2] or "")
    address = int(match[3], 16)
    at = bisect.bisect_right(known, address, key=lambda symbol: symbol.address) - 1
    if at < 0 or address - known[at].address >= _SPAN:
        return Caller(f"0x{address:x}")
    return Caller(known[at].name, known[at].module)
