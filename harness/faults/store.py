# SPDX-License-Identifier: GPL-2.0-only
"""What has been tried, so that it is not tried again: a record for each, named by its inputs.

A record holds for the code that judged it: what other code took for a catch may be none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from harness import cache
from harness.model import CAUGHT, Outcome

_FORMAT = "1"


@dataclass(frozen=True)
class Tried:
    """What came of one try. seconds: from the built kernel to the verdict; build_seconds: before.
    run: the run's folder. code: digest of what judged it."""

    scenario: str
    profile: str
    settings: str
    outcome: Outcome
    said: str
    seconds: float = 0.0
    build_seconds: float = 0.0
    run: str = ""
    code: str = ""
    recorded: bool = False  # by an earlier invocation

    @property
    def caught(self) -> bool:
        return self.outcome in CAUGHT


class Store:
    """Records below a folder. code: digest of what judges now."""

    def __init__(self, folder: Path, code: str) -> None:
        self._folder, self.code = folder, code

    def look(self, inputs: Sequence[str]) -> Tried | None:
        """The record of these inputs, None where there is none that holds."""
        found = cache.read_json(self._path(inputs))
        if found is None:
            return None
        try:
            tried = Tried(**{**found, "outcome": Outcome(found["outcome"])})
        except (KeyError, TypeError, ValueError):
            return None  # of another version, or cut off
        if tried.code != self.code:
            return None
        return replace(tried, recorded=True)

    def keep(self, inputs: Sequence[str], tried: Tried) -> None:
        """Record a verdict on the kernel; what is ours or the host's is to be tried again."""
        if tried.caught or tried.outcome in (Outcome.PASS, Outcome.SKIP):
            cache.write_json(
                self._path(inputs), asdict(replace(tried, recorded=False, code=self.code))
            )

    def _path(self, inputs: Sequence[str]) -> Path:
        return self._folder / f"{cache.key(_FORMAT, *inputs)}.json"
