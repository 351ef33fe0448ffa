# SPDX-License-Identifier: GPL-2.0-only
"""Evidence → the code of a reason. Pure, and never a guess: ``unknown`` where nothing tells.

A page is told by its row of the ledger, an attempt by its errno and by what the kernel said while
it went on. Each rule names what it rests on.
"""

from __future__ import annotations

import errno as numbers
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.model import Attempt, LedgerRow
from harness.reason import UNKNOWN

PINS = 1024  # references that a pin of pin_user_pages() counts as (GUP_PIN_COUNTING_BIAS)
_REFUSED = "owner refused: "
_QUIET = "not registered, nobody to ask"
_UNASKED = "owner was never asked"
# Page flags by which a page's state is told, the first that it has. Names are those of
# /proc/kpageflags; PG_isolated of a pinned page is PG_reclaim (parse/pageflags.py).
_FLAGS = (
    ("RECLAIM", "isolated-elsewhere"),
    ("LOCKED", "page-lock-held"),
    ("WRITEBACK", "writeback"),
    *((name, "compound") for name in ("COMPOUND_HEAD", "COMPOUND_TAIL", "HUGE", "THP")),
    ("UNEVICTABLE", "unevictable"),
)
_STATUS = re.compile(r"^\d+ (?:pages )?(E[A-Z0-9]+)$")  # of what move_pages(2) says of them
BUSY_RANGE = re.compile(
    r"\balloc failed, req-size: \d+ pages, ret: -16\b|\btest_pages_isolated\([0-9a-f, ]+\) failed"
)
FULL_AREA = re.compile(r"\balloc failed, req-size: \d+ pages, ret: -12\b")
_PAGES = re.compile(r"^(\d{1,9}) pages\b")  # that a buffer was to have
_DUMPED = re.compile(r"^([a-z][a-z ]*), pfn ")
_COUNTS = re.compile(r"\brefcount (-?\d+), mapcount (-?\d+)(?:, ([\w|=]+))?(?:, |$)")


@dataclass(frozen=True)
class Facts:
    """What an arm's evidence says beside its ledger and its attempts.

    released: page frame → its flags, by name, that it had each time that it was looked at after the
    drive: of a frame that is not in it, no flag is known to have stayed. log: attempt → lines of
    the kernel log that it made. starved: attempts during which an allocation failed loudly. zones:
    memory block → ``kernel`` or ``movable``, as it was brought online. unpinned: the longest run of
    frames of the contiguous area without a page that stayed pinned all the time, None if not known.
    """

    released: Mapping[int, frozenset[str]] = field(default_factory=dict)
    log: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    starved: frozenset[int] = frozenset()
    zones: Mapping[str, str] = field(default_factory=dict)
    unpinned: int | None = None


def page(row: LedgerRow, facts: Facts) -> str:
    """Why a page stayed or failed. Its owner's own refusal comes before what its state says."""
    if row.reason.startswith(_REFUSED) and row.errno:
        return "owner-refused"
    if row.reason == _QUIET:
        return "not-on-a-list"
    if row.reason != _UNASKED:
        return UNKNOWN
    flags = facts.released.get(row.pfn_after, frozenset()) & frozenset(row.flags.split("|"))
    held = next((code for name, code in _FLAGS if name in flags), "")
    if held:
        return held
    if row.refcount is not None:
        # The owner has one reference, and each mapping one.
        more = row.refcount - 1 - (row.mapcount or 0)
        if more >= PINS and row.mapcount:  # none but a process's page is pinned like that
            return "gup-pin"
        if more > 0:
            return "busy-count"
    return "owner-never-asked"


def attempt(tried: Attempt, before: tuple[Attempt, ...], facts: Facts) -> str:
    """Why an attempt failed. before: those of the same arm that were made before it."""
    if tried.trigger == "offline":
        return _offline(tried, facts)
    if tried.trigger in ("unplug", "node"):
        failed = any(each.trigger == "offline" and not each.ok for each in before)
        return "block-still-online" if failed and tried.errno else UNKNOWN
    if tried.trigger == "contig":
        return _contig(tried, facts)
    if tried.trigger in ("move_pages", "migrate_pages"):
        return _moved(tried)
    return UNKNOWN


def idle(tried: Attempt) -> bool:
    """Whether less was had than asked for, and the kernel tried to migrate nothing for it."""
    if tried.got is None or tried.asked is None or tried.got >= tried.asked:
        return False
    return (tried.migrated, tried.failed) == (0, 0)


def _offline(tried: Attempt, facts: Facts) -> str:
    errno = tried.errno
    if errno in (numbers.EPERM, numbers.EINVAL):  # before anything was tried
        return "offline-forbidden"
    if errno == numbers.EBUSY:
        if any(_why(page) == "unmovable page" for page in tried.blockers):
            return "unmovable-block"
        zone = facts.zones.get(tried.target, "")
        return {"kernel": "memory-is-kernel-zone", "movable": "still-in-use"}.get(zone, UNKNOWN)
    if errno == numbers.EINTR:  # it went on trying, and what it tried may tell why
        if tried.number in facts.starved:
            return "no-destination"
        told = {_dumped(page) for page in tried.blockers} - {UNKNOWN}
        return told.pop() if len(told) == 1 else "offline-interrupted"
    return UNKNOWN


def _why(dumped: str) -> str:
    found = _DUMPED.match(dumped)
    return found[1] if found else ""


def _dumped(dumped: str) -> str:
    """What a page says that did not move, of those that the kernel dumped (see seen.py)."""
    counts = _COUNTS.search(dumped)
    if counts is None:
        return UNKNOWN
    flags = frozenset((counts[3] or "").split("|"))
    refcount, mapcount = int(counts[1]), int(counts[2])
    if _why(dumped) == "isolation failed":
        if flags & {"lru", "pin"}:
            return "page-lock-held" if "locked" in flags else UNKNOWN
        return "not-on-a-list"
    if _why(dumped) == "migration failure":
        # An owner's page has its own reference and the isolator's; others' caches have some too.
        if "pin" in flags:
            return "busy-count" if refcount - mapcount > 2 else UNKNOWN
        if refcount - mapcount >= PINS:
            return "gup-pin"
        if "writeback" in flags:
            return "writeback"
        return "busy-count" if refcount - mapcount > _accounted(flags) else UNKNOWN
    return UNKNOWN


def _accounted(flags: frozenset[str]) -> float:
    """References of an isolated page that is no owner's, beside those of its mappings, that
    migration accounts for: the isolator's, a cache's, a file system's own.

    Source: mm/migrate.c, expected_page_refs(). PG_owner_2 is PG_anon_exclusive of a page that is
    swapbacked (include/linux/page-flags.h, v6.12). A large folio has more.
    """
    if "head" in flags:
        return math.inf
    swap_cache = flags & {"owner_priv_1", "swapcache"}
    anonymous = {"swapbacked", "owner_2"} <= flags and not swap_cache
    return 1 + (not anonymous) + ("private" in flags)


def _contig(tried: Attempt, facts: Facts) -> str:
    lines = facts.log.get(tried.number, ())
    if any(BUSY_RANGE.search(line) for line in lines):
        return "alloc-contig-busy"
    if any(_why(page) == "migration failure" for page in tried.blockers):
        return "alloc-contig-busy"
    pages = _PAGES.match(tried.target)
    if pages and facts.unpinned is not None and int(pages[1]) > facts.unpinned:
        return "alloc-contig-busy"  # wherever it was tried, a pin was in it
    if tried.errno == numbers.ENOMEM or any(FULL_AREA.search(line) for line in lines):
        return "cma-none"
    return UNKNOWN


_MOVE_CODES = {"EACCES": "shared-mapping", "EBUSY": "not-on-a-list", "ENOMEM": "no-destination"}


def _moved(tried: Attempt) -> str:
    """Of pages with several answers nothing is said, and of EBUSY nothing where pages were taken
    off their lists and did not move: what kept them there is not told."""
    answers = {found[1] for part in tried.said.split(", ") if (found := _STATUS.match(part))}
    if len(answers) != 1 or (tried.failed and answers == {"EBUSY"}):
        return UNKNOWN
    return _MOVE_CODES.get(answers.pop(), UNKNOWN)
