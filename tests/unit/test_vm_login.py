# SPDX-License-Identifier: GPL-2.0-only
"""A shell over SSH on a terminal: a real SSH server, shell and terminal in place of a guest's."""

from __future__ import annotations

import os
import pty
import select
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from fake_sshd import connected

from harness.vm import login, shell
from harness.vm.channel import ChannelCut


@pytest.mark.parametrize(
    ("typed", "sent", "left"),
    [
        ([b"ls\r"], b"ls\r", False),
        ([b"~."], b"", True),
        ([b"ls\r~.more"], b"ls\r", True),
        ([b"ls\r", b"~", b"."], b"ls\r", True),
        ([b"cd ~.\r"], b"cd ~.\r", False),
        ([b"~/x\r"], b"~/x\r", False),
        ([b"~", b"~.\r"], b"~.\r", False),
        ([b"\r~\r~."], b"\r~\r", True),
    ],
)
def test_the_escape(typed: list[bytes], sent: bytes, left: bool) -> None:
    escape, out = login.Escape(), b""
    for data in typed:
        if not escape.left:
            out += escape.typed(data)
    assert (out, escape.left) == (sent, left)


class Person:
    """Who sits at a terminal."""

    def __init__(self) -> None:
        self.end, self.terminal = pty.openpty()
        self.before = termios.tcgetattr(self.terminal)
        self.seen = b""

    def type(self, text: bytes) -> None:
        os.write(self.end, text)

    def expect(self, wanted: bytes) -> None:
        while wanted not in self.seen:
            assert select.select([self.end], [], [], 20)[0], self.seen
            self.seen += os.read(self.end, 4096)
        self.seen = self.seen.partition(wanted)[2]

    def as_before(self) -> bool:
        return termios.tcgetattr(self.terminal) == self.before


@pytest.fixture
def person() -> Person:
    return Person()


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[shell.Shell]:
    with connected(tmp_path) as value:
        yield value


class Session(threading.Thread):
    def __init__(self, guest: shell.Shell, person: Person) -> None:
        super().__init__(daemon=True)
        self.guest, self.person = guest, person
        self.over = False
        self.answer: object = None
        self.start()

    def run(self) -> None:
        try:
            self.answer = login.interact(
                self.guest,
                lambda: self.over,
                source=self.person.terminal,
                sink=self.person.terminal,
            )
        except ChannelCut as error:
            self.answer = error

    def ended(self) -> object:
        self.join(20)
        assert not self.is_alive()
        return self.answer


def test_a_shell_that_ends(guest: shell.Shell, person: Person) -> None:
    session = Session(guest, person)
    person.expect(b"'exit' leaves")
    person.type(b"tty >/dev/null && echo a terminal; echo $((6*7)); stty size\r")
    person.expect(b"a terminal\r\n42\r\n24 80")
    person.type(b"exit 4\r")
    assert session.ended() is True
    assert person.as_before()


def test_keys_are_the_guests(guest: shell.Shell, person: Person) -> None:
    """Ctrl-C ends what runs there, and not us."""
    session = Session(guest, person)
    person.expect(b"leaves")
    person.type(b"sleep 1000; echo inter''rupted\r")
    person.expect(b"rupted")
    time.sleep(0.5)  # for the shell to have begun it: nothing tells
    person.type(b"\x03")
    person.type(b"\recho al''ive\r")
    person.expect(b"alive")
    person.type(b"exit\r")
    assert session.ended() is True


def test_one_who_leaves_and_a_guest_that_is_over(guest: shell.Shell, person: Person) -> None:
    session = Session(guest, person)
    person.expect(b"leaves")
    person.type(b"\r~.")
    assert session.ended() is False
    assert person.as_before()
    session = Session(guest, person)
    person.expect(b"leaves")
    session.over = True
    assert session.ended() is True
    assert person.as_before()


def test_a_connection_that_is_cut(guest: shell.Shell, person: Person) -> None:
    session = Session(guest, person)
    person.expect(b"leaves")
    guest._transport.sock.close()
    assert isinstance(session.ended(), ChannelCut)
    assert person.as_before()
    with pytest.raises((ChannelCut, paramiko.SSHException)):
        login.interact(guest, lambda: False, source=person.terminal, sink=person.terminal)
