"""The end of a network namespace: what keeps it alive, what happens to devices, and which notifications are sent."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from ...netlink import uapi, wire
from .. import requests, system
from ..probe import ABI, SPEC, VARIES, NotAvailable, Value, probe
from ..requests import new_nsid, set_link, target_nsid
from ..world import Namespace, World
from .netns import NSID_GROUP, cookie_of, inode
from .netns_fresh import nsid_of
from .notify import LINK
from .notify_reach import heard
from .raw import NETLINK_LISTEN_ALL_NSID, Raw, kinds

CLEANUP = "net/core/net_namespace.c, cleanup_net"
EXIT = "net/core/dev.c, default_device_exit_batch"
REFERENCES = "net/core/net_namespace.c, __put_net"
TRIES = 40


def let_go(world: World, name: str) -> None:
    """Closes this process's references to a namespace. If they were the last ones, it dies a little later."""
    world.namespaces.pop(name).close()


def gone(message: wire.Message, name: bytes) -> bool:
    """Whether this is RTM_DELLINK of a device itself, not of AF_INET6 or AF_BRIDGE."""
    return message.type == uapi.RTM_DELLINK and message.body[0] == 0 and wire.Link(message.body).name == name


def with_peer(world: World, name: str, ifname: bytes = b"eth1") -> Namespace:
    """A namespace with a veth; its peer in the source, `p-` and the name, is deleted when the namespace dies."""
    namespace = world.namespace(name)
    device = world.source.make(b"veth", ifname)
    world.source.must(set_link(device.ifindex, requests.ns_fd(namespace.fd)))
    return namespace


def dies(world: World, name: str, *groups: int, ifname: bytes = b"eth1") -> list[wire.Message]:
    """Lets go of a namespace with a peer; the source's notifications up to the peer's deletion."""
    listener = world.source.listener(LINK, *groups)
    let_go(world, name)
    found = listener.until(lambda m: gone(m, b"p-" + ifname))
    listener.raw.close()
    return found


# ---- devices ----


@probe("death.device.{}", SPEC, "Devices of the kind {} are deleted with their namespace.",
       source=EXIT, needs=("{}",),
       cases={kind: (kind.encode(),) for kind in ("ifb", "dummy", "veth", "bridge", "vxlan", "macvlan")})  # fmt: skip
def virtual_device(world: World, kind: bytes) -> Value:
    data = wire.attr_u32(1, 42) if kind == b"vxlan" else b""  # IFLA_VXLAN_ID
    attrs = b""
    if kind == b"macvlan":
        attrs = wire.attr_u32(uapi.IFLA_LINK, world.source.make(b"veth", b"lower").ifindex)
    dying = with_peer(world, "dying", b"sentinel")
    device = dying.make(kind, b"x", data=data) if kind == b"bridge" else world.source.make(kind, b"x", attrs, data)
    if kind != b"bridge":
        world.source.must(set_link(device.ifindex, requests.ns_fd(dying.fd)))
    dies(world, "dying", ifname=b"sentinel")
    return world.place(device)


@probe("death.veth.peer", SPEC, "The peer of a veth that dies with its namespace is deleted, with RTM_DELLINK.",
       source="drivers/net/veth.c, veth_dellink")  # fmt: skip
def veth_peer(world: World) -> Value:
    with_peer(world, "dying")
    found = kinds(dies(world, "dying"))
    return {"told": found, "peer": "there" if world.source.link(b"p-eth1") else "gone"}


@probe("death.veth.link-netnsid", ABI,
       "RTM_DELLINK for the peer of a veth that died with its namespace has no IFLA_LINK_NETNSID.",
       source="net/core/rtnetlink.c, rtnl_fill_link_netnsid")  # fmt: skip
def veth_netnsid(world: World) -> Value:
    with_peer(world, "dying")
    attrs = wire.attrs(dies(world, "dying")[-1].body, wire.IFINFOMSG.size)
    where = attrs.get(uapi.IFLA_LINK_NETNSID)
    return None if where is None else int(wire.S32.unpack(where)[0])


UPPERS = {"macvlan": b"", "macvtap": b"", "ipvlan": b"", "vlan": wire.attr(1, b"\7\0")}  # IFLA_VLAN_ID


@probe("death.lower.{}", SPEC,
       "Devices of the kind {} are deleted, with RTM_DELLINK, when their lower device dies elsewhere.",
       source="net/core/dev.c, unregister_netdevice_many; drivers/net/macvlan.c, macvlan_device_event", needs=("{}",),
       cases={kind: (kind.encode(), data) for kind, data in UPPERS.items()})  # fmt: skip
def lower(world: World, kind: bytes, data: bytes) -> Value:
    dying = world.namespace("dying")
    below = dying.make(b"veth", b"lower")
    upper = dying.make(kind, b"upper", wire.attr_u32(uapi.IFLA_LINK, below.ifindex), data)
    dying.must(set_link(upper.ifindex, requests.ns_fd(world.target.fd)))
    listener = world.target.listener(LINK)
    let_go(world, "dying")
    found = listener.until(lambda m: gone(m, b"upper"))
    listener.raw.close()
    return {"told": kinds(found)[-1], "upper": "there" if world.target.link(b"upper") else "gone"}


@probe("death.upper.{}", SPEC,
       "A lower device stays as it is when a device of the kind {} on it dies with another namespace.",
       source=EXIT, needs=("{}",),
       cases={kind: (kind.encode(), data) for kind, data in UPPERS.items()})  # fmt: skip
def upper(world: World, kind: bytes, data: bytes) -> Value:
    below = world.source.make(b"veth", b"lower")
    above = world.source.make(kind, b"upper", wire.attr_u32(uapi.IFLA_LINK, below.ifindex), data)
    dying = with_peer(world, "dying", b"sentinel")
    world.source.must(set_link(below.ifindex, up=True))
    world.source.must(set_link(above.ifindex, requests.ns_fd(dying.fd)))
    dies(world, "dying", ifname=b"sentinel")
    return world.place(below)


# ---- references that keep a namespace alive ----


Keeper = Callable[[World, Namespace], Callable[[], object]]


def by_fd(world: World, namespace: Namespace) -> Callable[[], object]:
    del world
    fd = os.dup(namespace.fd)
    return lambda: os.close(fd)


def by_socket(protocol: tuple[int, int]) -> Keeper:
    def keep(world: World, namespace: Namespace) -> Callable[[], object]:
        del world
        with namespace.entered():
            kept = socket.socket(*protocol)
        return kept.close

    return keep


def by_file(path: str) -> Keeper:
    def keep(world: World, namespace: Namespace) -> Callable[[], object]:
        del world
        with namespace.entered():
            file = open(path, encoding="ascii")  # noqa: SIM115  # the probe is about a file that stays open
        return file.close

    return keep


def in_a_child(world: World, prepare: Callable[[], object]) -> Callable[[], object]:
    """Forks a child that prepares in a mount namespace of its own and waits, without descriptors of namespaces."""

    def work(write: int) -> None:
        system.unshare(system.CLONE_NEWNS)
        try:
            prepare()
        except PermissionError:
            return
        for each in world.namespaces.values():
            each.close()
        os.write(write, b".")
        signal.pause()

    pid, ready = system.spawn(work)
    came_up = os.read(ready, 1)
    os.close(ready)

    def end() -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    if not came_up:
        end()
        raise NotAvailable("this mount is not allowed here")
    return end


def by_process(world: World, namespace: Namespace) -> Callable[[], object]:
    return in_a_child(world, lambda: system.enter(namespace.fd))


def by_bind_mount(world: World, namespace: Namespace) -> Callable[[], object]:
    path = os.path.join(world.directory(), "name")
    open(path, "w", encoding="ascii").close()
    source = f"/proc/self/fd/{namespace.fd}".encode()
    return in_a_child(world, lambda: system.mount(source, path.encode(), None, system.MS_BIND))


def by_sysfs(world: World, namespace: Namespace) -> Callable[[], object]:
    path = world.directory()

    def mount() -> None:
        with namespace.entered():
            system.mount(b"sysfs", path.encode(), b"sysfs")

    return in_a_child(world, mount)


KEEPERS: dict[str, tuple[str, Keeper]] = {
    "descriptor": ("An open descriptor keeps", by_fd),
    "bind-mount": ("A bind mount keeps", by_bind_mount),
    "process": ("A process in it keeps", by_process),
    "udp-socket": ("A UDP socket keeps", by_socket((socket.AF_INET, socket.SOCK_DGRAM))),
    "netlink-socket": ("A netlink socket keeps", by_socket((socket.AF_NETLINK, socket.SOCK_RAW))),
    "unix-socket": ("A UNIX socket keeps", by_socket((socket.AF_UNIX, socket.SOCK_STREAM))),
    "proc-file": ("An open file of /proc/net keeps", by_file("/proc/thread-self/net/dev")),
    "sysctl-file": ("An open file of /proc/sys/net does not keep", by_file("/proc/sys/net/ipv4/conf/lo/forwarding")),
    "sysfs-mount": ("A mount of sysfs does not keep", by_sysfs),
}


@probe("death.kept-by.{}", ABI, "{} a namespace alive that nothing else holds.", source=REFERENCES,
       cases={name: (keep,) for name, (_, keep) in KEEPERS.items()},
       texts={name: text for name, (text, _) in KEEPERS.items()},
       kinds={"descriptor": SPEC, "bind-mount": SPEC, "process": SPEC})  # fmt: skip
def kept_by(world: World, keep: Keeper) -> Value:
    """Lets go of a second namespace later: when that has died, the first has had time to die."""
    let = keep(world, with_peer(world, "dying"))
    with_peer(world, "canary", b"canary")
    try:
        let_go(world, "dying")
        dies(world, "canary", ifname=b"canary")
        kept = world.source.link(b"p-eth1") is not None
        listener = world.source.listener(LINK)
    finally:
        let()
    if kept:
        listener.until(lambda m: gone(m, b"p-eth1"))
    listener.raw.close()
    return kept


# ---- ids ----


@probe("death.nsid.told", ABI,
       "A namespace with an id for one that dies gets RTM_DELNSID, before RTM_DELLINK of the devices.",
       source=CLEANUP)  # fmt: skip
def nsid_announced(world: World) -> Value:
    with_peer(world, "dying")
    return kinds(dies(world, "dying", NSID_GROUP))


def dies_with_id(world: World, name: str, nsid: int = -1) -> int:
    """Lets go of a namespace without devices, and waits until its id in the source, which it returns, is gone."""
    world.source.must(new_nsid(world.namespace(name).fd, nsid))
    found = nsid_of(world.source, world.namespaces[name].fd)
    listener = world.source.listener(NSID_GROUP)
    let_go(world, name)
    listener.until(lambda m: m.type == requests.RTM_DELNSID)
    listener.raw.close()
    return found


@probe("death.nsid.reused", ABI, "The id of a namespace that died is given to the next one.", source=CLEANUP)
def nsid_reused(world: World) -> Value:
    before = dies_with_id(world, "dying")
    world.source.must(new_nsid(world.target.fd, -1))
    return nsid_of(world.source, world.target.fd) == before


@probe("death.nsid.move", ABI, "A move to the id of a namespace that died is refused with EINVAL.", source=CLEANUP)
def nsid_move(world: World) -> Value:
    device = world.source.device(b"x")
    nsid = dies_with_id(world, "dying", 7)
    return world.outcome(device, world.source.request(set_link(device.ifindex, target_nsid(nsid))))


@probe("death.all-nsid", ABI,
       "With NETLINK_LISTEN_ALL_NSID, the death of a namespace with an id sends no RTM_DELLINK from there.",
       source="net/netlink/af_netlink.c, do_one_broadcast")  # fmt: skip
def all_nsid(world: World) -> Value:
    with_peer(world, "dying")
    with Raw(world.source.fd, NETLINK_LISTEN_ALL_NSID, groups=1) as raw:
        dies(world, "dying")
        return heard(raw)


# ---- identity ----


@probe("death.inode.reused", ABI, "A new namespace may get the inode number of one that died.",
       source="fs/proc/generic.c, proc_alloc_inum")  # fmt: skip
def inode_reused(world: World) -> Value:
    seen: set[int] = set()
    for _ in range(TRIES):
        found = inode(world.namespace("dying").fd)
        if found in seen:
            return True
        seen.add(found)
        dies_with_id(world, "dying")
    return False


@probe("death.cookie.unique", VARIES,
       "The number of different SO_NETNS_COOKIE among six namespaces, each made after the death of the last.",
       source="net/core/net_namespace.c, net_gen_cookie")  # fmt: skip
def cookie_unique(world: World) -> Value:
    seen = set()
    for _ in range(6):
        seen.add(cookie_of(world.namespace("dying").fd))
        dies_with_id(world, "dying")
    return "ENOPROTOOPT" if None in seen else len(seen)
