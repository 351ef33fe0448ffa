# SPDX-License-Identifier: GPL-2.0-only
"""Finds the first error in make's output and says whose it is. Pure: text in, values out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

STEP = re.compile(r"  [A-Z][A-Z0-9_-]*(?: \[M\])? +(\S+)$")

PACKAGES = {
    "bc": "bc",
    "bison": "bison",
    "ccache": "ccache",
    "cpio": "cpio",
    "depmod": "kmod",
    "flex": "flex",
    "gcc": "gcc",
    "gzip": "gzip",
    "ld": "binutils",
    "lz4": "lz4",
    "lzop": "lzop",
    "m4": "m4",
    "openssl": "openssl",
    "pahole": "pahole",
    "perl": "perl",
    "python3": "python3",
    "xz": "xz-utils",
    "zstd": "zstd",
}
HEADERS = {
    "gelf.h": "libelf-dev",
    "libelf.h": "libelf-dev",
    "elf.h": "libc6-dev",
    "stdio.h": "libc6-dev",
    "stdlib.h": "libc6-dev",
    "sys/types.h": "libc6-dev",
    "openssl/bio.h": "libssl-dev",
    "openssl/evp.h": "libssl-dev",
    "openssl/opensslv.h": "libssl-dev",
    "gmp.h": "libgmp-dev",
    "mpc.h": "libmpc-dev",
    "dwarf.h": "libdw-dev",
}


class Kind(StrEnum):
    COMPILE = "compile"  # file and line
    LINK = "link"  # symbol
    MODULE = "module"  # symbol, in a module
    KCONFIG = "kconfig"
    MAKE = "make"
    TOOL = "tool"  # package
    HOST = "host"  # disk full, killed by the kernel


@dataclass(frozen=True)
class Failure:
    """The first error. file is relative to the tree's top where it is in the tree."""

    kind: Kind
    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    symbol: str = ""
    package: str = ""
    context: tuple[str, ...] = ()


_TOOL = re.compile(r"(?:^|: )(?:\d+: )?([\w.+-]+): (?:command )?not found$")
_HOST = re.compile(
    r"(No space left on device|Disk quota exceeded|Cannot allocate memory"
    r"|virtual memory exhausted|Killed signal terminated program)"
)
_HEADER = re.compile(
    r"(?P<file>[^\s:]+):\d+:(?:\d+:)? fatal error: "
    r"'?(?P<header>[\w/.-]+\.h)'?(?:: No such file or directory| file not found)"
)
_INCLUDED = re.compile(r"(?:In file included|\s+) ?from (?P<file>[^\s:]+):")
_MADE = re.compile(r"make(?:\[\d+\])?: \*\*\* \[(?P<makefile>[^\s:]+):\d+: (?P<target>\S+)\] ")
# Programs of the host: where their sources are, the host's own headers among them, and what
# makes those that stand elsewhere.
_PROGRAMS = ("scripts/", "tools/", "/usr/", "<stdin>")
_MAKES_PROGRAMS = ("scripts/Makefile.host", "tools/")
_EXCERPT = re.compile(r"\s*\d* +\|")  # a line of the source, as a compiler shows it
_COMPILE = re.compile(r"(?P<file>[^\s:]+):(?P<line>\d+):(?:(?P<column>\d+):)? "
                      r"(?:fatal |internal compiler )?[eE]rror: (?P<message>.*)$")  # fmt: skip
_KCONFIG = re.compile(
    r"(?P<file>[^\s:]*Kconfig[^\s:]*):(?P<line>\d+):\s*(?:error: )?"
    r"(?P<message>.*(?:error|invalid|unexpected|unknown|recursive|can't open).*)$"
)
_MODPOST = re.compile(
    r"ERROR: (?:modpost: )?\"(?P<symbol>[^\"]+)\" \[(?P<file>[^\]]+)\] undefined!"
)
_MODPOST_OTHER = re.compile(r"(?:ERROR|FATAL): modpost: (?P<message>.*)$")
_UNDEFINED = re.compile(r"undefined (?:reference to|symbol:) [`']?(?P<symbol>[\w.$]+)'?")
_LINKER = re.compile(
    r"(?:\S*ld(?:\.lld|\.bfd)?): (?:error: )?"
    r"(?P<message>(?!warning:|.*: warning:|.*in function )"
    r".*(?:error|multiple definition|cannot|overflow|relocation|section .* will not fit).*)$"
)
_OBJTOOL = re.compile(r"(?P<file>\S+): error: objtool: (?P<message>.*)$")
_MAKE = re.compile(r"make(?:\[\d+\])?: \*\*\* (?P<message>(?!\[|.*Waiting for unfinished).*)$")
_MAKEFILE = re.compile(r"(?P<file>[^\s:]+):(?P<line>\d+): \*\*\* (?P<message>(?!\[).*)$")
_KILLED = re.compile(r"make(?:\[\d+\])?: \*\*\* \[(?P<message>.*)\] (?:Killed|Error 137)$")
_RULE = re.compile(r"make(?:\[\d+\])?: \*\*\* \[(?P<message>.*)\]")


def first(lines: Sequence[str], roots: Iterable[str] = ()) -> Failure | None:
    """The first error in the lines; roots are path prefixes that stand for the tree's top."""
    prefixes = (*roots, "../")
    for number, line in enumerate(lines):
        if _EXCERPT.match(line):
            continue
        found = _header(lines, number, prefixes) or _one(line, prefixes)
        if found is not None:
            return _with_context(found, lines, number)
    for line in lines:
        if match := _RULE.match(line):
            return Failure(Kind.MAKE, match["message"])
    return None


def _one(line: str, prefixes: Sequence[str]) -> Failure | None:
    return _host(line) or _source(line, prefixes) or _linking(line, prefixes)


def _host(line: str) -> Failure | None:
    """Errors that are this machine's, not the tree's."""
    if (match := _TOOL.search(line)) and match[1] in PACKAGES:
        return Failure(Kind.TOOL, f"{match[1]} is not installed", package=PACKAGES[match[1]])
    if match := _HOST.search(line):
        return Failure(Kind.HOST, line.strip())
    if match := _KILLED.match(line):
        return Failure(Kind.HOST, f"what made {match['message']} was killed")
    return None


def _header(lines: Sequence[str], number: int, prefixes: Sequence[str]) -> Failure | None:
    """A header that a program of the host lacks; in the kernel's own code none of them belongs."""
    match = _HEADER.match(lines[number])
    if match is None or match["header"] not in HEADERS:
        return None
    above = map(_INCLUDED.match, lines[_start(lines, number) : number])
    files = [plain(each["file"], prefixes) for each in (match, *above) if each]
    programs = {
        Path(made["target"]).stem
        for made in map(_MADE.match, lines[number:])
        if made and plain(made["makefile"], prefixes).startswith(_MAKES_PROGRAMS)
    }
    if not any(file.startswith(_PROGRAMS) or Path(file).stem in programs for file in files):
        return None
    message = f"the header {match['header']} is not installed"
    return Failure(Kind.TOOL, message, package=HEADERS[match["header"]])


def _source(line: str, prefixes: Sequence[str]) -> Failure | None:
    """Errors that have a file and a line."""
    for pattern, kind in ((_COMPILE, Kind.COMPILE), (_KCONFIG, Kind.KCONFIG)):
        if match := pattern.match(line):
            file = plain(match["file"], prefixes)
            is_kconfig = "Kconfig" in file.rsplit("/", 1)[-1]
            column = match.groupdict().get("column")
            return Failure(
                Kind.KCONFIG if is_kconfig else kind,
                match["message"].strip(),
                file,
                int(match["line"]),
                int(column) if column else 0,
            )
    if match := _MAKEFILE.match(line):
        file = plain(match["file"], prefixes)
        return Failure(Kind.MAKE, match["message"], file, int(match["line"]))
    return None


def _linking(line: str, prefixes: Sequence[str]) -> Failure | None:
    if match := _MODPOST.search(line):
        message = f"{match['symbol']} is not defined, or not exported to modules"
        file = plain(match["file"], prefixes)
        return Failure(Kind.MODULE, message, file, symbol=match["symbol"])
    if match := _UNDEFINED.search(line):
        message = f"undefined reference to {match['symbol']}"
        return Failure(Kind.LINK, message, symbol=match["symbol"])
    if match := _OBJTOOL.match(line):
        return Failure(Kind.LINK, f"objtool: {match['message']}", plain(match["file"], prefixes))
    for pattern, kind in ((_MODPOST_OTHER, Kind.MODULE), (_LINKER, Kind.LINK), (_MAKE, Kind.MAKE)):
        if match := pattern.match(line):
            return Failure(kind, match["message"])
    return None


def _with_context(failure: Failure, lines: Sequence[str], number: int) -> Failure:
    """The failure with its line and those of the compiler's that explain it."""
    start, end = _start(lines, number), number + 1
    while end < len(lines) and end - number < 8 and re.match(r"\s+\d* *\||>>> ", lines[end]):
        end += 1
    return Failure(**{**failure.__dict__, "context": tuple(lines[start:end])})


def _start(lines: Sequence[str], number: int) -> int:
    """Where what a compiler says of an error begins."""
    while number > 0 and re.match(r"In file included|\s+from |.*: [Ii]n function|.*: In member",
                                  lines[number - 1]):  # fmt: skip
        number -= 1
    return number


def plain(path: str, prefixes: Iterable[str]) -> str:
    """A path as make printed it, relative to the tree's top where it is below one of these."""
    for prefix in prefixes:
        if path.startswith(prefix):
            return path.removeprefix(prefix)
    return path
