# SPDX-License-Identifier: GPL-2.0-only
"""Triggers: what each asks of a guest, and what it makes of the answers."""

from __future__ import annotations

import errno
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import CannotRun, EvidenceError, GuestCommandError, GuestHang, errno_name
from harness.model import ArmPlan, CommandResult, Event, PluggedMemory, Unplugged
from harness.parse import userpages
from harness.parse.cma import Area
from harness.scenario.memory_hotplug import Device
from harness.scenario.recorder import Recorder
from harness.scenario.tracing import Window
from harness.scenario.trigger import compact, contig, huge, offline, user
from harness.scenario.trigger.attempt import Attempts, Done, errno_of

PLAN = ArmPlan("treated", "treated", "pinpage")
Answer = tuple[int | None, str, str]


class Scripted:
    """A guest that answers by the first pattern that a command matches; files by their path."""

    arch = "x86_64"

    def __init__(self, files: Mapping[str, str] | None = None) -> None:
        self.files = dict(files or {})
        self.answers: list[tuple[str, Callable[[], Answer]]] = []
        self.asked: list[str] = []
        self.seconds = 0.01

    def says(self, pattern: str, *answers: Answer) -> None:
        """What comes for a command; the last answer comes again and again."""
        left = list(answers)
        self.answers.append((pattern, lambda: left.pop(0) if len(left) > 1 else left[0]))

    def run(self, command: str, *, timeout: float = 30, stdin: bytes = b"") -> CommandResult:
        self.asked.append(command)
        status, out, err = next(
            (answer() for pattern, answer in self.answers if re.search(pattern, command)),
            (0, "", ""),
        )
        return CommandResult(command, status, out.encode(), err.encode(), self.seconds)

    def must(self, command: str, *, timeout: float = 30, stdin: bytes = b"") -> str:
        done = self.run(command, timeout=timeout, stdin=stdin)
        if done.status != 0:
            raise GuestCommandError(f"{command}: {done.stderr.decode()}")
        return done.stdout.decode()

    def read(self, path: str, *, timeout: float = 30) -> bytes:
        return self.files[path].encode()

    def write(self, path: str, data: bytes, *, timeout: float = 30) -> None:
        self.asked.append(f"write {path} {data.decode()}")

    def put(self, local: Path, remote: str) -> None:
        self.asked.append(f"put {remote}")

    def module(self, name: str) -> Path:
        return Path(name)

    def console_text(self) -> str:
        return ""

    def plug(self, mib: int, node: int = 0) -> PluggedMemory:
        raise NotImplementedError

    def unplug(self, memory: PluggedMemory, *, seconds: float = 30) -> Unplugged:
        raise NotImplementedError


def recorder(guest: Scripted) -> tuple[Recorder, list[Event]]:
    events: list[Event] = []
    return Recorder(guest, PLAN, events.append), events


# --- the kernel log ----------------------------------------------------------------------------

MADE = """\
<5>pinpage: attempt 1 begins: offline of memory32
page: refcount:3 mapcount:0 mapping:0000000000000000 index:0x0 pfn:0x10
<5>pinpage: attempt 1 ends
<5>pinpage: attempt 2 begins: offline of memory32
page: refcount:3 mapcount:0 mapping:0000000000000000 index:0x0 pfn:0x20
<5>pinpage: attempt 2 ends
"""


@pytest.mark.parametrize("forgot", [0, 1, 2, 3, 4])
def test_a_dump_that_the_kernel_has_forgotten_is_on_the_console(
    forgot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = Scripted()
    guest.says("dmesg", (0, "".join(MADE.splitlines(keepends=True)[forgot:]), ""))
    monkeypatch.setattr(guest, "console_text", lambda: f"boots\n{MADE}")
    record, events = recorder(guest)
    record.log()
    found = [(each.data["attempt"], each.data["pfn"]) for each in events if each.name == "dumped"]
    assert found == [(1, 0x10), (2, 0x20)]


# --- attempts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "said", "number"),
    [
        (0, "", 0),
        (1, "dd: error writing '/x': Device or resource busy\n", errno.EBUSY),
        (1, "sh: write error: Invalid argument\nsh: echo failed\n", errno.EINVAL),
        (1, "something else", errno.EIO),
        (None, "", errno.EIO),
    ],
)
def test_an_errno_is_read_from_a_commands_words(status: int | None, said: str, number: int) -> None:
    result = CommandResult("x", status, b"", said.encode(), 0.1)
    assert errno_of(result)[0] == number


def attempts(guest: Scripted) -> tuple[Attempts, list[Event]]:
    guest.says(r"-w .*tracing_on", (1, "", ""))
    guest.says(r"cat /proc/vmstat", (0, "pgmigrate_success 10\n", ""))
    record, events = recorder(guest)
    made = Attempts(record, Window(record))
    events.clear()
    return made, events


def test_a_shell_that_dies_does_not_make_a_witness_absent() -> None:
    guest = Scripted({"/sys/x": "text"})
    guest.says(r"-r /sys/x", (0, "", ""), (1, "", ""), (139, "", ""))
    record, _ = recorder(guest)
    assert (record.optional("/sys/x"), record.optional("/sys/x")) == ("text", None)
    with pytest.raises(GuestCommandError, match="ended with 139"):
        record.optional("/sys/x")


def test_an_attempt_is_marked_counted_and_told() -> None:
    guest = Scripted()
    guest.says(
        r"cat /proc/vmstat",
        (0, "pgmigrate_success 10\npgmigrate_fail 1\n", ""),
        (0, "pgmigrate_success 17\npgmigrate_fail 3\n", ""),
    )
    made, events = attempts(guest)
    made.make("offline", "memory7", lambda: Done(16, "busy"), expected=False, pins=5)
    (event,) = events
    assert (event.source, event.name) == ("trigger", "attempt")
    assert event.data["number"] == 1 and event.data["ok"] is False
    assert (event.data["migrated"], event.data["failed"], event.data["pins"]) == (7, 2, 5)
    marks = [words for words in guest.asked if "/dev/kmsg" in words]
    assert "pinpage: attempt 1 begins: offline of memory7" in marks[0]
    assert "pinpage: attempt 1 ends" in marks[1]


def test_what_breaks_off_an_attempt_leaves_no_half_event() -> None:
    guest = Scripted()
    made, events = attempts(guest)

    def act() -> Done:
        raise GuestHang("silent")

    with pytest.raises(GuestHang):
        made.make("offline", "memory7", act)
    assert events == []
    with pytest.raises(GuestHang):
        made.make("offline", "memory7", act, provokes=["alloc-failure"])
    (event,) = events
    assert (event.name, event.data) == ("provokes", {"number": 2, "kinds": ["alloc-failure"]})


@pytest.mark.parametrize(
    "text",
    [
        """echo "it doesn't move" """,
        f"x={'a' * 280}; echo 'a long one, which is cut within its quotes'"[:300],
        "sh -c 'test ! -e taken && touch taken'",
        "echo one\necho $HOME `pwd`",
    ],
)
def test_a_mark_is_a_text_for_the_log_and_nothing_else(text: str, tmp_path: Path) -> None:
    guest = Scripted()
    made, _ = attempts(guest)
    made.make("command", text, lambda: Done(0))
    (mark,) = [words for words in guest.asked if "begins" in words]
    log = tmp_path / "kmsg"
    command = mark[: mark.index(" > /dev/kmsg")] + f" > {log}"
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    said = log.read_text()
    assert said == f"<5>pinpage: attempt 1 begins: command of {' '.join(text.split())}\n"
    assert [*tmp_path.iterdir()] == [log]


def test_many_at_once_are_told_apart_but_not_counted() -> None:
    made, events = attempts(Scripted())
    made.side_by_side("contig", "x", lambda: [Done(0, seconds=0.5), Done(12, seconds=0.25)])
    assert [event.data["number"] for event in events] == [1, 2]
    assert [event.data["ok"] for event in events] == [True, False]
    assert {event.data["migrated"] for event in events} == {None}


# --- offline -----------------------------------------------------------------------------------

ZONES = "Node 0, zone   Normal\n  present  {}\nNode 1, zone  Movable\n  present  {}\n"
STATE = "/sys/devices/system/memory/memory32/state"
BLOCK = offline.Block(32, 1048576, 32768)


def test_present_pages_are_counted_by_node() -> None:
    guest = Scripted({"/proc/zoneinfo": ZONES.format(100, 7)})
    assert offline.present(guest) == 107
    assert offline.present(guest, 1) == 7
    guest.files["/proc/zoneinfo"] = "Node 0, zone   Normal\n"
    with pytest.raises(EvidenceError):
        offline.present(guest)


@pytest.mark.parametrize(
    ("status", "seconds", "said", "number"),
    [
        (0, 0.1, "", 0),
        (1, 0.1, "dd: error writing 'x': Device or resource busy", errno.EBUSY),
        (143, 9.0, "", errno.EINTR),
        (None, 9.0, "", errno.EINTR),
    ],
)
def test_an_offline_says_how_it_ended(
    status: int | None, seconds: float, said: str, number: int
) -> None:
    guest = Scripted({"/proc/zoneinfo": ZONES.format(100, 32768), STATE: "online\n"})
    guest.seconds = seconds

    def write() -> Answer:
        if status == 0:
            guest.files |= {STATE: "offline\n", "/proc/zoneinfo": ZONES.format(100, 0)}
        return status, "", said

    guest.answers.append(("^timeout", write))
    record, _ = recorder(guest)
    done = offline.offline(record, BLOCK, seconds=8)
    assert done.errno == number
    assert done.frames == ((1048576, 32768) if not number else None)
    assert set(done.checks.values()) == {number == 0}


def test_a_block_that_says_offline_and_keeps_its_pages_is_noticed() -> None:
    guest = Scripted({"/proc/zoneinfo": ZONES.format(100, 32768), STATE: "offline\n"})
    record, _ = recorder(guest)
    done = offline.offline(record, BLOCK, seconds=8)
    assert done.checks == {"sysfs state": True, "zoneinfo present": False}


def memory() -> PluggedMemory:
    return PluggedMemory("mem1", "pc-dimm", 1048576, 65536, 1)


def test_blocks_are_waited_for() -> None:
    guest = Scripted({"/sys/devices/system/memory/block_size_bytes": "8000000\n"})
    found = offline.blocks_of(guest, memory())
    assert [block.name for block in found] == ["memory32", "memory33"]
    assert found[1] == offline.Block(33, 1081344, 32768)


@pytest.mark.parametrize(
    ("zones", "how", "refused"),
    [
        ("Movable\n", "online_movable", False),
        ("Normal\n", "online_movable", True),
        ("Normal Movable\n", "online_movable", True),
        ("Normal\n", "online_kernel", False),
        (None, "online_movable", False),  # an old kernel does not say
    ],
)
def test_what_is_brought_online_as_movable_is_in_that_zone(
    zones: str | None, how: str, refused: bool
) -> None:
    folder = "/sys/devices/system/memory"
    guest = Scripted(
        {
            f"{folder}/block_size_bytes": "8000000\n",
            STATE: "online\n",
            "/proc/zoneinfo": ZONES.format(100, 32768),
        }
    )
    if zones is None:
        guest.says(r"^\[ -r .*valid_zones", (1, "", ""))
    else:
        guest.files[f"{folder}/memory32/valid_zones"] = zones
    record, events = recorder(guest)
    device = Device(replace(memory(), count=32768), how)
    if refused:
        with pytest.raises(GuestCommandError, match="as online_movable, and is in the zone Normal"):
            device.bring_online(record)
    else:
        device.bring_online(record)
    assert [event.name for event in events] == ["block"]


def test_a_kernel_that_takes_no_notice_is_skipped_and_a_half_one_hangs() -> None:
    guest = Scripted({"/sys/devices/system/memory/block_size_bytes": "8000000\n"})
    guest.says("^i=0", (9, "", ""))
    guest.says("grep -q", (1, "", ""), (0, "", ""))
    with pytest.raises(CannotRun, match="takes no notice"):
        offline.blocks_of(guest, memory())
    with pytest.raises(GuestHang, match="only some"):
        offline.blocks_of(guest, memory())


# --- contiguous memory ---------------------------------------------------------------------------

AREA = Area("reserved", 4096, 1024)
HEAD = "cma_alloc-results 1\n"


def buffers(guest: Scripted, results: Sequence[str]) -> contig.Buffers:
    """results: what the module's file says at each reading."""
    record, _ = recorder(guest)
    left = [HEAD + lines + "dropped 0\n" for lines in results]
    read = guest.read

    def reading(path: str, *, timeout: float = 30) -> bytes:
        if path.endswith("/results"):
            return left.pop(0).encode()
        return read(path)

    guest.files["/proc/vmstat"] = "cma_alloc_success 3\n"
    guest.read = reading  # type: ignore[method-assign]
    return contig.Buffers(record, AREA)


def test_a_buffer_from_elsewhere_was_not_had() -> None:
    guest = Scripted()
    made = buffers(guest, ["0 0 64 6 9999 0 5000\n"])
    done = made.alloc(64, 6)
    assert (done.errno, done.frames) == (errno.ENOMEM, None)
    assert "outside of the area" in done.said


def test_a_buffer_that_another_has_was_not_had_whatever_the_kernel_counts() -> None:
    done = buffers(Scripted(), ["0 0 64 6 4096 -17 5000\n"]).alloc(64, 6)
    assert (done.errno, done.frames, done.checks) == (errno.EEXIST, None, {})
    assert done.said == "the kernel has given pages of it twice, at pfn 4096"


def test_a_storm_tells_each_of_its_tries() -> None:
    guest = Scripted()
    made = buffers(guest, ["0 0 64 6 4096 0 5000\n1 1 64 6 0 -12 7000\n"])
    first, second = made.storm(2, 1, 64, 6)
    assert (first.errno, second.errno) == (0, 12)
    assert first.frames is None  # it was given back
    assert second.seconds == pytest.approx(7e-6)
    # The kernel has not counted the one that was had, and says nothing of the other.
    assert (first.checks, second.checks) == ({"vmstat cma_alloc_success": False}, {})


def test_a_storm_whose_buffers_the_kernel_has_counted() -> None:
    guest = Scripted()
    elsewhere = "2 2 64 6 9999 0 7000\n"  # the area's count has nothing of it
    made = buffers(guest, ["0 0 64 6 4096 0 5000\n1 1 64 6 4096 0 7000\n" + elsewhere])
    counted = iter((3, 5))
    read = guest.read

    def reading(path: str, *, timeout: float = 30) -> bytes:
        if path == "/proc/vmstat":
            guest.files[path] = f"cma_alloc_success {next(counted)}\n"
        return read(path)

    guest.read = reading  # type: ignore[method-assign]
    found = made.storm(2, 1, 64, 6)
    assert [done.checks for done in found] == [{"vmstat cma_alloc_success": True}] * 2 + [{}]


def test_a_kernel_without_areas_is_skipped() -> None:
    guest = Scripted()
    guest.says("^ls", (0, "", ""))
    guest.says("^dmesg", (0, "nothing\n", ""))
    with pytest.raises(CannotRun, match="no contiguous areas"):
        contig.areas(guest)
    guest = Scripted()
    guest.says("^ls", (0, "", ""))
    guest.says("^dmesg", (0, "cma: CMA: reserved 64 MiB at 3c000000\n", ""))
    (area,) = contig.areas(guest)
    assert (area.first, area.count) == (0x3C000, 16384)


# --- user pages, huge pages, compaction --------------------------------------------------------


@pytest.mark.parametrize(("text", "found"), [("0\n", (0,)), ("0-2,5\n", (0, 1, 2, 5))])
def test_nodes_are_read_from_a_list(text: str, found: tuple[int, ...]) -> None:
    guest = Scripted()
    guest.says("has_memory", (0, text, ""))
    assert user.nodes(guest) == found


def test_what_is_no_list_of_nodes_is_refused() -> None:
    guest = Scripted()
    guest.says("has_memory", (0, "zero\n", ""))
    with pytest.raises(EvidenceError):
        user.nodes(guest)


def held(guest: Scripted) -> user.Holder:
    guest.says("grep -q .held", (0, "", ""))
    guest.files |= {"/tmp/log": "held 93 4096000 100\n"}
    return user.Holder(guest, "/tmp/log", userpages.Held(93, 4096000, 100))


def test_a_move_is_judged_by_where_the_pages_are() -> None:
    guest = Scripted()
    own = held(guest)
    guest.says(" move 93", (0, "result 0 0\nnode 0 100\n", ""))
    guest.says(" where 93", (0, "result 0 0\nnode 0 60\nnode 1 40\n", ""))
    guest.says("numa_maps", (0, "3e8000 bind:1 anon=100 N0=60 N1=40\n", ""))
    done = user.move(own, 0)
    assert (done.errno, done.got, done.asked) == (errno.EBUSY, 60, 100)
    assert done.also == {"numa_maps": 60}


def test_contents_that_differ_are_an_error() -> None:
    guest = Scripted()
    own = held(guest)
    guest.files["/tmp/log"] += "bad 2 100\n"
    assert user.contents(own).errno == errno.EIO


def test_a_process_that_ended_is_told_with_its_last_words() -> None:
    guest = Scripted({"/tmp/log": "userpages: mbind(): error 22\n"})
    own = held(guest)
    guest.files["/tmp/log"] = "userpages: mbind(): error 22\n"
    guest.says("^i=0", (3, "", ""))
    with pytest.raises(GuestCommandError, match="has ended: userpages: mbind"):
        own.whole()


def test_other_sizes_of_huge_pages_are_skipped() -> None:
    guest = Scripted({"/proc/meminfo": "Hugepagesize:     524288 kB\n"})
    with pytest.raises(CannotRun, match="524288"):
        huge.probe(guest)


def test_a_pool_is_counted_and_given_back() -> None:
    guest = Scripted({"/proc/vmstat": "htlb_buddy_alloc_success 5\n"})
    totals = iter([("230", "230"), ("0", "0")])
    read = guest.read

    def reading(path: str, *, timeout: float = 30) -> bytes:
        if path == "/proc/meminfo":
            total, free = next(totals)
            guest.files["/proc/vmstat"] = "htlb_buddy_alloc_success 235\n"
            return f"HugePages_Total: {total}\nHugePages_Free: {free}\n".encode()
        return read(path)

    guest.read = reading  # type: ignore[method-assign]
    done = huge.pool(guest, 400)
    assert (done.asked, done.got) == (400, 230)
    assert done.also == {"HugePages_Free": 230, "vmstat htlb_buddy_alloc_success": 230}
    assert guest.asked[-1] == "write /proc/sys/vm/nr_hugepages 0"


def test_khugepaged_does_not_go_on_between_its_two_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    own = f"{huge._THP}/khugepaged"
    guest = Scripted({f"{own}/pages_collapsed": "5"})
    read, write = guest.read, guest.write
    goes_on = False

    def reading(path: str, *, timeout: float = 30) -> bytes:
        said = read(path)
        if goes_on:
            guest.files[path] = f"{int(said) + 1}"
        return said

    def writing(path: str, data: bytes, *, timeout: float = 30) -> None:
        nonlocal goes_on
        write(path, data)
        if path.endswith("/enabled"):
            goes_on = data != b"never"

    class Held:
        def advise_huge(self) -> int:
            return 0

        def smaps(self, field: str) -> int:
            return (int(guest.files[f"{own}/pages_collapsed"]) - 5) * 2048

        def whole(self) -> tuple[int, int]:
            return 0, 1

    @contextmanager
    def holder(*_: object, **__: object) -> Iterator[Held]:
        yield Held()

    guest.read, guest.write = reading, writing  # type: ignore[method-assign]
    monkeypatch.setattr(user, "holder", holder)
    done = huge.by_khugepaged(guest, 100, seconds=9)
    assert done.got and done.also == {"khugepaged pages_collapsed": done.got}


def test_a_kernel_that_cannot_compact_is_skipped() -> None:
    guest = Scripted()
    guest.says("compact_memory", (1, "", ""))
    with pytest.raises(CannotRun, match="compact_memory"):
        compact.probe(guest)


class Compacting(Scripted):
    """A guest each of whose compactions looks at so many pages of 1,000,000."""

    def __init__(self, looks_at: int, *, newer: bool) -> None:
        super().__init__()
        self.scanned, self.looks_at, self.naps = 0, looks_at, 0
        self.says(r"^\[ -e .*unevictable", (0 if newer else 1, "", ""))
        self.says("compact_memory &&", (0, "9 (sh) R 1 9 9 0 -1 4194560 1 0\n", ""))

    def run(self, command: str, *, timeout: float = 30, stdin: bytes = b"") -> CommandResult:
        self.scanned += self.looks_at if "compact_memory &&" in command else 0
        self.naps += "kswapd" in command
        return super().run(command, timeout=timeout, stdin=stdin)

    def read(self, path: str, *, timeout: float = 30) -> bytes:
        if path == "/proc/meminfo":
            return b"MemTotal: 4000000 kB\n"
        return f"compact_migrate_scanned {self.scanned}\n".encode()


@pytest.mark.parametrize(("enough_at", "done"), [(1, True), (3, True), (9, False)])
def test_compaction_is_asked_again_a_few_times(enough_at: int, done: bool) -> None:
    guest = Compacting(900_000, newer=False)
    asked = iter(range(1, 9))
    assert compact.until(guest, lambda: next(asked) >= enough_at) is done
    assert guest.naps == guest.scanned // 900_000 == (enough_at if done else 4)


@pytest.mark.parametrize(
    ("looks_at", "newer", "skipped"),
    [(4_608, False, True), (4_608, True, False), (260_000, False, False)],
)
def test_a_compaction_at_a_standstill_is_no_failure_of_a_series(
    looks_at: int, newer: bool, skipped: bool
) -> None:
    guest = Compacting(looks_at, newer=newer)
    if skipped:
        with pytest.raises(CannotRun, match="looked at 4608 of 1000000 pages"):
            compact.until(guest, lambda: False)
    else:
        assert not compact.until(guest, lambda: False)


def test_an_errno_has_the_name_that_a_kernel_developer_knows() -> None:
    assert errno_name(16) == "EBUSY"
    assert errno_name(524) == "524"  # ENOTSUPP, which the host's C library does not know
