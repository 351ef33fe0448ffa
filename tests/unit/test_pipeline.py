# SPDX-License-Identifier: GPL-2.0-only
"""How an experiment's end becomes a verdict, with the experiment itself left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fake_guest import FakeGuest
from hypothesis import example, given
from hypothesis import strategies as st
from made_evidence import SPLAT, TREATED, Case

from harness import arch, pipeline, resources, scenario, spec
from harness.build import symbols
from harness.build.origin import Origins
from harness.errors import GuestCommandError, GuestCrash, InputError, ToolError
from harness.model import (
    BuildArtifacts,
    Culprit,
    Event,
    Outcome,
    Profile,
    RunSpec,
    Setting,
    Silent,
    Splat,
    Verdict,
)
from harness.pipeline import boots, runs
from harness.pipeline.state import INNER, Given, State, id_of
from harness.stored import form
from harness.vm import begin


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def judged(monkeypatch: pytest.MonkeyPatch, experiment: Any) -> Verdict:
    state = State(cast(Any, None), "run", Path("nowhere"), "")
    monkeypatch.setattr(runs, "_experiment", lambda plan, state, progress: experiment(state))
    return runs._judged(scenario.get("compaction"), state, Silent())[0]


@pytest.mark.parametrize("splats", [[], [SPLAT]])
def test_evidence_that_cannot_be_read_has_a_verdict(
    splats: list[Splat], monkeypatch: pytest.MonkeyPatch
) -> None:
    def experiment(state: Any) -> None:
        state.arms, state.events = (TREATED,), Case().events()
        state.events.append(Event("treated", "pinner", "ledger", {"when": "after"}))
        state.splats += splats

    verdict = judged(monkeypatch, experiment)
    assert verdict.outcome is (Outcome.CRASH if splats else Outcome.INFRA)
    assert "malformed" in verdict.reason


def test_a_report_that_went_on_after_the_error_is_one_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def experiment(state: Any) -> None:
        half = Splat(SPLAT.kind, SPLAT.title, "", SPLAT.first_line, 12, "half", fatal=False)
        state.arms = (TREATED,)
        state.splats.append(SPLAT)
        raise GuestCrash("the kernel crashed", splats=(half,))

    verdict = judged(monkeypatch, experiment)
    assert verdict.outcome is Outcome.CRASH
    assert verdict.splats == (SPLAT,) and "reports in all" not in verdict.reason


@pytest.mark.parametrize("works", [True, False])
def test_a_report_names_its_patch_and_is_a_crash_without_that_too(
    works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    culprit = Culprit("0003-x.patch", "mm: x", "mm/migrate.c", 878, "f", brought=True)

    def explain(splats: list[Splat], build: object, origins: object) -> list[Splat]:
        if not works:
            raise ToolError("addr2line failed")
        return [replace(each, culprit=culprit) for each in splats]

    def experiment(state: Any) -> None:
        state.arms = (TREATED,)
        state.kernels["treated"] = SimpleNamespace(artifacts=None, origins=Origins({}, {}, {}))
        state.splats.append(replace(SPLAT, arm="treated"))
        raise GuestCrash("the kernel crashed", splats=(SPLAT,))

    monkeypatch.setattr(symbols, "explain", explain)
    verdict = judged(monkeypatch, experiment)
    assert verdict.outcome is Outcome.CRASH
    said = "; blame: 0003 mm: x, mm/migrate.c:878"
    assert verdict.reason.endswith(said) is works
    assert verdict.splats[0].culprit == (culprit if works else None)


@pytest.mark.parametrize("ends", [None, GuestCrash("it crashed")])
def test_who_looks_on_hears_of_all(
    ends: GuestCrash | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of each event when it comes, and of what ends the arm; nothing is kept from the record."""
    heard: list[object] = []
    one, other = (Event("treated", "harness", name) for name in ("one", "other"))

    @contextmanager
    def boot(*_: object) -> Iterator[Any]:
        yield SimpleNamespace(argv=("qemu",), origin="booted")

    @contextmanager
    def look(scene: pipeline.Scene) -> Iterator[Any]:
        heard.append((scene.arm.name, scene.guest.origin, len(scene.arms)))
        try:
            yield heard.append
        except GuestCrash as error:
            heard.append(error)
            raise
        heard.append("the end")

    def drive(guest: Any, arm: Any, seed: int, params: Any, emit: Any) -> None:
        emit(one)
        emit(other)
        if ends is not None:
            raise ends

    monkeypatch.setattr(runs, "boot", boot)
    chosen = pipeline.choose(RunSpec("compaction", "6.12", "x86_64", ("fixed",), "fast", 1))
    state = State(chosen, "run", tmp_path, "", look=look, arms=(TREATED,))
    plan = cast(Any, SimpleNamespace(drive=drive))
    ready = pipeline.Bootable(chosen, chosen.spec, *(cast(Any, None),) * 3)
    with suppress(GuestCrash):
        runs._one_arm(plan, TREATED, ready, state, Silent())
    assert state.events == [one, other]
    assert heard == [("treated", "booted", 1), one, other, ends or "the end"]


def test_what_a_profile_has_written_to_a_guest() -> None:
    guest, notes = FakeGuest(), Notes()
    guest.refusals = {"no": "Invalid argument"}
    own = (Setting("/sys/kernel/debug/kcsan", "on"), Setting("/sys/x", "no", optional=True))
    boots._set(cast(Any, guest), Profile("keen", "", settings=own), (), notes)
    assert [step for step in guest.done if step.startswith("write")] == [
        "write /sys/kernel/debug/kcsan on",
        "write /sys/x no",
    ]
    assert notes.said == ["profile keen: no 'no' in /sys/x"]
    refused = Profile("keen", "", settings=(Setting("/x", "no"),))
    with pytest.raises(GuestCommandError):
        boots._set(cast(Any, guest), refused, (), notes)


def test_a_users_parameter_is_not_written_over() -> None:
    guest = FakeGuest()
    folder = "/sys/module/the_one/parameters"
    own = (Setting(f"{folder}/rate", "400"), Setting(f"{folder}/delay", "80"))
    words = ("quiet the-one.rate=7", "other.delay=1", "delay=2")
    boots._set(cast(Any, guest), Profile("keen", "", settings=own), words, Notes())
    assert [step for step in guest.done if "write" in step] == [f"write {folder}/delay 80"]


def test_a_guest_is_as_its_profile_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, Any] = {}

    @contextmanager
    def boot(*parts: Any, **words: Any) -> Iterator[FakeGuest]:
        given.update(words)
        yield FakeGuest()

    monkeypatch.setattr(begin, "boot", boot)
    monkeypatch.setattr(boots, "_check_identity", lambda said, artifacts: None)
    chosen = pipeline.choose(RunSpec("compaction", "6.12", "x86_64", ("fixed",), "fast", 1))
    keen = Profile("keen", "", slowdown=4.0, append=("a=1",), memory_mib=256, smp=2)
    artifacts = BuildArtifacts(*(cast(Any, tmp_path),) * 4, {}, "k", *(cast(Any, None),) * 6)
    words = replace(chosen.spec, memory_mib=512, append=("a=2",), snapshots=False)
    ready = pipeline.Bootable(
        replace(chosen, profile=keen), words, artifacts, cast(Any, None), cast(Any, None)
    )
    with pipeline.boot(ready, tmp_path, Silent()):
        pass
    assert (given["memory_mib"], given["smp"], given["profile_slowdown"]) == (768, 2, 4.0)
    assert given["append"] == ("a=1", "a=2")  # the user's come last, and so win
    with pipeline.boot(replace(ready, words=replace(words, smp=4)), tmp_path, Silent()):
        pass
    assert given["smp"] == 4


@given(
    st.from_regex("[A-Za-z0-9_]{1,255}", fullmatch=True),  # as a scenario's YAML may be called
    st.sampled_from([each.name for each in spec.kernels()]),
    st.sampled_from(sorted(arch.all_arches())),
    st.lists(st.text(), min_size=1, max_size=2),
)
@example("compaction", "6.12", "x86_64", ["läuft"])
@example("compaction", "6.12", "x86_64", ["a" * 300])
@example("compaction", "6.12", "x86_64", ["a\n"])
def test_a_runs_id_is_one_that_is_read_again(
    name: str, kernel: str, arch_name: str, series: list[str]
) -> None:
    words = RunSpec(name, kernel, arch_name, tuple(series), "fast", 1)
    assert form.ID.fullmatch(id_of(words, datetime.now(UTC)))


def test_a_runs_id_says_what_ran(tmp_path: Path) -> None:
    words = RunSpec("compaction", "6.12", "x86_64", ("fixed",), "fast", 1, keep=tmp_path)
    made = pipeline.state.begin(pipeline.choose(words), Given())
    assert "-compaction-6.12-x86_64-fixed-" in made.id and made.folder == tmp_path / made.id


def test_the_latest_run_is_found_wherever_it_was_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(resources, "state", lambda: tmp_path / "state")
    ours, other = tmp_path / "state" / "runs", tmp_path / "other"
    for folder in (ours / "a", ours / "b", other / "c"):
        folder.mkdir(parents=True)
        runs._point_latest(folder)
        assert (ours / "latest").resolve() == folder
    assert (other / "latest").resolve() == other / "c"
    runs._point_latest(ours / "b")
    assert (ours / "latest").resolve() == ours / "b"
    monkeypatch.setenv(INNER, "1")  # one of many, which may be gone soon
    runs._point_latest(other / "c")
    assert (ours / "latest").resolve() == ours / "b"
    assert not list(ours.glob(".*"))


@pytest.mark.parametrize("booted", [False, True])
def test_bad_words_take_no_evidence_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, booted: bool
) -> None:
    """A tree that was edited meanwhile, seen where a later kernel of the run is built."""

    def experiment(plan: Any, state: State, progress: Any) -> None:
        if booted:
            state.guests["treated"] = "booted"
            state.events.append(Event("treated", "vmstat", "before", {"pgmigrate_success": 1}))
        raise InputError("the tree has changed since it was read")

    monkeypatch.setattr(runs, "_experiment", experiment)
    notes = Notes()
    with pytest.raises(InputError, match="has changed"):
        words = RunSpec("compaction", "6.12", "x86_64", ("none",), "fast", 1)
        words = replace(words, keep=tmp_path, params=scenario.params("compaction", ()))
        runs.run(words, notes)
    left = [json.loads(path.read_text()) for path in tmp_path.glob("*/run.json")]
    assert [(run["interrupted"], run["verdict"]) for run in left] == [(True, "INFRA")] * booted
    assert [*tmp_path.glob("*/events.jsonl")] != [] if booted else not any(tmp_path.iterdir())
    assert len(notes.said) == booted
