# SPDX-License-Identifier: GPL-2.0-only
"""Guests that are ready, saved once and restored for every use instead of booted.

QEMU saves the state of the machine into a qcow2 image that is attached for that alone, while the
guest's own devices know nothing of it (snapshot-save and snapshot-load of qapi/migration.json,
since QEMU 6.0). An entry of the cache is that image, the keys that the guest inside trusts, and
what its console said while it booted.

Every guest that is restored from one entry begins in the same state, that of its random numbers
included: it is given new entropy and the time of day before anything is run in it. What reads
random numbers at once may still find the same ones in each: the kernel takes new entropy up
when it next reseeds, some seconds later.

The folder is bounded (MOST): what was used longest ago goes first.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harness import cache
from harness.model import Progress
from harness.vm import keys
from harness.vm.qmp import Monitor, MonitorError

MOST = 4 << 30  # bytes of all entries together; one is some 50 MiB, more with a sanitizer
_FORMAT = 2
_TAG = "ready"
_NODE = "pinpage-state"
_SIZE = 1 << 20  # of the image as a disk: what is saved lies behind it
_JOB = 60.0  # seconds for one, on an idle machine with acceleration
_CHUNK = 1 << 20
_IMAGE, _KEYS, _BOOT, _FACTS = "ready.qcow2", "keys.json", "boot.log", "snapshot.json"


@dataclass(frozen=True)
class Store:
    """Where snapshots are. words: what a guest is made of beside its argv: the keys of its build
    and of its image, and what of the host it depends on."""

    folder: Path
    words: tuple[str, ...]

    def entry(self, argv: Sequence[str], version: str) -> Path:
        """The folder of the guest with this argv, whose paths are the same for every run."""
        return self.folder / cache.key(str(_FORMAT), version, *self.words, *argv)


@dataclass(frozen=True)
class Saved:
    """What was found whole. image: a copy for one restore, which QEMU writes into. boot: what the
    console said until the guest was saved. network: whether it has one to be reached by."""

    image: Path
    access: keys.Keys
    boot: bytes
    network: bool


def take(entry: Path, to: Path, progress: Progress) -> Saved | None:
    """What there is under an entry, its image copied to a folder; a damaged one is thrown away."""
    if not entry.exists():
        return None
    with _locked(entry, "takes this guest", progress):
        if not entry.exists():
            return None
        try:
            saved = _whole(entry, to / _IMAGE)
            os.utime(entry)  # as what was used last it is the last to go
        except (OSError, ValueError):
            progress.note(f"the snapshot {entry} is damaged: it is thrown away")
            cache.discard(entry)
            return None
    return saved


def _whole(entry: Path, image: Path) -> Saved:
    """ValueError where what is read is not what was written."""
    found = {name: (entry / name).read_bytes() for name in (_KEYS, _BOOT)}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
    digests[_IMAGE] = _copy(entry / _IMAGE, image)
    facts = cache.read_json(entry / _FACTS) or {}
    if facts.get("sha256") != digests:
        raise ValueError("another digest")
    access = keys.from_text(json.loads(found[_KEYS]))
    return Saved(image, access, found[_BOOT], facts.get("network") is True)


def _copy(source: Path, target: Path) -> str:
    """Copy a file; the sha256 of what was read, in hex."""
    digest = hashlib.sha256()
    with source.open("rb") as read, target.open("wb") as write:
        while block := read.read(_CHUNK):
            digest.update(block)
            write.write(block)
    return digest.hexdigest()


def throw_away(entry: Path, progress: Progress) -> None:
    """Remove an entry that turned out to be of no use."""
    with _locked(entry, "takes this guest", progress):
        cache.discard(entry)


def keep(
    entry: Path,
    monitor: Monitor,
    access: keys.Keys,
    boot: bytes,
    network: bool,
    scratch: Path,
    patience: float,
    progress: Progress,
) -> None:
    """Save a guest under an entry, and let go of what was used longest ago if that is too much.
    scratch: a folder on which QEMU may write.

    MonitorError where QEMU cannot, InfraError where the cache cannot; the guest goes on then.
    """
    image = scratch / _IMAGE
    try:
        save(monitor, image, patience)
        with _locked(entry, "saves this guest", progress):
            if not entry.exists():
                _publish(entry, image, access, boot, network)
        _prune(entry)
    finally:
        image.unlink(missing_ok=True)


def _locked(entry: Path, what: str, progress: Progress) -> AbstractContextManager[None]:
    return cache.locked(_lock(entry), what, progress)


def _lock(entry: Path) -> Path:
    return entry.with_name(f"{entry.name}.lock")


def _publish(entry: Path, image: Path, access: keys.Keys, boot: bytes, network: bool) -> None:
    with cache.making(entry) as temporary:
        temporary.chmod(0o700)
        _private(temporary / _KEYS, json.dumps(keys.to_text(access)).encode())
        _private(temporary / _BOOT, boot)
        digests = {name: cache.sha256(temporary / name) for name in (_KEYS, _BOOT)}
        digests[_IMAGE] = _copy(image, temporary / _IMAGE)
        facts = {"sha256": digests, "network": network, "saved": int(time.time())}
        cache.write_json(temporary / _FACTS, facts)


def _prune(new: Path) -> None:
    """Keep the newest entries that are MOST bytes together, and the new one whatever its size.
    One that another run holds stays; what a killed run left goes."""
    total, others = cache.measure(new)[1], []
    for path in new.parent.iterdir():
        if path == new or path.suffix == ".lock":
            continue
        with suppress(FileNotFoundError):
            others.append((path.stat().st_mtime, cache.measure(path)[1], path))
    for _, size, path in sorted(others, reverse=True):
        total += size
        left_over = path.name.startswith(".")
        if total <= MOST and not left_over:
            continue
        lock = FileLock(_lock(path.with_name(path.name.strip(".").split(".")[0])))
        with suppress(Timeout), lock.acquire(timeout=0):
            if left_over:
                shutil.rmtree(path, ignore_errors=True)
            else:
                cache.discard(path)


def _private(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def save(monitor: Monitor, image: Path, patience: float) -> None:
    """Write the state of a machine that was stopped to an image that does not exist yet;
    MonitorError where QEMU cannot."""
    file = {"driver": "file", "filename": str(image)}
    _job(monitor, "blockdev-create", {"options": {**file, "size": 0}}, patience)
    node = f"{_NODE}-file"
    monitor.execute("blockdev-add", {**file, "node-name": node})
    try:
        options = {"driver": "qcow2", "file": node, "size": _SIZE}
        _job(monitor, "blockdev-create", {"options": options}, patience)
    finally:
        monitor.execute("blockdev-del", {"node-name": node})
    _attach(monitor, image)
    try:
        _job(monitor, "snapshot-save", _WHERE, patience)
    finally:
        monitor.execute("blockdev-del", {"node-name": _NODE})


def load(monitor: Monitor, image: Path, patience: float) -> None:
    """Give a machine that has not begun the state in an image, and remove the image; MonitorError
    where it cannot."""
    _attach(monitor, image)
    _job(monitor, "snapshot-load", _WHERE, patience)
    monitor.execute("blockdev-del", {"node-name": _NODE})
    image.unlink()


_WHERE: Mapping[str, Any] = {"tag": _TAG, "vmstate": _NODE, "devices": [_NODE]}


def _attach(monitor: Monitor, image: Path) -> None:
    file = {"driver": "file", "filename": str(image)}
    words = {"driver": "qcow2", "node-name": _NODE, "file": file}
    monitor.execute("blockdev-add", words)


def _job(monitor: Monitor, command: str, words: Mapping[str, Any], patience: float) -> None:
    """Run a command that is a job to its end."""
    name = f"pinpage-{command}"
    end = time.monotonic() + _JOB * patience
    seen = len(monitor.events)
    monitor.execute(command, {**words, "job-id": name})
    while True:
        job = next((j for j in monitor.execute("query-jobs") if j["id"] == name), None)
        if job is None:
            raise MonitorError(f"{command}: its job is gone")
        if job["status"] == "concluded":
            monitor.execute("job-dismiss", {"id": name})
            if job.get("error"):
                raise MonitorError(f"{command}: {job['error']}")
            return
        left = end - time.monotonic()
        if left <= 0:
            raise MonitorError(f"{command} did not end within {_JOB * patience:g} s")
        monitor.wait_event("JOB_STATUS_CHANGE", seconds=min(1.0, left), after=seen)
        seen = len(monitor.events)
