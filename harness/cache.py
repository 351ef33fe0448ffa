# SPDX-License-Identifier: GPL-2.0-only
"""What every content-addressed part of the cache shares: locks, atomic publication, checks.

An entry is a folder named by its key. It is made under a temporary name beside it, while the
lock of its key is held, and renamed when it is whole; a leftover of a killed run is removed by
the next one that makes the entry, or by ``tidy``.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harness.errors import InfraError
from harness.model import Progress

_CHUNK = 1 << 20


def key(*parts: str | bytes) -> str:
    """A short name for these parts: 32 hex digits, unambiguous whatever the parts hold."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogateescape")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()[:32]


def sha256(path: Path) -> str:
    """The sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def lock_of(entry: Path) -> Path:
    """The lock file of an entry, beside it."""
    return entry.with_name(f"{entry.name}.lock")


@contextmanager
def locked(path: Path, what: str, progress: Progress) -> Iterator[None]:
    """Hold the lock file path; what says what another run that has it is doing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.note(f"waiting for another run that {what}")
        lock.acquire()
    except OSError as error:
        raise _no_cache(path, error) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def making(final: Path) -> Iterator[Path]:
    """A new folder that becomes final when the block ends well, and vanishes otherwise.

    The caller holds final's lock. An older final is replaced.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    for left in final.parent.glob(f".{final.name}.*.tmp"):
        shutil.rmtree(left)
    temporary = final.parent / f".{final.name}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.mkdir()
        yield temporary
        if final.exists():
            discard(final)
        temporary.rename(final)
    except OSError as error:
        raise _no_cache(final, error) from error
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)


def discard(entry: Path) -> None:
    """Remove an entry, whose lock the caller holds: out of the way at once, then deleted."""
    if not entry.exists():
        return
    away = entry.parent / f".{entry.name}.{secrets.token_hex(4)}.tmp"
    entry.rename(away)
    shutil.rmtree(away)


def used(entry: Path) -> None:
    """Note that an entry is in use now, for ``tidy``: with its lock held, or it may be gone."""
    with suppress(OSError):  # of another user, or gone
        os.utime(entry)


def tidy(folder: Path, pattern: str, keep: int, hours: float, progress: Progress) -> None:
    """Of the entries of a folder that fit a pattern, remove those that were not used for so many
    hours, but for as many as are kept: those that were used last; and, of that age, whatever killed
    runs left in the folder. One that is held stays."""
    found = []
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):
            if path.is_dir():
                found.append((_idle(path), path))
    for idle, path in sorted(found)[keep:]:
        if idle < hours:
            continue
        lock = FileLock(lock_of(path))
        with suppress(Timeout, FileNotFoundError), lock.acquire(timeout=0):
            if _idle(path) >= hours:  # still: another run may have taken it since
                progress.note(f"{path} was not used for {hours:g} hours: it makes room")
                discard(path)
    for path in folder.glob(".*.tmp"):
        entry = path.name[1:].rsplit(".", 2)[0]
        with suppress(Timeout, FileNotFoundError):
            if path.is_dir() and _idle(path) >= hours:
                with FileLock(lock_of(folder / entry)).acquire(timeout=0):
                    shutil.rmtree(path)


def _idle(entry: Path) -> float:
    """Hours since an entry was used."""
    return (time.time() - entry.stat().st_mtime) / 3600


def write(path: Path, data: bytes) -> None:
    """Write a file atomically (temporary name, then rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    write(path, json.dumps(data, indent=1, sort_keys=True).encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from the cache; None when it is missing, cut off or no object."""
    try:
        data = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def append_line(path: Path, data: Any) -> None:
    """Add a value to a file of JSON lines, and have it on the disk; behind a line that was cut off
    it begins one of its own."""
    try:
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(f"{json.dumps(data)}\n".encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InfraError(f"{path} cannot be written to: {error.strerror}") from error


def lines(path: Path) -> Iterator[Any]:
    """The values of a file of JSON lines, but for those that were cut off; none without a file."""
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(json.JSONDecodeError):
                yield json.loads(line)


def measure(folder: Path) -> tuple[int, int]:
    """Files below folder and the sum of their sizes: a quick check that a tree is whole."""
    count = size = 0
    todo = [os.fspath(folder)]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                else:
                    count += 1
                    size += entry.stat(follow_symlinks=False).st_size
    return count, size


def _no_cache(path: Path, error: OSError) -> InfraError:
    return InfraError(
        f"the cache cannot be written: {path}: {error.strerror}",
        hint="make room or name another cache folder with XDG_CACHE_HOME",
    )
