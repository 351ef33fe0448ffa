# SPDX-License-Identifier: GPL-2.0-only
"""A whole run: its arms one after the other, the verdict, and the folder that is left."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from harness import cache, pages, report, resources, scenario, verdict
from harness.build import artifacts as builds
from harness.build import kernel, series, symbols
from harness.build.origin import Origins
from harness.errors import (
    CannotRun,
    EvidenceError,
    GuestError,
    InputError,
    PinpageError,
    errno_name,
)
from harness.model import (
    JSON,
    ArmPlan,
    Event,
    Outcome,
    Progress,
    RunRecord,
    RunSpec,
    Splat,
    Verdict,
)
from harness.parse import marks, splat
from harness.pipeline.boots import Bootable, Look, Scene, boot, is_of, nobody
from harness.pipeline.kernels import Sources, kernel_of_kind
from harness.pipeline.stages import choose, fetch, has_pinpage, module_sources
from harness.pipeline.state import ELSEWHERE, INNER, Given, State, Timed, begin
from harness.scenario import defects, own


def run(
    wanted: RunSpec,
    progress: Progress,
    modules: Path | None = None,
    given: Given | None = None,
    look: Look = nobody,
) -> tuple[RunRecord, Path]:
    """Do a whole run and leave its folder; whatever goes wrong is in the record.

    modules: a folder to build the guest modules from instead of our own. given: what is taken as
    it is instead of what the words name. look: who looks on.
    Only InputError and an interruption come out as exceptions. No folder is left of an InputError
    before the first guest; any other of them leaves one that says so. Returns the record and
    its folder.
    """
    chosen = choose(wanted, modules)
    plan = scenario.of(wanted)
    plan.check(wanted.params, wanted.memory_mib)
    state = begin(chosen, given or Given())
    state.look = look
    timed = Timed(progress, state.stages)
    if isinstance(plan, own.OwnScenario):
        own.keep(plan.plan, state.folder)
    report.write(_interrupted(state), state.folder)
    try:
        answer, error = _judged(plan, state, timed)
    except BaseException as ended:
        timed.end()
        if isinstance(ended, InputError) and not state.guests:
            shutil.rmtree(state.folder)
            raise
        report.write(_interrupted(state), state.folder)
        progress.note(f"not finished: {state.folder}")
        raise
    timed.end()
    record = state.record(answer, error=error)
    report.write(record, state.folder)
    _point_latest(state.folder)
    _remember(state.folder)
    return record, state.folder


def _interrupted(state: State) -> RunRecord:
    answer = Verdict(
        Outcome.INFRA,
        "the run was interrupted before it came to a verdict",
        "run it again: the file 'reproduce' beside this one does",
    )
    return state.record(answer, interrupted=True, error={})


def _point_latest(folder: Path) -> None:
    """``latest`` beside the run points at it, and, if it is a run for itself, among this user's
    runs wherever it was kept; a file system without links goes without."""
    beside, ours = folder.absolute().parent, resources.state() / "runs"
    _link(beside, folder.name)
    if INNER in os.environ:
        return
    if beside.resolve() != ours.resolve() and ours.is_dir():
        _link(ours, str(folder.absolute()))


def _remember(folder: Path) -> None:
    """Know a run by its record as this user's own, where it is kept elsewhere."""
    if not folder.resolve().is_relative_to((resources.state() / "runs").resolve()):
        facts = {"folder": str(folder.resolve()), "sha256": cache.sha256(folder / "run.json")}
        resources.state().mkdir(parents=True, exist_ok=True)
        cache.append_line(resources.state() / ELSEWHERE, facts)


def _link(where: Path, target: str) -> None:
    temporary = where / f".latest.{secrets.token_hex(4)}"
    try:
        temporary.symlink_to(target)
        temporary.replace(where / "latest")
    except OSError:
        temporary.unlink(missing_ok=True)


def _judged(
    plan: scenario.Scenario, state: State, progress: Progress
) -> tuple[Verdict, Mapping[str, str]]:
    """The verdict, and the error if one ended the run."""
    try:
        _experiment(plan, state, progress)
        state.rows = pages.ledger(state.events)
    except InputError:
        raise  # the user's words, known to be wrong; a tree that was edited meanwhile is one, too
    except PinpageError as error:
        if isinstance(error, GuestError):
            _add(state, error, list(state.kernels)[-1] if state.kernels else "")  # that was on
        _explain(state, progress)
        with suppress(EvidenceError):  # which the verdict says, if it matters to it
            state.rows = pages.ledger(state.events)
        answer = verdict.from_error(error, state.arms, state.events, state.splats)
        kind = type(error).__name__
        log = _kept(error.log, state.folder)
        return answer, {
            "kind": kind,
            "message": str(error),
            "detail": error.detail,
            "command": shlex.join(error.command),
            "log": log,
        }
    if not plan.APART:  # where each probe says itself who is to blame
        _explain(state, progress)
    answer = plan.judge(state.arms, state.events, state.rows, state.splats)
    if plan.APART and answer.splats:  # but that one's guest ended otherwise
        state.splats = list(answer.splats)
        _explain(state, progress)
        answer = plan.judge(state.arms, state.events, state.rows, state.splats)
    return answer, {}


def _add(state: State, error: GuestError, arm: str) -> None:
    """The reports that an arm's error brings, of the console as it was then: what went on since
    is the same report."""
    found = {splat.first_line for splat in state.splats if splat.arm == arm}
    further = [replace(s, arm=arm) for s in error.splats if s.first_line not in found]
    state.splats = marks.thinned([*state.splats, *further])


def _explain(state: State, progress: Progress) -> None:
    """Name the lines of each report, and the patch that it accuses.

    That cannot change a verdict: where it fails, the reports are without lines, and a note says so.
    """
    done: list[Splat] = []
    for arm in dict.fromkeys(each.arm for each in state.splats):
        own = [each for each in state.splats if each.arm == arm]
        ready = state.kernels.get(arm)
        if ready is not None and ready.origins is not None:
            progress.stage("symbols")
            try:
                own = symbols.explain(own, ready.artifacts, ready.origins)
            except PinpageError as error:
                progress.note(f"the reports of the {arm} arm have no lines: {error}")
        done += own
    state.splats = done


def explained(splats: Sequence[Splat], build: str, said: Sequence[str]) -> list[Splat]:
    """Splats of a log with their lines, by a build of ours: its folder, or the begin of its key.

    said: the kernels' banners in that log. InputError where there is no such build, or where a
    banner is of another one.
    """
    found = builds.named(build, resources.cache())
    other = next((banner for banner in said if not is_of(found, banner)), "")
    if other:
        raise InputError(
            f"this log is not of the kernel in {found.folder} alone, which says that it was built "
            f"as {kernel.identity(found.key)}: {' '.join(other.split())[:200]!r}",
            hint="a build's key begins with what stands behind the @ of the log's 'Linux version'",
        )
    return symbols.explain(splats, found, Origins.read(found))


def _kept(log: Path | None, folder: Path) -> str:
    """A log's path below the run's folder, where no later build writes over it."""
    if log is None or not log.is_file():
        return ""
    if not log.is_relative_to(folder):
        log = Path(shutil.copyfile(log, folder / "build.log"))
    return str(log.relative_to(folder))


def _experiment(plan: scenario.Scenario, state: State, progress: Progress) -> None:
    chosen, given = state.chosen, state.given
    sources = Sources(state, progress)
    if given.builds and given.inputs is not None:
        state.digests |= given.digests
        state.pinpage = given.inputs.pinpage
    else:
        state.pinpage = has_pinpage(sources.patched)
        state.digests["modules"] = cache.key(*module_sources(chosen))
    state.events += plan.inspect(sources, chosen.spec.params)
    arms = plan.arms(state.pinpage, chosen.spec.params)
    ready: dict[tuple[str, str], Bootable] = {}

    def kernel_of(arm: ArmPlan) -> Bootable:
        key = (arm.profile or chosen.profile.name, arm.extra)
        if key not in ready:
            ready[key] = kernel_of_kind(key, sources, state, progress)
        return ready[key]

    if not plan.APART:
        for arm in arms:
            kernel_of(arm)
    state.arms = arms
    for arm in arms:
        if plan.APART:
            _apart(plan, arm, kernel_of, state, progress)
        else:
            _one_arm(plan, arm, kernel_of(arm), state, progress)


def _apart(
    plan: scenario.Scenario,
    arm: ArmPlan,
    kernel_of: Callable[[ArmPlan], Bootable],
    state: State,
    progress: Progress,
) -> None:
    """One arm that is judged for itself: what its guest came to is evidence of it alone."""
    data: dict[str, JSON] = {"outcome": "", "message": ""}
    try:
        _one_arm(plan, arm, kernel_of(arm), state, progress)
    except (GuestError, CannotRun) as error:
        data = {"outcome": str(error.outcome), "message": str(error)}
        if isinstance(error, GuestError):
            _add(state, error, arm.name)
    state.events.append(Event(arm.name, "harness", "ended", data))
    for each in marks.thinned(splat.find(state.console.get(arm.name, "").splitlines())):
        report: dict[str, JSON] = {
            "kind": each.kind,
            "title": each.title,
            "function": each.function,
            "line": each.first_line,
            "report": each.report,
        }
        state.events.append(Event(arm.name, "console", "splat", report))


def _one_arm(
    plan: scenario.Scenario, arm: ArmPlan, ready: Bootable, state: State, progress: Progress
) -> None:
    """Boot a fresh guest, drive one arm in it, and keep its console whatever happens."""
    folder = state.folder / arm.name
    progress.stage(f"boot {arm.name}")
    state.kernels[arm.name] = ready
    words = state.chosen.spec
    words = replace(words, append=(*arm.append, *words.append), smp=arm.smp or words.smp)
    try:
        with (
            boot(replace(ready, words=words), folder, progress, arm) as guest,
            state.look(Scene(arm, state.arms, ready, guest, progress)) as saw,
        ):
            state.argv, state.guests[arm.name] = tuple(guest.argv), guest.origin
            progress.note(f"{arm.name} was {guest.origin}")
            progress.stage(f"drive {arm.name}")

            def emit(event: Event) -> None:
                state.events.append(event)
                if (event.source, event.name) == ("trigger", "attempt"):
                    _advanced(event, progress)
                saw(event)

            plan.drive(guest, arm, words.seed, words.params, emit)
    finally:
        log = folder / "console.log"
        text = log.read_text(errors="replace") if log.is_file() else ""
        state.console[arm.name] = text
        lines = text.splitlines()
        state.splats += marks.thinned(marks.attribute(splat.find(lines), lines, arm.name))
        if dropped := marks.dropped(lines):
            state.events.append(Event(arm.name, "console", "dropped", {"messages": dropped}))
        for said in marks.faulted(lines):
            state.events.append(Event(arm.name, "console", "faulted", {"said": said}))


def _advanced(event: Event, progress: Progress) -> None:
    """Say what was tried last, and what came of it: a drive may take minutes."""
    data = event.data
    how = "" if data["ok"] else f": {errno_name(int(str(data['errno'])))}"
    number = int(str(data["number"]))
    progress.advance(number, None, f"attempts, {data['trigger']} of {data['target']}{how}")


def left_out(words: RunSpec, progress: Progress) -> Iterator[tuple[str, str, RunRecord]]:
    """For each fix in turn: leave it out, and see whether its defect shows again.

    Yields the defect, the patch that mends it, and the record of the run without it. InputError
    where the series has no fix of the catalogue's.
    """
    chosen = choose(words)
    series_of = series.load(words.series, chosen.kernel, fetch(chosen, progress))
    names = [patch.name for patch in series_of.patches]
    found = [
        (defect, name) for defect, part in defects.fixes().items() for name in names if part in name
    ]
    if not found:
        raise InputError(
            f"series {series_of.name} has no patch that mends a defect of the catalogue",
            hint="try --series fixed",
        )
    for defect, name in found:
        own = replace(words, without=(name,), params={"only": defect})
        progress.note(f"without {name}")
        yield defect, name, run(own, progress)[0]
