# SPDX-License-Identifier: GPL-2.0-only
"""Runs what a pull request has tried, on its merge base and on its head.

Each run is a program of its own, ``pinpage run``, so that the base of this repository is run by its
own code. The folders lie below ``base/`` and ``head/``; where the head fails and the base does not,
both are run again, to tell what fails now and then from what the change has brought.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import flake, scenario
from harness.build import git, patchfile
from harness.errors import InfraError, InputError
from harness.flake import Cell
from harness.flake.child import Child, record_in
from harness.model import Outcome, Patch, Progress, RunSpec
from harness.report.reread import bounded
from harness.stored import kept
from harness.stored.form import MOST_PATCH
from harness.touched import Choice, Job, Table, choose

BASE, HEAD = "base", "head"
SIDES = (BASE, HEAD)
_COMMIT = re.compile(r"[0-9a-f]{12}")  # a patch of a range of commits, see build/series.py
_POLL = 0.2  # seconds between two looks at a run
_SEED = 7


@dataclass(frozen=True)
class Change:
    """A pull request. base: the commit where it left, its merge base. paths: what it touches."""

    repository: Path
    base: str
    head: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Sides:
    """How each side is run. specs: side → words of its runs, but for the job's. code: side → folder
    of the pinpage that runs it, "" for this one."""

    specs: Mapping[str, RunSpec]
    code: Mapping[str, str]


def change(repository: Path, base: str, head: str) -> Change:
    """What lies between head and its merge base with ``base``."""
    if git.top(repository) is None:
        raise InputError(f"{repository} is not the top of a git repository (--repository)")
    first, last = git.commit(repository, base), git.commit(repository, head)
    done = git.run(["merge-base", first, last], repository=repository, check=False)
    if done.status != 0:
        raise InputError(
            f"{base} and {head} of {repository} have no common commit",
            hint="a shallow clone has too little history: fetch with depth 0",
        )
    merge = done.stdout.decode().strip()
    listed = git.run(["diff", "--name-only", "-z", merge, last], repository=repository).stdout
    paths = tuple(p for p in listed.decode(errors="replace").split("\0") if p)
    return Change(repository, merge, last, paths)


def plan(table: Table, made: Change, names: Sequence[str] = ()) -> tuple[Choice, ...]:
    """What is tried; names: of jobs, the only ones wanted. InputError for an unknown scenario."""
    known = scenario.names()
    every = choose(table, made.paths)
    for choice in every:
        if choice.job.scenario not in known:
            raise InputError(
                f"the table names {choice.job.scenario!r}, which is no scenario",
                hint=f"scenarios: {', '.join(known)}",
            )
        scenario.params(choice.job.scenario, choice.job.settings)
    missing = [name for name in names if name not in {choice.job.name for choice in every}]
    if missing:
        raise InputError(
            f"no job is named {missing[0]!r}",
            hint=f"they are: {', '.join(choice.job.name for choice in every)}",
        )
    return tuple(choice for choice in every if not names or choice.job.name in names)


def of_kernel(made: Change, words_of: RunSpec) -> Sides:
    """A kernel's repository: the same series on the tree of each side.

    A line of commits is applied patch by patch beneath it, so that a report can name the one that
    it accuses; a change with merges is its tree.
    """
    span = f"{made.base}..{made.head}"
    listed = git.text(["rev-list", "--merges", span], repository=made.repository)
    base = _with(words_of, tree=f"{made.repository}@{made.base}")
    head = _with(words_of, tree=f"{made.repository}@{made.head}")
    if not listed and made.paths:
        head = _with(base, series=(f"{made.repository}:{span}", *words_of.series))
    return Sides({BASE: base, HEAD: head}, {BASE: "", HEAD: ""})


def of_ours(made: Change, words_of: RunSpec, folder: Path) -> Sides:
    """This repository: each side's own patches, modules and code, in a copy of it."""
    code = {}
    for side, commit in ((BASE, made.base), (HEAD, made.head)):
        copy = folder / f"pinpage-{commit[:12]}"
        if not copy.is_dir():
            copy.mkdir(parents=True)
            git.run(["init", "--quiet", "."], repository=copy)
            fetch = ["fetch", "--quiet", "--depth=1", "--", str(made.repository), commit]
            git.run(fetch, repository=copy)
            git.run(["checkout", "--quiet", "--detach", "FETCH_HEAD"], repository=copy)
        code[side] = str(copy)
    return Sides(dict.fromkeys(SIDES, words_of), code)


def run(
    choices: Sequence[Choice], sides: Sides, folder: Path, again: int, progress: Progress
) -> None:
    """Run each job on both sides, and where only the head fails both so often again."""
    for choice in choices:
        job = choice.job
        outcomes = {side: _one(job, side, sides, folder, 0, progress) for side in SIDES}
        if outcomes[BASE] is Outcome.PASS and outcomes[HEAD] is not Outcome.PASS:
            for turn in range(1, again + 1):
                progress.note(f"{job.name}: the head has failed: both again")
                for side in SIDES:
                    _one(job, side, sides, folder, turn, progress)


def line(run: Mapping[str, Any], folder: Path) -> int | None:
    """The line of the change's head that the first report of a run accuses; None where none does.

    run: its run.json; folder: where that lies, with the patches. A report's lines are those of the
    tree that was built, with a series on top of the commits of the change.
    """
    blame = next((each["blame"] for each in run["splats"] if each.get("blame")), None)
    if blame is None or not blame["brought"]:
        return None
    kernel = kept.build_of(run)
    patches = [] if kernel is None else kernel["patches"]
    at: int | None = blame["line"]
    for patch in reversed(patches):
        if _COMMIT.fullmatch(patch["name"]):
            return at
        text = bounded(kept.inside(folder, patch["file"]), MOST_PATCH)
        diff = patchfile.diff_of(Patch(patch["name"], patch["subject"], text))
        at = None if at is None else patchfile.earlier(diff, blame["file"], at)
    return None


def _one(
    job: Job, side: str, sides: Sides, folder: Path, turn: int, progress: Progress
) -> Outcome | None:
    """The verdict of a run, None where it left none; what is there already is not run again."""
    own = folder / side / job.name / str(turn)
    known = record_in(own)
    if known is not None:
        return Outcome(known["verdict"])
    progress.note(f"{job.name}: {side}{f', again ({turn})' if turn else ''}")
    shutil.rmtree(own, ignore_errors=True)  # what an interrupted one has left
    spec = _with(
        sides.specs[side],
        scenario=job.scenario,
        kernel=job.kernel,
        arch=job.arch,
        profile=job.profile,
        params=scenario.params(job.scenario, job.settings),
    )
    cell = Cell(job.scenario, job.kernel, job.arch, job.profile, spec.series, Outcome.PASS)
    child = Child(flake.Job(cell, spec, turn), own, sides.code[side])
    try:
        while (ran := child.poll()) is None:
            time.sleep(_POLL)
    except InfraError as error:
        progress.note(f"{job.name}: {side}: {error}")
        return None
    finally:
        child.stop()
    progress.note(f"{job.name}: {side} is {ran.verdict.value}: {ran.reason}")
    return ran.verdict


def _with(spec: RunSpec, **fields: object) -> RunSpec:
    return RunSpec(**{**spec.__dict__, "seed": spec.seed or _SEED, **fields})
