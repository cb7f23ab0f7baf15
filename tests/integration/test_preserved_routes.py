"""`preserve=["routes"]`: routes of every shape arrive; those that cannot are in `not_carried`."""

from __future__ import annotations

from typing import Any

import pytest

import netdevns
from tests.support.namespaces import Namespace

from .preserved import ALL, DEVICES, ROUTES, furnished, losses, not_carried, others, routes


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


def seconds_away(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Routes without the values of their lifetimes, which run; but with the mark of one."""
    return [{k: (4800 < v <= 5000) if k == "expires" else v for k, v in route.items()} for route in found]


@pytest.mark.smoke
def test_routes_are_carried(renumbered: tuple[Namespace, Namespace]) -> None:
    """Routes of every shape arrive on other ifindexes, in their tables and order: ip(8) shows them as in the source."""
    host, target = renumbered
    host.batch(ROUTES)
    expected = routes(host, DEVICES)
    assert len(losses(target, DEVICES)) == 2
    assert losses(target, DEVICES, "routes") == []
    moved = netdevns.move(DEVICES, target.fd, preserve=["routes"])
    assert not_carried(moved) == {}
    assert all(m.ifindex != m.host_ifindex for m in moved)
    assert seconds_away(routes(target, {"net0": "net0", "net1": "net1"})) == seconds_away(expected)
    assert len(expected) == 20
    order = [r["gateway"] for r in target.ip_json("route show 192.0.2.0/24 metric 0") if "metric" not in r]
    assert order == ["10.0.0.9", "10.0.0.8"]


def test_default_route_is_carried(sides: tuple[Namespace, Namespace]) -> None:
    """A default route is preserved, if the move is forced."""
    host, target = sides
    host.batch(["route add default via 10.0.0.9", "route add default via 2001:db8::9"])
    with pytest.raises(netdevns.CheckFailed):
        netdevns.move(DEVICES, target.fd, preserve=ALL)
    moved = netdevns.move(DEVICES, target.fd, preserve=ALL, force=True)
    found = [r for family in ("-4", "-6") for r in target.ip_json(f"{family} route show default")]
    assert [(r["gateway"], r["dev"]) for r in found] == [("10.0.0.9", "net0"), ("2001:db8::9", "net0")]
    assert not_carried(moved) == {}


def test_routes_that_cannot_be_preserved(sides: tuple[Namespace, Namespace]) -> None:
    """A route with a nexthop that stays, or from a router advertisement, is reported before and after."""
    host, target = sides
    host.batch(
        """
        route add 203.0.114.0/24 nexthop via 10.0.0.9 nexthop via 10.5.0.9
        route add 2001:db8:79::/48 nexthop via 2001:db8:5::9 nexthop via 2001:db8::9
        route add 2001:db8:7a::/48 via fe80::9 dev eth0 proto ra
        route add 192.0.2.0/24 via 10.0.0.9
        route add 203.0.116.0/24 via 10.5.0.9
        """
    )
    expected = (
        "route 203.0.114.0/24: it also leaves by a device that stays",
        "route 2001:db8:79::/48: it also leaves by a device that stays",
        "route 2001:db8:7a::/48 via fe80::9: made from a router advertisement",
    )
    assert sorted(losses(target, DEVICES, "routes")) == sorted(f"eth0: a move loses: {what}" for what in expected)
    moved = netdevns.move(DEVICES, target.fd, preserve=["routes"])
    (words,) = not_carried(moved).values()
    assert sorted(words) == sorted(expected)
    assert [r["dst"] for r in routes(target, {"net0": "net0"})] == ["192.0.2.0/24"]


def test_routes_that_the_target_refuses(sides: tuple[Namespace, Namespace]) -> None:
    """A route that needs an unprotected address, as its src or to reach its gateway, is refused and reported."""
    host, target = sides
    host.ip("route add 192.0.2.0/24 via 10.0.0.9 src 10.0.7.1")
    host.ip("addr add 10.0.8.1/24 dev eth0 scope link")
    host.ip("route add 192.0.3.0/24 via 10.0.8.9")
    (moved,) = netdevns.move({"eth0": "net0"}, target.fd, preserve=["routes"])
    first, second = (word for word in moved.not_carried if word.startswith("route"))
    assert first.startswith("route 192.0.2.0/24 via 10.0.0.9: Invalid argument")
    assert second.startswith("route 192.0.3.0/24 via 10.0.8.9: Network is unreachable")
    assert routes(target, {"net0": "net0"}) == []


def test_routes_of_the_target_stay_as_they_are(renumbered: tuple[Namespace, Namespace]) -> None:
    """A route is not added beside one of the target with equal metric, as it would take half of the traffic."""
    host, target = renumbered
    both = ["route add 192.0.2.0/24 via {0}10.{1}.0.9", "route add 2001:db8:77::/48 via {0}2001:db8:{1}::9"]
    target.batch(["link set first up", "addr add 10.9.0.1/24 dev first", "addr add 2001:db8:9::1/64 nodad dev first"])
    target.batch([line.format("", 9) for line in both])
    host.batch([line.format("", 1) for line in both])
    before = routes(target, {"first": "first"})
    moved = netdevns.move({"eth1": "net1"}, target.fd, preserve=["routes"])
    assert routes(target, {"first": "first"}) == before
    assert routes(target, {"net1": "net1"}) == []
    said = not_carried(moved)["eth1"]
    assert [words.rpartition(": ")[2] for words in said] == ["File exists", "File exists"]


def test_nexthop_objects(renumbered: tuple[Namespace, Namespace]) -> None:
    """A route with a nexthop object becomes a plain one, as ids may be taken; groups and objects are reported."""
    host, target = renumbered
    host.batch(
        """
        nexthop add id 7 via 10.0.0.9 dev eth0
        nexthop add id 8 via 2001:db8::9 dev eth0
        nexthop add id 9 dev eth0
        nexthop add id 10 group 7
        nexthop add id 11 via 192.168.7.7 dev eth0 onlink
        route add 203.0.113.0/24 nhid 7
        route add 203.0.114.0/24 nhid 8
        route add 203.0.115.0/24 nhid 9
        route add 203.0.116.0/24 nhid 10
        route add 203.0.117.0/24 nhid 11
        route add 203.0.118.0/24 nhid 7 scope link
        route add 2001:db8:7a::/48 nhid 8 metric 7
        """
    )
    target.batch(["link set lo up", "nexthop add id 7 blackhole"])
    reported = losses(target, DEVICES, "routes")
    expected = [r for r in routes(host, DEVICES) if r["dst"] != "203.0.116.0/24"]
    (moved, _) = netdevns.move(DEVICES, target.fd, preserve=["routes"])
    found = routes(target, {"net0": "net0"})
    plain = [{k: v for k, v in r.items() if k != "scope"} for r in expected]
    assert [{k: v for k, v in r.items() if k != "scope"} for r in found] == plain
    assert len(found) == 6
    group, *objects = others(moved.not_carried)
    assert group.endswith("its nexthop 10 is a group")
    assert objects == [f"nexthop id {id_}" for id_ in (7, 8, 9, 10, 11)]
    assert reported == [f"eth0: a move loses: {words}" for words in others(moved.not_carried)]
    assert [n["id"] for n in target.ip_json("nexthop show")] == [7]
