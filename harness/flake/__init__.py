# SPDX-License-Identifier: GPL-2.0-only
"""Many runs of the same, to measure how often a verdict is not the right one.

A **cell** is what is tried: scenario, kernel, architecture, profile, series. It has a verdict that
is right, and is run for a number of seeds, each once or several times. Runs of a cell and a seed
are equal: where their verdicts differ it is called flaky. A SKIP says nothing of either.

Runs are programs of their own, a bounded number at once. What came of each is a line of
``results.jsonl``, written when it ends: an interrupted measurement goes on where it was. The folder
of a run is kept where its verdict is not the right one.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness import cache
from harness.errors import InputError
from harness.flake.inputs import meant
from harness.model import Outcome, Progress, RunSpec

_POLL = 0.2
_PLAN, _RESULTS, _RUNS = "plan.json", "results.jsonl", "runs"
_FORMAT = 2
_LONGEST = 200  # bytes of a run's name before its digest, seed and turn: a folder's has 255


@dataclass(frozen=True)
class Cell:
    """What is tried, and the verdict that is right for it."""

    scenario: str
    kernel: str
    arch: str
    profile: str
    series: tuple[str, ...]
    right: Outcome


@dataclass(frozen=True)
class Job:
    """One run of a cell; turn: from 0, of those that are equal. inputs: a digest of what else it
    comes from than the words."""

    cell: Cell
    spec: RunSpec
    turn: int
    inputs: str = ""

    @property
    def name(self) -> str:
        """Its own among those of a plan, and good for a folder's."""
        cell = self.cell
        words = (cell.scenario, cell.kernel, cell.arch, cell.profile, *cell.series)
        plain = os.fsencode("-".join(words).replace("/", "_"))[:_LONGEST].decode(errors="ignore")
        return f"{plain}-{cache.key(*words)[:8]}-s{self.spec.seed}-t{self.turn}"


@dataclass(frozen=True)
class Ran:
    """What came of a run. guests: arm → booted or restored. builds: keys of its kernels."""

    job: str
    verdict: Outcome
    reason: str = ""
    seconds: float = 0.0
    guests: Mapping[str, str] = field(default_factory=dict)
    builds: tuple[str, ...] = ()
    folder: str = ""  # "" where it was not kept


class Running(Protocol):
    """A run that was started."""

    def poll(self) -> Ran | None:
        """What came of it, None while it goes on."""
        ...

    def stop(self) -> None:
        """End it, and whatever it started."""
        ...


Start = Callable[[Job, Path], Running]


def jobs(
    cells: Sequence[Cell],
    seeds: Sequence[int],
    repeat: int,
    spec_of: Callable[[Cell, int], RunSpec],
    code: str = "",
) -> tuple[Job, ...]:
    """Seed by seed through all cells, so that one that is cut short has seen something of each.

    code: a digest of the code that judges. With it goes what the words of a cell mean: results of
    what is gone are no results. (Of a tree the builds tell.)
    """
    inputs = {cell: cache.key(code, meant(spec_of(cell, seeds[0]))) for cell in cells}
    return tuple(
        Job(cell, spec_of(cell, seed), turn, inputs[cell])
        for turn in range(repeat)
        for seed in seeds
        for cell in cells
    )


def measure(
    plan: Sequence[Job], folder: Path, start: Start, progress: Progress, *, at_once: int = 1
) -> list[Ran]:
    """Run what of the plan has no result yet; every result there is, in the plan's order.

    InputError where the folder holds another plan's results. An interruption ends the runs that
    go on, and comes out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with cache.locked(folder / "lock", "measures in this folder", progress):
        return _measure(plan, folder, start, progress, at_once)


def _measure(
    plan: Sequence[Job], folder: Path, start: Start, progress: Progress, at_once: int
) -> list[Ran]:
    done = _begin(plan, folder)
    waiting = [job for job in plan if job.name not in done]
    if done:
        progress.note(f"{len(done)} of {len(plan)} runs were done before")
    going: dict[str, tuple[Job, Running]] = {}
    progress.stage("runs")
    try:
        while waiting or going:
            while waiting and len(going) < at_once:
                job = waiting.pop(0)
                own = folder / _RUNS / job.name
                shutil.rmtree(own, ignore_errors=True)  # what an interrupted one has left
                going[job.name] = job, start(job, own)
            progress.advance(len(done), len(plan), next(iter(going)))
            for ran in _ended(going):
                job, _ = going.pop(ran.job)
                done[ran.job] = _kept(ran, job, folder)
                cache.append_line(folder / _RESULTS, _line(done[ran.job]))
                if done[ran.job].folder:
                    progress.note(f"{ran.job}: {ran.verdict.value} {ran.reason}")
            if len(going) == at_once or (going and not waiting):
                time.sleep(_POLL)  # between two looks at the runs that go on
    finally:
        for _, running in going.values():
            running.stop()
    return [done[job.name] for job in plan]


def _ended(going: Mapping[str, tuple[Job, Running]]) -> Iterator[Ran]:
    """Each as it is found: an interruption at the next look takes nothing away."""
    for _, running in list(going.values()):
        ran = running.poll()
        if ran is not None:
            yield ran


def _begin(plan: Sequence[Job], folder: Path) -> dict[str, Ran]:
    """Results of an earlier measurement of the same."""
    written = _as_json(plan)
    there = cache.read_json(folder / _PLAN)
    if there is None:
        cache.write_json(folder / _PLAN, written)
    elif there != written:
        raise InputError(
            f"{folder} holds the results of another measurement",
            hint="give the same words as then to go on with it, or name another folder with --keep",
        )
    names = {job.name for job in plan}
    found = map(_ran, cache.lines(folder / _RESULTS))
    return {ran.job: ran for ran in found if ran.job in names}


def digest(plan: Sequence[Job]) -> str:
    """A name for a plan."""
    return cache.key(json.dumps(_as_json(plan), sort_keys=True))[:16]


def _as_json(plan: Sequence[Job]) -> dict[str, Any]:
    listed = [
        {
            "name": job.name,
            "right": job.cell.right,
            "spec": asdict(job.spec),
            "inputs": job.inputs,
        }
        for job in plan
    ]
    made: dict[str, Any] = json.loads(json.dumps({"format": _FORMAT, "jobs": listed}, default=str))
    return made


def _line(ran: Ran) -> dict[str, Any]:
    return {**asdict(ran), "guests": dict(ran.guests)}


def _ran(data: Mapping[str, Any]) -> Ran:
    return Ran(**{**data, "verdict": Outcome(data["verdict"]), "builds": (*data["builds"],)})


def _kept(ran: Ran, job: Job, folder: Path) -> Ran:
    """Only the folder of an odd run is kept."""
    own = folder / _RUNS / job.name
    odd = ran.verdict not in (job.cell.right, Outcome.SKIP)
    if not odd:
        shutil.rmtree(own, ignore_errors=True)
    fields = {**ran.__dict__, "folder": str(own) if odd else ""}
    return Ran(**fields)
