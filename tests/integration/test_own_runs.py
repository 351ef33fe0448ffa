# SPDX-License-Identifier: GPL-2.0-only
"""Scenarios of one's own on real kernels: README.md's to the letter, and each kind of step."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]

PINPAGE = (sys.executable, "-m", "harness.cli")
Example = Callable[[str], Path]


def run(keep: Path, *words: str, cwd: Path | None = None) -> tuple[int, dict[str, Any]]:
    argv = [*PINPAGE, "run", "--seed", "7", "--json", "--keep", str(keep), *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def attempts(record: dict[str, Any], arm: str) -> list[tuple[str, bool]]:
    return [(each["trigger"], each["ok"]) for each in record["arms"][arm]["attempts"]]


def test_the_readmes_example_passes_and_is_explained(example: Example, tmp_path: Path) -> None:
    code, record = run(tmp_path, str(example("half.yaml")))
    assert (code, record["verdict"]) == (0, "PASS"), record["reason"]
    assert record["scenario"] == "half"
    for arm in ("control", "treated"):
        assert attempts(record, arm) == [("command", True), ("compact", True), ("hugetlb", True)]
    folder = tmp_path / "latest"
    assert (folder / "scenario/half.yaml").read_text() == example("half.yaml").read_text()
    words = [*PINPAGE, "explain", str(folder), "--json"]
    said = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    counted = {(each["arm"], each["code"]): each["pages"] for each in said["accounts"]}
    stayed = {name: arm["stayed"] + arm["failed"] for name, arm in record["arms"].items()}
    assert counted["control", "not-on-a-list"] == stayed["control"] == 3000
    assert sum(n for (arm, _), n in counted.items() if arm == "treated") == stayed["treated"]
    assert all(place["found"] for place in said["reasons"][0]["places"])
    assert "pinpage explain not-on-a-list" in (folder / "junit.xml").read_text()


def test_the_readmes_series_and_module(example: Example, tmp_path: Path) -> None:
    for name in ("drain.patch", "drain/Kbuild", "drain/drain.c"):
        example(name)
    here = example("drain.yaml").parent
    keep = tmp_path / "runs"
    code, record = run(keep, "drain.yaml", "--series", "fixed", "drain.patch", cwd=here)
    assert (code, record["verdict"]) == (0, "PASS"), record["reason"]
    for arm in ("control", "treated"):
        assert attempts(record, arm) == [("command", True), ("compact", True)]
    code, record = run(keep, "drain.yaml", cwd=here)
    assert (code, record["verdict"]) == (8, "BUILD"), record["reason"]
    assert "lru_add_drain_all is not defined, or not exported to modules" in record["reason"]


STEPS = {
    "plugged": (
        "pin: {plugged: 128, every: 64}\n"
        "drive:\n"
        "  - {offline: plugged, seconds: 3, expect: succeeds, control: EINTR}\n"
        "  - command: echo online_movable > /sys/devices/system/memory/memory32/state\n"
        "    expect: succeeds\n"
        "    control: fails\n"
        "  - compact\n"
        "expect: {migrated: all}\n"
    ),
    "area": (
        "pin: {area: 32, every: 6}\n"
        "drive:\n"
        "  - {contig: 256, times: 2, expect: succeeds, control: fails}\n"
        "  - {contig: 64, align: 8}\n"
        "expect: {migrated: at least 5 %}\n"
    ),
    "nodes": (
        "pin: {pages: 2000}\n"
        "guest: {nodes: 2}\n"
        "drive:\n"
        "  - {move-user-pages: 8, to: 1, expect: succeeds, control: succeeds}\n"
        "  - compact-node: 0\n"
        "  - command: '[ -d /sys/devices/system/node/node2 ]'\n"
        "    expect: fails\n"
        "expect: {migrated: at least 10 %}\n"
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_each_kind_of_step(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_text(STEPS[name])
    code, record = run(tmp_path / "runs", str(path))
    assert (code, record["verdict"]) == (0, "PASS"), record["reason"]
    assert record["arms"]["control"]["migrated"] == 0 < record["arms"]["treated"]["migrated"]


def test_a_step_that_does_not_come_to_what_is_due(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(
        "pin: {pages: 2000}\n"
        "drive:\n"
        "  - compact\n"
        "  - command: echo x > /proc/sys/vm/compact_memory\n"
        "    expect: EBUSY\n"
    )
    code, record = run(tmp_path / "runs", str(path))
    assert (code, record["verdict"]) == (1, "FAIL"), record["reason"]
    assert "step 2 (command)" in record["reason"] and "had to fail with EBUSY" in record["reason"]
    assert "failed with EINVAL" in record["reason"]


def test_a_block_that_is_not_there_is_a_skip(tmp_path: Path) -> None:
    path = tmp_path / "gone.yaml"
    path.write_text("pin: {pages: 2000}\ndrive: [{offline: memory9999, expect: succeeds}]\n")
    code, record = run(tmp_path / "runs", str(path))
    assert (code, record["verdict"]) == (10, "SKIP"), record["reason"]
    assert "no memory block memory9999" in record["reason"]
