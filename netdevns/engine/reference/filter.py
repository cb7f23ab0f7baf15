"""Filters dumps by device: csrc/filter.c in Python.

rtnetlink filters few dumps, and those by one ifindex only. Messages about other devices are dropped on receipt, so that
memory and time do not grow with the other devices of a namespace.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from struct import Struct

from ...netlink import route, uapi, wire

NDTMSG_SIZE = 4
NDMSG = Struct("=BxxxiHBB")  # struct ndmsg: ndm_family, ndm_ifindex, ndm_state, ndm_flags, ndm_type


def foreign_routes(dumped: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """As wire.spans, only for routes that the kernel did not make with an address, and default routes."""
    kernel, size = uapi.RTPROT_KERNEL, route.RTMSG.size
    for type_, at, end in wire.spans(dumped):
        is_whole = type_ == uapi.RTM_NEWROUTE and end - at >= size
        if is_whole and (dumped[at + 5] != kernel or not dumped[at + 1]):  # rtm_protocol, rtm_dst_len
            yield type_, at, end


class Filter:
    """Keeps messages about some devices, and damaged ones; the rules are in csrc/netdevns-core.h (nd_filter_keeps)."""

    def __init__(self, ifindexes: Collection[int], names: Collection[bytes]) -> None:
        self._ifindexes = frozenset(ifindexes)
        self._names = frozenset(names)
        self._rules: dict[int, Callable[[bytes, int, int], bool]] = {
            uapi.RTM_NEWLINK: self._link,
            uapi.RTM_NEWADDR: self._body,
            uapi.RTM_NEWNEIGH: self._neighbour,
            uapi.RTM_NEWQDISC: self._body,
            uapi.RTM_NEWROUTE: self._route,
            uapi.RTM_NEWNEIGHTBL: self._parameters,
        }

    def rule(self, type_: int) -> Callable[[bytes, int, int], bool] | None:
        """Returns the function that decides for a type, given where the body lies; None: all are kept."""
        return self._rules.get(type_)

    def _names_one(self, value: memoryview) -> bool:
        return len(value) != 4 or wire.S32.unpack(value)[0] in self._ifindexes

    def _body(self, data: bytes, at: int, end: int) -> bool:
        """Compares the ifindex, which is at offset 4 of struct ifaddrmsg and tcmsg."""
        return end - at < 8 or wire.S32.unpack_from(data, at + 4)[0] in self._ifindexes

    def _neighbour(self, data: bytes, at: int, end: int) -> bool:
        """Keeps permanent and (unicast) noarp neighbours, proxies, and those of routing daemons; drops groups."""
        if end - at < NDMSG.size:
            return True
        family, ifindex, state, flags, type_ = NDMSG.unpack_from(data, at)
        is_noarp = state & uapi.NUD_NOARP and type_ == uapi.RTN_UNICAST and family != uapi.AF_BRIDGE
        is_ours = state & uapi.NUD_PERMANENT or flags & (uapi.NTF_PROXY | uapi.NTF_EXT_LEARNED) or is_noarp
        if ifindex not in self._ifindexes or not is_ours:
            return False
        if family != uapi.AF_BRIDGE:
            return True
        mac = wire.attrs(memoryview(data)[at:end], NDMSG.size, strict=False).get(uapi.NDA_LLADDR)
        return not mac or not mac[0] & 1

    def _link(self, data: bytes, at: int, end: int) -> bool:
        """Keeps named links, and those on top of a link here (probes kinds.veth.link, kinds.upper-moves.vlan)."""
        if end - at < wire.IFINFOMSG.size:
            return True
        found = wire.attrs(memoryview(data)[at:end], wire.IFINFOMSG.size, strict=False)
        if wire.text(found.get(uapi.IFLA_IFNAME)) in self._names:
            return True
        info = wire.nested_attrs(found.get(uapi.IFLA_LINKINFO))
        kind = bytes(info.get(uapi.IFLA_INFO_KIND, b""))
        if kind[:5] == b"vxlan":  # its lower device is in IFLA_VXLAN_LINK
            return True
        # A veth's IFLA_LINK is its peer.
        return kind[:5] != b"veth\0" and uapi.IFLA_LINK in found and uapi.IFLA_LINK_NETNSID not in found

    def _route(self, data: bytes, at: int, end: int) -> bool:
        """Keeps routes that may go when one of the devices does, and default routes."""
        if end - at < route.RTMSG.size or data[at + 1] == 0:  # rtm_dst_len
            return True
        by_nexthop = by_device = False
        try:
            for type_, value in wire.attr_list(memoryview(data)[at:end], route.RTMSG.size):
                if type_ in (uapi.RTA_OIF, uapi.RTA_IIF):
                    by_device |= type_ == uapi.RTA_OIF
                    if self._names_one(value):
                        return True
                elif type_ == uapi.RTA_MULTIPATH:
                    by_device = True
                    if any(ifindex in self._ifindexes for ifindex, _ in route.nexthops(value)):
                        return True
                elif type_ == uapi.RTA_PREFSRC and data[at + 5] != uapi.RTPROT_KERNEL:
                    return True
                elif type_ == uapi.RTA_NH_ID:
                    by_nexthop = True
        except wire.Malformed:
            return True
        return by_nexthop and not by_device

    def _parameters(self, data: bytes, at: int, end: int) -> bool:
        """Keeps one device's neighbour parameters, and the first message of each table, which is about all devices."""
        found = wire.attrs(memoryview(data)[at:end], NDTMSG_SIZE, strict=False)
        parameters = wire.nested_attrs(found.get(uapi.NDTA_PARMS))
        value = parameters.get(uapi.NDTPA_IFINDEX)
        return value is not None and self._names_one(value)
