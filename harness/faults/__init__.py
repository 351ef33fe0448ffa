# SPDX-License-Identifier: GPL-2.0-only
"""Seeded faults: bugs that are planted on purpose, and what of the harness catches them."""
