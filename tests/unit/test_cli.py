# SPDX-License-Identifier: GPL-2.0-only
"""The command as a shell sees it: exit codes, one clear message, JSON alone on stdout."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import toykernel as toy
from click.testing import CliRunner
from program import Program

from harness import cli, pipeline, resources, spec
from harness.cli import dumping, guests, inside, options
from harness.cli.options import OWN_CODES
from harness.errors import InputError
from harness.model import RunSpec
from harness.vm import hands, loading
from harness.vm.stream import Ends

LOG = """\
[    1.000000] Linux version 6.12.0
[    2.500000] ------------[ cut here ]------------
[    2.500000] kernel BUG at mm/compaction.c:1042!
[    2.500000] Oops: invalid opcode: 0000 [#1] SMP
[    2.500000] RIP: 0010:isolate_migratepages_block+0x5c8/0x9f0
[    2.500000] Call Trace:
[    2.500000]  compact_zone+0x1f0/0x9b0
[    2.500000] ---[ end trace 0000000000000000 ]---
"""


@pytest.fixture
def pinpage(tmp_path: Path) -> Program:
    env = {
        **os.environ,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }

    def call(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "harness.cli", *words]
        return subprocess.run(
            argv, input=stdin, capture_output=True, text=True, env=env, timeout=60, check=False
        )

    return call


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["run"], "no scenario"),
        (["run", "compactoin"], "compactoin"),
        (["run", "compaction", "--kernel", "6.99"], "6.99"),
        (["run", "compaction", "--arch", "vax"], "vax"),
        (["run", "compaction", "--profile", "slow"], "slow"),
        (["run", "compaction", "--seed", "x"], "x"),
        (["run", "compaction", "--set", "nonsense"], "nonsense"),
        (["run", "compaction", "stray.patch"], "stray.patch"),
        (["apply", "stray.patch"], "--series fixed stray.patch"),
        (["run", "compaction", "--set", "lie=help"], "none, nocopy, keep, ghost"),
        (["run", "compaction", "--set", "rounds=0"], "1 to 100"),
        (["run", "compaction", "--set", "pages=500"], "2000 to"),
        (["run", "compaction", "--set", "every=64"], "--memory 1334"),
        (["shell"], "terminal"),
        (["run", "compaction", "--jobs", "0"], "0"),
        (["parse", "/no/such/log"], "/no/such/log"),
        (["compare", "/no/such", "/no/such"], "/no/such"),
        (["bundle", "/no/such"], "/no/such"),
        (["reproduce", "/no/such"], "/no/such"),
        (["nonsense"], "nonsense"),
        (["shell", "--ssh"], "terminal"),
        (["shell", "--arch", "all"], "one guest"),
        (["run", "compaction", "--stop-on", "nothing"], "nothing"),
        (["run", "compaction", "--hold", "3"], "--stop-on"),
        (["gdb"], "--batch"),
        (["gdb", "--batch", "--command", "bt\nshell ls"], "--command"),
        (["gdb", "--batch", "--module", "no/such.ko"], "no/such.ko"),
        (["page", "x"], "first-pin"),
        (["page", "1", "--kernel", "6.99"], "6.99"),
        (["dump", "--arm", "treated"], "--scenario"),
        (["dump", "--scenario", "nonsense"], "nonsense"),
        (["dump", "--scenario", "compaction", "--", "true"], "COMMAND"),
        (["dump", "-o", "/no/such/folder/vmcore"], "/no/such/folder"),
        (["dump", "--format", "lzo"], "lzo"),
    ],
)
def test_bad_words_are_named_and_exit_2(within: Program, words: list[str], named: str) -> None:
    done = within(*words)
    assert done.returncode == 2, done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "words", [("--series", "/no/such"), ("--set", "pages=x"), ("--tree", "/no/such")]
)
def test_words_that_prove_bad_in_a_run_leave_no_folder(
    pinpage: Program, tmp_path: Path, words: tuple[str, ...]
) -> None:
    tree = str(Path(__file__).parents[1] / "fakelinux")
    done = pinpage("run", "compaction", "--tree", tree, "--keep", str(tmp_path / "runs"), *words)
    assert done.returncode == 2, done.stderr
    assert words[1] in done.stderr or "'x'" in done.stderr
    assert list((tmp_path / "runs").glob("*")) == []


def test_parse_prints_titles_and_says_crash(within: Program, tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_text(LOG)
    done = within("parse", str(log))
    assert done.returncode == 3
    assert done.stdout.strip() == (
        "2: kernel BUG at mm/compaction.c:1042! in isolate_migratepages_block"
    )
    as_json = json.loads(within("parse", "-", "--json", stdin=LOG).stdout)
    (splat,) = as_json["splats"]
    assert splat["function"] == "isolate_migratepages_block"
    assert (splat["first_line"], splat["last_line"]) == (2, 8)


def test_parse_of_a_quiet_log_passes_and_of_an_empty_one_does_not(within: Program) -> None:
    quiet = within("parse", "-", stdin="[    1.000000] Linux version 6.12.0\n")
    assert (quiet.returncode, quiet.stdout) == (0, "")
    assert quiet.stderr == "no splats in 1 lines\n"
    assert within("parse", "-", stdin="").returncode == 2


def test_parse_unpacks_and_refuses_what_is_no_text(within: Program, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for pack in (gzip.compress, lzma.compress, bz2.compress):
        packed = pack(LOG.encode())
        log.write_bytes(packed)
        assert "compaction.c:1042" in within("parse", str(log)).stdout
        log.write_bytes(packed[: len(packed) // 8])
        cut = within("parse", str(log))
        assert (cut.returncode, cut.stdout) == (2, "") and str(log) in cut.stderr
        log.write_bytes(packed[:-4])
        late = within("parse", str(log))
        if pack is not bz2.compress:  # which gives out nothing before it has a whole block
            assert late.returncode == 3 and "compaction.c:1042" in late.stdout
            assert "ends too soon, in line " in late.stderr
        log.write_bytes(pack(packed))
        assert within("parse", str(log)).returncode == 2
    program = within("parse", os.path.realpath(sys.executable))
    assert program.returncode == 2 and "a program" in program.stderr


def test_an_error_is_json_too_where_json_is_asked_for(within: Program) -> None:
    done = within("fetch", "--tree", "/no/such", "--json")
    error = json.loads(done.stdout)["error"]
    assert (error["kind"], error["exit_code"]) == ("InputError", 2)
    assert "/no/such" in error["message"] and "/no/such" in done.stderr


def test_what_a_message_quotes_does_nothing_on_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options.tell(InputError("of \x1b[31m\u202e [bold]", hint="\x9b1m", detail="\x07"))
    said = capsys.readouterr().err
    assert not {"\x1b", "\u202e", "\x9b", "\x07"} & set(said)
    assert "\\x1b[31m\\u202e [bold]" in said


def test_a_place_in_a_message_is_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    text = "mm/compaction.c:100:5: [x] :bug: [/y]"
    options.tell(InputError(text, detail=text))
    assert capsys.readouterr().err == f"error: {text}\n  {text}\n"


def test_what_patches_are_called_does_nothing_on_a_terminal(
    within: Program, tmp_path: Path
) -> None:
    text = toy.mail("=?utf-8?q?x=1B]0;owned=07y?=", toy.change("mm/migrate.c", "return -1;", ""))
    patch = tmp_path / "a\n::error::b.patch"
    patch.write_text(text)
    done = within("apply", "--tree", str(toy.FAKELINUX), "--series", str(patch))
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert not {"\x1b", "\x07"} & set(said) and "\n::error" not in said
    assert r"applied a\n::error::b.patch: x\x1b]0;owned\x07y" in done.stdout


def test_a_fault_of_ours_is_no_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[object]:
        raise ZeroDivisionError

    monkeypatch.setattr(spec, "kernels", broken)
    monkeypatch.setattr(sys, "argv", ["pinpage", "kernels"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 9


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("grep x /proc/vmstat | wc -l",), "grep x /proc/vmstat | wc -l"),
        (("sh", "-c", "exit 3"), "sh -c 'exit 3'"),
        (("echo", "*"), "echo '*'"),
    ],
)
def test_words_for_the_guest_stay_words(words: tuple[str, ...], text: str) -> None:
    assert guests.shell_text(words) == text


@pytest.mark.parametrize("name", ["dump", "exec", "boot"])
def test_a_patch_is_no_command_of_the_guests(within: Program, tmp_path: Path, name: str) -> None:
    patch = tmp_path / "my.patch"
    patch.write_text("")
    done = within(name, "--series", "fixed", str(patch))
    assert done.returncode % 200 == 2, done.stderr
    said = "".join(done.stderr.split())
    assert "isapatchhere" in said and f"--seriesfixed--series{patch}" in said


def test_help_of_run_lists_scenarios_their_parameters_and_profiles(within: Program) -> None:
    text = within("run", "--help").stdout
    for part in ("Scenario compaction:", "--set pages=4000", "[2000 to 100000]", "fast "):
        assert part in text


def test_help_has_an_example_each(pinpage: Program) -> None:
    top = pinpage("--help")
    assert top.returncode == 0
    listed = top.stdout.split("Commands:")[1].split("Exit codes")[0]
    assert "..." not in listed, "each sentence is whole"
    names = re.findall(r"^  (\S+)", listed, re.MULTILINE)
    assert {"run", "doctor", "kernels", "fetch", "apply", "build", "boot", "shell", "parse"} <= set(
        names
    )
    for name in names:
        text = CliRunner().invoke(cli.cli, [name, "--help"]).output
        assert "Example" in text, name


@pytest.mark.parametrize("name", ["shell", "exec", "gdb", "page", "dump", "bisect", "faults"])
def test_every_architecture_is_offered_where_it_is_taken(name: str) -> None:
    def offered(command: str) -> bool:
        return "'all'" in CliRunner().invoke(cli.cli, [command, "--help"]).output

    assert offered("run") and offered("build") and not offered(name)
    words = {"exec": ["true"], "page": ["1"], "bisect": ["compaction"]}.get(name, [])
    refused = CliRunner().invoke(cli.cli, [name, "--arch", "all", *words]).exception
    assert isinstance(refused, InputError) and "one" in str(refused)


def test_fetch_and_fixes_take_no_word_that_they_would_not_heed() -> None:
    for words in (["fetch", "--series", "fixed"], ["fixes", "--without", "0005"]):
        assert "No such option" in CliRunner().invoke(cli.cli, words).output


def test_version_kernels_and_completion(pinpage: Program) -> None:
    assert pinpage("--version").stdout.startswith("pinpage")
    rows = json.loads(pinpage("kernels", "--json").stdout)
    (row,) = [row for row in rows if row["name"] == "6.12"]
    assert {"none", "posted", "fixed"} <= set(row["series"])
    assert "_PINPAGE_COMPLETE" in pinpage("completion", "bash").stdout


@pytest.mark.parametrize(
    ("shown", "code", "said"),
    [
        ((True, True), 0, "PASS  2 of 2 defects are back without their fix"),
        ((True, False), 1, "FAIL  1 of 2 defects are back without their fix; still not to be seen"),
        ((True, None), 9, "INFRA  1 of 2 defects are back without their fix; could not be told"),
    ],
)
def test_a_fix_that_is_not_needed_fails(
    monkeypatch: pytest.MonkeyPatch, shown: tuple[bool | None, ...], code: int, said: str
) -> None:
    def left_out(*_: object) -> Iterator[tuple[str, str, object]]:
        for name, each in zip("57", shown, strict=True):
            finding = SimpleNamespace(shown=each, evidence="pages are missing")
            verdict = SimpleNamespace(findings=(finding,), reason="")
            yield name, f"00{name}0-mm.patch", SimpleNamespace(verdict=verdict)

    monkeypatch.setattr(pipeline, "left_out", left_out)
    done = CliRunner().invoke(cli.cli, ["fixes"])
    assert done.exit_code == code and said in done.output


@pytest.mark.parametrize("words", [("boot",), ("boot", "--", "true")])
def test_boot_always_boots(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A kernel that no longer boots is not to be passed for one that did."""
    asked: list[bool] = []

    def stop(words: RunSpec, folder: Path) -> None:
        asked.append(words.snapshots)
        raise InputError("that is enough")

    monkeypatch.setattr(guests, "guest_of", stop)
    monkeypatch.setattr(guests, "boot_folder", lambda: tmp_path)
    CliRunner().invoke(cli.cli, words)
    assert asked == [False]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--nonsense", "--", "true"),
        ("--kernel", "6.99", "--", "true"),
        ("--module", "no/such.ko", "--", "true"),
        ("--arch", "all", "--", "true"),
        ("--timeout", "0", "--", "true"),
    ],
)
def test_a_commands_status_is_never_ours(pinpage: Program, words: tuple[str, ...]) -> None:
    done = pinpage("exec", *words)
    assert done.returncode == OWN_CODES + 2, done.stderr
    assert "rror:" in done.stderr and done.stdout == ""


@pytest.mark.parametrize(("ended", "code"), [(0, 0), (1, 1), (7, 7), (137, 137)])
def test_a_commands_status_is_passed_on(
    ended: int, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []

    @contextmanager
    def guest_of(words: RunSpec, folder: Path, **more: Any) -> Iterator[str]:
        asked.append((words.snapshots, more["modules"]))
        yield "guest"

    def passed(guest: str, command: str, ends: Ends, *, seconds: float | None) -> int:
        asked.append((guest, command, seconds))
        return ended

    monkeypatch.setattr(inside, "guest_of", guest_of)
    monkeypatch.setattr(inside, "boot_folder", lambda: tmp_path)
    monkeypatch.setattr(inside, "show_splats", lambda guest: [])
    monkeypatch.setattr(hands, "passed", passed)
    words = ["exec", "-m", "pinner:mode=plain", "--timeout", "3", "--", "ls", "a b"]
    done = CliRunner().invoke(cli.cli, words)
    assert done.exit_code == code
    assert asked == [
        (True, [loading.Wanted("pinner", ("mode=plain",))]),
        ("guest", "ls 'a b'", 3.0),
    ]


def test_nobody_reads_a_commands_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @contextmanager
    def guest_of(words: RunSpec, folder: Path, **more: Any) -> Iterator[str]:
        yield "guest"

    def passed(*words: object, **more: object) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(inside, "guest_of", guest_of)
    monkeypatch.setattr(inside, "boot_folder", lambda: tmp_path)
    monkeypatch.setattr(hands, "passed", passed)
    assert CliRunner().invoke(cli.cli, ["exec", "--", "yes"]).exit_code == 141


def test_what_opens_a_dump(tmp_path: Path) -> None:
    built = SimpleNamespace(
        vmlinux=tmp_path / "vmlinux",
        folder=tmp_path,
        modules={"pinner": tmp_path / "modules" / "pinner.ko", "userpages": tmp_path / "userpages"},
    )

    def ways(form: str, *, info: bool = True, types: bool = True, virtual: bool = True) -> str:
        dumped = dumping._Dumped(tmp_path / "core", form, info, cast(Any, built))
        found = dumping.ways(dumped, types=types, virtual=virtual)
        return " ".join(way.program for way in found if not way.why_not)

    assert ways("elf") == "gdb drgn crash"
    assert ways("elf", types=False) == "gdb"
    assert ways("elf", info=False) == "gdb crash"
    assert ways("elf", virtual=False) == "drgn crash"
    assert ways("kdump", virtual=False) == "crash"
    dumped = dumping._Dumped(tmp_path / "core", "elf", True, cast(Any, built))
    (drgn,) = [w for w in dumping.ways(dumped, types=True, virtual=True) if w.program == "drgn"]
    assert drgn.argv[-2:] == ("-s", str(tmp_path / "symbols" / "pinner.ko"))  # and no program


@pytest.mark.parametrize("command", ["run", "fixes", "shell", "exec", "gdb", "dump", "page"])
def test_boot_each_is_an_option_where_guests_may_be_restored(command: str) -> None:
    assert "--boot-each" in CliRunner().invoke(cli.cli, [command, "--help"]).output
    assert "--boot-each" not in CliRunner().invoke(cli.cli, ["boot", "--help"]).output


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_text("[    1.000000] WARNING: CPU: 0 PID: 1 at mm/x.c:1 f+0x1/0x2\n")
    with Path("/dev/full").open("w") as full:
        argv = [sys.executable, "-m", "harness.cli", "parse", str(log)]
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 9
    assert done.stderr.splitlines() == [
        "error: No space left on device",
        "next: make room, and run it again",
    ]


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "XDG_STATE_HOME"])
def test_a_folder_of_ours_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(variable, str(tmp_path / "file" / "x"))
    made = resources.cache if variable == "XDG_CACHE_HOME" else resources.state
    with pytest.raises(InputError, match=r"file/x/pinpage cannot be made: Not a dir") as found:
        made()
    assert variable in found.value.hint


def test_a_home_is_meant_behind_an_equals_sign_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shells leave --to=~/x as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "there").mkdir()
    found = CliRunner().invoke(cli.cli, ["apply", "--series=none", "--to=~/there"])
    assert isinstance(found.exception, InputError)
    assert f"{tmp_path / 'there'} is there already" in str(found.exception)
