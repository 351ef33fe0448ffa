# SPDX-License-Identifier: GPL-2.0-only
"""A patched tree as files to read: links to the source, and the files that the series changed."""

from __future__ import annotations

import os
from pathlib import Path

from harness.model import PatchedTree

_OBJ = ".obj"  # the build's folder, which line tables count from (toolchain.py)


def lay_out(tree: PatchedTree, top: Path) -> Path:
    """Make it below a folder, which is made, and give that.

    Only folders with a changed file in them are real; every other is a link.
    """
    top.mkdir(parents=True)
    (top / _OBJ).mkdir()
    real = {folder for path in tree.changed for folder in Path(path).parents}
    for folder in sorted(real | {Path()}):
        there, here = tree.source.path / folder, top / folder
        here.mkdir(exist_ok=True)
        entries = there.iterdir() if there.is_dir() else ()
        for entry in entries:
            name = folder / entry.name
            if name not in real and str(name) not in tree.changed and entry.name != _OBJ:
                (here / entry.name).symlink_to(entry)
    for path, data in tree.changed.items():
        if data is not None:
            _write(top / path, data)
    return top


def copy(folder: Path, top: Path) -> Path:
    """A copy of a folder's files; gives where it is."""
    for path in folder.rglob("*"):
        if path.is_file():
            own = top / path.relative_to(folder)
            own.parent.mkdir(parents=True, exist_ok=True)
            _write(own, path.read_bytes())
    return top


def _write(path: Path, data: bytes) -> None:
    """A file that is old: gdb warns of sources that are newer than the program."""
    path.write_bytes(data)
    os.utime(path, (0, 0))
