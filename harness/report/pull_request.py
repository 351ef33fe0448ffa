# SPDX-License-Identifier: GPL-2.0-only
"""What a pull request came to, as Markdown: for a job's summary, and shorter for a comment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness.comparison import Comparison, Figures, Pair, Ran, State
from harness.report.text import plain, visible

MARK = "<!-- pinpage -->"  # the comment that is ours, and is written anew
_WORDS = {
    State.NEW: "new failure",
    State.MENDED: "mended",
    State.FAILING: "still failing",
    State.FLAKY: "flaky",
    State.UNCHANGED: "as before",
    State.UNTOLD: "not told",
    State.ONLY_A: "base only",
    State.ONLY_B: "head only",
}
_LONGEST = 60_000  # characters of a comment


def sentence(found: Comparison) -> str:
    """The answer in one sentence: the first new failure's own, where there is one."""
    new = found.of(State.NEW)
    if new:
        first = new[0].failure
        more = f" (new failures in all: {len(new)})" if len(new) > 1 else ""
        said = f"{first.outcome.value}: {first.reason}" if first is not None else "it did not run"
        return f"{_name(new[0])} fails, and did not before: {said}{more}"
    if not found.told:
        return "nothing could be judged: no job has told anything on both sides"
    counts = {word: len(found.of(state)) for state, word in _WORDS.items() if found.of(state)}
    return "no new failure: " + ", ".join(f"{count} {word}" for word, count in counts.items())


def comment(found: Comparison, why: Mapping[str, Sequence[str]], link: str = "") -> str:
    """why: job's name → why it was tried. link: to the whole."""
    parts = [MARK, f"**pinpage**: {plain(sentence(found))}", "", *_table(found)]
    if why:
        parts += ["", "<details><summary>why these</summary>", ""]
        parts += [f"- `{name}`: {plain('; '.join(said))}" for name, said in why.items()]
        parts += ["", "</details>"]
    if link:
        parts += ["", f"[the whole run]({link})"]
    return "\n".join(parts)[:_LONGEST] + "\n"


def summary(
    found: Comparison, why: Mapping[str, Sequence[str]], pictures: Mapping[str, str]
) -> str:
    """pictures: a run's id → its memory as text."""
    parts = ["## pinpage", "", plain(sentence(found)), "", *_table(found)]
    for pair in found.pairs:
        parts += ["", f"### {plain(_name(pair))}: {_WORDS[pair.state]}", ""]
        parts += _sides(pair)
        for ran in (*pair.a[:1], *pair.b[:1]):
            if ran.id in pictures:
                parts += ["", "```", pictures[ran.id].replace("```", "'''").rstrip(), "```"]
    if why:
        parts += ["", "### Why these", ""]
        parts += [f"- `{name}`: {plain('; '.join(said))}" for name, said in why.items()]
    return "\n".join(parts) + "\n"


def commands(
    found: Comparison, runs: Sequence[Mapping[str, Any]], lines: Mapping[str, int]
) -> Iterator[str]:
    """Commands of GitHub's runners that show each new failure, at the file that a report accuses.

    runs: the head's, as their run.json. lines: a run's id → the line of that file in the change.
    Source: docs.github.com, "Workflow commands".
    """
    by_id = {run["id"]: run for run in runs}
    for pair in found.of(State.NEW):
        failure = pair.failure
        if failure is None:
            continue
        splats = by_id.get(failure.id, {}).get("splats", [])
        blame = next((s["blame"] for s in splats if s.get("blame")), None)
        words = {"title": f"pinpage: {_name(pair)}"}
        if blame is not None:
            at = {"line": str(lines[failure.id])} if failure.id in lines else {}
            words = {"file": blame["file"], **at, **words}
        listed = ",".join(f"{name}={_escaped(value, ':,')}" for name, value in words.items())
        yield f"::error {listed}::{_escaped(f'{failure.outcome.value}: {failure.reason}')}"


def _escaped(text: str, more: str = "") -> str:
    """Text of a command: of one line, and nothing in it that ends a part of it."""
    text = visible(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    for letter in more:
        text = text.replace(letter, f"%{ord(letter):02X}")
    return text


def _table(found: Comparison) -> list[str]:
    rows = ["| job | base | head | |", "| --- | --- | --- | --- |"]
    for pair in found.pairs:
        state = _WORDS[pair.state]
        shown = f"**{state}**" if pair.state in (State.NEW, State.FLAKY) else state
        cells = (plain(_name(pair)), _verdicts(pair.a), _verdicts(pair.b), shown)
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _sides(pair: Pair) -> list[str]:
    lines = []
    for side, runs in (("base", pair.a), ("head", pair.b)):
        for ran in runs[:1]:
            lines.append(f"- {side}, {ran.outcome.value}: {plain(ran.reason)}")
            lines += [f"  - {_figures(arm)}" for arm in ran.arms]
            lines += [f"  - {plain(title)}" for title in ran.splats]
    lines += [f"- differs: {plain(f'{d.name}: {d.a} → {d.b}')}" for d in pair.inputs]
    return lines


def _figures(arm: Figures) -> str:
    pages = f"{arm.arm}: {arm.migrated} of {arm.pinned} pages migrated, {arm.stayed} stayed"
    rest = {"failed": arm.failed, "lost": arm.lost, "corrupt": arm.corrupt}
    return plain(pages + "".join(f", {count} {word}" for word, count in rest.items() if count))


def _verdicts(runs: Iterable[Ran]) -> str:
    return ", ".join(run.outcome.value for run in runs) or "none"


def _name(pair: Pair) -> str:
    asked = pair.asked
    return " ".join(asked[name] for name in ("scenario", "kernel", "arch", "profile"))
