# SPDX-License-Identifier: GPL-2.0-only
"""The order of the stages, and nothing else: what each makes is handed to the next."""

from harness.pipeline.boots import Bootable, Look, Scene, boot, bootable
from harness.pipeline.runs import explained, left_out, run
from harness.pipeline.stages import (
    Chosen,
    apply,
    build,
    choose,
    digest,
    fetch,
    has_pinpage,
    series_names,
    steps,
)
from harness.pipeline.state import Given

__all__ = [
    "Bootable",
    "Chosen",
    "Given",
    "Look",
    "Scene",
    "apply",
    "boot",
    "bootable",
    "build",
    "choose",
    "digest",
    "explained",
    "fetch",
    "has_pinpage",
    "left_out",
    "run",
    "series_names",
    "steps",
]
