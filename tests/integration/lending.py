"""Devices that are lent to a container. The test acts for the kernel at its end: software made the devices.

What a NIC does is in tests/physical, where the kernel itself throws it back.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from netdevns import api
from netdevns.engine import lookups
from netdevns.recovery import loaded_record, loans
from netdevns.reports import Recovered
from tests.support.namespaces import Namespace

HOST = """
    link add wire0 index 100 type veth peer name eth1 index 101
    link add eth2 index 102 address 02:00:00:00:00:02 type veth peer name wire2 index 103
    link add other index 104 type ifb
    link add br0 index 105 type bridge
    link set wire0 up
    link set wire2 up
    link set other up
    link set br0 up
    link set eth1 mtu 1400 alias spare group 7 address 02:00:00:00:00:01
    link property add dev eth1 altname enp1
    link set eth1 up
    link set eth2 master br0
    link set eth2 up
    link set eth2 type bridge_slave hairpin on cost 77
    addr add 10.1.0.1/24 brd + label eth1:vip dev eth1
    addr add 10.1.0.2/24 valid_lft 5000 preferred_lft 4000 dev eth1
    addr add 2001:db8:1::1/64 nodad dev eth1
    addr add 2001:db8:1::2/64 nodad valid_lft 5000 preferred_lft 400 dev eth1
    addr add 10.4.0.1/24 dev other
    route add 192.0.2.0/24 via 10.1.0.9
    route add 198.51.100.0/24 nexthop via 10.1.0.9 nexthop via 10.4.0.9
    route add 203.0.113.0/24 via 10.4.0.9
    route add 2001:db8:77::/48 via 2001:db8:1::9
    route add 2001:db8:78::/48 via 2001:db8:1::9 expires 1000
    nexthop add id 7 via 10.1.0.9 dev eth1
    route add 192.0.3.0/24 nhid 7
    neigh add 10.1.0.9 lladdr 02:00:00:00:00:99 nud permanent dev eth1
    neigh add 10.1.0.8 lladdr 02:00:00:00:00:98 nud noarp dev eth1
"""
DEVICES = {"eth1": "net0", "eth2": "net1"}


def furnished(host: Namespace, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    """Where the devices are at home, which is the initial namespace for these tests."""
    host.batch(HOST)
    host.sysctl("ipv4/conf/eth1/rp_filter", 2)
    host.sysctl("ipv6/conf/eth1/accept_ra", 2)
    host.wait_until_quiet()
    monkeypatch.setattr(loaded_record, "INIT", host.path)
    return host


def lend(directory: str, target: Namespace, devices: dict[str, str] = DEVICES, container: str = "c1") -> None:
    """What the createRuntime hook does."""
    with loans.Lender(directory, container) as lender:
        api.transact(devices, target.fd, force=True, journal=directory, lender=lender)


def throw_back(target: Namespace, names: list[str], to: Namespace, *, ifindex: int = 0) -> None:
    """What the kernel does with a NIC when its namespace dies."""
    for name in names:
        target.batch([f"link set {name} down", f"addr flush dev {name}", f"link set {name} nomaster"])
        target.give(name, to, ifindex)


def end(target: Namespace) -> None:
    """The container's end; what is still in its namespace dies with it."""
    target.close()


def outcomes(results: list[Recovered]) -> list[tuple[str | None, str, str]]:
    return [(each.device, each.outcome, each.location) for each in results]


def kept(directory: str) -> list[str]:
    return os.listdir(f"{directory}/loan") if os.path.exists(f"{directory}/loan") else []


HOME = [("eth1", "undone", "source"), ("eth2", "undone", "source")]


def once(dump: dict[str, object]) -> dict[str, object]:
    """Before 6.6 without IFLA_PROP_LIST: there an alternative name that is added again stands twice in it."""
    if lookups.moves_altnames():
        return dump
    links = {}
    for name, link in dump["links"].items():  # type: ignore[attr-defined]
        attrs = {type_: value for type_, value in link.attrs.items() if type_ != 52}
        links[name] = replace(link, attrs=attrs, altnames=tuple(sorted({*link.altnames})))
    return {**dump, "links": links}


def without_shared_routes(dump: dict[str, object]) -> dict[str, object]:
    """Without what was never the devices' own: a route that also leaves by another device."""
    routes = [route for route in dump["routes"] if "198.51.100.0" not in str(route)]  # type: ignore[attr-defined]
    return {**once(dump), "routes": routes}
