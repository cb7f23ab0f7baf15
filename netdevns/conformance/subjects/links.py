"""A device in a move, beside its addresses: attributes, flags, MAC lists, counters, ifindex."""

from __future__ import annotations

import fcntl
import socket
from struct import Struct

from ...netlink import uapi, wire
from .. import requests
from ..probe import ABI, SPEC, NotAvailable, Value, probe
from ..requests import named, ns_fd, set_link
from ..world import Device, Namespace, SetupFailed, World
from .clash import MOVE, move

# linux/if_link.h
IFLA_OPERSTATE, IFLA_LINKMODE = 16, 17
IFLA_STATS64, IFLA_PROMISCUITY = 23, 30
IFLA_CARRIER, IFLA_CARRIER_CHANGES, IFLA_PROTO_DOWN = 33, 35, 39
IFLA_GSO_MAX_SEGS, IFLA_GRO_MAX_SIZE, IFLA_ALLMULTI = 40, 58, 61
IFLA_GSO_IPV4_MAX_SIZE, IFLA_GRO_IPV4_MAX_SIZE = 63, 64
# linux/if.h
FLAGS = {"debug": 0x4, "noarp": 0x80, "promisc": 0x100, "allmulti": 0x200, "multicast": 0x1000, "dynamic": 0x8000}
# linux/if_packet.h, linux/sockios.h, linux/neighbour.h
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1
SIOCADDMULTI = 0x8931
COUNTERS = Struct("=QQ")  # linux/if_link.h, struct rtnl_link_stats64: rx_packets, tx_packets
NDMSG = Struct("=BxxxiHBB")
GROUP, NEIGHBOUR = bytes.fromhex("015e00000a0b"), bytes.fromhex("02000000000a")
HAND_MAC = bytes.fromhex("0200c0ffee01")
PEER_FIRST = (b"p-eth1", b"eth1")  # so that eth1 has its carrier and its queue when the request is acknowledged
FLUSH = "net/core/dev.c, __dev_change_net_namespace, dev_uc_flush and dev_mc_flush"


def pair(world: World, attrs: bytes = b"") -> Device:
    """A veth, whose peer stays in the source: the kind with most features, and in every kernel."""
    return world.source.make(b"veth", b"eth1", attrs)


def attributes(namespace: Namespace, name: bytes = b"eth1") -> dict[int, memoryview]:
    return namespace.attributes(namespace.known(name).ifindex)


def flags_of(namespace: Namespace) -> int:
    link = namespace.link(b"eth1")
    if link is None:
        raise SetupFailed(f"no eth1 in {namespace.name}")
    return int(link.flags)


def must_move(world: World, device: Device) -> None:
    reply = move(world, device)
    if reply.error != "ok":
        raise SetupFailed(f"the move: {reply.error} {reply.extack}".rstrip())


def number(data: memoryview | None) -> int | None:
    """An attribute that is a number of any size."""
    return None if data is None else int.from_bytes(data, "little" if wire.U32.pack(1)[0] else "big")


# ---- attributes that can be set and read ----

SET: dict[str, tuple[str, int, bytes]] = {
    "mtu": ("the MTU", uapi.IFLA_MTU, wire.U32.pack(1234)),
    "mac": ("a MAC address set by hand", uapi.IFLA_ADDRESS, HAND_MAC),
    "broadcast": ("a broadcast MAC address set by hand", uapi.IFLA_BROADCAST, HAND_MAC),
    "txqlen": ("the length of the transmit queue", uapi.IFLA_TXQLEN, wire.U32.pack(77)),
    "group": ("the group", uapi.IFLA_GROUP, wire.U32.pack(5)),
    "alias": ("the alias", uapi.IFLA_IFALIAS, b"an alias"),
    "linkmode": ("the link mode", IFLA_LINKMODE, b"\1"),
    "gso-max-size": ("gso_max_size", uapi.IFLA_GSO_MAX_SIZE, wire.U32.pack(30000)),
    "gso-max-segs": ("gso_max_segs", IFLA_GSO_MAX_SEGS, wire.U32.pack(7)),
    "gro-max-size": ("gro_max_size", IFLA_GRO_MAX_SIZE, wire.U32.pack(30000)),
    "gso-ipv4-max-size": ("gso_ipv4_max_size", IFLA_GSO_IPV4_MAX_SIZE, wire.U32.pack(30000)),
    "gro-ipv4-max-size": ("gro_ipv4_max_size", IFLA_GRO_IPV4_MAX_SIZE, wire.U32.pack(30000)),
}
PROMISED = dict.fromkeys(("mtu", "mac", "broadcast", "txqlen", "alias", "group"), SPEC)


@probe(
    "links.set.{}",
    ABI,
    "In a move, a device keeps {}.",
    source=MOVE,
    cases={name: case[1:] for name, case in SET.items()},
    texts={name: case[0] for name, case in SET.items()},
    kinds=PROMISED,
)
def keeps(world: World, type_: int, data: bytes) -> Value:
    device = pair(world)
    if type_ not in attributes(world.source) and type_ != uapi.IFLA_IFALIAS:
        raise NotAvailable("this kernel does not have the attribute")
    world.source.must(set_link(device.ifindex, wire.attr(type_, data)))
    before = attributes(world.source)[type_]
    must_move(world, device)
    after = attributes(world.target).get(type_)
    if bytes(before).rstrip(b"\0") != data.rstrip(b"\0"):
        raise SetupFailed("the kernel did not accept the value")
    return "kept" if after == before else "gone" if after is None else bytes(after).hex()


@probe(
    "links.made.{}-queues",
    ABI,
    "A device that was made with three {} queues keeps them in a move.",
    source=MOVE,
    cases={"tx": (uapi.IFLA_NUM_TX_QUEUES,), "rx": (uapi.IFLA_NUM_RX_QUEUES,)},
)
def queues(world: World, type_: int) -> Value:
    device = pair(world, wire.attr_u32(type_, 3))
    before = number(attributes(world.source).get(type_))
    if before is None:
        raise NotAvailable("this kernel does not report the number (CONFIG_RPS)")
    must_move(world, device)
    return {"before": before, "after": number(attributes(world.target)[type_])}


@probe("links.proto-down.macvlan", ABI, "A device keeps IFLA_PROTO_DOWN in a move.", source=MOVE,
       needs=("macvlan",))  # fmt: skip
def proto_down(world: World) -> Value:
    lower = world.source.device(b"low0")
    device = world.source.make(b"macvlan", b"eth1", wire.attr_u32(uapi.IFLA_LINK, lower.ifindex))
    world.source.must(set_link(device.ifindex, wire.attr(IFLA_PROTO_DOWN, b"\1")))
    must_move(world, device)
    return number(attributes(world.target)[IFLA_PROTO_DOWN])


# ---- flags and their counters ----


@probe(
    "links.flags.{}",
    ABI,
    "In a move, a device keeps a flag that was set or cleared by hand: {}.",
    source="net/core/dev.c, __dev_change_flags",
    cases={name: (flag,) for name, flag in FLAGS.items() if name != "debug"},
)
def flag(world: World, bit: int) -> Value:
    device = pair(world)
    before = flags_of(world.source) & bit
    world.source.must(set_link(device.ifindex, flags=~before & bit, change=bit))
    if flags_of(world.source) & bit == before:
        raise SetupFailed("the kernel did not accept the flag")
    must_move(world, device)
    return {"before": not before, "after": bool(flags_of(world.target) & bit)}


@probe(
    "links.counter.{}-by-flag",
    ABI,
    "In a move, a device keeps {}.",
    source="net/core/dev.c, __dev_set_promiscuity and __dev_set_allmulti",
    cases={"promisc": (FLAGS["promisc"], IFLA_PROMISCUITY), "allmulti": (FLAGS["allmulti"], IFLA_ALLMULTI)},
    texts={
        "promisc": "the promiscuity count of IFF_PROMISC",
        "allmulti": "the allmulti count of IFF_ALLMULTI",
    },
)
def counter_flag(world: World, bit: int, type_: int) -> Value:
    device = pair(world)
    world.source.must(set_link(device.ifindex, flags=bit, change=bit))
    before = number(attributes(world.source).get(type_))
    if before is None:
        raise NotAvailable("this kernel does not report the counter")
    must_move(world, device)
    return {"before": before, "after": number(attributes(world.target)[type_])}


@probe(
    "links.counter.promisc-by-socket",
    ABI,
    "A move ends the promiscuity that an open packet socket asked for.",
    source="net/packet/af_packet.c, packet_notifier",
)
def counter_socket(world: World) -> Value:
    device = pair(world)
    with world.source.entered():
        raw = packet_socket()
    with raw:
        raw.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, Struct("=iHH8s").pack(device.ifindex, 1, 0, b""))
        before = number(attributes(world.source)[IFLA_PROMISCUITY])
        must_move(world, device)
        return {"before": before, "after": number(attributes(world.target)[IFLA_PROMISCUITY])}


def packet_socket() -> socket.socket:
    try:
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    except OSError as e:
        raise NotAvailable(f"packet sockets: {e.strerror}") from None


# ---- further MAC addresses ----


@probe("links.mac-list.multicast", ABI,
       "A move drops multicast MAC addresses that were added to a device (SIOCADDMULTI).",
       source=FLUSH)  # fmt: skip
def filter_multicast(world: World) -> Value:
    device = pair(world)
    request = Struct("=16sH14s").pack(b"eth1", 0, GROUP)
    with world.source.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_:
        fcntl.ioctl(any_, SIOCADDMULTI, request)
    before = has_group(world.source)
    must_move(world, device)
    return {"before": before, "after": has_group(world.target)}


def has_group(namespace: Namespace) -> bool:
    with namespace.entered(), open("/proc/thread-self/net/dev_mcast", encoding="ascii") as file:
        return any(line.split()[1] == "eth1" and line.split()[4] == GROUP.hex() for line in file)


@probe("links.mac-list.unicast", ABI,
       "A move drops unicast MAC addresses that were added to a device (`bridge fdb add ... self`).",
       source=FLUSH)  # fmt: skip
def filter_unicast(world: World) -> Value:
    device = pair(world)
    body = NDMSG.pack(uapi.AF_BRIDGE, device.ifindex, uapi.NUD_PERMANENT, uapi.NTF_SELF, 0)
    body += wire.attr(uapi.NDA_LLADDR, NEIGHBOUR)
    world.source.must(wire.message(uapi.RTM_NEWNEIGH, requests.CREATE, body))
    before = has_neighbour(world.source)
    must_move(world, device)
    return {"before": before, "after": has_neighbour(world.target)}


def has_neighbour(namespace: Namespace) -> bool:
    found = namespace.dump(uapi.RTM_GETNEIGH, uapi.AF_BRIDGE, bytes([uapi.AF_BRIDGE]) + bytes(NDMSG.size - 1))
    return any(bytes(wire.attrs(m.body, NDMSG.size).get(uapi.NDA_LLADDR, b"")) == NEIGHBOUR for m in found)


# ---- counters and state ----


@probe("links.statistics.sent", ABI, "A device keeps its count of sent packets in a move.",
       source="net/core/dev.c, dev_get_stats")  # fmt: skip
def statistics(world: World) -> Value:
    device = pair(world)
    for name in PEER_FIRST:
        world.source.must(set_link(world.source.known(name).ifindex, up=True))
    with world.source.entered():
        raw = packet_socket()
    with raw:
        raw.bind((b"eth1".decode(), 0x88B5))
        for _ in range(3):
            raw.send(b"\xff" * 6 + HAND_MAC + b"\x88\xb5" + bytes(50))
    before = sent(world.source)
    if before < 3:
        raise SetupFailed(f"sent {before} of 3 packets")
    must_move(world, device)
    # IPv6 may have sent packets meanwhile.
    return "kept" if sent(world.target) >= before else sent(world.target)


def sent(namespace: Namespace) -> int:
    (_, packets) = COUNTERS.unpack_from(attributes(namespace)[IFLA_STATS64])
    return int(packets)


@probe("links.state.after-the-move", ABI,
       "A veth that was up arrives with the operational state down and without a carrier.",
       source="net/core/link_watch.c, rfc2863_policy")  # fmt: skip
def state(world: World) -> Value:
    device = pair(world)
    for name in PEER_FIRST:
        world.source.must(set_link(world.source.known(name).ifindex, up=True))
    must_move(world, device)
    after = attributes(world.target)
    return {"operstate": number(after[IFLA_OPERSTATE]), "carrier": number(after.get(IFLA_CARRIER))}


@probe("links.carrier-changes.counted", ABI, "A device keeps its count of carrier changes in a move.",
       source="net/sched/sch_generic.c, netif_carrier_on")  # fmt: skip
def carrier_changes(world: World) -> Value:
    device = pair(world)
    for name in PEER_FIRST:
        world.source.must(set_link(world.source.known(name).ifindex, up=True))
    before = number(attributes(world.source)[IFLA_CARRIER_CHANGES]) or 0
    must_move(world, device)
    after = number(attributes(world.target)[IFLA_CARRIER_CHANGES]) or 0
    return "kept" if after >= before > 0 else "reset"  # going down may count once more


# ---- ifindex ----


@probe("links.ifindex.taken", SPEC, "A device whose ifindex is taken in the target gets another one.", source=MOVE)
def ifindex_taken(world: World) -> Value:
    device = pair(world)
    body = wire.IFINFOMSG.pack(0, 0, device.ifindex, 0, 0) + named(b"other")
    body += wire.nested(uapi.IFLA_LINKINFO, wire.attr(uapi.IFLA_INFO_KIND, b"bridge"))
    world.target.must(wire.message(uapi.RTM_NEWLINK, requests.CREATE, body))
    reply = move(world, device)
    other = world.target.known(b"eth1").ifindex
    return {"error": reply.error, "device": world.place(device), "same": other == device.ifindex}


@probe("links.ifindex.back", ABI, "A device that comes back has its old ifindex where that is still free.",
       source=MOVE)  # fmt: skip
def ifindex_back(world: World) -> Value:
    device = pair(world)
    must_move(world, device)
    world.target.must(set_link(world.target.known(b"eth1").ifindex, ns_fd(world.source.fd)))
    return world.source.known(b"eth1").ifindex == device.ifindex


@probe("links.ifindex.reused", ABI, "A new device in the source does not get the ifindex of one that has just left.",
       source="net/core/dev.c, dev_index_reserve")  # fmt: skip
def ifindex_reused(world: World) -> Value:
    device = world.source.device(b"eth1")
    must_move(world, device)
    return world.source.device(b"eth2").ifindex == device.ifindex
