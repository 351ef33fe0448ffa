# SPDX-License-Identifier: GPL-2.0-only
"""Each reason's places in the real trees: there, once, in the function that the table names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import pipeline, spec
from harness.build.blame import Blame
from harness.explain.places import Places
from harness.model import RunSpec, Silent

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

PINPAGE = (sys.executable, "-m", "harness.cli")
Words = Callable[..., RunSpec]
# What a kernel has no place for at all, with 'fixed'; of any other reason it has one at least.
WITHOUT = {"6.12": {"compaction-standstill"}, "3.11": set[str]()}
# What says so twice in its function: v3.11 asks once more with the lock held.
TWICE = {("3.11", "compound", "isolate_migratepages_range")}


def blame(spec_of: Words, kernel: str, series: str) -> Blame:
    chosen = pipeline.choose(spec_of(series, kernel=kernel))
    return Blame(pipeline.apply(chosen, pipeline.fetch(chosen, Silent()), Silent()))


@pytest.mark.parametrize("kernel", WITHOUT, indirect=True)
def test_each_reason_is_found_in_the_tree(spec_of: Words, kernel: str) -> None:
    places = Places(blame(spec_of, kernel, "fixed").read)
    nowhere = set()
    for reason in spec.reasons():
        found = [each for check in reason.checks if (each := places.find(check.at)) is not None]
        if not found:
            nowhere.add(reason.code)
        for each in found:
            here = (kernel, reason.code, each.function)
            assert len(each.more) == (here in TWICE), (here, each)
            assert each.function or each.text.startswith("#define"), (here, each)
    assert nowhere == WITHOUT[kernel]


def test_a_sign_that_a_kernel_lacks_is_known(spec_of: Words, old_kernel: str) -> None:
    new, old = (Places(blame(spec_of, kernel, "none").read) for kernel in ("6.12", old_kernel))
    needs = {sign.needs for reason in spec.reasons() for sign in reason.signs if sign.needs}
    lacking = {need for need in needs if new.find((need,)) is None}
    assert {need.line for need in lacking} == {
        r"rc = nr_failed \+ retry;",
        '"removing pfn %lx from LRU failed',
    }
    assert all(old.find((need,)) is not None for need in lacking)


def test_the_owners_places_come_with_the_series(spec_of: Words) -> None:
    reason = next(each for each in spec.reasons() if each.code == "owner-refused")
    check = reason.checks[0]
    for series, there in (("none", False), ("posted", True), ("fixed", True)):
        read = blame(spec_of, "6.12", series)
        found = Places(read.read).find(check.at)
        assert (found is not None) is there
        if found is not None:
            assert found.function == "migrate_pinpage"
            assert read.blame(found.file, found.whole).endswith(".patch")


def test_the_command_names_a_line_that_is_there(linux: Path) -> None:
    words = [*PINPAGE, "explain", "busy-count", "--series", "none", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    places = [each["found"] for each in json.loads(done.stdout)["places"] if each["found"]]
    assert len(places) >= 3
    for each in places:
        line = (linux / each["file"]).read_text(errors="replace").splitlines()[each["line"] - 1]
        assert line.strip() == each["text"] and re.search(r"count|freeze", line)
