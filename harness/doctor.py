# SPDX-License-Identifier: GPL-2.0-only
"""What this machine has of each need of the harness, and how to get the rest."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from harness import arch, proc, spec
from harness.errors import InputError, PinpageError, ToolError
from harness.model import Accelerator, Arch, Progress
from harness.vm import accel

DISK_GIB = 6  # a tree (1.6 GiB), its archive, a build folder and room to spare


@dataclass(frozen=True)
class Need:
    """One need: whether it was found, which version, why it is needed, how to get it."""

    name: str
    purpose: str
    found: bool
    version: str
    get: str
    required: bool = True

    def as_json(self) -> dict[str, str | bool]:
        return {
            "name": self.name,
            "purpose": self.purpose,
            "found": self.found,
            "version": self.version,
            "get": self.get,
            "required": self.required,
        }


@dataclass(frozen=True)
class _Tool:
    """A program: how it tells its version, and the Debian package that has it."""

    program: str
    package: str
    purpose: str
    required: bool = True
    version: tuple[str, ...] = ("--version",)


_TOOLS = (
    _Tool("git", "git", "applies patches"),
    _Tool("make", "make", "builds kernels"),
    _Tool("gcc", "gcc", "builds kernels"),
    _Tool("flex", "flex", "builds kernels"),
    _Tool("bison", "bison", "builds kernels"),
    _Tool("bc", "bc", "builds kernels"),
    _Tool("xz", "xz-utils", "unpacks kernel sources"),
    _Tool("apt-get", "apt", "downloads kernel sources and guest programs"),
    _Tool("dpkg-deb", "dpkg", "unpacks them"),
    _Tool("setpriv", "util-linux", "ends QEMU when we end"),
    _Tool("ccache", "ccache", "makes rebuilds quick", required=False),
    _Tool("clang", "clang lld llvm", "--toolchain llvm", required=False),
    _Tool("gdb", "gdb", "pinpage gdb", required=False),
)
_VERSION = re.compile(r"\d+(?:\.\d+)+")
_GELF = b"#include <gelf.h>\nint main(void) { return elf_version(EV_NONE) == EV_NONE; }\n"


def examine(cache: Path, progress: Progress) -> list[Need]:
    """Every need of this machine, the required ones first. Takes up to the accelerator
    probe's deadline (some 10 s) the first time after the host's boot."""
    progress.stage("doctor")
    needs = [_python(), *(_tool(tool) for tool in _TOOLS if tool.required), _libelf(), _disk(cache)]
    needs += _sources()
    try:
        host = arch.host()
    except InputError as error:
        return [*needs, Need("guests", "runs guests", False, platform.machine(), str(error))]
    needs += [_qemu(host, required=True), *_accelerator(host, cache)]
    needs += [_tool(tool) for tool in _TOOLS if not tool.required]
    for other in arch.all_arches().values():
        if other is not host:
            needs += [_qemu(other, required=False), _cross(other)]
    return needs


def table(needs: Sequence[Need]) -> Table:
    """The needs as a person reads them."""
    out = Table(box=None, pad_edge=False)
    for title in ("need", "", "version, or how to get it", "what for"):
        out.add_column(title, overflow="fold")
    for need in needs:
        mark = "[green]found[/]" if need.found else "[bold red]missing[/]"
        if not need.found and not need.required:
            mark = "[yellow]absent[/]"
        text = need.version if need.found else need.get
        purpose = need.purpose if need.required else f"{need.purpose} (optional)"
        out.add_row(need.name, mark, escape(text), escape(purpose))
    return out


def _python() -> Need:
    found = sys.version_info >= (3, 11)
    return Need("python", "the harness", found, platform.python_version(), "apt install python3")


def _tool(tool: _Tool) -> Need:
    get = f"apt install {tool.package}"
    version = _ask((tool.program, *tool.version))
    return Need(tool.program, tool.purpose, bool(version), version, get, tool.required)


def _ask(argv: Sequence[str]) -> str:
    """The version that a program prints first, "" when it is not there."""
    if shutil.which(argv[0]) is None:
        return ""
    try:
        said = proc.run(argv, timeout=20).stdout.decode(errors="replace").strip()
    except ToolError:
        return ""
    number = _VERSION.search(said)
    return number[0] if number else "found"


def _libelf() -> Need:
    """objtool of the kernel's build links libelf: its header and library are tried for real."""
    argv = ("gcc", "-x", "c", "-", "-o", "/dev/null", "-lelf")
    get = "apt install libelf-dev"
    if shutil.which("gcc") is None:
        return Need("libelf", "objtool of the kernel", False, "", get)
    status = proc.run(argv, stdin=_GELF, timeout=60, check=False).status
    return Need("libelf", "objtool of the kernel", status == 0, "links", get)


def _disk(cache: Path) -> Need:
    free = shutil.disk_usage(cache).free / 2**30
    text = f"{free:.0f} GiB free in {cache}"
    get = f"{text}; {DISK_GIB} are needed: make room, or set XDG_CACHE_HOME"
    return Need("disk", "trees and builds", free >= DISK_GIB, text, get)


def _sources() -> list[Need]:
    """Which kernels' sources apt could download here (its lists, no network)."""
    needs = []
    for kernel in spec.kernels():
        for option in kernel.sources:
            if option.kind != "deb" or shutil.which("apt-cache") is None:
                continue
            said = proc.run(("apt-cache", "policy", option.location), timeout=60, check=False)
            lines = said.stdout.decode(errors="replace").splitlines()
            version = next((ln.split(":", 1)[1].strip() for ln in lines if "Candidate:" in ln), "")
            known = version not in ("", "(none)")
            get = "apt-get update (Debian 12 and later have it), or give a tree with --tree"
            name = f"kernel {kernel.name}"
            purpose = f"source package {option.location}"
            needs.append(Need(name, purpose, known, version, get, required=False))
    return needs


def _qemu(guest: Arch, *, required: bool) -> Need:
    version = _ask((guest.qemu, "--version"))
    get = f"apt install {guest.qemu_package}"
    return Need(guest.qemu, f"{guest.name} guests", bool(version), version, get, required)


def _cross(guest: Arch) -> Need:
    name = f"{guest.cross}gcc"
    version = _ask((name, "--version"))
    get = f"apt install {guest.compiler_package}"
    return Need(name, f"{guest.name} kernels", bool(version), version, get, required=False)


def _accelerator(host: Arch, cache: Path) -> list[Need]:
    """Which accelerators a tiny guest really ran on."""
    if shutil.which(host.qemu) is None:
        return []
    names: tuple[tuple[str, Callable[[], Accelerator]], ...] = (
        ("kvm", lambda: accel.choose(host, "kvm", cache=cache)),
        ("tcg", lambda: accel.choose(host, "tcg", cache=cache)),
    )
    needs = []
    for name, probe in names:
        required = name == "tcg"
        try:
            taken = probe()
        except PinpageError as error:
            needs.append(Need(name, "accelerator", False, "", error.message, required))
        else:
            ran = f"a tiny guest ran on it (deadlines times {taken.speed:g})"
            needs.append(Need(name, "accelerator", True, ran, "", required))
    return needs
