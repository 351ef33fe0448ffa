# SPDX-License-Identifier: GPL-2.0-only
"""Series: found in the user's words, applied with real git, and what a conflict says."""

from __future__ import annotations

import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import toykernel as toy

from harness import cache, resources
from harness.build import conflict, patchfile, series
from harness.errors import InputError, PatchError
from harness.model import Kernel, PatchedTree, Series, SourceTree

COUNT = toy.change("mm/compaction.c", "scanned++;", "scanned += 2;")
MIGRATE = toy.change("mm/migrate.c", "return -1;", "return -22;")
BOTH = toy.mail("[PATCH 1/2] mm: count twice", COUNT) + toy.mail("[PATCH 2/2] mm: errno", MIGRATE)


def load(*words: str | Path, source: SourceTree | None = None) -> Series:
    return series.load(tuple(map(str, words)), toy.KERNEL, source or toy.tree())


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def apply(tmp_path: Path, *texts: str, progress: toy.Notes | None = None) -> PatchedTree:
    """Apply these patch texts to the toy tree."""
    tmp_path.joinpath("patches").mkdir(exist_ok=True)
    files = [write(tmp_path / f"patches/{i:04}-p.patch", t) for i, t in enumerate(texts, 1)]
    source = toy.tree()
    return series.apply(
        source, load(*files), cache=tmp_path / "cache", progress=progress or toy.Notes()
    )


# ---------------------------------------------------------------------------------------------
# Words
# ---------------------------------------------------------------------------------------------


def test_none_is_no_patches(tmp_path: Path) -> None:
    assert load("none").patches == ()
    tree = series.apply(toy.tree(), load("none"), cache=tmp_path, progress=toy.Notes())
    assert (tree.changed, tree.touched_by) == ({}, {})


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """patches/toy/ with posted and fixed."""
    top = tmp_path / "named" / "toy"
    for name in ("posted", "fixed"):
        (top / name).mkdir(parents=True)
    write(top / "posted" / "0001-a.patch", toy.mail("[PATCH] mm: count twice", COUNT))
    write(top / "fixed" / "0002-b.patch", toy.mail("[PATCH] mm: errno", MIGRATE))
    write(top / "posted" / "series", "0001-a.patch\n")
    write(top / "fixed" / "series", "# all\n../posted/0001-a.patch\n\n0002-b.patch -p1 # more\n")
    monkeypatch.setattr(resources, "patches", lambda: top.parent)
    return top


def test_named_series(named: Path) -> None:
    fixed = load("fixed")
    assert [p.subject for p in fixed.patches] == ["mm: count twice", "mm: errno"]
    assert [p.name for p in fixed.patches] == ["0001-a.patch", "0002-b.patch"]
    assert fixed.digest != load("posted").digest


def test_unknown_name_lists_the_known(named: Path) -> None:
    with pytest.raises(InputError, match="no series 'fixd' for kernel toy") as caught:
        load("fixd")
    assert "none, fixed, posted" in caught.value.hint


def test_what_the_kernel_needs_for_todays_tools_goes_beneath(named: Path, tmp_path: Path) -> None:
    kernel = replace(toy.KERNEL, compat="posted")
    own = write(tmp_path / "own.patch", toy.mail("[PATCH] own", MIGRATE))
    found = series.load((str(own),), kernel, toy.tree())
    assert [p.subject for p in found.patches] == ["mm: count twice", "own"]
    assert (found.name, found.compat) == ("own.patch", 1)
    assert series.known(kernel) == ["none", "fixed"]
    assert [len(part.patches) for part in series.prefixes(found)] == [2]
    progress = toy.Notes()
    tree = series.apply(toy.tree(), found, cache=tmp_path, progress=progress)
    assert len(tree.changed) == 2
    mine = toy.copy(tmp_path / "mine")
    (mine / "mm/compaction.c").write_bytes(tree.changed["mm/compaction.c"] or b"")
    again = series.apply(toy.tree(mine), found, cache=tmp_path, progress=progress)
    assert list(again.changed) == ["mm/migrate.c"]
    assert progress.said("0001-a.patch: the tree has it already")


def test_a_patch_is_left_out_or_taken_back(named: Path) -> None:
    def subjects(*without: str) -> list[str]:
        found = series.load(("fixed",), toy.KERNEL, toy.tree(), without)
        return [patch.name for patch in found.patches]

    assert subjects("0001") == ["0002-b.patch"]
    assert subjects("0001-a.patch", "0002") == []
    patched = toy.read("mm/compaction.c").replace("scanned++;", "scanned += 2;")
    back = toy.diff("mm/compaction.c", patched, toy.read("mm/compaction.c"))
    (named / "without").mkdir()
    write(named / "without" / "0001-a.patch", toy.mail("[PATCH] back", back))
    assert subjects("0001") == ["0001-a.patch", "0002-b.patch", "without-0001-a.patch"]
    mine = write(named / "mine.patch", toy.mail("[PATCH] mine", back))
    found = series.load(("fixed", str(mine)), toy.KERNEL, toy.tree(), ("0001",))
    assert [patch.name for patch in found.patches][2:] == ["without-0001-a.patch", "mine.patch"]
    for wrong, why in (("0003", "no patch"), ("000", "2 patches")):
        with pytest.raises(InputError, match=why) as caught:
            subjects(wrong)
        assert "0002-b.patch" in caught.value.hint


def test_a_series_up_to_a_patch(named: Path, tmp_path: Path) -> None:
    mine = write(tmp_path / "mine.patch", toy.mail("[PATCH] mine", MIGRATE))

    def names(upto: str, *words: str, top: tuple[str, ...] = ()) -> list[str]:
        found = series.load(words or ("fixed",), toy.KERNEL, toy.tree(), upto=upto, top=top)
        return [patch.name for patch in found.patches]

    assert names("0001") == ["0001-a.patch"]
    assert names("0002") == ["0001-a.patch", "0002-b.patch"]
    assert names("0001", "posted", str(mine)) == ["0001-a.patch"]
    assert names("mine", "posted", str(mine)) == ["0001-a.patch", "mine.patch"]
    assert names("0001", top=(str(mine),)) == ["0001-a.patch", "mine.patch"]
    for wrong, why in (("0003", "no patch"), ("000", "2 patches")):
        with pytest.raises(InputError, match=f"--upto {wrong}: {why}"):
            names(wrong)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("0009-c.patch", "no patch 0009-c.patch"),
        ("0002-b.patch -p0", "only -p1"),
        ("/etc/passwd", "no patch /etc/passwd"),
    ],
)
def test_bad_series_file_is_named_with_its_line(named: Path, line: str, problem: str) -> None:
    write(named / "fixed" / "series", f"0002-b.patch\n{line}\n")
    with pytest.raises(InputError, match=f"series:2: .*{problem}"):
        load("fixed")


def test_files_keep_the_order_given(tmp_path: Path) -> None:
    one, two = write(tmp_path / "z.patch", COUNT), write(tmp_path / "a.diff", MIGRATE)
    assert [p.name for p in load(one, two).patches] == ["z.patch", "a.diff"]


def test_series_and_files_go_one_on_the_other(named: Path, tmp_path: Path) -> None:
    own = write(tmp_path / "own.patch", toy.mail("[PATCH] own", MIGRATE))
    found = load("posted", own)
    assert [p.subject for p in found.patches] == ["mm: count twice", "own"]
    assert found.origin == f"series posted, file {own}"
    assert load("none", own).digest == load(own).digest
    with pytest.raises(InputError, match="no series 'fixd'"):
        load("posted", "fixd")


def test_cover_letter_among_files_is_skipped(tmp_path: Path) -> None:
    cover = write(tmp_path / "0000-cover.patch", toy.mail("[PATCH 0/1] all", " mm | 2 +-\n"))
    found = load(cover, write(tmp_path / "0001-a.patch", toy.mail("[PATCH 1/1] a", COUNT)))
    assert [p.subject for p in found.patches] == ["a"]
    assert "no diff in 0000-cover.patch" in found.origin
    with pytest.raises(InputError, match="no diff in"):
        load(cover, cover)


def test_prefixes_go_up_to_the_whole(tmp_path: Path) -> None:
    one, two = write(tmp_path / "1.patch", COUNT), write(tmp_path / "2.patch", MIGRATE)
    parts = list(series.prefixes(load(one, two)))
    assert [[p.name for p in part.patches] for part in parts] == [
        ["1.patch"],
        ["1.patch", "2.patch"],
    ]
    assert [part.digest for part in parts] == [load(one).digest, load(one, two).digest]


def test_folder_takes_its_series_file_or_the_names(tmp_path: Path) -> None:
    write(tmp_path / "0002-b.patch", toy.mail("[PATCH 2/2] b", MIGRATE))
    write(tmp_path / "0001-a.patch", toy.mail("[PATCH 1/2] a", COUNT))
    write(tmp_path / "0000-cover-letter.patch", toy.mail("[PATCH 0/2] all", " mm | 2 +-\n"))
    found = load(tmp_path)
    assert [p.subject for p in found.patches] == ["a", "b"]
    assert "no diff in 0000-cover-letter.patch" in found.origin
    write(tmp_path / "series", "0002-b.patch\n")
    assert [p.subject for p in load(tmp_path).patches] == ["b"]


def test_folder_without_patches(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no series file"):
        load(tmp_path)


def test_mailbox_is_sorted_and_cover_letter_skipped(tmp_path: Path) -> None:
    cover = toy.mail("[PATCH v2 0/2] pins", " 2 files changed\n")
    second = toy.mail("[PATCH v2 2/2] mm: errno", MIGRATE)
    first = toy.mail("[PATCH v2 1/2] mm: count twice", COUNT)
    reply = toy.mail("Re: [PATCH v2 1/2] mm: count twice", "> " + COUNT.replace("\n", "\n> "))
    box = write(tmp_path / "t.mbox", second + cover + reply + first)
    found = load(box)
    assert [p.subject for p in found.patches] == ["mm: count twice", "mm: errno"]
    assert "pins" in found.origin
    assert series.apply(toy.tree(), found, cache=tmp_path, progress=toy.Notes()).changed


def test_mailbox_with_a_missing_patch_or_two_versions(tmp_path: Path) -> None:
    two = toy.mail("[PATCH 2/2] b", MIGRATE)
    third = toy.mail("[PATCH 3/3] b", COUNT)
    with pytest.raises(InputError, match="several versions"):
        load(write(tmp_path / "b", BOTH + BOTH))
    with pytest.raises(InputError, match="several versions"):
        load(write(tmp_path / "c", two + third))
    with pytest.raises(InputError, match="lacks patch 1 of 3"):
        load(write(tmp_path / "d", toy.mail("[PATCH 2/3] b", MIGRATE) + third))


def test_quoted_printable_mail(tmp_path: Path) -> None:
    coded = COUNT.replace("=", "=3D").replace("\t", "=09")
    headers = (
        "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n"
    )
    tree = apply(tmp_path, toy.mail("[PATCH] mm: count", coded, headers))
    assert b"scanned += 2;" in (tree.changed["mm/compaction.c"] or b"")


def test_crlf_mail(tmp_path: Path) -> None:
    path = tmp_path / "crlf.patch"
    path.write_bytes(toy.mail("[PATCH] mm: count", COUNT).replace("\n", "\r\n").encode())
    tree = series.apply(toy.tree(), load(path), cache=tmp_path, progress=toy.Notes())
    assert (
        tree.changed["mm/compaction.c"]
        == toy.read("mm/compaction.c").replace("scanned++;", "scanned += 2;").encode()
    )


def test_file_without_diff(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no diff"):
        load(write(tmp_path / "notes.patch", "nothing here\n"))


@pytest.mark.parametrize("text", ["", "garbage\n", "<!DOCTYPE html>\n<p>a patch</p>\n"])
def test_a_file_that_is_no_patch_is_not_passed_over(tmp_path: Path, text: str) -> None:
    mine = write(tmp_path / "0001-mine.patch", toy.mail("[PATCH] a", COUNT))
    odd = write(tmp_path / "0002-odd.patch", text)
    for words in ((mine, odd), (tmp_path,)):
        with pytest.raises(InputError, match=r"no diff in .*0002-odd\.patch, and it is no letter"):
            load(*words)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with two commits on top of the toy tree."""
    top = toy.repository(tmp_path / "checkout")
    for text, subject in ((COUNT, "mm: count twice"), (MIGRATE, "mm: errno")):
        subprocess.run(["git", "apply", "-"], cwd=top, input=text, text=True, check=True)
        toy.git(top, "commit", "-q", "-a", "-m", subject)
    return top


@pytest.mark.parametrize("word", ["~nobody-of-that-name/x.patch", "x" * 300, "../../my/typo.patch"])
def test_a_word_that_no_file_can_have_is_named(word: str) -> None:
    with pytest.raises(InputError, match=r"no series|cannot be read") as found:
        load(word)
    assert word in str(found.value)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a" / "x.patch").mkdir(parents=True)
    with pytest.raises(InputError, match=r"cannot be read: .*x\.patch: Is a directory"):
        load(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.patch").symlink_to("gone")
    with pytest.raises(InputError, match=r"cannot be read: .*x\.patch: No such file"):
        load(tmp_path / "b")
    (tmp_path / "b" / "series").write_bytes(b"\xe4.patch\n")
    with pytest.raises(InputError, match=r"b: its series file is no UTF-8"):
        load(tmp_path / "b")


def test_git_range(checkout: Path, tmp_path: Path) -> None:
    found = load(f"{checkout}:HEAD~2..HEAD")
    assert [p.subject for p in found.patches] == ["mm: count twice", "mm: errno"]
    tree = series.apply(toy.tree(), found, cache=tmp_path, progress=toy.Notes())
    assert set(tree.changed) == {"mm/compaction.c", "mm/migrate.c"}
    short = load("main~1..", source=toy.tree(checkout, repository=checkout))
    assert [p.subject for p in short.patches] == ["mm: errno"]


def test_git_range_that_is_none(checkout: Path) -> None:
    with pytest.raises(InputError, match="range of which repository"):
        load("HEAD~1..HEAD")
    with pytest.raises(InputError, match="no commit 'nope'"):
        load(f"{checkout}:nope..HEAD")
    with pytest.raises(InputError, match="holds no commit"):
        load(f"{checkout}:HEAD..HEAD")
    with pytest.raises(InputError, match="not the top of a git repository"):
        load(f"{checkout}/mm:HEAD~1..HEAD")
    toy.git(checkout, "checkout", "-q", "-b", "side", "HEAD~1")
    toy.git(checkout, "merge", "-q", "--no-ff", "-m", "merge", "main")
    with pytest.raises(InputError, match="1 merges"):
        load(f"{checkout}:HEAD~2..side")


def test_environment_of_a_git_hook_does_not_leak(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = toy.git(checkout, "status", "--porcelain"), toy.git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(checkout / ".git" / "index"))
    tree = apply(tmp_path, toy.change("kernel/fork.c", "PAGE_SHIFT", "PAGE_SHIFT + 1"))
    monkeypatch.undo()
    assert list(tree.changed) == ["kernel/fork.c"]
    after = toy.git(checkout, "status", "--porcelain"), toy.git(checkout, "rev-parse", "HEAD")
    assert after == before


# ---------------------------------------------------------------------------------------------
# Applying
# ---------------------------------------------------------------------------------------------


def test_overlay_blame_and_digest(tmp_path: Path) -> None:
    again = toy.change("mm/compaction.c", "moved = 0", "moved = 1", toy.read("mm/compaction.c"))
    tree = apply(tmp_path, COUNT, MIGRATE, again)
    text = (tree.changed["mm/compaction.c"] or b"").decode()
    assert "scanned += 2;" in text and "moved = 1" in text
    assert tree.touched_by["mm/compaction.c"] == ("0001-p.patch", "0003-p.patch")
    other_order = apply(tmp_path, again, COUNT, MIGRATE)
    assert other_order.digest == tree.digest
    assert apply(tmp_path, COUNT).digest != tree.digest


def test_new_deleted_and_executable_files(tmp_path: Path) -> None:
    added = toy.diff("mm/pinpage.c", None, "int pin;\n")
    script = toy.diff("scripts/run.sh", None, "#!/bin/sh\n").replace("100644", "100755")
    gone = toy.diff("kernel/fork.c", toy.read("kernel/fork.c"), None)
    tree = apply(tmp_path, added + script + gone)
    assert tree.changed == {
        "mm/pinpage.c": b"int pin;\n",
        "scripts/run.sh": b"#!/bin/sh\n",
        "kernel/fork.c": None,
    }
    assert tree.executable == {"scripts/run.sh"}


def test_a_patch_and_its_reverse_change_nothing(tmp_path: Path) -> None:
    old = toy.read("mm/migrate.c")
    new = old.replace("-1", "-2")
    tree = apply(tmp_path, toy.diff("mm/migrate.c", old, new), toy.diff("mm/migrate.c", new, old))
    assert tree.changed == {}
    assert (
        tree.digest
        == series.apply(toy.tree(), load("none"), cache=tmp_path, progress=toy.Notes()).digest
    )


def test_rename_and_binary(tmp_path: Path) -> None:
    top = toy.repository(tmp_path / "r")
    toy.git(top, "mv", "mm/migrate.c", "mm/move.c")
    (top / "logo.bin").write_bytes(bytes(range(256)))
    toy.git(top, "add", "-A")
    toy.git(top, "commit", "-q", "-m", "move")
    text = toy.git(top, "format-patch", "-1", "--stdout", "-M", "--binary")
    tree = apply(tmp_path, text + "\n")
    assert tree.changed["mm/migrate.c"] is None
    assert tree.changed["mm/move.c"] == toy.read("mm/migrate.c").encode()
    assert tree.changed["logo.bin"] == bytes(range(256))


def test_offset_is_noted(tmp_path: Path) -> None:
    moved = "\n" * 5 + toy.read("mm/migrate.c")
    progress = toy.Notes()
    apply(tmp_path, toy.change("mm/migrate.c", "-1", "-2", moved), progress=progress)
    assert progress.said("offset")


def test_three_way_merge_with_the_repository_behind(tmp_path: Path) -> None:
    """A patch made before its context changed applies only by its blobs."""
    top = toy.repository(tmp_path / "r")
    file, old = top / "mm/compaction.c", toy.read("mm/compaction.c")
    file.write_text(old.replace("moved++;", "moved += 7;"))
    toy.git(top, "commit", "-q", "-a", "-m", "seven")
    words = f"{top}:HEAD~1..HEAD"
    mine = old.replace("scanned++;", "scanned += 5;")
    file.write_text(mine)
    source = toy.tree(top, repository=top)
    progress = toy.Notes()
    found = load(words)
    tree = series.apply(source, found, cache=tmp_path, progress=progress)
    assert progress.said("3-way")
    text = (tree.changed["mm/compaction.c"] or b"").decode()
    assert "moved += 7;" in text and "scanned += 5;" in text
    assert file.read_text() == mine
    with pytest.raises(PatchError, match="hunk 1 of 1 fails"):
        plain = Series(found.name, found.patches, found.digest, found.origin)
        series.apply(toy.tree(top), plain, cache=tmp_path, progress=progress)


# ---------------------------------------------------------------------------------------------
# Conflicts
# ---------------------------------------------------------------------------------------------


def test_conflict_shows_hunk_nearest_match_and_culprit(tmp_path: Path) -> None:
    mine = toy.change("mm/compaction.c", "scanned++;", "scanned += 2;")
    first = "\n\n\n" + toy.read("mm/compaction.c")
    earlier = toy.diff(
        "mm/compaction.c", toy.read("mm/compaction.c"), first.replace("scanned++", "scanned--")
    )
    with pytest.raises(PatchError) as caught:
        apply(tmp_path, toy.mail("[PATCH] mm: down", earlier), toy.mail("[PATCH] mm: up", mine))
    error = caught.value
    assert error.exit_code == 7
    assert "patch 2 of 2, 0002-p.patch (mm: up) does not apply" in error.message
    assert "hunk 1 of 1 fails at mm/compaction.c:19" in error.message
    lines = error.detail.splitlines()
    assert "-\t\tscanned++;" in lines and "+\t\tscanned += 2;" in lines
    assert "nearest match: mm/compaction.c:22, 6 of 7 lines are the same" in lines
    assert "+\t\tscanned--;" in lines
    assert "mm/compaction.c was changed before by 0001-p.patch" in lines


def test_white_space_alone_is_told(tmp_path: Path) -> None:
    mine = toy.change("mm/compaction.c", "scanned++;", "scanned += 2;").replace("\t", "        ")
    with pytest.raises(PatchError) as caught:
        apply(tmp_path, toy.mail("[PATCH] mm: up", mine))
    assert "mm/compaction.c:19 is what it expects but for white space" in caught.value.message
    assert "tabs" in (caught.value.hint or "")


def test_conflict_names_the_failing_hunk_of_several(tmp_path: Path) -> None:
    old = toy.read("mm/compaction.c")
    far = old.replace("order > 0", "order >= 0").replace("return moved;", "return moved + 1;")
    patch = toy.diff("mm/compaction.c", old, far).replace("-\treturn moved;", "-\treturn removed;")
    with pytest.raises(PatchError, match=r"hunk 2 of 2 fails at mm/compaction\.c"):
        apply(tmp_path, patch)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (toy.diff("mm/nothing.c", "old\n", "new\n"), "changes mm/nothing.c, which the tree does"),
        (toy.diff("mm/migrate.c", None, "new\n"), "makes mm/migrate.c, which is there already"),
        (COUNT.replace("@@ -", "@@ -1,99 +1,99 @@\n@@ -", 1), "malformed|unrecognized"),
        (COUNT.replace(" \t\tif", "\t\tif"), "malformed"),
    ],
)
def test_other_reasons(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(PatchError, match=problem):
        apply(tmp_path, text)


def test_missing_file_suggests_files_of_that_name(tmp_path: Path) -> None:
    with pytest.raises(PatchError) as caught:
        apply(tmp_path, toy.diff("kernel/migrate.c", "old\n", "new\n"))
    assert "mm/migrate.c" in caught.value.detail


def test_already_applied(tmp_path: Path) -> None:
    with pytest.raises(PatchError, match=r"patch 2 of 2.*in the tree already"):
        apply(tmp_path, COUNT, COUNT)


def test_already_applied_where_only_a_merge_can_tell(tmp_path: Path) -> None:
    top = toy.repository(tmp_path / "r")
    file, old = top / "mm/compaction.c", toy.read("mm/compaction.c")
    file.write_text(old.replace("moved++;", "moved += 7;"))
    toy.git(top, "commit", "-q", "-a", "-m", "seven")
    file.write_text(file.read_text().replace("scanned++;", "scanned += 5;"))
    with pytest.raises(PatchError, match="in the tree already"):
        series.apply(
            toy.tree(top, repository=top),
            load(f"{top}:HEAD~1..HEAD"),
            cache=tmp_path,
            progress=toy.Notes(),
        )


@pytest.mark.parametrize("path", ["../evil", "/tmp/evil", ".git/hooks/post-commit", "a/../../evil"])
def test_paths_that_lead_outside_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(PatchError, match="invalid path"):
        apply(tmp_path, toy.diff(path, None, "evil\n"))
    assert not (tmp_path / "evil").exists()


def test_symbolic_links_are_refused(tmp_path: Path) -> None:
    link = toy.diff("mm/link", None, "/etc/passwd").replace("100644", "120000")
    link += "\n\\ No newline at end of file\n"
    with pytest.raises(PatchError, match="makes mm/link a symbolic link"):
        apply(tmp_path, link)


def linked(tmp_path: Path) -> SourceTree:
    """The toy tree with a link that leads outside, and one to a folder of its own."""
    top = toy.copy(tmp_path / "tree")
    (tmp_path / "elsewhere").mkdir()
    (top / "out").symlink_to(tmp_path / "elsewhere")
    (top / "scripts/own").symlink_to("../include/linux")
    return toy.tree(top)


def onto(source: SourceTree, tmp_path: Path, *texts: str) -> PatchedTree:
    files = [write(tmp_path / f"{i}.patch", text) for i, text in enumerate(texts, 1)]
    return series.apply(source, load(*files), cache=tmp_path / "cache", progress=toy.Notes())


MM = toy.read("include/linux/mm.h")
LINK = toy.diff("scripts/own", "../include/linux\n", None).replace("100644", "120000")
LINK = LINK.rstrip("\n") + "\n\\ No newline at end of file\n"


@pytest.mark.parametrize(
    ("text", "file", "link"),
    [
        (toy.diff("out/evil", None, "evil\n"), "out/evil", "out"),
        (toy.diff("scripts/own/new.h", None, "new\n"), "scripts/own/new.h", "scripts/own"),
        (toy.diff("scripts/own/mm.h", MM, None), "scripts/own/mm.h", "scripts/own"),
        (toy.diff("scripts/own/mm.h", MM, MM + "new\n"), "scripts/own/mm.h", "scripts/own"),
        (
            "diff --git a/mm/migrate.c b/out/evil\nsimilarity index 100%\n"
            "rename from mm/migrate.c\nrename to out/evil\n",
            "out/evil",
            "out",
        ),
    ],
)
def test_what_is_beyond_a_link_is_refused(tmp_path: Path, text: str, file: str, link: str) -> None:
    source = linked(tmp_path)
    (tmp_path / "elsewhere" / "evil").write_text("theirs")
    with pytest.raises(PatchError) as caught:
        onto(source, tmp_path, COUNT, text)
    where = f"patch 2 of 2, 2.patch (2) does not apply: {file} is beyond the symbolic link {link}"
    assert caught.value.message == where
    assert str((source.path / link).readlink()) in caught.value.hint


def test_a_link_makes_room_for_a_folder(tmp_path: Path) -> None:
    source = linked(tmp_path)
    tree = onto(source, tmp_path, LINK, toy.diff("scripts/own/new.h", None, "new\n"))
    assert tree.changed == {"scripts/own": None, "scripts/own/new.h": b"new\n"}


@pytest.mark.parametrize("path", ["mm/migrate.c/x.c", "kernel"])
def test_a_file_and_a_folder_of_one_name_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(PatchError, match=f"'{path}' appears as both a file and as a directory"):
        apply(tmp_path, COUNT, toy.diff(path, None, "new\n"))


def test_a_file_may_become_a_folder_and_a_folder_a_file(tmp_path: Path) -> None:
    fork, main = toy.read("kernel/fork.c"), toy.read("init/main.c")
    tree = apply(
        tmp_path,
        toy.diff("kernel/fork.c", fork, None) + toy.diff("kernel/fork.c/x.c", None, "x\n"),
        toy.diff("init/main.c", main, None) + toy.diff("init", None, "x\n"),
    )
    assert tree.changed == {
        "kernel/fork.c": None,
        "kernel/fork.c/x.c": b"x\n",
        "init/main.c": None,
        "init": b"x\n",
    }


def test_the_users_tree_is_not_touched(tmp_path: Path) -> None:
    top = toy.copy(tmp_path / "tree")
    before = cache.measure(top)
    file = write(tmp_path / "p.patch", COUNT)
    series.apply(toy.tree(top), load(file), cache=tmp_path / "cache", progress=toy.Notes())
    assert cache.measure(top) == before
    assert (top / "mm/compaction.c").read_text() == toy.read("mm/compaction.c")
    assert not list((tmp_path / "cache" / "tmp").iterdir())


def test_nearest_finds_the_place_in_a_long_file() -> None:
    lines = [f"line {i % 37}" for i in range(5000)]
    lines[3210:3214] = ["alpha", "beta", "gamma", "delta"]
    at, ratio = conflict.nearest(("alpha", "beta", "GAMMA", "delta"), lines)
    assert (at, ratio) == (3210, 0.75)
    assert conflict.nearest(("nothing",), lines)[1] == 0.0


def test_hunks_count_lines_not_marks() -> None:
    """A removed line that looks like a file header is a line of the hunk."""
    old = "one\n-- two\nthree\n"
    found = list(patchfile.hunks(toy.diff("x.sql", old, old.replace("-- two\n", "")).encode()))
    assert [hunk.before for hunk in found] == [("one", "-- two", "three")]


def test_kernel_without_series_knows_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "patches", lambda: tmp_path)
    assert series.known(Kernel("k", "1", (), "k", ())) == ["none"]


@pytest.mark.parametrize("context", [0, 1, 3])
def test_a_line_is_found_as_it_was_before_a_diff(tmp_path: Path, context: int) -> None:
    """Against diff(1), with lines that are gone and lines that are new anywhere."""
    chance = random.Random(context)
    for _ in range(30):
        before = [f"line {number}" for number in range(1, chance.randint(2, 40))]
        after: list[tuple[str, int | None]] = []
        for number, text in enumerate(before, 1):
            if chance.random() < 0.15:
                after.append((f"new {chance.random()}", None))
            if chance.random() > 0.15:
                after.append((text, number))
        for name, lines in (("a", before), ("b", [text for text, _ in after])):
            (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
        words = ["diff", f"-U{context}", "--label", "a/mm/x.c", "--label", "b/mm/x.c", "a", "b"]
        diff = subprocess.run(words, cwd=tmp_path, capture_output=True, check=False).stdout
        for number, (_, was) in enumerate(after, 1):
            assert patchfile.earlier(diff, "mm/x.c", number) == was
            assert patchfile.earlier(diff, "mm/y.c", number) == number


def test_two_patches_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Names say who brought a line: the blame must not be another's."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    one = write(tmp_path / "a/0001-fix.patch", toy.mail("[PATCH] count twice", COUNT))
    two = write(tmp_path / "b/0001-fix.patch", toy.mail("[PATCH] errno", MIGRATE))
    found = load(one, two)
    assert [(p.name, p.subject) for p in found.patches] == [
        ("0001-fix.patch", "count twice"),
        ("0001-fix~2.patch", "errno"),
    ]
    tree = series.apply(toy.tree(), found, cache=tmp_path / "cache", progress=toy.Notes())
    assert set(tree.touched_by.values()) == {("0001-fix.patch",), ("0001-fix~2.patch",)}
