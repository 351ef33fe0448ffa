# SPDX-License-Identifier: GPL-2.0-only
"""File and line for what a report of a build of ours names, and the patch to blame for it.

A report names functions and offsets, so it does not matter where the kernel was loaded. The symbol
tables of the build's vmlinux and modules say where a function begins, addr2line which lines an
address comes from, inlined calls included. A function whose size is not what the report says, or of
which there are several that cannot be told apart, has no line: none is better than a wrong one.

What a report says is never a path, a word of a command or an expression: names are looked up in the
build's own tables, and offsets become numbers.
"""

from __future__ import annotations

import os
import posixpath
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import proc
from harness.build.origin import Origins
from harness.errors import ToolError
from harness.model import BuildArtifacts, Frame, Place, Splat
from harness.parse.splat_frames import frames, trap

_SECONDS = 120
_PADDING = 4096  # that may follow the last function of a section, as the kernel counts it
# Symbols that the kernel's own table leaves out (scripts/kallsyms.c, is_ignored_symbol()).
_IGNORED = re.compile(r"\$|\.L|L0\x01|__crc_|__kstrtab|__pi_\.L")
_SECTION = re.compile(r"\s*\[ *(\d+)\] (\S+) +\w+ +[0-9a-f]+ [0-9a-f]+ [0-9a-f]+ [0-9a-f]+ +(\w*)")
_SYMBOL = re.compile(
    r"\s*\d+: ([0-9a-f]+) +(\d+|0x[0-9a-f]+) (FUNC|NOTYPE|OBJECT) +\w+ +\w+ +"
    r"(?:\[[^\]]*\] +)?(\d+) (\S+)"
)
_AT = re.compile(r"0x[0-9a-f]+$")
_LINE = re.compile(r"(?P<file>.+):(?P<line>\d+)(?: \(discriminator \d+\))?$")
# Where a build's sources are, as the compiler was told (toolchain.py).
_ROOTS = (
    ("/pinpage/src/.obj/", ""),
    ("/pinpage/src/", ""),
    ("/pinpage/modules/", "guest-modules/"),
)


def explain(splats: Sequence[Splat], build: BuildArtifacts, origins: Origins) -> list[Splat]:
    """The splats of a build's kernel with frames, their lines, and whom they accuse.

    ToolError or MissingTool where addr2line or readelf fail on the build.
    """
    named = [list(frames(splat.report)) for splat in splats]
    lines = _lines([frame for each in named for frame in each], build)
    done = []
    for splat, each in zip(splats, named, strict=True):
        known = _trapped(splat, each, lines)
        own = tuple(
            replace(frame, places=tuple(origins.place(p) for p in known.get(_key(frame), ())))
            for frame in each
        )
        done.append(replace(splat, frames=own, culprit=origins.culprit(own)))
    return done


def _trapped(
    splat: Splat, found: Sequence[Frame], lines: Mapping[_Key, list[Place]]
) -> Mapping[_Key, list[Place]]:
    """The lines, with that of a BUG or WARN as the kernel has it in its table.

    gcc has no row of its own for one trap in thirteen (1641 of 6.12's mm, kernel and lib compared),
    which is then on the line of what stands before it.
    """
    said, first = trap(splat.report), next((frame for frame in found if frame.exact), None)
    if said is None or first is None:
        return lines
    own = dict(lines)
    for frame in found:
        same = _key(frame)[:3] == _key(first)[:3]
        places = lines.get(_key(frame), [])
        if same and places and said not in [(each.file, each.line) for each in places]:
            own[_key(frame)] = [replace(places[0], file=said[0], line=said[1]), *places[1:]]
    return own


_Key = tuple[str, str, int, int, bool, int | None]


def _key(frame: Frame) -> _Key:
    place = (frame.module, frame.function, frame.offset, frame.size)
    return (*place, frame.exact, frame.address)


def _lines(found: Iterable[Frame], build: BuildArtifacts) -> dict[_Key, list[Place]]:
    """The lines of all frames, each file of the build asked once."""
    wanted: dict[str, dict[_Key, Frame]] = defaultdict(dict)
    for frame in found:
        wanted[frame.module][_key(frame)] = frame
    lines: dict[_Key, list[Place]] = {}
    for module, keyed in wanted.items():
        path = _file(module, build)
        if path is None:
            continue
        table = _Table.read(path, build, apart=bool(module))
        at = {key: spot for key, each in keyed.items() if (spot := table.find(each)) is not None}
        places = _places(path, build, at.values(), apart=bool(module))
        lines |= {key: places[spot] for key, spot in at.items()}
    return lines


def _file(module: str, build: BuildArtifacts) -> Path | None:
    """The file of the build that has a module's symbols, None if it has no such module."""
    if not module:
        return build.vmlinux
    for name, path in build.modules.items():
        own = build.folder / "symbols" / path.name
        if name.replace("-", "_") == module and own.is_file():
            return own
    return None


# ---------------------------------------------------------------------------------------------
# Symbol tables
# ---------------------------------------------------------------------------------------------

_Spot = tuple[str, int]  # section, "" for all of a linked program; address


@dataclass(frozen=True)
class _Function:
    section: str
    start: int
    size: int  # as the linker has it
    room: int  # up to the next symbol, which is the size that the kernel prints


class _Table:
    """The functions of a program or a module, by name."""

    def __init__(self, functions: Mapping[str, Sequence[_Function]]) -> None:
        self._functions = functions

    @staticmethod
    def read(path: Path, build: BuildArtifacts, *, apart: bool) -> _Table:
        """apart: a module, whose sections have no addresses yet."""
        done = proc.run(
            [tool("readelf", build), "-S", "-s", "-W", os.fspath(path)], timeout=_SECONDS
        )
        return _Table(functions(done.stdout.decode(errors="replace"), apart=apart))

    def find(self, frame: Frame) -> _Spot | None:
        """Where a frame's instruction is: of a call the last byte of it, not where it returns."""
        if frame.offset > frame.size or (frame.offset == 0 and not frame.exact):
            return None
        fits = [
            each
            for each in self._functions.get(frame.function, ())
            if each.size <= frame.size <= max(each.room, each.size)
        ]
        if len(fits) > 1:
            fits = [each for each in fits if each.room == frame.size] or fits
        if len(fits) > 1 and frame.address is not None:
            fits = [each for each in fits if each.start + frame.offset == frame.address]
        if len(fits) != 1:
            return None
        return fits[0].section, fits[0].start + frame.offset - (0 if frame.exact else 1)


def functions(text: str, *, apart: bool) -> dict[str, list[_Function]]:
    """Functions by name, from what ``readelf -S -s -W`` prints."""
    sections: dict[str, str] = {}
    symbols: dict[str, list[tuple[int, int, str, str]]] = defaultdict(list)
    for line in text.splitlines():
        if (section := _SECTION.match(line)) is not None:
            if "X" in section[3]:
                sections[section[1]] = section[2]
        elif (symbol := _SYMBOL.match(line)) is not None:
            value, size, kind, index, name = symbol.groups()
            if index in sections and not _IGNORED.match(name):
                symbols[index].append((int(value, 16), int(size, 0), kind, name))
    found: dict[str, list[_Function]] = defaultdict(list)
    for index, own in symbols.items():
        starts = sorted({value for value, _, _, _ in own})
        for value, size, kind, name in own:
            if kind != "FUNC" or not size:
                continue
            at = bisect_right(starts, value)
            room = starts[at] - value if at < len(starts) else size + _PADDING
            found[name].append(_Function(sections[index] if apart else "", value, size, room))
    return found


# ---------------------------------------------------------------------------------------------
# Lines
# ---------------------------------------------------------------------------------------------


def tool(name: str, build: BuildArtifacts) -> str:
    """binutils' program for what this build made."""
    own = f"{build.toolchain.make.get('CROSS_COMPILE', '')}{name}"
    return proc.find(own, f"binutils for {build.arch}" if own != name else "binutils")


def _places(
    path: Path, build: BuildArtifacts, spots: Iterable[_Spot], *, apart: bool
) -> dict[_Spot, list[Place]]:
    by_section: dict[str, list[int]] = defaultdict(list)
    for section, address in dict.fromkeys(spots):
        by_section[section].append(address)
    found: dict[_Spot, list[Place]] = {}
    for section, addresses in by_section.items():
        words = [tool("addr2line", build), "-a", "-f", "-i", "-e", os.fspath(path)]
        if apart:
            words += ["-j", section]
        asked = "".join(f"{address:#x}\n" for address in addresses).encode()
        done = proc.run(words, stdin=asked, timeout=_SECONDS)
        answers = answered(done.stdout.decode(errors="replace"))
        if len(answers) != len(addresses):
            raise ToolError(
                f"addr2line gave {len(answers)} answers to {len(addresses)} addresses of {path}",
                command=words,
            )
        for address, places in zip(addresses, answers, strict=True):
            found[section, address] = places
    return found


def answered(text: str) -> list[list[Place]]:
    """The places of each address, from what ``addr2line -a -f -i`` prints.

    A chain of which one line is not known is none: what is missing may be the one to blame.
    """
    chains: list[list[Place | None]] = []
    lines = iter(text.splitlines())
    for line in lines:
        if _AT.match(line):
            chains.append([])
        elif chains:
            chains[-1].append(_place(line, next(lines, "")))
    return [
        [] if None in chain else [place for place in chain if place is not None] for chain in chains
    ]


def _place(function: str, where: str) -> Place | None:
    match = _LINE.match(where)
    if match is None or match["line"] == "0":
        return None
    path = posixpath.normpath(match["file"])
    for root, own in _ROOTS:
        if path.startswith(root):
            return Place(own + path.removeprefix(root), int(match["line"]), function)
    return None
