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
import time

BOOT = b"[    0.000000] Linux version 6.12.0-fake\r\n[    0.100000] Booting\r\n"
READY = b"pinpage: guest ready network=none\r\n"
PANIC = (
    b"[    0.200000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\r\n"
    b"[    0.200001] CPU: 0 PID: 1 Comm: init Not tainted 6.12.0-fake #1\r\n"
    b"[    0.200002] ---[ end Kernel panic - not syncing: Attempted to kill init! ]---\r\n"
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
        self.monitor = listen(option(argv, "qmp", "path")).accept()[0]
        console = option(argv, "con", "path")
        self.typed = os.open(f"{console}.in", os.O_RDWR)
        self.log = os.open(f"{console}.out", os.O_RDWR)
        self.shell = -1
        self.rest = ""
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
        """What happens at ``cont``."""
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
        if self.behaviour in ("shell", "stubborn"):
            child, self.shell = pty.fork()
            if child == 0:
                os.environ["PS1"] = "# "
                os.execvp("sh", ["sh", "-i"])
            self.say(READY)

    def command(self, message: dict[str, object]) -> None:
        name = message["execute"]
        if name == "quit" and self.behaviour == "stubborn":
            return
        answer = "TCP[HOST_FORWARD]  3  127.0.0.1 40000  10.0.2.15  22  0  0\r\n"
        value = answer if name == "human-monitor-command" else {}
        self.tell({"return": value, "id": message.get("id")})
        if name == "quit":
            sys.exit(0)
        if name == "cont":
            self.let_go()

    def loop(self) -> None:
        while True:
            ends: list[object] = [self.monitor, self.typed]
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
        if not data:
            sys.exit(0)
        self.say(data)


def main() -> None:
    behaviour, *argv = sys.argv[1:]
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
