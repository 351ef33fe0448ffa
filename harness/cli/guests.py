# SPDX-License-Identifier: GPL-2.0-only
"""``boot`` and ``shell``: a guest in one's own hands."""

from __future__ import annotations

import secrets
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from harness import pipeline, resources
from harness.cli.options import (
    ALL,
    BUILD_OPTIONS,
    GUEST_OPTIONS,
    MODULE_OPTION,
    ONE_BUILD_OPTIONS,
    SNAPSHOT_OPTIONS,
    TREE_OPTIONS,
    Words,
    err,
    for_each_arch,
    options_of,
    progress_shown,
)
from harness.errors import CannotRun, InputError
from harness.model import EXIT_CODES, BuildArtifacts, Outcome, PatchedTree, RunSpec, Splat
from harness.parse import splat
from harness.report.text import in_line
from harness.vm import hands, loading
from harness.vm.loading import Wanted
from harness.vm.machine import Machine

_PATCHES = (".patch", ".diff", ".mbox")


@dataclass(frozen=True)
class Stand:
    """A guest, and what it was made of."""

    guest: Machine
    built: BuildArtifacts
    tree: PatchedTree


@contextmanager
def stand_of(
    words: RunSpec,
    folder: Path,
    *,
    brief: bool = False,
    modules: Sequence[Wanted] = (),
    check: Callable[[BuildArtifacts], None] | None = None,
) -> Iterator[Stand]:
    """A guest with these modules loaded; its own logs go to a folder. brief: say little of what
    is done for it. check: what a build has to stand before it is booted."""
    with progress_shown(brief=brief) as progress:
        chosen = pipeline.choose(words)
        tree = pipeline.apply(chosen, pipeline.fetch(chosen, progress), progress)
        built = pipeline.build(chosen, tree, progress)
        loading.check(modules, built)
        if check is not None:
            check(built)
        ready = pipeline.bootable(chosen, built, progress)
        progress.stage("boot")
        context = pipeline.boot(ready, folder, progress)
        guest = context.__enter__()
    try:
        for each in modules:
            loading.load(guest, each)
        yield Stand(guest, built, tree)
    finally:
        context.__exit__(*sys.exc_info())


@contextmanager
def guest_of(
    words: RunSpec, folder: Path, *, brief: bool = False, modules: Sequence[Wanted] = ()
) -> Iterator[Machine]:
    """The guest of ``stand_of`` alone."""
    with stand_of(words, folder, brief=brief, modules=modules) as stand:
        yield stand.guest


def one_arch(options: Mapping[str, Any]) -> None:
    """InputError where this is asked of every architecture."""
    if options["arch_name"] == ALL:
        raise InputError("this is done in one guest", hint="name one architecture with --arch")


def shell_text(words: tuple[str, ...]) -> str:
    """One word is text for the guest's shell; several are a command and its arguments; none, "".

    InputError where it begins with a patch of this machine: it was meant for --series.
    """
    first = Path(next(iter(words), ""))
    if first.suffix in _PATCHES and first.is_file():
        raise InputError(
            f"{first} is a patch here, and stands where the guest's command does",
            hint=f"--series takes one word: --series fixed --series {shlex.quote(str(first))}",
        )
    return words[0] if len(words) == 1 else shlex.join(words)


def boot_folder() -> Path:
    folder = resources.state() / "boots" / secrets.token_hex(4)
    folder.mkdir(parents=True)
    return folder


@click.command(context_settings={"allow_interspersed_args": False})
@options_of(TREE_OPTIONS, BUILD_OPTIONS, GUEST_OPTIONS)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@for_each_arch
def boot(command: tuple[str, ...], **options: Any) -> None:
    """Build and boot the kernel, run COMMAND in the guest if one is given, and power off.

    Ends with PASS (0) if the guest got ready, COMMAND exited 0 and the console shows no splat.
    A COMMAND of one word is a text for the guest's shell.

    \b
    Examples:
      pinpage boot --series none -- cat /proc/version
      pinpage boot --series none -- 'grep compact /proc/vmstat | sort'
    """
    text = shell_text(command)
    folder = boot_folder()
    status = 0
    words = replace(Words(options).spec(), snapshots=False)  # whether it boots is the question
    with guest_of(words, folder) as guest:
        if text:
            result = guest.run(text, timeout=300)
            sys.stdout.buffer.write(result.stdout)
            sys.stdout.flush()
            sys.stderr.buffer.write(result.stderr)
            status = 0 if result.status == 0 else EXIT_CODES[Outcome.FAIL]
            if status:
                err.print(f"the command ended with status {result.status}", highlight=False)
        else:
            click.echo(guest.must("cat /proc/version").strip())
        splats = show_splats(guest)
    show_console(folder)
    sys.exit(EXIT_CODES[Outcome.CRASH] if splats else status)


def show_splats(guest: Machine) -> list[Splat]:
    """Tell of what the kernel complained about, on stderr."""
    splats = list(splat.find(guest.console_text().splitlines()))
    for each in splats:
        err.print(f"[bold red]{each.kind}[/] {escape(in_line(each.title))}", highlight=False)
    return splats


def show_console(folder: Path) -> None:
    err.print(f"console: {folder / 'console.log'}", markup=False, highlight=False, soft_wrap=True)


@click.command()
@options_of(TREE_OPTIONS, ONE_BUILD_OPTIONS, GUEST_OPTIONS, SNAPSHOT_OPTIONS)
@MODULE_OPTION
@click.option("--ssh", is_flag=True, help="A shell over SSH instead of the serial console.")
def shell(modules: tuple[str, ...], ssh: bool, **options: Any) -> None:
    """Build and boot the kernel, and put you on a shell in the guest.

    On the serial console, where the kernel's messages are seen, Ctrl-] leaves. With --ssh the
    shell has a terminal of its own that follows the window's size, and 'exit' leaves. Either way
    the guest ends with it. The guest modules are in /modules.

    \b
    Examples:
      pinpage shell --series fixed
      pinpage shell --ssh --module pinner:mode=pinpage
    """
    one_arch(options)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError(
            "a shell needs a terminal on stdin and stdout",
            hint="for a script there is: pinpage exec -- COMMAND",
        )
    wanted = [loading.wanted(word) for word in modules]
    folder = boot_folder()
    with guest_of(Words(options).spec(), folder, modules=wanted) as guest:
        if ssh and guest.connection is None:
            raise CannotRun("this guest has no network for SSH", hint="leave --ssh out")
        said = hands.sit(guest, serial=not ssh)
    if said:
        err.print(said, markup=False, highlight=False)
    show_console(folder)
