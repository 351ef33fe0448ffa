# SPDX-License-Identifier: GPL-2.0-only
"""Memory compaction: pinned pages strewn over memory, and all zones compacted.

Plain pages stay where they are and keep the free memory in pieces; pages that the subsystem
knows move together, and free blocks of the size of a huge page come of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from harness import verdict
from harness.errors import CannotRun, InputError
from harness.model import ArmPlan, Event, Guest
from harness.scenario.base import Default, Emit, Param, Params, Tree
from harness.scenario.recorder import Recorder, mount
from harness.scenario.tracing import Window
from harness.verdict import PINNED

ORDER = 9
COMPACT = "/proc/sys/vm/compact_memory"
_NODES = "/sys/devices/system/node/node*/compact"
_DRIVE = 300.0  # seconds that one compaction of everything may take
_ALL = 1 << 20  # blocks of ORDER: more than any guest has
_PAGES_IN_MIB = 8  # a shift
_FILLED = 0.75  # of the memory may be laid out: the kernel and the pinner keep an eighth or so


class Compaction:
    name = "compaction"
    summary = "pinned pages strewn over memory, then all of it compacted"
    FEATURES = ("compaction",)
    MODULES = ("pinner",)
    APART = False
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
            "lie": Param(
                "none",
                "have the treated arm's owner lie, to see the harness notice",
                choices=("none", "nocopy", "keep", "ghost"),
            ),
        }
    )

    def check(self, params: Params, memory_mib: int) -> None:
        needed = int(params["pages"]) * int(params["every"]) >> _PAGES_IN_MIB
        if needed > memory_mib * _FILLED:
            raise InputError(
                f"one of every {params['every']} pages, {params['pages']} times, is {needed} MiB: "
                f"more than {_FILLED:.0%} of a guest with {memory_mib} MiB",
                hint=f"give --memory {int(needed / _FILLED) + 1}, "
                "or less of --set pages= or --set every=",
            )

    def arms(self, series_has_pinpage: bool, params: Params) -> tuple[ArmPlan, ...]:
        control = ArmPlan("control", "control", "plain")
        if not series_has_pinpage:
            return (control,)
        return (control, ArmPlan("treated", "treated", "pinpage"))

    def inspect(self, tree: Tree, params: Params) -> Iterable[Event]:
        return ()

    def drive(
        self, guest: Guest, arm: ArmPlan, seed: int, params: Mapping[str, Default], emit: Emit
    ) -> None:
        values = {name: param.default for name, param in self.PARAMS.items()} | dict(params)
        pages, every, rounds = (int(values[name]) for name in ("pages", "every", "rounds"))
        record = Recorder(guest, arm, emit)
        record.event("harness", "params", seed=seed, mode=arm.mode, **values)
        _probe(guest)
        record.free("unloaded")
        _settle(guest)
        record.load(str(values["lie"]) if arm.role == "treated" else "none")
        record.layout(pages, every, seed)
        window = Window(record)
        pins = record.ledger("before")
        record.pageflags("before", (pin.pfn_now for pin in pins))
        record.counters("before")
        record.huge("before", ORDER, _ALL)
        record.free("before")
        _compact(record, window, rounds)
        record.free("after")
        record.huge("after", ORDER, _ALL)
        record.verify()
        after = record.ledger("after")
        record.counters("after")
        frames = {pin.pfn_now for pin in pins} | {pin.pfn_now for pin in after}
        record.pageflags("after", frames)
        record.log()
        record.unload()
        record.free("removed")

    judge = staticmethod(verdict.judge)


def _probe(guest: Guest) -> None:
    if guest.run(f"[ -w {COMPACT} ]").status != 0:
        raise CannotRun(
            f"this kernel cannot compact memory on demand: there is no {COMPACT}",
            hint="build it with CONFIG_COMPACTION=y",
        )
    mount(guest)


def _settle(guest: Guest) -> None:
    """Have the caches give back what they hold before anything is counted.

    Nothing is compacted beforehand: until v3.16 a write to compact_memory passes over the blocks
    in which the last one had nothing to isolate (mm/compaction.c: isolation_suitable), and pins
    put there since would never be looked at.
    """
    guest.write("/proc/sys/vm/drop_caches", b"3", timeout=60)


def _compact(record: Recorder, window: Window, rounds: int) -> None:
    """The drive. What is counted twice, in and around the window, brackets other migrations.

    From outside in: vmstat, tracing, vmstat, the owner's calls. Whatever migrates of itself
    between two of the readings shows as a difference between the inner and the outer counts.
    """
    guest = record.guest
    nodes = guest.run(f"ls -d {_NODES} 2>/dev/null").stdout.decode().split()
    record.vmstat("outer-before", refresh=True)
    window.open()
    record.vmstat("inner-before")
    last = record.calls_so_far()
    began = time.monotonic()
    for _ in range(rounds):
        guest.write(COMPACT, b"1", timeout=_DRIVE)
    for node in nodes:
        guest.write(node, b"1", timeout=_DRIVE)
    seconds = round(time.monotonic() - began, 3)
    record.calls(last)
    record.vmstat("inner-after")
    window.close()
    record.vmstat("outer-after", refresh=True)
    record.event("harness", "drive", seconds=seconds, rounds=rounds, nodes=[*nodes])
    window.emit()


SCENARIO = Compaction()
