# SPDX-License-Identifier: GPL-2.0-only
"""Which patch brought a line, by its number, and whom a report accuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import toykernel as toy

from harness import spec
from harness.build import origin, series
from harness.build.origin import Origins
from harness.model import Frame, PatchedTree, Place

FILE = "mm/migrate.c"


def tree(folder: Path, *texts: str, path: str = FILE, compat: int = 0) -> PatchedTree:
    """The toy tree with a file made these texts, a patch for each."""
    before = toy.read(path) if (toy.FAKELINUX / path).is_file() else None
    names = []
    for number, text in enumerate(texts, 1):
        names.append(folder / f"{number:04}-step.patch")
        names[-1].write_text(
            toy.mail(f"[PATCH {number}/9] step {number}", toy.diff(path, before, text))
        )
        before = text
    found = series.load(tuple(map(str, names)), toy.KERNEL, toy.tree())
    found = type(found)(**{**found.__dict__, "compat": compat})
    return series.apply(toy.tree(), found, cache=folder, progress=toy.Notes())


def by_line(patched: PatchedTree, path: str = FILE) -> list[str]:
    """The number of the patch that brought each line, "" for the source's."""
    count = (patched.changed[path] or b"").count(b"\n")
    origins = Origins.of(patched)
    return [origins.place(Place(path, n, "f")).patch[:4] for n in range(1, count + 1)]


def test_lines_move_and_the_last_patch_that_brought_one_has_it(tmp_path: Path) -> None:
    base = toy.read(FILE)
    first = base.replace("return 0;", "if (to < 0)\n\t\treturn -1;\n\treturn 0;")
    second = "int above;\n" + first.replace("to < 0", "to < 1")
    lines = second.splitlines()
    found = by_line(tree(tmp_path, first, second))
    assert dict(zip(lines, found, strict=True)) | {"\t\treturn -1;": ""} == {
        **dict.fromkeys(base.splitlines(), ""),
        "int above;": "0002",
        "\tif (to < 1)": "0002",
    }
    # The same words stand twice: once the source's own, once brought.
    assert [f for line, f in zip(lines, found, strict=True) if "return -1" in line] == ["", "0001"]


def test_a_new_file_and_one_whose_lines_go(tmp_path: Path) -> None:
    path = "mm/new.c"
    found = by_line(tree(tmp_path, "a\nb\nc\nd\n", "a\nd\n", "a\nx\nd\n", path=path), path)
    assert found == ["0001", "0003", "0001"]


def test_an_offset_moves_nothing(tmp_path: Path) -> None:
    """git applies the hunk where it fits; its own numbers are wrong."""
    base = toy.read(FILE)
    (tmp_path / "1.patch").write_text(toy.diff(FILE, base, "\n" * 9 + base))
    (tmp_path / "2.patch").write_text(toy.change(FILE, "return 0;", "return 1;"))
    words = tuple(str(tmp_path / f"{n}.patch") for n in (1, 2))
    found = series.load(words, toy.KERNEL, toy.tree())
    notes = toy.Notes()
    patched = series.apply(toy.tree(), found, cache=tmp_path, progress=notes)
    assert notes.said("offset 9 lines")
    text = (patched.changed[FILE] or b"").decode().splitlines()
    place = Origins.of(patched).place(Place(FILE, text.index("\treturn 1;") + 1, "f"))
    assert place.patch == "2.patch"


def frame(*places: Place, sure: bool = True) -> Frame:
    return Frame(1, "f", 1, 2, sure=sure, places=places)


def test_the_first_line_that_a_patch_brought_is_to_blame(tmp_path: Path) -> None:
    base = toy.read(FILE)
    patched = tree(tmp_path, "int a;\n" + base, "int a;\nint b;\n" + base)
    origins = Origins.of(patched)
    a, b, touched, other = (
        origins.place(Place(file, line, "f"))
        for file, line in ((FILE, 1), (FILE, 2), (FILE, 4), ("mm/compaction.c", 4))
    )
    assert (touched.patch, touched.touched_by) == ("", "0002-step.patch")
    assert (other.patch, other.touched_by) == ("", "")
    found = origins.culprit(
        [frame(other), frame(touched), frame(b, sure=False), frame(other, a, b)]
    )
    assert found is not None and found.said == "0001 step 1, mm/migrate.c:1"
    found = origins.culprit([frame(other), frame(touched)])
    assert found is not None and not found.brought
    said = "mm/migrate.c:4, in a file that 2 patches touch: 0002 step 2; 0001 step 1"
    assert found.said == said
    assert origins.culprit([frame(other), frame(b, sure=False), frame()]) is None


FUNCTIONS = "int f(void)\n{\n\tone();\n\ttwo();\n\tthree();\n}\n\nint g(void)\n{\n\tfour();\n}\n"


def test_who_changed_the_function_is_accused_before_who_touched_the_file(tmp_path: Path) -> None:
    """A line that is gone is brought by nobody, and whoever came last may have mended a comment."""
    gone = FUNCTIONS.replace("\ttwo();\n", "")
    comment = gone.replace("\tfour", "\t/* the fourth */\n\tfour")
    patched = tree(tmp_path, FUNCTIONS, gone, comment, path="mm/new.c")
    origins = replace(Origins.of(patched), ours=("0001-step.patch",))
    found = origins.culprit([frame(Place("mm/new.c", 4, "f"))])
    assert (
        found is not None
        and found.said == "mm/new.c:4, in the function f() that 0002 step 2 changes"
    )
    found = origins.culprit([frame(Place("mm/new.c", 10, "g"))])
    assert found is not None and found.patch == "0003-step.patch" and found.inside
    found = origins.culprit([frame(Place("mm/new.c", 7, "x"))])
    assert found is not None and not found.inside
    assert found.also == (("0002-step.patch", "step 2"),)
    shuffled = comment.replace("three", "drei")
    origins = Origins.of(tree(tmp_path, FUNCTIONS, gone, comment, shuffled, path="mm/new.c"))
    assert origins.bodies == {"mm/new.c": [(2, 5), (8, 11)]}
    (tmp_path / origin.FILE).write_bytes(origins.text())
    built: Any = SimpleNamespace(folder=tmp_path)
    assert Origins.read(built).bodies == origins.bodies


def test_what_the_tools_of_today_need_is_never_to_blame(tmp_path: Path) -> None:
    base = toy.read(FILE)
    patched = tree(tmp_path, "int a;\n" + base, "int a;\nint b;\n" + base, compat=1)
    origins = Origins.of(patched)
    assert origins.place(Place(FILE, 1, "f")).patch == ""
    assert origins.place(Place(FILE, 1, "f")).touched_by == "0002-step.patch"
    assert origins.place(Place(FILE, 2, "f")).patch == "0002-step.patch"


def test_the_users_own_patches_are_accused_before_ours(tmp_path: Path) -> None:
    """Ours pass by themselves: a line of theirs says less than a file that the user touched."""
    base = toy.read(FILE)
    patched = tree(tmp_path, "int a;\n" + base, "int a;\nint b;\n" + base)
    first, second = (replace(p, ours=p.name.startswith("0002")) for p in patched.series.patches)
    patched = replace(patched, series=replace(patched.series, patches=(first, second)))
    origins = Origins.of(patched)
    a, b, touched = (origins.place(Place(FILE, line, "f")) for line in (1, 2, 4))
    assert touched.touched_by == "0001-step.patch"
    found = origins.culprit([frame(b), frame(touched)])
    assert found is not None and found.said == f"{FILE}:2, in a file that 0001 step 1 touches"
    found = origins.culprit([frame(b), frame(touched), frame(a)])
    assert found is not None and found.said == "0001 step 1, mm/migrate.c:1"
    ours = replace(origins, touched_by={FILE: ["0002-step.patch"]})
    assert (ours.culprit([frame(b)]) or found).patch == "0002-step.patch"
    assert ours.culprit([frame(touched)]) is None  # of a file that ours touches, nothing is said
    assert Origins(**json.loads(origins.text())).ours == ["0002-step.patch"]


def test_a_named_series_is_ours_and_a_file_is_not(tmp_path: Path) -> None:
    own = tmp_path / "my.patch"
    own.write_text(toy.change(FILE, "return 0;", "return 1;"))
    kernel = spec.load_kernel("6.12")
    found = series.load(("fixed", str(own)), kernel, toy.tree()).patches
    assert [patch.ours for patch in found] == [True] * (len(found) - 1) + [False]
