# SPDX-License-Identifier: GPL-2.0-only
"""Memory that comes and goes: in which order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness import scenario
from harness.scenario import memory_hotplug
from harness.scenario.memory_hotplug import Device
from harness.scenario.trigger import offline
from harness.scenario.trigger.attempt import Done


def test_what_came_last_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block's table of page owners lies in one that came before it, and holds it."""
    came, went = list[str](), list[str]()
    blocks = [SimpleNamespace(name=f"memory{n}", first=n << 15, count=1 << 15) for n in (32, 33)]
    monkeypatch.setattr(offline, "blocks_of", lambda guest, memory: tuple(blocks))

    def comes(guest: Any, block: Any, how: str) -> Done:
        came.append(block.name)
        return Done(0, "")

    monkeypatch.setattr(offline, "online", comes)
    monkeypatch.setattr(Device, "_zone", lambda *words: None)
    device = Device(cast(Any, SimpleNamespace(name="mem1")), "online_kernel")
    device.bring_online(cast(Any, SimpleNamespace(guest=None, event=lambda *w, **k: None)))

    def goes(self: Any, block: Any, *words: Any) -> bool:
        went.append(block.name)
        return True

    monkeypatch.setattr(memory_hotplug._Drive, "_offline", goes)
    own = SimpleNamespace(inside=lambda first, count: 1)
    assert memory_hotplug._Drive(cast(Any, own), True, 8)._all_offline(device)
    assert went == came[::-1] and len(went) == 2


@pytest.mark.parametrize("moves", [True, False])
def test_what_old_kernels_are_not_asked_is_left_out_of_both_arms(moves: bool) -> None:
    """An arm that alone leaves something out cannot be compared: all of v3.11 was an INFRA."""
    told: list[tuple[str, ...]] = []
    record = SimpleNamespace(
        text=lambda path: "nr_free_pages 9\n",
        event=lambda source, name, **data: told.append((source, name, data["part"])),
    )
    drive = memory_hotplug._Drive(cast(Any, SimpleNamespace(record=record)), moves, 8)
    drive._with_nowhere_to_go(cast(Any, None))
    assert told == [("harness", "left out", "offline, nowhere to go")]


def test_a_dash_is_as_good_in_its_name() -> None:
    """Faults, profiles and options have dashes in their names."""
    assert scenario.is_one("memory-hotplug")
    assert scenario.named("memory-hotplug") == {"scenario": "memory_hotplug"}
    assert scenario.get("memory-hotplug").name == "memory_hotplug"
    assert not scenario.is_one("memory--hotplug")
