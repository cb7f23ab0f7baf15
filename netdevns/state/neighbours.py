"""Permanent neighbours and proxies of a device, which vanish when it goes down or leaves, and MACs that it listens to.

(probes neighbours.down.permanent, neighbours.down.proxy, neighbours.move.permanent, neighbours.move.proxy)
The latter are its own forwarding database: a move flushes a device's unicast filter (probe
multicast.hardware.unicast). Layout: linux/neighbour.h (struct ndmsg). Learned entries are not kept: the kernel learns
them again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from struct import Struct

from ..netlink import uapi, wire
from ..netlink.ifaddr import address_text

NDMSG = Struct("=BxxxiHBB")  # ndm_family, ndm_ifindex, ndm_state, ndm_flags, ndm_type

# What RTM_NEWNEIGH takes; a dump carries more (NDA_CACHEINFO, NDA_PROBES).
_ATTRS = (uapi.NDA_DST, uapi.NDA_LLADDR, uapi.NDA_PROTOCOL, uapi.NDA_FLAGS_EXT)

# The kernel keeps proxies apart and tells either the ones or the others. The third dump is FDB.
DUMPS = tuple(
    wire.message(uapi.RTM_GETNEIGH, uapi.NLM_F_DUMP, NDMSG.pack(family, 0, 0, flags, 0))
    for family, flags in ((0, 0), (0, uapi.NTF_PROXY), (uapi.AF_BRIDGE, 0))
)
FDB = 2


def kept(dumped: bytes, ifindexes: Collection[int], *, external: bool = False) -> list[bytes]:
    """The permanent entries and the proxies of some devices: bodies of RTM_NEWNEIGH, without what is not sent again.

    `external`: those, too, that a program keeps up to date (NTF_EXT_LEARNED), a routing daemon for one.
    """
    return list(_kept(dumped, ifindexes, uapi.NTF_PROXY | (uapi.NTF_EXT_LEARNED if external else 0)))


def _kept(dumped: bytes, ifindexes: Collection[int], flagged: int) -> Iterator[bytes]:
    for message in wire.messages(dumped):
        if message.type != uapi.RTM_NEWNEIGH or len(message.body) < NDMSG.size:
            continue
        family, ifindex, state, flags, type_ = NDMSG.unpack_from(message.body)
        is_ours = state & uapi.NUD_PERMANENT or flags & flagged
        if ifindex not in ifindexes or not is_ours:
            continue
        found = wire.attrs(message.body, NDMSG.size)
        if family == uapi.AF_BRIDGE and not _is_of_filter(flags, found):
            continue
        if family not in (uapi.AF_INET, uapi.AF_INET6, uapi.AF_BRIDGE):
            continue
        attrs = b"".join(wire.attr(type_, found[type_]) for type_ in _ATTRS if type_ in found)
        yield NDMSG.pack(family, ifindex, state, flags, type_) + attrs


def _is_of_filter(flags: int, found: Mapping[int, memoryview]) -> bool:
    """Whether an entry is one of a device's unicast filter: not a bridge's (ports.py), a group's, or a tunnel's."""
    mac = bytes(found.get(uapi.NDA_LLADDR, b""))
    return bool(flags & uapi.NTF_SELF and mac and not mac[0] & 1) and uapi.NDA_DST not in found


def lladdr(body: bytes) -> bytes:
    """An entry's MAC."""
    return bytes(wire.attrs(memoryview(body), NDMSG.size).get(uapi.NDA_LLADDR, b""))


def ifindex(body: bytes) -> int:
    """Whose an entry is."""
    return int(NDMSG.unpack_from(body)[1])


def on(body: bytes, ifindexes: Mapping[int, int]) -> bytes:
    """The same entry on the device's ifindex of now."""
    family, ifindex, state, flags, type_ = NDMSG.unpack_from(body)
    return NDMSG.pack(family, ifindexes.get(ifindex, ifindex), state, flags, type_) + body[NDMSG.size :]


def add(body: bytes) -> bytes:
    """The request that adds an entry."""
    return wire.message(uapi.RTM_NEWNEIGH, uapi.NLM_F_ACK | uapi.NLM_F_CREATE | uapi.NLM_F_REPLACE, body)


def text(body: bytes) -> str:
    """An entry, in the words of ip-neighbour(8)."""
    family, _, _, flags, _ = NDMSG.unpack_from(body)
    found = wire.attrs(memoryview(body), NDMSG.size)
    proxy = "proxy " if flags & uapi.NTF_PROXY else ""
    if family == uapi.AF_BRIDGE:
        return f"fdb {lladdr(body).hex(':')} self"
    mac = f" lladdr {lladdr(body).hex(':')}" if uapi.NDA_LLADDR in found else ""
    return f"neighbour {proxy}{address_text(family, bytes(found.get(uapi.NDA_DST, b'')))}{mac}"
