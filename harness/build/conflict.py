# SPDX-License-Identifier: GPL-2.0-only
"""Says why a patch does not apply: the hunk, the place that it means, and who changed it."""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.build import patchfile
from harness.errors import PatchError
from harness.model import Patch

_FAILED = re.compile(r"error: patch failed: (.+):(\d+)$", re.MULTILINE)
_ABSENT = re.compile(r"error: (.+): (?:does not exist in index|No such file or directory)$", re.M)
_BEYOND = re.compile(r"error: affected file '(.+)' is beyond a symbolic link$", re.M)
_EXISTS = re.compile(r"error: (.+): already exists in (?:index|working directory)$", re.M)
_CORRUPT = re.compile(r"error: corrupt patch at (?:<stdin>:|line )(\d+)")
_CANDIDATES = 5
_SHOWN = 40


@dataclass(frozen=True)
class Problem:
    """What is known of a patch that does not apply.

    said: stderr of git apply. touched: path → earlier patches that changed it. read: a file as
    those have left it. applied: the patch could be taken back.
    """

    where: str
    patch: Patch
    diff: bytes
    said: str
    touched: Mapping[str, list[str]]
    read: Callable[[str], bytes | None]
    source: Path
    applied: bool


def error(problem: Problem) -> PatchError:
    """The error to raise: its message names patch, file and line; its detail shows why."""
    said = problem.said
    if problem.applied:
        return _make(problem, "it is in the tree already", "leave it out of the series", "")
    if found := _CORRUPT.search(said):
        message = f"it is malformed at line {found.group(1)} of its diff"
        return _make(problem, message, "was its white space changed by a mail program?", "")
    found = _BEYOND.search(said) or _ABSENT.search(said)
    if found and (link := _link(problem, found.group(1))):
        message = f"{found.group(1)} is beyond the symbolic link {link}"
        leads = f"{link} leads to {(problem.source / link).readlink()}"
        return _make(problem, message, f"{leads}: name a file of the tree by its own path", "")
    if found := _FAILED.search(said):
        return _hunk(problem, found.group(1), int(found.group(2)))
    if found := _ABSENT.search(said):
        return _absent(problem, found.group(1))
    if found := _EXISTS.search(said):
        message = f"it makes {found.group(1)}, which is there already"
        return _make(problem, message, "", _blame(problem, found.group(1)))
    first = next((line for line in said.splitlines() if line.startswith("error:")), said.strip())
    return _make(problem, first.removeprefix("error: "), "", "")


def _make(problem: Problem, message: str, hint: str, detail: str) -> PatchError:
    subject = f" ({problem.patch.subject})" if problem.patch.subject else ""
    return PatchError(
        f"{problem.where}{subject} does not apply: {message}",
        detail=detail.rstrip(),
        hint=hint or "make the patch anew for this tree, or name the tree it is for with --tree",
    )


def _link(problem: Problem, path: str) -> str | None:
    """The link of the tree that a path leads through, unless the patches have removed it."""
    above = [str(parent) for parent in Path(path).parents]
    links = (each for each in above if (problem.source / each).is_symlink())
    return next((each for each in links if problem.read(each) is not None), None)


def _blame(problem: Problem, path: str) -> str:
    names = problem.touched.get(path)
    return f"{path} was changed before by {', '.join(names)}\n" if names else ""


def _absent(problem: Problem, path: str) -> PatchError:
    name = path.rsplit("/", 1)[-1]
    same = []
    for below, folders, files in os.walk(problem.source):
        folders[:] = [folder for folder in folders if folder != ".git"]
        if name in files:
            same.append(str((Path(below) / name).relative_to(problem.source)))
    detail = f"files of that name: {', '.join(sorted(same)[:10])}\n" if same else ""
    return _make(problem, f"it changes {path}, which the tree does not have", "", detail)


def _hunk(problem: Problem, path: str, line: int) -> PatchError:
    wanted = [hunk for hunk in patchfile.hunks(problem.diff) if hunk.path == path]
    hunk = next((each for each in wanted if each.start == line), None)
    if hunk is None:
        return _make(problem, f"at {path}:{line}", "", _blame(problem, path))
    message = f"hunk {hunk.number} of {len(wanted)} fails at {path}:{line}"
    detail = "\n".join([hunk.header, *hunk.text[:_SHOWN]]) + "\n"
    data = problem.read(path)
    if data is None:
        return _make(problem, message, "", detail)
    lines = data.decode(errors="replace").splitlines()
    blank = _but_for_blanks(hunk.before, lines)
    if blank is not None:
        message += f": {path}:{blank + 1} is what it expects but for white space"
        hint = "a mail program or a copy by hand may have made blanks of its tabs: take it as sent"
        return _make(problem, message, hint, detail)
    return _make(problem, message, "", detail + _nearest(path, hunk, lines) + _blame(problem, path))


def _nearest(path: str, hunk: patchfile.Hunk, lines: list[str]) -> str:
    """The place in the file that is most like what the hunk expects, and how it differs."""
    start, ratio = nearest(hunk.before, lines)
    if ratio < 0.3:
        return f"nothing in {path} is like what it expects\n"
    found = lines[start : start + len(hunk.before)]
    same = sum(
        block.size
        for block in difflib.SequenceMatcher(
            None, list(hunk.before), found, autojunk=False
        ).get_matching_blocks()
    )
    head = f"nearest match: {path}:{start + 1}, {same} of {len(hunk.before)} lines are the same\n"
    where = (f"{hunk.header.split('@@')[1].strip()} expected", f"{path}:{start + 1}")
    marks = difflib.unified_diff(list(hunk.before), found, *where, lineterm="", n=1)
    return head + "\n".join(list(marks)[:_SHOWN]) + "\n"


def _but_for_blanks(wanted: tuple[str, ...], lines: list[str]) -> int | None:
    """Where a window of lines is wanted but for white space, and not the same (index from 0)."""
    own, all_of = ([line.split() for line in text] for text in (wanted, lines))
    return next(
        (
            at
            for at in range(len(lines) - len(own) + 1)
            if all_of[at : at + len(own)] == own and tuple(lines[at : at + len(own)]) != wanted
        ),
        None,
    )


def nearest(wanted: tuple[str, ...], lines: list[str]) -> tuple[int, float]:
    """Where a window of lines is most like wanted (index from 0), and how much (0..1).

    A count of the lines in common finds the candidates in one pass over the file; the few best
    are compared line by line.
    """
    size = len(wanted)
    if not size or not lines:
        return 0, 0.0
    need = Counter(line for line in wanted if line.strip())
    have: Counter[str] = Counter()
    common = 0
    scores: list[tuple[int, int]] = []
    for end, line in enumerate(lines):
        if line in need:
            have[line] += 1
            common += have[line] <= need[line]
        gone = lines[end - size] if end >= size else None
        if gone is not None and gone in need:
            common -= have[gone] <= need[gone]
            have[gone] -= 1
        scores.append((common, max(0, end - size + 1)))
    best = sorted(scores, key=lambda score: -score[0])[: _CANDIDATES * 4]
    compared = [(*_likeness(wanted, lines[at : at + size]), -at) for _, at in best]
    ratio, _, at = max(compared)
    return -at, ratio


def _likeness(wanted: tuple[str, ...], found: list[str]) -> tuple[float, int]:
    """How much alike, and how many lines are at the very same place."""
    ratio = difflib.SequenceMatcher(None, wanted, found, autojunk=False).ratio()
    return ratio, sum(one == other for one, other in zip(wanted, found, strict=False))
