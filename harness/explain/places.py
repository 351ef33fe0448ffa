# SPDX-License-Identifier: GPL-2.0-only
"""Where a kernel's source says something: by the line's text, in whatever tree is at hand. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.reason import Spot

Read = Callable[[str], str]  # path → a file's text, "" where the tree has no such file
_CALL = re.compile(r"(\w+)\s*\(")
# What stands before or behind a function's name and looks like one.
_ATTRIBUTES = frozenset(
    {
        *("__attribute__", "__printf", "__scanf", "__acquires", "__releases", "__must_hold"),
        *("__section", "__aligned", "__alloc_size", "__cond_acquires", "__counted_by"),
    }
)


@dataclass(frozen=True)
class Found:
    """A line of a tree. function: the one that it is in, "" outside of any. text: the line without
    the white space around it; whole: with it.

    more: further lines that say the same in the same place; none, where it is the only one.
    """

    file: str
    line: int
    function: str
    text: str
    whole: str
    more: tuple[int, ...] = ()


class Places:
    """Looks spots up in one tree; each file is read once."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._files: dict[str, _File] = {}

    def find(self, spots: Sequence[Spot]) -> Found | None:
        """The first of the spots that this tree has, None where it has none of them."""
        return next(filter(None, map(self._find, spots)), None)

    def _find(self, spot: Spot) -> Found | None:
        if spot.file not in self._files:
            self._files[spot.file] = _File(self._read(spot.file))
        file = self._files[spot.file]
        wanted = re.compile(spot.line)
        hits = [
            (number, function)
            for number, text in enumerate(file.lines, 1)
            if wanted.search(text)
            and (function := file.function(number)) is not None
            and spot.function in ("", function)
        ]
        if not hits:
            return None
        first, function = hits[0]
        more = tuple(number for number, _ in hits[1:])
        whole = file.lines[first - 1]
        return Found(spot.file, first, function, whole.strip(), whole, more)


class _File:
    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self._functions = list(functions(self.lines))
        self._starts = [first for _, first, _ in self._functions]

    def function(self, number: int) -> str:
        """The function that a line is in, "" outside of all."""
        at = bisect_right(self._starts, number) - 1
        if at < 0:
            return ""
        name, _, last = self._functions[at]
        return name if number <= last else ""


def functions(lines: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """(name, first line, last line) of each function that is defined as the kernel's style has it:
    its braces in the first column. Lines count from 1; the first is that of its head."""
    after = 0  # lines up to here belong to a function before
    for at, line in enumerate(lines):
        if line.rstrip() != "{" or at < after:
            continue
        head = at
        while head > after and _heads(lines[head - 1]):
            head -= 1
        name = _name(" ".join(lines[head:at]))
        last = next((n for n in range(at, len(lines)) if lines[n].startswith("}")), len(lines) - 1)
        if name:
            yield name, head + 1, last + 1
            after = last + 1


def _heads(line: str) -> bool:
    """Whether a line may be part of a function's head."""
    own = line.strip()
    return bool(own) and not own.endswith(";") and not line.startswith(("#", "}", "/*", " *", "//"))


def _name(head: str) -> str:
    """The name in a function's head: the first word with a parenthesis that is no attribute."""
    depth, at = 0, 0
    for found in _CALL.finditer(head):
        depth += head.count("(", at, found.start()) - head.count(")", at, found.start())
        at = found.start()
        if depth == 0 and found[1] not in _ATTRIBUTES:
            return found[1]
    return ""
