# SPDX-License-Identifier: GPL-2.0-only
"""The catalogue: each known defect of the posted series, how it is provoked, what shows it.

Numbers and letters are those of patches/README.md. A probe drives a guest that nobody uses
after it, and its answer is drawn from the evidence alone. ``None`` is no answer: what should have
happened for the defect to show has not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import CannotRun
from harness.scenario.base import Tree
from harness.scenario.probes.facts import Answer, Facts
from harness.scenario.probes.prober import Prober

PAGES, EVERY = 4000, 16
PIN = f"pin {PAGES} {EVERY}"
MANY = PAGES // 8  # pages that cannot be an accident of the rest of the system
PAIRS = 100_000
WINDOW_SECONDS = 60
LOCKED_SECONDS = 20
BLOCKS = 64  # pageblocks, fewer of which prove nothing
_BUG_AT = r"^(?:kernel BUG at|BUG: failure at) "  # arm64 had no trap for it until v4.3
LEAKED_PAIRS = PAIRS * 8 // 4096 // 2  # pages, half of what that many of the smallest objects are
BUSY = 8  # owners that were, fewer of which prove nothing
BESIDE = 4  # moves, fewer of which are those in front of the first page that is locked
OTHERS = 64  # pages that others may have isolated when it is asked: two batches
EBUSY, ENOMEM, EINVAL, EEXIST, EDEADLK = 16, 12, 22, 17, 35
HEADER, SUBSYSTEM = "include/linux/pinpage.h", "mm/pinpage.c"
COMPACTION, MIGRATE = "mm/compaction.c", "mm/migrate.c"


@dataclass(frozen=True)
class Probe:
    """One defect. place: file and a regular expression of the line that is to blame; elsewhere:
    another one, for kernels that have it there.
    function: where that line is, if it is in none of its own or the kernel has it no more.
    fix: part of the name of the patch of ``fixed`` that mends it.
    """

    defect: str
    title: str
    function: str
    place: tuple[str, str]
    drive: Callable[[Prober], None] | None
    answer: Callable[[Facts], Answer]
    elsewhere: tuple[str, str] = ("", "")
    fix: str = ""
    profile: str = ""
    append: tuple[str, ...] = ()
    smp: int = 0
    extra: str = ""  # patches that it needs on top, see ArmPlan
    why_not: str = ""  # why there is no probe
    read: Callable[[Tree], Answer] | None = None  # the source itself tells


def _yes(evidence: str) -> Answer:
    return Answer(True, evidence)


def _no(evidence: str) -> Answer:
    return Answer(False, evidence)


def _open(evidence: str) -> Answer:
    return Answer(None, evidence)


# ---------------------------------------------------------------------------------------------
# Compaction and the callback
# ---------------------------------------------------------------------------------------------


def _drive_lru(prober: Prober) -> None:
    prober.do("bare 1")
    prober.do(PIN)
    prober.compact()
    prober.facts()
    prober.end()


def _lru(facts: Facts) -> Answer:
    report = facts.report(_BUG_AT + r"mm/compaction\.c")
    if report:
        return _yes(f"the first compaction ends in {report.title!r}")
    if facts.number("moves"):
        return _no(f"{facts.number('moves')} moves of pages whose owner left page->lru alone")
    return _open("no page moved")


def _drive_private(prober: Prober) -> None:
    prober.do("private 500")
    prober.slab_check(8)  # a pointer
    prober.facts()
    prober.end()


def _private(facts: Facts) -> Answer:
    report = facts.report(r"^BUG kmalloc-|slab-out-of-bounds")
    if report:
        return _yes(f"pages with a private pointer, and the slab is {report.title!r}")
    return _no("500 pages pinned with a private pointer, and the slab's objects are whole")


def _drive_pin(prober: Prober) -> None:
    prober.do(PIN)
    prober.facts()
    prober.end()


def _atomic_insert(facts: Facts) -> Answer:
    report = facts.report("sleeping function called from invalid context", "general_add_page")
    if report:
        return _yes(f"set_pinpage() is {report.title!r}")
    return _no(f"{facts.number('pages')} pages pinned, and no allocation under a spinlock")


def _drive_sleep(prober: Prober) -> None:
    prober.do("sleep 1")
    prober.do(PIN)
    prober.compact()
    prober.facts()
    prober.end()


def _atomic_callback(facts: Facts) -> Answer:
    report = facts.report("scheduling while atomic|sleeping function", "prober_migrate")
    if report:
        return _yes(f"a callback that sleeps is {report.title!r}")
    calls, atomic = facts.number("calls"), facts.number("calls_atomic")
    if not calls:
        return _open("no callback was called")
    if atomic:
        return _yes(f"{atomic} of {calls} callbacks came with preemption off")
    return _no(f"{calls} callbacks slept, none was called with preemption off")


def _left_behind(facts: Facts) -> str:
    """What migrations that are over have left of pages that did not move; "" if nothing."""
    counted = facts.at("after", "nr_isolated") or 0  # the kernel's own report, where it has one
    left = [
        (facts.number("stuck"), "pages are still in somebody's hands"),
        (facts.number("pages_lru"), "pins are on the LRU"),
        (facts.number("pages_unflagged"), "pins that never moved have lost PG_pin"),
        (facts.number("declined_registered"), "pages that their owner declined are registered"),
        (counted if abs(counted) > OTHERS else 0, "pages are counted as isolated"),
    ]
    return "; ".join(f"{number} {what}" for number, what in left if number)


def _drive_refuse(prober: Prober) -> None:
    prober.do(f"refuse {EBUSY} 1")
    prober.do(PIN)
    prober.vmstat("before")
    prober.migrate(MANY)
    prober.vmstat("after")
    prober.facts()
    prober.end()


def _refused_leak(facts: Facts) -> Answer:
    refused, gone = facts.number("refused"), facts.missing()
    said = f"{refused} refusals, after which {gone} free pages are missing"
    if left := _left_behind(facts):
        return _yes(f"{said}; {left}")
    if refused < MANY:
        return _open(f"only {refused} callbacks were called")
    return _yes(said) if gone > refused // 2 else _no(said)


def _drive_deny(prober: Prober) -> None:
    prober.do("deny 1")
    prober.do(PIN)
    prober.vmstat("before")
    prober.compact()
    prober.vmstat("after")
    prober.facts()
    prober.end()


def _no_owner(facts: Facts) -> Answer:
    calls, gone = facts.number("calls"), facts.missing()
    success, isolated = facts.grown("pgmigrate_success"), facts.grown("compact_isolated")
    said = (
        f"pages that no owner knows: {isolated} isolated, {calls} callbacks, pgmigrate_success "
        f"{success}, {gone} free pages missing"
    )
    if calls or isolated < MANY:
        return _open(said)
    return _yes(said) if gone > MANY and success > MANY else _no(said)


def _drive_move(prober: Prober) -> None:
    prober.do(PIN)
    prober.compact()
    prober.facts()
    prober.end()


def _once(facts: Facts) -> Answer:
    moved, flagged = facts.number("moved"), facts.number("moved_flagged")
    known, old = facts.number("moved_registered"), facts.number("old_registered")
    said = (
        f"of {moved} pages that moved {flagged} have PG_pin and {known} are registered where they "
        f"are; {old} still where they were"
    )
    if moved < MANY:
        return _open(said)
    return _no(said) if flagged == known == moved and not old else _yes(said)


def _drive_keep(prober: Prober) -> None:
    prober.do("keep 1")
    prober.do(PIN)
    prober.vmstat("before")
    prober.compact()
    prober.vmstat("after")
    prober.facts()
    prober.end()


def _old_page(facts: Facts) -> Answer:
    moves, gone = facts.number("moves"), facts.missing()
    said = f"{moves} moves whose owner put no reference, and {gone} free pages are missing"
    if moves < MANY:
        return _open(said)
    return _yes(said) if gone > moves // 2 else _no(said)


def _drive_window(prober: Prober) -> None:
    prober.do("pin 500 64")
    prober.do("sweep 1")
    prober.compact_or_wait(WINDOW_SECONDS)
    prober.do("sweep 0")
    prober.facts()
    prober.end()


def _window(facts: Facts) -> Answer:
    swept = facts.number("swept")
    said = f"{swept} pages cleared between PG_pin and the page lock (which a delay keeps apart)"
    if not swept or not facts.waits:
        return _open(said)
    if facts.waits["ended"]:
        listed, stuck = facts.number("pages_lru"), facts.number("stuck")
        if listed:
            return _yes(f"{said}, and {listed} of them are put on the LRU by compaction")
        if stuck:
            return _yes(f"{said}, and {stuck} pages are still in somebody's hands")
        return _no(f"{said}, and compaction comes to its end")
    where = " ".join(str(word) for word in facts.waits["where"])
    return _yes(f"{said}, and compaction waits for ever ({where})")


def _drive_offline(prober: Prober) -> None:
    prober.do("pin 4000 24")
    prober.offline()
    prober.facts()
    prober.end()


def _offline(facts: Facts) -> Answer:
    pinned = [block for block in facts.blocks if int(block["pins"]) > 0]
    gone = [block for block in pinned if block["state"] == "offline"]
    calls = facts.number("calls")
    said = f"of {len(pinned)} memory blocks with pins {len(gone)} went offline, {calls} callbacks"
    if not pinned:
        return _open("no block that can go has pins")
    if gone and calls:
        return _no(said)
    errors = sorted({str(block["said"]).rpartition(": ")[2] for block in pinned} - {""})
    return _yes(f"{said} ({', '.join(errors)})" if errors else said)


def _drive_crowd(prober: Prober) -> None:
    """Three pages of four are pins in half of memory, and the rest is taken by unmovable ones.

    A third of the holes is taken as well: these are the pages for which the allocator falls back
    on blocks of pins.
    """
    prober.steady()
    pins = prober.free_pages() * 9 // 20
    prober.do(f"pin {pins} 1", timeout=600)
    prober.do("thin 4", timeout=600)
    prober.do(f"fill {pins // 6}", timeout=600)
    prober.blocks_of_pins()
    prober.facts()
    prober.end()


def _crowded(facts: Facts) -> Answer:
    if not facts.pageblocks:
        return _open("pageblocks were not counted")
    pins, movable = int(facts.pageblocks["pins"]), int(facts.pageblocks["movable"])
    said = f"{pins} pageblocks are mostly pins, and {movable} are kept for movable pages"
    if pins < BLOCKS or not facts.number("filled"):
        return _open(said)
    return (
        _yes(said) if movable < pins - pins // 8 else _no(said) if movable >= pins else _open(said)
    )


def _drive_soft(prober: Prober) -> None:
    prober.do("pin 100 1")
    prober.soft_offline()
    prober.facts()
    prober.end()


def _soft(facts: Facts) -> Answer:
    if not facts.page:
        return _open("no page was to be taken out of use")
    calls, errno = facts.number("calls"), str(facts.page["said"]).rpartition(": ")[2]
    taken = not facts.page["status"]
    how = "succeeds" if taken else f"fails ({errno})"
    said = f"soft offline of a pinned page {how}, {calls} callbacks"
    return _no(said) if taken and calls else _yes(said)


def _drive_contig(prober: Prober) -> None:
    prober.do("unmovable 1")  # v3.11 asks no block of movable pages for unmovable ones
    prober.do(PIN)
    if not prober.offered("contig"):
        raise CannotRun("this kernel has no contiguous allocation that a module can ask for")
    prober.facts()
    prober.end()


def _contiguous(facts: Facts) -> Answer:
    tried, got = facts.number("contig_tried"), facts.number("contig_got")
    calls, result = facts.number("calls"), facts.number("result")
    said = f"of {tried} ranges with pins {got} could be had, {calls} callbacks"
    if not tried:
        return _open("no range has pins")
    if got and calls:
        return _no(said)
    return _yes(f"{said} (the last error is {result})")


# ---------------------------------------------------------------------------------------------
# The owner's calls
# ---------------------------------------------------------------------------------------------


def _drive_cycle(prober: Prober) -> None:
    prober.do("cycle 1000")
    for when, following in (("before", "between"), ("between", "after")):
        if when == "before":
            prober.vmstat(when)
        prober.do(f"cycle {PAIRS}", timeout=300)
        prober.vmstat(following)
    prober.facts()
    prober.end()


def _records(facts: Facts) -> Answer:
    first, second = facts.missing("before", "between"), facts.missing("between", "after")
    said = f"{PAIRS} times pinned and cleared cost {first} free pages, again as many {second}"
    if facts.number("result"):
        return _open(f"{facts.number('result')} of {PAIRS} pairs failed")
    return _yes(said) if min(first, second) > LEAKED_PAIRS else _no(said)


def _drive_fails(prober: Prober) -> None:
    prober.do("fails")
    prober.facts()  # a kernel that refuses nothing need not live through the next
    prober.offered("life")
    prober.facts()
    prober.end()


def _listed(facts: Facts) -> Answer:
    early, late = facts.number("create_listed"), facts.number("failed_listed")
    said = (
        f"when create_subsys is called the system is {'' if early else 'not '}on the list, "
        f"after it has failed it is {'' if late else 'not '}on it"
    )
    if facts.number("result") != -ENOMEM:
        return _open(f"register_pinpage() of a system that fails gave {facts.number('result')}")
    if early or late:
        return _yes(said)
    if "life" not in facts.commands or facts.commands["life"]:
        return _open(f"{said}; a system's life was not tried")
    if step := facts.number("life_step"):
        what = _LIFE[step - 1] if step <= len(_LIFE) else f"step {step}"
        return _yes(f"{said}; {what} gives {facts.number('life_said')}")
    return _no(f"{said}; it can come, go, and come again")


# What guest-modules/prober/life.c does, one after the other
_LIFE = (
    "set_pinpage() for a system that never came",
    "clear_pinpage() of a page that nobody pins",
    "unregister_pinpage() of a system that never came",
    "register_pinpage()",
    "register_pinpage() of a system that is registered",
    "set_pinpage() for an owner without memory",
    "the page of such an owner, by lock, flag, registration and references (0: as before),",
    "set_pinpage()",
    "unregister_pinpage() with a page pinned",
    "the number of its calls of destroy_subsys, which was too early,",
    "clear_pinpage() of another system's page",
    "clear_pinpage()",
    "clear_pinpage() of a page that was cleared",
    "unregister_pinpage() with no page pinned",
    "the number of its calls of destroy_subsys",
    "set_pinpage() for a system that has gone",
    "unregister_pinpage() of a system that has gone",
    "register_pinpage() of a system that was gone",
    "unregister_pinpage() of a system that came again",
)


def _returned(command: str, what: str, healthy: int) -> Callable[[Facts], Answer]:
    """The defect shows where a call that has to be refused is not."""

    def answer(facts: Facts) -> Answer:
        result = facts.number("result")
        if command not in facts.commands:
            return _open(f"{command} was not tried")
        said = f"{what} gives {result}"
        return _yes(said) if result == 0 else _no(said) if result == healthy else _open(said)

    return answer


def _drive_one(command: str, *before: str, after: str = "") -> Callable[[Prober], None]:
    """after: what has to go on when the command has been refused; it waits for ever where the
    refusal has left something locked."""

    def drive(prober: Prober) -> None:
        for each in (*before, command):
            prober.do(each)
        prober.facts()
        if after:
            prober.offered(after)
        prober.end()

    return drive


def _nested(facts: Facts) -> Answer:
    report = facts.report(_BUG_AT + r"mm/pinpage\.c")
    if report:
        return _yes(f"pinning a page a second time is {report.title!r}")
    if facts.number("result") == -EDEADLK and "nest" in facts.commands:
        return _yes("set_pinpage() of a pinned page is refused, and leaves the page locked")
    return _returned("nest", "set_pinpage() of a pinned page", -EEXIST)(facts)


def _halves(facts: Facts) -> Answer:
    half_set, half_cleared = facts.number("half_set"), facts.number("half_cleared")
    said = (
        "with the page lock held by somebody else, flag and registration differ "
        f"{'while it is set' if half_set else ''}{' and ' if half_set and half_cleared else ''}"
        f"{'while it is cleared' if half_cleared else ''}"
    )
    if facts.number("result"):
        return _open(f"the calls gave {facts.number('result')}")
    if half_set or half_cleared:
        return _yes(said)
    if facts.number("lru_late"):
        return _yes("the page is pinned and unlocked, and page->lru is no list yet")
    if left := facts.number("refs_left"):
        return _yes(f"a page that was pinned and cleared has {left} references too many")
    if facts.number("reclaim_waited"):
        return _yes("clear_pinpage() from reclaim waits for a page lock that may be its own")
    if killed := facts.number("killed"):
        return _yes(f"clear_pinpage() in a task that is being killed gives {killed}")
    return _no("flag and registration change together, under the page lock")


def _drive_desert(prober: Prober) -> None:
    prober.do("desert 1")
    prober.do(PIN)
    prober.vmstat("before")
    prober.compact()
    prober.vmstat("after")
    prober.facts()
    prober.end()


def _deserted(facts: Facts) -> Answer:
    deserted, gone = facts.number("deserted"), facts.missing()
    extra = gone + deserted  # their own pages were freed
    said = f"{deserted} pages freed while isolated, {extra} free pages are missing beyond that"
    if again := facts.number("repinned"):
        return _yes(f"{said}; {again} were pinned again while they were isolated")
    if left := _left_behind(facts):
        return _yes(f"{said}; {left}")
    if deserted < MANY:
        return _open(said)
    return _yes(said) if extra > deserted // 2 else _no(said)


def _drive_enomem(prober: Prober) -> None:
    prober.do(f"refuse {ENOMEM} 64")
    prober.do("busy 64")
    prober.do(PIN)
    # What was refused must not be isolated again: as posted that would be defect 1.
    prober.compact(enough=lambda facts: facts["refused"] > facts["moved"])
    prober.facts()
    prober.end()


def _enomem(facts: Facts) -> Answer:
    refused, moved = facts.number("refused"), facts.number("moved")
    said = f"an owner without memory for one page in 64: {refused} refusals, {moved} pages moved"
    if not refused:
        return _open("no callback was called")
    busy, again = facts.number("busy"), facts.number("busy_again")
    if busy >= BUSY and busy > again * 2:
        return _yes(f"{said}; of {busy} that were busy for a moment {again} were asked again")
    return _yes(said) if moved < refused else _no(said) if moved > MANY else _open(said)


def _drive_locks(prober: Prober) -> None:
    prober.do(PIN)
    prober.do("lock 1")
    prober.compact_or_wait(LOCKED_SECONDS, "beside_moved", BESIDE)
    prober.facts("locked")
    prober.do("unlock")
    prober.compacted(WINDOW_SECONDS)
    prober.compact()
    prober.facts()
    prober.end()


def _locked(facts: Facts) -> Answer:
    isolated, locked = facts.number("isolated_others"), facts.number("isolated_locked")
    said = f"of {isolated} other pages isolated during a callback {locked} are locked"
    if not isolated:
        return _open("no other page was isolated when the first callback came")
    if locked:
        return _yes(said)
    beside, moved = (facts.number(f"beside_{what}", "locked") for what in ("locked", "moved"))
    said += (
        f"; of {beside} that were isolated beside pages which somebody else locked {moved} moved"
    )
    if moved >= BESIDE:
        return _no(said)
    where = [str(word) for word in facts.waits.get("where", ())]
    if not beside or "D" not in where:  # it sleeps, and no signal would wake it (proc(5))
        return _open(f"{said}, and nobody waits for those")
    return _yes(f"{said}, and who moves them waits ({' '.join(where)})")


def _drive_stale(prober: Prober) -> None:
    prober.do(PIN)
    prober.compact()
    if prober.offered("stale"):
        prober.facts()
        prober.end()


def _stale(facts: Facts) -> Answer:
    if facts.commands.get("stale"):
        return _open("no page moved away from a place that was then free")
    if facts.number("stale_waited"):
        return _yes("clear_pinpage() waits for the lock of a page that is not its owner's")
    what = "clear_pinpage() of a page that has moved and is free"
    return _returned("stale", what, -EINVAL)(facts)


def _drive_hold(prober: Prober) -> None:
    prober.do(PIN)
    prober.do("hold")
    prober.vmstat("before")
    prober.compact()
    prober.vmstat("after")
    prober.facts()
    prober.end()


def _held(facts: Facts) -> Answer:
    moved, pages = facts.number("moved_held"), facts.number("pages")
    scanned = facts.grown("compact_migrate_scanned")
    said = f"of {pages} pages that somebody else holds too {moved} were moved away"
    if scanned < PAGES:
        return _open(f"compaction looked at {scanned} pages only")
    return _yes(said) if moved else _no(said)


def _freed(facts: Facts) -> Answer:
    report = facts.report("Bad page state|bad page")
    if report:
        return _no(f"freeing a pinned page is {report.title!r}")
    if facts.number("result") != 1:
        return _open("the page was not flagged")
    return _yes("a page is freed with PG_pin set, and nobody says a word")


# ---------------------------------------------------------------------------------------------
# The source
# ---------------------------------------------------------------------------------------------


def _prototypes(tree: Tree) -> Answer:
    text = tree.read(HEADER)
    absent = [
        name
        for name in ("clear_pinpage", "unregister_pinpage")
        if not re.search(rf"^(?:extern )?int {name}\(", text, re.MULTILINE)
    ]
    if absent:
        return _yes(f"{HEADER} does not declare {' and '.join(absent)}")
    return _no(f"{HEADER} declares clear_pinpage and unregister_pinpage")


def _optional(tree: Tree) -> Answer:
    if "config PINPAGE" in tree.read("mm/Kconfig").splitlines():
        return _no("mm/Kconfig has PINPAGE: without it there is no PG_pin")
    return _yes("no configuration is without PG_pin: mm/Kconfig knows no such option")


def _never(facts: Facts) -> Answer:
    return _open("not probed")


CATALOGUE = (
    Probe(
        "1",
        "isolation takes page->lru of a pinned page for an empty list",
        "isolate_migratepages_range",
        (COMPACTION, r"VM_BUG_ON\(!list_empty\(&page->lru\)\)"),
        _drive_lru,
        _lru,
        fix="own-page-lru",
    ),
    Probe(
        "2",
        "the record of a page is allocated with the size of a pointer",
        "general_add_page",
        (SUBSYSTEM, r"kmalloc\(sizeof\(pinfo\)"),
        _drive_private,
        _private,
        profile="lockdep",
        append=("slub_debug=FZ",),
        fix="allocate-the-whole",
    ),
    Probe(
        "3",
        "the tree allocates with GFP_KERNEL under a spinlock",
        "general_add_page",
        (SUBSYSTEM, r"radix_tree_insert\("),
        _drive_pin,
        _atomic_insert,
        profile="lockdep",
        fix="preload-the-nodes",
    ),
    Probe(
        "4",
        "the owner's callback runs under a global spinlock",
        "migrate_pinpage",
        (SUBSYSTEM, r"err = psys->migrate\("),
        _drive_sleep,
        _atomic_callback,
        profile="lockdep",
        fix="call-the-owner-without",
    ),
    Probe(
        "5",
        "the new page leaks each time that a page does not move",
        "unmap_and_move_pinpage",
        (MIGRATE, r"rc = migrate_pinpage\("),
        _drive_refuse,
        _refused_leak,
        fix="give-back-the-new-page",
    ),
    Probe(
        "6",
        "a page without an owner counts as moved",
        "migrate_pinpage",
        (SUBSYSTEM, r"int err = 0;"),
        _drive_deny,
        _no_owner,
        fix="a-page-without-an-owner",
    ),
    Probe(
        "7",
        "PG_pin and the registration stay behind: a page moves once",
        "migrate_pinpage",
        (SUBSYSTEM, r"err = psys->migrate\("),
        _drive_move,
        _once,
        fix="move-PG_pin-and-the-registration",
    ),
    Probe(
        "8",
        "the owner's reference on the old page is nobody's to put",
        "unmap_and_move_pinpage",
        (MIGRATE, r"rc = migrate_pinpage\("),
        _drive_keep,
        _old_page,
        fix="the-old-page-s-reference",
    ),
    Probe(
        "9",
        "PG_pin is not looked at again under the page lock",
        "isolate_migratepages_range",
        (COMPACTION, r"if \(PagePin\(page\)\)"),
        _drive_window,
        _window,
        smp=2,
        extra="window",
        fix="look-at-PG_pin-again",
    ),
    Probe(
        "10",
        "memory offline does not know pinned pages",
        "scan_movable_pages",
        ("mm/memory_hotplug.c", r"if \(PageLRU\(page\)\)"),
        _drive_offline,
        _offline,
        fix="cover-memory-offline",
    ),
    Probe(
        "a",
        "the records of pages are never freed",
        "general_del_page",
        (SUBSYSTEM, r"radix_tree_delete\("),
        _drive_cycle,
        _records,
        fix="free-pinpage_info",
    ),
    Probe(
        "b",
        "a system is listed before it is ready, and stays there when it never is",
        "register_pinpage",
        (SUBSYSTEM, r"return psys->create_subsys\(psys\);"),
        _drive_fails,
        _listed,
        fix="register-a-system",
    ),
    Probe(
        "c",
        "a system may go while its pages are pinned",
        "unregister_pinpage",
        (SUBSYSTEM, r"return psys->destroy_subsys\(psys\);"),
        _drive_one("gone", "pin 100 1", after="gone"),
        _returned("gone", "unregister_pinpage() with 100 pages pinned", -EBUSY),
        fix="refuse-to-unregister",
    ),
    Probe(
        "d",
        "a page that is pinned already is a BUG, or has two owners",
        "set_pinpage",
        (SUBSYSTEM, r"VM_BUG_ON\(PagePin\(page\)\)"),
        _drive_one("nest", "pin 100 1"),
        _nested,
        fix="refuse-a-page-that-is-pinned",
    ),
    Probe(
        "e",
        "flag and registration change apart, outside the page lock",
        "clear_pinpage",
        (SUBSYSTEM, r"ret = psys->del_page\("),
        _drive_one("unlocked"),
        _halves,
        smp=2,
        fix="register-a-page-and-flag",
    ),
    Probe(
        "f",
        "compound pages are taken",
        "set_pinpage",
        (SUBSYSTEM, r"ret = psys->add_page\("),
        _drive_one("compound"),
        _returned("compound", "set_pinpage() of a compound page", -EINVAL),
        fix="refuse-pages-that-can-t",
    ),
    Probe(
        "g",
        "a page that was freed meanwhile leaks the new one",
        "unmap_and_move_pinpage",
        (MIGRATE, r"if \((page_count\(page\)|folio_ref_count\(src\)) == 1\)"),
        _drive_desert,
        _deserted,
        fix="give-back-the-new-page",
    ),
    Probe(
        "h",
        "one owner without memory ends the whole migration",
        "unmap_and_move_pinpage",
        (MIGRATE, r"rc = migrate_pinpage\("),
        _drive_enomem,
        _enomem,
        fix="an-owner-without-memory",
    ),
    Probe(
        "i",
        "two exported functions have no prototype",
        "clear_pinpage",
        (SUBSYSTEM, r"^int clear_pinpage\("),
        None,
        _never,
        read=_prototypes,
        fix="declare-clear_pinpage",
    ),
    Probe(
        "j",
        "PG_pin is there on every configuration",
        "",
        ("include/linux/page-flags.h", r"PG_pin,"),
        None,
        _never,
        read=_optional,
        fix="make-it-an-option",
    ),
    Probe(
        "k",
        "pins outside CMA and ZONE_MOVABLE are refused as unmovable",
        "has_unmovable_pages",
        ("mm/page_isolation.c", r"__PageMovable\(page\) \|\| PageLRU\(page\)"),
        _drive_contig,
        _contiguous,
        elsewhere=("mm/page_alloc.c", r"if \(!PageLRU\(page\)\)$"),
        fix="pinned-pages-are-not-unmovable",
    ),
    Probe(
        "l",
        "clean file pages are reclaimed, pins among them",
        "reclaim_clean_pages_from_list",
        ("mm/vmscan.c", r"reclaim_clean_pages_from_list\("),
        None,
        _never,
        why_not=(
            "nothing comes of it: as posted isolated pins are locked and passed over (m), and "
            "later reclaim finds that they have no mapping, and leaves them"
        ),
        fix="keep-pinned-pages-from-reclaim",
    ),
    Probe(
        "m",
        "isolated pages stay locked, and their owner waits",
        "isolate_migratepages_range",
        (COMPACTION, r"if \(!trylock_page\(page\)\)"),
        _drive_locks,
        _locked,
        fix="do-not-hold-the-page-lock",
    ),
    Probe(
        "n",
        "clear_pinpage() changes a page that is another's by now",
        "clear_pinpage",
        (SUBSYSTEM, r"ret = psys->del_page\("),
        _drive_stale,
        _stale,
        fix="clear_pinpage-can-meet",
    ),
    Probe(
        "o",
        "a page is moved away under others who use it",
        "unmap_and_move_pinpage",
        (MIGRATE, r"rc = migrate_pinpage\("),
        _drive_hold,
        _held,
        fix="do-not-move-a-page-that-somebody",
    ),
    Probe(
        "p",
        "a block full of pins is taken for unmovable by the allocator",
        "",
        ("mm/page_alloc.c", r"PageLRU\(page\) \|\| __PageMovable\(page\)\)$"),
        _drive_crowd,
        _crowded,
        fix="count-pinned-pages",
    ),
    Probe(
        "q",
        "soft offline of a pinned page fails without a callback",
        "",
        (
            "mm/memory-failure.c",
            r"MF_SOFT_OFFLINE\) && __PageMovable|!PageHuge\(page\) && !PageLRU\(page\)\) \{",
        ),
        _drive_soft,
        _soft,
        profile="lockdep",
        fix="cover-soft-offline",
    ),
    Probe(
        "r",
        "a page that is freed while pinned goes unnoticed",
        "",
        ("include/linux/page-flags.h", r"PG_pin,"),
        _drive_one("freed"),
        _freed,
        fix="report-pinned-pages",
    ),
)
