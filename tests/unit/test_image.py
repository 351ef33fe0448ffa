# SPDX-License-Identifier: GPL-2.0-only
"""The guest's image, made by the real apt and dpkg-deb from a small archive of packages."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import toykernel as toy

from harness import arch
from harness.build import image
from harness.errors import InfraError
from harness.model import Arch, GuestImage

# Not this machine's, so that apt's lists are the image's own and not the host's.
ARCH = next(a for a in arch.all_arches().values() if a is not arch.host())
BUSYBOX = b"\x7fELF\0sh\0ls\0insmod\0[\0"


@dataclass
class Archive:
    """A folder that apt takes for a package archive."""

    folder: Path
    stanzas: dict[str, str] = field(default_factory=dict)

    def add(
        self, name: str, files: Mapping[str, bytes | str], *, depends: str = "", version: str = "1"
    ) -> None:
        """Build a package; a file's str content is the target of a symbolic link."""
        top = self.folder / "tree" / f"{name}-{version}"
        for path, content in files.items():
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                (top / path).symlink_to(content)
            else:
                (top / path).write_bytes(content)
        control = (
            f"Package: {name}\nVersion: {version}\nArchitecture: {ARCH.deb}\n"
            f"Maintainer: nobody\nDescription: none\n"
            + (f"Depends: {depends}\n" if depends else "")
        )
        (top / "DEBIAN").mkdir(parents=True)
        (top / "DEBIAN/control").write_text(control)
        deb = self.folder / f"{name}_{version}.deb"
        argv = ["dpkg-deb", "-Znone", "--root-owner-group", "--build", str(top), str(deb)]
        subprocess.run(argv, check=True, capture_output=True)
        data = deb.read_bytes()
        self.stanzas[name] = (
            f"{control}Filename: ./{deb.name}\nSize: {len(data)}\n"
            f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
        )
        self.publish()

    def publish(self) -> None:
        (self.folder / "Packages").write_text("\n".join(self.stanzas.values()))


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """An archive with what the image needs, and an apt that knows nothing else."""
    folder = tmp_path / "archive"
    folder.mkdir()
    sources = tmp_path / "sources.list"
    sources.write_text(f"deb [trusted=yes] copy:{folder} ./\n")
    config = tmp_path / "host-apt.conf"
    config.write_text(
        f'Dir::Etc::sourcelist "{sources}";\nDir::Etc::sourceparts "{tmp_path}/none";\n'
        f'APT::Update::Post-Invoke {{ "touch {tmp_path}/hook-ran"; }};\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(config))
    made = Archive(folder)
    made.add("busybox-static", {"bin/busybox": BUSYBOX, "usr/share/doc/busybox/README": b"text"})
    made.add(
        "dropbear-bin",
        {"usr/sbin/dropbear": b"\x7fELF dropbear"},
        depends="libc6 (>= 2.36), libtommath1t64 | other, adduser, lib-virtual",
    )
    made.add(
        "libc6", {f"lib/{ARCH.triplet}/libc.so.6": b"\x7fELF libc", "lib/ld-linux-x.so.1": b"ld"}
    )
    made.add("adduser", {"usr/sbin/adduser": b"not wanted"})
    made.add(
        "libtommath1t64",
        {
            f"usr/lib/{ARCH.triplet}/libtommath.so.1": "libtommath.so.1.2.0",
            f"usr/lib/{ARCH.triplet}/libtommath.so.1.2.0": b"\x7fELF math",
            f"usr/lib/{ARCH.triplet}/libtommath.a": b"not wanted",
        },
        depends="libc6, zlib1g:any (>= 1)",
    )
    made.add("zlib1g", {f"usr/lib/{ARCH.triplet}/libz.so.1": b"\x7fELF z"})
    return made


def build(tmp_path: Path, progress: toy.Notes | None = None, of: Arch = ARCH) -> GuestImage:
    return image.build(of, cache=tmp_path / "cache", progress=progress or toy.Notes())


def members(found: GuestImage) -> Iterator[tuple[str, int, bytes]]:
    """(path, mode, content) of each member, as the kernel reads a newc archive."""
    data, at = gzip.decompress(found.path.read_bytes()), 0
    while True:
        assert data[at : at + 6] == b"070701"
        numbers = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, length = numbers[1], numbers[6], numbers[11]
        path = data[at + 110 : at + 110 + length - 1].decode()
        body = (at + 110 + length + 3) & ~3
        if path == "TRAILER!!!":
            return
        yield path, mode, data[body : body + size]
        at = (body + size + 3) & ~3


def test_image_holds_programs_and_their_libraries(packages: Archive, tmp_path: Path) -> None:
    found = build(tmp_path)
    assert set(found.packages) == {
        "busybox-static",
        "dropbear-bin",
        "libc6",
        "libtommath1t64",
        "zlib1g",
    }
    held = {path: (mode, content) for path, mode, content in members(found)}
    assert held["bin/busybox"] == (0o100755, BUSYBOX)
    assert held["sbin/dropbear"] == (0o100755, b"\x7fELF dropbear")
    assert held["lib/libc.so.6"] == (0o100755, b"\x7fELF libc")
    assert held["lib/ld-linux-x.so.1"] == (0o100755, b"ld")
    assert held["lib/libtommath.so.1"] == (0o120777, b"libtommath.so.1.2.0")
    assert held["lib/libtommath.so.1.2.0"] == (0o100755, b"\x7fELF math")
    assert held["lib/libz.so.1"] == (0o100755, b"\x7fELF z")
    assert held["dev/console"][0] == 0o020600
    assert held["root/.ssh"][0] == 0o040700
    assert held["init"][0] == 0o100755 and held["init"][1].startswith(b"#!/bin/sh\n")
    applets = {path for path, (_, content) in held.items() if content == b"busybox"}
    assert applets == {"bin/sh", "bin/ls", "bin/insmod", "bin/["}
    assert not any("README" in path or path.endswith(".a") for path in held)
    assert found.digest == f"sha256:{hashlib.sha256(found.path.read_bytes()).hexdigest()}"


def test_same_packages_give_the_same_image_again(packages: Archive, tmp_path: Path) -> None:
    progress = toy.Notes()
    first = build(tmp_path, progress)
    assert progress.said("busybox-static 1")
    again = toy.Notes()
    assert build(tmp_path, again) == first
    assert again.notes == []


def test_damaged_image_is_made_again(packages: Archive, tmp_path: Path) -> None:
    first = build(tmp_path)
    first.path.write_bytes(first.path.read_bytes()[:-20])
    progress = toy.Notes()
    assert build(tmp_path, progress) == first
    assert progress.said("damaged")


def test_lists_older_than_the_archive_are_read_anew(packages: Archive, tmp_path: Path) -> None:
    first = build(tmp_path)
    first.path.unlink()
    packages.add("libc6", {f"lib/{ARCH.triplet}/libc.so.6": b"\x7fELF new"}, version="2")
    (packages.folder / "libc6_1.deb").unlink()
    found = build(tmp_path)
    assert found.packages["libc6"] == "2"
    assert ("lib/libc.so.6", 0o100755, b"\x7fELF new") in list(members(found))


def test_package_that_cannot_be_had_is_named(packages: Archive, tmp_path: Path) -> None:
    del packages.stanzas["dropbear-bin"]
    packages.publish()
    with pytest.raises(InfraError, match=f"no package dropbear-bin for {ARCH.deb}"):
        build(tmp_path)


def test_downloads_that_fail_are_ours_to_explain(packages: Archive, tmp_path: Path) -> None:
    (packages.folder / "zlib1g_1.deb").unlink()
    with pytest.raises(InfraError) as caught:
        build(tmp_path)
    assert f"downloaded for {ARCH.deb}" in caught.value.message
    assert "download" in caught.value.command


def test_host_apt_is_left_alone(packages: Archive, tmp_path: Path) -> None:
    lists = Path("/var/lib/apt/lists")
    before = sorted((path.name, path.stat().st_mtime_ns) for path in lists.glob("*_Packages*"))
    build(tmp_path)
    assert not (tmp_path / "hook-ran").exists()
    assert before == sorted((p.name, p.stat().st_mtime_ns) for p in lists.glob("*_Packages*"))
