# SPDX-License-Identifier: GPL-2.0-only
"""Each verdict, and each disagreement of two witnesses, from evidence with one thing spoiled."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_evidence import (
    BUDDY,
    CONTROL,
    EXPECTED,
    FIRST,
    MOVED,
    PAGES,
    SPLAT,
    TARGET,
    TREATED,
    Case,
    Spoil,
    arm,
)

from harness.errors import (
    CannotRun,
    CompileError,
    EvidenceError,
    GuestCommandError,
    GuestCrash,
    GuestHang,
    GuestLost,
    InfraError,
    PatchError,
    PinpageError,
)
from harness.expectation import Expectation, missed
from harness.model import (
    JSON,
    ArmResult,
    Culprit,
    Event,
    Frame,
    Outcome,
    PageState,
    Place,
    Splat,
    Verdict,
)
from harness.pages import figures, ledger
from harness.parse import marks
from harness.parse.pageflags import BITS
from harness.seen import gather
from harness.verdict import NEXT, from_error, judge


def spoiled(*spoils: Spoil) -> Verdict:
    case = Case()
    for spoil in spoils:
        spoil(case)
    return case.verdict()


# PASS


def test_whole_evidence_passes() -> None:
    verdict = spoiled()
    assert verdict.outcome is Outcome.PASS, verdict.reason
    assert "360 of 400" in verdict.reason and "170 to 440" in verdict.reason
    control, treated = verdict.arms
    assert (control.stayed, control.migrated, control.failed) == (PAGES, 0, 0)
    assert (treated.migrated, treated.failed, treated.stayed) == (MOVED, 3, PAGES - MOVED - 3)
    assert treated.reasons == {"owner was never asked": 37, "owner refused: EAGAIN": 3}
    assert (treated.order9_before, treated.order9_after, treated.seconds) == (170, 440, 2.5)
    assert treated.unusable_after == pytest.approx(0.12)
    assert (control.fragmentation_before, len(control.free_before)) == (-1.0, 11)
    assert all(w.agrees and w.complete for w in verdict.witnesses)


def test_control_alone_passes_and_says_what_it_shows() -> None:
    case = Case()
    case.arms = (CONTROL,)
    verdict = case.verdict()
    assert verdict.outcome is Outcome.PASS
    assert "all 400 pinned pages stayed" in verdict.reason
    assert [result.name for result in verdict.arms] == ["control"]


def test_ledger_rows_have_frames_and_reasons() -> None:
    rows = ledger(Case().events())
    assert len(rows) == 2 * PAGES
    moved = next(r for r in rows if r.arm == "treated" and r.handle == 5)
    assert (moved.pfn_before, moved.pfn_after, moved.moves) == (FIRST + 35, TARGET - 5, 1)
    assert moved.state is PageState.MIGRATED
    refused = next(r for r in rows if r.arm == "treated" and r.handle == MOVED)
    assert (refused.state, refused.errno) == (PageState.FAILED, 11)


def test_a_page_that_moved_away_and_back_has_migrated() -> None:
    def back(case: Case) -> None:
        row = case.treated.rows()[0]
        old, new = row[1], row[2]
        row[2:4] = [old, 2]
        case.treated.add(
            "pinner", "migrated", seq=9999, handle=0, old=new, new=old, errno=0, window=True
        )
        case.treated.get("trace", "mm_page_free")["frames"].append([new, 0])
        case.treated.get("pageflags", "flags", "after")["frames"].append([old, 0])
        case.treated.get("pinner", "counters", "after")["values"]["migrated"] += 1
        case.treated.get("pinner", "calls")["total"] += 1

    verdict = spoiled(back)
    assert verdict.outcome is Outcome.PASS, verdict.reason
    assert verdict.arms[1].migrated == MOVED


# CRASH


def test_a_report_of_the_kernel_is_a_crash_whatever_else_holds() -> None:
    warn = replace(SPLAT, kind="WARN", title="WARNING in foo", function="foo", fatal=False)
    verdict = spoiled(lambda case: case.splats.extend([warn, SPLAT]))
    assert verdict.outcome is Outcome.CRASH
    assert SPLAT.title in verdict.reason and "reports in all: 2" in verdict.reason
    assert spoiled(lambda case: case.splats.append(warn)).outcome is Outcome.CRASH


# INFRA


def test_no_evidence_is_never_a_pass() -> None:
    case = Case()
    case.control.items, case.treated.items = [], []
    assert case.verdict().outcome is Outcome.INFRA
    case.arms = ()
    assert case.verdict().outcome is Outcome.INFRA


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_ledger_that_was_not_read_is_infra(when: str) -> None:
    def forget(case: Case) -> None:
        data = case.treated.get("pinner", "ledger", when)
        case.treated.items = [item for item in case.treated.items if item[2] is not data]

    verdict = spoiled(forget)
    assert verdict.outcome is Outcome.INFRA and "treated" in verdict.reason


def test_too_few_pages_are_no_verdict() -> None:
    def fewer(case: Case) -> None:
        for when in ("before", "after"):
            del case.control.rows(when)[-1]

    verdict = spoiled(fewer)
    assert verdict.outcome is Outcome.INFRA and "399" in verdict.reason


def test_a_malformed_event_is_infra_not_a_traceback() -> None:
    events = Case().events()
    broken = replace(events[1], data={"when": "before", "rows": [[1, 2]]})
    events[1] = broken
    with pytest.raises(EvidenceError):
        ledger(events)


@pytest.mark.parametrize(
    ("source", "name", "data"),
    [
        ("pinner", "ledger", {"when": "before", "rows": [[1, 5, 5, "0", 0, "stored"]]}),
        ("pinner", "ledger", {"when": "before", "rows": [[1, 5, 5, 0, 0, "shut"]]}),
        ("pinner", "counters", {"when": "after", "values": None}),
        ("vmstat", "vmstat", {"when": "outer-after", "values": {"pgmigrate_success": "7"}}),
        ("vmstat", "vmstat", {"when": "outer-after", "values": None}),
    ],
)
def test_values_of_another_kind_are_infra_not_a_traceback(
    source: str, name: str, data: dict[str, object]
) -> None:
    case = Case()
    rows = ledger(case.events())
    case.treated.get(source, name, str(data["when"])).update(data)
    assert judge(case.arms, case.events(), rows, ()).outcome is Outcome.INFRA


def test_a_counter_that_is_no_number_is_no_traceback() -> None:
    def lots(case: Case) -> None:
        case.treated.get("pinner", "counters", "after")["values"]["verified"] = "lots"

    verdict = spoiled(lots)
    assert verdict.outcome is Outcome.INFRA and "verified" in verdict.reason


# INCONSISTENT


def _row(case: Case, handle: int) -> list[object]:
    return case.treated.rows()[handle]


def ghost(case: Case) -> None:
    """The owner notes a move that nobody asked it for."""
    handle = PAGES - 1
    row = case.treated.rows()[handle]
    case.treated.add(
        "pinner", "migrated", seq=9999, handle=handle, old=row[1], new=TARGET + 9, errno=0,
        window=True,
    )  # fmt: skip
    row[2:4] = [TARGET + 9, 1]
    case.treated.get("pinner", "counters", "after")["values"]["migrated"] += 1
    case.treated.get("pageflags", "flags", "after")["frames"].append([TARGET + 9, 0])


def keep(case: Case) -> None:
    """The owner goes on using the page that it left."""
    row = case.treated.rows()[0]
    row[2] = row[1]


def counter(case: Case) -> None:
    case.treated.get("pinner", "counters", "after")["values"]["migrated"] += 1


def not_freed(case: Case) -> None:
    frames = case.treated.get("trace", "mm_page_free")["frames"]
    frames.remove([FIRST, 0])


def unrecorded(case: Case) -> None:
    """A page is elsewhere and no call tells of it."""
    data = case.treated.get("pinner", "migrated")
    case.treated.items = [item for item in case.treated.items if item[2] is not data]


def fewer_successes(case: Case) -> None:
    for when in ("inner-after", "outer-after"):
        case.treated.get("vmstat", "vmstat", when)["values"]["pgmigrate_success"] = 150
    case.treated.get("trace", "mm_migrate_pages")["nr_succeeded"] = "50"


def trace_differs(case: Case) -> None:
    case.treated.get("trace", "mm_migrate_pages")["nr_succeeded"] = str(MOVED + 41)


def failures_differ(case: Case) -> None:
    case.treated.get("trace", "mm_migrate_pages")["nr_failed"] = "4"


def no_failures(case: Case) -> None:
    for when in ("inner-after", "outer-after"):
        case.treated.get("vmstat", "vmstat", when)["values"]["pgmigrate_fail"] = 6
    case.treated.get("trace", "mm_migrate_pages")["nr_failed"] = "1"


def strange_line(case: Case) -> None:
    case.treated.get("dmesg", "migrated")["new"] += 1


def strange_refusal(case: Case) -> None:
    case.treated.get("dmesg", "refused")["errno"] = -16


def refusal_unrecorded(case: Case) -> None:
    case.treated.rows()[PAGES - 1][4] = -16


def free_page_held(case: Case) -> None:
    handle_frame = _row(case, 3)[2]
    for entry in case.treated.get("pageflags", "flags", "after")["frames"]:
        if entry[0] == handle_frame:
            entry[1] = BUDDY


def one_frame_twice(case: Case) -> None:
    rows, calls = case.treated.rows(), case.treated.all("pinner", "migrated")
    rows[1][2] = rows[0][2]
    calls[1]["new"] = rows[0][2]


def stayed_but_freed(case: Case) -> None:
    case.control.get("trace", "mm_page_free")["frames"].append([FIRST + 7, 0])


def stayed_but_gone(case: Case) -> None:
    case.control.get("pageflags", "flags", "after")["frames"][4][1] = BUDDY


def corrupt_uncounted(case: Case) -> None:
    case.treated.rows()[4][5] = "corrupt"


def nowhere(case: Case) -> None:
    """A move that leads to where the page was."""
    frame = case.treated.rows()[0][2] = case.treated.rows()[0][1]
    for kind in ("pinner", "dmesg"):
        case.treated.get(kind, "migrated")["new"] = frame
    for entry in case.treated.get("pageflags", "flags", "after")["frames"]:
        if entry[0] == frame:
            entry[1] = 0


def moves_of_another(case: Case) -> None:
    """The sum of moves is right, whose they are is not."""
    case.treated.rows()[0][3] += 1
    case.treated.rows()[1][3] -= 1


def one_frame_pinned_twice(case: Case) -> None:
    rows, calls = case.treated.rows("before"), case.treated.all("pinner", "migrated")
    rows[1][1:3] = rows[0][1:3]
    calls[1]["old"] = rows[0][1]
    frames = case.treated.get("trace", "mm_page_free")["frames"]
    frames[1] = frames[0]


def new_object(case: Case) -> None:
    case.treated.rows().append([9999, 999_999, 999_999, 0, 0, "stored"])
    case.treated.get("pinner", "counters", "after")["values"]["verified"] += 1


def ledger_cut_short(case: Case) -> None:
    """Both readings of the ledger end early, where a line does."""
    case.control.get("pinner", "counters", "before")["values"]["pinned"] = PAGES + 4


def free_page_pinned(case: Case) -> None:
    case.treated.get("pageflags", "flags", "before")["frames"][5][1] = BUDDY


def process_page_held(case: Case) -> None:
    """What the owner holds was freed, and is a process's memory now."""
    frame = _row(case, 3)[2]
    for entry in case.treated.get("pageflags", "flags", "after")["frames"]:
        if entry[0] == frame:
            entry[1] = (1 << BITS["ANON"]) | (1 << BITS["UPTODATE"])


def no_more_blocks(case: Case) -> None:
    case.treated.get("buddyinfo", "free", "after")["zones"][0]["free"][9:] = [0, 85]


@pytest.mark.parametrize(("grown", "near"), [(100, True), (101, False)])
def test_more_memory_has_more_huge_pages_on_the_way(grown: int, near: bool) -> None:
    """5000 MiB differed by 77 where nothing was wrong; one in 16 is let pass."""
    case = Case()
    for when, got, blocks in (("before", 2400, 500), ("after", 2450, 500 + grown)):
        case.control.get("pinner", "huge", when)["got"] = got
        case.control.get("buddyinfo", "free", when)["zones"][0]["free"][9:] = [0, blocks]
    (found,) = (
        each
        for each in case.verdict().witnesses
        if (each.arm, each.claim, each.source) == ("control", "more huge pages", "buddyinfo")
    )
    assert (found.count, found.agrees) == (2 * grown, near)


def backwards(case: Case) -> None:
    case.treated.get("vmstat", "vmstat", "inner-before")["values"]["pgmigrate_success"] = 10


def still_shared(case: Case) -> None:
    """Whoever isolated a page still has a reference on it."""
    case.treated.get("pinner", "refs")["rows"][7][2] = 2


def still_isolated(case: Case) -> None:
    case.treated.get("pageflags", "flags", "released")["frames"][7][1] = 1 << BITS["RECLAIM"]


def isolation_adrift(case: Case) -> None:
    case.treated.get("vmstat", "vmstat", "outer-after")["values"]["nr_isolated_file"] = 600


@pytest.mark.parametrize(
    ("anon", "file", "folded", "outcome"),
    [
        (64, -64, True, Outcome.PASS),
        (65, -65, True, Outcome.INCONSISTENT),
        (0, 65, True, Outcome.INCONSISTENT),
        (0, 512, False, Outcome.PASS),
    ],
)
def test_few_pages_may_be_isolated_by_others(
    anon: int, file: int, folded: bool, outcome: Outcome
) -> None:
    case = Case()
    values = case.treated.get("vmstat", "vmstat", "outer-after")["values"]
    values["nr_isolated_anon"] += anon
    values["nr_isolated_file"] += file
    for when in ("outer-before", "outer-after"):
        case.treated.add("vmstat", "stat_refresh", when=when, ok=folded)
    answer = case.verdict()
    assert answer.outcome is outcome, answer.reason
    assert ("vmstat nr_isolated" in answer.reason) is (outcome is not Outcome.PASS)


def task_without_io(case: Case) -> None:
    case.treated.get("harness", "compacted")["flags"] |= 0x80000


@pytest.mark.parametrize("flag", [0x800, 0x40000, 0x80000, 0x10000000])
def test_whatever_a_task_is_left_with_is_seen(flag: int) -> None:
    case = Case()
    case.treated.get("harness", "compacted")["flags"] |= flag
    answer = case.verdict()
    assert answer.outcome is Outcome.INCONSISTENT and "task flags says 1" in answer.reason


def test_the_first_report_is_named_before_what_the_kernel_died_of() -> None:
    case = Case()
    first = replace(SPLAT, kind="KASAN", title="BUG: KASAN: x in foo", function="foo", fatal=False)
    last = replace(SPLAT, title="general protection fault", function="victim", fatal=True)
    case.splats = [replace(each, arm="treated") for each in (first, last)]
    said = "reported 'BUG: KASAN: x in foo', and died of 'general protection fault' in victim"
    assert said in case.verdict().reason
    case.splats[0] = replace(case.splats[0], arm="control")  # which another kernel said
    assert "reported 'general protection fault' in victim (rep" in case.verdict().reason


PATCHED = Culprit("0001.patch", "mm: a change", "mm/migrate.c", 7, "foo", brought=False)
RACE_PLACE = Place("mm/migrate.c", 7, "foo")
RACE_FRAME = Frame(2, "foo", 1, 2, places=(RACE_PLACE,))
RACE = Splat("KCSAN", "BUG: KCSAN: data-race in foo / bar", "foo", 3, 9, "", frames=(RACE_FRAME,))


@pytest.mark.parametrize(
    ("race", "outcome"),
    [
        (RACE, "PASS"),
        (replace(RACE, culprit=PATCHED), "CRASH"),
        (replace(RACE, frames=(RACE_FRAME, replace(RACE_FRAME, module="pinner"))), "CRASH"),
        (replace(RACE, frames=(replace(RACE_FRAME, places=()),)), "CRASH"),
        (replace(RACE, frames=()), "CRASH"),
        (replace(RACE, kind="KASAN"), "CRASH"),
    ],
    ids=["the kernel's", "patched", "an owner's", "no symbols", "no frames", "no race"],
)
def test_a_data_race_counts_where_it_may_be_ours(race: Splat, outcome: str) -> None:
    case = Case()
    case.splats = [replace(race, arm="treated")]
    answer = case.verdict()
    assert answer.outcome.value == outcome
    assert answer.splats[0].provoked is (outcome == "PASS")


def test_messages_that_were_dropped_are_no_pass() -> None:
    lines = ["[   1.0] a", "** 2317 printk messages dropped **", "** 3 printk messages dropped **"]
    assert marks.dropped(lines) == 2320
    case = Case()
    case.control.add("console", "dropped", messages=marks.dropped(lines))
    answer = case.verdict()
    assert answer.outcome is Outcome.INFRA
    assert "control arm's kernel dropped 2,320 of its messages" in answer.reason


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "[   12.1] sh[431]: segfault at 0 ip 0000000000401032 sp 00007ffd error 14 in busybox",
            "sh[431]: segfault at 0 ip 0000000000401032 sp 00007ffd error 14 in busybox",
        ),
        (
            "[   12.1][  T203] traps: userpages[203] general protection fault ip:401032 sp:7f",
            "traps: userpages[203] general protection fault ip:401032 sp:7f",
        ),
        (
            "[   12.1] traps: busybox[203] trap invalid opcode ip:401032 sp:7ffc3 error:0",
            "traps: busybox[203] trap invalid opcode ip:401032 sp:7ffc3 error:0",
        ),
        (
            "[   12.1] dropbear[77]: unhandled exception: DABT (lower EL), ESR 0x92000006",
            "dropbear[77]: unhandled exception: DABT (lower EL), ESR 0x92000006",
        ),
        ("[   12.1] traps: 3 of them", ""),
        ("[   12.1] pinner: segfault at large", ""),
    ],
)
def test_a_program_that_dies_of_a_fault_is_no_pass(line: str, said: str) -> None:
    case = Case()
    for each in marks.faulted(["[   1.0] a", line]):
        case.treated.add("console", "faulted", said=each)
    answer = case.verdict()
    assert answer.outcome is (Outcome.FAIL if said else Outcome.PASS)
    if said:
        assert answer.reason == f"a program of the treated arm's guest died: {said}"
        ended = from_error(InfraError("ssh went away"), case.arms, case.events(), ())
        assert ended.outcome is Outcome.FAIL
        assert ended.reason == f"{answer.reason}; after which: ssh went away"


@pytest.mark.parametrize(
    ("value", "heard", "outcome"),
    [
        (4096 | 512, False, Outcome.INCONSISTENT),
        (4096 | 32, False, Outcome.INCONSISTENT),
        (4096 | 512, True, Outcome.PASS),
        (4096 | 8192 | 1, False, Outcome.PASS),  # modules of ours
    ],
)
def test_a_kernel_that_complained_unheard_is_no_pass(
    value: int, heard: bool, outcome: Outcome
) -> None:
    case = Case()
    case.treated.add("kernel", "tainted", value=value)
    if heard:
        case.treated.add("trigger", "provokes", number=3, kinds=[SPLAT.kind])
        case.splats.append(replace(SPLAT, arm="treated", during=3))
    answer = case.verdict()
    assert answer.outcome is outcome, answer.reason
    if outcome is not Outcome.PASS:
        assert "the treated arm's kernel is tainted by a" in answer.reason


DISAGREEMENTS = [
    (task_without_io, "left over", "task flags"),
    (still_shared, "left over", "pinner refs"),
    (still_isolated, "left over", "pageflags"),
    (isolation_adrift, "left over", "vmstat nr_isolated"),
    (nowhere, "held", "pinner moves"),
    (moves_of_another, "migrated", "pinner moves"),
    (one_frame_pinned_twice, "pinned", "distinct frames"),
    (new_object, "pinned", "pinner ledger after"),
    (ledger_cut_short, "pinned", "pinner counter pinned"),
    (free_page_pinned, "pinned", "pageflags"),
    (process_page_held, "held", "pageflags"),
    (no_more_blocks, "more huge pages", "buddyinfo"),
    (backwards, "kernel succeeded", "vmstat pgmigrate_success"),
    (ghost, "migrated", "trace mm_page_free"),
    (keep, "held", "pinner moves"),
    (counter, "migrated", "pinner counter migrated"),
    (not_freed, "migrated", "trace mm_page_free"),
    (unrecorded, "migrated", "pinner moves"),
    (fewer_successes, "migrated", "vmstat pgmigrate_success"),
    (strange_line, "migrated", "dmesg"),
    (stayed_but_freed, "stayed", "trace mm_page_free"),
    (stayed_but_gone, "stayed", "pageflags"),
    (refusal_unrecorded, "failed", "pinner moves"),
    (no_failures, "failed", "vmstat pgmigrate_fail"),
    (strange_refusal, "failed", "dmesg"),
    (free_page_held, "held", "pageflags"),
    (one_frame_twice, "held", "distinct frames"),
    (corrupt_uncounted, "corrupt", "pinner counter corrupt"),
    (trace_differs, "kernel succeeded", "trace mm_migrate_pages succeeded"),
    (failures_differ, "kernel failed", "trace mm_migrate_pages failed"),
]


@pytest.mark.parametrize(("spoil", "claim", "source"), DISAGREEMENTS)
def test_each_disagreement_is_inconsistent_with_both_figures(
    spoil: Spoil, claim: str, source: str
) -> None:
    verdict = spoiled(spoil)
    assert verdict.outcome is Outcome.INCONSISTENT, verdict.reason
    liars = [w for w in verdict.witnesses if w.complete and not w.agrees]
    assert (claim, source) in [(w.claim, w.source) for w in liars]
    first = next(w for w in verdict.witnesses if (w.arm, w.claim) == (liars[0].arm, liars[0].claim))
    for word in (first.source, str(first.count), liars[0].source, str(liars[0].count)):
        assert word in verdict.reason


def test_a_page_in_other_hands_in_passing_is_no_disagreement() -> None:
    def passing(case: Case) -> None:
        refs = case.treated.get("pinner", "refs")["rows"]
        flags = case.treated.get("pageflags", "flags", "released")["frames"]
        case.treated.add("pinner", "refs", rows=[[*row[:2], row[2] + 1] for row in refs])
        locked = [[frame, 1 << BITS["LOCKED"]] for frame, _ in flags]
        case.treated.add("pageflags", "flags", when="released", frames=locked, asked=len(locked))

    verdict = spoiled(passing)
    assert verdict.outcome is Outcome.PASS, verdict.reason


def overrun(case: Case) -> None:
    case.treated.get("trace", "stats")["counts"]["overrun"] = 123


def no_trace(case: Case) -> None:
    for evidence in (case.control, case.treated):
        evidence.items = [item for item in evidence.items if item[0] != "trace"]


def no_pageflags(case: Case) -> None:
    case.control.drop("pageflags", "flags")
    case.treated.drop("pageflags", "flags")


def no_migrations_in_vmstat(case: Case) -> None:
    for evidence in (case.control, case.treated):
        for reading in evidence.all("vmstat", "vmstat"):
            del reading["values"]["pgmigrate_success"]


def test_a_witness_that_lost_events_is_named_and_contradicts_nothing() -> None:
    verdict = spoiled(overrun, not_freed, trace_differs)
    assert verdict.outcome is Outcome.PASS, verdict.reason
    blind = [w for w in verdict.witnesses if not w.complete]
    assert {w.source for w in blind} >= {"trace mm_page_free", "trace mm_migrate_pages failed"}
    assert all("123 events were lost" in w.detail for w in blind)


def test_one_kernel_witness_of_each_claim_is_enough() -> None:
    assert spoiled(no_trace).outcome is Outcome.PASS
    assert spoiled(no_pageflags).outcome is Outcome.PASS


def trace_cut_short(case: Case) -> None:
    case.control.get("trace", "read")["events"] = 5


def trace_uncounted(case: Case) -> None:
    case.control.drop("trace", "stats")


def trace_unread(case: Case) -> None:
    case.control.drop("trace", "read")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (trace_cut_short, "of 9 events 5 were read"),
        (trace_uncounted, "not read to its end"),
        (trace_unread, "not read to its end"),
    ],
)
def test_a_trace_that_is_not_whole_witnesses_nothing(spoil: Spoil, why: str) -> None:
    blind = [w for w in spoiled(spoil).witnesses if not w.complete]
    assert "trace mm_page_free" in [w.source for w in blind]
    assert all(why in w.detail for w in blind)
    verdict = spoiled(spoil, no_pageflags)
    assert verdict.outcome is Outcome.INCONSISTENT and why in verdict.reason


def test_huge_pages_that_only_the_owner_counts_are_inconsistent() -> None:
    verdict = spoiled(lambda case: case.treated.drop("buddyinfo", "free"))
    assert verdict.outcome is Outcome.INCONSISTENT
    assert "pinner huge says that 270 more huge pages" in verdict.reason


@pytest.mark.parametrize(("blocks", "outcome"), [(0, Outcome.FAIL), (1, Outcome.PASS)])
def test_few_more_huge_pages_that_no_free_list_shows_are_not_enough(
    blocks: int, outcome: Outcome
) -> None:
    def few(case: Case) -> None:
        for made, more in ((case.control, 0), (case.treated, 12)):
            got = made.get("pinner", "huge", "before")["got"]
            made.get("pinner", "huge", "after")["got"] = got + more
            before, after = (made.get("buddyinfo", "free", when) for when in ("before", "after"))
            after["zones"][0]["free"][9:] = before["zones"][0]["free"][9:]
            after["zones"][0]["free"][9] += blocks

    verdict = spoiled(few)
    assert verdict.outcome is outcome, verdict.reason
    assert ("not more free blocks of that order" in verdict.reason) is (outcome is Outcome.FAIL)


def test_stayed_without_a_witness_of_the_kernel_is_inconsistent() -> None:
    verdict = spoiled(no_trace, no_pageflags)
    assert verdict.outcome is Outcome.INCONSISTENT
    assert "no independent witness" in verdict.reason and "no tracing" in verdict.reason


def test_migrated_without_a_witness_of_the_kernel_is_inconsistent() -> None:
    verdict = spoiled(no_trace, no_migrations_in_vmstat)
    assert verdict.outcome is Outcome.INCONSISTENT
    assert "360 migrated in the treated arm" in verdict.reason


def not_compacted(case: Case) -> None:
    case.control.drop("trace", "mm_compaction_begin")
    for reading in case.control.all("vmstat", "vmstat"):
        reading["values"]["compact_migrate_scanned"] = 900


def other_mode(case: Case) -> None:
    case.treated.get("pinner", "counters", "after")["values"]["mode"] = "plain"


def half_verified(case: Case) -> None:
    case.treated.get("pinner", "counters", "after")["values"]["verified"] = PAGES // 2


def other_seed(case: Case) -> None:
    case.treated.get("harness", "params")["seed"] = 2


def without(source: str, name: str) -> Spoil:
    return lambda case: case.control.drop(source, name)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without("pinner", "ledger"), "the ledger was not read"),
        (without("harness", "params"), "parameters were not recorded"),
        (without("harness", "drive"), "its drive did not come to an end"),
        (not_compacted, "nothing says that memory was compacted"),
        (without("pinner", "verify"), "contents were not verified"),
        (without("harness", "rmmod"), "not unloaded"),
        (other_mode, "the pinner's mode was plain"),
        (half_verified, "contents of 200 pages were verified, of 400"),
        (without("pinner", "huge"), "no huge page allocation was tried"),
        (other_seed, "they differ in seed"),
    ],
)
def test_a_gap_in_the_evidence_is_no_pass(spoil: Spoil, said: str) -> None:
    verdict = spoiled(spoil)
    assert verdict.outcome is Outcome.INFRA
    assert said in verdict.reason


def test_one_word_that_memory_was_compacted_is_enough() -> None:
    assert spoiled(without("trace", "mm_compaction_begin")).outcome is Outcome.PASS


def test_migrations_of_others_between_the_readings_are_no_disagreement() -> None:
    def noise(case: Case) -> None:
        case.treated.get("vmstat", "vmstat", "outer-after")["values"]["pgmigrate_success"] += 5
        case.treated.get("trace", "mm_migrate_pages")["nr_succeeded"] = str(MOVED + 42)

    assert spoiled(noise).outcome is Outcome.PASS
    assert spoiled(trace_differs).outcome is Outcome.INCONSISTENT


# FAIL


def corrupt(case: Case) -> None:
    case.treated.rows()[4][5] = "corrupt"
    case.treated.get("pinner", "counters", "after")["values"]["corrupt"] = 1


def lost(case: Case) -> None:
    case.control.rows()[4][5] = "lost"
    case.control.get("pinner", "counters", "after")["values"]["lost"] = 1


def test_corrupt_and_lost_pages_fail() -> None:
    verdict = spoiled(corrupt)
    assert (verdict.outcome, verdict.arms[1].corrupt) == (Outcome.FAIL, 1)
    assert "0 lost and 1 corrupt" in verdict.reason
    verdict = spoiled(lost)
    assert (verdict.outcome, verdict.arms[0].lost) == (Outcome.FAIL, 1)


def test_contents_that_do_not_verify_fail() -> None:
    verdict = spoiled(lambda c: c.treated.get("pinner", "verify").update(ok=False, error="EIO"))
    assert verdict.outcome is Outcome.FAIL and "EIO" in verdict.reason


@pytest.mark.parametrize(("errno", "outcome"), [(-11, Outcome.PASS), (-22, Outcome.FAIL)])
def test_a_page_that_was_not_registered_where_it_went_fails(errno: int, outcome: Outcome) -> None:
    """Even if it moves in the end: the owner was asked for what it does not know."""
    case = Case()
    for call in case.treated.all("pinner", "refused"):
        call["errno"] = errno
    for call in case.treated.all("dmesg", "refused"):
        call["errno"] = errno
    for row in case.treated.rows():
        row[4] = errno if row[4] else 0
    verdict = case.verdict()
    assert verdict.outcome is outcome, verdict.reason
    asked = "the owner was asked 3 times in the treated arm for a page that is not its own"
    assert (asked in verdict.reason) is (outcome is Outcome.FAIL)


def test_a_control_arm_that_moves_too_has_shown_nothing() -> None:
    case = Case()
    case.control = arm(CONTROL, moved=10, after9=171)
    verdict = case.verdict()
    assert verdict.outcome is Outcome.FAIL
    assert "control arm moved too" in verdict.reason and "shown nothing" in verdict.reason


@pytest.mark.parametrize(("moved", "outcome"), [(99, Outcome.FAIL), (100, Outcome.PASS)])
def test_treated_pages_have_to_migrate(moved: int, outcome: Outcome) -> None:
    case = Case()
    case.treated = arm(TREATED, moved=moved, after9=440)
    verdict = case.verdict()
    assert verdict.outcome is outcome, verdict.reason
    if outcome is Outcome.FAIL:
        assert "99 of 400" in verdict.reason and "301 owner was never asked" in verdict.reason


@pytest.mark.parametrize(
    ("moved", "beyond", "says"),
    [
        (360, 0, ""),
        (359, 0, "of 400 pinned pages that compaction went past 359 migrated, at least 90% had to"),
        (200, 0, "of 400 pinned pages that compaction went past 200 migrated"),
        (200, 180, ""),
        (197, 180, "of 220 pinned pages that compaction went past 197 migrated"),
        (40, 361, "at least 25% had to"),  # of 39 it says nothing
    ],
)
def test_what_compaction_went_past_has_to_migrate(moved: int, beyond: int, says: str) -> None:
    """beyond: the last pages lie where others were moved to."""
    case = Case()
    case.treated = arm(TREATED, moved=moved, after9=440)
    for when in ("before", "after"):
        for row in case.treated.rows(when)[PAGES - beyond :]:
            row[1:3] = [TARGET + row[0]] * 2
    rows = ledger(case.events())
    seen = gather(case.arms[1], case.events())
    result = figures(seen, rows)
    assert (result.swept, result.swept_moved) == (PAGES - beyond, min(moved, PAGES - beyond))
    found = missed(result, None, replace(EXPECTED, huge=False, swept=0.9))
    assert (says in found) if says else not found


@pytest.mark.parametrize(
    ("migrated", "says"), [(867, ""), (400, ""), (399, "399 of 4000 pinned pages migrated")]
)
def test_fewer_have_to_migrate_where_all_did_that_compaction_went_past(
    migrated: int, says: str
) -> None:
    result = ArmResult(
        *("treated", "treated", "pinpage"),
        pinned=4000,
        migrated=migrated,
        stayed=4000 - migrated,
        failed=0,
        lost=0,
        corrupt=0,
        swept=migrated,
        swept_moved=migrated,
    )
    found = missed(result, None, Expectation(swept=0.9, huge=False))
    assert found.startswith(says) if says else not found


def test_where_calls_are_missing_nobody_knows_what_compaction_went_past() -> None:
    case = Case()
    case.treated.get("pinner", "calls")["dropped"] = 1
    result = figures(gather(case.arms[1], case.events()), ledger(case.events()))
    assert (result.swept, result.swept_moved) == (None, 0)


@pytest.mark.parametrize(("control", "treated"), [(171, 170), (440, 440), (500, 440)])
def test_migration_that_frees_no_huge_pages_fails(control: int, treated: int) -> None:
    case = Case()
    case.control = arm(CONTROL, moved=0, after9=control)
    case.treated = arm(TREATED, moved=MOVED, after9=treated)
    verdict = case.verdict()
    assert verdict.outcome is Outcome.FAIL and "huge pages" in verdict.reason


# Errors


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (GuestHang("silent"), Outcome.HANG),
        (GuestLost("gone"), Outcome.LOST),
        (GuestCrash("panic"), Outcome.CRASH),
        (GuestCommandError("insmod failed"), Outcome.FAIL),
        (CannotRun("no compaction"), Outcome.SKIP),
        (PatchError("hunk 3"), Outcome.PATCH),
        (CompileError("a.c:3"), Outcome.BUILD),
        (InfraError("disk full"), Outcome.INFRA),
        (EvidenceError("line 3"), Outcome.INFRA),
        (PinpageError("?"), Outcome.INFRA),
    ],
)
def test_each_error_has_its_verdict_and_next_step(error: PinpageError, outcome: Outcome) -> None:
    verdict = from_error(error, (), (), ())
    assert (verdict.outcome, verdict.reason) == (outcome, error.message)
    assert verdict.next_step == NEXT[outcome]
    error.hint = "do this"
    assert from_error(error, (), (), ()).next_step == "do this"


STUCK = Splat("stuck", "dd (7) waits in migrate_folio", "migrate_folio", 0, 0, "")


@pytest.mark.parametrize(
    ("brought", "said"),
    [(True, "; a patched line on the stack: 0003 mm: x, mm/migrate.c:878"), (False, "")],
)
def test_whose_line_somebody_is_stuck_in_is_named(brought: bool, said: str) -> None:
    """A file that a patch touches is none: whoever waits for memory stands in one."""
    culprit = Culprit("0003-x.patch", "mm: x", "mm/migrate.c", 878, "f", brought=brought)
    verdict = from_error(GuestHang("silent"), (), (), (STUCK, replace(STUCK, culprit=culprit)))
    assert (verdict.outcome, verdict.reason) == (Outcome.HANG, f"silent{said}")
    assert len(verdict.splats) == 2


def test_a_stack_that_was_asked_for_is_no_complaint() -> None:
    verdict = from_error(GuestHang("silent"), (), (), (STUCK, SPLAT))
    assert verdict.outcome is Outcome.CRASH and STUCK.title not in verdict.reason


def test_a_crash_is_the_cause_of_the_loss_that_follows_it() -> None:
    for error in (GuestLost("gone"), GuestHang("silent"), GuestCommandError("status 1")):
        verdict = from_error(error, (), (), (SPLAT,))
        assert verdict.outcome is Outcome.CRASH
        assert SPLAT.title in verdict.reason
        assert (error.message in verdict.reason) is not isinstance(error, GuestCommandError)
    complains = replace(SPLAT, fatal=False)
    verdict = from_error(GuestCommandError("status 1"), (), (), (complains,))
    assert verdict.outcome is Outcome.CRASH and "after which: status 1" in verdict.reason
    assert from_error(PatchError("hunk"), (), (), (SPLAT,)).outcome is Outcome.PATCH


@pytest.mark.parametrize(
    ("expected", "ok", "outcome"),
    [
        (True, False, Outcome.FAIL),
        (False, True, Outcome.FAIL),
        (True, True, Outcome.SKIP),
        (None, False, Outcome.SKIP),
    ],
)
def test_what_had_to_succeed_and_failed_is_no_skip(
    expected: bool | None, ok: bool, outcome: Outcome
) -> None:
    data: dict[str, JSON] = {
        "number": 1,
        "trigger": "offline",
        "target": "memory32",
        "group": "offline",
        "ok": ok,
        "expected": expected,
        "errno": 0 if ok else 16,
        "said": "",
        "seconds": 1.0,
        "pins": 0,
        "frames": None,
        "migrated": None,
        "failed": None,
        "checks": {"sysfs state": ok},
        "asked": None,
        "got": None,
        "also": {},
        "provokes": [],
    }
    event = Event("treated", "trigger", "attempt", data)
    verdict = from_error(CannotRun("no notice of it"), Case().arms, (event,), ())
    assert verdict.outcome is outcome and "no notice of it" in verdict.reason
    assert ("offline of memory32" in verdict.reason) is (outcome is Outcome.FAIL)


@pytest.mark.parametrize(
    ("arm_name", "others", "failed", "outcome"),
    [
        ("control", 0, 30, Outcome.FAIL),
        ("treated", 0, 30, Outcome.FAIL),
        ("control", 0, 0, Outcome.INFRA),
        ("control", 1, 30, Outcome.PASS),
    ],
)
def test_a_kernel_that_migrates_nothing_at_all_has_shown_nothing(
    arm_name: str, others: int, failed: int, outcome: Outcome
) -> None:
    case = Case()
    spoilt, moved = (case.control, 0) if arm_name == "control" else (case.treated, MOVED)
    for when in ("inner-after", "outer-after"):
        values = spoilt.get("vmstat", "vmstat", when)["values"]
        values["pgmigrate_success"], values["pgmigrate_fail"] = 100 + moved + others, 5 + failed
    trace = spoilt.get("trace", "mm_migrate_pages")
    trace["nr_succeeded"], trace["nr_failed"] = str(moved + others), str(failed)
    events = case.events()
    found = judge(case.arms, events, ledger(events), (), replace(EXPECTED, swept=0.9))
    assert found.outcome is outcome, found.reason
    if outcome is not Outcome.PASS:
        assert f"in the {arm_name} arm no page but of the owner's migrated" in found.reason


@pytest.mark.parametrize(
    ("kinds", "outcome"), [(["alloc-failure"], Outcome.LOST), (["WARN"], Outcome.CRASH)]
)
def test_what_an_attempt_had_to_provoke_is_no_crash_though_it_never_ended(
    kinds: list[JSON], outcome: Outcome
) -> None:
    event = Event("treated", "trigger", "provokes", {"number": 3, "kinds": kinds})
    said = replace(SPLAT, kind="alloc-failure", arm="treated", during=3)
    verdict = from_error(GuestLost("QEMU was killed"), Case().arms, (event,), (said,))
    assert verdict.outcome is outcome, verdict.reason


def test_an_ended_run_keeps_what_its_arms_had_come_to() -> None:
    case = Case()
    keep_until = [item[:2] for item in case.treated.items].index(("pinner", "calls"))
    case.treated.items = case.treated.items[:keep_until]
    control, treated = from_error(GuestHang("silent"), case.arms, case.events(), ()).arms
    assert (control.stayed, control.pinned) == (PAGES, PAGES)
    assert (treated.pinned, treated.migrated, treated.stayed) == (PAGES, 0, 0)


# What cannot be done any more


def test_a_report_outranks_what_could_not_be_done_after_it() -> None:
    case = Case()
    skip = CannotRun("this kernel has no X")
    splat = Splat("BUG", "kernel BUG at mm/x.c:1", "", 1, 2, "", arm="treated")
    assert from_error(skip, case.arms, case.events(), (splat,)).outcome is Outcome.CRASH
    assert from_error(skip, case.arms, case.events(), ()).outcome is Outcome.SKIP
    case.treated.rows()[3][5] = "lost"
    spoilt = from_error(skip, case.arms, case.events(), ())
    assert spoilt.outcome is Outcome.FAIL
    assert "1 lost" in spoilt.reason and "no X" in spoilt.reason


def test_a_part_that_one_arm_left_out() -> None:
    case = Case()
    case.treated.add("harness", "left out", part="offline", why="it has no memory")
    verdict = case.verdict()
    assert verdict.outcome is Outcome.INFRA
    assert "offline was left out of the treated arm alone (it has no memory)" in verdict.reason
    case.control.add("harness", "left out", part="offline", why="it has no memory")
    verdict = case.verdict()
    assert verdict.outcome is Outcome.PASS
    assert verdict.reason.endswith("; left out: offline (it has no memory)")


@pytest.mark.parametrize(
    ("source", "name", "field"),
    [
        ("pinner", "huge", "got"),
        ("pinner", "migrated", "new"),
        ("pinner", "migrated", "errno"),
        ("dmesg", "migrated", "handle"),
        ("buddyinfo", "free", "zones"),
    ],
)
def test_a_value_that_is_no_number_is_no_evidence(source: str, name: str, field: str) -> None:
    case = Case()
    data = case.treated.get(source, name)
    data[field] = "7" if field != "zones" else [{"node": 0, "zone": "DMA32", "free": ["7"]}]
    with pytest.raises(EvidenceError, match=f"the event {source} {name} of arm treated is malfor"):
        case.verdict()
