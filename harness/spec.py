# SPDX-License-Identifier: GPL-2.0-only
"""YAML → values: kernels, profiles and reasons as kernel-config/ describes them, and whatever a
user gives, with the line and column of each value. The only user of yaml."""

from __future__ import annotations

import errno as numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from harness import resources
from harness.errors import InputError
from harness.model import Kernel, Machine, Profile, Setting, SourceOption
from harness.reason import Check, Reason, Sign, Spot
from harness.touched import Rule, Table, Wanted


def kernels() -> list[Kernel]:
    """Every kernel that has a YAML, in the order of their versions."""
    folder = resources.kernel_config() / "kernels"
    found = [_kernel(path) for path in folder.glob("*.yaml")]
    return sorted(found, key=lambda k: [int(p) for p in k.version.split(".") if p.isdigit()])


def load_kernel(name: str) -> Kernel:
    """The kernel of this name; InputError lists the known ones."""
    known = {kernel.name: kernel for kernel in kernels()}
    if name not in known:
        raise InputError(
            f"unknown kernel {name!r}",
            hint=f"one of: {', '.join(known)} (--kernel); for a tree of your own name the kernel "
            "it is nearest to and give the tree with --tree",
        )
    return known[name]


def profiles() -> list[Profile]:
    """Every profile that has a YAML, by name."""
    folder = resources.kernel_config() / "profiles"
    return [_profile(path) for path in sorted(folder.glob("*.yaml"))]


def load_profile(name: str) -> Profile:
    """The profile of this name; InputError lists the known ones."""
    known = {profile.name: profile for profile in profiles()}
    if name not in known:
        raise InputError(
            f"unknown profile {name!r}", hint=f"one of: {', '.join(known)} (--profile)"
        )
    return known[name]


_LISTED = "kernel-config/README.md"


class _Fields:
    """A YAML mapping read field by field; anything unread at the end is an error."""

    def __init__(
        self, path: Path, data: Mapping[str, Any], where: str = "", listed: str = _LISTED
    ) -> None:
        self._path, self._data, self._where = path, dict(data), where
        self._listed = listed  # the document that lists the fields

    def error(self, field: str, problem: str) -> InputError:
        place = f"{self._where}.{field}" if self._where else field
        return InputError(
            f"{self._path}: {place}: {problem}", hint=f"{self._listed} lists the fields"
        )

    def beside(self, name: str) -> str:
        """The path of a file that is named relative to this one's folder."""
        return str((self._path.parent / name).absolute())

    def text(self, field: str, default: str | None = None) -> str:
        value = self._data.pop(field, default)
        if value is None:
            raise self.error(field, "it is missing: a text is needed")
        if not isinstance(value, str):
            raise self.error(field, "a text is needed (quote a version number)")
        return value.strip()

    def number(self, field: str, default: float) -> float:
        value = self._data.pop(field, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(field, "a number is needed")
        return float(value)

    def count(self, field: str, default: int) -> int:
        value = self._data.pop(field, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.error(field, "a whole number is needed")
        return value

    def flag(self, field: str) -> bool:
        value = self._data.pop(field, False)
        if not isinstance(value, bool):
            raise self.error(field, "true or false is needed")
        return value

    def _taken(self, field: str, default: Any) -> Any:
        """The value, the default where there is none: 0 or "" is one, of a wrong kind."""
        value = self._data.pop(field, None)
        return default if value is None else value

    def texts(self, field: str) -> tuple[str, ...]:
        value = self._taken(field, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(field, "a list of texts is needed (quote version numbers)")
        return tuple(value)

    def mapping(self, field: str) -> dict[str, Any]:
        value = self._taken(field, {})
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self.error(field, "a mapping with text keys is needed")
        return value

    def words(self, field: str) -> dict[str, str]:
        value = self.mapping(field)
        if not all(isinstance(item, str) for item in value.values()):
            raise self.error(field, "a mapping of texts to texts is needed")
        return value

    def all(self) -> list[tuple[str, str]]:
        """All that is left, fields with texts; one at least."""
        found = [(str(field), self.text(field)) for field in list(self._data)]
        if not found:
            raise self.error("", "a field is needed")
        return found

    def items(self, field: str) -> list[_Fields]:
        value = self._taken(field, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.error(field, "a list of mappings is needed")
        where = f"{self._where}.{field}" if self._where else field
        return [
            _Fields(self._path, item, f"{where}[{i}]", self._listed) for i, item in enumerate(value)
        ]

    def inner(self, where: str, value: Any) -> _Fields:
        if not isinstance(value, dict):
            raise self.error(where, "a mapping is needed")
        return _Fields(self._path, value, where, self._listed)

    def end(self) -> None:
        for field in self._data:
            raise self.error(str(field), "unknown field")


def _load(path: Path, listed: str = _LISTED) -> _Fields:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no such day, in what looks like one
        raise InputError(f"{path} is not valid YAML: {error}") from error
    except RecursionError as error:
        raise InputError(f"{path} is nested too deeply to be read") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: a mapping is needed at the top")
    return _Fields(path, data, listed=listed)


def _kernel(path: Path) -> Kernel:
    fields = _load(path)
    kernel = Kernel(
        name=fields.text("name"),
        version=fields.text("version"),
        sources=tuple(_source(item) for item in fields.items("sources")),
        patches=fields.text("patches"),
        arches=fields.texts("arches"),
        make={
            arch: {str(name): str(value) for name, value in variables.items()}
            for arch, variables in fields.mapping("make").items()
            if isinstance(variables, dict) or _reject(fields, arch)
        },
        fragments=fields.texts("fragments"),
        cannot=fields.words("cannot"),
        note=fields.text("note", ""),
        compat=fields.text("compat", ""),
        config=fields.text("config", "tinyconfig"),
        blobs=fields.words("blobs"),
        machines={
            arch: _machine(fields.inner(f"machines.{arch}", words))
            for arch, words in fields.mapping("machines").items()
        },
    )
    fields.end()
    for source in kernel.sources:
        if source.kind == "tarball" and source.sha256 is None and not kernel.blobs:
            raise fields.error("sources", f"{source.location} needs its sha256 (or blobs)")
    if kernel.name != path.stem:
        raise InputError(f"{path}: name is {kernel.name!r}, the file's name says {path.stem!r}")
    return kernel


def _reject(fields: _Fields, arch: str) -> bool:
    raise fields.error(f"make.{arch}", "a mapping of make variables is needed")


def _source(fields: _Fields) -> SourceOption:
    kind = fields.text("kind")
    if kind not in ("deb", "tarball"):
        raise fields.error("kind", f"{kind!r} is neither 'deb' nor 'tarball'")
    sha256 = fields.text("sha256", "") or None
    option = SourceOption(kind, fields.text("location"), sha256, fields.text("note", ""))
    fields.end()
    return option


def _machine(fields: _Fields) -> Machine:
    machine = Machine(
        machine=fields.text("machine"),
        cpu_tcg=fields.text("cpu_tcg"),
        cpu_kvm=fields.text("cpu_kvm", "host"),
        network=fields.text("network", Machine.network),
        entropy=fields.text("entropy", Machine.entropy),
        cmdline=tuple(fields.text("cmdline", "").split()),
        memory_device=fields.text("memory_device", ""),
    )
    fields.end()
    return machine


def _profile(path: Path) -> Profile:
    fields = _load(path)
    profile = Profile(
        name=fields.text("name"),
        summary=fields.text("summary"),
        fragments=fields.texts("fragments"),
        slowdown=fields.number("slowdown", 1.0),
        needs=fields.texts("needs"),
        append=tuple(fields.text("append", "").split()),
        memory_mib=fields.count("memory_mib", 0),
        smp=fields.count("smp", 1),
        settings=tuple(_setting(item) for item in fields.items("settings")),
        extra=fields.text("extra", ""),
    )
    fields.end()
    if profile.name != path.stem:
        raise InputError(f"{path}: name is {profile.name!r}, the file's name says {path.stem!r}")
    return profile


def _setting(fields: _Fields) -> Setting:
    setting = Setting(fields.text("file"), fields.text("text"), fields.flag("optional"))
    fields.end()
    return setting


def pull_request_table(path: Path) -> Table:
    """What pull requests have tried (ci/README.md lists the fields); InputError names the field."""
    if not path.is_file():
        raise InputError(f"there is no table {path}", hint="ci/README.md says what is in one")
    fields = _load(path, "ci/README.md")
    table = Table(
        rules=tuple(_rule(item) for item in fields.items("rules")),
        otherwise=tuple(_wanted(item) for item in fields.items("otherwise")),
        file=str(path),
    )
    fields.end()
    return table


def _rule(fields: _Fields) -> Rule:
    rule = Rule(
        paths=fields.texts("paths"),
        why=fields.text("why"),
        wanted=tuple(_wanted(item) for item in fields.items("try")),
    )
    for name, given in (("paths", rule.paths), ("try", rule.wanted)):
        if not given:
            raise fields.error(name, "there is none")
    fields.end()
    return rule


def _wanted(fields: _Fields) -> Wanted:
    wanted = Wanted(
        scenarios=tuple(
            fields.beside(word) if word.endswith(".yaml") else word
            for word in fields.texts("scenarios")
        ),
        kernels=fields.texts("kernels"),
        arches=fields.texts("arches"),
        profiles=fields.texts("profiles") or ("fast",),
        settings=fields.texts("set"),
    )
    for name in ("scenarios", "kernels", "arches"):
        if not getattr(wanted, name):
            raise fields.error(name, "a list of texts is needed")
    for profile in wanted.profiles:
        load_profile(profile)
    for kernel in wanted.kernels:
        load_kernel(kernel)
    fields.end()
    return wanted


# ---------------------------------------------------------------------------------------------
# Reasons
# ---------------------------------------------------------------------------------------------

_CODE = re.compile(r"[a-z]+(?:-[a-z]+)*")


@cache
def reasons() -> tuple[Reason, ...]:
    """Every reason that has a YAML, by its code."""
    folder = resources.kernel_config() / "reasons"
    return tuple(_reason(path) for path in sorted(folder.glob("*.yaml")))


def _reason(path: Path) -> Reason:
    fields = _load(path)
    reason = Reason(
        code=fields.text("code"),
        line=fields.text("line"),
        means=fields.text("means"),
        checks=tuple(_check(item) for item in fields.items("checks")),
        signs=tuple(_sign(item) for item in fields.items("signs")),
        cure=fields.text("cure"),
    )
    fields.end()
    if reason.code != path.stem or not _CODE.fullmatch(reason.code):
        raise InputError(f"{path}: code is {reason.code!r}, the file's name says {path.stem!r}")
    if not reason.checks or not reason.signs:
        raise fields.error("checks", "a reason has a place in the source, and shows somewhere")
    return reason


def _check(fields: _Fields) -> Check:
    errno = fields.text("errno", "")
    if errno and errno not in numbers.errorcode.values():
        raise fields.error("errno", f"{errno!r} is no errno")
    what, spots = fields.text("what"), tuple(_spot(item) for item in fields.items("at"))
    fields.end()
    if not spots:
        raise fields.error("at", "a place in the source is needed")
    return Check(what, errno, spots)


def _spot(fields: _Fields) -> Spot:
    """``FILE [FUNCTION]: REGEX``."""
    (place, line), *more = fields.all()
    file, _, function = place.partition(" ")
    try:
        re.compile(line)
    except re.error as error:
        raise fields.error(place, f"no regular expression: {error}") from error
    if more:
        raise fields.error(more[0][0], "one place a line")
    return Spot(file, line, function)


def _sign(fields: _Fields) -> Sign:
    """counter, event and has are what a kernel needs: of /proc/vmstat, ``system/name``, a spot."""
    counter, event = fields.text("counter", ""), fields.text("event", "")
    has, needs = fields.mapping("has"), None
    if has:
        needs = _spot(fields.inner("has", has))
    elif counter:
        needs = Spot("mm/vmstat.c", f'"{counter}')
    elif event:
        system, _, name = event.partition("/")
        needs = Spot(f"include/trace/events/{system}.h", rf"\b{name},$")
    sign = Sign(fields.text("where"), fields.text("text"), needs)
    fields.end()
    return sign


# ---------------------------------------------------------------------------------------------
# What a user gives
# ---------------------------------------------------------------------------------------------

Where: TypeAlias = tuple[str | int, ...]  # keys and indexes from the top on
_MOST = 64 << 10  # bytes of a user's YAML
_PLAIN = frozenset({"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})


@dataclass(frozen=True)
class Span:
    """Where a value or a key stands: line and column from 1, and its first and last character of
    the text (the last one not included)."""

    line: int
    column: int
    first: int
    last: int


@dataclass(frozen=True)
class Marked:
    """A YAML with the place of everything in it. values and keys: where each of them stands."""

    path: Path
    text: str
    data: Any
    values: Mapping[Where, Span]
    keys: Mapping[Where, Span]

    def at(self, where: Where, *, key: bool = False) -> Span:
        """Where a value stands, or a key; of one that is missing, what it is missing from."""
        spans = self.keys if key and where in self.keys else self.values
        while where not in spans:
            where = where[:-1]
        return spans[where]

    def error(self, where: Where, problem: str, hint: str = "", *, key: bool = False) -> InputError:
        """``FILE:line:column: field: problem``; key: it is the key that is wrong, not its value."""
        at, field = self.at(where, key=key), field_name(where)
        return InputError(
            f"{self.path}:{at.line}:{at.column}: {f'{field}: ' if field else ''}{problem}",
            hint=hint,
        )


def field_name(where: Where) -> str:
    """``drive[1].offline``."""
    words = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in where]
    return "".join(words).removeprefix(".")


def marked(path: Path) -> Marked:
    """A user's YAML of plain values: mappings with texts for keys, lists, and scalars.

    InputError names the line and the column. Anchors, aliases, tags and keys that stand there twice
    are refused: none is needed, and each can mean something else than it seems to.
    """
    try:
        data = path.read_bytes()
        if len(data) > _MOST:
            raise InputError(f"{path} is larger than {_MOST >> 10} KiB, as no such YAML is")
        text = data.decode("utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no UTF-8 text: {error}") from error
    reader = _Reader(path)
    try:
        value = reader.read(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        said = " ".join(filter(None, (error.context, error.problem)))
        raise InputError(f"{path}{place}: this is no YAML: {said}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path} is no YAML: {error}") from error
    return Marked(path, text, value, reader.values, reader.keys)


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = set[int]()
        self.values: dict[Where, Span] = {}
        self.keys: dict[Where, Span] = {}

    def read(self, text: str) -> Any:
        self._loader = yaml.SafeLoader(text)
        node = self._loader.get_single_node()
        if node is None:
            raise InputError(f"{self._path} is empty", hint="README.md has an example")
        return self._value(node, ())

    def _wrong(self, node: yaml.Node, where: Where, problem: str) -> InputError:
        at, field = _span(node), field_name(where)
        return InputError(
            f"{self._path}:{at.line}:{at.column}: {f'{field}: ' if field else ''}{problem}"
        )

    def _value(self, node: yaml.Node, where: Where) -> Any:
        if id(node) in self._seen:
            raise self._wrong(node, where, "an alias of something else; write it out")
        self._seen.add(id(node))
        self.values[where] = _span(node)
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN:
            raise self._wrong(node, where, f"the tag {node.tag[:60]!r}; none is needed")
        if isinstance(node, yaml.MappingNode):
            return dict(self._item(key, value, where) for key, value in node.value)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*where, at)) for at, item in enumerate(node.value)]
        try:
            return self._loader.construct_object(node)
        except ValueError as error:
            raise self._wrong(node, where, f"no value: {error}") from error

    def _item(self, key: yaml.Node, value: yaml.Node, where: Where) -> tuple[str, Any]:
        if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            raise self._wrong(key, where, "a field's name is a text")
        inside = (*where, key.value)
        if inside in self.keys:
            raise self._wrong(key, inside, "it stands there twice")
        self.keys[inside] = _span(key)
        return key.value, self._value(value, inside)


def _span(node: yaml.Node) -> Span:
    first, last = node.start_mark, node.end_mark
    return Span(first.line + 1, first.column + 1, first.index, last.index)
