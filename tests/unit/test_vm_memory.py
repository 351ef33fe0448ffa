# SPDX-License-Identifier: GPL-2.0-only
"""Memory that is plugged and unplugged: what decides is the event, or the size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from harness.errors import CannotRun, GuestCrash, InfraError
from harness.model import PluggedMemory
from harness.vm.memory import MemoryDevices
from harness.vm.qemu import DIMM, VIRTIO_MEM
from harness.vm.qmp import MonitorError

MIB = 1 << 20
PLUGGED = PluggedMemory("mem1", DIMM, 1048576, 32768, 1)


class Monitor:
    """Answers as QEMU does; events come when device_del was asked for."""

    def __init__(self, *coming: dict[str, Any], refuses: str = "") -> None:
        self.coming, self.refuses = list(coming), refuses
        self.events: tuple[dict[str, Any], ...] = ()
        self.asked: list[str] = []
        self.sizes = [0]

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        self.asked.append(command)
        if command == self.refuses:
            raise MonitorError("no")
        if command == "device_del":
            self.events += tuple(self.coming)
        if command == "query-memory-devices":
            size = self.sizes.pop(0) if len(self.sizes) > 1 else self.sizes[0]
            return [{"data": {"id": "mem1", "addr": 4 << 30, "size": size}}]
        return {}

    def wait_event(self, *names: str, seconds: float, after: int = 0) -> dict[str, Any] | None:
        return next((e for e in self.events[after:] if e["event"] in names), None)


def quiet() -> None:
    """Watches a guest that is well."""


def event(name: str, **data: Any) -> dict[str, Any]:
    return {"event": name, "data": data}


def ost(status: int, source: int = 3, device: str = "mem1") -> dict[str, Any]:
    info = {"device": device, "source": source, "status": status}
    return event("ACPI_DEVICE_OST", info=info)


def devices(monitor: Monitor, device: str = DIMM) -> MemoryDevices:
    return MemoryDevices(monitor, device, 1.0, ((128, 1),))  # type: ignore[arg-type]


def test_plugged_memory_is_where_qemu_says() -> None:
    monitor = Monitor()
    found = devices(monitor).plug(128, 1)
    assert found == PluggedMemory("mem1", DIMM, 1048576, 32768, 1)
    assert monitor.asked[:2] == ["object-add", "device_add"]


def test_a_machine_without_such_devices_is_skipped_and_a_refusal_is_ours() -> None:
    with pytest.raises(CannotRun):
        devices(Monitor(), "").plug(128)
    with pytest.raises(InfraError, match="does not plug 128 MiB"):
        devices(Monitor(refuses="device_add")).plug(128, 1)
    own = devices(Monitor())
    own.plug(128, 1)
    with pytest.raises(InfraError, match="no room left for 128 MiB on node 1"):
        own.plug(128, 1)


@pytest.mark.parametrize(
    ("events", "gone", "name"),
    [
        ([event("DEVICE_DELETED", device="mem1")], True, "DEVICE_DELETED"),
        ([event("DEVICE_DELETED", device="other")], False, ""),
        ([ost(0x84), event("DEVICE_DELETED", device="mem1")], True, "DEVICE_DELETED"),
        ([ost(0x82)], False, "ACPI_DEVICE_OST"),
        ([ost(0x82, device="other")], False, ""),
        ([event("MEM_UNPLUG_ERROR", device="mem1", msg="busy")], False, "MEM_UNPLUG_ERROR"),
        ([], False, ""),
    ],
)
def test_an_event_decides_and_not_the_commands_answer(
    events: list[dict[str, Any]], gone: bool, name: str
) -> None:
    monitor = Monitor(*events)
    answer = devices(monitor).unplug(PLUGGED, seconds=0.05, watch=quiet)
    assert (answer.gone, answer.event) == (gone, name)
    assert ("object-del" in monitor.asked) is gone


@pytest.mark.parametrize("device", [DIMM, VIRTIO_MEM])
def test_a_guest_that_is_over_is_not_waited_for(device: str) -> None:
    def over() -> None:
        raise GuestCrash("over")

    monitor = Monitor()
    monitor.sizes = [128 * MIB]
    own = PluggedMemory("mem1", device, 1048576, 32768, 1)
    with pytest.raises(GuestCrash):
        devices(monitor, device).unplug(own, seconds=60, watch=over)


def test_an_older_event_decides_nothing() -> None:
    monitor = Monitor(ost(0x82))
    monitor.events = (event("DEVICE_DELETED", device="mem1"),)
    assert not devices(monitor).unplug(PLUGGED, seconds=0.05, watch=quiet).gone


def test_a_virtio_device_is_gone_when_its_size_says_so() -> None:
    monitor = Monitor()
    monitor.sizes = [256 * MIB, 128 * MIB, 0]
    own = PluggedMemory("mem1", VIRTIO_MEM, 1048576, 65536, 0)
    assert devices(monitor, VIRTIO_MEM).unplug(own, seconds=5, watch=quiet).gone
    monitor.sizes = [128 * MIB]
    answer = devices(monitor, VIRTIO_MEM).unplug(own, seconds=0.05, watch=quiet)
    assert (answer.gone, answer.said) == (False, "128 MiB are still plugged")
