# SPDX-License-Identifier: GPL-2.0-only
"""What has been tried, so that it is not tried again: a record for each, named by its inputs.

A record holds for the code that judged it. One of a fault that was caught stands for other code
too: evidence is only ever looked at more closely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache as once
from pathlib import Path

from harness import cache
from harness.model import CAUGHT, Outcome

_FORMAT = "1"
_TOP = Path(__file__).resolve().parents[1]
_JUDGES = ("scenario", "parse", "vm")  # folders of what looks and judges, beside these files
_FILES = (
    "busybox.py",
    "growth.py",
    "leakage.py",
    "seen.py",
    "unreferenced.py",
    "verdict.py",
    "witness.py",
)


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
        if tried.code != self.code and not tried.caught:
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


@once
def code() -> str:
    """A digest of the code that looks at a guest and judges what it sees."""
    files = [path for name in _JUDGES for path in sorted((_TOP / name).rglob("*.py"))]
    files += [_TOP / name for name in _FILES]
    return cache.key(*(part for f in files for part in (f.name, f.read_bytes())))
