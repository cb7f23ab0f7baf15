"""Routes of the source: which devices carry a default route, how many go with a device, and what to put back.

IPv4 routes vanish untold when a device leaves, and those of other devices by a `src` (told on later kernels) or by one
leg (probes notify.route.ipv4, notify.route.source-address, notify.route.multipath-leg). All are dumped before, and
compared after an undo.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from ..engine import Socket, foreign_routes, lookups
from ..netlink import route, uapi, wire
from ..netlink.route import RTMSG
from .kind import DIRECT, GATEWAY, REMOVE, Finding, Here, Kind, Leaving, Repair, View

# The kernel makes these with the addresses, and not before DAD is done: they are not ours to put back.
_MADE_WITH_ADDRESSES = (uapi.RTN_LOCAL, uapi.RTN_BROADCAST, uapi.RTN_ANYCAST, uapi.RTN_MULTICAST)


class Routes(Kind):
    name = "routes"
    stages = (REMOVE, DIRECT, GATEWAY)
    needs = ("nexthops",)
    messages = ((uapi.RTM_NEWROUTE, RTMSG.size),)
    can_be_preserved = True

    def read(self, socket: Socket, links: Mapping[int, wire.Link], about: Collection[int]) -> bytes:
        """Those that nd_filter_keeps keeps (csrc/netdevns-core.h): there may be a whole Internet of them."""
        del links
        return lookups.dump(socket, route.DUMP_ROUTES, about=about)

    def findings(self, before: View, leaving: Leaving) -> Iterator[Finding]:
        routes, nexthops = before.of("routes"), before.of("nexthops")
        found = RouteUsage(routes, nexthops, leaving.ifindexes)
        for ifindex in sorted(found.default):
            yield Finding(ifindex, "device.default-route", "a default route")
        if self.name in leaving.preserve:
            for each in portable(routes, nexthops, leaving.ifindexes):
                if not each.body:  # it makes no sense in the target
                    yield Finding(each.ifindex, "loss.routes", each.text)
        else:
            for ifindex, count in found.counts.items():
                yield Finding(ifindex, "loss.routes", _count(count))
        for ifindex, count in Counter(found.source_owners(routes)).items():
            yield Finding(ifindex, "loss.routes", f"{_count(count)} of other devices, whose src is an address of it")

    def repairs(self, before: View, now: View, here: Here) -> Iterator[Repair]:
        """All of them and not only those of the batch: a route of another device goes, too, with its `src` or a leg.

        (probes routes.move.ipv4-src, routes.move.ipv4-multipath) A route that somebody else deleted in these
        milliseconds comes back with them.
        """
        ours = {ifindex: here[ifindex] for ifindex in before.links if ifindex in here}
        for body in made_anew(before.of(self.name), now.of(self.name), ours):
            yield Repair(_owner(body, here), REMOVE, f"without {route.text(body)}", route.remove(body))
        # A gateway must be reachable when it is used: by a nexthop object, or by a route.
        away, by_nexthop = before.away(here), route.nexthop_devices(before.of("nexthops"))
        for body in missing(before.of(self.name), now.of(self.name), here):
            by = route.devices_of(wire.attrs(memoryview(body), RTMSG.size), by_nexthop)
            if not by or not by <= away:  # of devices that are not here it is told, with all that hung on them
                stage = GATEWAY if route.needs_gateway(body) else DIRECT
                yield Repair(_owner(body, here), stage, route.text(body), route.add(body))

    def preserve(self, before: View, there: View, here: Here) -> Iterator[Repair]:
        """Beside those that the target has, never with them: IPv6 routes of one metric would share the traffic."""
        arrived = Counter(
            route.place(bytes(body))
            for body in route.dumped(there.of(self.name), uapi.RTM_NEWROUTE, RTMSG)
            if body[5] != uapi.RTPROT_KERNEL and _owner(bytes(body), here)
        )
        ours: dict[object, bool] = {}  # whether the last one before is there, by place
        for each in portable(before.of("routes"), before.of("nexthops"), here):
            if not each.body:  # told by the check
                continue
            body = route.by_devices(each.body, here)
            place = route.place(body)
            behind, is_there = ours.get(place), arrived[place] > 0
            ours[place] = is_there
            arrived[place] -= 1
            if not is_there:  # behind one of ours once that is there, and never behind somebody else's
                stage = GATEWAY if route.needs_gateway(body) else DIRECT
                request = None if behind is False else route.add_new(body, behind=bool(behind))
                yield Repair(here[each.ifindex], stage, each.text, request)

    def lend(self, before: View, here: Here, elapsed_s: int, ended: Collection[bytes]) -> bytes:
        """Those that leave by these devices alone and have not run out: others are their owners' business."""
        by_nexthop, kept = route.nexthop_devices(before.of("nexthops")), []
        for message in wire.messages(before.of(self.name)):
            if message.type != uapi.RTM_NEWROUTE or len(message.body) < RTMSG.size:
                continue
            found = wire.attrs(message.body, RTMSG.size)
            by = route.devices_of(found, by_nexthop)
            if not by or not by <= here.keys() or bytes(found.get(uapi.RTA_PREFSRC, b"")) in ended:
                continue
            data = bytearray(message.padded())
            if route.age(memoryview(data)[16:], elapsed_s):
                kept.append(bytes(data))
        return b"".join(kept)


def _count(count: int) -> str:
    return f"{count} route{'s' if count > 1 else ''}"


def _owner(body: bytes, here: Here) -> int:
    """The device that a route, as a request, leaves by first; 0: none of these."""
    by = route.devices_of(wire.attrs(memoryview(body), RTMSG.size), {})
    return next((ifindex for ifindex in sorted(by) if ifindex in here.values()), 0)


# ---- before a move ----


class RouteUsage:
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
        """For each IPv4 route of a device that stays whose `src` leaves, which has it: the kernel deletes that route.

        (probes routes.told.ipv4-src, routes.move.ipv4-src)
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
    """A route of devices that leave, or a nexthop object of theirs.

    Attributes:
        ifindex: The first of these devices, as it was dumped.
        body: As `missing_routes` has them, with the ifindexes as they were dumped; b"": it makes no sense elsewhere.
        text: In short words, for a message; with the reason where there is no body.
    """

    ifindex: int
    body: bytes
    text: str


def portable(routes: bytes, nexthops: bytes, leaving: Collection[int]) -> list[Portable]:
    """What could be carried along when devices leave together, in the order in which it can be added.

    Nothing that a kernel makes by itself with addresses or at a router's word. A nexthop object stays behind, since its
    id may mean something else elsewhere; a route by a simple one is told as a route with that gateway.
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
    """The nexthop objects by id that are no group: the bodies of their messages."""
    simple = {}
    for body in route.dumped(nexthops, uapi.RTM_NEWNEXTHOP, route.NHMSG):
        attrs = wire.attrs(body, route.NHMSG.size)
        id_ = wire.u32(attrs.get(uapi.NHA_ID))
        if id_ is not None and uapi.NHA_GROUP not in attrs:
            simple[id_] = body
    return simple


def _by_nexthop(body: memoryview, nexthop: memoryview) -> bytes:
    """A route by a nexthop object as one without; what a dump tells old programs of the object is an option."""
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


# ---- after one ----


def missing(before: bytes, now: bytes, here: Here | None = None) -> list[bytes]:
    """Request bodies of the routes that a dump no longer has, in the order in which they can be added again.

    Args:
        before, now: Dumps.
        here: ifindex before -> ifindex now, of devices that came back under another number.
    """
    there = {route.request(body, {}) for body in route.dumped(now, uapi.RTM_NEWROUTE, RTMSG)}
    gone = [
        request + route.expiry(body)
        for body in route.dumped(before, uapi.RTM_NEWROUTE, RTMSG)
        if not (body[5] == uapi.RTPROT_KERNEL and body[7] in _MADE_WITH_ADDRESSES)
        and (request := route.request(body, here or {})) not in there
    ]
    # A gateway must be reachable (probe routes.gateway.ipv4-without-address); within each kind the dump's order stays.
    return sorted(gone, key=route.needs_gateway)


def made_anew(before: bytes, now: bytes, renumbered: Mapping[int, int]) -> list[bytes]:
    """Bodies of the routes that the kernel made again with addresses, although somebody had taken them away.

    Args:
        before, now: Dumps.
        renumbered: ifindex before -> ifindex now, of the devices to look at.

    Only of addresses that were there before, as the local route of each shows: who adds one meanwhile keeps its route.
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
    """Whether the kernel makes that route for an address: IPv4 tells it; IPv6's prefix, and the one for groups."""
    found = wire.attrs(body, RTMSG.size)
    dst, rest = bytes(found.get(uapi.RTA_DST, b"")), 128 - body[1]
    if body[0] == uapi.AF_INET:
        return bytes(found.get(uapi.RTA_PREFSRC, b"")) == address
    if len(address) != 16 or len(dst) != 16:
        return False
    return dst[0] == 0xFF or int.from_bytes(dst) >> rest == int.from_bytes(address) >> rest
