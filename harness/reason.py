# SPDX-License-Identifier: GPL-2.0-only
"""Why a page did not migrate, as ``kernel-config/reasons/`` tells it: frozen values.

Standard library only, beside ``model.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN = "unknown"  # the code of what the evidence does not tell


@dataclass(frozen=True)
class Spot:
    """A line of a kernel's source, by what it says and not by its number.

    line: a regular expression, searched in each line of file. function: the only one in which it
    counts, "" for any.
    """

    file: str
    line: str
    function: str = ""


@dataclass(frozen=True)
class Check:
    """Where the kernel decides against a page. errno: a name, "" where nothing is returned.

    at: the spot in one kernel or another; the first that a tree has is it.
    """

    what: str
    errno: str
    at: tuple[Spot, ...]


@dataclass(frozen=True)
class Sign:
    """How a reason shows. where: a source of evidence (``ledger.csv``, ``/proc/vmstat``, …).

    needs: what a kernel has that can show it, None where every kernel can.
    """

    where: str
    text: str
    needs: Spot | None = None


@dataclass(frozen=True)
class Reason:
    """One reason. code: its stable name, in kebab-case. line: the reason in one line."""

    code: str
    line: str
    means: str
    checks: tuple[Check, ...]
    signs: tuple[Sign, ...]
    cure: str

    @property
    def errnos(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(check.errno for check in self.checks if check.errno))
