"""A record that was read back, with its source and target namespaces open."""

from __future__ import annotations

from collections.abc import Collection
from typing import Self

from .. import state
from ..batch import stacking
from ..batch.plan import Sides
from ..batch.replaced import Places
from ..engine import PLACE_SOURCE, PLACE_TARGET, Socket, lookups
from ..engine.batch_device import BatchDevice
from ..errors import NetDevError
from ..netlink import wire
from ..reports import Recovered
from ..state.kind import chosen
from ..state.link_settings import own_mac
from ..system.exclusion import WAIT_S, Exclusion
from ..system.interrupts import Interrupts, Patience
from ..system.netns import NetNS
from ..text import quote
from . import identity, layout, loan_state
from .layout import Section
from .record import load
from .store import Record

INIT = "/proc/1/ns/net"
# Kinds that outlive their namespace: hardware, which has no kind, and CAN (rtnl_link_ops.netns_refund).
SURVIVING_KINDS = (b"", b"can")
NOT_BACK_YET = "not back in the initial network namespace yet"
# The container can move a device on to a namespace that nobody finds, and back again.
NOT_FOUND = (
    "not found in either namespace: deleted, or moved on by the container; "
    "its record is kept until it is back or its network namespace ends"
)


class LoadedRecord:
    """One record, its namespaces opened again. A context manager that closes them.

    Attributes:
        plan: The batch, for an undo.
        members, uppers: The devices as they were; not located yet.
        where: The sections of the namespaces, by type.
        exclusion: The locks of the devices.
        sides: The namespaces, once they are open.
        target_is_gone: Whether the target no longer exists; set by `open`.
    """

    sides: Sides
    target_is_gone: bool

    def __init__(self, record: Record, sections: list[Section], interrupts: Interrupts | None = None) -> None:
        self.record = record
        self.exclusion = Exclusion(Patience(WAIT_S, interrupts), is_must=interrupts is not None)
        left = {s.number(layout.A_IFINDEX) for s in sections if s.type == layout.DEVICE}
        self.sections = shortened(sections, left) if sections[0].is_shortened else sections
        self.plan = load(self.sections)
        self.members, self.uppers = self.plan.devices, self.plan.uppers
        self.where = {s.type: s for s in self.sections if s.type in (layout.SOURCE, layout.TARGET)}
        self._opened: list[NetNS | Socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for each in self._opened:
            each.close()
        self.exclusion.release()

    def open(self, *, is_home: bool) -> bool:
        """Opens both namespaces; False: the source is gone.

        If the target is gone, or with `is_home`, the initial namespace takes its place: there the kernel moves the
        devices that outlive the target.
        """
        source = identity.found(self.where[layout.SOURCE])
        if source is None:
            return False
        self._opened += source
        target = None if is_home else identity.found(self.where[layout.TARGET])
        self.target_is_gone = target is None
        netns, socket = target or _initial(source[0])
        self._opened += (netns, socket)
        self.sides = Sides(*source, source[0].fd, netns, socket)
        return True

    def there(self) -> dict[BatchDevice, bytes]:
        """The present addresses of devices that are in the source and had addresses that expire. Raises EngineError."""
        source, found = self.sides.source_socket, {}
        copies = load(self.sections)  # a device that was found takes no other snapshot
        mine = zip((*self.members, *self.uppers), (*copies.devices, *copies.uppers), strict=True)
        for member, copy in mine:
            if loan_state.has_lifetimes(bytes(copy.addresses)):
                copy.find(source, self.sides.target_socket)
                if copy.place == PLACE_SOURCE:
                    found[member] = bytes(lookups.addresses(source, [copy.ifindex])[copy.ifindex])
        return found

    def is_made_anew(self, member: BatchDevice) -> bool:
        """Whether a virtual device that was found by name and ifindex was made after the record (csrc/replaced.c).

        It has another MAC; and another peer or lower device, or fewer carrier changes, which only grow (probe
        links.carrier-changes.counted). Once the target has ended, with the old device, the MAC alone decides.
        """
        is_here, sides, was = member.place == PLACE_SOURCE, self.sides, member.link
        is_there = self.target_is_gone and member.place == PLACE_TARGET
        if was.kind in SURVIVING_KINDS or not (is_here or is_there):
            return False
        socket = sides.source_socket if is_here else sides.target_socket
        now = lookups.link(socket, ifindex=member.ifindex if is_here else member.target_ifindex)
        if now is None or now.mac in (was.mac, own_mac(was)):
            return False
        is_younger = loan_state.carrier_changes(now) < loan_state.carrier_changes(was)
        return self.target_is_gone or is_younger or Places(sides, self.members).stranger(member) is not None

    def keep_only(self, members: Collection[BatchDevice]) -> None:
        """Reduces the record to these devices, those on them, and their state; closes it."""
        if len(members) == len(self.members):
            self.record.close()
            return
        left = {m.link.ifindex for m in members}
        restored = [s for s in self.sections if s.type == layout.DEVICE and s.number(layout.A_IFINDEX) not in left]
        self.record.shorten([part for s in shortened(self.sections, left) for part in s.parts()], restored)

    def recovered(self, member: BatchDevice, outcome: str, location: str, text: str) -> Recovered:
        return Recovered(self.record.path, member.host_name, outcome, location, text)


def shortened(sections: list[Section], left: Collection[int]) -> list[Section]:
    """The sections of a record with these devices alone, those on them, and their state."""
    plan = load(sections)  # not aged
    left = {*left, *stacking.above({m.link.ifindex: m.link for m in plan.uppers}, left)}
    view = plan.view(m for m in (*plan.devices, *plan.uppers) if m.link.ifindex in left)
    found = []
    for each in sections:
        if each.type == layout.STATE:
            (kind,) = chosen(state.KINDS, [each.text(layout.A_KIND).decode()])
            each.body = bytearray(kind.lend(view, dict(zip(left, left, strict=True)), 0, ()))
        is_device = each.type in (layout.DEVICE, layout.UPPER)
        if each.number(layout.A_IFINDEX) in left if is_device else each.type != layout.STATE or each.body:
            found.append(each)
    return found


def holder_words(holder: wire.Link, name: bytes) -> str:
    """The device that has a name, for a message: by its ifindex, and by its own name if that is another one."""
    other = "" if holder.name == name else f"{quote.shown(holder.name)}, as an alternative name, "
    return f"{other}ifindex {holder.ifindex}"


def ended_text(kind: bytes) -> str:
    """A virtual device that is nowhere after its namespace has ended."""
    article = "an" if kind[:1] in (b"a", b"e", b"i", b"o", b"u") else "a"
    return f"{article} {quote.shown(kind)} ends with its network namespace, unless the container had moved it on"


def restored_text(unrestorable: str) -> str:
    """The text of a device that is back; `unrestorable`: the state that it lost, or ""."""
    return f"restored; cannot be restored: {unrestorable}" if unrestorable else "restored"


def _initial(source: NetNS) -> tuple[NetNS, Socket]:
    try:
        init = NetNS.open(INIT)
    except NetDevError:  # no permission: devices that returned there cannot be seen
        init = NetNS.open(source)
    return init, Socket(init.fd)
