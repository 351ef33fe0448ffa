# SPDX-License-Identifier: GPL-2.0-only
"""The parsers of a guest's files: what they find, and that they refuse the rest by its line."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import EvidenceError
from harness.parse import buddyinfo, ledger, pageflags, trace, vmstat

LEDGER = "pinner-ledger 1\n0 4096 8192 1 0 stored\n3 4128 4128 0 -11 corrupt\n"
MOVES = "pinner-moves 1\n1 0 4096 8192 0\n2 3 4128 9000 -11\ndropped 0\n"


def test_ledger() -> None:
    assert ledger.ledger(LEDGER) == (
        ledger.Pin(0, 4096, 8192, 1, 0, "stored"),
        ledger.Pin(3, 4128, 4128, 0, -11, "corrupt"),
    )
    assert ledger.ledger("pinner-ledger 1\n") == ()


def test_moves() -> None:
    found = ledger.moves(MOVES)
    assert found.calls == (ledger.Move(1, 0, 4096, 8192, 0), ledger.Move(2, 3, 4128, 9000, -11))
    assert ledger.moves("pinner-moves 1\ndropped 12\n") == ledger.Moves((), 12)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: it should begin"),
        ("pinner-ledger 2\n", "line 1: it should begin"),
        (LEDGER + "4 1 1 0 stored\n", "line 4: 6 fields are due"),
        (LEDGER + "4 1 1 0 0 asleep\n", "line 4: 'asleep' is no state"),
        (LEDGER + "0 1 1 0 0 stored\n", "line 4: handle 0 stands there twice"),
        (LEDGER + "4 0x1 1 0 0 stored\n", "line 4: '0x1' is not a number"),
        (LEDGER + "4 ١ 1 0 0 stored\n", "is not a number"),
        (LEDGER + f"4 {'9' * 5000} 1 0 0 stored\n", "is not a number"),
    ],
)
def test_a_bad_ledger_is_refused_by_its_line(text: str, words: str) -> None:
    with pytest.raises(EvidenceError, match=words) as caught:
        ledger.ledger(text)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pinner-moves 1\n1 0 4096 8192 0\n", "cut short"),
        ("pinner-moves 1\n1 0 4096 81", "line 2: 5 fields are due"),
        (MOVES + "3 0 1 2 0\n", "line 5: nothing may follow"),
    ],
)
def test_bad_moves_are_refused_by_their_line(text: str, words: str) -> None:
    with pytest.raises(EvidenceError, match=words):
        ledger.moves(text)


def test_counters() -> None:
    said = "mode pinpage\npinned 4000\nhuge_got 449\nlast_errno -11\n"
    assert ledger.counters(said) == {
        "mode": "pinpage",
        "pinned": 4000,
        "huge_got": 449,
        "last_errno": -11,
    }
    with pytest.raises(EvidenceError, match="line 2"):
        ledger.counters("mode plain\npinned\n")


def test_log_lines_of_the_pinner() -> None:
    lines = [
        "[    3.21] pinner: migrated handle=12 pfn=0x12345->0x23456 moves=1",
        "<6>[ 4.0][ T12] pinner: refused handle=7 pfn=0xff err=-11",
        "[    3.3] pinner: loaded, mode pinpage",
        "pinner: migrated handle=12 pfn=0x12345->",
    ]
    assert list(ledger.log(lines)) == [
        ledger.Logged(12, 0x12345, 0x23456, 0),
        ledger.Logged(7, 0xFF, None, -11),
    ]


def test_vmstat() -> None:
    assert vmstat.vmstat("nr_free_pages 5\npgmigrate_success 0\n")["nr_free_pages"] == 5
    for bad in ("", "nr_free_pages\n", "nr_free_pages five\n", "a 1 2\n"):
        with pytest.raises(EvidenceError, match="/proc/vmstat, line 1"):
            vmstat.vmstat(bad)


BUDDY = """\
Node 0, zone      DMA      1      0      0      1      2      1      1      0      1      1      3 
Node 0, zone    DMA32    759    572    791    475    194     45     12      0      0      0      0 
"""  # noqa: W291 - the kernel ends its lines in a blank
EXTFRAG = """\
Node 0, zone      DMA -1.000 -1.000 -1.000 
Node 0, zone    DMA32 -1.000 0.875 0.001 
"""  # noqa: W291


def test_buddyinfo() -> None:
    dma, dma32 = buddyinfo.buddyinfo(BUDDY)
    assert (dma.node, dma.zone, dma.blocks[-1]) == (0, "DMA", 3)
    assert dma32.pages == 759 + 2 * 572 + 4 * 791 + 8 * 475 + 16 * 194 + 32 * 45 + 64 * 12


def test_extfrag() -> None:
    assert buddyinfo.extfrag(EXTFRAG, "extfrag_index")[1].values == (-1.0, 0.875, 0.001)
    with pytest.raises(EvidenceError, match="extfrag_index, line 1: 'nan'"):
        buddyinfo.extfrag("Node 0, zone DMA nan\n", "extfrag_index")


TRACE = """\
# tracer: nop
#
# entries-in-buffer/entries-written: 4/4   #P:1
#
#                                _-----=> irqs-off/BH-disabled
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
              sh-81      [000] .....     9.812345: mm_page_free: page=00000000deadbeef pfn=0x1a2b order=0
 kworker/u2:1 x-7        [001] d..1.     9.812400: mm_migrate_pages: nr_succeeded=32 nr_failed=0 nr_thp_succeeded=0 nr_thp_failed=0 nr_thp_split=0 nr_split=0 mode=MIGRATE_ASYNC reason=compaction
CPU:1 [LOST 37 EVENTS]
            sh-81      [000]     9.900000: mm_compaction_isolate_migratepages: range=(0x8000 ~ 0x8020) nr_scanned=32 nr_taken=31
            sh-81      [000] .....     9.900001: mm_compaction_begin: zone_start=0x1000 migrate_pfn=0x1000 free_pfn=0x3fe00 zone_end=0x3ffdf, mode=sync
"""  # noqa: E501


def test_trace() -> None:
    seen = trace.trace(TRACE.splitlines())
    assert seen.lost == 37
    freed, migrated, isolated, begin = seen.events
    assert trace.number(freed, "pfn") == 0x1A2B and freed.cpu == 0
    assert migrated.name == "mm_migrate_pages"
    assert migrated.fields["reason"] == "compaction"
    assert trace.number(migrated, "nr_succeeded") == 32
    assert isolated.fields["range"] == "(0x8000 ~ 0x8020)"
    assert trace.number(isolated, "nr_taken") == 31
    assert trace.number(begin, "zone_end") == 0x3FFDF and begin.fields["mode"] == "sync"
    with pytest.raises(EvidenceError, match="no number nr_failed"):
        trace.number(freed, "nr_failed")


def test_a_line_that_is_no_event_is_refused() -> None:
    with pytest.raises(EvidenceError, match="trace, line 2"):
        trace.trace(["# tracer: nop", "cut short [000] ..... 9.9"])


STATS = """\
entries: 5
overrun: 2
commit overrun: 0
bytes: 460
oldest event ts:     9.812345
now ts:    10.0
dropped events: 1
read events: 0
"""


def test_trace_stats() -> None:
    found = trace.stats(STATS, "cpu0/stats")
    assert found == {"entries": 5, "overrun": 2, "commit overrun": 0, "dropped events": 1}
    with pytest.raises(EvidenceError, match="'overrun' is missing"):
        trace.stats("entries: 5\n", "cpu0/stats")


def test_pageflags() -> None:
    data = struct.pack("=3Q", 1 << 10, 1 << 20 | 1 << 5, 0)
    flags = pageflags.pageflags(data, 512)
    assert list(flags) == [512, 513, 514]
    assert [bool(value & pageflags.FREE) for value in flags.values()] == [True, True, False]
    assert pageflags.names(flags[513]) == ["LRU", "NOPAGE"]
    with pytest.raises(EvidenceError, match="23 bytes"):
        pageflags.pageflags(data[:-1], 0)


PARSERS: list[Callable[[str], object]] = [
    ledger.ledger,
    ledger.moves,
    ledger.counters,
    lambda text: list(ledger.log(text.splitlines())),
    vmstat.vmstat,
    buddyinfo.buddyinfo,
    lambda text: buddyinfo.extfrag(text, "extfrag_index"),
    lambda text: trace.trace(text.splitlines()),
    lambda text: trace.stats(text, "stats"),
]
SEEDS = [LEDGER, MOVES, BUDDY, EXTFRAG, TRACE, STATS, "pgmigrate_success 5\n"]


@settings(deadline=None)
@given(
    st.one_of(
        st.text(),
        st.tuples(st.sampled_from(SEEDS), st.integers(0, 400), st.text(max_size=8)).map(
            lambda t: t[0][: t[1]] + t[2] + t[0][t[1] + len(t[2]) :]
        ),
    )
)
def test_no_text_makes_a_parser_raise_anything_else(text: str) -> None:
    for parse in PARSERS:
        try:
            parse(text)
        except EvidenceError as error:
            assert error.message
