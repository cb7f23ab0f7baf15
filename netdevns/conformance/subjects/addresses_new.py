"""RTM_NEWADDR and RTM_GETADDR for IPv4 and IPv6: what the kernel refuses, changes and filters."""

from __future__ import annotations

import socket
from collections.abc import Callable

from ...netlink import uapi, wire
from ...netlink.error import EngineError
from .. import requests
from ..probe import ABI, SPEC, VARIES, Value, probe
from ..requests import set_link, with_flags
from ..world import OK, Device, Namespace, Reply, World, error_name
from .addresses import (
    DUMP,
    HOUR_S,
    IFA_TARGET_NETNSID,
    INSERT,
    NEWADDR,
    REPLACE,
    WORDS,
    address,
    addresses,
    is_up,
    label,
    lifetimes,
    one,
    texts,
)

NEWADDR6 = "net/ipv6/addrconf.c, inet6_rtm_newaddr and inet6_addr_add"
ADD6 = "net/ipv6/addrconf.c, ipv6_add_addr"
BOTH = f"{NEWADDR}; {NEWADDR6}"
EVENT = "net/ipv4/devinet.c, inetdev_event; net/ipv6/addrconf.c, addrconf_notify: NETDEV_CHANGEMTU"

MANAGETEMPADDR, MCAUTOJOIN, HOMEADDRESS, STABLE = 0x100, 0x400, 0x10, 0x800  # IFA_F_*, linux/if_addr.h
FOREVER = uapi.INFINITY_LIFE_TIME
FAMILIES = {"ipv4": "10.0.0.1/24", "ipv6": "2001:db8::1/64"}
NODAD = uapi.IFA_F_NODAD  # in probes that are not about duplicate address detection, which races


def with_flags_of(world: World, device: Device, reply: Reply, text: str) -> Value:
    """The errno, and the flags of the address."""
    found = one(world.source, device, text.partition("/")[0])
    return {"error": reply.error, "flags": list(found.flags) if found else None}


# ---- flags and lifetimes ----


GIVEN: dict[str, tuple[str, int]] = {
    "ipv4-noprefixroute": ("10.0.0.1/24", uapi.IFA_F_NOPREFIXROUTE),
    "ipv4-secondary": ("10.0.0.1/24", uapi.IFA_F_SECONDARY),
    "ipv4-deprecated": ("10.0.0.1/24", uapi.IFA_F_DEPRECATED),
    "ipv4-tentative": ("10.0.0.1/24", uapi.IFA_F_TENTATIVE),
    "ipv4-mcautojoin": ("10.0.0.1/24", MCAUTOJOIN),
    "ipv4-mcautojoin-multicast": ("239.1.2.3/32", MCAUTOJOIN),
    "ipv6-noprefixroute": ("2001:db8::1/64", uapi.IFA_F_NOPREFIXROUTE | NODAD),
    "ipv6-temporary": ("2001:db8::1/64", uapi.IFA_F_SECONDARY | NODAD),
    "ipv6-deprecated": ("2001:db8::1/64", uapi.IFA_F_DEPRECATED | NODAD),
    "ipv6-dadfailed": ("2001:db8::1/64", uapi.IFA_F_DADFAILED | NODAD),
    "ipv6-permanent": ("2001:db8::1/64", uapi.IFA_F_PERMANENT | NODAD),
    "ipv6-home": ("2001:db8::1/64", HOMEADDRESS | NODAD),
    "ipv6-stable-privacy": ("2001:db8::1/64", STABLE | NODAD),
    "ipv6-managetempaddr": ("2001:db8::1/64", MANAGETEMPADDR | NODAD),
    "ipv6-managetempaddr-not-64": ("2001:db8::1/80", MANAGETEMPADDR | NODAD),
    "ipv6-mcautojoin": ("2001:db8::1/64", MCAUTOJOIN | NODAD),
    "ipv6-mcautojoin-multicast": ("ff0e::1234/128", MCAUTOJOIN | NODAD),
}
IGNORED = {"ipv4-secondary", "ipv4-deprecated", "ipv4-tentative"} | {
    f"ipv6-{name}" for name in ("temporary", "deprecated", "dadfailed", "stable-privacy")
}
REFUSED = {"ipv4-mcautojoin", "ipv6-mcautojoin", "ipv6-managetempaddr-not-64"}
OBJECTS = {"mcautojoin-multicast": "mcautojoin of a group", "managetempaddr-not-64": "managetempaddr of a /80"}


def fate(name: str) -> str:
    verb = "ignores" if name in IGNORED else "refuses (EINVAL)" if name in REFUSED else "keeps"
    return f"{verb} the {WORDS[name[:4]]} flag {OBJECTS.get(name[5:], name[5:])}"


@probe(
    "addresses.flag.{}",
    SPEC,
    "RTM_NEWADDR {}.",
    source=BOTH,
    cases=GIVEN,
    texts={name: fate(name) for name in GIVEN},
)
def flag(world: World, text: str, flags: int) -> Value:
    device = is_up(world)
    return with_flags_of(world, device, world.source.request(address(device.ifindex, text, flags=flags)), text)


LIVES: dict[str, tuple[int, int]] = {
    "preferred-zero": (0, FOREVER),
    "limited": (HOUR_S, HOUR_S),
    "preferred-limited": (HOUR_S, FOREVER),
    "preferred-above-valid": (2 * HOUR_S, HOUR_S),
    "valid-zero": (0, 0),
}


LIVES_TEXTS = {
    "ipv4-preferred-zero": "A preferred lifetime of 0 (IPv4) is dumped as forever, with IFA_F_DEPRECATED",
    "ipv6-preferred-zero": "A preferred lifetime of 0 (IPv6) is dumped as 0, with IFA_F_DEPRECATED",
    "ipv4-preferred-limited": "A finite preferred lifetime (IPv4), valid forever, is dumped as forever",
    "ipv6-preferred-limited": "A finite preferred lifetime (IPv6), valid forever, is dumped as it is",
    **{f"{family}-limited": f"Finite lifetimes ({words}) are dumped as they are" for family, words in WORDS.items()},
    **{
        f"{family}-preferred-above-valid": f"A preferred lifetime above the valid one ({words}) is refused with EINVAL"
        for family, words in WORDS.items()
    },
    **{
        f"{family}-valid-zero": f"A valid lifetime of 0 ({words}) is refused with EINVAL"
        for family, words in WORDS.items()
    },
}


@probe(
    "addresses.lifetime.{}",
    SPEC,
    "{}.",
    source=BOTH,
    cases={f"{family}-{name}": (text, *both) for family, text in FAMILIES.items() for name, both in LIVES.items()},
    texts=LIVES_TEXTS,
)
def lives(world: World, text: str, preferred_s: int, valid_s: int) -> Value:
    device = is_up(world)
    reply = world.source.request(address(device.ifindex, text, lifetimes(preferred_s, valid_s), flags=NODAD))
    found = one(world.source, device, text.partition("/")[0])
    if found is None:
        return {"error": reply.error}
    flags = [name for name in found.flags if name != "nodad"]
    return {"error": reply.error, "preferred": found.preferred, "valid": found.valid, "flags": flags}


@probe(
    "addresses.metric.{}",
    SPEC,
    "IFA_RT_PRIORITY is kept: {}.",
    source=BOTH,
    cases={family: (text,) for family, text in FAMILIES.items()},
    texts=WORDS,
)
def metric(world: World, text: str) -> Value:
    device = is_up(world)
    attrs = wire.attr_u32(uapi.IFA_RT_PRIORITY, 77)
    world.source.must(address(device.ifindex, text, attrs, flags=NODAD))
    return [each.metric for each in addresses(world.source, device.ifindex)]


@probe(
    "addresses.protocol.{}",
    VARIES,
    "IFA_PROTO, the origin of an address, as dumped after RTM_NEWADDR: {}.",
    source=BOTH,
    cases={family: (text,) for family, text in FAMILIES.items()},
    texts=WORDS,
)
def protocol(world: World, text: str) -> Value:
    device = is_up(world)
    reply = world.source.request(address(device.ifindex, text, wire.attr(uapi.IFA_PROTO, b"\x09"), flags=NODAD))
    return {"error": reply.error, "protocol": [each.protocol for each in addresses(world.source, device.ifindex)]}


@probe(
    "addresses.scope.{}",
    ABI,
    "RT_SCOPE_LINK of an {}.",
    source=BOTH,
    cases={family: (text,) for family, text in FAMILIES.items()},
    texts={"ipv4": "IPv4 address is kept", "ipv6": "IPv6 address of global scope is ignored"},
)
def scope(world: World, text: str) -> Value:
    device = is_up(world)
    world.source.must(address(device.ifindex, text, scope=uapi.RT_SCOPE_LINK, flags=NODAD))
    return [each.scope for each in addresses(world.source, device.ifindex)]


# ---- an address that exists ----


Second = Callable[[Device, Device], bytes]  # eth1, which has 10.0.0.1/24 and 2001:db8::1/64, and eth2
EXISTS: dict[str, Second] = {
    "ipv4-same": lambda one_, _: address(one_.ifindex, "10.0.0.1/24"),
    "ipv4-other-prefix": lambda one_, _: address(one_.ifindex, "10.0.0.1/16"),
    "ipv4-other-label": lambda one_, _: address(one_.ifindex, "10.0.0.1/24", label(b"eth1:x")),
    "ipv4-other-scope": lambda one_, _: address(one_.ifindex, "10.0.0.2/24", scope=uapi.RT_SCOPE_LINK),
    "ipv4-other-device": lambda _, two: address(two.ifindex, "10.0.0.1/24"),
    "ipv4-replace": lambda one_, _: with_flags(address(one_.ifindex, "10.0.0.1/24"), REPLACE),
    "ipv6-same": lambda one_, _: address(one_.ifindex, "2001:db8::1/64", flags=NODAD),
    "ipv6-other-prefix": lambda one_, _: address(one_.ifindex, "2001:db8::1/48", flags=NODAD),
    "ipv6-other-device": lambda _, two: address(two.ifindex, "2001:db8::1/64", flags=NODAD),
    "ipv6-replace": lambda one_, _: with_flags(address(one_.ifindex, "2001:db8::1/64", flags=NODAD), REPLACE),
    "ipv6-replace-other-prefix": lambda one_, _: with_flags(
        address(one_.ifindex, "2001:db8::1/48", flags=NODAD), REPLACE
    ),
}


EXISTS_TEXTS = {
    "ipv4-same": "an existing IPv4 address is refused with EEXIST",
    "ipv4-other-prefix": "an existing IPv4 address with another prefix length is accepted",
    "ipv4-other-label": "an existing IPv4 address with another label is refused with EEXIST",
    "ipv4-other-scope": "a secondary IPv4 address with another scope than its primary is refused with EINVAL",
    "ipv4-other-device": "an existing IPv4 address on another device is accepted",
    "ipv4-replace": "an existing IPv4 address with NLM_F_REPLACE is accepted, and changes it",
    "ipv6-same": "an existing IPv6 address is refused with EEXIST",
    "ipv6-other-prefix": "an existing IPv6 address with another prefix length is refused with EEXIST",
    "ipv6-other-device": "an existing IPv6 address on another device is accepted",
    "ipv6-replace": "an existing IPv6 address with NLM_F_REPLACE is accepted, and changes it",
    "ipv6-replace-other-prefix": "an existing IPv6 address with another prefix length and NLM_F_REPLACE keeps its own",
}


@probe(
    "addresses.exists.{}",
    SPEC,
    "RTM_NEWADDR of {}.",
    source=f"{INSERT}; {ADD6}",
    cases={name: (second,) for name, second in EXISTS.items()},
    texts=EXISTS_TEXTS,
)
def exists(world: World, second: Second) -> Value:
    device, other = is_up(world), is_up(world, b"eth2")
    for text in FAMILIES.values():
        world.source.must(address(device.ifindex, text, flags=NODAD))
    reply = world.source.request(second(device, other))
    return {
        "error": reply.error,
        "eth1": texts(world.source, device.ifindex),
        "eth2": texts(world.source, other.ifindex),
    }


@probe(
    "addresses.replace.{}",
    SPEC,
    "NLM_F_REPLACE changes {}.",
    source=BOTH,
    cases={family: (text,) for family, text in FAMILIES.items()},
    texts={
        "ipv4": "metric and lifetimes of an IPv4 address, and not label, broadcast and noprefixroute",
        "ipv6": "metric, lifetimes and flags of an IPv6 address",
    },
)
def replace(world: World, text: str) -> Value:
    device = is_up(world)
    world.source.must(address(device.ifindex, text, flags=NODAD))
    attrs = label(b"eth1:x") + wire.attr_u32(uapi.IFA_RT_PRIORITY, 77) + lifetimes(HOUR_S, HOUR_S)
    if text == FAMILIES["ipv4"]:
        attrs += wire.attr(uapi.IFA_BROADCAST, socket.inet_aton("10.0.0.255"))
    request = address(device.ifindex, text, attrs, flags=uapi.IFA_F_NOPREFIXROUTE | HOMEADDRESS)
    reply = world.source.request(with_flags(request, REPLACE))
    found = addresses(world.source, device.ifindex)[0]
    return {
        "error": reply.error,
        "broadcast": found.broadcast,
        "label": found.label,
        "metric": found.metric,
        "valid": found.valid,
        "flags": list(found.flags),
    }


# ---- which namespace, which device ----


def dumped(namespace: Namespace, body: bytes) -> tuple[str, list[tuple[int, ...]]]:
    """The errno that a dump ends with, and the struct ifaddrmsg of each address."""
    try:
        reply = namespace.request(requests.dump(uapi.RTM_GETADDR, 0, body))
    except EngineError as e:
        return error_name(e.errno), []
    return OK, [requests.IFADDRMSG.unpack_from(m.body) for m in reply.answers if m.type == uapi.RTM_NEWADDR]


@probe(
    "addresses.netnsid.new-{}",
    SPEC,
    "RTM_NEWADDR ignores IFA_TARGET_NETNSID: {}.",
    source=BOTH,
    cases={family: (text,) for family, text in FAMILIES.items()},
    texts=WORDS,
)
def netnsid_new(world: World, text: str) -> Value:
    here, there = is_up(world), world.target.device(b"eth1")
    world.source.must(requests.new_nsid(world.target.fd, 7))
    reply = world.source.request(address(here.ifindex, text, wire.attr_u32(IFA_TARGET_NETNSID, 7), flags=NODAD))
    found = {"source": texts(world.source, here.ifindex), "target": texts(world.target, there.ifindex)}
    return {"error": reply.error, **found}


@probe(
    "addresses.netnsid.get-{}",
    ABI,
    "IFA_TARGET_NETNSID in a dump of addresses, with strict checking, {}.",
    source=DUMP,
    cases={"known": (7,), "unknown": (99,)},
    texts={"known": "selects the namespace", "unknown": "is refused with EINVAL if it names none"},
)
def netnsid_get(world: World, nsid: int) -> Value:
    there = world.target.device(b"eth1")
    world.target.must(address(there.ifindex, "10.0.0.1/24"))
    world.source.must(requests.new_nsid(world.target.fd, 7))
    body = bytes([uapi.AF_INET]) + bytes(7) + wire.attr_u32(IFA_TARGET_NETNSID, nsid)
    error, found = dumped(world.source, body)
    return {"error": error, "addresses": len(found)}


FILTERS: dict[str, Callable[[int], bytes]] = {  # from the ifindex of eth2 to a struct ifaddrmsg
    "none": lambda _: requests.IFADDRMSG.pack(0, 0, 0, 0, 0),
    "ifindex": lambda ifindex: requests.IFADDRMSG.pack(0, 0, 0, 0, ifindex),
    "ifindex-ipv4": lambda ifindex: requests.IFADDRMSG.pack(uapi.AF_INET, 0, 0, 0, ifindex),
    "ifindex-ipv6": lambda ifindex: requests.IFADDRMSG.pack(uapi.AF_INET6, 0, 0, 0, ifindex),
    "unknown-ifindex": lambda _: requests.IFADDRMSG.pack(0, 0, 0, 0, 4711),
    "prefixlen": lambda _: requests.IFADDRMSG.pack(uapi.AF_INET, 24, 0, 0, 0),
    "attribute": lambda _: requests.IFADDRMSG.pack(uapi.AF_INET, 0, 0, 0, 0) + label(b"eth1"),
}


@probe(
    "addresses.get.{}",
    ABI,
    "With strict checking, a dump of addresses {}.",
    source=DUMP,
    cases={name: (body,) for name, body in FILTERS.items()},
    kinds={"none": SPEC, "ifindex": SPEC, "ifindex-ipv4": SPEC, "ifindex-ipv6": SPEC},
    texts={
        "none": "without a filter has all of them",
        "ifindex": "is filtered by ifa_index",
        "ifindex-ipv4": "is filtered by ifa_index and AF_INET",
        "ifindex-ipv6": "is filtered by ifa_index and AF_INET6",
        "unknown-ifindex": "fails with ENODEV for an ifa_index that no device has",
        "prefixlen": "is refused with EINVAL for ifa_prefixlen",
        "attribute": "is refused with EINVAL for IFA_LABEL",
    },
)
def filtered(world: World, body: Callable[[int], bytes]) -> Value:
    devices = [world.source.device(name) for name in (b"eth1", b"eth2")]
    for number, device in enumerate(devices, 1):
        world.source.must(address(device.ifindex, f"10.{number}.0.1/24"))
        world.source.must(address(device.ifindex, f"2001:db8:{number}::1/64", flags=NODAD))
    error, found = dumped(world.source, body(devices[1].ifindex))
    families = {uapi.AF_INET: "ipv4", uapi.AF_INET6: "ipv6"}
    names = {device.ifindex: device.name.decode() for device in devices}
    return {"error": error, "found": [f"{names[each[4]]} {families[each[0]]}" for each in found]}


@probe(
    "addresses.batch.error-in-the-middle",
    SPEC,
    "A refused RTM_NEWADDR does not stop the ones after it in the datagram.",
    source="net/netlink/af_netlink.c, netlink_rcv_skb",
)
def batch(world: World) -> Value:
    device = is_up(world)
    parts = [address(device.ifindex, text) for text in ("10.0.0.1/24", "10.0.0.1/24", "10.0.0.2/24")]
    errors = [reply.error for reply in world.source.replies(b"".join(parts))]
    return {"errors": errors, "addresses": texts(world.source, device.ifindex)}


# ---- an MTU that is too small ----


@probe(
    "addresses.mtu.{}",
    ABI,
    "An MTU below {}.",
    source=EVENT,
    cases={"ipv4": (67,), "ipv6": (1279,)},
    texts={
        "ipv4": "68 drops a device's IPv4 and IPv6 addresses; a higher one does not restore them",
        "ipv6": "1280 drops a device's IPv6 addresses; a higher one does not restore them",
    },
)
def small_mtu(world: World, mtu: int) -> Value:
    device = is_up(world)
    for text in FAMILIES.values():
        world.source.must(address(device.ifindex, text, flags=NODAD))
    found = []
    for each in (mtu, 1500):
        world.source.must(set_link(device.ifindex, wire.attr_u32(uapi.IFLA_MTU, each)))
        found.append(texts(world.source, device.ifindex))
    again = [world.source.request(address(device.ifindex, text, flags=NODAD)).error for text in FAMILIES.values()]
    return {"small": found[0], "again": found[1], "errors": again}
