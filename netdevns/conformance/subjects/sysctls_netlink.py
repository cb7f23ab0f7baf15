"""Per-device settings in IFLA_AF_SPEC: what netlink can write, and the IPv6 token."""

from __future__ import annotations

import socket
from collections.abc import Callable

from ...netlink import uapi, wire
from ..probe import ABI, SPEC, VARIES, Value, probe
from ..requests import ns_fd, packed, set_link
from ..world import Device, Namespace, World, need_ipv6
from .addresses import is_up
from .addresses_dad import detecting
from .sysctls import arrive

SET_LINK_AF = "net/ipv4/devinet.c, inet_set_link_af; net/ipv6/addrconf.c, inet6_set_link_af"
TOKEN = "net/ipv6/addrconf.c, inet6_set_iftoken and addrconf_notify"

IPV4_DEVCONF_RP_FILTER, IPV6_DEVCONF_ACCEPT_RA = 8, 3  # linux/ip.h, which counts from 1; linux/ipv6.h


def af_spec(family: int, attrs: bytes) -> bytes:
    """IFLA_AF_SPEC for a family. Raises NotAvailable for IPv6 if the kernel has none."""
    if family == uapi.AF_INET6:
        need_ipv6()
    return wire.nested(uapi.IFLA_AF_SPEC, wire.nested(family, attrs))


def of_family(attributes: dict[int, memoryview], family: int) -> dict[int, memoryview]:
    spec = wire.attrs(attributes[uapi.IFLA_AF_SPEC])
    return wire.attrs(spec[family]) if family in spec else {}


WRITES: dict[str, tuple[int, int, int]] = {
    "ipv4": (uapi.AF_INET, uapi.IFLA_INET_CONF, IPV4_DEVCONF_RP_FILTER),
    "ipv4-unknown": (uapi.AF_INET, uapi.IFLA_INET_CONF, 200),
    "ipv6": (uapi.AF_INET6, uapi.IFLA_INET6_CONF, IPV6_DEVCONF_ACCEPT_RA),
}


@probe(
    "sysctls.netlink.{}",
    SPEC,
    "IFLA_AF_SPEC {}.",
    source=SET_LINK_AF,
    cases=WRITES,
    texts={
        "ipv4": "sets rp_filter of IPv4 (IFLA_INET_CONF)",
        "ipv4-unknown": "is refused with EINVAL for an unknown setting of IPv4",
        "ipv6": "is refused with EINVAL for accept_ra of IPv6 (IFLA_INET6_CONF)",
    },
)
def by_netlink(world: World, family: int, type_: int, setting: int) -> Value:
    device = world.source.device(b"eth1")
    attrs = af_spec(family, wire.nested(type_, wire.attr_u32(setting, 2)))
    reply = world.source.request(set_link(device.ifindex, attrs))
    names = {uapi.AF_INET: "ipv4/conf/eth1/rp_filter", uapi.AF_INET6: "ipv6/conf/eth1/accept_ra"}
    return {"error": reply.error, "is-2": world.source.sysctl(names[family]) == "2"}


@probe(
    "sysctls.netlink.ipv4-in-the-move",
    ABI,
    "IFLA_AF_SPEC in the message of the move sets rp_filter in the target.",
    source="net/core/rtnetlink.c, do_setlink",
)
def in_the_move(world: World) -> Value:
    device = world.source.device(b"eth1")
    attrs = af_spec(uapi.AF_INET, wire.nested(uapi.IFLA_INET_CONF, wire.attr_u32(IPV4_DEVCONF_RP_FILTER, 2)))
    reply = world.source.request(set_link(device.ifindex, ns_fd(world.target.fd) + attrs))
    return {"error": reply.error, "is-2": world.target.sysctl("ipv4/conf/eth1/rp_filter") == "2"}


@probe(
    "sysctls.addr-gen-mode.move",
    SPEC,
    "A move resets IFLA_INET6_ADDR_GEN_MODE to the target's default.",
    source=SET_LINK_AF,
)
def addr_gen_mode(world: World) -> Value:
    need_ipv6()
    device = world.source.device(b"eth1")
    world.target.sysctl("ipv6/conf/default/addr_gen_mode", 3)
    attrs = af_spec(uapi.AF_INET6, wire.attr(uapi.IFLA_INET6_ADDR_GEN_MODE, b"\0"))
    reply = world.source.request(set_link(device.ifindex, attrs))
    before = world.source.sysctl("ipv6/conf/eth1/addr_gen_mode")
    arrive(world, device)
    return {"error": reply.error, "before": before, "after": world.target.sysctl("ipv6/conf/eth1/addr_gen_mode")}


def token(text: str) -> bytes:
    return af_spec(uapi.AF_INET6, wire.attr(uapi.IFLA_INET6_TOKEN, packed(text)[1]))


def token_of(namespace: Namespace, ifindex: int, mask: int = 0) -> str:
    attrs = wire.attr_u32(uapi.IFLA_EXT_MASK, mask) if mask else b""
    reply = namespace.request(wire.link_message(uapi.RTM_GETLINK, 0, ifindex, attrs))
    found = of_family(wire.attrs(reply.answers[0].body, wire.IFINFOMSG.size), uapi.AF_INET6).get(uapi.IFLA_INET6_TOKEN)
    return "not told" if found is None else socket.inet_ntop(uapi.AF_INET6, bytes(found))


@probe("sysctls.token.move", SPEC, "A move clears IFLA_INET6_TOKEN.", source=TOKEN, needs=("macvlan",))
def token_moved(world: World) -> Value:
    device = detecting(world.source)
    world.source.must(set_link(device.ifindex, token("::42")))
    before = token_of(world.source, device.ifindex)
    arrive(world, device)
    return {"before": before, "after": token_of(world.target, world.target.known(b"eth1").ifindex)}


@probe("sysctls.token.down", SPEC, "Setting a device down keeps IFLA_INET6_TOKEN.", source=TOKEN, needs=("macvlan",))
def token_down(world: World) -> Value:
    device = detecting(world.source)
    world.source.must(set_link(device.ifindex, token("::42")))
    world.source.must(set_link(device.ifindex, up=False))
    return token_of(world.source, device.ifindex)


@probe(
    "sysctls.token.skip-stats",
    VARIES,
    "IFLA_INET6_TOKEN in an answer to RTEXT_FILTER_SKIP_STATS.",
    source="net/ipv6/addrconf.c, inet6_fill_ifla6_attrs",
    needs=("macvlan",),
)
def token_skipped(world: World) -> Value:
    device = detecting(world.source)
    world.source.must(set_link(device.ifindex, token("::42")))
    return token_of(world.source, device.ifindex, uapi.RTEXT_FILTER_SKIP_STATS)


SET: dict[str, Callable[[World], Device]] = {
    "down": lambda world: detecting(world.source, up=False),
    "no-ra": lambda world: detecting(world.source),
    "forwarding": lambda world: detecting(world.source),
    "noarp": is_up,
}


@probe(
    "sysctls.token.set-{}",
    SPEC,
    "Setting a token {}.",
    source=TOKEN,
    needs=("macvlan",),
    cases={name: (make, name) for name, make in SET.items()},
    texts={
        "down": "of a device that is down is accepted",
        "no-ra": "is refused with EINVAL if accept_ra is 0",
        "forwarding": "is refused with EINVAL if forwarding is 1",
        "noarp": "is refused with EINVAL if the device has IFF_NOARP",
    },
)
def token_set(world: World, make: Callable[[World], Device], name: str) -> Value:
    need_ipv6()
    device = make(world)
    if name in ("no-ra", "forwarding"):
        setting, value = {"no-ra": ("accept_ra", 0), "forwarding": ("forwarding", 1)}[name]
        world.source.sysctl(f"ipv6/conf/eth1/{setting}", value)
    reply = world.source.request(set_link(device.ifindex, token("::42")))
    return {"error": reply.error, "token": token_of(world.source, device.ifindex)}
