# SPDX-License-Identifier: GPL-2.0-only
"""The compaction scenario's steps and what it emits, on a guest that is none."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from fake_guest import NODE, PINNER, TRACING, FakeGuest

from harness import scenario
from harness.errors import CannotRun, EvidenceError, GuestCommandError, InfraError, InputError
from harness.model import ArmPlan, Event, Outcome
from harness.pages import ledger
from harness.scenario.pinned import load
from harness.scenario.recorder import Recorder
from harness.verdict import judge

COMPACTION = scenario.get("compaction")
CONTROL, TREATED = COMPACTION.arms(True, {})
COMPACT = "/proc/sys/vm/compact_memory"
PARAMS = {"pages": 2000}


def drive(guest: FakeGuest, arm: ArmPlan, **params: Any) -> list[Event]:
    events: list[Event] = []
    COMPACTION.drive(guest, arm, 7, {**PARAMS, **params}, events.append)
    return events


def test_arms() -> None:
    assert [(a.name, a.role, a.mode) for a in COMPACTION.arms(True, {})] == [
        ("control", "control", "plain"),
        ("treated", "treated", "pinpage"),
    ]
    assert COMPACTION.arms(False, {}) == (CONTROL,)


def test_two_arms_come_to_a_pass() -> None:
    events = drive(FakeGuest(), CONTROL) + drive(FakeGuest(moves=1900), TREATED)
    verdict = judge((CONTROL, TREATED), events, ledger(events), ())
    assert verdict.outcome is Outcome.PASS, verdict.reason
    assert all(w.complete for w in verdict.witnesses)
    assert (verdict.arms[1].migrated, verdict.arms[1].order9_after) == (1900, 360)


def test_steps_come_in_the_order_that_makes_them_evidence() -> None:
    guest = FakeGuest(moves=1900)
    drive(guest, TREATED, rounds=2)
    done = guest.done
    drives = [at for at, step in enumerate(done) if step == f"write {COMPACT} 1"]
    layout = done.index(f"write {PINNER}/control layout 2000 32 7")
    on, off = (
        max(at for at, step in enumerate(done) if step == f"write {TRACING}/tracing_on {value}")
        for value in "10"
    )
    drops = done.index("write /proc/sys/vm/drop_caches 3")
    assert drops < layout < on < drives[0] < drives[1] < off
    assert len(drives) == 2
    (kept,) = (at for at, step in enumerate(done) if "percpu_pagelist_high_fraction" in step)
    assert kept < min(at for at, step in enumerate(done) if step == "read /proc/buddyinfo")
    assert on < done.index(f"write {NODE} 1") < off
    stats = [at for at, step in enumerate(done) if step == "read /proc/vmstat"]
    assert stats[0] < on < stats[1] < drives[0] and drives[1] < stats[2] < off < stats[3]
    calls = [at for at, step in enumerate(done) if step == f"read {PINNER}/moves"]
    assert stats[1] < calls[0] < drives[0] and drives[1] < calls[1] < stats[2]
    verify = done.index(f"write {PINNER}/control verify")
    ledgers = [at for at, step in enumerate(done) if step == f"read {PINNER}/ledger"]
    assert ledgers[0] < on and drives[1] < verify < calls[1] < ledgers[1] < stats[2]
    assert len(calls) == len(ledgers) == 2
    assert off < done.index("rmmod pinner")


@pytest.mark.parametrize("times", [1, 3])
def test_pages_that_move_while_they_are_counted_are_counted_again(times: int) -> None:
    class Going(FakeGuest):
        """Compacts by itself as its ledger is read, so many times behind the drive."""

        left = times

        def read(self, path: str, *, timeout: float = 30) -> bytes:
            said = super().read(path, timeout=timeout)
            if path.endswith("/ledger") and self.migrated and self.left:
                self.left -= 1
                self.moves += 3
                self._compact()
            return said

    guest = Going(moves=1900)
    events = drive(FakeGuest(), CONTROL) + drive(guest, TREATED)
    verdict = judge((CONTROL, TREATED), events, ledger(events), ())
    assert verdict.outcome is Outcome.PASS, verdict.reason
    assert verdict.arms[1].migrated == 1900 + 3 * times
    assert guest.done.count(f"read {PINNER}/ledger") == 2 + times


def test_only_the_treated_owner_lies() -> None:
    for arm, lies in ((CONTROL, False), (TREATED, True)):
        guest = FakeGuest()
        drive(guest, arm, lie="ghost")
        insmod, again = [step for step in guest.done if step.startswith("insmod")]
        assert "lie=" not in again
        assert ("lie=ghost" in insmod) is lies


def test_only_the_treated_owner_lingers_and_not_where_it_was_told_nothing() -> None:
    for arm, values, words in (
        (TREATED, {"linger": 50, "init_lru": 1}, "mode=pinpage init_lru=1 linger=50"),
        (TREATED, {"linger": 0}, "mode=pinpage"),
        (CONTROL, {"linger": 50}, "mode=plain"),
    ):
        guest = FakeGuest()
        load(Recorder(guest, arm, lambda event: None), values)
        assert guest.done[-1] == f"insmod /modules/pinner.ko {words}"


@pytest.mark.parametrize("gone", [COMPACT, "debugfs"])
def test_a_kernel_without_the_means_is_skipped(gone: str) -> None:
    guest = FakeGuest()
    guest.absent.add(gone)
    if gone == "debugfs":
        guest.refusals = {"grep -q ' /sys/kernel/debug": "", "mount -t debugfs": "No such device"}
    with pytest.raises(CannotRun, match=r"compact_memory|debugfs"):
        drive(guest, CONTROL)


def test_a_mode_that_the_kernel_has_not_is_skipped() -> None:
    guest = FakeGuest()
    guest.refusals["insmod"] = "insmod: can't insert '/modules/pinner.ko': Operation not supported"
    with pytest.raises(CannotRun, match="mode pinpage is not supported"):
        drive(guest, TREATED)
    guest.refusals["insmod"] = "insmod: can't insert '/modules/pinner.ko': invalid module format"
    with pytest.raises(GuestCommandError, match="invalid module format"):
        drive(guest, TREATED)


def test_a_layout_that_does_not_fit_is_our_fault() -> None:
    guest = FakeGuest()
    guest.refusals["layout 2000 32 7"] = "Cannot allocate memory"
    with pytest.raises(InfraError, match="2000 pages, one of every 32") as caught:
        drive(guest, CONTROL)
    assert "250 MiB" in caught.value.hint


def test_contents_that_do_not_verify_are_evidence() -> None:
    guest = FakeGuest(moves=1900)
    guest.refusals["verify"] = "I/O error"
    events = drive(guest, TREATED)
    assert judge((TREATED,), events, ledger(events), ()).outcome is Outcome.FAIL


def test_without_tracing_the_witness_is_missed_by_name() -> None:
    guest = FakeGuest(moves=1900)
    guest.absent |= {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}
    events = drive(guest, TREATED)
    verdict = judge((TREATED,), events, ledger(events), ())
    missing = {w.source for w in verdict.witnesses if not w.complete}
    assert "trace mm_page_free" in missing


@pytest.mark.parametrize("event", ["mm_compaction_begin", "stats", "read", "missing", "other"])
def test_a_trace_of_any_names_is_no_traceback(event: str) -> None:
    guest = FakeGuest(moves=1900)
    guest.traced.append(f"x-1 [000] ..... 0.1: {event}: name=a source=b self=c time=d arm=e lost=9")
    events = drive(guest, TREATED)
    verdict = judge((TREATED,), events, ledger(events), ())
    assert verdict.outcome is Outcome.PASS, verdict.reason
    begun = [e.data["time"] for e in events if e.name == "mm_compaction_begin"]
    assert begun == ([0.1] if event == "mm_compaction_begin" else [])


@pytest.mark.parametrize(
    "packed", [b"", b"busybox: no gzip", gzip.compress(b"12345678", mtime=0)[:-3]]
)
def test_output_that_is_cut_short_is_no_evidence(
    packed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fake_guest.gzip.compress", lambda data: packed)
    with pytest.raises(EvidenceError, match="did not come whole"):
        drive(FakeGuest(), CONTROL)


def test_an_absent_tracepoint_and_kpageflags_are_missed_by_name() -> None:
    guest = FakeGuest(moves=1900)
    guest.absent |= {f"{TRACING}/events/kmem/mm_page_free", "/proc/kpageflags"}
    events = drive(guest, TREATED)
    verdict = judge((TREATED,), events, ledger(events), ())
    assert verdict.outcome is Outcome.INCONSISTENT, verdict.reason
    assert "no tracepoint mm_page_free" in verdict.reason and "kpageflags" in verdict.reason


# The list of scenarios and their parameters


def test_names_and_unknown_names() -> None:
    assert "compaction" in scenario.names()
    with pytest.raises(InputError, match="no scenario 'compactoin'"):
        scenario.get("compactoin")


def test_params() -> None:
    values = scenario.params("compaction", ["pages=3000", "lie=keep"])
    assert (values["pages"], values["lie"], values["every"]) == (3000, "keep", 32)
    for word in ("pages=many", "pages=-1", "page=1", "pages", "pages=1999", "lie=help"):
        with pytest.raises(InputError):
            scenario.params("compaction", [word])


@pytest.mark.parametrize(
    ("pages", "every", "memory", "said"),
    [
        (4000, 32, 1024, ""),
        (4000, 32, 8000, ""),
        (4000, 2, 1024, "is 31 MiB of a guest with 1024 MiB: compaction would hardly come by"),
        (4000, 64, 1024, "more than 75% of a guest with 1024 MiB"),
    ],
)
def test_a_layout_has_to_be_spread_and_to_have_room(
    pages: int, every: int, memory: int, said: str
) -> None:
    words = {"pages": pages, "every": every}
    if not said:
        COMPACTION.check(words, memory)
        return
    with pytest.raises(InputError, match=said):
        COMPACTION.check(words, memory)
