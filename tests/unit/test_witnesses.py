# SPDX-License-Identifier: GPL-2.0-only
"""harness/WITNESSES.md, kept true: each source of each claim tampered with and taken away."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_evidence import BUDDY, FIRST, MOVED, PAGES, TARGET, TREATED, Case, Spoil, arm

from harness.errors import EvidenceError
from harness.expectation import HELD, Expectation
from harness.model import JSON, ArmPlan, Event, Outcome, Verdict
from harness.pages import ledger
from harness.parse.pageflags import BITS
from harness.verdict import judge
from harness.witness import KERNEL, disagreements

DOC = (Path(__file__).parents[2] / "harness" / "WITNESSES.md").read_text()
TABLE = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in DOC.splitlines()
    if line.startswith("| ") and not line.startswith(("| claim", "| ---"))
]
ROWS = {(row[0], row[1].strip("*")): row for row in TABLE}
FIGURES = {row[0]: row[1].strip("*") for row in reversed(TABLE)}
MORE, LESS, MISSING = 4, 5, 6
LAST = PAGES - 1  # a page that stayed
REFUSED = MOVED  # a page that was refused


def verdict(*spoils: Spoil) -> Verdict:
    case = Case()
    for spoil in spoils:
        spoil(case)
    events = case.events()
    return judge(case.arms, events, ledger(events), (), Expectation(pinned=100))


# --- tampering -----------------------------------------------------------------------------------


def row(handle: int, when: str = "after", **columns: Any) -> Spoil:
    """Columns of a ledger's row: frame, moves, errno, state."""
    at = {"pinned": 1, "frame": 2, "moves": 3, "errno": 4, "state": 5}

    def spoil(case: Case) -> None:
        for name, value in columns.items():
            case.treated.rows(when)[handle][at[name]] = value

    return spoil


def counter(name: str, by: int, when: str = "after") -> Spoil:
    def spoil(case: Case) -> None:
        case.treated.get("pinner", "counters", when)["values"][name] += by

    return spoil


def vmstat(name: str, by: int) -> Spoil:
    def spoil(case: Case) -> None:
        for when in ("inner-after", "outer-after"):
            case.treated.get("vmstat", "vmstat", when)["values"][name] += by

    return spoil


def traced(name: str, by: int) -> Spoil:
    def spoil(case: Case) -> None:
        data = case.treated.get("trace", "mm_migrate_pages")
        data[name] = str(int(data[name]) + by)

    return spoil


def freed(frame: int) -> Spoil:
    return lambda case: case.treated.get("trace", "mm_page_free")["frames"].append([frame, 0])


def not_freed(case: Case) -> None:
    case.treated.get("trace", "mm_page_free")["frames"].remove([FIRST, 0])


def is_free(frame: int, when: str = "after") -> Spoil:
    def spoil(case: Case) -> None:
        for entry in case.treated.get("pageflags", "flags", when)["frames"]:
            if entry[0] == frame:
                entry[1] = BUDDY

    return spoil


def call(handle: int, errno: int, total: int = 1) -> Spoil:
    """One more on the owner's record; total: by how much that says it has grown."""

    def spoil(case: Case) -> None:
        name = "refused" if errno else "migrated"
        old = case.treated.rows("before")[handle][2]
        case.treated.add(
            "pinner", name, seq=9999, handle=handle, old=old, new=TARGET + 9, errno=errno,
            window=True,
        )  # fmt: skip
        case.treated.get("pinner", "calls")["total"] += total

    return spoil


def no_call(name: str, total: int = -1) -> Spoil:
    def spoil(case: Case) -> None:
        data = case.treated.get("pinner", name)
        case.treated.items = [item for item in case.treated.items if item[2] is not data]
        case.treated.get("pinner", "calls")["total"] += total

    return spoil


def calls_told(by: int) -> Spoil:
    def spoil(case: Case) -> None:
        case.treated.get("pinner", "calls")["total"] += by

    return spoil


def call_leads_astray(case: Case) -> None:
    case.treated.get("pinner", "migrated")["new"] += 1


def line(name: str, **data: Any) -> Spoil:
    return lambda case: case.treated.add("dmesg", name, **data)


def no_line(name: str) -> Spoil:
    def spoil(case: Case) -> None:
        data = case.treated.get("dmesg", name)
        case.treated.items = [item for item in case.treated.items if item[2] is not data]

    return spoil


def one_row_more(when: str) -> Spoil:
    def spoil(case: Case) -> None:
        case.treated.rows(when).append([9999, 999_999, 999_999, 0, 0, "stored"])
        if when == "after":  # contents of fewer than all would be no evidence at all
            case.treated.get("pinner", "counters", "after")["values"]["verified"] += 1

    return spoil


def one_row_less(when: str) -> Spoil:
    def spoil(case: Case) -> None:
        del case.treated.rows(when)[-1]

    return spoil


def same_frame(when: str) -> Spoil:
    def spoil(case: Case) -> None:
        case.treated.rows(when)[1][2] = case.treated.rows(when)[0][2]

    return spoil


def huge(by: int) -> Spoil:
    def spoil(case: Case) -> None:
        case.treated.get("pinner", "huge", "after")["got"] += by

    return spoil


def blocks(by: int) -> Spoil:
    def spoil(case: Case) -> None:
        case.treated.get("buddyinfo", "free", "after")["zones"][0]["free"][9] += by

    return spoil


def shared(case: Case) -> None:
    case.treated.get("pinner", "refs")["rows"][7][2] = 2


def isolated(case: Case) -> None:
    case.treated.get("pageflags", "flags", "released")["frames"][7][1] = 1 << BITS["RECLAIM"]


def without_io(case: Case) -> None:
    case.treated.get("harness", "compacted")["flags"] |= 0x80000


def is_moved(case: Case) -> None:
    row(LAST, frame=TARGET + 9, moves=1)(case)


STAYED_FRAME = FIRST + 7 * LAST
LINE = {"handle": 0, "old": FIRST, "new": TARGET + 1, "errno": 0}
REFUSAL = {"handle": LAST, "old": STAYED_FRAME, "new": None, "errno": -11}
CANNOT = None  # no evidence can say so

TAMPERED: dict[tuple[str, str], tuple[Spoil | None, Spoil | None]] = {
    ("pinned", "pinner ledger"): (one_row_more("before"), one_row_less("before")),
    ("pinned", "distinct frames"): (CANNOT, same_frame("before")),
    ("pinned", "pinner ledger after"): (one_row_more("after"), one_row_less("after")),
    ("pinned", "pinner counter pinned"): (
        counter("pinned", 1, "before"),
        counter("pinned", -1, "before"),
    ),
    ("pinned after", "pinner ledger"): (one_row_more("after"), one_row_less("after")),
    ("pinned after", "pinner counter pinned"): (counter("pinned", 1), counter("pinned", -1)),
    ("pinned", "pageflags"): (CANNOT, is_free(FIRST, "before")),
    ("migrated", "pinner ledger"): (row(0, moves=2), row(0, moves=0)),
    ("migrated", "pinner moves"): (call(LAST, 0), no_call("migrated")),
    ("migrated", "pinner counter migrated"): (counter("migrated", 1), counter("migrated", -1)),
    ("migrated", "trace mm_page_free"): (freed(FIRST), not_freed),
    ("migrated", "vmstat pgmigrate_success"): (
        vmstat("pgmigrate_success", 1),
        vmstat("pgmigrate_success", -41),  # 40 of them are others'
    ),
    ("migrated", "dmesg"): (line("migrated", **LINE), no_line("migrated")),
    ("stayed", "pinner ledger"): (row(0, frame=FIRST, moves=0), is_moved),
    ("stayed", "trace mm_page_free"): (CANNOT, freed(STAYED_FRAME)),
    ("stayed", "pageflags"): (CANNOT, is_free(STAYED_FRAME)),
    ("failed", "pinner ledger"): (row(LAST, errno=-16), row(REFUSED, errno=0)),
    ("failed", "pinner moves"): (call(LAST, -11), no_call("refused")),
    ("failed", "vmstat pgmigrate_fail"): (
        vmstat("pgmigrate_fail", 1),
        vmstat("pgmigrate_fail", -1),
    ),
    ("failed", "dmesg"): (line("refused", **REFUSAL), no_line("refused")),
    ("refused", "pinner moves"): (call(0, -11), no_call("refused")),
    ("refused", "pinner counter refused"): (counter("refused", 1), counter("refused", -1)),
    ("calls", "pinner calls"): (calls_told(1), calls_told(-1)),
    ("calls", "pinner moves"): (call(0, -11, total=0), no_call("migrated", total=0)),
    ("held", "pinner ledger"): (row(0, frame=FIRST), row(0, state="lost")),
    ("held", "distinct frames"): (CANNOT, same_frame("after")),
    ("held", "pinner moves"): (CANNOT, call_leads_astray),
    ("held", "pageflags"): (CANNOT, is_free(TARGET - 3)),
    ("left over", "drive"): (CANNOT, CANNOT),
    ("left over", "pinner refs"): (shared, CANNOT),
    ("left over", "pageflags"): (isolated, CANNOT),
    ("left over", "vmstat nr_isolated"): (
        vmstat("nr_isolated_file", 600),
        vmstat("nr_isolated_file", -600),
    ),
    ("left over", "pinner nr_isolated"): (
        counter("nr_isolated", 129),
        counter("nr_isolated", -129),
    ),
    ("left over", "task flags"): (without_io, CANNOT),
    ("lost", "pinner ledger"): (row(0, state="lost"), counter("lost", 1)),
    ("lost", "pinner counter lost"): (counter("lost", 1), row(0, state="lost")),
    ("corrupt", "pinner ledger"): (row(0, state="corrupt"), counter("corrupt", 1)),
    ("corrupt", "pinner counter corrupt"): (counter("corrupt", 1), row(0, state="corrupt")),
    ("more huge pages", "pinner huge"): (huge(600), huge(-200)),
    ("more huge pages", "buddyinfo"): (blocks(600), blocks(-200)),
    ("kernel succeeded", "vmstat pgmigrate_success"): (
        vmstat("pgmigrate_success", 1),
        vmstat("pgmigrate_success", -1),
    ),
    ("kernel succeeded", "trace mm_migrate_pages succeeded"): (
        traced("nr_succeeded", 1),
        traced("nr_succeeded", -1),
    ),
    ("kernel failed", "vmstat pgmigrate_fail"): (
        vmstat("pgmigrate_fail", 1),
        vmstat("pgmigrate_fail", -1),
    ),
    ("kernel failed", "trace mm_migrate_pages failed"): (
        traced("nr_failed", 1),
        traced("nr_failed", -1),
    ),
}  # fmt: skip
SIDES = [(*key, side, spoil) for key, both in TAMPERED.items()
         for side, spoil in zip((MORE, LESS), both, strict=True)]  # fmt: skip


def test_the_table_has_the_claims_and_sources_of_the_code() -> None:
    emitted = {(w.claim, w.source) for w in verdict().witnesses}
    assert set(ROWS) == emitted == set(TAMPERED)
    assert len(TABLE) == len(ROWS)
    assert {cell for cells in TABLE for cell in cells[MORE : MISSING + 1]} <= {
        *("INCONSISTENT", "nothing", "PASS", "INFRA")
    }  # fmt: skip


def test_what_is_the_kernels_own_is_in_italics() -> None:
    italic = {cells[1].strip("*") for cells in TABLE if cells[1].startswith("*")}
    attempts = " ".join(DOC.partition("\nAttempts (")[2].split())
    italic |= set(re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", attempts))
    assert italic - {"trace mm_migrate_pages succeeded", "trace mm_migrate_pages failed"} == KERNEL


@pytest.mark.parametrize(("claim", "source", "side", "spoil"), SIDES)
def test_a_source_that_is_tampered_with(
    claim: str, source: str, side: int, spoil: Spoil | None
) -> None:
    due = ROWS[claim, source][side]
    if spoil is CANNOT:
        assert due == "nothing" and "cannot be" in ROWS[claim, source][3]
        return
    spoilt = verdict(spoil)
    found = disagreements(spoilt.witnesses)
    if due == "nothing":
        assert (claim, source) not in [(w.claim, w.source) for _, w in found]
        return
    assert due == "INCONSISTENT"
    assert spoilt.outcome is Outcome.INCONSISTENT, spoilt.reason
    if source == FIGURES[claim]:  # the others contradict it, here or where it is a figure as well
        assert source in {figure.source for figure, _ in found}, spoilt.reason
    else:
        assert (claim, source) in [(w.claim, w.source) for _, w in found], spoilt.reason
    figure, other = found[0]
    for word in (figure.source, str(figure.count), other.source, str(other.count), claim and "'"):
        assert word in spoilt.reason


def test_an_errno_that_the_record_does_not_know() -> None:
    spoilt = verdict(row(REFUSED, errno=-16))
    assert spoilt.outcome is Outcome.INCONSISTENT
    assert "1 pages have another errno in the ledger" in spoilt.reason


def test_an_errno_of_a_page_that_moved_is_on_record_as_well() -> None:
    spoilt = verdict(row(0, errno=-16))
    assert spoilt.outcome is Outcome.INCONSISTENT
    assert "1 pages have another errno in the ledger" in spoilt.reason


# --- taking away ---------------------------------------------------------------------------------


def drop(source: str, *names: str) -> Spoil:
    def spoil(case: Case) -> None:
        for name in names:
            case.treated.drop(source, name)

    return spoil


def forget(source: str, name: str, when: str) -> Spoil:
    def spoil(case: Case) -> None:
        data = case.treated.get(source, name, when)
        case.treated.items = [item for item in case.treated.items if item[2] is not data]

    return spoil


def uncounted(name: str, when: str = "after") -> Spoil:
    def spoil(case: Case) -> None:
        del case.treated.get("pinner", "counters", when)["values"][name]

    return spoil


def no_vmstat(name: str) -> Spoil:
    def spoil(case: Case) -> None:
        for reading in case.treated.all("vmstat", "vmstat"):
            del reading["values"][name]

    return spoil


def no_tracepoint(name: str) -> Spoil:
    def spoil(case: Case) -> None:
        case.treated.drop("trace", name)
        case.treated.add("trace", "missing", events=[f"x/{name}"])

    return spoil


no_ledger = forget("pinner", "ledger", "before")
no_moves = drop("pinner", "calls", "migrated", "refused")
WHEN = {"pinned": "before", "pinned after": "after"}
MISSED: dict[str, Callable[[str], Spoil]] = {
    "pinner ledger": lambda _: no_ledger,
    "distinct frames": lambda _: no_ledger,
    "pinner ledger after": lambda _: forget("pinner", "ledger", "after"),
    "pinner counter pinned": lambda claim: uncounted("pinned", WHEN[claim]),
    "pinner counter migrated": lambda _: uncounted("migrated"),
    "pinner counter refused": lambda _: uncounted("refused"),
    "pinner counter lost": lambda _: uncounted("lost"),
    "pinner counter corrupt": lambda _: uncounted("corrupt"),
    "drive": lambda _: drop("harness", "drive"),
    "pinner refs": lambda _: drop("pinner", "refs"),
    "vmstat nr_isolated": lambda _: no_vmstat("nr_isolated_file"),
    "pinner nr_isolated": lambda _: uncounted("nr_isolated"),
    "task flags": lambda _: drop("harness", "compacted"),
    "pageflags": lambda _: drop("pageflags", "flags"),
    "pinner moves": lambda _: no_moves,
    "pinner calls": lambda _: no_moves,
    "trace mm_page_free": lambda _: no_tracepoint("mm_page_free"),
    "vmstat pgmigrate_success": lambda _: no_vmstat("pgmigrate_success"),
    "vmstat pgmigrate_fail": lambda _: no_vmstat("pgmigrate_fail"),
    "dmesg": lambda _: drop("dmesg", "migrated", "refused", "read"),
    "pinner huge": lambda _: drop("pinner", "huge"),
    "buddyinfo": lambda _: drop("buddyinfo", "free"),
    "trace mm_migrate_pages succeeded": lambda _: no_tracepoint("mm_migrate_pages"),
    "trace mm_migrate_pages failed": lambda _: no_tracepoint("mm_migrate_pages"),
}


@pytest.mark.parametrize(("claim", "source"), ROWS)
def test_a_source_that_is_not_there(claim: str, source: str) -> None:
    spoilt = verdict(MISSED[source](claim))
    assert spoilt.outcome.value == ROWS[claim, source][MISSING], spoilt.reason
    if spoilt.outcome is Outcome.PASS and claim != "calls":
        absent = [
            w for w in spoilt.witnesses
            if (w.arm, w.claim, w.source) == ("treated", claim, source)
        ]  # fmt: skip
        if source == "pinner nr_isolated":  # most kernels need none
            assert not absent
        else:
            assert [(each.complete, bool(each.detail)) for each in absent] == [(False, True)]
    if spoilt.outcome is Outcome.INCONSISTENT:
        assert "no independent witness bears it out" in spoilt.reason


# --- attempts ------------------------------------------------------------------------------------


def attempt(arm: str = "treated", **data: Any) -> Event:
    whole: dict[str, Any] = {
        "number": 1, "trigger": "offline", "target": "memory5", "group": "", "ok": True,
        "expected": True, "errno": 0, "said": "", "seconds": 1.0, "pins": 0, "frames": [1, 10],
        "migrated": None, "failed": None, "checks": {"sysfs state": True}, "asked": None,
        "got": None, "also": {}, "provokes": [],
    }  # fmt: skip
    if not data.get("ok", True):
        whole["errno"] = 16
    return Event(arm, "trigger", "attempt", whole | data)


def judged(*events: Event) -> Verdict:
    case = Case()
    plain = attempt("control", ok=False, expected=False, errno=16, checks={"sysfs state": False})
    every = [*case.events(), plain, *events]
    return judge(case.arms, every, ledger(every), (), Expectation(pinned=PAGES, attempts=True))


def test_attempts_and_what_is_asked_beside() -> None:
    assert judged(attempt()).outcome is Outcome.PASS
    for source in ("sysfs state", "zoneinfo present", "pageflags"):
        lied = judged(attempt(checks={source: False}))
        assert lied.outcome is Outcome.INCONSISTENT
        assert "commands says 1" in lied.reason and f"{source} says 0" in lied.reason
        hidden = judged(attempt(ok=False, expected=False, checks={source: True}))
        assert "commands says 0" in hidden.reason and f"{source} says 1" in hidden.reason
    alone = judged(attempt(checks={}))
    assert alone.outcome is Outcome.INCONSISTENT and "no independent witness" in alone.reason


def test_what_failed_is_told_with_what_it_has_left_behind() -> None:
    def of(arm: str, *events: Event) -> Verdict:
        case = Case()
        refs = getattr(case, arm).get("pinner", "refs")["rows"]
        refs[3][2] += 1
        plain = attempt("control", ok=False, expected=False, checks={"sysfs state": False})
        every = [*case.events(), plain, *events]
        return judge(case.arms, every, ledger(every), (), Expectation(pinned=PAGES, attempts=True))

    failed = attempt(ok=False, checks={"sysfs state": False})
    found = of("treated", failed)
    assert found.outcome is Outcome.FAIL
    assert "offline of memory5 failed (EBUSY)" in found.reason
    assert "what it has left behind: pinner refs 1 (pages have other references" in found.reason
    assert of("treated", attempt()).outcome is Outcome.INCONSISTENT  # nothing else is wrong
    assert of("treated", attempt(checks={"pageflags": False}), failed).outcome is (
        Outcome.INCONSISTENT
    )


def test_an_attempt_is_ok_if_and_only_if_it_has_no_errno() -> None:
    for ok, number in ((True, 16), (False, 0)):
        with pytest.raises(EvidenceError, match=f"with errno {number}"):
            judged(attempt(ok=ok, errno=number))


def test_an_attempt_that_is_not_on_record() -> None:
    mark = Event("treated", "trace", "mark", {"number": 2})
    for events, number in (([attempt(number=2)], 1), ([attempt(), mark], 2)):
        found = judged(*events)
        assert found.outcome is Outcome.INFRA
        assert f"of attempt {number} nothing is on record" in found.reason
    step = Event("treated", "trigger", "step", dict(attempt().data))
    assert judged(step, mark, attempt(number=2)).outcome is Outcome.PASS


def test_where_the_pins_were_is_not_read_is_said() -> None:
    said = [w for w in judged(attempt()).witnesses if w.source == "pinner ledger held"]
    assert [(w.complete, w.detail) for w in said if w.arm == "treated"] == [
        (False, "not read while the frames were taken")
    ]


def test_frames_that_were_taken_twice() -> None:
    held = Event("treated", "pinner", "ledger", {"when": "held", "rows": []})
    said: dict[str, Any] = {"checks": {"pageflags": True}}
    first = attempt(frames=[100, 256], **said)
    apart = judged(first, attempt(number=2, frames=[356, 256], **said), held)
    assert apart.outcome is Outcome.PASS, apart.reason
    for again in (100, 355, 20):
        twice = judged(first, attempt(number=2, frames=[again, 256], **said), held)
        assert twice.outcome is Outcome.INCONSISTENT
        assert "distinct frames says 1 (1 of them have frames of another)" in twice.reason
    pin: list[JSON] = [1, 9, 110, 1, 0, "stored"]
    pinned = Event("treated", "pinner", "ledger", {"when": "held", "rows": [pin]})
    kept = judged(first, attempt(number=2, frames=[356, 256], **said), pinned)
    assert "commands says 2, pinner ledger held says 1 (1 pins are in frames" in kept.reason
    given_back = judged(first, held, attempt(number=2, frames=[100, 256], **said))
    assert given_back.outcome is Outcome.PASS, given_back.reason


def test_what_was_not_read_is_no_zero_left_over() -> None:
    def cut(source: str, name: str, key: str, when: str | None = None) -> Spoil:
        def spoil(case: Case) -> None:
            data = case.treated.get(source, name, when)
            data[key] = data[key][:5]

        return spoil

    for spoil, source in (
        (cut("pinner", "refs", "rows"), "pinner refs"),
        (cut("pageflags", "flags", "frames", "released"), "pageflags"),
    ):
        found = verdict(spoil)
        (said,) = [
            w
            for w in found.witnesses
            if (w.arm, w.claim, w.source) == ("treated", "left over", source)
        ]
        assert not said.complete and "are not in it" in said.detail


def test_an_attempt_that_went_wrong_is_quoted() -> None:
    lost = attempt(ok=False, errno=5, said=f"3 pages are\n left {'x' * 300}", checks={})
    found = judged(
        attempt(checks={"sysfs state": True}), replace(lost, data={**lost.data, "number": 2})
    )
    assert found.outcome is Outcome.FAIL
    assert "failed (EIO), which had to succeed: 3 pages are left xxx" in found.reason
    assert found.reason.endswith("…") and len(found.reason) < 300


@pytest.mark.parametrize(
    ("wrong", "also"),
    [
        (1, ""),
        (2, "; 2 of 9 attempts went wrong, also offline of block 2 failed (EBUSY)"),
        (3, "3 failed (EBUSY)"),
        (9, "offline of block 3 failed (EBUSY), and 6 more"),
    ],
)
def test_what_went_wrong_first_leads_and_the_others_are_named_after_it(
    wrong: int, also: str
) -> None:
    every = [
        attempt(number=n, target=f"block {n}", checks={"sysfs state": True})
        if n > wrong
        else attempt(
            number=n, target=f"block {n}", ok=False, errno=16, said="it is held", checks={}
        )
        for n in range(1, 10)
    ]
    found = judged(*every)
    assert found.outcome is Outcome.FAIL
    begin = "in the treated arm offline of block 1 failed (EBUSY), which had to succeed: it is held"
    assert begin in found.reason and found.reason.endswith(also or "it is held")


def test_what_is_had_in_part_and_who_counts_it() -> None:
    part: dict[str, Any] = {
        "got": 5, "asked": 8, "group": "huge pages", "expected": None, "checks": {}
    }  # fmt: skip
    honest = judged(attempt(), attempt(number=2, also={"HugePages_Free": 5}, **part))
    assert honest.outcome is Outcome.PASS, honest.reason
    for nobody in (dict[str, int](), {"its own words": 5}):
        alone = judged(attempt(), attempt(number=2, also=nobody, **part))
        assert alone.outcome is Outcome.INCONSISTENT
        assert "no independent witness bears it out" in alone.reason
    calls = {"trigger": "refuse", "also": {"pinner counter refused": 5}}
    assert judged(attempt(), attempt(number=2, **{**part, **calls})).outcome is Outcome.PASS
    for count in (4, 6):
        lied = judged(attempt(), attempt(number=2, also={"HugePages_Free": count}, **part))
        assert lied.outcome is Outcome.INCONSISTENT
        assert "offline says 5" in lied.reason and f"HugePages_Free says {count}" in lied.reason


def test_contents_that_were_spoilt_are_a_failure_and_no_contradiction() -> None:
    part: dict[str, Any] = {
        "got": 5, "asked": 8, "group": "huge pages", "expected": None, "also": {"numa_maps": 5}
    }  # fmt: skip
    found = judged(attempt(), attempt(number=2, checks={"contents": False}, **part))
    assert found.outcome is Outcome.FAIL
    assert "a process's pages have other contents than it gave them" in found.reason
    whole = judged(attempt(), attempt(number=2, checks={"contents": True}, **part))
    assert whole.outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EBUSY, ""),
        (errno.EINTR, ""),
        (errno.EINVAL, "1 attempts in the control arm failed, as they had to, but not because"),
    ],
)
def test_what_had_to_fail_fails_for_pages_that_are_held(number: int, words: str) -> None:
    case = Case()
    plain = attempt("control", ok=False, expected=False, checks={"sysfs state": False})
    refused = replace(plain, data={**plain.data, "errno": number})
    every = [*case.events(), refused, attempt()]
    found = judge(
        case.arms, every, ledger(every), (), Expectation(pinned=PAGES, attempts=True, refusals=HELD)
    )
    assert found.outcome is (Outcome.FAIL if words else Outcome.PASS)
    assert words in found.reason and (not words or "with EINVAL" in found.reason)


@pytest.mark.parametrize(("told", "outcome"), [(0, Outcome.INFRA), (3, Outcome.PASS)])
def test_an_owner_that_was_to_lie_and_did_not_has_tested_nothing(
    told: int, outcome: Outcome
) -> None:
    case = Case()
    for own in (case.control, case.treated):
        own.get("pinner", "counters", "after")["values"] |= {"lie": "ghost", "lied": told}
    assert case.verdict().outcome is outcome


def in_part(arm: str, got: tuple[int, int], migrated: tuple[int, int | None]) -> list[Event]:
    """Two groups of attempts: what was had in each, and what the kernel migrated for it."""
    return [
        attempt(
            arm, group=group, number=at + 1, got=got[at], asked=99, also={"numa_maps": got[at]},
            migrated=migrated[at], failed=0, expected=None, checks={}, frames=None,
        )
        for at, group in enumerate(("pool", "fault"))
    ]  # fmt: skip


def test_what_the_control_arm_was_refused_is_nothing_to_have_more_than() -> None:
    case = Case()
    refused = [
        replace(each, data={**each.data, "ok": False, "errno": 22, "got": 0, "also": {}})
        for each in in_part("control", (0, 0), (9, 9))
    ]
    every = [*case.events(), *refused, *in_part("treated", (20, 50), (9, 9))]
    found = judge(case.arms, every, ledger(every), (), Expectation(pinned=PAGES, more=0.1))
    assert found.outcome is Outcome.FAIL
    assert "the control arm did not try for pool" in found.reason


@pytest.mark.parametrize(
    ("control", "treated", "migrated", "says"),
    [
        ((20, 50), (23, 50), (9, 0), None),  # nothing was migrated for the second
        ((20, 50), (22, 50), (9, 0), "of pool the treated arm had 22"),
        ((20, 50), (23, 50), (9, 1), "of fault the treated arm had 50"),
        ((20, 50), (23, 90), (0, 0), "tried to migrate nothing for fault, pool"),
        ((20, 50), (23, 50), (9, None), "of fault the treated arm had 50"),  # nobody counted
    ],
)
def test_more_is_due_where_the_kernel_migrated(
    control: tuple[int, int],
    treated: tuple[int, int],
    migrated: tuple[int, int | None],
    says: str | None,
) -> None:
    case = Case()
    every = [
        *case.events(),
        *in_part("control", control, migrated),
        *in_part("treated", treated, migrated),
    ]
    found = judge(case.arms, every, ledger(every), (), Expectation(pinned=PAGES, more=0.1))
    assert found.outcome is (Outcome.FAIL if says else Outcome.PASS), found.reason
    said = says or "for fault the kernel migrated nothing in either arm"
    assert said in found.reason


@pytest.mark.parametrize(
    ("moved", "idle", "barely", "share"),
    [
        (40, True, 0.05, None),
        (19, True, 0.05, "5%"),
        (40, False, 0.05, "25%"),  # the kernel compacted for each of the two
        (99, False, 0.05, "25%"),
        (100, False, 0.05, None),
        (40, True, None, "25%"),
    ],
)
def test_fewer_have_to_move_where_the_kernel_compacts_for_less(
    moved: int, idle: bool, barely: float | None, share: str | None
) -> None:
    case = Case()
    case.treated = arm(TREATED, moved=moved, after9=440)
    some = (9, 0 if idle else 9)
    tried = [
        *in_part("control", (20, 50), some),
        *in_part("treated", (21 if idle else 40, 90), some),
    ]
    every = [*case.events(), *tried]
    found = judge(
        case.arms, every, ledger(every), (), Expectation(pinned=PAGES, more=0.1, barely=barely)
    )
    assert found.outcome is (Outcome.FAIL if share else Outcome.PASS), found.reason
    if share:
        assert f"{moved} of 400 pinned pages migrated, at least {share} had to" in found.reason


def test_a_kernel_that_compacts_for_all_of_it_has_to() -> None:
    case = Case()
    every = [
        *case.events(),
        *in_part("control", (20, 50), (9, 0)),
        *in_part("treated", (40, 50), (9, 0)),
    ]
    old, new = Expectation(pinned=PAGES, more=0.1), Expectation(pinned=PAGES, more=0.1, idle=False)
    assert judge(case.arms, every, ledger(every), (), old).outcome is Outcome.PASS
    found = judge(case.arms, every, ledger(every), (), new)
    assert found.outcome is Outcome.FAIL and "of fault the treated arm had 50" in found.reason


def test_arms_that_are_not_whole_have_no_witnesses() -> None:
    case = Case()
    plan = ArmPlan("third", "control", "plain")
    case.arms = (*case.arms, plan)
    assert {w.arm for w in case.verdict().witnesses} == {"control", "treated"}


def test_where_the_kernel_compacts_for_less_any_more_will_do() -> None:
    case = Case()
    every = [
        *case.events(),
        *in_part("control", (20, 50), (9, 0)),
        *in_part("treated", (20, 50), (9, 0)),
    ]
    found = judge(
        case.arms, every, ledger(every), (), Expectation(pinned=PAGES, more=0.1, barely=0.05)
    )
    assert found.outcome is Outcome.FAIL and found.reason.endswith("20: more were due")
