# SPDX-License-Identifier: GPL-2.0-only
"""Asking a guest that does not go on who waits in it, and what its processors are at.

The kernel itself is asked, by sysrq at its serial console, for which nothing of its userspace has
to run: a break, and a letter. Source: Documentation/admin-guide/sysrq.rst.
"""

from __future__ import annotations

import time

from harness.vm.console import Console, ConsoleClosed
from harness.vm.qmp import Monitor, MonitorError

_CHARDEV = "con"
_ASKED = ((b"w", "Show Blocked State"), (b"l", "Show backtrace of all active CPUs"))
_SECONDS = 5.0  # for an answer to begin, and to end, times the guest's patience
_QUIET = 0.5  # seconds without a word, times the same: it has ended
_POLL = 0.05


def ask(console: Console, monitor: Monitor, patience: float) -> str:
    """What the guest's kernel says, which is in the console's log too; "" where it says nothing:
    it has no sysrq, or takes no interrupt any more."""
    before = len(console.text())
    try:
        with console.attached() as typed:
            for letter, answer in _ASKED:
                # One after the other: a break is lost on a port that is being printed to.
                monitor.execute("chardev-send-break", {"id": _CHARDEV})
                typed.send(letter)
                if not _answered(console, before, answer, patience):
                    break
    except (MonitorError, ConsoleClosed):
        return ""
    said = console.text()[before:]
    return said if _ASKED[0][1] in said else ""


def _answered(console: Console, before: int, answer: str, patience: float) -> bool:
    """Whether an answer has come, and come to an end, each before a deadline."""
    until = time.monotonic() + _SECONDS * patience
    while answer not in console.text()[before:]:
        if time.monotonic() >= until:
            return False
        time.sleep(_POLL)  # between two looks, under a deadline
    until = time.monotonic() + _SECONDS * patience
    size, since = len(console.text()), time.monotonic()
    while time.monotonic() < min(until, since + _QUIET * patience):
        time.sleep(_POLL)  # the same
        if len(console.text()) != size:
            size, since = len(console.text()), time.monotonic()
    return True
