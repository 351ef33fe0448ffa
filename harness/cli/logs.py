# SPDX-License-Identifier: GPL-2.0-only
"""``parse``: the reports in any console log."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase, TextIOWrapper
from typing import Any, cast

import click

from harness.cli.options import JSON_OPTION, out
from harness.errors import InputError
from harness.model import EXIT_CODES, Outcome
from harness.parse import splat

_UNPACKERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\0": lzma.open,
    b"BZh": bz2.open,
}
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
@JSON_OPTION
def parse(log: str, as_json: bool) -> None:
    """Find the kernel's reports (splats) in any console LOG; '-' reads standard input.

    A LOG may be compressed by gzip, xz or bzip2.

    Prints the title of each on a line. Ends with 3 (CRASH) if there is one, with 0 if none.

    \b
    Example:
      dmesg | pinpage parse - --json
    """
    read = 0

    def counted(lines: Iterable[str]) -> Iterator[str]:
        nonlocal read
        for read, line in enumerate(lines, 1):  # noqa: B007 - the count is what is wanted
            yield line

    try:
        with _log_lines(log) as lines:
            splats = list(splat.find(counted(lines)))
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        why = (isinstance(error, OSError) and error.strerror) or error
        raise InputError(f"{log} cannot be read: {why}") from error
    if not read:
        raise InputError(f"{log} is empty", hint="an empty log says nothing about a kernel")
    if as_json:
        out(splat.to_json(splats))
    else:
        for each in splats:
            click.echo(each.title)
    if not splats:
        click.echo(f"no splats in {read} lines", err=True)
    else:
        sys.exit(EXIT_CODES[Outcome.CRASH])
