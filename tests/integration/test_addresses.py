"""Every protected address arrives, with all it has and in its order; the others are left to the kernel."""

from __future__ import annotations

import socket as sockets

import pytest

import netdevns
from tests.support import kinds, rawdump
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until
from tests.support.rawdump import IFA_F_PERMANENT, Address

V4, V6 = sockets.AF_INET, sockets.AF_INET6
VETH = "link add eth1 type veth peer name peer"
UP = ["link set dev eth1 up", "link set dev peer up"]


def protected(found: list[Address]) -> list[Address]:
    """S6's own words: permanent and of global scope."""
    return [a for a in found if a.flags & IFA_F_PERMANENT and a.scope == 0]


def without_label(found: list[Address]) -> list[dict[str, object]]:
    return [{**vars(a), "label": None} for a in found]


def move_and_compare(host: Namespace, target: Namespace, name: str = "eth1") -> list[Address]:
    """Moves eth1; all its protected addresses must be there as they were, but for the label. Returns them."""
    host.wait_for_dad()
    before = protected(host.addresses("eth1"))
    assert before
    netdevns.move({"eth1": name}, target.fd)
    after = protected(target.addresses(name))
    assert without_label(after) == without_label(before)
    assert target.links()[name].up
    return after


ADDRESSES = {
    "inet": "10.0.0.1/24",
    "inet-brd": "10.0.0.1/24 brd +",
    "inet-brd-odd": "10.0.0.1/24 brd 10.0.0.77",
    "inet-brd-foreign": "10.0.0.1/24 brd 192.0.2.255",
    "inet-31": "10.0.0.0/31",
    "inet-32": "10.0.0.1/32",
    "inet-32-brd": "10.0.0.1/32 brd 10.0.0.1",
    "inet-8": "10.0.0.1/8 brd +",
    "inet-0": "10.0.0.1/0",
    "inet-peer": "10.0.0.1 peer 10.9.9.9",
    "inet-peer-net": "10.0.0.1 peer 10.9.9.9/24",
    "inet-peer-brd": "10.0.0.1 peer 10.9.9.9/24 brd 10.9.9.255",
    "inet-metric": "10.0.0.1/24 metric 500",
    "inet-noprefixroute": "10.0.0.1/24 noprefixroute",
    "inet-any-class": "240.0.0.1/4",
    "inet6": "2001:db8::1/64",
    "inet6-128": "2001:db8::1/128",
    "inet6-127": "2001:db8::/127",
    "inet6-48": "2001:db8:1::1/48",
    "inet6-ula": "fd00::1/64",
    "inet6-mapped": "::ffff:10.0.0.1/128",
    "inet6-peer": "2001:db8::1 peer 2001:db8::2",
    "inet6-peer-net": "2001:db8::1 peer 2001:db8:1::2/64",
    "inet6-metric": "2001:db8::1/64 metric 500",
    "inet6-noprefixroute": "2001:db8::1/64 noprefixroute",
    "inet6-deprecated": "2001:db8::1/64 preferred_lft 0",
    "inet6-mngtmpaddr": "2001:db8::1/64 mngtmpaddr",
    "inet6-home": "2001:db8::1/64 home",
    "inet6-nodad": "2001:db8::1/64 nodad",
}


@pytest.mark.sampled(3)
@pytest.mark.smoke(4)
@pytest.mark.parametrize("state", ["up", "down"])
@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)
def test_protected_address_arrives(host: Namespace, target: Namespace, address: str, state: str) -> None:
    """S6: prefixlen, peer, broadcast, metric, flags and preferred lifetime 0 are as before, from UP and from DOWN."""
    host.batch(["link add eth1 type ifb", f"link set dev eth1 {state}", f"addr add {address} dev eth1"])
    move_and_compare(host, target, "net0")


@pytest.mark.parametrize("address", ["10.0.0.1/24 brd +", "10.0.0.1/32"], ids=["brd", "32"])
def test_address_is_shown_as_before(host: Namespace, target: Namespace, address: str) -> None:
    """S6: `ip -j addr` prints the same for an address in the container as before on the host."""
    host.batch(["link add eth1 type ifb", "link set eth1 up", f"addr add {address} dev eth1"])
    (before,) = host.ip_json("addr show dev eth1")
    netdevns.move({"eth1": {}}, target.fd)
    (after,) = target.ip_json("addr show dev eth1")
    assert after["addr_info"] == before["addr_info"]
    assert "UP" in after["flags"]


@pytest.mark.smoke(3)
@pytest.mark.parametrize(
    ("label", "arrived"),
    [
        (None, "net0"),
        ("eth1", "net0"),
        ("eth1:vip", "net0:vip"),
        ("eth1:", "net0:"),
        ("eth1:a:b", "net0:a:b"),
        ("foreign", "foreign"),
        ("eth10", "eth10"),
        ("eth", "eth"),
        ("other:vip", "other:vip"),
    ],
    ids=["default", "name", "alias", "colon", "colons", "foreign", "longer", "shorter", "other"],
)
def test_label_follows_the_new_name(host: Namespace, target: Namespace, label: str | None, arrived: str) -> None:
    """S6: an IPv4 label arrives as a rename in place would leave it: `old:x` as `new:x`, any other as it is."""
    host.batch(["link add eth1 type ifb", "link set eth1 up"])
    with host.socket() as socket:
        attrs = {} if label is None else {"label": label.encode() + b"\0"}
        assert socket.add_address(host.links()["eth1"].ifindex, "10.0.0.1/24", **attrs) == 0
    (moved,) = netdevns.move({"eth1": "net0"}, target.fd)
    if label is None:  # given to the kernel without one, an address has the device's name
        assert host.names() == set()
    assert [a.label for a in target.addresses("net0", family=V4)] == [arrived]
    assert [a.label for a in moved.addresses] == [arrived]
    assert moved.not_carried == ()


def test_label_without_a_rename(host: Namespace, target: Namespace) -> None:
    """S6: without a new name a label stays."""
    host.batch(["link add eth1 type ifb", "addr add 10.0.0.1/24 label eth1:vip dev eth1"])
    netdevns.move({"eth1": {}}, target.fd)
    assert [a.label for a in target.addresses("eth1")] == ["eth1:vip"]


def test_label_that_no_longer_fits_is_reported(host: Namespace, target: Namespace) -> None:
    """P2: a label of more than 15 bytes after the rename becomes the plain name, and `not_carried` says so."""
    host.batch(
        [
            "link add e type ifb",
            "addr add 10.0.0.1/24 label e:12345678 dev e",
            "addr add 10.0.0.2/24 label e:1 dev e",
        ]
    )
    (moved,) = netdevns.move({"e": "abcdefghijkl"}, target.fd)
    assert [a.label for a in target.addresses("abcdefghijkl")] == ["abcdefghijkl", "abcdefghijkl:1"]
    assert len(moved.not_carried) == 1
    assert "label" in moved.not_carried[0]


def test_labels_with_a_template(host: Namespace, target: Namespace) -> None:
    """S5, S6: a label follows the name that the kernel chose."""
    host.batch(["link add eth1 type ifb", "addr add 10.0.0.1/24 label eth1:vip dev eth1"])
    target.ip("link add net0 type ifb")
    netdevns.move({"eth1": "net%d"}, target.fd)
    assert [a.label for a in target.addresses("net1")] == ["net1:vip"]


@pytest.mark.parametrize("address", ["10.0.0.1/24", "2001:db8::1/64"], ids=["inet", "inet6"])
def test_protocol_arrives(host: Namespace, target: Namespace, address: str) -> None:
    """P2: IFA_PROTO is kept where the kernel has it (from 5.18 on), and its absence is, before."""
    host.batch(["link add eth1 type ifb", "link set eth1 up"])
    with host.socket() as socket:
        socket.add_address(host.links()["eth1"].ifindex, address, flags=rawdump.IFA_F_NODAD, proto=b"\x63")
    proto = host.addresses("eth1")[0].proto
    assert proto in (0x63, None)
    assert move_and_compare(host, target)[0].proto == proto


@pytest.mark.smoke
@pytest.mark.parametrize("state", ["up", "down"])
def test_order_of_many_addresses(host: Namespace, target: Namespace, state: str) -> None:
    """P2: addresses of both families keep their order: primaries and secondaries, and IPv6, newest first."""
    host.batch(
        [
            "link add eth1 type ifb",
            f"link set eth1 {state}",
            *(f"addr add 10.0.{net}.{n}/24 dev eth1" for n in (9, 3, 5, 1) for net in (7, 2, 4)),
            *(f"addr add 2001:db8:{net}::{n}/64 dev eth1" for n in (9, 3, 5) for net in (7, 2)),
            "addr add 10.0.7.100/25 dev eth1",
            "addr add 10.0.7.101/32 dev eth1",
        ]
    )
    after = move_and_compare(host, target, "net0")
    assert [a.address for a in after[:3]] == ["10.0.7.9", "10.0.2.9", "10.0.4.9"]
    assert len(after) == 20


def test_same_address_with_two_prefix_lengths(host: Namespace, target: Namespace) -> None:
    """S6: an address is its prefix length, too: IPv4 allows the same one twice."""
    host.batch(["link add eth1 type ifb", "addr add 10.0.0.1/24 dev eth1", "addr add 10.0.0.1/16 dev eth1"])
    assert [(a.address, a.prefixlen) for a in move_and_compare(host, target)] == [("10.0.0.1", 24), ("10.0.0.1", 16)]


def test_same_address_with_two_peers(host: Namespace, target: Namespace) -> None:
    """S6: and its peer."""
    host.batch(
        [
            "link add eth1 type ifb",
            "link set eth1 up",
            "addr add 10.0.0.1 peer 10.1.0.1/32 dev eth1",
            "addr add 10.0.0.1 peer 10.2.0.1/32 dev eth1",
        ]
    )
    assert [a.peer for a in move_and_compare(host, target)] == ["10.1.0.1", "10.2.0.1"]


def test_peer_routes_are_there(host: Namespace, target: Namespace) -> None:
    """S6: an IPv6 address with a peer reaches it in the container: its route is there."""
    host.batch(["link add eth1 type ifb", "link set eth1 up", "addr add 2001:db8::1 peer 2001:db8:9::2 dev eth1"])
    host.wait_until_quiet()
    routes = sorted(route["dst"] for route in host.ip_json("-6 route show dev eth1"))
    netdevns.move({"eth1": {}}, target.fd)
    target.wait_until_quiet()
    assert sorted(route["dst"] for route in target.ip_json("-6 route show dev eth1")) == routes
    assert routes == ["2001:db8:9::2", "2001:db8::1"]


@pytest.mark.parametrize(
    ("what", "address"),
    [
        ("finite lifetime", "10.0.0.9/24 valid_lft 1000 preferred_lft 500"),
        ("finite lifetime", "2001:db8::9/64 valid_lft 1000 preferred_lft 500"),
        ("link scope", "169.254.7.7/16 scope link"),
        ("host scope", "10.0.0.9/24 scope host"),
        ("site scope", "10.0.0.9/24 scope site"),
        ("link scope", "fe80::77/64"),
        ("site scope", "fec0::77/64"),
    ],
    ids=["lifetime", "lifetime6", "link", "host", "site", "link6", "site6"],
)
def test_not_protected_is_left_to_the_kernel(host: Namespace, target: Namespace, what: str, address: str) -> None:
    """S6, S12: an address with a finite lifetime or a narrower scope is neither carried nor kept from moving."""
    host.batch(
        [
            "link add eth1 type ifb",
            "link set eth1 up",
            "addr add 10.1.0.1/24 dev eth1",
            f"addr add {address} dev eth1",
            "addr add 2001:db8:1::1/64 dev eth1",
        ]
    )
    assert len(host.addresses("eth1")) == 3, what
    (moved,) = netdevns.move({"eth1": {}}, target.fd)
    assert [a.address for a in target.addresses("eth1")] == ["10.1.0.1", "2001:db8:1::1"]
    assert [a.address for a in moved.addresses] == ["10.1.0.1", "2001:db8:1::1"]


def test_secondary_of_a_primary_that_is_not_carried(host: Namespace, target: Namespace) -> None:
    """S6: a permanent secondary arrives although its primary, which has a finite lifetime, stays behind."""
    host.batch(
        [
            "link add eth1 type ifb",
            "link set eth1 up",
            "addr add 10.0.0.1/24 dev eth1 valid_lft 1000 preferred_lft 1000",
            "addr add 10.0.0.2/24 dev eth1",
        ]
    )
    netdevns.move({"eth1": {}}, target.fd)
    assert [(a.address, a.prefixlen) for a in target.addresses("eth1")] == [("10.0.0.2", 24)]


@pytest.mark.smoke
def test_no_address_is_invented(host: Namespace, target: Namespace) -> None:
    """S12: a device without addresses has none afterwards, and no routes but the kernel's own."""
    host.batch(["link add eth1 type ifb", "link set eth1 up"])
    (moved,) = netdevns.move({"eth1": {}}, target.fd)
    assert target.addresses("eth1") == []
    assert moved.addresses == ()
    assert [route["dst"] for route in target.ip_json("route show table all")] in ([], ["ff00::/8"])


@pytest.mark.parametrize("count", [60, 1000])
def test_many_addresses(host: Namespace, target: Namespace, count: int) -> None:
    """P2: hundreds of addresses of both families arrive in order; replies that fill a socket's buffer lose none."""
    host.batch(
        [
            "link add eth1 type ifb",
            "link set eth1 up",
            *(f"addr add 10.{n // 250}.{n % 250}.1/24 dev eth1" for n in range(count // 2)),
            *(f"addr add 2001:db8:{n:x}::1/64 dev eth1" for n in range(count // 2)),
        ]
    )
    assert len(move_and_compare(host, target, "net0")) == count


# ---- duplicate address detection ----


@pytest.mark.smoke
def test_usable_ipv6_address_is_usable_at_once(host: Namespace, target: Namespace) -> None:
    """P2: an address that had completed DAD is not tentative when the call returns, and has its own flags exactly."""
    host.batch([VETH, *UP])
    host.sysctl("ipv6/neigh/eth1/retrans_time_ms", 10)
    host.sysctl("ipv6/conf/eth1/dad_transmits", 1)
    host.batch(["addr add 2001:db8::1/64 dev eth1", "addr add 2001:db8::2/64 dev eth1 nodad"])
    after = move_and_compare(host, target)
    assert [(a.tentative, bool(a.flags & rawdump.IFA_F_NODAD)) for a in after] == [(False, True), (False, False)]
    with target.entered(), sockets.socket(V6, sockets.SOCK_DGRAM) as bound:
        bound.bind(("2001:db8::1", 7777))  # a tentative address cannot be bound


def test_tentative_ipv6_address_does_dad(host: Namespace, target: Namespace) -> None:
    """P2: an address that had not proven itself does DAD in the container."""
    host.batch([VETH, *UP])
    host.sysctl("ipv6/conf/eth1/dad_transmits", 100)
    host.ip("addr add 2001:db8::1/64 dev eth1")
    assert host.addresses("eth1")[0].tentative
    netdevns.move({"eth1": {}}, target.fd)
    (address,) = target.addresses("eth1")
    assert (address.address, address.tentative) == ("2001:db8::1", True)
    target.wait_for_dad()


def test_duplicate_ipv6_address_does_dad(host: Namespace, target: Namespace) -> None:
    """P2: one that failed DAD has to prove itself again: it is not made usable by a move."""
    with Namespace.create("neighbour") as neighbour:
        host.batch([VETH, *UP])
        host.give("peer", neighbour)
        neighbour.batch(["link set dev peer up", "addr add 2001:db8::1/64 dev peer nodad"])
        host.sysctl("ipv6/conf/eth1/dad_transmits", 3)
        for side in (host, neighbour):
            side.wait_until_quiet()  # a device whose carrier is not looked at yet drops the question or its answer
        host.ip("addr add 2001:db8::1/64 dev eth1")
        wait_until(lambda: host.addresses("eth1")[0].flags & rawdump.IFA_F_DADFAILED, "DAD fails")
        netdevns.move({"eth1": {}}, target.fd)
        (address,) = target.addresses("eth1")
        assert address.flags & (rawdump.IFA_F_TENTATIVE | rawdump.IFA_F_DADFAILED)


@pytest.mark.parametrize("permanent", [True, False], ids=["usable", "tentative"])
def test_the_kernels_own_link_local_is_no_obstacle(host: Namespace, target: Namespace, permanent: bool) -> None:
    """P2: with the link-local addresses that a kernel makes by itself on both sides, what is protected arrives."""
    for side in (host, target):
        side.sysctl("ipv6/conf/default/addr_gen_mode", 0)
    host.batch([VETH, *UP, f"addr add 2001:db8::1/64 dev eth1{' nodad' if permanent else ''}"])
    netdevns.move({"eth1": "net0"}, target.fd)
    assert [a.address for a in target.addresses("net0", scope=0)] == ["2001:db8::1"]
    assert len(target.addresses("net0", scope=253)) == 1


@pytest.mark.sampled(2)
@pytest.mark.smoke
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.kinds(kind, "veth")) for kind in kinds.MOVABLE])
@pytest.mark.parametrize("state", ["up", "down"])
def test_every_kind(host: Namespace, target: Namespace, kind: str, state: str) -> None:
    """S3, S6, S7: every kind of device that this kernel offers moves, is up, and has its addresses."""
    host.batch(
        [
            "link add lower type veth peer name lowerp",
            "link set lower up",
            "link set lowerp up",
            kinds.create(kind, "eth1"),
            "addr add 10.0.0.1/24 brd + label eth1:a dev eth1",
            "addr add 10.0.0.2/24 dev eth1",
            f"link set eth1 {state}" if kind != "wireguard" else "link set eth1 mtu 1400",
        ]
    )
    if kind not in ("tun", "wireguard") or state == "up":
        host.ip("addr add 2001:db8::1/64 dev eth1 nodad")
    before = host.links()["eth1"].attrs
    move_and_compare(host, target, "net0")
    after = target.links()["net0"].attrs
    for attribute in (1, 2, 4, 13, 20, 27, "type", "kind"):  # IFLA_ADDRESS, BROADCAST, MTU, TXQLEN, IFALIAS, GROUP
        assert after.get(attribute) == before.get(attribute)


@pytest.mark.smoke
@pytest.mark.parametrize("state", ["up", "down"])
def test_deprecated_ipv4_address_arrives(host: Namespace, target: Namespace, state: str) -> None:
    """S6: an IPv4 address with preferred_lft 0 arrives, deprecated (dumps of permanent ones say "forever")."""
    host.batch(["link add eth1 type ifb", f"link set eth1 {state}", "addr add 10.0.0.1/24 preferred_lft 0 dev eth1"])
    before = host.addresses("eth1")
    netdevns.move({"eth1": {}}, target.fd)
    assert target.addresses("eth1") == before


@pytest.mark.smoke
def test_no_route_is_invented_for_a_peer(host: Namespace, target: Namespace) -> None:
    """S12: an IPv6 address with a peer and a short prefix has the routes it had, and no other."""
    host.batch(["link add eth1 type ifb", "link set eth1 up", "addr add 2001:db8::1 peer 2001:db8:9::2/64 dev eth1"])

    def routes(side: Namespace) -> list[str]:
        return sorted(route["dst"] for route in side.ip_json("-6 route show dev eth1"))

    host.wait_until_quiet()
    before = routes(host)
    assert len(before) == 2
    netdevns.move({"eth1": {}}, target.fd)
    # The kernel adds the peer's by a work item of its own, after the address.
    wait_until(lambda: routes(target) == before, f"{before} are there, and no other")
    target.wait_until_quiet()
    assert routes(target) == before
