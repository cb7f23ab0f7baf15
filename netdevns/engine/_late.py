"""What happened to addresses between a snapshot and the move: what csrc/watch.c does, message for message."""

from __future__ import annotations

from itertools import chain

from .. import uapi, wire
from ..snapshots import IFADDRMSG
from ._replay import Address

DOUBLE_WITHIN = 16  # addresses


def _first_ipv6(found: list[tuple[Address, bytes]]) -> int:
    return next((at for at, (a, _) in enumerate(found) if a.family == uapi.AF_INET6), len(found))


def update(addresses: bytes, told: bytes | memoryview, ifindex: int) -> bytes:
    """Brings a snapshot's addresses up to date with what was told after it.

    The kernel tells of every address that a move, or setting a link down, drops: RTM_DELADDR with all it had, in the
    order of a dump (seen on 5.10, 6.1, 6.12, 6.18 and 7.2). So a late address goes behind the one of its family that
    was told of last. A link that was set down before its move has two drops; an IPv6 address that was added in between
    is newer than all others, so it is in front.

    Deleted on purpose is what the request of a process deleted: IPv4 says whose (nlmsg_pid), IPv6 never does. So an
    IPv6 address that somebody deletes between the snapshot and the move comes back: better one too many than one too
    few. An expired one does not.
    """
    found = [(Address(m), m.padded()) for m in wire.messages(addresses)]
    # Where the next late address goes: of IPv4, of IPv6, which stays behind it.
    places = [0, _first_ipv6(found)]
    for message in wire.messages(told):
        if message.type not in (uapi.RTM_NEWADDR, uapi.RTM_DELADDR) or len(message.body) < IFADDRMSG.size:
            continue
        address = Address(message)
        if IFADDRMSG.unpack_from(message.body)[4] != ifindex:
            continue
        is_ipv6, is_new = address.family == uapi.AF_INET6, message.type == uapi.RTM_NEWADDR
        # What is told next lies behind what was told last: ten thousand are not to be compared with each other.
        around = chain(range(places[is_ipv6], len(found)), range(places[is_ipv6]))
        old = next((at for at in around if found[at][0].identity == address.identity), None)
        at = places[is_ipv6] if old is None else old
        # A dump of one device's IPv6 addresses may list one twice, and no NLM_F_DUMP_INTR says so, as it does in one of
        # all devices' (probe dumps.interrupted.addresses.ipv6-added): what is added between two of its parts shifts the
        # rest by one (seen on 5.10 and 7.2). The second one lies close behind.
        behind = range(at + 1, min(at + 1 + DOUBLE_WITHIN, len(found))) if old is not None else ()
        double = next((i for i in behind if found[i][0].identity == address.identity), None)
        if double is not None:
            del found[double]
            places = [place - (place > double) for place in places]
        if not is_new and (address.valid == 0 or (not is_ipv6 and message.portid)):
            if old is not None:
                del found[old]
                places = [place - (place > old) for place in places]
            continue
        as_dumped = (address, wire.NLMSGHDR.pack(len(message.data), uapi.RTM_NEWADDR, message.flags, message.seq,
                                                 message.portid) + message.padded()[16:])  # fmt: skip
        if old is not None:
            found[old] = as_dumped
        elif not is_new:  # a new one is still there, or its RTM_DELADDR follows and says where it was
            found.insert(at, as_dumped)
            places = [places[0] + (places[0] > at), places[1] + (places[1] >= at)]
        # A drop is told in one piece: what is told of after a new one is the beginning of another.
        places[is_ipv6] = at + 1 if not is_new else _first_ipv6(found) if is_ipv6 else 0
    return b"".join(data for _, data in found)
