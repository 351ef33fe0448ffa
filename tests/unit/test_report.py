# SPDX-License-Identifier: GPL-2.0-only
"""What a run leaves behind: each file against its form, with hostile text in it."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
from lxml import etree
from made_evidence import PAGES, SPLAT, Case
from rich.console import Console
from test_verdict import corrupt, keep, overrun

from harness import report
from harness.errors import GuestHang, InfraError, PinpageError
from harness.model import (
    Accelerator,
    Attempt,
    Culprit,
    Finding,
    Frame,
    Outcome,
    Place,
    RunRecord,
    RunSpec,
    Splat,
    Verdict,
    Witness,
)
from harness.pages import ledger
from harness.report import frames
from harness.report.junit import FAILURES, junit
from harness.report.record import SCHEMA_FILE, as_json
from harness.report.reproduce import words
from harness.report.text import in_line, visible
from harness.verdict import from_error

XSD = Path(__file__).parents[1] / "golden" / "junit.xsd"
HOSTILE = "\x1b[31mred\x00 \r [bold]x[/bold] [/] ]]> & <b> \u202eevil \ud800 \ufffe \x9b"

SPEC = RunSpec(
    scenario="compaction",
    kernel="6.12",
    arch="x86_64",
    series=("fixed",),
    profile="fast",
    seed=7,
    params={"pages": 2000, "lie": "none"},
)


def record(verdict: Verdict | None = None, case: Case | None = None, **extra: Any) -> RunRecord:
    case = case or Case()
    answer = verdict or case.verdict()
    events = case.events()
    values: dict[str, Any] = {
        "id": "20260101T000000Z-compaction-6.12-x86_64-fixed-abcd",
        "spec": SPEC,
        "verdict": answer,
        "started": "2026-01-01T00:00:00+00:00",
        "seconds": 61.25,
        "stages": {"build": 40.0, "drive treated": 3.25},
        "digests": {"tree": "sha256:12", "series": "sha256:34"},
        "toolchain": {"name": "gcc", "version": "gcc 12.2.0"},
        "accelerator": Accelerator("tcg", "no /dev/kvm", 4.0),
        "argv": ("qemu-system-x86_64", "-m", "1024"),
        "host": {"machine": "x86_64"},
        "exit_code": answer.exit_code,
        "ledger": ledger(events),
        "events": tuple(events),
        "console": {"control": "Linux version 6.12\nbye\n", "treated": "Linux version 6.12\n"},
    }
    return RunRecord(**{**values, **extra})


def shown(run: RunRecord, *, width: int = 80, color: bool = False) -> str:
    out = io.StringIO()
    system: Literal["truecolor"] | None = "truecolor" if color else None
    console = Console(file=out, width=width, force_terminal=color, color_system=system)
    console.print(report.terminal(run, width))
    return out.getvalue()


# run.json


def test_run_json_has_what_is_promised() -> None:
    content = as_json(record())
    assert (content["verdict"], content["exit_code"], content["series"]) == ("PASS", 0, "fixed")
    assert content["accelerator"] == "tcg" and content["argv"][0] == "qemu-system-x86_64"
    assert list(content["arms"]) == ["control", "treated"]
    for name in ("pinned", "migrated", "stayed", "failed", "lost", "corrupt"):
        assert type(content["arms"]["treated"][name]) is int
    counts = content["arms"]["treated"]
    parts = ("migrated", "stayed", "failed", "lost", "corrupt")
    assert sum(counts[name] for name in parts) == counts["pinned"]


def test_the_schema_is_one_and_lets_no_empty_pass_through() -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    empty = Verdict(Outcome.PASS, "well", "nothing")
    with pytest.raises(InfraError, match="schema"):
        as_json(record(empty))
    with pytest.raises(InfraError, match="schema"):
        as_json(record(exit_code=1))
    content = as_json(record())
    del content["arms"]["control"]["pinned"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)


@pytest.mark.parametrize("outcome", [each for each in Outcome if each is not Outcome.PASS])
def test_every_verdict_can_be_written(outcome: Outcome, tmp_path: Path) -> None:
    answer = Verdict(outcome, "because", "do this", splats=(SPLAT,))
    run = record(answer, accelerator=None, console={}, events=(), ledger=())
    report.write(run, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["verdict"] == outcome.value
    assert outcome.value in shown(run)


def test_what_the_terminal_showed_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    run = record(Verdict(Outcome.CRASH, "it said \x1b[31mso", "look", splats=(SPLAT,)))
    report.write(run, tmp_path)
    text = (tmp_path / "report.txt").read_text()
    monkeypatch.delenv("FORCE_COLOR")
    assert text.split() == shown(run, width=100).split()
    assert "CRASH" in text and "\x1b" not in text and " \n" not in text


# junit.xml


def parsed(run: RunRecord) -> Any:
    root = etree.fromstring(junit(run).encode())
    etree.XMLSchema(etree.parse(str(XSD))).assertValid(root)
    return root


def test_a_pass_has_a_case_for_each_arm_and_one_for_the_run() -> None:
    root = parsed(record())
    assert [case.get("name") for case in root.iter("testcase")] == ["control", "treated", "verdict"]
    assert not [*root.iter("failure"), *root.iter("error"), *root.iter("skipped")]
    assert "migrated: 360" in root.findtext(".//testcase[@name='treated']/system-out")


@pytest.mark.parametrize("outcome", list(Outcome))
def test_each_verdict_has_one_element(outcome: Outcome) -> None:
    run = record(Verdict(outcome, "because", "do this", splats=(SPLAT,)))
    case = parsed(run).find(".//testcase[@name='verdict']")
    tags = [child.tag for child in case if child.tag != "system-out"]
    if outcome is Outcome.PASS:
        assert tags == []
    elif outcome is Outcome.SKIP:
        assert tags == ["skipped"]
    else:
        assert tags == ["failure" if outcome in FAILURES else "error"]
        assert case[0].get("message") == "because" and SPLAT.report in case[0].text


@pytest.mark.parametrize(
    ("spoil", "words"), [(corrupt, "1 corrupt"), (keep, "witnesses disagree: pinner moves")]
)
def test_the_arm_that_is_at_fault_fails(spoil: Any, words: str) -> None:
    case = Case()
    spoil(case)
    root = parsed(record(case=case))
    assert words in root.find(".//testcase[@name='treated']/failure").get("message")
    assert root.find(".//testcase[@name='control']/failure") is None


def test_an_arm_without_an_end_is_an_error() -> None:
    case = Case()
    run = record(from_error(GuestHang("silent"), case.arms, case.events(), ()))
    assert parsed(run).find(".//testcase[@name='control']/error") is not None


def test_control_characters_are_written_not_dropped() -> None:
    run = record(
        Verdict(Outcome.HANG, HOSTILE, HOSTILE),
        console={"treated": HOSTILE},
        spec=replace(SPEC, series=(HOSTILE,)),
    )
    message = parsed(run).find(".//testcase[@name='verdict']/failure").get("message")
    for written in ("\\x1b[31mred\\x00", "\\x0d", "]]> & <b>", "\\u202e", "\\ud800", "\\x9b"):
        assert written in message


# The other files


def test_a_folder_is_whole(tmp_path: Path) -> None:
    report.write(record(), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "run.json",
        "junit.xml",
        "events.jsonl",
        "ledger.csv",
        "console.log",
        "report.txt",
        "reproduce",
        "control",
        "treated",
    }
    rows = list(csv.DictReader((tmp_path / "ledger.csv").open()))
    assert len(rows) == 2 * PAGES and rows[-1]["state"] == "stayed"
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["source"] for line in lines[:2]] == ["harness", "pinner"]
    console = (tmp_path / "console.log").read_text()
    assert "=== console of the treated arm ===\nLinux version" in console
    assert (tmp_path / "control" / "console.log").read_text().endswith("bye\n")


def test_what_qemu_recorded_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "console.log").write_bytes(b"\xff raw")
    report.write(record(), tmp_path)
    assert (tmp_path / "control" / "console.log").read_bytes() == b"\xff raw"


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report.write(record(), tmp_path)
    before = (tmp_path / "run.json").read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InfraError, match="No space left"):
        report.write(record(seconds=99.0), tmp_path)
    assert (tmp_path / "run.json").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def echoed(folder: Path, tmp_path: Path) -> list[str]:
    """The words that ``reproduce`` hands to pinpage, and the folder it does it in."""
    fake = tmp_path / "fake pinpage"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$@"\n')
    fake.chmod(0o755)
    env = {**os.environ, "PINPAGE": str(fake)}
    done = subprocess.run([folder / "reproduce"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_reproduce_hands_over_the_same_words(tmp_path: Path) -> None:
    spec = replace(
        SPEC,
        series=("it's; rm -rf $HOME/*.patch", "b.patch"),
        tree="../linux@v6.12",
        append=("foo=`id`",),
        memory_mib=2048,
    )
    run = record(spec=spec, verdict=Verdict(Outcome.FAIL, "a\nid #\r\nid", "x"))
    report.write(run, tmp_path)
    where, *given = echoed(tmp_path, tmp_path)
    assert given == words(spec) and where == str(Path.cwd())
    assert "--seed=7" in given and "--set=pages=2000" in given


def test_the_words_of_reproduce_are_words_of_the_command() -> None:
    from harness.cli import cli

    options = {option for param in cli.commands["run"].params for option in param.opts}
    for word in words(replace(SPEC, tree="x", append=("y",))):
        assert not word.startswith("--") or word.partition("=")[0] in options


@pytest.mark.parametrize(("series", "moves"), [(("fixed",), False), (("a/b",), True)])
def test_reproduce_goes_back_only_for_relative_words(
    series: tuple[str, ...], moves: bool, tmp_path: Path
) -> None:
    report.write(record(spec=replace(SPEC, series=series)), tmp_path)
    text = (tmp_path / "reproduce").read_text()
    assert (f"cd -- {shlex.quote(str(Path.cwd()))}" in text) is moves


def test_a_test_of_ones_own_patches_has_one_name() -> None:
    """A CI's history goes by it, and the commits of a change are others with each push."""
    spec = replace(SPEC, series=("/home/me/linux:3e26f40..52de065", "a b.patch", "fixed"))
    root = etree.fromstring(junit(record(spec=spec)).encode())
    names = {case.get("classname") for case in root.iter("testcase")}
    assert names == {"pinpage.compaction.6.12.x86_64.own fixed.fast"}


def test_reproduce_needs_no_path_to_its_pinpage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "bin" / "pinpage"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "this one: $1"\n')
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake.with_name("python")))
    report.write(record(), tmp_path)
    monkeypatch.delenv("PINPAGE", raising=False)
    done = subprocess.run([tmp_path / "reproduce"], capture_output=True, text=True)
    assert done.stdout == "this one: run\n"


def test_an_error_is_told_with_its_detail_and_log(tmp_path: Path) -> None:
    error = {"detail": "@@ -1 +1 @@\n\x1b[31m-a", "log": "build.log"}
    verdict = Verdict(Outcome.PATCH, "0001-a.patch does not apply", "mend it")
    failed = record(verdict=verdict, error=error)
    text = shown(failed)
    assert "@@ -1 +1 @@" in text and "log: build.log" in text and "\x1b" not in text
    report.write(failed, tmp_path)
    assert "@@ -1 +1 @@" in (tmp_path / "junit.xml").read_text()


# The terminal


def lines_of(text: str) -> Sequence[str]:
    return text.splitlines()


def test_the_table_has_both_arms_and_fits_80_columns() -> None:
    text = shown(record())
    assert all(len(line) <= 80 for line in lines_of(text))
    assert "\x1b" not in text
    (row,) = [line for line in lines_of(text) if line.startswith("migrated")]
    assert row.split() == ["migrated", "0", "360"]
    (huge,) = [line for line in lines_of(text) if line.startswith("huge pages")]
    assert "170 → 171" in huge and "170 → 440" in huge
    assert "owner refused: EAGAIN" in text
    assert any(line.startswith("PASS") for line in lines_of(text))
    assert "disagree" not in text and "\x1b[" in shown(record(), color=True)


def test_disagreement_and_blindness_are_shown_with_all_who_speak_of_the_claim() -> None:
    case = Case()
    keep(case)
    text = shown(record(case=case))
    assert "treated: held" in text and "disagrees: pages where their moves lead" in text
    case = Case()
    overrun(case)
    text = shown(record(case=case))
    words = "treated: migrated without trace mm_page_free (123 events were lost)"
    assert "PASS" in text and words in " ".join(text.split())
    assert "disagree" not in text and "incomplete" not in text


def test_a_hang_shows_the_last_lines_of_the_console() -> None:
    error: PinpageError = GuestHang("the guest went silent")
    console = {"control": "x\n", "treated": "\n".join(f"line {n}" for n in range(50))}
    text = shown(record(from_error(error, (), (), ()), console=console))
    assert "last lines of the treated arm" in text and "line 49" in text and "line 3\n" not in text


def test_arms_that_were_not_driven_have_no_zeros() -> None:
    case = Case()
    driven = [event for event in case.events() if event.arm == "control"]
    arms = case.arms
    text = shown(record(from_error(GuestHang("the guest went silent"), arms, driven, ())))
    assert "the treated arm was not driven" in text and "treated (pinpage)" not in text
    assert "control (plain)" in text
    text = shown(record(from_error(GuestHang("the guest never got ready"), arms, (), ())))
    assert "pinned pages" not in text
    assert "the control arm was not driven; the treated arm was not driven" in text


def test_an_arm_that_broke_off_has_lost_nothing_that_is_known() -> None:
    whole = record()
    control, treated = whole.verdict.arms
    broken = replace(treated, migrated=0, stayed=0, failed=0, seconds=0.0)
    verdict = replace(whole.verdict, arms=(control, broken))
    rows = [line.split() for line in shown(replace(whole, verdict=verdict)).splitlines()]
    assert ["lost", "0", "-"] in rows and ["migrated", "0", "-"] in rows
    assert ["pinned", "pages", "400", "400"] in rows
    assert any(row[:4] == ["time", "of", "the", "drive"] and row[-1] == "-" for row in rows)


def test_a_crash_shows_its_reports() -> None:
    case = Case()
    case.splats.append(SPLAT)
    assert f"BUG  {SPLAT.title}" in shown(record(case=case))


def test_hostile_text_does_nothing_on_a_terminal() -> None:
    splat = replace(SPLAT, title=HOSTILE, kind=HOSTILE)
    answer = Verdict(Outcome.CRASH, HOSTILE, HOSTILE, splats=(splat,))
    text = shown(record(answer, console={HOSTILE: HOSTILE}, spec=replace(SPEC, series=(HOSTILE,))))
    assert "\x1b" not in text and "\x9b" not in text and "\u202e" not in text
    assert "[bold]x[/bold]" in text and "\\x1b[31mred" in text


def test_words_of_others_are_shown_as_they_are() -> None:
    group, defect = "mm/x.c:100: [v2] [/x]", ":100:[v3][/x]"
    case = Case()
    verdict = case.verdict()
    arm = replace(verdict.arms[0], attempts=(Attempt(1, "contig", "a", group, True),))
    found = Finding(defect, "[v4]", True, "[/x]")
    text = shown(record(replace(verdict, arms=(arm,), findings=(found,))), width=100)
    assert group in text and defect in text and "[v4]" in text
    out = io.StringIO()
    row = {"defect": defect, "shown": True, "patch": "[v5].patch", "evidence": "[/x]"}
    Console(file=out, width=100).print(report.fixes([row]))
    assert defect in out.getvalue() and "[v5].patch" in out.getvalue()


def test_visible_leaves_ordinary_text_alone() -> None:
    ordinary = "tab\tnewline\n ü → 漢 \U0001f600"
    assert visible(ordinary) == ordinary
    assert visible("a\r\nb\rc\U0001ffff") == "a\nb\\x0dc\\U0001ffff"


@pytest.mark.parametrize(
    ("unseen", "written"),
    [
        ("\xad", r"\xad"),
        ("\u061c", r"\u061c"),
        ("\u200b", r"\u200b"),
        ("\u200d", r"\u200d"),
        ("\u2060", r"\u2060"),
        ("\u3164", r"\u3164"),
        ("\ufe0f", r"\ufe0f"),
        ("\U000e0041", r"\U000e0041"),
        ("\U000e01ef", r"\U000e01ef"),
    ],
)
def test_what_has_no_width_is_seen(unseen: str, written: str) -> None:
    assert visible(f"a{unseen}b") == f"a{written}b"


def test_a_name_stays_in_its_line() -> None:
    assert (
        in_line("mm/a\n::error::b\r\n\tc\x1b]0;d\x07") == r"mm/a\n::error::b\n" "\tc\\x1b]0;d\\x07"
    )


# Symbols

_INLINE = (
    Place("include/linux/page-flags.h", 511, "PagePin", "0001-flag.patch", "0001-flag.patch"),
    Place("mm/compaction.c", 1089, "isolate", "0003-migrate.patch", "0003-migrate.patch"),
)
EXPLAINED = replace(
    SPLAT,
    frames=(
        Frame(3, "isolate", 0x12, 0x34, exact=True, places=_INLINE),
        Frame(5, "isolate", 0x12, 0x34, exact=True, places=_INLINE),
        Frame(6, "doubtful", 0x1, 0x34, sure=False, places=(Place("mm/x.c", 2, "doubtful"),)),
        Frame(7, "store", 0x1, 0x34, "pinner"),
    ),
    culprit=Culprit("0003-migrate.patch", "mm: migrate", "mm/compaction.c", 1089, "isolate", True),
)
LINES = [
    "PagePin (inlined)  include/linux/page-flags.h:511  by 0001-flag",
    "isolate            mm/compaction.c:1089  by 0003-migrate",
    "? doubtful         mm/x.c:2",
    "store [pinner]     -",
]
BLAME = "blame: 0003 mm: migrate, mm/compaction.c:1089"


def explained(*splats: Splat) -> RunRecord:
    verdict = Verdict(Outcome.CRASH, "it crashed", "read it", splats=splats or (EXPLAINED,))
    return record(verdict)


def test_a_reports_lines_and_whom_they_accuse() -> None:
    assert frames.lines(EXPLAINED) == LINES
    assert frames.blame(EXPLAINED) == BLAME
    assert (frames.lines(SPLAT), frames.blame(SPLAT)) == ([], "")
    unknown = replace(EXPLAINED, frames=EXPLAINED.frames[-1:])
    assert frames.lines(unknown) == []


def test_the_terminal_shows_them_once() -> None:
    provoked = replace(EXPLAINED, provoked=True)
    again = replace(EXPLAINED, first_line=50, again=2)
    text = shown(explained(provoked, EXPLAINED, again), width=120)
    for line in LINES:
        assert text.count(line) == (0 if line.startswith("?") else 1)
    assert text.count(BLAME) == 1
    assert f"{EXPLAINED.title}, 4 times  {where(EXPLAINED)}" in text
    assert f"{EXPLAINED.title}, which counts for nothing  {where(EXPLAINED)}" in text


def where(splat: Splat) -> str:
    assert splat.arm == ""
    return f"console.log:{splat.first_line}"


def test_junit_has_them_below_the_report() -> None:
    root = etree.fromstring(junit(explained()).encode())
    (failure,) = root.iter("failure")
    assert failure.text is not None
    assert "\n".join([EXPLAINED.report, BLAME, *LINES]) in failure.text


def test_run_json_has_them_whole() -> None:
    (found,) = as_json(explained())["splats"]
    assert found["blame"]["said"] == BLAME.removeprefix("blame: ")
    assert [frame["line"] for frame in found["frames"]] == [3, 5, 6, 7]
    assert [place["file"] for place in found["frames"][0]["places"]] == [
        "include/linux/page-flags.h",
        "mm/compaction.c",
    ]
    (plain,) = as_json(explained(SPLAT))["splats"]
    assert (plain["blame"], plain["frames"]) == (None, [])


def test_a_pass_says_to_what_leaks_were_seen() -> None:
    detail = "19 are missing, ±96"
    seen = Witness("leaked pages", "treated", "free pages", 19, True, detail)
    answer = replace(Case().verdict(), witnesses=(seen,))
    assert answer.outcome is Outcome.PASS
    lines = [" ".join(line.split()) for line in shown(record(answer)).splitlines()]
    assert lines[lines.index("treated: leaked pages") + 1] == f"free pages 19 {detail}"
