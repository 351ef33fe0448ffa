# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's monitor for others."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from harness.vm.qmp import Monitor, MonitorError
from harness.vm.relay import answer, relay


class FakeMonitor:
    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.events: tuple[dict[str, Any], ...] = ()

    def execute(self, command: str, words: object = None, **_: object) -> Any:
        self.asked.append((command, words))
        if command == "query-version":
            return {"qemu": {"major": 7}}
        if command == "quit":
            raise MonitorError("quit: it is gone")
        return {"running": True}


@pytest.fixture
def monitor() -> FakeMonitor:
    return FakeMonitor()


class Client:
    def __init__(self, path: Path) -> None:
        self.end = socket.socket(socket.AF_UNIX)
        self.end.settimeout(20)
        self.end.connect(str(path))
        self.lines = self.end.makefile("rb")

    def read(self) -> Any:
        return json.loads(self.lines.readline())

    def ask(self, message: object) -> Any:
        self.end.sendall(json.dumps(message).encode() + b"\n")
        return self.read()


@pytest.fixture
def path(tmp_path: Path, monitor: FakeMonitor) -> Iterator[Path]:
    with relay(cast(Monitor, monitor), tmp_path / "monitor"):
        yield tmp_path / "monitor"
    assert not (tmp_path / "monitor").exists()


def test_it_speaks_qmp_to_several(path: Path, monitor: FakeMonitor) -> None:
    for client in (Client(path), Client(path)):
        assert client.read()["QMP"]["version"] == {"qemu": {"major": 7}}
        assert client.ask({"execute": "qmp_capabilities"}) == {"return": {}}
        words = {"execute": "query-status", "id": 7}
        assert client.ask(words) == {"return": {"running": True}, "id": 7}
        wrong = client.ask({"execute": "quit", "arguments": {}})["error"]
        assert wrong == {"class": "GenericError", "desc": "quit: it is gone"}
    assert "qmp_capabilities" not in [command for command, _ in monitor.asked]


def test_events_come_to_who_listens(path: Path, monitor: FakeMonitor) -> None:
    client = Client(path)
    client.read()
    client.ask({"execute": "qmp_capabilities"})
    monitor.events += ({"event": "STOP", "data": {}},)
    assert client.read()["event"] == "STOP"


def test_one_who_stays_does_not_hold_us_up(tmp_path: Path, monitor: FakeMonitor) -> None:
    with relay(cast(Monitor, monitor), tmp_path / "monitor"):
        client = Client(tmp_path / "monitor")
        client.read()
    assert client.end.fileno() >= 0


@pytest.mark.parametrize(
    "line",
    [b"nonsense\n", b"[]\n", b"{}\n", b'{"execute": 7}\n', b'{"execute": "x", "arguments": []}\n'],
)
def test_what_is_no_request_is_told_so(line: bytes, monitor: FakeMonitor) -> None:
    assert answer(cast(Monitor, monitor), line)["error"]["class"] == "GenericError"
    assert monitor.asked == []
