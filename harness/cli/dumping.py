# SPDX-License-Identifier: GPL-2.0-only
"""``dump``: a guest's memory as a file for gdb, drgn and crash."""

from __future__ import annotations

import secrets
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from harness import pipeline, proc, resources, scenario
from harness.cli.guests import boot_folder, one_arch, shell_text, stand_of
from harness.cli.options import (
    GUEST_OPTIONS,
    MODULE_OPTION,
    ONE_BUILD_OPTIONS,
    SNAPSHOT_OPTIONS,
    TREE_OPTIONS,
    VERBOSE_OPTION,
    Words,
    err,
    options_of,
    progress_shown,
)
from harness.errors import GuestCrash, GuestHang, InfraError, InputError, PinpageError
from harness.model import EXIT_CODES, BuildArtifacts, Event, Outcome, RunSpec
from harness.pipeline import Scene
from harness.scenario.base import Emit
from harness.vm import hands, loading, moment, vmcore
from harness.vm.machine import Machine
from harness.vm.qmp import MonitorError
from harness.vm.stream import Ends

_ERR = 2
_STAGE = "dump"
_DRGN_SECONDS = 300.0
_SHOWN = 200  # lines of what drgn says
_TYPES = "CONFIG_DEBUG_INFO=y"
_LOOK = Path(vmcore.__file__).with_name("drgn_look.py")


@dataclass(frozen=True)
class _Dumped:
    """A file that was written. info: whether it has VMCOREINFO."""

    file: Path
    form: str
    info: bool
    built: BuildArtifacts


@click.command(context_settings={"allow_interspersed_args": False})
@options_of(TREE_OPTIONS, ONE_BUILD_OPTIONS, GUEST_OPTIONS, SNAPSHOT_OPTIONS)
@MODULE_OPTION
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file [default: vmcore in a folder of its own, which is printed]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice([*vmcore.FORMATS]),
    default="elf",
    show_default=True,
    help="ELF for gdb, drgn and crash; kdump, which is compressed, for crash.",
)
@click.option(
    "--scenario",
    "scenario_name",
    metavar="SCENARIO",
    help="Run this, and dump one arm's guest when its ledger was read, or when it crashed.",
)
@click.option("--arm", help="With --scenario: which arm [default: the treated one, or the last]")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="As of 'run'.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="As of 'run'.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Take the dump where COMMAND has not ended after so many.",
)
@VERBOSE_OPTION
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def dump(
    command: tuple[str, ...],
    modules: tuple[str, ...],
    output: Path | None,
    form: str,
    scenario_name: str | None,
    arm: str | None,
    seed: int | None,
    settings: tuple[str, ...],
    timeout: float | None,
    verbose: bool,
    **options: Any,
) -> None:
    """Write the memory of a guest to a file, and say how to open it.

    The guest has run COMMAND before, or a scenario; a kernel that panicked meanwhile is dumped
    where it stopped. What drgn, if it is installed, makes of the dump is shown.

    Ends with 0 if COMMAND exited 0, 1 if not, 3 (CRASH) or 4 (HANG) if the kernel did that; the
    dump is written in each case. With --scenario with the run's exit code.

    \b
    Examples:
      pinpage dump -o vmcore --profile debug -- 'echo 1 > /proc/sys/vm/compact_memory'
      pinpage dump -- 'echo c > /proc/sysrq-trigger'
      pinpage dump --scenario compaction --profile debug
    """
    one_arch(options)
    text = shell_text(command)
    folder = boot_folder()
    target = resources.path(output or folder / "vmcore").absolute()
    vmcore.check(target)
    if scenario_name is None:
        if arm is not None or seed is not None or settings:
            raise InputError(
                "--arm, --seed and --set are a scenario's", hint="name one: --scenario"
            )
    elif command or modules:
        raise InputError("a scenario loads and runs its own: leave --module and COMMAND out")
    if scenario_name is not None:
        words = Words(options).spec(
            scenario_name,
            seed=secrets.randbelow(2**32) if seed is None else seed,
            params=scenario.params(scenario_name, settings),
        )
        sys.exit(_of_scenario(words, target, form, arm, brief=not verbose))
    status = 0
    wanted = [loading.wanted(word) for word in modules]
    spec = Words(options).spec()
    with stand_of(spec, folder, brief=not verbose, modules=wanted) as stand:
        info = _outlived(stand.guest)
        if text:
            status = _ran(stand.guest, text, timeout)
        with progress_shown(brief=not verbose) as progress:
            progress.stage(_STAGE)
            added = vmcore.dump(stand.guest, target, form=form, where=info, progress=progress)
    _tell(_Dumped(target, form, added, stand.built))
    sys.exit(status)


def _of_scenario(words: RunSpec, target: Path, form: str, arm: str | None, *, brief: bool) -> int:
    """Run a scenario and dump an arm of it; the run's exit code."""
    taker = _Taker(target, form, arm)
    with progress_shown(brief=brief) as progress:
        record, run = pipeline.run(words, progress, look=taker)
    said = f"{record.verdict.outcome}  {record.verdict.reason}\nrun: {run}"
    err.print(said, highlight=False, markup=False, soft_wrap=True)
    if taker.dumped is None:
        raise InfraError("the run ended before there was a guest to dump", log=run / "run.json")
    _tell(taker.dumped)
    return record.exit_code


def _outlived(guest: Machine) -> vmcore.Info | None:
    """Have QEMU stay when the guest is over; where VMCOREINFO is, while the guest can tell."""
    info = vmcore.info(guest)
    with suppress(MonitorError):
        moment.outlive(guest)
    return info


def _ran(guest: Machine, command: str, timeout: float | None) -> int:
    """Run the command, its outputs on stderr; the exit code that comes of it."""
    ends = Ends(None, _ERR, _ERR)
    try:
        status = hands.passed(
            guest, command, ends, seconds=timeout, gone=lambda: moment.ended(guest)
        )
    except (GuestCrash, GuestHang) as error:
        if guest.status is not None:
            raise
        err.print(error.message, highlight=False, markup=False, soft_wrap=True)
        return error.exit_code
    if status != 0:
        err.print(f"the command ended with status {status}", highlight=False)
    return EXIT_CODES[Outcome.FAIL] if status else 0


class _Taker:
    """A Look (pipeline/boots.py) that takes one dump, of one arm."""

    def __init__(self, target: Path, form: str, arm: str | None) -> None:
        self._target, self._form, self._arm = target, form, arm
        self.dumped: _Dumped | None = None

    @contextmanager
    def __call__(self, scene: Scene) -> Iterator[Emit]:
        if not self._means(scene):
            yield lambda event: None
            return
        guest = scene.guest
        info = _outlived(guest)

        def take() -> None:
            if self.dumped is None:
                scene.progress.stage(_STAGE)
                added = vmcore.dump(
                    guest, self._target, form=self._form, where=info, progress=scene.progress
                )
                self.dumped = _Dumped(self._target, self._form, added, scene.ready.artifacts)
                scene.progress.stage(f"drive {scene.arm.name}")

        def saw(event: Event) -> None:
            if (event.source, event.name, event.data.get("when")) == ("pinner", "ledger", "after"):
                take()

        try:
            yield saw
        except PinpageError as error:
            if guest.status is None:
                take()
                if isinstance(error, GuestHang) and moment.ended(guest):
                    moment.let_end(guest)
                    raise guest.fate("the arm's drive", str(error), wait=True) from error
            raise
        take()

    def _means(self, scene: Scene) -> bool:
        names = [each.name for each in scene.arms]
        if self._arm is not None and self._arm not in names:
            raise InputError(
                f"scenario {scene.ready.words.scenario} has no arm {self._arm!r} here",
                hint=f"its arms: {', '.join(names)}",
            )
        treated = [each.name for each in scene.arms if each.role == "treated"]
        return scene.arm.name == (self._arm or next(iter(treated), names[-1]))


# ---------------------------------------------------------------------------------------------
# How it is opened
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """A program, its command, and why it is none for this dump, "" if it is."""

    program: str
    argv: tuple[str, ...]
    why_not: str = ""


def ways(dumped: _Dumped, *, types: bool, virtual: bool) -> tuple[Way, ...]:
    """What opens a dump. types: the build has them; virtual: the file has the kernel's own
    addresses."""
    file, vmlinux = str(dumped.file), str(dumped.built.vmlinux)
    paths = dumped.built.modules.values()
    modules = [str(dumped.built.folder / "symbols" / p.name) for p in paths if p.suffix == ".ko"]
    symbols = [word for path in (vmlinux, *modules) for word in ("-s", path)]
    elf = "" if dumped.form == "elf" else "reads ELF alone: --format elf"
    addresses = "" if virtual else "finds only physical addresses in it"
    no_types = "" if types else "needs types, which this build has not: --profile debug"
    no_info = "" if dumped.info else "needs VMCOREINFO, which this kernel has not"
    return (
        Way("gdb", ("gdb", vmlinux, file), elf or addresses),
        Way("drgn", ("drgn", "-c", file, *symbols), elf or no_types or no_info),
        Way("crash", ("crash", vmlinux, file), no_types),
    )


def _tell(dumped: _Dumped) -> None:
    size = dumped.file.stat()
    click.echo(f"vmcore: {dumped.file} ({size.st_size >> 20} MiB, {size.st_blocks >> 11} on disk)")
    types = _TYPES in dumped.built.config.read_text().splitlines()
    virtual = dumped.form == "elf" and vmcore.has_virtual(dumped.file)
    for way in ways(dumped, types=types, virtual=virtual):
        click.echo(f"  {way.program:<6} {way.why_not or shlex.join(way.argv)}")
        program = _drgn()
        if way.program == "drgn" and not way.why_not and program:
            _look([program, "-q", *way.argv[1:], str(_LOOK)])


def _drgn() -> str:
    """drgn here: in PATH, or beside this Python; "" if there is none."""
    beside = Path(sys.executable).with_name("drgn")
    return shutil.which("drgn") or (str(beside) if beside.is_file() else "")


def _look(argv: list[str]) -> None:
    """Show what drgn finds."""
    done = proc.run(argv, timeout=_DRGN_SECONDS, check=False)
    said = done.stdout.decode(errors="replace").splitlines()
    if done.status != 0:
        said += [
            "drgn ended with an error:",
            *done.stderr.decode(errors="replace").splitlines()[-3:],
        ]
    for line in said[:_SHOWN]:
        click.echo(f"    {line}")
