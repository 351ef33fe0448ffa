# SPDX-License-Identifier: GPL-2.0-only
"""The architectures: one module each, holding one frozen ``Arch`` named ``ARCH``.

A new architecture is a new file here and its fragment in kernel-config/arch/.
"""

from __future__ import annotations

import importlib
import pkgutil
import platform

from harness.errors import InputError
from harness.model import Arch


def all_arches() -> dict[str, Arch]:
    """Every architecture by name, in the order of the names."""
    found: dict[str, Arch] = {}
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda i: i.name):
        value = importlib.import_module(f"{__name__}.{info.name}").ARCH
        found[value.name] = value
    return found


def get(name: str) -> Arch:
    """The architecture of this name; InputError names the known ones."""
    arches = all_arches()
    if name not in arches:
        raise InputError(
            f"unknown architecture {name!r}", hint=f"one of: {', '.join(arches)} (--arch)"
        )
    return arches[name]


def host() -> Arch:
    """This machine's architecture; InputError when it is none of ours."""
    machine = platform.machine()
    for value in all_arches().values():
        if machine in value.machines:
            return value
    raise InputError(
        f"this machine is {machine}, which is no architecture of ours",
        hint=f"name one with --arch: {', '.join(all_arches())}",
    )
