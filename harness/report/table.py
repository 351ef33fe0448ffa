# SPDX-License-Identifier: GPL-2.0-only
"""A run on the terminal: arms side by side, what disagrees, and the verdict."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness import leakage
from harness.explain import flag_words, of_record, shown
from harness.model import ArmResult, Finding, Holders, Outcome, RunRecord, Splat, Witness
from harness.parse import blocked
from harness.report import frames, picture
from harness.report.explained import one_line
from harness.report.text import in_line, last_lines, visible

STYLES = {
    Outcome.PASS: "bold green",
    Outcome.SKIP: "bold yellow",
    Outcome.INFRA: "bold magenta",
    Outcome.LOST: "bold magenta",
    Outcome.INCONSISTENT: "bold yellow",
}
_FAULT = "bold red"
_SILENT = frozenset({Outcome.HANG, Outcome.LOST, Outcome.CRASH})  # the console says more
_LINES = 12
_REASONS = 6
_SPLATS = 8
_NAMED = 2  # failed attempts of an arm of which it is said what stood in their way
_MANY = 8  # times of which a percentile is shown


def terminal(record: RunRecord, width: int) -> RenderableType:
    """width: columns of the terminal."""
    verdict = record.verdict
    parts: list[RenderableType] = [_head(record), *_held(verdict.arms)]
    if verdict.arms:
        parts.append(_arms(verdict.arms))
    drawn = picture.terminal(record, width)
    if drawn is not None:
        parts.append(Padding(drawn, (1, 0, 0, 0)))
    doubtful = [w for w in verdict.witnesses if not (w.complete and w.agrees)]
    measured = [w for w in verdict.witnesses if w.claim in leakage.CLAIMS]  # to what it was seen
    if measured and verdict.outcome is Outcome.PASS:
        parts.append(_witnesses(verdict.witnesses, measured))
    if doubtful and verdict.outcome is Outcome.PASS:
        parts.append(_unheard(doubtful))
    elif doubtful:
        parts.append(_witnesses(verdict.witnesses, doubtful))
    if verdict.findings:
        parts.append(_findings(verdict.findings))
    if verdict.splats:
        parts.append(_splats(verdict.splats))
    if verdict.outcome in _SILENT and all(each.kind == blocked.KIND for each in verdict.splats):
        parts += _last_words(record)
    parts += _error(record)
    parts.append(_answer(record))
    return Group(*parts)


def _error(record: RunRecord) -> list[RenderableType]:
    """What an error says beside its sentence: a hunk, the compiler's lines, where the log is."""
    if record.verdict.outcome not in (Outcome.PATCH, Outcome.BUILD, Outcome.INFRA):
        return []
    lines = [visible(line) for line in record.error.get("detail", "").splitlines()]
    if record.error.get("log"):
        lines.append(f"log: {in_line(record.error['log'])} in the run's folder")
    return [Padding(Text("\n".join(lines)), (1, 0, 0, 2))] if lines else []


def _head(record: RunRecord) -> Text:
    spec = record.spec
    words = [
        spec.scenario,
        f"Linux {spec.kernel}",
        spec.arch,
        f"series {' '.join(spec.series)}",
        f"profile {spec.profile}",
        f"seed {spec.seed}",
    ]
    if record.accelerator is not None:
        words.append(record.accelerator.name)
    return Text(in_line(" · ".join(words)), style="bold")


def _held(arms: tuple[ArmResult, ...]) -> list[RenderableType]:
    """Who holds the pages that stayed, and what stood in the way of what failed."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for arm in arms:
        for first in arm.held_by[:1]:
            more = f", and in {len(arm.held_by) - 1} other ways" if len(arm.held_by) > 1 else ""
            table.add_row(
                Text(in_line(arm.name), style="dim"),
                Text(in_line(f"{first.pages:,} pages stayed, held by {_holder(first)}{more}")),
            )
        named = 0
        for each in arm.attempts:
            if each.ok or not each.blockers or named == _NAMED:
                continue
            named += 1
            words = f"{each.trigger} of {each.target} failed on: {each.blockers[0]}"
            table.add_row(Text(in_line(arm.name), style="dim"), Text(in_line(words)))
    return [Padding(table, (1, 0, 0, 0))] if table.row_count else []


def _holder(holders: Holders) -> str:
    words = [holders.holder]
    if holders.allocated:
        words.append(f"allocated by {holders.allocated}")
    if holders.flags:
        words.append(flag_words(holders.flags))
    words += [
        f"{name} {count}"
        for name, count in (("refcount", holders.refcount), ("mapcount", holders.mapcount))
        if count is not None
    ]
    return ", ".join(words)


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _change(before: int | None, after: int | None) -> str:
    return "-" if before is None and after is None else f"{_count(before)} → {_count(after)}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _index(value: float | None) -> str:
    """As the kernel prints it; -1: an allocation would succeed."""
    return "-" if value is None else f"{value:.3f}"


def _bad(value: int) -> Text:
    return Text(_count(value), style=_FAULT if value else "")


def _counted(arm: ArmResult, name: str) -> bool:
    """Whether a row of the table is known of an arm: one that broke off has not counted what came
    of its pages, and its zeros would say that none was lost."""
    fates = arm.migrated + arm.stayed + arm.failed + arm.lost + arm.corrupt
    return name == _ROWS[0][0] or fates == arm.pinned


_Cell = Callable[[ArmResult], "str | Text"]

_ROWS: tuple[tuple[str, _Cell], ...] = (
    ("pinned pages", lambda arm: _count(arm.pinned)),
    ("migrated", lambda arm: _count(arm.migrated)),
    ("stayed", lambda arm: _count(arm.stayed)),
    ("failed", lambda arm: _count(arm.failed)),
    ("lost", lambda arm: _bad(arm.lost)),
    ("corrupt", lambda arm: _bad(arm.corrupt)),
)

_MEMORY: tuple[tuple[str, _Cell], ...] = (
    ("huge pages to be had", lambda arm: _change(arm.order9_before, arm.order9_after)),
    (
        "free blocks of order 9",
        lambda arm: _change(_order9(arm.free_before), _order9(arm.free_after)),
    ),
    (
        "unusable at order 9",
        lambda arm: f"{_share(arm.unusable_before)} → {_share(arm.unusable_after)}",
    ),
    (
        "extfrag index of order 9",
        lambda arm: f"{_index(arm.fragmentation_before)} → {_index(arm.fragmentation_after)}",
    ),
    ("time of the drive", lambda arm: f"{arm.seconds:.1f} s" if arm.seconds else "-"),
)


def _order9(blocks: tuple[int, ...]) -> int | None:
    """Blocks of order 9, larger ones counted as the number of order 9 that they hold."""
    return sum(n << order for order, n in enumerate(blocks[9:])) if len(blocks) > 9 else None


def _arms(arms: tuple[ArmResult, ...]) -> RenderableType:
    """The arms side by side; one of which there is no evidence has no zeros to show."""
    driven = tuple(arm for arm in arms if arm.pinned or arm.free_before)
    rest = [f"the {in_line(arm.name)} arm was not driven" for arm in arms if arm not in driven]
    parts: list[RenderableType] = [_side_by_side(driven)] if driven else []
    if rest:
        parts.append(Padding(Text("; ".join(rest), style="dim"), (1, 0, 0, 0)))
    return Group(*parts)


def _side_by_side(arms: tuple[ArmResult, ...]) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("")
    for arm in arms:
        title = Text(in_line(arm.name))
        if arm.mode != arm.name:
            title.append(f" ({in_line(arm.mode)})", style="dim")
        table.add_column(title, justify="right")
    for name, cell in _ROWS:
        table.add_row(name, *(cell(arm) if _counted(arm, name) else "-" for arm in arms))
    reasons = dict.fromkeys(reason for arm in arms for reason in arm.reasons)
    for reason in list(reasons)[:_REASONS]:
        label = Text(f"  {in_line(reason)}", style="dim")
        counts = (Text(_count(arm.reasons.get(reason, 0)), style="dim") for arm in arms)
        table.add_row(label, *counts)
    table.add_section()
    for name, cell in _MEMORY:
        cells = [cell(arm) for arm in arms]
        if any(each != "-" for each in cells):
            table.add_row(name, *cells)
    groups = dict.fromkeys(each.group for arm in arms for each in arm.attempts)
    if groups:
        table.add_section()
    for group in groups:
        table.add_row(Text(in_line(group)), *(_tried(arm, group) for arm in arms))
    return Padding(table, (1, 0, 0, 0))


def _tried(arm: ArmResult, group: str) -> Text:
    """How many of a group's attempts succeeded, and how long they took; red where one went
    otherwise than it had to."""
    own = [each for each in arm.attempts if each.group == group]
    if not own:
        return Text("-")
    wrong = any(each.expected not in (None, each.ok) for each in own)
    had, asked = sum(each.ok for each in own), len(own)
    if all(each.got is not None for each in own):
        had = sum(each.got or 0 for each in own)
        asked = sum(each.asked or 0 for each in own)
    text = Text(f"{had:,} of {asked:,}", style=_FAULT if wrong else "")
    times = sorted(each.seconds for each in own)
    said = f"{'median ' if len(times) > 1 else ''}{_time(statistics.median(times))}"
    if len(times) >= _MANY:
        said += f", p99 {_time(statistics.quantiles(times, n=100, method='inclusive')[-1])}"
    text.append(f"  {said}", style="dim")
    return text


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _witnesses(witnesses: tuple[Witness, ...], those: list[Witness]) -> RenderableType:
    """Each claim of those, with all who speak of it."""
    claims = dict.fromkeys((w.arm, w.claim) for w in those)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("witness")
    table.add_column("says", justify="right")
    table.add_column("")
    for arm, claim in claims:
        table.add_row(Text(in_line(f"{arm}: {claim}"), style="bold"), "", "")
        for each in witnesses:
            if (each.arm, each.claim) == (arm, claim):
                table.add_row(*_witness(each))
        table.add_section()
    return Padding(table, (1, 0, 0, 0))


def _unheard(absent: list[Witness]) -> RenderableType:
    """Who could say nothing of a claim that the others carry."""
    arms: dict[str, list[str]] = {}
    for each in absent:
        words = f"{each.claim} without {each.source} ({each.detail})"
        arms.setdefault(words, []).append(each.arm)
    lines = [f"{', '.join(names)}: {words}" for words, names in arms.items()]
    return Padding(Text(visible("\n".join(lines)), style="dim"), (1, 0, 0, 0))


def _witness(each: Witness) -> tuple[Text, Text, Text]:
    name, detail = Text(f"  {in_line(each.source)}"), in_line(each.detail)
    if not each.complete:
        return name, Text("?", style="yellow"), Text(f"incomplete: {detail}", style="yellow")
    style = "" if each.agrees else _FAULT
    if not each.agrees:
        detail = f"disagrees: {detail}" if detail else "disagrees"
    return name, Text(_count(each.count), style=style), Text(detail, style=style or "dim")


_SHOWN = {True: ("shows", _FAULT), False: ("no", "green"), None: ("?", "yellow")}


def _findings(findings: tuple[Finding, ...]) -> RenderableType:
    """A row for each known defect; who is to blame stands below what was seen."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("defect", no_wrap=True)
    table.add_column("shows")
    table.add_column("what it is, and what was seen")
    for each in findings:
        word, style = _SHOWN[each.shown] if each.probed else ("-", "dim")
        text = Text(in_line(each.title))
        text.append(f"\n{in_line(each.evidence)}", style="dim")
        if each.shown and each.place:
            where = f"{each.place} {each.function}".rstrip()
            text.append(visible(f"\n{where}, by {each.patch}" if each.patch else f"\n{where}"))
        elif each.shown:
            text.append("\nnot by the line that the RFC has: it is not in this tree")
        table.add_row(Text(in_line(each.defect)), Text(word, style=style), text)
    return Padding(table, (1, 0, 0, 0))


def fixes(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """A row for each fix that was left out: does its defect show again?"""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("defect", "shows", "without this fix"):
        table.add_column(name)
    for row in rows:
        word = "?" if row["shown"] is None else "yes" if row["shown"] else "no"
        text = Text(in_line(row["patch"]))
        text.append(f"\n{in_line(row['evidence'])}", style="dim")
        style = "" if row["shown"] else _FAULT
        table.add_row(Text(in_line(row["defect"])), Text(word, style), text)
    return table


def _splats(splats: tuple[Splat, ...]) -> RenderableType:
    """One each of those that say the same, and where in a console it stands; the lines of the
    first that is a complaint. run.json has those of all."""
    lines = Text()
    alike: dict[tuple[object, ...], list[Splat]] = {}
    for each in splats:
        key = (each.kind, each.title, each.culprit, each.provoked, each.during)
        alike.setdefault(key, []).append(each)
    first = next((each for each in splats if not each.provoked), None)
    groups = [*alike.values()]
    for same in groups[:_SPLATS]:
        each, times = same[0], sum(1 + one.again for one in same)
        lines.append(f"{in_line(each.kind)}  ", style="dim" if each.provoked else _FAULT)
        lines.append(in_line(each.title))
        why = f"provoked by attempt {each.during}" if each.during else "which counts for nothing"
        lines.append(f", {why}" if each.provoked else "")
        lines.append(f", {times:,} times" if times > 1 else "")
        place = "/".join([each.arm, "console.log"] if each.arm else ["console.log"])
        at = f"  {in_line(place)}:{each.first_line}" if each.first_line else ""
        lines.append(f"{at}\n", style="dim")
        if each.culprit is not None and not each.provoked:
            lines.append(f"  {in_line(frames.blame(each))}\n", style="bold")
        if each is first:
            for line in frames.short(each):
                lines.append(f"  {in_line(line)}\n", style="dim")
    more = sum(1 + each.again for same in groups[_SPLATS:] for each in same)
    if more:
        lines.append(f"and {more:,} more\n", style="dim")
    lines.rstrip()
    return Padding(lines, (1, 0, 0, 0))


def _last_words(record: RunRecord) -> list[RenderableType]:
    """The end of the console of the arm whose reports are shown, else of that which came last."""
    if not record.console:
        return []
    own = [each.arm for each in record.verdict.splats if each.arm in record.console]
    name = [*record.console, *own[:1]][-1]
    text = record.console[name]
    body = visible(last_lines(text, _LINES)) or "(nothing)"
    title = Text(f"\nlast lines of the {in_line(name)} arm's console:")
    return [title, Padding(Text(body, style="dim"), (0, 0, 0, 2))]


def _answer(record: RunRecord) -> RenderableType:
    verdict = record.verdict
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    style = STYLES.get(verdict.outcome, _FAULT)
    table.add_row(Text(verdict.outcome.value, style=style), Text(in_line(verdict.reason)))
    table.add_row(Text("next", style="dim"), Text(in_line(verdict.next_step), style="dim"))
    for each in shown(of_record(record), verdict.arms):
        table.add_row(Text("why", style="dim"), Text(in_line(one_line(each)), style="dim"))
    return Padding(table, (1, 0, 0, 0))
