# SPDX-License-Identifier: GPL-2.0-only
"""arm64 on QEMU's virt."""

from harness.model import Arch, Machine

ARCH = Arch(
    name="arm64",
    kernel_arch="arm64",
    image="arch/arm64/boot/Image",
    image_target="Image",
    cross="aarch64-linux-gnu-",
    deb="arm64",
    triplet="aarch64-linux-gnu",
    machines=("aarch64", "arm64"),
    qemu="qemu-system-aarch64",
    qemu_package="qemu-system-arm",
    compiler_package="gcc-aarch64-linux-gnu",
    machine=Machine(machine="virt,gic-version=2", cpu_tcg="cortex-a57", cpu_kvm="host"),
    console="ttyAMA0",
)
