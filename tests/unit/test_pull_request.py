# SPDX-License-Identifier: GPL-2.0-only
"""What a pull request has tried, on which sides, and what is said of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import made_runs as made
import pytest
from program import Program
from test_report import SPEC
from toykernel import Notes, change, git, mail

from harness import comparison, flake, pullrequest, resources, scenario, spec, touched
from harness.build import archive
from harness.build import git as builder
from harness.errors import InfraError, InputError
from harness.flake import Cell
from harness.flake.child import Child
from harness.model import Outcome, RunSpec, Verdict
from harness.pullrequest import ASKED, BASE, HEAD, SIDES, WHY
from harness.report import pull_request as said
from harness.report.text import plain

TOP = Path(__file__).parents[2]
WORDS = RunSpec("compaction", "6.12", "x86_64", ("fixed",), "fast", 7)
TABLES = (resources.kernel_config() / "pull-request.yaml", TOP / "ci" / "pull-request.yaml")


def table(path: Path, text: str) -> touched.Table:
    path.write_text(text)
    return spec.pull_request_table(path)


RULES = """
rules:
  - paths: [mm/compaction.c, "mm/mig*"]
    why: migration
    try:
      - {scenarios: [compaction, races], kernels: ["6.12"], arches: [x86_64]}
  - paths: ["mm/*"]
    why: memory
    try:
      - {scenarios: [compaction], kernels: ["6.12"], arches: [x86_64, arm64], set: [pages=2000]}
      - {scenarios: [compaction], kernels: ["6.12"], arches: [x86_64]}
otherwise:
  - {scenarios: [numa], kernels: ["6.12"], arches: [x86_64], profiles: [lockdep]}
"""


def test_all_rules_that_fit_add_to_it(tmp_path: Path) -> None:
    rules = table(tmp_path / "t.yaml", RULES)

    def names(*paths: str) -> list[str]:
        return [choice.job.name for choice in touched.choose(rules, paths)]

    plain = "compaction-6.12-x86_64-fast"
    assert names("mm/compaction.c", "fs/x.c") == [
        plain,
        "races-6.12-x86_64-fast",
        "compaction-6.12-x86_64-fast-pages_2000",
        "compaction-6.12-arm64-fast-pages_2000",
    ]
    assert names("mm/damon/core.c")[-1] == plain  # * stands for slashes too
    assert names("fs/x.c") == names() == ["numa-6.12-x86_64-lockdep"]
    first, *_ = touched.choose(rules, ["mm/compaction.c"])
    assert first.why == ("migration: mm/compaction.c", "memory: mm/compaction.c")
    (*_, why) = touched.choose(rules, [f"mm/{n}.c" for n in range(9)])[0].why
    assert why == "memory: mm/0.c, mm/1.c, mm/2.c and 6 more"


def test_a_jobs_long_name_is_cut_and_its_own(tmp_path: Path) -> None:
    """Its runs' folder has it, whose file system takes 255 bytes."""
    names = [
        touched.Job("ä" * 90, "6.12", "x86_64", "fast", (*["pages=2000"] * 9, f"every={n}")).name
        for n in (2, 3)
    ]
    assert len(set(names)) == 2
    for name in names:
        (tmp_path / name).mkdir()
    short = touched.Job("compaction", "6.12", "x86_64", "fast", ("pages=2000",))
    assert short.name == "compaction-6.12-x86_64-fast-pages_2000"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: [{why: x, try: []}]", "rules[0].paths: there is none"),
        ("rules: [{paths: [a], why: x, try: [{kernels: ['6.12'], arches: [x]}]}]",
         "rules[0].try[0].scenarios: a list of texts"),
        ("otherwise: [{scenarios: [a], kernels: ['9'], arches: [x]}]", "unknown kernel '9'"),
        ("others: []", "others: unknown field"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_table_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        table(tmp_path / "t.yaml", text)
    assert said in str(caught.value)


@pytest.mark.parametrize("path", TABLES, ids=["of a kernel", "ours"])
def test_our_tables_name_what_there_is(path: Path) -> None:
    found = spec.pull_request_table(path)
    every = [*found.otherwise, *(wanted for rule in found.rules for wanted in rule.wanted)]
    for job in (job for wanted in every for job in wanted.jobs()):
        scenario.params(job.scenario, job.settings)
        assert job.scenario in scenario.names()
    if path == TABLES[1]:  # ours name paths of this repository
        tracked = [str(p.relative_to(TOP)) for p in TOP.rglob("*") if p.is_file()]
        assert all(rule.fits(tracked) for rule in found.rules)


# --- sides ---------------------------------------------------------------------------------------


def commit(folder: Path, name: str) -> str:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(name)
    git(folder, "add", name)
    git(folder, "commit", "-q", "-m", f"change {name}")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A main branch that went on, and a change of two commits."""
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    commit(folder, "README")
    git(folder, "checkout", "-q", "-b", "change")
    commit(folder, "mm/compaction.c")
    commit(folder, "mm/ä file.c")
    git(folder, "checkout", "-q", "main")
    commit(folder, "fs/inode.c")
    return folder


def test_a_change_is_what_lies_behind_its_merge_base(repository: Path) -> None:
    made = pullrequest.change(repository, "main", "change")
    assert made.base == git(repository, "rev-parse", "main~1")
    assert made.head == git(repository, "rev-parse", "change")
    assert set(made.paths) == {"mm/compaction.c", "mm/ä file.c"}
    with pytest.raises(InputError, match="no commit 'nothing'"):
        pullrequest.change(repository, "nothing", "change")
    git(repository, "checkout", "-q", "--orphan", "other")
    git(repository, "commit", "-q", "-m", "another root")
    with pytest.raises(InputError, match="no common commit"):
        pullrequest.change(repository, "other", "change")


def test_a_file_that_moved_touches_where_it_was(repository: Path) -> None:
    git(repository, "checkout", "-q", "change")
    (repository / "lib").mkdir()
    git(repository, "mv", "mm/compaction.c", "lib/c.c")
    git(repository, "commit", "-q", "-m", "moved")
    made = pullrequest.change(repository, "HEAD~1", "HEAD")
    assert set(made.paths) == {"mm/compaction.c", "lib/c.c"}


def test_a_shallow_clone_is_told_so(repository: Path, tmp_path: Path) -> None:
    there = git(repository, "rev-parse", "main~1")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", str(shallow))
    for base in (there, "HEAD~1"):
        with pytest.raises(InputError) as refused:
            pullrequest.change(shallow, base, "HEAD")
        assert "git fetch --unshallow" in refused.value.hint
    with pytest.raises(InputError) as refused:
        pullrequest.change(repository, "nothing", "HEAD")
    assert "unshallow" not in refused.value.hint


def test_a_line_of_commits_is_applied_patch_by_patch(repository: Path) -> None:
    made = pullrequest.change(repository, "main", "change")
    sides = pullrequest.of_kernel(made, WORDS)
    assert sides.specs[BASE].tree == sides.specs[HEAD].tree == f"{repository}@{made.base}"
    assert sides.specs[BASE].series == ("fixed",)
    assert sides.specs[HEAD].series == (f"{repository}:{made.base}..{made.head}", "fixed")
    git(repository, "checkout", "-q", "change")
    git(repository, "merge", "-q", "--no-ff", "-m", "merged", "main")
    commit(repository, "mm/x.c")
    merged = pullrequest.change(repository, "main~1", "change")
    sides = pullrequest.of_kernel(merged, WORDS)
    assert sides.specs[HEAD].tree == f"{repository}@{merged.head}"
    assert sides.specs[HEAD].series == ("fixed",)


@pytest.fixture
def ours(repository: Path) -> pullrequest.Change:
    """A change of a repository that has code of a pinpage's name."""
    (repository / "harness").mkdir()
    for name in ("__init__.py", "cli.py"):
        (repository / "harness" / name).write_text("")
    git(repository, "add", "harness")
    git(repository, "commit", "-q", "-m", "a pinpage")
    git(repository, "checkout", "-q", "-b", "mine")
    commit(repository, "mm/migrate.c")
    git(repository, "checkout", "-q", "main")
    return pullrequest.change(repository, "main", "mine")


def test_our_own_repository_is_run_by_each_sides_code(
    ours: pullrequest.Change, tmp_path: Path
) -> None:
    sides = pullrequest.of_ours(ours, WORDS, tmp_path / "copies", Notes())
    assert (Path(sides.code[HEAD]) / "mm/migrate.c").is_file()
    assert not (Path(sides.code[BASE]) / "mm").exists()
    assert pullrequest.of_ours(ours, WORDS, tmp_path / "copies", Notes()) == sides
    assert git(ours.repository, "status", "--porcelain") == ""


def test_a_copy_that_could_not_be_made_is_none(
    ours: pullrequest.Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is half there would have the base run by the code that is installed."""
    whole = archive.unpack

    def killed(*words: Any) -> None:
        whole(*words)
        raise KeyboardInterrupt

    monkeypatch.setattr(archive, "unpack", killed)
    with pytest.raises(KeyboardInterrupt):
        pullrequest.of_ours(ours, WORDS, tmp_path / "copies", Notes())
    assert [path.suffix for path in (tmp_path / "copies").iterdir()] == [".lock"]
    monkeypatch.undo()
    sides = pullrequest.of_ours(ours, WORDS, tmp_path / "copies", Notes())
    assert (Path(sides.code[BASE]) / "harness/cli.py").is_file()


def test_a_copy_that_another_makes_is_waited_for(ours: pullrequest.Change, tmp_path: Path) -> None:
    top, made = tmp_path / "copies", list[pullrequest.Sides]()

    def beside() -> None:
        made.append(pullrequest.of_ours(ours, WORDS, top, Notes()))

    jobs = [threading.Thread(target=beside) for _ in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert len(made) == 3 and made[0] == made[1] == made[2]


def test_a_repository_of_another_user_is_copied_if_it_is_trusted(
    ours: pullrequest.Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container, whose root is not the owner of what was checked out."""
    config = tmp_path / "gitconfig"
    config.write_text(f"[safe]\n\tdirectory = {ours.repository}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    builder._trusted.cache_clear()
    try:
        sides = pullrequest.of_ours(ours, WORDS, tmp_path / "copies", Notes())
    finally:
        builder._trusted.cache_clear()
    assert (Path(sides.code[HEAD]) / "mm/migrate.c").is_file()


def test_code_that_is_not_of_the_copy_is_no_side(
    repository: Path, ours: pullrequest.Change, tmp_path: Path
) -> None:
    """A commit without a pinpage would be run by the one that is installed."""
    made = pullrequest.change(repository, "main~1", "mine")
    with pytest.raises(InputError, match=f"{made.base[:12]} .*is not run by its own code"):
        pullrequest.of_ours(made, WORDS, tmp_path / "copies", Notes())


def test_jobs_that_are_named_have_to_be_there(repository: Path, tmp_path: Path) -> None:
    rules = table(tmp_path / "t.yaml", RULES)
    made = pullrequest.change(repository, "main", "change")
    (one,) = pullrequest.plan(rules, made, ["races-6.12-x86_64-fast"])
    assert one.job.scenario == "races"
    with pytest.raises(InputError, match="no job is named 'x'"):
        pullrequest.plan(rules, made, ["x"])
    odd = table(tmp_path / "u.yaml", RULES.replace("numa", "nothing").replace("mm/", "nn/"))
    with pytest.raises(
        InputError, match=r"u\.yaml, (rules\[\d\]|otherwise): 'nothing' is no scenario"
    ):
        pullrequest.plan(odd, made)
    for old, new, named in (
        ("arm64", "x86", "x86"),
        ('["6.12"]', '["6.6"]', "6.6"),
        ("profiles: [lockdep]", "profiles: [slow]", "slow"),
    ):
        text = RULES.replace(old, new)
        text = text.replace("mm/", "nn/") if "profiles" in old else text
        with pytest.raises(InputError, match=named):
            pullrequest.plan(table(tmp_path / "v.yaml", text), made)


MINE = """\
pin: {pages: 1000, every: 32}
drive: [{compact: 2}]
expect: {migrated: at least 50 %}
"""
ITS = """
rules:
  - paths: ["mm/*"]
    why: ours
    try: [{scenarios: [own/mine.yaml], kernels: ["6.12"], arches: [x86_64]}]
otherwise: []
"""


def test_a_scenario_of_ones_own_lies_beside_its_table(repository: Path, tmp_path: Path) -> None:
    made = pullrequest.change(repository, "main", "change")
    rules = table(tmp_path / "t.yaml", ITS)
    with pytest.raises(InputError, match=r"mine\.yaml cannot be read"):
        pullrequest.plan(rules, made)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.yaml").write_text(MINE)
    (one,) = pullrequest.plan(rules, made)
    assert one.job.scenario == str(tmp_path / "own" / "mine.yaml")
    assert one.job.name == "mine-6.12-x86_64-fast"
    (tmp_path / "mine.yaml").write_text(MINE)
    twice = table(tmp_path / "u.yaml", ITS.replace("[own/mine.yaml]", "[own/mine.yaml, mine.yaml]"))
    with pytest.raises(InputError, match=r"two jobs that are named mine-6\.12"):
        pullrequest.plan(twice, made)


def test_a_failure_can_be_had_again_in_any_clone() -> None:
    run: dict[str, Any] = {
        "scenario": "compaction", "kernel": "6.12", "arch": "x86_64", "profile": "fast", "seed": 7,
        "spec": {
            "tree": f"/src/linux@{'a0' * 20}", "series": ["/src/linux:abc..def", "fixed"],
            "memory_mib": 1024, "params": {**scenario.params("compaction", []), "pages": 2000},
        },
        "splats": [],
        "inputs": {"kernels": [{"name": "build", "patches": [{"name": "0123456789ab"}]}]},
    }  # fmt: skip
    words, ends = "--kernel=6.12 --arch=x86_64 --profile=fast", "--memory=1024 --seed=7"
    again = (
        f"pinpage run compaction {words} --tree=.@a0a0a0a0a0a0 --series=.:abc..def --series=fixed "
        f"{ends} --set=pages=2000"
    )
    assert pullrequest.commands(run) == (again,)  # of one commit it is that
    run["inputs"]["kernels"][0]["patches"].append({"name": "abcdef012345"})
    assert pullrequest.commands(run) == (
        again,
        f"pinpage bisect compaction --tree=. --commits=abc..def --series=fixed {words} {ends} "
        "--set=pages=2000",
    )
    run["splats"] = [{"blame": {"brought": True}}]
    assert pullrequest.commands(run) == (again,)
    run["splats"] = [{"blame": {"brought": False}}]
    assert len(pullrequest.commands(run)) == 2
    run["spec"] |= {"tree": None, "series": ["fixed"], "params": {}}
    (own,) = pullrequest.commands(run)
    assert "--tree" not in own
    mine = {"tree": "/src/linux@abc", "file": "/src/linux/ci/a b.yaml"}
    run |= {"scenario": "mine", "spec": run["spec"] | mine}
    assert "pinpage run './ci/a b.yaml' --kernel" in pullrequest.commands(run)[0]


def test_a_hubs_own_merge_is_what_its_branch_brings(repository: Path) -> None:
    """GitHub checks out the merge of a pull request with its base, and not its head."""
    branch = git(repository, "rev-parse", "change")
    git(repository, "merge", "-q", "--no-ff", "-m", "Merge into main", "change")
    main = git(repository, "rev-parse", "main~1")
    made = pullrequest.change(repository, main, "main")
    assert (made.base, made.apart) == (main, "")
    assert made.span == f"{git(repository, 'merge-base', main, branch)}..{branch}"
    sides = pullrequest.of_kernel(made, WORDS)
    assert sides.specs[HEAD].tree == sides.specs[BASE].tree == f"{repository}@{main}"
    assert sides.specs[HEAD].series == (f"{repository}:{made.span}", "fixed")


def test_what_was_resolved_by_hand_is_its_tree(repository: Path) -> None:
    (repository / "mm").mkdir()
    commit(repository, "mm/compaction.c~")
    git(repository, "merge", "-q", "--no-ff", "--no-commit", "change")
    (repository / "mm/compaction.c").write_text("another word")
    git(repository, "add", "mm/compaction.c")
    git(repository, "commit", "-q", "-m", "Merge, resolved")
    made = pullrequest.change(repository, "main~1", "main")
    assert made.span == "" and "a merge by hand" in made.apart
    sides = pullrequest.of_kernel(made, WORDS)
    assert sides.specs[HEAD].tree == f"{repository}@{made.head}"


def test_a_folder_is_of_one_change(tmp_path: Path) -> None:
    top, notes = tmp_path / "pr", Notes()
    pullrequest.begin(top, {"head": "a"}, [], WORDS, notes)
    folder(top, HEAD, 0, Outcome.PASS)
    (top / WHY).write_text("{}")
    pullrequest.begin(top, {"head": "a"}, [], WORDS, notes)
    assert list((top / HEAD).rglob("run.json")) and (top / WHY).exists() and not notes.notes
    pullrequest.begin(top, {"head": "b"}, [], WORDS, notes)
    assert not (top / HEAD).exists() and not (top / WHY).exists() and "it is gone" in notes.notes[0]
    (tmp_path / "mine" / "base").mkdir(parents=True)
    with pytest.raises(InputError, match="holds base/"):
        pullrequest.begin(tmp_path / "mine", {"head": "b"}, [], WORDS, notes)
    assert (tmp_path / "mine" / "base").is_dir()


@pytest.fixture
def two(tmp_path: Path) -> list[touched.Choice]:
    """Two jobs of scenarios of one's own, one with a module."""
    every = []
    for name in ("mine", "other"):
        own = touched.Job(str(tmp_path / f"{name}.yaml"), "6.12", "x86_64", "fast")
        (tmp_path / f"{name}.yaml").write_text(MINE)
        every.append(touched.Choice(own, ("why",)))
    (tmp_path / "mine.yaml").write_text(f"{MINE}modules: [drv]\n")
    (tmp_path / "drv").mkdir()
    (tmp_path / "drv" / "Kbuild").write_text("obj-m := drv.o\n")
    (tmp_path / "drv" / "drv.c").write_text("int one;\n")
    return every


@pytest.mark.parametrize(
    ("file", "left"),
    [("mine.yaml", [False, True]), ("drv/drv.c", [False, True]), ("my.patch", [False, False])],
)
def test_what_was_edited_is_run_again(
    two: list[touched.Choice], tmp_path: Path, file: str, left: list[bool]
) -> None:
    """And of the others what is there stays, whichever of them are asked for."""
    top, notes, asked = tmp_path / "pr", Notes(), {"head": "a"}
    diff = change("mm/migrate.c", "-1", "-2")
    (tmp_path / "my.patch").write_text(mail("[PATCH] mine", diff))
    words = pullrequest._with(WORDS, series=("fixed", str(tmp_path / "my.patch")))
    pullrequest.begin(top, asked, two, words, notes)
    folders = [top / side / each.job.name for side in SIDES for each in two]
    for each in folders:
        made.folder(each / "0", Outcome.PASS)
    pullrequest.begin(top, asked, two[1:], words, notes)
    pullrequest.begin(top, asked, two, words, notes)
    assert all(each.is_dir() for each in folders) and not notes.notes
    edited = (tmp_path / file).read_text().replace("1000", "900").replace("one", "two")
    (tmp_path / file).write_text(edited.replace("return -2", "return -3"))
    pullrequest.begin(top, asked, two, words, notes)
    assert [each.is_dir() for each in folders] == left * 2 and len(notes.notes) == 1


def test_a_job_that_nobody_asks_for_any_more_is_not_judged(
    reported: Reported, tmp_path: Path
) -> None:
    for side, outcome in ((BASE, Outcome.PASS), (HEAD, Outcome.CRASH)):
        folder(tmp_path, side, 0, outcome)
        other = tmp_path / side / "leaks-6.12-x86_64-fast" / "0"
        made.folder(other, Outcome.PASS, scenario="leaks")
    assert reported(tmp_path)[0] == 3
    (tmp_path / WHY).write_text(json.dumps({"leaks-6.12-x86_64-fast": ["mm"]}))
    assert reported(tmp_path)[0] == 0


def test_a_folder_of_both_sides_is_nothing_to_compare(within: Program, tmp_path: Path) -> None:
    for side in SIDES:
        folder(tmp_path, side, 0, Outcome.PASS)
    (tmp_path / ASKED).write_text("{}")
    done = within("compare", str(tmp_path), str(tmp_path / HEAD))
    assert done.returncode == 2 and f"name one side: {tmp_path / BASE} or " in done.stderr
    assert within("compare", str(tmp_path / BASE), str(tmp_path / HEAD)).returncode == 0


def blame(patch: str, brought: bool) -> list[dict[str, Any]]:
    return [{"blame": None}, {"blame": {"patch": patch, "brought": brought}}]


@pytest.mark.parametrize(
    ("head", "splats", "times"),
    [
        (Outcome.CRASH, [], 3),
        (Outcome.CRASH, blame("09d10636c54c", True), 1),
        (Outcome.CRASH, blame("09d10636c54c", False), 3),
        (Outcome.CRASH, blame("0003-mm-migrate.patch", True), 3),
        (Outcome.BUILD, [], 1),
        (Outcome.PATCH, [], 1),
        (Outcome.PASS, [], 1),
    ],
)
def test_what_comes_out_the_same_is_not_done_again(
    head: Outcome,
    splats: list[dict[str, Any]],
    times: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor is what the kernel says of a line that the change has brought."""
    done: list[str] = []

    def one(job: object, side: str, *_: object) -> Outcome:
        done.append(side)
        return Outcome.PASS if side == BASE else head

    monkeypatch.setattr(pullrequest, "_one", one)
    monkeypatch.setattr(pullrequest, "record_in", lambda _: {"splats": splats})
    choice = touched.Choice(touched.Job("compaction", "6.12", "x86_64", "fast"), ("why",))
    sides = pullrequest.Sides({}, {})
    pullrequest.run([choice], sides, tmp_path, 1, 2, Notes())
    assert done == [BASE, HEAD] * times


@pytest.mark.parametrize(("side", "fails", "tried"), [(HEAD, 9, 4), (HEAD, 1, 2), (BASE, 0, 1)])
def test_each_try_has_a_seed_of_its_own_until_one_fails(
    side: str, fails: int, tried: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes now and then is not met by one try; what cannot be built is met by the first."""
    seeds: list[tuple[str, int]] = []

    class Once:
        def __init__(self, job: Any, own: Path, code: str) -> None:
            self.seed, self.side = job.spec.seed, own.parts[-3]
            seeds.append((self.side, self.seed))

        def poll(self) -> Any:
            wrong = self.side == side and self.seed == 7 + fails
            verdict = Outcome.BUILD if wrong else Outcome.PASS
            return SimpleNamespace(verdict=verdict, reason="so")

        def stop(self) -> None: ...

    monkeypatch.setattr(pullrequest, "Child", Once)
    choice = touched.Choice(touched.Job("compaction", "6.12", "x86_64", "fast"), ("why",))
    sides = pullrequest.Sides(dict.fromkeys((BASE, HEAD), SPEC), dict.fromkeys((BASE, HEAD), ""))
    pullrequest.run([choice], sides, tmp_path, 4, 2, Notes())
    assert seeds == [(each, 7 + at) for at in range(tried) for each in (BASE, HEAD)]


# --- the comment ---------------------------------------------------------------------------------


BOT = "github-actions[bot]"


class Hub(BaseHTTPRequestHandler):
    """As much of GitHub's interface as a comment needs."""

    comments: list[dict[str, Any]]
    viewer: dict[str, str] | None
    refuse = 0
    refuse_anew = 0

    def _said(self, status: int, data: Any) -> None:
        text = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        page = int(self.path.rpartition("page=")[2])
        self._said(200, type(self).comments[(page - 1) * 100 : page * 100])

    def _given(self) -> dict[str, str]:
        assert self.headers["Authorization"] == "Bearer secret"
        given: dict[str, str] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return given

    def do_POST(self) -> None:
        given = self._given()
        if self.path == "/graphql":
            assert "viewer" in given["query"]
            self._said(200 if type(self).viewer else 403, {"data": {"viewer": type(self).viewer}})
            return
        if type(self).refuse:
            self._said(type(self).refuse, {})
            return
        assert self.path == "/repos/o/r/issues/7/comments"
        user = type(self).viewer or {"login": BOT}
        own = {"id": 1000 + len(type(self).comments), "body": given["body"], "user": user}
        type(self).comments.append(own)
        self._said(201, {})

    def do_PATCH(self) -> None:
        number, given = int(self.path.rpartition("/")[2]), self._given()
        if type(self).refuse_anew:
            self._said(type(self).refuse_anew, {})
            return
        (own,) = [each for each in type(self).comments if each["id"] == number]
        own["body"] = given["body"]
        self._said(200, {})

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hub() -> Iterator[tuple[type[Hub], str]]:
    handler = type("Own", (Hub,), {"comments": [], "viewer": {"login": BOT}})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield handler, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def comment(url: str, folder: Path, text: str, event: dict[str, Any]) -> tuple[int, str]:
    (folder / "comment.md").write_text(text)
    (folder / "event.json").write_text(json.dumps(event))
    env = {
        **os.environ,
        "GITHUB_API_URL": url,
        "GITHUB_GRAPHQL_URL": f"{url}/graphql",
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_EVENT_PATH": str(folder / "event.json"),
        "GITHUB_TOKEN": "secret",
        "no_proxy": "*",
    }
    argv = [sys.executable, str(TOP / "ci/comment"), str(folder / "comment.md")]
    done = subprocess.run(argv, env=env, check=False, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("login", [BOT, "somebody", None])
def test_one_comment_is_written_anew(
    hub: tuple[type[Hub], str], tmp_path: Path, login: str | None
) -> None:
    server, url = hub
    server.viewer = None if login is None else {"login": login}
    stranger = {"login": "stranger"}
    server.comments += [{"id": n, "body": "of somebody", "user": stranger} for n in range(150)]
    event = {"pull_request": {"number": 7}}
    assert comment(url, tmp_path, "<!-- pinpage -->\nfirst\n", event)[0] == 0
    assert comment(url, tmp_path, "<!-- pinpage -->\nsecond\n", event)[0] == 0
    own = [each["body"] for each in server.comments if each["body"] != "of somebody"]
    assert own == ["<!-- pinpage -->\nsecond\n"]
    assert "no pull request" in comment(url, tmp_path, "x", {"push": {}})[1]


@pytest.mark.parametrize("user", [{"login": "stranger"}, {"login": "other[bot]"}, None])
def test_what_others_wrote_is_left_alone(
    hub: tuple[type[Hub], str], tmp_path: Path, user: dict[str, str] | None
) -> None:
    server, url = hub
    marked = "<!-- pinpage -->\nall is well\n"
    server.comments += [{"id": 1, "body": None, "user": user}]
    server.comments += [{"id": 2, "body": marked, "user": user}]
    text = "<!-- pinpage -->\nit fails\n"
    for _ in range(2):
        status, said = comment(url, tmp_path, text, {"pull_request": {"number": 7}})
        assert (status, said) == (0, "")
    assert [each["body"] for each in server.comments] == [None, marked, text]


def test_one_that_may_not_be_written_anew_is_followed_by_another(
    hub: tuple[type[Hub], str], tmp_path: Path
) -> None:
    server, url = hub
    server.comments += [{"id": 1, "body": "<!-- x -->\na", "user": server.viewer}]
    server.refuse_anew = 403
    assert comment(url, tmp_path, "<!-- x -->\nb", {"pull_request": {"number": 7}}) == (0, "")
    assert [each["body"] for each in server.comments] == ["<!-- x -->\na", "<!-- x -->\nb"]
    server.refuse = 403
    status, said = comment(url, tmp_path, "<!-- x -->\nc", {"pull_request": {"number": 7}})
    assert status == 0 and "may not comment here (403)" in said


def test_a_network_that_fails_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    event = {"pull_request": {"number": 7}}
    status, said = comment(f"http://127.0.0.1:{port}", tmp_path, "<!-- x -->\n", event)
    assert status == 1 and "Traceback" not in said and "cannot be written" in said


def test_a_token_that_may_not_write_is_said(hub: tuple[type[Hub], str], tmp_path: Path) -> None:
    server, url = hub
    server.refuse = 403
    status, said = comment(url, tmp_path, "<!-- x -->\n", {"pull_request": {"number": 7}})
    assert status == 0 and "may not comment here (403)" in said
    server.refuse = 500
    status, said = comment(url, tmp_path, "<!-- x -->\n", {"pull_request": {"number": 7}})
    assert status == 1 and "Traceback" not in said and "500" in said


def test_a_side_is_run_by_its_own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("here", "other"):
        package = tmp_path / name / "harness"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "cli.py").write_text(f"print('run by {name}')\n")
    monkeypatch.chdir(tmp_path / "here")
    cell = Cell("compaction", "6.12", "x86_64", "fast", ("fixed",), Outcome.PASS)
    child = Child(flake.Job(cell, WORDS, 0), tmp_path / "run", str(tmp_path / "other"))
    with pytest.raises(InfraError, match="left no record") as caught:
        while child.poll() is None:
            time.sleep(0.01)
    assert caught.value.detail == "run by other"
    child.stop()


# --- what is said --------------------------------------------------------------------------------


def folder(top: Path, side: str, number: int, outcome: Outcome, **extra: Any) -> None:
    made.folder(top / side / "compaction-6.12-x86_64-fast" / str(number), outcome, **extra)


Reported = Callable[..., tuple[int, str, str, str]]


@pytest.fixture
def reported(within: Program) -> Reported:
    def report(top: Path, *words: str) -> tuple[int, str, str, str]:
        """Exit code, what is printed, and both texts."""
        texts = [top / "summary.md", top / "comment.md"]
        argv = ["--summary", str(texts[0]), "--comment", str(texts[1]), *words]
        done = within("pull-request", "report", str(top), *argv)
        summary, comment = (path.read_text() for path in texts)
        return done.returncode, done.stdout + done.stderr, summary, comment

    return report


def test_what_the_change_has_broken_fails_in_the_verdicts_words(
    reported: Reported, tmp_path: Path
) -> None:
    for turn in range(3):
        folder(tmp_path, BASE, turn, Outcome.PASS)
        folder(tmp_path, HEAD, turn, Outcome.CRASH)
    code, printed, summary, comment = reported(tmp_path, "--annotate", "--link", "https://x/y")
    assert code == 3
    last = printed.strip().splitlines()[-1]
    assert last.startswith("compaction 6.12 x86_64 fast fails, and did not before: CRASH")
    assert "::error title=pinpage%3A compaction 6.12 x86_64 fast::CRASH%3A" not in printed
    assert "::error title=pinpage%3A compaction 6.12 x86_64 fast::CRASH: it was" in printed
    assert comment.startswith(said.MARK) and "**new failure**" in comment
    assert "(https://x/y)" in comment and "new failure" in summary
    again = "\n\n```sh\npinpage run compaction --kernel=6.12 --arch=x86_64 --profile=fast"
    assert again in comment and again in summary
    assert "`pinpage explain head/compaction-6.12-x86_64-fast/2/2026" in comment
    assert "A is the base, B the change" in summary


def test_a_run_of_our_series_that_does_not_fit_is_not_the_changes_failure(
    reported: Reported, tmp_path: Path
) -> None:
    folder(tmp_path, BASE, 0, Outcome.PASS)
    said_of = "patch 5 of 32, 0003-mm-x.patch (mm: x) does not apply: hunk 1 of 4 fails"
    verdict = Verdict(Outcome.PATCH, said_of, "x")
    folder(tmp_path, HEAD, 0, Outcome.PATCH, verdict=verdict)
    code, printed, summary, comment = reported(tmp_path)
    assert code == 9 and "does not fit this change (patch 5 of 32" in printed
    assert "nothing could be judged" in printed and "not told" in summary and "not told" in comment
    run = {"verdict": "PATCH", "reason": said_of.replace("0003-mm-x.patch", "0123456789ab")}
    assert pullrequest.unfit(run) == "" == pullrequest.unfit({**run, "verdict": "FAIL"})


def test_a_job_that_left_no_run_is_told(reported: Reported, tmp_path: Path) -> None:
    for side in (BASE, HEAD):
        folder(tmp_path, side, 0, Outcome.PASS)
    names = ("compaction-6.12-x86_64-fast", "compaction-6.12-arm64-fast")
    (tmp_path / WHY).write_text(json.dumps({name: ["mm"] for name in names}))
    code, printed, _, comment = reported(tmp_path, "--annotate", "--junit", str(tmp_path / "j.xml"))
    assert code == 9 and "nothing new fails: 1 job passed on both sides, tried once; of " in printed
    assert f"of {names[1]} nothing can be said: it left no run on base and head" in printed
    assert "::warning title=pinpage::nothing new fails" in printed and "not told" in comment
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()[0]
    assert [case.get("name") for case in suite] == ["compaction 6.12 x86_64 fast", names[1]]
    assert (suite.get("errors"), suite.get("failures")) == ("1", "0")


@pytest.mark.parametrize(
    ("head", "again", "code", "words"),
    [
        (Outcome.PASS, False, 9, "nothing could be judged: of compaction-6.12-x86_64-fast nothing"),
        (Outcome.CRASH, False, 3, "fast seed 7 fails, and did not before: CRASH"),
        (
            Outcome.PASS,
            True,
            0,
            "nothing new fails: 1 job passed on both sides, tried with 2 seeds",
        ),
    ],
    ids=["it cannot be told", "it fails anyway", "it was run again"],
)
def test_a_try_of_the_change_that_left_no_run_is_told(
    head: Outcome, again: bool, code: int, words: str, reported: Reported, tmp_path: Path
) -> None:
    """The other seed's run says nothing of this one's."""
    for turn, seed in ((0, 7), (100, 8)):
        folder(tmp_path, BASE, turn, Outcome.PASS, seed=seed)
    folder(tmp_path, HEAD, 0, head, seed=7)
    dead = tmp_path / HEAD / "compaction-6.12-x86_64-fast" / "100"
    dead.mkdir()
    (dead / "output.log").write_text("Traceback")
    if again:
        folder(tmp_path, HEAD, 101, Outcome.PASS, seed=8)
    (tmp_path / WHY).write_text(json.dumps({dead.parent.name: ["mm"]}))
    ended, printed, *_ = reported(tmp_path)
    assert (ended, words in printed) == (code, True), printed
    said_why = "its try 2 left no run on head: head/compaction-6.12-x86_64-fast/100/output.log"
    assert (said_why in printed) == (code == 9)


def test_a_change_that_touches_nothing_is_no_failure(reported: Reported, tmp_path: Path) -> None:
    (tmp_path / WHY).write_text("{}")
    code, printed, summary, _ = reported(tmp_path)
    assert code == 0 and "nothing was tried" in printed and "nothing was tried" in summary


def accused(commit: str = "0123456789ab", *, brought: bool = True, line: int = 7) -> dict[str, Any]:
    """A run.json's report, of a change of two commits beneath a series of two patches."""
    named = [("0123456789ab", "mm/x.c"), ("ba9876543210", "mm/y.c")]
    named += [("0001-one.patch", "mm/x.c"), ("0002-two.patch", "mm/y.c")]
    return {
        "verdict": "CRASH",
        "reason": "it crashed",
        "spec": {"tree": "/x"},
        "splats": [
            {"blame": None},
            {"blame": {"patch": commit, "brought": brought, "file": "mm/x.c", "line": line}},
        ],
        "inputs": {
            "kernels": [
                {
                    "name": "build",
                    "patches": [
                        {"name": name, "subject": "", "file": f"inputs/{number}"}
                        for number, (name, _) in enumerate(named)
                    ],
                }
            ]
        },
    }


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (accused(line=2), 2),
        (accused(line=7), 5),
        (accused(line=4), None),
        (accused(brought=False), 5),
        ({**accused(), "splats": []}, None),
        ({**accused(), "splats": [], "verdict": "BUILD", "reason": "mm/x.c:7:2: error"}, 5),
        ({**accused(), "splats": [], "verdict": "BUILD", "reason": "no rule"}, None),
    ],
    ids=[
        *("before", "behind", "the series' own", "only its file", "no report"),
        *("does not compile", "does not build"),
    ],
)
def test_a_line_is_the_changes_own(tmp_path: Path, run: dict[str, Any], line: int | None) -> None:
    (tmp_path / "inputs").mkdir()
    series = b"--- a/mm/x.c\n+++ b/mm/x.c\n@@ -2,2 +2,4 @@\n b\n+1\n+2\n c\n"
    other = b"--- a/mm/y.c\n+++ b/mm/y.c\n@@ -1 +1,2 @@\n a\n+1\n"
    for number, text in enumerate((b"no diff", b"no diff", series, other)):
        (tmp_path / f"inputs/{number}").write_bytes(text)
    assert pullrequest.spot(run, tmp_path) == (None if line is None else ("mm/x.c", line))


def test_a_new_failure_is_shown_at_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path, BASE, 0, Outcome.PASS)
    folder(tmp_path, HEAD, 0, Outcome.CRASH)
    paths = [*(tmp_path / HEAD).rglob("run.json")]
    run = json.loads(paths[0].read_text())
    run["reason"] = "BUG at mm/x.c:13; blame: 12ab mm: y, mm/x.c:13, after which"
    compared = comparison.compare(
        [json.loads(path.read_text()) for path in (tmp_path / BASE).rglob("run.json")], [run]
    )
    judged = said.Judged(compared, spots={run["id"]: ("mm/x.c", 5)})
    (shown,) = said.commands(judged)
    assert shown.startswith("::error file=mm/x.c,line=5,title=")
    sentence = said.sentence(judged)
    assert "fast fails at mm/x.c:5, and did not before: CRASH: BUG at mm/x.c:13; " in sentence
    assert sentence.endswith("blame: 12ab mm: y, mm/x.c:5, after which")  # the change's own number
    lines = "- change, CRASH at mm/x.c:5: BUG at mm/x.c:13; blame: 12ab mm: y, mm/x.c:5,"
    summary = said.summary(judged)
    assert lines in summary
    assert "mm: y, mm/x.c:5" in summary.split("A is the base, B the change:")[1]
    assert "mm: y, mm/x.c:13" not in summary
    told = said.junit(judged)
    assert "mm: y, mm/x.c:5" in told and "mm: y, mm/x.c:13" not in told
    (shown,) = said.commands(said.Judged(compared))
    assert shown.startswith("::error title=")


def test_what_others_named_does_nothing_in_a_report(reported: Reported, tmp_path: Path) -> None:
    evil = "x`**b**\n::error::all is well\x1b]0;y\x07\u200b"
    folder(tmp_path, BASE, 0, Outcome.PASS)
    folder(tmp_path, HEAD, 0, Outcome.FAIL, verdict=Verdict(Outcome.FAIL, evil, "x"))
    for drawn in (tmp_path / HEAD).rglob("pages.txt"):
        drawn.write_text(f"{evil}\n```\n")
    jobs = ("compaction-6.12-x86_64-fast", f"job {evil}")
    (tmp_path / WHY).write_text(json.dumps({name: [evil] for name in jobs}))
    texts = [*reported(tmp_path)[1:]]
    runs = [
        json.loads(path.read_text())
        for side in SIDES
        for path in (tmp_path / side).rglob("run.json")
    ]
    judged = said.Judged(comparison.compare(runs[:1], runs[1:]), spots={runs[1]["id"]: (evil, 5)})
    texts += [said.sentence(judged), said.summary(judged), said.comment(judged)]
    for text in texts:
        assert not {"\x1b", "\x07", "\u200b"} & set(text) and "\n::error" not in text
        assert "x`" not in text or text in (texts[0], texts[3])  # which are no Markdown
    assert "\n- `job x'" in texts[1] and "\n- `job x'" in texts[2]


def test_what_the_base_has_as_well_does_not_fail(reported: Reported, tmp_path: Path) -> None:
    for side in (BASE, HEAD):
        folder(tmp_path, side, 0, Outcome.FAIL)
    code, printed, summary, _ = reported(tmp_path)
    assert code == 0 and "1 job fails on the base as well (FAIL: " in printed
    assert "still failing" in summary


def test_one_that_does_not_come_again_is_flaky(reported: Reported, tmp_path: Path) -> None:
    for turn, outcome in enumerate((Outcome.FAIL, Outcome.PASS, Outcome.PASS)):
        folder(tmp_path, BASE, turn, Outcome.PASS)
        folder(tmp_path, HEAD, turn, outcome)
    code, printed, _, comment = reported(tmp_path)
    assert (
        code == 0 and "1 job passed and failed in equal runs" in printed and "**flaky**" in comment
    )


def test_nothing_that_could_be_judged_is_no_pass(reported: Reported, tmp_path: Path) -> None:
    for side in (BASE, HEAD):
        folder(tmp_path, side, 0, Outcome.INFRA)
    code, printed, *_ = reported(tmp_path)
    assert code == 9 and "nothing could be judged" in printed


def test_words_of_a_guest_are_no_markdown() -> None:
    text = plain("a|b <img src=x> @everyone [l](u) `c`\n\x1b[31m ::error::")
    assert "<img" not in text and "@everyone" not in text and "\n" not in text
    assert "\\|" in text and "\\[l\\]" in text and chr(27) not in text
    assert said._escaped("50%\nx,y:z", ":,") == "50%25%0Ax%2Cy%3Az"
