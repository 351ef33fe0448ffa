# SPDX-License-Identifier: GPL-2.0-only
"""``parse``: the reports in any console log."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase, TextIOWrapper
from typing import Any, cast

import click

from harness import pipeline, report
from harness.cli.options import JSON_OPTION, out
from harness.errors import InputError
from harness.model import EXIT_CODES, Outcome
from harness.parse import splat

_UNPACKERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\0": lzma.open,
    b"BZh": bz2.open,
}
_BANNER = re.compile(r"Linux version \S{1,64} \(.{1,300}")
_BANNERS = 16  # that are looked at: a log may be of many boots
_BINARY = {b"\x28\xb5\x2f\xfd": "zstd data", b"\x7fELF": "a program", b"PK\3\4": "a zip archive"}


@contextmanager
def _log_lines(log: str) -> Iterator[TextIOWrapper]:
    """The lines of a log, also of a compressed one; InputError for what is no text."""
    with click.open_file(log, "rb") as opened:
        file = BufferedReader(cast(RawIOBase, opened))
        head = file.peek(8)[:8]
        for magic, what in _BINARY.items():
            if head.startswith(magic):
                raise InputError(f"{log} is {what}, not a log", hint="unpack it first")
        unpack = next((to for magic, to in _UNPACKERS.items() if head.startswith(magic)), None)
        data = file if unpack is None else unpack(file)
        yield TextIOWrapper(data, encoding="utf-8", errors="replace")


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

    A LOG may be compressed by gzip, xz or bzip2.

    Prints the title of each on a line, with --build also the file and line of each function that
    it names. Ends with 3 (CRASH) if there is one, with 0 if none.

    \b
    Examples:
      dmesg | pinpage parse - --json
      pinpage parse console.log --build 3f0c12ab
    """
    read, banners = 0, set[str]()

    def counted(lines: Iterable[str]) -> Iterator[str]:
        nonlocal read
        for read, line in enumerate(lines, 1):  # noqa: B007 - the count is what is wanted
            if "Linux version " in line and len(banners) < _BANNERS:
                banners.update(found[0] for found in _BANNER.finditer(line))
            yield line

    try:
        with _log_lines(log) as lines:
            splats = list(splat.find(counted(lines)))
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        why = (isinstance(error, OSError) and error.strerror) or error
        raise InputError(f"{log} cannot be read: {why}") from error
    if not read:
        raise InputError(f"{log} is empty", hint="an empty log says nothing about a kernel")
    if build is not None:
        splats = pipeline.explained(splats, build, sorted(banners))
    if as_json:
        shape = splat.to_json(splats)
        if build is not None:
            rows = zip(cast(list[dict[str, Any]], shape["splats"]), splats, strict=True)
            shape = {"splats": [{**row, **report.symbols(each)} for row, each in rows]}
        out(shape)
    else:
        for each in splats:
            click.echo(each.title)
            for line in filter(None, [report.frames.blame(each), *report.frames.lines(each)]):
                click.echo(f"  {line}")
    if not splats:
        click.echo(f"no splats in {read} lines", err=True)
    else:
        sys.exit(EXIT_CODES[Outcome.CRASH])
