# SPDX-License-Identifier: GPL-2.0-only
"""Why a page did not migrate: the table, what evidence tells, and where a tree says so."""

from __future__ import annotations

import errno
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_runs
import pytest
from click.testing import CliRunner
from made_evidence import PAGES, Case
from rich.console import Console
from test_report import record

from harness import explain, pipeline, report, resources, spec
from harness.build.blame import Blame
from harness.cli import cli
from harness.cli import explain as command
from harness.errors import InputError, PinpageError, SourceUnavailable
from harness.explain import classify, evidence
from harness.explain.account import Account, accounts, shown
from harness.explain.classify import Facts
from harness.explain.places import Places, functions
from harness.model import JSON, Attempt, Event, LedgerRow, Outcome, PageState, Splat
from harness.parse import marks
from harness.reason import UNKNOWN, Spot
from harness.report import explained, told
from harness.report.junit import junit

CODES = {each.code for each in spec.reasons()}


# The table


def test_the_shipped_reasons_are_whole() -> None:
    assert {"busy-count", "not-on-a-list", "owner-never-asked", "unmovable-block"} <= CODES
    assert UNKNOWN not in CODES
    for reason in spec.reasons():
        assert reason.line and reason.means and reason.cure and len(reason.line) < 100
        assert not reason.line.endswith(".")


def test_every_code_that_is_told_is_in_the_table() -> None:
    source = Path(classify.__file__).read_text() + Path(explain.account.__file__).read_text()
    told = set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', source))
    assert told >= {"busy-count", "compaction-standstill"} and told <= CODES
    for plain in ("compound", "unevictable", "writeback"):
        assert f'"{plain}"' in source and plain in CODES


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("errno: EAGAIN", "errno: EAGIAN"), "EAGIAN"),
        (("code: busy-count", "code: busy-cuont"), "busy-cuont"),
        (("checks:", "check:"), "check"),
        (("where:", "wher:"), "wher"),
        (("'page_count\\(page\\) != 2'", "'page_count(page != 2'"), "regular expression"),
    ],
)
def test_a_wrong_reason_names_field_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], named: str
) -> None:
    text = (resources.kernel_config() / "reasons/busy-count.yaml").read_text()
    assert change[0] in text
    (tmp_path / "reasons").mkdir()
    file = tmp_path / "reasons/busy-count.yaml"
    file.write_text(text.replace(*change))
    monkeypatch.setattr(resources, "kernel_config", lambda: tmp_path)
    with pytest.raises(InputError) as caught:
        spec.reasons.__wrapped__()
    assert named in caught.value.message and str(file) in caught.value.message


# Pages

ROW = LedgerRow("treated", 7, 100, 100, 0, PageState.STAYED, 0, "owner was never asked", "pinner")
FLAGS = {100: frozenset({"LOCKED", "WRITEBACK", "RECLAIM", "THP", "UNEVICTABLE", "LRU"})}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, "owner-never-asked"),
        ({"refcount": 1, "mapcount": 0, "flags": "none"}, "owner-never-asked"),
        ({"refcount": 2, "mapcount": 0}, "busy-count"),
        ({"refcount": 3, "mapcount": 2}, "owner-never-asked"),
        ({"refcount": 1026, "mapcount": 1}, "gup-pin"),
        ({"refcount": 1025, "mapcount": 1}, "busy-count"),
        ({"refcount": 1025, "mapcount": 0}, "busy-count"),  # a leak that grew: nobody maps it
        ({"flags": "LOCKED|UPTODATE", "refcount": 2}, "page-lock-held"),
        ({"flags": "WRITEBACK"}, "writeback"),
        ({"flags": "RECLAIM|LOCKED"}, "isolated-elsewhere"),
        ({"flags": "THP"}, "compound"),
        ({"flags": "UNEVICTABLE"}, "unevictable"),
        ({"flags": "COMPOUND_TAIL", "refcount": 1}, "owner-never-asked"),  # not seen again
        ({"reason": "not registered, nobody to ask", "refcount": 9}, "not-on-a-list"),
        (
            {"state": PageState.FAILED, "errno": 11, "reason": "owner refused: EAGAIN"},
            "owner-refused",
        ),
        ({"reason": "owner refused: 0"}, UNKNOWN),
        ({"reason": "asked, not moved"}, UNKNOWN),
        ({"reason": "who knows"}, UNKNOWN),
    ],
)
def test_a_page_is_told_by_its_row(changes: dict[str, Any], code: str) -> None:
    assert classify.page(replace(ROW, **changes), Facts(released=FLAGS)) == code


def test_a_flag_of_one_moment_tells_nothing() -> None:
    row = replace(ROW, flags="LOCKED")
    assert classify.page(row, Facts()) == "owner-never-asked"
    assert classify.page(row, Facts(released={100: frozenset()})) == "owner-never-asked"


# Attempts

DUMP = "pfn 0x10, refcount {}, mapcount 0, {}node=0|zone=2, allocated by x ← y [z]"


def tried(trigger: str, number: int = 16, **more: Any) -> Attempt:
    return Attempt(3, trigger, "memory34", trigger, False, errno=number, **more)


@pytest.mark.parametrize(
    ("attempt", "code"),
    [
        (tried("offline", errno.EINVAL), "offline-forbidden"),
        (tried("offline", errno.EPERM), "offline-forbidden"),
        (tried("offline", blockers=(f"unmovable page, {DUMP.format(1, '')}",)), "unmovable-block"),
        (tried("offline"), "memory-is-kernel-zone"),
        (replace(tried("offline"), target="memory35"), "still-in-use"),
        (replace(tried("offline"), target="memory36"), UNKNOWN),
        (tried("offline", errno.ENOMEM), UNKNOWN),
        (tried("offline", errno.EINTR), "offline-interrupted"),
        (replace(tried("offline", errno.EINTR), number=9), "no-destination"),
        (
            tried("offline", errno.EINTR, blockers=(f"isolation failed, {DUMP.format(2, '')}",)),
            "not-on-a-list",
        ),
        (
            tried(
                "offline", errno.EINTR, blockers=(f"isolation failed, {DUMP.format(2, 'lru|')}",)
            ),
            "offline-interrupted",
        ),
        (
            tried(
                "offline",
                errno.EINTR,
                blockers=(f"isolation failed, {DUMP.format(2, 'locked|lru|')}",),
            ),
            "page-lock-held",
        ),
        (
            tried(
                "offline", errno.EINTR, blockers=(f"migration failure, {DUMP.format(3, 'pin|')}",)
            ),
            "busy-count",
        ),
        (
            tried(
                "offline", errno.EINTR, blockers=(f"migration failure, {DUMP.format(2, 'pin|')}",)
            ),
            "offline-interrupted",
        ),
        (
            tried(
                "offline", errno.EINTR, blockers=(f"migration failure, {DUMP.format(1026, '')}",)
            ),
            "gup-pin",
        ),
        (
            tried(
                "offline",
                errno.EINTR,
                blockers=(f"migration failure, {DUMP.format(1962, 'pin|')}",),
            ),
            "busy-count",
        ),
        (
            tried(
                "offline",
                errno.EINTR,
                blockers=(
                    f"isolation failed, {DUMP.format(2, '')}",
                    f"migration failure, {DUMP.format(2, 'writeback|')}",
                ),
            ),
            "offline-interrupted",  # each of the two tells something else
        ),
        (tried("contig", errno.ENOMEM), "alloc-contig-busy"),
        (replace(tried("contig", errno.ENOMEM), number=4), "cma-none"),
        (replace(tried("contig", errno.EIO), number=4), UNKNOWN),
        (
            replace(
                tried("contig", errno.EIO, blockers=(f"migration failure, {DUMP.format(2, '')}",)),
                number=4,
            ),
            "alloc-contig-busy",
        ),
        (tried("move_pages", said="12 EACCES"), "shared-mapping"),
        (tried("move_pages", said="12 EBUSY"), "not-on-a-list"),
        (tried("move_pages", said="12 pages EBUSY"), "not-on-a-list"),
        (tried("move_pages", said="12 pages EBUSY", failed=7), UNKNOWN),
        *(
            (
                tried(
                    "offline",
                    errno.EINTR,
                    blockers=(f"migration failure, {DUMP.format(refcount, flags)}",),
                ),
                code,
            )
            for refcount, flags, code in (
                (2, "swapbacked|owner_2|", "busy-count"),  # anonymous: the isolator's alone is due
                (2, "swapbacked|owner_2|owner_priv_1|", "offline-interrupted"),  # in the swap cache
                (2, "uptodate|", "offline-interrupted"),  # a cache's and the isolator's
                (3, "uptodate|", "busy-count"),
                (3, "uptodate|private|", "offline-interrupted"),
                (4, "uptodate|private|", "busy-count"),
                (40, "uptodate|head|", "offline-interrupted"),  # a cache has one for each page
            )
        ),
        (tried("move_pages", said="12 EBUSY, 3 EACCES"), UNKNOWN),
        (tried("move_pages", said=""), UNKNOWN),
        (tried("unplug"), UNKNOWN),
        (tried("command"), UNKNOWN),
        (tried("failslab", errno.ENOENT, said="nothing failed: 0 calls"), UNKNOWN),
    ],
)
def test_an_attempt_is_told_by_what_came_of_it(attempt: Attempt, code: str) -> None:
    said = "cma: __cma_alloc: reserved: alloc failed, req-size: 64 pages, ret: -16"
    facts = Facts(
        log={3: (said,)},
        starved=frozenset({9}),
        zones={"memory34": "kernel", "memory35": "movable"},
    )
    assert classify.attempt(attempt, (), facts) == code


@pytest.mark.parametrize(
    ("after", "pages", "code"),
    [
        # Pins at 110 and 130 of the frames 100 to 149: runs of 10, 19 and 19.
        ((110, 130), 20, "alloc-contig-busy"),
        ((110, 130), 19, "cma-none"),
        ((110, 170), 20, "cma-none"),  # one has moved away
    ],
)
def test_pins_that_stayed_in_the_area_were_in_the_way(
    after: tuple[int, int], pages: int, code: str
) -> None:
    def rows(*frames: int) -> list[JSON]:
        return [[at, frame, frame, 0, 0, "stored"] for at, frame in enumerate(frames, 1)]

    events = [
        Event("control", "harness", "area", {"name": "reserved", "first": 100, "count": 50}),
        Event("control", "pinner", "ledger", {"when": "before", "rows": rows(110, 130)}),
        Event("control", "pinner", "ledger", {"when": "after", "rows": rows(*after)}),
    ]
    asked = replace(tried("contig", errno.ENOMEM), target=f"{pages} pages by 2 threads")
    found = evidence.facts("control", events, "", ())
    assert classify.attempt(asked, (), found) == code
    assert classify.attempt(asked, (), evidence.facts("control", events[:2], "", ())) == "cma-none"


def test_an_unplug_follows_from_an_offline_that_failed() -> None:
    before = (replace(tried("offline"), number=1),)
    assert classify.attempt(tried("unplug"), before, Facts()) == "block-still-online"
    assert classify.attempt(tried("unplug"), (replace(before[0], ok=True),), Facts()) == UNKNOWN


@pytest.mark.parametrize(
    ("more", "idle"),
    [
        ({"asked": 9, "got": 2, "migrated": 0, "failed": 0}, True),
        ({"asked": 9, "got": 9, "migrated": 0, "failed": 0}, False),
        ({"asked": 9, "got": 2, "migrated": 4, "failed": 0}, False),
        ({"asked": 9, "got": 2}, False),  # nobody counted
        ({}, False),
    ],
)
def test_what_was_had_in_part_without_a_try(more: dict[str, Any], idle: bool) -> None:
    assert classify.idle(replace(tried("hugetlb", 0), ok=True, **more)) is idle


# What the events, the console and the reports say beside


def event(source: str, name: str, **data: Any) -> Event:
    return Event("treated", source, name, data)


def test_facts_of_an_arm() -> None:
    locked, both = 1, 1 | 1 << 8
    events = [
        event("pageflags", "flags", when="after", frames=[[5, both]]),
        event("pageflags", "flags", when="released", frames=[[5, both], [6, locked]]),
        event("pageflags", "flags", when="released", frames=[[5, locked]]),
        event("memory", "block", block="memory32", how="online_kernel"),
        event("memory", "block", block="memory33", how="online_movable"),
        Event("control", "memory", "block", {"block": "memory34", "how": "online_kernel"}),
    ]
    console = "\n".join(
        [
            "alloc_contig_range test_pages_isolated(10, 20) failed",
            marks.begins(2, "contig of 64 pages"),
            "noise",
            "[   15.3] cma: __cma_alloc: reserved: alloc failed, req-size: 1024 pages, ret: -16",
            *["alloc_contig_range test_pages_isolated(3d800, 3d840) failed"] * 9,
            marks.ends(2),
        ]
    )
    splats = [
        Splat("alloc-failure", "x", "", 1, 2, "", arm="treated", during=4),
        Splat("alloc-failure", "x", "", 1, 2, "", arm="control", during=5),
        Splat("WARN", "x", "", 1, 2, "", arm="treated", during=6),
    ]
    found = evidence.facts("treated", events, console, splats)
    assert found.released == {5: frozenset({"LOCKED"}), 6: frozenset({"LOCKED"})}
    assert found.zones == {"memory32": "kernel", "memory33": "movable"}
    assert found.starved == {4}
    assert list(found.log) == [2] and len(found.log[2]) == 4 and "ret: -16" in found.log[2][0]


def test_the_kernels_own_figures() -> None:
    def traced(reason: str, moved: int, failed: int) -> Event:
        fields = {"nr_succeeded": f"{moved}", "nr_failed": f"{failed}", "reason": reason}
        return event("trace", "mm_migrate_pages", **fields)

    events = [
        event("vmstat", "vmstat", when="outer-before", values={"pgmigrate_fail": 5}),
        traced("compaction", 10, 1),
        traced("compaction", 5, 0),
        traced("memory_hotplug", 0, 3),
        event("vmstat", "vmstat", when="outer-after", values={"pgmigrate_fail": 9, "new": 1}),
    ]
    counts = evidence.counts("treated", events)
    assert counts.traced == {"compaction": (15, 1), "memory_hotplug": (0, 3)}
    assert counts.vmstat == {"pgmigrate_fail": 4}


@pytest.mark.parametrize(
    "bad",
    [
        event("memory", "block", how="online_kernel"),
        event("pageflags", "flags", when="released", frames=7),
        event("pageflags", "flags", when="released", frames=["12"]),
        event("pageflags", "flags", when="released", frames=[[1, 2, 3]]),
        event("pageflags", "flags", when="released", frames=[[1, {}]]),
        event("trace", "mm_migrate_pages", reason="x", nr_succeeded="many", nr_failed="1"),
        event("vmstat", "vmstat", when="outer-before", values=[1]),
        event("trace", "mm_compaction_end", zone_start="0x1", zone_end="0x9", migrate_pfn="x"),
        event("trace", "mm_compaction_end", zone_start="0x1", zone_end="0x9"),
    ],
)
def test_malformed_events_are_named(bad: Event) -> None:
    with pytest.raises(PinpageError, match="is malformed"):
        evidence.facts("treated", [bad], "", ())
        evidence.counts("treated", [bad])


def test_how_far_compaction_came_is_told_beside_what_it_left(folder: Path) -> None:
    def ended(zone: tuple[int, int], came: int) -> Event:
        first, last = (f"{frame:#x}" for frame in zone)
        return event(
            "trace", "mm_compaction_end", zone_start=first, zone_end=last, migrate_pfn=f"{came:#x}"
        )

    low, high = (1, 0x1000), (0x1000, 0x9000)
    counts = evidence.counts("treated", [ended(low, 0x800), ended(low, 0x600), ended(high, 0x2000)])
    assert counts.reached == {low: (2, 0x800), high: (1, 0x2000)}
    rows = tuple(replace(ROW, pfn_after=pfn) for pfn in (0x700, 0x800, 0xFFF, 0x1000))
    found = replace(told.read(folder), counts={"treated": counts}, rows=rows)
    text = " ".join("\n".join(explained.of_run(found, None)).split())
    assert (
        "compaction of pfn 0x1 to 0x1000: the furthest of 2 came to pfn 0x800; of the 3 pages that "
        "stayed there 2 lie beyond" in text
    )
    assert "it came to pfn 0x2000; of the 1 pages that stayed there 0 lie beyond" in text


# Counting


def test_each_reason_is_counted_once_with_an_example() -> None:
    found = explain.of_record(record())
    assert [(each.arm, each.code, each.pages) for each in found] == [
        ("control", "not-on-a-list", PAGES),
        ("treated", "owner-never-asked", 37),
        ("treated", "owner-refused", 3),
    ]
    assert found[2].example.endswith("owner refused: EAGAIN")
    assert "held by pinner" in found[0].example and "refcount 1" in found[0].example


def test_an_attempt_and_a_page_of_one_reason_are_shown_both() -> None:
    arm = replace(Case().verdict().arms[0], attempts=(tried("move_pages", said="2 EBUSY"),))
    row = replace(ROW, arm="control", reason="not registered, nobody to ask")
    found = accounts((arm,), (row, row), {})
    assert [(each.what, each.code) for each in found] == [
        ("2 pages and 1 attempt", "not-on-a-list")
    ]
    assert found[0].example.startswith("page 7, pfn 0x64")
    assert found[0].tried == "attempt 3, move_pages of memory34: EBUSY (2 EBUSY)"


def test_what_had_to_succeed_goes_before_what_may_be_its_doing() -> None:
    arm = Case().verdict().arms[1]
    first = replace(tried("offline", blockers=(f"unmovable page, {DUMP.format(1, '')}",)), number=4)
    attempts = (
        replace(tried("unplug"), number=7, expected=True),
        replace(first, expected=True),
        replace(tried("offline", errno.EPERM), number=2, expected=False),
    )
    found = accounts((replace(arm, attempts=attempts),), (replace(ROW, arm=arm.name),) * 9, {})
    codes = [each.code for each in found]
    assert codes[0] == "unmovable-block" and codes.index("owner-never-asked") == 2
    assert [each.due for each in found] == [4, 7, 0, 0]


def test_a_run_of_which_compaction_stood_still() -> None:
    said = "this kernel's compaction is at a standstill: it looked at 9 of 900 pages"
    (found,) = accounts((), (), {}, said)
    assert (found.arm, found.code, found.what) == ("", "compaction-standstill", "the run")


def test_a_report_shows_a_few_of_the_treated_arm() -> None:
    arms = Case().verdict().arms
    found = [Account("control", "not-on-a-list", 9), Account("treated", UNKNOWN, 8)]
    found += [Account("treated", code, 7) for code in ("busy-count", "writeback", "compound")]
    found += [Account("", "compaction-standstill")]
    assert [each.code for each in shown(found, arms)] == ["busy-count", "writeback", "compound"]
    assert shown(found, arms[:1])[0].code == "not-on-a-list"


def test_the_table_and_junit_name_the_reasons() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(report.terminal(record(), 80))
    said = " ".join(out.getvalue().split())
    assert "why 37 pages: the page was registered" in said
    assert "pinpage explain owner-never-asked" in said and "pinpage explain owner-refused" in said
    assert "not-on-a-list" not in said  # of the control arm: it has to be so
    text = junit(record())
    assert "explain: 400 pages: the page is on no list" in text
    assert "pinpage explain owner-refused" in text


def test_a_record_whose_events_are_malformed_is_written_all_the_same() -> None:
    run = record()
    bad = event("pageflags", "flags", when="released", frames=7)
    assert explain.of_record(replace(run, events=(*run.events, bad))) == ()


# Places in a source

SOURCE = """\
#include <linux/mm.h>
#define GUARD(x) (x)

static int helper(struct page *page)
{
	return page_count(page) != 1;
}
EXPORT_SYMBOL(helper);
static int __printf(2, 3)
wanted(struct page *page, const char *fmt, ...)
{
	if (page_count(page) != 1)
		return -EAGAIN;
	if (page_count(page) != 1)
		return -EBUSY;
	return 0;
}

struct ops ops = {
	.f = helper,
};

void last(void) __releases(lock)
{
	while (page_count(page) != 1)
		cpu_relax();
"""


def test_functions_of_a_source() -> None:
    lines = SOURCE.splitlines()
    assert list(functions(lines)) == [("helper", 4, 7), ("wanted", 9, 17), ("last", 23, 26)]


def places(text: str = SOURCE) -> Places:
    return Places(lambda path: text if path == "mm/x.c" else "")


def test_a_line_is_found_by_what_it_says_wherever_it_stands() -> None:
    spot = Spot("mm/x.c", r"if \(page_count\(page\) != 1\)", "wanted")
    found = places().find((spot,))
    assert found is not None
    assert (found.line, found.function, found.more) == (12, "wanted", (14,))
    assert found.text == "if (page_count(page) != 1)"
    below = places("\n\n" + SOURCE).find((spot,))
    assert below is not None and below.line == 14


def test_the_first_spot_that_a_tree_has_is_it() -> None:
    gone, there = Spot("mm/x.c", "folio_ref_count"), Spot("mm/x.c", r"return -EBUSY;")
    found = places().find((gone, Spot("mm/y.c", "EBUSY"), there))
    assert found is not None and (found.line, found.function) == (15, "wanted")
    assert places().find((gone,)) is None
    assert places().find((Spot("mm/x.c", "EBUSY", "helper"),)) is None
    for line, number in (("^#define GUARD", 2), (r"\.f = helper", 20)):
        outside = places().find((Spot("mm/x.c", line),))
        assert outside is not None and (outside.line, outside.function) == (number, "")


@pytest.mark.parametrize("text", ["", "{\n", "}\n{\n}\n", "(((\n{\n}\n", "\x00\n{\n" * 9])
def test_any_text_is_a_source(text: str) -> None:
    list(functions(text.splitlines()))
    assert places(text).find((Spot("mm/x.c", "nothing"),)) is None


def tree(text: str) -> explained.Tree:
    def read(path: str) -> str:
        return text if path in ("mm/migrate.c", "mm/pinpage.c") else ""

    return explained.Tree("Linux toy", Places(read), lambda path, line: "0001-x.patch")


def test_a_reason_whole_with_what_this_kernel_has() -> None:
    text = "int migrate_pinpage(void)\n{\n\tif (page_count(page) != 2)\n}\n"
    said = "\n".join(explained.whole(explain.reason("busy-count"), tree(text)))
    assert "in Linux toy" in said and "-EAGAIN" in said
    assert "mm/pinpage.c:3 migrate_pinpage(): if (page_count(page) != 2)" in said
    assert "by 0001-x.patch" in said
    assert said.count("this kernel has no such place") == 3
    assert "(not with this kernel)" in said
    data = explained.as_json(explain.reason("busy-count"), tree(text))
    assert [place["found"] is not None for place in data["places"]] == [False] * 3 + [True]
    assert data["places"][3]["found"]["patch"] == "0001-x.patch"


# A run's folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    report.write(record(), folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, written: Path) -> Path:
    return shutil.copytree(written, tmp_path / "run")


def test_a_folder_gives_what_its_record_gave(folder: Path) -> None:
    found = told.read(folder)
    assert found.accounts == explain.of_record(record())
    assert found == told.read(folder / "run.json")
    assert found.counts["treated"].traced["compaction"][0] > 0
    text = "\n".join(explained.of_run(found, None))
    assert "37 pages: owner-never-asked" in text and "mm_migrate_pages: compaction" in text
    first = next(r for r in record().ledger if r.state is PageState.MIGRATED)
    gone = f"page {first.handle}, pfn {first.pfn_before:#x} → {first.pfn_after:#x} in "
    assert "360 pages moved" in text and gone in text
    assert text.count("what to do") == 3


def test_a_report_of_the_kernel_is_shown_with_its_lines(tmp_path: Path) -> None:
    folder = made_runs.folder(tmp_path, Outcome.CRASH)
    place = {"file": "mm/x.c", "line": 5, "function": "f", "patch": "", "touched_by": ""}
    frame = {"line": 1, "function": "f", "module": "", "offset": 1, "sure": True, "places": [place]}

    def crash(content: Any) -> None:
        content["splats"][0] |= {"frames": [frame], "report": "as printed\nf+0x1/0x2"}

    _edit(folder, crash)
    text = "\n".join(explained.of_run(told.read(folder), None))
    title = json.loads((folder / "run.json").read_text())["splats"][0]["title"]
    assert f"  {title}\n    f  mm/x.c:5" in text and "as printed" not in text
    _edit(folder, lambda c: c["splats"][0].update(frames=[]))
    text = "\n".join(explained.of_run(told.read(folder), None))
    assert f"  {title}\n    as printed\n    f+0x1/0x2" in text
    _edit(folder, lambda c: c["splats"][0].update(provoked=True))
    assert title not in "\n".join(explained.of_run(told.read(folder), None))


def test_what_is_unknown_is_said_so(folder: Path) -> None:
    ledger = folder / "ledger.csv"
    ledger.write_text(ledger.read_text().replace("owner was never asked", "who knows"))
    found = told.read(folder)
    assert ("treated", UNKNOWN, 37) in [(a.arm, a.code, a.pages) for a in found.accounts]
    text = "\n".join(explained.of_run(found, None))
    assert "37 pages: unknown" in text and "No reason is guessed" in text
    assert UNKNOWN not in [each["code"] for each in explained.run_as_json(found, None)["reasons"]]


def _edit(folder: Path, change: Any) -> None:
    content = json.loads((folder / "run.json").read_text())
    change(content)
    (folder / "run.json").write_text(json.dumps(content))


def _spoil(name: str, text: str) -> Any:
    return lambda folder: (folder / name).write_text(text)


def _link(name: str) -> Any:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to("/etc/passwd")

    return change


def _arm_outside(folder: Path) -> None:
    _edit(folder, lambda c: c.update(arms={"../../etc": c["arms"]["control"]}))


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (_spoil("run.json", "{"), "is no JSON"),
        (_spoil("run.json", "[" * 100_000), "is no JSON"),
        (_spoil("run.json", "{}"), "not as its schema has it"),
        (_link("run.json"), "cannot be read: Too many levels of symbolic links"),
        (_link("ledger.csv"), "ledger.csv cannot be read"),
        (_arm_outside, "no name of an arm"),
        (_spoil("ledger.csv", "arm,handle\ncontrol,x\n"), "ledger.csv:2"),
        (_spoil("ledger.csv", "arm\n" + "\0" * 99), "ledger.csv:2"),
        (_spoil("ledger.csv", "a" * (1 << 18)), "ledger.csv:1"),
        (_spoil("ledger.csv", "arm\n" + "a" * (1 << 18)), "ledger.csv:2"),
        (_spoil("events.jsonl", "{}\n"), "events.jsonl:1"),
        (_spoil("events.jsonl", "\n"), "events.jsonl:1"),
        (
            _spoil(
                "events.jsonl",
                '{"arm":"treated","source":"memory","name":"block","data":{}}\n',
            ),
            "is malformed",
        ),
    ],
)
def test_a_folder_that_is_none_is_named(folder: Path, spoil: Any, named: str) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=named):
        told.read(folder)


def test_a_file_has_a_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "_MOST", 1000)
    with pytest.raises(InputError, match="more than"):
        told.read(folder)


def test_hostile_text_of_a_folder_does_nothing_on_a_terminal(folder: Path) -> None:
    _edit(folder, lambda c: c.update(scenario="x\x1b[31m", reason="\x1b]0;x\x07"))
    ledger = folder / "ledger.csv"
    ledger.write_text(ledger.read_text().replace(",pinner,", ",\x1b[2Jpinner,"))
    text = "\n".join(explained.of_run(told.read(folder), None))
    assert "\x1b" not in text and "\\x1b" in text


# The command


def call(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["explain", *words])
    if isinstance(done.exception, PinpageError):
        return done.exception.exit_code, "\n".join(done.exception.lines())
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_a_place_that_a_patch_has_taken_away_is_told_as_that() -> None:
    text = "int migrate_pinpage(void)\n{\n\tif (page_count(page) != 2)\n}\n"

    def before(path: str) -> str:
        return text if path == "mm/pinpage.c" else ""

    def said(patches: tuple[str, ...]) -> str:
        bare = replace(tree(""), before=Places(before), changed=lambda path: patches)
        return "\n".join(explained.whole(explain.reason("busy-count"), bare))

    assert "mm/pinpage.c:3 migrate_pinpage(): if (page_count(page) != 2)" in said(("0007-x.patch",))
    assert "in no such place with it: 0007-x.patch" in said(("0007-x.patch",))
    assert "in no such place with it" not in said(())


@pytest.fixture
def without_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """To apply a series to a tree that is there takes seconds, and says nothing of the words."""

    def none(chosen: object, progress: object) -> None:
        raise SourceUnavailable("no source", hint="")

    monkeypatch.setattr(pipeline, "fetch", none)


@pytest.mark.usefixtures("without_a_tree")
def test_a_run_is_known_by_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(folder.parent / "state"))
    ours = resources.state() / "runs"
    ours.mkdir(parents=True)
    (ours / "latest").symlink_to(folder)
    code, out = call("latest")
    assert code == 0 and "37 pages: owner-never-asked" in out
    assert call("earliest")[0] == 2


def test_a_run_of_ones_own_series_is_looked_up_in_its_own_patches(tmp_path: Path) -> None:
    folder = made_runs.folder(tmp_path, series=("fixed", "/gone/my.patch"))
    content = json.loads((folder / "run.json").read_text())
    assert command._series(content, folder, ("none", "fixed")) == (str(folder / "inputs/patches"),)
    (folder / "inputs/patches/more").write_text("of another kernel of the run\n")
    found = command._series(content, folder, ("none", "fixed"))
    assert [Path(word).name for word in found] == ["01-0001-one.patch", "02-0002_two.patch"]
    assert command._series({**content, "spec": {"series": ["fixed"]}}, folder, ("fixed",)) == (
        "fixed",
    )
    with pytest.raises(InputError, match="of one's own"):
        command._series({**content, "inputs": None}, folder, ("fixed",))
    content["inputs"]["kernels"][0]["patches"][0]["file"] = "../../../etc/passwd"
    with pytest.raises(InputError, match="leads out of"):
        command._series(content, folder, ("fixed",))


def test_the_command_lists_the_reasons() -> None:
    code, out = call()
    assert code == 0 and len(out.splitlines()) == len(CODES)
    code, out = call("--json")
    assert {each["code"] for each in json.loads(out)} == CODES


@pytest.mark.parametrize(
    ("word", "named"),
    [("busy-cuont", "nearest: busy-count"), ("/no/such", "no run.json"), ("/", "no run.json")],
)
def test_an_unknown_word_is_named(word: str, named: str) -> None:
    code, out = call(word)
    assert code == 2 and named in out


TOY = str(Path(__file__).parents[1] / "fakelinux")


def test_a_code_is_looked_up_in_the_tree_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, out = call("busy-count", "--tree", TOY, "--series", "none")
    assert code == 0 and "series none" in out and "this kernel has no such place" in out


def test_a_runs_own_tree_is_not_followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder may come from anybody: it does not say which files of this machine are read."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr(Blame, "read", lambda self, path: pytest.fail("no tree was asked for"))
    for change, named in (
        (lambda c: c["spec"].update(tree="/etc"), "--tree /etc"),
        (lambda c: c["spec"].update(tree=None, series=["/etc"]), "--series /etc"),
        (lambda c: c.update(kernel="9.9"), "unknown kernel"),
    ):
        _edit(folder, change)
        code, out = call(str(folder))
        assert code == 0 and named in out and "37 pages: owner-never-asked" in out


def test_a_code_before_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "busy-count").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code, out = call("busy-count", "--tree", TOY, "--series", "none")
    assert code == 0 and "busy-count: somebody" in out


def test_a_code_is_told_where_no_tree_is_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(chosen: object, progress: object) -> None:
        raise SourceUnavailable("no source of kernel 3.11 can be had", hint="set a variable")

    monkeypatch.setattr(pipeline, "fetch", none)
    code, out = call("busy-count", "--kernel", "3.11")
    assert code == 0 and "A page moves only while" in out and "what to do" in out
    assert "no places in the source: no source of kernel 3.11 can be had; set a variable" in out
    code, out = call("busy-count", "--kernel", "3.11", "--json")
    assert code == 0 and '"tree": null' in out


@pytest.mark.usefixtures("without_a_tree")
def test_a_run_that_did_not_pass_says_first_what_it_came_to(folder: Path) -> None:
    assert "PASS: " not in call(str(folder))[1]
    content = json.loads((folder / "run.json").read_text())
    content |= {"verdict": "HANG", "reason": "rmmod waits", "exit_code": 4}
    (folder / "run.json").write_text(json.dumps(content))
    code, out = call(str(folder))
    said = "\n".join(line.strip() for line in out.splitlines())
    assert code == 0 and said.index("HANG: rmmod waits") < said.index("control arm")
