# SPDX-License-Identifier: GPL-2.0-only
"""What runs B have beside runs A, and what of that is B's doing."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from made_runs import PATCHES, inputs, ran, run
from rich.console import Console

from harness import report
from harness.comparison import Comparison, State, compare, differences
from harness.model import EXIT_CODES, ArmResult, Attempt, Finding, Outcome, Verdict
from harness.report.record import as_json

PASS, FAIL, CRASH, SKIP, INFRA = (
    Outcome.PASS,
    Outcome.FAIL,
    Outcome.CRASH,
    Outcome.SKIP,
    Outcome.INFRA,
)


def states(found: Comparison) -> list[State]:
    return [pair.state for pair in found.pairs]


def shown(found: Comparison, *, every: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(report.comparison.comparison(found, every=every))
    return out.getvalue()


@pytest.mark.parametrize("outcome", [each for each in Outcome if each is not PASS])
def test_a_failure_that_a_had_not_is_new_and_its_verdict_the_exit_code(outcome: Outcome) -> None:
    found = compare([run()], [run(outcome)])
    assert states(found) == [State.NEW]
    assert found.exit_code == EXIT_CODES[outcome]
    assert f"the first is {outcome.value}" in " ".join(shown(found).split())


@pytest.mark.parametrize(
    ("accused", "line", "before", "state"),
    [
        ("0002/two.patch", True, PASS, State.NEW),
        ("0002/two.patch", False, PASS, State.FLAKY),
        ("0001-one.patch", True, PASS, State.FLAKY),  # A has it as well
        ("0002/two.patch", True, FAIL, State.FLAKY),
    ],
)
def test_what_is_reported_of_a_line_that_b_alone_has_is_new_however_seldom(
    accused: str, line: bool, before: Outcome, state: State
) -> None:
    seldom = run(CRASH, id="b")
    seldom["splats"][0]["blame"] = {"patch": accused, "brought": line}
    base = run(before, inputs=inputs(PATCHES[0]))
    found = compare([base], [run(), seldom])
    assert states(found) == [state]
    assert found.exit_code == (EXIT_CODES[CRASH] if state is State.NEW else 0)
    seldom["splats"][0]["provoked"] = True
    assert states(compare([base], [run(), seldom])) == [State.FLAKY]


@pytest.mark.parametrize(
    ("a", "b", "state"),
    [
        (PASS, PASS, State.UNCHANGED),
        (FAIL, PASS, State.MENDED),
        (CRASH, PASS, State.MENDED),
        (FAIL, FAIL, State.FAILING),
        (FAIL, CRASH, State.FAILING),
        (SKIP, SKIP, State.UNCHANGED),
        # What says nothing about a kernel is nothing to hold another against.
        (SKIP, FAIL, State.UNTOLD),
        (SKIP, PASS, State.UNTOLD),
        (INFRA, CRASH, State.UNTOLD),
        (INFRA, INFRA, State.UNTOLD),
        (FAIL, SKIP, State.UNTOLD),
    ],
)
def test_what_is_not_new_ends_with_0(a: Outcome, b: Outcome, state: State) -> None:
    found = compare([run(a)], [run(b)])
    assert (states(found), found.exit_code) == ([state], 0)
    assert "no new failure" in shown(found)


def test_equal_runs_that_passed_and_did_not_are_flaky_on_either_side() -> None:
    both = [run(id="a"), run(FAIL, id="b")]
    assert states(compare(both, [run(), run()])) == [State.FLAKY]
    assert states(compare([run(), run()], both)) == [State.FLAKY]
    assert compare([run()], both).exit_code == 0
    # Two that failed, if each in its own way, never passed; one that broke is no failure.
    assert states(compare([run()], [run(FAIL), run(CRASH)])) == [State.NEW]
    assert states(compare([run()], [run(INFRA), run()])) == [State.UNCHANGED]
    assert states(compare([run()], [run(INFRA), run(SKIP)])) == [State.NEW]


def test_the_exit_code_is_of_the_first_that_says_something() -> None:
    found = compare([run(), run()], [run(INFRA), run(CRASH)])
    assert found.pairs[0].failure is not None
    assert (found.pairs[0].failure.outcome, found.exit_code) == (CRASH, 3)


def test_a_seed_of_both_sides_is_a_pair_and_other_seeds_are_held_against_each_other() -> None:
    a = [run(seed=1), run(FAIL, seed=2), run(seed=3)]
    b = [run(FAIL, seed=1), run(FAIL, seed=2), run(seed=9)]
    found = compare(a, b)
    assert states(found) == [State.NEW, State.FAILING, State.UNCHANGED]
    assert [[r.seed for r in pair.a] for pair in found.pairs] == [[1], [2], [3]]
    # A seed that B alone has is held against all that A has of it.
    more = compare([run(seed=1), run(seed=2)], [run(seed=1), run(CRASH, seed=9)])
    assert states(more) == [State.UNCHANGED, State.NEW] and more.exit_code == 3
    lonely = compare([run(seed=1)], [run(seed=1), run(CRASH, seed=9)])
    assert states(lonely) == [State.UNCHANGED, State.NEW]
    # Different seeds are no equal runs: that they differ is not flaky.
    assert states(compare([run(seed=1), run(seed=2)], [run(seed=3), run(FAIL, seed=4)])) == [
        State.NEW
    ]


def test_runs_are_paired_by_what_was_asked() -> None:
    kinds: list[dict[str, Any]] = [
        {},
        {"kernel": "3.11"},
        {"arch": "arm64"},
        {"profile": "kasan"},
        {"params": {"pages": 3000, "lie": "none"}},
    ]
    a = [run(**kind) for kind in kinds]
    b = [run(FAIL, **kind) for kind in reversed(kinds)]
    found = compare(a, b)
    assert states(found) == [State.NEW] * len(kinds)
    assert all(len(pair.a) == len(pair.b) == 1 and not pair.inputs for pair in found.pairs)
    assert states(compare(a, b[:-1]))[0] is State.ONLY_A
    lonely = compare(a[:2], b[:2])
    assert not lonely.paired and lonely.exit_code == 0
    assert set(states(lonely)) == {State.ONLY_A, State.ONLY_B}


def test_series_pair_where_a_side_has_several_and_else_are_what_differs() -> None:
    def several(**extra: Any) -> list[dict[str, Any]]:
        return [run(series=(name,), **extra) for name in ("none", "fixed")]

    found = compare(several(), several())
    assert states(found) == [State.UNCHANGED] * 2
    assert [pair.asked["series"] for pair in found.pairs] == ["none", "fixed"]
    one = compare([run(series=("none",))] * 2, [run(series=("mine",), digests={"series": "56"})])
    assert states(one) == [State.UNCHANGED]
    assert [(each.name, each.a, each.b) for each in one.pairs[0].inputs][:2] == [
        ("series", "none", "mine"),
        ("patches", "34 (2)", "56 (2)"),
    ]


def test_one_run_each_is_a_pair_whatever_was_asked_of_the_same_scenario() -> None:
    lie = run(FAIL, params={"pages": 2000, "lie": "nocopy"})
    found = compare([run()], [lie])
    assert states(found) == [State.NEW]
    assert [(d.name, d.a, d.b) for d in found.pairs[0].inputs] == [
        ("parameter lie", "none", "nocopy")
    ]
    assert not compare([run()], [run(scenario="numa")]).paired


def test_each_input_that_differs_is_named() -> None:
    accelerator = ran().accelerator
    assert accelerator is not None
    changed: dict[str, Any] = {
        "digests": {
            "tree": "git:00",
            "series": "78",
            "config": "sha256:1",
            "modules": "1",
            "image": "sha256:2",
        },
        "toolchain": {"name": "gcc", "version": "gcc 13"},
        "host": {"machine": "aarch64", "qemu": "QEMU 9", "pinpage": "0.2"},
        "accelerator": replace(accelerator, name="kvm"),
        "seed": 8,
        "smp": 2,
        "memory_mib": 2048,
        "append": ("a=1",),
        "params": {"pages": 2000, "lie": "none", "rounds": 3},
    }
    then: dict[str, Any] = {
        "digests": {
            "tree": "git:11",
            "series": "34",
            "config": "sha256:3",
            "modules": "4",
            "image": "sha256:5",
        },
        "host": {"machine": "x86_64", "qemu": "QEMU 7", "pinpage": "0.1"},
    }
    found = {each.name: each for each in differences([run(**then)], [run(**changed)])}
    assert found.keys() == {
        "patches",
        "tree",
        "config",
        "guest modules",
        "guest image",
        "toolchain",
        "QEMU",
        "accelerator",
        "machine",
        "pinpage",
        "seed",
        "CPUs",
        "memory",
        "append",
        "parameter rounds",
    }
    assert (found["QEMU"].a, found["QEMU"].b) == ("QEMU 7", "QEMU 9")
    assert (found["parameter rounds"].a, found["append"].a) == ("-", "-")
    assert not differences([run()], [run()])
    # Another name of the same patches is no difference.
    assert not differences([run(series=("./mine",))], [run()])


def test_an_input_that_some_runs_do_not_tell_is_what_the_others_say() -> None:
    new, old = run(host={"qemu": "QEMU 7"}), run(host={})
    assert not differences([old, new], [new])
    assert [(d.a, d.b) for d in differences([old], [new])] == [("-", "QEMU 7")]


def test_a_report_that_was_provoked_is_no_complaint() -> None:
    crashed = run(CRASH)
    again = {**crashed["splats"][0], "title": "page allocation failure", "provoked": True}
    crashed["splats"] += [again, crashed["splats"][0]]
    (told,) = compare([crashed], [run()]).pairs[0].a
    assert told.splats == ("WARNING: CPU at mm/x.c:1 f",)


def test_patches_that_one_side_has_are_named() -> None:
    other = (replace(PATCHES[0], text=b"other"), replace(PATCHES[1], name="0003-three.patch"))
    changed = run(inputs=inputs(*other), digests={"series": "other"})
    (pair,) = compare([run()], [changed]).pairs
    assert pair.patches == ("- 0002/two.patch", "! 0001-one.patch", "+ 0003-three.patch")
    text = shown(compare([run()], [changed]))
    for line in ("in A alone 0002/two", "another one in B 0001-one", "in B alone 0003-three"):
        assert line in " ".join(text.split())


def arm(**extra: Any) -> ArmResult:
    attempts = (
        Attempt(1, "contig", "a", "contig 16", True, expected=True, seconds=0.1),
        Attempt(2, "contig", "b", "contig 16", False, expected=True, seconds=0.3),
        Attempt(3, "huge", "c", "hugetlb", True, seconds=2.0, asked=100, got=40),
    )
    values = {"pinned": 10, "migrated": 9, "stayed": 1, "failed": 0, "lost": 0, "corrupt": 0}
    return ArmResult("treated", "treated", "pinpage", **{**values, **extra}, attempts=attempts)


def failed(**extra: Any) -> dict[str, Any]:
    return as_json(replace(ran(), verdict=Verdict(FAIL, "no", "x", (arm(**extra),)), exit_code=1))


def test_the_figures_of_each_arm() -> None:
    ((figures,),) = [r.arms for r in compare([run()], [failed()]).pairs[0].b]
    assert [(t.group, t.had, t.asked, t.wrong) for t in figures.attempts] == [
        ("contig 16", 1, 2, 1),
        ("hugetlb", 40, 100, 0),
    ]
    text = shown(compare([failed()], [failed(corrupt=2, order9_before=3, order9_after=5)]))
    rows = {line.split("  ")[1].strip() or line: line for line in text.splitlines() if "  " in line}
    assert rows["corrupt"].split() == ["corrupt", "0", "2"]
    assert "3 → 5" in rows["huge pages to be had"]
    assert "1 of 2, 1 wrong  200 ms" in text and "40 of 100  2.0 s" in text


def test_what_others_named_is_shown_as_it_is() -> None:
    named = replace(
        arm(), attempts=(Attempt(1, "contig", "a", "[v2] at mm/x.c:100:5: [/x]", True),)
    )
    host = {"qemu": "QEMU [/v3] :100:"}
    patch = replace(PATCHES[1], name="[v4] :100: [/x].patch")
    verdict = Verdict(FAIL, "no", "x", (named,))
    defect = Finding("[v5]:100:", "", True, "")
    bad = as_json(replace(ran(inputs=inputs(patch), host=host), verdict=verdict, exit_code=1))
    text = shown(compare([run()], [bad]))
    for name in (named.attempts[0].group, host["qemu"], patch.name):
        assert name in text, name
    bad = as_json(replace(ran(FAIL), verdict=replace(verdict, arms=(), findings=(defect,))))
    assert defect.defect in shown(compare([run()], [bad]))


def test_the_defects_that_show_are_named() -> None:
    def probed(*shown: str) -> dict[str, Any]:
        found = [Finding(name, "", name in shown, "") for name in ("1", "4", "9")]
        return as_json(replace(ran(FAIL), verdict=Verdict(FAIL, "no", "x", findings=tuple(found))))

    found = compare([probed("1")], [probed("1", "9")])
    assert (found.pairs[0].a[0].defects, found.pairs[0].b[0].defects) == (("1",), ("1", "9"))
    assert "defects that show 1 1, 9" in " ".join(shown(found).split())
    assert compare([run()], [run()]).pairs[0].a[0].defects is None


def test_of_many_runs_the_median_is_shown() -> None:
    many = [failed(migrated=count) for count in (1, 5, 9)]
    text = shown(compare(many, many[:1]))
    assert "treated arm, medians" in text
    (row,) = [line for line in text.splitlines() if line.strip().startswith("migrated")]
    assert row.split() == ["migrated", "5", "1"]
    assert "3 FAIL" in text


def test_unchanged_pairs_have_figures_when_all_is_asked_for_and_when_they_are_alone() -> None:
    a = [run(seed=1), run(seed=2)]
    assert "pinned" not in shown(compare(a, a)) and "pinned" in shown(compare(a, a), every=True)
    assert "pinned" in shown(compare(a[:1], a[:1]))


def test_parameters_that_tell_pairs_apart_are_named() -> None:
    runs = [run(params={"pages": pages, "lie": "none"}) for pages in (2000, 3000)]
    text = shown(compare(runs, runs))
    assert "pages=2000" in text and "pages=3000" in text and "lie" not in text
    assert "pages=" not in shown(compare(runs[:1], runs[:1]))


def test_json_has_all_of_it() -> None:
    found = json.loads(json.dumps(report.comparison.as_json(compare([run()], [run(CRASH)]))))
    assert (found["exit_code"], found["counts"]["new failure"]) == (3, 1)
    (pair,) = found["pairs"]
    assert pair["asked"]["scenario"] == "compaction" and pair["state"] == "new failure"
    assert pair["b"][0]["splats"] == ["WARNING: CPU at mm/x.c:1 f"]


def test_hostile_text_does_nothing_on_a_terminal() -> None:
    evil = "\x1b[31m\u202e[bold]"
    bad = run(FAIL, series=(evil,), digests={"series": evil, "tree": evil})
    bad["reason"] = bad["id"] = evil
    text = shown(compare([run()], [bad]))
    assert "\x1b" not in text and "\u202e" not in text and "[bold]" in text
