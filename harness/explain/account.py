# SPDX-License-Identifier: GPL-2.0-only
"""How many pages and attempts of a run each reason accounts for, with an example of each. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.errors import EvidenceError, errno_name
from harness.explain import classify, evidence
from harness.model import ArmResult, Attempt, Event, LedgerRow, RunRecord
from harness.pages import HELD_BACK
from harness.reason import UNKNOWN

_STANDSTILL = "compaction is at a standstill"  # scenario/trigger/compact.py says so
_LINES = 3  # reasons that a report shows of an arm


@dataclass(frozen=True)
class Account:
    """What one reason accounts for in one arm ("": in the run). example: one of its pages, in
    words, tried: one of its attempts; "" where it has none. due: the number of the first of them
    that had to succeed, 0 where none had."""

    arm: str
    code: str
    pages: int = 0
    attempts: int = 0
    example: str = ""
    tried: str = ""
    due: int = 0

    @property
    def what(self) -> str:
        parts = [
            f"{number:,} {word if number == 1 else word + 's'}"
            for number, word in ((self.pages, "page"), (self.attempts, "attempt"))
            if number
        ]
        return " and ".join(parts) or "the run"


def accounts(
    arms: Sequence[ArmResult],
    rows: Sequence[LedgerRow],
    facts: Mapping[str, classify.Facts],
    reason: str = "",
) -> tuple[Account, ...]:
    """The reasons of each arm in turn: of what had to succeed first, then those of the most.

    reason: the verdict's sentence.
    """
    found: list[Account] = []
    for arm in arms:
        known = facts.get(arm.name, classify.Facts())
        own: dict[str, Account] = {}
        for row in rows:
            if row.arm == arm.name and row.state in HELD_BACK:
                code = classify.page(row, known)
                first = own.get(code) or Account(arm.name, code, example=page_words(row))
                own[code] = _more(first, pages=1)
        for at, tried in enumerate(arm.attempts):
            if tried.ok and not classify.idle(tried):
                continue
            code = "deferred-or-skipped"
            if not tried.ok:
                code = classify.attempt(tried, arm.attempts[:at], known)
            first = own.get(code) or Account(arm.name, code)
            if not first.tried:
                first = replace(first, tried=attempt_words(tried))
            if tried.expected and not tried.ok and not first.due:
                first = replace(first, due=tried.number)
            own[code] = _more(first, attempts=1)
        found += sorted(own.values(), key=_rank)
    if _STANDSTILL in reason:
        found.append(Account("", "compaction-standstill", example=reason))
    return tuple(found)


def _rank(each: Account) -> tuple[int, int, int, str]:
    """What had to succeed and did not goes first, in the order in which it was tried: what comes
    later may be its doing."""
    return each.due or sys.maxsize, -each.pages, -each.attempts, each.code


def _more(was: Account, *, pages: int = 0, attempts: int = 0) -> Account:
    return replace(was, pages=was.pages + pages, attempts=was.attempts + attempts)


def page_words(row: LedgerRow) -> str:
    """A page, and what held it."""
    words = [f"page {row.handle}, pfn {row.pfn_after:#x}, held by {row.holder or 'nobody known'}"]
    if row.allocated:
        words.append(f"allocated by {row.allocated}")
    if row.flags:
        words.append(flag_words(row.flags))
    if row.refcount is not None:
        words.append(f"refcount {row.refcount}")
    if row.mapcount is not None:
        words.append(f"mapcount {row.mapcount}")
    return f"{', '.join(words)}; {row.reason}"


def flag_words(flags: str) -> str:
    """PG_pin is none of those that the kernel shows there."""
    return "no flag that /proc/kpageflags shows" if flags == "none" else f"flags {flags}"


def attempt_words(tried: Attempt) -> str:
    """An attempt, what came of it, and the first page that was in its way."""
    how = errno_name(tried.errno) if tried.errno else ""
    if tried.got is not None:
        how = f"{tried.got} of {tried.asked}{f', {how}' if how else ''}"
    words = f"attempt {tried.number}, {tried.trigger} of {tried.target}: {how}"
    if tried.said:
        words += f" ({tried.said})"
    return words + (f"; in its way: {tried.blockers[0]}" if tried.blockers else "")


def of_record(record: RunRecord) -> tuple[Account, ...]:
    """Those of a run that is at hand; none where its events cannot be read, as its verdict says."""
    verdict = record.verdict
    try:
        facts = {arm.name: _facts(arm.name, record) for arm in verdict.arms}
    except EvidenceError:
        return ()
    return accounts(verdict.arms, record.ledger, facts, verdict.reason)


def _facts(arm: str, record: RunRecord) -> classify.Facts:
    events: Sequence[Event] = record.events
    return evidence.facts(arm, events, record.console.get(arm, ""), record.verdict.splats)


def shown(found: Sequence[Account], arms: Sequence[ArmResult]) -> tuple[Account, ...]:
    """The few that a report of a run shows: of the treated arm if there is one, as the control
    arm's pages have to stay; and nothing that is not known."""
    treated = {arm.name for arm in arms if arm.role == "treated"}
    own = [each for each in found if each.code != UNKNOWN]
    if treated:
        own = [each for each in own if each.arm in treated or not each.arm]
    return tuple(own[:_LINES])
