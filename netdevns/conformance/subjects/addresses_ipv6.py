"""IPv6 addresses: their order, the effects of setting a link down, and devices without IPv6."""

from __future__ import annotations

from ...netlink import uapi, wire
from ..probe import ABI, SPEC, Value, probe
from ..requests import ns_fd, set_link, with_flags
from ..world import World, need_ipv6
from .addresses import HOUR_S, REPLACE, address, addresses, is_up, lifetimes, peer, texts
from .addresses_dad import GLOBAL, NODAD, detecting, flags, quick, settled, work_done
from .addresses_new import MANAGETEMPADDR
from .routes import routes

ORDER = "net/ipv6/addrconf.c, ipv6_link_dev_addr"
IFDOWN = "net/ipv6/addrconf.c, addrconf_ifdown"
PREFIX_ROUTE = "net/ipv6/addrconf.c, inet6_addr_add and fixup_permanent_addr"
ADD_DEV = "net/ipv6/addrconf.c, addrconf_add_dev"


# ---- order ----


@probe("addresses.ipv6.order.newest", SPEC, "A dump lists the newest address first.", source=ORDER)
def newest(world: World) -> Value:
    device = is_up(world)
    for number in (1, 2, 3):
        world.source.must(address(device.ifindex, f"2001:db8::{number}/64", flags=NODAD))
    return texts(world.source, device.ifindex, uapi.AF_INET6)


@probe(
    "addresses.ipv6.order.scope",
    SPEC,
    "A dump lists global, then site-local, then link-local addresses, the newest first in each.",
    source=ORDER,
)
def order_scope(world: World) -> Value:
    device = is_up(world)
    for text in ("fec0::1/64", GLOBAL, "fe80::1/64", "fd00::1/64", "fec0::2/64", "fe80::2/64"):
        world.source.must(address(device.ifindex, text, flags=NODAD))
    return texts(world.source, device.ifindex, uapi.AF_INET6)


@probe("addresses.ipv6.order.replaced", SPEC, "NLM_F_REPLACE keeps an address's place in the dump.", source=ORDER)
def order_replaced(world: World) -> Value:
    device = is_up(world)
    for number in (1, 2, 3):
        world.source.must(address(device.ifindex, f"2001:db8::{number}/64", flags=NODAD))
    for number in (1, 3):
        world.source.must(with_flags(address(device.ifindex, f"2001:db8::{number}/64"), REPLACE))
    return flags(world.source, device)


# ---- up and down ----


DOWNED: dict[str, tuple[int, str, bytes]] = {
    "default": (0, GLOBAL, b""),
    "keep-permanent": (1, GLOBAL, b""),
    "keep-limited": (1, GLOBAL, lifetimes(HOUR_S, HOUR_S)),
    "keep-link-local": (1, "fe80::1/64", b""),
}


@probe(
    "addresses.ipv6.down.{}",
    SPEC,
    "Setting a device down {}.",
    source=IFDOWN,
    cases=DOWNED,
    texts={
        "default": "drops its IPv6 addresses where keep_addr_on_down is 0",
        "keep-permanent": "keeps a permanent IPv6 address where keep_addr_on_down is 1",
        "keep-limited": "drops an IPv6 address with a lifetime even where keep_addr_on_down is 1",
        "keep-link-local": "drops a link-local address even where keep_addr_on_down is 1",
    },
)
def set_down(world: World, keep: int, text: str, attrs: bytes) -> Value:
    need_ipv6()
    device = is_up(world)
    world.source.sysctl("ipv6/conf/eth1/keep_addr_on_down", keep)
    world.source.must(address(device.ifindex, text, attrs, flags=NODAD))
    world.source.must(set_link(device.ifindex, up=False))
    down = texts(world.source, device.ifindex)
    world.source.must(set_link(device.ifindex, up=True))
    return {"down": down, "up": texts(world.source, device.ifindex)}


@probe("addresses.ipv4.down", SPEC, "Setting a device down keeps its IPv4 addresses.", source=IFDOWN)
def set_down_ipv4(world: World) -> Value:
    device = is_up(world)
    world.source.must(address(device.ifindex, "10.0.0.1/24"))
    world.source.must(set_link(device.ifindex, up=False))
    return texts(world.source, device.ifindex)


ROUTED: dict[str, tuple[bytes, int]] = {
    "prefix": (b"", 0),
    "peer": (peer("2001:db8:9::1"), 0),
    "metric": (wire.attr_u32(uapi.IFA_RT_PRIORITY, 77), 0),
    "noprefixroute": (b"", uapi.IFA_F_NOPREFIXROUTE),
}


@probe(
    "addresses.ipv6.routes.{}",
    SPEC,
    "{}.",
    source=PREFIX_ROUTE,
    cases=ROUTED,
    texts={
        "prefix": "An address brings its prefix route, whether it is added before IFF_UP or after",
        "peer": "An address brings the route to its peer, unless it has IFA_F_NODAD and is handled before IFF_UP",
        "metric": "An address's prefix route has the metric IFA_RT_PRIORITY, whether added before IFF_UP or after",
        "noprefixroute": "An address with IFA_F_NOPREFIXROUTE brings no route, whether added before IFF_UP or after",
    },
    needs=("macvlan",),
)
def its_routes(world: World, attrs: bytes, bits: int) -> Value:
    """The worker (addrconf_dad_work) has handled each address before IFF_UP; otherwise the peer's route is a race."""
    found: dict[str, Value] = {}
    for name in ("before-nodad", "before", "after"):
        where = world.namespace(name)
        device = detecting(where, up=name == "after")
        quick(where, device)
        nodad = NODAD if name == "before-nodad" else 0
        where.must(address(device.ifindex, GLOBAL, attrs, flags=bits | nodad))
        work_done(where)
        where.must(set_link(device.ifindex, up=True))
        settled(where, device, lambda each: "tentative" not in each.flags)
        work_done(where)
        found[name] = [each for each in routes(where, uapi.AF_INET6) if "dev eth1" in each]
    return found


@probe(
    "addresses.ipv6.temporary",
    SPEC,
    "Where use_tempaddr is 2, IFA_F_MANAGETEMPADDR adds a temporary address at once; NLM_F_REPLACE adds no other.",
    source="net/ipv6/addrconf.c, manage_tempaddrs",
)
def temporary(world: World) -> Value:
    need_ipv6()
    device = is_up(world)
    world.source.sysctl("ipv6/conf/eth1/use_tempaddr", 2)
    request = address(device.ifindex, GLOBAL, lifetimes(HOUR_S, HOUR_S), flags=MANAGETEMPADDR | NODAD)
    found: list[Value] = []
    for how in (uapi.NLM_F_CREATE | uapi.NLM_F_EXCL, REPLACE):
        world.source.must(with_flags(request, how))
        # The temporary address is random, and IFA_F_TENTATIVE a race.
        flags_ = [each.flags for each in addresses(world.source, device.ifindex)]
        found.append(["temporary" if "secondary" in each else "managed" for each in flags_])
    return found


# ---- without IPv6 ----


@probe(
    "addresses.ipv6.disabled.{}",
    SPEC,
    "An address for a device that arrived is refused with EACCES where IPv6 is disabled: {}.",
    source=ADD_DEV,
    cases={"default": ("default",), "all": ("all",), "device": ("eth1",)},
    texts={
        "default": "conf/default/disable_ipv6 of the target",
        "all": "conf/all/disable_ipv6 of the target",
        "device": "conf/<device>/disable_ipv6, set in the target",
    },
)
def disabled(world: World, which: str) -> Value:
    need_ipv6()
    device = world.source.device(b"eth1")
    if which != "eth1":
        world.target.sysctl(f"ipv6/conf/{which}/disable_ipv6", 1)
    world.source.must(set_link(device.ifindex, ns_fd(world.target.fd), up=True))
    if which == "eth1":
        world.target.sysctl("ipv6/conf/eth1/disable_ipv6", 1)
    link = world.target.known(b"eth1")
    return world.target.request(address(link.ifindex, GLOBAL, flags=NODAD)).error


@probe(
    "addresses.ipv6.disabled.again",
    ABI,
    "Setting disable_ipv6 drops a device's addresses; clearing it does not restore them.",
    source="net/ipv6/addrconf.c, dev_disable_change",
)
def disabled_again(world: World) -> Value:
    device = is_up(world)
    world.source.must(address(device.ifindex, GLOBAL, flags=NODAD))
    found: list[Value] = []
    for value in (1, 0):
        world.source.sysctl("ipv6/conf/eth1/disable_ipv6", value)
        found.append(texts(world.source, device.ifindex))
    return found


@probe(
    "addresses.ipv6.small-mtu",
    SPEC,
    "An address for a device that arrived with an MTU of 1279 is refused with EINVAL.",
    source=ADD_DEV,
)
def small_mtu(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(set_link(device.ifindex, wire.attr_u32(uapi.IFLA_MTU, 1279)))
    world.source.must(set_link(device.ifindex, ns_fd(world.target.fd), up=True))
    return world.target.request(address(world.target.known(b"eth1").ifindex, GLOBAL, flags=NODAD)).error
