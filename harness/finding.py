# SPDX-License-Identifier: GPL-2.0-only
"""What a run is stopped at, found in its evidence as it comes. Pure.

The moments that count are those at which nothing is timed: the ledger was read, the drive is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum

from harness.errors import EvidenceError
from harness.model import ArmPlan, Event, Splat
from harness.parse import marks, splat

_LEDGER, _DRIVE, _PROVOKES = ("pinner", "ledger"), ("harness", "drive"), ("trigger", "provokes")


class Stop(StrEnum):
    """At what: a report of the kernel's; pages that stayed where they were to move; pages that
    migrated."""

    SPLAT = "splat"
    STAYED = "stayed"
    MIGRATED = "migrated"


class Finder:
    """Of one arm. said: the console so far. alone: there is no other arm."""

    def __init__(self, stop: Stop, arm: ArmPlan, said: Callable[[], str], *, alone: bool) -> None:
        self._stop, self._arm, self._said = stop, arm, said
        # The pages of a control arm are expected to stay.
        self._ledgers = stop is not Stop.STAYED or alone or arm.role != "control"
        self._before: dict[int, int] = {}
        self._provoked: set[tuple[int, str]] = set()

    def saw(self, event: Event) -> str:
        """Why to stop now, "" if not."""
        kind = (event.source, event.name)
        if kind == _PROVOKES:
            self._provokes(event)
        if self._stop is Stop.SPLAT:
            return self.splat() if kind in (_LEDGER, _DRIVE) else ""
        if kind == _LEDGER and self._ledgers:
            return self._ledger(event)
        return ""

    def splat(self) -> str:
        """The first report that no attempt had to provoke, in words."""
        if self._stop is not Stop.SPLAT:
            return ""
        lines = self._said().splitlines()
        found = [s for s in marks.attribute(splat.find(lines), lines, "") if self._counts(s)]
        return f"the kernel reported {splat.summary(found[0])}" if found else ""

    def _counts(self, each: Splat) -> bool:
        return (each.during, each.kind) not in self._provoked

    def _provokes(self, event: Event) -> None:
        number, kinds = event.data.get("number"), event.data.get("kinds")
        if isinstance(number, int) and isinstance(kinds, list | tuple):
            self._provoked |= {(number, str(kind)) for kind in kinds}

    def _ledger(self, event: Event) -> str:
        now, when = dict(_places(event.data.get("rows"))), event.data.get("when")
        if when == "before":
            self._before = now
        if when != "after":
            return ""
        known = [handle for handle in self._before if handle in now]
        stayed = sum(self._before[handle] == now[handle] for handle in known)
        count = stayed if self._stop is Stop.STAYED else len(known) - stayed
        return f"{count} of {len(known)} pinned pages {self._stop}" if count else ""


def _places(rows: object) -> Iterable[tuple[int, int]]:
    """(handle, page frame now) for each row of a ledger's event."""
    if not isinstance(rows, list | tuple):
        raise EvidenceError("the ledger has no rows")
    for row in rows:
        yield int(row[0]), int(row[2])
