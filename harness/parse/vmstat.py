# SPDX-License-Identifier: GPL-2.0-only
"""/proc/vmstat: counters by name."""

from __future__ import annotations

from harness.parse.lines import integer, refuse


def vmstat(text: str) -> dict[str, int]:
    source, values = "/proc/vmstat", dict[str, int]()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if len(words) != 2:
            raise refuse(source, number, "a name and a number are due", line)
        values[words[0]] = integer(words[1], source, number, line)
    if not values:
        raise refuse(source, 1, "it is empty")
    return values
