# SPDX-License-Identifier: GPL-2.0-only
"""A digest of the code that looks at a guest and judges what it sees: verdicts are of that code."""

from __future__ import annotations

from functools import cache as once
from pathlib import Path

from harness import cache

_TOP = Path(__file__).resolve().parent
_FOLDERS = ("scenario", "parse", "vm")
_FILES = (
    "busybox.py",
    "expectation.py",
    "growth.py",
    "leakage.py",
    "pages.py",
    "seen.py",
    "unreferenced.py",
    "verdict.py",
    "witness.py",
)


@once
def code() -> str:
    """The digest."""
    files = [path for name in _FOLDERS for path in sorted((_TOP / name).rglob("*.py"))]
    files += [_TOP / name for name in _FILES]
    return cache.key(*(part for f in files for part in (f.name, f.read_bytes())))
