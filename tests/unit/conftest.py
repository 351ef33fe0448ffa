# SPDX-License-Identifier: GPL-2.0-only
"""What the quick tests share."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from program import Program

from harness import cli
from harness.vm import console_shell


@pytest.fixture(autouse=True)
def own_console_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for a guest is a shell of this machine, where others may test as well."""
    monkeypatch.setattr(console_shell, "FOLDER", str(tmp_path / ".pinpage-console"))


@pytest.fixture
def within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Program:
    """The program in this process, which has all of it imported already: 20 times as fast."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def call(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["pinpage", *words])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        assert isinstance(code, int)
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    return call
