# SPDX-License-Identifier: GPL-2.0-only
"""Other people's logs: golden ones spoilt, bytes of every sort, prefixes, sizes, packed files."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from log_fuzzer import NAMES, check, check_sane, chunks, expectation, golden

from harness.cli.logs import _Log
from harness.errors import InputError
from harness.parse.lines import PIECE, log_lines
from harness.parse.splat import clean, find, find_numbered
from harness.parse.splat_text import messages

ROUNDS = 100  # ci/fuzz does as many as it has time for


@pytest.mark.parametrize("tens", range(ROUNDS // 10))
def test_spoilt_logs(tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        check(seed)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 2**32))
def test_bytes_become_the_same_lines_in_whatever_chunks(raw: bytes, seed: int) -> None:
    whole = list(log_lines([raw]))
    assert list(log_lines(chunks(random.Random(seed), raw))) == whole
    lines = raw.decode(errors="replace").split("\n")
    assert [line for _, line in whole] == (lines if lines[-1] else lines[:-1])
    assert [number for number, _ in whole] == list(range(1, len(whole) + 1))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3 * PIECE), max_size=4), st.integers(1000, 2 * PIECE))
def test_long_lines_come_in_pieces_of_one_number(lengths: list[int], size: int) -> None:
    raw = b"\n".join(b"x" * length for length in lengths)
    pieces = list(log_lines(raw[at : at + size] for at in range(0, len(raw), size)))
    assert all(len(piece) <= PIECE for _, piece in pieces)
    for number, length in enumerate(lengths, 1):
        assert sum(len(piece) for at, piece in pieces if at == number) == length


@settings(max_examples=100, deadline=None)
@example(
    [b"[    1.000000] BUG: unable to handle page fault for address: 00007f4c2c943000"] * 2, b"\r\n"
)
@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(
    [line.encode() for name in NAMES for line in golden(name)])), max_size=60),
    st.sampled_from([b"\n", b"\r\n", b"\r", b"\0\n", b"", b"\xff"]))  # fmt: skip
def test_any_bytes_give_sane_splats_or_none(lines: list[bytes], end: bytes) -> None:
    numbered = list(log_lines([end.join(lines)]))
    check_sane(list(find_numbered(numbered)), numbered)


# --- harmless text -------------------------------------------------------------------------------

WORDS = (
    *(
        "BUG:",
        "WARNING:",
        "Oops:",
        "panic",
        "Kernel panic - not syncing:",
        "Unable to handle kernel",
    ),
    *("kernel BUG at mm/a.c:1!", "BUG: KASAN: use-after-free in foo", "INFO: task sh:1 blocked"),
    *("general protection fault: 0000 [#1]", "list_add corruption", "Call Trace:", "soft lockup"),
    *(
        "refcount_t: underflow",
        "page allocation failure: order:0",
        "Modules linked in:",
        "oops=panic",
    ),
    *(
        "invoked oom-killer: gfp_mask=0",
        "UBSAN: shift in a.c:1",
        "cut here",
        "scheduling while atomic",
    ),
    *(
        "BUG: soft lockup",
        "BUG kmalloc-64: Redzone overwritten",
        "DEBUG_LOCKS_WARN_ON(1)",
        "end trace",
    ),
)
HARMLESS = (
    "Kernel command line: console=ttyS0 {}",
    'audit: type=1400 audit(1.2:3): apparmor="DENIED" comm="{}" pid=12',
    "systemd[1]: Started {}.",
    "usb 1-1: Product: {}",
    "pinner 0000:00:04.0: {}",
    "EXT4-fs (sda1): mounted filesystem {}",
    'sh: echo "{}" > /dev/null',
    "Nov 23 07:57:20 host sshd[12]: {}",
    "+ grep -q -e '{}' console.log",
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(HARMLESS), st.lists(
    st.sampled_from(WORDS), min_size=1, max_size=3)), min_size=1, max_size=12))  # fmt: skip
def test_words_of_reports_in_ordinary_lines_are_no_splat(said: list[tuple[str, list[str]]]) -> None:
    lines = [template.format(" ".join(words)) for template, words in said]
    assert [splat.title for splat in find(lines)] == []


# --- what stands in front ------------------------------------------------------------------------

FRONTS = (
    "[    5.123456] host kernel: ",  # journalctl -o short-monotonic
    "1700000000.123456 host kernel: ",
    "Sun 2025-11-23 07:57:20 CET host kernel: ",  # -o short-full
    "2025-11-23T07:57:20+0100 host kernel: ",
    "2025-11-23T07:57:20,123456+01:00 ",  # dmesg --time-format iso
    "[Nov23 07:57] ",  # dmesg -e
    "[  +0.000012] ",
    "[    1.000000 <    0.000012>] ",  # dmesg -d
    "[Sun Nov 23 07:57:20 2025 <    0.000012>] ",
    "[Sun Nov 23 07:57:20 2025] ",
    "<4>[    1.000000] [T71] ",
    "kern  :err   : [    1.000000] ",
    "kern  :err   : [Sun Nov 23 07:57:20 2025] ",
    "Sun Nov 23 07:57:20 2025 kern.err kernel: [    1.000000] ",  # logread
    "Jan  1 00:00:01 (none) kern.err kernel: ",  # busybox
    "Nov 23 07:57:20 host kernel[0]: ",
    "Nov 23 07:57:20 host kernel: [    1.000000] [   T71] ",
    "Nov 23 07:57:20 ",  # ts
    "2018/01/09 14:28:48 ",
    "[2025-11-23 07:57:20.123] ",  # a terminal program's
    "2025-11-23T07:57:20.1234567Z ",  # a CI's
    "2025-11-23T07:57:20.123456  [    1.000000] ",
    "4,1234,5678901,-;",  # /dev/kmsg
    "4,1234,5678901,-,caller=T71;",
    "6.12.0,4,1234,5678901,-;",  # netconsole
    "<4>[    1.000000]  (1)[71:sh]",
    "[    1.000000]  I[0:              sh:   71] ",
    "\x00\x00\x1b[0m\x1b[1m",
    "console: [    1.000000][    C0] ",
)


@pytest.mark.parametrize("front", FRONTS)
def test_what_stands_in_front_is_taken_off(front: str) -> None:
    assert clean(front + "BUG: Bad page state in process sh") == "BUG: Bad page state in process sh"
    for name in ("x86_64-oops", "derived-more-arches", "x86_64-kasan-slab"):
        lines = [front + clean(line) for line in golden(name)]
        found = [(s.title, s.first_line, s.last_line) for s in find(lines)]
        due = expectation(name)["splats"]
        assert found == [(s["title"], s["first_line"], s["last_line"]) for s in due]


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("[    1.000000] one", 1),
        ("[    1.000000] one[    2.000000] two", 2),
        ("half of a line[    2.000000] two", 2),
        ("one\rtwo\r\r\n", 2),
        ("one\r\n", 1),
        ("a[0] = [1.5]", 1),
        ("\r", 1),
        ("", 1),
    ],
)
def test_messages_that_share_a_line(line: str, count: int) -> None:
    assert len(messages(line)) == count
    assert "".join(messages(line)) == line


def test_a_log_without_a_single_line_end_is_read() -> None:
    stamped = [f"[{n:5d}.000000] {clean(line)}" for n, line in enumerate(golden("x86_64-oops"))]
    splats = list(find(["".join(stamped)]))
    assert [s.title for s in splats] == [s["title"] for s in expectation("x86_64-oops")["splats"]]
    assert {(s.first_line, s.last_line) for s in splats} == {(1, 1)}


# --- sizes ---------------------------------------------------------------------------------------


def endless(count: int, line: bytes) -> Iterator[bytes]:
    block = line * (8192 // len(line))
    for _ in range(count):
        yield block


@pytest.mark.parametrize(
    "line",
    [
        b"[    1.000000] usb 1-1: new high-speed USB device number 2 using xhci_hcd\n",
        b"x",
        b"\0",
        b"[    1.000000] x",
        b"BUG: KASAN: use-after-free in foo+0x1/0x2\n",
        b"[    1.000000][    T1] BUG: soft lockup - CPU#0 stuck\n[    1.0][ T2] x\n",
        b"=====================================\n",
    ],
)
def test_memory_is_bounded_whatever_the_size(line: bytes) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in find_numbered(log_lines(endless(count, line))):
            pass
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(1)
    assert peak(20) < peak(10) * 1.3 + 100_000


class Characters:
    """A log whose lines count how often they are asked for."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = list(lines)
        self.asked = 0

    def __iter__(self) -> Iterator[str]:
        for line in self.lines:
            self.asked += 1
            yield line


def test_every_line_is_asked_for_once() -> None:
    log = Characters(line for name in NAMES for line in golden(name))
    assert list(find(log))
    assert log.asked == len(log.lines)


def frames(count: int) -> list[str]:
    """Boxes and cuts of callers that never say another word."""
    return [f"[    1.000000][{f'T{n}':>6}] {'=' * 40}" for n in range(count)]


def test_what_a_silent_caller_left_open_does_not_hold_the_others_back() -> None:
    log = [*frames(1), *["BUG: Bad rss-counter state mm:0 type:MM_FILEPAGES val:1"] * 2000]
    given = 0

    def lines() -> Iterator[str]:
        nonlocal given
        for line in log:
            given += 1
            yield line

    next(find(lines()))
    assert given < 1000


# --- packed --------------------------------------------------------------------------------------


def read(raw: bytes) -> tuple[int, str]:
    log = _Log("log", io.BytesIO(raw))
    count = sum(1 for _ in find_numbered(log.numbered()))
    return count, log.cut


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
def test_packed_logs_and_their_remains(pack: Callable[[bytes], bytes]) -> None:
    text = "\n".join(line for name in NAMES[::9] for line in golden(name)).encode()
    packed = pack(text)
    whole = sum(1 for _ in find_numbered(log_lines([text])))
    assert read(packed) == (whole, "")
    assert read(packed + packed)[0] >= 2 * whole - 1
    count, cut = read(packed[: len(packed) // 2])
    assert cut and (count if pack is not bz2.compress else True)
    rng = random.Random(1)
    for _ in range(10):
        spoilt = bytearray(packed)
        for _ in range(rng.choice((1, 8))):
            spoilt[rng.randrange(8, len(spoilt))] = rng.randrange(256)
        count, cut = read(bytes(spoilt))
        assert cut or count == whole
    with pytest.raises(InputError, match="packed twice"):
        read(pack(packed))


@pytest.mark.parametrize("module", [gzip, lzma, bz2])
def test_a_bomb_is_refused_in_little_memory(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.cli.logs._FREE", 1 << 23)
    monkeypatch.setattr("harness.cli.logs._RATIO", 100)
    packed = module.compress(bytes(1 << 25))
    tracemalloc.start()
    count, cut = read(packed)
    top = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 0 and "more than 100 times its size" in cut
    assert top < 12 << 20  # of which xz wants 8 for itself
