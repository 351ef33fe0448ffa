# SPDX-License-Identifier: GPL-2.0-only
"""The first bad patch of a series, found on real kernels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import resources

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]
FAULT = resources.faults() / "6.12" / "27-count-off-by-one.patch"


def innocent(folder: Path, name: str) -> Path:
    """A patch that adds a file which nothing is built of."""
    path = folder / f"{name}.patch"
    file = f"Documentation/mm/{name}.txt"
    path.write_text(
        f"From: A <a@b.c>\nSubject: [PATCH] {name}\n\n---\n"
        f"diff --git a/{file} b/{file}\nnew file mode 100644\n"
        f"--- /dev/null\n+++ b/{file}\n@@ -0,0 +1 @@\n+{name}\n"
    )
    return path


def test_the_first_bad_patch_is_found_and_what_was_tried_is_not_tried_again(
    tmp_path: Path,
) -> None:
    series = ["fixed", innocent(tmp_path, "before"), FAULT, innocent(tmp_path, "behind")]
    words = ["bisect", "compaction", *(f"--series={each}" for each in series), "--good=0030"]
    words += ["--tries=1", "--confidence=0.5", f"--keep={tmp_path / 'runs'}", "--json"]
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}

    def bisect() -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "harness.cli", *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False, env=env)

    done = bisect()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "runs, but for any left out" in done.stderr
    found = json.loads(done.stdout)
    assert [each["name"] for each in found["first"]] == [FAULT.name]
    standings = {each["name"]: each["standing"] for each in found["states"]}
    assert standings[FAULT.name] == standings["behind.patch"] == "bad"
    assert standings["before.patch"] == "good"
    trials = [trial for each in found["states"] for trial in each["trials"]]
    assert {trial["outcome"] for trial in trials} == {"PASS", "FAIL"}
    again = bisect()
    assert again.returncode == 0 and json.loads(again.stdout) == found
    assert f"{len(trials)} runs were done before" in again.stderr
    assert len(list((tmp_path / "runs").glob("*/run.json"))) == len(trials) + 1  # and latest
