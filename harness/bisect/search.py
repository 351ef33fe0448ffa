# SPDX-License-Identifier: GPL-2.0-only
"""Runs states until the first bad one is known. Every run is written down as it ends: a search that
was interrupted goes on where it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness import bisect, cache
from harness.bisect import CERTAIN, Rule, Standing, Trial
from harness.errors import InputError
from harness.model import Outcome, Progress
from harness.report.bisect import short

_RESULTS = "results.jsonl"


@dataclass(frozen=True)
class State:
    """Something that can be run. name: its own among those of a search; title: what it is."""

    name: str
    title: str = ""


@dataclass(frozen=True)
class Found:
    """What a search came to. tried: the states that were run, in their order. first: those that may
    be the first bad."""

    states: tuple[State, ...]
    trials: tuple[Trial, ...]
    rule: Rule
    first: tuple[State, ...]
    confidence: float

    def standing(self, state: State) -> Standing:
        return self.rule.standing(trial for trial in self.trials if trial.state == state.name)


Run = Callable[[State, int], Trial]


@dataclass
class Runs:
    """The runs of a search: those that are on record, and new ones. folder: of the record."""

    run: Run
    folder: Path
    seed: int
    progress: Progress
    trials: list[Trial] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.trials = [_trial(each) for each in cache.lines(self.folder / _RESULTS)]
        if self.trials:
            self.progress.note(f"{len(self.trials)} runs were done before")

    def of(self, state: State) -> list[Trial]:
        return [trial for trial in self.trials if trial.state == state.name]

    def once_more(self, state: State) -> Trial:
        """Run it with the next seed; the same seeds for each state."""
        number = len(self.of(state))
        self.progress.note(f"{short(state.name)}: run {number + 1}")
        trial = self.run(state, self.seed + number)
        self.trials.append(trial)
        cache.append_line(self.folder / _RESULTS, asdict(trial))
        self.progress.note(f"{short(state.name)}: {trial.outcome.value} {trial.said}")
        return trial

    def measured(self, bad: State, good: State, tries: int, states: int, confidence: float) -> Rule:
        """Run the bad end, and the good one for as often as that asks for.

        InputError where the bad end is not bad, or the good one not good.
        """
        while len(self.of(bad)) < tries and not any(t.outcome in CERTAIN for t in self.of(bad)):
            self.once_more(bad)
        if unfit := next((trial.unfit for trial in self.of(bad) if trial.unfit), ""):
            raise InputError(
                f"the bad end's configuration cannot be had: {unfit.splitlines()[0]}",
                detail=unfit,
                hint="give both configurations what the option needs, or leave it out of both",
            )
        rule = bisect.rule([trial.outcome for trial in self.of(bad)], states, confidence)
        if rule is None:
            ended = self.of(bad)
            raise InputError(
                f"the bad end {bad.name} was not bad in {len(ended)} runs: {_said(ended)}",
                hint="give the scenario's parameters with which it fails (--set), or more --tries",
            )
        standing = self.settle(good, rule)
        if standing is not Standing.GOOD:
            raise InputError(
                f"the good end {good.name} is not good: {_said(self.of(good))}",
                hint="name a good state with --good",
            )
        left = math.ceil(math.log2(max(states - 1, 1)))
        self.progress.note(
            f"a state is good after {rule.needed} runs that pass; ahead are some {left} of "
            f"{states} states, so at most {left * rule.needed} runs, but for any left out"
        )
        return rule

    def settle(self, state: State, rule: Rule) -> Standing:
        """Run a state until it is known to be good or bad, or cannot be tried."""
        while (standing := rule.standing(self.of(state))) is Standing.UNTRIED:
            self.once_more(state)
        return standing

    def found(self, states: Sequence[State], rule: Rule, first: Sequence[State]) -> Found:
        """What these states came to. It is as sure as it is that none that was called good is bad,
        by the passes of each and the rate of the bad end."""
        passes = [
            sum(trial.outcome is Outcome.PASS for trial in self.of(state))
            for state in states
            if rule.standing(self.of(state)) is Standing.GOOD
        ]
        sure = math.prod(bisect.sure(rule, count) for count in passes)
        return Found(tuple(states), tuple(self.trials), rule, tuple(first), sure)


def line(states: Sequence[State], runs: Runs, *, tries: int, confidence: float) -> Found:
    """Search a line of states, the first of which is good and the last bad."""
    rule = runs.measured(states[-1], states[0], tries, len(states), confidence)
    last = len(states) - 1
    while True:
        standings = {at: rule.standing(runs.of(state)) for at, state in enumerate(states)}
        at = bisect.following(standings, last)
        if at is None:
            break
        runs.settle(states[at], rule)
    return runs.found(states, rule, [states[at] for at in bisect.first_bad(standings, last)])


def _said(trials: Iterable[Trial]) -> str:
    return "; ".join(dict.fromkeys(f"{trial.outcome.value} {trial.said}" for trial in trials))


def _trial(data: Mapping[str, Any]) -> Trial:
    return Trial(**{**data, "outcome": Outcome(data["outcome"])})
