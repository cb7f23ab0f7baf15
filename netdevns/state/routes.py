"""Restores routes, counts those that a move loses, and finds devices that carry a default route.

When a device leaves, the kernel deletes its IPv4 routes without notification. It also deletes routes of other devices
that have their `src` on it (notified on later kernels) or one of their nexthops (probes notify.route.ipv4,
notify.route.source-address, notify.route.multipath-leg). So all are dumped before a move and compared after an undo.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from ..engine import Socket, foreign_routes, lookups
from ..netlink import route, uapi, wire
from ..netlink.route import RTMSG
from .kind import DIRECT, GATEWAY, REMOVE, Finding, Here, Kind, Leaving, Repair, View

# The kernel makes these itself, with the addresses and once DAD is done: never restored here.
_MADE_WITH_ADDRESSES = (uapi.RTN_LOCAL, uapi.RTN_BROADCAST, uapi.RTN_ANYCAST, uapi.RTN_MULTICAST)


class Routes(Kind):
    name = "routes"
    stages = (REMOVE, DIRECT, GATEWAY)
    needs = ("nexthops",)
    messages = ((uapi.RTM_NEWROUTE, RTMSG.size),)
    can_be_preserved = True

    def read(self, socket: Socket, links: Mapping[int, wire.Link], about: Collection[int]) -> bytes:
        """The routes that nd_filter_keeps selects (csrc/netdevns-core.h): the table may hold a full BGP feed."""
        del links
        return lookups.dump(socket, route.DUMP_ROUTES, about=about)

    def findings(self, before: View, leaving: Leaving) -> Iterator[Finding]:
        routes, nexthops = before.of("routes"), before.of("nexthops")
        found = RouteUsage(routes, nexthops, leaving.ifindexes)
        for ifindex in sorted(found.default):
            yield Finding(ifindex, "device.default-route", "a default route")
        if self.name in leaving.preserve:
            for each in portable(routes, nexthops, leaving.ifindexes):
                if not each.body:  # cannot be set in the target
                    yield Finding(each.ifindex, "loss.routes", each.text)
        else:
            for ifindex, count in found.counts.items():
                yield Finding(ifindex, "loss.routes", _count(count))
        for ifindex, count in Counter(found.source_owners(routes)).items():
            yield Finding(ifindex, "loss.routes", f"{_count(count)} of other devices, with its address as src")

    def repairs(self, before: View, now: View, here: Here) -> Iterator[Repair]:
        """Includes routes of other devices, which the kernel deletes with their `src` or a nexthop.

        (probes routes.move.ipv4-src, routes.move.ipv4-multipath) A route that another process deleted meanwhile is
        restored, too.
        """
        ours = {ifindex: here[ifindex] for ifindex in before.links if ifindex in here}
        for body in made_anew(before.of(self.name), now.of(self.name), ours):
            yield Repair(_owner(body, here), REMOVE, f"{route.text(body)} was added", route.remove(body))
        # A gateway must be reachable before a nexthop object or a route uses it.
        away, by_nexthop = before.away(here), route.nexthop_devices(before.of("nexthops"))
        for body in missing(before.of(self.name), now.of(self.name), here):
            by = route.devices_of(wire.attrs(memoryview(body), RTMSG.size), by_nexthop)
            if not by or not by <= away:  # absent devices are reported as missing themselves
                stage = GATEWAY if route.needs_gateway(body) else DIRECT
                yield Repair(_owner(body, here), stage, route.text(body), route.add(body))

    def preserve(self, before: View, there: View, here: Here) -> Iterator[Repair]:
        """Adds no route where the target has one with the same place: IPv6 would share the traffic between both."""
        arrived = Counter(
            route.place(bytes(body))
            for body in route.dumped(there.of(self.name), uapi.RTM_NEWROUTE, RTMSG)
            if body[5] != uapi.RTPROT_KERNEL and _owner(bytes(body), here)
        )
        ours: dict[object, bool] = {}  # by place: whether the target has the last route that was looked at
        for each in portable(before.of("routes"), before.of("nexthops"), here):
            if not each.body:  # reported by the check
                continue
            body = route.by_devices(each.body, here)
            place = route.place(body)
            behind, is_there = ours.get(place), arrived[place] > 0
            ours[place] = is_there
            arrived[place] -= 1
            if not is_there:  # append it to a route of ours, never to one that the target had before
                stage = GATEWAY if route.needs_gateway(body) else DIRECT
                request = None if behind is False else route.add_new(body, behind=bool(behind))
                yield Repair(here[each.ifindex], stage, each.text, request)

    def age(self, before: bytes, elapsed_s: int, ended: Collection[bytes]) -> bytes:
        """Also drops routes whose `src` address has expired."""
        return b"".join(_aged(message, elapsed_s, ended) for message in wire.messages(before))

    def lend(self, before: View, here: Here, elapsed_s: int, ended: Collection[bytes]) -> bytes:
        """The routes that use these devices only, and have not expired."""
        by_nexthop, kept = route.nexthop_devices(before.of("nexthops")), []
        for message in wire.messages(before.of(self.name)):
            if message.type != uapi.RTM_NEWROUTE or len(message.body) < RTMSG.size:
                continue
            by = route.devices_of(wire.attrs(message.body, RTMSG.size), by_nexthop)
            if by and by <= here.keys():
                kept.append(_aged(message, elapsed_s, ended))
        return b"".join(kept)


def _aged(message: wire.Message, elapsed_s: int, ended: Collection[bytes]) -> bytes:
    """A dumped route with its remaining lifetime; b"": it has expired, or its `src` has."""
    data = bytearray(message.padded())
    if bytes(wire.attrs(message.body, RTMSG.size).get(uapi.RTA_PREFSRC, b"")) in ended:
        return b""
    return bytes(data) if route.age(memoryview(data)[16 : len(message.body) + 16], elapsed_s) else b""


def _count(count: int) -> str:
    return f"{count} route{'s' if count > 1 else ''}"


def _owner(body: bytes, here: Here) -> int:
    """The first of these devices that a route request uses; 0: none."""
    by = route.devices_of(wire.attrs(memoryview(body), RTMSG.size), {})
    return next((ifindex for ifindex in sorted(by) if ifindex in here.values()), 0)


# ---- before a move ----


class RouteUsage:
    """The use of devices by routes, found in one pass over the dump, which may hold a full BGP feed.

    Attributes:
        default: The ifindexes that carry a default route of the main table.
        counts: The number of routes by ifindex, without those that the kernel makes for each address.
    """

    __slots__ = ("_leaving", "_sources", "counts", "default")

    def __init__(self, routes: bytes, nexthops: bytes, leaving: Collection[int]) -> None:
        self.default: set[int] = set()
        self.counts: dict[int, int] = {}
        self._leaving = leaving
        # The src of IPv4 routes of other devices in the main table; in other tables such routes stay.
        self._sources: list[bytes] = []
        by_nexthop = route.nexthop_devices(nexthops)
        view = memoryview(routes)
        for _, at, end in foreign_routes(routes):
            is_kernels, is_default = routes[at + 5] == uapi.RTPROT_KERNEL, routes[at + 1] == 0  # protocol, dst_len
            body = view[at:end]
            found = wire.attrs(body, RTMSG.size)
            devices = route.devices_of(found, by_nexthop)
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
        """For each IPv4 route of a device that stays whose `src` leaves: the device with that address.

        The kernel deletes such a route (probes routes.told.ipv4-src, routes.move.ipv4-src).
        """
        owners: dict[bytes, int] = {}
        for body in route.dumped(routes, uapi.RTM_NEWROUTE, RTMSG) if self._sources else ():
            if body[0] == uapi.AF_INET and body[7] == uapi.RTN_LOCAL:
                found = wire.attrs(body, RTMSG.size)
                ifindex = wire.u32(found.get(uapi.RTA_OIF)) or 0
                if ifindex in self._leaving:
                    owners[bytes(found.get(uapi.RTA_DST, b""))] = ifindex
        return (owners[source] for source in self._sources if source in owners)


@dataclass(slots=True)
class Portable:
    """A route or nexthop object of devices that leave.

    Attributes:
        ifindex: The first of these devices, in the source.
        body: As `missing` returns them, with the ifindexes of the source; b"": it cannot be set elsewhere.
        text: In short words, for a message; with the reason if there is no body.
    """

    ifindex: int
    body: bytes
    text: str


def portable(routes: bytes, nexthops: bytes, leaving: Collection[int]) -> list[Portable]:
    """The routes and nexthop objects of devices that leave together, in the order in which they can be added.

    Routes that the kernel makes for addresses are left out. The body is empty for routes from router advertisements,
    and for nexthop objects, whose ids may be taken in the target: a route with a single one gets that object's gateway.
    """
    by_nexthop = route.nexthop_devices(nexthops)
    simple = _simple_nexthops(nexthops)
    found: list[Portable] = []
    for body in route.dumped(routes, uapi.RTM_NEWROUTE, RTMSG):
        attrs = wire.attrs(body, RTMSG.size)
        devices = route.devices_of(attrs, by_nexthop)
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
        request = route.request(body, {}) if nexthop is None or why else _by_nexthop(body, simple[nexthop])
        words = route.text(request)
        found.append(
            Portable(min(ours), b"" if why else request + route.expiry(body), f"{words}: {why}" if why else words)
        )
    found.sort(key=lambda each: route.needs_gateway(each.body))
    for id_, devices in by_nexthop.items():
        ours = [ifindex for ifindex in devices if ifindex in leaving]
        if ours:
            found.append(Portable(min(ours), b"", f"nexthop id {id_}"))
    return found


def _simple_nexthops(nexthops: bytes) -> dict[int, memoryview]:
    """The nexthop objects that are not groups: message bodies by id."""
    simple = {}
    for body in route.dumped(nexthops, uapi.RTM_NEWNEXTHOP, route.NHMSG):
        attrs = wire.attrs(body, route.NHMSG.size)
        id_ = wire.u32(attrs.get(uapi.NHA_ID))
        if id_ is not None and uapi.NHA_GROUP not in attrs:
            simple[id_] = body
    return simple


def _by_nexthop(body: memoryview, nexthop: memoryview) -> bytes:
    """A route with a nexthop object as a route without: the object's gateway, device and encapsulation put in.

    A dump may hold them already, for old programs, but only if net.ipv4.nexthop_compat_mode is set.
    """
    family, *head = RTMSG.unpack_from(body)
    nh_family, _, _, nh_flags = route.NHMSG.unpack_from(nexthop)
    via = wire.attrs(nexthop, route.NHMSG.size)
    gateway = via.get(uapi.NHA_GATEWAY)
    if gateway is not None and head[5] == uapi.RT_SCOPE_LINK:
        head[5] = uapi.RT_SCOPE_UNIVERSE  # refused beside a gateway, but not beside an object that has one
    out = route.request(memoryview(RTMSG.pack(family, *head) + body[RTMSG.size :]), {})
    attrs = wire.attrs(memoryview(out), RTMSG.size)
    del attrs[uapi.RTA_NH_ID]
    attrs[uapi.RTA_OIF] = via[uapi.NHA_OIF]
    if gateway is not None and nh_family == family:
        attrs[uapi.RTA_GATEWAY] = gateway
    elif gateway is not None:
        attrs[uapi.RTA_VIA] = memoryview(route.U16.pack(nh_family) + bytes(gateway))
    for to, of in ((uapi.RTA_ENCAP_TYPE, uapi.NHA_ENCAP_TYPE), (uapi.RTA_ENCAP, uapi.NHA_ENCAP)):
        if of in via:
            attrs[to] = via[of]
    out = RTMSG.pack(family, *head[:7], nh_flags & uapi.RTNH_F_ONLINK)
    return out + b"".join(wire.attr(type_, value) for type_, value in attrs.items())


# ---- after a move ----


def missing(before: bytes, now: bytes, here: Here | None = None) -> list[bytes]:
    """Request bodies of the routes that a dump no longer has, in the order in which they can be added again.

    Args:
        before, now: Dumps.
        here: ifindex before -> ifindex now, of devices whose ifindex changed.
    """
    there = {route.request(body, {}) for body in route.dumped(now, uapi.RTM_NEWROUTE, RTMSG)}
    gone = [
        request + route.expiry(body)
        for body in route.dumped(before, uapi.RTM_NEWROUTE, RTMSG)
        if not (body[5] == uapi.RTPROT_KERNEL and body[7] in _MADE_WITH_ADDRESSES)
        and (request := route.request(body, here or {})) not in there
    ]
    # Gateways must be reachable first (probe routes.gateway.ipv4-without-address); apart from that, the dump's order.
    return sorted(gone, key=route.needs_gateway)


def made_anew(before: bytes, now: bytes, renumbered: Mapping[int, int]) -> list[bytes]:
    """Bodies of routes that the kernel made again for addresses, although they had been deleted before.

    Args:
        before, now: Dumps.
        renumbered: ifindex before -> ifindex now, of the devices to look at.

    Only for addresses that existed before, as their local routes show: an address added meanwhile keeps its route.
    """
    had = {route.request(body, renumbered) for body in route.dumped(before, uapi.RTM_NEWROUTE, RTMSG)}
    addresses: dict[int, list[bytes]] = {}
    for body in route.dumped(before, uapi.RTM_NEWROUTE, RTMSG):
        found = wire.attrs(body, RTMSG.size)
        oif = renumbered.get(wire.u32(found.get(uapi.RTA_OIF)) or 0)
        if body[7] == uapi.RTN_LOCAL and oif and uapi.RTA_DST in found:
            addresses.setdefault(oif, []).append(bytes(found[uapi.RTA_DST]))
    new = []
    for body in route.dumped(now, uapi.RTM_NEWROUTE, RTMSG):
        of = addresses.get(wire.u32(wire.attrs(body, RTMSG.size).get(uapi.RTA_OIF)) or 0, ())
        is_made = body[5] == uapi.RTPROT_KERNEL and body[7] not in (uapi.RTN_LOCAL, uapi.RTN_ANYCAST)
        if is_made and any(_is_made_with(body, address) for address in of) and route.request(body, {}) not in had:
            new.append(route.request(body, {}))
    return new


def _is_made_with(body: memoryview, address: bytes) -> bool:
    """Whether the kernel made a route for an address: in IPv4 it is the src, in IPv6 the prefix or multicast."""
    found = wire.attrs(body, RTMSG.size)
    dst, rest = bytes(found.get(uapi.RTA_DST, b"")), 128 - body[1]
    if body[0] == uapi.AF_INET:
        return bytes(found.get(uapi.RTA_PREFSRC, b"")) == address
    if len(address) != 16 or len(dst) != 16:
        return False
    return dst[0] == 0xFF or int.from_bytes(dst) >> rest == int.from_bytes(address) >> rest
