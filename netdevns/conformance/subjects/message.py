"""RTM_NEWLINK that moves a device: how it names the namespace, the device, the new name and the ifindex."""

from __future__ import annotations

import os
from collections.abc import Callable

from ...netlink import uapi, wire
from .. import requests, system
from ..probe import ABI, SPEC, VARIES, Value, probe
from ..requests import named, new_ifindex, ns_fd, ns_pid, set_link, target_nsid
from ..world import Device, World

MOVE = "net/core/dev.c, __dev_change_net_namespace"
DO_SETLINK = "net/core/rtnetlink.c, do_setlink"
GET_NET = "net/core/rtnetlink.c, rtnl_link_get_net and rtnl_ensure_unique_netns"
POLICY = "net/core/rtnetlink.c, ifla_policy"
FREE_IFINDEX = 4711
IFF_NOARP, IFF_MULTICAST = 0x80, 0x1000  # linux/if.h
NUMBERS = {"zero": "0", "minus-one": "-1", "huge": "0x7fffffff", "closed": "900"}


def moved(world: World, device: Device, attrs: bytes, **options: int | bool | None) -> Value:
    """Sends attributes for a device of the source; the errno, and where the device is then."""
    reply = world.source.request(set_link(device.ifindex, attrs, **options))  # type: ignore[arg-type]  # as set_link's
    return world.outcome(device, reply)


# ---- which namespace ----


@probe("message.ns-fd.target", SPEC,
       "IFLA_NET_NS_FD with the descriptor of a network namespace moves the device there.", source=MOVE)  # fmt: skip
def fd_target(world: World) -> Value:
    device = world.source.device(b"eth1")
    return moved(world, device, ns_fd(world.target.fd))


@probe("message.ns-pid.target", SPEC, "IFLA_NET_NS_PID moves the device to the process's namespace.", source=MOVE)
def pid_target(world: World) -> Value:
    device = world.source.device(b"eth1")
    return moved(world, device, ns_pid(world.process_in(world.target)))


@probe("message.ns-pid.thread", ABI,
       "IFLA_NET_NS_PID of the sender moves the device to the namespace that it is in now.",
       source=GET_NET)  # fmt: skip
def pid_self(world: World) -> Value:
    device = world.source.device(b"eth1")
    with world.target.entered():  # get_net_ns_by_pid looks where the task is now
        return moved(world, device, ns_pid(os.getpid()))


@probe(
    "message.ns-pid.dead", SPEC, "IFLA_NET_NS_PID of a process that has ended is refused with ESRCH.", source=GET_NET
)
def pid_dead(world: World) -> Value:
    device = world.source.device(b"eth1")
    return moved(world, device, ns_pid(world.dead_pid()))


@probe(
    "message.ns-pid.{}",
    ABI,
    "IFLA_NET_NS_PID with a number that no process has is refused with ESRCH: {}.",
    source=GET_NET,
    cases={"zero": (0,), "minus-one": (-1,), "huge": (0x7FFFFFFF,)},
    texts=NUMBERS,
)
def pid_number(world: World, pid: int) -> Value:
    device = world.source.device(b"eth1")
    return moved(world, device, ns_pid(pid))


@probe(
    "message.ns-fd.{}",
    SPEC,
    "IFLA_NET_NS_FD with a descriptor that is no network namespace is refused with EINVAL: {}.",
    source=GET_NET,
    cases={
        "file": ("/dev/null",),
        "directory": ("/proc",),
        "mount-namespace": ("/proc/self/ns/mnt",),
        "user-namespace": ("/proc/self/ns/user",),
        "pid-namespace": ("/proc/self/ns/pid",),
    },
    texts={f"{kind}-namespace": f"a {kind} namespace" for kind in ("mount", "user", "pid")},
)
def fd_of(world: World, path: str) -> Value:
    device = world.source.device(b"eth1")
    return moved(world, device, ns_fd(world.open(path)))


@probe(
    "message.ns-fd.{}",
    SPEC,
    "IFLA_NET_NS_FD with a number that is no open descriptor is refused with EBADF: {}.",
    source=GET_NET,
    cases={"closed": (900,), "minus-one": (-1,), "huge": (0x7FFFFFFF,)},
    texts=NUMBERS,
)
def fd_number(world: World, fd: int) -> Value:
    device = world.source.device(b"eth1")
    return moved(world, device, ns_fd(fd))


@probe("message.ns-fd.path-only", ABI, "IFLA_NET_NS_FD with an O_PATH descriptor of a namespace is refused with EBADF.",
       source=GET_NET)  # fmt: skip
def fd_path(world: World) -> Value:
    device = world.source.device(b"eth1")
    with world.target.entered():
        fd = world.open(system.NETNS, os.O_PATH)
    return moved(world, device, ns_fd(fd))


@probe("message.ns-fd.own", ABI,
       "A move into the device's own namespace, without IFLA_IFNAME, succeeds and changes nothing.",
       source=MOVE)  # fmt: skip
def fd_own(world: World) -> Value:
    device = world.source.device(b"eth1")
    return moved(world, device, ns_fd(world.source.fd))


@probe("message.ns-fd.own-notifications", ABI,
       "A move into the device's own namespace, without IFLA_IFNAME, sends no notification.", source=MOVE)  # fmt: skip
def fd_own_notifications(world: World) -> Value:
    device = world.source.device(b"eth1")
    listener = world.source.listener(1)
    reply = world.source.request(set_link(device.ifindex, ns_fd(world.source.fd)))
    return {"error": reply.error, "told": len(listener.read())}


@probe("message.nsid.target", ABI, "IFLA_TARGET_NETNSID moves a device to the namespace with that id.", source=GET_NET)
def nsid_target(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(requests.new_nsid(world.target.fd, 7))
    return moved(world, device, target_nsid(7))


@probe("message.nsid.unknown", ABI, "IFLA_TARGET_NETNSID with an id that no namespace has is refused with EINVAL.",
       source=GET_NET)  # fmt: skip
def nsid_unknown(world: World) -> Value:
    device = world.source.device(b"eth1")
    return moved(world, device, target_nsid(99))


@probe("message.nsid.foreign-device", ABI,
       "IFLA_TARGET_NETNSID is not where the device is looked up: one there is not found (ENODEV).",
       source=GET_NET)  # fmt: skip
def nsid_foreign(world: World) -> Value:
    device = world.target.device(b"eth1")
    world.source.must(requests.new_nsid(world.target.fd, 7))
    return moved(world, device, target_nsid(7))


TWO: dict[str, Callable[[World], bytes]] = {
    "pid-and-fd": lambda w: ns_pid(w.process_in(w.target)) + ns_fd(w.namespace("third").fd),
    "fd-and-nsid": lambda w: ns_fd(w.target.fd) + target_nsid(7),
    "pid-and-nsid": lambda w: ns_pid(w.process_in(w.target)) + target_nsid(7),
    "all-three": lambda w: ns_pid(w.process_in(w.target)) + ns_fd(w.target.fd) + target_nsid(7),
}


@probe(
    "message.two-namespaces.{}",
    ABI,
    "More than one attribute that names a namespace is refused with EINVAL: {}.",
    source=GET_NET,
    cases={name: (attrs,) for name, attrs in TWO.items()},
    texts={name: name.replace("-", " ") for name in TWO},
)
def two(world: World, attrs: Callable[[World], bytes]) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(requests.new_nsid(world.target.fd, 7))
    return moved(world, device, attrs(world))


@probe("message.two-namespaces.fd-twice", ABI, "Of two IFLA_NET_NS_FD in a message, the last one counts.",
       source="lib/nlattr.c, __nla_parse")  # fmt: skip
def fd_twice(world: World) -> Value:
    device = world.source.device(b"eth1")
    return moved(world, device, ns_fd(world.target.fd) + ns_fd(world.namespace("third").fd))


# ---- name and ifindex in the same message ----


@probe("message.name.with-namespace", SPEC, "IFLA_IFNAME in the message of the move renames the device.", source=MOVE)
def name_too(world: World) -> Value:
    device = world.source.device(b"eth1")
    return moved(world, device, ns_fd(world.target.fd) + named(b"net0"))


@probe(
    "message.name.before-namespace", ABI, "IFLA_IFNAME may precede the attribute that names the namespace.", source=MOVE
)
def name_first(world: World) -> Value:
    device = world.source.device(b"eth1")
    return moved(world, device, named(b"net0") + ns_fd(world.target.fd))


@probe("message.name.setlink", ABI, "RTM_SETLINK moves and renames like RTM_NEWLINK.",
       source="net/core/rtnetlink.c, rtnl_setlink")  # fmt: skip
def name_setlink(world: World) -> Value:
    device = world.source.device(b"eth1")
    body = wire.IFINFOMSG.pack(0, 0, device.ifindex, 0, 0) + ns_fd(world.target.fd) + named(b"net0")
    return world.outcome(device, world.source.request(requests.link_request(body, uapi.RTM_SETLINK)))


@probe("message.name.up-device", SPEC, "A device that is up can be moved and renamed in one message; it arrives down.",
       source=MOVE)  # fmt: skip
def name_up(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(set_link(device.ifindex, up=True))
    return moved(world, device, ns_fd(world.target.fd) + named(b"net0"))


def ifindex_of(world: World, device: Device, wanted: int) -> Value:
    """Whether a device has the wanted ifindex, wherever it is."""
    found = world.find(device)
    return found is not None and found[1].ifindex == wanted


@probe("message.new-ifindex.free", VARIES,
       "The ifindex of a device that is moved with a free IFLA_NEW_IFINDEX.", source=MOVE)  # fmt: skip
def ifindex_free(world: World) -> Value:
    device = world.source.device(b"eth1")
    reply = world.source.request(set_link(device.ifindex, ns_fd(world.target.fd) + new_ifindex(FREE_IFINDEX)))
    return {"error": reply.error, "device": world.place(device), "honoured": ifindex_of(world, device, FREE_IFINDEX)}


@probe("message.new-ifindex.taken", VARIES,
       "The outcome of a move with an IFLA_NEW_IFINDEX that is taken in the target.", source=MOVE)  # fmt: skip
def ifindex_taken(world: World) -> Value:
    device = world.source.device(b"eth1")
    return moved(world, device, ns_fd(world.target.fd) + new_ifindex(1))  # 1 is lo in every namespace


@probe(
    "message.new-ifindex.{}",
    VARIES,
    "The outcome of a move with an IFLA_NEW_IFINDEX that no device can have: {}.",
    source=POLICY,
    cases={"zero": (0,), "negative": (-1,), "lowest": (-(1 << 31),)},
    texts={"zero": "0", "negative": "-1", "lowest": "the lowest s32"},
)
def ifindex_bad(world: World, ifindex: int) -> Value:
    device = world.source.device(b"eth1")
    return moved(world, device, ns_fd(world.target.fd) + new_ifindex(ifindex))


@probe("message.new-ifindex.without-namespace", ABI, "IFLA_NEW_IFINDEX in a change that moves nothing is ignored.",
       source=DO_SETLINK)  # fmt: skip
def ifindex_alone(world: World) -> Value:
    device = world.source.device(b"eth1")
    reply = world.source.request(set_link(device.ifindex, new_ifindex(FREE_IFINDEX)))
    return {"error": reply.error, "honoured": ifindex_of(world, device, FREE_IFINDEX)}


@probe("message.ifindex.kept", ABI,
       "Without IFLA_NEW_IFINDEX, a device keeps its ifindex where that is free in the target.",
       source=MOVE)  # fmt: skip
def ifindex_kept(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.request(set_link(device.ifindex, ns_fd(world.target.fd)))
    return ifindex_of(world, device, device.ifindex)


# ---- flags ----


@probe("message.flags.up-in-the-move", ABI, "IFF_UP in the message of the move sets the device up in the target.",
       source=DO_SETLINK)  # fmt: skip
def flags_up(world: World) -> Value:
    device = world.source.device(b"eth1")
    return moved(world, device, ns_fd(world.target.fd) + named(b"net0"), up=True)


def flags_after(world: World, flags: int, change: int) -> Value:
    """IFF_UP, IFF_NOARP and IFF_MULTICAST of a device that had all three, after a change of flags."""
    names = {uapi.IFF_UP: "up", IFF_NOARP: "noarp", IFF_MULTICAST: "multicast"}
    device = world.source.device(b"eth1")
    every = sum(names)
    world.source.must(set_link(device.ifindex, flags=every, change=every))
    reply = world.source.request(set_link(device.ifindex, flags=flags, change=change))
    link = world.source.link(device.name)
    left = [name for flag, name in names.items() if link is not None and link.flags & flag]
    return {"error": reply.error, "left": left}


@probe(
    "message.flags.change-{}",
    ABI,
    "ifi_flags IFF_UP with ifi_change {} other flags.",
    source="net/core/rtnetlink.c, rtnl_dev_combine_flags",
    cases={"up": (uapi.IFF_UP,), "all": (0xFFFFFFFF,), "zero": (0,)},
    texts={"up": "IFF_UP keeps", "all": "~0 clears", "zero": "0 clears"},
)
def flags_change(world: World, change: int) -> Value:
    return flags_after(world, uapi.IFF_UP, change)


# ---- which device ----


@probe("message.key.name", ABI, "With ifi_index 0, IFLA_IFNAME selects the device, which keeps its name.",
       source=DO_SETLINK)  # fmt: skip
def key_name(world: World) -> Value:
    device = world.source.device(b"eth1")
    reply = world.source.request(set_link(0, ns_fd(world.target.fd) + named(b"eth1")))
    return world.outcome(device, reply)


@probe("message.key.altname-as-name", ABI,
       "With ifi_index 0, an alternative name in IFLA_IFNAME selects the device, which keeps its name.",
       source=DO_SETLINK)  # fmt: skip
def key_altname(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(requests.altnames(device.ifindex, [b"other"]))
    reply = world.source.request(set_link(0, ns_fd(world.target.fd) + named(b"other")))
    return world.outcome(device, reply)


@probe("message.key.altname", VARIES, "The outcome of a move with ifi_index 0 and IFLA_ALT_IFNAME.", source=DO_SETLINK)
def key_altname_attribute(world: World) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(requests.altnames(device.ifindex, [b"other"]))
    key = wire.attr_name(uapi.IFLA_ALT_IFNAME, b"other")
    return world.outcome(device, world.source.request(set_link(0, ns_fd(world.target.fd) + key)))


@probe("message.key.unknown-name", ABI, "With ifi_index 0 and a name that no device has, a move fails with ENODEV.",
       source="net/core/rtnetlink.c, __rtnl_newlink")  # fmt: skip
def key_unknown(world: World) -> Value:
    device = world.source.device(b"eth1")
    reply = world.source.request(set_link(0, ns_fd(world.target.fd) + named(b"nobody")))
    return world.outcome(device, reply)


@probe("message.key.none", ABI, "With ifi_index 0 and no name, a move fails with ENODEV.",
       source="net/core/rtnetlink.c, __rtnl_newlink")  # fmt: skip
def key_none(world: World) -> Value:
    device = world.source.device(b"eth1")
    return world.outcome(device, world.source.request(set_link(0, ns_fd(world.target.fd))))


@probe(
    "message.key.{}-ifindex",
    ABI,
    "{}.",
    source="net/core/rtnetlink.c, rtnl_newlink",
    cases={"unknown": (FREE_IFINDEX,), "negative": (-1,), "huge": (0x7FFFFFFF,)},
    texts={
        "unknown": "A move of an ifindex that no device has fails with ENODEV",
        "negative": "The errno of a move of a negative ifindex",
        "huge": "A move of the ifindex 0x7fffffff, which no device has, fails with ENODEV",
    },
    kinds={"negative": VARIES},
)
def key_ifindex(world: World, ifindex: int) -> Value:
    return world.source.request(set_link(ifindex, ns_fd(world.target.fd))).error
