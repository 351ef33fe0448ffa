# SPDX-License-Identifier: GPL-2.0-only
"""Configuration fragments, and whether Kconfig did what they ask.

Fragments are merged in order (base, architecture, features, profile, kernel; a later one wins) on
tinyconfig, or what the kernel has instead. Where a kernel has a fragment of the same name in its
own folder (``kernels/<name>/``), that one stands for the shared one; ``<name>.<arch>.config``
beside a fragment is for that architecture alone. After olddefconfig every requested option is
compared with the resulting ``.config``; one that was dropped is named with the dependency it lacks
(build/kconfig_tree.py).
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import resources
from harness.build import kconfig_tree
from harness.errors import CannotRun, ConfigError, InputError, PinpageError
from harness.model import Arch, Fragment, Kernel, KernelConfig, Profile

_SET = re.compile(r'CONFIG_(\w+)=(y|m|n|-?\d+|0x[0-9a-fA-F]+|"(?:[^"\\]|\\.)*")\s*')
_UNSET = re.compile(r"# CONFIG_(\w+) is not set\s*")


@dataclass(frozen=True)
class Dropped:
    """A requested option that is not as it was asked for. got is "n" where it is unset."""

    symbol: str
    wanted: str
    got: str
    why: str


def compose(
    kernel: Kernel,
    arch: Arch,
    profile: Profile,
    features: Sequence[str],
    config_root: Path,
    own: Sequence[str] = (),
) -> KernelConfig:
    """The configuration of a kernel; features are names of files in ``features/``.

    own: the user's, which come last: NAME=VALUE.
    """
    names = [
        "base.config",
        f"arch/{arch.name}.config",
        *(f"features/{name}.config" for name in features),
        *profile.fragments,
        *kernel.fragments,
    ]
    fragments = []
    requested: dict[str, str] = {}
    for path in _files(names, kernel, arch, config_root):
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"configuration fragment {path} cannot be read: {error.strerror}",
                hint="kernel-config/README.md says where fragments belong",
            ) from error
        fragments.append(Fragment(str(path.relative_to(config_root)), text))
        requested |= parse(text, str(path))
    for word in own:
        fragments.append(Fragment(f"--config {word}", f"{_line(word)}\n"))
        requested |= parse(fragments[-1].text, fragments[-1].name)
    requested = dict(sorted(requested.items()))  # what is asked, not in which order it was said
    digest = hashlib.sha256(_text(requested).encode()).hexdigest()
    return KernelConfig(
        tuple(fragments), requested, f"sha256:{digest}", profile.needs, profile.name
    )


def spelled(words: Sequence[str]) -> tuple[str, ...]:
    """NAME=VALUE of each option that these words set: the same, or files of such lines."""
    found: dict[str, str] = {}
    for word in words:
        if "=" in word and not Path(word).is_file():
            found |= parse(_line(word), f"--config {word}")
            continue
        try:
            text = resources.path(word).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise InputError(
                f"--config {word}: it is neither NAME=VALUE nor a file that can be read: {why}"
            ) from error
        found |= parse(text, word)
    return tuple(f"{name}={value}" for name, value in found.items())


def _line(word: str) -> str:
    """A word NAME=VALUE as a configuration line."""
    name, _, value = word.removeprefix("CONFIG_").partition("=")
    return f"# CONFIG_{name} is not set" if value == "n" else f"CONFIG_{name}={value}"


def _files(names: Sequence[str], kernel: Kernel, arch: Arch, root: Path) -> Iterator[Path]:
    """The file of each fragment, and behind it what it has for this architecture alone."""
    for name in names:
        own = root / "kernels" / kernel.name / name
        path = own if own.is_file() else root / name
        yield path
        more = path.with_suffix(f".{arch.name}.config")
        if more.is_file():
            yield more


def parse(text: str, name: str) -> dict[str, str]:
    """Symbol → value of a fragment or a .config; InputError names the file and the line."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := _SET.fullmatch(line):
            found[match[1]] = match[2]
        elif match := _UNSET.fullmatch(line):
            found[match[1]] = "n"
        elif line.strip() and not line.startswith("#"):
            raise InputError(
                f"{name}:{number}: not a configuration line: {line.strip()!r}",
                hint="write CONFIG_NAME=value or '# CONFIG_NAME is not set'",
            )
    return found


def has_types(config: KernelConfig) -> bool:
    """Whether the configuration asks for all of the debug information: by the choice that became
    of DEBUG_INFO in v5.18 (f9b3cd245784), or by that itself."""
    asked = config.requested
    return asked.get("DEBUG_INFO_NONE") == "n" or asked.get("DEBUG_INFO") == "y"


def merged_text(config: KernelConfig) -> str:
    """All requested options, each once, as lines of a .config."""
    return _text(config.requested)


def _text(requested: Mapping[str, str]) -> str:
    lines = [
        f"# CONFIG_{symbol} is not set" if value == "n" else f"CONFIG_{symbol}={value}"
        for symbol, value in requested.items()
    ]
    return "\n".join(lines) + "\n"


def verify(requested: Mapping[str, str], dot_config_text: str, tree: Path) -> list[Dropped]:
    """What olddefconfig did not take, each with its reason from the tree's Kconfig files."""
    actual = parse(dot_config_text, ".config")
    wrong = {
        symbol: value for symbol, value in requested.items() if actual.get(symbol, "n") != value
    }
    if not wrong:
        return []
    kconfig = kconfig_tree.load(tree, kconfig_tree.srcarch(dot_config_text))
    return [
        Dropped(symbol, value, actual.get(symbol, "n"), _why(symbol, value, actual, kconfig))
        for symbol, value in wrong.items()
    ]


def _why(symbol: str, wanted: str, actual: Mapping[str, str], kconfig: kconfig_tree.Options) -> str:
    entries = kconfig.get(symbol)
    if not entries:
        near = difflib.get_close_matches(symbol, kconfig, n=1, cutoff=0.85)
        return "this kernel has no such option" + (f"; is it {near[0]}?" if near else "")
    if wanted == "n":
        selectors = [
            name
            for name, others in kconfig.items()
            if actual.get(name, "n") != "n" and any(symbol in other.selects for other in others)
        ]
        if selectors:
            return f"selected by {', '.join(sorted(selectors))}"
    # A module's dependency holds its option back from y: that one has to be y as well.
    need = "y" if (wanted, actual.get(symbol)) == ("y", "m") else "m"
    missing = [_unmet(entry.depends, actual, need) for entry in entries]
    if all(missing):
        return f"its dependency is not met: {min(missing, key=len)}"
    prompts = [entry for entry in entries if entry.prompt]
    if not prompts:
        return "it has no prompt: only other options set it"
    hidden = [_unmet([entry.prompt_if], actual, "m") for entry in prompts]
    if all(hidden):
        return f"it can be changed only with: {min(hidden, key=len)}"
    return "Kconfig set another value (a choice, or a value out of its range)"


def _unmet(expressions: Sequence[str], actual: Mapping[str, str], need: str) -> str:
    terms = [term for text in expressions for term in kconfig_tree.unmet(text, actual, need)]
    return ", ".join(dict.fromkeys(terms))


def dropped_error(dropped: Sequence[Dropped], config: KernelConfig) -> PinpageError:
    """One error that names every dropped option, its value and why; CannotRun where the profile
    is nothing without one of them."""
    lines = [f"CONFIG_{d.symbol}: wanted {d.wanted}, got {d.got}: {d.why}" for d in dropped]
    lacking = [each for each in dropped if each.symbol in config.needs]
    if lacking:
        absent = lacking[0]
        return CannotRun(
            f"this kernel cannot have profile {config.profile}: CONFIG_{absent.symbol} cannot be "
            f"{absent.wanted}: {absent.why}",
            detail="\n".join(lines),
            hint="name another profile; kernel-config/README.md says which kernel can have which",
        )
    first = dropped[0]
    more = f" (and {len(dropped) - 1} more)" if len(dropped) > 1 else ""
    return ConfigError(
        f"CONFIG_{first.symbol}={first.wanted} was asked for and Kconfig dropped it{more}",
        detail="\n".join(lines),
        hint="ask for the dependency too, or drop the option from its fragment in kernel-config/",
    )
