"""How far notifications reach: refused moves, other namespaces, uevents, and listeners that do not read."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from ...netlink import uapi, wire
from .. import requests, system
from ..probe import ABI, SPEC, VARIES, Value, probe
from ..requests import altnames, named, ns_fd, set_link
from ..world import World
from .notify import LINK, MOVE, move
from .raw import NETLINK_KOBJECT_UEVENT, NETLINK_LISTEN_ALL_NSID, Raw, kinds

CAP_NET_BROADCAST = 11  # linux/capability.h
NETLINK_NO_ENOBUFS = 5
CMSG_ROOM = 64


# ---- refused moves ----


def taken_in_target(world: World) -> None:
    world.target.device(b"eth1")


def wanted_taken(world: World) -> None:
    world.target.device(b"net0")


def wanted_is_altname(world: World) -> None:
    other = world.target.device(b"bystander")
    world.target.must(altnames(other.ifindex, [b"net0"]))


REFUSED: dict[str, tuple[Callable[[World], object], Callable[[World], bytes]]] = {
    "bad-fd": (lambda _: None, lambda w: ns_fd(w.open("/dev/null"))),
    "kept-name-taken": (taken_in_target, lambda w: ns_fd(w.target.fd)),
    "new-name-bad": (lambda _: None, lambda w: ns_fd(w.target.fd) + named(b"a/b")),
    "new-name-taken": (wanted_taken, lambda w: ns_fd(w.target.fd) + named(b"net0")),
    "new-name-altname": (wanted_is_altname, lambda w: ns_fd(w.target.fd) + named(b"net0")),
}


@probe(
    "notify.refused.{}",
    ABI,
    "A refused move {}.",
    source="net/core/rtnetlink.c, do_setlink",
    cases=REFUSED,
    texts={
        "bad-fd": "to a descriptor that is no namespace sends no notification",
        "kept-name-taken": "of a device whose name is taken sends no notification",
        "new-name-bad": "to an invalid name sends RTM_DELLINK and RTM_NEWLINK: the device is in the target",
        "new-name-taken": "to a taken name sends RTM_DELLINK and RTM_NEWLINK: the device is in the target",
        "new-name-altname": "to an alternative name sends RTM_DELLINK and RTM_NEWLINK: the device is in the target",
    },
    kinds={"bad-fd": SPEC, "kept-name-taken": SPEC},
)
def refused(world: World, prepare: Callable[[World], object], attrs: Callable[[World], bytes]) -> Value:
    prepare(world)
    device = world.source.device(b"eth1")
    listeners = {"source": world.source.listener(LINK), "target": world.target.listener(LINK)}
    world.source.request(set_link(device.ifindex, attrs(world)))
    found = {where: kinds(listener.read()) for where, listener in listeners.items()}
    for listener in listeners.values():
        listener.raw.close()
    return found


@probe("notify.refused.up-device", ABI,
       "A refused move of a device that is up, and whose name is taken, leaves it up and sends no notification.",
       source=MOVE)  # fmt: skip
def refused_up(world: World) -> Value:
    world.target.device(b"eth1")
    device = world.source.device(b"eth1")
    world.source.must(set_link(device.ifindex, up=True))
    listener = world.source.listener(LINK)
    world.source.request(set_link(device.ifindex, ns_fd(world.target.fd)))
    found = kinds(listener.read())
    listener.raw.close()
    return {"told": found, "device": world.place(device)}


# ---- NETLINK_LISTEN_ALL_NSID ----


def heard(raw: Raw) -> Value:
    """Each message about a device, with its nsid; None: the listener's own namespace."""
    found: list[Value] = []
    while True:
        try:
            data, more, _, _ = raw.socket.recvmsg(1 << 16, CMSG_ROOM, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return found
        nsids = [wire.S32.unpack(text[:4])[0] for level, type_, text in more
                 if (level, type_) == (uapi.SOL_NETLINK, NETLINK_LISTEN_ALL_NSID)]  # fmt: skip
        for message in wire.messages(data):
            found.append([kinds([message])[0], nsids[0] if nsids else None])


@probe("notify.all-nsid.{}", ABI, "With NETLINK_LISTEN_ALL_NSID, a listener in the source {}.",
       source="net/netlink/af_netlink.c, do_one_broadcast",
       cases={"known": (True,), "unknown": (False,)},
       texts={"known": "that has an id for the target receives its notifications, too",
              "unknown": "that has no id for the target receives those of the move, and none before"})  # fmt: skip
def all_nsid(world: World, known: bool) -> Value:
    device = world.source.device(b"eth1")
    if known:
        world.source.must(requests.new_nsid(world.target.fd, 7))
    target = world.target  # before the listener
    with Raw(world.source.fd, NETLINK_LISTEN_ALL_NSID, groups=1) as raw:
        target.device(b"before")
        move(world, device)
        return heard(raw)


@probe("notify.all-nsid.third-party", ABI,
       "With NETLINK_LISTEN_ALL_NSID, a third namespace with ids for both receives both notifications.",
       source="net/netlink/af_netlink.c, do_one_broadcast")  # fmt: skip
def all_nsid_third(world: World) -> Value:
    device = world.source.device(b"eth1")
    third = world.namespace("third")
    third.must(requests.new_nsid(world.source.fd, 5))
    third.must(requests.new_nsid(world.target.fd, 7))
    with Raw(third.fd, NETLINK_LISTEN_ALL_NSID, groups=1) as raw:
        move(world, device)
        return heard(raw)


@probe("notify.all-nsid.capability", ABI, "NETLINK_LISTEN_ALL_NSID without CAP_NET_BROADCAST is refused with EPERM.",
       source="net/netlink/af_netlink.c, netlink_setsockopt")  # fmt: skip
def all_nsid_capability(world: World) -> Value:
    fd = world.source.fd

    def attempt() -> str:
        system.drop_capabilities(CAP_NET_BROADCAST)
        with Raw(fd) as raw:
            try:
                raw.socket.setsockopt(uapi.SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
            except PermissionError:
                return "EPERM"
        return "ok"

    return str(system.run_in_child(attempt))


# ---- uevents ----


def uevents(raw: Raw) -> list[str]:
    """Action, device and, if there is one, the old name: "move net0 from eth1".

    Those of queues (rx-0, tx-0) are left out: their number depends on the driver.
    """
    found = []
    while isinstance(data := raw.datagram(), bytes):
        head, *pairs = data.rstrip(b"\0").split(b"\0")
        values = dict(pair.split(b"=", 1) for pair in pairs)
        if values.get(b"SUBSYSTEM") != b"net":
            continue
        before = values.get(b"DEVPATH_OLD", b"").rpartition(b"/")[2]
        text = head.partition(b"@")[0] + b" " + values[b"INTERFACE"] + (b" from " + before if before else b"")
        found.append(text.decode())
    return found


@probe("notify.uevent.{}", VARIES, "{}.",
       source="net/core/dev.c, __dev_change_net_namespace; lib/kobject_uevent.c, kobject_uevent_net_broadcast",
       kinds={"source": ABI},
       cases={"source": ("source", b"net0"), "target": ("target", b"net0"), "target-kept": ("target", b"")},
       texts={"source": "A move sends the uevent `remove` in the source",
              "target": "The uevents of a move with a new name, in the target",
              "target-kept": "The uevents of a move without a new name, in the target"})  # fmt: skip
def uevent(world: World, where: str, name: bytes) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.namespace(where).fd, protocol=NETLINK_KOBJECT_UEVENT, groups=1) as raw:
        move(world, device, named(name) if name else b"")
        return uevents(raw)


@probe("notify.uevent.elsewhere", ABI, "A namespace that has no part in a move gets no uevent.",
       source="lib/kobject_uevent.c, kobject_uevent_net_broadcast")  # fmt: skip
def uevent_elsewhere(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.namespace("third").fd, protocol=NETLINK_KOBJECT_UEVENT, groups=1) as raw:
        move(world, device)
        return uevents(raw)


# ---- a listener that does not read ----


def overflow(world: World, *options: int) -> Value:
    """Toggles a device until a small buffer is full, reads, and toggles once more."""
    device = world.source.device(b"eth1")
    with Raw(world.source.fd, *options, room=4096, groups=1) as raw:
        for turn in range(20):
            world.source.must(set_link(device.ifindex, up=turn % 2 == 0))
        errors = 0
        count = 0
        while (data := raw.datagram()) is not None:
            errors += isinstance(data, str)
            count += isinstance(data, bytes)
        world.source.must(set_link(device.ifindex, up=True))
        return {"ENOBUFS": errors, "lost": count < 20, "hears-later-ones": bool(raw.messages())}


@probe("notify.overflow", ABI, "A listener whose buffer was full gets ENOBUFS once, and receives later notifications.",
       source="net/netlink/af_netlink.c, netlink_overrun")  # fmt: skip
def overflow_reported(world: World) -> Value:
    return overflow(world)


@probe("notify.overflow.no-enobufs", ABI, "With NETLINK_NO_ENOBUFS, a listener whose buffer was full gets no error.",
       source="net/netlink/af_netlink.c, netlink_overrun")  # fmt: skip
def overflow_quiet(world: World) -> Value:
    return overflow(world, NETLINK_NO_ENOBUFS)


@probe("notify.overflow.move-succeeds", SPEC, "A move succeeds although a listener in the target has no room.",
       source="net/core/rtnetlink.c, rtmsg_ifinfo_send")  # fmt: skip
def overflow_move(world: World) -> Value:
    device = world.source.device(b"eth1")
    noise = world.target.device(b"noise")
    with Raw(world.target.fd, room=1, groups=1):
        for turn in range(10):
            world.target.must(set_link(noise.ifindex, up=turn % 2 == 0))
        reply = world.source.request(set_link(device.ifindex, ns_fd(world.target.fd)))
        return world.outcome(device, reply)


@probe("notify.unprivileged", ABI, "A process without capabilities can listen to the notifications of its namespace.",
       source="net/core/rtnetlink.c, rtnetlink_net_init (NL_CFG_F_NONROOT_RECV)")  # fmt: skip
def unprivileged(world: World) -> Value:
    device = world.source.device(b"eth1")
    fd = world.source.fd
    target = world.target
    made: list[socket.socket] = []

    def listen() -> None:  # in a thread, which alone loses its capabilities
        system.enter(fd)
        system.drop_capabilities(*range(32))
        raw = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        raw.bind((0, 1))
        made.append(raw)

    def hear() -> list[str]:
        thread = threading.Thread(target=listen)
        thread.start()
        thread.join()
        world.source.must(set_link(device.ifindex, ns_fd(target.fd)))
        return kinds(wire.messages(made[0].recv(1 << 16)))

    return system.run_in_child(hear)  # type: ignore[return-value]  # as JSON, what `hear` returns
