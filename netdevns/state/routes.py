"""Routes and nexthop objects of the source: which devices carry a default route, and what to put back after an undo.

IPv4 routes and nexthop objects vanish untold when a device leaves, and IPv4 routes of other devices by a `src` (told on
later kernels) or by one leg (probes notify.route.ipv4, notify.nexthop, notify.route.source-address,
notify.route.multipath-leg). All are dumped before, and compared after an undo. Layouts: linux/rtnetlink.h, nexthop.h.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from struct import Struct

from ..netlink import uapi, wire
from ..netlink.ifaddr import address_text

RTMSG = Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
RTNEXTHOP = Struct("=HBBi")  # rtnh_len, rtnh_flags, rtnh_hops, rtnh_ifindex
U16 = Struct("=H")
NHMSG = Struct("=BBBxI")  # nh_family, nh_scope, nh_protocol, nh_flags

# What RTM_NEWROUTE and RTM_NEWNEXTHOP take and what makes a route itself. A dump carries more (RTA_CACHEINFO,
# counters); sent back it would be refused, ignored, or mean something else (probe routes.replay.ipv4-cacheinfo).
_ROUTE_ATTRS = (
    uapi.RTA_DST, uapi.RTA_SRC, uapi.RTA_IIF, uapi.RTA_OIF, uapi.RTA_GATEWAY, uapi.RTA_PRIORITY, uapi.RTA_PREFSRC,
    uapi.RTA_METRICS, uapi.RTA_MULTIPATH, uapi.RTA_FLOW, uapi.RTA_TABLE, uapi.RTA_VIA, uapi.RTA_PREF,
    uapi.RTA_ENCAP_TYPE, uapi.RTA_ENCAP, uapi.RTA_TTL_PROPAGATE, uapi.RTA_NH_ID,
)  # fmt: skip
_NEXTHOP_ATTRS = (
    uapi.NHA_ID, uapi.NHA_GROUP, uapi.NHA_GROUP_TYPE, uapi.NHA_BLACKHOLE, uapi.NHA_OIF, uapi.NHA_GATEWAY,
    uapi.NHA_ENCAP_TYPE, uapi.NHA_ENCAP, uapi.NHA_FDB, uapi.NHA_RES_GROUP,
)  # fmt: skip
# The kernel makes these with the addresses, and not before DAD is done: they are not ours to put back.
_MADE_WITH_ADDRESSES = (uapi.RTN_LOCAL, uapi.RTN_BROADCAST, uapi.RTN_ANYCAST, uapi.RTN_MULTICAST)

DUMP_ROUTES = wire.message(uapi.RTM_GETROUTE, uapi.NLM_F_DUMP, RTMSG.pack(*[0] * 9))
DUMP_NEXTHOPS = wire.message(uapi.RTM_GETNEXTHOP, uapi.NLM_F_DUMP, NHMSG.pack(*[0] * 4))


def dumped(dump: bytes, type_: int, header: Struct) -> Iterator[memoryview]:
    for message in wire.messages(dump):
        if message.type == type_ and len(message.body) >= header.size:
            yield message.body


def _legs(multipath: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(ifindex, struct rtnexthop with its attributes) of each leg."""
    at = 0
    while len(multipath) - at >= RTNEXTHOP.size:
        length, _, _, ifindex = RTNEXTHOP.unpack_from(multipath, at)
        if not RTNEXTHOP.size <= length <= len(multipath) - at:
            raise wire.Malformed(f"a nexthop of {length} bytes")
        yield ifindex, multipath[at : at + length]
        at += (length + 3) & ~3


def devices_of(found: dict[int, memoryview], by_nexthop: dict[int, set[int]]) -> set[int]:
    """The ifindexes that a route leaves by."""
    devices = {ifindex for ifindex, _ in _legs(found.get(uapi.RTA_MULTIPATH, memoryview(b"")))}
    oif, nexthop = wire.u32(found.get(uapi.RTA_OIF)), wire.u32(found.get(uapi.RTA_NH_ID))
    if oif is not None:
        devices.add(oif)
    if nexthop is not None:
        devices |= by_nexthop.get(nexthop, set())
    return devices


def nexthop_devices(nexthops: bytes) -> dict[int, set[int]]:
    by_id: dict[int, set[int]] = {}
    groups: dict[int, list[int]] = {}
    for body in dumped(nexthops, uapi.RTM_NEWNEXTHOP, NHMSG):
        found = wire.attrs(body, NHMSG.size)
        id_, oif = wire.u32(found.get(uapi.NHA_ID)), wire.u32(found.get(uapi.NHA_OIF))
        if id_ is not None:
            by_id[id_] = set() if oif is None else {oif}
            members = found.get(uapi.NHA_GROUP, memoryview(b""))  # struct nexthop_grp: 8 bytes, the id first
            groups[id_] = [wire.U32.unpack_from(members, at)[0] for at in range(0, len(members) - 7, 8)]
    for id_, ids in groups.items():
        by_id[id_].update(*(by_id.get(member, set()) for member in ids))
    return by_id


class Portable:
    """A route of devices that leave, or a nexthop object of theirs.

    Attributes:
        ifindex: The first of these devices, as it was dumped.
        body: As `missing_routes` has them, with the ifindexes as they were dumped; b"": it makes no sense elsewhere.
        text: In short words, for a message; with the reason where there is no body.
    """

    __slots__ = ("body", "ifindex", "text")

    def __init__(self, ifindex: int, body: bytes, text: str) -> None:
        self.ifindex = ifindex
        self.body = body
        self.text = text


def portable(routes: bytes, nexthops: bytes, leaving: Collection[int]) -> list[Portable]:
    """What could be carried along when devices leave together, in the order in which it can be added.

    Nothing that a kernel makes by itself with addresses or at a router's word. A nexthop object stays behind, since its
    id may mean something else elsewhere; a route by a simple one is told as a route with that gateway.
    """
    by_nexthop = nexthop_devices(nexthops)
    simple = _simple_nexthops(nexthops)
    found: list[Portable] = []
    for body in dumped(routes, uapi.RTM_NEWROUTE, RTMSG):
        attrs = wire.attrs(body, RTMSG.size)
        devices = devices_of(attrs, by_nexthop)
        ours = [ifindex for ifindex in devices if ifindex in leaving]
        if not ours or body[5] == uapi.RTPROT_KERNEL:
            continue
        nexthop = wire.u32(attrs.get(uapi.RTA_NH_ID))
        why = ""
        if body[5] == uapi.RTPROT_RA:
            why = "made from a router advertisement"
        elif len(ours) < len(devices):
            why = "it also leaves by a device that stays"
        elif nexthop is not None and nexthop not in simple:
            why = f"its nexthop {nexthop} is a group"
        request = _route(body, {}) if nexthop is None or why else _by_nexthop(body, simple[nexthop])
        words = text(Part.OTHERS, request)
        found.append(Portable(min(ours), b"" if why else request + _expiry(body), f"{words}: {why}" if why else words))
    found.sort(key=lambda route: needs_gateway(route.body))
    for id_, devices in by_nexthop.items():
        ours = [ifindex for ifindex in devices if ifindex in leaving]
        if ours:
            found.append(Portable(min(ours), b"", f"nexthop id {id_}"))
    return found


def _simple_nexthops(nexthops: bytes) -> dict[int, memoryview]:
    """The nexthop objects by id that are no group: the bodies of their messages."""
    simple = {}
    for body in dumped(nexthops, uapi.RTM_NEWNEXTHOP, NHMSG):
        attrs = wire.attrs(body, NHMSG.size)
        id_ = wire.u32(attrs.get(uapi.NHA_ID))
        if id_ is not None and uapi.NHA_GROUP not in attrs:
            simple[id_] = body
    return simple


def _by_nexthop(body: memoryview, nexthop: memoryview) -> bytes:
    """A route by a nexthop object as one without; what a dump tells old programs of the object is an option."""
    family, *head = RTMSG.unpack_from(body)
    nh_family, _, _, nh_flags = NHMSG.unpack_from(nexthop)
    via = wire.attrs(nexthop, NHMSG.size)
    gateway = via.get(uapi.NHA_GATEWAY)
    if gateway is not None and head[5] == uapi.RT_SCOPE_LINK:
        head[5] = uapi.RT_SCOPE_UNIVERSE  # refused beside a gateway, but not beside an object that has one
    out = _route(memoryview(RTMSG.pack(family, *head) + body[RTMSG.size :]), {})
    attrs = wire.attrs(memoryview(out), RTMSG.size)
    del attrs[uapi.RTA_NH_ID]
    attrs[uapi.RTA_OIF] = via[uapi.NHA_OIF]
    if gateway is not None and nh_family == family:
        attrs[uapi.RTA_GATEWAY] = gateway
    elif gateway is not None:
        attrs[uapi.RTA_VIA] = memoryview(U16.pack(nh_family) + bytes(gateway))
    for to, of in ((uapi.RTA_ENCAP_TYPE, uapi.NHA_ENCAP_TYPE), (uapi.RTA_ENCAP, uapi.NHA_ENCAP)):
        if of in via:
            attrs[to] = via[of]
    out = RTMSG.pack(family, *head[:7], nh_flags & uapi.RTNH_F_ONLINK)
    return out + b"".join(wire.attr(type_, value) for type_, value in attrs.items())


def by_devices(body: bytes, renumbered: Mapping[int, int]) -> bytes:
    """The same route on devices that have other ifindexes."""
    expires = wire.attrs(memoryview(body), RTMSG.size).get(uapi.RTA_EXPIRES)
    return _route(memoryview(body), renumbered) + (b"" if expires is None else wire.attr(uapi.RTA_EXPIRES, expires))


def place(body: bytes) -> tuple[object, ...]:
    """What two routes have in common that a lookup compares: family, table, prefixes, tos, metric."""
    head = RTMSG.unpack_from(body)
    found = wire.attrs(memoryview(body), RTMSG.size)
    table = wire.u32(found.get(uapi.RTA_TABLE)) or head[4]
    prefixes = (head[1], bytes(found.get(uapi.RTA_DST, b"")), head[2], bytes(found.get(uapi.RTA_SRC, b"")))
    return head[0], table, prefixes, head[3], wire.u32(found.get(uapi.RTA_PRIORITY)) or 0


def add_new(body: bytes, *, behind: bool) -> bytes:
    """The request that adds a route where none has its place, or `behind` those that do."""
    flags = uapi.NLM_F_APPEND if behind else uapi.NLM_F_EXCL
    return wire.message(uapi.RTM_NEWROUTE, uapi.NLM_F_CREATE | uapi.NLM_F_ACK | flags, body)


class Part:
    """What is put back together, in this order."""

    DIRECT, NEXTHOPS, OTHERS = range(3)


def _renumber(value: memoryview, renumbered: Mapping[int, int]) -> bytes:
    """An ifindex attribute: a device that came back under another number takes its routes along."""
    ifindex = wire.u32(value)
    return bytes(value) if ifindex is None else wire.U32.pack(renumbered.get(ifindex, ifindex))


def _multipath(value: memoryview, renumbered: Mapping[int, int]) -> bytes:
    """Without what says how the link is just now, RTNH_F_DEAD for one (probe routes.replay.ipv4-multipath-dead)."""
    legs = b""
    for _, leg in _legs(value):
        length, flags, hops, ifindex = RTNEXTHOP.unpack_from(leg)
        legs += RTNEXTHOP.pack(length, flags & uapi.RTNH_F_ONLINK, hops, renumbered.get(ifindex, ifindex))
        legs += bytes(leg[8:]) + bytes(-length & 3)
    return legs


def _route(body: memoryview, renumbered: Mapping[int, int]) -> bytes:
    """A dumped route as a request body that is equal for equal routes."""
    head = RTMSG.unpack_from(body)
    found = wire.attrs(body, RTMSG.size)
    flags = head[8] & uapi.RTNH_F_ONLINK
    if uapi.RTA_NH_ID in found:  # what the dump adds for old programs is the nexthop object's
        for type_ in (uapi.RTA_OIF, uapi.RTA_GATEWAY, uapi.RTA_MULTIPATH, uapi.RTA_VIA):
            found.pop(type_, None)
        flags = 0
    out = RTMSG.pack(*head[:8], flags)
    for type_ in _ROUTE_ATTRS:
        if type_ not in found:
            continue
        if type_ == uapi.RTA_MULTIPATH:
            value = _multipath(found[type_], renumbered)
        elif type_ in (uapi.RTA_OIF, uapi.RTA_IIF):
            value = _renumber(found[type_], renumbered)
        else:
            value = bytes(found[type_])
        out += wire.attr(type_, value)
    return out


def _expiry(body: memoryview) -> bytes:
    """RTA_EXPIRES (seconds) for a route that the kernel will drop by itself; it dumps that in RTA_CACHEINFO."""
    info = wire.attrs(body, RTMSG.size).get(uapi.RTA_CACHEINFO)
    if body[0] != uapi.AF_INET6 or info is None or len(info) < 12:
        return b""
    ticks = wire.S32.unpack_from(info, 8)[0]  # rta_expires, in units of USER_HZ, which is 100 everywhere
    return wire.attr_u32(uapi.RTA_EXPIRES, max(1, ticks // 100)) if ticks > 0 else b""


def age(body: memoryview, elapsed_s: int) -> bool:
    """Shortens in its place the life of a dumped route that the kernel will drop; False: it has ended by now."""
    info = wire.attrs(body, RTMSG.size).get(uapi.RTA_CACHEINFO)
    if body[0] != uapi.AF_INET6 or info is None or len(info) < 12:
        return True
    ticks = wire.S32.unpack_from(info, 8)[0]
    if ticks <= 0:
        return True
    wire.S32.pack_into(info, 8, max(0, ticks - elapsed_s * 100))
    return bool(ticks > elapsed_s * 100)


def _group(found: dict[int, memoryview]) -> bytes:
    """NHA_GROUP without what older kernels leave in its reserved bytes, and refuse to take back (seen on 5.10).

    Since 6.12 one of the bytes is the weight's upper half, and the kernel says that the others are 0.
    """
    members = bytearray(found[uapi.NHA_GROUP])  # struct nexthop_grp: u32 id, u8 weight, u8 weight_high, u16 resvd2
    if not (wire.u32(found.get(uapi.NHA_OP_FLAGS)) or 0) & uapi.NHA_OP_FLAG_RESP_GRP_RESVD_0:
        for at in range(0, len(members) - 7, 8):
            members[at + 5 : at + 8] = bytes(3)
    return bytes(members)


def _nexthop(body: memoryview, renumbered: Mapping[int, int]) -> bytes:
    family, _, protocol, flags = NHMSG.unpack_from(body)
    found = wire.attrs(body, NHMSG.size)
    # nh_scope stays 0: it is the kernel's own finding, and a request with one is refused.
    out = NHMSG.pack(family, 0, protocol, flags & uapi.RTNH_F_ONLINK)
    for type_ in _NEXTHOP_ATTRS:
        if type_ not in found:
            continue
        value = bytes(found[type_])
        if type_ == uapi.NHA_GROUP:
            value = _group(found)
        if type_ == uapi.NHA_OIF:
            value = _renumber(found[type_], renumbered)
        if type_ == uapi.NHA_RES_GROUP:  # its age is state, and no request takes it
            value = b"".join(
                wire.attr(t, bytes(v))
                for t, v in wire.attr_list(found[type_])
                if t != uapi.NHA_RES_GROUP_UNBALANCED_TIME
            )
        # RTM_NEWNEXTHOP is parsed strictly: what nests must say so, although a dump does not.
        nests = uapi.NLA_F_NESTED if type_ in (uapi.NHA_ENCAP, uapi.NHA_RES_GROUP) else 0
        out += wire.attr(type_ | nests, value)
    return out


def _is_group(body: bytes) -> bool:
    return uapi.NHA_GROUP in wire.attrs(memoryview(body), NHMSG.size)


def needs_gateway(body: bytes) -> bool:
    """Whether a route's gateway must be reachable before it can be added."""
    found = wire.attrs(memoryview(body), RTMSG.size)
    return any(t in found for t in (uapi.RTA_GATEWAY, uapi.RTA_VIA, uapi.RTA_MULTIPATH, uapi.RTA_NH_ID))


def missing_routes(before: bytes, now: bytes, renumbered: Mapping[int, int] | None = None) -> list[bytes]:
    """Request bodies of the routes that a dump no longer has, in the order in which they can be added again.

    Args:
        before, now: Dumps.
        renumbered: ifindex before -> ifindex now, of devices that came back under another number.
    """
    there = {_route(body, {}) for body in dumped(now, uapi.RTM_NEWROUTE, RTMSG)}
    gone = [
        route + _expiry(body)
        for body in dumped(before, uapi.RTM_NEWROUTE, RTMSG)
        if not (body[5] == uapi.RTPROT_KERNEL and body[7] in _MADE_WITH_ADDRESSES)
        and (route := _route(body, renumbered or {})) not in there
    ]
    # A gateway must be reachable (probe routes.gateway.ipv4-without-address); within each kind the dump's order stays.
    return sorted(gone, key=needs_gateway)


def made_anew(before: bytes, now: bytes, renumbered: Mapping[int, int]) -> list[bytes]:
    """Bodies of the routes that the kernel made again with addresses, although somebody had taken them away.

    Args:
        before, now: Dumps.
        renumbered: ifindex before -> ifindex now, of the devices to look at.

    Only of addresses that were there before, as the local route of each shows: who adds one meanwhile keeps its route.
    """
    had = {_route(body, renumbered) for body in dumped(before, uapi.RTM_NEWROUTE, RTMSG)}
    addresses: dict[int, list[bytes]] = {}
    for body in dumped(before, uapi.RTM_NEWROUTE, RTMSG):
        found = wire.attrs(body, RTMSG.size)
        oif = renumbered.get(wire.u32(found.get(uapi.RTA_OIF)) or 0)
        if body[7] == uapi.RTN_LOCAL and oif and uapi.RTA_DST in found:
            addresses.setdefault(oif, []).append(bytes(found[uapi.RTA_DST]))
    new = []
    for body in dumped(now, uapi.RTM_NEWROUTE, RTMSG):
        of = addresses.get(wire.u32(wire.attrs(body, RTMSG.size).get(uapi.RTA_OIF)) or 0, ())
        is_made = body[5] == uapi.RTPROT_KERNEL and body[7] not in (uapi.RTN_LOCAL, uapi.RTN_ANYCAST)
        if is_made and any(_is_made_with(body, address) for address in of) and _route(body, {}) not in had:
            new.append(_route(body, {}))
    return new


def _is_made_with(body: memoryview, address: bytes) -> bool:
    """Whether the kernel makes that route for an address: IPv4 tells it; IPv6's prefix, and the one for groups."""
    found = wire.attrs(body, RTMSG.size)
    dst, rest = bytes(found.get(uapi.RTA_DST, b"")), 128 - body[1]
    if body[0] == uapi.AF_INET:
        return bytes(found.get(uapi.RTA_PREFSRC, b"")) == address
    if len(address) != 16 or len(dst) != 16:
        return False
    return dst[0] == 0xFF or int.from_bytes(dst) >> rest == int.from_bytes(address) >> rest


def remove(body: bytes) -> bytes:
    """The request that removes a route."""
    return wire.message(uapi.RTM_DELROUTE, uapi.NLM_F_ACK, body)


def missing_nexthops(before: bytes, now: bytes, renumbered: Mapping[int, int] | None = None) -> list[bytes]:
    """Request bodies of the nexthop objects that a dump no longer has, groups behind their members."""
    there = {_nexthop(body, {}) for body in dumped(now, uapi.RTM_NEWNEXTHOP, NHMSG)}
    old = (_nexthop(body, renumbered or {}) for body in dumped(before, uapi.RTM_NEWNEXTHOP, NHMSG))
    return sorted((nexthop for nexthop in old if nexthop not in there), key=_is_group)


def is_only_by(part: int, body: bytes, nexthops: bytes, ifindexes: Collection[int]) -> bool:
    """Whether one of them leaves by these devices alone; `nexthops`: the dump that it belongs to."""
    by_id = nexthop_devices(nexthops)
    if part == Part.NEXTHOPS:
        devices = by_id.get(wire.u32(wire.attrs(memoryview(body), NHMSG.size).get(uapi.NHA_ID)) or 0, set())
    else:
        devices = devices_of(wire.attrs(memoryview(body), RTMSG.size), by_id)
    return bool(devices) and devices <= {*ifindexes}


def add(part: int, body: bytes) -> bytes:
    """The request that puts one back: a route behind its equals as in the dump, an IPv6 multipath route as a whole."""
    if part == Part.NEXTHOPS:
        return wire.message(uapi.RTM_NEWNEXTHOP, uapi.NLM_F_CREATE | uapi.NLM_F_REPLACE | uapi.NLM_F_ACK, body)
    whole = body[0] == uapi.AF_INET6 and uapi.RTA_MULTIPATH in wire.attrs(memoryview(body), RTMSG.size)
    flags = uapi.NLM_F_REPLACE if whole else uapi.NLM_F_APPEND
    return wire.message(uapi.RTM_NEWROUTE, uapi.NLM_F_CREATE | uapi.NLM_F_ACK | flags, body)


def text(part: int, body: bytes) -> str:
    """One of them in short words, for a message."""
    if part == Part.NEXTHOPS:
        return f"nexthop id {wire.u32(wire.attrs(memoryview(body), NHMSG.size).get(uapi.NHA_ID))}"
    family, dst_len = body[0], body[1]
    found = wire.attrs(memoryview(body), RTMSG.size)
    dst, gateway = found.get(uapi.RTA_DST), found.get(uapi.RTA_GATEWAY)
    words = "route " + ("default" if dst is None else f"{address_text(family, bytes(dst))}/{dst_len}")
    return words if gateway is None else f"{words} via {address_text(family, bytes(gateway))}"
