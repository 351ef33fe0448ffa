# SPDX-License-Identifier: GPL-2.0-only
"""The main job on real kernels, and that the harness can say no: each verdict is provoked."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from rich.console import Console

from harness import pipeline, report
from harness.build.blame import Blame
from harness.model import Outcome, RunSpec, Silent
from harness.vm import machine

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]

PINPAGE = (sys.executable, "-m", "harness.cli")


def run(keep: Path, *words: str, scenario: str = "compaction") -> tuple[int, dict[str, Any], str]:
    """``pinpage run``: exit code, run.json and stderr."""
    argv = [*PINPAGE, "run", scenario, "--seed", "7", "--json", "--keep", str(keep), *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, dict[str, Any], Path]]:
    keep = tmp_path_factory.mktemp("runs")
    code, record, _ = run(keep)
    yield code, record, keep / "latest"


def test_the_main_job_passes(passed: tuple[int, dict[str, Any], Path]) -> None:
    code, record, _ = passed
    assert (code, record["verdict"]) == (0, "PASS"), record["reason"]
    control, treated = record["arms"]["control"], record["arms"]["treated"]
    assert control["pinned"] >= 2000 and treated["pinned"] >= 2000
    assert control["migrated"] == 0 and control["stayed"] == control["pinned"]
    assert treated["migrated"] > 0
    for arm in (control, treated):
        assert arm["lost"] == arm["corrupt"] == 0
    assert treated["order9_after"] > control["order9_after"]


def test_its_folder_is_whole(passed: tuple[int, dict[str, Any], Path]) -> None:
    _, record, folder = passed
    names = {path.name for path in folder.iterdir()}
    wanted = {"run.json", "junit.xml", "events.jsonl", "ledger.csv", "console.log", "reproduce"}
    assert wanted <= names
    schema = json.loads((Path(report.__file__).parent / "run.schema.json").read_text())
    jsonschema.validate(record, schema)
    assert os.access(folder / "reproduce", os.X_OK)
    rows = (folder / "ledger.csv").read_text().splitlines()
    pinned = sum(arm["pinned"] for arm in record["arms"].values())
    assert len(rows) == pinned + 1
    assert "Linux version" in (folder / "console.log").read_text(errors="replace")


SMALL = {
    "contig_range": ("area=32", "every=6", "tries=2", "threads=2"),
    "memory_hotplug": ("size=256", "every=32", "seconds=2"),
    "numa": ("seconds=2",),
    "huge_pages": ("pages=2000", "seconds=30"),
    "injection": ("calls=1", "ways=compaction,contig"),
    "leaks": ("pages=500",),
    "races": ("rounds=2", "ops=1500"),
}


@pytest.mark.parametrize("scenario", SMALL)
def test_each_scenario_passes(tmp_path: Path, scenario: str) -> None:
    words = [f"--set={each}" for each in SMALL[scenario]]
    memory = "512" if scenario == "huge_pages" else "1024"
    code, record, _ = run(tmp_path, "--memory", memory, *words, scenario=scenario)
    assert (code, record["verdict"]) == (0, "PASS"), record["reason"]
    control, treated = record["arms"]["control"], record["arms"]["treated"]
    assert control["migrated"] == 0 and treated["migrated"] > 0
    for arm in (control, treated):
        assert arm["lost"] == arm["corrupt"] == 0
        assert all(each["expected"] in (None, each["ok"]) for each in arm["attempts"])
    # Who holds what stayed is known by the kernel's own record of it.
    assert control["held_by"][0]["holder"] == "pinner"
    assert "[pinner]" in control["held_by"][0]["allocated"]
    drawn = ElementTree.parse(tmp_path / "latest" / "pages.svg")
    assert drawn.getroot().tag.endswith("svg")


@pytest.mark.parametrize("scenario", ["compaction", "contig_range", "memory_hotplug"])
@pytest.mark.parametrize("kernel", ["3.11"], indirect=True)
def test_scenarios_pass_on_an_old_kernel(tmp_path: Path, kernel: str, scenario: str) -> None:
    words = [f"--set={each}" for each in SMALL.get(scenario, ())]
    code, record, _ = run(tmp_path, "--kernel", kernel, *words, scenario=scenario)
    assert (code, record["verdict"]) == (0, "PASS"), record["reason"]
    assert record["arms"]["control"]["migrated"] == 0 < record["arms"]["treated"]["migrated"]


def test_a_snapshot_gives_what_a_boot_gives(tmp_path: Path) -> None:
    """Seed and layout are the same, so the control arm is to the page."""
    runs = [run(tmp_path, *words)[1] for words in ((), (), ("--boot-each",))]
    assert [record["verdict"] for record in runs] == ["PASS"] * 3
    origins = [set(record["guests"].values()) for record in runs]
    assert origins[1:] == [{"restored"}, {"booted: snapshots were not asked for"}]
    for record in runs[:2]:
        for count in ("pinned", "migrated", "stayed", "lost", "corrupt"):
            assert record["arms"]["control"][count] == runs[2]["arms"]["control"][count]


def test_memory_and_each_node_were_compacted(
    passed: tuple[int, dict[str, Any], Path],
) -> None:
    _, _, folder = passed
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    drives = {event["arm"]: event["data"] for event in events if event["name"] == "drive"}
    assert set(drives) == {"control", "treated"}
    for drive in drives.values():
        assert drive["rounds"] >= 1
        assert drive["nodes"] == ["/sys/devices/system/node/node0/compact"]


def test_unpatched_kernel_has_the_control_arm_alone(tmp_path: Path) -> None:
    code, record, _ = run(tmp_path, "--series", "none")
    assert list(record["arms"]) == ["control"]
    assert (code, record["verdict"]) == (0, "PASS"), record["reason"]
    assert record["arms"]["control"]["migrated"] == 0


def test_posted_series_crashes(tmp_path: Path, spec_of: Callable[..., RunSpec]) -> None:
    code, record, _ = run(tmp_path, "--series", "posted")
    assert (code, record["verdict"]) == (3, "CRASH"), record["reason"]
    (crash,) = [
        s for s in record["splats"] if s["title"].startswith("kernel BUG at mm/compaction.c")
    ]
    # The kernel names the line itself, and the build's symbols name the same one, and its patch.
    where = crash["title"].removeprefix("kernel BUG at ").rstrip("!")
    blame = crash["blame"]
    assert f"{blame['file']}:{blame['line']}" == where and blame["brought"]
    assert blame["said"] == f"0003 mm: migrate pinned page, {where}"
    # What ended the arm may stand behind it: the task that was killed may be met first.
    told = record["reason"].partition(", after which: ")[0]
    assert told.endswith(f"; blame: {blame['said']}")
    frames = {frame["function"]: frame["places"] for frame in crash["frames"] if frame["sure"]}
    assert [place["file"] for place in frames["compact_zone"]][-1] == "mm/compaction.c"
    chosen = pipeline.choose(spec_of("posted"))
    tree = Blame(pipeline.apply(chosen, pipeline.fetch(chosen, Silent()), Silent()))
    for place in (each for places in frames.values() for each in places):
        if place["file"].startswith("mm/"):
            lines = tree.read(place["file"]).splitlines()
            assert lines[place["line"] - 1].strip() not in ("", "}")
            assert place["function"] in "\n".join(lines[: place["line"]])
    junit = (tmp_path / "latest" / "junit.xml").read_text()
    assert f"blame: {blame['said']}" in junit
    # The same by hand, from the log and the build that it is of.
    log = tmp_path / "latest" / "treated" / "console.log"
    words = [*PINPAGE, "parse", str(log), "--build", record["digests"]["build"]]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 3 and f"blame: {blame['said']}" in done.stdout, done.stderr


@pytest.mark.parametrize("lie", ["nocopy", "ghost", "keep"])
def test_a_lying_owner_is_caught(tmp_path: Path, lie: str) -> None:
    code, record, _ = run(tmp_path, "--set", f"lie={lie}")
    assert record["verdict"] in ("FAIL", "INCONSISTENT", "CRASH"), record["reason"]
    assert code in (1, 3, 6)
    assert record["arms"]["control"]["migrated"] == 0


def test_a_guest_that_never_boots_hangs(
    tmp_path: Path, spec_of: Callable[..., RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "BOOT_SECONDS", 4)
    wanted = spec_of("fixed", append=("rdinit=/bin/yes",), keep=tmp_path)
    record, folder = pipeline.run(wanted, Silent())
    assert (record.exit_code, record.verdict.outcome) == (4, Outcome.HANG), record.verdict.reason
    out = io.StringIO()
    Console(file=out, width=80).print(report.terminal(record, 80))
    assert "last lines of the control arm's console:\n  y  " in out.getvalue()
    assert "\ny\n" in (folder / "console.log").read_text()


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(word) for word in found]


def _qemu_below(pid: int) -> int | None:
    for child in _children(pid):
        argv = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if argv[0].rsplit(b"/", 1)[-1].startswith(b"qemu-system-"):
            return child
        below = _qemu_below(child)
        if below is not None:
            return below
    return None


def _until_driving(folder: Path, child: subprocess.Popen[str]) -> int:
    """The pid of QEMU once the guest under it is ready."""
    end = time.monotonic() + 1200
    while time.monotonic() < end:
        assert child.poll() is None, "the run ended before its guest was up"
        consoles = list(folder.glob("*/*/console.log"))
        if consoles and b"pinpage: guest ready" in consoles[0].read_bytes():
            qemu = _qemu_below(child.pid)
            assert qemu is not None
            return qemu
        time.sleep(0.05)  # polling for the guest's own line, under a deadline
    raise AssertionError("no guest came up")


def _start(keep: Path) -> subprocess.Popen[str]:
    argv = [*PINPAGE, "run", "compaction", "--json", "--boot-each", "--keep", str(keep)]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True, preexec_fn=_minds_sigint)


def _minds_sigint() -> None:
    """A shell lets what it runs in the background ignore SIGINT, these tests among it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_killed_qemu_is_lost(tmp_path: Path, passed: object) -> None:
    child = _start(tmp_path)
    os.kill(_until_driving(tmp_path, child), signal.SIGKILL)
    out, _ = child.communicate()
    record = json.loads(out)
    assert (child.returncode, record["verdict"]) == (5, "LOST"), record["reason"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_and_leaves_no_guest(
    tmp_path: Path, passed: object, number: signal.Signals
) -> None:
    child = _start(tmp_path)
    qemu = _until_driving(tmp_path, child)
    child.send_signal(number)
    child.communicate()
    assert child.returncode == 128 + number
    assert not Path(f"/proc/{qemu}").exists()
    (record,) = [json.loads(p.read_text()) for p in tmp_path.glob("2*/run.json")]
    assert record["interrupted"] is True
