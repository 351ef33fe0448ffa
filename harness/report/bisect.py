# SPDX-License-Identifier: GPL-2.0-only
"""The table of a search: a row for each state that was tried, in its order, and the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.report.text import in_line

_STYLES = {"bad": "bold red", "good": "green"}


def bisect(found: Mapping[str, Any]) -> RenderableType:
    """found: as ``pinpage bisect --json`` prints it."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("state", "is", "runs", "the last said"):
        table.add_column(name, overflow="fold")
    for state in found["states"]:
        if not state["trials"]:
            continue
        counts = Counter(trial["outcome"] for trial in state["trials"])
        table.add_row(
            Text(in_line(" ".join((short(state["name"]), state["title"])))),
            Text(state["standing"], style=_STYLES.get(state["standing"], "")),
            ", ".join(f"{count} {outcome}" for outcome, count in counts.items()),
            Text(in_line(state["trials"][-1]["said"])),
        )
    return Group(table, Text(f"\n{in_line(sentence(found))}"))


def sentence(found: Mapping[str, Any]) -> str:
    """The answer in words."""
    named = [f"{short(each['name'])} {each['title']}".strip() for each in found["first"]]
    sure = f"{found['confidence']:.1%} sure, as the bad end failed in {found['failed']} of "
    sure += f"{found['ended']} runs"
    if len(named) == 1:
        return f"first bad: {named[0]} ({sure})"
    return f"the first bad is one of {len(named)}, which could not all be tried: " + (
        f"{'; '.join(named)} ({sure})"
    )


def short(name: str) -> str:
    """A commit's name as people write it."""
    plain = len(name) >= 40 and all(letter in "0123456789abcdef" for letter in name)
    return name[:12] if plain else name
