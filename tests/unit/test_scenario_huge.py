# SPDX-License-Identifier: GPL-2.0-only
"""The huge_pages scenario: what it asks for beforehand, and when it says nothing of a series."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext

import pytest
from fake_guest import FakeGuest

from harness import scenario
from harness.errors import CannotRun, InputError
from harness.scenario.trigger import compact, huge
from harness.scenario.trigger.attempt import Done

HUGE = scenario.get("huge_pages")
CONTROL, TREATED = HUGE.arms(True, {})
MEMORY = 20_000  # pages


@pytest.mark.parametrize("memory", [626, 2048, 4001])
def test_memory_that_is_hardly_fragmented_is_refused(memory: int) -> None:
    params = {"pages": 2000, "every": 32}
    with pytest.raises(InputError, match="less than 40% of a guest") as refused:
        HUGE.check(params, memory)
    hint = re.search(r"pages=(\d+), or --memory (\d+)", refused.value.hint)
    assert hint is not None
    HUGE.check({**params, "pages": int(hint[1])}, memory)
    HUGE.check(params, int(hint[2]))


def test_the_defaults_are_enough() -> None:
    HUGE.check({name: param.default for name, param in HUGE.PARAMS.items()}, 1024)


class Faulting(FakeGuest):
    """A guest that compacts once, for a fault, and looks at so many pages for it."""

    looks_at = 0

    def _answer(self, command: str) -> tuple[int, bytes, str]:
        if command.endswith("; cat /proc/vmstat"):
            return 0, self._vmstat().encode(), ""
        return super()._answer(command)

    def fault(self, *_: object, **__: object) -> Done:
        self._compact()
        self.scanned += self.looks_at - len(self.pages)
        return Done(0, asked=9, got=3)


@pytest.mark.parametrize(
    ("moves", "looks_at", "newer", "skipped"),
    [
        (99, 2_000, False, True),
        (99, 2_000, True, False),
        (100, 2_000, False, False),
        (99, MEMORY // 4, False, False),
    ],
    ids=["gave up", "gave up, a newer kernel", "moved enough", "looked at enough"],
)
def test_an_old_kernel_that_gives_up_says_nothing_of_a_series(
    monkeypatch: pytest.MonkeyPatch, moves: int, looks_at: int, newer: bool, skipped: bool
) -> None:
    guest = Faulting(moves=moves)
    guest.looks_at = looks_at
    if not newer:
        guest.absent.add(compact._NEWER)
    monkeypatch.setattr(huge, "probe", lambda _: None)
    monkeypatch.setattr(huge, "meminfo", lambda _: {"MemTotal": MEMORY * 4})
    monkeypatch.setattr(compact, "forget", lambda *_, **__: None)
    for name in ("pool", "by_khugepaged"):
        monkeypatch.setattr(huge, name, lambda *_, **__: Done(0, asked=9, got=3))
    monkeypatch.setattr(huge, "at_fault", guest.fault)

    ends: AbstractContextManager[object] = nullcontext()
    if skipped:
        ends = pytest.raises(CannotRun, match=f"looked at {looks_at} of {MEMORY} pages")
    with ends:
        HUGE.drive(guest, TREATED, 7, {"pages": 2000, "every": 32}, lambda _: None)
    HUGE.drive(Faulting(), CONTROL, 7, {"pages": 2000, "every": 32}, lambda _: None)
