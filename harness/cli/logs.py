# SPDX-License-Identifier: GPL-2.0-only
"""``parse``: the reports in any console log."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from io import BufferedReader, RawIOBase
from textwrap import indent
from typing import IO, Any, cast

import click

from harness import pipeline, report
from harness.cli.options import JSON_OPTION, out
from harness.errors import InputError
from harness.model import EXIT_CODES, Outcome, Splat
from harness.parse import splat
from harness.parse.lines import log_lines

_CHUNK = 1 << 16  # bytes read at once
# No log packs as well as this: one that does would fill a disk, or keep us for hours.
_FREE = 1 << 30  # bytes that anything may unpack to
_RATIO = 1000  # bytes beyond that for each packed one

_UNPACKERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x5d\0\0": lzma.open,
    b"BZh": bz2.open,
}
_BANNER = re.compile(r"Linux version \S{1,64} \(.{1,300}")
_BANNERS = 16  # that are looked at: a log may be of many boots
_BINARY = {
    b"\x28\xb5\x2f\xfd": "zstd data",
    b"\x04\x22\x4d\x18": "lz4 data",
    b"\x1f\x9d": "data of compress",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"PK\3\4": "a zip archive",
    b"\x7fELF": "a program or a memory dump",
    b"KDUMP ": "a memory dump",
    b"LPKSHHRH": "a systemd journal",
}
_HINTS = {
    "a systemd journal": "journalctl --file=FILE -k -b all | pinpage parse -",
    "a memory dump": "vmcore-dmesg FILE | pinpage parse -",
}


class _Counted(RawIOBase):
    """A file that counts what is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.read_so_far = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data: bytes = cast(BufferedReader, self._file).read1(len(buffer))
        buffer[: len(data)] = data
        self.read_so_far += len(data)
        return len(data)


class _Log:
    """A log's bytes, unpacked; afterwards ``lines`` in it, and ``cut``: why they ended too soon."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self.name = name
        self.lines = 0
        self.cut = ""
        self.banners = set[str]()  # of the kernels that it is of, as they say at boot
        self._source = _Counted(file)
        self._packed = BufferedReader(self._source)
        self._refuse(self._packed.peek(8)[:8])

    def _refuse(self, head: bytes, how: str = "unpack it first") -> None:
        for magic, what in _BINARY.items():
            if head.startswith(magic):
                hint = _HINTS.get(what, how)
                raise InputError(f"{self.name} is {what}, not a log", hint=hint)

    def _unpacked(self) -> IO[bytes]:
        head = self._packed.peek(8)[:8]
        unpack = next((to for magic, to in _UNPACKERS.items() if head.startswith(magic)), None)
        if unpack is None:
            return cast(IO[bytes], self._packed)
        return cast(IO[bytes], unpack(self._packed))

    def chunks(self) -> Iterator[bytes]:
        """Ends early, and says so in ``cut``, where the rest cannot be had."""
        total = 0
        file = self._unpacked()
        packed = file is not self._packed
        try:
            while chunk := cast(Any, file).read1(_CHUNK):
                if not total and packed:
                    self._refuse(chunk[:8], "it is packed twice")
                    if any(chunk.startswith(magic) for magic in _UNPACKERS):
                        raise InputError(f"{self.name} is packed twice", hint="unpack it first")
                total += len(chunk)
                if packed and total > _FREE + _RATIO * self._source.read_so_far:
                    self.cut = f"it unpacks to more than {_RATIO} times its size, as no log does"
                    return
                yield chunk
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            self.cut = str((isinstance(error, OSError) and error.strerror) or error)

    def numbered(self) -> Iterator[tuple[int, str]]:
        for self.lines, line in log_lines(self.chunks()):  # noqa: B020 - the last is the count
            if "Linux version " in line and len(self.banners) < _BANNERS:
                self.banners.update(found[0] for found in _BANNER.finditer(line))
            yield self.lines, line


def _print(splats: Iterable[Splat], as_json: bool, lines: bool = False) -> int:
    """Each as soon as it is found, as a log may be as long as it likes; how many there were.

    lines: with the files and lines that were found to it.
    """
    count = 0
    for count, each in enumerate(splats, 1):
        if as_json:
            more = report.symbols(each) if lines else {}
            shown = indent(json.dumps({**splat.one_to_json(each), **more}, indent=2), "    ")
            click.echo("," if count > 1 else '{\n  "splats": [')
            click.echo(shown, nl=False)
        else:
            click.echo(f"{each.first_line}: {splat.summary(each)}")
            for line in filter(None, [report.frames.blame(each), *report.frames.lines(each)]):
                click.echo(f"  {line}")
    if as_json and count:
        click.echo("\n  ]\n}")
    return count


@click.command()
@click.argument("log", type=click.Path(allow_dash=True))
@click.option(
    "--build",
    "build",
    metavar="FOLDER|KEY",
    help="The build of ours that the log is of: gives file and line, and the patch to blame.",
)
@JSON_OPTION
def parse(log: str, build: str | None, as_json: bool) -> None:
    """Find the kernel's reports (splats) in any console LOG; '-' reads standard input.

    A LOG may be of any kernel and any length, and compressed by gzip, xz or bzip2; lines are
    counted as an editor does.

    Prints for each the line that it begins in, its title and the function that it is about, with
    --build also the file and line of each function that it names. Ends with 3 (CRASH) if there is
    one, with 0 if none.

    \b
    Examples:
      dmesg | pinpage parse - --json
      pinpage parse console.log --build 3f0c12ab
    """
    try:
        opened = click.open_file(log, "rb")
    except OSError as error:
        raise InputError(f"{log} cannot be read: {error.strerror or error}") from error
    with opened as file:
        source = _Log(log, file)
        found: Iterable[Splat] = splat.find_numbered(source.numbered())
        if build is not None:
            splats = list(found)  # what boots it is of is known at its end
            found = splats = pipeline.explained(splats, build, sorted(source.banners))
            named = [frame for each in splats for frame in each.frames]
            if splats and not named:
                none = "no function of its reports has an offset to look up in the build"
                click.echo(f"{log}: {none}: was it decoded before?", err=True)
            elif splats and not any(frame.places for frame in named):
                none = f"none of the {len(named)} functions that its reports name fits the build"
                click.echo(f"{log}: {none}: is it of another?", err=True)
        count = _print(found, as_json, build is not None)
    if source.cut and not count:
        raise InputError(f"{log} cannot be read: {source.cut}")
    if not source.lines:
        raise InputError(f"{log} is empty", hint="an empty log says nothing about a kernel")
    if source.cut:
        click.echo(f"{log} ends too soon, in line {source.lines}: {source.cut}", err=True)
    if not count:
        if as_json:
            out(splat.to_json(()))
        click.echo(f"no splats in {source.lines} lines", err=True)
    else:
        sys.exit(EXIT_CODES[Outcome.CRASH])
