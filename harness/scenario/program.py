# SPDX-License-Identifier: GPL-2.0-only
"""The guest's program userpages, put where it is not there yet."""

from __future__ import annotations

from harness.model import Guest

_NAME = "userpages"
_PATH = f"/modules/{_NAME}"


def program(guest: Guest) -> str:
    """Its path in the guest."""
    local = guest.module(_NAME)
    if guest.run(f"[ -x {_PATH} ]").status != 0:
        guest.put(local, _PATH)
        guest.must(f"chmod 755 {_PATH}")
    return _PATH
