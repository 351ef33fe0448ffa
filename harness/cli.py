# SPDX-License-Identifier: GPL-2.0-only
"""The command ``pinpage``: words of the user in, a verdict and an exit code out."""

from __future__ import annotations

import bz2
import functools
import gzip
import json
import lzma
import os
import secrets
import shlex
import signal
import sys
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader, RawIOBase, TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar, cast

import click
from click.shell_completion import CompletionItem, get_completion_class
from rich.console import Console
from rich.markup import escape

from harness import __version__, arch, doctor, pipeline, report, resources, scenario, spec
from harness.errors import BuildError, InputError, PinpageError
from harness.model import EXIT_CODES, BuildArtifacts, Outcome, RunSpec
from harness.parse import splat
from harness.terminal import TerminalProgress
from harness.vm import console as vm_console
from harness.vm.machine import Machine

EXIT_HELP = """\b
Exit codes: 0 PASS, 1 FAIL, 2 bad usage or input, 3 CRASH, 4 HANG, 5 LOST,
6 INCONSISTENT, 7 a patch does not apply, 8 build failed, 9 INFRA, 10 SKIP
(nothing could run), 130 and 143 interrupted. 0 means PASS and nothing else."""

_ALL = "all"  # of the architectures
_err = Console(stderr=True)
_F = TypeVar("_F", bound=Callable[..., Any])


def main() -> NoReturn:
    """Entry point: every PinpageError becomes its lines on stderr and its exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminated)
    try:
        cli.main(standalone_mode=False)
    except PinpageError as error:
        _tell(error)
        sys.exit(error.exit_code)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _err.print("interrupted", style="bold")
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        # The reader of our output went away (a pager, head): nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except Exception:  # noqa: BLE001 - a fault of ours: Python's status for it reads as FAIL
        traceback.print_exc()
        sys.exit(EXIT_CODES[Outcome.INFRA])
    sys.exit(0)


def _tell(error: PinpageError) -> None:
    if "--json" in sys.argv:
        _out({"error": _as_json(error)})
    first, *rest = error.lines()
    _err.print(f"[bold red]error:[/] {escape(first)}", highlight=False, soft_wrap=True)
    for line in rest:
        _err.print(escape(line), highlight=False, soft_wrap=True)


def _as_json(error: PinpageError) -> dict[str, Any]:
    return {
        "kind": type(error).__name__,
        "message": str(error),
        "detail": error.detail,
        "hint": error.hint,
        "log": str(error.log) if error.log else "",
        "exit_code": error.exit_code,
    }


def _terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM and SIGHUP unwind like an interruption, so that no guest outlives us."""
    raise SystemExit(128 + number)


# ---------------------------------------------------------------------------------------------
# Options that several commands share
# ---------------------------------------------------------------------------------------------


def _complete(names: Callable[[], list[str]]) -> Callable[..., list[CompletionItem]]:
    def found(ctx: click.Context, param: click.Parameter, text: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in names() if name.startswith(text)]

    return found


def _host_arch() -> str:
    return arch.host().name


TREE_OPTIONS = (
    click.option(
        "--kernel",
        default="6.12",
        show_default=True,
        help="Kernel, as 'pinpage kernels' lists them.",
        shell_complete=_complete(lambda: [k.name for k in spec.kernels()]),
    ),
    click.option(
        "--tree",
        metavar="DIR|TARBALL|GIT[@REF]",
        help="Your own tree instead of the kernel's source; it is never written to.",
    ),
    click.option(
        "--series",
        "series",
        multiple=True,
        default=("fixed",),
        show_default=True,
        metavar="NAME|FILE...|DIR|MBOX|GITRANGE",
        help="Patches to apply: none, posted, fixed, or your own; several go one on the other.",
        shell_complete=_complete(
            lambda: sorted({name for k in spec.kernels() for name in pipeline.series_names(k)})
        ),
    ),
    click.option(
        "--without",
        multiple=True,
        metavar="PATCH",
        help="Leave this patch of the series out; the begin of its name will do.",
    ),
)
BUILD_OPTIONS = (
    click.option(
        "--arch",
        "arch_name",
        default=_host_arch,
        show_default="this machine's",
        help="Architecture of the guest, or 'all': each in turn.",
        shell_complete=_complete(lambda: [*arch.all_arches(), _ALL]),
    ),
    click.option(
        "--profile",
        default="fast",
        show_default=True,
        help="What the kernel is built to notice.",
        shell_complete=_complete(lambda: [p.name for p in spec.profiles()]),
    ),
    click.option("--jobs", "-j", type=click.IntRange(1), help="make -j [default: the cores]"),
    click.option(
        "--toolchain",
        default="gcc",
        show_default=True,
        help="gcc, gcc-12, llvm, llvm-15 and so on.",
    ),
)
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
        type=click.IntRange(128),
        default=1024,
        show_default=True,
        metavar="MIB",
        help="The guest's memory.",
    ),
    click.option(
        "--smp", type=click.IntRange(1), default=1, show_default=True, help="The guest's CPUs."
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
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
MORE_PATCHES = click.argument("more", nargs=-1, metavar="[FILE]...")


def _for_each_arch(function: _F) -> _F:
    """A command that does its work for each architecture where --arch is ``all``.

    Each is done whatever came of those before. The exit code is the first that is neither PASS's
    nor SKIP's, then SKIP's: 0 if all of them passed.
    """

    @functools.wraps(function)
    def command(*args: Any, **options: Any) -> None:
        if options.get("arch_name") != _ALL:
            function(*args, **options)
            return
        codes = []
        for name in arch.all_arches():
            _err.print(f"[bold]{name}[/]", highlight=False)
            try:
                function(*args, **{**options, "arch_name": name})
                codes.append(0)
            except PinpageError as error:
                _tell(error)
                codes.append(error.exit_code)
            except SystemExit as leave:
                codes.append(_code(leave))
                if codes[-1] > 128:
                    raise
        sys.exit(min(codes, key=lambda code: {0: 2, EXIT_CODES[Outcome.SKIP]: 1}.get(code, 0)))

    return cast(_F, command)


def _code(leave: SystemExit) -> int:
    return leave.code if isinstance(leave.code, int) else int(leave.code is not None)


def _options(*groups: tuple[Callable[[_F], _F], ...]) -> Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate


@dataclass(frozen=True)
class _Words:
    """The options of a command as click gives them, before a RunSpec is made."""

    options: dict[str, Any]
    more: tuple[str, ...] = ()

    def spec(self, scenario_name: str = "", **extra: Any) -> RunSpec:
        given = self.options
        named = click.get_current_context().get_parameter_source("series")
        if self.more and named is click.core.ParameterSource.DEFAULT:
            raise InputError(
                f"there is no --series that {self.more[0]!r} could belong to",
                hint=f"alone: --series {self.more[0]}; on top of ours: --series fixed "
                f"{self.more[0]}",
            )
        return RunSpec(
            scenario=scenario_name,
            kernel=given["kernel"],
            arch=given.get("arch_name") or _host_arch(),
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
            **{"seed": 0, **extra},
        )


@contextmanager
def _progress() -> Iterator[TerminalProgress]:
    with TerminalProgress(_err) as progress:
        yield progress


def _out(data: Any) -> None:
    click.echo(json.dumps(data, indent=2))


# ---------------------------------------------------------------------------------------------
# Commands
# ---------------------------------------------------------------------------------------------


@click.group(epilog=EXIT_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pinpage")
def cli() -> None:
    """Boot real kernels and say, from their own evidence, which pages migrated and why not.

    \b
    Example:
      pinpage run compaction
    """


class _Run(click.Command):
    """``run`` also lists what there is to run."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for name in scenario.names():
            plan = scenario.get(name)
            with formatter.section(f"Scenario {name}: {plan.summary}"):
                formatter.write_dl(
                    [
                        (f"--set {key}={param.default}", f"{param.help} [{param.range}]")
                        for key, param in plan.PARAMS.items()
                    ]
                )
        with formatter.section("Profiles"):
            formatter.write_dl([(each.name, each.summary) for each in spec.profiles()])
        super().format_epilog(ctx, formatter)


@cli.command(cls=_Run, epilog=EXIT_HELP)
@click.argument(
    "words",
    nargs=-1,
    metavar="SCENARIO [FILE]...",
    shell_complete=_complete(lambda: list(scenario.names())),
)
@_options(TREE_OPTIONS, BUILD_OPTIONS, GUEST_OPTIONS, SNAPSHOT_OPTIONS)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed [default: a new one]")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the run's folder under this one instead of the state folder's runs/.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the scenario, as listed below.",
)
@JSON_OPTION
@_for_each_arch
def run(
    words: tuple[str, ...],
    seed: int | None,
    keep: Path | None,
    settings: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Build, boot and drive SCENARIO, and give a verdict.

    The series is applied to the kernel, which is built with the guest modules and booted once
    for each arm of the experiment. The run's folder keeps the evidence.

    \b
    Examples:
      pinpage run compaction
      pinpage run compaction --series none
      pinpage run compaction --series fixed my.patch
      pinpage run compaction --tree ~/linux@v6.12 --series 000*.patch --json
      pinpage run memory_hotplug --arch all
    """
    known = scenario.names()
    chosen = [word for word in words if word in known]
    if not chosen:
        raise InputError(
            "no scenario is named" if not words else f"{words[0]!r} is no scenario",
            hint=f"scenarios: {', '.join(known)}; for example: pinpage run {known[0]}",
        )
    name = chosen[0]
    more = list(words)
    more.remove(name)
    wanted = _Words(options, tuple(more)).spec(
        name,
        seed=secrets.randbelow(2**32) if seed is None else seed,
        keep=keep.absolute() if keep is not None else None,
        params=scenario.params(name, settings),
    )
    with _progress() as progress:
        record, folder = pipeline.run(wanted, progress)
    if as_json:
        click.echo((folder / "run.json").read_text(), nl=False)
    else:
        console = Console()
        console.print(report.terminal(record, console.width))
        click.echo(f"run: {folder}")
    sys.exit(record.exit_code)


@cli.command()
@_options(TREE_OPTIONS, BUILD_OPTIONS, GUEST_OPTIONS, SNAPSHOT_OPTIONS)
@JSON_OPTION
@_for_each_arch
def fixes(as_json: bool, **options: Any) -> None:
    """Leave each fix of the series out in turn, and see whether its defect shows again.

    A kernel is built and booted for each of them. Ends with PASS (0) if every defect shows.

    \b
    Example:
      pinpage fixes --kernel 6.12 --series fixed
    """
    rows: list[dict[str, Any]] = []
    words = _Words(options).spec("defects")
    with _progress() as progress:
        for defect, patch, record in pipeline.left_out(words, progress):
            found = next(iter(record.verdict.findings), None)
            shown = found.shown if found is not None else None
            said = found.evidence if found is not None else record.verdict.reason
            rows.append({"defect": defect, "patch": patch, "shown": shown, "evidence": said})
    if as_json:
        _out(rows)
    else:
        Console().print(report.fixes(rows))
    silent = [row["defect"] for row in rows if row["shown"] is False]
    unknown = [row["defect"] for row in rows if row["shown"] is None]
    outcome = Outcome.FAIL if silent else Outcome.INFRA if unknown else Outcome.PASS
    if not as_json:
        click.echo(f"\n{outcome.value}  {_fixes_sentence(len(rows), silent, unknown)}")
    sys.exit(EXIT_CODES[outcome])


def _fixes_sentence(rows: int, silent: list[str], unknown: list[str]) -> str:
    said = f"{rows - len(silent) - len(unknown)} of {rows} defects are back without their fix"
    if silent:
        said += f"; still not to be seen: {', '.join(silent)}"
    if unknown:
        said += f"; could not be told: {', '.join(unknown)}"
    return said


@cli.command()
@_options(TREE_OPTIONS)
@JSON_OPTION
def fetch(as_json: bool, **options: Any) -> None:
    """Get a kernel's source into the cache and print where it is.

    \b
    Example:
      pinpage fetch --kernel 6.12
    """
    chosen = pipeline.choose(_Words(options).spec())
    with _progress() as progress:
        tree = pipeline.fetch(chosen, progress)
    if as_json:
        _out(
            {
                "path": str(tree.path),
                "digest": tree.digest,
                "version": tree.version,
                "origin": tree.origin,
            }
        )
    else:
        click.echo(f"{tree.path}\n  version {tree.version}, {tree.digest}\n  from {tree.origin}")


@cli.command()
@_options(TREE_OPTIONS)
@MORE_PATCHES
@JSON_OPTION
def apply(more: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Apply a series to a copy of the kernel's tree, or show which hunk does not fit.

    \b
    Example:
      pinpage apply --series my/*.patch --tree ~/linux
    """
    chosen = pipeline.choose(_Words(options, more).spec())
    with _progress() as progress:
        patched = pipeline.apply(chosen, pipeline.fetch(chosen, progress), progress)
    if as_json:
        _out(
            {
                "series": patched.series.name,
                "patches": [p.name for p in patched.series.patches],
                "touched": {path: list(names) for path, names in patched.touched_by.items()},
                "digest": patched.digest,
            }
        )
        return
    for patch in patched.series.patches:
        click.echo(f"applied {patch.name}: {patch.subject}")
    click.echo(
        f"{_count(len(patched.series.patches), 'patch', 'patches')} on {patched.source.origin}, "
        f"{_count(len(patched.changed), 'file')} changed"
    )


def _count(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"


def _built(words: RunSpec, progress: TerminalProgress) -> BuildArtifacts:
    chosen = pipeline.choose(words)
    patched = pipeline.apply(chosen, pipeline.fetch(chosen, progress), progress)
    return pipeline.build(chosen, patched, progress)


@cli.command()
@_options(TREE_OPTIONS, BUILD_OPTIONS)
@click.option("--each", is_flag=True, help="Build after each patch, to see that each step builds.")
@MORE_PATCHES
@JSON_OPTION
@_for_each_arch
def build(more: tuple[str, ...], each: bool, as_json: bool, **options: Any) -> None:
    """Build the kernel and the guest modules, and print where they are.

    \b
    Examples:
      pinpage build --series posted --toolchain gcc-12
      pinpage build --series my/*.patch --each
    """
    words = _Words(options, more).spec()
    if each:
        _build_each(words, as_json)
        return
    with _progress() as progress:
        built = _built(words, progress)
    facts = {
        "image": str(built.image),
        "vmlinux": str(built.vmlinux),
        "config": str(built.config),
        "modules": {name: str(path) for name, path in built.modules.items()},
        "release": built.release,
        "toolchain": built.toolchain.version,
        "key": built.key,
        "cached": built.cached,
        "seconds": round(built.seconds, 1),
        "cpu_seconds": round(built.cpu_seconds, 1),
    }
    if as_json:
        _out(facts)
        return
    for key, value in facts.items():
        click.echo(f"{key:<12} {json.dumps(value) if isinstance(value, dict) else value}")


def _build_each(words: RunSpec, as_json: bool) -> None:
    """Build step by step; the first that does not build ends it, with its error."""
    chosen = pipeline.choose(words)
    done: list[dict[str, str]] = []
    with _progress() as progress:
        tree = pipeline.fetch(chosen, progress)
        for patched in pipeline.steps(chosen, tree, progress):
            name = patched.series.patches[-1].name
            try:
                built = pipeline.build(chosen, patched, progress)
            except BuildError:
                progress.note(f"does not build after {name}")
                raise
            progress.note(f"builds after {name}")
            done.append({"patch": name, "key": built.key})
    if as_json:
        _out(done)
    else:
        click.echo(f"each of {_count(len(done), 'step')} builds")


@contextmanager
def _guest(words: RunSpec, folder: Path) -> Iterator[Machine]:
    with _progress() as progress:
        built = _built(words, progress)
        ready = pipeline.bootable(pipeline.choose(words), built, progress)
        progress.stage("boot")
        context = pipeline.boot(ready, folder, progress)
        guest = context.__enter__()
    try:
        yield guest
    finally:
        context.__exit__(*sys.exc_info())


def _shell_text(words: tuple[str, ...]) -> str:
    """One word is text for the guest's shell; several are a command and its arguments."""
    return words[0] if len(words) == 1 else shlex.join(words)


def _boots() -> Path:
    folder = resources.state() / "boots" / secrets.token_hex(4)
    folder.mkdir(parents=True)
    return folder


@cli.command(context_settings={"allow_interspersed_args": False})
@_options(TREE_OPTIONS, BUILD_OPTIONS, GUEST_OPTIONS)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@_for_each_arch
def boot(command: tuple[str, ...], **options: Any) -> None:
    """Build and boot the kernel, run COMMAND in the guest if one is given, and power off.

    Ends with PASS (0) if the guest got ready, COMMAND exited 0 and the console shows no splat.
    A COMMAND of one word is a text for the guest's shell.

    \b
    Examples:
      pinpage boot --series none -- cat /proc/version
      pinpage boot --series none -- 'grep compact /proc/vmstat | sort'
    """
    folder = _boots()
    status = 0
    words = replace(_Words(options).spec(), snapshots=False)  # whether it boots is the question
    with _guest(words, folder) as guest:
        if command:
            result = guest.run(_shell_text(command), timeout=300)
            sys.stdout.buffer.write(result.stdout)
            sys.stdout.flush()
            sys.stderr.buffer.write(result.stderr)
            status = 0 if result.status == 0 else EXIT_CODES[Outcome.FAIL]
            if status:
                _err.print(f"the command ended with status {result.status}", highlight=False)
        else:
            click.echo(guest.must("cat /proc/version").strip())
        splats = list(splat.find(guest.console_text().splitlines()))
    for each in splats:
        _err.print(f"[bold red]{each.kind}[/] {escape(each.title)}", highlight=False)
    _err.print(f"console: {folder / 'console.log'}", highlight=False, soft_wrap=True)
    sys.exit(EXIT_CODES[Outcome.CRASH] if splats else status)


@cli.command()
@_options(TREE_OPTIONS, BUILD_OPTIONS, GUEST_OPTIONS, SNAPSHOT_OPTIONS)
def shell(**options: Any) -> None:
    """Build and boot the kernel, and put you on the guest's serial console.

    Ctrl-] leaves and powers the guest off. The guest modules are in /modules.

    \b
    Example:
      pinpage shell --series fixed
    """
    if options["arch_name"] == _ALL:
        raise InputError("a shell is on one guest", hint="name one architecture with --arch")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError(
            "a shell needs a terminal on stdin and stdout",
            hint="for a script there is: pinpage boot -- COMMAND",
        )
    folder = _boots()
    with _guest(_Words(options).spec(), folder) as guest:
        vm_console.interact(guest)
    _err.print(f"console: {folder / 'console.log'}", highlight=False, soft_wrap=True)


@cli.command()
@JSON_OPTION
def kernels(as_json: bool) -> None:
    """List the kernels: their series, architectures, sources and what each cannot do.

    \b
    Example:
      pinpage kernels --json
    """
    rows = []
    for kernel in spec.kernels():
        rows.append(
            {
                "name": kernel.name,
                "version": kernel.version,
                "arches": list(kernel.arches),
                "series": pipeline.series_names(kernel),
                "sources": [f"{s.kind} {s.location}" for s in kernel.sources],
                "cannot": dict(kernel.cannot),
                "note": kernel.note,
            }
        )
    if as_json:
        _out(rows)
        return
    for row in rows:
        click.echo(f"{row['name']}  (version {row['version']})")
        for key in ("arches", "series", "sources"):
            click.echo(f"  {key:<8} {', '.join(str(item) for item in row[key])}")
        for what, why in kernel_cannot(row):
            click.echo(f"  cannot   {what}: {why}")


def kernel_cannot(row: dict[str, Any]) -> list[tuple[str, str]]:
    """(capability, reason) pairs of a row of ``pinpage kernels``."""
    return list(row["cannot"].items())


@cli.command(name="doctor")
@JSON_OPTION
def doctor_command(as_json: bool) -> None:
    """Check what this machine has of each need, and how to get the rest.

    The accelerator is probed by running a tiny guest on it. Ends with 9 (INFRA) if a need
    that nothing can do without is missing.

    \b
    Example:
      pinpage doctor
    """
    with _progress() as progress:
        needs = doctor.examine(resources.cache(), progress)
    if as_json:
        _out([need.as_json() for need in needs])
    else:
        Console().print(doctor.table(needs))
    if any(need.required and not need.found for need in needs):
        sys.exit(EXIT_CODES[Outcome.INFRA])


_UNPACKERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\0": lzma.open,
    b"BZh": bz2.open,
}
_BINARY = {b"\x28\xb5\x2f\xfd": "zstd data", b"\x7fELF": "a program", b"PK\3\4": "a zip archive"}


@contextmanager
def _log_lines(log: str) -> Iterator[TextIOWrapper]:
    """The lines of a log, also of a compressed one; InputError for what is no text."""
    with click.open_file(log, "rb") as opened:
        file = BufferedReader(cast(RawIOBase, opened))
        head = file.peek(8)[:8]
        for magic, what in _BINARY.items():
            if head.startswith(magic):
                raise InputError(f"{log} is {what}, not a log", hint="unpack it first")
        unpack = next((to for magic, to in _UNPACKERS.items() if head.startswith(magic)), None)
        data = file if unpack is None else unpack(file)
        yield TextIOWrapper(data, encoding="utf-8", errors="replace")


@cli.command()
@click.argument("log", type=click.Path(allow_dash=True))
@JSON_OPTION
def parse(log: str, as_json: bool) -> None:
    """Find the kernel's reports (splats) in any console LOG; '-' reads standard input.

    A LOG may be compressed by gzip, xz or bzip2.

    Prints the title of each on a line. Ends with 3 (CRASH) if there is one, with 0 if none.

    \b
    Example:
      dmesg | pinpage parse - --json
    """
    read = 0

    def counted(lines: Iterable[str]) -> Iterator[str]:
        nonlocal read
        for read, line in enumerate(lines, 1):  # noqa: B007 - the count is what is wanted
            yield line

    try:
        with _log_lines(log) as lines:
            splats = list(splat.find(counted(lines)))
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        why = (isinstance(error, OSError) and error.strerror) or error
        raise InputError(f"{log} cannot be read: {why}") from error
    if not read:
        raise InputError(f"{log} is empty", hint="an empty log says nothing about a kernel")
    if as_json:
        _out(splat.to_json(splats))
    else:
        for each in splats:
            click.echo(each.title)
    if not splats:
        click.echo(f"no splats in {read} lines", err=True)
    else:
        sys.exit(EXIT_CODES[Outcome.CRASH])


@cli.command()
@click.argument("name", type=click.Choice(["bash", "zsh", "fish"]), metavar="bash|zsh|fish")
def completion(name: str) -> None:
    """Print the completion script of a shell.

    \b
    Example:
      pinpage completion bash >> ~/.bashrc
    """
    kind = get_completion_class(name)
    if kind is None:
        raise InputError(f"click knows no completion for {name}")
    click.echo(kind(cli, {}, "pinpage", "_PINPAGE_COMPLETE").source())


if __name__ == "__main__":
    main()
