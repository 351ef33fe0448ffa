# SPDX-License-Identifier: GPL-2.0-only
"""Evidence of two arms made by hand, whole and agreeing, for tests to spoil one thing of."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import cache
from typing import Any

from harness.expectation import Expectation
from harness.model import ArmPlan, Event, Splat, Verdict
from harness.pages import ledger
from harness.parse.pageflags import BITS
from harness.verdict import judge

CONTROL = ArmPlan("control", "control", "plain")
TREATED = ArmPlan("treated", "treated", "pinpage")
PAGES = 400  # a verdict on so few is asked for with EXPECTED
MOVED = 360
FIRST, TARGET = 10_000, 500_000
EXPECTED = Expectation(pinned=PAGES)
BUDDY = 1 << BITS["BUDDY"]

SPLAT = Splat("BUG", "kernel BUG at mm/compaction.c:1234!", "isolate", 10, 20, "…", fatal=True)

Json = dict[str, Any]


class Evidence:
    """Events of one arm, found again by source and name."""

    def __init__(self, plan: ArmPlan) -> None:
        self.plan = plan
        self.items: list[tuple[str, str, Json]] = []

    def add(self, source: str, name: str, **data: Any) -> None:
        self.items.append((source, name, data))

    def get(self, source: str, name: str, when: str | None = None) -> Json:
        for item in self.items:
            if item[:2] == (source, name) and when in (None, item[2].get("when")):
                return item[2]
        raise KeyError((source, name, when))

    def all(self, source: str, name: str) -> list[Json]:
        return [item[2] for item in self.items if item[:2] == (source, name)]

    def drop(self, source: str, name: str) -> None:
        self.items = [item for item in self.items if item[:2] != (source, name)]

    def rows(self, when: str = "after") -> list[list[Any]]:
        found: list[list[Any]] = self.get("pinner", "ledger", when)["rows"]
        return found

    def events(self) -> list[Event]:
        return [Event(self.plan.name, s, n, d) for s, n, d in self.items]


def _readings(made: Evidence, moved: int, failed: int) -> None:
    for when in ("outer-before", "inner-before"):
        made.add("vmstat", "vmstat", when=when, values=_vmstat(100, 5, 0))
    for when in ("inner-after", "outer-after"):
        made.add("vmstat", "vmstat", when=when, values=_vmstat(100 + moved, 5 + failed, 900))
    made.add("trace", "mm_compaction_begin", mode="sync")
    made.add(
        "trace",
        "mm_migrate_pages",
        nr_succeeded=str(moved),
        nr_failed=str(failed),
        mode="MIGRATE_SYNC",
        reason="compaction",
    )


def _vmstat(success: int, fail: int, scanned: int) -> Json:
    return {
        "pgmigrate_success": success,
        "pgmigrate_fail": fail,
        "compact_migrate_scanned": scanned,
        "nr_isolated_anon": 3,
        "nr_isolated_file": 0,
    }


def _counters(mode: str, migrated: int, verified: int, refused: int = 0) -> Json:
    counts = {"migrated": migrated, "verified": verified, "corrupt": 0, "lost": 0}
    counts |= {"refused": refused, "nr_isolated": 2}
    return {"mode": mode, "pinned": PAGES, **counts}


def _memory(made: Evidence, when: str, order9: int) -> None:
    free = [100, 50, 20, 10, 5, 5, 5, 5, 5, order9 % 2, order9 // 2]
    made.add("buddyinfo", "free", when=when, zones=[{"node": 0, "zone": "DMA32", "free": free}])
    orders = [-1.0] * 9 + [0.8 if order9 < 10 else -1.0, 0.9]
    zone = {"node": 0, "zone": "DMA32", "orders": orders}
    made.add("buddyinfo", "extfrag_index", when=when, zones=[zone])
    zone = {"node": 0, "zone": "DMA32", "orders": [0.0] * 9 + [1 - order9 / 500, 0.9]}
    made.add("buddyinfo", "unusable_index", when=when, zones=[zone])
    made.add("pinner", "huge", when=when, order=9, got=order9, most=4096)


def arm(plan: ArmPlan, *, moved: int, after9: int, refused: int = 0) -> Evidence:
    """``moved`` pages move once; the next ``refused`` are refused once with -EAGAIN."""
    made: Evidence = pickle.loads(_arm(plan, moved, after9, refused))
    return made


@cache
def _arm(plan: ArmPlan, moved: int, after9: int, refused: int) -> bytes:
    made = Evidence(plan)
    before = [[h, FIRST + 7 * h, FIRST + 7 * h, 0, 0, "stored"] for h in range(PAGES)]
    after = [[*row] for row in before]
    made.add("harness", "params", seed=1, mode=plan.mode, pages=PAGES)
    made.add("pinner", "ledger", when="before", rows=before)
    made.add("pinner", "counters", when="before", values=_counters(plan.mode, 0, 0))
    frames = [[row[1], 0] for row in before]
    made.add("pageflags", "flags", when="before", frames=frames, asked=len(frames))
    _memory(made, "before", 170)
    _readings(made, moved + 40, refused)
    for h in range(moved + refused):
        old, new, errno = before[h][1], TARGET - h, 0 if h < moved else -11
        name = "migrated" if errno == 0 else "refused"
        made.add("pinner", name, seq=h, handle=h, old=old, new=new, errno=errno, window=True)
        if errno:
            after[h][4] = errno
        else:
            after[h][2:4] = [new, 1]
        if h % 10 == 0 or errno:
            logged = new if errno == 0 else None
            made.add("dmesg", name, handle=h, old=old, new=logged, errno=errno)
    made.add("pinner", "calls", total=moved + refused, dropped=0)
    freed = [[before[h][1], 0] for h in range(moved)] + [[777, 0], [888, 3]]
    made.add("trace", "mm_page_free", frames=freed)
    counts = {"entries": 9, "overrun": 0, "commit overrun": 0, "dropped events": 0}
    made.add("trace", "stats", cpu="cpu0", counts=counts)
    made.add("trace", "read", events=9, lost=0)
    made.add("dmesg", "read", bytes=1000)
    made.add("pinner", "ledger", when="after", rows=after)
    made.add("pinner", "counters", when="after", values=_counters(plan.mode, moved, PAGES, refused))
    _memory(made, "after", after9)
    frames = [[row[1], BUDDY if row[3] else 0] for row in after]
    frames += [[row[2], 0] for row in after if row[3]]
    made.add("pageflags", "flags", when="after", frames=frames, asked=len(frames))
    frames = [[row[2], 0] for row in after]
    made.add("pageflags", "flags", when="released", frames=frames, asked=len(frames))
    made.add("pinner", "refs", rows=[[row[0], row[2], 1] for row in after])
    made.add("pinner", "verify", ok=True)
    made.add("harness", "compacted", flags=4194560)
    made.add("harness", "drive", seconds=2.5, rounds=2, nodes=[])
    made.add("harness", "rmmod")
    return pickle.dumps(made)


class Case:
    """Both arms; ``spoil`` one thing, then ``verdict``."""

    def __init__(self) -> None:
        self.control = arm(CONTROL, moved=0, after9=171)
        self.treated = arm(TREATED, moved=MOVED, after9=440, refused=3)
        self.arms: tuple[ArmPlan, ...] = (CONTROL, TREATED)
        self.splats: list[Splat] = []

    def events(self) -> list[Event]:
        return self.control.events() + self.treated.events()

    def verdict(self) -> Verdict:
        events = self.events()
        return judge(self.arms, events, ledger(events), self.splats, EXPECTED)


Spoil = Callable[[Case], None]
