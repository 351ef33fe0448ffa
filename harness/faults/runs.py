# SPDX-License-Identifier: GPL-2.0-only
"""Does a try with real kernels: the fault on top of the series, or in a copy of the modules."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from harness import pipeline, resources, scenario, spec
from harness.build import modules
from harness.errors import InputError, PatchError
from harness.faults.catalogue import Fault, Try
from harness.faults.store import Tried
from harness.model import Outcome, Patch, Progress, RunRecord, RunSpec, Silent


@dataclass(frozen=True)
class Runs:
    """words: what every run is asked, but for scenario, profile and fault."""

    words: RunSpec
    progress: Progress

    def inputs(self, fault: Fault | None, how: Try) -> tuple[str, ...]:
        if _unknown(how):
            return ()
        try:
            wanted, folder = self._wanted(fault, how)
        except PatchError:
            return ()  # the run says it, and is not recorded
        chosen = pipeline.choose(wanted, folder)
        quiet = Silent()
        try:
            tree = pipeline.apply(chosen, pipeline.fetch(chosen, quiet), quiet)
        except PatchError:
            return ()
        built = pipeline.digest(chosen, tree)
        words = (wanted.accel, str(wanted.seed), str(wanted.smp), str(wanted.memory_mib))
        params = [f"{name}={value}" for name, value in sorted(wanted.params.items())]
        return (built, how.scenario, *words, *wanted.append, *params)

    def run(self, fault: Fault | None, how: Try) -> Tried:
        why = _unknown(how)
        if why:
            return _tried(how, Outcome.SKIP, why)
        self.progress.note(f"{fault.name if fault else 'no fault'}: {how}")
        try:
            wanted, folder = self._wanted(fault, how)
        except PatchError as error:
            return _tried(how, Outcome.PATCH, error.message)
        record, where = pipeline.run(wanted, self.progress, folder)
        return _recorded(how, record, where)

    def _wanted(self, fault: Fault | None, how: Try) -> tuple[RunSpec, Path | None]:
        params = scenario.params(how.scenario, how.settings)
        guest = dict(how.guest)
        wanted = replace(
            self.words,
            scenario=how.scenario,
            profile=how.profile,
            params=params,
            smp=guest.get("smp", self.words.smp),
            memory_mib=guest.get("memory", self.words.memory_mib),
        )
        if fault is None:
            return wanted, None
        if not fault.modules:
            return replace(wanted, series=(*wanted.series, str(fault.path))), None
        patch = Patch(fault.path.name, fault.title, fault.text)
        own = modules.patched(
            resources.guest_modules(), patch, cache=resources.cache(), progress=Silent()
        )
        return wanted, own


def _unknown(how: Try) -> str:
    """Why there is no such try here, "" if there is."""
    if how.scenario not in scenario.names():
        return f"there is no scenario {how.scenario}"
    if how.profile not in {each.name for each in spec.profiles()}:
        return f"there is no profile {how.profile}"
    try:
        scenario.params(how.scenario, how.settings)
    except InputError as error:
        return error.message
    return ""


def _recorded(how: Try, record: RunRecord, where: Path) -> Tried:
    built = sum(record.stages.get(name, 0.0) for name in _BEFORE)
    tried = _tried(how, record.verdict.outcome, record.verdict.reason)
    return replace(
        tried,
        seconds=round(record.seconds - built, 1),
        build_seconds=round(built, 1),
        run=str(where),
    )


_BEFORE = ("source", "apply", "config", "build", "image")  # stages before the first guest


def _tried(how: Try, outcome: Outcome, said: str) -> Tried:
    more = " ".join((*how.settings, *(f"{name}={value}" for name, value in how.guest)))
    return Tried(how.scenario, how.profile, more, outcome, said)
