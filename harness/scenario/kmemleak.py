# SPDX-License-Identifier: GPL-2.0-only
"""Asks kmemleak what nobody points at any more, where the kernel has it.

Source: mm/kmemleak.c. An object is listed when a scan finds it unreferenced for the second time
with the same contents, and it was five seconds old when that scan began (MSECS_MIN_AGE,
update_checksum); before v6.5 once is enough.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import InfraError
from harness.model import JSON, Guest
from harness.parse import kmemleak
from harness.scenario.recorder import Recorder

KMEMLEAK = "/sys/kernel/debug/kmemleak"
_AGE = 6  # seconds, guest's clock
_SCAN = 300.0  # seconds that one may take


def noted(record: Recorder) -> tuple[kmemleak.Symbol, ...]:
    """The functions of the modules that are loaded now: they have no names once those are gone."""
    if record.guest.run(f"[ -w {KMEMLEAK} ]").status != 0:
        return ()
    said = record.bulk("grep ']$' /proc/kallsyms").decode(errors="replace")
    return kmemleak.symbols(said.splitlines())


def look(record: Recorder, known: Sequence[kmemleak.Symbol]) -> None:
    """Scan, and emit each object that leaked since the last time, and that it was looked."""
    guest = record.guest
    if guest.run(f"[ -w {KMEMLEAK} ]").status != 0:
        record.event("kmemleak", "absent", why="the kernel was built without it")
        return
    _scan(guest)
    guest.must(f"sleep {_AGE}", timeout=_AGE + 30)  # what is younger is not listed
    _scan(guest)
    found = kmemleak.leaks(record.text(KMEMLEAK, timeout=_SCAN), known)
    for leak in found:
        stack: list[JSON] = [[caller.function, caller.module] for caller in leak.stack]
        record.event(
            "kmemleak", "leak", size=leak.size, comm=leak.comm, stack=stack, text=leak.text
        )
    record.event("kmemleak", "scanned", found=len(found))
    guest.write(KMEMLEAK, b"clear")  # what is told is not listed again


def _scan(guest: Guest) -> None:
    """InfraError where kmemleak does not scan: it turns itself off when it has no memory left."""
    done = guest.run(f"echo scan > {KMEMLEAK}", timeout=_SCAN)
    if done.status != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise InfraError(
            f"kmemleak cannot be asked: {said or done.status}",
            hint="console.log says why it is off; more --memory, or a larger "
            "CONFIG_DEBUG_KMEMLEAK_MEM_POOL_SIZE",
        )
