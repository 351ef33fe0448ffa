# SPDX-License-Identifier: GPL-2.0-only
"""Reports of the kernel as text: which of their stacks are shown, and in short what of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from harness.model import Culprit, Place, Splat
from harness.parse import splat_frames, splat_sections, splat_text
from harness.report import frames

KASAN = """\
==================================================================
BUG: KASAN: slab-use-after-free in use+0x73/0x9f
Write of size 8 at addr ffff88800618d150 by task sh/109

CPU: 0 UID: 0 PID: 109 Comm: sh Tainted: G           O       6.12.117 #1
Call Trace:
 <TASK>
 dump_stack_lvl+0x59/0x6b
 ? stale+0x1e/0x1e
 kasan_report+0xcf/0xfa
 use+0x73/0x9f
 {calls}
 entry_SYSCALL_64_after_hwframe+0x4b/0x53
RIP: 0033:0x47b7a0
RAX: ffffffffffffffda RBX: 0000000000000001 RCX: 000000000047b7a0
 </TASK>

Allocated by task 66:
 kasan_save_stack+0x38/0x56
 __kmalloc_cache_noprof+0x169/0x176
 makes+0x66/0x107

Freed by task 107:
 kfree+0x10/0x20
 frees+0x66/0x107

page last free pid 1 tgid 1 stack trace:
 earlier+0x10/0x20
==================================================================
""".replace("{calls}", "\n ".join(f"call{n}+0x10/0x20" for n in range(20)))


def placed(report: str, blamed: str = "use") -> Splat:
    """A report of a build that has a line for each function: that of its own in the report."""
    known = [
        replace(each, places=(Place("mm/x.c", each.line, each.function),))
        for each in splat_frames.frames(report)
    ]
    line = next(each.line for each in known if each.function == blamed)
    culprit = Culprit("0001-x.patch", "x", "mm/x.c", line, blamed, brought=True)
    return Splat("KASAN", "BUG", "use", 1, 40, report, frames=tuple(known), culprit=culprit)


def squeezed(lines: Sequence[str]) -> list[str]:
    return [" ".join(line.split()) for line in lines]


def test_a_report_in_short_is_its_own_stack_and_whose_the_memory_was() -> None:
    found = squeezed(frames.short(placed(KASAN)))
    calls = [f"call{n} mm/x.c:{n + 12}" for n in range(15)]
    assert found == [
        "Write of size 8 at addr ffff88800618d150 by task sh/109",
        "Call Trace:",
        "use mm/x.c:11",
        *calls,
        "Allocated by task 66:",
        "makes mm/x.c:40",
        "Freed by task 107:",
        "frees mm/x.c:44",
        "and: page last free pid 1 tgid 1 stack trace",
    ]


def test_who_is_blamed_is_in_it_however_deep() -> None:
    found = squeezed(frames.short(placed(KASAN, "call19")))
    assert found[2:18] == [
        "use mm/x.c:11",
        *(f"call{n} mm/x.c:{n + 12}" for n in range(13)),
        "…",
        "call19 mm/x.c:31",
    ]


def test_a_report_in_whole_has_each_stack_under_its_heading() -> None:
    found = squeezed(frames.lines(placed(KASAN)))
    headings = [line for line in found if "mm/x.c" not in line]
    assert headings == [
        "Call Trace:",
        "Allocated by task 66:",
        "Freed by task 107:",
        "page last free pid 1 tgid 1 stack trace:",
    ]
    assert found[1:5] == [
        "dump_stack_lvl mm/x.c:8",
        "? stale mm/x.c:9",
        "kasan_report mm/x.c:10",
        "use mm/x.c:11",
    ]


def test_where_it_stood_comes_before_who_called_it() -> None:
    report = """\
BUG: kernel NULL pointer dereference, address: 0000000000000008
#PF: supervisor read access in kernel mode
RIP: 0010:stood+0x10/0x20
Code: 40 00 48
RAX: ffffffffffffffda RBX: 0000000000000001 RCX: 000000000047b7a0
Call Trace:
 <TASK>
 caller+0x10/0x20
 </TASK>
Modules linked in: x(O)
---[ end trace 0000000000000000 ]---
RIP: 0010:stood+0x10/0x20
"""
    assert squeezed(frames.short(placed(report, "stood"))) == [
        "#PF: supervisor read access in kernel mode",
        "stood mm/x.c:3",
        "Call Trace:",
        "caller mm/x.c:8",
    ]


def test_both_sides_of_a_race_are_there() -> None:
    report = """\
==================================================================
BUG: KCSAN: data-race in a / b

write to 0xffff8880022ab050 of 2 bytes by task 60 on cpu 1:
 a+0x4a/0x4de
 {calls}

read to 0xffff8880022ab050 of 2 bytes by task 61 on cpu 0:
 b+0x54/0x13f

value changed: 0x061e -> 0x0621
""".replace("{calls}", "\n ".join(f"call{n}+0x10/0x20" for n in range(20)))
    found = squeezed(frames.short(placed(report, "b")))
    assert found == [
        "write to 0xffff8880022ab050 of 2 bytes by task 60 on cpu 1:",
        "a mm/x.c:5",
        *(f"call{n} mm/x.c:{n + 6}" for n in range(7)),
        "read to 0xffff8880022ab050 of 2 bytes by task 61 on cpu 0:",
        "b mm/x.c:28",
    ]


def test_locks_that_are_held_are_not_the_stack() -> None:
    report = """\
BUG: sleeping function called from invalid context at mm/x.h:321
in_atomic(): 1, irqs_disabled(): 0, non_block: 0, pid: 70, name: dd
1 lock held by dd/70:
 #0: ffff888002e553f0 (sb_writers#5){.+.+}-{0:0}, at: holds+0x20/0x23
Call Trace:
 <TASK>
 might_alloc+0x2a/0x2d
 sleeps+0x41/0x9f
"""
    found = squeezed(frames.short(placed(report, "sleeps")))
    assert found == [
        "in_atomic(): 1, irqs_disabled(): 0, non_block: 0, pid: 70, name: dd",
        "Call Trace:",
        "sleeps mm/x.c:8",
        "and: 1 lock held by dd/70",
    ]


def test_of_several_traces_that_of_who_is_blamed_is_shown() -> None:
    report = """\
rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
Sending NMI from CPU 0 to CPUs 1:
Call Trace:
 <TASK>
 first+0x10/0x20
 </TASK>
NMI backtrace for cpu 1
Call Trace:
 <TASK>
 second+0x10/0x20
"""
    assert squeezed(frames.short(placed(report, "second")))[-3:] == [
        "Call Trace:",
        "second mm/x.c:10",
        "and: Call Trace",
    ]
    assert squeezed(frames.lines(placed(report, "second"))) == [
        "Call Trace:",
        "first mm/x.c:5",
        "Call Trace:",
        "second mm/x.c:10",
    ]


def test_a_decoded_report_has_its_stacks_and_its_code_is_not_said() -> None:
    report = """\
BUG: unable to handle page fault
the kernel says so
All code
========
  2a:*\t48 3d 00 f0 ff ff    \tcmp    $0xf,%rax
Code starting with the faulting instruction
===========================================
Call Trace:
foo (mm/a.c:1 (discriminator 2) include/linux/b.h:3) mod
Freed by task 7:
? bar (??:?)
"""
    found = splat_sections.sections(report)
    assert found.heading == {9: (8, "Call Trace:"), 11: (10, "Freed by task 7:")}
    assert found.said == ("the kernel says so",)


_PIECES = st.sampled_from(
    [
        "Call Trace:",
        " f+0x1/0x2",
        " ? g+0x3/0x40 [m]",
        "RIP: 0010:f+0x1/0x2",
        " <TASK>",
        "",
        "words",
        "RAX: ffffffffffffffda",
        "2 locks held by dd/1:",
        " #0: (x), at: f+0x1/0x2",
        "\x00\xff+0x1/0x",
    ]
)


@given(st.lists(_PIECES | st.text(max_size=40), max_size=40))
def test_any_report_is_taken_apart(texts: list[str]) -> None:
    report = "\n".join(texts)
    found = splat_sections.sections(report)
    lines = report.split("\n")
    for number, (at, heading) in found.heading.items():
        assert at < number <= len(lines)
        assert (heading == "") is (at == 0)
        assert heading in splat_text.split(lines[at - 1])[0] or not at
    # What splat_frames names has a place in it, and a report in whole names all of it.
    assert {each.line for each in splat_frames.frames(report)} <= {*found.heading}
