"""Root in the target changes devices while they arrive, and the move fails: the changes are taken back.

They are made just before the step that fails. The oracle is a dump of the host that is none of netdevns' own.
"""

from __future__ import annotations

import os
import signal
import struct
from pathlib import Path

import pytest

import netdevns
from netdevns import api
from netdevns.engine import Socket
from netdevns.recovery import loans
from tests.support import kinds, rawdump
from tests.support.bpf import attach_xdp
from tests.support.namespaces import Namespace
from tests.support.restored import assert_equal_soon

from .strikes import DEVICES, MACVLAN, BeforeStep, failed_move, furnished, strike


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


def change(side: Namespace, device: str, attrs: bytes) -> None:
    """RTM_NEWLINK with attributes that older versions of ip(8) cannot give."""
    with side.socket() as socket:
        assert socket.change_link(rawdump.links(socket)[device].ifindex, attrs) == 0


def reports(side: Namespace, device: str, type_: int) -> bool:
    """Whether this kernel reports that attribute."""
    return type_ in side.links()[device].attrs


def u32(type_: int, value: int) -> bytes:
    return rawdump.attribute(type_, struct.pack("=I", value))


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


@pytest.mark.sampled(2)
@pytest.mark.smoke(3)
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
        pytest.skip("before 5.13 the ifindex is unknown after a kill: a device with another MAC is not found")
    before = host.dump()
    directory = str(tmp_path / "records")
    pid = os.fork()
    if pid == 0:
        try:
            monkeypatch.setattr(loans.Lender, "lend", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            api.transact(DEVICES, target.fd, journal=directory, lender=loans.Lender(directory, "c1"))
        finally:  # also after an exception: no second pytest runs on in the child
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    target.batch(CHANGES[name])
    recovered = netdevns.recover(directory)
    assert [(each.device, each.outcome) for each in recovered] == [("eth1", "undone"), ("eth0", "undone")]
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
    """P1: settings that the container changes on the host's tunnel, such as its default remote."""
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


def test_nothing_is_sent_for_equal_settings(
    sides: tuple[Namespace, Namespace], before_step: BeforeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: a device that never left and did not change is not touched: no request, no notification."""
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
