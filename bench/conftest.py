"""Orders the turns by scenario, round and contestant, so that noise affects all contestants alike."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import pytest

from . import scenario as scenarios
from .build import GO_PEER, STATIC_HOOK
from .container import is_uml, version_of
from .contestants import CONTESTANTS, Contestant, takes_part
from .round import Place, Result
from .scenario import Scenario

ASKED = json.loads(os.environ.get("NETDEVNS_BENCH", "{}"))  # by bench/__main__.py


FEWEST = 3  # rounds, however long they take
COARSE = 6  # CLOCK_MONOTONIC_COARSE: its resolution is a tick, 1 / CONFIG_HZ


class Clock:
    """pytest-benchmark's clock: it advances by the time that a contestant measured."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


CLOCK = Clock()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "turn" not in metafunc.fixturenames:
        return
    turns = []
    for scenario in scenarios.chosen(
        ASKED.get("scenarios", []),
        ASKED.get("contestants", []),
        ASKED.get("rounds"),
        everything=ASKED.get("all", False),
        quick=ASKED.get("quick", False),
        page=ASKED.get("page", False),
        guest=ASKED.get("guest", False),
    ):
        who = [name for name in scenario.contestants if takes_part(name, scenario)]
        for k in range(scenario.rounds):
            for name in who:
                marks = pytest.mark.benchmark(group=scenario.id, timer=CLOCK)
                turn = Turn(scenario, k, CONTESTANTS[name])
                turns.append(pytest.param(turn, id=f"{scenario.id}-{k}-{name}", marks=marks))
    metafunc.parametrize("turn", turns)


class Turn:
    """One contestant's turn in one round of a scenario."""

    place: Place | None = None  # of the current scenario
    began: float = 0.0
    last: int = 0  # the current round
    end: int | None = None  # its first round that is skipped

    def __init__(self, scenario: Scenario, number: int, contestant: Contestant) -> None:
        self.scenario, self.number, self.contestant = scenario, number, contestant

    def __repr__(self) -> str:
        return f"{self.contestant.name} in round {self.number} of {self.scenario.id}"

    def is_too_late(self) -> bool:
        """Whether its round is skipped: the scenario's time is used up. Rounds are complete or skipped."""
        under_way = Turn.place is not None and Turn.place.scenario is self.scenario
        if not under_way:
            return False
        spent_s = time.monotonic() - Turn.began
        begins = self.number > Turn.last
        if begins and self.number >= FEWEST and spent_s > ASKED.get("budget_s", math.inf) and Turn.end is None:
            Turn.end = self.number
        Turn.last = self.number
        return Turn.end is not None

    def play(self) -> Result:
        if Turn.place is None or Turn.place.scenario is not self.scenario:
            end_scenario()
            Turn.place, Turn.began, Turn.last, Turn.end = Place(self.scenario), time.monotonic(), 0, None
            who = [name for name in self.scenario.contestants if takes_part(name, self.scenario)]
            _report(f"{self.scenario.id}: {self.scenario.rounds} rounds of {len(who)}")
        result = Turn.place.play(self.contestant)
        if result.why:
            _report(f"{self.scenario.id}: {self.contestant.name} is thrown out of round {self.number}: {result.why}")
        CLOCK.now_s += result.wall_s
        return result


def end_scenario() -> None:
    if Turn.place is not None:
        Turn.place.leave_host()
        less = "" if Turn.end is None else f", {Turn.end} rounds"
        _report(f"{Turn.place.scenario.id}: {time.monotonic() - Turn.began:.1f} s{less}")
        Turn.place = None


def _report(text: str) -> None:
    print(f"bench: {text}", file=sys.__stderr__, flush=True)


@pytest.fixture(scope="session", autouse=True)
def _last_scenario() -> Iterator[None]:
    yield
    end_scenario()


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:  # noqa: ARG001
    release = os.uname().release
    said = subprocess.run(["ip", "-V"], capture_output=True, text=True, check=True).stdout
    versions = {"iproute2": _found(r"iproute2-([^\s,]+)", said), "pyroute2": metadata.version("pyroute2")}
    if os.access(GO_PEER, os.X_OK):
        output = subprocess.run([GO_PEER, "--version"], capture_output=True, text=True, check=True).stdout
        versions["vishvananda/netlink"] = output.split()[-1]
    if not is_uml():
        versions["netdevns-hook"] = f"{os.path.getsize(STATIC_HOOK[0]) / 1024:.0f} KiB"
        versions |= {kind: version for kind in ("crun", "runc") if (version := version_of(f"{kind}-newest"))}
    machine_info.update(
        kernel=release,
        uml=is_uml(),
        cores=len(os.sched_getaffinity(0)),
        hz=round(1 / time.clock_getres(COARSE)),
        versions=versions,
        netdevns_commit=ASKED.get("commit", ""),
        python=sys.version.split()[0],
    )


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""
