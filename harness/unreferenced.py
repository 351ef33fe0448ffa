# SPDX-License-Identifier: GPL-2.0-only
"""What kmemleak listed, as reports of the kernel's. Pure.

An object that leaked counts where a guest module or the subsystem (mm/pinpage.c) is on the stack of
its allocation; and where a migration is, and the control arm has fewer of that stack. What the rest
of the kernel leaked is shown, and counts for nothing: it is no work of the series.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from harness.leakage import of_a_move
from harness.model import Caller, Splat
from harness.seen import Leak, Seen, calls

KIND = "kmemleak"
NEXT = "the events of kmemleak in events.jsonl have each object with its stack and its contents"
_SUBSYSTEM = re.compile(r"pinpage|^general_(?:add|del|find|dup)_page$")


def reports(seen: Sequence[Seen]) -> tuple[Splat, ...]:
    """A report for each arm and stack; line 0: it is no part of the console."""
    found: list[Splat] = []
    plain = Counter(
        leak.stack for each in seen if each.plan.role == "control" for leak in each.leaks
    )
    for each in seen:
        alike: dict[tuple[Caller, ...], list[Leak]] = {}
        for leak in each.leaks:
            alike.setdefault(leak.stack, []).append(leak)
        for stack, leaks in alike.items():
            moved = each.plan.role == "treated" and len(leaks) > plain[stack] and of_a_move(stack)
            found.append(_report(each.plan.name, stack, leaks, ours=moved or _ours(stack)))
    return tuple(found)


def _ours(stack: Sequence[Caller]) -> bool:
    return any(call.module or _SUBSYSTEM.search(call.function) for call in stack)


def _report(arm: str, stack: Sequence[Caller], leaks: Sequence[Leak], *, ours: bool) -> Splat:
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
        provoked=not ours,
    )
