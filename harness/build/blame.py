# SPDX-License-Identifier: GPL-2.0-only
"""A patched tree to read, and which of its patches brought a line."""

from __future__ import annotations

from harness.build import patchfile
from harness.model import PatchedTree


class Blame:
    """A patched tree as its build will see it."""

    def __init__(self, tree: PatchedTree) -> None:
        self._tree = tree

    def read(self, path: str) -> str:
        """A file's text, "" where there is none."""
        if path in self._tree.changed:
            return (self._tree.changed[path] or b"").decode(errors="replace")
        return self.before(path)

    def before(self, path: str) -> str:
        """The same without any patch."""
        file = self._tree.source.path / path
        return file.read_text(errors="replace") if file.is_file() else ""

    def changed(self, path: str) -> tuple[str, ...]:
        """The patches that touch a file, in their order."""
        return tuple(self._tree.touched_by.get(path, ()))

    def blame(self, path: str, line: str) -> str:
        """The last patch that brought this line to the file, "" where none did."""
        names = self._tree.touched_by.get(path, ())
        for patch in reversed(self._tree.series.patches):
            if patch.name in names and f"+{line}" in _added(patchfile.diff_of(patch), path):
                return patch.name
        return ""


def _added(diff: bytes, path: str) -> set[str]:
    """The added lines of one file's hunks, with their mark."""
    return {
        text
        for hunk in patchfile.hunks(diff)
        if hunk.path == path
        for text in hunk.text
        if text.startswith("+")
    }
