"""The device itself: its attributes, its state, its number, its alternative names."""

from __future__ import annotations

import os
import socket
import threading

import pytest

import netdevns
from tests.support.namespaces import Namespace, setns
from tests.support.rawdump import Link

VETH = "link add eth1 type veth peer name peer"


def kept(link: Link) -> dict[object, str]:
    """What a move must not change: all that a dump shows, but the namespace's own view of it.

    IFLA_LINK and IFLA_LINK_NETNSID (5, 37) say where the peer is, from here; IFLA_IFNAME (3) is the wanted one;
    IFLA_QDISC (6) and the per-device sysctls (tuples) are not protected; IFLA_NEW_NETNSID (45) is of the moment.
    """
    return {k: v for k, v in link.attrs.items() if not isinstance(k, tuple) and k not in (3, 5, 6, 37, 45, 52)}


@pytest.mark.smoke
@pytest.mark.parametrize("state", ["up", "down"])
def test_device_is_up_afterwards(host: Namespace, target: Namespace, state: str) -> None:
    """S7: the device is up after the move, whatever its state was before."""
    host.batch([VETH, f"link set eth1 {state}"])
    netdevns.move({"eth1": {}}, target.fd)
    (link,) = target.ip_json("link show dev eth1")
    assert "UP" in link["flags"]


@pytest.mark.parametrize("state", ["up", "down"])
@pytest.mark.parametrize(
    "change",
    [
        "mtu 1400",
        "mtu 9000",
        "address 02:00:00:00:00:77",
        "txqueuelen 77",
        "alias spare-uplink",
        "group 77",
        "promisc on",
        "allmulticast on",
        "multicast off",
        "arp off",
    ],
)
def test_attribute_is_kept(host: Namespace, target: Namespace, change: str, state: str) -> None:
    """S6: MTU, MAC, txqlen, alias, group and flags are as before."""
    host.batch([VETH, f"link set eth1 {change}", f"link set eth1 {state}"])
    before = host.links()["eth1"]
    netdevns.move({"eth1": "net0"}, target.fd)
    after = target.links()["net0"]
    assert kept(after) == kept(before)
    assert after.flags == before.flags | 1


@pytest.mark.smoke
def test_altnames_travel(host: Namespace, target: Namespace) -> None:
    """DESIGN 4.1: alternative names always travel."""
    host.batch([VETH, "link property add dev eth1 altname one altname a-very-long-alternative-name"])
    netdevns.move({"eth1": "net0"}, target.fd)
    assert target.links()["net0"].altnames == ("a-very-long-alternative-name", "one")
    host.batch(["link add one type ifb"])  # and do not stay behind


def test_ifindex_is_kept_where_it_is_free(host: Namespace, target: Namespace) -> None:
    """DESIGN 5: the device has the same ifindex in the target where it is free."""
    host.batch(["link add eth1 index 4711 type ifb"])
    (moved,) = netdevns.move({"eth1": {}}, target.fd)
    assert (moved.ifindex, moved.host_ifindex) == (4711, 4711)
    assert target.links()["eth1"].ifindex == 4711


@pytest.mark.smoke
def test_ifindex_is_another_where_it_is_taken(host: Namespace, target: Namespace) -> None:
    """DESIGN 5: where it is taken the device gets another, which is reported."""
    host.batch(["link add eth1 index 4711 type ifb"])
    target.batch(["link add other index 4711 type ifb"])
    (moved,) = netdevns.move({"eth1": {}}, target.fd)
    assert moved.host_ifindex == 4711
    assert moved.ifindex == target.links()["eth1"].ifindex
    assert moved.ifindex != 4711


def test_ifindexes_of_a_batch_do_not_collide(host: Namespace, target: Namespace) -> None:
    """DESIGN 5: a new number for one device is never the one that another device of the batch keeps."""
    host.batch([f"link add eth{n} index {101 + n} type ifb" for n in range(4)])
    target.batch([f"link add taken{n} index {n} type ifb" for n in (101, 102, 105)])
    moved = netdevns.move({f"eth{n}": {} for n in range(4)}, target.fd)
    links = target.links()
    assert [m.ifindex for m in moved] == [links[f"eth{n}"].ifindex for n in range(4)]
    assert [m.ifindex for m in moved[2:]] == [103, 104]


def test_veth_keeps_its_peer(host: Namespace, target: Namespace) -> None:
    """S6: a veth is still connected: its peer stays and traffic flows."""
    host.batch([VETH, "link set peer up", "link set eth1 up", "addr add 10.0.0.1/24 dev peer"])
    host.batch(["addr add 10.0.0.2/24 dev eth1"])
    netdevns.move({"eth1": {}}, target.fd)
    with target.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("10.0.0.2", 7777))
        server.settimeout(5)
        with host.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"hello", ("10.0.0.2", 7777))
        assert server.recv(16) == b"hello"


def test_both_ends_of_a_veth(host: Namespace, target: Namespace) -> None:
    """S6: both ends of a veth pair in one batch; neither is the other's lower device."""
    host.batch([VETH, "link set peer up", "link set eth1 up", "addr add 10.0.0.1/24 dev peer"])
    moved = netdevns.move({"eth1": "a", "peer": "b"}, target.fd)
    assert [m.name for m in moved] == ["a", "b"]
    assert [a.address for a in target.addresses("b")] == ["10.0.0.1"]
    assert {link["ifname"]: link["link"] for link in target.ip_json("link show type veth")} == {"a": "b", "b": "a"}


def test_macvlan_leaves_its_lower(host: Namespace, target: Namespace) -> None:
    """S6: a macvlan moves alone: its lower stays, and is untouched."""
    host.batch(
        [
            "link add lower type veth peer name lowerp",
            "addr add 10.0.0.9/24 dev lower",
            "link set lower up",
            "link add link lower name mv0 type macvlan mode bridge",
            "link set mv0 up",
            "addr add 10.0.0.1/24 dev mv0",
        ]
    )
    before = host.links()["lower"], host.addresses("lower")
    netdevns.move({"mv0": "eth%d"}, target.fd)
    assert (host.links()["lower"], host.addresses("lower")) == before
    assert [a.address for a in target.addresses("eth0")] == ["10.0.0.1"]


@pytest.mark.smoke
@pytest.mark.parametrize("order", [("lower", "upper"), ("upper", "lower")], ids=["lower first", "upper first"])
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("type macvlan mode bridge", marks=pytest.mark.kinds("macvlan"), id="macvlan"),
        pytest.param("type vlan id 7", marks=pytest.mark.kinds("vlan"), id="vlan"),
        pytest.param("type ipvlan mode l2", marks=pytest.mark.kinds("ipvlan"), id="ipvlan"),
    ],
)
def test_upper_and_lower_together(host: Namespace, target: Namespace, kind: str, order: tuple[str, str]) -> None:
    """S6: a stacked device and its lower both arrive with their IPv6 addresses, in either order of the mapping."""
    host.batch(
        [
            "link add lower type veth peer name lowerp",
            "link set lowerp up",
            f"link add link lower name upper {kind}",
            "link set lower up",
            "link set upper up",
            "addr add 10.0.0.1/24 dev lower",
            "addr add 10.0.1.1/24 dev upper",
            "addr add 2001:db8:1::1/64 dev lower nodad",
            "addr add 2001:db8:2::1/64 dev upper nodad",
            "addr add 2001:db8:2::2/64 dev upper nodad",
        ]
    )
    before = {device: host.addresses(device) for device in order}
    moved = netdevns.move({device: {} for device in order}, target.fd)
    assert [m.host_name for m in moved] == list(order)
    assert {device: target.addresses(device) for device in order} == before
    (shown,) = target.ip_json("link show dev upper")
    assert shown["link"] == "lower"
    assert all(target.links()[device].up for device in order)


@pytest.mark.kinds("dummy", "vlan")
@pytest.mark.parametrize("order", ["pvq", "qvp", "vqp"])
def test_three_storeys(host: Namespace, target: Namespace, order: str) -> None:
    """S6: a dummy, a VLAN on it and a VLAN on that (QinQ) keep their IPv6 addresses, in any order."""
    host.batch(
        [
            "link add name p type dummy",
            "link add link p name v type vlan id 7",
            "link add link v name q type vlan id 8",
            *(f"link set dev {device} up" for device in "pvq"),
            *(f"addr add 2001:db8:{n}::1/64 dev {device} nodad" for n, device in enumerate("pvq")),
        ]
    )
    before = {device: host.addresses(device) for device in order}
    netdevns.move({device: {"name": f"{device}1"} for device in order}, target.fd)
    assert {device: target.addresses(f"{device}1") for device in order} == before


@pytest.mark.smoke
@pytest.mark.kinds("dummy", "vlan")
def test_vlan_without_its_parent(host: Namespace, target: Namespace) -> None:
    """S6: a VLAN can move alone, and keeps its lower in the host's namespace."""
    host.batch(
        [
            "link add parent type dummy",
            "link add link parent name v7 type vlan id 7",
            "link set parent up",
            "link set v7 up",
            "addr add 2001:db8::1/64 dev v7 nodad",
        ]
    )
    netdevns.move({"v7": "eth0"}, target.fd)
    assert [a.address for a in target.addresses("eth0")] == ["2001:db8::1"]
    assert host.names() == {"parent"}


@pytest.mark.parametrize("count", [2, 30])
def test_batch_of_mixed_states(host: Namespace, target: Namespace, count: int) -> None:
    """S6, S7: a batch of devices, up and down, with addresses of both families."""
    host.batch(
        [
            line
            for n in range(count)
            for line in (
                f"link add eth{n} type ifb",
                f"link set eth{n} {'up' if n % 2 else 'down'}",
                f"addr add 10.0.{n}.1/24 brd + dev eth{n}",
                f"addr add 2001:db8:{n:x}::1/64 dev eth{n} nodad",
            )
        ]
    )
    before = {n: host.addresses(f"eth{n}") for n in range(count)}
    moved = netdevns.move({f"eth{n}": f"net{n}" for n in range(count)}, target.fd)
    assert [m.name for m in moved] == [f"net{n}" for n in range(count)]
    links = target.links()
    for n in range(count):
        assert links[f"net{n}"].up
        arrived = target.addresses(f"net{n}")
        assert [vars(a) | {"label": None} for a in arrived] == [vars(a) | {"label": None} for a in before[n]]


def test_not_carried_state_is_reported(host: Namespace, target: Namespace) -> None:
    """DESIGN 4.1: what the kernel drops without having been asked to is in `not_carried`."""
    host.batch(
        [
            VETH,
            "link add br0 type bridge",
            "link set eth1 master br0",
            "link set eth1 up",
            "addr add 10.0.0.1/24 dev eth1",
            "route add 192.0.2.0/24 via 10.0.0.2",
            "route add 198.51.100.0/24 via 10.0.0.2",
        ]
    )
    (moved,) = netdevns.move({"eth1": {}}, target.fd)
    assert sorted(moved.not_carried) == ["2 routes", "master br0"]


def test_result_says_what_arrived(host: Namespace, target: Namespace) -> None:
    """DESIGN 4.1: `Moved.addresses` are the protected addresses as they are in the target."""
    host.batch(
        [
            "link add eth1 type ifb",
            "link set eth1 up",
            "addr add 10.0.0.1/24 brd + label eth1:a metric 7 dev eth1",
            "addr add 10.0.0.2 peer 10.9.0.1/16 dev eth1",
            "addr add 2001:db8::1/64 noprefixroute nodad dev eth1 preferred_lft 0",
        ]
    )
    (moved,) = netdevns.move({"eth1": "net0"}, target.fd)
    raw = target.addresses("net0")
    assert len(moved.addresses) == len(raw) == 3
    for address, oracle in zip(moved.addresses, raw, strict=True):
        assert address.family == {2: "inet", 10: "inet6"}[oracle.family]
        for field in ("address", "prefixlen", "peer", "broadcast", "label", "metric", "flags"):
            assert getattr(address, field) == getattr(oracle, field)
        assert (address.scope, address.valid_lft_s) == ("global", None)
    assert moved.addresses[2].preferred_lft_s == 0


# ---- the process that asks ----


def test_no_descriptor_is_kept_and_the_thread_stays(host: Namespace, target: Namespace) -> None:
    """DESIGN 4.1: no descriptor is kept across calls; the calling thread is where it was."""
    host.batch(["link add eth1 type ifb", "link add eth2 type ifb"])
    before = sorted(os.listdir("/proc/self/fd"))
    netdevns.move({"eth1": {}, "eth2": {}}, target.fd)
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert host.is_here()
    assert not netdevns.check({"eth1": {}}, target.fd).ok
    with pytest.raises(netdevns.CheckFailed):
        netdevns.move({"eth1": {}}, target.fd)
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert host.is_here()


def test_threads_do_not_disturb_each_other(host: Namespace) -> None:
    """DESIGN 4.1: thread-safe without shared state: four threads, each with two namespaces of its own, at once."""
    del host  # only that a namespace may be made at all
    wrong: list[object] = []
    start = threading.Barrier(4)

    def one(number: int) -> None:
        try:
            source, target = Namespace.create(f"source {number}"), Namespace.create(f"target {number}")
            with source, target:
                setns(source.fd)  # the thread ends here: no way back is needed
                names = [f"eth{number}{n}" for n in range(4)]
                source.batch(
                    [
                        line
                        for n, name in enumerate(names)
                        for line in (
                            f"link add {name} type ifb",
                            f"link set {name} up",
                            f"addr add 10.{number}.{n}.1/24 dev {name}",
                            f"addr add 2001:db8:{number}:1{n}::1/64 nodad dev {name}",
                        )
                    ]
                )
                start.wait(20)
                netdevns.move(dict.fromkeys(names), target.fd)
                assert source.is_here()
                assert target.names() == set(names)
                for n, name in enumerate(names):
                    found = [a.address for a in target.addresses(name, scope=0)]
                    assert found == [f"10.{number}.{n}.1", f"2001:db8:{number}:1{n}::1"]
        except BaseException as e:
            wrong.append(e)
            start.abort()

    threads = [threading.Thread(target=one, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
