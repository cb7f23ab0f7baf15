"""Netlink bytes for tests, by struct alone: not a line of the package, so that it cannot agree with a mistake there.

Layouts and numbers: linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h.
"""

import socket
import struct

NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 1, 2, 3, 4
NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x2, 0x4, 0x10, 0x300
NLM_F_REPLACE, NLM_F_CREATE = 0x100, 0x400
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR = 16, 18, 20, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE, RTM_NEWNEXTHOP, RTM_GETNEXTHOP = 24, 25, 26, 104, 106
IFLA_ADDRESS, IFLA_BROADCAST, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_TXQLEN = 1, 2, 3, 4, 10, 13
IFLA_LINKINFO = 18
IFLA_LINK, IFLA_PERM_ADDRESS, IFLA_PARENT_DEV_NAME = 5, 54, 56
IFLA_IFALIAS, IFLA_GROUP, IFLA_NET_NS_FD, IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 20, 27, 28, 31, 32
IFLA_GSO_MAX_SIZE, IFLA_NEW_IFINDEX = 41, 49
IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_BROADCAST, IFA_CACHEINFO = 1, 2, 3, 4, 6
IFA_FLAGS, IFA_RT_PRIORITY, IFA_PROTO = 8, 9, 11
IFA_F_NODAD, IFA_F_DADFAILED, IFA_F_TENTATIVE, IFA_F_PERMANENT = 0x02, 0x08, 0x40, 0x80
IFF_UP = 1
PORTID = 4711
FOREVER = 0xFFFFFFFF


class Request:
    """One message of what the core sent."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        _, self.type, self.flags, self.seq, self.portid = struct.unpack_from("=IHHII", data)
        self.body = data[16:]

    @property
    def ifindex(self) -> int:
        """ifi_index or ifa_index: both lie 4 bytes behind the header's start."""
        return struct.unpack_from("=i", self.body, 4)[0]

    def attrs(self) -> dict[int, bytes]:
        return attrs(self.body[8 if self.type in (RTM_NEWADDR, RTM_GETADDR) else 16 :])


def requests(datagram: bytes) -> list[Request]:
    """What was sent in one datagram, message by message."""
    found, at = [], 0
    while at < len(datagram):
        (length,) = struct.unpack_from("=I", datagram, at)
        found.append(Request(datagram[at : at + length]))
        at += (length + 3) & ~3
    return found


def attrs(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at < len(data):
        length, type_ = struct.unpack_from("=HH", data, at)
        found[type_] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def attr(type_: int, data: bytes, *, length: int | None = None) -> bytes:
    """An attribute; `length` is a lie about it."""
    return struct.pack("=HH", 4 + len(data) if length is None else length, type_) + data + bytes(-len(data) & 3)


def attr_u32(type_: int, value: int) -> bytes:
    return attr(type_, struct.pack("=I", value))


def message(
    type_: int, body: bytes = b"", *, seq: int = 0, flags: int = 0, portid: int = PORTID, length: int | None = None
) -> bytes:
    """A message, not padded; `length` is a lie about it."""
    return struct.pack("=IHHII", 16 + len(body) if length is None else length, type_, flags, seq, portid) + body


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) & 3)


def error(
    code: int, request: Request, *, text: str = "", offset: int | None = None, capped: bool = True, portid: int = PORTID
) -> bytes:
    """NLMSG_ERROR as the kernel answers `request`: code is a positive errno, 0 an ack."""
    tlvs = attr(1, text.encode() + b"\0") if text else b""
    tlvs += b"" if offset is None else attr_u32(2, offset)
    flags = (NLM_F_CAPPED if capped else 0) | (NLM_F_ACK_TLVS if tlvs else 0)
    echo = request.data[:16] if capped else padded(request.data)
    return message(NLMSG_ERROR, struct.pack("=i", -code) + echo + tlvs, seq=request.seq, flags=flags, portid=portid)


def done(request: Request, code: int = 0) -> bytes:
    return message(NLMSG_DONE, struct.pack("=i", code), seq=request.seq, flags=NLM_F_MULTI)


def link_body(ifindex: int, flags: int = 0, attributes: dict[int, bytes] | None = None) -> bytes:
    """struct ifinfomsg (of an Ethernet device) and attributes."""
    head = struct.pack("=BxHiII", 0, 1, ifindex, flags, 0)
    return head + b"".join(attr(t, v) for t, v in (attributes or {}).items())


def address_body(
    address: str,
    ifindex: int,
    *,
    flags: int = IFA_F_PERMANENT,
    scope: int = 0,
    peer: str | None = None,
    lifetimes: tuple[int, int] = (FOREVER, FOREVER),
    more: dict[int, bytes] | None = None,
) -> bytes:
    """struct ifaddrmsg and attributes as a kernel dumps them; address is "10.0.0.1/24", lifetimes: preferred, valid."""
    text, prefixlen = address.split("/")
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    local = socket.inet_pton(family, text)
    found = {IFA_ADDRESS: socket.inet_pton(family, peer) if peer else local}
    if family == socket.AF_INET or peer:
        found[IFA_LOCAL] = local
    found |= more or {}
    found[IFA_FLAGS] = struct.pack("=I", flags)
    found[IFA_CACHEINFO] = struct.pack("=IIII", *lifetimes, 5, 6)
    head = struct.pack("=BBBBI", family, int(prefixlen), flags & 0xFF, scope, ifindex)
    return head + b"".join(attr(t, v) for t, v in found.items())
