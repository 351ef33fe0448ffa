# SPDX-License-Identifier: GPL-2.0-only
"""Each fault until something catches it, and each way to try one without any, before it is used.

A try proves something only if the series without the fault passes it: otherwise its verdict is
not the fault's doing, and the try is left out with that reason.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness import cache, ending
from harness.faults.catalogue import Fault, Try
from harness.faults.store import Store, Tried
from harness.model import Outcome, Silent


@dataclass(frozen=True)
class Row:
    """What came of a fault. tried: in order, the last one caught it if any did. base: the same
    tries without it."""

    fault: Fault
    tried: tuple[Tried, ...] = ()
    base: tuple[Tried, ...] = ()
    error: str = ""  # the fault itself is at fault: it does not apply, or not build

    @property
    def caught(self) -> Tried | None:
        return next((each for each in self.tried if each.caught), None)

    @property
    def state(self) -> str:
        """``caught``, ``equivalent``, ``missed`` (everything passed) or ``untold`` (a try failed
        for want of something else, or does not pass without the fault either)."""
        if self.caught:
            return "caught"
        passed = any(each.outcome is Outcome.PASS for each in self.tried)
        every = (*self.tried, *self.base)
        rest = all(each.outcome in (Outcome.PASS, Outcome.SKIP) for each in every)
        if not passed or not rest or self.error:
            return "untold"
        return "equivalent" if self.fault.equivalent else "missed"

    @property
    def good(self) -> bool:
        """Caught, or none: what is called equivalent and is caught is called so wrongly."""
        return self.state == ("equivalent" if self.fault.equivalent else "caught")


class Runner(Protocol):
    """Does one try, with a fault or without. Has to be picklable where several go on at a time."""

    def inputs(self, fault: Fault | None, how: Try) -> tuple[str, ...]:
        """Digests of all that the try depends on; PatchError where the fault does not apply."""
        ...

    def run(self, fault: Fault | None, how: Try) -> Tried: ...


def _unwinding(matrix: Matrix, fault: Fault) -> Row:
    """``one`` in a process of its own, which is asked to end by SIGTERM: it takes its guest and its
    temporary folders with it, and the pool's next fault is not begun."""
    with ending.heeded():
        try:
            return matrix.one(fault)
        except SystemExit as asked:
            os._exit(asked.code if isinstance(asked.code, int) else 1)


@dataclass(frozen=True)
class Matrix:
    """folder: of the records. again: what is recorded is tried again. asked: names this
    invocation; what failed without a fault is believed no longer than that."""

    runner: Runner
    folder: Path
    code: str
    again: bool = False
    asked: str = field(default_factory=lambda: secrets.token_hex(8))

    def examine(self, faults: Sequence[Fault], side_by_side: int = 1) -> Iterator[Row]:
        """A row for each fault, as they come."""
        if side_by_side == 1:
            for fault in faults:
                yield self.one(fault)
            return
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(side_by_side, mp_context=spawn)
        try:
            for done in as_completed([pool.submit(_unwinding, self, f) for f in faults]):
                yield done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise
        pool.shutdown()

    def one(self, fault: Fault) -> Row:
        """Try a fault until it is caught. One that is equivalent is tried too: it has to pass."""
        tried: list[Tried] = []
        bases: list[Tried] = []
        error = ""
        for how in fault.tries:
            base = self.base(how)
            bases.append(base)
            if base.outcome is not Outcome.PASS:
                said = f"without the fault it is {base.outcome}: {base.said}"
                tried.append(_left_out(how, said))
                continue
            inputs = self.runner.inputs(fault, how)
            found = self._known(inputs) or self._run(fault, how)
            if inputs and not found.recorded:
                self._store.keep(inputs, found)
            tried.append(found)
            if found.outcome in (Outcome.PATCH, Outcome.BUILD):
                error = found.said
            if found.caught or error:
                break
        return Row(fault, tuple(tried), tuple(bases), error)

    def base(self, how: Try) -> Tried:
        """What a try says without any fault; those side by side wait for the one that asks."""
        inputs = self.runner.inputs(None, how)
        if not inputs:
            return self._run(None, how)
        name = cache.key(*inputs)
        with cache.locked(self.folder / "baseline" / f"{name}.lock", "tries the same", Silent()):
            own = ("baseline", self.asked, *inputs)
            known = self._store.look(own)
            if known is None:
                known = self._known(inputs)
                known = None if known is None or known.caught else known
            if known is None:
                known = self._run(None, how)
                self._store.keep(inputs if known.outcome is Outcome.PASS else own, known)
                if self.again:
                    self._store.keep(own, known)
            return known

    @property
    def _store(self) -> Store:
        return Store(self.folder, self.code)

    def _known(self, inputs: tuple[str, ...]) -> Tried | None:
        return None if self.again or not inputs else self._store.look(inputs)

    def _run(self, fault: Fault | None, how: Try) -> Tried:
        found = self.runner.run(fault, how)
        if found.outcome is Outcome.LOST:
            found = self.runner.run(fault, how)  # once may be the host's doing
        return found


def _left_out(how: Try, said: str) -> Tried:
    more = " ".join((*how.settings, *(f"{name}={value}" for name, value in how.guest)))
    return Tried(how.scenario, how.profile, more, Outcome.SKIP, said)
