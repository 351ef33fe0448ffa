# SPDX-License-Identifier: GPL-2.0-only
"""``inputs/`` in a run's folder: the patches and configurations that its kernels were made of."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from harness.model import Inputs, Patch

FOLDER = "inputs"
_OTHER = re.compile(r"[^A-Za-z0-9._+-]")
_LENGTH = 80  # of a patch's name in its file's


def files(inputs: Inputs) -> dict[str, bytes]:
    """Path below the run's folder → its bytes."""
    found = {path: patch.text for patch, path in _patches(inputs).items()}
    for kernel in inputs.kernels:
        if kernel.config is not None:
            found[_config(kernel.name)] = kernel.config
    return found


def as_json(inputs: Inputs) -> dict[str, Any]:
    """run.json's ``inputs``: which of those files belong to which kernel."""
    paths = _patches(inputs)
    return {
        "origin": inputs.origin,
        "version": inputs.version,
        "pinpage": inputs.pinpage,
        "where": inputs.where,
        "kernels": [
            {
                "name": kernel.name,
                "compat": kernel.series.compat,
                "config": None if kernel.config is None else _config(kernel.name),
                "patches": [
                    {
                        "name": patch.name[:255],
                        "subject": patch.subject,
                        "sha256": hashlib.sha256(patch.text).hexdigest(),
                        "file": paths[patch],
                    }
                    for patch in kernel.series.patches
                ],
            }
            for kernel in inputs.kernels
        ],
    }


def _patches(inputs: Inputs) -> dict[Patch, str]:
    """Each patch once, in the order in which it is met; many kernels share most of theirs."""
    every = dict.fromkeys(patch for kernel in inputs.kernels for patch in kernel.series.patches)
    width = max(2, len(str(len(every))))
    return {
        patch: f"{FOLDER}/patches/{number:0{width}}-{_OTHER.sub('_', patch.name)[:_LENGTH]}"
        for number, patch in enumerate(every, 1)
    }


def _config(kernel: str) -> str:
    """``config``, and with the words behind ``build`` for the other kernels of a run."""
    return "-".join([f"{FOLDER}/config", *kernel.split(" ")[1:]])
