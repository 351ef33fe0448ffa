# SPDX-License-Identifier: GPL-2.0-only
"""``compare``, ``bundle`` and ``reproduce``: runs that were kept."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from harness import comparison, report, resources
from harness.cli.options import JSON_OPTION, out, progress_shown
from harness.errors import InputError
from harness.model import EXIT_CODES, Outcome
from harness.pullrequest import ASKED, BASE, HEAD
from harness.stored import again, kept, pack

_RUN = "RUN|BUNDLE"
_LONELY = 6  # runs without a partner that are named


@click.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--all", "every", is_flag=True, help="Show the figures of unchanged pairs, too.")
@JSON_OPTION
def compare(before: str, after: str, every: bool, as_json: bool) -> None:
    """Say what the runs B have beside the runs A: which failures are new, mended, or as they were.

    A and B are each a run's folder (or its name), its run.json, a bundle, or a folder of several.
    Of several, those are held against each other that were asked the same: scenario, kernel,
    architecture, profile, parameters, and the seed where both have it.

    Ends with 0 if B brings no new failure (A passed, B did not), otherwise with the exit code of
    the first one's verdict: 1 FAIL, 3 CRASH, 4 HANG and so on; 2 for bad input.

    \b
    Examples:
      pinpage compare runs/base runs/mine
      pinpage compare latest theirs.pinpage.tar.xz --json
    """
    for word in (before, after):
        path = kept.place(word)
        if (path / ASKED).is_file():
            raise InputError(
                f"{path} has the runs of a pull request, of its base and of the change",
                hint=f"name one side: {path / BASE} or {path / HEAD}",
            )
    found = comparison.compare(kept.runs_of(before), kept.runs_of(after))
    if not found.paired:
        raise InputError(
            f"{before} and {after} have no run in common: nothing can be compared",
            detail="\n".join(_lonely(found)),
            hint="name one run of the same scenario on each side, whatever else was asked of it",
        )
    if as_json:
        out(report.comparison.as_json(found))
    else:
        Console(markup=False, emoji=False).print(report.comparison.comparison(found, every=every))
    sys.exit(found.exit_code)


def _lonely(found: comparison.Comparison) -> list[str]:
    """What stands on one side alone."""
    lines = []
    for pair in found.pairs[:_LONELY]:
        words = [
            f"{name.removeprefix('parameter ')}={value}" if "parameter" in name else value
            for name, value in pair.asked.items()
        ]
        lines.append(f"{pair.state.value}: {' '.join(words)}")
    more = len(found.pairs) - _LONELY
    return [*lines, f"and {more} more"] if more > 0 else lines


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The file, or the folder that it goes into [default: RUN's id in this folder]",
)
@click.option(
    "--with-binaries",
    is_flag=True,
    help="Also what boots: kernel, guest modules and initramfs, from the cache.",
)
@click.option(
    "--with-vmlinux",
    is_flag=True,
    help="Also vmlinux and the modules' symbols, for 'pinpage parse --build'; with the binaries.",
)
@JSON_OPTION
def bundle(
    run: str, output: Path | None, with_binaries: bool, with_vmlinux: bool, as_json: bool
) -> None:
    """Put a run's folder and all that it takes to do it again into one file.

    RUN is a run's folder, or its name ('latest'). With binaries it is done again in seconds, on a
    machine without a compiler.

    \b
    Examples:
      pinpage bundle latest
      pinpage bundle latest -o ~/crash.pinpage.tar.xz --with-binaries
    """
    path = kept.place(run)
    if path.is_file() and path.name != "run.json":
        raise InputError(f"{path} is no run's folder", hint="a bundle is handed on as it is")
    with progress_shown() as progress, kept.opened(run, progress) as found:
        made = pack.pack(found, output, pack.Wanted(with_binaries, with_vmlinux), progress)
    if as_json:
        out({**asdict(made), "path": str(made.path)})
    else:
        click.echo(
            f"bundle: {made.path}\n  {made.files} files, {_size(made.unpacked)}, packed in "
            f"{_size(made.packed)}"
        )


def _size(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB" if size >= 1 << 20 else f"{size / 1024:.0f} KiB"


@click.command()
@click.argument("run", metavar=_RUN)
@click.option("--tree", metavar="DIR|TARBALL|GIT[@REF]", help="Of this tree instead.")
@click.option(
    "--accel", type=click.Choice(["auto", "kvm", "tcg"]), help="On this accelerator instead."
)
@click.option("--jobs", "-j", type=click.IntRange(1), help="make -j [default: the cores]")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the new run's folder under this one instead of the state folder's runs/.",
)
@click.option("--build", is_flag=True, help="Build, even if there are binaries in it.")
@click.option(
    "--trust",
    is_flag=True,
    help="Build patches, modules and texts of a configuration that are not pinpage's own: a build "
    "runs what they bring, and you have read them.",
)
@JSON_OPTION
def reproduce(
    run: str,
    tree: str | None,
    accel: str | None,
    jobs: int | None,
    keep: Path | None,
    build: bool,
    trust: bool,
    as_json: bool,
) -> None:
    """Do a run again, and say whether its verdict is the same, and which inputs are not.

    The patches, the seed and the parameters are the run's; the tree is the same if it is to be had
    here. Binaries of a bundle are booted, and nothing is built.

    Ends with 0 if the verdict is the one that was recorded, whichever that is, with 1 if not, and
    with 2 for bad input.

    \b
    Examples:
      pinpage reproduce latest
      pinpage reproduce theirs.pinpage.tar.xz
    """
    where = resources.path(keep).absolute() if keep is not None else None
    wish = again.Wish(tree=tree, accel=accel, jobs=jobs, keep=where, trust=trust, build=build)
    with progress_shown() as progress, kept.opened(run, progress) as found:
        then = str(Path(found.where).resolve())  # "latest" is another after it
        done = again.reproduce(found, wish, progress)
    if as_json:
        out(_as_json(done))
    else:
        _show(done)
        click.echo(f"figures: {shlex.join(['pinpage', 'compare', then, str(done.folder)])}")
    sys.exit(0 if done.same else EXIT_CODES[Outcome.FAIL])


def _as_json(done: again.Reproduced) -> dict[str, object]:
    now = done.record.verdict
    return {
        "same": done.same,
        "said": done.sentence,
        "then": {name: done.then[name] for name in ("id", "verdict", "reason")},
        "now": {"id": done.record.id, "verdict": now.outcome.value, "reason": now.reason},
        "inputs": [asdict(each) for each in done.inputs],
        "folder": str(done.folder),
    }


def _show(done: again.Reproduced) -> None:
    console = Console(markup=False, emoji=False)
    console.print(report.terminal(done.record, console.width))
    console.print(report.comparison.reproduced(done.same, done.sentence, done.inputs))
    click.echo(f"run: {done.folder}")
