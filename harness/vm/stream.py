# SPDX-License-Identifier: GPL-2.0-only
"""One command in the guest whose input and outputs pass through as they come, for as long as it
takes: three file descriptors here, a channel of the SSH connection there."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass

import paramiko

from harness.vm import shell, tty
from harness.vm.channel import ChannelCut, ChannelTimeout

_OPEN = 60.0  # seconds for the guest to take a command
_CHUNK = 1 << 15
_PIECES = 64  # of output between two looks at anything else
_LOOK = 0.5  # seconds between two looks at whether the guest is alive
_FULL = 0.02  # seconds to wait while the guest does not take more input


@dataclass(frozen=True)
class Ends:
    """File descriptors. source: what the command reads, None for nothing."""

    source: int | None
    out: int
    err: int


def stream(
    connection: shell.Shell,
    command: str,
    ends: Ends,
    *,
    seconds: float | None,
    watch: Callable[[], None],
) -> int | None:
    """Run a command; its exit status, None where a signal ended it.

    seconds: a deadline, None for none. watch: see Channel (channel.py). ChannelTimeout and
    ChannelCut as there; OSError is of the file descriptors (BrokenPipeError: nobody reads).
    """
    until = None if seconds is None else time.monotonic() + seconds
    with connection.open(_OPEN) as channel:
        try:
            shell.execute(channel, command, _OPEN)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise ChannelCut(f"{type(error).__name__}: {error}") from error
        try:
            status = _Flow(channel, ends, until, watch).run()
        except (paramiko.SSHException, EOFError) as error:
            raise ChannelCut(f"{type(error).__name__}: {error}") from error
    if status is None and connection.ended():
        raise ChannelCut("the connection ended")
    return status


class _Flow:
    """What passes through one channel."""

    def __init__(
        self,
        channel: paramiko.Channel,
        ends: Ends,
        until: float | None,
        watch: Callable[[], None],
    ) -> None:
        self._channel, self._ends, self._until, self._watch = channel, ends, until, watch
        self._typed = memoryview(b"")  # read here, and not yet taken there
        self._reading = ends.source is not None

    def run(self) -> int | None:
        channel, looked = self._channel, 0.0
        if not self._reading:
            channel.shutdown_write()
        # Not epoll: that takes no regular files.
        with selectors.PollSelector() as selector:
            selector.register(channel.fileno(), selectors.EVENT_READ)
            while True:
                over = bool(channel.closed or channel.eof_received)
                self._drain()
                if channel.closed or (over and channel.exit_status_ready()):
                    while channel.recv_ready() or channel.recv_stderr_ready():
                        self._drain()
                    return channel.recv_exit_status() if channel.exit_status >= 0 else None
                self._feed()
                now = time.monotonic()
                if self._until is not None and now >= self._until:
                    raise ChannelTimeout
                if now - looked >= _LOOK:
                    self._watch()
                    looked = now
                self._wait(selector, over)

    def _wait(self, selector: selectors.PollSelector, over: bool) -> None:
        """Until there is something to do, or it is time to look around."""
        pause = _FULL if self._typed else _LOOK
        if self._until is not None:
            pause = min(pause, max(0.0, self._until - time.monotonic()))
        if over:  # nothing more to read, but the command still runs
            self._channel.status_event.wait(pause)
            return
        source = self._ends.source if self._reading and not self._typed else None
        if source is not None:
            selector.register(source, selectors.EVENT_READ)
        try:
            ready = {key.fd for key, _ in selector.select(pause)}
        finally:
            if source is not None:
                selector.unregister(source)
        if source is not None and source in ready:
            self._read(source)

    def _read(self, source: int) -> None:
        data = os.read(source, _CHUNK)
        self._typed = memoryview(data)
        if not data:
            self._reading = False
            self._channel.shutdown_write()

    def _feed(self) -> None:
        """Send what the guest takes now."""
        channel = self._channel
        while self._typed and channel.send_ready():
            try:
                sent = channel.send(bytes(self._typed))
            except OSError:
                if not channel.closed:
                    raise
                sent = 0
            if not sent:  # the command ended, and reads no more
                self._typed, self._reading = memoryview(b""), False
                return
            self._typed = self._typed[sent:]

    def _drain(self) -> None:
        channel, ends = self._channel, self._ends
        for _ in range(_PIECES):
            if channel.recv_ready():
                tty.write_all(ends.out, channel.recv(_CHUNK))
            elif channel.recv_stderr_ready():
                tty.write_all(ends.err, channel.recv_stderr(_CHUNK))
            else:
                return
