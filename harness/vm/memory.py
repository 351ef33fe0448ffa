# SPDX-License-Identifier: GPL-2.0-only
"""Memory that is plugged into a running guest and unplugged again, over QMP.

A DIMM (pc-dimm) is announced by ACPI, and its end is an event; virtio-mem needs no firmware, and
is a device whose size is asked to change. Source: QEMU's docs/memory-hotplug.txt and
qapi/machine.json, qapi/acpi.json (DEVICE_DELETED, ACPI_DEVICE_OST, MEMORY_DEVICE_SIZE_CHANGE).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.errors import CannotRun, InfraError
from harness.model import PluggedMemory, Unplugged
from harness.vm.qemu import VIRTIO_MEM
from harness.vm.qmp import Monitor, MonitorError

_MIB = 1 << 20
_PAGE = 4096
_ANSWERS = ("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR", "MEM_UNPLUG_ERROR", "ACPI_DEVICE_OST")
# ACPI's _OST: a request to eject, and that it was done or is under way (include/linux/acpi.h).
_EJECT = (0x03, 0x103)
_OST_SUCCESS = 0x00
_OST_IN_PROGRESS = 0x84
_LOOK = 0.5  # seconds between two looks at whether the guest is alive
_POLL = 0.05
_NOTICED = 30.0  # seconds for a kernel to take memory that it is offered


class MemoryDevices:
    """One guest's. device: what QEMU plugs, "" where this machine has nothing of the kind. room:
    what it was begun with room for, (MiB, node) each."""

    def __init__(
        self, monitor: Monitor, device: str, patience: float, room: Sequence[tuple[int, int]]
    ) -> None:
        self._monitor, self._device, self._patience = monitor, device, patience
        self._room = dict(enumerate(room, 1))

    def plug(self, mib: int, node: int = 0) -> PluggedMemory:
        """Plug so many MiB; the guest's kernel has still to notice them.

        CannotRun where the machine takes no memory; InfraError where QEMU refuses it, or no such
        memory was spoken of when the guest began.
        """
        if not self._device:
            raise CannotRun("this machine has no way to plug memory into it")
        number = next((n for n, there in self._room.items() if there == (mib, node)), None)
        if number is None:
            raise InfraError(f"this guest has no room left for {mib} MiB on node {node}")
        del self._room[number]
        name = f"mem{number}"
        try:
            if self._device == VIRTIO_MEM:
                self._request(name, mib)
            else:
                self._insert(name, mib, node)
        except MonitorError as error:
            raise InfraError(
                f"QEMU does not plug {mib} MiB of memory: {error}",
                hint="the guest is booted with room for it: this is a fault of the harness",
            ) from error
        if self._device == VIRTIO_MEM and not self._until_size(name, mib * _MIB, _NOTICED):
            raise CannotRun(
                f"this kernel takes no memory from a {VIRTIO_MEM}",
                hint="it needs CONFIG_VIRTIO_MEM, and on arm64 a 5.x one or later",
            )
        found = self._find(name)
        first = int(found.get("addr", found.get("memaddr", 0))) // _PAGE
        return PluggedMemory(name, self._device, first, mib * _MIB // _PAGE, node)

    def _insert(self, name: str, mib: int, node: int) -> None:
        memory = {"qom-type": "memory-backend-ram", "id": f"{name}-ram", "size": mib * _MIB}
        self._monitor.execute("object-add", memory)
        words = {"driver": self._device, "id": name, "memdev": f"{name}-ram", "node": node}
        self._monitor.execute("device_add", words)

    def unplug(
        self, memory: PluggedMemory, *, seconds: float, watch: Callable[[], None]
    ) -> Unplugged:
        """Ask for it back, and wait for what comes of it: an event, not the command's answer. watch
        is called meanwhile, and raises what the caller wants to hear of."""
        began = time.monotonic()
        if memory.device == VIRTIO_MEM:
            self._request(memory.name, 0)
            gone = self._until_size(memory.name, 0, seconds, watch)
            left = int(self._find(memory.name)["size"])
            said = "" if gone else f"{left // _MIB} MiB are still plugged"
            event = "MEMORY_DEVICE_SIZE_CHANGE" if gone else ""
            return Unplugged(gone, event, said, time.monotonic() - began)
        return self._eject(memory, seconds, began, watch)

    def _eject(
        self, memory: PluggedMemory, seconds: float, began: float, watch: Callable[[], None]
    ) -> Unplugged:
        after = len(self._monitor.events)
        try:
            self._monitor.execute("device_del", {"id": memory.name})
        except MonitorError as error:
            raise InfraError(f"QEMU does not ask for {memory.name} back: {error}") from error
        until = began + seconds * self._patience
        while (left := until - time.monotonic()) > 0:
            event = self._monitor.wait_event(*_ANSWERS, seconds=min(left, _LOOK), after=after)
            if event is None:
                watch()
                continue
            after = self._monitor.events.index(event) + 1
            answer = _answer(memory, event)
            if answer is not None:
                took = time.monotonic() - began
                if answer[0]:
                    self._monitor.execute("object-del", {"id": f"{memory.name}-ram"})
                return Unplugged(answer[0], str(event["event"]), answer[1], took)
        said = f"no event within {seconds * self._patience:g} s"
        return Unplugged(False, "", said, time.monotonic() - began)

    def _request(self, name: str, mib: int) -> None:
        path = f"/machine/peripheral/{name}"
        arguments = {"path": path, "property": "requested-size", "value": mib * _MIB}
        self._monitor.execute("qom-set", arguments)

    def _until_size(
        self, name: str, size: int, seconds: float, watch: Callable[[], None] = lambda: None
    ) -> bool:
        """Wait for a virtio-mem device to have this size; the guest changes it step by step."""
        until = time.monotonic() + seconds * self._patience
        while int(self._find(name)["size"]) != size:
            if time.monotonic() >= until:
                return False
            watch()
            time.sleep(_POLL)  # between two looks, under a deadline
        return True

    def _find(self, name: str) -> Mapping[str, Any]:
        for each in self._monitor.execute("query-memory-devices"):
            if each["data"].get("id") == name:
                return dict(each["data"])
        raise InfraError(f"QEMU knows no memory device {name}")


def _answer(memory: PluggedMemory, event: Mapping[str, Any]) -> tuple[bool, str] | None:
    """(gone, what it says) if this event is the end of a request to eject, else None."""
    data = event.get("data", {})
    if event["event"] == "ACPI_DEVICE_OST":
        info = data.get("info", {})
        if info.get("device") != memory.name or info.get("source") not in _EJECT:
            return None
        status = int(info.get("status", 0))
        if status in (_OST_SUCCESS, _OST_IN_PROGRESS):
            return None  # DEVICE_DELETED follows
        return False, f"the guest refuses: _OST status {status:#x}"
    if data.get("device") != memory.name:
        return None
    if event["event"] == "DEVICE_DELETED":
        return True, ""
    return False, str(data.get("msg", "the guest refuses"))
