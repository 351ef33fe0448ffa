# SPDX-License-Identifier: GPL-2.0-only
"""``doctor`` and ``completion``: the machine that it runs on."""

from __future__ import annotations

import sys

import click
from click.shell_completion import get_completion_class
from rich.console import Console

from harness import doctor, resources
from harness.cli.options import JSON_OPTION, out, progress_shown
from harness.errors import InputError
from harness.model import EXIT_CODES, Outcome


@click.command(name="doctor")
@JSON_OPTION
def doctor_command(as_json: bool) -> None:
    """Check what this machine has of each need, and how to get the rest.

    The accelerator is probed by running a tiny guest on it. Ends with 9 (INFRA) if a need
    that nothing can do without is missing.

    \b
    Example:
      pinpage doctor
    """
    with progress_shown() as progress:
        needs = doctor.examine(resources.cache(), progress)
    if as_json:
        out([need.as_json() for need in needs])
    else:
        Console(emoji=False).print(doctor.table(needs))
    if any(need.required and not need.found for need in needs):
        sys.exit(EXIT_CODES[Outcome.INFRA])


@click.command()
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
    click.echo(
        kind(
            click.get_current_context().find_root().command, {}, "pinpage", "_PINPAGE_COMPLETE"
        ).source()
    )
