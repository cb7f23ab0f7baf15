"""An address of a snapshot or of what was read back, as the reference engine reads it: in place, and without copies.

There may be ten thousand of them, which the kernel makes alike: what is known of one message's attributes is kept with
its shape, and an `Address` lasts as long as it is looked at.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from .. import uapi, wire
from ..snapshots import CACHEINFO, IFADDRMSG, is_protected

FOREVER = uapi.INFINITY_LIFE_TIME
UNPROVEN = uapi.IFA_F_TENTATIVE | uapi.IFA_F_DADFAILED | uapi.IFA_F_NODAD | uapi.IFA_F_OPTIMISTIC
INDEX = (4, 8)  # where ifa_index lies
STAMPS = 8  # where cstamp and tstamp begin in struct ifa_cacheinfo


class Address:
    """One RTM_NEWADDR or RTM_DELADDR, of which the body lies at an offset of `data`."""

    __slots__ = ("at", "data", "end", "family", "flags", "prefixlen", "scope", "shape")

    def __init__(self, data: bytes, at: int, end: int, shape: wire.Shape) -> None:
        self.data = data
        self.at = at
        self.end = end
        self.shape = shape
        self.family, self.prefixlen, self.flags, self.scope = data[at : at + 4]
        begin, stop = shape.last.get(uapi.IFA_FLAGS, (0, 0))
        if stop - begin == 4:
            (self.flags,) = wire.U32.unpack_from(data, at + begin)

    def __str__(self) -> str:
        local = self.get(uapi.IFA_LOCAL if uapi.IFA_LOCAL in self.shape.last else uapi.IFA_ADDRESS) or b""
        if (self.family, len(local)) not in ((uapi.AF_INET, 4), (uapi.AF_INET6, 16)):
            return "an address"
        return f"{socket.inet_ntop(self.family, local)}/{self.prefixlen}"

    def get(self, type_: int) -> bytes | None:
        """An attribute's payload."""
        found = self.shape.last.get(type_)
        return None if found is None else self.data[self.at + found[0] : self.at + found[1]]

    @property
    def lifetimes(self) -> tuple[int, int]:
        """Preferred and valid, in seconds."""
        begin, stop = self.shape.last.get(uapi.IFA_CACHEINFO, (0, 0))
        if stop - begin < CACHEINFO.size:
            return FOREVER, FOREVER
        preferred, valid, _, _ = CACHEINFO.unpack_from(self.data, self.at + begin)
        return preferred, valid

    @property
    def identity(self) -> tuple[int, int, bytes | None, bytes | None]:
        """What makes it one for the kernel."""
        return self.family, self.prefixlen, self.get(uapi.IFA_LOCAL), self.get(uapi.IFA_ADDRESS)

    @property
    def is_protected(self) -> bool:
        return is_protected(self.flags, self.scope)

    @property
    def is_proven(self) -> bool:
        """IPv6, and it had completed DAD: it need not prove itself again."""
        return self.family == uapi.AF_INET6 and not self.flags & UNPROVEN


class Reader:
    """Reads addresses, and remembers the shapes of their messages."""

    __slots__ = ("_essential", "_shapes")

    def __init__(self) -> None:
        self._shapes = wire.Shapes(IFADDRMSG.size)
        self._essential: dict[wire.Shape, list[tuple[int, int]]] = {}

    def at(self, data: bytes, at: int, end: int) -> Address:
        """The one of which the body lies between two offsets."""
        return Address(data, at, end, self._shapes.of(data, at, end))

    def all(self, data: bytes, at: int = 0) -> Iterator[Address]:
        """Those of RTM_NEWADDR messages, one after the other."""
        shape_of = self._shapes.of
        for type_, begin, end in wire.spans(data, at):
            if type_ == uapi.RTM_NEWADDR and end - begin >= IFADDRMSG.size:
                yield Address(data, begin, end, shape_of(data, begin, end))

    def essence(self, address: Address) -> bytes:
        """All of a message that a move is to keep, and in the same order: not its ifindex, its label, its stamps."""
        data, at, kept = address.data, address.at, self._essential.get(address.shape)
        if kept is None:
            kept = self._essential[address.shape] = _essential(address.shape, address.end - at)
        return b"".join([data[at + begin : at + end] for begin, end in kept])


def _essential(shape: wire.Shape, size: int) -> list[tuple[int, int]]:
    """Where that lies in a body: between what is left out."""
    left_out = [INDEX]
    if uapi.IFA_LABEL in shape.last:
        begin, end = shape.last[uapi.IFA_LABEL]
        left_out.append((begin - 4, (end + 3) & ~3))
    begin, end = shape.last.get(uapi.IFA_CACHEINFO, (0, 0))
    if end - begin >= CACHEINFO.size:
        left_out.append((begin + STAMPS, begin + CACHEINFO.size))
    left_out.sort()
    begins, ends = [0, *(end for _, end in left_out)], [*(begin for begin, _ in left_out), size]
    return [(begin, end) for begin, end in zip(begins, ends, strict=True) if begin < end]
