# SPDX-License-Identifier: GPL-2.0-only
"""What the tests that call the program call: a fixture of this kind."""

from __future__ import annotations

import subprocess
from typing import Protocol


class Program(Protocol):
    """Its words, and what it reads, to how it ended and what it printed."""

    def __call__(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]: ...
