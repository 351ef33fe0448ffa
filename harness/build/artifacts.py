# SPDX-License-Identifier: GPL-2.0-only
"""Published builds: found by key, checked against their digests, never changed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

from harness import cache, resources
from harness.errors import BuildError, InputError
from harness.model import BuildArtifacts, Progress, Toolchain

FORMAT = 2
_BUILDS = "builds"
_KEPT = 100  # builds that stay whatever their age: 10 to 30 MB each
_HOURS = 7 * 24.0  # that the others stay without use


def entry(key: str, cache_folder: Path) -> Path:
    return cache_folder / _BUILDS / key


def look(key: str, cache_folder: Path, progress: Progress) -> BuildArtifacts | None:
    """The build of this key if it is there and whole; a damaged one is thrown away."""
    folder = entry(key, cache_folder)
    if not folder.exists():
        return None
    with _locked(folder, progress):
        return _look(folder, progress)


def _locked(folder: Path, progress: Progress) -> AbstractContextManager[None]:
    return cache.locked(cache.lock_of(folder), "publishes this build", progress)


def _look(folder: Path, progress: Progress) -> BuildArtifacts | None:
    if not folder.exists():
        return None
    facts = cache.read_json(folder / "build.json") or {}
    digests = facts.get("sha256")
    if facts.get("format") == FORMAT and isinstance(digests, dict) and _whole(folder, digests):
        cache.used(folder)
        return _artifacts(folder, facts)
    progress.note(f"{folder} is damaged: it is thrown away and built again")
    cache.discard(folder)
    return None


def named(word: str, cache_folder: Path) -> BuildArtifacts:
    """A build by its folder, or by the begin of its key; InputError if that names none, or many.

    Its files are not checked against their digests.
    """
    folder = resources.path(word)
    if re.fullmatch(r"[0-9a-f]{6,32}", word):
        found = sorted(cache_folder.glob(f"{_BUILDS}/{word}*/build.json"))
        if len(found) != 1:
            what = "no build" if not found else f"{len(found)} builds"
            raise InputError(
                f"{what} in {cache_folder / _BUILDS} with a key that begins with {word}",
                hint="'pinpage build' prints the key of a build",
            )
        folder = found[0].parent
    facts = cache.read_json(folder / "build.json") or {}
    if facts.get("format") != FORMAT:
        raise InputError(
            f"{word} is no folder of a build",
            hint="'pinpage build' prints where a build is, and its key",
        )
    return _artifacts(folder.resolve(), facts)


def _whole(folder: Path, digests: Mapping[str, str]) -> bool:
    return all(
        (folder / name).is_file() and cache.sha256(folder / name) == digest
        for name, digest in digests.items()
    )


def _artifacts(folder: Path, facts: Mapping[str, object], cached: bool = True) -> BuildArtifacts:
    toolchain, modules = facts["toolchain"], facts["modules"]
    assert isinstance(toolchain, dict) and isinstance(modules, dict)
    return BuildArtifacts(
        folder=folder,
        image=folder / "image",
        vmlinux=folder / "vmlinux",
        config=folder / "config",
        modules={name: folder / path for name, path in modules.items()},
        key=str(facts["key"]),
        release=str(facts["release"]),
        arch=str(facts["arch"]),
        toolchain=Toolchain(**toolchain),
        seconds=float(str(facts["seconds"])),
        cpu_seconds=float(str(facts["cpu_seconds"])),
        cached=cached,
    )


def publish(
    key: str,
    files: Mapping[str, Path],
    modules: Mapping[str, Path],
    facts: Mapping[str, object],
    toolchain: Toolchain,
    cache_folder: Path,
    progress: Progress,
) -> BuildArtifacts:
    """Copy a finished build into the cache. files: name in the cache → what make made."""
    folder = entry(key, cache_folder)
    copied = {**files, **{f"modules/{path.name}": path for path in modules.values()}}
    everything = {
        **facts,
        "format": FORMAT,
        "key": key,
        "toolchain": asdict(toolchain),
        "modules": {name: f"modules/{path.name}" for name, path in modules.items()},
    }
    with _locked(folder, progress):
        if (there := _look(folder, progress)) is not None:
            return there
        with cache.making(folder) as temporary:
            (temporary / "modules").mkdir()
            (temporary / "symbols").mkdir()
            for name, path in copied.items():
                if not path.is_file():
                    raise BuildError(f"make ended well but did not make {path}")
                shutil.copyfile(path, temporary / name)
            everything["sha256"] = {name: cache.sha256(temporary / name) for name in copied}
            cache.write_json(temporary / "build.json", everything)
    cache.tidy(folder.parent, "[0-9a-f]*", _KEPT, _HOURS, progress)
    return _artifacts(folder, everything, cached=False)
