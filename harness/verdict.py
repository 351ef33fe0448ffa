# SPDX-License-Identifier: GPL-2.0-only
"""Evidence → verdict. Pure: no guest, no file, no clock.

The order of the rules, first match wins: a report of the kernel's (CRASH); evidence that is
not there (INFRA); witnesses that contradict each other, or a figure that only one source has
(INCONSISTENT); an expectation that was not met (FAIL); PASS. Nothing passes without evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from errno import EINVAL

from harness import expectation, leakage, pages, unreferenced
from harness.errors import EvidenceError, GuestCommandError, PinpageError
from harness.expectation import COMPACTION, HELD, Expectation
from harness.model import (
    ArmPlan,
    ArmResult,
    Event,
    Finding,
    LedgerRow,
    Outcome,
    Splat,
    Verdict,
    Witness,
)
from harness.parse import blocked, starved
from harness.parse.splat import where
from harness.seen import Seen, gather
from harness.witness import CONTENTS, LEFT_OVER, disagreements, examine, unsupported

_RACE = "KCSAN"
_NAMED = 3  # leaks that a sentence names
_ARM_WORDS = frozenset({"mode"})  # the parameters in which arms differ

NEXT = {
    Outcome.PASS: "nothing to do; 'reproduce' in the run's folder does it again",
    Outcome.FAIL: "'pinpage explain' of the run's folder says why; its ledger.csv has each page",
    Outcome.CRASH: "the arm's console.log in the run's folder has the whole report",
    Outcome.HANG: "the stacks of who waits end console.log; --profile lockdep may name the lock",
    Outcome.LOST: "look at qemu.log in the arm's folder, and run it again",
    Outcome.INCONSISTENT: "compare the two sources in events.jsonl; trust no count of this run",
    Outcome.SKIP: "see what 'pinpage kernels' says that this kernel cannot do",
    Outcome.PATCH: "'pinpage apply' shows the hunk; rebase the series or name its kernel's tree",
    Outcome.BUILD: "'pinpage build' shows the first error; mend the series or the configuration",
    Outcome.INFRA: "run it again; 'pinpage doctor' checks this machine",
}


def judge(
    arms: Sequence[ArmPlan],
    events: Sequence[Event],
    rows: Sequence[LedgerRow],
    splats: Sequence[Splat],
    expected: Expectation = COMPACTION,
) -> Verdict:
    """The answer of a run that came to its end."""
    try:
        seen = [gather(arm, events) for arm in arms]
    except EvidenceError as error:
        return from_error(error, arms, (), splats)
    results = tuple(pages.figures(each, rows) for each in seen)
    witnesses = tuple(
        witness
        for each in seen
        for witness in (
            *examine(each, tuple(r for r in rows if r.arm == each.plan.name)),
            *leakage.examine(each),
        )
        if each.whole
    )
    splats = (*_provoked(splats, seen), *unreferenced.reports(seen))
    outcome, reason, next_step = (
        _crashed(splats)
        or _incomplete(seen, results, expected)
        or _leaking(seen, witnesses)
        or _spoilt(seen)
        or _left_over(witnesses, _failed(seen, results, expected))
        or _inconsistent(witnesses)
        or _failed(seen, results, expected)
        or (Outcome.PASS, *expectation.passed(results, expected))
    )
    if outcome is Outcome.PASS:
        doubt = _starved(splats) or _unheard(seen) or _tainted(seen, splats)
        outcome, reason, next_step = doubt or (outcome, reason, next_step)
    if outcome is Outcome.CRASH:  # what it kept from being done may say more than its report
        failed = (expectation.unmet(each, expected.refusals) for each in results)
        reason += "".join(f"; moreover {said}" for said in failed if said)
    if outcome is Outcome.PASS and expected.census:
        reason += f"; {leakage.quiet(seen[-1])}"
    if outcome is Outcome.PASS and seen[0].left_out:
        parts = (f"{part} ({why})" for part, why in seen[0].left_out.items())
        reason += f"; left out: {', '.join(parts)}"
    return Verdict(outcome, reason, next_step or NEXT[outcome], results, witnesses, splats)


_Answer = tuple[Outcome, str, str]
# By what a kernel is tainted when it complains (include/linux/panic.h; v3.11: kernel.h), by bit
_TAINTS = {5: "a bad page (B)", 7: "an oops (D)", 9: "a WARN (W)", 14: "a soft lockup (L)"}
_STARVED = "the host did not run it for long enough, or it gets no interrupts"
_AGAIN = "run it again, with less beside it; where it comes again it is the kernel's"


def _crashed(splats: Sequence[Splat]) -> _Answer | None:
    """Every report counts, a WARN too: a kernel that complains has not passed. Of stalls that are
    no sign of it see _starved."""
    splats = [each for each in _complaints(splats) if not starved.excuse(each.kind, each.report)]
    if not splats:
        return None
    # What a kernel dies of is often the doing of what it complained of before.
    fatal = next((splat for splat in splats if splat.fatal), None)
    first = splats[0] if fatal is None else next(s for s in splats if s.arm == fatal.arm)
    then = "" if fatal is None or fatal is first else f", and died of {_named(fatal)}"
    count = sum(1 + splat.again for splat in splats)
    more = f" (reports in all: {count:,})" if count > 1 else ""
    blame = _blame(first, *([] if fatal is None else [fatal]))
    next_step = "" if first.first_line else unreferenced.NEXT
    said = f"the kernel reported {_named(first)}{then}{more}{blame}"
    return Outcome.CRASH, said, next_step


def _complaints(splats: Sequence[Splat]) -> list[Splat]:
    return [each for each in splats if not each.provoked and each.kind != blocked.KIND]


def _blame(*splats: Splat) -> str:
    found = next((each.culprit for each in splats if each.culprit is not None), None)
    return "" if found is None else f"; blame: {found.said}"


def _named(splat: Splat) -> str:
    return f"{splat.title!r}{where(splat)}"


def _starved(splats: Sequence[Splat]) -> _Answer | None:
    """In the place of a PASS where processors stalled that had nothing to do, or nobody did any
    more: it is not known whose doing that is, and whether all was as it should be."""
    for each in splats:
        if excuse := starved.excuse(each.kind, each.report):
            return Outcome.INFRA, f"the kernel reported {each.title!r}{excuse}: {_STARVED}", _AGAIN
    return None


def _unheard(seen: Sequence[Seen]) -> _Answer | None:
    """In the place of a PASS where a kernel has not said all that it had to say."""
    for each in seen:
        if each.dropped:
            said = f"the {each.plan.name} arm's kernel dropped {each.dropped:,} of its messages"
            next_step = "run it again, with less beside it, or with less that prints"
            return Outcome.INFRA, f"{said}: what it complained of is not known", next_step
    return None


def _tainted(seen: Sequence[Seen], splats: Sequence[Splat]) -> _Answer | None:
    """In the place of a PASS where a kernel remembers that it complained, and nobody has heard it:
    the console lost it, or it is a report that is not known here."""
    for each in seen:
        left = [said for bit, said in _TAINTS.items() if each.tainted >> bit & 1]
        if left and not any(splat.arm == each.plan.name for splat in splats):
            said = (
                f"the {each.plan.name} arm's kernel is tainted by {' and '.join(left)}, and its "
                "console has no report of any"
            )
            next_step = "read console.log; if the report is there, pinpage does not know its form"
            return Outcome.INCONSISTENT, said, next_step
    return None


def _provoked(splats: Sequence[Splat], seen: Sequence[Seen]) -> tuple[Splat, ...]:
    """The splats, those marked that an attempt said beforehand it would provoke, or that are none
    of what is judged."""
    allowed = {(each.plan.name, *said) for each in seen for said in each.provoked}
    listed = {each.plan.name for each in seen if each.leaks_read}
    return tuple(
        replace(
            splat,
            provoked=(splat.arm, splat.during, splat.kind) in allowed
            or (splat.kind == unreferenced.KIND and splat.arm in listed)
            or _others(splat),
        )
        for splat in splats
    )


def _others(splat: Splat) -> bool:
    """Whether it is a data race that neither side comes to by an owner or by what the series
    patches, as far as the build's symbols tell: a kernel has many that it lives with, and of most
    nobody has said so (Documentation/dev-tools/kcsan.rst)."""
    told = any(frame.places for frame in splat.frames)
    ours = splat.culprit is not None or any(frame.module for frame in splat.frames)
    return splat.kind == _RACE and told and not ours


def _incomplete(
    seen: Sequence[Seen], results: Sequence[ArmResult], expected: Expectation
) -> _Answer | None:
    if not seen:
        return Outcome.INFRA, "no arm was run, so there is nothing to judge", ""
    for each, result in zip(seen, results, strict=True):
        name = each.plan.name
        gap = each.gap or _unsaid(each, expected)
        if gap:
            return Outcome.INFRA, f"the {name} arm has no evidence: {gap}", ""
        if result.pinned < expected.pinned:
            said = f"the {name} arm pinned {result.pinned} pages, a verdict needs {expected.pinned}"
            return Outcome.INFRA, said, "ask for more with --set pages=, and memory with --memory"
    for each in seen[1:]:
        for part, why in {**each.left_out, **seen[0].left_out}.items():
            if (part in each.left_out) is not (part in seen[0].left_out):
                one, other = (each, seen[0]) if part in each.left_out else (seen[0], each)
                said = f"{part} was left out of the {one.plan.name} arm alone ({why})"
                names = f"{one.plan.name} and {other.plan.name}"
                return Outcome.INFRA, f"the arms {names} cannot be compared: {said}", ""
    alike = [{k: v for k, v in each.params.items() if k not in _ARM_WORDS} for each in seen]
    for each, params in zip(seen[1:], alike[1:], strict=True):
        differ = sorted(k for k in params.keys() | alike[0] if params.get(k) != alike[0].get(k))
        if differ:
            names = f"{seen[0].plan.name} and {each.plan.name}"
            said = f"the arms {names} cannot be compared: they differ in {', '.join(differ)}"
            return Outcome.INFRA, said, ""
    return None


def _unsaid(seen: Seen, expected: Expectation) -> str:
    """What this scenario's verdict needs and is not there, "" if nothing."""
    if expected.compacts and not seen.compacted:
        return "nothing says that memory was compacted"
    if expected.attempts and not any(each.expected is not None for each in seen.tried):
        return "nothing was tried of which anything was expected"
    if expected.census and (gap := leakage.gap(seen)):
        return gap
    if expected.more is not None and not any(each.got is not None for each in seen.tried):
        return "nothing was tried that can be had in part"
    return ""


def _leaking(seen: Sequence[Seen], witnesses: tuple[Witness, ...]) -> _Answer | None:
    """A leak outranks what contradicts the owner's record: pages that nobody frees do so. Where
    the leak's own witnesses disagree nothing is said here."""
    if any(other.claim in leakage.CLAIMS for _, other in disagreements(witnesses)):
        return None
    for each in seen:
        found = leakage.leaks(each)
        if found:
            named = "; ".join(f"{leak.claim}: {leak}" for leak in found[:_NAMED])
            more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            return (
                Outcome.FAIL,
                f"the {each.plan.name} arm leaks, {named}{more}",
                "the calls are those that allocated; look at who had to free, on the path of a "
                "page that moved, or of one that did not",
            )
    return None


def _spoilt(seen: Sequence[Seen]) -> _Answer | None:
    """A process's pages have other contents: it is not in doubt how many were had."""
    next_step = "check who copies the pages, and who frees them"
    for each in seen:
        if each.faulted:
            said = f"a program of the {each.plan.name} arm's guest died: {each.faulted[0]}"
            more = f" ({len(each.faulted)} such lines)" if len(each.faulted) > 1 else ""
            return Outcome.FAIL, said + more, next_step
        for attempt in each.attempts:
            if attempt.checks.get(CONTENTS) is False:
                said = (
                    f"after {attempt.target} in the {each.plan.name} arm a process's pages have "
                    f"other contents than it gave them{expectation.told(attempt.said)}"
                )
                return Outcome.FAIL, said, next_step
    return None


def _left_over(witnesses: tuple[Witness, ...], failed: _Answer | None) -> _Answer | None:
    """What failed, with what the drive has left behind (references, locks, isolated pages): where
    nothing else is contradicted that is its cause or its doing, and no doubt about a count."""
    found = disagreements(witnesses)
    if failed is None or not found or any(each.claim != LEFT_OVER for _, each in found):
        return None
    outcome, reason, next_step = failed
    left = dict.fromkeys(f"{w.source} {w.count} ({w.detail}) in the {w.arm} arm" for _, w in found)
    return outcome, f"{reason}; and what it has left behind: {', '.join(left)}", next_step


def _inconsistent(witnesses: tuple[Witness, ...]) -> _Answer | None:
    found = disagreements(witnesses)
    if found:
        figure, other = found[0]
        detail = f" ({other.detail})" if other.detail else ""
        more = f"; disagreements in all: {len(found)}" if len(found) > 1 else ""
        said = (
            f"the witnesses of '{figure.claim}' in the {figure.arm} arm disagree: "
            f"{figure.source} says {figure.count}, {other.source} says {other.count}{detail}{more}"
        )
        return Outcome.INCONSISTENT, said, ""
    for figure in unsupported(witnesses):
        absent = [
            f"{w.source}: {w.detail}"
            for w in witnesses
            if (w.arm, w.claim) == (figure.arm, figure.claim) and not w.complete
        ]
        why = f" ({'; '.join(absent)})" if absent else ""
        said = (
            f"{figure.source} says that {figure.count} {figure.claim} in the {figure.arm} arm, "
            f"and no independent witness bears it out{why}"
        )
        return Outcome.INCONSISTENT, said, "build the kernel with tracing and kpageflags"
    return None


def _failed(
    seen: Sequence[Seen], results: Sequence[ArmResult], expected: Expectation
) -> _Answer | None:
    if wrong := _damaged(seen, results) or _misasked(seen) or _standing(seen, expected):
        return wrong
    for result in results:
        if result.role == "control" and result.migrated:
            said = (
                f"the control arm moved too ({result.migrated} of {result.pinned} pages), "
                "so the run has shown nothing"
            )
            return Outcome.FAIL, said, "find out who moves pages that nobody may move"
    control = next((r for r in results if r.role == "control"), None)
    unmet = [said for result in results if (said := expectation.unmet(result, expected.refusals))]
    for result in results:
        if result.role == "treated" and (said := expectation.missed(result, control, expected)):
            unmet.append(said)
    if expected.huge and not unmet:
        unmet += [said for each in seen if (said := _in_the_noise(each))]
    return (Outcome.FAIL, "; moreover ".join(unmet), "") if unmet else None


def _damaged(seen: Sequence[Seen], results: Sequence[ArmResult]) -> _Answer | None:
    """Pages that are lost or have other contents."""
    for each, result in zip(seen, results, strict=True):
        if result.lost or result.corrupt:
            said = (
                f"the {result.name} arm has {result.lost} lost and {result.corrupt} corrupt pages "
                f"of {result.pinned}"
            )
            return Outcome.FAIL, said, "ledger.csv names them; check who copies and who frees"
        if each.verify_error:
            said = f"the {result.name} arm's contents did not verify: {each.verify_error}"
            return Outcome.FAIL, said, ""
    return None


def _standing(seen: Sequence[Seen], expected: Expectation) -> _Answer | None:
    """A compaction of all memory that moves nobody's pages: that an owner's stay says nothing then.
    There are always some, of page cache and of processes."""
    if expected.swept is None:
        return None
    for each in seen:
        grown = each.delta("pgmigrate_success", "outer")
        if grown is None or each.calls_gap or grown > len(each.moves):
            continue
        said = f"in the {each.plan.name} arm no page but of the owner's migrated"
        if failed := each.delta("pgmigrate_fail", "outer"):
            said += f", and {failed} failed: compaction moves nothing on this kernel"
            return Outcome.FAIL, said, "see whether it does so without the series"
        return Outcome.INFRA, f"{said}, and none was tried", "give the guest something to move"
    return None


def _misasked(seen: Sequence[Seen]) -> _Answer | None:
    """What the owner answers with EINVAL: it is asked for a page that it does not hold, or one of
    the two is not registered with what it gave (guest-modules/pinner/migrate.c: pinner_move()). A
    sound subsystem does neither, whether that page moves later or not."""
    for each in seen:
        wrong = [call for call in each.calls if abs(call.errno) == EINVAL]
        if wrong:
            first = wrong[0]
            said = (
                f"the owner was asked {len(wrong)} times in the {each.plan.name} arm for a page "
                f"that is not its own, or not registered with what it gave (EINVAL); the first: "
                f"handle {first.handle}, page {first.pfn_old:#x} to {first.pfn_new:#x}"
            )
            return Outcome.FAIL, said, "look at what is registered for a page before it moves"
    return None


def _in_the_noise(seen: Seen) -> str:
    """What there is to say of more huge pages in a treated arm of which the free lists show none.

    The two readings may differ by some (witness.SLACK), so this is no contradiction, and no proof.
    """
    before, after = seen.huge_blocks("before"), seen.huge_blocks("after")
    if seen.plan.role != "treated" or before is None or after is None or after > before:
        return ""
    return (
        f"the {seen.plan.name} arm had a few more huge pages by the owner's tries, yet not more "
        f"free blocks of that order ({before} before, {after} after): lay out more pins to tell"
    )


# ---------------------------------------------------------------------------------------------
# Known defects
# ---------------------------------------------------------------------------------------------


def from_findings(findings: Sequence[Finding]) -> Verdict:
    """FAIL where a defect shows, PASS where none does and every probe could tell."""
    probed = [each for each in findings if each.probed]
    shown = [each for each in probed if each.shown]
    unknown = [each for each in probed if each.shown is None]
    rest = len(findings) - len(probed)
    unprobed = f" ({rest} of the catalogue cannot be probed)" if rest else ""
    if shown:
        outcome = Outcome.FAIL
        more = f", {len(unknown)} could not be told" if unknown else ""
        one = f" ({shown[0].evidence})" if len(shown) == 1 else ""  # of several the table has it
        names = ", ".join(each.defect for each in shown)
        said = f"{len(shown)} of {len(probed)} known defects show: {names}{one}{more}"
        next_step = "the table names patch, function and line; 'fixed' has a patch for each"
        other = [each.defect for each in shown if not each.place]
        if other:
            said += f"; this tree does not have the line that the RFC's has for {', '.join(other)}"
            next_step = (
                "where the line is not there the cause may be another, of the patches on top: the "
                "probe without them ('--series fixed --set only=…') tells"
            )
    elif unknown or not probed:
        outcome = Outcome.INFRA
        said, next_step = "no defect was probed", ""
        if unknown:
            first = unknown[0]
            said = (
                f"{len(unknown)} of {len(probed)} probes could not tell; defect {first.defect}: "
                f"{first.evidence}"
            )
    else:
        outcome, next_step = Outcome.PASS, ""
        said = f"none of {len(probed)} known defects shows{unprobed}"
    return Verdict(outcome, _sentence(said), next_step or NEXT[outcome], findings=tuple(findings))


# ---------------------------------------------------------------------------------------------
# A run that an error ended
# ---------------------------------------------------------------------------------------------


def from_error(
    error: PinpageError,
    arms: Sequence[ArmPlan],
    events: Sequence[Event],
    splats: Sequence[Splat],
) -> Verdict:
    """The verdict of a run that ended in an error, with what its arms had come to.

    A report of the kernel's outranks what followed from it (a hang, a lost machine, a command
    that failed): the crash is the cause. What had to succeed and failed before is no SKIP: the
    kernel could do it, and did not.
    """
    outcome = error.outcome or Outcome.INFRA
    reason, next_step = error.message, error.hint
    consequences = frozenset(Outcome) - {Outcome.PATCH, Outcome.BUILD}
    seen: list[Seen] = []
    rows: tuple[LedgerRow, ...] = ()
    with suppress(EvidenceError):
        rows = pages.ledger(events)
        seen = [gather(arm, events) for arm in arms if arm.role != "probe"]
    splats = (*_provoked(splats, seen), *unreferenced.reports(seen))
    crashed = _crashed(splats)
    if crashed and outcome in consequences:
        # A task that met a BUG was ended by the kernel: that its command failed is no news.
        ended = isinstance(error, GuestCommandError) and any(each.fatal for each in splats)
        if outcome is not Outcome.CRASH and not ended:
            crashed = (crashed[0], f"{crashed[1]}, after which: {error.message}", "")
        outcome, reason, next_step = crashed
    elif outcome is Outcome.HANG:
        reason += _in_the_way(splats)
    elif outcome is Outcome.INFRA and (spoilt := _spoilt(seen)):  # it may be what we talk to
        outcome, reason, next_step = spoilt[0], f"{spoilt[1]}; after which: {reason}", spoilt[2]
    results = tuple(pages.figures(each, rows) for each in seen)
    damage = _damaged(seen, results) if outcome is Outcome.SKIP else None
    if damage is not None:
        outcome, reason, next_step = damage[0], f"{damage[1]}; after which: {reason}", damage[2]
    if outcome is Outcome.SKIP:
        unmet = [said for each in results if (said := expectation.unmet(each, HELD))]
        if unmet:
            outcome, next_step = Outcome.FAIL, NEXT[Outcome.FAIL]
            reason = f"{'; moreover '.join(unmet)}; after which: {error.message}"
    verdict = Verdict(outcome, _sentence(reason), next_step or NEXT[outcome], splats=splats)
    return replace(verdict, arms=results)


def accused(splats: Sequence[Splat]) -> str:
    """Whom an arm's reports accuse, behind a sentence that says what came of it."""
    return _blame(*_complaints(splats)) or _in_the_way(splats)


def _in_the_way(splats: Sequence[Splat]) -> str:
    """The first line of a patch's among those that somebody waits in, or is at. That is no blame:
    who waits may be the victim; and whoever waits for memory stands in a file that is patched."""
    named = (each.culprit for each in splats if each.kind == blocked.KIND)
    found = next((each for each in named if each is not None and each.brought), None)
    return "" if found is None else f"; {blocked.ON_THE_STACK}: {found.said}"


def _sentence(text: str) -> str:
    return " ".join(text.split())
