# SPDX-License-Identifier: GPL-2.0-only
"""The ported series, by the words of the kernel's own checkpatch.pl."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from harness import resources

pytestmark = pytest.mark.integration

PATCHES = sorted((resources.patches() / "6.12" / "posted").glob("*.patch"))
PATCHES += sorted((resources.patches() / "6.12" / "fixed").glob("*.patch"))
# What patches/README.md says is left, and why.
LEFT = Counter(
    {
        ("0001", "CHECK: Avoid CamelCase: <Pin>"): 1,
        ("0002", "WARNING: added, moved or deleted file(s), does MAINTAINERS need updating?"): 1,
        ("0002", "WARNING: Do not crash the kernel"): 1,
        ("0003", "WARNING: Do not crash the kernel"): 2,
    }
)


@pytest.mark.skipif(shutil.which("perl") is None, reason="checkpatch.pl needs perl")
def test_checkpatch_has_nothing_new_to_say(linux: Path) -> None:
    said: Counter[tuple[str, str]] = Counter()
    for patch in PATCHES:
        argv = ["perl", "scripts/checkpatch.pl", "--strict", "--quiet", "--color=never", "-"]
        text = patch.read_bytes()
        done = subprocess.run(argv, input=text, capture_output=True, check=False, cwd=linux)
        assert not done.stderr, done.stderr.decode()
        for line in re.findall(r"^(?:ERROR|WARNING|CHECK): .*", done.stdout.decode(), re.M):
            short = "WARNING: Do not crash the kernel"
            said[patch.name[:4], short if line.startswith(short) else line] += 1
    assert len(PATCHES) == 30
    assert said == LEFT
