# SPDX-License-Identifier: GPL-2.0-only
"""The RFC as it was sent: its patches make the very files that their ``index`` lines name."""

from __future__ import annotations

import email
import os
import re
import subprocess
from pathlib import Path

import pytest

from harness import resources, spec
from harness.build.source import variable_of

POSTED = resources.patches() / "3.11" / "posted"
PATCHES = [POSTED / name for name in (POSTED / "series").read_text().split()]
# What the thread says. The archive's text has lost white space and addresses, nothing else.
MAILS = {
    "0000-cover-letter.patch": ("[RFC 0/3] Pin page control subsystem", "07:05:05", 1),
    "0001-mm-Introduce-new-page-flag.patch": (
        "[RFC 1/3] mm: Introduce new page flag",
        "07:05:04",
        2,
    ),
    "0002-pinpage-control-subsystem.patch": ("[RFC 2/3] pinpage control subsystem", "07:05:52", 3),
    "0003-mm-migrate-pinned-page.patch": ("[RFC 3/3] mm: migrate pinned page", "07:05:37", 4),
}
RESULTS = {
    "include/linux/page-flags.h": ("6d53675", "75ce843"),
    "include/linux/pinpage.h": ("0000000", "42fbdc7"),
    "mm/Makefile": ("f008033", "bf4a2d9"),
    "mm/compaction.c": ("05ccb4c", "16b80e6"),
    "mm/migrate.c": ("6f0c244", "4d28049"),
    "mm/page_alloc.c": ("b100255", "5dd8b43"),
    "mm/pinpage.c": ("0000000", "0833204"),
}
NEW = [path for path, (before, _) in RESULTS.items() if before == "0000000"]


def git(where: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def blob(path: Path) -> str:
    return git(path.parent, "hash-object", "--no-filters", str(path))[:7]


def apply(top: Path, *words: str) -> None:
    for patch in PATCHES:
        git(top, "apply", "--whitespace=nowarn", *words, str(patch))


def test_three_patches_and_a_cover_letter() -> None:
    assert sorted(path.name for path in POSTED.glob("*.patch")) == sorted(MAILS)
    assert [path.name for path in PATCHES] == sorted(MAILS)[1:]


@pytest.mark.parametrize("name", sorted(MAILS))
def test_author_date_and_message_id(name: str) -> None:
    subject, time, number = MAILS[name]
    mail = email.message_from_bytes((POSTED / name).read_bytes())
    sent = "<1376377502-28207-{}-git-send-email-minchan@kernel.org>"
    assert mail["From"] == "Minchan Kim <minchan@kernel.org>"
    assert mail["Subject"] == subject
    assert mail["Date"] == f"Tue, 13 Aug 2013 {time} +0000"
    assert mail["Message-Id"] == sent.format(number)
    assert mail["In-Reply-To"] == (None if number == 1 else sent.format(1))


def test_index_lines_name_the_blobs_of_v3_11() -> None:
    found: dict[str, tuple[str, str]] = {}
    for patch in PATCHES:
        text = patch.read_text()
        names = re.findall(r"^diff --git a/(\S+) b/", text, re.MULTILINE)
        hashes = re.findall(r"^index (\w+)\.\.(\w+)", text, re.MULTILINE)
        found |= dict(zip(names, hashes, strict=True))
    assert found == RESULTS
    known = spec.load_kernel("3.11").blobs
    assert {path: digest[:7] for path, digest in known.items()} == {
        path: before for path, (before, _) in RESULTS.items() if path not in NEW
    }


def test_the_new_files_come_from_the_patches_alone(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    apply(tmp_path, *(f"--include={path}" for path in NEW))
    assert {path: blob(tmp_path / path) for path in NEW} == {p: RESULTS[p][1] for p in NEW}


def v3_11() -> str:
    variable = variable_of(spec.load_kernel("3.11"))
    if variable not in os.environ:
        pytest.skip(f"no v3.11 here: set {variable} to a folder or GIT@REF that has it")
    return os.environ[variable]


def test_the_changed_files_reach_their_hashes(tmp_path: Path) -> None:
    where, _, reference = v3_11().partition("@")
    git(tmp_path, "init", "-q")
    for path in RESULTS.keys() - set(NEW):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if reference:
            words = ["git", "-C", where, "show", f"{reference}:{path}"]
            target.write_bytes(subprocess.run(words, capture_output=True, check=True).stdout)
        else:
            target.write_bytes((Path(where) / path).read_bytes())
    apply(tmp_path)
    assert {path: blob(tmp_path / path) for path in RESULTS} == {
        path: after for path, (_, after) in RESULTS.items()
    }
