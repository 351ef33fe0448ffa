# SPDX-License-Identifier: GPL-2.0-only
"""Fetches a file over HTTP: resumed where it was cut off, checked against its sha256."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from pathlib import Path

from harness import cache
from harness.errors import SourceUnavailable
from harness.model import Progress

_BLOCK = 1 << 18
_STALLS = 3
_TIMEOUT = 30.0


def fetch(url: str, sha256: str | None, target: Path, progress: Progress) -> None:
    """Fetch url to target unless it is there; the caller holds target's lock.

    sha256 is None where the caller has other means to know what came.

    What has come so far stands in ``target.part``, in this run and in a later one. It is given
    up when three requests in a row bring nothing new, or when the whole has another sha256.
    """
    if target.exists():
        if sha256 is None or cache.sha256(target) == sha256:
            return
        progress.note(f"{target} is damaged: fetching it again")
        target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    stalls, problem = 0, ""
    while stalls < _STALLS:
        before = _size(part)
        if before:
            progress.note(f"going on with {url} at byte {before}")
        try:
            whole = _request(url, part, progress)
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                whole = True
            else:
                raise SourceUnavailable(f"{url}: the server says {error.code}") from error
        except (OSError, http.client.HTTPException) as error:
            whole, problem = False, _reason(error)
        if whole:
            if sha256 is not None:
                _check(part, url, sha256)
            part.replace(target)
            return
        stalls = stalls + 1 if _size(part) <= before else 0
    raise SourceUnavailable(
        f"{url}: {problem or 'the connection is cut off again and again'}",
        hint=f"what has come is kept in {part}: the next run goes on from there",
    )


def _request(url: str, part: Path, progress: Progress) -> bool:
    """Ask for what is missing and append it; whether the whole file has come."""
    have = _size(part)
    headers = {"User-Agent": "pinpage", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        resumed = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        if have and not resumed:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if have else "wb") as file:
            while block := answer.read(_BLOCK):
                file.write(block)
                have += len(block)
                progress.advance(have, total, url.rsplit("/", 1)[-1])
    return total is None or have >= total


def _check(part: Path, url: str, sha256: str) -> None:
    found = cache.sha256(part) if part.exists() else "nothing"
    if found == sha256:
        return
    part.unlink(missing_ok=True)
    raise SourceUnavailable(
        f"{url} has sha256 {found}, not the pinned {sha256}: it was thrown away",
        hint="the file on the server has changed, or something between alters it",
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error or type(error).__name__)
