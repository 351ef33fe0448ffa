# SPDX-License-Identifier: GPL-2.0-only
"""Failed allocations: which call it was, and that the n-th call is the n-th of its trial."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any

import pytest

from harness import leakage, scenario
from harness.errors import CannotRun, EvidenceError
from harness.model import ArmPlan, Caller, CommandResult, Event
from harness.parse import injected
from harness.scenario import injection, survival
from harness.scenario.recorder import Recorder
from harness.scenario.trigger import inject

NEW = """\
[    9.1] pinpage: attempt 3 begins: failslab of compaction, call 1
[    9.2] FAULT_INJECTION: forcing a failure.
[    9.2] name failslab, interval 3, probability 100, space 0, times 1
[    9.2] CPU: 0 UID: 0 PID: 94 Comm: failing Tainted: G           O       6.12.117 #1
[    9.2] Call Trace:
[    9.2]  <TASK>
[    9.2]  dump_stack_lvl+0x3c/0x50
[    9.2]  should_fail_ex+0xf3/0x100
[    9.2]  should_failslab+0x2d/0x40
[    9.2]  __kmalloc_cache_noprof+0x41/0x200
[    9.2]  ? __pfx_nothing+0x10/0x10
[    9.2]  general_dup_page+0x3a/0xc0
[    9.2]  migrate_pages_batch+0x3a/0xc0
[    9.2]  </TASK>
[    9.3] FAULT_INJECTION: forcing a failure.
[    9.3] no stack
"""
OLD = """\
[    9.2] FAULT_INJECTION: forcing a failure
[    9.2] CPU: 0 PID: 94 Comm: failing Tainted: G           O 3.11.0 #1
[    9.2]  0000000000000000 ffff88003e0a1b58 ffffffff81377a1b
[    9.2] Call Trace:
[    9.2]  [<ffffffff81377a1b>] dump_stack+0x19/0x1b
[    9.2]  [<ffffffff811b2a43>] should_fail+0x113/0x120
[    9.2]  [<ffffffff810f2a43>] should_failslab+0x33/0x40
[    9.2]  [<ffffffff810f1a43>] kmem_cache_alloc_trace+0x33/0xd0
[    9.2]  [<ffffffff810f3a43>] general_dup_page+0x33/0xd0
[    9.2]  [<ffffffff810f4a43>] ? unlikely+0x33/0xd0
[    9.2]  [<ffffffff810f5a43>] migrate_pages+0x33/0xd0
"""


def test_a_report_names_the_call_that_failed() -> None:
    first, second = injected.reports(NEW.splitlines())
    assert [each.function for each in first] == [
        "__kmalloc_cache_noprof",
        "general_dup_page",
        "migrate_pages_batch",
    ]
    assert injected.while_moving(first) and second == ()
    (old,) = injected.reports(OLD.splitlines())
    assert [each.function for each in old] == [
        "kmem_cache_alloc_trace",
        "general_dup_page",
        "migrate_pages",
    ]
    assert not injected.while_moving([Caller("do_sys_open"), Caller("x64_sys_call")])
    assert injected.reports(["nothing", " foo+0x1/0x2"]) == []


class FaultyKernel:
    """should_fail() of lib/fault-inject.c, for a task that makes ``calls`` calls with each write
    and four with each drain."""

    arch = "x86_64"

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.count = self.interval = self.times = 0
        self.log = "pinpage: attempt 1 begins\n"
        self.failed: list[int] = []  # which call of a write it was
        self.absent = self.filtered = False

    def module(self, name: str) -> Path:
        return Path(f"/modules/{name}")

    def put(self, local: Path, remote: str) -> None: ...

    def _should_fail(self) -> bool:
        if self.times == 0:
            return False
        if self.interval > 1:
            self.count += 1
            if self.count % self.interval:
                return False
        self.times -= 1
        return True

    def _set(self, command: str) -> None:
        for value, name in re.findall(r"echo (\d+) > \S+/(interval|times)", command):
            setattr(self, name, int(value))

    def run(self, command: str, **more: Any) -> CommandResult:
        out = b""
        before, _, after = command.partition("; cat ")
        self._set(before)
        if "cache-filter" in command and "echo" in command:
            self.filtered = "echo Y" in command
        if " write " in command:
            self.log += "pinpage: attempt 9 begins\n"
            for call in range(1, self.calls + 1):
                if self._should_fail():
                    self.failed.append(call)
                    self.log += NEW.partition("\n")[2]
            out = f"errno 0000\nstatus 0\n{self.times}\n".encode()
            self._set(after)
        elif " drain " in command:
            self.log += "pinpage: drained\n"
            while self.times:
                self._should_fail()
                self.log += "FAULT_INJECTION: forcing a failure\n" * (not self.times)
        elif command.startswith("dmesg"):
            out = self.log.encode()
        status = int(self.absent and ("make-it-fail" in command or "[ -w" in command))
        return CommandResult(command, status, out, b"", 0.01)

    def must(self, command: str, **options: Any) -> str:
        return self.run(command, **options).stdout.decode()


def recorder(guest: Any) -> Recorder:
    events: list[Event] = []
    return Recorder(guest, ArmPlan("treated", "treated", "pinpage"), events.append)


def test_the_nth_call_of_each_trial_fails_whatever_was_counted_before() -> None:
    guest = FaultyKernel(calls=3)
    injector = inject.Injector(recorder(guest), "failslab")
    for _ in range(3):  # three walks on one count
        found = [injector.nth(n, "/x", "1") for n in (1, 2, 3, 4)]
        assert [each.failed for each in found] == [True, True, True, False]
        assert found[-1].stacks == [] and len(found[0].stacks) == 2 and found[0].errno == 0
    assert guest.failed == [1, 2, 3] * 3


def test_of_a_cache_some_calls_fail_and_no_count_is_touched() -> None:
    guest = FaultyKernel(calls=3)
    injector = inject.Injector(recorder(guest), "failslab")
    assert injector.has_cache("radix_tree_node")
    guest.absent = True
    assert not injector.has_cache("radix_tree_node")
    guest.absent = False
    injector.nth(2, "/x", "1")
    assert injector.of_cache("radix_tree_node", "/x", "1").failed == 3
    assert not guest.filtered and not guest.times
    assert injector.nth(3, "/x", "1").failed == 1 and guest.failed == [2, 1, 2, 3, 3]
    guest.calls = 90
    assert injector.of_cache("radix_tree_node", "/x", "1").failed == 16


def test_nothing_is_failed_before_only_those_who_ask_are_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guest = FaultyKernel(calls=0)
    asked: list[str] = []

    def must(command: str, **_: Any) -> str:
        asked.append(command)
        return ""

    monkeypatch.setattr(guest, "must", must)
    inject.Injector(recorder(guest), "failslab")
    order = [re.findall(r"> \S+/([\w-]+)$", each)[0] for each in asked if "> /sys" in each]
    assert order.index("times") < order.index("probability") == len(order) - 1
    assert order.index("task-filter") < order.index("probability")


def test_with_no_calls_the_first_finds_that() -> None:
    guest = FaultyKernel(calls=0)
    injector = inject.Injector(recorder(guest), "fail_page_alloc")
    assert not injector.nth(1, "/x", "1").failed
    guest.calls = 2
    assert injector.nth(2, "/x", "1").failed and guest.failed == [2]


def test_a_kernel_without_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = FaultyKernel(calls=0)
    guest.absent = True
    with pytest.raises(CannotRun, match="failslab"):
        inject.Injector(recorder(guest), "failslab")


def test_times_that_are_no_number_are_no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = FaultyKernel(calls=1)
    injector = inject.Injector(recorder(guest), "failslab")
    gone = CommandResult("", 0, b"", b"gone", 0.1)
    monkeypatch.setattr(guest, "run", lambda command, **_: gone)
    with pytest.raises(EvidenceError, match="is not 0 to 1"):
        injector.nth(1, "/x", "1")


def test_arms() -> None:
    own = scenario.get("injection")
    assert [arm.role for arm in own.arms(True, {})] == ["control", "treated"]
    assert len(own.arms(False, {})) == 1
    assert "injection" in own.FEATURES and "failing" in own.MODULES


class Stacks:
    """A guest of which page_owner counts pages by stack, where it does."""

    arch = "x86_64"

    def __init__(self, *, counts: bool = True) -> None:
        self.counts = counts
        self.pages = {"do_anonymous_page": 90, "compaction_alloc": 4, "pinner_store": 0}

    def run(self, command: str, **_: Any) -> CommandResult:
        there = self.counts or "page_owner" not in command
        return CommandResult(command, 0 if there else 1, b"", b"", 0.01)

    def read(self, path: str, **_: Any) -> bytes:
        assert self.counts and path.endswith("show_stacks")
        return "".join(
            f" {name}+0x1/0x2{' [pinner]' if name == 'pinner_store' else ''}\n"
            f" x64_sys_call+0x1/0x2\nnr_base_pages: {pages}\n\n"
            for name, pages in self.pages.items()
        ).encode()


def test_what_a_trial_leaves_behind_is_told_once_by_its_stack() -> None:
    guest = Stacks()
    left = survival.Leftovers(recorder(guest))
    assert left.more() == ""
    guest.pages["do_anonymous_page"] = 500  # of a process, and no owner's
    guest.pages["compaction_alloc"] = 3
    assert left.more() == ""
    guest.pages |= {"compaction_alloc": 5, "pinner_store": 2}
    said = left.more()
    assert said.startswith("3 pages are left with all pins given up")
    assert "pinner_store [pinner] (2)" in said and "compaction_alloc" in said
    assert left.more() == ""
    guest.pages["pinner_store"] = 9  # of what comes between two trials
    left.begin()
    assert left.more() == ""
    assert survival.Leftovers(recorder(Stacks(counts=False))).more() == ""


def test_page_tables_of_vmalloc_are_nobodys() -> None:
    """The kernel keeps them for whoever maps something there next."""
    vmalloc = ("__vmap_pages_range_noflush", "__vmalloc_node_range_noprof", "vzalloc_noprof")
    own = (*(Caller(name) for name in vmalloc), Caller("pinner_plan_alloc", "pinner"))
    assert not leakage.of_a_move((Caller("__pte_alloc_kernel"), *own))
    assert not leakage.of_a_move((Caller("kasan_populate_vmalloc"), *own))
    assert leakage.of_a_move(own)
    assert leakage.of_a_move((Caller("__pmd_alloc"), Caller("pinner_map", "pinner")))


@pytest.mark.parametrize(
    ("each", "number", "times", "right"),
    [
        ({1: 10, 2: 10, 3: 1}, errno.EAGAIN, 2**32 - 1, True),  # one was in other hands
        ({1: 10, 2: 1, 3: 1}, errno.EAGAIN, 2**32 - 1, False),  # nobody tries a second time
        ({1: 10, 2: 11}, errno.EAGAIN, 2**32 - 1, False),  # nor without an end
        ({}, errno.EAGAIN, 2**32 - 1, True),
        ({1: 3, 2: 3}, errno.EAGAIN, 3, True),
        ({1: 3, 2: 3, 3: 1}, errno.EAGAIN, 3, True),
        ({1: 3, 2: 2, 3: 1}, errno.EAGAIN, 3, False),
        ({1: 4, 2: 3}, errno.EAGAIN, 3, False),
        ({1: 2, 2: 1}, errno.EBUSY, 2**32 - 1, True),
        ({1: 3}, errno.EBUSY, 2**32 - 1, False),
    ],
)
def test_how_often_a_page_may_be_asked(
    each: dict[int, int], number: int, times: int, right: bool
) -> None:
    assert injection.tried(each, number, times) is right
