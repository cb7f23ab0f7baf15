"""Neighbours and their parameters: the effects of a move, and of setting a link down."""

from __future__ import annotations

import os
import socket
import time
from struct import Struct

from ...netlink import uapi, wire
from ..probe import ABI, SPEC, VARIES, Value, probe
from ..requests import CREATE, address, ns_fd, packed, set_link
from ..world import Device, Namespace, Reply, SetupFailed, World, need_ipv6
from .addresses import WORDS, is_up
from .addresses_dad import detecting

FLUSH = "net/core/neighbour.c, neigh_ifdown and neigh_flush_dev"
ADD = "net/core/neighbour.c, neigh_add"
PARMS = "net/core/neighbour.c, neigh_parms_alloc and neigh_sysctl_register"

NDMSG = Struct("=BxxxiHBB")  # struct ndmsg: family, ifindex, state, flags, type
NDTMSG = Struct("=Bxxx")  # struct ndtmsg: family
RTNLGRP_NEIGH = 3
RTM_DELNEIGH = 29
NUD_REACHABLE, NUD_STALE = 0x02, 0x04
STATES = {NUD_REACHABLE: "reachable", NUD_STALE: "stale", uapi.NUD_NOARP: "noarp", uapi.NUD_PERMANENT: "permanent"}
MAC = bytes((2, 0, 0, 0, 0, 9))
IPS = ("10.0.0.9", "2001:db8::9")
LINGER_S = 60.0
NTF_ROUTER = 0x80

KINDS: dict[str, tuple[int, int]] = {  # state, flags
    "permanent": (uapi.NUD_PERMANENT, 0),
    "noarp": (uapi.NUD_NOARP, 0),
    "reachable": (NUD_REACHABLE, 0),
    "proxy": (0, uapi.NTF_PROXY),
    "extern-learned": (NUD_REACHABLE, uapi.NTF_EXT_LEARNED),
}


def neighbour(ifindex: int, ip: str, state: int, flags: int = 0, attrs: bytes = b"") -> bytes:
    family, data = packed(ip)
    if family == uapi.AF_INET6:
        need_ipv6()
    body = NDMSG.pack(family, ifindex, state, flags, 0) + wire.attr(uapi.NDA_DST, data)
    body += wire.attr(uapi.NDA_LLADDR, MAC) if not flags & uapi.NTF_PROXY else b""
    return wire.message(uapi.RTM_NEWNEIGH, CREATE, body + attrs)


def shown(messages: list[wire.Message]) -> list[str]:
    """Neighbours that a probe made; those of multicast addresses are the kernel's own."""
    found = []
    for message in messages:
        family, _, state, flags, _ = NDMSG.unpack_from(message.body)
        ip = socket.inet_ntop(family, bytes(wire.attrs(message.body, NDMSG.size)[uapi.NDA_DST]))
        if ip in IPS:
            words = [ip] + (["proxy"] if flags & uapi.NTF_PROXY else [STATES.get(state, hex(state))])
            words += ["extern-learned"] if flags & uapi.NTF_EXT_LEARNED else []
            found.append(" ".join(words + (["router"] if flags & NTF_ROUTER else [])))
    return sorted(found)


def neighbours(namespace: Namespace, flags: int = 0) -> list[str]:
    """Neighbours, or proxies (NTF_PROXY)."""
    found = []
    for family in (uapi.AF_INET, uapi.AF_INET6):
        found += namespace.dump(uapi.RTM_GETNEIGH, family, NDMSG.pack(family, 0, 0, flags & uapi.NTF_PROXY, 0))
    return shown(found)


def with_neighbours(world: World, state: int, flags: int) -> Device:
    device = is_up(world)
    for ip in IPS:
        world.source.must(neighbour(device.ifindex, ip, state, flags))
    return device


TEXTS = {name: name.replace("-", " ") for name in KINDS}


@probe(
    "neighbours.move.{}",
    SPEC,
    "A move drops a device's neighbours: {}.",
    source=FLUSH,
    cases=KINDS,
    texts=TEXTS,
)
def moved(world: World, state: int, flags: int) -> Value:
    device = with_neighbours(world, state, flags)
    before = neighbours(world.source, flags)
    world.source.must(set_link(device.ifindex, ns_fd(world.target.fd), up=True))
    found = [*neighbours(world.source, flags), *neighbours(world.target, flags)]
    return {"before": before, "after": found}


@probe(
    "neighbours.told.{}",
    ABI,
    "RTM_DELNEIGH is {} when a device leaves.",
    source=FLUSH,
    cases={name: KINDS[name] for name in ("permanent", "proxy")},
    texts={"permanent": "sent for permanent neighbours", "proxy": "not sent for proxies"},
)
def announced(world: World, state: int, flags: int) -> Value:
    device = with_neighbours(world, state, flags)
    listener = world.source.listener(RTNLGRP_NEIGH)
    world.source.must(set_link(device.ifindex, ns_fd(world.target.fd)))
    found = [message for message in listener.read() if message.type == RTM_DELNEIGH]
    return [text.split()[0] for text in shown(found)]


@probe(
    "neighbours.down.{}",
    ABI,
    "Setting a device down drops its neighbours: {}.",
    source=FLUSH,
    cases={name: KINDS[name] for name in ("permanent", "proxy", "extern-learned")},
    texts=TEXTS,
)
def downed(world: World, state: int, flags: int) -> Value:
    device = with_neighbours(world, state, flags)
    for up in (False, True):
        world.source.must(set_link(device.ifindex, up=up))
    return neighbours(world.source, flags)


@probe(
    "neighbours.down.added",
    SPEC,
    "A permanent neighbour can be added while the device is down, and stays when it is set up.",
    source=ADD,
)
def added_down(world: World) -> Value:
    device = world.source.device(b"eth1")
    errors = [world.source.request(neighbour(device.ifindex, ip, uapi.NUD_PERMANENT)).error for ip in IPS]
    down = neighbours(world.source)
    world.source.must(set_link(device.ifindex, up=True))
    return {"errors": errors, "down": down, "up": neighbours(world.source)}


@probe(
    "neighbours.carrier.lost",
    ABI,
    "The loss of the carrier drops noarp and stale neighbours, and keeps permanent ones.",
    source="net/core/neighbour.c, neigh_carrier_down",
    needs=("veth",),
)
def carrier_lost(world: World) -> Value:
    device = world.source.make(b"veth", b"eth1")
    other = world.source.known(b"p-eth1")
    for each in (other, device):
        world.source.must(set_link(each.ifindex, up=True))
    given = {"10.0.0.1": uapi.NUD_PERMANENT, "10.0.0.2": uapi.NUD_NOARP, "10.0.0.3": NUD_STALE}
    for ip, state in given.items():
        world.source.must(neighbour(device.ifindex, ip, state))
    world.source.must(set_link(other.ifindex, up=False))
    end = time.monotonic() + LINGER_S
    while time.monotonic() < end:  # until the kernel's link watch has run
        found = world.source.dump(uapi.RTM_GETNEIGH, uapi.AF_INET)
        states = [STATES.get(NDMSG.unpack_from(message.body)[2], "other") for message in found]
        if "stale" not in states:
            return sorted(states)
        time.sleep(0.005)
    raise SetupFailed(f"the loss of the carrier was not handled within {LINGER_S:g} s")


@probe(
    "neighbours.mac.changed",
    ABI,
    "A new MAC address drops a device's permanent neighbours.",
    source="net/core/neighbour.c, neigh_changeaddr",
    needs=("macvlan",),
)
def mac_changed(world: World) -> Value:
    device = detecting(world.source)
    for ip in IPS:
        world.source.must(neighbour(device.ifindex, ip, uapi.NUD_PERMANENT))
    world.source.must(set_link(device.ifindex, wire.attr(uapi.IFLA_ADDRESS, MAC)))
    return neighbours(world.source)


TYPES = {uapi.RTN_UNICAST: "unicast", uapi.RTN_BROADCAST: "broadcast", uapi.RTN_MULTICAST: "multicast"}
SENT = {"arp": ("10.0.0.255", "224.0.0.9", "ff02::9"), "no-arp": ("10.0.0.8", "2001:db8::8")}


@probe(
    "neighbours.noarp.{}",
    SPEC,
    "The kernel makes noarp neighbours {}.",
    source="net/ipv4/arp.c, arp_constructor; net/ipv6/ndisc.c, ndisc_constructor",
    cases={name: (name,) for name in SENT},
    texts={
        "arp": "of groups and broadcasts, and ndm_type says so",
        "no-arp": "of all addresses on a device without ARP, as a user's (RTN_UNICAST), with the device's own MAC",
    },
)
def made(world: World, which: str) -> Value:
    need_ipv6()
    device = is_up(world) if which == "no-arp" else detecting(world.source)
    for text in ("10.0.0.1/24", "2001:db8::1/64"):
        world.source.must(address(device.ifindex, text, flags=uapi.IFA_F_NODAD))
    with world.source.entered():
        for ip in SENT[which]:
            family, _ = packed(ip)
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.name)
                sender.sendto(b"", (ip, 9))
    world.source.must(neighbour(device.ifindex, IPS[0], uapi.NUD_NOARP))
    found = {}
    for message in world.source.dump(uapi.RTM_GETNEIGH):
        family, ifindex, state, _, type_ = NDMSG.unpack_from(message.body)
        attrs = wire.attrs(message.body, NDMSG.size)
        ip = socket.inet_ntop(family, bytes(attrs[uapi.NDA_DST]))
        if ifindex == device.ifindex and state == uapi.NUD_NOARP and ip in (*SENT[which], IPS[0]):
            mac = bytes(attrs.get(uapi.NDA_LLADDR, b""))
            found[ip] = f"{TYPES[type_]}, {'own MAC' if mac == device.mac else mac.hex(':')}"
    return dict(sorted(found.items()))


def kept(world: World, *sent: bytes) -> tuple[list[Reply], list[dict[int, memoryview]]]:
    replies = [world.source.request(each) for each in sent]
    found = world.source.dump(uapi.RTM_GETNEIGH, uapi.AF_INET)
    return replies, [wire.attrs(message.body, NDMSG.size) for message in found]


@probe("neighbours.protocol.kept", SPEC, "NDA_PROTOCOL of a permanent neighbour is kept.", source=ADD)
def protocol(world: World) -> Value:
    attrs = wire.attr(uapi.NDA_PROTOCOL, b"\x09")
    _, found = kept(world, neighbour(is_up(world).ifindex, IPS[0], uapi.NUD_PERMANENT, 0, attrs))
    return [each[uapi.NDA_PROTOCOL][0] if uapi.NDA_PROTOCOL in each else "none" for each in found]


@probe(
    "neighbours.managed.{}",
    VARIES,
    "The outcome of NTF_EXT_MANAGED (in NDA_FLAGS_EXT) for a neighbour that is {}.",
    source=ADD,
    cases={"permanent": (uapi.NUD_PERMANENT,), "reachable": (NUD_REACHABLE,)},
)
def managed(world: World, state: int) -> Value:
    attrs = wire.attr_u32(uapi.NDA_FLAGS_EXT, 1)
    replies, found = kept(world, neighbour(is_up(world).ifindex, IPS[0], state, 0, attrs))
    return {"error": replies[0].error, "flags": [wire.u32(each.get(uapi.NDA_FLAGS_EXT)) for each in found]}


@probe("neighbours.router.kept", SPEC, "NTF_ROUTER of a neighbour is kept.", source=ADD)
def router(world: World) -> Value:
    device = is_up(world)
    for ip in IPS:
        world.source.must(neighbour(device.ifindex, ip, uapi.NUD_PERMANENT, NTF_ROUTER))
    return neighbours(world.source)


# ---- parameters ----


def parameters(namespace: Namespace, family: str, device: str) -> dict[str, str]:
    """The files below neigh/<device>, without the old names of two of them."""
    with namespace.entered():
        names = sorted(os.listdir(f"/proc/sys/net/{family}/neigh/{device}"))
    old = {"base_reachable_time", "retrans_time"}
    return {name: namespace.sysctl(f"{family}/neigh/{device}/{name}") for name in names if name not in old}


@probe(
    "neighbours.parameters.{}",
    ABI,
    "A move resets every parameter below neigh/<device> to that of a new device: {}.",
    source=PARMS,
    cases={"ipv4": ("ipv4",), "ipv6": ("ipv6",)},
    texts=WORDS,
)
def parameters_moved(world: World, family: str) -> Value:
    if family == "ipv6":
        need_ipv6()
    device = world.source.device(b"eth1")
    given = {}
    for name, before in parameters(world.source, family, "eth1").items():
        given[name] = world.source.sysctl(f"{family}/neigh/eth1/{name}", int(before) + 100)
        if given[name] == before:
            raise SetupFailed(f"{name} could not be changed")
    world.source.must(set_link(device.ifindex, ns_fd(world.target.fd)))
    world.target.device(b"fresh")
    after, fresh = parameters(world.target, family, "eth1"), parameters(world.target, family, "fresh")
    return {
        "kept": [name for name in given if after[name] == given[name]],
        "not-as-new": [name for name in after if after[name] != fresh[name]],
    }


@probe(
    "neighbours.parameters.default",
    ABI,
    "A new namespace has no neigh/default, from which a device could inherit.",
    source=PARMS,
)
def parameters_default(world: World) -> Value:
    with world.target.entered():
        return {family: os.path.exists(f"/proc/sys/net/{family}/neigh/default") for family in ("ipv4", "ipv6")}


@probe(
    "neighbours.parameters.dump",
    VARIES,
    "The numbers of devices (with lo) at which a dump of neighbour tables lacks IPv6: of both families, of IPv6 alone.",
    source="net/core/neighbour.c, neightbl_dump_info",
)
def parameters_dump(world: World) -> Value:
    need_ipv6()
    lost: dict[str, list[str]] = {"of-both": [], "of-ipv6": []}
    for number in range(2, 71):
        device = world.source.device(b"n%d" % number)
        for which, family in (("of-both", 0), ("of-ipv6", uapi.AF_INET6)):
            tables = world.source.dump(uapi.RTM_GETNEIGHTBL, family, NDTMSG.pack(family))
            if not any(_is_ipv6_of(table, device) for table in tables):
                lost[which].append(str(number))
    return {which: ", ".join(numbers) or "none" for which, numbers in lost.items()}


def _is_ipv6_of(table: wire.Message, device: Device) -> bool:
    """Whether a message has a device's parameters from the table of IPv6."""
    parms = wire.attrs(table.body, NDTMSG.size).get(uapi.NDTA_PARMS, memoryview(b""))
    ifindex = wire.u32(wire.attrs(parms).get(uapi.NDTPA_IFINDEX))
    return table.body[0] == uapi.AF_INET6 and ifindex == device.ifindex
