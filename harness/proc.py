# SPDX-License-Identifier: GPL-2.0-only
"""Runs programs of the host: argv, log, deadline, process group. The only user of subprocess."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from harness.errors import MissingTool, ToolError

_READ = 1 << 16
_TAIL = 40
LOOK = 0.2  # seconds between two looks at a program that has the terminal
_GRACE = 3  # seconds for it to end when it is asked to


@dataclass(frozen=True)
class Completed:
    """A program that ended. stdout and stderr whole; seconds of wall time, cpu_seconds of it
    and its children (user and system)."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes
    seconds: float
    cpu_seconds: float


def find(program: str, package: str = "") -> str:
    """The program's absolute path; MissingTool names the Debian package that has it."""
    path = shutil.which(program)
    if path is None:
        hint = f"install it: apt install {package or program}"
        raise MissingTool(f"{program} is not installed (or not in PATH)", hint=hint)
    return path


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    timeout: float | None = None,
    log: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    check: bool = True,
) -> Completed:
    """Run argv to its end in a process group of its own.

    env is added to this process's environment, with LC_ALL=C. log: a file that gets stdout and
    stderr, appended as they come. on_line: called for each line of stdout as it comes. timeout
    in seconds: the whole group is killed and ToolError raised. check: ToolError on a status
    other than 0, with the last lines of output. Interrupted (any exception, KeyboardInterrupt
    too), the group is killed before the exception goes on.
    """
    started = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = _start(argv, cwd=cwd, env=env)
    try:
        stdout, stderr = _pump(child, stdin, started, timeout, log, on_line, tuple(argv))
    except BaseException:
        kill_group(child)
        raise
    status = child.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    done = Completed(tuple(argv), status, stdout, stderr, time.monotonic() - started, cpu)
    if check and status != 0:
        raise ToolError(
            f"{argv[0]} failed with status {status}",
            command=argv,
            log=log,
            detail=_tail(stderr or stdout),
        )
    return done


def spawn(
    argv: Sequence[str],
    *,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a long-lived program (QEMU) that dies with this process, output to log.

    env is added to this process's environment.

    setpriv asks the kernel for SIGKILL at the death of the *thread* that calls this
    (prctl(2), PR_SET_PDEATHSIG): call it from a thread that outlives the program. The kernel
    says nothing of a parent that died before it was asked, so a shell looks, after the
    asking, whether this process is still the parent.
    """
    setpriv = find("setpriv", "util-linux")
    still_ours = f'[ "$PPID" -eq {os.getpid()} ] || exit 143; exec "$@"'
    with log.open("ab") as out:
        return subprocess.Popen(
            [setpriv, "--pdeathsig", "KILL", "--", "sh", "-c", still_ours, "sh", *argv],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def attend(argv: Sequence[str], *, watch: Callable[[], None], stdin: int | None = None) -> int:
    """Run a program that talks with the user (gdb) on this process's own terminal; its status.

    It is in our process group, so that Ctrl-C reaches it, and ends nothing here meanwhile. watch
    is called every LOOK seconds, and ends the program by raising, as does a signal that unwinds
    us. stdin: a file descriptor in place of ours.
    """
    before = signal.signal(signal.SIGINT, _theirs)  # a handler, which is not inherited; not SIG_IGN
    try:
        child = subprocess.Popen(list(argv), stdin=stdin)
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return child.wait(LOOK)
                watch()
        except BaseException:
            _end(child, _GRACE if stdin is None else 0)
            raise
    except FileNotFoundError as error:
        raise MissingTool(f"{argv[0]} is not installed (or not in PATH)", command=argv) from error
    finally:
        signal.signal(signal.SIGINT, before)


def _theirs(number: int, frame: FrameType | None) -> None:
    """Ctrl-C is the program's, which runs on our terminal."""


def _end(child: subprocess.Popen[bytes], seconds: float) -> None:
    """End a child, which gets so many seconds to put a terminal back."""
    if seconds:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(seconds)
    child.kill()
    child.wait()


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill a child and all of its process group, and reap it. Quiet when it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _start(
    argv: Sequence[str], *, cwd: Path | None, env: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "LC_ALL": "C", **(env or {})}
    try:
        return subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        if cwd is not None and not cwd.is_dir():
            raise ToolError(f"no such folder: {cwd}", command=argv) from error
        raise MissingTool(
            f"{argv[0]} is not installed (or not in PATH)",
            hint="'pinpage doctor' says which package has it",
            command=argv,
        ) from error


class _Lines:
    """Splits a byte stream into lines for a callback."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self._on_line = on_line
        self._rest = b""

    def feed(self, data: bytes) -> None:
        if self._on_line is None:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._on_line(line.decode(errors="replace"))

    def close(self) -> None:
        if self._on_line is not None and self._rest:
            self._on_line(self._rest.decode(errors="replace"))


def _pump(
    child: subprocess.Popen[bytes],
    stdin: bytes,
    started: float,
    timeout: float | None,
    log: Path | None,
    on_line: Callable[[str], None] | None,
    argv: tuple[str, ...],
) -> tuple[bytes, bytes]:
    assert child.stdin is not None and child.stdout is not None and child.stderr is not None
    lines = _Lines(on_line)
    kept: dict[int, list[bytes]] = {child.stdout.fileno(): [], child.stderr.fileno(): []}
    out, err = kept[child.stdout.fileno()], kept[child.stderr.fileno()]
    rest = memoryview(stdin)
    sink: IO[bytes] | None = log.open("ab") if log is not None else None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            selector.register(child.stderr, selectors.EVENT_READ)
            if stdin:
                os.set_blocking(child.stdin.fileno(), False)
                selector.register(child.stdin, selectors.EVENT_WRITE)
            else:
                child.stdin.close()
            while selector.get_map():
                left = None if timeout is None else started + timeout - time.monotonic()
                if left is not None and left <= 0:
                    raise ToolError(
                        f"{argv[0]} did not end within {timeout:g} s and was killed",
                        command=argv,
                        log=log,
                        detail=_tail(b"".join(err) or b"".join(out)),
                    )
                for key, _ in selector.select(left):
                    if key.fileobj is child.stdin:
                        rest = _feed(child.stdin, rest)
                        if not rest:
                            selector.unregister(child.stdin)
                            child.stdin.close()
                        continue
                    data = os.read(key.fd, _READ)
                    if not data:
                        selector.unregister(key.fileobj)
                        continue
                    kept[key.fd].append(data)
                    if sink is not None:
                        sink.write(data)
                    if kept[key.fd] is out:
                        lines.feed(data)
        lines.close()
    finally:
        if sink is not None:
            sink.close()
        child.stdout.close()
        child.stderr.close()
    return b"".join(out), b"".join(err)


def _feed(pipe: IO[bytes], rest: memoryview) -> memoryview:
    """Write what fits; a reader that went away takes no more (its status tells why)."""
    try:
        return rest[os.write(pipe.fileno(), rest[:_READ]) :]
    except BrokenPipeError:
        return rest[len(rest) :]


def _tail(output: bytes) -> str:
    return "\n".join(output.decode(errors="replace").splitlines()[-_TAIL:])


def cpu_seconds(pid: int) -> float:
    """Seconds of processor time that a process has had so far, all its threads together; 0 where it
    is gone. Source: proc(5), /proc/PID/stat."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    words = text.rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def wanted_seconds(pid: int) -> float | None:
    """Seconds that the threads of a process have had a processor or waited for one so far, all
    together; None where this kernel does not count (no CONFIG_SCHED_INFO), or it is gone.
    Source: Documentation/scheduler/sched-stats.rst, /proc/PID/schedstat."""
    wanted = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            ran, waited = path.read_text(encoding="ascii").split()[:2]
        except (OSError, ValueError):  # a thread that has just ended
            continue
        wanted += int(ran) + int(waited)
    return wanted / 1e9 if wanted else None
