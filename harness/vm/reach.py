# SPDX-License-Identifier: GPL-2.0-only
"""How others reach a guest that runs: ssh(1), a debugger. Unix sockets and loopback alone."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import InfraError
from harness.vm import qemu
from harness.vm.machine import Machine
from harness.vm.qmp import MonitorError
from harness.vm.shell import USER

_KEY, _KNOWN, _STUB = "key", "known_hosts", "gdb"
_LOOPBACK = "127.0.0.1"
_DETACH = b"+$D#44"  # the debugger's packet by which all breakpoints go and the guest goes on
_SECONDS = 5


def ssh(guest: Machine) -> str:
    """The command that opens a shell in the guest, its key written where nobody else reads it;
    "" where the guest has no network."""
    way = guest.way
    if guest.connection is None or way is None:
        return ""
    key, known = guest.runtime / _KEY, guest.runtime / _KNOWN
    key.unlink(missing_ok=True)
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(way.access.text)
    host = way.access.host
    known.write_text(f"[{_LOOPBACK}]:{way.port} {host.get_name()} {host.get_base64()}\n")
    options = (
        *("-F", "none", "-o", f"UserKnownHostsFile={known}", "-o", "IdentitiesOnly=yes"),
        *("-i", str(key), "-p", str(way.port)),
    )
    return shlex.join(["ssh", *options, f"{USER}@{_LOOPBACK}"])


@contextmanager
def debugger(guest: Machine) -> Iterator[Path]:
    """A unix socket on which QEMU waits for a debugger while the guest runs; breakpoints that one
    leaves are gone afterwards. InfraError where QEMU opens none."""
    stub = guest.runtime / _STUB
    _open(guest, stub)
    try:
        yield stub
    finally:
        if guest.status is None:
            with suppress(MonitorError, OSError, InfraError):
                _shut(guest, stub)


def _open(guest: Machine, stub: Path) -> None:
    try:
        said = guest.qmp.human(f"gdbserver unix:{qemu.escape(stub)},server=on,wait=off")
    except MonitorError as error:
        said = str(error)
    if not stub.exists():
        raise InfraError(f"QEMU opens no socket for a debugger: {' '.join(said.split())}")


def _shut(guest: Machine, stub: Path) -> None:
    """Whoever is on the socket is sent away; a debugger of our own takes all breakpoints along."""
    _none(guest, stub)
    _open(guest, stub)
    with socket.socket(socket.AF_UNIX) as own:
        own.settimeout(_SECONDS)
        own.connect(str(stub))
        own.sendall(_DETACH)
        own.recv(4096)
    _none(guest, stub)


def _none(guest: Machine, stub: Path) -> None:
    guest.qmp.human("gdbserver none")
    stub.unlink(missing_ok=True)
