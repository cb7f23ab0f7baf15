"""tools/losses: its judge notices what is lost, and only that."""

from __future__ import annotations

import dataclasses
import importlib.util
import shlex
import subprocess

import pytest

from tests.support import readme, require
from tests.support.namespaces import Namespace
from tools.losses import losers
from tools.losses_judge import summary
from tools.losses_rows import ROWS
from tools.losses_run import CONTESTANTS, Contestant, Outcome, Scene, play

TOP = readme.README.parent
ROW = {row.id: row for row in ROWS}
OURS = CONTESTANTS["netdevns"]


@pytest.fixture(autouse=True)
def _machine(host: Namespace) -> None:
    """A place where scenarios can be played: the right to make namespaces is tried by `host`."""
    del host


def played(row: str, contestant: Contestant) -> Outcome:
    try:
        return play(ROW[row], contestant)
    except OSError as e:
        require("netns", f"no scenario can be played here: {e}")


def spoilt(where: str, lines: str) -> Contestant:
    """netdevns, followed by an `ip -batch` that damages its work."""
    ip = ["ip", "-n", "blue"] if where == "blue" else ["ip"]

    def run(scene: Scene) -> tuple[int, str]:
        code, said = OURS.run(scene)
        done = scene.machine.run([*ip, "-batch", "-"], stdin=lines.encode())
        assert done.returncode == 0, done.stderr
        return code, said

    return dataclasses.replace(OURS, run=run)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("row", [row.id for row in ROWS])
def test_netdevns_loses_nothing(row: str) -> None:
    """S6, S11: in each scenario netdevns keeps all facts, not only those of the row."""
    assert played(row, OURS).findings == []


def test_ip_loses_all_addresses() -> None:
    """The plainest case: `ip link set netns`, then up, leaves a device without addresses."""
    outcome = played("addresses", CONTESTANTS["ip"])
    assert [f.fact for f in outcome.findings] == ["missing"]
    assert outcome.findings[0].short == "4 of 4 addresses missing"


@pytest.mark.parametrize("name", ["ip-script", "ip-restore", "pyroute2"])
def test_tool_that_loses_nothing_has_no_finding(name: str) -> None:
    """A contestant that adds the addresses again has no finding in the row that is about them."""
    if name == "pyroute2" and importlib.util.find_spec("pyroute2") is None:
        require("runtimes", "there is no pyroute2; tools/losses and tools/test install it")
    outcome = played("addresses", CONTESTANTS[name])
    assert (outcome.code, outcome.findings) == (0, []), outcome.said
    assert losers({name: outcome}) == "none"


def test_tool_that_does_nothing_is_found_out() -> None:
    """A contestant that only says that it is done has moved nothing; one that refuses has left all as before."""
    says_done = dataclasses.replace(OURS, name="says-done", run=lambda _: (0, ""))
    refuses = dataclasses.replace(OURS, name="refuses", run=lambda _: (1, "no"))
    assert [f.text for f in played("addresses", says_done).findings] == ["eth1 is in the host as eth1"]
    assert [f.fact for f in played("taken", says_done).findings] == ["exit"]
    assert played("taken", refuses).findings == []


def again(address: str, with_: str = "") -> str:
    """Lines for `ip -batch`: deletes an address of net0 and adds it with something else."""
    return f"address del {address} dev net0\naddress add {address} {with_} dev net0"


@pytest.mark.thorough
@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("row", "fact", "where", "lines"),
    [
        ("addresses", "missing", "blue", "address del 2001:db8::10/64 dev net0"),
        ("addresses", "up", "blue", "link set net0 down"),
        ("addresses", "device", "blue", "link set net0 down\nlink set net0 name net9"),
        ("usable", "tentative", "blue", again("2001:db8::11/64")),
        ("order", "order", "blue", again("2001:db8::10/64", "nodad")),
        ("label", "label", "blue", again("192.0.2.11/24", "label net0")),
        ("broadcast", "broadcast", "blue", again("203.0.113.5/24", "broadcast +")),
        ("attributes", "metric", "blue", "address change 198.51.100.10/24 metric 51 dev net0"),
        ("attributes", "noprefixroute", "blue", again("203.0.113.10/24")),
        (
            "attributes",
            "peer",
            "blue",
            "address del 192.0.2.10 peer 192.0.2.1/32 dev net0\naddress add 192.0.2.10/32 dev net0",
        ),
        ("attributes", "invented", "blue", "address add 203.0.113.99/24 dev net0"),
        ("deprecated", "state", "blue", again("192.0.2.11/24")),
        ("taken", "device", "host", "link set eth1 netns blue"),
        ("taken", "device", "host", "address del 192.0.2.11/24 dev eth1"),
        ("taken", "device", "host", "link set eth1 down"),
        ("taken", "other", "host", "link set eth1 mtu 1400"),
        ("taken", "other", "blue", "link set net0 up"),
        ("batch", "device", "host", "link set eth2 netns blue name net2"),
        ("host-netns", "device", "host", "link set eth1 down\nlink set eth1 name net0"),
    ],
)
def test_the_judge_notices(row: str, fact: str, where: str, lines: str) -> None:
    """netdevns' work, damaged by hand, is judged as damaged in that fact."""
    outcome = played(row, spoilt(where, lines))
    assert fact in {f.fact for f in outcome.findings}
    assert summary(outcome.findings, len(ROW[row].devices))


@pytest.mark.thorough
def test_commands_of_the_page() -> None:
    """The commands of docs/losses.md show one row and the list; without an argument the tool plays all of it."""
    ((_, one, listed),) = readme.commands(readme.LOSSES)
    for line, rows, heading in (one, {"taken"}, "== {}:"), (listed, {*ROW}, "{} "):
        done = subprocess.run(shlex.split(line, comments=True), cwd=TOP, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        begin = tuple(heading.format(row) for row in rows)
        assert len([each for each in done.stdout.splitlines() if each.startswith(begin)]) == len(rows)


@pytest.mark.parametrize("row", ["label", "taken", "batch"])
def test_table_shows_what_is_seen(row: str) -> None:
    """What docs/losses.md says of the tools that every machine has is what happens here."""
    outcomes = {name: played(row, CONTESTANTS[name]) for name in ("ip-script", "ip-restore")}
    documented = {
        name: text
        for entry in readme.losses()[row][1].split("; ")
        for names, _, text in [entry.partition(": ")]
        for name in names.split(", ")
    }
    for name, outcome in outcomes.items():
        assert documented.get("all", documented.get(name)) == summary(outcome.findings, len(ROW[row].devices))
