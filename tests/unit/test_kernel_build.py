# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's build on the toy tree: make, compiler, locks and signals for real."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import toykernel as toy

from harness import arch as arches
from harness import cache
from harness.build import artifacts, kernel, make, series, source, toolchain, workspace
from harness.errors import (
    BuildError,
    CompileError,
    ConfigError,
    InfraError,
    InputError,
    MissingTool,
)
from harness.model import (
    BuildArtifacts,
    Fragment,
    Kernel,
    KernelConfig,
    PatchedTree,
    Series,
    SourceTree,
    Toolchain,
)

X86 = arches.get("x86_64")
HOST = arches.host()
COUNT = toy.change("mm/compaction.c", "scanned++;", "scanned += 2;")
MIGRATE = toy.change("mm/migrate.c", "return -1;", "return -22;")
DEADLINE = 300.0  # a busy machine


def config(*symbols: str) -> KernelConfig:
    wanted = {"MODULES": "y", "COMPACTION": "y", **dict.fromkeys(symbols, "y")}
    text = "".join(f"CONFIG_{name}={value}\n" for name, value in wanted.items())
    return KernelConfig((Fragment("toy", text),), wanted, cache.key(text))


class Bench:
    """A toy tree, a cache, and builds of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.progress = toy.Notes()
        self.module = folder / "modules" / "hello"
        self.module.mkdir(parents=True)
        (self.module / "Kbuild").write_text("obj-m := hello.o\n")
        self.module_text("int init_module(void) { return migrate_page(1, VALUE); }")
        (self.module.parent / "compat.h").write_text("#define VALUE 2\n")
        self.tree = self.cached_tree()

    def module_text(self, text: str) -> None:
        head = '#include <linux/mm.h>\n#include "../compat.h"\n'
        (self.module / "hello.c").write_text(head + text + "\n")

    def cached_tree(self) -> SourceTree:
        """The toy tree as an archive's, unpacked in the cache. Packed once: others may read it."""
        archive = self.folder / "toy.tar"
        if not archive.exists():
            subprocess.run(
                ["tar", "-C", toy.FAKELINUX.parent, "-cf", archive, toy.FAKELINUX.name], check=True
            )
        return source.resolve(toy.KERNEL, str(archive), cache=self.cache, progress=toy.Notes())

    def folder_tree(self, top: Path) -> SourceTree:
        return source.resolve(toy.KERNEL, str(top), cache=self.cache, progress=toy.Notes())

    def build(
        self,
        *patches: str,
        wanted: KernelConfig | None = None,
        tree: SourceTree | None = None,
        modules: Mapping[str, Path] | None = None,
        kernel_value: Kernel = toy.KERNEL,
    ) -> BuildArtifacts:
        self.progress = toy.Notes()
        files = []
        for number, text in enumerate(patches, 1):
            files.append(self.folder / f"{number:04}.patch")
            cache.write(files[-1], text.encode())  # never half there, as another may read it
        found = series.load(tuple(map(str, files)) or ("none",), toy.KERNEL, tree or self.tree)
        applied = series.apply(tree or self.tree, found, cache=self.cache, progress=toy.Notes())
        return kernel.build(
            applied,
            wanted or config(),
            HOST,
            kernel_value,
            "gcc",
            {"hello": self.module} if modules is None else modules,
            jobs=2,
            cache=self.cache,
            progress=self.progress,
        )

    def compiled(self) -> set[str]:
        """What the last build of the kernel compiled."""
        return {
            name for _, _, name in self.progress.steps if name.startswith(("mm/", "init/", "k"))
        }

    def forget(self) -> None:
        """Throw the published builds away, and keep the workspaces."""
        for entry in (self.cache / "builds").iterdir():
            if entry.is_dir():
                cache.discard(entry)

    def workspace(self) -> Path:
        (found,) = (path for path in (self.cache / "work").iterdir() if path.is_dir())
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


EVERYTHING = {"mm/compaction.o", "mm/migrate.o", "init/main.o", "kernel/fork.o"}


# ---------------------------------------------------------------------------------------------
# Built, found built, built again
# ---------------------------------------------------------------------------------------------


def test_build_and_find_it_again(bench: Bench) -> None:
    built = bench.build()
    assert not built.cached and built.cpu_seconds > 0
    assert bench.compiled() == EVERYTHING
    for path in (built.image, built.vmlinux, built.config, built.modules["hello"]):
        assert path.stat().st_size > 0
        assert path.is_relative_to(built.folder)
    assert {p.name for p in built.folder.iterdir()} == {
        *("image", "vmlinux", "config", "System.map", "build.log", "build.json"),
        *("modules", "symbols", "origins.json"),
    }
    assert built.release == "6.12.0-fake"
    assert b"start_kernel" in (built.folder / "System.map").read_bytes()
    facts = json.loads((built.folder / "build.json").read_text())
    assert facts["source"]["digest"] == bench.tree.digest
    again = bench.build()
    assert again.cached and bench.compiled() == set()
    assert replace(again, cached=False) == built


def test_how_much_is_expected(bench: Bench) -> None:
    """From a dry run, from the last build from nothing, and for a header that all depend on."""

    def totals() -> tuple[list[int], set[int | None]]:
        steps = [(done, total) for done, total, name in bench.progress.steps if name in EVERYTHING]
        return [done for done, _ in steps], {total for _, total in steps}

    whole = ([1, 2, 3, 4], {6})  # and LD, OBJCOPY
    bench.build()
    assert totals() == whole
    cache.discard(bench.workspace())
    bench.forget()
    bench.build()
    assert totals() == whole
    bench.build(MIGRATE)
    assert totals() == ([1], {None})
    bench.build(toy.change("include/linux/mm.h", "PAGE_SHIFT 12", "PAGE_SHIFT 13"))
    assert totals() == whole


@pytest.mark.parametrize("name", ["image", "modules/hello.ko", "build.json"])
@pytest.mark.parametrize("how", ["changed", "lost"])
def test_damaged_build_is_thrown_away(bench: Bench, name: str, how: str) -> None:
    built = bench.build()
    file = built.folder / name
    before = file.read_bytes()
    if how == "lost":
        file.unlink()
    else:
        file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    again = bench.build()
    assert not again.cached and bench.progress.said("is damaged")
    assert name == "build.json" or file.read_bytes() == before


def test_artifacts_of_another_format_are_not_taken(tmp_path: Path) -> None:
    folder = artifacts.entry("k", tmp_path)
    folder.mkdir(parents=True)
    cache.write_json(folder / "build.json", {"format": 0, "sha256": {}})
    progress = toy.Notes()
    assert artifacts.look("k", tmp_path, progress) is None
    assert progress.said("is damaged") and not folder.exists()


def test_a_build_in_the_home_of_nobody(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="~no-such-user/build is no folder"):
        artifacts.named("~no-such-user/build", tmp_path)


def test_a_build_that_another_run_replaces_is_not_thrown_away(tmp_path: Path) -> None:
    folder = artifacts.entry("k", tmp_path)
    facts = {"release": "6.12", "arch": "x86_64", "seconds": 1.0, "cpu_seconds": 1.0}
    (tmp_path / "image").write_text("image")
    files = {"image": tmp_path / "image"}
    gcc = Toolchain("gcc", "12", {})
    artifacts.publish("k", files, {}, facts, gcc, tmp_path, toy.Notes())
    whole = (folder / "build.json").read_text()
    (folder / "build.json").write_text("{")
    waiting, found = threading.Event(), []

    class Waited(toy.Notes):
        def note(self, text: str) -> None:
            super().note(text)
            waiting.set()

    progress = Waited()
    thread = threading.Thread(target=lambda: found.append(artifacts.look("k", tmp_path, progress)))
    with cache.locked(folder.with_name("k.lock"), "publishes it", toy.Notes()):
        thread.start()
        assert waiting.wait(30)
        folder.mkdir(exist_ok=True)
        (folder / "build.json").write_text(whole)
    thread.join(30)
    assert found[0] is not None and found[0].image.is_file()
    assert not progress.said("is damaged")


def test_only_what_a_series_touches_is_compiled(bench: Bench) -> None:
    plain = bench.build()
    patched = bench.build(MIGRATE)
    assert patched.key != plain.key
    assert bench.compiled() == {"mm/migrate.o"}
    bench.build(COUNT)
    assert bench.compiled() == {"mm/migrate.o", "mm/compaction.o"}
    bench.forget()
    again = bench.build()
    assert bench.compiled() == {"mm/compaction.o"}
    assert again.vmlinux.read_bytes() == plain.vmlinux.read_bytes()


def test_header_change_reaches_its_users(bench: Bench) -> None:
    bench.build()
    bench.build(toy.change("include/linux/mm.h", "PAGE_SHIFT 12", "PAGE_SHIFT 13"))
    assert bench.compiled() == EVERYTHING


def test_new_and_deleted_files_come_and_go(bench: Bench) -> None:
    pinpage = toy.diff("mm/pinpage.c", None, "int pinned;\n")
    wanted = config("PINPAGE")
    bench.build(pinpage, wanted=wanted)
    assert "mm/pinpage.o" in bench.compiled()
    file = bench.workspace() / "src/mm/pinpage.c"
    assert file.is_file()
    with pytest.raises(CompileError, match=r"No rule to make target.*pinpage"):
        bench.forget()
        (bench.workspace() / "src/.obj/mm/pinpage.o").unlink()
        bench.build(wanted=wanted)
    assert not file.exists()


def test_two_series_that_end_the_same_share_a_build(bench: Bench) -> None:
    old, new = toy.read("mm/migrate.c"), toy.read("mm/migrate.c").replace("-1", "-22")
    half = old.replace("-1", "-3")
    first = bench.build(toy.diff("mm/migrate.c", old, new))
    second = bench.build(toy.diff("mm/migrate.c", old, half), toy.diff("mm/migrate.c", half, new))
    assert second.cached and second.key == first.key


def test_key_follows_every_input(bench: Bench) -> None:
    keys = [bench.build().key]
    keys.append(bench.build(wanted=config("NUMA")).key)
    bench.module_text("int init_module(void) { return 7; }")
    keys.append(bench.build().key)
    (bench.module.parent / "compat.h").write_text("#define VALUE 3\n")
    keys.append(bench.build().key)
    flags = replace(toy.KERNEL, make={HOST.name: {"CC": "gcc -DMORE"}})
    keys.append(bench.build(kernel_value=flags).key)
    assert len(set(keys)) == len(keys)


def test_the_source_in_the_cache_is_never_changed(bench: Bench) -> None:
    bench.build(MIGRATE, COUNT)
    original = bench.tree.path / "mm/migrate.c"
    assert original.read_text() == toy.read("mm/migrate.c")
    unpatched = bench.workspace() / "src/kernel/fork.c"
    assert unpatched.stat().st_ino == (bench.tree.path / "kernel/fork.c").stat().st_ino


def test_damage_to_a_linked_source_does_not_last(bench: Bench) -> None:
    """A careless edit in the cache reaches the workspace through the hard link."""
    bench.build()
    (bench.tree.path / "kernel/fork.c").write_text("int damaged;\n")
    assert (bench.workspace() / "src/kernel/fork.c").read_text() == "int damaged;\n"
    bench.tree = bench.cached_tree()
    bench.build(MIGRATE)
    assert (bench.workspace() / "src/kernel/fork.c").read_text() == toy.read("kernel/fork.c")
    assert "kernel/fork.o" in bench.compiled()


def test_the_users_folder_is_copied_and_followed(bench: Bench) -> None:
    top = toy.copy(bench.folder / "linux")
    before = cache.measure(top)
    bench.build(tree=bench.folder_tree(top))
    assert cache.measure(top) == before
    work = bench.workspace() / "src"
    assert (work / "mm/migrate.c").stat().st_nlink == 1
    (top / "mm/migrate.c").write_text(toy.read("mm/migrate.c").replace("-1", "-9"))
    (top / "scripts/hello.sh").unlink()
    bench.build(tree=bench.folder_tree(top))
    assert bench.compiled() == {"mm/migrate.o"}
    assert not (work / "scripts/hello.sh").exists()
    bench.build(MIGRATE.replace("-1;", "-9;"), tree=bench.folder_tree(top))
    assert "return -22;" in (work / "mm/migrate.c").read_text()


LINK = "mm/link"
TURNS: dict[str, dict[str, bytes | None]] = {
    "file": {"mm/migrate.c": None, "mm/migrate.c/below/x.c": b"x"},
    "folder": {"init/main.c": None, "init": b"x"},
    "link": {LINK: None, f"{LINK}/mm.h": toy.read("include/linux/mm.h").encode()},
    "file of the link's name": {LINK: b"x"},
}


def laid_out(top: Path) -> dict[str, Path | bytes]:
    """What files hold and where links lead to."""
    return {
        str(path.relative_to(top)): path.readlink() if path.is_symlink() else path.read_bytes()
        for path in top.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize("linkable", [True, False])
@pytest.mark.parametrize("other_tree", [True, False])
@pytest.mark.parametrize("first", TURNS)
def test_files_links_and_folders_turn_into_one_another(
    tmp_path: Path, first: str, other_tree: bool, linkable: bool
) -> None:
    top = toy.copy(tmp_path / "linux")
    (top / LINK).symlink_to("../include/linux")
    original = laid_out(top)
    work = workspace.Workspace(tmp_path / "work", toy.Notes())
    work.top.mkdir()
    names = [name for second in TURNS for name in ("none", "none", first, second)]
    for number, name in enumerate([*names, "none", "none"]):
        source, changed = toy.tree(top, str(number * other_tree)), TURNS.get(name, {})
        tree = PatchedTree(source, Series("s", (), "d", "o"), changed, frozenset(), {}, "d")
        work.synchronise(tree, linkable, lambda: None)
        wanted = {**original, **changed}
        assert laid_out(work.src) == {path: wanted[path] for path in wanted if wanted[path]}
        assert laid_out(top) == original


@pytest.mark.parametrize("content", [b"evil", None])
def test_nothing_is_reached_through_a_link(tmp_path: Path, content: bytes | None) -> None:
    top, elsewhere = toy.copy(tmp_path / "linux"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "evil").write_text("theirs")
    (top / "out").symlink_to(elsewhere)
    tree = PatchedTree(toy.tree(top), Series("s", (), "d", "o"), {}, frozenset(), {}, "d")
    work = workspace.Workspace(tmp_path / "work", toy.Notes())
    work.top.mkdir()
    series_of: list[dict[str, bytes | None]] = [{}, {"out/evil": content}, {}]
    for changed in series_of:
        work.synchronise(replace(tree, changed=changed), False, lambda: None)
        assert laid_out(elsewhere) == {"evil": b"theirs"}


def test_commits_of_a_repository_share_a_workspace(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit compiles what it changed, and no other's tree reaches it; what a build that failed
    brought in is not taken for compiled by the next commit."""
    top = toy.copy(bench.folder / "linux")
    git = ["git", "-C", str(top), "-c", "user.name=A", "-c", "user.email=a@b"]
    monkeypatch.setenv("GIT_COMMITTER_DATE", "1700000000 +0000")  # as a rebase makes them

    def commit(*changes: tuple[str, str]) -> SourceTree:
        for path, text in changes:
            (top / path).write_text(text)
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-qm", "x"], check=True)
        found = subprocess.run([*git, "rev-parse", "HEAD"], check=True, stdout=subprocess.PIPE)
        where = f"{top}@{found.stdout.decode().strip()}"
        return source.resolve(toy.KERNEL, where, cache=bench.cache, progress=toy.Notes())

    subprocess.run([*git, "init", "-q"], check=True)
    first = commit()
    bench.build(tree=first)
    migrate = toy.read("mm/migrate.c").replace("-1", "-22")
    second = commit(("mm/migrate.c", migrate))
    bench.build(tree=second)
    assert bench.compiled() == {"mm/migrate.o"}
    src = bench.workspace() / "src"
    assert (src / "kernel/fork.c").stat().st_nlink == 1
    broken = commit(
        ("mm/migrate.c", migrate.replace("-22", "-33")),
        ("mm/compaction.c", "int broken(\n"),
        ("include/linux/mm.h", toy.read("include/linux/mm.h").replace("SHIFT 12", "SHIFT 13")),
    )
    with pytest.raises(CompileError):
        bench.build(tree=broken)
    last = commit(("mm/compaction.c", toy.read("mm/compaction.c")))
    bench.build(tree=last)
    objects = {name: (src / ".obj" / name).read_bytes() for name in EVERYTHING}
    cache.discard(bench.workspace())
    bench.forget()
    bench.build(tree=last)
    assert {name: (src / ".obj" / name).read_bytes() for name in EVERYTHING} == objects


def test_workspaces_that_nobody_uses_make_room(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor builds: those that were not found again for long."""
    monkeypatch.setattr("harness.build.workspace._KEPT", 1)
    monkeypatch.setattr("harness.build.artifacts._KEPT", 2)
    first, second = bench.build(), bench.build(MIGRATE)
    work = bench.workspace()
    for path, hours in {first.folder: 200, second.folder: 200, work: 25}.items():
        os.utime(path, (time.time() - hours * 3600,) * 2)
    assert bench.build().cached
    last = bench.build(wanted=config("NUMA"))
    assert bench.workspace() != work and bench.progress.said("it makes room")
    left = {path for path in last.folder.parent.iterdir() if path.is_dir()}
    assert left == {first.folder, last.folder}


def test_folder_that_changes_under_the_build(bench: Bench) -> None:
    top = toy.copy(bench.folder / "linux")
    tree = bench.folder_tree(top)
    (top / "mm/migrate.c").write_text("int other;\n")
    with pytest.raises(InputError, match="was changed while it was read"):
        bench.build(tree=tree)


def test_an_edit_under_the_build_does_not_outlast_it(bench: Bench) -> None:
    """Not even one that the times do not tell."""
    top = toy.copy(bench.folder / "linux")
    file, text = top / "mm/migrate.c", toy.read("mm/migrate.c")
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    tree = bench.folder_tree(top)
    file.write_text(text.replace("-1", "-9"))
    os.utime(file, ns=times)
    with pytest.raises(InputError, match="was changed while it was read"):
        bench.build(tree=tree)
    file.write_text(text)
    os.utime(file, ns=times)
    bench.build(tree=bench.folder_tree(top))
    assert (bench.workspace() / "src/mm/migrate.c").read_text() == text


def test_an_edit_under_the_build_is_configured_with_the_next(bench: Bench) -> None:
    top = toy.copy(bench.folder / "linux")
    bench.build(tree=bench.folder_tree(top))
    (top / "mm/migrate.c").write_text(toy.read("mm/migrate.c").replace("-1", "-9"))
    tree = bench.folder_tree(top)
    with (top / "Kconfig").open("a") as kconfig:
        kconfig.write('\nconfig EXTRA\n\tbool "More"\n\tdefault y\n')
    with pytest.raises(InputError, match="was changed while it was read"):
        bench.build(tree=tree)
    built = bench.build(tree=bench.folder_tree(top))
    assert "CONFIG_EXTRA=y" in built.config.read_text()


def test_environment_does_not_reach_the_build(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "MAKEFLAGS": "n",
        "ARCH": "arm64",
        "O": "/nowhere",
        "M": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)
    assert bench.build().image.stat().st_size > 0


def test_cache_folder_that_make_cannot_take(tmp_path: Path) -> None:
    (tmp_path / "with space").mkdir()
    bench = Bench(tmp_path / "with space")
    with pytest.raises(InfraError, match="no space or colon"):
        bench.build()


# ---------------------------------------------------------------------------------------------
# Configuration
# ---------------------------------------------------------------------------------------------


def test_dropped_option_is_an_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_DROP", "COMPACTION")
    with pytest.raises(ConfigError, match="COMPACTION") as caught:
        bench.build()
    assert caught.value.exit_code == 8
    monkeypatch.delenv("FAKE_DROP")
    assert bench.build().image.exists()


def test_stale_config_does_not_survive(bench: Bench) -> None:
    """The trap of tools that take an existing .config for what was asked."""
    bench.build()
    dot_config = bench.workspace() / "src/.obj/.config"
    dot_config.write_text(dot_config.read_text().replace("CONFIG_COMPACTION=y\n", ""))
    bench.forget()
    built = bench.build()
    assert "CONFIG_COMPACTION=y" in built.config.read_text()


def test_series_that_changes_kconfig_is_configured_anew(bench: Bench) -> None:
    bench.build()
    add = toy.read("Kconfig") + '\nconfig EXTRA\n\tbool "More"\n\tdefault y\n'
    built = bench.build(toy.diff("Kconfig", toy.read("Kconfig"), add))
    assert "CONFIG_EXTRA=y" in built.config.read_text()
    bench.forget()
    assert "CONFIG_EXTRA" not in bench.build().config.read_text()


def test_kconfig_syntax_error(bench: Bench) -> None:
    patch = toy.change("Kconfig", 'mainmenu "Toy"', 'mainmenu "Toy"\nnonsense')
    with pytest.raises(ConfigError, match=r"Kconfig:3: syntax error") as caught:
        bench.build(patch)
    assert "Kconfig is changed by 0001.patch" in caught.value.detail


def test_modules_need_a_modular_kernel(bench: Bench) -> None:
    bare = KernelConfig((), {}, "bare")
    with pytest.raises(BuildError, match="CONFIG_MODULES"):
        bench.build(wanted=bare)
    assert bench.build(wanted=bare, modules={}).modules == {}


# ---------------------------------------------------------------------------------------------
# What goes wrong
# ---------------------------------------------------------------------------------------------


def test_compile_error_names_file_line_and_patch(bench: Bench) -> None:
    bad = toy.change("mm/compaction.c", "moved++;", "moved += nonsense;")
    with pytest.raises(CompileError) as caught:
        bench.build(MIGRATE, bad)
    error = caught.value
    assert error.exit_code == 8
    assert re.match(r"mm/compaction\.c:25:\d+: ", error.message)
    assert "nonsense" in error.message
    assert re.search(r"; blame: 0002\S* .*, mm/compaction\.c:25$", error.message)
    assert "mm/compaction.c is changed by 0002.patch" in error.detail
    assert "In function" in error.detail and "moved += nonsense;" in error.detail
    assert error.log is not None and b"nonsense" in error.log.read_bytes()
    assert error.command[0] == "make"
    assert bench.build(MIGRATE).image.exists()
    assert not bench.progress.said("interrupted")


def test_undefined_reference_names_the_patch(bench: Bench) -> None:
    bad = toy.change(
        "mm/migrate.c", "return 0;", "extern int missing_one(void); return missing_one();"
    )
    with pytest.raises(CompileError, match="undefined reference to missing_one") as caught:
        bench.build(bad)
    assert "missing_one is named in mm/migrate.c, changed by 0001.patch" in caught.value.detail


def test_a_line_of_the_trees_own_accuses_nobody(bench: Bench) -> None:
    """What does not compile is one line, what the patch changed another one of its file."""
    bad = toy.change("mm/compaction.c", "int moved", "int removed")
    with pytest.raises(CompileError) as caught:
        bench.build(bad)
    assert "blame" not in caught.value.message


def test_module_errors_name_the_modules_own_file(bench: Bench) -> None:
    bench.module_text("int init_module(void) { return nonsense; }")
    with pytest.raises(CompileError) as caught:
        bench.build()
    assert caught.value.message.startswith(f"{bench.module}/hello.c:3:")
    bench.module_text("int missing_one(void); int init_module(void) { return missing_one(); }")
    with pytest.raises(CompileError, match="missing_one is not defined, or not exported"):
        bench.build()
    assert not list((bench.cache / "builds").glob("*/image"))


@pytest.mark.parametrize(
    ("knob", "value", "package"),
    [("FAKE_MISSING", "flex", "flex"), ("FAKE_HEADER", "gelf.h", "libelf-dev")],
)
def test_missing_tool_names_its_package(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, knob: str, value: str, package: str
) -> None:
    monkeypatch.setenv(knob, value)
    with pytest.raises(MissingTool, match=value) as caught:
        bench.build()
    assert caught.value.hint == f"install it: apt install {package}"
    assert caught.value.exit_code == 9


def test_full_disk_is_not_the_patches_fault(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FULL", "1")
    with pytest.raises(InfraError, match="No space left on device") as caught:
        bench.build()
    assert not isinstance(caught.value, BuildError)


# ---------------------------------------------------------------------------------------------
# Interrupted, killed, side by side
# ---------------------------------------------------------------------------------------------

BUILD = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below a shell's "&"
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_kernel_build as t, toykernel as toy
bench = t.Bench.__new__(t.Bench)
bench.folder, bench.cache = Path({folder!r}), Path({folder!r}) / "cache"
bench.module = bench.folder / "modules" / "hello"
bench.tree = bench.cached_tree()
built = bench.build(*{patches!r})
print(built.key, built.cached)
"""


def start(
    bench: Bench, *patches: str, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    here = str(Path(__file__).parent)
    code = BUILD.format(tests=here, folder=str(bench.folder), patches=patches)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(true: object, what: str) -> None:
    """Poll for a condition under a deadline."""
    assert callable(true)
    end = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def below(folder: Path) -> list[int]:
    """Processes that work in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            cwd = (entry / "cwd").readlink()
        except OSError:
            continue
        if cwd.is_relative_to(folder):
            found.append(int(entry.name))
    return found


@pytest.fixture
def blocked(bench: Bench) -> Iterator[tuple[Bench, Path, dict[str, str]]]:
    """A built bench, and the environment in which the next compilation of migrate.o hangs."""
    bench.build()
    fifo = bench.folder / "fifo"
    os.mkfifo(fifo)
    yield bench, fifo, {"FAKE_BLOCK": str(fifo), "FAKE_BLOCK_AT": "mm/migrate.o"}
    both = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)  # whatever still waits may go on
    os.write(both, b"go\n")
    os.close(both)


def hangs(bench: Bench) -> bool:
    return (bench.workspace() / "src/.obj/mm/migrate.o").stat().st_size == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_build_goes_on(
    blocked: tuple[Bench, Path, dict[str, str]], number: signal.Signals
) -> None:
    bench, fifo, env = blocked
    child = start(bench, MIGRATE, COUNT, env=env)
    until(lambda: hangs(bench), "the build came to migrate.o")
    child.send_signal(number)
    child.communicate(timeout=DEADLINE)
    work = bench.workspace()
    if number is signal.SIGINT:
        until(lambda: not below(work), "make and the compiler are gone")
        built = bench.build(MIGRATE, COUNT)
    else:
        # make outlives a killed harness: the next run waits for it instead of building beside.
        assert below(work)
        results: list[BuildArtifacts] = []
        thread = threading.Thread(target=lambda: results.append(bench.build(MIGRATE, COUNT)))
        thread.start()
        until(lambda: bench.progress.said("was killed: its last compilers end"), "it waits")
        fifo.write_text("go\n")
        thread.join(DEADLINE)
        (built,) = results
    assert bench.progress.said("was interrupted")
    assert not built.cached
    assert "mm/migrate.o" in bench.compiled() or number is signal.SIGKILL
    fresh = Bench(bench.folder / "fresh").build(MIGRATE, COUNT)
    assert built.vmlinux.read_bytes() == fresh.vmlinux.read_bytes()


def test_killed_make_is_not_the_patches_fault(
    blocked: tuple[Bench, Path, dict[str, str]],
) -> None:
    bench, _, env = blocked
    child = start(bench, MIGRATE, env=env)
    until(lambda: hangs(bench), "the build came to migrate.o")
    for pid in below(bench.workspace()):
        os.kill(pid, signal.SIGKILL)
    _, said = child.communicate(timeout=DEADLINE)
    assert "InfraError: make was killed" in said
    assert bench.build(MIGRATE).image.exists()
    assert bench.progress.said("was interrupted")


def test_interrupted_copy_of_the_source_goes_on(bench: Bench) -> None:
    bench.build(MIGRATE)
    work = bench.workspace()
    manifest = json.loads((work / "manifest.json").read_text())
    (work / "manifest.json").write_text(json.dumps({**manifest, "source": None}))
    (work / "src/mm/compaction.c").unlink()
    (work / "src/mm/compaction.c").write_text("half a fi")
    (work / "src/kernel/fork.c").unlink()
    (work / "src/mm/stray.c").write_text("int stray;\n")
    bench.forget()
    built = bench.build(MIGRATE)
    assert not (work / "src/mm/stray.c").exists()
    fresh = Bench(bench.folder / "fresh").build(MIGRATE)
    assert built.vmlinux.read_bytes() == fresh.vmlinux.read_bytes()


def test_two_runs_side_by_side_build_once(bench: Bench) -> None:
    children = [start(bench, MIGRATE) for _ in range(2)]
    outputs = [child.communicate(timeout=DEADLINE) for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs
    words = sorted(out.split() for out, _ in outputs)
    assert words[0][0] == words[1][0]
    assert [cached for _, cached in words] == ["False", "True"]


# ---------------------------------------------------------------------------------------------
# Toolchains
# ---------------------------------------------------------------------------------------------


def test_gcc_is_found_with_its_version() -> None:
    found = toolchain.find("gcc", HOST, HOST, ccache=False)
    assert found.make == {"CC": "gcc", "HOSTCC": "gcc"}
    assert "gcc" in found.version and "ld" in found.version


@pytest.mark.parametrize(
    ("wanted", "arch", "package"),
    [
        ("gcc-99", HOST.name, "gcc-99"),
        ("llvm-99", HOST.name, "clang-99"),
        ("gcc-99", "other", "gcc-99-other-linux-gnu"),
    ],
)
def test_missing_compiler_names_its_package(wanted: str, arch: str, package: str) -> None:
    other = replace(X86, name="other", cross="other-", compiler_package="gcc-other-linux-gnu")
    with pytest.raises(MissingTool) as caught:
        toolchain.find(wanted, other if arch == "other" else HOST, HOST)
    assert caught.value.hint.endswith(f"apt install {package}")


@pytest.mark.parametrize("wanted", ["", "clang", "gcc-", "gcc-12; rm", "llvm-x"])
def test_unknown_toolchain(wanted: str) -> None:
    with pytest.raises(InputError, match="unknown toolchain"):
        toolchain.find(wanted, HOST, HOST)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with programs that only say who they are."""
    names = ["clang-15", "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-ld", "gcc", "ld", "ccache"]
    names += [f"{tool}-15" for tool in ("ld.lld", "llvm-ar", "llvm-nm", "llvm-objcopy")]
    names += ["llvm-strip-15", "llvm-readelf-15"]
    for name in names:
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{name} 1.0'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def test_llvm_and_cross_compiler(programs: Path) -> None:
    arm64 = arches.get("arm64")
    llvm = toolchain.find("llvm-15", X86, X86)
    assert llvm.ccache
    assert {name: toolchain.compiler(word) for name, word in llvm.make.items()} == {
        "LLVM": "-15",
        "CC": "clang-15",
        "HOSTCC": "clang-15",
    }
    assert "ccache.sh clang-15" in llvm.make["CC"]
    assert llvm.version == "clang-15 1.0; ld.lld-15 1.0"
    cross = toolchain.find("gcc", arm64, X86, ccache=False)
    assert cross.make == {
        "CC": "aarch64-linux-gnu-gcc",
        "HOSTCC": "gcc",
        "CROSS_COMPILE": "aarch64-linux-gnu-",
    }
    (programs / "llvm-nm-15").unlink()
    with pytest.raises(MissingTool) as caught:
        toolchain.find("llvm-15", X86, X86)
    assert "llvm-15" in caught.value.hint


def test_a_kernels_flags_join_the_toolchains_compiler() -> None:
    found = toolchain.find("gcc", HOST, HOST, ccache=False)
    old = replace(
        toy.KERNEL,
        make={"all": {"HOSTCC": "gcc -fcommon"}, HOST.name: {"CC": "gcc -std=gnu89", "X": "1"}},
    )
    made = toolchain.variables(found, old, HOST)
    assert made.items() >= {"CC": "gcc -std=gnu89", "HOSTCC": "gcc -fcommon", "X": "1"}.items()


@pytest.fixture
def compile_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[bytes]]:
    """Compile a source behind ccache, once for each content of a file that it takes in."""
    for name in ("CCACHE_DEPEND", "CCACHE_NODEPEND", "CCACHE_DISABLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CCACHE_DIR", str(tmp_path / "ccache"))
    words = toolchain.find("gcc", HOST, HOST, ccache=True).make["CC"].split()

    def compiled(source: str, text: str, other: str, *contents: bytes) -> list[bytes]:
        (tmp_path / source).write_text(text)
        argv = [*words, "-c", "-Wp,-MMD,out.d", "-o", "out.o", source]
        found = []
        for content in contents:
            (tmp_path / other).write_bytes(content)
            environment = {**os.environ, **make.ccache()}
            subprocess.run(argv, cwd=tmp_path, env=environment, check=True)
            found.append((tmp_path / "out.o").read_bytes())
        return found

    return compiled


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("piggy.S", '.section .rodata\n.incbin "kernel.gz"\n'),
        ("configs.c", 'asm(".section .rodata\\n.incbin \\"kernel.gz\\"\\n");\n'),
    ],
)
def test_what_a_source_takes_in_is_never_an_older_one(
    compile_twice: Callable[..., list[bytes]], source: str, text: str
) -> None:
    """As piggy.S takes in the kernel: the text is the same, the file of another content."""
    contents = (b"an earlier kernel", b"the latest kernel")
    for content, made in zip(
        contents, compile_twice(source, text, "kernel.gz", *contents), strict=True
    ):
        assert content in made


def test_ccache_knows_a_source_again_and_sees_its_headers(
    compile_twice: Callable[..., list[bytes]], tmp_path: Path
) -> None:
    text = '#include "own.h"\nconst char text[] = TEXT;\n'
    first, second, other = (f'#define TEXT "{word}"\n'.encode() for word in ("aa", "aa", "bb"))
    made = compile_twice("own.c", text, "own.h", first, second, other)
    assert made[0] == made[1] != made[2]
    said = subprocess.run(
        ["ccache", "--print-stats"],
        env={**os.environ, "CCACHE_DIR": str(tmp_path / "ccache")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "direct_cache_hit\t1\n" in said and "cache_miss\t2\n" in said, said
