# SPDX-License-Identifier: GPL-2.0-only
"""Many runs of the same: counted, resumed, interrupted; with runs that are made up."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import toykernel as toy
from click.testing import CliRunner
from program import Program
from rich.console import Console

from harness import flake, report
from harness.cli import flake as command
from harness.errors import InfraError, InputError, PinpageError
from harness.flake import Cell, Job, Ran, child, inputs, tally
from harness.model import Outcome, RunSpec, Silent

FIXED = Cell("compaction", "6.12", "x86_64", "fast", ("fixed",), Outcome.PASS)
POSTED = Cell("compaction", "6.12", "x86_64", "fast", ("posted",), Outcome.CRASH)
Says = Callable[[Job], Outcome]


def plan(cells: Sequence[Cell] = (FIXED,), seeds: int = 3, repeat: int = 1) -> tuple[Job, ...]:
    def spec_of(cell: Cell, seed: int) -> RunSpec:
        words = (cell.scenario, cell.kernel, cell.arch, cell.series, cell.profile)
        return RunSpec(*words, seed=seed)

    return flake.jobs(cells, range(1, seeds + 1), repeat, spec_of)


class Fake:
    """Starts runs that end at their second look; says: what comes of each."""

    def __init__(self, says: Says, fails_after: int = 10**6) -> None:
        self.says, self.left = says, fails_after
        self.started: list[str] = []
        self.going: set[str] = set()
        self.most = 0

    def __call__(self, job: Job, folder: Path) -> FakeRun:
        folder.mkdir(parents=True)
        (folder / "run.json").write_text("{}")
        self.started.append(job.name)
        self.going.add(job.name)
        self.most = max(self.most, len(self.going))
        return FakeRun(self, job)


class FakeRun:
    def __init__(self, owner: Fake, job: Job) -> None:
        self.owner, self.job, self.looks = owner, job, 0

    def poll(self) -> Ran | None:
        self.looks += 1
        if self.looks < 2:
            return None
        if not self.owner.left:
            raise KeyboardInterrupt
        self.owner.left -= 1
        self.owner.going.discard(self.job.name)
        guests = {"control": "booted", "treated": "restored"}
        says = self.owner.says(self.job)
        return Ran(self.job.name, says, f"said {says}", 1.5, guests, ("a build",))

    def stop(self) -> None:
        self.owner.going.discard(self.job.name)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flake, "_POLL", 0)


def done(jobs: Sequence[Job], says: Says, folder: Path, **words: Any) -> list[tally.Row]:
    return tally.rows(jobs, flake.measure(jobs, folder, Fake(says), Silent(), **words))


def test_all_are_right(tmp_path: Path) -> None:
    jobs = plan((FIXED, POSTED), seeds=5)
    found = done(jobs, lambda job: job.cell.right, tmp_path)
    assert [row.counts for row in found] == [{Outcome.PASS: 5}, {Outcome.CRASH: 5}]
    assert [row.guests for row in found] == [10, 10]
    assert tally.outcome(found) is Outcome.PASS
    assert tally.total(found) == tally.rate(0, 10)
    assert not list((tmp_path / "runs").iterdir())  # none is odd


def test_an_odd_one_is_counted_and_its_folder_is_kept(tmp_path: Path) -> None:
    found = done(
        plan(seeds=4), lambda job: Outcome.HANG if job.spec.seed == 3 else Outcome.PASS, tmp_path
    )
    (row,) = found
    assert row.counts == {Outcome.PASS: 3, Outcome.HANG: 1}
    assert row.rate is not None and (row.rate.wrong, row.rate.runs) == (1, 4)
    (odd,) = row.odd
    assert Path(odd.folder, "run.json").is_file() and odd.reason == "said HANG"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [Path(odd.folder).name]
    assert tally.outcome(found) is Outcome.FAIL


def test_equal_runs_that_differ_are_flaky(tmp_path: Path) -> None:
    jobs = plan(seeds=2, repeat=3)
    found = done(
        jobs,
        lambda job: Outcome.FAIL if (job.spec.seed, job.turn) == (2, 1) else Outcome.PASS,
        tmp_path,
    )
    (row,) = found
    assert row.flaky == (tally.Flaky(2, {Outcome.PASS: 2, Outcome.FAIL: 1}),)
    # One that is wrong every time is wrong, and not flaky.
    (row,) = done(plan(seeds=2, repeat=2), lambda job: Outcome.FAIL, tmp_path / "other")
    assert row.flaky == () and row.rate == tally.rate(4, 4)


def test_what_cannot_run_is_no_observation(tmp_path: Path) -> None:
    found = done(plan(seeds=2), lambda job: Outcome.SKIP, tmp_path)
    assert found[0].rate is None and tally.total(found) is None
    assert tally.outcome(found) is Outcome.SKIP
    right = Cell("numa", "6.12", "arm64", "fast", ("fixed",), Outcome.SKIP)
    found = done(plan((right,), seeds=2), lambda job: Outcome.SKIP, tmp_path / "right")
    assert found[0].rate == tally.rate(0, 2) and tally.outcome(found) is Outcome.PASS


def test_a_skip_beside_a_pass_is_not_flaky(tmp_path: Path) -> None:
    says = lambda job: Outcome.SKIP if job.turn == 1 else Outcome.PASS  # noqa: E731
    (row,) = done(plan(seeds=1, repeat=3), says, tmp_path)
    assert row.flaky == () and row.rate == tally.rate(0, 2)
    assert tally.outcome([row]) is Outcome.PASS


def patch(path: Path, number: int) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(toy.mail("[PATCH] mine", toy.change("mm/migrate.c", "-1", f"-{number}")))


def on(
    *series: str, tree: str | None = None, kernel: str = "6.12", file: Path | None = None
) -> str:
    words = RunSpec("compaction", kernel, "x86_64", series, "fast", 7, tree=tree, file=file)
    return inputs.meant(words)


def test_a_measurement_is_of_the_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    patch(tmp_path / "my.patch", 2)
    own = Cell("compaction", "6.12", "x86_64", "fast", ("fixed", "~/my.patch"), Outcome.PASS)
    first = flake.digest(plan((own,)))
    assert flake.digest(plan((own,))) == first
    patch(tmp_path / "my.patch", 3)
    assert flake.digest(plan((own,))) != first
    spec_of = plan()[0].spec
    codes = {flake.digest(flake.jobs((own,), [1], 1, lambda c, s: spec_of, c)) for c in "ab"}
    assert len(codes) == 2


def test_words_mean_what_their_patches_hold(tmp_path: Path) -> None:
    mine, listed = tmp_path / "mine", tmp_path / "mine" / "sub" / "x.patch"
    (mine / "sub").mkdir(parents=True)
    (mine / "series").write_text("sub/x.patch\n")
    patch(listed, 2)
    first = on("fixed", str(mine))
    (mine / "notes").write_text("what is no patch means nothing")
    assert on("fixed", str(mine)) == first != on("posted", str(mine))
    assert on(str(mine), kernel="3.11") != on(str(mine))  # what is beneath
    patch(listed, 3)
    assert on("fixed", str(mine)) != first
    assert on("nothing") == on("nothing") != on("nothing else")  # the run refuses it


def test_a_range_of_commits_means_those_of_now(tmp_path: Path) -> None:
    toy.git(tmp_path, "init", "-q", "-b", "main")
    found = []
    for number in range(3):
        (tmp_path / "file").write_text(f"{number}\n")
        toy.git(tmp_path, "add", "file")
        toy.git(tmp_path, "commit", "-q", "-m", f"change {number}")
        if number:
            found.append((on(f"{tmp_path}:main~1..main"), on("main~1..main", tree=str(tmp_path))))
            assert found[-1][0] == found[-1][1] == on("main~1..main", tree=f"{tmp_path}@main")
    assert found[0] != found[1]


def test_a_scenario_of_ones_own_means_its_modules_too(tmp_path: Path) -> None:
    module = tmp_path / "mine"
    module.mkdir()
    (module / "Kbuild").write_text("obj-m := mine.o\n")
    (module / "mine.c").write_text("int one;\n")
    (tmp_path / "my.yaml").write_text(
        "pin: {pages: 200}\nmodules: [mine]\ndrive: [compact]\nexpect: {migrated: all}\n"
    )
    seen = [on("fixed"), on("fixed", file=tmp_path / "my.yaml")]
    (module / "mine.c").write_text("int two;\n")
    seen.append(on("fixed", file=tmp_path / "my.yaml"))
    (tmp_path / "own.h").write_text("extern int two;\n")
    seen.append(on("fixed", file=tmp_path / "my.yaml"))
    assert len(set(seen)) == 4


def test_cells_of_like_names_are_apart(tmp_path: Path) -> None:
    alike = [
        Cell("compaction", "6.12", "x86_64", "fast", (name,), Outcome.PASS)
        for name in ("a/b.patch", "a_b.patch")
    ]
    says = lambda job: Outcome.CRASH if "/" in job.cell.series[0] else Outcome.PASS  # noqa: E731
    found = done(plan(alike, seeds=1), says, tmp_path, at_once=2)
    assert [row.counts for row in found] == [{Outcome.CRASH: 1}, {Outcome.PASS: 1}]


def test_an_interrupted_measurement_goes_on(tmp_path: Path) -> None:
    jobs = plan(seeds=6)
    fake = Fake(lambda job: Outcome.PASS, fails_after=3)
    with pytest.raises(KeyboardInterrupt):
        flake.measure(jobs, tmp_path, fake, Silent(), at_once=2)
    assert not fake.going  # what went on was stopped
    results = tmp_path / "results.jsonl"
    assert len(results.read_text().splitlines()) == 3
    with results.open("a") as file:
        file.write('{"job": "cut off')
    again = Fake(lambda job: Outcome.PASS)
    ran = flake.measure(jobs, tmp_path, again, Silent())
    assert len(again.started) == 3 and not set(again.started) & set(fake.started[:3])
    assert [each.job for each in ran] == [job.name for job in jobs]
    assert flake.measure(jobs, tmp_path, Fake(lambda job: Outcome.FAIL), Silent()) == ran


def test_another_plan_is_refused(tmp_path: Path) -> None:
    done(plan(seeds=2), lambda job: Outcome.PASS, tmp_path)
    with pytest.raises(InputError, match="another measurement"):
        done(plan(seeds=3), lambda job: Outcome.PASS, tmp_path)
    assert flake.digest(plan(seeds=2)) != flake.digest(plan(seeds=3))


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_no_more_guests_than_asked_for(tmp_path: Path, at_once: int) -> None:
    fake = Fake(lambda job: Outcome.PASS)
    flake.measure(plan(seeds=6), tmp_path, fake, Silent(), at_once=at_once)
    assert fake.most == at_once and len(fake.started) == 6


@pytest.mark.parametrize(
    ("wrong", "runs", "low", "high"),
    [
        # Values of R's prop.test(correct=FALSE), which is Wilson's interval.
        (0, 10, 0.0, 0.2775328),
        (1, 10, 0.01787621, 0.4041500),
        (5, 10, 0.2365931, 0.7634069),
        (0, 100, 0.0, 0.03699350),
        (10, 10, 0.7224672, 1.0),
    ],
)
def test_wilsons_bounds(wrong: int, runs: int, low: float, high: float) -> None:
    found = tally.rate(wrong, runs)
    assert found.low == pytest.approx(low, abs=1e-6)
    assert found.high == pytest.approx(high, abs=1e-6)


def test_table_and_json(tmp_path: Path) -> None:
    jobs = plan(seeds=2, repeat=2)
    found = done(
        jobs, lambda job: Outcome.FAIL if job.turn == job.spec.seed == 1 else Outcome.PASS, tmp_path
    )
    data = json.loads(json.dumps(tally.as_json(found, tmp_path)))
    assert data["outcome"] == "FAIL" and data["total"]["wrong"] == 1
    assert data["cells"][0]["flaky"] == [{"seed": 1, "verdicts": {"PASS": 1, "FAIL": 1}}]
    shown = io.StringIO()
    Console(file=shown, width=200).print(report.flake(data))
    text = shown.getvalue()
    assert "3 PASS, 1 FAIL" in text and "1 of 4: 25.0% (4.6% to 69.9%)" in text
    assert "FLAKY  compaction 6.12 x86_64 fast fixed, seed 1: 1 PASS, 1 FAIL" in text
    assert "said FAIL" in text and str(tmp_path) in text.replace("\n", "")


def test_words_of_a_series_are_shown_as_they_are(tmp_path: Path) -> None:
    data = tally.as_json(done(plan(), lambda job: Outcome.PASS, tmp_path), tmp_path)
    data["cells"][0]["series"] = ["[v2]", "my:100:[/x].patch"]
    shown = io.StringIO()
    Console(file=shown, width=200).print(report.flake(data))
    assert "fast [v2] my:100:[/x].patch" in shown.getvalue()


# ---------------------------------------------------------------------------------------------
# The command, and the run as a program
# ---------------------------------------------------------------------------------------------


def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *words: str) -> tuple[Any, Any]:
    """The command's answer and the plan that it made."""
    made: list[Sequence[Job]] = []

    def measure(jobs: Sequence[Job], *rest: Any, **more: Any) -> list[Ran]:
        made.append(jobs)
        return [Ran(job.name, job.cell.right) for job in jobs]

    monkeypatch.setattr(flake, "measure", measure)
    result = CliRunner().invoke(command.measure, [*words, "--keep", str(tmp_path)])
    if isinstance(result.exception, InputError):
        raise result.exception
    return result, made[0] if made else ()


def test_words_make_the_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = ["compaction", "numa", "--series", "none", "--series", "posted", "--arch", "all"]
    words += ["--seeds", "1-2,9", "--repeat", "2", "--expect", "numa,arm64=SKIP", "--json"]
    result, jobs = asked(monkeypatch, tmp_path, *words)
    assert result.exit_code == 0, result.output
    assert len(jobs) == 2 * 2 * 2 * 3 * 2 and len({job.name for job in jobs}) == len(jobs)
    right = {
        (job.cell.scenario, job.cell.arch, *job.cell.series): job.cell.right.value for job in jobs
    }
    assert right["compaction", "x86_64", "none"] == "PASS"
    assert right["compaction", "arm64", "posted"] == "CRASH"
    assert right["numa", "arm64", "posted"] == "SKIP" and right["numa", "x86_64", "none"] == "PASS"
    assert {job.spec.seed for job in jobs} == {1, 2, 9}
    assert json.loads(result.stdout)["total"]["runs"] == 48


def test_guests_and_kernels_are_as_those_of_a_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = ["--boot-each", "--memory", "512", "--smp", "2", "--append", "nosmt", "--jobs", "3"]
    options += ["--config", "SLUB_DEBUG=n", "--toolchain", "llvm", "--accel", "tcg"]
    result, (job,) = asked(monkeypatch, tmp_path, "compaction", "--seeds", "7", *options)
    assert result.exit_code == 0, result.output
    spec = job.spec
    assert (spec.snapshots, spec.memory_mib, spec.smp, spec.append) == (False, 512, 2, ("nosmt",))
    assert (spec.config, spec.toolchain, spec.accel) == (("SLUB_DEBUG=n",), "llvm", "tcg")
    assert (spec.jobs, spec.seed, spec.series) == (3, 7, ("fixed",))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nothing"],
        ["compaction", "--seeds", "3-1"],
        ["compaction", "--seeds", "a"],
        ["compaction", "--expect", "FINE"],
        ["compaction", "--kernel", "1.0"],
        ["compaction", "--profile", "slow"],
        ["compaction", "--seeds", "1-9999", "--repeat", "9"],
    ],
)
def test_wrong_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(InputError):
        asked(monkeypatch, tmp_path, *words)


def test_too_many_runs_are_refused_before_they_are_planned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(flake, "jobs", None)
    words = ["compaction", "numa", "--repeat", str(10**12), "--seeds", "1-5"]
    with pytest.raises(InputError, match="10000000000000 runs, and 10000 are the most"):
        asked(monkeypatch, tmp_path, *words)


def test_a_long_name_is_cut_and_its_own(tmp_path: Path) -> None:
    """A folder has it, whose file system takes 255 bytes."""
    long = "/".join(["", *["häuser"] * 30, "0001-mm.patch"])
    cells = [
        Cell("compaction", "6.12", "x86_64", "fast", (f"{long}{end}",) * 3, Outcome.PASS)
        for end in "ab"
    ]
    names = [job.name for job in plan(cells, seeds=1)]
    assert len(set(names)) == 2 and max(len(name.encode()) for name in names) <= 255
    done(plan(cells, seeds=1), lambda job: Outcome.FAIL, tmp_path)
    assert all(name.startswith("compaction-6.12-x86_64-fast-_h") for name in names)


def _program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A pinpage that is a shell script; $keep is the folder that it was given."""
    script = tmp_path / "program"
    find = 'while [ "$1" != --keep ]; do shift; done; keep=$2\n'
    script.write_text(f"#!/bin/sh\n{find}{body}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


RECORD = {
    "verdict": "HANG",
    "reason": "it hangs",
    "seconds": 2.5,
    "interrupted": False,
    "guests": {"control": "booted"},
    "digests": {"tree": "t", "build": "k1", "build lockdep": "k2"},
}


def ended(run: child.Child) -> Ran:
    while True:
        ran = run.poll()
        if ran is not None:
            return ran


def test_a_run_is_a_program_whose_record_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = plan(seeds=1)
    said = json.dumps(RECORD)
    _program(
        tmp_path,
        monkeypatch,
        f"mkdir $keep/r; echo '{said}' > $keep/r/run.json; ln -s r $keep/latest; exit 4",
    )
    ran = ended(child.Child(job, tmp_path / "own"))
    guests = {"control": "booted"}
    assert ran == Ran(job.name, Outcome.HANG, "it hangs", 2.5, guests, ("k1", "k2"))


@pytest.mark.parametrize(
    ("body", "said", "kind"),
    [
        ("echo no such thing >&2; exit 2", "was refused", InputError),
        ("exit 0", "left no record", InfraError),
        (f"mkdir $keep/r; echo '{json.dumps({**RECORD, 'interrupted': True})}' > $keep/r/run.json",
         "left no record", InfraError),
        ("kill -TERM $$", "was stopped", InfraError),
    ],
)  # fmt: skip
def test_a_run_without_a_verdict_ends_the_measurement(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    said: str,
    kind: type[PinpageError],
) -> None:
    (job,) = plan(seeds=1)
    _program(tmp_path, monkeypatch, body)
    with pytest.raises(kind, match=said):
        ended(child.Child(job, tmp_path / "own"))


def test_a_run_that_is_stopped_gets_time_to_end_its_guest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = plan(seeds=1)
    ready = tmp_path / "ready"
    body = f"trap 'echo gone > {tmp_path}/gone; exit 143' TERM; : > {ready}; while :; do :; done"
    _program(tmp_path, monkeypatch, body)
    run = child.Child(job, tmp_path / "own")
    while not ready.exists():
        assert run.poll() is None
    run.stop()
    assert (tmp_path / "gone").read_text() == "gone\n"


def test_an_interruption_says_that_the_rest_can_follow(
    within: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(flake, "measure", interrupted)
    done = within("flake", "compaction", "--seeds", "1")
    assert done.returncode == 130
    assert "the same words go on with the rest" in done.stderr
