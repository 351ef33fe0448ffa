# SPDX-License-Identifier: GPL-2.0-only
"""Leaks are told from noise, by a rule; and who has memory is read right."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_evidence import EXPECTED, Case

from harness import growth, leakage
from harness.errors import EvidenceError
from harness.growth import Round
from harness.model import ArmPlan, Caller, Event, Outcome, Verdict
from harness.pages import ledger
from harness.parse import census
from harness.seen import gather
from harness.verdict import judge
from harness.witness import disagreements

OPS = (600, 1200, 0, 600, 1200, 0, 600, 1200, 0)
ROUNDS = [Round(number, ops) for number, ops in enumerate(OPS, 1)]
ARM = ArmPlan("treated", "treated", "pinpage")
PINNER = (("pinner_plan_drain", "pinner"), ("full_proxy_write", ""))
OTHER = (("shmem_alloc_folio", ""), ("shmem_get_folio_gfp", ""))


def values(steps: list[int], first: int = 1000) -> list[int]:
    return [first + sum(steps[:at]) for at in range(len(steps) + 1)]


@pytest.mark.parametrize(
    ("steps", "leaks"),
    [
        ([1, 1, 0, 1, 1, 0, 1, 1, 0], True),  # one a round
        ([60, 120, 0, 61, 118, -3, 59, 122, 2], True),  # one of ten operations
        ([0] * 9, False),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1], False),  # idle rounds do it too
        ([1, 1, 0, 1, 0, 0, 1, 1, 0], False),  # not every round
        ([5, -4, 0, 3, 7, -2, 1, 2, 0], False),
        ([40, 20, 0, 9, 5, 0, 2, 1, 0], False),  # it fills up
        ([-1, -1, 0, -1, -1, 0, -1, -1, 0], False),
        ([3, 3, -6, 3, 3, -6, 3, 3, -6], False),  # it is given back
        ([1, 90, 0, 2, 80, 0, 1, 3, 0], False),  # by no measure the same each time
    ],
)
def test_the_rule(steps: list[int], leaks: bool) -> None:
    assert growth.growth(ROUNDS, values(steps)).leaks is leaks


def test_a_page_a_round_wants_more_rounds_than_many() -> None:
    four = [Round(1, 500), Round(2, 1000), Round(3, 0), Round(4, 500), Round(5, 1000), Round(6, 0)]
    assert not growth.growth(four, values([1, 2, 0, 1, 2, 0])).leaks
    assert growth.growth(four, values([5, 10, 0, 5, 10, 0])).leaks
    assert growth.growth(four, values([1, 1, 0, 1, 1, 0])).sticks  # of what has no noise


MOVED = (80, 960, 0, 45, 580, 0, 70, 800, 0)


@pytest.mark.parametrize(
    ("steps", "leaks"),
    [
        ([96, 960, 0, 32, 576, 0, 64, 832, 0], True),  # an object of each page that moved
        ([90, 90, 0, 300, 20, 0, 3, 800, 0], False),
    ],
)
def test_what_leaks_with_each_page_that_moved(steps: list[int], leaks: bool) -> None:
    rounds = [replace(each, moved=moved) for each, moved in zip(ROUNDS, MOVED, strict=True)]
    assert growth.growth(rounds, values(steps)).leaks is leaks
    assert not growth.growth(ROUNDS, values(steps)).leaks


def test_too_few_rounds_tell_nothing() -> None:
    few = [Round(1, 600), Round(2, 1200), Round(3, 600), Round(4, 0), Round(5, 0)]
    assert not growth.growth(few, [0, 1, 2, 3, 3, 3]).leaks
    assert not growth.enough(few)
    assert growth.enough(ROUNDS)
    with pytest.raises(ValueError, match="9 rounds have 3 values"):
        growth.growth(ROUNDS, [1, 2, 3])


def test_noise_is_seldom_a_leak() -> None:
    """Of ten thousand counts that stay at a level, or wander by themselves, hardly one leaks."""
    dice = random.Random(5)
    tries = range(10_000)
    wander = [values([dice.randint(-6, 6) for _ in OPS]) for _ in tries]
    level = [[dice.randint(0, 6) for _ in (0, *OPS)] for _ in tries]
    assert sum(growth.growth(ROUNDS, each).leaks for each in wander) <= 10
    moving = [replace(each, moved=moved) for each, moved in zip(ROUNDS, MOVED, strict=True)]
    assert sum(growth.growth(moving, each).leaks for each in wander) <= 10
    assert sum(growth.growth(ROUNDS, each).leaks for each in level) <= 2


@given(st.integers(2, 50), st.lists(st.integers(-1, 0), min_size=3, max_size=3))
def test_a_leak_of_any_size_is_found_where_nothing_else_moves(size: int, idle: list[int]) -> None:
    left = iter(idle)
    steps = [size if ops else next(left) for ops in OPS]
    found = growth.growth(ROUNDS, values(steps))
    assert found.leaks and found.total == 6 * size


# Evidence ----------------------------------------------------------------------------------------


def censuses(
    pinner: list[int],
    free: list[int],
    kmalloc: list[int] | None = None,
    *,
    stacks: bool = True,
    **vmstat: int,
) -> list[Event]:
    """Censuses in which counts grow by these steps (free pages: by which they fall)."""
    slabs = values(kmalloc or [0] * len(OPS), 500)
    events = []
    if not stacks:
        why = {"part": "stacks", "why": "there is no show_stacks"}
        events.append(Event("treated", "census", "absent", why))
    ops = (0, *OPS)
    for number, (pages, lost, objects) in enumerate(
        zip(values(pinner, 0), values(free, 0), slabs, strict=True)
    ):
        data: dict[str, Any] = {
            "number": number,
            "ops": ops[number],
            "free": 200_000 - lost,
            "modules": {},
            "vmstat": {
                "nr_isolated_file": 0,
                "nr_slab_unreclaimable": 900 + (objects - 500) * 64 // 4096,
                **vmstat,
            },
            "slabs": {"kmalloc-64": [objects, 64]},
        }
        if stacks:
            data["stacks"] = [[0, pages], [1, 40 + number % 3]]
            data["new"] = [] if number else [[0, PINNER], [1, OTHER]]
        events.append(Event("treated", "census", "round", data))
    return events


def seen(*steps: Any, **others: Any) -> Any:
    return gather(ARM, censuses(*steps, **others))


QUIET = [0] * len(OPS)
ONE = [1 if ops else 0 for ops in OPS]
TENTH = [ops // 10 for ops in OPS]


def counts(found: Any) -> dict[tuple[str, str], tuple[int, bool, bool]]:
    return {
        (each.claim, each.source): (each.count, each.agrees, each.complete)
        for each in leakage.examine(found)
    }


def test_nothing_leaks() -> None:
    found = seen(QUIET, [5, -9, 4, 0, 7, -8, 2, 1, -3])
    assert leakage.leaks(found) == () and leakage.gap(found) == ""
    assert not disagreements(leakage.examine(found))


def test_one_page_a_round_is_found_by_its_stack_alone() -> None:
    found = seen(ONE, [5, -9, 4, 0, 7, -8, 2, 1, -3])
    (leak,) = leakage.leaks(found)
    assert str(leak) == "1 a round from pinner_plan_drain [pinner]"
    assert counts(found)["leaked pages", "page_owner"] == (6, True, True)
    # free pages cannot tell so few, and say so instead of agreeing
    assert not counts(found)["leaked pages", "free pages"][2]


@pytest.mark.parametrize(
    ("steps", "leaks"),
    [
        ([0, 64, 0, 84, 114, 0, 0, 9, 0], True),  # fix 0016 left out: in some rounds nothing failed
        ([0, 64, 0, 0, 0, 0, 0, 0, 0], False),  # once is no leak of a round
        ([0, 64, 1, 84, 114, 0, 0, 9, 0], False),  # without work too
        ([0, 64, 0, 84, -1, 0, 0, 9, 0], False),  # some came back
    ],
)
def test_what_only_the_work_can_change_need_not_grow_every_round(
    steps: list[int], leaks: bool
) -> None:
    assert bool(leakage.leaks(seen(steps, steps))) is leaks


def test_a_leak_that_goes_from_one_stack_to_another_is_told_by_the_sum() -> None:
    """As a real one did: the page was the owner's own in one round, the migration's in others."""
    moved = (("compaction_alloc", ""), ("migrate_pages_batch", ""))
    events = censuses([1, 0, 0, 0, 1, 0, 0, 1, 0], QUIET)
    other = values([0, 1, 0, 1, 0, 0, 1, 0, 0], 3)
    for number, event in enumerate(events):
        data: Any = event.data
        data["stacks"].append([2, other[number]])
        data["new"] += [] if number else [[2, moved]]
    (leak,) = leakage.leaks(gather(ARM, events))
    assert leak.growth.steps == (1,) * 6
    assert leak.what == (
        "from compaction_alloc ← migrate_pages_batch (3), and from pinner_plan_drain [pinner] (3)"
    )


def test_free_pages_bear_out_what_is_more_than_noise() -> None:
    found = seen(TENTH, [each + at % 3 for at, each in enumerate(TENTH)])
    assert counts(found)["leaked pages", "free pages"][1:] == (True, True)
    assert "0.1 an operation" in str(leakage.leaks(found)[0])


@pytest.mark.parametrize(("pinner", "free"), [(TENTH, QUIET), (QUIET, TENTH)])
def test_witnesses_that_disagree(pinner: list[int], free: list[int]) -> None:
    found = disagreements(leakage.examine(seen(pinner, free)))
    assert [(figure.source, other.source) for figure, other in found] == [
        ("page_owner", "free pages")
    ]


def test_without_page_owner_free_pages_are_the_figure() -> None:
    found = seen(QUIET, TENTH, stacks=False)
    (leak,) = leakage.leaks(found)
    assert leak.growth.total == 540
    assert counts(found)["leaked pages", "free pages"] == (540, True, True)
    assert counts(found)["leaked pages", "page_owner"] == (0, False, False)
    assert leakage.leaks(seen(QUIET, ONE, stacks=False)) == ()  # less than the noise


def test_objects_and_the_pages_of_slab() -> None:
    found = seen(QUIET, [each * 64 // 4096 for each in OPS], list(OPS))
    (leak,) = leakage.leaks(found)
    assert (leak.claim, leak.what) == ("leaked objects", "objects of kmalloc-64")
    # 5400 objects are 84 pages of slab, less than the noise of 96
    assert counts(found)["leaked objects", "pages of slab"][1:] == (False, False)
    many = seen(QUIET, QUIET, [10 * ops for ops in OPS])
    assert counts(many)["leaked objects", "pages of slab"][1:] == (True, True)


@pytest.mark.parametrize("slabinfo", [True, False])
def test_slabs_that_are_kept_are_no_leak_while_objects_are_counted(slabinfo: bool) -> None:
    events = censuses(QUIET, QUIET)
    for at, (event, pages) in enumerate(zip(events, values(TENTH, 0), strict=True)):
        data = dict[str, Any](event.data)
        data["stacks"] += [[2, pages]]
        if not data["number"]:
            data["new"] += [[2, [["alloc_slab_page", ""], ["__alloc_object", ""]]]]
        if not slabinfo:
            del data["slabs"]
        events[at] = replace(event, data=data)
    assert bool(leakage.leaks(gather(ARM, events))) is not slabinfo


@pytest.mark.parametrize(("sign", "said"), [(1, "too many"), (-1, "too few")])
def test_a_count_that_drifts_with_the_work_is_found(sign: int, said: str) -> None:
    """As one that a move adds to, and takes nothing from."""
    events = censuses(QUIET, QUIET)
    for event, value in zip(events, values([sign * step for step in TENTH], 20_000), strict=True):
        cast(dict[str, int], event.data["vmstat"])["nr_file_pages"] = value
    found = gather(ARM, events)
    (leak,) = leakage.leaks(found)
    assert (leak.claim, leak.growth.total) == ("miscounted pages", sum(TENTH))
    assert f"{said} in nr_file_pages" in str(leak)
    assert counts(found)["miscounted pages", "vmstat"] == (sum(TENTH), True, True)
    assert not disagreements(leakage.examine(found))


def test_a_count_that_drifts_unevenly_is_found() -> None:
    """As pages move once in one round, and twice in another; and nothing else changes it."""
    steps = iter([178, 1971, 45, 1909, 60, 700])
    events = censuses(QUIET, QUIET)
    drift = [next(steps) if ops else 0 for ops in OPS]
    for event, value in zip(events, values(drift, 5_000), strict=True):
        cast(dict[str, int], event.data["vmstat"])["nr_file_pages"] = value
    (leak,) = leakage.leaks(gather(ARM, events))
    assert leak.growth.total == 4863 and not leak.growth.leaks


@pytest.mark.parametrize(
    "steps", [[40, -9, 0, 7, 3, -30, 2, 1, 25], [9 if ops else 0 for ops in OPS[:3]] + [0] * 6]
)
def test_a_count_that_wanders_is_not(steps: list[int]) -> None:
    events = censuses(QUIET, QUIET)
    for event, value in zip(events, values(steps, 900), strict=True):
        cast(dict[str, int], event.data["vmstat"])["nr_mapped"] = value
    found = gather(ARM, events)
    assert leakage.leaks(found) == ()
    assert counts(found)["miscounted pages", "vmstat"] == (0, True, True)


def test_pages_that_stay_isolated_are_leaked() -> None:
    (leak,) = leakage.leaks(seen(QUIET, QUIET, nr_isolated_file=3))
    assert (leak.claim, leak.growth.total) == ("isolated pages", 3)


ALLOCATED = ["skb_page_frag_refill", "try_fill_recv", "virtnet_poll", "net_rx_action"]
# Pages of the receive ring that were seen after each round (two of its stacks): they are one.
RING = ([48, 32, 40, 32, 8, 8, 8], [48, 64, 72, 64, 80, 96, 88])


def ring(allocated: list[str], rows: tuple[list[int], ...]) -> Any:
    """Censuses with pages that soft interrupts got, each upon somebody else."""
    events = []
    for number, ops in enumerate((0, 500, 1000, 0, 500, 1000, 0)):
        upon = [[*allocated, "handle_softirqs", name] for name in ("do_idle", "ksys_write")]
        pages = [row[number] for row in rows]
        data: dict[str, Any] = {
            "number": number, "ops": ops, "free": 240_000 - sum(pages), "modules": {},
            "vmstat": {}, "stacks": [*enumerate(pages)],
            "new": [] if number else [[n, [[f, ""] for f in s]] for n, s in enumerate(upon)],
        }  # fmt: skip
        events.append(Event("treated", "census", "round", data))
    return gather(ARM, events)


def test_whom_an_interrupt_comes_upon_makes_no_stack_of_its_own() -> None:
    found = ring(["alloc_pages", "some_timer"], RING)
    (stack,) = found.census[0].stacks
    assert [call.function for call in stack][-1] == "handle_softirqs"
    assert [each.stacks[stack] for each in found.census] == [96, 96, 112, 96, 88, 104, 96]
    assert leakage.leaks(found) == ()


def test_what_comes_in_by_the_network_is_no_leak_and_no_loss() -> None:
    rising = ([100, 108, 124, 124, 132, 148, 148], [0] * 7)
    assert leakage.leaks(ring(["alloc_pages", "some_timer"], rising))
    found = ring(ALLOCATED, rising)
    assert leakage.leaks(found) == ()
    assert counts(found)["leaked pages", "free pages"] == (0, True, True)


def test_too_few_censuses_are_a_gap() -> None:
    found = seen(ONE, QUIET)
    found.census = found.census[:4]
    assert "too few" in leakage.gap(found) and leakage.leaks(found) == ()
    assert leakage.examine(found) == ()
    assert "no census" in leakage.gap(gather(ARM, []))


# The verdict -------------------------------------------------------------------------------------


def judged(events: list[Event]) -> Verdict:
    case = Case()
    whole = [*case.events(), *events]
    expected = replace(EXPECTED, census=True)
    return judge(case.arms[1:], whole, ledger(whole), (), expected)


def test_a_leak_fails_by_name_and_none_passes() -> None:
    passed = judged(censuses(QUIET, QUIET))
    assert passed.outcome is Outcome.PASS, passed.reason
    assert passed.reason.endswith("; nothing grew in 6 rounds of work")
    failed = judged(censuses(ONE, QUIET))
    assert failed.outcome is Outcome.FAIL
    said = "the treated arm leaks, leaked pages: 1 a round from pinner_plan_drain [pinner]"
    assert failed.reason == said


def test_witnesses_that_disagree_are_no_leak_and_no_pass() -> None:
    verdict = judged(censuses(QUIET, TENTH))
    assert verdict.outcome is Outcome.INCONSISTENT
    assert "'leaked pages'" in verdict.reason and "free pages says 540" in verdict.reason


def test_rounds_that_were_not_counted_are_no_pass() -> None:
    assert judged([]).outcome is Outcome.INFRA
    few = judged(censuses(QUIET, QUIET)[:4])
    assert (few.outcome, "too few" in few.reason) == (Outcome.INFRA, True)


# Parsers -----------------------------------------------------------------------------------------

STACKS = """\
 post_alloc_hook+0xc2/0xd0
 get_page_from_freelist+0x2e1/0x1000
 pinner_plan_drain+0x56/0x100 [pinner]
 full_proxy_write+0x10/0x20
nr_base_pages: 7

 post_alloc_hook+0xc2/0xd0
 pinner_plan_drain+0x99/0x100 [pinner]
 full_proxy_write+0x10/0x20
nr_base_pages: 2

 0xffffffffc0201014
 0xffffffffc0900000
nr_base_pages: 1

"""
KALLSYMS = """\
ffffffff81000000 T _stext
ffffffffc0201000 t pinner_store_one\t[pinner]
ffffffffc0201100 t pinner_plan_drain\t[pinner]
"""


def test_stacks_are_counted_and_outlive_their_module() -> None:
    names = census.symbols(KALLSYMS.splitlines())
    found = census.stacks(STACKS, names)
    assert found == {
        (Caller("pinner_plan_drain", "pinner"), Caller("full_proxy_write")): 9,
        (Caller("pinner_store_one", "pinner"), Caller("?")): 1,
    }
    again = census.symbols(["ffffffffc0300000 t prober_go\t[prober]"], names)
    assert again.find(0xFFFFFFFFC0201014) == Caller("pinner_store_one", "pinner")
    assert again.find(1) == Caller("?")


@pytest.mark.parametrize("text", [" a+0x1/0x2\n", "nonsense\n", "nr_base_pages: many\n"])
def test_stacks_that_are_cut_or_strange_are_refused(text: str) -> None:
    with pytest.raises(EvidenceError):
        census.stacks(text, census.Symbols((), ()))


def test_slabinfo_modules_and_free_pages() -> None:
    text = (
        "slabinfo - version: 2.1\n# name  <active_objs> <num_objs> <objsize>\n"
        "kmalloc-64   812  832   64   64    1 : tunables 0 0 0 : slabdata 13 13 0\n"
    )
    assert census.slabinfo(text) == {"kmalloc-64": (812, 64)}
    assert census.modules("pinner 28672 0 - Live 0xffffffffc0201000 (O)\n") == {"pinner": 0}
    assert census.free("  pages free     10\n   cpu: 0\n              count: 5\n") == 15
    for refused in ("slabinfo - version: 1.1\n", "slabinfo - version: 2.1\nx 1\n"):
        with pytest.raises(EvidenceError):
            census.slabinfo(refused)
    with pytest.raises(EvidenceError):
        census.free("nothing")
    with pytest.raises(EvidenceError):
        census.modules("pinner\n")
