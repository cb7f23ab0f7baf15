"""Dumps: their order, changes while they are read, strict checking, and filters."""

from __future__ import annotations

from collections.abc import Callable

from ...netlink import uapi, wire
from .. import requests
from ..probe import ABI, SPEC, Value, probe
from ..requests import address, named, ns_fd, set_link
from ..world import Namespace, World, reply_of
from .raw import Raw, flagged

LINKS = "net/core/rtnetlink.c, rtnl_dump_ifinfo"
GET = "net/core/rtnetlink.c, rtnl_getlink"
ADDRESSES = "net/ipv4/devinet.c, inet_dump_ifaddr; net/ipv6/addrconf.c, inet6_dump_addr"
FILTERED = 0x20  # NLM_F_DUMP_FILTERED, linux/netlink.h
STRICT = uapi.NETLINK_GET_STRICT_CHK
NODAD = uapi.IFA_F_NODAD
FIRST_DATAGRAM = 8192  # the kernel's limit for the first datagram of a dump


def ask(world: World, message: bytes, *options: int, namespace: Namespace | None = None) -> list[wire.Message]:
    """Sends one request and reads all answers."""
    with Raw((namespace or world.source).fd, *options) as raw:
        raw.send(message)
        return raw.messages()


def names(messages: list[wire.Message]) -> list[str]:
    return [wire.Link(m.body).name.decode() for m in messages if m.type == uapi.RTM_NEWLINK]


def refusal(messages: list[wire.Message]) -> str:
    """The error in an NLMSG_ERROR, or in the NLMSG_DONE of a dump."""
    for message in messages:
        if message.type == uapi.NLMSG_ERROR:
            return reply_of(message.padded()).error
        if message.type == uapi.NLMSG_DONE and wire.S32.unpack_from(message.body)[0]:
            return reply_of(wire.message(uapi.NLMSG_ERROR, 0, bytes(message.body[:4]) + bytes(16))).error
    return "ok"


def ipv4_of(message: wire.Message) -> str:
    return ".".join(str(byte) for byte in wire.attrs(message.body, 8)[uapi.IFA_LOCAL])


def addresses(messages: list[wire.Message]) -> list[str]:
    """The last byte of each address, in the dump's order."""
    found = [m for m in messages if m.type == uapi.RTM_NEWADDR]
    return [str(wire.attrs(m.body, 8)[uapi.IFA_ADDRESS][-1]) for m in found]


# ---- order ----


@probe("dumps.order.links", ABI,
       "Devices are dumped in the order of their ifindex, whenever they were made, moved or named.",
       source=LINKS)  # fmt: skip
def order_links(world: World) -> Value:
    device = world.target.device(b"came-later")
    for name in (b"zz", b"aa"):
        world.source.device(name)
    low = requests.new_ifindex(900)
    world.target.must(set_link(device.ifindex, ns_fd(world.source.fd) + low))
    numbers = [link.ifindex for link in world.source.links()]
    return numbers == sorted(numbers)


@probe("dumps.order.ipv4", SPEC, "IPv4 addresses are dumped in the order in which they were added, secondaries last.",
       source="net/ipv4/devinet.c, __inet_insert_ifa")  # fmt: skip
def order_v4(world: World) -> Value:
    device = world.source.device(b"eth1")
    for text in ("10.0.0.9/24", "10.0.0.3/24", "10.1.0.7/24", "10.0.0.5/24", "10.2.0.1/24"):
        world.source.must(address(device.ifindex, text))
    return addresses(world.source.dump(uapi.RTM_GETADDR, uapi.AF_INET))


@probe("dumps.order.ipv4-scope", SPEC, "IPv4 primaries of a narrower scope are dumped first.",
       source="net/ipv4/devinet.c, __inet_insert_ifa")  # fmt: skip
def order_v4_scope(world: World) -> Value:
    device = world.source.device(b"eth1")
    for text, scope in (("10.1.0.1/24", 253), ("10.2.0.2/24", 0), ("10.3.0.3/24", 254), ("10.4.0.4/24", 0)):
        world.source.must(address(device.ifindex, text, scope=scope))
    return addresses(world.source.dump(uapi.RTM_GETADDR, uapi.AF_INET))


@probe("dumps.order.ipv6", SPEC, "IPv6 addresses are dumped by scope, wider ones first, and newest first in each.",
       source="net/ipv6/addrconf.c, ipv6_link_dev_addr")  # fmt: skip
def order_v6(world: World) -> Value:
    device = world.source.device(b"eth1")
    for text in ("2001:db8::1/64", "fe80::2/64", "2001:db8::3/64", "2001:db8:1::4/64", "fe80::5/64"):
        world.source.must(address(device.ifindex, text, flags=NODAD))
    return addresses(world.source.dump(uapi.RTM_GETADDR, uapi.AF_INET6))


@probe("dumps.order.families", ABI, "A dump of the addresses of all families has IPv4 of all devices, then IPv6.",
       source="net/core/rtnetlink.c, rtnl_dump_all")  # fmt: skip
def order_families(world: World) -> Value:
    for name, last in ((b"eth1", 1), (b"eth2", 2)):
        device = world.source.device(name)
        world.source.must(address(device.ifindex, f"2001:db8::{last}/64", flags=NODAD))
        world.source.must(address(device.ifindex, f"10.0.{last}.{last}/24"))
    found = world.source.dump(uapi.RTM_GETADDR, 0)
    return [f"{'4' if m.body[0] == 2 else '6'} {last}" for m, last in zip(found, addresses(found), strict=True)]


# ---- a change during a dump ----


def many(namespace: Namespace, count: int = 5) -> list[int]:
    """Devices d0, d1, ...; alternative names make each message fill a datagram."""
    found = []
    for number in range(count):
        device = namespace.device(b"d%d" % number)
        namespace.must(requests.altnames(device.ifindex, [b"d%d-%d-%s" % (number, i, b"x" * 100) for i in range(50)]))
        found.append(device.ifindex)
    return found


def interrupted(world: World, message: bytes, change: Callable[[], object]) -> Value:
    """Reads one datagram of a dump, makes a change, reads the rest: which messages have NLM_F_DUMP_INTR."""
    with Raw(world.source.fd) as raw:
        raw.send(message)
        first = raw.socket.recv(FIRST_DATAGRAM)  # the kernel has prepared the second one by then
        change()
        rest = raw.messages()
    flag = uapi.NLM_F_DUMP_INTR
    done = [m for m in rest if m.type == uapi.NLMSG_DONE]
    return {"first": any(m.flags & flag for m in wire.messages(first)),
            "rest": any(m.flags & flag for m in rest if m.type != uapi.NLMSG_DONE),
            "done": bool(done[-1].flags & flag)}  # fmt: skip


CHANGES: dict[str, Callable[[World, list[int]], object]] = {
    "nothing": lambda _, __: None,
    "a-rename": lambda w, found: w.source.must(set_link(found[-1], named(b"other"))),
    "a-new-device": lambda w, _: w.source.device(b"other"),
    "a-move-away": lambda w, found: w.source.must(set_link(found[-1], ns_fd(w.target.fd))),
    "a-move-of-one-told": lambda w, found: w.source.must(set_link(found[0], ns_fd(w.target.fd))),
    "an-address": lambda w, found: w.source.must(address(found[-1], "10.0.0.1/24")),
    "another-namespace": lambda w, _: w.target.device(b"other"),
}
CHANGE_TEXTS = {
    "nothing": "has no NLM_F_DUMP_INTR without a change",
    "a-rename": "has no NLM_F_DUMP_INTR after a rename",
    "a-new-device": "has NLM_F_DUMP_INTR, but not on NLMSG_DONE, after a new device",
    "a-move-away": "has NLM_F_DUMP_INTR, but not on NLMSG_DONE, after a move",
    "a-move-of-one-told": "has NLM_F_DUMP_INTR, but not on NLMSG_DONE, after a move of a device that was dumped",
    "an-address": "has no NLM_F_DUMP_INTR after a new address",
    "another-namespace": "has no NLM_F_DUMP_INTR after a new device in another namespace",
}


@probe("dumps.interrupted.links.{}", ABI, "A dump of devices {}.",
       source=LINKS + "; include/net/netlink.h, nl_dump_check_consistent",
       cases={name: (change,) for name, change in CHANGES.items()}, texts=CHANGE_TEXTS)  # fmt: skip
def interrupted_links(world: World, change: Callable[[World, list[int]], object]) -> Value:
    found = many(world.source)
    world.namespace("target")  # before the dump begins
    return interrupted(world, requests.dump(uapi.RTM_GETLINK), lambda: change(world, found))


@probe("dumps.interrupted.addresses.{}", ABI, "A dump of addresses has {}.", source=ADDRESSES,
       cases={"ipv4-added": (uapi.AF_INET, "10.9.0.1/24"), "ipv6-added": (uapi.AF_INET6, "2001:db8:9::1/64"),
              "other-family": (uapi.AF_INET, "2001:db8:9::1/64")},
       texts={"ipv4-added": "NLM_F_DUMP_INTR, but not on NLMSG_DONE, after a new IPv4 address",
              "ipv6-added": "NLM_F_DUMP_INTR, but not on NLMSG_DONE, after a new IPv6 address",
              "other-family": "no NLM_F_DUMP_INTR after a new address of the other family"})  # fmt: skip
def interrupted_addresses(world: World, family: int, added: str) -> Value:
    found = [world.source.device(b"d%d" % number).ifindex for number in range(4)]
    is_v4, flags = family == uapi.AF_INET, uapi.NLM_F_REQUEST | uapi.NLM_F_CREATE
    for ifindex in found:  # 25 KiB: four datagrams
        texts = [f"10.{ifindex}.{n}.1/24" if is_v4 else f"2001:db8::{ifindex}:{n}/128" for n in range(80)]
        each = [address(ifindex, text, flags=0 if is_v4 else NODAD) for text in texts]
        world.source.must(b"".join([*[flagged(m, flags) for m in each[:-1]], each[-1]]))
    message = requests.dump(uapi.RTM_GETADDR, family)
    return interrupted(world, message, lambda: world.source.must(address(found[-1], added)))


@probe("dumps.interrupted.moved-away", SPEC, "A device that moves away during a dump is missing from the rest of it.",
       source=LINKS)  # fmt: skip
def interrupted_moved(world: World) -> Value:
    found = many(world.source)
    with Raw(world.source.fd) as raw:
        raw.send(requests.dump(uapi.RTM_GETLINK))
        raw.socket.recv(FIRST_DATAGRAM)
        world.source.must(set_link(found[-1], ns_fd(world.target.fd)))
        return "d4" in names(raw.messages())


# ---- strict checking, filters ----


def link_dump(attrs: bytes = b"", ifindex: int = 0, family: int = 0) -> bytes:
    body = bytes([family]) + wire.IFINFOMSG.pack(0, 0, ifindex, 0, 0)[1:] + attrs
    return wire.message(uapi.RTM_GETLINK, uapi.NLM_F_DUMP, body)


def master(world: World) -> bytes:
    bridge = world.source.make(b"bridge", b"br0")
    port = world.source.make(b"veth", b"eth1")
    world.source.must(set_link(port.ifindex, wire.attr_u32(uapi.IFLA_MASTER, bridge.ifindex)))
    return wire.attr_u32(uapi.IFLA_MASTER, bridge.ifindex)


def of_kind(kind: bytes) -> bytes:
    return link_dump(wire.nested(uapi.IFLA_LINKINFO, wire.attr(uapi.IFLA_INFO_KIND, kind)))


LINK_DUMPS: dict[str, Callable[[World], bytes]] = {
    "ifindex": lambda _: link_dump(ifindex=1),
    "name": lambda _: link_dump(named(b"lo")),
    "kind": lambda w: of_kind(b"bridge") if master(w) else b"",
    "unknown-kind": lambda _: of_kind(b"nothing"),
    "master": lambda w: link_dump(master(w)),
    "short-header": lambda _: wire.message(uapi.RTM_GETLINK, uapi.NLM_F_DUMP, bytes(4)),
    "junk-behind": lambda _: link_dump(b"\1\0"),
}
LINK_DUMP_TEXTS = {
    "ifindex": "ignores ifi_index, and is refused with EINVAL by strict checking",
    "name": "ignores IFLA_IFNAME, and is refused with EINVAL by strict checking",
    "kind": "is filtered by IFLA_INFO_KIND",
    "unknown-kind": "is not filtered by an unknown IFLA_INFO_KIND",
    "master": "is filtered by IFLA_MASTER",
    "short-header": "may have a header that is too short, and is refused with EINVAL by strict checking",
    "junk-behind": "ignores bytes that are no attribute, and is refused with EINVAL by strict checking",
}


@probe("dumps.links.{}", ABI, "A dump of devices {}.",
       source="net/core/rtnetlink.c, rtnl_valid_dump_ifinfo_req",
       cases={name: (build,) for name, build in LINK_DUMPS.items()}, texts=LINK_DUMP_TEXTS)  # fmt: skip
def link_filter(world: World, build: Callable[[World], bytes]) -> Value:
    message = build(world)
    every = len(world.source.links())
    found: dict[str, Value] = {}
    for text, options in (("lax", ()), ("strict", (STRICT,))):
        answers = ask(world, message, *options)
        count = len(names(answers))
        flagged_ = any(m.flags & FILTERED for m in answers)
        found[text] = [refusal(answers), "all" if count == every else count, "filtered" if flagged_ else "-"]
    return found


ADDRESS_DUMPS = {"ifindex": "eth1", "unknown-ifindex": "", "prefixlen": "/24"}


@probe("dumps.addresses.{}", ABI,
       "A dump of IPv4 addresses with strict checking {}; without it, the filter is ignored.",
       source="net/ipv4/devinet.c, inet_valid_dump_ifaddr_req",
       cases={name: (what,) for name, what in ADDRESS_DUMPS.items()}, kinds={"ifindex": SPEC},
       texts={"ifindex": "is filtered by ifa_index",
              "unknown-ifindex": "fails with ENODEV for the ifa_index of no device",
              "prefixlen": "is refused with EINVAL for ifa_prefixlen"})  # fmt: skip
def address_filter(world: World, what: str) -> Value:
    first, second = world.source.device(b"eth1"), world.source.device(b"eth2")
    world.source.must(address(first.ifindex, "10.0.0.1/24"))
    world.source.must(address(second.ifindex, "10.0.1.2/24"))
    index = {"eth1": first.ifindex, "": 4711, "/24": 0}[what]
    body = requests.IFADDRMSG.pack(uapi.AF_INET, 24 if what == "/24" else 0, 0, 0, index)
    message = wire.message(uapi.RTM_GETADDR, uapi.NLM_F_DUMP, body)
    found: dict[str, Value] = {}
    for text, options in (("lax", ()), ("strict", (STRICT,))):
        answers = ask(world, message, *options)
        flagged_ = any(m.flags & FILTERED for m in answers)
        found[text] = [refusal(answers), addresses(answers), "filtered" if flagged_ else "-"]
    return found


@probe("dumps.routes.oif", ABI, "A dump of IPv4 routes is filtered by RTA_OIF with strict checking only.",
       source="net/ipv4/fib_frontend.c, ip_valid_fib_dump_req")  # fmt: skip
def route_filter(world: World) -> Value:
    indexes = []
    for number, name in enumerate((b"eth1", b"eth2")):
        device = world.source.device(name)
        world.source.must(set_link(device.ifindex, up=True))
        world.source.must(requests.route(device.ifindex, f"10.{number}.0.0/24"))
        indexes.append(device.ifindex)
    body = requests.RTMSG.pack(uapi.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0) + wire.attr_u32(uapi.RTA_OIF, indexes[0])
    message = wire.message(uapi.RTM_GETROUTE, uapi.NLM_F_DUMP, body)
    found: dict[str, Value] = {}
    for text, options in (("lax", ()), ("strict", (STRICT,))):
        answers = ask(world, message, *options)
        found[text] = [refusal(answers), len([m for m in answers if m.type == uapi.RTM_NEWROUTE])]
    return found
