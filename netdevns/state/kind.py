"""What a kind of state is: read before a move, reported, recorded, put back. A kind is one file; KINDS has them all.

State is the kernel's own messages, unparsed, so that no kind encodes or decodes anything for a record. What a kind says
of it are pure functions of two moments: what is to be sent, and in which stage. Who sends it is `restore`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..engine import Socket
from ..netlink import wire

# When something is put back. DOWN: of one device after the other, before its addresses and IFF_UP; the others when all
# are up: UP, then routes in the way that they need each other; LATE: what the kernel takes only after a while.
STAGES = DOWN, UP, REMOVE, DIRECT, NEXTHOPS, GATEWAY, LATE = range(7)
WHEN_UP = STAGES[1:]


@dataclass(slots=True)
class View:
    """A namespace at one moment, as far as it concerns a batch.

    Attributes:
        links: By ifindex.
        addresses: By ifindex, RTM_NEWADDR messages.
        state: By a kind's name, what its `read` gave.
    """

    links: Mapping[int, wire.Link]
    addresses: Mapping[int, bytes] = field(default_factory=dict)
    state: Mapping[str, bytes] = field(default_factory=dict)

    def away(self, here: Mapping[int, int]) -> set[int]:
        """Which of these devices, and of their masters, are not `here`."""
        masters = {link.master for link in self.links.values() if link.master}
        return (self.links.keys() | masters) - here.keys()

    def of(self, kind: str) -> bytes:
        """The state of a kind; b"": there is none."""
        return self.state.get(kind, b"")


@dataclass(slots=True)
class Leaving:
    """What is asked of a batch by who looks for losses.

    Attributes:
        ifindexes: Of the devices that leave.
        uppers: The links of devices that stay, on top of one that leaves.
        preserve: The kinds that are carried over.
    """

    ifindexes: Collection[int]
    uppers: Collection[wire.Link] = ()
    preserve: Collection[str] = ()


@dataclass(slots=True)
class Finding:
    """What a kind finds of a device that is to leave.

    Attributes:
        ifindex: The device.
        code: "loss." and a word, or another one of the list in `batch.findings`.
        words: What is lost, in short words.
    """

    ifindex: int
    code: str
    words: str


@dataclass(slots=True)
class File:
    """A file below /proc/sys/net, and what is to be in it."""

    path: str
    text: str


@dataclass(slots=True)
class Repair:
    """One thing that is not as it was.

    Attributes:
        ifindex: Whose it is, as it is now; 0: nobody's of the batch.
        stage: One of STAGES.
        words: What is not as before, for people.
        request: What makes it so; None: nothing does. Repairs with one request are done together.
        alone: The request for this one alone, where the one for several was refused; None: there is none.
    """

    ifindex: int
    stage: int
    words: str
    request: bytes | File | None
    alone: bytes | None = None


Here = Mapping[int, int]  # ifindex then -> ifindex now, of devices that are in the namespace, masters too


class Kind:
    """A kind of state. What it does not say in other words, it has not.

    Attributes:
        name: As in `preserve`, `not_carried` and a record.
        stages: In which of STAGES it has repairs.
        needs: Names of kinds whose state it looks at besides its own.
        messages: The types of its messages, each with the size of what precedes the attributes.
        can_be_preserved: Whether `preserve` may ask for it.
        is_read_before: Whether it is read before a move; otherwise what was is in the links, and only now it is asked.
        is_in_links: Whether links have some of it; otherwise there is nothing to repair where nothing was read before.
    """

    name = ""
    stages: tuple[int, ...] = ()
    needs: tuple[str, ...] = ()
    messages: tuple[tuple[int, int], ...] = ()
    can_be_preserved = False
    is_read_before = True
    is_in_links = False

    def read(self, socket: Socket, links: Mapping[int, wire.Link], about: Collection[int]) -> bytes:
        """Asks the kernel; nothing where the links show that there is nothing.

        Args:
            socket: In the namespace.
            links: By ifindex: the devices, and their masters.
            about: The ifindexes of the devices, of those on top of them, and of the masters of both.

        Returns:
            Messages about these, as they were dumped, without what comes and goes.

        Raises:
            EngineError: The kernel could not be asked.
        """
        del socket, links, about
        return b""

    def findings(self, before: View, leaving: Leaving) -> Iterable[Finding]:
        """What is lost when these devices leave."""
        del before, leaving
        return ()

    def repairs(self, before: View, now: View, here: Here) -> Iterable[Repair]:
        """What is not as it was, of devices that are `here`, in the order in which it is to be done."""
        del before, now, here
        return ()

    def resets(self, before: View, ifindex: int, arrived: bytes) -> Iterable[str]:
        """What of a device the target reset, which is known only there, in short words.

        `arrived`: its RTM_NEWLINK in the target.
        """
        del before, ifindex, arrived
        return ()

    def preserve(self, before: View, there: View, here: Here) -> Iterable[Repair]:
        """The same in the target, of what is to be carried over there."""
        del before, there, here
        return ()

    def lend(self, before: View, here: Here, elapsed_s: int, ended: Collection[bytes]) -> bytes:
        """What is given back of it when devices come home from a loan, in place of all that was read before.

        Args:
            before: As it was when they left.
            here: Those that are home.
            elapsed_s: Seconds since then, rounded up.
            ended: Addresses of theirs that have run out.
        """
        del here, elapsed_s, ended
        return before.of(self.name)


def chosen(kinds: Iterable[Kind], names: Collection[str]) -> Iterator[Kind]:
    """Those of these names."""
    return (kind for kind in kinds if kind.name in names)
