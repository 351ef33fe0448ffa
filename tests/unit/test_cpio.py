# SPDX-License-Identifier: GPL-2.0-only
"""cpio archives, read back by cpio(1) itself."""

from __future__ import annotations

import gzip
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from harness import cpio

needs_cpio = pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")


def unpack(data: bytes, folder: Path) -> None:
    argv = ["cpio", "--extract", "--make-directories", "--quiet", "--no-absolute-filenames"]
    subprocess.run(argv, input=data, cwd=folder, check=True)


@needs_cpio
def test_every_kind_comes_back(tmp_path: Path) -> None:
    data = cpio.archive(
        [
            cpio.folder("etc", 0o750),
            cpio.file("etc/key", b"\0\xffodd", 0o600),
            cpio.file("/etc/empty", b""),
            cpio.symlink("bin", "usr/bin"),
        ]
    )
    unpack(data, tmp_path)
    assert stat.S_IMODE((tmp_path / "etc").stat().st_mode) == 0o750
    assert (tmp_path / "etc/key").read_bytes() == b"\0\xffodd"
    assert stat.S_IMODE((tmp_path / "etc/key").stat().st_mode) == 0o600
    assert (tmp_path / "etc/empty").read_bytes() == b""
    assert (tmp_path / "bin").readlink() == Path("usr/bin")


@needs_cpio
def test_devices_are_listed_with_their_numbers() -> None:
    data = cpio.archive([cpio.char_device("dev/console", 5, 1)])
    said = subprocess.run(
        ["cpio", "--list", "--verbose", "--quiet"], input=data, capture_output=True, check=True
    ).stdout.decode()
    assert said.startswith("crw-------") and "5,   1" in said and "dev/console" in said


@pytest.mark.parametrize("size", range(5))
def test_archives_end_where_another_may_begin(size: int) -> None:
    assert len(cpio.archive([cpio.file("f" * (size + 1), b"x" * size)])) % 4 == 0
    assert len(cpio.pad(gzip.compress(b"x" * size))) % 4 == 0


def test_equal_entries_equal_bytes() -> None:
    entries = [cpio.folder("a"), cpio.file("a/b", b"c")]
    assert cpio.archive(entries) == cpio.archive(list(entries))


def test_a_name_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no path"):
        cpio.archive([cpio.file("/", b"")])
