# SPDX-License-Identifier: GPL-2.0-only
"""What a scenario of one's own does to a guest: its pins, its modules, its steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

from harness.errors import CannotRun, GuestCommandError
from harness.model import Guest, PluggedMemory
from harness.scenario import contig_range
from harness.scenario.base import Default
from harness.scenario.memory_hotplug import AUTO, Device
from harness.scenario.own.plan import Module, Plan, Step
from harness.scenario.pinned import Pinned
from harness.scenario.recorder import Recorder
from harness.scenario.trigger import compact, contig, huge, offline, user
from harness.scenario.trigger.attempt import Done, errno_of
from harness.scenario.trigger.offline import BLOCKS, Block

_SAID = 300  # characters of a command's output that are kept
_LOADED = 60.0  # seconds that a module may take to load or to go
_TAKES = ("offline", "contig")  # steps that take frames, in which no pin may be left


def probe(guest: Guest, plan: Plan) -> None:
    """CannotRun where the guest lacks what a step needs, before anything is done."""
    if plan.has("compact", "compact-node"):
        compact.probe(guest)
    if plan.has("offline") or plan.pin.plugged:
        offline.probe(guest)
    if plan.has("huge-pages"):
        huge.probe(guest)
    if plan.has("move-user-pages"):
        there = user.nodes(guest)
        for step in plan.steps:
            if step.trigger == "move-user-pages" and step.to not in there:
                raise CannotRun(f"node {step.to} of this guest has no memory")


class Ground:
    """Where the pins are laid, made ready before they are."""

    def __init__(self, guest: Guest, plan: Plan, values: Mapping[str, Default]) -> None:
        self._plan, self._values = plan, values
        self.device: Device | None = None
        if plan.pin.plugged:
            guest.run(f"[ ! -w {AUTO} ] || echo offline > {AUTO}")
            memory: PluggedMemory = guest.plug(int(values["plugged"]), plan.nodes - 1)
            self.device = Device(memory, f"online_{plan.pin.online}")

    def lay_out(self, record: Recorder, seed: int) -> None:
        pin, every = self._plan.pin, int(self._values["every"])
        for module in self._plan.modules:
            load(record, module)
        if pin.pages:
            record.layout(int(self._values["pages"]), every, seed)
        elif pin.area:
            contig_range.lend(record, contig.areas(record.guest)[0], every, seed)
        elif self.device is not None:
            self.device.bring_online(record)
            for block in self.device.blocks:
                record.fill(block.first, block.count, every, seed)
        else:
            record.fill(pin.first, pin.frames, every, seed)


def load(record: Recorder, module: Module) -> None:
    """Load a module of the user's own; GuestCommandError where the kernel refuses it."""
    guest, path = record.guest, f"/modules/{module.name}.ko"
    if guest.run(f"[ -e {path} ]").status != 0:
        guest.put(guest.module(module.name), path)
    done = guest.run(f"insmod {path} {module.options}".rstrip(), timeout=_LOADED)
    said = done.stderr.decode(errors="replace").strip()[-_SAID:]
    record.event("harness", "module", name=module.name, status=done.status, stderr=said)
    if done.status != 0:
        raise GuestCommandError(
            f"the module {module.name} could not be loaded: {said or done.status}",
            hint="the end of console.log has the kernel's reason",
        )


def unload(record: Recorder, module: Module) -> None:
    """Unload it; one that cannot go (it has no exit function, or is in use) stays, as noted."""
    done = record.guest.run(f"rmmod {module.name}", timeout=_LOADED)
    said = done.stderr.decode(errors="replace").strip()[-_SAID:]
    record.event("harness", "module gone", name=module.name, status=done.status, stderr=said)


class Drive:
    """The steps of one arm."""

    def __init__(self, own: Pinned, plan: Plan, role: str, device: Device | None) -> None:
        self._own, self._plan, self._role, self._device = own, plan, role, device
        self._record, self._guest = own.record, own.record.guest
        self._buffers: contig.Buffers | None = None
        self._held = False  # no pin is left in frames that were taken: it has been looked at

    def all(self) -> None:
        taken = False
        for step in self._plan.steps:
            if step.trigger == "command" and taken:
                self._look()  # what a command does with frames that were taken is its own business
            _ACTS[step.trigger](self, step)
            taken = taken or step.trigger in _TAKES
        if taken:
            self._look()
        if self._buffers is not None:
            self._buffers.free_all()

    def done(self) -> None:
        """Behind the drive: what is loaded goes."""
        if self._buffers is not None:
            self._buffers.unload()
        for module in reversed(self._plan.modules):
            unload(self._record, module)

    def _look(self) -> None:
        """Where each pin is, once, while all that was taken so far is still taken."""
        if not self._held:
            self._record.ledger("held")
            self._held = True

    def _expected(self, step: Step) -> bool | None:
        wish = step.wished(self._role)
        return None if wish is None else wish.expected

    def _compact(self, step: Step) -> None:
        def act() -> Done:
            for _ in range(step.amount):
                flags = compact.everything(self._guest)
                self._record.event("harness", "compacted", flags=flags)
            return Done(0)

        target = f"everything, {step.amount} times"
        self._own.attempts.make(step.trigger, target, act, group=step.group, alone=True)

    def _compact_node(self, step: Step) -> None:
        wanted = f"/node{step.amount}/"
        path = next((p for p in compact.nodes(self._guest) if wanted in p), None)
        if path is None:
            raise CannotRun(
                f"this guest has no node {step.amount} to compact",
                hint="guest: {nodes: N}, on a kernel with CONFIG_NUMA",
            )

        def act() -> Done:
            compact.node(self._guest, path)
            return Done(0)

        target = f"node {step.amount}"
        self._own.attempts.make(step.trigger, target, act, group=step.group, alone=True)

    def _offline(self, step: Step) -> None:
        expected = self._expected(step)
        seconds = offline.patience(step.seconds, expected)
        for block in self._blocks(step):
            self._own.attempts.make(
                step.trigger,
                block.name,
                partial(offline.offline, self._record, block, seconds=seconds),
                group=step.group,
                expected=expected,
                pins=self._own.inside(block.first, block.count),
            )

    def _blocks(self, step: Step) -> list[Block]:
        if self._device is not None and step.words == ("plugged",):
            # The last first, as in memory_hotplug.py: what page_owner needs for a block lies in
            # one that came before it.
            return list(reversed(self._device.blocks))
        size = offline.block_pages(self._guest)
        numbers = [int(word.removeprefix("memory")) for word in step.words]
        blocks = [Block(number, number * size, size) for number in numbers]
        for block in blocks:
            self._zone(block)
        return blocks

    def _zone(self, block: Block) -> None:
        """Which zone a block is in, for who asks why it did not go. CannotRun where there is no
        such block."""
        folder = f"{BLOCKS}/{block.name}"
        if self._guest.run(f"[ -d {folder} ]").status != 0:
            listed = self._guest.run(f"ls {BLOCKS}").stdout.decode(errors="replace").split()
            there = sorted(
                (word for word in listed if re.fullmatch(r"memory\d+", word)),
                key=lambda word: int(word.removeprefix("memory")),
            )
            last = f"; there are {there[0]} to {there[-1]}" if there else ""
            raise CannotRun(f"this guest has no memory block {block.name}{last}")
        zones = self._record.optional(f"{folder}/valid_zones")
        if zones is None:
            return  # an old kernel does not say
        kind = "movable" if zones.split()[:1] == ["Movable"] else "kernel"
        self._record.event(
            "memory",
            "block",
            device="boot",
            how=f"online_{kind}",
            block=block.name,
            first=block.first,
            count=block.count,
            errno=0,
        )

    def _contig(self, step: Step) -> None:
        if self._buffers is None:
            self._buffers = contig.Buffers(self._record, contig.areas(self._guest)[0])
        align = contig_range.order(step.amount) if step.align is None else step.align
        for _ in range(step.times):
            self._own.attempts.make(
                step.trigger,
                f"{step.amount} pages, align {align}",
                partial(self._buffers.alloc, step.amount, align),
                group=step.group,
                expected=self._expected(step),
            )

    def _move_user_pages(self, step: Step) -> None:
        """A process's pages, begun on another node than they are to go to; there, back, and so on,
        and whole then."""
        away = next(node for node in user.nodes(self._guest) if node != step.to)
        make, expected = self._own.attempts.make, self._expected(step)
        with user.holder(self._guest, step.amount, node=away) as held:
            for number in range(step.times):
                node = away if number % 2 else step.to
                target = f"{step.amount} MiB to node {node}"
                move = partial(user.move, held, node)
                make("move_pages", target, move, group=step.group, expected=expected)
            whole, group = partial(user.contents, held), f"contents (step {step.number})"
            make("contents", "the process", whole, group=group, expected=True, alone=True)

    def _huge_pages(self, step: Step) -> None:
        compact.forget(self._guest, compacted=False)
        self._own.attempts.make(
            "hugetlb",
            f"{step.amount} huge pages",
            partial(huge.pool, self._guest, step.amount),
            group=step.group,
        )

    def _command(self, step: Step) -> None:
        (text,) = step.words

        def act() -> Done:
            done = self._guest.run(text, timeout=step.seconds)
            errno, said = errno_of(done)
            return Done(errno, said or done.stdout.decode(errors="replace").strip()[-_SAID:])

        target = " ".join(text.split())[:_SAID]
        expected = self._expected(step)
        make = self._own.attempts.make
        make(step.trigger, target, act, group=step.group, expected=expected, alone=True)


_ACTS = {
    "compact": Drive._compact,
    "compact-node": Drive._compact_node,
    "offline": Drive._offline,
    "contig": Drive._contig,
    "move-user-pages": Drive._move_user_pages,
    "huge-pages": Drive._huge_pages,
    "command": Drive._command,
}
