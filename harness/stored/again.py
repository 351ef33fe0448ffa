# SPDX-License-Identifier: GPL-2.0-only
"""Does a kept run again, with the patches that it was made of and the same seed and parameters.

Whose it is decides what of it is used. Of a run of this user's own, its words as well: the tree
that they name. Of any other (a bundle, a folder that was brought here) only what cannot act on this
machine: names that we know, numbers within bounds, words for the guest's kernel, and patches. A
kernel is built by make, which runs what the patches bring: those that are not of our own series are
built only if the user says so; nor are texts in its configuration, which Makefiles expand as their
own (usr/Makefile: INITRAMFS_SOURCE), so that a $(shell ) in one would run. Binaries run in a guest
alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache as once
from pathlib import Path
from typing import Any

from harness import arch, pipeline, resources, scenario
from harness.build import series, source
from harness.comparison import NOT_KNOWN, Difference, differences
from harness.errors import InputError
from harness.model import (
    Again,
    BuildArtifacts,
    GuestImage,
    Inputs,
    MadeOf,
    Outcome,
    Patch,
    Progress,
    RunRecord,
    RunSpec,
    SourceTree,
    Toolchain,
)
from harness.parse.blocked import ON_THE_STACK
from harness.report.record import as_json
from harness.report.reread import bounded
from harness.report.text import visible
from harness.stored.form import MOST_PATCH, digest
from harness.stored.kept import Kept, inside

_ACCELS = ("auto", "kvm", "tcg")
_LEAST_MIB, _MOST_SMP = 128, 255
_NAMED = 5  # patches of an error
_OPTION = re.compile(r"\w{1,100}=[^\n\r\0]{1,200}")
_NO_TEXT = re.compile(r"\w+=(?:[ymn]|-?\d+|0x[0-9a-fA-F]+)")


@dataclass(frozen=True)
class Wish:
    """What the user says beside the run's name. tree: instead of the one that is known of it;
    trust: its patches may be built."""

    tree: str | None = None
    accel: str | None = None
    jobs: int | None = None
    keep: Path | None = None
    trust: bool = False
    build: bool = False  # even where there are binaries


@dataclass(frozen=True)
class Reproduced:
    """What a run came to, then and now. inputs: those that are not the same."""

    then: Mapping[str, Any]
    record: RunRecord
    folder: Path
    inputs: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        return self.record.verdict.outcome is Outcome(self.then["verdict"])

    @property
    def sentence(self) -> str:
        now, then = self.record.verdict, self.then
        if not self.same:
            return (
                f"the run said {then['verdict']} ({_clause(then['reason'])}), and now it is "
                f"{now.outcome.value} ({_clause(now.reason)})"
            )
        said = f"{now.outcome.value}, as the run said"
        if now.outcome is not Outcome.PASS and _kind(now.reason) != _kind(then["reason"]):
            said += f", though for another reason: then {_clause(then['reason'])}"
        return said


def _clause(text: str) -> str:
    return text.rstrip(".")


def _kind(reason: str) -> str:
    """A reason without its figures, without whom it blames, which binaries do not tell, and without
    what was done at that moment."""
    first = re.split(rf"; (?:blame|{ON_THE_STACK}):|, after which:", reason)[0]
    return re.sub(r"\d+", "0", re.sub(r" \(reports in all: [\d,]+\)", "", first))


def reproduce(kept: Kept, wish: Wish, progress: Progress) -> Reproduced:
    """Do it again. InputError where that cannot be: it was interrupted, it is not whole, it holds
    what is not taken from others."""
    run = kept.run
    if run["interrupted"]:
        raise InputError(
            f"{kept.where} is of a run that was interrupted: it has no verdict to reproduce",
            hint="run it again: the file 'reproduce' in it does",
        )
    wanted = replace(spec_of(run, kept.scenario()), **_wishes(kept, wish))
    own = scenario.of(wanted)
    _modules_inside(kept, own)
    chosen = pipeline.choose(wanted)
    inputs = _inputs(kept)
    binaries = None if kept.manifest is None else kept.manifest.binaries
    boots = binaries is not None and not wish.build
    again = Again(run["id"], kept.own, boots)
    given = pipeline.Given(again=again, inputs=inputs)
    if boots and binaries is not None:
        given = replace(given, **_booted(kept, binaries))
        if own.APART:  # it looks at the source, too
            given = replace(given, tree=_tree(kept, wish, chosen, progress))
        progress.note(f"the kernels of {run['id']} are booted as they are in it: none is built")
    else:
        _may_build(kept, wish, inputs.kernels, scenario.modules_of(own), wanted.config)
        given = replace(given, tree=_tree(kept, wish, chosen, progress))
    record, folder = pipeline.run(wanted, progress, given=given)
    found = differences([run], [as_json(record)])
    # What is not known of now it did not come to.
    return Reproduced(run, record, folder, tuple(each for each in found if each.b != NOT_KNOWN))


# ---------------------------------------------------------------------------------------------
# What was asked
# ---------------------------------------------------------------------------------------------


def spec_of(run: Mapping[str, Any], yaml: Path | None = None) -> RunSpec:
    """What a run.json says was asked, each word looked at; without a tree and a folder, which mean
    something on the machine of that run alone.

    series and without are for a reader: the patches are given apart. yaml: of a scenario of the
    user's own, as it was kept.
    """
    spec = run["spec"]
    name = run["scenario"]
    which = {"scenario": name} if yaml is None else scenario.named(str(yaml))
    if which["scenario"] != name:
        raise InputError(f"run {run['id']} is of {name!r:.100}, and its YAML is {yaml}")
    words = [f"{key}={value}" for key, value in spec["params"].items()]
    return RunSpec(
        **which,
        kernel=run["kernel"],
        arch=run["arch"],
        series=tuple(spec["series"]),
        without=tuple(spec.get("without", ())),
        profile=run["profile"],
        seed=_within(run, "seed", run["seed"], 0, 2**32 - 1),
        toolchain=spec["toolchain"],
        accel=_accel(run, spec["accel"]),
        memory_mib=_within(run, "memory", spec["memory_mib"], _LEAST_MIB, _memory()),
        smp=_within(run, "smp", spec["smp"], 1, _MOST_SMP),
        append=tuple(_printable(run, word) for word in spec["append"]),
        params=scenario.params(name if yaml is None else str(yaml), words),
        snapshots=bool(spec.get("snapshots", True)),
        config=tuple(_option(run, word) for word in spec.get("config", ())),
    )


def _memory() -> int:
    """MiB of this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20


def _within(run: Mapping[str, Any], name: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise InputError(
            f"run {run['id']} has {name} {value}, and here it is from {least} to {most}",
            hint="do it on a machine that has as much" if name == "memory" else "",
        )
    return value


def _accel(run: Mapping[str, Any], word: str) -> str:
    if word not in _ACCELS:
        raise InputError(f"run {run['id']} has an accelerator {word!r:.100} that is none")
    return word


def _option(run: Mapping[str, Any], word: str) -> str:
    if not _OPTION.fullmatch(word):
        raise InputError(
            f"run {run['id']} has a word of a configuration that is none: {word!r:.100}"
        )
    return word


def _printable(run: Mapping[str, Any], word: str) -> str:
    if not word.isprintable():
        raise InputError(f"run {run['id']} has no words for a kernel in append: {word!r:.100}")
    return word


def _wishes(kept: Kept, wish: Wish) -> dict[str, Any]:
    """What the user says, over what the run says; of an own run its tree's word, too."""
    found: dict[str, Any] = {"jobs": wish.jobs or len(os.sched_getaffinity(0))}
    if wish.keep is not None:
        found["keep"] = wish.keep
    if wish.accel is not None:
        found["accel"] = wish.accel
    word = kept.run["spec"]["tree"]
    if wish.tree is not None:
        found["tree"] = wish.tree
    elif word is not None and kept.own:
        plain = word.startswith(("/", "~"))
        found["tree"] = word if plain else str(Path(kept.run["inputs"]["where"]) / word)
    return found


# ---------------------------------------------------------------------------------------------
# What it was made of
# ---------------------------------------------------------------------------------------------


def _inputs(kept: Kept) -> Inputs:
    """Each kernel's patches and configuration, as the folder has them."""
    inputs = kept.run.get("inputs")
    if not inputs:
        raise InputError(
            f"{kept.where} does not hold what its run was made of",
            hint="it ended before its patches were read, or an older pinpage made it: "
            "the file 'reproduce' in it runs its words again",
        )
    texts: dict[str, bytes] = {}
    return Inputs(
        kernels=tuple(_made(kept, each, texts) for each in inputs["kernels"]),
        **{name: inputs[name] for name in ("origin", "version", "pinpage", "where")},
    )


def _made(kept: Kept, kernel: Mapping[str, Any], texts: dict[str, bytes]) -> MadeOf:
    """texts: what has been read, as most kernels of a run share most of their patches."""
    patches = [_patch(kept, each, texts) for each in kernel["patches"]]
    if kernel["compat"] > len(patches):
        raise InputError(f"{kept.where}: more of {kernel['name']!r} is compat than it has")
    origin = f"the patches of run {kept.run['id']}"
    whole = series.given(kept.run["series"], patches, origin, kernel["compat"])
    name = kernel["config"]
    config = None if name is None else bounded(inside(kept.folder, name), MOST_PATCH)
    return MadeOf(kernel["name"], whole, config)


def _patch(kept: Kept, each: Mapping[str, Any], texts: dict[str, bytes]) -> Patch:
    name = each["file"]
    if name not in texts:
        texts[name] = bounded(inside(kept.folder, name), MOST_PATCH)
    if digest(texts[name]) != each["sha256"]:
        raise InputError(f"{kept.where}: {name} is not the patch that its run was made of")
    text = texts[name]
    return Patch(visible(each["name"]), visible(each["subject"]), text, ours=text in _ours())


@once
def _ours() -> frozenset[bytes]:
    """The texts of all our own patches, of whatever kernel."""
    return frozenset(path.read_bytes() for path in resources.patches().glob("*/*/*.patch"))


def _modules_inside(kept: Kept, own: scenario.Scenario) -> None:
    """InputError where the YAML of another's names modules that did not come with it."""
    for module in scenario.modules_of(own):
        if not module.resolve().is_relative_to(kept.folder.resolve()):
            raise InputError(f"{kept.where}: its scenario names a module outside of it: {module}")


def _may_build(
    kept: Kept,
    wish: Wish,
    made: Sequence[MadeOf],
    modules: Sequence[Path],
    config: Sequence[str],
) -> None:
    """InputError where patches, modules or texts of another's would be built that the user has not
    looked at."""
    if kept.own or wish.trust:
        return
    texts = [word for word in config if not _NO_TEXT.fullmatch(word)]
    if texts:
        raise InputError(
            f"{kept.where} has texts for its configuration: {', '.join(texts[:_NAMED])}. "
            "Makefiles expand them on this machine",
            hint="read them (config in run.json), and say --trust if you would build with them",
        )
    if modules:
        raise InputError(
            f"{kept.where} has modules that are not pinpage's own: "
            f"{', '.join(path.name for path in modules[:_NAMED])}. A build runs their Kbuild on "
            "this machine",
            hint="read them (scenario/ in it), and say --trust if you would build them yourself",
        )
    found = [patch for each in made for patch in each.series.patches if not patch.ours]
    names = list(dict.fromkeys(patch.name for patch in found))
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise InputError(
            f"{kept.where} has patches that are not pinpage's own: {', '.join(names[:_NAMED])}"
            f"{more}. A build runs what patches bring (Makefiles, scripts) on this machine",
            hint="read them (inputs/patches/ in it), and say --trust if you would apply them "
            "yourself",
        )


def _tree(kept: Kept, wish: Wish, chosen: pipeline.Chosen, progress: Progress) -> SourceTree | None:
    """The very tree, if it is to be had; None: what the words find is taken, and differs."""
    run = kept.run
    if wish.tree is not None:
        return None
    digest_then = run["digests"].get("tree", "")
    if kept.own and chosen.spec.tree is not None:
        # Behind it may be a repository, whose objects a 3-way merge needs.
        with suppress(InputError):
            found = pipeline.fetch(chosen, progress)
            if found.digest == digest_then:
                return found
    cached = source.cached(digest_then, run["inputs"]["origin"], resources.cache())
    if cached is None and run["spec"]["tree"] is not None and not kept.own:
        raise InputError(
            f"run {run['id']} was of a tree that is not here: {run['spec']['tree']!r}, "
            f"{digest_then or 'of which no more is known'}",
            hint="give that tree, or another to see what comes of it, with --tree",
        )
    return cached


# ---------------------------------------------------------------------------------------------
# Binaries
# ---------------------------------------------------------------------------------------------


def _booted(kept: Kept, binaries: Mapping[str, Any]) -> dict[str, Any]:
    """What of pipeline.Given the binaries of a bundle are."""
    run = kept.run
    for name, kernel in binaries["kernels"].items():
        if run["digests"].get(name) != kernel["key"]:
            raise InputError(f"{kept.where}: its binaries of {name!r} are not those of its run")
    image = inside(kept.folder, binaries["image"])
    assert kept.manifest is not None  # it has named the binaries
    found = f"sha256:{kept.manifest.files[binaries['image']].sha256}"
    machine = arch.get(run["arch"]).name
    return {
        "builds": {
            name: _build(kept.folder, kernel, machine)
            for name, kernel in binaries["kernels"].items()
        },
        "image": GuestImage(image, found, {}),
        "digests": {name: each for name, each in run["digests"].items() if name != "image"},
    }


def _build(folder: Path, kernel: Mapping[str, Any], machine: str) -> BuildArtifacts:
    image = inside(folder, kernel["image"])
    return BuildArtifacts(
        folder=image.parent,
        image=image,
        vmlinux=image.with_name("vmlinux"),  # not read: no report is looked up in a stranger's
        config=inside(folder, kernel["config"]),
        modules={name: inside(folder, path) for name, path in kernel["modules"].items()},
        key=kernel["key"],
        release=kernel["release"],
        arch=machine,
        toolchain=Toolchain(kernel["toolchain"]["name"], kernel["toolchain"]["version"], {}),
        seconds=0.0,
        cpu_seconds=0.0,
        cached=True,
    )
