"""A record of a batch, read again: its devices, and the namespaces that they left and went to."""

from __future__ import annotations

from ..batch.plan import Member
from ..engine import Socket
from ..errors import NetDevError
from ..system.exclusion import WAIT_S, Exclusion
from ..system.interrupts import Patience
from ..system.netns import NetNS
from . import identity, layout
from .layout import Section
from .record import load
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
        self.plan, self.members, self.uppers = load(sections)
        self.where = {s.type: s for s in sections if s.type in (layout.SOURCE, layout.TARGET)}

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
