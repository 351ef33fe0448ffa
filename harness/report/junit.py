# SPDX-License-Identifier: GPL-2.0-only
"""``junit.xml``: one test case for each arm and one, ``verdict``, for the run.

| verdict | element of ``verdict`` |
| --- | --- |
| PASS | none |
| FAIL, CRASH, HANG, PATCH, BUILD | ``failure``: the kernel or the series under test |
| INCONSISTENT, LOST, INFRA | ``error``: the run could not tell |
| SKIP | ``skipped`` |

A known defect that shows is a ``failure`` of its own; one that cannot be probed is ``skipped``.

An arm passes if it ended, nothing was lost or corrupt, its witnesses agree, and its pages did
what its role expects of them.
"""

from __future__ import annotations

from junit_xml import TestCase, TestSuite, to_xml_report_string

from harness.explain import Account, of_record
from harness.model import ArmResult, Finding, Outcome, RunRecord, Splat, Witness
from harness.report import frames
from harness.report.explained import one_line
from harness.report.text import last_lines, visible

FAILURES = frozenset({Outcome.FAIL, Outcome.CRASH, Outcome.HANG, Outcome.PATCH, Outcome.BUILD})
_LINES = 400  # of each console; console.log has it whole


def junit(record: RunRecord) -> str:
    """The XML text, declaration and all."""
    spec = record.spec
    # A file's name or a range of commits would make it another test each time.
    series = " ".join(dict.fromkeys(w if w.isidentifier() else "own" for w in spec.series))
    classname = visible(
        f"pinpage.{spec.scenario}.{spec.kernel}.{spec.arch}.{series}.{spec.profile}"
    )
    reasons = of_record(record)
    cases = [_arm_case(arm, record, classname, reasons) for arm in record.verdict.arms]
    cases += [_finding_case(finding, classname) for finding in record.verdict.findings]
    cases.append(_verdict_case(record, classname))
    facts = {"seed": str(spec.seed), "run": record.id}
    if record.accelerator is not None:
        facts["accelerator"] = record.accelerator.name
    suite = TestSuite(
        visible(f"pinpage {spec.scenario}"),
        cases,
        timestamp=record.started.removesuffix("+00:00"),
        hostname=visible(record.host.get("name", "localhost")),
        properties={name: visible(value) for name, value in facts.items()},
    )
    return str(to_xml_report_string([suite], encoding="utf-8"))


def _verdict_case(record: RunRecord, classname: str) -> TestCase:
    verdict = record.verdict
    case = TestCase("verdict", classname, elapsed_sec=round(record.seconds, 3))
    said = visible(verdict.reason)
    reports = [_report(splat) for splat in verdict.splats if not splat.provoked]
    detail = [text for text in (record.error.get("detail"), *reports) if text]
    more = visible("\n\n".join([f"next: {verdict.next_step}", *detail]))
    if verdict.outcome in FAILURES:
        case.add_failure_info(said, more, verdict.outcome.value)
    elif verdict.outcome is Outcome.SKIP:
        case.add_skipped_info(said, more)
    elif verdict.outcome is not Outcome.PASS:
        case.add_error_info(said, more, verdict.outcome.value)
    case.stdout = said
    return case


def _report(splat: Splat) -> str:
    """A report, and behind it whom it accuses and where its functions are."""
    return "\n".join([splat.report, *filter(None, [frames.blame(splat)]), *frames.lines(splat)])


def _arm_case(
    arm: ArmResult, record: RunRecord, classname: str, reasons: tuple[Account, ...]
) -> TestCase:
    case = TestCase(visible(arm.name), classname, elapsed_sec=round(arm.seconds, 3))
    counts = ("pinned", "migrated", "stayed", "failed", "lost", "corrupt")
    said = "".join(f"{name}: {getattr(arm, name)}\n" for name in counts)
    said += "".join(f"explain: {one_line(each)}\n" for each in reasons if each.arm == arm.name)
    console = last_lines(record.console.get(arm.name, ""), _LINES)
    case.stdout = visible(f"{said}\n{console}")
    own = [witness for witness in record.verdict.witnesses if witness.arm == arm.name]
    problem = _problem(arm, own, record.verdict.outcome)
    if problem and own:
        case.add_failure_info(visible(problem), None, "arm")
    elif problem:
        case.add_error_info(visible(problem), None, "arm")
    return case


def _finding_case(finding: Finding, classname: str) -> TestCase:
    case = TestCase(visible(f"defect {finding.defect}: {finding.title}"), classname)
    said = visible(finding.evidence)
    blame = visible(" ".join((finding.place, finding.function, finding.patch)).strip())
    if not finding.probed:
        case.add_skipped_info(said)
    elif finding.shown:
        case.add_failure_info(said, blame, "defect")
    elif finding.shown is None:
        case.add_error_info(said, None, "defect")
    case.stdout = said
    return case


def _problem(arm: ArmResult, witnesses: list[Witness], outcome: Outcome) -> str:
    """What is wrong with an arm on its own, "" if nothing."""
    if not witnesses:
        return "it did not come to its end"
    if arm.lost or arm.corrupt:
        return f"{arm.lost} pages are lost and {arm.corrupt} corrupt"
    liars = [w.source for w in witnesses if w.complete and not w.agrees]
    if liars:
        return f"its witnesses disagree: {', '.join(liars)}"
    if arm.role == "control" and arm.migrated:
        return f"{arm.migrated} pages migrated that had to stay"
    if arm.role == "treated" and not arm.migrated and outcome is not Outcome.PASS:
        return "no page migrated"
    return ""
