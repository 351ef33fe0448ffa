# SPDX-License-Identifier: GPL-2.0-only
"""Races: everything that pins, clears, moves or takes memory, side by side, for a bounded time.

Threads of the owner store, load, rewrite and free objects, and register and unregister further
systems, while memory is compacted twice at once, blocks go offline and online, and contiguous
buffers are taken. What takes part, how often and with which numbers is a schedule, made of the seed
alone; it is in the evidence. After each round contents, accounting and isolation counts must hold.
"""

from __future__ import annotations

import errno as numbers
import random
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType

from harness import expectation
from harness.errors import CannotRun, EvidenceError, InputError, errno_name
from harness.model import JSON, ArmPlan, Guest
from harness.parse import ledger as pinner
from harness.parse import vmstat
from harness.scenario.base import LIE, Default, Emit, Param, Params, Usual
from harness.scenario.pinned import APPEND, Pinned, beside, odd, once_more, pinned
from harness.scenario.recorder import PINNER, Recorder
from harness.scenario.trigger import compact, contig, offline
from harness.scenario.trigger.attempt import Done, errno_of

EXPECTED = expectation.Expectation(pinned=500, moved=0.25, huge=False, attempts=True)
AREA = 16  # MiB of the contiguous area
ROOM = 128  # MiB that are plugged, the smallest that x86 knows
NODE = 0
_SMP = 2
_OFFLINE_SECONDS = 2  # for one block
_BUFFER = 256  # pages of the larger buffers
_LOOKS = 100  # at counters, before what they say is believed
_ROUND = 120.0  # seconds that a round may take, before the host's scaling
_POLL = 50_000  # microseconds between two looks
_DIR = "/tmp/races"
_MIB = 8  # a shift: pages in one
_VISIT = 256  # operations of which one is a visit, by chance (pinner_churn_one())
_CERTAIN = 20  # times as many, and there has been one
_ISOLATED = ("nr_isolated_anon", "nr_isolated_file")
_NOTHING_RACED = "no page moved, so nothing has raced"
_WORD = re.compile(r"^([a-z]+) (\d{1,3})$")


@dataclass(frozen=True)
class Actor:
    """One who takes part in a round: what it does, and how often. number: which of its kind."""

    kind: str
    times: int
    number: int = 0


@dataclass(frozen=True)
class Round:
    """Who does what in one round. ops: of each of the owner's threads; seed: of these."""

    ops: int
    threads: int
    seed: int
    actors: tuple[Actor, ...]

    def as_json(self) -> Mapping[str, JSON]:
        return {
            "ops": self.ops,
            "threads": self.threads,
            "seed": self.seed,
            "actors": [[actor.kind, actor.times, actor.number] for actor in self.actors],
        }


def schedule(
    seed: int, rounds: int, ops: int, threads: int, kinds: Sequence[str]
) -> tuple[Round, ...]:
    """Rounds that differ, and are the same for the same words.

    The first has everybody in it; in each other one compactor at least, and who chance has it. Two
    of a kind may be among them, but for ``offline``: blocks are given back to whoever took them.
    """
    found = []
    for number in range(rounds):
        dice = random.Random(f"races {seed} {number}")
        chosen = ["compact", *kinds]
        if number:
            chosen = ["compact", *(kind for kind in kinds if dice.random() < 2 / 3)]
        actors = []
        for kind in chosen:
            times = dice.randint(2, 6)
            actors.append(Actor(kind, times))
            if kind == "compact" and (not number or dice.random() < 2 / 3):
                actors.append(Actor(kind, dice.randint(2, 6), 1))
        own = threads if not number else dice.randint(1, threads)
        found.append(Round(dice.randint(ops // 2, ops), own, dice.getrandbits(32), tuple(actors)))
    return tuple(found)


class Races(Usual):
    name = "races"
    summary = "pins, loads, compactions, offlines and contiguous buffers, all at once, by a seed"
    FEATURES = ("compaction", "cma", "hotplug", "owner")
    MODULES = ("pinner", "cma_alloc")
    expected = EXPECTED
    PARAMS: Mapping[str, Param] = MappingProxyType(
        {
            "pages": Param(1500, "pinned pages at the begin of a round", least=500, most=50_000),
            "every": Param(32, "of so many neighbouring pages one is pinned", least=2, most=1024),
            "rounds": Param(4, "rounds", least=1, most=1000),
            "ops": Param(30_000, "operations of each thread of the owner, at most", least=100),
            "threads": Param(3, "threads of the owner, at most", least=1, most=16),
            "linger": Param(50, "microseconds that the owner takes before a move", most=1000),
            "lie": LIE,
        }
    )

    def check(self, params: Params, memory_mib: int) -> None:
        needed = int(params["pages"]) * int(params["every"]) >> _MIB
        if needed > memory_mib * 3 // 4 - AREA:
            raise InputError(
                f"{params['pages']} pages, one of every {params['every']}, is {needed} MiB: more "
                f"than three quarters of a guest with {memory_mib} MiB",
                hint="lower --set pages= or --set every=, or give --memory",
            )

    def arms(self, series_has_pinpage: bool, params: Params) -> tuple[ArmPlan, ...]:
        append, room = (*APPEND, f"cma={AREA}M"), ((ROOM, NODE),)
        control = ArmPlan(
            "control", "control", "plain", append=append, smp=_SMP, room=room, huge=False
        )
        return beside(control, series_has_pinpage)

    def drive(
        self, guest: Guest, arm: ArmPlan, seed: int, params: Mapping[str, Default], emit: Emit
    ) -> None:
        values = self.values(params)
        compact.probe(guest)

        def lay_out(record: Recorder) -> None:
            record.layout(int(values["pages"]), int(values["every"]), seed)

        with pinned(guest, arm, seed, values, emit, lay_out) as own, own.drive():
            compact.everything(guest)
        with _others(own) as others, once_more(own.record, values):
            rounds = schedule(
                seed,
                int(values["rounds"]),
                int(values["ops"]),
                int(values["threads"]),
                [kind for kind in others.commands if kind != "compact"],
            )
            own.record.event("harness", "schedule", rounds=[each.as_json() for each in rounds])
            for number, each in enumerate(rounds, 1):
                own.record.control("free_all", timeout=120)
                own.record.layout(int(values["pages"]), int(values["every"]), seed + number)
                race = _Race(own, each, others.commands)
                race.run(number)
            own.record.control("free_all", timeout=120)
            others.recovered(own)
            own.record.layout(int(values["pages"]), int(values["every"]), seed)
            _unload(own, rounds[0], others.commands)


@dataclass(frozen=True)
class _Others:
    """Who takes part beside the owner. commands: what each kind of actor does once, as a shell's
    commands, of which several take turns. blocks, buffers: what they take and give back."""

    commands: Mapping[str, Sequence[str]]
    blocks: Sequence[offline.Block]
    buffers: contig.Buffers | None

    def recovered(self, own: Pinned) -> None:
        """When all is over and the owner holds nothing, what they were refused can be had: a page
        that somebody has kept shows."""
        record = own.record
        for block in self.blocks:
            if offline.state(record.guest, block) != "online":
                offline.online(record.guest, block, "online_movable")

            def leave(block: offline.Block = block) -> Done:
                seconds = offline.patience(_OFFLINE_SECONDS, True)
                return offline.offline(record, block, seconds=seconds)

            own.attempts.make("offline", f"{block.name}, after the races", leave, expected=True)
            offline.online(record.guest, block, "online_movable")
        if (buffers := self.buffers) is not None:
            buffers.forget()
            what = f"{_BUFFER} pages, after the races"
            own.attempts.make("contig", what, lambda: buffers.alloc(_BUFFER, 0), expected=True)
            buffers.forget()


@contextmanager
def _others(own: Pinned) -> Iterator[_Others]:
    """What the kernel cannot do is left out, which is an event."""
    record, guest = own.record, own.record.guest
    turns = [compact.COMPACT, *compact.nodes(guest)]
    found: dict[str, Sequence[str]] = {"compact": [f"echo 1 > {path}" for path in turns]}
    blocks: Sequence[offline.Block] = ()
    try:
        offline.probe(guest)
        blocks = offline.blocks_of(guest, guest.plug(ROOM, NODE))
        for block in blocks:
            offline.online(guest, block, "online_movable")
        found["offline"] = [_there_and_back(block) for block in blocks]
    except CannotRun as error:
        record.event("harness", "left out", part="offline", why=str(error))
    buffers = None
    try:
        area = contig.areas(guest)[0]
        buffers = contig.Buffers(record, area)
        storms = (f"storm 2 2 {pages} 0" for pages in (64, _BUFFER))
        found["contig"] = [f"echo '{storm}' > {contig.CONTROL}" for storm in storms]
    except CannotRun as error:
        record.event("harness", "left out", part="contig", why=str(error))
    yield _Others(MappingProxyType(found), blocks, buffers)
    if buffers is not None:
        buffers.unload()


def _there_and_back(block: offline.Block) -> str:
    """Take a block offline, and bring it back if it went. SIGTERM, as a shell has what it starts in
    the background ignore SIGINT, and nothing else ends an offline."""
    state = f"{offline.BLOCKS}/{block.name}/state"
    return (
        f"timeout -s TERM {_OFFLINE_SECONDS} sh -c 'echo offline > {state}' && "
        f"echo online_movable > {state}"
    )


@dataclass(frozen=True)
class _Race:
    own: Pinned
    plan: Round
    commands: Mapping[str, Sequence[str]]

    @property
    def record(self) -> Recorder:
        return self.own.record

    def run(self, number: int) -> None:
        kinds = ", ".join(f"{actor.kind} {actor.times}" for actor in self.plan.actors)
        self.own.attempts.make(
            "race",
            f"round {number}: {self.plan.threads} threads, {kinds}",
            self._raced,
            group="rounds",
            expected=True,
        )

    def _raced(self) -> Done:
        before, migrated = self._counters(), self._migrated()
        scanned = compact.scanned(self.record.guest)
        self.record.control(f"churn {self.plan.ops} {self.plan.seed} {self.plan.threads}")
        text = f"{begin(self.plan, self.commands)}\nwait\ncat {_DIR}/*"
        done = self.record.guest.must(text, timeout=_ROUND)
        self._churned()
        said = told(done)
        self.record.vmstat("raced", refresh=True)
        self.record.control("verify", timeout=120)
        rows, after = self.record.pins(), self._counters()
        self.record.event("pinner", "raced", counters={**after}, actors=said)
        grown = {name: after[name] - before.get(name, 0) for name in after}
        wrong = damage(rows, after, grown, self.plan, self.record.arm.role)
        if wrong == _NOTHING_RACED:
            compact.standstill(self.record.guest, compact.scanned(self.record.guest) - scanned)
        checks = {
            "pinner counter pinned": len(rows) == after["pinned"],
            "distinct frames": len({row.pfn_now for row in rows}) == len(rows),
            "vmstat pgmigrate_success": self._migrated() - migrated >= grown["migrated"],
            "vmstat nr_isolated": self._settled(),
            "pageflags": self.record.in_use(row.pfn_now for row in rows),
        }
        words = ", ".join(f"{kind} {ok} of {ok + bad}" for kind, (ok, bad) in said.items())
        moved = f"{grown['migrated']} moves, {grown['refused']} refusals; {words}"
        if wrong:
            return Done(numbers.EIO, wrong)
        complete(said, self.plan)
        return Done(0, moved, checks=checks)

    def _churned(self) -> None:
        """Wait for the owner's threads to come to their end."""
        still = f"grep -q '^churn_running [1-9]' {PINNER}/counters"
        self.record.guest.must(f"while {still}; do usleep {_POLL}; done", timeout=_ROUND)

    def _counters(self) -> dict[str, int]:
        values = pinner.counters(self.record.text(f"{PINNER}/counters"))
        return {name: value for name, value in values.items() if isinstance(value, int)}

    def _migrated(self) -> int:
        return self._vmstat().get("pgmigrate_success", 0)

    def _settled(self) -> bool:
        """Whether nothing stays isolated: a compaction of the kernel's own may have a few pages,
        but lets go of them."""
        names = "\\|".join(_ISOLATED)
        still = f"grep -q '^\\({names}\\) [^0]' /proc/vmstat"
        look = f"[ $i -lt {_LOOKS} ] || exit 9; i=$((i+1)); usleep {_POLL}"
        watch = f"i=0; while {still}; do {look}; done"
        return self.record.guest.run(watch, timeout=120).status == 0

    def _vmstat(self) -> Mapping[str, int]:
        return vmstat.vmstat(self.record.text("/proc/vmstat"))


def begin(plan: Round, commands: Mapping[str, Sequence[str]]) -> str:
    """A shell's text that has all actors of a round begin, side by side. Each leaves a line in a
    file of its own for each thing done: its kind, and the status that it ended with."""
    lines = [f"rm -rf {_DIR}; mkdir {_DIR}"]
    for number, actor in enumerate(plan.actors):
        turns = commands[actor.kind]
        acts = [turns[(at + actor.number) % len(turns)] for at in range(actor.times)]
        body = "; ".join(f"{{ {act}; }} 2>/dev/null; echo {actor.kind} $?" for act in acts)
        lines.append(f"sh -c {shlex.quote(body)} > {_DIR}/{number} &")
    return "\n".join(lines)


def told(text: str) -> dict[str, tuple[int, int]]:
    """What the script printed: kind → how often it was done, and how often not."""
    found: dict[str, Counter[bool]] = {}
    for line in text.splitlines():
        word = _WORD.match(line)
        if word:
            found.setdefault(word[1], Counter())[word[2] == "0"] += 1
    return {kind: (count[True], count[False]) for kind, count in found.items()}


def complete(said: Mapping[str, tuple[int, int]], plan: Round) -> None:
    """EvidenceError where less was done than was due: a shell has died, and who raced is not
    known."""
    due = Counter[str]()
    for actor in plan.actors:
        due[actor.kind] += actor.times
    for kind, times in due.items():
        if (had := sum(said.get(kind, ()))) != times:
            raise EvidenceError(
                f"in a round of races {kind} was due {times} times, and {had} are on record",
                hint="the end of console.log may say what ended the others",
            )


def damage(
    rows: Sequence[pinner.Pin],
    after: Mapping[str, int],
    grown: Mapping[str, int],
    plan: Round,
    role: str,
) -> str:
    """What is wrong after a round, "" if nothing: contents, accounting, or that nothing raced."""
    bad = odd(rows)
    if after["corrupt"] or after["lost"]:
        bad.append(f"{after['corrupt']} objects were corrupt and {after['lost']} lost")
    if after["stored"] - after["freed"] != after["pinned"]:
        bad.append(
            f"{after['stored']} were stored and {after['freed']} freed, yet {after['pinned']} are "
            "pinned"
        )
    if grown["callbacks"] != grown["migrated"] + grown["refused"]:
        bad.append(
            f"{grown['callbacks']} callbacks, of which {grown['migrated']} moved a page and "
            f"{grown['refused']} refused"
        )
    if after["churn_ops"] != plan.ops * plan.threads:
        bad.append(f"{after['churn_ops']} of {plan.ops * plan.threads} operations were done")
    if after["churn_errors"]:
        errno = errno_name(after["churn_errno"])
        bad.append(f"{after['churn_errors']} operations were refused, the first with {errno}")
    visits = role == "treated" and after["churn_ops"] >= _VISIT * _CERTAIN
    if visits and not grown["visits"]:
        bad.append("no further system came and went")
    if role == "control" and grown["callbacks"]:
        bad.append(f"plain pages were asked to move {grown['callbacks']} times")
    if role == "treated" and not grown["migrated"]:
        bad.append(_NOTHING_RACED)
    return "; ".join(bad[:2])


def _unload(own: Pinned, plan: Round, commands: Mapping[str, Sequence[str]]) -> None:
    """The owner goes in the midst of it, and all that it had is given back."""
    guest = own.record.guest
    own.record.control(f"churn {plan.ops} {plan.seed} {plan.threads}")

    def act() -> Done:
        beside = replace(plan, actors=tuple(a for a in plan.actors if a.kind == "compact"))
        text = f"{begin(beside, commands)}\nrmmod pinner; s=$?; wait; exit $s"
        done = guest.run(text, timeout=_ROUND)
        errno, said = errno_of(done)
        there = guest.run("grep -q '^pinner ' /proc/modules").status == 0
        return Done(errno, said, checks={"modules": not there})

    own.attempts.make("unload", "in a race", act, expected=True)


SCENARIO = Races()
