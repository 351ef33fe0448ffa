# SPDX-License-Identifier: GPL-2.0-only
"""The stages before a guest: from the words of a run to the kernel and modules that are built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness import arch, cache, resources, scenario, spec
from harness.build import kconfig, kernel, series, source
from harness.build.blame import Blame
from harness.errors import CannotRun, InputError, PatchError
from harness.model import (
    Arch,
    BuildArtifacts,
    Kernel,
    KernelConfig,
    PatchedTree,
    Profile,
    Progress,
    RunSpec,
    Series,
    SourceTree,
)
from harness.scenario import own

PINPAGE_HEADER = "include/linux/pinpage.h"
PINPAGE_SYMBOL = "config PINPAGE"


@dataclass(frozen=True)
class Chosen:
    """A RunSpec with its names looked up. modules: folder of the guest modules' folders; own: name
    → folder of those that a scenario of the user's own brings."""

    spec: RunSpec
    kernel: Kernel
    arch: Arch
    profile: Profile
    modules: Path
    own: Mapping[str, Path] = field(default_factory=dict)


def choose(wanted: RunSpec, modules: Path | None = None) -> Chosen:
    """Look the spec's names up; InputError for an unknown one, before any work is done.

    modules: a folder to build the guest modules from instead of our own.
    """
    kernel, machine = spec.load_kernel(wanted.kernel), arch.get(wanted.arch)
    if machine.name in kernel.machines:
        machine = replace(machine, machine=kernel.machines[machine.name])
    folder = modules if modules is not None else resources.guest_modules()
    profile = spec.load_profile(wanted.profile)
    return Chosen(wanted, kernel, machine, profile, folder, _own_modules(wanted, folder))


def series_names(kernel: Kernel) -> list[str]:
    """Names of a kernel's own series."""
    return series.known(kernel)


def fetch(chosen: Chosen, progress: Progress) -> SourceTree:
    progress.stage("source")
    return source.resolve(
        chosen.kernel, chosen.spec.tree, cache=resources.cache(), progress=progress
    )


def apply(chosen: Chosen, tree: SourceTree, progress: Progress) -> PatchedTree:
    """The tree with the series, and with what the profile has on top of it where that applies."""
    progress.stage("apply")
    return applied(chosen, tree, series_of(chosen, tree), progress)


def apply_series(tree: SourceTree, wanted: Series, progress: Progress) -> PatchedTree:
    return series.apply(tree, wanted, cache=resources.cache(), progress=progress)


def applied(chosen: Chosen, tree: SourceTree, wanted: Series, progress: Progress) -> PatchedTree:
    patched = apply_series(tree, wanted, progress)
    if not chosen.profile.extra:
        return patched
    try:
        return topped(chosen, patched, chosen.profile.extra, progress)
    except CannotRun as error:
        progress.note(str(error))
        return patched


def series_of(chosen: Chosen, tree: SourceTree, *top: str) -> Series:
    """The series that is asked for; top: words of what goes on top of it."""
    words = chosen.spec
    return series.load(words.series, chosen.kernel, tree, words.without, upto=words.upto, top=top)


def steps(chosen: Chosen, tree: SourceTree, progress: Progress) -> Iterator[PatchedTree]:
    """The tree after each patch of the series in turn."""
    progress.stage("apply")
    whole = series_of(chosen, tree)
    if len(whole.patches) == whole.compat:
        raise InputError(f"series {whole.name} has no patches to build one by one")
    for part in series.prefixes(whole):
        yield apply_series(tree, part, progress)


def has_pinpage(tree: PatchedTree) -> bool:
    """Whether the tree has the pin page subsystem (probed by its header)."""
    return bool(Blame(tree).read(PINPAGE_HEADER))


def _features(tree: PatchedTree) -> tuple[str, ...]:
    """Features of all scenarios together, so that one kernel serves every one of them."""
    wanted = {name for each in scenario.names() for name in scenario.get(each).FEATURES}
    if PINPAGE_SYMBOL in Blame(tree).read("mm/Kconfig").splitlines():
        wanted.add("pinpage")
    return tuple(sorted(wanted))


def modules_of(chosen: Chosen) -> Mapping[str, Path]:
    """Modules of all scenarios together, and those that the user's own scenario brings."""
    names = {name for each in scenario.names() for name in scenario.get(each).MODULES}
    return {name: chosen.modules / name for name in sorted(names)} | dict(chosen.own)


def _own_modules(wanted: RunSpec, folder: Path) -> Mapping[str, Path]:
    """InputError where one has the name of a module of ours."""
    plan = scenario.of(wanted) if wanted.file is not None else None
    if not isinstance(plan, own.OwnScenario):
        return {}
    for module in plan.plan.modules:
        if (folder / module.name).is_dir():
            raise InputError(
                f"{wanted.file}: {module.name} is the name of a guest module that there is",
                hint="give the folder another name",
            )
    return {module.name: module.folder for module in plan.plan.modules}


def _config(chosen: Chosen, tree: PatchedTree) -> KernelConfig:
    return kconfig.compose(
        chosen.kernel,
        chosen.arch,
        chosen.profile,
        _features(tree),
        resources.kernel_config(),
        chosen.spec.config,
    )


def module_sources(chosen: Chosen) -> list[str]:
    return [kernel.content(path) for path in modules_of(chosen).values()]


def digest(chosen: Chosen, tree: PatchedTree) -> str:
    """A digest of what a guest of this run is made of: tree, configuration, architecture, compiler,
    and of the modules those that its scenario loads."""
    loaded = {*scenario.of(chosen.spec).MODULES, *chosen.own}
    modules = [kernel.content(p) for name, p in modules_of(chosen).items() if name in loaded]
    words = (tree.digest, _config(chosen, tree).digest, chosen.arch.name, chosen.spec.toolchain)
    return cache.key(*words, *modules)


def build(chosen: Chosen, tree: PatchedTree, progress: Progress) -> BuildArtifacts:
    progress.stage("config")
    config = _config(chosen, tree)
    progress.stage("build")
    return kernel.build(
        tree,
        config,
        chosen.arch,
        chosen.kernel,
        chosen.spec.toolchain,
        modules_of(chosen),
        jobs=chosen.spec.jobs,
        cache=resources.cache(),
        progress=progress,
    )


def topped(chosen: Chosen, patched: PatchedTree, folder: str, progress: Progress) -> PatchedTree:
    """The tree with that patch of a folder on top which applies to it."""
    for path in sorted((resources.patches() / chosen.kernel.patches / folder).glob("*.patch")):
        whole = series_of(chosen, patched.source, str(path))
        with suppress(PatchError):
            return apply_series(patched.source, whole, progress)
    raise CannotRun(
        f"no patch of patches/{chosen.kernel.patches}/{folder} applies on top of this series"
    )
