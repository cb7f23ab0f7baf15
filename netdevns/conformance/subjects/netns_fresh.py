"""New network namespaces, the ids of namespaces, and their views in /proc and /sys."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable

from ...netlink import uapi, wire
from .. import requests, system
from ..probe import ABI, SPEC, VARIES, NotAvailable, Value, probe
from ..requests import new_nsid
from ..world import Namespace, World
from .netns import NSID_GROUP, NSIDS
from .permissions import in_child
from .raw import kinds

SETUP = "net/core/net_namespace.c, setup_net; drivers/net/loopback.c, loopback_net_init"
SYSFS = "net/core/net-sysfs.c, net_ns_type_operations; fs/sysfs/mount.c, sysfs_get_tree"
PROC = "fs/proc/proc_net.c, get_proc_task_net"


# ---- new namespaces ----


@probe(
    "netns.fresh.lo",
    SPEC,
    "The lo of a new namespace has ifindex 1, is down, and has no addresses and routes.",
    source=SETUP,
)
def fresh_lo(world: World) -> Value:
    fresh = world.namespace("fresh")
    lo = fresh.known(b"lo")
    (link,) = [each for each in fresh.links() if each.ifindex == lo.ifindex]
    return {"ifindex": lo.ifindex, "up": bool(link.flags & uapi.IFF_UP), "mtu": link.mtu,
            "addresses": len(fresh.dump(uapi.RTM_GETADDR)), "routes": len(fresh.dump(uapi.RTM_GETROUTE))}  # fmt: skip


@probe("netns.fresh.lo-up", SPEC, "Setting lo up adds 127.0.0.1/8 and ::1/128, of scope host.",
       source="net/ipv4/devinet.c, inetdev_event; net/ipv6/addrconf.c, init_loopback")  # fmt: skip
def fresh_lo_up(world: World) -> Value:
    fresh = world.namespace("fresh")
    fresh.must(requests.set_link(1, up=True))
    return [text_of(message) for message in fresh.dump(uapi.RTM_GETADDR)]


def text_of(message: wire.Message) -> str:
    """An RTM_NEWADDR as text: "::1/128 scope 254"."""
    family, prefixlen, _, scope, _ = requests.IFADDRMSG.unpack_from(message.body)
    data = bytes(wire.attrs(message.body, requests.IFADDRMSG.size)[uapi.IFA_ADDRESS])
    return f"{socket.inet_ntop(family, data)}/{prefixlen} scope {scope}"


@probe("netns.fresh.left-behind", SPEC, "After unshare(2), a thread has a new lo and no other device.",
       source=SETUP)  # fmt: skip
def left_behind(world: World) -> Value:
    world.source.device(b"eth1")

    def work() -> Value:
        system.enter(world.source.fd)
        system.unshare(system.CLONE_NEWNET)
        with open("/proc/thread-self/net/dev", encoding="ascii") as file:
            return [line.split(":")[0].strip() for line in file if line.split(":")[0].strip() in ("lo", "eth1")]

    return in_child(work)


@probe("netns.fresh.ifindex", ABI, "New namespaces number their devices alike, each from the beginning.",
       source="net/core/dev.c, dev_index_reserve and dev_new_index")  # fmt: skip
def fresh_ifindex(world: World) -> Value:
    return world.source.device(b"eth1").ifindex == world.target.device(b"eth1").ifindex


INHERITED: dict[str, tuple[str, str, str]] = {
    "ipv4-default": ("ipv4/conf/default/rp_filter", "1", "2"),
    "ipv6-default": ("ipv6/conf/default/accept_ra", "0", "2"),
    "tcp-keepalive": ("ipv4/tcp_keepalive_time", "111", "222"),
}


@probe("netns.fresh.sysctl.{}", VARIES, "{}.",
       source="net/ipv4/devinet.c, devinet_init_net; net/ipv6/addrconf.c, addrconf_init_net",
       cases=INHERITED, kinds={"tcp-keepalive": ABI},
       texts={"ipv4-default": "The origin of ipv4/conf/default/rp_filter in a new namespace",
              "ipv6-default": "The origin of ipv6/conf/default/accept_ra in a new namespace",
              "tcp-keepalive": "A new namespace has the same ipv4/tcp_keepalive_time wherever it is made"})  # fmt: skip
def inherited(world: World, path: str, one: str, two: str) -> Value:
    """Makes one from each of two namespaces that differ. net.core.devconf_inherit_init_net decides for conf/default."""
    found = []
    for name, value in (("source", one), ("target", two)):
        namespace = world.namespace(name)
        namespace.sysctl(path, value)
        with namespace.entered():
            made = Namespace(f"of-{name}", link_local=True)
        found.append(made.sysctl(path))
        made.close()
    if found == [one, two]:
        return "the maker's"
    return "the same whoever makes it" if found[0] == found[1] else found


# ---- ids ----


def nsid_of(namespace: Namespace, fd: int) -> int:
    """The id that a namespace has for another; -1: none."""
    message = wire.message(requests.RTM_GETNSID, 0, bytes(4) + wire.attr_u32(requests.NETNSA_FD, fd))
    (answer,) = namespace.request(message).answers
    return int(wire.S32.unpack(wire.attrs(answer.body, 4)[requests.NETNSA_NSID])[0])


@probe(
    "netns.nsid.none",
    ABI,
    "A namespace has no id for a new one: RTM_GETNSID answers -1.",
    source=NSIDS,
)
def nsid_none(world: World) -> Value:
    return nsid_of(world.source, world.target.fd)


@probe("netns.nsid.given", ABI, "RTM_NEWNSID gives an id in one direction only.", source=NSIDS)
def nsid_given(world: World) -> Value:
    error = world.source.request(new_nsid(world.target.fd, 7)).error
    return [error, nsid_of(world.source, world.target.fd), nsid_of(world.target, world.source.fd)]


@probe("netns.nsid.chosen", ABI, "For the id -1 in RTM_NEWNSID, the kernel chooses the lowest free one.", source=NSIDS)
def nsid_chosen(world: World) -> Value:
    world.source.must(new_nsid(world.namespace("a").fd, 0))
    world.source.must(new_nsid(world.namespace("b").fd, 2))
    world.source.must(new_nsid(world.target.fd, -1))
    return nsid_of(world.source, world.target.fd)


@probe("netns.nsid.refused.{}", ABI, "RTM_NEWNSID is refused with EEXIST if {}.", source=NSIDS,
       cases={"again": (0, 8), "taken": (1, 7)},
       texts={"again": "the namespace has an id", "taken": "the id is another namespace's"})  # fmt: skip
def nsid_refused(world: World, other: int, nsid: int) -> Value:
    world.source.must(new_nsid(world.target.fd, 7))
    which = world.namespace("third") if other else world.target
    return world.source.request(new_nsid(which.fd, nsid)).error


@probe("netns.nsid.own", ABI, "A namespace can have an id for itself.", source=NSIDS)
def nsid_own(world: World) -> Value:
    error = world.source.request(new_nsid(world.source.fd, 5)).error
    return [error, nsid_of(world.source, world.source.fd)]


@probe(
    "netns.nsid.deleted-by-hand",
    ABI,
    "RTM_DELNSID is refused with EOPNOTSUPP as a request.",
    source="net/core/net_namespace.c, net_ns_init",
)
def nsid_delete(world: World) -> Value:
    world.source.must(new_nsid(world.target.fd, 7))
    body = bytes(4) + wire.attr(requests.NETNSA_NSID, wire.S32.pack(7))
    return world.source.request(wire.message(requests.RTM_DELNSID, uapi.NLM_F_ACK, body)).error


@probe(
    "netns.nsid.told",
    ABI,
    "RTM_NEWNSID notifies the namespace that has the id, and not the one that the id is for.",
    source=NSIDS,
)
def nsid_announced(world: World) -> Value:
    listeners = [each.listener(NSID_GROUP) for each in (world.source, world.target)]
    world.source.must(new_nsid(world.target.fd, 7))
    found = [kinds(listener.read()) for listener in listeners]
    for listener in listeners:
        listener.raw.close()
    return found


@probe(
    "netns.nsid.dump",
    ABI,
    "A dump of RTM_GETNSID lists the ids of all other namespaces.",
    source="net/core/net_namespace.c, rtnl_net_dumpid",
)
def nsid_dump(world: World) -> Value:
    for name, nsid in (("a", 3), ("b", 1), ("c", 9)):
        world.source.must(new_nsid(world.namespace(name).fd, nsid))
    found = world.source.dump(requests.RTM_GETNSID, 0, bytes(4))
    return [int(wire.S32.unpack(wire.attrs(m.body, 4)[requests.NETNSA_NSID])[0]) for m in found]


# ---- /proc and /sys ----


@probe(
    "netns.sysfs.mounter",
    SPEC,
    "The directory /sys/class/net shows the namespace in which sysfs was mounted.",
    source=SYSFS,
)
def sysfs_mounter(world: World) -> Value:
    world.source.device(b"eth1")
    world.target.device(b"net0")
    path = world.directory()

    def work() -> Value:
        system.enter(world.source.fd)
        system.unshare(system.CLONE_NEWNS)
        try:
            system.mount(b"sysfs", path.encode(), b"sysfs")
        except PermissionError as e:
            return f"refused: {e}"
        before = os.listdir(f"{path}/class/net")
        system.enter(world.target.fd)
        after = os.listdir(f"{path}/class/net")
        return {"mounted-in": [n for n in ("eth1", "net0") if n in before],
                "looked-from-elsewhere": [n for n in ("eth1", "net0") if n in after]}  # fmt: skip

    found = in_child(work)
    if isinstance(found, str):
        raise NotAvailable(f"sysfs cannot be mounted here: {found}")
    return found


@probe("netns.proc.{}", ABI, "For a thread that entered another namespace, /proc/{}.", source=PROC,
       cases={"net": ("/proc/net/dev",), "self-net": ("/proc/self/net/dev",),
              "thread-self-net": ("/proc/thread-self/net/dev",)},
       texts={"net": "net shows the main thread's", "self-net": "self/net shows the main thread's",
              "thread-self-net": "thread-self/net shows the new one"})  # fmt: skip
def proc_net(world: World, path: str) -> Value:
    world.source.device(b"here")
    world.target.device(b"there")
    return in_thread(world, lambda: dev_names(path, ("here", "there")))


def dev_names(path: str, wanted: tuple[str, ...]) -> list[str]:
    with open(path, encoding="ascii") as file:
        found = [line.split(":")[0].strip() for line in file]
    return [name for name in wanted if name in found]


def in_thread(world: World, look: Callable[[], list[str]]) -> Value:
    """Calls `look` in a thread that entered the target, while the main thread is in the source."""

    def work() -> Value:
        system.enter(world.source.fd)
        seen: list[str] = []

        def enter() -> None:
            system.enter(world.target.fd)
            seen.extend(look())

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        return seen

    return in_child(work)


@probe("netns.proc.sys-net", SPEC, "The directory /proc/sys/net shows the namespace of the reading thread.",
       source="net/sysctl_net.c, net_ctl_header_lookup")  # fmt: skip
def proc_sys(world: World) -> Value:
    world.source.device(b"here")
    world.target.device(b"there")

    def look() -> list[str]:
        found = os.listdir("/proc/sys/net/ipv4/conf")
        return [name for name in ("here", "there") if name in found]

    return in_thread(world, look)


@probe("netns.proc.open-file", ABI, "A file of /proc/net that was opened before setns shows the old namespace.",
       source=PROC)  # fmt: skip
def proc_open(world: World) -> Value:
    world.source.device(b"here")
    world.target.device(b"there")

    def work() -> Value:
        system.enter(world.source.fd)
        with open("/proc/thread-self/net/dev", encoding="ascii") as file:
            system.enter(world.target.fd)
            found = [line.split(":")[0].strip() for line in file]
        return [name for name in ("here", "there") if name in found]

    return in_child(work)
