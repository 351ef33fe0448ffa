# SPDX-License-Identifier: GPL-2.0-only
"""The contig_range scenario's steps, on a guest that is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fake_guest import PINNER, FakeGuest

from harness import scenario
from harness.errors import GuestCommandError
from harness.model import Event
from harness.parse.pageflags import BITS
from harness.scenario.recorder import Recorder
from harness.scenario.trigger import contig, user
from harness.scenario.trigger.attempt import Done

CONTIG = scenario.get("contig_range")
CONTROL, TREATED = CONTIG.arms(True, {})
FIRST, COUNT = 0x3C000, 8192
RESERVED = f"cma: CMA: reserved {COUNT >> 8} MiB at {FIRST << 12:x}\n"
SMALL: dict[str, int | str] = {"area": 32, "every": 6, "tries": 2, "threads": 2, "pages": "64,256"}


class Lender(FakeGuest):
    """A guest with an area that it tells of at boot alone, in a log that forgets with the drive."""

    def __init__(self) -> None:
        super().__init__()
        self.log, self.results = RESERVED, list[str]()
        self.gives = True  # one buffer, while nothing is pinned

    def _answer(self, command: str) -> tuple[int, bytes, str]:
        if "> /dev/kmsg" in command:
            self.log = ""
            return 0, self._vmstat().encode(), ""
        if command.startswith(("ls /sys/kernel/debug/cma ", "[ -d /sys/kernel/debug/cma ]")):
            return 1, b"", ""
        if command == "dmesg":
            return 0, self.log.encode(), ""
        if command.startswith("insmod") and "cma_alloc" in command:
            self.results = []
            return 0, b"", ""
        return super()._answer(command)

    def _vmstat(self) -> str:
        return f"{super()._vmstat()}nr_free_cma {COUNT - len(self.pages)}\n"

    def read(self, path: str, *, timeout: float = 30) -> bytes:
        if path.endswith("cma_alloc/results"):
            return "\n".join(["cma_alloc-results 1", *self.results, "dropped 0", ""]).encode()
        if path == "/proc/buddyinfo":
            return b"Node 0, zone DMA 0 0 0 0 0 0 0 0 0 0 1\nNode 0, zone Normal 0 63488\n"
        return super().read(path, timeout=timeout)

    def write(self, path: str, data: bytes, *, timeout: float = 30) -> None:
        super().write(path, data, timeout=timeout)
        words = data.decode().split()
        if path == f"{PINNER}/control" and words[0] == "fill":
            first, count, every = map(int, words[1:4])
            self.pages = [[at, at, 0] for at in range(first, first + count, every)]
        elif path == contig.CONTROL and words[0] in ("alloc", "storm"):
            threads, tries = map(int, words[1:3]) if words[0] == "storm" else (1, 1)
            pages, align = words[-2:]
            pfn, errno = (FIRST, 0) if self.gives else (0, -12)
            self.gives = False
            for _ in range(threads * tries):
                self.results.append(f"{len(self.results)} 0 {pages} {align} {pfn} {errno} 5000")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process takes part."""

    @contextmanager
    def holder(guest: FakeGuest, mib: int, **_: Any) -> Iterator[None]:
        guest.done.append(f"hold {mib}")
        yield

    monkeypatch.setattr(user, "holder", holder)
    monkeypatch.setattr(user, "contents", lambda _: Done(0))


def test_areas_are_known_before_the_log_forgets_them(nobody: None) -> None:
    guest, events = Lender(), list[Event]()
    CONTIG.drive(guest, CONTROL, 7, SMALL, events.append)
    (area,) = [event.data for event in events if event.name == "area"]
    assert (area["first"], area["count"]) == (FIRST, COUNT)
    assert guest.log == "" and guest.done.count("dmesg") >= 1
    lent = next(e.data for e in events if e.data.get("trigger") == "lend")
    checks = lent["checks"]
    assert isinstance(checks, dict) and "vmstat nr_free_cma" in checks


def test_an_area_that_gives_nothing_is_told_before_anything_is_pinned(nobody: None) -> None:
    guest = Lender()
    guest.gives = False
    with pytest.raises(GuestCommandError, match="not one buffer of 1024 pages can be had"):
        CONTIG.drive(guest, CONTROL, 7, SMALL, lambda _: None)
    assert not any(f"{PINNER}/control fill" in step for step in guest.done)


def test_what_is_kept_free_is_lowered_before_pins_are_laid(nobody: None) -> None:
    guest = Lender()
    CONTIG.drive(guest, TREATED, 7, SMALL, lambda _: None)
    kept = guest.done.index("write /proc/sys/vm/min_free_kbytes 4096")
    laid = next(at for at, step in enumerate(guest.done) if f"{PINNER}/control fill" in step)
    assert kept < laid


def test_where_nobody_moves_the_pins_each_size_is_tried_twice(nobody: None) -> None:
    """Each is a try at every place of the area, which takes v3.11 minutes."""
    many = {**SMALL, "tries": 5}
    for arm, tries in ((CONTROL, 2), (TREATED, 5)):
        guest = Lender()
        CONTIG.drive(guest, arm, 7, many, lambda _: None)
        asked = [step for step in guest.done if f"{contig.CONTROL} " in step]
        assert next(step for step in asked if " storm " in step).endswith(f"storm 2 {tries} 64 0")
        assert sum(" alloc 64 6" in step for step in asked) == tries


@pytest.mark.parametrize("lent", [0, COUNT // 8, COUNT // 4])
def test_more_is_taken_until_enough_of_the_area_is_lent(
    lent: int, nobody: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before v5.8 the area is lent where no other page can be had."""
    guest, events = Lender(), list[Event]()

    def flags(record: Recorder, first: int, last: int, _: str = "") -> dict[int, int]:
        assert record.guest is guest
        held = sum(step.startswith("hold ") for step in guest.done)
        own = lent if held >= 3 else 0
        return {first + at: (1 << BITS["ANON"]) * (at < own) for at in range(last - first + 1)}

    monkeypatch.setattr(Recorder, "flags", flags)
    CONTIG.drive(guest, CONTROL, 7, SMALL, events.append)
    first, *more = [int(step.split()[1]) for step in guest.done if step.startswith("hold ")]
    assert first == (1024 + 2 * 63488) // 256 - 40
    assert more == [4] * (2 if lent > COUNT // 8 else 5)
    data = next(e.data for e in events if e.data.get("trigger") == "lend")
    assert data["ok"] is (lent > COUNT // 8)
    whole = [e.data["target"] for e in events if e.data.get("trigger") == "contents"]
    assert len(whole) == 1 + len(more) and whole[0] == f"process 1 of {len(whole)}"
