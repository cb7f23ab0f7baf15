"""A batch of three devices with a bit of everything, which a move takes and an undo restores."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import netdevns
from netdevns.engine import EngineError
from tests.support.namespaces import Namespace

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


def furnished(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    """The source with these devices, quiet, and the target."""
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
    assert "all devices are restored" in str(error)
    assert error.netns == f"fd:{target.fd}"
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.errno, copy.left, copy.step) == (str(error), error.errno, error.left, error.step)
    return error


def fail_at(before_step: Callable[..., None], step: str = "verify", nth: int = 1) -> None:
    def fail() -> None:
        raise EngineError(errno.ENOMEM, "made to fail", "exchange")

    before_step(step, nth, fail)
