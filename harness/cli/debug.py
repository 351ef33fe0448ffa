# SPDX-License-Identifier: GPL-2.0-only
"""``gdb``: the guest's kernel under a debugger."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from harness import pipeline, proc
from harness.build import browse
from harness.cli.guests import Stand, boot_folder, one_arch, show_console, stand_of
from harness.cli.options import (
    GUEST_OPTIONS,
    MODULE_OPTION,
    ONE_BUILD_OPTIONS,
    RUN_OPTION,
    SNAPSHOT_OPTIONS,
    TREE_OPTIONS,
    VERBOSE_OPTION,
    Words,
    err,
    options_of,
)
from harness.errors import GuestCommandError, GuestHang, InputError, PinpageError
from harness.model import BuildArtifacts
from harness.vm import gdb as debugger
from harness.vm import hands, loading, reach, tty
from harness.vm.loading import Wanted
from harness.vm.machine import Machine
from harness.vm.stream import Ends

_APPEND = "nokaslr"  # functions are where the symbols say
_BATCH_SECONDS = 300.0
_ATTACH = 60.0  # seconds for gdb to read the symbols and let the guest go on
_GRACE = 2.0  # for the word of a stop to come


@click.command()
@options_of(TREE_OPTIONS, ONE_BUILD_OPTIONS, GUEST_OPTIONS, SNAPSHOT_OPTIONS)
@MODULE_OPTION
@RUN_OPTION
@click.option(
    "--break",
    "breaks",
    multiple=True,
    metavar="FUNCTION",
    help="Go on until this function (or FILE:LINE); several may be given.",
)
@click.option(
    "--command",
    "commands",
    multiple=True,
    metavar="GDBCMD",
    help="A command of gdb's for then; several in this order.",
)
@click.option(
    "--batch",
    is_flag=True,
    help="End after the commands [default for --command: a backtrace]; nobody is asked anything.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help=f"End with 4 (HANG) where gdb takes longer [default: {_BATCH_SECONDS:g} with --batch]",
)
@VERBOSE_OPTION
def gdb(
    modules: tuple[str, ...],
    run_command: str | None,
    breaks: tuple[str, ...],
    commands: tuple[str, ...],
    batch: bool,
    timeout: float | None,
    verbose: bool,
    **options: Any,
) -> None:
    """Put gdb on the kernel of a guest, with the symbols of the kernel and its loaded modules.

    With --break the guest goes on until it is at one of the places; without, gdb finds it
    stopped where it was. What makes the kernel come there is --run's (whose output goes to run.log
    beside the console's log), or that of somebody in the guest: the command for a shell there is
    printed. Ends with gdb's own status, 0 or 1.

    Every build knows functions and lines; types and variables are in one of --profile debug.

    \b
    Examples:
      pinpage gdb
      pinpage gdb --break compact_zone --run 'echo 1 > /proc/sys/vm/compact_memory'
      pinpage gdb -m pinner --batch --break pinner_layout --command 'info args' \\
        --run 'echo layout 3000 32 1 > /sys/kernel/debug/pinner/control'
    """
    one_arch(options)
    if not batch and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError("gdb needs a terminal on stdin and stdout", hint="or give --batch")
    breaks = debugger.words("--break", breaks)
    commands = debugger.words("--command", commands)
    words = Words(options).spec()
    words = replace(words, append=(*words.append, _APPEND))
    chosen = pipeline.choose(words)
    program = debugger.program(chosen.arch)
    wanted = [loading.wanted(word) for word in modules]

    def check(built: BuildArtifacts) -> None:
        debugger.check(program, built.vmlinux, _files(built, wanted), breaks)

    limit = timeout or (_BATCH_SECONDS if batch else None)
    folder = boot_folder()
    brief = batch and not verbose
    with stand_of(words, folder, brief=brief, modules=wanted, check=check) as stand:
        session = _session(stand, wanted, chosen.modules, breaks, commands, batch)
        status = _debug(program, stand.guest, session, run_command, limit, folder)
    if not brief:
        show_console(folder)
    sys.exit(int(status != 0))


def _files(built: BuildArtifacts, modules: Sequence[Wanted]) -> list[Path]:
    """The modules with their symbols."""
    return [
        each.local or built.folder / "symbols" / built.modules[each.name].name for each in modules
    ]


def _session(
    stand: Stand,
    modules: Sequence[Wanted],
    sources: Path,
    breaks: tuple[str, ...],
    commands: tuple[str, ...],
    batch: bool,
) -> debugger.Session:
    guest = stand.guest
    loaded = tuple(
        debugger.Loaded(file, debugger.sections(guest, each.name))
        for file, each in zip(_files(stand.built, modules), modules, strict=True)
    )
    return debugger.Session(
        vmlinux=stand.built.vmlinux,
        stub=guest.runtime / "gdb",
        modules=loaded,
        source=browse.lay_out(stand.tree, guest.runtime / "source"),
        modules_source=browse.copy(sources, guest.runtime / "modules"),
        breaks=breaks,
        commands=commands,
        batch=batch,
    )


def _debug(
    program: str,
    guest: Machine,
    session: debugger.Session,
    command: str | None,
    limit: float | None,
    folder: Path,
) -> int:
    """gdb's status. GuestCommandError where the command ended and nothing was reached."""
    file = guest.runtime / "script.gdb"
    file.write_text(debugger.script(session))
    if not session.batch and (said := reach.ssh(guest)):
        err.print(f"a shell in the guest: {said}", markup=False, highlight=False, soft_wrap=True)
    with reach.debugger(guest) as stub, Path(os.devnull).open("rb") as none:
        assert stub == session.stub
        beside = _Beside(guest, command, folder / "run.log", session)
        watch = _Watch(beside, limit)
        argv = debugger.argv(program, file, batch=session.batch)
        if session.batch:
            return proc.attend(argv, watch=watch.look, stdin=none.fileno())
        with tty.kept(sys.stdin.fileno()):
            return proc.attend(argv, watch=watch.look)


@dataclass
class _Beside:
    """The command that runs in the guest once gdb lets it go on."""

    guest: Machine
    command: str | None
    log: Path
    session: debugger.Session
    error: PinpageError | None = None
    ended: float | None = None
    _since: int = field(init=False)

    def __post_init__(self) -> None:
        self._since = len(self.guest.qmp.events)
        if self.command is not None:
            threading.Thread(target=self._work, name="beside gdb", daemon=True).start()

    def _work(self) -> None:
        assert self.command is not None
        while self.guest.status is None:
            if self.guest.qmp.wait_event("RESUME", seconds=_ATTACH, after=self._since) is None:
                continue
            try:
                with self.log.open("wb", buffering=0) as log:
                    hands.passed(self.guest, self.command, Ends(None, log.fileno(), log.fileno()))
            except PinpageError as error:
                self.error = error
            self.ended = time.monotonic()
            return

    def missed(self) -> bool:
        """Whether it has ended, and the guest has never stopped since."""
        if self.ended is None or time.monotonic() - self.ended < _GRACE:
            return False
        events = [event["event"] for event in self.guest.qmp.events[self._since :]]
        return "STOP" not in events[events.index("RESUME") :]


@dataclass
class _Watch:
    """Looks, while gdb runs, at whether that still makes sense."""

    beside: _Beside
    limit: float | None
    began: float = field(default_factory=time.monotonic)

    def look(self) -> None:
        beside, session = self.beside, self.beside.session
        places = " or ".join(session.breaks)
        if session.batch and beside.error is not None:
            raise beside.error
        if session.batch and session.breaks and beside.missed():
            raise GuestCommandError(
                f"`{beside.command}` ended, and {places} was never reached", log=beside.log
            )
        if self.limit is not None and time.monotonic() - self.began > self.limit:
            what = f"{places} was not reached" if session.breaks else "gdb did not end"
            raise GuestHang(
                f"{what} within {self.limit:g} s",
                hint="--run COMMAND makes the guest do something; --timeout gives it longer",
            )
