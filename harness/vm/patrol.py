# SPDX-License-Identifier: GPL-2.0-only
"""Looking over a guest's tasks while a command runs in it: one that waits for ever is found long
before the command is out of time.

The rule is the kernel's own for hung tasks (kernel/hung_task.c): it waits without taking signals
(state D), and was not scheduled once in two minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.model import CommandResult
from harness.parse import blocked
from harness.vm.channel import Channel, ChannelCut, ChannelTimeout

HUNG = 120.0  # seconds
_FIRST = 20.0  # seconds that a command may take before anybody is looked at
_EVERY = 20.0
_PATIENCE = 5.0  # seconds for a look, times the guest's patience
_FACTS = "'^(Name|State|(non)?voluntary_ctxt_switches):'"
_COMMAND = f"grep -sE {_FACTS} /proc/[0-9]*/task/[0-9]*/status || true"


class Patrol:
    """For one command."""

    def __init__(
        self,
        channel: Channel,
        patience: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel, self._patience, self._clock = channel, patience, clock
        self._next = clock() + _FIRST
        self._since: dict[int, tuple[int, float]] = {}

    def stuck(self) -> str:
        """Who has waited for so long, "" if nobody has, or nobody could look."""
        if self._clock() < self._next:
            return ""
        found = self._look()
        now = self._clock()
        self._next = now + _EVERY
        if found is None:
            return ""
        listed = blocked.waiting(found.stdout.decode(errors="replace"))
        before, self._since = self._since, {}
        for task, (name, count) in listed.items():
            last, since = before.get(task, (count, now))
            self._since[task] = (count, since if last == count else now)
            if now - self._since[task][1] >= HUNG:
                return f"{name} ({task}) has waited for {HUNG:g} s and was not run once"
        return ""

    def _look(self) -> CommandResult | None:
        """None where the guest has no answer: that is for the command's own deadline to tell."""
        seconds = _PATIENCE * self._patience
        try:
            return self._channel.run(_COMMAND, stdin=b"", seconds=seconds, watch=lambda: None)
        except (ChannelTimeout, ChannelCut):
            return None
