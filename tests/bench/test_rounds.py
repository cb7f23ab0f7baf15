"""Rounds alternate between contestants; each does all of the work; the time is the one that it measured itself."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.conftest import FEWEST
from bench.contestants import CONTESTANTS, Setting, takes_part
from bench.layout import Layout
from bench.results import BARE_START, OWN_MOVES, PREPARED, PYTHON_HOOK, STATIC_HOOK
from bench.round import Place, combined, destroy
from bench.scenario import SCENARIOS, Scenario
from netdevns import JOURNAL_DIR
from tests.support.namespaces import Namespace
from tests.support.require import require, require_module

from .playing import SMALL, play

TOP = Path(__file__).resolve().parents[2]


def suite(*options: str, **asked: Any) -> str:
    """Runs bench/ as tools/bench does, in this test's sandbox."""
    require_module("bench", "pytest_benchmark")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "bench/test_costs.py"]
    # Its suite is no part of this one: with xdist's variables pytest-benchmark measures nothing.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    environment["NETDEVNS_BENCH"] = json.dumps(asked)
    return subprocess.run(command, cwd=TOP, env=environment, check=True, capture_output=True, text=True).stdout


# What differs from one of these by an option only is not repeated here.
MOVERS = [
    *("floor plain", "netdevns C batch", "netdevns native record", "netdevns reference", "netdevns native first"),
    *("netdevns command", "netdevns hook", "netdevns hook reference", "ip per step", "pyroute2"),
]


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", MOVERS)
def test_every_contestant_does_all_of_the_work(name: str) -> None:
    """Both families, in order, usable at once."""
    if name == "pyroute2":
        require_module("bench", "pyroute2")
    result = play(name)
    assert result.why == ""
    assert result.wall_s > 0


def test_contestant_that_does_not_warm_up_is_noticed() -> None:
    """A process that stays moves two devices of its own before it is ready: its job is not its first."""
    plain = CONTESTANTS["floor plain"]

    def without(setting: Setting) -> list[list[str]]:
        ((program, option, _, *words),) = plain.commands(setting)
        assert option == "--warm"
        return [[program, *words]]

    assert "source: warm0a should not be there" in play(replace(plain, commands=without)).why


def container(runtime: str, name: str, layout: Layout = SMALL.layout) -> Scenario:
    """Ends the test where the runtime is not here."""
    scenario = replace(SMALL, runtime=runtime, cold=True, layout=layout)
    if not takes_part(name, scenario):
        need = "native" if runtime.endswith("-newest") else "runtimes"
        require(need, f"no {runtime} with busybox here, or a kernel that it is not measured on")
    return scenario


@pytest.mark.parametrize(
    ("runtime", "name"),
    [
        *((runtime, name) for runtime in ("runc", "crun") for name in (BARE_START, f"{PYTHON_HOOK}, 1 device")),
        ("embed", BARE_START),
        ("embed", OWN_MOVES[0]),
        *((r, f"{way}, 1 device") for r in ("runc-newest", "crun-newest") for way in (PREPARED, STATIC_HOOK)),
    ],
)
def test_containers_get_what_is_moved(runtime: str, name: str) -> None:
    """So many devices as the name says, of two; the others stay."""
    assert play(name, container(runtime, name)).why == ""


@pytest.mark.parametrize("runtime", ["runc-newest", "crun-newest"])
def test_runtime_moves_what_it_can_keep(runtime: str) -> None:
    """IPv4 addresses, by netDevices and without a hook; of labels and IPv6 addresses each loses something."""
    name, ipv4 = OWN_MOVES[0], Layout(2, 2)
    assert play(name, container(runtime, name, ipv4)).why == ""
    assert play(name, container(runtime, name)).why
    strict = replace(CONTESTANTS[name], relabels=True)
    assert ("has the label d0" in play(strict, container(runtime, name, ipv4)).why) == (runtime == "crun-newest")


def test_no_start_finds_the_loan_of_an_earlier_one() -> None:
    """Records and loans end with their turn, outside of what is measured."""
    if "NETDEVNS_OWN_RUN" not in os.environ:
        require("netns", "no /run of its own; ./tools/test has one")
    name = f"{STATIC_HOOK}, 1 device"
    scenario = container("crun-newest", name)
    seen = []

    def commands(setting: Setting) -> list[list[str]]:
        seen.append(sorted(os.listdir(loans)) if (loans := Path(JOURNAL_DIR, "loan")).exists() else [])
        return CONTESTANTS[name].commands(setting)

    for _ in range(2):
        assert play(replace(CONTESTANTS[name], commands=commands), scenario).why == ""
    assert seen == [[], []]


def test_a_container_without_its_device_is_noticed() -> None:
    """It shall have one, and no hook moves it."""
    lazy = replace(CONTESTANTS[BARE_START], moves=1)
    assert "source: d0 should not be there" in play(lazy, container("crun", BARE_START)).why


@pytest.mark.parametrize("variant", ["plain", "plain-one-ack", "phased"])
@pytest.mark.parametrize("layout", [Layout(1, 300, 300), Layout(3, 0)])
def test_floor_copes_with_many_addresses(variant: str, layout: Layout) -> None:
    """More ACKs than one window has; and no address at all."""
    assert play(f"floor {variant}", replace(SMALL, layout=layout)).why == ""


def test_floor_takes_another_ifindex_where_its_own_is_taken() -> None:
    """A target with devices of its own: the next free numbers are not those of the source."""
    assert play("floor plain", replace(SMALL, target_devices=20)).why == ""


@pytest.mark.parametrize("task", ["check", "rollback"])
def test_check_and_rollback_leave_all_as_it_was(task: str) -> None:
    """Verified is that nothing has changed."""
    assert play("netdevns native", replace(SMALL, task=task)).why == ""


def test_bare_python_moves_nothing() -> None:
    """What a process that moves is compared with."""
    result = play("bare python")
    assert result.why == ""
    assert result.max_rss_kib


def test_a_move_is_no_check() -> None:
    """A contestant that moves where nothing may be moved is thrown out."""
    assert "source: no d0" in play("floor plain", replace(SMALL, task="check")).why


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["floor plain", "netdevns native", "netdevns native threads", "ip -batch"])
def test_callers_have_a_target_each(name: str) -> None:
    """Processes, threads of one process, and processes that start others."""
    assert play(name, replace(SMALL, callers=2)).why == ""


def test_surroundings_stay_from_round_to_round() -> None:
    """Other devices and routes are furnished once, and are still there after a round."""
    place = Place(replace(SMALL, other_devices=3, other_routes=3))
    try:
        host = place.fresh_host()
        for name in ("floor plain", "ip -batch"):
            assert place.play(CONTESTANTS[name]).why == ""
            assert place.host is host
    finally:
        place.leave_host()


def test_a_round_ends_when_its_namespaces_are_gone() -> None:
    """The kernel takes devices away some time after the last descriptor is closed, and would do so in the next one."""
    before = socket.if_nameindex()
    dying = Namespace.create("dying")
    # Its other end is gone when all devices of that namespace are.
    subprocess.run(
        ["ip", *f"link add seen type veth peer name seen netns /proc/self/fd/{dying.fd}".split()],
        check=True,
        pass_fds=[dying.fd],
    )
    destroy([dying])
    assert socket.if_nameindex() == before


def test_several_callers_take_as_long_as_the_slowest() -> None:
    result = combined([{"wall_s": 1.0, "cpu_s": 2.0, "max_rss_kib": 7}, {"wall_s": 3.0, "cpu_s": 4.0}])
    assert (result.wall_s, result.cpu_s, result.max_rss_kib) == (3.0, 6.0, 7)


@pytest.mark.thorough
def test_rounds_alternate() -> None:
    """Scenario, round, contestant: A B A B, so that the machine's noise hits all alike."""
    asked = {"scenarios": ["batch-1", "check-60"], "contestants": ["floor p*-ack", "netdevns native"], "rounds": 2}
    shown = suite("--collect-only", **asked).splitlines()
    assert [line.split("[")[1][:-1] for line in shown if "[" in line] == [
        "batch-1-0-floor plain-one-ack",
        "batch-1-0-netdevns native",
        "batch-1-1-floor plain-one-ack",
        "batch-1-1-netdevns native",
        "check-60-0-netdevns native",
        "check-60-1-netdevns native",
    ]


@pytest.mark.thorough
def test_recorded_time_is_that_of_the_contestant(tmp_path: Path) -> None:
    """Not the pipe's latency, and not the furnishing's: pytest-benchmark's clock is the contestant's."""
    file = tmp_path / "out.json"
    suite(f"--benchmark-json={file}", scenarios=["batch-1"], contestants=["floor plain", "ip -batch"], rounds=1)
    benchmarks = json.loads(file.read_text())["benchmarks"]
    assert [each["extra_info"]["contestant"] for each in benchmarks] == ["floor plain", "ip -batch"]
    for each in benchmarks:
        info = each["extra_info"]
        assert (each["group"], info["scenario"], info["verified"], info["why"]) == ("batch-1", "batch-1", True, "")
        assert each["stats"]["median"] == pytest.approx(info["wall_s"])


@pytest.mark.thorough
def test_scenario_that_takes_long_ends_with_a_whole_round(tmp_path: Path) -> None:
    """After the fewest rounds that say something; all who take part have played as many."""
    file = tmp_path / "out.json"
    asked = {"scenarios": ["hook-nothing", "import"], "contestants": ["python*", "true"]}
    suite(f"--benchmark-json={file}", **asked, rounds=FEWEST + 1, budget_s=0)
    found = [each["extra_info"] for each in json.loads(file.read_text())["benchmarks"]]
    wanted = [("hook-nothing", "true"), ("hook-nothing", "python isolated")] * FEWEST
    wanted += [("import", "python")] * FEWEST
    assert [(info["scenario"], info["contestant"]) for info in found] == wanted


def test_every_scenario_names_contestants_that_exist() -> None:
    """A scenario is found by its id, and so is each of its contestants, but once."""
    for name, scenario in SCENARIOS.items():
        assert isinstance(scenario, Scenario)
        assert name == scenario.id
        assert len(set(scenario.contestants)) == len(scenario.contestants)
        assert set(scenario.contestants) <= CONTESTANTS.keys()
