# SPDX-License-Identifier: GPL-2.0-only
"""What every test shares."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_README = Path(__file__).parents[1] / "README.md"
_FILE = re.compile(r"`([\w./]+)`:\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def pytest_configure() -> None:
    """A shell's background job ignores Ctrl-C, what nohup starts a hangup, and so would all that
    is started here."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs of the tests' are not the user's last ones; what is cached is shared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def example(tmp_path: Path) -> Callable[[str], Path]:
    """A file of an example as README.md has it, to the letter, below a folder of the test's."""
    files = dict(_FILE.findall(_README.read_text()))

    def written(name: str) -> Path:
        path = tmp_path / "example" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[name])
        return path

    return written


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-golden",
        action="store_true",
        help="write what the parsers find now as the golden expectation",
    )
