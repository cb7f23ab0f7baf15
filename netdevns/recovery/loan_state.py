"""Identifies a lent device, and shortens the lifetimes of addresses in a record or loan by the time since then."""

from __future__ import annotations

from ..netlink import uapi, wire
from ..netlink.ifaddr import CACHEINFO, IFADDRMSG
from ..system import clock

FOREVER = uapi.INFINITY_LIFE_TIME


# ---- the link -------------------------------------------------------------------------------------------------------


def origin(body: memoryview) -> tuple[bytes, ...]:
    """The attributes of a link that a container cannot change: kind, parent bus and device, permanent MAC."""
    found = wire.attrs(body, wire.IFINFOMSG.size, strict=False)
    info = found.get(uapi.IFLA_LINKINFO)
    kind = wire.text(wire.attrs(info, strict=False).get(uapi.IFLA_INFO_KIND)) if info is not None else b""
    hardware = (uapi.IFLA_PARENT_DEV_BUS_NAME, uapi.IFLA_PARENT_DEV_NAME, uapi.IFLA_PERM_ADDRESS)
    return kind, *(bytes(found.get(type_, b"")) for type_ in hardware)


def carrier_changes(link: wire.Link) -> int:
    """How often its carrier changed since the device was made; it also counts in a container."""
    return wire.u32(wire.attrs(link.body, wire.IFINFOMSG.size, strict=False).get(uapi.IFLA_CARRIER_CHANGES)) or 0


def renumbered(link: wire.Link, ifindex: int) -> bytes:
    """The RTM_NEWLINK of a snapshot, with the device's present ifindex."""
    body = bytearray(link.body)
    wire.S32.pack_into(body, 4, ifindex)
    return wire.message(uapi.RTM_NEWLINK, 0, bytes(body))


# ---- addresses ------------------------------------------------------------------------------------------------------


_LASTING = uapi.IFA_F_PERMANENT | uapi.IFA_F_DEPRECATED  # flags that follow from the lifetimes


def elapsed_s(since_ms: int) -> int:
    """Seconds since then, rounded up: a lifetime may become shorter by a restore, never longer."""
    return max(0, -((since_ms - clock.now_ms()) // 1000))


def aged(addresses: bytes, elapsed_s: int, there: bytes = b"") -> bytes:
    """RTM_NEWADDR messages with their remaining lifetimes; without expired ones.

    `there`: the device's present addresses. One that is there with a longer lifetime (a renewed lease) keeps that.
    """
    kept, now = [], {_identity(message): bytearray(message.padded()) for message in wire.messages(there)}
    for message in wire.messages(addresses):
        data = bytearray(message.padded())
        left = _left(data, elapsed_s)
        renewed = None if left is None else now.get(_identity(message))
        if renewed is not None and _lifetimes(renewed) > _lifetimes(data):
            _copy_lifetimes(renewed, data)
            left = None
        if left is None or left > 0:
            kept.append(bytes(data))
    return b"".join(kept)


def has_lifetimes(addresses: bytes) -> bool:
    """Whether one of them expires."""
    return any(_left(bytearray(message.padded()), 0) is not None for message in wire.messages(addresses))


def _identity(message: wire.Message) -> tuple[object, ...]:
    """Family, prefix length, and both addresses: the kernel's key (as nd_addr_same in C)."""
    found = wire.attrs(message.body, IFADDRMSG.size, strict=False)
    return (*message.body[:2], *(bytes(found[t]) if t in found else None for t in (uapi.IFA_LOCAL, uapi.IFA_ADDRESS)))


def _places(data: bytearray) -> dict[int, int]:
    """The offset of each attribute's payload in one message."""
    at, end, found = 16 + IFADDRMSG.size, wire.NLMSGHDR.unpack_from(data)[0], {}
    while end - at >= 4:
        length, type_ = wire.NLATTR.unpack_from(data, at)
        if not 4 <= length <= end - at:
            break
        size = {uapi.IFA_CACHEINFO: CACHEINFO.size, uapi.IFA_FLAGS: 4}.get(type_ & wire.TYPE_MASK, 0)
        if size and length - 4 >= size:
            found[type_ & wire.TYPE_MASK] = at + 4
        at += (length + 3) & ~3
    return found


def _lifetimes(data: bytearray) -> tuple[int, int]:
    """Valid, preferred."""
    at = _places(data).get(uapi.IFA_CACHEINFO)
    preferred, valid, *_ = CACHEINFO.unpack_from(data, at) if at else (FOREVER, FOREVER)
    return valid, preferred


def _copy_lifetimes(renewed: bytearray, data: bytearray) -> None:
    """Both lifetimes, and the flags that follow from them."""
    valid, preferred = _lifetimes(renewed)
    at = _places(data)
    CACHEINFO.pack_into(data, at[uapi.IFA_CACHEINFO], preferred, valid, 0, 0)
    flags = renewed[16 + 2] & _LASTING
    data[16 + 2] = data[16 + 2] & ~_LASTING | flags
    if at_flags := at.get(uapi.IFA_FLAGS):
        wire.U32.pack_into(data, at_flags, wire.U32.unpack_from(data, at_flags)[0] & ~_LASTING | flags)


def _left(data: bytearray, elapsed_s: int) -> int | None:
    """Shortens the lifetimes of one message in place; returns the remaining valid lifetime, None: forever."""
    at, left, is_deprecated = _places(data), None, False
    if at_info := at.get(uapi.IFA_CACHEINFO):
        preferred, valid, created, updated = CACHEINFO.unpack_from(data, at_info)
        if valid != FOREVER:
            left = valid = max(0, valid - elapsed_s)
        if preferred not in (0, FOREVER):
            preferred = max(0, preferred - elapsed_s)
            is_deprecated = preferred == 0
        CACHEINFO.pack_into(data, at_info, preferred, valid, created, updated)
    if is_deprecated:
        data[16 + 2] |= uapi.IFA_F_DEPRECATED
        if at_flags := at.get(uapi.IFA_FLAGS):
            wire.U32.pack_into(data, at_flags, wire.U32.unpack_from(data, at_flags)[0] | uapi.IFA_F_DEPRECATED)
    return left
