"""Identifies a lent device and ages its addresses: by the time that a loan ends, lifetimes have run on."""

from __future__ import annotations

from ..netlink import uapi, wire
from ..netlink.ifaddr import CACHEINFO, IFADDRMSG

FOREVER = uapi.INFINITY_LIFE_TIME


# ---- the link -------------------------------------------------------------------------------------------------------


def origin(body: memoryview) -> tuple[bytes, ...]:
    """The attributes of a link that a container cannot change: kind, parent bus and device, permanent MAC."""
    found = wire.attrs(body, wire.IFINFOMSG.size, strict=False)
    info = found.get(uapi.IFLA_LINKINFO)
    kind = wire.text(wire.attrs(info, strict=False).get(uapi.IFLA_INFO_KIND)) if info is not None else b""
    hardware = (uapi.IFLA_PARENT_DEV_BUS_NAME, uapi.IFLA_PARENT_DEV_NAME, uapi.IFLA_PERM_ADDRESS)
    return kind, *(bytes(found.get(type_, b"")) for type_ in hardware)


def renumbered(link: wire.Link, ifindex: int) -> bytes:
    """The RTM_NEWLINK of a snapshot, with the device's present ifindex."""
    body = bytearray(link.body)
    wire.S32.pack_into(body, 4, ifindex)
    return wire.message(uapi.RTM_NEWLINK, 0, bytes(body))


# ---- addresses ------------------------------------------------------------------------------------------------------


def aged(addresses: bytes, elapsed_s: int) -> bytes:
    """RTM_NEWADDR messages with their remaining lifetimes; without expired ones."""
    kept = []
    for message in wire.messages(addresses):
        data = bytearray(message.padded())
        left = _left(data, elapsed_s)
        if left is None or left > 0:
            kept.append(bytes(data))
    return b"".join(kept)


def _left(data: bytearray, elapsed_s: int) -> int | None:
    """Shortens the lifetimes of one message in place; returns the remaining valid lifetime, None: forever."""
    at, end, left, is_deprecated = 16 + IFADDRMSG.size, wire.NLMSGHDR.unpack_from(data)[0], None, False
    flags_at = 0
    while end - at >= 4:
        length, type_ = wire.NLATTR.unpack_from(data, at)
        if not 4 <= length <= end - at:
            break
        if type_ & wire.TYPE_MASK == uapi.IFA_CACHEINFO and length - 4 >= CACHEINFO.size:
            preferred, valid, created, updated = CACHEINFO.unpack_from(data, at + 4)
            if valid != FOREVER:
                left = valid = max(0, valid - elapsed_s)
            if preferred not in (0, FOREVER):
                preferred = max(0, preferred - elapsed_s)
                is_deprecated = preferred == 0
            CACHEINFO.pack_into(data, at + 4, preferred, valid, created, updated)
        elif type_ & wire.TYPE_MASK == uapi.IFA_FLAGS and length == 8:
            flags_at = at + 4
        at += (length + 3) & ~3
    if is_deprecated:
        data[16 + 2] |= uapi.IFA_F_DEPRECATED
        if flags_at:
            wire.U32.pack_into(data, flags_at, wire.U32.unpack_from(data, flags_at)[0] | uapi.IFA_F_DEPRECATED)
    return left
