# SPDX-License-Identifier: GPL-2.0-only
"""Kernels and profiles: what the repository ships loads, and a wrong file names its fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import resources, spec
from harness.errors import InputError
from harness.model import Setting

KERNEL = """
name: "9.9"
version: "9.9.1"
sources:
  - {kind: deb, location: linux-source-9.9}
patches: "9.9"
arches: [x86_64]
"""


@pytest.fixture
def config_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "profiles").mkdir()
    monkeypatch.setattr(resources, "kernel_config", lambda: tmp_path)
    return tmp_path


def test_shipped_kernels_and_profiles_load() -> None:
    assert "6.12" in [kernel.name for kernel in spec.kernels()]
    assert "fast" in [profile.name for profile in spec.profiles()]
    for kernel in spec.kernels():
        assert (resources.patches() / kernel.patches).is_dir()


def test_kernel_fields(config_root: Path) -> None:
    (config_root / "kernels/9.9.yaml").write_text(KERNEL)
    kernel = spec.load_kernel("9.9")
    assert kernel.sources[0].location == "linux-source-9.9"
    assert kernel.arches == ("x86_64",)


def test_a_kernels_own_machine(config_root: Path) -> None:
    own = "{machine: pc, cpu_tcg: qemu64, network: e1000, cmdline: nosmap a=1}"
    more = f"machines: {{x86_64: {own}}}\ncompat: old\n"
    (config_root / "kernels/9.9.yaml").write_text(KERNEL + more)
    kernel = spec.load_kernel("9.9")
    machine = kernel.machines["x86_64"]
    assert (machine.machine, machine.cpu_tcg, machine.network) == ("pc", "qemu64", "e1000")
    assert machine.cmdline == ("nosmap", "a=1")
    assert (machine.cpu_kvm, machine.entropy) == ("host", "virtio-rng-pci")
    assert (kernel.compat, kernel.config) == ("old", "tinyconfig")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("version:", "versoin:"), "version"),
        (('"9.9.1"', "9.9"), "version"),
        (("kind: deb", "kind: rpm"), "sources[0].kind"),
        (("arches: [x86_64]", "arches: x86_64"), "arches"),
        (("arches:", "extra: 1\narches:"), "extra"),
        (('name: "9.9"', 'name: "9.8"'), "9.8"),
        (("sources:", "sources: ["), "YAML"),
        (("patches:", "make: {x86_64: gcc}\npatches:"), "make.x86_64"),
        (("patches:", "machines: {x86_64: pc}\npatches:"), "machines.x86_64"),
        (("patches:", "machines: {x86_64: {machine: pc}}\npatches:"), "x86_64.cpu_tcg"),
        (("kind: deb", "kind: tarball"), "sha256"),
    ],
)
def test_wrong_kernel_names_field_and_file(
    config_root: Path, change: tuple[str, str], named: str
) -> None:
    file = config_root / "kernels/9.9.yaml"
    file.write_text(KERNEL.replace(*change))
    with pytest.raises(InputError) as caught:
        spec.load_kernel("9.9")
    assert named in caught.value.message
    assert str(file) in caught.value.message


def test_unknown_names_list_the_known(config_root: Path) -> None:
    (config_root / "kernels/9.9.yaml").write_text(KERNEL)
    with pytest.raises(InputError, match="'6\\.1'") as caught:
        spec.load_kernel("6.1")
    assert "9.9" in caught.value.hint
    with pytest.raises(InputError):
        spec.load_profile("slow")


PROFILE = """
name: keen
summary: sees much
needs: [KASAN]
append: a=1 b
memory_mib: 256
smp: 2
extra: window
settings:
  - {file: /sys/kernel/debug/kcsan, text: "on"}
  - {file: /proc/sys/vm/x, text: "1", optional: true}
"""


def test_profile_fields(config_root: Path) -> None:
    (config_root / "profiles/keen.yaml").write_text(PROFILE)
    profile = spec.load_profile("keen")
    assert (profile.needs, profile.append) == (("KASAN",), ("a=1", "b"))
    assert (profile.memory_mib, profile.smp, profile.extra) == (256, 2, "window")
    assert profile.settings == (
        Setting("/sys/kernel/debug/kcsan", "on"),
        Setting("/proc/sys/vm/x", "1", optional=True),
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("smp: 2", "smp: two"), "smp"),
        (("memory_mib: 256", "memory_mib: -1"), "memory_mib"),
        (('text: "on"', "text: on"), "settings[0].text"),
        (("optional: true", "optional: perhaps"), "settings[1].optional"),
        (("optional: true", "mode: 1"), "settings[1].mode"),
    ],
)
def test_wrong_profile_names_the_field(
    config_root: Path, change: tuple[str, str], named: str
) -> None:
    (config_root / "profiles/keen.yaml").write_text(PROFILE.replace(*change))
    with pytest.raises(InputError) as caught:
        spec.load_profile("keen")
    assert named in caught.value.message


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xff\xfe", "is no UTF-8 text"),
        (b"rules: 2024-99-99\n", "is not valid YAML: month must be"),
        (b"[" * 5000, "nested too deeply"),
        (b"rules: 0\n", "rules: a list of mappings is needed"),
        (b"rules: ''\n", "rules: a list of mappings is needed"),
        (b"rules:\n- {paths: 0, why: x}\n", "paths: a list"),
    ],
)
def test_a_table_that_is_none_is_said_to_be(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "table.yaml").write_bytes(data)
    with pytest.raises(InputError, match=said):
        spec.pull_request_table(tmp_path / "table.yaml")
