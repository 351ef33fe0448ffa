# SPDX-License-Identifier: GPL-2.0-only
"""What was seen of one arm: its events gathered into values. Pure.

The other end of scenario/recorder.py and scenario/tracing.py: what those emit is read here. An
event that is not there leaves None or nothing behind, never a zero that could pass for a count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.errors import EvidenceError
from harness.model import ArmPlan, Attempt, Caller, Event
from harness.parse.ledger import STATES, Logged, Move, Pin
from harness.parse.pageblocks import Content, Run

ORDER = 9
_CALLS = 6  # of a stack that are shown
_SOFTIRQ = frozenset({"handle_softirqs", "__do_softirq"})
_BLOCKERS = 16  # pages that an attempt is remembered to have met


@dataclass
class Trace:
    """The window of tracepoints. freed: page frame → times it was freed, order 0 only."""

    succeeded: int = 0
    failed: int = 0
    freed: Counter[int] = field(default_factory=Counter)
    lost: int = 0  # events that the ring buffers could not keep
    kept: int | None = None  # events that they say they kept
    read: int | None = None  # events that were read out of them
    missing: tuple[str, ...] = ()  # tracepoints that this kernel has not
    attempt: int | None = None  # the one whose mark came last
    tries: Counter[int] = field(default_factory=Counter)  # attempt → calls of migrate_pages()


@dataclass(frozen=True)
class Leak:
    """An object that nothing points at, by kmemleak. stack: of its allocation, the latest first."""

    size: int
    stack: tuple[Caller, ...]
    text: str


@dataclass(frozen=True)
class Census:
    """Who had how much memory after a round. ops: operations of that, 0 if it was idle; moved:
    pages that moved in it, 0 where nobody counted. stacks: of allocations → pages, slabs: cache →
    (objects in use, bytes of one); None where the kernel does not tell. vmstat: some counters.
    modules: references."""

    number: int
    ops: int
    free: int
    vmstat: Mapping[str, int]
    modules: Mapping[str, int]
    stacks: Mapping[tuple[Caller, ...], int] | None = None
    slabs: Mapping[str, tuple[int, int]] | None = None
    moved: int = 0


@dataclass
class Seen:
    """One arm's evidence. Mappings by ``when`` hold what was read at that moment."""

    plan: ArmPlan
    params: Mapping[str, Any] = field(default_factory=dict)
    pins: dict[str, tuple[Pin, ...]] = field(default_factory=dict)
    calls: list[Move] = field(default_factory=list)  # since the pinner was loaded
    window: list[Move] = field(default_factory=list)  # those of the drive
    calls_dropped: int = 0
    calls_read: bool = False
    calls_told: int = 0  # how many there should be
    counters: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    logged: list[Logged] = field(default_factory=list)
    log_read: bool = False
    vmstat: dict[str, Mapping[str, int]] = field(default_factory=dict)
    trace: Trace | None = None
    flags: dict[str, dict[int, int]] = field(default_factory=dict)
    huge: dict[str, int] = field(default_factory=dict)
    free: dict[str, list[tuple[int, str, tuple[int, ...]]]] = field(default_factory=dict)
    index: dict[tuple[str, str], dict[tuple[int, str], list[float]]] = field(default_factory=dict)
    seconds: float = 0.0
    driven: bool = False
    compactions: int = 0  # begun, by the trace
    verified: bool = False
    verify_error: str = ""
    unloaded: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    numbers: set[int] = field(default_factory=set)  # of attempts and steps that are on record
    provoked: set[tuple[int, str]] = field(default_factory=set)  # attempt, kind of splat
    begun: set[int] = field(default_factory=set)  # of those that a mark in the trace began
    refs: dict[int, tuple[int, int]] = field(default_factory=dict)  # handle → pfn, references
    mapcounts: dict[int, int] = field(default_factory=dict)
    owners: dict[int, tuple[Caller, ...]] = field(default_factory=dict)  # pfn → stack
    dumped: dict[int, list[str]] = field(default_factory=dict)  # attempt → pages in its way
    layout: dict[str, tuple[Run, ...]] = field(default_factory=dict)  # pageblocks
    left_out: dict[str, str] = field(default_factory=dict)  # part of the drive → why
    tainted: int = 0  # at the end
    folded: set[str] = field(default_factory=set)  # readings of vmstat with all that CPUs kept back
    dropped: int = 0  # messages of the kernel's that never came to its console
    faulted: list[str] = field(default_factory=list)  # programs of the guest's that died
    task_flags: list[int] = field(default_factory=list)  # of who compacted, after each time
    areas: list[tuple[int, int]] = field(default_factory=list)  # contiguous: first frame, frames
    tried_by: dict[str, int] = field(default_factory=dict)  # attempts before a ledger was read
    leaks: list[Leak] = field(default_factory=list)
    leaks_read: bool = False  # kmemleak was asked, and its list is whole
    leaks_told: int = 0  # of them, when it was asked last
    census: list[Census] = field(default_factory=list)
    uncounted: dict[str, str] = field(default_factory=dict)  # part of a census → why it is not had
    stacks: dict[int, tuple[Caller, ...]] = field(default_factory=dict)  # number → of a census

    @property
    def tried(self) -> tuple[Attempt, ...]:
        """The attempts, with the calls of migrate_pages() that each took where they were traced."""
        trace = self.trace
        traced = trace is not None and not trace.lost and "mm_migrate_pages" not in trace.missing
        return tuple(
            replace(
                each,
                tries=trace.tries[each.number]
                if trace is not None and traced and each.migrated is not None
                else None,
                blockers=tuple(self.dumped.get(each.number, ())),
            )
            for each in self.attempts
        )

    @property
    def before(self) -> tuple[Pin, ...]:
        return self.pins.get("before", ())

    @property
    def after(self) -> tuple[Pin, ...]:
        return self.pins.get("after", ())

    @property
    def whole(self) -> bool:
        """Whether the arm came to its end: the ledger was read before and after the drive."""
        return "before" in self.pins and "after" in self.pins

    @property
    def moves(self) -> list[Move]:
        """The calls of the drive that moved a page."""
        return [call for call in self.window if call.errno == 0]

    @property
    def calls_gap(self) -> str:
        """Why the owner's record of calls does not tell everything, "" if it does."""
        if not self.calls_read:
            return "not read"
        dropped = self.calls_dropped
        return f"{dropped} calls no longer fit in the record" if dropped else ""

    def blocks(self, when: str) -> tuple[int, ...]:
        """Free blocks by order, over all zones."""
        zones = [blocks for _, _, blocks in self.free.get(when, [])]
        width = max((len(blocks) for blocks in zones), default=0)
        return tuple(sum(b[n] for b in zones if n < len(b)) for n in range(width))

    def huge_blocks(self, when: str) -> int | None:
        """Free blocks of order 9, larger ones counted as what they hold; None if not read."""
        blocks = self.blocks(when)
        return sum(n << at for at, n in enumerate(blocks[ORDER:])) if blocks else None

    def order9(self, name: str, when: str) -> float | None:
        """An index at order 9 of the zone that had the most free pages before the drive."""
        zones = self.free.get("before") or self.free.get(when, [])
        if not zones:
            return None
        node, zone, _ = max(zones, key=lambda z: sum(n << at for at, n in enumerate(z[2])))
        values = self.index.get((name, when), {}).get((node, zone), [])
        return values[ORDER] if len(values) > ORDER else None

    @property
    def _untold(self) -> set[int]:
        """Attempts that were made, as others came after them or the trace has their mark, and of
        which nothing is on record."""
        return (self.begun | set(range(1, max(self.numbers, default=0)))) - self.numbers

    @property
    def _told_no_lie(self) -> bool:
        """Whether a self-test tests nothing. One that frees too little does so after all counts."""
        after = self.counters.get("after", {})
        return after.get("lie") in ("nocopy", "ghost", "keep") and after.get("lied") == 0

    @property
    def gap(self) -> str:
        """What is missing for a verdict on this arm, "" if nothing is."""
        checked = self.grown("verified")
        mode = self.counters.get("after", {}).get("mode")
        gaps = (
            (not self.whole, "the ledger was not read before and after its drive"),
            (not self.params, "its parameters were not recorded"),
            (mode not in (None, self.plan.mode), f"the pinner's mode was {mode}"),
            (self._told_no_lie, "its owner was told to lie, and has not once done so"),
            (not self.driven, "its drive did not come to an end"),
            (bool(self._untold), f"of attempt {min(self._untold, default=0)} nothing is on record"),
            (not self.verified, "contents were not verified after the drive"),
            (
                not self.verify_error and (checked is None or checked < len(self.after)),
                f"contents of {checked or 0} pages were verified, of {len(self.after)}",
            ),
            (
                self.plan.huge and not {"before", "after"} <= set(self.huge),
                "no huge page allocation was tried before and after",
            ),
            (not self.unloaded, "its pinner was not unloaded, so it did not come to its end"),
        )
        return next((text for missing, text in gaps if missing), "")

    @property
    def compacted(self) -> bool:
        """Whether anything says that memory was compacted during the drive."""
        return bool(self.compactions or self.delta("compact_migrate_scanned", "outer"))

    def grown(self, counter: str) -> int | None:
        """How much a counter of the owner's grew over the drive."""
        first = self.counters.get("before", {}).get(counter)
        last = self.counters.get("after", {}).get(counter)
        return last - first if isinstance(first, int) and isinstance(last, int) else None

    def delta(self, name: str, kind: str) -> int | None:
        """How much a vmstat counter grew between the ``inner`` or the ``outer`` readings."""
        first = self.vmstat.get(f"{kind}-before", {}).get(name)
        last = self.vmstat.get(f"{kind}-after", {}).get(name)
        return None if first is None or last is None else last - first


def gather(plan: ArmPlan, events: Iterable[Event]) -> Seen:
    """An arm's events; EvidenceError if one has not the form that its name promises."""
    seen = Seen(plan)
    for event in events:
        if event.arm != plan.name:
            continue
        take = _TAKE.get((event.source, event.name))
        if take is None:
            continue
        try:
            take(seen, event.data)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise EvidenceError(
                f"the event {event.source} {event.name} of arm {plan.name} is malformed: {error}",
                hint="events.jsonl was written by another version, or by hand",
            ) from error
    return seen


Data = Mapping[str, Any]


def _params(seen: Seen, data: Data) -> None:
    seen.params = data


def _number(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no number")
    return value


def _maybe(value: object) -> int | None:
    return None if value is None else _number(value)


def _pin(row: Sequence[Any]) -> Pin:
    handle, pinned, now, moves, errno = map(_number, row[:5])
    (state,) = row[5:]
    if state not in STATES:
        raise ValueError(f"{state!r} is no state")
    return Pin(handle, pinned, now, moves, errno, state)


def _ledger(seen: Seen, data: Data) -> None:
    seen.pins[data["when"]] = tuple(_pin(row) for row in data["rows"])
    seen.tried_by[data["when"]] = len(seen.attempts)
    seen.flags.pop(data["when"], None)  # of a ledger that was read before at that moment


def _call(seen: Seen, data: Data) -> None:
    move = Move(*(_number(data[name]) for name in ("seq", "handle", "old", "new", "errno")))
    seen.calls.append(move)
    if data["window"]:
        seen.window.append(move)


def _calls(seen: Seen, data: Data) -> None:
    seen.calls_dropped, seen.calls_read = _number(data["dropped"]), True
    seen.calls_told = _number(data["total"])


def _counters(seen: Seen, data: Data) -> None:
    seen.counters[data["when"]] = dict(data["values"])


def _huge(seen: Seen, data: Data) -> None:
    seen.huge[data["when"]] = _number(data["got"])


def _verify(seen: Seen, data: Data) -> None:
    seen.verified = True
    seen.verify_error = "" if data["ok"] else str(data["error"])


def _logged(seen: Seen, data: Data) -> None:
    handle, old, errno = (_number(data[name]) for name in ("handle", "old", "errno"))
    seen.logged.append(Logged(handle, old, _maybe(data["new"]), errno))


def _log_read(seen: Seen, data: Data) -> None:
    seen.log_read = True


def _vmstat(seen: Seen, data: Data) -> None:
    seen.vmstat[data["when"]] = {name: _number(value) for name, value in data["values"].items()}


def _traced(seen: Seen) -> Trace:
    if seen.trace is None:
        seen.trace = Trace()
    return seen.trace


def _migrate_pages(seen: Seen, data: Data) -> None:
    trace = _traced(seen)
    trace.succeeded += int(data["nr_succeeded"])
    trace.failed += int(data["nr_failed"])
    if trace.attempt is not None:
        trace.tries[trace.attempt] += 1


def _mark(seen: Seen, data: Data) -> None:
    number = _traced(seen).attempt = _number(data["number"])
    if number:
        seen.begun.add(number)


def attempt_of(data: Data) -> Attempt:
    """An attempt, as trigger/attempt.py records it."""
    frames, checks = data["frames"], data["checks"]
    if not all(type(said) is bool for said in checks.values()):
        raise TypeError("a check is neither true nor false")
    if bool(data["ok"]) is not (data["errno"] == 0):
        raise ValueError(f"it is {'ok' if data['ok'] else 'not ok'} with errno {data['errno']}")
    return Attempt(
        number=_number(data["number"]),
        trigger=data["trigger"],
        target=data["target"],
        group=data["group"],
        ok=bool(data["ok"]),
        expected=data["expected"],
        errno=_number(data["errno"]),
        said=data["said"],
        seconds=float(data["seconds"]),
        pins=_number(data["pins"]),
        frames=None if frames is None else (_number(frames[0]), _number(frames[1])),
        migrated=_maybe(data["migrated"]),
        failed=_maybe(data["failed"]),
        checks=dict(checks),
        asked=_maybe(data["asked"]),
        got=_maybe(data["got"]),
        also={source: _number(count) for source, count in data["also"].items()},
        provokes=tuple(data["provokes"]),
    )


def _attempt(seen: Seen, data: Data) -> None:
    made = attempt_of(data)
    seen.attempts.append(made)
    seen.numbers.add(made.number)
    seen.provoked |= {(made.number, kind) for kind in made.provokes}


def _provokes(seen: Seen, data: Data) -> None:
    seen.provoked |= {(_number(data["number"]), str(kind)) for kind in data["kinds"]}


def _step(seen: Seen, data: Data) -> None:
    seen.numbers.add(_number(data["number"]))


def _blocks(seen: Seen, data: Data) -> None:
    seen.layout[data["when"]] = tuple(
        Run(_number(first), _number(blocks), Content(*map(_number, counts)))
        for first, blocks, *counts in data["rows"]
    )


def _area(seen: Seen, data: Data) -> None:
    seen.areas.append((_number(data["first"]), _number(data["count"])))


def _refs(seen: Seen, data: Data) -> None:
    """Of several readings the fewest references: others take one in passing."""
    for handle, pfn, count in data["rows"]:
        was, before = seen.refs.get(handle, (pfn, count))
        fewest = _number(count) if was != pfn else min(before, _number(count))
        seen.refs[handle] = (_number(pfn), fewest)


def _mapcounts(seen: Seen, data: Data) -> None:
    seen.mapcounts = {frame: _number(count) for frame, count in data["frames"]}


def _owners(seen: Seen, data: Data) -> None:
    stacks = [tuple(Caller(function, module) for function, module in s) for s in data["stacks"]]
    seen.owners = {row[0]: stacks[row[1]] for row in data["rows"]}


def calls(stack: Sequence[Caller]) -> str:
    """The calls of a stack that tell who asked, the latest first: those of a module where one is
    among the first of them, otherwise so many."""
    inside = [at for at, caller in enumerate(stack[:_CALLS]) if caller.module]
    shown = stack[: inside[-1] + 1] if inside else stack[:_CALLS]
    names = " ← ".join(caller.function for caller in shown)
    modules = ", ".join(dict.fromkeys(caller.module for caller in shown if caller.module))
    return f"{names} [{modules}]" if modules else names


def _dumped(seen: Seen, data: Data) -> None:
    stack = [Caller(function, module) for function, module in data["stack"]]
    words = [
        data["why"] or "dumped",
        f"pfn {_number(data['pfn']):#x}",
        data["type"],
        f"refcount {_number(data['refcount'])}",
        f"mapcount {_number(data['mapcount'])}",
        data["flags"],
        f"allocated by {calls(stack)}" if stack else "",
    ]
    pages = seen.dumped.setdefault(_number(data["attempt"]), [])
    if len(pages) < _BLOCKERS:
        pages.append(", ".join(word for word in words if word))


def _compaction(seen: Seen, data: Data) -> None:
    seen.compactions += 1


def _tainted(seen: Seen, data: Data) -> None:
    seen.tainted = _number(data["value"])


def _stat_refresh(seen: Seen, data: Data) -> None:
    if data["ok"]:
        seen.folded.add(data["when"])


def _dropped(seen: Seen, data: Data) -> None:
    seen.dropped += _number(data["messages"])


def _faulted(seen: Seen, data: Data) -> None:
    seen.faulted.append(str(data["said"]))


def _compacted(seen: Seen, data: Data) -> None:
    seen.task_flags.append(_number(data["flags"]))


def _page_free(seen: Seen, data: Data) -> None:
    _traced(seen).freed.update(frame for frame, order in data["frames"] if order == 0)


def _trace_stats(seen: Seen, data: Data) -> None:
    counts, trace = data["counts"], _traced(seen)
    trace.kept = (trace.kept or 0) + counts["entries"]
    trace.lost += sum(counts[k] for k in ("overrun", "commit overrun", "dropped events"))


def _trace_read(seen: Seen, data: Data) -> None:
    trace = _traced(seen)
    trace.lost += data["lost"]
    trace.read = _number(data["events"])


def _trace_missing(seen: Seen, data: Data) -> None:
    names: Sequence[str] = data["events"]
    _traced(seen).missing = tuple(name.rpartition("/")[2] for name in names)


def _flags(seen: Seen, data: Data) -> None:
    """Of several readings at one moment what they have in common."""
    found, when = dict(data["frames"]), data["when"]
    before = seen.flags.get(when, found)
    seen.flags[when] = {frame: flags & before.get(frame, flags) for frame, flags in found.items()}


def _free(seen: Seen, data: Data) -> None:
    seen.free[data["when"]] = [
        (z["node"], z["zone"], tuple(map(_number, z["free"]))) for z in data["zones"]
    ]


def _index(name: str, seen: Seen, data: Data) -> None:
    seen.index[name, data["when"]] = {(z["node"], z["zone"]): z["orders"] for z in data["zones"]}


def _extfrag(seen: Seen, data: Data) -> None:
    _index("extfrag_index", seen, data)


def _unusable(seen: Seen, data: Data) -> None:
    _index("unusable_index", seen, data)


def _drive(seen: Seen, data: Data) -> None:
    seen.driven, seen.seconds = True, float(data["seconds"])


def _census(seen: Seen, data: Data) -> None:
    for number, stack in data.get("new", ()):
        seen.stacks[_number(number)] = tuple(Caller(function, module) for function, module in stack)
    stacks = slabs = None
    if "stacks" in data:
        stacks = Counter[tuple[Caller, ...]]()
        for number, pages in data["stacks"]:
            stacks[_uninterrupted(seen.stacks[number])] += _number(pages)
    if "slabs" in data:
        slabs = {name: (_number(n), _number(size)) for name, (n, size) in data["slabs"].items()}
    seen.census.append(
        Census(
            _number(data["number"]),
            _number(data["ops"]),
            _number(data["free"]),
            {name: _number(value) for name, value in data["vmstat"].items()},
            {name: _number(value) for name, value in data["modules"].items()},
            stacks,
            slabs,
            _number(data.get("moved", 0)),
        )
    )


def _uninterrupted(stack: tuple[Caller, ...]) -> tuple[Caller, ...]:
    """A stack without those whom a soft interrupt came upon, who have nothing to do with it.

    Source: kernel/softirq.c, handle_softirqs() since v6.10, __do_softirq() before.
    """
    ends = (at for at, caller in enumerate(stack, 1) if caller.function in _SOFTIRQ)
    return stack[: next(ends, len(stack))]


def _uncounted(seen: Seen, data: Data) -> None:
    seen.uncounted[data["part"]] = str(data["why"])


def _left_out(seen: Seen, data: Data) -> None:
    seen.left_out[str(data["part"])] = str(data["why"])


def _rmmod(seen: Seen, data: Data) -> None:
    seen.unloaded = True


def _leak(seen: Seen, data: Data) -> None:
    stack = tuple(Caller(function, module) for function, module in data["stack"])
    seen.leaks.append(Leak(_number(data["size"]), stack, data["text"]))


def _scanned(seen: Seen, data: Data) -> None:
    new = len(seen.leaks) - seen.leaks_told
    if _number(data["found"]) != new:
        raise ValueError(f"{data['found']} leaks were found, and {new} are here")
    seen.leaks_read, seen.leaks_told = True, len(seen.leaks)


_TAKE = {
    ("harness", "params"): _params,
    ("harness", "drive"): _drive,
    ("harness", "rmmod"): _rmmod,
    ("harness", "left out"): _left_out,
    ("pinner", "ledger"): _ledger,
    ("pinner", "migrated"): _call,
    ("pinner", "refused"): _call,
    ("pinner", "calls"): _calls,
    ("pinner", "counters"): _counters,
    ("pinner", "huge"): _huge,
    ("pinner", "verify"): _verify,
    ("dmesg", "migrated"): _logged,
    ("dmesg", "refused"): _logged,
    ("dmesg", "read"): _log_read,
    ("dmesg", "dumped"): _dumped,
    ("kernel", "tainted"): _tainted,
    ("console", "dropped"): _dropped,
    ("console", "faulted"): _faulted,
    ("pinner", "refs"): _refs,
    ("pageflags", "mapcounts"): _mapcounts,
    ("pageflags", "blocks"): _blocks,
    ("harness", "area"): _area,
    ("page_owner", "owners"): _owners,
    ("vmstat", "vmstat"): _vmstat,
    ("vmstat", "stat_refresh"): _stat_refresh,
    ("census", "round"): _census,
    ("census", "absent"): _uncounted,
    ("trace", "mm_migrate_pages"): _migrate_pages,
    ("trace", "mark"): _mark,
    ("trigger", "attempt"): _attempt,
    ("trigger", "step"): _step,
    ("trigger", "provokes"): _provokes,
    ("trace", "mm_compaction_begin"): _compaction,
    ("trace", "mm_page_free"): _page_free,
    ("harness", "compacted"): _compacted,
    ("trace", "stats"): _trace_stats,
    ("trace", "read"): _trace_read,
    ("trace", "missing"): _trace_missing,
    ("pageflags", "flags"): _flags,
    ("kmemleak", "leak"): _leak,
    ("kmemleak", "scanned"): _scanned,
    ("buddyinfo", "free"): _free,
    ("buddyinfo", "extfrag_index"): _extfrag,
    ("buddyinfo", "unusable_index"): _unusable,
}
