# SPDX-License-Identifier: GPL-2.0-only
"""The first bad state of a line, of a git history, and of what fails now and then."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import toykernel as toy
from hypothesis import given, settings
from hypothesis import strategies as st
from program import Program
from rich.console import Console
from toykernel import git

from harness import bisect, cli, judges, pipeline
from harness.bisect import Standing, Trial, commits, kinds, search
from harness.bisect.search import Found, Runs, State, line
from harness.cli import experiments, inside
from harness.errors import InfraError, InputError
from harness.model import Outcome, RunSpec, Silent, Verdict
from harness.report import bisect as table

PASS, FAIL, CRASH, LOST, BUILD, INFRA = (
    Outcome.PASS,
    Outcome.FAIL,
    Outcome.CRASH,
    Outcome.LOST,
    Outcome.BUILD,
    Outcome.INFRA,
)
Behaviour = Callable[[str, int], Outcome]


def states(count: int) -> list[State]:
    return [State(f"s{at}", f"state {at}") for at in range(count)]


def runs(folder: Path, behaviour: Behaviour) -> Runs:
    def run(state: State, seed: int) -> Trial:
        return Trial(state.name, seed, behaviour(state.name, seed), "said")

    return Runs(run, folder, 7, Silent())


def found(folder: Path, count: int, behaviour: Behaviour, tries: int = 3) -> Found:
    return line(states(count), runs(folder, behaviour), tries=tries, confidence=0.95)


def number(name: str) -> int:
    return int(name.removeprefix("s"))


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 200), st.data())
def test_a_failure_that_is_always_there_is_found(
    tmp_path_factory: pytest.TempPathFactory, count: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(1, count - 1))
    answer = found(
        tmp_path_factory.mktemp("bisect"),
        count,
        lambda name, _: FAIL if number(name) >= first else PASS,
    )
    assert [state.name for state in answer.first] == [f"s{first}"]
    assert answer.confidence >= 0.95
    tried = {trial.state for trial in answer.trials}
    assert len(tried) <= 2 + (count - 1).bit_length()


def test_one_that_shows_now_and_then_is_found_as_often_as_it_says(tmp_path: Path) -> None:
    rates, wrong = random.Random(1), 0
    for turn in range(100):
        first = rates.randrange(1, 20)

        def behaviour(name: str, seed: int, first: int = first) -> Outcome:
            bad = number(name) >= first and rates.random() < 0.6
            return CRASH if bad else PASS

        try:
            answer = found(tmp_path / str(turn), 20, behaviour, tries=6)
        except InputError:
            continue  # the bad end was never bad
        wrong += [state.name for state in answer.first] != [f"s{first}"]
    assert wrong <= 0.05 * 100


def test_the_rate_of_the_bad_end_says_how_often_a_state_has_to_pass() -> None:
    always = bisect.rule([FAIL] * 3, 8, 0.95)
    seldom = bisect.rule([FAIL, PASS, PASS, PASS, PASS, PASS], 8, 0.95)
    assert always is not None and seldom is not None
    assert always.rate == pytest.approx(0.8) and always.needed == 3
    assert seldom.rate == pytest.approx(0.25) and seldom.needed == 16
    assert 4 * (1 - seldom.rate) ** seldom.needed <= 0.05 < 4 * (1 - seldom.rate) ** 15
    assert bisect.rule([PASS, PASS], 8, 0.95) is None


def test_what_cannot_be_tried_leaves_several(tmp_path: Path) -> None:
    def behaviour(name: str, _: int) -> Outcome:
        at = number(name)
        return BUILD if 3 <= at <= 5 else FAIL if at > 5 else PASS

    answer = found(tmp_path, 9, behaviour)
    assert [state.name for state in answer.first] == ["s3", "s4", "s5", "s6"]
    assert answer.standing(State("s4", "state 4")) is Standing.UNTESTABLE


def test_what_is_the_hosts_doing_is_tried_again(tmp_path: Path) -> None:
    seen: list[str] = []

    def behaviour(name: str, _: int) -> Outcome:
        seen.append(name)
        if name == "s2" and seen.count("s2") == 1:
            return INFRA
        return FAIL if number(name) >= 2 else PASS

    answer = found(tmp_path, 5, behaviour)
    assert [state.name for state in answer.first] == ["s2"] and seen.count("s2") == 2


@pytest.mark.parametrize(("times", "first"), [(1, "s4"), (2, "s2")])
def test_a_machine_that_was_lost_once_says_nothing(tmp_path: Path, times: int, first: str) -> None:
    """It may be the host that has killed it; twice in one state it is that state's doing."""
    seen: list[str] = []

    def behaviour(name: str, _: int) -> Outcome:
        seen.append(name)
        if name == "s2" and seen.count("s2") <= times:
            return LOST
        return FAIL if number(name) >= 4 else PASS

    assert [state.name for state in found(tmp_path, 6, behaviour).first] == [first]


def test_an_end_that_was_lost_once_is_not_bad(tmp_path: Path) -> None:
    once, twice = bisect.rule([LOST, PASS, PASS], 4, 0.95), bisect.rule([LOST, LOST], 4, 0.95)
    assert once is None and twice is not None and twice.rate == pytest.approx(0.75)
    beside = bisect.rule([LOST, FAIL, FAIL], 4, 0.95)
    assert beside is not None and beside.rate == pytest.approx(0.75)
    trials = [Trial("s", 7 + at, each) for at, each in enumerate((LOST, FAIL, PASS))]
    assert beside.failed(trials) == 1


def test_a_failure_to_build_is_searched_too(tmp_path: Path) -> None:
    answer = found(tmp_path, 6, lambda name, _: BUILD if number(name) >= 4 else PASS)
    assert [state.name for state in answer.first] == ["s4"]
    assert len([trial for trial in answer.trials if trial.state == "s5"]) == 1


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (lambda *_: PASS, "the bad end s4 was not bad in 3 runs: PASS said"),
        (lambda *_: FAIL, "the good end s0 is not good: FAIL said"),
        (lambda name, _: BUILD if name == "s0" else FAIL, "the good end s0 is not good: BUILD"),
    ],
)
def test_ends_that_are_none(tmp_path: Path, behaviour: Behaviour, said: str) -> None:
    with pytest.raises(InputError, match=said):
        found(tmp_path, 5, behaviour)


def test_what_commits_are_called_is_shown_as_it_is() -> None:
    title = "fs/proc: read [/proc/kpageflags] at mm/x.c:100:5: [v2]"
    trial = {"outcome": "FAIL", "said": "[pinner] at mm/x.c:100:5: [/x]"}
    state = {"name": "[v3]", "title": title, "standing": "bad", "trials": [trial]}
    answer = {"states": [state], "first": [state], "confidence": 0.95, "failed": 3, "ended": 3}
    out = io.StringIO()
    Console(file=out, width=200).print(table.bisect(answer))
    assert f"[v3] {title}" in out.getvalue() and trial["said"] in out.getvalue()


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    seen: list[str] = []

    def behaviour(name: str, _: int) -> Outcome:
        seen.append(name)
        if len(seen) == 8:
            raise Interrupted
        return FAIL if number(name) >= 5 else PASS

    with pytest.raises(Interrupted):
        found(tmp_path, 16, behaviour)
    record = tmp_path / "results.jsonl"
    record.write_text(record.read_text()[:-9])  # its last line was cut off
    answer = found(tmp_path, 16, behaviour)
    assert [state.name for state in answer.first] == ["s5"]
    fresh = found(tmp_path / "fresh", 16, lambda n, _: FAIL if number(n) >= 5 else PASS)
    assert len(answer.trials) == len(fresh.trials) == len(seen) - 2


def test_a_confidence_that_is_no_number_is_refused(
    within: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: object) -> None:
        raise InputError("it went on")

    monkeypatch.setattr(pipeline, "choose", too_late)
    done = within("bisect", "compaction", "--confidence", "nan")
    assert done.returncode == 2 and "it went on" not in done.stderr
    assert "--confidence" in done.stderr and "no number" in done.stderr


# --- git -----------------------------------------------------------------------------------------


@pytest.fixture
def history(tmp_path: Path) -> tuple[Path, list[str]]:
    """Ten commits in a line, and one merged in beside them."""
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    made = []
    for at in range(10):
        (folder / "file").write_text(f"{at}\n")
        git(folder, "add", "file")
        git(folder, "commit", "-q", "-m", f"change {at}")
        made.append(git(folder, "rev-parse", "HEAD"))
    git(folder, "checkout", "-q", "-b", "side", made[3])
    (folder / "other").write_text("side\n")
    git(folder, "add", "other")
    git(folder, "commit", "-q", "-m", "a side")
    made.append(git(folder, "rev-parse", "HEAD"))
    git(folder, "checkout", "-q", "main")
    git(folder, "merge", "-q", "--no-ff", "-m", "merge the side", "side")
    made.append(git(folder, "rev-parse", "HEAD"))
    return folder, made


def contains(folder: Path, commit: str, culprit: str) -> bool:
    argv = ["git", "-C", str(folder), "merge-base", "--is-ancestor", culprit, commit]
    return subprocess.run(argv, check=False).returncode == 0


@pytest.mark.parametrize("culprit", range(1, 12))
def test_git_says_what_is_tried(history: tuple[Path, list[str]], culprit: int) -> None:
    folder, made = history
    before = git(folder, "for-each-ref"), git(folder, "status", "--porcelain")
    good, bad = commits.ends(folder, f"{made[0]}..main")
    own = runs(
        folder.parent / "state",
        lambda name, _: CRASH if contains(folder, name, made[culprit]) else PASS,
    )
    answer = commits.search(folder, good, bad, own, tries=1, confidence=0.9)
    assert [state.name for state in answer.first] == [made[culprit]]
    assert answer.first[0].title.startswith(("change", "a side", "merge"))
    assert (git(folder, "for-each-ref"), git(folder, "status", "--porcelain")) == before
    count = len(own.trials)
    again = Runs(own.run, own.folder, 7, Silent())
    same = commits.search(folder, good, bad, again, tries=1, confidence=0.9)
    assert (same.first, len(again.trials)) == (answer.first, count)


def test_commits_that_cannot_be_built(history: tuple[Path, list[str]]) -> None:
    folder, made = history

    def behaviour(name: str, _: int) -> Outcome:
        at = made.index(name)
        return BUILD if at in (4, 5, 6) else CRASH if contains(folder, name, made[6]) else PASS

    own = runs(folder.parent / "state", behaviour)
    answer = commits.search(folder, made[0], made[9], own, tries=1, confidence=0.9)
    assert {state.name for state in answer.first} == {*made[4:8]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("main", "GOOD..BAD is due"),
        ("main..HEAD~3", "does not come before"),
        ("nothing..HEAD", "has no commit 'nothing'"),
    ],
)
def test_a_range_that_is_none(history: tuple[Path, list[str]], words: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        commits.ends(history[0], words)


# --- patches and options -----------------------------------------------------------------

WORDS = RunSpec("compaction", "6.12", "x86_64", ("fixed",), "fast", 7)


@pytest.fixture
def stacked(tmp_path: Path) -> tuple[RunSpec, list[str]]:
    """Two patches of the user's on top of the kernel's own series."""
    files = []
    for name in ("0001-mine.patch", "0002-mine.patch"):
        path = tmp_path / name
        path.write_text(toy.mail(f"[PATCH] {name}", toy.change("mm/migrate.c", "-1", "-2")))
        files.append(str(path))
    return replace(WORDS, series=("fixed", *files)), files


def test_patches_of_ones_own_are_searched_on_top_of_ours(
    stacked: tuple[RunSpec, list[str]],
) -> None:
    words, _ = stacked
    made = kinds.patches(words, toy.tree(), "0030", "")
    names = [state.name for state in made.states]
    assert names[-2:] == ["0001-mine.patch", "0002-mine.patch"] and len(names) == 3
    assert names[0].startswith("0030-")
    assert [made.specs[name].upto for name in names] == names
    by_itself = kinds.patches(words, toy.tree(), "", "")
    assert by_itself.states == made.states


def test_two_patches_of_one_name_are_not_told_apart(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        path = tmp_path / name / "0001-fix.patch"
        path.parent.mkdir()
        path.write_text(toy.mail(f"[PATCH] mm: {name}", toy.change("mm/migrate.c", "-1", "-2")))
        files.append(str(path))
    said = "two patches are named 0001-fix.patch: 'mm: one' and 'mm: two'"
    with pytest.raises(InputError, match=said):
        kinds.patches(replace(WORDS, series=tuple(files)), toy.tree(), "", "")
    other = tmp_path / "0001-fix~2.patch"  # nobody's second name
    Path(files[0]).rename(other)
    made = kinds.patches(replace(WORDS, series=(str(other),)), toy.tree(), "", "")
    assert [state.name for state in made.states] == ["none", other.name]


def test_a_series_is_searched_from_nothing() -> None:
    words = replace(WORDS, series=("posted",))
    made = kinds.patches(words, toy.tree(), "", "0002")
    assert [state.name[:4] for state in made.states] == ["none", "0001", "0002"]
    assert made.specs["none"].series == ("none",)
    with pytest.raises(InputError, match="no patch between"):
        kinds.patches(words, toy.tree(), "0002", "0001")
    with pytest.raises(InputError, match="--good 9: no patches"):
        kinds.patches(words, toy.tree(), "9", "")


def test_options_are_changed_one_by_one(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=3\n")
    bad.write_text("CONFIG_C=4\nCONFIG_A=y\nCONFIG_D=m\n")
    made = kinds.options(WORDS, good, bad)
    assert [state.name for state in made.states] == [
        "good", "CONFIG_C=4", "CONFIG_D=m", "CONFIG_B=n",
    ]  # fmt: skip
    assert made.specs["CONFIG_D=m"].config == ("A=y", "B=y", "C=4", "D=m")
    assert made.specs["CONFIG_B=n"].config == ("A=y", "B=n", "C=4", "D=m")
    bad.write_text(good.read_text())
    with pytest.raises(InputError, match="configure the same"):
        kinds.options(WORDS, good, bad)


def test_options_of_ones_own_stay_while_others_are_searched(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("CONFIG_A=y\nCONFIG_B=y\n")
    bad.write_text("CONFIG_A=y\nCONFIG_B=m\n")
    made = kinds.options(replace(WORDS, config=("A=n", "E=y")), good, bad)
    assert made.specs["good"].config == ("A=n", "B=y", "E=y")
    assert made.specs["CONFIG_B=m"].config == ("A=n", "B=m", "E=y")
    with pytest.raises(InputError, match="--config B=n: that option is one of those searched"):
        kinds.options(replace(WORDS, config=("E=y", "B=n")), good, bad)


DROPPED = "CONFIG_Z: wanted y, got n: it depends on SWAP\nCONFIG_Y: wanted y, got n: on Z"


def unfit_from(first: int, last: int) -> Callable[[State, int], Trial]:
    """From first to last they have a configuration that Kconfig does not take; behind it is bad."""

    def run(state: State, seed: int) -> Trial:
        at = number(state.name)
        if first <= at <= last:
            return Trial(state.name, seed, BUILD, "dropped", unfit=DROPPED)
        return Trial(state.name, seed, FAIL if at > last else PASS, "said")

    return run


def test_a_configuration_that_kconfig_does_not_take_is_neither_good_nor_bad(tmp_path: Path) -> None:
    own = Runs(unfit_from(2, 3), tmp_path / "a", 7, Silent())
    answer = line(states(6), own, tries=3, confidence=0.95)
    assert [state.name for state in answer.first] == ["s2", "s3", "s4"]
    assert answer.standing(State("s2", "state 2")) is Standing.UNTESTABLE
    own = Runs(unfit_from(2, 5), tmp_path / "b", 7, Silent())
    with pytest.raises(InputError, match="cannot be had: CONFIG_Z: wanted y, got n: it depends"):
        line(states(6), own, tries=3, confidence=0.95)
    assert len(own.trials) == 1


@pytest.mark.parametrize("options", [True, False])
def test_whether_a_refused_option_says_anything_is_the_searchs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: bool
) -> None:
    verdict = Verdict(BUILD, "CONFIG_Z=y was asked for and Kconfig dropped it", "")
    error = {"kind": "ConfigError", "detail": DROPPED}
    record = SimpleNamespace(verdict=verdict, seconds=1.0, error=error)
    monkeypatch.setattr(pipeline, "run", lambda *_: (record, tmp_path))
    run = kinds.runner(lambda _: WORDS, Silent(), options=options)
    assert run(State("CONFIG_Z=y"), 7).unfit == (DROPPED if options else "")


# --- the record of a search ------------------------------------------------------------------


Records = Callable[..., Path]


@pytest.fixture
def record_of(within: Program, monkeypatch: pytest.MonkeyPatch) -> Records:
    """The folder of the record that a search with these words would have."""
    seen: list[Path] = []

    def search_(*_: object, **__: object) -> Found:
        raise InputError("no more than that")

    def noted(run: object, folder: Path, *_: object) -> None:
        seen.append(folder)

    patched = SimpleNamespace(digest="the same files in the end")
    monkeypatch.setattr(pipeline, "fetch", lambda *_: toy.tree())
    monkeypatch.setattr(pipeline, "apply", lambda *_: patched)
    monkeypatch.setattr(search, "Runs", noted)
    monkeypatch.setattr(search, "line", search_)
    monkeypatch.setattr(commits, "search", search_)

    def record(*words: str) -> Path:
        done = within("bisect", "compaction", *words)
        assert "no more than that" in done.stderr
        return seen[-1]

    return record


def test_a_record_is_of_what_the_configurations_hold(record_of: Records, tmp_path: Path) -> None:
    """And not of the option's name alone: both are given what it needs, and it is tried again."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("CONFIG_A=y\n")
    bad.write_text("CONFIG_A=y\nCONFIG_B=y\n")
    words = ("--options", str(good), str(bad))
    first = record_of(*words)
    assert record_of(*words) == first
    for path in (good, bad):
        path.write_text(f"CONFIG_SWAP=y\n{path.read_text()}")
    assert record_of(*words) != first


def test_a_record_is_of_the_patches_and_of_the_code_that_judges(
    record_of: Records,
    stacked: tuple[RunSpec, list[str]],
    history: tuple[Path, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, files = stacked
    patches = ("--series", "fixed", *files)
    span = ("--tree", str(history[0]), "--commits", f"{history[1][0]}..main", *patches)
    first, of_commits = record_of(*patches), record_of(*span)
    assert (record_of(*patches), record_of(*span)) == (first, of_commits)
    diff = toy.change("mm/migrate.c", "-1", "-3")
    Path(files[0]).write_text(toy.mail("[PATCH] 0001-mine.patch", diff))
    again = record_of(*patches)
    assert first != again and record_of(*span) != of_commits
    monkeypatch.setattr(judges, "code", lambda: "of another day")
    assert record_of(*patches) != again


# --- as git bisect run wants it ---------------------------------------------------------


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (SystemExit(0), 0),
        (SystemExit(1), 1),
        (SystemExit(3), 1),
        (SystemExit(5), 125),
        (SystemExit(6), 1),
        (SystemExit(7), 125),
        (SystemExit(8), 125),
        (SystemExit(9), 125),
        (SystemExit(10), 125),
        (SystemExit(143), 143),
        (InputError("no"), 128),
        (InfraError("no"), 125),
        (ZeroDivisionError(), 128),
    ],
)
def test_exit_codes_of_git(
    monkeypatch: pytest.MonkeyPatch, ended: BaseException, code: int
) -> None:
    def ends(*_: object) -> None:
        raise ended

    monkeypatch.setattr(experiments, "_run", ends)
    monkeypatch.setattr(sys, "argv", ["pinpage", "run", "compaction", "--bisect-exit"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == code


@pytest.mark.parametrize(
    "words",
    [
        ["run", "compaction", "--typo"],
        ["run", "compaction", "--memory", "much"],
        ["--typo", "run", "compaction"],
        ["run", "--typo", "nothing"],
    ],
)
def test_words_that_are_wrong_stop_git(within: Program, words: list[str]) -> None:
    """The 2 of an option that there is not would make good states bad."""
    assert within(*words).returncode == 2
    assert within(*words, "--bisect-exit").returncode == 128


def test_what_breaks_before_the_run_stops_git(
    within: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(experiments.run, "parse_args", broken)
    assert within("run", "compaction").returncode == 9
    assert within("run", "compaction", "--bisect-exit").returncode == 128
    monkeypatch.setattr(inside.execute, "parse_args", broken)
    assert within("exec", "--", "program", "--bisect-exit").returncode == 209  # a guest's words
