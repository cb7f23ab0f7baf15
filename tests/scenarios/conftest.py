"""The runners, each a process that stays until the last test of this folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from .pool import Pool, started
from .runners import Runner
from .world import GRAVES


@pytest.fixture(scope="package")
def runners() -> Iterator[list[Runner]]:
    with contextlib.ExitStack() as stack:
        yield started(stack)
    GRAVES.close()


@pytest.fixture(scope="package")
def pool(request: pytest.FixtureRequest, runners: list[Runner]) -> Iterator[Pool]:
    """Has begun with the rows that were selected; one of several pytest processes does not know its own beforehand."""
    items = [] if "PYTEST_XDIST_WORKER" in os.environ else request.session.items
    with Pool([item.callspec.params["row"] for item in items if _is_scenario(item)], runners) as found:
        yield found


def _is_scenario(item: pytest.Item) -> bool:
    return "row" in getattr(getattr(item, "callspec", None), "params", {}) and "pool" in item.fixturenames
