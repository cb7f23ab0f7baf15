"""A device that carries a default route stays unless a move is forced."""

from __future__ import annotations

import errno

import pytest

import netdevns
from tests.support import kinds
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until
from tests.support.restored import Untouched

from .refusals import Bad, expect_refused, furnished


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


def expect_default_route(host: Namespace, target: Namespace, device: str, force: bool) -> None:
    """Refused without `force`; with it, a note, and the move happens."""
    host.wait_until_quiet()
    if not force:
        row = Bad("", {device: "a"}, "device.default-route", errno.EBUSY, ("--force",), device)
        expect_refused(row, host, target, target.fd)
        return
    with Untouched(host, target):
        report = netdevns.check({device: "a"}, target.fd, force=True)
    assert report.ok
    assert ("device.default-route", "note") in [(f.code, f.severity) for f in report.findings]
    netdevns.move({device: "a"}, target.fd, force=True)
    assert "a" in target.names()


ETH1 = ["link set eth1 up"]
PORT = ["link set eth2 up", "link set eth2 master br0", "link set br0 up", "addr add 10.5.0.1/24 dev br0"]
DEFAULTS: dict[str, tuple[str, list[str]]] = {
    "gateway": ("eth1", ["route add default via 10.0.0.9"]),
    "device": ("eth1", ["route add default dev eth1"]),
    "inet6": ("eth1", ["route add ::/0 via 2001:db8::9"]),
    "multipath": ("eth1", ["route add default nexthop via 10.0.0.9 nexthop via 10.0.0.8"]),
    "inet6 multipath": ("eth1", ["route add ::/0 nexthop via 2001:db8::9 nexthop via 2001:db8::8"]),
    "nexthop object": ("eth1", ["nexthop add id 7 via 10.0.0.9 dev eth1", "route add default nhid 7"]),
    "nexthop group": (
        "eth1",
        ["nexthop add id 7 via 10.0.0.9 dev eth1", "nexthop add id 8 group 7", "route add default nhid 8"],
    ),
    "other metric": ("eth1", ["route add default via 10.0.0.9 metric 4000"]),
    "bridge port": ("eth2", [*PORT, "route add default via 10.5.0.9"]),
}


def is_forwarding(host: Namespace) -> bool:
    """Whether the port forwards, and the bridge has its carrier from that."""
    (port,), (bridge,) = (host.ip_json(f"-d link show dev {name}") for name in ("eth2", "br0"))
    state = port["linkinfo"]["info_slave_data"]["state"]
    return (state, bridge["operstate"]) == ("forwarding", "UP")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("force", [False, True], ids=["refused", "forced"])
@pytest.mark.parametrize("case", DEFAULTS.values(), ids=DEFAULTS)
def test_default_route(sides: tuple[Namespace, Namespace], case: tuple[str, list[str]], force: bool) -> None:
    """P3: a device that carries a default route of the main table, however, does not leave unless it is forced to."""
    device, routes = case
    sides[0].batch(routes)
    if routes[:4] == PORT:
        wait_until(lambda: is_forwarding(sides[0]), "the kernel has looked at the carriers of the port and its bridge")
    expect_default_route(*sides, device, force)


@pytest.mark.parametrize("force", [False, True], ids=["refused", "forced"])
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("macvlan", marks=pytest.mark.kinds("macvlan")),
        pytest.param("vlan", marks=pytest.mark.kinds("vlan")),
        pytest.param("ipvlan", marks=pytest.mark.kinds("ipvlan")),
    ],
)
def test_default_route_of_an_upper(sides: tuple[Namespace, Namespace], kind: str, force: bool) -> None:
    """P3: nor does the lower of one that does."""
    host, _ = sides
    upper = [kinds.create(kind, "up1", "eth1"), "link set up1 up", "addr add 10.6.0.1/24 dev up1"]
    host.batch([*upper, "route add default via 10.6.0.9"])
    expect_default_route(*sides, "eth1", force)


@pytest.mark.smoke
@pytest.mark.kinds("bond")
@pytest.mark.parametrize("force", [False, True], ids=["refused", "forced"])
def test_default_route_of_a_bond(sides: tuple[Namespace, Namespace], force: bool) -> None:
    """P3: nor does a port of a bond that does."""
    sides[0].batch(
        [
            "link add bond0 type bond",
            "link set peer down",
            "link set peer master bond0",
            "link set bond0 up",
            "addr add 10.6.0.1/24 dev bond0",
            "route add default via 10.6.0.9",
        ]
    )
    expect_default_route(*sides, "peer", force)


@pytest.mark.parametrize(
    "route",
    ["route add default via 10.0.0.9 table 100", "route add unreachable default", "route add 0.0.0.0/1 via 10.0.0.9"],
    ids=["other table", "unreachable", "half"],
)
def test_other_routes_are_not_default_routes(sides: tuple[Namespace, Namespace], route: str) -> None:
    """P3: a default route of another table, or of no device, does not count."""
    sides[0].batch([route])
    assert netdevns.check({"eth1": "a"}, sides[1].fd).ok


def test_default_route_elsewhere(sides: tuple[Namespace, Namespace]) -> None:
    """P3: a default route of another device is no reason to refuse."""
    sides[0].batch(["route add default via 10.0.0.9"])
    assert netdevns.check({"eth2": "a"}, sides[1].fd).ok
