# SPDX-License-Identifier: GPL-2.0-only
"""Sources: each provider for real (a local server, a local repository), cached and checked."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import toykernel as toy

from harness import cache
from harness.build import folder, source
from harness.errors import InputError, SourceUnavailable
from harness.model import Kernel, SourceOption, SourceTree


def resolve(
    tmp_path: Path,
    tree: str | Path | None,
    *options: SourceOption,
    progress: toy.Notes | None = None,
    blobs: Mapping[str, str] | None = None,
) -> SourceTree:
    kernel = Kernel("toy", "6.12", options, "toy", ("x86_64",), blobs=blobs or {})
    word = None if tree is None else str(tree)
    return source.resolve(kernel, word, cache=tmp_path / "cache", progress=progress or toy.Notes())


def pack(path: Path, tree: Path = toy.FAKELINUX) -> Path:
    with tarfile.open(path, "w:xz") as tar:
        tar.add(tree, "linux-6.12")
    return path


# ---------------------------------------------------------------------------------------------
# Folder
# ---------------------------------------------------------------------------------------------


def test_folder_is_used_where_it_is(tmp_path: Path) -> None:
    top = toy.copy(tmp_path / "linux")
    found = resolve(tmp_path, top)
    assert (found.path, found.version, found.git) == (top, "6.12.0-fake", None)
    assert found.digest.startswith("tree:")


def test_folder_digest_follows_names_modes_and_contents(tmp_path: Path) -> None:
    top = toy.copy(tmp_path / "linux")
    seen = [resolve(tmp_path, top).digest]

    def changed() -> bool:
        seen.append(resolve(tmp_path, top).digest)
        return seen[-1] != seen[-2]

    assert not changed()
    text = (top / "mm/migrate.c").read_text()
    (top / "mm/migrate.c").write_text(text.replace("-1", "-2"))
    assert changed()
    (top / "mm/migrate.c").chmod(0o755)
    assert changed()
    (top / "mm/migrate.c").rename(top / "mm/move.c")
    assert changed()
    (top / "mm/link").symlink_to("move.c")
    assert changed()
    (top / "mm/link").unlink()
    (top / "mm/move.c").rename(top / "mm/migrate.c")
    (top / "mm/migrate.c").chmod(0o644)
    (top / "mm/migrate.c").write_text(text)
    assert changed() and seen[-1] == seen[0]


@pytest.mark.parametrize("racy", [folder.RACY_SECONDS, -1.0])
def test_remembered_digests_are_not_trusted_too_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, racy: float
) -> None:
    """A change of the same size that puts the old time back, remembered (-1) or too young."""
    monkeypatch.setattr(folder, "RACY_SECONDS", racy)
    top = toy.copy(tmp_path / "linux")
    path = top / "mm/migrate.c"
    before = resolve(tmp_path, top).digest
    assert bool(list(tmp_path.glob("cache/folders/*"))) == (racy < 0)
    found = path.stat()
    path.write_text(path.read_text().replace("-1", "-7"))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert resolve(tmp_path, top).digest != before


def test_remembered_digests_save_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "RACY_SECONDS", -1.0)
    top = toy.copy(tmp_path / "linux")
    before = resolve(tmp_path, top).digest
    monkeypatch.setattr(cache, "sha256", lambda path: pytest.fail(f"{path} is read again"))
    assert resolve(tmp_path, top).digest == before


def test_products_of_a_build_are_left_out(tmp_path: Path) -> None:
    top = toy.copy(tmp_path / "linux")
    clean = resolve(tmp_path, top)
    for path in (
        ".config",
        "vmlinux",
        "mm/.migrate.o.cmd",
        "mm/migrate.o",
        "scripts/.fixdep.cmd",
        "scripts/fixdep",
        "include/config/auto.conf",
        "include/generated/autoconf.h",
        "arch/x86/include/generated/asm/unistd.h",
        "out/.config",
        "out/Makefile",
        "out/include/config/auto.conf",
        "out/mm/extra.c",
        ".git/HEAD",
    ):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text("made\n")
    progress = toy.Notes()
    assert resolve(tmp_path, top, progress=progress).digest == clean.digest
    assert progress.said("products of earlier builds are left out")


@pytest.mark.parametrize("missing", ["Makefile", "Kconfig"])
def test_folder_that_is_no_kernel(tmp_path: Path, missing: str) -> None:
    top = toy.copy(tmp_path / "linux")
    (top / missing).unlink()
    with pytest.raises(InputError, match="is not a kernel tree"):
        resolve(tmp_path, top)


@pytest.mark.parametrize(
    "word",
    [
        "/no/such/tree",
        "no-such@v6.12",
        "https://example.org/linux.git",
        "~no-such-user/linux",
        "~no-such-user/linux@v6.12",
    ],
)
def test_word_that_names_nothing(tmp_path: Path, word: str) -> None:
    with pytest.raises(InputError, match="no such folder, archive or repository"):
        resolve(tmp_path, word)


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user who may not read everything."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize(
    ("closed", "tree"),
    [
        ("theirs/linux", "theirs/linux"),
        ("theirs/linux/Makefile", "theirs/linux"),
        ("theirs/linux/mm", "theirs/linux"),
        ("theirs/linux/mm/migrate.c", "theirs/linux"),
        ("theirs/linux.tar.xz", "theirs/linux.tar.xz"),
        ("theirs", "theirs/linux"),
        ("theirs", "theirs/linux@v6.12"),
    ],
)
def test_what_may_not_be_read_is_named(closed: str, tree: str) -> None:
    with TemporaryDirectory(dir="/tmp") as name:
        here = Path(name)
        here.chmod(0o777)
        (here / "theirs").mkdir()
        toy.copy(here / "theirs/linux")
        pack(here / "theirs/linux.tar.xz")
        (here / closed).chmod(0)
        with pytest.raises(InputError) as caught, unprivileged():
            resolve(here, here / tree)
        assert f"{here / closed}" in caught.value.message
        assert "cannot be read: " in caught.value.message
        assert "Permission denied" in caught.value.message
        (here / closed).chmod(0o700)


# ---------------------------------------------------------------------------------------------
# Archive and cache
# ---------------------------------------------------------------------------------------------


def test_archive_is_unpacked_once(tmp_path: Path) -> None:
    path = pack(tmp_path / "linux.tar.xz")
    found = resolve(tmp_path, path)
    assert found.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert (found.path / "mm/migrate.c").read_text() == toy.read("mm/migrate.c")
    assert os.access(found.path / "scripts/hello.sh", os.X_OK)
    stamp = found.path.stat().st_ino
    progress = toy.Notes()
    assert resolve(tmp_path, path, progress=progress).path.stat().st_ino == stamp
    assert not progress.said("unpacking")


@pytest.mark.parametrize("damage", ["file lost", "file cut", "marker cut", "killed"])
def test_damaged_entry_is_made_again(tmp_path: Path, damage: str) -> None:
    path = pack(tmp_path / "linux.tar.xz")
    found = resolve(tmp_path, path)
    entry = found.path.parent
    if damage == "file lost":
        (found.path / "mm/migrate.c").unlink()
    elif damage == "file cut":
        (found.path / "mm/migrate.c").write_text("")
    elif damage == "marker cut":
        (entry / "entry.json").write_text('{"digest": "sha2')
    else:
        left = entry.rename(entry.with_name(f".{entry.name}.0badcafe.tmp"))
    progress = toy.Notes()
    again = resolve(tmp_path, path, progress=progress)
    assert (again.path / "mm/migrate.c").read_text() == toy.read("mm/migrate.c")
    assert progress.said("is damaged") == (damage != "killed")
    if damage == "killed":
        assert not left.exists()


def test_archive_that_is_no_kernel_leaves_nothing(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.tar.xz", toy.FAKELINUX / "mm")
    with pytest.raises(InputError, match="is not a kernel tree"):
        resolve(tmp_path, path)
    left = [p.name for p in (tmp_path / "cache" / "trees").iterdir() if p.suffix != ".lock"]
    assert left == []


class Waited(toy.Notes):
    """Says when somebody waits for another run."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = threading.Event()

    def note(self, text: str) -> None:
        super().note(text)
        if "waiting for another run" in text:
            self.waiting.set()


@pytest.mark.parametrize("there", [False, True])
def test_another_run_is_waited_for_and_its_tree_taken(tmp_path: Path, there: bool) -> None:
    """It makes the tree, or it makes room."""
    path = pack(tmp_path / "linux.tar.xz")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = tmp_path / "cache" / "trees" / f"sha256-{digest}"
    if there:
        resolve(tmp_path, path)
    progress, results = Waited(), []
    thread = threading.Thread(
        target=lambda: results.append(resolve(tmp_path, path, progress=progress))
    )
    with cache.locked(entry.with_name(f"{entry.name}.lock"), "holds it", toy.Notes()):
        thread.start()
        assert progress.waiting.wait(30)
        cache.discard(entry)
    thread.join(30)
    assert results and results[0].digest == f"sha256:{digest}"
    assert (results[0].path / "Makefile").is_file()


def test_what_comes_into_use_meanwhile_makes_no_room(tmp_path: Path) -> None:
    entries = [tmp_path / name for name in ("a", "b", "c")]
    for number, path in enumerate(entries):
        path.mkdir()
        os.utime(path, (1000 + number, 1000 + number))

    class Meanwhile(toy.Notes):
        def note(self, text: str) -> None:
            super().note(text)
            cache.used(entries[0])

    notes = Meanwhile()
    cache.tidy(tmp_path, "?", 0, 1.0, notes)
    assert [path.exists() for path in entries] == [True, False, False]
    assert len(notes.notes) == 2


def test_what_killed_runs_left_goes_with_the_hours(tmp_path: Path) -> None:
    left = {name: tmp_path / f".{name}.0badcafe.tmp" for name in ("old", "held", "young", "git-1")}
    for name, path in left.items():
        (path / "tree").mkdir(parents=True)
        if name != "young":
            os.utime(path, (1000, 1000))
    (tmp_path / ".old.json.0badcafe.tmp").write_text("being written")
    with cache.locked(tmp_path / "held.lock", "is making it", toy.Notes()):
        cache.tidy(tmp_path, "git-*", 9, 1.0, toy.Notes())
    assert {name for name, path in left.items() if path.exists()} == {"held", "young"}
    assert (tmp_path / ".old.json.0badcafe.tmp").exists()


# ---------------------------------------------------------------------------------------------
# Git
# ---------------------------------------------------------------------------------------------


def test_git_commit_branch_and_bare(tmp_path: Path) -> None:
    top = toy.repository(tmp_path / "linux")
    (top / "mm/migrate.c").write_text("int worse;\n")
    found = resolve(tmp_path, f"{top}@main")
    assert found.digest == f"git:{toy.git(top, 'rev-parse', 'main^{tree}')}"
    assert found.git == top
    assert (found.path / "mm/migrate.c").read_text() == toy.read("mm/migrate.c")
    assert os.access(found.path / "scripts/hello.sh", os.X_OK)
    shutil.copytree(top / ".git", tmp_path / "bare.git")
    bare = resolve(tmp_path, tmp_path / "bare.git")
    assert (bare.digest, bare.git) == (found.digest, tmp_path / "bare.git")


def test_trees_of_commits_that_nobody_uses_any_more_make_room(tmp_path: Path) -> None:
    top = toy.repository(tmp_path / "linux")
    trees = []
    for number in range(source._COMMITS + 3):
        (top / "mm/migrate.c").write_text(f"int v{number};\n")
        toy.git(top, "commit", "-qam", f"v{number}")
        trees.append(resolve(tmp_path, f"{top}@HEAD").path)
    assert all(tree.is_dir() for tree in trees)  # of the last hours
    for number, tree in enumerate(trees):
        os.utime(tree.parent, (1000 + number, 1000 + number))
    notes = toy.Notes()
    held = trees[1].parent.with_name(f"{trees[1].parent.name}.lock")
    with cache.locked(held, "holds it", notes):
        resolve(tmp_path, f"{top}@HEAD~5", progress=notes)  # the first is in use again
    assert [tree.is_dir() for tree in trees] == [True, True, False, False, True, True]
    assert notes.said("not used for 3 hours")
    assert resolve(tmp_path, f"{top}@HEAD~3").path == trees[2] and trees[2].is_dir()
    assert not trees[1].is_dir()


def test_checkout_without_a_reference_is_its_content_now(tmp_path: Path) -> None:
    top = toy.repository(tmp_path / "linux")
    (top / "mm/migrate.c").write_text("int worse;\n")
    found = resolve(tmp_path, top)
    assert (found.path, found.git) == (top, top)
    assert found.digest.startswith("tree:")


def test_git_word_with_a_fault(tmp_path: Path) -> None:
    top = toy.repository(tmp_path / "linux")
    with pytest.raises(InputError, match="no commit 'v9'"):
        resolve(tmp_path, f"{top}@v9")
    with pytest.raises(InputError, match="not the top of a git repository"):
        resolve(tmp_path, f"{top}/mm@main")
    with pytest.raises(InputError, match="no commit '--output=x'"):
        resolve(tmp_path, f"{top}@--output=x")


def test_hooks_and_configuration_of_the_user_do_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = toy.repository(tmp_path / "linux")
    config = tmp_path / "gitconfig"
    config.write_text('[core]\n\tautocrlf = true\n[tar "tar"]\n\tcommand = false\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    found = resolve(tmp_path, f"{top}@main")
    assert (found.path / "mm/migrate.c").read_bytes() == toy.read("mm/migrate.c").encode()


# ---------------------------------------------------------------------------------------------
# A tarball from the network
# ---------------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Serves one file. cuts: after how many bytes each answer in turn breaks off."""

    daemon_threads = True
    data = b""
    ranges = True

    def __init__(self, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = data
        self.cuts: list[int] = []
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/linux-6.12.tar.xz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        start = 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(self.server.data):
                self.send_error(416)
                return
        body = self.server.data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(body)
        self.wfile.write(body[:cut])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        return


@contextmanager
def serving(data: bytes) -> Iterator[Server]:
    server = Server(data)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def tarball(tmp_path: Path) -> bytes:
    return pack(tmp_path / "t.tar.xz").read_bytes()


def option(server: Server, data: bytes) -> SourceOption:
    return SourceOption("tarball", server.url, hashlib.sha256(data).hexdigest())


def test_download_goes_on_where_it_was_cut(tmp_path: Path, tarball: bytes) -> None:
    with serving(tarball) as server:
        server.cuts = [1000, 500]
        found = resolve(tmp_path, None, option(server, tarball))
        assert server.asked == [None, "bytes=1000-", "bytes=1500-"]
    assert (found.path / "mm/migrate.c").read_text() == toy.read("mm/migrate.c")
    assert found.digest == f"sha256:{hashlib.sha256(tarball).hexdigest()}"


def test_download_goes_on_in_a_later_run(tmp_path: Path, tarball: bytes) -> None:
    with serving(tarball) as server:
        server.cuts = [1000, 0, 0, 0]
        with pytest.raises(SourceUnavailable) as caught:
            resolve(tmp_path, None, option(server, tarball))
        assert (
            "cut off again and again" in caught.value.detail
            or "IncompleteRead" in caught.value.detail
        )
        server.asked.clear()
        resolve(tmp_path, None, option(server, tarball))
        assert server.asked == ["bytes=1000-"]


def test_server_without_ranges(tmp_path: Path, tarball: bytes) -> None:
    with serving(tarball) as server:
        server.ranges = False
        server.cuts = [1000]
        assert resolve(tmp_path, None, option(server, tarball)).version == "6.12.0-fake"


def test_part_that_is_already_whole(tmp_path: Path, tarball: bytes) -> None:
    with serving(tarball) as server:
        wanted = option(server, tarball)
        assert wanted.sha256
        downloads = tmp_path / "cache" / "downloads"
        downloads.mkdir(parents=True)
        (downloads / f"{wanted.sha256[:16]}-linux-6.12.tar.xz.part").write_bytes(tarball)
        assert resolve(tmp_path, None, wanted).version == "6.12.0-fake"


def test_wrong_sha256_is_thrown_away(tmp_path: Path, tarball: bytes) -> None:
    with serving(tarball + b"evil") as server:
        with pytest.raises(SourceUnavailable) as caught:
            resolve(tmp_path, None, option(server, tarball))
        assert "not the pinned" in caught.value.detail
    assert not list((tmp_path / "cache").rglob("*.part"))
    assert not list((tmp_path / "cache").rglob("Makefile"))


def test_tarball_without_a_pinned_digest_is_not_fetched(tmp_path: Path, tarball: bytes) -> None:
    with serving(tarball) as server:
        with pytest.raises(SourceUnavailable) as caught:
            resolve(tmp_path, None, SourceOption("tarball", server.url))
        assert server.asked == []
    assert "neither its sha256 nor" in caught.value.detail


def test_every_failure_is_listed_and_the_next_source_tried(tmp_path: Path, tarball: bytes) -> None:
    with serving(tarball) as server:
        missing = SourceOption("deb", "linux-source-0.0-no-such-package")
        progress = toy.Notes()
        found = resolve(tmp_path, None, missing, option(server, tarball), progress=progress)
        assert found.origin == server.url
        assert progress.said("linux-source-0.0-no-such-package")
        with pytest.raises(SourceUnavailable, match="no source of kernel toy") as caught:
            resolve(tmp_path, None, missing, SourceOption("tarball", server.url))
    assert caught.value.exit_code == 10
    assert "no-such-package" in caught.value.detail and "its sha256" in caught.value.detail
    assert "PINPAGE_TREE_toy" in caught.value.hint


def blob(path: str) -> str:
    words = ["git", "hash-object", "--no-filters", str(toy.FAKELINUX / path)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def test_tarball_known_by_its_blobs(tmp_path: Path, tarball: bytes) -> None:
    with serving(tarball) as server:
        plain = SourceOption("tarball", server.url)
        found = resolve(tmp_path, None, plain, blobs={"mm/migrate.c": blob("mm/migrate.c")})
        assert found.origin == server.url
        assert found.digest == f"sha256:{hashlib.sha256(tarball).hexdigest()}"
        for blobs in ({"mm/migrate.c": "0" * 40}, {"mm/pinpage.c": "0" * 40}):
            with pytest.raises(SourceUnavailable) as caught:
                resolve(tmp_path, None, plain, blobs=blobs)
            assert next(iter(blobs)) in caught.value.detail


@pytest.mark.parametrize("wrong", ["page", "other"])
def test_what_came_in_a_tarballs_place_is_asked_for_again(
    tmp_path: Path, tarball: bytes, wrong: str
) -> None:
    """A login page, and another kernel."""
    blobs = {"mm/migrate.c": blob("mm/migrate.c")}
    other = toy.copy(tmp_path / "other")
    (other / "mm/migrate.c").write_text("int other;\n")
    with serving(tarball) as server:
        plain = SourceOption("tarball", server.url)
        server.data = b"<html>" if wrong == "page" else pack(tmp_path / "o", other).read_bytes()
        with pytest.raises(SourceUnavailable) as caught:
            resolve(tmp_path, None, plain, blobs=blobs)
        assert {"page": "is not a tar archive", "other": "is not kernel toy's"}[wrong] in (
            caught.value.detail
        )
        assert "thrown away" in caught.value.detail
        server.data = tarball
        assert resolve(tmp_path, None, plain, blobs=blobs).origin == server.url
        assert len(server.asked) == 2
        resolve(tmp_path, None, plain, blobs=blobs)
        assert len(server.asked) == 2


def test_a_kernels_tree_on_this_machine_comes_first_and_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINPAGE_TREE_toy", str(toy.copy(tmp_path / "tree")))
    good = {"mm/migrate.c": blob("mm/migrate.c")}
    assert resolve(tmp_path, None, blobs=good).origin == f"folder {tmp_path / 'tree'}"
    (tmp_path / "tree/mm/migrate.c").write_text("mine\n")
    with pytest.raises(InputError, match=r"PINPAGE_TREE_toy=.*mm/migrate.c"):
        resolve(tmp_path, None, blobs=good)
    assert resolve(tmp_path, tmp_path / "tree", blobs=good).path == tmp_path / "tree"
    monkeypatch.setenv("PINPAGE_TREE_toy", "/no/such")
    with pytest.raises(InputError, match="/no/such"):
        resolve(tmp_path, None, blobs=good)


# ---------------------------------------------------------------------------------------------
# A distribution's package
# ---------------------------------------------------------------------------------------------


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt-get that announces and brings a package made here by dpkg-deb."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    package = tmp_path / "package"
    (package / "DEBIAN").mkdir(parents=True)
    (package / "usr/src").mkdir(parents=True)
    (package / "DEBIAN/control").write_text(
        "Package: linux-source-toy\nVersion: 1\nArchitecture: all\nMaintainer: T\nDescription: t\n"
    )
    pack(package / "usr/src/linux-source-toy.tar.xz")
    deb = tmp_path / "linux-source-toy_1_all.deb"
    subprocess.run(["dpkg-deb", "-b", package, deb], check=True, capture_output=True)
    size, digest = deb.stat().st_size, hashlib.sha256(deb.read_bytes()).hexdigest()
    programs = tmp_path / "bin"
    programs.mkdir()
    script = programs / "apt-get"
    script.write_text(
        "#!/bin/sh\n"
        f"if [ -e {tmp_path}/offline ]; then echo 'E: Unable to locate package' >&2; exit 100; fi\n"
        'case "$*" in\n'
        f"*--print-uris*) echo \"'http://x/y.deb' {deb.name} {size} SHA256:{digest}\";;\n"
        f"*) echo dlstatus:1:50.0:Fetching; cp {deb} .;;\nesac\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return deb


DEB = SourceOption("deb", "linux-source-toy")


def test_package(tmp_path: Path, apt: Path) -> None:
    found = resolve(tmp_path, None, DEB)
    assert found.digest == f"sha256:{hashlib.sha256(apt.read_bytes()).hexdigest()}"
    assert found.origin == "Debian package linux-source-toy_1_all"
    assert (found.path / "mm/migrate.c").read_text() == toy.read("mm/migrate.c")
    entry = found.path.parent
    assert sorted(p.name for p in entry.iterdir()) == ["entry.json", "tree"]


def test_package_that_is_not_what_was_announced(tmp_path: Path, apt: Path) -> None:
    apt.write_bytes(apt.read_bytes() + b"\n")
    with pytest.raises(SourceUnavailable) as caught:
        resolve(tmp_path, None, DEB)
    assert "did not bring what it announced" in caught.value.detail


def test_package_fetched_before_serves_when_apt_knows_nothing(tmp_path: Path, apt: Path) -> None:
    first = resolve(tmp_path, None, DEB)
    (tmp_path / "offline").touch()
    assert resolve(tmp_path, None, DEB) == first


def test_listing_of_a_clean_tree_is_whole() -> None:
    found = folder.listing(toy.FAKELINUX)
    assert found.left_out == 0
    assert len(found.files) == cache.measure(toy.FAKELINUX)[0]
