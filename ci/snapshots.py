# SPDX-License-Identifier: GPL-2.0-only
"""Every scenario with one seed, each guest booted and then each guest restored; see ci/snapshots.

Compared are the verdicts, what each defect's probe found, and the counts of the control arms,
whose pages stay. How many pages a treated arm moves is not: two boots differ in that, too; nor is
to a page how many are pinned, as pins go where memory is free. Ends with 1 if a scenario says two
things, or if a guest was not restored.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from typing import Any

from harness import scenario

COUNTS = ("migrated", "failed", "lost", "corrupt")
FEWER = 0.01  # of the pages that are pinned from a boot, from a snapshot or the other way round
RESTORED = "restored"


def run(name: str, keep: str, words: list[str]) -> dict[str, Any]:
    """A run's record; {} where it left none (bad usage, a scenario that cannot run)."""
    argv = [sys.executable, "-m", "harness.cli", "run", name, "--seed", "7", "--json"]
    argv += ["--keep", keep, *words]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    record = json.loads(done.stdout) if done.stdout.strip() else {}
    return record if "verdict" in record else {}


def said(record: dict[str, Any]) -> dict[str, Any]:
    """What has to be the same."""
    arms = {name: arm for name, arm in record.get("arms", {}).items() if arm["role"] == "control"}
    return {
        "verdict": record.get("verdict"),
        "defects": {found["defect"]: found["shown"] for found in record.get("findings", [])},
        "control": {
            name: [arm["stayed"] == arm["pinned"], *(arm[count] for count in COUNTS)]
            for name, arm in arms.items()
        },
    }


def pinned(record: dict[str, Any]) -> int:
    """Pages, in all arms."""
    return sum(arm["pinned"] for arm in record.get("arms", {}).values())


def compared(name: str, words: list[str]) -> bool:
    """Run a scenario from boots and from snapshots, and print its row."""
    with tempfile.TemporaryDirectory(prefix="pinpage-") as keep:
        booted = run(name, keep, [*words, "--boot-each"])
        restored = run(name, keep, words)
        if set(restored.get("guests", {}).values()) - {RESTORED}:
            restored = run(name, keep, words)  # those that booted were saved by that
    origins = restored.get("guests", {})
    count = sum(origin == RESTORED for origin in origins.values())
    pins = sorted(map(pinned, (booted, restored)))
    same = bool(booted) and said(booted) == said(restored) and pins[0] >= pins[1] * (1 - FEWER)
    verdicts = [str(record.get("verdict", "no run")) for record in (booted, restored)]
    row = [f"{name:<16}", *(f"{verdict:<14}" for verdict in verdicts)]
    row += [f"{count} of {len(origins)}".ljust(12), "the same" if same else "NOT the same"]
    print(*row, flush=True)  # noqa: T201
    for what in said(booted):
        if said(booted)[what] != said(restored)[what]:
            print(f"    {what}: {said(booted)[what]} / {said(restored)[what]}")  # noqa: T201
    if pins[0] != pins[1]:
        print(f"    pinned: {pinned(booted)} / {pinned(restored)}")  # noqa: T201
    for arm, origin in origins.items():
        if origin != RESTORED:
            print(f"    {arm}: {origin}")  # noqa: T201
    return same and count == len(origins)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    heads = (f"{'scenario':<16}", f"{'from boots':<14}", f"{'from snapshots':<14}")
    print(*heads, f"{'restored':<12}", flush=True)  # noqa: T201
    known, words = scenario.names(), sys.argv[1:]
    named = [word for word in words if word in known]
    rest = [word for word in words if word not in known]
    rows = [compared(name, rest) for name in named or known]
    sys.exit(0 if all(rows) else 1)


if __name__ == "__main__":
    main()
