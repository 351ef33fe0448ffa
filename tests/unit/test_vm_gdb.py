# SPDX-License-Identifier: GPL-2.0-only
"""What gdb is told, and which gdb."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

import pytest

from harness import arch
from harness.errors import EvidenceError, InputError, MissingTool
from harness.model import CommandResult
from harness.vm import gdb
from harness.vm.gdb import Loaded, Session

PINNER = Loaded(
    Path("/b/symbols/pinner.ko"),
    {
        ".text": 0xFFFFFFFFA0000000,
        ".data": 0xFFFFFFFFA0004020,
        ".init.text": 0xFFFFFFFFA0009000,
        ".rodata.str1.1": 0xFFFFFFFFA0007938,
        ".data..once": 0xFFFFFFFFA0004208,
        "__param": 0xFFFFFFFFA0008000,
    },
)
SESSION = Session(
    vmlinux=Path("/b/vmlinux"),
    stub=Path("/tmp/pinpage-x/gdb"),
    modules=(PINNER,),
    source=Path("/tmp/a source"),
    modules_source=Path("/tmp/modules"),
    breaks=("compact_zone", "mm/migrate.c:1611"),
)


def test_a_script_that_goes_to_a_function() -> None:
    lines = gdb.script(SESSION).splitlines()
    assert lines[0] == "set confirm off"
    assert 'file "/b/vmlinux"' in lines
    assert 'set substitute-path /pinpage/src "/tmp/a source"' in lines
    at = lines.index("target remote /tmp/pinpage-x/gdb")
    symbols, *more = lines[at + 1 :]
    assert symbols.startswith('add-symbol-file "/b/symbols/pinner.ko" 0xffffffffa0000000 -s ')
    assert '-s ".data" 0xffffffffa0004020' in symbols
    assert "init.text" not in symbols and "__param" not in symbols
    assert more[:2] == ["break compact_zone", "break mm/migrate.c:1611"]
    assert more[-1] == "continue" and "backtrace" not in more


def test_a_batch_ends_by_itself_and_asks_nothing() -> None:
    batch = replace(SESSION, batch=True)
    lines = gdb.script(batch).splitlines()
    assert "set pagination off" in lines and lines[-2:] == ["continue", "backtrace"]
    assert not any(line.startswith("echo") for line in lines)
    told = gdb.script(replace(batch, commands=("info registers", "bt 3"))).splitlines()
    assert told[-3:] == ["continue", "info registers", "bt 3"]
    stopped = gdb.script(replace(batch, breaks=())).splitlines()
    assert "continue" not in stopped and stopped[-1] == "backtrace"
    assert gdb.argv("gdb", Path("s"), batch=True) == ("gdb", "-q", "-batch", "-nx", "-x", "s")
    assert gdb.argv("gdb", Path("s"), batch=False) == ("gdb", "-q", "-x", "s")


def test_odd_paths_stay_one_word() -> None:
    odd = replace(SESSION, vmlinux=Path('/a "b" \\c/vmlinux'))
    assert 'file "/a \\"b\\" \\\\c/vmlinux"' in gdb.script(odd)


@pytest.mark.parametrize("word", ["", " ", "bt\nshell rm -rf /", "bt\r", "\x1b[2J"])
def test_a_command_is_one_line(word: str) -> None:
    with pytest.raises(InputError, match="--command"):
        gdb.words("--command", ["bt", word])


def programs(folder: Path, *names: str, says: str = "") -> str:
    for name in names:
        (folder / name).write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
        (folder / name).chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("there", "native", "taken"),
    [
        (("gdb",), True, "gdb"),
        (("gdb", "gdb-multiarch"), True, "gdb"),
        (("gdb-multiarch",), True, "gdb-multiarch"),
        (("gdb", "gdb-multiarch"), False, "gdb-multiarch"),
        ((), True, "apt install gdb"),
        (("gdb",), False, "apt install gdb-multiarch"),
    ],
)
def test_which_gdb(
    there: tuple[str, ...],
    native: bool,
    taken: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", programs(tmp_path, *there))
    value = arch.get("x86_64")
    machines = (platform.machine(),) if native else ("vax",)
    value = replace(value, machines=machines)
    if taken.startswith("apt"):
        with pytest.raises(MissingTool) as caught:
            gdb.program(value)
        assert taken in caught.value.hint
    else:
        assert gdb.program(value) == str(tmp_path / taken)


SAID = """\
add symbol table from file "pinner.ko" at
Breakpoint 1 at 0xffffffff81101762: file ../mm/compaction.c, line 2526.
"""


def test_a_place_that_no_symbol_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{programs(tmp_path, 'gdb', says=SAID)}:/usr/bin:/bin")
    gdb.check("gdb", Path("vmlinux"), [Path("pinner.ko")], ["compact_zone"])
    gdb.check("no-gdb", Path("vmlinux"), [], [])  # is not even asked
    wrong = 'Function "nope" not defined.\nMake breakpoint pending? (y or [n]) [answered N]'
    programs(tmp_path, "gdb", says=SAID + wrong)
    with pytest.raises(InputError, match='"nope" not defined') as caught:
        gdb.check("gdb", Path("vmlinux"), [], ["compact_zone", "nope"])
    assert "break nope" in caught.value.command


class Guest:
    def __init__(self, said: str) -> None:
        self.said = said

    def must(self, command: str, *, timeout: float = 30, stdin: bytes = b"") -> str:
        assert "/sys/module/pinner/sections" in command
        return self.said

    def run(self, command: str, *, timeout: float = 30, stdin: bytes = b"") -> CommandResult:
        raise AssertionError


def test_where_a_module_is() -> None:
    said = ".text 0xffffffffa0000000\n.data 0xffffffffa0004020\n.odd thing\nnonsense 0x1\n"
    assert gdb.sections(Guest(said), "pinner") == {  # type: ignore[arg-type]
        ".text": 0xFFFFFFFFA0000000,
        ".data": 0xFFFFFFFFA0004020,
    }
    for said in ("", ".text 0x0\n", ".data 0x1000\n"):
        with pytest.raises(EvidenceError, match="pinner"):
            gdb.sections(Guest(said), "pinner")  # type: ignore[arg-type]
