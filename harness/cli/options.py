# SPDX-License-Identifier: GPL-2.0-only
"""What commands share: options, how words become a RunSpec, how a person is told."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem
from rich.console import Console
from rich.text import Text

from harness import arch, pipeline, spec
from harness.build import kconfig
from harness.errors import InputError, PinpageError
from harness.model import EXIT_CODES, Outcome, RunSpec
from harness.report.text import in_line
from harness.terminal import TerminalProgress

EXIT_HELP = """\b
Exit codes: 0 PASS, 1 FAIL, 2 bad usage or input, 3 CRASH, 4 HANG, 5 LOST,
6 INCONSISTENT, 7 a patch does not apply, 8 build failed, 9 INFRA, 10 SKIP
(nothing could run), 129, 130 and 143 interrupted, 141 nobody reads the output.
Of run, boot, faults and fixes 0 means PASS and nothing else."""

OWN_CODES = 200  # what is added to pinpage's exit codes where a guest's command has them all
MOST_MIB = 1 << 20  # a guest's memory
_MOST_CPUS = 255  # x86's machine q35 without more than its usual interrupt controller
ALL = "all"  # of the architectures
err = Console(stderr=True, emoji=False)
_F = TypeVar("_F", bound=Callable[..., Any])


def tell(error: PinpageError) -> None:
    """A message may quote what anybody has written: nothing in it acts on the terminal."""
    if "--json" in sys.argv:
        out({"error": _as_json(error)})
    first, *rest = map(in_line, error.lines())
    err.print(Text.assemble(("error:", "bold red"), f" {first}"), soft_wrap=True)
    for line in rest:
        err.print(Text(line), soft_wrap=True)


def _as_json(error: PinpageError) -> dict[str, Any]:
    return {
        "kind": type(error).__name__,
        "message": str(error),
        "detail": error.detail,
        "hint": error.hint,
        "log": str(error.log) if error.log else "",
        "exit_code": error.exit_code,
    }


def complete(names: Callable[[], list[str]]) -> Callable[..., list[CompletionItem]]:
    def found(ctx: click.Context, param: click.Parameter, text: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in names() if name.startswith(text)]

    return found


def host_arch() -> str:
    return arch.host().name


KERNEL_OPTION = click.option(
    "--kernel",
    default="6.12",
    show_default=True,
    help="Kernel, as 'pinpage kernels' lists them.",
    shell_complete=complete(lambda: [k.name for k in spec.kernels()]),
)
TREE_OPTION = click.option(
    "--tree",
    metavar="DIR|TARBALL|GIT[@REF]",
    help="Your own tree instead of the kernel's source; it is never written to.",
)
SERIES_OPTION = click.option(
    "--series",
    "series",
    multiple=True,
    default=("fixed",),
    show_default=True,
    metavar="NAME|FILE|DIR|MBOX|GITRANGE",
    help="Patches to apply: none, posted, fixed, or your own; given again, on top of the others.",
    shell_complete=complete(
        lambda: sorted({name for k in spec.kernels() for name in pipeline.series_names(k)})
    ),
)
WITHOUT_OPTION = click.option(
    "--without",
    multiple=True,
    metavar="PATCH",
    help="Leave this patch of the series out; the begin of its name will do.",
)
UPTO_OPTION = click.option(
    "--upto",
    default="",
    metavar="PATCH",
    help="Apply the series up to this patch; the begin of its name will do.",
)
CONFIG_OPTION = click.option(
    "--config",
    "config",
    multiple=True,
    metavar="NAME=VALUE|FILE",
    help="Configure the kernel so, whatever its fragments say; or by the lines of a file.",
)


def _arch_option(*, several: bool) -> Callable[[_F], _F]:
    more = [ALL] if several else []
    return click.option(
        "--arch",
        "arch_name",
        default=host_arch,
        show_default="this machine's",
        help="Architecture of the guest" + (", or 'all': each in turn." if several else "."),
        shell_complete=complete(lambda: [*arch.all_arches(), *more]),
    )


PROFILE_OPTION = click.option(
    "--profile",
    default="fast",
    show_default=True,
    help="What the kernel is built to notice.",
    shell_complete=complete(lambda: [p.name for p in spec.profiles()]),
)
JOBS_OPTION = click.option(
    "--jobs", "-j", type=click.IntRange(1), help="make -j [default: the cores]"
)
TOOLCHAIN_OPTION = click.option(
    "--toolchain",
    default="gcc",
    show_default=True,
    help="gcc, gcc-12, llvm, llvm-15 and so on.",
)
TREE_OPTIONS = (KERNEL_OPTION, TREE_OPTION, SERIES_OPTION, WITHOUT_OPTION, UPTO_OPTION)
_BUILD_OPTIONS = (PROFILE_OPTION, CONFIG_OPTION, JOBS_OPTION, TOOLCHAIN_OPTION)
BUILD_OPTIONS = (_arch_option(several=True), *_BUILD_OPTIONS)
ONE_ARCH_OPTION = _arch_option(several=False)
ONE_BUILD_OPTIONS = (ONE_ARCH_OPTION, *_BUILD_OPTIONS)
GUEST_OPTIONS = (
    click.option(
        "--accel",
        type=click.Choice(["auto", "kvm", "tcg"]),
        default="auto",
        show_default=True,
        help="Accelerator; auto takes KVM only if a guest has run on it.",
    ),
    click.option(
        "--memory",
        type=click.IntRange(128, MOST_MIB),
        default=1024,
        show_default=True,
        metavar="MIB",
        help="The guest's memory.",
    ),
    click.option(
        "--smp",
        type=click.IntRange(1, _MOST_CPUS),
        default=1,
        show_default=True,
        help="The guest's CPUs, where the scenario does not need a number of its own.",
    ),
    click.option(
        "--append",
        multiple=True,
        metavar="WORDS",
        help="Further words on the guest's kernel command line.",
    ),
)
SNAPSHOT_OPTIONS = (
    click.option(
        "--snapshots/--boot-each",
        default=True,
        show_default=True,
        help="Restore each guest from a snapshot of the first that was ready, or boot it.",
    ),
)
MODULE_OPTION = click.option(
    "--module",
    "-m",
    "modules",
    multiple=True,
    metavar="NAME[:PARAM=VALUE]...",
    help="Load a guest module first, ours by name or your own .ko by path; several in this order.",
)
RUN_OPTION = click.option(
    "--run",
    "run_command",
    metavar="COMMAND",
    help="A text for the guest's shell, run before; with 'gdb' once it lets the guest go on.",
)
VERBOSE_OPTION = click.option(
    "--verbose", "-v", is_flag=True, help="Tell of each stage before the guest, on stderr."
)
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
MORE_PATCHES = click.argument("more", nargs=-1, metavar="[FILE]...")


def for_each_arch(function: _F) -> _F:
    """A command that does its work for each architecture where --arch is ``all``.

    Each is done whatever came of those before. The exit code is the first that is neither PASS's
    nor SKIP's, then SKIP's: 0 if all of them passed.
    """

    @functools.wraps(function)
    def command(*args: Any, **options: Any) -> None:
        if options.get("arch_name") != ALL:
            function(*args, **options)
            return
        codes = []
        for name in arch.all_arches():
            err.print(f"[bold]{name}[/]", highlight=False)
            try:
                function(*args, **{**options, "arch_name": name})
                codes.append(0)
            except PinpageError as error:
                tell(error)
                codes.append(error.exit_code)
            except SystemExit as leave:
                codes.append(_code(leave))
                if codes[-1] > 128:
                    raise
        sys.exit(min(codes, key=lambda code: {0: 2, EXIT_CODES[Outcome.SKIP]: 1}.get(code, 0)))

    return cast(_F, command)


def _code(leave: SystemExit) -> int:
    return leave.code if isinstance(leave.code, int) else int(leave.code is not None)


def options_of(*groups: tuple[Callable[[_F], _F], ...]) -> Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate


@dataclass(frozen=True)
class Words:
    """The options of a command as click gives them, before a RunSpec is made."""

    options: dict[str, Any]
    more: tuple[str, ...] = ()

    def spec(self, scenario: str = "", **extra: Any) -> RunSpec:
        given = self.options
        named = click.get_current_context().get_parameter_source("series")
        if self.more and named is click.core.ParameterSource.DEFAULT:
            raise InputError(
                f"there is no --series that {self.more[0]!r} could belong to",
                hint=f"alone: --series {self.more[0]}; on top of ours: --series fixed "
                f"{self.more[0]}",
            )
        return RunSpec(
            scenario=scenario,
            kernel=given["kernel"],
            arch=given.get("arch_name") or host_arch(),
            series=(*given["series"], *self.more),
            without=tuple(given["without"]),
            profile=given.get("profile", "fast"),
            tree=given["tree"],
            jobs=given.get("jobs") or len(os.sched_getaffinity(0)),
            toolchain=given.get("toolchain", "gcc"),
            accel=given.get("accel", "auto"),
            memory_mib=given.get("memory", 1024),
            smp=given.get("smp", 1),
            append=tuple(given.get("append", ())),
            snapshots=given.get("snapshots", True),
            upto=given.get("upto", ""),
            config=kconfig.spelled(given.get("config", ())),
            **{"seed": 0, **extra},
        )


@contextmanager
def progress_shown(*, brief: bool = False) -> Iterator[TerminalProgress]:
    with TerminalProgress(err, brief=brief) as progress:
        yield progress


def out(data: Any) -> None:
    click.echo(json.dumps(data, indent=2))
