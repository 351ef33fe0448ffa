# SPDX-License-Identifier: GPL-2.0-only
"""Configuration: fragments merged, and each dropped option explained from the Kconfig files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness import arch, resources, spec
from harness.build import kconfig, kconfig_tree
from harness.errors import CannotRun, ConfigError, InputError
from harness.model import Kernel, KernelConfig, Profile

KERNEL = Kernel("toy", "6.12", (), "toy", ("x86_64",), fragments=("kernels/toy.config",))
PROFILE = Profile("toy", "", ("profiles/toy.config",))
X86 = arch.get("x86_64")

TREE = {
    "Kconfig": """
mainmenu "Toy"
config CC_TEXT
	string
	default "$(CC_TEXT)"
source "arch/$(SRCARCH)/Kconfig"
source "drivers/Kconfig"
""",
    "arch/x86/Kconfig": """
config X86
	def_bool y
	select FORCED if \\
		NET
config FORCED
	bool "Forced"
""",
    "drivers/Kconfig": """
# config COMMENTED
menu "Drivers"
	depends on BUS

config BUS_DEVICE
	bool "Device"
	depends on NET && (ACPI || !X86) && VENDOR
	help
\t  config IN_HELP is not an entry,
\t    nor is this:

\t  select NOTHING

if DEEP
menuconfig SUB
	tristate "Sub"
	depends on HALF
endif

endmenu

config SILENT
	bool
config HIDDEN
	bool "Hidden" if EXPERT
	default y
config MACRO
	bool "Macro"
	depends on $(cc-option,-fmacro) && NET
	depends on !$(cc-option,-fother)
config NUMBER
	int "Number"
	range 1 10
	depends on WIDTH >= 8 && NAME = "two" && BASE != 0x10
choice
	prompt "Pick"
	depends on PICKY
config PICK_A
	bool "A"
config PICK_B
	bool "B"
endchoice
config TWICE
	bool "Twice"
	depends on BUS
config TWICE
	bool
	depends on NET
config HALF
	tristate "Half"
config MODULAR
	tristate "Modular"
	depends on HALF
""",
}
DOT_CONFIG = """
# Linux/x86 6.12.0 Kernel Configuration
CONFIG_X86=y
CONFIG_NET=y
CONFIG_BUS=y
CONFIG_FORCED=y
CONFIG_HIDDEN=y
CONFIG_HALF=m
CONFIG_MODULAR=m
CONFIG_WIDTH=8
CONFIG_NAME="one"
CONFIG_BASE=0x10
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of fragments, each setting its own name, ORDER, and half of the rest."""
    for number, name in enumerate(("base", "arch/x86_64", "features/f", "profiles/toy")):
        path = tmp_path / f"{name}.config"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# A comment.\n\nCONFIG_ORDER={number}\nCONFIG_ONLY_{number}=y\n")
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels/toy.config").write_text("# CONFIG_ONLY_0 is not set\n")
    return tmp_path


def compose(root: Path, *features: str, kernel: Kernel = KERNEL) -> KernelConfig:
    return kconfig.compose(kernel, X86, PROFILE, features, root)


def test_words_of_older_kconfig_files_are_followed(tmp_path: Path) -> None:
    for name, text in (
        ("Kconfig", 'source "arch/$SRCARCH/Kconfig"\nsource "$NOTHING"\n'),
        ("arch/x86/Kconfig", "config X86\n\tdef_bool y\nsource mm/Kconfig\n"),
        ("mm/Kconfig", 'config CMA\n\tbool "CMA"\n\tdepends on HAVE_MEMBLOCK\n'),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert {"X86", "CMA"} <= set(kconfig_tree.load(tmp_path, "x86"))


# ---------------------------------------------------------------------------------------------
# Fragments
# ---------------------------------------------------------------------------------------------


def test_a_kernels_own_fragment_stands_for_the_shared_one(root: Path) -> None:
    own = root / "kernels/toy/features/f.config"
    own.parent.mkdir(parents=True)
    own.write_text("CONFIG_OWN=y\n")
    config = compose(root, "f")
    assert "OWN" in config.requested and "ONLY_2" not in config.requested
    assert "ONLY_1" in config.requested
    assert "kernels/toy/features/f.config" in [each.name for each in config.fragments]


def test_what_a_fragment_has_for_one_architecture_comes_behind_it(root: Path) -> None:
    (root / "features/f.x86_64.config").write_text("CONFIG_ORDER=9\nCONFIG_HERE=y\n")
    (root / "features/f.arm64.config").write_text("CONFIG_THERE=y\n")
    names = [each.name for each in compose(root, "f").fragments]
    assert names[names.index("features/f.config") + 1] == "features/f.x86_64.config"
    assert "HERE" in compose(root, "f").requested and "THERE" not in compose(root, "f").requested


def test_the_users_words_come_last(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.config"
    file.write_text("CONFIG_ORDER=7\n# CONFIG_ONLY_1 is not set\n")
    words = (str(file), "CONFIG_ORDER=8", "ONLY_2=n", 'NAME="a text"')
    config = kconfig.compose(KERNEL, X86, PROFILE, ("f",), root, kconfig.spelled(words))
    found = config.requested
    assert (found["ORDER"], found["ONLY_1"], found["ONLY_2"]) == ("8", "n", "n")
    assert found["NAME"] == '"a text"'
    assert config.digest != compose(root, "f").digest
    for word, said in (
        ("nothing.config", "nor a file that can be read: No such file or directory"),
        ("A=b c", "--config A=b c:1"),
    ):
        with pytest.raises(InputError, match=re.escape(said)):
            kconfig.spelled((word,))


def test_later_fragment_wins(root: Path) -> None:
    config = compose(root, "f")
    assert [fragment.name for fragment in config.fragments] == [
        "base.config",
        "arch/x86_64.config",
        "features/f.config",
        "profiles/toy.config",
        "kernels/toy.config",
    ]
    expected = {"ORDER": "3", "ONLY_0": "n", "ONLY_1": "y", "ONLY_2": "y", "ONLY_3": "y"}
    assert config.requested == expected
    assert kconfig.parse(kconfig.merged_text(config), "merged") == expected


def test_digest_is_of_what_is_asked_and_not_of_how(root: Path) -> None:
    before = compose(root, "f")
    (root / "base.config").write_text("CONFIG_ONLY_0=y\n# Another comment.\nCONFIG_ORDER=7\n")
    assert compose(root, "f").digest == before.digest
    (root / "base.config").write_text("CONFIG_ONLY_0=y\nCONFIG_MORE=y\n")
    assert compose(root, "f").digest != before.digest
    assert compose(root).digest != compose(root, "f").digest


def test_parse_takes_every_kind_of_value() -> None:
    text = (
        "CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=-12\nCONFIG_D=0x1000\n"
        'CONFIG_E="a \\"b\\" c"\n# CONFIG_F is not set\nCONFIG_G=n\nCONFIG_6H=y  \n#\n'
    )
    expected = {"A": "y", "B": "m", "C": "-12", "D": "0x1000", "E": '"a \\"b\\" c"'}
    assert kconfig.parse(text, "f") == {**expected, "F": "n", "G": "n", "6H": "y"}


@pytest.mark.parametrize("line", ["CONFIG_A = y", "A=y", "CONFIG_A=yes", 'CONFIG_A="x', "junk"])
def test_garbage_names_file_and_line(root: Path, line: str) -> None:
    (root / "features/f.config").write_text(f"CONFIG_A=y\n\n{line}\n")
    with pytest.raises(InputError) as caught:
        compose(root, "f")
    assert f"{root / 'features/f.config'}:3:" in caught.value.message
    assert line in caught.value.message


def test_missing_fragment_is_named(root: Path) -> None:
    with pytest.raises(InputError, match=r"features/none\.config"):
        compose(root, "none")


# ---------------------------------------------------------------------------------------------
# Dropped options
# ---------------------------------------------------------------------------------------------


def test_nothing_dropped(tree: Path) -> None:
    requested = {"X86": "y", "HALF": "m", "NAME": '"one"', "WIDTH": "8", "NOT_SET": "n"}
    assert kconfig.verify(requested, DOT_CONFIG, tree) == []


@pytest.mark.parametrize(
    ("symbol", "wanted", "got", "why"),
    [
        (
            "BUS_DEVICE",
            "y",
            "n",
            "its dependency is not met: ACPI || !X86 (ACPI=n, X86=y), VENDOR (it is n)",
        ),
        ("SUB", "y", "n", "its dependency is not met: DEEP (it is n)"),
        ("SILENT", "y", "n", "it has no prompt: only other options set it"),
        ("HIDDEN", "n", "y", "it can be changed only with: EXPERT (it is n)"),
        ("FORCED", "n", "y", "selected by X86"),
        ("MODULAR", "y", "m", "its dependency is not met: HALF (it is m)"),
        ("MACRO", "y", "n", "Kconfig set another value (a choice, or a value out of its range)"),
        (
            "NUMBER",
            "3",
            "n",
            'its dependency is not met: NAME = "two" (NAME=one), BASE != 0x10 (BASE=0x10)',
        ),
        ("PICK_B", "y", "n", "its dependency is not met: PICKY (it is n)"),
        ("TWICE", "y", "n", "Kconfig set another value (a choice, or a value out of its range)"),
        ("BUS_DEVCE", "y", "n", "this kernel has no such option; is it BUS_DEVICE?"),
        ("IN_HELP", "y", "n", "this kernel has no such option"),
        ("COMMENTED", "y", "n", "this kernel has no such option"),
        ("NOTHING", "m", "n", "this kernel has no such option"),
    ],
)
def test_dropped_option_names_what_it_lacks(
    tree: Path, symbol: str, wanted: str, got: str, why: str
) -> None:
    expected = kconfig.Dropped(symbol, wanted, got, why)
    assert kconfig.verify({"NET": "y", symbol: wanted}, DOT_CONFIG, tree) == [expected]


def test_menu_and_if_end_where_they_end(tree: Path) -> None:
    found = kconfig_tree.load(tree, "x86")
    assert found["SUB"][0].depends == ["BUS", "DEEP", "HALF"]
    assert found["SILENT"][0].depends == []
    assert found["TWICE"][0].depends == ["BUS"] and found["TWICE"][1].depends == ["NET"]


def test_one_error_for_all_that_was_dropped(tree: Path) -> None:
    dropped = kconfig.verify({"SUB": "m", "SILENT": "y"}, DOT_CONFIG, tree)
    asked = KernelConfig((), {}, "", needs=("KASAN",), profile="kasan")
    error = kconfig.dropped_error(dropped, asked)
    assert isinstance(error, ConfigError)
    assert error.message == "CONFIG_SUB=m was asked for and Kconfig dropped it (and 1 more)"
    assert error.detail.splitlines() == [
        "CONFIG_SUB: wanted m, got n: its dependency is not met: DEEP (it is n)",
        "CONFIG_SILENT: wanted y, got n: it has no prompt: only other options set it",
    ]


def test_a_profile_that_a_kernel_cannot_have_is_a_skip(tree: Path) -> None:
    dropped = kconfig.verify({"SUB": "m", "SILENT": "y"}, DOT_CONFIG, tree)
    asked = KernelConfig((), {}, "", needs=("SILENT",), profile="quiet")
    error = kconfig.dropped_error(dropped, asked)
    assert isinstance(error, CannotRun)
    assert error.message == (
        "this kernel cannot have profile quiet: CONFIG_SILENT cannot be y: it has no prompt: "
        "only other options set it"
    )
    assert len(error.detail.splitlines()) == 2


@pytest.mark.parametrize(
    ("expression", "unmet"),
    [
        ("Y", []),
        ("N", ["N (it is n)"]),
        ("M", []),
        ("!M", []),
        ("!Y", ["!Y (Y=y)"]),
        ("!(Y && M)", []),
        ("Y && N || M", []),
        ("N || Y && N", ["N || Y && N (N=n, Y=y)"]),
        ("(N || Y) && N", ["N (it is n)"]),
        ("!(N || Y)", ["!(N || Y) (N=n, Y=y)"]),
        ("Y=y && M!=n && N=n", []),
        ("M=y", ["M = y (M=m)"]),
        ('S="a-b"', []),
        ("I<10 && I>=9 && I>8 && I<=9", []),
        ("I<9", ["I < 9 (I=9)"]),
        ("H=0x1F", []),
        ("$(success,false) && N", ["N (it is n)"]),
        ("!$(success,true)", []),
        ("N ???", []),
    ],
)
def test_expressions(expression: str, unmet: list[str]) -> None:
    config = {"Y": "y", "M": "m", "N": "n", "S": '"a-b"', "I": "9", "H": "0x1F"}
    assert kconfig_tree.unmet(expression, config) == unmet


# ---------------------------------------------------------------------------------------------
# What the repository ships
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [profile.name for profile in spec.profiles()])
@pytest.mark.parametrize("name", list(arch.all_arches()))
def test_shipped_fragments_compose(name: str, profile: str) -> None:
    root = resources.kernel_config()
    features = [path.stem for path in sorted((root / "features").glob("*.config"))]
    for kernel in spec.kernels():
        config = kconfig.compose(kernel, arch.get(name), spec.load_profile(profile), features, root)
        assert config.requested["MODULES"] == "y"
        for fragment in config.fragments:
            assert fragment.text.startswith("# SPDX-License-Identifier: GPL-2.0-only\n")
