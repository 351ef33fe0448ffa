# SPDX-License-Identifier: GPL-2.0-only
"""The catalogue of defects: what each probe's evidence says, and when it says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from harness import resources, scenario
from harness.errors import BuildError, CannotRun, InputError
from harness.model import JSON, Culprit, Event, Finding, Outcome, Splat
from harness.scenario.probes.catalogue import CATALOGUE, MANY, Probe
from harness.verdict import from_error, from_findings

DEFECTS = scenario.get("defects")
PROBES = {probe.defect: probe for probe in CATALOGUE}
BUG = "kernel BUG at mm/compaction.c:505!"


class Source:
    """A tree of texts."""

    def __init__(self, **files: str) -> None:
        self._files = {name.replace("__", "/"): text for name, text in files.items()}

    def read(self, path: str) -> str:
        return self._files.get(path, "")

    def blame(self, path: str, line: str) -> str:
        return "0003-mm.patch" if "BUG" in line else ""


def evidence(
    probe: Probe,
    facts: Mapping[str, int] | None = None,
    *,
    before: Mapping[str, int] | None = None,
    between: Mapping[str, int] | None = None,
    after: Mapping[str, int] | None = None,
    splat: tuple[str, str] | None = None,
    blocks: tuple[Mapping[str, Any], ...] = (),
    commands: Mapping[str, int] | None = None,
    page: Mapping[str, Any] | None = None,
    pageblocks: Mapping[str, Any] | None = None,
    waits: Mapping[str, Any] | None = None,
    locked: tuple[int, int] | None = None,
    driven: bool = True,
    message: str = "",
) -> list[Event]:
    arm = f"defect-{probe.defect}"
    found = [Event(arm, "source", "wanted", {"defect": probe.defect})]
    for text, errno in (commands or {}).items():
        found.append(Event(arm, "prober", "command", {"text": text, "errno": errno}))
    for when, values in (("before", before), ("between", between), ("after", after)):
        if values is not None:
            data: dict[str, Any] = {"when": when, "values": dict(values)}
            found.append(Event(arm, "vmstat", "vmstat", data))
    found += [Event(arm, "memory", "block", block) for block in blocks]
    if pageblocks is not None:
        found.append(Event(arm, "memory", "pageblocks", pageblocks))
    if page is not None:
        found.append(Event(arm, "memory", "page", page))
    if waits is not None:
        found.append(Event(arm, "harness", "waits", waits))
    if locked is not None:
        values = {"beside_locked": locked[0], "beside_moved": locked[1]}
        found.append(Event(arm, "prober", "facts", {"when": "locked", "values": values}))
    if facts is not None:
        data = {"when": "after", "values": dict(facts)}
        found.append(Event(arm, "prober", "facts", data))
    if driven:
        found.append(Event(arm, "prober", "end"))
    outcome = "CRASH" if message else ""
    found.append(Event(arm, "harness", "ended", {"outcome": outcome, "message": message}))
    if splat is not None:
        title, report = splat
        data = {"kind": "BUG", "title": title, "function": "", "line": 9, "report": report}
        found.append(Event(arm, "console", "splat", data))
    return found


def finding(events: list[Event]) -> Finding:
    (found,) = DEFECTS.judge((), events, (), ()).findings
    return found


FREE = {"free": 100_000, "pgmigrate_success": 10, "compact_isolated": 5}
LESS = {"free": 97_000, "pgmigrate_success": 3100, "compact_isolated": 3100}
SAME = {"free": 99_990, "pgmigrate_success": 20, "compact_isolated": 3100}
SCANNED = {"compact_migrate_scanned": 0}, {"compact_migrate_scanned": 90_000}
PAGE = {"pfn": 77, "status": 1, "said": "sh: write error: Input/output error"}
BLOCK = {"block": 3, "pins": 90, "state": "online", "said": "sh: write error: Device or busy"}
WHOLE = dict.fromkeys(
    ("half_set", "half_cleared", "lru_late", "refs_left", "reclaim_waited", "killed"), 0
)
READY = {"result": -12, "create_listed": 0, "failed_listed": 0, "life_step": 0, "life_said": 0}
APART = {"isolated_others": 31, "isolated_locked": 0}
WAITING = {"ended": False, "seconds": 20, "where": ["folio_wait_bit_common", "State:", "D"]}
ENDED = {"ended": True, "seconds": 20, "where": []}

SETTLED = dict.fromkeys(
    ("stuck", "pages_lru", "pages_unflagged", "declined_registered", "repinned"), 0
)

SHOWN: list[tuple[str, dict[str, Any]]] = [
    ("1", {"splat": (BUG, ""), "driven": False, "message": "crashed"}),
    ("1", {"splat": ("BUG: failure at mm/compaction.c:549/isolate_migratepages_range()!", "")}),
    ("2", {"splat": ("BUG kmalloc-8: Redzone overwritten", ""), "facts": {}}),
    (
        "3",
        {"splat": ("BUG: sleeping function called from invalid context", "general_add_page+0x1")},
    ),
    ("4", {"splat": ("BUG: scheduling while atomic", "prober_migrate+0x1"), "driven": False}),
    ("4", {"facts": {"calls": 9, "calls_atomic": 9}}),
    ("5", {"before": FREE, "after": LESS, "facts": {"refused": 3000, **SETTLED}}),
    *(
        ("5", {"before": FREE, "after": SAME, "facts": {"refused": 3000, **SETTLED, **left}})
        for left in (
            {"stuck": 1},
            {"pages_lru": 1},
            {"pages_unflagged": 1},
            {"declined_registered": 1},
            {"nr_isolated": -65},
            {"nr_isolated": 65},
        )
    ),
    ("6", {"before": FREE, "after": LESS, "facts": {"calls": 0}}),
    (
        "7",
        {
            "facts": {
                "moved": 3000,
                "moved_flagged": 0,
                "moved_registered": 0,
                "old_registered": 3000,
            }
        },
    ),
    ("8", {"before": FREE, "after": LESS, "facts": {"moves": 3000}}),
    (
        "9",
        {
            "facts": {"swept": 3},
            "waits": {"ended": False, "seconds": 60, "where": ["__lock_page", "State:", "D"]},
        },
    ),
    (
        "9",
        {
            "facts": {"swept": 3, "pages_lru": 2, "stuck": 0},
            "waits": {"ended": True, "seconds": 60, "where": []},
        },
    ),
    (
        "9",
        {
            "facts": {"swept": 3, "pages_lru": 0, "stuck": 1},
            "waits": {"ended": True, "seconds": 60, "where": []},
        },
    ),
    ("10", {"blocks": (BLOCK,), "facts": {"calls": 0}}),
    (
        "a",
        {
            "before": {"free": 9000},
            "between": {"free": 8000},
            "after": {"free": 7000},
            "facts": {"result": 0},
        },
    ),
    ("b", {"facts": {"result": -12, "create_listed": 1, "failed_listed": 1}}),
    ("b", {"facts": {**READY, "life_step": 19, "life_said": 0}, "commands": {"life": 0}}),
    ("c", {"facts": {"result": 0}, "commands": {"gone": 0}}),
    ("d", {"splat": ("kernel BUG at mm/pinpage.c:98!", ""), "driven": False}),
    ("d", {"facts": {"result": 0}, "commands": {"nest": 0}}),
    ("d", {"facts": {"result": -35}, "commands": {"nest": 0}}),
    ("e", {"facts": {"result": 0, "half_set": 1, "half_cleared": 0}}),
    ("e", {"facts": {"result": 0, **WHOLE, "lru_late": 1}}),
    ("e", {"facts": {"result": 0, **WHOLE, "refs_left": 1}}),
    ("e", {"facts": {"result": 0, **WHOLE, "reclaim_waited": 1}}),
    ("e", {"facts": {"result": 0, **WHOLE, "killed": -4}}),
    ("f", {"facts": {"result": 0}, "commands": {"compound": 0}}),
    (
        "g",
        {
            "before": FREE,
            "after": FREE,
            "facts": {"deserted": 3000, **SETTLED},
            "commands": {"desert 1": 0},
        },
    ),
    (
        "g",
        {
            "before": FREE,
            "after": {**FREE, "free": 103_000},
            "facts": {"deserted": 3000, **SETTLED, "repinned": 1},
        },
    ),
    ("h", {"facts": {"refused": 60, "moved": 3000, "busy": 60, "busy_again": 29}}),
    ("h", {"facts": {"refused": 1, "moved": 0, "busy": 0, "busy_again": 0}}),
    ("k", {"facts": {"contig_tried": 30, "contig_got": 0, "calls": 0, "result": -16}}),
    ("m", {"facts": {"isolated_others": 31, "isolated_locked": 31}}),
    ("m", {"facts": APART, "locked": (15, 3), "waits": WAITING}),
    ("n", {"facts": {"result": 0, "stale_waited": 0}, "commands": {"stale": 0}}),
    ("n", {"facts": {"result": -22, "stale_waited": 1}, "commands": {"stale": 0}}),
    (
        "o",
        {"before": SCANNED[0], "after": SCANNED[1], "facts": {"moved_held": 9, "pages": 4000}},
    ),
    ("p", {"pageblocks": {"pins": 200, "movable": 120}, "facts": {"filled": 9000}}),
    ("q", {"page": PAGE, "facts": {"calls": 0}}),
    ("r", {"facts": {"result": 1}}),
]
HEALTHY: list[tuple[str, dict[str, Any]]] = [
    ("1", {"facts": {"moves": 3000}}),
    ("2", {"facts": {"result": 0}}),
    ("3", {"facts": {"pages": 4000}}),
    ("4", {"facts": {"calls": 9, "calls_atomic": 0}}),
    ("5", {"before": FREE, "after": SAME, "facts": {"refused": 3000, **SETTLED}}),
    (
        "5",
        {
            "before": FREE,
            "after": SAME,
            "facts": {"refused": 3000, **SETTLED, "nr_isolated": -64},
        },
    ),
    ("6", {"before": FREE, "after": SAME, "facts": {"calls": 0}}),
    (
        "7",
        {
            "facts": {
                "moved": 3000,
                "moved_flagged": 3000,
                "moved_registered": 3000,
                "old_registered": 0,
            }
        },
    ),
    ("8", {"before": FREE, "after": SAME, "facts": {"moves": 3000}}),
    (
        "9",
        {
            "facts": {"swept": 3, "pages_lru": 0, "stuck": 0},
            "waits": {"ended": True, "seconds": 60, "where": []},
        },
    ),
    ("10", {"blocks": ({**BLOCK, "state": "offline"},), "facts": {"calls": 90}}),
    (
        "a",
        {
            "before": {"free": 9000},
            "between": {"free": 8000},
            "after": {"free": 8010},
            "facts": {"result": 0},
        },
    ),
    ("b", {"facts": READY, "commands": {"life": 0}}),
    ("c", {"facts": {"result": -16}, "commands": {"gone": 0}}),
    ("d", {"facts": {"result": -17}, "commands": {"nest": 0}}),
    ("e", {"facts": {"result": 0, **WHOLE}}),
    ("f", {"facts": {"result": -22}, "commands": {"compound": 0}}),
    (
        "g",
        {
            "before": FREE,
            "after": {**FREE, "free": 103_000},
            "facts": {"deserted": 3000, **SETTLED},
            "commands": {"desert 1": 0},
        },
    ),
    ("h", {"facts": {"refused": 60, "moved": 3000, "busy": 60, "busy_again": 58}}),
    ("k", {"facts": {"contig_tried": 30, "contig_got": 25, "calls": 900, "result": 0}}),
    ("m", {"facts": APART, "locked": (15, 4), "waits": WAITING}),
    ("m", {"facts": APART, "locked": (15, 15), "waits": ENDED}),
    ("n", {"facts": {"result": -22, "stale_waited": 0}, "commands": {"stale": 0}}),
    (
        "o",
        {"before": SCANNED[0], "after": SCANNED[1], "facts": {"moved_held": 0, "pages": 4000}},
    ),
    ("p", {"pageblocks": {"pins": 200, "movable": 201}, "facts": {"filled": 9000}}),
    ("q", {"page": {**PAGE, "status": 0, "said": ""}, "facts": {"calls": 1}}),
    ("r", {"splat": ("BUG: Bad page state in process sh", ""), "facts": {"result": 1}}),
]
UNTOLD: list[tuple[str, dict[str, Any]]] = [
    ("1", {"facts": {"moves": 0}}),
    ("1", {"driven": False, "message": "the kernel crashed: panic"}),
    ("1", {"facts": {"moves": 3000}, "driven": False}),
    ("1", {"facts": {"moves": 3000}, "splat": ("WARNING: at lib/list_debug.c:1", "")}),
    ("2", {"driven": False, "message": "never got ready"}),
    ("4", {"facts": {"calls": 0, "calls_atomic": 0}}),
    ("5", {"before": FREE, "after": LESS, "facts": {"refused": 3, **SETTLED}}),
    ("5", {"facts": {"refused": 3000, **SETTLED}}),
    ("6", {"before": FREE, "after": LESS, "facts": {"calls": 7}}),
    ("6", {"before": FREE, "after": FREE, "facts": {"calls": 0}}),
    (
        "7",
        {"facts": {"moved": 3, "moved_flagged": 0, "moved_registered": 0, "old_registered": 3}},
    ),
    ("8", {"before": FREE, "after": LESS, "facts": {"moves": 0}}),
    ("9", {"facts": {"swept": 0}, "waits": {"ended": True, "seconds": 60, "where": []}}),
    ("9", {"facts": {"swept": 3}}),
    ("10", {"blocks": ({**BLOCK, "pins": 0},), "facts": {"calls": 0}}),
    ("b", {"facts": {"result": 0, "create_listed": 1, "failed_listed": 1}}),
    ("b", {"facts": READY}),
    ("b", {"facts": READY, "commands": {"life": 95}}),
    ("c", {"facts": {"result": -22}, "commands": {"gone": 0}}),
    ("c", {"facts": {"result": 0}}),
    ("e", {"facts": {"result": -12, "half_set": 1, "half_cleared": 0}}),
    ("h", {"facts": {"refused": 0, "moved": 0}}),
    ("k", {"driven": False, "message": "no contiguous allocation"}),
    ("m", {"facts": {"isolated_others": 0, "isolated_locked": 0}}),
    ("m", {"facts": APART, "locked": (0, 0), "waits": ENDED}),
    ("m", {"facts": APART, "locked": (15, 0), "waits": ENDED}),
    ("m", {"facts": APART, "locked": (15, 0)}),
    ("m", {"facts": APART, "locked": (15, 3), "waits": {**WAITING, "where": ["0", "State:", "R"]}}),
    ("m", {"facts": APART}),
    ("n", {"commands": {"stale": 2}}),
    ("o", {"before": SCANNED[0], "after": SCANNED[0], "facts": {"moved_held": 0, "pages": 9}}),
    ("g", {"before": FREE, "after": FREE, "facts": {"deserted": 3, **SETTLED}}),
    ("p", {"facts": {"filled": 9000}}),
    ("p", {"pageblocks": {"pins": 3, "movable": 0}, "facts": {"filled": 9000}}),
    ("p", {"pageblocks": {"pins": 200, "movable": 0}, "facts": {"filled": 0}}),
    ("p", {"pageblocks": {"pins": 200, "movable": 190}, "facts": {"filled": 9000}}),
    ("q", {"facts": {"calls": 0}}),
    ("r", {"facts": {"result": 0}}),
]


@pytest.mark.parametrize(
    ("defect", "given", "shown"),
    [(d, g, True) for d, g in SHOWN]
    + [(d, g, False) for d, g in HEALTHY]
    + [(d, g, None) for d, g in UNTOLD],
)
def test_evidence_and_its_answer(defect: str, given: dict[str, Any], shown: bool | None) -> None:
    found = finding(evidence(PROBES[defect], **given))
    assert found.shown is shown, found.evidence
    assert found.probed and found.evidence and found.arm == f"defect-{defect}"


def test_what_a_kernel_lacks_is_no_doubt() -> None:
    events = evidence(PROBES["10"], driven=False, message="it has no memory blocks")
    ended = next(event for event in events if event.name == "ended")
    events[events.index(ended)] = Event(
        ended.arm, ended.source, ended.name, {**ended.data, "outcome": "SKIP"}
    )
    found = finding(events)
    assert (found.shown, found.probed) == (None, False)
    assert found.evidence == "it has no memory blocks"


@pytest.mark.parametrize(
    ("outcome", "reports", "seen"),
    [
        ("", True, Outcome.CRASH),  # it complained of something else than what was looked for
        ("HANG", False, Outcome.HANG),
        ("CRASH", True, Outcome.CRASH),
        ("INFRA", False, Outcome.INFRA),
        ("FAIL", False, Outcome.INFRA),
    ],
)
def test_a_guest_that_ends_otherwise_is_the_kernels_doing(
    outcome: str, reports: bool, seen: Outcome
) -> None:
    events = evidence(PROBES["c"], facts={"result": -16}, commands={"gone": 0}, driven=not outcome)
    ended = next(event for event in events if event.name == "ended")
    data = {"outcome": outcome, "message": "it ended"}
    events[events.index(ended)] = Event(ended.arm, ended.source, ended.name, data)
    if reports:
        report: dict[str, JSON] = {
            "kind": "WARN",
            "title": "WARNING: lock held",
            "report": "…",
            "line": 7,
        }
        events.append(Event(ended.arm, "console", "splat", report))
    answer = DEFECTS.judge((), events, (), ())
    assert answer.outcome is seen, answer.reason
    assert seen is Outcome.INFRA or "probe of defect c" in answer.reason


def test_every_probe_is_tried_here_in_both_ways() -> None:
    driven = {probe.defect for probe in CATALOGUE if probe.drive is not None}
    assert {defect for defect, _ in SHOWN} == {defect for defect, _ in HEALTHY} == driven
    assert len(PROBES) == len(CATALOGUE)
    for probe in CATALOGUE:
        assert (probe.drive is None) == bool(probe.why_not or probe.read), probe.defect


@pytest.mark.parametrize(("kernel", "impossible"), [("6.12", ""), ("3.11", "p")])
def test_each_defect_has_its_fix(kernel: str, impossible: str) -> None:
    names = (resources.patches() / kernel / "fixed" / "series").read_text().split()
    for probe in CATALOGUE:
        found = [name for name in names if probe.fix in name]
        assert len(found) == (probe.defect not in impossible), probe.defect


def test_the_source_tells_what_no_guest_can() -> None:
    posted = Source(
        **{"include__linux__pinpage.h": "/* clear_pinpage() */\nint set_pinpage(void);\n"}
    )
    fixed = Source(
        **{
            "include__linux__pinpage.h": "int clear_pinpage(x);\n"
            "extern int unregister_pinpage(x);\n"
        },
        mm__Kconfig="config PINPAGE\n",
    )
    for tree, outcome in ((posted, Outcome.FAIL), (fixed, Outcome.PASS)):
        events = list(DEFECTS.inspect(tree, {"only": "i,j"}))
        verdict = DEFECTS.judge((), events, (), ())
        assert verdict.outcome is outcome
        assert [each.defect for each in verdict.findings] == ["i", "j"]


def test_what_is_to_blame_is_found_in_the_tree_under_test() -> None:
    text = (
        "static int first(void)\n{\n\treturn 0;\n}\n\nstatic unsigned long\n"
        "isolate_some_range(struct zone *zone,\n\t\t   int x)\n{\nagain:\n"
        "\tVM_BUG_ON(!list_empty(&page->lru));\n}\n"
    )
    events = list(DEFECTS.inspect(Source(**{"mm__compaction.c": text}), {"only": "1"}))
    events += evidence(PROBES["1"], splat=(BUG, ""))[1:]
    found = finding(events)
    assert (found.place, found.function) == ("mm/compaction.c:11", "isolate_some_range")
    assert found.patch == "0003-mm.patch"


def test_parameters_and_what_cannot_be_run() -> None:
    assert scenario.params("defects", ["only=1,a"]) == {"only": "1,a"}
    for word in ("only=", "only=1;2", "only=1,,2"):
        with pytest.raises(InputError):
            scenario.params("defects", [word])
    with pytest.raises(InputError, match="no defect 'z'"):
        DEFECTS.check({"only": "1,z"}, 1024)
    with pytest.raises(InputError, match="1024 MiB"):
        DEFECTS.check({"only": "all"}, 512)
    with pytest.raises(CannotRun, match="no pin page subsystem"):
        DEFECTS.arms(False, {"only": "all"})
    arms = DEFECTS.arms(True, {"only": "2,i,l"})
    assert [(arm.mode, arm.profile, arm.append) for arm in arms] == [
        ("2", "lockdep", ("slub_debug=FZ",))
    ]


def made(shown: bool | None, probed: bool = True) -> Finding:
    return Finding("1", "a title", shown, "seen", probed=probed)


@pytest.mark.parametrize(
    ("findings", "outcome"),
    [
        ([made(False), made(None, False)], Outcome.PASS),
        ([made(False), made(True), made(None)], Outcome.FAIL),
        ([made(False), made(None)], Outcome.INFRA),
        ([made(None, False)], Outcome.INFRA),
        ([], Outcome.INFRA),
    ],
)
def test_verdict_of_findings(findings: list[Finding], outcome: Outcome) -> None:
    assert from_findings(findings).outcome is outcome


def test_a_defect_whose_line_is_not_there_may_be_another() -> None:
    there = Finding("1", "a title", True, "seen", place="mm/x.c:1")
    gone = Finding("9", "a title", True, "seen", function="f")
    both = from_findings([there, gone])
    assert both.reason == (
        "2 of 2 known defects show: 1, 9; this tree does not have the line that the RFC's has for 9"
    )
    assert "--series fixed --set only=" in both.next_step
    known = from_findings([there])
    assert known.reason == "1 of 1 known defects show: 1 (seen)"
    assert "'fixed' has a patch" in known.next_step


def test_a_probe_whose_guest_hangs_shows_whose_line_is_on_the_stack() -> None:
    hung = {"outcome": "HANG", "message": "it does not end"}
    events = [
        Event("defect-1", "source", "place", {"path": "mm/x.c", "line": 1, "function": "f"}),
        Event("defect-1", "harness", "ended", hung),
    ]
    culprit = Culprit("0099-mine.patch", "mine", "mm/x.c", 5, "f", brought=True)
    stuck = Splat("stuck", "dd waits", "f", 7, 9, "", arm="defect-1", culprit=culprit)
    other = replace(stuck, arm="defect-2")
    answer = DEFECTS.judge([], events, [], [other, stuck])
    assert answer.outcome is Outcome.HANG and answer.splats == (stuck,)
    assert answer.reason.endswith("a patched line on the stack: 0099 mine, mm/x.c:5")


def test_threshold_is_no_accident() -> None:
    assert MANY >= 500


def test_the_line_in_the_own_function_is_to_blame() -> None:
    body = "{\n\tif (folio_ref_count(src) == 1)\n\t\tgoto out;\n}\n"
    text = f"static int other(int x)\n{body}\nstatic int unmap_and_move_pinpage(int x)\n{body}"
    events = list(DEFECTS.inspect(Source(**{"mm__migrate.c": text}), {"only": "g"}))
    (place,) = (event.data for event in events if event.name == "place")
    assert (place["line"], place["function"]) == (9, "unmap_and_move_pinpage")


def test_a_place_may_be_elsewhere_on_another_kernel() -> None:
    text = "bool has_unmovable_pages(int x)\n{\n\tif (!PageLRU(page))\n\t\tfound++;\n}\n"
    events = list(DEFECTS.inspect(Source(**{"mm/page_alloc.c": text}), {"only": "k"}))
    (place,) = (event.data for event in events if event.name == "place")
    assert (place["path"], place["line"]) == ("mm/page_alloc.c", 3)


def test_an_error_leaves_no_arms_of_probes() -> None:
    plans = DEFECTS.arms(True, {"only": "1,5"})
    found = from_error(BuildError("it does not build"), plans, (), ())
    assert found.outcome is Outcome.BUILD and found.arms == ()


def test_a_processor_that_was_idle_is_no_complaint() -> None:
    """The host did not run it: the probe cannot tell, and nothing is wrong with the kernel."""
    stalled = (
        "INFO: rcu_sched detected stalls on CPUs/tasks",
        "INFO: rcu_sched detected stalls on CPUs/tasks: { 1} (detected by 0, t=60002 jiffies)\n"
        "NMI backtrace for cpu 1 skipped: idling at default_idle+0xb/0x10\n",
    )
    sound: dict[str, Any] = {"before": FREE, "after": SAME, "facts": {"refused": 3000, **SETTLED}}
    for kind, outcome in (("rcu-stall", Outcome.INFRA), ("BUG", Outcome.CRASH)):
        events = evidence(PROBES["5"], **sound, splat=stalled)
        events[-1] = replace(events[-1], data={**events[-1].data, "kind": kind})
        assert DEFECTS.judge((), events, (), ()).outcome is outcome


def test_one_owner_is_no_proof() -> None:
    few = {"refused": 40, "moved": 2500, "busy": 7, "busy_again": 0}
    assert finding(evidence(PROBES["h"], few)).shown is False
