# SPDX-License-Identifier: GPL-2.0-only
"""User pages: a process that has some, and move_pages(2) and migrate_pages(2) from outside.

Source: the manual pages of both; Documentation/admin-guide/mm/page_migration.rst,
numa_memory_policy.rst. The guest's program is guest-modules/userpages.
"""

from __future__ import annotations

import errno as numbers
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from harness.errors import CannotRun, EvidenceError, GuestCommandError
from harness.model import Guest
from harness.parse import userpages
from harness.scenario.program import program
from harness.scenario.trigger.attempt import Done

_SECONDS = 120.0
_TURNS = 1200  # tenths of a second that a process is waited for
_GONE = 3  # what the wait ends with where the process has ended
NODES = "/sys/devices/system/node"


def nodes(guest: Guest) -> tuple[int, ...]:
    """The nodes that have memory; CannotRun on a kernel without NUMA."""
    said = guest.run(f"cat {NODES}/has_memory 2>/dev/null || cat {NODES}/has_normal_memory")
    if said.status != 0:
        raise CannotRun(
            f"this kernel knows no nodes: there is no {NODES}/has_memory",
            hint="it needs CONFIG_NUMA",
        )
    found: list[int] = []
    for part in said.stdout.decode(errors="replace").strip().split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise EvidenceError(f"{NODES}/has_memory is no list of nodes: {part[:40]!r}")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


class Holder:
    """A process in the guest that holds user pages with known contents."""

    def __init__(self, guest: Guest, log: str, pages: userpages.Held) -> None:
        self.guest, self.pages, self._log = guest, pages, log
        self._looks = 0

    def whole(self) -> tuple[int, int]:
        """Have it look at its contents: (pages that differ, pages)."""
        self._looks += 1
        self.guest.must(f"kill -USR1 {self.pages.pid}")
        _wait(self.guest, f"[ $(grep -c -e ^whole -e ^bad {self._log}) -ge {self._looks} ]", self)
        return userpages.looked(self.said())[-1]

    def advise_huge(self) -> int:
        """Have it ask for huge pages; the errno of that."""
        self.guest.must(f"kill -USR2 {self.pages.pid}")
        _wait(self.guest, f"grep -q ^advised {self._log}", self)
        return userpages.advised(self.said())[-1]

    def said(self) -> str:
        return self.guest.read(self._log).decode(errors="replace")

    def of(self, command: str, *words: int) -> str:
        """What another process says of all its pages."""
        own = (self.pages.pid, self.pages.address, self.pages.pages, *words)
        line = " ".join([program(self.guest), command, *map(str, own)])
        return self.guest.must(line, timeout=_SECONDS)

    def where(self) -> userpages.Moved:
        """On which nodes its pages are, by move_pages(2)."""
        return userpages.moved(self.of("where"))

    def maps(self, node: int) -> int | None:
        """Pages that it has on a node by /proc/PID/numa_maps; None on a kernel without."""
        said = self.guest.run(f"cat /proc/{self.pages.pid}/numa_maps 2>/dev/null")
        if said.status != 0:
            return None
        found = userpages.on_nodes(said.stdout.decode(errors="replace"), self.pages.address)
        return None if found is None else found.get(node, 0)

    def smaps(self, field: str) -> int:
        """A line of the mapping in /proc/PID/smaps, kB."""
        start = f"{self.pages.address:x}"
        said = self.guest.must(
            f"awk '/^[0-9a-f]+-[0-9a-f]+ / {{ at = ($1 ~ /^0*{start}-/) }} "
            f'at && $1 == "{field}:" {{ print $2 }}\' /proc/{self.pages.pid}/smaps'
        ).strip()
        if not said.isdigit():
            raise EvidenceError(f"/proc/PID/smaps has no {field} of the mapping at {start}")
        return int(said)


_numbers = itertools.count(1)


@contextmanager
def holder(guest: Guest, mib: int, *, node: int = -1, way: str = "plain") -> Iterator[Holder]:
    """A process with so many MiB of user pages, which ends with the context.

    node: the only one that they may be on, -1 for any. way: plain, huge or small, see
    userpages_uapi.h. GuestCommandError where it cannot have them.
    """
    path = program(guest)
    log = f"/tmp/userpages.{next(_numbers)}"
    guest.must(f"setsid {path} hold {mib} {node} {way} </dev/null >{log} 2>&1 & echo $! >{log}.pid")
    _wait(guest, f"grep -q ^held {log}", None, log)
    found = userpages.held(guest.read(log).decode(errors="replace"))
    if found is None:
        raise EvidenceError(f"{log} has no line 'held'")
    try:
        yield Holder(guest, log, found)
    finally:
        guest.run(f"kill {found.pid}")


def _wait(guest: Guest, condition: str, own: Holder | None, log: str = "") -> None:
    """Wait until a shell's condition holds, while the process lives."""
    pid = f"$(cat {log}.pid)" if own is None else str(own.pages.pid)
    done = guest.run(
        f"i=0; while ! {condition}; do kill -0 {pid} 2>/dev/null || {condition} || exit {_GONE}; "
        f"[ $i -lt {_TURNS} ] || exit 9; i=$((i+1)); usleep 100000; done",
        timeout=_TURNS / 10 + _SECONDS,
    )
    if done.status != 0:
        why = "has ended" if done.status == _GONE else "does not answer"
        said = own.said() if own else guest.run(f"cat {log}").stdout.decode(errors="replace")
        last = f": {said.strip()[-200:]}" if said.strip() else ""
        raise GuestCommandError(f"the process with user pages {why}{last}")


def move(held: Holder, node: int) -> Done:
    """move_pages(2) of all its pages to a node. got: those that are there then."""
    return _done(held, userpages.moved(held.of("move", node)), node)


def migrate(held: Holder, sources: Iterable[int], node: int) -> Done:
    """migrate_pages(2) of the process, from each of some nodes to another."""
    result = userpages.Moved(0, 0, {}, {})
    for source in sources:
        command = f"{program(held.guest)} migrate {held.pages.pid} {source} {node}"
        result = userpages.moved(held.guest.must(command, timeout=_SECONDS))
        if result.errno:
            break
    return _done(held, result, node)


def _done(held: Holder, result: userpages.Moved, node: int) -> Done:
    """Judged by where the pages are, and not by what the system call answered."""
    got = held.where().nodes.get(node, 0)
    maps = held.maps(node)
    refused = ", ".join(
        f"{pages} pages {numbers.errorcode[errno]}"
        if errno in numbers.errorcode
        else f"{pages} pages without a word of the kernel"
        for errno, pages in sorted(result.errnos.items(), reverse=True)
    )
    errno = result.errno or (0 if got == held.pages.pages else numbers.EBUSY)
    return Done(
        errno,
        refused,
        asked=held.pages.pages,
        got=got,
        also={} if maps is None else {"numa_maps": maps},
    )


def contents(held: Holder) -> Done:
    """Whether a process's pages have the contents that it gave them."""
    bad, pages = held.whole()
    return Done(numbers.EIO if bad else 0, f"{bad} of {pages} pages differ" if bad else "")
