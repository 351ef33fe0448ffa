# SPDX-License-Identifier: GPL-2.0-only
"""The trees and kernels of a run, each made when it is first asked for."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cached_property

from harness import cache, spec
from harness.build.blame import Blame
from harness.build.origin import Origins
from harness.errors import CannotRun
from harness.model import MadeOf, PatchedTree, Progress, SourceTree
from harness.pipeline.boots import Bootable, bootable
from harness.pipeline.stages import applied, apply_series, build, fetch, series_of, topped
from harness.pipeline.state import State
from harness.vm import begin


class Sources:
    """The trees of a run, fetched and patched when they are first asked for; a scenario's Tree."""

    def __init__(self, state: State, progress: Progress) -> None:
        self._state, self._progress = state, progress

    @cached_property
    def _source(self) -> SourceTree:
        given = self._state.given.tree
        if given is None:
            given = fetch(self._state.chosen, self._progress)
        self._state.source = given
        self._state.digests["tree"] = given.digest
        return given

    @cached_property
    def patched(self) -> PatchedTree:
        """The tree of the run's own kernel."""
        state, source = self._state, self._source
        self._progress.stage("apply")
        given = state.given.made(MAIN)
        made = given or MadeOf(MAIN, series_of(state.chosen, source))
        state.made.setdefault(MAIN, made)  # patches that do not apply are kept too
        state.digests["series"] = made.series.digest
        if given is None:
            tree = applied(state.chosen, source, made.series, self._progress)
            state.made[MAIN] = MadeOf(MAIN, tree.series)
        else:
            tree = apply_series(source, made.series, self._progress)
        state.digests |= {"series": tree.series.digest, "patched": tree.digest}
        return tree

    def topped(self, name: str, extra: str) -> PatchedTree:
        """The tree of the kernel of this name, with what extra has on top of it."""
        if not extra:
            return self.patched
        given = self._state.given
        if given.inputs is None:
            return topped(self._state.chosen, self.patched, extra, self._progress)
        made = given.made(name)
        if made is None:
            raise CannotRun(f"the run that is done again had no kernel {name!r}")
        return apply_series(self._source, made.series, self._progress)

    @cached_property
    def _blame(self) -> Blame:
        return Blame(self.patched)

    def read(self, path: str) -> str:
        return self._blame.read(path)

    def blame(self, path: str, line: str) -> str:
        return self._blame.blame(path, line)


MAIN = "build"  # the name of the run's own kernel; those of others have words behind it


def kernel_of_kind(
    kind: tuple[str, str], sources: Sources, state: State, progress: Progress
) -> Bootable:
    """The kernel of a profile (and of a patch on top), built and ready to boot."""
    (profile, extra), chosen, given = kind, state.chosen, state.given
    words = ("" if profile == chosen.profile.name else profile, extra)
    more = "".join(f" {word}" for word in words if word)
    name = f"{MAIN}{more}"
    own = replace(chosen, profile=spec.load_profile(profile))
    origins, content = None, ""
    if given.builds:
        if name not in given.builds:
            raise CannotRun(f"there is no binary of the kernel {name!r}")
        artifacts = given.builds[name]
        binaries = [artifacts.image, *(path for _, path in sorted(artifacts.modules.items()))]
        content = cache.key("given", *(cache.sha256(path) for path in binaries))
    else:
        patched = sources.topped(name, extra)
        artifacts = build(own, patched, progress)
        origins = Origins.of(patched)
        config = artifacts.config.read_bytes()
        state.made[name] = MadeOf(name, patched.series, config)
        state.digests |= {name: artifacts.key, f"config{more}": _sha256(config)}
    state.toolchain = {"name": artifacts.toolchain.name, "version": artifacts.toolchain.version}
    ready = bootable(own, artifacts, progress, given.image)
    state.digests["image"] = ready.image.digest
    state.accelerator, state.emulator = ready.accelerator, begin.emulator(chosen.arch)
    return replace(ready, origins=origins, content=content)


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
