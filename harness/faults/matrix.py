# SPDX-License-Identifier: GPL-2.0-only
"""The baseline first, then each fault until something catches it.

A try proves something only if the series without the fault passes it: otherwise its verdict is
not the fault's doing, and the try is left out with that reason.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.faults.catalogue import Fault, Try
from harness.faults.store import Store, Tried
from harness.model import Outcome


@dataclass(frozen=True)
class Row:
    """What came of a fault. tried: in order, the last one caught it if any did."""

    fault: Fault
    tried: tuple[Tried, ...] = ()
    error: str = ""  # the fault itself is at fault: it does not apply, or not build

    @property
    def caught(self) -> Tried | None:
        return next((each for each in self.tried if each.caught), None)

    @property
    def state(self) -> str:
        """``caught``, ``equivalent``, ``missed`` (everything passed) or ``untold``."""
        if self.caught:
            return "caught"
        if self.fault.equivalent:
            return "equivalent"
        passed = any(each.outcome is Outcome.PASS for each in self.tried)
        rest = all(each.outcome in (Outcome.PASS, Outcome.SKIP) for each in self.tried)
        return "missed" if passed and rest and not self.error else "untold"

    @property
    def good(self) -> bool:
        """Caught, or none: what is called equivalent and is caught is called so wrongly."""
        return (self.state == "caught") is not bool(self.fault.equivalent)


class Runner(Protocol):
    """Does one try, with a fault or without. Has to be picklable where several go on at a time."""

    def inputs(self, fault: Fault | None, how: Try) -> tuple[str, ...]:
        """Digests of all that the try depends on; PatchError where the fault does not apply."""
        ...

    def run(self, fault: Fault | None, how: Try) -> Tried: ...


@dataclass(frozen=True)
class Matrix:
    """folder: of the records. again: what is recorded is tried again."""

    runner: Runner
    folder: Path
    code: str
    again: bool = False

    def baseline(self, faults: Sequence[Fault], note: Callable[[str], None]) -> dict[Try, Tried]:
        """Each try of these faults without any of them."""
        found = {}
        for how in dict.fromkeys(how for fault in faults for how in fault.tries):
            note(f"baseline {how}")
            found[how] = self._try(None, how)
        return found

    def examine(
        self, faults: Sequence[Fault], baseline: dict[Try, Tried], side_by_side: int = 1
    ) -> Iterator[Row]:
        """A row for each fault, as they come."""
        if side_by_side == 1:
            for fault in faults:
                yield self.one(fault, baseline)
            return
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(side_by_side, mp_context=spawn)
        try:
            for done in as_completed([pool.submit(self.one, f, baseline) for f in faults]):
                yield done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise
        pool.shutdown()

    def one(self, fault: Fault, baseline: dict[Try, Tried]) -> Row:
        """Try a fault until it is caught. One that is equivalent is tried too: it has to pass."""
        tried: list[Tried] = []
        for how in fault.tries:
            base = baseline[how]
            if base.outcome is not Outcome.PASS:
                said = f"without the fault it is {base.outcome}: {base.said}"
                tried.append(_left_out(how, said))
                continue
            found = self._try(fault, how)
            tried.append(found)
            if found.caught:
                break
            if found.outcome in (Outcome.PATCH, Outcome.BUILD):
                return Row(fault, tuple(tried), found.said)
        return Row(fault, tuple(tried))

    def _try(self, fault: Fault | None, how: Try) -> Tried:
        store = Store(self.folder, self.code)
        inputs = self.runner.inputs(fault, how)
        known = None if self.again or not inputs else store.look(inputs)
        if known is not None:
            return known
        found = self.runner.run(fault, how)
        if found.outcome is Outcome.LOST:
            found = self.runner.run(fault, how)  # once may be the host's doing
        if inputs:
            store.keep(inputs, found)
        return found


def _left_out(how: Try, said: str) -> Tried:
    more = " ".join((*how.settings, *(f"{name}={value}" for name, value in how.guest)))
    return Tried(how.scenario, how.profile, more, Outcome.SKIP, said)
