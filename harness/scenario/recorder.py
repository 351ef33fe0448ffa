# SPDX-License-Identifier: GPL-2.0-only
"""Reads a guest's files and emits what they say, one event each; scenarios are written with it.

The events' names and data are what harness/seen.py gathers again.
"""

from __future__ import annotations

import errno
import gzip
import os
import re
import zlib
from collections.abc import Iterable
from dataclasses import asdict

from harness.errors import CannotRun, EvidenceError, GuestCommandError, InfraError
from harness.model import JSON, ArmPlan, Caller, Event, Guest
from harness.parse import (
    buddyinfo,
    marks,
    page_owner,
    pageblocks,
    pageflags,
    userpages,
    vmstat,
)
from harness.parse import ledger as pinner
from harness.scenario.base import Emit
from harness.scenario.program import program

PINNER = "/sys/kernel/debug/pinner"
PAGE_OWNER = "/sys/kernel/debug/page_owner"
EXTFRAG = "/sys/kernel/debug/extfrag"
_MODULE = "/modules/pinner.ko"
_UNSUPPORTED = re.compile(r"not supported", re.IGNORECASE)
_PIECE = 4096  # bytes of /proc/kpageflags read at once
_LOOKS = 4  # at who has pages in hand, a second after the other
_SETTLING = 5  # readings of what the owner and the kernel say of its pages
_LOGGED = 2000  # lines of the pinner in the log that are kept as evidence
_KEPT = "/proc/sys/vm/percpu_pagelist_high_fraction"
_LEAST = 1_000_000


class Recorder:
    """One arm in one guest."""

    def __init__(self, guest: Guest, arm: ArmPlan, emit: Emit) -> None:
        self.guest, self.arm, self._emit = guest, arm, emit
        self._calls_before = -1

    def event(self, source: str, name: str, /, **data: JSON) -> None:
        """Data may have any names, also those that a guest gives."""
        self._emit(Event(self.arm.name, source, name, data))

    def text(self, path: str, *, timeout: float = 60) -> str:
        return self.guest.read(path, timeout=timeout).decode(errors="replace")

    def has(self, path: str) -> bool:
        """Whether this kernel has a file. GuestCommandError where the guest's shell died over it:
        a witness is not absent for that."""
        done = self.guest.run(f"[ -r {path} ]")
        if done.status not in (0, 1):
            raise GuestCommandError(
                f"whether the guest has {path} cannot be told: its shell ended with {done.status}"
            )
        return done.status == 0

    def optional(self, path: str) -> str | None:
        """A file's text, None where the guest has no such file."""
        return self.text(path) if self.has(path) else None

    def bulk(self, command: str, *, timeout: float = 300, stdin: bytes = b"") -> bytes:
        """A command's output, packed on its way: what is long here is nearly all the same."""
        result = self.guest.run(f"({command}) | gzip -c", timeout=timeout, stdin=stdin)
        try:
            if not result.stdout:
                raise EOFError("nothing came")
            return gzip.decompress(result.stdout)
        except (OSError, EOFError, zlib.error) as error:
            said = result.stderr.decode(errors="replace").strip()
            raise EvidenceError(
                f"the output of `{command}` did not come whole: {error}{said and f' ({said})'}",
                hint="the guest's image needs a gzip",
            ) from error

    # The pinner ------------------------------------------------------------------------------

    def load(self, lie: str = "none", *, more: str = "") -> None:
        """Load the pinner in the arm's mode; CannotRun where the kernel has no such way.

        more: further parameters of the module.
        """
        local = self.guest.module("pinner")
        if self.guest.run(f"[ -e {_MODULE} ]").status != 0:
            self.guest.put(local, _MODULE)
        words = f"insmod {_MODULE} mode={self.arm.mode}"
        if lie != "none":
            words += f" lie={lie}"
        if more:
            words += f" {more}"
        result = self.guest.run(words, timeout=60)
        said = result.stderr.decode(errors="replace").strip()
        self.event("harness", "insmod", command=words, status=result.status, stderr=said)
        if result.status == 0:
            return
        if _UNSUPPORTED.search(said):
            raise CannotRun(
                f"the pinner's mode {self.arm.mode} is not supported by this kernel: {said}",
                hint="give a series that brings the pin page subsystem, or --series none",
            )
        raise GuestCommandError(
            f"the pinner could not be loaded in mode {self.arm.mode}: {said or result.status}",
            hint="the end of console.log has the kernel's reason",
            detail=words,
        )

    def fill(self, first: int, count: int, every: int, seed: int) -> None:
        """Strew pins over what is free of so many frames from a first one on."""
        self.control(f"fill {first} {count} {every} {seed}", timeout=300)

    def layout(self, pages: int, every: int, seed: int) -> None:
        command = f"layout {pages} {every} {seed}"
        try:
            self.control(command, timeout=120)
        except GuestCommandError as error:
            if os.strerror(errno.ENOMEM) not in f"{error}{error.detail}":
                raise  # the kernel refuses to have pages pinned
            raise InfraError(
                f"the pinner could not lay out {pages} pages, one of every {every}: {error}",
                hint=f"it needs {pages * every >> 8} MiB: raise --memory, "
                "or lower --set pages= or --set every=",
            ) from error

    def control(self, command: str, *, timeout: float = 60) -> None:
        self.guest.write(f"{PINNER}/control", command.encode(), timeout=timeout)

    def verify(self) -> None:
        """Have every object's contents checked; what is wrong is in the ledger and counters."""
        try:
            self.control("verify", timeout=120)
        except GuestCommandError as error:
            self.event("pinner", "verify", ok=False, error=str(error))
        else:
            self.event("pinner", "verify", ok=True)

    def pins(self) -> tuple[pinner.Pin, ...]:
        """The owner's ledger as it is now, which is no evidence by itself."""
        return pinner.ledger(self.text(f"{PINNER}/ledger"))

    def ledger(self, when: str) -> tuple[pinner.Pin, ...]:
        pins = self.pins()
        rows: list[JSON] = [
            [p.handle, p.pfn_pin, p.pfn_now, p.moves, p.errno, p.state] for p in pins
        ]
        self.event("pinner", "ledger", when=when, rows=rows)
        return pins

    def counters(self, when: str) -> dict[str, JSON]:
        values: dict[str, JSON] = {**pinner.counters(self.text(f"{PINNER}/counters"))}
        self.event("pinner", "counters", when=when, values=values)
        return values

    def calls_so_far(self) -> int:
        """Number of the owner's last callback, -1 before the first."""
        calls = pinner.moves(self.text(f"{PINNER}/moves")).calls
        return max((call.seq for call in calls), default=-1)

    def driven_from(self) -> None:
        """The owner's calls from now on are the drive's."""
        self._calls_before = self.calls_so_far()

    def settled(self, frames: Iterable[int]) -> tuple[pinner.Pin, ...]:
        """The owner's ledger, calls and counters and its pages' flags, all of one moment.

        Memory is compacted in the background, too: they are read again, a few times, if the owner
        has been called in between. frames: others whose flags are wanted.
        """
        for _ in range(_SETTLING):
            moves = pinner.moves(self.text(f"{PINNER}/moves", timeout=120))
            pins = self.ledger("after")
            self.pageflags("after", {*frames, *(pin.pfn_now for pin in pins)})
            counted = self.counters("after")
            called = [counted.get(name) for name in ("migrated", "refused")]
            if sum(n for n in called if isinstance(n, int)) == len(moves.calls) + moves.dropped:
                break
        self._calls(moves)
        return pins

    def _calls(self, moves: pinner.Moves) -> None:
        """Every callback as an event; window: it came in the drive or after it."""
        for call in moves.calls:
            self.event(
                "pinner",
                "refused" if call.errno else "migrated",
                seq=call.seq,
                handle=call.handle,
                old=call.pfn_old,
                new=call.pfn_new,
                errno=call.errno,
                window=call.seq > self._calls_before,
            )
        self.event("pinner", "calls", total=len(moves.calls), dropped=moves.dropped)

    def huge(self, when: str, order: int, most: int) -> None:
        """Try to get blocks of an order without reclaim or compaction, and count them."""
        self.control(f"huge {order} {most}", timeout=120)
        values = pinner.counters(self.text(f"{PINNER}/counters"))
        got = values.get("huge_got")
        if values.get("huge_order") != order or not isinstance(got, int):
            raise InfraError(
                f"the pinner's counters do not show the attempt at order {order}",
                hint="the module and the harness do not belong together: build it again",
            )
        self.event("pinner", "huge", when=when, order=order, got=got, most=most)

    def unload(self) -> None:
        self.guest.must("rmmod pinner", timeout=120)
        self.event("harness", "rmmod")

    # The kernel ------------------------------------------------------------------------------

    def vmstat(self, when: str, *, refresh: bool = False) -> None:
        """refresh: have negative counters told in the kernel log first, where it can."""
        if refresh and self.guest.run("[ -w /proc/sys/vm/stat_refresh ]").status == 0:
            refused = self.guest.run("echo 1 > /proc/sys/vm/stat_refresh")
            self.event("vmstat", "stat_refresh", when=when, ok=refused.status == 0)
        values: dict[str, JSON] = {**vmstat.vmstat(self.text("/proc/vmstat"))}
        self.event("vmstat", "vmstat", when=when, values=values)

    def tainted(self) -> None:
        """What the kernel remembers of its complaints (Documentation/admin-guide/
        tainted-kernels.rst)."""
        text = self.text("/proc/sys/kernel/tainted").strip()
        if not text.isdigit():
            raise EvidenceError(f"/proc/sys/kernel/tainted is no number: {text[:40]!r}")
        self.event("kernel", "tainted", value=int(text))

    def free(self, when: str) -> None:
        """Free blocks by order, and the kernel's own fragmentation indexes where it has them."""
        zones = buddyinfo.buddyinfo(self.text("/proc/buddyinfo"))
        rows: list[JSON] = [{"node": z.node, "zone": z.zone, "free": [*z.blocks]} for z in zones]
        self.event("buddyinfo", "free", when=when, zones=rows)
        for name in ("extfrag_index", "unusable_index"):
            said = self.optional(f"{EXTFRAG}/{name}")
            if said is None:
                continue
            found = buddyinfo.extfrag(said, name)
            rows = [{"node": i.node, "zone": i.zone, "orders": [*i.values]} for i in found]
            self.event("buddyinfo", name, when=when, zones=rows)

    def pageflags(self, when: str, frames: Iterable[int]) -> dict[int, int]:
        """What the kernel says of some page frames; only the range they span is read."""
        wanted = sorted(set(frames))
        if not wanted or not self.has("/proc/kpageflags"):
            return {}
        flags = self.flags(wanted[0], wanted[-1])
        found = {frame: flags[frame] for frame in wanted if frame in flags}
        rows: list[JSON] = [[frame, value] for frame, value in found.items()]
        self.event("pageflags", "flags", when=when, frames=rows, asked=len(wanted))
        return found

    def blocks(self, when: str) -> None:
        """What each pageblock of the machine is full of, for the picture of it."""
        if not self.has("/proc/kpageflags"):
            return
        data = self.bulk("dd if=/proc/kpageflags bs=65536 2>/dev/null")
        rows: list[JSON] = [pageblocks.row(run) for run in pageblocks.pageblocks(data)]
        self.event("pageflags", "blocks", when=when, size=pageblocks.PAGEBLOCK, rows=rows)

    def flags(self, first: int, last: int, path: str = "/proc/kpageflags") -> dict[int, int]:
        """Page frame → its flags, for these at least; or its mapcount, from /proc/kpagecount."""
        entries = _PIECE // pageflags.ENTRY
        begin, end = first // entries, last // entries
        data = self.bulk(
            f"dd if={path} bs={_PIECE} skip={begin} count={end - begin + 1} 2>/dev/null"
        )
        return pageflags.pageflags(data, begin * entries)

    def released(self) -> None:
        """Whether anybody but the owner has its pages in hand. Some may have in passing: it is
        looked at again until nobody has, for a few times."""
        for _ in range(_LOOKS):
            refs = self.optional(f"{PINNER}/refs")
            if refs is None:
                return
            found = pinner.refs(refs)
            rows: list[JSON] = [[*row] for row in found]
            self.event("pinner", "refs", rows=rows)
            flags = self.pageflags("released", (pfn for _, pfn, _ in found))
            busy = any(count != 1 for _, _, count in found)
            if not busy and not any(value & pageflags.HANDLED for value in flags.values()):
                return
            self.guest.run("sleep 1")

    def holders(self, frames: Iterable[int]) -> None:
        """Who holds some page frames: mappings, and page_owner's stacks, of what of that this
        kernel has."""
        wanted = sorted(set(frames))
        if wanted and self.has("/proc/kpagecount"):
            mapped = self.flags(wanted[0], wanted[-1], "/proc/kpagecount")
            rows: list[JSON] = [[frame, mapped[frame]] for frame in wanted if frame in mapped]
            self.event("pageflags", "mapcounts", frames=rows)
        self._owners(wanted)

    def _owners(self, wanted: list[int]) -> None:
        if not self.has(PAGE_OWNER):
            self.event("page_owner", "absent", why="the kernel keeps no record of page owners")
            return
        words = "\n".join(map(str, wanted)).encode()
        command = f"{program(self.guest)} pread {PAGE_OWNER} 4096"
        stacks: dict[tuple[Caller, ...], int] = {}
        rows: list[JSON] = []
        for frame, _, said in userpages.pieces(self.bulk(command, stdin=words)):
            found = page_owner.owner(said.decode(errors="replace"))
            if found is None or found.pfn != frame:
                continue  # what comes is the next page that has an owner
            number = stacks.setdefault(found.stack, len(stacks))
            rows.append([frame, number, found.order, found.comm, found.type])
        known: list[JSON] = [[[c.function, c.module] for c in stack] for stack in stacks]
        self.event("page_owner", "owners", asked=len(wanted), stacks=known, rows=rows)

    def taken(self, first: int, count: int) -> bool:
        """Whether so many frames are all somebody's own: neither free nor in general use."""
        return self.in_use(range(first, first + count))

    def in_use(self, frames: Iterable[int]) -> bool:
        """The same of single frames."""
        wanted = sorted(set(frames))
        if not wanted:
            return True
        flags = self.flags(wanted[0], wanted[-1])
        not_own = pageflags.FREE | pageflags.FOREIGN
        return all(frame in flags and not flags[frame] & not_own for frame in wanted)

    def log(self) -> None:
        """The pinner's own lines in the kernel log."""
        said = self.guest.must("dmesg", timeout=60)
        for count, each in enumerate(pinner.log(said.splitlines())):
            if count == _LOGGED:
                break
            name = "refused" if each.pfn_new is None else "migrated"
            self.event(
                "dmesg",
                name,
                handle=each.handle,
                old=each.pfn_old,
                new=each.pfn_new,
                errno=each.errno,
            )
        self.event("dmesg", "read", bytes=len(said))
        lines = said.splitlines()
        tried = marks.spans(lines)
        if not tried or tried[0][0] != 1:  # its buffer may have forgotten; the console has it all
            lines = self.guest.console_text().splitlines()
            tried = marks.spans(lines)
        for line, page in page_owner.dumps(lines):
            number = next((n for n, first, last in tried if first < line < last), 0)
            stack: list[JSON] = [[caller.function, caller.module] for caller in page.stack]
            self.event("dmesg", "dumped", attempt=number, **{**asdict(page), "stack": stack})


def short_lists(guest: Guest) -> None:
    """Have what is freed page by page be free, and whole blocks of it.

    It stays in lists of the processors', since v6.7 up to an eighth of a zone (mm/page_alloc.c:
    nr_pcp_high()), and no block is whole again of which a page does. A fraction this small leaves
    them a few hundred (v5.14 and later; before it is not there).
    """
    guest.run(f"[ ! -w {_KEPT} ] || echo {_LEAST} > {_KEPT}")


def mount(guest: Guest) -> None:
    """Mount debugfs; CannotRun where the kernel has none."""
    if guest.run("grep -q ' /sys/kernel/debug debugfs ' /proc/mounts").status == 0:
        return
    if guest.run("mount -t debugfs debugfs /sys/kernel/debug").status != 0:
        raise CannotRun(
            "this kernel has no debugfs, which the pinner reports through",
            hint="build it with CONFIG_DEBUG_FS=y",
        )
