# SPDX-License-Identifier: GPL-2.0-only
"""A patched tree as files to read."""

from __future__ import annotations

from pathlib import Path

from harness.build import browse
from harness.model import PatchedTree, Series, SourceTree


def test_changed_files_are_as_the_series_has_them(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("mm/migrate.c", "mm/slub.c", "mm/gone.c", "fs/select.c", "Makefile", ".obj/x"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(f"old {name}")
    changed = {"mm/migrate.c": b"new", "mm/gone.c": None, "include/linux/pinpage.h": b"header"}
    tree = PatchedTree(
        SourceTree(source, "d", "6.12", "here"),
        Series("s", (), "d", "o"),
        changed,
        frozenset(),
        {},
        "d",
    )
    top = browse.lay_out(tree, tmp_path / "top")
    assert (top / "mm/migrate.c").read_text() == "new"
    assert (top / "include/linux/pinpage.h").read_text() == "header"
    assert not (top / "mm/gone.c").exists()
    assert (top / ".obj/../fs/select.c").read_text() == "old fs/select.c"
    assert (top / "mm/slub.c").is_symlink() and (top / "fs").is_symlink()
    assert (source / "mm/migrate.c").read_text() == "old mm/migrate.c"
    # gdb warns of sources that are newer than the program.
    assert (top / "mm/migrate.c").stat().st_mtime < 1


def test_a_copy_is_old(tmp_path: Path) -> None:
    (tmp_path / "from" / "pinner").mkdir(parents=True)
    (tmp_path / "from" / "pinner" / "main.c").write_text("x")
    top = browse.copy(tmp_path / "from", tmp_path / "to")
    assert (top / "pinner" / "main.c").read_text() == "x"
    assert (top / "pinner" / "main.c").stat().st_mtime < 1
