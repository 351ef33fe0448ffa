# SPDX-License-Identifier: GPL-2.0-only
"""What the guest's program userpages prints (guest-modules/userpages/userpages_uapi.h). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.errors import EvidenceError

_HELD = re.compile(r"^held (\d{1,9}) (\d{1,20}) (\d{1,12})$", re.MULTILINE)
_LOOKED = re.compile(r"^(whole|bad) (\d{1,12}) (\d{1,12})$", re.MULTILINE)
_ADVISED = re.compile(r"^advised (-?\d{1,4}) 0$", re.MULTILINE)
_RESULT = re.compile(r"result (\d{1,4}) (\d{1,12})")
_COUNT = re.compile(r"(node|errno) (\d{1,4}) (\d{1,12})")
_PIECE = re.compile(rb"@(\d{1,19}) (-?\d{1,10})\n")
_NODE = re.compile(r" N(\d{1,4})=(\d{1,12})\b")


@dataclass(frozen=True)
class Held:
    """A process that holds pages: pid, first address (hexadecimal in /proc), number of pages."""

    pid: int
    address: int
    pages: int


@dataclass(frozen=True)
class Moved:
    """What a system call said. errno: its own. left: its result. nodes, errnos: where the pages
    are now, and why those that stayed did; pages by node and by errno."""

    errno: int
    left: int
    nodes: Mapping[int, int]
    errnos: Mapping[int, int]


def held(text: str) -> Held | None:
    """The first line of ``hold``, None where it is not there yet."""
    found = _HELD.search(text)
    return None if found is None else Held(*map(int, found.groups()))


def looked(text: str) -> list[tuple[int, int]]:
    """(pages whose contents differ, pages) for each look at the contents."""
    return [
        (int(found[2]) if found[1] == "bad" else 0, int(found[3]))
        for found in _LOOKED.finditer(text)
    ]


def advised(text: str) -> list[int]:
    """The errno of each request for huge pages, 0 if it was taken."""
    return [int(found[1]) for found in _ADVISED.finditer(text)]


def moved(text: str) -> Moved:
    result: tuple[int, int] | None = None
    counts: dict[str, dict[int, int]] = {"node": {}, "errno": {}}
    for number, line in enumerate(text.splitlines(), 1):
        if (found := _RESULT.fullmatch(line)) is not None and result is None:
            result = int(found[1]), int(found[2])
        elif (found := _COUNT.fullmatch(line)) is not None:
            counts[found[1]][int(found[2])] = int(found[3])
        else:
            raise EvidenceError(f"userpages, line {number}: this is no result: {line[:80]!r}")
    if result is None:
        raise EvidenceError("userpages: it gave no result")
    return Moved(*result, counts["node"], counts["errno"])


def pieces(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(offset, errno, what was read there) for each request of ``pread``; errno 0 or positive."""
    at = 0
    while at < len(data):
        found = _PIECE.match(data, at)
        if found is None:
            raise EvidenceError(f"userpages pread: byte {at} begins no piece")
        offset, got = int(found[1]), int(found[2])
        length = max(0, got)
        begin = found.end()
        if data[begin + length : begin + length + 1] != b"\n":
            raise EvidenceError(f"userpages pread: the piece at byte {at} is cut short")
        yield offset, max(0, -got), data[begin : begin + length]
        at = begin + length + 1


def on_nodes(numa_maps: str, address: int) -> Mapping[int, int] | None:
    """Pages on each node of the mapping that holds an address, by /proc/PID/numa_maps.

    Its lines begin with a mapping's first address; a huge page counts as one where
    ``kernelpagesize_kB`` says so (fs/proc/task_mmu.c: show_numa_map). None if there is none.
    """
    best: tuple[int, str] | None = None
    for line in numa_maps.splitlines():
        word = line.split(" ", 1)[0]
        try:
            first = int(word, 16)
        except ValueError:
            raise EvidenceError(f"numa_maps: no address begins this line: {line[:80]!r}") from None
        if first <= address and (best is None or first > best[0]):
            best = first, line
    if best is None:
        return None
    return {int(found[1]): int(found[2]) for found in _NODE.finditer(best[1])}
