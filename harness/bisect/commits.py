# SPDX-License-Identifier: GPL-2.0-only
"""Searches a git range, for which git itself says what to try next (git-bisect(1)).

In a bare repository of our own that borrows the user's objects: nothing is written to theirs.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from harness.bisect import Standing
from harness.bisect.search import Found, Runs, State
from harness.build import git
from harness.errors import InputError, ToolError

_WORDS = {Standing.GOOD: "good", Standing.BAD: "bad", Standing.UNTESTABLE: "skip"}
_FIRST = re.compile(r"^([0-9a-f]{40,64}) is the first (?:bad|'bad') commit", re.MULTILINE)
_ANY = re.compile(r"could be any of:\n((?:[0-9a-f]{40,64}\n)+)")


def ends(repository: Path, words: str) -> tuple[str, str]:
    """The commits of GOOD..BAD; InputError where the good one is no ancestor of the other."""
    good, dots, bad = words.partition("..")
    if not dots or not good:
        raise InputError(f"--commits {words}: GOOD..BAD is due", hint="for example v6.12..HEAD")
    first, last = git.commit(repository, good), git.commit(repository, bad or "HEAD")
    asked = ["merge-base", "--is-ancestor", first, last]
    if git.run(asked, repository=repository, check=False).status != 0 or first == last:
        raise InputError(
            f"--commits {words}: {good} does not come before {bad or 'HEAD'} in {repository}",
            hint="the good commit has to be an ancestor of the bad one",
        )
    return first, last


def state(repository: Path, commit: str) -> State:
    return State(commit, git.text(["log", "-1", "--format=%s", commit], repository=repository))


def search(
    repository: Path, good: str, bad: str, runs: Runs, *, tries: int, confidence: float
) -> Found:
    """The first bad commit. What was tried before is told to git again, which asks for the same."""
    count = int(git.text(["rev-list", "--count", f"{good}..{bad}"], repository=repository))
    rule = runs.measured(
        state(repository, bad), state(repository, good), tries, count + 1, confidence
    )
    own = _borrowed(repository, runs.folder / "bisect.git", bad)
    states = [state(repository, good), state(repository, bad)]
    said = git.text(["bisect", "start", "--no-checkout", bad, good], repository=own)
    while not (first := _first(said)):
        commit = git.commit(own, "BISECT_HEAD")
        states.append(state(repository, commit))
        standing = runs.settle(states[-1], rule)
        done = git.run(["bisect", _WORDS[standing], commit], repository=own, check=False)
        said = done.stdout.decode(errors="replace")
        if done.status != 0 and not _first(said):
            raise ToolError(
                f"git bisect {_WORDS[standing]} failed in {own}",
                detail=done.stderr.decode(errors="replace").strip() or said.strip(),
            )
    found = [state(repository, commit) for commit in first]
    return runs.found(list(dict.fromkeys(states)), rule, found)


def _first(said: str) -> list[str]:
    """The commits that git has found, as it says: one, or those that it cannot tell apart."""
    if match := _FIRST.search(said):
        return [match[1]]
    match = _ANY.search(said)
    return match[1].split() if match else []


def _borrowed(repository: Path, folder: Path, head: str) -> Path:
    """A bare repository with the other's objects, and a HEAD as git bisect needs one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    git.run(["init", "--quiet", "--bare", "."], repository=folder)
    (folder / "objects" / "info" / "alternates").write_text(f"{git.objects(repository)}\n")
    git.run(["update-ref", "--no-deref", "HEAD", head], repository=folder)
    return folder
