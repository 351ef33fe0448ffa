# SPDX-License-Identifier: GPL-2.0-only
"""What a pull request came to, as Markdown: for a job's summary, and shorter for a comment."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from junit_xml import TestCase, TestSuite, to_xml_report_string
from rich.console import Console

from harness.comparison import NOT_KNOWN, Comparison, Figures, Pair, Ran, State
from harness.model import EXIT_CODES, Outcome
from harness.report.comparison import comparison
from harness.report.text import in_line, plain, visible

MARK = "<!-- pinpage -->"  # the comment that is ours, and is written anew
_WORDS = {
    State.NEW: "new failure",
    State.MENDED: "mended",
    State.FAILING: "still failing",
    State.FLAKY: "flaky",
    State.UNCHANGED: "as before",
    State.UNTOLD: "not told",
    State.ONLY_A: "base only",
    State.ONLY_B: "change only",
}
_THE_CHANGE = frozenset({"series", "patches", "tree"})  # inputs that are the change itself
_QUIET = frozenset({State.UNCHANGED, State.MENDED, State.FAILING})
_WIDTH = 110  # columns
_LEGEND = (
    "Pages are laid out in guests with the base's kernel and with the change's, and made to move. "
    "Those of a *control arm* have to stay, those of a *treated arm* to move; a *migrated* page "
    "lies elsewhere with its contents whole. `fixed` is pinpage's own series on both sides, which "
    "is where `mm/pinpage.c` comes from."
)
_LONGEST = 60_000  # characters of a comment


@dataclass(frozen=True)
class Next:
    """What to do about a run that fails. commands: in a clone that has the change. folder: of the
    run, below that of all. trace: lines of the kernel's first report."""

    commands: tuple[str, ...]
    folder: str
    trace: Sequence[str] = ()


@dataclass(frozen=True)
class Judged:
    """A change beside its base. why: job → why it was tried. untold: job → why nothing can be said
    of it. spots: id of a run of the change → file and line, as the change has them. pictures: a
    run's id → its memory as text. next: a run's id → what to do about it."""

    found: Comparison
    why: Mapping[str, Sequence[str]] = field(default_factory=dict)
    untold: Mapping[str, str] = field(default_factory=dict)
    spots: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)
    next: Mapping[str, Next] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """The first new failure's, or INFRA's where a job says nothing."""
        if self.found.exit_code:
            return self.found.exit_code
        if self.untold or self.found.of(State.UNTOLD) or (self.why and not self.found.told):
            return EXIT_CODES[Outcome.INFRA]
        return 0


def sentence(judged: Judged) -> str:
    """The answer in one sentence, fit for a terminal: the first new failure's own, where there is
    one."""
    return in_line(_sentence(judged))


def _sentence(judged: Judged) -> str:
    found = judged.found
    new = found.of(State.NEW)
    if new:
        first = new[0].failure
        more = f" (new failures in all: {len(new)})" if len(new) > 1 else ""
        said = "it did not run" if first is None else _said(judged, first)
        at = "" if first is None else _at(judged, first)
        return f"{_name(judged, new[0])} fails{at}, and did not before: {said}{more}"
    if not found.pairs and not judged.untold:
        return "nothing was tried: nothing is changed, or no rule of the table asks for anything"
    parts = [_told(state, pairs) for state in _WORDS if (pairs := found.of(state))]
    parts += [f"of {name} nothing can be said: {why}" for name, why in judged.untold.items()]
    return f"{'nothing new fails' if found.told else 'nothing could be judged'}: {'; '.join(parts)}"


def _said(judged: Judged, run: Ran) -> str:
    """A verdict with its reason."""
    return f"{run.outcome.value}: {_reason(judged, run)}"


def _reason(judged: Judged, run: Ran) -> str:
    """A verdict's reason, the line in it as the change's own tree numbers it."""
    said, where = run.reason, judged.spots.get(run.id)
    if where is not None:
        blamed = rf"((?:^|; blame: .*?){re.escape(where[0])}:)\d+"
        said = re.sub(blamed, rf"\g<1>{where[1]}", said, count=1)
    return said


def _at(judged: Judged, run: Ran) -> str:
    """The line that a run accuses, as the change's own tree numbers it."""
    where = judged.spots.get(run.id)
    return "" if where is None else f" at {where[0]}:{where[1]}"


def _told(state: State, pairs: Sequence[Pair]) -> str:
    """So many jobs in one state, in words that say what it means for the change."""
    jobs = "1 job" if len(pairs) == 1 else f"{len(pairs)} jobs"
    one = len(pairs) == 1
    first = pairs[0].failure or next(iter(pairs[0].a), None)
    said = f" ({first.outcome.value}: {first.reason})" if first is not None else ""
    if state is State.UNCHANGED:
        skipped = [each for each in pairs if {run.outcome for run in each.b} == {Outcome.SKIP}]
        passed = [each for each in pairs if each not in skipped]
        names = {tuple(each.asked.items()) for each in passed}
        jobs = f"{len(names)} job{'' if len(names) == 1 else 's'}"
        times = len({run.seed for each in passed for run in each.b})
        tried = "once" if times == 1 else f"with {times} seeds"
        parts = [f"{jobs} passed on both sides, tried {tried}"] if passed else []
        if skipped:
            why = skipped[0].b[0].reason
            parts.append(f"{len(skipped)} could not be tried on either side ({why})")
        return "; ".join(parts)
    return {
        State.MENDED: f"{jobs} that failed before pass{'es' if one else ''}",
        State.FAILING: f"{jobs} fail{'s' if one else ''} on the base as well{said}, which says "
        "nothing of the change",
        State.FLAKY: f"{jobs} passed and failed in equal runs",
        State.UNTOLD: f"{jobs} could not be judged{said}",
        State.ONLY_A: f"{jobs} ran on the base alone",
        State.ONLY_B: f"{jobs} ran on the change alone",
    }.get(state, f"{jobs}: {_WORDS[state]}")


def comment(judged: Judged, link: str = "") -> str:
    """link: to the whole."""
    parts = [MARK, f"**pinpage**: {plain(sentence(judged))}", "", *_table(judged), *_next(judged)]
    if judged.why:
        parts += ["", "<details><summary>what this is, and why these</summary>", "", _LEGEND, ""]
        parts += _whys(judged)
        parts += ["", "</details>"]
    if link:
        parts += ["", f"[the whole run]({link})"]
    return "\n".join(parts)[:_LONGEST] + "\n"


def summary(judged: Judged) -> str:
    parts = ["## pinpage", "", plain(sentence(judged)), "", *_table(judged), *_next(judged)]
    pairs = sorted(judged.found.pairs, key=lambda pair: pair.state in _QUIET)
    for pair in pairs:
        parts += ["", f"### {plain(_name(judged, pair))}: {_WORDS[pair.state]}", ""]
        quiet = pair.state in _QUIET
        parts += ["<details><summary>figures and pictures</summary>", ""] if quiet else []
        parts += _sides(judged, pair, plain)
        parts += _more(judged, pair)
        for side, ran in (("base", pair.a[:1]), ("change", pair.b[:1])):
            drawn = judged.pictures.get(ran[0].id) if ran else None
            if drawn is not None:
                lines = map(_fenced, drawn.rstrip().splitlines())
                parts += ["", f"Memory, {side}:", "", "```", *lines, "```"]
        parts += ["", "</details>"] if quiet else []
    if judged.why:
        parts += ["", "### What this is, and why these", "", _LEGEND, ""]
        parts += _whys(judged)
    return "\n".join(parts) + "\n"


def junit(judged: Judged) -> str:
    """The judgement as one suite, a case for each job: a new failure fails, and what says nothing
    of the change is skipped."""
    cases = []
    for pair in judged.found.pairs:
        took = sum(run.seconds for run in (*pair.a, *pair.b))
        case = TestCase(visible(_name(judged, pair)), "pinpage", elapsed_sec=took)
        said = "\n".join(_sides(judged, pair, visible))
        if pair.state is State.NEW and pair.failure is not None:
            reason = visible(_reason(judged, pair.failure))
            case.add_failure_info(reason, said, pair.failure.outcome.value)
        elif pair.state not in (State.UNCHANGED, State.MENDED):
            case.add_skipped_info(visible(_told(pair.state, [pair])), said)
        case.stdout = said
        cases.append(case)
    for name, why in judged.untold.items():
        case = TestCase(visible(name), "pinpage")
        case.add_error_info(visible(why), None, Outcome.INFRA.value)
        cases.append(case)
    return str(to_xml_report_string([TestSuite("pinpage pull-request", cases)], encoding="utf-8"))


def commands(judged: Judged) -> Iterator[str]:
    """Commands of GitHub's runners that show each new failure, at the line that it accuses.

    Source: docs.github.com, "Workflow commands".
    """
    for pair in judged.found.of(State.NEW):
        failure = pair.failure
        if failure is None:
            continue
        words = {"title": f"pinpage: {_name(judged, pair)}"}
        if (where := judged.spots.get(failure.id)) is not None:
            words = {"file": where[0], "line": str(where[1]), **words}
        listed = ",".join(f"{name}={_escaped(value, ':,')}" for name, value in words.items())
        yield f"::error {listed}::{_escaped(_said(judged, failure))}"
    if judged.exit_code and not judged.found.exit_code:
        yield f"::warning title=pinpage::{_escaped(sentence(judged))}"


def _escaped(text: str, more: str = "") -> str:
    """Text of a command: of one line, and nothing in it that ends a part of it."""
    text = visible(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    for letter in more:
        text = text.replace(letter, f"%{ord(letter):02X}")
    return text


def _table(judged: Judged) -> list[str]:
    rows = ["| job | base | change | |", "| --- | --- | --- | --- |"]
    for pair in judged.found.pairs:
        state = _WORDS[pair.state]
        shown = f"**{state}**" if pair.state in (State.NEW, State.FLAKY) else state
        cells = (plain(_name(judged, pair)), _verdicts(pair.a), _verdicts(pair.b), shown)
        rows.append(f"| {' | '.join(cells)} |")
    rows += [f"| {plain(name)} | | | **not told** |" for name in judged.untold]
    return rows


def _next(judged: Judged) -> list[str]:
    """What to do about each new failure."""
    failures = [pair.failure for pair in judged.found.of(State.NEW)]
    told = [judged.next[ran.id] for ran in failures if ran is not None and ran.id in judged.next]
    if not told:
        return []
    lines = ["", "To see it fail, in a clone of the repository that has the change:", "", "```sh"]
    for each in told:
        lines += [_fenced(command) for command in each.commands]
    lines += ["```", "", "What the run left, in the folder of all runs (an artefact of this job):"]
    for each in told:
        lines += ["", f"`pinpage explain {_fenced(each.folder)}`"]
    return lines


def _more(judged: Judged, pair: Pair) -> list[str]:
    """Of a new failure: the kernel's first report, and the figures of both sides beside another."""
    if pair.state is not State.NEW or pair.failure is None:
        return []
    own = judged.next.get(pair.failure.id)
    lines = []
    if own is not None and own.trace:
        lines += ["", "The kernel's first report:", "", "```"]
        lines += [*map(_fenced, own.trace), "```"]
    if pair.a:
        text = io.StringIO()
        console = Console(file=text, width=_WIDTH, color_system=None, markup=False, emoji=False)
        told = tuple(replace(ran, reason=_reason(judged, ran)) for ran in pair.b)
        console.print(comparison(Comparison((replace(pair, b=told),))))
        lines += ["", "A is the base, B the change:", "", "```"]
        lines += [*map(_fenced, text.getvalue().rstrip().splitlines()), "```"]
    return lines


def _whys(judged: Judged) -> list[str]:
    """Why each job was run."""
    return [f"- `{_fenced(name)}`: {plain('; '.join(said))}" for name, said in judged.why.items()]


def _fenced(text: str) -> str:
    """A line that cannot end the code that it stands in."""
    return in_line(text).replace("`", "'").rstrip()


def _sides(judged: Judged, pair: Pair, fit: Callable[[str], str]) -> list[str]:
    """fit: makes text fit for what it goes into."""
    lines = []
    for side, runs in (("base", pair.a), ("change", pair.b)):
        for ran in runs[:1]:
            line = fit(f"{ran.outcome.value}{_at(judged, ran)}: {_reason(judged, ran)}")
            lines.append(f"- {side}, {line}")
            lines += [f"  - {fit(_figures(arm))}" for arm in ran.arms if arm.pinned]
            lines += [f"  - {fit(title)}" for title in ran.splats]
    # Patches differ, or there were no change; what one side did not come to is no difference.
    told = [d for d in pair.inputs if d.name not in _THE_CHANGE and NOT_KNOWN not in (d.a, d.b)]
    lines += [f"- differs: {fit(f'{d.name}: {d.a} → {d.b}')}" for d in told]
    commits = [name[2:] for name in pair.patches if name.startswith("+ ")]
    if commits:
        lines.append(f"- commits: {fit(', '.join(commits))}")
    return lines


def _figures(arm: Figures) -> str:
    pages = f"{arm.arm}: {arm.migrated} of {arm.pinned} pages migrated, {arm.stayed} stayed"
    rest = {"failed": arm.failed, "lost": arm.lost, "corrupt": arm.corrupt}
    if not arm.ended:
        return f"{arm.arm}: {arm.pinned} pages pinned, and it did not come to its end"
    return pages + "".join(f", {count} {word}" for word, count in rest.items() if count)


def _verdicts(runs: Iterable[Ran]) -> str:
    return ", ".join(run.outcome.value for run in runs) or "none"


def _name(judged: Judged, pair: Pair) -> str:
    """With the seed, where there are several."""
    asked = pair.asked
    name = " ".join(asked[name] for name in ("scenario", "kernel", "arch", "profile"))
    seeds = {run.seed for each in judged.found.pairs for run in (*each.a, *each.b)}
    own = next(iter((*pair.b, *pair.a)), None)
    return name if own is None or len(seeds) < 2 else f"{name} seed {own.seed}"
