"""Defines a kind of state: how it is read, reported, recorded and restored. Each kind is one file; KINDS lists them.

State is kept as the kernel's own messages, unparsed, so that records need no encoding. A kind's verbs, except `read`,
are pure functions of the state at two moments; they return the requests to send, and `restore` sends them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..engine import Socket
from ..netlink import wire

# The stages of a restore. DOWN: each device in turn, before its addresses and IFF_UP. All others when all devices are
# up: UP; then routes, in the order in which they depend on each other; LATE: requests that the kernel accepts only
# after a while.
STAGES = DOWN, UP, REMOVE, DIRECT, NEXTHOPS, GATEWAY, LATE = range(7)
WHEN_UP = STAGES[1:]


@dataclass(slots=True)
class View:
    """The part of a namespace that concerns a batch, at one moment.

    Attributes:
        links: By ifindex.
        addresses: RTM_NEWADDR messages, by ifindex.
        state: The messages that `Kind.read` returned, by name of the kind.
    """

    links: Mapping[int, wire.Link]
    addresses: Mapping[int, bytes] = field(default_factory=dict)
    state: Mapping[str, bytes] = field(default_factory=dict)

    def away(self, here: Mapping[int, int]) -> set[int]:
        """The ifindexes of these devices and their masters that are not in the namespace now; `here`: the others."""
        masters = {link.master for link in self.links.values() if link.master}
        return (self.links.keys() | masters) - here.keys()

    def of(self, kind: str) -> bytes:
        """The state of a kind; b"": none."""
        return self.state.get(kind, b"")


@dataclass(slots=True)
class Leaving:
    """The devices that a move takes away, for `Kind.findings`.

    Attributes:
        ifindexes: The devices that leave.
        uppers: The links of devices that stay, stacked on one that leaves.
        preserve: The kinds to preserve.
    """

    ifindexes: Collection[int]
    uppers: Collection[wire.Link] = ()
    preserve: Collection[str] = ()


@dataclass(slots=True)
class Finding:
    """A kind's finding about a device that leaves.

    Attributes:
        ifindex: The device.
        code: A code of `batch.findings`: "loss.master", ...
        words: The loss, in short words.
    """

    ifindex: int
    code: str
    words: str


@dataclass(slots=True)
class File:
    """A file below /proc/sys/net, and the text to write into it."""

    path: str
    text: str


@dataclass(slots=True)
class Repair:
    """One difference between before and now, and the request that repairs it.

    Attributes:
        ifindex: The device, by its present ifindex; 0: none of the batch.
        stage: One of STAGES.
        words: The difference, for messages.
        request: Restores it; None: nothing can. Repairs that share a request are sent once.
        alone: Restores this one alone, if a shared request was refused; None: no such request.
    """

    ifindex: int
    stage: int
    words: str
    request: bytes | File | None
    alone: bytes | None = None


Here = Mapping[int, int]  # ifindex before -> ifindex now, of the devices and masters in the namespace


class Kind:
    """A kind of state; a subclass overrides what applies to it.

    Attributes:
        name: As in `preserve`, `not_carried` and a record.
        stages: Those of STAGES in which it has repairs.
        needs: Names of other kinds whose state it uses.
        messages: The types of its messages, each with the size of the fixed header.
        can_be_preserved: Whether `preserve` accepts it.
        is_read_before: Whether it is read before a move; otherwise the links hold the state before.
        is_in_links: Whether links hold part of it; otherwise there is nothing to repair if nothing was read before.
    """

    name = ""
    stages: tuple[int, ...] = ()
    needs: tuple[str, ...] = ()
    messages: tuple[tuple[int, int], ...] = ()
    can_be_preserved = False
    is_read_before = True
    is_in_links = False

    def read(self, socket: Socket, links: Mapping[int, wire.Link], about: Collection[int]) -> bytes:
        """Reads the state from the kernel, unless the links show that there is none.

        Args:
            socket: In the namespace.
            links: The devices and their masters, by ifindex; in a check also the devices stacked on them.
            about: The ifindexes of the devices, of devices stacked on them, and of the masters of both.

        Returns:
            Messages about these as they were dumped, without transient state.

        Raises:
            EngineError: A request failed.
        """
        del socket, links, about
        return b""

    def findings(self, before: View, leaving: Leaving) -> Iterable[Finding]:
        """The state that is lost when these devices leave."""
        del before, leaving
        return ()

    def repairs(self, before: View, now: View, here: Here) -> Iterable[Repair]:
        """The differences between `before` and `now` of the devices in `here`, in the order to repair them."""
        del before, now, here
        return ()

    def resets(self, before: View, ifindex: int, arrived: bytes) -> Iterable[str]:
        """The settings of a device that the target has reset, in short words; only known after the move.

        `arrived`: its RTM_NEWLINK in the target.
        """
        del before, ifindex, arrived
        return ()

    def preserve(self, before: View, there: View, here: Here) -> Iterable[Repair]:
        """The requests that set in the target what `preserve` asks for."""
        del before, there, here
        return ()

    def age(self, before: bytes, elapsed_s: int, ended: Collection[bytes]) -> bytes:
        """The part of the state before that has not expired, with the remaining lifetimes; arguments as of `lend`."""
        del elapsed_s, ended
        return before

    def lend(self, before: View, here: Here, elapsed_s: int, ended: Collection[bytes]) -> bytes:
        """The part of the state before that concerns only these devices and has not expired.

        It is what is restored when lent devices return, or when only some devices of a record are left.

        Args:
            before: The state when they left.
            here: The devices that are back.
            elapsed_s: Seconds since they left, rounded up.
            ended: Those of their addresses that have expired.
        """
        del here, elapsed_s, ended
        return before.of(self.name)


def chosen(kinds: Iterable[Kind], names: Collection[str]) -> Iterator[Kind]:
    """The kinds with these names."""
    return (kind for kind in kinds if kind.name in names)
