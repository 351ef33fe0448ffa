# SPDX-License-Identifier: GPL-2.0-only
"""The folder that make works in: a copy of a source tree, a series on top, and its objects.

A workspace lasts from build to build. A new series, or a newer state of the user's folder, is
brought in by replacing the files whose contents differ and no other, so that make builds just
what depends on them. The objects stand in a folder directly below the sources, because only then
Kbuild names every file by a relative path, and ccache's answers fit any workspace.

Whatever moment a run is killed at, the next one goes on: the manifest is marked before files
change, and objects that were being written are built again.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import cache
from harness.build import folder
from harness.errors import InfraError, InputError
from harness.model import PatchedTree, Progress

_FORMAT = 1
_KEPT = 6  # workspaces that stay whatever their age: 2 GB each
_HOURS = 24.0  # that the others stay; the last compiler of a killed run has long ended
_RECENT_NS = 5_000_000_000
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES}
_NO_ROOM = {errno.EEXIST, errno.ENOENT, errno.ENOTDIR}


class Workspace:
    """One workspace, held by its lock. Paths below src are relative to the tree's top."""

    def __init__(self, top: Path, progress: Progress) -> None:
        self.top = top
        self.src = top / "src"
        self.obj = self.src / ".obj"
        self.modules = top / "modules"
        self.logs = top / "logs"
        self.make_lock = top / "make.lock"
        self._marker = top / "building"
        self._manifest = top / "manifest.json"
        self._progress = progress

    def state(self) -> dict[str, object]:
        found = cache.read_json(self._manifest) or {}
        return found if found.get("format") == _FORMAT else {}

    def remember(self, **facts: object) -> None:
        """Keep facts about the workspace beside what it holds."""
        cache.write_json(self._manifest, {**self.state(), **facts, "format": _FORMAT})

    # -----------------------------------------------------------------------------------------
    # Sources
    # -----------------------------------------------------------------------------------------

    def synchronise(self, tree: PatchedTree, linkable: bool, check: Callable[[], None]) -> set[str]:
        """Make src hold exactly this tree; the paths that changed.

        linkable: the source is in the cache and never changes, so that hard links will do. check
        raises if the source was not all the time what its digest says: src is no tree's then.
        """
        state = self.state()
        overlay = state.get("overlay")
        before = set(overlay) if isinstance(overlay, list) else set()
        # The inode too: a tree that was damaged and made again has linked its damage to here.
        source = f"{tree.source.digest} {tree.source.path.stat().st_ino}"
        whole = state.get("source") != source
        # What the last one brought in is not known if it did not come to its end: the times of
        # files tell nothing, and nobody was told what changed.
        sound = state.get("source") is not None
        if not sound:
            self.remember(configured=None)
        # All files of a commit have its second, and so have those of a rebase's others.
        by_time = sound and not linkable
        self.remember(source=None, overlay=sorted(before | tree.changed.keys()))
        self.src.mkdir(parents=True, exist_ok=True)
        changed: set[str] = set()
        if whole:
            changed |= self._whole(tree, linkable, by_time=by_time)
        for path in sorted((before | tree.changed.keys()), reverse=True):
            if path in tree.changed:
                done = self._put(path, tree.changed[path], path in tree.executable)
            elif not _has(tree.source.path, path):
                done = self._put(path, None, False)
            else:
                done = self._restore(tree.source.path, path, linkable, by_time=by_time)
            changed |= {path} if done else set()
        check()
        self.remember(source=source, overlay=sorted(tree.changed))
        return changed

    def _whole(self, tree: PatchedTree, linkable: bool, *, by_time: bool) -> set[str]:
        """Bring in every file of the source that differs, and remove what it does not have."""
        source = tree.source.path
        files = folder.listing(source).files
        new = not self.obj.exists()
        wanted = set(files)
        changed = set()
        for path in self._present():
            if path not in wanted and path not in tree.changed:
                (self.src / path).unlink()
                changed.add(path)
        for number, path in enumerate(files):
            if number % 2000 == 0:
                self._progress.advance(number, len(files), "files of the source")
            if path in tree.changed:
                continue
            if self._restore(source, path, linkable, by_time=by_time, new=new):
                changed.add(path)
        return changed

    def _present(self) -> Iterator[str]:
        todo = [""]
        while todo:
            below = todo.pop()
            with os.scandir(self.src / below) as found:
                entries = list(found)
            for entry in entries:
                path = f"{below}/{entry.name}" if below else entry.name
                if not entry.is_dir(follow_symlinks=False):
                    yield path
                elif path != self.obj.name:
                    todo.append(path)

    def _restore(
        self, source: Path, path: str, linkable: bool, *, by_time: bool, new: bool = False
    ) -> bool:
        """Make a file what it is in the source; whether it was something else. by_time: one of the
        source's time is the source's. new: nothing has been made of it yet, so that it may be a
        link, or have the source's time."""
        wanted, target = os.path.join(source, path), os.path.join(self.src, path)  # noqa: PTH118
        try:
            original = os.lstat(wanted)
        except (FileNotFoundError, NotADirectoryError):
            return self._put(path, None, False)
        linked = linkable and new and stat.S_ISREG(original.st_mode)
        if linked and _link(wanted, target):
            return True  # the common case: nothing is there yet
        if _same(wanted, original, target, by_time=by_time):
            if linkable:
                _sever(original, target)
            return False
        self._clear(path)
        if os.path.islink(wanted):  # noqa: PTH114
            Path(target).symlink_to(os.readlink(wanted))  # noqa: PTH115
            return True
        if not (linked and _link(wanted, target)):
            _copy(wanted, target, original, keep_times=new)
        return True

    def _put(self, path: str, content: bytes | None, executable: bool) -> bool:
        """Make a file hold this content (None: not be there); whether it did not."""
        target, there = self.src / path, _has(self.src, path)
        if content is None:
            if there:
                target.unlink()
            return there
        mode = 0o755 if executable else 0o644
        if there and not target.is_symlink() and target.read_bytes() == content:
            found = target.stat().st_mode & 0o777
            if (found & 0o100) == (mode & 0o100):
                return False
        self._clear(path)
        target.write_bytes(content)
        target.chmod(mode)
        return True

    def _clear(self, path: str) -> None:
        """Make room for a file: its folder, and nothing in its place. Never written in place:
        the old file may be a hard link into the cache. From the top: no link is followed."""
        target = self.src / path
        for parent in reversed(Path(path).parents[:-1]):
            above = self.src / parent
            if os.path.lexists(above) and (above.is_symlink() or not above.is_dir()):
                above.unlink()
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)

    # -----------------------------------------------------------------------------------------
    # Objects
    # -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Before make runs: repair what another that did not come to its end has left."""
        if self._marker.exists():
            self._progress.note("the last build here was interrupted: going on from where it was")
            self._repair()
        self._marker.touch()

    def ended(self) -> None:
        """make has ended by itself, well or not: it has removed what was half made."""
        self._marker.unlink()

    def _repair(self) -> None:
        """Remove what a killed build may have left half written.

        Kbuild writes ``.x.o.cmd`` after x.o: a product younger than its command was in the
        making, and what was written in the last seconds is not trusted either.
        """
        pairs = []
        for below, _, files in os.walk(self.obj):
            for name in files:
                if name.startswith(".") and name.endswith(".cmd"):
                    command = Path(below) / name
                    pairs.append((command, command.with_name(name[1:-4])))
        times = {command: command.stat().st_mtime_ns for command, _ in pairs}
        newest = max(times.values(), default=0)
        for command, product in pairs:
            made = product.stat().st_mtime_ns if product.is_file() else 0
            if made > times[command] or times[command] > newest - _RECENT_NS:
                product.unlink(missing_ok=True)
                command.unlink()


def _has(top: Path, path: str) -> bool:
    """Whether a file or a link is at this path, and no link leads there."""
    if any((top / parent).is_symlink() for parent in Path(path).parents[:-1]):
        return False
    own = top / path
    return own.is_symlink() or (own.exists() and not own.is_dir())


def _same(wanted: str, original: os.stat_result, target: str, *, by_time: bool) -> bool:
    """Whether target is what the source has: by identity, by times if they tell, or by content."""
    try:
        found = os.lstat(target)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if (found.st_dev, found.st_ino) == (original.st_dev, original.st_ino):
        return True
    if (found.st_mode & 0o170100) != (original.st_mode & 0o170100):
        return False
    if os.path.islink(wanted):  # noqa: PTH114
        return os.readlink(wanted) == os.readlink(target)  # noqa: PTH115
    if found.st_size != original.st_size:
        return False
    if by_time and found.st_mtime_ns == original.st_mtime_ns:
        return True
    return Path(wanted).read_bytes() == Path(target).read_bytes()


def _link(wanted: str, target: str) -> bool:
    """Whether target is now a hard link; not if the file system has none, or has no room."""
    try:
        os.link(wanted, target)
    except OSError as error:
        if error.errno in _NO_LINKS | _NO_ROOM:
            return False
        raise
    return True


def _sever(original: os.stat_result, target: str) -> None:
    """Make a hard link into another source, of a file that is the same in this one, a copy: what
    happens to the other does not reach it. Its time stays, by which make knows the object."""
    found = os.lstat(target)
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1 and found.st_ino != original.st_ino:
        spare = f"{target}.copy"
        _copy(target, spare, found, keep_times=True)
        os.replace(spare, target)  # noqa: PTH105


def _copy(wanted: str, target: str, original: os.stat_result, keep_times: bool) -> None:
    """Copy a file; where the file system can, the copy shares its blocks (reflink)."""
    try:
        with open(wanted, "rb") as source, open(target, "xb") as copy:  # noqa: PTH123
            left = original.st_size
            while left > 0:
                done = os.copy_file_range(source.fileno(), copy.fileno(), left)
                if done == 0:
                    break
                left -= done
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        Path(target).unlink()
        shutil.copyfile(wanted, target)
    Path(target).chmod(0o755 if original.st_mode & 0o100 else 0o644)
    if keep_times:
        os.utime(target, ns=(original.st_mtime_ns, original.st_mtime_ns))


@contextmanager
def hold(top: Path, progress: Progress) -> Iterator[Workspace]:
    """The workspace in top, locked against other runs and against what a killed one left."""
    if re.search(r"[\s:]", os.fspath(top)):
        raise InfraError(
            f"the kernel cannot be built below {top}: make wants no space or colon in the path",
            hint="name another cache folder with XDG_CACHE_HOME",
        )
    top.parent.mkdir(parents=True, exist_ok=True)
    with cache.locked(cache.lock_of(top), f"builds in {top}", progress):
        top.mkdir(exist_ok=True)
        work = Workspace(top, progress)
        work.logs.mkdir(exist_ok=True)
        with cache.locked(work.make_lock, "was killed: its last compilers end", progress):
            cache.used(top)
        try:
            yield work
        except OSError as error:
            raise _host(top, error) from error
    cache.tidy(top.parent, "[0-9a-f]*", _KEPT, _HOURS, progress)


def _host(top: Path, error: OSError) -> InfraError | InputError:
    where = f" ({error.filename})" if error.filename else ""
    return InfraError(
        f"the workspace {top} cannot be used: {error.strerror}{where}",
        hint="make room, or name another cache folder with XDG_CACHE_HOME",
    )
