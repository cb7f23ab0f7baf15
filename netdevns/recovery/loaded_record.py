"""A record of a batch, read again: its devices, and the namespaces that they left and went to."""

from __future__ import annotations

from typing import Self

from ..batch.plan import Sides
from ..engine import Socket
from ..engine.batch_device import BatchDevice
from ..errors import NetDevError
from ..reports import Recovered
from ..system.exclusion import WAIT_S, Exclusion
from ..system.interrupts import Interrupts, Patience
from ..system.netns import NetNS
from . import identity, layout
from .layout import Section
from .record import load
from .store import Record

INIT = "/proc/1/ns/net"
SURVIVING_KINDS = (
    b"",
    b"can",
)  # kinds that outlive their namespace: none of the kernel's making, and CAN's (netns_refund)
NOT_BACK_YET = "it has not come back to the initial network namespace"


class LoadedRecord:
    """One record, its namespaces opened again. A context manager that closes them.

    Attributes:
        plan: The batch, as an undo needs it.
        members, uppers: The devices, as they were; where they are is still to be found out.
        where: The namespaces by section type.
        exclusion: Locks, for whoever is about to change the devices.
        sides: The namespaces, once they are open.
        target_is_gone: Whether the target is, then.
    """

    sides: Sides
    target_is_gone: bool

    def __init__(self, record: Record, sections: list[Section], interrupts: Interrupts | None = None) -> None:
        self.record = record
        self.exclusion = Exclusion(Patience(WAIT_S, interrupts), is_must=interrupts is not None)
        self.plan = load(sections)
        self.members, self.uppers = self.plan.devices, self.plan.uppers
        self.where = {s.type: s for s in sections if s.type in (layout.SOURCE, layout.TARGET)}
        self._opened: list[NetNS | Socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for each in self._opened:
            each.close()
        self.exclusion.release()

    def open(self, *, is_home: bool) -> bool:
        """Opens both namespaces; False: the one that the devices came from is gone.

        Where the target died, or with `is_home`, in its place the initial one, which gets what the kernel does not end
        with the target.
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

    def recovered(self, member: BatchDevice, outcome: str, location: str, text: str) -> Recovered:
        return Recovered(self.record.path, member.host_name, outcome, location, text)


def _initial(source: NetNS) -> tuple[NetNS, Socket]:
    try:
        init = NetNS.open(INIT)
    except NetDevError:  # another user's: what fell there is out of sight
        init = NetNS.open(source)
    return init, Socket(init.fd)
