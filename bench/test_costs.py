"""The benchmark's turns as tests: one for each contestant in each round of a scenario."""

from __future__ import annotations

from typing import Any

import pytest


def test_cost(benchmark: Any, turn: Any) -> None:
    """Records the time that the contestant measured; it counts only if its work is verified."""
    if turn.is_too_late():
        pytest.skip("the scenario's time is used up: the rounds that were played count")
    result = benchmark.pedantic(turn.play, rounds=1, iterations=1)
    benchmark.extra_info.update(
        turn.scenario.described(),
        contestant=turn.contestant.name,
        round=turn.number,
        wall_s=result.wall_s,
        cpu_s=result.cpu_s,
        max_rss_kib=result.max_rss_kib,
        verified=not result.why,
        why=result.why,
        **result.more,
    )
