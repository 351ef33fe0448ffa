# SPDX-License-Identifier: GPL-2.0-only
"""A scenario of one's own: what a YAML may say, what is wrong with one, and what its steps do."""

from __future__ import annotations

import errno
import json
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from fake_guest import FakeGuest
from made_evidence import SPLAT
from test_report import SPEC, record

from harness import pipeline, scenario, spec
from harness.build import kernel
from harness.errors import CannotRun, GuestCommandError, InfraError, InputError
from harness.model import ArmPlan, Attempt, CommandResult, Event, Outcome, Silent
from harness.pages import ledger
from harness.pipeline import runs, stages
from harness.report.junit import junit
from harness.report.reproduce import reproduce, words
from harness.scenario import own
from harness.scenario.own.plan import TRIGGERS, Step, Wish
from harness.scenario.own.read import SCHEMA_FILE, plan
from harness.scenario.own.scenario import OwnScenario, keep

Example = Callable[[str], Path]


def yaml(tmp_path: Path, text: str, name: str = "mine.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


LEAST = "pin: {pages: 200}\ndrive: [compact]\nexpect: {migrated: all}\n"


# What a YAML says


def test_the_readmes_example_has_ten_lines_and_says_what_it_seems_to(example: Example) -> None:
    path = example("half.yaml")
    assert len(path.read_text().splitlines()) == 10
    made = plan(path)
    assert (made.name, made.pin.pages, made.pin.every) == ("half", 3000, 32)
    assert [step.trigger for step in made.steps] == ["command", "compact", "huge-pages"]
    assert (made.steps[1].amount, made.steps[2].wish) == (2, Wish("at least", 100))
    assert (made.moved, made.huge, made.stays, made.control) == (0.5, True, False, True)


def test_everything_that_a_yaml_may_say(tmp_path: Path) -> None:
    made = plan(
        yaml(
            tmp_path,
            "summary: all of it\n"
            "pin: {plugged: 256, online: kernel, every: 64, least: 500}\n"
            "guest: {smp: 2, nodes: 2, append: cma=64M quiet}\n"
            "drive:\n"
            "  - compact\n"
            "  - compact-node: 1\n"
            "  - {offline: plugged, seconds: 3, expect: succeeds, control: EINTR}\n"
            "  - {offline: [memory3, memory4]}\n"
            "  - {contig: 512, times: 4, align: 9}\n"
            "  - {move-user-pages: 16, to: 1, times: 3}\n"
            "  - {huge-pages: 9, control: at least 1}\n"
            "  - command: |\n"
            "      one\n"
            "      two\n"
            "    expect: EBUSY\n"
            "expect: {stayed: all, attempts: fail}\n"
            "control: none\n",
        )
    )
    assert tuple(step.trigger for step in made.steps) == (
        *("compact", "compact-node", "offline", "offline", "contig"),
        *("move-user-pages", "huge-pages", "command"),
    )
    assert set(TRIGGERS) == {step.trigger for step in made.steps}
    assert made.steps[2] == Step(
        *(3, "offline", 1, ("plugged",), 1, None, 0, 3),
        wish=Wish("succeeds"),
        control=Wish("EINTR"),
    )
    assert made.steps[3].words == ("memory3", "memory4") and made.steps[3].wish == Wish("fails")
    assert (made.steps[4].times, made.steps[4].align) == (4, 9)
    assert (made.steps[5].times, made.steps[5].to) == (3, 1)
    assert made.steps[0].wish is None and made.steps[7].words == ("one\ntwo\n",)
    assert (made.steps[6].wish, made.steps[6].control) == (None, Wish("at least", 1))
    assert made.steps[7].wish == Wish("EBUSY")
    assert (made.stays, made.control, made.smp, made.nodes) == (True, False, 2, 2)
    assert made.append == ("cma=64M", "quiet") and made.pin.online == "kernel"


@pytest.mark.parametrize(
    ("text", "said", "allowed"),
    [
        (
            "pin: {pagess: 1}\n",
            "1:7: pin.pagess: there is no such field; did you mean pages?",
            "every",
        ),
        ("pin: {pages: 1}\n", "1:14: pin.pages: 1 is not allowed", "100 to 100000"),
        ("pin: {pages: '3000'}\n", "'3000' is not allowed, as the quotes make a text of it", ""),
        ("pin: {pages: many}\n", "1:14: pin.pages: 'many' is not allowed", "100 to 100000"),
        ("pin: {pages: true}\n", "1:14: pin.pages: true is not allowed", "100 to 100000"),
        ("pin: {every: 9}\n", "1:6: pin: one of pages, area, plugged, frames, 0 are given", ""),
        ("pin: {pages: 200, area: 16}\n", "1:19: pin.area: one of", ""),
        ("pin: {pages: 200, first: 1}\n", "1:19: pin.first: it belongs to frames", ""),
        ("pin: {pages: 200, online: kernel}\n", "pin.online: it belongs to plugged", ""),
        ("pin: {frames: 5120}\n", "1:15: pin.frames: the field first is missing", ""),
        ("pin: {plugged: 200}\n", "1:16: pin.plugged: 200 is not allowed", "blocks of 128"),
        ("pin: {pages: 200, least: 300}\n", "1:26: pin.least: it is more than pages", ""),
        ("drive: []\n", "2:8: drive: it is empty", "a list of steps"),
        ("drive: compact\n", "2:8: drive: 'compact' is not allowed", "a list of steps"),
        ("drive: [7]\n", "2:9: drive[0]: 7 is not allowed", "compact-node"),
        (
            "drive: [compat]\n",
            "2:9: drive[0].compat: there is no such field; did you mean compact?",
            "",
        ),
        ("drive: [{compact: 0}]\n", "2:19: drive[0].compact: 0 is not allowed", "1 to 100"),
        ("drive: [{times: 2}]\n", "2:9: drive[0]: a step does one thing, this one 0", "command"),
        ("drive: [{compact: 1, command: x}]\n", "this one 2", ""),
        ("drive: [{compact: 1, times: 2}]\n", "2:22: drive[0].times: it belongs to contig", ""),
        ("drive: [{offline: memry3}]\n", "drive[0].offline: 'memry3' is not allowed", "memory34"),
        ("drive: [{offline: [x]}]\n", "2:20: drive[0].offline[0]: 'x' is not allowed", "memory34"),
        ("drive: [{offline: plugged}]\n", "drive[0].offline: no memory is plugged", "pin:"),
        ("drive: [{contig: 8}]\n", "2:18: drive[0].contig: there is no contiguous area", "cma="),
        ("drive: [{move-user-pages: 8}]\n", "drive[0]: the field to is missing", ""),
        ("drive: [{move-user-pages: 8, to: 1}]\n", "it needs a second node", "nodes: 2"),
        ("drive: [{compact: 1, expect: fails}]\n", "compact can neither succeed nor fail", ""),
        ("drive: [{command: x, expect: works}]\n", "drive[0].expect: 'works' is not", "succeeds"),
        ("drive: [{command: x, expect: EBSUY}]\n", "2:30: drive[0].expect: EBSUY is no", "EBUSY"),
        ("drive: [{command: x, expect: at least 2}]\n", "'at least 2' is not for command", ""),
        ("drive: [{huge-pages: 2, expect: fails}]\n", "'fails' is not for huge-pages", ""),
        ("drive: [{command: ''}]\n", "2:19: drive[0].command: '' is not allowed", "shell"),
        ("expect: {migrated: half}\n", "3:20: expect.migrated: 'half' is not", "at least N %"),
        ("expect: {migrated: at least 0 %}\n", "'at least 0 %' is not allowed", ""),
        ("expect: {migrated: all, stayed: all}\n", "3:25: expect.stayed: either migrated", ""),
        ("expect: {attempts: succeed}\n", "no step of this drive can succeed or fail", "command"),
        (
            "drive: [huge-pages: 2]\nexpect: {attempts: fail}\n",
            "expect.attempts: no step of this drive can succeed or fail",
            "contig",
        ),
        ("expect: {}\n", "3:9: expect: it is empty", "migrated"),
        ("control: no\n", "4:10: control: false is not allowed", "none"),
        ('guest: {append: "a\\nb"}\n', "guest.append: 'a\\nb' is not allowed", "command line"),
        ("modules: [none]\n", "4:11: modules[0]: there is no ", "a folder none/ with a Kbuild"),
        ("modules: [../a-b]\n", "modules[0]: 'a-b' is no name of a module", "letters"),
        ("modules: [{path: none}]\n", "4:18: modules[0].path: there is no ", "Kbuild"),
        ("modules: [{}]\n", "4:11: modules[0]: the field path is missing", ""),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_is_allowed(
    tmp_path: Path, text: str, said: str, allowed: str
) -> None:
    """Each is put in the place of that field of a YAML which is right, or behind it."""
    field = text.partition(":")[0]
    lines = {line.partition(":")[0]: f"{line}\n" for line in LEAST.splitlines()}
    if text.count("\n") > 1:
        lines.pop("expect")
    path = yaml(tmp_path, "".join({**lines, field: text}.values()))
    with pytest.raises(InputError) as caught:
        plan(path)
    assert caught.value.message.startswith(f"{path}:") and said in caught.value.message
    assert allowed in caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("- a\n", ":1:1: this is not allowed here"),
        ("pin: {pages: 200\ndrive: [compact]\n", ":2:6: this is no YAML"),
        ("pin: &a {pages: 200}\ndrive: [compact]\nexpect: *a\n", ":1:6: expect: an alias"),
        ("pin: {pages: 200}\npin: {pages: 300}\n", ":2:1: pin: it stands there twice"),
        ("pin: !!set {pages: 200}\n", ":1:6: pin: the tag"),
        ("summary: !x y\n", ":1:10: this is no YAML"),
        ("pin: {<<: {pages: 200}}\n", ":1:7: pin: a field's name is a text"),
        ("1: 2\n", ":1:1: a field's name is a text"),
        ("? [a]\n: b\n", ":1:3: a field's name is a text"),
        ("pin: !!python/name:os.system {}\n", ":1:6: pin: the tag"),
        ("summary: 2020-99-99\n", ":1:10: summary: no value"),
        ("[" * 50_000, "is no YAML"),
        ("a: b\n---\nc: d\n", "this is no YAML"),
        ("x" * 100_000, "larger than 64 KiB"),
        ("pin: {pages: 2000}\ndrive: [compact]\n", ":1:1: nothing is expected of it"),
        ("drive: [compact]\n", ":1:1: the field pin is missing"),
    ],
)
def test_a_text_that_is_no_scenario_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        plan(yaml(tmp_path, text))
    assert said in caught.value.message and "mine.yaml" in caught.value.message


def test_bytes_that_are_no_text_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"pin: \xff\n")
    with pytest.raises(InputError, match="no UTF-8"):
        plan(path)
    with pytest.raises(InputError, match="cannot be read"):
        plan(tmp_path / "none.yaml")


def test_further_mistakes_stand_below_the_first(tmp_path: Path) -> None:
    path = yaml(tmp_path, "pin: {pagess: 1}\ndrive: [{compact: 0}]\nexpect: {migrated: half}\n")
    with pytest.raises(InputError) as caught:
        plan(path)
    assert caught.value.message.startswith(f"{path}:1:7")
    assert [line.split(": ")[0] for line in caught.value.detail.splitlines()] == [
        f"{path}:2:19",
        f"{path}:3:20",
    ]


def test_the_schema_is_one_and_names_what_is_allowed_everywhere() -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    left, seen = [schema], 0
    while left:
        each = left.pop()
        assert each.get("description"), each
        left += [*each.get("properties", {}).values(), *filter(None, [each.get("items")])]
        seen += 1
    assert seen > 30
    steps = schema["properties"]["drive"]["items"]["properties"]
    assert set(TRIGGERS) <= set(steps)


# Wishes


def test_what_has_to_come_of_a_step() -> None:
    done = Attempt(1, "command", "x", "command (step 1)", True)
    busy = replace(done, ok=False, errno=errno.EBUSY)
    assert [Wish("succeeds").met(each) for each in (done, busy)] == [True, False]
    assert [Wish("fails").met(each) for each in (done, busy)] == [False, True]
    assert Wish("EBUSY").met(busy) and not Wish("EAGAIN").met(busy) and not Wish("EBUSY").met(done)
    had = replace(done, asked=9, got=5)
    assert Wish("at least", 5).met(had) and not Wish("at least", 6).met(had)
    assert [str(Wish(word)) for word in ("succeeds", "EBUSY")] == [
        "had to succeed",
        "had to fail with EBUSY",
    ]


# A drive, and its verdict


class Guest2(FakeGuest):
    """What the steps ask for beside. statuses: command → its status and words."""

    def __init__(self, *, moves: int = 0, statuses: dict[str, tuple[int, str]] | None = None):
        super().__init__(moves=moves)
        self.statuses = statuses or {}
        self.pool = 0
        self.gives = 120

    def run(self, command: str, *, timeout: float = 30, stdin: bytes = b"") -> CommandResult:
        if command in self.statuses:
            self.done.append(command)
            status, said = self.statuses[command]
            return CommandResult(command, status, b"out\n", said.encode(), 0.01)
        if command.endswith("; cat /proc/vmstat"):
            return CommandResult(command, 0, self._vmstat().encode(), b"", 0.01)
        if command.startswith("insmod") and "pinner" not in command:
            self.done.append(command)
            return CommandResult(command, 0, b"", b"", 0.01)
        return super().run(command, timeout=timeout, stdin=stdin)

    def read(self, path: str, *, timeout: float = 30) -> bytes:
        if path == "/proc/meminfo":
            huge = f"HugePages_Total: {self.pool}\nHugePages_Free: {self.pool}\n"
            return f"MemTotal: 1000000 kB\n{huge}Hugepagesize: 2048 kB\n".encode()
        return super().read(path, timeout=timeout)

    def write(self, path: str, data: bytes, *, timeout: float = 30) -> None:
        if path == "/proc/sys/vm/nr_hugepages":
            self.pool = min(int(data), self.gives)
        super().write(path, data, timeout=timeout)


def load(path: Path) -> OwnScenario:
    return own.load(path)


def drive(made: OwnScenario, arm: ArmPlan, guest: FakeGuest, **params: Any) -> list[Event]:
    events: list[Event] = []
    made.drive(guest, arm, 7, params, events.append)
    return events


def both(made: OwnScenario, control: FakeGuest, treated: FakeGuest) -> Any:
    arms = made.arms(True, {})
    events = drive(made, arms[0], control) + drive(made, arms[1], treated)
    return made.judge(arms, events, ledger(events), ())


def test_the_readmes_example_comes_to_a_pass(example: Example) -> None:
    made = load(example("half.yaml"))
    answer = both(made, Guest2(), Guest2(moves=2500))
    assert answer.outcome is Outcome.PASS, answer.reason
    assert answer.reason.endswith("; 3 expectations of its steps met")
    for arm in answer.arms:
        assert [(each.number, each.group) for each in arm.attempts] == [
            (1, "command (step 1)"),
            (2, "compact (step 2)"),
            (3, "huge pages (step 3)"),
        ]
    assert answer.arms[1].migrated == 2500


@pytest.mark.parametrize("arm", ["control", "treated"])
def test_a_command_that_fails_fails_where_nothing_is_said_of_it(example: Example, arm: str) -> None:
    guests = {"control": Guest2(), "treated": Guest2(moves=2500)}
    said = "sh: can't create /proc/sys/vm/drop_cashes: nonexistent directory"
    guests[arm].statuses["echo 3 > /proc/sys/vm/drop_caches"] = (1, said)
    answer = both(load(example("half.yaml")), *guests.values())
    assert answer.outcome is Outcome.FAIL, answer.reason
    for part in (f"in the {arm} arm step 1 (command)", said, "had to succeed"):
        assert part in answer.reason


def test_its_steps_come_in_their_order(example: Example) -> None:
    guest = Guest2(moves=2500)
    made = load(example("half.yaml"))
    drive(made, made.arms(True, {})[1], guest)
    drops = guest.done.index("echo 3 > /proc/sys/vm/drop_caches")
    compacts = [at for at, step in enumerate(guest.done) if step.endswith("compact_memory 1")]
    pool = guest.done.index("write /proc/sys/vm/nr_hugepages 100")
    layout = next(at for at, step in enumerate(guest.done) if "control layout 3000 32 7" in step)
    assert layout < drops < compacts[0] < compacts[1] < pool and len(compacts) == 2


@pytest.mark.parametrize(
    ("control", "treated", "outcome", "said"),
    [
        (Guest2(), Guest2(moves=1499), Outcome.FAIL, "1499 of 3000 pinned pages migrated"),
        (Guest2(moves=3), Guest2(moves=2500), Outcome.FAIL, "the control arm moved too"),
        (Guest2(moves=0), Guest2(moves=0), Outcome.FAIL, "at least 50% had to"),
    ],
)
def test_what_falls_short_is_told(
    example: Example, control: Guest2, treated: Guest2, outcome: Outcome, said: str
) -> None:
    answer = both(load(example("half.yaml")), control, treated)
    assert answer.outcome is outcome and said in answer.reason
    assert [each.trigger for each in answer.arms[1].attempts] == ["command", "compact", "hugetlb"]


def test_a_step_that_failed_is_told_first_where_pages_did_not_move(tmp_path: Path) -> None:
    text = LEAST.replace("[compact]", "[{command: broken, expect: succeeds}, compact]")
    control, guest = Guest2(), Guest2(moves=3, statuses={"broken": (2, "sh: syntax error")})
    answer = both(load(yaml(tmp_path, text)), control, guest)
    assert answer.outcome is Outcome.FAIL
    first, _, rest = answer.reason.partition("; moreover ")
    assert "step 1 (command)" in first and "syntax error" in first
    assert "pinned pages migrated" in rest


def test_too_few_huge_pages_fail(example: Example) -> None:
    treated = Guest2(moves=2500)
    treated.gives = 99
    answer = both(load(example("half.yaml")), Guest2(), treated)
    said = "in the treated arm step 3 (huge-pages) gave 99 of 100 and had to give at least 100"
    assert (answer.outcome, answer.reason) == (Outcome.FAIL, said)


def test_no_more_huge_pages_fail(example: Example) -> None:
    treated = Guest2(moves=2500)
    compact = treated._compact
    treated._compact = lambda: (compact(), setattr(treated, "huge", 170))  # type: ignore[method-assign, assignment, func-returns-value]
    answer = both(load(example("half.yaml")), Guest2(), treated)
    assert answer.outcome is Outcome.FAIL and "no more huge pages" in answer.reason


def test_a_report_of_the_kernels_comes_first(example: Example) -> None:
    made, treated = load(example("half.yaml")), Guest2(moves=2500)
    treated.gives = 0
    arms = made.arms(True, {})
    events = drive(made, arms[0], Guest2()) + drive(made, arms[1], treated)
    answer = made.judge(arms, events, ledger(events), (SPLAT,))
    assert answer.outcome is Outcome.CRASH and len(answer.arms[1].attempts) == 3


COMMAND = """\
pin: {{pages: 200}}
drive:
  - compact
  - command: try
    expect: {0}
    control: {1}
"""


@pytest.mark.parametrize(
    ("expect", "control", "status", "outcome"),
    [
        ("succeeds", "succeeds", (0, ""), Outcome.PASS),
        ("fails", "fails", (1, "sh: write error: Device or resource busy"), Outcome.PASS),
        ("EBUSY", "EBUSY", (1, "sh: write error: Device or resource busy"), Outcome.PASS),
        ("EAGAIN", "EBUSY", (1, "sh: write error: Device or resource busy"), Outcome.FAIL),
        ("succeeds", "fails", (1, "no"), Outcome.FAIL),
        ("fails", "fails", (0, ""), Outcome.FAIL),
    ],
)
def test_a_commands_status_is_compared(
    tmp_path: Path, expect: str, control: str, status: tuple[int, str], outcome: Outcome
) -> None:
    made = load(yaml(tmp_path, COMMAND.format(expect, control)))
    statuses = {"try": status}
    answer = both(made, Guest2(statuses=statuses), Guest2(moves=150, statuses=statuses))
    assert answer.outcome is outcome, answer.reason
    if outcome is Outcome.FAIL:
        assert "step 2 (command) of try" in answer.reason
    assert all(each.checks == {} for arm in answer.arms for each in arm.attempts)


def test_pages_that_moved_where_all_had_to_stay(tmp_path: Path) -> None:
    made = load(yaml(tmp_path, LEAST.replace("migrated: all", "stayed: all")))
    answer = both(made, Guest2(), Guest2(moves=1))
    assert answer.outcome is Outcome.FAIL and "1 of 200 pages of the treated arm" in answer.reason
    answer = both(made, Guest2(), Guest2())
    assert answer.outcome is Outcome.PASS, answer.reason
    assert "<failure" not in junit(record(answer))  # nor is it one of the arm alone


def test_a_step_that_left_no_trace_is_no_pass(example: Example) -> None:
    made = load(example("half.yaml"))
    arms = made.arms(True, {})
    events = drive(made, arms[0], Guest2()) + drive(made, arms[1], Guest2(moves=2500))
    left = [e for e in events if e.data.get("group") != "command (step 1)" or e.arm == "control"]
    answer = made.judge(arms, left, ledger(left), ())
    assert answer.outcome is Outcome.INFRA and "of attempt 1 nothing is on record" in answer.reason
    bad = [*left, Event("treated", "trigger", "step", {"number": 1})]
    answer = made.judge(arms, bad, ledger(bad), ())
    assert answer.outcome is Outcome.INFRA and "malformed" in answer.reason


def test_without_a_control_arm(tmp_path: Path) -> None:
    made = load(yaml(tmp_path, LEAST + "control: none\n"))
    (arm,) = made.arms(True, {})
    assert arm.role == "treated"
    events = drive(made, arm, Guest2(moves=200))
    answer = made.judge((arm,), events, ledger(events), ())
    assert answer.outcome is Outcome.PASS, answer.reason
    with pytest.raises(CannotRun, match="no control arm"):
        made.arms(False, {})


def test_what_an_arm_is_booted_with(tmp_path: Path) -> None:
    text = "pin: {area: 64}\nguest: {smp: 2, nodes: 2, append: quiet}\ndrive: [{contig: 8}]\n"
    made = load(yaml(tmp_path, text + "expect: {attempts: succeed}\n"))
    control, treated = made.arms(True, {"area": 32})
    assert (control.append, control.smp, control.nodes) == (
        ("page_owner=on", "cma=32M", "quiet"),
        2,
        2,
    )
    assert not control.huge and treated.mode == "pinpage"
    assert set(made.FEATURES) >= {"compaction", "cma"} and "cma_alloc" in made.MODULES
    plugged = load(yaml(tmp_path, "pin: {plugged: 128}\ndrive: [compact]\nexpect: {stayed: all}\n"))
    assert plugged.arms(True, {})[0].room == ((128, 0),)
    known = {name for each in scenario.names() for name in scenario.get(each).MODULES}
    features = {name for each in scenario.names() for name in scenario.get(each).FEATURES}
    for each in (made, plugged):
        assert set(each.MODULES) <= known and set(each.FEATURES) <= features


def test_pins_may_be_as_close_together_as_somebody_wants(tmp_path: Path) -> None:
    """They need not be moved by a compaction of all memory."""
    made = load(yaml(tmp_path, LEAST.replace("200", "500, every: 8, least: 400")))
    made.check({}, 1024)


@pytest.mark.parametrize(
    ("text", "memory", "said"),
    [
        ("pin: {pages: 9000, every: 64}", 1024, "more than 75% of a guest"),
        ("pin: {area: 512}", 1024, "more than a third"),
        ("pin: {plugged: 128, every: 4096}", 1024, "pins, and a verdict needs 100"),
    ],
)
def test_what_does_not_fit_a_guest(tmp_path: Path, text: str, memory: int, said: str) -> None:
    made = load(yaml(tmp_path, f"{text}\ndrive: [compact]\nexpect: {{stayed: all}}\n"))
    with pytest.raises(InputError, match=said):
        made.check({}, memory)


def test_a_node_and_a_block_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = load(
        yaml(tmp_path, "pin: {pages: 2000}\ndrive: [compact-node: 7]\nexpect: {stayed: all}\n")
    )
    with pytest.raises(CannotRun, match="no node 7"):
        drive(node, node.arms(True, {})[0], Guest2())
    text = "pin: {pages: 2000}\ndrive: [{offline: memory99}]\nexpect: {attempts: succeed}\n"
    block = load(yaml(tmp_path, text))
    sysfs = "/sys/devices/system/memory"
    guest = Guest2(
        statuses={
            f"[ -d {sysfs}/memory99 ]": (1, ""),
        }
    )
    blocks = {f"{sysfs}/block_size_bytes": b"8000000\n"}
    read = guest.read
    monkeypatch.setattr(guest, "read", lambda path, **more: blocks.get(path) or read(path, **more))
    with pytest.raises(CannotRun, match="no memory block memory99"):
        drive(block, block.arms(True, {})[0], guest)


# Modules of one's own


def module(example: Example) -> Path:
    for name in ("drain/Kbuild", "drain/drain.c"):
        example(name)
    return example("drain.yaml")


def test_the_readmes_module_is_loaded_before_the_pins(example: Example) -> None:
    made = load(module(example))
    (own_module,) = made.plan.modules
    assert own_module.name == "drain" and (own_module.folder / "Kbuild").is_file()
    guest = Guest2(moves=1500)
    drive(made, made.arms(True, {})[1], guest)
    done = guest.done
    loads = done.index("insmod /modules/drain.ko")
    layout = next(at for at, step in enumerate(done) if "control layout" in step)
    writes = done.index("echo 1 > /sys/module/drain/parameters/now")
    assert loads < layout < writes < done.index("rmmod drain") < done.index("rmmod pinner")
    answer = both(made, Guest2(), Guest2(moves=1500))
    assert answer.outcome is Outcome.PASS, answer.reason


def test_a_module_that_the_kernel_refuses(example: Example) -> None:
    made = load(module(example))
    guest = Guest2(statuses={"insmod /modules/drain.ko": (1, "invalid module format")})
    with pytest.raises(GuestCommandError, match="drain could not be loaded: invalid module"):
        drive(made, made.arms(True, {})[0], guest)


def test_modules_go_into_the_builds_key(example: Example) -> None:
    path = module(example)
    wanted = replace(SPEC, scenario="drain", file=path)
    chosen = pipeline.choose(wanted)
    assert dict(chosen.own) == {"drain": path.parent / "drain"}
    assert stages.modules_of(chosen)["drain"] == path.parent / "drain"
    assert stages.modules_of(pipeline.choose(SPEC)).keys() == stages.modules_of(chosen).keys() - {
        "drain"
    }
    before = kernel.content(path.parent / "drain")
    (path.parent / "drain" / "drain.c").write_text("/* another */\n")
    assert kernel.content(path.parent / "drain") != before


def test_a_module_may_not_have_the_name_of_one_of_ours(tmp_path: Path) -> None:
    (tmp_path / "pinner").mkdir()
    for name in ("Kbuild", "pinner.c"):
        (tmp_path / "pinner" / name).write_text("")
    path = yaml(tmp_path, LEAST + "modules: [pinner]\n")
    with pytest.raises(InputError, match="name of a guest module"):
        pipeline.choose(replace(SPEC, file=path))


# The run's folder


def test_a_folder_keeps_the_yaml_and_its_modules(example: Example, tmp_path: Path) -> None:
    path = module(example)
    (path.parent / "shared.h").write_text("/* beside */\n")
    text = path.read_text().replace("[drain]", "[{path: ../example/drain, options: a=1}]")
    path.write_text(text + "# the end\n")
    made = plan(path)
    kept = keep(made, tmp_path)
    assert kept.read_text() == path.read_text().replace("../example/drain", '"drain"')
    assert (kept.parent / "shared.h").is_file()
    again = plan(kept)
    assert again.modules[0].folder == kept.parent / "drain" and again.modules[0].options == "a=1"
    assert replace(again, file=made.file, text=made.text, modules=()) == replace(made, modules=())


def test_what_cannot_be_kept_is_our_fault(example: Example, tmp_path: Path) -> None:
    (tmp_path / "scenario").write_text("in the way")
    with pytest.raises(InfraError, match="cannot be copied"):
        keep(plan(example("half.yaml")), tmp_path)


def test_reproduce_runs_what_was_kept(example: Example, tmp_path: Path) -> None:
    path = example("half.yaml")
    wanted = replace(SPEC, scenario="half", file=path, params={"pages": 3000}, series=("fixed",))
    keep(plan(path), tmp_path)
    script = tmp_path / "reproduce"
    script.write_text(reproduce(record(spec=wanted), tmp_path / "elsewhere"))
    path.unlink()
    show = tmp_path / "show"
    show.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    show.chmod(0o755)
    done = subprocess.run(
        ["sh", str(script)],
        env={"PINPAGE": str(show), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    said = done.stdout.splitlines()
    assert said[:2] == ["run", str(tmp_path / "scenario/half.yaml")]
    assert plan(Path(said[1])).name == "half"
    assert words(wanted)[:2] == ["run", str(path)]  # for who has the YAML itself
    assert shlex.join(said[2:]) == shlex.join(words(wanted)[2:])


def test_a_run_keeps_it_and_names_it(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = example("half.yaml")
    answer = SimpleNamespace()

    def judged(plan: Any, state: Any, progress: Any) -> Any:
        answer.plan = plan
        return record().verdict, {}

    monkeypatch.setattr(runs, "_judged", judged)
    wanted = replace(SPEC, **scenario.named(str(path)), params={}, keep=tmp_path / "runs")
    _, folder = pipeline.run(wanted, Silent())
    assert answer.plan.name == "half" and "-half-6.12-" in folder.name
    assert (folder / "scenario/half.yaml").read_text() == path.read_text()
    content = json.loads((folder / "run.json").read_text())
    assert (content["scenario"], content["spec"]["file"]) == ("half", str(path))


# Names


def test_a_yaml_is_a_scenario_wherever_one_is_named(example: Example) -> None:
    path = example("half.yaml")
    assert scenario.is_one(str(path)) and scenario.is_one("compaction")
    assert not scenario.is_one("half") and not scenario.is_one("my.patch")
    assert scenario.named("compaction") == {"scenario": "compaction"}
    assert scenario.params(str(path), ["pages=500"]) == {"every": 32, "pages": 500}
    with pytest.raises(InputError, match="no parameter 'lie'"):
        scenario.params(str(path), ["lie=none"])
    assert scenario.of(replace(SPEC, file=path)).name == "half"


def test_a_yaml_may_not_have_the_name_of_a_scenario_of_ours(tmp_path: Path) -> None:
    path = yaml(tmp_path, LEAST, "compaction.yaml")
    with pytest.raises(InputError, match="compaction is the name of a scenario"):
        scenario.get(str(path))
    assert plan(yaml(tmp_path, LEAST, "Ünd so-fort.yml")).name == "nd_so_fort"


def test_the_place_of_everything(tmp_path: Path) -> None:
    found = spec.marked(yaml(tmp_path, "a:\n  - b: cd\n  - [1, 'x y']\n"))
    assert found.data == {"a": [{"b": "cd"}, [1, "x y"]]}
    at = found.values[("a", 1, 1)]
    assert (at.line, at.column, found.text[at.first : at.last]) == (3, 9, "'x y'")
    assert (found.keys[("a", 0, "b")].line, found.keys[("a", 0, "b")].column) == (2, 5)
    assert found.at(("a", 7, "z")) == found.values[("a",)]
    assert spec.field_name(("a", 1, "b", 0)) == "a[1].b[0]"
