"""Who is told of a move: which notifications, in which order, in which namespace, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from ...netlink import uapi, wire
from .. import requests
from ..probe import ABI, SPEC, VARIES, Value, probe
from ..requests import address, named, ns_fd, set_link
from ..world import Device, Listener, Namespace, World
from .raw import Raw, flagged, kinds, numbered

MOVE = "net/core/dev.c, __dev_change_net_namespace"
CHANGE_NAME = "net/core/dev.c, dev_change_name and netif_change_name"
ROUTES = "net/ipv4/fib_semantics.c, fib_sync_down_dev; net/ipv4/fib_trie.c, fib_table_flush"
LINK, NEIGH, ADDR4, ROUTE4, ADDR6, ROUTE6 = 1, 3, 5, 7, 9, 11  # RTNLGRP_*, linux/rtnetlink.h
INFO6, NETCONF4, NETCONF6, NSID, NEXTHOP = 12, 24, 25, 28, 32
IFLA_NEW_NETNSID, IFLA_EVENT = 45, 44  # linux/if_link.h
NLM_F_ECHO = 8
NDMSG = Struct("=BxxxiHBB")  # linux/neighbour.h: family, ifindex, state, flags, type
PREFIX4, PREFIX6 = "10.0.0.1/24", "2001:db8::1/64"


def move(world: World, device: Device, attrs: bytes = b"") -> None:
    world.source.must(set_link(device.ifindex, ns_fd(world.target.fd) + attrs))


def links_of(listener: Listener, type_: int) -> list[wire.Message]:
    """Messages about devices, without those of IPv6 and of bridges."""
    return [m for m in listener.told() if m.type == type_ and m.body[0] == 0]


def told(namespace: Namespace, act: Callable[[], object], *groups: int) -> list[str]:
    listener = namespace.listener(*groups)
    act()
    found = kinds(listener.told())
    listener.raw.close()
    return found


def up(world: World, name: bytes = b"eth1") -> Device:
    """A device that is up, whose late notifications (carrier) are over: ifb and dummy have theirs when it comes up."""
    device = world.source.device(name)
    world.source.must(set_link(device.ifindex, up=True))
    return device


# ---- which, and in which order ----


@probe("notify.source.down", SPEC, "Who listens to devices in the source of a move, of a device that is down.",
       source=MOVE)  # fmt: skip
def source_down(world: World) -> Value:
    device = world.source.device(b"eth1")
    return told(world.source, lambda: move(world, device), LINK)


@probe("notify.source.up", ABI, "The same for a device that is up: it goes down first.", source=MOVE)
def source_up(world: World) -> Value:
    device = up(world)
    return told(world.source, lambda: move(world, device), LINK)


@probe("notify.target.kept", SPEC, "Who listens to devices in the target of a move without a new name.", source=MOVE)
def target_kept(world: World) -> Value:
    device = world.source.device(b"eth1")
    return told(world.target, lambda: move(world, device), LINK)


@probe("notify.target.renamed", ABI, "The same with a new name, where the old one is free there: both names are told.",
       source=CHANGE_NAME)  # fmt: skip
def target_renamed(world: World) -> Value:
    device = world.source.device(b"eth1")
    return told(world.target, lambda: move(world, device, named(b"net0")), LINK)


@probe("notify.target.renamed-old-taken", ABI, "The same where the old name is taken there: only the new one is told.",
       source=MOVE)  # fmt: skip
def target_renamed_taken(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.target.device(b"eth1")
    return told(world.target, lambda: move(world, device, named(b"net0")), LINK)


@probe("notify.source.renamed", ABI, "RTM_DELLINK in the source has the old name also where the move renames.",
       source=MOVE)  # fmt: skip
def source_renamed(world: World) -> Value:
    device = world.source.device(b"eth1")
    return told(world.source, lambda: move(world, device, named(b"net0")), LINK)


@probe("notify.target.up-in-the-move", ABI, "IFF_UP in the message of the move is told in the target separately.",
       source="net/core/rtnetlink.c, do_setlink")  # fmt: skip
def target_up(world: World) -> Value:
    device = world.source.device(b"eth1")
    message = set_link(device.ifindex, ns_fd(world.target.fd), up=True)
    listener = world.target.listener(LINK)
    world.source.must(message)
    flags = [bool(wire.Link(m.body).flags & uapi.IFF_UP) for m in links_of(listener, uapi.RTM_NEWLINK)]
    listener.raw.close()
    return flags


ORDERS = {
    "source-ipv4": ("source", PREFIX4, (LINK, ADDR4, ROUTE4, NETCONF4)),
    "source-ipv6": ("source", PREFIX6, (LINK, ADDR6, ROUTE6, NETCONF6)),
    "target-ipv4": ("target", PREFIX4, (LINK, ADDR4, ROUTE4, NETCONF4)),
    "target-ipv6": ("target", PREFIX6, (LINK, ADDR6, ROUTE6, NETCONF6)),
    "source-nsid": ("source", PREFIX4, (LINK, NSID)),
}


@probe(
    "notify.order.{}",
    ABI,
    "All that is told of the move of a device that is up and has an address, in its order: {}.",
    source=MOVE + "; net/ipv4/devinet.c, inetdev_event; net/ipv6/addrconf.c, addrconf_ifdown",
    cases=ORDERS,
)
def order(world: World, where: str, prefix: str, groups: tuple[int, ...]) -> Value:
    device = up(world)
    routes = world.source.listener(ROUTE4, ROUTE6)
    world.source.must(address(device.ifindex, prefix, flags=uapi.IFA_F_NODAD if ":" in prefix else 0))
    # IPv6 makes the address's own route in a work queue.
    routes.until(lambda m: m.type == uapi.RTM_NEWROUTE and m.body[1] in (32, 128))
    routes.raw.close()
    return told(world.namespace(where), lambda: move(world, device), *groups)


@probe("notify.address.before-dellink", SPEC, "Each lost address is told (RTM_DELADDR) before RTM_DELLINK.",
       source="net/ipv4/devinet.c, inetdev_destroy; net/ipv6/addrconf.c, addrconf_ifdown")  # fmt: skip
def addresses_first(world: World) -> Value:
    device = world.source.device(b"eth1")
    texts = (PREFIX4, "10.0.0.2/24", "192.0.2.1/32", PREFIX6, "2001:db8::2/128")
    for text in texts:
        world.source.must(address(device.ifindex, text))
    found = told(world.source, lambda: move(world, device), LINK, ADDR4, ADDR6)
    before = found[: found.index("dellink eth1")]
    return {"before": sorted(m for m in before if m.startswith("deladdr")), "lost": len(texts)}


def silent(namespace: Namespace, type_: int, family: int, act: Callable[[], object], *groups: int) -> Value:
    """How many objects of a kind vanished, and how many notifications said so."""
    before = len(namespace.dump(type_, family))
    found = told(namespace, act, *groups)
    after = len(namespace.dump(type_, family))
    return {"vanished": before - after, "told": len([m for m in found if m.startswith("del")])}


@probe("notify.route.ipv4", SPEC, "How many IPv4 routes vanish with a device that is down, and are told.",
       source=ROUTES)  # fmt: skip
def route_v4(world: World) -> Value:
    device = up(world)
    world.source.must(requests.route(device.ifindex, "10.1.0.0/24"))
    world.source.must(requests.route(device.ifindex, "10.2.0.0/24"))
    return silent(world.source, uapi.RTM_GETROUTE, uapi.AF_INET, lambda: move(world, device), ROUTE4)


@probe("notify.route.ipv6", ABI, "The same for IPv6 routes.", source="net/ipv6/route.c, rt6_disable_ip")
def route_v6(world: World) -> Value:
    device = up(world)
    world.source.must(requests.route(device.ifindex, "2001:db8:1::/64"))
    world.source.must(requests.route(device.ifindex, "2001:db8:2::/64"))
    listener = world.source.listener(ROUTE6)
    move(world, device)
    # Without the device's own multicast route ff00::/8, which differs in how it is told.
    gone = [m for m in listener.told() if m.type == uapi.RTM_DELROUTE and m.body[1] == 64]
    listener.raw.close()
    return {"vanished": 2, "told": len(gone)}


@probe("notify.route.source-address", VARIES,
       "A route of another device whose source address moved away vanishes: whether that is told.",
       source="net/ipv4/fib_semantics.c, fib_sync_down_addr; net/ipv4/fib_trie.c, fib_table_flush")  # fmt: skip
def route_prefsrc(world: World) -> Value:
    stays = up(world, b"stays")
    device = up(world)
    world.source.must(address(device.ifindex, "10.0.0.1/32"))
    prefsrc = wire.attr(uapi.RTA_PREFSRC, bytes((10, 0, 0, 1)))
    world.source.must(requests.route(stays.ifindex, "10.1.0.0/24", prefsrc))
    listener = world.source.listener(ROUTE4)
    move(world, device)
    gone = [m for m in listener.told() if m.type == uapi.RTM_DELROUTE and m.body[1] == 24]
    listener.raw.close()
    left = world.source.dump(uapi.RTM_GETROUTE, uapi.AF_INET)
    return {"left": len([m for m in left if m.body[1] == 24]), "told": len(gone)}


@probe("notify.route.multipath-leg", SPEC, "A multipath route that loses one leg vanishes: whether that is told.",
       source="net/ipv4/fib_semantics.c, fib_sync_down_dev")  # fmt: skip
def route_multipath(world: World) -> Value:
    stays, device = up(world, b"stays"), up(world)
    legs = b"".join(wire.U32.pack(8)[:2] + bytes(2) + wire.S32.pack(each.ifindex) for each in (stays, device))
    body = requests.RTMSG.pack(uapi.AF_INET, 24, 0, 0, uapi.RT_TABLE_MAIN, 4, 253, uapi.RTN_UNICAST, 0)
    body += wire.attr(uapi.RTA_DST, bytes((10, 9, 0, 0))) + wire.attr(uapi.RTA_MULTIPATH, legs)
    world.source.must(wire.message(uapi.RTM_NEWROUTE, requests.CREATE, body))
    return silent(world.source, uapi.RTM_GETROUTE, uapi.AF_INET, lambda: move(world, device), ROUTE4)


@probe("notify.nexthop", SPEC, "How many nexthop objects vanish with a device, and are told.",
       source="net/ipv4/nexthop.c, nexthop_flush_dev")  # fmt: skip
def nexthop(world: World) -> Value:
    device = up(world)
    body = bytes((uapi.AF_INET,)) + bytes(7) + wire.attr_u32(uapi.NHA_ID, 7)
    body += wire.attr_u32(uapi.NHA_OIF, device.ifindex)
    world.source.must(wire.message(uapi.RTM_NEWNEXTHOP, requests.CREATE, body))
    get = bytes(8)
    before = len(world.source.dump(uapi.RTM_GETNEXTHOP, 0, get))
    found = told(world.source, lambda: move(world, device), NEXTHOP)
    return {"vanished": before - len(world.source.dump(uapi.RTM_GETNEXTHOP, 0, get)), "told": len(found)}


@probe("notify.neighbour", ABI, "A permanent neighbour that vanishes with a device is told, before RTM_DELLINK.",
       source="net/core/neighbour.c, neigh_flush_dev")  # fmt: skip
def neighbour(world: World) -> Value:
    device = world.source.make(b"veth", b"eth1")
    body = NDMSG.pack(uapi.AF_INET, device.ifindex, uapi.NUD_PERMANENT, 0, 0)
    body += wire.attr(uapi.NDA_DST, bytes((10, 0, 0, 9))) + wire.attr(uapi.NDA_LLADDR, b"\2\0\0\0\0\1")
    world.source.must(wire.message(uapi.RTM_NEWNEIGH, requests.CREATE, body))
    return told(world.source, lambda: move(world, device), LINK, NEIGH)


# ---- what the messages say ----


def dellink(world: World, device: Device, attrs: bytes = b"") -> wire.Message:
    listener = world.source.listener(LINK)
    move(world, device, attrs)
    (found,) = links_of(listener, uapi.RTM_DELLINK)
    listener.raw.close()
    return found


@probe("notify.dellink.new-netnsid", SPEC, "RTM_DELLINK says where the device went: the target's id in the source.",
       source="net/core/rtnetlink.c, rtmsg_ifinfo_newnet")  # fmt: skip
def new_netnsid(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(requests.new_nsid(world.target.fd, 7))
    found = wire.attrs(dellink(world, device).body, wire.IFINFOMSG.size).get(IFLA_NEW_NETNSID)
    return None if found is None else int(wire.S32.unpack(found)[0])


@probe("notify.dellink.allocates-nsid", ABI, "A move gives the target an id in the source where it had none.",
       source="net/core/net_namespace.c, peernet2id_alloc")  # fmt: skip
def allocates(world: World) -> Value:
    device = world.source.device(b"eth1")
    get = wire.message(requests.RTM_GETNSID, 0, bytes(4) + wire.attr_u32(requests.NETNSA_FD, world.target.fd))

    def nsid() -> int:
        (answer,) = world.source.request(get).answers
        return int(wire.S32.unpack(wire.attrs(answer.body, 4)[requests.NETNSA_NSID])[0])

    before = nsid()
    move(world, device)
    return {"before": before, "after": nsid()}


@probe("notify.dellink.new-ifindex.{}", SPEC, "RTM_DELLINK says the device's ifindex in the target: {}.",
       source="net/core/rtnetlink.c, rtmsg_ifinfo_newnet",
       cases={"kept": (False,), "old-one-taken": (True,)})  # fmt: skip
def new_ifindex(world: World, taken: bool) -> Value:
    device = world.source.device(b"eth1")
    if taken:  # both namespaces are fresh, and number their devices alike
        world.target.device(b"other")
    said = wire.u32(wire.attrs(dellink(world, device).body, wire.IFINFOMSG.size).get(uapi.IFLA_NEW_IFINDEX))
    found = world.find(device)
    return {"right": found is not None and said == found[1].ifindex, "same": said == device.ifindex}


@probe("notify.dellink.header", ABI, "RTM_DELLINK: whether the device is up in it, and ifi_change.", source=MOVE)
def dellink_header(world: World) -> Value:
    device = up(world)
    _, _, ifindex, flags, change = wire.IFINFOMSG.unpack_from(dellink(world, device).body)
    return {"ifindex": ifindex == device.ifindex, "up": bool(flags & uapi.IFF_UP), "change": f"{change:#x}"}


@probe("notify.dellink.altnames", ABI, "RTM_DELLINK still has the device's alternative names.", source=MOVE)
def dellink_altnames(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(requests.altnames(device.ifindex, [b"other"]))
    return [name.decode() for name in wire.Link(dellink(world, device).body).altnames]


@probe("notify.newlink.altnames", ABI, "RTM_NEWLINK in the target has the device's alternative names.", source=MOVE)
def newlink_altnames(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(requests.altnames(device.ifindex, [b"other"]))
    listener = world.target.listener(LINK)
    move(world, device)
    found = links_of(listener, uapi.RTM_NEWLINK)
    listener.raw.close()
    return [[name.decode() for name in wire.Link(message.body).altnames] for message in found]


@probe("notify.event", ABI, "Whether anything that is told of a move has IFLA_EVENT, in the source or in the target.",
       source="net/core/rtnetlink.c, rtnetlink_event and rtnl_get_event")  # fmt: skip
def event(world: World) -> Value:
    device = up(world)
    listeners = [world.source.listener(LINK), world.target.listener(LINK)]
    move(world, device, named(b"net0"))
    found = [m for listener in listeners for m in listener.told() if m.body[0] == 0]
    for listener in listeners:
        listener.raw.close()
    return any(wire.u32(wire.attrs(m.body, wire.IFINFOMSG.size).get(IFLA_EVENT)) for m in found)


@probe("notify.newlink.peer-netnsid", ABI, "A veth's RTM_NEWLINK in the target says in which namespace its peer is.",
       source="net/core/rtnetlink.c, nla_put_iflink")  # fmt: skip
def peer_netnsid(world: World) -> Value:
    device = world.source.make(b"veth", b"eth1")
    world.target.must(requests.new_nsid(world.source.fd, 9))
    listener = world.target.listener(LINK)
    move(world, device)
    found = [wire.attrs(m.body, wire.IFINFOMSG.size) for m in links_of(listener, uapi.RTM_NEWLINK)]
    listener.raw.close()
    return [wire.u32(each.get(uapi.IFLA_LINK_NETNSID)) for each in found]


@probe("notify.peer", ABI, "The move of a veth that is down is not told of its peer, which stays.", source=MOVE)
def peer(world: World) -> Value:
    device = world.source.make(b"veth", b"eth1")
    return [m for m in told(world.source, lambda: move(world, device), LINK) if m.endswith("p-eth1")]


@probe("notify.port", ABI, "What is told in the source when a port of a bridge moves away.",
       source="net/bridge/br.c, br_device_event; net/bridge/br_if.c, br_del_if")  # fmt: skip
def port(world: World) -> Value:
    device = world.source.make(b"veth", b"eth1")
    bridge = world.source.make(b"bridge", b"br0")
    world.source.must(set_link(device.ifindex, wire.attr_u32(uapi.IFLA_MASTER, bridge.ifindex)))
    return told(world.source, lambda: move(world, device), LINK)


# ---- the sender's own socket ----


def own(world: World, message: bytes, flags: int, groups: int) -> Value:
    with Raw(world.source.fd, uapi.NETLINK_CAP_ACK, groups=groups) as raw:
        raw.send_as_is(numbered(flagged(message, uapi.NLM_F_REQUEST | uapi.NLM_F_ACK | flags), 5))
        return [f"{kind} {'own' if m.portid == raw.portid else m.portid} {m.seq}"
                for m, kind in ((m, kinds([m])[0]) for m in raw.messages())]  # fmt: skip


OWN = {"quiet": (0, 0), "listening": (0, 1), "echo": (NLM_F_ECHO, 0), "echo-listening": (NLM_F_ECHO, 1)}


@probe("notify.own.move-{}", ABI, "What the sender of a move reads on its own socket, with portid and seq: {}.",
       source="net/netlink/af_netlink.c, nlmsg_notify", cases=OWN)  # fmt: skip
def own_move(world: World, flags: int, groups: int) -> Value:
    device = world.source.device(b"eth1")
    return own(world, set_link(device.ifindex, ns_fd(world.target.fd)), flags, groups)


@probe("notify.own.new-{}", VARIES, "The same for a new device: {}.",
       source="net/core/rtnetlink.c, rtnl_newlink_create and rtnl_configure_link (NLM_F_ECHO)",
       cases=OWN, kinds={"quiet": ABI, "listening": ABI})  # fmt: skip
def own_new(world: World, flags: int, groups: int) -> Value:
    world.source.device(b"other")  # the kind is there
    kind = world.source.links()[-1].kind
    return own(world, requests.new_link(kind, b"eth1"), flags | uapi.NLM_F_CREATE | uapi.NLM_F_EXCL, groups)
