# SPDX-License-Identifier: GPL-2.0-only
"""Unpacks archives that nobody vouches for.

Every member is checked before anything of it is written: no absolute path, no ``..``, no
device, no link that leads outside, no path through a link, no more than a bounded size. The
decompressor runs in a thread of its own beside the one that writes, which makes this as quick
as a pipe of xz and tar.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import queue
import shutil
import signal
import tarfile
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Self, cast

from harness import proc
from harness.errors import InputError, ToolError
from harness.model import Progress

LIMIT_BYTES = 16 << 30
LIMIT_FILES = 1_000_000
LIMIT_DEPTH = 100
LIMIT_PATH = 1024
LIMIT_NAME = 255  # NAME_MAX
LIMIT_HEADER = 64 << 20  # and of the zeros behind the end
_BLOCK = 1 << 20
_TOO_MUCH = "unpacks to more than a kernel tree"
_TRUST = "a kernel's archive holds no such thing: get it from a source you trust"
_MAGIC = (
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x1f\x8b", "gz"),
    (b"BZh", "bz2"),
    (b"\x28\xb5\x2f\xfd", "zst"),
)


def unpack(archive: Path, folder: Path, progress: Progress) -> None:
    """Unpack a tar archive (xz, gz, bz2, zst or plain) into folder, which exists.

    Where zstd has to unpack it first, that is for as long beside the folder.
    A single folder at the archive's top is stepped into, as ``tar --strip-components=1`` does.
    InputError names the archive and the member that is refused.
    """
    size = archive.stat().st_size
    writer = _Writer(folder, archive)
    try:
        with (
            _decompressed(archive, folder.parent) as (data, position),
            _Ahead(data, position) as stream,
            tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:", tarinfo=_Header) as tar,
        ):
            _members(tar, stream, writer, size, progress)
            _ends(stream)
    except tarfile.TarError as error:
        raise InputError(
            f"{archive} is not a tar archive, or it is damaged: {error}",
            hint="fetch it again, or name another with --tree",
        ) from error
    writer.finish(_strip_top(folder))


def kind(archive: Path) -> str | None:
    """How the archive is compressed by its first bytes: xz, gz, bz2, zst, tar, or None."""
    with archive.open("rb") as file:
        head = file.read(512)
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    return "tar" if head[257:262] == b"ustar" else None


@contextmanager
def _decompressed(archive: Path, scratch: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The archive's tar stream, and the file below it whose position tells the progress."""
    found = kind(archive)
    with archive.open("rb") as raw:
        if found == "zst":
            with tempfile.TemporaryDirectory(dir=scratch, prefix=".zst.") as folder:
                plain = Path(folder) / "tar"
                _zstd(archive, plain)
                with plain.open("rb") as file:
                    yield file, file
        elif found == "xz":
            with lzma.open(raw) as file:
                yield cast("IO[bytes]", file), raw
        elif found == "gz":
            with gzip.open(raw) as file:
                yield cast("IO[bytes]", file), raw
        elif found == "bz2":
            with bz2.open(raw) as file:
                yield cast("IO[bytes]", file), raw
        else:
            yield raw, raw


def _zstd(archive: Path, plain: Path) -> None:
    """Unpack with zstd, which the kernel ends where it writes too much."""
    proc.find("zstd", "zstd")
    limit = [proc.find("prlimit", "util-linux"), f"--fsize={LIMIT_BYTES}", "--core=0", "--"]
    words = ["zstd", "-q", "-d", "--no-sparse", "-M2048MB"]
    argv = [*limit, *words, os.fspath(archive.absolute()), "-o", os.fspath(plain)]
    done = proc.run(argv, check=False)
    if done.status == -signal.SIGXFSZ:
        raise InputError(f"{archive} is refused: it {_TOO_MUCH}", hint=_TRUST)
    if done.status != 0:
        raise ToolError(
            f"zstd failed with status {done.status}",
            command=argv,
            detail=done.stderr.decode(errors="replace"),
        )


class _Ahead:
    """A forward-only file that is read ahead by a thread, for tarfile."""

    def __init__(self, source: IO[bytes], below: IO[bytes]) -> None:
        self._source, self._below = source, below
        self._blocks: queue.Queue[bytes | Exception] = queue.Queue(16)
        self._block = memoryview(b"")
        self._at = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill, daemon=True)

    def __enter__(self) -> _Ahead:
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._blocks.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()

    def _fill(self) -> None:
        block = b"x"
        while block and not self._stop.is_set():
            try:
                block = self._source.read(_BLOCK)
            except (lzma.LZMAError, zlib.error, OSError, EOFError) as error:
                self._blocks.put(tarfile.ReadError(str(error)))
                return
            self._blocks.put(block)

    def read(self, size: int) -> bytes:
        if size > LIMIT_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        parts = []
        while size > 0:
            if not self._block:
                item = self._blocks.get()
                if isinstance(item, Exception):
                    raise item
                if not item:
                    self._blocks.put(b"")
                    break
                self._block = memoryview(item)
            part = self._block[:size]
            self._block = self._block[len(part) :]
            self._at += len(part)
            size -= len(part)
            parts.append(part)
        return parts[0].tobytes() if len(parts) == 1 else b"".join(parts)

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> int:
        """Forward only: tarfile never goes back between members."""
        if position < self._at:
            raise tarfile.ReadError("the archive would have to be read twice")
        while position > self._at and self.read(min(position - self._at, _BLOCK)):
            pass
        return self._at

    def compressed(self) -> int:
        """Bytes of the archive that were read, for progress."""
        return self._below.tell()


class _Header(tarfile.TarInfo):
    """A member's header. One that is damaged or cut off, and none at all, are errors: tarfile takes
    them for the end of the archive, behind the first member. That end is a block of zeros."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.EmptyHeaderError as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError("it ends without a block of zeros") from error
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        except (ValueError, IndexError, RecursionError) as error:  # tarfile's, of a forged one
            raise tarfile.ReadError(f"a header that means nothing: {error}") from error


def _members(
    tar: tarfile.TarFile,
    stream: _Ahead,
    writer: _Writer,
    size: int,
    progress: Progress,
) -> None:
    while (member := tar.next()) is not None:
        writer.take(member, stream)
        tar.members.clear()  # type: ignore[attr-defined]
        if writer.files % 1000 == 1:
            progress.advance(min(stream.compressed(), size), size, f"{writer.files} files unpacked")
    progress.advance(size, size, f"{writer.files} files unpacked")


def _ends(stream: _Ahead) -> None:
    """Behind the end are more zeros: how many depends on who made the archive. What else is there
    are members that a hole hides."""
    left = LIMIT_HEADER
    while block := stream.read(_BLOCK):
        left -= len(block)
        if left < 0 or block.count(0) != len(block):
            raise tarfile.ReadError("there is more behind its end")


class _Writer:
    """Checks members and writes them below a folder of its own."""

    def __init__(self, folder: Path, archive: Path) -> None:
        self._top, self._archive = os.fspath(folder), archive
        self._made: set[str] = {""}
        self._links: dict[str, str] = {}
        self._now = time.time()
        self._left = LIMIT_BYTES
        self.files = 0

    def take(self, member: tarfile.TarInfo, stream: _Ahead) -> None:
        name = self._name(member.name)
        self.files += 1
        self._spend(member.name, max(member.size, 0))
        if not name:
            return
        if member.isdir():
            self._folder(name)
            return
        self._folder(os.path.dirname(name))  # noqa: PTH120
        if member.isreg() and not member.issparse():
            self._file(name, member, stream)
        elif member.issym():
            self._link(name, member.linkname)
        elif member.islnk():
            self._hardlink(name, self._name(member.linkname))
        else:
            raise self._refused(member.name, "it is no file, folder or link")

    def finish(self, stripped: str) -> None:
        """Make the links, last, so that nothing was written through one; look where they lead.

        stripped: the folder at the archive's top that was stepped into.
        """
        top = Path(self._top).resolve()
        made = []
        for name, target in self._links.items():
            path = top / name.removeprefix(stripped)
            if os.path.lexists(path):
                raise self._refused(name, "it is there twice")
            path.symlink_to(target)
            made.append((name, path))
        for name, path in made:
            try:
                real = Path(os.path.realpath(path))
            except RecursionError as error:
                raise self._refused(name, "it links on and on") from error
            if not real.is_relative_to(top):
                raise self._refused(name, f"it links to {self._links[name]}, which is outside")

    def _spend(self, name: str, size: int) -> None:
        self._left -= size
        if self.files > LIMIT_FILES or self._left < 0:
            raise self._refused(name, f"the archive {_TOO_MUCH}")

    def _create(self, name: str) -> int:
        if name in self._links:
            raise self._refused(name, "it is there twice")
        path = os.path.join(self._top, name)  # noqa: PTH118
        try:
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise self._refused(name, "it is there twice") from error

    def _file(self, name: str, member: tarfile.TarInfo, stream: _Ahead) -> None:
        file = self._create(name)
        try:
            left = member.size
            while left:
                block = stream.read(min(left, 8 * _BLOCK))
                if not block:
                    raise tarfile.ReadError(f"it ends within {name}")
                left -= len(block)
                rest = memoryview(block)
                while rest:
                    rest = rest[os.write(file, rest) :]
            os.fchmod(file, 0o755 if member.mode & 0o100 else 0o644)
            changed = min(max(0, member.mtime), self._now)  # in this order "nan" makes 0
            os.utime(file, (changed, changed))
        finally:
            os.close(file)

    def _link(self, name: str, target: str) -> None:
        if not target or target.startswith("/") or "\0" in target:
            raise self._refused(name, f"it links to {target!r}")
        self._bounded(name, target)
        self._links[name] = target

    def _hardlink(self, name: str, target: str) -> None:
        """Make a copy, which counts as one."""
        source = Path(self._top) / target
        if not source.is_file() or source.is_symlink():
            raise self._refused(name, f"it links to {target}, which is no earlier file")
        self._spend(name, source.stat().st_size)
        with source.open("rb") as data, os.fdopen(self._create(name), "wb") as copy:
            shutil.copyfileobj(data, copy)
            os.fchmod(copy.fileno(), source.stat().st_mode & 0o777)

    def _folder(self, name: str) -> None:
        if name in self._made:
            return
        self._folder(os.path.dirname(name))  # noqa: PTH120
        try:
            os.mkdir(os.path.join(self._top, name), 0o755)  # noqa: PTH102, PTH118
        except FileExistsError as error:
            raise self._refused(name, "it is a file and a folder at once") from error
        self._made.add(name)

    def _name(self, name: str) -> str:
        """The member's path in its plain form ("" for the top)."""
        if name.startswith("/") or "\0" in name:
            raise self._refused(name, "its path leads outside")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise self._refused(name, "its path leads outside")
        self._bounded(name, name)
        for end in range(1, len(parts)) if self._links else ():
            if "/".join(parts[:end]) in self._links:
                raise self._refused(name, "its path goes through a link")
        return "/".join(parts)

    def _bounded(self, name: str, path: str) -> None:
        encoded = os.fsencode(path)
        parts = encoded.split(b"/")
        if (
            len(encoded) > LIMIT_PATH
            or len(parts) > LIMIT_DEPTH
            or max(map(len, parts)) > LIMIT_NAME
        ):
            raise self._refused(name, "its path is longer than a kernel's")

    def _refused(self, name: str, why: str) -> InputError:
        return InputError(
            f"{self._archive}: the member {name[:LIMIT_PATH]!r} is refused: {why}",
            hint=_TRUST,
        )


def _strip_top(folder: Path) -> str:
    """Move everything up when the archive has one folder at its top; its name and a slash."""
    tops = list(folder.iterdir())
    if len(tops) != 1 or not tops[0].is_dir():
        return ""
    away = folder / ".top"
    tops[0].rename(away)
    for path in list(away.iterdir()):
        path.rename(folder / path.name)
    away.rmdir()
    return f"{tops[0].name}/"
