# SPDX-License-Identifier: GPL-2.0-only
"""The serial console: for people, for readiness and for panics. QEMU itself records it whole.

Nobody stays connected to its socket without reading: QEMU would stop taking the guest's output,
and the guest's printk would wait. While nobody is connected QEMU only records.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import socket
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

import pexpect
from pexpect.socket_pexpect import SocketSpawn

Spawn: TypeAlias = "SocketSpawn[bytes]"

READY = re.compile(rb"pinpage: guest ready([^\r\n]*)[\r\n]")
PANIC = re.compile(rb"Kernel panic - not syncing|---\[ end Kernel panic")
ESCAPE = 0x1D  # Ctrl-]
_WINDOW = 512  # bytes that a search looks back
_READ = 1 << 16
_LAST_WORDS = 5  # seconds for a kernel that panics to print its report and reset
TAIL = 20  # lines of the console that a message quotes


class ConsoleClosed(Exception):
    """The console ended: QEMU is gone, or the kernel panicked."""


class ConsoleSilent(Exception):
    """What was waited for did not come in time."""


class Console:
    """One guest's console: QEMU's socket, and the file that QEMU records it in."""

    def __init__(self, path: Path, log: Path) -> None:
        self.path = path
        self.log = log
        self._scanned = 0
        self._panicked = False

    @contextmanager
    def attached(self) -> Iterator[Spawn]:
        """Connected, for as long as the context lasts. ConsoleClosed when QEMU is gone."""
        with socket.socket(socket.AF_UNIX) as end:
            try:
                end.connect(str(self.path))
            except OSError as error:
                raise ConsoleClosed(f"no connection to the console: {error.strerror}") from error
            yield SocketSpawn(end, maxread=_READ, searchwindowsize=_WINDOW)

    def text(self) -> str:
        """All that was recorded so far."""
        try:
            return self.log.read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def panicked(self) -> bool:
        """Whether a panic was recorded. Reads only what is new since the last call."""
        if not self._panicked and self.log.is_file():
            with self.log.open("rb") as file:
                file.seek(max(0, self._scanned - _WINDOW))
                data = file.read()
                self._scanned = file.tell()
            self._panicked = PANIC.search(data) is not None
        return self._panicked


def tail(text: str) -> str:
    """The last lines of a console, as a message quotes them."""
    return "\n".join(text.splitlines()[-TAIL:])


def wait_ready(spawn: Spawn, seconds: float) -> str:
    """Wait for the guest's word that it is up; what it said behind it.

    ConsoleClosed after a panic (once its report is out) or the console's end; ConsoleSilent when
    the word did not come.
    """
    found = spawn.expect([READY, PANIC, pexpect.EOF, pexpect.TIMEOUT], timeout=seconds)
    if found == 0:
        assert isinstance(spawn.match, re.Match)
        return str(spawn.match[1].decode(errors="replace")).strip()
    if found == 1:
        spawn.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=_LAST_WORDS)
    if found in (1, 2):
        raise ConsoleClosed
    raise ConsoleSilent


# ---------------------------------------------------------------------------------------------
# People
# ---------------------------------------------------------------------------------------------


class HasConsole(Protocol):
    """What ``interact`` needs of a guest."""

    @property
    def console(self) -> Console: ...


def interact(guest: HasConsole, *, source: int | None = None, sink: int | None = None) -> None:
    """Connect the user's terminal with the guest's console, until Ctrl-], the end of the input
    or the end of QEMU. source and sink are file descriptors (default: stdin and stdout)."""
    source = sys.stdin.fileno() if source is None else source
    sink = sys.stdout.fileno() if sink is None else sink
    with guest.console.attached() as spawn, _raw(source):
        if os.isatty(source):
            size = shutil.get_terminal_size()
            os.write(sink, b"The guest's console; Ctrl-] leaves.\r\n")
            spawn.socket.sendall(b" stty rows %d cols %d\r" % (size.lines, size.columns))
        _bridge(spawn.socket, source, sink)


def _bridge(end: socket.socket, source: int, sink: int) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(end, selectors.EVENT_READ)
        selector.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is end:
                    data = _received(end)
                    if not data:
                        return
                    _write_all(sink, data)
                else:
                    typed = os.read(source, _READ)
                    before, escape, _ = typed.partition(bytes([ESCAPE]))
                    end.sendall(before)
                    if escape or not typed:
                        return


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(_READ)
    except ConnectionResetError:
        return b""


def _write_all(sink: int, data: bytes) -> None:
    while data:
        data = data[os.write(sink, data) :]


@contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """A terminal in raw mode, put back whatever happens; anything else is left alone."""
    if not os.isatty(terminal):
        yield
        return
    before = termios.tcgetattr(terminal)
    try:
        tty.setraw(terminal)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
