# SPDX-License-Identifier: GPL-2.0-only
"""What is found and what is missing on a machine whose programs the test chooses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import toykernel as toy
from rich.console import Console

from harness import doctor

HERE = ("git", "make", "gcc", "ld", "as")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, doctor.Need]:
    """The needs of a machine that has a compiler and git, an odd bc, and nothing else."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in HERE:
        (programs / name).symlink_to(shutil.which(name) or pytest.fail(f"no {name}"))
    (programs / "bc").write_text("#!/bin/sh\nexit 1\n")
    (programs / "bc").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    return {need.name: need for need in doctor.examine(tmp_path, toy.Notes())}


def test_what_is_there_has_a_version(bare: dict[str, doctor.Need]) -> None:
    assert bare["git"].found and bare["gcc"].found
    assert bare["git"].version[0].isdigit()


@pytest.mark.parametrize(
    ("name", "get"),
    [
        ("flex", "apt install flex"),
        ("xz", "apt install xz-utils"),
        ("bc", "apt install bc"),  # there, but it does not run
    ],
)
def test_what_is_missing_says_how_to_get_it(
    bare: dict[str, doctor.Need], name: str, get: str
) -> None:
    assert (bare[name].found, bare[name].required, bare[name].get) == (False, True, get)


def test_qemu_is_needed_for_this_machine_alone(bare: dict[str, doctor.Need]) -> None:
    found = {name: need.required for name, need in bare.items() if name.startswith("qemu-system")}
    assert sorted(found.values()) == [False, True]


def test_table_names_all(bare: dict[str, doctor.Need]) -> None:
    console = Console(width=200)
    with console.capture() as said:
        console.print(doctor.table(list(bare.values())))
    for name in bare:
        assert name in said.get()
    assert "missing" in said.get() and "absent" in said.get()
