# SPDX-License-Identifier: GPL-2.0-only
"""Scenarios of one's own: a YAML says what is pinned, what is done, and what has to come of it.

``read`` makes a Plan of the YAML, ``drive`` does it, ``scenario`` is what a run needs.
"""

from __future__ import annotations

from pathlib import Path

from harness.scenario.own.read import plan
from harness.scenario.own.scenario import FOLDER, OwnScenario, keep

__all__ = ["FOLDER", "OwnScenario", "is_file", "keep", "load"]


def is_file(word: str) -> bool:
    """Whether a word names a scenario's YAML, and not a scenario of ours."""
    return word.endswith((".yaml", ".yml"))


def load(path: Path, taken: tuple[str, ...] = ()) -> OwnScenario:
    """The scenario in a YAML; taken: names that are others'. InputError says what is wrong."""
    return OwnScenario(plan(path, taken))
