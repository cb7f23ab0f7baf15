"""Restores a device's permanent and noarp neighbours, proxies and unicast filter, which a move flushes.

Probes: neighbours.down.permanent, neighbours.down.proxy, neighbours.move.permanent, neighbours.move.noarp,
neighbours.move.proxy. The unicast filter, shown as `fdb ... self`, holds the MACs that the device receives besides its
own (probe multicast.hardware.unicast).

Other neighbours need no restore. The kernel resolves them again, and makes noarp entries itself: for groups and
broadcasts on any device, and for all addresses on a device without ARP (probes neighbours.noarp.arp,
neighbours.noarp.no-arp). Nothing marks these, so an equal entry that a user added counts as one of the kernel's.
`engine.reference.filter` and csrc/filter.c drop on receipt the entries that can be recognized by the message alone;
`read` and csrc/detect.c drop those that the device's MAC gives away. Layout: linux/neighbour.h (struct ndmsg).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from struct import Struct

from ..engine import Socket, lookups
from ..netlink import uapi, wire
from ..netlink.ifaddr import address_text
from ..text.quote import shown
from .kind import UP, Finding, Here, Kind, Leaving, Repair, View

NDMSG = Struct("=BxxxiHBB")  # ndm_family, ndm_ifindex, ndm_state, ndm_flags, ndm_type

# The attributes that RTM_NEWNEIGH accepts; a dump has more (NDA_CACHEINFO, NDA_PROBES).
_ATTRS = (uapi.NDA_DST, uapi.NDA_LLADDR, uapi.NDA_PROTOCOL, uapi.NDA_FLAGS_EXT)

LEVELS = 8  # of devices on top of each other (MAX_NEST_DEV, include/linux/netdevice.h)

# The kernel dumps proxies only on request, and then nothing else.
DUMPS = tuple(
    wire.message(uapi.RTM_GETNEIGH, uapi.NLM_F_DUMP, NDMSG.pack(family, 0, 0, flags, 0))
    for family, flags in ((0, 0), (0, uapi.NTF_PROXY), (uapi.AF_BRIDGE, 0))
)


class Neighbours(Kind):
    name = "neighbours"
    stages = (UP,)
    messages = ((uapi.RTM_NEWNEIGH, NDMSG.size),)
    can_be_preserved = True

    def read(self, socket: Socket, links: Mapping[int, wire.Link], about: Collection[int]) -> bytes:
        return b"".join(
            message.padded()
            for dump in DUMPS
            for message in wire.messages(lookups.dump(socket, dump, about=about))
            if (body := _kept(message, about, uapi.NTF_PROXY | uapi.NTF_EXT_LEARNED)) and not _is_kernels(body, links)
        )

    def findings(self, before: View, leaving: Leaving) -> Iterator[Finding]:
        entries: Counter[int] = Counter()
        own: Counter[int] = Counter()
        macs = {*_of_uppers(before.links)}
        for body in kept(before.of(self.name), leaving.ifindexes):
            owner = ifindex(body)
            if not is_filter(body):
                entries[owner] += 1
            elif (owner, lladdr(body)) not in macs:
                own[owner] += 1
        for owner, count in entries.items() if self.name not in leaving.preserve else ():
            yield Finding(owner, "loss.neighbours", f"{count} neighbour{'s' if count > 1 else ''}")
        for owner, count in own.items():
            show = f"bridge fdb show dev {shown(before.links[owner].name)}"
            words = f"{count} additional MAC address{'es' if count > 1 else ''} ({show})"
            yield Finding(owner, "loss.fdb", words)

    def repairs(self, before: View, now: View, here: Here) -> Iterator[Repair]:
        """Includes entries of uppers and masters: a bridge loses its own when its MAC changes as a port leaves."""
        there = {*kept(now.of(self.name), {*here.values()}, external=True)}
        for body in kept(before.of(self.name), here, external=True):
            body = on(body, here)
            if body not in there:
                yield Repair(ifindex(body), UP, text(body), add(body))

    def preserve(self, before: View, there: View, here: Here) -> Iterator[Repair]:
        arrived = {*kept(there.of(self.name), {*here.values()})}
        for body in kept(before.of(self.name), here):
            body = on(body, here)
            if body not in arrived and not is_filter(body):
                yield Repair(ifindex(body), UP, text(body), add(body))

    def lend(self, before: View, here: Here, elapsed_s: int, ended: Collection[bytes]) -> bytes:
        del elapsed_s, ended
        return b"".join(
            message.padded()
            for message in wire.messages(before.of(self.name))
            if message.type == uapi.RTM_NEWNEIGH
            and len(message.body) >= NDMSG.size
            and ifindex(bytes(message.body)) in here
        )


def _of_uppers(links: Mapping[int, wire.Link]) -> Iterator[tuple[int, bytes]]:
    """Pairs of a device and an upper device's MAC.

    That MAC is in the device's filter because of the upper device, so it is not reported.
    """
    for link in links.values():
        lower = link.lower
        for _ in range(LEVELS):
            if lower is None:
                break
            yield lower, link.mac
            lower = links[lower].lower if lower in links else None


def kept(dumped: bytes, ifindexes: Collection[int], *, external: bool = False) -> list[bytes]:
    """Permanent and noarp entries and proxies of some devices: RTM_NEWNEIGH bodies, reduced to what a request may have.

    `external`: includes entries that a program maintains, such as a routing daemon (NTF_EXT_LEARNED).
    """
    flagged = uapi.NTF_PROXY | (uapi.NTF_EXT_LEARNED if external else 0)
    found = (_kept(message, ifindexes, flagged) for message in wire.messages(dumped))
    return [body for body in found if body]


def _kept(message: wire.Message, ifindexes: Collection[int], flagged: int) -> bytes:
    """The entry of a message; b"": not one to keep."""
    if message.type != uapi.RTM_NEWNEIGH or len(message.body) < NDMSG.size:
        return b""
    family, ifindex, state, flags, type_ = NDMSG.unpack_from(message.body)
    is_noarp = state & uapi.NUD_NOARP and type_ == uapi.RTN_UNICAST and family != uapi.AF_BRIDGE
    is_ours = state & uapi.NUD_PERMANENT or flags & flagged or is_noarp
    if ifindex not in ifindexes or not is_ours or family not in (uapi.AF_INET, uapi.AF_INET6, uapi.AF_BRIDGE):
        return b""
    found = wire.attrs(message.body, NDMSG.size)
    if family == uapi.AF_BRIDGE and not _is_of_filter(flags, found):
        return b""
    attrs = b"".join(wire.attr(type_, found[type_]) for type_ in _ATTRS if type_ in found)
    return NDMSG.pack(family, ifindex, state, flags, type_) + attrs


def _is_kernels(body: bytes, links: Mapping[int, wire.Link]) -> bool:
    """Whether a kept entry is as the kernel makes them on a device without ARP: with the device's MAC, or with none."""
    _, ifindex, state, flags, _ = NDMSG.unpack_from(body)
    if not state & uapi.NUD_NOARP or flags & (uapi.NTF_PROXY | uapi.NTF_EXT_LEARNED):
        return False
    mac = lladdr(body)
    return not mac.strip(b"\0") or (ifindex in links and mac == links[ifindex].mac)


def _is_of_filter(flags: int, found: Mapping[int, memoryview]) -> bool:
    """Whether an entry is in a device's unicast filter, and not a bridge's (ports.py), a group's or a tunnel's."""
    mac = bytes(found.get(uapi.NDA_LLADDR, b""))
    return bool(flags & uapi.NTF_SELF and mac and not mac[0] & 1) and uapi.NDA_DST not in found


def is_filter(body: bytes) -> bool:
    """Whether a kept entry is in a device's unicast filter, and not a neighbour."""
    return body[0] == uapi.AF_BRIDGE


def lladdr(body: bytes) -> bytes:
    """An entry's MAC."""
    return bytes(wire.attrs(memoryview(body), NDMSG.size).get(uapi.NDA_LLADDR, b""))


def ifindex(body: bytes) -> int:
    """The device of an entry."""
    return int(NDMSG.unpack_from(body)[1])


def on(body: bytes, ifindexes: Mapping[int, int]) -> bytes:
    """The same entry with the device's present ifindex."""
    family, ifindex, state, flags, type_ = NDMSG.unpack_from(body)
    return NDMSG.pack(family, ifindexes.get(ifindex, ifindex), state, flags, type_) + body[NDMSG.size :]


def add(body: bytes) -> bytes:
    """The request that adds an entry."""
    return wire.message(uapi.RTM_NEWNEIGH, uapi.NLM_F_ACK | uapi.NLM_F_CREATE | uapi.NLM_F_REPLACE, body)


def text(body: bytes) -> str:
    """An entry in the notation of ip-neighbour(8)."""
    family, _, _, flags, _ = NDMSG.unpack_from(body)
    found = wire.attrs(memoryview(body), NDMSG.size)
    proxy = "proxy " if flags & uapi.NTF_PROXY else ""
    if family == uapi.AF_BRIDGE:
        return f"fdb {lladdr(body).hex(':')} self"
    mac = f" lladdr {lladdr(body).hex(':')}" if uapi.NDA_LLADDR in found else ""
    return f"neighbour {proxy}{address_text(family, bytes(found.get(uapi.NDA_DST, b'')))}{mac}"
