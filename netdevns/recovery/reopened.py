"""A record of a batch, read again: its devices, and the namespaces that they left and went to."""

from __future__ import annotations

import os

from ..batch.plan import Item, Member, Plan
from ..engine import Device, EngineError, Socket, lookups
from ..errors import NetDevError
from ..netlink import wire
from ..state import ports
from ..system.exclusion import WAIT_S, Exclusion
from ..system.interrupts import Patience
from ..system.netns import NetNS
from . import identity, layout
from .layout import Damaged, Section
from .record import NEIGHBOURS
from .store import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from ..reports import Recovered
    from ..system.interrupts import Interrupts

INIT = "/proc/1/ns/net"
SHARE_A_MAC = (b"vlan", b"ipvlan", b"ipvtap")
THROWN_BACK = (b"", b"can")  # kinds that outlive their namespace: none of the kernel's making, and CAN's (netns_refund)
NOT_YET = "it has not come back to the initial network namespace"


class Reopened:
    """One record, its namespaces opened again. A context manager that closes them.

    Attributes:
        plan: The batch, as an undo needs it.
        members, uppers: The devices, as they were; where they are is still to be found out.
        where: The namespaces by section type.
        exclusion: Locks, for whoever is about to change the devices.
    """

    def __init__(self, record: Record, sections: list[Section], interrupts: Interrupts | None = None) -> None:
        self.record = record
        self.exclusion = Exclusion(Patience(WAIT_S, interrupts), is_must=interrupts is not None)
        self.plan = Plan([], True)
        by_type = {s.type: s for s in sections}
        self.where = {t: by_type[t] for t in (layout.SOURCE, layout.TARGET)}
        self.plan.routes = bytes(by_type[layout.ROUTES].body)
        self.plan.nexthops = bytes(by_type[layout.NEXTHOPS].body)
        self.plan.neighbours = [bytes(by_type[t].body) for t in NEIGHBOURS if t in by_type]
        self.plan.neighparms = bytes(by_type[layout.NEIGHPARMS].body)
        self.members = [_member(s) for s in sections if s.type == layout.DEVICE]
        self.uppers = [_member(s) for s in sections if s.type == layout.UPPER]
        by_ifindex = {m.link.ifindex: m.link for m in self.members}
        for section in (s for s in sections if s.type == layout.PORT):
            ifindex = section.number(layout.A_IFINDEX)
            try:
                link, vlans = by_ifindex[ifindex], section.text(layout.A_VLANS)
                self.plan.ports[ifindex] = ports.loaded(link, vlans, bytes(section.body))
            except (KeyError, ValueError):  # Malformed is a ValueError
                raise Damaged("a port in it is damaged") from None
        self.plan.items = [m.item for m in self.members]
        self.plan.uppers = [m.item for m in self.uppers]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.plan.__exit__()
        self.exclusion.release()

    def open_source(self) -> bool:
        """The namespace that the devices came from; False: it is gone."""
        source = identity.found(self.where[layout.SOURCE])
        if source is None:
            return False
        self.plan.source, self.plan.source_socket = source
        self.plan.source_visit = self.plan.source.fd
        return True

    def open_init(self) -> None:
        """In the target's place the initial namespace, which gets what the kernel does not end with the target."""
        assert self.plan.source is not None
        try:
            init = NetNS.open(INIT)
        except NetDevError:  # another user's: what fell there is out of sight
            init = NetNS.open(self.plan.source)
        self.plan.target, self.plan.target_socket = init, Socket(init.fd)

    @property
    def sockets(self) -> tuple[Socket, Socket]:
        assert self.plan.source_socket is not None
        assert self.plan.target_socket is not None
        return self.plan.source_socket, self.plan.target_socket

    def told(self, member: Member, outcome: str, location: str, text: str) -> Recovered:
        from ..reports import Recovered

        return Recovered(self.record.path, member.item.host_name, outcome, location, text)


def _member(section: Section) -> Member:
    """A device out of a record, of which `journal.parse` has judged the parts. Raises Damaged: of what they hold."""
    item = Item(os.fsdecode(section.text(layout.A_HOST_NAME)), None)
    item.ifname, item.wanted = section.text(layout.A_IFNAME), section.text(layout.A_WANTED)
    item.depth, item.token = section.number(layout.A_DEPTH), section.optional(layout.A_TOKEN)
    item.qdiscs = (section.optional(layout.A_QDISCS) or b"").decode("ascii", "replace").split()
    try:
        first = next(wire.messages(bytes(section.body)))
        link = first.padded()
        item.link = wire.Link(first.body)
        device = Device(item.ifname, item.wanted, section.ifindex(layout.A_IFINDEX))
        device.load(link, bytes(section.body[len(link) :]))
    except (EngineError, wire.Malformed) as e:
        raise Damaged(f"a snapshot in it is damaged: {lookups.says(e)}") from None
    device.ask_ifindex(section.ifindex(layout.A_ASKED), unsure=bool(section.number(layout.A_UNSURE)))
    item.device = device
    return Member(item, device, item.link)
