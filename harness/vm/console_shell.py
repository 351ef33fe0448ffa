# SPDX-License-Identifier: GPL-2.0-only
"""Commands over the serial console, for guests without a network.

The console is shared with printk, whose lines may land in the middle of ours. So what goes either
way is short, in base64 and with a checksum, and is asked for again until it is whole; and every
marker is typed in two halves, so that the echo of a line is never taken for its answer.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Callable

import pexpect

from harness.model import CommandResult
from harness.vm.channel import ChannelCut, ChannelTimeout
from harness.vm.console import Console, ConsoleClosed, Follower

FOLDER = "/tmp/.pinpage-console"
_TYPED = 700  # base64 characters in one typed line: a terminal takes 4095
_BLOCK = 1 << 15  # bytes of output that are asked for at a time, at most
_SMALL = 1 << 9  # and at least
_AGAIN = 3.0  # seconds after which a question is asked again, the first time
_LOOK = 0.5  # seconds between two looks at whether the guest is alive
_BASE64 = re.compile(rb"[A-Za-z0-9+/=]+")


class ConsoleShell:
    """A Channel (channel.py). A shell has to sit on the guest's console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def close(self) -> None:
        """Nothing is held between two commands."""

    def run(
        self, command: str, *, stdin: bytes, seconds: float, watch: Callable[[], None]
    ) -> CommandResult:
        started = time.monotonic()
        try:
            with self._console.attached() as spawn:
                talk = _Talk(spawn, started + seconds, watch)
                talk.ask(f"mkdir -p {FOLDER} && cd {FOLDER} && rm -f c i o e")
                talk.upload("c", command.encode())
                talk.upload("i", stdin)
                talk.type(f"(cd / && exec sh {FOLDER}/c) <i >o 2>e; pinpage_status=$?")
                status = int(talk.ask("", "$pinpage_status"))
                out, err = talk.download("o"), talk.download("e")
                talk.ask("cd /")
        except ConsoleClosed as error:
            raise ChannelCut(str(error)) from error
        except (pexpect.EOF, OSError) as error:
            raise ChannelCut("the console ended") from error
        return CommandResult(command, status, out, err, time.monotonic() - started)


class _Talk:
    """One conversation with the shell on the console."""

    def __init__(self, spawn: Follower, until: float, watch: Callable[[], None]) -> None:
        self._spawn = spawn
        self._until = until
        self._watch = watch

    def type(self, line: str) -> None:
        self._spawn.send(f"{line}\n".encode())

    def ask(self, line: str, value: str = "") -> str:
        """Type a line, and then ask for a value (a shell word) until a whole answer comes: by
        then the line has been run, once."""
        if line:
            self.type(line)
        mark = secrets.token_hex(6)
        question = _halves(f"{mark}:") + (value or "-") + _halves(f":{mark}")
        found = self._answer(f"echo {question}", rf"{mark}:(\S*):{mark}".encode())
        return found.decode(errors="replace")

    def _answer(self, question: str, answer: bytes) -> bytes:
        """Ask, and ask again (less and less often: what is typed while a command runs is kept in
        4096 bytes) until the answer has come."""
        pattern, wait = re.compile(answer, re.DOTALL), _AGAIN
        while True:
            self.type(question)
            again = time.monotonic() + wait
            while (left := min(again, self._until) - time.monotonic()) > 0:
                self._watch()
                found = self._spawn.expect([pattern, pexpect.TIMEOUT], timeout=min(left, _LOOK))
                if found == 0:
                    assert isinstance(self._spawn.match, re.Match)
                    return bytes(self._spawn.match[1])
            if time.monotonic() >= self._until:
                raise ChannelTimeout
            wait *= 2

    # --- contents -----------------------------------------------------------------------------

    def upload(self, name: str, data: bytes) -> None:
        """Make a file in the guest: its base64 in short lines, decoded there and checked."""
        text = base64.b64encode(data).decode()
        wanted = _sum(data)
        while True:
            self.ask(": > b")
            for at in range(0, len(text), _TYPED):
                self.ask(f"printf %s {text[at : at + _TYPED]} >> b")
            self.ask(f"base64 -d < b > {name}")
            if self.ask("", f"$(md5sum < {name} | cut -c1-32)") == wanted:
                return

    def download(self, name: str) -> bytes:
        """A file of the guest, in blocks: smaller ones while the kernel talks into them."""
        size = int(self.ask("", f"$(wc -c < {name} | tr -d ' ')"))
        got, block = b"", _BLOCK
        before, self._spawn.searchwindowsize = self._spawn.searchwindowsize, None
        try:
            while len(got) < size:
                data = self._block(name, len(got), block)
                block = max(block // 2, _SMALL) if data is None else min(block * 2, _BLOCK)
                got += data or b""
        finally:
            self._spawn.searchwindowsize = before
        return got

    def _block(self, name: str, at: int, size: int) -> bytes | None:
        """A part of a file; None when it did not come whole. Its checksum comes with it."""
        mark = secrets.token_hex(6)
        found = self._answer(
            f"dd if={name} of=b bs={_BLOCK} iflag=skip_bytes,count_bytes skip={at} count={size}"
            f" 2>/dev/null; echo {_halves(mark)}; md5sum < b | cut -c1-32; base64 < b;"
            f" echo {_halves(mark)}",
            rf"{mark}(.*?){mark}".encode(),
        )
        wanted, *lines = found.split() or [b""]
        data = _decode(lines)
        return data if data is not None and _sum(data).encode() == wanted else None


def _halves(mark: str) -> str:
    """A shell word that is the mark, and does not look like it."""
    middle = len(mark) // 2
    return f"'{mark[:middle]}''{mark[middle:]}'"


def _decode(lines: list[bytes]) -> bytes | None:
    """base64 lines; None if anything else stands between them."""
    if not all(_BASE64.fullmatch(line) for line in lines):
        return None
    try:
        return base64.b64decode(b"".join(lines), validate=True)
    except ValueError:
        return None


def _sum(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
