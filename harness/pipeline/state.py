# SPDX-License-Identifier: GPL-2.0-only
"""What a run has so far, and what it is given beside its words."""

from __future__ import annotations

import os
import platform
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from harness import __version__, resources
from harness.errors import InfraError
from harness.model import (
    Accelerator,
    Again,
    ArmPlan,
    BuildArtifacts,
    Event,
    GuestImage,
    Inputs,
    LedgerRow,
    MadeOf,
    Progress,
    RunRecord,
    RunSpec,
    SourceTree,
    Splat,
    Verdict,
)
from harness.pipeline.boots import Bootable, Look, nobody
from harness.pipeline.stages import Chosen

INNER = "PINPAGE_INNER"  # set: the run is one of many of a command, which may delete its folder
ELSEWHERE = "elsewhere.jsonl"  # of the state folder: runs that were kept in the user's own folders
_LONGEST = 30  # characters of a scenario's name in an id
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,24}")  # a series' name that an id can have


@dataclass(frozen=True)
class Given:
    """What a run takes as it is, where that is not what its words name today.

    again: the run that it does again. inputs: what that was made of; its patches are applied as
    they are. tree: its source. builds: kernel's name → its build, which is booted; then image is
    its guest's, digests are what is known of them, and nobody vouches for any of it.
    """

    again: Again | None = None
    inputs: Inputs | None = None
    tree: SourceTree | None = None
    builds: Mapping[str, BuildArtifacts] = field(default_factory=dict)
    image: GuestImage | None = None
    digests: Mapping[str, str] = field(default_factory=dict)

    def made(self, name: str) -> MadeOf | None:
        """What the kernel of this name was made of, None where that is not given."""
        kernels = self.inputs.kernels if self.inputs is not None else ()
        return next((each for each in kernels if each.name == name), None)


@dataclass
class State:
    """What a run has so far; its record can be made at any moment."""

    chosen: Chosen
    id: str
    folder: Path
    started: str
    given: Given = field(default_factory=Given)
    made: dict[str, MadeOf] = field(default_factory=dict)
    source: SourceTree | None = None
    pinpage: bool = False
    emulator: str = ""
    begun: float = field(default_factory=time.monotonic)
    stages: dict[str, float] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    toolchain: dict[str, str] = field(default_factory=dict)
    accelerator: Accelerator | None = None
    argv: tuple[str, ...] = ()
    guests: dict[str, str] = field(default_factory=dict)
    arms: tuple[ArmPlan, ...] = ()
    events: list[Event] = field(default_factory=list)
    splats: list[Splat] = field(default_factory=list)
    kernels: dict[str, Bootable] = field(default_factory=dict)  # arm → what it booted
    rows: tuple[LedgerRow, ...] = ()
    console: dict[str, str] = field(default_factory=dict)
    look: Look = nobody

    def record(
        self,
        answer: Verdict,
        *,
        error: Mapping[str, str],
        interrupted: bool = False,
    ) -> RunRecord:
        return RunRecord(
            id=self.id,
            spec=self.chosen.spec,
            verdict=answer,
            started=self.started,
            seconds=time.monotonic() - self.begun,
            stages=dict(self.stages),
            digests=dict(self.digests),
            toolchain=dict(self.toolchain),
            accelerator=self.accelerator,
            argv=self.argv,
            guests=dict(self.guests),
            host={**_host(), **({"qemu": self.emulator} if self.emulator else {})},
            exit_code=answer.exit_code,
            interrupted=interrupted,
            ledger=self.rows,
            events=tuple(self.events),
            console=dict(self.console),
            error=dict(error),
            inputs=self._inputs(),
            again=self.given.again,
        )

    def _inputs(self) -> Inputs | None:
        """None before the patches were read."""
        if self.given.builds:
            return self.given.inputs
        if not self.made:
            return None
        origin, version = (self.source.origin, self.source.version) if self.source else ("", "")
        made = tuple(self.made.values())
        return Inputs(made, origin, version, self.pinpage, str(Path.cwd()))


class Timed:
    """Passes progress on and notes how long each stage took."""

    def __init__(self, inner: Progress, stages: dict[str, float]) -> None:
        self._inner, self._stages = inner, stages
        self._name, self._since = "", time.monotonic()

    def stage(self, name: str) -> None:
        self.end()
        self._name, self._since = name, time.monotonic()
        self._inner.stage(name)

    def end(self) -> None:
        if self._name:
            took = time.monotonic() - self._since
            self._stages[self._name] = self._stages.get(self._name, 0.0) + round(took, 3)
        self._name = ""

    def advance(self, done: int, total: int | None, text: str = "") -> None:
        self._inner.advance(done, total, text)

    def note(self, text: str) -> None:
        self._inner.note(text)


def _host() -> dict[str, str]:
    return {
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cpus": str(os.cpu_count() or 1),
        "pinpage": __version__,
    }


def begin(chosen: Chosen, given: Given) -> State:
    now = datetime.now(UTC)
    words = chosen.spec
    name = id_of(words, now)
    top = words.keep if words.keep is not None else resources.state() / "runs"
    folder = top / name
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InfraError(
            f"the run's folder {folder} cannot be made: {error.strerror}",
            hint="name another folder with --keep DIR",
        ) from error
    return State(chosen, name, folder, now.isoformat(timespec="seconds"), given)


def id_of(words: RunSpec, now: datetime) -> str:
    """What ran and when, as stored/form.py reads it."""
    named = len(words.series) == 1 and _PLAIN.fullmatch(words.series[0])
    return "-".join(
        [
            now.strftime("%Y%m%dT%H%M%SZ"),
            words.scenario[:_LONGEST],
            words.kernel,
            words.arch,
            words.series[0] if named else "own",
            secrets.token_hex(2),
        ]
    )
