"""The attacks of a session with each engine, and their counts, which are shown at the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import require
from tests.support.attacks import ALL, EACH_ENGINE, Tally

from .attack import Attacks

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every attack there is takes longer than a test may."""
    for item in items:
        if ALL and item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(scope="session", params=EACH_ENGINE)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def attacks(engine: str) -> Iterator[Attacks]:
    if not shutil.which("strace"):
        require("netns", "no strace here")
    with Attacks(engine) as found:
        yield found


@pytest.fixture
def tally(request: pytest.FixtureRequest, show: Callable[[str], None]) -> Iterator[Tally]:
    """Counts a test's attacks; one that was lost fails it, after all were tried."""
    counts = Tally(request.node.name)
    yield counts
    show(str(counts))
    assert not counts.lost, "\n\n".join([str(counts), *counts.lost])
    assert counts.may_miss or counts.ends.total() > counts.ends["not reached"], "no attack reached the move"
