# SPDX-License-Identifier: GPL-2.0-only
"""x86_64 on QEMU's q35."""

from harness.model import Arch, Machine, TinyGuest

# A ROM's last page, entered at its reset vector. It goes on to long mode before it counts:
# there are hosts whose KVM runs a guest's first instructions at a crawl, one by one, and on
# which no kernel ever gets to its first line.
_TINY = bytes.fromhex(
    "fa"  #                      cli
    "2e660f0116c1ff"  #          lgdtl %cs:gdtr
    "0f20c0 0c01 0f22c0"  #      cr0 |= PE
    "66ea18ffffff0800"  #        ljmpl $8, 1f
    "b010 8ed8 8ec0"  #       1: ds = es = 0x10
    "bf00100000 0f22df"  #       cr3 = 0x1000: the page tables, in RAM
    "b9000c0000 31c0 f3ab"  #    clear three pages
    "66c705001000000320"  #      level 4, entry 0: 0x2000
    "66c705182000000330"  #      level 3, entry 3: 0x3000
    "c705f83f00008300e0ff"  #    level 2, entry 511: this ROM, 2 MiB
    "b020 0f22e0"  #             cr4 = PAE
    "b9800000c0 0f32 80cc01 0f30"  # efer |= LME
    "0f20c0 0fbae81f 0f22c0"  #  cr0 |= PG
    "ea6dffffff1800"  #          ljmp $0x18, 1f
    "b900e1f505"  #           1: mov $100000000, %ecx
    "ffc9 75fc"  #            2: dec %ecx; jnz 2b
    "488d3512000000"  #          lea text(%rip), %rsi
    "baf8030000"  #              mov $0x3f8, %edx
    "ac 84c0 7403"  #         3: lodsb; test %al, %al; jz 4f
    "ee ebf8"  #                 out %al, %dx; jmp 3b
    "e6f4 f4 ebfb"  #         4: out %al, $0xf4: QEMU ends; hlt; jmp 4b
)
_TEXT = b"pinpage-accel-ok\n\0"
_GDT = bytes.fromhex("0000000000000000 ffff0000009bcf00 ffff00000093cf00 ffff0000009baf00")
_GDTR = bytes.fromhex("1f00 a1ffffff")
_RESET = bytes.fromhex("e90dff")  # jmp to the page's begin
_PAGE = (_TINY + _TEXT + _GDT + _GDTR).ljust(0xF0, b"\xf4") + _RESET.ljust(16, b"\xf4")

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
    machine=Machine(machine="q35", cpu_tcg="max", cpu_kvm="host", memory_device="pc-dimm"),
    console="ttyS0",
    # earlyprintk not ",keep": every line would come twice. no_timer_check: a busy host's emulated
    # timer may be late, and the kernel would panic that its IO-APIC does not work.
    cmdline=("earlyprintk=ttyS0", "no_timer_check", "reboot=t"),
    # How long a delay is each processor finds out for itself where the TSC is not known to be
    # constant (init/calibrate.c). On a busy host all but the first get it wrong, a thousand times
    # too short were seen: no delay. Of a TSC of 2.5 GHz and 250 ticks a second, as most have it.
    cmdline_tcg=("lpj=10000000",),
    tiny=TinyGuest(
        code=_PAGE.rjust(0x10000, b"\xf4"),
        option="-bios",
        devices=("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
    ),
)
