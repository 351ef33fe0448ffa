# SPDX-License-Identifier: GPL-2.0-only
"""The witnesses of each claim about an arm, and whether they agree. Pure.

The first witness of a claim is its figure; each further one agrees with it or does not. A
figure of the pinner stands only with a witness of the kernel's own (``unsupported``). WITNESSES.md
lists the claims and their witnesses, what each can't see, and what comes of one that is missing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from harness.model import LedgerRow, PageState, Witness
from harness.parse.ledger import Move
from harness.parse.pageflags import FOREIGN, FREE, HANDLED
from harness.seen import Seen

KERNEL = frozenset(
    {
        *("trace mm_page_free", "vmstat pgmigrate_success", "vmstat pgmigrate_fail"),
        *("pageflags", "buddyinfo", "vmstat nr_isolated", "task flags"),
        *(
            "sysfs state",
            "sysfs gone",
            "zoneinfo present",
            "debugfs used",
            "trace cma_alloc_finish",
            "vmstat cma_alloc_success",
            "vmstat nr_free_cma",
            "module references",
            "modules",
            "dmesg FAULT_INJECTION",
            "numa_maps",
            "HugePages_Free",
            "vmstat htlb_buddy_alloc_success",
            "vmstat thp_fault_alloc",
            "khugepaged pages_collapsed",
        ),
    }
)
ATTEMPTS = "attempts that succeeded"
CONTENTS = "contents"  # the check of an attempt that a process's pages are whole after it
_FIGURES = frozenset(
    {
        ("pinner ledger", "migrated"),
        ("pinner ledger", "stayed"),
        ("pinner ledger", "failed"),
        ("pinner huge", "more huge pages"),
        ("commands", ATTEMPTS),
    }
)
_HAD = re.compile(r", attempt \d+$")  # claims of how much was had, whose figure is their first
_OWN_CALLS = "refuse"  # whose figure is of calls of the owner's, which no kernel counts
LEFT_OVER = "left over"  # what a drive must not leave behind
SLACK = 64  # huge pages that two readings may differ by,
SHARE = 16  # or one in so many of those that could be had before: more memory has more on the way
# Pages that others may have isolated when nr_isolated is read: a batch of compaction in the
# background and one of reclaim's (32 each).
BATCHES = 64
# The same with what the counters of processors keep back where nothing folds them (mm/vmstat.c:
# stat_threshold, 125 at most; /proc/sys/vm/stat_refresh folds, since v4.8).
ISOLATED = 512
EXACT = 128  # the same without what processors keep back, at two readings
# Which memory a task is given, and what it waits for then (include/linux/sched.h): PF_MEMALLOC,
# PF_MEMALLOC_NOFS (since v4.12; a kswapd alone has that bit before), PF_MEMALLOC_NOIO, and
# PF_MEMALLOC_PIN (since v5.2, first as _NOCMA; rtmutex's tester alone before).
_GIVEN = 0x800 | 0x40000 | 0x80000 | 0x10000000


def examine(seen: Seen, rows: tuple[LedgerRow, ...]) -> tuple[Witness, ...]:
    """All witnesses of an arm, its rows being those of the ledger (see pages.ledger)."""
    return tuple(witness for claim in _CLAIMS for witness in claim(seen, rows))


def disagreements(witnesses: tuple[Witness, ...]) -> list[tuple[Witness, Witness]]:
    """(figure, the witness that contradicts it) pairs."""
    figures: dict[tuple[str, str], Witness] = {}
    found = []
    for each in witnesses:
        figure = figures.setdefault((each.arm, each.claim), each)
        if each.complete and not each.agrees:
            found.append((figure, each))
    return found


def unsupported(witnesses: tuple[Witness, ...]) -> list[Witness]:
    """Figures that a verdict rests on which no witness of the kernel's bears out."""
    found = []
    had = {(w.arm, w.claim): w for w in reversed(witnesses) if _HAD.search(w.claim)}
    for figure in witnesses:
        first = had.get((figure.arm, figure.claim)) is figure and figure.source != _OWN_CALLS
        if not first and (figure.source, figure.claim) not in _FIGURES:
            continue
        same = (w for w in witnesses if (w.arm, w.claim) == (figure.arm, figure.claim))
        if figure.count and not any(w.source in KERNEL and w.complete and w.agrees for w in same):
            found.append(figure)
    return found


class _Claim:
    """Makes the witnesses of one claim of one arm."""

    def __init__(self, name: str, arm: str) -> None:
        self._name, self._arm = name, arm

    def says(self, source: str, count: int, agrees: bool, detail: str = "") -> Witness:
        return Witness(self._name, self._arm, source, count, agrees, detail)

    def absent(self, source: str, why: str, count: int = 0) -> Witness:
        return Witness(self._name, self._arm, source, count, False, why, complete=False)


def _pinned(seen: Seen, rows: tuple[LedgerRow, ...]) -> Iterator[Witness]:
    claim = _Claim("pinned", seen.plan.name)
    yield claim.says("pinner ledger", len(rows), True)
    apart = len({row.pfn_before for row in rows})
    detail = "" if apart == len(rows) else "two objects claim one frame"
    yield claim.says("distinct frames", apart, apart == len(rows), detail)
    known = {row.handle for row in rows}
    new = sum(pin.handle not in known for pin in seen.after)
    detail = f"{new} of them are new after the drive" if new else "no new ones after the drive"
    yield claim.says("pinner ledger after", len(rows) + new, not new, detail)
    yield _number_of_pins(claim, seen, "before", len(rows))
    flags = seen.flags.get("before")
    if flags is None:
        yield claim.absent("pageflags", "this kernel has no kpageflags")
    else:
        used = sum(1 for row in rows if _in_use(flags, row.pfn_before))
        yield claim.says("pageflags", used, used == len(rows), "frames in use")


def _number_of_pins(claim: _Claim, seen: Seen, when: str, due: int) -> Witness:
    source, count = "pinner counter pinned", seen.counters.get(when, {}).get("pinned")
    if not isinstance(count, int):
        return claim.absent(source, "not read")
    return claim.says(source, count, count == due)


def _pinned_after(seen: Seen, rows: tuple[LedgerRow, ...]) -> Iterator[Witness]:
    claim = _Claim("pinned after", seen.plan.name)
    yield claim.says("pinner ledger", len(seen.after), True)
    yield _number_of_pins(claim, seen, "after", len(seen.after))


def _migrated(seen: Seen, rows: tuple[LedgerRow, ...]) -> Iterator[Witness]:
    claim = _Claim("migrated", seen.plan.name)
    total = sum(row.moves for row in rows)
    pages = sum(row.moves > 0 for row in rows)
    yield claim.says("pinner ledger", total, True, f"moves, of {pages} pages")
    moves = seen.moves
    if seen.calls_gap:
        yield claim.absent("pinner moves", seen.calls_gap, len(moves))
    else:
        called = Counter(move.handle for move in moves)
        wrong = sum(called[row.handle] != row.moves for row in rows if row.pfn_after != -1)
        detail = f"{wrong} pages have other moves in the ledger" if wrong else ""
        agrees = len(moves) == total and not wrong
        yield claim.says("pinner moves", len(moves), agrees, detail)
    yield _counter(claim, seen, "migrated", total)
    yield _freed(claim, seen, moves, total)
    grown = seen.delta("pgmigrate_success", "outer")
    if grown is None:
        yield claim.absent("vmstat pgmigrate_success", "not read")
    else:
        others = grown - total
        detail = f"{others} of them others' pages" if others >= 0 else "fewer than moved"
        yield claim.says("vmstat pgmigrate_success", grown, others >= 0, detail)
    yield from _log(claim, seen, refused=False)


def _led(seen: Seen, rows: tuple[LedgerRow, ...]) -> int:
    """Pages whose moves, one after the other, lead from their first frame to their last."""
    at = {row.handle: row.pfn_before for row in rows}
    astray = set()
    for move in sorted(seen.window, key=lambda m: m.seq):
        if move.errno == 0:
            if at.get(move.handle) != move.pfn_old or move.pfn_old == move.pfn_new:
                astray.add(move.handle)
            at[move.handle] = move.pfn_new
    held = (row for row in rows if row.state is not PageState.LOST)
    return sum(at[row.handle] == row.pfn_after and row.handle not in astray for row in held)


def _counter(claim: _Claim, seen: Seen, name: str, total: int) -> Witness:
    source = f"pinner counter {name}"
    before, after = (seen.counters.get(when, {}).get(name) for when in ("before", "after"))
    if not isinstance(before, int) or not isinstance(after, int):
        return claim.absent(source, "not read")
    return claim.says(source, after - before, after - before == total)


def _trace_gap(seen: Seen, name: str) -> str:
    """Why a tracepoint saw nothing or not everything, "" if it saw all."""
    if seen.trace is None:
        return "there was no tracing"
    if name in seen.trace.missing:
        return f"this kernel has no tracepoint {name}"
    if seen.trace.lost:
        return f"{seen.trace.lost} events were lost"
    kept, read = seen.trace.kept, seen.trace.read
    if kept is None or read is None:
        return "it was not read to its end"
    return f"of {kept} events {read} were read" if kept != read else ""


def _freed(claim: _Claim, seen: Seen, moves: list[Move], total: int) -> Witness:
    """Each page that moved has left a page behind, which the kernel must have freed."""
    source = "trace mm_page_free"
    left = Counter(move.pfn_old for move in moves)
    freed = seen.trace.freed if seen.trace is not None else Counter[int]()
    seen_freed = sum(min(times, freed[frame]) for frame, times in left.items())
    gap = _trace_gap(seen, "mm_page_free")
    if gap or seen.calls_gap:
        why = gap or f"the record of moves is not whole: {seen.calls_gap}"
        return claim.absent(source, why, seen_freed)
    missing = len(moves) - seen_freed
    detail = f"old pages freed, {missing} were not" if missing else "old pages freed"
    return claim.says(source, seen_freed, seen_freed == total and not missing, detail)


def _log(claim: _Claim, seen: Seen, *, refused: bool) -> Iterator[Witness]:
    """The log is ratelimited: it may say less than happened, but nothing that did not."""
    source = "dmesg"
    lines = [line for line in seen.logged if (line.pfn_new is None) == refused]
    if not seen.log_read:
        yield claim.absent(source, "not read")
        return
    if seen.calls_gap:
        yield claim.absent(
            source, f"the record of calls is not whole: {seen.calls_gap}", len(lines)
        )
        return
    known = Counter(
        (call.handle, call.pfn_old, None if refused else call.pfn_new, abs(call.errno))
        for call in seen.calls
        if bool(call.errno) == refused
    )
    told = Counter((line.handle, line.pfn_old, line.pfn_new, abs(line.errno)) for line in lines)
    strange = sum((told - known).values())
    detail = f"lines; of calls not on record: {strange}" if strange else "lines, ratelimited"
    yield claim.says(source, len(lines), not strange, detail)


def _stayed(seen: Seen, rows: tuple[LedgerRow, ...]) -> Iterator[Witness]:
    claim = _Claim("stayed", seen.plan.name)
    still = [row for row in rows if row.moves == 0 and row.state is not PageState.LOST]
    yield claim.says("pinner ledger", len(still), True)
    gap = _trace_gap(seen, "mm_page_free")
    freed = seen.trace.freed if seen.trace is not None else Counter[int]()
    kept = sum(1 for row in still if not freed[row.pfn_before])
    if gap:
        yield claim.absent("trace mm_page_free", gap, kept)
    else:
        bad = len(still) - kept
        detail = f"frames of {bad} were freed" if bad else "none of their frames was freed"
        yield claim.says("trace mm_page_free", kept, not bad, detail)
    flags = seen.flags.get("after")
    if flags is None:
        yield claim.absent("pageflags", "this kernel has no kpageflags")
    else:
        used = sum(1 for row in still if _in_use(flags, row.pfn_before))
        yield claim.says("pageflags", used, used == len(still), "frames in use")


def _in_use(flags: dict[int, int], frame: int) -> bool:
    """Whether a frame may be an owner's: neither free nor in somebody else's use."""
    return frame in flags and not flags[frame] & (FREE | FOREIGN)


def _failed(seen: Seen, rows: tuple[LedgerRow, ...]) -> Iterator[Witness]:
    """A page that was refused and never moved counts at least once as the kernel's failure."""
    claim = _Claim("failed", seen.plan.name)
    pages = sum(row.state is PageState.FAILED for row in rows)
    yield claim.says("pinner ledger", pages, True)
    still = {row.handle for row in rows if row.state in (PageState.FAILED, PageState.STAYED)}
    if seen.calls_gap:
        yield claim.absent("pinner moves", seen.calls_gap)
    else:
        said = {(call.handle, abs(call.errno)) for call in seen.calls if call.errno}
        count = len({handle for handle, _ in said} & still)
        refused = (row for row in rows if row.errno)  # one that moved all the same is among them
        wrong = sum((row.handle, row.errno) not in said for row in refused)
        detail = f"{wrong} pages have another errno in the ledger" if wrong else ""
        yield claim.says("pinner moves", count, count == pages and not wrong, detail)
    grown = seen.delta("pgmigrate_fail", "outer")
    if grown is None:
        yield claim.absent("vmstat pgmigrate_fail", "not read")
    else:
        due = len({call.handle for call in seen.window if call.errno} & still)
        detail = "every try counts" if grown >= due else f"{due} pages were refused in the drive"
        yield claim.says("vmstat pgmigrate_fail", grown, grown >= due, detail)
    yield from _log(claim, seen, refused=True)


def _refused(seen: Seen, rows: tuple[LedgerRow, ...]) -> Iterator[Witness]:
    """Refusals, as many as there were calls: a page may be refused, asked again, and move."""
    claim, calls = _Claim("refused", seen.plan.name), sum(c.errno != 0 for c in seen.window)
    if seen.calls_gap:
        yield claim.absent("pinner moves", seen.calls_gap, calls)
        return
    yield claim.says("pinner moves", calls, True, "calls in the drive")
    yield _counter(claim, seen, "refused", calls)


def _calls(seen: Seen, rows: tuple[LedgerRow, ...]) -> Iterator[Witness]:
    """Whether every call on record became an event."""
    if seen.calls_read:
        claim, known = _Claim("calls", seen.plan.name), len(seen.calls)
        yield claim.says("pinner calls", seen.calls_told, True, "on record")
        yield claim.says("pinner moves", known, known == seen.calls_told, "events")


def _held(seen: Seen, rows: tuple[LedgerRow, ...]) -> Iterator[Witness]:
    claim = _Claim("held", seen.plan.name)
    frames = [row.pfn_after for row in rows if row.state is not PageState.LOST]
    yield claim.says("pinner ledger", len(frames), True, "pages that the owner holds")
    apart = len(set(frames))
    detail = "" if apart == len(frames) else "two objects claim one frame"
    yield claim.says("distinct frames", apart, apart == len(frames), detail)
    if seen.calls_gap:
        yield claim.absent("pinner moves", seen.calls_gap)
    else:
        led = _led(seen, rows)
        yield claim.says("pinner moves", led, led == len(frames), "pages where their moves lead")
    flags = seen.flags.get("after")
    if flags is None:
        yield claim.absent("pageflags", "this kernel has no kpageflags")
        return
    used = sum(1 for frame in frames if _in_use(flags, frame))
    detail = "frames in use"
    if used != len(frames):
        detail = f"{len(frames) - used} of the frames are free or another's"
    yield claim.says("pageflags", used, used == len(frames), detail)


def _left_over(seen: Seen, rows: tuple[LedgerRow, ...]) -> Iterator[Witness]:
    """When all is over no page of the owner's is in anybody else's hands any more.

    Compaction goes on in the background: a page counts if it is so each time that it was looked at.
    """
    claim = _Claim(LEFT_OVER, seen.plan.name)
    yield claim.says("drive", 0, True, "it is over")
    held = [row for row in rows if row.state is not PageState.LOST]
    if not seen.refs:
        yield claim.absent("pinner refs", "not read")
    else:
        known = [row for row in held if seen.refs.get(row.handle, (-1, 0))[0] == row.pfn_after]
        more = sum(seen.refs[row.handle][1] != 1 for row in known)
        unread = len(held) - len(known)
        if unread and not more:
            yield claim.absent("pinner refs", f"{unread} pages are not in it", more)
        else:
            yield claim.says("pinner refs", more, not more, "pages have other references than one")
    flags = seen.flags.get("released")
    if flags is None:
        yield claim.absent("pageflags", "not read")
    else:
        stuck = sum(1 for row in held if flags.get(row.pfn_after, 0) & HANDLED)
        unread = sum(row.pfn_after not in flags for row in held)
        if unread and not stuck:
            yield claim.absent("pageflags", f"{unread} frames are not in it", stuck)
        else:
            yield claim.says("pageflags", stuck, not stuck, "pages are locked or isolated")
    if not seen.task_flags:
        yield claim.absent("task flags", "nobody compacted on demand")
    else:
        left = sum(bool(flags & _GIVEN) for flags in seen.task_flags)
        said = "compactions left their task with other memory, or other waits for it"
        yield claim.says("task flags", left, not left, said)
    grown = [seen.delta(f"nr_isolated_{kind}", "outer") for kind in ("anon", "file")]
    if any(each is None for each in grown):
        yield claim.absent("vmstat nr_isolated", "not read")
    else:
        more = max((each for each in grown if each is not None), key=abs)
        most = BATCHES if seen.folded >= {"outer-before", "outer-after"} else ISOLATED
        yield claim.says("vmstat nr_isolated", more, abs(more) <= most, "it grew by so many")
    exact = seen.grown("nr_isolated")
    if exact is not None:  # before v4.4, see compat.h: later /proc/vmstat has it
        yield claim.says("pinner nr_isolated", exact, abs(exact) <= EXACT, "it grew by so many")


def _contents(seen: Seen, rows: tuple[LedgerRow, ...]) -> Iterator[Witness]:
    for name in ("lost", "corrupt"):
        claim = _Claim(name, seen.plan.name)
        count = sum(row.state == name for row in rows)
        yield claim.says("pinner ledger", count, True)
        after = seen.counters.get("after", {}).get(name)
        if isinstance(after, int):
            yield claim.says(f"pinner counter {name}", after, after == count)
        else:
            yield claim.absent(f"pinner counter {name}", "not read")


def _huge(seen: Seen, rows: tuple[LedgerRow, ...]) -> Iterator[Witness]:
    """How many more huge pages could be had: by the owner's tries, and by the free lists.

    They need not be equal: blocks wait in the lists of a CPU, and the last ones are kept back.
    """
    if not {"before", "after"} <= seen.huge.keys():
        return
    claim = _Claim("more huge pages", seen.plan.name)
    more = seen.huge["after"] - seen.huge["before"]
    yield claim.says("pinner huge", more, True)
    before, after = seen.huge_blocks("before"), seen.huge_blocks("after")
    if before is None or after is None:
        yield claim.absent("buddyinfo", "not read")
        return
    slack = max(SLACK, seen.huge["before"] // SHARE, abs(more) // 2)
    near = abs(after - before - more) <= slack
    yield claim.says("buddyinfo", after - before, near, "free blocks of order 9 and up")


def _kernel(seen: Seen, rows: tuple[LedgerRow, ...]) -> Iterator[Witness]:
    """Counters and tracepoints count the same migrations, whoever's they are."""
    trace, gap = seen.trace, _trace_gap(seen, "mm_migrate_pages")
    for name, counter in (("succeeded", "pgmigrate_success"), ("failed", "pgmigrate_fail")):
        claim = _Claim(f"kernel {name}", seen.plan.name)
        inner, outer = seen.delta(counter, "inner"), seen.delta(counter, "outer")
        if inner is None or outer is None:
            yield claim.absent(f"vmstat {counter}", "not read")
            continue
        forward = 0 <= inner <= outer
        detail = "" if forward else f"it grew by {inner} inside of that"
        yield claim.says(f"vmstat {counter}", outer, forward, detail)
        source = f"trace mm_migrate_pages {name}"
        traced = 0 if trace is None else getattr(trace, name)
        if gap:
            yield claim.absent(source, gap, traced)
        else:
            detail = "" if inner == outer else f"between {inner} and {outer} were due"
            yield claim.says(source, traced, inner <= traced <= outer, detail)


def _attempts(seen: Seen, rows: tuple[LedgerRow, ...]) -> Iterator[Witness]:
    """What was tried and done: by its own answer, and by what each trigger asks beside."""
    yield from _got(seen)
    by_then = seen.tried[: seen.tried_by.get("held", 0)]
    tried = [each for each in seen.tried if each.got is None]
    if not tried:
        return
    claim = _Claim(ATTEMPTS, seen.plan.name)
    done = [each for each in tried if each.ok]
    yield claim.says("commands", len(done), True, f"of {len(tried)}")
    for source in dict.fromkeys(name for each in tried for name in each.checks):
        asked = [each for each in tried if source in each.checks]
        wrong = [each for each in asked if each.checks[source] is not each.ok]
        count = len(done) + sum(1 if each.checks[source] else -1 for each in wrong)
        detail = f"otherwise for {wrong[0].target}" if wrong else f"asked of {len(asked)}"
        yield claim.says(source, count, not wrong, detail)
    held = seen.pins.get("held")
    taken = [each.frames for each in by_then if each.ok and each.frames is not None]
    if held is None:
        if any(each.ok and each.frames is not None for each in tried):
            yield claim.absent("pinner ledger held", "not read while the frames were taken")
    else:
        pins = [sum(first <= pin.pfn_now < first + count for pin in held) for first, count in taken]
        inside, bad = sum(pins), sum(count > 0 for count in pins)
        detail = f"{inside} pins are in frames that were taken" if inside else "no pin is in them"
        yield claim.says("pinner ledger held", len(done) - bad, not inside, detail)
        yield _apart(claim, len(done), taken)


def _apart(claim: _Claim, done: int, taken: list[tuple[int, int]]) -> Witness:
    """What was taken is all still taken when the pins are looked at: no frame of it twice."""
    twice = sum(first + count > later for (first, count), (later, _) in pairwise(sorted(taken)))
    detail = f"{twice} of them have frames of another" if twice else "no frame was taken twice"
    return claim.says("distinct frames", done - twice, not twice, detail)


def _got(seen: Seen) -> Iterator[Witness]:
    """How much was had of what can be had in part, by each who counts it."""
    for each in seen.tried:
        if each.got is None:
            continue
        claim = _Claim(f"{each.group}, attempt {each.number}", seen.plan.name)
        yield claim.says(each.trigger, each.got, True, f"of {each.asked}")
        for source, count in each.also.items():
            yield claim.says(source, count, count == each.got)
        for source, said in each.checks.items():
            if source != CONTENTS:  # of what is in the pages, not of how many there are
                yield claim.says(source, each.got if said is each.ok else 0, said is each.ok)


_CLAIMS = (
    *(
        _pinned,
        _pinned_after,
        _migrated,
        _stayed,
        _failed,
        _refused,
        _held,
        _left_over,
        _contents,
        _huge,
        _kernel,
    ),
    *(_attempts, _calls),
)
