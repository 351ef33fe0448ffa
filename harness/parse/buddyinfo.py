# SPDX-License-Identifier: GPL-2.0-only
"""/proc/buddyinfo and debugfs's extfrag files: one line for each zone, one column an order."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.parse.lines import integer, refuse

_ZONE = re.compile(r"Node (\d{1,9}), zone +(\S+) +(\S.*)$")
_INDEX = re.compile(r"-?\d{1,6}\.\d{1,9}$")


@dataclass(frozen=True)
class Free:
    """Free blocks of a zone; blocks[n] are of order n."""

    node: int
    zone: str
    blocks: tuple[int, ...]

    @property
    def pages(self) -> int:
        return sum(count << order for order, count in enumerate(self.blocks))


@dataclass(frozen=True)
class Index:
    """A fragmentation index of a zone; values[n] is that of order n."""

    node: int
    zone: str
    values: tuple[float, ...]


def _zones(text: str, source: str) -> list[tuple[int, str, int, str, list[str]]]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _ZONE.match(line)
        if match is None:
            raise refuse(source, number, "'Node N, zone NAME' and columns are due", line)
        found.append((number, line, int(match[1]), match[2], match[3].split()))
    if not found:
        raise refuse(source, 1, "it is empty")
    return found


def buddyinfo(text: str) -> tuple[Free, ...]:
    source = "/proc/buddyinfo"
    return tuple(
        Free(node, zone, tuple(integer(word, source, number, line) for word in words))
        for number, line, node, zone, words in _zones(text, source)
    )


def extfrag(text: str, source: str) -> tuple[Index, ...]:
    """``extfrag_index`` or ``unusable_index``, named by source."""
    found = []
    for number, line, node, zone, words in _zones(text, source):
        for word in words:
            if not _INDEX.match(word):
                raise refuse(source, number, f"{word[:24]!r} is not an index", line)
        found.append(Index(node, zone, tuple(float(word) for word in words)))
    return tuple(found)
