# SPDX-License-Identifier: GPL-2.0-only
"""Commands over SSH, against a real SSH server (paramiko's) that runs a real shell here."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fake_sshd import access as new_access
from fake_sshd import serving

from harness.errors import InfraError
from harness.model import CommandResult
from harness.vm import keys, shell
from harness.vm.channel import ChannelCut, ChannelTimeout


@pytest.fixture
def log(tmp_path: Path) -> Iterator[shell.Log]:
    value = shell.Log(tmp_path / "ssh.log")
    yield value
    value.close()


@pytest.fixture
def access() -> tuple[keys.Keys, paramiko.PKey]:
    return new_access()


@pytest.fixture
def guest(access: tuple[keys.Keys, paramiko.PKey], log: shell.Log) -> Iterator[shell.Shell]:
    with serving(*access) as port:
        value = shell.connect(port, access[0], log, seconds=10)
        yield value
        value.close()


def run(
    guest: shell.Shell,
    command: str,
    stdin: bytes = b"",
    seconds: float = 20,
    watch: Callable[[], None] = lambda: None,
) -> CommandResult:
    return guest.run(command, stdin=stdin, seconds=seconds, watch=watch)


def test_status_and_the_two_outputs_apart(guest: shell.Shell) -> None:
    done = run(guest, "echo out; echo err >&2; exit 7")
    assert (done.status, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_a_signal_has_no_status(guest: shell.Shell) -> None:
    assert run(guest, "kill -9 $$").status is None
    assert run(guest, "true").status == 0


def test_much_of_everything_at_once(guest: shell.Shell) -> None:
    """More than any window or pipe holds, both ways and on both outputs, without a deadlock."""
    data = bytes(range(256)) * 12_000
    done = run(guest, "tee /dev/stderr", data)
    assert done.stdout == data and done.stderr == data and done.status == 0


def test_input_that_is_not_read(guest: shell.Shell) -> None:
    assert run(guest, "exit 5", b"x" * 5_000_000).status == 5


def test_outputs_that_close_before_the_end(guest: shell.Shell) -> None:
    assert run(guest, "exec >&- 2>&-; sleep 0.2; exit 6").status == 6


def test_a_deadline(guest: shell.Shell) -> None:
    with pytest.raises(ChannelTimeout):
        run(guest, "sleep 60", seconds=0.3)


def test_what_the_watcher_sees_ends_it(guest: shell.Shell) -> None:
    def watch() -> None:
        raise KeyError("seen")

    with pytest.raises(KeyError, match="seen"):
        run(guest, "sleep 60", watch=watch)


def test_a_cut_is_told_and_its_traceback_kept_from_the_user(
    guest: shell.Shell, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ChannelCut):
        run(guest, "vanish")
    with pytest.raises(ChannelCut):
        run(guest, "true")
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "ssh.log").read_text()


def test_another_host_key_is_refused(
    access: tuple[keys.Keys, paramiko.PKey], log: shell.Log
) -> None:
    other = keys._client(keys._openssh(Ed25519PrivateKey.generate()))
    with serving(access[0], other) as port, pytest.raises(InfraError, match="another host key"):
        shell.connect(port, access[0], log, seconds=10)


def test_another_client_is_not_let_in(
    access: tuple[keys.Keys, paramiko.PKey], log: shell.Log
) -> None:
    with serving(keys.make(), access[1]) as port, pytest.raises(ChannelCut, match="Auth"):
        shell.connect(port, access[0], log, seconds=10)


def test_nobody_there_and_one_who_hangs_up(
    access: tuple[keys.Keys, paramiko.PKey],
    log: shell.Log,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        threading.Thread(target=lambda: listener.accept()[0].close(), daemon=True).start()
        with pytest.raises(ChannelCut):
            shell.connect(port, access[0], log, seconds=5)
    with pytest.raises(ChannelCut):
        shell.connect(port, access[0], log, seconds=5)
    assert capfd.readouterr() == ("", "")


def test_host_key_in_dropbears_format() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    data = keys.dropbear(key)
    public = key.public_key().public_bytes_raw()
    assert data == b"\0\0\0\x0bssh-ed25519\0\0\0\x40" + bytes(range(32)) + public


def test_keys_are_new_each_time_and_private_in_the_image() -> None:
    one, other = keys.make(), keys.make()
    assert one.host.asbytes() != other.host.asbytes()
    modes = {e.path: e.mode & 0o777 for e in one.entries}
    assert modes["root/.ssh/authorized_keys"] == 0o600
    assert modes["etc/dropbear/dropbear_ed25519_host_key"] == 0o600
    assert modes["root"] == modes["root/.ssh"] == 0o700
