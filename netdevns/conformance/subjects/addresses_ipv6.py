"""IPv6 addresses: their order, duplicate address detection (DAD), link-local ones, and devices without IPv6."""

from __future__ import annotations

import time
from collections.abc import Callable

from ... import uapi, wire
from ..probe import ABI, SPEC, VARIES, Value, probe
from ..requests import address, ns_fd, set_link, with_flags
from ..world import Device, Namespace, SetupFailed, World
from .addresses import HOUR_S, REPLACE, Found, addresses, is_up, lifetimes, peer, texts
from .routes import routes

ORDER = "net/ipv6/addrconf.c, ipv6_link_dev_addr"
DAD = "net/ipv6/addrconf.c, addrconf_dad_begin and addrconf_dad_work"
IFDOWN = "net/ipv6/addrconf.c, addrconf_ifdown"
NEWADDR6 = "net/ipv6/addrconf.c, inet6_rtm_newaddr and inet6_addr_add"
PREFIX_ROUTE = "net/ipv6/addrconf.c, inet6_addr_add and fixup_permanent_addr"
LINK_LOCAL = "net/ipv6/addrconf.c, addrconf_add_linklocal"
ADD_DEV = "net/ipv6/addrconf.c, addrconf_add_dev"

NODAD = uapi.IFA_F_NODAD
MAC = bytes((2, 0, 0, 0, 0, 1))
OWN = "fe80::ff:fe00:1"  # what the kernel makes of this MAC
LINGER_S = 5.0
GLOBAL = "2001:db8::1/64"


def detecting(namespace: Namespace, name: bytes = b"eth1", *, up: bool = True) -> Device:
    """A device that detects duplicates; ifb and dummy do not, because of IFF_NOARP."""
    lower = namespace.device(b"lower")
    namespace.must(set_link(lower.ifindex, up=True))
    attrs = wire.attr_u32(uapi.IFLA_LINK, lower.ifindex) + wire.attr(uapi.IFLA_ADDRESS, MAC)
    device = namespace.make(b"macvlan", name, attrs)
    if up:
        namespace.must(set_link(device.ifindex, up=True))
    return device


def quick(namespace: Namespace, device: Device) -> None:
    """Makes DAD wait 10 ms and not 1 to 2 s."""
    name = device.name.decode()
    namespace.sysctl(f"ipv6/conf/{name}/router_solicitation_delay", 0)
    namespace.sysctl(f"ipv6/neigh/{name}/retrans_time_ms", 10)


def settled(namespace: Namespace, device: Device, wanted: Callable[[Found], bool]) -> list[Found]:
    """The addresses, when all are as wanted."""
    end = time.monotonic() + LINGER_S
    while time.monotonic() < end:
        found = addresses(namespace, device.ifindex, uapi.AF_INET6)
        if found and all(map(wanted, found)):
            return found
        time.sleep(0.005)
    raise SetupFailed(f"DAD did not come to its end in {LINGER_S:g} s")


def shown(found: list[Found]) -> list[str]:
    return [" ".join((each.text, *each.flags)) for each in found]


def flags(namespace: Namespace, device: Device) -> list[str]:
    """The addresses with their flags, as they are now."""
    return shown(addresses(namespace, device.ifindex, uapi.AF_INET6))


# ---- order ----


@probe("addresses.ipv6.order.newest", SPEC, "A dump has the newest address first.", source=ORDER)
def newest(world: World) -> Value:
    device = is_up(world)
    for number in (1, 2, 3):
        world.source.must(address(device.ifindex, f"2001:db8::{number}/64", flags=NODAD))
    return texts(world.source, device.ifindex, uapi.AF_INET6)


@probe("addresses.ipv6.order.scope", SPEC, "The order of scopes: global, link-local, site-local.", source=ORDER)
def order_scope(world: World) -> Value:
    device = is_up(world)
    for text in ("fec0::1/64", GLOBAL, "fe80::1/64", "fd00::1/64", "fec0::2/64", "fe80::2/64"):
        world.source.must(address(device.ifindex, text, flags=NODAD))
    return texts(world.source, device.ifindex, uapi.AF_INET6)


@probe("addresses.ipv6.order.replaced", SPEC, "NLM_F_REPLACE leaves an address in its place.", source=ORDER)
def order_replaced(world: World) -> Value:
    device = is_up(world)
    for number in (1, 2, 3):
        world.source.must(address(device.ifindex, f"2001:db8::{number}/64", flags=NODAD))
    for number in (1, 3):
        world.source.must(with_flags(address(device.ifindex, f"2001:db8::{number}/64"), REPLACE))
    return flags(world.source, device)


# ---- DAD ----


DADS: dict[str, int] = {
    "plain": 0,
    "nodad": NODAD,
    "optimistic": uapi.IFA_F_OPTIMISTIC,
    "optimistic-nodad": uapi.IFA_F_OPTIMISTIC | NODAD,
    "tentative-nodad": uapi.IFA_F_TENTATIVE | NODAD,
    "dadfailed": uapi.IFA_F_DADFAILED,
    "dadfailed-tentative-nodad": uapi.IFA_F_DADFAILED | uapi.IFA_F_TENTATIVE | NODAD,
}
DAD_TEXTS = {name: name.replace("-", ", ") for name in DADS}


@probe(
    "addresses.ipv6.dad.up-{}",
    SPEC,
    "An address on a device that is up and detects duplicates; flags at once: {}.",
    source=f"{NEWADDR6}; {DAD}",
    needs=("macvlan",),
    cases={name: (bits,) for name, bits in DADS.items()},
    texts=DAD_TEXTS,
)
def dad_up(world: World, bits: int) -> Value:
    device = detecting(world.source)
    reply = world.source.request(address(device.ifindex, GLOBAL, flags=bits))
    return {"error": reply.error, "addresses": flags(world.source, device)}


@probe(
    "addresses.ipv6.dad.down-{}",
    SPEC,
    "An address on a device that is down, which is then set up: flags before, and when DAD has ended: {}.",
    source=f"{NEWADDR6}; {DAD}",
    needs=("macvlan",),
    cases={name: (DADS[name],) for name in ("plain", "nodad")},
    texts=DAD_TEXTS,
)
def dad_down(world: World, bits: int) -> Value:
    device = detecting(world.source, up=False)
    quick(world.source, device)
    world.source.must(address(device.ifindex, GLOBAL, flags=bits))
    down = flags(world.source, device)
    world.source.must(set_link(device.ifindex, up=True))
    at_once = flags(world.source, device) if bits else None  # else it races
    found = settled(world.source, device, lambda each: "tentative" not in each.flags)
    return {"down": down, "up": at_once, "end": shown(found)}


@probe("addresses.ipv6.dad.ended", SPEC, "The flags of an address when DAD has ended.", source=DAD, needs=("macvlan",))
def dad_ended(world: World) -> Value:
    device = detecting(world.source)
    quick(world.source, device)
    world.source.must(address(device.ifindex, GLOBAL))
    return shown(settled(world.source, device, lambda each: "tentative" not in each.flags))


@probe(
    "addresses.ipv6.dad.replaced",
    SPEC,
    "Added with IFA_F_NODAD, and again with NLM_F_REPLACE and no flags: DAD does not start.",
    source="net/ipv6/addrconf.c, inet6_addr_modify",
    needs=("macvlan",),
)
def dad_replaced(world: World) -> Value:
    device = detecting(world.source)
    world.source.must(address(device.ifindex, GLOBAL, flags=NODAD))
    before = flags(world.source, device)
    reply = world.source.request(with_flags(address(device.ifindex, GLOBAL), REPLACE))
    return {"error": reply.error, "before": before, "after": flags(world.source, device)}


def duplicate(world: World) -> Device:
    """A veth whose address its peer has, too."""
    device = world.source.make(b"veth", b"eth1")
    other = world.source.known(b"p-eth1")
    for each in (other, device):
        quick(world.source, each)
        world.source.must(set_link(each.ifindex, up=True))
    world.source.must(address(other.ifindex, GLOBAL, flags=NODAD))
    world.source.must(address(device.ifindex, GLOBAL))
    settled(world.source, device, lambda each: "dadfailed" in each.flags)
    return device


@probe("addresses.ipv6.dad.failed", SPEC, "The flags of an address that a neighbour has.", source=DAD, needs=("veth",))
def dad_failed(world: World) -> Value:
    return flags(world.source, duplicate(world))


@probe(
    "addresses.ipv6.dad.failed-replaced",
    ABI,
    "An address that failed DAD is not freed by NLM_F_REPLACE and IFA_F_NODAD.",
    source="net/ipv6/addrconf.c, inet6_addr_modify",
    needs=("veth",),
)
def dad_failed_replaced(world: World) -> Value:
    device = duplicate(world)
    reply = world.source.request(with_flags(address(device.ifindex, GLOBAL, flags=NODAD), REPLACE))
    return {"error": reply.error, "addresses": flags(world.source, device)}


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
    "Which addresses stay when a device is set down: {}.",
    source=IFDOWN,
    cases=DOWNED,
    texts={
        "default": "keep_addr_on_down is 0",
        "keep-permanent": "keep_addr_on_down is 1, an address that lives forever",
        "keep-limited": "keep_addr_on_down is 1, an address that ends",
        "keep-link-local": "keep_addr_on_down is 1, a link-local address",
    },
)
def set_down(world: World, keep: int, text: str, attrs: bytes) -> Value:
    device = is_up(world)
    world.source.sysctl("ipv6/conf/eth1/keep_addr_on_down", keep)
    world.source.must(address(device.ifindex, text, attrs, flags=NODAD))
    world.source.must(set_link(device.ifindex, up=False))
    down = texts(world.source, device.ifindex)
    world.source.must(set_link(device.ifindex, up=True))
    return {"down": down, "up": texts(world.source, device.ifindex)}


@probe("addresses.ipv4.down", SPEC, "IPv4 addresses stay when a device is set down and up.", source=IFDOWN)
def set_down_ipv4(world: World) -> Value:
    device = is_up(world)
    world.source.must(address(device.ifindex, "10.0.0.1/24"))
    world.source.must(set_link(device.ifindex, up=False))
    return texts(world.source, device.ifindex)


ROUTED: dict[str, tuple[str, bytes, int]] = {
    "prefix": (GLOBAL, b"", 0),
    "peer": ("2001:db8::1/128", peer("2001:db8:9::1"), 0),
    "peer-prefix": ("2001:db8::1/64", peer("2001:db8:9::1"), 0),
    "metric": (GLOBAL, wire.attr_u32(uapi.IFA_RT_PRIORITY, 77), 0),
    "noprefixroute": (GLOBAL, b"", uapi.IFA_F_NOPREFIXROUTE),
}


@probe(
    "addresses.ipv6.routes.{}",
    SPEC,
    "The routes of an address that was there before the device was up, and of one that was added after it: {}.",
    source=PREFIX_ROUTE,
    cases=ROUTED,
)
def its_routes(world: World, text: str, attrs: bytes, bits: int) -> Value:
    early, late = world.source.device(b"early"), world.target.device(b"late")
    world.source.must(address(early.ifindex, text, attrs, flags=bits | NODAD))
    world.source.must(set_link(early.ifindex, up=True))
    world.target.must(set_link(late.ifindex, up=True))
    world.target.must(address(late.ifindex, text, attrs, flags=bits | NODAD))
    return [each for where in (world.source, world.target) for each in routes(where, uapi.AF_INET6)]


# ---- without IPv6 ----


@probe(
    "addresses.ipv6.disabled.{}",
    SPEC,
    "An address for a device that has arrived, where IPv6 is disabled: {}.",
    source=ADD_DEV,
    cases={"default": ("default",), "all": ("all",), "device": ("eth1",)},
    texts={
        "default": "conf/default/disable_ipv6 of the target",
        "all": "conf/all/disable_ipv6 of the target",
        "device": "conf/<device>/disable_ipv6, set in the target",
    },
)
def disabled(world: World, which: str) -> Value:
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
    "disable_ipv6 is set and cleared on a device that is up: its addresses.",
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


@probe("addresses.ipv6.small-mtu", SPEC, "An address for a device that arrives with an MTU of 1279.", source=ADD_DEV)
def small_mtu(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(set_link(device.ifindex, wire.attr_u32(uapi.IFLA_MTU, 1279)))
    world.source.must(set_link(device.ifindex, ns_fd(world.target.fd), up=True))
    return world.target.request(address(world.target.known(b"eth1").ifindex, GLOBAL, flags=NODAD)).error


# ---- the kernel's own link-local address ----


def own_link_local(world: World, *, up: bool = True) -> tuple[Namespace, Device]:
    """A device with a known MAC, where the kernel makes link-local addresses."""
    where = world.namespace("linked", link_local=True)
    return where, detecting(where, up=up)


@probe(
    "addresses.ipv6.link-local.own",
    SPEC,
    "The kernel adds a link-local address when the device is set up, not before; flags at once.",
    source=LINK_LOCAL,
    needs=("macvlan",),
)
def link_local_own(world: World) -> Value:
    where, device = own_link_local(world, up=False)
    down = flags(where, device)
    where.must(set_link(device.ifindex, up=True))
    return {"down": down, "up": flags(where, device)}


@probe(
    "addresses.ipv6.link-local.protocol",
    VARIES,
    "IFA_PROTO of the kernel's own link-local address: 3 is IFAPROT_KERNEL_LL.",
    source=LINK_LOCAL,
    needs=("macvlan",),
)
def link_local_protocol(world: World) -> Value:
    where, device = own_link_local(world)
    return [each.protocol for each in addresses(where, device.ifindex)]


@probe(
    "addresses.ipv6.link-local.{}",
    SPEC,
    "The kernel's own link-local address is added again: {}.",
    source="net/ipv6/addrconf.c, ipv6_add_addr and addrconf_add_linklocal",
    needs=("macvlan",),
    cases={
        "again-after-up": (False, f"{OWN}/64", 0),
        "again-before-up": (True, f"{OWN}/64", 0),
        "other-prefix-after-up": (False, f"{OWN}/128", 0),
        "other-prefix-before-up": (True, f"{OWN}/128", 0),
        "replaced-after-up": (False, f"{OWN}/64", REPLACE),
    },
    texts={
        "again-after-up": "after IFF_UP",
        "again-before-up": "before IFF_UP",
        "other-prefix-after-up": "with another prefix length, after IFF_UP",
        "other-prefix-before-up": "with another prefix length, before IFF_UP",
        "replaced-after-up": "with NLM_F_REPLACE, after IFF_UP",
    },
)
def link_local_again(world: World, early: bool, text: str, how: int) -> Value:
    where, device = own_link_local(world, up=not early)
    request = address(device.ifindex, text, flags=NODAD)
    reply = where.request(with_flags(request, how) if how else request)
    where.must(set_link(device.ifindex, up=True))
    return {"error": reply.error, "addresses": flags(where, device)}
