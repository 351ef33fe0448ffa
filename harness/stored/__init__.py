# SPDX-License-Identifier: GPL-2.0-only
"""Runs that were kept: read again, bundled to be handed on, and done again.

What is kept may come from anybody: every size is bounded, no name leads out of its folder, and
what is read is checked against its schema before it is believed.
"""
