# SPDX-License-Identifier: GPL-2.0-only
"""An accelerator is taken when a guest has run on it; the answer is kept while it holds."""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from pathlib import Path

import pytest

from harness import arch
from harness.errors import CannotRun, InfraError
from harness.model import Arch
from harness.vm import accel

FAKE = Path(__file__).with_name("fake_qemu.py")


@pytest.fixture(autouse=True)
def kvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /dev/kvm that opens, on a machine of the guest's architecture."""
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(accel, "KVM", device)
    monkeypatch.setattr(accel, "KVM_SECONDS", 0.5)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    return device


def fake(folder: Path, on_kvm: str, on_tcg: str = "tiny") -> Arch:
    """x86_64, on a QEMU that behaves differently on each accelerator, and counts its runs."""
    script = folder / "qemu-fake"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *"-accel kvm"*) how={on_kvm};; *"-accel tcg"*) how={on_tcg};;'
        f' *) how=no;; esac\necho $how >> {folder}/ran\nexec {sys.executable} {FAKE} $how "$@"\n'
    )
    script.chmod(0o755)
    return dataclasses.replace(arch.get("x86_64"), qemu=str(script))


def ran(folder: Path) -> list[str]:
    log = folder / "ran"
    return [word for word in log.read_text().split() if word != "no"] if log.exists() else []


def test_kvm_that_runs_a_guest_is_taken(tmp_path: Path) -> None:
    taken = accel.choose(fake(tmp_path, "tiny"), "auto", cache=tmp_path)
    assert (taken.name, taken.speed) == ("kvm", 1.0)


def test_kvm_that_opens_and_never_answers_is_not(tmp_path: Path, kvm: Path) -> None:
    taken = accel.choose(fake(tmp_path, "stuck"), "auto", cache=tmp_path)
    assert taken.name == "tcg" and taken.speed > 1
    assert taken.why == f"{kvm} opens, but a guest on it did not answer within 0.5 s"


def test_kvm_on_which_qemu_fails_quotes_it(tmp_path: Path) -> None:
    taken = accel.choose(fake(tmp_path, "broken"), "auto", cache=tmp_path)
    assert taken.name == "tcg"
    assert "QEMU ended with status 1 before its guest answered (fake_qemu: no)" in taken.why


def test_kvm_that_was_asked_for_and_is_not_usable_stops(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="KVM cannot be used"):
        accel.choose(fake(tmp_path, "broken"), "kvm", cache=tmp_path)


def test_no_device_no_guest_is_tried(tmp_path: Path, kvm: Path) -> None:
    kvm.unlink()
    taken = accel.choose(fake(tmp_path, "tiny"), "auto", cache=tmp_path)
    assert (taken.name, taken.why) == ("tcg", f"there is no {kvm}")
    assert ran(tmp_path) == ["tiny"]


def test_another_architecture_is_never_kvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    taken = accel.choose(fake(tmp_path, "tiny"), "auto", cache=tmp_path)
    assert (taken.name, taken.why) == ("tcg", "this machine is riscv64 and the guest x86_64")


def test_not_even_tcg_is_ours(tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="even without acceleration"):
        accel.choose(fake(tmp_path, "broken", "broken"), "tcg", cache=tmp_path)


def test_an_answer_is_kept_until_it_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = fake(tmp_path, "broken")
    first = accel.choose(guest, "auto", cache=tmp_path)
    assert accel.choose(guest, "auto", cache=tmp_path) == first
    assert ran(tmp_path) == ["broken", "tiny"]
    other_boot = tmp_path / "boot_id"
    other_boot.write_text("another\n")
    monkeypatch.setattr(accel, "_BOOT_ID", other_boot)
    accel.choose(guest, "auto", cache=tmp_path)
    assert ran(tmp_path) == ["broken", "tiny"] * 2


def test_a_no_is_not_kept_for_ever_and_junk_is_not_believed(tmp_path: Path) -> None:
    guest = fake(tmp_path, "broken")
    accel.choose(guest, "auto", cache=tmp_path)
    for kept in (tmp_path / "accel").glob("*.json"):
        old = json.loads(kept.read_text())
        kept.write_text(json.dumps({**old, "when": 0}) if old["why_not"] else "{")
    accel.choose(guest, "auto", cache=tmp_path)
    assert ran(tmp_path) == ["broken", "tiny"] * 2
