# SPDX-License-Identifier: GPL-2.0-only
"""A real SSH server (paramiko's) that runs a real shell of this machine, in place of a guest's."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import socket
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED

from harness.vm import keys, shell

PIECE = 1 << 15
QUIET = "paramiko.test-server"


class Server(paramiko.ServerInterface):
    """Lets one key in and runs what it is asked to. ``vanish`` cuts the connection."""

    def __init__(self, client: paramiko.PKey) -> None:
        self._client = client
        self.transport: paramiko.Transport | None = None
        self._terminal: Terminal | None = None

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        known = username == "root" and key.asbytes() == self._client.asbytes()
        return AUTH_SUCCESSFUL if known else AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if command == b"vanish":
            assert self.transport is not None
            self.transport.sock.close()
            return False
        work = serve if self._terminal is None else self._terminal.serve
        threading.Thread(target=work, args=(channel, command), daemon=True).start()
        return True

    def check_channel_pty_request(
        self,
        channel: paramiko.Channel,
        term: bytes,
        width: int,
        height: int,
        pixelwidth: int,
        pixelheight: int,
        modes: bytes,
    ) -> bool:
        self._terminal = Terminal(term.decode(), width, height)
        return True

    def check_channel_window_change_request(
        self, channel: paramiko.Channel, width: int, height: int, pixelwidth: int, pixelheight: int
    ) -> bool:
        assert self._terminal is not None
        self._terminal.resize(width, height)
        return True


class Terminal:
    """A pseudo terminal with a shell on it."""

    def __init__(self, term: str, width: int, height: int) -> None:
        self._term = term
        self.end, self._child = pty.openpty()
        self.resize(width, height)

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def serve(self, channel: paramiko.Channel, command: bytes) -> None:
        argv = ["setsid", "--ctty", "--wait", "sh", "-c", command.decode()]
        env = {**os.environ, "TERM": self._term, "PS1": "guest$ "}
        side = self._child
        shell = subprocess.Popen(argv, stdin=side, stdout=side, stderr=side, env=env)
        os.close(side)
        with channel:
            shown = copy(lambda size: os.read(self.end, size), channel.sendall)
            typed = copy(channel.recv, lambda data: written(self.end, data))
            status = shell.wait()
            shown.join()
            channel.send_exit_status(status)
        typed.join()
        os.close(self.end)


def written(end: int, data: bytes) -> None:
    os.write(end, data)


def serve(channel: paramiko.Channel, command: bytes) -> None:
    argv = ["sh", "-c", command.decode()]
    pipe = subprocess.PIPE
    with channel, subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe) as child:
        assert child.stdin is not None
        assert isinstance(child.stdout, BufferedReader)
        assert isinstance(child.stderr, BufferedReader)
        out = copy(child.stdout.read1, channel.sendall)
        err = copy(child.stderr.read1, channel.sendall_stderr)
        threading.Thread(target=feed, args=(channel, child.stdin), daemon=True).start()
        out.join()
        err.join()
        if child.wait() >= 0:
            channel.send_exit_status(child.returncode)


def feed(channel: paramiko.Channel, stdin: IO[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):  # a client, or a child, that went away
        while data := channel.recv(PIECE):
            stdin.write(data)
            stdin.flush()
        stdin.close()


def copy(read: Callable[[int], bytes], send: Callable[[bytes], None]) -> threading.Thread:
    def work() -> None:
        with contextlib.suppress(OSError, EOFError):
            while data := read(PIECE):
                send(data)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@contextlib.contextmanager
def serving(access: keys.Keys, host: paramiko.PKey) -> Iterator[int]:
    """A server on a loopback port, for one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            end = listener.accept()[0]
            transport = paramiko.Transport(end)
            transport.set_log_channel(QUIET)
            transport.add_server_key(host)
            server = Server(access.client)
            server.transport = transport
            with contextlib.suppress(paramiko.SSHException, EOFError, ConnectionError):
                transport.start_server(server=server)

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


@contextlib.contextmanager
def connected(folder: Path) -> Iterator[shell.Shell]:
    """A guest's shell, its log in a folder."""
    both, log = access(), shell.Log(folder / "ssh.log")
    with serving(*both) as port:
        value = shell.connect(port, both[0], log, seconds=10)
        yield value
        value.close()
    log.close()


def access() -> tuple[keys.Keys, paramiko.PKey]:
    """A run's keys, and the private half of the guest's, from its image as dropbear reads it."""
    value = keys.make()
    (stored,) = [e.data for e in value.entries if e.path.endswith("ed25519_host_key")]
    seed = stored[-64:-32]
    return value, keys._client(keys._openssh(Ed25519PrivateKey.from_private_bytes(seed)))
