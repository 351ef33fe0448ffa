# SPDX-License-Identifier: GPL-2.0-only
"""``boot`` and ``shell``: a guest in one's own hands."""

from __future__ import annotations

import secrets
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from harness import pipeline, resources
from harness.cli.options import (
    ALL,
    BUILD_OPTIONS,
    GUEST_OPTIONS,
    SNAPSHOT_OPTIONS,
    TREE_OPTIONS,
    Words,
    err,
    for_each_arch,
    options_of,
    progress_shown,
)
from harness.cli.trees import build_of
from harness.errors import InputError
from harness.model import EXIT_CODES, Outcome, RunSpec
from harness.parse import splat
from harness.vm import console as vm_console
from harness.vm.machine import Machine


@contextmanager
def _guest(words: RunSpec, folder: Path) -> Iterator[Machine]:
    with progress_shown() as progress:
        built = build_of(words, progress)
        ready = pipeline.bootable(pipeline.choose(words), built, progress)
        progress.stage("boot")
        context = pipeline.boot(ready, folder, progress)
        guest = context.__enter__()
    try:
        yield guest
    finally:
        context.__exit__(*sys.exc_info())


def _shell_text(words: tuple[str, ...]) -> str:
    """One word is text for the guest's shell; several are a command and its arguments."""
    return words[0] if len(words) == 1 else shlex.join(words)


def _boots() -> Path:
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
    folder = _boots()
    status = 0
    words = replace(Words(options).spec(), snapshots=False)  # whether it boots is the question
    with _guest(words, folder) as guest:
        if command:
            result = guest.run(_shell_text(command), timeout=300)
            sys.stdout.buffer.write(result.stdout)
            sys.stdout.flush()
            sys.stderr.buffer.write(result.stderr)
            status = 0 if result.status == 0 else EXIT_CODES[Outcome.FAIL]
            if status:
                err.print(f"the command ended with status {result.status}", highlight=False)
        else:
            click.echo(guest.must("cat /proc/version").strip())
        splats = list(splat.find(guest.console_text().splitlines()))
    for each in splats:
        err.print(f"[bold red]{each.kind}[/] {escape(each.title)}", highlight=False)
    err.print(f"console: {folder / 'console.log'}", highlight=False, soft_wrap=True)
    sys.exit(EXIT_CODES[Outcome.CRASH] if splats else status)


@click.command()
@options_of(TREE_OPTIONS, BUILD_OPTIONS, GUEST_OPTIONS, SNAPSHOT_OPTIONS)
def shell(**options: Any) -> None:
    """Build and boot the kernel, and put you on the guest's serial console.

    Ctrl-] leaves and powers the guest off. The guest modules are in /modules.

    \b
    Example:
      pinpage shell --series fixed
    """
    if options["arch_name"] == ALL:
        raise InputError("a shell is on one guest", hint="name one architecture with --arch")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError(
            "a shell needs a terminal on stdin and stdout",
            hint="for a script there is: pinpage boot -- COMMAND",
        )
    folder = _boots()
    with _guest(Words(options).spec(), folder) as guest:
        vm_console.interact(guest)
    err.print(f"console: {folder / 'console.log'}", highlight=False, soft_wrap=True)
