"""Routes in the target: what can be added when, and the effects of a link's state."""

from __future__ import annotations

import time
from collections.abc import Callable
from struct import Struct

from ...netlink import uapi, wire
from ..probe import ABI, SPEC, Value, probe
from ..requests import address, ns_fd, set_link, with_flags
from ..world import SetupFailed, World, need_ipv6
from .routes import DEAD, LINKDOWN, multipath, nexthop_over, pair, route, routes, source_address, text

CHECK_NH = "net/ipv4/fib_semantics.c, fib_check_nh and fib_valid_prefsrc; net/ipv6/route.c, ip6_route_check_nh"
FLAGS = "net/ipv4/fib_semantics.c, fib_create_info; net/ipv6/route.c, ip6_route_info_create"
SYNC = "net/ipv4/fib_semantics.c, fib_sync_down_dev and fib_sync_up; net/ipv6/route.c, rt6_sync_down_dev"
CONFIG = "net/ipv4/fib_frontend.c, rtm_to_fib_config; net/ipv6/route.c, rtm_to_fib6_config"

ONLINK = uapi.RTNH_F_ONLINK
LINGER_S = 60.0
CACHEINFO = Struct("=8I")  # struct rta_cacheinfo

# family, destination, gateway over eth1, over eth2, eth1's address
IPV4 = (uapi.AF_INET, "10.9.0.0/16", "10.1.0.2", "10.2.0.2", "10.1.0.1")
IPV6 = (uapi.AF_INET6, "2001:db8:9::/48", "2001:db8:1::2", "2001:db8:2::2", "2001:db8:1::1")
FAMILIES = {"ipv4": IPV4, "ipv6": IPV6}
WORDS = {"ipv4": "IPv4", "ipv6": "IPv6"}
Family = tuple[int, str, str, str, str]


def each(*names: str) -> dict[str, tuple[Family, str]]:
    """Cases ipv4-NAME and ipv6-NAME."""
    return {f"{family}-{name}": (of, name) for family, of in FAMILIES.items() for name in names}


def words_of(names: dict[str, str]) -> dict[str, str]:
    """The sentences of such cases, where IPv4 and IPv6 agree."""
    return {f"{family}-{name}": f"{words} ({WORDS[family]})" for family in FAMILIES for name, words in names.items()}


GATEWAYS = {
    "without-address": "refused with ENETUNREACH if the device has no address ({})",
    "with-address": "accepted if the device has an address in the gateway's network ({})",
    "onlink": "accepted with RTNH_F_ONLINK if the device has no address ({})",
    "onlink-no-local": "refused with EINVAL with RTNH_F_ONLINK if the namespace has no address, even of lo ({})",
    "down": "refused with ENETUNREACH if the device is down ({})",
    "onlink-down": "refused with ENETDOWN with RTNH_F_ONLINK if the device is down ({})",
}


@probe(
    "routes.gateway.{}",
    SPEC,
    "A route by a gateway is {}.",
    source=CHECK_NH,
    cases=each("without-address", "with-address", "onlink", "onlink-no-local", "down", "onlink-down"),
    texts={
        **{f"{family}-{name}": text.format(WORDS[family]) for family in WORDS for name, text in GATEWAYS.items()},
        "ipv6-without-address": "refused with EHOSTUNREACH if the device has no address (IPv6)",
        "ipv6-onlink-no-local": "accepted with RTNH_F_ONLINK if the namespace has no address (IPv6)",
        "ipv6-down": "refused with EHOSTUNREACH if the device is down (IPv6)",
    },
)
def by_gateway(world: World, family: Family, name: str) -> Value:
    number, dst, gateway, _, own = family
    if number == uapi.AF_INET6:
        need_ipv6()
    device = world.source.device(b"eth1")
    if name != "onlink-no-local":
        world.source.must(set_link(1, up=True))  # lo: its address makes the table local
    if "down" not in name:
        world.source.must(set_link(device.ifindex, up=True))
    if name in ("with-address", "down"):
        world.source.must(
            address(device.ifindex, f"{own}/{64 if number == uapi.AF_INET6 else 24}", flags=uapi.IFA_F_NODAD)
        )
    flags = ONLINK if "onlink" in name else 0
    return world.source.request(route(dst, dev=device.ifindex, via=gateway, flags=flags)).error


@probe(
    "routes.src.{}",
    SPEC,
    "A route with RTA_PREFSRC is {}.",
    source=CHECK_NH,
    cases=each("missing", "own", "other-device"),
    texts=words_of(
        {
            "missing": "refused with EINVAL if no device has the address",
            "own": "accepted if its device has the address",
            "other-device": "accepted if another device has the address",
        }
    ),
)
def by_source(world: World, family: Family, name: str) -> Value:
    number, dst, _, _, own = family
    one, two = pair(world, number)
    missing = own.replace("1.0.1", "1.0.7") if number == uapi.AF_INET else own.replace("::1", "::7")
    src, device = (missing, one) if name == "missing" else (own, one if name == "own" else two)
    return world.source.request(route(dst, dev=device.ifindex, attrs=source_address(src))).error


@probe(
    "routes.down.{}",
    ABI,
    "Setting a device down drops its routes; IFF_UP restores {}.",
    source=SYNC,
    cases={name: (of,) for name, of in FAMILIES.items()},
    texts={"ipv4": "only that of the IPv4 address", "ipv6": "no IPv6 route"},
)
def bounced(world: World, family: Family) -> Value:
    number, dst, gateway, _, _ = family
    one, _ = pair(world, number)
    world.source.must(route(dst, dev=one.ifindex))
    world.source.must(route(dst.replace("9", "8"), dev=one.ifindex, via=gateway))
    world.source.must(set_link(one.ifindex, up=False))
    down = routes(world.source, number)
    world.source.must(set_link(one.ifindex, up=True))
    return {"down": down, "up": routes(world.source, number)}


@probe(
    "routes.multipath.down-{}",
    ABI,
    "A multipath route keeps a nexthop whose link is set down, as dead, until IFF_UP: {}.",
    source=SYNC,
    cases={name: (of,) for name, of in FAMILIES.items()},
    texts=WORDS,
)
def multipath_down(world: World, family: Family) -> Value:
    number, dst, gateway, other, _ = family
    one, two = pair(world, number)
    world.source.must(route(dst, attrs=multipath((one.ifindex, gateway), (two.ifindex, other))))
    world.source.must(set_link(one.ifindex, up=False))
    down = [r for r in routes(world.source, number) if r.startswith(dst)]
    world.source.must(set_link(one.ifindex, up=True))
    return {"down": down, "up": [r for r in routes(world.source, number) if r.startswith(dst)]}


@probe(
    "routes.multipath.told-{}",
    ABI,
    "A new multipath route is announced in one message: {}.",
    source="net/ipv4/fib_trie.c, fib_table_insert; net/ipv6/route.c, ip6_route_multipath_add",
    cases={name: (of,) for name, of in FAMILIES.items()},
    texts=WORDS,
)
def multipath_announced(world: World, family: Family) -> Value:
    number, dst, gateway, other, _ = family
    one, two = pair(world, number)
    listener = world.source.listener(7 if number == uapi.AF_INET else 11)  # RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE
    world.source.must(route(dst, attrs=multipath((one.ifindex, gateway), (two.ifindex, other))))
    names = {one.ifindex: "eth1", two.ifindex: "eth2"}
    announced = [text(message, names) for message in listener.read() if message.type == uapi.RTM_NEWROUTE]
    return {
        "told": [each for each in announced if each.startswith(dst)],
        "listed": [r for r in routes(world.source, number) if r.startswith(dst)],
    }


@probe(
    "routes.multipath.append-{}",
    ABI,
    "A second gateway with NLM_F_APPEND makes {}.",
    source="net/ipv4/fib_trie.c, fib_table_insert; net/ipv6/ip6_fib.c, fib6_add_rt2node",
    cases={name: (of,) for name, of in FAMILIES.items()},
    texts={"ipv4": "a second IPv4 route", "ipv6": "an IPv6 multipath route"},
)
def multipath_append(world: World, family: Family) -> Value:
    number, dst, gateway, other, _ = family
    one, two = pair(world, number)
    world.source.must(route(dst, dev=one.ifindex, via=gateway))
    more = route(dst, dev=two.ifindex, via=other)
    reply = world.source.request(with_flags(more, uapi.NLM_F_CREATE | uapi.NLM_F_APPEND))
    return {"error": reply.error, "listed": [r for r in routes(world.source, number) if r.startswith(dst)]}


# ---- flags and attributes that only dumps have ----


REPLAYED: dict[str, tuple[int, bytes]] = {
    "dead": (DEAD, b""),
    "linkdown": (LINKDOWN, b""),
    "cacheinfo": (0, wire.attr(uapi.RTA_CACHEINFO, CACHEINFO.pack(*[0] * 8))),
}


@probe(
    "routes.replay.{}",
    SPEC,
    "A new route with {}.",
    source=FLAGS,
    cases={f"{family}-{name}": (of, *what) for family, of in FAMILIES.items() for name, what in REPLAYED.items()},
    texts={
        **words_of({name: f"RTNH_F_{name.upper()} is accepted" for name in ("dead", "linkdown")}),
        **words_of({"cacheinfo": "RTA_CACHEINFO is accepted"}),
        "ipv4-dead": "RTNH_F_DEAD is refused with EINVAL (IPv4)",
        "ipv4-linkdown": "RTNH_F_LINKDOWN is refused with EINVAL (IPv4)",
    },
)
def replayed(world: World, family: Family, flags: int, attrs: bytes) -> Value:
    one, _ = pair(world, family[0])
    return world.source.request(route(family[1], dev=one.ifindex, attrs=attrs, flags=flags)).error


@probe(
    "routes.replay.{}-multipath-dead",
    SPEC,
    "A new multipath route with RTNH_F_DEAD on its nexthops is {}.",
    source=FLAGS,
    cases={name: (of,) for name, of in FAMILIES.items()},
    texts={"ipv4": "refused with EINVAL (IPv4)", "ipv6": "accepted (IPv6)"},
)
def replayed_nexthops(world: World, family: Family) -> Value:
    number, dst, gateway, _, _ = family
    one, _ = pair(world, number)
    return world.source.request(route(dst, attrs=multipath((one.ifindex, gateway), flags=DEAD))).error


@probe(
    "routes.replay.expires",
    ABI,
    "RTA_EXPIRES gives an IPv6 route a lifetime, which RTA_CACHEINFO reports.",
    source=CONFIG,
)
def replayed_expires(world: World) -> Value:
    one, _ = pair(world, uapi.AF_INET6)
    world.source.must(route("2001:db8:9::/48", dev=one.ifindex, attrs=wire.attr_u32(uapi.RTA_EXPIRES, 3600)))
    for message in world.source.dump(uapi.RTM_GETROUTE, uapi.AF_INET6):
        attrs = wire.attrs(message.body, 12)
        if CACHEINFO.unpack(attrs[uapi.RTA_CACHEINFO])[2]:  # rta_expires
            return {"expires": True, "dst_len": message.body[1]}
    return {"expires": False}


@probe(
    "routes.nexthop.again",
    SPEC,
    "A nexthop object's id is free after a move, in the source and in the target.",
    source="net/ipv4/nexthop.c, insert_nexthop",
)
def nexthop_again(world: World) -> Value:
    one, two = pair(world, uapi.AF_INET)
    world.source.must(nexthop_over(7, one, "10.1.0.2"))
    before = world.source.request(nexthop_over(7, two, "10.2.0.2")).error
    world.source.must(set_link(one.ifindex, ns_fd(world.target.fd), up=True))
    there = world.target.known(b"eth1")
    world.target.must(address(there.ifindex, "10.1.0.1/24"))
    source = world.source.request(nexthop_over(7, two, "10.2.0.2")).error
    return {
        "before": before,
        "source": source,
        "target": world.target.request(nexthop_over(7, there, "10.1.0.2")).error,
    }


# ---- without a carrier ----


def settled(read: Callable[[], list[str]], wanted: Callable[[list[str]], bool]) -> list[str]:
    """Reads until the result is as wanted: the kernel's link watch runs a little later."""
    end = time.monotonic() + LINGER_S
    while time.monotonic() < end:
        if wanted(found := read()):
            return found
        time.sleep(0.005)
    raise SetupFailed(f"the link watch did not run within {LINGER_S:g} s")


@probe(
    "routes.linkdown.{}",
    ABI,
    "The routes of a veth whose peer is set down have RTNH_F_LINKDOWN: {}.",
    source=SYNC,
    needs=("veth",),
    cases={name: (of,) for name, of in FAMILIES.items()},
    texts=WORDS,
)
def carrier_lost(world: World, family: Family) -> Value:
    number, dst, _, _, own = family
    if number == uapi.AF_INET6:
        need_ipv6()
    device = world.source.make(b"veth", b"eth1")
    other = world.source.known(b"p-eth1")
    for each_ in (other, device):
        world.source.must(set_link(each_.ifindex, up=True))
    prefixlen = 64 if number == uapi.AF_INET6 else 24
    world.source.must(address(device.ifindex, f"{own}/{prefixlen}", flags=uapi.IFA_F_NODAD))
    world.source.must(route(dst, dev=device.ifindex))
    settled(lambda: routes(world.source, number), lambda found: not any("linkdown" in r for r in found))
    world.source.must(set_link(other.ifindex, up=False))
    return settled(lambda: routes(world.source, number), lambda found: all("linkdown" in r for r in found))
