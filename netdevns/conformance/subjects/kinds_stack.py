"""Devices over others, and veth pairs: what becomes of one where the other one moves."""

from __future__ import annotations

from ... import uapi, wire
from ..probe import ABI, SPEC, VARIES, Value, probe
from ..requests import del_link, ns_fd, set_link
from ..world import Device, SetupFailed, World
from .clash import move
from .kinds import KINDS, Make, lower

EVENT = "the driver's NETDEV_UNREGISTER: vlan_device_event, macvlan_device_event, ipvlan_device_event, ..."
FILL = "net/core/rtnetlink.c, rtnl_fill_link_netnsid; dev_get_iflink"
IFLA_CARRIER = 33
THREE = ("vlan", "macvlan", "ipvlan")
STACKED = {name: (KINDS[name],) for name in (*THREE, "macvtap", "vxlan-over", "macsec")}
CLASSES = {**dict.fromkeys(THREE, SPEC), "macvtap": VARIES}  # 5.10 tells no IFLA_LINK_NETNSID of a macvtap
MAIN = {name: (KINDS[name],) for name in THREE}


def stack(world: World, make: Make, up: bool = True) -> tuple[Device, Device]:
    """A lower device and one over it."""
    below = lower(world.source)
    world.source.must(set_link(below.ifindex, up=True))  # first: it takes the VLANs that it has then along
    above = make(world.source)
    if up:
        world.source.must(set_link(above.ifindex, up=True))
    return below, above


def must_go(world: World, device: Device, *, back: bool = False) -> None:
    """There, or back again."""
    here, there = (world.target, world.source) if back else (world.source, world.target)
    found = world.find(device)
    if found is None or found[0] != here.name:
        raise SetupFailed("the device is not where it should be")
    reply = here.request(set_link(found[1].ifindex, ns_fd(there.fd)))
    if reply.error != "ok":
        raise SetupFailed(f"a move: {reply.error} {reply.extack}".rstrip())


def link_of(world: World, device: Device, other: Device) -> Value:
    """What IFLA_LINK says of another device: is it that one's ifindex, and is it elsewhere (IFLA_LINK_NETNSID)."""
    found, target = world.find(device), world.find(other)
    if found is None:
        return None
    attributes = world.namespaces[found[0]].attributes(found[1].ifindex)
    ifindex = wire.u32(attributes.get(uapi.IFLA_LINK))
    numbers = {found[1].ifindex: "own", None: "none", 0: "none"} | ({target[1].ifindex: "right"} if target else {})
    return {"ifindex": numbers.get(ifindex, "wrong"),
            "elsewhere": uapi.IFLA_LINK_NETNSID in attributes}  # fmt: skip


@probe(
    "kinds.upper-moves.{}",
    ABI,
    "A {} that is up moves, and its lower device stays: where it is, and what IFLA_LINK says.",
    source=FILL,
    cases=STACKED,
    kinds=CLASSES,
)
def upper_moves(world: World, make: Make) -> Value:
    below, above = stack(world, make)
    reply = move(world, above)
    return {"error": reply.error, "device": world.place(above), "link": link_of(world, above, below)}


@probe(
    "kinds.lower-moves.{}",
    ABI,
    "The lower device of a {} that is up moves, and that one stays: where it is, and what IFLA_LINK says.",
    source=EVENT,
    cases=STACKED,
    kinds=CLASSES,
)
def lower_moves(world: World, make: Make) -> Value:
    below, above = stack(world, make)
    reply = move(world, below)
    return {"error": reply.error, "lower": world.place(below), "upper": world.place(above),
            "link": link_of(world, above, below)}  # fmt: skip


@probe(
    "kinds.both-move.{}",
    SPEC,
    "A device and its lower one move one after the other: {}. Where they are, and what IFLA_LINK says.",
    source=FILL,
    cases={f"{name}-{order}-first": (KINDS[name], order == "upper") for name in THREE for order in ("upper", "lower")},
)
def both_move(world: World, make: Make, upper_first: bool) -> Value:
    below, above = stack(world, make)
    for device in (above, below) if upper_first else (below, above):
        must_go(world, device)
    return {"lower": world.place(below), "upper": world.place(above), "link": link_of(world, above, below)}


@probe("kinds.both-move.new-ifindex", ABI, "The lower device gets another ifindex on its way: IFLA_LINK follows.",
       source="drivers/net/macvlan.c, macvlan_dev_get_iflink")  # fmt: skip
def new_ifindex(world: World) -> Value:
    below, above = stack(world, KINDS["macvlan"])
    # The target's ifindexes are taken up to the lower one's.
    for number in range(below.ifindex):
        world.target.make(b"bridge", b"br%d" % number)
    for device in (above, below):
        must_go(world, device)
    found = world.find(below)
    return {"same ifindex": found is not None and found[1].ifindex == below.ifindex,
            "link": link_of(world, above, below)}  # fmt: skip


@probe(
    "kinds.upper-back.{}",
    ABI,
    "A {} that moved comes back to its lower device: what IFLA_LINK says.",
    source=FILL,
    cases=MAIN,
)
def upper_back(world: World, make: Make) -> Value:
    below, above = stack(world, make)
    must_go(world, above)
    must_go(world, above, back=True)
    return {"device": world.place(above), "link": link_of(world, above, below)}


@probe(
    "kinds.lower-back.{}",
    SPEC,
    "The lower device of one that stayed goes, comes back and is set up: the state of the other one after each. {}.",
    source="net/8021q/vlan.c, vlan_device_event, NETDEV_UP",
    cases={f"{name}-{state}": (KINDS[name], state == "up") for name in THREE for state in ("up", "down")},
)
def lower_back(world: World, make: Make, up: bool) -> Value:
    below, above = stack(world, make, up)
    states = [state(world, above)]
    must_go(world, below)
    states.append(state(world, above))
    must_go(world, below, back=True)
    states.append(state(world, above))
    world.source.must(set_link(world.source.known(below.name).ifindex, up=True))
    states.append(state(world, above))
    return states


def state(world: World, device: Device) -> str:
    return world.place(device).rpartition(" ")[2]


@probe(
    "kinds.upper-up.{}",
    SPEC,
    "A {} is set up in the target, while its lower device, in the source, is down.",
    source="net/8021q/vlan_dev.c, vlan_dev_open; macvlan and ipvlan do not look",
    cases=MAIN,
)
def upper_up(world: World, make: Make) -> Value:
    below, above = stack(world, make, up=False)
    world.source.must(set_link(below.ifindex, up=False))
    must_go(world, above)
    reply = world.target.request(set_link(world.target.known(above.name).ifindex, up=True))
    return {"error": reply.error, "device": world.place(above)}


@probe(
    "kinds.lower-down.{}",
    ABI,
    "The lower device is set down in the source; its {} in the target was up.",
    source="net/8021q/vlan.c, macvlan_device_event, ipvlan_device_event: NETDEV_DOWN",
    cases=MAIN,
)
def lower_down(world: World, make: Make) -> Value:
    # An ifb keeps its carrier when it is down.
    below = world.source.make(b"veth", b"low0")
    world.source.must(set_link(world.source.known(b"p-low0").ifindex, up=True))
    _, above = stack(world, make, up=False)
    must_go(world, above)
    ifindex = world.target.known(above.name).ifindex
    world.target.must(set_link(ifindex, up=True))
    before = [state(world, above), carrier(world, ifindex)]
    world.source.must(set_link(below.ifindex, up=False))
    return {"before": before, "after": [state(world, above), carrier(world, ifindex)]}


def carrier(world: World, ifindex: int) -> Value:
    data = world.target.attributes(ifindex).get(IFLA_CARRIER)
    return None if data is None else f"carrier {wire.u8(data)}"


@probe(
    "kinds.lower-deleted.{}",
    ABI,
    "The lower device is deleted in the source; its {} is in the target.",
    source=EVENT,
    cases=MAIN,
)
def lower_deleted(world: World, make: Make) -> Value:
    below, above = stack(world, make)
    must_go(world, above)
    reply = world.source.request(del_link(below.ifindex))
    return {"error": reply.error, "device": world.place(above)}


# ---- veth ----


def pair(world: World) -> tuple[Device, Device]:
    return world.source.make(b"veth", b"eth1"), world.source.known(b"p-eth1")


def views(world: World, one: Device, other: Device) -> Value:
    return [link_of(world, one, other), link_of(world, other, one)]


@probe("kinds.veth.link", ABI, "What both ends of a veth say of each other: before, one moved, both moved.",
       source=FILL)  # fmt: skip
def veth_link(world: World) -> Value:
    one, other = pair(world)
    seen = {"before": views(world, one, other)}
    must_go(world, one)
    seen["one moved"] = views(world, one, other)
    must_go(world, other)
    seen["both moved"] = views(world, one, other)
    return seen


@probe("kinds.veth.third", ABI, "The same, where the two ends are in two namespaces and neither is where they began.",
       source=FILL)  # fmt: skip
def veth_third(world: World) -> Value:
    one, other = pair(world)
    must_go(world, one)
    world.source.must(set_link(other.ifindex, ns_fd(world.namespace("third").fd)))
    return {"places": [world.place(one), world.place(other)], "links": views(world, one, other)}


@probe("kinds.veth.carrier", SPEC, "The end of a veth that stays loses its carrier, and has it again after IFF_UP.",
       source="drivers/net/veth.c, veth_open and veth_close")  # fmt: skip
def veth_carrier(world: World) -> Value:
    one, other = pair(world)
    for device in (other, one):
        world.source.must(set_link(device.ifindex, up=True))

    def has_carrier() -> bool:
        return world.source.attributes(other.ifindex)[IFLA_CARRIER][0] == 1

    seen = [has_carrier()]
    must_go(world, one)
    seen.append(has_carrier())
    world.target.must(set_link(world.target.known(b"eth1").ifindex, up=True))
    seen.append(has_carrier())
    return {"before, moved, up": seen, "other": world.place(other)}


@probe("kinds.veth.peer-deleted", ABI, "An end of a veth is deleted in the source; the other one is in the target.",
       source="drivers/net/veth.c, veth_dellink")  # fmt: skip
def veth_deleted(world: World) -> Value:
    one, other = pair(world)
    must_go(world, one)
    reply = world.source.request(del_link(other.ifindex))
    return {"error": reply.error, "device": world.place(one)}
