# SPDX-License-Identifier: GPL-2.0-only
"""The guest's initramfs: Debian's busybox and dropbear of the guest's architecture.

Packages are downloaded by apt, which checks them against its signed lists, and unpacked with
dpkg-deb; nothing is installed and no root is needed. A foreign architecture is looked up with
an apt configuration of its own, which leaves the host's alone. What dropbear needs follows from
the packages' own Depends, so that Debian's releases may name their libraries as they like.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from filelock import FileLock

from harness import cpio, proc
from harness.cache import sha256
from harness.errors import InfraError, ToolError
from harness.model import Arch, GuestImage, Progress

_FORMAT = "2"
_WANTED = ("busybox-static", "dropbear-bin")
_INIT = Path(__file__).with_name("init.sh")
_DEPENDS = re.compile(r"\s*([a-z0-9][a-z0-9.+-]*)")
# Taken from the unpacked packages; everything else of them is documentation and locales.
_PROGRAMS = {
    "busybox": ("bin/busybox", "usr/bin/busybox"),
    "dropbear": ("usr/sbin/dropbear", "usr/bin/dropbear"),
}
_LIBRARY = re.compile(r"(?:lib[^/]*|ld-linux[^/]*)\.so(?:\.[^/]*)?")
_FILES: Mapping[str, str] = {
    "etc/passwd": "root::0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/shells": "/bin/sh\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\n",
    # Without ACPI a guest cannot switch itself off; a reset ends QEMU, which runs with -no-reboot.
    "etc/shrc": "alias halt='reboot -f' poweroff='reboot -f' reboot='reboot -f'\n",
}
_FOLDERS = (
    *("bin", "dev", "etc", "etc/dropbear", "lib", "modules", "proc", "root", "root/.ssh", "sbin"),
    *("sys", "tmp", "usr", "usr/bin", "usr/sbin", "var", "var/run"),
)
_PRIVATE = frozenset({"root", "root/.ssh"})


def build(arch: Arch, *, cache: Path, progress: Progress) -> GuestImage:
    """The image of an architecture, from the cache where its packages are the same.

    MissingTool without apt or dpkg; InfraError where apt knows or reaches no such package.
    """
    folder = cache / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{arch.name}.lock"):
        apt = _Apt(arch, folder / f"apt-{arch.name}", progress)
        try:
            return _image(arch, apt, folder, progress)
        except _Gone:
            if not apt.refresh():
                raise
            return _image(arch, apt, folder, progress)


def cached(arch: Arch, digest: str, *, cache: Path) -> Path | None:
    """The image of this digest (``sha256:…``), if the cache has it and it is whole."""
    wanted = digest.removeprefix("sha256:")
    for note in sorted((cache / "images").glob(f"{arch.name}-*.sha256")):
        path = note.with_suffix(".gz")
        if note.read_text().strip() == wanted and path.is_file() and sha256(path) == wanted:
            return path
    return None


class _Gone(InfraError):
    """What apt's lists name cannot be downloaded: they may be older than the archive."""


def _image(arch: Arch, apt: _Apt, folder: Path, progress: Progress) -> GuestImage:
    note = folder / f"{arch.name}.json"
    packages = _remembered(note, apt.lists()) or apt.closure(_WANTED)
    _remember(note, apt.lists(), packages)
    recipe = json.dumps([_FORMAT, arch.name, sorted(packages.items()), _INIT.read_text()])
    key = hashlib.sha256(recipe.encode()).hexdigest()[:16]
    path = folder / f"{arch.name}-{key}.cpio.gz"
    found = _cached(path, packages, progress)
    if found is not None:
        return found
    progress.note(f"guest image: {', '.join(f'{n} {v}' for n, v in packages.items())}")
    return _publish(path, _make(arch, apt, packages, folder), packages)


# ---------------------------------------------------------------------------------------------
# Packages
# ---------------------------------------------------------------------------------------------


class _Apt:
    """apt for one architecture. The host's own serves itself; another has private lists."""

    def __init__(self, arch: Arch, state: Path, progress: Progress) -> None:
        self._arch, self._progress = arch, progress
        for program in ("apt-get", "apt-cache", "dpkg-deb", "dpkg"):
            proc.find(program, "apt dpkg")
        self._options: tuple[str, ...] = ()
        if os.geteuid() == 0:
            self._options += ("-o", "APT::Sandbox::User=root")
        host = proc.run(("dpkg", "--print-architecture")).stdout.decode().strip()
        self._lists = Path("/var/lib/apt/lists")
        self._foreign = host != arch.deb
        if self._foreign:
            self._options += _private(state, arch.deb)
            self._lists = state / "lists"

    def lists(self) -> list[str | int]:
        """What tells one state of apt's package lists from another."""
        return [
            part
            for path in sorted(self._lists.glob("*_Packages*"))
            for part in (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        ]

    def _run(self, program: str, *words: str, timeout: float, cwd: Path | None = None) -> str:
        argv = (program, *self._options, *words)
        return proc.run(argv, timeout=timeout, cwd=cwd).stdout.decode(errors="replace")

    def refresh(self) -> bool:
        """Read private lists anew. The host's are root's to update: False."""
        if self._foreign:
            self._progress.note(f"reading the package lists for {self._arch.deb}")
            self._run("apt-get", "-q", "update", timeout=600)
        return self._foreign

    def closure(self, names: Sequence[str]) -> dict[str, str]:
        """Package → version of the named packages and all libraries that they depend on."""
        if not self.lists():
            self.refresh()
        found: dict[str, str] = {}
        todo = list(names)
        while todo:
            name = todo.pop()
            if name in found:
                continue
            fields = self._fields(name)
            if fields is None:
                if name in names:
                    raise InfraError(
                        f"apt knows no package {name} for {self._arch.deb}",
                        hint="the guest's programs are Debian's: run 'apt-get update' as root, and "
                        "see that apt's sources are not limited to another architecture",
                    )
                continue  # a virtual package: whoever provides it is needed by no program here
            found[name] = fields["Version"]
            for field in ("Depends", "Pre-Depends"):
                for clause in fields.get(field, "").split(","):
                    match = _DEPENDS.match(clause)
                    if match and _may_have_libraries(match[1]):
                        todo.append(match[1])
        return dict(sorted(found.items()))

    def _fields(self, name: str) -> dict[str, str] | None:
        said = self._quiet("apt-cache", "show", "--no-all-versions", f"{name}:{self._arch.deb}")
        if not said.strip():
            return None
        fields: dict[str, str] = {}
        for line in said.split("\n\n")[0].splitlines():
            key, colon, value = line.partition(":")
            if colon and not line[:1].isspace():
                fields[key] = value.strip()
        return fields

    def _quiet(self, *words: str) -> str:
        argv = (words[0], *self._options, *words[1:])
        return proc.run(argv, timeout=120, check=False).stdout.decode(errors="replace")

    def download(self, packages: Mapping[str, str], folder: Path) -> list[Path]:
        words = [f"{name}:{self._arch.deb}={version}" for name, version in packages.items()]
        try:
            self._run("apt-get", "-q", "download", *words, timeout=900, cwd=folder)
        except ToolError as error:
            raise _Gone(
                f"the guest's packages could not be downloaded for {self._arch.deb}",
                hint="run 'apt-get update' as root (the lists may be old), or check the network",
                command=error.command,
                detail=error.detail,
            ) from error
        return sorted(folder.glob("*.deb"))


def _may_have_libraries(package: str) -> bool:
    return package.startswith(("lib", "zlib"))


def _private(state: Path, deb: str) -> tuple[str, ...]:
    """Options that give apt lists, cache and status of its own for one architecture.

    Sources, keys and proxies are the host's; what the host does after an update is not done.
    """
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    settings = {
        "APT::Architecture": deb,
        "Dir::State": str(state),
        "Dir::State::lists": str(state / "lists"),
        "Dir::State::status": str(state / "status"),
        "Dir::Cache": str(state / "cache"),
        "APT::Get::List-Cleanup": "false",
        "Acquire::Languages": "none",
    }
    hooks = ("Pre-Invoke", "Post-Invoke", "Post-Invoke-Success")
    lines = [
        *(f"#clear APT::Update::{hook};" for hook in hooks),
        "#clear APT::Architectures;",
        f'APT::Architectures {{ "{deb}"; }};',
        *(f'{key} "{value}";' for key, value in settings.items()),
    ]
    config = state / "apt.conf"
    config.write_text("\n".join(lines) + "\n")
    return ("-c", str(config))


# ---------------------------------------------------------------------------------------------
# The archive
# ---------------------------------------------------------------------------------------------


def _make(arch: Arch, apt: _Apt, packages: Mapping[str, str], folder: Path) -> bytes:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        debs = work / "debs"
        debs.mkdir()
        root = work / "root"
        for deb in apt.download(packages, debs):
            proc.run(("dpkg-deb", "-x", str(deb), str(root)), timeout=120)
        entries = list(_entries(root, arch))
    # Level 1: the guest unpacks all levels alike, and this is made once.
    return gzip.compress(cpio.archive(entries), compresslevel=1, mtime=0)


def _entries(root: Path, arch: Arch) -> Iterator[cpio.Entry]:
    for path in _FOLDERS:
        yield cpio.folder(path, 0o700 if path in _PRIVATE else 0o755)
    yield cpio.symlink("lib64", "lib")
    yield cpio.char_device("dev/console", 5, 1)
    yield cpio.char_device("dev/null", 1, 3, 0o666)
    yield cpio.file("init", _INIT.read_bytes(), 0o755)
    for path, text in _FILES.items():
        yield cpio.file(path, text.encode())
    busybox = _program(root, "busybox")
    yield cpio.file("bin/busybox", busybox, 0o755)
    for applet in _applets(busybox):
        yield cpio.symlink(f"bin/{applet}", "busybox")
    yield cpio.file("sbin/dropbear", _program(root, "dropbear"), 0o755)
    yield from _libraries(root, arch)


def _program(root: Path, name: str) -> bytes:
    for place in _PROGRAMS[name]:
        if (root / place).is_file():
            return (root / place).read_bytes()
    raise InfraError(f"Debian's package of {name} has no {' or '.join(_PROGRAMS[name])}")


# What the guest's scripts and a person at its console use. The list is fixed because busybox of
# another architecture cannot be run here to ask it; what this busybox lacks is left out.
_APPLETS = tuple(
    """
    ash awk base64 basename cat chmod chown clear cmp cp cpio cttyhack cut date dd df diff dirname
    dmesg du echo env expr false find free fuser grep gunzip gzip head hexdump hostname id ifconfig
    insmod ip kill killall less ln ls lsmod md5sum mkdir mknod mkfifo mktemp modprobe more mount mv
    nc nohup nproc od pgrep pidof ping pkill printf ps pwd readlink reboot renice reset rm rmdir
    rmmod route sed seq setsid sh sha256sum sleep sort stat strings stty sync sysctl tail tar
    tee test time timeout top touch tr true tty umount uname uniq unxz uptime vi watch wc which
    xargs yes zcat [
    """.split()  # noqa: SIM905 - names read better as words
)


def _applets(busybox: bytes) -> list[str]:
    """The applets of the list that this busybox names among its own (NUL-separated)."""
    return [name for name in _APPLETS if b"\0" + name.encode() + b"\0" in busybox]


def _libraries(root: Path, arch: Arch) -> Iterator[cpio.Entry]:
    """Shared libraries and the loader, flat in /lib, links resolved within the packages."""
    seen: set[str] = set()
    for folder in ("lib", "usr/lib", "lib64", "usr/lib64"):
        for place in (root / folder / arch.triplet, root / folder):
            if not place.is_dir():
                continue
            for path in sorted(place.iterdir()):
                if path.name in seen or not _LIBRARY.fullmatch(path.name):
                    continue
                if path.is_symlink():
                    target = path.readlink().name
                    if target != path.name:
                        seen.add(path.name)
                        yield cpio.symlink(f"lib/{path.name}", target)
                elif stat.S_ISREG(path.lstat().st_mode):
                    seen.add(path.name)
                    yield cpio.file(f"lib/{path.name}", path.read_bytes(), 0o755)


# ---------------------------------------------------------------------------------------------
# The cache
# ---------------------------------------------------------------------------------------------


def _remembered(note: Path, lists: list[str | int]) -> dict[str, str] | None:
    """The packages that were found when apt's lists were what they are now."""
    try:
        data = json.loads(note.read_text())
    except (OSError, ValueError):
        return None
    if not lists or not isinstance(data, dict) or data.get("lists") != lists:
        return None
    packages = data.get("packages")
    return packages if isinstance(packages, dict) else None


def _remember(note: Path, lists: list[str | int], packages: Mapping[str, str]) -> None:
    temporary = note.with_name(f".{note.name}.{os.getpid()}")
    temporary.write_text(json.dumps({"lists": lists, "packages": packages}))
    temporary.replace(note)


def _cached(path: Path, packages: Mapping[str, str], progress: Progress) -> GuestImage | None:
    digest_file = path.with_suffix(".sha256")
    if not path.is_file() or not digest_file.is_file():
        return None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest == digest_file.read_text().strip():
        return GuestImage(path, f"sha256:{digest}", packages)
    progress.note(f"{path} is damaged: it is thrown away and made again")
    path.unlink()
    return None


def _publish(path: Path, data: bytes, packages: Mapping[str, str]) -> GuestImage:
    digest = hashlib.sha256(data).hexdigest()
    for target, content in ((path.with_suffix(".sha256"), digest.encode()), (path, data)):
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        temporary.write_bytes(content)
        temporary.replace(target)
    return GuestImage(path, f"sha256:{digest}", packages)
