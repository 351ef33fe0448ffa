# SPDX-License-Identifier: GPL-2.0-only
"""A patched tree as its build sees it, and which patch brought a line."""

from __future__ import annotations

from pathlib import Path

import toykernel as toy

from harness.build import series
from harness.build.blame import Blame


def test_lines_are_read_as_patched_and_blamed_on_the_last_patch(tmp_path: Path) -> None:
    old, line = toy.read("mm/migrate.c"), "static int mine;"
    patches = {
        "1.patch": toy.diff("mm/migrate.c", old, f"{old}{line}\n"),
        "2.patch": toy.diff("mm/new.c", None, "int twice;\nint once;\n"),
        "3.patch": toy.diff("mm/new.c", "int twice;\nint once;\n", "int once;\nint twice;\n"),
    }
    for name, text in patches.items():
        (tmp_path / name).write_text(text)
    files = tuple(str(tmp_path / name) for name in patches)
    found = series.load(files, toy.KERNEL, toy.tree())
    blame = Blame(series.apply(toy.tree(), found, cache=tmp_path, progress=toy.Notes()))
    assert blame.read("mm/migrate.c").endswith(f"{line}\n")
    assert blame.blame("mm/migrate.c", line) == "1.patch"
    moved = {blame.blame("mm/new.c", f"int {name};") for name in ("once", "twice")}
    assert moved == {"2.patch", "3.patch"}
    assert blame.blame("mm/migrate.c", "no such line") == ""
    assert blame.read("mm/compaction.c") == toy.read("mm/compaction.c")
    assert blame.read("no/such/file") == ""
