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
from dataclasses import asdict, dataclass, replace

from harness import cache
from harness.build import patchfile
from harness.model import BuildArtifacts, Culprit, Frame, PatchedTree, Place

FILE = "origins.json"  # in a build's folder
Spans = Mapping[str, tuple[tuple[int, int, str], ...]]


class Tracker:
    """The origin of every line of every file that patches have touched so far."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}  # patch of each line, "" for the source's own

    def take(self, diff: bytes, patch: str) -> None:
        """What one patch changed; diff has no context lines."""
        # From the last hunk on, so that the numbers of those before it still hold.
        for hunk in reversed(list(patchfile.hunks(diff))):
            start, before, _, after = hunk.numbers
            lines = self._lines.setdefault(hunk.path, [])
            at = start - 1 if before else start
            lines += [""] * (at + before - len(lines))
            lines[at : at + before] = [patch] * after

    def spans(self) -> Spans:
        """Path → (first line, last line, patch), in order."""
        return {path: tuple(_runs(lines)) for path, lines in self._lines.items() if any(lines)}


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
    patches are not among them. ours: those that are not the user's own."""

    subjects: Mapping[str, str]
    touched_by: Mapping[str, Sequence[str]]
    brought: Mapping[str, Sequence[tuple[int, int, str]]]
    ours: Sequence[str] = ()

    @staticmethod
    def of(tree: PatchedTree) -> Origins:
        own = tree.series.patches[tree.series.compat :]
        subjects = {patch.name: patch.subject for patch in own}
        ours = tuple(patch.name for patch in own if patch.ours)
        return Origins(subjects, tree.touched_by, tree.brought, ours)

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
        return self._accused(place, brought=True) if place.patch else None

    def culprit(self, found: Iterable[Frame]) -> Culprit | None:
        """Whom a report accuses: from the top, the first line that a patch brought, else the
        first in a file that a patch touches. The user's own patches before ours: those pass by
        themselves."""
        places = [place for frame in found if frame.sure for place in frame.places]
        named = [
            self._accused(each, brought=brought)
            for brought in (True, False)
            for each in places
            if (each.patch if brought else each.touched_by)
        ]
        own = [each for each in named if each.patch not in self.ours]
        return next(iter(own or named), None)

    def _accused(self, place: Place, *, brought: bool) -> Culprit:
        patch = place.patch if brought else place.touched_by
        subject = self.subjects[patch]
        return Culprit(patch, subject, place.file, place.line, place.function, brought)
