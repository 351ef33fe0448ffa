# SPDX-License-Identifier: GPL-2.0-only
"""Reads a kernel's Kconfig files far enough to say why an option was dropped.

Not kconfiglib: its last release (14.1.0) stops at the ``modules`` keyword that
kernel/module/Kconfig has had since Linux 5.18, and at ``transitional``. Language:
Documentation/kbuild/kconfig-language.rst in the kernel's source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

_DEPTH = 60  # files that source one another; a kernel has some six
_SOURCE = re.compile(r'\s*(?:o|r|or)?source\s+"?([^"\s]+)"?')
_ENTRY = re.compile(r"\s*(config|menuconfig)\s+(\w+)")
_TYPE = re.compile(r"\s*(?:bool|tristate|string|int|hex|prompt)\b\s*(.*)")
_PROMPT = re.compile(r'("(?:[^"\\]|\\.)*"|\'[^\']*\')\s*(?:if\s+(.*))?')
_SELECT = re.compile(r"\s*select\s+(\w+)")
_HEADER = re.compile(r"^# Linux/(\w+) ", re.MULTILINE)
_ARCH_WORD = re.compile(r"\$\(SRCARCH\)|\$SRCARCH\b")  # the latter until v4.18
_SRCARCH = {"i386": "x86", "x86_64": "x86", "sparc64": "sparc", "parisc64": "parisc"}
_TOKEN = re.compile(r'\s*(&&|\|\||!=|<=|>=|=|<|>|!|\(|\)|"[^"]*"|\'[^\']*\'|\$\([^)]*\)|[\w.-]+)')


@dataclass
class Entry:
    """One ``config`` entry: all it depends on (enclosing menus and ifs too), its prompt."""

    depends: list[str] = field(default_factory=list)
    prompt: bool = False
    prompt_if: str = ""
    selects: set[str] = field(default_factory=set)


Options: TypeAlias = Mapping[str, Sequence[Entry]]


def srcarch(dot_config: str) -> str:
    """The architecture folder, from the first comment that Kconfig writes into a .config."""
    match = _HEADER.search(dot_config)
    name = match[1] if match else ""
    return _SRCARCH.get(name, name)


def load(tree: Path, arch: str) -> Options:
    """Every entry by symbol, following ``source`` from the tree's top Kconfig."""
    reader = _Reader(tree, arch)
    reader.file("Kconfig", [], 0)
    return reader.found


class _Reader:
    def __init__(self, tree: Path, arch: str) -> None:
        self._tree, self._arch = tree, arch
        self.found: dict[str, list[Entry]] = {}

    def file(self, name: str, outer: list[str], depth: int) -> None:
        path = self._tree / name
        if depth > _DEPTH or not path.is_file():
            return
        blocks: list[list[str]] = [list(outer)]  # conditions in force, a list for each block
        entry: Entry | None = None
        for line in _lines(path):
            word = line.split(None, 1)[0]
            rest = line.split(None, 1)[1] if len(line.split(None, 1)) > 1 else ""
            if match := _SOURCE.match(line):
                entry = None
                inner = _ARCH_WORD.sub(self._arch, match[1])
                self.file(inner, [c for b in blocks for c in b], depth + 1)
            elif match := _ENTRY.match(line):
                entry = Entry(depends=[c for b in blocks for c in b])
                self.found.setdefault(match[2], []).append(entry)
            elif word in ("if", "menu", "choice"):
                entry = None
                blocks.append([rest] if word == "if" else [])
            elif word in ("endif", "endmenu", "endchoice"):
                entry = None
                if len(blocks) > 1:
                    blocks.pop()
            elif word == "comment":
                entry = Entry()
            elif word == "depends":
                condition = rest.removeprefix("on").strip()
                (entry.depends if entry else blocks[-1]).append(condition)
            elif entry is not None:
                _attribute(entry, line)


def _attribute(entry: Entry, line: str) -> None:
    if match := _SELECT.match(line):
        entry.selects.add(match[1])
    elif (match := _TYPE.match(line)) and (prompt := _PROMPT.match(match[1])):
        entry.prompt = True
        entry.prompt_if = (prompt[2] or "").strip()


def _lines(path: Path) -> Iterator[str]:
    """Lines that mean something: continuations joined, comments and help texts left out."""
    joined = ""
    help_column: int | None = None  # -1: help was opened, its first line tells its column
    for raw in path.read_text(encoding="utf-8", errors="replace").splitlines():
        line = raw.expandtabs()
        column = len(line) - len(line.lstrip())
        if help_column is not None and line.strip():
            if help_column < 0:
                help_column = column
            if column >= help_column > 0:
                continue
            help_column = None
        if not line.strip() or help_column is not None:
            continue
        joined += line.rstrip("\\") if line.endswith("\\") else line
        if line.endswith("\\"):
            continue
        text, joined = joined, ""
        if text.strip() in ("help", "---help---"):
            help_column = -1
        elif not text.lstrip().startswith("#"):
            yield text


# ---------------------------------------------------------------------------------------------
# Expressions, as Kconfig evaluates them: n < m < y, && the lesser, || the greater
# ---------------------------------------------------------------------------------------------

_LEVELS = {"n": 0, "m": 1, "y": 2}
_MET = 2


def unmet(expression: str, config: Mapping[str, str], need: str = "m") -> list[str]:
    """The terms that keep an expression below ``need`` under a .config, with their values.

    Empty where it is met, and where it cannot be told: a macro's value is known to Kconfig
    alone, and no dependency is to be blamed that may well be met.
    """
    tokens = _TOKEN.findall(expression)
    if not tokens or _TOKEN.sub("", expression).strip():
        return []
    parser = _Expression(tokens, config, _LEVELS[need])
    part = parser.either()
    return list(part.blamed) if parser.done else []


@dataclass(frozen=True)
class _Part:
    level: int
    blamed: tuple[str, ...]


class _Expression:
    def __init__(self, tokens: Sequence[str], config: Mapping[str, str], need: int) -> None:
        self._tokens, self._config, self._need, self._at = tokens, config, need, 0

    @property
    def done(self) -> bool:
        return self._at == len(self._tokens)

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def either(self) -> _Part:
        start = self._at
        parts = [self._both()]
        while self._peek() == "||":
            self._next()
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else self._part(start, max(p.level for p in parts))

    def _both(self) -> _Part:
        parts = [self._not()]
        while self._peek() == "&&":
            self._next()
            parts.append(self._not())
        blamed = tuple(name for part in parts for name in part.blamed)
        return _Part(min(part.level for part in parts), blamed)

    def _not(self) -> _Part:
        start = self._at
        if self._peek() == "!":
            self._next()
            operand = self._not()
            unknown = self._tokens[start + 1 : start + 2] and "$(" in self._tokens[start + 1]
            return self._part(start, _MET if unknown else _MET - operand.level)
        if self._peek() == "(":
            self._next()
            part = self.either()
            self._next()
            return part
        return self._term()

    def _term(self) -> _Part:
        start, word = self._at, self._next()
        operator = self._peek()
        if operator not in ("=", "!=", "<", ">", "<=", ">="):
            level = _MET if word.startswith("$(") else _LEVELS.get(self._value(word), 0)
            return self._part(start, level)
        self._next()
        left, right = self._value(word), self._value(self._next())
        return self._part(start, _MET if _compare(left, operator, right) else 0)

    def _part(self, start: int, level: int) -> _Part:
        """What was read since start; where it falls short, it is to blame, with its values."""
        if level >= self._need:
            return _Part(level, ())
        tokens = self._tokens[start : self._at]
        symbols = list(dict.fromkeys(token for token in tokens if self._is_symbol(token)))
        if list(tokens) == symbols:
            return _Part(level, (f"{symbols[0]} (it is {self._value(symbols[0])})",))
        values = ", ".join(f"{symbol}={self._value(symbol)}" for symbol in symbols)
        text = " ".join(tokens).replace("! ", "!").replace("( ", "(").replace(" )", ")")
        return _Part(level, (f"{text} ({values})",))

    def _is_symbol(self, word: str) -> bool:
        return word not in _LEVELS and word[0].isalpha()

    def _value(self, word: str) -> str:
        if self._is_symbol(word):
            return self._config.get(word, "n").strip('"')
        return word.strip("\"'")


def _compare(left: str, operator: str, right: str) -> bool:
    if operator == "=":
        return left == right
    if operator == "!=":
        return left != right
    try:
        a, b = int(left, 0), int(right, 0)
    except ValueError:
        return False
    return {"<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b}[operator]
