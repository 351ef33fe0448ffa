# SPDX-License-Identifier: GPL-2.0-only
"""Boot real kernels under QEMU and say, from the kernel's own evidence, which pages migrated."""

__version__ = "0.1.0"
