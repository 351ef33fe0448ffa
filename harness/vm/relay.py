# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's monitor for others: it has room for one client, which we are. So a unix socket of ours
speaks QMP to any number of them, and passes on what they ask and which events come.
"""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from qemu.qmp import ExecuteError

from harness.vm.qmp import Monitor, MonitorError

_LONGEST = 1 << 20  # bytes of a request
_SECONDS = 300.0  # for what is asked
_LOOK = 0.1  # seconds between two looks for events
_NEGOTIATE = "qmp_capabilities"


@contextmanager
def relay(monitor: Monitor, path: Path) -> Iterator[None]:
    """Serve a socket at this path as long as the context lasts."""
    path.unlink(missing_ok=True)
    with _Server(str(path), _Client) as server:
        server.monitor = monitor
        worker = threading.Thread(target=server.serve_forever, name="relay", daemon=True)
        worker.start()
        try:
            yield
        finally:
            server.over.set()
            server.shutdown()
            worker.join()
            path.unlink(missing_ok=True)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True  # a client that stays does not hold us up

    def __init__(self, path: str, handler: type[socketserver.StreamRequestHandler]) -> None:
        super().__init__(path, handler)
        self.monitor: Monitor
        self.over = threading.Event()


class _Client(socketserver.StreamRequestHandler):
    """One client."""

    server: _Server

    def setup(self) -> None:
        super().setup()
        self._lock = threading.Lock()
        self._gone = threading.Event()

    def handle(self) -> None:
        with suppress(OSError):
            self._tell(_greeting(self.server.monitor))
            events = threading.Thread(target=self._events, name="relay events", daemon=True)
            events.start()
            while not self.server.over.is_set():
                line = self.rfile.readline(_LONGEST)
                if not line:
                    return
                if line.strip():
                    self._tell(answer(self.server.monitor, line))

    def finish(self) -> None:
        self._gone.set()
        with suppress(OSError):
            super().finish()

    def _tell(self, message: Mapping[str, Any]) -> None:
        with self._lock:
            self.wfile.write(json.dumps(message).encode() + b"\r\n")
            self.wfile.flush()

    def _events(self) -> None:
        seen = len(self.server.monitor.events)
        with suppress(OSError, ValueError):  # the client is gone
            while not self.server.over.is_set() and not self._gone.wait(_LOOK):
                new = self.server.monitor.events[seen:]
                for event in new:
                    self._tell(event)
                seen += len(new)


def _greeting(monitor: Monitor) -> Mapping[str, Any]:
    version: Any = {}
    with suppress(MonitorError):
        version = monitor.execute("query-version")
    return {"QMP": {"version": version, "capabilities": []}}


def answer(monitor: Monitor, line: bytes) -> Mapping[str, Any]:
    """What a client's line is answered with."""
    try:
        asked = json.loads(line)
        command, words = asked["execute"], asked.get("arguments", {})
        if not isinstance(command, str) or not isinstance(words, dict):
            raise TypeError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return _error("GenericError", "QMP input must be one object a line with an 'execute'", {})
    try:
        value = {} if command == _NEGOTIATE else monitor.execute(command, words, seconds=_SECONDS)
    except MonitorError as error:
        cause = error.__cause__
        kind = cause.error_class if isinstance(cause, ExecuteError) else "GenericError"
        return _error(kind, str(error), asked)
    return _with_id({"return": value}, asked)


def _error(kind: str, said: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
    return _with_id({"error": {"class": kind, "desc": said}}, asked)


def _with_id(message: dict[str, Any], asked: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**message, "id": asked["id"]} if "id" in asked else message
