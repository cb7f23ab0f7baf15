"""Look-ups of one device, other namespaces by id, the contents of an answer, and its size."""

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
    """The name of the device that is found, or the error."""
    answers = ask(world, message, *options)
    return (names(answers) or [refusal(answers)])[0]


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
KEY_TEXTS = {
    "ifindex": "finds a device by ifi_index",
    "name": "finds a device by IFLA_IFNAME",
    "altname-as-name": "finds a device by an alternative name in IFLA_IFNAME",
    "altname": "finds a device by IFLA_ALT_IFNAME",
    "name-as-altname": "finds a device by its name in IFLA_ALT_IFNAME",
    "ifindex-and-other-name": "with an ifi_index ignores IFLA_IFNAME",
    "nothing": "without ifi_index and name is refused with EINVAL",
    "unknown-ifindex": "fails with ENODEV for an ifi_index that no device has",
    "unknown-name": "fails with ENODEV for a name that no device has",
    "negative-ifindex": "is refused with EINVAL for a negative ifi_index",
}


@probe("dumps.get.{}", ABI, "RTM_GETLINK {}.", source=GET,
       cases={name: (key,) for name, key in KEYS.items()}, texts=KEY_TEXTS, kinds={"ifindex": SPEC})  # fmt: skip
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


@probe("dumps.get-strict.{}", ABI, "RTM_GETLINK with strict checking {}.",
       source="net/core/rtnetlink.c, rtnl_valid_getlink_req",
       cases={name: (build,) for name, build in STRICT_GETS.items()},
       texts={"flags": "is refused with EINVAL for ifi_flags",
              "change": "is refused with EINVAL for ifi_change",
              "other-attribute": "is refused with EINVAL for IFLA_MTU",
              "ext-mask": "accepts IFLA_EXT_MASK"})  # fmt: skip
def get_strict(world: World, build: Callable[[int], bytes]) -> Value:
    message = build(world.source.device(b"eth1").ifindex)
    return {"lax": looked_up(world, message), "strict": looked_up(world, message, STRICT)}


@probe("dumps.get.with-ack", ABI, "RTM_GETLINK with NLM_F_ACK is answered with RTM_NEWLINK, then an ack.", source=GET)
def get_ack(world: World) -> Value:
    device = world.source.device(b"eth1")
    answers = ask(world, flagged(get(ifindex=device.ifindex), uapi.NLM_F_REQUEST | uapi.NLM_F_ACK))
    return [m.type for m in answers]


# ---- the contents of an answer ----


@probe("dumps.ext-mask.skip-stats", VARIES, "The statistics that RTEXT_FILTER_SKIP_STATS leaves out of RTM_NEWLINK.",
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


@probe("dumps.ext-mask.bridge-vlan", ABI,
       "RTEXT_FILTER_BRVLAN adds VLANs, and the bridge itself, to a dump of AF_BRIDGE.",
       source="net/bridge/br_netlink.c, br_getlink")  # fmt: skip
def bridge_vlan(world: World) -> Value:
    bridge = world.source.make(b"bridge", b"br0")
    kind = wire.attr(uapi.IFLA_INFO_KIND, b"bridge")
    data = wire.nested(uapi.IFLA_INFO_DATA, wire.attr(IFLA_BR_VLAN_FILTERING, b"\1"))
    filtering = wire.nested(uapi.IFLA_LINKINFO, kind + data)
    if world.source.request(requests.set_link(bridge.ifindex, filtering)).error == "EOPNOTSUPP":
        raise NotAvailable("bridges without VLANs in this kernel")
    port = world.source.make(b"veth", b"eth1")
    world.source.must(requests.set_link(port.ifindex, wire.attr_u32(uapi.IFLA_MASTER, bridge.ifindex)))
    found: dict[str, Value] = {}
    for text, mask in (("plain", 0), ("brvlan", BRVLAN)):
        attrs = wire.attr_u32(uapi.IFLA_EXT_MASK, mask)
        links = [m for m in ask(world, link_dump(attrs, family=uapi.AF_BRIDGE)) if m.type == uapi.RTM_NEWLINK]
        has = [uapi.IFLA_AF_SPEC in wire.attrs(m.body, wire.IFINFOMSG.size) for m in links]
        found[text] = {"devices": len(links), "with-vlans": sum(has)}
    return found


@probe("dumps.datagram.look-ups", SPEC, "A receive buffer of 208 KiB holds 64 unread answers to RTM_GETLINK.",
       source="net/core/rtnetlink.c, if_nlmsg_size")  # fmt: skip
def look_ups(world: World) -> Value:
    device = world.source.device(b"eth1")
    message = get(wire.attr_u32(uapi.IFLA_EXT_MASK, SKIP_STATS), ifindex=device.ifindex)
    with Raw(world.source.fd, room=208 * 1024 // 2) as raw:  # the kernel doubles it
        raw.send(*[message] * 64)
        return len(raw.messages())


@probe("dumps.datagram.room-{}", ABI, "Read with room for {}, after a first one of 8 KiB at most.",
       source="net/netlink/af_netlink.c, netlink_dump and netlink_recvmsg",
       cases={"8": (8 << 10,), "32": (32 << 10,), "128": (128 << 10,)},
       texts={"8": "8 KiB, a dump's datagrams have up to 8 KiB", "32": "32 KiB, a dump's datagrams have up to 32 KiB",
              "128": "128 KiB, a dump's datagrams have up to 32 KiB"})  # fmt: skip
def datagram_room(world: World, room: int) -> Value:
    """The kernel makes the first datagram before it knows the room; the size of later ones is rounded up to KiB."""
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


@probe("dumps.datagram.cut", ABI,
       "A dump read into a short buffer is truncated (MSG_TRUNC), and loses what was cut off.",
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


@probe("dumps.nsid.links", ABI,
       "IFLA_TARGET_NETNSID in a dump of devices selects that namespace, and is in each answer.",
       source=RTNL_NSID)  # fmt: skip
def nsid_links(world: World) -> Value:
    with_target(world)
    answers = ask(world, link_dump(target_id(7)), STRICT)
    has_id = [IFLA_TARGET_NETNSID in wire.attrs(m.body, wire.IFINFOMSG.size) for m in answers if m.type == 16]
    filtered = any(m.flags & FILTERED for m in answers)
    found = names(answers)
    return {"there": "there" in found, "here": "here" in found, "id-in-each": all(has_id), "flag": filtered}


@probe(
    "dumps.nsid.get", ABI, "IFLA_TARGET_NETNSID in a look-up by name searches that namespace only.", source=RTNL_NSID
)
def nsid_get(world: World) -> Value:
    with_target(world)
    return [looked_up(world, get(named(name) + target_id(7))) for name in (b"there", b"here")]


@probe("dumps.nsid.addresses-{}", ABI,
       "IFA_TARGET_NETNSID in a dump of addresses selects that namespace with strict checking only: {}.",
       source="net/ipv4/devinet.c, inet_valid_dump_ifaddr_req",
       cases={"ipv4": (uapi.AF_INET,), "ipv6": (uapi.AF_INET6,)}, texts={"ipv4": "IPv4", "ipv6": "IPv6"})  # fmt: skip
def nsid_addresses(world: World, family: int) -> Value:
    with_target(world)
    body = requests.IFADDRMSG.pack(family, 0, 0, 0, 0) + wire.attr(IFA_TARGET_NETNSID, wire.S32.pack(7))
    message = wire.message(uapi.RTM_GETADDR, uapi.NLM_F_DUMP, body)
    return {"lax": addresses(ask(world, message)), "strict": addresses(ask(world, message, STRICT))}


@probe(
    "dumps.nsid.unknown",
    ABI,
    "An IFLA_TARGET_NETNSID that names no namespace is refused with EINVAL, in a look-up and in a dump.",
    source=RTNL_NSID,
)
def nsid_unknown(world: World) -> Value:
    return [looked_up(world, get(target_id(9), ifindex=1)), refusal(ask(world, link_dump(target_id(9)), STRICT))]


@probe(
    "dumps.nsid.negative",
    ABI,
    "IFLA_TARGET_NETNSID -1 is refused with EINVAL, in a look-up and in a dump.",
    source=RTNL_NSID,
)
def nsid_negative(world: World) -> Value:
    return [looked_up(world, get(target_id(-1), ifindex=1)), refusal(ask(world, link_dump(target_id(-1)), STRICT))]


@probe("dumps.nsid.dies-in-the-middle", ABI, "A dump of another namespace ends with EINVAL if that dies meanwhile.",
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
        answers = raw.messages()
        return {"error": refusal(answers), "all": "d4" in names(answers)}


@probe("dumps.socket-outlives-setns", SPEC, "A dump lists the namespace in which its socket was made.",
       source="net/netlink/af_netlink.c, netlink_create")  # fmt: skip
def socket_stays(world: World) -> Value:
    world.source.device(b"here")
    with Raw(world.source.fd) as raw, world.target.entered():
        raw.send(requests.dump(uapi.RTM_GETLINK))
        found = names(raw.messages())
    return "here" in found
