# SPDX-License-Identifier: GPL-2.0-only
"""Frozen values handed from stage to stage, and the two protocols that stages talk through.

The flow, one way:

    RunSpec → SourceTree → PatchedTree → KernelConfig → BuildArtifacts → GuestImage → Guest
            → Event… → Verdict → RunRecord

Standard library only; nothing here has an effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TypeAlias

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

NOTHING: Mapping[str, JSON] = MappingProxyType({})


class Outcome(StrEnum):
    """What a run says in the end. Each has one exit code (``EXIT_CODES``)."""

    PASS = "PASS"
    FAIL = "FAIL"
    CRASH = "CRASH"  # a splat, panic or oops of the kernel under test
    HANG = "HANG"  # the guest went silent, or a deadline passed
    LOST = "LOST"  # the virtual machine went away
    INCONSISTENT = "INCONSISTENT"  # two witnesses of one count disagree
    SKIP = "SKIP"  # a capability was probed and is absent
    PATCH = "PATCH"  # a patch of the series does not apply
    BUILD = "BUILD"  # the kernel or a module does not build
    INFRA = "INFRA"  # our own fault, or the host's


# What says that something is wrong with the kernel under test.
CAUGHT = frozenset({Outcome.FAIL, Outcome.CRASH, Outcome.HANG, Outcome.INCONSISTENT, Outcome.LOST})
EXIT_USAGE = 2
EXIT_CODES: Mapping[Outcome, int] = MappingProxyType(
    {
        Outcome.PASS: 0,
        Outcome.FAIL: 1,
        Outcome.CRASH: 3,
        Outcome.HANG: 4,
        Outcome.LOST: 5,
        Outcome.INCONSISTENT: 6,
        Outcome.PATCH: 7,
        Outcome.BUILD: 8,
        Outcome.INFRA: 9,
        Outcome.SKIP: 10,
    }
)


# ---------------------------------------------------------------------------------------------
# What is asked for
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunSpec:
    """What one run was asked to do; written to ``run.json`` and enough to ask for it again.

    ``tree`` and ``series`` are the user's words: a path, ``GIT@REF``, or a name such as
    ``fixed``; the stage that resolves them says what is wrong with them. ``params`` are the
    scenario's own (see its ``PARAMS``), already converted to their types.
    """

    scenario: str
    kernel: str
    arch: str
    series: tuple[str, ...]
    profile: str
    seed: int
    tree: str | None = None
    jobs: int = 1
    keep: Path | None = None
    toolchain: str = "gcc"  # "gcc", "gcc-12", "llvm" or "llvm-15"
    accel: str = "auto"  # "auto", "kvm" or "tcg"
    memory_mib: int = 1024
    smp: int = 1
    append: tuple[str, ...] = ()  # further words on the guest's kernel command line
    params: Mapping[str, int | str] = field(default_factory=dict)
    without: tuple[str, ...] = ()  # patches of the series that are left out
    snapshots: bool = True  # a guest that was saved when it was ready is restored, not booted
    upto: str = ""  # begin of the name of the last patch that is applied, "" for all
    config: tuple[str, ...] = ()  # NAME=VALUE of options, whatever the fragments say
    file: Path | None = None  # a scenario of the user's own: its YAML; scenario is its name


@dataclass(frozen=True)
class SourceOption:
    """One way to get a kernel's source, as its YAML lists them, tried in order.

    kind: ``deb`` (location is a package name) or ``tarball`` (an https URL; sha256 is None only
    for a kernel whose ``blobs`` verify what came).
    """

    kind: str
    location: str
    sha256: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Machine:
    """How QEMU makes one machine type of an architecture usable for a kernel."""

    machine: str  # value of -machine, without accel
    cpu_tcg: str  # value of -cpu under TCG
    cpu_kvm: str
    devices: tuple[str, ...] = ()  # further argv that the machine needs (e.g. a watchdog)
    network: str = "virtio-net-pci,romfile="  # value of -device, without its netdev
    entropy: str = "virtio-rng-pci"
    cmdline: tuple[str, ...] = ()  # words on the kernel command line, behind the architecture's
    memory_device: str = ""  # what is plugged as memory while it runs, "" if nothing can be


@dataclass(frozen=True)
class Kernel:
    """What ``kernel-config/kernels/<name>.yaml`` says of a kernel.

    patches: folder below ``patches/`` that holds its series. make: extra make variables by
    architecture name (or ``all``), for example ``{"x86_64": {"CC": "gcc -std=gnu89"}}``.
    cannot: capability → why this kernel lacks it, for reports. compat: the series that today's
    tools need to build it, applied beneath every other. config: make's target that the fragments
    are merged on. blobs: path → git's blob id, by which its source is known. machines: QEMU's
    machine by architecture, where the architecture's own is not for it.
    """

    name: str
    version: str
    sources: tuple[SourceOption, ...]
    patches: str
    arches: tuple[str, ...]
    make: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    fragments: tuple[str, ...] = ()
    cannot: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    compat: str = ""
    config: str = "tinyconfig"
    blobs: Mapping[str, str] = field(default_factory=dict)
    machines: Mapping[str, Machine] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """A text written to a file of the guest when it is ready. optional: a guest that has no such
    file, or refuses the text, goes without."""

    file: str
    text: str
    optional: bool = False


@dataclass(frozen=True)
class Profile:
    """What the kernel is built to notice: fragments on top of base, arch and feature ones.

    slowdown: factor on boot and command deadlines relative to ``fast`` on one accelerator.
    needs: options (without CONFIG_) that make the profile what it is; a kernel that cannot have
    them is a SKIP. append: words on the kernel command line, before all others. memory_mib: what
    its guests have on top of what is asked. smp: CPUs that they have at least. settings: written
    in this order when a guest is ready. extra: a folder below the kernel's patches, of which the
    one that applies goes on top of the series.
    """

    name: str
    summary: str
    fragments: tuple[str, ...] = ()
    slowdown: float = 1.0
    needs: tuple[str, ...] = ()
    append: tuple[str, ...] = ()
    memory_mib: int = 0
    smp: int = 1
    settings: tuple[Setting, ...] = ()
    extra: str = ""


@dataclass(frozen=True)
class TinyGuest:
    """A guest of a few dozen instructions, run to see whether an accelerator works.

    It enters the mode that kernels run in, does a boot's worth of counting there, and then
    writes a line to the first serial port and ends QEMU. option: how QEMU takes the file
    (``-bios``, ``-kernel``). devices: further argv that it needs.
    """

    code: bytes = field(repr=False)
    option: str
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arch:
    """One architecture: every fact that differs between two of them, in one frozen value.

    kernel_arch: make's ARCH. image: the bootable image's path in the build folder.
    cross: prefix of Debian's cross compiler. deb: Debian's architecture name.
    machines: names that ``uname -m`` gives. triplet: Debian's multiarch library folder.
    cmdline: words on the kernel command line; cmdline_tcg: further ones of an emulated guest.
    """

    name: str
    kernel_arch: str
    image: str
    image_target: str
    cross: str
    deb: str
    triplet: str
    machines: tuple[str, ...]
    qemu: str
    qemu_package: str
    machine: Machine
    console: str
    tiny: TinyGuest
    cmdline: tuple[str, ...] = ()
    cmdline_tcg: tuple[str, ...] = ()
    compiler_package: str = ""


# ---------------------------------------------------------------------------------------------
# What the stages make
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SourceTree:
    """An unchanged kernel tree in the cache (or the user's folder, never written to).

    digest: content digest of the whole tree (``sha256:…`` of a tarball, ``git:…`` tree id, or
    ``tree:…`` of paths, modes and contents). git: a repository whose objects 3-way merges may
    use. version: what ``make kernelversion`` would say, read from the Makefile.
    """

    path: Path
    digest: str
    version: str
    origin: str
    git: Path | None = None

    @property
    def line(self) -> str:
        """What its states one after the other share: of commits their repository, so that a
        search over them, or a change and its base, compile no more than differs."""
        return f"git {self.git}" if self.digest.startswith("git:") else self.origin


@dataclass(frozen=True)
class Patch:
    """One patch of a series. text is the file as bytes, never re-encoded. ours: of a series that
    has a name (fixed), and not of the user's own."""

    name: str
    subject: str
    text: bytes = field(repr=False)
    ours: bool = False


@dataclass(frozen=True)
class Series:
    """An ordered list of patches. digest covers the order and every byte.

    git: the repository that it comes from, whose objects 3-way merges may use. compat: so many
    of the patches, the first ones, are what the kernel needs for today's tools.
    """

    name: str
    patches: tuple[Patch, ...]
    digest: str
    origin: str
    git: Path | None = None
    compat: int = 0


@dataclass(frozen=True)
class PatchedTree:
    """A source tree and what a series makes of it, as an overlay of changed files.

    changed: path inside the tree → its new content, or None where the series deletes it.
    executable: the paths of ``changed`` whose mode is 755. digest: of source and result, so two
    series that end in the same files share a build.
    touched_by: path → names of the patches that touched it, in order (for blame). brought: path →
    (first line, last line, patch) of lines of the result that a patch brought, the last that did.
    cut: path → (line, patch) of lines of the result above which a patch took some away.
    """

    source: SourceTree
    series: Series
    changed: Mapping[str, bytes | None] = field(repr=False)
    executable: frozenset[str]
    touched_by: Mapping[str, tuple[str, ...]]
    digest: str
    brought: Mapping[str, tuple[tuple[int, int, str], ...]] = field(default_factory=dict)
    cut: Mapping[str, tuple[tuple[int, str], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Fragment:
    """A configuration fragment: its name (for messages) and its text."""

    name: str
    text: str = field(repr=False)


@dataclass(frozen=True)
class KernelConfig:
    """What is asked of Kconfig: fragments merged in order on tinyconfig.

    requested: symbol (without CONFIG_) → the value it must have after olddefconfig. needs: those
    of them that make the profile; profile: its name.
    """

    fragments: tuple[Fragment, ...]
    requested: Mapping[str, str]
    digest: str
    needs: tuple[str, ...] = ()
    profile: str = ""


@dataclass(frozen=True)
class Toolchain:
    """A compiler as found on this machine. make: variables for make (CC, LLVM, …)."""

    name: str
    version: str
    make: Mapping[str, str]
    ccache: bool = False


@dataclass(frozen=True)
class BuildArtifacts:
    """A built kernel in the cache, never changed after it is published.

    folder holds ``image``, ``vmlinux``, ``config``, ``System.map``, ``build.log``,
    ``build.json``, ``modules/*.ko`` as a guest gets them, and ``symbols/*.ko``, the same with line
    tables, as ``vmlinux`` has them. seconds and cpu_seconds are of the build that made it;
    cached says that this run did not build.
    """

    folder: Path
    image: Path
    vmlinux: Path
    config: Path
    modules: Mapping[str, Path]
    key: str
    release: str
    arch: str
    toolchain: Toolchain
    seconds: float
    cpu_seconds: float
    cached: bool


@dataclass(frozen=True)
class GuestImage:
    """An initramfs of Debian's busybox and dropbear for one architecture.

    packages: name → version, as unpacked. digest is of the file's content.
    """

    path: Path
    digest: str
    packages: Mapping[str, str]


@dataclass(frozen=True)
class Accelerator:
    """The accelerator taken and why. speed: factor on deadlines (kvm 1, tcg slower)."""

    name: str
    why: str
    speed: float


@dataclass(frozen=True)
class CommandResult:
    """A command in the guest: exit status (None: killed by a signal), stdout and stderr apart."""

    command: str
    status: int | None
    stdout: bytes
    stderr: bytes
    seconds: float


@dataclass(frozen=True)
class PluggedMemory:
    """Memory that was plugged into a running guest. first: pfn; count: pages."""

    name: str
    device: str
    first: int
    count: int
    node: int


@dataclass(frozen=True)
class Unplugged:
    """What came of a request to give memory back. event: QEMU's, "" if none came in time."""

    gone: bool
    event: str
    said: str
    seconds: float


class Guest(Protocol):
    """A booted virtual machine, as scenarios see it.

    Every method raises GuestCrash, GuestHang or GuestLost (errors.py) when that is what
    happened instead; a scenario never has to ask.
    """

    @property
    def arch(self) -> str: ...

    def run(self, command: str, *, timeout: float = 30, stdin: bytes = b"") -> CommandResult:
        """Run a shell command; timeout in seconds before the host's scaling. No check."""
        ...

    def must(self, command: str, *, timeout: float = 30, stdin: bytes = b"") -> str:
        """Run a command that has to exit 0 and return its stdout; GuestCommandError if not."""
        ...

    def read(self, path: str, *, timeout: float = 30) -> bytes: ...

    def write(self, path: str, data: bytes, *, timeout: float = 30) -> None:
        """Write data to a file in one write(2), as sysfs and debugfs want it."""
        ...

    def put(self, local: Path, remote: str) -> None: ...

    def module(self, name: str) -> Path:
        """Host path of a guest module built for this kernel; CannotRun when there is none."""
        ...

    def console_text(self) -> str:
        """The serial console so far, decoded with replacement."""
        ...

    def plug(self, mib: int, node: int = 0) -> PluggedMemory:
        """Plug memory, which the kernel notices in its own time; CannotRun where none can be."""
        ...

    def unplug(self, memory: PluggedMemory, *, seconds: float = 30) -> Unplugged:
        """Ask for it back, and wait for the event that tells what came of it."""
        ...


# ---------------------------------------------------------------------------------------------
# Evidence and verdict
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """One piece of evidence, a line of events.jsonl.

    arm: which arm it was seen in ("" outside one). source: the witness (``pinner``,
    ``vmstat``, ``trace``, ``dmesg``, ``pageflags``, ``buddyinfo``, ``harness``). name: what it
    is, in the kernel's own words where it has one. data: plain JSON.
    """

    arm: str
    source: str
    name: str
    data: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """A line of the tree that was built (guest-modules/… for a module's).

    patch: which patch of the series brought it, "" for none; touched_by: the last patch that
    touches the file, "" for none.
    """

    file: str
    line: int
    function: str
    patch: str = ""
    touched_by: str = ""


@dataclass(frozen=True)
class Frame:
    """A function that a report names with an offset.

    line: of the report, from 1. address: as printed, None if it was not. sure: False for what the
    kernel itself doubts, and for what is no caller. exact: the address of an instruction; of a
    call's return otherwise. places: its lines, an inlined function before its caller; () if they
    are not known with certainty.
    """

    line: int
    function: str
    offset: int
    size: int
    module: str = ""
    address: int | None = None
    sure: bool = True
    exact: bool = False
    places: tuple[Place, ...] = ()


_SHOWN = 3  # patches that are accused alike


@dataclass(frozen=True)
class Culprit:
    """The patch that a report accuses. brought: it brought the line; else inside: it changes the
    function, or it touches the file. also: further ones that do as much, name and subject."""

    patch: str
    subject: str
    file: str
    line: int
    function: str
    brought: bool
    inside: bool = False
    also: tuple[tuple[str, str], ...] = ()

    @property
    def said(self) -> str:
        place = f"{self.file}:{self.line}"
        names = [_named(*each) for each in ((self.patch, self.subject), *self.also)]
        if self.brought:
            return f"{names[0]}, {place}"
        what = f"the function {self.function}()" if self.inside else "a file"
        if len(names) == 1:
            return f"{place}, in {what} that {names[0]} {'changes' if self.inside else 'touches'}"
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        listed = f"{'; '.join(names[:_SHOWN])}{more}"
        do = "change" if self.inside else "touch"
        return f"{place}, in {what} that {len(names)} patches {do}: {listed}"


def _named(patch: str, subject: str) -> str:
    """A patch by its number or its commit, and its subject."""
    number = patch.split("-", 1)[0]
    return f"{number if number.isdigit() else patch} {subject}"


@dataclass(frozen=True)
class Splat:
    """One kernel report in a console text. first_line and last_line count from 1.

    kind: ``panic``, ``oops``, ``BUG``, ``WARN``, ``lockdep``, ``rcu-stall``, ``soft-lockup``,
    ``hung-task``, ``KASAN``, … (parse/splat.py lists all), or ``stuck``, which is no complaint but
    a stack that was asked for (parse/blocked.py). title: the report's headline without
    timestamps and addresses. function: the guilty function, "" where none is named.
    fatal: the machine cannot go on after it. arm: whose console it stands in. during: the number
    of the attempt that went on when it began, 0 if none did. provoked: it belongs to what that
    attempt provokes, and is no complaint of the kernel's about itself. frames and culprit: of a
    build of ours, what its symbols say of the report. again: further reports of the same that the
    console has, and nobody else.
    """

    kind: str
    title: str
    function: str
    first_line: int
    last_line: int
    report: str
    fatal: bool = False
    arm: str = ""
    during: int = 0
    provoked: bool = False
    frames: tuple[Frame, ...] = ()
    culprit: Culprit | None = None
    again: int = 0


class PageState(StrEnum):
    """Outcome of one pinned page in the ledger."""

    MIGRATED = "migrated"
    STAYED = "stayed"
    FAILED = "failed"
    LOST = "lost"
    CORRUPT = "corrupt"


@dataclass(frozen=True)
class LedgerRow:
    """One pinned page. pfns are decimal; errno is the owner's last refusal (0: none).

    Of a page that stayed or failed also, where the kernel tells: flags, names of page flags as
    /proc/kpageflags has them; refcount; mapcount; allocated: the calls that led to its
    allocation, by page_owner, the latest first.
    """

    arm: str
    handle: int
    pfn_before: int
    pfn_after: int
    moves: int
    state: PageState
    errno: int = 0
    reason: str = ""
    holder: str = ""
    flags: str = ""
    refcount: int | None = None
    mapcount: int | None = None
    allocated: str = ""


@dataclass(frozen=True)
class Caller:
    """A function on a stack; module: "" for the kernel's own."""

    function: str
    module: str = ""


@dataclass(frozen=True)
class Holders:
    """Pages that stayed and are held alike. holder: the module, or who else has them."""

    pages: int
    holder: str
    allocated: str
    flags: str
    refcount: int | None
    mapcount: int | None


@dataclass(frozen=True)
class ArmPlan:
    """One side of an experiment. role: ``control`` (pages should stay), ``treated``, ``probe``.

    profile: the kernel that it needs, "" for the run's own. append: its words on the kernel
    command line. smp: its CPUs, 0 for the run's own. extra: a folder below the kernel's patches,
    of which the one that applies goes on top of the series. room: what is plugged as memory
    while it runs, (MiB, node) each. nodes: NUMA nodes that its memory is spread over, the last
    bare_nodes of them without a processor; empty_nodes: further ones, whose memory is all plugged.
    huge: huge pages are counted before and after its drive, by allocating all that can be had.
    """

    name: str
    role: str
    mode: str  # the pinner's mode
    profile: str = ""
    append: tuple[str, ...] = ()
    smp: int = 0
    extra: str = ""
    room: tuple[tuple[int, int], ...] = ()
    nodes: int = 1
    bare_nodes: int = 0
    empty_nodes: int = 0
    huge: bool = True


@dataclass(frozen=True)
class Attempt:
    """One thing asked of the kernel: a block taken offline, a buffer allocated.

    number: from 1, as the marks in trace and kernel log have it. trigger: ``offline``,
    ``contig``, … target: what it was asked for (``memory34``). group: those
    that are counted together in a report. expected: whether it had to succeed, None if nothing
    follows from it. pins: pinned pages in its frames beforehand. frames: (first pfn, number) of
    what it took, None where it took nothing. errno: 0 or positive. seconds: on the host's clock,
    but the guest's where the module measured it. tries: calls of migrate_pages() that it took,
    None where that was not traced. migrated, failed: pages, by /proc/vmstat; None where others
    went on at the same time. checks: what else says so → whether it agrees that it succeeded.
    asked, got: of a thing that can be had in part, how much; also: what else says how much was
    got. provokes: kinds of splats that belong to what it provokes. blockers: the pages that the
    kernel dumped meanwhile, a line each.
    """

    number: int
    trigger: str
    target: str
    group: str
    ok: bool
    expected: bool | None = None
    errno: int = 0
    said: str = ""
    seconds: float = 0.0
    pins: int = 0
    frames: tuple[int, int] | None = None
    tries: int | None = None
    migrated: int | None = None
    failed: int | None = None
    checks: Mapping[str, bool] = field(default_factory=dict)
    asked: int | None = None
    got: int | None = None
    also: Mapping[str, int] = field(default_factory=dict)
    provokes: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()


@dataclass(frozen=True)
class ArmResult:
    """Counts of one arm, pages; the order-9 counts are free huge pages that could be had."""

    name: str
    role: str
    mode: str
    pinned: int
    migrated: int
    stayed: int
    failed: int
    lost: int
    corrupt: int
    swept: int | None = None  # pins below every frame that a page was moved to; None: not known
    swept_moved: int = 0  # of these
    order9_before: int | None = None
    order9_after: int | None = None
    seconds: float = 0.0
    reasons: Mapping[str, int] = field(default_factory=dict)  # why pages failed or stayed → pages
    free_before: tuple[int, ...] = ()  # free blocks by order
    free_after: tuple[int, ...] = ()
    fragmentation_before: float | None = None  # extfrag index at order 9, 0..1; -1: would succeed
    fragmentation_after: float | None = None
    unusable_before: float | None = None  # share of free memory that order 9 cannot use, 0..1
    unusable_after: float | None = None
    attempts: tuple[Attempt, ...] = ()
    held_by: tuple[Holders, ...] = ()

    @property
    def expectant(self) -> bool:
        """Whether anything was expected of an attempt."""
        return any(each.expected is not None for each in self.attempts)


@dataclass(frozen=True)
class Witness:
    """One independent count of a claim, for the report and for INCONSISTENT.

    complete: False where it is absent or lost some of what it should have seen (detail says
    how much); it then supports nothing and contradicts nothing.
    """

    claim: str  # "migrated", "stayed", …
    arm: str
    source: str
    count: int
    agrees: bool
    detail: str = ""
    complete: bool = True


@dataclass(frozen=True)
class Finding:
    """What a probe says of a defect that is known.

    shown: None where it could not tell. evidence: a sentence with the figures or the report.
    patch, function and place (file:line of the tree under test): what is to blame, "" where the
    tree no longer has it.
    """

    defect: str
    title: str
    shown: bool | None
    evidence: str
    patch: str = ""
    function: str = ""
    place: str = ""
    arm: str = ""
    probed: bool = True  # False: there is no probe, and evidence says why


@dataclass(frozen=True)
class Verdict:
    """The run's answer. reason is one sentence; next_step one that says what to do."""

    outcome: Outcome
    reason: str
    next_step: str
    arms: tuple[ArmResult, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    splats: tuple[Splat, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.outcome]


@dataclass(frozen=True)
class MadeOf:
    """What one kernel of a run was made of.

    name: as ``digests`` has it: ``build``, ``build lockdep``. series: the patches as they are
    applied, those beneath and those on top among them. config: the .config that it was built by,
    None where it was not built.
    """

    name: str
    series: Series
    config: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Inputs:
    """What a run was made of, kept in its folder to make it again.

    origin and version: of the source, "" where none could be had. pinpage: whether the patched
    tree has the subsystem. where: the folder that words are relative to.
    """

    kernels: tuple[MadeOf, ...]
    origin: str
    version: str
    pinpage: bool
    where: str


@dataclass(frozen=True)
class Again:
    """Which run this one does again. own: it was this user's; binaries: its kernels were booted as
    they were."""

    of: str
    own: bool
    binaries: bool


@dataclass(frozen=True)
class RunRecord:
    """Everything that ``run.json`` holds; see report/run.schema.json for the written form."""

    id: str
    spec: RunSpec
    verdict: Verdict
    started: str  # ISO 8601, UTC
    seconds: float
    stages: Mapping[str, float]  # stage → wall seconds
    digests: Mapping[str, str]  # tree, series, config, build, image
    toolchain: Mapping[str, str]
    accelerator: Accelerator | None
    argv: tuple[str, ...]  # QEMU's, of the treated arm
    host: Mapping[str, str]
    exit_code: int
    interrupted: bool = False
    ledger: tuple[LedgerRow, ...] = ()
    events: tuple[Event, ...] = ()
    console: Mapping[str, str] = field(default_factory=dict)  # arm → console text
    error: Mapping[str, str] = field(default_factory=dict)  # class, message, log, of an error
    guests: Mapping[str, str] = field(default_factory=dict)  # arm → booted or restored, and why
    inputs: Inputs | None = None  # None: it ended before its patches were read
    again: Again | None = None


# ---------------------------------------------------------------------------------------------
# Progress
# ---------------------------------------------------------------------------------------------


class Progress(Protocol):
    """What long work reports through. Stages get one and never print."""

    def stage(self, name: str) -> None:
        """A stage begins: ``source``, ``apply``, ``config``, ``build``, ``image``, ``boot``…"""
        ...

    def advance(self, done: int, total: int | None, text: str = "") -> None:
        """So many units (objects, bytes) are done, of an expected total if one is known."""
        ...

    def note(self, text: str) -> None:
        """One line that the user should see: what was taken and why, what is waited for."""
        ...


class Silent:
    """A Progress that says nothing (tests, ``--quiet``)."""

    def stage(self, name: str) -> None:
        return

    def advance(self, done: int, total: int | None, text: str = "") -> None:
        return

    def note(self, text: str) -> None:
        return
