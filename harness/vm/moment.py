# SPDX-License-Identifier: GPL-2.0-only
"""A moment of a running guest, to which it is put back whatever was done to it since.

QEMU saves the machine's state beside the console's log, and loads it again into the same machine;
a guest that panicked, reset itself or was powered off is put back as well, as long as QEMU itself
is there. What the console said in between goes to a file of its own.
"""

from __future__ import annotations

import time
from pathlib import Path

from harness.errors import InfraError
from harness.vm import snapshot
from harness.vm.machine import Machine
from harness.vm.qmp import MonitorError

_IMAGE, _SAID = "moment.qcow2", "held.log"
_PAUSE = {"shutdown": "pause"}  # of QEMU's actions: where it would end, it stops
_OVER = ("shutdown", "guest-panicked", "internal-error")  # states that only a reset leads out of
_RESET = 10.0  # seconds
_POLL = 0.02


def outlive(guest: Machine) -> None:
    """Have QEMU stay, stopped, where the guest powers off, resets, or panics with ``panic=-1``.

    MonitorError for a QEMU that cannot (before 6.0).
    """
    guest.qmp.execute("set-action", _PAUSE)


def ended(guest: Machine) -> bool:
    """Whether an outlived guest is over."""
    return guest.status is not None or _state(guest) in _OVER


def let_end(guest: Machine) -> None:
    """End the QEMU of an outlived guest that is over."""
    if guest.status is None:
        guest.qmp.execute("quit")


def silence(guest: Machine, size: int) -> None:
    """Stop a guest that is used no more, and put aside what it said behind so many bytes."""
    if guest.status is None:
        guest.qmp.execute("stop")
    guest.console.cut(size, path(guest))


class Moment:
    """Kept while the guest is connected; what is done to it comes next."""

    def __init__(self, guest: Machine) -> None:
        """MonitorError where QEMU cannot save it; it goes on all the same."""
        self._guest = guest
        self._image = guest.log.absolute().parent / _IMAGE
        self._image.unlink(missing_ok=True)
        try:
            with guest.apart():
                snapshot.save(guest.qmp, self._image, guest.patience)
                self._said = guest.log.stat().st_size
                outlive(guest)
        except BaseException:
            self.forget()
            raise

    def back(self) -> None:
        """Put the guest back; InfraError where QEMU does not load what it saved, GuestLost where it
        is gone."""
        guest, qmp = self._guest, self._guest.qmp
        try:
            with guest.apart(alone=False):
                if _state(guest) in _OVER:
                    self._reset()
                snapshot.load(qmp, self._image, guest.patience)
                guest.console.cut(self._said, path(guest))
                qmp.execute("set-action", {"shutdown": "poweroff"})
        except MonitorError as error:
            if guest.status is not None:
                raise guest.fate("the run, which was held", str(error)) from error
            raise InfraError(
                f"the guest cannot be put back to where it was held: {error}",
                hint="do not end QEMU while a run is held; run it again",
            ) from error
        finally:
            self.forget()

    def forget(self) -> None:
        self._image.unlink(missing_ok=True)

    def _reset(self) -> None:
        """A machine that is over takes no state before it was reset."""
        guest = self._guest
        guest.qmp.execute("set-action", {"reboot": "reset"})
        guest.qmp.execute("system_reset")
        until = time.monotonic() + _RESET
        while _state(guest) in _OVER:
            if time.monotonic() >= until:
                raise MonitorError("the machine does not reset")
            time.sleep(_POLL)  # between two looks, under a deadline
        guest.qmp.execute("set-action", {"reboot": "shutdown"})


def _state(guest: Machine) -> str:
    return str(guest.qmp.execute("query-status")["status"])


def path(guest: Machine) -> Path:
    """What the console said while the guest was held."""
    return guest.log.with_name(_SAID)
