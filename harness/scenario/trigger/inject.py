# SPDX-License-Identifier: GPL-2.0-only
"""Allocations that fail: calls of one task, of the slab or of the page allocator.

Source: Documentation/fault-injection/fault-injection.rst; lib/fault-inject.c, should_fail(),
whose rules are the same in v3.11 and v6.12: with task-filter only tasks with make-it-fail count;
with an interval, each such call is counted while ``times`` is left, and the one that the interval
divides fails. The count goes on from one use to the next and cannot be read, so it is kept here:
the interval is that count and n, which no number between the two is divided by.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import CannotRun, EvidenceError
from harness.model import Caller, Guest
from harness.parse import injected
from harness.scenario.program import program
from harness.scenario.recorder import Recorder

KINDS = ("failslab", "fail_page_alloc")
_DEBUG = "/sys/kernel/debug"
# In this order: until only tasks that ask for it are meant, nothing may be failed.
_ATTRIBUTES = (
    ("times", "0"),
    ("task-filter", "Y"),
    ("space", "0"),
    ("verbose", "2"),
    ("ignore-gfp-wait", "N"),
    ("ignore-gfp-highmem", "N"),
    ("cache-filter", "N"),
    ("min-order", "0"),
    ("probability", "100"),
)
_ERRNO = re.compile(r"^errno (\d{1,4})$", re.MULTILINE)
_DRAINS = 400  # that bring a count to where it is known
_ONCE = 50  # of them that one run makes
_SECONDS = 300.0
_SOME = 16  # calls of a cache
_SLAB = "/sys/kernel/slab"


@dataclass(frozen=True)
class Injected:
    """What came of a write. failed: calls that were. errno: the write's, positive, None where a
    signal ended it. stacks: of the reports that the kernel printed of it."""

    failed: int
    errno: int | None
    stacks: Sequence[tuple[Caller, ...]]


def probe(guest: Guest, kind: str) -> None:
    """CannotRun where the kernel has no such injection."""
    if guest.run(f"[ -w {_DEBUG}/{kind}/times ] && [ -w /proc/self/make-it-fail ]").status != 0:
        raise CannotRun(
            f"this kernel cannot be told to fail allocations: there is no {_DEBUG}/{kind}",
            hint="it needs CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC and FAULT_INJECTION_DEBUG_FS",
        )


class Injector:
    """One kind of injection in one guest, which nobody else uses."""

    def __init__(self, record: Recorder, kind: str) -> None:
        self._guest, self.kind = record.guest, kind
        self._folder = f"{_DEBUG}/{kind}"
        self._count = 0  # should_fail's, at present
        probe(self._guest, kind)
        self._program = program(self._guest, "failing")
        for name, value in _ATTRIBUTES:
            path = f"{self._folder}/{name}"
            self._guest.must(f"[ ! -e {path} ] || echo {value} > {path}")

    def nth(self, n: int, path: str, text: str, *, seconds: float = 0) -> Injected:
        """Write to a file while the n-th call of its allocations fails.

        seconds: after which it gets a SIGINT, 0 for never.
        """
        interval = self._count + n
        failed, said = self._written(interval, 1, path, text, seconds)
        if not failed:
            self._drain()
        if interval > 1:
            self._count = interval
        return self._injected(failed, said)

    def of_cache(self, name: str, path: str, text: str, *, seconds: float = 0) -> Injected:
        """Write to a file while the first 16 calls of one cache of the slab fail (none of others).

        Source: mm/slub.c: failslab_store(); mm/failslab.c, for which without an interval no call
        is counted.
        """
        meant, filtered = f"{_SLAB}/{name}/failslab", f"{self._folder}/cache-filter"
        self._guest.must(f"echo 1 > {meant} && echo Y > {filtered}")
        failed, said = self._written(1, _SOME, path, text, seconds)
        self._guest.must(f"echo N > {filtered} && echo 0 > {meant}")
        return self._injected(failed, said)

    def has_cache(self, name: str) -> bool:
        """Whether calls of a cache can be told from those of others."""
        files = (f"{_SLAB}/{name}/failslab", f"{self._folder}/cache-filter")
        return all(self._guest.run(f"[ -w {each} ]").status == 0 for each in files)

    def _written(
        self, interval: int, times: int, path: str, text: str, seconds: float
    ) -> tuple[int, str]:
        """How many calls of a write were failed, and what it printed."""
        command = self.write(path, text)
        if seconds:
            command = f"timeout -s INT {seconds:g} {command}"
        done = self._guest.run(
            f"echo {interval} > {self._folder}/interval; echo {times} > {self._folder}/times; "
            f"{command}; echo status $?; cat {self._folder}/times; echo 0 > {self._folder}/times",
            timeout=_SECONDS,
        )
        said = done.stdout.decode(errors="replace")
        (left,) = said.split()[-1:] or ("",)
        if not (left.isdecimal() and int(left) <= times):
            raise EvidenceError(f"{self._folder}/times is not 0 to {times}: {said[-80:]!r}")
        return times - int(left), said

    def _injected(self, failed: int, said: str) -> Injected:
        found = _ERRNO.search(said)
        return Injected(failed, int(found[1]) if found else None, self._reports())

    def every(self, command: str) -> str:
        """A shell's command by which all its own calls fail: with it nobody gets any memory."""
        return (
            f"echo 1 > {self._folder}/interval; echo 0 > {self._folder}/verbose; "
            f"echo -1 > {self._folder}/times; {command}; s=$?; "
            f"echo 0 > {self._folder}/times; echo 2 > {self._folder}/verbose; (exit $s)"
        )

    def write(self, path: str, text: str) -> str:
        """The shell's command that writes to a file, its allocations counted or failed."""
        return f"{self._program} write {path} {text}"

    def _reports(self) -> Sequence[tuple[Caller, ...]]:
        """Of the attempt whose mark came last; the drain's own calls come behind its word."""
        text = self._guest.must("dmesg | tail -n 400", timeout=60)
        _, _, own = text.rpartition("pinpage: attempt ")
        return injected.reports(own.partition("pinpage: drained")[0].splitlines())

    def _drain(self) -> None:
        """Let calls of no interest be counted until one fails: then the count is known."""
        self._guest.must(
            f"echo '<5>pinpage: drained' > /dev/kmsg; i=0; echo 1 > {self._folder}/times; "
            f"while [ $(cat {self._folder}/times) != 0 ]; do "
            f"[ $i -lt {_DRAINS} ] || exit 9; {self._program} drain {_ONCE}; i=$((i+1)); done",
            timeout=_SECONDS,
        )
