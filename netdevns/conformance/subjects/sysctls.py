"""Per-device sysctls of IPv4 and IPv6: how a move resets them, and what they do."""

from __future__ import annotations

import os

from ...netlink import uapi, wire
from .. import requests
from ..probe import ABI, SPEC, VARIES, Value, probe
from ..requests import named, ns_fd, packed, set_link
from ..world import OK, Device, Namespace, SetupFailed, World, need_ipv6
from .addresses import WORDS, address, is_up
from .addresses_dad import detecting

EVENT = {
    "ipv4": "net/ipv4/devinet.c, inetdev_event and inetdev_init",
    "ipv6": "net/ipv6/addrconf.c, addrconf_notify and ipv6_add_dev",
}
BOTH = "; ".join(EVENT.values())

FAMILIES = {"ipv4": ("ipv4",), "ipv6": ("ipv6",)}
NO_NUMBER = {"stable_secret"}
EXCEPT_MTU = {"ipv4": "IPv4", "ipv6": "IPv6, except mtu"}


def number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def settings(namespace: Namespace, family: str, which: str) -> dict[str, int]:
    """The readable numbers of conf/<which>. Raises NotAvailable for IPv6 if the kernel has none."""
    if family == "ipv6":
        need_ipv6()
    with namespace.entered():
        names = sorted(os.listdir(f"/proc/sys/net/{family}/conf/{which}"))
    found = {}
    for name in names:
        if name not in NO_NUMBER and (value := number(namespace.sysctl(f"{family}/conf/{which}/{name}"))) is not None:
            found[name] = value
    return found


def changed(namespace: Namespace, family: str, which: str, skip: set[str] = NO_NUMBER) -> dict[str, int]:
    """Changes each setting that can be written; their new values."""
    found = {}
    for name, before in settings(namespace, family, which).items():
        for value in () if name in skip else (before - 1, before + 1, 0, 1, 2):
            if value == before:
                continue
            try:
                now = number(namespace.sysctl(f"{family}/conf/{which}/{name}", value))
            except OSError:
                continue
            if now == value:
                found[name] = value
                break
    if not found:
        raise SetupFailed(f"nothing below {family}/conf/{which} could be changed")
    return found


def arrive(world: World, device: Device) -> None:
    world.source.must(set_link(device.ifindex, ns_fd(world.target.fd)))


def plain(world: World) -> Device:
    """eth1, down. No ifb or dummy, whose IFF_NOARP changes accept_dad."""
    return detecting(world.source, up=False)


# ---- how a move resets them ----


def different(before: dict[str, int], after: dict[str, int]) -> list[str]:
    """The settings that changed."""
    return [name for name, value in before.items() if after[name] != value]


@probe(
    "sysctls.{}.move",
    SPEC,
    "A move resets every setting of a device to the target's `default`: {}.",
    source=BOTH,
    needs=("macvlan",),
    cases=FAMILIES,
    texts=EXCEPT_MTU,
)
def each_moved(world: World, family: str) -> Value:
    device = plain(world)
    before = changed(world.source, family, "eth1")
    arrive(world, device)
    after = settings(world.target, family, "eth1")
    default = settings(world.target, family, "default")
    return {
        "kept": [name for name, value in before.items() if after[name] == value],
        "not-default": [name for name in before if after[name] != default[name]],
    }


@probe(
    "sysctls.{}.default",
    SPEC,
    "A device that arrives takes every setting of the target's `default`: {}.",
    source=BOTH,
    needs=("macvlan",),
    cases=FAMILIES,
    texts=EXCEPT_MTU,
)
def each_default(world: World, family: str) -> Value:
    device = plain(world)
    default = changed(world.target, family, "default")
    arrive(world, device)
    after = settings(world.target, family, "eth1")
    return different(default, after)


@probe(
    "sysctls.{}.all",
    ABI,
    "A device that arrives takes {}.",
    source=BOTH,
    needs=("macvlan",),
    cases=FAMILIES,
    texts={
        "ipv4": "only forwarding of the target's `all` (IPv4)",
        "ipv6": "only disable_ipv6, forwarding and ignore_routes_with_linkdown of the target's `all` (IPv6)",
    },
)
def each_all(world: World, family: str) -> Value:
    device = plain(world)
    fresh = settings(world.target, family, "default")
    changed(world.target, family, "all")
    arrive(world, device)
    after = settings(world.target, family, "eth1")
    # The mtu follows the device.
    return [name for name in after if name in fresh and after[name] != fresh[name] and name != "mtu"]


@probe(
    "sysctls.{}.renamed",
    SPEC,
    "A rename keeps the settings of a device: {}.",
    source=BOTH,
    needs=("macvlan",),
    cases=FAMILIES,
    texts=WORDS,
)
def renamed(world: World, family: str) -> Value:
    device = plain(world)
    before = changed(world.source, family, "eth1")
    world.source.must(set_link(device.ifindex, named(b"net0")))
    after = settings(world.source, family, "net0")
    return different(before, after)


@probe(
    "sysctls.{}.down",
    SPEC,
    "Setting a device down and up keeps its settings: {}.",
    source=BOTH,
    needs=("macvlan",),
    cases=FAMILIES,
    texts=WORDS,
)
def downed(world: World, family: str) -> Value:
    device = detecting(world.source)
    before = changed(world.source, family, "eth1")
    for up in (False, True):
        world.source.must(set_link(device.ifindex, up=up))
    after = settings(world.source, family, "eth1")
    return different(before, after)


@probe(
    "sysctls.ipv6.small-mtu",
    ABI,
    "An MTU below 1280 removes a device's IPv6 settings; a higher one brings the default ones.",
    source=EVENT["ipv6"],
)
def small_mtu(world: World) -> Value:
    need_ipv6()
    device = is_up(world)
    world.source.sysctl("ipv6/conf/eth1/hop_limit", 7)
    found: list[Value] = []
    for mtu in (1279, 1500):
        world.source.must(set_link(device.ifindex, wire.attr_u32(uapi.IFLA_MTU, mtu)))
        try:
            found.append(world.source.sysctl("ipv6/conf/eth1/hop_limit"))
        except FileNotFoundError:
            found.append("no such file")
    return found


@probe(
    "sysctls.ipv6.mtu",
    SPEC,
    "After a move, the IPv6 mtu is the device's MTU, not its earlier setting.",
    source=EVENT["ipv6"],
)
def ipv6_mtu(world: World) -> Value:
    need_ipv6()
    device = world.source.device(b"eth1")
    world.source.must(set_link(device.ifindex, wire.attr_u32(uapi.IFLA_MTU, 1400)))
    before = world.source.sysctl("ipv6/conf/eth1/mtu", 1300)
    arrive(world, device)
    return {"before": before, "after": world.target.sysctl("ipv6/conf/eth1/mtu")}


@probe(
    "sysctls.ipv6.stable-secret",
    SPEC,
    "A move drops stable_secret, and resets addr_gen_mode, which writing it had set to 2.",
    source=EVENT["ipv6"],
)
def stable_secret(world: World) -> Value:
    def secret(namespace: Namespace) -> str:
        try:
            return namespace.sysctl("ipv6/conf/eth1/stable_secret")
        except OSError as e:
            return os.strerror(e.errno or 0)

    need_ipv6()
    device = world.source.device(b"eth1")
    world.source.sysctl("ipv6/conf/eth1/stable_secret", "2001:db8::1")
    before = [secret(world.source), world.source.sysctl("ipv6/conf/eth1/addr_gen_mode")]
    arrive(world, device)
    return {"before": before, "after": [secret(world.target), world.target.sysctl("ipv6/conf/eth1/addr_gen_mode")]}


@probe(
    "sysctls.ipv6.default-secret",
    ABI,
    "A device that arrives takes a stable_secret of the target's `default`, and addr_gen_mode 2.",
    source=EVENT["ipv6"],
)
def default_secret(world: World) -> Value:
    need_ipv6()
    device = world.source.device(b"eth1")
    world.target.sysctl("ipv6/conf/default/stable_secret", "2001:db8::1")
    arrive(world, device)
    try:
        secret = world.target.sysctl("ipv6/conf/eth1/stable_secret")
    except OSError as e:
        secret = os.strerror(e.errno or 0)
    return {"addr_gen_mode": world.target.sysctl("ipv6/conf/eth1/addr_gen_mode"), "secret": secret}


@probe(
    "sysctls.{}.forwarding",
    ABI,
    "Setting conf/all/forwarding sets it for `default` and for existing devices: {}.",
    source="net/ipv4/devinet.c, inet_forward_change; net/ipv6/addrconf.c, addrconf_fixup_forwarding",
    cases=FAMILIES,
    texts=WORDS,
)
def forwarding(world: World, family: str) -> Value:
    if family == "ipv6":
        need_ipv6()
    device = world.source.device(b"eth1")
    arrive(world, device)
    world.target.sysctl(f"{family}/conf/all/forwarding", 1)
    return {which: world.target.sysctl(f"{family}/conf/{which}/forwarding") for which in ("default", "eth1")}


# ---- effects ----


def two_nets(world: World) -> None:
    """eth1 and eth2, each with a network of its own."""
    for number in (1, 2):
        device = is_up(world, b"eth%d" % number)
        world.source.must(address(device.ifindex, f"10.{number}.0.1/24"))


def source_check(world: World, all_: int, own: int) -> str:
    """The errno for a packet on eth1 from eth2's network, with rp_filter of `all` and of eth1."""
    one = world.source.known(b"eth1")
    for which, value in (("all", all_), ("eth1", own)):
        world.source.sysctl(f"ipv4/conf/{which}/rp_filter", value)
    body = requests.RTMSG.pack(uapi.AF_INET, 32, 32, 0, 0, 0, 0, 0, 0)
    body += wire.attr(uapi.RTA_DST, packed("10.1.0.1")[1]) + wire.attr(uapi.RTA_SRC, packed("10.2.0.9")[1])
    body += wire.attr_u32(uapi.RTA_IIF, one.ifindex)
    return world.source.request(wire.message(uapi.RTM_GETROUTE, 0, body)).error


RP_FILTER = "include/linux/inetdevice.h, IN_DEV_RPFILTER; net/ipv4/fib_frontend.c, __fib_validate_source"


@probe(
    "sysctls.rp-filter.maximum",
    ABI,
    "The higher rp_filter of `all` and of the device counts: 2 (loose) overrides 1 (strict).",
    source=RP_FILTER,
)
def rp_filter(world: World) -> Value:
    two_nets(world)
    pairs = [(all_, own) for all_ in range(3) for own in range(3)]
    return {f"all {all_}, device {own}": source_check(world, all_, own) == OK for all_, own in pairs}


@probe(
    "sysctls.rp-filter.errno",
    VARIES,
    "The errno of RTM_GETROUTE for a source that rp_filter refuses.",
    source=RP_FILTER,
)
def rp_filter_errno(world: World) -> Value:
    two_nets(world)
    return source_check(world, 0, 1)
