"""What a move costs, beside the kernel's floor and others: each contestant's turn in each round is one test."""

from __future__ import annotations

from typing import Any

import pytest


def test_cost(benchmark: Any, turn: Any) -> None:
    """What is recorded is what the contestant has measured; it counts only where the work was verified."""
    if turn.is_too_late():
        pytest.skip("the scenario has taken its time")
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
