# SPDX-License-Identifier: GPL-2.0-only
"""What gdb is told, from values, and which gdb; pure but for ``program`` and ``sections``."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import proc
from harness.errors import EvidenceError, InputError
from harness.model import Arch, Guest

_NATIVE, _ANY = "gdb", "gdb-multiarch"  # programs, and Debian's packages of them
_TEXT = ".text"
_GOES_ON = "The guest goes on; Ctrl-C stops it."
_CHECK = 300.0  # seconds to read the symbols
_SECTION = re.compile(r"(\.[\w.-]{1,64}) (0x[0-9a-f]{1,16})")
# Sections that gdb has a use for; the kernel lists others, and has freed some of them.
_LOADED = re.compile(r"\.(?:text|data|bss|rodata)(?:[.\w-]*)|\.noinstr\.text|\.data\.\.[\w.-]+")
_UNKNOWN = re.compile(
    r"not defined|No symbol|No source file|No line \d|Undefined|syntax error|Junk|unmatched"
)
_LIST = (
    'cd /sys/module/{}/sections && for f in .*; do [ -f "$f" ] && echo "$f $(cat "$f")"; done; :'
)
# Where a build's sources are, as the compiler was told (build/toolchain.py).
_SOURCE, _MODULES = "/pinpage/src", "/pinpage/modules"


@dataclass(frozen=True)
class Loaded:
    """A module's file with its symbols, and section → address in the guest."""

    file: Path
    sections: Mapping[str, int]


@dataclass(frozen=True)
class Session:
    """What gdb works on. stub: QEMU's socket. source and modules_source: folders with what the
    line tables name. breaks: where to stop; commands: what to do there."""

    vmlinux: Path
    stub: Path
    modules: tuple[Loaded, ...]
    source: Path
    modules_source: Path
    breaks: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    batch: bool = False


def program(arch: Arch) -> str:
    """The gdb for guests of an architecture; MissingTool names the package."""
    if platform.machine() in arch.machines and shutil.which(_NATIVE):
        return proc.find(_NATIVE, _NATIVE)
    if platform.machine() in arch.machines and not shutil.which(_ANY):
        return proc.find(_NATIVE, _NATIVE)
    return proc.find(_ANY, _ANY)


def words(option: str, given: Sequence[str]) -> tuple[str, ...]:
    """Words of the user's that become lines of gdb's; InputError for what is not one line."""
    for word in given:
        if not word.strip() or not word.isprintable():
            raise InputError(f"{option} {word!r} is no line for gdb")
    return tuple(given)


def script(session: Session) -> str:
    """gdb's commands: symbols, the guest, breakpoints; it goes on where there are any, and what is
    to be done then. A batch without commands shows a backtrace."""
    lines = [
        "set confirm off",  # the guest is there to be broken, and ends with gdb
        f"file {_quoted(session.vmlinux)}",
        f"set substitute-path {_SOURCE} {_quoted(session.source)}",
        f"set substitute-path {_MODULES} {_quoted(session.modules_source)}",
    ]
    if session.batch:
        lines += ["set pagination off", "set width 0"]
    lines.append(f"target remote {session.stub}")
    lines += [_symbols(each) for each in session.modules]
    lines += [f"break {place}" for place in session.breaks]
    if session.breaks:
        lines += [] if session.batch else [f"echo {_GOES_ON}\\n"]
        lines.append("continue")
    lines += session.commands
    if session.batch and not session.commands:
        lines.append("backtrace")
    return "\n".join(lines) + "\n"


def _symbols(each: Loaded) -> str:
    more = [
        f"-s {_quoted(name)} {address:#x}"
        for name, address in sorted(each.sections.items())
        if name != _TEXT and _LOADED.fullmatch(name)
    ]
    return " ".join(["add-symbol-file", _quoted(each.file), f"{each.sections[_TEXT]:#x}", *more])


def _quoted(word: Path | str) -> str:
    text = str(word).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def argv(gdb: str, file: Path, *, batch: bool) -> tuple[str, ...]:
    """A batch reads no user's file, so that it does the same everywhere."""
    return (gdb, "-q", *(("-batch", "-nx") if batch else ()), "-x", str(file))


def check(gdb: str, vmlinux: Path, modules: Sequence[Path], breaks: Sequence[str]) -> None:
    """InputError for a place to stop at that no symbol of these names; nothing runs for it."""
    if not breaks:
        return
    lines = ["set confirm off", *(f"add-symbol-file {_quoted(path)} 0" for path in modules)]
    lines += [f"break {place}" for place in breaks]
    options = [word for line in lines for word in ("-ex", line)]
    argv = [gdb, "-batch", "-nx", str(vmlinux), *options]
    done = proc.run(argv, timeout=_CHECK, check=False)
    said = (done.stdout + done.stderr).decode(errors="replace").splitlines()
    wrong = [line for line in said if _UNKNOWN.search(line)]
    if wrong:
        raise InputError(
            f"gdb does not know where to stop: {wrong[0].split(' [answered')[0]}",
            hint="a function may be inlined away or optimised into another: --break FILE:LINE",
            command=argv,
        )


def sections(guest: Guest, name: str) -> Mapping[str, int]:
    """Section → address of a module that is loaded, by /sys/module/NAME/sections.

    EvidenceError where the guest does not tell (CONFIG_KALLSYMS).
    """
    said = guest.must(_LIST.format(name))
    found = {
        match[1]: int(match[2], 16)
        for line in said.splitlines()
        if (match := _SECTION.fullmatch(line.strip())) is not None
    }
    if not found.get(_TEXT):
        raise EvidenceError(
            f"/sys/module/{name}/sections does not say where the module {name} is",
            hint="the guest's kernel needs CONFIG_KALLSYMS",
        )
    return found
