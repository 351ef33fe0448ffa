# SPDX-License-Identifier: GPL-2.0-only
"""``explain``: why a page did not migrate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from harness import explain, pipeline, report, spec
from harness.build.blame import Blame
from harness.cli.options import (
    JSON_OPTION,
    TREE_OPTIONS,
    Words,
    complete,
    options_of,
    out,
    progress_shown,
)
from harness.errors import InputError, PinpageError, SourceUnavailable
from harness.model import RunSpec
from harness.report.explained import Tree
from harness.report.text import visible
from harness.stored import kept

_NAME = 200  # characters of a series' words
_OWN = ("kernel", "tree", "series", "without")  # options that say which tree


@click.command(name="explain")
@click.argument(
    "what",
    required=False,
    metavar="[CODE|RUN]",
    shell_complete=complete(lambda: [each.code for each in spec.reasons()]),
)
@options_of(TREE_OPTIONS)
@JSON_OPTION
def explain_command(what: str | None, as_json: bool, **options: Any) -> None:
    """Why did my page not migrate? The reasons there are, one of them, or those of a RUN.

    Without a word it lists them. With a CODE it says what it means, where in the source of this
    kernel (--kernel, --tree, --series) it is decided, how it shows, and what to do. With a RUN, a
    run's folder, its run.json or its name ("latest" is the last), it counts what each reason
    accounts for.

    \b
    Examples:
      pinpage explain
      pinpage explain busy-count --kernel 3.11 --series none
      pinpage explain latest
    """
    if what is None:
        if as_json:
            out([report.explained.as_json(each, None) for each in spec.reasons()])
        else:
            _print(report.explained.listed(spec.reasons()))
        return
    path = kept.named(what)
    if explain.known(what) is None and report.told.is_run(path):
        _run(path, options, as_json)
        return
    if explain.known(what) is None and (path.exists() or "/" in what):
        raise InputError(
            f"{what} is no run's folder: it has no run.json",
            hint="runs are under ~/.local/state/pinpage/runs, or where --keep said",
        )
    reason = explain.reason(what)
    tree, why = None, ""
    try:
        tree = _tree(Words(options).spec())
    except SourceUnavailable as error:
        why = f"no places in the source: {error.message}; {error.hint}"
    if as_json:
        out(report.explained.as_json(reason, tree))
    else:
        _print(report.explained.whole(reason, tree))
    if why:
        click.echo(visible(why), err=True)


def _print(lines: Any) -> None:
    for line in lines:
        click.echo(line)


def _tree(words: RunSpec) -> Tree:
    """The tree with its series, to look places up in."""
    chosen = pipeline.choose(words)
    with progress_shown() as progress:
        patched = pipeline.apply(chosen, pipeline.fetch(chosen, progress), progress)
    blame = Blame(patched)
    name = f"Linux {patched.source.version}, series {visible(' '.join(words.series))[:_NAME]}"
    before = explain.Places(blame.before)
    return Tree(name, explain.Places(blame.read), blame.blame, before, blame.changed)


def _run(path: Path, options: dict[str, Any], as_json: bool) -> None:
    """A run's reasons, with the places in the tree that it was of, where that can be had."""
    told = report.told.read(path)
    tree, why = None, ""
    try:
        words = _words(told.content, told.folder, options)
        tree = _tree(words) if told.accounts else None
    except PinpageError as error:
        why = f"no places in the source: {error.message}; {error.hint}"
    if as_json:
        out(report.explained.run_as_json(told, tree))
    else:
        _print(report.explained.of_run(told, tree))
    if why:
        click.echo(visible(why), err=True)


def _words(content: Any, folder: Path, options: dict[str, Any]) -> RunSpec:
    """The tree that a run was of, as far as it is one of ours, with the patches that its folder
    keeps: what else a told run names is not followed, as it may come from anybody. Patches are
    applied to be read, and nothing is built. What the user says goes before."""
    given = click.get_current_context()
    said = {
        name: given.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        for name in _OWN
    }
    own: dict[str, Any] = dict(options)
    if not said["kernel"]:
        own["kernel"] = content["kernel"]
    kernel = spec.load_kernel(own["kernel"])
    run = content["spec"]
    if not said["series"]:
        own["series"] = _series(content, folder, pipeline.series_names(kernel))
    if not said["without"]:
        own["without"] = tuple(run.get("without", ()))
    if not said["tree"] and run["tree"] is not None:
        raise InputError("the run was of another tree", hint=f"give --tree {run['tree'][:200]}")
    return Words(own).spec()


def _series(content: Any, folder: Path, known: Sequence[str]) -> tuple[str, ...]:
    """The words of the run's series: names of ours, or else the files that it was made of."""
    words = tuple(content["spec"]["series"])
    if set(words) <= set(known):
        return words
    made = kept.build_of(content)
    if made is None:
        text = " ".join(f"--series {word}" for word in words)[:300]
        raise InputError("the run was of a series of one's own", hint=f"give {text}")
    files = [kept.inside(folder, each["file"]) for each in made["patches"][made["compat"] :]]
    tops = {path.parent for path in files}
    if len(tops) == 1 and set(files) == set((top := tops.pop()).iterdir()):
        return (str(top),)  # they are numbered
    return tuple(str(path) for path in files) or ("none",)
