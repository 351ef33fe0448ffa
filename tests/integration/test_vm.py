# SPDX-License-Identifier: GPL-2.0-only
"""A real guest: booted, used, crashed, hung and lost."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from harness import arch, proc, resources
from harness.errors import GuestCommandError, GuestCrash, GuestHang, GuestLost, InfraError
from harness.model import BuildArtifacts, GuestImage, Silent
from harness.vm import accel, begin, keys, machine, patrol, qemu, shell
from harness.vm.console_shell import ConsoleShell

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def booting(fast_build: BuildArtifacts, guest_image: GuestImage) -> type[Booting]:
    Booting.artifacts, Booting.image = fast_build, guest_image
    return Booting


class Booting:
    """Boots the kernel of the fixtures."""

    artifacts: BuildArtifacts
    image: GuestImage

    @classmethod
    def boot(
        cls, folder: Path, *, append: Sequence[str] = (), smp: int = 1, seconds: float = 1.0
    ) -> AbstractContextManager[machine.Machine]:
        """seconds: factor on every deadline."""
        value = arch.get(cls.artifacts.arch)
        return begin.boot(
            value,
            cls.artifacts.image,
            cls.image,
            accel=accel.choose(value, "auto", cache=resources.cache()),
            profile_slowdown=seconds,
            folder=folder,
            modules=cls.artifacts.modules,
            smp=smp,
            append=append,
            progress=Silent(),
        )


@pytest.fixture(scope="module")
def guest(
    booting: type[Booting], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[machine.Machine]:
    with booting.boot(tmp_path_factory.mktemp("guest")) as value:
        yield value


def test_a_command_has_a_status_and_two_outputs(guest: machine.Machine) -> None:
    done = guest.run("echo out; echo err >&2; exit 3")
    assert (done.status, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert guest.run("kill -9 $$").status is None
    assert guest.must("uname -r").strip() == Booting.artifacts.release
    with pytest.raises(GuestCommandError, match=r"`ls /nowhere` exited 1.*No such file"):
        guest.must("ls /nowhere")


def test_much_output_and_binary_input(guest: machine.Machine) -> None:
    done = guest.run("head -c 5000000 /dev/zero | tr '\\0' x")
    assert done.stdout == b"x" * 5_000_000 and done.status == 0
    data = bytes(range(256)) * 4096
    assert guest.run("cat", stdin=data).stdout == data


def test_files_both_ways(guest: machine.Machine, tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.write_bytes(os.urandom(300_000))
    local.chmod(0o755)
    guest.put(local, "/tmp/a file")
    assert guest.read("/tmp/a file") == local.read_bytes()
    assert guest.must("stat -c %a '/tmp/a file'").strip() == "755"
    guest.write("/proc/sys/vm/swappiness", b"7\n")
    assert guest.read("/proc/sys/vm/swappiness") == b"7\n"
    with pytest.raises(GuestCommandError, match="Invalid argument"):
        guest.write("/proc/sys/vm/swappiness", b"many\n")


def test_a_write_is_one_write(guest: machine.Machine) -> None:
    """A reader at the other end of a FIFO sees what one write(2) left there at once."""
    guest.must("rm -f /tmp/fifo; mkfifo /tmp/fifo")
    seen: list[bytes] = []

    def read() -> None:
        seen.append(guest.run("dd if=/tmp/fifo bs=4096 count=1 2>/dev/null").stdout)

    reader = threading.Thread(target=read)
    reader.start()
    guest.write("/tmp/fifo", b"y" * 4000)
    reader.join()
    assert seen == [b"y" * 4000]


def test_modules_are_in_the_guest(guest: machine.Machine) -> None:
    for name, path in Booting.artifacts.modules.items():
        assert guest.read(f"/modules/{path.name}") == path.read_bytes(), name


def test_no_outside_network(guest: machine.Machine) -> None:
    """Not even this host, which the guest's gateway would otherwise stand for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert guest.run(f"nc -w 2 10.0.2.2 {port} </dev/null").status != 0
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_the_monitor_answers(guest: machine.Machine) -> None:
    assert guest.qmp.execute("query-status")["running"] is True
    guest.qmp.execute("stop")
    assert guest.qmp.wait_event("STOP", seconds=5) is not None
    guest.qmp.execute("cont")
    assert guest.must("echo on").strip() == "on"


def test_the_console_is_recorded_once_and_whole(guest: machine.Machine) -> None:
    guest.must("for i in $(seq 500); do echo line-$i-of-500 > /dev/kmsg; done")
    text = guest.console_text()
    assert [text.count(f"line-{n}-of-500") for n in range(1, 501)] == [1] * 500
    assert text.count("Linux version") == 1


def test_commands_over_the_console_of_a_talking_kernel(guest: machine.Machine) -> None:
    guest.must("(while :; do echo a kernel that talks > /dev/kmsg; sleep 0.1; done) >&- 2>&- &")
    try:
        channel = ConsoleShell(guest.console)
        text = "cat; seq 3000; exit 4"
        done = channel.run(text, stdin=b"\0\xff", seconds=300, watch=lambda: None)
    finally:
        guest.run("kill $(pidof sh | tr ' ' '\\n' | grep -v $$)")
    wanted = b"\0\xff" + b"".join(b"%d\n" % n for n in range(1, 3001))
    assert (done.status, done.stdout) == (4, wanted)


def test_a_foreign_host_key_is_refused(guest: machine.Machine, tmp_path: Path) -> None:
    port = qemu.forwarded(guest.qmp.human("info usernet"))
    assert port is not None
    with pytest.raises(InfraError, match="another host key"):
        shell.connect(port, keys.make(), shell.Log(tmp_path / "ssh.log"), seconds=60)


def test_two_processors(booting: type[Booting], tmp_path: Path) -> None:
    with booting.boot(tmp_path, smp=2) as guest:
        assert guest.must("nproc").strip() == "2"
        pid = guest.pid
    assert not Path(f"/proc/{pid}").exists()


def test_a_crash_has_the_panics_title(booting: type[Booting], tmp_path: Path) -> None:
    with (
        pytest.raises(GuestCrash, match="sysrq triggered crash") as caught,
        booting.boot(tmp_path) as guest,
    ):
        guest.run("echo c > /proc/sysrq-trigger")
    assert any(each.fatal for each in caught.value.splats)
    assert "sysrq triggered crash" in (tmp_path / "console.log").read_text()


def test_a_panic_before_it_is_ready_is_a_crash(booting: type[Booting], tmp_path: Path) -> None:
    began = time.monotonic()
    with (
        pytest.raises(GuestCrash, match=r"No working init|Requested init"),
        booting.boot(tmp_path, append=["rdinit=/nowhere", "init=/nowhere"]),
    ):
        pass
    assert time.monotonic() - began < machine.BOOT_SECONDS * accel.TCG_SPEED


def test_a_guest_that_never_gets_ready_hangs(booting: type[Booting], tmp_path: Path) -> None:
    with (
        pytest.raises(GuestHang, match="never got ready") as caught,
        booting.boot(tmp_path, append=["rdinit=/bin/yes"], seconds=0.3),
    ):
        pass
    assert caught.value.console and caught.value.console in caught.value.detail


def test_a_task_that_is_never_run_again_is_named(
    booting: type[Booting], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parent waits in vfork() for a child that never ends, and takes no signal meanwhile."""
    source = tmp_path / "waits.c"
    source.write_text("#include <unistd.h>\nint main(void) { if (!vfork()) sleep(1000); }\n")
    proc.run(["gcc", "-static", "-o", str(tmp_path / "waits"), str(source)])
    monkeypatch.setattr(patrol, "HUNG", 20.0)
    with (
        booting.boot(tmp_path) as guest,
        pytest.raises(GuestHang, match=r"waits \(\d+\) has waited for \d+ s") as caught,
    ):
        guest.put(tmp_path / "waits", "/tmp/waits")
        guest.run("/tmp/waits", timeout=1000)
    assert re.search(r"waits \(\d+\) waits in .*wait_for_common.*, called by", str(caught.value))
    assert "sysrq: Show Blocked State" in (tmp_path / "console.log").read_text()


def test_a_command_that_never_ends_hangs(booting: type[Booting], tmp_path: Path) -> None:
    with (
        booting.boot(tmp_path) as guest,
        pytest.raises(GuestHang, match="`sleep 1000`: it did not end"),
    ):
        guest.run("sleep 1000", timeout=0.5)


def test_a_killed_qemu_is_lost(booting: type[Booting], tmp_path: Path) -> None:
    with booting.boot(tmp_path) as guest:
        killer = threading.Timer(0.5, os.kill, (guest.pid, signal.SIGKILL))
        killer.start()
        with pytest.raises(GuestLost, match="killed by SIGKILL"):
            guest.run("sleep 1000")
        killer.join()


def test_what_paramiko_says_stays_in_its_file(
    booting: type[Booting], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(GuestLost), booting.boot(tmp_path) as guest:
        os.kill(guest.pid, signal.SIGKILL)
        guest.run("true")
    assert capfd.readouterr() == ("", "")
