# SPDX-License-Identifier: GPL-2.0-only
"""What a pull request has tried: jobs chosen by the files that it touches. Pure.

A table has rules, each with patterns of paths and what to try where one of them fits. All rules
that fit add to it; where none does, ``otherwise`` says what is tried.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

_SHOWN = 3  # paths of a reason
_LONGEST = 200  # bytes of a job's name, but for a digest: a folder's has 255


@dataclass(frozen=True)
class Job:
    """One scenario, to be run on both sides. scenario: its name, or the path of one's own YAML.
    settings: NAME=VALUE words of the scenario."""

    scenario: str
    kernel: str
    arch: str
    profile: str
    settings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its own among those of a table, and good for a folder's."""
        which = self.scenario
        which = Path(which).stem if which.endswith(".yaml") else which
        words = (which, self.kernel, self.arch, self.profile, *self.settings)
        name = "-".join(word.replace("/", "_").replace("=", "_") for word in words)
        whole = os.fsencode(name)
        if len(whole) <= _LONGEST:
            return name
        digest = hashlib.sha256(os.fsencode("\0".join(words))).hexdigest()[:8]
        return f"{whole[:_LONGEST].decode(errors='ignore')}-{digest}"


@dataclass(frozen=True)
class Wanted:
    """What is tried, as a table has it: every scenario on every kernel, architecture, profile."""

    scenarios: tuple[str, ...]
    kernels: tuple[str, ...]
    arches: tuple[str, ...]
    profiles: tuple[str, ...]
    settings: tuple[str, ...] = ()

    def jobs(self) -> list[Job]:
        every = itertools.product(self.scenarios, self.kernels, self.arches, self.profiles)
        return [Job(*words, settings=self.settings) for words in every]


@dataclass(frozen=True)
class Rule:
    """paths: patterns, in which ``*`` stands for slashes too. why: in words, for a report."""

    paths: tuple[str, ...]
    why: str
    wanted: tuple[Wanted, ...]

    def fits(self, changed: Sequence[str]) -> list[str]:
        """Those of the paths that a pattern fits."""
        return [path for path in changed if any(fnmatchcase(path, each) for each in self.paths)]


@dataclass(frozen=True)
class Table:
    """file: where it is from, for a message."""

    rules: tuple[Rule, ...]
    otherwise: tuple[Wanted, ...]
    file: str = ""

    def place(self, name: str) -> str:
        """Where it names a scenario first."""
        tries = [(f"rules[{at}]", rule.wanted) for at, rule in enumerate(self.rules)]
        tries.append(("otherwise", self.otherwise))
        where = (at for at, every in tries if any(name in each.scenarios for each in every))
        return f"{self.file}, {next(where, 'rules')}"


@dataclass(frozen=True)
class Choice:
    """A job, and why it is tried."""

    job: Job
    why: tuple[str, ...]


def choose(table: Table, changed: Sequence[str]) -> tuple[Choice, ...]:
    """The jobs for these paths, each once, in the table's order."""
    found: dict[Job, list[str]] = {}
    for rule in table.rules:
        fit = rule.fits(changed)
        if fit:
            more = f" and {len(fit) - _SHOWN} more" if len(fit) > _SHOWN else ""
            why = f"{rule.why}: {', '.join(fit[:_SHOWN])}{more}"
            for job in (job for wanted in rule.wanted for job in wanted.jobs()):
                found.setdefault(job, []).append(why)
    if not found:
        for job in (job for wanted in table.otherwise for job in wanted.jobs()):
            found.setdefault(job, []).append("no rule of the table fits what is touched")
    return tuple(Choice(job, tuple(dict.fromkeys(why))) for job, why in found.items())
