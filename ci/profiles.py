# SPDX-License-Identifier: GPL-2.0-only
"""What each profile costs and finds; see ci/profiles.

Times are those of boots, not of snapshots, and of one scenario's drive (its treated arm), of
``fast`` and of the profile one after the other: on a busy machine only their ratio says anything.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import scenario, spec

BITES = Path("tests/bites")
TIMED = "compaction"
ROUNDS = 3
# Where a bite shows: two threads pin at once in races alone.
WHERE = {"race": ("races", "--set=rounds=2")}


def pinpage(*words: str) -> dict[str, Any]:
    """What a command says in JSON; {} where it said nothing."""
    argv = [sys.executable, "-m", "harness.cli", *words, "--json"]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    return json.loads(done.stdout) if done.stdout.strip() else {}


def run(name: str, profile: str, words: list[str], *more: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="pinpage-") as keep:
        return pinpage("run", name, f"--profile={profile}", "--keep", keep, *more, *words)


def times(profile: str, words: list[str]) -> dict[str, float]:
    """Wall seconds of a boot and of a drive."""
    record = run(TIMED, profile, words, "--seed=1", "--boot-each")
    stages, arms = record.get("stages", {}), record.get("arms", {})
    if "treated" not in arms:
        return {}
    return {"boot": stages["boot treated"], "drive": arms["treated"]["seconds"]}


def cost(profile: str, words: list[str]) -> None:
    built = pinpage("build", f"--profile={profile}", *[w for w in words if "=" in w])
    if "image" not in built:
        print(f"{profile}: cannot be built: {built.get('error', {}).get('message')}")  # noqa: T201
        return
    size = Path(built["image"]).stat().st_size / 1e6
    ratios: dict[str, list[float]] = {"boot": [], "drive": []}
    boots = []
    for _ in range(ROUNDS):
        plain, own = times("fast", words), times(profile, words)
        if plain and own:
            boots.append(own["boot"])
            for what, all_of in ratios.items():
                all_of.append(own[what] / plain[what])
    shown = [
        f"{what} x{min(found):.1f} to x{max(found):.1f}" if found else f"{what} ?"
        for what, found in ratios.items()
    ]
    print(  # noqa: T201
        f"{profile:<13} image {size:.1f} MB, {built['cpu_seconds']:.0f} CPU s, "
        f"boot {min(boots, default=0):.1f} s, {', '.join(shown)}",
        flush=True,
    )


def passes(profile: str, words: list[str]) -> bool:
    """Whether every scenario passes with the fixed series; what cannot run is shown."""
    good = True
    for name in scenario.names():
        if name == "defects":
            continue
        record = run(name, profile, words, "--seed=1")
        verdict = record.get("verdict", "no run")
        print(f"    {name:<16} {verdict:<6} {record.get('reason', '')}", flush=True)  # noqa: T201
        good &= verdict in ("PASS", "SKIP")
    return good


def bites(profile: str, words: list[str]) -> bool:
    """Whether the profile reports each fault that is planted for one of its parts."""
    good = True
    found = [(part, patch) for part in profile.split("-") for patch in BITES.glob(f"{part}*.patch")]
    for part, patch in sorted(found):
        more = ["--series=fixed", f"--series={patch}", "--seed=1"]
        name, *own = WHERE.get(part, (TIMED,))
        record = run(name, profile, words, *own, *more)
        verdict = record.get("verdict", "no run")
        print(f"    bite {patch.stem:<13} {verdict:<6} {record.get('reason', '')}", flush=True)  # noqa: T201
        good &= verdict == "CRASH"
    return good


def main() -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    known = [profile.name for profile in spec.profiles() if profile.name != "fast"]
    named = [word for word in sys.argv[1:] if word in known]
    words = [word for word in sys.argv[1:] if word not in known]
    good = True
    for profile in named or known:
        cost(profile, words)
        good &= passes(profile, words)
        good &= bites(profile, words)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
