# SPDX-License-Identifier: GPL-2.0-only
"""``run --stop-on``: a run that is held where something was found, with its guest in one's hands.

What is done to the guest meanwhile is no evidence: it is put back to the moment at which it was
held before the run goes on.
"""

from __future__ import annotations

import os
import select
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from harness import ending
from harness.cli.options import err
from harness.errors import GuestError, GuestHang, PinpageError
from harness.finding import Finder, Stop
from harness.model import Event
from harness.pipeline import Scene
from harness.scenario.base import Emit
from harness.terminal import TerminalProgress
from harness.vm import console, login, moment, reach
from harness.vm.channel import ChannelCut
from harness.vm.machine import Machine
from harness.vm.moment import Moment
from harness.vm.qmp import MonitorError
from harness.vm.relay import relay

_STAGE = "hold"
_MONITOR = "monitor"
_LOOK = 0.5  # seconds between two looks at whether QEMU is still there
_ANSWER = 3.0  # seconds for a guest that is well, before scaling
_READ = 4096


class Holder:
    """A Look (pipeline/boots.py) that holds the run, once.

    seconds: for so long, asking nobody; None: until the user leaves a shell, or without a
    terminal, until stdin closes or SIGINT comes.
    """

    def __init__(self, stop: Stop, seconds: float | None, shown: TerminalProgress) -> None:
        self._stop, self._seconds, self._shown = stop, seconds, shown
        self.held = False

    @contextmanager
    def __call__(self, scene: Scene) -> Iterator[Emit]:
        guest, alone = scene.guest, len(scene.arms) == 1
        find = Finder(self._stop, scene.arm, guest.console_text, alone=alone)

        def saw(event: Event) -> None:
            if not self.held and (why := find.saw(event)):
                self._hold(scene, why)

        if self._stop is Stop.SPLAT and not self.held:
            with suppress(MonitorError):  # it is not held where it panics, then
                moment.outlive(guest)
        try:
            yield saw
        except PinpageError as error:
            if not self.held and guest.status is None and (why := find.splat()):
                self._hold(scene, why, error=True)
            if isinstance(error, GuestHang) and self._reset(guest):
                raise guest.fate("the arm's drive", str(error), wait=True) from error
            raise
        if not self.held and (why := find.splat()):
            self._hold(scene, why)

    def _reset(self, guest: Machine) -> bool:
        """Whether a guest that did not answer was over, and only we had QEMU outlive it: it ends
        now, so that this is told as it is without us."""
        with suppress(MonitorError):
            if guest.status is None and moment.ended(guest):
                moment.let_end(guest)
                return True
        return False

    def _hold(self, scene: Scene, why: str, *, error: bool = False) -> None:
        """error: the arm has ended in one, and its guest, be it as it may, is used no more."""
        self.held = True
        guest = scene.guest
        scene.progress.stage(_STAGE)
        with self._shown.aside():
            answers = _answers(guest)
            said = guest.log.stat().st_size
            kept = _kept(guest) if answers and not error else None
            try:
                self._hand_out(scene, why, answers=answers)
            except BaseException:
                if kept is not None:
                    kept.forget()
                raise
            if kept is not None:
                kept.back()
            elif error:
                moment.silence(guest, said)
        scene.progress.stage(f"drive {scene.arm.name}")

    def _hand_out(self, scene: Scene, why: str, *, answers: bool) -> None:
        guest = scene.guest
        with ExitStack() as stack:
            stub = stack.enter_context(reach.debugger(guest))
            stack.enter_context(relay(guest.qmp, guest.runtime / _MONITOR))
            vmlinux = shlex.quote(str(scene.ready.artifacts.vmlinux))
            _say(f"held: {scene.arm.name} of {scene.ready.words.scenario}: {why}")
            if answers and (way := reach.ssh(guest)):
                _say(f"  shell    {way}")
            _say(f"  gdb      gdb {vmlinux} -ex 'target remote {stub}'")
            _say(f"  monitor  QMP on the unix socket {guest.runtime / _MONITOR}")
            _say(f"  console  {guest.log}")
            if not answers:
                over = (
                    "is over, and stopped where it ended"
                    if moment.ended(guest)
                    else "no longer answers"
                )
                _say(f"  the guest {over}")
            if self._seconds is None and answers and sys.stdin.isatty() and sys.stdout.isatty():
                _say("  the run goes on when you leave; what you do to the guest is undone then")
                _sit(guest)
            else:
                self._wait(guest)

    def _wait(self, guest: Machine) -> None:
        """For the end of the time, or of stdin (Enter on a terminal), or SIGINT."""
        until = None if self._seconds is None else time.monotonic() + self._seconds
        source = _source() if until is None else None
        if until is not None:
            _say(f"  the run goes on in {self._seconds:g} s, or at Ctrl-C (SIGINT)")
        elif source is not None and os.isatty(source):
            _say("  the run goes on at Enter, or Ctrl-C (SIGINT)")
        else:
            _say("  the run goes on when stdin is closed, or at SIGINT")
        with ending.taken(), suppress(KeyboardInterrupt):
            while guest.status is None and (until is None or time.monotonic() < until):
                pause = _LOOK if until is None else min(_LOOK, max(0.0, until - time.monotonic()))
                ready = select.select([] if source is None else [source], [], [], pause)[0]
                if until is None and source is None:
                    return  # there is no stdin that could close
                if ready and (not os.read(ready[0], _READ) or os.isatty(ready[0])):
                    return


def _answers(guest: Machine) -> bool:
    """Whether a command still ends in the guest."""
    if moment.ended(guest):
        return False
    try:
        return guest.run("true", timeout=_ANSWER).status == 0
    except GuestError:
        return False


def _kept(guest: Machine) -> Moment | None:
    try:
        return Moment(guest)
    except MonitorError as error:
        _say(f"  this guest cannot be put back, so what is done to it is evidence too: {error}")
        return None


def _sit(guest: Machine) -> None:
    """A shell until the user leaves, or the guest is over."""
    try:
        if guest.connection is None:
            console.interact(guest)
        else:
            login.interact(guest.connection, lambda: moment.ended(guest))
    except (ChannelCut, console.ConsoleClosed) as error:
        _say(f"the guest is not to be reached any more: {error}")


def _source() -> int | None:
    try:
        number = sys.stdin.fileno()
        os.fstat(number)
    except (AttributeError, OSError, ValueError):
        return None
    return number


def _say(text: str) -> None:
    err.print(text, highlight=False, markup=False, soft_wrap=True)
