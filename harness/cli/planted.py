# SPDX-License-Identifier: GPL-2.0-only
"""``faults``: bugs planted on purpose, and what catches each of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import click
from rich.console import Console

from harness import judges, resources, scenario, spec
from harness.cli.options import (
    ALL,
    EXIT_HELP,
    GUEST_OPTIONS,
    JOBS_OPTION,
    JSON_OPTION,
    KERNEL_OPTION,
    ONE_ARCH_OPTION,
    SERIES_OPTION,
    SNAPSHOT_OPTIONS,
    TOOLCHAIN_OPTION,
    TREE_OPTION,
    Words,
    complete,
    options_of,
    out,
    progress_shown,
)
from harness.errors import InputError
from harness.faults import catalogue, store
from harness.faults.matrix import Matrix, Row
from harness.faults.runs import Runs
from harness.model import EXIT_CODES, Outcome, Silent
from harness.report import seeded

_SEED = 7


@click.command(epilog=EXIT_HELP)
@click.argument(
    "names",
    nargs=-1,
    metavar="[NAME]...",
    shell_complete=complete(lambda: [fault.name for fault in catalogue.load("6.12")]),
)
@options_of(
    (KERNEL_OPTION, TREE_OPTION, SERIES_OPTION, ONE_ARCH_OPTION, JOBS_OPTION, TOOLCHAIN_OPTION),
    GUEST_OPTIONS,
    SNAPSHOT_OPTIONS,
)
@click.option("--profile", "profiles", multiple=True, help="Try with these profiles only.")
@click.option("--scenario", "scenarios", multiple=True, help="Try these scenarios only.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=_SEED, show_default=True)
@click.option(
    "--side-by-side", type=click.IntRange(1), default=1, show_default=True, help="Faults at a time."
)
@click.option("--again", is_flag=True, help="Try again what has been tried.")
@click.option("--list", "listed", is_flag=True, help="Show the catalogue, and try nothing.")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@JSON_OPTION
def faults(
    names: tuple[str, ...],
    profiles: tuple[str, ...],
    scenarios: tuple[str, ...],
    seed: int,
    side_by_side: int,
    again: bool,
    listed: bool,
    markdown: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Plant one bug after another in the series or its owner, and see what catches it.

    NAME is a part of a fault's name; without any, all of them are tried. The series has to pass
    each scenario without them; then each fault is built and run, from its cheapest scenario on,
    until a verdict is FAIL, CRASH, HANG, INCONSISTENT, or LOST twice. What has been tried is
    remembered. Ends with PASS (0) if every fault is caught, or changes nothing that could be seen
    for a reason that it gives.

    \b
    Examples:
      pinpage faults
      pinpage faults --kernel 3.11 copy --profile fast
    """
    chosen = _narrowed(catalogue.load(options["kernel"], names), profiles, scenarios)
    if listed:
        _show([_row(Row(fault)) for fault in chosen], as_json)
        return
    if options["arch_name"] == ALL:
        raise InputError("faults are tried on one architecture at a time: name one with --arch")
    top = resources.state() / "faults"
    words = Words({**options, "without": ()}).spec("", seed=seed, keep=top / "runs")
    with progress_shown() as progress:
        matrix = Matrix(Runs(words, progress), top / "records", judges.code(), again)
        quiet = matrix if side_by_side == 1 else replace(matrix, runner=Runs(words, Silent()))
        rows = []
        for row in quiet.examine(chosen, side_by_side):
            rows.append(row)
            by = f" by {row.caught.scenario} {row.caught.profile}" if row.caught else ""
            progress.note(f"{len(rows)} of {len(chosen)}: {row.fault.name} is {row.state}{by}")
    rows.sort(key=lambda row: chosen.index(row.fault))
    answer = [_row(row) for row in rows]
    found = (each for row in rows for each in row.base)
    base = {(each.scenario, each.profile, each.settings): each for each in found}
    tried = [_tried(each) for each in base.values()]
    if as_json:
        out({"baseline": tried, "faults": answer})
    elif markdown:
        click.echo(seeded.markdown(answer))
    else:
        console = Console(markup=False, emoji=False)
        console.print(seeded.baseline(tried), seeded.faults(answer))
    sys.exit(EXIT_CODES[_outcome(rows)])


def _narrowed(
    found: Sequence[catalogue.Fault], profiles: Sequence[str], scenarios: Sequence[str]
) -> list[catalogue.Fault]:
    """The faults with those of their tries that are wanted; those without any are left out."""
    for profile in profiles:
        spec.load_profile(profile)
    for name in scenarios:
        scenario.get(name)
    kept = []
    for fault in found:
        tries = tuple(
            how
            for how in fault.tries
            if (not profiles or how.profile in profiles)
            and (not scenarios or how.scenario in scenarios)
        )
        if tries:
            kept.append(replace(fault, tries=tries))
    if not kept:
        there = sorted({f"{how.scenario} {how.profile}" for fault in found for how in fault.tries})
        raise InputError(
            "none of these seeded faults is tried in that way",
            hint=f"they are tried with (scenario, profile): {', '.join(there)}",
        )
    return kept


def _outcome(rows: Sequence[Row]) -> Outcome:
    if all(row.good for row in rows):
        return Outcome.PASS
    missed = any(row.state != "untold" and not row.good for row in rows)
    return Outcome.FAIL if missed else Outcome.INFRA


def _row(row: Row) -> dict[str, Any]:
    fault = row.fault
    return {
        "name": fault.name,
        "title": fault.title,
        "patch": str(fault.path),
        "in": "guest modules" if fault.modules else "kernel",
        "tries": [str(how) for how in fault.tries],
        "equivalent": fault.equivalent,
        "state": row.state,
        "caught": row.caught is not None,
        "error": row.error,
        "tried": [_tried(each) for each in row.tried],
    }


def _tried(each: store.Tried) -> dict[str, Any]:
    return {**asdict(each), "outcome": each.outcome.value}


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        out(rows)
        return
    for row in rows:
        click.echo(f"{row['name']}  {row['title']}\n    {', '.join(row['tries'])}")
