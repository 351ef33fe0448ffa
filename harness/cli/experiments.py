# SPDX-License-Identifier: GPL-2.0-only
"""``run`` and ``fixes``: experiments, and their verdicts."""

from __future__ import annotations

import secrets
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from harness import pipeline, report, resources, scenario, spec
from harness.cli.holding import Holder
from harness.cli.options import (
    BUILD_OPTIONS,
    EXIT_HELP,
    GUEST_OPTIONS,
    JSON_OPTION,
    KERNEL_OPTION,
    SERIES_OPTION,
    SNAPSHOT_OPTIONS,
    TREE_OPTION,
    TREE_OPTIONS,
    Words,
    complete,
    for_each_arch,
    options_of,
    out,
    progress_shown,
    tell,
)
from harness.errors import InputError, PinpageError
from harness.finding import Stop
from harness.model import CAUGHT, EXIT_CODES, Outcome


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


@click.command(cls=_Run, epilog=EXIT_HELP)
@click.argument(
    "words",
    nargs=-1,
    metavar="SCENARIO|YAML [FILE]...",
    shell_complete=complete(lambda: list(scenario.names())),
)
@options_of(TREE_OPTIONS, BUILD_OPTIONS, GUEST_OPTIONS, SNAPSHOT_OPTIONS)
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
@click.option(
    "--bisect-exit",
    is_flag=True,
    help="End as 'git bisect run' wants it: 0 good, 1 bad, 125 cannot be tried, 128 stop.",
)
@click.option(
    "--stop-on",
    type=click.Choice([each.value for each in Stop]),
    help="Hold the run where the kernel reported something, or pages stayed (in the treated arm) "
    "or migrated, and put you on a shell of the guest.",
)
@click.option(
    "--hold",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="With --stop-on: for so long, without a shell [default: until you leave it; without a "
    "terminal, until stdin closes or SIGINT]",
)
@JSON_OPTION
@for_each_arch
def run(
    words: tuple[str, ...],
    seed: int | None,
    keep: Path | None,
    settings: tuple[str, ...],
    bisect_exit: bool,
    stop_on: str | None,
    hold: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Build, boot and drive SCENARIO, or the one in a YAML of your own, and give a verdict.

    The series is applied to the kernel, which is built with the guest modules and booted once
    for each arm of the experiment. The run's folder keeps the evidence.

    \b
    Examples:
      pinpage run compaction
      pinpage run compaction --series none
      pinpage run compaction --series fixed my.patch
      pinpage run compaction --tree ~/linux@v6.12 --series 000*.patch --json
      pinpage run memory_hotplug --arch all
      pinpage run mine.yaml --set pages=2000
      pinpage run compaction --stop-on stayed
    """
    with _exits_of_git() if bisect_exit else nullcontext():
        _run(words, seed, keep, settings, (stop_on, hold), as_json, options)


@contextmanager
def _exits_of_git() -> Iterator[None]:
    """Exit codes as git-bisect(1) reads them of what it runs."""
    try:
        yield
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 1
        known = {EXIT_CODES[outcome]: outcome for outcome in Outcome}
        if code in known:
            passed = 0 if known[code] is Outcome.PASS else 125
            # A machine that is lost may be the host's doing: git would not ask again.
            sys.exit(1 if known[code] in CAUGHT - {Outcome.LOST} else passed)
        raise
    except PinpageError as error:
        tell(error)
        sys.exit(128 if isinstance(error, InputError) else 125)
    except Exception:  # noqa: BLE001 - a fault of ours: git would take Python's status for bad
        traceback.print_exc()
        sys.exit(128)


def _run(
    words: tuple[str, ...],
    seed: int | None,
    keep: Path | None,
    settings: tuple[str, ...],
    held: tuple[str | None, float | None],
    as_json: bool,
    options: dict[str, Any],
) -> None:
    """held: what --stop-on and --hold say."""
    known, (stop_on, hold) = scenario.names(), held
    chosen = [word for word in words if scenario.is_one(word)]
    if not chosen:
        raise InputError(
            "no scenario is named" if not words else f"{words[0]!r} is no scenario",
            hint=f"scenarios: {', '.join(known)}; for example: pinpage run {known[0]}",
        )
    name = chosen[0]
    more = list(words)
    more.remove(name)
    wanted = Words(options, tuple(more)).spec(
        **scenario.named(name),
        seed=secrets.randbelow(2**32) if seed is None else seed,
        keep=resources.path(keep).absolute() if keep is not None else None,
        params=scenario.params(name, settings),
    )
    if hold is not None and stop_on is None:
        raise InputError("--hold is for a run that is stopped", hint="say at what: --stop-on")
    with progress_shown() as progress:
        if stop_on is None:
            record, folder = pipeline.run(wanted, progress)
        else:
            holder = Holder(Stop(stop_on), hold, progress)
            record, folder = pipeline.run(wanted, progress, look=holder)
            if not holder.held:
                progress.note(f"it was not held: nothing for --stop-on {stop_on}")
    if as_json:
        click.echo((folder / "run.json").read_text(), nl=False)
    else:
        console = Console(markup=False, emoji=False)
        console.print(report.terminal(record, console.width))
        click.echo(f"run: {folder}")
    sys.exit(record.exit_code)


@click.command()
@options_of(
    (KERNEL_OPTION, TREE_OPTION, SERIES_OPTION), BUILD_OPTIONS, GUEST_OPTIONS, SNAPSHOT_OPTIONS
)
@JSON_OPTION
@for_each_arch
def fixes(as_json: bool, **options: Any) -> None:
    """Leave each fix of the series out in turn, and see whether its defect shows again.

    A kernel is built and booted for each of them. Ends with PASS (0) if every defect shows.

    \b
    Example:
      pinpage fixes --kernel 6.12 --series fixed
    """
    rows: list[dict[str, Any]] = []
    words = Words({**options, "without": ()}).spec("defects")
    with progress_shown() as progress:
        for defect, patch, record in pipeline.left_out(words, progress):
            found = next(iter(record.verdict.findings), None)
            shown = found.shown if found is not None else None
            said = found.evidence if found is not None else record.verdict.reason
            rows.append({"defect": defect, "patch": patch, "shown": shown, "evidence": said})
    if as_json:
        out(rows)
    else:
        Console(markup=False, emoji=False).print(report.fixes(rows))
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
