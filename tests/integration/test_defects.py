# SPDX-License-Identifier: GPL-2.0-only
"""The catalogue on real kernels: defects of the posted series show, those of the fixed do not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]

# What a kernel of the fast profile shows, each by another kind of evidence: a report, pages that
# are missing, the owner's facts, a call's return, the source.
ONLY = "1,5,7,c,i,r"


def defects(
    keep: Path, kernel: str, series: str, only: str = ONLY, *more: str
) -> tuple[int, dict[str, Any], str]:
    words = ["run", "defects", "--kernel", kernel, "--series", series, "--set", f"only={only}"]
    words += more
    argv = [sys.executable, "-m", "harness.cli", *words, "--json", "--keep", str(keep)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("kernel", ["6.12", "3.11"], indirect=True)
def test_defects_of_the_posted_series_show(kernel: str, tmp_path: Path) -> None:
    code, record, said = defects(tmp_path, kernel, "posted")
    assert (code, record["verdict"]) == (1, "FAIL"), said
    found = {each["defect"]: each for each in record["findings"]}
    assert set(found) == set(ONLY.split(","))
    assert all(each["shown"] for each in found.values()), found
    assert found["1"]["place"].startswith("mm/compaction.c:")
    assert found["1"]["function"].startswith("isolate_migratepages_")
    assert found["1"]["patch"] == "0003-mm-migrate-pinned-page.patch"
    assert (tmp_path / "latest" / "defect-1" / "console.log").is_file()


@pytest.mark.parametrize("kernel", ["6.12", "3.11"], indirect=True)
def test_none_of_them_shows_in_the_fixed_series(kernel: str, tmp_path: Path) -> None:
    code, record, said = defects(tmp_path, kernel, "fixed")
    assert (code, record["verdict"]) == (0, "PASS"), (record["reason"], said)
    assert [each["shown"] for each in record["findings"]] == [False] * len(ONLY.split(","))


@pytest.mark.parametrize(("defect", "fix"), [("5", "0016"), ("7", "0020"), ("c", "0010")])
@pytest.mark.parametrize("kernel", ["6.12", "3.11"], indirect=True)
def test_a_defect_is_back_without_its_fix(
    kernel: str, defect: str, fix: str, tmp_path: Path
) -> None:
    """Several of them; 'pinpage fixes' leaves each out in turn."""
    words = (tmp_path, kernel, "fixed", defect, "--without", fix)
    code, record, said = defects(*words)
    assert (code, record["verdict"]) == (1, "FAIL"), (record["reason"], said)
    (found,) = record["findings"]
    assert found["shown"] is True, found
