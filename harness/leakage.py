# SPDX-License-Identifier: GPL-2.0-only
"""What an arm leaks, by the censuses after its rounds, and who says so. Pure.

| claim | unit | the figure | beside it |
| --- | --- | --- | --- |
| leaked pages | pages | page_owner, by stack | free pages |
| leaked objects | objects | slabinfo, by cache | pages of slab |
| isolated pages | pages | vmstat nr_isolated_* | |
| miscounted pages | pages | vmstat, the other counts of pages | |

Before v6.9 page_owner counts no stacks, and before v3.19 there is none: free pages are the figure
then, and a leak that is less than the noise of the system cannot be told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from harness.growth import FEW, NOISE, SURE, Growth, Round, enough, growth
from harness.model import Caller, Witness
from harness.seen import Census, Seen, calls

PAGES, OBJECTS, ISOLATED = "leaked pages", "leaked objects", "isolated pages"
COUNTED = "miscounted pages"
CLAIMS = (PAGES, OBJECTS, ISOLATED, COUNTED)
_ISOLATED, _SLAB_PAGES = "nr_isolated_", "nr_slab_"  # counts that have rules of their own
# What is there to look at a guest: memory in which page_owner keeps its stacks, and what comes in
# by the network, over which the guest is asked.
_INSTRUMENTS = ("stack_depot_save_flags", "net_rx_action")
_PAGE = 4096
_SLAB = frozenset({"alloc_slab_page", "allocate_slab", "new_slab"})
_SHADOW = frozenset({"kasan_populate_vmalloc", "kasan_populate_vmalloc_pte"})
_TABLE = re.compile(r"__(?:pte_alloc_kernel|p[mu4]d_alloc)\w*")
_VMAP = re.compile(r"__vmap_pages_range\w*|vmap_\w*range\w*")
_NAMED = 3  # stacks of one leak
_MOVING = re.compile(r"pinpage|migrat|compact", re.IGNORECASE)


@dataclass(frozen=True)
class Leak:
    """What is leaked (page, object, isolated page), by whom, how much in each round."""

    claim: str
    what: str
    growth: Growth

    def __str__(self) -> str:
        return f"{self.growth} {self.what}"


def gap(seen: Seen) -> str:
    """What is missing for an answer, "" if nothing."""
    if not seen.census:
        return "no census of its memory was taken"
    if not enough(_rounds(seen)):
        return f"{len(seen.census) - 1} rounds were counted, too few to tell leaks from noise"
    return ""


def quiet(seen: Seen) -> str:
    """That nothing leaked, and what could not be told by so many rounds."""
    rounds = sum(each.ops > 0 for each in seen.census)
    less = f", of which fewer than {SURE} do not tell of less than {FEW} a round"
    return f"nothing grew in {rounds} rounds of work{less if rounds < SURE else ''}"


def leaks(seen: Seen) -> tuple[Leak, ...]:
    """What grows with the rounds, the most of it first."""
    if gap(seen):
        return ()
    found = [*_stacks(seen), *_caches(seen), *_isolated(seen), *_counted(seen)]
    if not _counts(seen, "stacks"):
        found += _free(seen)
    return tuple(sorted(found, key=lambda leak: (CLAIMS.index(leak.claim), -leak.growth.total)))


def examine(seen: Seen) -> tuple[Witness, ...]:
    """The witnesses of each claim; none where no rounds were counted."""
    if gap(seen):
        return ()
    found = leaks(seen)
    return (*_pages(seen, found), *_objects(seen, found), *_others(seen, found))


def _rounds(seen: Seen) -> list[Round]:
    return [Round(each.number, each.ops, each.moved) for each in seen.census[1:]]


def _growth(seen: Seen, value: Callable[[Census], int]) -> Growth:
    return growth(_rounds(seen), [value(each) for each in seen.census])


def _counts(seen: Seen, part: str) -> bool:
    return all(getattr(each, part) is not None for each in seen.census)


def _stacks(seen: Seen) -> list[Leak]:
    if not _counts(seen, "stacks"):
        return []
    found, cached = _moving(seen), _counts(seen, "slabs")
    for stack in {stack for each in seen.census for stack in each.stacks or ()}:
        if of_a_move(stack) or _looks_on(stack):
            continue
        # A slab stays as long as one object does, so there are more or fewer of the same objects;
        # what leaks is told by those.
        if cached and any(call.function in _SLAB for call in stack):
            continue
        grown = _growth(seen, partial(_of_stack, stack))
        if grown.leaks:
            found.append(Leak(PAGES, f"from {calls(stack)}", grown))
    return found


def _looks_on(stack: tuple[Caller, ...]) -> bool:
    """Whether it is a page of what looks at the guest, which comes and goes with that."""
    return any(call.function.startswith(_INSTRUMENTS) for call in stack)


def _moving(seen: Seen) -> list[Leak]:
    """What an owner leaks has the stack of its own allocation, or of the migration that gave it the
    page: it may be the one in one round and the other in the next, and is told by the sum."""
    own = {stack for each in seen.census for stack in each.stacks or () if of_a_move(stack)}
    grown = _growth(seen, lambda each: sum((each.stacks or {}).get(stack, 0) for stack in own))
    if not (grown.leaks or grown.sticks):
        return []
    first, last = seen.census[0].stacks or {}, seen.census[-1].stacks or {}
    more = {stack: last.get(stack, 0) - first.get(stack, 0) for stack in own}
    by_most = sorted((s for s in own if more[s] > 0), key=lambda s: (-more[s], calls(s)))
    names = [f"{calls(s)} ({more[s]})" if len(by_most) > 1 else calls(s) for s in by_most]
    named = ", and from ".join(names[:_NAMED])
    return [Leak(PAGES, f"from {named}", grown)]


def of_a_move(stack: tuple[Caller, ...]) -> bool:
    """Whether a page is an owner's or a migration's. Pages of slab are counted by their objects,
    and page tables of vmalloc are nobody's: the kernel keeps them (mm/vmalloc.c: vunmap_range()).
    The same goes for KASAN's shadow of that memory, which stays until many areas are purged
    together (mm/kasan/shadow.c: kasan_release_vmalloc()).
    """
    names = [caller.function for caller in stack]
    if any(name in _SLAB or name in _SHADOW for name in names):
        return False
    if any(map(_TABLE.fullmatch, names)) and any(map(_VMAP.fullmatch, names)):
        return False
    return any(caller.module or _MOVING.search(caller.function) for caller in stack)


def _caches(seen: Seen) -> Iterator[Leak]:
    if not _counts(seen, "slabs"):
        return
    for name in {name for each in seen.census for name in each.slabs or ()}:
        grown = _growth(seen, partial(_of_cache, name))
        if grown.leaks:
            yield Leak(OBJECTS, f"objects of {name}", grown)


def _of_stack(stack: tuple[Caller, ...], each: Census) -> int:
    return (each.stacks or {}).get(stack, 0)


def _of_cache(name: str, each: Census) -> int:
    return (each.slabs or {}).get(name, (0, 0))[0]


def _isolated(seen: Seen) -> Iterator[Leak]:
    """Nothing is isolated between rounds: what is counted so was never put back, or miscounted."""
    last = seen.census[-1]
    for name, value in last.vmstat.items():
        if name.startswith(_ISOLATED) and value:
            yield Leak(
                ISOLATED, f"in {name}", Growth((Round(last.number, last.ops),), (value,), ())
            )


def _counted(seen: Seen) -> Iterator[Leak]:
    """Counts that drift with the work, either way: of pages that are no longer there, or were moved
    and counted at one of both places alone."""
    for name in seen.census[-1].vmstat:
        if name.startswith((_ISOLATED, _SLAB_PAGES)):
            continue
        for sign, said in ((1, "too many"), (-1, "too few")):
            grown = _growth(seen, partial(_of_count, name, sign))
            # A page moves as often as it happens to, so rounds may differ by more than a leak's.
            if grown.leaks or (grown.sticks and grown.total > NOISE):
                yield Leak(COUNTED, f"{said} in {name}", grown)


def _of_count(name: str, sign: int, each: Census) -> int:
    return sign * each.vmstat.get(name, 0)


def _lost(seen: Seen) -> Growth:
    """By how much fewer pages are free, or held by what looks at the guest."""

    def gone(each: Census) -> int:
        stacks = each.stacks or {}
        return -each.free - sum(pages for stack, pages in stacks.items() if _looks_on(stack))

    return _growth(seen, gone)


def _free(seen: Seen) -> Iterator[Leak]:
    lost = _lost(seen)
    if lost.leaks and lost.total > lost.noise:
        yield Leak(PAGES, "free pages are missing", lost)


def _total(found: tuple[Leak, ...], claim: str) -> int:
    return sum(leak.growth.total for leak in found if leak.claim == claim)


def _pages(seen: Seen, found: tuple[Leak, ...]) -> Iterator[Witness]:
    arm, total, lost = seen.plan.name, _total(found, PAGES), _lost(seen)
    rounds = f"in {len(lost.steps)} rounds"
    if not _counts(seen, "stacks"):
        yield Witness(PAGES, arm, "free pages", total, True, f"{rounds}, ±{lost.noise}")
        why = seen.uncounted.get("stacks", "not read")
        yield Witness(PAGES, arm, "page_owner", 0, False, why, complete=False)
        return
    yield Witness(PAGES, arm, "page_owner", total, True, f"{rounds}, by stack")
    said = f"{lost.total} are missing, ±{lost.noise}"
    if 0 < total <= lost.noise and abs(lost.total) <= lost.noise:
        why = f"{said}: so few cannot be told"
        yield Witness(PAGES, arm, "free pages", lost.total, False, why, complete=False)
        return
    near = abs(lost.total - total) <= max(lost.noise, total // 4)
    yield Witness(PAGES, arm, "free pages", lost.total, near, said)


def _objects(seen: Seen, found: tuple[Leak, ...]) -> Iterator[Witness]:
    arm, total = seen.plan.name, _total(found, OBJECTS)
    if not _counts(seen, "slabs"):
        why = seen.uncounted.get("slabs", "there is no /proc/slabinfo")
        yield Witness(OBJECTS, arm, "slabinfo", 0, False, why, complete=False)
        return
    yield Witness(OBJECTS, arm, "slabinfo", total, True, "by cache")
    sizes = {name: size for name, (_, size) in (seen.census[-1].slabs or {}).items()}
    due = sum(
        leak.growth.total * sizes[name] // _PAGE
        for leak in found
        for name in (leak.what.rpartition(" ")[2],)
        if leak.claim == OBJECTS
    )
    grown = _growth(
        seen,
        lambda each: sum(n for name, n in each.vmstat.items() if name.startswith(_SLAB_PAGES)),
    )
    said = f"{grown.total} more pages of slab, {due} are due, ±{grown.noise}"
    if 0 < due <= grown.noise and abs(grown.total) <= grown.noise:
        yield Witness(OBJECTS, arm, "pages of slab", total, False, said, complete=False)
        return
    near = abs(grown.total - due) <= max(grown.noise, due // 2)
    yield Witness(OBJECTS, arm, "pages of slab", total if near else 0, near, said)


def _others(seen: Seen, found: tuple[Leak, ...]) -> Iterator[Witness]:
    last = seen.census[-1].vmstat
    if any(name.startswith(_ISOLATED) for name in last):
        yield Witness(ISOLATED, seen.plan.name, "vmstat", _total(found, ISOLATED), True)
    if any(not name.startswith((_ISOLATED, _SLAB_PAGES)) for name in last):
        yield Witness(COUNTED, seen.plan.name, "vmstat", _total(found, COUNTED), True)
