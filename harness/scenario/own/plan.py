# SPDX-License-Identifier: GPL-2.0-only
"""What a scenario of one's own asks for: frozen values, as ``read.py`` makes them of a YAML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import errno_name
from harness.model import Attempt

TRIGGERS = (
    *("compact", "compact-node", "offline", "contig", "move-user-pages", "huge-pages"),
    "command",
)


@dataclass(frozen=True)
class Wish:
    """What has to come of a step. word: ``succeeds``, ``fails``, an errno's name, or ``at least``
    with least: how many huge pages."""

    word: str
    least: int = 0

    @property
    def expected(self) -> bool | None:
        """Whether the attempt has to succeed; None where how much is had counts."""
        return None if self.least else self.word == "succeeds"

    def met(self, made: Attempt) -> bool:
        if self.least:
            return (made.got or 0) >= self.least
        if self.word == "succeeds":
            return made.ok
        return not made.ok and self.word in ("fails", errno_name(made.errno))

    def __str__(self) -> str:
        if self.least:
            return f"had to give at least {self.least}"
        if self.word in ("succeeds", "fails"):
            return f"had to {self.word.removesuffix('s')}"
        return f"had to fail with {self.word}"


@dataclass(frozen=True)
class Step:
    """One step of a drive. number: from 1. trigger: one of TRIGGERS; amount and words: what it is
    asked for, a number or texts. wish and control: what has to come of it in the treated and in the
    control arm, None if nothing."""

    number: int
    trigger: str
    amount: int = 0
    words: tuple[str, ...] = ()
    times: int = 1
    align: int | None = None
    to: int = 0
    seconds: int = 60
    wish: Wish | None = None
    control: Wish | None = None

    @property
    def group(self) -> str:
        """What its attempts are counted under, and found again by."""
        return f"{self.trigger.replace('-', ' ')} (step {self.number})"

    def wished(self, role: str) -> Wish | None:
        return self.control if role == "control" else self.wish


@dataclass(frozen=True)
class Pin:
    """Where the pins are, one of each so many (every) neighbouring pages: one of pages, area
    (MiB), plugged (MiB, brought online as ``online``) and frames (from first on) is not 0. least:
    pins that there must be."""

    pages: int = 0
    every: int = 32
    area: int = 0
    plugged: int = 0
    online: str = "movable"
    frames: int = 0
    first: int = 0
    least: int = 100


@dataclass(frozen=True)
class Module:
    """A guest module of the user's own. folder: with its Kbuild. where: its place in the YAML."""

    name: str
    folder: Path
    options: str = ""
    where: tuple[int, int] = (0, 0)  # first and last character of its path in the YAML


@dataclass(frozen=True)
class Plan:
    """A whole scenario. moved: share of its pins that the treated arm moves at least; stays: it
    moves none. smp: 0 for the run's own. text: the YAML's own."""

    name: str
    file: Path
    text: str = field(repr=False)
    summary: str
    pin: Pin
    steps: tuple[Step, ...]
    moved: float = 0.0
    stays: bool = False
    huge: bool = False
    control: bool = True
    smp: int = 0
    nodes: int = 1
    append: tuple[str, ...] = ()
    modules: tuple[Module, ...] = ()

    def has(self, *triggers: str) -> bool:
        return any(step.trigger in triggers for step in self.steps)

    def wishes(self, role: str) -> Iterable[tuple[Step, Wish]]:
        for step in self.steps:
            wish = step.wished(role)
            if wish is not None:
                yield step, wish
