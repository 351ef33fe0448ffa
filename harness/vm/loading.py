# SPDX-License-Identifier: GPL-2.0-only
"""Kernel modules that a user wants loaded: ours by name, and their own by path."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import GuestCommandError, InputError
from harness.model import BuildArtifacts, Guest

_PARAM = re.compile(r"[A-Za-z_][\w.-]{0,63}(?:=[^\x00-\x1f\x7f]{0,1000})?")
_FORM = "give NAME[:PARAM=VALUE]..., for example pinner:mode=pinpage"
_SAID = 8  # last lines of the kernel log that a refusal is explained with
_TMP = "/tmp"


@dataclass(frozen=True)
class Wanted:
    """A module to load. local: its file where it is the user's own, None for one of ours."""

    name: str
    params: tuple[str, ...]
    local: Path | None = None


def wanted(word: str) -> Wanted:
    """``NAME:PARAM=VALUE:…``, or a path to a .ko in the place of the name; InputError."""
    name, *params = word.split(":")
    for param in params:
        if _PARAM.fullmatch(param) is None:
            raise InputError(f"--module {word}: {param!r} is no parameter of a module", hint=_FORM)
    if "/" not in name and not name.endswith(".ko"):
        if not name:
            raise InputError(f"--module {word!r} names no module", hint=_FORM)
        return Wanted(name, tuple(params))
    local = Path(name).expanduser()
    if not local.is_file():
        raise InputError(f"--module {word}: there is no file {local}", hint=_FORM)
    return Wanted(local.stem.replace("-", "_"), tuple(params), local.absolute())


def check(modules: Sequence[Wanted], built: BuildArtifacts) -> None:
    """InputError for a name that is none of the modules of this build."""
    known = loadable(built.modules)
    for each in modules:
        if each.local is None and each.name not in known:
            raise InputError(
                f"there is no guest module {each.name}",
                hint=f"modules: {', '.join(sorted(known))}; one of your own by its path",
            )


def loadable(modules: Mapping[str, Path]) -> list[str]:
    """The names of those that are modules; others are programs."""
    return [name for name, path in modules.items() if path.suffix == ".ko"]


def load(guest: Guest, each: Wanted) -> None:
    """Load a module; GuestCommandError quotes what the kernel said last."""
    path = f"/modules/{each.name}.ko"
    if each.local is not None:
        path = f"{_TMP}/{each.local.name}"
        guest.put(each.local, path)
    elif guest.run(f"[ -e {path} ]").status != 0:  # a guest that was saved before it was built
        guest.put(guest.module(each.name), path)
    command = shlex.join(["insmod", path, *each.params])
    done = guest.run(command, timeout=60)
    if done.status == 0:
        return
    said = done.stderr.decode(errors="replace").strip()
    log = guest.run("dmesg").stdout.decode(errors="replace").splitlines()
    raise GuestCommandError(
        f"the module {each.name} could not be loaded: {said or f'status {done.status}'}",
        detail="\n".join(["the kernel's last lines:", *log[-_SAID:]]),
        hint="guest-modules/README.md has the parameters of ours",
    )
