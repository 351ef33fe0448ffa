# SPDX-License-Identifier: GPL-2.0-only
"""How long a guest has had nothing to do, as its host sees it.

Patience is for a guest that computes: emulated, or on a busy host, it takes many times as long. One
whose processors are halted waits for a time to pass or for what never comes, as long as any other.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_MOST = 5.0  # seconds between two looks: of what was before, nobody knows how it was spent


class Idle:
    """Seconds in which QEMU neither had a processor nor waited for one, while it was looked at.

    wanted: the seconds in which it did so far (proc.wanted_seconds), all threads together: two that
    are busy at once hide as much idle time of others. Where nobody counts, none is idle.
    """

    def __init__(
        self, wanted: Callable[[], float | None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._wanted, self._clock = wanted, clock
        self._when, self._then = clock(), wanted()
        self._seconds = 0.0

    def seconds(self) -> float:
        now, wanted = self._clock(), self._wanted()
        passed = min(now - self._when, _MOST)
        # Less than before: a thread has ended, and took along what it had.
        if wanted is not None and self._then is not None and wanted >= self._then:
            self._seconds += max(0.0, passed - (wanted - self._then))
        self._when, self._then = now, wanted
        return self._seconds
