# SPDX-License-Identifier: GPL-2.0-only
"""``exec`` and ``page``: a command in the guest as if it were one here, and one of its pages."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness import onepage
from harness.cli.guests import (
    boot_folder,
    guest_of,
    one_arch,
    shell_text,
    show_console,
    show_splats,
)
from harness.cli.options import (
    GUEST_OPTIONS,
    JSON_OPTION,
    MODULE_OPTION,
    ONE_BUILD_OPTIONS,
    OWN_CODES,
    RUN_OPTION,
    SNAPSHOT_OPTIONS,
    TREE_OPTIONS,
    VERBOSE_OPTION,
    Words,
    options_of,
    out,
)
from harness.errors import GuestCommandError
from harness.parse import onepage as parsed
from harness.scenario.pinned import APPEND
from harness.vm import hands, loading
from harness.vm.machine import Machine
from harness.vm.stream import Ends

_OUT, _ERR = 1, 2


@click.command(
    name="exec",
    context_settings={"allow_interspersed_args": False},
    epilog=f"""\b
Exit codes: the command's own, 128 and the signal's number if a signal ended it.
{OWN_CODES} and more are pinpage's, with a line that begins with 'error:' on stderr:
{OWN_CODES} and the usual code, so 202 is bad usage, 203 CRASH, 204 HANG, 209 INFRA.""",
)
@options_of(TREE_OPTIONS, ONE_BUILD_OPTIONS, GUEST_OPTIONS, SNAPSHOT_OPTIONS)
@MODULE_OPTION
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="End with 204 (HANG) where COMMAND takes longer [default: it may take any time]",
)
@VERBOSE_OPTION
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(
    command: tuple[str, ...],
    modules: tuple[str, ...],
    timeout: float | None,
    verbose: bool,
    **options: Any,
) -> None:
    """Run COMMAND in a guest, its input, outputs and exit status passed on.

    The guest is restored from a snapshot, or boots the first time. Output comes as it is made,
    stdout and stderr apart; stdin is passed on where it is no terminal. A COMMAND of one word is a
    text for the guest's shell.

    \b
    Examples:
      pinpage exec -- uname -a
      pinpage exec --module pinner:mode=pinpage -- cat /sys/kernel/debug/pinner/counters
      pinpage exec -- 'cat > /tmp/t; sh /tmp/t' < test.sh
    """
    one_arch(options)
    text = shell_text(command)
    wanted = [loading.wanted(word) for word in modules]
    folder = boot_folder()
    ends = Ends(_source(), _OUT, _ERR)
    with guest_of(Words(options).spec(), folder, brief=not verbose, modules=wanted) as guest:
        try:
            status = hands.passed(guest, text, ends, seconds=timeout)
        except BrokenPipeError:  # who reads us is gone; click would make a 1 of it
            sys.exit(128 + signal.SIGPIPE)
        if show_splats(guest) or verbose:
            show_console(folder)
    sys.exit(status)


def _source() -> int | None:
    """What the command reads: our stdin, if there is one and nobody types on it."""
    try:
        number = sys.stdin.fileno()
        return None if os.isatty(number) else number
    except (AttributeError, OSError, ValueError):  # closed
        return None


@click.command()
@options_of(TREE_OPTIONS, ONE_BUILD_OPTIONS, GUEST_OPTIONS, SNAPSHOT_OPTIONS)
@MODULE_OPTION
@RUN_OPTION
@VERBOSE_OPTION
@JSON_OPTION
@click.argument("frame", metavar="PFN|first-pin")
def page(
    frame: str,
    modules: tuple[str, ...],
    run_command: str | None,
    verbose: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Tell of one page frame of a guest what its kernel knows, and what migration would do.

    From the kernel's own files: flags, mappings, zone, memory block, pageblock, contiguous area,
    who allocated it (page_owner), and the pinner's ledger where that is loaded. --run comes
    before. first-pin is the first page that the pinner has.

    \b
    Examples:
      pinpage page 0x1000
      pinpage page first-pin -m pinner:mode=pinpage \\
        --run 'echo layout 3000 32 1 > /sys/kernel/debug/pinner/control'
    """
    one_arch(options)
    pfn = onepage.number(frame)
    wanted = [loading.wanted(word) for word in modules]
    words = Words(options).spec()
    words = replace(words, append=(*APPEND, *words.append))
    with guest_of(words, boot_folder(), brief=not verbose, modules=wanted) as guest:
        run_before(guest, run_command)
        facts = onepage.look(guest, pfn)
    fate = parsed.fate(facts)
    if as_json:
        out(onepage.as_json(facts, fate))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for what, said in onepage.lines(facts, fate):
        table.add_row(what, escape(said))
    Console(emoji=False).print(table)


def run_before(guest: Machine, command: str | None) -> None:
    """Run what was asked for before; its outputs are on stderr. GuestCommandError if it fails."""
    if command is None:
        return
    status = hands.passed(guest, command, Ends(None, _ERR, _ERR))
    if status != 0:
        raise GuestCommandError(f"--run: `{command}` ended with status {status} in the guest")
