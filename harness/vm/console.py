# SPDX-License-Identifier: GPL-2.0-only
"""The serial console: for people, for readiness and for panics.

QEMU writes it whole to a file, and reads what is typed from a FIFO. Whoever wants to see the
console follows the file: no reader can slow the guest down (one on a socket does: the guest's
printk waits for it) or take anything away from another.
"""

from __future__ import annotations

import os
import re
import selectors
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pexpect
from pexpect.spawnbase import SpawnBase

from harness.vm import tty

READY = re.compile(rb"pinpage: guest ready([^\r\n]*)[\r\n]")
PANIC = re.compile(rb"Kernel panic - not syncing|---\[ end Kernel panic")
# Reports after which the task that made them is gone, with whatever locks it held.
OOPS = re.compile(
    rb"kernel BUG at |BUG: failure at |\bOops(?: - [^:\r\n]*)?: |Internal error: |"
    rb"general protection fault|invalid opcode: |double fault: "
)
# Reports after which it may go on, or may not: a list that is broken is walked for ever.
REPORT = re.compile(
    rb"\bBUG: |-\[ cut here \]-|\bWARNING: (?:CPU: |possible |bad |suspicious |inconsistent )|"
    rb"\bINFO: (?:task |rcu|suspicious )"
)
ESCAPE = 0x1D  # Ctrl-]
_WINDOW = 512  # bytes that a search looks back
_READ = 1 << 16
_LOOK = 0.02  # seconds between two looks at a file that does not grow
_STUCK = 1.0  # seconds for what is on its way to the user's terminal
_LAST_WORDS = 5  # seconds for a kernel that panics to print its report and reset
TAIL = 20  # lines of the console that a message quotes


class ConsoleClosed(Exception):
    """The console ended: QEMU is gone, or the kernel panicked."""


class ConsoleSilent(Exception):
    """What was waited for did not come in time."""


if TYPE_CHECKING:
    _Spawn = SpawnBase[bytes]
else:
    _Spawn = SpawnBase  # generic in its stubs alone


class Follower(_Spawn):
    """pexpect on a console: reads the file that grows, types into the FIFO. It has come to its
    end when QEMU is gone and the file is read."""

    def __init__(self, log: int, typed: int, alive: Callable[[], bool]) -> None:
        super().__init__(maxread=_READ, searchwindowsize=_WINDOW)
        self.child_fd = log
        self._typed = typed
        self._alive = alive

    def read_nonblocking(self, size: int = 1, timeout: float | None = None) -> bytes:
        """What has come, at most size bytes. pexpect's EOF at the end, TIMEOUT when nothing came
        in time; no timeout is none."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            alive = self._alive()  # asked first: what it wrote before it died is still read
            data = os.read(self.child_fd, size)
            if data:
                return data
            if not alive:
                self.flag_eof = True
                raise pexpect.EOF("the console ended")
            if end is not None and time.monotonic() >= end:
                raise pexpect.TIMEOUT("nothing came")
            time.sleep(_LOOK)  # polling, under a deadline

    def send(self, data: bytes) -> None:
        """Type. The FIFO holds 64 KiB for a guest that does not read."""
        try:
            while data:
                data = data[os.write(self._typed, data) :]
        except (BrokenPipeError, BlockingIOError) as error:
            raise ConsoleClosed(f"nobody reads what is typed: {error.strerror}") from error


class Console:
    """One guest's console: a FIFO to type into, and the file that QEMU writes.

    alive tells whether QEMU still runs. The file of a guest that was restored begins with what
    the guest said before it was saved.
    """

    def __init__(self, fifo: Path, log: Path, alive: Callable[[], bool]) -> None:
        self.fifo = fifo
        self.log = log
        self._alive = alive
        self._scanned = 0
        self._panicked = self._oopsed = self._reported = False

    @contextmanager
    def attached(self, *, whole: bool = False) -> Iterator[Follower]:
        """Follow the console from now on, or the whole of it. ConsoleClosed when QEMU is gone."""
        try:
            typed = os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise ConsoleClosed(f"nobody reads the console: {error.strerror}") from error
        try:
            with self.log.open("rb", buffering=0) as log:
                log.seek(0, os.SEEK_SET if whole else os.SEEK_END)
                yield Follower(log.fileno(), typed, self._alive)
        finally:
            os.close(typed)

    def text(self) -> str:
        """All that was recorded so far."""
        try:
            return self.log.read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def cut(self, size: int, to: Path) -> None:
        """Move what was recorded behind so many bytes to another file: the guest was put back to
        where it had not said that yet. It is stopped meanwhile."""
        with self.log.open("r+b") as log:
            log.seek(size)
            to.write_bytes(log.read())
            log.truncate(size)
        self._scanned = 0
        self._panicked = self._oopsed = self._reported = False

    def panicked(self) -> bool:
        """Whether a panic was recorded."""
        self._scan()
        return self._panicked

    def oopsed(self) -> bool:
        """Whether a report was recorded that the guest may not live through."""
        self._scan()
        return self._oopsed

    def reported(self) -> bool:
        """Whether a report of any kind was recorded."""
        self._scan()
        return self._reported or self._oopsed

    def _scan(self) -> None:
        """Read what is new since the last time."""
        if self._panicked or not self.log.is_file():
            return
        with self.log.open("rb") as file:
            file.seek(max(0, self._scanned - _WINDOW))
            data = file.read()
            self._scanned = file.tell()
        self._panicked = PANIC.search(data) is not None
        self._oopsed = self._oopsed or OOPS.search(data) is not None
        self._reported = self._reported or REPORT.search(data) is not None


def tail(text: str) -> str:
    """The last lines of a console, as a message quotes them."""
    return "\n".join(text.splitlines()[-TAIL:])


def wait_ready(spawn: Follower, seconds: float) -> str:
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
    with guest.console.attached() as spawn, tty.raw(source), tty.shown(sink) as screen:
        first = b""
        if os.isatty(source):
            size = tty.size(source)
            tty.write_all(sink, b"The guest's console; Ctrl-] leaves.\r\n")
            first = b" stty rows %d cols %d\r" % (size.lines, size.columns)
        with _shown(spawn, sink, screen) as over, suppress(ConsoleClosed):
            spawn.send(first)
            _type(spawn, source, over)


@contextmanager
def _shown(spawn: Follower, sink: int, screen: tty.Screen) -> Iterator[int]:
    """Show what the console says, in a thread. Gives a file descriptor that can be read once
    the console has ended. A terminal that takes nothing more is not waited for."""
    ended, end = os.pipe()
    left = threading.Event()

    def show() -> None:
        try:
            while not left.is_set():
                try:
                    data = spawn.read_nonblocking(_READ, timeout=0.1)
                    screen.see(data)
                    tty.write_all(sink, data)
                except pexpect.TIMEOUT:
                    continue
                except (pexpect.EOF, OSError):  # the guest's end, or the user's terminal's
                    return
        finally:
            os.close(end)

    shower = threading.Thread(target=show, name="console", daemon=True)
    shower.start()
    try:
        yield ended
    finally:
        left.set()
        shower.join(_STUCK)
        os.close(ended)


def _type(spawn: Follower, source: int, over: int) -> None:
    """Pass on what the user types until the escape, the end of it, or of the console."""
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        selector.register(over, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if over in ready:
                return
            try:
                typed = os.read(source, _READ)
            except OSError:  # the user's terminal is gone
                return
            before, escape, _ = typed.partition(bytes([ESCAPE]))
            spawn.send(before)
            if escape or not typed:
                return
