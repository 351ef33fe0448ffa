# SPDX-License-Identifier: GPL-2.0-only
"""Why a page did not migrate: reasons told from a run's evidence, and found in a kernel's source.

``kernel-config/reasons/`` has the reasons. ``classify`` tells which one it was, ``account`` counts
them, ``places`` finds where in a tree the kernel decides so.
"""

from __future__ import annotations

from difflib import get_close_matches

from harness import spec
from harness.errors import InputError
from harness.explain.account import Account, accounts, flag_words, of_record, shown
from harness.explain.classify import Facts
from harness.explain.places import Found, Places
from harness.reason import Reason

__all__ = [
    "Account",
    "Facts",
    "Found",
    "Places",
    "accounts",
    "flag_words",
    "known",
    "of_record",
    "reason",
    "shown",
]


def known(code: str) -> Reason | None:
    """The reason of this code, None where there is none (``unknown`` has none)."""
    return next((each for each in spec.reasons() if each.code == code), None)


def reason(code: str) -> Reason:
    """The reason of this code; InputError names the nearest."""
    found = known(code)
    if found is None:
        codes = [each.code for each in spec.reasons()]
        near = get_close_matches(code, codes, 3)
        raise InputError(
            f"there is no reason {code!r}, and no run's folder of that name",
            hint=f"'pinpage explain' lists them{'; nearest: ' if near else ''}{', '.join(near)}",
        )
    return found
