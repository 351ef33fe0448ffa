# SPDX-License-Identifier: GPL-2.0-only
"""Progress of long work: a live line with rich on a terminal, plain lines off one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

PLAIN_EVERY = 15.0  # seconds between plain lines of one stage
BRIEF = 10.0  # seconds from which on a stage is worth a line where little is to be said
_SPAN = 5.0  # seconds of work before an estimate is worth printing
_SHARE = 0.05  # and of all steps: the first ones of a kernel's build are the slowest


def duration(seconds: float) -> str:
    """``75.2`` → ``1m15s``; below a minute ``7.5s``."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def _shown(text: str) -> str:
    """text in one line; what is not printed, and might act on a terminal, as ``\\x1b``."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


class _Meter:
    """Where one stage is: what it is at, since when, and an estimate of what is left."""

    def __init__(self, stage: str, now: float) -> None:
        self.stage = stage
        self.started = now
        self.done = 0
        self.total: int | None = None
        self.text = ""
        self._first: tuple[float, int] | None = None

    def advance(self, done: int, total: int | None, text: str, now: float) -> None:
        if self._first is None or done < self.done:
            self._first = (now, done)
        self.done, self.total, self.text = done, total, text

    def left(self, now: float) -> float | None:
        """Seconds left at the rate so far, or None where that is a guess."""
        if self._first is None or not self.total:
            return None
        since, base = self._first
        if now - since < _SPAN or self.done >= self.total:
            return None
        if self.done - base < self.total * _SHARE:
            return None
        return (self.total - self.done) * (now - since) / (self.done - base)

    def line(self, now: float) -> str:
        parts = [f"{self.stage:<8} {duration(now - self.started):>7}"]
        if self.total:
            share = min(100, 100 * self.done // self.total)
            parts.append(f"{self.done}/{self.total} ({share}%)")
        elif self.done:
            parts.append(str(self.done))
        left = self.left(now)
        if left is not None:
            parts.append(f"about {duration(left)} left")
        if self.text:
            parts.append(self.text)
        return "  ".join(parts)


class TerminalProgress:
    """A harness.model.Progress on a console (stderr); use as a context manager.

    On a terminal one live line shows the stage, units done of the expected number, elapsed
    time and an estimate; each ended stage leaves a line. Off a terminal a line is printed when
    a stage begins and ends, and at most every ``PLAIN_EVERY`` seconds in between.

    brief: only what takes long leaves lines, and notes are dropped: the outputs of a command in
    the guest come next, and are what is asked for.
    """

    def __init__(self, console: Console, *, brief: bool = False) -> None:
        self._console = console
        self._brief = brief
        self._meter: _Meter | None = None
        self._live: Live | None = None
        self._printed = 0.0
        self._spinner = Spinner("dots")
        if console.is_terminal:
            self._live = Live(
                console=console, refresh_per_second=8, transient=True, get_renderable=self._render
            )

    def __enter__(self) -> TerminalProgress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_stage(failed=error is not None)
        if self._live is not None:
            self._live.stop()

    def stage(self, name: str) -> None:
        self._end_stage(failed=False)
        now = time.monotonic()
        self._meter = _Meter(name, now)
        self._printed = now
        if self._live is None and not self._brief:
            self._say(f"{name:<8} ...")

    def advance(self, done: int, total: int | None, text: str = "") -> None:
        if self._meter is None:
            return
        now = time.monotonic()
        self._meter.advance(done, total, text, now)
        if self._live is None and now - self._printed >= PLAIN_EVERY:
            self._printed = now
            self._say(self._meter.line(now))

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Say nothing while somebody else has the terminal."""
        if self._live is not None:
            self._live.stop()
        try:
            yield
        finally:
            if self._live is not None:
                self._live.start()

    def note(self, text: str) -> None:
        if not self._brief:
            self._say(f"  {text}", "dim")

    def _say(self, line: str, style: str = "") -> None:
        """A line in which nothing acts, nor is markup or an emoji, whoever wrote it."""
        self._console.print(Text(_shown(line), style), soft_wrap=True)

    def _render(self) -> RenderableType:
        """What the live line shows at this moment; the elapsed time runs on by itself."""
        if self._meter is None:
            return Text("")
        line = self._meter.line(time.monotonic())
        self._spinner.update(text=Text(_shown(line), no_wrap=True, overflow="ellipsis"))
        return self._spinner

    def _end_stage(self, *, failed: bool) -> None:
        if self._meter is None:
            return
        now = time.monotonic()
        word = "stopped" if failed else "done"
        seconds = now - self._meter.started
        if not self._brief or seconds >= BRIEF:
            self._say(f"{self._meter.stage:<8} {duration(seconds):>7}  {word}")
        self._meter = None
