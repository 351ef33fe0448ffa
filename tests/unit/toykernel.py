# SPDX-License-Identifier: GPL-2.0-only
"""The toy tree of tests/fakelinux as the build room's values, and patches for it."""

from __future__ import annotations

import difflib
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from harness.model import Kernel, SourceTree

FAKELINUX = Path(__file__).parent.parent / "fakelinux"
KERNEL = Kernel("toy", "6.12", (), "toy", ("x86_64", "arm64"))


@dataclass
class Notes:
    """A Progress that keeps what it is told."""

    notes: list[str] = field(default_factory=list)
    steps: list[tuple[int, int | None, str]] = field(default_factory=list)

    def stage(self, name: str) -> None:
        return

    def advance(self, done: int, total: int | None, text: str = "") -> None:
        self.steps.append((done, total, text))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def said(self, words: str) -> bool:
        return any(words in note for note in self.notes)


def copy(folder: Path) -> Path:
    """A copy of the toy tree that a test may change."""
    shutil.copytree(FAKELINUX, folder)
    return folder


def tree(
    path: Path = FAKELINUX, digest: str = "tree:toy", repository: Path | None = None
) -> SourceTree:
    return SourceTree(path, digest, "6.12.0-fake", f"folder {path}", repository)


def read(path: str) -> str:
    return (FAKELINUX / path).read_text()


def diff(path: str, old: str | None, new: str | None, context: int = 3) -> str:
    """A git diff between two contents of a file; None is no file."""
    head = f"diff --git a/{path} b/{path}\n"
    if old is None:
        head += "new file mode 100644\n"
    if new is None:
        head += "deleted file mode 100644\n"
    lines = difflib.unified_diff(
        (old or "").splitlines(keepends=True),
        (new or "").splitlines(keepends=True),
        "/dev/null" if old is None else f"a/{path}",
        "/dev/null" if new is None else f"b/{path}",
        n=context,
    )
    return head + "".join(lines)


def change(path: str, old: str, new: str, text: str | None = None) -> str:
    """A git diff that replaces some words of a file of the toy tree."""
    before = read(path) if text is None else text
    assert old in before
    return diff(path, before, before.replace(old, new, 1))


def mail(subject: str, body: str, headers: str = "") -> str:
    """A patch as git format-patch writes it."""
    return (
        "From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001\n"
        "From: A Person <person@example.org>\n"
        "Date: Mon, 1 Jan 2024 00:00:00 +0000\n"
        f"Subject: {subject}\n{headers}\nWhy it is so.\n\n"
        f"Signed-off-by: A Person <person@example.org>\n---\n{body}-- \n2.39.5\n\n"
    )


def git(repository: Path, *words: str) -> str:
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.org")
    done = subprocess.run(
        ["git", *identity, *words], cwd=repository, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def repository(folder: Path) -> Path:
    """The toy tree as a git checkout with one commit."""
    copy(folder)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A", "-f")
    git(folder, "commit", "-q", "-m", "toy")
    return folder
