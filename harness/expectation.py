# SPDX-License-Identifier: GPL-2.0-only
"""What a scenario's arms have to show, and whether their figures show it. Pure.

- control: not one page moves. On its own (no subsystem in the kernel) that is all.
- treated: at least ``MOVED`` of the pinned pages migrate, and nearly all of those that a
  compaction went past; none is lost or corrupt, and more free blocks of order 9 can be had after
  than before, and than in the control arm.
"""

from __future__ import annotations

import errno as numbers
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import errno_name
from harness.model import ArmResult, Attempt

PINNED = 2000  # pages that an arm needs for a verdict
MOVED = 0.25  # share of its pinned pages that the treated arm has to migrate
_FEW = 0.1  # the same, where it is known which pages it went past
_SWEPT = 200  # pages that it has to have gone past for that
_NAMED = 3  # failed attempts that a sentence names
_ROOM = 160  # characters of what one of them said


@dataclass(frozen=True)
class Expectation:
    """What a scenario's arms have to show, beside what goes for all of them.

    pinned: pages that an arm needs. moved: share of its pages that the treated arm migrates at
    least; barely: that share where the kernel tried to migrate nothing for some of what was tried,
    and of the rest any more than the control arm's will do.
    swept: share of the pages that it migrates of those that a compaction of all memory went past.
    compacts: memory was compacted, which something must say. huge: the treated arm gets
    more huge pages by it. attempts: the arms try something; each says whether it had to succeed.
    idle: what the kernel tried to migrate nothing for, in either arm, is passed over: an old one
    compacts for some of what is tried and not for all of it.
    more: what can be had in part, the treated arm has more of than the control arm, by at least
    this share of that; None if nothing of the kind is tried. refusals: what an attempt that had to
    fail may have failed with, none: anything. census: memory is counted after each
    of several rounds, and nothing leaks.
    """

    pinned: int = PINNED
    moved: float = MOVED
    barely: float | None = None
    swept: float | None = None
    compacts: bool = True
    huge: bool = True
    attempts: bool = False
    more: float | None = None
    idle: bool = True
    refusals: frozenset[int] = frozenset()
    census: bool = False


# What the kernel says of memory that it could not free, or that a signal ended the try at.
HELD = frozenset({numbers.EBUSY, numbers.EAGAIN, numbers.EINTR, numbers.ENOMEM})
COMPACTION = Expectation(swept=0.9)


def unmet(result: ArmResult, refusals: frozenset[int]) -> str:
    """The attempts of an arm that went otherwise than they had to, "" if none did. refusals: see
    Expectation."""
    wrong = [each for each in result.attempts if each.expected not in (None, each.ok)]
    if not wrong:
        return _strange(result, refusals)
    first, *rest = wrong
    how = "which had to succeed" if first.expected else "which had to fail"
    said = f": {_short(first.said)}" if first.said.strip() else ""
    if not rest:
        return f"in the {result.name} arm {_went(first)}, {how}{said}"
    should = sum(each.expected is not None for each in result.attempts)
    named = ", ".join(map(_went, rest[: _NAMED - 1]))
    more = f", and {len(rest) - _NAMED + 1} more" if len(rest) >= _NAMED else ""
    return (
        f"in the {result.name} arm {_went(first)}, {how}{said}; "
        f"{len(wrong)} of {should} attempts went wrong, also {named}{more}"
    )


def _went(attempt: Attempt) -> str:
    errno = errno_name(attempt.errno)
    return f"{attempt.trigger} of {attempt.target} " + (
        "succeeded" if attempt.ok else f"failed ({errno})"
    )


def _strange(result: ArmResult, refusals: frozenset[int]) -> str:
    """An attempt that failed as it had to, but for another reason, "" if there is none."""
    failed = (each for each in result.attempts if each.expected is False and not each.ok)
    other = [each for each in failed if refusals and each.errno not in refusals]
    if not other:
        return ""
    first = other[0]
    errno = errno_name(first.errno)
    return (
        f"{len(other)} attempts in the {result.name} arm failed, as they had to, but not because "
        f"pages were held: {first.trigger} of {first.target} with {errno}{told(first.said)}"
    )


def told(said: str) -> str:
    """What the first of them said."""
    return f"; the first: {_short(said)}" if said.strip() else ""


def _short(said: str) -> str:
    """As far as a sentence has room."""
    text = " ".join(said.split())
    return f"{text[:_ROOM]}…" if len(text) > _ROOM else text


def missed(treated: ArmResult, control: ArmResult | None, expected: Expectation) -> str:
    """What the treated arm fell short of, "" if nothing."""
    moved, more = expected.moved, expected.more
    passed_over = _idle(treated, control) if control is not None and expected.idle else set[str]()
    if expected.barely is not None and passed_over:
        moved, more = expected.barely, 0.0
    if expected.swept is not None and treated.swept is not None and treated.swept >= _SWEPT:
        if treated.swept_moved < expected.swept * treated.swept:
            return (
                f"of {treated.swept} pinned pages that compaction went past {treated.swept_moved} "
                f"migrated, at least {expected.swept:.0%} had to{_whys(treated)}"
            )
        moved = min(moved, _FEW)
    if treated.migrated < moved * treated.pinned:
        return (
            f"{treated.migrated} of {treated.pinned} pinned pages migrated, "
            f"at least {moved:.0%} had to{_whys(treated)}"
        )
    fewer = ""
    if more is not None and control is not None:
        fewer = _fewer(treated, control, more, passed_over)
    if fewer or not expected.huge:
        return fewer
    before, after = treated.order9_before, treated.order9_after
    if before is None or after is None:
        return ""  # _incomplete has said so
    if after <= before:
        return (
            f"{treated.migrated} pages migrated, yet no more huge pages could be had: "
            f"{before} before, {after} after"
        )
    if control is not None and control.order9_after is not None and after <= control.order9_after:
        return (
            f"the treated arm had no more huge pages after it than the control arm: "
            f"{after} and {control.order9_after}"
        )
    return ""


def _whys(result: ArmResult) -> str:
    why = "; ".join(f"{pages} {reason}" for reason, pages in result.reasons.items())
    return f" ({why})" if why else ""


def _fewer(treated: ArmResult, control: ArmResult, more: float, idle: set[str]) -> str:
    """What the treated arm had too little of beside the control arm, "" if nothing; idle: the
    groups that are passed over.

    Where the kernel migrated nothing in either arm, it says nothing of an owner: v3.11 gives a pool
    of hugetlb pages what lies about and compacts nothing for it.
    """
    plain = _had(control)
    refused = {each.group for each in control.attempts if each.got is not None and not each.ok}
    if idle >= set(_had(treated)):
        return f"the kernel tried to migrate nothing for {', '.join(sorted(idle))}"
    mine = _had(treated)
    for group in dict.fromkeys((*mine, *plain)):
        if group in idle:
            continue
        got, other = mine.get(group), plain.get(group)
        if got is None or other is None or group in refused:
            who = treated if got is None else control
            return f"the {who.name} arm did not try for {group}, so nothing can be compared"
        if got <= other * (1 + more):
            return (
                f"of {group} the {treated.name} arm had {got} and the {control.name} arm {other}: "
                f"{f'at least {more:.0%} more' if more else 'more'} were due"
            )
    return ""


def _had(result: ArmResult) -> dict[str, int]:
    """Group → how much was had of what can be had in part."""
    had: Counter[str] = Counter()
    for each in result.attempts:
        if each.got is not None and each.expected is None:
            had[each.group] += each.got
    return dict(had)


def _idle(*results: ArmResult) -> set[str]:
    """The groups of attempts for which the kernel has tried to migrate no page in any of the arms,
    as its counters say; where they say nothing, nobody knows."""
    attempts = [each for result in results for each in result.attempts]
    busy = {each.group for each in attempts if (each.migrated, each.failed) != (0, 0)}
    return {each.group for each in attempts} - busy


def passed(results: Sequence[ArmResult], expected: Expectation) -> tuple[str, str]:
    """What the arms of a run that passes have shown, and what to do next, "" for the usual."""
    control = next((r for r in results if r.role == "control"), None)
    treated = [r for r in results if r.role == "treated"]
    if not treated:
        pinned = control.pinned if control else 0
        said = f"all {pinned} pinned pages stayed where they were, as they must without a subsystem"
        if control is not None and control.expectant:
            said += f"; {_tally(control)}"
        return said, "name a series that moves them: --series fixed"
    first = treated[0]
    said = f"{first.migrated} of {first.pinned} pinned pages migrated with their contents whole"
    if expected.huge:
        said += f" and free huge pages went from {first.order9_before} to {first.order9_after}"
    said += _besides(first)
    if control is not None:
        said += f", while in the control arm all {control.stayed} stayed"
        if expected.huge:
            said += f" ({control.order9_before} to {control.order9_after})"
        said += _besides(control)
        idle = _idle(first, control) & _had(first).keys()
        if idle and _had(control):
            said += f"; for {', '.join(sorted(idle))} the kernel migrated nothing in either arm"
    return said, ""


def _besides(result: ArmResult) -> str:
    """How an arm's attempts went, and what was had in part, where there is any of it."""
    said = f" and {_tally(result)}" if result.expectant else ""
    had = ", ".join(f"{got} {group}" for group, got in _had(result).items())
    return f"{said} and {had} were had" if had else said


def _tally(result: ArmResult) -> str:
    """How the attempts went of which something was expected."""
    counted = [each for each in result.attempts if each.expected is not None]
    done = sum(each.ok for each in counted)
    triggers = ", ".join(dict.fromkeys(each.trigger for each in counted))
    parts = [
        f"{number} {word}"
        for number, word in ((done, "succeeded"), (len(counted) - done, "failed"))
        if number
    ]
    return f"of its attempts ({triggers}) {' and '.join(parts)}, as they had to"
