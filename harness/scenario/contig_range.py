# SPDX-License-Identifier: GPL-2.0-only
"""Contiguous memory: an area reserved at boot and lent to pinned pages, and then wanted back.

Buffers of several sizes and alignments are allocated from it, one after the other and side by
side. Where nobody can move the pins, none that is longer than the gaps between them can be had.
"""

from __future__ import annotations

import errno as numbers
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from harness import expectation
from harness.errors import GuestCommandError, InputError
from harness.model import ArmPlan, Guest
from harness.parse import buddyinfo, vmstat
from harness.parse.cma import Area
from harness.parse.pageflags import BITS
from harness.scenario.base import LIE, Default, Emit, Param, Params, Usual
from harness.scenario.pinned import APPEND, Pinned, beside, check_room, pinned
from harness.scenario.recorder import Recorder, mount
from harness.scenario.trigger import contig, user
from harness.scenario.trigger.attempt import Done

EXPECTED = expectation.Expectation(
    pinned=1000, moved=0.1, compacts=False, huge=False, attempts=True, refusals=expectation.HELD
)
_PAGES_IN_MIB = 256
_ANON = 1 << BITS["ANON"]
_PIECES = 8  # in which the area is emptied beforehand
# Tries of each size where nobody moves the pins: each is a try at every place of the area, on which
# v3.11 spends ten seconds and more in an emulated guest.
_HELD = 2
_MORE = 5  # eighths of the area that are taken of the last memory that is left
_LENT = 3  # the area is at most a third of the memory: the pins must find room elsewhere


class ContigRange(Usual):
    name = "contig_range"
    summary = "an area of contiguous memory lent to pinned pages, then allocated from"
    FEATURES = ("compaction", "cma", "owner")
    MODULES = ("pinner", "cma_alloc", "userpages")
    expected = EXPECTED
    PARAMS: Mapping[str, Param] = MappingProxyType(
        {
            "area": Param(128, "MiB of the area (cma= at boot)", least=16, most=65536),
            "every": Param(16, "of so many neighbouring pages one is pinned", least=2, most=1024),
            "pages": Param("64,256,1024", "sizes of buffers, pages", pattern=r"\d{1,6}(,\d{1,6})*"),
            "tries": Param(
                8,
                "buffers of each size, kept until the end; two where none can be had",
                least=1,
                most=256,
            ),
            "threads": Param(4, "threads that allocate side by side", least=1, most=64),
            "lie": LIE,
        }
    )

    def check(self, params: Params, memory_mib: int) -> None:
        area, tries = int(params["area"]), int(params["tries"])
        if area * _LENT > memory_mib:
            raise InputError(
                f"an area of {area} MiB is more than a third of a guest with {memory_mib} MiB",
                hint=f"give --memory {area * _LENT}, or less of --set area=",
            )
        check_room(area * _PAGES_IN_MIB, int(params["every"]), EXPECTED.pinned)
        kept = sum(_sizes(params)) * tries
        if min(_sizes(params)) < 2 or kept > area * _PAGES_IN_MIB * 3 // 4:
            raise InputError(
                f"--set pages={params['pages']}: sizes are two pages and more, and {tries} buffers "
                f"of each must fit in three quarters of {area} MiB"
            )

    def arms(self, series_has_pinpage: bool, params: Params) -> tuple[ArmPlan, ...]:
        words = (
            *APPEND,
            f"cma={params.get('area', self.PARAMS['area'].default)}M",
        )
        control = ArmPlan("control", "control", "plain", append=words, huge=False)
        return beside(control, series_has_pinpage)

    def drive(
        self, guest: Guest, arm: ArmPlan, seed: int, params: Mapping[str, Default], emit: Emit
    ) -> None:
        values = self.values(params)
        mount(guest)
        areas = contig.areas(guest)  # before v4.1 from the kernel log, which forgets
        area, in_all = areas[0], sum(each.count for each in areas)

        def lay_out(record: Recorder) -> None:
            lend(record, area, int(values["every"]), seed)

        with pinned(guest, arm, seed, values, emit, lay_out) as own:
            buffers = contig.Buffers(own.record, area)
            with own.drive():
                _Drive(own, buffers, area, in_all, arm.role == "treated").all(values)
            buffers.unload()


def lend(record: Recorder, area: Area, every: int, seed: int) -> None:
    """Lend an area to pinned pages: it is emptied, and one of every so many of its pages pinned."""
    contig.keep_little(record.guest)
    record.event("harness", "area", name=area.name, first=area.first, count=area.count)
    had = _emptied(record, area)
    record.event("harness", "emptied", pages=had)
    if not had:
        # Whatever fails afterwards would say nothing of pins.
        raise GuestCommandError(
            f"not one buffer of {max(1, area.count // _PIECES)} pages can be had from the area "
            f"{area.name}, in which nothing is pinned yet",
            hint="see mm/cma.c: cma_alloc(), and what console.log says of the area",
        )
    record.fill(area.first, area.count, every, seed)


def _emptied(record: Recorder, area: Area) -> int:
    """Move out what was lent to others since the boot, so that pins can lie everywhere: pages
    that were had in one go, of the whole area where all of it could move."""
    buffers = contig.Buffers(record, area)
    pages, had = max(1, area.count // _PIECES), 0
    while not buffers.alloc(pages, 0).errno:
        had += pages
    buffers.free_all()
    buffers.unload()
    return had


def _sizes(params: Params) -> list[int]:
    return [int(word) for word in str(params["pages"]).split(",")]


def order(pages: int) -> int:
    """The order of the smallest block that holds so many pages."""
    return (pages - 1).bit_length()


@dataclass(frozen=True)
class _Drive:
    own: Pinned
    buffers: contig.Buffers
    area: Area
    in_all: int  # pages of all areas
    moves: bool

    def all(self, values: Mapping[str, Default]) -> None:
        sizes, tries = _sizes(values), int(values["tries"])
        if contig.has_debugfs(self.own.record.guest):
            # One is enough: it has no alignment, so a failure was tried at every page.
            self._debugfs(max(sizes))
        for pages in sizes:
            self._storm(int(values["threads"]), self._tries(pages, tries), pages)
        for pages in sorted(sizes, reverse=True):
            for _ in range(self._tries(pages, tries)):
                self._kept(pages)
        pins = self.own.record.ledger("held")
        self.buffers.free_all()
        self._used_again(max(sizes), sum(self.area.has(pin.pfn_now, 1) for pin in pins))

    def _used_again(self, pages: int, pins: int) -> None:
        """Processes take memory until some of the area is lent to them. Its pages move out of a
        buffer's way, and are whole."""
        guest, had = self.own.record.guest, self._lendable(pins)
        with ExitStack() as ends:
            held = [
                ends.enter_context(user.holder(guest, mib, way="small")) for mib in self._demands()
            ]
            make = self.own.attempts.make
            lent = partial(self._lent, had)
            make("lend", self.area.name, lent, group="area used again", expected=True)
            self._kept(pages, f"{pages} pages, area in use")
            self.buffers.free_all()
            for number, each in enumerate(held, 1):
                who = "the process" if len(held) == 1 else f"process {number} of {len(held)}"
                whole = partial(user.contents, each)
                make("contents", who, whole, group="contents of the process", expected=True)

    def _demands(self) -> Iterator[int]:
        """What a process should take next, MiB, until enough of the area is lent.

        The first leaves a little more than the area has: one is lent where over half of what is
        free lies in it (v5.8: mm/page_alloc.c: __rmqueue()), so that of the one and of the other
        as much is left. Before, it is lent where no other page can be had: then more is taken.
        """
        zones = buddyinfo.buddyinfo(self.own.record.text("/proc/buddyinfo"))
        mib, free = self.area.count // _PAGES_IN_MIB, sum(zone.pages for zone in zones)
        yield free // _PAGES_IN_MIB - mib * 5 // 4
        for _ in range(_MORE):
            if self._anonymous() > self._enough:
                return
            yield mib // 8

    @property
    def _enough(self) -> int:
        return self.area.count // 8

    def _anonymous(self) -> int:
        """How many pages of the area are a process's, by their flags."""
        last = self.area.first + self.area.count
        flags = self.own.record.flags(self.area.first, last - 1)
        return sum(bool(flags[f] & _ANON) for f in flags if self.area.first <= f < last)

    def _lendable(self, pins: int) -> int:
        """Pages of all areas that could be lent. All that are not pinned, as what is free may be
        kept for a processor, where nobody counts it; but before v3.18 the count of free ones drifts
        with what is isolated, as MemFree does, and a difference over a time without is what it
        says. There is debugfs since v4.1."""
        return self.in_all - pins if contig.has_debugfs(self.own.record.guest) else self._free()

    def _free(self) -> int:
        return vmstat.vmstat(self.own.record.text("/proc/vmstat"))["nr_free_cma"]

    def _lent(self, had: int) -> Done:
        """How much of the area is a process's; and how much less of all is free than could be."""
        own, used = self._anonymous(), had - self._free()
        said = f"{own} pages; of all areas {used} more are in use"
        checks = {"vmstat nr_free_cma": used > self._enough}
        return Done(0 if own > self._enough else numbers.ENOSPC, said, None, None, checks)

    def _expected(self, pages: int) -> bool | None:
        """Whether a buffer must be had: with an owner that moves its pages, yes; with none, no
        where no gap between the pins is as long."""
        if self.moves:
            return True
        free = self.area.longest_run(pin.pfn_now for pin in self.own.pins)
        return False if pages > free else None

    def _tries(self, pages: int, tries: int) -> int:
        return min(tries, _HELD) if self._expected(pages) is False else tries

    def _debugfs(self, pages: int) -> None:
        self.own.attempts.make(
            "contig",
            f"{pages} pages by debugfs",
            lambda: contig.by_debugfs(self.own.record.guest, self.area, pages),
            group=f"{pages} pages, debugfs",
            expected=self._expected(pages),
        )

    def _storm(self, threads: int, tries: int, pages: int) -> None:
        self.own.attempts.side_by_side(
            "contig",
            f"{pages} pages by {threads} threads",
            lambda: self.buffers.storm(threads, tries, pages, 0),
            group=f"{pages} pages, {threads} threads",
            expected=self._expected(pages),
        )

    def _kept(self, pages: int, group: str = "") -> None:
        align = order(pages)
        self.own.attempts.make(
            "contig",
            f"{pages} pages, align {align}",
            lambda: self.buffers.alloc(pages, align),
            group=group or f"{pages} pages, kept",
            expected=self._expected(pages),
        )


SCENARIO = ContigRange()
