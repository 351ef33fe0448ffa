# SPDX-License-Identifier: GPL-2.0-only
"""A program that takes QEMU's argv, opens its sockets and then misbehaves as it is told.

    fake_qemu.py BEHAVIOUR ARGV…

Run as a program by test_vm_machine.py; it imports nothing of the harness.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import sys
import threading
import time
from itertools import cycle
from pathlib import Path

BOOT = b"[    0.000000] Linux version 6.12.0-fake\r\n[    0.100000] Booting\r\n"
READY = b"pinpage: guest ready network=none\r\n"
# What boots as "shell" does, and has its trouble with snapshots.
SHELLS = (
    *("shell", "stubborn", "old", "unsaveable", "killed-saving", "unloadable"),
    *("dies-restored", "ends-restored", "complains"),
)
PANIC = (
    b"[    0.200000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\r\n"
    b"[    0.200001] CPU: 0 PID: 1 Comm: init Not tainted 6.12.0-fake #1\r\n"
    b"[    0.200002] ---[ end Kernel panic - not syncing: Attempted to kill init! ]---\r\n"
)
# What a break and a letter at its console are answered, one after the other.
SYSRQ = (
    b"[    9.000000] sysrq: Show Blocked State\r\n"
    b"[    9.000001] task:stuck state:D stack:0 pid:7 tgid:7 ppid:1 flags:0x00000000\r\n"
    b"[    9.000002]  schedule+0x10/0x20\r\n[    9.000003]  wait_for_ever+0x10/0x20\r\n",
    b"[    9.100000] sysrq: Show backtrace of all active CPUs\r\n",
)


def option(argv: list[str], chardev: str, key: str) -> str:
    words = next(word for word in argv if f",id={chardev}," in word)
    found = re.search(rf"(?:^|,){key}=((?:[^,]|,,)*)", words)
    assert found, words
    return found[1].replace(",,", ",")


def listen(path: str) -> socket.socket:
    end = socket.socket(socket.AF_UNIX)
    end.bind(path)
    end.listen(1)
    return end


class Machine:
    def __init__(self, behaviour: str, argv: list[str]) -> None:
        self.behaviour = behaviour
        self.answers = cycle(SYSRQ)
        self.monitor = listen(option(argv, "qmp", "path")).accept()[0]
        console = option(argv, "con", "path")
        self.typed = os.open(f"{console}.in", os.O_RDWR)
        self.log = os.open(option(argv, "con", "logfile"), os.O_WRONLY | os.O_APPEND)
        self.shell = -1
        self.rest = ""
        self.bin = Path(console).parent / "bin"
        self.loaded = False
        self.jobs: dict[str, dict[str, object]] = {}
        self.state = "prelaunch"
        self.actions = {"reboot": "shutdown", "shutdown": "poweroff"}
        self.tell({"QMP": {"version": {"qemu": {}, "package": ""}, "capabilities": []}})

    def tell(self, message: object) -> None:
        self.monitor.sendall(json.dumps(message).encode() + b"\r\n")

    def say(self, data: bytes) -> None:
        os.write(self.log, data)

    def shut_down(self, reason: str) -> None:
        stamp = {"seconds": 0, "microseconds": 0}
        data = {"guest": True, "reason": reason}
        self.tell({"event": "SHUTDOWN", "data": data, "timestamp": stamp})
        sys.exit(0)

    def let_go(self) -> None:
        """What happens at ``cont``, the first time."""
        if self.loaded:
            self.begin_again()
            return
        self.say(BOOT)
        if self.behaviour == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.behaviour == "panic":
            self.say(PANIC)
            self.shut_down("guest-reset")
        if self.behaviour == "reset":
            self.shut_down("guest-reset")
        if self.behaviour == "exits":
            sys.exit("fake_qemu: something broke")
        if self.behaviour in ("oopses", *SHELLS):
            self.open_shell()
            if self.behaviour == "complains":
                self.say(b"[    0.300000] BUG: Bad page state in process sh  pfn:01f2a\r\n")
            if self.behaviour == "oopses":
                self.say(b"[    0.300000] kernel BUG at mm/slub.c:1!\r\n")
            self.say(READY)

    def begin_again(self) -> None:
        """A guest that was restored."""
        if self.behaviour == "dies-restored":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.behaviour == "ends-restored":
            sys.exit("fake_qemu: a state that makes no sense")
        self.open_shell()

    def open_shell(self) -> None:
        self.bin.mkdir(exist_ok=True)
        date = self.bin / "date"  # nobody sets the clock of this machine
        date.write_text('#!/bin/sh\necho "date $*" > /dev/tty\n')
        date.chmod(0o755)
        child, self.shell = pty.fork()
        if child == 0:
            os.environ["PS1"] = "# "
            os.environ["PATH"] = f"{self.bin}:{os.environ['PATH']}"
            os.execvp("sh", ["sh", "-i"])

    def job(self, name: str, words: dict[str, object]) -> str:
        """Do a job, at once; what goes wrong."""
        if name == "blockdev-create":
            options = words["options"]
            assert isinstance(options, dict)
            if options["driver"] == "file":
                Path(options["filename"]).write_bytes(b"the state of a machine")
        if name == "snapshot-save" and self.behaviour == "unsaveable":
            return "State blocked by non-migratable device 'cpu'"
        if name == "snapshot-save" and self.behaviour == "killed-saving":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "snapshot-load" and self.behaviour == "unloadable":
            return "Missing section footer for cpu"
        self.loaded = self.loaded or name == "snapshot-load"
        return ""

    def stub(self, line: str) -> None:
        """A debugger's socket, on which every word is well received."""
        if not line.startswith("gdbserver unix:"):
            return
        end = listen(line.removeprefix("gdbserver unix:").partition(",server=")[0])

        def answer() -> None:
            while True:
                debugger = end.accept()[0]
                if debugger.recv(4096):
                    debugger.sendall(b"+$OK#9a")

        threading.Thread(target=answer, daemon=True).start()

    def command(self, message: dict[str, object]) -> None:
        name = message["execute"]
        if name == "quit" and self.behaviour == "stubborn":
            return
        words = message.get("arguments", {})
        assert isinstance(name, str) and isinstance(words, dict)
        if name.startswith("snapshot-") and self.behaviour == "old":
            error = {"class": "CommandNotFound", "desc": f"The command {name} has not been found"}
            self.tell({"error": error, "id": message.get("id")})
            return
        if name == "chardev-send-break":
            self.say(next(self.answers))
        value: object = {}
        if name == "human-monitor-command":
            self.stub(str(words["command-line"]))
            value = "TCP[HOST_FORWARD]  3  127.0.0.1 40000  10.0.2.15  22  0  0\r\n"
        if name == "query-status":
            value = {"status": self.state}
        if name == "set-action":
            self.actions |= words
        if name == "system_reset":
            assert self.actions["reboot"] == "reset"
            self.state = "prelaunch"
        if name in ("stop", "cont") and self.state != "shutdown":
            self.state = {"stop": "paused", "cont": "running"}[name]
        if "job-id" in words:
            wrong = self.job(name, words)
            job = {"id": words["job-id"], "status": "concluded"}
            self.jobs[words["job-id"]] = {**job, "error": wrong} if wrong else job
        if name == "query-jobs":
            value = list(self.jobs.values())
        if name == "job-dismiss":
            del self.jobs[words["id"]]
        self.tell({"return": value, "id": message.get("id")})
        if name == "quit":
            sys.exit(0)
        if name == "cont" and self.shell < 0 and self.state != "shutdown":
            self.let_go()

    def loop(self) -> None:
        while True:
            ends: list[socket.socket | int] = [self.monitor, self.typed]
            ends += [self.shell] if self.shell >= 0 else []
            for end in select.select(ends, [], [])[0]:
                if end is self.monitor:
                    self.rest += (self.monitor.recv(65536) or sys.exit(0)).decode()
                    while self.rest.strip():  # the client puts nothing between its commands
                        message, at = json.JSONDecoder().raw_decode(self.rest.lstrip())
                        self.rest = self.rest.lstrip()[at:]
                        self.command(message)
                elif end == self.shell:
                    self.from_shell()
                else:
                    data = os.read(self.typed, 65536)
                    if self.shell >= 0:
                        os.write(self.shell, data)

    def from_shell(self) -> None:
        try:
            data = os.read(self.shell, 65536)
        except OSError:
            data = b""
        if not data and self.actions["shutdown"] == "pause":
            self.state, self.shell = "shutdown", -1
        elif not data:
            sys.exit(0)
        self.say(data)


def main() -> None:
    behaviour, *argv = sys.argv[1:]
    if "--version" in argv:
        os.write(1, b"QEMU emulator version 0 (fake)\n")
        sys.exit(0)
    if "stdio" in argv:  # asked for a tiny guest, or whether it can sandbox
        if behaviour == "tiny" and "-bios" in argv:
            os.write(1, b"pinpage-accel-ok\n")
            sys.exit(85)
        if behaviour == "stuck" and "-bios" in argv:
            time.sleep(600)
        sys.exit("fake_qemu: no")
    if behaviour == "refuses":
        sys.exit("fake_qemu: -m 99999999: cannot set up guest memory")
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Machine(behaviour, argv).loop()


if __name__ == "__main__":
    main()
