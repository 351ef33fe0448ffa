# SPDX-License-Identifier: GPL-2.0-only
"""Reasons as a person reads them: in a line, whole with their places in a tree, and of a run."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.explain import Account, Found, Places, known
from harness.explain.evidence import Counts
from harness.model import LedgerRow, Outcome, PageState
from harness.reason import Check, Reason, Sign
from harness.report import frames
from harness.report.text import in_line
from harness.report.told import Told

_WIDTH = 100
_REPORTS = 3  # of the kernel's complaints
_GIVEN_UP = "the evidence does not tell why"
_MORE_UNKNOWN = (
    "No reason is guessed. What the attempt said and what was dumped meanwhile stand in run.json "
    "(attempts: said, blockers), what the kernel printed between its marks in console.log."
)
Blame = Callable[[str, str], str]  # path, line → the patch that brought it, "" if none did


@dataclass(frozen=True)
class Tree:
    """A tree in which places are looked up. name: how it is called, for who reads. before: in the
    tree without its patches, None where that is not at hand; changed: a file's patches."""

    name: str
    places: Places
    blame: Blame
    before: Places | None = None
    changed: Callable[[str], Sequence[str]] = lambda path: ()


def one_line(each: Account) -> str:
    """What a reason accounts for, what it is, and where there is more about it."""
    found = known(each.code)
    if found is None:
        return f"{each.what}: {each.code}, {_GIVEN_UP}"
    return f"{each.what}: {found.line}; pinpage explain {each.code}"


def listed(reasons: Sequence[Reason]) -> Iterator[str]:
    """A line for each."""
    width = max(len(each.code) for each in reasons)
    for each in reasons:
        errnos = f" ({', '.join(each.errnos)})" if each.errnos else ""
        yield f"{each.code:<{width}}  {each.line}{errnos}"


def whole(reason: Reason, tree: Tree | None) -> Iterator[str]:
    """Everything of one. tree: None where none is to be had."""
    yield f"{reason.code}: {reason.line}"
    yield ""
    yield from _wrapped(reason.means, "  ")
    yield ""
    if tree is not None:
        yield f"  in {tree.name}"
        for check in reason.checks:
            yield from _check(check, tree)
        yield ""
    yield "  how it shows"
    width = max(len(sign.where) for sign in reason.signs) + 2
    for sign in reason.signs:
        lacks = " (not with this kernel)" if tree is not None and not has(sign, tree) else ""
        yield from _wrapped(sign.text + lacks, " " * (width + 4), f"    {sign.where:<{width}}")
    yield ""
    yield "  what to do"
    yield from _wrapped(reason.cure, "    ")


def _check(check: Check, tree: Tree) -> Iterator[str]:
    errno = f"  -{check.errno}" if check.errno else ""
    yield from _wrapped(f"{check.what}{errno}", "      ", "    ")
    found = tree.places.find(check.at)
    if found is None:
        was = None if tree.before is None else tree.before.find(check.at)
        if was is not None and (patches := tree.changed(was.file)):
            yield in_line(f"        {was.file}:{was.line} {was.function}(): {was.text}")
            said = "it stands there without the series, and in no such place with it: "
            yield from _wrapped(in_line(said + ", ".join(patches)), "          ")
            return
        spot = check.at[0]
        where = f"{spot.function}() of {spot.file}" if spot.function else spot.file
        yield f"        this kernel has no such place (looked in {where}, among others)"
        return
    function = f" {found.function}()" if found.function else ""
    more = "".join(f", {line}" for line in found.more)
    yield in_line(f"        {found.file}:{found.line}{more}{function}: {found.text}")
    patch = tree.blame(found.file, found.whole)
    if patch:
        yield in_line(f"          by {patch}")


def has(sign: Sign, tree: Tree) -> bool:
    """Whether a kernel can show a sign."""
    return sign.needs is None or tree.places.find((sign.needs,)) is not None


def of_run(told: Told, tree: Tree | None) -> Iterator[str]:
    """What each reason accounts for in a run, then each in whole, once."""
    content = told.content
    words = (content["scenario"], f"Linux {content['kernel']}", content["arch"])
    yield in_line(" · ".join([*words, f"series {content['series']}", content["verdict"]]))
    if content["verdict"] != Outcome.PASS or not told.accounts:
        yield from _wrapped(in_line(f"{content['verdict']}: {content['reason']}"), "  ")
    complaints = [each for each in content["splats"] if not each["provoked"]]
    other: dict[tuple[str, str], Mapping[str, Any]] = {}
    for each in complaints:
        other.setdefault((each["title"], (each["blame"] or {"said": ""})["said"]), each)
    for each in [*other.values()][:_REPORTS]:
        yield ""
        for line in frames.of_record(each):
            yield f"  {line}"
    if len(other) > _REPORTS:
        yield f"  and {len(other) - _REPORTS} others, in console.log"
    if not told.accounts:
        yield ""
        yield in_line("  no page stayed and no attempt failed, as far as its evidence goes")
    for arm in dict.fromkeys(each.arm for each in told.accounts):
        yield ""
        yield f"  {arm} arm" if arm else "  the run"
        for each in told.accounts:
            if each.arm == arm:
                yield from _account(each)
        own = [row for row in told.rows if row.arm == arm]
        yield from _moved(own)
        yield from _counts(told.counts.get(arm, Counts()), own)
    codes = dict.fromkeys(each.code for each in told.accounts)
    for found in filter(None, map(known, codes)):
        yield ""
        yield from whole(found, tree)
    if any(known(code) is None for code in codes):
        yield ""
        yield f"unknown: {_GIVEN_UP}"
        yield ""
        yield from _wrapped(_MORE_UNKNOWN, "  ")


def _account(each: Account) -> Iterator[str]:
    yield f"    {each.what}: {each.code}"
    for example in filter(None, (each.example, each.tried)):
        yield from _wrapped(in_line(f"for example {example}"), "      ")


def _moved(rows: Sequence[LedgerRow]) -> Iterator[str]:
    """How many pages moved, and where one of them went."""
    moved = [row for row in rows if row.state is PageState.MIGRATED]
    if moved:
        first = moved[0]
        yield f"    {len(moved):,} page{'s' if len(moved) > 1 else ''} moved"
        times = "one move" if first.moves == 1 else f"{first.moves} moves"
        said = f"page {first.handle}, pfn {first.pfn_before:#x} → {first.pfn_after:#x} in {times}"
        yield from _wrapped(f"for example {said}", "      ")


def _reached(counts: Counts, rows: Sequence[LedgerRow]) -> Iterator[str]:
    """How far compaction came, beside the pages that it left."""
    for (first, last), (times, furthest) in counts.reached.items():
        stayed = [
            row.pfn_after
            for row in rows
            if row.state is PageState.STAYED and first <= row.pfn_after < last
        ]
        beyond = sum(frame >= furthest for frame in stayed)
        which = f"the furthest of {times}" if times > 1 else "it"
        said = f"compaction of pfn {first:#x} to {last:#x}: {which} came to pfn {furthest:#x}"
        if stayed:
            said += f"; of the {len(stayed):,} pages that stayed there {beyond:,} lie beyond"
        yield from _wrapped(said, "      ", "    ")


def _counts(counts: Counts, rows: Sequence[LedgerRow]) -> Iterator[str]:
    """The kernel's own figures beside them."""
    yield from _reached(counts, rows)
    traced = [
        f"{reason} {moved:,} moved, {failed:,} failed"
        for reason, (moved, failed) in counts.traced.items()
    ]
    grown = [f"{name} +{count:,}" for name, count in counts.vmstat.items() if count]
    for where, parts in (("mm_migrate_pages", traced), ("/proc/vmstat", grown)):
        if parts:
            yield from _wrapped(in_line(f"{where}: {'; '.join(parts)}"), "      ", "    ")


def _wrapped(text: str, indent: str, first: str | None = None) -> list[str]:
    begin = indent if first is None else first
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=begin,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


# ---------------------------------------------------------------------------------------------
# JSON
# ---------------------------------------------------------------------------------------------


def as_json(reason: Reason, tree: Tree | None) -> dict[str, Any]:
    return {
        "code": reason.code,
        "line": reason.line,
        "means": reason.means,
        "errnos": list(reason.errnos),
        "tree": tree.name if tree is not None else None,
        "places": [_place(check, tree) for check in reason.checks],
        "shows": [
            {
                "where": sign.where,
                "text": sign.text,
                "here": None if tree is None else has(sign, tree),
            }
            for sign in reason.signs
        ],
        "cure": reason.cure,
    }


def _place(check: Check, tree: Tree | None) -> dict[str, Any]:
    found: Found | None = None if tree is None else tree.places.find(check.at)
    said: dict[str, Any] = {"what": check.what, "errno": check.errno or None, "found": None}
    if found is not None and tree is not None:
        said["found"] = {
            "file": found.file,
            "line": found.line,
            "more": list(found.more),
            "function": found.function,
            "text": found.text,
            "patch": tree.blame(found.file, found.whole),
        }
    return said


def run_as_json(told: Told, tree: Tree | None) -> dict[str, Any]:
    content: Mapping[str, Any] = told.content
    codes = dict.fromkeys(each.code for each in told.accounts)
    return {
        **{name: content[name] for name in ("id", "scenario", "kernel", "arch", "verdict")},
        "accounts": [
            {
                "arm": each.arm,
                "code": each.code,
                "pages": each.pages,
                "attempts": each.attempts,
                "example": each.example,
                "tried": each.tried,
            }
            for each in told.accounts
        ],
        "counts": {
            arm: {
                "mm_migrate_pages": {
                    reason: {"moved": moved, "failed": failed}
                    for reason, (moved, failed) in counts.traced.items()
                },
                "vmstat": dict(counts.vmstat),
            }
            for arm, counts in told.counts.items()
        },
        "reasons": [as_json(found, tree) for found in filter(None, map(known, codes))],
    }
