# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's argv, from values: pure but for ``sandbox``, which asks the installed QEMU."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import proc
from harness.errors import InputError, ToolError
from harness.model import Accelerator, Arch

SANDBOX = ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
# Nothing that we did not ask for: no default devices, no user's configuration, no window. The
# guest's reset, which is what panic=-1 does, ends QEMU.
_BARE = ("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot")
# panic=-1 and not oops=panic: an oops that the kernel survives is read from the console.
_CMDLINE = ("panic=-1", "ignore_loglevel", "printk.time=1")
# A processor that is emulated beside others may not be run for a while: seconds before it is
# reported to stall, 21 by default (kernel/rcu/update.c; kernel/rcupdate.c until v3.14).
_PATIENT = ("rcupdate.rcu_cpu_stall_timeout=60",)

CONSOLE = "con"  # with .in (a FIFO) and .out (nowhere: the log has it) behind it
MONITOR = "qmp"
DIMM = "pc-dimm"
VIRTIO_MEM = "virtio-mem-pci"


@dataclass(frozen=True)
class Boot:
    """What one boot puts before QEMU. sockets: a folder whose path is short (a unix socket's
    path ends at 108 bytes); the console's FIFO is in it. log: what the console says is added to
    this file, whatever it holds already. room: the memory that is plugged later, (MiB, node) each.
    nodes: NUMA nodes, which share memory and, but for the last bare_nodes of them, processors;
    empty_nodes: further ones, which have neither."""

    kernel: Path
    initrd: Path
    sockets: Path
    log: Path
    memory_mib: int
    smp: int
    append: tuple[str, ...] = ()
    room: tuple[tuple[int, int], ...] = ()
    nodes: int = 1
    bare_nodes: int = 0
    empty_nodes: int = 0


def cmdline(arch: Arch, accelerator: str, append: Sequence[str]) -> str:
    """The kernel command line; the user's words come last, and so win."""
    for word in append:
        if not word.isprintable():
            raise InputError(f"no word for a kernel command line: {word!r}", hint="see --append")
    own = (*arch.cmdline, *arch.machine.cmdline)
    own += () if accelerator == "kvm" else (*arch.cmdline_tcg, *_PATIENT)
    return " ".join([f"console={arch.console}", *own, *_CMDLINE, *append])


def argv(
    arch: Arch, accel: Accelerator, boot: Boot, *, qemu: str, sandbox: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """A guest that waits for ``cont`` before its first instruction, so that nobody who listens
    misses anything. Its port 22 is forwarded from a loopback port that the host picks (ask the
    monitor: ``forwarded``), and it reaches no network."""
    monitor = f"socket,id=qmp,path={escape(boot.sockets / MONITOR)},server=on,wait=off"
    console = f"pipe,id=con,path={escape(boot.sockets / CONSOLE)}"
    console += f",logfile={escape(boot.log)},logappend=on"
    return (
        qemu,
        *_BARE,
        *sandbox,
        *_machine(arch, accel.name),
        *("-m", _memory(boot)),
        *("-smp", _processors(boot.smp)),
        *_nodes(boot),
        *("-chardev", console),
        *("-serial", "chardev:con"),
        *("-chardev", monitor),
        *("-mon", "chardev=qmp,mode=control"),
        *("-netdev", "user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"),
        *("-device", f"{arch.machine.network},netdev=n0"),
        *("-device", arch.machine.entropy),
        *_devices(arch, boot),
        *arch.machine.devices,
        *("-kernel", str(boot.kernel)),
        *("-initrd", str(boot.initrd)),
        *("-append", cmdline(arch, accel.name, boot.append)),
        "-S",
    )


def tiny_argv(
    arch: Arch, accelerator: str, code: Path, *, qemu: str, sandbox: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """The architecture's tiny guest (code holds it), its serial port on QEMU's stdout."""
    return (
        qemu,
        *_BARE,
        *sandbox,
        *_machine(arch, accelerator),
        *arch.tiny.devices,
        *(arch.tiny.option, str(code)),
        *("-serial", "stdio"),
    )


def _machine(arch: Arch, accelerator: str) -> tuple[str, ...]:
    machine = arch.machine
    cpu = machine.cpu_kvm if accelerator == "kvm" else machine.cpu_tcg
    return ("-machine", machine.machine, "-accel", accelerator, "-cpu", cpu)


def _memory(boot: Boot) -> str:
    if not boot.room:
        return str(boot.memory_mib)
    most = boot.memory_mib + sum(mib for mib, _ in boot.room)
    return f"{boot.memory_mib},slots={len(boot.room)},maxmem={most}M"


def _devices(arch: Arch, boot: Boot) -> tuple[str, ...]:
    """Memory devices that are there from the start, with no memory yet: virtio-mem's, whose size
    changes while the guest runs. DIMMs are plugged when they are wanted (vm/memory.py)."""
    if arch.machine.memory_device != VIRTIO_MEM:
        return ()
    words: list[str] = []
    for number, (mib, node) in enumerate(boot.room, 1):
        name = f"mem{number}"
        words += ["-object", f"memory-backend-ram,id={name}-ram,size={mib}M"]
        device = f"{VIRTIO_MEM},id={name},memdev={name}-ram,node={node},requested-size=0"
        words += ["-device", device]
    return tuple(words)


def _nodes(boot: Boot) -> tuple[str, ...]:
    """Nodes of about the same size, processors dealt out in turn; the last ones may have none."""
    if boot.nodes + boot.empty_nodes == 1:
        return ()
    words: list[str] = []
    share = boot.memory_mib // boot.nodes
    dealt = boot.nodes - boot.bare_nodes
    for node in range(boot.nodes):
        size = share + (boot.memory_mib % boot.nodes if node == 0 else 0)
        words += ["-object", f"memory-backend-ram,id=node{node}-ram,size={size}M"]
        own = "".join(f",cpus={cpu}" for cpu in range(node, boot.smp, dealt) if node < dealt)
        words += ["-numa", f"node,nodeid={node},memdev=node{node}-ram{own}"]
    for node in range(boot.nodes, boot.nodes + boot.empty_nodes):
        words += ["-numa", f"node,nodeid={node}"]
    return tuple(words)


def _processors(count: int) -> str:
    """Each in a socket of its own: the MP tables of x86's firmware, which a kernel without ACPI
    goes by, name the first processor of a socket alone."""
    return f"{count},sockets={count},cores=1,threads=1"


def escape(path: Path) -> str:
    """A path inside one of QEMU's comma separated options."""
    return str(path).replace(",", ",,")


def forwarded(usernet: str) -> int | None:
    """The loopback port before the guest's port 22, from the monitor's ``info usernet``."""
    found = re.search(r"TCP\[HOST_FORWARD\]\s+\S+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+22\b", usernet)
    return int(found[1]) if found else None


def connections(usernet: str) -> int:
    """TCP connections that one end at least has not closed, from the same."""
    states = re.findall(r"TCP\[(\w+)\]", usernet)
    return sum(state not in ("HOST_FORWARD", "TIME_WAIT", "CLOSED") for state in states)


@functools.cache
def sandbox(qemu: str) -> tuple[str, ...]:
    """QEMU's system call filter, if this QEMU was built with it and it works here."""
    argv = (qemu, *_BARE, *SANDBOX, "-machine", "none", "-S", "-monitor", "stdio")
    try:
        done = proc.run(argv, stdin=b"quit\n", timeout=20, check=False)
    except ToolError:
        return ()
    return SANDBOX if done.status == 0 else ()
