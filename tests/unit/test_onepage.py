# SPDX-License-Identifier: GPL-2.0-only
"""One page frame: what the kernel's files say, and what migration would do with it."""

from __future__ import annotations

import gzip
import json
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from harness import onepage
from harness.errors import CannotRun, EvidenceError, InputError
from harness.model import Caller, CommandResult
from harness.parse import onepage as parsed
from harness.parse.cma import Area
from harness.parse.ledger import Pin
from harness.parse.onepage import Facts, MemoryBlock, Zone
from harness.parse.page_owner import Owner
from harness.parse.pageflags import BITS

ZONEINFO = """\
Node 0, zone      DMA
  per-node stats
  pages free     3968
        spanned  4095
        present  3998
  start_pfn:           1
Node 0, zone    DMA32
        spanned  258016
  start_pfn:           4096
Node 0, zone  Movable
        spanned  0
Node 1, zone   Normal
        spanned  8192
  start_pfn:           262144
"""
RECORD = """\
Page allocated via order 0, mask 0x12202a(GFP_X), pid 93, tgid 93 (sh), ts 4123 ns
PFN 0x101f type Movable Block 8 type CMA Flags 0x4000000000000000(zone=1)
 post_alloc_hook+0xc2/0xd0
 pinner_plan_drain+0x56/0x100 [pinner]
"""
PIN = Pin(7, 4000, 4127, 2, -16, "stored")
MODULE = Owner(4127, 0, 93, "sh", "Movable", (Caller("pinner_store", "pinner"),))
KERNEL = Owner(4127, 0, 1, "init", "Unmovable", (Caller("alloc_thread_stack"),))


def bits(*names: str) -> int:
    more = {"RESERVED": 32}
    return sum(1 << {**BITS, **more}[name] for name in names)


def facts(*flags: str, **more: Any) -> Facts:
    return Facts(pfn=4127, flags=bits(*flags), **more)


@pytest.mark.parametrize(
    ("page", "what", "said"),
    [
        (facts("NOPAGE"), "absent", "no memory"),
        (facts(block=MemoryBlock("memory3", "offline", True, 0, ())), "absent", "memory3 is off"),
        (facts("OFFLINE"), "absent", "balloon"),
        (facts("HWPOISON", "LRU"), "stays", "poisoned"),
        (facts("BUDDY"), "free", "free"),
        (facts(pin=PIN, mode="pinpage"), "asked", "its migrate callback moves it.*errno 16"),
        (facts(pin=PIN, mode="plain"), "stays", "nobody to ask"),
        (facts("SLAB"), "stays", "slab"),
        (facts("PGTABLE"), "stays", "page table"),
        (facts("RESERVED"), "stays", "reserved"),
        (facts("ZERO_PAGE", "RESERVED"), "stays", "zero page"),
        (facts("HUGE", "COMPOUND_HEAD"), "whole", "hugetlb"),
        (facts("LRU", "ANON", "MMAP", mapcount=1), "migrated", r"anonymous, mapped once\)"),
        (facts("LRU", "MMAP", mapcount=3), "migrated", r"a file's, mapped 3 times\)"),
        (facts("LRU", "ANON", "THP"), "whole", "whole or split"),
        (facts("LRU", "WRITEBACK"), "migrated", "once its writeback has ended"),
        (facts("LRU", "UNEVICTABLE"), "migrated", "is migrated"),
        (facts("LRU", "UNEVICTABLE", unevictable=False), "stays", "compact_unevictable_allowed"),
        (facts(), "unknown", "off the LRU"),
        (facts(owner=MODULE), "unknown", r"the module pinner \(pinner_store\).*registered"),
        (facts(owner=KERNEL), "stays", r"the kernel itself \(alloc_thread_stack\).*unmovable"),
        (facts(owner=Owner(1, 0, 1, "", "Unmovable", ())), "stays", "the kernel itself allocated"),
    ],
)
def test_what_migration_does(page: Facts, what: str, said: str) -> None:
    fate = parsed.fate(page)
    assert fate.what == what
    assert re.search(said, fate.why), fate.why
    assert fate.why.isprintable() and len(fate.why) < 300


def test_the_first_reason_holds() -> None:
    """A page of the pinner's that was freed and is another's now is no longer its."""
    assert parsed.fate(facts("BUDDY", pin=PIN, mode="pinpage")).what == "free"
    assert parsed.fate(facts("SLAB", "LRU")).what == "stays"


def test_zones_that_span_a_frame() -> None:
    zones = parsed.zones(ZONEINFO)
    assert zones == (
        Zone(0, "DMA", 1, 4095),
        Zone(0, "DMA32", 4096, 258016),
        Zone(1, "Normal", 262144, 8192),
    )
    assert [zone.name for zone in parsed.spanning(zones, 4096)] == ["DMA32"]
    assert [zone.name for zone in parsed.spanning(zones, 4095)] == ["DMA"]
    assert parsed.spanning(zones, 0) == parsed.spanning(zones, 262143) == ()
    for text in ("", "Node 0, zone DMA\n  present 3\n"):
        with pytest.raises(EvidenceError, match="zoneinfo"):
            parsed.zones(text)


def test_pageblocks() -> None:
    assert parsed.pages_per_block("Page block order: 9\nPages per block:  1024\n\n") == 1024
    assert parsed.pages_per_block("") == parsed.pages_per_block("Pages per block:  0\n") == 512
    assert parsed.block_type(RECORD, 4096, 512) == "CMA"
    assert parsed.block_type(RECORD, 4608, 512) == ""  # of another block
    assert parsed.block_type("", 0, 512) == ""


def test_a_memory_block() -> None:
    said = "state online\nremovable 1\nvalid_zones DMA32 Movable\n/sys/x/memory3/node1\n"
    assert parsed.memory_block(3, said) == MemoryBlock(
        "memory3", "online", True, 1, ("DMA32", "Movable")
    )
    assert parsed.memory_block(3, "") == MemoryBlock("memory3", "", None, None, ())


@pytest.mark.parametrize(("word", "pfn"), [("4711", 4711), ("0x1000", 4096), ("first-pin", None)])
def test_numbers_of_frames(word: str, pfn: int | None) -> None:
    assert onepage.number(word) == pfn


@pytest.mark.parametrize(
    "word", ["", "x", "-1", "1.5", "0x", "0x10000000000000", "1e3", "firstpin"]
)
def test_what_is_no_number_of_a_frame(word: str) -> None:
    with pytest.raises(InputError, match="no page frame number"):
        onepage.number(word)


class Guest:
    """A guest of files; what it lacks is not there."""

    def __init__(self, pfn: int, flags: int, files: dict[str, str]) -> None:
        entries = [0] * 4608
        entries[pfn] = flags
        self.flags = struct.pack(f"={len(entries)}Q", *entries)
        self.files = files
        self.record = RECORD

    def _answer(self, command: str, stdin: bytes) -> tuple[int, bytes]:
        words = command.split()
        if words[0] == "[":
            path = words[2]
            known = path in self.files or path in ("/proc/kpageflags", "/proc/kpagecount")
            return int(
                not known and not any(name.startswith(f"{path}/") for name in self.files)
            ), b""
        if "pread" in words:
            body = b"".join(
                b"@%s %d\n%s\n" % (line, len(self.record), self.record.encode())
                for line in stdin.split()
            )
            return 0, body
        if command.startswith("(dd if=/proc/kpage"):
            skip = int(command.split("skip=")[1].split()[0])
            count = int(command.split("count=")[1].split()[0])
            data = self.flags[skip * 4096 : (skip + count) * 4096]
            return 0, gzip.compress(data if "kpageflags" in command else b"\0" * len(data))
        if command.startswith("dd "):
            return 0, self.files[command.split("if=")[1]].encode()
        if command.startswith("cd "):
            return 0, b"state online\nvalid_zones DMA32\n/sys/x/node0\n"
        return (1, b"") if command.startswith("ls") else (0, b"")

    def run(self, command: str, *, timeout: float = 30, stdin: bytes = b"") -> CommandResult:
        status, out = self._answer(command, stdin)
        return CommandResult(command, status, out, b"", 0.0)

    def must(self, command: str, *, timeout: float = 30, stdin: bytes = b"") -> str:
        return self._answer(command, stdin)[1].decode()

    def read(self, path: str, *, timeout: float = 30) -> bytes:
        return self.files[path].encode()

    def module(self, name: str) -> Path:
        return Path(name)

    def put(self, local: Path, remote: str) -> None:
        return


PINNER = "/sys/kernel/debug/pinner"
FILES = {
    "/proc/zoneinfo": ZONEINFO,
    "/sys/devices/system/memory/block_size_bytes": "8000000\n",
    "/sys/devices/system/memory/memory0/state": "online\n",
    "/sys/kernel/debug/page_owner": "",
    f"{PINNER}/ledger": "pinner-ledger 1\n7 4000 4127 2 -16 stored\n",
    f"{PINNER}/refs": "pinner-refs 1\n7 4127 1\n",
    f"{PINNER}/counters": "mode pinpage\npinned 1\n",
}


def test_a_pin_is_found_and_told() -> None:
    guest = Guest(4127, 0, FILES)
    found = onepage.look(cast(Any, guest), None)
    assert (found.pfn, found.pin, found.mode, found.refs) == (4127, PIN, "pinpage", 1)
    assert (found.first, found.type) == (4096, "CMA")
    assert found.owner is not None and found.owner.module == "pinner"
    fate = parsed.fate(found)
    data = json.loads(json.dumps(onepage.as_json(found, fate)))
    assert data["migration"]["what"] == "asked"
    assert data["zones"][0]["name"] == "DMA32" and data["pin"]["handle"] == 7
    text = "\n".join(f"{what} {said}" for what, said in onepage.lines(found, fate))
    for part in (
        "4127 (0x101f)",
        "DMA32 of node 0",
        "memory0, online",
        "8, CMA",
        "in use",
        "handle 7",
    ):
        assert part in text


def test_a_pin_that_moved_is_still_its_owners() -> None:
    moved = facts(owner=replace(KERNEL, comm="sh", pid=58), pin=PIN, mode="pinpage")
    said = dict(onepage.lines(moved, parsed.fate(moved)))
    assert said["owner"].startswith("module pinner, by its ledger; the frame was allocated by sh")
    assert said["pinner"].endswith("pinned at pfn 0xfa0, moved 2 times, stored")
    there = facts(owner=KERNEL, pin=replace(PIN, moves=0), mode="pinpage")
    assert dict(onepage.lines(there, parsed.fate(there)))["owner"].startswith("the kernel")


def test_a_tails_owner_is_its_heads() -> None:
    guest = Guest(4127, bits("COMPOUND_HEAD"), FILES)
    entries = bytearray(guest.flags)
    for pfn in (4128, 4129):
        struct.pack_into("=Q", entries, 8 * pfn, bits("COMPOUND_TAIL"))
    guest.flags = bytes(entries)
    found = onepage.look(cast(Any, guest), 4129)
    assert found.owner is not None and found.owner.pfn == 4127
    assert found.pin is None
    assert onepage.look(cast(Any, guest), 4130).owner is None  # behind it


def test_a_bare_kernel_says_less() -> None:
    few = {"/proc/zoneinfo": ZONEINFO}
    found = onepage.look(cast(Any, Guest(4127, bits("BUDDY"), few)), 4127)
    assert (found.block, found.owner, found.cma, found.pin, found.type) == (None,) * 4 + ("",)
    fate = parsed.fate(found)
    assert fate.what == "free"
    lines = dict(onepage.lines(found, fate))
    assert "not told" in lines["pageblock"] and lines["contiguous area"] == "in none"
    assert onepage.as_json(found, fate)["owner"] is None


def test_no_such_frame_and_no_pin() -> None:
    few = {"/proc/zoneinfo": ZONEINFO}
    guest = cast(Any, Guest(1, 0, few))
    with pytest.raises(InputError, match=r"no page frame 100000 \(0x186a0\)"):
        onepage.look(guest, 100_000)
    with pytest.raises(InputError, match="pinned no page") as caught:
        onepage.look(guest, None)
    assert "--module pinner" in caught.value.hint


def test_a_kernel_without_page_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(1, 0, {"/proc/zoneinfo": ZONEINFO})
    real = guest._answer
    monkeypatch.setattr(
        guest, "_answer", lambda c, s: (1, b"") if "kpageflags" in c else real(c, s)
    )
    with pytest.raises(CannotRun, match="kpageflags"):
        onepage.look(cast(Any, guest), 1)


def test_an_area_is_named() -> None:
    found = facts(cma=Area("reserved", 4096, 512))
    assert dict(onepage.lines(found, parsed.fate(found)))["contiguous area"] == "reserved"
