# SPDX-License-Identifier: GPL-2.0-only
"""kmemleak: what it lists, when it is asked, and what counts in a verdict."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_guest import FakeGuest
from made_evidence import TREATED, Case

from harness import scenario
from harness.errors import InfraError
from harness.model import Caller, Event, Outcome, Splat
from harness.pages import ledger
from harness.parse import kmemleak
from harness.verdict import from_error, judge

GOLDEN = Path(__file__).parents[1] / "golden" / "splat"
KMEMLEAK = "/sys/kernel/debug/kmemleak"
OLD = """unreferenced object 0xffff88003c5a1a40 (size 64):
  comm "sh", pid 77, jiffies 4294893113 (age 14.200s)
  hex dump (first 32 bytes):
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
  backtrace:
    [<ffffffff810a5f2e>] kmemleak_alloc+0x4e/0xb0
    [<ffffffff8109d1ae>] kmem_cache_alloc+0x9e/0x130
    [<ffffffffa0001010>] 0xffffffffa0001010
    [<ffffffffa0009999>] 0xffffffffa0009999
    [<ffffffff810b2f2e>] vfs_write+0xbe/0x1e0
"""
KALLSYMS = (
    "ffffffff810a5f2e T kmemleak_alloc",
    "ffffffffa0009000 t pinner_write\t[pinner]",
    "ffffffffa0001000 t pinner_store\t[pinner]",
    "ffffffffa0005000 d pinner_data\t[pinner]",
    "0000000000000000 t hidden\t[prober]",
)


def leak(*calls: tuple[str, str], size: int = 64) -> dict[str, object]:
    text = f"unreferenced object 0xffff888000ea1380 (size {size}):"
    return {"size": size, "comm": "sh", "stack": [[*call] for call in calls], "text": text}


def test_what_a_real_kernel_listed() -> None:
    text = (GOLDEN / "x86_64-kmemleak.log").read_text()
    found = kmemleak.leaks(text)
    assert [(each.size, each.comm) for each in found] == [(128, "init")] * 3
    assert found[0].stack[0] == Caller("bad_leak", "bad")
    assert found[0].text.splitlines()[0] == "unreferenced object 0xffff888000ea1380 (size 128):"
    assert len({each.stack for each in found}) == 1


def test_calls_of_a_module_that_is_gone_have_names() -> None:
    (found,) = kmemleak.leaks(OLD, kmemleak.symbols(KALLSYMS))
    assert found.stack == (
        Caller("pinner_store", "pinner"),
        Caller("pinner_write", "pinner"),
        Caller("vfs_write"),
    )
    (bare,) = kmemleak.leaks(OLD)
    assert bare.stack[0] == Caller("0xffffffffa0001010")


@pytest.mark.parametrize("text", ["", "nothing of the kind\n", '  comm "sh", pid 1\n'])
def test_nothing_is_listed(text: str) -> None:
    assert kmemleak.leaks(text) == ()


def drive(guest: FakeGuest) -> list[Event]:
    events: list[Event] = []
    scenario.get("compaction").drive(guest, TREATED, 7, {"pages": 2000}, events.append)
    return events


def test_it_is_asked_twice_when_the_pinner_is_gone() -> None:
    guest = FakeGuest(moves=1500)
    guest.absent.discard(KMEMLEAK)
    guest.leaks = OLD.replace("ffffffffa000", "ffffffffc000")
    events = drive(guest)
    done = guest.done
    scans = [at for at, step in enumerate(done) if step == f"echo scan > {KMEMLEAK}"]
    slept = done.index("sleep 6")
    gone = done.index("rmmod pinner")
    assert done.index("read /proc/kallsyms") < gone < scans[0] < slept < scans[1]
    assert scans[1] < done.index(f"read {KMEMLEAK}")
    said = [event for event in events if event.source == "kmemleak"]
    assert [event.name for event in said] == ["leak", "scanned"]
    stack = said[0].data["stack"]
    assert isinstance(stack, list) and stack[0] == ["pinner_store", "pinner"]
    assert done.index(f"read {KMEMLEAK}") < done.index(f"write {KMEMLEAK} clear")


def test_kmemleak_that_has_turned_itself_off_is_no_answer() -> None:
    guest = FakeGuest(moves=1500)
    guest.absent.discard(KMEMLEAK)
    guest.refusals["echo scan"] = "write error: Operation not permitted"
    with pytest.raises(InfraError, match="Operation not permitted"):
        drive(guest)


def test_a_kernel_without_it_says_so() -> None:
    events = drive(FakeGuest(moves=1500))
    said = [(event.source, event.name) for event in events if event.source == "kmemleak"]
    assert said == [("kmemleak", "absent")]


OWN = [
    [("general_add_page", ""), ("set_pinpage", "")],
    [("isolate_pinpage", "")],
    [("kstrdup", ""), ("pinner_store", "pinner")],
]


@pytest.mark.parametrize("stack", OWN)
def test_a_leak_of_ours_is_a_crash(stack: list[tuple[str, str]]) -> None:
    case = Case()
    case.treated.add("kmemleak", "leak", **leak(*stack))
    case.treated.add("kmemleak", "leak", **leak(*stack))
    case.treated.add("kmemleak", "scanned", found=2)
    verdict = case.verdict()
    assert verdict.outcome is Outcome.CRASH
    assert f"kmemleak: 2 unreferenced objects, 128 bytes, allocated by {stack[0][0]}" in (
        verdict.reason
    )
    assert "events.jsonl" in verdict.next_step
    (splat,) = verdict.splats
    assert (splat.kind, splat.arm, splat.function) == ("kmemleak", "treated", stack[0][0])


MOVE = [("mempool_alloc", ""), ("migrate_pages_batch", ""), ("compact_zone", "")]


@pytest.mark.parametrize(
    ("control", "treated", "outcome"),
    [(0, 1, "CRASH"), (1, 2, "CRASH"), (1, 1, "PASS"), (2, 1, "PASS"), (1, 0, "PASS")],
)
def test_a_leak_of_a_migration_counts_where_the_control_arm_has_fewer(
    control: int, treated: int, outcome: str
) -> None:
    case = Case()
    for arm, count in ((case.control, control), (case.treated, treated)):
        for _ in range(count):
            arm.add("kmemleak", "leak", **leak(*MOVE))
        arm.add("kmemleak", "scanned", found=count)
    verdict = case.verdict()
    assert verdict.outcome.value == outcome
    assert ("mempool_alloc" in verdict.reason) is (outcome == "CRASH")


def test_what_is_found_when_it_is_asked_again_counts_as_well() -> None:
    case = Case()
    case.treated.add("kmemleak", "leak", **leak(("acpi_init", "")))
    case.treated.add("kmemleak", "scanned", found=1)
    assert case.verdict().outcome is Outcome.PASS
    case.treated.add("kmemleak", "leak", **leak(*OWN[0]))
    case.treated.add("kmemleak", "scanned", found=1)
    assert case.verdict().outcome is Outcome.CRASH


def test_a_leak_of_others_is_shown_and_counts_for_nothing() -> None:
    case = Case()
    case.treated.add("kmemleak", "leak", **leak(("acpi_init", "")))
    case.treated.add("kmemleak", "scanned", found=1)
    case.splats.append(Splat("kmemleak", "new suspected", "", 1, 1, "", arm="treated"))
    verdict = case.verdict()
    assert verdict.outcome is Outcome.PASS, verdict.reason
    assert [splat.provoked for splat in verdict.splats] == [True, True]


def test_a_leak_counts_in_a_run_that_ended_in_an_error() -> None:
    case = Case()
    case.treated.add("kmemleak", "leak", **leak(("pinpage_register", "")))
    case.treated.add("kmemleak", "scanned", found=1)
    found = from_error(InfraError("no ssh"), case.arms, case.events(), ())
    assert found.outcome is Outcome.CRASH and "pinpage_register" in found.reason
    assert "no ssh" in found.reason


def test_what_the_kernel_announces_counts_where_its_list_was_not_read() -> None:
    case = Case()
    case.treated.add("kmemleak", "scanned", found=0)
    case.splats.append(Splat("kmemleak", "new suspected", "", 1, 1, "", arm="control"))
    assert case.verdict().outcome is Outcome.CRASH


def test_a_list_that_is_not_whole_is_no_evidence() -> None:
    case = Case()
    case.treated.add("kmemleak", "scanned", found=2)
    events = case.events()
    verdict = judge(case.arms, [e for e in events if e.name != "ledger"], (), ())
    assert verdict.outcome is Outcome.INFRA
    with pytest.raises(Exception, match="2 leaks were found, and 0 are here"):
        ledger(events)
