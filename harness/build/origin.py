# SPDX-License-Identifier: GPL-2.0-only
"""Which patch of a series brought a line, by its number in the file as the series left it.

Fed the difference that each patch made, as git tells it after the patch was applied, so that an
offset, fuzz or a 3-way merge moves nothing. A line that two patches brought alike is the last
one's; a file that a patch renames counts as brought by it.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from harness import cache
from harness.build import patchfile
from harness.model import BuildArtifacts, Culprit, Frame, PatchedTree, Place

FILE = "origins.json"  # in a build's folder
Spans = Mapping[str, tuple[tuple[int, int, str], ...]]
Cuts = Mapping[str, tuple[tuple[int, str], ...]]


class Tracker:
    """The origin of every line of every file that patches have touched so far."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}  # patch of each line, "" for the source's own
        self._cuts: dict[str, list[str]] = {}  # patch that took lines away above each, or ""

    def take(self, diff: bytes, patch: str) -> None:
        """What one patch changed; diff has no context lines."""
        # From the last hunk on, so that the numbers of those before it still hold.
        for hunk in reversed(list(patchfile.hunks(diff))):
            start, before, _, after = hunk.numbers
            lines = self._lines.setdefault(hunk.path, [])
            cuts = self._cuts.setdefault(hunk.path, [])
            at = start - 1 if before else start
            for each, own in ((lines, patch), (cuts, "")):
                each += [""] * (at + before + 1 - len(each))
                each[at : at + before] = [own] * after
            if not after:
                cuts[at] = patch

    def spans(self) -> Spans:
        """Path → (first line, last line, patch), in order."""
        return {path: tuple(_runs(lines)) for path, lines in self._lines.items() if any(lines)}

    def cuts(self) -> Cuts:
        """Path → (line, patch), in order."""
        found = {
            path: tuple((number, patch) for number, patch in enumerate(cuts, 1) if patch)
            for path, cuts in self._cuts.items()
        }
        return {path: cuts for path, cuts in found.items() if cuts}


def _runs(lines: list[str]) -> list[tuple[int, int, str]]:
    found: list[tuple[int, int, str]] = []
    for number, patch in enumerate(lines, 1):
        if not patch:
            continue
        if found and found[-1][1:] == (number - 1, patch):
            found[-1] = (found[-1][0], number, patch)
        else:
            found.append((number, number, patch))
    return found


@dataclass(frozen=True)
class Origins:
    """Which patches a build has, and what each brought. subjects: patch → its subject; compat
    patches are not among them. ours: those that are not the user's own. cut: where they took lines
    away. bodies: path → first and last line of each function's, in order."""

    subjects: Mapping[str, str]
    touched_by: Mapping[str, Sequence[str]]
    brought: Mapping[str, Sequence[tuple[int, int, str]]]
    ours: Sequence[str] = ()
    cut: Mapping[str, Sequence[tuple[int, str]]] = field(default_factory=dict)
    bodies: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)

    @staticmethod
    def of(tree: PatchedTree) -> Origins:
        own = tree.series.patches[tree.series.compat :]
        subjects = {patch.name: patch.subject for patch in own}
        ours = tuple(patch.name for patch in own if patch.ours)
        bodies = {path: _bodies(text) for path, text in tree.changed.items() if text is not None}
        return Origins(subjects, tree.touched_by, tree.brought, ours, tree.cut, bodies)

    @staticmethod
    def read(build: BuildArtifacts) -> Origins:
        """Those of a build in the cache, of the series that it was made for."""
        found = cache.read_json(build.folder / FILE) or {}
        return Origins(
            found.get("subjects", {}),
            found.get("touched_by", {}),
            {
                path: [(first, last, patch) for first, last, patch in spans]
                for path, spans in found.get("brought", {}).items()
            },
            found.get("ours", ()),
            {path: [(n, name) for n, name in cuts] for path, cuts in found.get("cut", {}).items()},
            {path: [(a, b) for a, b in each] for path, each in found.get("bodies", {}).items()},
        )

    def text(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()

    def place(self, place: Place) -> Place:
        """The place, with the patch that brought its line and the last that touches its file; one
        of the user's own, if there is one."""
        spans = self.brought.get(place.file, ())
        at = bisect_right([first for first, _, _ in spans], place.line) - 1
        patch = spans[at][2] if at >= 0 and place.line <= spans[at][1] else ""
        every = [name for name in self.touched_by.get(place.file, ()) if name in self.subjects]
        touched = [name for name in every if name not in self.ours] or every
        return replace(
            place,
            patch=patch if patch in self.subjects else "",
            touched_by=touched[-1] if touched else "",
        )

    def of_line(self, file: str, line: int) -> Culprit | None:
        """The patch that brought a line, None if none did."""
        place = self.place(Place(file, line, ""))
        return self._accused(place, (place.patch,), brought=True) if place.patch else None

    def culprit(self, found: Iterable[Frame]) -> Culprit | None:
        """Whom a report accuses: from the top, the first line that a patch brought, else the
        first in a function that patches change, else in a file that they touch: all that do. The
        user's own patches before ours, which pass by themselves; ours are not accused for a file.
        """
        places = [place for frame in found if frame.sure for place in frame.places]
        for ours in (False, True):
            for each in places:
                if each.patch and (each.patch in self.ours) is ours:
                    return self._accused(each, (each.patch,), brought=True)
            for inside in (True,) if ours else (True, False):
                for each in places:
                    every = self.touched_by.get(each.file, ())
                    names = self._changers(each) if inside else every
                    own = [n for n in names if n in self.subjects and (n in self.ours) is ours]
                    if own:
                        return self._accused(each, own, inside=inside)
        return None

    def _changers(self, place: Place) -> list[str]:
        """The patches that brought or took away lines of the function that a line is in."""
        bodies = self.bodies.get(place.file, ())
        at = bisect_right([first for first, _ in bodies], place.line) - 1
        if at < 0 or place.line > bodies[at][1]:
            return []
        first, last = bodies[at]
        spans = self.brought.get(place.file, ())
        found = [patch for begin, end, patch in spans if begin <= last and end >= first]
        found += [patch for n, patch in self.cut.get(place.file, ()) if first < n <= last]
        return [each for each in self.touched_by.get(place.file, ()) if each in found]

    def _accused(
        self, place: Place, names: Sequence[str], *, brought: bool = False, inside: bool = False
    ) -> Culprit:
        """names: in the series' order; the last is the first that is named."""
        *others, patch = names
        also = tuple((each, self.subjects[each]) for each in reversed(others))
        where = (place.file, place.line, place.function)
        return Culprit(patch, self.subjects[patch], *where, brought, inside, also)


def _bodies(text: bytes) -> list[tuple[int, int]]:
    """First and last line, from 1, of what stands between braces at the margin: functions, as the
    kernel's style has them (Documentation/process/coding-style.rst, 3)."""
    found, first = [], 0
    for number, line in enumerate(text.split(b"\n"), 1):
        if line.startswith(b"{"):
            first = number
        elif line.startswith(b"}") and first:
            found.append((first, number))
            first = 0
    return found
