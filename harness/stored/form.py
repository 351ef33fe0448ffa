# SPDX-License-Identifier: GPL-2.0-only
"""The form of a bundle: a tar archive of plain files, packed by xz, whose first member says what
the others are.

    RUN/bundle.json      every other member with its size and sha256; which of them boot
    RUN/run.json         as in the run's folder
    RUN/inputs/…         patches and configurations
    RUN/scenario/…       the YAML of a scenario of one's own, and its modules
    RUN/console.log, …   what else the run left
    RUN/binaries/…       kernels, guest modules and the guest's initramfs, where they were asked for

xz and not gz: of what a run leaves, text that repeats itself, it makes a third of what gz makes
(0.2 MiB of the 3.6 of a compaction); kernel and initramfs are packed already, and neither makes
much of them. Each block of it has a checksum of its own, and any tar opens it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, cast

import jsonschema

from harness.errors import InputError
from harness.report.reread import MOST_JSON, from_json

FORMAT = 1
SUFFIX = ".pinpage.tar.xz"
MAGIC = b"\xfd7zXZ\0"
MANIFEST, RUN = "bundle.json", "run.json"
BINARIES = "binaries"
SCENARIO = "scenario"  # scenario/own/scenario.py puts it there
MOST_BYTES = 2 << 30  # of all members together, unpacked
MOST_FILES = 10_000
MOST_MANIFEST = 4 << 20
MOST_PATCH = 16 << 20
ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}")  # a run's, which is a folder's name
_SCHEMA = Path(__file__).with_name("bundle.schema.json")
PATH = re.compile(json.loads(_SCHEMA.read_text("utf-8"))["$defs"]["path"]["pattern"])


@dataclass(frozen=True)
class File:
    """A member: its size in bytes, and its sha256 in hex."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """bundle.json. binaries: as its schema has it, None where there are none."""

    run: str
    files: Mapping[str, File]
    binaries: Mapping[str, Any] | None


def refused(where: str, why: str, hint: str = "") -> NoReturn:
    raise InputError(
        f"{where} is refused: {why}", hint=hint or "have it bundled again, and handed on whole"
    )


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(_SCHEMA.read_text("utf-8")))


def manifest(data: bytes, where: str) -> Manifest:
    """bundle.json, whose names, sizes and references can be relied on afterwards."""
    found = from_json(data, f"{where}: {MANIFEST}")
    if isinstance(found, dict) and found.get("format", FORMAT) != FORMAT:
        refused(where, f"its form is {found['format']!r:.20}, not {FORMAT}", "update pinpage")
    wrong = next(iter(_validator().iter_errors(found)), None)
    if wrong is not None:
        refused(where, f"{MANIFEST}: {wrong.json_path}: {wrong.message[:200]}")
    files = {name: File(each["bytes"], each["sha256"]) for name, each in found["files"].items()}
    _check(files, where)
    binaries = cast("Mapping[str, Any] | None", found["binaries"])
    for name in () if binaries is None else _named(binaries):
        if name not in files:
            refused(where, f"{MANIFEST} names {name}, which is not in it")
    if not ID.fullmatch(found["run"]):
        refused(where, f"{found['run']!r} is no run's id")
    return Manifest(found["run"], files, binaries)


def _check(files: Mapping[str, File], where: str) -> None:
    total = sum(each.bytes for each in files.values())
    if total > MOST_BYTES:
        refused(where, f"it unpacks to {total >> 20:,} MiB, and {MOST_BYTES >> 20:,} are the most")
    if files[RUN].bytes > MOST_JSON:
        refused(where, f"its {RUN} has {files[RUN].bytes:,} bytes, and {MOST_JSON:,} are the most")
    folders = {
        "/".join(name.split("/")[:end]) for name in files for end in range(1, name.count("/") + 1)
    }
    both = sorted(folders & files.keys() | {MANIFEST} & files.keys())
    if both:
        refused(where, f"{both[0]} stands in it twice")


def _named(binaries: Mapping[str, Any]) -> list[str]:
    """Every file that the binaries are said to be."""
    found = [binaries["image"]]
    for kernel in binaries["kernels"].values():
        found += [kernel["image"], kernel["config"], *kernel["modules"].values()]
        found += [kernel["vmlinux"]] if kernel["vmlinux"] else []
    return found


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
