# SPDX-License-Identifier: GPL-2.0-only
"""Who waits, and what the processors are at, in a kernel's own words. Pure.

Sources: kernel/sched/core.c, sched_show_task() (sysrq w); lib/nmi_backtrace.c and
drivers/tty/sysrq.c, sysrq_handle_showallcpus() (sysrq l); fs/proc/array.c, proc_pid_status() and
do_task_stat().
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.model import Frame, Splat
from harness.parse.splat_frames import frames
from harness.parse.splat_text import clean

KIND = "stuck"  # a stack that was asked for: no complaint of the kernel's
ON_THE_STACK = "a patched line on the stack"  # the words for what a report of its own is blamed on
_SHOWN = 5  # functions of a stack that a sentence names
_TASK = re.compile(r"task:(?P<comm>.{1,16}?) +state:D .*?pid:(?P<pid>\d{1,7})\b")
# Until v5.11: comm, state, where it waits (64 bit), room on its stack, pid, parent, flags.
_OLD = re.compile(
    r"(?P<comm>\S.{0,14}?) +D (?:[0-9a-f]{16} )? *\d{1,10} +(?P<pid>\d{1,7}) +\d{1,7} 0x[0-9a-f]{8}"
)
_CPU = re.compile(
    r"CPU: (?P<cpu>\d{1,4}) (?:UID: \d+ )?PID: (?P<pid>\d{1,7}) Comm: (?P<comm>.{1,16}?) "
    r"(?:Not tainted|Tainted)"
)
_ASKED = re.compile(r"(?:sysrq|SysRq) ?:")
# What is beneath every task that waits: it says nothing of for what.
_SCHEDULER = re.compile(
    r"__switch_to|__?schedule\w*|schedule\w*|io_schedule\w*|sleep_on_\w+|bit_wait\w*|"
    r"__wait_on_bit\w*|context_switch"
)
_ENTRY = re.compile(r"(?:asm_)?common_interrupt|ret_from_intr|do_IRQ|el1h?_(?:64_)?irq")
_STATUS = re.compile(r"/proc/\d+/task/(?P<task>\d+)/status:(?P<name>\w+):\s*(?P<value>.*)")
_STAT = re.compile(r"/proc/\d+/task/(?P<task>\d+)/stat:\d+ \(.*\) \S(?P<rest>(?: -?\d+)+)")
_PARENT, _USER, _KERNEL = 0, 10, 11  # ppid, utime and stime among the numbers behind the state
_KTHREADD = 2  # whose children the kernel's threads are (init/main.c, rest_init())


@dataclass(frozen=True)
class Task:
    """cpu: the processor that it is on, None where it waits (state D). stack: functions, the
    innermost first. comm: "" where only the processor is known, and its stack was not unwound:
    after the first, what is named on it may have returned long ago. report: the lines that have
    the stack, with offsets, as a report of the kernel's has them."""

    comm: str
    pid: int
    cpu: int | None
    stack: tuple[str, ...]
    report: str = ""

    def __str__(self) -> str:
        who = f"{self.comm} ({self.pid})" if self.comm else "what runs"
        if not self.stack:
            where = "nobody knows where"
        else:
            callers = ", ".join(self.stack[1:_SHOWN])
            how = "called by" if self.comm else "with on its stack"
            where = f"in {self.stack[0]}{f', {how} {callers}' if callers else ''}"
        if self.cpu is None:
            return f"{who} waits {where}"
        return f"{who} on processor {self.cpu} is {where}"

    @property
    def splat(self) -> Splat:
        """The stack as a report, for its lines to be found; its own are line 0, of no console."""
        function = self.stack[0] if self.stack else ""
        return Splat(KIND, str(self), function, first_line=0, last_line=0, report=self.report)


def find(lines: Sequence[str]) -> tuple[Task, ...]:
    """The tasks that wait, and those on a processor and in the kernel there, in their order;
    idle ones are left out, and so is one that the kernel names twice."""
    found: dict[int, Task] = {}
    begins: re.Match[str] | None = None
    own: list[str] = []
    for line in (*lines, "sysrq: end"):
        text = clean(line)
        new = _TASK.match(text) or _OLD.match(text) or _CPU.match(text)
        if new is None and not _ASKED.match(text):
            own.append(text)
            continue
        if begins is not None:
            task = _task(begins, own)
            if task is not None:
                found.setdefault(task.pid, task)
        begins, own = new, []
    return tuple(found.values())


def _task(begins: re.Match[str], own: list[str]) -> Task | None:
    comm, pid = begins["comm"].strip(), int(begins["pid"])
    number = begins.groupdict().get("cpu")
    found = list(frames("\n".join(own)))
    if number is None:
        names = [each for each in _names(found) if not _SCHEDULER.fullmatch(each)]
        return Task(comm, pid, None, tuple(names), _report(own, found))
    names = list(_names(found))
    if any("handle_sysrq" in name for name in names):
        # It answers us: before that it was at what the interrupt came into.
        entries = [n for n, each in enumerate(found) if _ENTRY.fullmatch(each.function)]
        # The entry is reported with it: what it came into is where it stood, and no call.
        found = found[entries[-1] :] if entries else []
        names = list(_names(found[1:]))
    if not names or not pid:
        return None
    return Task(comm, pid, int(number), tuple(names), _report(own, found))


def _names(found: Sequence[Frame]) -> Iterator[str]:
    last = ""
    for frame in found:
        if frame.sure and frame.function != last:
            last = frame.function
            yield last


def _report(own: Sequence[str], found: Sequence[Frame]) -> str:
    return "\n".join(own[number - 1] for number in dict.fromkeys(each.line for each in found))


@dataclass(frozen=True)
class Looked:
    """A task at one moment. waits: without taking a signal (state D). waited, preempted: times
    that it was scheduled away, by its own will or not. user, kernel: its processor's time so far,
    in hundredths of a second. kernels: a thread of the kernel's, not of a program."""

    name: str
    waits: bool
    waited: int
    preempted: int
    user: int
    kernel: int
    kernels: bool = False


def looked(listed: str) -> Mapping[int, Looked]:
    """Task → what is known of it. listed: lines ``/proc/PID/task/TID/status:Name:\\tvalue``, and
    those of its ``stat`` in the same way; a task of which something is missing is left out."""
    facts: dict[int, dict[str, str]] = {}
    times: dict[int, list[int]] = {}
    for line in listed.splitlines():
        if found := _STATUS.fullmatch(line.strip()):
            facts.setdefault(int(found["task"]), {})[found["name"]] = found["value"]
        elif found := _STAT.fullmatch(line.strip()):
            times[int(found["task"])] = [int(word) for word in found["rest"].split()]
    result: dict[int, Looked] = {}
    for task, said in facts.items():
        counts = [said.get(f"{kind}_ctxt_switches", "") for kind in ("voluntary", "nonvoluntary")]
        spent = times.get(task, [])
        if all(count.isdecimal() for count in counts) and len(spent) > _KERNEL:
            waits = said.get("State", "").startswith("D")
            name, (waited, preempted) = said.get("Name", "?"), map(int, counts)
            user, kernel, kernels = spent[_USER], spent[_KERNEL], spent[_PARENT] == _KTHREADD
            result[task] = Looked(name, waits, waited, preempted, user, kernel, kernels)
    return result
