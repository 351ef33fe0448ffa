# SPDX-License-Identifier: GPL-2.0-only
"""Kernel trees: found, verified, unpacked into the cache once, and never changed.

``resolve`` answers with the user's own tree when there is one, or with the first of the
kernel's sources that can be had. The user's word is

- ``DIR``: the folder as it is now, uncommitted work included, be it a checkout or not. It is
  never written to. What an in-tree build left in it is not taken.
- ``DIR@REF``: a commit of the repository in DIR (a checkout or a bare repository).
- a bare repository: its HEAD.
- a file: a tar archive.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path

from harness import cache, proc, resources
from harness.build import archive, download, folder, git
from harness.errors import InputError, PinpageError, SourceUnavailable
from harness.model import Kernel, Progress, Silent, SourceOption, SourceTree

_FORMAT = 1
_TREES = "trees"
_COMMITS = 3  # trees of commits that stay whatever their age
_HOURS = 3.0  # that the others stay: longer than any run reads its tree
_DIGEST = re.compile(r"(?:sha256|git):[0-9a-f]{40,64}")


def resolve(kernel: Kernel, tree: str | None, *, cache: Path, progress: Progress) -> SourceTree:
    """The user's tree, or the first source of the kernel that can be had.

    ``PINPAGE_TREE_<name>`` says where this machine has a kernel's source; unlike ``--tree``, it
    has to be that source (``Kernel.blobs``). InputError when the user's word names no kernel
    tree; SourceUnavailable lists why each of the kernel's sources could not be had.
    """
    if tree is not None:
        return _own(tree, cache, progress)
    problems = []
    variable = variable_of(kernel)
    if word := os.environ.get(variable):
        try:
            return _known(_own(word, cache, progress), kernel)
        except PinpageError as error:
            raise InputError(
                f"{variable}={word} is not the source of kernel {kernel.name}: {error.message}",
                hint=f"unset it, or give the tree for once with --tree {word}",
            ) from error
    for option in kernel.sources:
        try:
            if option.kind == "tarball" and option.sha256 is None:
                return _unpinned(option, kernel, cache, progress)
            return _known(_PROVIDERS[option.kind](option, cache, progress), kernel)
        except PinpageError as error:
            problems.append(f"{option.kind} {option.location}: {error.message}")
            problems += [f"  {line}" for line in error.detail.splitlines()[-3:]]
            progress.note(f"{option.kind} {option.location}: {error.message}")
    raise SourceUnavailable(
        f"no source of kernel {kernel.name} can be had",
        detail="\n".join(problems) or "its YAML lists none",
        hint=f"set {variable}, or --tree, to a folder, a tarball or GIT@REF that has it",
    )


def variable_of(kernel: Kernel) -> str:
    """The environment variable that says where this machine has a kernel's source."""
    return "PINPAGE_TREE_" + re.sub(r"\W", "_", kernel.name)


def cached(digest: str, origin: str, cache_folder: Path) -> SourceTree | None:
    """The tree of this digest, if the cache has it and it is whole."""
    if not _DIGEST.fullmatch(digest):
        return None
    return _there(digest, origin, cache_folder, Silent())


def _known(tree: SourceTree, kernel: Kernel) -> SourceTree:
    """The tree, if the files that the kernel's YAML knows are in it as they have to be."""
    for path, wanted in sorted(kernel.blobs.items()):
        file = tree.path / path
        if not file.is_file():
            raise SourceUnavailable(f"{tree.origin} has no {path}")
        data = file.read_bytes()
        found = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        if found != wanted:
            raise SourceUnavailable(
                f"{path} of {tree.origin} is not kernel {kernel.name}'s: "
                f"its git blob is {found[:12]}, not {wanted[:12]}"
            )
    return tree


# ---------------------------------------------------------------------------------------------
# The user's own
# ---------------------------------------------------------------------------------------------


def _own(word: str, cache_folder: Path, progress: Progress) -> SourceTree:
    path = resources.path(word)
    found = _kind(path)
    if found == "file":
        return _tarball(path, cache_folder, progress)
    if found == "bare":
        return _git(path, "HEAD", word, cache_folder, progress)
    if found:
        return _folder(path.resolve(), cache_folder, progress)
    where, at, reference = word.rpartition("@")
    repository = resources.path(where)
    found = _kind(repository) if at else ""
    if found in ("bare", "checkout"):
        return _git(repository, reference or "HEAD", word, cache_folder, progress)
    if found == "folder":
        raise InputError(f"{repository} is not the top of a git repository (--tree {word})")
    raise InputError(
        f"--tree {word}: there is no such folder, archive or repository",
        hint="clone or download it first" if "://" in word else "DIR, TARBALL or GIT@REF",
    )


def _kind(path: Path) -> str:
    """What is there: a file, a folder, a checkout, a bare repository, or nothing."""
    try:
        if path.is_file():
            return "file"
        if not path.is_dir():
            return ""
        if (path / ".git").exists():
            return "checkout"
        return "bare" if git.is_repository(path) else "folder"
    except OSError as error:
        raise folder.unreadable(path, error) from error


def _folder(path: Path, cache_folder: Path, progress: Progress) -> SourceTree:
    version = folder.version(path)
    progress.note(f"reading {path}")
    found = folder.listing(path)
    if found.left_out:
        progress.note(f"{path}: {found.left_out} products of earlier builds are left out")
    digest = folder.digest(path, found.files, cache_folder)
    return SourceTree(path, digest, version, f"folder {path}", git.top(path))


def _tarball(path: Path, cache_folder: Path, progress: Progress) -> SourceTree:
    try:
        kind, sha256 = archive.kind(path), cache.sha256(path)
    except OSError as error:
        raise folder.unreadable(path, error) from error
    if kind is None:
        raise InputError(
            f"{path} is not a tar archive",
            hint="tar, tar.xz, tar.gz, tar.bz2 and tar.zst can be read",
        )
    digest = f"sha256:{sha256}"

    def make(target: Path) -> None:
        archive.unpack(path, target, progress)

    return _cached(digest, f"archive {path.resolve()}", make, cache_folder, progress)


def _git(
    repository: Path, reference: str, word: str, cache_folder: Path, progress: Progress
) -> SourceTree:
    repository = repository.resolve()
    commit = git.commit(repository, reference)
    tree = git.text(["rev-parse", f"{commit}^{{tree}}"], repository=repository)
    progress.note(f"{word}: commit {commit[:12]}")

    def make(target: Path) -> None:
        tar = target.parent / f"{target.name}.tar"
        words = ["archive", "--format=tar", f"--output={tar}", commit]
        try:
            git.run(words, repository=repository)
            archive.unpack(tar, target, progress)
        finally:
            tar.unlink(missing_ok=True)

    origin = f"git {repository}@{reference}"
    found = _cached(f"git:{tree}", origin, make, cache_folder, progress)
    # Each commit is a tree of its own, of almost 2 GB: a search's or pull requests' add up.
    cache.tidy(cache_folder / _TREES, "git-*", _COMMITS, _HOURS, progress)
    return replace(found, git=repository)


# ---------------------------------------------------------------------------------------------
# The kernel's sources, by kind
# ---------------------------------------------------------------------------------------------


def _deb(option: SourceOption, cache_folder: Path, progress: Progress) -> SourceTree:
    """A distribution's source package: fetched by apt, verified by its signed index."""
    package = option.location
    proc.find("apt-get", "apt")
    proc.find("dpkg-deb", "dpkg")
    done = proc.run([*_apt(), "--print-uris", "download", package], check=False)
    words = done.stdout.decode(errors="replace").split()
    if done.status != 0 or len(words) < 4 or not words[3].startswith("SHA256:"):
        problem = done.stderr.decode(errors="replace")
        return _fetched_before(package, problem, cache_folder, progress)
    name, size, sha256 = words[1], int(words[2]), words[3].removeprefix("SHA256:")

    def make(target: Path) -> None:
        deb = _apt_download(package, name, size, sha256, target.parent, progress)
        inner = target.parent / "deb"
        proc.run(["dpkg-deb", "-x", os.fspath(deb), os.fspath(inner)])
        tars = sorted(inner.glob("usr/src/linux-source-*.tar.*"))
        if not tars:
            raise SourceUnavailable(f"the package {package} holds no usr/src/linux-source-*.tar.*")
        archive.unpack(tars[0], target, progress)

    origin = f"Debian package {name.removesuffix('.deb')}"
    tree = _cached(f"sha256:{sha256}", origin, make, cache_folder, progress)
    cache.write_json(_remembered(cache_folder, package), {"sha256": sha256, "origin": origin})
    return tree


def _apt() -> list[str]:
    sandbox = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    return ["apt-get", "-q", *sandbox]


def _apt_download(
    package: str, name: str, size: int, sha256: str, where: Path, progress: Progress
) -> Path:
    def line(text: str) -> None:
        words = text.split(":")
        if words[0] == "dlstatus" and len(words) > 2:
            with suppress(ValueError):
                progress.advance(int(float(words[2]) / 100 * size), size, name)

    argv = [*_apt(), "-o", "APT::Status-Fd=1", "download", package]
    proc.run(argv, cwd=where, on_line=line)
    debs = list(where.glob("*.deb"))
    if len(debs) != 1 or cache.sha256(debs[0]) != sha256:
        raise SourceUnavailable(f"apt-get download {package} did not bring what it announced")
    return debs[0]


def _remembered(cache_folder: Path, package: str) -> Path:
    return cache_folder / _TREES / f"{package}.json"


def _fetched_before(
    package: str, problem: str, cache_folder: Path, progress: Progress
) -> SourceTree:
    """The tree that an earlier run got from this package, when apt knows nothing now."""
    known = cache.read_json(_remembered(cache_folder, package)) or {}
    if known:
        digest, origin = f"sha256:{known.get('sha256')}", str(known.get("origin"))
        tree = _there(digest, origin, cache_folder, progress)
        if tree is not None:
            return tree
    reasons = [line for line in problem.splitlines() if line.startswith("E:")]
    raise SourceUnavailable(
        f"apt cannot give it: {' '.join(reasons) or 'it names no file with a SHA256'} "
        "(is it in your sources.list, and was 'apt-get update' run?)"
    )


def _kernel_org(option: SourceOption, cache_folder: Path, progress: Progress) -> SourceTree:
    """A tarball from the network, whose sha256 is pinned."""
    assert option.sha256 is not None
    url = option.location
    name = url.rsplit("/", 1)[-1]
    target = cache_folder / "downloads" / f"{option.sha256[:16]}-{name}"
    sha256 = option.sha256.lower()

    def make(into: Path) -> None:
        with cache.locked(cache.lock_of(target), f"fetches {name}", progress):
            download.fetch(url, sha256, target, progress)
            archive.unpack(target, into, progress)

    return _cached(f"sha256:{sha256}", url, make, cache_folder, progress)


def _unpinned(
    option: SourceOption, kernel: Kernel, cache_folder: Path, progress: Progress
) -> SourceTree:
    """A tarball from the network, of which the kernel's blobs are known. What came in its place
    (a login page) is thrown away."""
    if not kernel.blobs:
        raise SourceUnavailable("neither its sha256 nor any of its blobs is known")
    url = option.location
    name = url.rsplit("/", 1)[-1]
    target = cache_folder / "downloads" / f"{cache.key(url)[:16]}-{name}"
    with cache.locked(cache.lock_of(target), f"fetches {name}", progress):
        download.fetch(url, None, target, progress)
        try:
            return _known(replace(_tarball(target, cache_folder, progress), origin=url), kernel)
        except (InputError, SourceUnavailable) as error:
            target.unlink()
            raise SourceUnavailable(f"what came was thrown away: {error.message}") from error


_PROVIDERS: dict[str, Callable[[SourceOption, Path, Progress], SourceTree]] = {
    "deb": _deb,
    "tarball": _kernel_org,
}


# ---------------------------------------------------------------------------------------------
# The cache
# ---------------------------------------------------------------------------------------------


def _cached(
    digest: str,
    origin: str,
    make: Callable[[Path], None],
    cache_folder: Path,
    progress: Progress,
) -> SourceTree:
    """The tree of this digest from the cache, made by ``make(folder)`` if it is not there."""
    entry = _entry(digest, cache_folder)
    with _locked(entry, origin, progress):
        found = _look(digest, origin, cache_folder)
        if found is not None:
            return found
        if entry.exists():
            progress.note(f"{entry} is damaged: it is thrown away and made again")
        progress.note(f"unpacking {origin}")
        with cache.making(entry) as temporary:
            tree = temporary / "tree"
            tree.mkdir()
            make(tree)
            version = folder.version(tree)
            _only(temporary, tree)
            files, size = cache.measure(tree)
            marker = {"format": _FORMAT, "digest": digest, "files": files, "bytes": size}
            cache.write_json(temporary / "entry.json", marker)
    return SourceTree(entry / "tree", digest, version, origin)


def _only(top: Path, keep: Path) -> None:
    """Remove what the making left beside the tree (a package, its inner archive)."""
    for path in top.iterdir():
        if path != keep:
            if path.is_dir():
                cache.discard(path)
            else:
                path.unlink()


def _entry(digest: str, cache_folder: Path) -> Path:
    return cache_folder / _TREES / digest.replace(":", "-")


def _locked(entry: Path, origin: str, progress: Progress) -> AbstractContextManager[None]:
    return cache.locked(cache.lock_of(entry), f"unpacks {origin}", progress)


def _there(digest: str, origin: str, cache_folder: Path, progress: Progress) -> SourceTree | None:
    entry = _entry(digest, cache_folder)
    if not entry.exists():
        return None
    with _locked(entry, origin, progress):
        return _look(digest, origin, cache_folder)


def _look(digest: str, origin: str, cache_folder: Path) -> SourceTree | None:
    """The cached tree if it is there and whole. The caller holds its lock: it is not taken away
    before it is noted that it is used."""
    entry = _entry(digest, cache_folder)
    marker = cache.read_json(entry / "entry.json") or {}
    tree = entry / "tree"
    if marker.get("format") != _FORMAT or marker.get("digest") != digest or not tree.is_dir():
        return None
    if cache.measure(tree) != (marker.get("files"), marker.get("bytes")):
        return None
    cache.used(entry)
    return SourceTree(tree, digest, folder.version(tree), origin)
