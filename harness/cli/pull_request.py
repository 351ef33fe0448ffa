# SPDX-License-Identifier: GPL-2.0-only
"""``pull-request``: what a change breaks, beside its merge base; for any CI."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from harness import cache, comparison, judges, pullrequest, resources, spec
from harness.cli.options import JSON_OPTION, MOST_MIB, host_arch, options_of, out, progress_shown
from harness.cli.trees import count
from harness.errors import InputError
from harness.model import RunSpec
from harness.pullrequest import BASE, HEAD, SIDES, WHY
from harness.report import frames
from harness.report import pull_request as said
from harness.report.text import in_line
from harness.stored import kept
from harness.touched import Choice

_PICTURE = 8000  # characters
_PLANNED = ("repository", "base", "head", "table", "names")

_PLAN_OPTIONS = (
    click.option(
        "--repository",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(),
        show_default="this folder",
        help="The repository that the change is of.",
    ),
    click.option(
        "--base", required=True, metavar="REF", help="The branch it is to be merged into."
    ),
    click.option("--head", default="HEAD", show_default=True, metavar="REF", help="The change."),
    click.option(
        "--table",
        type=click.Path(dir_okay=False, path_type=Path),
        help="What is tried for which paths [default: pinpage's own, for a kernel]",
    ),
    click.option(
        "--job", "names", multiple=True, metavar="NAME", help="Only this one of the plan."
    ),
)


_RUN_OPTIONS = (
    click.option(
        "--series",
        multiple=True,
        default=("fixed",),
        show_default=True,
        help="Patches that go on both sides of a kernel's repository.",
    ),
    click.option(
        "--own", is_flag=True, help="The repository is pinpage's: each side by its own code."
    ),
    click.option(
        "--tries",
        type=click.IntRange(1, 50),
        default=1,
        show_default=True,
        help="Runs of each job, each with another seed: what comes now and then needs several.",
    ),
    click.option(
        "--again",
        type=click.IntRange(0, 20),
        default=2,
        show_default=True,
        help="How often both sides run again where the change alone fails: is it a flake?",
    ),
    click.option(
        "--memory",
        type=click.IntRange(128, MOST_MIB),
        default=1024,
        show_default=True,
        metavar="MIB",
    ),
    click.option("--toolchain", default="gcc", show_default=True),
    click.option("--seed", type=click.IntRange(1, 2**32 - 1), default=7, show_default=True),
)


@click.group("pull-request")
def pull_request() -> None:
    """Judge a change beside its merge base: only what it has broken fails.

    'plan' says what is tried and why, 'run' does it on both sides, 'report' judges.

    \b
    Example:
      pinpage pull-request plan --base origin/main
      pinpage pull-request run --base origin/main --out pr
      pinpage pull-request report pr
    """


@pull_request.command()
@options_of(_PLAN_OPTIONS, _RUN_OPTIONS)
@JSON_OPTION
def plan(as_json: bool, **options: Any) -> None:
    """Say what is tried, by the paths that the change touches, and why.

    It takes the words of 'run'.

    \b
    Example:
      pinpage pull-request plan --base origin/main --json
    """
    made, choices = _plan(**{name: options[name] for name in _PLANNED})
    if as_json:
        out([_choice(choice) for choice in choices])
        return
    for choice in choices:
        click.echo(in_line(choice.job.name))
        for why in choice.why:
            click.echo(f"    {in_line(why)}")
    for note in _notes(made, (), options["own"]):
        click.echo(in_line(note))
    if not choices:
        if made.paths:
            click.echo("nothing is tried: no rule of the table fits, and 'otherwise' has nothing")
        return
    kernels = {(each.job.kernel, each.job.arch, each.job.profile) for each in choices}
    click.echo(
        f"{count(len(choices), 'job')} on both sides: {2 * len(kernels)} kernels to build, minutes "
        f"each the first time, and {2 * len(choices)} runs"
    )


@pull_request.command()
@options_of(_PLAN_OPTIONS)
@click.option(
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Where the runs' folders go.",
)
@options_of(_RUN_OPTIONS)
def run(
    folder: Path,
    series: tuple[str, ...],
    own: bool,
    tries: int,
    again: int,
    memory: int,
    toolchain: str,
    seed: int,
    **options: Any,
) -> None:
    """Run what is tried on both sides. It ends with 0 once all has been run, whatever came of it.

    What the folder has already of this very change is not run again; of another, it goes. With
    --job its other jobs stay.

    \b
    Example:
      pinpage pull-request run --base origin/main --out pr
    """
    made, choices = _plan(**options)
    words = RunSpec(
        "compaction",
        "6.12",
        host_arch(),
        series,
        "fast",
        seed,
        jobs=len(os.sched_getaffinity(0)),
        toolchain=toolchain,
        memory_mib=memory,
    )
    folder = resources.path(folder).absolute()
    asked = {"base": made.base, "head": made.head, "series": list(series), "own": own}
    asked |= {"memory": memory, "toolchain": toolchain, "seed": seed}
    asked |= {} if own else {"code": judges.code()}
    folder.mkdir(parents=True, exist_ok=True)
    with progress_shown() as progress:
        sides = (
            pullrequest.of_ours(made, words, resources.cache() / "pull-request", progress)
            if own
            else pullrequest.of_kernel(made, words)
        )
        pullrequest.begin(folder, asked, choices, sides.specs[BASE], progress)
        before = cache.read_json(folder / WHY) if options["names"] else None
        why = {choice.job.name: list(choice.why) for choice in choices}
        cache.write_json(folder / WHY, {**(before or {}), **why})
        for note in _notes(made, choices, own):
            progress.note(note)
        pullrequest.run(choices, sides, folder, tries, again, progress)


@pull_request.command("report")
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--link", default="", metavar="URL", help="Where the comment sends for all of it.")
@click.option("--summary", type=click.Path(dir_okay=False, path_type=Path), help="Markdown.")
@click.option(
    "--comment",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Markdown that is short enough for a comment.",
)
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), help="A case for each job."
)
@click.option("--annotate", is_flag=True, help="Name the lines, as GitHub's runners read it.")
def report_of(
    folders: tuple[Path, ...],
    link: str,
    summary: Path | None,
    comment: Path | None,
    junit: Path | None,
    annotate: bool,
) -> None:
    """Judge the runs of these folders, the head's beside the base's.

    Ends with 0 if the change has broken nothing, with the exit code of the first new failure's
    verdict if it has, and with 9 if it has not, but a job could not be judged.

    \b
    Example:
      pinpage pull-request report pr --summary summary.md --comment comment.md
    """
    found, why = _Found(), dict[str, list[str]]()
    for folder in folders:
        asked = cache.read_json(folder / WHY)
        why |= asked or {}
        for side in SIDES:
            for path in sorted((folder / side).glob("*/*/*/run.json")):
                wanted = asked is None or path.parents[2].name in asked
                if wanted and not path.parent.is_symlink():
                    found.add(side, path)
        dead = pullrequest.silent(folder / HEAD)
        found.silent |= {job: text for job, text in dead.items() if asked is None or job in asked}
    if not any(found.runs.values()) and not any((folder / WHY).is_file() for folder in folders):
        raise InputError(f"there is no run in {', '.join(map(str, folders))}")
    judged = found.judged(why)
    for file, text in (
        (summary, said.summary),
        (comment, lambda each: said.comment(each, link)),
        (junit, said.junit),
    ):
        if file is not None:
            _written(file, text(judged))
    if annotate:
        for line in said.commands(judged):
            click.echo(line)
    click.echo(said.sentence(judged))
    sys.exit(judged.exit_code)


class _Found:
    """The runs of both sides, job by job, and what is told of them. silent: jobs of which a try of
    the change has left no run, and why."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, list[Mapping[str, Any]]]] = {side: {} for side in SIDES}
        self.silent: dict[str, str] = {}
        self._jobs: dict[str, set[str]] = {side: set() for side in SIDES}
        self._unfit: dict[str, str] = {}
        self._pictures: dict[str, str] = {}
        self._spots: dict[str, tuple[str, int]] = {}
        self._next: dict[str, said.Next] = {}

    def add(self, side: str, path: Path) -> None:
        """path: a run.json below ``side/job/turn/``."""
        job = path.parents[2].name
        for run in kept.runs_of(str(path)):
            self._jobs[side].add(job)
            if side == HEAD and (why := pullrequest.unfit(run)):
                self._unfit[job] = why
                continue
            self.runs[side].setdefault(job, []).append(run)
            if side == HEAD:
                self._told(run, path)
            drawn = path.with_name("pages.txt")
            if drawn.is_file():
                self._pictures[run["id"]] = drawn.read_text(errors="replace")[:_PICTURE]

    def _told(self, run: Mapping[str, Any], path: Path) -> None:
        """What is said of a run of the change, where it fails."""
        trace = [each for report in run["splats"][:1] for each in frames.of_record(report)]
        inside = path.parent.relative_to(path.parents[4])
        self._next[run["id"]] = said.Next(pullrequest.commands(run), str(inside), trace)
        where = pullrequest.spot(run, path.parent)
        if where is not None:
            self._spots[run["id"]] = where

    def _compared(self, jobs: Collection[str]) -> comparison.Comparison:
        sides = (
            [run for job, own in self.runs[side].items() if job in jobs for run in own]
            for side in SIDES
        )
        return comparison.compare(*sides)

    def judged(self, why: Mapping[str, Sequence[str]]) -> said.Judged:
        """why: of each job that was to be run."""
        untold = dict(self._unfit)
        for job in why:
            missing = [side for side in SIDES if job not in self._jobs[side]]
            if missing:
                untold[job] = (
                    f"it left no run on {' and '.join(missing)}; output.log there says why"
                )
        for job, dead in self.silent.items():
            if not self._compared({job}).of(comparison.State.NEW):
                untold.setdefault(job, dead)
        quiet = self.silent.keys() & untold.keys()  # their other tries would speak for them
        compared = self._compared({*self.runs[BASE], *self.runs[HEAD]} - quiet)
        # A job of which one side says nothing stands among those that are not told.
        pairs = tuple(pair for pair in compared.pairs if (pair.a and pair.b) or not untold)
        found = comparison.Comparison(pairs)
        return said.Judged(found, why, untold, self._spots, self._pictures, self._next)


def _written(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def _plan(
    repository: Path, base: str, head: str, table: Path | None, names: Sequence[str]
) -> tuple[pullrequest.Change, tuple[Choice, ...]]:
    made = pullrequest.change(repository.resolve(), base, head)
    wanted = spec.pull_request_table(table or resources.kernel_config() / "pull-request.yaml")
    return made, pullrequest.plan(wanted, made, names) if made.paths else ()


def _notes(made: pullrequest.Change, choices: Sequence[Choice], own: bool) -> Iterator[str]:
    """What is compared, what cannot be told, and why each job is run."""
    files = count(len(made.paths), "file")
    yield f"{made.base[:12]} (merge base) .. {made.head[:12]}: {files} changed"
    if not made.paths:
        yield "nothing is changed: nothing is tried"
    elif made.apart and not own:
        yield made.apart
    for choice in choices:
        yield f"{choice.job.name}: {'; '.join(choice.why)}"


def _choice(choice: Choice) -> dict[str, Any]:
    job = choice.job
    return {
        "name": job.name,
        "scenario": job.scenario,
        "kernel": job.kernel,
        "arch": job.arch,
        "profile": job.profile,
        "set": list(job.settings),
        "why": list(choice.why),
    }
