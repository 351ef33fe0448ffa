# SPDX-License-Identifier: GPL-2.0-only
"""Running programs: output, deadline, log, and that a whole process group ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import proc
from harness.errors import MissingTool, ToolError


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def _wait_gone(pid: int, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if _gone(pid):
            return True
        os.sched_yield()
    return False


def test_output_status_and_lines(tmp_path: Path) -> None:
    lines: list[str] = []
    log = tmp_path / "log"
    script = "echo one; echo two >&2; printf three; exit 3"
    done = proc.run(["sh", "-c", script], log=log, on_line=lines.append, check=False)
    assert (done.status, done.stdout, done.stderr) == (3, b"one\nthree", b"two\n")
    assert lines == ["one", "three"]
    assert sorted(log.read_bytes()) == sorted(b"one\nthreetwo\n")


def test_large_input_and_output_do_not_block() -> None:
    data = os.urandom(3_000_000)
    assert proc.run(["cat"], stdin=data).stdout == data


def test_reader_that_leaves_early() -> None:
    assert proc.run(["true"], stdin=b"x" * 1_000_000).status == 0


def test_failure_names_command_and_output() -> None:
    with pytest.raises(ToolError) as caught:
        proc.run(["sh", "-c", "echo broken >&2; exit 4"])
    assert caught.value.command[0] == "sh"
    assert "broken" in caught.value.detail
    assert "status 4" in caught.value.message


def test_missing_program_and_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingTool, match="no-such-program"):
        proc.run(["no-such-program"])
    with pytest.raises(ToolError, match="no such folder"):
        proc.run(["true"], cwd=tmp_path / "absent")
    with pytest.raises(MissingTool) as caught:
        proc.find("no-such-program", "its-package")
    assert "its-package" in caught.value.hint


def test_deadline_ends_the_whole_group(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"sleep 600 & echo $! > {pid_file}; wait"
    with pytest.raises(ToolError, match="did not end within"):
        proc.run(["sh", "-c", script], timeout=0.5)
    assert _wait_gone(int(pid_file.read_text()))


def test_spawned_program_dies_with_us(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from harness import proc\n"
        f"child = proc.spawn(['sleep', '600'], log=Path({str(tmp_path / 'log')!r}))\n"
        "print(child.pid, flush=True); sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert not _gone(child)
    parent.kill()
    parent.wait()
    assert _wait_gone(child)


def test_spawned_program_never_starts_for_a_dead_parent(tmp_path: Path) -> None:
    """The parent dies before the kernel is asked for the signal of its death."""
    real = proc.find("setpriv")
    late = tmp_path / "setpriv"
    ran = tmp_path / "ran"
    # Not $PPID: where the parent is gone before the shell starts that is somebody who lives on.
    late.write_text(
        "#!/bin/sh\nparent=$(expr \"$*\" : '.*-eq \\([0-9]*\\)')\n"
        f'while [ -d "/proc/$parent" ]; do :; done\nexec {real} "$@"\n'
    )
    late.chmod(0o755)
    code = (
        "import os; from pathlib import Path; from harness import proc\n"
        f"child = proc.spawn(['touch', {str(ran)!r}], log=Path({str(tmp_path / 'log')!r}))\n"
        "print(child.pid, flush=True); os._exit(0)\n"
    )
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    child = int(proc.run([sys.executable, "-c", code], env=path).stdout)
    assert _wait_gone(child)
    assert not ran.exists()


ATTENDED = """
import signal, sys
from harness import proc
def watch():
    {watch}
sys.exit(proc.attend(["sh", "-c", {script!r}], watch=watch))
"""


def test_a_program_that_has_the_terminal() -> None:
    code = ATTENDED.format(watch="pass", script="read x; echo got $x; exit 5")
    done = subprocess.run(
        [sys.executable, "-c", code], input=b"word\n", capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (5, b"got word\n")


def test_what_the_watcher_sees_ends_it(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"echo $$ > {pid_file}; exec sleep 600"
    watch = f"import os; os.path.exists({str(pid_file)!r}) and sys.exit(4)"
    code = ATTENDED.format(watch=watch, script=script)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 4
    assert _wait_gone(int(pid_file.read_text()))


def test_ctrl_c_is_the_programs() -> None:
    """It ends the program, or what that does with it; we go on."""
    script = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.1; done"
    code = ATTENDED.format(watch="pass", script=script)
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    os.killpg(child.pid, signal.SIGINT)
    assert child.stdout.read() == b"caught\n"
    assert child.wait(20) == 7


def test_nobody_to_attend() -> None:
    with pytest.raises(MissingTool):
        proc.attend(["no-such-program"], watch=lambda: None)
