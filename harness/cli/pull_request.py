# SPDX-License-Identifier: GPL-2.0-only
"""``pull-request``: what a change breaks, beside its merge base; for any CI."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from harness import cache, comparison, pullrequest, resources, spec
from harness.cli.options import JSON_OPTION, host_arch, options_of, out, progress_shown
from harness.errors import InputError
from harness.model import EXIT_CODES, Outcome, RunSpec
from harness.pullrequest import BASE, HEAD, SIDES
from harness.report import pull_request as said
from harness.stored import kept
from harness.touched import Choice

_WHY = "why.json"
_PICTURE = 8000  # characters

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
@options_of(_PLAN_OPTIONS)
@JSON_OPTION
def plan(as_json: bool, **options: Any) -> None:
    """Say what is tried, by the paths that the change touches, and why.

    \b
    Example:
      pinpage pull-request plan --base origin/main --json
    """
    _, choices = _plan(**options)
    if as_json:
        out([_choice(choice) for choice in choices])
        return
    for choice in choices:
        click.echo(choice.job.name)
        for why in choice.why:
            click.echo(f"    {why}")


@pull_request.command()
@options_of(_PLAN_OPTIONS)
@click.option(
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Where the runs' folders go.",
)
@click.option(
    "--series",
    multiple=True,
    default=("fixed",),
    show_default=True,
    help="Patches that go on both sides of a kernel's repository.",
)
@click.option("--own", is_flag=True, help="The repository is pinpage's: each side by its own code.")
@click.option(
    "--again", type=click.IntRange(0, 20), default=2, show_default=True, help="To tell a flake."
)
@click.option("--memory", type=click.IntRange(128), default=1024, show_default=True, metavar="MIB")
@click.option("--toolchain", default="gcc", show_default=True)
@click.option("--seed", type=click.IntRange(1, 2**32 - 1), default=7, show_default=True)
def run(
    folder: Path,
    series: tuple[str, ...],
    own: bool,
    again: int,
    memory: int,
    toolchain: str,
    seed: int,
    **options: Any,
) -> None:
    """Run what is tried on both sides. It ends with 0 once all has been run, whatever came of it.

    What the folder has already is not run again.

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
    folder = folder.absolute()
    sides = (
        pullrequest.of_ours(made, words, resources.cache() / "pull-request")
        if own
        else pullrequest.of_kernel(made, words)
    )
    with progress_shown() as progress:
        for choice in choices:
            progress.note(f"{choice.job.name}: {'; '.join(choice.why)}")
        pullrequest.run(choices, sides, folder, again, progress)
    why = {choice.job.name: list(choice.why) for choice in choices}
    cache.write_json(folder / _WHY, why)


@pull_request.command("report")
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--link", default="", metavar="URL", help="To the whole, for the comment.")
@click.option("--summary", type=click.Path(dir_okay=False, path_type=Path), help="Markdown, whole.")
@click.option("--comment", type=click.Path(dir_okay=False, path_type=Path), help="And shorter.")
@click.option("--annotate", is_flag=True, help="Name the lines, as GitHub's runners read it.")
def report_of(
    folders: tuple[Path, ...],
    link: str,
    summary: Path | None,
    comment: Path | None,
    annotate: bool,
) -> None:
    """Judge the runs of these folders, the head's beside the base's.

    Ends with 0 if the change has broken nothing, with the exit code of the first new failure's
    verdict if it has, and with 9 if nothing could be judged.

    \b
    Example:
      pinpage pull-request report pr --summary summary.md --comment comment.md
    """
    found, why = _Found(), dict[str, list[str]]()
    for folder in folders:
        why |= cache.read_json(folder / _WHY) or {}
        for side in SIDES:
            for path in sorted((folder / side).glob("*/*/*/run.json")):
                if not path.parent.is_symlink():
                    found.add(side, path)
    if not any(found.runs.values()):
        raise InputError(f"there is no run in {', '.join(map(str, folders))}")
    compared = comparison.compare(found.runs[BASE], found.runs[HEAD])
    if summary is not None:
        _written(summary, said.summary(compared, why, found.pictures))
    if comment is not None:
        _written(comment, said.comment(compared, why, link))
    if annotate:
        for line in said.commands(compared, found.runs[HEAD], found.lines):
            click.echo(line)
    click.echo(said.sentence(compared))
    sys.exit(compared.exit_code or (0 if compared.told else EXIT_CODES[Outcome.INFRA]))


class _Found:
    """The runs of both sides, the memory of each as text, and the lines that the head's accuse."""

    def __init__(self) -> None:
        self.runs: dict[str, list[Mapping[str, Any]]] = {side: [] for side in SIDES}
        self.pictures: dict[str, str] = {}
        self.lines: dict[str, int] = {}

    def add(self, side: str, path: Path) -> None:
        for run in kept.runs_of(str(path)):
            self.runs[side].append(run)
            line = pullrequest.line(run, path.parent) if side == HEAD else None
            if line is not None:
                self.lines[run["id"]] = line
            drawn = path.with_name("pages.txt")
            if drawn.is_file():
                self.pictures[run["id"]] = drawn.read_text(errors="replace")[:_PICTURE]


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
    return made, pullrequest.plan(wanted, made, names)


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
