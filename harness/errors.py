# SPDX-License-Identifier: GPL-2.0-only
"""Every error that a user can meet, by whose fault it is; its exit code stands beside it.

PinpageError
├── InputError                 2   the user's words: an option, a file, a YAML, a log
├── CannotRun                 10   a capability was probed and is absent (SKIP)
│   └── SourceUnavailable          no source of a kernel can be had
├── PatchError                 7   a patch of the series does not apply
├── BuildError                 8   the kernel, a module or a configuration does not build
│   ├── ConfigError                a requested option was dropped by Kconfig
│   └── CompileError               the compiler's first error, with file and line
├── GuestError                     the kernel under test
│   ├── GuestCrash             3
│   ├── GuestHang              4
│   ├── GuestLost              5
│   └── GuestCommandError      1   a command in the guest failed that had to succeed
└── InfraError                 9   ours or the host's
    ├── EvidenceError              what a guest wrote cannot be read as what it should be
    ├── MissingTool                a program or package is not installed
    └── ToolError                  a program of the host failed
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import errorcode
from pathlib import Path
from shlex import join

from harness.model import EXIT_CODES, EXIT_USAGE, Outcome, Splat


def errno_name(errno: int) -> str:
    """EBUSY for 16; the number where the host has no name for it: kernels have some of their own
    (include/linux/errno.h)."""
    return errorcode.get(errno, str(errno))


class PinpageError(Exception):
    """Base. message says what and where, hint what to do; log and command where they help."""

    outcome: Outcome | None = None
    exit_code: int = EXIT_CODES[Outcome.INFRA]

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        log: Path | None = None,
        command: Sequence[str] = (),
        detail: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log = log
        self.command = tuple(command)
        self.detail = detail

    def lines(self) -> list[str]:
        """The error as a user reads it: message, detail, command, log, hint."""
        out = [self.message]
        out += [f"  {line}" for line in self.detail.splitlines()]
        if self.command:
            out.append(f"command: {join(self.command)}")
        if self.log is not None:
            out.append(f"log: {self.log}")
        if self.hint:
            out.append(f"next: {self.hint}")
        return out


class InputError(PinpageError):
    exit_code = EXIT_USAGE


class CannotRun(PinpageError):
    outcome = Outcome.SKIP
    exit_code = EXIT_CODES[Outcome.SKIP]


class SourceUnavailable(CannotRun):
    pass


class PatchError(PinpageError):
    """patch: its name; file and hunk: what failed; detail: the hunk and the nearest match."""

    outcome = Outcome.PATCH
    exit_code = EXIT_CODES[Outcome.PATCH]


class BuildError(PinpageError):
    outcome = Outcome.BUILD
    exit_code = EXIT_CODES[Outcome.BUILD]


class ConfigError(BuildError):
    pass


class CompileError(BuildError):
    pass


class GuestError(PinpageError):
    """Something that the kernel under test did. console: the last lines it printed."""

    def __init__(
        self,
        message: str,
        *,
        console: str = "",
        splats: Sequence[Splat] = (),
        hint: str = "",
        log: Path | None = None,
        command: Sequence[str] = (),
        detail: str = "",
    ) -> None:
        super().__init__(message, hint=hint, log=log, command=command, detail=detail)
        self.console = console
        self.splats = tuple(splats)


class GuestCrash(GuestError):
    outcome = Outcome.CRASH
    exit_code = EXIT_CODES[Outcome.CRASH]


class GuestHang(GuestError):
    outcome = Outcome.HANG
    exit_code = EXIT_CODES[Outcome.HANG]


class GuestLost(GuestError):
    outcome = Outcome.LOST
    exit_code = EXIT_CODES[Outcome.LOST]


class GuestCommandError(GuestError):
    outcome = Outcome.FAIL
    exit_code = EXIT_CODES[Outcome.FAIL]


class InfraError(PinpageError):
    outcome = Outcome.INFRA


class EvidenceError(InfraError):
    """Text or bytes from a guest that a parser refuses; the message names source and line."""


class MissingTool(InfraError):
    pass


class ToolError(InfraError):
    pass
