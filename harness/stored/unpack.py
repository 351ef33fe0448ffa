# SPDX-License-Identifier: GPL-2.0-only
"""Reads bundles that nobody vouches for.

Only what the manifest announces is written, and only plain files: an archive that holds anything
else (a link, a device, a header of GNU's or of pax, a name that is not announced, another size, a
second member of a name) is refused at that place. What it unpacks to is known, and bounded, before
a byte of it is written, and no more memory is taken than xz needs for what we pack.
"""

from __future__ import annotations

import hashlib
import lzma
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from harness.errors import InfraError
from harness.model import Progress, Silent
from harness.stored.form import (
    MAGIC,
    MANIFEST,
    MOST_BYTES,
    MOST_FILES,
    MOST_MANIFEST,
    RUN,
    Manifest,
    manifest,
    refused,
)

_BLOCK = 512  # of tar
_CHUNK = 1 << 18
_MEMORY = 128 << 20  # that xz may take: its preset 9 needs half of it
_ENDS = 64 << 10  # bytes of zeros that may end an archive


def is_bundle(path: Path) -> bool:
    """Whether a file is packed as bundles are."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def check(path: Path) -> tuple[Manifest, bytes]:
    """The manifest and run.json of a bundle that is whole; nothing is written."""
    found: list[bytes] = []

    def take(name: str, size: int, stream: _Stream) -> str:
        whole = hashlib.sha256()
        for data in _parts(stream, size):
            whole.update(data)
            if name == RUN:
                found.append(data)
        return whole.hexdigest()

    return _walk(path, take, lambda manifest: None, Silent()), b"".join(found)


def unpack(path: Path, folder: Path, progress: Progress) -> Manifest:
    """Write a bundle's members into a folder, which exists and is empty."""

    def take(name: str, size: int, stream: _Stream) -> str:
        return _write(stream, folder / name, size)

    def room(found: Manifest) -> None:
        _room(folder, sum(each.bytes for each in found.files.values()), str(path))

    return _walk(path, take, room, progress)


def _walk(
    path: Path,
    take: Callable[[str, int, _Stream], str],
    begin: Callable[[Manifest], None],
    progress: Progress,
) -> Manifest:
    """Have each member taken, and see that all are what was announced. take: reads so many bytes
    of a name, and gives their sha256."""
    where, seen, done = str(path), set[str](), 0
    with path.open("rb") as file:
        stream = _Stream(file, where)
        members = _members(stream, where)
        found = _manifest(stream, members, where)
        begin(found)
        total = sum(each.bytes for each in found.files.values())
        for name, size in members:
            wanted = found.files.get(name)
            if wanted is None or name in seen:
                why = "there twice" if name in seen else f"not announced by its {MANIFEST}"
                refused(where, f"its member {name!r:.200} is {why}")
            if size != wanted.bytes:
                refused(where, f"{name} has {size:,} bytes, not the {wanted.bytes:,} announced")
            seen.add(name)
            if take(name, size, stream) != wanted.sha256:
                refused(where, f"{name} is damaged: it has another sha256")
            done += size
            progress.advance(done, total, name)
    missing = sorted(found.files.keys() - seen)
    if missing:
        refused(where, f"it lacks {missing[0]}, which its {MANIFEST} announces")
    return found


def _manifest(stream: _Stream, members: Iterator[tuple[str, int]], where: str) -> Manifest:
    name, size = next(members, ("", 0))
    if name != MANIFEST or size > MOST_MANIFEST:
        why = f"it does not begin with a {MANIFEST}"
        refused(where, why, "a bundle is what 'pinpage bundle' makes")
    return manifest(_whole(stream, size), where)


def _room(folder: Path, total: int, where: str) -> None:
    free = shutil.disk_usage(folder).free
    if total > free:
        raise InfraError(
            f"{where} unpacks to {total >> 20:,} MiB, and {folder} has room for {free >> 20:,}",
            hint="make room, or name another folder with TMPDIR",
        )


def _members(stream: _Stream, where: str) -> Iterator[tuple[str, int]]:
    """Name and size of each member, below the archive's one folder; its bytes have to be read
    before the next one is asked for."""
    top = ""
    for _ in range(MOST_FILES + 2):
        block = stream.read(_BLOCK)
        if not block.strip(b"\0"):
            stream.end()
            return
        try:
            member = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except (tarfile.HeaderError, ValueError) as error:
            refused(where, f"it is no tar archive, or it is damaged: {error}")
        folder, slash, name = member.name.partition("/")
        if member.type != tarfile.REGTYPE or not slash or not name:
            refused(where, f"its member {member.name!r:.200} is no plain file below a folder")
        if top not in ("", folder):
            refused(where, f"it has two folders at its top, {top!r} and {folder!r:.200}")
        top = folder
        yield name, member.size
        stream.read(-member.size % _BLOCK)
    refused(where, f"it has more than {MOST_FILES:,} members")


def _whole(stream: _Stream, size: int) -> bytes:
    return b"".join(_parts(stream, size))


def _parts(stream: _Stream, size: int) -> Iterator[bytes]:
    while size > 0:
        data = stream.read(min(size, _CHUNK))
        size -= len(data)
        yield data


def _write(stream: _Stream, path: Path, size: int) -> str:
    """Write a new file; the sha256 of what was written."""
    whole = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for data in _parts(stream, size):
                whole.update(data)
                file.write(data)
    except OSError as error:
        raise InfraError(
            f"{path} cannot be written: {error.strerror}",
            hint="make room, or name another folder with TMPDIR",
        ) from error
    return whole.hexdigest()


class _Stream:
    """The bytes that an xz file unpacks to, a bounded number at a time and in all."""

    def __init__(self, file: IO[bytes], where: str) -> None:
        self._file, self._where = file, where
        self._xz = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)
        self._left = MOST_BYTES + MOST_FILES * 3 * _BLOCK + MOST_MANIFEST

    def read(self, size: int) -> bytes:
        """So many bytes, which have to be there."""
        parts, wanted = [], size
        while wanted > 0:
            data = self._some(wanted)
            if not data:
                refused(self._where, "it is cut off")
            parts.append(data)
            wanted -= len(data)
        return b"".join(parts)

    def end(self) -> None:
        """What follows the last member: zeros, and no other stream."""
        for _ in range(0, _ENDS, _BLOCK):
            data = self._some(_BLOCK)
            if not data:
                break
            if data.strip(b"\0"):
                refused(self._where, "something stands behind its end")
        else:
            refused(self._where, "something stands behind its end")
        if not self._xz.eof:
            refused(self._where, "it is cut off")
        if self._xz.unused_data or self._file.read(1):
            refused(self._where, "something stands behind its end")

    def _some(self, most: int) -> bytes:
        """At least one byte, unless there are no more."""
        try:
            while not self._xz.eof:
                data = b"" if not self._xz.needs_input else self._file.read(_CHUNK)
                if self._xz.needs_input and not data:
                    return b""
                found = self._xz.decompress(data, max_length=most)
                if found:
                    self._left -= len(found)
                    if self._left < 0:
                        refused(self._where, "it unpacks to more than any run leaves")
                    return found
        except (lzma.LZMAError, EOFError, OSError) as error:
            refused(self._where, f"it is no bundle, or it is damaged: {error}")
        return b""
