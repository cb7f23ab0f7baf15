"""Duplicate address detection (DAD) of IPv6 addresses, and the link-local address that the kernel adds."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...netlink import uapi, wire
from ..probe import ABI, SPEC, VARIES, NotAvailable, Value, probe
from ..requests import set_link, with_flags
from ..world import Device, Namespace, SetupFailed, World, need_ipv6
from .addresses import REPLACE, Found, address, addresses, decoded

DAD = "net/ipv6/addrconf.c, addrconf_dad_begin and addrconf_dad_work"
NEWADDR6 = "net/ipv6/addrconf.c, inet6_rtm_newaddr and inet6_addr_add"
LINK_LOCAL = "net/ipv6/addrconf.c, addrconf_add_linklocal"

NODAD = uapi.IFA_F_NODAD
IFF_RUNNING = 0x40  # linux/if.h
MAC = bytes((2, 0, 0, 0, 0, 1))
OWN = "fe80::ff:fe00:1"  # the kernel's link-local address for this MAC
LINGER_S = 60.0
GLOBAL = "2001:db8::1/64"


def detecting(namespace: Namespace, name: bytes = b"eth1", *, up: bool = True) -> Device:
    """A device with DAD; ifb and dummy have none, because of IFF_NOARP."""
    lower = namespace.device(b"lower")
    namespace.must(set_link(lower.ifindex, up=True))
    attrs = wire.attr_u32(uapi.IFLA_LINK, lower.ifindex) + wire.attr(uapi.IFLA_ADDRESS, MAC)
    device = namespace.make(b"macvlan", name, attrs)
    if up:
        namespace.must(set_link(device.ifindex, up=True))
    return device


def quick(namespace: Namespace, device: Device) -> None:
    """Shortens DAD from 1-2 s to 10 ms."""
    need_ipv6()
    name = device.name.decode()
    namespace.sysctl(f"ipv6/conf/{name}/router_solicitation_delay", 0)
    namespace.sysctl(f"ipv6/neigh/{name}/retrans_time_ms", 10)


def settled(namespace: Namespace, device: Device, wanted: Callable[[Found], bool]) -> list[Found]:
    """Waits until all addresses are as wanted, and returns them."""
    end = time.monotonic() + LINGER_S
    while time.monotonic() < end:
        found = addresses(namespace, device.ifindex, uapi.AF_INET6)
        if found and all(map(wanted, found)):
            return found
        time.sleep(0.005)
    raise SetupFailed(f"DAD did not end within {LINGER_S:g} s")


def shown(found: list[Found]) -> list[str]:
    return [" ".join((each.text, *each.flags)) for each in found]


def flags(namespace: Namespace, device: Device) -> list[str]:
    """The addresses with their flags, as they are now."""
    return shown(addresses(namespace, device.ifindex, uapi.AF_INET6))


def work_done(namespace: Namespace) -> None:
    """Waits until the kernel's worker has handled all addresses so far: one without DAD, added now, is last."""
    device = namespace.known(b"late") if namespace.link(b"late") else namespace.device(b"late")
    namespace.must(set_link(device.ifindex, up=True))
    request = address(device.ifindex, "2001:db8:ffff::1/64")
    namespace.request(with_flags(address(device.ifindex, "2001:db8:ffff::1/64", type_=uapi.RTM_DELADDR), 0))
    namespace.must(request)
    settled(namespace, device, lambda each: "tentative" not in each.flags)
    namespace.must(set_link(1))  # waits for rtnl: the worker adds the routes before it releases it


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
UP_TEXTS = {
    "plain": "is tentative",
    "nodad": "with IFA_F_NODAD is not tentative",
    "optimistic": "with IFA_F_OPTIMISTIC is tentative, not optimistic, where optimistic_dad is 0",
    "optimistic-nodad": "with IFA_F_OPTIMISTIC and _NODAD has IFA_F_NODAD alone",
    "tentative-nodad": "with IFA_F_TENTATIVE and _NODAD has IFA_F_NODAD alone",
    "dadfailed": "with IFA_F_DADFAILED is tentative, not failed",
    "dadfailed-tentative-nodad": "with IFA_F_DADFAILED, _TENTATIVE and _NODAD has IFA_F_NODAD alone",
}


@probe(
    "addresses.ipv6.dad.up-{}",
    SPEC,
    "An address added to a device that is up {}.",
    source=f"{NEWADDR6}; {DAD}",
    needs=("macvlan",),
    cases={name: (bits,) for name, bits in DADS.items()},
    texts=UP_TEXTS,
)
def dad_up(world: World, bits: int) -> Value:
    device = detecting(world.source)
    reply = world.source.request(address(device.ifindex, GLOBAL, flags=bits))
    return {"error": reply.error, "addresses": flags(world.source, device)}


@probe(
    "addresses.ipv6.dad.optimistic-allowed",
    ABI,
    "An address added with IFA_F_OPTIMISTIC is optimistic and tentative where optimistic_dad is 1.",
    source=NEWADDR6,
    needs=("macvlan",),
)
def dad_optimistic(world: World) -> Value:
    need_ipv6()
    device = detecting(world.source)
    try:
        world.source.sysctl("ipv6/conf/eth1/optimistic_dad", 1)
    except FileNotFoundError:
        raise NotAvailable("no CONFIG_IPV6_OPTIMISTIC_DAD in this kernel") from None
    reply = world.source.request(address(device.ifindex, GLOBAL, flags=uapi.IFA_F_OPTIMISTIC))
    return {"error": reply.error, "addresses": flags(world.source, device)}


@probe(
    "addresses.ipv6.dad.down-{}",
    SPEC,
    "An address added to a device that is down {}.",
    source=f"{NEWADDR6}; {DAD}",
    needs=("macvlan",),
    cases={name: (DADS[name],) for name in ("plain", "nodad")},
    texts={
        "plain": "is tentative until DAD, which begins with IFF_UP, has ended",
        "nodad": "with IFA_F_NODAD is never tentative",
    },
)
def dad_down(world: World, bits: int) -> Value:
    device = detecting(world.source, up=False)
    quick(world.source, device)
    world.source.must(address(device.ifindex, GLOBAL, flags=bits))
    down = flags(world.source, device)
    world.source.must(set_link(device.ifindex, up=True))
    at_once = flags(world.source, device) if bits else None  # with DAD: a race
    found = settled(world.source, device, lambda each: "tentative" not in each.flags)
    return {"down": down, "up": at_once, "end": shown(found)}


@probe(
    "addresses.ipv6.dad.ended",
    SPEC,
    "An address is permanent and not tentative after DAD has succeeded.",
    source=DAD,
    needs=("macvlan",),
)
def dad_ended(world: World) -> Value:
    device = detecting(world.source)
    quick(world.source, device)
    world.source.must(address(device.ifindex, GLOBAL))
    return shown(settled(world.source, device, lambda each: "tentative" not in each.flags))


@probe(
    "addresses.ipv6.dad.replaced",
    SPEC,
    "NLM_F_REPLACE without flags clears an address's IFA_F_NODAD, and does not start DAD.",
    source="net/ipv6/addrconf.c, inet6_addr_modify",
    needs=("macvlan",),
)
def dad_replaced(world: World) -> Value:
    device = detecting(world.source)
    world.source.must(address(device.ifindex, GLOBAL, flags=NODAD))
    before = flags(world.source, device)
    reply = world.source.request(with_flags(address(device.ifindex, GLOBAL), REPLACE))
    return {"error": reply.error, "before": before, "after": flags(world.source, device)}


@probe(
    "addresses.ipv6.dad.told-{}",
    ABI,
    "RTM_NEWADDR announces an address {}.",
    source="net/ipv6/addrconf.c, inet6_addr_add and ipv6_ifa_notify",
    needs=("macvlan",),
    cases={name: (DADS[name],) for name in ("plain", "nodad")},
    texts={
        "plain": "twice: tentative when it is added, and again when DAD has ended",
        "nodad": "with IFA_F_NODAD once",
    },
)
def dad_notified(world: World, bits: int) -> Value:
    device = detecting(world.source)
    quick(world.source, device)
    listener = world.source.listener(uapi.RTNLGRP_IPV6_IFADDR)
    world.source.must(address(device.ifindex, GLOBAL, flags=bits))
    settled(world.source, device, lambda each: "tentative" not in each.flags)
    work_done(world.source)
    found = [decoded(message) for message in listener.read()]
    return shown([each for each in found if each.text == GLOBAL])


def duplicate(world: World) -> Device:
    """A veth with the same address as its peer."""
    need_ipv6()
    device = world.source.make(b"veth", b"eth1")
    other = world.source.known(b"p-eth1")
    for each in (other, device):
        name = each.name.decode()
        world.source.sysctl(f"ipv6/conf/{name}/router_solicitation_delay", 0)
        world.source.sysctl(f"ipv6/conf/{name}/dad_transmits", 3)  # the first may be lost
        world.source.must(set_link(each.ifindex, up=True))
    end = time.monotonic() + LINGER_S
    while not all(link.flags & IFF_RUNNING for link in world.source.links() if link.kind == b"veth"):
        if time.monotonic() > end:
            raise SetupFailed("no carrier")
        time.sleep(0.005)
    world.source.must(address(other.ifindex, GLOBAL, flags=NODAD))
    world.source.must(address(device.ifindex, GLOBAL))
    settled(world.source, device, lambda each: "dadfailed" in each.flags)
    return device


@probe(
    "addresses.ipv6.dad.failed",
    SPEC,
    "An address that a neighbour has is dadfailed and tentative.",
    source=DAD,
    needs=("veth",),
)
def dad_failed(world: World) -> Value:
    return flags(world.source, duplicate(world))


@probe(
    "addresses.ipv6.dad.failed-replaced",
    ABI,
    "NLM_F_REPLACE with IFA_F_NODAD does not clear IFA_F_DADFAILED and IFA_F_TENTATIVE.",
    source="net/ipv6/addrconf.c, inet6_addr_modify",
    needs=("veth",),
)
def dad_failed_replaced(world: World) -> Value:
    device = duplicate(world)
    reply = world.source.request(with_flags(address(device.ifindex, GLOBAL, flags=NODAD), REPLACE))
    return {"error": reply.error, "addresses": flags(world.source, device)}


# ---- the link-local address that the kernel adds ----


def own_link_local(world: World, *, up: bool = True) -> tuple[Namespace, Device]:
    """A device with a known MAC, where the kernel adds link-local addresses."""
    need_ipv6()
    where = world.namespace("linked", link_local=True)
    return where, detecting(where, up=up)


@probe(
    "addresses.ipv6.link-local.own",
    SPEC,
    "The kernel adds a link-local address, tentative, when the device is set up, and no earlier.",
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
    "IFA_PROTO of the link-local address that the kernel adds; 3 is IFAPROT_KERNEL_LL.",
    source=LINK_LOCAL,
    needs=("macvlan",),
)
def link_local_protocol(world: World) -> Value:
    where, device = own_link_local(world)
    return [each.protocol for each in addresses(where, device.ifindex)]


@probe(
    "addresses.ipv6.link-local.{}",
    SPEC,
    "Adding the kernel's own link-local address {}.",
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
        "again-after-up": "after IFF_UP fails with EEXIST",
        "again-before-up": "before IFF_UP succeeds, and the kernel adds none",
        "other-prefix-after-up": "after IFF_UP with another prefix length fails with EEXIST",
        "other-prefix-before-up": "before IFF_UP with another prefix length succeeds, and the kernel adds none",
        "replaced-after-up": "with NLM_F_REPLACE after its DAD has ended changes its flags",
    },
)
def link_local_again(world: World, early: bool, text: str, how: int) -> Value:
    where, device = own_link_local(world, up=False)
    if how:
        quick(where, device)
    if not early:
        where.must(set_link(device.ifindex, up=True))
    if how:
        settled(where, device, lambda each: "tentative" not in each.flags)
    request = address(device.ifindex, text, flags=NODAD)
    reply = where.request(with_flags(request, how) if how else request)
    where.must(set_link(device.ifindex, up=True))
    return {"error": reply.error, "addresses": flags(where, device)}
