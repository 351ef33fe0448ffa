# SPDX-License-Identifier: GPL-2.0-only
"""The seeded faults: the catalogue's headers, when a fault is caught, what is tried again."""

from __future__ import annotations

import json
import multiprocessing
import re
import shutil
import signal
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from click.testing import CliRunner
from program import Program
from rich.console import Console

from harness import cli, judges, pipeline, resources, scenario, spec
from harness.build import kernel, modules
from harness.cli import planted as command
from harness.errors import InputError, PatchError
from harness.faults import catalogue
from harness.faults.catalogue import Fault, Try
from harness.faults.matrix import Matrix, Row
from harness.faults.runs import Runs
from harness.faults.store import Store, Tried
from harness.model import Outcome, Patch, PatchedTree, RunSpec, Series, Silent, SourceTree
from harness.report import seeded

CHEAP, DEAR = Try("compaction", "fast"), Try("defects", "fast", ("only=5",))
HEAD = """\
Subject: [PATCH] mm: pinpage: a page is lost

More words.

Try: compaction fast
Try: defects debug only=5 smp=2
"""
DIFF = """\
---
diff --git a/mm/pinpage.c b/mm/pinpage.c
--- a/mm/pinpage.c
+++ b/mm/pinpage.c
@@ -1 +1 @@
-a
+b
"""
KERNELS = ("6.12", "3.11")


def fault(name: str, *tries: Try, equivalent: str = "") -> Fault:
    return Fault(name, "a title", Path(f"{name}.patch"), name.encode(), tries, equivalent)


Answers = Mapping[tuple[str | None, Try], Outcome]


@dataclass
class Fake:
    """Answers by fault (None: the baseline) and try; what is not named passes."""

    answers: Answers = field(default_factory=dict)
    done: list[tuple[str | None, Try]] = field(default_factory=list)

    def inputs(self, fault: Fault | None, how: Try) -> tuple[str, ...]:
        return (fault.name if fault else "", str(how))

    def run(self, fault: Fault | None, how: Try) -> Tried:
        key = (fault.name if fault else None, how)
        self.done.append(key)
        outcome = self.answers.get(key, Outcome.PASS)
        return Tried(how.scenario, how.profile, "", outcome, f"it is {outcome}", seconds=4.0)


def examined(fake: Fake, folder: Path, *faults: Fault, again: bool = False) -> list[Row]:
    matrix = Matrix(fake, folder, "code", again)
    return list(matrix.examine(faults))


# The matrix ------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", Outcome)
def test_a_fault_is_caught_by_what_the_kernel_does_alone(outcome: Outcome, tmp_path: Path) -> None:
    (row,) = examined(Fake({("f", CHEAP): outcome}), tmp_path, fault("f", CHEAP))
    kernels = {Outcome.FAIL, Outcome.CRASH, Outcome.HANG, Outcome.LOST, Outcome.INCONSISTENT}
    assert (row.caught is not None) == (outcome in kernels) == row.good
    state = {Outcome.PASS: "missed"}.get(outcome, "untold")
    assert row.state == ("caught" if outcome in kernels else state)


def test_tries_end_with_the_first_that_catches(tmp_path: Path) -> None:
    fake = Fake({("f", DEAR): Outcome.CRASH})
    third = Try("numa", "fast")
    (row,) = examined(fake, tmp_path, fault("f", CHEAP, DEAR, third))
    assert [each.outcome for each in row.tried] == [Outcome.PASS, Outcome.CRASH]
    assert row.caught is row.tried[1] and row.caught.said == "it is CRASH"
    assert ("f", third) not in fake.done


def test_what_does_not_pass_without_a_fault_proves_nothing(tmp_path: Path) -> None:
    fake = Fake({(None, CHEAP): Outcome.FAIL, ("f", CHEAP): Outcome.FAIL})
    (row,) = examined(fake, tmp_path, fault("f", CHEAP))
    assert ("f", CHEAP) not in fake.done
    assert (row.state, row.caught) == ("untold", None)
    assert "without the fault it is FAIL: it is FAIL" in row.tried[0].said


def test_a_fault_is_not_missed_while_one_of_its_tries_is_of_no_use(tmp_path: Path) -> None:
    (row,) = examined(Fake({(None, DEAR): Outcome.FAIL}), tmp_path, fault("f", CHEAP, DEAR))
    assert [each.outcome for each in row.tried] == [Outcome.PASS, Outcome.SKIP]
    assert row.state == "untold"


def test_a_lost_machine_catches_a_fault_if_it_is_lost_again(tmp_path: Path) -> None:
    class Once(Fake):
        def run(self, fault: Fault | None, how: Try) -> Tried:
            found = super().run(fault, how)
            again = self.done.count(("f", CHEAP)) > 1
            return replace(found, outcome=Outcome.PASS) if again else found

    lost: Answers = {("f", CHEAP): Outcome.LOST}
    (row,) = examined(Once(lost), tmp_path / "a", fault("f", CHEAP))
    assert row.state == "missed"
    (row,) = examined(Fake(lost), tmp_path / "b", fault("f", CHEAP))
    assert row.state == "caught"


@pytest.mark.parametrize("outcome", [Outcome.PATCH, Outcome.BUILD])
def test_a_fault_that_does_not_build_is_not_tried_further(outcome: Outcome, tmp_path: Path) -> None:
    (row,) = examined(Fake({("f", CHEAP): outcome}), tmp_path, fault("f", CHEAP, DEAR))
    assert (row.state, len(row.tried), row.error) == ("untold", 1, f"it is {outcome}")


def test_what_was_not_tried_is_not_called_equivalent() -> None:
    none = fault("none", CHEAP, equivalent="nobody reads it")
    for outcome in (Outcome.PATCH, Outcome.BUILD, Outcome.INFRA, Outcome.SKIP):
        row = Row(none, (Tried("a", "fast", "", outcome, "said"),))
        assert (row.state, row.good) == ("untold", False)


def test_what_is_called_equivalent_must_not_be_caught(tmp_path: Path) -> None:
    none = fault("none", CHEAP, equivalent="nobody reads it")
    (row,) = examined(Fake(), tmp_path / "a", none)
    assert (row.state, row.good) == ("equivalent", True)
    (row,) = examined(Fake({("none", CHEAP): Outcome.FAIL}), tmp_path / "b", none)
    assert (row.state, row.good) == ("caught", False)


@dataclass
class Waiting(Fake):
    """Fault f waits in its run until it is asked to end; the others until that has begun."""

    folder: Path = Path()

    def run(self, fault: Fault | None, how: Try) -> Tried:
        begun, unwound = self.folder / "begun", self.folder / "unwound"
        if fault is not None and fault.name == "f":
            try:
                begun.touch()
                signal.pause()
            finally:
                unwound.touch()
        elif fault is not None:
            until(begun.exists)
        return super().run(fault, how)


def until(so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_is_tried_side_by_side_unwinds_where_the_rest_is_dropped(tmp_path: Path) -> None:
    fake = Waiting(folder=tmp_path)
    faults = [fault("f", CHEAP), fault("g", CHEAP), *(fault(f"h{i}", CHEAP) for i in range(9))]
    rows = Matrix(fake, tmp_path / "records", "code").examine(faults, 2)
    assert next(iter(rows)).fault.name == "g"
    cast("Generator[Row, None, None]", rows).close()
    until((tmp_path / "unwound").exists)
    until(lambda: not multiprocessing.active_children())


def test_faults_are_tried_side_by_side(tmp_path: Path) -> None:
    faults = [fault(name, CHEAP) for name in "abc"]
    matrix = Matrix(Fake({("b", CHEAP): Outcome.HANG}), tmp_path, "code")
    rows = {row.fault.name: row.state for row in matrix.examine(faults, 2)}
    assert rows == {"a": "missed", "b": "caught", "c": "missed"}


# What has been tried ---------------------------------------------------------------------------


def test_what_was_tried_is_not_tried_again(tmp_path: Path) -> None:
    answers: Answers = {("f", DEAR): Outcome.INCONSISTENT, ("g", CHEAP): Outcome.INFRA}
    both = (fault("f", CHEAP, DEAR), fault("g", CHEAP))
    first = examined(Fake(answers), tmp_path, *both)
    fake = Fake(answers)
    second = examined(fake, tmp_path, *both)
    assert fake.done == [("g", CHEAP)]  # our own failure says nothing of the fault
    assert [row.state for row in first] == [row.state for row in second] == ["caught", "untold"]
    assert [each.recorded for each in second[0].tried] == [True, True]
    fake = Fake(answers)
    examined(fake, tmp_path, *both, again=True)
    assert len(fake.done) == 5


def test_nothing_is_asked_of_the_series_that_no_fault_needs(tmp_path: Path) -> None:
    fake = Fake({("f", CHEAP): Outcome.CRASH, ("g", CHEAP): Outcome.CRASH})
    rows = examined(fake, tmp_path, fault("f", CHEAP, DEAR), fault("g", CHEAP))
    assert fake.done == [(None, CHEAP), ("f", CHEAP), ("g", CHEAP)]
    assert [[each.outcome for each in row.base] for row in rows] == [[Outcome.PASS]] * 2


@pytest.mark.parametrize("again", [False, True])
def test_what_failed_without_a_fault_is_asked_again_by_the_next(
    tmp_path: Path, again: bool
) -> None:
    both = (fault("f", CHEAP), fault("g", CHEAP))
    fake = Fake({(None, CHEAP): Outcome.FAIL})
    assert [row.state for row in examined(fake, tmp_path, *both, again=again)] == ["untold"] * 2
    assert fake.done == [(None, CHEAP)]
    fake = Fake({("f", CHEAP): Outcome.FAIL})
    rows = examined(fake, tmp_path, *both, again=again)
    assert [row.state for row in rows] == ["caught", "missed"]
    assert fake.done == [(None, CHEAP), ("f", CHEAP), ("g", CHEAP)]


def test_a_record_holds_for_the_code_that_judged_it(tmp_path: Path) -> None:
    old, new = Store(tmp_path, "old"), Store(tmp_path, "new")
    missed = Tried("compaction", "fast", "", Outcome.PASS, "all is well")
    old.keep(("a",), missed)
    old.keep(("b",), replace(missed, outcome=Outcome.CRASH))
    assert old.look(("a",)) == replace(missed, code="old", recorded=True)
    assert new.look(("a",)) is None
    assert new.look(("b",)) is None
    assert new.look(("c",)) is None
    for path in tmp_path.glob("*.json"):
        path.write_text(path.read_text()[:20])
    assert old.look(("a",)) is None and new.look(("b",)) is None


def test_the_code_that_judges_has_a_digest() -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", judges.code())


# The catalogue ---------------------------------------------------------------------------------


def written(folder: Path, text: str, name: str = "01-lost.patch") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_header_is_read(tmp_path: Path) -> None:
    found = catalogue.read(written(tmp_path, HEAD + DIFF))
    assert (found.name, found.title) == ("01-lost", "a page is lost")
    assert found.tries == (CHEAP, Try("defects", "debug", ("only=5",), (("smp", 2),)))
    assert str(found.tries[1]) == "defects debug only=5 smp=2"
    assert not found.modules and not found.equivalent
    why = "Equivalent: nobody reads\n it, ever\n"
    assert (
        catalogue.read(written(tmp_path, HEAD + why + DIFF)).equivalent == "nobody reads it, ever"
    )
    owner = DIFF.replace("mm/pinpage.c", "guest-modules/pinner/migrate.c")
    assert catalogue.read(written(tmp_path, HEAD + owner)).modules


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (HEAD.replace("mm: pinpage", "net") + DIFF, "no subject"),
        (HEAD.replace("Try:", "Look:") + DIFF, "no line 'Try"),
        (HEAD, "no diff"),
        (HEAD.replace("compaction fast", "compaction") + DIFF, "without a profile"),
        (HEAD.replace("fast", "fast quickly") + DIFF, "without a profile"),
        (HEAD + DIFF + DIFF.replace("mm/", "guest-modules/"), "and of guest modules"),
    ],
)
def test_a_header_that_lacks_something_is_named(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=named):
        catalogue.read(written(tmp_path, text))


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_seeded_fault_can_be_read_and_tried(kernel: str) -> None:
    found = catalogue.load(kernel)
    assert len(found) >= 40
    assert len({each.digest for each in found}) == len(found)
    for each in found:
        assert re.fullmatch(r"\d\d\d?-[a-z0-9-]+", each.name)
        for how in each.tries:
            if how.scenario in scenario.names():
                scenario.params(how.scenario, how.settings)


def test_a_fault_has_one_name_on_every_kernel() -> None:
    """One that a kernel cannot have is named in the catalogue's README, with the reason."""
    names = {kernel: {each.name for each in catalogue.load(kernel)} for kernel in KERNELS}
    readme = (resources.faults() / "README.md").read_text()
    for name in names["6.12"] ^ names["3.11"]:
        assert f"`{name}`" in readme
    numbers = [int(name.partition("-")[0]) for name in names["6.12"] | names["3.11"]]
    assert len(set(numbers)) == len(numbers)


def test_the_catalogue_goes_by_number() -> None:
    numbers = [int(each.name.partition("-")[0]) for each in catalogue.load("6.12")]
    assert numbers == sorted(numbers) and numbers[-1] > 99


def test_names_choose() -> None:
    assert [each.name for each in catalogue.load("6.12", ("copy-partial",))] == ["01-copy-partial"]
    with pytest.raises(InputError, match="nonsense"):
        catalogue.load("6.12", ("copy", "nonsense"))
    with pytest.raises(InputError, match=r"9\.99"):
        catalogue.load("9.99")


# The guest modules -----------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_fault_of_the_owner_goes_into_a_copy_of_the_modules(kernel: str, tmp_path: Path) -> None:
    ours = resources.guest_modules()
    before = {path: path.read_bytes() for path in ours.rglob("*") if path.is_file()}
    for each in catalogue.load(kernel):
        if not each.modules:
            continue
        patch = Patch(each.path.name, each.title, each.text)
        made = modules.patched(ours, patch, cache=tmp_path, progress=Silent())
        changed = {
            str(path.relative_to(made))
            for path in made.rglob("*")
            if path.is_file() and path.read_bytes() != before[ours / path.relative_to(made)]
        }
        assert changed and all(name.startswith("pinner/") for name in changed)
        assert modules.patched(ours, patch, cache=tmp_path, progress=Silent()) == made
    assert before == {path: path.read_bytes() for path in ours.rglob("*") if path.is_file()}


def test_a_fault_that_does_not_fit_the_modules_says_so(tmp_path: Path) -> None:
    owner = DIFF.replace("mm/pinpage.c", "guest-modules/pinner/migrate.c")
    patch = Patch("x.patch", "x", (HEAD + owner).encode())
    with pytest.raises(PatchError, match=r"x\.patch"):
        modules.patched(resources.guest_modules(), patch, cache=tmp_path, progress=Silent())
    assert not list((tmp_path / "modules").glob("*/guest-modules"))


def test_a_scenario_that_is_not_there_is_skipped_with_its_reason() -> None:
    runs = Runs(RunSpec("", "6.12", "x86_64", ("fixed",), "fast", 7), Silent())
    for how, said in (
        (Try("juggling", "fast"), "no scenario juggling"),
        (Try("compaction", "blind"), "no profile blind"),
        (Try("compaction", "fast", ("pages=1",)), "pages"),
    ):
        found = runs.run(None, how)
        assert found.outcome is Outcome.SKIP and said in found.said
        assert runs.inputs(None, how) == ()


# The table and the command ---------------------------------------------------------------------


def shown(rows: list[Row]) -> str:
    out = StringIO()
    Console(file=out, width=100).print(seeded.faults([command._row(row) for row in rows]))
    return out.getvalue()


def test_settings_are_shown_as_they_are() -> None:
    how = {"scenario": "[v2]", "profile": ":100:", "settings": "[/x]"}
    tried = {**how, "outcome": "CRASH", "said": "[v3] at mm/x.c:100:5: [/x]", "seconds": 1.0}
    row = {"name": "[v4]", "title": "[/x]", "tried": [tried], "caught": True, "state": "caught"}
    out = StringIO()
    Console(file=out, width=160).print(seeded.baseline([tried]), seeded.faults([row]))
    assert out.getvalue().count("[v2] :100: [/x]") == 2
    for words in ("[v3] at mm/x.c:100:5: [/x]", "[v4]", "\n[/x]"):
        assert words in out.getvalue().replace("\n ", "\n")


def test_the_table_says_what_caught_each(tmp_path: Path) -> None:
    rows = examined(
        Fake({("01-a", DEAR): Outcome.CRASH, ("04-d", CHEAP): Outcome.BUILD}),
        tmp_path,
        fault("01-a", CHEAP, DEAR),
        fault("02-b", CHEAP),
        fault("03-c", CHEAP, equivalent="nobody reads it"),
        fault("04-d", CHEAP),
    )
    text = " ".join(shown(rows).split())
    for words in (
        "1 of 4 seeded faults are caught, 1 change nothing that could be seen, 1 are missed: 02-b, "
        "1 could not be told: 04-d",
        "it is CRASH",
        "compaction fast: PASS",
        "nobody reads it",
        "it is BUILD",
    ):
        assert words in text
    text = seeded.markdown([command._row(row) for row in rows])
    head, _, *lines, _, said = text.splitlines()
    assert head.count("|") == 6 and {line.count("|") for line in lines} == {6} and len(lines) == 4
    assert "| CRASH |" in lines[0]
    assert "**missed**" in lines[1] and "nobody reads it" in lines[2] and said.endswith(r"04\-d.")
    assert command._outcome(rows) is Outcome.FAIL
    assert command._outcome([rows[0], rows[2]]) is Outcome.PASS
    assert command._outcome([rows[0], rows[3]]) is Outcome.INFRA


def test_the_command_runs_the_faults_and_ends_as_they_did(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[RunSpec] = []

    def runs(words: RunSpec, progress: object) -> Fake:
        asked.append(words)
        return Fake({("01-copy-partial", CHEAP): Outcome.FAIL})

    monkeypatch.setattr(command, "Runs", runs)
    monkeypatch.setattr(resources, "state", lambda: tmp_path)
    call = ["faults", "copy-partial", "copy-shifted", "--json", "--arch", "x86_64"]
    done = CliRunner().invoke(cli.cli, call)
    assert done.exit_code == 1, done.output
    said = json.loads(done.stdout)
    assert [row["state"] for row in said["faults"]] == ["caught", "missed"]
    assert [row["outcome"] for row in said["baseline"]] == ["PASS"]
    assert (asked[0].seed, asked[0].series, asked[0].keep) == (
        7,
        ("fixed",),
        tmp_path / "faults/runs",
    )
    done = CliRunner().invoke(cli.cli, ["faults", "copy-partial", "--arch", "x86_64"])
    assert done.exit_code == 0, done.output


def test_the_command_lists_and_refuses() -> None:
    done = CliRunner().invoke(cli.cli, ["faults", "--list", "copy-partial"])
    assert (done.exit_code, "compaction fast" in done.output) == (0, True)
    for words in (["--profile", "nonsense"], ["nonsense"], ["--arch", "all"]):
        done = CliRunner().invoke(cli.cli, ["faults", *words])
        assert isinstance(done.exception, InputError)


# What a run is asked ---------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[RunSpec, Path | None]]:
    """What pipeline.run() is called with; nothing is fetched, built or booted."""
    calls: list[tuple[RunSpec, Path | None]] = []

    def run(words: RunSpec, progress: object, folder: Path | None) -> tuple[SimpleNamespace, Path]:
        calls.append((words, folder))
        verdict = SimpleNamespace(outcome=Outcome.FAIL, reason="3 pages are lost")
        stages = {"source": 1.0, "build": 20.5, "boot control": 5.0}
        return SimpleNamespace(verdict=verdict, stages=stages, seconds=60.0), tmp_path

    monkeypatch.setattr(pipeline, "run", run)
    monkeypatch.setattr(pipeline, "fetch", lambda chosen, progress: None)
    monkeypatch.setattr(pipeline, "apply", lambda chosen, tree, progress: chosen.spec.series)
    monkeypatch.setattr(
        pipeline,
        "digest",
        lambda chosen, tree: f"{tree} {kernel.content(chosen.modules / 'pinner')}",
    )
    monkeypatch.setattr(resources, "cache", lambda: tmp_path)
    return calls


WORDS = RunSpec("", "6.12", "x86_64", ("fixed",), "fast", 7)


def test_a_fault_of_the_kernel_goes_on_top_of_the_series(
    asked: list[tuple[RunSpec, Path | None]],
) -> None:
    (found,) = catalogue.load("6.12", ("old-page-leaks",))
    how = Try("defects", "lockdep", ("only=5",), (("smp", 2), ("memory", 2048)))
    tried = Runs(WORDS, Silent()).run(found, how)
    ((words, folder),) = asked
    assert (words.series, folder) == (("fixed", str(found.path)), None)
    assert (words.scenario, words.profile, words.params) == ("defects", "lockdep", {"only": "5"})
    assert (words.smp, words.memory_mib, words.seed) == (2, 2048, 7)
    assert (tried.outcome, tried.said) == (Outcome.FAIL, "3 pages are lost")
    assert (tried.settings, tried.seconds, tried.build_seconds) == (
        "only=5 smp=2 memory=2048",
        38.5,
        21.5,
    )


def test_a_fault_of_the_owner_leaves_the_series_alone(
    asked: list[tuple[RunSpec, Path | None]],
) -> None:
    (found,) = catalogue.load("6.12", ("copy-partial",))
    Runs(WORDS, Silent()).run(found, CHEAP)
    ((words, folder),) = asked
    assert words.series == ("fixed",) and folder is not None
    assert "PAGE_SIZE - 64" in (folder / "pinner" / "migrate.c").read_text()


def test_whatever_a_try_depends_on_tells_it_from_others(
    asked: list[tuple[RunSpec, Path | None]],
) -> None:
    runs = Runs(WORDS, Silent())
    kernels, owners = (
        catalogue.load("6.12", ("old-page-leaks",)),
        catalogue.load("6.12", ("copy-",)),
    )
    several = {
        runs.inputs(None, CHEAP),
        runs.inputs(None, DEAR),
        runs.inputs(None, replace(CHEAP, guest=(("smp", 2),))),
        runs.inputs(None, replace(CHEAP, settings=("rounds=3",))),
        Runs(replace(WORDS, seed=8), Silent()).inputs(None, CHEAP),
        *(runs.inputs(each, CHEAP) for each in (*kernels, *owners)),
    }
    assert len(several) == 5 + len(kernels) + len(owners)
    assert runs.inputs(None, CHEAP) in several


def test_a_guest_is_told_from_others_by_the_modules_that_it_loads(tmp_path: Path) -> None:
    words = replace(WORDS, scenario="compaction")
    source = SourceTree(tmp_path, "tree:1", "6.12", "here")
    tree = PatchedTree(source, Series("s", (), "d", "o"), {}, frozenset(), {}, "patched:1")
    chosen = pipeline.choose(words)
    copy = tmp_path / "guest-modules"
    shutil.copytree(resources.guest_modules(), copy)
    first = pipeline.digest(chosen, tree)
    assert first == pipeline.digest(pipeline.choose(words, copy), tree)
    probes = pipeline.choose(replace(words, scenario="defects"), copy)
    before = pipeline.digest(probes, tree)
    (copy / "prober" / "trial.c").write_text("another")
    assert first == pipeline.digest(pipeline.choose(words, copy), tree)
    assert before != pipeline.digest(probes, tree)
    (copy / "pinner" / "migrate.c").write_text("another")
    assert first != pipeline.digest(pipeline.choose(words, copy), tree)
    assert first != pipeline.digest(chosen, replace(tree, digest="patched:2"))
    other = next(each for each in spec.profiles() if each.fragments != chosen.profile.fragments)
    assert first != pipeline.digest(replace(chosen, profile=other), tree)


def test_records_hold_for_all_code_that_judges() -> None:
    top = Path(judges.__file__).parent
    seen, left = set[str](), ["verdict"]
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            text = (top / f"{name}.py").read_text()
            for line in re.findall(r"^from harness(?:\.(\w+))? import (.+)$", text, re.MULTILINE):
                names = [line[0]] if line[0] else line[1].split(", ")
                left += [each for each in names if (top / f"{each}.py").is_file()]
    assert {f"{name}.py" for name in seen} - {"errors.py", "model.py"} <= set(judges._FILES)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--profile", "nonsuch"), "unknown profile 'nonsuch'"),
        (("--scenario", "nonsuch"), "there is no scenario 'nonsuch'"),
        (("--scenario", "numa"), "tried with (scenario, profile): defects fast"),
    ],
)
def test_ways_that_are_not_there_are_told(
    within: Program, words: tuple[str, ...], said: str
) -> None:
    done = within("faults", "--list", "40", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.split())
