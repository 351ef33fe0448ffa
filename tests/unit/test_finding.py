# SPDX-License-Identifier: GPL-2.0-only
"""At what a run is held."""

from __future__ import annotations

import pytest

from harness.errors import EvidenceError
from harness.finding import Finder, Stop
from harness.model import JSON, ArmPlan, Event

CONTROL = ArmPlan("control", "control", "plain")
TREATED = ArmPlan("treated", "treated", "pinpage")
SPLAT = """\
[    2.500000] pinpage: attempt 3 begins: contig of 256
[    2.600000] ------------[ cut here ]------------
[    2.600000] WARNING: CPU: 0 PID: 1 at mm/page_alloc.c:4000 alloc_pages+0x1/0x2
[    2.600000] Call Trace:
[    2.600000]  compact_zone+0x1f0/0x9b0
[    2.600000] ---[ end trace 0000000000000000 ]---
[    2.700000] pinpage: attempt 3 ends
"""


def ledger(when: str, *places: int) -> Event:
    rows: list[JSON] = [[n, 1, pfn, 0, 0, "stored"] for n, pfn in enumerate(places, 1)]
    return Event("", "pinner", "ledger", {"when": when, "rows": rows})


def found(stop: Stop, arm: ArmPlan, *events: Event, alone: bool = False, said: str = "") -> str:
    find = Finder(stop, arm, lambda: said, alone=alone)
    return next(filter(None, map(find.saw, events)), "")


BEFORE, AFTER = ledger("before", 10, 20, 30), ledger("after", 10, 21, 31)


def test_pages_that_stayed_or_migrated() -> None:
    assert found(Stop.STAYED, TREATED, BEFORE, AFTER) == "1 of 3 pinned pages stayed"
    assert found(Stop.MIGRATED, TREATED, BEFORE, AFTER) == "2 of 3 pinned pages migrated"
    assert found(Stop.MIGRATED, TREATED, BEFORE, ledger("after", 10, 20, 30)) == ""
    assert found(Stop.STAYED, TREATED, BEFORE, ledger("after", 11, 21, 31)) == ""
    # One that was freed is neither; a look in between says nothing yet.
    assert found(Stop.MIGRATED, TREATED, BEFORE, ledger("after", 10, 20)) == ""
    assert found(Stop.STAYED, TREATED, BEFORE, ledger("held", 10, 20, 30)) == ""
    assert found(Stop.SPLAT, TREATED, BEFORE, AFTER) == ""


def test_a_control_arms_pages_are_to_stay() -> None:
    still = ledger("after", 10, 20, 30)
    assert found(Stop.STAYED, CONTROL, BEFORE, still) == ""
    assert found(Stop.STAYED, CONTROL, BEFORE, still, alone=True) == "3 of 3 pinned pages stayed"
    assert found(Stop.MIGRATED, CONTROL, BEFORE, AFTER) == "2 of 3 pinned pages migrated"


def test_a_report_is_seen_when_nothing_is_timed() -> None:
    attempt = Event("", "trigger", "attempt", {"number": 3})
    assert found(Stop.SPLAT, TREATED, attempt, said=SPLAT) == ""
    for event in (BEFORE, Event("", "harness", "drive", {"seconds": 1})):
        why = found(Stop.SPLAT, TREATED, event, said=SPLAT)
        assert why.startswith("the kernel reported WARN") and "alloc_pages" in why
    assert found(Stop.STAYED, TREATED, BEFORE, said=SPLAT) == ""


def test_what_an_attempt_has_to_provoke_is_no_complaint() -> None:
    for provokes, seen in ((["WARN"], False), (["alloc-failure"], True)):
        begun = Event("", "trigger", "provokes", {"number": 3, "kinds": provokes})
        assert bool(found(Stop.SPLAT, TREATED, begun, AFTER, said=SPLAT)) is seen


def test_a_ledger_without_rows_is_refused() -> None:
    with pytest.raises(EvidenceError):
        found(Stop.STAYED, TREATED, Event("", "pinner", "ledger", {"when": "before"}))
