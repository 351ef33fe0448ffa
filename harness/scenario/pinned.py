# SPDX-License-Identifier: GPL-2.0-only
"""An arm with the pinner in it: all that goes before a drive and after it, the same for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from errno import EINVAL

from harness.errors import InputError
from harness.model import JSON, ArmPlan, Guest
from harness.parse.ledger import Pin
from harness.scenario import kmemleak
from harness.scenario.base import Default, Emit
from harness.scenario.recorder import Recorder, mount, short_lists
from harness.scenario.tracing import Window
from harness.scenario.trigger.attempt import Attempts, counted, drive

# Words on the command line of every arm with pins: who allocated a page is known afterwards, where
# the kernel was built to remember it (CONFIG_PAGE_OWNER).
APPEND = ("page_owner=on",)
_DEBUG = "/sys/kernel/debug/dynamic_debug/control"
_DUMPS = "func alloc_contig_dump_pages +p"  # has those dumped that stand in an allocation's way
ORDER = 9
_PAGES_IN_MIB = 8  # a shift
_FILLED = 0.75  # of the memory may be laid out: the kernel and the pinner keep an eighth or so
_ALL = 1 << 20  # blocks of ORDER: more than any guest has


def check_room(frames: int, every: int, needed: int) -> None:
    """InputError where one of every so many frames makes too few pins for a verdict.

    A tenth of them is left to those that are in use by somebody else.
    """
    if frames // every * 9 // 10 < needed:
        raise InputError(
            f"--set every={every}: one of so many of {frames >> _PAGES_IN_MIB} MiB's pages is "
            f"{frames // every} pins, and a verdict needs {needed} and a tenth more",
            hint=f"give --set every={max(1, frames * 9 // 10 // needed)}, or more memory for them",
        )


def check_strewn(pages: int, every: int, memory_mib: int) -> int:
    """The MiB over which so many pins are strewn, one of every so many pages. InputError where a
    guest has no room for that."""
    laid = pages * every >> _PAGES_IN_MIB
    if laid > memory_mib * _FILLED:
        raise InputError(
            f"one of every {every} pages, {pages} times, is {laid} MiB: "
            f"more than {_FILLED:.0%} of a guest with {memory_mib} MiB",
            hint=f"give --memory {int(laid / _FILLED) + 1}, "
            "or less of --set pages= or --set every=",
        )
    return laid


def beside(control: ArmPlan, series_has_pinpage: bool) -> tuple[ArmPlan, ...]:
    """A control arm and, where the series brings the subsystem, the treated one: the same with an
    owner that is registered."""
    if not series_has_pinpage:
        return (control,)
    return (control, replace(control, name="treated", role="treated", mode="pinpage"))


@dataclass(frozen=True)
class Pinned:
    """What a scenario drives with: its pins are laid out, and were counted."""

    record: Recorder
    window: Window
    attempts: Attempts
    pins: tuple[Pin, ...]

    def drive(self, **facts: JSON) -> AbstractContextManager[None]:
        """The drive, see attempt.py; facts: what else its event says."""
        return drive(self.record, self.window, **facts)

    def inside(self, first: int, count: int) -> int:
        """How many pages are pinned in so many frames from a first one on: at this moment, as what
        was tried before may have moved some."""
        return sum(first <= pin.pfn_now < first + count for pin in self.record.pins())


def odd(rows: Iterable[Pin]) -> list[str]:
    """Of each pin what is wrong with it. EINVAL is no refusal: the owner was asked for a page that
    is not its own, or is not registered (guest-modules/pinner/migrate.c: pinner_move())."""
    wrong = []
    for pin in rows:
        if pin.state != "stored":
            wrong.append(f"handle {pin.handle} is {pin.state}")
        elif pin.errno == -EINVAL:
            wrong.append(f"handle {pin.handle} was to move unregistered (EINVAL)")
    return wrong


@contextmanager
def pinned(
    guest: Guest,
    arm: ArmPlan,
    seed: int,
    values: Mapping[str, Default],
    emit: Emit,
    lay_out: Callable[[Recorder], None],
) -> Iterator[Pinned]:
    """Lay the pins out, have the arm driven, and see what has become of each.

    values: the scenario's parameters, as evidence; ``lie`` is the treated owner's, and so are
    ``init_lru`` and ``linger``, if not 0.
    """
    record = Recorder(guest, arm, emit)
    record.event("harness", "params", seed=seed, mode=arm.mode, **values)
    mount(guest)
    guest.run(f"[ ! -w {_DEBUG} ] || echo '{_DUMPS}' > {_DEBUG}")
    if arm.huge:
        short_lists(guest)
    record.free("unloaded")
    settle(guest)
    load(record, values)
    lay_out(record)
    window = Window(record)
    pins = record.ledger("before")
    record.pageflags("before", (pin.pfn_now for pin in pins))
    record.blocks("before")
    record.counters("before")
    if arm.huge:
        record.huge("before", ORDER, _ALL)
    record.free("before")
    yield Pinned(record, window, Attempts(record, window), pins)
    record.free("after")
    if arm.huge:
        record.huge("after", ORDER, _ALL)
    record.verify()
    after = counted(record, window, [pin.pfn_now for pin in pins])
    record.blocks("after")
    record.released()
    was = {pin.handle: pin.pfn_now for pin in pins}
    record.holders(pin.pfn_now for pin in after if was.get(pin.handle) == pin.pfn_now)
    record.log()
    known = kmemleak.noted(record)
    record.unload()
    record.free("removed")
    kmemleak.look(record, known)
    # Another owner can come: nothing of the one that is gone is in the way, or is looked at.
    record.load()
    record.unload()
    record.tainted()


@contextmanager
def once_more(record: Recorder, values: Mapping[str, Default]) -> Iterator[None]:
    """The owner again, for what comes behind the drive; whoever has it unloads it at the end. What
    nobody points at then is looked for once more."""
    load(record, values)
    known = kmemleak.noted(record)
    yield
    kmemleak.look(record, known)
    record.tainted()


def load(record: Recorder, values: Mapping[str, Default]) -> None:
    """Load the arm's owner: the treated one lies, initialises page->lru and lingers as it is
    told."""
    treated = record.arm.role == "treated"
    words = [f"{name}={values[name]}" for name in ("init_lru", "linger") if values.get(name)]
    record.load(
        str(values.get("lie", "none")) if treated else "none",
        more=" ".join(words) if treated else "",
    )


def settle(guest: Guest) -> None:
    """Have the caches give back what they hold before anything is counted.

    Nothing is compacted beforehand: until v3.16 a write to compact_memory passes over the blocks
    in which the last one had nothing to isolate (mm/compaction.c: isolation_suitable), and pins
    put there since would never be looked at.
    """
    guest.write("/proc/sys/vm/drop_caches", b"3", timeout=60)
