# SPDX-License-Identifier: GPL-2.0-only
"""Outcomes of a boot told apart, on a program that takes QEMU's argv and misbehaves."""

from __future__ import annotations

import dataclasses
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from harness import arch
from harness.errors import (
    CannotRun,
    GuestCommandError,
    GuestCrash,
    GuestError,
    GuestHang,
    GuestLost,
    InfraError,
    InputError,
    PinpageError,
)
from harness.model import Accelerator, Arch, GuestImage, Silent
from harness.vm import begin, machine, shell
from harness.vm.channel import ChannelCut

FAKE = Path(__file__).with_name("fake_qemu.py")
QUICK = Accelerator("tcg", "a test", 0.02)  # 0.6 s to get ready
PATIENT = Accelerator("tcg", "a test", 1.0)


def fake(folder: Path, behaviour: str) -> Arch:
    """x86_64, its QEMU replaced."""
    script = folder / "qemu-fake"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} {behaviour} "$@"\n')
    script.chmod(0o755)
    return dataclasses.replace(arch.get("x86_64"), qemu=str(script))


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def boot(
    folder: Path, behaviour: str, accel: Accelerator = PATIENT, notes: Notes | None = None
) -> AbstractContextManager[machine.Machine]:
    kernel, initrd = folder / "bzImage", folder / "initrd"
    kernel.write_bytes(b"kernel")
    initrd.write_bytes(b"initrd")
    module = folder / "pinner.ko"
    module.write_bytes(b"module")
    return begin.boot(
        fake(folder, behaviour),
        kernel,
        GuestImage(initrd, "sha256:0", {}),
        accel=accel,
        profile_slowdown=1.0,
        folder=folder / "run",
        modules={"pinner": module},
        progress=notes or Silent(),
    )


def test_refused_argv_is_ours_and_quotes_qemu(tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="refused to start") as caught, boot(tmp_path, "refuses"):
        pass
    assert "cannot set up guest memory" in caught.value.detail
    assert caught.value.command[0].endswith("qemu-fake")
    assert caught.value.log == tmp_path / "run" / "qemu.log"


def test_silence_is_a_hang_with_the_last_lines(tmp_path: Path) -> None:
    with (
        pytest.raises(GuestHang, match=r"never got ready within 0\.6 s") as caught,
        boot(tmp_path, "silent", QUICK),
    ):
        pass
    assert caught.value.console.splitlines()[-1].endswith("Booting")
    assert "Booting" in "\n".join(caught.value.lines())


def test_a_killed_qemu_is_lost(tmp_path: Path) -> None:
    with pytest.raises(GuestLost, match="killed by SIGKILL"), boot(tmp_path, "killed"):
        pass


def test_a_panic_is_a_crash_with_its_title(tmp_path: Path) -> None:
    with (
        pytest.raises(GuestCrash, match="Attempted to kill init") as caught,
        boot(tmp_path, "panic"),
    ):
        pass
    assert [splat.kind for splat in caught.value.splats] == ["panic"]


def test_nobody_waits_for_a_command_whose_kernel_has_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_DYING", 0.5)
    report = r"printf '\n[    9.000000] kernel BUG at mm/compaction.c:549!\n' > /dev/tty"
    with boot(tmp_path, "shell") as guest:
        assert guest.run(report).status == 0
        assert guest.run("echo it lives on").status == 0
        with pytest.raises(GuestCrash, match=r"compaction\.c:549"):
            guest.run("sleep 60")


def test_a_reset_without_a_word_is_lost(tmp_path: Path) -> None:
    with pytest.raises(GuestLost, match="reset itself without a word"), boot(tmp_path, "reset"):
        pass


def test_an_unexpected_end_quotes_qemu(tmp_path: Path) -> None:
    with pytest.raises(GuestLost, match="ended with status 1") as caught, boot(tmp_path, "exits"):
        pass
    assert "something broke" in caught.value.detail


def test_a_missing_kernel_is_named(tmp_path: Path) -> None:
    context = boot(tmp_path, "silent")
    (tmp_path / "bzImage").unlink()
    with pytest.raises(InputError, match="bzImage"), context:
        pass


def test_commands_over_the_console(tmp_path: Path) -> None:
    notes = Notes()
    with boot(tmp_path, "shell", notes=notes) as guest:
        assert "no network" in notes.notes[0]
        done = guest.run("echo out; echo err >&2; cat; exit 3", stdin=b"\0binary\xff\n")
        assert (done.status, done.stdout, done.stderr) == (3, b"out\n\0binary\xff\n", b"err\n")
        with pytest.raises(GuestCommandError, match=r"`\( … \) && exit 3` exited 3"):
            guest.must("(\ntrue\n) && exit 3")
        with pytest.raises(GuestCommandError, match=r"`echo no >&2; exit 4` exited 4.*: no"):
            guest.must("echo no >&2; exit 4")
        target = str(tmp_path / "a file")
        guest.write(target, b"one write")
        assert guest.read(target) == b"one write"
        guest.put(guest.module("pinner"), target)
        assert Path(target).read_bytes() == b"module"
        assert stat.S_IMODE(Path(target).stat().st_mode) == 0o644
        with pytest.raises(CannotRun, match=r"no guest module zram .*pinner"):
            guest.module("zram")
        assert "Linux version" in guest.console_text()


def test_a_command_past_its_deadline_is_a_hang(tmp_path: Path) -> None:
    with (
        boot(tmp_path, "shell") as guest,
        pytest.raises(
            GuestHang,
            match=r"`sleep 60`: it did not end within 0\.3 s; stuck \(7\) waits in wait_for_ever",
        ),
    ):
        guest.run("sleep 60", timeout=0.3)


@pytest.mark.parametrize(
    ("behaviour", "limit", "kind", "said"),
    [
        ("complains", "_ILL", GuestHang, r"within 0\.2 s of the kernel's report"),
        ("oopses", "_DYING", GuestCrash, r"crashed while .*kernel BUG at mm/slub\.c:1"),
    ],
)
def test_a_command_does_not_get_all_its_time_from_a_kernel_that_is_ill(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: str,
    limit: str,
    kind: type[GuestError],
    said: str,
) -> None:
    with boot(tmp_path, behaviour) as guest:
        assert guest.run("true").status == 0
        monkeypatch.setattr(machine, limit, 0.2)
        with pytest.raises(kind, match=said) as caught:
            guest.run("sleep 60", timeout=50)
    assert caught.value.splats


def test_patience_is_for_a_guest_that_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that sleeps gets what any other gets, however slow it is."""
    said = r"does not end: since the kernel's report the guest had nothing to do for 0\.2 s"
    with boot(tmp_path, "complains", Accelerator("tcg", "a test", 5.0)) as guest:
        assert guest.run("true").status == 0
        monkeypatch.setattr(machine, "_ILL", 0.2)
        with pytest.raises(GuestHang, match=said):
            guest.run("sleep 60", timeout=50)


@pytest.mark.parametrize(
    ("answers", "kind", "said"),
    [
        (True, InfraError, "the guest answers on another: how it ended is not known"),
        (False, GuestHang, "the guest cut the connection (EOFError: )"),
    ],
)
def test_a_connection_that_was_cut_is_no_hang_where_the_guest_lets_us_in_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answers: bool,
    kind: type[PinpageError],
    said: str,
) -> None:
    class Cut:
        def run(self, *_: object, **__: object) -> None:
            raise ChannelCut("EOFError: ")

        def close(self) -> None:
            pass

    def connect(port: int, access: object, log: object, *, seconds: float) -> Cut:
        assert port == 7 and seconds > 0
        if not answers:
            raise ChannelCut("refused")
        return Cut()

    monkeypatch.setattr(machine, "_GONE", 0.1)
    monkeypatch.setattr(shell, "connect", connect)
    with boot(tmp_path, "shell") as guest:
        own, guest._channel = guest._channel, Cut()  # type: ignore[assignment]
        guest._way = machine.Way(7, None, None)  # type: ignore[arg-type]
        with pytest.raises(kind) as caught:
            guest.run("true")
        guest._channel, guest._way = own, None
    assert said in str(caught.value)


def test_a_qemu_that_dies_under_a_command_is_lost(tmp_path: Path) -> None:
    with boot(tmp_path, "shell") as guest:
        os.kill(guest.pid, signal.SIGSTOP)
        os.kill(guest.pid, signal.SIGKILL)
        with pytest.raises(GuestLost, match="killed by SIGKILL"):
            guest.run("true")


@pytest.mark.parametrize("behaviour", ["shell", "stubborn"])
def test_nothing_outlives_the_context(tmp_path: Path, behaviour: str) -> None:
    with pytest.raises(KeyboardInterrupt), boot(tmp_path, behaviour) as guest:
        pid, sockets = guest.pid, guest.console.fifo.parent
        assert sockets.is_dir()
        raise KeyboardInterrupt
    assert not Path(f"/proc/{pid}").exists()
    assert not sockets.exists()


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
import test_vm_machine
with test_vm_machine.boot(Path({folder!r}), "shell") as guest:
    print(guest.pid, flush=True)
    sys.stdin.read()
"""


def test_nothing_outlives_a_killed_parent(tmp_path: Path) -> None:
    program = CHILD.format(here=str(FAKE.parent), folder=str(tmp_path))
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        qemu = int(parent.stdout.readline())
        assert Path(f"/proc/{qemu}").exists()
        parent.kill()
        parent.wait()
    end = time.monotonic() + 5
    while _runs(qemu):
        assert time.monotonic() < end, "the fake QEMU outlived its parent"
        time.sleep(0.01)  # polling under a deadline


def _runs(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rsplit(")", 1)[1].split()[0] != "Z"


def test_patience_is_the_base_times_host_times_profile(tmp_path: Path) -> None:
    slow = Accelerator("tcg", "a test", 0.01)
    kernel = tmp_path / "bzImage"
    kernel.write_bytes(b"")
    with (
        pytest.raises(GuestHang, match=r"within 0\.9 s"),
        begin.boot(
            fake(tmp_path, "silent"),
            kernel,
            GuestImage(kernel, "sha256:0", {}),
            accel=slow,
            profile_slowdown=3.0,
            folder=tmp_path / "run",
            modules={},
            progress=Silent(),
        ),
    ):
        pass
