# SPDX-License-Identifier: GPL-2.0-only
"""How a guest begins: booted, or restored as it was when it had booted before."""

from __future__ import annotations

import functools
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harness import cpio, proc
from harness.errors import GuestError, GuestLost, InfraError, InputError
from harness.model import Accelerator, Arch, GuestImage, Progress
from harness.vm import keys, qemu, shell, snapshot
from harness.vm.console import Console
from harness.vm.machine import MODULES, Machine, Parts, Process, said_by_qemu, wait_until
from harness.vm.qmp import Monitor, MonitorError

START_SECONDS = 20  # for QEMU to open its monitor
_POLL = 0.02
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)  # by somebody, not by what QEMU was given to read
_HUNG_UP = 0.5  # seconds for a QEMU that does not answer to be seen to have ended


@contextmanager
def boot(
    arch: Arch,
    kernel_image: Path,
    image: GuestImage,
    *,
    accel: Accelerator,
    profile_slowdown: float,
    folder: Path,
    modules: Mapping[str, Path],
    memory_mib: int = 1024,
    smp: int = 1,
    append: Sequence[str] = (),
    room: Sequence[tuple[int, int]] = (),
    nodes: int = 1,
    bare_nodes: int = 0,
    empty_nodes: int = 0,
    system_map: Path | None = None,
    snapshots: snapshot.Store | None = None,
    progress: Progress,
) -> Iterator[Machine]:
    """A guest that has run its first command; it is gone when the context ends.

    snapshots: where ready guests are kept; one that is there is restored instead of booted, and
    otherwise saved when it is ready. system_map: of the kernel, for a guest that hangs.
    folder gets console.log (QEMU's own recording), qemu.log and ssh.log. Raises GuestHang when
    the guest never got ready, GuestCrash when its kernel panicked first, GuestLost when QEMU
    went away, InfraError when QEMU does not take its argv. QEMU dies with the thread that calls
    this (see proc.spawn).
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in (kernel_image, image.path):
        if not path.is_file():
            raise InputError(f"there is no such file to boot: {path}")
    program = proc.find(arch.qemu, arch.qemu_package)
    wanted = qemu.Boot(
        kernel=kernel_image,
        initrd=image.path,
        sockets=Path(),
        log=Path(),
        memory_mib=memory_mib,
        smp=smp,
        append=tuple(append),
        room=tuple(room),
        nodes=nodes,
        bare_nodes=bare_nodes,
        empty_nodes=empty_nodes,
    )
    plan = _Plan(
        arch, accel, profile_slowdown, program, wanted, image, dict(modules), folder, system_map
    )
    with ExitStack() as stack:
        log = shell.Log(folder / "ssh.log")
        stack.callback(log.close)
        entry = None if snapshots is None else snapshots.entry(plan.name(), _version(program))
        guest = None if entry is None else plan.restore(entry, log, stack, progress)
        if guest is None:
            guest = plan.boot(entry, log, stack, progress)
        yield guest


@functools.cache
def _version(program: str) -> str:
    """What QEMU says of itself: a state is read by the version that wrote it."""
    return proc.run([program, "--version"]).stdout.decode(errors="replace")


def emulator(arch: Arch) -> str:
    """QEMU's name and version, in its own words."""
    lines = _version(proc.find(arch.qemu, arch.qemu_package)).splitlines()
    return lines[0].strip() if lines else ""


@dataclass(frozen=True)
class _Plan:
    """All that a guest is begun with, whether it boots or is restored."""

    arch: Arch
    accel: Accelerator
    slowdown: float
    program: str
    wanted: qemu.Boot
    image: GuestImage
    modules: Mapping[str, Path]
    folder: Path
    system_map: Path | None

    def name(self) -> tuple[str, ...]:
        """The argv of every such guest, with the same paths for each."""
        same = replace(
            self.wanted,
            kernel=Path("kernel"),
            initrd=Path("initrd"),
            sockets=Path("sockets"),
            log=Path("log"),
        )
        return qemu.argv(self.arch, self.accel, same, qemu=Path(self.program).name)

    def boot(
        self, entry: Path | None, log: shell.Log, stack: ExitStack, progress: Progress
    ) -> Machine:
        access = keys.make()
        own = [*access.entries, *_module_entries(self.modules)]
        initrd = cpio.pad(self.image.path.read_bytes()) + cpio.archive(own)
        guest = self._begin(initrd, stack)
        guest.get_ready(access, log, progress)
        if entry is None:
            guest.origin += ": snapshots were not asked for"
        else:
            guest.save(entry, access, log, progress)
        return guest

    def restore(
        self, entry: Path, log: shell.Log, stack: ExitStack, progress: Progress
    ) -> Machine | None:
        """The guest as it was saved; None where that cannot be had, so that it has to boot.

        GuestLost where somebody killed QEMU: that is nothing against the snapshot.
        """
        with ExitStack() as own:
            scratch = own.enter_context(tempfile.TemporaryDirectory(prefix="pinpage-"))
            saved = snapshot.take(entry, Path(scratch), progress)
            if saved is None:
                return None
            guest = self._begin(self.image.path.read_bytes(), own)
            try:
                snapshot.load(guest.qmp, saved.image, guest.patience)
                with guest.log.open("ab") as console:
                    console.write(saved.boot)
                guest.wake(saved, log)
            except (MonitorError, GuestError) as error:
                wait_until(lambda: guest.status is not None, _HUNG_UP)
                if guest.status in _KILLED:
                    raise guest.fate("the guest's restore", str(error)) from error
                progress.note(f"the snapshot {entry} is of no use, and the guest boots: {error}")
                snapshot.throw_away(entry, progress)
                return None
            guest.origin = "restored"
            stack.push(own.pop_all())
            return guest

    def _begin(self, initrd: bytes, stack: ExitStack) -> Machine:
        """QEMU with the guest's devices, its first instruction still to come."""
        runtime = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pinpage-")))
        console_log = _console_files(runtime, self.folder / "console.log")
        boot = replace(self.wanted, initrd=runtime / "initrd", sockets=runtime, log=console_log)
        boot.initrd.write_bytes(initrd)
        argv = qemu.argv(
            self.arch, self.accel, boot, qemu=self.program, sandbox=qemu.sandbox(self.program)
        )
        log = self.folder / "qemu.log"
        process, monitor = _start(argv, runtime, log, self.accel.speed, stack)
        fifo = runtime / f"{qemu.CONSOLE}.in"
        parts = Parts(
            arch=self.arch,
            argv=argv,
            process=process,
            monitor=monitor,
            console=Console(fifo, console_log, lambda: process.poll() is None),
            log=console_log,
            patience=self.accel.speed * self.slowdown,
            modules=self.modules,
            room=self.wanted.room,
            system_map=self.system_map,
        )
        guest = Machine(parts)
        stack.callback(guest.close)
        return guest


def _console_files(sockets: Path, log: Path) -> Path:
    """What QEMU finds as the two ends of the console: a FIFO, and nothing. Gives the absolute
    path of the log, empty, to which QEMU adds."""
    log = log.absolute()
    log.write_bytes(b"")
    os.mkfifo(sockets / f"{qemu.CONSOLE}.in", 0o600)
    (sockets / f"{qemu.CONSOLE}.out").symlink_to(os.devnull)
    return log


def _start(
    argv: Sequence[str], sockets: Path, log: Path, speed: float, stack: ExitStack
) -> tuple[Process, Monitor]:
    """QEMU, running and waiting, and its monitor; both end with the stack."""
    log.write_bytes(b"")
    process = proc.spawn(argv, log=log)
    stack.callback(proc.kill_group, process)
    monitor = Monitor(sockets / qemu.MONITOR)
    stack.callback(monitor.close)
    stack.callback(_quit, monitor, process)
    end = time.monotonic() + START_SECONDS * max(1.0, speed)
    while True:
        with suppress(MonitorError):
            monitor.connect()
            return process, monitor
        status = process.poll()
        if status is not None:
            raise _refused(argv, status, log)
        if time.monotonic() >= end:
            raise InfraError("QEMU does not open its monitor", command=argv, log=log)
        time.sleep(_POLL)  # between two tries, under a deadline


def _refused(argv: Sequence[str], status: int, log: Path) -> InfraError | GuestLost:
    said = said_by_qemu(log)
    if status < 0:
        message = f"QEMU was killed by signal {-status} before its guest began"
        return GuestLost(message, command=argv, log=log, detail=said)
    hint = "the guest's memory and CPUs (--memory, --smp) must fit this machine"
    message = f"QEMU refused to start (status {status})"
    return InfraError(message, command=argv, log=log, detail=said, hint=hint)


def _quit(monitor: Monitor, process: Process) -> None:
    """Ask QEMU to end; whatever it does with that, it is killed next."""
    if process.poll() is None:
        with suppress(MonitorError):
            monitor.execute("quit", seconds=2)
        wait_until(lambda: process.poll() is not None, 2)


def _module_entries(modules: Mapping[str, Path]) -> Iterator[cpio.Entry]:
    if modules:
        yield cpio.folder(MODULES)
    for _, path in sorted(modules.items()):
        yield cpio.file(f"{MODULES}/{path.name}", path.read_bytes(), 0o755)
