# SPDX-License-Identifier: GPL-2.0-only
"""Who waits in a guest that does not go on: the kernel's answers, QEMU's, and the patrol."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness import proc
from harness.model import CommandResult
from harness.parse import blocked
from harness.parse.splat_frames import frames
from harness.vm import registers
from harness.vm.channel import ChannelCut, ChannelTimeout
from harness.vm.idle import Idle
from harness.vm.patrol import BUSY, HUNG, Patrol
from harness.vm.qmp import MonitorError

GOLDEN = Path(__file__).parents[1] / "golden" / "blocked"
# Each guest had a task that waited for its child, as vfork() does, and others that were busy.
SEEN = {
    "6.12.x86_64": [
        "vforker (62) waits in __wait_for_common, called by wait_for_completion_state, "
        "kernel_clone, __do_sys_vfork, x64_sys_call",
        "sh (79) on processor 0 is in __walk_groups.isra.0, called by "
        "tmigr_requires_handle_remote, update_process_times, tick_nohz_handler, "
        "__hrtimer_run_queues",
    ],
    "6.12.arm64": [
        "vforker (112) waits in __wait_for_common, called by wait_for_completion_state, "
        "kernel_clone, __do_sys_clone, __arm64_sys_clone",
        "sh (1554) on processor 1 is in unmap_page_range, called by "
        "unmap_single_vma.constprop.0, unmap_vmas, exit_mmap, __mmput",
    ],
    "3.11.x86_64": [
        "vforker (196) waits in wait_for_common, called by wait_for_completion_killable, "
        "do_fork, sys_vfork, stub_vfork",
        "sh (5261) on processor 0 is in do_page_fault, called by page_fault, ret_from_fork",
    ],
    "3.11.arm64": [
        "vforker (196) waits in wait_for_completion_killable",
        "sh (50) on processor 0 is in generic_permission",
    ],
}


@pytest.mark.parametrize("name", SEEN)
def test_kernels_say_who_waits_and_who_runs(name: str) -> None:
    text = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    assert [str(task) for task in blocked.find(text.splitlines())] == SEEN[name]


def test_there_is_a_sample_of_each() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(SEEN)


def test_a_stack_is_reported_with_its_offsets() -> None:
    """A call's return in a task that waits; where a processor was is no call."""
    text = (GOLDEN / "6.12.x86_64.txt").read_text(encoding="utf-8")
    waits, runs = (task.splat for task in blocked.find(text.splitlines()))
    assert (waits.kind, waits.first_line) == (blocked.KIND, 0)
    assert waits.title == SEEN["6.12.x86_64"][0] and waits.function == "__wait_for_common"
    of = {each.function: each for each in frames(waits.report)}
    assert (of["kernel_clone"].offset, of["kernel_clone"].exact) == (0x199, False)
    text = (GOLDEN / "6.12.arm64.txt").read_text(encoding="utf-8")
    runs = [task.splat for task in blocked.find(text.splitlines())][1]
    first = next(each for each in frames(runs.report) if each.function == runs.function)
    assert first.exact


def test_a_task_without_a_stack_is_named() -> None:
    (task,) = blocked.find(["task:kswapd0  state:D stack:0 pid:33 tgid:33 ppid:2 flags:0x0"])
    assert str(task) == "kswapd0 (33) waits nobody knows where"


def test_what_is_no_answer_has_nobody() -> None:
    assert blocked.find(["", "hello", "CPU: x", "task:a state:S pid:1"]) == ()


# --- the patrol ---------------------------------------------------------------------------------


Task = tuple[str, str, int] | tuple[str, str, int, int, int]


def status(tasks: Mapping[int, Task]) -> str:
    """Name, state, times that it was scheduled away; user's and kernel's hundredths of a second.
    Those whose names begin with a k are the kernel's."""
    return "".join(
        f"/proc/{task}/task/{task}/status:Name:\t{name}\n"
        f"/proc/{task}/task/{task}/status:State:\t{state}\n"
        f"/proc/{task}/task/{task}/status:voluntary_ctxt_switches:\t{count}\n"
        f"/proc/{task}/task/{task}/status:nonvoluntary_ctxt_switches:\t1\n"
        f"/proc/{task}/task/{task}/stat:{task} (a) b) {state[0]} {2 if name[0] == 'k' else 1} "
        f"1 1 0 -1 4194304 9 0 0 0 {' '.join(map(str, spent or (5, 7)))} 0 0 20 0 1\n"
        for task, (name, state, count, *spent) in tasks.items()
    )


class Guest:
    """A channel, and a clock that goes on by a second with each look at it."""

    def __init__(self, tasks: Callable[[float], Mapping[int, Task]]) -> None:
        self.now, self.looks, self.tasks = 0.0, 0, tasks
        self.error: Exception | None = None
        self.busy = 0.0  # of each second
        self.idle = 0.0  # of each second

    def clock(self) -> float:
        self.now += 1.0
        return self.now

    def run(
        self, command: str, *, stdin: bytes, seconds: float, watch: Callable[[], None]
    ) -> CommandResult:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return CommandResult(command, 0, status(self.tasks(self.now)).encode(), b"", 0.1)

    def close(self) -> None: ...

    def found(self, seconds: float, patience: float = 1.0) -> tuple[float, str]:
        """When the patrol finds somebody in so many seconds, and whom."""
        spent, idle = (lambda: self.busy * self.now), (lambda: self.idle * self.now)
        patrol = Patrol(self, patience, spent, idle, clock=self.clock)
        while self.now < seconds:
            if stuck := patrol.stuck():
                return self.now, stuck
        return self.now, ""


def test_a_task_that_never_runs_again_is_found() -> None:
    guest = Guest(lambda now: {7: ("sh", "D (disk sleep)", 3), 8: ("ok", "S (sleeping)", 1)})
    when, who = guest.found(1000)
    assert re.fullmatch(r"sh \(7\) has waited for 1[2-5]\d s and was not run once", who)
    assert HUNG < when < HUNG + 60


@pytest.mark.parametrize(("share", "times"), [(0.9, 8), (0.1, 1)])
def test_who_waits_beside_a_busy_kernel_has_the_guests_own_two_minutes(
    share: float, times: int
) -> None:
    """One that walks an area goes on, and is scheduled away meanwhile."""
    guest = Guest(
        lambda now: {
            7: ("dd", "D (disk sleep)", 3),
            8: ("cma_alloc/0", "R (running)", int(now), 0, int(100 * share * now)),
        }
    )
    when, who = guest.found(5000, patience=8.0)
    assert who.startswith("dd (7) has waited for ")
    assert HUNG * times < when < HUNG * times + 60


@pytest.mark.parametrize("patience", [1.0, 8.0])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_who_waits_again_and_again_in_an_idle_guest_is_found(share: float, patience: float) -> None:
    """One that looks ten times a second whether it may go on. Nobody computes: no patience."""
    guest = Guest(
        lambda now: {6: ("kswapd0", "D (x)", int(now)), 7: ("sh", "D (disk sleep)", int(10 * now))}
    )
    guest.idle = share
    when, who = guest.found(1000, patience=patience)
    said = r"in (\d+) s in which the guest had nothing to do"
    seconds = re.fullmatch(rf"sh \(7\) waited whenever it was looked at, {said}", who)
    assert seconds is not None and HUNG <= int(seconds[1]) < HUNG + 30
    assert HUNG / share < when < HUNG / share + 60


@pytest.mark.parametrize(
    "tasks",
    [
        lambda now: {7: ("kworker/0", "D (disk sleep)", int(10 * now))},
        lambda now: {7: ("sh", "D (x)" if now % 100 < 50 else "S (x)", int(10 * now))},
        lambda now: {int(now / 100): ("sh", "D (x)", int(10 * now))},
    ],
    ids=["the kernel's", "takes signals between", "another each time"],
)
def test_an_idle_guest_may_have_others(tasks: Callable[[float], Mapping[int, Task]]) -> None:
    guest = Guest(tasks)
    guest.idle = 1.0
    assert guest.found(1500)[1] == ""


def test_idle_time_is_what_nobody_wanted() -> None:
    now, wanted = 100.0, 7.0
    idle = Idle(lambda: wanted, clock=lambda: now)
    for passed, more, so_far in [
        (1.0, 0.25, 0.75),  # at work for a quarter of it
        (1.0, 1.0, 0.75),  # all the time, or waiting for a processor
        (1.0, 2.0, 0.75),  # two threads
        (60.0, 0.0, 5.75),  # who knows
        (1.0, -3.0, 5.75),  # a thread has ended
        (1.0, 0.0, 6.75),
    ]:
        now, wanted = now + passed, wanted + more
        assert idle.seconds() == pytest.approx(so_far)
    nobody = Idle(lambda: None, clock=lambda: now)
    now += 2.0
    assert nobody.seconds() == 0.0


def test_a_process_that_sleeps_wants_no_processor() -> None:
    """Of the kernel that we are on: one that reads a pipe, and one that computes."""
    if proc.wanted_seconds(os.getpid()) is None:
        pytest.skip("this machine's kernel has no /proc/PID/schedstat (CONFIG_SCHED_INFO)")
    asleep = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        while (proc.wanted_seconds(busy.pid) or 0.0) < 0.3:
            assert busy.poll() is None
            time.sleep(0.02)  # between two looks at one that computes
        wanted = proc.wanted_seconds(asleep.pid)
        assert wanted is not None and wanted < 0.3
    finally:
        for child in (asleep, busy):
            child.kill()
            child.communicate()
    assert proc.wanted_seconds(asleep.pid) is None


@pytest.mark.parametrize(
    "tasks",
    [
        lambda now: {7: ("sh", "D (disk sleep)", int(now))},
        lambda now: {7: ("sh", "S (sleeping)", 3)},
        lambda now: {7: ("sh", "D (disk sleep)", int(now / 100))},
        lambda now: {int(now): ("sh", "D (disk sleep)", 3)},
        lambda now: {7: ("sh", "R (running)", int(now), 0, int(100 * now))},
        lambda now: {7: ("sh", "R (running)", 3, int(now), int(99 * now))},
        lambda now: {7: ("sh", "R (running)", 3, 0, int(now))},
    ],
    ids=[
        *("is run", "takes signals", "goes on between", "another each time"),
        *("waits between", "comes back from the kernel", "has no time to speak of"),
    ],
)
def test_others_are_none_of_its_business(
    tasks: Callable[[float], Mapping[int, Task]],
) -> None:
    guest = Guest(tasks)
    assert guest.found(1500)[1] == ""
    assert 20 < guest.looks < 100


@pytest.mark.parametrize("error", [ChannelTimeout(), ChannelCut("gone")])
def test_a_guest_that_does_not_answer_is_left_to_the_deadline(error: Exception) -> None:
    guest = Guest(lambda now: {7: ("sh", "D (disk sleep)", 3)})
    guest.error = error
    assert guest.found(1000)[1] == "" and guest.looks > 10


def test_a_task_that_never_comes_back_from_the_kernel_is_found() -> None:
    guest = Guest(lambda now: {7: ("dd", "R (running)", 3, 5, int(100 * now))})
    when, who = guest.found(1000)
    assert re.fullmatch(
        r"dd \(7\) has been in the kernel for \d+ s of a processor's time, and waited for nothing",
        who,
    )
    assert BUSY < when < BUSY + 60


@pytest.mark.parametrize("answers", [0, 3])
def test_a_busy_guest_that_answers_no_more_is_found(answers: int) -> None:
    guest = Guest(lambda now: {7: ("sh", "S (sleeping)", 3)})
    guest.busy = 0.9
    run = guest.run

    def once(*args: Any, **more: Any) -> CommandResult:
        guest.error = None if guest.looks < answers else ChannelTimeout()
        return run(*args, **more)

    guest.run = once  # type: ignore[method-assign]
    when, what = guest.found(1000)
    assert what.startswith("nothing in it has answered for ") and "processors' time" in what
    assert BUSY < when - 20 * answers < BUSY + 90


def test_a_task_of_which_not_all_is_known_is_left_out() -> None:
    whole = status({7: ("sh", "D (disk sleep)", 3)})
    assert set(blocked.looked(whole)) == {7}
    for at in range(len(whole.splitlines())):
        lines = whole.splitlines()
        del lines[at]
        found = blocked.looked("\n".join(lines))
        assert not found or not found[7].waits or found[7].name == "?"


def test_a_quick_command_is_not_looked_over() -> None:
    guest = Guest(lambda now: {})
    guest.found(15)
    assert guest.looks == 0


# --- from outside -------------------------------------------------------------------------------

MAP = """\
ffffffff81000000 T _text
ffffffff81001000 T isolate
ffffffff81002000 t migrate
ffffffff81003000 T default_idle
ffffffff81004000 T _etext
ffffffff81005000 D data
"""


class Qemu:
    """Two processors, of which the second is idle."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def execute(self, command: str) -> None:
        self.done.append(command)

    def human(self, command: str) -> str:
        self.done.append(command)
        if command == "info registers -a":
            return (
                "\r\nCPU#0\r\nRAX=ffffffff81003001 RSP=ffffc90000001000\r\n"
                "RIP=ffffffff81001010 x\r\n"
                "\r\nCPU#1\r\nRSP=ffffc90000002000\r\nRIP=ffffffff81003010 x\r\n"
            )
        if re.fullmatch(r"x/\d+gx 0xffffc90000001000", command):
            return (
                "ffffc90000001000: 0xffffffff81001020 0x0000000000000007\r\n"
                "ffffc90000001010: 0xffffffff81002020 0xffffffff81004100\r\n"
            )
        return ""


def test_a_guest_that_takes_no_interrupt_is_seen_from_outside(tmp_path: Path) -> None:
    where = tmp_path / "System.map"
    where.write_text(MAP)
    qemu = Qemu()
    (task,) = registers.look(qemu, where)  # type: ignore[arg-type]
    assert str(task) == "what runs on processor 0 is in isolate, with on its stack migrate"
    here, *doubted = frames(task.splat.report)
    assert (here.function, here.offset, here.size, here.exact) == ("isolate", 0x10, 0x1000, True)
    assert [(each.function, each.sure) for each in doubted] == [
        ("isolate", False),
        ("migrate", False),
    ]
    assert qemu.done[0] == "stop" and qemu.done[-1] == "cont" and "cpu 0" in qemu.done


def test_a_monitor_that_is_gone_says_nothing(tmp_path: Path) -> None:
    class Gone(Qemu):
        def execute(self, command: str) -> None:
            raise MonitorError("gone")

    where = tmp_path / "System.map"
    assert registers.look(Qemu(), where) == ()  # type: ignore[arg-type]
    where.write_text(MAP)
    assert registers.look(Gone(), where) == ()  # type: ignore[arg-type]
