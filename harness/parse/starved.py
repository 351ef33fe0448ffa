# SPDX-License-Identifier: GPL-2.0-only
"""Stalls that are no sign of a kernel that is stuck: whoever emulates it did not run it. Pure.

A processor that is idle holds nothing up: RCU asks for no more of it than to be there. One that
does not even answer that is not run by the host, or gets no interrupts. And a stall may be over
when the kernel looks for who it was: what took so long has gone on.

Sources: kernel/rcu/tree_stall.h, print_other_cpu_stall() and print_cpu_stall_info();
lib/nmi_backtrace.c; kernel/sched/core.c, dump_cpu_task(); kernel/rcutree.c of v3.11.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.parse.splat_text import clean

_KIND = "rcu-stall"
# "{ 1 3}" until v3.19; rows of "1-...0: (ticks …" since; expedited ones "{ 1-...D }".
_OLD = re.compile(r"detected (?:expedited )?stalls? on CPUs/tasks: \{(?P<cpus>[^}]*)\}")
_ROW = re.compile(r"(?:rcu: )?\s*(?P<cpu>\d{1,4})-[.\w?!]{4,6}:? ")
_TASKS = re.compile(r"(?:rcu: )?\s*Tasks blocked on level|\bP\d{1,7}\b")
_SKIPPED = re.compile(r"NMI backtrace for cpu (?P<cpu>\d{1,4}) skipped: idling")
_SHOWN = re.compile(r"(?:NMI backtrace|Task dump) for (?:cpu|CPU) (?P<cpu>\d{1,4})\b")
_SWAPPER = re.compile(r"(?:Comm: |task:|^)swapper/(?P<cpu>\d{1,4})\b")
_IDLE = re.compile(
    r"\b(?:(?:pv_)?native_(?:safe_)?halt|default_idle(?:_call)?|mwait_idle\w*|acpi_safe_halt|"
    r"acpi_idle_\w+|cpu_do_idle|arch_cpu_idle|cpuidle_\w+|intel_idle)\+0x"
)
_OVER = re.compile(r"(?:rcu: )?INFO: Stall ended before state dump start$")
# rcu_check_gp_kthread_starvation()
_KTHREAD = re.compile(r"rcu_\w+ kthread starved for \d+ jiffies")
_FUNCTION = re.compile(r"\b[A-Za-z_][\w.]*\+0x[0-9a-f]+/0x[0-9a-f]+")


def excuse(kind: str, report: str) -> str:
    """Why the report says nothing against the kernel, to go on with behind its title; "" where it
    may be stuck."""
    if kind != _KIND:
        return ""
    lines = [clean(line) for line in report.splitlines()]
    stalled = set(_stalled(lines))
    if any(_TASKS.search(line) for line in _head(lines)):
        return ""
    if not stalled:
        over = any(_OVER.match(line.strip()) for line in lines)
        return ", which was over before it looked for who it was" if over else ""
    seen = list(_seen(lines))
    busy = {cpu for cpu, idle in seen if not idle}
    # The thread that looks whether the others are idle is kept from it by who is busy.
    if busy and any(_KTHREAD.search(line) for line in lines):
        return ""
    if stalled <= {cpu for cpu, idle in seen if idle} - busy:
        return f" of processor {min(stalled)}, which had nothing to do"
    return ""


def _head(lines: list[str]) -> list[str]:
    """What stands before the first processor is shown: who is waited for."""
    shown = (at for at, line in enumerate(lines) if _SHOWN.match(line) or _SKIPPED.match(line))
    return lines[: next(shown, len(lines))]


def _stalled(lines: list[str]) -> Iterator[int]:
    """Those that the head of the report names."""
    for line in _head(lines):
        if found := _OLD.search(line):
            for word in found["cpus"].split():
                yield int(re.split(r"\D", word)[0] or -1)
        elif found := _ROW.match(line):
            yield int(found["cpu"])


def _seen(lines: list[str]) -> Iterator[tuple[int, bool]]:
    """Each processor as often as the report shows it, and whether it had nothing to do then: the
    kernel says so, or the first function that it names for one, of its idle task, is where it
    waits for interrupts."""
    shown, swapper = -1, False
    for line in lines:
        if found := _SKIPPED.match(line):
            yield int(found["cpu"]), True
            shown = -1
        elif found := _SHOWN.match(line):
            shown, swapper = int(found["cpu"]), False
        elif shown >= 0 and (found := _SWAPPER.search(line)):
            swapper = int(found["cpu"]) == shown
        elif shown >= 0 and _FUNCTION.search(line):
            yield shown, swapper and _IDLE.search(line) is not None
            shown = -1
