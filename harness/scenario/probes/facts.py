# SPDX-License-Identifier: GPL-2.0-only
"""What one probe's guest left behind, and the answer that is drawn from it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.errors import EvidenceError
from harness.model import Event


@dataclass(frozen=True)
class Report:
    """A report of the kernel's, on the console of this guest."""

    kind: str
    title: str
    text: str
    line: int


@dataclass(frozen=True)
class Answer:
    """shown: None where the evidence does not tell. evidence: the figures, as a sentence."""

    shown: bool | None
    evidence: str


@dataclass
class Facts:
    """The evidence of one arm. Readings are by the moment they were taken at."""

    facts: dict[str, dict[str, int]] = field(default_factory=dict)
    vmstat: dict[str, dict[str, int]] = field(default_factory=dict)
    commands: dict[str, int] = field(default_factory=dict)  # command → errno of its write
    blocks: list[Mapping[str, Any]] = field(default_factory=list)
    page: Mapping[str, Any] = field(default_factory=dict)
    pageblocks: Mapping[str, Any] = field(default_factory=dict)
    waits: Mapping[str, Any] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    driven: bool = False
    outcome: str = ""
    message: str = ""

    def at(self, when: str, name: str) -> int | None:
        return self.facts.get(when, {}).get(name)

    def number(self, name: str, when: str = "after") -> int:
        """A fact; EvidenceError where it was not read."""
        value = self.at(when, name)
        if value is None:
            raise EvidenceError(f"the prober's {name} was not read {when}")
        return value

    def grown(self, name: str, first: str = "before", last: str = "after") -> int:
        """How much a counter of /proc/vmstat grew."""
        try:
            return self.vmstat[last][name] - self.vmstat[first][name]
        except KeyError as error:
            raise EvidenceError(
                f"{name} of /proc/vmstat was not read {first} and {last}"
            ) from error

    def missing(self, first: str = "before", last: str = "after") -> int:
        """Free pages that went between two readings, those that processors keep included."""
        return -self.grown("free", first, last)

    def report(self, title: str, within: str = "") -> Report | None:
        """The first report whose title matches, and whose text names all that is within."""
        for each in self.reports:
            if re.search(title, each.title) and re.search(within, each.text):
                return each
        return None


def gather(arm: str, events: Iterable[Event]) -> Facts:
    """The evidence of an arm; EvidenceError names an event that is not of its form."""
    found = Facts()
    for event in events:
        if event.arm != arm:
            continue
        try:
            _take(found, event.source, event.name, event.data)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise EvidenceError(
                f"the event {event.source} {event.name} of arm {arm} is malformed: {error}"
            ) from error
    return found


def _take(found: Facts, source: str, name: str, data: Mapping[str, Any]) -> None:
    if (source, name) == ("prober", "facts"):
        found.facts[data["when"]] = dict(data["values"])
    elif (source, name) == ("prober", "command"):
        found.commands[data["text"]] = int(data["errno"])
    elif (source, name) == ("vmstat", "vmstat"):
        found.vmstat[data["when"]] = dict(data["values"])
    elif (source, name) == ("memory", "block"):
        found.blocks.append(data)
    elif (source, name) == ("memory", "page"):
        found.page = data
    elif (source, name) == ("memory", "pageblocks"):
        found.pageblocks = data
    elif (source, name) == ("harness", "waits"):
        found.waits = data
    elif (source, name) == ("prober", "end"):
        found.driven = True
    elif (source, name) == ("harness", "ended"):
        found.outcome, found.message = data["outcome"], data["message"]
    elif (source, name) == ("console", "splat"):
        report = Report(data["kind"], data["title"], data["report"], int(data["line"]))
        found.reports.append(report)
