# SPDX-License-Identifier: GPL-2.0-only
"""The console: what is waited for, what is seen in its recording, people, and commands over it."""

from __future__ import annotations

import os
import pty
import random
import select
import termios
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.vm import console_shell
from harness.vm.channel import ChannelCut, ChannelTimeout
from harness.vm.console import (
    Console,
    ConsoleClosed,
    ConsoleSilent,
    interact,
    wait_ready,
)
from harness.vm.console_shell import ConsoleShell


class Qemu:
    """A console as QEMU makes one: a FIFO that it reads and a file that it writes."""

    def __init__(self, folder: Path) -> None:
        self.alive = True
        os.mkfifo(folder / "con.in")
        self.typed = os.open(folder / "con.in", os.O_RDWR)
        self.log = os.open(folder / "console.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self.console = Console(folder / "con.in", folder / "console.log", lambda: self.alive)

    def say(self, data: bytes) -> None:
        os.write(self.log, data)

    def end(self) -> None:
        self.alive = False
        os.close(self.typed)
        os.close(self.log)


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[Qemu]:
    value = Qemu(tmp_path)
    yield value
    if value.alive:
        value.end()


def test_ready_and_what_it_says(qemu: Qemu) -> None:
    qemu.say(b"[ 1.0] boot\r\n" * 5000 + b"pinpage: guest ready network=none\r\n# ")
    with qemu.console.attached(whole=True) as spawn:
        assert wait_ready(spawn, 5) == "network=none"
        qemu.say(b"pinpage: guest ready\r\n")
        assert wait_ready(spawn, 5) == ""


def test_silence_a_panic_and_the_end(qemu: Qemu) -> None:
    with qemu.console.attached() as spawn:
        qemu.say(b"[ 1.0] boot\r\n")
        with pytest.raises(ConsoleSilent):
            wait_ready(spawn, 0.05)
        qemu.say(b"[ 2.0] Kernel panic - not syncing: VFS\r\n[ 2.0] CPU: 0\r\n")
        qemu.end()
        with pytest.raises(ConsoleClosed):
            wait_ready(spawn, 5)


def test_last_words_are_read_before_the_end(qemu: Qemu) -> None:
    with qemu.console.attached() as spawn:
        qemu.say(b"pinpage: guest ready\r\n")
        qemu.end()
        assert wait_ready(spawn, 5) == ""
        with pytest.raises(ConsoleClosed):
            wait_ready(spawn, 5)
        with pytest.raises(ConsoleClosed):
            spawn.send(b"anyone?\n")


def test_a_panic_is_seen_once_it_is_recorded_even_in_two_pieces(qemu: Qemu) -> None:
    assert not qemu.console.panicked() and qemu.console.text() == ""
    qemu.say(b"[ 1.0] boot\r\n" * 1000 + b"[ 2.0] Kernel panic - n")
    assert not qemu.console.panicked()
    qemu.say(b"ot syncing: VFS\r\n")
    assert qemu.console.panicked()


@pytest.mark.parametrize(
    "line",
    [
        b"kernel BUG at mm/compaction.c:549!",
        b"Oops: 0002 [#1] SMP",
        b"BUG: failure at mm/compaction.c:549/isolate_migratepages_range()!",
        b"Oops: general protection fault, probably for non-canonical address: 0000",
        b"Internal error: Oops - BUG: 0 [#1] SMP",
        b"invalid opcode: 0000 [#1] SMP",
    ],
)
def test_a_report_that_may_be_the_end_is_seen(qemu: Qemu, line: bytes) -> None:
    qemu.say(b"[    1.0] WARNING: at mm/page_alloc.c:1 foo+0x1/0x2()\r\n")
    assert not qemu.console.oopsed() and not qemu.console.reported()
    qemu.say(b"[    2.0] " + line + b"\r\n")
    assert qemu.console.oopsed() and not qemu.console.panicked() and qemu.console.reported()


@pytest.mark.parametrize(
    "line",
    [
        b"BUG: Bad page state in process sh  pfn:01f2a",
        b"BUG: KASAN: use-after-free in foo+0x1/0x2",
        b"------------[ cut here ]------------",
        b"WARNING: possible circular locking dependency detected",
        b"INFO: task sh:77 blocked for more than 20 seconds.",
    ],
)
def test_a_report_of_any_other_kind_is_seen(qemu: Qemu, line: bytes) -> None:
    qemu.say(b"[    1.0] sh: page allocation failure: order:9\r\n[    1.1] DEBUG: nothing\r\n")
    assert not qemu.console.reported()
    qemu.say(b"[    2.0] " + line + b"\r\n")
    assert qemu.console.reported() and not qemu.console.oopsed()


@dataclass
class Guest:
    console: Console


def test_a_person_types_sees_and_leaves_with_the_terminal_as_it_was(qemu: Qemu) -> None:
    person, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    session = threading.Thread(target=interact, args=(Guest(qemu.console),), kwargs=both(terminal))
    session.start()
    expect(person, b"Ctrl-] leaves")
    os.write(person, b"ls\r")
    expect(qemu.typed, b"ls\r")
    qemu.say(b"bin etc\r\n")
    expect(person, b"bin etc")
    os.write(person, b"\x1d")
    session.join(5)
    assert not session.is_alive()
    assert termios.tcgetattr(terminal) == before


def test_a_person_is_let_go_when_the_guest_ends(qemu: Qemu) -> None:
    person, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    session = threading.Thread(target=interact, args=(Guest(qemu.console),), kwargs=both(terminal))
    session.start()
    expect(person, b"Ctrl-] leaves")
    qemu.say(b"reboot: Power down\r\n")
    qemu.end()
    expect(person, b"Power down")
    session.join(5)
    assert not session.is_alive()
    assert termios.tcgetattr(terminal) == before


def test_a_pipe_is_passed_on_until_its_end(qemu: Qemu) -> None:
    read, write = os.pipe()
    os.write(write, b"poweroff\n")
    os.close(write)
    interact(Guest(qemu.console), source=read, sink=os.open(os.devnull, os.O_WRONLY))
    assert os.read(qemu.typed, 100) == b"poweroff\n"


def test_no_console_no_bridge(tmp_path: Path) -> None:
    gone = Console(tmp_path / "con.in", tmp_path / "log", lambda: False)
    with pytest.raises(ConsoleClosed):
        interact(Guest(gone), source=0, sink=1)


def both(fd: int) -> dict[str, int]:
    return {"source": fd, "sink": fd}


def expect(fd: int, wanted: bytes) -> None:
    seen = b""
    while wanted not in seen:
        assert select.select([fd], [], [], 5)[0], seen
        seen += os.read(fd, 4096)


# ---------------------------------------------------------------------------------------------
# Commands over the console: a real shell on a real terminal, and a kernel that talks into it
# ---------------------------------------------------------------------------------------------

STOP = b"\0stop"
PRINTK = b"[   12.345678] random: crng init done: 0\r\n"


class Noisy(Qemu):
    """A shell on a pseudo terminal behind a console. noise: one piece of output in so many gets a
    kernel's line in its middle."""

    def __init__(self, folder: Path, noise: int) -> None:
        super().__init__(folder)
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.execvp("sh", ["sh", "-i"])
        self.noise = noise
        self._random = random.Random(1)
        self.interrupted = 0
        self._pump = threading.Thread(target=self._work, daemon=True)
        self._pump.start()

    def _work(self) -> None:
        while True:
            for ready in select.select([self.typed, self._terminal], [], [])[0]:
                data = os.read(ready, 4096) if ready == self.typed else b""
                if STOP in data:
                    return
                if data:
                    os.write(self._terminal, data)
                else:
                    self.say(self._disturbed(os.read(self._terminal, 4096)))

    def _disturbed(self, data: bytes) -> bytes:
        if not self.noise or self._random.randrange(self.noise):
            return data
        self.interrupted += 1
        at = self._random.randrange(len(data) + 1)
        return data[:at] + PRINTK + data[at:]

    def end(self) -> None:
        os.write(self.typed, STOP)
        self._pump.join()
        os.close(self._terminal)
        os.waitpid(self.pid, 0)
        super().end()


@pytest.fixture(params=[0, 12], ids=["quiet", "noisy"])
def noisy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Noisy]:
    value = Noisy(tmp_path, request.param)
    yield value
    value.end()


def quiet() -> None:
    """Watches a guest that is well."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(console_shell, "FOLDER", str(tmp_path / "console"))
    monkeypatch.setattr(console_shell, "_AGAIN", 0.2)
    return tmp_path


def test_results_come_whole_through_a_kernels_talk(noisy: Noisy, folder: Path) -> None:
    channel = ConsoleShell(noisy.console)
    data = bytes(range(256)) * 120
    done = channel.run("cat; echo 'mark: x' >&2; exit 9", stdin=data, seconds=60, watch=quiet)
    assert (done.status, done.stdout, done.stderr) == (9, data, b"mark: x\n")
    again = channel.run("pwd; echo \"$PPID\" '$x'", stdin=b"", seconds=60, watch=quiet)
    assert again.stdout.startswith(b"/\n") and again.status == 0
    if noisy.noise:
        assert noisy.interrupted > 3


def test_deadline_and_end(folder: Path, tmp_path: Path) -> None:
    console = Noisy(tmp_path, 0)
    channel = ConsoleShell(console.console)
    with pytest.raises(ChannelTimeout):
        channel.run("sleep 5", stdin=b"", seconds=0.5, watch=quiet)
    console.end()
    with pytest.raises(ChannelCut):
        channel.run("true", stdin=b"", seconds=1, watch=quiet)
