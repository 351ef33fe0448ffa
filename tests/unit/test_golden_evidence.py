# SPDX-License-Identifier: GPL-2.0-only
"""Evidence recorded from real kernels, judged again: the verdict, counts and witnesses stay.

``tests/golden/evidence/<name>.jsonl.xz`` is the events.jsonl of a run, ``<name>.json`` what is to
be found in it; ``--rewrite-golden`` writes the latter.
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from harness import scenario
from harness.model import Event
from harness.pages import ledger
from harness.verdict import judge

FOLDER = Path(__file__).parents[1] / "golden" / "evidence"
NAMES = sorted(path.name.removesuffix(".jsonl.xz") for path in FOLDER.glob("*.jsonl.xz"))
COUNTS = ("pinned", "migrated", "stayed", "failed", "lost", "corrupt")


def found(name: str) -> dict[str, Any]:
    with lzma.open(FOLDER / f"{name}.jsonl.xz", "rt", encoding="utf-8") as lines:
        events = [Event(**json.loads(line)) for line in lines]
    names = dict.fromkeys(event.arm for event in events)
    arms = tuple(arm for arm in scenario.get("compaction").arms(True, {}) if arm.name in names)
    verdict = judge(arms, events, ledger(events), ())
    return {
        "verdict": verdict.outcome.value,
        "reason": verdict.reason,
        "arms": {
            arm.name: {name: getattr(arm, name) for name in COUNTS}
            | {"order9": [arm.order9_before, arm.order9_after]}
            for arm in verdict.arms
        },
        "witnesses": [
            f"{w.arm}: {w.claim}: {w.source} {w.count}"
            f"{'' if w.complete else ' incomplete'}{'' if w.agrees else ' disagrees'}"
            for w in verdict.witnesses
        ],
    }


def test_there_is_evidence() -> None:
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_recorded_evidence_is_judged_as_before(name: str, request: pytest.FixtureRequest) -> None:
    expected, seen = FOLDER / f"{name}.json", found(name)
    if request.config.getoption("--rewrite-golden"):
        expected.write_text(json.dumps(seen, indent=2) + "\n")
    assert seen == json.loads(expected.read_text())
