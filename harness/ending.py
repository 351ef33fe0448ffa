# SPDX-License-Identifier: GPL-2.0-only
"""SIGINT, SIGTERM and SIGHUP unwind the program, so that no guest outlives it.

What a handler raises comes up wherever the main thread happens to be. In a finaliser or a weak
reference's callback Python drops it (Python's documentation, sys.unraisablehook), paramiko's
Channel.__del__ drops all that comes up in it, and the program would go on as if nobody had asked.
So it is raised again, by the process's real-time timer, until something unwinds.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

AGAIN = 1.0  # seconds until it is raised again
_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def heeded() -> Iterator[None]:
    """Inside, each of the signals raises: SIGINT KeyboardInterrupt, the others SystemExit with
    128 and their number. SIGINT and SIGHUP stay ignored where they were (a shell's background
    job, nohup)."""
    heard = [
        number
        for number in _NUMBERS
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = [signal.signal(number, _asked) for number in heard]
    try:
        with taken():
            yield
    finally:
        for number, handler in zip(heard, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def taken() -> Iterator[None]:
    """What was raised inside has arrived, whether the program goes on from there or ends."""
    try:
        yield
    finally:
        if isinstance(signal.getsignal(signal.SIGALRM), _Again):
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _asked(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGALRM, _Again(number))
    signal.setitimer(signal.ITIMER_REAL, AGAIN, AGAIN)
    raise _what(number)


@dataclass(frozen=True)
class _Again:
    """The handler of the timer, for the signal that was asked by."""

    number: int

    def __call__(self, _: int, frame: FrameType | None) -> None:
        if sys.exc_info()[0] is None:  # nothing unwinds: what was raised was lost
            raise _what(self.number)


def _what(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
