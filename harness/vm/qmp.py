# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's monitor: qemu.qmp, which is asynchronous, for callers that are not."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from qemu.qmp import ConnectError, QMPClient, QMPError

_T = TypeVar("_T")

# What it has to say, it says in exceptions: without a handler its warnings of a connection that
# ended (QEMU is gone: we know) would be printed.
logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())


class MonitorError(Exception):
    """The monitor refused a command, did not answer, or is gone."""


class Monitor:
    """A connection to the monitor, with an event loop in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._client = QMPClient("pinpage")
        self._events: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._collector: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._thread.start()

    def connect(self, *, seconds: float = 10) -> None:
        """MonitorError when nobody listens (yet); it may be called again."""
        try:
            self._wait(self._connect(), seconds)
        except ConnectError as error:
            raise MonitorError(f"no connection to QEMU's monitor: {error}") from error

    def execute(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, seconds: float = 10
    ) -> Any:
        """Run a command and return what it returns. For a command whose result is a later
        event, wait for that event."""
        try:
            return self._wait(self._client.execute(command, dict(arguments or {})), seconds)
        except (QMPError, OSError, EOFError) as error:
            raise MonitorError(f"{command}: {error}") from error

    def human(self, command: str) -> str:
        """A command of the human monitor, for what has no QMP command."""
        return str(self.execute("human-monitor-command", {"command-line": command}))

    @property
    def events(self) -> tuple[dict[str, Any], ...]:
        """All events so far."""
        with self._news:
            return tuple(self._events)

    def wait_event(self, *names: str, seconds: float, after: int = 0) -> dict[str, Any] | None:
        """The first event of these names, of those from number ``after`` on; None when none
        came within so many seconds."""

        def found() -> dict[str, Any] | None:
            return next((e for e in self._events[after:] if e["event"] in names), None)

        with self._news:
            return self._news.wait_for(found, timeout=seconds)

    def close(self) -> None:
        """End the connection and the thread. Quiet when QEMU is gone."""
        if self._loop.is_closed():
            return
        try:
            self._wait(self._disconnect(), 5)
        except (QMPError, OSError, EOFError, MonitorError):
            pass  # the connection's end is what was wanted
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, _T], seconds: float) -> _T:
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, seconds), self._loop)
        try:
            return future.result()
        except TimeoutError as error:
            raise MonitorError(f"QEMU's monitor did not answer within {seconds:g} s") from error

    async def _connect(self) -> None:
        await self._client.connect(str(self._path))
        self._collector = asyncio.create_task(self._collect())

    async def _collect(self) -> None:
        while True:
            event = dict(await self._client.events.get())
            with self._news:
                self._events.append(event)
                self._news.notify_all()

    async def _disconnect(self) -> None:
        if self._collector is not None:
            self._collector.cancel()
        await self._client.disconnect()
