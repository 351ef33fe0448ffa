# SPDX-License-Identifier: GPL-2.0-only
"""A patched tree as files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from harness.build import browse
from harness.errors import InputError
from harness.model import PatchedTree, Series, Silent, SourceTree


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


def turned(tmp_path: Path) -> PatchedTree:
    """A tree in which a file, a link and a folder turn into what they were not."""
    source = tmp_path / "source"
    for name in ("mm/file", "mm/real/x.h", "mm/folder/below/x.h", "mm/folder/y.h"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(f"old {name}")
    (source / "mm/link").symlink_to("real")
    changed = {
        "mm/file": None,
        "mm/file/a.h": b"a",
        "mm/link": None,
        "mm/link/new.h": b"n",
        "mm/folder": b"f",
        "mm/folder/below/x.h": None,
        "mm/folder/y.h": None,
    }
    whole = SourceTree(source, "d", "6.12", "here")
    return PatchedTree(whole, Series("s", (), "d", "o"), changed, frozenset(), {}, "d")


def test_files_links_and_folders_turn_into_one_another(tmp_path: Path) -> None:
    tree = turned(tmp_path)
    read, whole = browse.lay_out(tree, tmp_path / "read"), tmp_path / "whole"
    browse.export(tree, whole, Silent())
    for top in (read, whole):
        assert (top / "mm/file/a.h").read_text() == "a"
        assert (top / "mm/folder").read_text() == "f"
        assert [each.name for each in (top / "mm/link").iterdir()] == ["new.h"]
        assert (top / "mm/real/x.h").read_text() == "old mm/real/x.h"


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    tree = turned(tmp_path)
    through = replace(tree, changed={"mm/link/new.h": b"n"})
    (tmp_path / "elsewhere").mkdir()
    (tree.source.path / "mm/link").unlink()
    (tree.source.path / "mm/link").symlink_to(tmp_path / "elsewhere")
    browse.export(through, tmp_path / "whole", Silent())
    browse.lay_out(through, tmp_path / "read")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_copy_is_old(tmp_path: Path) -> None:
    (tmp_path / "from" / "pinner").mkdir(parents=True)
    (tmp_path / "from" / "pinner" / "main.c").write_text("x")
    top = browse.copy(tmp_path / "from", tmp_path / "to")
    assert (top / "pinner" / "main.c").read_text() == "x"
    assert (top / "pinner" / "main.c").stat().st_mtime < 1


def exported(tmp_path: Path) -> PatchedTree:
    source = tmp_path / "source"
    for name in ("mm/migrate.c", "mm/gone.c", "mm/left.o", "scripts/run.sh", ".git/HEAD"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(f"old {name}")
    (source / "scripts/run.sh").chmod(0o755)
    (source / "link").symlink_to("mm/migrate.c")
    changed = {"mm/migrate.c": b"new", "mm/gone.c": None, "tools/a.sh": b"#!"}
    whole = SourceTree(source, "d", "6.12", "here")
    series = Series("s", (), "d", "o")
    return PatchedTree(whole, series, changed, frozenset({"tools/a.sh"}), {}, "d")


def test_a_tree_is_written_out_whole(tmp_path: Path) -> None:
    top = tmp_path / "a" / "top"
    browse.export(exported(tmp_path), top, Silent())
    assert (top / "mm/migrate.c").read_text() == "new" and (top / "link").is_symlink()
    assert not (top / "mm/gone.c").exists() and not (top / ".git").exists()
    assert not (top / "mm/left.o").exists()  # what a build has left there
    assert os.access(top / "scripts/run.sh", os.X_OK) and os.access(top / "tools/a.sh", os.X_OK)
    assert top.stat().st_mode & 0o777 == (tmp_path / "a").stat().st_mode & 0o777
    assert [each.name for each in top.parent.iterdir()] == ["top"]


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    tree, top = exported(tmp_path), tmp_path / "top"
    top.mkdir()
    with pytest.raises(InputError, match="is there already"):
        browse.export(tree, top, Silent())
    assert not list(top.iterdir())
    with pytest.raises(InputError, match="cannot be written"):
        browse.export(tree, tree.source.path / "link" / "top", Silent())
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".top")]
