"""The notifications of a move: which are sent, in which order, to which namespace, and what they contain."""

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
    """Messages about devices themselves, not of AF_INET6 or AF_BRIDGE."""
    return [m for m in listener.read() if m.type == type_ and m.body[0] == 0]


def notified(namespace: Namespace, act: Callable[[], object], *groups: int) -> list[str]:
    listener = namespace.listener(*groups)
    act()
    found = kinds(listener.read())
    listener.raw.close()
    return found


def up(world: World, name: bytes = b"eth1") -> Device:
    """A device that is up and sends no later notification: ifb and dummy have a carrier at once."""
    device = world.source.device(name)
    world.source.must(set_link(device.ifindex, up=True))
    return device


# ---- which notifications, and their order ----


@probe("notify.source.down", SPEC, "The move of a device that is down sends RTM_DELLINK in the source.",
       source=MOVE)  # fmt: skip
def source_down(world: World) -> Value:
    device = world.source.device(b"eth1")
    return notified(world.source, lambda: move(world, device), LINK)


@probe("notify.source.up", ABI,
       "The move of a device that is up sends RTM_NEWLINK, as it goes down, and RTM_DELLINK in the source.",
       source=MOVE)  # fmt: skip
def source_up(world: World) -> Value:
    device = up(world)
    return notified(world.source, lambda: move(world, device), LINK)


@probe("notify.target.kept", SPEC, "A move without a new name sends RTM_NEWLINK in the target.", source=MOVE)
def target_kept(world: World) -> Value:
    device = world.source.device(b"eth1")
    return notified(world.target, lambda: move(world, device), LINK)


@probe("notify.target.renamed", ABI,
       "A move with a new name announces both names in the target if the old one is free there.",
       source=CHANGE_NAME)  # fmt: skip
def target_renamed(world: World) -> Value:
    device = world.source.device(b"eth1")
    return notified(world.target, lambda: move(world, device, named(b"net0")), LINK)


@probe("notify.target.renamed-old-taken", ABI,
       "A move with a new name announces only that in the target if the old one is taken there.",
       source=MOVE)  # fmt: skip
def target_renamed_taken(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.target.device(b"eth1")
    return notified(world.target, lambda: move(world, device, named(b"net0")), LINK)


@probe("notify.source.renamed", ABI,
       "RTM_DELLINK in the source has the old name if the move renames and the old name is free in the target.",
       source=MOVE)  # fmt: skip
def source_renamed(world: World) -> Value:
    device = world.source.device(b"eth1")
    return notified(world.source, lambda: move(world, device, named(b"net0")), LINK)


@probe("notify.target.up-in-the-move", ABI,
       "IFF_UP in the message of the move sends a second RTM_NEWLINK in the target.",
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
    "The move of a device that is up and has an address sends {}.",
    source=MOVE + "; net/ipv4/devinet.c, inetdev_event; net/ipv6/addrconf.c, addrconf_ifdown",
    cases=ORDERS,
    texts={
        "source-ipv4": "RTM_NEWLINK, RTM_DELADDR, _DELROUTE, _DELNETCONF and _DELLINK in the source (IPv4)",
        "source-ipv6": "RTM_NEWLINK, RTM_DELROUTE, _DELADDR, _DELNETCONF and _DELLINK in the source (IPv6)",
        "target-ipv4": "RTM_NEWNETCONF and RTM_NEWLINK in the target (IPv4)",
        "target-ipv6": "RTM_NEWNETCONF and RTM_NEWLINK in the target (IPv6)",
        "source-nsid": "RTM_NEWLINK, RTM_NEWNSID and RTM_DELLINK in the source",
    },
)
def order(world: World, where: str, prefix: str, groups: tuple[int, ...]) -> Value:
    device = up(world)
    routes = world.source.listener(ROUTE4, ROUTE6)
    world.source.must(address(device.ifindex, prefix, flags=uapi.IFA_F_NODAD if ":" in prefix else 0))
    # IPv6 adds the address's own route from a work queue.
    routes.until(lambda m: m.type == uapi.RTM_NEWROUTE and m.body[1] in (32, 128))
    routes.raw.close()
    return notified(world.namespace(where), lambda: move(world, device), *groups)


@probe("notify.address.before-dellink", SPEC,
       "Each address that a move drops is announced by RTM_DELADDR, before RTM_DELLINK.",
       source="net/ipv4/devinet.c, inetdev_destroy; net/ipv6/addrconf.c, addrconf_ifdown")  # fmt: skip
def addresses_first(world: World) -> Value:
    device = world.source.device(b"eth1")
    texts = (PREFIX4, "10.0.0.2/24", "192.0.2.1/32", PREFIX6, "2001:db8::2/128")
    for text in texts:
        world.source.must(address(device.ifindex, text))
    found = notified(world.source, lambda: move(world, device), LINK, ADDR4, ADDR6)
    before = found[: found.index("dellink eth1")]
    return {"before": sorted(m for m in before if m.startswith("deladdr")), "lost": len(texts)}


def silent(namespace: Namespace, type_: int, family: int, act: Callable[[], object], *groups: int) -> Value:
    """The number of objects that a change deleted, and of notifications about it."""
    before = len(namespace.dump(type_, family))
    found = notified(namespace, act, *groups)
    after = len(namespace.dump(type_, family))
    return {"vanished": before - after, "told": len([m for m in found if m.startswith("del")])}


@probe("notify.route.ipv4", SPEC, "IPv4 routes of a device that leaves are deleted without a notification.",
       source=ROUTES)  # fmt: skip
def route_v4(world: World) -> Value:
    device = up(world)
    world.source.must(requests.route(device.ifindex, "10.1.0.0/24"))
    world.source.must(requests.route(device.ifindex, "10.2.0.0/24"))
    return silent(world.source, uapi.RTM_GETROUTE, uapi.AF_INET, lambda: move(world, device), ROUTE4)


@probe("notify.route.ipv6", ABI, "IPv6 routes of a device that leaves are deleted with RTM_DELROUTE.",
       source="net/ipv6/route.c, rt6_disable_ip")  # fmt: skip
def route_v6(world: World) -> Value:
    device = up(world)
    world.source.must(requests.route(device.ifindex, "2001:db8:1::/64"))
    world.source.must(requests.route(device.ifindex, "2001:db8:2::/64"))
    listener = world.source.listener(ROUTE6)
    move(world, device)
    # Without the device's multicast route ff00::/8, which some kernels announce otherwise.
    gone = [m for m in listener.read() if m.type == uapi.RTM_DELROUTE and m.body[1] == 64]
    listener.raw.close()
    return {"vanished": 2, "told": len(gone)}


@probe("notify.route.source-address", VARIES,
       "The notifications for another device's IPv4 route that is deleted because its src moved away.",
       source="net/ipv4/fib_semantics.c, fib_sync_down_addr; net/ipv4/fib_trie.c, fib_table_flush")  # fmt: skip
def route_prefsrc(world: World) -> Value:
    stays = up(world, b"stays")
    device = up(world)
    world.source.must(address(device.ifindex, "10.0.0.1/32"))
    prefsrc = wire.attr(uapi.RTA_PREFSRC, bytes((10, 0, 0, 1)))
    world.source.must(requests.route(stays.ifindex, "10.1.0.0/24", prefsrc))
    listener = world.source.listener(ROUTE4)
    move(world, device)
    gone = [m for m in listener.read() if m.type == uapi.RTM_DELROUTE and m.body[1] == 24]
    listener.raw.close()
    left = world.source.dump(uapi.RTM_GETROUTE, uapi.AF_INET)
    return {"left": len([m for m in left if m.body[1] == 24]), "told": len(gone)}


@probe("notify.route.multipath-leg", SPEC,
       "An IPv4 multipath route that loses a nexthop is deleted without a notification.",
       source="net/ipv4/fib_semantics.c, fib_sync_down_dev")  # fmt: skip
def route_multipath(world: World) -> Value:
    stays, device = up(world, b"stays"), up(world)
    nexthops = b"".join(wire.U32.pack(8)[:2] + bytes(2) + wire.S32.pack(each.ifindex) for each in (stays, device))
    body = requests.RTMSG.pack(uapi.AF_INET, 24, 0, 0, uapi.RT_TABLE_MAIN, 4, 253, uapi.RTN_UNICAST, 0)
    body += wire.attr(uapi.RTA_DST, bytes((10, 9, 0, 0))) + wire.attr(uapi.RTA_MULTIPATH, nexthops)
    world.source.must(wire.message(uapi.RTM_NEWROUTE, requests.CREATE, body))
    return silent(world.source, uapi.RTM_GETROUTE, uapi.AF_INET, lambda: move(world, device), ROUTE4)


@probe("notify.nexthop", SPEC, "A nexthop object of a device that leaves is deleted without a notification.",
       source="net/ipv4/nexthop.c, nexthop_flush_dev")  # fmt: skip
def nexthop(world: World) -> Value:
    device = up(world)
    body = bytes((uapi.AF_INET,)) + bytes(7) + wire.attr_u32(uapi.NHA_ID, 7)
    body += wire.attr_u32(uapi.NHA_OIF, device.ifindex)
    world.source.must(wire.message(uapi.RTM_NEWNEXTHOP, requests.CREATE, body))
    get = bytes(8)
    before = len(world.source.dump(uapi.RTM_GETNEXTHOP, 0, get))
    found = notified(world.source, lambda: move(world, device), NEXTHOP)
    return {"vanished": before - len(world.source.dump(uapi.RTM_GETNEXTHOP, 0, get)), "told": len(found)}


@probe("notify.neighbour", ABI,
       "A permanent neighbour of a device that leaves is deleted with RTM_DELNEIGH, before RTM_DELLINK.",
       source="net/core/neighbour.c, neigh_flush_dev")  # fmt: skip
def neighbour(world: World) -> Value:
    device = world.source.make(b"veth", b"eth1")
    body = NDMSG.pack(uapi.AF_INET, device.ifindex, uapi.NUD_PERMANENT, 0, 0)
    body += wire.attr(uapi.NDA_DST, bytes((10, 0, 0, 9))) + wire.attr(uapi.NDA_LLADDR, b"\2\0\0\0\0\1")
    world.source.must(wire.message(uapi.RTM_NEWNEIGH, requests.CREATE, body))
    return notified(world.source, lambda: move(world, device), LINK, NEIGH)


# ---- the contents of the messages ----


def dellink(world: World, device: Device, attrs: bytes = b"") -> wire.Message:
    listener = world.source.listener(LINK)
    move(world, device, attrs)
    (found,) = links_of(listener, uapi.RTM_DELLINK)
    listener.raw.close()
    return found


@probe("notify.dellink.new-netnsid", SPEC, "RTM_DELLINK has the target's id in the source (IFLA_NEW_NETNSID).",
       source="net/core/rtnetlink.c, rtmsg_ifinfo_newnet")  # fmt: skip
def new_netnsid(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(requests.new_nsid(world.target.fd, 7))
    found = wire.attrs(dellink(world, device).body, wire.IFINFOMSG.size).get(IFLA_NEW_NETNSID)
    return None if found is None else int(wire.S32.unpack(found)[0])


@probe("notify.dellink.allocates-nsid", ABI, "A move gives the target an id in the source if it has none.",
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


@probe("notify.dellink.new-ifindex.{}", SPEC, "RTM_DELLINK has the device's ifindex in the target, {}.",
       source="net/core/rtnetlink.c, rtmsg_ifinfo_newnet",
       cases={"kept": (False,), "old-one-taken": (True,)},
       texts={"kept": "which is the same", "old-one-taken": "also if the old one is taken"})  # fmt: skip
def new_ifindex(world: World, taken: bool) -> Value:
    device = world.source.device(b"eth1")
    if taken:  # both namespaces are fresh, and number their devices alike
        world.target.device(b"other")
    said = wire.u32(wire.attrs(dellink(world, device).body, wire.IFINFOMSG.size).get(uapi.IFLA_NEW_IFINDEX))
    found = world.find(device)
    return {"right": found is not None and said == found[1].ifindex, "same": said == device.ifindex}


@probe("notify.dellink.header", ABI,
       "RTM_DELLINK for a device that was up has its old ifindex, no IFF_UP, and ifi_change ~0.",
       source=MOVE)  # fmt: skip
def dellink_header(world: World) -> Value:
    device = up(world)
    _, _, ifindex, flags, change = wire.IFINFOMSG.unpack_from(dellink(world, device).body)
    return {"ifindex": ifindex == device.ifindex, "up": bool(flags & uapi.IFF_UP), "change": f"{change:#x}"}


@probe("notify.dellink.altnames", ABI, "RTM_DELLINK has the device's alternative names.", source=MOVE)
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


@probe("notify.event", ABI, "No notification of a move has an IFLA_EVENT, in the source or in the target.",
       source="net/core/rtnetlink.c, rtnetlink_event and rtnl_get_event")  # fmt: skip
def event(world: World) -> Value:
    device = up(world)
    listeners = [world.source.listener(LINK), world.target.listener(LINK)]
    move(world, device, named(b"net0"))
    found = [m for listener in listeners for m in listener.read() if m.body[0] == 0]
    for listener in listeners:
        listener.raw.close()
    return any(wire.u32(wire.attrs(m.body, wire.IFINFOMSG.size).get(IFLA_EVENT)) for m in found)


@probe("notify.newlink.peer-netnsid", ABI,
       "RTM_NEWLINK for a veth in the target has the id of its peer's namespace (IFLA_LINK_NETNSID).",
       source="net/core/rtnetlink.c, nla_put_iflink")  # fmt: skip
def peer_netnsid(world: World) -> Value:
    device = world.source.make(b"veth", b"eth1")
    world.target.must(requests.new_nsid(world.source.fd, 9))
    listener = world.target.listener(LINK)
    move(world, device)
    found = [wire.attrs(m.body, wire.IFINFOMSG.size) for m in links_of(listener, uapi.RTM_NEWLINK)]
    listener.raw.close()
    return [wire.u32(each.get(uapi.IFLA_LINK_NETNSID)) for each in found]


@probe("notify.peer", ABI, "The move of a veth that is down sends no notification for its peer.", source=MOVE)
def peer(world: World) -> Value:
    device = world.source.make(b"veth", b"eth1")
    return [m for m in notified(world.source, lambda: move(world, device), LINK) if m.endswith("p-eth1")]


@probe("notify.port", ABI,
       "The move of a bridge's port announces its release and the bridge's changes before RTM_DELLINK.",
       source="net/bridge/br.c, br_device_event; net/bridge/br_if.c, br_del_if")  # fmt: skip
def port(world: World) -> Value:
    device = world.source.make(b"veth", b"eth1")
    bridge = world.source.make(b"bridge", b"br0")
    world.source.must(set_link(device.ifindex, wire.attr_u32(uapi.IFLA_MASTER, bridge.ifindex)))
    return notified(world.source, lambda: move(world, device), LINK)


# ---- the sender's own socket ----


def own(world: World, message: bytes, flags: int, groups: int) -> Value:
    with Raw(world.source.fd, uapi.NETLINK_CAP_ACK, groups=groups) as raw:
        raw.send_as_is(numbered(flagged(message, uapi.NLM_F_REQUEST | uapi.NLM_F_ACK | flags), 5))
        return [f"{kind} {'own' if m.portid == raw.portid else m.portid} {m.seq}"
                for m, kind in ((m, kinds([m])[0]) for m in raw.messages())]  # fmt: skip


OWN = {"quiet": (0, 0), "listening": (0, 1), "echo": (NLM_F_ECHO, 0), "echo-listening": (NLM_F_ECHO, 1)}


@probe("notify.own.move-{}", ABI, "The sender of a move {}.",
       source="net/netlink/af_netlink.c, nlmsg_notify", cases=OWN,
       texts={"quiet": "receives the ack", "echo": "with NLM_F_ECHO receives the ack and no echo",
              "listening": "that listens receives RTM_DELLINK, with portid and seq 0, then the ack",
              "echo-listening": "that listens, with NLM_F_ECHO, receives RTM_DELLINK once, then the ack"})  # fmt: skip
def own_move(world: World, flags: int, groups: int) -> Value:
    device = world.source.device(b"eth1")
    return own(world, set_link(device.ifindex, ns_fd(world.target.fd)), flags, groups)


@probe("notify.own.new-{}", VARIES, "{}.",
       source="net/core/rtnetlink.c, rtnl_newlink_create and rtnl_configure_link (NLM_F_ECHO)",
       cases=OWN, kinds={"quiet": ABI, "listening": ABI},
       texts={"quiet": "The sender of a new device receives the ack",
              "listening": "The sender of a new device that listens receives RTM_NEWLINK, with seq 0, then the ack",
              "echo": "The messages to the sender of a new device, with NLM_F_ECHO",
              "echo-listening": "The messages to a listening sender of a new device, with NLM_F_ECHO"})  # fmt: skip
def own_new(world: World, flags: int, groups: int) -> Value:
    world.source.device(b"other")  # loads the kind's module
    kind = world.source.links()[-1].kind
    return own(world, requests.new_link(kind, b"eth1"), flags | uapi.NLM_F_CREATE | uapi.NLM_F_EXCL, groups)
