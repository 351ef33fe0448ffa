# SPDX-License-Identifier: GPL-2.0-only
"""A guest in one's hands, through a real terminal and without one: exec, shell, gdb, dump, page,
and a run that is held."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pexpect
import pytest

from harness.model import BuildArtifacts

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

PINPAGE = (sys.executable, "-m", "harness.cli")
PINNER = "/sys/kernel/debug/pinner"
LAYOUT = f"echo layout 4000 32 1 > {PINNER}/control"
COMPACT = "echo 1 > /proc/sys/vm/compact_memory"
PANIC = "echo c > /proc/sysrq-trigger"
NO_GDB = pytest.mark.skipif(shutil.which("gdb") is None, reason="no gdb here")
SECONDS = 300


@pytest.fixture(scope="module", autouse=True)
def built(fast_build: BuildArtifacts) -> BuildArtifacts:
    """Whatever comes first does not wait for the kernel under a deadline of its own."""
    return fast_build


def run(*words: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """A command without a terminal: exit code, stdout and stderr."""
    done = subprocess.run(
        [*PINPAGE, *words], input=stdin, capture_output=True, check=False, start_new_session=True
    )
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


class Person:
    """Who types a command on a terminal of their own."""

    def __init__(self, *words: str) -> None:
        # A shell holds the terminal, so that it outlives the command, and waits to be let go.
        script = 'trap : INT; "$@"; echo "ended=$?"; read x'
        argv = ["-c", script, "sh", *PINPAGE, *words]
        self.session: pexpect.spawn[bytes] = pexpect.spawn(
            "/bin/sh", argv, timeout=SECONDS, dimensions=(30, 100), echo=False
        )
        self.before = termios.tcgetattr(self.session.child_fd)

    def expect(self, *wanted: str) -> str:
        """Wait for these one after the other; the last one's first group, or all of it."""
        for each in wanted:
            self.session.expect(each)
        match = self.session.match
        assert isinstance(match, re.Match)
        return bytes(match[1] if match.re.groups else match[0]).decode(errors="replace")

    def type(self, line: str) -> None:
        self.session.sendline(line)

    def pids(self) -> list[int]:
        """Of the command, and of its QEMU."""
        found, pid = list[int](), self.session.pid
        while True:
            said = subprocess.run(
                ["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, check=False
            )
            if not said.stdout.split():
                return found
            pid = int(said.stdout.split()[0])
            found.append(pid)

    def ended(self) -> int:
        """The command's exit code; its terminal is as it was, and its QEMU is gone."""
        status = int(self.expect(r"ended=(\d+)"))
        assert termios.tcgetattr(self.session.child_fd) == self.before
        assert self.pids() == []
        self.session.sendline()
        self.session.close()
        return status


# ---------------------------------------------------------------------------------------------
# exec
# ---------------------------------------------------------------------------------------------


def test_exec_is_as_if_it_were_here() -> None:
    code, out, err = run("exec", "--", "cat; echo err >&2; exit 7", stdin=b"in\0\xff\n")
    assert (code, out, err) == (7, b"in\0\xff\n", "err\n")
    assert run("exec", "--", "kill -9 $$")[0] == 128 + signal.SIGKILL
    data = os.urandom(2_000_000)
    assert run("exec", "--", "cat", stdin=data)[1] == data


def test_exec_streams() -> None:
    """Each answer comes before the next question is asked."""
    words = [*PINPAGE, "exec", "--", "while read x; do echo got $x; done"]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    for number in (b"1", b"2", b"3"):
        child.stdin.write(number + b"\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"got " + number + b"\n"
    child.stdin.close()
    assert child.wait(SECONDS) == 0


def test_exec_loads_modules_first() -> None:
    words = ("exec", "-m", "pinner:mode=pinpage", "--")
    code, out, _ = run(*words, f"cat {PINNER}/counters")
    assert code == 0 and out.startswith(b"mode pinpage\n")
    code, _, err = run("exec", "-m", "pinner:mode=nonsense", "--", "true")
    assert code == 201 and "mode=nonsense: there is no such mode" in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--", PANIC), 203, "sysrq triggered crash"),
        (("--timeout", "1", "--", "sleep 600"), 204, "did not end within 1 s"),
        (("-m", "nosuch", "--", "true"), 202, "nosuch"),
        (("--", "reboot -f"), 205, "reset itself"),
    ],
)
def test_what_exec_says_of_itself(words: tuple[str, ...], code: int, said: str) -> None:
    got, _, err = run("exec", *words)
    assert got == code, err
    assert any(line.startswith("error:") and said in line for line in err.splitlines())


# ---------------------------------------------------------------------------------------------
# shell
# ---------------------------------------------------------------------------------------------

SERIAL, SSH = (), ("--ssh",)


@pytest.mark.parametrize("how", [SERIAL, SSH], ids=["serial", "ssh"])
def test_a_shell_on_a_terminal(how: tuple[str, ...]) -> None:
    person = Person("shell", *how, "-m", "pinner:mode=plain")
    person.expect("leaves", "# ")
    person.type("stty size; head -1 /sys/kernel/debug/pinner/counters")
    person.expect("30 100", "mode plain")
    if how == SSH:
        person.session.setwinsize(50, 132)
        for _ in range(50):  # the guest is told in its own time
            person.type("stty size")
            if "50 132" in person.expect(r"(\d+ \d+)"):
                break
            time.sleep(0.1)
        else:
            pytest.fail("the window's size was not followed")
        person.type("exit 3")
    else:
        person.session.send("\x1d")
    assert person.ended() == 0


@pytest.mark.parametrize(
    ("how", "end", "code"),
    [
        *(
            (how, *end)
            for how in (SERIAL, SSH)
            for end in (("term", 143), ("panic", 3), ("hang", 0))
        ),
        (SSH, "hup", 129),
        (SSH, "poweroff", 0),
        (SSH, "kill", 5),
    ],
)
def test_the_terminal_is_as_it_was(how: tuple[str, ...], end: str, code: int) -> None:
    person = Person("shell", *how)
    person.expect("leaves", "# ")
    person.type("printf '\\033[?1049h'; echo o''n")
    person.expect("on")
    own, qemu = person.pids()[:2]
    if end in ("term", "hup"):
        os.kill(own, {"term": signal.SIGTERM, "hup": signal.SIGHUP}[end])
    elif end == "kill":
        os.kill(qemu, signal.SIGKILL)
    elif end == "hang":
        os.kill(qemu, signal.SIGSTOP)
        person.session.send("\x1d" if how == SERIAL else "\r~.")
    else:
        person.type({"panic": PANIC, "poweroff": "poweroff -f; reboot -f"}[end])
    person.expect(r"\x1b\[\?47l")  # the other screen is left
    assert person.ended() == code


# ---------------------------------------------------------------------------------------------
# gdb
# ---------------------------------------------------------------------------------------------


@NO_GDB
def test_gdb_stops_at_a_function() -> None:
    words = ("--batch", "--break", "compact_zone", "--run", COMPACT)
    code, out, err = run("gdb", *words, "--command", "bt", "--command", "list")
    said = out.decode()
    assert code == 0, err
    assert re.search(r"Breakpoint 1, compact_zone .*mm/compaction\.c:\d+", said)
    assert "sysctl_compaction_handler" in said and "struct compact_control *cc" in said


@NO_GDB
def test_gdb_knows_a_modules_functions_and_the_series_lines() -> None:
    """From the owner's callback up into what the series brings."""
    words = ("--batch", "-m", "pinner:mode=pinpage", "--break", "pinner_migrate")
    code, out, err = run("gdb", *words, "--run", f"{LAYOUT}; {COMPACT}")
    said = out.decode()
    assert code == 0, err
    assert re.search(r"#0 +pinner_migrate .*pinner/migrate\.c:\d+", said)
    assert re.search(r"migrate_pinpage .*mm/pinpage\.c:\d+", said)


@NO_GDB
def test_gdb_tells_what_was_not_reached() -> None:
    code, _, err = run("gdb", "--batch", "--break", "panic", "--run", "true")
    assert code == 1 and "panic was never reached" in err
    code, _, err = run("gdb", "--batch", "--break", "panic", "--timeout", "5")
    assert code == 4 and "panic was not reached within 5 s" in err
    code, _, err = run("gdb", "--batch", "--break", "no_such_function")
    assert code == 2 and "no_such_function" in err
    code, _, err = run("gdb", "--batch", "--command", "no_such_command")
    assert code == 1 and "no_such_command" in err


@NO_GDB
def test_gdb_on_a_terminal() -> None:
    person = Person("gdb", "--break", "compact_zone", "--run", COMPACT)
    person.expect("ssh -F none", "Breakpoint 1, ", r"\(gdb\) ")
    person.type("delete 1")
    person.expect(r"\(gdb\) ")
    person.type("continue")
    person.expect("Continuing")
    person.session.sendintr()  # stops the guest, and nothing here
    person.expect("SIGINT", r"\(gdb\) ")
    person.type("quit")
    assert person.ended() == 0


@NO_GDB
def test_gdb_is_ended_and_the_terminal_as_it_was() -> None:
    person = Person("gdb")
    person.expect(r"\(gdb\) ")
    os.kill(person.pids()[0], signal.SIGTERM)
    assert person.ended() == 143


# ---------------------------------------------------------------------------------------------
# dump
# ---------------------------------------------------------------------------------------------


@NO_GDB
def test_a_kernel_that_panicked_is_dumped(tmp_path: Path, built: BuildArtifacts) -> None:
    core = tmp_path / "vmcore"
    code, out, err = run("dump", "-o", str(core), "--", PANIC)
    assert code == 3 and "sysrq triggered crash" in err
    assert f"gdb {built.vmlinux} {core}" in out.decode()
    argv = ["gdb", "-nx", "-batch", str(built.vmlinux), str(core), "-ex", "bt", "-ex", "info line"]
    said = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    assert "sysrq_handle_crash" in said and "write_sysrq_trigger" in said
    assert core.stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["vmcore"]


def test_a_dump_of_a_command_that_failed(tmp_path: Path) -> None:
    code, out, err = run("dump", "--format", "kdump", "-o", str(tmp_path / "core"), "--", "exit 9")
    assert code == 1 and "status 9" in err and b"crash" in out
    assert (tmp_path / "core").read_bytes().startswith(b"makedumpfile")


# ---------------------------------------------------------------------------------------------
# page
# ---------------------------------------------------------------------------------------------


def page(*words: str) -> dict[str, Any]:
    code, out, err = run("page", *words, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.parametrize(("mode", "fate"), [("plain", "stays"), ("pinpage", "asked")])
def test_what_is_said_of_a_pin_comes_true(mode: str, fate: str) -> None:
    words = ("first-pin", "-m", f"pinner:mode={mode}", "--run")
    found = page(*words, LAYOUT)
    assert found["migration"]["what"] == fate
    assert found["owner"]["module"] == "pinner" and found["references"] == 1
    assert found["pageblock"]["type"] == "Movable" and found["memory_block"]["state"] == "online"
    moved = page(*words, f"{LAYOUT}; {COMPACT}")["pin"]
    assert (moved["moves"] > 0) is (mode == "pinpage")
    assert (moved["pfn_now"] != moved["pfn_pin"]) is (mode == "pinpage")


def test_a_page_of_a_contiguous_area_and_one_that_is_not() -> None:
    found = page("0x3f800", "--append", "cma=16M")
    assert found["cma"] is not None and found["migration"]["what"] == "free"
    code, out, err = run("page", "0xfffffff")
    assert code == 2 and not out and "no page frame" in err


# ---------------------------------------------------------------------------------------------
# A run that is held
# ---------------------------------------------------------------------------------------------


def held(keep: Path, *words: str) -> tuple[str, ...]:
    return ("run", "compaction", "--seed", "7", "--keep", str(keep), *words)


def record(keep: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((keep / "latest" / "run.json").read_text())
    return found


@pytest.mark.parametrize(
    "meddle", ["true", f"rmmod pinner; {COMPACT}", PANIC], ids=["looks", "unloads", "panics"]
)
def test_a_run_that_is_held_ends_as_any_other(tmp_path: Path, meddle: str) -> None:
    """Whatever is done to its guest meanwhile."""
    person = Person(*held(tmp_path, "--stop-on", "stayed"))
    assert "treated of compaction" in person.expect(r"held: (.*)\r")
    person.expect("'exit' leaves", "# ")
    person.type(f"head -3 {PINNER}/counters")
    person.expect("pinned 4000")
    person.type(meddle)
    if meddle != PANIC:
        person.expect("# ")
        person.type("exit")
    assert person.ended() == 0
    found = record(tmp_path)
    assert (found["verdict"], found["splats"]) == ("PASS", [])
    assert found["arms"]["treated"]["migrated"] > 2000
    assert "hold" in found["stages"]
    assert not list(tmp_path.rglob("*.qcow2"))


def test_a_held_guest_is_reached_without_a_terminal(tmp_path: Path) -> None:
    words = [*PINPAGE, *held(tmp_path, "--stop-on", "migrated", "--json")]
    pipe = subprocess.PIPE
    child = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert child.stdin is not None and child.stderr is not None
    said = ""
    while "goes on when stdin is closed" not in said:
        line = child.stderr.readline()
        assert line, said
        said += line
    ways = dict(re.findall(r"^ +(shell|gdb|monitor) +(.*)$", said, re.MULTILINE))
    if shutil.which("ssh"):
        command = f"{ways['shell']} 'head -3 {PINNER}/counters' < /dev/null"
        assert "pinned 4000" in subprocess.check_output(command, shell=True, text=True)  # noqa: S602
    if shutil.which("gdb"):
        command = f"{ways['gdb']} -nx -batch -ex 'break compact_zone' -ex bt < /dev/null 2>&1"
        assert "#0 " in subprocess.check_output(command, shell=True, text=True)  # noqa: S602
    assert Path(ways["monitor"].split()[-1]).is_socket()
    out, _ = child.communicate("")
    assert json.loads(out)["verdict"] == "PASS" and child.returncode == 0


def test_a_crash_is_held_and_stays_one(tmp_path: Path) -> None:
    code, out, err = run(*held(tmp_path, "--stop-on", "splat", "--hold", "0", "--series", "posted"))
    assert code == 3 and b"CRASH" in out
    assert "held: treated of compaction: the kernel reported kernel BUG at mm/compaction.c" in err
    assert record(tmp_path)["splats"][0]["function"] == "isolate_migratepages_block"


def test_no_qemu_outlives_a_held_run(tmp_path: Path) -> None:
    words = [*PINPAGE, *held(tmp_path, "--stop-on", "stayed")]
    pipe = subprocess.PIPE
    child = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert child.stderr is not None
    said = ""
    while "goes on" not in said:
        said += child.stderr.readline()
    runtime = Path(said.split("unix socket ")[1].split()[0]).parent
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=SECONDS)
    assert child.returncode == 143 and not runtime.exists()
    assert record_of_all(tmp_path)["interrupted"] is True
    assert not list(tmp_path.rglob("*.qcow2"))
    still = subprocess.run(["pgrep", "-f", str(runtime)], capture_output=True, check=False)
    assert still.stdout == b""


def record_of_all(keep: Path) -> dict[str, Any]:
    (path,) = keep.glob("*/run.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found
