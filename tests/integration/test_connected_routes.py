"""The routes that the kernel makes with IPv6 addresses: none is lost and none invented, also after an undo."""

from __future__ import annotations

import errno

import pytest

import netdevns
from netdevns.engine import RESTORE, RETURN, Device, EngineError, Socket
from tests.support import steps
from tests.support.namespaces import Namespace
from tests.support.restored import Restored

PEER = "addr add 2001:db8:1::1 peer 2001:db8:2::1/64 dev eth1"
OWN = "addr add 2001:db8:2::5/64 dev eth1"
UP = "link set eth1 up"
# Arguments of `ip`, in order. Each has an address with a peer in another prefix than its own.
SCENES = {
    "peer-then-own-before-up": [PEER, OWN, UP],
    "own-then-peer-before-up": [OWN, PEER, UP],
    "peer-then-own-after-up": [UP, PEER, OWN],
    "own-then-peer-after-up": [UP, OWN, PEER],
    "peer-alone": [UP, PEER],
    "peer-with-a-metric": [UP, OWN, f"{PEER} metric 50"],
    "peer-with-a-metric-first": [UP, f"{PEER} metric 50", OWN],
    "own-with-a-metric": [UP, PEER, f"{OWN} metric 50"],
    "own-with-the-peers-metric": [UP, f"{PEER} metric 50", f"{OWN} metric 50"],
    "own-without-a-route": [UP, PEER, f"{OWN} noprefixroute"],
    "peer-without-a-route": [UP, f"{PEER} noprefixroute", OWN],
    "two-peers-of-one-prefix": [UP, PEER, "addr add 2001:db8:3::1 peer 2001:db8:2::7/64 dev eth1"],
    "two-peers-and-own": [UP, PEER, "addr add 2001:db8:3::1 peer 2001:db8:2::7/64 dev eth1", OWN],
    "shorter-own": [UP, PEER, "addr add 2001:db8:2::5/48 dev eth1"],
    "longer-own": [UP, PEER, "addr add 2001:db8:2::5/96 dev eth1"],
    "own-that-masks-to-the-peers": [UP, PEER, "addr add 2001:db8:2::ffff:5/64 dev eth1"],
    "peer-of-128": [UP, "addr add 2001:db8:1::1 peer 2001:db8:2::1/128 dev eth1", OWN],
    "peer-is-the-own-prefix": [UP, "addr add 2001:db8:2::9 peer 2001:db8:2::1/64 dev eth1"],
    "peer-is-a-link-local": [UP, "addr add 2001:db8:1::1 peer fe80::77/64 dev eth1"],
    "peer-is-a-link-local-with-a-metric": [UP, "addr add 2001:db8:1::1 peer fe80::77/64 dev eth1 metric 50"],
    "peer-is-of-fe80-without-one": [UP, "addr add 2001:db8:1::1 peer fe80::77/64 dev eth1"],
    "two-metrics-of-one-prefix": [UP, OWN, "addr add 2001:db8:2::6/64 metric 50 dev eth1"],
    "two-metrics-of-one-prefix-back": [UP, "addr add 2001:db8:2::6/64 metric 50 dev eth1", OWN],
    "link-locals-of-two-metrics": [UP, "addr add fe80::9/64 metric 50 dev eth1", OWN],
}


@pytest.fixture(params=SCENES)
def sides(request: pytest.FixtureRequest, host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    """Both namespaces: eth1 has the addresses of a scene, all of them usable."""
    if SCENES[request.param][0] == UP:  # where addresses were before the link, only DAD's end brings a peer its route
        for side in (host, target):
            side.sysctl("ipv6/conf/all/accept_dad", 0)
            side.sysctl("ipv6/conf/default/accept_dad", 0)
    if "link-local" in request.param:
        for side in (host, target):
            side.sysctl("ipv6/conf/default/addr_gen_mode", 0)
    host.batch(["link add eth1 type veth peer name peer", "link set peer up", *SCENES[request.param]])
    host.wait_until_quiet()
    return host, target


def connected(side: Namespace) -> list[tuple[str, int]]:
    """Destination and metric of each, without the link-local's of metric 50, which does not travel."""
    found = side.ip_json("-6 route show dev eth1 proto kernel")
    return sorted(each for route in found if (each := (route["dst"], route["metric"])) != ("fe80::/64", 50))


@pytest.mark.sampled(3)
def test_connected_routes_arrive(sides: tuple[Namespace, Namespace]) -> None:
    """S6, S12: the target has exactly the connected routes that the source had, also after a repetition.

    And so has the source after the engine's own undo, without what a batch puts back after it.
    """
    host, target = sides
    before = connected(host)
    assert before
    with host.entered(), Socket() as source, Socket(target.fd) as there:
        device = Device(b"eth1", b"eth1", 0)
        device.snapshot(source)
        device.move(source, there, target.fd)
        for _ in range(2):
            device.up_and_replay(there)
            target.wait_until_quiet()
            assert connected(target) == before
        device.verify(there)
        device.undo(source, there, host.fd, RETURN | RESTORE)
    host.wait_until_quiet()
    assert connected(host) == before


@pytest.mark.sampled(3)
def test_routes_are_back_after_an_undo(sides: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch) -> None:
    """P1: an undo of a batch restores all routes of the source."""
    host, target = sides

    def refused(*_: object) -> None:
        raise EngineError(errno.ESTALE, "on purpose", "verify")

    monkeypatch.setattr(*steps.before("verify", refused))
    with Restored(host, target), pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move({"eth1": {}}, target.fd)
    assert raised.value.rolled_back
