# SPDX-License-Identifier: GPL-2.0-only
"""Commands in the guest over SSH: paramiko, with both keys made for this run.

paramiko reads the connection in a thread of its own, and what that thread has to say of a
connection that was cut (normal while a guest boots, and when it dies) goes to a file.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import paramiko

from harness.errors import InfraError
from harness.model import CommandResult
from harness.vm.channel import ChannelCut, ChannelTimeout
from harness.vm.keys import Keys

USER = "root"
_CHUNK = 1 << 15
_LOOK = 0.5  # seconds between two looks at whether the guest is alive
_FULL = 0.02  # seconds to wait while the guest does not take more input


class Log:
    """paramiko's log of one run, in a file and nowhere else."""

    def __init__(self, path: Path) -> None:
        self.name = f"pinpage.ssh.{id(self):x}"
        self._handler = logging.FileHandler(path, encoding="utf-8", delay=True)
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger = logging.getLogger(self.name)
        logger.propagate = False
        logger.setLevel(logging.INFO)
        logger.addHandler(self._handler)

    def close(self) -> None:
        """Let go of the file; what a dying thread still says after this is dropped."""
        logger = logging.getLogger(self.name)
        logger.addHandler(logging.NullHandler())
        logger.removeHandler(self._handler)
        self._handler.close()


def connect(port: int, keys: Keys, log: Log, *, seconds: float) -> Shell:
    """Connect to the guest behind a loopback port. ChannelCut when nobody answers there (yet).

    InfraError when the one that answers has another host key than the one made for the guest.
    """
    try:
        end = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        transport = paramiko.Transport(end)
    except (OSError, paramiko.SSHException) as error:
        raise ChannelCut(str(error)) from error
    transport.set_log_channel(log.name)
    transport.daemon = True
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = seconds
    transport.get_security_options().key_types = (keys.host.get_name(),)
    try:
        transport.start_client(timeout=seconds)
        found = transport.get_remote_server_key()
        if found.asbytes() != keys.host.asbytes():
            raise InfraError(
                f"who answers on 127.0.0.1:{port} is not the guest: another host key",
                detail=f"expected {keys.host.fingerprint}, found {found.fingerprint}",
                hint="another program took the port; run it again",
            )
        transport.auth_publickey(USER, keys.client)
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.close()
        raise ChannelCut(f"{type(error).__name__}: {error}") from error
    except BaseException:
        transport.close()
        raise
    return Shell(transport)


class Shell:
    """An authenticated connection; each command runs in a channel of its own."""

    def __init__(self, transport: paramiko.Transport) -> None:
        self._transport = transport

    def close(self) -> None:
        self._transport.close()

    @contextmanager
    def open(self, seconds: float) -> Iterator[paramiko.Channel]:
        """A channel of the caller's own; ChannelCut where the guest gives none."""
        try:
            channel = self._transport.open_session(timeout=seconds)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise ChannelCut(f"{type(error).__name__}: {error}") from error
        try:
            yield channel
        finally:
            # Of a connection that has ended meanwhile: what its user met counts.
            with suppress(paramiko.SSHException, EOFError, OSError):
                channel.close()

    def run(
        self, command: str, *, stdin: bytes, seconds: float, watch: Callable[[], None]
    ) -> CommandResult:
        """See Channel. stdout and stderr may be of any size, and come while stdin still goes."""
        started = time.monotonic()
        talk = _Talk(memoryview(stdin), watch, started + seconds)
        try:
            channel = self._transport.open_session(timeout=seconds)
            with channel:
                channel.settimeout(seconds)
                execute(channel, command, seconds)
                status = talk.listen(channel)
        except (paramiko.SSHException, EOFError, OSError) as error:
            if time.monotonic() >= started + seconds:
                raise ChannelTimeout from error
            raise ChannelCut(f"{type(error).__name__}: {error}") from error
        if status is None and self.ended():
            raise ChannelCut("the connection ended")
        return CommandResult(
            command,
            status,
            b"".join(talk.out),
            b"".join(talk.err),
            time.monotonic() - started,
        )

    def ended(self) -> bool:
        """Whether the connection ended: its thread closes the channels first, and then goes."""
        self._transport.join(_LOOK)
        return not self._transport.is_active()


def execute(channel: paramiko.Channel, command: str, seconds: float) -> None:
    """Ask for a command. paramiko waits for the answer without a deadline of its own."""
    deadline = threading.Timer(seconds, channel.close)
    deadline.daemon = True
    deadline.start()
    try:
        channel.exec_command(command)
    finally:
        deadline.cancel()


@dataclass
class _Talk:
    """One command's input and output."""

    rest: memoryview
    watch: Callable[[], None]
    until: float
    out: list[bytes] = field(default_factory=list)
    err: list[bytes] = field(default_factory=list)

    def listen(self, channel: paramiko.Channel) -> int | None:
        """Feed and drain until the guest closes the channel; the exit status it sent, None
        without one (a signal, or a cut connection)."""
        looked = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(channel.fileno(), selectors.EVENT_READ)
            if not self.rest:
                channel.shutdown_write()
            while True:
                over = channel.closed or channel.eof_received
                self._drain(channel)
                if channel.closed or (over and channel.exit_status_ready()):
                    self._drain(channel)
                    break
                full = self._feed(channel)
                now = time.monotonic()
                if now >= self.until:
                    raise ChannelTimeout
                if now - looked >= _LOOK:
                    self.watch()
                    looked = now
                pause = min(_FULL if full else _LOOK, self.until - now)
                if over:  # nothing more to read, but the command still runs
                    channel.status_event.wait(pause)
                else:
                    selector.select(pause)
        return channel.recv_exit_status() if channel.exit_status >= 0 else None

    def _drain(self, channel: paramiko.Channel) -> None:
        while channel.recv_ready():
            self.out.append(channel.recv(_CHUNK))
        while channel.recv_stderr_ready():
            self.err.append(channel.recv_stderr(_CHUNK))

    def _feed(self, channel: paramiko.Channel) -> bool:
        """Send what the guest takes now; whether there is more."""
        if not self.rest:
            return False
        while self.rest and channel.send_ready():
            try:
                sent = channel.send(bytes(self.rest[:_CHUNK]))
            except OSError:
                if not channel.closed:
                    raise
                sent = 0
            # 0: the command ended and reads no more
            self.rest = self.rest[sent or len(self.rest) :]
        if not self.rest:
            channel.shutdown_write()
        return bool(self.rest)
