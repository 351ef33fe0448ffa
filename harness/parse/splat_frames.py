# SPDX-License-Identifier: GPL-2.0-only
"""The functions that a report names with an offset: ``migrate_pages+0x12/0x34 [module]``.

Pure. Every line of a report may have one: a program counter, a frame of a stack, the holder of a
lock. What an offset means differs:

- a program counter (``RIP:``, ``pc :``, ``IP:``, a WARN that is a trap), and a frame that repeats
  one, is the address of an instruction; so is the frame behind the entry of an exception from the
  kernel (arm64's ``el1h_64_irq``);
- any other is where a call returns to, so what was called stands one byte earlier; with offset 0
  that is in another function, whose name is not known, and it is left out.

What need not be on the way to what happened is not ``sure``: what the kernel doubts
(``? foo+0x…``), a link register, who allocated a page that is dumped, and who changed the
interrupts last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.model import Frame
from harness.parse.splat_text import split

MAX_FRAMES = 512  # of one report

_FRAME = re.compile(
    r"(?:\[?<(?P<address>[0-9a-f]{8,16})>\]?\s+)?(?P<doubt>\? ?)?"
    r"(?<![\w$.])(?P<name>[A-Za-z_$][\w$.]{0,200})"
    r"\+0x(?P<offset>[0-9a-f]{1,8})/0x(?P<size>[0-9a-f]{1,8})(?![\w/])"
    r"(?: \[(?P<module>[A-Za-z_]\w{0,63})[^\]]{0,64}\])?"
)
_COUNTER = re.compile(r"(?:RIP|EIP|IP|pc|PC is at)\b")
# With "()" behind the symbol the line is warn_slowpath()'s: the address that it returns to.
_WARNED = re.compile(r"WARNING: (?:CPU: \d+ PID: \d+ )?(?:at \S|\S{1,200}:\d+ at )")
# "kernel BUG at mm/x.c:12!", "WARNING: CPU: 0 PID: 1 at mm/x.c:12 foo", "WARNING: mm/x.c:12 at foo"
_TRAP = re.compile(
    r"(?:kernel BUG at |WARNING: (?:CPU: \d+ PID: \d+ )?(?:at )?)"
    r"(?P<file>\w[\w+.-]{0,63}(?:/\w[\w+.-]{0,63}){0,16}\.[chS]):(?P<line>\d{1,6})\b"
)
_LINK = re.compile(r"(?:lr|LR is at|ra|LR)\b")
_BESIDE = re.compile(r"(?:hard|soft)irqs last  ?(?:en|dis)abled at")
_OWNER = re.compile(r"page_owner |page last (?:allocated|free) ")
_ENTRY = re.compile(r"el1h?_(?:64_)?(?:irq|fiq|sync|dbg|da|error|undef|bti|inv)\b")


def frames(report: str) -> Iterator[Frame]:
    """The functions of a report, in its order."""
    counters: set[tuple[str, str, int]] = set()
    entered = owner = False
    count = 0
    for number, raw in enumerate(report.split("\n"), 1):
        text, _ = split(raw)
        text = text.strip()
        counter = _COUNTER.match(text) is not None
        link = _LINK.match(text) is not None
        warned = _WARNED.match(text) is not None and not text.endswith("()")
        beside = link or _BESIDE.match(text) is not None
        owner = _OWNER.match(text) is not None or (owner and _FRAME.search(text) is not None)
        for found in _FRAME.finditer(text):
            name, offset = found["name"], int(found["offset"], 16)
            key = (name, found["module"] or "", offset)
            exact = counter or warned or (not link and (entered or key in counters))
            entered = _ENTRY.match(name) is not None
            if counter or warned:
                counters.add(key)
            if not exact and offset == 0:
                continue
            count += 1
            if count > MAX_FRAMES:
                return
            yield Frame(
                line=number,
                function=name,
                offset=offset,
                size=int(found["size"], 16),
                module=found["module"] or "",
                address=int(found["address"], 16) if found["address"] else None,
                sure=not (beside or owner or found["doubt"]),
                exact=exact,
            )


def trap(report: str) -> tuple[str, int] | None:
    """File (below the kernel's tree) and line of the BUG or WARN of a report, as it says itself.

    Of what is compiled from elsewhere, by an absolute path, None.
    """
    for raw in report.split("\n"):
        found = _TRAP.match(split(raw)[0].strip())
        if found is not None:
            return found["file"], int(found["line"])
    return None
