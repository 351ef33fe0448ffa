# SPDX-License-Identifier: GPL-2.0-only
"""Runs git without the user's configuration, hooks or environment.

Nothing that a hook's environment (GIT_DIR and its like) or a configuration says may reach the
repositories that are read, and none of it may change what is made. Only the user's list of
trusted folders (safe.directory) is kept.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import proc
from harness.errors import InputError, MissingTool, ToolError

# What "git rev-parse --local-env-vars" lists.
_LOCAL = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
    "GIT_EXTERNAL_DIFF",
    "GIT_NAMESPACE",
)
_CLEAN = ("env", *(word for name in _LOCAL for word in ("-u", name)))
_ENV = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "pinpage",
    "GIT_AUTHOR_EMAIL": "pinpage@localhost",
    "GIT_COMMITTER_NAME": "pinpage",
    "GIT_COMMITTER_EMAIL": "pinpage@localhost",
}
_OPTIONS = (
    ("core.hooksPath", os.devnull),
    ("core.fsmonitor", "false"),
    ("core.autocrlf", "false"),
    ("core.attributesFile", os.devnull),
    ("core.quotePath", "true"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
)


def run(
    words: Sequence[str],
    *,
    repository: Path,
    stdin: bytes = b"",
    check: bool = True,
    env: Mapping[str, str] | None = None,
) -> proc.Completed:
    """git -C repository words…; ToolError with git's own message when it fails."""
    options = [word for name, value in _OPTIONS for word in ("-c", f"{name}={value}")]
    options += [word for path in _trusted() for word in ("-c", f"safe.directory={path}")]
    argv = [*_CLEAN, "git", "-C", os.fspath(repository), *options, *words]
    done = proc.run(argv, stdin=stdin, env={**_ENV, **(env or {})}, check=False)
    if check and done.status != 0:
        shown = ["git", "-C", os.fspath(repository), *words]
        message = done.stderr.decode(errors="replace").strip()
        raise ToolError(f"git {words[0]} failed in {repository}", command=shown, detail=message)
    return done


def text(words: Sequence[str], *, repository: Path) -> str:
    """The stripped stdout of a git command."""
    return run(words, repository=repository).stdout.decode(errors="surrogateescape").strip()


@functools.cache
def _trusted() -> tuple[str, ...]:
    """The folders of other users that this user told git to trust."""
    proc.find("git")
    argv = [*_CLEAN, "git", "config", "--get-all", "safe.directory"]
    done = proc.run(argv, cwd=Path("/"), check=False)
    return tuple(done.stdout.decode(errors="surrogateescape").splitlines())


def is_repository(path: Path) -> bool:
    """Whether path is the top of a checkout or a bare repository, by looking at its files."""
    if (path / ".git").exists():
        return True
    return (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir()


def top(path: Path) -> Path | None:
    """The repository at path, for git's use; None when there is none or git is missing."""
    if not is_repository(path):
        return None
    try:
        run(["rev-parse", "--git-dir"], repository=path)
    except (ToolError, MissingTool):
        return None
    return path


def objects(repository: Path) -> Path:
    """The repository's object store, for alternates."""
    found = Path(text(["rev-parse", "--git-path", "objects"], repository=repository))
    return (repository / found).resolve()


def commit(repository: Path, reference: str) -> str:
    """The commit of a reference; InputError when there is none of that name."""
    words = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}"]
    done = run(words, repository=repository, check=False)
    found = done.stdout.decode().strip()
    if done.status == 0 and re.fullmatch(r"[0-9a-f]{40,64}", found):
        return found
    reason = done.stderr.decode(errors="replace").strip()
    raise InputError(
        f"{repository} has no commit {reference!r}" + (f": {reason}" if reason else ""),
        hint=shallow(repository) or f"git -C {repository} log {reference}",
    )


def shallow(repository: Path) -> str:
    """What to do about a clone that has too little history, "" where it has all."""
    said = text(["rev-parse", "--is-shallow-repository"], repository=repository)
    if said != "true":
        return ""
    return (
        "this clone is shallow, and has too little history: git fetch --unshallow "
        "(with actions/checkout: fetch-depth: 0)"
    )
