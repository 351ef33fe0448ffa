# SPDX-License-Identifier: GPL-2.0-only
"""What the parsers of a guest's files share: numbers read with care, refusals that name a line."""

from __future__ import annotations

from collections.abc import Iterator

from harness.errors import EvidenceError

_SHOWN = 60
_DIGITS = 20  # of 2**64 - 1


def refuse(source: str, line: int, why: str, text: str = "") -> EvidenceError:
    """The error for a line (counted from 1) that is not what the source should write."""
    shown = f": {text[:_SHOWN]!r}" if text else ""
    return EvidenceError(
        f"{source}, line {line}: {why}{shown}",
        hint="the run's events.jsonl and console.log show what the guest was at",
    )


def integer(word: str, source: str, line: int, text: str) -> int:
    """A decimal of up to 64 bits, sign allowed; nothing else that int() would take."""
    digits = word[1:] if word[:1] == "-" else word
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS):
        raise refuse(source, line, f"{word[:24]!r} is not a number", text)
    return int(word)


def body(text: str, header: str, source: str) -> Iterator[tuple[int, str]]:
    """The lines below a file's header, numbered from 1, without empty ones."""
    lines = text.splitlines()
    if not lines or lines[0] != header:
        found = lines[0] if lines else ""
        raise refuse(source, 1, f"it should begin with {header!r}", found)
    for number, line in enumerate(lines[1:], 2):
        if line:
            yield number, line
