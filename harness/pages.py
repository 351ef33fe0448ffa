# SPDX-License-Identifier: GPL-2.0-only
"""Evidence → what became of each pinned page, and of all that an arm has. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from harness.errors import errno_name
from harness.model import ArmPlan, ArmResult, Event, Holders, LedgerRow, PageState
from harness.parse import pageflags
from harness.parse.ledger import Pin
from harness.parse.pageblocks import PAGEBLOCK
from harness.seen import Seen, calls, gather

HELD_BACK = (PageState.STAYED, PageState.FAILED)
_MET = 2  # pageblocks around the place where the two ends of a compaction meet
_HOLDERS = 8  # ways of being held that a record keeps, the commonest


def ledger(events: Sequence[Event]) -> tuple[LedgerRow, ...]:
    """A row for each pinned page of every arm whose ledger was read before and after."""
    rows: list[LedgerRow] = []
    for name in dict.fromkeys(event.arm for event in events if event.arm):
        rows += _rows(gather(ArmPlan(name, "", ""), events))
    return tuple(rows)


def _rows(seen: Seen) -> list[LedgerRow]:
    if not seen.whole:
        return []
    after = {pin.handle: pin for pin in seen.after}
    asked = {call.handle for call in seen.window}
    quiet = "not registered, nobody to ask"
    if seen.params.get("mode") != "plain":
        quiet = "owner was never asked"
    rows = []
    for pin in seen.before:
        now = after.get(pin.handle)
        state, errno, reason = _state(
            pin, now, "asked, not moved" if pin.handle in asked else quiet
        )
        row = LedgerRow(
            arm=seen.plan.name,
            handle=pin.handle,
            pfn_before=pin.pfn_now,
            pfn_after=now.pfn_now if now else -1,
            moves=now.moves - pin.moves if now else 0,
            state=state,
            errno=errno,
            reason=reason,
            holder="pinner",  # it is the pinner's ledger
        )
        rows.append(_held(seen, row) if state in HELD_BACK else row)
    return rows


def _held(seen: Seen, row: LedgerRow) -> LedgerRow:
    """A page that stayed, with what the kernel tells of who holds it."""
    stack = seen.owners.get(row.pfn_after, ())
    flags = seen.flags.get("after", {}).get(row.pfn_after)
    pfn, refcount = seen.refs.get(row.handle, (-1, 0))
    return replace(
        row,
        holder=next((caller.module for caller in stack if caller.module), row.holder),
        flags="" if flags is None else "|".join(pageflags.names(flags)) or "none",
        refcount=refcount if pfn == row.pfn_after else None,
        mapcount=seen.mapcounts.get(row.pfn_after),
        allocated=calls(stack),
    )


def _state(before: Pin, now: Pin | None, quiet: str) -> tuple[PageState, int, str]:
    """What became of a page, the last refusal of its owner, and why; quiet: why it stayed if it
    has not refused."""
    if now is None:
        return PageState.LOST, 0, "no longer in the owner's ledger"
    errno = abs(now.errno)
    if now.state == "lost":
        return PageState.LOST, errno, "its owner lost it"
    if now.state == "corrupt":
        return PageState.CORRUPT, errno, "contents changed"
    if now.moves > before.moves or now.pfn_now != before.pfn_now:
        return PageState.MIGRATED, errno, ""
    if errno:
        return PageState.FAILED, errno, f"owner refused: {errno_name(errno)}"
    return PageState.STAYED, 0, quiet


def _swept(seen: Seen, rows: Sequence[LedgerRow]) -> list[LedgerRow] | None:
    """The pages that a compaction of a whole zone has gone past, None where that cannot be told.

    It takes pages from the zone's begin on and puts them to its end, until the two meet
    (mm/compaction.c: compact_zone()): what was pinned below the lowest frame that one came to was
    on its way, but for what lies around the place where they met. Of several zones it is the
    lowest's.
    """
    if seen.calls_gap or not seen.moves:
        return None
    last = min(move.pfn_new for move in seen.moves) - _MET * PAGEBLOCK
    return [row for row in rows if row.pfn_before < last]


def figures(seen: Seen, rows: Sequence[LedgerRow]) -> ArmResult:
    """An arm, counted; rows: of the ledger, of all arms."""
    own = [row for row in rows if row.arm == seen.plan.name]
    states = Counter(row.state for row in own)
    stayed = [row for row in own if row.state in HELD_BACK]
    reasons = Counter(row.reason for row in stayed)
    swept = _swept(seen, own)
    alike = Counter((r.holder, r.allocated, r.flags, r.refcount, r.mapcount) for r in stayed)
    return ArmResult(
        name=seen.plan.name,
        role=seen.plan.role,
        mode=seen.plan.mode,
        pinned=len(seen.before),
        migrated=states[PageState.MIGRATED],
        stayed=states[PageState.STAYED],
        failed=states[PageState.FAILED],
        lost=states[PageState.LOST],
        corrupt=states[PageState.CORRUPT],
        swept=None if swept is None else len(swept),
        swept_moved=sum(row.state is PageState.MIGRATED for row in swept or ()),
        order9_before=seen.huge.get("before"),
        order9_after=seen.huge.get("after"),
        seconds=seen.seconds,
        reasons=dict(reasons.most_common()),
        free_before=seen.blocks("before"),
        free_after=seen.blocks("after"),
        fragmentation_before=seen.order9("extfrag_index", "before"),
        fragmentation_after=seen.order9("extfrag_index", "after"),
        unusable_before=seen.order9("unusable_index", "before"),
        unusable_after=seen.order9("unusable_index", "after"),
        attempts=seen.tried,
        held_by=tuple(Holders(pages, *how) for how, pages in alike.most_common(_HOLDERS)),
    )
