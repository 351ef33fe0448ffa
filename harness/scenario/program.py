# SPDX-License-Identifier: GPL-2.0-only
"""The guest's programs, put where they are not there yet."""

from __future__ import annotations

from harness.model import Guest


def program(guest: Guest, name: str = "userpages") -> str:
    """Its path in the guest."""
    local, path = guest.module(name), f"/modules/{name}"
    if guest.run(f"[ -x {path} ]").status != 0:
        guest.put(local, path)
        guest.must(f"chmod 755 {path}")
    return path
