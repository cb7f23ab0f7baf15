"""What a dump of routes says of devices that are to leave: default routes, how many go, whose `src` goes."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ..engine import foreign_routes
from ..netlink import uapi, wire
from .routes import RTMSG, devices_of, dumped, nexthop_devices


class Survey:
    """What a dump of routes says of devices that are to leave, in one pass: there may be a whole Internet of routes.

    Attributes:
        default: The ifindexes that carry a default route of the main table.
        counts: By ifindex, how many routes leave by it, without those that the kernel makes itself with each address.
    """

    __slots__ = ("_leaving", "_sources", "counts", "default")

    def __init__(self, routes: bytes, nexthops: bytes, leaving: Collection[int]) -> None:
        self.default: set[int] = set()
        self.counts: dict[int, int] = {}
        self._leaving = leaving
        self._sources: list[bytes] = []  # the src of IPv4 routes of others, in the main table; in others they stay
        by_nexthop = nexthop_devices(nexthops)
        view = memoryview(routes)
        for _, at, end in foreign_routes(routes):
            is_kernels, is_default = routes[at + 5] == uapi.RTPROT_KERNEL, routes[at + 1] == 0  # protocol, dst_len
            body = view[at:end]
            found = wire.attrs(body, RTMSG.size)
            devices = devices_of(found, by_nexthop)
            table = wire.u32(found.get(uapi.RTA_TABLE)) or body[4]
            if is_default and body[7] == uapi.RTN_UNICAST and table == uapi.RT_TABLE_MAIN:
                self.default |= devices
            if is_kernels:
                continue
            for ifindex in devices:
                self.counts[ifindex] = self.counts.get(ifindex, 0) + 1
            has_src = uapi.RTA_PREFSRC in found and body[0] == uapi.AF_INET and table == uapi.RT_TABLE_MAIN
            if has_src and devices.isdisjoint(leaving):
                self._sources.append(bytes(found[uapi.RTA_PREFSRC]))

    def source_owners(self, routes: bytes) -> Iterator[int]:
        """For each IPv4 route of a device that stays whose `src` leaves, which has it: the kernel deletes that route.

        (probes routes.told.ipv4-src, routes.move.ipv4-src)
        """
        owners: dict[bytes, int] = {}
        for body in dumped(routes, uapi.RTM_NEWROUTE, RTMSG) if self._sources else ():
            if body[0] == uapi.AF_INET and body[7] == uapi.RTN_LOCAL:
                found = wire.attrs(body, RTMSG.size)
                ifindex = wire.u32(found.get(uapi.RTA_OIF)) or 0
                if ifindex in self._leaving:
                    owners[bytes(found.get(uapi.RTA_DST, b""))] = ifindex
        return (owners[source] for source in self._sources if source in owners)
