# SPDX-License-Identifier: GPL-2.0-only
"""Stalls of processors that had nothing to do, in the words of v3.11 and of newer kernels."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from made_evidence import EXPECTED, Case

from harness.errors import GuestHang
from harness.model import Outcome, Splat, Verdict
from harness.pages import ledger
from harness.parse import marks, splat, starved
from harness.verdict import from_error, judge

IDLE_3_11 = """\
[   60.00000] INFO: rcu_sched detected stalls on CPUs/tasks: { 1} (detected by 0, t=21002 jiffies)
[   60.000001] sending NMI to all CPUs:
[   60.000002] NMI backtrace for cpu 0
[   60.000003] CPU: 0 PID: 80 Comm: sh Tainted: G           O 3.11.0 #1
[   60.000004] RIP: 0010:[<ffffffff8100c210>]  [<ffffffff8100c210>] io_serial_in+0x10/0x20
[   60.000005] NMI backtrace for cpu 1
[   60.000006] CPU: 1 PID: 0 Comm: swapper/1 Tainted: G           O 3.11.0 #1
[   60.000007] RIP: 0010:[<ffffffff8100c216>]  [<ffffffff8100c216>] native_safe_halt+0x6/0x10
[   60.000008] Call Trace:
[   60.000009]  [<ffffffff8100c4ae>] default_idle+0xe/0x20
"""
IDLE = """\
[   90.000000] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
[   90.000001] rcu: 	1-...0: (1 GPs behind) idle=2684/1/0x4000000000000000
[   90.000002] rcu: 	(detected by 0, t=21002 jiffies, g=-43, q=11 ncpus=2)
[   90.000003] Sending NMI from CPU 0 to CPUs 1:
[   90.000004] NMI backtrace for cpu 1 skipped: idling at default_idle+0xb/0x10
"""
TWO = IDLE_3_11.replace("{ 1}", "{ 0 1}")
BUSY = IDLE_3_11.replace("native_safe_halt", "migrate_pages").replace("swapper/1", "sh")
INTERRUPTED = IDLE_3_11.replace("native_safe_halt", "rcu_process_callbacks")
OTHER = IDLE_3_11.replace("swapper/1", "swapper/0")
UNSEEN = IDLE.replace("NMI backtrace for cpu 1 skipped: idling at default_idle+0xb/0x10", "")
TASKS = IDLE.replace("1-...0: (1", "Tasks blocked on level-0 rcu_node (CPUs 0-1): P38\n1-...0: (1")
SHOWN = """\
[   90.000004] NMI backtrace for cpu 1
[   90.000005] CPU: 1 UID: 0 PID: 80 Comm: sh Tainted: G           O 6.12.0 #1
[   90.000006] RIP: 0010:migrate_pinpage+0x66/0x210
[   90.000007] Call Trace:
[   90.000008]  <TASK>
[   90.000009]  unmap_and_move_pinpage+0x66/0x210
[   90.000011]  </TASK>
"""
THEN_IDLE = IDLE.replace("[   90.000004]", f"{SHOWN}[   90.000024]")
ROWS = "".join(f"[   90.000001] rcu: \t{cpu}-...!: (1 GPs behind)\n" for cpu in range(2, 10))
IDLING = "".join(
    f"NMI backtrace for cpu {cpu} skipped: idling at x+0xb/0x10\n" for cpu in range(2, 9)
)
LATE = IDLE.replace("[   90.000002]", f"{ROWS}[   90.000002]") + IDLING
SELF = "[   60.000000] INFO: rcu_sched self-detected stall on CPU { 1}  (t=15000 jiffies q=20)\n"

# The thread of RCU that would see that processor 1 is idle is kept from running by processor 0.
KEPT = f"""\
{IDLE}[   90.000005] rcu: rcu_preempt kthread starved for 21002 jiffies! g-43 f0x0 ->cpu=0
[   90.000006] rcu: Stack dump where RCU GP kthread last ran:
[   90.000007] NMI backtrace for cpu 0
[   90.000008] CPU: 0 UID: 0 PID: 80 Comm: sh Tainted: G           O       6.12.0 #1
[   90.000009] RIP: 0010:isolate_pinpage+0x123/0x900
[   90.000010] Call Trace:
[   90.000011]  <TASK>
[   90.000012]  isolate_migratepages_block+0x4f1/0xe80
[   90.000013]  </TASK>
"""

ENDED = "INFO: Stall ended before state dump start\n"
OVER_3_11 = f"""\
[   66.640131] INFO: rcu_sched detected stalls on CPUs/tasks: {{}} (detected by 0, t=15002)
[   66.640131] {ENDED}[   74.274288] ACPI: PCI Interrupt Link [LNKC] enabled at IRQ 11
"""
OVER = f"""\
[   90.000000] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
[   90.000002] rcu: 	(detected by 0, t=21002 jiffies, g=-43, q=11 ncpus=2)
[   90.000003] rcu: {ENDED}"""
ZERO = OVER_3_11.replace("{}", "{ 0}")
ROW = OVER.replace("rcu: \t(det", "rcu: \t0-...0: (1 GPs behind)\n[   90.000002] rcu: \t(det")
TASK = OVER.replace("rcu: \t(det", "rcu: \tTasks blocked on level-0 (CPUs 0-1): P38\nrcu: \t(det")
KTHREAD = OVER.replace("Stall ended before state dump start", "All QSes seen, last rcu_preempt")


def judged(reports: Iterable[Splat]) -> Verdict:
    case = Case()
    return judge(case.arms, case.events(), ledger(case.events()), tuple(reports), EXPECTED)


@pytest.mark.parametrize("text", [IDLE_3_11, IDLE])
def test_a_processor_that_was_idle_is_told(text: str) -> None:
    (report,) = splat.find(text.splitlines())
    assert report.kind == "rcu-stall"
    answer = judged([report])
    assert answer.outcome is Outcome.INFRA
    assert "processor 1, which had nothing to do" in answer.reason


@pytest.mark.parametrize(
    "text",
    [
        *(TWO, BUSY, INTERRUPTED, OTHER, UNSEEN, TASKS, SELF, THEN_IDLE, LATE, KEPT),
        *(ZERO, ROW, TASK, KTHREAD),
    ],
)
def test_a_processor_that_was_not_seen_to_be_idle_is_a_crash(text: str) -> None:
    (report,) = splat.find(text.splitlines())
    assert report.kind == "rcu-stall"
    assert starved.excuse(report.kind, report.report) == ""
    assert judged([report]).outcome is Outcome.CRASH


@pytest.mark.parametrize("text", [OVER_3_11, OVER])
def test_a_stall_that_was_over_says_nothing(text: str) -> None:
    """As a boot of v3.11 with kmemleak said beside five other busy processors."""
    (report,) = splat.find(text.splitlines())
    answer = judged([report])
    assert answer.outcome is Outcome.INFRA
    assert "stalls on CPUs/tasks', which was over before it looked" in answer.reason


def test_reports_that_are_left_out_are_none_of_others() -> None:
    """Those that are kept stand for those alike, and a task that is waited for is not."""
    tasks = UNSEEN.replace("1-...0: (1 GPs behind)", "Tasks blocked on level-0 (CPUs 0-1): P38")
    reports = marks.thinned(splat.find((IDLE * 5 + tasks).splitlines()))
    assert judged(reports).outcome is Outcome.CRASH
    reports = marks.thinned(splat.find((IDLE * 6).splitlines()))
    assert judged(reports).outcome is Outcome.INFRA


def test_it_takes_the_place_of_a_pass_alone() -> None:
    """No processor that waits spoils a page, or keeps another from going on."""
    case = Case()
    case.treated.rows()[3][5] = "corrupt"
    case.treated.get("pinner", "counters", "after")["values"]["corrupt"] = 1
    (report,) = splat.find(IDLE.splitlines())
    events = case.events()
    answer = judge(case.arms, events, ledger(events), (report,), EXPECTED)
    assert answer.outcome is Outcome.FAIL
    hang = GuestHang("compact_memory: sh (80) waits in folio_lock")
    assert from_error(hang, case.arms, events, (report,)).outcome is Outcome.HANG


def test_a_report_beside_it_counts() -> None:
    text = IDLE + "[   99.000000] BUG: Bad page state in process sh  pfn:00123\n"
    assert judged(splat.find(text.splitlines())).outcome is Outcome.CRASH
