# SPDX-License-Identifier: GPL-2.0-only
"""What every test shares."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-golden",
        action="store_true",
        help="write what the parsers find now as the golden expectation",
    )
