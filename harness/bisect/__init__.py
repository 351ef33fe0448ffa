# SPDX-License-Identifier: GPL-2.0-only
"""Between a state that is good and one that is bad, which one is the first bad. Pure.

States are numbered; state 0 is good and the last is bad. A run tells of one state. One that is bad
says it once and for all (where the machine goes away, two do); a pass does not, where the failure
does not show in every run: so a state is good after as many passes as the rate allows at which the
bad end has failed. One that cannot be tried (it does not apply, or not build) says nothing, and the
answer may be several states then.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.model import CAUGHT, Outcome

# A failure to apply or to build is the same each time; what is ours or the host's is not.
CERTAIN = frozenset({Outcome.PATCH, Outcome.BUILD})
_MOST = 50  # passes that a state may need
_AGAIN = 2  # runs of a state that may come to nothing
_LOST = 2  # machines of a state that go away until it is taken for bad


class Standing(StrEnum):
    """What is known of a state."""

    GOOD = "good"
    BAD = "bad"
    UNTRIED = "untried"  # or not often enough
    UNTESTABLE = "cannot be tried"


@dataclass(frozen=True)
class Trial:
    """One run. state: its name (a patch's, a commit, an option). run: the run's folder. unfit: why
    Kconfig does not take what is asked for, where options are searched: neither good nor bad."""

    state: str
    seed: int
    outcome: Outcome
    said: str = ""
    seconds: float = 0.0
    run: str = ""
    unfit: str = ""


@dataclass(frozen=True)
class Rule:
    """How runs are read. bad: verdicts that count as bad. needed: passes that make a state good.
    rate: at which a bad state fails, as the bad end has shown."""

    bad: frozenset[Outcome]
    needed: int
    rate: float

    def standing(self, trials: Iterable[Trial]) -> Standing:
        """Of one state, by all its runs."""
        own = tuple(trials)
        if any(trial.unfit for trial in own):
            return Standing.UNTESTABLE
        outcomes = [trial.outcome for trial in own]
        if self.failed(own):
            return Standing.BAD
        if outcomes.count(Outcome.PASS) >= self.needed:
            return Standing.GOOD
        nothing = [outcome for outcome in outcomes if outcome is not Outcome.PASS]
        if any(outcome in CERTAIN for outcome in nothing) or len(nothing) >= _AGAIN:
            return Standing.UNTESTABLE
        return Standing.UNTRIED

    def failed(self, trials: Iterable[Trial]) -> int:
        """How many runs of one state were bad."""
        return len(_counted([trial.outcome for trial in trials], self.bad))


def _counted(outcomes: Sequence[Outcome], bad: frozenset[Outcome]) -> list[Outcome]:
    """Those of one state that are bad. A machine that was lost once may be the host's doing."""
    lost = outcomes.count(Outcome.LOST) >= _LOST
    return [each for each in outcomes if each in bad and (lost or each is not Outcome.LOST)]


def rule(ends: Sequence[Outcome], states: int, confidence: float) -> Rule | None:
    """What the runs of the bad end make of the others; None where none of them was bad.

    The rate is taken as (bad + 1) / (runs + 2), Laplace's rule of succession: the few runs of one
    end are no proof that it fails each time. So many passes are needed that, of all states on the
    way (log2, and the good end), none is called good wrongly, with this confidence.
    """
    failed = [outcome for outcome in ends if outcome is not Outcome.PASS]
    caught = _counted(ends, CAUGHT)
    if not caught:
        certain = frozenset(outcome for outcome in failed if outcome in CERTAIN)
        return Rule(certain, 1, 1.0) if certain else None
    rate = (len(caught) + 1) / (len(caught) + ends.count(Outcome.PASS) + 2)
    steps = 1 + math.ceil(math.log2(max(2, states)))
    needed = math.ceil(math.log((1 - confidence) / steps) / math.log(1 - rate))
    return Rule(CAUGHT, min(_MOST, max(1, needed)), rate)


def sure(own: Rule, passes: int) -> float:
    """That a state with so many passes, and nothing else, is good."""
    return float(1 - (1 - own.rate) ** passes)


def following(standings: Mapping[int, Standing], last: int) -> int | None:
    """The state to try now, None where it is known.

    The one that is nearest to the middle of those that could be the first bad, and can be tried.
    """
    good, bad = _ends(standings, last)
    open_ = [
        state
        for state in range(good + 1, bad)
        if standings.get(state, Standing.UNTRIED) is Standing.UNTRIED
    ]
    middle = (good + bad) / 2
    return min(open_, key=lambda state: (abs(state - middle), state), default=None)


def first_bad(standings: Mapping[int, Standing], last: int) -> range:
    """The states that may be the first bad, once nothing is left to try."""
    good, bad = _ends(standings, last)
    return range(good + 1, bad + 1)


def _ends(standings: Mapping[int, Standing], last: int) -> tuple[int, int]:
    """The last good state before the first bad one, and that."""
    bad = min((s for s, what in standings.items() if what is Standing.BAD), default=last)
    good = max((s for s, what in standings.items() if what is Standing.GOOD and s < bad), default=0)
    return good, bad
