"""What of a dump is about some devices: csrc/sieve.c in Python for the reference engine, message for message the same.

rtnetlink filters few dumps, and those by one ifindex; so that memory and time do not grow with what the other devices
of a namespace have, the rest is dropped where it is received.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from struct import Struct

from .. import uapi, wire

RTMSG_SIZE = 12
NDTMSG_SIZE = 4
NDMSG = Struct("=BxxxiHBx")  # struct ndmsg: ndm_family, ndm_ifindex, ndm_state, ndm_flags
LEG = Struct("=HBBi")  # struct rtnexthop: rtnh_len, rtnh_flags, rtnh_hops, rtnh_ifindex


def keeps(ifindexes: Collection[int], names: Collection[bytes], message: wire.Message) -> bool:
    """Whether an answer is about one of these devices; csrc/netdevns.h says how. What is damaged is kept."""
    if message.type == uapi.RTM_NEWLINK:
        return _link(names, message.body)
    rule = _RULES.get(message.type)
    return rule is None or rule(ifindexes, message.body)


def _names_one(ifindexes: Collection[int], value: memoryview) -> bool:
    return len(value) != 4 or wire.S32.unpack(value)[0] in ifindexes


def _body(ifindexes: Collection[int], body: memoryview) -> bool:
    """struct ifaddrmsg and tcmsg have it 4 bytes behind their start."""
    return len(body) < 8 or _names_one(ifindexes, body[4:8])


def _neighbour(ifindexes: Collection[int], body: memoryview) -> bool:
    """Permanent, a proxy, or what a routing daemon keeps up to date; but no group that a device listens to."""
    if len(body) < NDMSG.size:
        return True
    family, ifindex, state, flags = NDMSG.unpack_from(body)
    is_ours = state & uapi.NUD_PERMANENT or flags & (uapi.NTF_PROXY | uapi.NTF_EXT_LEARNED)
    if ifindex not in ifindexes or not is_ours:
        return False
    if family != uapi.AF_BRIDGE:
        return True
    mac = wire.attrs(body, NDMSG.size, strict=False).get(uapi.NDA_LLADDR)
    return not mac or not mac[0] & 1


def _link(names: Collection[bytes], body: memoryview) -> bool:
    """One of the names, or it lies on another one here (probes kinds.veth.link, kinds.upper-moves.vlan)."""
    if len(body) < wire.IFINFOMSG.size:
        return True
    found = wire.attrs(body, wire.IFINFOMSG.size, strict=False)
    if wire.text(found.get(uapi.IFLA_IFNAME)) in names:
        return True
    info = wire.attrs(found.get(uapi.IFLA_LINKINFO, memoryview(b"")), strict=False)
    kind = bytes(info.get(uapi.IFLA_INFO_KIND, b""))
    if kind[:5] == b"vxlan":  # it has its IFLA_VXLAN_LINK
        return True
    # A veth's IFLA_LINK is its peer.
    return kind[:5] != b"veth\0" and uapi.IFLA_LINK in found and uapi.IFLA_LINK_NETNSID not in found


def _route(ifindexes: Collection[int], body: memoryview) -> bool:
    """One that may go when one of the devices does, or a default route."""
    if len(body) < RTMSG_SIZE or body[1] == 0:  # rtm_dst_len
        return True
    by_nexthop = by_device = False
    try:
        for type_, value in wire.attr_list(body, RTMSG_SIZE):
            if type_ == uapi.RTA_OIF:
                by_device = True
            if type_ in (uapi.RTA_OIF, uapi.RTA_IIF) and _names_one(ifindexes, value):
                return True
            if type_ == uapi.RTA_MULTIPATH:
                by_device = True
                if _multipath(ifindexes, value):
                    return True
            if type_ == uapi.RTA_PREFSRC and body[5] != uapi.RTPROT_KERNEL:
                return True
            by_nexthop |= type_ == uapi.RTA_NH_ID
    except wire.Malformed:
        return True
    return by_nexthop and not by_device


def _multipath(ifindexes: Collection[int], legs: memoryview) -> bool:
    at = 0
    while len(legs) - at >= LEG.size:
        length, _, _, ifindex = LEG.unpack_from(legs, at)
        if not LEG.size <= length <= len(legs) - at or ifindex in ifindexes:
            return True
        at += (length + 3) & ~3
    return False


def _parameters(ifindexes: Collection[int], body: memoryview) -> bool:
    """Those of one device's neighbours; the first message of each table is about all."""
    found = wire.attrs(body, NDTMSG_SIZE, strict=False)
    parms = wire.attrs(found.get(uapi.NDTA_PARMS, memoryview(b"")), strict=False)
    return uapi.NDTPA_IFINDEX in parms and _names_one(ifindexes, parms[uapi.NDTPA_IFINDEX])


_RULES: dict[int, Callable[[Collection[int], memoryview], bool]] = {
    uapi.RTM_NEWADDR: _body,
    uapi.RTM_NEWNEIGH: _neighbour,
    uapi.RTM_NEWQDISC: _body,
    uapi.RTM_NEWROUTE: _route,
    uapi.RTM_NEWNEIGHTBL: _parameters,
}
