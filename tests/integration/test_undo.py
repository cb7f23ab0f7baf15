"""When a step fails after the check, everything is back: links, addresses of every scope, routes, nexthop objects.

What fails is made to fail from outside where that is possible: `ip` changes something just before an engine call of the
package. Where that is not possible (a lack of memory, Ctrl-C), the call raises.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import netdevns
from netdevns import cli, plan, transaction
from netdevns.engine import Device, EngineError, Socket
from tests.support import kinds
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until
from tests.support.restored import Restored, assert_equal_soon, differences

STEPS = ("snapshot", "move", "up_and_replay", "verify", "undo")

# Three devices that leave, and one that stays, whose routes depend on them.
HOST = """
    link set lo up
    link add eth0 index 101 type ifb
    link add eth1 index 102 type veth peer name peer
    link add eth2 index 104 type ifb
    link add stays index 105 type ifb
    link add br0 index 106 type bridge
    link set peer up
    link set eth1 mtu 1400 alias spare group 7
    link set eth1 address 02:00:00:00:00:77
    link set stays up
    link set br0 up
    link set eth0 up
    link set eth1 up
    addr add 10.0.0.1/24 brd + dev eth0
    addr add 10.1.0.1/24 brd 10.1.0.77 label eth1:vip metric 50 dev eth1
    addr add 10.1.0.2/24 dev eth1
    addr add 10.1.0.3/32 scope host dev eth1
    addr add 169.254.1.1/16 scope link dev eth1
    addr add 10.1.1.1 peer 10.1.2.2/32 dev eth1
    addr add 10.1.3.1/24 noprefixroute dev eth1
    addr add 10.1.4.1/24 valid_lft 5000 preferred_lft 4000 dev eth1
    addr add 2001:db8:1::1/64 nodad dev eth1
    addr add 2001:db8:1::2/64 nodad dev eth1
    addr add 2001:db8:1::3/64 nodad noprefixroute dev eth1
    addr add 2001:db8:1::4/64 nodad preferred_lft 0 dev eth1
    addr add 2001:db8:1::5/64 nodad valid_lft 5000 preferred_lft 4000 dev eth1
    addr add fe80::77/64 nodad dev eth1
    addr add 10.2.0.1/24 dev eth2
    addr add 2001:db8:2::1/64 nodad dev eth2
    addr add 10.5.0.1/24 dev stays
    addr add 2001:db8:5::1/64 nodad dev stays
    route add 192.0.2.0/24 via 10.1.0.9
    route add 192.0.2.0/24 via 10.1.0.8 metric 7
    route add 198.51.100.0/24 dev eth1 scope link
    route add 198.51.101.0/24 via 192.168.7.7 dev eth1 onlink
    route add 203.0.113.0/24 via 10.5.0.9 src 10.1.0.1
    route add 203.0.114.0/24 nexthop via 10.1.0.9 weight 3 nexthop via 10.5.0.9
    route add 203.0.115.0/24 via 10.1.0.9 table 100 mtu 1200 advmss 1000
    route add 203.0.116.0/24 via 10.5.0.9
    nexthop add id 7 via 10.1.0.9 dev eth1
    nexthop add id 8 via 10.5.0.9 dev stays
    nexthop add id 10 via 2001:db8:1::9 dev eth1
    route add 203.0.118.0/24 nhid 7
    route add 2001:db8:77::/48 via 2001:db8:1::9
    route add 2001:db8:78::/48 via 2001:db8:5::9 src 2001:db8:1::1
    route add 2001:db8:79::/48 nexthop via 2001:db8:1::9 nexthop via 2001:db8:5::9
    route add 2001:db8:7a::/48 nhid 10
    route add 2001:db8:7b::/48 dev eth1 metric 77
    route add 2001:db8:7c::/48 via fe80::9 dev eth1 mtu 1300
    neigh add 10.1.0.9 lladdr 02:00:00:00:00:99 nud permanent dev eth1
    neigh add 2001:db8:1::9 lladdr 02:00:00:00:00:99 nud permanent dev eth1
    neigh add 10.2.0.9 lladdr 02:00:00:00:00:98 nud permanent dev eth2
    neigh add 10.5.0.9 lladdr 02:00:00:00:00:97 nud permanent dev stays
    neigh add proxy 10.1.0.200 dev eth1
    neigh add proxy 2001:db8:1::200 dev eth1
    token set ::77 dev eth1
"""
# What a move resets to the defaults of the target.
SYSCTLS = {
    "ipv4/conf/eth1/rp_filter": 2,
    "ipv4/conf/eth1/arp_announce": 2,
    "ipv4/conf/eth1/proxy_arp": 1,
    "ipv4/conf/eth0/forwarding": 1,
    "ipv6/conf/eth1/accept_ra": 2,
    "ipv6/conf/eth1/router_solicitation_interval": 9,
    "ipv6/conf/eth1/mldv2_unsolicited_report_interval": 1234,
    "ipv6/conf/eth2/mtu": 1300,  # not of a veth: at each carrier event the kernel sets it to the link's
    "ipv6/conf/eth1/keep_addr_on_down": 0,
    "ipv6/conf/eth0/disable_ipv6": 1,
}
DEVICES = {"eth0": "net0", "eth1": "net1", "eth2": "net2"}


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    host.batch(HOST)
    for name, value in SYSCTLS.items():
        host.sysctl(name, value)
    host.wait_until_quiet()
    return host, target


def expect_failed(
    target: Namespace, device: str | None, step: str, code: int, devices: dict[str, Any] = DEVICES, **more: Any
) -> netdevns.MoveFailed:
    """The move fails at that step of that device, and says that all is back."""
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(devices, target.fd, **more)
    error = raised.value
    assert (error.device, error.step, error.errno) == (device, step, code)
    assert (error.rolled_back, error.left) == (True, ())
    if step != "snapshot":
        assert error.location == (None if device is None else "source")
    assert "are back as before" in str(error)
    assert error.netns == f"fd:{target.fd}"
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.errno, copy.left, copy.step) == (str(error), error.errno, error.left, error.step)
    return error


# ---- the move itself fails ----


@pytest.mark.smoke
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_name_appears_in_the_target(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None], nth: int
) -> None:
    """S11: a device of the wanted name that appears after the check undoes the batch, the devices before it, too.

    The old name is free in the target: the kernel moves first and then refuses the name, so the device itself is there.
    """
    host, target = sides
    name = f"net{nth - 1}"
    before_step("move", nth, lambda: target.ip(f"link add {name} type ifb"))
    before = host.dump()
    error = expect_failed(target, f"eth{nth - 1}", "move", errno.EEXIST)
    assert_equal_soon(before, host)
    assert target.names() == {name}
    assert error.extack or error.errno


@pytest.mark.parametrize("nth", [1, 3])
def test_old_and_new_name_appear_in_the_target(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None], nth: int
) -> None:
    """S11: with both names taken the kernel refuses before it moves; the rest of the batch comes back."""
    host, target = sides
    old, new = f"eth{nth - 1}", f"net{nth - 1}"
    before_step("move", nth, lambda: target.batch([f"link add {old} type ifb", f"link add {new} type ifb"]))
    before = host.dump()
    expect_failed(target, old, "move", errno.EEXIST)
    assert_equal_soon(before, host)
    assert target.names() == {old, new}


def test_ifindex_is_taken_meanwhile(sides: tuple[Namespace, Namespace], before_step: Callable[..., None]) -> None:
    """S11: the ifindex that was chosen in the target is taken after the check: the move fails or copes."""
    host, target = sides
    before_step("move", 2, lambda: target.ip("link add thief index 102 type ifb"))
    before = host.dump()
    failed, moved = None, ()
    try:
        moved = netdevns.move(DEVICES, target.fd)
    except netdevns.MoveFailed as e:
        failed = e
    thief = target.links()["thief"]
    assert (thief.up, target.addresses("thief")) == (False, [])
    if failed:
        assert (failed.device, failed.step, failed.errno, failed.left) == ("eth1", "move", errno.EBUSY, ())
        assert_equal_soon(before, host)
        assert target.names() == {"thief"}
    else:  # a kernel before 5.13 does not look at the number that is asked for
        assert target.names() == {"thief", "net0", "net1", "net2"}
        assert [m.ifindex for m in moved] == [target.links()[m.name].ifindex for m in moved]


def test_single_device(host: Namespace, target: Namespace, before_step: Callable[..., None]) -> None:
    """S11: all or nothing holds for one device as for many."""
    host.batch(["link add eth0 index 101 type ifb", "link set eth0 up", "addr add 10.0.0.1/24 dev eth0"])
    host.batch(["addr add 10.0.3.2/24 dev eth0 scope link", "route add 192.0.2.0/24 via 10.0.0.9"])
    host.wait_until_quiet()
    before_step("move", 1, lambda: target.ip("link add net0 type ifb"))
    before = host.dump()
    expect_failed(target, "eth0", "move", errno.EEXIST, {"eth0": "net0"})
    assert_equal_soon(before, host)


def test_filter_of_a_macvlan_that_stays(host: Namespace, target: Namespace, before_step: Callable[..., None]) -> None:
    """S11: the kernel flushes a device's unicast filter in a move: the MAC of a macvlan on it is in there again."""
    host.batch(
        """
        link add eth0 type veth peer name peer
        link set peer up
        link set eth0 up
        link add mv0 link eth0 type macvlan mode bridge
        link set mv0 up
        addr add 10.0.0.1/24 dev mv0
        addr add 2001:db8::1/64 nodad dev mv0
        route add 2001:db8:7::/48 via 2001:db8::9
        """
    )
    host.wait_until_quiet()
    before_step("move", 1, lambda: target.ip("link add net0 type ifb"))
    before = host.dump()
    expect_failed(target, "eth0", "move", errno.EEXIST, {"eth0": "net0"})
    assert_equal_soon(before, host)


# ---- what comes after the move fails ----


def test_ipv6_is_disabled_meanwhile(sides: tuple[Namespace, Namespace], before_step: Callable[..., None]) -> None:
    """S11: IPv6 is switched off in the target after the check: an address cannot be set, all come back."""
    host, target = sides
    before_step("move", 1, lambda: target.sysctl("ipv6/conf/default/disable_ipv6", 1))
    with Restored(host, target):
        error = expect_failed(target, "eth1", "replay", errno.EACCES)
        target.sysctl("ipv6/conf/default/disable_ipv6", 0)
    assert "IPv6 is disabled" in error.extack or not error.extack  # 5.10 does not say


def test_address_is_taken_away_before_the_comparison(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None]
) -> None:
    """P2: what arrived is read back: a missing address undoes the batch."""
    host, target = sides
    before_step("up_and_replay", 3, lambda: target.ip("addr del 10.1.0.2/24 dev net1"))
    with Restored(host, target):
        error = expect_failed(target, "eth1", "verify", 0)
    assert "10.1.0.2/24 is missing" in error.extack


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("link set net1 mtu 1300", "MTU"),
        ("link set net1 down", "not up"),
        ("link set net1 alias other", "alias"),
        ("link set net1 txqueuelen 7", "queue"),
        ("link set net1 group 9", "group"),
        ("addr change 10.1.0.1/24 broadcast 10.1.0.88 metric 51 label net1:vip dev net1", "10.1.0.1/24"),
        ("addr change 2001:db8:1::1/64 preferred_lft 0 dev net1", "2001:db8:1::1/64"),
        ("addr del 2001:db8:1::2/64 dev net1", "2001:db8:1::2/64"),
    ],
    ids=["mtu", "down", "alias", "txqlen", "group", "metric", "deprecated", "inet6"],
)
def test_difference_is_seen(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None], change: str, says: str
) -> None:
    """S6: a changed attribute, a lost or changed address is a failure, not a success with a loss."""
    host, target = sides
    before_step("up_and_replay", 3, lambda: target.ip(change))
    before = host.dump()
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd)
    assert (raised.value.device, raised.value.step, raised.value.errno) == ("eth1", "verify", 0)
    assert says in raised.value.extack
    assert target.names() == set()
    assert raised.value.left == ()
    assert_equal_soon(before, host)


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_down_is_refused(sides: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    """S11: the first step that changes anything, all links down in one send, fails for one of them."""
    host, target = sides
    real = Socket.command

    def command(self: Socket, request: bytes) -> None:
        monkeypatch.setattr(Socket, "command", real)
        real(self, request)
        raise EngineError(errno.EBUSY, "made to fail", "exchange", nth - 1)

    monkeypatch.setattr(Socket, "command", command)
    up = {"eth0": "net0", "eth1": "net1"}
    with Restored(host, target):
        expect_failed(target, list(up)[min(nth, 2) - 1], "down", errno.EBUSY, up)


def test_down_is_refused_before_all_were_asked(
    sides: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """S11: of many devices only the first ones were set down: nothing of the others is taken for lost."""
    host, target = sides
    host.batch(["route add 198.18.0.0/24 dev eth1", "neigh add 10.1.0.77 lladdr 02:00:00:00:00:77 dev eth1"])
    real = Socket.command

    def command(self: Socket, request: bytes) -> None:
        monkeypatch.setattr(Socket, "command", real)
        real(self, request)
        raise EngineError(errno.EBUSY, "made to fail", "exchange", 0)

    monkeypatch.setattr(transaction, "DOWN_WINDOW", 1)
    monkeypatch.setattr(Socket, "command", command)
    with Restored(host, target):
        expect_failed(target, "eth0", "down", errno.EBUSY, {"eth0": "net0", "eth1": "net1"})


@pytest.mark.sampled(2)
@pytest.mark.smoke
@pytest.mark.parametrize("step", ["snapshot", "move", "up_and_replay", "verify"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_engine_fails(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None], step: str, nth: int
) -> None:
    """S11: whatever step fails for whatever device, all are back."""
    host, target = sides

    def fail() -> None:
        raise EngineError(errno.ENOMEM, "made to fail", "exchange")

    before_step(step, nth, fail)
    with Restored(host, target):
        error = expect_failed(target, f"eth{nth - 1}", step.removeprefix("up_and_"), errno.ENOMEM)
    assert error.extack == "made to fail"
    assert "made to fail" in str(error)


# ---- interruption and time ----


@pytest.mark.sampled(2)
@pytest.mark.smoke
@pytest.mark.parametrize("step", ["snapshot", "move", "up_and_replay", "verify"])
@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, MemoryError])
def test_interruption(
    sides: tuple[Namespace, Namespace],
    before_step: Callable[..., None],
    step: str,
    nth: int,
    kind: type[BaseException],
) -> None:
    """DESIGN 4.1: any BaseException in between undoes, then propagates; its cause says where everything is."""
    host, target = sides

    def interrupt() -> None:
        raise kind

    before_step(step, nth, interrupt)
    with Restored(host, target):
        with pytest.raises(kind) as raised:
            netdevns.move(DEVICES, target.fd)
        cause = raised.value.__cause__
    assert isinstance(cause, netdevns.MoveFailed)
    assert (cause.step, cause.rolled_back, cause.device) == ("interrupt", True, None)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("part", range(1, 7))
def test_second_interruption_during_the_undo(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None], part: int
) -> None:
    """DESIGN 4.1: a second Ctrl-C in the middle of the undo does not leave it half done."""
    host, target = sides

    def interrupt() -> None:
        raise KeyboardInterrupt

    before_step("verify", 2, interrupt)
    before_step("undo", part, interrupt)
    with Restored(host, target), pytest.raises(KeyboardInterrupt):
        netdevns.move(DEVICES, target.fd)


@pytest.mark.smoke
@pytest.mark.parametrize("step", ["move", "up_and_replay"])
def test_time_is_over(sides: tuple[Namespace, Namespace], before_step: Callable[..., None], step: str) -> None:
    """DESIGN 4.1: when the time is over between two devices, all are back: ETIMEDOUT."""
    host, target = sides
    before_step(step, 2, lambda: time.sleep(1.1))
    with Restored(host, target):
        error = expect_failed(target, "eth2", "time-out", errno.ETIMEDOUT, timeout_s=1)
    assert "time" in str(error)


def test_no_time_at_all(sides: tuple[Namespace, Namespace]) -> None:
    """DESIGN 4.1: with no time nothing is begun, or undone at once."""
    with Restored(*sides):
        expect_failed(sides[1], "eth0", "time-out", errno.ETIMEDOUT, timeout_s=0)


def test_enough_time(sides: tuple[Namespace, Namespace]) -> None:
    """DESIGN 4.1: a limit that is not reached changes nothing."""
    assert len(netdevns.move(DEVICES, sides[1].fd, timeout_s=60)) == 3


# ---- what undo restores ----


def fail_at(before_step: Callable[..., None], step: str = "verify", nth: int = 1) -> None:
    def fail() -> None:
        raise EngineError(errno.ENOMEM, "made to fail", "exchange")

    before_step(step, nth, fail)


@pytest.mark.smoke
def test_undo_restores_a_bridge_port(host: Namespace, target: Namespace, before_step: Callable[..., None]) -> None:
    """P1: a device that was a bridge's port is one again."""
    host.batch(["link add br0 type bridge", "link add eth0 type veth peer name peer", "link set eth0 master br0"])
    host.batch(["link set eth0 up", "link set br0 up"])
    host.wait_until_quiet()
    fail_at(before_step)
    with Restored(host, target):
        expect_failed(target, "eth0", "verify", errno.ENOMEM, {"eth0": "net0"})
    assert host.ip_json("link show dev eth0")[0]["master"] == "br0"


@pytest.mark.smoke
def test_undo_restores_nexthop_groups(host: Namespace, target: Namespace, before_step: Callable[..., None]) -> None:
    """P1: a nexthop group that lost a leg with the device has it again, with its weight, and its routes do."""
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
    """P1: alternative names are back."""
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
    """P1: who replaced the routes that come with an address, by some of another metric, finds his alone."""
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
    """P1: an address that somebody adds during the move comes back with its own route, which there was not before."""
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


def test_undo_restores_how_neighbours_are_found(
    host: Namespace, target: Namespace, before_step: Callable[..., None]
) -> None:
    """P1: net.ipv4.neigh.DEV and net.ipv6.neigh.DEV, which a move resets, are as they were, of each device its own."""
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
    """P1: MACs that a device listens to, which somebody added or a macvlan in a container: a move flushes them."""
    host.batch(
        ["link add eth1 type veth peer name peer", "link set eth1 up", "link add link eth1 name mv0 type macvlan"]
    )
    host.give("mv0", target)
    target.ip("link set mv0 up")
    with host.entered():
        subprocess.run(["bridge", "fdb", "add", "02:00:00:00:00:42", "dev", "eth1", "self"], check=True)
    host.wait_until_quiet()
    lost = [f.text for f in netdevns.check({"eth1": "net0"}, target.fd).findings if f.code == "loss.fdb"]
    assert lost == ["eth1: a move loses: 2 MACs that it listens to besides its own"]
    fail_at(before_step)
    with Restored(host, target):
        expect_failed(target, "eth1", "verify", errno.ENOMEM, {"eth1": "net0"})


def test_undo_restores_neighbours_of_a_routing_daemon(
    host: Namespace, target: Namespace, before_step: Callable[..., None]
) -> None:
    """P1: nobody learns an entry again that a program put there (NTF_EXT_LEARNED)."""
    host.batch(["link add eth1 type veth peer name peer", "link set peer up", "link set eth1 up"])
    host.batch(["addr add 10.1.0.1/24 dev eth1"])
    host.ip("neigh add 10.1.0.8 lladdr 02:00:00:00:00:08 nud reachable extern_learn dev eth1")
    host.wait_until_quiet()
    before = host.ip("neigh show dev eth1")
    fail_at(before_step)
    expect_failed(target, "eth1", "verify", errno.ENOMEM, {"eth1": {}})
    assert (before, host.ip("neigh show dev eth1")) == (before, before)
    assert "extern_learn" in before


def test_undo_restores_neighbours_of_a_bridge(
    host: Namespace, target: Namespace, before_step: Callable[..., None]
) -> None:
    """P1: a bridge takes another MAC when its port leaves, and loses its permanent neighbours with the old one."""
    host.batch(["link add br0 type bridge", "link add eth1 type veth peer name peer", "link set eth1 master br0"])
    host.batch([f"link set {device} up" for device in ("br0", "eth1", "peer")])
    host.batch(["addr add 10.1.0.1/24 dev br0", "neigh add 10.1.0.9 lladdr 02:00:00:00:00:99 nud permanent dev br0"])
    host.wait_until_quiet()
    fail_at(before_step)
    with Restored(host, target):
        expect_failed(target, "eth1", "verify", errno.ENOMEM, {"eth1": {}})


@pytest.mark.smoke
def test_undo_restores_the_ifindex(sides: tuple[Namespace, Namespace], before_step: Callable[..., None]) -> None:
    """P1: a device that had another ifindex in the target has its own again, or `left` says that it cannot (5.10)."""
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
    told = {left.device: left.missing for left in raised.value.left}
    assert "ifindex 102" in told["eth1"]
    assert "ifindex 104" in told["eth2"]


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
    """P1: link-local addresses of the kernel's own are there once, and usable, as before."""
    for side in (host, target):
        side.sysctl("ipv6/conf/default/addr_gen_mode", 0)
    host.batch(["link add eth0 type veth peer name peer", "link set peer up", "link set eth0 up"])
    host.ip("addr add 2001:db8::1/64 dev eth0")
    host.wait_until_quiet()
    fail_at(before_step)
    with Restored(host, target):
        expect_failed(target, "eth0", "verify", errno.ENOMEM, {"eth0": "net0"})


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
    """P1: a stacked device and its lower come back, both with their addresses and routes."""
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
    """P1: a team sets its port up, with which the kernel makes a link-local address; the one there was is usable."""
    host.batch(["link add team0 type team", "link add eth0 type veth peer name peer", "link set eth0 master team0"])
    host.batch(["link set team0 up", "link set peer up", "link set eth0 up"])
    host.sysctl("ipv6/conf/eth0/addr_gen_mode", 0)
    host.wait_until_quiet()
    fail_at(before_step)
    with Restored(host, target):
        expect_failed(target, "eth0", "verify", errno.ENOMEM, {"eth0": {}})


@pytest.mark.parametrize("count", [400])
def test_undo_of_many_addresses(
    host: Namespace, target: Namespace, before_step: Callable[..., None], count: int
) -> None:
    """P1: hundreds of addresses are back, in their order."""
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


def test_failure_before_anything_changed_touches_nothing(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None]
) -> None:
    """S11: a failure of the first snapshots is told without a single notification."""
    host, target = sides
    fail_at(before_step, "snapshot", 3)
    with host.monitor() as here, target.monitor() as there:
        expect_failed(target, "eth2", "snapshot", errno.ENOMEM)
        assert (here.seen(), there.seen()) == ([], [])


def test_the_same_move_works_after_an_undo(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None]
) -> None:
    """S11: as if it had never been attempted: the next attempt succeeds, with all that is protected."""
    host, target = sides
    before = [(a.address, a.flags) for a in host.addresses("eth1", scope=0) if a.flags & 0x80]
    fail_at(before_step)
    expect_failed(target, "eth0", "verify", errno.ENOMEM)
    netdevns.move(DEVICES, target.fd)
    assert target.names() == {"net0", "net1", "net2"}
    assert [(a.address, a.flags) for a in target.addresses("net1", scope=0)] == before


# ---- what undo cannot restore ----


@pytest.mark.smoke
@pytest.mark.parametrize("nth", [1, 2])
def test_qdiscs_that_are_gone_are_told(
    host: Namespace, target: Namespace, before_step: Callable[..., None], tmp_path: Path, nth: int
) -> None:
    """P1: what nothing can put back is named, of the devices that had left alone; no record asks for another try."""
    host.batch(["link add eth0 type ifb", "link add eth1 type ifb", "link set eth0 up"])
    with host.entered():
        for device in ("eth0", "eth1"):
            for words in (f"dev {device} root handle 7: htb", f"dev {device} clsact"):
                subprocess.run(["tc", "qdisc", "add", *words.split()], check=True)
    host.wait_until_quiet()
    before = host.dump()
    fail_at(before_step, "move", nth)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move({"eth0": "net0", "eth1": "net1"}, target.fd, journal=tmp_path)
    gone = ("qdisc htb, with what hung on it", "qdisc clsact, with what hung on it")
    told = [(left.device, left.location, left.missing) for left in raised.value.left]
    assert told == [("eth0", "source", gone)][: nth - 1]
    assert "recover" not in str(raised.value)
    assert os.listdir(tmp_path / "txn") == []
    # Not even IFLA_QDISC is different otherwise.
    links = differences(host.dump, before, timeout_s=0)
    assert all("eth0" in line for line in links), links


# What the kernel deletes when its lower leaves, and what lies on that.
ENDING = [
    pytest.param("link add up0 type vxlan id 7 dstport 4789 remote 10.0.0.2 dev eth0", id="vxlan"),
    pytest.param("link add link eth0 name up0 type macsec", marks=pytest.mark.kinds("macsec"), id="macsec"),
]


@pytest.mark.parametrize("line", ENDING)
def test_upper_that_the_kernel_deletes_is_told(
    host: Namespace, target: Namespace, before_step: Callable[..., None], tmp_path: Path, line: str
) -> None:
    """P1: a vxlan or macsec device ends when its lower leaves: told by a check, and after an undo as gone for good."""
    host.batch(
        ["link add eth0 index 101 type veth peer name peer", "link set eth0 up", "addr add 10.0.0.1/24 dev eth0"]
    )
    host.batch([line, "link add link up0 name up1 type macvlan", "link set up0 up", "link set up1 up"])
    host.batch(["addr add 10.7.0.1/24 dev up0", "route add 192.0.2.0/24 via 10.7.0.9"])
    host.batch(["neigh add 10.7.0.9 lladdr 02:00:00:00:00:99 nud permanent dev up0"])
    host.wait_until_quiet()
    before = host.dump()
    report = netdevns.check({"eth0": "net0"}, target.fd)
    assert [f.text for f in report.findings if f.code == "loss.upper"] == [
        "eth0: a move loses: up0 on top of it, which the kernel deletes"
    ]
    fail_at(before_step)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move({"eth0": "net0"}, target.fd, journal=tmp_path)
    told = [(left.device, left.location, left.name, left.missing) for left in raised.value.left]
    gone = ("the device: the kernel deleted it when what it lay on left",)
    assert told == [("up0", "gone", None, gone), ("up1", "gone", None, gone)]
    assert os.listdir(tmp_path / "txn") == []
    found = differences(host.dump, before, timeout_s=0)
    here = [line for line in found if "eth0" in line and not line.startswith("links")]
    assert (host.names(), here) == ({"eth0", "peer"}, [])


def test_temporary_address_is_told(
    host: Namespace, target: Namespace, before_step: Callable[..., None], tmp_path: Path
) -> None:
    """P1: an address made for privacy comes back, but no request makes it temporary again: that is named."""
    host.batch(["link add eth1 type veth peer name peer", "link set peer up", "link set eth1 up"])
    host.sysctl("ipv6/conf/eth1/use_tempaddr", 2)
    host.ip("addr add 2001:db8:8::1/64 mngtmpaddr nodad dev eth1")

    def temporary() -> list[str]:
        return [a.address for a in host.addresses("eth1", valid="finite") if a.flags & 1]

    wait_until(temporary, "the kernel adds a temporary address")
    host.wait_until_quiet()
    address = temporary()[0]
    fail_at(before_step)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move({"eth1": {}}, target.fd, journal=tmp_path)
    told = [(left.device, left.location, left.missing) for left in raised.value.left]
    assert told == [("eth1", "source", (f"that {address} is temporary",))]
    assert address in [a.address for a in host.addresses("eth1")]
    assert os.listdir(tmp_path / "txn") == []


@pytest.fixture
def device_deleted(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None]
) -> Iterator[tuple[Namespace, Namespace]]:
    """eth0 is deleted in the target, by somebody else, before it gets its addresses."""
    before_step("up_and_replay", 1, lambda: sides[1].ip("link del net0"))
    return sides  # type: ignore[return-value]


def without_eth0(dump: dict[str, Any]) -> dict[str, Any]:
    """All that is not eth0's own."""
    parts = {part: {k: v for k, v in dump[part].items() if k != "eth0"} for part in ("links", "addresses")}
    routes = [route for route in dump["routes"] if "65000000" not in route]  # its ifindex, 101
    return {**dump, **parts, "routes": routes}


def test_device_that_is_gone(device_deleted: tuple[Namespace, Namespace]) -> None:
    """DESIGN 4.1: a device that was deleted meanwhile is told as gone; the others are back."""
    host, target = device_deleted
    before = host.dump()
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd)
    error = raised.value
    assert (error.device, error.step, error.errno, error.location) == ("eth0", "replay", errno.ENODEV, "gone")
    assert not error.rolled_back
    (left,) = error.left  # its routes are not missing from the others
    assert (left.device, left.location, left.name, left.ifindex) == ("eth0", "gone", None, None)
    assert left.missing
    assert target.names() == set()
    assert_equal_soon(before, host, shown=without_eth0)


def test_device_that_is_gone_before_the_move(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None]
) -> None:
    """DESIGN 4.1: so is one that disappears from the source between check and move."""
    host, target = sides
    before_step("move", 2, lambda: host.ip("link del eth1"))
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd)
    assert (raised.value.device, raised.value.location) == ("eth1", "gone")
    assert "eth1" in {left.device for left in raised.value.left}
    assert {"eth0", "eth2", "stays"} <= host.names()
    assert target.names() == set()


def thief(sides: tuple[Namespace, Namespace], before_step: Callable[..., None]) -> None:
    """While eth1 is away, somebody takes its name in the source; then a step fails."""
    host, _ = sides

    def steal() -> None:
        host.ip("link add eth1 type ifb")
        raise EngineError(errno.ENOMEM, "made to fail", "exchange")

    before_step("verify", 2, steal)


def test_old_name_is_taken_in_the_source(sides: tuple[Namespace, Namespace], before_step: Callable[..., None]) -> None:
    """DESIGN 4.1: a device whose name was taken meanwhile cannot come back under it: `left` says where it is."""
    host, target = sides
    thief(sides, before_step)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd)
    error = raised.value
    assert not error.rolled_back
    (left,) = (entry for entry in error.left if entry.device == "eth1")
    where = {"source": host, "target": target}[left.location]
    (found,) = (link for link in where.links().values() if link.attrs.get(1) == "020000000077")  # its MAC address
    assert found.ifindex == left.ifindex
    assert left.missing
    assert {"eth0", "eth2"} <= host.names()
    assert "eth1" in str(error)


@pytest.mark.parametrize("as_json", [False, True], ids=["human", "json"])
def test_command_exits_with_3(
    sides: tuple[Namespace, Namespace],
    before_step: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    """DESIGN 4.2: exit code 3: something could not be put back; the message says what, and where it is."""
    _, target = sides
    thief(sides, before_step)
    arguments = [f"{old}={new}" for old, new in DEVICES.items()]
    assert cli.main(["move", *arguments, "--to", f"fd:{target.fd}", *(["--json"] if as_json else [])]) == 3
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert all(line.startswith("netdevns: ") for line in lines)
    assert "NOT as before: eth1" in lines[0]
    assert any(line.startswith("netdevns: eth1: in ") and "not as before" in line for line in lines[1:])
    if as_json:
        error = json.loads(out)["error"]
        assert error["rolled_back"] is False
        assert [left["device"] for left in error["left"]] == ["eth1"]
    (record,) = Path(netdevns.JOURNAL_DIR, "txn").iterdir()  # kept, for another try
    record.unlink()


def test_ifindex_is_taken_in_the_source(sides: tuple[Namespace, Namespace], before_step: Callable[..., None]) -> None:
    """P1: a device whose ifindex was taken meanwhile is back under its name, with its addresses; `left` says so."""
    host, target = sides
    before = host.addresses("eth1")

    def steal() -> None:
        host.ip("link add other index 102 type ifb")
        raise EngineError(errno.ENOMEM, "made to fail", "exchange")

    before_step("verify", 2, steal)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd)
    (left,) = (entry for entry in raised.value.left if entry.device == "eth1")
    assert (left.location, left.name) == ("source", "eth1")
    assert left.ifindex == host.links()["eth1"].ifindex != 102
    assert any("ifindex 102" in missing for missing in left.missing)
    assert host.addresses("eth1") == before
    assert target.names() == set()


def test_hook_points_are_the_engines_own() -> None:
    """These tests hang on names of the engine: whoever renames one must see it here, not lose the tests."""
    assert all(callable(getattr(Device, step)) for step in STEPS)
    assert plan.Device is Device


@pytest.mark.parametrize("nth", [1, 3])
def test_location_after_a_failed_snapshot(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None], nth: int
) -> None:
    """DESIGN 4.1: a device whose snapshot failed was never touched: its location is "source", not "unknown"."""

    def fail():
        raise EngineError(errno.ENOMEM, "made to fail", "exchange")

    before_step("snapshot", nth, fail)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, sides[1].fd)
    assert raised.value.location == "source"


def test_left_tells_the_name_in_the_source(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None]
) -> None:
    """DESIGN 4.1: a device that came back under another name (its own was taken) is told under *that* name."""
    host, _ = sides
    thief(sides, before_step)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, sides[1].fd)
    (left,) = raised.value.left
    (found,) = (link for link in host.links().values() if link.attrs.get(1) == "020000000077")
    assert (left.location, left.name, left.ifindex) == ("source", found.name, found.ifindex)


def test_changed_mac_does_not_hide_the_device(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None]
) -> None:
    """P1: a device whose MAC was changed in the target meanwhile is still found by its ifindex, and comes back."""
    host, target = sides
    before_step("up_and_replay", 3, lambda: target.ip("link set net1 address 02:00:00:00:00:78"))
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd)
    assert "MAC" in raised.value.extack
    assert "eth1" in host.names()
    assert target.names() == set()


@pytest.mark.kinds("bond")
def test_undo_restores_a_bond_port(host: Namespace, target: Namespace, before_step: Callable[..., None]) -> None:
    """P1: a device that was a bond's port is one again."""
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
    """P1: a device that stays in the source while its lower leaves and returns has its addresses, routes and state."""
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
