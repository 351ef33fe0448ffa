# SPDX-License-Identifier: GPL-2.0-only
"""What a run leaves behind, and its table on the terminal."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

from rich.console import Console

from harness.errors import InfraError
from harness.model import Event, LedgerRow, RunRecord
from harness.report import comparison, explained, frames, inputs, picture, seeded, told
from harness.report.flake import flake
from harness.report.junit import junit
from harness.report.record import as_json, symbols
from harness.report.reproduce import reproduce
from harness.report.table import fixes, terminal

__all__ = [
    "comparison",
    "explained",
    "fixes",
    "flake",
    "frames",
    "seeded",
    "symbols",
    "terminal",
    "told",
    "write",
]


def write(record: RunRecord, folder: Path) -> None:
    """Write a run's files into its folder, each whole or not at all, run.json last."""
    content = as_json(record)
    try:
        if record.console:
            _put(folder / "console.log", _console(record))
        for arm, text in record.console.items():
            own = folder / arm / "console.log"
            if not own.exists():
                own.parent.mkdir(exist_ok=True)
                _put(own, text)
        for path, data in ({} if record.inputs is None else inputs.files(record.inputs)).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            _put(folder / path, data)
        _put(folder / "events.jsonl", "".join(_line(event) for event in record.events))
        _put(folder / "ledger.csv", _ledger(record.ledger))
        drawn = picture.svg(record)
        if drawn:
            _put(folder / "pages.svg", drawn)
        shown = picture.terminal(record, _COLUMNS)
        if shown is not None:
            _put(folder / "pages.txt", f"{shown.plain}\n")
        _put(folder / "report.txt", _text(record))
        _put(folder / "junit.xml", junit(record))
        _put(folder / "reproduce", reproduce(record, Path.cwd()), mode=0o755)
        _put(folder / "run.json", json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise InfraError(
            f"the run's files cannot be written to {folder}: {error.strerror}",
            hint="is the disk full? --keep DIR names another folder",
        ) from error


_COLUMNS = 100  # of pages.txt and report.txt


def _text(record: RunRecord) -> str:
    """What the terminal showed, for a letter or a file of CI's."""
    shown = io.StringIO()
    console = Console(
        file=shown,
        width=_COLUMNS,
        force_terminal=False,
        color_system=None,
        markup=False,
        emoji=False,
    )
    console.print(terminal(record, _COLUMNS))
    return "".join(f"{line.rstrip()}\n" for line in shown.getvalue().splitlines())


def _put(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _console(record: RunRecord) -> str:
    """All consoles; a line of ours says whose begins."""
    parts = []
    for arm, text in record.console.items():
        end = "" if text.endswith("\n") or not text else "\n"
        parts.append(f"=== console of the {arm} arm ===\n{text}{end}")
    return "".join(parts)


def _line(event: Event) -> str:
    data = {"arm": event.arm, "source": event.source, "name": event.name, "data": dict(event.data)}
    return json.dumps(data, separators=(",", ":")) + "\n"


COLUMNS = (
    "arm",
    "handle",
    "pfn_before",
    "pfn_after",
    "moves",
    "state",
    "errno",
    "reason",
    "holder",
    "flags",
    "refcount",
    "mapcount",
    "allocated",
)


def _ledger(rows: tuple[LedgerRow, ...]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(row, column) for column in COLUMNS] for row in rows)
    return out.getvalue()
