"""The two times that a batch is read: as it is before the move, and as it arrived. In few exchanges for all."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Sequence

from ..engine import EngineError, Socket, lookups
from ..netlink import wire
from ..state import sysctls
from .failures import step
from .plan import Member, Plan


def load(*, results: bool, preserve: Collection[str]) -> None:
    """Imports what only the end of a move needs: a module that cannot be read any more would come too late then."""
    if results:
        from ..results import Left, Moved  # noqa: F401
    if preserve:
        from . import preserved  # noqa: F401


def snapshots(source: Socket, members: Sequence[Member]) -> None:
    """One dump of addresses; the links are those that the check has just read."""
    if not members:
        return
    found = step(_one(members), "snapshot", lookups.addresses, source, [member.link.ifindex for member in members])
    for member in members:
        step(member, "snapshot", member.device.snapshot, source, (member.link.message(), found[member.link.ifindex]))


def verify(target: Socket, members: Sequence[Member]) -> Iterator[Member]:
    """Compares what arrived with the snapshots, and yields each device that is as it was."""
    if not members:
        return
    ifindexes = [member.device.target_ifindex for member in members]
    size = sum(member.device.addresses_size for member in members)
    links, found = step(_one(members), "verify", lookups.links_and_addresses, target, ifindexes, size)
    for member, link, ifindex in zip(members, links, ifindexes, strict=True):
        step(member, "verify", _compare, member, target, link, found[ifindex])
        if member.link.altnames:
            step(member, "verify", _altnames, member, wire.Link(link.body))
        yield member


def _one(members: Sequence[Member]) -> Member | None:
    """Whose fault it is when an exchange for all fails."""
    return members[0] if len(members) == 1 else None


def _compare(member: Member, target: Socket, answer: wire.Message, addresses: bytes | memoryview) -> None:
    if code := lookups.refused(answer):
        raise EngineError(code, wire.error(answer)[1], "verify")
    member.arrived = bytes(answer.data)
    member.device.verify(target, (member.arrived, addresses))


def resets(plan: Plan, member: Member) -> list[str]:
    """Its sysctls that are the target's now, in short words; where they were to be preserved, `carry` reports them."""
    if "sysctls" in plan.preserve:
        return []
    tokens = sysctls.tokens_of(plan.state.get("sysctls", b""))
    return sysctls.resets(member.link, tokens.get(member.link.ifindex), member.arrived)


def _altnames(member: Member, arrived: wire.Link) -> None:
    if set(arrived.altnames) != set(member.link.altnames):
        raise EngineError(errno.ESTALE, "its alternative names did not arrive", "verify")
