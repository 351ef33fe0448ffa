# SPDX-License-Identifier: GPL-2.0-only
"""Failures on the way of a page that is migrated, each provoked, and what comes of it.

Allocations fail one after the other: the first call of the slab (or of the page allocator) that a
compaction makes, in the next trial the second, and so on until none fails any more; then all those
for nodes of trees. Owners refuse, for a while or for ever; there is no room; a module goes while
its pages are isolated; an offline is interrupted. After each trial all contents are whole, and the
same without difficulties succeeds.
"""

from __future__ import annotations

import errno as numbers
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from harness import expectation
from harness.errors import CannotRun, errno_name
from harness.model import ArmPlan, Guest, PluggedMemory
from harness.parse import census as parsed
from harness.parse import injected, vmstat
from harness.scenario.base import LIE, Default, Emit, Param, Params, Usual
from harness.scenario.pinned import APPEND, Pinned, beside, load, once_more, pinned
from harness.scenario.recorder import PINNER, Recorder
from harness.scenario.survival import ALWAYS, MORE, Leftovers, Site, asked, calls
from harness.scenario.trigger import compact, contig, inject, offline
from harness.scenario.trigger.attempt import Done, errno_of
from harness.seen import calls as shown

EXPECTED = expectation.Expectation(pinned=500, moved=0.25, huge=False, attempts=True)
_AREA = 64  # MiB of the contiguous area: more than what is left alone when pins are laid
_EVERY = 64  # pages of which a trial pins one
_NODES = "radix_tree_node"  # a cache, of which some are kept in store for the next who needs one
_ROOM = 128  # MiB that are plugged, the smallest that x86 knows
_PASSES = 10  # over the pages of one migrate_pages()
_CALLS = 4  # of a stack that are shown
_GRACE = 60.0  # seconds for a command beyond its deadline
_UNLOADS = 60  # seconds for a module to go
_TURNS = 600  # tenths of a second that its first callback is waited for


class Injection(Usual):
    name = "injection"
    summary = "allocations, owners, room and time that fail a migration, and what is left of it"
    FEATURES = ("compaction", "cma", "hotplug", "injection", "owner")
    MODULES = ("pinner", "cma_alloc", "failing", "userpages")
    expected = EXPECTED
    PARAMS: Mapping[str, Param] = MappingProxyType(
        {
            "pages": Param(1000, "pinned pages in each arm", least=500, most=20_000),
            "every": Param(64, "of so many neighbouring pages one is pinned", least=2, most=1024),
            "pins": Param(8, "pinned pages of a trial", least=2, most=64),
            "calls": Param(12, "calls that are failed, at most, one a trial", least=1, most=10_000),
            "ways": Param(
                "compaction,contig,offline",
                "what has the kernel migrate",
                pattern=r"(compaction|contig|offline)(,(compaction|contig|offline))*",
            ),
            "seconds": Param(4, "that a block may take to go offline", least=1, most=600),
            "lie": LIE,
        }
    )

    def arms(self, series_has_pinpage: bool, params: Params) -> tuple[ArmPlan, ...]:
        append, room = (*APPEND, f"cma={_AREA}M"), ((_ROOM, 0),)
        control = ArmPlan(
            "control", "control", "plain", append=append, smp=2, room=room, huge=False
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
            for kind in inject.KINDS:
                inject.probe(guest, kind)
            compact.everything(guest)
        with once_more(own.record, values):
            strewn = Site(own, seed, None, int(values["pins"]), _EVERY)
            strewn.free()
            _Trials(own, values, seed, strewn, Leftovers(own.record)).all()


def _times(errno: int, times: int) -> frozenset[int]:
    """How often a page may be asked that answers so, in one compaction.

    Source: mm/migrate.c. EAGAIN is tried again, up to ten times in all (v3.11: migrate_pages();
    v6.12: NR_MAX_MIGRATE_PAGES_RETRY). Any other error is final, but v6.12 asks in a batch first
    and then one by one (migrate_pages_sync()), so twice.
    """
    if errno == numbers.EAGAIN:
        return frozenset({min(times, _PASSES)})
    return frozenset({1, 2})


def tried(each: Mapping[int, int], errno: int, times: int) -> bool:
    """Whether pages were asked as often as they may be; each: page → how often it was.

    One that somebody else has in hand for a moment is not asked in that pass (mm/pinpage.c:
    migrate_pinpage(), the test of page_count()): so some may be short of all that are due, most
    are not.
    """
    may = _times(errno, times)
    if errno != numbers.EAGAIN:
        return set(each.values()) <= may
    return max(each.values(), default=0) <= max(may) and 2 * _full(each, errno, times) >= len(each)


def _full(each: Mapping[int, int], errno: int, times: int) -> int:
    """How many pages were asked as often as one that nobody else has in hand."""
    return sum(count in _times(errno, times) for count in each.values())


@dataclass(frozen=True)
class _Way:
    """A way to have the kernel migrate: what is written where, and the same without a failure.

    place: where pins are laid anew for each trial. goes_on: says what is wrong, "" if nothing.
    after: in the end. seconds: after which it is interrupted, 0 for never. more: further trials.
    """

    name: str
    path: str
    text: str
    place: Site
    goes_on: Callable[[], str]
    after: Callable[[], None] = lambda: None
    seconds: float = 0
    more: tuple[Callable[[_Way], None], ...] = ()


@dataclass(frozen=True)
class _Trials:
    own: Pinned
    values: Mapping[str, Default]
    seed: int
    low: Site
    left: Leftovers

    @property
    def guest(self) -> Guest:
        return self.own.record.guest

    def all(self) -> None:
        injectors = [inject.Injector(self.own.record, kind) for kind in inject.KINDS]
        ways = {
            "compaction": self._compaction,
            "contig": self._contig,
            "offline": self._offline,
        }
        for name in dict.fromkeys(str(self.values["ways"]).split(",")):
            self._part(name, ways[name], injectors)
        self._unloaded()

    def _compaction(self) -> _Way:
        more = (self._refusals,)
        return _Way("compaction", compact.COMPACT, "1", self.low, self.low.compacts, more=more)

    def _part(
        self, name: str, make: Callable[[], _Way], injectors: Sequence[inject.Injector]
    ) -> None:
        """What this kernel or machine has no means for is left out."""
        try:
            way = make()
        except CannotRun as error:
            self.own.record.event("harness", "left out", part=name, why=error.message)
            return
        self.left.begin()  # what the way itself needs (a module, a block) is no trial's
        for injector in injectors:
            self._walk(way, injector)
        for trial in way.more:
            trial(way)

    def _walk(self, way: _Way, injector: inject.Injector) -> None:
        """Fail the first call, the second, … until nothing fails any more."""
        # Nobody takes plain pins out of a range: one trial shows that, after all retries (v3.11: a
        # minute and more) or at its deadline.
        least = not way.place.treated and way.place.first is not None
        for n in range(1, 2 if least else int(self.values["calls"]) + 1):
            if self._trial(way, injector, partial(injector.nth, n), f"call {n}").errno:
                break
        # A node is taken from the store where no other can be had, and what fails then is to fill
        # the store up (lib/radix-tree.c: radix_tree_preload()): two failures, one call apart.
        if not least and injector.has_cache(_NODES):
            fail, which = partial(injector.of_cache, _NODES), f"calls of {_NODES}"
            for more in MORE if way.place.treated else MORE[:1]:
                if not self._trial(way, injector, fail, which, more).errno:
                    break

    def _trial(
        self,
        way: _Way,
        injector: inject.Injector,
        fail: Callable[..., inject.Injected],
        which: str,
        times: int = 1,
    ) -> Done:
        """times: so many times more pins than usual."""
        pins = way.place.fill(times)
        done = self.own.attempts.make(
            injector.kind,
            f"{way.name}, {which}",
            partial(self._fail, way, fail),
            group=f"{injector.kind} in {way.name}",
            pins=pins,
        )
        self._survived(way, f"{way.name} with {injector.kind}, {which}")
        return done

    def _fail(self, way: _Way, fail: Callable[..., inject.Injected]) -> Done:
        """Done where a call was failed; ENOENT: there were fewer."""
        found = fail(way.path, shlex.quote(way.text), seconds=way.seconds)
        own = found.stacks[0] if found.stacks else ()
        said = shown(own[:_CALLS]) or "without a word (__GFP_NOWARN)"
        if own and not injected.while_moving(own):
            said += ", not for a migration"
        if found.failed > 1:
            said += f", {found.failed} calls"
        if found.errno:
            said += f", write: {errno_name(found.errno)}"
        if not found.failed:
            return Done(numbers.ENOENT, "nothing failed: there are fewer calls")
        checks = {"dmesg FAULT_INJECTION": True} if found.stacks else {}
        return Done(0, said, checks=checks)

    def _survived(self, way: _Way, after: str) -> None:
        def act() -> Done:
            done = way.place.survived(way.goes_on)
            way.after()
            way.place.free()
            left = self.left.more()
            wrong = "; ".join(filter(None, (done.said, left)))
            return Done(numbers.EIO, wrong) if done.errno or left else done

        self.own.attempts.make("recovery", after, act, expected=True)

    # Ways --------------------------------------------------------------------------------------

    def _contig(self) -> _Way:
        area = contig.areas(self.guest)[0]
        contig.keep_little(self.guest)
        buffers = contig.Buffers(self.own.record, area)
        # Pins lie in both halves, and one half is asked for.
        pages, pins = area.count // 2, 2 * int(self.values["pins"])
        place = Site(self.own, self.seed, area.first, area.count, area.count // pins)

        def goes_on() -> str:
            buffers.forget()
            place.fill()
            done = buffers.alloc(pages, 0)
            if place.treated and done.errno:
                return f"no buffer could be had: error {done.errno}"
            return ""

        text = f"alloc {pages} 0"
        return _Way("contig", contig.CONTROL, text, place, goes_on, buffers.forget)

    def _offline(self) -> _Way:
        offline.probe(self.guest)
        memory: PluggedMemory = self.guest.plug(_ROOM, 0)
        (block,) = offline.blocks_of(self.guest, memory)
        online = self._online
        seconds = int(self.values["seconds"])
        online(block)
        every = block.count // int(self.values["pins"])
        place = Site(self.own, self.seed, block.first, block.count, every)

        def goes_on() -> str:
            online(block)
            place.fill()
            done = offline.offline(self.own.record, block, seconds=seconds)
            if place.treated and done.errno:
                return f"the block did not go offline: error {done.errno}"
            return ""

        path = f"{offline.BLOCKS}/{block.name}/state"
        more = (partial(self._no_room, block), partial(self._interrupted, block))
        return _Way(
            "offline",
            path,
            "offline",
            place,
            goes_on,
            lambda: online(block),
            float(seconds),
            more if place.treated else (),
        )

    def _online(self, block: offline.Block) -> None:
        if offline.state(self.guest, block) != "online":
            offline.online(self.guest, block, "online_movable")

    # Owners that refuse ------------------------------------------------------------------------

    def _refusals(self, way: _Way) -> None:
        for errno in (numbers.EAGAIN, numbers.EBUSY, numbers.ENOMEM):
            self._refusal(way, errno, ALWAYS)
        self._refusal(way, numbers.EAGAIN, 3)

    def _refusal(self, way: _Way, errno: int, times: int) -> None:
        name = errno_name(errno)
        target = f"{name} for ever" if times == ALWAYS else f"{name} {times} times"
        pins = self.low.fill()

        def provoked() -> tuple[int, int, Counter[int]]:
            """Compact more pins until one is asked: pins, refusals, and how often each was."""
            laid, each = pins, Counter[int]()
            last, before = self.own.record.calls_so_far(), self.low.counter("refused")

            def enough() -> bool:
                each.update(asked(calls(self.own.record, last), errno))
                return bool(each) or not self.low.treated

            for more in MORE:
                laid = self.low.fill(more) if more > 1 else laid
                self.own.record.control(f"refuse {errno} {times} 1")
                if compact.until(self.guest, enough):
                    break
            return laid, self.low.counter("refused") - before, each

        def act() -> Done:
            laid, refused, each = provoked()
            moved = self.low.moved()
            counts = sorted(set(each.values()))
            said = f"{len(each)} of {laid} pages asked, each {counts} times, {moved} moved"
            due = _full(each, errno, times) if times < _PASSES else 0
            right = tried(each, errno, times) and moved >= due and bool(due) is bool(moved)
            if bool(each) is not self.low.treated:
                right = False
            also = {"pinner counter refused": refused}
            errno_now = 0 if right else numbers.EPROTO
            most = len(each) * max(_times(errno, times))
            return Done(errno_now, said, asked=most, got=sum(each.values()), also=also)

        self.own.attempts.make(
            "refuse", target, act, group=f"refused: {target}", expected=True, pins=pins
        )
        self.own.record.control(f"refuse {errno} 0 1")
        self._survived(way, f"compaction with {target}")

    # No room, no time, no module -----------------------------------------------------------------

    def _no_room(self, block: offline.Block, way: _Way) -> None:
        """No page can be had: neither as the new place of one in the block, nor by anything else
        that the offline does; which of them ends it is told in what is said."""
        pins = way.place.fill()
        injector = inject.Injector(self.own.record, "fail_page_alloc")
        write = injector.write(way.path, way.text)
        command = injector.every(f"timeout -s INT {way.seconds:g} {write}")

        def act() -> Done:
            before = _failed(self.own.record)
            self.guest.run(command, timeout=_GRACE + way.seconds)
            gone = offline.state(self.guest, block) == "offline"
            said = f"{_failed(self.own.record) - before} pages failed to migrate"
            return Done(0 if gone else numbers.ENOMEM, said, checks={"sysfs state": gone})

        self.own.attempts.make(
            "offline",
            f"{block.name} without room",
            act,
            group="offline without room",
            expected=False,
            pins=pins,
            provokes=("alloc-failure",),
        )
        self._survived(way, "offline without room")

    def _interrupted(self, block: offline.Block, way: _Way) -> None:
        """Its owner always says to try again, so it is tried until a signal comes."""
        way.place.fill()
        self.own.record.control(f"refuse {numbers.EAGAIN} {ALWAYS} 1")
        self.own.attempts.make(
            "offline",
            f"{block.name} interrupted",
            lambda: offline.offline(self.own.record, block, seconds=way.seconds),
            group="offline interrupted",
            expected=False,
            pins=len(way.place.pins),
        )
        self.own.record.control(f"refuse {numbers.EAGAIN} 0 1")
        self._survived(way, "offline interrupted")

    def _unloaded(self) -> None:
        """The module goes while a compaction has its pages."""
        self.own.record.layout(int(self.values["pages"]), int(self.values["every"]), self.seed)
        asked_of = f"grep -q '^callbacks [1-9]' {PINNER}/counters"
        wait = f"i=0; while ! {asked_of} && [ $i -lt {_TURNS} ]; do i=$((i+1)); usleep 1000; done"
        again = f"while :; do echo 1 > {compact.COMPACT}; done"

        def act() -> Done:
            done = self.guest.run(
                f"({again}) >/dev/null 2>&1 </dev/null & p=$!; "
                f"{wait if self.low.treated else ':'}; "
                f"timeout {_UNLOADS} rmmod pinner; s=$?; kill $p; wait $p 2>/dev/null; exit $s",
                timeout=4 * _UNLOADS,
            )
            errno, said = errno_of(done)
            left = parsed.modules(self.own.record.text("/proc/modules"))
            return Done(errno, said, checks={"modules": "pinner" not in left})

        self.own.attempts.make("unload", "beside a compaction", act, expected=True)
        with suppress(CannotRun):
            load(self.own.record, self.values)
        self.own.record.unload()


def _failed(record: Recorder) -> int:
    return vmstat.vmstat(record.text("/proc/vmstat")).get("pgmigrate_fail", 0)


SCENARIO = Injection()
