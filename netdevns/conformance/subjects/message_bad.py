"""RTM_NEWLINK that moves a device, with wrong attributes, lengths and headers."""

from __future__ import annotations

from ...netlink import uapi, wire
from .. import requests
from ..probe import ABI, VARIES, Value, probe
from ..requests import ns_fd, set_link
from ..world import World
from .message import POLICY, moved

FD = uapi.IFLA_NET_NS_FD
BAD = {
    "fd-empty": (FD, b""),
    "fd-short": (FD, b"\0\0"),
    "fd-long": (FD, bytes(8)),
    "pid-short": (requests.IFLA_NET_NS_PID, b"\0\0"),
    "nsid-short": (requests.IFLA_TARGET_NETNSID, b"\0\0"),
    "new-ifindex-short": (uapi.IFLA_NEW_IFINDEX, b"\0\0"),
    "name-without-nul": (uapi.IFLA_IFNAME, b"net0"),
    "name-too-long": (uapi.IFLA_IFNAME, b"x" * 16 + b"\0"),
    "name-very-long": (uapi.IFLA_IFNAME, b"x" * 4000),
    "name-empty": (uapi.IFLA_IFNAME, b"\0"),
    "name-no-bytes": (uapi.IFLA_IFNAME, b""),
    "name-text-after-nul": (uapi.IFLA_IFNAME, b"net0\0junk\0"),
    "unknown-attribute": (4000, b"\1\2\3\4"),
    "fd-nested-flag": (FD | uapi.NLA_F_NESTED, None),
}
TEXTS = {
    "fd-empty": "An empty IFLA_NET_NS_FD is refused with ERANGE",
    "fd-short": "IFLA_NET_NS_FD of two bytes is refused with ERANGE",
    "fd-long": "IFLA_NET_NS_FD of eight zero bytes is refused with EINVAL",
    "pid-short": "IFLA_NET_NS_PID of two bytes is refused with ERANGE",
    "nsid-short": "IFLA_TARGET_NETNSID of two bytes is refused with ERANGE",
    "new-ifindex-short": "The outcome of a move with an IFLA_NEW_IFINDEX of two bytes",
    "name-without-nul": "IFLA_IFNAME without a terminating NUL is accepted",
    "name-too-long": "IFLA_IFNAME of 16 bytes and a NUL is refused with ERANGE",
    "name-very-long": "IFLA_IFNAME of 4,000 bytes is refused with ERANGE",
    "name-empty": "IFLA_IFNAME with an empty string keeps the name",
    "name-no-bytes": "IFLA_IFNAME without a byte is refused with ERANGE",
    "name-text-after-nul": "IFLA_IFNAME ends at its first NUL",
    "unknown-attribute": "An unknown attribute is ignored",
    "fd-nested-flag": "NLA_F_NESTED on IFLA_NET_NS_FD is ignored",
}


@probe(
    "message.bad.{}",
    ABI,
    "{}.",
    source=POLICY,
    cases=BAD,
    texts=TEXTS,
    kinds={"new-ifindex-short": VARIES},
)
def bad(world: World, type_: int, data: bytes | None) -> Value:
    device = world.source.device(b"eth1")
    good = ns_fd(world.target.fd)
    wrong = wire.attr(type_, good[4:] if data is None else data)
    is_fd = type_ & wire.TYPE_MASK == FD
    return moved(world, device, wrong if is_fd else good + wrong)


@probe(
    "message.bad.attribute-longer-than-message",
    ABI,
    "An attribute that is longer than the message is ignored.",
    source="lib/nlattr.c, __nla_parse",
)
def bad_length(world: World) -> Value:
    device = world.source.device(b"eth1")
    lying = wire.NLATTR.pack(64, uapi.IFLA_IFNAME) + b"net0"
    return moved(world, device, ns_fd(world.target.fd) + lying)


@probe(
    "message.bad.header-short",
    ABI,
    "A message that ends within struct ifinfomsg is refused with EINVAL.",
    source="net/core/rtnetlink.c, rtnl_newlink",
)
def bad_header(world: World) -> Value:
    return world.source.request(requests.link_request(bytes(8))).error


@probe(
    "message.bad.length-in-a-batch",
    ABI,
    "A nlmsg_len that is too short drops the rest of the datagram, without an error.",
    source="net/netlink/af_netlink.c, netlink_rcv_skb",
)
def bad_batch(world: World) -> Value:
    device = world.source.device(b"eth1")
    first, last = set_link(device.ifindex, up=True), set_link(device.ifindex, ns_fd(world.target.fd))
    lying = wire.NLMSGHDR.pack(4, uapi.RTM_NEWLINK, uapi.NLM_F_REQUEST | uapi.NLM_F_ACK, 0, 0)
    replies = world.source.replies(first + lying + last)
    return {"acks": [reply.error for reply in replies], "device": world.place(device)}
