# SPDX-License-Identifier: GPL-2.0-only
"""The pinner's files: ledger, moves, counters, and its lines in the kernel log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.parse.lines import body, integer, refuse

LEDGER_HEADER = "pinner-ledger 1"
REFS_HEADER = "pinner-refs 1"
MOVES_HEADER = "pinner-moves 1"
STATES = frozenset({"stored", "corrupt", "lost"})


@dataclass(frozen=True)
class Pin:
    """One object: where its page was when it was pinned and where it is now.

    moves: how often it moved. errno: the last refusal of its owner, 0 for none.
    """

    handle: int
    pfn_pin: int
    pfn_now: int
    moves: int
    errno: int
    state: str


@dataclass(frozen=True)
class Move:
    """One call of the owner's migrate callback: errno 0 moved the page, any other refused it."""

    seq: int
    handle: int
    pfn_old: int
    pfn_new: int
    errno: int


@dataclass(frozen=True)
class Moves:
    """The record of calls; dropped: how many older ones no longer fit in it."""

    calls: tuple[Move, ...]
    dropped: int


@dataclass(frozen=True)
class Logged:
    """One line of the pinner in the kernel log; pfn_new is None in a refusal."""

    handle: int
    pfn_old: int
    pfn_new: int | None
    errno: int


def ledger(text: str) -> tuple[Pin, ...]:
    """The rows of ``ledger``; a handle that stands there twice is refused."""
    source, pins, seen = "pinner ledger", [], set()
    for number, line in body(text, LEDGER_HEADER, source):
        words = line.split()
        if len(words) != 6:
            raise refuse(source, number, f"6 fields are due, there are {len(words)}", line)
        handle, old, now, moves, errno = (integer(w, source, number, line) for w in words[:5])
        if words[5] not in STATES:
            raise refuse(source, number, f"{words[5][:24]!r} is no state", line)
        if handle in seen:
            raise refuse(source, number, f"handle {handle} stands there twice", line)
        seen.add(handle)
        pins.append(Pin(handle, old, now, moves, errno, words[5]))
    return tuple(pins)


def refs(text: str) -> list[tuple[int, int, int]]:
    """(handle, page frame, references) for each row of ``refs``."""
    source, found = "pinner refs", []
    for number, line in body(text, REFS_HEADER, source):
        words = line.split()
        if len(words) != 3:
            raise refuse(source, number, f"3 fields are due, there are {len(words)}", line)
        handle, pfn, count = (integer(word, source, number, line) for word in words)
        found.append((handle, pfn, count))
    return found


def moves(text: str) -> Moves:
    """The rows of ``moves``; without its last line it was cut short, and is refused."""
    source, calls, dropped, number = "pinner moves", [], None, 1
    for number, line in body(text, MOVES_HEADER, source):
        words = line.split()
        if dropped is not None:
            raise refuse(source, number, "nothing may follow the 'dropped' line", line)
        if words[:1] == ["dropped"] and len(words) == 2:
            dropped = integer(words[1], source, number, line)
            continue
        if len(words) != 5:
            raise refuse(source, number, f"5 fields are due, there are {len(words)}", line)
        calls.append(Move(*(integer(w, source, number, line) for w in words)))
    if dropped is None:
        raise refuse(source, number, "it is cut short: there is no 'dropped' line at its end")
    return Moves(tuple(calls), dropped)


def counters(text: str) -> dict[str, int | str]:
    """``name value`` lines; a value that is not a number stays text (the mode)."""
    source, values = "pinner counters", dict[str, int | str]()
    for number, line in enumerate(text.splitlines(), 1):
        name, _, value = line.partition(" ")
        value = value.strip()
        if not name or not value:
            raise refuse(source, number, "a name and a value are due", line)
        numeric = value.lstrip("-").isdigit()
        values[name] = integer(value, source, number, line) if numeric else value
    return values


_MIGRATED = re.compile(
    r"pinner: migrated handle=(\d{1,20}) pfn=0x([0-9a-f]{1,16})->0x([0-9a-f]{1,16}) moves=\d+"
)
_REFUSED = re.compile(r"pinner: refused handle=(\d{1,20}) pfn=0x([0-9a-f]{1,16}) err=(-?\d{1,9})")


def log(lines: Iterable[str]) -> Iterator[Logged]:
    """The pinner's migrations and refusals in a kernel log; other lines are passed over."""
    for line in lines:
        if "pinner: " not in line:
            continue
        if found := _MIGRATED.search(line):
            yield Logged(int(found[1]), int(found[2], 16), int(found[3], 16), 0)
        elif found := _REFUSED.search(line):
            yield Logged(int(found[1]), int(found[2], 16), None, int(found[3]))
