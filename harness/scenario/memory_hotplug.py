# SPDX-License-Identifier: GPL-2.0-only
"""Memory hotplug: memory that is plugged in, filled with pinned pages, and wanted back.

Two devices are plugged while the guest runs, one whose blocks are brought online as movable and
one as the kernel's. Each block with pins is taken offline; then the devices are unplugged, and
plugged once more. Nobody can move plain pins: their blocks stay, and so do the devices.
"""

from __future__ import annotations

import errno as numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from harness import expectation
from harness.errors import CannotRun, GuestCommandError, InfraError, InputError, errno_name
from harness.model import ArmPlan, Guest, PluggedMemory
from harness.parse import vmstat
from harness.scenario.base import LIE, Default, Emit, Param, Params, Usual
from harness.scenario.pinned import APPEND, Pinned, beside, check_room, pinned
from harness.scenario.recorder import Recorder, mount
from harness.scenario.trigger import offline
from harness.scenario.trigger.attempt import Done
from harness.scenario.trigger.eat import eaten

EXPECTED = expectation.Expectation(
    pinned=1000, moved=0.9, compacts=False, huge=False, attempts=True, refusals=expectation.HELD
)
AUTO = "/sys/devices/system/memory/auto_online_blocks"
_KINDS = ("online_movable", "online_kernel")
# The processors' own node has memory of its own, which the kernel takes for itself: on the other
# one the blocks of its own kind get few pages that nobody can move. With a processor there, the
# network's receive buffers would be in them.
NODES = 2
_NODE = 1
_PAGES_IN_MIB = 256
_OOM = "oom_kill"  # of /proc/vmstat
_AGAIN = 128  # MiB of the device that is plugged in the end


class MemoryHotplug(Usual):
    name = "memory_hotplug"
    summary = "memory plugged in, filled with pinned pages, taken offline and unplugged"
    FEATURES = ("compaction", "hotplug", "owner")
    MODULES = ("pinner",)
    expected = EXPECTED
    PARAMS: Mapping[str, Param] = MappingProxyType(
        {
            "size": Param(256, "MiB of each of the two devices", least=128, most=65536),
            "every": Param(64, "of so many neighbouring pages one is pinned", least=2, most=4096),
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
        size = int(params["size"])
        if size % 128:
            raise InputError(f"--set size={size}: memory comes in blocks of 128 MiB")
        check_room(len(_KINDS) * size * _PAGES_IN_MIB, int(params["every"]), EXPECTED.pinned)

    def arms(self, series_has_pinpage: bool, params: Params) -> tuple[ArmPlan, ...]:
        size = int(params.get("size", self.PARAMS["size"].default))
        room = ((size, _NODE), (size, _NODE), (_AGAIN, _NODE))
        control = ArmPlan(
            "control",
            "control",
            "plain",
            append=APPEND,
            room=room,
            nodes=NODES,
            bare_nodes=NODES - 1,
            huge=False,
        )
        return beside(control, series_has_pinpage)

    def drive(
        self, guest: Guest, arm: ArmPlan, seed: int, params: Mapping[str, Default], emit: Emit
    ) -> None:
        values = self.values(params)
        mount(guest)
        offline.probe(guest)
        guest.run(f"[ ! -w {AUTO} ] || echo offline > {AUTO}")
        # Movable memory lies above the kernel's own: until v4.13 it has to (mm/memory_hotplug.c:
        # move_pfn_range_right), and is brought online first.
        plugged = {how: guest.plug(int(values["size"]), _NODE) for how in reversed(_KINDS)}
        devices = [Device(plugged[how], how) for how in _KINDS]

        def lay_out(record: Recorder) -> None:
            for device in devices:
                device.bring_online(record)
            for device in devices:
                for block in device.blocks:
                    record.fill(block.first, block.count, int(values["every"]), seed)

        with pinned(guest, arm, seed, values, emit, lay_out) as own, own.drive():
            for device in devices:
                _some_pinned(own, device)
            run = _Drive(own, arm.role == "treated", int(values["seconds"]))
            run.all(devices)
        run.once_more(devices)


@dataclass
class Device:
    """Plugged memory, and how its blocks are brought online."""

    memory: PluggedMemory
    how: str
    blocks: tuple[offline.Block, ...] = ()
    gone: bool = False

    def bring_online(self, record: Recorder) -> None:
        self.blocks = offline.blocks_of(record.guest, self.memory)
        for block in reversed(self.blocks):  # as above, the highest first
            done = offline.online(record.guest, block, self.how)
            record.event(
                "memory",
                "block",
                device=self.memory.name,
                how=self.how,
                block=block.name,
                first=block.first,
                count=block.count,
                errno=done.errno,
            )
            if done.errno:
                raise GuestCommandError(
                    f"{block.name} could not be brought online as {self.how}: "
                    f"{errno_name(done.errno)}",
                    hint="the end of console.log may have the kernel's reason",
                )
            self._zone(record, block)

    def _zone(self, record: Recorder, block: offline.Block) -> None:
        """What was brought online as movable lies in no other zone, where the kernel says so."""
        zones = record.optional(f"{offline.BLOCKS}/{block.name}/valid_zones")
        if zones is None or self.how != "online_movable" or zones.split()[:1] == ["Movable"]:
            return
        raise GuestCommandError(
            f"{block.name} was brought online as {self.how}, and is in the zone {zones.strip()}",
            hint="see mm/memory_hotplug.c: zone_for_pfn_range()",
        )


def _some_pinned(own: Pinned, device: Device) -> None:
    """InfraError where no pin lies in a device: that it goes would say nothing of pins."""
    if not any(own.inside(block.first, block.count) for block in device.blocks):
        raise InfraError(
            f"no page of {device.memory.name}, {device.how}, was pinned",
            hint="look at what the kernel had put there: page_owner, or a larger --set size=",
        )


@dataclass(frozen=True)
class _Drive:
    own: Pinned
    moves: bool
    seconds: int

    def all(self, devices: Sequence[Device]) -> None:
        # The kernel's own first: once memory is short, its own pages come to lie there.
        movable, kernels = devices
        went = self._all_offline(kernels)
        self._unplug(kernels, f"unplug, {kernels.how}", self.moves, went or not self.moves)
        self._with_nowhere_to_go(movable.blocks[0])
        went = self._all_offline(movable)
        self.own.record.ledger("held")
        if self.moves:
            self._unplug(movable, f"unplug, {movable.how}", True, went)

    def _all_offline(self, device: Device) -> bool:
        """Whether all of its blocks went."""
        # The last to come online first, which is the lowest: what page_owner needs for a block lies
        # in one that came before it (mm/page_ext.c: init_section_page_ext), and goes when it does.
        went = []
        for block in device.blocks:
            pins = self.own.inside(block.first, block.count)
            must = self.moves if pins else True
            went.append(self._offline(block, f"offline, {device.how}", must, pins))
        return all(went)

    def once_more(self, devices: Sequence[Device]) -> None:
        """With the pins gone nothing holds the movable memory any more; it goes, and new comes."""
        left = [device for device in devices if not device.gone]
        for device in left:
            must = True if device.how == "online_movable" else None
            went = []
            for block in device.blocks:
                if offline.state(self.own.record.guest, block) != "offline":
                    group = f"offline without pins, {device.how}"
                    went.append(self._offline(block, group, must, 0))
            self._unplug(device, f"unplug without pins, {device.how}", must, all(went))
        again = self._again()
        if again is None:
            return
        for block in again.blocks:
            self._offline(block, "offline, plugged again", True, 0)
        self._unplug(again, "unplug, plugged again", True)

    def _again(self) -> Device | None:
        """Further memory, online; None where the kernel no longer takes notice of it, which is an
        attempt that failed: it did before."""
        record = self.own.record
        again = Device(record.guest.plug(_AGAIN, _NODE), "online_movable")
        try:
            again.bring_online(record)
        except CannotRun as error:
            done = Done(numbers.ENODEV, error.message)
            self.own.attempts.make(
                "plug", again.memory.name, lambda: done, group="plug, again", expected=True
            )
            return None
        return again

    def _offline(
        self,
        block: offline.Block,
        group: str,
        expected: bool | None,
        pins: int,
        provokes: Sequence[str] = (),
    ) -> bool:
        """Whether it went."""
        seconds = offline.patience(self.seconds, expected)
        done = self.own.attempts.make(
            "offline",
            block.name,
            lambda: offline.offline(self.own.record, block, seconds=seconds),
            group=group,
            expected=expected,
            pins=pins,
            provokes=provokes,
        )
        return done.errno == 0

    def _with_nowhere_to_go(self, block: offline.Block) -> None:
        """All memory is taken but for less than the block has: what is in it cannot all go
        elsewhere. A signal ends the attempt, and nothing is lost. Where nobody moves the pins there
        is nothing to try.

        Until v4.13 the kernel kills whoever it likes for room (0f55685627d6, "mm, migration: do
        not trigger OOM killer when migrating memory"), the harness's own way in among them. The
        counter oom_kill came with the same release (8e675f7af507).
        """
        if _OOM not in vmstat.vmstat(self.own.record.text("/proc/vmstat")):
            why = "this kernel's offline has processes killed where there is no room"
            self.own.record.event("harness", "left out", part="offline, nowhere to go", why=why)
            return
        if not self.moves:
            return
        pins = self.own.inside(block.first, block.count)
        with eaten(self.own.record.guest, block.count * 7 // 8):
            self._offline(block, "offline, nowhere to go", False, pins, ("alloc-failure",))

    def _unplug(self, device: Device, group: str, expected: bool | None, ask: bool = True) -> None:
        """ask: a device that has to go is not asked for where one of its blocks has not gone. The
        kernel would try that for ever, which no signal ends, with its lock on all of hotplug held
        (drivers/acpi/scan.c: acpi_scan_hot_remove).
        """
        guest = self.own.record.guest

        def unplug() -> Done:
            if not ask:
                return Done(numbers.EBUSY, "not asked for: a block of it has not gone offline")
            answer = guest.unplug(device.memory, seconds=offline.patience(self.seconds, expected))
            device.gone = answer.gone
            checks = {"sysfs gone": not _any_there(guest, device.blocks)}
            errno = 0 if answer.gone else numbers.EBUSY
            said = f"{answer.event} {answer.said}".strip()
            return Done(errno, said, None, answer.seconds, checks)

        self.own.attempts.make("unplug", device.memory.name, unplug, group=group, expected=expected)


def _any_there(guest: Guest, blocks: Sequence[offline.Block]) -> bool:
    paths = " ".join(f"{offline.BLOCKS}/{block.name}" for block in blocks)
    return guest.run(f"ls -d {paths} 2>/dev/null | grep -q .").status == 0


SCENARIO = MemoryHotplug()
