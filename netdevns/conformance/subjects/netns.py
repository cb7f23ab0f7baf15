"""Network namespaces: how they are entered, named and identified, and the sockets in them."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import threading
from struct import Struct

from ...netlink import uapi
from .. import requests, system
from ..probe import ABI, SPEC, VARIES, Value, probe
from ..world import World
from .permissions import errno_of, in_child, in_user_namespace
from .raw import Raw

INSTALL = "kernel/nsproxy.c, setns; net/core/net_namespace.c, netns_install"
NSFS = "fs/nsfs.c, ns_ioctl"
NSIDS = "net/core/net_namespace.c, rtnl_net_newid and rtnl_net_getid"
NS_GET_USERNS, NS_GET_PARENT, NS_GET_OWNER_UID = 0xB701, 0xB702, 0xB704  # linux/nsfs.h
PIDFD_GET_NET_NAMESPACE = 0xFF04  # linux/pidfd.h, PIDFS_IOCTL_MAGIC
SIOCGSKNS = 0x894C  # linux/sockios.h
U64 = Struct("=Q")
NSID_GROUP = 28  # RTNLGRP_NSID


def inode(fd: int) -> int:
    return os.fstat(fd).st_ino


def here() -> int:
    """The inode of the calling thread's network namespace."""
    return os.stat(system.NETNS).st_ino


def enters(fd: int, kind: int, wanted: int) -> str:
    """Enters a namespace in a child: the errno, or whether it is the wanted one."""

    def work() -> str:
        error = errno_of(lambda: system.enter(fd, kind))
        return error if error != "ok" else ("entered" if here() == wanted else "elsewhere")

    return str(in_child(work))


# ---- setns ----


@probe("netns.setns.{}", SPEC, "For a network namespace, setns with nstype {}.", source=INSTALL,
       cases={"any": (0,), "net": (system.CLONE_NEWNET,), "uts": (system.CLONE_NEWUTS,), "net-and-uts":
              (system.CLONE_NEWNET | system.CLONE_NEWUTS,)},
       texts={"any": "0 enters it", "net": "CLONE_NEWNET enters it", "uts": "CLONE_NEWUTS is refused with EINVAL",
              "net-and-uts": "CLONE_NEWNET | CLONE_NEWUTS is refused with EINVAL"})  # fmt: skip
def setns_type(world: World, kind: int) -> Value:
    return enters(world.target.fd, kind, inode(world.target.fd))


@probe("netns.setns.{}", SPEC,
       "For a descriptor that is no network namespace, setns is refused with EINVAL: {}.", source=INSTALL,
       cases={"file": ("/dev/null",), "uts-namespace": ("/proc/self/ns/uts",)},
       texts={"uts-namespace": "a UTS namespace"})  # fmt: skip
def setns_wrong(world: World, path: str) -> Value:
    return enters(world.open(path), system.CLONE_NEWNET, 0)


@probe(
    "netns.setns.closed", ABI, "For a number that is no open descriptor, setns is refused with EBADF.", source=INSTALL
)
def setns_closed(world: World) -> Value:
    del world
    return enters(900, system.CLONE_NEWNET, 0)


@probe(
    "netns.setns.o-path",
    ABI,
    "For an O_PATH descriptor of a network namespace, setns is refused with EBADF.",
    source=INSTALL,
)
def setns_path(world: World) -> Value:
    with world.target.entered():
        fd = world.open(system.NETNS, os.O_PATH)
    return enters(fd, system.CLONE_NEWNET, inode(world.target.fd))


@probe("netns.setns.pidfd-{}", ABI, "For a pidfd, setns with nstype {}.",
       source="kernel/nsproxy.c, setns (5.8)", cases={"net": (system.CLONE_NEWNET,), "zero": (0,)},
       texts={"net": "CLONE_NEWNET enters the process's namespace", "zero": "0 is refused with EINVAL"})  # fmt: skip
def setns_pidfd(world: World, kind: int) -> Value:
    pid = world.process_in(world.target)
    fd = os.pidfd_open(pid)
    try:
        return enters(fd, kind, inode(world.target.fd))
    finally:
        os.close(fd)


@probe("netns.setns.one-thread", SPEC,
       "A setns changes the calling thread alone, and not /proc/self/ns/net.",
       source=INSTALL)  # fmt: skip
def one_thread(world: World) -> Value:
    target = world.target.fd

    def work() -> Value:
        home = here()
        seen: list[bool] = []

        def enter() -> None:
            system.enter(target)
            seen.extend((here() == inode(target), os.stat("/proc/self/ns/net").st_ino == home))

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        return {"thread": seen[0], "proc-self-stays": seen[1], "main-stays": here() == home}

    return in_child(work)


@probe("netns.setns.new-thread", ABI,
       "A new thread and a forked process start in the namespace of the thread that made them.",
       source="kernel/nsproxy.c, copy_namespaces")  # fmt: skip
def new_thread(world: World) -> Value:
    found: list[int] = []
    with world.target.entered():
        thread = threading.Thread(target=lambda: found.append(here()))
        thread.start()
        thread.join()
        forked = in_child(here)
    return {"thread": found[0] == inode(world.target.fd), "process": forked == inode(world.target.fd)}


# ---- names of a namespace ----


@probe("netns.name.bind-mount", SPEC, "A namespace can be entered, and moved to, by a bind mount of it.",
       source="fs/nsfs.c, ns_get_path")  # fmt: skip
def bind_mount(world: World) -> Value:
    path = os.path.join(world.directory(), "name")
    device = world.source.device(b"eth1")
    fd, source = world.target.fd, world.source

    def work() -> Value:
        system.unshare(system.CLONE_NEWNS)
        open(path, "w", encoding="ascii").close()
        before = os.stat(path).st_ino
        system.mount(f"/proc/self/fd/{fd}".encode(), path.encode(), None, system.MS_BIND)
        opened = os.open(path, os.O_RDONLY)
        moved = source.request(requests.set_link(device.ifindex, requests.ns_fd(opened))).error
        return {"same": inode(opened) == inode(fd), "file-before": before != inode(fd),
                "setns": enters(opened, system.CLONE_NEWNET, inode(fd)), "move": moved}  # fmt: skip

    return in_child(work)


@probe("netns.name.two-names", SPEC, "Two names of one namespace have one inode; two namespaces have two.",
       source="fs/nsfs.c, ns_get_path")  # fmt: skip
def two_names(world: World) -> Value:
    with world.target.entered():
        other = world.open(system.NETNS)
    a, b, c = (os.fstat(each) for each in (world.target.fd, other, world.source.fd))
    return {"one": (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino), "two": a.st_ino == c.st_ino}


@probe(
    "netns.name.link-text",
    ABI,
    "The link /proc/thread-self/ns/net names the inode.",
    source="fs/nsfs.c, ns_dname",
)
def link_text(world: World) -> Value:
    with world.target.entered():
        return os.readlink(system.NETNS) == f"net:[{inode(world.target.fd)}]"


# ---- ioctls ----


def ioctl_name(fd: int, number: int) -> str:
    try:
        found = fcntl.ioctl(fd, number)
    except OSError as e:
        return errno.errorcode.get(e.errno or 0, "?")
    return f"{found:#x}"


@probe("netns.nstype.{}", SPEC, "NS_GET_NSTYPE {}.", source=NSFS,
       cases={"network": ("/proc/self/ns/net",), "uts": ("/proc/self/ns/uts",), "file": ("/dev/null",)},
       texts={"network": "returns CLONE_NEWNET for a network namespace",
              "uts": "returns CLONE_NEWUTS for a UTS namespace", "file": "fails with ENOTTY for a file"})  # fmt: skip
def nstype(world: World, path: str) -> Value:
    return ioctl_name(world.open(path), uapi.NS_GET_NSTYPE)


@probe("netns.nstype.o-path", ABI, "NS_GET_NSTYPE fails with EBADF for an O_PATH descriptor.", source=NSFS)
def nstype_path(world: World) -> Value:
    return ioctl_name(world.open(system.NETNS, os.O_PATH), uapi.NS_GET_NSTYPE)


@probe(
    "netns.ioctl.userns",
    ABI,
    "NS_GET_USERNS returns the user namespace that owns the network namespace.",
    source=NSFS,
)
def get_userns(world: World) -> Value:
    fd = fcntl.ioctl(world.target.fd, NS_GET_USERNS)
    with os.fdopen(fd, "rb", buffering=0):
        own = os.stat("/proc/self/ns/user").st_ino
        return {"own": inode(fd) == own, "type": ioctl_name(fd, uapi.NS_GET_NSTYPE)}


@probe("netns.ioctl.{}", ABI, "An ioctl that does not apply to a network namespace fails with EINVAL: {}.", source=NSFS,
       cases={"parent": (NS_GET_PARENT,), "owner-uid": (NS_GET_OWNER_UID,)},
       texts={"parent": "NS_GET_PARENT", "owner-uid": "NS_GET_OWNER_UID"})  # fmt: skip
def ioctl_other(world: World, number: int) -> Value:
    return ioctl_name(world.target.fd, number)


@probe("netns.ioctl.userns-from-below", ABI, "NS_GET_USERNS from a user namespace below fails with EPERM.", source=NSFS)
def userns_below(world: World) -> Value:
    fd = world.target.fd
    return in_user_namespace(lambda _: ioctl_name(fd, NS_GET_USERNS))


@probe(
    "netns.ioctl.socket",
    ABI,
    "SIOCGSKNS returns a descriptor of a socket's namespace.",
    source="net/socket.c, sock_ioctl",
)
def of_socket(world: World) -> Value:
    with Raw(world.target.fd) as raw:
        fd = fcntl.ioctl(raw.socket.fileno(), SIOCGSKNS)
    with os.fdopen(fd, "rb", buffering=0):
        return inode(fd) == inode(world.target.fd)


@probe("netns.ioctl.pidfd", VARIES, "The outcome of PIDFD_GET_NET_NAMESPACE on a pidfd.",
       source="fs/pidfs.c, pidfd_ioctl (6.11)")  # fmt: skip
def of_pidfd(world: World) -> Value:
    pidfd = os.pidfd_open(world.process_in(world.target))
    try:
        fd = fcntl.ioctl(pidfd, PIDFD_GET_NET_NAMESPACE)
    except OSError as e:
        return errno.errorcode.get(e.errno or 0, "?")
    finally:
        os.close(pidfd)
    with os.fdopen(fd, "rb", buffering=0):
        return "same" if inode(fd) == inode(world.target.fd) else "other"


# ---- sockets ----


@probe("netns.socket.stays", SPEC, "A socket stays in the namespace in which it was made, whatever its thread enters.",
       source="net/socket.c, sock_create")  # fmt: skip
def socket_stays(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw, world.target.entered():
        raw.send(requests.set_link(device.ifindex, up=True))
        return raw.acks()


@probe("netns.cookie.{}", VARIES, "SO_NETNS_COOKIE {} compared.", source="net/core/sock.c, sk_getsockopt (5.14)",
       cases={"same": ("source", "source"), "different": ("source", "target")},
       texts={"same": "of two sockets of one namespace", "different": "of sockets of two namespaces"})  # fmt: skip
def cookie(world: World, first: str, second: str) -> Value:
    a, b = (cookie_of(world.namespace(name).fd) for name in (first, second))
    return a == b if a is not None else "ENOPROTOOPT"


def cookie_of(fd: int) -> int | None:
    with Raw(fd) as raw:
        try:
            return int(U64.unpack(raw.socket.getsockopt(socket.SOL_SOCKET, uapi.SO_NETNS_COOKIE, 8))[0])
        except OSError as e:
            if e.errno != errno.ENOPROTOOPT:
                raise
            return None
