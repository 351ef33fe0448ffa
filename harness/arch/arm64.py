# SPDX-License-Identifier: GPL-2.0-only
"""arm64 on QEMU's virt."""

from harness.model import Arch, Machine, TinyGuest

_TINY = (
    0xD2A12001,  #    movz x1, #0x900, lsl #16: the PL011
    0x100001A0,  #    adr x0, text
    0xD2A0BEA3,  #    movz x3, #0x5f5, lsl #16
    0xF29C2003,  #    movk x3, #0xe100: 100000000
    0xF1000463,  # 1: subs x3, x3, #1
    0x54FFFFE1,  #    b.ne 1b
    0x38401402,  # 2: ldrb w2, [x0], #1
    0x34000062,  #    cbz w2, 3f
    0xB9000022,  #    str w2, [x1]
    0x17FFFFFD,  #    b 2b
    0xD2800100,  # 3: movz x0, #8
    0xF2B08000,  #    movk x0, #0x8400, lsl #16: PSCI SYSTEM_OFF
    0xD4000002,  #    hvc #0
    0x14000000,  #    b .
)
_TEXT = b"pinpage-accel-ok\n\0"

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
    machine=Machine(
        machine="virt,gic-version=2",
        cpu_tcg="cortex-a57",
        cpu_kvm="host",
        memory_device="virtio-mem-pci",  # a DIMM would need UEFI to announce it
    ),
    console="ttyAMA0",
    # A program that dies of a fault is told of, as x86 does by itself (kernel/signal.c)
    cmdline=("sysctl.debug.exception-trace=1",),
    tiny=TinyGuest(
        code=b"".join(word.to_bytes(4, "little") for word in _TINY) + _TEXT,
        option="-kernel",
    ),
)
