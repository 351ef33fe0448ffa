# SPDX-License-Identifier: GPL-2.0-only
"""Runs what a pull request has tried, on its merge base and on its head.

Each run is a program of its own, ``pinpage run``, so that the base of this repository is run by its
own code. The folders lie below ``base/`` and ``head/``; where the head fails and the base does not,
both are run again, to tell what fails now and then from what the change has brought.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import arch, cache, comparison, flake, proc, scenario, spec
from harness.build import archive, git, patchfile
from harness.errors import InfraError, InputError
from harness.flake import Cell
from harness.flake.child import Child, record_in
from harness.flake.inputs import meant
from harness.model import Outcome, Patch, Progress, RunSpec
from harness.report.reread import bounded
from harness.stored import kept
from harness.stored.form import MOST_PATCH
from harness.touched import Choice, Job, Table, choose

BASE, HEAD = "base", "head"
SIDES = (BASE, HEAD)
ASKED = "asked.json"  # in the folder of the runs: of which change, and by which words
WHY = "why.json"  # beside it: job → why it is tried
_COMMIT = re.compile(r"[0-9a-f]{12}")  # a patch of a range of commits, see build/series.py
_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28}\b")
_ERROR = re.compile(r"(?P<file>[\w./+-]+\.[chS]):(?P<line>\d{1,7}):")  # a compiler's
_UNFIT = re.compile(r"^patch \d+ of \d+, (?P<patch>\S+) ")  # see build/overlay.py
_SAID = ("error:", "next:")  # how a program of ours begins what it says of its end
_CERTAIN = frozenset({Outcome.BUILD, Outcome.PATCH})  # it comes out the same each time
_SILENCE = 60.0  # seconds after which a run that goes on is spoken of
_POLL = 0.2  # seconds between two looks at a run
_SEED = 7
_WHOSE = "import importlib.util as u; s = u.find_spec('harness.cli'); print(s.origin if s else '')"
_TRY = 100  # folders of a job that one try with its repetitions may have


@dataclass(frozen=True)
class Change:
    """A pull request. base: the commit where it left, its merge base. paths: what it touches.

    span: the line of commits that it consists of, ``A..B``; "" where it is none: apart says why.
    """

    repository: Path
    base: str
    head: str
    paths: tuple[str, ...]
    span: str = ""
    apart: str = ""


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
            hint=git.shallow(repository) or "name the branch that it is to be merged into (--base)",
        )
    merge = done.stdout.decode().strip()
    # Of a file that moved both paths: a rule may be for the place where it was.
    asked = ["diff", "--name-only", "--no-renames", "-z", merge, last]
    listed = git.run(asked, repository=repository).stdout
    paths = tuple(p for p in listed.decode(errors="replace").split("\0") if p)
    return Change(repository, merge, last, paths, *_line_of(repository, merge, last))


def _line_of(repository: Path, base: str, head: str) -> tuple[str, str]:
    """The commits between the two as a line, or "" and why they are none.

    A hub's own merge of a branch with its base is what that branch brings, where nothing had to be
    resolved by hand.
    """
    merges = git.text(["rev-list", "--merges", f"{base}..{head}"], repository=repository).split()
    if not merges:
        return f"{base}..{head}", ""
    parents = git.text(["rev-list", "--parents", "-1", head], repository=repository).split()[1:]
    if merges == [head] and len(parents) == 2 and parents[0] == base:
        told = git.run(["merge-tree", "--write-tree", *parents], repository=repository, check=False)
        whole = git.text(["rev-parse", f"{head}^{{tree}}"], repository=repository)
        if told.status == 0 and told.stdout.decode().split()[:1] == [whole]:
            left = git.text(["merge-base", *parents], repository=repository)
            return f"{left}..{parents[1]}", ""
        which = "it is a merge by hand"
    else:
        which = f"it has {len(merges)} merge{'' if len(merges) == 1 else 's'}"
    return "", f"{which}: its commits cannot be told apart, and no report names the one at fault"


def plan(table: Table, made: Change, names: Sequence[str] = ()) -> tuple[Choice, ...]:
    """What is tried; names: of jobs, the only ones wanted. InputError for an unknown scenario."""
    every = choose(table, made.paths)
    own: dict[str, Job] = {}
    for choice in every:
        if not scenario.is_one(choice.job.scenario):
            raise InputError(
                f"{table.place(choice.job.scenario)}: {choice.job.scenario!r} is no scenario",
                hint=f"scenarios: {', '.join(scenario.names())}, or the path of a YAML",
            )
        if own.setdefault(choice.job.name, choice.job) != choice.job:
            raise InputError(
                f"the table has two jobs that are named {choice.job.name}: of "
                f"{own[choice.job.name].scenario} and of {choice.job.scenario}",
                hint="give one of the files another name",
            )
        scenario.params(choice.job.scenario, choice.job.settings)
        arch.get(choice.job.arch)
        spec.load_kernel(choice.job.kernel)
        spec.load_profile(choice.job.profile)
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
    it accuses; any other change is its tree.
    """
    base = _with(words_of, tree=f"{made.repository}@{made.base}")
    head = _with(words_of, tree=f"{made.repository}@{made.head}")
    if made.span and made.paths:
        head = _with(base, series=(f"{made.repository}:{made.span}", *words_of.series))
    return Sides({BASE: base, HEAD: head}, {BASE: "", HEAD: ""})


def of_ours(made: Change, words_of: RunSpec, folder: Path, progress: Progress) -> Sides:
    """This repository: each side's own patches, modules and code, in a copy of it."""
    code = {
        side: str(_copy(made.repository, commit, folder, progress))
        for side, commit in ((BASE, made.base), (HEAD, made.head))
    }
    return Sides(dict.fromkeys(SIDES, words_of), code)


def _copy(repository: Path, commit: str, folder: Path, progress: Progress) -> Path:
    """The files of a commit, below a folder. InputError where what runs there is not their code."""
    final = folder / commit
    with cache.locked(cache.lock_of(final), f"copies {commit[:12]}", progress):
        if not final.is_dir():
            with cache.making(final) as temporary:
                tar, files = temporary / "tar", temporary / "files"
                # Not a fetch, whose other end is a git that does not trust the repository.
                words = ["archive", "--format=tar", f"--output={tar}", commit]
                git.run(words, repository=repository)
                files.mkdir()
                archive.unpack(tar, files, progress)
                tar.unlink()
    copy = final / "files"
    done = proc.run(
        [sys.executable, "-P", "-c", _WHOSE], env={"PYTHONPATH": str(copy)}, check=False
    )
    found = done.stdout.decode(errors="replace").strip()
    if not found or not Path(found).resolve().is_relative_to(copy.resolve()):
        raise InputError(
            f"the commit {commit[:12]} of {repository} is not run by its own code: python takes "
            f"harness.cli of {found or 'nowhere'}, and not of {copy}",
            hint="--own is for pinpage's repository; is the commit one of before it had that?",
        )
    return copy


def begin(
    folder: Path,
    asked: Mapping[str, Any],
    choices: Sequence[Choice],
    words_of: RunSpec,
    progress: Progress,
) -> None:
    """Have a folder be that of these runs: what it has of another change, by other words, or of
    a patch or a scenario that was edited since, goes. Jobs that are not among these stay.

    words_of: of the base's runs, but for the job's. InputError where it holds what is none of ours.
    """
    means = {choice.job.name: meant(_words(choice.job, words_of)) for choice in choices}
    known = cache.read_json(folder / ASKED)
    stale = [folder / side for side in SIDES if (folder / side).exists()]
    if stale and known is None:
        raise InputError(
            f"{folder} holds {stale[0].name}/, which no pull-request run has left there",
            hint="name a folder of its own with --out",
        )
    was = known.get("means", {}) if known is not None and known.get("asked") == asked else None
    if was is not None:
        edited = [job for job in means if was.get(job) != means[job]]
        every = (folder / side / job for job in edited for side in SIDES)
        stale = [path for path in every if path.exists()]
    for path in stale:
        shutil.rmtree(path)
    if was is None:
        (folder / WHY).unlink(missing_ok=True)
    if stale:
        progress.note(f"{folder} held what came of another change, or other words: it is gone")
    cache.write_json(folder / ASKED, {"asked": asked, "means": {**(was or {}), **means}})


def run(
    choices: Sequence[Choice],
    sides: Sides,
    folder: Path,
    tries: int,
    again: int,
    progress: Progress,
) -> None:
    """Run each job on both sides, with so many seeds, until only the head fails: with that seed
    both are run so often again. A side that cannot be built is tried once."""
    for choice in choices:
        for number in range(tries):
            if not _same(choice.job, number * _TRY, sides, folder, again, progress):
                break


def _same(job: Job, turn: int, sides: Sides, folder: Path, again: int, progress: Progress) -> bool:
    """Run a job on both sides; False where another seed says no more: only the head fails, or
    one of them cannot be run. Where only the head fails both are run again, unless the kernel's
    report names a line that the change has brought: that is nobody else's flake."""
    outcomes = {side: _one(job, side, sides, folder, turn, progress) for side in SIDES}
    if not _CERTAIN.isdisjoint(outcomes.values()):
        return False
    if outcomes[BASE] is not Outcome.PASS or outcomes[HEAD] is Outcome.PASS:
        return True
    first = record_in(_folder(folder, HEAD, job, turn))
    if first and any(map(_COMMIT.fullmatch, comparison.brought(first))):
        progress.note(f"{job.name}: only the change fails, at a line of its own")
        return False
    for more in range(1, again + 1):
        progress.note(f"{job.name}: the change fails and its base does not: both again")
        for side in SIDES:
            _one(job, side, sides, folder, turn + more, progress)
    return False


def silent(top: Path) -> dict[str, str]:
    """Jobs of a side of which a try has left no run, however often it was run, and why.

    top: the side's folder.
    """
    tries: dict[tuple[str, int], list[Path]] = {}
    for path in sorted(top.glob("*/*")):
        if path.is_dir() and path.name.isdigit():
            tries.setdefault((path.parent.name, int(path.name) // _TRY), []).append(path)
    return {
        job: f"its try {number + 1} left no run on {top.name}: "
        f"{own[0].relative_to(top.parent)}/output.log says why"
        for (job, number), own in tries.items()
        if all(record_in(path) is None for path in own)
    }


def spot(run: Mapping[str, Any], folder: Path) -> tuple[str, int] | None:
    """File and line of the change's head that a run accuses, by its first report or its compiler;
    None where none does, or where the line is none of the change's tree.

    run: its run.json; folder: where that lies, with the patches. Lines are those of the tree that
    was built, with a series on top of the commits of the change.
    """
    blame = next((each["blame"] for each in run["splats"] if each.get("blame")), None)
    error = _ERROR.match(run["reason"]) if run["verdict"] == Outcome.BUILD else None
    if blame is not None:
        file, at = blame["file"], blame["line"]
    elif error is not None:
        file, at = error["file"], int(error["line"])
    else:
        return None
    kernel = kept.build_of(run)
    patches = [] if kernel is None else kernel["patches"]
    for patch in reversed(patches):
        if _COMMIT.fullmatch(patch["name"]):
            return file, at
        text = bounded(kept.inside(folder, patch["file"]), MOST_PATCH)
        diff = patchfile.diff_of(Patch(patch["name"], patch["subject"], text))
        earlier = patchfile.earlier(diff, file, at)
        if earlier is None:
            return None
        at = earlier
    return (file, at) if run["spec"]["tree"] is not None else None  # the change's whole tree


def commands(run: Mapping[str, Any]) -> tuple[str, ...]:
    """What to do about a run of a change that fails, in a clone that has its commits: the run once
    more, and where no line accuses one of several commits, the search for the one at fault."""
    asked, tree = run["spec"], run["spec"]["tree"] or ""
    top = tree.rpartition("@")[0]  # of the repository, where it was run

    def here(word: str) -> str:
        near = top and word.startswith((f"{top}@", f"{top}:", f"{top}/"))
        return _HASH.sub(r"\1", f".{word[len(top) :]}" if near else word)

    name, file = run["scenario"], asked.get("file")
    plain = {} if file else {key: p.default for key, p in scenario.get(name).PARAMS.items()}
    which = here(file) if file else name
    words = [f"--kernel={run['kernel']}", f"--arch={run['arch']}", f"--profile={run['profile']}"]
    ends = [f"--memory={asked['memory_mib']}", f"--seed={run['seed']}"]
    ends += [f"--set={k}={v}" for k, v in asked["params"].items() if plain.get(k) != v]
    on = [f"--tree={here(tree)}"] if tree else []
    on += [f"--series={here(word)}" for word in asked["series"]]
    found = [shlex.join(["pinpage", "run", which, *words, *on, *ends])]
    own = [word for word in asked["series"] if top and word.startswith(f"{top}:")]
    kernel = kept.build_of(run)
    patches = [] if kernel is None else kernel["patches"]
    commits = [each for each in patches if _COMMIT.fullmatch(each["name"])]
    sure = any(each["blame"] and each["blame"]["brought"] for each in run["splats"])
    if own and len(commits) > 1 and not sure and not file:
        span = here(own[0]).removeprefix(".:")
        rest = [f"--series={here(word)}" for word in asked["series"] if word not in own]
        search = ["pinpage", "bisect", which, "--tree=.", f"--commits={span}", *rest, *words, *ends]
        found.append(shlex.join(search))
    return tuple(found)


def unfit(run: Mapping[str, Any]) -> str:
    """Why a run of a change says nothing of it: a patch that goes on both sides does not apply to
    it. "" where that is not so."""
    found = _UNFIT.search(run["reason"]) if run["verdict"] == Outcome.PATCH else None
    if found is None or _COMMIT.fullmatch(found["patch"]):
        return ""
    return f"the series that goes on both sides does not fit this change ({run['reason']})"


def _folder(folder: Path, side: str, job: Job, turn: int) -> Path:
    return folder / side / job.name / str(turn)


def _one(
    job: Job, side: str, sides: Sides, folder: Path, turn: int, progress: Progress
) -> Outcome | None:
    """The verdict of a run, None where it left none; what is there already is not run again."""
    own = _folder(folder, side, job, turn)
    known = record_in(own)
    if known is not None:
        return Outcome(known["verdict"])
    number, more = divmod(turn, _TRY)
    which = f", try {number + 1}" if number else ""
    progress.note(f"{job.name}: {side}{which}{f', again ({more})' if more else ''}")
    shutil.rmtree(own, ignore_errors=True)  # what an interrupted one has left
    words = _words(job, sides.specs[side], number)
    cell = Cell(words.scenario, job.kernel, job.arch, job.profile, words.series, Outcome.PASS)
    child = Child(flake.Job(cell, words, turn), own, sides.code[side])
    told = time.monotonic()
    try:
        while (ran := child.poll()) is None:
            time.sleep(_POLL)
            if time.monotonic() - told >= _SILENCE:
                told = time.monotonic()
                progress.note(f"{job.name}: {side}: {child.last()}")
    except (InfraError, InputError) as error:
        progress.note(f"{job.name}: {side}: {error}")
        for line in error.detail.splitlines():
            if line.startswith(_SAID):
                progress.note(line)
        return None
    finally:
        child.stop()
    progress.note(f"{job.name}: {side} is {ran.verdict.value}: {ran.reason}")
    return ran.verdict


def _words(job: Job, words_of: RunSpec, number: int = 0) -> RunSpec:
    """A job's words; number: of the try."""
    return _with(
        words_of,
        **scenario.named(job.scenario),
        kernel=job.kernel,
        arch=job.arch,
        profile=job.profile,
        params=scenario.params(job.scenario, job.settings),
        seed=(words_of.seed or _SEED) + number,
    )


def _with(spec: RunSpec, **fields: object) -> RunSpec:
    return RunSpec(**{**spec.__dict__, **fields})
