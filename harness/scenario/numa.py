# SPDX-License-Identifier: GPL-2.0-only
"""Two nodes: one of them compacted for itself, left by user pages, and gone in the end.

All memory of the second node was plugged in, and is movable. Pinned pages and a process's pages
lie on it. The process is moved off and back; where nobody can move the pins, the node stays.
"""

from __future__ import annotations

import errno as numbers
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from harness import expectation
from harness.errors import CannotRun, GuestCommandError, InputError
from harness.model import ArmPlan, Guest
from harness.scenario.base import LIE, Default, Emit, Param, Params, Usual
from harness.scenario.memory_hotplug import AUTO, Device
from harness.scenario.pinned import APPEND, Pinned, beside, check_room, pinned
from harness.scenario.recorder import Recorder, mount
from harness.scenario.trigger import compact, offline, user
from harness.scenario.trigger.attempt import Done

EXPECTED = expectation.Expectation(
    pinned=500, moved=0.9, compacts=True, huge=False, attempts=True, refusals=expectation.HELD
)
HOME, AWAY = 0, 1
_PAGES_IN_MIB = 256
_REFUSALS = ("EINVAL", "EPERM")  # of a kernel that cannot; EPERM: v3.11
_GAP = 2  # of so many blocks the last is left to the process


class Numa(Usual):
    name = "numa"
    summary = "a node compacted, left by a process's pages, and taken away under pinned ones"
    FEATURES = ("compaction", "hotplug", "owner")
    MODULES = ("pinner", "userpages")
    expected = EXPECTED
    PARAMS: Mapping[str, Param] = MappingProxyType(
        {
            "size": Param(256, "MiB of the node that goes away", least=256, most=65536),
            "every": Param(32, "of so many neighbouring pages one is pinned", least=2, most=4096),
            "user": Param(32, "MiB of the process's pages", least=1, most=4096),
            "seconds": Param(
                8,
                "that a block is tried for; ten times as many where it has to go",
                least=1,
                most=600,
            ),
            "lie": LIE,
        }
    )

    def check(self, params: Params, memory_mib: int) -> None:
        size, own = int(params["size"]), int(params["user"])
        if size % 128:
            raise InputError(f"--set size={size}: memory comes in blocks of 128 MiB")
        if own * 4 > size or size * 2 > memory_mib:
            raise InputError(
                f"--set user={own} is over a quarter of --set size={size}, or that is over half "
                f"of the guest's {memory_mib} MiB, where all of it has to go in the end"
            )
        check_room(size * _PAGES_IN_MIB // _GAP, int(params["every"]), EXPECTED.pinned)

    def arms(self, series_has_pinpage: bool, params: Params) -> tuple[ArmPlan, ...]:
        room = ((int(params.get("size", self.PARAMS["size"].default)), AWAY),)
        control = ArmPlan(
            "control", "control", "plain", append=APPEND, room=room, empty_nodes=1, huge=False
        )
        return beside(control, series_has_pinpage)

    def drive(
        self, guest: Guest, arm: ArmPlan, seed: int, params: Mapping[str, Default], emit: Emit
    ) -> None:
        values = self.values(params)
        mount(guest)
        compact.probe(guest)
        offline.probe(guest)
        if HOME not in user.nodes(guest):
            raise CannotRun("node 0 of this machine has no memory")
        guest.run(f"[ ! -w {AUTO} ] || echo offline > {AUTO}")
        device = Device(guest.plug(int(values["size"]), AWAY), "online_movable")

        def lay_out(record: Recorder) -> None:
            try:
                device.bring_online(record)
            except GuestCommandError as error:
                if error.message.rpartition(": ")[2] not in _REFUSALS:
                    raise
                raise CannotRun(
                    f"a node without memory of its own gets none that is movable: {error.message}",
                    hint="before v4.14 that needs CONFIG_MOVABLE_NODE "
                    "(mm/memory_hotplug.c: can_online_high_movable)",
                ) from error
            if AWAY not in user.nodes(guest):
                raise CannotRun(
                    "the memory that was plugged did not come up on a node of its own",
                    hint="without ACPI (arm64's guests have none) the kernel is not told its node",
                )
            for block in device.blocks:
                # The upper half of a block is the process's: compaction moves pages upwards.
                record.fill(block.first, block.count // _GAP, int(values["every"]), seed)

        with (
            pinned(guest, arm, seed, values, emit, lay_out) as own,
            user.holder(guest, int(values["user"]), node=AWAY) as held,
            own.drive(),
        ):
            _Drive(own, held, device, arm.role == "treated", int(values["seconds"])).all()


class _Drive:
    def __init__(
        self, own: Pinned, held: user.Holder, device: Device, moves: bool, seconds: int
    ) -> None:
        self._own, self._held, self._device = own, held, device
        self._moves, self._seconds = moves, seconds
        self._guest = own.record.guest

    def all(self) -> None:
        make = self._own.attempts.make
        make("compact", f"node {AWAY}", self._compact, group="compact, its node", expected=True)
        for trigger, act in (
            ("move_pages", partial(user.move, self._held, HOME)),
            ("move_pages", partial(user.move, self._held, AWAY)),
            ("migrate_pages", partial(user.migrate, self._held, (AWAY,), HOME)),
            ("migrate_pages", partial(user.migrate, self._held, (HOME,), AWAY)),
        ):
            make(trigger, f"process {self._held.pages.pid}", act, group=trigger, expected=True)
        seconds = offline.patience(self._seconds, self._moves)
        for block in self._device.blocks:
            make(
                "offline",
                block.name,
                partial(offline.offline, self._own.record, block, seconds=seconds),
                group="offline",
                expected=self._moves,
                pins=self._own.inside(block.first, block.count),
            )
        self._own.record.ledger("held")
        make("node", f"node {AWAY}", self._gone, group="node gone", expected=self._moves)
        whole = partial(user.contents, self._held)
        make("contents", "the process", whole, group="contents of the process", expected=True)

    def _compact(self) -> Done:
        """Compact the node. What was pinned on it is still there, wherever it is now; and some of
        it is elsewhere, where it can move: otherwise another node was compacted, or none."""
        (path,) = [p for p in compact.nodes(self._guest) if f"/node{AWAY}/" in p]
        compact.node(self._guest, path)
        memory = self._device.memory
        there = range(memory.first, memory.first + memory.count)
        was = {pin.handle: pin.pfn_now for pin in self._own.pins}
        pins = self._own.record.ledger("compacted")
        on_it = all(pin.pfn_now in there for pin in pins)
        moved = sum(was.get(pin.handle) != pin.pfn_now for pin in pins)
        done = on_it and (moved > 0 or not self._moves)
        said = f"{moved} of {len(pins)} pins moved"
        return Done(0 if done else numbers.EBUSY, said)

    def _gone(self) -> Done:
        """Whether the node has no memory left, nor the process any page on it."""
        there = AWAY in user.nodes(self._guest)
        pages = self._held.where().nodes
        checks = {"zoneinfo present": not offline.present(self._guest, AWAY)}
        said = ", ".join(f"{count} of its pages on node {node}" for node, count in pages.items())
        stuck = there or pages.get(AWAY, 0)
        return Done(numbers.EBUSY if stuck else 0, said, checks=checks)


SCENARIO = Numa()
