# SPDX-License-Identifier: GPL-2.0-only
"""What the quick tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.vm import console_shell


@pytest.fixture(autouse=True)
def own_console_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for a guest is a shell of this machine, where others may test as well."""
    monkeypatch.setattr(console_shell, "FOLDER", str(tmp_path / ".pinpage-console"))
