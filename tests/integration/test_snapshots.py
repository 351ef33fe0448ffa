# SPDX-License-Identifier: GPL-2.0-only
"""Real guests that are saved and restored; what a run says is the same from either."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness import arch, pipeline
from harness.model import RunSpec, Silent
from harness.vm import begin, machine, snapshot

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600)]

MIB = 256
WORD = "pinpage.test=snapshots"


class Bench:
    """One kernel, whose guests are kept in a folder of their own."""

    booted = 0.0  # seconds that the first one took

    def __init__(self, wanted: RunSpec, folder: Path) -> None:
        self.folder = folder
        chosen, progress = pipeline.choose(wanted), Silent()
        tree = pipeline.apply(chosen, pipeline.fetch(chosen, progress), progress)
        self.ready = pipeline.bootable(chosen, pipeline.build(chosen, tree, progress), progress)
        self.store = snapshot.Store(folder / "snapshots", ("test",))

    def boot(self, run: str) -> AbstractContextManager[machine.Machine]:
        return begin.boot(
            self.ready.chosen.arch,
            self.ready.artifacts.image,
            self.ready.image,
            accel=self.ready.accelerator,
            profile_slowdown=1.0,
            folder=self.folder / run,
            modules=self.ready.artifacts.modules,
            append=("memhp_default_state=offline", WORD),
            room=((MIB, 0),),
            snapshots=self.store,
            progress=Silent(),
        )


@pytest.fixture(scope="module", params=sorted(arch.all_arches()))
def bench(
    request: pytest.FixtureRequest,
    spec_of: Callable[..., RunSpec],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bench]:
    value = arch.get(request.param)
    for program in (value.qemu, f"{value.cross}gcc"):
        if value != arch.host() and shutil.which(program) is None:
            pytest.skip(f"no {program} here")
    found = Bench(spec_of("fixed", arch=value.name), tmp_path_factory.mktemp("snapshots"))
    began = time.monotonic()
    with found.boot("saved") as guest:
        took = time.monotonic() - began
        assert guest.origin == "booted and saved"
        assert guest.must("echo it goes on") == "it goes on\n"
    found.booted = took
    yield found


def test_two_side_by_side(bench: Bench) -> None:
    with ExitStack() as stack:
        began = time.monotonic()
        guests = [stack.enter_context(bench.boot("one"))]
        took = time.monotonic() - began
        said = f"booted and saved {bench.booted:.2f} s, restored {took:.2f} s"
        print(f"\n{said}: {took / bench.booted:.2f} of it")  # noqa: T201 - for people
        guests.append(stack.enter_context(bench.boot("two")))
        assert [guest.origin for guest in guests] == ["restored", "restored"]
        for number, guest in enumerate(guests):
            guest.write("/tmp/own", b"%d" % number)
        assert [guest.read("/tmp/own") for guest in guests] == [b"0", b"1"]
        for guest in guests:
            assert WORD in guest.must("cat /proc/cmdline").split()
            assert guest.must("uname -r").strip() == bench.ready.artifacts.release
            assert abs(int(guest.must("date +%s")) - time.time()) < 60
            assert guest.must("ls /modules").split()


def test_the_log_is_that_of_a_boot(bench: Bench) -> None:
    """Each line of the boot once, in order, and what comes later behind it."""
    with bench.boot("log") as guest:
        guest.must("echo a line of its own > /dev/kmsg")
    saved = (bench.folder / "saved" / "console.log").read_text(errors="replace")
    text = (bench.folder / "log" / "console.log").read_text(errors="replace")
    assert text.count("Linux version") == text.count("pinpage: guest ready") == 1
    assert text.count("a line of its own") == 1
    boot = saved[: saved.index("pinpage: guest ready")]
    assert text.startswith(boot)
    # Early in a boot the kernel's clock may step back, as it takes to another one.
    before, behind = (
        [float(found) for found in re.findall(r"\[ *(\d+\.\d{6})\]", part)]
        for part in (boot, text[len(boot) :])
    )
    assert behind and [before[-1], *behind] == sorted([before[-1], *behind])


def test_no_connection_is_saved(bench: Bench) -> None:
    """The guest knows of one connection, the one that asks."""
    with bench.boot("alone") as guest:
        table = guest.must("cat /proc/net/tcp").splitlines()[1:]
    established = [line for line in table if line.split()[3] == "01"]
    assert len(established) == 1


def test_random_numbers_differ_in_the_end(bench: Bench) -> None:
    """New entropy is taken up when the kernel reseeds: within a minute, mostly in seconds."""
    with bench.boot("one") as one, bench.boot("two") as two:
        read = "head -c 16 /dev/urandom | od -An -tx1"
        end = time.monotonic() + 120
        while one.must(read) == two.must(read):
            assert time.monotonic() < end, "both still draw the same numbers"
            time.sleep(0.5)  # between two looks, under a deadline


def test_memory_is_plugged_into_a_restored_guest(bench: Bench) -> None:
    with bench.boot("plugged") as guest:
        assert guest.origin == "restored"
        before = int(guest.must("awk '/^MemTotal/ {print $2}' /proc/meminfo"))
        memory = guest.plug(MIB, 0)
        size = int(guest.must("cat /sys/devices/system/memory/block_size_bytes"), 16)
        block = f"/sys/devices/system/memory/memory{memory.first * 4096 // size}"
        end = time.monotonic() + 60
        while guest.run(f"[ -e {block}/state ]").status != 0:
            assert time.monotonic() < end, "the kernel does not notice it"
            time.sleep(0.1)  # between two looks, under a deadline
        if guest.must(f"cat {block}/state") != "online\n":
            guest.write(f"{block}/state", b"online")
        assert guest.must(f"cat {block}/state") == "online\n"
        after = int(guest.must("awk '/^MemTotal/ {print $2}' /proc/meminfo"))
        assert after > before + (size >> 11)


COUNTS = ("pinned", "migrated", "stayed", "failed", "lost", "corrupt")


def _run(name: str, keep: Path, *words: str) -> dict[str, Any]:
    argv = [sys.executable, "-m", "harness.cli", "run", "compaction", "--seed", "7", "--json"]
    argv += ["--arch", name, "--keep", str(keep), *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def test_compaction_says_the_same(bench: Bench, tmp_path: Path) -> None:
    name = bench.ready.chosen.arch.name
    booted = _run(name, tmp_path, "--boot-each")
    restored = _run(name, tmp_path)
    if set(restored["guests"].values()) != {"restored"}:  # the first to want such a guest saved it
        restored = _run(name, tmp_path)
    assert set(restored["guests"].values()) == {"restored"}
    assert all(origin.startswith("booted") for origin in booted["guests"].values())
    assert booted["verdict"] == restored["verdict"] == "PASS"
    assert [restored["arms"]["control"][key] for key in COUNTS] == [
        booted["arms"]["control"][key] for key in COUNTS
    ]
    assert restored["arms"]["treated"]["migrated"] > 0
