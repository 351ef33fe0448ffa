# SPDX-License-Identifier: GPL-2.0-only
"""Huge pages from a machine whose memory pinned pages have fragmented.

Three ways that need them whole: the pool of hugetlb, a process that faults transparent ones in,
and khugepaged, which makes one of 512 small pages. With pins that move, each way gets more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from types import MappingProxyType

from harness import expectation
from harness.errors import InputError
from harness.model import ArmPlan, Event, Guest
from harness.scenario import compaction
from harness.scenario.base import Default, Emit, Param, Params, Usual
from harness.scenario.pinned import Pinned, pinned
from harness.scenario.recorder import Recorder
from harness.scenario.trigger import compact, huge

# As many pins move as huge pages need: most of them, where the kernel compacts for each of the
# three; with v3.11, which compacts nothing for hugetlb and soon defers the others, a seventh.
_BARELY = 0.05
EXPECTED = expectation.Expectation(compacts=False, huge=False, more=0.1, barely=_BARELY)
_COMPACTS = "compacts"  # of the params: whether the kernel compacts for each of the three
_FRAGMENTED = 0.4  # of the memory at least: what has no pins must not be enough for _ALL
_MIB = 2
_PAGES_IN_MIB = 256
_POOL = 0.8  # of all memory, for the pool: a guest that gives more may let nobody in any more
_ALL = 0.7  # of what is available: the rest is for small pages, and for the guest itself


class HugePages(Usual):
    name = "huge_pages"
    summary = "huge pages by hugetlb, faults and khugepaged from memory full of pinned pages"
    FEATURES = ("compaction", "huge")
    MODULES = ("pinner", "userpages")
    expected = EXPECTED
    PARAMS: Mapping[str, Param] = MappingProxyType(
        {
            **{name: compaction.SCENARIO.PARAMS[name] for name in ("pages", "every", "lie")},
            "seconds": Param(120, "that khugepaged may take", least=5, most=3600),
        }
    )

    def check(self, params: Params, memory_mib: int) -> None:
        compaction.SCENARIO.check(params, memory_mib)
        laid = int(params["pages"]) * int(params["every"]) // _PAGES_IN_MIB
        due = ceil(ceil(memory_mib * _FRAGMENTED) * _PAGES_IN_MIB / int(params["every"]))
        if laid < memory_mib * _FRAGMENTED:
            raise InputError(
                f"one of every {params['every']} pages, {params['pages']} times, is {laid} MiB: "
                f"less than {_FRAGMENTED:.0%} of a guest with {memory_mib} MiB, whose rest has all "
                "huge pages that are asked for without a page that moves",
                hint=f"give --set pages={due}, or --memory {int(laid / _FRAGMENTED)}",
            )

    def arms(self, series_has_pinpage: bool, params: Params) -> tuple[ArmPlan, ...]:
        return compaction.SCENARIO.arms(series_has_pinpage, params)

    def drive(
        self, guest: Guest, arm: ArmPlan, seed: int, params: Mapping[str, Default], emit: Emit
    ) -> None:
        values = self.values(params)
        huge.probe(guest)
        values[_COMPACTS] = int(compact.for_all(guest))

        def lay_out(record: Recorder) -> None:
            record.layout(int(values["pages"]), int(values["every"]), seed)

        with pinned(guest, arm, seed, values, emit, lay_out) as own:
            memory = huge.meminfo(guest)["MemTotal"] // 1024
            some = int(memory * _ALL) // _MIB
            make = own.attempts.make
            scanned = compact.scanned(guest)
            with own.drive():
                for act, trigger, group in (
                    (
                        lambda: huge.pool(guest, int(memory * _POOL) // _MIB),
                        "hugetlb",
                        "hugetlb pages",
                    ),
                    (lambda: huge.at_fault(guest, some), "fault", "huge pages at a fault"),
                    (
                        lambda: huge.by_khugepaged(guest, some, seconds=int(values["seconds"])),
                        "khugepaged",
                        "huge pages by khugepaged",
                    ),
                ):
                    compact.forget(guest, compacted=False)
                    make(trigger, group, act, group=group)
            if arm.role == "treated" and _moved(own) < _BARELY * len(own.pins):
                compact.standstill(guest, compact.scanned(guest) - scanned)

    def expects(self, events: Sequence[Event]) -> expectation.Expectation:
        for_all = any(e.name == "params" and e.data.get(_COMPACTS) for e in events)
        return replace(self.expected, barely=None, idle=False) if for_all else self.expected


def _moved(own: Pinned) -> int:
    """How many pins are elsewhere by now."""
    was = {pin.handle: pin.pfn_now for pin in own.pins}
    return sum(was.get(pin.handle, pin.pfn_now) != pin.pfn_now for pin in own.record.pins())


SCENARIO = HugePages()
