"""Links and addresses, of a snapshot or read back, as the reference engine reads them: in place, and without copies.

There may be ten thousand addresses, and the kernel makes them alike: what is known of the attributes of one is kept
with its shape, and an `Address` lasts as long as it is looked at.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from struct import Struct

from ...netlink import uapi, wire
from ...netlink.ifaddr import CACHEINFO, IFADDRMSG, is_protected

FOREVER = uapi.INFINITY_LIFE_TIME
UNPROVEN = uapi.IFA_F_TENTATIVE | uapi.IFA_F_DADFAILED | uapi.IFA_F_NODAD | uapi.IFA_F_OPTIMISTIC
DEPRECATED = uapi.IFA_F_PERMANENT | uapi.IFA_F_DEPRECATED
NEVER_PREFERRED = wire.attr(uapi.IFA_CACHEINFO, CACHEINFO.pack(0, FOREVER, 0, 0))
# Only what RTM_NEWADDR takes: a dump may carry more one day.
AS_IS = (uapi.IFA_ADDRESS, uapi.IFA_LOCAL, uapi.IFA_BROADCAST, uapi.IFA_ANYCAST, uapi.IFA_CACHEINFO,
         uapi.IFA_RT_PRIORITY, uapi.IFA_PROTO)  # fmt: skip
INDEX = (4, 8)  # where ifa_index lies
STAMPS = 8  # where cstamp and tstamp begin in struct ifa_cacheinfo


class Link:
    """What is read of an RTM_NEWLINK."""

    __slots__ = ("flags", "ifindex", "message", "name", "shape")

    def __init__(self, message: wire.Message, shape: wire.Shape) -> None:
        self.message = message
        self.shape = shape
        _, _, self.ifindex, self.flags, _ = wire.IFINFOMSG.unpack_from(message.body)
        self.name = wire.text(self.get(uapi.IFLA_IFNAME))

    def get(self, type_: int) -> memoryview | None:
        """An attribute's payload."""
        found = self.shape.last.get(type_)
        return None if found is None else self.message.body[found[0] : found[1]]

    def all_of(self, types: Iterable[int]) -> list[memoryview | None]:
        """The payloads of these attributes."""
        places, body = self.shape.last, self.message.body
        return [body[places[type_][0] : places[type_][1]] if type_ in places else None for type_ in types]

    @property
    def mac(self) -> memoryview:
        return self.get(uapi.IFLA_ADDRESS) or memoryview(b"")

    @property
    def own_mac(self) -> memoryview:
        """A bond gives its slaves its own MAC, and back theirs when they leave: that one is told of each slave."""
        info = self._info
        if bytes(info.get(uapi.IFLA_INFO_SLAVE_KIND, b"")) != b"bond\0":
            return self.mac
        slave = wire.attrs(info.get(uapi.IFLA_INFO_SLAVE_DATA, memoryview(b"")), strict=False)
        return slave.get(uapi.IFLA_BOND_SLAVE_PERM_HWADDR, self.mac)

    @property
    def identity(self) -> tuple[bytes, int]:
        """What tells a device from another one of its name or number."""
        return bytes(self._info.get(uapi.IFLA_INFO_KIND, b"")), len(self.mac)

    @property
    def _info(self) -> dict[int, memoryview]:
        return wire.attrs(self.get(uapi.IFLA_LINKINFO) or memoryview(b""), strict=False)


class AddressShape(wire.Shape):
    """What all addresses of one shape have in common.

    Attributes:
        essence: Takes out of a body what a move is to keep, in order: not the ifindex, the label, the stamps.
        flags_at, lifetimes_at: Where the whole flags and the lifetimes lie; 0: nowhere.
    """

    __slots__ = ("_forms", "essence", "flags_at", "lifetimes_at")

    def __init__(self, body: bytes | memoryview, header_size: int) -> None:
        super().__init__(body, header_size)
        begin, end = self.last.get(uapi.IFA_FLAGS, (0, 0))
        self.flags_at = begin if end - begin == 4 else 0
        begin, end = self.last.get(uapi.IFA_CACHEINFO, (0, 0))
        self.lifetimes_at = begin if end - begin >= CACHEINFO.size else 0
        left_out = [INDEX]
        if self.lifetimes_at:
            left_out.append((begin + STAMPS, begin + CACHEINFO.size))
        if uapi.IFA_LABEL in self.last:
            begin, end = self.last[uapi.IFA_LABEL]
            left_out.append((begin - 4, min((end + 3) & ~3, len(body))))
        at, layout = 0, "="
        for begin, end in sorted(left_out):
            layout += f"{begin - at}s{end - begin}x"
            at = end
        self.essence = Struct(f"{layout}{len(body) - at}s").unpack_from
        self._forms: dict[bool, list[tuple[bytes, int, int]]] = {}

    def form(self, is_deprecated: bool) -> list[tuple[bytes, int, int]]:
        """How it is sent again: what goes in front of each payload that stays as it was dumped, and where that lies."""
        if is_deprecated not in self._forms:
            form, padding = [], b""
            for type_ in AS_IS:
                begin, end = self.last.get(type_, (0, 0))
                if begin and type_ == uapi.IFA_CACHEINFO and is_deprecated:
                    form.append((padding + NEVER_PREFERRED, 0, 0))
                    padding = b""
                elif begin:
                    form.append((padding + wire.NLATTR.pack(4 + end - begin, type_), begin, end))
                    padding = bytes(begin - end & 3)
            form.append((padding, 0, 0))
            self._forms[is_deprecated] = form
        return self._forms[is_deprecated]


class Address:
    """One RTM_NEWADDR or RTM_DELADDR, of which the body lies at an offset of `data`."""

    __slots__ = ("at", "data", "end", "family", "flags", "prefixlen", "scope", "shape")

    def __init__(self, data: bytes, at: int, end: int, shape: AddressShape) -> None:
        self.data = data
        self.at = at
        self.end = end
        self.shape = shape
        self.family, self.prefixlen, self.flags, self.scope = data[at : at + 4]
        if shape.flags_at:
            (self.flags,) = wire.U32.unpack_from(data, at + shape.flags_at)

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
        if not self.shape.lifetimes_at:
            return FOREVER, FOREVER
        preferred, valid, _, _ = CACHEINFO.unpack_from(self.data, self.at + self.shape.lifetimes_at)
        return preferred, valid

    @property
    def essence(self) -> tuple[bytes, ...]:
        """All that a move is to keep: what its shape takes out."""
        return self.shape.essence(self.data, self.at)

    @property
    def body(self) -> bytes:
        return self.data[self.at : self.end]

    @property
    def attrs_as_is(self) -> bytes:
        """The attributes that are sent again as they are, in the order of AS_IS."""
        # "Preferred forever" in a dump: only the flag tells (probe addresses.lifetime.ipv4-preferred-zero).
        is_deprecated = self.family == uapi.AF_INET and self.flags & DEPRECATED == DEPRECATED
        data, at = self.data, self.at
        form = self.shape.form(is_deprecated)
        return b"".join([part for front, begin, end in form for part in (front, data[at + begin : at + end])])

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


_ADDRESSES = wire.Shapes(IFADDRMSG.size, AddressShape)  # of all dumps of a process
_shape_of: Callable[[bytes, int, int], AddressShape] = _ADDRESSES.of  # type: ignore[assignment]  # makes these


def link_in(message: wire.Message) -> Link:
    """Reads an RTM_NEWLINK."""
    return Link(message, wire.LINKS.of(message.data, 16, len(message.data)))


def address_at(data: bytes, at: int, end: int) -> Address:
    """Reads the one of which the body lies between two offsets."""
    return Address(data, at, end, _shape_of(data, at, end))


def addresses_in(data: bytes, *, protected: bool = False) -> Iterator[Address]:
    """Reads RTM_NEWADDR messages, one after the other; or only of what the runtime-spec protects."""
    shape_of = _shape_of
    for type_, at, end in wire.spans(data):
        if type_ == uapi.RTM_NEWADDR and end - at >= IFADDRMSG.size:
            address = Address(data, at, end, shape_of(data, at, end))
            if not protected or is_protected(address.flags, address.scope):
                yield address
