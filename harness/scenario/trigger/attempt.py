# SPDX-License-Identifier: GPL-2.0-only
"""An attempt at something, measured, as one event; and the drive that attempts are made in."""

from __future__ import annotations

import errno as numbers
import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from harness.model import JSON, CommandResult
from harness.parse import marks, vmstat
from harness.parse.ledger import Pin
from harness.scenario.recorder import Recorder
from harness.scenario.tracing import Window

_COUNTERS = ("pgmigrate_success", "pgmigrate_fail")
_TEXTS = {os.strerror(number): number for number in numbers.errorcode}
_KEPT = 300  # characters of what a command said


@dataclass(frozen=True)
class Done:
    """What came of one thing asked of the kernel.

    errno: positive, 0 if it was done. frames: (first pfn, number) of what it took. seconds: None
    where the host's clock around it will do. checks: what else says that it was done. asked,
    got: of a thing that can be had in part, how much; also: what else says how much was got.
    """

    errno: int
    said: str = ""
    frames: tuple[int, int] | None = None
    seconds: float | None = None
    checks: Mapping[str, bool] = field(default_factory=dict)
    asked: int | None = None
    got: int | None = None
    also: Mapping[str, int] = field(default_factory=dict)


def errno_of(done: CommandResult) -> tuple[int, str]:
    """The errno that a shell's command ended with, and its words; EIO where it gives no other.

    busybox prints strerror() in English: image and host are both of the GNU C library.
    """
    said = done.stderr.decode(errors="replace").strip()[-_KEPT:]
    if done.status == 0:
        return 0, said
    texts = (line.rpartition(": ")[2] for line in reversed(said.splitlines()))
    found = next((_TEXTS[text] for text in texts if text in _TEXTS), numbers.EIO)
    return found, said or f"status {done.status}"


class Attempts:
    """Makes attempts in one guest, numbered, each marked in trace and kernel log, as events."""

    def __init__(self, record: Recorder, window: Window) -> None:
        self._record, self._window = record, window
        self._number = 0

    def make(
        self,
        trigger: str,
        target: str,
        act: Callable[[], Done],
        *,
        group: str = "",
        expected: bool | None = None,
        pins: int = 0,
        provokes: Sequence[str] = (),
        alone: bool = False,
    ) -> Done:
        """Do it and record it. expected: whether it has to succeed for the arm to pass.

        provokes: kinds of splats that belong to it, where the kernel says loudly that it failed.
        alone: nobody but the thing itself says whether it was done. It is recorded as a ``step``,
        which no witness counts.
        """
        number = self._next()
        if provokes:  # said beforehand: it may not come to its end
            self._record.event("trigger", "provokes", number=number, kinds=[*provokes])
        before = self._around(number, marks.begins(number, f"{trigger} of {target}"))
        began = time.monotonic()
        done = act()
        seconds = time.monotonic() - began if done.seconds is None else done.seconds
        after = self._around(0, marks.ends(number))
        facts = _Facts(trigger, target, group or trigger, expected, pins, tuple(provokes), alone)
        migrated, failed = (
            None if first is None or last is None else last - first
            for first, last in zip(before, after, strict=True)
        )
        self._event(number, facts, done, seconds, migrated, failed)
        return done

    def side_by_side(
        self,
        trigger: str,
        target: str,
        act: Callable[[], Sequence[Done]],
        *,
        group: str = "",
        expected: bool | None = None,
    ) -> Sequence[Done]:
        """Do many at once and record each; whose migrations they were no counter tells."""
        first = self._number + 1
        self._around(0, marks.begins(first, f"{trigger} of {target}"))
        found = act()
        self._around(0, marks.ends(first))
        facts = _Facts(trigger, target, group or trigger, expected, 0, ())
        for done in found:
            self._event(self._next(), facts, done, done.seconds or 0.0, None, None)
        return found

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _around(self, number: int, line: str) -> tuple[int | None, ...]:
        """Mark what comes now, and read the counters: one command, as each takes its time. None:
        this kernel does not count that."""
        mark = self._window.marking(number)
        said = shlex.quote(f"<5>{line}")
        command = f"echo {said} > /dev/kmsg; {mark}; cat /proc/vmstat"
        values = vmstat.vmstat(self._record.guest.must(command, timeout=60))
        return tuple(values.get(name) for name in _COUNTERS)

    def _event(
        self,
        number: int,
        facts: _Facts,
        done: Done,
        seconds: float,
        migrated: int | None,
        failed: int | None,
    ) -> None:
        checks: dict[str, JSON] = dict(done.checks)
        also: dict[str, JSON] = dict(done.also)
        self._record.event(
            "trigger",
            "step" if facts.alone else "attempt",
            number=number,
            trigger=facts.trigger,
            target=facts.target,
            group=facts.group,
            ok=done.errno == 0,
            expected=facts.expected,
            errno=done.errno,
            said=done.said,
            seconds=round(seconds, 6),
            pins=facts.pins,
            frames=None if done.frames is None else [*done.frames],
            migrated=migrated,
            failed=failed,
            checks=checks,
            asked=done.asked,
            got=done.got,
            also=also,
            provokes=[*facts.provokes],
        )


@dataclass(frozen=True)
class _Facts:
    """What is known of an attempt before it is made."""

    trigger: str
    target: str
    group: str
    expected: bool | None
    pins: int
    provokes: tuple[str, ...]
    alone: bool = False


@contextmanager
def drive(record: Recorder, window: Window, **facts: JSON) -> Iterator[None]:
    """The drive of an arm. Its window is open before and stays so until ``counted``.

    From outside in: vmstat, tracing, vmstat, the owner's calls. Whatever migrates of itself
    between two of the readings shows as a difference between the inner and the outer counts.
    """
    record.vmstat("outer-before", refresh=True)
    window.open()
    record.vmstat("inner-before")
    record.driven_from()
    began = time.monotonic()
    yield
    record.event("harness", "drive", seconds=round(time.monotonic() - began, 3), **facts)


def counted(record: Recorder, window: Window, frames: Iterable[int]) -> tuple[Pin, ...]:
    """What has become of the owner's pages when all is over; the window is closed behind that.

    frames: where they were. What moves by itself until then belongs to the arm as well.
    """
    pins = record.settled(frames)
    record.vmstat("inner-after")
    window.close()
    record.vmstat("outer-after", refresh=True)
    window.emit()
    return pins
