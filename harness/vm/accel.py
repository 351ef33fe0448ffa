# SPDX-License-Identifier: GPL-2.0-only
"""Which accelerator runs guests here: one is usable when a tiny guest has run on it, not before.

/dev/kvm may exist, open and create a virtual machine, and the guest on it still never gets
anywhere (nested hosts). So a tiny guest (``Arch.tiny``) is run under a deadline. What it said is
kept for as long as the host is up.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import tempfile
import time
from pathlib import Path

from harness import proc
from harness.errors import CannotRun, InfraError, ToolError
from harness.model import Accelerator, Arch
from harness.vm import qemu

KVM = Path("/dev/kvm")
KVM_SECONDS = 10
TCG_SECONDS = 60  # it always works; a busy host may take long
TCG_SPEED = 4.0
_SAID = b"pinpage-accel-ok"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FORGET_NO = 3600  # seconds: the host may only have been busy


def choose(arch: Arch, wanted: str, *, cache: Path) -> Accelerator:
    """The accelerator for guests of arch. wanted: ``auto``, ``kvm`` or ``tcg``.

    CannotRun when kvm is wanted and not usable; InfraError when not even TCG runs a guest.
    Takes up to KVM_SECONDS the first time after the host's boot.
    """
    program = proc.find(arch.qemu, arch.qemu_package)
    if wanted == "tcg":
        return _tcg(arch, program, "asked for", cache)
    why_not = _no_kvm(arch, program, cache)
    if not why_not:
        return Accelerator("kvm", "a tiny guest ran on it", 1.0)
    if wanted == "kvm":
        raise CannotRun(f"KVM cannot be used for {arch.name} guests here: {why_not}", hint=_HINT)
    return _tcg(arch, program, why_not, cache)


_HINT = "leave --accel out (or say --accel tcg): QEMU then emulates the guest, which is slower"


def _no_kvm(arch: Arch, program: str, cache: Path) -> str:
    """Why KVM is not usable, "" if it is."""
    if platform.machine() not in arch.machines:
        return f"this machine is {platform.machine()} and the guest {arch.name}"
    try:
        os.close(os.open(KVM, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"there is no {KVM}"
    except OSError as error:
        return f"{KVM} does not open: {error.strerror}"
    return _tried(arch, "kvm", program, KVM_SECONDS, cache)


def _tcg(arch: Arch, program: str, why: str, cache: Path) -> Accelerator:
    why_not = _tried(arch, "tcg", program, TCG_SECONDS, cache)
    if why_not:
        raise InfraError(
            f"{arch.qemu} does not run a tiny guest even without acceleration: {why_not}",
            hint=f"install QEMU again: apt install --reinstall {arch.qemu_package}",
        )
    return Accelerator("tcg", why, TCG_SPEED)


def _tried(arch: Arch, name: str, program: str, seconds: float, cache: Path) -> str:
    """What the tiny guest's run said, from the cache if it was asked since the host's boot."""
    kept = cache / "accel" / f"{_key(arch, name, program)}.json"
    answer = _kept(kept)
    if answer is None:
        answer = try_out(arch, name, program, seconds)
        _keep(kept, answer)
    return answer


def try_out(arch: Arch, name: str, program: str, seconds: float) -> str:
    """Run the tiny guest now; "" if it spoke within so many seconds, else what happened."""
    opens = f"{KVM} opens, but " if name == "kvm" else ""
    with tempfile.TemporaryDirectory(prefix="pinpage-") as folder:
        code = Path(folder) / "tiny"
        code.write_bytes(arch.tiny.code)
        argv = qemu.tiny_argv(arch, name, code, qemu=program, sandbox=qemu.sandbox(program))
        try:
            done = proc.run(argv, timeout=seconds, check=False)
        except ToolError:
            return f"{opens}a guest on it did not answer within {seconds:g} s"
    if _SAID in done.stdout:
        return ""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    said = f" ({lines[0]})" if lines else ""
    return f"{opens}QEMU ended with status {done.status} before its guest answered{said}"


def _key(arch: Arch, name: str, program: str) -> str:
    """Changes with the host's boot, with QEMU, and with what is run on it."""
    at = Path(program).resolve().stat()
    machine = qemu.tiny_argv(arch, name, Path("tiny"), qemu=program)
    words = [_BOOT_ID.read_text().strip(), str(at.st_mtime_ns), str(at.st_size), *machine]
    return hashlib.sha256("\0".join(words).encode() + arch.tiny.code).hexdigest()


def _kept(path: Path) -> str | None:
    """A kept answer; None if there is none, or it cannot be read, or it was no and is old."""
    try:
        kept = json.loads(path.read_text())
        why_not, when = str(kept["why_not"]), float(kept["when"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if why_not and not 0 <= time.time() - when < _FORGET_NO else why_not


def _keep(path: Path, why_not: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{secrets.token_hex(4)}")
    temporary.write_text(json.dumps({"why_not": why_not, "when": time.time()}) + "\n")
    temporary.replace(path)
