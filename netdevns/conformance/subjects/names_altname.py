"""Alternative names in a move: do they travel, are they known there, and what is left of them in the source."""

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
    """The alternative names that the target shows of a device; None where it is not there."""
    link = world.target.link(name)
    return None if link is None else [each.decode("latin-1") for each in link.altnames]


@probe("names.altname.shown", ABI, "Alternative names travel, in their order.", source=LISTED)
def travels(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(altnames(device.ifindex, [b"one", b"two", b"three"]))
    move(world, device)
    return shown(world)


@probe("names.altname.renamed", ABI, "They travel with a device that is renamed on the way, too.", source=LISTED)
def renamed(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    move(world, device, b"net0")
    return shown(world, b"net0")


@probe("names.altname.found", VARIES, "The target finds the device by its alternative name.", source=LOOKUP)
def found(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    move(world, device)
    return world.target.request(wire.get_link(0, b"other")).error


@probe("names.altname.found-in-source", VARIES, "The source finds a device by an alternative name of one that left.",
       source=LOOKUP)  # fmt: skip
def found_in_source(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    move(world, device)
    return world.source.request(wire.get_link(0, b"other")).error


@probe("names.altname.deleted", VARIES, "An alternative name that travelled can be removed in the target.",
       source=HASHED)  # fmt: skip
def deleted(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    move(world, device)
    reply = world.target.request(altnames(device.ifindex, [b"other"], uapi.RTM_DELLINKPROP))
    return {"error": reply.error, "shown": shown(world)}


@probe("names.altname.reused", VARIES, "The source may give an alternative name of one that left to another device.",
       source=HASHED)  # fmt: skip
def reused(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    another = world.source.device(b"eth2")
    move(world, device)
    return world.source.request(altnames(another.ifindex, [b"other"])).error


@probe("names.altname.back", ABI, "A device that comes back is found by its alternative name again.", source=HASHED)
def back(world: World) -> Value:
    device = with_altname(world.source, b"eth1", b"other")
    move(world, device)
    world.target.must(set_link(device.ifindex, ns_fd(world.source.fd)))
    return {"error": world.source.request(wire.get_link(0, b"other")).error, "device": world.place(device)}


@probe(
    "names.altname.wanted-in-place",
    ABI,
    "A device is renamed, where it is, to an alternative name of its own.",
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
    "An alternative name that no name may be: {}. Whether it can be given, and travels.",
    source=ADDED,
    cases={name: (text,) for name, text in ODD.items()},
)
def odd(world: World, text: bytes) -> Value:
    device = world.source.device(b"eth1")
    added = world.source.request(altnames(device.ifindex, [text])).error
    reply = move(world, device)
    link = world.target.link(b"eth1")
    return {"added": added, "moved": reply.error, "shown": link is not None and text in link.altnames}
