# SPDX-License-Identifier: GPL-2.0-only
"""The console: what is waited for, what is seen in its recording, people, and commands over it."""

from __future__ import annotations

import os
import pty
import random
import select
import socket
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pexpect.socket_pexpect import SocketSpawn

from harness.vm import console_shell
from harness.vm.channel import ChannelCut, ChannelTimeout
from harness.vm.console import (
    Console,
    ConsoleClosed,
    ConsoleSilent,
    Spawn,
    interact,
    wait_ready,
)
from harness.vm.console_shell import ConsoleShell


@pytest.fixture
def ends() -> Iterator[tuple[Spawn, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield SocketSpawn(ours, searchwindowsize=512, maxread=65536), theirs


def test_ready_and_what_it_says(ends: tuple[Spawn, socket.socket]) -> None:
    ends[1].sendall(b"[ 1.0] boot\r\n" * 5000 + b"pinpage: guest ready network=none\r\n# ")
    assert wait_ready(ends[0], 5) == "network=none"
    ends[1].sendall(b"pinpage: guest ready\r\n")
    assert wait_ready(ends[0], 5) == ""


def test_the_end_a_panic_and_silence(ends: tuple[Spawn, socket.socket]) -> None:
    ends[1].sendall(b"[ 1.0] boot\r\n")
    with pytest.raises(ConsoleSilent):
        wait_ready(ends[0], 0.05)
    ends[1].sendall(b"[ 2.0] Kernel panic - not syncing: VFS\r\n[ 2.0] CPU: 0\r\n")
    ends[1].close()
    with pytest.raises(ConsoleClosed):
        wait_ready(ends[0], 5)


def test_a_panic_is_seen_once_it_is_recorded_even_in_two_pieces(tmp_path: Path) -> None:
    console = Console(tmp_path / "con", tmp_path / "console.log")
    assert not console.panicked() and console.text() == ""
    with console.log.open("wb", buffering=0) as log:
        log.write(b"[ 1.0] boot\r\n" * 1000 + b"[ 2.0] Kernel panic - n")
        assert not console.panicked()
        log.write(b"ot syncing: VFS\r\n")
        assert console.panicked()


@dataclass
class Terminal:
    console: Console


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener


def test_a_person_types_sees_and_leaves_with_the_terminal_as_it_was(tmp_path: Path) -> None:
    console = Console(tmp_path / "con", tmp_path / "console.log")
    with listening(console.path) as listener:
        person, terminal = pty.openpty()
        before = termios.tcgetattr(terminal)
        guest = Terminal(console)
        session = threading.Thread(target=interact, args=(guest,), kwargs=both(terminal))
        session.start()
        end = listener.accept()[0]
        expect(person, b"Ctrl-] leaves")
        os.write(person, b"ls\r")
        expect_received(end, b"ls\r")
        end.sendall(b"bin etc\r\n")
        expect(person, b"bin etc")
        os.write(person, b"\x1d")
        session.join(5)
        assert not session.is_alive()
        assert termios.tcgetattr(terminal) == before


def test_a_pipe_is_passed_on_until_its_end(tmp_path: Path) -> None:
    console = Console(tmp_path / "con", tmp_path / "console.log")
    with listening(console.path) as listener:
        read, write = os.pipe()
        os.write(write, b"poweroff\n")
        os.close(write)
        interact(Terminal(console), source=read, sink=os.open(os.devnull, os.O_WRONLY))
        assert listener.accept()[0].recv(100) == b"poweroff\n"


def test_no_console_no_bridge(tmp_path: Path) -> None:
    with pytest.raises(ConsoleClosed):
        interact(Terminal(Console(tmp_path / "con", tmp_path / "log")), source=0, sink=1)


def both(fd: int) -> dict[str, int]:
    return {"source": fd, "sink": fd}


def expect(fd: int, wanted: bytes) -> None:
    seen = b""
    while wanted not in seen:
        assert select.select([fd], [], [], 5)[0], seen
        seen += os.read(fd, 4096)


def expect_received(end: socket.socket, wanted: bytes) -> None:
    end.settimeout(5)
    seen = b""
    while wanted not in seen:
        seen += end.recv(4096)


# ---------------------------------------------------------------------------------------------
# Commands over the console: a real shell on a real terminal, and a kernel that talks into it
# ---------------------------------------------------------------------------------------------

PRINTK = b"[   12.345678] random: crng init done: 0\r\n"


class NoisyConsole:
    """A shell on a pseudo terminal behind a socket. noise: one piece of output in so many gets a
    kernel's line in its middle."""

    def __init__(self, noise: int) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.execvp("sh", ["sh", "-i"])
        self._noise = noise
        self._random = random.Random(1)
        self.interrupted = 0

    @contextmanager
    def attached(self) -> Iterator[Spawn]:
        ours, theirs = socket.socketpair()
        pump = threading.Thread(target=self._pump, args=(theirs,), daemon=True)
        pump.start()
        with ours:
            yield SocketSpawn(ours, searchwindowsize=512, maxread=65536)
            ours.shutdown(socket.SHUT_RDWR)
        pump.join()
        theirs.close()

    def _pump(self, end: socket.socket) -> None:
        while True:
            for ready in select.select([end, self._terminal], [], [])[0]:
                if ready is end:
                    data = end.recv(4096)
                    if not data:
                        return
                    os.write(self._terminal, data)
                else:
                    data = self._disturbed(os.read(self._terminal, 4096))
                    try:
                        end.sendall(data)
                    except BrokenPipeError:
                        return

    def _disturbed(self, data: bytes) -> bytes:
        if not self._noise or self._random.randrange(self._noise):
            return data
        self.interrupted += 1
        at = self._random.randrange(len(data) + 1)
        return data[:at] + PRINTK + data[at:]

    def close(self) -> None:
        os.close(self._terminal)
        os.waitpid(self.pid, 0)


@pytest.fixture(params=[0, 12], ids=["quiet", "noisy"])
def noisy(request: pytest.FixtureRequest) -> Iterator[NoisyConsole]:
    console = NoisyConsole(request.param)
    yield console
    console.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(console_shell, "FOLDER", str(tmp_path / "console"))
    monkeypatch.setattr(console_shell, "_AGAIN", 0.2)
    return tmp_path


def test_results_come_whole_through_a_kernels_talk(noisy: NoisyConsole, folder: Path) -> None:
    channel = ConsoleShell(noisy)
    data = bytes(range(256)) * 120
    done = channel.run("cat; echo 'mark: x' >&2; exit 9", stdin=data, seconds=60, watch=bool)
    assert (done.status, done.stdout, done.stderr) == (9, data, b"mark: x\n")
    again = channel.run("pwd; echo \"$PPID\" '$x'", stdin=b"", seconds=60, watch=bool)
    assert again.stdout.startswith(b"/\n") and again.status == 0
    if noisy._noise:
        assert noisy.interrupted > 3


def test_deadline_and_end(folder: Path) -> None:
    console = NoisyConsole(0)
    channel = ConsoleShell(console)
    with pytest.raises(ChannelTimeout):
        channel.run("sleep 5", stdin=b"", seconds=0.5, watch=bool)
    console.close()
    gone = ConsoleShell(Console(folder / "con", folder / "log"))
    with pytest.raises(ChannelCut):
        gone.run("true", stdin=b"", seconds=1, watch=bool)
