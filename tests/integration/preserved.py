"""Devices with state that `preserve` carries, and what ip(8) and `not_carried` show of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import netdevns
from tests.support.namespaces import Namespace

ALL = ("sysctls", "routes", "neighbours")
HOST = """
    link set lo up
    link add eth0 index 101 type ifb
    link add eth1 index 102 type veth peer name peer
    link set peer up
    link add stays index 105 type ifb
    link set eth0 up
    link set eth1 up
    link set stays up
    addr add 10.0.0.1/24 dev eth0
    addr add 10.0.7.1/32 scope link dev eth0
    addr add 10.1.0.1/24 dev eth1
    addr add 10.5.0.1/24 dev stays
    addr add 2001:db8::1/64 nodad dev eth0
    addr add 2001:db8:1::1/64 nodad dev eth1
    addr add 2001:db8:5::1/64 nodad dev stays
"""
DEVICES = {"eth0": "net0", "eth1": "net1"}
ROUTES = """
    route add 192.0.2.0/24 via 10.0.0.9
    route append 192.0.2.0/24 via 10.0.0.8
    route add 192.0.2.0/24 via 10.0.0.7 metric 7
    route add 192.0.3.0/24 via 10.0.0.9 tos 0x10
    route add 198.51.100.0/24 dev eth0 scope link
    route add 198.51.101.0/24 via 192.168.7.7 dev eth0 onlink
    route add 192.0.1.0/24 via 198.51.100.7 dev eth0
    route add 203.0.113.0/24 via 10.0.0.9 src 10.1.0.1 proto 99
    route add 203.0.114.0/24 nexthop via 10.0.0.9 weight 3 nexthop via 10.1.0.9
    route add 203.0.115.0/24 via 10.0.0.9 table 1000 mtu lock 1200 advmss 1000 congctl reno
    route add 203.0.116.0/24 via inet6 2001:db8:1::9 dev eth1
    route add default via 10.1.0.9 dev eth1 table 100
    route add 2001:db8:77::/48 via 2001:db8::9
    route add 2001:db8:77::/48 via 2001:db8:1::9 metric 7
    route add 2001:db8:78::/48 via 2001:db8::9 src 2001:db8:1::1 table 1000
    route add 2001:db8:79::/48 nexthop via 2001:db8::9 nexthop via 2001:db8:1::9 weight 2
    route add 2001:db8:7b::/48 dev eth0 metric 77
    route add 2001:db8:7c::/48 via fe80::9 dev eth0 mtu 1300 pref high
    route add 2001:db8:7d::/48 via 2001:db8::9 expires 5000
    route add default via fe80::9 dev eth1 table 100
"""


def furnished(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    """The source with these devices, quiet, and the target."""
    host.batch(HOST)
    host.wait_until_quiet()
    return host, target


def routes(side: Namespace, devices: dict[str, str]) -> list[dict[str, Any]]:
    """The routes that no kernel made, of some devices, as ip(8) shows them; the devices under their new names."""

    def named(found: Any) -> Any:
        if isinstance(found, dict):
            return {
                k: devices.get(v, v) if k == "dev" else named(v)
                for k, v in found.items()
                if k not in ("nhid", "nh_info")
            }
        return [named(each) for each in found] if isinstance(found, list) else found

    shown = [r for family in ("-4", "-6") for r in side.ip_json(f"{family} route show table all")]
    ours = [r for r in shown if r.get("protocol") != "kernel" and any(f'"{d}"' in json.dumps(r) for d in devices)]
    return sorted(map(named, ours), key=json.dumps)


def setting(side: Namespace, name: str) -> str:
    with side.entered():
        return Path(f"/proc/sys/net/{name}").read_text().strip()


def others(words: Iterable[str]) -> tuple[str, ...]:
    """Without addresses of a narrower scope, which nothing carries and which this file is not about."""
    return tuple(word for word in words if " address" not in word)


def not_carried(moved: tuple[netdevns.Moved, ...]) -> dict[str, tuple[str, ...]]:
    return {m.host_name: others(m.not_carried) for m in moved if others(m.not_carried)}


def losses(target: Namespace, devices: dict[str, str], *preserve: str) -> list[str]:
    report = netdevns.check(devices, target.fd, preserve=preserve)
    assert report.ok
    return [*others(finding.text for finding in report.findings if finding.severity == "loss")]
