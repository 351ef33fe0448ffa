# SPDX-License-Identifier: GPL-2.0-only
"""What grows from round to round is leaked, and what only moves is noise. Pure.

The rule. A run has working rounds, of two sizes, and idle ones, in which the same is done but for
the work. Of a count that is read after each, ``LEAKS`` says that it leaks where

1. it grew in every working round, and in each by more than in any idle one;
2. by about as much each time: from round to round, for each operation, or for each page that moved,
   the largest growth is at most ``ALIKE`` times the smallest, as how many pages fail, and leak by
   it, differs a little;
3. and it is not given back: over all rounds it grew by more than half of that;
4. and what grew by less than ``FEW`` a round did so in ``SURE`` of them: a process takes a page
   more now and then, and did in each of four.

Noise that goes up and down fails the first in one round of two. What fills up, as a cache does or
the stacks that page_owner remembers, fails it once it is full. What drifts by itself drifts in the
idle rounds. What is kept while there is work, and given back after it, fails the third.

A count that nothing but the work can change, and that is as it was once all is freed, has no noise.
For such a one it is enough that it ``sticks``: it never falls, idle rounds leave it alone, and at
least ``OFTEN`` working rounds added to it. In some rounds nothing may have failed that leaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

WORKING = 4  # rounds of work that are needed to tell, and IDLE others
IDLE = 2
OFTEN = 2
FEW, SURE = 4, 6
ALIKE = 2.0
# Pages that the system itself may take or give back from one round to the next, at least: what
# the idle rounds show may be less by chance.
NOISE = 48


@dataclass(frozen=True)
class Round:
    """Its number and its operations, 0 where it was an idle one. moved: pages that moved in it, 0
    where nobody counted them."""

    number: int
    ops: int
    moved: int = 0


@dataclass(frozen=True)
class Growth:
    """By how much a count grew in each working round; rounds: those."""

    rounds: tuple[Round, ...]
    steps: tuple[int, ...]
    idle: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.steps)

    @property
    def mean(self) -> float:
        return self.total / len(self.steps)

    @property
    def leaks(self) -> bool:
        if len(self.steps) < WORKING or len(self.idle) < IDLE:
            return False
        if self.mean < FEW and len(self.steps) < SURE:
            return False
        if min(self.steps) <= max(0, *self.idle) or -sum(self.idle) * 2 >= self.total:
            return False
        shares: list[Sequence[float]] = [self.steps]
        for sizes in ([own.ops for own in self.rounds], [own.moved for own in self.rounds]):
            if all(sizes):
                shares.append([step / size for step, size in zip(self.steps, sizes, strict=True)])
        return any(max(some) <= ALIKE * min(some) for some in shares)

    @property
    def sticks(self) -> bool:
        if len(self.steps) < WORKING or len(self.idle) < IDLE:
            return False
        grew = sum(step > 0 for step in self.steps)
        return grew >= OFTEN and min(self.steps) >= 0 and not any(self.idle)

    @property
    def noise(self) -> int:
        """What the sum of all working rounds may be off by."""
        return max(NOISE, 2 * max(map(abs, self.idle), default=0)) * 2

    def __str__(self) -> str:
        if min(self.steps) == max(self.steps):
            return f"{self.steps[0]:,} a round"
        if any(own.ops != self.rounds[0].ops for own in self.rounds):
            each = self.total / sum(own.ops for own in self.rounds)
            return f"{min(self.steps):,} to {max(self.steps):,} a round, {each:.2g} an operation"
        return f"{min(self.steps):,} to {max(self.steps):,} a round"


def growth(rounds: Sequence[Round], values: Sequence[int]) -> Growth:
    """values: of a count, before the first of the rounds and after each."""
    if len(values) != len(rounds) + 1:
        raise ValueError(f"{len(rounds)} rounds have {len(values)} values")
    steps = [after - before for before, after in pairwise(values)]
    working = [(own, step) for own, step in zip(rounds, steps, strict=True) if own.ops]
    return Growth(
        tuple(own for own, _ in working),
        tuple(step for _, step in working),
        tuple(step for own, step in zip(rounds, steps, strict=True) if not own.ops),
    )


def enough(rounds: Iterable[Round]) -> bool:
    """Whether so many rounds were made that a leak can be told."""
    ops = [own.ops for own in rounds]
    return len([each for each in ops if each]) >= WORKING and ops.count(0) >= IDLE
