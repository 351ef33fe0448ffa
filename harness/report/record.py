# SPDX-License-Identifier: GPL-2.0-only
"""``run.json``: a RunRecord as plain values, and its schema."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from harness.errors import InfraError
from harness.model import (
    ArmResult,
    Attempt,
    Culprit,
    Frame,
    RunRecord,
    RunSpec,
    Splat,
    Witness,
)
from harness.parse.splat import one_to_json
from harness.report import inputs

SCHEMA = 1
_SAID = 300  # characters of what is wrong with a content
SCHEMA_FILE = Path(__file__).with_name("run.schema.json")


def as_json(record: RunRecord) -> dict[str, Any]:
    """run.json's content, checked against its schema."""
    spec, verdict = record.spec, record.verdict
    content = {
        "schema": SCHEMA,
        "id": record.id,
        "verdict": verdict.outcome.value,
        "reason": verdict.reason,
        "next_step": verdict.next_step,
        "exit_code": record.exit_code,
        "interrupted": record.interrupted,
        "scenario": spec.scenario,
        "kernel": spec.kernel,
        "arch": spec.arch,
        "series": " ".join(spec.series),
        "profile": spec.profile,
        "seed": spec.seed,
        "accelerator": record.accelerator.name if record.accelerator else None,
        "accelerator_why": record.accelerator.why if record.accelerator else None,
        "argv": list(record.argv),
        "guests": dict(record.guests),
        "arms": {arm.name: _arm(arm) for arm in verdict.arms},
        "witnesses": [_witness(witness) for witness in verdict.witnesses],
        "splats": [_splat(splat) for splat in verdict.splats],
        "findings": [asdict(finding) for finding in verdict.findings],
        "started": record.started,
        "seconds": round(record.seconds, 3),
        "stages": dict(record.stages),
        "digests": dict(record.digests),
        "toolchain": dict(record.toolchain),
        "host": dict(record.host),
        "spec": _spec(spec),
        "error": dict(record.error),
        "inputs": None if record.inputs is None else inputs.as_json(record.inputs),
        "again": None if record.again is None else asdict(record.again),
    }
    found = problem(content)
    if found:
        raise InfraError(
            f"run.json would not be what its schema promises: {found}",
            hint="this is a bug of pinpage: please report it with this line",
        )
    return content


def _spec(spec: RunSpec) -> dict[str, Any]:
    return {
        "series": list(spec.series),
        "without": list(spec.without),
        "upto": spec.upto,
        "config": list(spec.config),
        "snapshots": spec.snapshots,
        "tree": spec.tree,
        "jobs": spec.jobs,
        "keep": str(spec.keep) if spec.keep is not None else None,
        "toolchain": spec.toolchain,
        "accel": spec.accel,
        "memory_mib": spec.memory_mib,
        "smp": spec.smp,
        "append": list(spec.append),
        "params": dict(spec.params),
        "file": str(spec.file) if spec.file is not None else None,
    }


def _arm(arm: ArmResult) -> dict[str, Any]:
    return {
        "role": arm.role,
        "mode": arm.mode,
        "pinned": arm.pinned,
        "migrated": arm.migrated,
        "stayed": arm.stayed,
        "failed": arm.failed,
        "lost": arm.lost,
        "corrupt": arm.corrupt,
        "reasons": dict(arm.reasons),
        "order9_before": arm.order9_before,
        "order9_after": arm.order9_after,
        "swept": arm.swept,
        "swept_moved": arm.swept_moved,
        "free_before": list(arm.free_before),
        "free_after": list(arm.free_after),
        "fragmentation_before": arm.fragmentation_before,
        "fragmentation_after": arm.fragmentation_after,
        "unusable_before": arm.unusable_before,
        "unusable_after": arm.unusable_after,
        "seconds": arm.seconds,
        "attempts": [_attempt(attempt) for attempt in arm.attempts],
        "held_by": [asdict(holders) for holders in arm.held_by],
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    frames = None if attempt.frames is None else list(attempt.frames)
    return {
        **asdict(attempt),
        "frames": frames,
        "provokes": list(attempt.provokes),
        "blockers": list(attempt.blockers),
    }


def _witness(witness: Witness) -> dict[str, Any]:
    return {
        "claim": witness.claim,
        "arm": witness.arm,
        "source": witness.source,
        "count": witness.count,
        "agrees": witness.agrees,
        "complete": witness.complete,
        "detail": witness.detail,
    }


def _splat(splat: Splat) -> dict[str, Any]:
    return {
        **one_to_json(splat),
        "arm": splat.arm,
        "during": splat.during,
        "provoked": splat.provoked,
        "again": splat.again,
        **symbols(splat),
    }


def symbols(splat: Splat) -> dict[str, Any]:
    """What a build's symbols say of a report."""
    return {
        "blame": None if splat.culprit is None else _culprit(splat.culprit),
        "frames": [_frame(frame) for frame in splat.frames],
    }


def _culprit(culprit: Culprit) -> dict[str, Any]:
    also = [list(each) for each in culprit.also]
    return {**asdict(culprit), "also": also, "said": culprit.said}


def _frame(frame: Frame) -> dict[str, Any]:
    return {
        "line": frame.line,
        "function": frame.function,
        "module": frame.module,
        "offset": frame.offset,
        "sure": frame.sure,
        "places": [asdict(place) for place in frame.places],
    }


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text("utf-8")))


def problem(content: object) -> str:
    """Where a content of run.json is not what its schema promises, "" where it is."""
    error = next(iter(_validator().iter_errors(content)), None)
    return "" if error is None else f"{error.json_path}: {error.message[:_SAID]}"
