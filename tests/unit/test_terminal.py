# SPDX-License-Identifier: GPL-2.0-only
"""Progress: plain lines off a terminal, an estimate only when there is a rate to go by."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from harness import terminal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def _plain() -> tuple[io.StringIO, Console]:
    out = io.StringIO()
    return out, Console(file=out, width=80)


def test_plain_lines_are_few(clock: list[float]) -> None:
    out, console = _plain()
    with terminal.TerminalProgress(console) as progress:
        progress.stage("build")
        for done in range(0, 600, 10):
            clock[0] += 1
            progress.advance(done, 600, "mm/migrate.o")
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("build")
    assert lines[-1].split() == ["build", "1m00s", "done"]
    middle = lines[1:-1]
    assert len(middle) == 60 // terminal.PLAIN_EVERY
    assert "150/600 (25%)" not in middle[0]
    assert "140/600 (23%)" in middle[0] and "mm/migrate.o" in middle[0]
    assert "about 46.0s left" in middle[0]


def test_estimate_needs_a_rate(clock: list[float]) -> None:
    meter = terminal._Meter("build", clock[0])
    assert meter.left(clock[0]) is None
    meter.advance(0, 100, "", 100)
    meter.advance(4, 100, "", 110)
    assert meter.left(110) is None  # a few steps say nothing yet
    meter.advance(10, 100, "", 110)
    assert meter.left(102) is None  # nor do two seconds
    assert meter.left(110) == pytest.approx(90)
    meter.advance(10, None, "", 111)
    assert meter.left(111) is None


def test_a_failed_stage_is_not_called_done() -> None:
    out, console = _plain()
    with pytest.raises(ZeroDivisionError), terminal.TerminalProgress(console) as progress:
        progress.stage("apply")
        raise ZeroDivisionError
    assert "stopped" in out.getvalue() and "done" not in out.getvalue()


def test_text_of_others_is_no_markup(clock: list[float]) -> None:
    out, console = _plain()
    with terminal.TerminalProgress(console) as progress:
        progress.note("[red]mm/[bold]x[/]")
        progress.stage("build")
        clock[0] += 20
        progress.advance(1, 2, "[/nonsense]")
    assert "[red]mm/[bold]x[/]" in out.getvalue()
    assert "[/nonsense]" in out.getvalue()


@pytest.mark.parametrize("live", [False, True])
def test_a_place_is_no_emoji(clock: list[float], live: bool) -> None:
    out = io.StringIO()
    with terminal.TerminalProgress(Console(file=out, width=80, force_terminal=live)) as progress:
        progress.note("mm/x.c:100:5: error")
        progress.stage("[a]:100:b")
        clock[0] += 20
        progress.advance(1, 2, "mm/y.c:100:5")
    text = out.getvalue()
    assert "mm/x.c:100:5: error" in text and "[a]:100:b" in text and "💯" not in text
    assert live or "mm/y.c:100:5" in text


@pytest.mark.parametrize("live", [False, True])
def test_what_others_wrote_does_nothing_on_a_terminal(clock: list[float], live: bool) -> None:
    evil = "mm/a\n::error::all is well\n\x1b]0;owned\x07\u202e\udcff.c"
    out = io.StringIO()
    with terminal.TerminalProgress(Console(file=out, width=200, force_terminal=live)) as progress:
        progress.note(f"{evil} ü → 漢")
        progress.stage("build")
        clock[0] += 20
        progress.advance(1, 2, evil)
        progress._render()
    text = f"{out.getvalue()}{progress._spinner.text}"
    assert not {"\x07", "\u202e", "\udcff"} & set(text) and "\x1b]" not in text
    assert "\n::error" not in text
    written = r"mm/a\n::error::all is well\n\x1b]0;owned\x07\u202e\udcff.c"
    assert f"{written} ü → 漢" in text and text.count(written) == 3 - live


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.51, "7.5s"), (75.2, "1m15s"), (3600, "1h00m"), (59.99, "60.0s")]
)
def test_duration(seconds: float, text: str) -> None:
    assert terminal.duration(seconds) == text


def test_little_is_said_of_what_is_quick(clock: list[float]) -> None:
    out, console = _plain()
    with terminal.TerminalProgress(console, brief=True) as progress:
        progress.stage("source")
        progress.note("from here")
        progress.stage("build")
        clock[0] += 60
        progress.advance(1, 2, "mm/x.o")
        progress.stage("boot")
    (building, built) = out.getvalue().splitlines()
    assert "mm/x.o" in building and built.split() == ["build", "1m00s", "done"]


def test_a_live_line_steps_aside() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True)
    with terminal.TerminalProgress(console) as progress:
        progress.stage("hold")
        with progress.aside():
            before = len(out.getvalue())
            progress.advance(1, 2, "hidden")
            assert len(out.getvalue()) == before
        progress.stage("drive")
    assert "drive" in out.getvalue()[before:]
