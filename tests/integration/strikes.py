"""Devices that arrive at a hostile container, and what its root does to them just before a step of the move fails."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

import netdevns
from netdevns.engine import EngineError, lookups
from tests.support.namespaces import Namespace

HOST = """
    link set lo up
    link add eth0 index 101 type ifb
    link add eth1 index 102 address 02:00:00:00:00:01 type veth peer name peer index 103
    link add stays index 105 type ifb
    link set peer up
    link set eth1 mtu 1400 alias spare group 7
    link property add dev eth1 altname enp1
    link set eth0 up
    link set eth1 up
    link set stays up
    addr add 10.0.0.1/24 brd + dev eth0
    addr add 10.1.0.1/24 brd + label eth1:vip dev eth1
    addr add 2001:db8:1::1/64 nodad dev eth1
    route add 192.0.2.0/24 via 10.1.0.9
"""
MACVLAN = """
    link add lower type veth peer name lowerp
    link set lowerp up
    link set lower up
    link add link lower name mv0 type macvlan mode {}
    link set mv0 up
    addr add 10.3.0.1/24 dev mv0
"""
DEVICES = {"eth0": "net0", "eth1": "net1"}
BeforeStep = Callable[[str, int, Callable[[], object]], None]
has_altnames = pytest.mark.skipif(
    not lookups.moves_altnames(), reason="before 6.6 alternative names do not move, and stand in the way of nothing"
)


def furnished(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    """The source with these devices, quiet, and the target."""
    host.batch(HOST)
    host.wait_until_quiet()
    return host, target


def strike(target: Namespace, *commands: str, then: Callable[[], object] = lambda: None) -> Callable[[], None]:
    """What root in the target does; then the step fails."""

    def act() -> None:
        target.batch(commands)
        then()
        raise EngineError(errno.EIO, "made to fail", "verify")

    return act


def failed_move(target: Namespace, devices: dict[str, str] = DEVICES) -> netdevns.MoveFailed:
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(devices, target.fd)
    return raised.value
