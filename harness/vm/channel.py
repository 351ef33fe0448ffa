# SPDX-License-Identifier: GPL-2.0-only
"""What runs commands in a guest: over SSH (shell.py), or over the console (console_shell.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from harness.model import CommandResult


class ChannelCut(Exception):
    """The connection ended before the command did."""


class ChannelTimeout(Exception):
    """The command did not end in time; it may still run."""


class Channel(Protocol):
    """A way to run commands."""

    def run(
        self, command: str, *, stdin: bytes, seconds: float, watch: Callable[[], None]
    ) -> CommandResult:
        """Run a shell command. watch is called at least once a second while it runs, and
        raises what the caller wants to hear of. ChannelCut or ChannelTimeout otherwise."""
        ...

    def close(self) -> None: ...
