# SPDX-License-Identifier: GPL-2.0-only
"""The user's terminal is as it was before, whatever ends the session."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

from harness.vm import tty

# A session in a process of its own: raw, says so, and then does what it is told.
SESSION = """
import os, sys, time
from harness import ending
from harness.vm import tty
with ending.heeded(), tty.raw(0), tty.shown(1) as screen:
    for data in (b"\\x1b[?1049h\\x1b[?25l", b"raw\\n"):
        screen.see(data)
        tty.write_all(1, data)
    {act}
"""
# Python looks for signals before it calls what sleeps: it sees one that comes in between too late.
WAITS = "while True: time.sleep(0.1)"


def modes(terminal: int) -> list[object]:
    return list(termios.tcgetattr(terminal))


def read_until(fd: int, wanted: bytes, seen: bytes = b"") -> bytes:
    while wanted not in seen:
        assert select.select([fd], [], [], 20)[0], seen
        seen += os.read(fd, 4096)
    return seen


@pytest.mark.parametrize(
    ("act", "number", "status"),
    [
        ("pass", None, 0),
        ("sys.exit(3)", None, 3),
        ("raise OSError('the guest is gone')", None, 1),
        (WAITS, signal.SIGTERM, 143),
        (WAITS, signal.SIGHUP, 129),
        (WAITS, signal.SIGINT, -signal.SIGINT),
    ],
)
def test_it_is_put_back(act: str, number: int | None, status: int) -> None:
    person, terminal = pty.openpty()
    before = modes(terminal)
    argv = [sys.executable, "-c", SESSION.format(act=act)]
    child = subprocess.Popen(argv, stdin=terminal, stdout=terminal, stderr=subprocess.DEVNULL)
    said = read_until(person, b"raw")
    if number is not None:
        assert modes(terminal) != before
        child.send_signal(number)
    said = read_until(person, b"\x1b[?25h", said)
    assert child.wait(20) == status
    assert modes(terminal) == before
    assert b"\x1b[?47l" in said


def test_a_terminal_that_takes_nothing_more_is_put_back_too() -> None:
    """Whoever showed it has stopped: what was written is never drained."""
    _person, terminal = pty.openpty()
    before = modes(terminal)
    os.set_blocking(terminal, False)
    with tty.raw(terminal):
        with pytest.raises(BlockingIOError):
            while True:
                os.write(terminal, b"x" * 4096)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert modes(terminal) == before


def test_a_terminal_that_is_gone_is_no_error() -> None:
    person, terminal = pty.openpty()
    with tty.raw(terminal), tty.shown(terminal) as screen:
        screen.see(b"\x1b[?25l")
        os.close(person)
    read, _ = os.pipe()
    with tty.raw(read):  # no terminal at all
        pass


@pytest.mark.parametrize(
    ("shown", "undone"),
    [
        ([b"ls\r\n\x1b[1mbin\x1b[0m\r\n"], b""),
        ([b"/ # "], b"\r\n"),
        ([b"\x1b[?25l\x1b[?25h\n"], b""),
        ([b"\x1b[?25", b"l\n"], b"\x1b[0m\x1b[?1l\x1b>\x1b[?25h"),
        ([b"\x1b[?1049;2004h\n"], b"\x1b[0m\x1b[?1l\x1b>\x1b[?47l\x1b[?2004l"),
        ([b"\x1b[?7l", b"\x1b[?7h\x1b[?1000h$"], b"\x1b[0m\x1b[?1l\x1b>\x1b[?1000l\r\n"),
        ([b"\x1b[?" + b"1" * 500 + b"h\n"], b""),
    ],
)
def test_what_the_guest_turned_on_is_turned_off(shown: list[bytes], undone: bytes) -> None:
    screen = tty.Screen()
    for data in shown:
        screen.see(data)
    assert screen.undo() == undone


def test_what_stays_of_a_long_session_is_little() -> None:
    screen = tty.Screen()
    for _ in range(1000):
        screen.see(b"\x1b[?" * 100)
    assert len(screen._rest) < 1000


def test_the_size_of_a_window() -> None:
    _person, terminal = pty.openpty()
    assert tty.size(terminal) == (80, 24)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 132, 0, 0))
    assert tty.size(terminal) == (132, 50)
    read, _ = os.pipe()
    assert tty.size(read) == (80, 24)
