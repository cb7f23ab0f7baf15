"""A probe's environment: fresh network namespaces, a netlink socket in each, and ways to inspect the outcome."""

from __future__ import annotations

import dataclasses
import errno
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ..netlink import rtnl, uapi, wire
from . import requests, system
from .probe import NotAvailable, Value

NLMSGERR_ATTR_OFFS = 2  # linux/netlink.h
NETLINK_ADD_MEMBERSHIP = 1
ADDR_GEN_MODE = "ipv6/conf/default/addr_gen_mode"
LISTENER_BYTES = 4 << 20
ROOM = 1 << 16
OK = "ok"
ERRORS = {
    **errno.errorcode,
    errno.EAGAIN: "EAGAIN",
    errno.EOPNOTSUPP: "EOPNOTSUPP",
    524: "ENOTSUPP",
}  # the kernel's names


class SetupFailed(Exception):
    """A probe's set-up failed, although the kernel has what it needs."""


def error_name(code: int) -> str:
    """ "EINVAL" for 22, "ok" for 0; the number, if it has no name."""
    return ERRORS.get(code, str(code)) if code else OK


@dataclasses.dataclass(frozen=True)
class Reply:
    """The kernel's answer to a request: "ok" or the errno's name, the extack text, and the offset at fault."""

    error: str
    extack: str = ""
    offset: int | None = None
    answers: tuple[wire.Message, ...] = ()  # besides the ack

    @property
    def said(self) -> Value:
        """The extack text, and the offset of the attribute at fault."""
        return {"extack": self.extack, "offset": self.offset}


def reply_of(data: bytes) -> Reply:
    """The last ack among messages, and the others."""
    messages = list(wire.messages(data))
    acks = [m for m in messages if m.type == uapi.NLMSG_ERROR]
    others = tuple(m for m in messages if m.type != uapi.NLMSG_ERROR)
    if not acks:
        return Reply(OK, answers=others)
    code, text = wire.error(acks[-1])
    return Reply(error_name(code), text, offset_of(acks[-1]), others)


def offset_of(message: wire.Message) -> int | None:
    """NLMSGERR_ATTR_OFFS, after the request or, with CAP_ACK, after its header."""
    at = 20
    if not message.flags & uapi.NLM_F_CAPPED:
        at = 4 + ((int(wire.U32.unpack_from(message.body, 4)[0]) + 3) & ~3)
    if not message.flags & uapi.NLM_F_ACK_TLVS:
        return None
    return wire.u32(wire.attrs(message.body, at, strict=False).get(NLMSGERR_ATTR_OFFS))


@dataclasses.dataclass(frozen=True)
class Device:
    """A device that a probe made; kind and MAC identify it under any name, ifindex and namespace."""

    name: bytes
    ifindex: int
    kind: bytes
    mac: bytes


class Listener:
    """Receives the notifications of a namespace from now on.

    The kernel queues notifications before it answers the request that caused them, so a read until the queue is empty
    has them all. Later ones (duplicate address detection, carrier, the end of a namespace) are waited for by `until`.
    """

    def __init__(self, fd: int, groups: Iterable[int]) -> None:
        with system.entered(fd):
            self.raw = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            self.raw.setsockopt(socket.SOL_SOCKET, uapi.SO_RCVBUFFORCE, LISTENER_BYTES)
        except OSError:  # in a user namespace: up to net.core.rmem_max
            self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LISTENER_BYTES)
        self.raw.bind((0, 0))
        for group in groups:
            self.raw.setsockopt(uapi.SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def read(self) -> list[wire.Message]:
        """The messages since the last call."""
        return [message for data in _queued(self.raw) for message in wire.messages(data)]

    def until(self, wanted: Callable[[wire.Message], bool], timeout_s: float = 60) -> list[wire.Message]:
        """The messages up to a wanted one, which is the last. Raises SetupFailed if none arrives in time."""
        end = time.monotonic() + timeout_s
        found: list[wire.Message] = []
        while time.monotonic() < end:
            for message in self.read():
                found.append(message)
                if wanted(message):
                    return found
            time.sleep(0.002)
        raise SetupFailed(f"the notification did not arrive within {timeout_s} s; {len(found)} others did")


def _queued(raw: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield raw.recv(ROOM, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return


class Namespace:
    """A fresh network namespace. lo is down; new devices get no link-local address, unless asked for.

    Attributes:
        fd: Its descriptor.
        name: Its name in values.
    """

    def __init__(self, name: str, *, link_local: bool = False) -> None:
        home = system.current()
        try:
            system.unshare(system.CLONE_NEWNET)
            self._take(name, system.current())
        finally:
            system.enter(home)
            os.close(home)
        if not link_local and os.path.exists("/proc/sys/net/ipv6"):
            self.sysctl(ADDR_GEN_MODE, uapi.IN6_ADDR_GEN_MODE_NONE)

    def _take(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self.socket = rtnl.Socket(fd)

    @classmethod
    def open(cls, name: str, fd: int) -> Namespace:
        """An existing namespace; takes over the descriptor."""
        self = cls.__new__(cls)
        self._take(name, fd)
        return self

    def close(self) -> None:
        self.socket.close()
        os.close(self.fd)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Runs the block in this namespace."""
        with system.entered(self.fd):
            yield

    # ---- requests ----

    def request(self, message: bytes) -> Reply:
        """Sends one request, or several in one datagram; the last one's answer."""
        return reply_of(self.socket.query(message)[1])

    def must(self, message: bytes) -> Reply:
        """Sends a request of the set-up. Raises SetupFailed if it is refused."""
        reply = self.request(message)
        if reply.error != OK:
            raise SetupFailed(f"{self.name}: {reply.error} {reply.extack}".rstrip())
        return reply

    def replies(self, data: bytes) -> list[Reply]:
        """Sends a datagram as it is, even a malformed one; a Reply for each ack."""
        with self.entered():
            raw = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        with raw:
            for option in (uapi.NETLINK_EXT_ACK, uapi.NETLINK_CAP_ACK):
                raw.setsockopt(uapi.SOL_NETLINK, option, 1)
            raw.bind((0, 0))
            raw.send(data)
            # When send returns, the kernel has carried out all requests and queued all answers.
            messages = [m for datagram in _queued(raw) for m in wire.messages(datagram)]
        return [reply_of(m.padded()) for m in messages if m.type == uapi.NLMSG_ERROR]

    def listener(self, *groups: int) -> Listener:
        """RTNLGRP_* numbers (linux/rtnetlink.h): 1 is links, 5 IPv4 and 9 IPv6 addresses."""
        return Listener(self.fd, groups)

    # ---- devices ----

    def make(self, kind: bytes, name: bytes, attrs: bytes = b"", data: bytes = b"") -> Device:
        """Makes a device. Raises NotAvailable if the kernel has no such kind."""
        message = requests.new_link(kind, name, attrs, data)
        if kind == b"veth" and not data:
            message = requests.new_veth(name, b"p-" + name[:13], attrs)
        reply = self.request(message)
        if reply.error == "EOPNOTSUPP":
            raise NotAvailable(f"no {kind.decode()} devices in this kernel")
        if reply.error != OK:
            raise SetupFailed(f"a new {kind.decode()} {name!r}: {reply.error} {reply.extack}".rstrip())
        return self.known(name)

    def device(self, name: bytes, attrs: bytes = b"") -> Device:
        """Makes a device of any simple kind. It is down."""
        for kind in (b"ifb", b"dummy"):
            try:
                return self.make(kind, name, attrs)
            except NotAvailable:
                continue
        raise NotAvailable("neither ifb nor dummy devices in this kernel")

    def known(self, name: bytes) -> Device:
        """An existing device. Raises SetupFailed if there is none."""
        link = self.link(name)
        if link is None:
            raise SetupFailed(f"no {name!r} in {self.name}")
        return Device(link.name, link.ifindex, link.kind, link.mac)

    def links(self) -> list[wire.Link]:
        reply = self.request(requests.dump(uapi.RTM_GETLINK))
        return [wire.Link(message.body) for message in reply.answers if message.type == uapi.RTM_NEWLINK]

    def link(self, name: bytes) -> wire.Link | None:
        """The device of this name; alternative names are not searched."""
        return next((link for link in self.links() if link.name == name), None)

    def attributes(self, ifindex: int) -> dict[int, memoryview]:
        """The attributes of a device, IFLA_*; empty if there is no such device."""
        for message in self.request(wire.link_message(uapi.RTM_GETLINK, 0, ifindex)).answers:
            return wire.attrs(message.body, wire.IFINFOMSG.size)
        return {}

    def dump(self, type_: int, family: int = 0, body: bytes = b"") -> list[wire.Message]:
        """The messages of a dump: RTM_GETADDR, RTM_GETROUTE, ..."""
        reply = self.request(requests.dump(type_, family, body))
        if reply.error != OK:
            raise SetupFailed(f"a dump: {reply.error} {reply.extack}".rstrip())
        return list(reply.answers)

    # ---- /proc/sys/net ----

    def sysctl(self, path: str, value: object = None) -> str:
        """Writes a file of /proc/sys/net, if a value is given, and reads it."""
        with self.entered():
            full = f"/proc/sys/net/{path}"
            if value is not None:
                with open(full, "w", encoding="ascii") as file:
                    file.write(str(value))
            with open(full, encoding="ascii") as file:
                return file.read().strip()


class World:
    """A probe's namespaces, made on first use.

    Attributes:
        is_root: Whether this is root outside of user namespaces.
    """

    def __init__(self, is_root: bool) -> None:
        self.is_root = is_root
        self.namespaces: dict[str, Namespace] = {}
        self._fds: list[int] = []

    def __enter__(self) -> World:
        return self

    def __exit__(self, *exc: object) -> None:
        for namespace in self.namespaces.values():
            namespace.close()
        for fd in self._fds:
            os.close(fd)

    @property
    def source(self) -> Namespace:
        return self.namespace("source")

    @property
    def target(self) -> Namespace:
        return self.namespace("target")

    def namespace(self, name: str, *, link_local: bool = False) -> Namespace:
        """The namespace of this name, made on first use."""
        if name not in self.namespaces:
            self.namespaces[name] = Namespace(name, link_local=link_local)
        return self.namespaces[name]

    def open(self, path: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor of a file, closed after the probe."""
        self._fds.append(os.open(path, flags | os.O_CLOEXEC))
        return self._fds[-1]

    def directory(self) -> str:
        """A new directory, on a tmpfs that is gone after the run. Mount only in a child (system)."""
        return tempfile.mkdtemp(dir="/run")

    def process_in(self, namespace: Namespace) -> int:
        """The pid of a process that sleeps in a namespace. It ends with the probe."""

        def work(write: int) -> None:
            system.enter(namespace.fd)
            os.write(write, b".")
            while True:
                time.sleep(60)

        pid, ready = system.spawn(work)
        came_up = os.read(ready, 1)
        os.close(ready)
        if not came_up:
            raise SetupFailed("the process in the namespace did not start")
        return pid

    def dead_pid(self) -> int:
        """The pid of a process that has ended and been reaped; nothing else in this pid namespace takes it."""
        pid, read = system.spawn(lambda _: None)
        os.close(read)
        os.waitpid(pid, 0)
        return pid

    # ---- the outcome ----

    def find(self, device: Device) -> tuple[str, wire.Link] | None:
        """Finds a device by kind and MAC: the namespace's name, and the link."""
        for namespace in self.namespaces.values():
            for link in namespace.links():
                if (link.kind, link.mac) == (device.kind, device.mac):
                    return namespace.name, link
        return None

    def place(self, device: Device) -> str:
        """Where a device is, as text: "target net0 down"."""
        found = self.find(device)
        if found is None:
            return "gone"
        where, link = found
        return f"{where} {os.fsdecode(link.name)} {'up' if link.flags & uapi.IFF_UP else 'down'}"

    def outcome(self, device: Device, reply: Reply) -> Value:
        """The value of most probes: the errno and the device's place; the extack text differs more often."""
        return {"error": reply.error, "device": self.place(device)}


def need_ipv6() -> None:
    """Raises NotAvailable if the kernel has no IPv6, or was booted without (ipv6.disable=1)."""
    if not os.path.exists("/proc/sys/net/ipv6"):
        raise NotAvailable("no IPv6 in this kernel")
