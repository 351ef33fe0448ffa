# SPDX-License-Identifier: GPL-2.0-only
"""Archives: every format unpacked, and every way out of the folder refused."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import toykernel as toy

from harness import cache, proc
from harness.build import archive
from harness.errors import InputError
from harness.model import Silent

Member = tuple[str, bytes, str, int, str]  # name, type, target, mode, content


def file(name: str, content: str = "x\n", mode: int = 0o644) -> Member:
    return (name, tarfile.REGTYPE, "", mode, content)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Member:
    return (name, kind, target, 0o777, "")


def make(path: Path, *members: Member, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, kind, target, bits, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode, info.size = kind, target, bits, len(content)
            info.mtime = 1_000_000_000
            tar.addfile(info, io.BytesIO(content.encode()))
    return path


def zst(path: Path) -> Path:
    if shutil.which("zstd") is None:
        pytest.skip("zstd is not installed")
    proc.run(["zstd", "-q", "--rm", str(path)])
    return path.with_name(f"{path.name}.zst")


def unpack(path: Path) -> Path:
    folder = path.parent / "out"
    folder.mkdir()
    archive.unpack(path, folder, Silent())
    return folder


@pytest.mark.parametrize("kind", ["xz", "gz", "bz2", "zst", "tar"])
def test_formats(tmp_path: Path, kind: str) -> None:
    members = (
        ("linux-1/", tarfile.DIRTYPE, "", 0o755, ""),
        file("linux-1/Makefile", "VERSION = 1\n"),
        file("linux-1/scripts/run.sh", "#!/bin/sh\n", 0o4755),
        link("linux-1/scripts/again", "../Makefile"),
        link("linux-1/Documentation/Changes", "changes.rst"),
        link("linux-1/hard", "linux-1/Makefile", tarfile.LNKTYPE),
    )
    if kind in ("tar", "zst"):
        path = make(tmp_path / "a.tar", *members)
        if kind == "zst":
            path = zst(path)
    else:
        path = make(tmp_path / f"a.tar.{kind}", *members, mode=f"w:{kind}")
    assert archive.kind(path) == kind
    out = unpack(path)
    assert (out / "Makefile").read_text() == (out / "hard").read_text() == "VERSION = 1\n"
    assert (out / "scripts/run.sh").stat().st_mode & 0o7777 == 0o755
    assert (out / "Makefile").stat().st_mtime == 1_000_000_000
    assert (out / "scripts/again").read_text() == "VERSION = 1\n"
    assert (out / "Documentation/Changes").readlink() == Path("changes.rst")
    assert not (out / ".top").exists()


def test_long_names_and_large_files(tmp_path: Path) -> None:
    name = "/".join(["d" * 60] * 5) + "/file"
    content = "0123456789abcdef" * 200_000
    out = unpack(make(tmp_path / "a.tar.xz", file("Kconfig"), file(name, content), mode="w:xz"))
    assert (out / name).read_text() == content


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([file("/etc/evil")], "leads outside"),
        ([file("t/../../evil")], "leads outside"),
        ([file("../evil")], "leads outside"),
        ([link("t/l", "/etc")], "links to '/etc'"),
        ([file("t/a"), link("t/l", "../../evil")], "outside"),
        ([file("t/a"), link("t/l", "..")], "outside"),
        ([file("t/d/a"), link("t/d/l", ".."), link("t/m", "d/l/..")], "outside"),
        ([link("t/l", "."), file("t/l/evil")], "through a link"),
        ([file("t/a"), file("t/a")], "twice"),
        ([link("t/a", "b"), file("t/a")], "twice"),
        ([file("t/a"), link("t/a", "b")], "twice"),
        ([file("t/a"), file("t/a/b")], "a file and a folder"),
        ([link("t/h", "../evil", tarfile.LNKTYPE)], "leads outside"),
        ([link("t/h", "t/none", tarfile.LNKTYPE)], "no earlier file"),
        ([file("t/a"), link("t/a", "t/a", tarfile.LNKTYPE)], "twice"),
        ([link("t/l", "")], "links to ''"),
        ([link(f"t/l{i}", f"l{i + 1}") for i in range(2000)], "links on and on"),
        ([file("a/" * 1500 + "f")], "longer than a kernel's"),
        ([file("a/" + "b" * 256)], "longer than a kernel's"),
        ([file(("b" * 250 + "/") * 20 + "f")], "longer than a kernel's"),
        ([link("t/l", "b" * 5000)], "longer than a kernel's"),
        ([("t/null", tarfile.CHRTYPE, "", 0o666, "")], "no file, folder or link"),
        ([("t/disk", tarfile.BLKTYPE, "", 0o666, "")], "no file, folder or link"),
        ([("t/pipe", tarfile.FIFOTYPE, "", 0o666, "")], "no file, folder or link"),
    ],
)
def test_refused(tmp_path: Path, members: list[Member], why: str) -> None:
    (tmp_path / "deep").mkdir()
    path = make(tmp_path / "deep" / "a.tar", *members)
    with pytest.raises(InputError, match=why) as caught:
        unpack(path)
    assert str(path) in caught.value.message
    assert {entry.name for entry in tmp_path.iterdir()} == {"deep"}


@pytest.mark.parametrize(("limit", "value"), [("LIMIT_BYTES", 1000), ("LIMIT_FILES", 3)])
def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(archive, limit, value)
    members = [file(f"t/{i}", "x" * 400) for i in range(4)]
    with pytest.raises(InputError, match="unpacks to more than a kernel tree"):
        unpack(make(tmp_path / "a.tar.gz", *members, mode="w:gz"))


def test_bomb_of_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LIMIT_BYTES", 1000)
    links = [link(f"t/{i}", "t/a", tarfile.LNKTYPE) for i in range(9)]
    path = make(tmp_path / "a.tar", file("t/a", "x" * 400), *links)
    with pytest.raises(InputError, match="unpacks to more than a kernel tree"):
        unpack(path)
    assert cache.measure(tmp_path / "out") == (2, 800)


def test_bomb_of_zst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "a.tar", file("t/a"))
    path.write_bytes(path.read_bytes() + bytes(2_000_000))
    path = zst(path)
    monkeypatch.setattr(archive, "LIMIT_BYTES", 1_000_000)
    with pytest.raises(InputError, match="unpacks to more than a kernel tree"):
        unpack(path)


def test_zst_in_a_folder_that_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    path = zst(make(tmp_path / "theirs/a.tar", file("t/a")))
    before = path.parent.stat().st_mtime_ns
    (tmp_path / "out").mkdir()
    archive.unpack(path, tmp_path / "out", Silent())
    assert path.parent.stat().st_mtime_ns == before
    assert {entry.name for entry in tmp_path.iterdir()} == {"theirs", "out"}
    assert (tmp_path / "out/a").read_text() == "x\n"


def test_huge_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LIMIT_HEADER", 4096)
    with pytest.raises(InputError, match="a header of"):
        unpack(make(tmp_path / "a.tar", file("t/" + "n" * 9000)))


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def garbled(data: bytes) -> bytes:
    middle = len(data) // 2
    return (
        data[:middle]
        + bytes(byte ^ 0x55 for byte in data[middle : middle + 64])
        + data[middle + 64 :]
    )


@pytest.mark.parametrize("kind", ["xz", "gz", "bz2"])
@pytest.mark.parametrize("damage", [cut, garbled])
def test_damaged(tmp_path: Path, kind: str, damage: Callable[[bytes], bytes]) -> None:
    content = "".join(f"{i * i * 2654435761 % 4294967291:x}" for i in range(60_000))
    path = make(
        tmp_path / "a.tar", file("t/a", content), file("t/b", content[::-1]), mode=f"w:{kind}"
    )
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="not a tar archive, or it is damaged"):
        unpack(path)


def test_something_else(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello\n" * 200)
    assert archive.kind(path) is None
    with pytest.raises(InputError, match="not a tar archive"):
        unpack(path)


def pax(**records: str) -> bytes:
    """A header of its own kind, which says more of the member behind it."""
    info = tarfile.TarInfo("t/a")
    info.pax_headers = records
    return info.tobuf(tarfile.PAX_FORMAT)[:-512]


def test_time_that_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(pax(mtime="nan") + three(path))
    assert (unpack(path) / "a").stat().st_mtime == 0


@pytest.mark.parametrize(
    "front",
    [
        pax(comment="x") * 3000,
        pax(size="-1"),
        pax(**{"GNU.sparse.map": "x"}),
        pax(**{"GNU.sparse.size": "x"}),
        pax(hdrcharset="\u00fc").replace(b"\xc3\xbc", b"\xff\xff"),
        pax(comment="x" * 5000).replace(
            b"5014 comment=" + b"x" * 4900, b"9" * 4900 + b"5014 comment="
        ),
    ],
    ids=["3000 in a row", "size", "map", "sparse size", "charset", "length"],
)
def test_header_that_cannot_be_read(tmp_path: Path, front: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(front + three(path))
    with pytest.raises(InputError, match="it is damaged"):
        unpack(path)


def test_link_to_what_is_no_path(tmp_path: Path) -> None:
    path = make(tmp_path / "a.tar", link("t/l", "x"))
    path.write_bytes(pax(linkpath="a\0b") + path.read_bytes())
    with pytest.raises(InputError, match=r"links to 'a\\x00b'"):
        unpack(path)


def test_sparse_header_that_is_cut(tmp_path: Path) -> None:
    info = tarfile.TarInfo("t/a")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1  # it goes on in the next block
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "a.tar"
    path.write_bytes(header)
    with pytest.raises(InputError, match="it is damaged"):
        unpack(path)


def three(path: Path, mode: str = "w") -> bytes:
    """A tar of three members of 512 + 512 bytes each, and then the zeros of its end."""
    return make(path, *(file(f"t/{name}") for name in "abc"), mode=mode).read_bytes()


@pytest.mark.parametrize(
    ("at", "why"),
    [
        (2 * 1024, "ends without"),  # behind a member
        (2 * 1024 + 100, "truncated header"),  # within a header
        (2 * 1024 + 512, "unexpected end|ends within"),  # within a member
        (3 * 1024, "ends without"),  # behind the last
    ],
)
def test_cut_plain_archive(tmp_path: Path, at: int, why: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(three(path)[:at])
    with pytest.raises(InputError, match=f"it is damaged: .*({why})"):
        unpack(path)


@pytest.mark.parametrize("header", [b"\0" * 512, b"\0" * 1024, None])
def test_damaged_header(tmp_path: Path, header: bytes | None) -> None:
    """A flipped bit, and a hole as broad as the end is."""
    path = tmp_path / "a.tar"
    data = bytearray(three(path))
    if header is None:
        data[2 * 1024] ^= 1
    else:
        data[2 * 1024 + 512 - len(header) : 2 * 1024 + 512] = header
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"it is damaged: .*(bad checksum|more behind its end)"):
        unpack(path)


def test_too_many_zeros_behind_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LIMIT_HEADER", 1 << 20)
    path = tmp_path / "a.tar"
    path.write_bytes(three(path) + bytes(1 << 20))
    with pytest.raises(InputError, match="more behind its end"):
        unpack(path)


@pytest.mark.parametrize("zeros", [512, 1024, 10240, 1 << 20])
def test_any_padding_is_taken(tmp_path: Path, zeros: int) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(three(path)[: 3 * 1024] + bytes(zeros))
    assert sorted(entry.name for entry in unpack(path).iterdir()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "words",
    [
        *(f"tar -cf {{}} --format={name} t" for name in ("v7", "ustar", "gnu", "pax")),
        "tar -cf {} -b 1 t",
        "tar -cf {} -b 2048 t",
        "tar -cf {} --posix --sort=name --pax-option=delete=atime,delete=ctime t",
        "tar -czf {} t",
        "tar -cJf {} t",
        "git archive --format=tar --prefix=t/ -o {} HEAD:t",
        "git archive --format=tar.gz -o {} HEAD",
        "bsdtar -cf {} t",
        "bsdtar -czf {} --format=gnutar t",
    ],
)
def test_what_programs_make_is_taken(tmp_path: Path, words: str) -> None:
    if shutil.which(words.split()[0]) is None:
        pytest.skip(f"{words.split()[0]} is not installed")
    top = tmp_path / "top"
    for name, content in (("a", "x" * 511), ("d/b", "x" * 512), ("d/c", ""), ("z", "x" * 70_000)):
        (top / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        (top / "t" / name).write_text(content)
    if words.startswith("git"):
        toy.git(top, "init", "-q")
        toy.git(top, "add", ".")
        toy.git(top, "commit", "-qm", "x")
    path = tmp_path / "made"
    proc.run(words.format(path).split(), cwd=top)
    out = unpack(path)
    assert cache.measure(out) == (4, 511 + 512 + 70_000)
