"""Names that are taken in the target: the errno of a move, and where the device is after it."""

from __future__ import annotations

from collections.abc import Callable

from ...netlink import uapi
from .. import requests
from ..probe import ABI, SPEC, VARIES, Value, probe
from ..requests import altnames, named, ns_fd, set_link
from ..world import OK, Device, Namespace, Reply, SetupFailed, World

MOVE = "net/core/dev.c, __dev_change_net_namespace and dev_prep_valid_name"
ALTNAMES = "net/core/dev.c, __dev_get_by_name and netdev_name_node_add"
SOURCE = "OCI runtime-spec 1.3, config-linux.md, Network Devices"

Setup = Callable[[World], object]


def move(world: World, device: Device, name: bytes = b"") -> Reply:
    """Moves a device as netdevns does."""
    return world.source.request(set_link(device.ifindex, ns_fd(world.target.fd) + (named(name) if name else b"")))


def with_altname(namespace: Namespace, name: bytes, altname: bytes) -> Device:
    device = namespace.device(name)
    namespace.must(altnames(device.ifindex, [altname]))
    return device


def taken_by_name(name: bytes) -> Setup:
    return lambda world: world.target.device(name)


def taken_by_altname(name: bytes) -> Setup:
    return lambda world: with_altname(world.target, b"bystander", name)


def both_by_name(world: World) -> None:
    world.target.device(b"eth1")
    world.target.device(b"net0")


def both_by_altname(world: World) -> None:
    with_altname(world.target, b"eth1", b"net0")


def nothing(world: World) -> None:
    del world


CLASHES: dict[str, tuple[str, Setup, bytes]] = {
    # The old name is free in the target: the kernel moves first and renames afterwards.
    "wanted-name": (
        "RTM_NEWLINK with a taken IFLA_IFNAME leaves the device in the target, under its old name",
        taken_by_name(b"net0"),
        b"net0",
    ),
    "wanted-altname": (
        "RTM_NEWLINK with an alternative name of another device leaves the device in the target, under its old name",
        taken_by_altname(b"net0"),
        b"net0",
    ),
    # The old name is kept, and taken in the target.
    "kept-name": ("The errno of a move without IFLA_IFNAME if the name is taken", taken_by_name(b"eth1"), b""),
    "kept-altname": (
        "The errno of a move without IFLA_IFNAME if the name is an alternative name in the target",
        taken_by_altname(b"eth1"),
        b"",
    ),
    "same-name": (
        "RTM_NEWLINK with the device's own, taken name leaves the device in the source",
        taken_by_name(b"eth1"),
        b"eth1",
    ),
    "same-altname": (
        "RTM_NEWLINK with the device's own name, an alternative name in the target, leaves the device in the source",
        taken_by_altname(b"eth1"),
        b"eth1",
    ),
    "same-free": ("RTM_NEWLINK with the device's own, free name moves it", nothing, b"eth1"),
    # The old name is taken in the target, and another one is wanted: the kernel renames within the move.
    "old-name": (
        "RTM_NEWLINK with a free IFLA_IFNAME moves a device whose old name is taken",
        taken_by_name(b"eth1"),
        b"net0",
    ),
    "old-altname": (
        "RTM_NEWLINK with a free IFLA_IFNAME moves a device whose old name is an alternative name in the target",
        taken_by_altname(b"eth1"),
        b"net0",
    ),
    "both-names": (
        "RTM_NEWLINK with a taken IFLA_IFNAME leaves the device in the source if its old name is taken, too",
        both_by_name,
        b"net0",
    ),
    "both-of-one-device": (
        "RTM_NEWLINK leaves the device in the source if one device has its old and its wanted name",
        both_by_altname,
        b"net0",
    ),
    # Templates: the kernel chooses the number.
    "template-free": ("The template net%d becomes net0 if no such name is taken", nothing, b"net%d"),
    "template-zero-taken": ("The template net%d becomes net1 if net0 is taken", taken_by_name(b"net0"), b"net%d"),
    "template-zero-altname": (
        "The template net%d becomes net1 if net0 is an alternative name",
        taken_by_altname(b"net0"),
        b"net%d",
    ),
    "template-old-taken": (
        "The template net%d is expanded twice if the old name is taken: it becomes net1",
        taken_by_name(b"eth1"),
        b"net%d",
    ),
    "template-old-altname": (
        "The template net%d is expanded twice if the old name is an alternative name: it becomes net1",
        taken_by_altname(b"eth1"),
        b"net%d",
    ),
    "template-own-prefix": ("The template eth%d turns eth1 into eth0 if both are free", nothing, b"eth%d"),
    "template-own-prefix-taken": (
        "The template eth%d turns eth1 into eth2 if eth1 is taken",
        taken_by_name(b"eth1"),
        b"eth%d",
    ),
    # A name that no device may have.
    "invalid-old-free": (
        "RTM_NEWLINK with a slash in IFLA_IFNAME leaves the device in the target if its old name is free",
        nothing,
        b"a/b",
    ),
    "invalid-old-taken": (
        "RTM_NEWLINK with a slash in IFLA_IFNAME leaves the device in the source if its old name is taken",
        taken_by_name(b"eth1"),
        b"a/b",
    ),
    "two-templates-old-free": (
        "RTM_NEWLINK with two %d in IFLA_IFNAME leaves the device in the target if its old name is free",
        nothing,
        b"n%d%d",
    ),
    "two-templates-old-taken": (
        "RTM_NEWLINK with two %d in IFLA_IFNAME leaves the device in the source if its old name is taken",
        taken_by_name(b"eth1"),
        b"n%d%d",
    ),
}

TEXTS = {name: text for name, (text, _, _) in CLASHES.items()}
SITUATIONS = {name: (setup, wanted) for name, (_, setup, wanted) in CLASHES.items()}


def situation(world: World, setup: Setup) -> Device:
    device = world.source.device(b"eth1")
    setup(world)
    return device


# Refused before anything changes, but with EINVAL on 5.10.
ERROR_VARIES = dict.fromkeys(("kept-name", "kept-altname"), VARIES)


@probe("clash.{}", SPEC, "{}.", source=MOVE, cases=SITUATIONS, texts=TEXTS, kinds=ERROR_VARIES)
def clash(world: World, setup: Setup, name: bytes) -> Value:
    device = situation(world, setup)
    return world.outcome(device, move(world, device, name))


@probe(
    "clash.{}.place",
    SPEC,
    "A move without IFLA_IFNAME leaves the device in the source if {}.",
    source=MOVE,
    cases={name: SITUATIONS[name] for name in ERROR_VARIES},
    texts={
        "kept-name": "its name is taken",
        "kept-altname": "its name is an alternative name in the target",
    },
)
def clash_place(world: World, setup: Setup, name: bytes) -> Value:
    device = situation(world, setup)
    reply = move(world, device, name)
    return {"refused": reply.error != OK, "device": world.place(device)}


# Refused within the move: explained by an extack text from 6.15 on.
EXPLAINED = ("kept-name", "kept-altname", "same-name", "same-altname", "both-names", "both-of-one-device",
        "invalid-old-taken", "two-templates-old-taken")  # fmt: skip


@probe(
    "clash.words.{}",
    ABI,
    "{}.",
    source=MOVE,
    cases={name: case for name, case in SITUATIONS.items() if "free" not in name},
    texts={
        name: f"The extack text for the move of clash.{name}"
        if name in EXPLAINED
        else f"The move of clash.{name} is answered without an extack text"
        for name in SITUATIONS
    },
    kinds=dict.fromkeys(EXPLAINED, VARIES),
)
def words(world: World, setup: Setup, name: bytes) -> Value:
    device = situation(world, setup)
    return move(world, device, name).said


# ---- the device's own alternative names ----


@probe(
    "clash.own-altname.target-name",
    VARIES,
    "The outcome of a move if one of the device's alternative names is the name of a device in the target.",
    source=ALTNAMES,
)
def own_altname_name(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    world.target.device(b"other")
    return world.outcome(device, move(world, device))


@probe(
    "clash.own-altname.target-altname",
    VARIES,
    "The outcome of a move if one of the device's alternative names is one of another device in the target.",
    source=ALTNAMES,
)
def own_altname_altname(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    with_altname(world.target, b"bystander", b"other")
    return world.outcome(device, move(world, device))


@probe(
    "clash.own-altname.wanted",
    VARIES,
    "The outcome of a move with one of the device's own alternative names as IFLA_IFNAME.",
    source=ALTNAMES,
)
def own_altname_wanted(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    return world.outcome(device, move(world, device, b"other"))


@probe(
    "clash.own-altname.left-behind",
    VARIES,
    "The errno of a new device in the source under an alternative name of the one that left.",
    source=ALTNAMES,
)
def own_altname_behind(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    move(world, device)
    reply = world.source.request(requests.new_link(device.kind, b"other"))
    return {"device": world.place(device), "new device of that name": reply.error}


# ---- swaps, and one after the other ----


@probe(
    "clash.swap.two-names",
    SPEC,
    "Two devices moved one after the other, each to the other's name, both get it.",
    source=MOVE,
)
def swap(world: World) -> Value:
    first, second = world.source.device(b"eth1"), world.source.device(b"eth2")
    errors = [move(world, first, b"eth2").error, move(world, second, b"eth1").error]
    return {"errors": errors, "devices": [world.place(first), world.place(second)]}


@probe(
    "clash.swap.one-datagram",
    ABI,
    "Two devices moved in one datagram, each to the other's name, both get it.",
    source=MOVE,
)
def swap_batch(world: World) -> Value:
    first, second = world.source.device(b"eth1"), world.source.device(b"eth2")
    fd = ns_fd(world.target.fd)
    batch = set_link(first.ifindex, fd + named(b"eth2")) + set_link(second.ifindex, fd + named(b"eth1"))
    errors: list[Value] = [reply.error for reply in world.source.replies(batch)]
    return {"errors": errors, "devices": [world.place(first), world.place(second)]}


@probe(
    "clash.twice.same-name",
    SPEC,
    "Of two devices moved to one name, the second is in the target under its old name.",
    source=MOVE,
)
def twice(world: World) -> Value:
    first, second = world.source.device(b"eth1"), world.source.device(b"eth2")
    errors = [move(world, first, b"net0").error, move(world, second, b"net0").error]
    return {"errors": errors, "devices": [world.place(first), world.place(second)]}


@probe("clash.twice.template", SPEC, "Two devices moved with one template get the numbers 0 and 1.", source=SOURCE)
def twice_template(world: World) -> Value:
    first, second = world.source.device(b"eth1"), world.source.device(b"eth2")
    errors = [move(world, first, b"net%d").error, move(world, second, b"net%d").error]
    return {"errors": errors, "devices": [world.place(first), world.place(second)]}


@probe(
    "clash.back.old-name-taken",
    SPEC,
    "A device stays in the target if its name has been taken in the source meanwhile.",
    source=MOVE,
)
def back(world: World) -> Value:
    device = world.source.device(b"eth1")
    move(world, device)
    world.source.device(b"eth1")
    found = world.find(device)
    if found is None:
        raise SetupFailed("the device was not found after the move")
    reply = world.target.request(set_link(found[1].ifindex, ns_fd(world.source.fd)))
    return {"refused": reply.error != OK, "device": world.place(device)}


@probe(
    "clash.addresses.after-an-error",
    SPEC,
    "A clash that leaves the device in the target drops its addresses.",
    source=MOVE,
)
def addresses(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(requests.address(device.ifindex, "192.0.2.1/24"))
    world.target.device(b"net0")
    reply = move(world, device, b"net0")
    left = sum(len(namespace.dump(uapi.RTM_GETADDR)) for namespace in (world.source, world.target))
    return {"error": reply.error, "device": world.place(device), "addresses": left}
