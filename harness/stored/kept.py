# SPDX-License-Identifier: GPL-2.0-only
"""Runs that were kept, found by the user's word: a run's folder, its ``run.json``, a bundle, a
folder of several, or the name of a run of ours (``latest`` among them)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import cache, resources
from harness.errors import InputError
from harness.model import Progress
from harness.pipeline.state import ELSEWHERE
from harness.report.reread import bounded, parsed, run_file
from harness.stored import unpack
from harness.stored.form import (
    ID,
    MANIFEST,
    MOST_MANIFEST,
    RUN,
    SCENARIO,
    SUFFIX,
    Manifest,
    manifest,
    refused,
)

_DEPTH = 4  # folders below the one that is named in which runs are looked for
_MOST = 100_000  # files and folders that are looked at
_HINT = "name a run's folder, its run.json, a bundle, or a folder of several runs"


@dataclass(frozen=True)
class Kept:
    """A run as it was kept. where: what the user named. run: its run.json. own: this user's, in the
    folder that it was made in, so that its words name what is on this machine. manifest: of what
    was a bundle."""

    where: str
    folder: Path
    run: Mapping[str, Any]
    own: bool
    manifest: Manifest | None = None

    def scenario(self) -> Path | None:
        """The YAML that its run had, None if it had none of the user's own. InputError where it is
        not there."""
        own = self.run["spec"].get("file")
        if own is None:
            return None
        path = inside(self.folder, f"{SCENARIO}/{Path(own).name}")
        if not path.is_file():
            raise InputError(
                f"{self.where} does not hold the scenario that its run had: {SCENARIO}/{path.name} "
                "is missing",
                hint="an older pinpage bundled it: have it bundled again",
            )
        return path


def runs_of(word: str) -> list[Mapping[str, Any]]:
    """The run.json of every run that a word names; InputError where that is none, or one of them
    cannot be read."""
    path = place(word)
    if not path.is_dir() or (path / RUN).exists():
        return [_one(path)]
    found = [_one(each) for each in _below(path)]
    if not found:
        raise InputError(f"there is no run in {path}", hint=_HINT)
    return found


@contextmanager
def opened(word: str, progress: Progress) -> Iterator[Kept]:
    """One run with all that was kept of it; a bundle is unpacked while the context lasts."""
    path = place(word)
    path = path.parent if path.name == RUN else path
    if path.is_dir():
        yield _folder(path, progress)
        return
    if not unpack.is_bundle(path):
        raise InputError(f"{path} is no run's folder and no bundle", hint=_HINT)
    with tempfile.TemporaryDirectory(prefix="pinpage-") as name:
        folder = Path(name)
        progress.stage("unpack")
        found = unpack.unpack(path, folder, progress)
        run = _of_bundle(found, (folder / RUN).read_bytes(), str(path))
        yield Kept(str(path), folder, run, False, found)


def named(word: str) -> Path:
    """The path that a word is, there or not; a run of ours where it is the name of one."""
    path = resources.path(word)
    ours = resources.state() / "runs" / word
    return ours if not os.path.lexists(path) and ID.fullmatch(word) and ours.exists() else path


def build_of(run: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the kernel of a run was made of, of its run.json; None where that is not known, or it
    had others alone."""
    kernels = (run.get("inputs") or {}).get("kernels", ())
    return next((each for each in kernels if each["name"] == "build"), None)


def place(word: str) -> Path:
    """What a word names; InputError where there is no such thing."""
    path = named(word)
    if not path.exists():
        raise InputError(f"there is no {path}", hint=_HINT)
    return path


def inside(folder: Path, name: str) -> Path:
    """A file below a folder, by a name that somebody has given; a link may not lead outside."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{path} leads out of {folder}")
    return path


def _one(path: Path) -> Mapping[str, Any]:
    """The run.json of a run's folder, of a bundle, or of such a file."""
    if path.is_dir():
        return run_file(path / RUN, str(path))
    if unpack.is_bundle(path):
        return _of_bundle(*unpack.check(path), str(path))
    return run_file(path, str(path))


def _of_bundle(found: Manifest, text: bytes, where: str) -> Mapping[str, Any]:
    run = parsed(text, where)
    if run["id"] != found.run:
        refused(where, f"it is said to be of {found.run}, and its {RUN} is of another run")
    return run


def _below(top: Path) -> list[Path]:
    """Folders of runs, and bundles, in the order of their names; links are not followed, so that
    ``latest`` is no second run."""
    found: list[Path] = []
    todo, looked = [(top, 0)], 0
    while todo:
        folder, depth = todo.pop(0)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(f"{folder} cannot be read: {error.strerror}") from error
        looked += len(entries)
        if looked > _MOST:
            raise InputError(f"{top} holds more than {_MOST:,} files: name the runs in it")
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                if (path / RUN).is_file():
                    found.append(path)
                elif depth < _DEPTH:
                    todo.append((path, depth + 1))
            elif entry.is_file(follow_symlinks=False) and entry.name.endswith(SUFFIX):
                found.append(path)
    return found


def _folder(path: Path, progress: Progress) -> Kept:
    run = _one(path)
    if not ID.fullmatch(run["id"]):
        raise InputError(f"{path}: {run['id']!r:.200} is no run's id")
    if (path / MANIFEST).exists():  # a bundle that was unpacked by hand
        progress.stage("check")
        found = manifest(bounded(path / MANIFEST, MOST_MANIFEST), str(path))
        for name, wanted in found.files.items():
            file = inside(path, name)
            if not file.is_file() or cache.sha256(file) != wanted.sha256:
                refused(str(path), f"{name} is not there, or no longer what it was")
        return Kept(str(path), path, run, False, found)
    ours = (resources.state() / "runs").resolve()
    again = run.get("again")
    own = path.resolve().is_relative_to(ours) or _made_here(path)
    return Kept(str(path), path, run, own and (not again or bool(again["own"])))


def _made_here(path: Path) -> bool:
    """Whether this user had the run kept here; its record, which names the digests of its patches,
    is as it was left."""
    folder = str(path.resolve())
    made = [each for each in cache.lines(resources.state() / ELSEWHERE) if isinstance(each, dict)]
    known = {each.get("sha256") for each in made if each.get("folder") == folder}
    return bool(known) and cache.sha256(path / "run.json") in known
