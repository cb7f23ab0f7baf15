"""Names that are taken: what a move answers, and where the device is after it."""

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
    """The move as netdevns sends it."""
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
    # The name asked for is taken, and the old one is free there: moved first, renamed afterwards.
    "wanted-name": ("the wanted name is a device's there; its old one is free", taken_by_name(b"net0"), b"net0"),
    "wanted-altname": (
        "the wanted name is an alternative name there; its old one is free",
        taken_by_altname(b"net0"),
        b"net0",
    ),
    # No name asked for, and its own is taken there.
    "kept-name": ("it keeps its name, which is a device's there", taken_by_name(b"eth1"), b""),
    "kept-altname": ("it keeps its name, which is an alternative name there", taken_by_altname(b"eth1"), b""),
    # Its own is asked for.
    "same-name": ("its own name is asked for, and is a device's there", taken_by_name(b"eth1"), b"eth1"),
    "same-altname": ("its own name is asked for, and is an alternative name there", taken_by_altname(b"eth1"), b"eth1"),
    "same-free": ("its own name is asked for, and is free", nothing, b"eth1"),
    # Its own is taken there and another one asked for: renamed within the move.
    "old-name": ("the wanted name is free; its old one is a device's there", taken_by_name(b"eth1"), b"net0"),
    "old-altname": (
        "the wanted name is free; its old one is an alternative name there",
        taken_by_altname(b"eth1"),
        b"net0",
    ),
    # Both are taken.
    "both-names": ("the wanted name and its old one are two devices' there", both_by_name, b"net0"),
    "both-of-one-device": (
        "the wanted name and its old one are one device's name and alternative name there",
        both_by_altname,
        b"net0",
    ),
    # Templates: the kernel chooses the number.
    "template-free": ("a template, and no name there is like it", nothing, b"net%d"),
    "template-zero-taken": ("a template, and 0 is a device's there", taken_by_name(b"net0"), b"net%d"),
    "template-zero-altname": ("a template, and 0 is an alternative name there", taken_by_altname(b"net0"), b"net%d"),
    "template-old-taken": ("a template, and its old name is a device's there", taken_by_name(b"eth1"), b"net%d"),
    "template-old-altname": (
        "a template, and its old name is an alternative name there",
        taken_by_altname(b"eth1"),
        b"net%d",
    ),
    "template-own-prefix": ("a template that its old name fits, which is free there", nothing, b"eth%d"),
    "template-own-prefix-taken": (
        "a template that its old name fits, which is a device's there",
        taken_by_name(b"eth1"),
        b"eth%d",
    ),
    # A name that no device may have.
    "invalid-old-free": ("a name with a slash is asked for; its old one is free there", nothing, b"a/b"),
    "invalid-old-taken": (
        "a name with a slash is asked for; its old one is a device's there",
        taken_by_name(b"eth1"),
        b"a/b",
    ),
    "two-templates-old-free": ("a name with two %d is asked for; its old one is free there", nothing, b"n%d%d"),
    "two-templates-old-taken": (
        "a name with two %d is asked for; its old one is a device's there",
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


# Refused before anything was done, but with EINVAL on 5.10.
ERROR_VARIES = dict.fromkeys(("kept-name", "kept-altname"), VARIES)


@probe("clash.{}", SPEC, "A move: {}.", source=MOVE, cases=SITUATIONS, texts=TEXTS, kinds=ERROR_VARIES)
def clash(world: World, setup: Setup, name: bytes) -> Value:
    device = situation(world, setup)
    return world.outcome(device, move(world, device, name))


@probe(
    "clash.{}.place",
    SPEC,
    "Where the device is after a move, whatever the errno: {}.",
    source=MOVE,
    cases={name: SITUATIONS[name] for name in ERROR_VARIES},
    texts=TEXTS,
)
def clash_place(world: World, setup: Setup, name: bytes) -> Value:
    device = situation(world, setup)
    reply = move(world, device, name)
    return {"refused": reply.error != OK, "device": world.place(device)}


# What is refused within the move has words, in 6.18 for the first time.
TOLD = ("kept-name", "kept-altname", "same-name", "same-altname", "both-names", "both-of-one-device",
        "invalid-old-taken", "two-templates-old-taken")  # fmt: skip


@probe(
    "clash.words.{}",
    ABI,
    "The kernel's words on a move: {}.",
    source=MOVE,
    cases={name: case for name, case in SITUATIONS.items() if "free" not in name},
    texts=TEXTS,
    kinds=dict.fromkeys(TOLD, VARIES),
)
def words(world: World, setup: Setup, name: bytes) -> Value:
    device = situation(world, setup)
    return move(world, device, name).said


# ---- its own alternative names ----


@probe(
    "clash.own-altname.target-name", VARIES, "An alternative name of its own is a device's name there.", source=ALTNAMES
)
def own_altname_name(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    world.target.device(b"other")
    return world.outcome(device, move(world, device))


@probe("clash.own-altname.target-altname", VARIES, "An alternative name of its own is one there, too.", source=ALTNAMES)
def own_altname_altname(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    with_altname(world.target, b"bystander", b"other")
    return world.outcome(device, move(world, device))


@probe(
    "clash.own-altname.wanted",
    VARIES,
    "The name asked for is an alternative name of the device itself.",
    source=ALTNAMES,
)
def own_altname_wanted(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    return world.outcome(device, move(world, device, b"other"))


@probe(
    "clash.own-altname.left-behind", VARIES, "The alternative name is free in the source afterwards.", source=ALTNAMES
)
def own_altname_behind(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    move(world, device)
    reply = world.source.request(requests.new_link(device.kind, b"other"))
    return {"device": world.place(device), "new device of that name": reply.error}


# ---- swaps, and one after the other ----


@probe(
    "clash.swap.two-names", SPEC, "Two devices swap their names on the way: the first takes the other's.", source=MOVE
)
def swap(world: World) -> Value:
    first, second = world.source.device(b"eth1"), world.source.device(b"eth2")
    errors = [move(world, first, b"eth2").error, move(world, second, b"eth1").error]
    return {"errors": errors, "devices": [world.place(first), world.place(second)]}


@probe("clash.swap.one-datagram", ABI, "The same with both moves in one datagram.", source=MOVE)
def swap_batch(world: World) -> Value:
    first, second = world.source.device(b"eth1"), world.source.device(b"eth2")
    fd = ns_fd(world.target.fd)
    batch = set_link(first.ifindex, fd + named(b"eth2")) + set_link(second.ifindex, fd + named(b"eth1"))
    errors: list[Value] = [reply.error for reply in world.source.replies(batch)]
    return {"errors": errors, "devices": [world.place(first), world.place(second)]}


@probe(
    "clash.twice.same-name",
    SPEC,
    "Two devices ask for one name: the second is in the target under its own.",
    source=MOVE,
)
def twice(world: World) -> Value:
    first, second = world.source.device(b"eth1"), world.source.device(b"eth2")
    errors = [move(world, first, b"net0").error, move(world, second, b"net0").error]
    return {"errors": errors, "devices": [world.place(first), world.place(second)]}


@probe("clash.twice.template", SPEC, "Two devices ask for one template: they get 0 and 1.", source=SOURCE)
def twice_template(world: World) -> Value:
    first, second = world.source.device(b"eth1"), world.source.device(b"eth2")
    errors = [move(world, first, b"net%d").error, move(world, second, b"net%d").error]
    return {"errors": errors, "devices": [world.place(first), world.place(second)]}


@probe("clash.back.old-name-taken", SPEC, "A device that comes back to a name that was taken meanwhile.", source=MOVE)
def back(world: World) -> Value:
    device = world.source.device(b"eth1")
    move(world, device)
    world.source.device(b"eth1")
    found = world.find(device)
    if found is None:
        raise SetupFailed("the device was lost on the way there")
    reply = world.target.request(set_link(found[1].ifindex, ns_fd(world.source.fd)))
    return {"refused": reply.error != OK, "device": world.place(device)}


@probe("clash.addresses.after-an-error", SPEC, "After a clash that moved it, its addresses are gone.", source=MOVE)
def addresses(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(requests.address(device.ifindex, "192.0.2.1/24"))
    world.target.device(b"net0")
    reply = move(world, device, b"net0")
    left = sum(len(namespace.dump(uapi.RTM_GETADDR)) for namespace in (world.source, world.target))
    return {"error": reply.error, "device": world.place(device), "addresses": left}
