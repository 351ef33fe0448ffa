# SPDX-License-Identifier: GPL-2.0-only
"""What runs B have beside runs A: pure, from the values of their ``run.json``.

    found = compare(before, after)
    found.exit_code   # 0 where B brings no new failure

Runs are paired by what was asked of them. One run on each side is a pair where the scenario is the
same; of several, those are equal that have the same scenario, kernel, architecture, profile and
parameters, and, where one side has them in more than one way, the same series, memory and so on.
Within these, runs of the same seed are paired; a seed that only one side has is held against what
the other side has of it.

SKIP and INFRA say nothing about a kernel: a pair of which A says nothing cannot be judged. Where A
passed, B has to say PASS: a run that was skipped or broke is no proof that it still would.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, TypeAlias

from harness.model import EXIT_CODES, Outcome
from harness.parse import blocked

Run: TypeAlias = Mapping[str, Any]  # run.json, as its schema has it

_SILENT = frozenset({Outcome.SKIP, Outcome.INFRA})  # they say nothing about a kernel
NOT_KNOWN = "-"
_SHORT = 12  # digits of a digest that are shown
_NAMED = 3  # values of a side that are shown, and patches
_ASKED = ("scenario", "kernel", "arch", "profile")


class State(StrEnum):
    """What became of a pair."""

    NEW = "new failure"  # A passed, and B did not, or now and then at a line of B's own
    MENDED = "mended"
    FAILING = "still failing"
    FLAKY = "flaky"  # equal runs of one side passed and did not
    UNCHANGED = "unchanged"
    UNTOLD = "untold"  # A says nothing that B could be held against, or B nothing of a failure
    ONLY_A = "only in A"
    ONLY_B = "only in B"


@dataclass(frozen=True)
class Tried:
    """The attempts of a group: how many (or how much) were had of how many that were asked for,
    how many went otherwise than they had to, and the median of their seconds."""

    group: str
    had: int
    asked: int
    wrong: int
    seconds: float


@dataclass(frozen=True)
class Figures:
    """What an arm came to: pages, free huge pages before and after, seconds of its drive."""

    arm: str
    pinned: int
    migrated: int
    stayed: int
    failed: int
    lost: int
    corrupt: int
    order9_before: int | None
    order9_after: int | None
    seconds: float
    attempts: tuple[Tried, ...]

    @property
    def ended(self) -> bool:
        """Whether it is known what became of its pages."""
        return any((self.migrated, self.stayed, self.failed, self.lost, self.corrupt))


@dataclass(frozen=True)
class Ran:
    """One run. splats: titles of the kernel's complaints, those that were provoked left out.
    defects: the known ones that show, None where none was looked for."""

    id: str
    seed: int
    outcome: Outcome
    reason: str
    interrupted: bool
    seconds: float
    arms: tuple[Figures, ...]
    splats: tuple[str, ...]
    defects: tuple[str, ...] | None


@dataclass(frozen=True)
class Difference:
    """An input that is not the same. a and b: as a person reads them, "-" where it is not known."""

    name: str
    a: str
    b: str


@dataclass(frozen=True)
class Pair:
    """Runs that were asked the same. asked: name → value. patches: a line for each in which the
    first runs of both sides differ: ``+ NAME`` where B alone has it, ``- NAME`` where A alone has,
    ``! NAME`` where they have other ones by that name."""

    state: State
    asked: Mapping[str, str]
    a: tuple[Ran, ...]
    b: tuple[Ran, ...]
    inputs: tuple[Difference, ...] = ()
    patches: tuple[str, ...] = ()

    @property
    def failure(self) -> Ran | None:
        """The first run of B that did not pass: one that says something, if there is one."""
        wrong = [each for each in self.b if each.outcome is not Outcome.PASS]
        return next(
            (each for each in wrong if each.outcome not in _SILENT), next(iter(wrong), None)
        )


@dataclass(frozen=True)
class Comparison:
    """In the order in which A, and then B, has them."""

    pairs: tuple[Pair, ...]

    def of(self, *states: State) -> tuple[Pair, ...]:
        return tuple(each for each in self.pairs if each.state in states)

    @property
    def paired(self) -> bool:
        """Whether anything stands on both sides."""
        return any(each.a and each.b for each in self.pairs)

    @property
    def told(self) -> bool:
        """Whether anything could be judged."""
        return any(each.a and each.b and each.state is not State.UNTOLD for each in self.pairs)

    @property
    def exit_code(self) -> int:
        """0 where B brings no new failure, else the exit code of the first one's verdict."""
        first = next((each.failure for each in self.of(State.NEW)), None)
        return 0 if first is None else EXIT_CODES[first.outcome]


def compare(a: Sequence[Run], b: Sequence[Run]) -> Comparison:
    """What B has beside A. A run has to be as the schema of run.json says."""
    if len(a) == len(b) == 1 and a[0]["scenario"] == b[0]["scenario"]:
        return Comparison((_pair(_asked(b[0]), a, b),))
    pairs: list[Pair] = []
    for asked, own, other in _cells(a, b):
        pairs += [_pair(asked, some, more) for some, more in _by_seed(own, other)]
    return Comparison(tuple(pairs))


def differences(a: Sequence[Run], b: Sequence[Run]) -> tuple[Difference, ...]:
    """The inputs in which two sides are not the same, by the runs of which they are known."""
    found = []
    sides = [[_inputs(run) for run in side] for side in (a, b)]
    for name in dict.fromkeys(name for side in sides for run in side for name in run):
        before, after = ([run[name] for run in side if name in run] for side in sides)
        if {each.identity for each in before} != {each.identity for each in after}:
            found.append(Difference(name, _listed(before), _listed(after)))
    if all("patches" in run for side in sides for run in side):
        # Where the patches are the same, it is the same series by whatever name.
        same = all(each.name != "patches" for each in found)
        found = [each for each in found if not (same and each.name == "series")]
    return tuple(found)


# ---------------------------------------------------------------------------------------------
# Pairs
# ---------------------------------------------------------------------------------------------

_Key: TypeAlias = tuple[tuple[str, str], ...]


def _asked(run: Run) -> dict[str, str]:
    """What makes runs comparable."""
    params = sorted(run["spec"]["params"].items())
    return {name: str(run[name]) for name in _ASKED} | {
        f"parameter {name}": str(value) for name, value in params
    }


def _further(run: Run) -> dict[str, str]:
    """What else was asked: two runs of one side that differ in it are not equal."""
    spec = run["spec"]
    words = {
        "series": run["series"],
        "without": " ".join(spec.get("without", ())),
        "upto": spec.get("upto", ""),
        "config": " ".join(spec.get("config", ())),
        "tree": spec["tree"] or "",
        "toolchain": spec["toolchain"],
        "accel": spec["accel"],
        "memory": str(spec["memory_mib"]),
        "smp": str(spec["smp"]),
        "append": " ".join(spec["append"]),
    }
    return {name: str(value) for name, value in words.items()}


def _cells(
    a: Sequence[Run], b: Sequence[Run]
) -> Iterable[tuple[dict[str, str], list[Run], list[Run]]]:
    """What was asked → the runs of both sides that were asked that."""
    for asked, own, other in _grouped(a, b, _asked):
        split = [
            name
            for name in _further((own or other)[0])
            if any(len({_further(run)[name] for run in side}) > 1 for side in (own, other))
        ]
        for more, some, rest in _grouped(own, other, partial(_only, split)):
            yield asked | more, some, rest


def _only(names: Sequence[str], run: Run) -> dict[str, str]:
    return {name: value for name, value in _further(run).items() if name in names}


def _grouped(
    a: Sequence[Run], b: Sequence[Run], words: Callable[[Run], dict[str, str]]
) -> list[tuple[dict[str, str], list[Run], list[Run]]]:
    found: dict[_Key, tuple[dict[str, str], list[Run], list[Run]]] = {}
    for side, runs in enumerate((a, b)):
        for run in runs:
            own = words(run)
            entry = found.setdefault(tuple(sorted(own.items())), (own, [], []))
            (entry[1], entry[2])[side].append(run)
    return list(found.values())


def _by_seed(a: Sequence[Run], b: Sequence[Run]) -> list[tuple[Sequence[Run], Sequence[Run]]]:
    """The runs of each seed that both sides have; then those of the other seeds, against such of
    the other side, or all of it where it has none."""
    if not a or not b:
        return [(a, b)]
    seeds = {run["seed"] for run in a} & {run["seed"] for run in b}
    found: list[tuple[Sequence[Run], Sequence[Run]]] = [
        ([run for run in a if run["seed"] == seed], [run for run in b if run["seed"] == seed])
        for seed in sorted(seeds)
    ]
    rest = [[run for run in side if run["seed"] not in seeds] for side in (a, b)]
    if rest[0] or rest[1]:
        found.append((rest[0] or a, rest[1] or b))
    return found


def _pair(asked: Mapping[str, str], a: Sequence[Run], b: Sequence[Run]) -> Pair:
    before, after = tuple(map(_ran, a)), tuple(map(_ran, b))
    state = _state(before, after)
    if not a or not b:
        return Pair(state, asked, before, after)
    patches = _patches(a[0], b[0])
    own = {line[2:] for line in patches if not line.startswith("-")}
    if _told(before) == {Outcome.PASS} and any(own & brought(run) for run in b):
        state = State.NEW  # however seldom it comes
    return Pair(state, asked, before, after, differences(a, b), patches)


def brought(run: Run) -> set[str]:
    """The patches that brought a line which the kernel reports in a run, by name."""
    blames = (each.get("blame") for each in run["splats"] if not each.get("provoked", False))
    return {each["patch"] for each in blames if each and each["brought"]}


def _state(a: Sequence[Ran], b: Sequence[Ran]) -> State:
    if not a or not b:
        return State.ONLY_A if a else State.ONLY_B
    before, after = _told(a), _told(b)
    if _flaky(a) or _flaky(b):
        return State.FLAKY
    if not before:
        skipped = {run.outcome for run in (*a, *b)} == {Outcome.SKIP}
        return State.UNCHANGED if skipped else State.UNTOLD
    passed = after == {Outcome.PASS}
    if before == {Outcome.PASS}:
        return State.UNCHANGED if passed else State.NEW
    if not after:
        return State.UNTOLD
    return State.MENDED if passed else State.FAILING


def _told(runs: Sequence[Ran]) -> set[Outcome]:
    """The verdicts that say something about a kernel."""
    return {run.outcome for run in runs} - _SILENT


def _flaky(runs: Sequence[Ran]) -> bool:
    """Whether equal runs, those of one seed, passed and did not."""
    for seed in {run.seed for run in runs}:
        told = _told([run for run in runs if run.seed == seed])
        if Outcome.PASS in told and len(told) > 1:
            return True
    return False


# ---------------------------------------------------------------------------------------------
# One run
# ---------------------------------------------------------------------------------------------


def _ran(run: Run) -> Ran:
    complaints = [each for each in run["splats"] if each["kind"] != blocked.KIND]
    titles = [each["title"] for each in complaints if not each.get("provoked", False)]
    return Ran(
        id=run["id"],
        seed=run["seed"],
        outcome=Outcome(run["verdict"]),
        reason=run["reason"],
        interrupted=run["interrupted"],
        seconds=run["seconds"],
        arms=tuple(_figures(name, arm) for name, arm in run["arms"].items()),
        splats=tuple(dict.fromkeys(titles)),
        defects=tuple(each["defect"] for each in run["findings"] if each["shown"])
        if run["findings"]
        else None,
    )


def _figures(name: str, arm: Mapping[str, Any]) -> Figures:
    attempts = arm.get("attempts", ())
    groups = dict.fromkeys(each["group"] for each in attempts)
    return Figures(
        arm=name,
        **{count: arm[count] for count in ("pinned", "migrated", "stayed", "failed")},
        lost=arm["lost"],
        corrupt=arm["corrupt"],
        order9_before=arm.get("order9_before"),
        order9_after=arm.get("order9_after"),
        seconds=arm.get("seconds", 0.0),
        attempts=tuple(
            _tried(group, [each for each in attempts if each["group"] == group]) for group in groups
        ),
    )


def _tried(group: str, own: Sequence[Mapping[str, Any]]) -> Tried:
    """What can be had in part is counted by how much of it was had."""
    had, asked = sum(each["ok"] for each in own), len(own)
    if all(each.get("got") is not None for each in own):
        had = sum(each["got"] for each in own)
        asked = sum(each.get("asked") or 0 for each in own)
    wrong = sum(each["expected"] not in (None, each["ok"]) for each in own)
    seconds = statistics.median(each["seconds"] for each in own)
    return Tried(group, had, asked, wrong, seconds)


# ---------------------------------------------------------------------------------------------
# Inputs
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Input:
    """identity: two that have the same are the same, however they are called."""

    identity: str
    said: str


def _inputs(run: Run) -> dict[str, _Input]:
    """What went into a run, by name; without what is not known."""
    spec, digests, host = run["spec"], run["digests"], run["host"]
    further = _further(run)
    words = {name: str(run[name]) for name in _ASKED}
    words["append"], words["memory"] = further["append"], f"{further['memory']} MiB"
    words["CPUs"] = further["smp"]
    words |= {f"parameter {name}": str(value) for name, value in spec["params"].items()}
    words["toolchain"] = run["toolchain"].get("version", "")
    words["QEMU"] = host.get("qemu", "")
    words["accelerator"] = run["accelerator"] or ""
    words["machine"] = host.get("machine", "")
    words["pinpage"] = host.get("pinpage", "")
    words["seed"] = str(run["seed"])
    found = {
        "series": _Input(_series(run), _series(run)),
        "patches": _applied(run),
        "tree": _tree(run),
        "config": _digests(digests, "config"),
        "guest modules": _digests(digests, "modules"),
        "guest image": _digests(digests, "image"),
    }
    found |= {name: _Input(value, value) for name, value in words.items() if value}
    return {name: each for name, each in found.items() if each.identity}


def _digests(digests: Mapping[str, str], name: str) -> _Input:
    """A digest, or those of several kernels: ``config``, ``config lockdep``."""
    own = {key: value for key, value in digests.items() if key.split(" ")[0] == name}
    said = [f"{key.removeprefix(name)} {_short(value)}".strip() for key, value in own.items()]
    return _Input("\n".join(f"{key} {own[key]}" for key in sorted(own)), ", ".join(said))


def _short(digest: str) -> str:
    kind, colon, digits = digest.rpartition(":")
    return f"{kind}{colon}{digits[:_SHORT]}"


def _series(run: Run) -> str:
    """The words that named it."""
    without = run["spec"].get("without", ())
    return " ".join([run["series"], *(["without", *without] if without else [])])


def _applied(run: Run) -> _Input:
    """The bytes of its patches, those beneath and on top among them."""
    digest = run["digests"].get("series", "")
    said = _short(digest)
    if made := _made(run):
        said += f" ({len(made[0]['patches'])})"
    return _Input(digest, said)


def _tree(run: Run) -> _Input:
    digest = run["digests"].get("tree", "")
    version = (run.get("inputs") or {}).get("version", "")
    return _Input(digest, f"{version} {_short(digest)}".strip())


def _patches(*sides: Run) -> tuple[str, ...]:
    if not all(map(_made, sides)):
        return ()
    before, after = (
        {each["name"]: each["sha256"] for each in _made(run)[0]["patches"]} for run in sides
    )
    lines = [f"- {name}" for name in before if name not in after]
    lines += [f"! {name}" for name in before if after.get(name, before[name]) != before[name]]
    return (*lines, *(f"+ {name}" for name in after if name not in before))


def _made(run: Run) -> Sequence[Mapping[str, Any]]:
    """The kernels of which it is known what they were made of, the run's own first."""
    kernels: Sequence[Mapping[str, Any]] = (run.get("inputs") or {}).get("kernels", ())
    return kernels


def _listed(values: Iterable[_Input]) -> str:
    every = list(dict.fromkeys(each.said for each in values))
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return (", ".join(every[:_NAMED]) or NOT_KNOWN) + more
