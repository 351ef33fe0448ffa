# SPDX-License-Identifier: GPL-2.0-only
"""A patched tree as files: to read (links to the source, and the files that the series changed), or
as a copy to go on with."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from harness.build import folder
from harness.errors import InputError
from harness.model import PatchedTree, Progress

_TOLD = 2000  # files between two words of how far it is
_OBJ = ".obj"  # the build's folder, which line tables count from (toolchain.py)


def lay_out(tree: PatchedTree, top: Path) -> Path:
    """Make it below a folder, which is made, and give that.

    Only folders with a changed file in them are real; every other is a link.
    """
    top.mkdir(parents=True)
    (top / _OBJ).mkdir()
    files = {Path(path) for path, data in tree.changed.items() if data is not None}
    above = {parent for path in tree.changed for parent in Path(path).parents}
    real = {each for each in above if files.isdisjoint((each, *each.parents))}
    for below in sorted(real | {Path()}):
        there, here = tree.source.path / below, top / below
        here.mkdir(exist_ok=True)
        entries = there.iterdir() if there.is_dir() and not there.is_symlink() else ()
        for entry in entries:
            name = below / entry.name
            if name not in real and str(name) not in tree.changed and entry.name != _OBJ:
                (here / entry.name).symlink_to(entry)
    for path, data in tree.changed.items():
        if data is not None:
            _write(top / path, data)
    return top


def export(tree: PatchedTree, to: Path, progress: Progress) -> None:
    """Write the whole tree into a new folder: of the source what belongs to it, and of the series
    all. InputError where something is there already, or it cannot be written; it is whole or not
    there."""
    files = [path for path in folder.listing(tree.source.path).files if path not in tree.changed]
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{to.name}.", dir=to.parent) as name:
            top = Path(name) / "tree"
            top.mkdir()
            for path, data in tree.changed.items():  # first: no link is there to write through
                if data is not None:
                    (top / path).parent.mkdir(parents=True, exist_ok=True)
                    (top / path).write_bytes(data)
                    (top / path).chmod(0o755 if path in tree.executable else 0o644)
            for number, path in enumerate(files):
                if number % _TOLD == 0:
                    progress.advance(number, len(files), "files")
                (top / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(tree.source.path / path, top / path, follow_symlinks=False)
            must_be_new(to)
            top.rename(to)
    except OSError as error:
        raise InputError(f"the tree cannot be written to {to}: {error.strerror}") from error


def must_be_new(to: Path) -> None:
    if os.path.lexists(to):
        raise InputError(f"{to} is there already", hint="name a folder that is not there yet")


def copy(files: Path, top: Path) -> Path:
    """A copy of a folder's files; gives where it is."""
    for path in files.rglob("*"):
        if path.is_file():
            own = top / path.relative_to(files)
            own.parent.mkdir(parents=True, exist_ok=True)
            _write(own, path.read_bytes())
    return top


def _write(path: Path, data: bytes) -> None:
    """A file that is old: gdb warns of sources that are newer than the program."""
    path.write_bytes(data)
    os.utime(path, (0, 0))
