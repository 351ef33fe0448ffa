# SPDX-License-Identifier: GPL-2.0-only
"""The seeded faults of a kernel, as the headers of their patches tell (tests/faults/README.md)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness import cache, resources
from harness.build import patchfile
from harness.errors import InputError

MODULES = "guest-modules/"  # a fault in an owner: its patch is of this folder
_SUBJECT = re.compile(r"^Subject: \[PATCH\] (?:mm: pinpage|pinner): (.+)$", re.MULTILINE)
_TRY = re.compile(r"^Try: (.*)$", re.MULTILINE)
_EQUIVALENT = re.compile(r"^Equivalent: (.+(?:\n .+)*)$", re.MULTILINE)
_GUEST = ("smp", "memory")  # words of a try that are the guest's, not the scenario's


@dataclass(frozen=True)
class Try:
    """One way to look for a fault. settings: NAME=VALUE words of the scenario; guest: of its
    machine."""

    scenario: str
    profile: str
    settings: tuple[str, ...] = ()
    guest: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        more = (*self.settings, *(f"{name}={value}" for name, value in self.guest))
        return " ".join((self.scenario, self.profile, *more))


@dataclass(frozen=True)
class Fault:
    """One planted bug. tries: the cheapest first. equivalent: why it is no fault at all, "" if it
    is one. modules: it is in the guest modules, not in the kernel."""

    name: str
    title: str
    path: Path
    text: bytes = field(repr=False)
    tries: tuple[Try, ...]
    equivalent: str = ""
    modules: bool = False

    @property
    def digest(self) -> str:
        return cache.key(self.text)


def load(kernel: str, names: Sequence[str] = ()) -> tuple[Fault, ...]:
    """The faults of a kernel, or those whose names contain one of these words."""
    folder = resources.faults() / kernel
    found = tuple(read(path) for path in sorted(folder.glob("*.patch"), key=_order))
    if not found:
        raise InputError(
            f"no faults are seeded for kernel {kernel}",
            hint=f"{folder.parent} has a folder for each kernel that has some",
        )
    for name in names:
        if not any(name in fault.name for fault in found):
            raise InputError(
                f"no seeded fault of kernel {kernel} is named {name!r}",
                hint="'pinpage faults --list' shows them",
            )
    return tuple(f for f in found if not names or any(name in f.name for name in names))


def _order(path: Path) -> tuple[int, str]:
    """By the number that a name begins with, which may have two digits or three."""
    number = re.match(r"\d{1,9}", path.name)
    return int(number[0]) if number else -1, path.name


def read(path: Path) -> Fault:
    """One fault; InputError says what its header lacks."""
    text = path.read_bytes()
    head = text.decode(errors="replace").partition("\n---\n")[0]
    subject, equivalent = _SUBJECT.search(head), _EQUIVALENT.search(head)
    tries = tuple(_try(path, words) for words in _TRY.findall(head))
    paths = patchfile.paths(text)
    ours = [name for name in paths if name.startswith(MODULES)]
    for wrong, what in (
        (subject is None, "no subject '[PATCH] mm: pinpage: …' or '[PATCH] pinner: …'"),
        (not tries, "no line 'Try: SCENARIO PROFILE'"),
        (not paths, "no diff"),
        (bool(ours) and len(ours) != len(paths), "a diff of the kernel and of guest modules"),
    ):
        if wrong:
            raise InputError(f"the seeded fault {path} has {what}")
    return Fault(
        name=path.stem,
        title=subject[1] if subject else "",
        path=path,
        text=text,
        tries=tries,
        equivalent=" ".join(equivalent[1].split()) if equivalent else "",
        modules=bool(ours),
    )


def _try(path: Path, line: str) -> Try:
    words = line.split()
    if len(words) < 2 or any("=" not in word for word in words[2:]):
        raise InputError(f"the seeded fault {path} has a line 'Try: {line}' without a profile")
    pairs = [word.partition("=") for word in words[2:]]
    return Try(
        words[0],
        words[1],
        tuple(f"{name}={value}" for name, _, value in pairs if name not in _GUEST),
        tuple((name, int(value)) for name, _, value in pairs if name in _GUEST),
    )
