"""Parses links and addresses for the reference engine."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator

from ...netlink import uapi, wire
from ...netlink.ifaddr import CACHEINFO, IFADDRMSG, is_protected

FOREVER = uapi.INFINITY_LIFE_TIME
UNPROVEN = uapi.IFA_F_TENTATIVE | uapi.IFA_F_DADFAILED | uapi.IFA_F_NODAD | uapi.IFA_F_OPTIMISTIC
DEPRECATED = uapi.IFA_F_PERMANENT | uapi.IFA_F_DEPRECATED
NEVER_PREFERRED = wire.attr(uapi.IFA_CACHEINFO, CACHEINFO.pack(0, FOREVER, 0, 0))
# The attributes that RTM_NEWADDR accepts; a later kernel may dump others.
AS_IS = (uapi.IFA_ADDRESS, uapi.IFA_LOCAL, uapi.IFA_BROADCAST, uapi.IFA_ANYCAST, uapi.IFA_CACHEINFO,
         uapi.IFA_RT_PRIORITY, uapi.IFA_PROTO)  # fmt: skip
STAMPS = slice(8, CACHEINFO.size)  # cstamp and tstamp in struct ifa_cacheinfo


class Link:
    """A parsed RTM_NEWLINK."""

    __slots__ = ("_attrs", "flags", "ifindex", "message", "name")

    def __init__(self, message: wire.Message) -> None:
        self.message = message
        self._attrs = wire.attrs(message.body, wire.IFINFOMSG.size, strict=False)
        _, _, self.ifindex, self.flags, _ = wire.IFINFOMSG.unpack_from(message.body)
        self.name = wire.text(self.get(uapi.IFLA_IFNAME))

    def get(self, type_: int) -> memoryview | None:
        """An attribute's payload."""
        return self._attrs.get(type_)

    def all_of(self, types: Iterable[int]) -> list[memoryview | None]:
        """The payloads of these attributes."""
        return [self._attrs.get(type_) for type_ in types]

    @property
    def mac(self) -> memoryview:
        return self.get(uapi.IFLA_ADDRESS) or memoryview(b"")

    @property
    def own_mac(self) -> memoryview:
        """The device's own MAC: as long as it is a bond's slave, IFLA_ADDRESS is the bond's."""
        info = self._info
        if bytes(info.get(uapi.IFLA_INFO_SLAVE_KIND, b"")) != b"bond\0":
            return self.mac
        slave = wire.nested_attrs(info.get(uapi.IFLA_INFO_SLAVE_DATA))
        return slave.get(uapi.IFLA_BOND_SLAVE_PERM_HWADDR, self.mac)

    @property
    def identity(self) -> tuple[bytes, int]:
        """Kind and length of the MAC, for telling the device from another one with its name or ifindex."""
        return bytes(self._info.get(uapi.IFLA_INFO_KIND, b"")), len(self.mac)

    @property
    def _info(self) -> dict[int, memoryview]:
        return wire.nested_attrs(self.get(uapi.IFLA_LINKINFO))


class Address:
    """One RTM_NEWADDR or RTM_DELADDR, of which the body lies at an offset of `data`."""

    __slots__ = ("_attrs", "at", "data", "end", "family", "flags", "prefixlen", "scope")

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = end
        self._attrs = wire.attrs(memoryview(data)[at:end], IFADDRMSG.size, strict=False)
        self.family, self.prefixlen, self.flags, self.scope = data[at : at + 4]
        whole = wire.u32(self._attrs.get(uapi.IFA_FLAGS))
        self.flags = self.flags if whole is None else whole

    def __str__(self) -> str:
        local = self.get(uapi.IFA_LOCAL if uapi.IFA_LOCAL in self._attrs else uapi.IFA_ADDRESS) or b""
        if (self.family, len(local)) not in ((uapi.AF_INET, 4), (uapi.AF_INET6, 16)):
            return "an address"
        return f"{socket.inet_ntop(self.family, local)}/{self.prefixlen}"

    def get(self, type_: int) -> bytes | None:
        """An attribute's payload."""
        found = self._attrs.get(type_)
        return None if found is None else bytes(found)

    @property
    def lifetimes(self) -> tuple[int, int]:
        """Preferred and valid, in seconds."""
        info = self._attrs.get(uapi.IFA_CACHEINFO, b"")
        if len(info) < CACHEINFO.size:
            return FOREVER, FOREVER
        preferred, valid, _, _ = CACHEINFO.unpack_from(info)
        return preferred, valid

    @property
    def essence(self) -> list[object]:
        """Everything that a move preserves, in order: without ifindex, label and time stamps."""
        kept: list[object] = [self.data[self.at : self.at + 4]]
        for type_, value in wire.attr_list(memoryview(self.data)[self.at : self.end], IFADDRMSG.size, strict=False):
            payload = bytearray(value)
            if type_ == uapi.IFA_CACHEINFO and len(payload) >= CACHEINFO.size:
                del payload[STAMPS]
            if type_ != uapi.IFA_LABEL:
                kept.append((type_, bytes(payload)))
        return kept

    @property
    def body(self) -> bytes:
        return self.data[self.at : self.end]

    @property
    def attrs_as_is(self) -> bytes:
        """The attributes that are sent again unchanged, in the order of AS_IS."""
        # A dump says "preferred forever"; only the flag is right (probe addresses.lifetime.ipv4-preferred-zero).
        is_deprecated = self.family == uapi.AF_INET and self.flags & DEPRECATED == DEPRECATED
        return b"".join(
            NEVER_PREFERRED if is_deprecated and type_ == uapi.IFA_CACHEINFO else wire.attr(type_, self._attrs[type_])
            for type_ in AS_IS
            if type_ in self._attrs
        )

    @property
    def identity(self) -> tuple[int, int, bytes | None, bytes | None]:
        """The kernel's key of an address."""
        return self.family, self.prefixlen, self.get(uapi.IFA_LOCAL), self.get(uapi.IFA_ADDRESS)

    @property
    def is_protected(self) -> bool:
        return is_protected(self.flags, self.scope)

    @property
    def is_proven(self) -> bool:
        """Whether it is IPv6 and had completed DAD."""
        return self.family == uapi.AF_INET6 and not self.flags & UNPROVEN


def addresses_in(data: bytes, *, protected: bool = False) -> Iterator[Address]:
    """Parses RTM_NEWADDR messages; `protected`: only addresses that the runtime-spec protects."""
    for type_, at, end in wire.spans(data):
        if type_ == uapi.RTM_NEWADDR and end - at >= IFADDRMSG.size:
            address = Address(data, at, end)
            if not protected or is_protected(address.flags, address.scope):
                yield address
