# SPDX-License-Identifier: GPL-2.0-only
"""The parts of a report: what the kernel says in words, and each of its stacks under its heading.

Pure. A stack is lines that are a function and an offset and nothing else; its heading is the line
above it ("Call Trace:", "Freed by task 66:", "page last free pid 1 tgid 1 stack trace:",
"read to 0x… of 8 bytes by task 59 on cpu 0:"). A heading of one line may stand over lines that
name a function beside other things ("4 locks held by dd/70:").
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from harness.parse.splat_text import CODE, PLACE, split

_STACK = re.compile(
    r"(?:\[?<[0-9a-f]{8,16}>\]?\s+)?(?:\? ?)?[A-Za-z_$][\w$.]{0,200}"
    r"(?:\+0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8}(?: \[[^\]]{1,128}\])?(?: \(\w{1,8}\))?"
    rf"|{PLACE}(?: \w+)?)"
)
_FRAME = re.compile(rf"\+0x[0-9a-f]{{1,8}}/0x[0-9a-f]{{1,8}}|\w{PLACE}")
_MARK = re.compile(r"</?[A-Z#][\w-]*>|<<\w+>>|-{2,}.*|=*")  # <TASK>, <IRQ>; and nothing at all
# Registers, code, and who runs: what stands in any report, and within a stack at an exception.
_STATE = re.compile(
    r"(?:[A-Z][A-Z0-9_]{1,7}|[xr]\d{1,2}|sp|pstate|psr) ?: (?:0x)?[0-9a-f]{4,16}\b|Code:|Tainted:"
    r"|CPU: |CPU#\d|Hardware name:|Modules linked in|Workqueue:|raw: |Kernel Offset|[CDF][RS]\d?:"
    rf"|RIP:|NIP:|ORIG_RAX:|(?:pc|lr) :|{CODE}"
)
_TRACE = re.compile(r"(?:[Cc]all [Tt]race|[Bb]acktrace|[Ss]tack trace)\b")


# Of a report there may be several that read alike, as "Call Trace:" of each processor.
Heading = tuple[int, str]
NONE: Heading = (0, "")


@dataclass(frozen=True)
class Sections:
    """heading: that of each line that names a function, and the number of the line that it is
    (from 1), by the line's own number; NONE for what belongs to none. said: what stands in front
    of the first stack in words, without the headline, registers and the like."""

    heading: dict[int, Heading] = field(default_factory=dict)
    said: tuple[str, ...] = ()


def is_trace(heading: Heading) -> bool:
    """Whether a stack is that of the report itself, and not of an earlier event."""
    return _TRACE.match(heading[1]) is not None


def sections(report: str) -> Sections:
    """Take a report apart."""
    texts = [split(raw)[0].strip() for raw in report.split("\n")]
    heading: dict[int, Heading] = {}
    said: list[str] = []
    current = NONE
    within = False  # a stack, or what stands in between in it
    headline = next((number for number, text in enumerate(texts, 1) if not _quiet(text)), 0)
    for number, text in enumerate(texts, 1):
        if _STACK.fullmatch(text):
            if not within:
                current = _above(texts, number - 1)
                within = True
            heading[number] = current
        elif _FRAME.search(text):
            heading[number] = NONE if within else current
        elif not _quiet(text):
            within = False
            current = (number, text) if text.endswith(":") else NONE
            if number != headline and all(each == NONE for each in heading.values()):
                said.append(text)
    headings = {text for _, text in heading.values()}
    return Sections(heading, tuple(text for text in said if text not in headings))


def _quiet(text: str) -> bool:
    return _MARK.fullmatch(text) is not None or _STATE.match(text) is not None


def _above(texts: list[str], index: int) -> Heading:
    """The line over a stack: what is no mark, no register and no stack."""
    for number in range(index, 0, -1):
        text = texts[number - 1]
        if not _quiet(text):
            return NONE if _FRAME.search(text) else (number, text)
    return NONE
