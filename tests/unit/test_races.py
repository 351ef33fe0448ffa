# SPDX-License-Identifier: GPL-2.0-only
"""Races: the schedule is the seed's, the script does what it says, and damage is noticed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import CannotRun, EvidenceError
from harness.parse.ledger import Pin
from harness.scenario import races
from harness.scenario.races import Actor, Round
from harness.scenario.trigger import compact, huge

KINDS = ("offline", "contig")


def test_a_schedule_is_the_seeds() -> None:
    words = (7, 6, 3000, 3, KINDS)
    assert races.schedule(*words) == races.schedule(*words)
    assert races.schedule(*words) != races.schedule(8, *words[1:])
    longer = races.schedule(7, 9, 3000, 3, KINDS)
    assert longer[:6] == races.schedule(*words)


@pytest.mark.parametrize("seed", range(20))
def test_every_round_has_a_compactor_and_is_bounded(seed: int) -> None:
    first, *others = races.schedule(seed, 10, 3000, 3, KINDS)
    assert {actor.kind for actor in first.actors} == {"compact", *KINDS}
    assert [actor.kind for actor in first.actors].count("compact") == 2
    for each in (first, *others):
        assert each.actors[0].kind == "compact"
        assert 1500 <= each.ops <= 3000 and 1 <= each.threads <= 3
        assert all(2 <= actor.times <= 6 for actor in each.actors)
        assert sum(actor.kind == "offline" for actor in each.actors) <= 1


def test_actors_act_side_by_side_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real shell: two compactors take turns from different ends, and a failure is told."""
    monkeypatch.setattr(races, "_DIR", str(tmp_path / "out"))
    log = tmp_path / "log"
    plan = Round(1, 1, 1, (Actor("compact", 3), Actor("compact", 2, 1), Actor("contig", 2)))
    commands = {"compact": [f"echo a >> {log}", f"echo b >> {log}"], "contig": ["true", "false"]}
    text = f"{races.begin(plan, commands)}\nwait\ncat {tmp_path}/out/*"
    said = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True)
    assert sorted(log.read_text().split()) == ["a", "a", "a", "b", "b"]
    assert said.stdout.splitlines()[:5] == ["compact 0"] * 5
    told = races.told(said.stdout)
    assert told == {"compact": (5, 0), "contig": (1, 1)}
    races.complete(told, plan)
    with pytest.raises(EvidenceError, match="compact was due 5 times, and 4 are on record"):
        races.complete({**told, "compact": (3, 1)}, plan)
    with pytest.raises(EvidenceError, match="contig was due 2 times, and 0"):
        races.complete({"compact": (5, 0)}, plan)


ROWS = (Pin(1, 10, 11, 1, 0, "stored"), Pin(2, 20, 20, 0, -11, "stored"))
COUNTERS = {
    "pinned": 2,
    "stored": 5,
    "freed": 3,
    "corrupt": 0,
    "lost": 0,
    "churn_ops": 20,
    "churn_errors": 0,
    "churn_errno": 0,
    "visits": 0,
    "callbacks": 4,
    "migrated": 1,
    "refused": 3,
}
PLAN = Round(10, 2, 1, ())


def test_a_whole_round_has_no_damage() -> None:
    assert races.damage(ROWS, COUNTERS, COUNTERS, PLAN, "treated") == ""
    still = COUNTERS | {"callbacks": 0, "migrated": 0, "refused": 0}
    assert races.damage(ROWS, COUNTERS, still, PLAN, "control") == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"corrupt": 1}, "1 objects were corrupt and 0 lost"),
        ({"lost": 2}, "0 objects were corrupt and 2 lost"),
        ({"stored": 6}, "6 were stored and 3 freed, yet 2 are pinned"),
        ({"callbacks": 5}, "5 callbacks, of which 1 moved a page and 3 refused"),
        ({"churn_ops": 19}, "19 of 20 operations were done"),
        ({"churn_errors": 3, "churn_errno": 16}, "3 operations were refused, the first with EBUSY"),
        ({"migrated": 0, "callbacks": 3}, "no page moved, so nothing has raced"),
    ],
)
def test_damage_is_named(change: dict[str, int], said: str) -> None:
    values = COUNTERS | change
    assert said in races.damage(ROWS, values, values, PLAN, "treated")


def test_further_systems_have_to_come_and_go() -> None:
    plan, values = Round(5000, 2, 1, ()), COUNTERS | {"churn_ops": 10_000}
    said = "no further system came and went"
    assert races.damage(ROWS, values, values, plan, "treated") == said
    values |= {"visits": 1}
    assert races.damage(ROWS, values, values, plan, "treated") == ""
    still = values | {"visits": 0, "callbacks": 0, "migrated": 0, "refused": 0}
    assert races.damage(ROWS, values, still, plan, "control") == ""


def test_plain_pages_are_not_asked_and_bad_rows_are_named() -> None:
    assert "asked to move 4 times" in races.damage(ROWS, COUNTERS, COUNTERS, PLAN, "control")
    bad = (*ROWS, Pin(3, 30, 30, 0, 0, "corrupt"))
    assert "handle 3 is corrupt" in races.damage(bad, COUNTERS, COUNTERS, PLAN, "treated")
    bad = (*ROWS, Pin(3, 30, 30, 0, -22, "stored"))
    assert "was to move unregistered" in races.damage(bad, COUNTERS, COUNTERS, PLAN, "treated")


@pytest.mark.parametrize("corrupt", [0, 1])
def test_a_standstill_does_not_hide_damage(corrupt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = races.schedule(1, 1, 1000, 1, ("offline",))[0]
    state = "corrupt" if corrupt else "stored"
    record = SimpleNamespace(
        pins=lambda: (Pin(1, 10, 10, 0, -16, state), Pin(2, 20, 20, 0, 0, "stored")),
        arm=SimpleNamespace(role="treated"),
        guest=SimpleNamespace(must=lambda *words, **more: ""),
        control=lambda *words, **more: None,
        vmstat=lambda *words, **more: None,
        event=lambda *words, **more: None,
        in_use=lambda frames: True,
    )
    own: Any = SimpleNamespace(record=record, attempts=None)
    before = {**COUNTERS, "migrated": 0, "refused": 0, "callbacks": 0, "churn_ops": 0}
    after = {**before, "corrupt": corrupt, "churn_ops": plan.ops * plan.threads}
    counters = iter([before, after])
    race = races._Race(own, plan, {"compact": ["x"], "offline": ["y"]})
    monkeypatch.setattr(races._Race, "_counters", lambda _: next(counters))
    monkeypatch.setattr(races._Race, "_migrated", lambda _: 0)
    monkeypatch.setattr(races._Race, "_churned", lambda _: None)
    monkeypatch.setattr(races._Race, "_settled", lambda _: True)
    monkeypatch.setattr(compact, "scanned", lambda guest: 0)
    monkeypatch.setattr(compact, "tires", lambda guest: True)
    monkeypatch.setattr(huge, "meminfo", lambda guest: {"MemTotal": 1 << 20})
    if not corrupt:
        with pytest.raises(CannotRun, match="standstill"):
            race._raced()
        return
    done = race._raced()
    assert done.errno == 5 and "handle 1 is corrupt" in done.said
