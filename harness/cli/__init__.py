# SPDX-License-Identifier: GPL-2.0-only
"""The command ``pinpage``: words of the user in, a verdict and an exit code out."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from typing import NoReturn

import click

from harness import __version__, ending
from harness.cli.bisect import bisect
from harness.cli.debug import gdb
from harness.cli.dumping import dump
from harness.cli.experiments import fixes, run
from harness.cli.explain import explain_command
from harness.cli.flake import measure
from harness.cli.guests import boot, shell
from harness.cli.host import completion, doctor_command
from harness.cli.inside import execute, page
from harness.cli.kept import bundle, compare, reproduce
from harness.cli.logs import parse
from harness.cli.options import EXIT_HELP, OWN_CODES, err, tell
from harness.cli.planted import faults
from harness.cli.pull_request import pull_request
from harness.cli.trees import apply, build, fetch, kernels
from harness.errors import InfraError, PinpageError
from harness.model import EXIT_CODES, Outcome

_SENTENCE = 200  # characters
_STOPS_GIT = 128


def main() -> NoReturn:
    """Entry point: every PinpageError becomes its lines on stderr and its exit code."""
    with ending.heeded():
        _main()


def _main() -> NoReturn:
    try:
        cli.main(standalone_mode=False)
    except PinpageError as error:
        tell(error)
        _leave(error.exit_code)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as error:
        error.show()
        _leave(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        err.print("interrupted", style="bold")
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        # The reader of our output went away (a pager, head): nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            traceback.print_exc()
        else:
            named = f" ({error.filename})" if error.filename else ""
            tell(InfraError(f"{error.strerror}{named}", hint="make room, and run it again"))
        _leave(EXIT_CODES[Outcome.INFRA])
    except Exception:  # noqa: BLE001 - a fault of ours: Python's status for it reads as FAIL
        traceback.print_exc()
        _leave(EXIT_CODES[Outcome.INFRA])
    sys.exit(0)


def _leave(code: int) -> NoReturn:
    """End before the command has one of its own: apart from a guest's codes where it has those,
    and so that git, where it reads them (``run --bisect-exit``), takes it for no verdict."""
    words = sys.argv[1:]
    if next(iter(words), "") == execute.name:
        sys.exit(OWN_CODES + code)
    sys.exit(_STOPS_GIT if "--bisect-exit" in words else code)


class _Commands(click.Group):
    """Says of each command the whole first sentence: click would cut it at the line's end."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, self.commands[name].get_short_help_str(_SENTENCE))
                    for name in self.list_commands(ctx)
                ]
            )


@click.group(
    cls=_Commands, epilog=EXIT_HELP, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="pinpage")
def cli() -> None:
    """Boot real kernels and say, from their own evidence, which pages migrated and why not.

    \b
    Example:
      pinpage run compaction
    """


for _each in (
    apply,
    bisect,
    boot,
    build,
    bundle,
    compare,
    completion,
    doctor_command,
    dump,
    execute,
    explain_command,
    faults,
    fetch,
    fixes,
    gdb,
    kernels,
    page,
    parse,
    pull_request,
    reproduce,
    run,
    shell,
):
    cli.add_command(_each)
cli.add_command(measure, "flake")
