"""Netlink requests of probes as bytes, well-formed and malformed, built by netdevns.netlink.wire."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from struct import Struct

from ..netlink import uapi, wire

IFLA_NET_NS_PID = 19  # linux/if_link.h
IFLA_TARGET_NETNSID = 46
IFLA_XDP_FD = 1
VETH_INFO_PEER = 1  # linux/veth.h
IFADDRMSG = Struct("=BBBBI")  # linux/if_addr.h: family, prefixlen, flags, scope, index
RTMSG = Struct("=BBBBBBBBI")  # linux/rtnetlink.h: family, dst_len, src_len, tos, table, protocol, scope, type, flags
RTM_NEWNSID, RTM_DELNSID, RTM_GETNSID = 88, 89, 90  # linux/rtnetlink.h
NETNSA_NSID, NETNSA_PID, NETNSA_FD = 1, 2, 3  # linux/net_namespace.h
CREATE = uapi.NLM_F_ACK | uapi.NLM_F_CREATE | uapi.NLM_F_EXCL


def new_link(kind: bytes, name: bytes, attrs: bytes = b"", data: bytes = b"") -> bytes:
    """A new device. `attrs` stand beside its name; `data` is the contents of IFLA_INFO_DATA."""
    info = wire.attr(uapi.IFLA_INFO_KIND, kind) + (wire.nested(uapi.IFLA_INFO_DATA, data) if data else b"")
    body = wire.attr_name(uapi.IFLA_IFNAME, name) + attrs + wire.nested(uapi.IFLA_LINKINFO, info)
    return wire.link_message(uapi.RTM_NEWLINK, CREATE, 0, body)


def new_veth(name: bytes, peer: bytes, attrs: bytes = b"") -> bytes:
    """A new pair of devices; `attrs` are the first one's."""
    other = wire.IFINFOMSG.pack(0, 0, 0, 0, 0) + wire.attr_name(uapi.IFLA_IFNAME, peer)
    return new_link(b"veth", name, attrs, wire.nested(VETH_INFO_PEER, other))


def set_link(ifindex: int, attrs: bytes = b"", *, up: bool | None = None, flags: int = 0, change: int = 0) -> bytes:
    """Changes a device; `up` is IFF_UP alone, `flags` and `change` are ifi_flags and ifi_change."""
    if up is not None:
        flags, change = flags | (uapi.IFF_UP if up else 0), change | uapi.IFF_UP
    return link_request(wire.IFINFOMSG.pack(0, 0, ifindex, flags, change) + attrs)


def link_request(body: bytes, type_: int = uapi.RTM_NEWLINK, flags: int = uapi.NLM_F_ACK) -> bytes:
    """A request with any body, even a malformed one."""
    return wire.message(type_, flags, body)


def del_link(ifindex: int) -> bytes:
    return wire.link_message(uapi.RTM_DELLINK, uapi.NLM_F_ACK, ifindex)


def named(name: bytes) -> bytes:
    """IFLA_IFNAME: in a change with an ifindex, the new name."""
    return wire.attr_name(uapi.IFLA_IFNAME, name)


def ns_fd(fd: int) -> bytes:
    """IFLA_NET_NS_FD: the namespace to move to, by descriptor."""
    return wire.attr_u32(uapi.IFLA_NET_NS_FD, fd & 0xFFFFFFFF)


def ns_pid(pid: int) -> bytes:
    """IFLA_NET_NS_PID: the namespace to move to, by process."""
    return wire.attr_u32(IFLA_NET_NS_PID, pid & 0xFFFFFFFF)


def target_nsid(nsid: int) -> bytes:
    """IFLA_TARGET_NETNSID: a namespace, by the sender's id for it."""
    return wire.attr(IFLA_TARGET_NETNSID, wire.S32.pack(nsid))


def new_ifindex(ifindex: int) -> bytes:
    """IFLA_NEW_IFINDEX: the wanted ifindex."""
    return wire.attr(uapi.IFLA_NEW_IFINDEX, wire.S32.pack(ifindex))


def altnames(ifindex: int, names: Sequence[bytes], type_: int = uapi.RTM_NEWLINKPROP) -> bytes:
    """Adds alternative names, or removes them (RTM_DELLINKPROP)."""
    return wire.altnames_message(type_, ifindex, names)


def new_nsid(fd: int, nsid: int) -> bytes:
    """Gives a namespace an id in the sender's namespace; -1: any."""
    body = bytes(4) + wire.attr(NETNSA_NSID, wire.S32.pack(nsid)) + wire.attr_u32(NETNSA_FD, fd)
    return wire.message(RTM_NEWNSID, uapi.NLM_F_ACK, body)


def packed(address: str) -> tuple[int, bytes]:
    """AF_INET or AF_INET6, and the address as bytes."""
    family = uapi.AF_INET6 if ":" in address else uapi.AF_INET
    return family, socket.inet_pton(family, address)


def address(ifindex: int, text: str, attrs: bytes = b"", *, flags: int = 0, scope: int = 0, type_: int = 0) -> bytes:
    """Adds an address, such as 10.0.0.1/24; or another `type_` of request."""
    plain, _, prefixlen = text.partition("/")
    family, data = packed(plain)
    body = IFADDRMSG.pack(family, int(prefixlen), flags & 0xFF, scope, ifindex)
    body += wire.attr(uapi.IFA_LOCAL, data) + wire.attr(uapi.IFA_ADDRESS, data)
    body += (wire.attr_u32(uapi.IFA_FLAGS, flags) if flags > 0xFF else b"") + attrs
    return wire.message(type_ or uapi.RTM_NEWADDR, CREATE if not type_ else uapi.NLM_F_ACK, body)


def route(ifindex: int, text: str, attrs: bytes = b"", *, table: int = uapi.RT_TABLE_MAIN, scope: int = 253) -> bytes:
    """Adds a route to a destination, such as 10.1.0.0/24, by a device."""
    plain, _, prefixlen = text.partition("/")
    family, data = packed(plain)
    body = RTMSG.pack(
        family, int(prefixlen), 0, 0, table, 4, scope if family == uapi.AF_INET else 0, uapi.RTN_UNICAST, 0
    )
    body += wire.attr(uapi.RTA_DST, data) + wire.attr_u32(uapi.RTA_OIF, ifindex) + attrs
    return wire.message(uapi.RTM_NEWROUTE, CREATE, body)


def dump(type_: int, family: int = 0, body: bytes = b"") -> bytes:
    """A dump of links, addresses or routes. `body` is valid for strict checking: by default a zeroed header."""
    sizes = {uapi.RTM_GETLINK: wire.IFINFOMSG.size, uapi.RTM_GETADDR: IFADDRMSG.size, uapi.RTM_GETROUTE: RTMSG.size}
    return wire.message(type_, uapi.NLM_F_DUMP, body or bytes([family]) + bytes(sizes.get(type_, 12) - 1))


def with_flags(message: bytes, flags: int) -> bytes:
    """The request with other nlmsg_flags, such as NLM_F_CREATE | NLM_F_REPLACE, and with NLM_F_ACK."""
    length, type_, _, seq, portid = wire.NLMSGHDR.unpack_from(message)
    return wire.NLMSGHDR.pack(length, type_, flags | uapi.NLM_F_REQUEST | uapi.NLM_F_ACK, seq, portid) + message[16:]
