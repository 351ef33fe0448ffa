# SPDX-License-Identifier: GPL-2.0-only
"""A run that is held, on a program that takes QEMU's argv and commands."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console
from test_finding import AFTER, BEFORE, CONTROL, SPLAT, TREATED
from test_vm_machine import boot

from harness import pipeline
from harness.cli import holding
from harness.cli.holding import Holder
from harness.errors import GuestError, GuestHang, GuestLost
from harness.finding import Stop
from harness.model import Silent
from harness.terminal import TerminalProgress
from harness.vm.machine import Machine

BUG = "[    9.1] kernel BUG at mm/compaction.c:1089!\\r"


class Stages(Silent):
    def __init__(self) -> None:
        self.names: list[str] = []

    def stage(self, name: str) -> None:
        self.names.append(name)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(holding, "_say", lines.append)
    return lines


def scene(guest: Machine, stages: Stages | None = None) -> pipeline.Scene:
    ready = SimpleNamespace(
        artifacts=SimpleNamespace(vmlinux=Path("/b/vmlinux")),
        words=SimpleNamespace(scenario="compaction"),
    )
    arms = (CONTROL, TREATED)
    return pipeline.Scene(TREATED, arms, cast(Any, ready), guest, stages or Stages())


def holder(stop: Stop, seconds: float | None = 0.0) -> Holder:
    return Holder(stop, seconds, TerminalProgress(Console(file=io.StringIO())))


def test_it_is_held_once_and_goes_on_as_it_was(tmp_path: Path, said: list[str]) -> None:
    hold, stages = holder(Stop.MIGRATED), Stages()
    with boot(tmp_path, "shell") as guest, hold(scene(guest, stages)) as saw:
        saw(BEFORE)
        assert not hold.held
        saw(AFTER)
        assert hold.held
        saw(AFTER)
        assert guest.must("echo it goes on") == "it goes on\n"
        assert not list(guest.runtime.glob("monitor")) + list(guest.runtime.glob("gdb"))
    assert stages.names == ["hold", "drive treated"]
    assert said[0] == "held: treated of compaction: 2 of 3 pinned pages migrated"
    assert any(re.fullmatch(r" +gdb +gdb /b/vmlinux -ex 'target remote .*/gdb'", s) for s in said)


def test_what_is_done_meanwhile_is_no_evidence(tmp_path: Path, said: list[str]) -> None:
    hold = holder(Stop.MIGRATED, 8.0)
    with boot(tmp_path, "shell") as guest:
        before = guest.log.stat().st_size

        def meddle() -> None:
            until(lambda: any("goes on in" in line for line in said))
            with suppress(GuestError):
                guest.run(f"echo '{BUG}' > /dev/tty")
            with suppress(GuestError):
                guest.run("kill -9 $PPID", timeout=1)

        worker = threading.Thread(target=meddle, daemon=True)
        worker.start()
        with hold(scene(guest)) as saw:
            saw(BEFORE)
            saw(AFTER)
        worker.join()
        assert guest.must("echo it goes on") == "it goes on\n"
        assert "kernel BUG" not in guest.console_text()[before:]
        assert "kernel BUG" in guest.log.with_name("held.log").read_text(errors="replace")


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_report_that_ends_the_arm_in_an_error(tmp_path: Path, said: list[str]) -> None:
    hold = holder(Stop.SPLAT)
    with boot(tmp_path, "shell") as guest:
        with pytest.raises(GuestHang, match="mine"), hold(scene(guest)):
            with guest.log.open("a") as log:
                log.write(f"\n{SPLAT}")
            raise GuestHang("mine")
        assert hold.held
        assert "the kernel reported WARN" in said[0]


def test_an_error_without_a_report_is_not_held(tmp_path: Path, said: list[str]) -> None:
    hold = holder(Stop.SPLAT)
    with boot(tmp_path, "shell") as guest, pytest.raises(GuestHang), hold(scene(guest)):
        raise GuestHang("mine")
    assert not hold.held and not said


def test_a_guest_that_reset_itself_is_told_as_ever(tmp_path: Path, said: list[str]) -> None:
    """QEMU outlives it only because it might have been held."""
    hold = holder(Stop.SPLAT)
    with boot(tmp_path, "shell") as guest, pytest.raises(GuestLost), hold(scene(guest)):
        guest.run("kill -9 $PPID", timeout=1)
    assert not hold.held


def test_a_machine_that_cannot_be_saved_is_held_all_the_same(
    tmp_path: Path, said: list[str]
) -> None:
    hold = holder(Stop.MIGRATED)
    with boot(tmp_path, "unsaveable") as guest, hold(scene(guest)) as saw:
        saw(BEFORE)
        saw(AFTER)
        assert guest.must("echo it goes on") == "it goes on\n"
    assert hold.held and any("cannot be put back" in line for line in said)
