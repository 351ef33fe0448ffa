# SPDX-License-Identifier: GPL-2.0-only
"""Guests that are saved and restored, on a program that takes QEMU's argv and misbehaves."""

from __future__ import annotations

import json
import os
import stat
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from test_vm_machine import Notes, fake

from harness.errors import GuestLost, InfraError
from harness.model import Accelerator, GuestImage
from harness.vm import begin, keys, machine, qemu, snapshot

ACCEL = Accelerator("tcg", "a test", 1.0)


class Bench:
    """One kernel and image, whose guests are booted or restored in turn."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = snapshot.Store(folder / "cache" / "snapshots", ("build", "image"))
        self.notes: list[str] = []
        self.kernel, self.initrd = folder / "bzImage", folder / "initrd"
        self.kernel.write_bytes(b"kernel")
        self.initrd.write_bytes(b"initrd")

    def boot(
        self, behaviour: str = "shell", run: str = "run", *, store: bool = True, **words: Any
    ) -> AbstractContextManager[machine.Machine]:
        notes = Notes()
        self.notes = notes.notes
        values: dict[str, Any] = {
            "accel": ACCEL,
            "profile_slowdown": 1.0,
            "folder": self.folder / run,
            "modules": {},
            "snapshots": self.store if store else None,
            "progress": notes,
        }
        image = GuestImage(self.initrd, "sha256:0", {})
        return begin.boot(fake(self.folder, behaviour), self.kernel, image, **{**values, **words})

    def origin(self, behaviour: str = "shell", **words: Any) -> str:
        with self.boot(behaviour, **words) as guest:
            assert guest.must("echo it works") == "it works\n"
            return guest.origin

    @property
    def entries(self) -> list[Path]:
        if not self.store.folder.is_dir():
            return []
        return [path for path in self.store.folder.iterdir() if path.suffix != ".lock"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_second_guest_is_restored(bench: Bench) -> None:
    assert bench.origin() == "booted and saved"
    with bench.boot(run="second") as guest, bench.boot(run="third") as beside:
        assert guest.origin == beside.origin == "restored"
        assert guest.pid != beside.pid
        for each in (guest, beside):
            assert each.must("echo both") == "both\n"
    assert len(bench.entries) == 1


def test_a_restored_guest_has_the_boots_console_once_and_first(bench: Bench) -> None:
    bench.origin()
    with bench.boot(run="second") as guest:
        guest.run("echo a later line > /dev/tty")
        live = (bench.folder / "second" / "console.log").read_bytes().decode()
        assert live == guest.console_text()
    text = (bench.folder / "second" / "console.log").read_text()
    assert text.count("Linux version") == text.count("pinpage: guest ready") == 1
    assert text.index("Linux version") < text.index("date -s @") < text.index("a later line")


def test_a_restored_guest_learns_the_time(bench: Bench) -> None:
    bench.origin()
    assert "date -s @" not in (bench.folder / "run" / "console.log").read_text()
    with bench.boot() as guest:
        assert guest.console_text().count("date -s @") == 1


def test_nobody_else_can_read_an_entry(bench: Bench) -> None:
    bench.origin()
    (entry,) = bench.entries
    assert stat.S_IMODE(entry.stat().st_mode) == 0o700
    assert stat.S_IMODE((entry / "keys.json").stat().st_mode) == 0o600


def test_without_a_store_every_guest_boots(bench: Bench) -> None:
    bench.origin()
    assert bench.origin(store=False) == "booted: snapshots were not asked for"


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        ("unsaveable", "State blocked by non-migratable device"),
        ("old", "The command snapshot-save has not been found"),
    ],
)
def test_what_cannot_be_saved_boots_and_says_so(bench: Bench, behaviour: str, why: str) -> None:
    for _ in range(2):
        origin = bench.origin(behaviour)
        assert origin.startswith("booted: it could not be saved") and why in origin
        assert [note for note in bench.notes if why in note and "cannot be saved" in note]
    assert bench.entries == []


def test_a_kernel_that_oopsed_on_its_way_is_not_saved(bench: Bench) -> None:
    with bench.boot("oopses") as guest:
        assert "oops" in guest.origin and guest.origin.startswith("booted:")
    assert bench.entries == []


def test_a_cache_that_cannot_be_written_costs_the_snapshot_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: object) -> None:
        raise InfraError("the cache cannot be written: no space left")

    monkeypatch.setattr(snapshot, "_publish", full)
    assert "no space left" in bench.origin()


def test_a_qemu_that_is_killed_while_it_saves_is_lost(bench: Bench) -> None:
    with pytest.raises(GuestLost, match="SIGKILL"), bench.boot("killed-saving") as guest:
        guest.run("true")


@pytest.mark.parametrize("name", ["ready.qcow2", "keys.json", "boot.log", "snapshot.json"])
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_damaged_entry_is_thrown_away(bench: Bench, name: str, how: str) -> None:
    bench.origin()
    (entry,) = bench.entries
    if how == "gone":
        (entry / name).unlink()
    else:
        data = bytearray((entry / name).read_bytes())
        data[len(data) // 2] ^= 1
        (entry / name).write_bytes(data)
    assert bench.origin() == "booted and saved"
    assert [note for note in bench.notes if "is damaged: it is thrown away" in note]
    assert bench.origin() == "restored"


@pytest.mark.parametrize("behaviour", ["unloadable", "ends-restored"])
def test_what_cannot_be_restored_is_thrown_away_and_boots(bench: Bench, behaviour: str) -> None:
    bench.origin()
    (entry,) = bench.entries
    (entry / "a mark").touch()
    # The same argv for another behaviour: the key knows QEMU by its name and version.
    assert bench.origin(behaviour) == "booted and saved"
    assert [note for note in bench.notes if "is of no use, and the guest boots" in note]
    (made,) = bench.entries
    assert not (made / "a mark").exists()
    text = (bench.folder / "run" / "console.log").read_text()
    assert text.count("Linux version") == 1


def test_a_qemu_that_is_killed_is_lost_and_the_snapshot_stays(bench: Bench) -> None:
    bench.origin()
    (entry,) = bench.entries
    with pytest.raises(GuestLost, match="SIGKILL"), bench.boot("dies-restored"):
        pass
    assert entry.is_dir()


def test_a_restore_leaves_the_entry_as_it_was(bench: Bench) -> None:
    bench.origin()
    (entry,) = bench.entries
    before = {path.name: path.read_bytes() for path in entry.iterdir()}
    bench.origin()
    assert {path.name: path.read_bytes() for path in entry.iterdir()} == before


# --- the key ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        {"memory_mib": 512},
        {"smp": 2},
        {"append": ("quiet",)},
        {"room": ((256, 0),)},
        {"nodes": 2},
        {"accel": Accelerator("kvm", "a test", 1.0)},
    ],
    ids=lambda words: next(iter(words)),
)
def test_another_machine_has_another_key(bench: Bench, words: dict[str, Any]) -> None:
    bench.origin()
    assert bench.origin(**words) == "booted and saved"
    assert len(bench.entries) == 2


@pytest.mark.parametrize("words", [("other", "image"), ("build", "other"), ("build", "image", "")])
def test_another_build_or_image_has_another_key(bench: Bench, words: tuple[str, ...]) -> None:
    own = bench.store.entry(["argv"], "version")
    assert replace(bench.store, words=words).entry(["argv"], "version") != own
    assert bench.store.entry(["argv"], "version") == own


def test_the_version_and_each_word_of_the_argv_are_in_the_key(bench: Bench) -> None:
    keys_ = {
        bench.store.entry(argv, version)
        for argv in (["a", "b"], ["a b"], ["ab"], ["b", "a"])
        for version in ("1", "2")
    }
    assert len(keys_) == 8


def test_paths_of_a_run_are_not_in_the_key(bench: Bench, tmp_path: Path) -> None:
    bench.origin()
    moved = tmp_path / "elsewhere"
    bench.kernel = bench.kernel.rename(tmp_path / "vmlinuz")
    assert bench.origin(folder=moved) == "restored"


# --- how much is kept -------------------------------------------------------------------------


def _entry(folder: Path, name: str, size: int, used: int) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    (path / "ready.qcow2").write_bytes(bytes(size))
    os.utime(path, (used, used))
    return path


def test_the_longest_unused_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MOST", 250)
    old, newer = _entry(tmp_path, "a", 100, 1), _entry(tmp_path, "b", 100, 2)
    new = _entry(tmp_path, "c", 100, 3)
    left = _entry(tmp_path, ".d.0123.tmp", 10, 4)
    snapshot._prune(new)
    assert not old.exists() and not left.exists()
    assert newer.exists() and new.exists()


def test_what_another_run_holds_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "MOST", 0)
    held, left = _entry(tmp_path, "a", 100, 1), _entry(tmp_path, ".a.0123.tmp", 10, 1)
    new = _entry(tmp_path, "c", 100, 3)
    with FileLock(tmp_path / "a.lock"):
        snapshot._prune(new)
    assert held.exists() and left.exists() and new.exists()


def test_use_counts(bench: Bench) -> None:
    bench.origin()
    (entry,) = bench.entries
    os.utime(entry, (1, 1))
    bench.origin()
    assert entry.stat().st_mtime > 1


# --- parts ------------------------------------------------------------------------------------


def test_keys_come_back_from_their_text() -> None:
    made = keys.make()
    text = json.loads(json.dumps(keys.to_text(made)))
    back = keys.from_text(text)
    assert back.client.asbytes() == made.client.asbytes()
    assert back.host.asbytes() == made.host.asbytes()
    with pytest.raises(ValueError, match="no keys"):
        keys.from_text({"client": text["client"]})


USERNET = """  TCP[ESTABLISHED]   12       127.0.0.1 50000       10.0.2.15    22     0     0\r
  TCP[FIN_WAIT_2]    13       127.0.0.1 50001       10.0.2.15    22     0     0\r
  TCP[TIME_WAIT]     14       127.0.0.1 50002       10.0.2.15    22     0     0\r
  TCP[HOST_FORWARD]   3       127.0.0.1 44483       10.0.2.15    22     0     0\r
"""


def test_connections_that_are_not_closed() -> None:
    assert qemu.connections(USERNET) == 2
    assert qemu.connections("Hub -1 (n0):\r\n") == 0
