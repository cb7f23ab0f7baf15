"""Root in the target changes devices while they arrive, and the move fails: all is as before, or it is said what not.

The changes are made just before the step that fails. The oracle is a dump of the host that is none of netdevns' own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import netdevns
from netdevns import api, loans, lookups, way_back
from netdevns.engine import EngineError, Socket
from tests.support import kinds, rawdump
from tests.support.bpf import attach_xdp
from tests.support.namespaces import Namespace, fresh
from tests.support.restored import State, assert_equal_soon

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
DEVICES = {"eth0": "net0", "eth1": "net1"}
BeforeStep = Callable[[str, int, Callable[[], object]], None]
has_altnames = pytest.mark.skipif(
    not lookups.moves_altnames(), reason="before 6.6 alternative names do not move, and stand in the way of nothing"
)


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
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


def change(side: Namespace, device: str, attrs: bytes) -> None:
    """RTM_NEWLINK with attributes that older versions of ip(8) cannot give."""
    with side.socket() as socket:
        assert socket.change_link(rawdump.links(socket)[device].ifindex, attrs) == 0


def reports(side: Namespace, device: str, type_: int) -> bool:
    """Whether this kernel reports that attribute."""
    return type_ in side.links()[device].attrs


def u32(type_: int, value: int) -> bytes:
    return rawdump.attribute(type_, struct.pack("=I", value))


# ---- what can be set ----

CHANGES = {
    "mac": ["link set net1 down", "link set net1 address 02:00:00:00:00:77"],
    "mac-up": ["link set net1 address 02:00:00:00:00:77"],
    "broadcast": ["link set net1 broadcast 02:ff:ff:ff:ff:ff"],
    "mtu": ["link set net1 mtu 1300"],
    "mtu-without-ipv6": ["link set net1 mtu 1000"],
    "txqlen": ["link set net1 txqueuelen 77"],
    "group": ["link set net1 group 9"],
    "alias": ["link set net1 alias theirs"],
    "no-alias": ["link set net1 alias ''"],
    "alias-of-another": ["link set net0 alias theirs"],
    "link-mode": ["link set net1 mode dormant"],
    "promisc": ["link set net1 promisc on"],
    "allmulti": ["link set net1 allmulticast on"],
    "noarp": ["link set net1 arp off"],
    "multicast": ["link set net1 multicast off"],
    "altname": ["link property add dev net1 altname theirs altname more", "link property add dev net0 altname others"],
    "altname-removed": ["link property del dev net1 altname enp1"],
    "name": ["link set net1 down", "link set net1 name theirs"],
    "name-of-the-host": ["link set net1 down", "link set net1 name stays"],
    "names-exchanged": ["link set net0 down", "link set net1 down", "link set net0 name x", "link set net1 name net0",
                        "link set x name net1"],
    "names-of-each-other": ["link set net0 down", "link set net1 down", "link set net0 name eth1",
                            "link set net1 name eth0"],
    "addresses": ["addr add 10.9.9.9/24 dev net1", "addr add 2001:db8:9::9/64 nodad dev net1"],
    "no-addresses": ["addr flush dev net1"],
    "down": ["link set net1 down"],
    "bridge": ["link add br0 type bridge", "link set net1 master br0", "link set br0 up"],
    "routes": ["route add 198.51.100.0/24 via 10.1.0.9", "neigh add 10.1.0.9 lladdr 02:00:00:00:00:99 dev net1"],
}  # fmt: skip
CHANGES["everything"] = [
    "link set net0 mtu 1300 txqueuelen 9 group 9 alias theirs", "link set net0 promisc on multicast off",
    "link set net1 down", "link set net1 address 02:00:00:00:00:77 mtu 9000 txqueuelen 9 group 9 alias theirs",
    "link set net1 promisc on allmulticast on arp off multicast off", "link property add dev net1 altname theirs",
    "link set net1 up",
]  # fmt: skip


@pytest.mark.smoke
@pytest.mark.parametrize("name", CHANGES)
def test_change_is_taken_back(sides: tuple[Namespace, Namespace], before_step: BeforeStep, name: str) -> None:
    """P1: what root in the target did to a device is taken back, and "as before" is true."""
    host, target = sides
    before = host.dump()
    before_step("verify", 2, strike(target, *CHANGES[name]))
    assert failed_move(target).left == ()
    assert_equal_soon(before, host)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", CHANGES)
def test_change_is_taken_back_by_recover(
    sides: tuple[Namespace, Namespace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """P4: the same where the hook was killed, by `recover`, and without a record left behind."""
    host, target = sides
    if name in ("mac", "mac-up", "everything") and not kinds.honours_new_ifindex():
        pytest.skip("before 5.13 nobody knows the ifindex after a kill: a device with another MAC is not found")
    before = host.dump()
    directory = str(tmp_path / "records")
    pid = os.fork()
    if pid == 0:
        try:
            monkeypatch.setattr(loans.Lender, "lend", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            api.transact(DEVICES, target.fd, journal=directory, lender=loans.Lender(directory, "c1"))
        finally:  # whatever is raised: no second pytest runs on in the child
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    target.batch(CHANGES[name])
    told = netdevns.recover(directory)
    assert [(each.device, each.outcome) for each in told] == [("eth1", "undone"), ("eth0", "undone")]
    assert_equal_soon(before, host)
    assert netdevns.recover(directory) == ()


GSO_SEGS, GSO_SIZE, GRO_SIZE, GSO_IPV4, GRO_IPV4 = 40, 41, 58, 63, 64


@pytest.mark.sampled(2)
@pytest.mark.parametrize("type_", [GSO_SEGS, GSO_SIZE, GRO_SIZE, GSO_IPV4, GRO_IPV4])
@pytest.mark.parametrize("was", ["default", "own"])
def test_segmentation_sizes(sides: tuple[Namespace, Namespace], before_step: BeforeStep, type_: int, was: str) -> None:
    """P1: gso_max_size and the like; those of IPv4 also where they are not what gso_max_size makes them."""
    host, target = sides
    if not reports(host, "eth1", type_):
        pytest.skip(f"this kernel does not report the attribute {type_} of a link")
    if was == "own":
        for each in (GSO_SIZE, GRO_SIZE):
            if reports(host, "eth1", each):
                change(host, "eth1", u32(each, 40000))
        if reports(host, "eth1", GSO_IPV4):
            change(host, "eth1", u32(GSO_IPV4, 30000) + u32(GRO_IPV4, 20000))
    before = host.dump()
    before_step("verify", 2, strike(target, then=lambda: change(target, "net1", u32(type_, 9000))))
    assert failed_move(target).left == ()
    assert_equal_soon(before, host)


def test_segmentation_size_that_changes_another(sides: tuple[Namespace, Namespace], before_step: BeforeStep) -> None:
    """P1: to set gso_max_size sets that of IPv4, too, which was as before."""
    host, target = sides
    if not reports(host, "eth1", GSO_IPV4):
        pytest.skip("before 6.3 there is no gso_ipv4_max_size")
    change(host, "eth1", u32(GSO_SIZE, 40000) + u32(GSO_IPV4, 30000))
    before = host.dump()
    both = u32(GSO_SIZE, 9000) + u32(GSO_IPV4, 30000)
    before_step("verify", 2, strike(target, then=lambda: change(target, "net1", both)))
    assert failed_move(target).left == ()
    assert_equal_soon(before, host)


MACVLAN = """
    link add lower type veth peer name lowerp
    link set lowerp up
    link set lower up
    link add link lower name mv0 type macvlan mode {}
    link set mv0 up
    addr add 10.3.0.1/24 dev mv0
"""


def proto_down(side: Namespace, device: str, value: int, reasons: int) -> None:
    nested = rawdump.attribute(55 | 0x8000, u32(1, 0xFF) + u32(2, reasons))  # IFLA_PROTO_DOWN_REASON
    change(side, device, nested + rawdump.attribute(39, bytes([value])))


@pytest.mark.kinds("macvlan")
@pytest.mark.parametrize(
    ("mode", "commands"),
    [
        ("private", ["link set net0 type macvlan mode bridge"]),
        ("bridge", ["link set net0 type macvlan mode source macaddr add 02:00:00:00:00:31"]),
        ("source macaddr add 02:00:00:00:00:31", ["link set net0 type macvlan macaddr flush"]),
        ("source macaddr set 02:00:00:00:00:31 02:00:00:00:00:32",
         ["link set net0 type macvlan macaddr add 02:00:00:00:00:33"]),
        ("source macaddr add 02:00:00:00:00:31", ["link set net0 type macvlan mode vepa"]),
        ("passthru", ["link set net0 type macvlan mode passthru nopromisc"]),
        ("bridge", ["link set net0 promisc on", "link set net0 address 02:00:00:00:00:41"]),
    ],
)  # fmt: skip
def test_macvlan(host: Namespace, target: Namespace, before_step: BeforeStep, mode: str, commands: list[str]) -> None:
    """P1: mode, flags and MACs of a macvlan, whose lower device stays in the host."""
    host.batch(MACVLAN.format(mode))
    host.wait_until_quiet()
    before = host.dump()
    before_step("verify", 1, strike(target, *commands))
    assert failed_move(target, {"mv0": "net0"}).left == ()
    assert_equal_soon(before, host)


@pytest.mark.kinds("macvlan")
@pytest.mark.parametrize("was", [(0, 0), (1, 0), (1, 1)])
def test_proto_down(host: Namespace, target: Namespace, before_step: BeforeStep, was: tuple[int, int]) -> None:
    """P1: proto_down and its reasons, set or cleared, whichever of them is in the way of the other."""
    host.batch(MACVLAN.format("bridge"))
    host.ip("link set mv0 down")
    proto_down(host, "mv0", *was)
    host.ip("link set mv0 up")
    host.wait_until_quiet()
    before = host.dump()

    def act() -> None:
        proto_down(target, "net0", 1, 6)
        if was[0]:
            proto_down(target, "net0", 0, 0)

    before_step("verify", 1, strike(target, then=act))
    assert failed_move(target, {"mv0": "net0"}).left == ()
    assert_equal_soon(before, host)


@pytest.mark.smoke
@pytest.mark.kinds("vlan")
@pytest.mark.parametrize(
    ("was", "change_"),
    [
        ("", "reorder_hdr off loose_binding on"),
        ("loose_binding on", "loose_binding off"),
        ("egress-qos-map 1:2 3:4 ingress-qos-map 2:3", "egress-qos-map 1:7 5:6 ingress-qos-map 2:0 4:4"),
    ],
)
def test_vlan(host: Namespace, target: Namespace, before_step: BeforeStep, was: str, change_: str) -> None:
    """P1: flags of a VLAN, and the entries of its QoS maps: those that were added are gone."""
    host.batch(["link add lower type veth peer name lowerp", "link set lower up", "link set lowerp up"])
    host.batch([f"link add link lower name v7 type vlan id 7 {was}", "link set v7 up", "addr add 10.3.0.1/24 dev v7"])
    host.wait_until_quiet()
    before = host.dump()
    before_step("verify", 1, strike(target, f"link set net0 type vlan {change_}"))
    assert failed_move(target, {"v7": "net0"}).left == ()
    assert_equal_soon(before, host)


@pytest.mark.kinds("ipvlan")
def test_ipvlan(host: Namespace, target: Namespace, before_step: BeforeStep) -> None:
    """P1: mode and flags of an ipvlan."""
    host.batch(["link add lower type veth peer name lowerp", "link set lower up", "link set lowerp up"])
    host.batch(["link add link lower name ip0 type ipvlan mode l2", "link set ip0 up", "addr add 10.3.0.1/24 dev ip0"])
    host.wait_until_quiet()
    before = host.dump()
    before_step("verify", 1, strike(target, "link set net0 type ipvlan mode l3 private"))
    failed = failed_move(target, {"ip0": "net0"})
    assert failed.left == ()
    assert_equal_soon(before, host)


@pytest.mark.kinds("vxlan")
def test_vxlan(host: Namespace, target: Namespace, before_step: BeforeStep) -> None:
    """P1: what a tunnel of the host's is told by the container, such as where to send what it does not know."""
    host.batch(["link add vx0 type vxlan id 7 dstport 4789 remote 192.0.2.7 ageing 100", "link set vx0 up"])
    host.wait_until_quiet()
    before = host.dump()
    before_step("verify", 1, strike(target, "link set net0 type vxlan remote 192.0.2.66 ageing 7 tos 9"))
    assert failed_move(target, {"vx0": "net0"}).left == ()
    assert_equal_soon(before, host)


@pytest.mark.smoke
@pytest.mark.kinds("macvlan")
def test_device_that_stays_on_top(host: Namespace, target: Namespace, before_step: BeforeStep) -> None:
    """P1: a macvlan of the host's, whose lower device gets a smaller MTU in the container, has its own again."""
    host.batch(MACVLAN.format("bridge"))
    host.wait_until_quiet()
    before = host.dump()
    before_step("verify", 1, strike(target, "link set net0 mtu 1300"))
    assert failed_move(target, {"lower": "net0"}).left == ()
    assert_equal_soon(before, host)


# ---- alternative names ----


@pytest.mark.sampled(2)
@pytest.mark.smoke
@has_altnames
@pytest.mark.parametrize("name", ["stays", "lo", "eth0", "eth1", "peer", "taken"])
@pytest.mark.parametrize("device", ["net0", "net1"])
def test_altname_in_the_way(
    sides: tuple[Namespace, Namespace], before_step: BeforeStep, name: str, device: str
) -> None:
    """P1: an alternative name that a device of the host has keeps none from coming home.

    It may be the name or an alternative name of one that stays, of another one of the batch, or the device's own.
    """
    host, target = sides
    host.ip("link property add dev stays altname taken")
    before = host.dump()
    renamed = ["link set lo name nobody"] if name == "lo" else []
    before_step("verify", 2, strike(target, *renamed, f"link property add dev {device} altname {name}"))
    assert failed_move(target).left == ()
    assert_equal_soon(before, host)
    assert target.names() <= {"nobody"}


def test_added_altname_is_removed_in_the_target(sides: tuple[Namespace, Namespace], before_step: BeforeStep) -> None:
    """P1: the host does not see, not even for a moment, an alternative name that the container added."""
    host, target = sides
    before = host.dump()
    before_step("verify", 2, strike(target, "link property add dev net1 altname theirs"))
    told = b""
    with host.monitor() as monitor:
        assert failed_move(target).left == ()
        with contextlib.suppress(BlockingIOError):
            while data := monitor.raw.recv(1 << 16):
                told += data
    assert b"enp1" in told
    assert b"theirs" not in told
    assert_equal_soon(before, host)


@pytest.mark.sampled(3)
@has_altnames
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("tries", [way_back.TRIES, 0], ids=["in-the-target", "in-our-own"])
@pytest.mark.parametrize("name", ["stays", "eth0", "eth1", "lo"])
def test_altname_between_look_and_move(
    sides: tuple[Namespace, Namespace],
    before_step: BeforeStep,
    monkeypatch: pytest.MonkeyPatch,
    nth: int,
    tries: int,
    name: str,
) -> None:
    """P1: the same where it is added behind the look: removed with the move in one send, or in a namespace of ours."""
    host, target = sides
    before = host.dump()
    monkeypatch.setattr(way_back, "TRIES", tries)
    made: list[int] = []
    real = way_back._fresh_namespace
    monkeypatch.setattr(way_back, "_fresh_namespace", lambda: made.append(1) or real())
    before_step("verify", 2, strike(target))

    device, way = [("net1", ["stays", "lo"]), ("net0", ["stays", "lo", "eth1"])][nth - 1]  # eth1 is the first home

    def add() -> None:
        if name == "lo":
            target.ip("link set lo name nobody")
        target.ip(f"link property add dev {device} altname {name}")

    before_step("undo", nth, add)
    assert failed_move(target).left == ()
    assert_equal_soon(before, host)
    assert bool(made) == (not tries and name in way)


@has_altnames
def test_everything_in_a_namespace_of_our_own(
    sides: tuple[Namespace, Namespace], before_step: BeforeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: a device that comes through a namespace of ours has everything again, with another MAC and name, too."""
    host, target = sides
    before = host.dump()
    monkeypatch.setattr(way_back, "TRIES", 0)
    before_step("verify", 2, strike(target, "link set net1 address 02:00:00:00:00:77 mtu 1300"))
    before_step("undo", 1, lambda: target.ip("link property add dev net1 altname stays"))
    assert failed_move(target).left == ()
    assert_equal_soon(before, host)


@has_altnames
def test_interrupt_in_a_namespace_of_our_own(
    sides: tuple[Namespace, Namespace], before_step: BeforeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: Ctrl-C while the device is there: it does not end with that namespace."""
    host, target = sides
    before = host.dump()
    monkeypatch.setattr(way_back, "TRIES", 0)
    before_step("verify", 2, strike(target))
    before_step("undo", 1, lambda: target.ip("link property add dev net1 altname stays"))
    real, struck = way_back.WayBack._home, []

    def home(self: way_back.WayBack, *args: Any) -> None:
        if not struck:
            struck.append(1)
            raise KeyboardInterrupt
        real(self, *args)

    monkeypatch.setattr(way_back.WayBack, "_home", home)
    assert failed_move(target).left == ()
    assert struck
    assert_equal_soon(before, host)


LOOP_NAMES = ("stays", "peer", "lo2")


def add_names(side: Namespace, ifindex: int, parent: int) -> None:
    """Adds alternative names to a device as fast as it can, until it is killed or its parent is."""
    requests = b""
    for name in LOOP_NAMES * 10:
        names = rawdump.attribute(52 | 0x8000, rawdump.attribute(53, name.encode() + b"\0"))
        body = struct.pack("=BxHiII", 0, 0, ifindex, 0, 0) + names
        requests += struct.pack("=IHHII", 16 + len(body), 108, 0x601, 0, 0) + body  # RTM_NEWLINKPROP
    with side.socket() as socket:
        while os.getppid() == parent:
            socket.raw.send(requests)
            with contextlib.suppress(BlockingIOError):
                while socket.raw.recv(1 << 16, rawdump.sockets.MSG_DONTWAIT):
                    pass


@pytest.fixture
def loop(sides: tuple[Namespace, Namespace]) -> Iterator[Callable[[str], None]]:
    """Starts a process that adds alternative names to a device of the target as fast as it can."""
    _, target = sides
    children: list[int] = []

    def start(device: str) -> None:
        ifindex, parent = target.links()[device].ifindex, os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                add_names(target, ifindex, parent)
            finally:
                os._exit(1)
        children.append(pid)

    yield start
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@has_altnames
@pytest.mark.parametrize("round_", range(5))
def test_loop_that_adds_altnames(
    sides: tuple[Namespace, Namespace], before_step: BeforeStep, loop: Callable[[str], None], round_: int
) -> None:
    """P1: who adds names in a loop, and is faster than we are, has lost all the same."""
    host, target = sides
    before = host.dump()
    before_step("verify", 2, strike(target, then=lambda: loop("net1")))
    assert failed_move(target).left == (), round_
    assert_equal_soon(before, host)


@pytest.mark.parametrize("mac", ["same", "changed"])
def test_name_is_taken_in_both(sides: tuple[Namespace, Namespace], before_step: BeforeStep, mac: str) -> None:
    """P1: its name is taken in the host meanwhile, and it has that of another device: home under another name, told."""
    host, target = sides
    commands = ["link set net1 down", "link set net1 name stays"]

    def take() -> None:
        host.ip("link add eth1 type ifb")

    before_step("verify", 2, strike(target, *commands, then=take))
    if mac == "changed":  # behind the step that finds it by one of the two
        before_step("undo", 1, lambda: target.ip("link set stays address 02:00:00:00:00:77"))
    (left,) = failed_move(target).left
    assert (left.device, left.location) == ("eth1", "source")
    assert left.name is not None
    assert left.name.startswith("nd")
    assert host.links()[left.name].attrs[1] == "020000000001"
    assert any("name" in words for words in left.missing)


# ---- what cannot be restored ----


def test_moved_on(sides: tuple[Namespace, Namespace], before_step: BeforeStep) -> None:
    """P7: a device that the container moved on is in neither namespace; the others are home."""
    host, target = sides
    with fresh("third") as third:
        before_step("verify", 2, strike(target, then=lambda: target.give("net1", third)))
        (left,) = failed_move(target).left
        assert third.names() == {"net1"}
    assert (left.device, left.location, left.name) == ("eth1", "gone", None)
    assert "it is neither in the source nor in the target" in left.missing[0]
    assert host.links()["eth0"].up


@pytest.mark.parametrize("kind", ["veth", pytest.param("macvlan", marks=pytest.mark.kinds("macvlan"))])
def test_deleted(sides: tuple[Namespace, Namespace], before_step: BeforeStep, kind: str) -> None:
    """P7: a device that the container deleted is gone, and said to be."""
    host, target = sides
    if kind == "macvlan":
        host.batch([*MACVLAN.format("bridge").strip().splitlines()])
        host.wait_until_quiet()
    name = "mv0" if kind == "macvlan" else "eth1"
    before_step("verify", 2, strike(target, "link del net1"))
    failed = failed_move(target, {"eth0": "net0", name: "net1"})
    assert [left.location for left in failed.left if left.device == name] == ["gone"]
    assert failed.rolled_back is False
    assert host.links()["eth0"].up


@pytest.mark.parametrize("kind", ["veth", pytest.param("macvlan", marks=pytest.mark.kinds("macvlan"))])
def test_replaced(sides: tuple[Namespace, Namespace], before_step: BeforeStep, kind: str) -> None:
    """P7: what the container made with the name, ifindex and MAC address of a device that it deleted stays there."""
    host, target = sides
    if kind == "macvlan":
        host.batch([*MACVLAN.format("bridge").strip().splitlines()])
        host.wait_until_quiet()
    name = "mv0" if kind == "macvlan" else "eth1"
    was = host.links()[name]
    mac = ":".join(was.attrs[1][n : n + 2] for n in range(0, 12, 2))
    new = f"net1 index {was.ifindex} address {mac}"
    if kind == "veth":
        made = [f"link add {new} type veth peer name evil"]
    else:
        made = ["link add evil type veth peer name evil2", f"link add {new} link evil type macvlan mode bridge"]
    before_step("verify", 2, strike(target, "link del net1", *made))
    lefts = failed_move(target, {"eth0": "net0", name: "net1"}).left
    assert [x.device for x in lefts] == [name], lefts
    (left,) = lefts
    assert (left.device, left.location, "another device has its name" in left.missing[0]) == (name, "target", True)
    assert name not in host.names()
    assert {"net1", "evil"} <= target.names()


@pytest.mark.skipif(not kinds.honours_new_ifindex(), reason="before 5.13 nobody chooses an ifindex")
def test_ifindex_is_taken(sides: tuple[Namespace, Namespace], before_step: BeforeStep) -> None:
    """P1: who takes its ifindex in the host keeps it; all else of the device is restored."""
    host, target = sides
    before = host.dump()
    take = strike(target, "link set net1 mtu 1300", then=lambda: host.ip("link add thief index 102 type ifb"))
    before_step("verify", 2, take)
    (left,) = failed_move(target).left
    assert (left.device, left.missing) == ("eth1", ("ifindex 102",))

    def eth1(dump: State) -> State:
        """Its addresses and attributes, without IFLA_LINK: its peer's has the ifindex, and its own is the peer's."""
        attrs = sorted(f"{type_} {value}" for type_, value in dump["links"]["eth1"].attrs.items() if type_ != 5)
        return {"addresses": dump["addresses"]["eth1"], "attributes": attrs}

    assert_equal_soon(before, host, shown=eth1)


@pytest.mark.kinds("macvlan")
def test_what_is_refused_is_told(host: Namespace, target: Namespace, before_step: BeforeStep) -> None:
    """P7: what the kernel does not set again is told with both values and the kernel's words."""
    host.batch(MACVLAN.format("bridge"))
    host.wait_until_quiet()
    before_step("verify", 1, strike(target, then=lambda: host.ip("link set lower mtu 1300")))
    failed = failed_move(target, {"mv0": "net0"})
    (left,) = failed.left
    assert f"MTU 1500 -> 1300: {os.strerror(errno.EINVAL)}" in left.missing
    assert set(left.missing) <= {left.missing[0], left.missing[1], "sysctl ipv6.mtu"}  # which follows it
    assert (failed.rolled_back, left.location) == (False, "source")


@pytest.mark.parametrize("host_has", [False, True], ids=["none", "one"])
@pytest.mark.parametrize("container", ["attaches", "detaches"])
def test_xdp(sides: tuple[Namespace, Namespace], before_step: BeforeStep, host_has: bool, container: str) -> None:
    """P1: a program that the container attached is detached; one of the host's that is gone is reported."""
    host, target = sides
    if host_has:
        attach_xdp(host, "eth1")
    before = host.dump()
    act = attach_xdp if container == "attaches" else lambda *where: attach_xdp(*where, program_fd=-1)
    before_step("verify", 2, strike(target, then=lambda: act(target, "net1")))
    left = failed_move(target).left
    if not host_has:
        assert left == ()
        assert_equal_soon(before, host)
        return
    (missing,) = left[0].missing
    assert missing.startswith("XDP program ")
    assert missing.endswith(" (generic)")
    assert "xdp" not in host.ip_json("link show dev eth1")[0]


def test_nothing_is_sent_for_what_does_not_differ(
    sides: tuple[Namespace, Namespace], before_step: BeforeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: a device that never left, and is as it was, is not touched: nobody is notified."""
    host, target = sides
    before_step("move", 1, lambda: target.batch(["link add eth0 type ifb", "link add net0 type ifb"]))
    sent: list[bytes] = []
    real = Socket.command

    def command(self: Socket, request: bytes) -> None:
        if 28 not in dict(rawdump.attributes(request, 32)):  # IFLA_NET_NS_FD: the move that is refused
            sent.append(request)
        real(self, request)

    monkeypatch.setattr(Socket, "command", command)
    with host.monitor() as monitor:
        assert failed_move(target, {"eth0": "net0"}).left == ()
        assert [seen for seen in monitor.seen() if seen.startswith("NEWLINK")] == []
    assert sent == []
