# SPDX-License-Identifier: GPL-2.0-only
"""Bundles a run: one file with all that it takes to do it again. form.py has the form."""

from __future__ import annotations

import io
import json
import lzma
import secrets
import stat
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from harness import __version__, arch, cache, resources
from harness.build import artifacts as builds
from harness.build import image
from harness.errors import InfraError, InputError
from harness.model import BuildArtifacts, Progress
from harness.stored.form import (
    BINARIES,
    FORMAT,
    ID,
    MANIFEST,
    MOST_BYTES,
    MOST_FILES,
    PATH,
    RUN,
    SCENARIO,
    SUFFIX,
)
from harness.stored.kept import Kept, inside

# What report.write() leaves, and what each guest's boot does.
_NEEDED = ("events.jsonl", "ledger.csv")
_BESIDE = (
    *("junit.xml", "reproduce", "report.txt", "pages.svg", "pages.txt", "console.log"),
    "build.log",
)
_OF_ARM = ("console.log", "qemu.log", "ssh.log")
_SYMBOLS = ("build.json", "origins.json", "System.map", "build.log")
_PRESET = 6  # of xz: a higher one makes nothing smaller of what a run leaves, and is slower


@dataclass(frozen=True)
class Wanted:
    """What goes into a bundle beside the run's folder."""

    binaries: bool = False
    vmlinux: bool = False  # implies binaries


@dataclass(frozen=True)
class Bundle:
    """One that was written: its members' bytes, and its own."""

    path: Path
    files: int
    unpacked: int
    packed: int


def pack(kept: Kept, to: Path | None, wanted: Wanted, progress: Progress) -> Bundle:
    """Bundle a run. to: the file, or the folder that it goes into under the run's name; the
    current folder where None is given.

    InputError names what is missing of the run's folder, or of the cache.
    """
    run = kept.run
    if run["interrupted"]:
        raise InputError(
            f"{kept.where} is of a run that was interrupted: there is nothing to reproduce",
            hint="run it again: the file 'reproduce' in it does",
        )
    files = {RUN: kept.folder / RUN, **_inputs(kept), **_scenario(kept), **_left(kept)}
    binaries: dict[str, Any] | None = None
    if wanted.binaries or wanted.vmlinux:
        binaries, more = _binaries(run, wanted, progress)
        files |= more
    return _written(run["id"], files, binaries, _target(to, run["id"]), progress)


def _target(to: Path | None, name: str) -> Path:
    if to is None or to.is_dir():
        return (to or Path.cwd()) / f"{name}{SUFFIX}"
    return to


# ---------------------------------------------------------------------------------------------
# What goes in
# ---------------------------------------------------------------------------------------------


def _inputs(kept: Kept) -> dict[str, Path]:
    """The patches and configurations that run.json names."""
    inputs = kept.run.get("inputs")
    if not inputs:
        raise InputError(
            f"{kept.where} does not hold what its run was made of ({kept.run['verdict']}: "
            f"{kept.run['reason'][:200]})",
            hint="it ended before its patches were read, or an older pinpage made it: run it again",
        )
    names = [patch["file"] for kernel in inputs["kernels"] for patch in kernel["patches"]]
    names += [kernel["config"] for kernel in inputs["kernels"] if kernel["config"] is not None]
    return {name: _there(kept, name) for name in dict.fromkeys(names)}


def _scenario(kept: Kept) -> dict[str, Path]:
    """The YAML of a scenario of one's own, with its modules; what is hidden is none of it."""
    yaml = kept.scenario()
    if yaml is None:
        return {}
    found = {f"{SCENARIO}/{yaml.name}": _there(kept, f"{SCENARIO}/{yaml.name}")}
    for path in sorted(yaml.parent.rglob("*")):
        name = str(path.relative_to(kept.folder))
        if (path.is_dir() and not path.is_symlink()) or "/." in name:
            continue
        if not PATH.fullmatch(name):
            raise InputError(
                f"{path} cannot be bundled: its name, below {kept.folder}, is not of the form "
                f"{PATH.pattern}",
                hint="rename it where the scenario is, and run that again",
            )
        found[name] = _there(kept, name)
    return found


def _there(kept: Kept, name: str) -> Path:
    path = inside(kept.folder, name)
    if not _plain(path):
        raise InputError(
            f"{kept.where} is not whole: {name} is missing (or no plain file)",
            hint="run it again: the file 'reproduce' in it does",
        )
    return path


def _left(kept: Kept) -> dict[str, Path]:
    """What the run left as evidence."""
    found = {name: _there(kept, name) for name in _NEEDED}
    for arm in kept.run.get("guests", {}):
        name = f"{arm}/console.log"
        if not ID.fullmatch(arm):
            raise InputError(f"{kept.where}: {arm!r:.200} is no arm's name")
        found[name] = _there(kept, name)
    found |= {name: kept.folder / name for name in _BESIDE if _plain(kept.folder / name)}
    for folder in sorted(kept.folder.iterdir()):
        if folder.is_dir() and not folder.is_symlink() and ID.fullmatch(folder.name):
            own = [folder / name for name in _OF_ARM if _plain(folder / name)]
            found |= {f"{folder.name}/{path.name}": path for path in own}
    return found


def _plain(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _binaries(
    run: Mapping[str, Any], wanted: Wanted, progress: Progress
) -> tuple[dict[str, Any], dict[str, Path]]:
    """What boots without a build, from the cache: the manifest's part, and the files."""
    keys = {name: key for name, key in run["digests"].items() if name.split(" ")[0] == "build"}
    digest = run["digests"].get("image", "")
    if not keys or not digest:
        raise InputError(
            f"run {run['id']} ({run['verdict']}) booted no kernel: there are no binaries of it",
            hint="bundle it without --with-binaries",
        )
    progress.stage("binaries")
    initramfs = image.cached(arch.get(run["arch"]), digest, cache=resources.cache())
    if initramfs is None:
        raise _gone(f"the guest's image {digest}", resources.cache() / "images")
    files = {f"{BINARIES}/initramfs.cpio.gz": initramfs}
    kernels: dict[str, Any] = {}
    for name, key in keys.items():
        made = builds.look(key, resources.cache(), progress)
        if made is None:
            raise _gone(f"the build {key}", builds.entry(key, resources.cache()))
        top = f"{BINARIES}/{name.replace(' ', '-')}"
        own = _files(made, wanted.vmlinux)
        files |= {f"{top}/{path}": made.folder / path for path in own}
        kernels[name] = _kernel(made, top, wanted.vmlinux)
    return {"image": next(iter(files)), "kernels": kernels}, files


def _gone(what: str, where: Path) -> InputError:
    return InputError(
        f"{what} is no longer in the cache ({where}): there are no binaries to bundle",
        hint="do the run again ('pinpage reproduce'), or bundle it without --with-binaries",
    )


def _files(made: BuildArtifacts, vmlinux: bool) -> list[str]:
    """Names in a build's folder; with vmlinux all that 'pinpage parse --build' reads."""
    names = ["image", "config", *(str(p.relative_to(made.folder)) for p in made.modules.values())]
    if vmlinux:
        names += ["vmlinux", *(name for name in _SYMBOLS if _plain(made.folder / name))]
        names += [f"symbols/{path.name}" for path in sorted((made.folder / "symbols").iterdir())]
    return names


def _kernel(made: BuildArtifacts, top: str, vmlinux: bool) -> dict[str, Any]:
    modules = {name: path.relative_to(made.folder) for name, path in made.modules.items()}
    return {
        "key": made.key,
        "release": made.release,
        "toolchain": {"name": made.toolchain.name, "version": made.toolchain.version},
        "image": f"{top}/image",
        "config": f"{top}/config",
        "modules": {name: f"{top}/{path}" for name, path in modules.items()},
        "vmlinux": f"{top}/vmlinux" if vmlinux else None,
    }


# ---------------------------------------------------------------------------------------------
# The archive
# ---------------------------------------------------------------------------------------------


def _written(
    run: str,
    files: Mapping[str, Path],
    binaries: Mapping[str, Any] | None,
    to: Path,
    progress: Progress,
) -> Bundle:
    """The archive, whole or not at all."""
    progress.stage("bundle")
    sizes = {name: path.stat().st_size for name, path in files.items()}
    total = sum(sizes.values())
    if total > MOST_BYTES or len(files) > MOST_FILES:
        raise InputError(
            f"run {run} is {len(files):,} files of {total >> 20:,} MiB: no bundle holds more than "
            f"{MOST_FILES:,} of {MOST_BYTES >> 20:,} MiB",
            hint="bundle it without --with-vmlinux" if binaries else "",
        )
    listed = {
        name: {"bytes": sizes[name], "sha256": cache.sha256(path)} for name, path in files.items()
    }
    content = {"format": FORMAT, "pinpage": __version__, "run": run, "files": listed}
    text = json.dumps({**content, "binaries": binaries}, indent=1).encode() + b"\n"
    temporary = to.with_name(f".{to.name}.{secrets.token_hex(4)}")
    try:
        with lzma.open(temporary, "wb", preset=_PRESET) as packed:
            _fill(cast("IO[bytes]", packed), run, text, files, sizes, progress)
        temporary.replace(to)
    except OSError as error:
        raise InfraError(
            f"{to} cannot be written: {error.strerror}", hint="name another file with -o FILE"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return Bundle(to, len(files), total, to.stat().st_size)


def _fill(
    packed: IO[bytes],
    run: str,
    text: bytes,
    files: Mapping[str, Path],
    sizes: Mapping[str, int],
    progress: Progress,
) -> None:
    done, total = 0, sum(sizes.values())
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(_member(f"{run}/{MANIFEST}", len(text)), io.BytesIO(text))
        for name, path in files.items():
            progress.advance(done, total, name)
            with path.open("rb") as file:
                tar.addfile(_member(f"{run}/{name}", sizes[name]), file)
            done += sizes[name]
    progress.advance(total, total, f"{len(files)} files")


def _member(name: str, size: int) -> tarfile.TarInfo:
    """The same for everybody: no owner, no time."""
    found = tarfile.TarInfo(name)
    found.size, found.mode = size, 0o644
    return found
