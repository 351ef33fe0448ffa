# SPDX-License-Identifier: GPL-2.0-only
"""A shell in the guest on a terminal of its own, over SSH: for people.

The user's terminal is raw meanwhile, so every key goes to the guest. ``exit`` leaves; a guest that
no longer answers is left as with ssh(1), by ``~.`` at the begin of a line.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import paramiko

from harness.vm import shell, tty
from harness.vm.channel import ChannelCut

_OPEN = 60.0  # seconds for the guest to give a terminal
_CHUNK = 1 << 15
_LOOK = 0.5  # seconds between two looks at whether the guest is alive
_FULL = 0.02  # seconds to wait while the guest takes nothing
_SHELL = "ENV=/etc/shrc exec sh"
_HELLO = b"A shell in the guest; 'exit' leaves (~. if it no longer answers).\r\n"
_SIGNALS = (signal.SIGWINCH, signal.SIGCONT)


class Escape:
    """Finds ``~.`` at the begin of a line in what is typed; ``~~`` is one ~."""

    def __init__(self) -> None:
        self._begun, self._held = True, False
        self.left = False

    def typed(self, data: bytes) -> bytes:
        """What of it goes to the guest; nothing that follows ``~.``."""
        out = bytearray()
        for byte in data:
            if self._held:
                self._held = False
                if byte == ord("."):
                    self.left = True
                    break
                if byte != ord("~"):
                    out += b"~"
            elif self._begun and byte == ord("~"):
                self._held = True
                continue
            out.append(byte)
            self._begun = byte in b"\r\n"
        return bytes(out)


def interact(
    connection: shell.Shell,
    watch: Callable[[], bool],
    *,
    source: int | None = None,
    sink: int | None = None,
) -> bool:
    """Put the user on a shell; whether it ended, and was not left. ChannelCut when it was cut.

    watch: whether the guest is over; asked twice a second. source and sink are file descriptors
    (default: stdin and stdout).
    """
    source = sys.stdin.fileno() if source is None else source
    sink = sys.stdout.fileno() if sink is None else sink
    with connection.open(_OPEN) as channel:
        size = tty.size(source)
        try:
            channel.get_pty(os.environ.get("TERM", "vt100"), size.columns, size.lines)
            channel.set_combine_stderr(True)
            shell.execute(channel, _SHELL, _OPEN)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise ChannelCut(f"{type(error).__name__}: {error}") from error
        with _changes() as changed, tty.raw(source), tty.shown(sink) as screen:
            tty.write_all(sink, _HELLO)
            left = _Session(channel, source, sink, changed, screen).run(watch)
        if not left and channel.exit_status < 0 and connection.ended():
            raise ChannelCut("the connection ended")
    return not left


@contextmanager
def _changes() -> Iterator[int]:
    """A file descriptor that can be read once the window has changed, or we were stopped and
    went on."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def note(number: int, frame: object) -> None:
        with suppress(BlockingIOError):
            os.write(write, b"x")

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield read
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)


class _Session:
    """One terminal here and one channel there."""

    def __init__(
        self, channel: paramiko.Channel, source: int, sink: int, changed: int, screen: tty.Screen
    ) -> None:
        self._channel, self._source, self._sink = channel, source, sink
        self._changed, self._screen = changed, screen
        self._escape = Escape()
        self._typed = b""

    def run(self, over: Callable[[], bool]) -> bool:
        """Until the shell or the guest ends (False), or the user leaves (True)."""
        channel = self._channel
        with selectors.PollSelector() as selector:
            for end in (channel.fileno(), self._source, self._changed):
                selector.register(end, selectors.EVENT_READ)
            while True:
                if channel.recv_ready():
                    data = channel.recv(_CHUNK)
                    self._screen.see(data)
                    tty.write_all(self._sink, data)
                elif channel.closed or channel.eof_received or over():
                    return False
                self._send()
                ready = {key.fd for key, _ in selector.select(_FULL if self._typed else _LOOK)}
                if self._changed in ready:
                    self._follow()
                if self._source in ready and self._left():
                    return True

    def _send(self) -> None:
        if self._typed and self._channel.send_ready():
            with suppress(OSError):  # it is closed: seen next
                sent = self._channel.send(self._typed)
                self._typed = self._typed[sent:]

    def _left(self) -> bool:
        """Read what was typed; whether the user has left, or is gone."""
        try:
            data = os.read(self._source, _CHUNK)
        except OSError:
            return True
        self._typed += self._escape.typed(data)
        return self._escape.left or not data

    def _follow(self) -> None:
        """Have the guest's terminal be as large as ours."""
        os.read(self._changed, _CHUNK)
        tty.again(self._source)
        size = tty.size(self._source)
        with suppress(paramiko.SSHException, OSError):
            self._channel.resize_pty(size.columns, size.lines)
