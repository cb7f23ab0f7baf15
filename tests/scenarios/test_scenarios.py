"""One table, three runners: the same findings, the same outcome, the same state afterwards, by raw dumps."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from .pool import Pool
from .rows import Row
from .table import ROWS


def rows() -> list[Any]:
    """Those of the sample run by default, and each second of the others with --full."""
    others = itertools.cycle([pytest.mark.thorough, pytest.mark.exhaustive])
    return [pytest.param(r, id=r.id, marks=[pytest.mark.smoke if r.smoke else next(others)]) for r in ROWS]


def test_rows_are_distinct() -> None:
    """Each row has a name, and no two are about the same."""
    assert len({row.id for row in ROWS}) == len(ROWS) >= 300
    same = [(a.id, b.id) for n, a in enumerate(ROWS) for b in ROWS[:n] if _content(a) == _content(b)]
    assert same == []


def _content(row: Row) -> tuple[object, ...]:
    return row.source, row.target, row.devices, row.to, row.is_here, row.drop, row.enter, row.busy, row.race, row.force


@pytest.mark.parametrize("row", rows())
def test_scenario(row: Row, pool: Pool) -> None:
    """It ends as the table says, with each runner, and leaves the expected state behind."""
    wrong = pool.wrong(row)
    assert not wrong, "\n".join([row.id, *wrong])
