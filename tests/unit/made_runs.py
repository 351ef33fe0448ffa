# SPDX-License-Identifier: GPL-2.0-only
"""Runs as they are kept, for tests to spoil one thing of: run.json, and whole folders."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache as cache_of
from pathlib import Path
from typing import Any

from test_report import SPEC, record

from harness import cache, report
from harness.build import series
from harness.model import Inputs, MadeOf, Outcome, Patch, RunRecord, Splat, Verdict
from harness.report.record import as_json

PATCHES = (
    Patch("0001-one.patch", "mm: one", b"--- a/mm/x.c\n+++ b/mm/x.c\n@@ -1 +1 @@\n-a\n+b\xff\n"),
    Patch("0002/two.patch", "mm: two", b"--- a/mm/x.c\n+++ b/mm/x.c\n@@ -1 +1 @@\n-b\n+c\n"),
)
CONFIG = b"CONFIG_COMPACTION=y\n"
TREE = {"tree": f"sha256:{'12' * 32}"}
KEY = "0123456789abcdef0123456789abcdef"


def inputs(*patches: Patch, config: bytes | None = CONFIG) -> Inputs:
    whole = series.given("fixed", patches or PATCHES, "", 0)
    return Inputs((MadeOf("build", whole, config),), "folder /tree", "6.12.1", True, "/where")


@cache_of  # as two arms are judged for it
def _base() -> RunRecord:
    """With little evidence, which is quick to write."""
    whole = record()
    return replace(whole, events=whole.events[:9], ledger=whole.ledger[:9])


def ran(outcome: Outcome = Outcome.PASS, **extra: Any) -> RunRecord:
    """A run that came to this; what is not a field of the record is one of its spec."""
    names = RunRecord.__dataclass_fields__
    spec = replace(SPEC, **{name: extra.pop(name) for name in [*extra] if name not in names})
    verdict = None
    if outcome is not Outcome.PASS:
        title = "WARNING: CPU at mm/x.c:1 f"
        splats = (Splat("WARN", title, "f", 1, 2, "..."),) if outcome is Outcome.CRASH else ()
        verdict = Verdict(outcome, f"it was {outcome.value}", "look", splats=splats)
    values: dict[str, Any] = {
        "inputs": inputs(),
        "guests": {"control": "booted", "treated": "booted"},
        "digests": {**TREE, "series": "34", "build": KEY, "image": "sha256:0"},
    }
    if verdict is not None:
        values |= {"verdict": verdict, "exit_code": verdict.exit_code}
    return replace(_base(), spec=spec, **{**values, **extra})


def run(outcome: Outcome = Outcome.PASS, **extra: Any) -> dict[str, Any]:
    """The same as run.json has it."""
    found: dict[str, Any] = json.loads(json.dumps(as_json(ran(outcome, **extra))))
    return found


def folder(top: Path, outcome: Outcome = Outcome.PASS, **extra: Any) -> Path:
    """The same as a folder, below top and named by its id."""
    made = ran(outcome, **extra)
    own = top / made.id
    own.mkdir(parents=True)
    report.write(made, own)
    return own


def build(cache_folder: Path, key: str = KEY) -> Path:
    """A build in a cache, of files that boot nothing."""
    own = cache_folder / "builds" / key
    contents = {
        "image": b"kernel",
        "config": CONFIG,
        "vmlinux": b"\x7fELF",
        "System.map": b"0 T f\n",
        "build.log": b"CC\n",
        "origins.json": b"{}",
        "modules/pinner.ko": b"pinner",
        "symbols/pinner.ko": b"pinner with lines",
    }
    for name, data in contents.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_bytes(data)
    facts = {
        "format": 2,
        "key": key,
        "release": "6.12.1",
        "arch": "x86_64",
        "toolchain": {"name": "gcc", "version": "gcc 12", "make": {}, "ccache": False},
        "modules": {"pinner": "modules/pinner.ko"},
        "seconds": 1.0,
        "cpu_seconds": 1.0,
        "sha256": {name: cache.sha256(own / name) for name in contents},
    }
    cache.write_json(own / "build.json", facts)
    return own


def initramfs(cache_folder: Path, data: bytes = b"cpio") -> str:
    """An image in a cache; its digest."""
    folder = cache_folder / "images"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "x86_64-0.cpio.gz"
    path.write_bytes(data)
    path.with_suffix(".sha256").write_text(cache.sha256(path))
    return f"sha256:{cache.sha256(path)}"
