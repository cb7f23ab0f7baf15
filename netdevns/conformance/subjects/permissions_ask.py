"""Permission found out by requests that change nothing; other users' processes; what needs no privilege."""

from __future__ import annotations

import os
import socket
import threading

from ...netlink import uapi, wire
from .. import requests, system
from ..probe import ABI, ROOT, SPEC, VARIES, NotAvailable, Value, probe
from ..requests import new_nsid, ns_fd, ns_pid, set_link
from ..world import Namespace, World, error_name
from .permissions import NET_ADMIN, SEND, TARGET, errno_of, in_child, in_user_namespace, raw_error, tried
from .raw import Raw

NOBODY = 4711  # an ifindex that no device has
STRANGER = 65534  # a uid without rights
FORWARDING = "ipv4/conf/lo/forwarding"


# ---- requests that change nothing ----


@probe(
    "permissions.ask.allowed",
    SPEC,
    "A move of an ifindex that no device has fails with ENODEV for a sender that may move devices.",
    source=TARGET,
)
def ask_allowed(world: World) -> Value:
    return world.source.request(set_link(NOBODY, ns_fd(world.target.fd))).error


@probe(
    "permissions.ask.no-right-in-source",
    SPEC,
    "A move of an ifindex that no device has is refused with EPERM without CAP_NET_ADMIN in the source.",
    source=SEND,
)
def ask_source(world: World) -> Value:
    target = world.target.fd
    with Raw(world.source.fd) as raw:
        return in_user_namespace(lambda _: raw_error(raw, set_link(NOBODY, ns_fd(target))))


@probe(
    "permissions.ask.no-right-in-target",
    VARIES,
    "The errno of a move of an ifindex that no device has, without CAP_NET_ADMIN in the target.",
    source=TARGET,
)
def ask_target(world: World) -> Value:
    target = world.target.fd
    return in_user_namespace(lambda own: own.request(set_link(NOBODY, ns_fd(target))).error)


@probe(
    "permissions.ask.no-right-in-target.existing",
    SPEC,
    "A move of a device is refused with EPERM without CAP_NET_ADMIN in the target.",
    source=TARGET,
)
def ask_existing(world: World) -> Value:
    target = world.target.fd

    def work(own: Namespace) -> Value:
        error = tried(own, b"eth1", target)
        return {"error": error, "stays": own.link(b"eth1") is not None}

    return in_user_namespace(work)


EMPTY = set_link(NOBODY)


@probe(
    "permissions.ask.empty.allowed",
    SPEC,
    "An empty change of an ifindex that no device has fails with ENODEV for a sender that may make it.",
    source=SEND,
)
def ask_empty(world: World) -> Value:
    return world.source.request(EMPTY).error


@probe(
    "permissions.ask.empty.no-right",
    SPEC,
    "An empty change of an ifindex that no device has is refused with EPERM without CAP_NET_ADMIN.",
    source=SEND,
)
def ask_empty_refused(world: World) -> Value:
    with Raw(world.source.fd) as raw:
        return in_user_namespace(lambda _: raw_error(raw, EMPTY))


def ask_by_ifindex(namespace: Namespace, target: int) -> Value:
    """A move to the ifindex of lo, which is taken; 5.10 ignores the attribute."""
    device = namespace.device(b"eth1")
    busy = ns_fd(target) + requests.new_ifindex(1)
    error = namespace.request(set_link(device.ifindex, busy)).error
    return {"error": error, "stays": namespace.link(b"eth1") is not None}


@probe("permissions.ask.by-ifindex.allowed", VARIES,
       "The outcome of a move to a taken ifindex, for a sender that may move devices.",
       source=TARGET + "; net/core/dev.c, __dev_change_net_namespace")  # fmt: skip
def ask_busy(world: World) -> Value:
    return ask_by_ifindex(world.source, world.target.fd)


@probe("permissions.ask.by-ifindex.no-right-in-target", SPEC,
       "A move to a taken ifindex is refused with EPERM without CAP_NET_ADMIN in the target.",
       source=TARGET + "; net/core/dev.c, __dev_change_net_namespace")  # fmt: skip
def ask_busy_target(world: World) -> Value:
    target = world.target.fd
    return in_user_namespace(lambda own: ask_by_ifindex(own, target))


# ---- other users' processes ----


@probe("permissions.pid.of-another-user", SPEC, "IFLA_NET_NS_PID may name another user's process.",
       source="net/core/net_namespace.c, get_net_ns_by_pid", needs=(ROOT,))  # fmt: skip
def pid_other(world: World) -> Value:
    device = world.source.device(b"eth1")
    fd = world.target.fd

    def work(write: int) -> None:
        system.enter(fd)
        os.setuid(STRANGER)
        os.write(write, b".")
        threading.Event().wait()

    pid, ready = system.spawn(work)
    os.read(ready, 1)
    os.close(ready)
    return world.outcome(device, world.source.request(set_link(device.ifindex, ns_pid(pid))))


@probe("permissions.pid.opened-by-another-user", ABI,
       "A process that may not trace another one cannot open its /proc/PID/ns/net (EACCES).",
       source="fs/proc/namespaces.c, proc_ns_get_link", needs=(ROOT,))  # fmt: skip
def pid_opened(world: World) -> Value:
    del world
    mine = os.readlink("/proc/self")

    def work() -> str:
        os.setuid(STRANGER)
        return errno_of(lambda: os.open(f"/proc/{mine}/ns/net", os.O_RDONLY))

    return in_child(work)


# ---- dumps, ids, sysctls ----


@probe("permissions.nothing.dump-{}", SPEC, "A dump by a process without capabilities is complete: {}.", source=SEND,
       cases={"links": (uapi.RTM_GETLINK,), "addresses": (uapi.RTM_GETADDR,),
              "routes": (uapi.RTM_GETROUTE,)})  # fmt: skip
def dump_without(world: World, type_: int) -> Value:
    device = world.source.device(b"eth1")
    world.source.must(set_link(device.ifindex, up=True))
    world.source.must(requests.address(device.ifindex, "10.0.0.1/24"))
    fd = world.source.fd

    def counted() -> int:
        raw = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        raw.send(requests.dump(type_, uapi.AF_INET if type_ != uapi.RTM_GETLINK else 0))
        return len([m for m in wire.messages(raw.recv(1 << 16)) if m.type not in (uapi.NLMSG_ERROR, uapi.NLMSG_DONE)])

    def work() -> Value:
        system.enter(fd)
        before = counted()
        system.drop_capabilities(*range(32))
        return {"same": counted() == before, "any": before > 0}

    return in_child(work)


@probe("permissions.nsid.{}", ABI, "IFLA_TARGET_NETNSID in a look-up {} over the other namespace.",
       source="net/core/rtnetlink.c, rtnl_get_net_ns_capable",
       cases={"with": (False,), "without": (True,)},
       texts={"with": "succeeds with CAP_NET_ADMIN", "without": "fails with EACCES without CAP_NET_ADMIN"})  # fmt: skip
def nsid_get(world: World, drop: bool) -> Value:
    world.source.must(new_nsid(world.target.fd, 7))
    message = wire.link_message(uapi.RTM_GETLINK, 0, 1, requests.target_nsid(7))
    fd = world.source.fd

    def work() -> str:
        system.enter(fd)
        if drop:
            system.drop_capabilities(NET_ADMIN)
        raw = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        raw.send(message)
        (answer,) = wire.messages(raw.recv(1 << 16))
        return "found" if answer.type == uapi.RTM_NEWLINK else error_name(-wire.S32.unpack_from(answer.body)[0])

    return in_child(work)


def write_sysctl(path: str) -> str:
    def write() -> None:
        with open(f"/proc/sys/net/{path}", "r+", encoding="ascii") as file:
            value = file.read()
            file.seek(0)
            file.write(value)

    return errno_of(write)


@probe("permissions.sysctl.own", SPEC,
       "Root of a user namespace may write a sysctl of a network namespace that it owns.",
       source="net/sysctl_net.c, net_ctl_permissions")  # fmt: skip
def sysctl_own(world: World) -> Value:
    del world
    return in_user_namespace(lambda _: write_sysctl(FORWARDING))


@probe("permissions.sysctl.of-the-parent", ABI,
       "Root of a user namespace may write a sysctl of the parent's network namespace if its uid there is 0.",
       source="fs/proc/proc_sysctl.c, test_perm", needs=(ROOT,))  # fmt: skip
def sysctl_parent(world: World) -> Value:
    fd = world.source.fd

    def work() -> str:
        system.enter(fd)
        try:
            system.enter_user_namespace()
        except OSError as e:
            return f"no user namespaces: {e}"
        return write_sysctl("ipv4/conf/lo/arp_ignore")

    found = str(in_child(work))
    if found.startswith("no user"):
        raise NotAvailable(found)
    return found


@probe("permissions.sysctl.root-without-net-admin.{}", ABI, "{}.",
       source="fs/proc/proc_sysctl.c, test_perm; net/ipv4/devinet.c, devinet_sysctl_forward", needs=(ROOT,),
       kinds={"forwarding": VARIES}, cases={"arp-ignore": ("ipv4/conf/lo/arp_ignore",), "forwarding": (FORWARDING,)},
       texts={"arp-ignore": "Root without CAP_NET_ADMIN may write ipv4/conf/lo/arp_ignore",
              "forwarding": "The errno of writing ipv4/conf/lo/forwarding as root without CAP_NET_ADMIN"})  # fmt: skip
def sysctl_root(world: World, path: str) -> Value:
    fd = world.source.fd

    def work() -> str:
        system.enter(fd)
        system.drop_capabilities(NET_ADMIN, 1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        return write_sysctl(path)

    return in_child(work)
