"""The two times that a batch is read: as it is before the move, and as it arrived. In few exchanges for all."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

from . import lookups, wire
from .engine import Device, EngineError, Socket
from .failures import step
from .member import Member


def snapshots(source: Socket, members: Sequence[Member]) -> None:
    """Of the addresses one dump for all; the links are those that the check has just read."""
    if len(members) == 1:
        step(members[0], "snapshot", members[0].device.snapshot, source)
        return
    found = step(None, "snapshot", lookups.addresses, source, [member.link.ifindex for member in members])
    for member in members:
        step(member, "snapshot", member.device.snapshot, source, (member.link.message(), found[member.link.ifindex]))


def verify(target: Socket, members: Sequence[Member]) -> Iterator[Member]:
    """Compares what arrived with the snapshots, and yields each device that is as it was."""
    is_batch = len(members) > 1
    if is_batch:
        ifindexes = [member.device.target_ifindex for member in members]
        links = step(None, "verify", lookups.ask, target, [wire.get_link(ifindex) for ifindex in ifindexes])
        found = step(None, "verify", lookups.addresses, target, ifindexes)
    for at, member in enumerate(members):
        if is_batch:
            step(member, "verify", _compare, member.device, target, links[at], found[member.device.target_ifindex])
        else:
            step(member, "verify", member.device.verify, target)
        if member.link.altnames:
            link = links[at] if is_batch else next(wire.messages(member.device.arrived))
            step(member, "verify", _altnames, member, wire.Link(link.body))
        yield member


def _compare(device: Device, target: Socket, answer: wire.Message, addresses: bytes) -> None:
    if code := lookups.refused(answer):
        raise EngineError(code, wire.error(answer)[1], "verify")
    device.verify(target, (bytes(answer.data), addresses))


def _altnames(member: Member, arrived: wire.Link) -> None:
    if set(arrived.altnames) != set(member.link.altnames):
        raise EngineError(errno.ESTALE, "its alternative names did not arrive", "verify")
