# SPDX-License-Identifier: GPL-2.0-only
"""A guest that is a dictionary of files and a small pinner; for the order of a scenario's steps.

It answers the commands that scenarios use in the words of real ones. It has no kernel: what it
says proves nothing but that the scenario asks for the right things in the right order.
"""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Callable
from pathlib import Path

from harness.errors import GuestCommandError
from harness.model import CommandResult, PluggedMemory, Unplugged

PINNER = "/sys/kernel/debug/pinner"
TRACING = "/sys/kernel/tracing"
NODE = "/sys/devices/system/node/node0/compact"
STATS = "entries: {}\noverrun: 0\ncommit overrun: 0\ndropped events: 0\n"
COMPACTS = re.compile(r" && echo 1 > (\S+)")
INDEX = "Node 0, zone    DMA32 " + "-1.000 " * 11 + "\n"


class FakeGuest:
    """moves: how many pages migrate with the first compaction after a layout; the rest stay.

    refusals: command → errno text; absent: paths that this kernel has not; done: every
    command, write and read in order.
    """

    arch = "x86_64"

    def __init__(self, *, moves: int = 0) -> None:
        self.moves = moves
        self.absent: set[str] = {
            "/sys/kernel/debug/page_owner",
            "/sys/kernel/debug/kmemleak",
        }
        self.leaks = ""
        self.refusals: dict[str, str] = {}
        self.done: list[str] = []
        self.pages: list[list[int]] = []
        self.end = 0  # of memory
        self.calls: list[str] = []
        self.tracing = False
        self.traced: list[str] = []
        self.migrated = self.scanned = 0
        self.others = 0  # pages that migrated and are not the owner's
        self.huge = 170
        self.mode = ""
        self.verified = 0

    def _has(self, path: str) -> bool:
        return not any(path.startswith(gone) for gone in self.absent)

    def run(self, command: str, *, timeout: float = 30, stdin: bytes = b"") -> CommandResult:
        self.done.append(command)
        status, out, err = self._answer(command)
        return CommandResult(command, status, out, err.encode(), 0.01)

    def _answer(self, command: str) -> tuple[int, bytes, str]:
        if command.endswith(") | gzip -c"):
            inner = command.removeprefix("(").removesuffix(") | gzip -c")
            status, out, err = self._answer(inner)
            return status, gzip.compress(out), err
        words = command.split()
        if match := COMPACTS.search(command):
            self.write(match[1], b"1")
            return 0, b"9 (sh) R 1 9 9 0 -1 4194560 1 0\n", ""
        for key, err in self.refusals.items():
            if command.startswith(key):
                return 1, b"", err
        if words[0] == "[" and words[1] in ("-w", "-r", "-e"):
            return (0 if self._has(words[2]) else 1), b"", ""
        if words[0] == "insmod":
            self.mode = words[2].removeprefix("mode=")
        if words[0] == "ls":
            listed = NODE if "node" in command else f"{TRACING}/per_cpu/cpu0/stats"
            return 0, f"{listed}\n".encode(), ""
        if words[0] == "cat":
            return 0, self.read(words[1]), ""
        if words[0] == "dd" and words[-1].startswith("if=") and "bs=64k" in words:
            return 0, self.read(words[-1].removeprefix("if=")), ""
        if words[0] == "grep" and words[-1] == "/proc/kallsyms":
            return 0, self.read(words[-1]), ""
        if words[0] == "dd":
            held = {page[1] for page in self.pages}
            given = dict(word.split("=", 1) for word in words[1:] if "=" in word)
            first = int(given.get("skip", 0)) * 512
            count = int(given.get("count", max(held, default=0) // 512 + 1)) * 512
            other = 0 if given["if"].endswith("kpagecount") else 1 << 10
            flags = [0 if first + at in held else other for at in range(count)]
            return 0, struct.pack(f"={len(flags)}Q", *flags), ""
        return 0, b"", ""

    def must(self, command: str, *, timeout: float = 30, stdin: bytes = b"") -> str:
        result = self.run(command, timeout=timeout, stdin=stdin)
        if result.status != 0:
            raise GuestCommandError(f"{command}: {result.stderr.decode()}")
        return result.stdout.decode()

    def read(self, path: str, *, timeout: float = 30) -> bytes:
        self.done.append(f"read {path}")
        name = path.rpartition("/")[2]
        files: dict[str, Callable[[], str]] = {
            "ledger": self._ledger,
            "moves": lambda: "\n".join(["pinner-moves 1", *self.calls, "dropped 0", ""]),
            "refs": self._refs,
            "counters": self._counters,
            "vmstat": self._vmstat,
            "buddyinfo": lambda: f"Node 0, zone DMA32 9 8 7 6 5 4 3 2 1 {self.huge} 0\n",
            "extfrag_index": lambda: INDEX,
            "unusable_index": lambda: INDEX,
            "trace": lambda: "\n".join(["# tracer: nop", *self.traced, ""]),
            "tainted": lambda: "4096\n",
            "version": lambda: "Linux version 0 (pinpage@none)\n",
            "kmemleak": lambda: self.leaks,
            "kallsyms": lambda: "ffffffffc0001000 t pinner_store\t[pinner]\n",
            "stats": lambda: STATS.format(len(self.traced)),
        }
        return files[name]().encode()

    def _vmstat(self) -> str:
        return (
            f"pgmigrate_success {self.migrated + self.others}\npgmigrate_fail 0\n"
            f"compact_migrate_scanned {self.scanned}\nnr_isolated_anon 0\nnr_isolated_file 0\n"
        )

    def _ledger(self) -> str:
        rows = [f"{h} {p[0]} {p[1]} {p[2]} 0 stored" for h, p in enumerate(self.pages)]
        return "\n".join(["pinner-ledger 1", *rows, ""])

    def _refs(self) -> str:
        rows = [f"{h} {page[1]} 1" for h, page in enumerate(self.pages)]
        return "\n".join(["pinner-refs 1", *rows, ""])

    def _counters(self) -> str:
        moved = sum(page[2] for page in self.pages)
        return (
            f"mode {self.mode}\npinned {len(self.pages)}\nmigrated {moved}\nrefused 0\n"
            f"verified {self.verified}\ncorrupt 0\nlost 0\nnr_isolated 0\n"
            f"huge_order 9\nhuge_got {self.huge}\n"
        )

    def write(self, path: str, data: bytes, *, timeout: float = 30) -> None:
        said = data.decode().strip()
        self.done.append(f"write {path} {said}".rstrip())
        if said in self.refusals:
            raise GuestCommandError(f"{path}: {self.refusals[said]}")
        if path == f"{PINNER}/control" and said.startswith("layout"):
            count, every = (int(word) for word in said.split()[1:3])
            self.pages = [[1000 + h * every] * 2 + [0] for h in range(count)]
            self.end = 1000 + count * (every + 1)
        elif path == f"{PINNER}/control" and said == "verify":
            self.verified += len(self.pages)
        elif path == f"{TRACING}/tracing_on":
            self.tracing = said == "1"
        elif path.endswith("compact_memory") and self.pages:
            self._compact()

    def _compact(self) -> None:
        """Pages move once, to the end of memory; the kernel frees what they left."""
        moved = [page for page in self.pages if page[2] == 0][: self.moves - self.migrated]
        for page in moved:
            old, page[1], page[2] = page[0], self.end - len(self.calls), 1
            handle = self.pages.index(page)
            self.calls.append(f"{len(self.calls)} {handle} {old} {page[1]} 0")
            self._trace(f"mm_page_free: page=00000000 pfn=0x{old:x} order=0")
        self.migrated += len(moved)
        self.others += 5
        self.scanned += len(self.pages)
        self._trace(
            f"mm_migrate_pages: nr_succeeded={len(moved) + 5} nr_failed=0 mode=MIGRATE_SYNC "
            "reason=compaction"
        )
        self.huge += len(moved) // 10

    def _trace(self, event: str) -> None:
        if self.tracing:
            self.traced.append(f"   sh-9 [000] ..... {len(self.traced)}.000001: {event}")

    def put(self, local: Path, remote: str) -> None:
        self.done.append(f"put {local.name} {remote}")

    def module(self, name: str) -> Path:
        return Path(f"/modules/{name}.ko")

    def console_text(self) -> str:
        return ""

    def plug(self, mib: int, node: int = 0) -> PluggedMemory:
        raise NotImplementedError

    def unplug(self, memory: PluggedMemory, *, seconds: float = 30) -> Unplugged:
        raise NotImplementedError
