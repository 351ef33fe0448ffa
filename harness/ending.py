# SPDX-License-Identifier: GPL-2.0-only
"""Signals that ask this program to end: SIGINT, SIGTERM and SIGHUP unwind it, so that no guest
outlives it.

What a handler raises comes up wherever the main thread happens to be. In a finaliser or a weak
reference's callback Python drops it (Python's documentation, sys.unraisablehook), paramiko's
Channel.__del__ drops all that comes up in it, and the program would go on as if nobody had asked.
So it is raised again until something unwinds.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = 1.0  # seconds until it is raised again
_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def heeded() -> Iterator[None]:
    """Inside, each of the signals raises: SIGINT KeyboardInterrupt, the others SystemExit with
    128 and their number. SIGINT and SIGHUP stay ignored where they were (a shell's background
    job, nohup)."""
    for number in _NUMBERS:
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _asked)
    with taken():
        yield


@contextmanager
def taken() -> Iterator[None]:
    """What was raised inside has arrived, whether the program goes on from there or ends."""
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _asked(number: int, frame: FrameType | None) -> None:
    def again(_: int, frame: FrameType | None) -> None:
        if sys.exc_info()[0] is None:  # nothing unwinds: what was raised was lost
            raise _what(number)

    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, AGAIN, AGAIN)
    raise _what(number)


def _what(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
