# SPDX-License-Identifier: GPL-2.0-only
"""A kernel tree in a folder: what belongs to it, what it is worth building, its digest.

What an in-tree build left behind does not belong to the tree: it would be found by an
out-of-tree build (make's VPATH looks there) and used instead of being made. Kbuild marks what
it makes: ``x.o`` has a ``.x.o.cmd`` beside it.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from harness import cache
from harness.errors import InputError

_MADE_FOLDERS = re.compile(r"include/(config|generated)|arch/[^/]+/include/generated")
_MADE_FILES = re.compile(
    r"""\..*\.(cmd|d|tmp)$ | .*\.(o|ko|a|mod|mod\.c|order|symvers|builtin|lds\.cmd|rej|orig)$
    | (\.config(\.old)?|\.version|\.missing-syscalls\.d|vmlinux|System\.map|Module\.symvers
      |modules\.(order|builtin|builtin\.modinfo|builtin\.ranges))$ | \.tmp_.*$""",
    re.VERBOSE,
)
_SKIPPED = frozenset({".git", ".svn", ".hg"})
_VERSION = re.compile(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(.*?) *$", re.MULTILINE)
RACY_SECONDS = 2.0


@dataclass(frozen=True)
class Listing:
    """Paths of a tree, sorted. left_out: how many files of earlier builds were not taken."""

    files: tuple[str, ...]
    left_out: int


def listing(top: Path) -> Listing:
    """Every file and link that belongs to the tree, in the order of the names."""
    files: list[str] = []
    left_out = 0
    todo = [""]
    while todo:
        below = todo.pop()
        try:
            with os.scandir(top / below) as found:
                entries = list(found)
        except OSError as error:
            raise unreadable(top / below, error) from error
        names = {entry.name for entry in entries}
        if below and _is_build_folder(top / below, names):
            left_out += 1
            continue
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            if entry.is_dir(follow_symlinks=False):
                if _MADE_FOLDERS.fullmatch(path):
                    left_out += 1
                elif entry.name not in _SKIPPED:
                    todo.append(path)
            elif _made(entry.name, names):
                left_out += 1
            elif entry.name not in _SKIPPED and (
                entry.is_file(follow_symlinks=False) or entry.is_symlink()
            ):
                files.append(path)
    return Listing(tuple(sorted(files)), left_out)


def _made(name: str, names: set[str]) -> bool:
    """Whether a file is the product of a build, by its name and its neighbours'."""
    return f".{name}.cmd" in names or _MADE_FILES.match(name) is not None


def _is_build_folder(folder: Path, names: set[str]) -> bool:
    """Whether this is the output folder of some ``make O=``."""
    if ".config" not in names or "Makefile" not in names:
        return False
    return (folder / "include" / "config").is_dir() or "source" in names


def version(top: Path) -> str:
    """The kernel's version, from its Makefile; InputError when this is no kernel tree."""
    makefile, kconfig = top / "Makefile", top / "Kconfig"
    try:
        text = makefile.read_text(errors="replace") if makefile.is_file() else ""
        whole = kconfig.is_file()
    except OSError as error:
        raise unreadable(makefile, error) from error
    found: dict[str, str] = dict(_VERSION.findall(text))
    if not {"VERSION", "PATCHLEVEL"} <= found.keys() or not whole:
        raise InputError(
            f"{top} is not a kernel tree: it has no Kconfig and no Makefile with VERSION and "
            "PATCHLEVEL at its top",
            hint="name the top of a kernel tree with --tree",
        )
    numbers = [found["VERSION"], found["PATCHLEVEL"], found.get("SUBLEVEL") or "0"]
    return ".".join(numbers) + found.get("EXTRAVERSION", "")


def unreadable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path} cannot be read: {error.strerror}",
        hint="--tree wants what this user may read, all of it",
    )


def digest(top: Path, files: tuple[str, ...], cache_folder: Path) -> str:
    """``tree:…`` over paths, modes and contents.

    The cache remembers the digests of contents by size, times and inode, so that only what has
    changed is read again. A file changed at the very moment of its reading is not remembered.
    """
    index = cache_folder / "folders" / f"{cache.key(os.fspath(top))}.json"
    known = cache.read_json(index) or {}
    fresh: dict[str, list[int | str]] = {}
    whole = hashlib.sha256()
    now = time.time()
    for path in files:
        full = os.path.join(top, path)  # noqa: PTH118
        try:
            found = os.lstat(full)
            mode, content = _content(full, found, known.get(path))
        except FileNotFoundError as error:
            raise InputError(
                f"{top} changes while it is read: {path} is gone", hint="run it again"
            ) from error
        except OSError as error:
            raise unreadable(top / path, error) from error
        whole.update(os.fsencode(f"{path}\0{mode}\0{content}\n"))
        if now - max(found.st_mtime, found.st_ctime) > RACY_SECONDS:
            fresh[path] = [*_stamp(found), content]
    if fresh != known:
        cache.write_json(index, fresh)
    return f"tree:{whole.hexdigest()}"


def _stamp(found: os.stat_result) -> list[int]:
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _content(path: str, found: os.stat_result, known: object) -> tuple[str, str]:
    """Mode and content digest of one file or link."""
    if stat.S_ISLNK(found.st_mode):
        target = os.fsencode(os.readlink(path))  # noqa: PTH115
        return "link", hashlib.sha256(target).hexdigest()
    mode = "755" if found.st_mode & 0o100 else "644"
    if isinstance(known, list) and known[:-1] == _stamp(found):
        return mode, str(known[-1])
    return mode, cache.sha256(Path(path))
