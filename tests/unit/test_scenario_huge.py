# SPDX-License-Identifier: GPL-2.0-only
"""The huge_pages scenario: what it asks for beforehand."""

from __future__ import annotations

import re

import pytest

from harness import scenario
from harness.errors import InputError

HUGE = scenario.get("huge_pages")


@pytest.mark.parametrize("memory", [626, 2048, 4001])
def test_memory_that_is_hardly_fragmented_is_refused(memory: int) -> None:
    params = {"pages": 2000, "every": 32}
    with pytest.raises(InputError, match="less than 40% of a guest") as refused:
        HUGE.check(params, memory)
    hint = re.search(r"pages=(\d+), or --memory (\d+)", refused.value.hint)
    assert hint is not None
    HUGE.check({**params, "pages": int(hint[1])}, memory)
    HUGE.check(params, int(hint[2]))


def test_the_defaults_are_enough() -> None:
    HUGE.check({name: param.default for name, param in HUGE.PARAMS.items()}, 1024)
