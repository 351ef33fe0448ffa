# SPDX-License-Identifier: GPL-2.0-only
"""Files of a run that anybody may have written: of a bounded size, and as their schema has it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from harness.errors import InputError
from harness.report.record import problem

_HINT = "give a run's folder, its run.json or a bundle"
MOST_JSON = 64 << 20  # bytes of a run.json


def run_file(path: Path, where: str) -> Mapping[str, Any]:
    """A run.json; where: what to call the run in an error."""
    return parsed(bounded(path, MOST_JSON), where)


def parsed(data: bytes, where: str) -> Mapping[str, Any]:
    """A run.json as its schema has it."""
    found = from_json(data, f"{where}: run.json")
    wrong = problem(found)
    if wrong:
        raise InputError(
            f"{where}: its run.json is not as its schema has it: {wrong[:300]}",
            hint="it is damaged, or a newer pinpage wrote it: update pinpage",
        )
    run: Mapping[str, Any] = found
    return run


def bounded(path: Path, most: int) -> bytes:
    """A plain file of no more than so many bytes, whoever put it there; no link is followed."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(number, "rb") as file:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise InputError(f"{path} is no plain file")
            data = file.read(most + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from error
    if len(data) > most:
        raise InputError(f"{path} has more than {most:,} bytes, as no such file has")
    return data


def from_json(data: bytes, where: str) -> Any:
    """The value of a JSON text that anybody may have written; InputError names what is wrong."""
    try:
        return json.loads(data, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{where} is no JSON: {said}", hint="is it damaged, or cut off?") from None


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON's")
