# SPDX-License-Identifier: GPL-2.0-only
"""A guest put back to a moment, on a program that takes QEMU's argv and commands."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from test_vm_machine import boot

from harness.errors import GuestError, GuestLost
from harness.vm import moment
from harness.vm.machine import Machine
from harness.vm.moment import Moment
from harness.vm.qmp import MonitorError


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_was_said_meanwhile_is_put_aside(tmp_path: Path) -> None:
    with boot(tmp_path, "shell") as guest:
        guest.must("echo be''fore > /dev/tty")
        kept = Moment(guest)
        before = guest.log.read_bytes()
        assert b"before" in before
        with suppress(GuestError):  # it is taken for a panic
            guest.run("echo 'Kernel pan''ic - not syncing: mine' > /dev/tty")
        until(guest.console.panicked)
        kept.back()
        assert not guest.console.panicked() and not guest.console.oopsed()
        assert guest.log.read_bytes().startswith(before)
        assert b"panic - not syncing: mine" not in guest.log.read_bytes()
        assert b"panic - not syncing: mine" in moment.path(guest).read_bytes()
        assert guest.must("echo it goes on") == "it goes on\n"
        assert not moment.ended(guest)
        assert not list((tmp_path / "run").glob("*.qcow2"))


def test_one_that_is_over_is_put_back_too(tmp_path: Path) -> None:
    with boot(tmp_path, "shell") as guest:
        kept = Moment(guest)
        with suppress(GuestError):
            guest.run("kill -9 $PPID", timeout=2)  # the shell that the commands come to
        until(lambda: moment.ended(guest))
        kept.back()
        assert guest.must("echo it goes on") == "it goes on\n"


def test_a_machine_that_cannot_be_saved_goes_on(tmp_path: Path) -> None:
    with boot(tmp_path, "unsaveable") as guest:
        with pytest.raises(MonitorError, match="non-migratable"):
            Moment(guest)
        assert guest.must("echo it goes on") == "it goes on\n"
        assert not list((tmp_path / "run").glob("*.qcow2"))


def test_a_qemu_that_is_gone_is_lost(tmp_path: Path) -> None:
    with boot(tmp_path, "shell") as guest:
        kept = Moment(guest)
        killed(guest)
        with pytest.raises(GuestLost, match="SIGKILL"):
            kept.back()
        assert not list((tmp_path / "run").glob("*.qcow2"))


def killed(guest: Machine) -> None:
    os.kill(guest.pid, signal.SIGKILL)
    until(lambda: guest.status is not None)


def test_a_guest_that_ends_by_itself_is_let_end(tmp_path: Path) -> None:
    with boot(tmp_path, "shell") as guest:
        moment.outlive(guest)
        with suppress(GuestError):
            guest.run("kill -9 $PPID", timeout=2)
        until(lambda: moment.ended(guest))
        assert guest.status is None
        moment.let_end(guest)
        until(lambda: guest.status == 0)
