"""Stacked devices and veth pairs: what happens to one device when the other one moves."""

from __future__ import annotations

import time
from itertools import product

from ...netlink import uapi, wire
from ..probe import ABI, SPEC, VARIES, Value, probe
from ..requests import del_link, ns_fd, set_link
from ..world import Device, SetupFailed, World
from .clash import move
from .kinds import KINDS, Make, lower
from .links import HAND_MAC

EVENT = "the driver's NETDEV_UNREGISTER: vlan_device_event, macvlan_device_event, ipvlan_device_event, ..."
FILL = "net/core/rtnetlink.c, rtnl_fill_link_netnsid; dev_get_iflink"
IFLA_CARRIER = 33
DEFERRED_S, WATCH_S = 10.0, 0.2  # for a change that is expected; for one that is not
THREE = ("vlan", "macvlan", "ipvlan")
STACKED = {name: (KINDS[name],) for name in (*THREE, "macvtap", "vxlan-over", "macsec")}
ORDERS = (*product(THREE, ("upper", "lower")), ("vxlan-over", "upper"), ("macsec", "upper"))
CLASSES = {**dict.fromkeys(THREE, SPEC), "macvtap": VARIES}  # 5.10 reports no IFLA_LINK_NETNSID for a macvtap
NAMES = {"vlan": "VLAN", "macvlan": "macvlan", "ipvlan": "ipvlan", "vxlan-over": "vxlan", "macsec": "macsec device"}
A = {name: f"{'An' if name == 'ipvlan' else 'A'} {text}" for name, text in NAMES.items()}
MAIN = {name: (KINDS[name],) for name in THREE}


def stack(world: World, make: Make, up: bool = True) -> tuple[Device, Device]:
    """A lower device and one over it."""
    below = lower(world.source)
    world.source.must(set_link(below.ifindex, up=True))  # first: VLANs on it would be set up with it
    above = make(world.source)
    if up:
        world.source.must(set_link(above.ifindex, up=True))
    return below, above


def must_go(world: World, device: Device, *, back: bool = False) -> None:
    """Moves a device to the target, or back."""
    here, there = (world.target, world.source) if back else (world.source, world.target)
    found = world.find(device)
    if found is None or found[0] != here.name:
        raise SetupFailed("the device is not in the expected namespace")
    reply = here.request(set_link(found[1].ifindex, ns_fd(there.fd)))
    if reply.error != "ok":
        raise SetupFailed(f"a move: {reply.error} {reply.extack}".rstrip())


def link_of(world: World, device: Device, other: Device) -> Value:
    """Whether IFLA_LINK is the other device's ifindex, and whether it is elsewhere (IFLA_LINK_NETNSID)."""
    found, target = world.find(device), world.find(other)
    if found is None:
        return None
    attributes = world.namespaces[found[0]].attributes(found[1].ifindex)
    ifindex = wire.u32(attributes.get(uapi.IFLA_LINK))
    numbers = {found[1].ifindex: "own", None: "none", 0: "none"} | ({target[1].ifindex: "right"} if target else {})
    return {"ifindex": numbers.get(ifindex, "wrong"),
            "elsewhere": uapi.IFLA_LINK_NETNSID in attributes}  # fmt: skip


def state(world: World, device: Device) -> str:
    return world.place(device).rpartition(" ")[2]


def settled(world: World, device: Device, before: str, lower: str = "down") -> str:
    """The state of an upper device after its lower one has changed to `lower`.

    From 7.x on, a VLAN follows its lower device from a work queue, possibly after the ack; other kinds follow at once.
    """
    wait_s = WATCH_S if before == lower else DEFERRED_S
    end = time.monotonic() + (wait_s if device.kind == b"vlan" else 0)
    while (now := state(world, device)) == before and time.monotonic() < end:
        time.sleep(0.002)
    return now


@probe(
    "kinds.upper-moves.{}",
    ABI,
    "{}.",
    source=FILL,
    cases=STACKED,
    texts={
        **{
            name: f"{text} that moves refers to its lower device by IFLA_LINK and its namespace's id"
            for name, text in A.items()
        },
        "macvtap": "IFLA_LINK and IFLA_LINK_NETNSID of a macvtap that moves",
        "vxlan-over": "A vxlan that moves has its own ifindex in IFLA_LINK, and an IFLA_LINK_NETNSID",
    },
    kinds=CLASSES,
)
def upper_moves(world: World, make: Make) -> Value:
    below, above = stack(world, make)
    reply = move(world, above)
    return {"error": reply.error, "device": world.place(above), "link": link_of(world, above, below)}


@probe(
    "kinds.lower-moves.{}",
    ABI,
    "{}.",
    source=EVENT,
    cases=STACKED,
    texts={
        "vlan": "A VLAN goes down when its lower device moves, and refers to it by IFLA_LINK and its namespace's id",
        "macvlan": "A macvlan stays up when its lower device moves, and refers to it by IFLA_LINK and an id",
        "ipvlan": "An ipvlan stays up when its lower device moves, and refers to it by IFLA_LINK and an id",
        "macvtap": "State, IFLA_LINK and IFLA_LINK_NETNSID of a macvtap whose lower device moves",
        "vxlan-over": "A vxlan is deleted when its lower device moves",
        "macsec": "A macsec device is deleted when its lower device moves",
    },
    kinds=CLASSES,
)
def lower_moves(world: World, make: Make) -> Value:
    below, above = stack(world, make)
    reply = move(world, below)
    settled(world, above, "up")
    return {"error": reply.error, "lower": world.place(below), "upper": world.place(above),
            "link": link_of(world, above, below)}  # fmt: skip


@probe(
    "kinds.lower-moves.vlan-order",
    VARIES,
    "The order in which the source learns that a VLAN's lower device has left, and that the VLAN is down.",
    source="net/8021q/vlan.c, vlan_device_event, NETDEV_DOWN: within the move, or from a work queue after it",
)
def lower_moves_order(world: World) -> Value:
    below, above = stack(world, KINDS["vlan"])
    listener = world.source.listener(1)
    seen: list[str] = []

    def is_last(message: wire.Message) -> bool:
        link = wire.Link(message.body)
        if link.ifindex == below.ifindex and message.type == uapi.RTM_DELLINK:
            seen.append("it is gone")
        if link.ifindex == above.ifindex and not link.flags & uapi.IFF_UP:
            seen.append("the VLAN is down")
        return len(set(seen)) == 2

    must_go(world, below)
    listener.until(is_last)
    return list(dict.fromkeys(seen))


@probe(
    "kinds.both-move.{}",
    SPEC,
    "{}.",
    source=FILL,
    cases={f"{name}-{order}-first": (KINDS[name], order == "upper") for name, order in ORDERS},
    texts={
        **{
            f"{name}-{order}-first": f"{A[name]} refers to its lower device after both moved, the {order} one first"
            for name, order in ORDERS
        },
        "vxlan-over-upper-first": "A vxlan that moved is deleted when its lower device follows",
        "macsec-upper-first": "A macsec device that moved is deleted when its lower device follows",
    },
    kinds={"vxlan-over-upper-first": ABI, "macsec-upper-first": ABI},
)
def both_move(world: World, make: Make, upper_first: bool) -> Value:
    below, above = stack(world, make)
    for device in (above, below) if upper_first else (below, above):
        must_go(world, device)
    return {"lower": world.place(below), "upper": world.place(above), "link": link_of(world, above, below)}


@probe("kinds.both-move.new-ifindex", ABI,
       "IFLA_LINK follows when the lower device gets another ifindex in the target.",
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
    "{} that comes back refers to its lower device by IFLA_LINK, without IFLA_LINK_NETNSID.",
    source=FILL,
    cases=MAIN,
    texts=A,
)
def upper_back(world: World, make: Make) -> Value:
    below, above = stack(world, make)
    must_go(world, above)
    must_go(world, above, back=True)
    return {"device": world.place(above), "link": link_of(world, above, below)}


@probe(
    "kinds.lower-back.{}",
    ABI,
    "While its lower device moves away, comes back and is set up, {}.",
    source="net/8021q/vlan.c, vlan_device_event, NETDEV_UP",
    cases={f"{name}-{state}": (KINDS[name], state == "up") for name in THREE for state in ("up", "down")},
    texts={
        "vlan-up": "a VLAN that is up goes down, and comes up with it",
        "vlan-down": "a VLAN that is down comes up with it",
        **{f"{name}-{state}": f"{A[name].lower()} stays {state}" for name in THREE[1:] for state in ("up", "down")},
    },
)
def lower_back(world: World, make: Make, up: bool) -> Value:
    below, above = stack(world, make, up)
    states = [state(world, above)]
    must_go(world, below)
    states.append(settled(world, above, states[-1]))
    must_go(world, below, back=True)
    states.append(settled(world, above, states[-1]))
    world.source.must(set_link(world.source.known(below.name).ifindex, up=True))
    states.append(settled(world, above, states[-1], "up"))
    return states


@probe(
    "kinds.upper-up.{}",
    ABI,
    "While its lower device, in the source, is down, {}.",
    source="net/8021q/vlan_dev.c, vlan_dev_open; macvlan and ipvlan do not check it",
    cases=MAIN,
    texts={
        "vlan": "a VLAN in the target cannot be set up (ENETDOWN)",
        "macvlan": "a macvlan in the target can be set up",
        "ipvlan": "an ipvlan in the target can be set up",
    },
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
    "{} when its lower device, in the source, is set down.",
    source="net/8021q/vlan.c, macvlan_device_event, ipvlan_device_event: NETDEV_DOWN",
    cases=MAIN,
    texts={
        "vlan": "A VLAN in the target goes down",
        "macvlan": "A macvlan in the target loses its carrier and stays up",
        "ipvlan": "State and carrier of an ipvlan in the target",
    },
    kinds={"ipvlan": VARIES},
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
    return {"before": before, "after": [settled(world, above, "up"), carrier(world, ifindex)]}


def carrier(world: World, ifindex: int) -> Value:
    data = world.target.attributes(ifindex).get(IFLA_CARRIER)
    return None if data is None else f"carrier {wire.u8(data)}"


@probe(
    "kinds.lower-deleted.{}",
    ABI,
    "{} in the target is deleted with its lower device in the source.",
    source=EVENT,
    cases=MAIN,
    texts=A,
)
def lower_deleted(world: World, make: Make) -> Value:
    below, above = stack(world, make)
    must_go(world, above)
    reply = world.source.request(del_link(below.ifindex))
    return {"error": reply.error, "device": world.place(above)}


# ---- MAC addresses ----


@probe(
    "kinds.lower-mac.{}",
    ABI,
    "{} across namespaces.",
    source="net/8021q/vlan.c, vlan_sync_address; ipvlan_device_event, NETDEV_CHANGEADDR; macvlan does so in passthru",
    cases=MAIN,
    texts={
        "vlan": "A VLAN has its lower device's MAC address, and follows its changes,",
        "macvlan": "A macvlan has a MAC address of its own, and keeps it,",
        "ipvlan": "An ipvlan has its lower device's MAC address, and follows its changes,",
    },
)
def lower_mac(world: World, make: Make) -> Value:
    below = world.source.make(b"veth", b"low0")  # an ifb cannot change it
    _, above = stack(world, make)
    must_go(world, above)
    world.target.must(
        set_link(world.target.known(above.name).ifindex, up=True)
    )  # a VLAN that is down takes it on IFF_UP
    seen = [world.target.known(above.name).mac == below.mac]
    world.source.must(set_link(below.ifindex, wire.attr(uapi.IFLA_ADDRESS, HAND_MAC)))
    seen.append(world.target.known(above.name).mac == HAND_MAC)
    return {"the same": seen[0], "follows": seen[1]}


# ---- veth ----


def pair(world: World) -> tuple[Device, Device]:
    return world.source.make(b"veth", b"eth1"), world.source.known(b"p-eth1")


def views(world: World, one: Device, other: Device) -> Value:
    return [link_of(world, one, other), link_of(world, other, one)]


@probe("kinds.veth.link", ABI,
       "A veth's ends refer to each other by IFLA_LINK, and IFLA_LINK_NETNSID while they are apart.",
       source=FILL)  # fmt: skip
def veth_link(world: World) -> Value:
    one, other = pair(world)
    seen = {"before": views(world, one, other)}
    must_go(world, one)
    seen["one moved"] = views(world, one, other)
    must_go(world, other)
    seen["both moved"] = views(world, one, other)
    return seen


@probe("kinds.veth.third", ABI, "A veth's ends refer to each other after both have moved to different namespaces.",
       source=FILL)  # fmt: skip
def veth_third(world: World) -> Value:
    one, other = pair(world)
    must_go(world, one)
    world.source.must(set_link(other.ifindex, ns_fd(world.namespace("third").fd)))
    return {"places": [world.place(one), world.place(other)], "links": views(world, one, other)}


@probe("kinds.veth.carrier", SPEC,
       "A veth's end that stays loses its carrier, and regains it after IFF_UP of the other end.",
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


@probe("kinds.veth.peer-deleted", ABI, "Deleting a veth's end in the source deletes the other one in the target.",
       source="drivers/net/veth.c, veth_dellink")  # fmt: skip
def veth_deleted(world: World) -> Value:
    one, other = pair(world)
    must_go(world, one)
    reply = world.source.request(del_link(other.ifindex))
    return {"error": reply.error, "device": world.place(one)}
