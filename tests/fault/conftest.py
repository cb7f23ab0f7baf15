"""The attacks of a session with each engine, and the counts, which are shown at the end and recorded with the tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import require
from tests.support.attacks import ALL, ENGINES, Tally

from .attack import Attacks

HERE = Path(__file__).parent
SHOWN = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash.setdefault(SHOWN, [])  # tests/embed has this hook, too


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every attack there is takes longer than a test may."""
    for item in items:
        if ALL and item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(3600))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[SHOWN]:
        terminalreporter.write_line(line)
    config.stash[SHOWN].clear()


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def attacks(engine: str) -> Iterator[Attacks]:
    if not shutil.which("strace"):
        require("netns", "no strace here")
    with Attacks(engine) as found:
        yield found


@pytest.fixture
def show(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Tells what was counted."""

    def tell(line: str) -> None:
        request.config.stash[SHOWN].append(line)
        record_property("counted", line)

    return tell


@pytest.fixture
def tally(request: pytest.FixtureRequest, show: Callable[[str], None]) -> Iterator[Tally]:
    """Counts a test's attacks; one that was lost fails it, after all were tried."""
    counts = Tally(request.node.name)
    yield counts
    show(str(counts))
    assert not counts.lost, "\n\n".join([str(counts), *counts.lost])
    assert counts.may_miss or counts.ends.total() > counts.ends["not reached"], "no attack reached the move"
