# SPDX-License-Identifier: GPL-2.0-only
"""Runs done again: what is taken of them, what is not, and what is said of the outcome."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import made_runs
import pytest
import toykernel as toy
from click.testing import CliRunner
from made_runs import KEY, PATCHES
from rich.console import Console
from toykernel import diff, read

from harness import arch, cache, cli, pipeline, proc, report, resources
from harness import scenario as scenarios
from harness.build import series, source
from harness.build.blame import Blame
from harness.comparison import differences
from harness.errors import CannotRun, InputError, PatchError
from harness.model import (
    Accelerator,
    Again,
    BuildArtifacts,
    GuestImage,
    Inputs,
    MadeOf,
    Outcome,
    Patch,
    RunRecord,
    RunSpec,
    Silent,
    SourceTree,
    Toolchain,
)
from harness.pipeline import boots, kernels, runs
from harness.pipeline.stages import Chosen
from harness.pipeline.state import State
from harness.stored import again, kept, pack
from harness.stored.again import Wish
from harness.vm import begin


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))


@pytest.fixture
def ours() -> Patch:
    """A patch of our own series."""
    path = min((resources.patches() / "6.12" / "posted").glob("*.patch"))
    return Patch(path.name, "mm: flag", path.read_bytes())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A pipeline that runs nothing: ``record`` is what it comes to, the rest what it was given."""
    seen = SimpleNamespace(record=made_runs.ran(), wanted=None, given=None)

    def run(wanted: RunSpec, progress: object, given: pipeline.Given) -> tuple[RunRecord, Path]:
        seen.wanted, seen.given = wanted, given
        return seen.record, Path("new")

    monkeypatch.setattr(pipeline, "run", run)
    return seen


def done(folder: Path, wish: Wish | None = None) -> again.Reproduced:
    with kept.opened(str(folder), Silent()) as found:
        return again.reproduce(found, wish or Wish(), Silent())


# What is asked


def test_it_is_asked_what_the_run_was_asked(tmp_path: Path, asked: SimpleNamespace) -> None:
    spec: dict[str, Any] = {
        "seed": 11,
        "smp": 2,
        "memory_mib": 512,
        "append": ("a=1",),
        "params": {"pages": 2000, "lie": "nocopy"},
        "accel": "tcg",
        "snapshots": False,
        "keep": Path("/of/another/machine"),
        "jobs": 99,
    }
    done(made_runs.folder(tmp_path, **spec), Wish(trust=True))
    wanted = asked.wanted
    same = ("seed", "smp", "memory_mib", "append", "accel", "snapshots")
    assert {name: getattr(wanted, name) for name in same} == {name: spec[name] for name in same}
    assert wanted.params == {"pages": 2000, "every": 32, "rounds": 2, "lie": "nocopy"}
    assert (wanted.keep, wanted.tree) == (None, None) and wanted.jobs < 99
    (kernel,) = asked.given.inputs.kernels
    assert kernel.series.patches == PATCHES and kernel.config == made_runs.CONFIG
    assert asked.given.again == Again(made_runs.ran().id, own=False, binaries=False)


def change(**words: Any) -> Callable[[dict[str, Any]], None]:
    def edit(run: dict[str, Any]) -> None:
        for name, value in words.items():
            run["spec" if name in run["spec"] else name] = (
                {**run["spec"], name: value} if name in run["spec"] else value
            )

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (change(scenario="../evil"), "no scenario"),
        (change(kernel="../../evil"), "unknown kernel"),
        (change(arch="vax"), "vax"),
        (change(profile="../evil"), "unknown profile"),
        (change(seed=2**40), "seed 1099511627776"),
        (change(memory_mib=2**40), "memory"),
        (change(memory_mib=1), "memory"),
        (change(smp=10_000), "smp"),
        (change(smp=0), "smp"),
        (change(accel="tcg,thread=multi"), "accelerator"),
        (change(append=["a\nb"]), "append"),
        (change(params={"pages": "x; id"}), "pages"),
        (change(params={"evil": 1}), "parameter 'evil'"),
        (change(params={"lie": "../x"}), "lie"),
        (change(interrupted=True), "interrupted"),
        (change(inputs=None), "made of"),
    ],
)
def test_words_are_looked_at(
    tmp_path: Path, asked: SimpleNamespace, edit: Callable[[dict[str, Any]], None], words: str
) -> None:
    folder = made_runs.folder(tmp_path)
    run = json.loads((folder / "run.json").read_text())
    edit(run)
    (folder / "run.json").write_text(json.dumps(run))
    with pytest.raises(InputError, match=words):
        done(folder, Wish(trust=True))
    assert asked.wanted is None


# Whose patches, and which tree


def test_patches_of_others_are_built_by_those_who_say_so(
    tmp_path: Path, asked: SimpleNamespace, ours: Patch
) -> None:
    folder = made_runs.folder(tmp_path / "brought")
    with pytest.raises(InputError, match=r"brought.* not pinpage's own: 0001-one.*, 0002/two"):
        done(folder)
    assert asked.wanted is None
    done(folder, Wish(trust=True))
    done(made_runs.folder(resources.state() / "runs"))
    done(made_runs.folder(tmp_path / "ours", inputs=made_runs.inputs(ours)))
    fake = replace(PATCHES[0], name=ours.name)
    with pytest.raises(InputError, match="pinpage's own: 0001-mm"):
        done(made_runs.folder(tmp_path / "fake", inputs=made_runs.inputs(ours, fake)))


def test_texts_of_anothers_configuration_are_built_by_those_who_say_so(
    tmp_path: Path, asked: SimpleNamespace, ours: Patch
) -> None:
    def brought(*config: str) -> Path:
        folder = made_runs.folder(tmp_path / "brought", inputs=made_runs.inputs(ours))
        run = json.loads((folder / "run.json").read_text())
        run["spec"]["config"] = list(config)
        (folder / "run.json").write_text(json.dumps(run))
        return folder

    evil = brought("KSM=y", 'INITRAMFS_SOURCE="$(shell touch /tmp/x)"')
    with pytest.raises(InputError, match=r"texts for its configuration: INITRAMFS_SOURCE=.*shell"):
        done(evil)
    done(evil, Wish(trust=True))
    assert asked.wanted.config[0] == "KSM=y"
    asked.wanted = None
    shutil.rmtree(evil)
    done(brought("KSM=m", "ZRAM=n", "NR_CPUS=4", "PHYSICAL_START=0x1000000"))
    assert asked.wanted.config[0] == "KSM=m"


def test_a_run_that_one_kept_in_a_folder_of_ones_own_is_ones_own(
    tmp_path: Path, asked: SimpleNamespace
) -> None:
    folder = made_runs.folder(tmp_path / "mine")
    runs._remember(folder)
    done(folder)
    moved = folder.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="not pinpage's own"):
        done(moved)
    moved.rename(folder)
    edited = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**edited, "seconds": 1.5}))
    with pytest.raises(InputError, match="not pinpage's own"):
        done(folder)


def test_our_patches_are_known_as_ours_again(
    tmp_path: Path, asked: SimpleNamespace, ours: Patch
) -> None:
    done(made_runs.folder(tmp_path, inputs=made_runs.inputs(ours, PATCHES[0])), Wish(trust=True))
    (kernel, *_) = asked.given.inputs.kernels
    assert [patch.ours for patch in kernel.series.patches] == [True, False]


def test_a_patch_is_the_one_that_was_applied(tmp_path: Path, asked: SimpleNamespace) -> None:
    folder = made_runs.folder(resources.state() / "runs")
    (folder / "inputs/patches/02-0002_two.patch").write_bytes(b"another")
    with pytest.raises(InputError, match=r"02-0002_two\.patch is not the patch"):
        done(folder)


def test_a_patch_is_not_read_elsewhere(tmp_path: Path, asked: SimpleNamespace) -> None:
    folder = made_runs.folder(resources.state() / "runs")
    (folder / "inputs" / "patches").rename(tmp_path / "patches")
    (folder / "inputs" / "patches").symlink_to(tmp_path / "patches")
    with pytest.raises(InputError, match="leads out of"):
        done(folder)


def test_a_tree_of_another_machine_is_not_used(tmp_path: Path, asked: SimpleNamespace) -> None:
    folder = made_runs.folder(tmp_path, tree="/etc")
    with pytest.raises(InputError, match="of a tree that is not here: '/etc', sha256:1212"):
        done(folder, Wish(trust=True))
    done(folder, Wish(trust=True, tree="mine"))
    assert (asked.wanted.tree, asked.given.tree) == ("mine", None)


def test_a_tree_that_the_cache_has_is_used(
    tmp_path: Path, asked: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SourceTree(tmp_path, made_runs.TREE["tree"], "6.12.1", "folder /tree")
    monkeypatch.setattr(source, "cached", lambda digest, origin, cache: found)
    done(made_runs.folder(tmp_path, tree="/etc"), Wish(trust=True))
    assert (asked.wanted.tree, asked.given.tree) == (None, found)


def test_the_words_of_an_own_run_name_its_tree(
    asked: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = resources.state() / "runs"
    fetched: list[str | None] = []

    def fetch(chosen: pipeline.Chosen, progress: object) -> SourceTree:
        fetched.append(chosen.spec.tree)
        digest = made_runs.TREE["tree"] if len(fetched) == 1 else "tree:other"
        return SourceTree(Path(), digest, "6.12.1", "")

    monkeypatch.setattr(pipeline, "fetch", fetch)
    done(made_runs.folder(runs, tree="../linux@v6.12"))
    assert fetched == ["/where/../linux@v6.12"] == [asked.wanted.tree]
    assert asked.given.tree.digest == made_runs.TREE["tree"]
    done(made_runs.folder(runs, id="other", tree="/linux"))
    assert asked.given.tree is None  # it is another one now: the run says so


def test_no_digest_leads_out_of_the_cache(tmp_path: Path) -> None:
    good = "git:" + "0" * 40
    for digest, name in (("../evil", "evil"), (good, f"trees/{good.replace(':', '-')}")):
        files, size = cache.measure(toy.copy(tmp_path / name / "tree"))
        marker = {"format": 1, "digest": digest, "files": files, "bytes": size}
        cache.write_json(tmp_path / name / "entry.json", marker)
    assert source.cached(good, "", tmp_path) is not None
    for digest in ("../evil", "sha256:../x", "", "tree:" + "0" * 64):
        assert source.cached(digest, "", tmp_path) is None


# Binaries


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    cache = resources.cache()
    made_runs.build(cache)
    digests = {
        **made_runs.TREE,
        "series": "34",
        "build": KEY,
        "image": made_runs.initramfs(cache),
    }
    folder = made_runs.folder(tmp_path / "runs", digests=digests, tree="/of/another")
    with kept.opened(str(folder), Silent()) as found:
        return pack.pack(found, tmp_path, pack.Wanted(binaries=True), Silent()).path


def test_binaries_are_booted_and_nothing_is_built(bundle: Path, asked: SimpleNamespace) -> None:
    found = done(bundle)
    given = asked.given
    artifacts = given.builds["build"]
    assert (artifacts.key, artifacts.toolchain.version) == (KEY, "gcc 12")
    assert {artifacts.image.name, *artifacts.modules} == {"image", "pinner"}
    assert given.image.path.name == "initramfs.cpio.gz" and given.tree is None
    assert "image" not in given.digests and given.digests["build"] == KEY
    assert given.again.binaries and found.same
    with pytest.raises(InputError, match="pinpage's own"):
        done(bundle, Wish(build=True))


def test_binaries_of_another_build_are_refused(
    bundle: Path, asked: SimpleNamespace, tmp_path: Path
) -> None:
    with kept.opened(str(bundle), Silent()) as found:
        assert found.manifest is not None
        binaries = json.loads(json.dumps(found.manifest.binaries))
        binaries["kernels"]["build"]["key"] = "f" * 32
        other = replace(found, manifest=replace(found.manifest, binaries=binaries))
        with pytest.raises(InputError, match="not those of its run"):
            again.reproduce(other, Wish(), Silent())


def state(given: pipeline.Given, tmp_path: Path, scenario: str = "compaction") -> State:
    wanted = RunSpec(scenario, "6.12", "x86_64", ("fixed",), "fast", 1)
    return State(pipeline.choose(wanted), "run", tmp_path, "", given)


def binaries(tmp_path: Path, kernel: bytes = b"kernel") -> pipeline.Given:
    for name, data in (("image", kernel), ("pinner.ko", b"pinner"), ("config", b"")):
        (tmp_path / name).write_bytes(data)
    artifacts = BuildArtifacts(
        folder=tmp_path,
        image=tmp_path / "image",
        vmlinux=tmp_path / "vmlinux",
        config=tmp_path / "config",
        modules={"pinner": tmp_path / "pinner.ko"},
        key=KEY,
        release="6.12",
        arch="x86_64",
        toolchain=Toolchain("gcc", "12", {}),
        seconds=0.0,
        cpu_seconds=0.0,
        cached=True,
    )
    inputs = Inputs((MadeOf("build", series.given("x", (), "", 0)),), "", "6.12", True, "")
    return pipeline.Given(inputs=inputs, builds={"build": artifacts}, digests={"build": KEY})


@pytest.fixture
def no_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that a build or a look at this machine would take fails."""

    def bootable(chosen: Chosen, artifacts: BuildArtifacts, *_: Any) -> pipeline.Bootable:
        image = GuestImage(Path("initramfs"), "sha256:1", {})
        accelerator = Accelerator("tcg", "", 1.0)
        return pipeline.Bootable(chosen, chosen.spec, artifacts, image, accelerator)

    def never(*parts: Any) -> None:
        raise AssertionError("nothing is built or fetched")

    monkeypatch.setattr(kernels, "bootable", bootable)
    monkeypatch.setattr(kernels, "build", never)
    monkeypatch.setattr(kernels, "fetch", never)
    monkeypatch.setattr(begin, "emulator", lambda arch: "QEMU 7")


def test_a_strangers_kernel_is_saved_under_no_key_of_ours(tmp_path: Path, no_guest: None) -> None:
    """Whoever gives a kernel the key of one of ours would have his restored in its place."""
    entries = []
    for kernel in (b"kernel", b"evil"):
        own = state(binaries(tmp_path, kernel), tmp_path)
        ready = kernels.kernel_of_kind(("fast", ""), kernels.Sources(own, Silent()), own, Silent())
        for each in (ready, replace(ready, content="")):
            store = boots._snapshots(each)
            assert store is not None
            entries.append(store.words[0])
        assert own.digests["image"] == "sha256:1" and ready.origins is None
    assert entries[1] == entries[3] == KEY
    assert len(set(entries)) == 3


def test_without_a_binary_of_it_a_kernel_is_skipped(tmp_path: Path, no_guest: None) -> None:
    own = state(binaries(tmp_path), tmp_path)
    with pytest.raises(CannotRun, match="no binary of the kernel 'build kasan'"):
        kernels.kernel_of_kind(("kasan", ""), kernels.Sources(own, Silent()), own, Silent())


def test_a_source_is_fetched_for_binaries_only_where_it_is_looked_at(
    tmp_path: Path, no_guest: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = scenarios.get("compaction")
    own = state(binaries(tmp_path), tmp_path)
    monkeypatch.setattr(runs, "_one_arm", lambda *parts: None)
    runs._experiment(plan, own, Silent())
    assert [arm.name for arm in own.arms] == ["control", "treated"]
    assert own.record(runs._interrupted(own).verdict, error={}).inputs == own.given.inputs
    with pytest.raises(AssertionError, match="nothing is"):
        runs._experiment(scenarios.get("defects"), own, Silent())


# What was applied


def test_patches_that_are_given_are_applied_and_no_word_is_read(tmp_path: Path) -> None:
    before = read("mm/compaction.c")
    texts = [before.replace("scanned++", f"scanned += {n}") for n in (1, 2, 3)]
    patches = [
        Patch(f"p{n}", "", diff("mm/compaction.c", old, new).encode())
        for n, (old, new) in enumerate(zip([before, *texts], texts, strict=False))
    ]
    made = [
        MadeOf("build", series.given("x", patches[:2], "", 1)),
        MadeOf("build window", series.given("x", patches, "", 1)),
    ]
    inputs = Inputs(tuple(made), "", "", False, "")
    own = state(pipeline.Given(inputs=inputs, tree=toy.tree()), tmp_path)
    own.chosen = replace(own.chosen, spec=replace(own.chosen.spec, series=("/no/such/file",)))
    sources = kernels.Sources(own, Silent())
    assert "scanned += 2" in sources.read("mm/compaction.c")
    assert "scanned += 3" in Blame(sources.topped("build window", "window")).read("mm/compaction.c")
    assert own.digests["tree"] == "tree:toy" and sources.patched.series.compat == 1
    with pytest.raises(CannotRun, match="no kernel 'build other'"):
        sources.topped("build other", "other")


def test_patches_that_do_not_apply_are_kept_too(tmp_path: Path) -> None:
    wrong = Patch("p", "", diff("mm/compaction.c", "nothing\n", "like it\n").encode())
    inputs = Inputs((MadeOf("build", series.given("x", [wrong], "", 0)),), "", "", False, "")
    own = state(pipeline.Given(inputs=inputs, tree=toy.tree()), tmp_path)
    with pytest.raises(PatchError):
        kernels.Sources(own, Silent()).read("mm/compaction.c")
    kept_inputs = own.record(runs._interrupted(own).verdict, error={}).inputs
    assert kept_inputs is not None and kept_inputs.kernels[0].series.patches == (wrong,)
    assert kept_inputs.version == "6.12.0-fake"


# What is said of it


@pytest.mark.parametrize(
    ("then", "now", "code", "words"),
    [
        (Outcome.PASS, Outcome.PASS, 0, "reproduced PASS, as the run said"),
        (Outcome.FAIL, Outcome.FAIL, 0, "reproduced FAIL, as the run said"),
        (Outcome.PASS, Outcome.CRASH, 1, "not reproduced the run said PASS ("),
        (Outcome.CRASH, Outcome.PASS, 1, "(it was CRASH), and now it is PASS (360 of"),
    ],
)
def test_the_same_verdict_is_0_and_another_1(
    tmp_path: Path,
    asked: SimpleNamespace,
    then: Outcome,
    now: Outcome,
    code: int,
    words: str,
) -> None:
    asked.record = made_runs.ran(now, host={"machine": "x86_64", "qemu": "QEMU 9"})
    folder = made_runs.folder(tmp_path, then, host={"machine": "x86_64", "qemu": "QEMU 7"})
    found = CliRunner().invoke(cli.cli, ["reproduce", str(folder), "--trust"])
    said = " ".join(found.output.split())
    assert found.exit_code == code, found.output
    assert words in said and "QEMU QEMU 7 QEMU 9" in said
    as_json = CliRunner().invoke(cli.cli, ["reproduce", str(folder), "--trust", "--json"])
    told = json.loads(as_json.stdout)
    assert (told["same"], told["now"]["verdict"]) == (code == 0, now.value)
    assert told["inputs"] == [{"name": "QEMU", "a": "QEMU 7", "b": "QEMU 9"}]


def test_another_reason_is_told(tmp_path: Path, asked: SimpleNamespace) -> None:
    """Figures are another each time, and whom a report blames binaries do not tell."""

    def said(then: str, now: str) -> str:
        run = made_runs.run(Outcome.FAIL)
        verdict = replace(made_runs.ran(Outcome.FAIL).verdict, reason=now)
        record = replace(made_runs.ran(Outcome.FAIL), verdict=verdict)
        return again.Reproduced({**run, "reason": then}, record, tmp_path, ()).sentence

    assert "though for another reason: then 3 lost" in said("3 lost", "3 corrupt")
    assert said("3 lost; blame: 0003 x", "14 lost") == "FAIL, as the run said"
    assert said("3 lost", "9 lost; a patched line on the stack: 0003 x") == "FAIL, as the run said"
    # What was done at that moment, and how much was said in all, is another each time.
    told = "a BUG in f (reports in all: 1,002); blame: 0003 x, after which: `dd` was killed"
    assert said(told, "a BUG in f, after which: silence") == "FAIL, as the run said"


def test_what_a_run_did_not_come_to_is_no_difference(
    tmp_path: Path, asked: SimpleNamespace
) -> None:
    asked.record = made_runs.ran(Outcome.SKIP, accelerator=None, toolchain={}, digests={})
    found = done(made_runs.folder(tmp_path), Wish(trust=True))
    assert not found.same and not found.inputs


def test_a_run_that_does_another_again_is_done_again_from_its_folder(tmp_path: Path) -> None:
    own = made_runs.folder(tmp_path, again=Again("x", False, True), series=("/evil; id",))
    last = (own / "reproduce").read_text().splitlines()[-1]
    assert last.endswith('reproduce "$@" -- "$(dirname -- "$0")"') and "evil" not in last


def test_a_run_of_files_is_done_again_from_what_it_kept(tmp_path: Path) -> None:
    """They may be gone or others by then; what they were is said."""
    text = (made_runs.folder(tmp_path, series=("fixed", "a b.patch")) / "reproduce").read_text()
    assert text.splitlines()[-1].endswith('reproduce "$@" -- "$(dirname -- "$0")"')
    assert "# The words were: run compaction" in text and "'--series=a b.patch'" in text
    plain = (made_runs.folder(tmp_path / "other", series=("fixed",)) / "reproduce").read_text()
    assert " run compaction " in plain.splitlines()[-1]


def test_what_differs_fits_a_terminal() -> None:
    out = io.StringIO()
    rows = differences([made_runs.run()], [made_runs.run(seed=9, digests={"tree": "git:1"})])
    Console(file=out, width=80).print(report.comparison.reproduced(False, "\x1b[31m", rows))
    assert "\x1b" not in out.getvalue() and "not as it was" in out.getvalue()
    assert all(len(line) <= 80 for line in out.getvalue().splitlines())


def test_the_emulator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "find", lambda program, package: program)
    monkeypatch.setattr(begin, "_version", lambda program: f"{program} 7.2\nCopyright\n")
    assert begin.emulator(arch.get("x86_64")) == "qemu-system-x86_64 7.2"


# The commands


def test_compare_ends_with_the_verdict_of_the_first_new_failure(tmp_path: Path) -> None:
    before = made_runs.folder(tmp_path / "a")
    after = made_runs.folder(tmp_path / "b", Outcome.CRASH)
    for a, b, code in ((before, after, 3), (after, before, 0), (tmp_path / "a", after.parent, 3)):
        found = CliRunner().invoke(cli.cli, ["compare", str(a), str(b)])
        assert found.exit_code == code, found.output
    told = json.loads(
        CliRunner().invoke(cli.cli, ["compare", *map(str, (before, after)), "--json"]).stdout
    )
    assert told["exit_code"] == 3 and told["pairs"][0]["inputs"] == []


def test_compare_of_what_has_nothing_in_common_is_bad_input(tmp_path: Path) -> None:
    before = made_runs.folder(tmp_path / "a")
    after = made_runs.folder(tmp_path / "b", Outcome.SKIP, scenario="numa", params={})
    found = CliRunner().invoke(cli.cli, ["compare", str(before), str(after)])
    assert isinstance(found.exception, InputError)
    assert "no run in common" in str(found.exception)


def test_bundle_says_what_it_made(tmp_path: Path) -> None:
    folder = made_runs.folder(tmp_path / "a")
    to = tmp_path / "x.xz"
    found = CliRunner().invoke(cli.cli, ["bundle", str(folder), "-o", str(to)])
    assert found.exit_code == 0 and f"bundle: {to}" in found.output
    told = CliRunner().invoke(cli.cli, ["bundle", str(folder), "-o", str(to), "--json"])
    assert json.loads(told.stdout)["packed"] == to.stat().st_size
    again_so = CliRunner().invoke(cli.cli, ["bundle", str(to)])
    assert "no run's folder" in str(again_so.exception)


# A scenario of one's own

HALF = """\
pin: {pages: 3000, every: 32}
drive: [compact]
expect: {migrated: at least 50 %}
"""


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """A run's folder of one, whose YAML is no longer where it was."""
    gone = Path("/home/somebody/half.yaml")
    folder = made_runs.folder(tmp_path, scenario="half", file=gone, params={"pages": 500})
    own = folder / "scenario"
    own.mkdir()
    (own / "half.yaml").write_text(HALF)
    return folder


def module(folder: Path, path: str) -> None:
    where = folder / "scenario" / path
    where.mkdir(parents=True, exist_ok=True)
    (where / "Kbuild").write_text("obj-m += drain.o\n")
    (where / "drain.c").write_text("int drain;\n")
    yaml = folder / "scenario/half.yaml"
    yaml.write_text(f"{HALF}modules: ['{path}']\n")


@pytest.mark.parametrize("bundled", [False, True])
def test_a_scenario_of_ones_own_is_the_one_that_was_kept(
    half: Path, tmp_path: Path, asked: SimpleNamespace, bundled: bool
) -> None:
    module(half, "drain")
    (half / "scenario/.hidden").write_text("not ours\n")
    where = half
    if bundled:
        with kept.opened(str(half), Silent()) as found:
            where = pack.pack(found, tmp_path / "b.tar.xz", pack.Wanted(), Silent()).path
    with pytest.raises(InputError, match=r"modules that are not pinpage's own: drain"):
        done(where)
    done(where, Wish(trust=True))
    wanted = asked.wanted
    assert (wanted.scenario, wanted.file.name) == ("half", "half.yaml")
    assert wanted.file.parent.name == "scenario" and wanted.params["pages"] == 500
    assert wanted.file.is_relative_to(half) is not bundled


def test_what_a_scenario_names_outside_of_its_folder_is_refused(
    half: Path, asked: SimpleNamespace
) -> None:
    module(half, "../../drain")
    with pytest.raises(InputError, match="names a module outside of it"):
        done(half, Wish(trust=True))
    assert asked.wanted is None


@pytest.mark.parametrize("how", ["missing", "another name"])
def test_a_scenario_that_is_not_the_runs_is_refused(
    half: Path, asked: SimpleNamespace, how: str
) -> None:
    yaml = half / "scenario/half.yaml"
    if how == "missing":
        yaml.unlink()
    else:
        change(file="/x/other.yaml")(run := json.loads((half / "run.json").read_text()))
        (half / "run.json").write_text(json.dumps(run))
        yaml.rename(yaml.with_name("other.yaml"))
    with pytest.raises(InputError, match=r"does not hold the scenario|is of 'half', and its YAML"):
        done(half, Wish(trust=True))
    assert asked.wanted is None


def test_a_scenario_whose_name_no_bundle_takes_is_named(tmp_path: Path) -> None:
    odd = Path("/x/my half.yaml")
    folder = made_runs.folder(tmp_path, scenario="my_half", file=odd, params={"pages": 500})
    (folder / "scenario").mkdir()
    (folder / "scenario/my half.yaml").write_text(HALF)
    with (
        kept.opened(str(folder), Silent()) as found,
        pytest.raises(InputError, match=r"my half\.yaml cannot be bundled"),
    ):
        pack.pack(found, tmp_path / "b.tar.xz", pack.Wanted(), Silent())
