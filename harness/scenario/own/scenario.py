# SPDX-License-Identifier: GPL-2.0-only
"""A scenario of one's own as a Scenario, built of a Plan; and what of it a run's folder keeps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from harness import expectation, verdict
from harness.errors import CannotRun, EvidenceError, InfraError, InputError, errno_name
from harness.model import (
    ArmPlan,
    ArmResult,
    Attempt,
    Event,
    Guest,
    LedgerRow,
    Outcome,
    Splat,
    Verdict,
)
from harness.scenario.base import Default, Emit, Param, Params, Usual
from harness.scenario.own.drive import Drive, Ground, probe
from harness.scenario.own.plan import Plan, Step
from harness.scenario.pinned import APPEND, beside, check_room, check_strewn, pinned
from harness.scenario.recorder import Recorder, mount
from harness.seen import attempt_of, gather

FOLDER = "scenario"  # in the run's folder, see report/reproduce.py
_PAGES_IN_MIB = 256
_LENT = 3  # a contiguous area is at most a third of the memory
_NAMED = 3  # steps that went wrong that a sentence names


class OwnScenario(Usual):
    """One scenario of a user's; see base.py for what each of its parts is."""

    MODULES: tuple[str, ...]

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.name, self.summary = plan.name, plan.summary
        self.FEATURES = _features(plan)
        self.MODULES = _modules(plan)
        self.PARAMS: Mapping[str, Param] = _params(plan)
        self.expected = expectation.Expectation(
            pinned=plan.pin.least,
            moved=plan.moved,
            compacts=plan.has("compact", "compact-node"),
            huge=plan.huge,
        )

    def check(self, params: Params, memory_mib: int) -> None:
        pin = self.plan.pin
        values = self.values(params)
        if pin.pages:
            check_strewn(int(values["pages"]), int(values["every"]), memory_mib)
        if pin.area and int(values["area"]) * _LENT > memory_mib:
            raise InputError(
                f"an area of {values['area']} MiB is more than a third of a guest with "
                f"{memory_mib} MiB",
                hint=f"give --memory {int(values['area']) * _LENT}, or a smaller area",
            )
        if pin.plugged and int(values["plugged"]) % 128:
            raise InputError(f"--set plugged={values['plugged']}: memory comes in 128 MiB blocks")
        mib = int(values.get("area", 0)) or int(values.get("plugged", 0))
        frames = mib * _PAGES_IN_MIB or pin.frames
        if frames:
            check_room(frames, int(values["every"]), pin.least)

    def arms(self, series_has_pinpage: bool, params: Params) -> tuple[ArmPlan, ...]:
        plan, values = self.plan, self.values(params)
        area = (f"cma={values['area']}M",) if plan.pin.area else ()
        control = ArmPlan(
            "control",
            "control",
            "plain",
            append=(*APPEND, *area, *plan.append),
            smp=plan.smp,
            room=((int(values["plugged"]), plan.nodes - 1),) if plan.pin.plugged else (),
            nodes=plan.nodes,
            bare_nodes=int(plan.pin.plugged and plan.nodes > 1),
            huge=bool(plan.pin.pages) or plan.huge,
        )
        arms = beside(control, series_has_pinpage)
        if plan.control:
            return arms
        if not arms[1:]:
            raise CannotRun(
                f"{plan.file} has no control arm, and the series brings no pin page subsystem",
                hint="leave 'control: none' out, or name a series that has it: --series fixed",
            )
        return arms[1:]

    def drive(
        self, guest: Guest, arm: ArmPlan, seed: int, params: Mapping[str, Default], emit: Emit
    ) -> None:
        plan, values = self.plan, self.values(params)
        mount(guest)
        probe(guest, plan)
        ground = Ground(guest, plan, values)
        evidence = {**values, "file": sha256(plan.text.encode()).hexdigest()}

        def lay_out(record: Recorder) -> None:
            ground.lay_out(record, seed)

        with pinned(guest, arm, seed, evidence, emit, lay_out) as own:
            drive = Drive(own, plan, arm.role, ground.device)
            with own.drive(steps=len(plan.steps)):
                drive.all()
            drive.done()

    def judge(
        self,
        arms: Sequence[ArmPlan],
        events: Sequence[Event],
        rows: Sequence[LedgerRow],
        splats: Sequence[Splat],
    ) -> Verdict:
        """What goes for every scenario comes first; then what this one's steps had to come to."""
        answer = super().judge(arms, events, rows, splats)
        try:
            answer = replace(answer, arms=tuple(_with_steps(arm, events) for arm in answer.arms))
        except EvidenceError as error:
            return verdict.from_error(error, arms, (), splats)
        if answer.outcome in (Outcome.FAIL, Outcome.CRASH):
            return self._and_steps(answer)
        if answer.outcome is not Outcome.PASS:
            return answer
        missing = next(filter(None, map(self._missing, answer.arms)), "")
        if missing:
            return _answered(answer, Outcome.INFRA, missing)
        wrong = next(filter(None, map(self._wrong, answer.arms)), "")
        if wrong:
            return _answered(answer, Outcome.FAIL, wrong)
        wished = sum(1 for arm in answer.arms for _ in self.plan.wishes(arm.role))
        if not wished:
            return answer
        met = f"{wished} expectation{'' if wished == 1 else 's'} of its steps met"
        return replace(answer, reason=f"{answer.reason}; {met}")

    def _and_steps(self, answer: Verdict) -> Verdict:
        """The answer, with the step that went wrong where it does not speak of what was tried: what
        the others rest on may not have been done."""
        wrong = next(filter(None, map(self._wrong, answer.arms)), "")
        if not wrong or "which had to" in answer.reason or wrong in answer.reason:
            return answer
        if answer.outcome is Outcome.CRASH:
            return replace(answer, reason=f"{answer.reason}; moreover {wrong}")
        return replace(answer, reason=f"{wrong}; moreover {answer.reason}")

    def _missing(self, arm: ArmResult) -> str:
        """The step of which there is no evidence, "" if there is of each."""
        made = {each.group for each in arm.attempts}
        step = next((step for step in self.plan.steps if step.group not in made), None)
        return (
            ""
            if step is None
            else f"nothing says that {_named(step)} was done in the {arm.name} arm"
        )

    def _wrong(self, arm: ArmResult) -> str:
        """What of an arm is not as it had to be, "" if all is."""
        if self.plan.stays and arm.role == "treated" and arm.migrated:
            return (
                f"{arm.migrated} of {arm.pinned} pages of the {arm.name} arm moved, all had to stay"
            )
        wrong = [
            f"{_named(step)} {_came(made)} and {wish}"
            for step, wish in self.plan.wishes(arm.role)
            for made in arm.attempts
            if made.group == step.group and not wish.met(made)
        ]
        wrong += [
            f"{made.group} {_came(made)}"
            for made in arm.attempts
            if made.expected not in (None, made.ok) and made.trigger == "contents"
        ]
        if not wrong:
            return ""
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        return f"in the {arm.name} arm {'; '.join(wrong[:_NAMED])}{more}"


def _named(step: Step) -> str:
    return f"step {step.number} ({step.trigger})"


def _came(made: Attempt) -> str:
    """What came of an attempt."""
    if made.got is not None:
        return f"gave {made.got} of {made.asked}"
    if made.ok:
        return f"of {made.target} succeeded"
    said = f" ({made.said})" if made.said else ""
    return f"of {made.target} failed with {errno_name(made.errno)}{said}"


def _answered(answer: Verdict, outcome: Outcome, reason: str) -> Verdict:
    said = " ".join(reason.split())
    return replace(answer, outcome=outcome, reason=said, next_step=verdict.NEXT[outcome])


def _with_steps(arm: ArmResult, events: Sequence[Event]) -> ArmResult:
    """An arm with the steps of which only they themselves speak, in their order.

    EvidenceError where one is not what it should be.
    """
    seen = gather(ArmPlan(arm.name, arm.role, arm.mode), events)
    steps = []
    for event in events:
        if (event.arm, event.source, event.name) == (arm.name, "trigger", "step"):
            try:
                made = attempt_of(event.data)
            except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
                raise EvidenceError(f"a step of arm {arm.name} is malformed: {error}") from error
            steps.append(replace(made, blockers=tuple(seen.dumped.get(made.number, ()))))
    return replace(arm, attempts=tuple(sorted((*arm.attempts, *steps), key=lambda a: a.number)))


# ---------------------------------------------------------------------------------------------
# What it needs
# ---------------------------------------------------------------------------------------------


def _features(plan: Plan) -> tuple[str, ...]:
    more = {
        "cma": plan.pin.area or plan.has("contig"),
        "hotplug": plan.pin.plugged or plan.has("offline"),
        "huge": plan.has("huge-pages"),
    }
    return ("compaction", "owner", *(name for name, needed in more.items() if needed))


def _modules(plan: Plan) -> tuple[str, ...]:
    own = [name for name, needed in (("cma_alloc", plan.pin.area or plan.has("contig")),) if needed]
    return ("pinner", "userpages", *own)


def _params(plan: Plan) -> Mapping[str, Param]:
    """The numbers of ``pin``, which --set may give others of."""
    pin = plan.pin
    found = {
        "every": Param(pin.every, "of so many neighbouring pages one is pinned", 2, 4096),
        "pages": Param(pin.pages, "pinned pages in each arm", pin.least, 100_000),
        "area": Param(pin.area, "MiB of the contiguous area", 16, 65536),
        "plugged": Param(pin.plugged, "MiB of memory that is plugged", 128, 65536),
    }
    return {name: param for name, param in found.items() if param.default}


def keep(plan: Plan, folder: Path) -> Path:
    """Put the YAML and its modules into a run's folder, as they are; where the YAML is then.

    Only the paths of its modules are others there: they lie beside it. InfraError where that cannot
    be written.
    """
    try:
        return _kept(plan, folder / FOLDER)
    except OSError as error:  # shutil's own is one
        raise InfraError(
            f"{plan.file} and its modules cannot be copied to {folder}: {error.strerror or error}",
            hint="is the disk full? --keep DIR names another folder",
        ) from error


def _kept(plan: Plan, own: Path) -> Path:
    own.mkdir()
    text, done = "", 0
    for module in sorted(plan.modules, key=lambda each: each.where):
        shutil.copytree(module.folder, own / module.name, symlinks=True)
        for header in module.folder.parent.glob("*.h"):
            shutil.copyfile(header, own / header.name)
        first, last = module.where
        path = plan.text[first:last]
        path = path if path == module.name else json.dumps(module.name)
        text, done = f"{text}{plan.text[done:first]}{path}", last
    kept = own / plan.file.name
    kept.write_text(text + plan.text[done:], encoding="utf-8")
    return kept
