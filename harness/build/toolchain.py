# SPDX-License-Identifier: GPL-2.0-only
"""Compilers of this machine, by the user's word: gcc, gcc-12, llvm, llvm-15."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from harness import proc
from harness.errors import InputError
from harness.model import Arch, Kernel, Toolchain

_ONE_WORD = re.compile(r"[\w./+-]+")
_WORD = re.compile(r"(gcc|llvm)(?:-(\d+))?")
# What stands before a compiler. make splits it into words, so a path must not fall apart.
_CCACHE = Path(__file__).with_name("ccache.sh")
# Line tables and inlined calls, of which reports are symbolised (symbols.py); the code is the same
# with and without. No path of this machine gets in, so that the image is the same everywhere, and
# ccache (which then leaves the folder out of its key) answers for any workspace.
_LINES = "-g1"
_NO_PATH = "-fdebug-prefix-map={work}=/pinpage"
_LLVM_TOOLS = ("ld.lld", "llvm-ar", "llvm-nm", "llvm-objcopy", "llvm-strip", "llvm-readelf")


def find(wanted: str, arch: Arch, host: Arch, *, ccache: bool | None = None) -> Toolchain:
    """The toolchain of this name for arch on host; MissingTool names the Debian package.

    ccache: use it (True), do without (False), or use it if it is installed (None). It is not used
    where its script lies below a folder whose name make would not take for one word.
    """
    match = _WORD.fullmatch(wanted)
    if match is None:
        raise InputError(
            f"unknown toolchain {wanted!r}", hint="gcc, gcc-12, llvm or llvm-15 (--toolchain)"
        )
    suffix = f"-{match[2]}" if match[2] else ""
    if ccache is None:
        ccache = (
            shutil.which("ccache") is not None and _ONE_WORD.fullmatch(str(_CCACHE)) is not None
        )
    if ccache:
        proc.find("ccache")
    before = f"sh {_CCACHE} " if ccache else ""
    cross = arch.cross if arch.name != host.name else ""
    if match[1] == "llvm":
        version, make = _llvm(suffix, before)
    else:
        version, make = _gcc(suffix, before, cross, arch)
    if cross:
        make["CROSS_COMPILE"] = cross
    return Toolchain(wanted, version, make, ccache)


def _gcc(suffix: str, before: str, cross: str, arch: Arch) -> tuple[str, dict[str, str]]:
    compiler = f"{cross}gcc{suffix}"
    package = arch.compiler_package if cross else "gcc"
    if suffix:
        package = package.replace("gcc", f"gcc{suffix}", 1)
    proc.find(compiler, package)
    linker = f"{cross}ld"
    proc.find(linker, f"binutils-{arch.triplet.replace('_', '-')}" if cross else "binutils")
    host = "gcc" if cross or shutil.which("gcc") else compiler
    proc.find(host, "gcc")
    version = f"{_first_line(compiler)}; {_first_line(linker)}"
    return version, {"CC": f"{before}{compiler}", "HOSTCC": f"{before}{host}"}


def _llvm(suffix: str, before: str) -> tuple[str, dict[str, str]]:
    proc.find(f"clang{suffix}", f"clang{suffix}")
    for tool in _LLVM_TOOLS:
        package = "lld" if tool == "ld.lld" else "llvm"
        proc.find(f"{tool}{suffix}", f"{package}{suffix}")
    version = f"{_first_line(f'clang{suffix}')}; {_first_line(f'ld.lld{suffix}')}"
    compiler = f"{before}clang{suffix}"
    return version, {"LLVM": suffix or "1", "CC": compiler, "HOSTCC": compiler}


def _first_line(program: str) -> str:
    done = proc.run([program, "--version"])
    return done.stdout.decode(errors="replace").splitlines()[0].strip()


def compiler(words: str) -> str:
    """CC's words without what stands before the compiler."""
    return words.removeprefix(f"sh {_CCACHE} ")


def variables(
    toolchain: Toolchain, kernel: Kernel, arch: Arch, *, types: bool = False
) -> Mapping[str, str]:
    """make's variables: the toolchain's, and what the kernel needs on top. types: the configuration
    asks for types and variables itself, beyond the line tables that every build has.

    A kernel's CC and HOSTCC are a compiler's name and flags; the flags are kept and the name
    gives way to the toolchain's. ``{src}`` and ``{work}`` stand for the folders of the build.
    """
    found = dict(toolchain.make)
    for scope in ("all", arch.name):
        for name, value in kernel.make.get(scope, {}).items():
            if name in ("CC", "HOSTCC"):
                flags = value.split(None, 1)[1:]
                found[name] = " ".join([found[name], *flags])
            else:
                found[name] = value
    lines = (found.get("KCFLAGS", ""), "" if types else _LINES, _NO_PATH)
    found["KCFLAGS"] = " ".join(filter(None, lines))
    return found


def objcopy(toolchain: Toolchain) -> str:
    """The objcopy that knows what this toolchain makes."""
    llvm = toolchain.make.get("LLVM")
    if llvm is not None:
        return "llvm-objcopy" + ("" if llvm == "1" else llvm)
    return f"{toolchain.make.get('CROSS_COMPILE', '')}objcopy"
