"""Settings of bridge ports and bond slaves: restored after a failed move, and reported before one that loses them."""

from __future__ import annotations

import errno
import struct
import subprocess
import sys

import pytest

import netdevns
from netdevns.cli import show
from netdevns.engine import EngineError, Socket, lookups
from netdevns.netlink import uapi, wire
from netdevns.state import ports, restore
from tests.support import rawdump, steps
from tests.support.namespaces import Namespace
from tests.support.require import require
from tests.support.restored import Restored

from .crashes import BeforeStep

BRIDGE = """
    link set lo up
    link add br0 type bridge
    link set br0 up
    link add eth1 index 102 type veth peer name peer1
    link add eth2 index 104 type veth peer name peer2
    link set peer1 up
    link set peer2 up
    link set eth1 master br0
    link set eth2 master br0
    link set eth1 up
    link set eth2 up
"""
# IFLA_BRPORT_*: another value than a new port's, each of its own number of bytes.
U8, U16, U32 = "=B", "=H", "=I"
SETTINGS = {
    2: (U16, 9), 3: (U32, 77), 4: (U8, 1), 5: (U8, 1), 6: (U8, 1), 7: (U8, 1), 8: (U8, 0), 9: (U8, 0), 10: (U8, 1),
    12: (U8, 1), 25: (U8, 2), 27: (U8, 0), 28: (U8, 1), 29: (U8, 1), 30: (U8, 0), 31: (U16, 8), 32: (U8, 1),
    33: (U8, 1), 34: (U32, 104), 37: (U32, 99), 39: (U8, 1), 42: (U32, 77), 43: (U8, 1), 44: (U32, 7), 45: (U8, 0),
}  # fmt: skip
# What every kernel that can be moved on takes.
ALWAYS = {2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 25, 27, 28, 29, 30, 31, 32, 33, 34}


@pytest.fixture
def bridge(host: Namespace) -> Namespace:
    host.batch(BRIDGE)
    host.wait_until_quiet()
    return host


@pytest.fixture
def vlans(bridge: Namespace) -> Namespace:
    """A bridge with VLANs, on kernels that have them."""
    try:
        bridge.ip("link set br0 type bridge vlan_filtering 1")
    except AssertionError as e:
        require("vlans", str(e))
    run(bridge, "vlan add vid 7 dev eth1", "vlan add vid 10-20 untagged dev eth1", "vlan add vid 22 pvid dev eth1")
    run(bridge, "vlan del vid 1 dev eth1")
    return bridge


def run(where: Namespace, *commands: str) -> None:
    with where.entered():
        for command in commands:
            subprocess.run(["bridge", *command.split()], check=True)


def port(where: Namespace, type_: int, value: bytes, ifindex: int = 102) -> int:
    """Sets one IFLA_BRPORT_*; returns 0 or an errno."""
    data = rawdump.attribute(5, rawdump.attribute(type_, value))
    with where.socket() as socket:
        return socket.change_link(ifindex, rawdump.attribute(18, rawdump.attribute(4, b"bridge\0") + data))


def fail_to_move(target: Namespace, monkeypatch: pytest.MonkeyPatch, *devices: str) -> tuple[netdevns.Left, ...]:
    """Fails a move at the last step; returns `left`."""

    def fail(_: int) -> None:
        raise EngineError(errno.EIO, "made to fail", "verify")

    monkeypatch.setattr(*steps.before("verify", fail))
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move({device: f"net{n}" for n, device in enumerate(devices)}, target.fd)
    return raised.value.left


def port_settings(where: Namespace, device: str = "eth1") -> dict[int, str]:
    """IFLA_BRPORT_* -> the kernel's bytes, without those that change by themselves."""
    attrs = where.links()[device].attrs
    return {int(str(key)[5:]): value for key, value in attrs.items() if str(key).startswith("port ")}


@pytest.mark.parametrize(
    ("change", "master"),
    [
        pytest.param([], "br0", id="as-it-was"),
        pytest.param(["link set br0 down", "link set br0 name br7", "link set br7 up"], "br7", id="renamed"),
        pytest.param(["link del br0", "link add br0 type bridge", "link set br0 up"], "br0", id="made-anew"),
        pytest.param(
            ["link set br0 down", "link set br0 name br7", "link set br7 up", "link add br0 type bridge"],
            "br7",
            id="another-one-of-its-name",
        ),
        pytest.param(["link del br0"], None, id="deleted"),
    ],
)
def test_master_that_changes_meanwhile(
    bridge: Namespace, target: Namespace, before_step: BeforeStep, change: list[str], master: str | None
) -> None:
    """P1, P7: a port returns to its bridge, or to a recreated one; a deleted one is reported, and nothing else."""
    bridge.ip("link set eth1 type bridge_slave hairpin on")
    run(bridge, "fdb add 02:00:00:00:00:99 dev eth1 master static")
    bridge.wait_until_quiet()

    def fail() -> None:
        if change:
            bridge.batch(change)
        raise EngineError(errno.EIO, "made to fail", "verify")

    before_step("verify", 1, fail)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move({"eth1": "net0"}, target.fd)
    now = bridge.ip_json("-d link show dev eth1")[0]
    assert now.get("master") == master
    if master is None:
        (left,) = raised.value.left
        assert left.missing == ("master br0: deleted",)
        return
    assert raised.value.left == ()
    assert now["linkinfo"]["info_slave_data"]["hairpin"] is True
    assert f"02:00:00:00:00:99 master {master} static" in bridge_fdb(bridge)


def bridge_fdb(where: Namespace) -> str:
    with where.entered():
        done = subprocess.run(["bridge", "fdb", "show", "dev", "eth1"], capture_output=True, text=True, check=True)
    return done.stdout


def test_settings_come_back(bridge: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """All settings of this kernel, changed from their defaults, are restored."""
    bridge.ip("nexthop add id 7 fdb via 192.0.2.1")
    default = port_settings(bridge)
    changed = {t for t, (form, value) in SETTINGS.items() if port(bridge, t, struct.pack(form, value)) == 0}
    changed = {t for t in changed if port_settings(bridge).get(t) != default.get(t)}
    assert changed >= ALWAYS, ALWAYS - changed
    with Restored(bridge, target):
        assert fail_to_move(target, monkeypatch, "eth1") == ()


def test_every_setting_of_this_kernel_is_known(bridge: Namespace) -> None:
    """The table has every setting of this kernel: a missing one would be lost silently."""
    assert set(port_settings(bridge)) - {11} <= set(ports.BRIDGE)


@pytest.mark.smoke
@pytest.mark.kinds("vlan")  # without 8021q a bridge has no VLANs, either
@pytest.mark.parametrize("batch", [("eth1",), ("eth1", "eth2")])
def test_vlans_and_entries_come_back(
    vlans: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch, batch: tuple[str, ...]
) -> None:
    """VLANs with their flags, without a new port's default one, and static entries of the database are restored."""
    run(
        vlans,
        "fdb add 02:00:00:00:00:07 dev eth1 master static vlan 7",
        "fdb add 02:00:00:00:00:08 dev eth1 master vlan 22",
        "fdb add 02:00:00:00:00:09 dev eth1 master dynamic extern_learn vlan 7",
        "fdb add 02:00:00:00:00:0a dev eth1 self",
        "fdb add 02:00:00:00:00:0b dev eth2 master static sticky vlan 1",
    )
    with Restored(vlans, target):
        assert fail_to_move(target, monkeypatch, *batch) == ()


def test_entries_come_back(bridge: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on a kernel without VLANs."""
    run(bridge, "fdb add 02:00:00:00:00:08 dev eth1 master static", "fdb add 02:00:00:00:00:0a dev eth1 self")
    run(bridge, "fdb add 02:00:00:00:00:09 dev eth1 master")
    with Restored(bridge, target):
        assert fail_to_move(target, monkeypatch, "eth1") == ()


GROUPS = ["239.1.1.1", "ff15::1", "239.1.1.3 src 10.0.0.1"]


def test_groups_come_back(bridge: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permanent entries of the multicast database are restored; `check` counts them before."""
    run(bridge, *(f"mdb add dev br0 port eth1 grp {group} permanent" for group in GROUPS))
    assert len(rawdump.mdb(bridge.socket())) == 3
    findings = netdevns.check({"eth1": ""}, target.fd).findings
    assert any("3 mdb entries" in f.text for f in findings if f.code == "loss.port")
    with Restored(bridge, target):
        assert fail_to_move(target, monkeypatch, "eth1") == ()


def test_group_that_cannot_be_restored_is_reported(
    bridge: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the notation of bridge(8)."""
    run(bridge, *(f"mdb add dev br0 port eth1 grp {group} permanent" for group in GROUPS))
    monkeypatch.setattr(restore, "LATE_S", 0)
    monkeypatch.setattr(ports, "_join", lambda *_: b"")
    (left,) = fail_to_move(target, monkeypatch, "eth1")
    assert sorted(left.missing) == sorted(f"bridge port: mdb {group}" for group in GROUPS)


def test_state_is_left_to_the_kernels_stp(
    bridge: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port begins to listen: its state differs, but the kernel's STP sets it."""
    bridge.ip("link set br0 type bridge stp_state 1")
    assert fail_to_move(target, monkeypatch, "eth1") == ()
    assert bridge.links()["eth1"].attrs["slave kind"] == "bridge"


def test_setting_that_cannot_be_restored_is_reported(
    bridge: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused setting is reported in `left`, with the kernel's reason."""
    assert port(bridge, 3, struct.pack("=I", 77)) == 0
    real = ports._slave
    nonsense = rawdump.attribute(2, b"\xff\xff")  # IFLA_BRPORT_PRIORITY: a number of 6 bits
    monkeypatch.setattr(ports, "_slave", lambda kind, ifindex, _: real(kind, ifindex, nonsense))
    (left,) = fail_to_move(target, monkeypatch, "eth1")
    assert left.missing == ("bridge port: cost: Numerical result out of range",)


def test_device_without_a_master_costs_nothing(
    host: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a port in the batch, no request is about ports, neither before a move nor in an undo."""
    host.batch(BRIDGE + "link set eth1 nomaster\n")
    asked: list[tuple[int, int]] = []  # type, family
    real = Socket.query

    def query(self: Socket, request: bytes, *size: int) -> tuple[int, bytes]:
        asked.append((struct.unpack_from("=H", request, 4)[0], request[16]))
        return real(self, request, *size)

    monkeypatch.setattr(Socket, "query", query)
    assert fail_to_move(target, monkeypatch, "eth1") == ()
    # The unicast filters are in the dump of forwarding databases: one before, and one in an undo that restores entries.
    assert [type_ for type_, family in asked if family == uapi.AF_BRIDGE] == [uapi.RTM_GETNEIGH]


BOND = """
    link set lo up
    link add bond0 type bond mode active-backup miimon 20
    link add eth1 index 102 type veth peer name peer1
    link add eth2 index 104 type veth peer name peer2
    link set peer1 up
    link set peer2 up
    link set eth1 master bond0
    link set eth2 master bond0
    link set bond0 up
    link set eth1 up
    link set eth2 up
"""


@pytest.fixture
def bond(host: Namespace) -> Namespace:
    host.batch(BOND)
    host.wait_until_quiet()
    return host


@pytest.mark.smoke
@pytest.mark.kinds("bond")
@pytest.mark.parametrize("batch", [("eth1",), ("eth2",), ("eth1", "eth2"), ("eth2", "eth1")])
def test_bond_slave_comes_back(
    bond: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch, batch: tuple[str, ...]
) -> None:
    """Queue, priority, active slave and the bond's MAC are restored, even if the bond had no slave meanwhile."""
    bond.ip("link set bond0 address 02:00:00:00:00:55")
    for device in ("eth1", "eth2"):
        bond.ip(f"link set {device} type bond_slave queue_id {device[-1]}")
    with bond.socket() as socket:  # IFLA_BOND_SLAVE_PRIO: not before 6.0
        data = rawdump.attribute(4, b"bond\0") + rawdump.attribute(5, rawdump.attribute(9, struct.pack("=i", -7)))
        socket.change_link(104, rawdump.attribute(18, data))
    bond.ip("link set bond0 type bond active_slave eth2")
    bond.wait_until_quiet()
    with Restored(bond, target):
        assert fail_to_move(target, monkeypatch, *batch) == ()


@pytest.mark.kinds("bond")
def test_mac_that_a_staying_slave_took_over(
    bond: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fail_over_mac follow, the next slave, which got the bond's MAC from the leaving one, regains its own."""
    bond.batch(["link set eth1 nomaster", "link set eth2 nomaster", "link set bond0 down"])
    bond.ip("link set bond0 type bond fail_over_mac follow")
    bond.batch(["link set eth1 down", "link set eth2 down", "link set eth1 master bond0", "link set eth2 master bond0"])
    bond.batch(["link set bond0 up", "link set eth1 up", "link set eth2 up"])
    bond.ip("link set bond0 type bond active_slave eth1")
    bond.wait_until_quiet()
    with Restored(bond, target):
        assert fail_to_move(target, monkeypatch, "eth1") == ()


@pytest.mark.kinds("bond", "vlan")
def test_slave_that_is_up_before_it_may_be_one(
    bond: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A VLAN that came up with its lower is set down for its bond, which accepts no slave that is up (EPERM)."""
    bond.batch(["link set eth1 nomaster", "link set eth1 up", "link add link eth1 name eth1.5 type vlan id 5"])
    bond.batch(["link set eth1.5 down", "link set eth1.5 master bond0", "link set eth1.5 up"])
    bond.wait_until_quiet()
    with Restored(bond, target):
        assert fail_to_move(target, monkeypatch, "eth1", "eth1.5") == ()


@pytest.mark.kinds("bond")
@pytest.mark.parametrize("name", ["net0", "net%d"])
@pytest.mark.parametrize("has_number", [True, False])
def test_slave_with_the_mac_of_its_bond_is_moved(
    bond: Namespace, target: Namespace, name: str, has_number: bool
) -> None:
    """Slaves have the bond's MAC until they leave: then the kernel restores their own."""
    (link,) = bond.ip_json("link show dev eth2")
    own, lent = link["linkinfo"]["info_slave_data"]["perm_hwaddr"], link["address"]
    assert own != lent
    if not has_number:
        target.ip("link add other index 104 type ifb")  # so the kernel chooses another one
    with bond.entered():
        (moved,) = netdevns.move({"eth2": name}, target.fd)
    assert moved.not_carried == ("master bond0", f"bond port: MAC {lent}")
    assert target.ip_json("link show dev net0")[0]["address"] == own


@pytest.mark.kinds("bond")
def test_link_that_comes_late(bond: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bond refuses an active slave until it has noticed its link: it is tried again."""
    bond.ip("link set bond0 type bond active_slave eth2")
    bond.wait_until_quiet()
    refused: list[bytes] = []
    real = restore.Restorer._sent

    def answer(self: restore.Restorer, request: bytes, ifindex: int) -> str:
        if uapi.IFLA_BOND_ACTIVE_SLAVE.to_bytes(2, sys.byteorder) in request and len(refused) < 3 and not ifindex:
            refused.append(request)
            return "Invalid argument"
        return real(self, request, ifindex)

    monkeypatch.setattr(restore.Restorer, "_sent", answer)
    with Restored(bond, target):
        assert fail_to_move(target, monkeypatch, "eth2") == ()
    assert len(refused) == 3


@pytest.mark.parametrize("has_carrier", [True, False])
def test_state_of_a_bridge_port(bridge: Namespace, has_carrier: bool) -> None:
    """Without a carrier the kernel sets the port's state itself, up to a second later, and refuses requests."""
    with Socket(bridge.fd) as socket:
        link_message = lookups.ask(socket, [wire.get_link(102)])[0].body
    head = list(wire.IFINFOMSG.unpack_from(link_message))
    head[3] = head[3] | uapi.IFF_LOWER_UP if has_carrier else head[3] & ~uapi.IFF_LOWER_UP
    link = wire.Link(memoryview(wire.IFINFOMSG.pack(*head) + bytes(link_message[wire.IFINFOMSG.size :])))
    state = ports.Port(link, None, {}, [], []).settings.get(uapi.IFLA_BRPORT_STATE)
    assert state == (b"\3" if has_carrier else None)


# ---- losses ----


def not_carried(host: Namespace, target: Namespace, device: str = "eth1") -> tuple[str, ...]:
    """`check`, `show` and the move report the same losses, except for settings that the target resets."""
    with host.entered():
        report = netdevns.check({device: f"in-{device}"}, target.fd)
        (shown,) = show.devices([device])
        (moved,) = netdevns.move({device: f"in-{device}"}, target.fd)
    losses = [f.text.partition(": a move loses: ")[2] for f in report.findings if f.severity == "loss"]
    reported = tuple(words for words in moved.not_carried if not words.startswith("sysctl "))
    assert tuple(losses) == shown.not_carried == reported
    return reported


def test_settings_of_a_port_are_reported(bridge: Namespace, target: Namespace) -> None:
    """Only settings that a new port would not have are losses; the kernel's own entry for each port is none."""
    run(bridge, "fdb add 02:00:00:00:00:08 dev eth1 master static")
    assert port(bridge, 33, b"\1") == 0
    assert port(bridge, 8, b"\0") == 0
    entries = sum(
        "fdb state 0x40" in line for line in rawdump.everything(bridge.socket())["fdb"]
    )  # with VLANs one in each
    words = "1 fdb entry" if entries == 1 else f"{entries} fdb entries"
    assert entries
    assert not_carried(bridge, target) == ("master br0", f"bridge port: learning, isolated, {words}")


def test_new_port_loses_nothing(bridge: Namespace, target: Namespace) -> None:
    """The defaults in the table match this kernel's."""
    assert not_carried(bridge, target) == ("master br0",)


@pytest.mark.kinds("vlan")
def test_vlans_of_a_port_are_reported(vlans: Namespace, target: Namespace) -> None:
    """7, 10-20 and 22 were added, and 1 was removed."""
    assert not_carried(vlans, target) == ("master br0", "bridge port: 14 vlans")


@pytest.mark.kinds("bond")
def test_queue_of_a_slave_is_reported(bond: Namespace, target: Namespace) -> None:
    """The first slave, whose own MAC the bond has."""
    bond.ip("link set eth1 type bond_slave queue_id 3")
    assert not_carried(bond, target) == ("master bond0", "bond port: queue_id")


def test_neighbours_and_addresses_are_reported(host: Namespace, target: Namespace) -> None:
    """Permanent neighbours, proxies and unprotected addresses are losses; the kernel's own link-local is none."""
    host.sysctl("ipv6/conf/default/addr_gen_mode", 0)
    host.batch(
        """
        link add eth1 type veth peer name peer1
        link set peer1 up
        link set eth1 up
        addr add 10.0.0.1/24 dev eth1
        addr add 10.0.1.1/24 valid_lft 5000 preferred_lft 4000 dev eth1
        addr add 2001:db8::5/64 nodad valid_lft 5000 preferred_lft 4000 dev eth1
        addr add 169.254.1.1/16 scope link dev eth1
        addr add fe80::77/64 nodad dev eth1
        neigh add 10.0.0.9 lladdr 02:00:00:00:00:99 nud permanent dev eth1
        neigh add proxy 10.0.0.200 dev eth1
        """
    )
    host.wait_until_quiet()
    assert not_carried(host, target) == ("2 neighbours", "2 addresses of link scope", "2 addresses with a lifetime")
    assert not_carried(host, target, "peer1") == ()
