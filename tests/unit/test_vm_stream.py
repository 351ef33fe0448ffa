# SPDX-License-Identifier: GPL-2.0-only
"""A command's input and outputs passed through, against a real SSH server and a real shell."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
import pytest
from fake_sshd import connected

from harness.vm import shell
from harness.vm.channel import ChannelCut, ChannelTimeout
from harness.vm.stream import Ends, stream


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[shell.Shell]:
    with connected(tmp_path) as value:
        yield value


@dataclass
class Pipe:
    """A pipe, read to its end in the background."""

    read: int = -1
    write: int = -1
    data: bytes = b""
    thread: threading.Thread = field(default_factory=threading.Thread)

    def __post_init__(self) -> None:
        self.read, self.write = os.pipe()
        self.thread = threading.Thread(target=self._drain, daemon=True)
        self.thread.start()

    def _drain(self) -> None:
        while data := os.read(self.read, 1 << 16):
            self.data += data

    def whole(self) -> bytes:
        os.close(self.write)
        self.thread.join(20)
        return self.data


def run(
    guest: shell.Shell, command: str, source: int | None = None, seconds: float | None = 30
) -> tuple[int | None, bytes, bytes]:
    out, err = Pipe(), Pipe()
    ends = Ends(source, out.write, err.write)
    status = stream(guest, command, ends, seconds=seconds, watch=lambda: None)
    return status, out.whole(), err.whole()


def test_outputs_apart_and_the_status(guest: shell.Shell) -> None:
    assert run(guest, "echo out; echo err >&2; exit 7") == (7, b"out\n", b"err\n")
    assert run(guest, "kill -9 $$")[0] is None
    assert run(guest, "cat; printf '\\000\\377'") == (0, b"\0\xff", b"")


def test_input_of_any_kind_comes_whole(guest: shell.Shell, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "input").write_bytes(data)
    with (tmp_path / "input").open("rb") as file:  # no epoll takes this
        assert run(guest, "tee /dev/stderr", file.fileno()) == (0, data, data)
    with (tmp_path / "input").open("rb") as file:
        assert run(guest, "exit 5", file.fileno())[0] == 5  # which reads none of it


def test_it_comes_as_it_is_made(guest: shell.Shell) -> None:
    """Each line before the next is asked for."""
    typed, type_ = os.pipe()
    shown, show = os.pipe()
    ends = Ends(typed, show, show)
    answer: list[int | None] = []

    def work() -> None:
        command = "while read x; do echo got $x; done"
        answer.append(stream(guest, command, ends, seconds=None, watch=lambda: None))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    for number in (b"1", b"2", b"3"):
        os.write(type_, number + b"\n")
        assert select.select([shown], [], [], 20)[0]
        assert os.read(shown, 100) == b"got " + number + b"\n"
    os.close(type_)
    thread.join(20)
    assert answer == [0]


def test_a_command_that_ends_before_its_input(guest: shell.Shell) -> None:
    typed, _held = os.pipe()  # nobody ever closes it
    began = time.monotonic()
    assert run(guest, "echo done; exit 3", typed) == (3, b"done\n", b"")
    assert time.monotonic() - began < 10


def test_output_without_end_has_a_deadline(guest: shell.Shell) -> None:
    with Path(os.devnull).open("wb") as none, pytest.raises(ChannelTimeout):
        ends = Ends(None, none.fileno(), none.fileno())
        stream(guest, "yes", ends, seconds=1, watch=lambda: None)


def test_nobody_who_reads(guest: shell.Shell) -> None:
    read, write = os.pipe()
    os.close(read)
    with pytest.raises(BrokenPipeError):
        stream(guest, "yes", Ends(None, write, write), seconds=20, watch=lambda: None)


def test_what_the_watcher_sees_and_a_cut(guest: shell.Shell) -> None:
    def watch() -> None:
        raise KeyError("seen")

    with Path(os.devnull).open("wb") as none:
        ends = Ends(None, none.fileno(), none.fileno())
        with pytest.raises(KeyError):
            stream(guest, "sleep 60", ends, seconds=None, watch=watch)
        with pytest.raises(ChannelCut):
            stream(guest, "vanish", ends, seconds=None, watch=lambda: None)


def test_a_connection_that_ends_meanwhile_takes_no_reason_away(
    guest: shell.Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong as the channel is closed is not what went wrong."""

    def gone(_: paramiko.Channel) -> None:
        raise EOFError

    monkeypatch.setattr(paramiko.Channel, "close", gone)
    with Path(os.devnull).open("wb") as none, pytest.raises(ChannelTimeout):
        ends = Ends(None, none.fileno(), none.fileno())
        stream(guest, "yes", ends, seconds=0.2, watch=lambda: None)
