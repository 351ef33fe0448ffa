# SPDX-License-Identifier: GPL-2.0-only
"""How an experiment's end becomes a verdict, with the experiment itself left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from made_evidence import SPLAT, TREATED, Case

from harness import pipeline, scenario
from harness.build import symbols
from harness.build.origin import Origins
from harness.errors import GuestCrash, ToolError
from harness.model import Culprit, Event, Outcome, Silent, Splat, Verdict


def judged(monkeypatch: pytest.MonkeyPatch, experiment: Any) -> Verdict:
    state = pipeline._Run(cast(Any, None), "run", Path("nowhere"), "")
    monkeypatch.setattr(pipeline, "_experiment", lambda plan, state, progress: experiment(state))
    return pipeline._judged(scenario.get("compaction"), state, Silent())[0]


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
