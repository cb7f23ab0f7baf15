"""Merges address notifications that arrived after a snapshot into it: csrc/notify.c in Python."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from ...netlink import uapi, wire
from ...netlink.ifaddr import IFADDRMSG
from .address import Address, addresses_in

DOUBLE_WITHIN = 16  # addresses


def _events(ifindex: int, notifications: bytes) -> Iterator[tuple[bool, Address]]:
    """Each address that was added (True) or removed (False) on a device."""
    for type_, at, end in wire.spans(notifications):
        if type_ not in (uapi.RTM_NEWADDR, uapi.RTM_DELADDR) or end - at < IFADDRMSG.size:
            continue
        if wire.U32.unpack_from(notifications, at + 4)[0] == ifindex:
            yield type_ == uapi.RTM_NEWADDR, Address(notifications, at, end)


def _is_deleted(gone: Address) -> bool:
    """Whether a process deleted the address, or it expired; otherwise the kernel dropped it.

    Only IPv4 names the process (nlmsg_pid). So an IPv6 address that is deleted between the snapshot and the move is
    restored: one address too many is better than one too few.
    """
    portid = wire.U32.unpack_from(gone.data, gone.at - 4)[0]
    return (portid != 0 and gone.family != uapi.AF_INET6) or gone.lifetimes[1] == 0


def _as_dumped(address: Address) -> bytes:
    """A notification as the RTM_NEWADDR of a dump."""
    size, _, *more = wire.NLMSGHDR.unpack_from(address.data, address.at - 16)
    return wire.NLMSGHDR.pack(size, uapi.RTM_NEWADDR, *more) + address.body + bytes(-size & 3)


def is_as_dumped(addresses: bytes, notifications: bytes, ifindex: int) -> bool:
    """Whether the notifications are only the kernel's drop of the snapshot's addresses, all of a family or none.

    Always so except in a race. The snapshot is then up to date, and no list of its addresses is made.
    """
    border = next((at - 16 for _, at, _ in wire.spans(addresses) if addresses[at] == uapi.AF_INET6), len(addresses))
    dumped = (wire.spans(addresses, 0, border), wire.spans(addresses, border))
    was_dropped = [False, False]
    for is_new, address in _events(ifindex, notifications):
        is_ipv6 = address.family == uapi.AF_INET6
        was_dropped[is_ipv6] = True
        _, at, end = next(dumped[is_ipv6], (0, 0, 0))
        if is_new or _is_deleted(address) or addresses[at:end] != address.body:
            return False
    return not any(was and next(rest, None) for was, rest in zip(was_dropped, dumped, strict=True))


def _first_ipv6(found: list[tuple[Address, bytes]]) -> int:
    return next((at for at, (a, _) in enumerate(found) if a.family == uapi.AF_INET6), len(found))


def update(addresses: bytes, notifications: bytes, ifindex: int) -> bytes:
    """Returns a snapshot's addresses, brought up to date with the notifications that came after it.

    The kernel sends a complete RTM_DELADDR for each address that a move, or setting the link down, drops, in dump order
    (seen on 5.10, 6.1, 6.12, 6.18 and 7.2). So a late address goes behind the one of its family that was notified
    last. A link that was set down before its move has two drops; an IPv6 address that was added in between is newer
    than all others and goes to the front.
    """
    found = [(a, addresses[a.at - 16 : (a.end + 3) & ~3]) for a in addresses_in(addresses)]
    # Where the next late address goes, of IPv4 and of IPv6; all of IPv6 stay behind all of IPv4.
    places = [0, _first_ipv6(found)]
    for is_new, address in _events(ifindex, notifications):
        is_ipv6 = address.family == uapi.AF_INET6
        # Notifications come in dump order, so the search begins behind the last hit: linear for 10,000 addresses.
        around = chain(range(places[is_ipv6], len(found)), range(places[is_ipv6]))
        old = next((at for at in around if found[at][0].identity == address.identity), None)
        at = places[is_ipv6] if old is None else old
        # A dump of one device's IPv6 addresses may list one twice: an address added between two of its parts shifts the
        # rest by one (seen on 5.10 and 7.2), and NLM_F_DUMP_INTR is not set, as it is in a dump of all devices (probe
        # dumps.interrupted.addresses.ipv6-added). The second one lies close behind.
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
        # An RTM_NEWADDR ends a run of RTM_DELADDRs: the next one begins another drop.
        places[is_ipv6] = at + 1 if not is_new else _first_ipv6(found) if is_ipv6 else 0
    return b"".join(data for _, data in found)
