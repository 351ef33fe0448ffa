# SPDX-License-Identifier: GPL-2.0-only
"""Guests that are ready, saved once and restored for every use instead of booted.

QEMU saves the state of the machine into a qcow2 image that is attached for that alone, while the
guest's own devices know nothing of it (snapshot-save and snapshot-load of qapi/migration.json,
since QEMU 6.0). An entry of the cache is that image, the keys that the guest inside trusts, and
what its console said while it booted.

Every guest that is restored from one entry begins in the same state, that of its random numbers
included: it is given new entropy and the time of day before anything is run in it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import cache
from harness.model import Progress
from harness.vm import keys
from harness.vm.qmp import Monitor, MonitorError

_FORMAT = 1
_TAG = "ready"
_NODE = "pinpage-state"
_SIZE = 1 << 20  # of the image as a disk: what is saved lies behind it
_JOB = 60.0  # seconds for one, on an idle machine with acceleration
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
    """An entry that was found whole. boot: what the console said until the guest was ready."""

    folder: Path
    access: keys.Keys
    boot: bytes

    def copy(self, to: Path) -> Path:
        """The image for one restore, which QEMU writes into."""
        path = to / _IMAGE
        shutil.copyfile(self.folder / _IMAGE, path)
        return path


def look(entry: Path, progress: Progress) -> Saved | None:
    """The entry if it is there and whole; a damaged one is thrown away."""
    if not entry.exists():
        return None
    facts = cache.read_json(entry / _FACTS) or {}
    digests = facts.get("sha256")
    try:
        if isinstance(digests, dict) and all(
            cache.sha256(entry / name) == digests.get(name) for name in (_IMAGE, _KEYS, _BOOT)
        ):
            access = keys.from_text(json.loads((entry / _KEYS).read_text()))
            return Saved(entry, access, (entry / _BOOT).read_bytes())
    except (OSError, ValueError):
        pass  # it is damaged: see below
    progress.note(f"the snapshot {entry} is damaged: it is thrown away")
    cache.discard(entry)
    return None


def keep(
    entry: Path,
    monitor: Monitor,
    access: keys.Keys,
    boot: bytes,
    scratch: Path,
    patience: float,
    progress: Progress,
) -> None:
    """Save a guest under an entry. scratch: a folder on which QEMU may write.

    MonitorError where QEMU cannot; the guest goes on then.
    """
    image = scratch / _IMAGE
    _save(monitor, image, patience)
    lock = entry.with_name(f"{entry.name}.lock")
    with cache.locked(lock, "saves this guest", progress):
        if entry.exists():
            return
        with cache.making(entry) as temporary:
            temporary.chmod(0o700)
            shutil.move(image, temporary / _IMAGE)
            _private(temporary / _KEYS, json.dumps(keys.to_text(access)).encode())
            _private(temporary / _BOOT, boot)
            digests = {name: cache.sha256(temporary / name) for name in (_IMAGE, _KEYS, _BOOT)}
            cache.write_json(temporary / _FACTS, {"sha256": digests, "saved": int(time.time())})


def _private(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _save(monitor: Monitor, image: Path, patience: float) -> None:
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
    """Give a machine that has not begun the state in an image; MonitorError where it cannot."""
    _attach(monitor, image)
    _job(monitor, "snapshot-load", _WHERE, patience)


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
