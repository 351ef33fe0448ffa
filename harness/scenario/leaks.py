# SPDX-License-Identifier: GPL-2.0-only
"""Leaks: rounds of an owner that is loaded, pins, is asked to move, refuses, frees, and is gone.

After each round a census says who has how much memory. What grows with every round is leaked,
what goes up and down is the system's own business (growth.py has the rule). Rounds are of two
sizes, and idle ones come between them, in which the owner alone is missing.
"""

from __future__ import annotations

import errno as numbers
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from harness import expectation, growth
from harness.errors import InputError
from harness.model import ArmPlan, Guest
from harness.parse import census as parsed
from harness.parse import ledger as pinner
from harness.parse import vmstat
from harness.scenario.base import LIE, Default, Emit, Param, Params, Usual
from harness.scenario.census import Census
from harness.scenario.pinned import APPEND, Pinned, beside, load, pinned
from harness.scenario.recorder import PINNER, Recorder
from harness.scenario.trigger import compact
from harness.scenario.trigger.attempt import Done, errno_of

EXPECTED = expectation.Expectation(pinned=500, moved=0.05, huge=False, attempts=True, census=True)
_FIRST, _FIRST_EVERY = 2000, 32  # pins of the drive before the rounds, see compaction
_WARM = 2  # rounds of each size that come before any is counted
_REFUSE = 4  # one of so many refuses to move
_ALWAYS = 2**32 - 1
_MIB = 8  # a shift: pages in one


class Leaks(Usual):
    name = "leaks"
    summary = "an owner that comes, pins, moves and goes, again and again: what does it leave?"
    FEATURES = ("compaction", "owner")
    MODULES = ("pinner",)
    expected = EXPECTED
    PARAMS: Mapping[str, Param] = MappingProxyType(
        {
            "pages": Param(
                600,
                "pinned pages in a round, and in every other twice that",
                least=500,
                most=20_000,
            ),
            "every": Param(
                64,  # with less the pins of a round may all lie where they would go
                "of so many neighbouring pages one is pinned",
                least=2,
                most=1024,
            ),
            "rounds": Param(6, "rounds that count", least=growth.WORKING, most=1000),
            "init_lru": Param(0, "1: the treated owner initialises page->lru", most=1),
            "lie": replace(LIE, choices=(*LIE.choices, "leak")),
        }
    )

    def check(self, params: Params, memory_mib: int) -> None:
        needed = 2 * int(params["pages"]) * int(params["every"]) >> _MIB
        if needed > memory_mib * 3 // 4:
            raise InputError(
                f"2 times {params['pages']} pages, one of every {params['every']}, is {needed} MiB:"
                f" more than three quarters of a guest with {memory_mib} MiB",
                hint="lower --set pages= or --set every=, or give --memory",
            )

    def arms(self, series_has_pinpage: bool, params: Params) -> tuple[ArmPlan, ...]:
        control = ArmPlan("control", "control", "plain", append=APPEND, huge=False)
        return beside(control, series_has_pinpage)

    def drive(
        self, guest: Guest, arm: ArmPlan, seed: int, params: Mapping[str, Default], emit: Emit
    ) -> None:
        values = self.values(params)
        pages = int(values["pages"])
        compact.probe(guest)

        def lay_out(record: Recorder) -> None:
            record.layout(_FIRST, _FIRST_EVERY, seed)

        with pinned(guest, arm, seed, values, emit, lay_out) as own, own.drive():
            compact.everything(guest)
        rounds = _Rounds(own, Census(own.record), values, seed)
        for number in range(_WARM):
            rounds.work(pages * (1 + number % 2))
            rounds.idle()
        rounds.count(0)
        for number in range(int(values["rounds"])):
            rounds.work(pages * (1 + number % 2))
            rounds.count(pages * (1 + number % 2))
            if number % 2:
                rounds.idle()
                rounds.count(0)
        while rounds.idles < growth.IDLE:
            rounds.idle()
            rounds.count(0)


@dataclass
class _Rounds:
    own: Pinned
    census: Census
    values: Mapping[str, Default]
    seed: int
    number: int = 0
    counted: int = 0
    idles: int = -1  # the census before the first round is none
    moved: int = 0  # pages, in the last round of work

    def count(self, ops: int) -> None:
        self.census.take(self.counted, ops, self.moved if ops else 0)
        self.counted += 1
        self.idles += not ops

    def work(self, pages: int) -> None:
        """One round, as an attempt: pages moved if somebody can move them."""
        self.number += 1
        self.own.attempts.make(
            "round",
            f"round {self.number}, {pages} pages",
            lambda: self._work(pages),
            expected=True,
            pins=pages,
        )
        self.own.attempts.make("unload", f"round {self.number}", self._unload, expected=True)

    def _work(self, pages: int) -> Done:
        record = self.own.record
        before = _migrated(record)
        load(record, self.values)
        self.census.learn()
        record.layout(pages, int(self.values["every"]), self.seed + self.number)
        self._compact(numbers.EBUSY, _ALWAYS)  # some never move: what is put back
        self._compact(numbers.EAGAIN, 1)  # some at the second try: what is tried again
        self._compact(numbers.EAGAIN, 0)
        treated = record.arm.role == "treated"
        if treated and not self._moved():
            compact.until(record.guest, lambda: self._moved() > 0)
        moved = self._moved()
        self.moved = sum(row.moves > 0 for row in record.pins())
        if not treated:
            return Done(numbers.EPERM if moved else 0, f"{moved} pages moved")
        moves = _migrated(record) - before
        checks = {"vmstat pgmigrate_success": moves >= max(moved, 1)}
        return Done(0 if moved else numbers.EBUSY, f"{moved} pages moved", checks=checks)

    def _unload(self) -> Done:
        """Nothing of the owner's is in use once its pages are freed, so it can go."""
        record = self.own.record
        record.control("free_all", timeout=120)
        references = parsed.modules(record.text("/proc/modules")).get("pinner")
        errno, said = errno_of(record.guest.run("rmmod pinner", timeout=120))
        left = parsed.modules(record.text("/proc/modules"))
        checks = {"module references": references == 0, "modules": "pinner" not in left}
        return Done(errno, said, checks=checks)

    def _compact(self, errno: int, times: int) -> None:
        self.own.record.control(f"refuse {errno} {times} {_REFUSE}")
        compact.everything(self.own.record.guest)

    def _moved(self) -> int:
        moved = pinner.counters(self.own.record.text(f"{PINNER}/counters")).get("migrated")
        return moved if isinstance(moved, int) else -1

    def idle(self) -> None:
        """The same, but for the owner."""
        guest = self.own.record.guest
        self.census.learn()
        for _ in range(3):
            compact.everything(guest)
        guest.must("dmesg | wc -l")


def _migrated(record: Recorder) -> int:
    return vmstat.vmstat(record.text("/proc/vmstat")).get("pgmigrate_success", 0)


SCENARIO = Leaks()
