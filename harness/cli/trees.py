# SPDX-License-Identifier: GPL-2.0-only
"""``kernels``, ``fetch``, ``apply`` and ``build``: the stages before a guest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from harness import pipeline, resources, spec
from harness.build import browse
from harness.cli.options import (
    BUILD_OPTIONS,
    JSON_OPTION,
    KERNEL_OPTION,
    MORE_PATCHES,
    TREE_OPTION,
    TREE_OPTIONS,
    Words,
    for_each_arch,
    options_of,
    out,
    progress_shown,
)
from harness.errors import BuildError
from harness.model import BuildArtifacts, RunSpec
from harness.report.text import in_line
from harness.terminal import TerminalProgress


@click.command()
@options_of((KERNEL_OPTION, TREE_OPTION))
@JSON_OPTION
def fetch(as_json: bool, **options: Any) -> None:
    """Get a kernel's source into the cache and print where it is.

    \b
    Example:
      pinpage fetch --kernel 6.12
    """
    chosen = pipeline.choose(Words({**options, "series": ("none",), "without": ()}).spec())
    with progress_shown() as progress:
        tree = pipeline.fetch(chosen, progress)
    if as_json:
        out(
            {
                "path": str(tree.path),
                "digest": tree.digest,
                "version": tree.version,
                "origin": tree.origin,
            }
        )
    else:
        click.echo(f"{tree.path}\n  version {in_line(tree.version)}, {tree.digest}")
        click.echo(f"  from {in_line(tree.origin)}")


@click.command()
@options_of(TREE_OPTIONS)
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the patched tree there, a folder that is not there yet.",
)
@MORE_PATCHES
@JSON_OPTION
def apply(more: tuple[str, ...], to: Path | None, as_json: bool, **options: Any) -> None:
    """Apply a series to a copy of the kernel's tree, or show which hunk does not fit.

    Nothing is left of it but what --to names.

    \b
    Examples:
      pinpage apply --series my/*.patch --tree ~/linux
      pinpage apply --series fixed --to /tmp/linux-pinpage
    """
    chosen = pipeline.choose(Words(options, more).spec())
    to = resources.path(to) if to is not None else None
    if to is not None:
        browse.must_be_new(to)
    with progress_shown() as progress:
        patched = pipeline.apply(chosen, pipeline.fetch(chosen, progress), progress)
        if to is not None:
            progress.stage("export")
            browse.export(patched, to, progress)
    if as_json:
        out(
            {
                "series": patched.series.name,
                "patches": [p.name for p in patched.series.patches],
                "touched": {path: list(names) for path, names in patched.touched_by.items()},
                "digest": patched.digest,
            }
        )
        return
    for patch in patched.series.patches:
        click.echo(f"applied {in_line(patch.name)}: {in_line(patch.subject)}")
    click.echo(
        f"{count(len(patched.series.patches), 'patch', 'patches')} on "
        f"{in_line(patched.source.origin)}, "
        f"{count(len(patched.changed), 'file')} changed"
    )
    if to is not None:
        click.echo(f"the tree is in {to}")


def count(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"


def build_of(words: RunSpec, progress: TerminalProgress) -> BuildArtifacts:
    chosen = pipeline.choose(words)
    patched = pipeline.apply(chosen, pipeline.fetch(chosen, progress), progress)
    return pipeline.build(chosen, patched, progress)


@click.command()
@options_of(TREE_OPTIONS, BUILD_OPTIONS)
@click.option("--each", is_flag=True, help="Build after each patch, to see that each step builds.")
@MORE_PATCHES
@JSON_OPTION
@for_each_arch
def build(more: tuple[str, ...], each: bool, as_json: bool, **options: Any) -> None:
    """Build the kernel and the guest modules, and print where they are.

    \b
    Examples:
      pinpage build --series posted --toolchain gcc-12
      pinpage build --series my/*.patch --each
    """
    words = Words(options, more).spec()
    if each:
        _build_each(words, as_json)
        return
    with progress_shown() as progress:
        built = build_of(words, progress)
    facts = {
        "image": str(built.image),
        "vmlinux": str(built.vmlinux),
        "config": str(built.config),
        "modules": {name: str(path) for name, path in built.modules.items()},
        "release": built.release,
        "toolchain": built.toolchain.version,
        "key": built.key,
        "cached": built.cached,
        "seconds": round(built.seconds, 1),
        "cpu_seconds": round(built.cpu_seconds, 1),
    }
    if as_json:
        out(facts)
        return
    for key, value in facts.items():
        said = json.dumps(value) if isinstance(value, dict) else in_line(str(value))
        click.echo(f"{key:<12} {said}")


def _build_each(words: RunSpec, as_json: bool) -> None:
    """Build step by step; the first that does not build ends it, with its error."""
    chosen = pipeline.choose(words)
    done: list[dict[str, str]] = []
    with progress_shown() as progress:
        tree = pipeline.fetch(chosen, progress)
        for patched in pipeline.steps(chosen, tree, progress):
            name = patched.series.patches[-1].name
            try:
                built = pipeline.build(chosen, patched, progress)
            except BuildError:
                progress.note(f"does not build after {name}")
                raise
            progress.note(f"builds after {name}")
            done.append({"patch": name, "key": built.key})
    if as_json:
        out(done)
    else:
        click.echo(f"each of {count(len(done), 'step')} builds")


@click.command()
@JSON_OPTION
def kernels(as_json: bool) -> None:
    """List the kernels: their series, architectures, sources and what each cannot do.

    \b
    Example:
      pinpage kernels --json
    """
    rows = []
    for kernel in spec.kernels():
        rows.append(
            {
                "name": kernel.name,
                "version": kernel.version,
                "arches": list(kernel.arches),
                "series": pipeline.series_names(kernel),
                "sources": [f"{s.kind} {s.location}" for s in kernel.sources],
                "cannot": dict(kernel.cannot),
                "note": kernel.note,
            }
        )
    if as_json:
        out(rows)
        return
    for row in rows:
        click.echo(f"{row['name']}  (version {row['version']})")
        for key in ("arches", "series", "sources"):
            click.echo(f"  {key:<8} {', '.join(str(item) for item in row[key])}")
        for what, why in kernel_cannot(row):
            click.echo(f"  cannot   {what}: {why}")


def kernel_cannot(row: dict[str, Any]) -> list[tuple[str, str]]:
    """(capability, reason) pairs of a row of ``pinpage kernels``."""
    return list(row["cannot"].items())
