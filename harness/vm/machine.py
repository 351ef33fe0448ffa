# SPDX-License-Identifier: GPL-2.0-only
"""A booted guest: QEMU, its console, its monitor, and a way to run commands in it."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from harness import busybox, proc
from harness.errors import (
    CannotRun,
    GuestCommandError,
    GuestError,
    GuestHang,
    InfraError,
)
from harness.model import (
    Arch,
    CommandResult,
    PluggedMemory,
    Progress,
    Unplugged,
)
from harness.parse import blocked
from harness.vm import fate, keys, qemu, registers, shell, snapshot, sysrq
from harness.vm.channel import Channel, ChannelCut, ChannelTimeout
from harness.vm.console import Console, ConsoleClosed, ConsoleSilent, tail, wait_ready
from harness.vm.console_shell import ConsoleShell
from harness.vm.idle import Idle
from harness.vm.memory import MemoryDevices
from harness.vm.patrol import Patrol
from harness.vm.qmp import Monitor, MonitorError

BOOT_SECONDS = 30  # to the first command, with hardware acceleration and the fast profile
MODULES = "modules"  # the guest's folder of the guest modules
NO_NETWORK = "network=none"  # what a guest without one says behind its word of readiness
_POLL = 0.02
_ENTROPY = 64  # bytes for a guest that was restored
_DYING = 15  # seconds that a command gets after a report that its kernel may not live through
_ILL = 30  # the same after any other report, times the guest's patience where it is at work
_AGAIN = 5  # seconds for a guest whose connection was cut to let us in on another
_GONE = 3  # seconds for QEMU to end once its guest is known to be over


class Process(Protocol):
    """What is needed of QEMU's process."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...


@dataclass(frozen=True)
class Parts:
    """What a machine is made of."""

    arch: Arch
    argv: tuple[str, ...]
    process: Process
    monitor: Monitor
    console: Console
    log: Path
    patience: float
    modules: Mapping[str, Path]
    room: tuple[tuple[int, int], ...] = ()
    system_map: Path | None = None


@dataclass(frozen=True)
class Way:
    """Into a guest that has a network: a loopback port, the keys, and where paramiko logs."""

    port: int
    access: keys.Keys
    log: shell.Log


class Machine:
    """A Guest (model.py), and what else its host side offers.

    origin: ``booted``, ``booted and saved`` or ``restored``, and why not more than booted.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.origin = "booted"
        self._channel: Channel | None = None
        self._way: Way | None = None
        self._memory = MemoryDevices(
            parts.monitor, parts.arch.machine.memory_device, parts.patience, parts.room
        )

    @property
    def arch(self) -> str:
        return self._parts.arch.name

    @property
    def argv(self) -> tuple[str, ...]:
        return self._parts.argv

    @property
    def pid(self) -> int:
        """QEMU's."""
        return self._parts.process.pid

    @property
    def qmp(self) -> Monitor:
        return self._parts.monitor

    @property
    def console(self) -> Console:
        return self._parts.console

    @property
    def patience(self) -> float:
        """The factor on deadlines."""
        return self._parts.patience

    @property
    def status(self) -> int | None:
        """QEMU's exit status, negative for a signal; None while it runs."""
        return self._parts.process.poll()

    @property
    def log(self) -> Path:
        """The console's."""
        return self._parts.log

    @property
    def runtime(self) -> Path:
        """A folder of a short path that nobody else can read, and that goes with the guest."""
        return self._parts.console.fifo.parent

    @property
    def connection(self) -> shell.Shell | None:
        """What commands go over, None where that is the console."""
        return self._channel if isinstance(self._channel, shell.Shell) else None

    @property
    def way(self) -> Way | None:
        """How others come in, None where the guest has no network."""
        return self._way

    def console_text(self) -> str:
        return self._parts.console.text()

    # --- commands ---------------------------------------------------------------------------

    def run(self, command: str, *, timeout: float = 30, stdin: bytes = b"") -> CommandResult:
        assert self._channel is not None
        seconds = timeout * self._parts.patience
        name = f"`{_short(command)}`"
        try:
            watch = self._watch(name, patrol=self.connection)
            return self._channel.run(command, stdin=stdin, seconds=seconds, watch=watch)
        except ChannelTimeout:
            raise self.fate(name, f"it did not end within {seconds:g} s") from None
        except ChannelCut as error:
            raise self.cut(name, error) from None

    def cut(self, waiting: str, error: ChannelCut) -> GuestError | InfraError:
        """What it means that a connection was cut: the guest is over, or it hangs, or it lets us
        in again. Then the kernel has done nothing that could be told."""
        found = self.fate(waiting, f"the guest cut the connection ({error})", wait=True)
        if not isinstance(found, GuestHang) or not self._answers():
            return found
        return InfraError(
            f"{waiting}: the connection was cut ({error}), and the guest answers on another: how "
            "it ended is not known",
            hint="run it again; the end of console.log may tell of a process that was killed",
            log=self._parts.log,
        )

    def _answers(self) -> bool:
        if self._way is None:
            return False
        try:
            limit = _AGAIN * self._parts.patience
            shell.connect(self._way.port, self._way.access, self._way.log, seconds=limit).close()
        except ChannelCut:
            return False
        return True

    def must(self, command: str, *, timeout: float = 30, stdin: bytes = b"") -> str:
        done = self._check(command, self.run(command, timeout=timeout, stdin=stdin))
        return done.stdout.decode(errors="replace")

    def _check(self, command: str, done: CommandResult) -> CommandResult:
        if done.status == 0:
            return done
        ended = "was killed by a signal" if done.status is None else f"exited {done.status}"
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise GuestCommandError(
            f"`{_short(command)}` {ended} in the guest{f': {_last(said)}' if said else ''}",
            detail="\n".join(said.splitlines()[-20:]),
            console=tail(self.console_text()),
            log=self._parts.log,
        )

    def read(self, path: str, *, timeout: float = 30) -> bytes:
        command = busybox.cat(path)
        return self._check(command, self.run(command, timeout=timeout)).stdout

    def write(self, path: str, data: bytes, *, timeout: float = 30) -> None:
        to = shlex.quote(path)
        command = f": > {to}"
        if data:
            command = f"dd bs={len(data)} count=1 iflag=fullblock status=none of={to}"
        self._check(command, self.run(command, timeout=timeout, stdin=data))

    def put(self, local: Path, remote: str) -> None:
        to = shlex.quote(remote)
        mode = local.stat().st_mode & 0o777
        data = local.read_bytes()
        timeout = 30 + len(data) / 1e6
        self.must(f"cat > {to} && chmod {mode:o} {to}", stdin=data, timeout=timeout)

    def module(self, name: str) -> Path:
        try:
            return self._parts.modules[name]
        except KeyError:
            known = ", ".join(sorted(self._parts.modules)) or "none"
            raise CannotRun(
                f"no guest module {name} was built for this kernel (there are: {known})"
            ) from None

    def plug(self, mib: int, node: int = 0) -> PluggedMemory:
        return self._memory.plug(mib, node)

    def unplug(self, memory: PluggedMemory, *, seconds: float = 30) -> Unplugged:
        watch = self._watch(f"the unplug of {memory.name}")
        return self._memory.unplug(memory, seconds=seconds, watch=watch)

    # --- what became of it --------------------------------------------------------------------

    def fate(self, waiting: str, problem: str, *, wait: bool = False) -> GuestError:
        """The error for a guest that did not do what was waited for. wait: QEMU is about to end
        (the connection did); its exit status is waited for a little."""
        parts = self._parts
        if wait or parts.console.panicked():
            wait_until(lambda: parts.process.poll() is not None, _GONE)
        status = parts.process.poll()
        reason = ""
        if status == 0:
            event = parts.monitor.wait_event("SHUTDOWN", seconds=0.5)
            reason = str(event["data"].get("reason", "")) if event else ""
        scene = fate.Scene(
            waiting=waiting,
            problem=problem,
            status=status,
            reason=reason,
            said=said_by_qemu(parts.log.parent / "qemu.log"),
            console=parts.console.text(),
            log=parts.log,
        )
        found = fate.judge(scene)
        if not isinstance(found, GuestHang):
            return found
        return fate.judge(replace(scene, tasks=self._tasks()))

    def _tasks(self) -> tuple[blocked.Task, ...]:
        """Who waits in a guest that does not go on, and what its processors are at."""
        parts = self._parts
        said = sysrq.ask(parts.console, parts.monitor, parts.patience)
        if said or parts.system_map is None:
            return blocked.find(said.splitlines())
        return registers.look(parts.monitor, parts.system_map)

    def watch(self, waiting: str) -> Callable[[], None]:
        """What raises, when it is called, the error of a guest that is over."""
        return self._watch(waiting)

    @contextmanager
    def apart(self, *, alone: bool = True) -> Iterator[None]:
        """The guest stopped and with no connection of ours into it; afterwards it goes on,
        connected. alone: nor one of anybody's, as the guest sees it.

        MonitorError where QEMU refuses, or the guest does not close its connections.
        """
        network = self.connection is not None
        self.close()
        try:
            if network and alone:
                self._alone()
            self.qmp.execute("stop")
            yield
        finally:
            if self.status is None:
                self.qmp.execute("cont")
                self._again(network)

    def _again(self, network: bool) -> None:
        """Connect anew with a guest that was stopped."""
        if not network or self._way is None:
            return
        limit = BOOT_SECONDS * self._parts.patience
        never = f"the guest did not answer within {limit:g} s after it was stopped"
        port = self._port("the guest's way on after it was stopped")
        until = time.monotonic() + limit
        self._connect(port, self._way.access, self._way.log, until, never)

    def _watch(self, waiting: str, patrol: shell.Shell | None = None) -> Callable[[], None]:
        """patrol: what to look over for tasks that the kernel never runs again."""
        since: dict[float, tuple[float, float]] = {}
        idle = Idle(lambda: proc.wanted_seconds(self.pid))
        patience = self._parts.patience
        round_ = None
        if patrol is not None:
            round_ = Patrol(patrol, patience, self._spent, idle.seconds)

        def look() -> None:
            rested = idle.seconds()
            stuck = "" if round_ is None else round_.stuck()
            if stuck:
                raise self.fate(waiting, f"it does not end: {stuck}")
            if self._parts.process.poll() is not None or self._parts.console.panicked():
                raise self.fate(waiting, "the guest is over")
            ill = self._ill()
            if ill is None:
                return
            now = time.monotonic()
            when, before = since.setdefault(ill, (now, rested))
            if now - when > ill:
                said = f"it did not end within {ill:g} s of the kernel's report"
                raise self.fate(waiting, said)
            if rested - before > _ILL:
                said = f"since the kernel's report the guest had nothing to do for {_ILL} s"
                raise self.fate(waiting, f"it does not end: {said}")

        return look

    def _spent(self) -> float:
        """Seconds of this machine's processors that QEMU has had."""
        return proc.cpu_seconds(self.pid)

    def _ill(self) -> float | None:
        """Seconds that a command gets after what the kernel has reported, None if it did not."""
        if self._parts.console.oopsed():
            return _DYING
        return _ILL * self._parts.patience if self._parts.console.reported() else None

    # --- getting ready ------------------------------------------------------------------------

    def get_ready(self, access: keys.Keys, log: shell.Log, progress: Progress) -> None:
        """Let the guest go, and wait until a command has run in it."""
        limit = BOOT_SECONDS * self._parts.patience
        until = time.monotonic() + limit
        never = f"the guest never got ready within {limit:g} s"
        try:
            port = qemu.forwarded(self.qmp.human("info usernet"))
            with self.console.attached(whole=True) as spawn:
                self.qmp.execute("cont")
                word = wait_ready(spawn, limit)
        except (ConsoleClosed, MonitorError) as error:
            raise self.fate("the guest's boot", f"QEMU hung up ({error})", wait=True) from None
        except ConsoleSilent:
            raise self.fate("the guest's boot", never) from None
        if NO_NETWORK in word.split() or port is None:
            progress.note("the guest has no network: commands go over its console, slowly")
            self._channel = ConsoleShell(self.console)
            self._first_command(until, never)
            return
        self._connect(port, access, log, until, never)

    def wake(self, saved: snapshot.Saved, log: shell.Log) -> None:
        """Let a restored guest go, and have a command run in it."""
        limit = BOOT_SECONDS * self._parts.patience
        until = time.monotonic() + limit
        never = f"the restored guest did not answer within {limit:g} s"
        try:
            port = qemu.forwarded(self.qmp.human("info usernet"))
            self.qmp.execute("cont")
        except MonitorError as error:
            raise self.fate("the guest's restore", f"QEMU hung up ({error})", wait=True) from None
        if not saved.network or port is None:
            self._channel = ConsoleShell(self.console)
            self._first_command(until, never)
        else:
            self._connect(port, saved.access, log, until, never)
        # All that are restored from one snapshot have one state of their random numbers, and
        # live in the time at which it was saved.
        words = f"cat > /dev/urandom; date -s @{time.time():.0f} > /dev/null"
        self.must(words, stdin=os.urandom(_ENTROPY))

    def _connect(
        self, port: int, access: keys.Keys, log: shell.Log, until: float, never: str
    ) -> None:
        """Have a command run in the guest behind a port, before a moment that is named."""
        self._way = Way(port, access, log)
        while not self._reached(port, access, log, until):
            if time.monotonic() >= until:
                raise self.fate("the guest's SSH server", never)
            self._watch("the guest's SSH server")()
            time.sleep(_POLL)  # between two tries, under a deadline
        self._first_command(until, never)

    def save(self, entry: Path, access: keys.Keys, log: shell.Log, progress: Progress) -> None:
        """Save the guest as it is now, with no connection into it; it goes on."""
        if self.console.oopsed():
            self.origin += ": its kernel reported an oops on the way, and it is not saved"
            return
        limit = BOOT_SECONDS * self._parts.patience
        network = isinstance(self._channel, shell.Shell)
        self.close()
        try:
            if network:
                self._alone()
            self.qmp.execute("stop")  # so that the console's text ends where the state does
            boot = self._parts.log.read_bytes()
            scratch = self._parts.console.fifo.parent
            patience = self._parts.patience
            snapshot.keep(entry, self.qmp, access, boot, network, scratch, patience, progress)
            self.origin += " and saved"
        except (MonitorError, InfraError, OSError) as error:
            self.origin += f": it could not be saved ({error})"
            progress.note(f"this guest cannot be saved, and is booted each time: {error}")
        finally:
            with suppress(MonitorError):
                self.qmp.execute("cont")
        if network:
            never = f"the guest did not answer within {limit:g} s after it was saved"
            port = self._port("the guest's way on after it was saved")
            self._connect(port, access, log, time.monotonic() + limit, never)

    def _port(self, waiting: str) -> int:
        """The loopback port before a guest that has a network."""
        try:
            port = qemu.forwarded(self.qmp.human("info usernet"))
        except MonitorError as error:
            raise self.fate(waiting, f"QEMU hung up ({error})", wait=True) from None
        assert port is not None  # it was reached by it before
        return port

    def _alone(self) -> None:
        """Wait until the guest, too, has closed every connection to it."""
        until = time.monotonic() + _GONE * self._parts.patience
        while qemu.connections(self.qmp.human("info usernet")):
            if time.monotonic() >= until:
                raise MonitorError("it does not close its connections")
            time.sleep(_POLL)  # between two looks, under a deadline

    def _reached(self, port: int, access: keys.Keys, log: shell.Log, until: float) -> bool:
        """Whether the guest lets us in. It may cut us off while it still boots."""
        left = max(1.0, until - time.monotonic())
        try:
            self._channel = shell.connect(port, access, log, seconds=left)
        except ChannelCut:
            return False
        return True

    def _first_command(self, until: float, never: str) -> None:
        assert self._channel is not None
        watch = self._watch("the guest's first command")
        try:
            left = max(1.0, until - time.monotonic())
            self._channel.run("true", stdin=b"", seconds=left, watch=watch)
        except ChannelTimeout:
            raise self.fate("the guest's first command", never) from None
        except ChannelCut as error:
            problem = f"the guest cut the connection ({error})"
            raise self.fate("the guest's first command", problem, wait=True) from None

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()


def wait_until(done: Callable[[], bool], seconds: float) -> None:
    """Wait until done says so, or so many seconds have passed."""
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(_POLL)


def said_by_qemu(log: Path) -> str:
    """The last lines of what QEMU printed."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def _short(command: str) -> str:
    """A command as a message names it: of several lines the first and the last."""
    first, *rest = command.strip().splitlines() or [""]
    line = f"{first[:20]} … {rest[-1]}" if rest else first
    return line if len(line) <= 80 else f"{line[:80]}…"


def _last(text: str) -> str:
    return text.splitlines()[-1]
