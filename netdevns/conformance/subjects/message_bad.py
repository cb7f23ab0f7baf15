"""The same message with attributes, lengths and headers that are wrong."""

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


@probe(
    "message.bad.{}",
    ABI,
    "One attribute is not as the policy wants it: {}.",
    source=POLICY,
    cases=BAD,
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
    "An attribute whose length lies is not read.",
    source="lib/nlattr.c, __nla_parse",
)
def bad_length(world: World) -> Value:
    device = world.source.device(b"eth1")
    lying = wire.NLATTR.pack(64, uapi.IFLA_IFNAME) + b"net0"
    return moved(world, device, ns_fd(world.target.fd) + lying)


@probe(
    "message.bad.header-short",
    ABI,
    "A message that ends within struct ifinfomsg.",
    source="net/core/rtnetlink.c, rtnl_newlink",
)
def bad_header(world: World) -> Value:
    return world.source.request(requests.link_request(bytes(8))).error


@probe(
    "message.bad.length-in-a-batch",
    ABI,
    "A wrong nlmsg_len drops the rest of a datagram.",
    source="net/netlink/af_netlink.c, netlink_rcv_skb",
)
def bad_batch(world: World) -> Value:
    device = world.source.device(b"eth1")
    first, last = set_link(device.ifindex, up=True), set_link(device.ifindex, ns_fd(world.target.fd))
    lying = wire.NLMSGHDR.pack(4, uapi.RTM_NEWLINK, uapi.NLM_F_REQUEST | uapi.NLM_F_ACK, 0, 0)
    replies = world.source.replies(first + lying + last)
    return {"acks": [reply.error for reply in replies], "device": world.place(device)}
