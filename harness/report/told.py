# SPDX-License-Identifier: GPL-2.0-only
"""What a run's folder tells of its pages: what the other files of this room wrote, as values.

A folder may come from anybody: files are plain ones below it, of a bounded size, and what is in
them is what their form promises, or an InputError says where it is not.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from harness.errors import EvidenceError, InputError
from harness.explain import evidence
from harness.explain.account import Account, accounts
from harness.explain.evidence import Counts
from harness.model import ArmResult, Attempt, Event, Holders, LedgerRow, PageState, Splat
from harness.report.reread import bounded, run_file

_MOST = 256 << 20  # bytes of a file
_LINE = 64 << 20  # of a line of events.jsonl
_ROWS = 2_000_000
_ARM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # names a folder, and nothing outside
_T = TypeVar("_T")


@dataclass(frozen=True)
class Told:
    """A run as its folder has it. content: run.json. accounts: see explain/account.py. rows: of
    the ledger."""

    folder: Path
    content: Mapping[str, Any]
    accounts: tuple[Account, ...]
    counts: Mapping[str, Counts]  # arm → the kernel's own figures
    rows: tuple[LedgerRow, ...] = ()


def read(path: Path) -> Told:
    """path: the folder, or its run.json. InputError where it is none, or is not as it should be."""
    folder = path if path.is_dir() else path.parent
    content = _content(folder)
    arms = tuple(_arm(name, arm) for name, arm in content["arms"].items())
    splats = [_known(Splat, each) for each in content["splats"]]
    rows = tuple(_ledger(folder / "ledger.csv"))
    events = tuple(_events(folder / "events.jsonl"))
    try:
        facts = {
            arm.name: evidence.facts(arm.name, events, _console(folder, arm.name), splats)
            for arm in arms
        }
        counts = {arm.name: evidence.counts(arm.name, events) for arm in arms}
    except EvidenceError as error:
        raise InputError(f"{folder / 'events.jsonl'}: {error.message}", hint=error.hint) from error
    return Told(folder, content, accounts(arms, rows, facts, content["reason"]), counts, rows)


def is_run(path: Path) -> bool:
    return path.name == "run.json" or (path / "run.json").exists()


def _content(folder: Path) -> Mapping[str, Any]:
    content = run_file(folder / "run.json", str(folder))
    wrong = next((name for name in content["arms"] if not _ARM.fullmatch(name)), None)
    if wrong is not None:
        raise InputError(f"{folder}: {wrong[:80]!r} is no name of an arm in run.json")
    return content


def _text(path: Path) -> str:
    return bounded(path, _MOST).decode(errors="replace")


def _console(folder: Path, arm: str) -> str:
    """An arm's console, "" where the run did not come so far."""
    path = folder / arm / "console.log"
    return _text(path) if path.is_file() and not (folder / arm).is_symlink() else ""


def _known(kind: Callable[..., _T], data: Mapping[str, Any], **more: Any) -> _T:
    """A value of what the form and the type have in common; lists become tuples."""
    names = {each.name for each in fields(kind)} - {"frames", "culprit"}  # type: ignore[arg-type]
    given = {name: _tuple(value) for name, value in data.items() if name in names}
    return kind(**{**given, **more})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _arm(name: str, data: Mapping[str, Any]) -> ArmResult:
    attempts = tuple(_known(Attempt, each) for each in data.get("attempts", ()))
    held_by = tuple(_known(Holders, each) for each in data.get("held_by", ()))
    return _known(ArmResult, data, name=name, attempts=attempts, held_by=held_by)


def _ledger(path: Path) -> Iterator[LedgerRow]:
    reader = csv.DictReader(_text(path).splitlines())
    try:
        for number, row in enumerate(reader, 2):
            if number > _ROWS:
                raise InputError(f"{path} has more than {_ROWS} rows, as no run's has")
            yield _row(row)
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        number = reader.line_num + isinstance(error, csv.Error)  # which the reader did not end
        raise InputError(f"{path}:{number}: this is no row of a ledger: {error}") from error


def _row(row: Mapping[str, str]) -> LedgerRow:
    def maybe(name: str) -> int | None:
        return int(row[name]) if row[name] else None

    return LedgerRow(
        arm=row["arm"],
        handle=int(row["handle"]),
        pfn_before=int(row["pfn_before"]),
        pfn_after=int(row["pfn_after"]),
        moves=int(row["moves"]),
        state=PageState(row["state"]),
        errno=int(row["errno"]),
        reason=str(row["reason"] or ""),
        holder=str(row["holder"] or ""),
        flags=str(row["flags"] or ""),
        refcount=maybe("refcount"),
        mapcount=maybe("mapcount"),
        allocated=str(row["allocated"] or ""),
    )


def _events(path: Path) -> Iterator[Event]:
    """The events that are looked at."""
    for number, line in enumerate(_text(path).splitlines(), 1):
        try:
            if len(line) > _LINE:
                raise ValueError("the line is too long")
            data = json.loads(line)
            arm, source, name = (str(data[key]) for key in ("arm", "source", "name"))
            if not isinstance(data["data"], dict):
                raise ValueError("its data is no mapping")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{path}:{number}: this is no event: {error}") from error
        if evidence.wanted(source, name):
            yield Event(arm, source, name, data["data"])
