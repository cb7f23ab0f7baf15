"""Multicast joins, MAC address lists, and a bridge's entries for a port that leaves it."""

from __future__ import annotations

import errno
import fcntl
import socket
import sys
from struct import Struct

from ...netlink import uapi, wire
from ..probe import ABI, SPEC, Value, probe
from ..requests import CREATE, ns_fd, set_link
from ..world import OK, Device, Namespace, World, error_name, need_ipv6
from .addresses import WORDS, is_up
from .addresses_dad import detecting
from .neighbours import NDMSG

FLUSH = "net/core/dev.c, __dev_change_net_namespace: dev_uc_flush and dev_mc_flush"
IGMP = "net/ipv4/igmp.c, ip_mc_destroy_dev and ip_mc_leave_group; net/ipv6/mcast.c, ipv6_mc_destroy_dev"
PORT = "net/bridge/br_if.c, del_nbp"

SIOCADDMULTI = 0x8931  # linux/sockios.h
IFREQ = Struct("=16sH14s8x")  # a name and a struct sockaddr, of which a MAC is the beginning
MREQN = Struct("=4s4si")  # struct ip_mreqn: group, address, ifindex
MREQ6 = Struct("=16si")  # struct ipv6_mreq: group, ifindex
GROUP4, GROUP6 = "239.1.2.3", "ff0e::1234"
HARDWARE = bytes((0x33, 0x01, 0x02, 0x03, 0x04, 0x05))
UNICAST = bytes((2, 0, 0, 0, 0, 9))
RTM_NEWMDB, RTM_GETMDB = 84, 86  # linux/rtnetlink.h
BR_PORT_MSG = Struct("=BxxxI")  # struct br_port_msg: family, ifindex
MDB_ENTRY = Struct("=IBBH16sHxx")  # struct br_mdb_entry: ifindex, state, flags, vid, address, protocol
MDBA_SET_ENTRY, MDB_PERMANENT, ETH_P_IP = 1, 1, 0x0800
RTNLGRP_NEIGH, RTNLGRP_MDB = 3, 26
RTM_DELNEIGH, RTM_DELMDB = 29, 85


def listed(namespace: Namespace, file: str, name: str) -> list[str]:
    """Addresses of a device in /proc/net/dev_mcast (the last word) or igmp6 (the third)."""
    with namespace.entered(), open(f"/proc/thread-self/net/{file}", encoding="ascii") as lines:
        words = [line.split() for line in lines]
    return [each[-1] if file == "dev_mcast" else each[2] for each in words if each[1] == name]


def groups(namespace: Namespace, name: str) -> list[str]:
    """IPv4 groups of a device in /proc/net/igmp: lines below the device's, in host byte order."""
    found, mine = [], False
    with namespace.entered(), open("/proc/thread-self/net/igmp", encoding="ascii") as lines:
        for line in lines:
            words = line.split()
            if not line.startswith("\t"):
                mine = words[1].rstrip(":") == name
            elif mine:
                found.append(socket.inet_ntoa(int(words[0], 16).to_bytes(4, sys.byteorder)))
    return found


def membership(family: int, group: str, ifindex: int) -> tuple[int, int, bytes]:
    """The level, the option that joins (the next one leaves), and its value."""
    data = socket.inet_pton(family, group)
    if family == uapi.AF_INET:
        return socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, MREQN.pack(data, bytes(4), ifindex)
    return socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, MREQ6.pack(data, ifindex)


def tried(sock: socket.socket, level: int, option: int, value: bytes) -> str:
    try:
        sock.setsockopt(level, option, value)
    except OSError as e:
        return error_name(e.errno or errno.EIO)
    return OK


FAMILIES = {"ipv4": (uapi.AF_INET, GROUP4), "ipv6": (uapi.AF_INET6, GROUP6)}


def is_member(namespace: Namespace, family: int, group: str) -> bool:
    if family == uapi.AF_INET:
        return group in groups(namespace, "eth1")
    return socket.inet_pton(family, group).hex() in listed(namespace, "igmp6", "eth1")


def socket_of(world: World, family: int) -> socket.socket:
    """A socket in the source, as a program there would have."""
    if family == uapi.AF_INET6:
        need_ipv6()
    with world.source.entered():
        return socket.socket(family, socket.SOCK_DGRAM)


@probe(
    "multicast.socket.{}",
    SPEC,
    "A move ends a socket's membership on the device; coming back does not restore it: {}.",
    source=IGMP,
    cases=FAMILIES,
    texts=WORDS,
)
def joined(world: World, family: int, group: str) -> Value:
    device = is_up(world)
    with socket_of(world, family) as sock:
        sock.setsockopt(*membership(family, group, device.ifindex))
        before = is_member(world.source, family, group)
        world.source.must(set_link(device.ifindex, ns_fd(world.target.fd), up=True))
        there = is_member(world.target, family, group)
        world.target.must(set_link(world.target.known(b"eth1").ifindex, ns_fd(world.source.fd), up=True))
        return {"before": before, "target": there, "back": is_member(world.source, family, group)}


@probe(
    "multicast.socket.{}-again",
    ABI,
    "On a device that moved away and came back, a socket must leave a group before it can join: {}.",
    source=IGMP,
    cases=FAMILIES,
    texts=WORDS,
)
def rejoined(world: World, family: int, group: str) -> Value:
    device = is_up(world)
    with socket_of(world, family) as sock:
        level, join, value = membership(family, group, device.ifindex)
        sock.setsockopt(level, join, value)
        world.source.must(set_link(device.ifindex, ns_fd(world.target.fd)))
        away = tried(sock, level, join, value)
        world.target.must(set_link(world.target.known(b"eth1").ifindex, ns_fd(world.source.fd), up=True))
        errors = [tried(sock, level, option, value) for option in (join, join + 1, join)]
        return {"join away": away, "join, leave, join": errors, "member": is_member(world.source, family, group)}


@probe(
    "multicast.kernel.{}",
    ABI,
    "The kernel joins {} on a device that has arrived and is up.",
    source=IGMP,
    cases={"ipv4": (uapi.AF_INET,), "ipv6": (uapi.AF_INET6,)},
    texts={"ipv4": "224.0.0.1", "ipv6": "ff01::1 and ff02::1"},
    needs=("macvlan",),
)
def own_groups(world: World, family: int) -> Value:
    if family == uapi.AF_INET6:
        need_ipv6()
    device = detecting(world.source)
    world.source.must(set_link(device.ifindex, ns_fd(world.target.fd), up=True))
    if family == uapi.AF_INET:
        return sorted(groups(world.target, "eth1"))
    return sorted(socket.inet_ntop(family, bytes.fromhex(each)) for each in listed(world.target, "igmp6", "eth1"))


# ---- hardware addresses ----


def add_hardware(namespace: Namespace, device: Device, mac: bytes) -> None:
    """As `ip maddr add`. Devices without ndo_set_rx_mode, such as ifb, refuse it."""
    with namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCADDMULTI, IFREQ.pack(device.name, 0, mac + bytes(14 - len(mac))))


@probe(
    "multicast.hardware.move",
    SPEC,
    "A move drops a multicast MAC address that SIOCADDMULTI added.",
    source=FLUSH,
    needs=("macvlan",),
)
def hardware_moved(world: World) -> Value:
    device = detecting(world.source, up=False)
    add_hardware(world.source, device, HARDWARE)
    before = HARDWARE.hex() in listed(world.source, "dev_mcast", "eth1")
    world.source.must(set_link(device.ifindex, ns_fd(world.target.fd)))
    return {"before": before, "after": HARDWARE.hex() in listed(world.target, "dev_mcast", "eth1")}


@probe(
    "multicast.hardware.down",
    ABI,
    "Setting a device down and up keeps a multicast MAC address that SIOCADDMULTI added.",
    source="net/core/dev_addr_lists.c",
)
def hardware_down(world: World) -> Value:
    device = detecting(world.source)
    add_hardware(world.source, device, HARDWARE)
    for up in (False, True):
        world.source.must(set_link(device.ifindex, up=up))
    return HARDWARE.hex() in listed(world.source, "dev_mcast", "eth1")


def entry(ifindex: int, mac: bytes, state: int, flags: int) -> bytes:
    """An entry of a forwarding database."""
    body = NDMSG.pack(uapi.AF_BRIDGE, ifindex, state, flags, 0) + wire.attr(uapi.NDA_LLADDR, mac)
    return wire.message(uapi.RTM_NEWNEIGH, CREATE, body)


def is_ours(message: wire.Message) -> bool:
    return bytes(wire.attrs(message.body, NDMSG.size).get(uapi.NDA_LLADDR, b"")) == UNICAST


def has_entry(namespace: Namespace) -> bool:
    """Whether there is an entry for our MAC; a bridge with VLANs has one for each."""
    body = NDMSG.pack(uapi.AF_BRIDGE, 0, 0, 0, 0)
    found = namespace.dump(uapi.RTM_GETNEIGH, uapi.AF_BRIDGE, body)
    return any(map(is_ours, found))


@probe(
    "multicast.hardware.unicast",
    SPEC,
    "A move drops a further unicast MAC address (`bridge fdb add ... self`).",
    source=FLUSH,
    needs=("veth",),
)
def unicast_moved(world: World) -> Value:
    device = world.source.make(b"veth", b"eth1")
    reply = world.source.request(entry(device.ifindex, UNICAST, uapi.NUD_PERMANENT, uapi.NTF_SELF))
    before = has_entry(world.source)
    world.source.must(set_link(device.ifindex, ns_fd(world.target.fd)))
    return {
        "error": reply.error,
        "before": before,
        "source": has_entry(world.source),
        "target": has_entry(world.target),
    }


# ---- a bridge's entries ----


def port(world: World) -> tuple[Device, Device]:
    """A bridge and its port, both up."""
    bridge = world.source.make(b"bridge", b"br0")
    device = world.source.device(b"eth1")
    world.source.must(set_link(device.ifindex, wire.attr_u32(uapi.IFLA_MASTER, bridge.ifindex)))
    for each in (bridge, device):
        world.source.must(set_link(each.ifindex, up=True))
    return bridge, device


@probe(
    "multicast.bridge.fdb-{}",
    SPEC,
    "A port that leaves loses a {} FDB entry of its bridge, with RTM_DELNEIGH; coming back does not restore it.",
    source=PORT,
    needs=("bridge",),
    cases={"static": (uapi.NUD_NOARP,), "local": (uapi.NUD_PERMANENT,)},
)
def bridge_fdb(world: World, state: int) -> Value:
    bridge, device = port(world)
    world.source.must(entry(device.ifindex, UNICAST, state, uapi.NTF_MASTER))
    before = has_entry(world.source)
    listener = world.source.listener(RTNLGRP_NEIGH)
    world.source.must(set_link(device.ifindex, ns_fd(world.target.fd)))
    notified = any(message.type == RTM_DELNEIGH and is_ours(message) for message in listener.read())
    away = has_entry(world.source)
    world.target.must(set_link(world.target.known(b"eth1").ifindex, ns_fd(world.source.fd)))
    back = world.source.known(b"eth1")
    world.source.must(set_link(back.ifindex, wire.attr_u32(uapi.IFLA_MASTER, bridge.ifindex), up=True))
    return {
        "before": before,
        "away": away,
        "back": has_entry(world.source),
        "told": notified,
    }


def mdb_entries(namespace: Namespace) -> int:
    """How often our group is in a dump of the bridges' group databases."""
    found = namespace.dump(RTM_GETMDB, uapi.AF_BRIDGE, BR_PORT_MSG.pack(uapi.AF_BRIDGE, 0))
    return sum(message.body.tobytes().count(socket.inet_aton(GROUP4)) for message in found)


@probe(
    "multicast.bridge.mdb",
    SPEC,
    "A port that leaves loses a permanent MDB entry of its bridge, with RTM_DELMDB; coming back does not restore it.",
    source=PORT,
    needs=("bridge",),
)
def bridge_mdb(world: World) -> Value:
    bridge, device = port(world)
    group = MDB_ENTRY.pack(
        device.ifindex, MDB_PERMANENT, 0, 0, socket.inet_aton(GROUP4) + bytes(12), socket.htons(ETH_P_IP)
    )
    body = BR_PORT_MSG.pack(uapi.AF_BRIDGE, bridge.ifindex) + wire.attr(MDBA_SET_ENTRY, group)
    reply = world.source.request(wire.message(RTM_NEWMDB, CREATE, body))
    before = mdb_entries(world.source)
    listener = world.source.listener(RTNLGRP_MDB)
    world.source.must(set_link(device.ifindex, ns_fd(world.target.fd)))
    notified = sum(message.type == RTM_DELMDB for message in listener.read())
    away = mdb_entries(world.source)
    world.target.must(set_link(world.target.known(b"eth1").ifindex, ns_fd(world.source.fd)))
    back = world.source.known(b"eth1")
    world.source.must(set_link(back.ifindex, wire.attr_u32(uapi.IFLA_MASTER, bridge.ifindex), up=True))
    return {"error": reply.error, "before": before, "away": away, "back": mdb_entries(world.source), "told": notified}
