# SPDX-License-Identifier: GPL-2.0-only
"""Functions that reports name: golden lists of real and written logs, and what an offset means."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model import Frame
from harness.parse import splat
from harness.parse.splat_frames import MAX_FRAMES, frames, trap

GOLDEN = Path(__file__).parent.parent / "golden"
NAMES = (
    *("x86_64-vmbug", "x86_64-oops", "x86_64-lockdep-inversion", "x86_64-kasan-slab"),
    *("arm64-warn", "arm64-soft-lockup", "derived-x86-3.11", "derived-arm64-3.11"),
)


def shown(frame: Frame) -> str:
    """A frame on a line: its line, ! exact, ? in doubt, and where a printed address points."""
    module = f" [{frame.module}]" if frame.module else ""
    at = "" if frame.address is None else f" at {frame.address:x}"
    marks = ("!" if frame.exact else " ") + (" " if frame.sure else "?")
    return f"{frame.line:4} {marks} {frame.function}+{frame.offset:#x}/{frame.size:#x}{module}{at}"


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str, request: pytest.FixtureRequest) -> None:
    text = (GOLDEN / "splat" / f"{name}.log").read_bytes().decode(errors="replace")
    found = []
    for each in splat.find(text.split("\n")):
        found += [each.title, *map(shown, frames(each.report))]
    path = GOLDEN / "frames" / f"{name}.txt"
    if request.config.getoption("--rewrite-golden"):
        path.write_text("".join(f"{line}\n" for line in found))
    assert found == path.read_text().splitlines()


def one(line: str, *before: str) -> Frame:
    *_, last = frames("\n".join([*before, line]))
    return last


@pytest.mark.parametrize(
    ("line", "exact", "sure"),
    [
        ("RIP: 0010:foo+0x12/0x34", True, True),
        ("[    1.000000][   T31] RIP: 0010:foo+0x12/0x34 [pinner]", True, True),
        ("RIP: 0010:[<ffffffff81123456>]  [<ffffffff81123456>] foo+0x12/0x34", True, True),
        ("pc : foo+0x12/0x34", True, True),
        ("PC is at foo+0x12/0x34 [pinner]", True, True),
        ("lr : foo+0x12/0x34", False, False),
        (" foo+0x12/0x34", False, True),
        (" ? foo+0x12/0x34", False, False),
        (" [<ffffffff81123456>] ? foo+0x12/0x34", False, False),
        ("BUG: KASAN: slab-use-after-free in foo+0x12/0x34", False, True),
        ("ffff888 (&lock){+.+.}-{3:3}, at: foo+0x12/0x34 [pinner]", False, True),
        ("hardirqs last  enabled at (9): [<ffffffff81123456>] foo+0x12/0x34", False, False),
        # A trap since 4.12; before it, warn_slowpath() and where it returns to.
        ("WARNING: CPU: 0 PID: 1 at mm/x.c:12 foo+0x12/0x34", True, True),
        ("WARNING: mm/x.c:12 at foo+0x12/0x34, CPU#0: sh/1", True, True),
        ("WARNING: CPU: 0 PID: 1 at mm/x.c:12 foo+0x12/0x34()", False, True),
        ("WARNING: at mm/x.c:12 foo+0x12/0x34()", False, True),
    ],
)
def test_what_an_offset_means(line: str, exact: bool, sure: bool) -> None:
    found = one(line)
    assert (found.function, found.offset, found.size) == ("foo", 0x12, 0x34)
    assert (found.exact, found.sure) == (exact, sure)
    assert found.module == ("pinner" if "[pinner]" in line else "")
    assert found.address == (0xFFFFFFFF81123456 if "[<" in line else None)


def test_what_repeats_a_program_counter_is_exact_too() -> None:
    assert one(" foo+0x12/0x34", "RIP: 0010:foo+0x12/0x34").exact
    assert not one(" foo+0x13/0x34", "RIP: 0010:foo+0x12/0x34").exact
    assert not one(" foo+0x12/0x34 [other]", "RIP: 0010:foo+0x12/0x34").exact


def test_who_allocated_a_page_that_is_dumped_did_nothing() -> None:
    lines = (
        *("page_owner tracks the page as allocated", "page last allocated via order 0, pid 1"),
        *(" get_page+0x1/0x2", "page last free pid 0 tgid 0 stack trace:", " free+0x1/0x2"),
        *("------------[ cut here ]------------", "RIP: 0010:foo+0x12/0x34", " bar+0x1/0x2"),
    )
    found = {each.function: each.sure for each in frames("\n".join(lines))}
    assert found == {"get_page": False, "free": False, "foo": True, "bar": True}


def test_what_an_exception_interrupted_is_exact() -> None:
    found = list(frames(" el1h_64_irq+0x64/0x68\n foo+0x12/0x34\n bar+0x1/0x2"))
    assert [each.exact for each in found] == [False, True, False]


def test_a_return_to_the_begin_of_a_function_is_no_frame_of_it() -> None:
    assert list(frames(" foo+0x0/0x34")) == []
    assert one("RIP: 0010:foo+0x0/0x34").offset == 0


def test_compilers_names_stay() -> None:
    for name in ("foo.cold", "foo.isra.0", "foo.constprop.0.cold", "__do_sys_x"):
        assert one(f" {name}+0x1/0x2").function == name


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("[    1.000000] kernel BUG at mm/compaction.c:1089!", ("mm/compaction.c", 1089)),
        ("WARNING: CPU: 0 PID: 1 at mm/x.c:12 foo+0x12/0x34", ("mm/x.c", 12)),
        ("WARNING: include/linux/x.h:12 at foo+0x12/0x34, CPU#0: sh/1", ("include/linux/x.h", 12)),
        ("WARNING: at mm/x.c:12 foo+0x12/0x34()", ("mm/x.c", 12)),
        ("kernel BUG at /tmp/modules/pinner/main.c:12!", None),
        ("kernel BUG at ../../etc/x.c:12!", None),
        ("WARNING: possible circular locking dependency detected", None),
    ],
)
def test_the_line_that_a_trap_names_itself(line: str, found: tuple[str, int] | None) -> None:
    assert trap(f"something\n{line}\n foo+0x1/0x2") == found


def test_a_reports_frames_are_bounded() -> None:
    assert len(list(frames(" foo+0x12/0x34\n" * 5000))) == MAX_FRAMES


@given(st.text())
def test_any_text_will_do(text: str) -> None:
    list(frames(text))
