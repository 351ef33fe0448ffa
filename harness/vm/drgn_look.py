# SPDX-License-Identifier: GPL-2.0-only
"""A script for drgn: the tasks of a dump, and what the pinner has in it.

Run as ``drgn -c VMCORE -s VMLINUX -s MODULE... FILE``; nothing of the harness's is there. What a
dump says is shown, and never run.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from typing import Any

from drgn import FaultError, Program
from drgn.helpers.linux.idr import idr_for_each_entry
from drgn.helpers.linux.mm import decode_page_flags, page_to_pfn
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import task_state_to_char

_COUNTERS = ("pinned", "callbacks", "migrated", "refused", "verified", "corrupt", "lost")
_TASKS, _OBJECTS = 1000, 20  # shown at most


def text(value: Any) -> str:
    said = str(value.string_().decode("ascii", "backslashreplace"))
    return "".join(each if each.isprintable() else "?" for each in said)


def tasks(prog: Program) -> Iterator[str]:
    yield "   PID S COMM"
    for task in itertools.islice(for_each_task(prog), _TASKS):
        state = task_state_to_char(task)
        yield f"{task.pid.value_():6} {state} {text(task.comm)}"


def pinner(prog: Program) -> Iterator[str]:
    counters = prog["pinner_counters"]
    said = [f"{name} {counters.member_(name).counter.value_()}" for name in _COUNTERS]
    yield f"pinner, mode {text(prog.variable('mode', 'main.c'))}: {', '.join(said)}"
    table = prog.variable("pinner_table", "object.c")
    yield "HANDLE        PFN REFS MOVES FLAGS"
    found = idr_for_each_entry(table.address_of_(), "struct pinner_object")
    for _, each in itertools.islice(found, _OBJECTS):
        page = each.page
        if page:
            refs, where = page._refcount.counter.value_(), page_to_pfn(page).value_()
            flags, moves = decode_page_flags(page) or "none", each.moves.value_()
            yield f"{each.handle.value_():6} {where:10} {refs:4} {moves:5} {flags}"


def main(prog: Program) -> None:
    out = sys.stdout
    out.write(f"Linux {text(prog['init_uts_ns'].name.release)}\n")
    for show in (tasks, pinner):
        try:
            for line in show(prog):
                out.write(line + "\n")
        except KeyError as error:  # no such module is loaded, or symbols of it are not
            out.write(f"({error.args[0]})\n")
        except (FaultError, LookupError, ValueError) as error:
            out.write(f"(no more can be read: {error})\n")


if __name__ == "__main__":
    main(globals()["prog"])
