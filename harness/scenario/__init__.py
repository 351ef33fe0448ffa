# SPDX-License-Identifier: GPL-2.0-only
"""What is done to a guest. A module here with a ``SCENARIO`` is a scenario; adding one edits
nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import cast

from harness.errors import InputError
from harness.scenario.base import Default, Param, Scenario, convert

__all__ = ["Param", "Scenario", "get", "names", "params"]


@cache
def _all() -> dict[str, Scenario]:
    found: dict[str, Scenario] = {}
    for info in iter_modules(__path__):
        value = getattr(import_module(f"{__name__}.{info.name}"), "SCENARIO", None)
        if value is not None:
            scenario = cast(Scenario, value)
            found[scenario.name] = scenario
    return dict(sorted(found.items()))


def names() -> tuple[str, ...]:
    return tuple(_all())


def get(name: str) -> Scenario:
    try:
        return _all()[name]
    except KeyError:
        raise InputError(
            f"there is no scenario {name!r}", hint=f"scenarios: {', '.join(names())}"
        ) from None


def params(name: str, settings: Sequence[str]) -> dict[str, Default]:
    """The parameters of a scenario: its defaults, and ``NAME=VALUE`` words over them."""
    return convert(get(name), settings)
