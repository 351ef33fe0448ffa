# SPDX-License-Identifier: GPL-2.0-only
"""The huge_pages scenario: what it asks for beforehand, and when it says nothing of a series."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest
from fake_guest import FakeGuest

from harness import scenario
from harness.errors import CannotRun, InputError
from harness.scenario.trigger import compact, huge, user
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


class Collapsing(FakeGuest):
    """khugepaged makes huge pages of small ones until it is stopped, at each look at a file."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on, self.collapsed = True, 5

    def write(self, path: str, data: bytes, *, timeout: float = 30) -> None:
        if path.endswith("transparent_hugepage/enabled"):
            self.goes_on = data != b"never"

    def read(self, path: str, *, timeout: float = 30) -> bytes:
        self.collapsed += self.goes_on
        if path.endswith("pages_collapsed"):
            return f"{self.collapsed}\n".encode()
        return b"thp_fault_alloc 7\n" if path == "/proc/vmstat" else b""


def test_what_khugepaged_adds_at_a_fault_is_counted_on_both_sides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guest = Collapsing()

    class Held:
        def smaps(self, _: str) -> int:
            guest.collapsed += guest.goes_on
            return (guest.collapsed - 7) * 2048

        def whole(self) -> tuple[int, int]:
            return 0, 9

    @contextmanager
    def holder(*_: object, **__: object) -> Iterator[Held]:
        guest.collapsed += 2
        yield Held()

    monkeypatch.setattr(user, "holder", holder)
    done = huge.at_fault(guest, 9)
    assert done.got and done.also == {"vmstat thp_fault_alloc": done.got}
    assert guest.goes_on  # as it was
