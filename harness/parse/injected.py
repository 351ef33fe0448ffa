# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's reports of allocations that it failed because it was told to. Pure.

Source: lib/fault-inject.c (fail_dump): a line, since v3.14 the attributes, and a stack where
``verbose`` is 2. Since v6.0 allocations with __GFP_NOWARN fail without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.model import Caller
from harness.parse.page_owner import FRAME

_REPORT = re.compile(r"\bFAULT_INJECTION: forcing a failure")
_STAMP = re.compile(r"^(?:<\d>)?\[ *\d{1,10}\.\d{1,9}\](?:\[ *[CT]\d+\])?")
_DOUBT = re.compile(r" \? ")
# What lies between the report and the call that failed
_INJECTORS = re.compile(
    r"^(?:dump_stack\w*|show_stack\w*|__dump_stack|dump_backtrace\w*|fail_dump|should_fail\w*"
    r"|__should_fail\w*|slab_pre_alloc_hook\w*|prepare_alloc_pages\w*)(?:\.|$)"
)
_MOVING = re.compile(r"migrat|compact|offline_pages|alloc_contig|pinpage|movable", re.IGNORECASE)


def reports(lines: Iterable[str]) -> list[tuple[Caller, ...]]:
    """The stack of each report, the call that failed first; empty where none was printed."""
    found: list[list[Caller]] = []
    ended = False
    for raw in lines:
        if _REPORT.search(raw):
            found.append([])
            ended = False
            continue
        line = _STAMP.sub("", raw)
        if _DOUBT.search(line):
            continue
        frame = FRAME.match(line)
        if frame is None:
            ended = ended or bool(found and found[-1])
        elif found and not ended:
            found[-1].append(Caller(frame[1], frame[2] or ""))
    return [_of_call(frames) for frames in found]


def _of_call(frames: list[Caller]) -> tuple[Caller, ...]:
    at = next((n for n, f in enumerate(frames) if not _INJECTORS.match(f.function)), len(frames))
    return tuple(frames[at:])


def while_moving(stack: Iterable[Caller]) -> bool:
    """Whether a call was made on the way of a page that is migrated."""
    return any(_MOVING.search(caller.function) for caller in stack)
