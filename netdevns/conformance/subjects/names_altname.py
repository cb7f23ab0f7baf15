"""Alternative names in a move: whether they travel, are found in the target, and remain in the source."""

from __future__ import annotations

from ...netlink import uapi, wire
from ..probe import ABI, VARIES, Value, probe
from ..requests import altnames, named, ns_fd, set_link
from ..world import World
from .clash import move, with_altname

LISTED = "net/core/rtnetlink.c, rtnl_fill_prop_list"
HASHED = "net/core/dev.c, __dev_change_net_namespace, unlist_netdevice and list_netdevice"
ADDED = "net/core/rtnetlink.c, rtnl_alt_ifname; net/core/dev.c, netdev_name_node_alt_create"
LOOKUP = "net/core/rtnetlink.c, rtnl_dev_get"


def shown(world: World, name: bytes = b"eth1") -> Value:
    """The alternative names of a device in the target; None where it is not there."""
    link = world.target.link(name)
    return None if link is None else [each.decode("latin-1") for each in link.altnames]


@probe("names.altname.shown", ABI, "Alternative names travel, in their order.", source=LISTED)
def travels(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(altnames(device.ifindex, [b"one", b"two", b"three"]))
    move(world, device)
    return shown(world)


@probe(
    "names.altname.renamed", ABI, "Alternative names travel with a device that is renamed in the move.", source=LISTED
)
def renamed(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    move(world, device, b"net0")
    return shown(world, b"net0")


@probe(
    "names.altname.found",
    VARIES,
    "The errno of a look-up in the target by an alternative name that travelled.",
    source=LOOKUP,
)
def found(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    move(world, device)
    return world.target.request(wire.get_link(0, b"other")).error


@probe("names.altname.found-in-source", VARIES,
       "The errno of a look-up in the source by an alternative name of a device that left.",
       source=LOOKUP)  # fmt: skip
def found_in_source(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    move(world, device)
    return world.source.request(wire.get_link(0, b"other")).error


@probe("names.altname.deleted", VARIES, "The outcome of removing an alternative name that travelled, in the target.",
       source=HASHED)  # fmt: skip
def deleted(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    move(world, device)
    reply = world.target.request(altnames(device.ifindex, [b"other"], uapi.RTM_DELLINKPROP))
    return {"error": reply.error, "shown": shown(world)}


@probe("names.altname.reused", VARIES,
       "The errno of adding to another device in the source an alternative name of the one that left.",
       source=HASHED)  # fmt: skip
def reused(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    another = world.source.device(b"eth2")
    move(world, device)
    return world.source.request(altnames(another.ifindex, [b"other"])).error


@probe("names.altname.back", ABI, "A device that came back is found by its alternative name.", source=HASHED)
def back(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    move(world, device)
    world.target.must(set_link(device.ifindex, ns_fd(world.source.fd)))
    return {"error": world.source.request(wire.get_link(0, b"other")).error, "device": world.place(device)}


@probe(
    "names.altname.wanted-in-place",
    ABI,
    "Renaming a device, in place, to one of its alternative names is refused with EEXIST.",
    source="net/core/dev.c, dev_change_name",
)
def wanted_in_place(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    return world.outcome(device, world.source.request(set_link(device.ifindex, named(b"other"))))


ODD = {
    "127-bytes": b"x" * 127,
    "128-bytes": b"x" * 128,
    "empty": b"",
    "slash": b"a/b",
    "space": b"a b",
    "template": b"net%d",
    "own-name": b"eth1",
}


@probe(
    "names.altname-odd.{}",
    ABI,
    "An alternative name {}.",
    source=ADDED,
    cases={name: (text,) for name, text in ODD.items()},
    texts={
        "127-bytes": "of 127 bytes is accepted, and travels",
        "128-bytes": "of 128 bytes is refused with ERANGE",
        "empty": "that is empty is accepted, and travels",
        "slash": "with a slash is accepted, and travels",
        "space": "with a space is accepted, and travels",
        "template": "with %d is accepted, and travels",
        "own-name": "that is the device's own name is refused with EEXIST",
    },
)
def odd(world: World, text: bytes) -> Value:
    device = world.source.device(b"eth1")
    added = world.source.request(altnames(device.ifindex, [text])).error
    reply = move(world, device)
    link = world.target.link(b"eth1")
    return {"added": added, "moved": reply.error, "shown": link is not None and text in link.altnames}
