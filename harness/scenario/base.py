# SPDX-License-Identifier: GPL-2.0-only
"""What every scenario has, and the values of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from harness.errors import InputError
from harness.model import ArmPlan, Event, Guest

Emit: TypeAlias = Callable[[Event], None]
Default: TypeAlias = int | str
Params: TypeAlias = Mapping[str, Default]


class Scenario(Protocol):
    """One experiment. FEATURES: configuration fragments that it needs; MODULES: guest modules.

    PARAMS: name → (default, help); a value given with ``--set`` gets the default's type.
    """

    name: str
    summary: str
    FEATURES: tuple[str, ...]
    MODULES: tuple[str, ...]
    PARAMS: Mapping[str, tuple[Default, str]]

    def arms(self, series_has_pinpage: bool) -> tuple[ArmPlan, ...]:
        """The control arm first; without the subsystem it is the only one."""
        ...

    def drive(
        self, guest: Guest, arm: ArmPlan, seed: int, params: Mapping[str, Default], emit: Emit
    ) -> None:
        """Do one arm in a freshly booted guest and emit all that is seen.

        CannotRun where the guest lacks a capability that it needs.
        """
        ...


def convert(scenario: Scenario, settings: Sequence[str]) -> dict[str, Default]:
    """``NAME=VALUE`` words over the scenario's defaults; InputError names what is wrong."""
    values = {name: default for name, (default, _) in scenario.PARAMS.items()}
    for word in settings:
        name, equals, text = word.partition("=")
        if not equals or name not in values:
            what = f"has no parameter {name!r}" if equals else f"takes NAME=VALUE, not {word!r}"
            raise InputError(
                f"scenario {scenario.name} {what}",
                hint=f"its parameters: {', '.join(sorted(scenario.PARAMS))}",
            )
        values[name] = _typed(name, values[name], text)
    return values


def _typed(name: str, default: Default, text: str) -> Default:
    if isinstance(default, str):
        return text
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if value < 0:
        raise InputError(f"parameter {name} takes a number from 0, not {text!r}")
    return value
