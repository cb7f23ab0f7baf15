"""An undo restores ports, nexthop objects, neighbours, sysctls, ifindexes, states and stacked devices."""

from __future__ import annotations

import errno
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import netdevns
from tests.support import kinds
from tests.support.namespaces import Namespace
from tests.support.restored import Restored, differences

from .batch import DEVICES, expect_failed, fail_at, furnished


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


@pytest.mark.smoke
def test_undo_restores_a_bridge_port(host: Namespace, target: Namespace, before_step: Callable[..., None]) -> None:
    """P1: a bridge's port is its port again."""
    host.batch(["link add br0 type bridge", "link add eth0 type veth peer name peer", "link set eth0 master br0"])
    host.batch(["link set eth0 up", "link set br0 up"])
    host.wait_until_quiet()
    fail_at(before_step)
    with Restored(host, target):
        expect_failed(target, "eth0", "verify", errno.ENOMEM, {"eth0": "net0"})
    assert host.ip_json("link show dev eth0")[0]["master"] == "br0"


@pytest.mark.smoke
def test_undo_restores_nexthop_groups(host: Namespace, target: Namespace, before_step: Callable[..., None]) -> None:
    """P1: a nexthop group regains the member that it lost with the device, with its weight, and so do its routes."""
    host.batch(
        [
            "link add eth0 type ifb",
            "link set eth0 up",
            "addr add 10.0.0.1/24 dev eth0",
            "link add eth1 type ifb",
            "link set eth1 up",
            "addr add 10.1.0.1/24 dev eth1",
            "nexthop add id 7 via 10.0.0.9 dev eth0",
            "nexthop add id 8 via 10.1.0.9 dev eth1",
            "nexthop add id 9 group 7,3/8",
            "nexthop add id 10 group 7",
            "route add 192.0.2.0/24 nhid 9",
            "route add 198.51.100.0/24 nhid 10",
        ]
    )
    fail_at(before_step)
    with Restored(host, target):
        expect_failed(target, "eth0", "verify", errno.ENOMEM, {"eth0": "net0"})


@pytest.mark.smoke
def test_undo_restores_alternative_names(host: Namespace, target: Namespace, before_step: Callable[..., None]) -> None:
    """P1: alternative names are restored."""
    host.batch(["link add eth0 type ifb", "link property add dev eth0 altname one altname two"])
    fail_at(before_step)
    with Restored(host, target):
        expect_failed(target, "eth0", "verify", errno.ENOMEM, {"eth0": "net0"})
    assert host.links()["eth0"].altnames == ("one", "two")
    # Nor do they block the names in the target, as a move leaves them there on 5.10.
    target.batch(["link add free type ifb", "link property add dev free altname one altname two"])


def test_undo_makes_no_route_that_was_removed(
    host: Namespace, target: Namespace, before_step: Callable[..., None]
) -> None:
    """P1: if an address's connected routes were replaced by ones with another metric, only the latter are restored."""
    host.batch(["link add eth1 type veth peer name peer", "link set peer up", "link set eth1 up"])
    host.batch(["addr add 10.1.0.1/24 brd + dev eth1", "addr add 2001:db8:1::1/64 nodad dev eth1"])
    host.batch(["addr add fe80::77/64 nodad dev eth1"])
    host.wait_until_quiet()
    host.batch(
        [
            "route del 10.1.0.0/24 dev eth1",
            "route add 10.1.0.0/24 dev eth1 metric 100",
            "route del broadcast 10.1.0.255 dev eth1 table local",
            "route del 2001:db8:1::/64 dev eth1",
            "route add 2001:db8:1::/64 dev eth1 metric 512",
            "route del fe80::/64 dev eth1",
            "route add 192.0.2.0/24 via 10.1.0.9",
            "route add 2001:db8:77::/48 via 2001:db8:1::9",
        ]
    )
    fail_at(before_step)
    with Restored(host, target):
        expect_failed(target, "eth1", "verify", errno.ENOMEM, {"eth1": {}})


def test_undo_keeps_the_route_of_a_late_address(
    host: Namespace, target: Namespace, before_step: Callable[..., None]
) -> None:
    """P1: an address that is added during the move comes back with its connected route."""
    host.batch(["link add eth1 type ifb", "link set eth1 up", "addr add 10.1.0.1/24 dev eth1"])
    before_step("move", 1, lambda: host.batch(["addr add 10.2.0.1/24 dev eth1", "addr add 2001:db8::1/64 dev eth1"]))
    fail_at(before_step)
    expect_failed(target, "eth1", "verify", errno.ENOMEM, {"eth1": {}})
    shown = {route["dst"] for v in ("-4", "-6") for route in host.ip_json(f"{v} route show dev eth1")}
    assert shown >= {"10.1.0.0/24", "10.2.0.0/24", "2001:db8::/64"}


NEIGHBOUR_SYSCTLS = {
    "ipv4/neigh/eth1/base_reachable_time_ms": "12000",
    "ipv4/neigh/eth1/ucast_solicit": "7",
    "ipv4/neigh/eth1/locktime": "0",
    "ipv4/neigh/eth1/unres_qlen_bytes": "65536",
    "ipv6/neigh/eth1/gc_stale_time": "77",
    "ipv6/neigh/eth1/proxy_delay": "50",
    "ipv6/neigh/eth2/retrans_time_ms": "2000",
}


def test_undo_restores_neighbour_parameters(
    host: Namespace, target: Namespace, before_step: Callable[..., None]
) -> None:
    """P1: net.ipv4.neigh.DEV and net.ipv6.neigh.DEV, which a move resets, are restored for each device."""
    host.batch(["link add eth1 type ifb", "link add eth2 type ifb", "link set eth1 up"])
    for name, value in NEIGHBOUR_SYSCTLS.items():
        host.sysctl(name, value)
    host.wait_until_quiet()
    fail_at(before_step)
    with Restored(host, target):
        expect_failed(target, "eth1", "verify", errno.ENOMEM, {"eth1": {}, "eth2": {}})
    with host.entered():
        assert {
            name: Path("/proc/sys/net", name).read_text().strip() for name in NEIGHBOUR_SYSCTLS
        } == NEIGHBOUR_SYSCTLS


def test_undo_restores_the_unicast_filter(host: Namespace, target: Namespace, before_step: Callable[..., None]) -> None:
    """P1: MACs in a device's unicast filter, added by hand or by a macvlan, are restored after a move flushed them."""
    host.batch(
        ["link add eth1 type veth peer name peer", "link set eth1 up", "link add link eth1 name mv0 type macvlan"]
    )
    host.give("mv0", target)
    target.ip("link set mv0 up")
    with host.entered():
        subprocess.run(["bridge", "fdb", "add", "02:00:00:00:00:42", "dev", "eth1", "self"], check=True)
    host.wait_until_quiet()
    lost = [f.text for f in netdevns.check({"eth1": "net0"}, target.fd).findings if f.code == "loss.fdb"]
    assert lost == ["eth1: a move loses: 2 additional MAC addresses (bridge fdb show dev eth1)"]
    fail_at(before_step)
    with Restored(host, target):
        expect_failed(target, "eth1", "verify", errno.ENOMEM, {"eth1": "net0"})


def test_undo_restores_neighbours_of_a_routing_daemon(
    host: Namespace, target: Namespace, before_step: Callable[..., None]
) -> None:
    """P1: entries that a program maintains (NTF_EXT_LEARNED) are restored, as the kernel cannot learn them."""
    host.batch(["link add eth1 type veth peer name peer", "link set peer up", "link set eth1 up"])
    host.batch(["addr add 10.1.0.1/24 dev eth1"])
    host.ip("neigh add 10.1.0.8 lladdr 02:00:00:00:00:08 nud reachable extern_learn dev eth1")
    host.wait_until_quiet()
    before = host.ip("neigh show dev eth1")
    fail_at(before_step)
    expect_failed(target, "eth1", "verify", errno.ENOMEM, {"eth1": {}})
    assert (before, host.ip("neigh show dev eth1")) == (before, before)
    assert "extern_learn" in before


NOARP = """
    neigh add 10.1.0.9 lladdr 02:00:00:00:00:99 nud noarp dev eth1
    neigh add 10.1.0.8 lladdr 02:00:00:00:00:98 nud noarp protocol static dev eth1
    neigh add 2001:db8:1::9 lladdr 02:00:00:00:00:99 nud noarp router dev eth1
    neigh add 10.2.0.9 lladdr 02:00:00:00:00:97 nud noarp dev eth2
"""


def test_undo_restores_noarp_neighbours(host: Namespace, target: Namespace, before_step: Callable[..., None]) -> None:
    """P1: noarp entries that a user added are restored; those that the kernel made itself are left to it."""
    host.batch(["link add eth1 type veth peer name peer", "link add eth2 address 02:00:00:00:00:02 type ifb"])
    host.batch([f"link set {device} up" for device in ("peer", "eth1", "eth2")])
    host.batch(["addr add 10.1.0.1/24 brd + dev eth1", "addr add 2001:db8:1::1/64 nodad dev eth1"])
    host.batch(["addr add 10.2.0.1/24 dev eth2", "route add 224.0.0.0/4 dev eth1"])
    host.batch(NOARP)
    host.wait_until_quiet()
    with host.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for made in ("10.1.0.255", "224.0.0.9", "10.2.0.7"):  # a broadcast, a group, and any on a device without ARP
            sender.sendto(b"", (made, 9))
    before = noarp(host)
    assert len(before & {("10.1.0.255", "eth1"), ("224.0.0.9", "eth1"), ("10.2.0.7", "eth2")}) == 3
    fail_at(before_step)
    with Restored(host, target):
        expect_failed(target, "eth1", "verify", errno.ENOMEM, {"eth1": {}, "eth2": {}})
    wanted = {("10.1.0.9", "eth1"), ("10.1.0.8", "eth1"), ("2001:db8:1::9", "eth1"), ("10.2.0.9", "eth2")}
    assert {(dst, device) for dst, device in noarp(host) if not dst.startswith("ff02:")} == wanted


def noarp(side: Namespace) -> set[tuple[str, str]]:
    return {(each["dst"], each["dev"]) for each in side.ip_json("neigh show nud noarp")}


def test_undo_restores_neighbours_of_a_bridge(
    host: Namespace, target: Namespace, before_step: Callable[..., None]
) -> None:
    """P1: permanent neighbours of a bridge are restored, which it loses when its MAC changes with a leaving port."""
    host.batch(["link add br0 type bridge", "link add eth1 type veth peer name peer", "link set eth1 master br0"])
    host.batch([f"link set {device} up" for device in ("br0", "eth1", "peer")])
    host.batch(["addr add 10.1.0.1/24 dev br0", "neigh add 10.1.0.9 lladdr 02:00:00:00:00:99 nud permanent dev br0"])
    host.wait_until_quiet()
    fail_at(before_step)
    with Restored(host, target):
        expect_failed(target, "eth1", "verify", errno.ENOMEM, {"eth1": {}})


@pytest.mark.smoke
def test_undo_restores_the_ifindex(sides: tuple[Namespace, Namespace], before_step: Callable[..., None]) -> None:
    """P1: a device that had another ifindex in the target gets its own back, or `left` reports it (5.10)."""
    host, target = sides
    target.batch(["link add other index 102 type ifb", "link add another index 104 type ifb"])
    target.wait_until_quiet()
    fail_at(before_step)
    if kinds.honours_new_ifindex():
        with Restored(host, target):
            expect_failed(target, "eth0", "verify", errno.ENOMEM)
        return
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd)
    left_of = {left.device: left.missing for left in raised.value.left}
    assert "ifindex 102" in left_of["eth1"]
    assert "ifindex 104" in left_of["eth2"]


@pytest.mark.parametrize("state", ["up", "down"])
def test_undo_restores_the_state(
    host: Namespace, target: Namespace, before_step: Callable[..., None], state: str
) -> None:
    """P1: a device that was down is down, one that was up is up."""
    host.batch(["link add eth0 type ifb", f"link set eth0 {state}", "addr add 10.0.0.1/24 dev eth0"])
    host.wait_until_quiet()
    fail_at(before_step)
    with Restored(host, target):
        expect_failed(target, "eth0", "verify", errno.ENOMEM, {"eth0": {}})
    assert host.links()["eth0"].up == (state == "up")


def test_undo_with_the_kernels_own_link_local(
    host: Namespace, target: Namespace, before_step: Callable[..., None]
) -> None:
    """P1: the kernel's link-local addresses are restored once, and usable."""
    for side in (host, target):
        side.sysctl("ipv6/conf/default/addr_gen_mode", 0)
    host.batch(["link add eth0 type veth peer name peer", "link set peer up", "link set eth0 up"])
    host.ip("addr add 2001:db8::1/64 dev eth0")
    host.wait_until_quiet()
    fail_at(before_step)
    with Restored(host, target):
        expect_failed(target, "eth0", "verify", errno.ENOMEM, {"eth0": "net0"})


@pytest.mark.sampled(2)
@pytest.mark.smoke
@pytest.mark.parametrize("step", ["move", "up_and_replay", "verify"])
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("type macvlan mode bridge", marks=pytest.mark.kinds("macvlan"), id="macvlan"),
        pytest.param("type vlan id 7", marks=pytest.mark.kinds("vlan"), id="vlan"),
        pytest.param("type ipvlan mode l2", marks=pytest.mark.kinds("ipvlan"), id="ipvlan"),
    ],
)
def test_undo_of_an_upper_and_its_lower(
    host: Namespace, target: Namespace, before_step: Callable[..., None], kind: str, step: str
) -> None:
    """P1: a stacked device and its lower return, both with their addresses and routes."""
    host.batch(
        [
            "link add lower type veth peer name lowerp",
            "link set lowerp up",
            f"link add link lower name upper {kind}",
            "link set lower up",
            "link set upper up",
            *(f"addr add 10.{n}.0.1/24 dev {d}" for n, d in enumerate(("lower", "upper"))),
            *(f"addr add 2001:db8:{n}::1/64 nodad dev {d}" for n, d in enumerate(("lower", "upper"))),
            *(f"route add 192.0.{n}.0/24 via 10.{n}.0.9" for n in range(2)),
            *(f"route add 2001:db8:7{n}::/48 via 2001:db8:{n}::9" for n in range(2)),
        ]
    )
    host.wait_until_quiet()
    fail_at(before_step, step, 2)
    with Restored(host, target), pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move({"lower": {}, "upper": {}}, target.fd)
    assert raised.value.left == ()


@pytest.mark.kinds("team")
def test_undo_restores_a_team_port(host: Namespace, target: Namespace, before_step: Callable[..., None]) -> None:
    """P1: a team sets its port up, so that the kernel makes a link-local address; the restored one is usable."""
    host.batch(["link add team0 type team", "link add eth0 type veth peer name peer", "link set eth0 master team0"])
    host.batch(["link set team0 up", "link set peer up", "link set eth0 up"])
    host.sysctl("ipv6/conf/eth0/addr_gen_mode", 0)
    host.wait_until_quiet()
    fail_at(before_step)
    with Restored(host, target):
        expect_failed(target, "eth0", "verify", errno.ENOMEM, {"eth0": {}})


@pytest.mark.thorough
@pytest.mark.parametrize("count", [400])
def test_undo_of_many_addresses(
    host: Namespace, target: Namespace, before_step: Callable[..., None], count: int
) -> None:
    """P1: hundreds of addresses are restored in order."""
    host.batch(
        [
            "link add eth0 type ifb",
            "link set eth0 up",
            *(f"addr add 10.{n // 200}.{n % 200}.1/24 dev eth0" for n in range(count // 2)),
            *(f"addr add 2001:db8:{n:x}::1/64 nodad dev eth0" for n in range(count // 2)),
        ]
    )
    host.wait_until_quiet()
    fail_at(before_step)
    with Restored(host, target):
        expect_failed(target, "eth0", "verify", errno.ENOMEM, {"eth0": "net0"})


@pytest.mark.kinds("bond")
def test_undo_restores_a_bond_port(host: Namespace, target: Namespace, before_step: Callable[..., None]) -> None:
    """P1: a bond's slave is its slave again."""
    host.batch(["link add bond0 type bond", "link add eth0 type veth peer name peer", "link set eth0 master bond0"])
    host.batch(["link set bond0 up", "addr add 10.0.0.1/24 dev bond0"])
    host.wait_until_quiet()
    fail_at(before_step)
    expect_failed(target, "eth0", "verify", errno.ENOMEM, {"eth0": "net0"})
    assert host.ip_json("link show dev eth0")[0]["master"] == "bond0"
    assert [a.address for a in host.addresses("bond0")] == ["10.0.0.1"]


UPPERS = [
    pytest.param("macvlan mode bridge", marks=pytest.mark.kinds("macvlan"), id="macvlan"),
    pytest.param("vlan id 7", marks=pytest.mark.kinds("vlan"), id="vlan"),
]


@pytest.mark.smoke
@pytest.mark.parametrize("kind", UPPERS)
@pytest.mark.parametrize("state", ["up", "down"])
def test_undo_restores_an_upper_that_stayed(
    host: Namespace, target: Namespace, before_step: Callable[..., None], kind: str, state: str
) -> None:
    """P1: an upper that stays in the source keeps its addresses, routes and state when its lower returns."""
    lines = ["link add eth0 type veth peer name peer", "link set peer up", "link set eth0 up"]
    lines += [f"link add link eth0 name up0 type {kind}", f"link set up0 {state}"]
    lines += ["addr add 10.0.0.1/24 dev up0", "addr add 2001:db8::1/64 nodad dev up0"]
    if state == "up":
        lines += ["route add 2001:db8:5::/48 via 2001:db8::9", "route add 192.0.2.0/24 via 10.0.0.9"]
    host.batch(lines)
    host.wait_until_quiet()
    fail_at(before_step)

    def facts() -> dict[str, object]:
        routes = sorted(str(sorted(r.items())) for v in ("-4", "-6") for r in host.ip_json(f"{v} route show"))
        addresses = {name: host.addresses(name) for name in ("up0", "eth0")}
        return {"up": [host.links()["up0"].up], "addresses": addresses, "routes": routes}

    before = facts()
    expect_failed(target, "eth0", "verify", errno.ENOMEM, {"eth0": {}})
    assert not differences(facts, before, timeout_s=1)
