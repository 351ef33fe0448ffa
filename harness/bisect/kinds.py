# SPDX-License-Identifier: GPL-2.0-only
"""What can be searched, as states and how each is asked for: patches, and configuration options."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import pipeline
from harness.bisect import Trial
from harness.bisect.search import Run, State
from harness.build import kconfig, series
from harness.errors import ConfigError, InputError
from harness.model import Progress, RunSpec, Series, SourceTree

NOTHING = State("none", "no patch")
_AGAIN = re.compile(r"(.+)~\d+(\.[^.]+|)")  # a second patch of one name, see build/series.py


@dataclass(frozen=True)
class Line:
    """States from good to bad, and what to run for each, by its name."""

    states: tuple[State, ...]
    specs: Mapping[str, RunSpec]


def runner(
    spec_of: Callable[[State], RunSpec], progress: Progress, *, options: bool = False
) -> Run:
    """Does what is asked for a state, with a seed. options: they are what is searched."""

    def run(state: State, seed: int) -> Trial:
        record, folder = pipeline.run(replace(spec_of(state), seed=seed), progress)
        verdict = record.verdict
        took = round(record.seconds, 1)
        refused = options and record.error.get("kind") == ConfigError.__name__
        unfit = record.error["detail"] if refused else ""
        return Trial(state.name, seed, verdict.outcome, verdict.reason, took, str(folder), unfit)

    return run


def patches(words: RunSpec, tree: SourceTree, good: str, bad: str) -> Line:
    """The series patch by patch.

    good, bad: begins of patches' names. Without them the good end is before the user's first patch,
    on top of the kernel's own series where the words begin with such, and the bad end is the last.
    """
    kernel = pipeline.choose(words).kernel
    whole = series.load(words.series, kernel, tree, words.without)
    own = whole.patches[whole.compat :]
    names = [patch.name for patch in own]
    _apart(whole)
    first = _after(names, good, "--good") if good else _given(words, tree)
    last = _after(names, bad, "--bad") if bad else len(names)
    if first >= last:
        raise InputError(
            "there is no patch between the good end and the bad one",
            hint=f"name its ends with --good and --bad; it has {', '.join(names) or 'none'}",
        )
    ends = [NOTHING, *(State(patch.name, patch.subject) for patch in own)]
    specs = {patch.name: replace(words, upto=patch.name) for patch in own}
    specs[NOTHING.name] = replace(words, series=(series.NONE,), without=())
    return Line(tuple(ends[first : last + 1]), specs)


def _apart(whole: Series) -> None:
    """InputError where two patches have one name: what is run up to is named by it."""
    known = {patch.name: patch for patch in whole.patches}
    for patch in whole.patches:
        again = _AGAIN.fullmatch(patch.name)
        first = known.get(f"{again[1]}{again[2]}") if again else None
        if first is not None:
            raise InputError(
                f"two patches are named {first.name}: {first.subject!r} and {patch.subject!r}",
                hint="rename one of them",
            )


def _given(words: RunSpec, tree: SourceTree) -> int:
    """How many patches are of the kernel's own series, where the user's go on top of these."""
    kernel = pipeline.choose(words).kernel
    named = set(series.known(kernel))
    count = next((at for at, word in enumerate(words.series) if word not in named), None)
    if not count:
        return 0
    beneath = series.load(words.series[:count], kernel, tree, words.without)
    return len(beneath.patches) - beneath.compat


def _after(names: Sequence[str], begin: str, option: str) -> int:
    """How many patches are applied once the one that is named is the last."""
    found = [at for at, name in enumerate(names) if name.startswith(begin)]
    if begin == NOTHING.name and not found:
        return 0
    if len(found) != 1:
        raise InputError(
            f"{option} {begin}: {len(found) or 'no'} patches of the series begin with that",
            hint=f"it has {', '.join(names)}",
        )
    return found[0] + 1


def options(words: RunSpec, good: Path, bad: Path) -> Line:
    """From one configuration to another, option by option in the order of the second.

    Each file is a whole ``.config`` or lines of one; what a file does not name is left as it is.
    Options that the words set stay so; InputError where one of them is searched.
    """
    first, second = _parsed(good), _parsed(bad)
    lacking = {name: "n" for name in first if name not in second}
    differ = {n: v for n, v in {**second, **lacking}.items() if first.get(n, "n") != v}
    if not differ:
        raise InputError(f"{good} and {bad} configure the same", hint="name two that differ")
    own = dict(word.split("=", 1) for word in words.config)
    if both := next((name for name in own if name in differ), ""):
        raise InputError(
            f"--config {both}={own[both]}: that option is one of those searched (--options)",
            hint="leave it out, or give it the same value in both configurations",
        )

    def spec(changed: Mapping[str, str]) -> RunSpec:
        every = {**first, **changed, **own}
        return replace(words, config=tuple(f"{name}={value}" for name, value in every.items()))

    states, specs = [State("good", str(good))], {"good": spec({})}
    changed: dict[str, str] = {}
    for name, value in differ.items():
        changed[name] = value
        state = State(f"CONFIG_{name}={value}", f"(it was {first.get(name, 'n')})")
        states.append(state)
        specs[state.name] = spec(changed)
    return Line(tuple(states), specs)


def _parsed(path: Path) -> dict[str, str]:
    try:
        return kconfig.parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
