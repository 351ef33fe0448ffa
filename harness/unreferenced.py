# SPDX-License-Identifier: GPL-2.0-only
"""What kmemleak listed, as reports of the kernel's. Pure.

An object that leaked counts where a guest module or the subsystem (mm/pinpage.c) is on the stack of
its allocation. What the rest of the kernel leaked is shown, and counts for nothing: it is no work
of the series.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.model import Caller, Splat
from harness.seen import Leak, Seen, calls

KIND = "kmemleak"
NEXT = "the events of kmemleak in events.jsonl have each object with its stack and its contents"
_SUBSYSTEM = re.compile(r"pinpage|^general_(?:add|del|find|dup)_page$")


def reports(seen: Sequence[Seen]) -> tuple[Splat, ...]:
    """A report for each arm and stack; line 0: it is no part of the console."""
    found: list[Splat] = []
    for each in seen:
        alike: dict[tuple[Caller, ...], list[Leak]] = {}
        for leak in each.leaks:
            alike.setdefault(leak.stack, []).append(leak)
        found += [_report(each.plan.name, stack, leaks) for stack, leaks in alike.items()]
    return tuple(found)


def _report(arm: str, stack: Sequence[Caller], leaks: Sequence[Leak]) -> Splat:
    size = sum(leak.size for leak in leaks)
    objects = "object" if len(leaks) == 1 else "objects"
    title = f"kmemleak: {len(leaks)} unreferenced {objects}, {size} bytes"
    if stack:
        title += f", allocated by {calls(stack)}"
    return Splat(
        kind=KIND,
        title=title,
        function=stack[0].function if stack else "",
        first_line=0,
        last_line=0,
        report=leaks[0].text,
        arm=arm,
        provoked=not any(call.module or _SUBSYSTEM.search(call.function) for call in stack),
    )
