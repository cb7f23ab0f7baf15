"""What happened to addresses between a snapshot and the move: what csrc/notify.c does, message for message."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from ...netlink import uapi, wire
from ...netlink.ifaddr import IFADDRMSG
from .address import Address, address_at, addresses_in

DOUBLE_WITHIN = 16  # addresses


def _told_of(ifindex: int, told: bytes) -> Iterator[tuple[bool, Address]]:
    """Whether it is new, or gone; and which."""
    for type_, at, end in wire.spans(told):
        if type_ not in (uapi.RTM_NEWADDR, uapi.RTM_DELADDR) or end - at < IFADDRMSG.size:
            continue
        if wire.U32.unpack_from(told, at + 4)[0] == ifindex:
            yield type_ == uapi.RTM_NEWADDR, address_at(told, at, end)


def _is_deleted(gone: Address) -> bool:
    """On purpose is what the request of a process deleted: IPv4 says whose (nlmsg_pid), IPv6 never does.

    So an IPv6 address that somebody deletes between the snapshot and the move comes back: better one too many than one
    too few. An expired one does not.
    """
    portid = wire.U32.unpack_from(gone.data, gone.at - 4)[0]
    return (portid != 0 and gone.family != uapi.AF_INET6) or gone.lifetimes[1] == 0


def _as_dumped(told: Address) -> bytes:
    """Its message as one of a snapshot's."""
    size, _, *more = wire.NLMSGHDR.unpack_from(told.data, told.at - 16)
    return wire.NLMSGHDR.pack(size, uapi.RTM_NEWADDR, *more) + told.body + bytes(-size & 3)


def is_as_dumped(addresses: bytes, told: bytes, ifindex: int) -> bool:
    """Whether what was told is the drop of what the snapshot has, of each family all or nothing, and nothing else.

    So it is but for a race. Then nothing is to be taken over, and nothing of ten thousand addresses is kept for it.
    """
    border = next((at - 16 for _, at, _ in wire.spans(addresses) if addresses[at] == uapi.AF_INET6), len(addresses))
    dumped = (wire.spans(addresses, 0, border), wire.spans(addresses, border))
    were_told = [False, False]
    for is_new, address in _told_of(ifindex, told):
        is_ipv6 = address.family == uapi.AF_INET6
        were_told[is_ipv6] = True
        _, at, end = next(dumped[is_ipv6], (0, 0, 0))
        if is_new or _is_deleted(address) or addresses[at:end] != address.body:
            return False
    return not any(were and next(rest, None) for were, rest in zip(were_told, dumped, strict=True))


def _first_ipv6(found: list[tuple[Address, bytes]]) -> int:
    return next((at for at, (a, _) in enumerate(found) if a.family == uapi.AF_INET6), len(found))


def update(addresses: bytes, told: bytes, ifindex: int) -> bytes:
    """Brings a snapshot's addresses up to date with what was told after it.

    The kernel tells of every address that a move, or setting a link down, drops: RTM_DELADDR with all it had, in the
    order of a dump (seen on 5.10, 6.1, 6.12, 6.18 and 7.2). So a late address goes behind the one of its family that
    was told of last. A link that was set down before its move has two drops; an IPv6 address that was added in between
    is newer than all others, so it is in front.
    """
    found = [(a, addresses[a.at - 16 : (a.end + 3) & ~3]) for a in addresses_in(addresses)]
    # Where the next late address goes: of IPv4, of IPv6, which stays behind it.
    places = [0, _first_ipv6(found)]
    for is_new, address in _told_of(ifindex, told):
        is_ipv6 = address.family == uapi.AF_INET6
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
        if not is_new and _is_deleted(address):
            if old is not None:
                del found[old]
                places = [place - (place > old) for place in places]
            continue
        if old is not None:
            found[old] = (address, _as_dumped(address))
        elif not is_new:  # a new one is still there, or its RTM_DELADDR follows and says where it was
            found.insert(at, (address, _as_dumped(address)))
            places = [places[0] + (places[0] > at), places[1] + (places[1] >= at)]
        # A drop is told in one piece: what is told of after a new one is the beginning of another.
        places[is_ipv6] = at + 1 if not is_new else _first_ipv6(found) if is_ipv6 else 0
    return b"".join(data for _, data in found)
