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
_SOURCE = re.compile(r'\s*(?:o|r|or)?source\s+"([^"]+)"')
_ENTRY = re.compile(r"\s*(config|menuconfig)\s+(\w+)")
_TYPE = re.compile(r"\s*(?:bool|tristate|string|int|hex|prompt)\b\s*(.*)")
_PROMPT = re.compile(r'("(?:[^"\\]|\\.)*"|\'[^\']*\')\s*(?:if\s+(.*))?')
_SELECT = re.compile(r"\s*select\s+(\w+)")
_HEADER = re.compile(r"^# Linux/(\w+) ", re.MULTILINE)
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
    return {"arm64": "arm64", "x86": "x86"}.get(match[1], match[1]) if match else "x86"


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
                inner = match[1].replace("$(SRCARCH)", self._arch)
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

_TRISTATE = {"n": 0, "m": 1, "y": 2}


def terms(expression: str) -> list[str]:
    """The parts that must all hold, where that can be told without a grammar."""
    if "||" in expression or "(" in expression:
        return [expression]
    return [term.strip() for term in expression.split("&&")]


def holds(expression: str, config: Mapping[str, str]) -> bool:
    """Whether an expression is not ``n`` under a .config; True for one that is not understood
    (a macro), so that no dependency is blamed that may well be met."""
    tokens = _TOKEN.findall(expression)
    if "$" in expression or not tokens:
        return True
    parser = _Expression(tokens, config)
    value = parser.either()
    return value > 0 or parser.left > 0


class _Expression:
    def __init__(self, tokens: Sequence[str], config: Mapping[str, str]) -> None:
        self._tokens, self._config, self._at = tokens, config, 0

    @property
    def left(self) -> int:
        return len(self._tokens) - self._at

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def either(self) -> int:
        value = self._both()
        while self._peek() == "||":
            self._next()
            value = max(value, self._both())
        return value

    def _both(self) -> int:
        value = self._not()
        while self._peek() == "&&":
            self._next()
            value = min(value, self._not())
        return value

    def _not(self) -> int:
        if self._peek() == "!":
            self._next()
            return 2 - self._not()
        if self._peek() == "(":
            self._next()
            value = self.either()
            self._next()
            return value
        return self._term()

    def _term(self) -> int:
        word = self._next()
        operator = self._peek()
        if operator not in ("=", "!=", "<", ">", "<=", ">="):
            return _TRISTATE.get(self._value(word), 0)
        self._next()
        left, right = self._value(word), self._value(self._next())
        return 2 if _compare(left, operator, right) else 0

    def _value(self, word: str) -> str:
        if word[:1] in "\"'" or word in _TRISTATE or word[:1].isdigit():
            return word.strip("\"'")
        return self._config.get(word, "n").strip('"')


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
