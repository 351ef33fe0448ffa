# SPDX-License-Identifier: GPL-2.0-only
"""``flake``: the same many times, and how often the verdict was not the right one."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from harness import arch, flake, judges, pipeline, report, resources, scenario, spec
from harness.cli.options import (
    ALL,
    CONFIG_OPTION,
    GUEST_OPTIONS,
    JOBS_OPTION,
    JSON_OPTION,
    SNAPSHOT_OPTIONS,
    TOOLCHAIN_OPTION,
    TREE_OPTION,
    Words,
    host_arch,
    options_of,
    out,
    progress_shown,
)
from harness.errors import InputError
from harness.flake import Cell, tally
from harness.flake.child import Child
from harness.model import EXIT_CODES, Outcome, RunSpec

_RIGHT = ("PASS", "posted=CRASH")  # unless --expect says otherwise
_SEEDS = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?")
_MOST = 10_000  # runs of a measurement


@click.command()
@click.argument("scenarios", nargs=-1, metavar="SCENARIO...")
@click.option("--seeds", default="1-10", show_default=True, metavar="1-10,42", help="Seeds.")
@click.option(
    "--repeat",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Equal runs of each seed.",
)
@click.option(
    "--kernel",
    "kernels",
    multiple=True,
    default=("6.12",),
    show_default=True,
    help="Given again for several.",
)
@click.option(
    "--arch",
    "arches",
    multiple=True,
    help="Given again for several, or 'all' [default: this machine's]",
)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    default=("fast",),
    show_default=True,
    help="Given again for several.",
)
@click.option(
    "--series",
    "series",
    multiple=True,
    default=("fixed",),
    show_default=True,
    metavar="NAME[,FILE]...",
    help="Given again for several, each measured alone; with commas, one on top of the other.",
)
@click.option(
    "--expect",
    multiple=True,
    metavar="[WORD,...=]VERDICT",
    help="The verdict that is right where all these words (scenario, kernel, architecture, "
    "profile, series) are the run's; the last that fits. By itself PASS, and CRASH for 'posted'.",
)
@click.option(
    "--guests",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Guests that run at a time.",
)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="As of 'run'.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the results [default: one of the state folder's flake/, by these words]",
)
@options_of(
    (TREE_OPTION, CONFIG_OPTION, JOBS_OPTION, TOOLCHAIN_OPTION), GUEST_OPTIONS, SNAPSHOT_OPTIONS
)
@JSON_OPTION
def measure(
    scenarios: tuple[str, ...],
    seeds: str,
    repeat: int,
    kernels: tuple[str, ...],
    arches: tuple[str, ...],
    profiles: tuple[str, ...],
    series: tuple[str, ...],
    expect: tuple[str, ...],
    guests: int,
    settings: tuple[str, ...],
    keep: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Run each SCENARIO for many seeds, and say how often the verdict was not the right one.

    A cell is a scenario on a kernel, an architecture, a profile and a series. Verdicts that differ
    between equal runs (--repeat) are called FLAKY. The same words go on where an interrupted
    measurement ended, unless a patch that they name has changed, or pinpage. The folders of the
    odd runs are kept.

    Ends with 0 if every verdict was the right one, 1 if one was not or is flaky, 10 if nothing
    could run.

    \b
    Examples:
      pinpage flake compaction --seeds 1-20
      pinpage flake compaction numa --series none --series fixed --arch all --repeat 2
      pinpage flake defects --series posted --expect FAIL
    """
    wanted = _cells(scenarios, kernels, arches, profiles, series, expect)
    numbers = _seeds(seeds)

    def spec_of(cell: Cell, seed: int) -> RunSpec:
        own = {"kernel": cell.kernel, "arch_name": cell.arch, "series": cell.series, "without": ()}
        return Words({**options, **own, "profile": cell.profile}).spec(
            **scenario.named(cell.scenario),
            seed=seed,
            params=scenario.params(cell.scenario, settings),
        )

    runs = len(wanted) * len(numbers) * repeat
    if runs > _MOST:
        raise InputError(f"these are {runs} runs, and {_MOST} are the most")
    plan = flake.jobs(wanted, numbers, repeat, spec_of, judges.code())
    for job in plan:
        pipeline.choose(job.spec)
    folder = (
        resources.path(keep).absolute()
        if keep
        else resources.state() / "flake" / flake.digest(plan)
    )
    try:
        with progress_shown() as progress:
            results = flake.measure(plan, folder, Child, progress, at_once=guests)
    except (KeyboardInterrupt, SystemExit):
        click.echo("what is done is kept: the same words go on with the rest", err=True)
        raise
    rows = tally.rows(plan, results)
    found = tally.as_json(rows, folder)
    if as_json:
        out(found)
    else:
        Console(markup=False, emoji=False).print(report.flake(found))
        click.echo(f"results: {folder}")
    sys.exit(EXIT_CODES[tally.outcome(rows)])


def _cells(
    scenarios: Sequence[str],
    kernels: Sequence[str],
    arches: Sequence[str],
    profiles: Sequence[str],
    series: Sequence[str],
    expect: Sequence[str],
) -> list[Cell]:
    known = scenario.names()
    wrong = next((word for word in scenarios if not scenario.is_one(word)), None)
    if wrong is not None or not scenarios:
        said = f"{wrong!r} is no scenario" if wrong is not None else "no scenario is named"
        raise InputError(said, hint=f"scenarios: {', '.join(known)}")
    named = arch.all_arches() if ALL in arches else dict.fromkeys(arches or (host_arch(),))
    rules = [_rule(word) for word in (*_RIGHT, *expect)]
    found = []
    for words in itertools.product(scenarios, kernels, named, profiles, series):
        name, kernel, machine, profile, patches = words
        if machine not in spec.load_kernel(kernel).arches:
            raise InputError(f"kernel {kernel} is not for {machine} here")
        stack = tuple(patches.split(","))
        own = {name, kernel, machine, profile, *stack}
        right = [verdict for these, verdict in rules if these <= own][-1]
        found.append(Cell(name, kernel, machine, profile, stack, right))
    return list(dict.fromkeys(found))


def _rule(word: str) -> tuple[frozenset[str], Outcome]:
    words, _, verdict = word.rpartition("=")
    try:
        return frozenset(filter(None, words.split(","))), Outcome(verdict)
    except ValueError:
        raise InputError(
            f"--expect {word}: {verdict!r} is no verdict", hint=f"one of {', '.join(Outcome)}"
        ) from None


def _seeds(text: str) -> list[int]:
    found: dict[int, None] = {}
    for part in text.split(","):
        match = _SEEDS.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        wrong = ""
        if match is None:
            wrong = "is neither a seed nor a range of them"
        elif last < first:
            wrong = "ends before it begins"
        elif last >= 2**32 or last - first >= _MOST:
            wrong = "has too many, or too large ones"
        if wrong:
            raise InputError(
                f"--seeds {text}: {part!r} {wrong}",
                hint=f"as in 1-5,9: up to {_MOST:,} at a time, each below 2**32",
            )
        found |= dict.fromkeys(range(first, last + 1))
    return list(found)
