# SPDX-License-Identifier: GPL-2.0-only
"""A guest's memory as a file that debuggers open: ELF, or what kdump makes.

QEMU writes it (dump-guest-memory), with what the guest's page tables map where that is asked, so
that gdb finds virtual addresses; drgn and crash go by the physical ones. What drgn needs beside,
the kernel's VMCOREINFO, QEMU has only from a guest with a driver and a device for that: so it is
read out of the guest's memory, where /sys/kernel/vmcoreinfo says, and added to the file's notes.
"""

from __future__ import annotations

import os
import re
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harness import proc
from harness.errors import GuestLost, InfraError, InputError, PinpageError
from harness.model import Guest, Progress
from harness.vm.machine import Machine
from harness.vm.qmp import MonitorError

FORMATS = {"elf": "elf", "kdump": "kdump-zlib"}
_INFO = "/sys/kernel/vmcoreinfo"
_WHERE = re.compile(r"(?:0x)?([0-9a-f]{1,16}) ([0-9a-f]{1,8})")
_MOST_INFO = 1 << 16  # bytes of a VMCOREINFO note; one is some 4 KiB
_NAME = b"VMCOREINFO\0"
_SECONDS = 600.0
_LOOK = 0.5
# ELF of 64 bits, as elf.h has it: what of the header and of a program header is needed.
_IDENT = b"\x7fELF\x02\x01"
_HEADER, _PHOFF, _SHOFF, _PHENTSIZE = 64, 32, 40, 54
_FAR = 1 << 40  # no header is further on
_BLOCK = 1 << 16
_PT_LOAD, _PT_NOTE, _PT_HEADER = 1, 4, 56
_NOTE_HEADER = struct.Struct("<III")
_ALIGN = 4


@dataclass(frozen=True)
class Info:
    """Where the guest's memory has the VMCOREINFO note: physical address and size."""

    address: int
    size: int


def info(guest: Guest) -> Info | None:
    """Asked while the guest still answers; None where its kernel has none (PROC_KCORE, kexec)."""
    done = guest.run(f"cat {_INFO}")
    found = _WHERE.fullmatch(done.stdout.decode(errors="replace").strip())
    if done.status != 0 or found is None:
        return None
    size = int(found[2], 16)
    return Info(int(found[1], 16), size) if 0 < size <= _MOST_INFO else None


def dump(
    guest: Machine, target: Path, *, form: str, where: Info | None, progress: Progress
) -> bool:
    """Write the guest's memory to a file, whole or not at all; it is stopped meanwhile. Whether
    the file has VMCOREINFO.

    form: a key of FORMATS. InputError where the file cannot be made; InfraError where QEMU cannot;
    GuestLost where it ends.
    """
    part = _part(target)
    try:
        _touch(part, target)
        _write(guest, part, form, progress)
        added = form == "elf" and where is not None and _add_info(guest, part, where, progress)
        if form == "elf":
            _dig(part)
        part.replace(target)
    finally:
        for path in (part, _other(part)):
            path.unlink(missing_ok=True)
    return added


def check(target: Path) -> None:
    """InputError where no file can be made there, before anything is done for it."""
    _touch(_part(target), target)
    _part(target).unlink()


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.part")


def _touch(part: Path, target: Path) -> None:
    """QEMU opens what is there: see first that it can be there, for nobody else to read."""
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    except OSError as error:
        raise InputError(
            f"{target} cannot be written: {error.strerror}", hint="give another file with -o FILE"
        ) from error


def _write(guest: Machine, part: Path, form: str, progress: Progress) -> None:
    words: dict[str, Any] = {
        "paging": form == "elf",
        "protocol": f"file:{part.absolute()}",
        "format": FORMATS[form],
        "detach": True,
    }
    seen = len(guest.qmp.events)
    try:
        guest.qmp.execute("dump-guest-memory", words)
        _finish(guest, seen, progress)
    except MonitorError as error:
        if guest.status is not None:
            raise GuestLost(f"QEMU ended while it wrote the dump: {error}") from error
        raise InfraError(
            f"QEMU does not write the guest's memory: {error}",
            hint="is there room for as much as the guest has? --format kdump needs less",
        ) from error


def _finish(guest: Machine, seen: int, progress: Progress) -> None:
    """Wait until the dump is whole. MonitorError where it failed, or does not come to its end."""
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        event = guest.qmp.wait_event("DUMP_COMPLETED", seconds=_LOOK, after=seen)
        if event is not None:
            failed = event["data"].get("error") or event["data"]["result"]["status"] != "completed"
            if failed:
                raise MonitorError(str(event["data"].get("error", "the dump failed")))
            return
        state = guest.qmp.execute("query-dump")
        progress.advance(state["completed"] >> 20, state["total"] >> 20, "MiB")
    raise MonitorError(f"it was not done within {_SECONDS:g} s")


def _add_info(guest: Machine, part: Path, where: Info, progress: Progress) -> bool:
    piece = guest.runtime / "vmcoreinfo"
    try:
        words = {"val": where.address, "size": where.size, "filename": str(piece)}
        guest.qmp.execute("pmemsave", words)
        with_note(part, vmcoreinfo(piece.read_bytes()), _other(part))
        _other(part).chmod(0o600)
        _other(part).replace(part)
    except (MonitorError, OSError, ValueError) as error:
        progress.note(f"the dump goes without VMCOREINFO: {error}")
        return False
    finally:
        piece.unlink(missing_ok=True)
    return True


def _other(part: Path) -> Path:
    return part.with_suffix(".more")


def vmcoreinfo(memory: bytes) -> bytes:
    """The note at the begin of this memory, no more; ValueError where there is none."""
    if len(memory) < _NOTE_HEADER.size:
        raise ValueError("the guest has no note where it says")
    names, size, _ = _NOTE_HEADER.unpack_from(memory)
    begin = _NOTE_HEADER.size + _aligned(names)
    if memory[_NOTE_HEADER.size :][: len(_NAME)] != _NAME or names != len(_NAME):
        raise ValueError("the guest has no note of that name where it says")
    if not 0 < size <= len(memory) - begin:
        raise ValueError("the guest's note is cut short")
    return memory[: begin + size].ljust(_aligned(begin + size), b"\0")


def with_note(core: Path, note: bytes, target: Path) -> None:
    """An ELF core of 64 bits, little-endian, with a note more; what is zero takes no room.

    crash takes notes before the memory alone, so that moves. ValueError where it is no such file.
    """
    with core.open("rb") as file:
        header = _header(file)
        entries = _entries(file, header)
        found = next((entry for entry in entries if entry.kind == _PT_NOTE), None)
        if found is None or found.size > _MOST_INFO << 4:
            raise ValueError("it has no notes, or more than any core has")
        end = found.offset + found.size
        with target.open("wb") as out:
            file.seek(0)
            out.write(file.read(found.offset))
            file.seek(found.offset)
            out.write(file.read(found.size) + note)
            _copy(file, out)
            _patch(out, header, entries, end, len(note))


@dataclass(frozen=True)
class _Entry:
    """A program header: its own offset in the file, its type, and where what it tells of is."""

    at: int
    kind: int
    offset: int
    virtual: int
    size: int


def _header(file: IO[bytes]) -> bytes:
    header = file.read(_HEADER)
    if len(header) < _HEADER or not header.startswith(_IDENT):
        raise ValueError("it is no ELF file of 64 bits")
    return header


def _entries(file: IO[bytes], header: bytes) -> list[_Entry]:
    """The program headers; those that are cut off are left out."""
    (table,) = struct.unpack_from("<Q", header, _PHOFF)
    size, count = struct.unpack_from("<HH", header, _PHENTSIZE)
    file.seek(min(table, _FAR))
    data = file.read(_PT_HEADER * count) if size == _PT_HEADER else b""
    found = []
    for at in range(0, len(data) - _PT_HEADER + 1, _PT_HEADER):
        kind, _, offset, virtual, _, length = struct.unpack_from("<IIQQQQ", data, at)
        found.append(_Entry(table + at, kind, offset, virtual, length))
    return found


def _copy(file: IO[bytes], out: IO[bytes]) -> None:
    """The rest of a file, with holes for what is zero."""
    while block := file.read(_BLOCK):
        if block.count(0) == len(block):
            out.seek(len(block), os.SEEK_CUR)
        else:
            out.write(block)
    out.truncate()


def _patch(out: IO[bytes], header: bytes, entries: list[_Entry], end: int, more: int) -> None:
    """Have the headers tell of so much more in the notes, behind which all else has moved."""
    for entry in entries:
        if entry.kind == _PT_NOTE:
            out.seek(entry.at + 32)
            out.write(struct.pack("<QQ", entry.size + more, entry.size + more))
        elif entry.offset >= end:
            out.seek(entry.at + 8)
            out.write(struct.pack("<Q", entry.offset + more))
    (sections,) = struct.unpack_from("<Q", header, _SHOFF)
    if sections >= end:
        out.seek(_SHOFF)
        out.write(struct.pack("<Q", sections + more))


def has_virtual(core: Path) -> bool:
    """Whether an ELF core tells where memory is in the kernel's own address space, as gdb needs."""
    with core.open("rb") as file:
        try:
            entries = _entries(file, _header(file))
        except ValueError:
            return False
    return any(entry.kind == _PT_LOAD and entry.virtual >> 63 for entry in entries)


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


def _dig(part: Path) -> None:
    """Have what is zero take no room on the disk, where the file system can."""
    with suppress(PinpageError):
        fallocate = proc.find("fallocate", "util-linux")
        proc.run([fallocate, "--dig-holes", str(part)], timeout=_SECONDS, check=False)
