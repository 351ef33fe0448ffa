# SPDX-License-Identifier: GPL-2.0-only
"""What every scenario has, and the values of its parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from harness import expectation, verdict
from harness.errors import InputError
from harness.model import ArmPlan, Event, Guest, LedgerRow, Splat, Verdict

Emit: TypeAlias = Callable[[Event], None]
Default: TypeAlias = int | str
Params: TypeAlias = Mapping[str, Default]


@dataclass(frozen=True)
class Param:
    """A parameter: its default, whose type a value given with ``--set`` gets.

    A number is from least to most; a text is one of the choices, or fits the pattern.
    """

    default: Default
    help: str
    least: int = 0
    most: int = 2**31 - 1
    choices: tuple[str, ...] = ()
    pattern: str = ""

    @property
    def range(self) -> str:
        """What it may be, in words."""
        if self.pattern:
            return "several with commas between them"
        return ", ".join(self.choices) or f"{self.least} to {self.most}"

    def value(self, name: str, text: str) -> Default:
        """The value that this text stands for; InputError says what it may be."""
        if isinstance(self.default, str):
            if text in self.choices or (self.pattern and re.fullmatch(self.pattern, text)):
                return text
            raise InputError(f"parameter {name} is one of {self.range}, not {text!r}")
        try:
            number = int(text, 0)
        except ValueError:
            number = -1
        if self.least <= number <= self.most:
            return number
        raise InputError(f"parameter {name} is a number from {self.range}, not {text!r}")


LIE = Param(
    "none",
    "have the treated arm's owner lie, to see the harness notice",
    choices=("none", "nocopy", "keep", "ghost"),
)


class Tree(Protocol):
    """The source under test, its series applied."""

    def read(self, path: str) -> str:
        """A file's text, "" where there is none."""
        ...

    def blame(self, path: str, line: str) -> str:
        """The last patch that brought this line to the file, "" where none did."""
        ...


class Scenario(Protocol):
    """One experiment. FEATURES: configuration fragments that it needs; MODULES: guest modules."""

    name: str
    summary: str
    FEATURES: tuple[str, ...]
    MODULES: tuple[str, ...]
    PARAMS: Mapping[str, Param]
    APART: bool  # each arm is judged for itself: what ends one in an error does not end the run

    def check(self, params: Params, memory_mib: int) -> None:
        """InputError where these parameters do not go together, or with a guest's memory."""
        ...

    def arms(self, series_has_pinpage: bool, params: Params) -> tuple[ArmPlan, ...]:
        """The control arm first; without the subsystem it is the only one.

        CannotRun where there is nothing to do without it.
        """
        ...

    def inspect(self, tree: Tree, params: Params) -> Iterable[Event]:
        """What the source under test says by itself."""
        ...

    def drive(
        self, guest: Guest, arm: ArmPlan, seed: int, params: Mapping[str, Default], emit: Emit
    ) -> None:
        """Do one arm in a freshly booted guest and emit all that is seen.

        CannotRun where the guest lacks a capability that it needs.
        """
        ...

    def judge(
        self,
        arms: Sequence[ArmPlan],
        events: Sequence[Event],
        rows: Sequence[LedgerRow],
        splats: Sequence[Splat],
    ) -> Verdict:
        """The answer, from the evidence alone."""
        ...


class Usual:
    """What most scenarios have alike."""

    PARAMS: Mapping[str, Param]
    APART = False
    expected = expectation.COMPACTION

    def check(self, params: Params, memory_mib: int) -> None:
        return

    def inspect(self, tree: Tree, params: Params) -> Iterable[Event]:
        return ()

    def values(self, params: Params) -> dict[str, Default]:
        """All parameters: those given, over the defaults."""
        return {name: param.default for name, param in self.PARAMS.items()} | dict(params)

    def judge(
        self,
        arms: Sequence[ArmPlan],
        events: Sequence[Event],
        rows: Sequence[LedgerRow],
        splats: Sequence[Splat],
    ) -> Verdict:
        return verdict.judge(arms, events, rows, splats, self.expects(events))

    def expects(self, events: Sequence[Event]) -> expectation.Expectation:
        """What is expected of a run with these events."""
        return self.expected


def convert(scenario: Scenario, settings: Sequence[str]) -> dict[str, Default]:
    """``NAME=VALUE`` words over the scenario's defaults; InputError names what is wrong."""
    values = {name: param.default for name, param in scenario.PARAMS.items()}
    for word in settings:
        name, equals, text = word.partition("=")
        if not equals or name not in values:
            what = f"has no parameter {name!r}" if equals else f"takes NAME=VALUE, not {word!r}"
            raise InputError(
                f"scenario {scenario.name} {what}",
                hint=f"its parameters: {', '.join(sorted(scenario.PARAMS))}",
            )
        values[name] = scenario.PARAMS[name].value(name, text)
    return values
