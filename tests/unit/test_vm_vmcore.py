# SPDX-License-Identifier: GPL-2.0-only
"""A note added to a dump, and what a dump has; files that are none are refused."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import pytest

from harness.errors import GuestLost, InfraError, InputError
from harness.model import CommandResult, Silent
from harness.vm import vmcore
from harness.vm.qmp import MonitorError

PT_LOAD, PT_NOTE = 1, 4


def note(name: bytes, text: bytes, kind: int = 0) -> bytes:
    def padded(data: bytes) -> bytes:
        return data + b"\0" * (-len(data) % 4)

    head = struct.pack("<III", len(name) + 1, len(text), kind)
    return head + padded(name + b"\0") + padded(text)


def core(notes: bytes, memory: bytes, virtual: int = 0) -> bytes:
    """An ELF core as QEMU writes it: headers, notes, memory."""
    at = 64 + 2 * 56
    ident = b"\x7fELF\x02\x01\x01" + b"\0" * 9
    head = ident + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    table = struct.pack("<IIQQQQQQ", PT_NOTE, 0, at, 0, 0, len(notes), len(notes), 0)
    size = len(memory)
    table += struct.pack("<IIQQQQQQ", PT_LOAD, 0, at + len(notes), virtual, 0, size, size, 0)
    return head + table + notes + memory


def notes_of(data: bytes) -> bytes:
    offset, _, _, size = struct.unpack_from("<QQQQ", data, 64 + 8)
    return data[offset : offset + size]


def test_a_note_is_added_and_nothing_else_changes(tmp_path: Path) -> None:
    path = tmp_path / "core"
    own, memory = note(b"CORE", b"registers", 1), random.Random(1).randbytes(4097) + b"\0" * 200_000
    path.write_bytes(core(own, memory))
    more = note(b"VMCOREINFO", b"OSRELEASE=6.12.0\n")
    vmcore.with_note(path, more, tmp_path / "more")
    data = (tmp_path / "more").read_bytes()
    assert notes_of(data) == own + more
    offset, _, _, size = struct.unpack_from("<QQQQ", data, 64 + 56 + 8)
    assert data[offset : offset + size] == memory
    assert offset == 64 + 2 * 56 + len(own + more)
    assert path.read_bytes() == core(own, memory)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF",
        b"makedumpfile" + b"\0" * 100,
        core(b"", b"")[:64],
        core(b"", b"x").replace(struct.pack("<I", PT_NOTE), struct.pack("<I", PT_LOAD)),
        core(b"", b"")[:64] + struct.pack("<IIQQQQQQ", PT_NOTE, 0, 0, 0, 0, 1 << 40, 0, 0) * 2,
    ],
)
def test_what_is_no_core_is_left_alone(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "core"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="it"):
        vmcore.with_note(path, note(b"VMCOREINFO", b"x"), tmp_path / "more")
    assert path.read_bytes() == data


def test_virtual_addresses(tmp_path: Path) -> None:
    path = tmp_path / "core"
    for virtual, has in ((0, False), (0x1000, False), (0xFFFF888000000000, True)):
        path.write_bytes(core(b"", b"memory", virtual))
        assert vmcore.has_virtual(path) is has
    for data in (b"", b"KDUMP   " * 20, core(b"", b"")[:70]):
        path.write_bytes(data)
        assert not vmcore.has_virtual(path)


def test_the_guests_own_note() -> None:
    whole = note(b"VMCOREINFO", b"OSRELEASE=6.12.0\nPAGESIZE=4096\n")
    assert vmcore.vmcoreinfo(whole + b"\0" * 500) == whole
    wrong = (
        b"",
        b"\0" * 1024,
        note(b"CORE", b"x" * 20),
        whole[:20],
        struct.pack("<III", 11, 1 << 31, 0) + b"VMCOREINFO\0\0",
        struct.pack("<III", 0xFFFFFFFF, 4, 0) + b"VMCOREINFO\0\0",
    )
    for memory in wrong:
        with pytest.raises(ValueError, match="note"):
            vmcore.vmcoreinfo(memory)


class Guest:
    def __init__(self, said: bytes, status: int = 0) -> None:
        self.said, self.status = said, status

    def run(self, command: str, *, timeout: float = 30, stdin: bytes = b"") -> CommandResult:
        return CommandResult(command, self.status, self.said, b"", 0.0)


@pytest.mark.parametrize(
    ("said", "status", "where"),
    [
        (b"0x0000000001a2b000 1024\n", 0, vmcore.Info(0x1A2B000, 0x1024)),
        (b"1a2b000 1024\n", 0, vmcore.Info(0x1A2B000, 0x1024)),
        (b"", 1, None),
        (b"0x1000 0\n", 0, None),
        (b"0x1000 ffffff\n", 0, None),
        (b"nonsense\n", 0, None),
    ],
)
def test_where_the_guest_has_it(said: bytes, status: int, where: vmcore.Info | None) -> None:
    assert vmcore.info(Guest(said, status)) == where  # type: ignore[arg-type]


class Monitor:
    """QEMU's, which writes what it is told to, or fails."""

    def __init__(self, guest: Machine, wrong: str) -> None:
        self.guest, self.wrong = guest, wrong
        self.events: list[dict[str, Any]] = []

    def execute(self, command: str, words: dict[str, Any] | None = None, **_: object) -> Any:
        words = words or {}
        if command == "dump-guest-memory":
            if self.wrong == "dies":
                self.guest.status = -9
                raise MonitorError("it is gone")
            path = Path(words["protocol"].removeprefix("file:"))
            path.write_bytes(core(note(b"CORE", b"x"), b"memory", 1 << 63))
            result = {"status": "failed" if self.wrong else "completed"}
            data = {"result": result, **({"error": self.wrong} if self.wrong else {})}
            self.events.append({"event": "DUMP_COMPLETED", "data": data})
        if command == "pmemsave":
            found = note(b"VMCOREINFO", b"OSRELEASE=6\n")
            Path(words["filename"]).write_bytes(found if words["val"] == 4096 else b"\0" * 64)
        return {"completed": 1, "total": 2, "status": "active"}

    def wait_event(self, *names: str, seconds: float, after: int = 0) -> dict[str, Any] | None:
        return next((e for e in self.events[after:] if e["event"] in names), None)


class Machine:
    def __init__(self, folder: Path, wrong: str = "") -> None:
        self.qmp, self.runtime = Monitor(self, wrong), folder
        self.status: int | None = None


def take(guest: Machine, target: Path, where: vmcore.Info | None = None) -> bool:
    return vmcore.dump(
        guest,  # type: ignore[arg-type]
        target,
        form="elf",
        where=where,
        progress=Silent(),
    )


def test_a_dump_is_whole_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "vmcore"
    assert take(Machine(tmp_path), target, vmcore.Info(4096, 64)) is True
    assert b"OSRELEASE=6" in notes_of(target.read_bytes())
    assert target.stat().st_mode & 0o077 == 0
    assert take(Machine(tmp_path), target, vmcore.Info(0, 64)) is False  # no note there
    assert take(Machine(tmp_path), target) is False
    before = target.read_bytes()
    with pytest.raises(InfraError, match="No space left"):
        take(Machine(tmp_path, "No space left on device"), target)
    with pytest.raises(GuestLost):
        take(Machine(tmp_path, "dies"), target)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["vmcore"]
    with pytest.raises(InputError, match="nowhere"):
        take(Machine(tmp_path), tmp_path / "nowhere" / "vmcore")
