# SPDX-License-Identifier: GPL-2.0-only
"""harness/ending.py; a process for each case, as signals and their timer are a process's."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# What comes up in a finaliser is dropped by Python.
LOST = """
import signal, sys, time
from contextlib import suppress
from harness import ending

ending.AGAIN = 0.05
number = signal.Signals(int(sys.argv[1]))

class Dropped:
    def __del__(self):
        signal.raise_signal(number)

def wait():
    end = time.monotonic() + 20
    while time.monotonic() < end:
        time.sleep(0.01)
    print("went on")
"""


def ended(body: str, number: signal.Signals) -> tuple[int, str]:
    """Exit status and stdout; KeyboardInterrupt, which main() turns into 130, is 1 here."""
    argv = [sys.executable, "-c", LOST + body, str(int(number))]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_was_dropped_comes_again(number: signal.Signals) -> None:
    body = """
with ending.heeded():
    try:
        Dropped()
        print("dropped")
        wait()
    except (KeyboardInterrupt, SystemExit) as error:
        print(type(error).__name__, getattr(error, "code", ""))
"""
    what = "KeyboardInterrupt " if number == signal.SIGINT else f"SystemExit {128 + number}"
    assert ended(body, number) == (0, f"dropped\n{what}\n")


def test_it_comes_no_more_while_something_unwinds() -> None:
    body = """
with ending.heeded():
    try:
        signal.raise_signal(number)
    finally:
        time.sleep(0.3)
        print("cleaned")
"""
    assert ended(body, signal.SIGTERM) == (143, "cleaned\n")


def test_it_comes_no_more_where_it_was_taken() -> None:
    body = """
with ending.heeded():
    with ending.taken(), suppress(KeyboardInterrupt):
        signal.raise_signal(number)
    time.sleep(0.3)
    print("held no longer")
"""
    assert ended(body, signal.SIGINT) == (0, "held no longer\n")


@pytest.mark.parametrize(
    ("number", "heard"), [(signal.SIGINT, False), (signal.SIGHUP, False), (signal.SIGTERM, True)]
)
def test_what_is_ignored_stays_ignored_but_for_termination(
    number: signal.Signals, heard: bool
) -> None:
    body = """
signal.signal(number, signal.SIG_IGN)
with ending.heeded():
    signal.raise_signal(number)
    print("not heard")
"""
    assert ended(body, number) == ((143, "") if heard else (0, "not heard\n"))
