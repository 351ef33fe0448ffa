# SPDX-License-Identifier: GPL-2.0-only
"""Find the kernel's reports (panic, oops, BUG, WARN, lockdep, KASAN, …) in a console text.

    for splat in find(open_log):
        print(summary(splat))

Pure and streaming: every line is looked at once, and nothing is kept but the reports that are
still open, each bounded. What stands in front of a message (timestamps, caller ids, log levels,
a journal's prefix, colours, CR) does not matter; with caller ids the interleaved reports of two
CPUs are told apart, and a report then holds its own lines only. No message is in two reports.

A line may hold several messages where line ends were lost; a report then holds its own of them.
Of those that are not the last of their line only what is certain is believed. A headline that
stands behind other text, with no timestamp to say that it is a message of its own, is believed
when the body of a report follows.

**One crash is one splat**: the text of a WARN or BUG and its header line, the oops that follows a
"kernel BUG at", the register dump after the end marker, and the panic that is the consequence.
Two reports of the kernel are two splats, also where one caused the other.

**title** is the kernel's own headline without what differs from boot to boot (timestamps,
addresses, offsets, pids, CPU numbers, durations) and without a module's name: ``BUG: KASAN:
slab-use-after-free in foo``, ``kernel BUG at mm/compaction.c:123!``, ``WARNING: at mm/slab.c:12
foo``. A WARN or BUG that says what is wrong in the kernel's standard words (``list_add
corruption…``, ``refcount_t: underflow; use-after-free``, ``ODEBUG: …``) has these words as its
title and a kind of its own. **function** is the guilty one, as far as the report tells
(splat_trace.py). **kind** is one of ``KINDS``. **fatal** says that the machine
panicked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

from harness.model import JSON, Splat
from harness.parse.splat_formats import Headline, Role
from harness.parse.splat_headline import CONSEQUENCE, CUT_HERE, KINDS, buried, headline
from harness.parse.splat_report import CLOSING, Frame, Report
from harness.parse.splat_text import clean, message, messages, scrub

__all__ = ["KINDS", "clean", "find", "find_numbered", "one_to_json", "summary", "to_json", "where"]

# A report of one caller that has been silent for so many lines of others is over, and so is one
# that began so long ago: what is found meanwhile waits for it.
_SILENCE = 600
_AGE = 20_000
# With nothing open, only a line that begins like this can matter: a box, a page dump, a register,
# who was running.
_OPENERS = frozenset("=RpP[fhramNku8C")
_SAID = 12  # lines of a WARN that may come before its headline
_CALLERS, _LAST = 64, 200  # of so many the last message is known, and so many characters of it
# Another boot: nothing before it goes on behind it.
_BOOT = ("Linux version ", "Booting Linux on physical CPU")
_STALLS = frozenset({"rcu-stall", "soft-lockup", "hard-lockup", "workqueue-lockup", "hung-task"})


def find(lines: Iterable[str]) -> Iterator[Splat]:
    """The reports in a log, in the order of their first lines."""
    return find_numbered(enumerate(lines, 1))


def find_numbered(lines: Iterable[tuple[int, str]]) -> Iterator[Splat]:
    """The same from (number, line) pairs: those of one number are parts of one line."""
    finder = _Finder()
    for number, line in lines:
        finder.feed(number, line)
        if finder.news:
            yield from finder.ready()
    finder.end()
    yield from finder.ready()


def summary(splat: Splat) -> str:
    """A splat on one line: its title, the guilty function where the title does not say it, and
    what a WARN says for itself."""
    return f"{splat.title}{where(splat)}"


def where(splat: Splat) -> str:
    """The guilty function, to go on with behind the title, where that does not say it; and what a
    WARN says for itself."""
    known = not splat.function or splat.function in splat.title
    said = _warned(splat)
    return ("" if known else f" in {splat.function}") + (f", {said!r}" if said else "")


def _warned(splat: Splat) -> str:
    """What a WARN says for itself, between "cut here" and its headline, "" if nothing."""
    if splat.kind != "WARN":
        return ""
    texts = [message(line)[0].strip() for line in splat.report.split("\n")[:_SAID]]
    at = next((n for n, text in enumerate(texts) if text.startswith("WARNING: ")), 0)
    said = " ".join(text for text in texts[:at] if not CUT_HERE.search(text))
    return scrub(said)[:_LAST]


def to_json(splats: Iterable[Splat]) -> dict[str, JSON]:
    """The splats as plain JSON, the shape that ``pinpage parse --json`` prints."""
    return {"splats": [one_to_json(splat) for splat in splats]}


def one_to_json(splat: Splat) -> dict[str, JSON]:
    """One of them."""
    return {
        "kind": splat.kind,
        "title": splat.title,
        "function": splat.function,
        "first_line": splat.first_line,
        "last_line": splat.last_line,
        "fatal": splat.fatal,
        "report": splat.report,
    }


class _Finder:
    """Reads lines; ``news`` says that a report was finished, and ``ready`` gives out splats."""

    def __init__(self) -> None:
        self.news = False
        self._closed: list[tuple[int, int, Splat]] = []  # a heap: first line, order of closing
        self._count = 0
        self._open: dict[str, Report] = {}  # by caller id; "" for a log without
        self._frames: dict[str, Frame] = {}
        self._before: dict[str, str] = {}  # by caller: its last message
        self._looked = 0  # the line at which what is open was last looked through

    # --- in and out -------------------------------------------------------------------------

    def feed(self, number: int, raw: str) -> None:
        pieces = messages(raw)
        while len(pieces) > 1 and not pieces[-1].strip("\r\n\0 "):
            pieces.pop()
        for piece in pieces[:-1]:
            self._cut_off(number, piece)
        self._message(number, pieces[-1])
        if number - self._looked >= 128:
            self._looked = number
            self._expire(number)

    def _message(self, number: int, raw: str) -> None:
        text, caller = message(raw)
        report = self._open.get(caller)
        if "[ cut here ]" in text and CUT_HERE.search(text):
            self._cut(report, number, raw, caller)
        elif text.startswith(_BOOT):
            self.end()
        elif (found := headline(text)) is not None:
            self._headline(found, report, number, raw, text, caller)
        elif (report is None or report.ended) and (found := buried(text)) is not None:
            self._start(found, number, raw, text, caller).doubt()
        elif report is not None or caller in self._frames or text[:1] in _OPENERS:
            self._other(report, number, raw, text, caller)
        if caller not in self._before and len(self._before) >= _CALLERS:
            self._before.clear()
        self._before[caller] = text[:_LAST]

    def _cut_off(self, number: int, raw: str) -> None:
        """A message that another one stands behind on its line: often only the half of one."""
        text, caller = message(raw)
        report = self._open.get(caller)
        found = headline(text)
        if "[ cut here ]" in text and CUT_HERE.search(text):
            self._cut(report, number, raw, caller)
        elif found is not None and found.role is not Role.MAYBE:
            self._headline(found, report, number, raw, text, caller)
        elif report is not None and text and report.takes(text):
            self._other(report, number, raw, text, caller)

    def end(self) -> None:
        for report in list(self._open.values()):
            self._finish(report)
        for caller in list(self._frames):
            self._drop_frame(caller)
        self._before.clear()

    def ready(self) -> Iterator[Splat]:
        """Closed reports that no open one can precede any more."""
        self.news = False
        waiting = [r.first for r in self._open.values()] + [f.first for f in self._frames.values()]
        limit = min(waiting, default=None)
        while self._closed and (limit is None or self._closed[0][0] < limit):
            yield heappop(self._closed)[2]

    # --- opening and closing ----------------------------------------------------------------

    def _start(self, found: Headline, number: int, raw: str, text: str, caller: str) -> Report:
        old = self._open.get(caller)
        if old is not None:
            self._finish(old)
        report = Report(found, self._frames.pop(caller, None), number, raw, text)
        if found.role is Role.LINE:
            self._emit(report)
        else:
            self._open[caller] = report
            report.callers.append(caller)
        return report

    def _finish(self, report: Report) -> None:
        if report.callers:  # not yet finished by way of another of its callers
            for caller in report.callers:
                del self._open[caller]
            report.callers.clear()
            self._emit(report)

    def _emit(self, report: Report) -> None:
        splat = report.splat()
        if splat is not None:
            self._count += 1
            heappush(self._closed, (splat.first_line, self._count, splat))
            self.news = True

    def _drop_frame(self, caller: str) -> None:
        """A frame that no headline followed: a report all the same if it was cut here."""
        frame = self._frames.pop(caller)
        if frame.cut:
            self._emit(frame.report())

    def _expire(self, number: int) -> None:
        for report in list(self._open.values()):
            if number - report.touched > _SILENCE or number - report.first > _AGE:
                self._finish(report)
        for caller, frame in list(self._frames.items()):
            if number - frame.first > _SILENCE:
                self._drop_frame(caller)

    # --- lines ------------------------------------------------------------------------------

    def _cut(self, report: Report | None, number: int, raw: str, caller: str) -> None:
        if report is not None and report.expects_header():
            report.cut_here(number, raw)
            return
        if report is not None:
            self._finish(report)
        # A second one before the header: another CPU's, so the frames share what follows.
        frame = self._frames.setdefault(caller, Frame())
        frame.cut = True
        frame.add(number, raw)
        if frame.full:
            self._drop_frame(caller)

    def _headline(
        self,
        found: Headline,
        report: Report | None,
        number: int,
        raw: str,
        text: str,
        caller: str,
    ) -> None:
        frame = self._frames.get(caller)
        if found.role is Role.MAYBE and frame is not None and frame.cut:
            frame.add(number, raw, text)
            return
        if found.role is Role.PANIC and report is None and CONSEQUENCE.match(text):
            report = max(self._open.values(), key=lambda r: r.touched, default=None)
        if report is not None and (frame is None or not frame.cut):
            if report.joins(found, text):
                self._frames.pop(caller, None)
                report.join(found, number, raw, text)
                return
            if found.role is Role.LINE:
                self._emit(Report(found, None, number, raw, text))
                return
            if found.role is Role.MAYBE and report.unfinished():
                self._other(report, number, raw, text, caller)
                return
        self._start(found, number, raw, text, caller)

    def _other(self, report: Report | None, number: int, raw: str, text: str, caller: str) -> None:
        """A line that is no headline: of the open report, of a frame, or of nobody."""
        if report is None and text.startswith("NMI backtrace for cpu") and self._open:
            latest = max(self._open.values(), key=lambda r: r.touched)
            if latest.kind in _STALLS:
                report = self._open[caller] = latest
                report.callers.append(caller)
        if report is not None:
            if report.add(number, raw, text):
                self._frames.pop(caller, None)
                if report.over or CLOSING.match(text):
                    self._finish(report)
                return
            if report.over:
                self._finish(report)
                report = None
        frame = self._frames.get(caller)
        idle = report is None or report.complete()
        if idle and (frame is None or not frame.cut):
            lost = Report.headless(text, self._before.get(caller, ""))
            if lost is not None:
                self._start(lost, number, raw, text, caller)
                return
        if frame is not None and frame.cut:
            frame.add(number, raw, text)
            if frame.full:
                self._drop_frame(caller)
        elif Frame.may_open(text):
            self._frames.setdefault(caller, Frame()).add(number, raw, text)
            if self._frames[caller].full:
                self._drop_frame(caller)
        elif frame is not None and text.strip():
            self._drop_frame(caller)
