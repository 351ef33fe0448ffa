# SPDX-License-Identifier: GPL-2.0-only
"""Where the patches, configurations and guest modules are.

An installed package carries them in ``harness/data/``; a checkout has them at its top.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from harness.errors import InfraError, InputError

_HERE = Path(__file__).resolve().parent


def _folder(name: str, here: str = "") -> Path:
    """here: its place in a checkout, where that is another one."""
    for path in (_HERE / "data" / name, _HERE.parent / (here or name)):
        if path.is_dir():
            return path
    raise InfraError(
        f"the folder {name}/ is missing from this installation of pinpage",
        hint="install the package again, or run from a checkout",
    )


def path(word: str | Path) -> Path:
    """The path that a user's word means; as it stands where its ~ is nobody's home."""
    return Path(os.path.expanduser(word))  # noqa: PTH111 - Path's own raises there


def patches() -> Path:
    return _folder("patches")


def kernel_config() -> Path:
    return _folder("kernel-config")


def guest_modules() -> Path:
    return _folder("guest-modules")


def faults() -> Path:
    """The seeded faults, a folder for each kernel."""
    return _folder("faults", "tests/faults")


def cache() -> Path:
    """The user's cache folder ($XDG_CACHE_HOME/pinpage), created."""
    return _made(platformdirs.user_cache_path("pinpage"), "XDG_CACHE_HOME")


def state() -> Path:
    """The user's state folder ($XDG_STATE_HOME/pinpage), created; runs/ stands in it."""
    return _made(platformdirs.user_state_path("pinpage"), "XDG_STATE_HOME")


def _made(folder: Path, variable: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be made: {error.strerror}",
            hint=f"name one that can be written with {variable}",
        ) from error
    return folder
