# SPDX-License-Identifier: GPL-2.0-only
"""The known defects of the posted series, each provoked in a guest of its own.

A guest that crashes costs the other probes nothing. What a probe finds is a Finding: the defect
shows, does not show, or could not be told; the verdict is FAIL where one shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from harness import verdict
from harness.errors import CannotRun, EvidenceError, InputError
from harness.model import ArmPlan, Event, Finding, Guest, LedgerRow, Outcome, Splat, Verdict
from harness.parse import starved
from harness.scenario.base import Default, Emit, Param, Params, Tree
from harness.scenario.probes.catalogue import CATALOGUE, Probe
from harness.scenario.probes.facts import Facts, gather
from harness.scenario.probes.prober import Prober
from harness.scenario.recorder import Recorder

_ALL = "all"
_GUEST = (Outcome.CRASH, Outcome.HANG, Outcome.LOST)  # ends of a guest that are the kernel's doing
_FUNCTION = re.compile(r"^(?:[a-z]\w*[ *]+)*([a-z_]\w*)\(")
_LABEL = re.compile(r"^\w+:")


def fixes() -> dict[str, str]:
    """Defect → part of the name of the patch of ``fixed`` that mends it, where a probe can tell."""
    return {each.defect: each.fix for each in CATALOGUE if each.drive or each.read}


def _arm_name(probe: Probe) -> str:
    return f"defect-{probe.defect}"


class Defects:
    name = "defects"
    summary = "each known defect of the posted series, provoked in a guest of its own"
    FEATURES = ("compaction",)
    MODULES = ("prober",)
    APART = True
    PARAMS: Mapping[str, Param] = MappingProxyType(
        {
            "only": Param(_ALL, "the defects to probe, by number or letter", pattern=r"\w+(,\w+)*"),
        }
    )

    def check(self, params: Params, memory_mib: int) -> None:
        known = [probe.defect for probe in CATALOGUE]
        for word in self._wanted(params):
            if word not in known:
                raise InputError(
                    f"--set only={params['only']}: there is no defect {word!r}",
                    hint=f"the catalogue has {', '.join(known)}",
                )
        if memory_mib < 1024:
            raise InputError("the probes need a guest with 1024 MiB at least (--memory)")

    def _wanted(self, params: Params) -> list[str]:
        only = str(params.get("only", _ALL))
        return [probe.defect for probe in CATALOGUE] if only == _ALL else only.split(",")

    def arms(self, series_has_pinpage: bool, params: Params) -> tuple[ArmPlan, ...]:
        if not series_has_pinpage:
            raise CannotRun(
                "the tree has no pin page subsystem whose defects could show",
                hint="name a series that brings it: --series posted",
            )
        wanted = self._wanted(params)
        return tuple(
            ArmPlan(
                _arm_name(each),
                "probe",
                each.defect,
                each.profile,
                each.append,
                each.smp,
                each.extra,
            )
            for each in CATALOGUE
            if each.defect in wanted and each.drive is not None
        )

    def inspect(self, tree: Tree, params: Params) -> Iterable[Event]:
        wanted = self._wanted(params)
        for probe in CATALOGUE:
            if probe.defect not in wanted:
                continue
            yield Event(_arm_name(probe), "source", "wanted", {"defect": probe.defect})
            place = _place(probe, tree)
            if place is not None:
                yield Event(_arm_name(probe), "source", "place", place)
            if probe.read is not None:
                answer = probe.read(tree)
                data = {"shown": answer.shown, "evidence": answer.evidence}
                yield Event(_arm_name(probe), "source", "read", data)

    def drive(
        self, guest: Guest, arm: ArmPlan, seed: int, params: Mapping[str, Default], emit: Emit
    ) -> None:
        (probe,) = (each for each in CATALOGUE if each.defect == arm.mode)
        if probe.drive is not None:
            probe.drive(Prober(Recorder(guest, arm, emit)))

    def judge(
        self,
        arms: Sequence[ArmPlan],
        events: Sequence[Event],
        rows: Sequence[LedgerRow],
        splats: Sequence[Splat],
    ) -> Verdict:
        wanted = {event.arm for event in events if event.source == "source"}
        findings = tuple(
            _finding(each, _arm_name(each), events)
            for each in CATALOGUE
            if _arm_name(each) in wanted
        )
        answer = verdict.from_findings(findings)
        if answer.outcome is not Outcome.INFRA:
            return answer
        return _complaint(answer, findings, events, splats) or answer


def _complaint(
    answer: Verdict,
    findings: Sequence[Finding],
    events: Sequence[Event],
    splats: Sequence[Splat],
) -> Verdict | None:
    """A probe that could not tell since its guest crashed, hung or complained has told enough:
    something is wrong with the kernel, though not what was looked for."""
    for each in findings:
        if not each.probed or each.shown is not None:
            continue
        facts = _facts(each.arm, [event for event in events if event.arm == each.arm])
        told = [r for r in facts.reports if not starved.excuse(r.kind, r.text)]
        crashed = Outcome.CRASH if told else None
        ended = next((o for o in _GUEST if facts.outcome == o), crashed)
        if ended is not None:
            own = tuple(splat for splat in splats if splat.arm == each.arm)
            said = f"the probe of defect {each.defect} ended otherwise: {each.evidence}"
            return replace(
                answer,
                outcome=ended,
                reason=f"{said}{verdict.accused(own)}",
                next_step=verdict.NEXT[ended],
                splats=own,
            )
    return None


def _place(probe: Probe, tree: Tree) -> dict[str, Any] | None:
    """Where the line to blame is in the tree under test, and which patch brought it.

    Of several lines the first in the probe's own function, if there is one.
    """
    for path, pattern in filter(any, (probe.place, probe.elsewhere)):
        lines = tree.read(path).splitlines()
        found = [
            {
                "path": path,
                "line": number,
                "function": _enclosing(lines, number) or probe.function,
                "patch": tree.blame(path, line),
            }
            for number, line in enumerate(lines, 1)
            if re.search(pattern, line)
        ]
        own = [each for each in found if each["function"] == probe.function]
        if found:
            return (own or found)[0]
    return None


def _enclosing(lines: Sequence[str], number: int) -> str:
    """The function that a line (from 1) is in, "" if it is in none."""
    for line in reversed(lines[:number]):
        if line.startswith("}") and line != lines[number - 1]:
            return ""
        found = _FUNCTION.match(line)
        if found and not line.rstrip().endswith(";") and not _LABEL.match(line):
            return found[1]
    return ""


def _finding(probe: Probe, arm: str, events: Sequence[Event]) -> Finding:
    own = [event for event in events if event.arm == arm]
    source = {event.name: event.data for event in own if event.source == "source"}
    shown, evidence, probed = _answer(probe, arm, own, source)
    place = source.get("place", {})
    at = f"{place['path']}:{place['line']}" if place else ""
    return Finding(
        defect=probe.defect,
        title=probe.title,
        shown=shown,
        evidence=evidence,
        patch=str(place.get("patch", "")),
        function=str(place.get("function", probe.function)),
        place=at,
        arm=arm,
        probed=probed,
    )


def _answer(
    probe: Probe, arm: str, own: Sequence[Event], source: Mapping[str, Mapping[str, Any]]
) -> tuple[bool | None, str, bool]:
    if "read" in source:
        return source["read"]["shown"], source["read"]["evidence"], True
    if probe.drive is None:
        return None, probe.why_not, False
    try:
        facts = gather(arm, own)
        answer = probe.answer(facts)
    except EvidenceError as error:
        facts = _facts(arm, own)
        return None, _ended(facts) or error.message, facts.outcome != Outcome.SKIP
    if facts.outcome == Outcome.SKIP:
        return None, facts.message, False
    if answer.shown is False and not facts.driven:
        return None, _ended(facts) or "the probe did not come to its end", True
    others = [each.title for each in facts.reports if each.title not in answer.evidence]
    if answer.shown is False and others:
        return None, f"{answer.evidence}; yet the kernel reported {others[0]!r}", True
    if answer.shown is None and facts.reports:
        return None, f"{answer.evidence}; the kernel reported {facts.reports[0].title!r}", True
    return answer.shown, answer.evidence, True


def _facts(arm: str, own: Sequence[Event]) -> Facts:
    """What there is of the evidence; nothing where it is malformed."""
    try:
        return gather(arm, own)
    except EvidenceError:
        return Facts()


def _ended(facts: Facts) -> str:
    if facts.outcome == Outcome.SKIP:
        return facts.message
    return f"its guest ended early: {facts.message}" if facts.message else ""


SCENARIO = Defects()
