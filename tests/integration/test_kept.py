# SPDX-License-Identifier: GPL-2.0-only
"""A run that was kept: against another one, as one file, and done again without a compiler."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import arch

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]


def pinpage(*words: object, code: int, **env: object) -> str:
    """stdout of a command that has to end with this code."""
    argv = [sys.executable, "-m", "harness.cli", *map(str, words)]
    more = {name: str(value) for name, value in env.items()}
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, env={**os.environ, **more}
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def run(keep: Path, *words: str, code: int) -> Path:
    pinpage("run", "compaction", "--seed", "7", "--keep", keep, *words, code=code)
    return keep / "latest"


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("passed"), code=0)


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, Path]:
    """A machine that has QEMU, an empty cache, and no compiler, git or apt."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in (arch.host().qemu, "setpriv", "sh"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    return {
        "PATH": tools,
        "XDG_CACHE_HOME": tmp_path / "cache",
        "XDG_STATE_HOME": tmp_path / "state",
    }


def test_a_lying_owner_is_a_new_failure_and_an_honest_one_mends_it(
    passed: Path, tmp_path: Path
) -> None:
    lied = run(tmp_path, "--set", "lie=nocopy", code=1)
    told: dict[str, Any] = json.loads(pinpage("compare", passed, lied, "--json", code=1))
    (pair,) = told["pairs"]
    assert pair["state"] == "new failure"
    assert pair["inputs"] == [{"name": "parameter lie", "a": "none", "b": "nocopy"}]
    corrupt = [side[0]["arms"][1]["corrupt"] for side in (pair["a"], pair["b"])]
    assert corrupt[0] == 0 and corrupt[1] > 0
    pinpage("compare", lied, passed, code=0)


def test_it_is_done_again_from_its_folder(passed: Path, tmp_path: Path) -> None:
    said = pinpage("reproduce", passed, "--keep", tmp_path, code=0)
    assert "all inputs that are known are as they were" in said
    assert "reproduced  PASS, as the run said" in said
    name, words = said.splitlines()[-1].split(": ")
    assert name == "figures" and shlex.split(words)[:3] == [
        "pinpage",
        "compare",
        str(passed.resolve()),
    ]
    compared = pinpage(*shlex.split(words)[1:], code=0)
    assert "no input is known to differ" in compared


@pytest.mark.parametrize("series", ["fixed", "posted"])
def test_a_bundle_with_binaries_needs_no_compiler(
    passed: Path, tmp_path: Path, elsewhere: dict[str, Path], series: str
) -> None:
    crashed = series == "posted"
    ran = run(tmp_path, "--series", series, code=3) if crashed else passed
    bundle = tmp_path / "run.pinpage.tar.xz"
    pinpage("bundle", ran, "-o", bundle, "--with-binaries", code=0)
    told = json.loads(pinpage("reproduce", bundle, "--json", code=0, **elsewhere))
    assert told["now"]["verdict"] == ("CRASH" if crashed else "PASS")
    assert told["inputs"] == []
    assert not list(elsewhere["XDG_CACHE_HOME"].glob("pinpage/builds/*"))
    pinpage("compare", bundle, told["folder"], code=0)


def test_a_bundle_without_binaries_is_built(passed: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "run.pinpage.tar.xz"
    pinpage("bundle", passed, "-o", bundle, code=0)
    told = json.loads(pinpage("reproduce", bundle, "--keep", tmp_path, "--json", code=0))
    record = json.loads((Path(told["folder"]) / "run.json").read_text())
    assert told["same"] and told["inputs"] == [] and record["again"]["binaries"] is False
