# SPDX-License-Identifier: GPL-2.0-only
"""A guest in a person's hands: a shell, a command whose input and outputs pass through."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable

from harness.errors import GuestCommandError, GuestError
from harness.vm import console, login, stream, tty
from harness.vm.channel import ChannelCut, ChannelTimeout
from harness.vm.machine import Machine
from harness.vm.stream import Ends

_SECONDS = 24 * 3600.0  # for a command over the console, which needs some deadline
_NAMED = 80  # characters of a command in a message
_POWERED_OFF = 0  # QEMU's status when the guest ends by itself, or resets


def passed(
    guest: Machine,
    command: str,
    ends: Ends,
    *,
    seconds: float | None = None,
    gone: Callable[[], bool] = lambda: False,
) -> int:
    """Run a command with its input and outputs passed through; its exit status, as a shell has
    it: 128 and the signal's number where a signal ended it.

    seconds: a deadline, which is not scaled; None for none. gone: whether the guest is over, of one
    that QEMU outlives. Raises GuestCrash, GuestHang or
    GuestLost when that is what happened instead.
    """
    name = f"`{command if len(command) <= _NAMED else command[:_NAMED] + '…'}`"
    watch = guest.watch(name)

    def look() -> None:
        watch()
        if gone():
            raise guest.fate(name, "the guest reset itself, or powered itself off")

    text = f"sh -c {shlex.quote(command)}; exit $?"
    try:
        if guest.connection is None:
            return _whole(guest, text, ends, seconds)
        status = stream.stream(guest.connection, text, ends, seconds=seconds, watch=look)
    except ChannelTimeout:
        raise guest.fate(name, f"it did not end within {seconds:g} s") from None
    except ChannelCut as error:
        raise guest.cut(name, error) from None
    if status is None:
        raise GuestCommandError(f"the shell around {name} was killed in the guest")
    return status


def _whole(guest: Machine, command: str, ends: Ends, seconds: float | None) -> int:
    """The same over the console: all of the input first, and the outputs when it has ended."""
    stdin = b""
    if ends.source is not None:
        with os.fdopen(os.dup(ends.source), "rb") as source:
            stdin = source.read()
    limit = _SECONDS if seconds is None else seconds
    done = guest.run(command, timeout=limit / guest.patience, stdin=stdin)
    tty.write_all(ends.out, done.stdout)
    tty.write_all(ends.err, done.stderr)
    if done.status is None:
        raise GuestCommandError("the shell around the command was killed in the guest")
    return done.status


def sit(guest: Machine, *, serial: bool) -> str:
    """Put the user on a shell of the guest: on its serial console, or over SSH.

    Gives what became of the guest, "" where it goes on. Raises what a panic, or a QEMU that was
    killed, is elsewhere.
    """
    try:
        if serial or guest.connection is None:
            console.interact(guest)
        else:
            login.interact(guest.connection, lambda: over(guest))
    except (ChannelCut, console.ConsoleClosed) as error:
        return _ended(guest, f"the guest cut the connection ({error})")
    return _ended(guest, "the guest is over") if over(guest) else ""


def over(guest: Machine) -> bool:
    """Whether there is nothing left to talk with."""
    return guest.status is not None or guest.console.panicked()


def _ended(guest: Machine, problem: str) -> str:
    error: GuestError = guest.fate("you at its shell", problem, wait=True)
    if guest.status == _POWERED_OFF and not guest.console.panicked():
        return "the guest powered itself off, or reset itself"
    raise error
