"""Each kind of device: whether it may move, and what it keeps of its settings and of its master."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Callable
from struct import Struct

from ...netlink import uapi, wire
from ..probe import ABI, SPEC, VARIES, NotAvailable, Value, probe
from ..requests import ns_fd, set_link
from ..world import Device, Namespace, SetupFailed, World
from .clash import move

MOVE = "net/core/dev.c, __dev_change_net_namespace, netns_immutable (before 6.15: NETIF_F_NETNS_LOCAL)"
# linux/if_tun.h
TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB
IFF_TUN, IFF_TAP, IFF_NO_PI = 1, 2, 0x1000
IFREQ = Struct("=16sH22x")
IFF_SLAVE = 0x800  # linux/if.h
IFLA_PROMISCUITY, IFLA_PERM_ADDRESS = 30, 54
U16 = Struct("=H")

Make = Callable[[Namespace], Device]


def plain(kind: bytes, data: bytes = b"") -> Make:
    return lambda namespace: namespace.make(kind, b"eth1", data=data)


def over(kind: bytes, data: bytes = b"") -> Make:
    """A device over a lower one, low0."""
    return lambda namespace: namespace.make(
        kind, b"eth1", wire.attr_u32(uapi.IFLA_LINK, lower(namespace).ifindex), data
    )


def lower(namespace: Namespace) -> Device:
    return namespace.known(b"low0") if namespace.link(b"low0") else namespace.device(b"low0")


def vxlan_over(namespace: Namespace) -> Device:
    """A vxlan over low0, which it names in IFLA_VXLAN_LINK."""
    data = wire.attr_u32(1, 42) + wire.attr_u32(3, lower(namespace).ifindex)
    return namespace.make(b"vxlan", b"eth1", data=data + wire.attr(15, U16.pack(socket.htons(4789))))


def hsr(namespace: Namespace) -> Device:
    first, second = (namespace.make(b"veth", name) for name in (b"port0", b"port1"))
    return namespace.make(b"hsr", b"eth1", data=wire.attr_u32(1, first.ifindex) + wire.attr_u32(2, second.ifindex))


def lo(namespace: Namespace) -> Device:
    return namespace.known(b"lo")


def tun_file(namespace: Namespace, name: bytes, flags: int) -> int:
    """The descriptor of a new tun device, or of an existing one."""
    with namespace.entered():
        try:
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        except OSError as e:
            raise NotAvailable(f"/dev/net/tun: {e.strerror}") from None
        try:
            fcntl.ioctl(fd, TUNSETIFF, IFREQ.pack(name, flags | IFF_NO_PI))
        except OSError:
            os.close(fd)
            raise
    return fd


def tun(flags: int) -> Make:
    """A persistent tun device, which no process has open."""

    def make(namespace: Namespace) -> Device:
        fd = tun_file(namespace, b"eth1", flags)
        try:
            fcntl.ioctl(fd, TUNSETPERSIST, 1)
        finally:
            os.close(fd)
        return namespace.known(b"eth1")

    return make


REMOTE = socket.inet_aton("192.0.2.9")
KINDS: dict[str, Make] = {
    "veth": plain(b"veth"),
    "dummy": plain(b"dummy"),
    "ifb": plain(b"ifb"),
    "macvlan": over(b"macvlan", wire.attr_u32(1, 4)),  # IFLA_MACVLAN_MODE, bridge
    "macvtap": over(b"macvtap", wire.attr_u32(1, 4)),
    "ipvlan": over(b"ipvlan", wire.attr(1, U16.pack(1))),  # IFLA_IPVLAN_MODE, l3
    "ipvlan-l3s": over(b"ipvlan", wire.attr(1, U16.pack(2))),
    "ipvtap": over(b"ipvtap", wire.attr(1, U16.pack(0))),
    "vlan": over(b"vlan", wire.attr(1, U16.pack(7))),  # IFLA_VLAN_ID
    "vxlan": plain(b"vxlan", wire.attr_u32(1, 42) + wire.attr(2, REMOTE)),
    "vxlan-over": vxlan_over,
    "geneve": plain(b"geneve", wire.attr_u32(1, 42) + wire.attr(2, REMOTE)),
    "macsec": over(b"macsec"),
    "tun": tun(IFF_TUN),
    "tap": tun(IFF_TAP),
}
IMMOVABLE: dict[str, Make] = {
    "lo": lo,
    "bridge": plain(b"bridge"),
    "bond": plain(b"bond"),
    "team": plain(b"team"),
    "vrf": plain(b"vrf", wire.attr_u32(1, 99)),  # IFLA_VRF_TABLE
    "hsr": hsr,
}
# Kinds without settings, variants of another kind, and rare ones.
NO_SETTINGS = ("veth", "dummy", "ifb", "ipvlan-l3s", "tun")
# Kinds that users of container runtimes have.
USUAL = dict.fromkeys(("veth", "dummy", "macvlan", "ipvlan", "vlan", "vxlan", "lo", "bridge", "bond", "team"), SPEC)
ALL = KINDS | IMMOVABLE
NAMES = {name: f"a {name}" for name in ALL} | {
    "lo": "lo",
    "ifb": "an ifb",
    "vlan": "a VLAN",
    "vrf": "a VRF",
    "ipvlan": "an ipvlan",
    "ipvlan-l3s": "an ipvlan in mode l3s",
    "ipvtap": "an ipvtap",
    "vxlan-over": "a vxlan over a lower device",
    "hsr": "an HSR device",
    **{name: f"a {name} device" for name in ("geneve", "macsec", "tun", "tap")},
}


def place(world: World, device: Device) -> str:
    """As `world.place`, but works for lo, which every namespace has."""
    return world.place(device) if device.name != b"lo" else f"source {place_of_lo(world)}"


def place_of_lo(world: World) -> str:
    return "lo" if len([each for each in world.target.links() if each.name == b"lo"]) == 1 else "no lo"


@probe(
    "kinds.move.{}",
    ABI,
    "RTM_NEWLINK {}.",
    source=MOVE,
    cases={name: (make,) for name, make in ALL.items()},
    texts={name: f"moves {NAMES[name]}" for name in KINDS}
    | {name: f"refuses to move {NAMES[name]} (EINVAL)" for name in IMMOVABLE},
    kinds=USUAL,
)
def may_move(world: World, make: Make) -> Value:
    device = make(world.source)
    reply = move(world, device)
    return {"error": reply.error, "device": place(world, device)}


@probe(
    "kinds.words.{}",
    VARIES,
    "The extack text for a refused move of {}.",
    source=MOVE,
    cases={name: (ALL[name],) for name in ("lo", "bridge")},
    texts=NAMES,
)
def words(world: World, make: Make) -> Value:
    return move(world, make(world.source)).said


# netdevns sends this request on kernels without IFLA_NETNS_IMMUTABLE.
@probe(
    "kinds.own-namespace.{}",
    SPEC,
    "{}.",
    source="net/core/dev.c, __dev_change_net_namespace: the order of its checks",
    cases={name: (ALL[name],) for name in ("veth", "macvlan", "vlan", *IMMOVABLE)},
    texts={name: f"A move of {NAMES[name]} into its own namespace succeeds" for name in KINDS}
    | {name: f"The errno of a move of {NAMES[name]} into its own namespace" for name in IMMOVABLE},
    kinds=dict.fromkeys(IMMOVABLE, VARIES),
)
def own_namespace(world: World, make: Make) -> Value:
    device = make(world.source)
    return world.source.request(set_link(device.ifindex, ns_fd(world.source.fd))).error


@probe(
    "kinds.immutable.{}",
    VARIES,
    "IFLA_NETNS_IMMUTABLE of {}, if the kernel reports it.",
    source="net/core/rtnetlink.c, rtnl_fill_ifinfo",
    cases={name: (ALL[name],) for name in ("veth", "lo", "bridge", "bond", "vrf")},
    texts=NAMES,
)
def immutable(world: World, make: Make) -> Value:
    device = make(world.source)
    link = world.source.link(device.name)
    return None if link is None else link.immutable


# ---- settings of a kind ----


def info(namespace: Namespace) -> dict[int, bytes]:
    """The settings of its kind: IFLA_INFO_DATA."""
    found = wire.attrs(namespace.attributes(namespace.known(b"eth1").ifindex)[uapi.IFLA_LINKINFO])
    return {type_: bytes(data) for type_, data in wire.attrs(found[uapi.IFLA_INFO_DATA]).items()}


@probe(
    "kinds.settings.{}",
    ABI,
    "A move keeps the settings (IFLA_INFO_DATA) of {}.",
    source="net/core/rtnetlink.c, rtnl_link_info_fill",
    cases={name: (make,) for name, make in KINDS.items() if name not in NO_SETTINGS},
    texts=NAMES,
    kinds=dict.fromkeys(("macvlan", "ipvlan", "vlan", "vxlan"), SPEC),
)
def settings(world: World, make: Make) -> Value:
    device = make(world.source)
    before = info(world.source)
    reply = move(world, device)
    if reply.error != "ok":
        raise SetupFailed(f"the move: {reply.error}")
    after = info(world.target)
    return {"has some": bool(before), "others": sorted(t for t in before | after if before.get(t) != after.get(t))}


@probe(
    "kinds.permanent-mac.{}",
    ABI,
    "RTM_NEWLINK of {} IFLA_PERM_ADDRESS.",
    source="net/core/rtnetlink.c, rtnl_fill_ifinfo, IFLA_PERM_ADDRESS",
    cases={name: (ALL[name],) for name in ("veth", "dummy", "ifb", "macvlan", "ipvlan", "vlan", "vxlan", "tap")},
    texts={name: f"{NAMES[name]} has {'an' if name == 'ipvlan' else 'no'}" for name in KINDS},
)
def permanent_mac(world: World, make: Make) -> Value:
    return IFLA_PERM_ADDRESS in world.source.attributes(make(world.source).ifindex)


# ---- ports ----


def port(world: World, make: Make) -> Device:
    """A veth that is the second port of a master; some masters take the first port's MAC address."""
    master = make(world.source)
    for name in (b"first", b"port0"):
        device = world.source.make(b"veth", name)
        world.source.must(set_link(device.ifindex, wire.attr_u32(uapi.IFLA_MASTER, master.ifindex)))
        world.source.must(set_link(device.ifindex, up=True))
    world.source.must(set_link(master.ifindex, up=True))
    return device


PORTS = {name: (IMMOVABLE[name],) for name in ("bridge", "bond", "team", "vrf")}


@probe(
    "kinds.port.{}",
    ABI,
    "A move releases a port of a {}; the master stays up.",
    source="the NETDEV_UNREGISTER of its master: br_device_event, bond_slave_netdev_event, team_device_event, "
    "vrf_device_event",
    cases=PORTS,
)
def port_moves(world: World, make: Make) -> Value:
    device = port(world, make)
    reply = move(world, device)
    link, master = world.target.link(b"port0"), world.source.link(b"eth1")
    has_master = link is not None and link.master is not None
    return {"error": reply.error, "port": world.place(device), "has a master": has_master,
            "master": "gone" if master is None else "up" if master.flags & uapi.IFF_UP else "down"}  # fmt: skip


@probe(
    "kinds.port-state.{}",
    ABI,
    "A move {}.",
    source="br_add_if, bond_enslave, team_port_add, vrf_add_slave; and their opposites",
    cases=PORTS,
    texts={
        "bridge": "ends the promiscuity of a bridge's port",
        "bond": "ends IFF_SLAVE of a bond's port, and restores its own MAC address",
        "team": "does not change the MAC address of a team's second port",
        "vrf": "does not change MAC address, IFF_SLAVE and promiscuity of a VRF's port",
    },
)
def port_state(world: World, make: Make) -> Value:
    device = port(world, make)
    before = of_master(world.source, device)
    move(world, device)
    return {"before": before, "after": of_master(world.target, device)}


def of_master(namespace: Namespace, device: Device) -> Value:
    link = namespace.link(b"port0")
    if link is None:
        return None
    promiscuity = wire.u32(namespace.attributes(link.ifindex).get(IFLA_PROMISCUITY))
    return {"own mac": link.mac == device.mac, "slave": bool(link.flags & IFF_SLAVE), "promiscuity": promiscuity}


@probe("kinds.port.back", ABI, "A bridge's port that moved away and came back has no master.",
       source="net/bridge/br.c, br_device_event")  # fmt: skip
def port_back(world: World) -> Value:
    device = port(world, IMMOVABLE["bridge"])
    move(world, device)
    world.target.must(set_link(world.target.known(b"port0").ifindex, ns_fd(world.source.fd)))
    link = world.source.link(b"port0")
    return None if link is None else {"has a master": link.master is not None}


# ---- tun: processes that have it open ----


@probe("kinds.tun.open-name", ABI, "TUNGETIFF on the descriptor of an open tap reports its new name after a move.",
       source="drivers/net/tun.c, tun_get_iff")  # fmt: skip
def tun_open(world: World) -> Value:
    fd = tun_file(world.source, b"eth1", IFF_TAP)
    try:
        device = world.source.known(b"eth1")
        reply = move(world, device, b"net0")
        try:
            name = IFREQ.unpack(fcntl.ioctl(fd, 0x800454D2, bytes(IFREQ.size)))[0].rstrip(b"\0").decode()
        except OSError as e:
            name = errno.errorcode[e.errno or 0]
        return {"error": reply.error, "device": world.place(device), "name": name}
    finally:
        os.close(fd)


@probe("kinds.tun.open-closed", ABI,
       "A tap that is not persistent is deleted with its last descriptor, even after a move.",
       source="drivers/net/tun.c, __tun_detach")  # fmt: skip
def tun_closed(world: World) -> Value:
    fd = tun_file(world.source, b"eth1", IFF_TAP)
    device = world.source.known(b"eth1")
    reply = move(world, device)
    os.close(fd)
    return {"error": reply.error, "device": world.place(device)}


@probe(
    "kinds.tun.attach-{}",
    ABI,
    "Opening the name of a persistent tap that moved {}.",
    source="drivers/net/tun.c, tun_set_iff",
    cases={"target": ("target",), "source": ("source",)},
    texts={"target": "attaches to it in the target", "source": "makes a new device in the source"},
)
def tun_attach(world: World, where: str) -> Value:
    device = KINDS["tap"](world.source)
    move(world, device)
    fd = tun_file(world.namespace(where), b"eth1", IFF_TAP)
    try:
        return {
            space.name: sum(link.kind == b"tun" for link in space.links()) for space in (world.source, world.target)
        }
    finally:
        os.close(fd)
