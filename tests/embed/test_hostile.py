"""The batch in C undoes a move while root in the target interferes: the host is as before, or the rest is reported.

Python's own: tests/integration/test_hostile*.py. The oracle is a dump of the host that is none of netdevns' own.
"""

from __future__ import annotations

import pytest

from tests.integration.test_hostile import CHANGES
from tests.support import hostile, restored
from tests.support.bpf import attach_xdp
from tests.support.namespaces import Namespace, fresh
from tests.support.restored import State, assert_equal_soon

from .fighter import MOVE, Driver, altname, give, loop, rename, set_mac, set_mtu, set_up

MACVLAN = """
    link add lower index 201 type veth peer name lowerp index 202
    link set lowerp up
    link set lower up
    link add link lower name mv0 index 203 type macvlan mode bridge
    link set mv0 up
    addr add 10.3.0.1/24 dev mv0
    addr add 2001:db8:3::1/64 nodad dev mv0
"""


def undone(c: Driver, host: Namespace, before: State) -> None:
    """An undo says that all is as before, and it is."""
    answer = c.undo()
    assert (answer.code, answer.left) == (0, {}), answer
    c.close()
    assert_equal_soon(before, host)


# ---- what is changed once ----

# As in CHANGES: net0 is eth0, an ifb, and net1 is eth1, a veth.
MORE = {
    "both-in-a-bridge": ["link add br0 type bridge", "link set net0 master br0", "link set net1 master br0"],
    "up-and-down": ["link set net1 down", "link set net0 down", "link set net0 up"],
    "addresses-exchanged": ["addr del 10.1.0.1/24 dev net1", "addr add 10.1.0.1/24 dev net0"],
    "address-of-the-kernel": ["link set net1 addrgenmode eui64", "link set net1 down", "link set net1 up"],
    "token": ["link set net1 addrgenmode none", "token set ::7 dev net1"],
    "bond": ["link add bond0 type bond", "link set net1 down", "link set net1 master bond0", "link set bond0 up"],
    "vrf": ["link add vrf0 type vrf table 7", "link set net1 master vrf0", "link set vrf0 up"],
    "mtu-of-both": ["link set net0 mtu 68", "link set net1 mtu 65535"],
    "altnames-of-the-host": ["link property add dev net1 altname stays altname peer altname eth0 altname eth1",
                             "link property add dev net0 altname lo2"],
    "named-as-the-batch": ["link set net0 name x", "link set net1 name eth0", "link property add dev x altname eth1"],
    "named-as-a-third": ["link set net0 name peer", "link set net1 name stays"],
}  # fmt: skip

KINDS = ("bond", "vrf")  # which a kernel may lack


@pytest.mark.sampled(3)
@pytest.mark.smoke
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.kinds(n)) if n in KINDS else n for n in (*CHANGES, *MORE)]
)
def test_change_is_taken_back(sides: tuple[Namespace, Namespace], c: Driver, name: str) -> None:
    """P1: what root in the target did to a device is taken back, and "as before" is true."""
    host, target = sides
    before = host.dump()
    c.moved(target)
    target.batch(CHANGES.get(name) or MORE[name])
    undone(c, host, before)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ipv6/conf/net1/disable_ipv6", 1),
        ("ipv6/conf/net1/addr_gen_mode", 3),
        ("ipv6/conf/net1/accept_ra", 0),
        ("ipv6/conf/net1/forwarding", 1),
        ("ipv6/conf/net1/mtu", 1290),
        ("ipv4/conf/net1/rp_filter", 2),
        ("ipv4/conf/net1/forwarding", 1),
        ("ipv4/conf/net1/arp_ignore", 2),
        ("ipv6/conf/all/disable_ipv6", 1),
        ("ipv6/conf/default/disable_ipv6", 1),
    ],
)
def test_sysctl_is_taken_back(sides: tuple[Namespace, Namespace], c: Driver, name: str, value: int) -> None:
    """P1: sysctls that the container sets, for the device or for all, are those of the host again."""
    host, target = sides
    host.sysctl("ipv4/conf/eth1/rp_filter", 1)
    host.sysctl("ipv6/conf/eth1/hop_limit", 77)
    before = host.dump()
    c.moved(target)
    target.sysctl(name, value)
    undone(c, host, before)


@pytest.mark.parametrize("host_has", [False, True], ids=["none", "one"])
def test_xdp(sides: tuple[Namespace, Namespace], c: Driver, host_has: bool) -> None:
    """P1, P7: a program that the container attached is detached; one of the host's that it replaced is reported."""
    host, target = sides
    if host_has:
        attach_xdp(host, "eth1")
    before = host.dump()
    c.moved(target)
    attach_xdp(target, "net1")
    if not host_has:
        undone(c, host, before)
        return
    answer = c.undo()
    assert list(answer.left) == ["eth1"]
    assert "XDP program" in answer.left["eth1"]
    assert "xdp" not in host.ip_json("link show dev eth1")[0]


@pytest.mark.kinds("macvlan")
@pytest.mark.parametrize("device", ["mv0", "both"])
def test_macvlan(sides: tuple[Namespace, Namespace], c: Driver, device: str) -> None:
    """P1: a macvlan, and the same together with its lower device, which the container changes."""
    host, target = sides
    host.batch(MACVLAN)
    host.wait_until_quiet()
    before = host.dump()
    c.moved(target, {"mv0": "net1"} if device == "mv0" else {"lower": "net0", "mv0": "net1"})
    if device == "both":
        target.batch(["link set net0 mtu 1300", "link set net0 down", "link set net0 address 02:00:00:00:00:66"])
    target.batch(["link set net1 down", "link set net1 address 02:00:00:00:00:77"])
    undone(c, host, before)


KINDS_ON_ANOTHER = ("vlan id 7", "macvlan", "ipvlan", "macvtap", "ipvtap")


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.kinds(k.split()[0])) for k in KINDS_ON_ANOTHER])
@pytest.mark.parametrize("with_lower", [False, True])
def test_device_on_another(sides: tuple[Namespace, Namespace], c: Driver, kind: str, with_lower: bool) -> None:
    """P1: of each kind that lies on another device, which stays in the host or moves, too; also by a second undo."""
    host, target = sides
    host.batch(MACVLAN.replace("mv0 index 203 type macvlan mode bridge", f"mv0 index 203 type {kind}"))
    host.wait_until_quiet()
    before = host.dump()
    for _ in range(2):
        c.moved(target, {"mv0": "net0"} | ({"lower": "net1"} if with_lower else {}))
        undone(c, host, before)


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.kinds(kind)) for kind in ("vlan", "macvlan")])
def test_device_of_the_container_on_top(sides: tuple[Namespace, Namespace], c: Driver, kind: str) -> None:
    """P1: what the container made on top of a device keeps it neither from coming home nor otherwise than it was."""
    host, target = sides
    before = host.dump()
    c.moved(target)
    more = "id 7" if kind == "vlan" else "mode bridge"
    target.batch([f"link add link net1 name top type {kind} {more}", "link set top up", "addr add 10.1.0.1/24 dev top"])
    undone(c, host, before)


# ---- whether it is ours ----


def test_moved_on(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """P7: a device that the container moved on is said to be gone; a second undo restores it."""
    host, target = sides
    before = host.dump()
    c.moved(target)
    with fresh("third") as third:
        target.give("net1", third)
        answer = c.undo()
        assert (answer.place("eth0"), answer.place("eth1")) == ("source", "gone")
        assert list(answer.left) == ["eth1"]
        assert "neither in the source nor in the target" in answer.left["eth1"]
        third.give("net1", target)
    undone(c, host, before)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("changed", ["nothing", "name", "mac", "name-and-mac"])
@pytest.mark.parametrize("ifindex", ["same", "other"])
def test_there_and_back(sides: tuple[Namespace, Namespace], c: Driver, changed: str, ifindex: str) -> None:
    """P1: a device that was in a third namespace meanwhile is found under another ifindex, name or MAC address."""
    host, target = sides
    before = host.dump()
    c.moved(target)
    hostile.change_net1(target, changed, ifindex)
    undone(c, host, before)


@pytest.mark.parametrize("kind", ["veth", pytest.param("macvlan", marks=pytest.mark.kinds("macvlan"))])
def test_deleted(sides: tuple[Namespace, Namespace], c: Driver, kind: str) -> None:
    """P7: a device that the container deleted is gone, and said to be; the other one is as it was."""
    host, target = sides
    host.batch(MACVLAN)
    host.wait_until_quiet()
    before = host.dump()
    name = "mv0" if kind == "macvlan" else "eth1"
    c.moved(target, {"eth0": "net0", name: "net1"})
    target.ip("link del net1")
    answer = c.undo()
    assert (answer.place(name), list(answer.left), answer.left_count) == ("gone", [name], 1)
    assert host.dump()["links"]["eth0"] == before["links"]["eth0"]
    assert host.dump()["addresses"]["eth0"] == before["addresses"]["eth0"]


@pytest.mark.parametrize("there", ["target", "third"])
@pytest.mark.parametrize("kind", ["veth", pytest.param("macvlan", marks=pytest.mark.kinds("macvlan"))])
def test_replaced(sides: tuple[Namespace, Namespace], c: Driver, kind: str, there: str) -> None:
    """P7: what the container made with the name, ifindex and MAC address of a device that it deleted stays there.

    Also where its peer or lower device is in a third namespace, under the ifindex that the host's one had.
    """
    host, target = sides
    host.batch(MACVLAN)
    host.wait_until_quiet()
    name, below = ("mv0", 201) if kind == "macvlan" else ("eth1", 103)
    was = host.links()[name]
    mac = ":".join(was.attrs[1][n : n + 2] for n in range(0, 12, 2))
    c.moved(target, {"eth0": "net0", name: "net1"})
    target.ip("link del net1")
    with fresh("third") as third:
        if kind == "veth":
            target.ip(f"link add net1 index {was.ifindex} address {mac} type veth peer name evil index {below}")
            if there == "third":
                target.give("evil", third)
        else:
            target.ip(f"link add evil index {below} type veth peer name evil2")
            target.ip(f"link add net1 link evil index {was.ifindex} address {mac} type macvlan mode bridge")
            if there == "third":
                target.give("evil", third)
        answer = c.undo()
        assert (answer.place(name), list(answer.left)) == ("target", [name]), answer
        assert "another device has its name" in answer.left[name]
        assert name not in host.names()
        assert "net1" in target.names()


def test_replaced_by_another_kind(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """P7: of another kind, with its name, ifindex and MAC address, it is not taken for the device."""
    host, target = sides
    c.moved(target)
    target.batch(["link del net1", "link add net1 index 102 address 02:00:00:00:00:01 type bridge"])
    answer = c.undo()
    assert (answer.place("eth1"), list(answer.left)) == ("gone", ["eth1"])
    assert "eth1" not in host.names()


# ---- names and numbers that are taken in the host meanwhile ----


def test_name_is_taken(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """P1, P7: its name is taken in the host: home under another name, with its addresses, and reported."""
    host, target = sides
    c.moved(target)
    host.ip("link add eth1 type ifb")
    answer = c.undo()
    assert (answer.place("eth1"), list(answer.left)) == ("source", ["eth1"])
    assert "name" in answer.left["eth1"]
    (name,) = (name for name, link in host.links().items() if link.ifindex == 102)
    assert host.links()[name].attrs[1] == "020000000001"
    assert "net1" not in target.names()
    host.ip("link del eth1")
    answer = c.undo()
    assert (answer.code, answer.left) == (0, {})
    assert "10.1.0.1" in [a.address for a in host.addresses("eth1")]


@pytest.mark.parametrize("mac", ["same", "changed"])
def test_names_are_taken_in_both(sides: tuple[Namespace, Namespace], c: Driver, mac: str) -> None:
    """P1: its name is taken in the host, and it has that of another device of the host: home under a third one."""
    host, target = sides
    c.moved(target)
    target.batch(["link set net1 down", "link set net1 name stays"])
    host.ip("link add eth1 type ifb")
    if mac == "changed":
        target.ip("link set stays address 02:00:00:00:00:77")
    answer = c.undo()
    assert (answer.place("eth1"), list(answer.left)) == ("source", ["eth1"])
    (name,) = (name for name, link in host.links().items() if link.ifindex == 102)
    assert name.startswith("nd")
    assert host.links()[name].attrs[1] == "020000000001"
    host.ip("link del eth1")
    answer = c.undo()
    assert (answer.code, answer.left) == (0, {})
    assert "10.1.0.1" in [a.address for a in host.addresses("eth1")]


def eth1(dump: State) -> State:
    """Its addresses and attributes, without IFLA_LINK: its peer's has the ifindex, and its own is the peer's."""
    attrs = sorted(f"{type_} {value}" for type_, value in dump["links"]["eth1"].attrs.items() if type_ != 5)
    return {
        "eth1": {"addresses": dump["addresses"]["eth1"], "attributes": attrs, "names": dump["links"]["eth1"].altnames}
    }


@pytest.mark.parametrize("changed", ["nothing", "name", "mac", "mac-and-name"])
def test_ifindex_is_taken(sides: tuple[Namespace, Namespace], c: Driver, changed: str) -> None:
    """P1: a new device that took its ifindex in the host keeps it; all else of the device is restored."""
    host, target = sides
    before = host.dump()
    c.moved(target)
    if "mac" in changed:
        target.ip("link set net1 address 02:00:00:00:00:77")
    if "name" in changed:
        target.ip("link set net1 name evil")
    host.ip("link add thief index 102 type ifb")
    answer = c.undo()
    assert (answer.place("eth1"), answer.left) == ("source", {"eth1": "ifindex 102"})
    now = restored.differences(host.dump, before, shown=eth1)
    assert not now, now


def test_altname_is_taken(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """P7: one of its alternative names is taken in the host: home without it, and reported."""
    host, target = sides
    before = host.dump()
    c.moved(target)
    host.ip("link property add dev stays altname enp1")
    answer = c.undo()
    assert (answer.place("eth1"), list(answer.left)) == ("source", ["eth1"])
    assert "enp1" in answer.left["eth1"]
    assert host.dump()["addresses"]["eth1"] == before["addresses"]["eth1"]
    host.ip("link property del dev stays altname enp1")
    undone(c, host, before)


def test_altname_is_taken_by_a_name(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """P1: an alternative name that the container added is the name of a device that the host made meanwhile."""
    host, target = sides
    c.moved(target)
    target.ip("link property add dev net1 altname fresh")
    host.ip("link add fresh type ifb")
    answer = c.undo()
    assert (answer.code, answer.left) == (0, {})
    assert "eth1" in host.names()


# ---- loops ----


def _loops(target: Namespace, third: Namespace) -> dict[str, list[tuple[Namespace, bytes]]]:
    names = ("stays", "peer", "lo2", "eth0", "eth1")
    return {
        "altname": [(target, altname(102, "stays") * 20)],
        "altnames": [(target, b"".join(altname(n, name) for name in names for n in (101, 102)) * 5)],
        "altnames-removed": [(target, altname(102, "enp1", remove=True) * 20)],
        "rename": [(target, (rename(102, "evil0") + rename(102, "stays")) * 10)],
        "mac": [(target, b"".join(set_mac(102, n) for n in range(1, 40)))],
        "rename-and-mac": [(target, (rename(102, "x") + set_mac(102, 9) + rename(102, "eth0") + set_mac(102, 8)) * 8)],
        "mtu": [(target, (set_mtu(102, 1300) + set_mtu(101, 1300) + set_mtu(102, 9000)) * 8)],
        "up-and-down": [(target, (set_up(102, 0) + set_up(102, 1) + set_up(101, 0) + set_up(101, 1)) * 5)],
        "everything": [
            (target, (altname(102, "stays", "eth0") + rename(102, "peer") + set_mac(102, 5) + set_mtu(102, 1280)) * 6),
            (target, (set_up(102, 0) + altname(101, "eth1") + set_up(102, 1) + rename(101, "stays")) * 6),
        ],
        "to-and-fro": [(target, give(102, third.fd)), (third, give(102, target.fd))],
    }


LOOPS = ["altname", "altnames", "altnames-removed", "rename", "mac", "rename-and-mac",
         "mtu", "up-and-down", "everything"]  # fmt: skip


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("round_", range(2))
def test_loop(sides: tuple[Namespace, Namespace], c: Driver, name: str, round_: int) -> None:
    """P1: a process that changes a device in a loop, faster than the undo, does not prevent it."""
    host, target = sides
    before = host.dump()
    c.moved(target)
    with fresh("third") as third, loop(*_loops(target, third)[name]):
        answer = c.undo()
    assert (answer.code, answer.left) == (0, {}), (round_, answer)
    c.close()
    assert_equal_soon(before, host)


@pytest.mark.parametrize("round_", range(3))
def test_loop_of_two(sides: tuple[Namespace, Namespace], c: Driver, round_: int) -> None:
    """P1: two processes at once, with different names."""
    host, target = sides
    before = host.dump()
    c.moved(target)
    with (
        loop((target, altname(102, "stays", "peer") * 20)),
        loop((target, (altname(102, "eth0") + rename(102, "lo2") + set_mac(102, 7)) * 10)),
    ):
        answer = c.undo()
    assert (answer.code, answer.left) == (0, {}), (round_, answer)
    c.close()
    assert_equal_soon(before, host)


@pytest.mark.parametrize("round_", range(4))
def test_loop_to_a_third_namespace(sides: tuple[Namespace, Namespace], c: Driver, round_: int) -> None:
    """P7: a device that is moved on and back in a loop is home, or said to be gone; the next undo restores it."""
    assert round_ >= 0
    host, target = sides
    before = host.dump()
    c.moved(target)
    with fresh("third") as third:
        with loop(*_loops(target, third)["to-and-fro"]):
            answer = c.undo()
        if answer.code == 0:
            assert_equal_soon(before, host)
            return
        assert list(answer.left) == ["eth1"], answer
        if "net1" in third.names():
            third.give("net1", target)
        undone(c, host, before)


# ---- between two steps of an undo ----


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("name", ["stays", "eth0", "eth1", "lo"])
def test_altname_between_look_and_move(sides: tuple[Namespace, Namespace], c: Driver, nth: int, name: str) -> None:
    """P1: the same where it is added behind the look."""
    host, target = sides
    before = host.dump()
    c.moved(target)

    def add() -> None:
        if name == "lo":
            target.ip("link set lo name nobody")
        for ifindex in {101, 102} & {link.ifindex for link in target.links().values()}:
            with target.socket() as socket:
                socket.raw.send(altname(ifindex, name))

    answer = c.at_send("undo 0", MOVE, nth, add)
    assert (answer.code, answer.left) == (0, {}), answer
    assert_equal_soon(before, host)


@pytest.mark.parametrize("decoy", ["net1 index 102", "net1", "evil"])
def test_decoy(sides: tuple[Namespace, Namespace], c: Driver, decoy: str) -> None:
    """P7: a veth of the container's own with our name, ifindex or MAC address does not hide ours, which is home."""
    host, target = sides
    before = host.dump()
    c.moved(target)
    hostile.hide_net1(target, decoy)
    undone(c, host, before)
    assert "ours" not in target.names()


@pytest.mark.parametrize("kind", ["veth", pytest.param("macvlan", marks=pytest.mark.kinds("macvlan"))])
@pytest.mark.parametrize("changed", ["nothing", "name"])
def test_lower_under_another_ifindex(sides: tuple[Namespace, Namespace], c: Driver, kind: str, changed: str) -> None:
    """P1: a device whose peer or lower device moved with it, and got another ifindex, comes home with it."""
    host, target = sides
    if kind == "macvlan":
        host.batch(["link add link eth1 name mv0 type macvlan mode bridge", "link set mv0 up"])
        host.wait_until_quiet()
    before = host.dump()
    c.moved(target, {"eth1": "net1", "peer": "below"} if kind == "veth" else {"mv0": "net1", "eth1": "below"})
    hostile.lower_to_and_fro(target, 103 if kind == "veth" else 102, changed)
    undone(c, host, before)


def test_both_ends_under_other_ifindexes(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """P1: a veth and its peer come home, neither of which has its name or ifindex: each is searched by the other."""
    host, target = sides
    before = host.dump()
    c.moved(target, {"eth1": "net1", "peer": "below"})
    hostile.pair_to_and_fro(target)
    undone(c, host, before)


@pytest.mark.kinds("macvlan")
def test_macvlan_of_another_move_stays(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """P7: one that lies on the same device is not taken for one that the container deleted."""
    host, target = sides
    host.batch([f"link add link eth1 name mv{n} type macvlan mode bridge" for n in range(2)])
    host.give("mv1", target)
    c.moved(target, {"mv0": "net1"})
    target.ip("link del net1")
    answer = c.undo()
    assert answer.place("mv0") == "gone"
    assert (target.names(), "mv0" in host.names()) == ({"mv1"}, False)


@pytest.mark.kinds("macvlan")
@pytest.mark.parametrize(
    ("device", "name", "ifindex"), [("eth0", "net0", 101), ("eth1", "net1", 102)], ids=["ifb", "veth"]
)
def test_replaced_between_look_and_move(
    sides: tuple[Namespace, Namespace], c: Driver, device: str, name: str, ifindex: int
) -> None:
    """P7: a veth of the container's own that takes the place behind the look is not left in the host."""
    host, target = sides
    c.moved(target, {device: name})

    def replace() -> None:
        new = f"link add {name} index {ifindex} address 02:00:00:00:00:01 type veth peer name evil"
        target.batch([f"link del {name}", new])

    answer = c.at_send("undo 0", MOVE, 1, replace)
    assert list(answer.left) == [device], answer
    assert device not in host.names(), answer
    assert name not in host.names(), answer
    assert "evil" in target.names(), answer
