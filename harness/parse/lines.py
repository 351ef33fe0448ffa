# SPDX-License-Identifier: GPL-2.0-only
"""What parsers share: bytes made lines, numbers read with care, refusals that name a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.errors import EvidenceError

_SHOWN = 60
_DIGITS = 20  # of 2**64 - 1
PIECE = 1 << 16  # bytes of a line that are given out at once


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


def log_lines(chunks: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    """The lines of a log, numbered from 1 as an editor does (by LF alone).

    Whatever the bytes are: what is no UTF-8 becomes U+FFFD. A line of more than ``PIECE`` bytes
    comes in pieces of one number, so that no more than a piece and a chunk are ever held. How the
    bytes are cut into chunks makes no difference.
    """
    number, rest = 1, b""
    for chunk in chunks:
        lines = (rest + chunk).split(b"\n") if rest else chunk.split(b"\n")
        rest = lines.pop()
        for line in lines:
            if len(line) <= PIECE:
                yield number, line.decode(errors="replace")
            else:
                yield from ((number, piece) for piece in _pieces(line))
            number += 1
        while len(rest) > PIECE:
            yield number, rest[:PIECE].decode(errors="replace")
            rest = rest[PIECE:]
    if rest:
        yield number, rest.decode(errors="replace")


def _pieces(line: bytes) -> Iterator[str]:
    for at in range(0, len(line), PIECE):
        yield line[at : at + PIECE].decode(errors="replace")


def body(text: str, header: str, source: str) -> Iterator[tuple[int, str]]:
    """The lines below a file's header, numbered from 1, without empty ones."""
    lines = text.splitlines()
    if not lines or lines[0] != header:
        found = lines[0] if lines else ""
        raise refuse(source, 1, f"it should begin with {header!r}", found)
    for number, line in enumerate(lines[1:], 2):
        if line:
            yield number, line
