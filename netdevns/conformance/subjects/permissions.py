"""Permission to move a device: capabilities in source and target, and user namespaces."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from ...netlink import uapi, wire
from .. import system
from ..probe import ABI, SPEC, NotAvailable, Value, probe
from ..requests import ns_fd, set_link
from ..world import Namespace, World, error_name
from .raw import Raw

NET_ADMIN, SYS_ADMIN = system.CAP_NET_ADMIN, system.CAP_SYS_ADMIN
SEND = "net/core/rtnetlink.c, rtnetlink_rcv_msg; net/netlink/af_netlink.c, __netlink_ns_capable"
TARGET = "net/core/rtnetlink.c, rtnl_link_get_net_capable"
SETNS = "net/core/net_namespace.c, netns_install"


def errno_of(work: Callable[[], object]) -> str:
    try:
        work()
    except OSError as e:
        return error_name(e.errno or 0)
    return "ok"


def in_child(work: Callable[[], Value]) -> Value:
    return system.run_in_child(work)  # type: ignore[return-value]  # as JSON, what `work` returns


def in_user_namespace(work: Callable[[Namespace], Value]) -> Value:
    """Runs a function as root of a user namespace, and passes it a network namespace that this owns."""

    def run() -> Value:
        try:
            system.enter_user_namespace(system.CLONE_NEWNET)
        except OSError as e:
            return {"refused": str(e)}
        return {"value": work(Namespace.open("own", system.current()))}

    found = in_child(run)
    assert isinstance(found, dict)
    if "refused" in found:
        raise NotAvailable(f"no user namespaces: {found['refused']}")
    value: Value = found["value"]
    return value


def owned_elsewhere(world: World, name: str) -> Namespace:
    """A network namespace that a user namespace below this process's owns; no process is in it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:

        def give(own: Namespace) -> Value:
            socket.send_fds(theirs, [b"."], [own.fd])
            return None

        in_user_namespace(give)
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    world.namespaces[name] = Namespace.open(name, fds[0])
    return world.namespaces[name]


def raw_error(raw: Raw, message: bytes) -> str:
    raw.send(message)
    return raw.acks()[0].partition(" ")[2]


# ---- capabilities ----


WITHOUT = {"net-admin": (NET_ADMIN,), "sys-admin": (SYS_ADMIN,)}


@probe("permissions.move.without-{}", SPEC, "A move by a process without {}.", source=SEND,
       cases=WITHOUT,
       texts={"net-admin": "CAP_NET_ADMIN is refused with EPERM", "sys-admin": "CAP_SYS_ADMIN succeeds"})  # fmt: skip
def move_without(world: World, capability: int) -> Value:
    device = world.source.device(b"eth1")
    source, target = world.source.fd, world.target.fd

    def work() -> str:
        system.enter(source)  # first: setns needs CAP_SYS_ADMIN
        system.drop_capabilities(capability)
        raw = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        raw.bind((0, 0))
        raw.send(set_link(device.ifindex, ns_fd(target)))
        return error_name(-wire.S32.unpack_from(raw.recv(4096), 16)[0])

    return {"error": in_child(work), "device": world.place(device)}


@probe("permissions.socket.dropped-after-open", ABI,
       "A change on a socket made with CAP_NET_ADMIN is refused with EPERM if the sender lacks it.",
       source=SEND)  # fmt: skip
def dropped(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:

        def work() -> str:
            system.drop_capabilities(NET_ADMIN)
            return raw_error(raw, set_link(device.ifindex, up=True))

        return in_child(work)


@probe("permissions.socket.made-without", ABI,
       "A change on a socket made without CAP_NET_ADMIN is refused with EPERM although the sender has it.",
       source=SEND)  # fmt: skip
def made_without(world: World) -> Value:
    device = world.source.device(b"eth1")
    fd = world.source.fd

    def work() -> str:
        made: list[socket.socket] = []

        def make() -> None:  # in a thread, which alone loses its capability
            system.enter(fd)
            system.drop_capabilities(NET_ADMIN)
            made.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        made[0].send(set_link(device.ifindex, up=True))
        return error_name(-wire.S32.unpack_from(made[0].recv(4096), 16)[0])

    return in_child(work)


@probe("permissions.setns.without-{}", SPEC, "A setns to a network namespace of the same owner without {}.",
       source=SETNS, cases={"sys-admin": (SYS_ADMIN,), "net-admin": (NET_ADMIN,)},
       texts={"sys-admin": "CAP_SYS_ADMIN is refused with EPERM", "net-admin": "CAP_NET_ADMIN succeeds"})  # fmt: skip
def setns_without(world: World, capability: int) -> Value:
    fd = world.target.fd

    def work() -> str:
        system.drop_capabilities(capability)
        return errno_of(lambda: system.enter(fd))

    return in_child(work)


# ---- user namespaces ----


def tried(own: Namespace, name: bytes, target: int) -> str:
    """Moves a new device of a namespace to another one."""
    return own.request(set_link(own.device(name).ifindex, ns_fd(target))).error


@probe("permissions.userns.into-child", SPEC,
       "A move to a namespace that a user namespace below the sender's owns succeeds.",
       source=TARGET)  # fmt: skip
def into_child(world: World) -> Value:
    device = world.source.device(b"eth1")
    inner = owned_elsewhere(world, "inner")
    return world.outcome(device, world.source.request(set_link(device.ifindex, ns_fd(inner.fd))))


@probe("permissions.userns.out-of-child", SPEC,
       "A move out of a namespace that a user namespace below the sender's owns succeeds, by a socket in it.",
       source=TARGET)  # fmt: skip
def out_of_child(world: World) -> Value:
    inner = owned_elsewhere(world, "inner")
    device = inner.device(b"eth1")
    return world.outcome(device, inner.request(set_link(device.ifindex, ns_fd(world.target.fd))))


@probe("permissions.userns.within", ABI,
       "Root of a user namespace may move a device between two namespaces that this owns.",
       source=TARGET)  # fmt: skip
def within(world: World) -> Value:
    del world
    return in_user_namespace(lambda own: tried(own, b"eth1", Namespace("second").fd))


@probe("permissions.userns.to-the-parent", SPEC,
       "Root of a user namespace may not move a device to the parent's namespace (EPERM).",
       source=TARGET)  # fmt: skip
def to_parent(world: World) -> Value:
    target = world.target.fd
    return in_user_namespace(lambda own: tried(own, b"eth1", target))


@probe("permissions.userns.to-a-sibling", ABI,
       "Root of a user namespace may not move a device to a sibling's namespace (EPERM).",
       source=TARGET)  # fmt: skip
def to_sibling(world: World) -> Value:
    sibling = owned_elsewhere(world, "sibling").fd
    return in_user_namespace(lambda own: tried(own, b"eth1", sibling))


@probe("permissions.userns.to-a-grandchild", ABI,
       "Root of a user namespace may move a device to the namespace of one below its own.",
       source=TARGET)  # fmt: skip
def to_grandchild(world: World) -> Value:
    del world

    def work(own: Namespace) -> Value:
        with World(False) as inside:
            try:
                return tried(own, b"eth1", owned_elsewhere(inside, "inner").fd)
            except NotAvailable as e:  # the exception cannot leave the child
                return [str(e)]

    found = in_user_namespace(work)
    if isinstance(found, list):
        raise NotAvailable(str(found[0]))
    return found


@probe("permissions.userns.inherited-socket", SPEC,
       "Root of a user namespace may not use a socket that root made in the parent's namespace (EPERM).",
       source=SEND)  # fmt: skip
def inherited(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        return in_user_namespace(lambda own: raw_error(raw, set_link(device.ifindex, ns_fd(own.fd))))


@probe("permissions.userns.setns-{}", SPEC, "A setns {}.", source=SETNS,
       cases={"down": (True,), "up": (False,)},
       texts={"down": "to the network namespace of a user namespace below succeeds",
              "up": "to the network namespace of the parent user namespace is refused with EPERM"})  # fmt: skip
def setns_across(world: World, down: bool) -> Value:
    if down:
        inner = owned_elsewhere(world, "inner").fd
        return in_child(lambda: errno_of(lambda: system.enter(inner)))
    target = world.target.fd
    return in_user_namespace(lambda _: errno_of(lambda: system.enter(target)))


@probe("permissions.userns.unshare-keeps-netns", ABI,
       "Root of a user namespace may not change devices of a network namespace that it kept (EPERM).",
       source=SEND)  # fmt: skip
def userns_only(world: World) -> Value:
    device = world.source.device(b"eth1")
    fd = world.source.fd

    def work() -> str:
        system.enter(fd)
        try:
            system.enter_user_namespace()
        except OSError as e:
            return f"no user namespaces: {e}"
        raw = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        raw.send(set_link(device.ifindex, up=True))
        return error_name(-wire.S32.unpack_from(raw.recv(4096), 16)[0])

    found = str(in_child(work))
    if found.startswith("no user"):
        raise NotAvailable(found)
    return found


@probe("permissions.userns.rcvbufforce", ABI,
       "SO_RCVBUFFORCE by root of a user namespace is refused with EPERM, even in a namespace that it owns.",
       source="net/core/sock.c, sk_setsockopt")  # fmt: skip
def rcvbufforce(world: World) -> Value:
    del world

    def work(own: Namespace) -> Value:
        with Raw(own.fd) as raw:
            return errno_of(lambda: raw.socket.setsockopt(socket.SOL_SOCKET, uapi.SO_RCVBUFFORCE, 1 << 20))

    return in_user_namespace(work)
