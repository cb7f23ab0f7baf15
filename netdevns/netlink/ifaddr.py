"""Decodes dumped addresses (RTM_NEWADDR), and builds requests about them.

Layout: linux/if_addr.h (struct ifaddrmsg, ifa_cacheinfo).
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from . import uapi, wire

IFADDRMSG = Struct("=BBBBI")  # ifa_family, ifa_prefixlen, ifa_flags, ifa_scope, ifa_index
CACHEINFO = Struct("=IIII")  # ifa_prefered, ifa_valid, cstamp, tstamp
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
FAMILIES = {uapi.AF_INET: "inet", uapi.AF_INET6: "inet6"}


def is_protected(flags: int, scope: int) -> bool:
    """The runtime-spec's rule (config-linux.md, "Network Devices"): permanent and of global scope."""
    return bool(flags & uapi.IFA_F_PERMANENT) and scope == uapi.RT_SCOPE_UNIVERSE


def address_text(family: int, data: bytes) -> str:
    """An address in its family's notation."""
    if family == uapi.AF_INET and len(data) == 4:
        return ".".join(map(str, data))
    if family == uapi.AF_INET6 and len(data) == 16:
        return _ipv6_text(data)
    return data.hex()


def _ipv6_text(data: bytes) -> str:
    """RFC 5952 without its section 5, which ipaddress follows from Python 3.13 on."""
    groups = [f"{data[i] << 8 | data[i + 1]:x}" for i in range(0, 16, 2)]
    begin = length = 0
    for at in range(8):
        run = 0
        while at + run < 8 and groups[at + run] == "0":
            run += 1
        if run > length:
            begin, length = at, run
    if length < 2:
        return ":".join(groups)
    return f"{':'.join(groups[:begin])}::{':'.join(groups[begin + length :])}"


def dump_addresses(ifindex: int = 0) -> bytes:
    """RTM_GETADDR of all devices, or of one."""
    return wire.message(uapi.RTM_GETADDR, uapi.NLM_F_DUMP, IFADDRMSG.pack(0, 0, 0, 0, ifindex))


def removals(now: bytes, before: bytes) -> Iterator[bytes]:
    """An RTM_DELADDR for each IPv4 address of `now` that is also in `before`; a secondary one before its primary.

    The kernel deletes secondary addresses with their primary (net/ipv4/devinet.c, __inet_del_ifa), and lists them last.
    """
    kept = locals_of(before)
    for message in reversed([*wire.messages(now)]):
        if message.type == uapi.RTM_NEWADDR and message.body[0] == uapi.AF_INET and locals_of(message.padded()) & kept:
            yield wire.message(uapi.RTM_DELADDR, uapi.NLM_F_ACK, bytes(message.body))


def locals_of(addresses: bytes) -> set[bytes]:
    """The local addresses of RTM_NEWADDR messages."""
    found = (wire.attrs(message.body, IFADDRMSG.size, strict=False) for message in wire.messages(addresses))
    return {bytes(attrs.get(uapi.IFA_LOCAL, attrs.get(uapi.IFA_ADDRESS, b""))) for attrs in found}


def addresses(
    dumped: bytes | memoryview, *, protected: bool = False, ifindex: int | None = None
) -> Iterator[dict[str, object]]:
    """The fields of `results.Address` for each RTM_NEWADDR, of all devices or of one."""
    for _, fields in indexed_addresses(dumped, protected=protected, ifindex=ifindex):
        yield fields


def indexed_addresses(
    dumped: bytes | memoryview, *, protected: bool = False, ifindex: int | None = None
) -> Iterator[tuple[int, dict[str, object]]]:
    """The same, each with its ifindex in front."""
    for message in wire.messages(dumped):
        if message.type != uapi.RTM_NEWADDR:
            continue
        if len(message.body) < IFADDRMSG.size:
            raise wire.Malformed("a truncated address message")
        family, prefixlen, flags, scope, index = IFADDRMSG.unpack_from(message.body)
        found = wire.attrs(message.body, IFADDRMSG.size)
        all_flags = wire.u32(found.get(uapi.IFA_FLAGS))
        flags = flags if all_flags is None else all_flags
        if (protected and not is_protected(flags, scope)) or ifindex not in (None, index):
            continue
        local = bytes(found.get(uapi.IFA_LOCAL, b"")) or bytes(found.get(uapi.IFA_ADDRESS, b""))
        other = bytes(found.get(uapi.IFA_ADDRESS, b""))
        broadcast = found.get(uapi.IFA_BROADCAST)
        label = found.get(uapi.IFA_LABEL)
        protocol = found.get(uapi.IFA_PROTO)
        valid = preferred = uapi.INFINITY_LIFE_TIME
        if uapi.IFA_CACHEINFO in found:
            if len(found[uapi.IFA_CACHEINFO]) < CACHEINFO.size:
                raise wire.Malformed("a truncated IFA_CACHEINFO")
            preferred, valid, _, _ = CACHEINFO.unpack_from(found[uapi.IFA_CACHEINFO])
        yield (
            index,
            {
                "family": FAMILIES.get(family, str(family)),
                "address": address_text(family, local),
                "prefixlen": prefixlen,
                "peer": address_text(family, other) if other and other != local else None,
                "broadcast": None if broadcast is None else address_text(family, bytes(broadcast)),
                "label": None if label is None else wire.text(label).decode("utf-8", "surrogateescape"),
                "scope": SCOPES.get(scope, str(scope)),
                "flags": flags,
                "metric": wire.u32(found.get(uapi.IFA_RT_PRIORITY)),
                "protocol": None if protocol is None else wire.u8(protocol),
                "valid_lft_s": None if valid == uapi.INFINITY_LIFE_TIME else valid,
                "preferred_lft_s": None if preferred == uapi.INFINITY_LIFE_TIME else preferred,
            },
        )
