"""Addresses: what a move drops, and how RTM_NEWADDR adds IPv4 addresses in the target."""

from __future__ import annotations

import dataclasses
import socket
from struct import Struct

from ...netlink import uapi, wire
from .. import requests
from ..probe import ABI, SPEC, VARIES, Value, probe
from ..requests import named, ns_fd, set_link
from ..world import Device, Namespace, World, need_ipv6
from .routes import routes

NEWADDR = "net/ipv4/devinet.c, inet_rtm_newaddr and rtm_to_ifaddr"
INSERT = "net/ipv4/devinet.c, __inet_insert_ifa"
EVENT = "net/ipv4/devinet.c, inetdev_event"
RENAME = "net/ipv4/devinet.c, inetdev_changename"
DUMP = "net/ipv4/devinet.c, inet_dump_ifaddr and inet_valid_dump_ifaddr_req"
FIB = "net/ipv4/fib_frontend.c, fib_add_ifaddr"
MOVE = "net/core/dev.c, __dev_change_net_namespace: NETDEV_UNREGISTER"
SPEC_KEPT = "OCI runtime-spec 1.3, config-linux.md, Network Devices: addresses have to be set again in the container"

IFA_TARGET_NETNSID = 10  # linux/if_addr.h
CACHEINFO = Struct("=IIII")  # struct ifa_cacheinfo: preferred, valid, created, updated
FLAGS = (
    *("secondary", "nodad", "optimistic", "dadfailed", "home", "deprecated", "tentative", "permanent"),
    *("managetempaddr", "noprefixroute", "mcautojoin", "stable-privacy"),
)  # bit 0 and on: IFA_F_*; the first is "temporary" of an IPv6 address
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host"}
HOUR_S = 3600
WORDS = {"ipv4": "IPv4", "ipv6": "IPv6"}  # for sentences
REPLACE = uapi.NLM_F_CREATE | uapi.NLM_F_REPLACE


@dataclasses.dataclass(frozen=True)
class Found:
    """An address as a dump has it."""

    text: str
    peer: str | None
    broadcast: str | None
    label: str
    scope: str
    flags: tuple[str, ...]
    metric: int | None
    protocol: int | None
    preferred: str
    valid: str


def lifetime(seconds: int) -> str:
    """A lifetime without its seconds, which pass."""
    return {0: "zero", uapi.INFINITY_LIFE_TIME: "forever"}.get(seconds, "limited")


def decoded(message: wire.Message) -> Found:
    family, prefixlen, flags, scope, _ = requests.IFADDRMSG.unpack_from(message.body)
    attrs = wire.attrs(message.body, requests.IFADDRMSG.size)

    def ip(type_: int) -> str | None:
        return socket.inet_ntop(family, bytes(attrs[type_])) if type_ in attrs else None

    every = wire.u32(attrs.get(uapi.IFA_FLAGS)) or flags
    local, other = ip(uapi.IFA_LOCAL), ip(uapi.IFA_ADDRESS)
    preferred, valid, _, _ = CACHEINFO.unpack(attrs[uapi.IFA_CACHEINFO])
    return Found(
        text=f"{local or other}/{prefixlen}",
        peer=other if local and local != other else None,
        broadcast=ip(uapi.IFA_BROADCAST),
        label=wire.text(attrs.get(uapi.IFA_LABEL)).decode(),
        scope=SCOPES.get(scope, str(scope)),
        flags=tuple(name for bit, name in enumerate(FLAGS) if every >> bit & 1),
        metric=wire.u32(attrs.get(uapi.IFA_RT_PRIORITY)),
        protocol=attrs[uapi.IFA_PROTO][0] if uapi.IFA_PROTO in attrs else None,
        preferred=lifetime(preferred),
        valid=lifetime(valid),
    )


def addresses(namespace: Namespace, ifindex: int, family: int = 0) -> list[Found]:
    """A device's addresses, in the order of the dump."""
    found = [m for m in namespace.dump(uapi.RTM_GETADDR, family) if m.type == uapi.RTM_NEWADDR]
    return [decoded(m) for m in found if requests.IFADDRMSG.unpack_from(m.body)[4] == ifindex]


def texts(namespace: Namespace, ifindex: int, family: int = 0) -> list[str]:
    return [each.text for each in addresses(namespace, ifindex, family)]


def one(namespace: Namespace, device: Device, text: str) -> Found | None:
    """The address of a text, which is without its prefix length."""
    return next((a for a in addresses(namespace, device.ifindex) if a.text.partition("/")[0] == text), None)


def address(
    ifindex: int, text: str, attrs: bytes = b"", *, flags: int = 0, scope: int = 0, type_: int = uapi.RTM_NEWADDR
) -> bytes:
    """Adds an address, or does what `type_` says. Raises NotAvailable for an IPv6 one without IPv6."""
    if ":" in text:
        need_ipv6()
    new = 0 if type_ == uapi.RTM_NEWADDR else type_
    return requests.address(ifindex, text, attrs, flags=flags, scope=scope, type_=new)


def lifetimes(preferred_s: int, valid_s: int) -> bytes:
    return wire.attr(uapi.IFA_CACHEINFO, CACHEINFO.pack(preferred_s, valid_s, 0, 0))


def peer(text: str) -> bytes:
    """IFA_ADDRESS. The builder has set it, too; the last one counts."""
    return wire.attr(uapi.IFA_ADDRESS, requests.packed(text)[1])


def label(text: bytes) -> bytes:
    return wire.attr_name(uapi.IFA_LABEL, text)


def is_up(world: World, name: bytes = b"eth1") -> Device:
    """A device of the source that is up."""
    device = world.source.device(name)
    world.source.must(set_link(device.ifindex, up=True))
    return device


def after_move(world: World, device: Device, attrs: bytes = b"") -> Value:
    """Moves a device; its addresses before and after it."""
    before = len(addresses(world.source, device.ifindex))
    reply = world.source.request(set_link(device.ifindex, ns_fd(world.target.fd) + attrs))
    found = world.find(device)
    left = texts(world.namespaces[found[0]], found[1].ifindex) if found else None
    return {"error": reply.error, "before": before, "after": left}


# ---- across a move ----


KINDS: dict[str, tuple[tuple[str, bytes, int, int], ...]] = {  # text, attributes, flags, scope
    "ipv4": (("10.0.0.1/24", b"", 0, 0), ("10.0.0.2/24", b"", 0, 0), ("10.1.0.1/32", peer("10.1.0.2"), 0, 0)),
    "ipv4-scopes": (("10.0.0.1/24", b"", 0, 200), ("10.1.0.1/24", b"", 0, 253), ("10.2.0.1/24", b"", 0, 254)),
    "ipv6": (("2001:db8::1/64", b"", 0, 0), ("fd00::1/64", b"", uapi.IFA_F_NOPREFIXROUTE, 0)),
    "ipv6-link-local": (("fe80::1/64", b"", 0, 0),),
    "lifetimes": (("10.0.0.1/24", lifetimes(9, HOUR_S), 0, 0), ("2001:db8::1/64", lifetimes(0, HOUR_S), 0, 0)),
}


@probe(
    "addresses.move.{}",
    SPEC,
    "A move drops all addresses of a device that is up: {}.",
    source=SPEC_KEPT,
    cases={name: (kinds,) for name, kinds in KINDS.items()},
    texts={
        "ipv4": "an IPv4 primary, a secondary, and one with a peer",
        "ipv4-scopes": "IPv4 of scopes site, link and host",
        "ipv6": "IPv6 of global scope, with and without a prefix route",
        "ipv6-link-local": "IPv6, link-local",
        "lifetimes": "IPv4 and IPv6 with lifetimes",
    },
)
def moved_up(world: World, kinds: tuple[tuple[str, bytes, int, int], ...]) -> Value:
    device = is_up(world)
    for text, attrs, flags, scope in kinds:
        world.source.must(address(device.ifindex, text, attrs, flags=flags, scope=scope))
    return after_move(world, device)


@probe("addresses.move.down", SPEC, "A move drops all addresses of a device that is down.", source=SPEC_KEPT)
def moved_down(world: World) -> Value:
    device = world.source.device(b"eth1")
    for text in ("10.0.0.1/24", "2001:db8::1/64"):
        world.source.must(address(device.ifindex, text))
    return after_move(world, device)


@probe(
    "addresses.move.keep-addr-on-down",
    ABI,
    "A move drops IPv6 addresses also where keep_addr_on_down is 1.",
    source=MOVE,
)
def moved_kept(world: World) -> Value:
    need_ipv6()
    device = is_up(world)
    for which in (world.source, world.target):
        which.sysctl("ipv6/conf/all/keep_addr_on_down", 1)
    world.source.must(address(device.ifindex, "2001:db8::1/64"))
    return after_move(world, device)


@probe(
    "addresses.move.error-{}",
    SPEC,
    "A move that fails with EEXIST {}.",
    source="net/core/dev.c, __dev_change_net_namespace; do_setlink renames after it",
    cases={"old-name-free": (b"net0",), "old-name-taken": (b"eth1",)},
    texts={
        "old-name-free": "drops the addresses where the old name is free in the target",
        "old-name-taken": "keeps the addresses where the old name is taken in the target",
    },
)
def moved_error(world: World, taken: bytes) -> Value:
    device = is_up(world)
    world.source.must(address(device.ifindex, "10.0.0.1/24"))
    world.source.must(address(device.ifindex, "2001:db8::1/64"))
    world.target.device(b"net0")
    if taken != b"net0":
        world.target.device(taken)
    return after_move(world, device, named(b"net0"))


# ---- IPv4: order, labels, routes ----


def added(world: World, device: Device, *given: str) -> None:
    for text in given:
        world.source.must(address(device.ifindex, text))


@probe(
    "addresses.ipv4.order.secondaries", SPEC, "A dump lists the primaries first, then the secondaries.", source=INSERT
)
def order(world: World) -> Value:
    device = is_up(world)
    added(world, device, "10.0.0.1/24", "10.0.0.2/24", "10.1.0.1/24", "10.0.0.3/24", "10.1.0.2/24")
    return [[a.text, *a.flags] for a in addresses(world.source, device.ifindex)]


@probe(
    "addresses.ipv4.order.replayed",
    SPEC,
    "Addresses added in the order of a dump are dumped in that order.",
    source=INSERT,
)
def order_again(world: World) -> Value:
    device, other = is_up(world), is_up(world, b"eth2")
    added(world, device, "10.0.0.3/24", "10.1.0.1/16", "10.0.0.2/24", "10.1.0.9/24", "10.0.0.1/32", "10.1.0.2/16")
    dumped = addresses(world.source, device.ifindex)
    added(world, other, *(a.text for a in dumped))
    return addresses(world.source, other.ifindex) == [dataclasses.replace(a, label="eth2") for a in dumped]


@probe("addresses.ipv4.order.scope", ABI, "A dump lists a narrower scope first, whenever it was added.", source=INSERT)
def order_scope(world: World) -> Value:
    device = is_up(world)
    for text, scope in (("10.0.0.1/24", 253), ("10.1.0.1/24", 0), ("10.2.0.1/24", 254)):
        world.source.must(address(device.ifindex, text, scope=scope))
    return [f"{a.text} {a.scope}" for a in addresses(world.source, device.ifindex)]


@probe(
    "addresses.ipv4.promote-secondaries.{}",
    ABI,
    "Deleting a primary {}.",
    source="net/ipv4/devinet.c, __inet_del_ifa",
    cases={"off": (0,), "on": (1,)},
    texts={
        "off": "deletes its secondaries where promote_secondaries is 0",
        "on": "makes the first secondary the primary where promote_secondaries is 1",
    },
)
def promoted(world: World, on: int) -> Value:
    device = is_up(world)
    world.source.sysctl("ipv4/conf/eth1/promote_secondaries", on)
    added(world, device, "10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24")
    world.source.must(address(device.ifindex, "10.0.0.1/24", type_=uapi.RTM_DELADDR))
    return [[a.text, *a.flags] for a in addresses(world.source, device.ifindex)]


@probe(
    "addresses.ipv4.label.{}",
    SPEC,
    "An IFA_LABEL {}.",
    source=NEWADDR,
    cases={
        "none": (b"",),
        "colon": (label(b"eth1:vip"),),
        "other": (label(b"lan"),),
        "other-device": (label(b"eth2:x"),),
        "empty": (label(b""),),
        "longest": (label(b"eth1:0123456789"),),
        "too-long": (label(b"eth1:0123456789a"),),
    },
    texts={
        "none": "that is not given becomes the device's name",
        "colon": "of the name, a colon and a word is kept",
        "other": "that is no device's name is kept",
        "other-device": "of another device's name, a colon and a word is kept",
        "empty": "that is empty is kept",
        "longest": "of 15 bytes is kept",
        "too-long": "of 16 bytes is refused with ERANGE",
    },
    kinds={"none": ABI, "empty": ABI, "other-device": ABI},
)
def labelled(world: World, attrs: bytes) -> Value:
    device = is_up(world)
    world.source.device(b"eth2")
    reply = world.source.request(address(device.ifindex, "10.0.0.1/24", attrs))
    found = one(world.source, device, "10.0.0.1")
    return {"error": reply.error, "label": found.label if found else None}


@probe(
    "addresses.ipv4.label.renamed",
    SPEC,
    "A rename in place changes the name in a label, cut to fit; other labels become `name:N`, the first `name`.",
    source=RENAME,
)
def relabelled(world: World) -> Value:
    device = world.source.device(b"eth1")
    for number, text in enumerate((b"eth1", b"eth1:x", b"lan", b"eth1", b"eth1:01234567890"[:15])):
        world.source.must(address(device.ifindex, f"10.{number}.0.1/24", label(text)))
    world.source.must(set_link(device.ifindex, named(b"container0")))
    return [a.label for a in addresses(world.source, device.ifindex)]


@probe(
    "addresses.ipv4.label.first-renamed",
    ABI,
    "A rename in place makes the first address's label, `eth1:x`, the plain new name.",
    source=RENAME,
)
def relabelled_first(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(address(device.ifindex, "10.0.0.1/24", label(b"eth1:x")))
    world.source.must(set_link(device.ifindex, named(b"net0")))
    return [a.label for a in addresses(world.source, device.ifindex)]


@probe(
    "addresses.ipv4.peer",
    SPEC,
    "An address with a peer brings a route to the peer while the device is up.",
    source=FIB,
)
def with_peer(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(address(device.ifindex, "10.0.0.1/32", peer("10.9.0.1")))
    down = routes(world.source, uapi.AF_INET)
    world.source.must(set_link(device.ifindex, up=True))
    found = one(world.source, device, "10.0.0.1")
    return {"peer": found.peer if found else None, "down": down, "up": routes(world.source, uapi.AF_INET)}


@probe(
    "addresses.ipv4.broadcast.none", ABI, "Without IFA_BROADCAST, an address has no broadcast address.", source=NEWADDR
)
def broadcast_none(world: World) -> Value:
    device = is_up(world)
    added(world, device, "10.0.0.1/24")
    found = one(world.source, device, "10.0.0.1")
    return {"broadcast": found.broadcast if found else "no address"}


@probe(
    "addresses.ipv4.broadcast.given", SPEC, "IFA_BROADCAST is kept, even outside the address's network.", source=NEWADDR
)
def broadcast_given(world: World) -> Value:
    device = is_up(world)
    broadcast = wire.attr(uapi.IFA_BROADCAST, requests.packed("10.7.7.7")[1])
    world.source.must(address(device.ifindex, "10.0.0.1/24", broadcast))
    found = one(world.source, device, "10.0.0.1")
    return {"broadcast": found.broadcast if found else "no address"}


@probe(
    "addresses.ipv4.routes",
    VARIES,
    "The kernel's own routes for an address, while the device is down and while it is up.",
    source=FIB,
)
def its_routes(world: World) -> Value:
    device = world.source.device(b"eth1")
    broadcast = wire.attr(uapi.IFA_BROADCAST, requests.packed("10.0.0.255")[1])
    world.source.must(address(device.ifindex, "10.0.0.1/24", broadcast))
    down = routes(world.source, uapi.AF_INET, local=True)
    world.source.must(set_link(device.ifindex, up=True))
    return {"down": down, "up": routes(world.source, uapi.AF_INET, local=True)}
