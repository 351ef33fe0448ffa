# SPDX-License-Identifier: GPL-2.0-only
"""Who holds a page, where user pages are, and which attempt a line of the log belongs to."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import EvidenceError
from harness.model import Caller, Splat
from harness.parse import ledger, marks, page_owner, userpages

RECORD = """\
Page allocated via order 0, mask 0x12202a(GFP_NOWAIT|__GFP_X), pid 93, tgid 93 (sh), ts 4123 ns
PFN 0x101f type Movable Block 8 type CMA Flags 0x4000000000000000(zone=1)
 post_alloc_hook+0xc2/0xd0
 get_page_from_freelist+0x2e1/0x1000
 __alloc_pages_noprof+0xa1/0x200
 pinner_plan_drain+0x56/0x100 [pinner]
 full_proxy_write+0x10/0x20
Charged to memcg x
"""
DUMP = """\
[   60.6] page: refcount:1 mapcount:0 mapping:0000000000000000 index:0x0 pfn:0x110005
[   60.6] flags: 0x500000000000000(workingset|node=1|zone=1)
[   60.6] page_type: f5(slab)
[   60.6] raw: 0500000000000000 0000000000000000
[   60.6] page dumped because: unmovable page
[   60.6] page_owner tracks the page as allocated
[   60.6] page last allocated via order 0, migratetype Unmovable, gfp_mask 0x2dc0(GFP_KERNEL)
[   60.6]  post_alloc_hook+0x67/0x6c
[   60.6]  init_section_page_ext+0x3d/0xa1
[   60.6]  page_ext_callback+0x98/0xe1
[   60.6] page has been migrated
[   61.0] page: refcount:2 mapcount:-1 mapping:0000000000000000 index:0x0 pfn:0x7
""".splitlines()


def test_a_record_of_page_owner_names_module_and_calls() -> None:
    found = page_owner.owner(RECORD)
    assert found is not None
    assert (found.pfn, found.order, found.pid, found.comm) == (0x101F, 0, 93, "sh")
    assert found.stack == (Caller("pinner_plan_drain", "pinner"), Caller("full_proxy_write"))
    assert found.module == "pinner"


@pytest.mark.parametrize("text", ["", "PFN 0x1 type Movable Block 0 type Movable", RECORD[:60]])
def test_what_is_no_record_of_page_owner_is_none(text: str) -> None:
    assert page_owner.owner(text) is None


def test_dumped_pages_come_with_what_the_kernel_says_of_them() -> None:
    first, second = page_owner.dumps(DUMP)
    assert first == (
        1,
        page_owner.Dumped(
            0x110005,
            1,
            0,
            "workingset|node=1|zone=1",
            "slab",
            "unmovable page",
            (Caller("init_section_page_ext"), Caller("page_ext_callback")),
        ),
    )
    assert second == (12, page_owner.Dumped(7, 2, -1))


@given(st.text())
def test_no_text_breaks_the_parsers_of_pages(text: str) -> None:
    page_owner.owner(text)
    list(page_owner.dumps(text.splitlines()))
    marks.spans(text.splitlines())


def test_a_line_belongs_to_the_attempt_that_went_on() -> None:
    lines = [
        "[1.0] " + marks.begins(3, "offline of memory33"),
        "page allocation failure",
        "[1.5] " + marks.ends(3),
        "another",
        "[2.0] " + marks.begins(4, "offline of memory34"),
        "a third",
    ]
    assert marks.spans(lines) == [(3, 1, 3), (4, 5, 6)]
    splats = [Splat("WARN", "t", "", line, line, "") for line in (2, 4)]
    assert [(s.arm, s.during) for s in marks.attribute(splats, lines, "x")] == [("x", 3), ("x", 0)]


def test_an_end_without_a_beginning_is_nothing() -> None:
    assert marks.spans([marks.ends(3), marks.begins(3, "x"), marks.ends(3)]) == [(3, 2, 3)]


def test_references_by_handle() -> None:
    assert ledger.refs("pinner-refs 1\n0 4096 1\n2 4099 3\n") == [(0, 4096, 1), (2, 4099, 3)]
    with pytest.raises(EvidenceError, match="3 fields are due, there are 2"):
        ledger.refs("pinner-refs 1\n0 4096\n")


def test_a_process_says_where_its_pages_are() -> None:
    text = "held 93 139874365603840 1024\nwhole 1024 1024\nadvised 0 0\nbad 3 1024\n"
    assert userpages.held(text) == userpages.Held(93, 139874365603840, 1024)
    assert userpages.looked(text) == [(0, 1024), (3, 1024)]
    assert userpages.advised(text) == [0]
    assert userpages.held("userpages: mbind(): error 22\n") is None


def test_a_system_call_says_what_moved() -> None:
    said = userpages.moved("result 0 2\nnode 0 100\nnode 1 4\nerrno 16 2\n")
    assert said == userpages.Moved(0, 2, {0: 100, 1: 4}, {16: 2})


@pytest.mark.parametrize(
    ("text", "said"), [("", "it gave no result"), ("result 0 0\nhello\n", "line 2: this is no")]
)
def test_what_is_no_result_is_refused(text: str, said: str) -> None:
    with pytest.raises(EvidenceError, match=said):
        userpages.moved(text)


def test_pieces_are_cut_by_their_length_and_not_by_their_lines() -> None:
    data = b"@7 4\na\n@b\n@9 -22\n\n@11 0\n\n"
    assert list(userpages.pieces(data)) == [(7, 0, b"a\n@b"), (9, 22, b""), (11, 0, b"")]
    for cut in (3, len(data) - 1):
        with pytest.raises(EvidenceError):
            list(userpages.pieces(data[:cut]))


@given(st.binary())
def test_no_bytes_break_the_parser_of_pieces(data: bytes) -> None:
    with contextlib.suppress(EvidenceError):
        list(userpages.pieces(data))


def test_numa_maps_counts_the_mapping_that_holds_the_address() -> None:
    text = (
        "00400000 default file=/userpages mapped=2 N0=2 kernelpagesize_kB=4\n"
        "7f3200000000 bind:1 anon=8192 dirty=8192 N0=100 N1=8092 kernelpagesize_kB=4\n"
        "7ffe00000000 default stack anon=2 N0=2 kernelpagesize_kB=4\n"
    )
    assert userpages.on_nodes(text, 0x7F3200001000) == {0: 100, 1: 8092}
    assert userpages.on_nodes(text, 0x1000) is None
    with pytest.raises(EvidenceError):
        userpages.on_nodes("hello\n", 0x1000)


def test_a_bug_in_a_loop_is_kept_a_few_times_and_counted() -> None:
    def report(line: int, title: str, kind: str = "KASAN", arm: str = "treated") -> Splat:
        return Splat(kind, title, "f", line, line + 5, "…", arm=arm)

    many = [report(10 * n, f"BUG: KASAN: use-after-free in f+0x{n:x}/0x82") for n in range(1000)]
    other = report(7, "BUG: Bad page state", "BUG")
    elsewhere = replace(many[3], arm="control")
    found = marks.thinned([*many[:500], other, *many[500:], elsewhere])
    assert [(each.first_line, each.again) for each in found] == [
        *((0, 996), (10, 0), (20, 0), (30, 0)),
        *((7, 0), (30, 0)),
    ]
    assert marks.thinned(found) == found
    assert marks.thinned([*found, many[9]])[0].again == 997
