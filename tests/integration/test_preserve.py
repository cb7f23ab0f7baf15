"""`preserve`: sysctls, routes and neighbours go along on request; what does not is told in `not_carried`."""

from __future__ import annotations

import errno
import json
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import netdevns
from netdevns import carry, cli, sysctls, wire
from netdevns.engine import Device, EngineError, Socket
from tests.support.namespaces import Namespace
from tests.support.restored import Restored

from .test_settings import UNTOLD, VALUES, written

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


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    host.batch(HOST)
    host.wait_until_quiet()
    return host, target


@pytest.fixture
def renumbered(sides: tuple[Namespace, Namespace]) -> tuple[Namespace, Namespace]:
    """A target in which no device keeps its ifindex."""
    sides[1].batch(["link add first index 101 type ifb", "link add second index 102 type ifb"])
    return sides


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


# ---- sysctls ----


def test_nothing_without_being_asked(sides: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch) -> None:
    """The default is what the runtime-spec protects, and the target's own settings for the rest."""
    host, target = sides
    host.sysctl("ipv4/conf/eth0/rp_filter", 2)
    host.ip("route add 192.0.2.0/24 via 10.0.0.9")
    host.ip("neigh add 10.0.0.9 lladdr 02:00:00:00:00:99 nud permanent dev eth0")
    monkeypatch.setattr(carry, "over", None)  # not even called
    moved = netdevns.move(DEVICES, target.fd)
    assert setting(target, "ipv4/conf/net0/rp_filter") == setting(target, "ipv4/conf/default/rp_filter") != "2"
    assert routes(target, {"net0": "net0", "net1": "net1"}) == []
    assert target.ip_json("neigh show nud permanent") == []
    default = setting(target, "ipv4/conf/default/rp_filter")
    assert not_carried(moved) == {"eth0": ("1 route", "1 neighbour", f"sysctl ipv4.rp_filter 2 -> {default}")}


@pytest.mark.smoke
def test_every_setting_is_carried(sides: tuple[Namespace, Namespace]) -> None:
    """Each setting that can be changed, changed, in a target with other defaults: the files there say what it was."""
    _, target = sides
    expected = {}
    for family in ("ipv4", "ipv6"):
        for path in sorted(Path(f"/proc/sys/net/{family}/conf/eth0").iterdir()):
            if path.name in UNTOLD[family] | {"disable_ipv6"}:
                continue
            was = path.read_text().strip()
            if written(path, VALUES.get(f"{family}.{path.name}", "1" if was in ("0", "-1") else "0")):
                expected[f"{family}/conf/net0/{path.name}"] = path
    text = {name: path.read_text().strip() for name, path in expected.items()}
    target.sysctl("ipv4/conf/default/arp_notify", 0)
    target.sysctl("ipv6/conf/default/accept_ra", 0)
    moved = netdevns.move({"eth0": "net0"}, target.fd, preserve=["sysctls"])
    assert {name: setting(target, name) for name in text} == text
    assert not_carried(moved) == {}
    assert len(text) >= 50


def test_of_each_device_of_a_batch(renumbered: tuple[Namespace, Namespace]) -> None:
    """Each device gets its own, not its neighbour's; the token, and IPv6's MTU, which IFF_UP sets, are among them."""
    host, target = renumbered
    for name, value in {"eth0/accept_ra": 0, "eth0/mtu": 1300}.items():
        host.sysctl(f"ipv6/conf/{name}", value)
    host.sysctl("ipv4/conf/eth1/proxy_arp", 1)
    host.sysctl("ipv6/conf/eth1/accept_ra", 2)
    host.ip("token set ::77 dev eth1")
    moved = netdevns.move(DEVICES, target.fd, preserve=ALL)
    names = ("ipv6/conf/{}/accept_ra", "ipv6/conf/{}/mtu", "ipv4/conf/{}/proxy_arp")
    assert [setting(target, name.format("net0")) for name in names] == ["0", "1300", "0"]
    assert [setting(target, name.format("net1")) for name in names] == ["2", "1500", "1"]
    assert target.ip_json("token get dev net1")[0]["token"] == "::77"
    assert not_carried(moved) == {}


def test_ipv6_is_disabled_by_default(sides: tuple[Namespace, Namespace]) -> None:
    """The device's own disable_ipv6=0 goes along, so its addresses can: then that default stands against nothing."""
    _, target = sides
    target.sysctl("ipv6/conf/default/disable_ipv6", 1)
    for preserve in ((), ("routes",)):
        report = netdevns.check({"eth0": "net0"}, target.fd, preserve=preserve)
        assert [f.code for f in report.findings if f.severity == "error"] == ["ipv6.disabled"]
    assert losses(target, {"eth0": "net0"}, "sysctls") == []
    netdevns.move({"eth0": "net0"}, target.fd, preserve={"sysctls"})
    assert [a.prefixlen for a in target.addresses("net0", family=10, scope=0)] == [64]
    assert setting(target, "ipv6/conf/net0/disable_ipv6") == "0"


def test_ipv6_is_disabled_for_the_device(sides: tuple[Namespace, Namespace]) -> None:
    """The other way round: it is off for this device, and comes up there without a link-local address."""
    host, target = sides
    host.sysctl("ipv6/conf/eth0/disable_ipv6", 1)
    netdevns.move({"eth0": "net0"}, target.fd, preserve=["sysctls"])
    assert setting(target, "ipv6/conf/net0/disable_ipv6") == "1"
    assert target.addresses("net0", family=10) == []


def test_no_link_local_address_is_made(sides: tuple[Namespace, Namespace]) -> None:
    """addr_gen_mode is there before IFF_UP: the kernel makes no link-local address that was not wanted."""
    host, target = sides
    host.ip("link set eth0 addrgenmode none")
    target.sysctl("ipv6/conf/default/addr_gen_mode", 0)
    netdevns.move({"eth0": "net0"}, target.fd, preserve=["sysctls"])
    assert setting(target, "ipv6/conf/net0/addr_gen_mode") == "1"
    assert target.addresses("net0", family=10, scope=253) == []


def test_refused_setting_is_told_and_the_others_are_set(sides: tuple[Namespace, Namespace]) -> None:
    """A stable secret does not travel, so its addr_gen_mode is refused; the rest is not lost with it."""
    host, target = sides
    host.sysctl("ipv6/conf/eth1/stable_secret", "2001:db8::77")
    host.sysctl("ipv4/conf/eth1/rp_filter", 2)
    host.ip("token set ::77 dev eth1")
    moved = netdevns.move({"eth1": "net1"}, target.fd, preserve=["sysctls"])
    assert not_carried(moved) == {"eth1": ("sysctl ipv6.addr_gen_mode: Invalid argument",)}
    assert setting(target, "ipv4/conf/net1/rp_filter") == "2"
    assert target.ip_json("token get dev net1")[0]["token"] == "::77"


def test_file_that_cannot_be_written_is_told(
    sides: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where /proc/sys is read-only, say: the setting is named with the reason."""
    host, target = sides
    host.sysctl("ipv6/conf/eth0/accept_ra", 2)
    there = {"/proc/sys/net/ipv6/conf/nothing/accept_ra": "2"}
    monkeypatch.setattr(sysctls.Settings, "files", lambda *_: there)
    moved = netdevns.move({"eth0": "net0"}, target.fd, preserve=["sysctls"])
    assert not_carried(moved) == {"eth0": ("sysctl ipv6.accept_ra: No such file or directory",)}


def test_what_is_no_setting_stays(sides: tuple[Namespace, Namespace]) -> None:
    """mc_forwarding says that a multicast router runs on the device; in the target none does."""
    host, target = sides
    with host.entered():
        router = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP)
    with router:  # linux/mroute.h: MRT_INIT, MRT_ADD_VIF with VIFF_USE_IFINDEX
        router.setsockopt(socket.IPPROTO_IP, 200, 1)
        router.setsockopt(socket.IPPROTO_IP, 202, struct.pack("=HBBIiI", 0, 0x8, 1, 0, 101, 0))
        assert setting(host, "ipv4/conf/eth0/mc_forwarding") == "1"
        moved = netdevns.move({"eth0": "net0"}, target.fd, preserve=["sysctls"])
    assert setting(target, "ipv4/conf/net0/mc_forwarding") == "0"
    assert not_carried(moved) == {}


# ---- routes ----

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


def seconds_away(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without lifetimes, which run; that there is one is kept."""
    return [{k: (4990 < v <= 5000) if k == "expires" else v for k, v in route.items()} for route in found]


@pytest.mark.smoke
def test_routes_are_carried(renumbered: tuple[Namespace, Namespace]) -> None:
    """Routes of every shape, on other ifindexes, in their tables, in their order: as ip(8) shows them in the source."""
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
    """A device that carries one is moved by force, and its default route goes along."""
    host, target = sides
    host.batch(["route add default via 10.0.0.9", "route add default via 2001:db8::9"])
    with pytest.raises(netdevns.CheckFailed):
        netdevns.move(DEVICES, target.fd, preserve=ALL)
    moved = netdevns.move(DEVICES, target.fd, preserve=ALL, force=True)
    found = [r for family in ("-4", "-6") for r in target.ip_json(f"{family} route show default")]
    assert [(r["gateway"], r["dev"]) for r in found] == [("10.0.0.9", "net0"), ("2001:db8::9", "net0")]
    assert not_carried(moved) == {}


def test_routes_that_make_no_sense_elsewhere(sides: tuple[Namespace, Namespace]) -> None:
    """A leg that stays, a router's word: told before by the check, and after, with the reason."""
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
    """An address that is not protected does not arrive: a route with that `src` is not quietly made another one."""
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
    """A route that has its place there is not joined: a second leg of equal metric would take half of its traffic."""
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
    """An id may be taken there: a route by a simple object becomes a plain one; a group, and the objects, are told."""
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
    told = losses(target, DEVICES, "routes")
    expected = [r for r in routes(host, DEVICES) if r["dst"] != "203.0.116.0/24"]
    (moved, _) = netdevns.move(DEVICES, target.fd, preserve=["routes"])
    found = routes(target, {"net0": "net0"})
    plain = [{k: v for k, v in r.items() if k != "scope"} for r in expected]
    assert [{k: v for k, v in r.items() if k != "scope"} for r in found] == plain
    assert len(found) == 6
    group, *objects = others(moved.not_carried)
    assert group.endswith("its nexthop 10 is a group")
    assert objects == [f"nexthop id {id_}" for id_ in (7, 8, 9, 10, 11)]
    assert told == [f"eth0: a move loses: {words}" for words in others(moved.not_carried)]
    assert [n["id"] for n in target.ip_json("nexthop show")] == [7]


# ---- neighbours ----


@pytest.mark.smoke
def test_neighbours_are_carried(renumbered: tuple[Namespace, Namespace]) -> None:
    """Permanent ones and proxies of both families; learned ones are learned again."""
    host, target = renumbered
    host.batch(
        """
        neigh add 10.0.0.9 lladdr 02:00:00:00:00:99 nud permanent dev eth0
        neigh add 2001:db8:1::9 lladdr 02:00:00:00:00:98 nud permanent dev eth1
        neigh add 10.0.0.8 lladdr 02:00:00:00:00:97 nud reachable dev eth0
        neigh add 10.5.0.9 lladdr 02:00:00:00:00:96 nud permanent dev stays
        neigh add proxy 10.1.0.200 dev eth1
        neigh add proxy 2001:db8::200 dev eth0
        """
    )
    moved = netdevns.move(DEVICES, target.fd, preserve=["neighbours"])
    found = [n for n in target.ip_json("neigh show") if n["state"] == ["PERMANENT"]]
    assert sorted((n["dst"], n["dev"], n["lladdr"]) for n in found) == [
        ("10.0.0.9", "net0", "02:00:00:00:00:99"),
        ("2001:db8:1::9", "net1", "02:00:00:00:00:98"),
    ]
    assert target.ip_json("neigh show 10.0.0.8 dev net0") == []
    proxies = sorted((n["dst"], n["dev"]) for n in target.ip_json("neigh show proxy"))
    assert proxies == [("10.1.0.200", "net1"), ("2001:db8::200", "net0")]
    assert not_carried(moved) == {}


# ---- together ----


@pytest.mark.kinds("vlan")
def test_stacked_devices(renumbered: tuple[Namespace, Namespace]) -> None:
    """A VLAN and what it lies on: each with its own."""
    host, target = renumbered
    host.batch(
        """
        link add link eth0 name eth0.5 type vlan id 5
        link set eth0.5 up
        addr add 10.3.0.1/24 dev eth0.5
        route add 192.0.2.0/24 via 10.3.0.9
        route add 192.0.3.0/24 nexthop via 10.3.0.9 nexthop via 10.0.0.9
        neigh add 10.3.0.9 lladdr 02:00:00:00:00:99 nud permanent dev eth0.5
        """
    )
    host.sysctl("ipv4/conf/eth0.5/rp_filter", 2)
    host.wait_until_quiet()
    devices = {"eth0": "net0", "eth0.5": "net0.5"}
    expected = routes(host, devices)
    moved = netdevns.move(devices, target.fd, preserve=ALL)
    assert routes(target, {name: name for name in devices.values()}) == expected
    assert len(expected) == 2
    assert [setting(target, f"ipv4/conf/{name}/rp_filter") for name in ("net0", "net0.5")] == ["0", "2"]
    assert [n["dev"] for n in target.ip_json("neigh show nud permanent")] == ["net0.5"]
    assert not_carried(moved) == {}


@pytest.fixture
def everything(sides: tuple[Namespace, Namespace]) -> tuple[Namespace, Namespace]:
    """A source with something of each kind."""
    host, _ = sides
    host.batch(ROUTES)
    host.ip("neigh add 10.0.0.9 lladdr 02:00:00:00:00:99 nud permanent dev eth0")
    host.ip("neigh add proxy 2001:db8::200 dev eth1")
    for name, value in {
        "ipv4/conf/eth0/rp_filter": 2,
        "ipv6/conf/eth1/accept_ra": 2,
        "ipv6/conf/eth0/mtu": 1300,
    }.items():
        host.sysctl(name, value)
    host.wait_until_quiet()
    return sides


def failing(real: Callable[..., Any], nth: int, error: BaseException) -> Callable[..., Any]:
    """The function, with the n-th call (from 1) made to fail."""
    calls: Iterator[int] = iter(range(1, 10000))

    def call(*args: Any) -> Any:
        if next(calls) == nth:
            raise error
        return real(*args)

    return call


@pytest.mark.sampled(2)
@pytest.mark.parametrize("nth", [1, 2, 4, 12])
@pytest.mark.parametrize(
    ("error", "code"),
    [(EngineError(errno.ENOBUFS, "made to fail", "exchange"), errno.ENOBUFS), (wire.Malformed("what"), errno.EBADMSG)],
    ids=["refused", "malformed"],
)
def test_exchange_fails(
    everything: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch, nth: int, error: Exception, code: int
) -> None:
    """S11: an exchange that fails while carrying undoes the batch, and leaves nothing in the target."""
    host, target = everything
    monkeypatch.setattr(carry, "_refusals", failing(carry._refusals, nth, error))
    with Restored(host, target), pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd, preserve=ALL)
    failed = raised.value
    assert (failed.step, failed.errno, failed.device, failed.left) == ("carry", code, None, ())
    assert "what was to be preserved could not be set in the target" in str(failed)


@pytest.mark.parametrize("part", ["_settings", "_settings_again", "_neighbours", "_routes"])
def test_interruption(everything: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """S11: Ctrl-C while something is carried undoes the batch, then propagates."""
    host, target = everything
    monkeypatch.setattr(carry, part, failing(getattr(carry, part), 1, KeyboardInterrupt()))
    with Restored(host, target), pytest.raises(KeyboardInterrupt) as raised:
        netdevns.move(DEVICES, target.fd, preserve=ALL)
    assert isinstance(raised.value.__cause__, netdevns.MoveFailed)
    assert raised.value.__cause__.left == ()


def test_failure_after_all_was_carried(
    everything: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """S11: the comparison fails when everything is in the target already: all is back in the source."""
    host, target = everything
    seen = []

    def fail(self: Device, target_: Socket, _: object = None) -> None:  # noqa: ARG001  # verify's signature
        seen.append(len(routes(target, {"net0": "net0", "net1": "net1"})))
        raise EngineError(errno.EIO, "made to fail", "verify")

    monkeypatch.setattr(Device, "verify", fail)
    with Restored(host, target), pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd, preserve=ALL)
    assert raised.value.left == ()
    assert seen == [20]


# ---- the command, and types ----


def test_command(everything: tuple[Namespace, Namespace], capsys: pytest.CaptureFixture[str]) -> None:
    """--preserve KIND,... of `move`, and of `check`, whose line advises to type it again."""
    host, target = everything
    to = ["--to", f"fd:{target.fd}", "--preserve", "routes,sysctls"]
    assert cli.main(["check", "eth0=net0", "eth1=net1", *to]) == 0
    assert f"--to fd:{target.fd} --preserve routes,sysctls" in capsys.readouterr().out
    expected = routes(host, DEVICES)
    assert cli.main(["move", "eth0=net0", "eth1=net1", *to, "--json"]) == 0
    told = [others(m["not_carried"]) for m in json.loads(capsys.readouterr().out)["moved"]]
    assert told == [("1 neighbour",), ("1 neighbour",)]
    assert len(routes(target, {"net0": "net0", "net1": "net1"})) == len(expected)
    assert setting(target, "ipv4/conf/net0/rp_filter") == "2"
    assert target.ip_json("neigh show nud permanent") == []


@pytest.mark.parametrize("command", ["move", "check"])
@pytest.mark.parametrize(
    ("kinds", "wrong"), [("routes,qdiscs", "qdiscs"), ("", ""), ("routes,", ""), ("Routes", "Routes")]
)
def test_command_with_an_unknown_kind(
    sides: tuple[Namespace, Namespace], capsys: pytest.CaptureFixture[str], command: str, kinds: str, wrong: str
) -> None:
    """Exit code 2 and one line that names the kinds."""
    host, target = sides
    with Restored(host, target):
        assert cli.main([command, "eth0=net0", "--to", f"fd:{target.fd}", "--preserve", kinds]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f'netdevns: --preserve: unknown kind "{wrong}"; known are sysctls, routes, neighbours',
        "netdevns: nothing was touched",
    ]


def test_command_for_a_bundle(sides: tuple[Namespace, Namespace], capsys: pytest.CaptureFixture[str]) -> None:
    """`check` of a bundle judges what `apply` would do, and that preserves nothing."""
    assert cli.main(["check", "--bundle", "/nowhere", "--preserve", "routes"]) == 2
    assert "--preserve is not for a bundle" in capsys.readouterr().err
    assert sides[0].names() == {"eth0", "eth1", "peer", "stays"}


@pytest.mark.parametrize(
    ("preserve", "error"),
    [("routes", TypeError), (b"routes", TypeError), (None, TypeError), ([7], TypeError), (["qdiscs"], ValueError)],
)
def test_wrong_values(sides: tuple[Namespace, Namespace], preserve: Any, error: type[Exception]) -> None:
    """Wrong Python types and an unknown kind are refused before anything is looked at."""
    host, target = sides
    with Restored(host, target):
        for function in (netdevns.move, netdevns.check):
            with pytest.raises(error, match="preserve"):
                function({"eth0": "net0"}, target.fd, preserve=preserve)
