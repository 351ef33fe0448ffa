# SPDX-License-Identifier: GPL-2.0-only
"""The guest modules with a patch on top, in the cache; the folder they come from is only read."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness import cache as store
from harness.build import folder, overlay
from harness.model import Patch, Progress, Series, SourceTree


def patched(modules: Path, patch: Patch, *, cache: Path, progress: Progress) -> Path:
    """A copy of the folder with all modules, and the patch applied to it.

    The patch's paths begin with the folder's name. PatchError shows the hunk that does not fit.
    """
    files = folder.listing(modules).files
    parts = [part for path in files for part in (path, (modules / path).read_bytes())]
    key = store.key("modules", *parts, patch.text)
    final = cache / "modules" / key / modules.name
    with store.locked(cache / "modules" / f"{key}.lock", "patches guest modules", progress):
        if final.is_dir():
            return final
        source = SourceTree(modules.parent, f"modules:{key}", "", str(modules))
        series = Series(patch.name, (patch,), store.key(patch.text), patch.name)
        changed = overlay.apply(source, series, cache=cache, progress=progress).changed
        with store.making(final.parent) as temporary:
            for path in files:
                copy = temporary / modules.name / path
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(modules / path, copy)
            for path, content in changed.items():
                if content is None:
                    (temporary / path).unlink()
                else:
                    (temporary / path).write_bytes(content)
    return final
