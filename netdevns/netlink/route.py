"""Parses dumped routes and nexthop objects: the devices they use, and the requests that add them again.

Layouts: linux/rtnetlink.h (struct rtmsg, RTA_*), linux/nexthop.h (struct nhmsg, NHA_*).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct

from . import uapi, wire
from .ifaddr import address_text

RTMSG = Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
RTNEXTHOP = Struct("=HBBi")  # rtnh_len, rtnh_flags, rtnh_hops, rtnh_ifindex
U16 = Struct("=H")
NHMSG = Struct("=BBBxI")  # nh_family, nh_scope, nh_protocol, nh_flags

# The attributes that RTM_NEWROUTE and RTM_NEWNEXTHOP take and that define the route. A dump carries more
# (RTA_CACHEINFO, counters), which a request must not: the kernel refuses it, ignores it, or gives it another meaning
# (probe routes.replay.ipv4-cacheinfo).
_ROUTE_ATTRS = (
    uapi.RTA_DST, uapi.RTA_SRC, uapi.RTA_IIF, uapi.RTA_OIF, uapi.RTA_GATEWAY, uapi.RTA_PRIORITY, uapi.RTA_PREFSRC,
    uapi.RTA_METRICS, uapi.RTA_MULTIPATH, uapi.RTA_FLOW, uapi.RTA_TABLE, uapi.RTA_VIA, uapi.RTA_PREF,
    uapi.RTA_ENCAP_TYPE, uapi.RTA_ENCAP, uapi.RTA_TTL_PROPAGATE, uapi.RTA_NH_ID,
)  # fmt: skip
_NEXTHOP_ATTRS = (
    uapi.NHA_ID, uapi.NHA_GROUP, uapi.NHA_GROUP_TYPE, uapi.NHA_BLACKHOLE, uapi.NHA_OIF, uapi.NHA_GATEWAY,
    uapi.NHA_ENCAP_TYPE, uapi.NHA_ENCAP, uapi.NHA_FDB, uapi.NHA_RES_GROUP,
)  # fmt: skip
DUMP_ROUTES = wire.message(uapi.RTM_GETROUTE, uapi.NLM_F_DUMP, RTMSG.pack(*[0] * 9))
DUMP_NEXTHOPS = wire.message(uapi.RTM_GETNEXTHOP, uapi.NLM_F_DUMP, NHMSG.pack(*[0] * 4))


def dumped(dump: bytes, type_: int, header: Struct) -> Iterator[memoryview]:
    for message in wire.messages(dump):
        if message.type == type_ and len(message.body) >= header.size:
            yield message.body


def nexthops(multipath: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(ifindex, struct rtnexthop with its attributes) of each nexthop."""
    at = 0
    while len(multipath) - at >= RTNEXTHOP.size:
        length, _, _, ifindex = RTNEXTHOP.unpack_from(multipath, at)
        if not RTNEXTHOP.size <= length <= len(multipath) - at:
            raise wire.Malformed(f"a nexthop of {length} bytes")
        yield ifindex, multipath[at : at + length]
        at += (length + 3) & ~3


def devices_of(found: dict[int, memoryview], by_nexthop: dict[int, set[int]]) -> set[int]:
    """The ifindexes of a route's nexthops."""
    devices = {ifindex for ifindex, _ in nexthops(found.get(uapi.RTA_MULTIPATH, memoryview(b"")))}
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


# ---- routes ----


def _renumber(value: memoryview, renumbered: Mapping[int, int]) -> bytes:
    """An ifindex attribute, translated for a device that came back under another ifindex."""
    ifindex = wire.u32(value)
    return bytes(value) if ifindex is None else wire.U32.pack(renumbered.get(ifindex, ifindex))


def _multipath(value: memoryview, renumbered: Mapping[int, int]) -> bytes:
    """RTA_MULTIPATH without flags of the link's state (RTNH_F_DEAD; probe routes.replay.ipv4-multipath-dead)."""
    out = b""
    for _, nexthop in nexthops(value):
        length, flags, hops, ifindex = RTNEXTHOP.unpack_from(nexthop)
        out += RTNEXTHOP.pack(length, flags & uapi.RTNH_F_ONLINK, hops, renumbered.get(ifindex, ifindex))
        out += bytes(nexthop[8:]) + bytes(-length & 3)
    return out


def request(body: memoryview, renumbered: Mapping[int, int]) -> bytes:
    """A dumped route as a request body that is equal for equal routes."""
    head = RTMSG.unpack_from(body)
    found = wire.attrs(body, RTMSG.size)
    flags = head[8] & uapi.RTNH_F_ONLINK
    if uapi.RTA_NH_ID in found:  # the dump adds these from the nexthop object, for old programs
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


def by_devices(body: bytes, renumbered: Mapping[int, int]) -> bytes:
    """The same route on devices whose ifindexes have changed."""
    expires = wire.attrs(memoryview(body), RTMSG.size).get(uapi.RTA_EXPIRES)
    return request(memoryview(body), renumbered) + (b"" if expires is None else wire.attr(uapi.RTA_EXPIRES, expires))


def place(body: bytes) -> tuple[object, ...]:
    """The key of a route in its table, equal for routes that compete: family, table, prefixes, tos, metric."""
    head = RTMSG.unpack_from(body)
    found = wire.attrs(memoryview(body), RTMSG.size)
    table = wire.u32(found.get(uapi.RTA_TABLE)) or head[4]
    prefixes = (head[1], bytes(found.get(uapi.RTA_DST, b"")), head[2], bytes(found.get(uapi.RTA_SRC, b"")))
    return head[0], table, prefixes, head[3], wire.u32(found.get(uapi.RTA_PRIORITY)) or 0


def expiry(body: memoryview) -> bytes:
    """RTA_EXPIRES (seconds) of a route with a lifetime; a dump has it in RTA_CACHEINFO."""
    info = wire.attrs(body, RTMSG.size).get(uapi.RTA_CACHEINFO)
    if body[0] != uapi.AF_INET6 or info is None or len(info) < 12:
        return b""
    ticks = wire.S32.unpack_from(info, 8)[0]  # rta_expires, in units of USER_HZ, which is 100 everywhere
    return wire.attr_u32(uapi.RTA_EXPIRES, max(1, ticks // 100)) if ticks > 0 else b""


def age(body: memoryview, elapsed_s: int) -> bool:
    """Shortens the lifetime of a dumped route in place; False: it has ended."""
    info = wire.attrs(body, RTMSG.size).get(uapi.RTA_CACHEINFO)
    if body[0] != uapi.AF_INET6 or info is None or len(info) < 12:
        return True
    ticks = wire.S32.unpack_from(info, 8)[0]
    if ticks <= 0:
        return True
    wire.S32.pack_into(info, 8, max(0, ticks - elapsed_s * 100))
    return bool(ticks > elapsed_s * 100)


def needs_gateway(body: bytes) -> bool:
    """Whether a route's gateway must be reachable before it can be added."""
    found = wire.attrs(memoryview(body), RTMSG.size)
    return any(t in found for t in (uapi.RTA_GATEWAY, uapi.RTA_VIA, uapi.RTA_MULTIPATH, uapi.RTA_NH_ID))


def add(body: bytes) -> bytes:
    """The request that restores a route behind its equals, as in the dump; an IPv6 multipath route as a whole."""
    whole = body[0] == uapi.AF_INET6 and uapi.RTA_MULTIPATH in wire.attrs(memoryview(body), RTMSG.size)
    flags = uapi.NLM_F_REPLACE if whole else uapi.NLM_F_APPEND
    return wire.message(uapi.RTM_NEWROUTE, uapi.NLM_F_CREATE | uapi.NLM_F_ACK | flags, body)


def add_new(body: bytes, *, behind: bool) -> bytes:
    """The request that adds a route where none with its key exists, or `behind` those with the same key."""
    flags = uapi.NLM_F_APPEND if behind else uapi.NLM_F_EXCL
    return wire.message(uapi.RTM_NEWROUTE, uapi.NLM_F_CREATE | uapi.NLM_F_ACK | flags, body)


def remove(body: bytes) -> bytes:
    """The request that removes a route."""
    return wire.message(uapi.RTM_DELROUTE, uapi.NLM_F_ACK, body)


def text(body: bytes) -> str:
    """A route in short words, for a message."""
    family, dst_len = body[0], body[1]
    found = wire.attrs(memoryview(body), RTMSG.size)
    dst, gateway = found.get(uapi.RTA_DST), found.get(uapi.RTA_GATEWAY)
    words = "route " + ("default" if dst is None else f"{address_text(family, bytes(dst))}/{dst_len}")
    return words if gateway is None else f"{words} via {address_text(family, bytes(gateway))}"


# ---- nexthop objects ----


def _group(found: dict[int, memoryview]) -> bytes:
    """NHA_GROUP with its reserved bytes zeroed: older kernels dump garbage there and refuse it (seen on 5.10).

    Since 6.12 one of these bytes is the upper half of the weight, and the kernel zeroes the others.
    """
    members = bytearray(found[uapi.NHA_GROUP])  # struct nexthop_grp: u32 id, u8 weight, u8 weight_high, u16 resvd2
    if not (wire.u32(found.get(uapi.NHA_OP_FLAGS)) or 0) & uapi.NHA_OP_FLAG_RESP_GRP_RESVD_0:
        for at in range(0, len(members) - 7, 8):
            members[at + 5 : at + 8] = bytes(3)
    return bytes(members)


def nexthop_request(body: memoryview, renumbered: Mapping[int, int]) -> bytes:
    family, _, protocol, flags = NHMSG.unpack_from(body)
    found = wire.attrs(body, NHMSG.size)
    # nh_scope stays 0: the kernel computes it and refuses a request that sets it.
    out = NHMSG.pack(family, 0, protocol, flags & uapi.RTNH_F_ONLINK)
    for type_ in _NEXTHOP_ATTRS:
        if type_ not in found:
            continue
        value = bytes(found[type_])
        if type_ == uapi.NHA_GROUP:
            value = _group(found)
        if type_ == uapi.NHA_OIF:
            value = _renumber(found[type_], renumbered)
        if type_ == uapi.NHA_RES_GROUP:  # NHA_RES_GROUP_UNBALANCED_TIME is state; requests with it are refused
            value = b"".join(
                wire.attr(t, bytes(v))
                for t, v in wire.attr_list(found[type_])
                if t != uapi.NHA_RES_GROUP_UNBALANCED_TIME
            )
        # RTM_NEWNEXTHOP is parsed strictly: nested attributes need NLA_F_NESTED, which a dump does not set.
        nests = uapi.NLA_F_NESTED if type_ in (uapi.NHA_ENCAP, uapi.NHA_RES_GROUP) else 0
        out += wire.attr(type_ | nests, value)
    return out


def is_group(body: bytes) -> bool:
    return uapi.NHA_GROUP in wire.attrs(memoryview(body), NHMSG.size)


def nexthop_id(body: bytes | memoryview) -> int | None:
    """The id of a nexthop object."""
    return wire.u32(wire.attrs(memoryview(body), NHMSG.size).get(uapi.NHA_ID))


def add_nexthop(body: bytes) -> bytes:
    """The request that restores a nexthop object."""
    return wire.message(uapi.RTM_NEWNEXTHOP, uapi.NLM_F_CREATE | uapi.NLM_F_REPLACE | uapi.NLM_F_ACK, body)
