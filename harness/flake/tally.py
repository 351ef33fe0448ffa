# SPDX-License-Identifier: GPL-2.0-only
"""What many runs come to: a row for each cell, a rate with its bounds, and one answer. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

from harness.flake import Cell, Job, Ran
from harness.model import Outcome

CONFIDENCE = 0.95
FORMAT = 1


@dataclass(frozen=True)
class Flaky:
    """Equal runs with several verdicts: seed, and verdict → how many gave it."""

    seed: int
    counts: Mapping[Outcome, int]


@dataclass(frozen=True)
class Rate:
    """wrong of runs, and the bounds of the rate that they leave open (CONFIDENCE)."""

    wrong: int
    runs: int
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """What a cell came to. rate is None where nothing ran."""

    cell: Cell
    counts: Mapping[Outcome, int]
    guests: int
    rate: Rate | None
    flaky: tuple[Flaky, ...]
    builds: int
    odd: tuple[Ran, ...]


def rows(plan: Sequence[Job], results: Sequence[Ran]) -> list[Row]:
    """A row for each cell, in the plan's order."""
    found = {ran.job: ran for ran in results}
    cells = dict.fromkeys(job.cell for job in plan)
    return [_row(cell, [job for job in plan if job.cell == cell], found) for cell in cells]


def _row(cell: Cell, own: Sequence[Job], found: Mapping[str, Ran]) -> Row:
    ran = [(job, found[job.name]) for job in own if job.name in found]
    counts = Counter(each.verdict for _, each in ran)
    told = sum(counts.values()) - (counts[Outcome.SKIP] if cell.right is not Outcome.SKIP else 0)
    wrong = told - counts[cell.right]
    by_seed: dict[int, Counter[Outcome]] = {}
    for job, each in ran:
        if each.verdict is Outcome.SKIP is not cell.right:
            continue  # it says nothing
        by_seed.setdefault(job.spec.seed, Counter())[each.verdict] += 1
    return Row(
        cell=cell,
        counts=dict(counts.most_common()),
        guests=sum(len(each.guests) for _, each in ran),
        rate=rate(wrong, told) if told else None,
        flaky=tuple(
            Flaky(seed, dict(c.most_common())) for seed, c in by_seed.items() if len(c) > 1
        ),
        builds=len({each.builds for _, each in ran if each.builds}),
        odd=tuple(each for _, each in ran if each.folder),
    )


def rate(wrong: int, runs: int) -> Rate:
    """Wilson's score interval: it keeps its promise where none or few of some dozen runs are wrong,
    which the normal one does not. E. B. Wilson, "Probable Inference, the Law of Succession, and
    Statistical Inference", JASA 22 (1927), 209-212. (statsmodels has it, at the price of SciPy and
    pandas.)
    """
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    p = wrong / runs
    middle = (p + z * z / (2 * runs)) / (1 + z * z / runs)
    half = z / (1 + z * z / runs) * math.sqrt(p * (1 - p) / runs + z * z / (4 * runs * runs))
    low = 0.0 if wrong == 0 else max(0.0, middle - half)
    high = 1.0 if wrong == runs else min(1.0, middle + half)
    return Rate(wrong, runs, low, high)


def total(found: Sequence[Row]) -> Rate | None:
    """All cells together."""
    rates = [row.rate for row in found if row.rate is not None]
    runs = sum(each.runs for each in rates)
    return rate(sum(each.wrong for each in rates), runs) if runs else None


def outcome(found: Sequence[Row]) -> Outcome:
    """PASS: every verdict was the right one; FAIL: one was not, or changed between equal runs;
    SKIP: nothing ran."""
    if any(row.flaky or (row.rate is not None and row.rate.wrong) for row in found):
        return Outcome.FAIL
    return Outcome.PASS if total(found) is not None else Outcome.SKIP


def as_json(found: Sequence[Row], folder: Path) -> dict[str, Any]:
    """The shape that ``pinpage flake --json`` prints."""
    whole = total(found)
    return {
        "format": FORMAT,
        "outcome": outcome(found).value,
        "confidence": CONFIDENCE,
        "folder": str(folder),
        "total": asdict(whole) if whole else None,
        "cells": [
            {
                **{k: v for k, v in asdict(row.cell).items() if k != "right"},
                "right": row.cell.right.value,
                "verdicts": {verdict.value: count for verdict, count in row.counts.items()},
                "guests": row.guests,
                "rate": asdict(row.rate) if row.rate else None,
                "flaky": [
                    {"seed": f.seed, "verdicts": {v.value: n for v, n in f.counts.items()}}
                    for f in row.flaky
                ],
                "builds": row.builds,
                "odd": [
                    {"verdict": r.verdict.value, "reason": r.reason, "folder": r.folder}
                    for r in row.odd
                ],
            }
            for row in found
        ],
    }
