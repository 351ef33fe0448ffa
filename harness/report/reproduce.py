# SPDX-License-Identifier: GPL-2.0-only
"""``reproduce``: a shell script of one command that does the run again."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from harness.model import RunRecord, RunSpec
from harness.report.text import visible

_KEPT = "scenario"  # in the run's folder: the YAML of a scenario of one's own


def reproduce(record: RunRecord, where: Path) -> str:
    """where: the folder that the run was started in, which relative words refer to."""
    comments = [f"{record.verdict.outcome}: {record.verdict.reason}", f"run {record.id}"]
    comments += [f"{name} {digest}" for name, digest in record.digests.items()]
    if record.toolchain:
        comments.append(" ".join(record.toolchain.values()))
    if record.accelerator is not None:
        comments.append(f"accelerator {record.accelerator.name}")
    lines = ["#!/bin/sh"]
    lines += [f"# {' '.join(visible(comment).split())}" for comment in comments]
    lines.append("# PINPAGE names another pinpage; further words go to it.")
    lines.append("set -eu")
    files = [word for word in record.spec.series if not word.isidentifier()]
    if record.again is not None or (files and record.inputs is not None):
        # Its words may name what is on another machine, or another by now; what it was made of is
        # in this folder.
        said = shlex.join(words(record.spec))
        lines.append(f"# The words were: {' '.join(visible(said).split())}")
        given = 'reproduce "$@" -- "$(dirname -- "$0")"'
        lines.append(f'exec "${{PINPAGE:-{_program()}}}" {given}')
        return "\n".join(lines) + "\n"
    own = record.spec.file
    if own is not None:
        lines.append('here=$(cd -- "$(dirname -- "$0")" && pwd)')
    if _relative(record.spec):
        lines.append(f"cd -- {shlex.quote(str(where))}")
    said = shlex.join(words(record.spec))
    if own is not None:  # as it was then: the user's may be another by now
        kept = f'"$here"/{_KEPT}/{shlex.quote(own.name)}'
        said = said.replace(shlex.quote(str(own)), kept, 1)
    lines.append(f'exec "${{PINPAGE:-{_program()}}}" {said} "$@"')
    return "\n".join(lines) + "\n"


def _program() -> str:
    """The pinpage beside this Python, where it was installed that way: it need not be in PATH."""
    beside = Path(sys.executable).with_name("pinpage")
    plain = re.fullmatch(r"[\w./+-]+", str(beside))  # it stands inside a shell's quotes
    return str(beside) if beside.is_file() and plain else "pinpage"


def words(spec: RunSpec) -> list[str]:
    """The command's words: every option that has a bearing on the result."""
    which = spec.scenario if spec.file is None else str(spec.file)
    found = ["run", which, f"--kernel={spec.kernel}", f"--arch={spec.arch}"]
    found += [f"--series={word}" for word in spec.series]
    found += [f"--without={word}" for word in spec.without]
    if spec.upto:
        found.append(f"--upto={spec.upto}")
    if spec.tree is not None:
        found.append(f"--tree={spec.tree}")
    found += [f"--config={word}" for word in spec.config]
    found += [
        f"--profile={spec.profile}",
        f"--toolchain={spec.toolchain}",
        f"--accel={spec.accel}",
        f"--memory={spec.memory_mib}",
        f"--smp={spec.smp}",
        f"--seed={spec.seed}",
    ]
    if not spec.snapshots:
        found.append("--boot-each")
    found += [f"--append={word}" for word in spec.append]
    found += [f"--set={name}={value}" for name, value in spec.params.items()]
    return found


def _relative(spec: RunSpec) -> bool:
    """Whether a word may mean something else in another folder: names of ours do not."""
    given = [*spec.series, *([spec.tree] if spec.tree is not None else [])]
    return any(not (word.isidentifier() or Path(word).is_absolute()) for word in given)
