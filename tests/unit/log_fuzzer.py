# SPDX-License-Identifier: GPL-2.0-only
"""Golden logs spoilt in every way that a console spoils them, and what must hold all the same.

A round is a seed: ``spoilt(seed)`` gives its bytes, ``check(seed)`` raises AssertionError where a
promise of the parser does not hold. ``ci/fuzz`` runs as many rounds as it has time for and names
the seeds that fail; test_splat_fuzz.py runs a few hundred.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from harness.model import Splat
from harness.parse.lines import log_lines
from harness.parse.splat import KINDS, find_numbered, summary
from harness.parse.splat_text import message, messages

GOLDEN = Path(__file__).parent.parent / "golden" / "splat"
NAMES = sorted(path.stem for path in GOLDEN.glob("*.log"))
FIELDS = ("kind", "title", "function", "first_line", "last_line", "fatal")
# so many that the silence closes whatever was open
QUIET = [f"usb 1-1: new high-speed USB device number {n} using xhci_hcd" for n in range(760)]
MOST = 2500  # lines of a spoilt log

Lines = list[str]
JUNK = (
    "\0",
    "\0" * 40,
    "\x1b[31m",
    "\x1b[",
    "\r",
    "\ufffd",
    "\x80",
    "\x7f",
    "é",
    "\u2028",
    "[",
    "]",
)
FRONTS = (
    "",
    "<4>",
    "[    1.000000] ",
    "[    1.000000][   T71] ",
    "[    2.000000][    C1] ",
    "Nov 23 07:57:20 host kernel: ",
    "[Sun Nov 23 07:57:20 2025] ",
    "2025-11-23T07:57:20.123456Z ",
    "~ # ",
    "4,1234,5678901,-;",
)


@cache
def golden(name: str) -> tuple[str, ...]:
    text = (GOLDEN / f"{name}.log").read_bytes().decode(errors="replace")
    return tuple(text.split("\n")[:-1])


@cache
def expectation(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return found


def some(rng: random.Random) -> Lines:
    return list(golden(rng.choice(NAMES)))


def _part(rng: random.Random, lines: Lines) -> tuple[int, int]:
    """Where a random part begins and ends."""
    first = rng.randrange(len(lines) + 1)
    return first, min(len(lines), first + rng.choice((1, 3, 10, 60)))


def splice(rng: random.Random, lines: Lines) -> Lines:
    other = some(rng)
    return lines[: rng.randrange(len(lines) + 1)] + other[rng.randrange(len(other) + 1) :]


def cut(rng: random.Random, lines: Lines) -> Lines:
    first, last = _part(rng, lines)
    return lines[:first] + lines[last:]


def cut_lines(rng: random.Random, lines: Lines) -> Lines:
    return [line[: rng.randrange(80)] if rng.random() < 0.1 else line for line in lines]


def interleave(rng: random.Random, lines: Lines) -> Lines:
    queues, mixed = [lines[::-1], some(rng)[::-1]], []
    marks = rng.choice((("", ""), ("[   T71] ", "[    C1] ")))
    while any(queues):
        at = rng.choice([n for n, queue in enumerate(queues) if queue])
        mixed += [
            marks[at] + queues[at].pop() for _ in range(min(len(queues[at]), rng.choice((1, 4))))
        ]
    return mixed


def duplicate(rng: random.Random, lines: Lines) -> Lines:
    first, last = _part(rng, lines)
    return lines[:last] + lines[first:last] * rng.choice((1, 2, 20)) + lines[last:]


def shuffle(rng: random.Random, lines: Lines) -> Lines:
    first, last = _part(rng, lines)
    part = lines[first:last]
    rng.shuffle(part)
    return lines[:first] + part + lines[last:]


def garble(rng: random.Random, lines: Lines) -> Lines:
    def spoil(line: str) -> str:
        at = rng.randrange(len(line) + 1)
        return line[:at] + rng.choice(JUNK) + line[at + rng.randrange(3) :]

    return [spoil(line) if rng.random() < 0.2 else line for line in lines]


def flip(rng: random.Random, lines: Lines) -> Lines:
    raw = bytearray("\n".join(lines).encode())
    for _ in range(rng.choice((1, 20, 200))):
        if raw:
            raw[rng.randrange(len(raw))] = rng.randrange(256)
    return raw.decode(errors="replace").split("\n")


def join(rng: random.Random, lines: Lines) -> Lines:
    """Line ends lost."""
    often, joined = rng.choice((0.05, 0.5, 0.98)), [""]
    for line in lines:
        if rng.random() < often:
            joined[-1] += line
        else:
            joined.append(line)
    return joined


def prefix(rng: random.Random, lines: Lines) -> Lines:
    fronts = rng.choice((FRONTS, (rng.choice(FRONTS),)))
    return [rng.choice(fronts) + line for line in lines]


def returns(rng: random.Random, lines: Lines) -> Lines:
    end = rng.choice(("\r", "\r\r"))
    return [line + end for line in lines]


def words(rng: random.Random, lines: Lines) -> Lines:
    """Lines made of the words of others."""
    pool = [word for line in rng.choices(lines, k=20) for word in line.split(" ")] if lines else []
    made = [" ".join(rng.choices(pool, k=rng.randrange(1, 12))) for _ in range(20)] if pool else []
    at = rng.randrange(len(lines) + 1)
    return lines[:at] + made + lines[at:]


SPOILERS: tuple[Callable[[random.Random, Lines], Lines], ...] = (
    *(splice, cut, cut_lines, interleave, duplicate, shuffle, garble, flip, join, prefix),
    *(returns, words),
)


def spoilt(rng: random.Random) -> Lines:
    lines = some(rng)
    for spoiler in rng.choices(SPOILERS, k=rng.randrange(1, 6)):
        lines = spoiler(rng, lines)[:MOST]
    if rng.random() < 0.5:  # no two lines are equal, so a line that is in two reports shows
        lines = [f"[{n // 40:5d}.{n:06d}] {line}" for n, line in enumerate(lines)]
    return lines


def chunks(rng: random.Random, data: bytes) -> Iterator[bytes]:
    size = rng.choice((1, 7, 100, 4096))
    for at in range(0, len(data), size):
        yield data[at : at + size]


def facts(splats: list[Splat], beyond: int = 0) -> list[dict[str, Any]]:
    return [
        {field: getattr(splat, field) for field in FIELDS}
        for splat in splats
        if splat.first_line > beyond
    ]


def check_sane(splats: list[Splat], lines: list[tuple[int, str]]) -> None:
    """What holds for the splats of any text."""
    last, before = (lines[-1][0] if lines else 0), 1
    whole: dict[int, str] = {}
    for number, piece in lines:
        whole[number] = whole.get(number, "") + piece
    for splat in splats:
        assert splat.kind in KINDS
        assert splat.title and splat.title == splat.title.strip()
        assert "\n" not in summary(splat)
        assert before <= splat.first_line <= splat.last_line <= last
        before = splat.first_line
        span = (whole[number] for number in range(splat.first_line, splat.last_line + 1))
        theirs = (each.rstrip("\r") for line in span for each in messages(line))
        for line in splat.report.split("\n"):  # each message is of the log, in its order
            for mine in messages(line):
                assert any(mine.rstrip("\r")[:8000] in each for each in theirs), mine
    if len({line.rstrip("\r") for line in whole.values()}) == len(whole) and all(
        len(messages(w)) == 1 for w in whole.values()
    ):
        told = [line for splat in splats for line in splat.report.split("\n") if message(line)[0]]
        assert len(told) == len(set(told)), "a line is in two reports"


def check(seed: int) -> int:
    """One round; how many splats there were. AssertionError where a promise is broken."""
    rng = random.Random(seed)
    data = "\n".join(spoilt(rng)).encode(errors="replace") + b"\n"
    lines = list(log_lines([data]))
    splats = list(find_numbered(lines))
    check_sane(splats, lines)
    assert list(find_numbered(log_lines(chunks(rng, data)))) == splats
    name = rng.choice([n for n in NAMES if not expectation(n).get("caller_ids")])
    behind = data + "\n".join([*QUIET, *golden(name), ""]).encode()
    shift = lines[-1][0] + len(QUIET)
    due = [
        {**s, "first_line": s["first_line"] + shift, "last_line": s["last_line"] + shift}
        for s in expectation(name)["splats"]
    ]
    found = list(find_numbered(log_lines([behind])))
    assert facts(found, shift) == due, f"{name} behind it"
    return len(splats)


def main(first: int, seconds: float) -> int:
    """Rounds from a seed on until the time is up; the seeds that failed are named."""
    end, seed, failed, splats = time.monotonic() + seconds, first, 0, 0
    while time.monotonic() < end:
        try:
            splats += check(seed)
        except Exception as error:  # noqa: BLE001 - whatever it is, its seed is wanted
            failed += 1
            said = str(error).partition("\n")[0][:200]
            sys.stdout.write(f"seed {seed}: {type(error).__name__}: {said}\n")
        seed += 1
    said = f"{seed - first} rounds from seed {first}, {splats} splats, {failed} failures"
    sys.stdout.write(f"{said}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2])))
