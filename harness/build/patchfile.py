# SPDX-License-Identifier: GPL-2.0-only
"""Patch files: mails and bare diffs, told apart, split, and their hunks read.

A mail is decoded by ``git mailinfo`` (quoted-printable, base64, the subject's prefix); the
patch itself stays the bytes that were given.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.build import git
from harness.errors import InputError, ToolError
from harness.model import Patch

_HEADER = re.compile(rb"(From|Subject|Date|Message-I[dD]|Received|Return-Path|MIME-Version): ")
_DIFF = re.compile(rb"^(diff --git |--- \S|Index: )", re.MULTILINE)
_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_NUMBER = re.compile(r"\[[^\]]*?\b(\d+)/(\d+)\]")


@dataclass(frozen=True)
class Letter:
    """A message: its subject as written, its number in the series, whether it has a diff."""

    text: bytes
    subject: str
    number: tuple[int, int] | None
    diff: bytes


def is_mail(data: bytes) -> bool:
    """Whether this is a mail or a mailbox, rather than a bare diff."""
    head = data.lstrip(b"\r\n\t ")
    return head.startswith(b"From ") or _HEADER.match(head) is not None


def letters(data: bytes) -> list[Letter]:
    """The messages of a mail or mailbox, in their order."""
    with tempfile.TemporaryDirectory(prefix="pinpage-") as name:
        folder = Path(name)
        words = ["mailsplit", "-b", "--keep-cr", f"-o{folder}"]
        if data.count(b"\r\n") == data.count(b"\n"):
            words.remove("--keep-cr")
        git.run(words, repository=folder, stdin=data)
        return [_letter(path.read_bytes(), folder) for path in sorted(folder.glob("[0-9]*"))]


def _letter(text: bytes, folder: Path) -> Letter:
    message, patch = folder / "message", folder / "patch"
    words = ["mailinfo", "-k", "--encoding=UTF-8", str(message), str(patch)]
    done = git.run(words, repository=folder, stdin=text)
    found = re.search(r"^Subject: (.*)$", done.stdout.decode(errors="replace"), re.MULTILINE)
    subject = found.group(1) if found else ""
    number = _NUMBER.search(subject)
    diff = patch.read_bytes()
    return Letter(
        text,
        re.sub(r"^\s*(\[[^\]]*\]\s*)+", "", subject),
        (int(number.group(1)), int(number.group(2))) if number else None,
        diff if _DIFF.search(diff) else b"",
    )


def single(path: Path) -> Patch | None:
    """The patch in a file that holds one; None when there is no diff in it (a cover letter)."""
    data = path.read_bytes()
    if not is_mail(data):
        return Patch(path.name, _title(data, path), data) if _DIFF.search(data) else None
    found = letters(data)
    if len(found) != 1:
        raise InputError(
            f"{path} is a mailbox of {len(found)} messages", hint="give it alone, as --series MBOX"
        )
    return Patch(path.name, found[0].subject, data) if found[0].diff else None


def diff_of(patch: Patch) -> bytes:
    """The diff of a patch, decoded, without the words around it."""
    if not is_mail(patch.text):
        return patch.text
    try:
        return letters(patch.text)[0].diff
    except ToolError as error:
        raise InputError(f"{patch.name} cannot be read as a mail: {error.detail}") from error


def _title(data: bytes, path: Path) -> str:
    """A bare diff's description: its first line of words."""
    head = data[: match.start()] if (match := _DIFF.search(data)) else b""
    for line in head.decode(errors="replace").splitlines():
        if line.strip():
            return line.removeprefix("Subject:").strip()
    return path.stem


# ---------------------------------------------------------------------------------------------
# Hunks
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hunk:
    """One hunk: the lines it expects (context and removed), and its own text.

    numbers: first line and lines before it, first line and lines after it, by its header.
    """

    path: str
    number: int
    numbers: tuple[int, int, int, int]
    header: str
    before: tuple[str, ...]
    text: tuple[str, ...]

    @property
    def start(self) -> int:
        return self.numbers[0]


def hunks(diff: bytes) -> Iterator[Hunk]:
    """Every hunk of a diff; path is of the file before it (or after it, for a new one)."""
    lines = diff.split(b"\n")
    path, number, at = "", 0, 0
    while at < len(lines):
        line = lines[at]
        if line.startswith(b"--- ") and at + 1 < len(lines) and lines[at + 1].startswith(b"+++ "):
            path, number = _path(line) or _path(lines[at + 1]) or "", 0
            at += 2
            continue
        match = _HUNK.match(line)
        if match is None:
            at += 1
            continue
        number += 1
        end = _end(lines, at + 1, match)
        body = [item.decode(errors="replace") for item in lines[at + 1 : end]]
        yield Hunk(
            path,
            number,
            _numbers(match),
            line.decode(errors="replace"),
            tuple(item[1:] for item in body if item[:1] in (" ", "-", "")),
            tuple(body),
        )
        at = end


def earlier(diff: bytes, path: str, line: int) -> int | None:
    """The number that a line of a file has before a diff, None for one that the diff brings."""
    shift = 0
    for hunk in hunks(diff):
        first, before, now, after = hunk.numbers
        if hunk.path != path or (after == 0 and before == 0):
            continue
        if line < now + (after == 0):
            break
        if line < now + after:
            return _within(hunk, line)
        shift = first + before - (now + after)
        if after == 0 or before == 0:  # a side without lines is named by the line in front of it
            shift += (before == 0) - (after == 0)
    return line + shift


def _within(hunk: Hunk, line: int) -> int | None:
    """The same for a line of a hunk."""
    first, before, now, _ = hunk.numbers
    old, new = first + (before == 0), now
    for text in hunk.text:
        mark = text[:1]
        if mark == "\\":  # "No newline at end of file"
            continue
        if new == line and mark != "-":
            return None if mark == "+" else old
        old += mark != "+"
        new += mark != "-"
    return None


def _numbers(match: re.Match[bytes]) -> tuple[int, int, int, int]:
    old, before, new, after = (1 if part is None else int(part) for part in match.groups())
    return old, before, new, after


def _end(lines: list[bytes], at: int, match: re.Match[bytes]) -> int:
    """Where the body of a hunk ends, by the counts of its header."""
    before, after = (int(match.group(i)) if match.group(i) else 1 for i in (2, 4))
    while at < len(lines) and (before > 0 or after > 0):
        mark = lines[at][:1]
        if mark in (b" ", b"", b"-"):
            before -= 1
        if mark in (b" ", b"", b"+"):
            after -= 1
        if mark not in (b" ", b"", b"-", b"+", b"\\"):
            break
        at += 1
    return at


def paths(diff: bytes) -> set[str]:
    """Every path that the diff may touch: a superset, for fetching what it changes."""
    found = set()
    for line in diff.split(b"\n"):
        if line.startswith((b"--- ", b"+++ ")):
            found.add(_path(line))
        elif line.startswith((b"rename from ", b"rename to ", b"copy from ", b"copy to ")):
            found.add(_plain(line.split(b" ", 2)[2]))
        elif line.startswith(b"diff --git "):
            half = line.removeprefix(b"diff --git ")
            first = half[: len(half) // 2]
            found.add(_path(b"--- " + first))
    return {path for path in found if path}


def _path(line: bytes) -> str | None:
    """The path of a ``---`` or ``+++`` line without its first folder; None for /dev/null."""
    name = _plain(line[4:].split(b"\t")[0].rstrip(b"\r"))
    if name in (None, "/dev/null") or "/" not in name:
        return None
    return name.split("/", 1)[1]


def _plain(name: bytes) -> str:
    """A path as git writes it, unquoted."""
    text = name.strip().decode("utf-8", "surrogateescape")
    if not (text.startswith('"') and text.endswith('"')):
        return text
    raw = re.sub(
        r"\\([0-7]{3}|.)",
        lambda m: chr(int(m.group(1), 8)) if len(m.group(1)) == 3 else m.group(1),
        text[1:-1],
    )
    return raw.encode("latin-1", "replace").decode("utf-8", "surrogateescape")
