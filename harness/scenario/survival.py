# SPDX-License-Identifier: GPL-2.0-only
"""Few pins at one place, moved under difficulties, and what has to hold afterwards."""

from __future__ import annotations

import errno as numbers
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from harness.model import JSON
from harness.parse import ledger as pinner
from harness.parse import vmstat
from harness.scenario.census import Census
from harness.scenario.pinned import Pinned, odd
from harness.scenario.recorder import PINNER, Recorder
from harness.scenario.trigger import compact
from harness.scenario.trigger.attempt import Done
from harness.seen import calls as calls_of

MORE = (1, 4, 16)  # times the pins that have to move: few may all lie where they would go
ALWAYS = 2**32 - 1  # times
_NAMED = 3  # stacks of what is left


@dataclass
class Site:
    """Where pins are laid anew for each trial.

    With a first frame: one of ``every`` of so many frames from there on. Without: so many pins
    strewn over memory, one of ``every`` pages, which is a lot quicker.
    """

    own: Pinned
    seed: int
    first: int | None
    count: int
    every: int
    pins: tuple[pinner.Pin, ...] = ()
    _filled: int = field(default=0)

    @property
    def record(self) -> Recorder:
        return self.own.record

    @property
    def treated(self) -> bool:
        return self.record.arm.role == "treated"

    def free(self) -> None:
        """Give up all pins."""
        self.record.control("free_all", timeout=120)

    def fill(self, times: int = 1) -> int:
        """Give up all pins and lay new ones; how many. times: so many times more than usual,
        where they are strewn over memory and not over a range."""
        self.free()
        compact.forget(self.record.guest)
        self._filled += 1
        seed = self.seed + self._filled
        if self.first is None:
            self.record.layout(self.count * times, self.every, seed)
        else:
            self.record.fill(self.first, self.count, self.every, seed)
        self.pins = self.rows()
        return len(self.pins)

    def rows(self) -> tuple[pinner.Pin, ...]:
        return self.record.pins()

    def counters(self) -> dict[str, int | str]:
        return pinner.counters(self.record.text(f"{PINNER}/counters"))

    def counter(self, name: str) -> int:
        value = self.counters().get(name)
        return value if isinstance(value, int) else -1

    def moved(self) -> int:
        """Of the pins, those that are no longer where they were laid."""
        return sum(pin.moves > 0 for pin in self.rows())

    def damage(self) -> str:
        """What is wrong with the pins: contents, number, or place; "" if nothing. The rows are
        events, so that whoever doubts it can look."""
        self.record.control("verify", timeout=120)
        values, rows = self.counters(), self.rows()
        told: list[JSON] = [
            [p.handle, p.pfn_pin, p.pfn_now, p.moves, p.errno, p.state] for p in rows
        ]
        self.record.event("pinner", "site", rows=told, counters={**values})
        wrong = odd(rows)
        if {pin.handle for pin in rows} != {pin.handle for pin in self.pins}:
            wrong.append(f"{len(self.pins)} pins were laid, {len(rows)} are left")
        if len({pin.pfn_now for pin in rows}) != len(rows):
            wrong.append("two pins are in one frame")
        if values.get("corrupt") or values.get("lost"):
            wrong.append(f"{values.get('corrupt')} corrupt and {values.get('lost')} lost")
        if not self.treated and any(pin.moves or pin.pfn_now != pin.pfn_pin for pin in rows):
            wrong.append("plain pins have moved")
        return "; ".join(wrong[:2])

    def survived(self, go_on: Callable[[], str]) -> Done:
        """Whether all is whole, and still so once the same was done without difficulties.

        go_on: does that, and says what is wrong.
        """
        wrong = self.damage() or go_on() or self.damage()
        return Done(numbers.EIO if wrong else 0, wrong)

    def compacts(self) -> str:
        """Whether new pins move with a compaction, as they must where somebody can move them."""
        before = _migrated(self.record)
        for times in MORE:
            self.fill(times)
            if not self.treated:
                compact.everything(self.record.guest)
                return ""
            if compact.until(self.record.guest, lambda: self.moved() > 0):
                break
        else:
            return "a compaction moved no page any more"
        moved = self.moved()
        if moved > _migrated(self.record) - before:
            return f"{moved} pages moved, and pgmigrate_success grew by less"
        return ""


class Leftovers:
    """What is left of a trial: pages that an owner or a migration has allocated and nobody freed.

    With all pins given up there are as many as at the begin, to the page. By page_owner's
    stacks (since v6.9); without them an event says that nobody counts.
    """

    def __init__(self, record: Recorder) -> None:
        self._record = record
        self._census = Census(record)
        self.begin()

    def begin(self) -> None:
        """What is there now is nothing that is left of a trial. All pins are given up."""
        self._before = self._census.moving()

    def more(self) -> str:
        """What is left beyond what was, with its stacks, "" if nothing. All pins are given up."""
        now = self._census.moving()
        if now is None or self._before is None:
            return ""
        more = now - self._before
        self._record.event(
            "census", "leftovers", pages=now.total(), before=self._before.total(), more=more.total()
        )
        if now.total() <= self._before.total():
            return ""
        named = ", and from ".join(f"{calls_of(s)} ({n})" for s, n in more.most_common(_NAMED))
        left = now.total() - self._before.total()
        self._before = now  # it is this trial's, and no later one's
        return f"{left} pages are left with all pins given up, from {named}"


def asked(calls: Sequence[pinner.Move], errno: int) -> Counter[int]:
    """How often each page answered with an errno."""
    return Counter(call.handle for call in calls if call.errno == -errno)


def calls(record: Recorder, after: int) -> tuple[pinner.Move, ...]:
    """The callbacks since number ``after``."""
    found = pinner.moves(record.text(f"{PINNER}/moves", timeout=120))
    return tuple(call for call in found.calls if call.seq > after)


def _migrated(record: Recorder) -> int:
    return vmstat.vmstat(record.text("/proc/vmstat")).get("pgmigrate_success", 0)
