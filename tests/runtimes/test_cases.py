"""Each case of cases.py with the machine's own runc and crun, and netdevns as their hook."""

from __future__ import annotations

import functools

import pytest

from .cases import CASES, Make, play, summary
from .container import Runtime
from .players import Bundled


def made(name: str) -> Make:
    return functools.partial(Bundled, name=name)


@pytest.mark.parametrize("case", CASES)
def test_case(runtime: Runtime, case: str) -> None:
    """S1-S12: whatever the runtime, the devices arrive complete, or there is no container and all is as before."""
    outcome = play(CASES[case], made(runtime.name), Runtime.PREPARE[runtime.name])
    assert summary(outcome) == ""
