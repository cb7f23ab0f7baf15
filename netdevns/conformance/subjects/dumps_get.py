"""Look-ups of one device, other namespaces by their id, what is in an answer, and how large answers are."""

from __future__ import annotations

from collections.abc import Callable

from ...netlink import uapi, wire
from .. import requests
from ..probe import ABI, SPEC, VARIES, NotAvailable, Value, probe
from ..requests import IFLA_TARGET_NETNSID, address, named, new_nsid
from ..world import World
from .dumps import FILTERED, GET, NODAD, STRICT, addresses, ask, link_dump, many, names, refusal
from .raw import Raw, flagged

IFA_TARGET_NETNSID = 10  # linux/if_addr.h
RTNL_NSID = "net/core/rtnetlink.c, rtnl_get_net_ns_capable"
STATS = {7: "stats", 23: "stats64"}  # IFLA_*, linux/if_link.h
STATS6 = {3: "inet6-stats", 6: "icmp6-stats"}  # IFLA_INET6_*
IFLA_BR_VLAN_FILTERING = 7
BRVLAN, SKIP_STATS = 2, 8  # RTEXT_FILTER_*, linux/rtnetlink.h


def get(attrs: bytes = b"", ifindex: int = 0, flags: int = 0, change: int = 0) -> bytes:
    return wire.message(uapi.RTM_GETLINK, 0, wire.IFINFOMSG.pack(0, 0, ifindex, flags, change) + attrs)


def looked_up(world: World, message: bytes, *options: int) -> Value:
    """The name of the device that is found, or the refusal."""
    told = ask(world, message, *options)
    return (names(told) or [refusal(told)])[0]


ALT = b"a-much-longer-alternative-name"
KEYS: dict[str, Callable[[int], bytes]] = {
    "ifindex": lambda i: get(ifindex=i),
    "name": lambda _: get(named(b"eth1")),
    "altname-as-name": lambda _: get(named(b"other")),
    "altname": lambda _: get(wire.attr_name(uapi.IFLA_ALT_IFNAME, ALT)),
    "name-as-altname": lambda _: get(wire.attr_name(uapi.IFLA_ALT_IFNAME, b"eth1")),
    "ifindex-and-other-name": lambda i: get(named(b"lo"), ifindex=i),
    "nothing": lambda _: get(),
    "unknown-ifindex": lambda _: get(ifindex=4711),
    "unknown-name": lambda _: get(named(b"nobody")),
    "negative-ifindex": lambda _: get(ifindex=-1),
}


@probe("dumps.get.{}", ABI, "RTM_GETLINK of a device with alternative names, by {}: what is found.", source=GET,
       cases={name: (key,) for name, key in KEYS.items()}, kinds={"ifindex": SPEC})  # fmt: skip
def get_by(world: World, key: Callable[[int], bytes]) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(requests.altnames(device.ifindex, [b"other", ALT]))
    return looked_up(world, key(device.ifindex))


STRICT_GETS: dict[str, Callable[[int], bytes]] = {
    "flags": lambda i: get(ifindex=i, flags=1),
    "change": lambda i: get(ifindex=i, change=0xFFFFFFFF),
    "other-attribute": lambda i: get(wire.attr_u32(uapi.IFLA_MTU, 1500), ifindex=i),
    "ext-mask": lambda i: get(wire.attr_u32(uapi.IFLA_EXT_MASK, SKIP_STATS), ifindex=i),
}


@probe("dumps.get-strict.{}", ABI, "RTM_GETLINK with this besides the ifindex, without strict checking and with: {}.",
       source="net/core/rtnetlink.c, rtnl_valid_getlink_req",
       cases={name: (build,) for name, build in STRICT_GETS.items()})  # fmt: skip
def get_strict(world: World, build: Callable[[int], bytes]) -> Value:
    message = build(world.source.device(b"eth1").ifindex)
    return {"lax": looked_up(world, message), "strict": looked_up(world, message, STRICT)}


@probe("dumps.get.with-ack", ABI, "RTM_GETLINK with NLM_F_ACK: the answer, and then an ack.", source=GET)
def get_ack(world: World) -> Value:
    device = world.source.device(b"eth1")
    told = ask(world, flagged(get(ifindex=device.ifindex), uapi.NLM_F_REQUEST | uapi.NLM_F_ACK))
    return [m.type for m in told]


# ---- what is in an answer ----


@probe("dumps.ext-mask.skip-stats", VARIES, "Which statistics RTEXT_FILTER_SKIP_STATS leaves out.",
       source="net/core/rtnetlink.c, rtnl_fill_ifinfo; net/ipv6/addrconf.c, inet6_fill_ifla6_attrs")  # fmt: skip
def skip_stats(world: World) -> Value:
    device = world.source.device(b"eth1")
    mask = wire.attr_u32(uapi.IFLA_EXT_MASK, SKIP_STATS)

    def have(message: bytes) -> set[str]:
        attrs = wire.attrs(ask(world, message)[-1].body, wire.IFINFOMSG.size)
        inet6 = wire.attrs(wire.attrs(attrs[uapi.IFLA_AF_SPEC]).get(uapi.AF_INET6, memoryview(b"")))
        return {n for i, n in STATS.items() if i in attrs} | {n for i, n in STATS6.items() if i in inet6}

    plain, masked = have(get(ifindex=device.ifindex)), have(get(mask, ifindex=device.ifindex))
    return {"left": sorted(plain & masked), "left-out": sorted(plain - masked)}


@probe("dumps.ext-mask.bridge-vlan", ABI, "Ports' VLANs in a dump of AF_BRIDGE, with RTEXT_FILTER_BRVLAN and without.",
       source="net/bridge/br_netlink.c, br_getlink")  # fmt: skip
def bridge_vlan(world: World) -> Value:
    bridge = world.source.make(b"bridge", b"br0")
    kind = wire.attr(uapi.IFLA_INFO_KIND, b"bridge")
    data = wire.nested(uapi.IFLA_INFO_DATA, wire.attr(IFLA_BR_VLAN_FILTERING, b"\1"))
    filtering = wire.nested(uapi.IFLA_LINKINFO, kind + data)
    if world.source.request(requests.set_link(bridge.ifindex, filtering)).error == "EOPNOTSUPP":
        raise NotAvailable("bridges know no VLANs in this kernel")
    port = world.source.make(b"veth", b"eth1")
    world.source.must(requests.set_link(port.ifindex, wire.attr_u32(uapi.IFLA_MASTER, bridge.ifindex)))
    found: dict[str, Value] = {}
    for text, mask in (("plain", 0), ("brvlan", BRVLAN)):
        attrs = wire.attr_u32(uapi.IFLA_EXT_MASK, mask)
        told = [m for m in ask(world, link_dump(attrs, family=uapi.AF_BRIDGE)) if m.type == uapi.RTM_NEWLINK]
        has = [uapi.IFLA_AF_SPEC in wire.attrs(m.body, wire.IFINFOMSG.size) for m in told]
        found[text] = {"devices": len(told), "with-vlans": sum(has)}
    return found


@probe("dumps.datagram.look-ups", SPEC, "How many of 64 unread answers to RTM_GETLINK fit into 208 KiB.",
       source="net/core/rtnetlink.c, if_nlmsg_size")  # fmt: skip
def look_ups(world: World) -> Value:
    device = world.source.device(b"eth1")
    message = get(wire.attr_u32(uapi.IFLA_EXT_MASK, SKIP_STATS), ifindex=device.ifindex)
    with Raw(world.source.fd, room=208 * 1024 // 2) as raw:  # the kernel doubles it
        raw.send(*[message] * 64)
        return len(raw.messages())


@probe("dumps.datagram.room-{}", ABI, "How large a dump's datagrams are in KiB, read with room for {}.",
       source="net/netlink/af_netlink.c, netlink_dump and netlink_recvmsg",
       cases={"8": (8 << 10,), "32": (32 << 10,), "128": (128 << 10,)})  # fmt: skip
def datagram_room(world: World, room: int) -> Value:
    """The first one is made before the kernel knows how much room there is; later ones are short of their size."""
    ifindex = world.source.device(b"eth1").ifindex
    for high in range(8):
        each = [address(ifindex, f"10.{high}.{low}.1/24") for low in range(200)]
        quiet = [flagged(message, uapi.NLM_F_REQUEST | uapi.NLM_F_CREATE) for message in each[:-1]]
        world.source.must(b"".join([*quiet, each[-1]]))
    with Raw(world.source.fd) as raw:
        raw.send(requests.dump(uapi.RTM_GETADDR, uapi.AF_INET))
        sizes: list[int] = []
        while isinstance(data := raw.datagram(room), bytes):
            sizes.append(-(-len(data) // 1024))
    return {"first-up-to-8": sizes[0] <= 8, "largest": max(sizes)}


@probe("dumps.datagram.cut", ABI, "A dump that is read into too little room loses what is cut off, and says MSG_TRUNC.",
       source="net/netlink/af_netlink.c, netlink_recvmsg")  # fmt: skip
def datagram_cut(world: World) -> Value:
    with Raw(world.source.fd) as raw:
        raw.send(requests.dump(uapi.RTM_GETLINK))
        data, _, flags, _ = raw.socket.recvmsg(64)
        return {"read": len(data), "truncated": bool(flags & 0x20), "done-follows": bool(raw.messages())}


# ---- other namespaces by id ----


def target_id(nsid: int) -> bytes:
    return wire.attr(IFLA_TARGET_NETNSID, wire.S32.pack(nsid))


def with_target(world: World) -> None:
    world.source.device(b"here")
    device = world.target.device(b"there")
    world.target.must(address(device.ifindex, "10.0.0.7/24"))
    world.target.must(address(device.ifindex, "2001:db8::7/64", flags=NODAD))
    world.source.must(new_nsid(world.target.fd, 7))


@probe("dumps.nsid.links", ABI, "IFLA_TARGET_NETNSID in a dump of devices: those of the other namespace.",
       source=RTNL_NSID)  # fmt: skip
def nsid_links(world: World) -> Value:
    with_target(world)
    told = ask(world, link_dump(target_id(7)), STRICT)
    has_id = [IFLA_TARGET_NETNSID in wire.attrs(m.body, wire.IFINFOMSG.size) for m in told if m.type == 16]
    filtered = any(m.flags & FILTERED for m in told)
    return {"there": "there" in names(told), "here": "here" in names(told), "id-in-each": all(has_id), "flag": filtered}


@probe("dumps.nsid.get", ABI, "IFLA_TARGET_NETNSID in a look-up by name.", source=RTNL_NSID)
def nsid_get(world: World) -> Value:
    with_target(world)
    return [looked_up(world, get(named(name) + target_id(7))) for name in (b"there", b"here")]


@probe("dumps.nsid.addresses-{}", ABI, "IFA_TARGET_NETNSID in a dump of addresses, lax and strict: {}.",
       source="net/ipv4/devinet.c, inet_valid_dump_ifaddr_req",
       cases={"ipv4": (uapi.AF_INET,), "ipv6": (uapi.AF_INET6,)})  # fmt: skip
def nsid_addresses(world: World, family: int) -> Value:
    with_target(world)
    body = requests.IFADDRMSG.pack(family, 0, 0, 0, 0) + wire.attr(IFA_TARGET_NETNSID, wire.S32.pack(7))
    message = wire.message(uapi.RTM_GETADDR, uapi.NLM_F_DUMP, body)
    return {"lax": addresses(ask(world, message)), "strict": addresses(ask(world, message, STRICT))}


@probe("dumps.nsid.unknown", ABI, "An id that was never given: of a look-up, and of a dump.", source=RTNL_NSID)
def nsid_unknown(world: World) -> Value:
    return [looked_up(world, get(target_id(9), ifindex=1)), refusal(ask(world, link_dump(target_id(9)), STRICT))]


@probe("dumps.nsid.negative", ABI, "The id -1, which means none.", source=RTNL_NSID)
def nsid_negative(world: World) -> Value:
    return [looked_up(world, get(target_id(-1), ifindex=1)), refusal(ask(world, link_dump(target_id(-1)), STRICT))]


@probe("dumps.nsid.dies-in-the-middle", ABI, "The other namespace dies in the middle of a dump of it.",
       source="net/core/rtnetlink.c, rtnl_dump_ifinfo (put_net)")  # fmt: skip
def nsid_dies(world: World) -> Value:
    dying = world.namespace("dying")
    many(dying)
    world.source.must(new_nsid(dying.fd, 7))
    with Raw(world.source.fd, STRICT) as raw:
        raw.send(link_dump(target_id(7)))
        raw.socket.recv(8192)
        listener = world.source.listener(28)  # RTNLGRP_NSID
        world.namespaces.pop("dying").close()
        listener.until(lambda m: m.type == requests.RTM_DELNSID)
        listener.raw.close()
        told = raw.messages()
        return {"error": refusal(told), "all": "d4" in names(told)}


@probe("dumps.socket-outlives-setns", SPEC, "A dump is of the namespace in which its socket was made.",
       source="net/netlink/af_netlink.c, netlink_create")  # fmt: skip
def socket_stays(world: World) -> Value:
    world.source.device(b"here")
    with Raw(world.source.fd) as raw, world.target.entered():
        raw.send(requests.dump(uapi.RTM_GETLINK))
        found = names(raw.messages())
    return "here" in found
