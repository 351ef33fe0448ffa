# SPDX-License-Identifier: GPL-2.0-only
"""The table of the seeded faults: what caught each of them, by which words, after how long."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.report.text import in_line, plain

_STYLES = {"caught": "green", "equivalent": "green", "missed": "bold red", "untold": "yellow"}
_SHORT = 160  # characters of it in a document
_PLACE = re.compile(r"(?<![\w.])/\S*/(?=(?:modules|guest-modules)/)")  # of this machine
_SAID = 300  # characters of a sentence that a terminal is shown; JSON has all


def baseline(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """What each try says of the series without a fault."""
    table = _table("without a fault", "verdict", "seconds")
    for row in rows:
        said = f"\n{in_line(row['said'])}" if row["outcome"] != "PASS" else ""
        what = Text(in_line(_how(row))).append(said[:_SAID], style="dim")
        table.add_row(what, row["outcome"], _seconds(row))
    return table


def faults(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """A row for each fault; below its title stands what was said, or why it was not caught."""
    table = _table("fault", "", "by", "verdict", "seconds")
    for row in rows:
        found = row["tried"][-1] if row["caught"] else None
        text = Text(in_line(row["name"]))
        text.append(f"\n{in_line(row['title'])}", style="dim")
        text.append(f"\n{in_line(_why(row))[:_SAID]}")
        table.add_row(
            text,
            Text(row["state"], style=_STYLES[row["state"]]),
            Text(in_line(_how(found)) if found else ""),
            found["outcome"] if found else "",
            _seconds(found) if found else "",
        )
    return Group(table, Padding(Text(tally(rows)), (1, 0, 0, 0)))


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The same as a table for a document; without what is of one machine or one moment."""
    lines = [
        "| fault | caught by | verdict | s | in these words |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        found = row["tried"][-1] if row["caught"] else None
        title = row["title"].removeprefix("mm: pinpage: ")
        name = f"`{row['name']}`<br>{plain(title)}"
        if found is None:
            lines.append(f"| {name} | **{row['state']}** | | | {plain(_why(row)[:_SHORT])} |")
            continue
        said = _PLACE.sub("", found["said"])
        said = said if len(said) <= _SHORT else f"{said[:_SHORT]}…"
        cells = (plain(_how(found)), found["outcome"], _seconds(found), plain(said))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"{plain(tally(rows))}."])


def tally(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many of each kind, as a sentence."""
    counts = {state: sum(row["state"] == state for row in rows) for state in _STYLES}
    said = f"{counts['caught']} of {len(rows)} seeded faults are caught"
    if counts["equivalent"]:
        said += f", {counts['equivalent']} change nothing that could be seen"
    for state, words in (("missed", "are missed"), ("untold", "could not be told")):
        names = ", ".join(row["name"] for row in rows if row["state"] == state)
        if names:
            said += f", {counts[state]} {words}: {names}"
    return said


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold", justify="right" if name == "seconds" else "left")
    return table


def _why(row: Mapping[str, Any]) -> str:
    if row["caught"]:
        return str(row["tried"][-1]["said"])
    if row["error"]:
        return str(row["error"])
    if row["state"] == "equivalent":
        return str(row["equivalent"])
    return "; ".join(
        f"{_how(each)}: {each['outcome']}"
        + (f" ({each['said']})" if each["outcome"] != "PASS" else "")
        for each in row["tried"]
    )


def _how(row: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (row["scenario"], row["profile"], row["settings"])))


def _seconds(row: Mapping[str, Any]) -> str:
    return f"{row['seconds']:.0f}"
