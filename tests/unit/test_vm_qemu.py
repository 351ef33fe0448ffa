# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's argv as a table, and what is read from its monitor."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import arch
from harness.errors import InputError
from harness.model import Accelerator
from harness.vm import qemu

TCG = Accelerator("tcg", "a test", 4.0)
KVM = Accelerator("kvm", "a test", 1.0)
BOOT = qemu.Boot(
    kernel=Path("/k/bzImage"),
    initrd=Path("/s/initrd"),
    sockets=Path("/s,1"),
    log=Path("/r,1/console.log"),
    memory_mib=768,
    smp=2,
    append=("movablecore=256M", "quiet"),
)


def pairs(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each option with what follows it."""
    return list(zip(words, (*words[1:], ""), strict=True))


@pytest.mark.parametrize("name", arch.all_arches())
@pytest.mark.parametrize("accel", [TCG, KVM], ids=lambda accel: accel.name)
def test_every_guest_is_bare_and_has_its_channels(name: str, accel: Accelerator) -> None:
    value = arch.get(name)
    words = qemu.argv(value, accel, BOOT, qemu="/usr/bin/qemu", sandbox=qemu.SANDBOX)
    assert words[0] == "/usr/bin/qemu"
    assert {"-nodefaults", "-no-user-config", "-no-reboot", "-S"} <= set(words)
    for pair in [
        ("-display", "none"),
        ("-machine", value.machine.machine),
        ("-accel", accel.name),
        ("-cpu", value.machine.cpu_tcg if accel is TCG else value.machine.cpu_kvm),
        ("-m", "768"),
        ("-smp", "2,sockets=2,cores=1,threads=1"),
        ("-chardev", "pipe,id=con,path=/s,,1/con,logfile=/r,,1/console.log,logappend=on"),
        ("-serial", "chardev:con"),
        ("-chardev", "socket,id=qmp,path=/s,,1/qmp,server=on,wait=off"),
        ("-mon", "chardev=qmp,mode=control"),
        ("-netdev", "user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"),
        ("-device", "virtio-net-pci,romfile=,netdev=n0"),
        ("-device", "virtio-rng-pci"),
        ("-kernel", "/k/bzImage"),
        ("-initrd", "/s/initrd"),
        qemu.SANDBOX,
    ]:
        assert pair in pairs(words)


@pytest.mark.parametrize(("name", "console"), [("x86_64", "ttyS0"), ("arm64", "ttyAMA0")])
def test_command_line(name: str, console: str) -> None:
    words = qemu.argv(arch.get(name), TCG, BOOT, qemu="q")
    line = dict(pairs(words))["-append"].split()
    assert line[0] == f"console={console}"
    assert {"panic=-1", "ignore_loglevel", "printk.time=1"} <= set(line)
    assert not any(word.startswith(("oops=", "nokaslr")) for word in line)
    assert line[-2:] == ["movablecore=256M", "quiet"]


@pytest.mark.parametrize(
    ("name", "machine", "cpu"),
    [("x86_64", "q35", "max"), ("arm64", "virt,gic-version=2", "cortex-a57")],
)
def test_machines(name: str, machine: str, cpu: str) -> None:
    options = dict(pairs(qemu.argv(arch.get(name), TCG, BOOT, qemu="q")))
    assert (options["-machine"], options["-cpu"]) == (machine, cpu)


def test_a_line_break_never_gets_to_the_kernel() -> None:
    with pytest.raises(InputError, match="kernel command line"):
        qemu.cmdline(arch.get("x86_64"), "tcg", ["a\nb"])


def test_an_emulated_processor_may_be_away_for_longer() -> None:
    own = arch.get("x86_64")
    assert "rcupdate.rcu_cpu_stall_timeout=60" in qemu.cmdline(own, "tcg", []).split()
    assert "stall" not in qemu.cmdline(own, "kvm", [])


def test_what_a_delay_is_no_emulated_processor_has_to_find_out() -> None:
    own = arch.get("x86_64")
    words = qemu.cmdline(own, "tcg", ["lpj=7"]).split()
    assert [word for word in words if word.startswith("lpj=")] == ["lpj=10000000", "lpj=7"]
    assert "lpj=" not in qemu.cmdline(own, "kvm", []) + qemu.cmdline(arch.get("arm64"), "tcg", [])


@pytest.mark.parametrize("name", arch.all_arches())
def test_tiny_guest_argv(name: str) -> None:
    value = arch.get(name)
    words = qemu.tiny_argv(value, "kvm", Path("/t/tiny"), qemu="q")
    assert (value.tiny.option, "/t/tiny") in pairs(words)
    assert ("-accel", "kvm") in pairs(words) and ("-serial", "stdio") in pairs(words)
    assert b"pinpage-accel-ok" in value.tiny.code


USERNET = """Hub -1 (n0):\r
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r
  TCP[ESTABLISHED]   12       127.0.0.1 50000       10.0.2.15    22     0     0\r
  TCP[HOST_FORWARD]   3       127.0.0.1 44483       10.0.2.15    22     0     0\r
"""


def test_forwarded_port() -> None:
    assert qemu.forwarded(USERNET) == 44483
    assert qemu.forwarded("Hub -1 (n0):\r\n") is None


@pytest.mark.parametrize(
    ("boot", "nodes"),
    [
        ({}, []),
        ({"nodes": 2}, ["512M cpus=0,2", "511M cpus=1"]),
        ({"nodes": 2, "bare_nodes": 1}, ["512M cpus=0,1,2", "511M"]),
        ({"nodes": 3, "bare_nodes": 1}, ["341M cpus=0,2", "341M cpus=1", "341M"]),
        ({"empty_nodes": 1}, ["1023M cpus=0,1,2", ""]),
        ({"nodes": 2, "bare_nodes": 1, "empty_nodes": 1}, ["512M cpus=0,1,2", "511M", ""]),
    ],
)
def test_each_node_has_its_memory_and_its_processors(
    boot: dict[str, Any], nodes: list[str]
) -> None:
    wanted = replace(BOOT, memory_mib=1023, smp=3, **boot)
    given = pairs(qemu.argv(arch.get("x86_64"), TCG, wanted, qemu="q"))
    sizes = dict(re.findall(r"id=(node\d+-ram),size=(\w+)", str(given)))
    found = []
    for number, words in enumerate(value for option, value in given if option == "-numa"):
        parts = words.split(",")
        assert parts[:2] == ["node", f"nodeid={number}"]
        own = [part.partition("=")[2] for part in parts if part.startswith("cpus=")]
        memory = [sizes[part.partition("=")[2]] for part in parts if part.startswith("memdev=")]
        found.append(" ".join([*memory, *(["cpus=" + ",".join(own)] if own else [])]))
    assert found == nodes
