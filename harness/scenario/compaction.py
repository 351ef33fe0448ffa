# SPDX-License-Identifier: GPL-2.0-only
"""Memory compaction: pinned pages strewn over memory, and all zones compacted.

Plain pages stay where they are and keep the free memory in pieces; pages that the subsystem
knows move together, and free blocks of the size of a huge page come of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from harness.errors import InputError
from harness.expectation import PINNED
from harness.model import ArmPlan, Guest
from harness.scenario.base import LIE, Default, Emit, Param, Params, Usual
from harness.scenario.pinned import APPEND, beside, check_strewn, pinned
from harness.scenario.recorder import Recorder
from harness.scenario.trigger import compact

_SPREAD = 1 / 16  # of the memory has to be: pins come from its end, where compaction puts pages


class Compaction(Usual):
    name = "compaction"
    summary = "pinned pages strewn over memory, then all of it compacted"
    FEATURES = ("compaction",)
    MODULES = ("pinner",)
    PARAMS: Mapping[str, Param] = MappingProxyType(
        {
            "pages": Param(4000, "pinned pages in each arm", least=PINNED, most=100_000),
            "every": Param(
                32,
                "of so many neighbouring pages one is pinned, at a place by the seed",
                least=2,
                most=1024,
            ),
            "rounds": Param(2, "writes to compact_memory", least=1, most=100),
            "lie": LIE,
        }
    )

    def check(self, params: Params, memory_mib: int) -> None:
        pages, every = int(params["pages"]), int(params["every"])
        laid = check_strewn(pages, every, memory_mib)
        if laid < (least := int(memory_mib * _SPREAD)):
            raise InputError(
                f"one of every {every} pages, {pages} times, is {laid} MiB of a guest with "
                f"{memory_mib} MiB: compaction would hardly come by there",
                hint=f"lay out {least} MiB at least, by more of --set pages= or --set every=",
            )

    def arms(self, series_has_pinpage: bool, params: Params) -> tuple[ArmPlan, ...]:
        control = ArmPlan("control", "control", "plain", append=APPEND)
        return beside(control, series_has_pinpage)

    def drive(
        self, guest: Guest, arm: ArmPlan, seed: int, params: Mapping[str, Default], emit: Emit
    ) -> None:
        values = self.values(params)
        pages, every, rounds = (int(values[name]) for name in ("pages", "every", "rounds"))
        compact.probe(guest)

        def lay_out(record: Recorder) -> None:
            record.layout(pages, every, seed)

        with pinned(guest, arm, seed, values, emit, lay_out) as own:
            nodes = compact.nodes(guest)
            with own.drive(rounds=rounds, nodes=[*nodes]):
                for _ in range(rounds):
                    own.record.event("harness", "compacted", flags=compact.everything(guest))
                for node in nodes:
                    compact.node(guest, node)


SCENARIO = Compaction()
