# SPDX-License-Identifier: GPL-2.0-only
"""A picture of the memory: each pageblock a cell, before and after the drive of each arm. Pure.

From /proc/kpageflags and the ledger. As SVG for a browser, and as characters for a terminal; a
machine with more pageblocks than a picture has room for gets several of them in a cell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from xml.sax.saxutils import escape

from rich.text import Text

from harness.errors import EvidenceError
from harness.model import ArmPlan, RunRecord
from harness.parse.pageblocks import PAGEBLOCK, Content, Run
from harness.report.text import visible
from harness.seen import Seen, gather

WHENS = ("before", "after")
_CELLS = 2048  # of a grid, at most
_COLUMNS = 64
_SIDE = 7  # of a cell, pixels
_LINES = 2  # of a grid on a terminal
_HAS_MANY = 0.5  # of the pins that the fullest cell has, which is "many"

# Okabe and Ito's colours, which those who see no red or no green tell apart as well.
_COLOURS = {
    "free": "#f2f2f2",
    "movable": "#56b4e9",
    "huge": "#009e73",
    "kernel": "#8c8c8c",
    "offline": "#ffffff",
}
_PIN = "#d55e00"
_CMA = "#0072b2"
_SIGNS = {"free": ".", "movable": "o", "huge": "H", "kernel": "#", "offline": "_"}
_STYLES = {"free": "dim", "movable": "cyan", "huge": "green", "kernel": "dim", "offline": ""}
_SAID = {
    "free": "free",
    "movable": "movable",
    "huge": "huge",
    "kernel": "the kernel's",
    "offline": "offline or not there",
}


@dataclass(frozen=True)
class Cell:
    """So many pageblocks from a frame on. kind: what most of it is, pins not counted; pins:
    pinned pages; cma: whether it is of a contiguous area."""

    first: int
    kind: str
    pins: int
    cma: bool


@dataclass(frozen=True)
class Grid:
    """One arm at one moment."""

    arm: str
    when: str
    cells: tuple[Cell, ...]
    blocks: int  # pageblocks, of which one or more are a cell
    with_pins: int  # of them


def grids(record: RunRecord, cells: int = _CELLS) -> tuple[tuple[Grid, ...], int]:
    """The grids, arm by arm, and how many pageblocks a cell of them is; none without evidence."""
    seen = []
    for result in record.verdict.arms:
        try:
            each = gather(ArmPlan(result.name, result.role, result.mode), record.events)
        except EvidenceError:
            continue  # the verdict has said so
        if set(WHENS) <= each.layout.keys():
            seen.append(each)
    if not seen:
        return (), 1
    there = sorted(
        {block for each in seen for when in WHENS for block in _there(each.layout[when])}
    )
    step = -(-len(there) // cells)
    return tuple(_grid(each, when, there, step) for each in seen for when in WHENS), step


def _there(runs: Iterable[Run]) -> Iterator[int]:
    """The first frames of the pageblocks in which there is memory."""
    for run in runs:
        if run.content.absent < PAGEBLOCK:
            yield from range(run.first, run.first + run.blocks * PAGEBLOCK, PAGEBLOCK)


def _grid(seen: Seen, when: str, there: Sequence[int], step: int) -> Grid:
    contents = {
        first: run.content
        for run in seen.layout[when]
        for first in range(run.first, run.first + run.blocks * PAGEBLOCK, PAGEBLOCK)
    }
    pins = Counter(pin.pfn_now // PAGEBLOCK * PAGEBLOCK for pin in seen.pins.get(when, ()))
    cells = []
    for at in range(0, len(there), step):
        blocks = there[at : at + step]
        own = sum(pins[block] for block in blocks)
        found = [contents.get(block, Content(absent=PAGEBLOCK)) for block in blocks]
        cells.append(
            Cell(
                first=blocks[0],
                kind=_kind(found, own),
                pins=own,
                cma=any(a <= block < a + n for block in blocks for a, n in seen.areas),
            )
        )
    with_pins = sum(pins[block] > 0 for block in there)
    return Grid(seen.plan.name, when, tuple(cells), len(there), with_pins)


def _kind(contents: Sequence[Content], pins: int) -> str:
    totals = {
        "free": sum(each.free for each in contents),
        "movable": sum(each.movable for each in contents),
        "huge": sum(each.huge for each in contents),
        "kernel": max(0, sum(each.kernel for each in contents) - pins),
        "offline": sum(each.absent for each in contents),
    }
    return max(totals, key=lambda kind: totals[kind])


# ---------------------------------------------------------------------------------------------
# SVG
# ---------------------------------------------------------------------------------------------


def svg(record: RunRecord) -> str:
    """The picture as an SVG document, "" where there is no evidence for one."""
    found, step = grids(record)
    if not found:
        return ""
    rows = -(-max(len(grid.cells) for grid in found) // _COLUMNS)
    wide, high = _COLUMNS * _SIDE, rows * _SIDE
    most = max((cell.pins for grid in found for cell in grid.cells), default=0)
    left, top, gap = 16, 56, 24
    arms = list(dict.fromkeys(grid.arm for grid in found))
    width = left * 2 + wide * len(WHENS) + gap
    height = top + len(arms) * (high + 52) + 56
    spec = record.spec
    title = f"{spec.scenario}, Linux {spec.kernel}, {spec.arch}, series {' '.join(spec.series)}"
    each = "a pageblock" if step == 1 else f"{step} pageblocks"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f"<title>{escape(visible(title))}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        _text(left, 22, f"{title}: {record.verdict.outcome}", size=15),
        _text(left, 40, f"Each cell is {each} ({step * PAGEBLOCK} pages), by page frame number."),
    ]
    for index, grid in enumerate(found):
        x = left + WHENS.index(grid.when) * (wide + gap)
        y = top + arms.index(grid.arm) * (high + 52)
        pins = sum(cell.pins for cell in grid.cells)
        where = f"{grid.with_pins:,} of {grid.blocks:,} pageblocks"
        said = f"{grid.arm}, {grid.when}: {pins:,} pinned pages in {where}"
        parts.append(_text(x, y + 14, said, bold=grid.when == WHENS[-1]))
        parts.append(f'<g id="grid{index}">')
        parts += [
            _cell(cell, x + at % _COLUMNS * _SIDE, y + 22 + at // _COLUMNS * _SIDE, most)
            for at, cell in enumerate(grid.cells)
        ]
        parts.append("</g>")
    parts += _legend(
        left, top + len(arms) * (high + 52) + 12, any(c.cma for g in found for c in g.cells)
    )
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _text(x: int, y: int, words: str, *, size: int = 12, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" font-size="{size}"{weight}>{escape(visible(words))}</text>'


def _cell(cell: Cell, x: int, y: int, most: int) -> str:
    side = _SIDE - 1
    words = f"pfn {cell.first:#x}: {_SAID[cell.kind]}, {cell.pins} pinned"
    # How dark a pin is says how many there are, whatever else the cell is.
    fill = _COLOURS[cell.kind] if not cell.pins else "#ffffff"
    parts = [f'<rect x="{x}" y="{y}" width="{side}" height="{side}" fill="{fill}">']
    parts.append(f"<title>{words}</title></rect>")
    if cell.kind == "offline":
        parts.append(
            f'<path d="M{x} {y}l{side} {side}m0 -{side}l-{side} {side}" stroke="#000000"/>'
        )
    if cell.pins:
        # From a third on, so that one pin in a cell is seen as well.
        strength = 0.35 + 0.65 * cell.pins / most
        parts.append(
            f'<rect x="{x}" y="{y}" width="{side}" height="{side}" fill="{_PIN}" '
            f'fill-opacity="{strength:.2f}" pointer-events="none"/>'
        )
    if cell.cma:
        parts.append(
            f'<path d="M{x} {y + side}h{side}" stroke="{_CMA}" stroke-width="2" fill="none"/>'
        )
    return "".join(parts)


def _legend(x: int, y: int, cma: bool) -> list[str]:
    parts = []
    signs = [(colour, _SAID[kind]) for kind, colour in _COLOURS.items() if kind != "offline"]
    for colour, words in [(_PIN, "pinned, the more the darker"), *signs]:
        parts.append(
            f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}" stroke="#999999"/>'
        )
        parts.append(_text(x + 18, y + 11, words))
        x += 34 + 7 * len(words)
    parts.append(f'<path d="M{x} {y}l12 12m0 -12l-12 12" stroke="#000000"/>')
    parts.append(_text(x + 18, y + 11, _SAID["offline"]))
    x += 34 + 7 * len(_SAID["offline"])
    if cma:
        parts.append(f'<path d="M{x} {y + 12}h12" stroke="{_CMA}" stroke-width="3"/>')
        parts.append(_text(x + 18, y + 11, "contiguous area"))
    return parts


# ---------------------------------------------------------------------------------------------
# Terminal
# ---------------------------------------------------------------------------------------------


def terminal(record: RunRecord, width: int) -> Text | None:
    """The picture in characters, None where there is no evidence for one. width: columns."""
    columns = max(16, min(width, 128) - 2)
    found, step = grids(record, columns * _LINES)
    if not found:
        return None
    most = max((cell.pins for grid in found for cell in grid.cells), default=0)
    text = Text()
    for grid in found:
        pins = sum(cell.pins for cell in grid.cells)
        text.append(visible(f"{grid.arm}, {grid.when}"), style="bold")
        where = f"{grid.with_pins:,} of {grid.blocks:,} pageblocks"
        text.append(f": {pins:,} pinned pages in {where}\n")
        for at in range(0, len(grid.cells), columns):
            line = grid.cells[at : at + columns]
            text.append("  ")
            for (sign, style), same in groupby(_sign(cell, most) for cell in line):
                text.append(sign * len(list(same)), style=style)
            text.append("\n")
    each = "a pageblock" if step == 1 else f"{step} pageblocks"
    gone = any(cell.kind == "offline" and not cell.pins for grid in found for cell in grid.cells)
    text.append(
        "  P p many or few pins, . free, o movable, # kernel's, H huge"
        f"{', _ offline' if gone else ''}; a cell is {each}",
        "dim",
    )
    return text


def _sign(cell: Cell, most: int) -> tuple[str, str]:
    if cell.pins:
        return ("P", "bold red") if cell.pins > most * _HAS_MANY else ("p", "red")
    return _SIGNS[cell.kind], _STYLES[cell.kind]
