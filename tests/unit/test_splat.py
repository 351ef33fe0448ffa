# SPDX-License-Identifier: GPL-2.0-only
"""Splats: golden logs, the same with other prefixes, side by side, mutilated, and random text."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.model import Splat
from harness.parse.splat import KINDS, clean, find, summary, to_json
from harness.parse.splat_formats import FORMATS, Role
from harness.parse.splat_headline import DIE_KINDS, PANIC_KINDS, headline
from harness.parse.splat_text import MAX_LINE, split

GOLDEN = Path(__file__).parent.parent / "golden" / "splat"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.log"))
FIELDS = ("kind", "title", "function", "first_line", "last_line", "fatal")


def read(name: str) -> list[str]:
    return (GOLDEN / f"{name}.log").read_bytes().decode(errors="replace").split("\n")[:-1]


def expectation(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return found


def plain(name: str) -> bool:
    """Whether each line is one message, and means the same without what stands in front of it."""
    return not {"caller_ids", "as_it_stands"} & expectation(name).keys()


def facts(splats: Sequence[Splat]) -> list[dict[str, Any]]:
    return [{field: getattr(splat, field) for field in FIELDS} for splat in splats]


# --- golden logs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str, request: pytest.FixtureRequest) -> None:
    found = facts(list(find(read(name))))
    expected = expectation(name)
    if request.config.getoption("--rewrite-golden"):
        expected["splats"] = found
        (GOLDEN / f"{name}.json").write_text(json.dumps(expected, indent=1) + "\n")
    assert found == expected["splats"]
    assert expected["origin"].startswith(("console of ", "written from "))


def test_every_kind_has_a_golden_log() -> None:
    seen = {splat["kind"] for name in NAMES for splat in expectation(name)["splats"]}
    assert seen == KINDS


def test_every_row_of_the_tables_has_a_golden_log() -> None:
    """A row that no log needs may be wrong, or shadowed by another."""
    texts = [split(line)[0] for name in NAMES for line in read(name)]
    used = {next((row for row in FORMATS if row.pattern.match(text)), None) for text in texts}
    assert [row.pattern.pattern for row in FORMATS if row not in used] == []
    died = {found.kind for text in texts if (found := headline(text)) and found.role is Role.DIE}
    assert {kind for kind, _ in DIE_KINDS} <= died
    dead = {found.kind for text in texts if (found := headline(text)) and found.role is Role.PANIC}
    assert {kind for kind, _ in PANIC_KINDS} <= dead


def test_there_are_clean_boots_of_both_architectures() -> None:
    boots = [name for name in NAMES if name.endswith("boot")]
    assert {name.split("-")[0] for name in boots} == {"x86_64", "arm64"}
    assert all(expectation(name)["splats"] == [] for name in boots)
    assert all(len(read(name)) > 80 for name in boots)


@pytest.mark.parametrize("name", NAMES)
def test_a_report_is_its_lines(name: str) -> None:
    lines = read(name)
    for splat in find(lines):
        own = splat.report.split("\n")
        span = [line.rstrip("\r") for line in lines[splat.first_line - 1 : splat.last_line]]
        if expectation(name).get("caller_ids"):
            remaining = iter(span)
            assert all(line in remaining for line in own)  # in order, others' left out
        else:
            assert len(own) == len(span)
            # what is left out is another message, in front of it on a line without an end
            assert all(line.endswith(mine) for line, mine in zip(span, own, strict=True))
        assert splat.title in summary(splat) and splat.function in summary(splat)
        assert "\n" not in summary(splat)


# --- whatever stands in front --------------------------------------------------------------------


def stamp(number: int) -> str:
    return f"[{number // 40:5d}.{number % 1000000:06d}] "


def caller_of(caller: str) -> str:
    return f"[{caller or 'T1':>6}]"


PREFIXES: dict[str, Callable[[int, str, str], str]] = {
    "none": lambda _n, text, _c: text,
    "timestamp": lambda n, text, _c: stamp(n) + text,
    "timestamp and caller id": lambda n, text, c: stamp(n).rstrip() + caller_of(c) + " " + text,
    "caller id": lambda _n, text, c: caller_of(c) + " " + text,
    "level": lambda _n, text, _c: f"<4>{text}",
    "level and timestamp": lambda n, text, _c: f"<3>{stamp(n)}{text}",
    "journal": lambda _n, text, _c: f"Nov 23 07:57:20 host-1.example kernel: {text}",
    "journal and timestamp": lambda n, text, _c: f"Nov  3 07:57:20 h kernel: {stamp(n)}{text}",
    "journal, ISO": lambda _n, text, _c: f"2025-11-23T07:57:20.123456+01:00 host kernel: {text}",
    "dmesg -T": lambda _n, text, _c: f"[Sun Nov 23 07:57:20 2025] {text}",
    "dmesg -x": lambda n, text, _c: f"kern  :warn  : {stamp(n)}{text}",
    "console server": lambda n, text, _c: f"console: {stamp(n)}{text}",
    "console server, bare": lambda _n, text, _c: f"console: {text}",
    "CR LF": lambda _n, text, _c: f"{text}\r\n",
    "CR and timestamp": lambda n, text, _c: f"{stamp(n)}{text}\r",
    "colours": lambda n, text, _c: f"\x1b[32m{stamp(n)}\x1b[0;1m\x1b[31m{text}\x1b[0m",
    "a prompt before the timestamp": lambda n, text, _c: f"~ # {stamp(n)}{text}",
    "a message cut off by the next": lambda n, text, _c: f"{stamp(n)}usb 1-1: ne{stamp(n)}{text}",
}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_do_not_matter(prefix: str) -> None:
    for name in NAMES:
        expected = expectation(name)
        if not plain(name) and not (
            expected.get("caller_ids") and prefix == "timestamp and caller id"
        ):
            continue
        parts = [split(line) for line in read(name)]
        lines = [PREFIXES[prefix](n, text, c) for n, (text, c) in enumerate(parts, 4000)]
        assert facts(list(find(lines))) == expected["splats"], name


@pytest.mark.parametrize("prefix", PREFIXES)
def test_clean_leaves_the_message(prefix: str) -> None:
    message = "BUG: KASAN: slab-use-after-free in pinner_store+0x12/0x34 [pinner]"
    assert clean(PREFIXES[prefix](41, message, "C0")) == message


def test_clean_keeps_what_only_looks_like_a_prefix() -> None:
    assert clean("[<ffffffff81123456>] pinner_store+0x16/0x30") == (
        "[<ffffffff81123456>] pinner_store+0x16/0x30"
    )
    assert clean("[    1.0] [00000008] *pgd=0000") == "[    1.0] [00000008] *pgd=0000"
    assert clean("[    1.000] [00000008] *pgd=0000") == "[00000008] *pgd=0000"
    assert clean("kernel BUG at mm/slab.c:1!") == "kernel BUG at mm/slab.c:1!"
    assert clean("") == ""


# --- side by side --------------------------------------------------------------------------------


def shifted(splats: Sequence[dict[str, Any]], by: int) -> list[dict[str, Any]]:
    return [
        {**s, "first_line": s["first_line"] + by, "last_line": s["last_line"] + by} for s in splats
    ]


@pytest.mark.parametrize("between", ["", "Linux version 6.12.0 (u@h) (gcc 12.2.0) #1 SMP"])
@pytest.mark.parametrize("order", ["forwards", "backwards", "in halves"])
def test_logs_behind_each_other_are_the_sum(order: str, between: str) -> None:
    names = [name for name in NAMES if plain(name)]
    if not between:
        names.remove("derived-cut")  # its first lines could be the end of any report
    if order == "backwards":
        names.reverse()
    elif order == "in halves":
        names = names[1::2] + names[::2]
    lines: list[str] = []
    expected: list[dict[str, Any]] = []
    for name in names:
        expected += shifted(expectation(name)["splats"], len(lines))
        lines += [split(line)[0] for line in read(name)]
        lines += [between] if between else []
    assert facts(list(find(lines))) == expected


def test_two_cpus_at_once_are_told_apart_by_caller_ids() -> None:
    first = ["[    1.000000][   T10] " + split(line)[0] for line in read("x86_64-warn")]
    second = ["[    1.000000][    C1] " + split(line)[0] for line in read("x86_64-slub")]
    mixed = [line for pair in zip(first, second, strict=False) for line in pair]
    found = sorted((s.kind, s.title, s.function) for s in find(mixed))
    alone = [*find(first[: len(mixed) // 2]), *find(second[: len(mixed) // 2])]
    assert found == sorted((s.kind, s.title, s.function) for s in alone)


@pytest.mark.parametrize("name", NAMES)
def test_a_log_cut_at_its_end_still_tells(name: str) -> None:
    """However few lines of a report are left, from its headline on: it is found."""
    if not plain(name):
        return
    lines = read(name)
    whole = list(find(lines))
    for index, splat in enumerate(whole):
        heads = [headline(split(line)[0]) for line in splat.report.split("\n")]
        if {head.role for head in heads if head} <= {Role.MAYBE}:
            continue  # nothing but its trace or its end marker says that it is one
        ends = range(splat.first_line, splat.last_line + 1)
        for end in ends[len(ends) // 3 :: max(1, len(ends) // 4)]:
            found = list(find(lines[:end]))
            assert len(found) == index + 1
            assert facts(found[:index]) == facts(whole[:index])
            assert found[index].first_line == splat.first_line
            assert end - 8 <= found[index].last_line <= end


# --- details that no log shows alone -------------------------------------------------------------


def one(*lines: str) -> Splat:
    (splat,) = find(lines)
    return splat


def test_a_panic_that_is_no_consequence_is_a_report_of_its_own() -> None:
    oops = [split(line)[0] for line in read("x86_64-oops-panic")]
    end = next(n for n, line in enumerate(oops) if line.startswith("Kernel panic"))
    own = [*oops[:end], "Kernel panic - not syncing: sysrq triggered crash"]
    assert [(s.kind, s.fatal) for s in find(own)] == [("oops", False), ("panic", True)]
    joined = [*oops[:end], "Kernel panic - not syncing: Fatal exception"]
    assert [(s.kind, s.fatal) for s in find(joined)] == [("oops", True)]


def test_a_generic_bug_line_needs_a_trace() -> None:
    trace = ["CPU: 0 PID: 1 Comm: init", "Call Trace:", " foo+0x1/0x2"]
    assert list(find(["BUG: something new and unheard of"])) == []
    splat = one("BUG: something new and unheard of", *trace)
    assert (splat.kind, splat.function) == ("BUG", "foo")
    assert list(find(["BUG: something new", *["a line of something else"] * 9, *trace])) == []


def test_a_generic_warning_line_needs_a_trace() -> None:
    assert list(find(["WARNING: the feature is not supported yet"])) == []
    splat = one("WARNING: stack recursion of a new sort", "Call Trace:", " foo+0x1/0x2")
    assert (splat.kind, splat.title) == ("WARN", "WARNING: stack recursion of a new sort")


@pytest.mark.parametrize(
    ("line", "kind", "title"),
    [
        ("Oops: stack guard page: 0000 [#1] SMP", "stack-overflow", "stack guard page"),
        ("Oops: double fault: 0000 [#1] SMP", "double-fault", "double fault"),
        ("Kernel BUG [#1]", "BUG", "Kernel BUG"),
        ("Oops: Exception in kernel mode, sig: 5 [#1]", "BUG", "Exception in kernel mode"),
        ("Oops: 0002 [#1] SMP", "oops", "Oops"),
        ("Internal error: Oops: 96000045 [#1] SMP", "oops", "Internal error: Oops"),
        ("Kernel panic - not syncing: kernel stack overflow", "stack-overflow", ""),
        ("Kernel panic - not syncing: Asynchronous SError Interrupt", "SError", ""),
        ("Kernel panic - not syncing: Fatal machine check", "MCE", ""),
        ("oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),task=sh,pid=28", "OOM", "oom-kill"),
        ("{1}[Hardware Error]: event severity: fatal", "MCE", "[Hardware Error]: event severity"),
        (
            "BUG: workqueue leaked lock or atomic: kworker/0:1/0x00000000/30",
            "workqueue-leak",
            "BUG: workqueue leaked lock",
        ),
        ("INFO: task kworker/u8:2:61 blocked for more than 120 seconds.", "hung-task",
         "INFO: task kworker blocked"),
    ],
)  # fmt: skip
def test_what_is_left_of_a_report_tells_its_kind(line: str, kind: str, title: str) -> None:
    splat = one(line)
    assert (splat.kind, splat.title) == (kind, title or line)


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("BUG: a thing on CPU: 3 PID: 71 went away", "BUG: a thing on went away"),
        ("BUG: a thing on CPU#3 of process 71 at ffff888004e1c010 [pinner]",
         "BUG: a thing on CPU of process at"),
        ("BUG: a thing (null) in foo+0x12/0x34 [pinner] [#12]", "BUG: a thing in foo"),
        ("BUG: 0x12345678", "BUG"),
        ("BUG: it should be ffff888004e1c010, but was dead000000000100. (next=ffff888004e1c010)",
         "BUG: it should be X, but was Y"),
    ],
)  # fmt: skip
def test_what_varies_is_not_part_of_a_title(line: str, title: str) -> None:
    assert one(line, "Call Trace:", " foo+0x1/0x2").title == title


def test_a_message_behind_the_body_is_another_report() -> None:
    header = "WARNING: CPU: 0 PID: 1 at mm/a.c:1 foo+0x1/0x2"
    message = "refcount_t: underflow; use-after-free."
    assert [s.kind for s in find([header, message])] == ["refcount"]
    assert [s.kind for s in find([header, "Modules linked in:", message])] == ["WARN", "refcount"]


def test_the_end_of_a_panic_ends_its_report() -> None:
    lines = ["Kernel panic - not syncing: VFS", "---[ end Kernel panic - not syncing: VFS ]---"]
    assert one(*lines, "Call Trace:", " foo+0x1/0x2").last_line == 2


def test_a_panic_joins_what_led_to_it_on_another_caller() -> None:
    oops = ["Oops: 0002 [#1] SMP", "RIP: 0010:foo+0x1/0x2", "---[ end trace 0000000000000000 ]---"]
    lines = [f"[    1.000000][   T71] {line}" for line in oops]
    panic = "[    1.000000][    C0] Kernel panic - not syncing: Fatal exception in interrupt"
    splat = one(*lines, panic)
    assert (splat.kind, splat.fatal, splat.last_line) == ("oops", True, 4)


def test_a_backtrace_asked_for_from_another_cpu_belongs_to_the_stall() -> None:
    splat = one(
        "[    1.000000][    C0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "[    1.000000][    C0] Sending NMI from CPU 0 to CPUs 1:",
        "[    1.000000][   T71] NMI backtrace for cpu 1",
        "[    1.000000][   T71] RIP: 0010:pinner_spin+0x1/0x2",
    )
    assert (splat.function, splat.last_line) == ("pinner_spin", 4)


def test_what_stood_beside_a_message_that_is_left_out_is_not_joined() -> None:
    begun = ["[    1.000001] WARNING: CPU: 0 PID: 1 at mm/a.c:1 foo+0x1/0x2",
             "[    1.000002] Call Trace:"]  # fmt: skip
    lost = "[    1.000003]  foo+0x1/0x2[    1.000004] k\r bar+0x3/0x4\r"  # a line end is
    (splat,) = find([*begun, lost, "[    1.000005]  baz+0x5/0x6"])
    mine = ["[    1.000003]  foo+0x1/0x2", " bar+0x3/0x4", "[    1.000005]  baz+0x5/0x6"]
    assert splat.report.split("\n") == [*begun, *mine]
    whole = "[    1.000003]  foo+0x1/0x2[    1.000004]  bar+0x3/0x4"
    assert one(*begun, whole).report.split("\n") == [*begun, whole]


def test_a_decoded_stack_names_its_function_and_its_report_is_whole() -> None:
    trace = ["Call Trace:", "dump_stack_lvl (lib/dump_stack.c:126)", "? odd (??:?)",
             "foo (mm/a.c:1 (discriminator 2) include/linux/b.h:3) mod", "RIP: 0033:0x47b7a0",
             "All code", "========", "  2a:*\t48 3d 00 f0 ff ff    \tcmp    $0xf,%rax",
             "Code starting with the faulting instruction", "=" * 43,
             "   0:\t48 3d 00 f0 ff ff    \tcmp    $0xf,%rax", "Freed by task 7:"]  # fmt: skip
    splat = one("BUG: KASAN: use-after-free in kasan_report (mm/kasan/report.c:3)", *trace)
    assert (splat.function, splat.last_line) == ("foo", 1 + len(trace))
    assert splat.title == "BUG: KASAN: use-after-free in kasan_report"


def test_another_boot_ends_everything() -> None:
    oops = ["Oops: 0002 [#1] SMP", "RIP: 0010:foo+0x1/0x2"]
    panic = "Kernel panic - not syncing: Fatal exception"
    assert len(list(find([*oops, panic]))) == 1
    assert len(list(find([*oops, "[    0.000000] Linux version 6.12.0", panic]))) == 2


def test_compiler_suffixes_are_not_part_of_a_function() -> None:
    splat = one("BUG: KASAN: use-after-free in foo.isra.0.cold+0x1/0x2 [bar]")
    assert (splat.title, splat.function) == ("BUG: KASAN: use-after-free in foo", "foo")


def test_helpers_are_guilty_only_when_nothing_else_is_named() -> None:
    head = ["Oops: general protection fault: 0000 [#1] SMP", "RIP: 0010:mutex_lock+0x1/0x2"]
    assert one(*head).function == "mutex_lock"
    assert one(*head, "Call Trace:", " pinner_free+0x1/0x2").function == "pinner_free"
    assert one(*head, "Call Trace:", " ? pinner_free+0x1/0x2").function == "mutex_lock"
    bare = ["Oops: general protection fault: 0000 [#1] SMP", "RIP: 0010:0x0", "Call Trace:"]
    assert one(*bare, " ? pinner_free+0x1/0x2").function == "pinner_free"


def test_json_has_the_shape_that_is_promised() -> None:
    name = "x86_64-oops-panic"
    splats = list(find(read(name)))
    shape = json.loads(json.dumps(to_json(splats)))
    assert list(shape) == ["splats"]
    (only,) = shape["splats"]
    assert set(only) == {
        "kind", "title", "function", "first_line", "last_line", "fatal", "report"
    }  # fmt: skip
    assert only["report"].count("\n") == only["last_line"] - only["first_line"]
    assert to_json([]) == {"splats": []}


# --- any text, any size --------------------------------------------------------------------------

CORPUS = [line for name in NAMES for line in read(name)]
anything = st.one_of(
    st.sampled_from(CORPUS),
    st.text(max_size=80),
    st.binary(max_size=80).map(lambda raw: raw.decode(errors="replace")),
    st.tuples(st.sampled_from(CORPUS), st.integers(0, 80)).map(lambda p: p[0][: p[1]]),
    st.tuples(st.sampled_from(CORPUS), st.sampled_from(CORPUS)).map(lambda p: p[0][:40] + p[1]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(anything, max_size=120))
def test_any_text_gives_sane_splats_or_none(lines: list[str]) -> None:
    first = 0
    for splat in find(lines):
        assert splat.kind in KINDS
        assert splat.title and splat.title == splat.title.strip() and "\n" not in summary(splat)
        assert first <= splat.first_line <= splat.last_line <= len(lines)
        assert splat.first_line >= 1
        first = splat.first_line


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=4000))
def test_random_bytes_are_no_splat(raw: bytes) -> None:
    assert list(find(raw.decode(errors="replace").splitlines())) == []


def calls(lines: Sequence[str]) -> int:
    """How many functions, also those in C, ``find`` calls for these lines."""
    count = 0

    def profile(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        for _ in find(lines):
            pass
    finally:
        sys.setprofile(None)
    return count


WORST = {
    "reports": lambda n: [line for _ in range(n // 50) for line in read("x86_64-warn")[:50]],
    "headlines": lambda n: ["BUG: KASAN: use-after-free in foo+0x1/0x2"] * n,
    "cut here": lambda n: ["------------[ cut here ]------------"] * n,
    "boxes": lambda n: ["=" * 66] * n,
    "page dumps": lambda n: ["page: refcount:1 mapcount:0"] * n,
    "blank": lambda n: ["BUG: soft lockup - CPU#0 stuck", *[""] * n],
    "one endless report": lambda n: ["Oops: 0002 [#1]", *[" foo+0x1/0x2"] * n],
    "callers": lambda n: [f"[    1.000000][ T{i}] BUG: soft lockup" for i in range(n)],
    "boxes of callers": lambda n: [f"[    1.000000][{f'T{i}':>6}] {'=' * 40}" for i in range(n)],
    "messages of one line": lambda n: [
        "Oops: 0002 [#1]",
        *["[    1.000000]  foo+0x1/0x2" * 10] * n,
    ],
    "headlines behind others": lambda n: [
        f"{i} BUG: KASAN: use-after-free in foo" for i in range(n)
    ],
    "caller that waits": lambda n: [
        "[    1.000000][    T1] BUG: soft lockup",
        *[f"[    1.000000][    T2] BUG: Bad rss-counter state mm:0 type:T{i}" for i in range(n)],
    ],
}


@pytest.mark.parametrize("shape", WORST)
def test_work_grows_with_the_lines(shape: str) -> None:
    small, large = calls(WORST[shape](1000)), calls(WORST[shape](3000))
    assert large < 3.3 * small


@pytest.mark.parametrize("shape", WORST)
def test_memory_does_not_grow_with_the_log(shape: str) -> None:
    def peak(count: int) -> int:
        lines = iter(WORST[shape](count))
        tracemalloc.start()
        for _ in find(lines):
            pass
        _, top = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return top

    # beyond the lines that one report may have, and the silence that closes one
    enough = 5000 if shape == "one endless report" else 1000
    peak(100)  # what is allocated once
    assert peak(3 * enough) < peak(enough) * 1.5 + 50_000


class Once:
    """Lines that can be read once, and that notice when they are kept."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.given = 0

    def __iter__(self) -> Iterator[str]:
        for number in range(self.count):
            self.given += 1
            yield f"[    1.000000] usb 1-1: line {number}"


def test_streaming() -> None:
    """A splat comes out when it is over, not when the log is."""
    source = Once(5000)
    lines = ["kernel BUG at mm/a.c:1!", "Oops: invalid opcode: 0000 [#1]"]

    def log() -> Iterator[str]:
        yield from lines
        yield from source

    next(find(log()))
    assert source.given < 200


@pytest.mark.parametrize(
    "line",
    [
        "x" * 3_000_000,
        "[" * 1_000_000,
        "[ 1.000000]" * 200_000,
        "\x1b[" * 500_000,
        "\x1b[0m" * 500_000,
        "BUG: " * 500_000,
        "a: " * 500_000 + "page allocation failure: order",
        "list_add corruption. " + "0x" * 500_000,
        "WARNING: at " + "/a" * 500_000 + ":1 f",
        "Oops: " + ": 0000" * 300_000 + " [#",
        "[T1] " * 400_000,
        "<4>" * 400_000,
        "UBSAN: " + " in a:1" * 200_000,
        "ODEBUG: " + "object: " * 200_000,
        "Unable to handle kernel " + "a " * 500_000,
        "INFO: task " + "a:1 blocked for " * 100_000,
        "Kernel panic - not syncing: " + "a " * 500_000,
        "slab error in " + "a: " * 300_000,
    ],
)
def test_a_line_without_end_costs_as_much_as_its_beginning(line: str) -> None:
    for splat in find([line, "Call Trace:", " foo+0x1/0x2"]):
        assert len(splat.report) < 4 * 8192
    assert len(clean(line)) <= MAX_LINE


def test_splats_are_values() -> None:
    splat = one("BUG: KASAN: use-after-free in foo+0x1/0x2")
    assert replace(splat, kind="x").kind == "x" and hash(splat)
