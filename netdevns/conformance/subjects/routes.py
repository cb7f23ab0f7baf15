"""Routes, rules and nexthop objects: what a move deletes in the source."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from struct import Struct

from ...netlink import uapi, wire
from .. import requests
from ..probe import ABI, SPEC, VARIES, NotAvailable, Value, probe
from ..requests import CREATE, RTMSG, ns_fd, packed, set_link
from ..world import Device, Namespace, World, need_ipv6

DISABLE4 = "net/ipv4/fib_frontend.c, fib_disable_ip"
DOWN4 = "net/ipv4/fib_semantics.c, fib_sync_down_dev and fib_sync_down_addr"
DOWN6 = "net/ipv6/route.c, rt6_disable_ip and fib6_ifdown"
NEXTHOP = "net/ipv4/nexthop.c, nexthop_flush_dev"
RULES = "net/core/fib_rules.c, fib_rules_event"

AF_UNSPEC = 0
RTNEXTHOP = Struct("=HBBi")  # struct rtnexthop: length, flags, hops, ifindex
RULE = Struct("=BBBBBBBBI")  # struct fib_rule_hdr: family, two lengths, tos, table, two reserved, action, flags
NHMSG = Struct("=BBBBI")  # struct nhmsg: family, scope, protocol, reserved, flags
NEXTHOP_GRP = Struct("=IBBH")  # struct nexthop_grp: id, weight
RTM_NEWRULE, RTM_GETRULE, RTM_DELNEXTHOP = 32, 34, 105
FRA_IIFNAME, FRA_PRIORITY, FRA_OIFNAME = 3, 6, 17
FR_ACT_TO_TBL = 1
DETACHED = {FRA_IIFNAME: 0x8, FRA_OIFNAME: 0x10}  # FIB_RULE_IIF_DETACHED, FIB_RULE_OIF_DETACHED
RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_NEXTHOP = 7, 11, 32
TABLES = {uapi.RT_TABLE_MAIN: "main", 255: "local"}
TYPES = ("unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit")
BLACKHOLE = 6
NEXTHOP_FLAGS = ("dead", "pervasive", "onlink", "offload", "linkdown")  # bit 0 and on: RTNH_F_*
DEAD, LINKDOWN = 1, 16
STATIC = 4  # RTPROT_STATIC


# ---- reading ----


def _nexthop(family: int, names: dict[int, str], attrs: dict[int, memoryview], ifindex: int | None) -> list[str]:
    words = []
    if uapi.RTA_GATEWAY in attrs:
        words += ["via", socket.inet_ntop(family, bytes(attrs[uapi.RTA_GATEWAY]))]
    return words + (["dev", names.get(ifindex, "?")] if ifindex else [])


def _flags(bits: int) -> list[str]:
    return [name for bit, name in enumerate(NEXTHOP_FLAGS) if bits >> bit & 1]


def _nexthops(family: int, names: dict[int, str], data: memoryview) -> list[str]:
    words, at = [], 0
    while at < len(data):
        length, flags, _, ifindex = RTNEXTHOP.unpack_from(data, at)
        held = wire.attrs(data[at : at + length], RTNEXTHOP.size)
        words += ["nexthop", *_nexthop(family, names, held, ifindex), *_flags(flags)]
        at += (length + 3) & ~3
    return words


def text(message: wire.Message, names: dict[int, str]) -> str:
    """A route as `ip route` shows it, without unicast, the main table, scope and protocol."""
    family, dst_len, _, _, short, _, _, type_, flags = RTMSG.unpack_from(message.body)
    attrs = wire.attrs(message.body, RTMSG.size)
    words = [TYPES[type_]] if type_ != uapi.RTN_UNICAST else []
    dst = attrs.get(uapi.RTA_DST)
    words.append(f"{socket.inet_ntop(family, bytes(dst))}/{dst_len}" if dst is not None else "default")
    words += _nexthop(family, names, attrs, wire.u32(attrs.get(uapi.RTA_OIF)))
    if uapi.RTA_PREFSRC in attrs:
        words += ["src", socket.inet_ntop(family, bytes(attrs[uapi.RTA_PREFSRC]))]
    table = wire.u32(attrs.get(uapi.RTA_TABLE)) or short
    words += ["table", TABLES.get(table, str(table))] if table != uapi.RT_TABLE_MAIN else []
    for name, number in (("metric", uapi.RTA_PRIORITY), ("nhid", uapi.RTA_NH_ID)):
        words += [name, str(wire.u32(attrs[number]))] if number in attrs else []
    return " ".join(words + _flags(flags) + _nexthops(family, names, attrs.get(uapi.RTA_MULTIPATH, memoryview(b""))))


def routes(namespace: Namespace, family: int = 0, *, local: bool = False) -> list[str]:
    """All routes, sorted; the table local only where asked for."""
    names = {link.ifindex: link.name.decode() for link in namespace.links()}
    found = [m for m in namespace.dump(uapi.RTM_GETROUTE, family) if m.type == uapi.RTM_NEWROUTE]
    texts = sorted(text(m, names) for m in found)
    return texts if local else [each for each in texts if " table local" not in each]


# ---- requests ----


def route(
    dst: str,
    *,
    dev: int = 0,
    via: str | None = None,
    attrs: bytes = b"",
    type_: int = uapi.RTN_UNICAST,
    table: int = uapi.RT_TABLE_MAIN,
    flags: int = 0,
) -> bytes:
    """Adds a route; `flags` are rtm_flags. Unlike requests.route it may have no device."""
    plain, _, prefixlen = dst.partition("/")
    family, data = packed(plain)
    scope = uapi.RT_SCOPE_LINK if family == uapi.AF_INET and dev and not via else 0
    body = RTMSG.pack(family, int(prefixlen), 0, 0, table, STATIC, scope, type_, flags) + wire.attr(uapi.RTA_DST, data)
    body += wire.attr_u32(uapi.RTA_OIF, dev) if dev else b""
    body += wire.attr(uapi.RTA_GATEWAY, packed(via)[1]) if via else b""
    return wire.message(uapi.RTM_NEWROUTE, CREATE, body + attrs)


def source_address(address_: str) -> bytes:
    return wire.attr(uapi.RTA_PREFSRC, packed(address_)[1])


def multipath(*nexthops_: tuple[int, str], flags: int = 0) -> bytes:
    """RTA_MULTIPATH of (ifindex, gateway). Raises NotAvailable where the kernel has none for IPv4."""
    if not os.path.exists("/proc/sys/net/ipv4/fib_multipath_use_neigh"):
        raise NotAvailable("no CONFIG_IP_ROUTE_MULTIPATH in this kernel")
    data = b""
    for ifindex, via in nexthops_:
        held = wire.attr(uapi.RTA_GATEWAY, packed(via)[1])
        data += RTNEXTHOP.pack(RTNEXTHOP.size + len(held), flags, 0, ifindex) + held
    return wire.attr(uapi.RTA_MULTIPATH, data)


def nexthop(id_: int, family: int, attrs: bytes) -> bytes:
    """A nexthop object."""
    body = NHMSG.pack(family, 0, STATIC, 0, 0) + wire.attr_u32(uapi.NHA_ID, id_) + attrs
    return wire.message(uapi.RTM_NEWNEXTHOP, CREATE, body)


def nexthop_over(id_: int, device: Device, via: str) -> bytes:
    family, data = packed(via)
    return nexthop(id_, family, wire.attr_u32(uapi.NHA_OIF, device.ifindex) + wire.attr(uapi.NHA_GATEWAY, data))


def nexthop_group(id_: int, *members: int) -> bytes:
    data = b"".join(NEXTHOP_GRP.pack(each, 0, 0, 0) for each in members)
    return nexthop(id_, AF_UNSPEC, wire.attr(uapi.NHA_GROUP, data))


def nexthops(namespace: Namespace) -> dict[str, list[int]]:
    """Ids of the nexthop objects, each with its group's members."""
    found = {}
    for message in namespace.dump(uapi.RTM_GETNEXTHOP, 0, NHMSG.pack(0, 0, 0, 0, 0)):
        attrs = wire.attrs(message.body, NHMSG.size)
        group = [member[0] for member in NEXTHOP_GRP.iter_unpack(attrs.get(uapi.NHA_GROUP, b""))]
        found[str(wire.u32(attrs[uapi.NHA_ID]))] = group
    return found


def by_object(id_: int) -> bytes:
    return wire.attr_u32(uapi.RTA_NH_ID, id_)


# ---- across a move ----


def pair(world: World, *families: int) -> tuple[Device, Device]:
    """eth1 and eth2, up, with 10.N.0.1/24 and 2001:db8:N::1/64 where N is 1 or 2.

    With IFA_F_NODAD: otherwise an IPv6 address is tentative until the kernel's worker has handled it, a race.
    """
    devices = []
    if uapi.AF_INET6 in families:
        need_ipv6()
    for number in (1, 2):
        device = world.source.device(b"eth%d" % number)
        world.source.must(set_link(device.ifindex, up=True))
        for family in families:
            given = f"10.{number}.0.1/24" if family == uapi.AF_INET else f"2001:db8:{number}::1/64"
            world.source.must(requests.address(device.ifindex, given, flags=uapi.IFA_F_NODAD))
        devices.append(device)
    return devices[0], devices[1]


Make = Callable[[Device, Device], Sequence[bytes]]  # eth1, which moves, and eth2, which stays
LOST: dict[str, tuple[str, int, Make]] = {
    "ipv4-own": (
        "A move deletes the device's own IPv4 routes, in every table",
        uapi.AF_INET,
        lambda one, _: [
            route("0.0.0.0/0", via="10.1.0.2"),
            route("10.9.0.0/16", dev=one.ifindex),
            route("10.9.0.0/16", dev=one.ifindex, table=100),
        ],
    ),
    "ipv4-src": (
        "A move deletes another device's IPv4 route whose src leaves with the device",
        uapi.AF_INET,
        lambda _, two: [route("10.9.0.0/16", dev=two.ifindex, attrs=source_address("10.1.0.1"))],
    ),
    "ipv4-src-table": (
        "A move keeps another device's IPv4 route in another table, although its src leaves",
        uapi.AF_INET,
        lambda _, two: [route("10.9.0.0/16", dev=two.ifindex, attrs=source_address("10.1.0.1"), table=100)],
    ),
    "ipv4-blackhole-src": (
        "The IPv4 routes that a move deletes, one of them a blackhole whose src leaves",
        uapi.AF_INET,
        lambda _, __: [route("10.9.0.0/16", type_=BLACKHOLE, attrs=source_address("10.1.0.1"))],
    ),
    "ipv4-multipath": (
        "A move deletes an IPv4 multipath route that loses one of two nexthops",
        uapi.AF_INET,
        lambda one, two: [route("10.9.0.0/16", attrs=multipath((one.ifindex, "10.1.0.2"), (two.ifindex, "10.2.0.2")))],
    ),
    "ipv4-nexthop": (
        "A move deletes an IPv4 route by a nexthop object of the device",
        uapi.AF_INET,
        lambda one, _: [nexthop_over(7, one, "10.1.0.2"), route("10.9.0.0/16", attrs=by_object(7))],
    ),
    "ipv4-nexthop-group": (
        "A move keeps an IPv4 route by a nexthop group, with the group's other member",
        uapi.AF_INET,
        lambda one, two: [
            nexthop_over(7, one, "10.1.0.2"),
            nexthop_over(8, two, "10.2.0.2"),
            nexthop_group(9, 7, 8),
            route("10.9.0.0/16", attrs=by_object(9)),
        ],
    ),
    "ipv6-own": (
        "A move deletes the device's own IPv6 routes, in every table",
        uapi.AF_INET6,
        lambda one, _: [
            route("::/0", via="2001:db8:1::2", dev=one.ifindex),
            route("2001:db8:9::/48", dev=one.ifindex),
            route("2001:db8:9::/48", dev=one.ifindex, table=100),
        ],
    ),
    "ipv6-src": (
        "A move keeps another device's IPv6 route, although its src leaves",
        uapi.AF_INET6,
        lambda _, two: [route("2001:db8:9::/48", dev=two.ifindex, attrs=source_address("2001:db8:1::1"))],
    ),
    "ipv6-multipath": (
        "A move keeps an IPv6 multipath route, with its other nexthop",
        uapi.AF_INET6,
        lambda one, two: [
            route("2001:db8:9::/48", attrs=multipath((one.ifindex, "2001:db8:1::2"), (two.ifindex, "2001:db8:2::2"))),
        ],
    ),
    "ipv6-nexthop-group": (
        "A move keeps an IPv6 route by a nexthop group, with the group's other member",
        uapi.AF_INET6,
        lambda one, two: [
            nexthop_over(7, one, "2001:db8:1::2"),
            nexthop_over(8, two, "2001:db8:2::2"),
            nexthop_group(9, 7, 8),
            route("2001:db8:9::/48", attrs=by_object(9)),
        ],
    ),
}
ANNOUNCED = {
    "ipv4-own": "RTM_DELROUTE is not sent for IPv4 routes of a device that leaves",
    "ipv4-src": "RTM_DELROUTE for another device's IPv4 route whose src leaves",
    "ipv4-multipath": "RTM_DELROUTE is not sent for an IPv4 multipath route that loses a nexthop",
    "ipv4-nexthop": "RTM_DELROUTE is not sent for an IPv4 route by a nexthop object that leaves",
    "ipv6-own": "RTM_DELROUTE is sent for IPv6 routes of a device that leaves",
    "ipv6-multipath": "RTM_DELROUTE is sent for the nexthop that an IPv6 multipath route loses",
    "ipv6-nexthop-group": "RTM_DELROUTE is not sent for an IPv6 route by a nexthop group that loses a member",
}


def moved(world: World, family: int, make: Make) -> tuple[list[str], list[str], list[str]]:
    """Routes of the source before and after the move, and those of RTM_DELROUTE."""
    one, two = pair(world, family)
    for message in make(one, two):
        world.source.must(message)
    before = routes(world.source, family)
    listener = world.source.listener(RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE)
    world.source.must(set_link(one.ifindex, ns_fd(world.target.fd)))
    names = {one.ifindex: "eth1", two.ifindex: "eth2"}
    deleted = [text(m, names) for m in listener.read() if m.type == uapi.RTM_DELROUTE]
    return before, routes(world.source, family), sorted(each for each in deleted if " table local" not in each)


@probe(
    "routes.move.{}",
    SPEC,
    "{}.",
    source=f"{DISABLE4}; {DOWN4}; {DOWN6}",
    cases={name: case[1:] for name, case in LOST.items()},
    texts={name: words for name, (words, _, _) in LOST.items()},
    kinds={"ipv4-blackhole-src": VARIES},
)
def lost(world: World, family: int, make: Make) -> Value:
    before, after, _ = moved(world, family, make)
    return {"gone": [r for r in before if r not in after], "now": [r for r in after if r not in before]}


@probe(
    "routes.told.{}",
    ABI,
    "{}.",
    source="net/ipv4/fib_trie.c, fib_table_flush; net/ipv6/ip6_fib.c, fib6_del_route",
    cases={name: LOST[name][1:] for name in ANNOUNCED},
    texts=ANNOUNCED,
    kinds={"ipv4-src": VARIES},
)
def lost_announced(world: World, family: int, make: Make) -> Value:
    return moved(world, family, make)[2]


@probe("routes.move.target", ABI, "A device arrives in the target without routes.", source=DISABLE4)
def arrived(world: World) -> Value:
    one, _ = pair(world, uapi.AF_INET, uapi.AF_INET6)
    world.source.must(route("10.9.0.0/16", dev=one.ifindex))
    world.source.must(set_link(one.ifindex, ns_fd(world.target.fd), up=True))
    return [r for r in routes(world.target, local=True) if not r.startswith("multicast ")]


# ---- nexthop objects and rules ----


def with_nexthops(world: World) -> Device:
    """eth1 with the nexthop object 7; 9 is the group of 7 and of eth2's 8, 10 the group of 7 alone."""
    one, two = pair(world, uapi.AF_INET)
    for message in (
        nexthop_over(7, one, "10.1.0.2"),
        nexthop_over(8, two, "10.2.0.2"),
        nexthop_group(9, 7, 8),
        nexthop_group(10, 7),
    ):
        world.source.must(message)
    return one


@probe("routes.nexthop.moved", SPEC,
       "A move deletes the device's nexthop objects, and groups of these only; other groups lose a member.",
       source=NEXTHOP)  # fmt: skip
def nexthop_moved(world: World) -> Value:
    one = with_nexthops(world)
    world.source.must(set_link(one.ifindex, ns_fd(world.target.fd)))
    return {"source": nexthops(world.source), "target": nexthops(world.target)}


@probe("routes.nexthop.told", ABI, "The nexthop objects of a device that leaves are deleted without a notification.",
       source=NEXTHOP)  # fmt: skip
def nexthop_announced(world: World) -> Value:
    one = with_nexthops(world)
    listener = world.source.listener(RTNLGRP_NEXTHOP)
    world.source.must(set_link(one.ifindex, ns_fd(world.target.fd)))
    names = {uapi.RTM_NEWNEXTHOP: "new", RTM_DELNEXTHOP: "del"}
    found = [(m.type, wire.attrs(m.body, NHMSG.size)) for m in listener.read()]
    return [f"{names[type_]} {wire.u32(attrs[uapi.NHA_ID])}" for type_, attrs in found]


@probe("routes.nexthop.down", ABI, "Setting a device down deletes its nexthop objects.", source=NEXTHOP)
def nexthop_down(world: World) -> Value:
    one = with_nexthops(world)
    world.source.must(set_link(one.ifindex, up=False))
    return nexthops(world.source)


def rule(family: int, type_: int, name: bytes) -> bytes:
    """A rule that looks up table 100 for a device's name."""
    body = RULE.pack(family, 0, 0, 0, 100, 0, 0, FR_ACT_TO_TBL, 0)
    body += wire.attr_name(type_, name) + wire.attr_u32(FRA_PRIORITY, 1000)
    return wire.message(RTM_NEWRULE, CREATE, body)


def rules(namespace: Namespace, family: int, type_: int) -> list[str]:
    """Names of devices in rules, and whether a rule is detached."""
    found = []
    for message in namespace.dump(RTM_GETRULE, family, bytes([family]) + bytes(RULE.size - 1)):
        attrs, flags = wire.attrs(message.body, RULE.size), RULE.unpack_from(message.body)[-1]
        if type_ in attrs:
            found.append(wire.text(attrs[type_]).decode() + (" detached" if flags & DETACHED[type_] else ""))
    return found


@probe(
    "routes.rule.{}",
    ABI,
    "A rule with a device's name outlives the move, detached, and applies to the next device of that name: {}.",
    source=RULES,
    cases={
        "ipv4-iif": (uapi.AF_INET, FRA_IIFNAME),
        "ipv4-oif": (uapi.AF_INET, FRA_OIFNAME),
        "ipv6-iif": (uapi.AF_INET6, FRA_IIFNAME),
        "ipv6-oif": (uapi.AF_INET6, FRA_OIFNAME),
    },
    texts={f"ipv{number}-{key}": f"IPv{number}, {key}" for number in "46" for key in ("iif", "oif")},
)
def rule_outlives(world: World, family: int, type_: int) -> Value:
    device = world.source.device(b"eth1")
    if family == uapi.AF_INET6:
        need_ipv6()
    reply = world.source.request(rule(family, type_, b"eth1"))
    if reply.error == "EOPNOTSUPP":
        raise NotAvailable("no rules (CONFIG_IP_MULTIPLE_TABLES) in this kernel")
    before = rules(world.source, family, type_)
    world.source.must(set_link(device.ifindex, ns_fd(world.target.fd)))
    moved_ = rules(world.source, family, type_)
    world.source.device(b"eth1")
    after, there = rules(world.source, family, type_), rules(world.target, family, type_)
    return {"before": before, "moved": moved_, "another": after, "target": there}
