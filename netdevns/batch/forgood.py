"""What nothing can put back after an undo, told all the same: it is of no use to try again."""

from __future__ import annotations

from collections.abc import Iterable

from ..engine import PLACE_SOURCE, EngineError, Socket, lookups
from ..netlink import ifaddr, uapi, wire
from . import stacking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .plan import Member

DELETED = "the device: the kernel deleted it when what it lay on left"


def find_ended(source: Socket, touched: Iterable[Member], uppers: Iterable[Member]) -> None:
    """Devices that stayed, which the kernel deleted when their lower left."""
    staying = [*uppers]
    ending = stacking.ending([m.link for m in staying], [m.link.ifindex for m in touched])
    for member in (m for m in staying if m.link.ifindex in ending):
        try:
            now = lookups.link(source, ifindex=member.link.ifindex)
        except (EngineError, wire.Malformed):
            continue  # what is asked next says what stands against it
        member.ended = now is None or now.kind != member.link.kind


def find(source: Socket, members: Iterable[Member]) -> None:
    """Sets `for_good` of each. Raises EngineError, Malformed."""
    here = [m for m in members if m.device.place == PLACE_SOURCE and not m.ended]
    told = {m: _temporary(m.device.addresses) for m in here}
    now: dict[int, set[object]] = {}
    if any(told.values()):
        for ifindex, fields in ifaddr.indexed_addresses(lookups.dump(source, ifaddr.dump_addresses())):
            if _is_temporary(fields):
                now.setdefault(ifindex, set()).add(fields["address"])
    for member in members:
        member.for_good = [DELETED] if member.ended else []
    for member in here:
        lost = [a for a in told[member] if a not in now.get(member.device.ifindex, ())]
        if lost:
            member.for_good.append(f"that {', '.join(lost)} {'are' if len(lost) > 1 else 'is'} temporary")


def _temporary(dumped: bytes) -> list[str]:
    """Addresses that the kernel made for privacy (RFC 8981): set again, they live as long, but are not replaced."""
    return [str(fields["address"]) for fields in ifaddr.addresses(dumped) if _is_temporary(fields)]


def _is_temporary(fields: dict[str, object]) -> bool:
    return fields["family"] == "inet6" and bool(int(str(fields["flags"])) & uapi.IFA_F_SECONDARY)
