# SPDX-License-Identifier: GPL-2.0-only
"""The table of many runs: a row for each cell, the odd ones below, and the rate of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.report.text import in_line

_ODD = 12  # of them that are shown
_FAULT = "bold red"


def flake(found: Mapping[str, Any]) -> RenderableType:
    """found: as harness/flake/tally.py gives it as JSON."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("what", "right", "verdicts"):
        table.add_column(name)
    table.add_column("guests", justify="right")
    table.add_column("false alarms")
    for cell in found["cells"]:
        rate = cell["rate"]
        table.add_row(
            Text(in_line(" ".join(_words(cell)))),
            cell["right"],
            Text(_counted(cell["verdicts"]), style=_FAULT if rate and rate["wrong"] else ""),
            str(cell["guests"]),
            _rated(rate),
        )
    parts: list[RenderableType] = [
        table,
        Text(f"\nall: {_rated(found['total'])}, bounds of {found['confidence']:.0%}"),
    ]
    return Group(*parts, *(Padding(text, (1, 0, 0, 0)) for text in _below(found)))


def _words(cell: Mapping[str, Any]) -> list[str]:
    named = [cell[name] for name in ("scenario", "kernel", "arch", "profile")]
    return [*named, " ".join(cell["series"])]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) or "none"


def _rated(rate: Mapping[str, Any] | None) -> str:
    if rate is None:
        return "nothing ran"
    bounds = f"{rate['low']:.1%} to {rate['high']:.1%}"
    return f"{rate['wrong']} of {rate['runs']}: {rate['wrong'] / rate['runs']:.1%} ({bounds})"


def _below(found: Mapping[str, Any]) -> list[Text]:
    flaky, odd, mixed = Text(), Text(), Text()
    for cell in found["cells"]:
        name = in_line(" ".join(_words(cell)))
        for each in cell["flaky"]:
            flaky.append("FLAKY  ", style=_FAULT)
            flaky.append(f"{name}, seed {each['seed']}: {_counted(each['verdicts'])}\n")
        if cell["builds"] > 1:
            mixed.append(f"{name}: its results are those of {cell['builds']} different builds\n")
    for each in [each for cell in found["cells"] for each in cell["odd"]][:_ODD]:
        odd.append(f"{each['verdict']}  ", style=_FAULT)
        odd.append(f"{in_line(each['reason'])}\n")
        odd.append(f"       {in_line(each['folder'])}\n", style="dim")
    return [text for text in (flaky, mixed, odd) if text]
