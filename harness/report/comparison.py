# SPDX-License-Identifier: GPL-2.0-only
"""Two sides of runs on the terminal: what became of each pair, and the figures of those that are
not as they were."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeAlias

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.comparison import Comparison, Difference, Figures, Pair, Ran, State
from harness.model import EXIT_CODES, Outcome
from harness.report.text import in_line

_FAULT = "bold red"
_STYLES = {
    State.NEW: _FAULT,
    State.MENDED: "bold green",
    State.FAILING: "yellow",
    State.FLAKY: "bold yellow",
    State.UNTOLD: "bold magenta",
    State.UNCHANGED: "green",
}
_HEAD = ("scenario", "kernel", "arch", "profile")
_PARAMETER = "parameter "  # before its name, in what was asked
_TITLES = 6  # of splats
_PATCHES = 5


def as_json(found: Comparison) -> dict[str, Any]:
    """The whole of it, with its counts and the exit code."""
    return {
        "exit_code": found.exit_code,
        "counts": {state.value: len(found.of(state)) for state in State},
        "pairs": [
            {
                **asdict(pair),
                "asked": dict(pair.asked),
                "failure": None if pair.failure is None else pair.failure.id,
            }
            for pair in found.pairs
        ],
    }


def comparison(found: Comparison, *, every: bool = False) -> RenderableType:
    """every: the figures of pairs that are as they were, too."""
    parts: list[RenderableType] = [] if len(found.pairs) == 1 else [_overview(found)]
    for pair in found.pairs:
        told = pair.a and pair.b and (every or pair.state is not State.UNCHANGED)
        if told or len(found.pairs) == 1:
            parts.append(_details(pair, found.pairs))
    return Group(*parts, Padding(_sentence(found), (1, 0, 0, 0)))


def _differing(rows: Sequence[Difference], a: str, b: str) -> Table:
    """A row for each input that is not the same. a and b: what the two sides are called."""
    table = _table("input", a, b)
    for each in rows:
        table.add_row(*(Text(in_line(text)) for text in (each.name, each.a, each.b)))
    return table


_SIGNS = {"-": "in A alone", "+": "in B alone", "!": "another one in B"}


def _patches(pair: Pair) -> RenderableType:
    """The patches that are not on both sides alike, those of a sign together."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for sign, said in _SIGNS.items():
        own = [line[2:] for line in pair.patches if line.startswith(sign)]
        for number, name in enumerate(own[:_PATCHES]):
            table.add_row(Text(said if number == 0 else "", style="dim"), Text(in_line(name)))
        if len(own) > _PATCHES:
            table.add_row("", Text(f"and {len(own) - _PATCHES} more", style="dim"))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _overview(found: Comparison) -> RenderableType:
    table = _table("what", "A", "B", "")
    for pair in found.pairs:
        state = Text(pair.state.value, style=_STYLES.get(pair.state, ""))
        name = Text(in_line(_named(pair, found.pairs)))
        table.add_row(name, _verdicts(pair.a), _verdicts(pair.b), state)
    return table


def _named(pair: Pair, others: Sequence[Pair] = ()) -> str:
    """What was asked: of the parameters those of which others of its scenario have other values."""
    words = [pair.asked[name] for name in _HEAD]
    alike = [each for each in others if each.asked["scenario"] == pair.asked["scenario"]]
    for name, value in pair.asked.items():
        if not name.startswith(_PARAMETER):
            words += [f"{name} {value}".strip()] if name not in _HEAD else []
        elif any(each.asked.get(name, value) != value for each in alike):
            words.append(f"{name.removeprefix(_PARAMETER)}={value}")
    seeds = sorted({run.seed for run in (*pair.a, *pair.b)})
    if len(seeds) == 1:
        words.append(f"seed {seeds[0]}")
    elif len(pair.a) == len(pair.b) == 1:
        words.append(f"seeds {pair.a[0].seed} and {pair.b[0].seed}")
    else:
        words.append(f"{len(seeds)} seeds")
    return " · ".join(words)


def _verdicts(runs: Sequence[Ran]) -> Text:
    if len(runs) == 1:
        return Text(_verdict(runs[0]), style="" if runs[0].outcome is Outcome.PASS else _FAULT)
    counted = Counter(_verdict(run) for run in runs).most_common()
    bad = any(run.outcome is not Outcome.PASS for run in runs)
    said = ", ".join(f"{count} {name}" for name, count in counted)
    return Text(said or "-", style=_FAULT if bad else "")


def _verdict(run: Ran) -> str:
    return f"{run.outcome.value}, interrupted" if run.interrupted else run.outcome.value


def reproduced(same: bool, sentence: str, inputs: Sequence[Difference]) -> RenderableType:
    """Whether a run came out as it did before, and what was not as it was then."""
    parts: list[RenderableType] = []
    if inputs:
        parts += [Text("not as it was:"), Padding(_differing(inputs, "then", "now"), (0, 0, 1, 2))]
    else:
        parts.append(Text("all inputs that are known are as they were\n", style="dim"))
    word = ("reproduced", "bold green") if same else ("not reproduced", _FAULT)
    return Padding(Group(*parts, Text.assemble(word, f"  {in_line(sentence)}")), (1, 0, 0, 0))


# ---------------------------------------------------------------------------------------------
# One pair
# ---------------------------------------------------------------------------------------------


def _details(pair: Pair, others: Sequence[Pair]) -> RenderableType:
    title = Text(in_line(_named(pair, others)), style="bold")
    title.append("  ")
    title.append(pair.state.value, style=_STYLES.get(pair.state, ""))
    parts: list[RenderableType] = [title, Padding(_answers(pair), (1, 0, 0, 0))]
    if pair.inputs:
        parts.append(Padding(_differing(pair.inputs, "A", "B"), (1, 0, 0, 0)))
    else:
        parts.append(Text("\nno input is known to differ", style="dim"))
    if pair.patches:
        parts.append(Padding(_patches(pair), (1, 0, 0, 0)))
    rows = list(_rows(pair))
    if rows:
        table = _table("", "A", "B")
        for column in table.columns[1:]:
            column.justify = "right"
        for row in rows:
            _add(table, *row)
        parts.append(Padding(table, (1, 0, 0, 0)))
    return Padding(Group(*parts), (1, 0, 0, 0))


def _answers(pair: Pair) -> RenderableType:
    """A verdict and its sentence for each side; of many runs the first that did not pass."""
    table = Table.grid(padding=(0, 2))
    for side, runs in (("A", pair.a), ("B", pair.b)):
        first = next((run for run in runs if run.outcome is not Outcome.PASS), None)
        run = first or next(iter(runs), None)
        if run is not None:
            table.add_row(side, _verdicts(runs), Text(in_line(run.reason)))
            for row in _titles(run):
                table.add_row("", "", row)
    return table


def _titles(run: Ran) -> Iterator[Text]:
    for title in run.splats[:_TITLES]:
        yield Text(in_line(title), style=_FAULT)
    if len(run.splats) > _TITLES:
        yield Text(f"and {len(run.splats) - _TITLES} more reports", style="dim")


def _add(table: Table, name: str, a: str, b: str) -> None:
    """A row; one that is the same on both sides stands back. Without figures it is a heading."""
    if not a and not b:
        table.add_section()
        table.add_row(Text(name, style="bold"), "", "")
    else:
        table.add_row(Text(name), Text(a), Text(b), style="dim" if a == b else "")


_COUNTS = ("pinned", "migrated", "stayed", "failed", "lost", "corrupt")


@dataclass(frozen=True)
class _Side:
    """The runs of one side, and of each of them one arm."""

    runs: Sequence[Ran]
    arms: Sequence[Figures] = ()


def _rows(pair: Pair) -> Iterator[tuple[str, str, str]]:
    """Name and both sides; of many runs the median."""
    medians = ", medians" if max(len(pair.a), len(pair.b)) > 1 else ""
    for name in dict.fromkeys(arm.arm for run in (*pair.a, *pair.b) for arm in run.arms):
        sides = [_Side(runs, _arms(runs, name)) for runs in (pair.a, pair.b)]
        yield f"{in_line(name)} arm{medians}", "", ""
        for label, cell in _cells(sides):
            yield f"  {label}", cell(sides[0]), cell(sides[1])
    yield "run", "", ""
    if any(run.defects is not None for run in (*pair.a, *pair.b)):
        yield "  defects that show", _defects(pair.a), _defects(pair.b)
    times = [_seconds(run.seconds for run in runs) for runs in (pair.a, pair.b)]
    yield "  time", times[0], times[1]


_Cell: TypeAlias = Callable[[_Side], str]


def _cells(sides: Sequence[_Side]) -> Iterator[tuple[str, _Cell]]:
    for count in _COUNTS:
        yield count, partial(_count, name=count)
    if any(_huge(side) != "-" for side in sides):
        yield "huge pages to be had", _huge
    yield "time of the drive", lambda side: _seconds(a.seconds for a in side.arms if a.ended)
    tried = (each.group for side in sides for arm in side.arms for each in arm.attempts)
    for group in dict.fromkeys(tried):
        yield in_line(group), partial(_attempts, group=group)


def _defects(runs: Sequence[Ran]) -> str:
    """Those that show in any of the runs."""
    looked = [run.defects for run in runs if run.defects is not None]
    shown = dict.fromkeys(defect for each in looked for defect in each)
    return (", ".join(map(in_line, shown)) or "none") if looked else "-"


def _arms(runs: Iterable[Ran], name: str) -> list[Figures]:
    return [arm for run in runs for arm in run.arms if arm.arm == name]


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _count(side: _Side, name: str) -> str:
    known = [arm for arm in side.arms if arm.ended or name == "pinned"]
    return _middle([getattr(arm, name) for arm in known], _number)


def _huge(side: _Side) -> str:
    before = [arm.order9_before for arm in side.arms if arm.order9_before is not None]
    after = [arm.order9_after for arm in side.arms if arm.order9_after is not None]
    if not before and not after:
        return "-"
    return f"{_middle(before, _number)} → {_middle(after, _number)}"


def _attempts(side: _Side, group: str) -> str:
    own = [each for arm in side.arms for each in arm.attempts if each.group == group]
    if not own:
        return "-"
    had, asked, wrong = (sum(getattr(each, name) for each in own) for name in _TRIED)
    said = f"{had:,} of {asked:,}"
    said += f", {wrong} wrong" if wrong else ""
    return f"{said}  {_seconds(each.seconds for each in own)}"


_TRIED = ("had", "asked", "wrong")


def _seconds(values: Iterable[float]) -> str:
    return _middle(
        list(values), lambda value: f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
    )


def _middle(values: Sequence[float], said: Callable[[float], str]) -> str:
    return said(statistics.median(values)) if values else "-"


def _sentence(found: Comparison) -> Text:
    counts = [(state, len(found.of(state))) for state in State]
    words = ", ".join(f"{count} {state.value}" for state, count in counts if count)
    new = found.of(State.NEW)
    first = new[0].failure if new else None
    if first is None:
        return Text.assemble(("no new failure", "bold green"), f"  {words}")
    said = f"  {words}; the first is {first.outcome.value}: {in_line(first.reason)}"
    code = f" (exit code {EXIT_CODES[first.outcome]})"
    return Text.assemble(("new failure", _FAULT), said, (code, "dim"))
