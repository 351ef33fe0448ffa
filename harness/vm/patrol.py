# SPDX-License-Identifier: GPL-2.0-only
"""Looking over a guest's tasks while a command runs in it: one that never comes to an end is found
long before the command is out of time.

The rules are the kernel's own. For hung tasks (kernel/hung_task.c): it waits without taking signals
(state D), and was not scheduled once in two minutes. It may wait for another that is at work, as
who wants a buffer of CMA does (v3.11: alloc_contig_range() at each place of the whole area, under
cma_mutex): while the kernel is at work, the two minutes are counted at the guest's own speed. One
that is run now and again, only to wait on, the kernel does not see (v3.11: congestion_wait() in
isolate_migratepages_range()): here a program's task that waits at every look is one, after two
minutes in which the guest had nothing to do. For soft lockups (kernel/watchdog.c), as they look
from here: a task that is in the kernel all the time and waits for nothing; or a guest whose
processors are busy, and that has no answer meanwhile. What the kernel calls a lockup takes 20 s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.model import CommandResult
from harness.parse import blocked
from harness.vm.channel import Channel, ChannelCut, ChannelTimeout

HUNG = 120.0  # seconds; times the guest's patience while the kernel is at work
WORK = 0.25  # of that time, in which tasks have a processor in the kernel: it is at work
BUSY = 30.0  # seconds of a processor's time, times the guest's patience
_FIRST = 20.0  # seconds that a command may take before anybody is looked at
_EVERY = 20.0
_PATIENCE = 5.0  # seconds for a look, times the guest's patience
_TICKS = 100  # of a second in /proc/PID/stat, for user and kernel (USER_HZ)
_OUTSIDE = 2  # of these that are no return from the kernel, but how time is split between the two
_FACTS = "'^(Name|State|(non)?voluntary_ctxt_switches):'"
_TASKS = "/proc/[0-9]*/task/[0-9]*"
_COMMAND = f"grep -sE {_FACTS} {_TASKS}/status; grep -s . {_TASKS}/stat || true"


@dataclass(frozen=True)
class _Asleep:
    """count: times that a task was scheduled away, when it was first seen to wait. worked: seconds
    that all tasks have had in the kernel by then. idle: seconds in which the guest had had nothing
    to do when the task was first seen to wait, whether it was run since or not."""

    count: int
    when: float
    worked: float
    idle: float


class Patrol:
    """For one command. spent: the processor's time that the whole guest has had so far, in
    seconds. idle: those in which it had nothing to do."""

    def __init__(
        self,
        channel: Channel,
        patience: float,
        spent: Callable[[], float],
        idle: Callable[[], float],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel, self._patience, self._clock = channel, patience, clock
        self._spent, self._idle = spent, idle
        self._next = clock() + _FIRST
        self._busy = BUSY * patience
        self._answered: float | None = None  # the time that it had had by then
        self._asleep: dict[int, _Asleep] = {}
        self._kernel: dict[int, int] = {}  # each task's time in it, in ticks
        self._worked = 0.0  # by all of them, in seconds
        self._inside: dict[int, blocked.Looked] = {}

    def stuck(self) -> str:
        """Why this does not end, "" if nothing says so."""
        if self._clock() < self._next:
            return ""
        spent = self._spent()
        found = self._look()
        now = self._clock()
        self._next = now + _EVERY
        if self._answered is None or found is not None:
            self._answered = spent
        if found is None:
            quiet = self._spent() - self._answered
            if quiet >= self._busy:
                return f"nothing in it has answered for {quiet:.0f} s of its processors' time"
            return ""
        tasks = blocked.looked(found.stdout.decode(errors="replace"))
        return self._waits(tasks, now) or self._runs(tasks)

    def _waits(self, tasks: Mapping[int, blocked.Looked], now: float) -> str:
        ticks = {task: each.kernel for task, each in tasks.items()}
        grown = (spent - self._kernel.get(task, 0) for task, spent in ticks.items())
        self._worked += sum(each for each in grown if each > 0) / _TICKS
        self._kernel = ticks
        idle = self._idle()
        before, self._asleep = self._asleep, {}
        for task, each in tasks.items():
            if not each.waits:
                continue
            count = each.waited + each.preempted
            since = before.get(task)
            if since is None or since.count != count:
                first = idle if since is None else since.idle
                since = _Asleep(count, now, self._worked, first)
            self._asleep[task] = since
            seconds = now - since.when
            working = self._worked - since.worked >= WORK * seconds
            if seconds >= (HUNG * self._patience if working else HUNG):
                return f"{each.name} ({task}) has waited for {seconds:.0f} s and was not run once"
            rested = idle - since.idle
            if rested >= HUNG and not each.kernels:
                said = f"in {rested:.0f} s in which the guest had nothing to do"
                return f"{each.name} ({task}) waited whenever it was looked at, {said}"
        return ""

    def _runs(self, tasks: Mapping[int, blocked.Looked]) -> str:
        before, self._inside = self._inside, {}
        for task, each in tasks.items():
            since = before.get(task, each)
            if each.waited != since.waited or each.user - since.user > _OUTSIDE:
                since = each
            self._inside[task] = since
            seconds = (each.kernel - since.kernel) / _TICKS
            if seconds >= self._busy:
                said = f"has been in the kernel for {seconds:.0f} s of a processor's time"
                return f"{each.name} ({task}) {said}, and waited for nothing"
        return ""

    def _look(self) -> CommandResult | None:
        """None where the guest has no answer."""
        seconds = _PATIENCE * self._patience
        try:
            return self._channel.run(_COMMAND, stdin=b"", seconds=seconds, watch=lambda: None)
        except (ChannelTimeout, ChannelCut):
            return None
