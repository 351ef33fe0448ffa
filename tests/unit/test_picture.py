# SPDX-License-Identifier: GPL-2.0-only
"""The picture of the memory: what is in a pageblock, and what of that is drawn."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_report import record

from harness.errors import EvidenceError
from harness.model import JSON, Event
from harness.parse import pageblocks
from harness.parse.pageblocks import PAGEBLOCK, Content, Run
from harness.parse.pageflags import BITS
from harness.report import picture

SVG = "{http://www.w3.org/2000/svg}"


def flags(*names: str) -> int:
    return sum(1 << BITS[name] for name in names)


def frames(*runs: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("=Q", value) * count for count, value in runs)


def test_a_pageblock_is_told_by_what_is_in_it() -> None:
    data = frames(
        (512, flags("BUDDY")),
        (100, flags("LRU", "ANON")),
        (400, flags("SLAB")),
        (12, 0),
        (512, flags("THP", "ANON")),
        (512, flags("HUGE")),
        (512, flags("NOPAGE")),
        (512, 0),
        (1024, flags("NOPAGE")),
    )
    assert pageblocks.pageblocks(data) == (
        Run(0, 1, Content(free=512)),
        Run(512, 1, Content(movable=100, kernel=412)),
        Run(1024, 2, Content(huge=512)),
        Run(2048, 1, Content(absent=512)),
        Run(2560, 1, Content(kernel=512)),
    )


def test_only_the_first_frame_of_a_free_block_says_so_on_an_old_kernel() -> None:
    data = frames((1, flags("BUDDY")), (255, 0), (1, flags("SLAB")), (255, 0))
    assert pageblocks.pageblocks(data) == (Run(0, 1, Content(free=256, kernel=256)),)
    # A free block ends where its place says that it has to.
    data = frames((4, 0), (1, flags("BUDDY")), (507, 0))
    assert pageblocks.pageblocks(data) == (Run(0, 1, Content(free=4, kernel=508)),)


def test_a_cut_answer_is_refused() -> None:
    with pytest.raises(EvidenceError, match="7 bytes"):
        pageblocks.pageblocks(b"1234567")


@given(st.binary(max_size=20_000))
def test_no_frame_is_lost_or_counted_twice(data: bytes) -> None:
    with contextlib.suppress(EvidenceError):
        runs = pageblocks.pageblocks(data)
        told = sum(
            run.blocks * sum(vars(run.content).values())
            for run in runs
            if run.content.absent < PAGEBLOCK
        )
        assert told <= len(data) // 8


def drawn(arm: str, when: str, rows: list[list[int]], pins: list[int]) -> list[Event]:
    ledger: list[JSON] = [[at, pfn, pfn, 0, 0, "stored"] for at, pfn in enumerate(pins)]
    layout: list[JSON] = [[*row] for row in rows]
    return [
        Event(arm, "pageflags", "blocks", {"when": when, "size": 512, "rows": layout}),
        Event(arm, "pinner", "ledger", {"when": when, "rows": ledger}),
    ]


FULL = [[0, 4, 512, 0, 0, 0, 0], [2048, 8, 0, 0, 0, 0, 512], [6144, 2, 0, 0, 0, 512, 0]]
SPREAD, GATHERED = [5, 600, 1100, 1600], [6200, 6201, 6700, 6701]
EVENTS = [
    *drawn("control", "before", FULL, SPREAD),
    *drawn("control", "after", FULL, SPREAD),
    *drawn("treated", "before", FULL, SPREAD),
    *drawn("treated", "after", [*FULL[:2], [6144, 1, 0, 0, 0, 512, 0]], GATHERED[:2]),
]


def test_holes_are_left_out_and_pins_are_where_the_ledger_says() -> None:
    run = replace(record(), events=tuple(EVENTS))
    grids, step = picture.grids(run)
    assert step == 1
    assert [(grid.arm, grid.when) for grid in grids] == [
        (arm, when) for arm in ("control", "treated") for when in ("before", "after")
    ]
    first, last = grids[0], grids[-1]
    assert [cell.first for cell in first.cells] == [0, 512, 1024, 1536, 6144, 6656]
    assert [cell.pins for cell in first.cells] == [1, 1, 1, 1, 0, 0]
    assert [cell.pins for cell in last.cells] == [0, 0, 0, 0, 2, 0]
    assert [cell.kind for cell in last.cells] == ["free"] * 4 + ["kernel", "offline"]


def test_several_pageblocks_share_a_cell_where_there_are_too_many() -> None:
    grids, step = picture.grids(replace(record(), events=tuple(EVENTS)), cells=3)
    assert step == 2
    assert [cell.pins for cell in grids[0].cells] == [2, 2, 0]
    assert (grids[0].with_pins, grids[0].blocks) == (4, 6)  # of pageblocks, not of cells


def test_the_svg_has_a_cell_for_each_and_says_what_it_shows() -> None:
    run = replace(record(), events=tuple(EVENTS))
    run = replace(run, spec=replace(run.spec, kernel="<&\x1b>"))
    root = ElementTree.fromstring(picture.svg(run))
    groups = root.findall(f"{SVG}g")
    titles = [group.findall(f"{SVG}rect/{SVG}title") for group in groups]
    assert [len(each) for each in titles] == [6, 6, 6, 6]
    assert titles[3][4].text == "pfn 0x1800: the kernel's, 2 pinned"
    said = [each.text or "" for each in root.findall(f"{SVG}text")]
    assert any("<&" in each for each in said)
    assert "treated, after: 2 pinned pages in 1 of 6 pageblocks" in said


def test_on_a_terminal_pins_stand_out_without_colour() -> None:
    text = picture.terminal(replace(record(), events=tuple(EVENTS)), 80)
    assert text is not None
    lines = text.plain.splitlines()
    assert lines[1] == "  PPPP##" or lines[1] == "  pppp##"
    assert lines[7] == "  ....P_" and ", _ offline" in lines[-1]
    assert text.plain.isascii()


def test_without_evidence_there_is_no_picture() -> None:
    run = replace(record(), events=())
    assert picture.svg(run) == ""
    assert picture.terminal(run, 80) is None
