# SPDX-License-Identifier: GPL-2.0-only
"""Applies a series in a scratch repository and gives back what it changes, as an overlay.

The repository is bare and holds only the files that the patches name: nothing is checked out,
so no patch can write anywhere, and the user's tree is only read. Where the tree or the series
comes from a repository, its objects stand behind the scratch one for a real 3-way merge.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.build import conflict, folder, git, patchfile
from harness.build.origin import Tracker
from harness.errors import PatchError
from harness.model import Patch, PatchedTree, Progress, Series, SourceTree

_LINK, _SUBMODULE = "120000", "160000"


def apply(source: SourceTree, series: Series, *, cache: Path, progress: Progress) -> PatchedTree:
    """What the series makes of the source; PatchError shows the hunk that does not fit."""
    if len(series.patches) > series.compat:
        progress.note(series.origin)
    with tempfile.TemporaryDirectory(prefix="pinpage-apply-", dir=_scratch(cache)) as name:
        work = _Scratch(Path(name), source, series)
        touched: dict[str, list[str]] = {}
        origins = Tracker()
        for number, patch in enumerate(series.patches, 1):
            progress.advance(number - 1, len(series.patches), patch.subject)
            for path in work.apply(number, patch, touched, progress):
                touched.setdefault(path, []).append(patch.name)
            origins.take(work.difference(), patch.name)
        changed, executable = work.result()
        progress.advance(len(series.patches), len(series.patches), "")
    return PatchedTree(
        source=source,
        series=series,
        changed=changed,
        executable=executable,
        touched_by={path: tuple(names) for path, names in touched.items()},
        brought=origins.spans(),
        cut=origins.cuts(),
        digest=_digest(source, changed, executable),
    )


def _scratch(cache: Path) -> Path:
    folder = cache / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _digest(
    source: SourceTree, changed: Mapping[str, bytes | None], executable: frozenset[str]
) -> str:
    whole = hashlib.sha256(source.digest.encode())
    for path in sorted(changed):
        content = changed[path]
        state = "deleted" if content is None else hashlib.sha256(content).hexdigest()
        mode = "755" if path in executable else "644"
        whole.update(os.fsencode(f"\n{path}\0{mode}\0{state}"))
    return f"patched:{whole.hexdigest()}"


def _plain(path: str) -> bool:
    """Whether a path of a patch is one below the tree's top."""
    return not path.startswith("/") and ".." not in path.split("/") and "\n" not in path


@dataclass(frozen=True)
class _Change:
    path: str
    mode: str
    blob: str
    status: str


class _Scratch:
    """The bare repository and its index."""

    def __init__(self, folder: Path, source: SourceTree, series: Series) -> None:
        self._folder, self._source, self._series = folder, source, series
        self._git = folder / "scratch.git"
        git.run(["init", "-q", "--bare", str(self._git)], repository=folder)
        behind = {git.objects(path) for path in (source.git, series.git) if path is not None}
        alternates = "".join(f"{path}\n" for path in sorted(behind))
        (self._git / "objects" / "info" / "alternates").write_text(alternates)
        self._diffs = [patchfile.diff_of(patch) for patch in series.patches]
        self._fill()
        self._base = self._before = self._tree()

    def _run(self, *words: str, stdin: bytes = b"", check: bool = True) -> tuple[int, bytes, str]:
        done = git.run(words, repository=self._git, stdin=stdin, check=check)
        return done.status, done.stdout, done.stderr.decode(errors="replace")

    def _tree(self) -> str:
        return self._run("write-tree")[1].decode().strip()

    def _fill(self) -> None:
        """Put every file of the source that a patch names into the index; and what stands in the
        way of one, a link or a file above it or a file below it: git refuses the patch then."""
        named = {path for diff in self._diffs for path in patchfile.paths(diff)}
        above = {str(parent) for path in named for parent in Path(path).parents}
        below = {file for path in named for file in self._below(path) if file not in named}
        wanted = sorted(named | above | below)
        modes = {path: mode for path in wanted if (mode := self._mode(path))}
        files = [path for path, mode in modes.items() if mode != _LINK]
        names = "".join(f"{self._source.path / path}\n" for path in files)
        stdin = os.fsencode(names)
        blobs = self._run("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=stdin)[1]
        lines = [
            f"{modes[path]} {blob}\t{path}\n"
            for path, blob in zip(files, blobs.decode().split(), strict=True)
        ]
        for path in modes.keys() - set(files):
            target = os.fsencode((self._source.path / path).readlink())
            blob = self._run("hash-object", "-w", "--stdin", stdin=target)[1].decode().strip()
            lines.append(f"{_LINK} {blob}\t{path}\n")
        self._run("update-index", "--add", "--index-info", stdin=os.fsencode("".join(lines)))

    def _mode(self, path: str) -> str | None:
        """git's mode of a file of the source; None when there is none, or only through a link."""
        full = self._source.path / path
        if not _plain(path) or any(
            (self._source.path / parent).is_symlink() for parent in Path(path).parents[:-1]
        ):
            return None
        try:
            mode = full.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISLNK(mode):
            return _LINK
        if not stat.S_ISREG(mode):
            return None
        return "100755" if mode & 0o100 else "100644"

    def _below(self, path: str) -> list[str]:
        """The files of the source that are below a path, where that is a folder."""
        full = self._source.path / path
        if not _plain(path) or not full.is_dir():
            return []
        return [f"{path}/{file}" for file in folder.listing(full).files]

    def apply(
        self,
        number: int,
        patch: Patch,
        touched: Mapping[str, list[str]],
        progress: Progress,
    ) -> list[str]:
        """Apply one patch, directly or by a 3-way merge; the paths that it changed."""
        diff, before = self._diffs[number - 1], self._tree()
        where = f"patch {number} of {len(self._series.patches)}, {patch.name}"
        status, _, said = self._run(
            "apply", "--cached", "-v", "--whitespace=nowarn", "-", stdin=diff, check=False
        )
        if status == 0:
            for line in said.splitlines():
                if "offset" in line or "fuzz" in line:
                    progress.note(f"{patch.name}: {line.strip()}")
        else:
            merged, _, _ = self._run(
                "apply", "--cached", "--3way", "--whitespace=nowarn", "-", stdin=diff, check=False
            )
            failed = merged != 0 or self._unmerged()
            nothing = not failed and self._tree() == before  # the tree has it already
            if failed or nothing:
                self._run("read-tree", before)
                problem = conflict.Problem(
                    where=where,
                    patch=patch,
                    diff=diff,
                    said=said,
                    touched=touched,
                    read=self._read,
                    source=self._source.path,
                    applied=nothing or self._reverses(diff),
                )
                if problem.applied and number <= self._series.compat:
                    progress.note(f"{patch.name}: the tree has it already")
                    return []
                raise conflict.error(problem)
            progress.note(f"{patch.name}: applied by a 3-way merge")
        changes = self._changes(before)
        for change in changes:
            if change.mode in (_LINK, _SUBMODULE) and change.status != "D":
                what = "symbolic link" if change.mode == _LINK else "submodule"
                raise PatchError(f"{where}: it makes {change.path} a {what}, which is refused")
        return [change.path for change in changes]

    def difference(self) -> bytes:
        """What has changed since it was asked last, without context lines."""
        words = ("diff-index", "--cached", "-p", "-U0", "--no-renames", "--no-ext-diff")
        more = ("--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")
        diff = self._run(*words, *more, self._before)
        self._before = self._tree()
        return diff[1]

    def _unmerged(self) -> bool:
        return bool(self._run("ls-files", "--unmerged")[1])

    def _reverses(self, diff: bytes) -> bool:
        """Whether the patch could be taken back: it is applied already."""
        return self._run("apply", "--cached", "--check", "-R", "-", stdin=diff, check=False)[0] == 0

    def _read(self, path: str) -> bytes | None:
        """A file as the patches so far have left it."""
        status, data, _ = self._run("cat-file", "blob", f":{path}", check=False)
        return data if status == 0 else None

    def _changes(self, since: str) -> list[_Change]:
        """What the index changes over a tree."""
        words = ("diff-index", "--cached", "--raw", "-z", "--no-renames", "--no-abbrev", since)
        fields = self._run(*words)[1].decode("utf-8", "surrogateescape").split("\0")
        found = []
        for meta, path in zip(fields[0::2], fields[1::2], strict=False):
            _, mode, _, blob, status = meta.split(" ")
            found.append(_Change(path, mode, blob, status))
        return found

    def result(self) -> tuple[dict[str, bytes | None], frozenset[str]]:
        """The overlay of the whole series over the source."""
        changed: dict[str, bytes | None] = {}
        executable = set()
        for change in self._changes(self._base):
            if change.status == "D":
                changed[change.path] = None
                continue
            changed[change.path] = self._run("cat-file", "blob", change.blob)[1]
            if change.mode == "100755":
                executable.add(change.path)
        return changed, frozenset(executable)
