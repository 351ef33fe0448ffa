# SPDX-License-Identifier: GPL-2.0-only
"""x86_64 on QEMU's q35."""

from harness.model import Arch, Machine

ARCH = Arch(
    name="x86_64",
    kernel_arch="x86",
    image="arch/x86/boot/bzImage",
    image_target="bzImage",
    cross="x86_64-linux-gnu-",
    deb="amd64",
    triplet="x86_64-linux-gnu",
    machines=("x86_64", "amd64"),
    qemu="qemu-system-x86_64",
    qemu_package="qemu-system-x86",
    compiler_package="gcc-x86-64-linux-gnu",
    machine=Machine(machine="q35", cpu_tcg="max", cpu_kvm="host"),
    console="ttyS0",
    cmdline=("earlyprintk=ttyS0,keep", "reboot=t"),
)
