# SPDX-License-Identifier: GPL-2.0-only
"""``bisect``: the patch, the commit or the option with which it begins to fail."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from harness import cache, judges, pipeline, resources, scenario
from harness.bisect import commits, kinds, search
from harness.build import git
from harness.cli.options import (
    ALL,
    GUEST_OPTIONS,
    JSON_OPTION,
    MORE_PATCHES,
    ONE_BUILD_OPTIONS,
    SNAPSHOT_OPTIONS,
    TREE_OPTIONS,
    Words,
    complete,
    options_of,
    out,
    progress_shown,
)
from harness.errors import InputError
from harness.flake.inputs import meant
from harness.model import Progress, RunSpec
from harness.report import bisect as shown

_SEED = 7


def _number(ctx: click.Context, param: click.Parameter, value: float) -> float:
    """nan is in every range, by what click compares."""
    if math.isnan(value):
        raise click.BadParameter(f"{value} is no number.", ctx, param)
    return value


@click.command()
@click.argument("name", metavar="SCENARIO", shell_complete=complete(lambda: [*scenario.names()]))
@MORE_PATCHES
@options_of(TREE_OPTIONS, ONE_BUILD_OPTIONS, GUEST_OPTIONS, SNAPSHOT_OPTIONS)
@click.option("--good", default="", metavar="PATCH", help="Good with this patch as the last one.")
@click.option("--bad", default="", metavar="PATCH", help="Bad with this one [default: the last].")
@click.option(
    "--commits", "span", metavar="GOOD..BAD", help="Search commits of the repository --tree."
)
@click.option(
    "--options",
    "files",
    nargs=2,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="GOOD BAD",
    help="Search the options in which two configurations differ.",
)
@click.option(
    "--tries",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    help="Runs of the bad end, for the rate at which it fails.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 0.9999),
    callback=_number,
    default=0.95,
    show_default=True,
    help="The probability wanted that no bad state is taken for good: more asks for more runs.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=_SEED, show_default=True)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="As of 'run'.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="As of 'run'.")
@JSON_OPTION
def bisect(
    name: str,
    more: tuple[str, ...],
    good: str,
    bad: str,
    span: str | None,
    files: tuple[Path, Path] | None,
    tries: int,
    confidence: float,
    seed: int,
    settings: tuple[str, ...],
    keep: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Find the patch, commit or option with which SCENARIO begins to fail.

    Patches of the series by themselves; commits with --commits, which git bisect chooses; options
    with --options. A state that fails once is bad (one that is LOST, twice); one is good after as
    many passes as the rate asks for at which the bad end fails. What cannot be built is left out.
    The same words go on where an interrupted search ended. Ends with 0 if the first bad one is
    known, 1 if it is one of several.

    \b
    Examples:
      pinpage bisect compaction --series fixed my/*.patch
      pinpage bisect memory_hotplug --tree ~/linux --commits v6.12..HEAD --series none
      pinpage bisect compaction --options good.config bad.config
    """
    words = _words(name, more, settings, keep, options)
    if span is not None and files is not None:
        raise InputError("--commits and --options are two searches", hint="give one of them")
    pipeline.choose(words)
    with progress_shown() as progress:
        if span is not None:
            found = _commits(words, span, tries, confidence, seed, progress)
        else:
            found = _line(words, files, (good, bad), tries, confidence, seed, progress)
    answer = _as_json(found)
    if as_json:
        out(answer)
    else:
        Console(markup=False, emoji=False).print(shown.bisect(answer))
    raise click.exceptions.Exit(0 if len(found.first) == 1 else 1)


def _words(
    name: str,
    more: tuple[str, ...],
    settings: tuple[str, ...],
    keep: Path | None,
    options: dict[str, Any],
) -> RunSpec:
    if name not in scenario.names():
        known = ", ".join(scenario.names())
        raise InputError(f"{name!r} is no scenario", hint=f"scenarios: {known}")
    if options["arch_name"] == ALL:
        raise InputError("a search is on one architecture", hint="name one with --arch")
    return Words(options, more).spec(
        name,
        keep=resources.path(keep).absolute() if keep is not None else None,
        params=scenario.params(name, settings),
    )


def _line(
    words: RunSpec,
    files: tuple[Path, Path] | None,
    ends: tuple[str, str],
    tries: int,
    confidence: float,
    seed: int,
    progress: Progress,
) -> search.Found:
    tree = pipeline.fetch(pipeline.choose(words), progress)
    made = kinds.options(words, *files) if files else kinds.patches(words, tree, *ends)
    first, last = (made.specs[state.name] for state in (made.states[0], made.states[-1]))
    whole = pipeline.apply(pipeline.choose(last), tree, progress)
    asked = [*(state.name for state in made.states), whole.digest, *first.config, *last.config]
    folder = _folder(words, seed, asked)
    run = kinds.runner(lambda s: made.specs[s.name], progress, options=files is not None)
    runs = search.Runs(run, folder, seed, progress)
    return search.line(made.states, runs, tries=tries, confidence=confidence)


def _commits(
    words: RunSpec, span: str, tries: int, confidence: float, seed: int, progress: Progress
) -> search.Found:
    repository = resources.path(words.tree).resolve() if words.tree else None
    if repository is None or git.top(repository) is None:
        raise InputError(
            f"--commits {span}: of which repository?", hint="name its top with --tree, without @REF"
        )
    good, bad = commits.ends(repository, span)
    folder = _folder(words, seed, [str(repository), good, bad])
    run = kinds.runner(lambda s: replace(words, tree=f"{repository}@{s.name}"), progress)
    runs = search.Runs(run, folder, seed, progress)
    return commits.search(repository, good, bad, runs, tries=tries, confidence=confidence)


def _folder(words: RunSpec, seed: int, states: list[str]) -> Path:
    """Of the record of a search: the same words on the same code find it again, as long as they
    mean the same and the same code judges."""
    asked = {**asdict(words), "jobs": 0, "keep": "", "seed": seed}
    asked |= {"means": meant(words), "code": judges.code()}
    text = json.dumps([asked, states], sort_keys=True, default=str)
    return resources.state() / "bisect" / cache.key(text)[:16]


def _as_json(found: search.Found) -> dict[str, Any]:
    ends = [trial for trial in found.trials if trial.state == _bad_end(found)]
    return {
        "first": [asdict(state) for state in found.first],
        "confidence": found.confidence,
        "rate": found.rule.rate,
        "needed": found.rule.needed,
        "ended": len(ends),
        "failed": found.rule.failed(ends),
        "states": [
            {
                **asdict(state),
                "standing": found.standing(state).value,
                "trials": [asdict(t) for t in found.trials if t.state == state.name],
            }
            for state in found.states
        ],
    }


def _bad_end(found: search.Found) -> str:
    """The state that was run first."""
    return found.trials[0].state
