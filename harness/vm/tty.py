# SPDX-License-Identifier: GPL-2.0-only
"""The user's terminal in raw mode, and as it was before, whatever happens meanwhile."""

from __future__ import annotations

import os
import re
import signal
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# What a program in the guest turns on and leaves on when the guest ends under it: DEC's private
# modes (the other screen, no cursor, bracketed paste, the mouse), on or off as a terminal begins.
_MODE = re.compile(rb"\x1b\[\?([0-9;]{1,40})([hl])")
_ON = frozenset({b"7", b"25"})  # lines wrap, the cursor shows
_OTHER_SCREEN = {b"1047", b"1049"}  # 47 leaves it too, and nothing else is changed by that
_PIECE = 48  # bytes of a sequence that may still be cut
_PLAIN = b"\x1b[0m\x1b[?1l\x1b>"  # no colour; keys as they are
_HELD = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Screen:
    """The modes that what was shown has left on a terminal."""

    def __init__(self) -> None:
        self._modes: dict[bytes, bytes] = {}
        self._rest = b""
        self._last = b"\n"

    def see(self, data: bytes) -> None:
        """Shown next."""
        text = self._rest + data
        self._last = data[-1:] or self._last
        for found in _MODE.finditer(text):
            self._modes.update(dict.fromkeys(found[1].split(b";"), found[2]))
        escape = text.rfind(b"\x1b", -_PIECE)
        self._rest = text[escape:] if escape >= 0 and _MODE.match(text, escape) is None else b""

    def undo(self) -> bytes:
        """What puts the terminal back, and begins a line; "" where nothing is to be done."""
        out = b""
        for mode, state in self._modes.items():
            usual = b"h" if mode in _ON else b"l"
            if mode and state != usual:
                out += b"\x1b[?" + (b"47" if mode in _OTHER_SCREEN else mode) + usual
        return (_PLAIN + out if out else b"") + (b"" if self._last == b"\n" else b"\r\n")


@contextmanager
def raw(terminal: int) -> Iterator[None]:
    """A terminal in raw mode, put back whatever happens; anything else is left alone."""
    with kept(terminal):
        if os.isatty(terminal):
            tty.setraw(terminal)
        yield


@contextmanager
def kept(terminal: int) -> Iterator[None]:
    """A terminal's modes put back, whatever is done to it; anything else is left alone."""
    if not os.isatty(terminal):
        yield
        return
    before = termios.tcgetattr(terminal)
    try:
        yield
    finally:
        # Nothing that ends us comes in between. Not TCSADRAIN: nobody may read what is to be
        # drained. The terminal may be gone.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
        try:
            with suppress(termios.error):
                termios.tcsetattr(terminal, termios.TCSANOW, before)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)


def again(terminal: int) -> None:
    """Raw once more: who was stopped and goes on finds the terminal as the shell has it."""
    if os.isatty(terminal):
        with suppress(termios.error):
            tty.setraw(terminal)


@contextmanager
def shown(sink: int) -> Iterator[Screen]:
    """What sees all that goes to a terminal; its modes are put back in the end."""
    screen = Screen()
    try:
        yield screen
    finally:
        undo = screen.undo()
        if undo and os.isatty(sink):
            with suppress(OSError):
                write_all(sink, undo)


def size(terminal: int) -> os.terminal_size:
    """Columns and lines; 80 and 24 where it does not say."""
    try:
        found = os.get_terminal_size(terminal)
    except OSError:
        return os.terminal_size((80, 24))
    return found if found.columns and found.lines else os.terminal_size((80, 24))


def write_all(sink: int, data: bytes) -> None:
    while data:
        data = data[os.write(sink, data) :]
