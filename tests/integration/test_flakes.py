# SPDX-License-Identifier: GPL-2.0-only
"""Equal runs on a real kernel give one verdict, and their results are there the next time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]


def flake(keep: Path, *words: str) -> tuple[int, dict[str, Any]]:
    argv = [sys.executable, "-m", "harness.cli", "flake", "compaction", "--json"]
    argv += ["--seeds", "7", "--repeat", "2", "--set", "pages=2000", "--keep", str(keep), *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_equal_runs_give_one_verdict(tmp_path: Path) -> None:
    status, found = flake(tmp_path)
    (cell,) = found["cells"]
    assert (status, cell["verdicts"], cell["flaky"]) == (0, {"PASS": 2}, [])
    assert cell["guests"] == 4 and cell["builds"] == 1
    assert found["total"]["wrong"] == 0 and not list((tmp_path / "runs").iterdir())
    begun = (tmp_path / "results.jsonl").stat().st_mtime_ns
    again, same = flake(tmp_path)
    assert (again, same) == (status, found)
    assert (tmp_path / "results.jsonl").stat().st_mtime_ns == begun  # nothing was run


def test_what_is_wrongly_expected_is_a_false_verdict(tmp_path: Path) -> None:
    status, found = flake(tmp_path, "--expect", "FAIL", "--repeat", "1")
    (cell,) = found["cells"]
    assert (status, cell["right"], cell["verdicts"]) == (1, "FAIL", {"PASS": 1})
    (odd,) = cell["odd"]
    assert list(Path(odd["folder"]).glob("*/run.json"))
