# SPDX-License-Identifier: GPL-2.0-only
"""What is done to a guest. A module here with a ``SCENARIO`` is a scenario; adding one edits
nothing else. A word that ends in ``.yaml`` is a scenario of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, cast

from harness.errors import InputError
from harness.model import RunSpec
from harness.scenario import own
from harness.scenario.base import Default, Param, Scenario, convert

__all__ = ["Param", "Scenario", "get", "is_one", "modules_of", "named", "names", "of", "params"]


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
    """The scenario of this name, or in this YAML."""
    if own.is_file(name):
        return own.load(Path(name).expanduser().absolute(), names())
    try:
        return _all()[_spelled(name)]
    except KeyError:
        raise InputError(
            f"there is no scenario {name!r}", hint=f"scenarios: {', '.join(names())}"
        ) from None


def is_one(word: str) -> bool:
    """Whether a word says which scenario."""
    return own.is_file(word) or _spelled(word) in _all()


def _spelled(word: str) -> str:
    """As scenarios are: huge-pages is huge_pages."""
    return word.replace("-", "_")


def named(word: str) -> dict[str, Any]:
    """What a RunSpec says of the scenario that a word means."""
    if not own.is_file(word):
        return {"scenario": _spelled(word)}
    return {"scenario": get(word).name, "file": Path(word).expanduser().absolute()}


def of(spec: RunSpec) -> Scenario:
    """The scenario of a RunSpec."""
    return get(str(spec.file)) if spec.file is not None else get(spec.scenario)


def modules_of(scenario: Scenario) -> tuple[Path, ...]:
    """The folders of the user's own guest modules that it brings; one of ours brings none."""
    if not isinstance(scenario, own.OwnScenario):
        return ()
    return tuple(module.folder for module in scenario.plan.modules)


def params(name: str, settings: Sequence[str]) -> dict[str, Default]:
    """The parameters of a scenario: its defaults, and ``NAME=VALUE`` words over them."""
    return convert(get(name), settings)
