# SPDX-License-Identifier: GPL-2.0-only
"""Where the processors of a guest are that answers nothing, as QEMU sees them from outside.

Only the kernel's own functions are told, by System.map; one that was moved at its boot (KASLR) has
none that fit. Its stack is read word by word: not all that looks like a return address is one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.parse.blocked import Task
from harness.vm.qmp import Monitor, MonitorError

_CPU = re.compile(r"^CPU#(\d+)\r?$", re.MULTILINE)
_AT = re.compile(r"\b(?:RIP|PC)=([0-9a-f]{16})\b")
_STACK = re.compile(r"\b(?:RSP|SP)=([0-9a-f]{16})\b")
_WORD = re.compile(r"0x([0-9a-f]{16})\b")
_WORDS = 160  # of a stack that are looked at
_IDLE = re.compile(r"(?:pv_native_safe|native_safe|default)_(?:halt|idle)|\w*cpu_(?:do_)?idle")

_OUTSIDE = re.compile(r"_etext|_einittext|_text|_stext")  # no functions


@dataclass(frozen=True)
class Symbols:
    """The functions of a System.map."""

    text: str

    @cached_property
    def _sorted(self) -> tuple[list[int], list[str]]:
        rows = sorted(
            (int(words[0], 16), words[2])
            for line in self.text.splitlines()
            if len(words := line.split()) == 3 and words[1] in "tTwW"
        )
        return [row[0] for row in rows], [_OUTSIDE.sub("", row[1]) for row in rows]

    def find(self, address: int) -> tuple[str, str]:
        """The function that an address is in, and that place as the kernel would print it:
        ``name+0xOFFSET/0xSIZE``; "" twice outside of them."""
        starts, names = self._sorted
        at = bisect_right(starts, address) - 1
        if not 0 <= at < len(names) - 1 or not names[at]:  # behind the last, nobody knows
            return "", ""
        size = starts[at + 1] - starts[at]
        return names[at], f"{names[at]}+{address - starts[at]:#x}/{size:#x}"


def look(monitor: Monitor, system_map: Path) -> tuple[Task, ...]:
    """Those of the processors that are in the kernel, and not idle; () where nothing fits."""
    try:
        symbols = Symbols(system_map.read_text(encoding="ascii", errors="replace"))
        monitor.execute("stop")
        try:
            said = monitor.human("info registers -a")
            return tuple(_processors(monitor, symbols, said))
        finally:
            monitor.execute("cont")
    except (OSError, MonitorError):
        return ()


def _processors(monitor: Monitor, symbols: Symbols, said: str) -> Iterator[Task]:
    parts = _CPU.split(said)
    for number, registers in zip(parts[1::2], parts[2::2], strict=True):
        at, stack = _AT.search(registers), _STACK.search(registers)
        here, place = symbols.find(int(at[1], 16)) if at is not None else ("", "")
        if not here or _IDLE.fullmatch(here):
            continue
        names, lines = [here], [f"pc : {place}"]
        if stack is not None:
            monitor.human(f"cpu {number}")
            words = monitor.human(f"x/{_WORDS}gx 0x{stack[1]}")
            for name, place in (symbols.find(int(word, 16)) for word in _WORD.findall(words)):
                if name:
                    names.append(name)
                    lines.append(f" ? {place}")
        report = "\n".join(dict.fromkeys(lines))
        yield Task("", 0, int(number), tuple(dict.fromkeys(names)), report)
