# SPDX-License-Identifier: GPL-2.0-only
"""The order of the stages, and nothing else: what each makes is handed to the next."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from harness import __version__, arch, cache, report, resources, scenario, spec, verdict
from harness.build import artifacts as builds
from harness.build import image, kconfig, kernel, series, source, symbols
from harness.build.blame import Blame
from harness.build.origin import Origins
from harness.errors import (
    CannotRun,
    GuestCommandError,
    GuestError,
    InfraError,
    InputError,
    PatchError,
    PinpageError,
)
from harness.model import (
    JSON,
    Accelerator,
    Again,
    Arch,
    ArmPlan,
    BuildArtifacts,
    Event,
    GuestImage,
    Inputs,
    Kernel,
    KernelConfig,
    LedgerRow,
    MadeOf,
    Outcome,
    PatchedTree,
    Profile,
    Progress,
    RunRecord,
    RunSpec,
    Series,
    SourceTree,
    Splat,
    Verdict,
)
from harness.parse import marks, splat
from harness.scenario import defects, own
from harness.scenario.base import Emit
from harness.scenario.recorder import mount
from harness.vm import accel, machine, snapshot

PINPAGE_HEADER = "include/linux/pinpage.h"
PINPAGE_SYMBOL = "config PINPAGE"
_CPU = re.compile(r"(?:model name|stepping|microcode|flags|CPU \w+|Features)\s*:")


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


def left_out(words: RunSpec, progress: Progress) -> Iterator[tuple[str, str, RunRecord]]:
    """For each fix in turn: leave it out, and see whether its defect shows again.

    Yields the defect, the patch that mends it, and the record of the run without it. InputError
    where the series has no fix of the catalogue's.
    """
    chosen = choose(words)
    series_of = series.load(words.series, chosen.kernel, fetch(chosen, progress))
    names = [patch.name for patch in series_of.patches]
    found = [
        (defect, name) for defect, part in defects.fixes().items() for name in names if part in name
    ]
    if not found:
        raise InputError(
            f"series {series_of.name} has no patch that mends a defect of the catalogue",
            hint="try --series fixed",
        )
    for defect, name in found:
        own = replace(words, without=(name,), params={"only": defect})
        progress.note(f"without {name}")
        yield defect, name, run(own, progress)[0]


def fetch(chosen: Chosen, progress: Progress) -> SourceTree:
    progress.stage("source")
    return source.resolve(
        chosen.kernel, chosen.spec.tree, cache=resources.cache(), progress=progress
    )


def apply(chosen: Chosen, tree: SourceTree, progress: Progress) -> PatchedTree:
    """The tree with the series, and with what the profile has on top of it where that applies."""
    progress.stage("apply")
    return _applied(chosen, tree, _series(chosen, tree), progress)


def _apply(tree: SourceTree, wanted: Series, progress: Progress) -> PatchedTree:
    return series.apply(tree, wanted, cache=resources.cache(), progress=progress)


def _applied(chosen: Chosen, tree: SourceTree, wanted: Series, progress: Progress) -> PatchedTree:
    patched = _apply(tree, wanted, progress)
    if not chosen.profile.extra:
        return patched
    try:
        return _topped(chosen, patched, chosen.profile.extra, progress)
    except CannotRun as error:
        progress.note(str(error))
        return patched


def _series(chosen: Chosen, tree: SourceTree, *top: str) -> Series:
    """The series that is asked for; top: words of what goes on top of it."""
    words = chosen.spec
    return series.load(words.series, chosen.kernel, tree, words.without, upto=words.upto, top=top)


def steps(chosen: Chosen, tree: SourceTree, progress: Progress) -> Iterator[PatchedTree]:
    """The tree after each patch of the series in turn."""
    progress.stage("apply")
    whole = _series(chosen, tree)
    if len(whole.patches) == whole.compat:
        raise InputError(f"series {whole.name} has no patches to build one by one")
    for part in series.prefixes(whole):
        yield _apply(tree, part, progress)


def has_pinpage(tree: PatchedTree) -> bool:
    """Whether the tree has the pin page subsystem (probed by its header)."""
    return bool(Blame(tree).read(PINPAGE_HEADER))


def _features(tree: PatchedTree) -> tuple[str, ...]:
    """Features of all scenarios together, so that one kernel serves every one of them."""
    wanted = {name for each in scenario.names() for name in scenario.get(each).FEATURES}
    if PINPAGE_SYMBOL in Blame(tree).read("mm/Kconfig").splitlines():
        wanted.add("pinpage")
    return tuple(sorted(wanted))


def _modules(chosen: Chosen) -> Mapping[str, Path]:
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


def _sources_of_modules(chosen: Chosen) -> list[str]:
    return [kernel.content(path) for path in _modules(chosen).values()]


def digest(chosen: Chosen, tree: PatchedTree) -> str:
    """A digest of what goes into a build: tree, configuration, architecture, compiler, modules."""
    modules = _sources_of_modules(chosen)
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
        _modules(chosen),
        jobs=chosen.spec.jobs,
        cache=resources.cache(),
        progress=progress,
    )


@dataclass(frozen=True)
class Bootable:
    """What a boot needs beside a folder of its own. content: what a kernel is known by whose key
    another has given."""

    chosen: Chosen
    words: RunSpec
    artifacts: BuildArtifacts
    image: GuestImage
    accelerator: Accelerator
    origins: Origins | None = None
    content: str = ""


@dataclass(frozen=True)
class Scene:
    """An arm that is about to be driven, with its guest in hand; arms: all of the run."""

    arm: ArmPlan
    arms: tuple[ArmPlan, ...]
    ready: Bootable
    guest: machine.Machine
    progress: Progress


# Who looks on while an arm is driven: a context around it, which hears of each event as it comes,
# and of what ends the arm as an exception. What takes time is a stage of the progress.
Look: TypeAlias = Callable[[Scene], AbstractContextManager[Emit]]


@contextmanager
def _nobody(scene: Scene) -> Iterator[Emit]:
    """The Look of a run that nobody looks at."""
    yield lambda event: None


def bootable(
    chosen: Chosen,
    artifacts: BuildArtifacts,
    progress: Progress,
    guest_image: GuestImage | None = None,
) -> Bootable:
    """guest_image: one that is given, instead of ours."""
    progress.stage("image")
    if guest_image is None:
        guest_image = image.build(chosen.arch, cache=resources.cache(), progress=progress)
    accelerator = accel.choose(chosen.arch, chosen.spec.accel, cache=resources.cache())
    progress.note(f"accelerator {accelerator.name}: {accelerator.why}")
    return Bootable(chosen, chosen.spec, artifacts, guest_image, accelerator)


@contextmanager
def boot(
    ready: Bootable, folder: Path, progress: Progress, plan: ArmPlan | None = None
) -> Iterator[machine.Machine]:
    """A booted guest, as its profile has it; folder gets its console and logs. plan: the arm that
    it is for.

    InfraError where the kernel that answers is not the one that was built.
    """
    folder.mkdir(parents=True, exist_ok=True)
    profile = ready.chosen.profile
    with machine.boot(
        ready.chosen.arch,
        ready.artifacts.image,
        ready.image,
        accel=ready.accelerator,
        profile_slowdown=profile.slowdown,
        folder=folder,
        modules=ready.artifacts.modules,
        memory_mib=ready.words.memory_mib + profile.memory_mib,
        smp=max(ready.words.smp, profile.smp),
        append=(*profile.append, *ready.words.append),
        room=plan.room if plan else (),
        nodes=plan.nodes if plan else 1,
        snapshots=_snapshots(ready),
        empty_nodes=plan.empty_nodes if plan else 0,
        progress=progress,
    ) as guest:
        _check_identity(guest.must("cat /proc/version"), ready.artifacts)
        _set(guest, profile, progress)
        yield guest


def _set(guest: machine.Machine, profile: Profile, progress: Progress) -> None:
    """Write what a profile has written to a guest that is ready."""
    if profile.settings:
        mount(guest)
    for setting in profile.settings:
        try:
            guest.write(setting.file, setting.text.encode())
        except GuestCommandError:
            if not setting.optional:
                raise
            progress.note(f"profile {profile.name}: no {setting.text!r} in {setting.file}")


def _snapshots(ready: Bootable) -> snapshot.Store | None:
    """Where guests of this kernel and image are saved; None where each has to boot."""
    if not ready.words.snapshots:
        return None
    host = platform.machine()
    if ready.accelerator.name == "kvm":
        # The processor is the host's own: a state of it is of use on such a one alone.
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        host = "\n".join(sorted({line for line in text.splitlines() if _CPU.match(line)}))
    kernel_of = ready.content or ready.artifacts.key
    words = (kernel_of, ready.image.digest, ready.accelerator.name, host)
    return snapshot.Store(resources.cache() / "snapshots", words)


def _is(artifacts: BuildArtifacts, said: str) -> bool:
    """Whether a banner is this kernel's."""
    return f"@{kernel.identity(artifacts.key)})" in said


def _check_identity(said: str, artifacts: BuildArtifacts) -> None:
    if not _is(artifacts, said):
        wanted = kernel.identity(artifacts.key)
        raise InfraError(
            f"the kernel that booted is not the one in {artifacts.folder}: it was not built as "
            f"{wanted}, and says {' '.join(said.split())[:200]!r}",
            hint="remove that folder, and report this",
        )


# ---------------------------------------------------------------------------------------------
# A run
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """What a run takes as it is, where that is not what its words name today.

    again: the run that it does again. inputs: what that was made of; its patches are applied as
    they are. tree: its source. builds: kernel's name → its build, which is booted; then image is
    its guest's, digests are what is known of them, and nobody vouches for any of it.
    """

    again: Again | None = None
    inputs: Inputs | None = None
    tree: SourceTree | None = None
    builds: Mapping[str, BuildArtifacts] = field(default_factory=dict)
    image: GuestImage | None = None
    digests: Mapping[str, str] = field(default_factory=dict)

    def made(self, name: str) -> MadeOf | None:
        """What the kernel of this name was made of, None where that is not given."""
        kernels = self.inputs.kernels if self.inputs is not None else ()
        return next((each for each in kernels if each.name == name), None)


@dataclass
class _Run:
    """What a run has so far; its record can be made at any moment."""

    chosen: Chosen
    id: str
    folder: Path
    started: str
    given: Given = field(default_factory=Given)
    made: dict[str, MadeOf] = field(default_factory=dict)
    source: SourceTree | None = None
    pinpage: bool = False
    emulator: str = ""
    begun: float = field(default_factory=time.monotonic)
    stages: dict[str, float] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    toolchain: dict[str, str] = field(default_factory=dict)
    accelerator: Accelerator | None = None
    argv: tuple[str, ...] = ()
    guests: dict[str, str] = field(default_factory=dict)
    arms: tuple[ArmPlan, ...] = ()
    events: list[Event] = field(default_factory=list)
    splats: list[Splat] = field(default_factory=list)
    kernels: dict[str, Bootable] = field(default_factory=dict)  # arm → what it booted
    rows: tuple[LedgerRow, ...] = ()
    console: dict[str, str] = field(default_factory=dict)
    look: Look = _nobody

    def record(
        self,
        answer: Verdict,
        *,
        error: Mapping[str, str],
        interrupted: bool = False,
    ) -> RunRecord:
        return RunRecord(
            id=self.id,
            spec=self.chosen.spec,
            verdict=answer,
            started=self.started,
            seconds=time.monotonic() - self.begun,
            stages=dict(self.stages),
            digests=dict(self.digests),
            toolchain=dict(self.toolchain),
            accelerator=self.accelerator,
            argv=self.argv,
            guests=dict(self.guests),
            host={**_host(), **({"qemu": self.emulator} if self.emulator else {})},
            exit_code=answer.exit_code,
            interrupted=interrupted,
            ledger=self.rows,
            events=tuple(self.events),
            console=dict(self.console),
            error=dict(error),
            inputs=self._inputs(),
            again=self.given.again,
        )

    def _inputs(self) -> Inputs | None:
        """None before the patches were read."""
        if self.given.builds:
            return self.given.inputs
        if not self.made:
            return None
        origin, version = (self.source.origin, self.source.version) if self.source else ("", "")
        made = tuple(self.made.values())
        return Inputs(made, origin, version, self.pinpage, str(Path.cwd()))


class _Timed:
    """Passes progress on and notes how long each stage took."""

    def __init__(self, inner: Progress, stages: dict[str, float]) -> None:
        self._inner, self._stages = inner, stages
        self._name, self._since = "", time.monotonic()

    def stage(self, name: str) -> None:
        self.end()
        self._name, self._since = name, time.monotonic()
        self._inner.stage(name)

    def end(self) -> None:
        if self._name:
            took = time.monotonic() - self._since
            self._stages[self._name] = self._stages.get(self._name, 0.0) + round(took, 3)
        self._name = ""

    def advance(self, done: int, total: int | None, text: str = "") -> None:
        self._inner.advance(done, total, text)

    def note(self, text: str) -> None:
        self._inner.note(text)


def _host() -> dict[str, str]:
    return {
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cpus": str(os.cpu_count() or 1),
        "pinpage": __version__,
    }


def _new_run(chosen: Chosen, given: Given) -> _Run:
    now = datetime.now(UTC)
    words = chosen.spec
    name = "-".join(
        [
            now.strftime("%Y%m%dT%H%M%SZ"),
            words.scenario,
            words.kernel,
            words.arch,
            chosen.spec.series[0] if len(words.series) == 1 and _plain(words.series[0]) else "own",
            secrets.token_hex(2),
        ]
    )
    top = words.keep if words.keep is not None else resources.state() / "runs"
    folder = top / name
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InfraError(
            f"the run's folder {folder} cannot be made: {error.strerror}",
            hint="name another folder with --keep DIR",
        ) from error
    return _Run(chosen, name, folder, now.isoformat(timespec="seconds"), given)


def _plain(word: str) -> bool:
    return word.replace("-", "").replace("_", "").isalnum()


def run(
    wanted: RunSpec,
    progress: Progress,
    modules: Path | None = None,
    given: Given | None = None,
    look: Look = _nobody,
) -> tuple[RunRecord, Path]:
    """Do a whole run and leave its folder; whatever goes wrong is in the record.

    modules: a folder to build the guest modules from instead of our own. given: what is taken as
    it is instead of what the words name. look: who looks on.
    Only InputError (no guest was booted, no folder is left) and an interruption come out as
    exceptions; the folder of an interrupted run says so. Returns the record and its folder.
    """
    chosen = choose(wanted, modules)
    plan = scenario.of(wanted)
    plan.check(wanted.params, wanted.memory_mib)
    state = _new_run(chosen, given or Given())
    state.look = look
    timed = _Timed(progress, state.stages)
    if isinstance(plan, own.OwnScenario):
        own.keep(plan.plan, state.folder)
    report.write(_interrupted(state), state.folder)
    try:
        answer, error = _judged(plan, state, timed)
    except InputError:
        shutil.rmtree(state.folder)
        raise
    except BaseException:
        timed.end()
        report.write(_interrupted(state), state.folder)
        progress.note(f"not finished: {state.folder}")
        raise
    timed.end()
    record = state.record(answer, error=error)
    report.write(record, state.folder)
    _point_latest(state.folder)
    return record, state.folder


def _interrupted(state: _Run) -> RunRecord:
    answer = Verdict(
        Outcome.INFRA,
        "the run was interrupted before it came to a verdict",
        "run it again: the file 'reproduce' beside this one does",
    )
    return state.record(answer, interrupted=True, error={})


def _point_latest(folder: Path) -> None:
    """``latest`` beside the run points at it; a file system without links goes without."""
    link = folder.parent / "latest"
    temporary = folder.parent / f".latest.{secrets.token_hex(4)}"
    try:
        temporary.symlink_to(folder.name)
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)


def _judged(
    plan: scenario.Scenario, state: _Run, progress: Progress
) -> tuple[Verdict, Mapping[str, str]]:
    """The verdict, and the error if one ended the run."""
    try:
        _experiment(plan, state, progress)
        state.rows = verdict.ledger(state.events)
    except InputError:
        raise  # the user's words, known to be wrong before a guest was booted
    except PinpageError as error:
        if isinstance(error, GuestError):
            # Those of the console as it was then: what went on since is the same report.
            found = {splat.first_line for splat in state.splats}
            state.splats += [s for s in error.splats if s.first_line not in found]
        _explain(state, progress)
        answer = verdict.from_error(error, state.arms, state.events, state.splats)
        kind = type(error).__name__
        log = _kept(error.log, state.folder)
        return answer, {
            "kind": kind,
            "message": str(error),
            "detail": error.detail,
            "command": shlex.join(error.command),
            "log": log,
        }
    if not plan.APART:  # where each probe says itself who is to blame
        _explain(state, progress)
    answer = plan.judge(state.arms, state.events, state.rows, state.splats)
    return answer, {}


def _explain(state: _Run, progress: Progress) -> None:
    """Name the lines of each report, and the patch that it accuses.

    That cannot change a verdict: where it fails, the reports are without lines, and a note says so.
    """
    done: list[Splat] = []
    for arm in dict.fromkeys(each.arm for each in state.splats):
        own = [each for each in state.splats if each.arm == arm]
        ready = state.kernels.get(arm)
        if ready is not None and ready.origins is not None:
            progress.stage("symbols")
            try:
                own = symbols.explain(own, ready.artifacts, ready.origins)
            except PinpageError as error:
                progress.note(f"the reports of the {arm} arm have no lines: {error}")
        done += own
    state.splats = done


def explained(splats: Sequence[Splat], build: str, said: Sequence[str]) -> list[Splat]:
    """Splats of a log with their lines, by a build of ours: its folder, or the begin of its key.

    said: the kernels' banners in that log. InputError where there is no such build, or where a
    banner is of another one.
    """
    found = builds.named(build, resources.cache())
    other = next((banner for banner in said if not _is(found, banner)), "")
    if other:
        raise InputError(
            f"this log is not of the kernel in {found.folder} alone, which says that it was built "
            f"as {kernel.identity(found.key)}: {' '.join(other.split())[:200]!r}",
            hint="a build's key begins with what stands behind the @ of the log's 'Linux version'",
        )
    return symbols.explain(splats, found, Origins.read(found))


def _kept(log: Path | None, folder: Path) -> str:
    """A log's path below the run's folder, where no later build writes over it."""
    if log is None or not log.is_file():
        return ""
    if not log.is_relative_to(folder):
        log = Path(shutil.copyfile(log, folder / "build.log"))
    return str(log.relative_to(folder))


def _experiment(plan: scenario.Scenario, state: _Run, progress: Progress) -> None:
    chosen, given = state.chosen, state.given
    sources = _Sources(state, progress)
    if given.builds and given.inputs is not None:
        state.digests |= given.digests
        state.pinpage = given.inputs.pinpage
    else:
        state.pinpage = has_pinpage(sources.patched)
        state.digests["modules"] = cache.key(*_sources_of_modules(chosen))
    state.events += plan.inspect(sources, chosen.spec.params)
    arms = plan.arms(state.pinpage, chosen.spec.params)
    ready: dict[tuple[str, str], Bootable] = {}

    def kernel_of(arm: ArmPlan) -> Bootable:
        key = (arm.profile or chosen.profile.name, arm.extra)
        if key not in ready:
            ready[key] = _ready(key, sources, state, progress)
        return ready[key]

    if not plan.APART:
        for arm in arms:
            kernel_of(arm)
    state.arms = arms
    for arm in arms:
        if plan.APART:
            _apart(plan, arm, kernel_of, state, progress)
        else:
            _one_arm(plan, arm, kernel_of(arm), state, progress)


def _topped(chosen: Chosen, patched: PatchedTree, folder: str, progress: Progress) -> PatchedTree:
    """The tree with that patch of a folder on top which applies to it."""
    for path in sorted((resources.patches() / chosen.kernel.patches / folder).glob("*.patch")):
        whole = _series(chosen, patched.source, str(path))
        with suppress(PatchError):
            return _apply(patched.source, whole, progress)
    raise CannotRun(
        f"no patch of patches/{chosen.kernel.patches}/{folder} applies on top of this series"
    )


class _Sources:
    """The trees of a run, fetched and patched when they are first asked for; a scenario's Tree."""

    def __init__(self, state: _Run, progress: Progress) -> None:
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
        given = state.given.made(_MAIN)
        made = given or MadeOf(_MAIN, _series(state.chosen, source))
        state.made.setdefault(_MAIN, made)  # patches that do not apply are kept too
        state.digests["series"] = made.series.digest
        if given is None:
            tree = _applied(state.chosen, source, made.series, self._progress)
            state.made[_MAIN] = MadeOf(_MAIN, tree.series)
        else:
            tree = _apply(source, made.series, self._progress)
        state.digests |= {"series": tree.series.digest, "patched": tree.digest}
        return tree

    def topped(self, name: str, extra: str) -> PatchedTree:
        """The tree of the kernel of this name, with what extra has on top of it."""
        if not extra:
            return self.patched
        given = self._state.given
        if given.inputs is None:
            return _topped(self._state.chosen, self.patched, extra, self._progress)
        made = given.made(name)
        if made is None:
            raise CannotRun(f"the run that is done again had no kernel {name!r}")
        return _apply(self._source, made.series, self._progress)

    @cached_property
    def _blame(self) -> Blame:
        return Blame(self.patched)

    def read(self, path: str) -> str:
        return self._blame.read(path)

    def blame(self, path: str, line: str) -> str:
        return self._blame.blame(path, line)


_MAIN = "build"  # the name of the run's own kernel; those of others have words behind it


def _ready(kind: tuple[str, str], sources: _Sources, state: _Run, progress: Progress) -> Bootable:
    """The kernel of a profile (and of a patch on top), built and ready to boot."""
    (profile, extra), chosen, given = kind, state.chosen, state.given
    words = ("" if profile == chosen.profile.name else profile, extra)
    more = "".join(f" {word}" for word in words if word)
    name = f"{_MAIN}{more}"
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
    state.accelerator, state.emulator = ready.accelerator, machine.emulator(chosen.arch)
    return replace(ready, origins=origins, content=content)


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _apart(
    plan: scenario.Scenario,
    arm: ArmPlan,
    kernel_of: Callable[[ArmPlan], Bootable],
    state: _Run,
    progress: Progress,
) -> None:
    """One arm that is judged for itself: what its guest came to is evidence of it alone."""
    data: dict[str, JSON] = {"outcome": "", "message": ""}
    try:
        _one_arm(plan, arm, kernel_of(arm), state, progress)
    except (GuestError, CannotRun) as error:
        data = {"outcome": str(error.outcome), "message": str(error)}
    state.events.append(Event(arm.name, "harness", "ended", data))
    for each in splat.find(state.console.get(arm.name, "").splitlines()):
        report: dict[str, JSON] = {
            "kind": each.kind,
            "title": each.title,
            "function": each.function,
            "line": each.first_line,
            "report": each.report,
        }
        state.events.append(Event(arm.name, "console", "splat", report))


def _one_arm(
    plan: scenario.Scenario, arm: ArmPlan, ready: Bootable, state: _Run, progress: Progress
) -> None:
    """Boot a fresh guest, drive one arm in it, and keep its console whatever happens."""
    folder = state.folder / arm.name
    progress.stage(f"boot {arm.name}")
    state.kernels[arm.name] = ready
    words = state.chosen.spec
    words = replace(words, append=(*arm.append, *words.append), smp=arm.smp or words.smp)
    try:
        with (
            boot(replace(ready, words=words), folder, progress, arm) as guest,
            state.look(Scene(arm, state.arms, ready, guest, progress)) as saw,
        ):
            state.argv, state.guests[arm.name] = tuple(guest.argv), guest.origin
            progress.note(f"{arm.name} was {guest.origin}")
            progress.stage(f"drive {arm.name}")

            def emit(event: Event) -> None:
                state.events.append(event)
                saw(event)

            plan.drive(guest, arm, words.seed, words.params, emit)
    finally:
        log = folder / "console.log"
        text = log.read_text(errors="replace") if log.is_file() else ""
        state.console[arm.name] = text
        lines = text.splitlines()
        state.splats += marks.attribute(splat.find(lines), lines, arm.name)
