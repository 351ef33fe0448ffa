# SPDX-License-Identifier: GPL-2.0-only
"""Two real faults on a real kernel, one of the owner's and one of the kernel's, each caught by what
tells it from the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness import judges
from harness.faults import catalogue
from harness.faults.matrix import Matrix
from harness.faults.runs import Runs
from harness.model import Outcome, RunSpec, Silent

pytestmark = pytest.mark.integration


def test_planted_bugs_are_caught_by_what_they_do(
    spec_of: Callable[..., RunSpec], tmp_path: Path
) -> None:
    faults = catalogue.load("6.12", ("copy-partial", "old-page-leaks"))
    runs = Runs(spec_of("fixed", keep=tmp_path / "runs"), Silent())
    matrix = Matrix(runs, tmp_path / "records", judges.code())
    copied, leaked = matrix.examine(faults)
    assert {each.outcome for row in (copied, leaked) for each in row.base} == {Outcome.PASS}
    assert copied.caught is not None and leaked.caught is not None
    assert copied.caught.outcome is Outcome.FAIL and "corrupt pages" in copied.caught.said
    assert leaked.caught.outcome is Outcome.INCONSISTENT
    assert "trace mm_page_free" in leaked.caught.said
    again = list(matrix.examine(faults))
    assert [each.recorded for row in again for each in row.tried] == [True, True]
