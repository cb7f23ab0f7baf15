"""A plain netlink socket, for probes of notifications, dumps and acks; this module has no probes."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable

from ...netlink import uapi, wire
from .. import system
from ..world import ROOM, error_name, reply_of

NETLINK_KOBJECT_UEVENT = 15  # linux/netlink.h
NETLINK_LISTEN_ALL_NSID = 8
TYPES = {
    uapi.NLMSG_ERROR: "ack",
    uapi.NLMSG_DONE: "done",
    uapi.RTM_NEWLINK: "newlink",
    uapi.RTM_DELLINK: "dellink",
    uapi.RTM_NEWADDR: "newaddr",
    uapi.RTM_DELADDR: "deladdr",
    uapi.RTM_NEWROUTE: "newroute",
    uapi.RTM_DELROUTE: "delroute",
    uapi.RTM_NEWNEIGH: "newneigh",
    29: "delneigh",
    80: "newnetconf",
    81: "delnetconf",
    88: "newnsid",
    89: "delnsid",
    uapi.RTM_NEWNEXTHOP: "newnexthop",
    105: "delnexthop",
}


class Raw:
    """A netlink socket in a namespace, without a client's options, numbering and retries.

    Args:
        fd: The namespace.
        options: Of SOL_NETLINK, to be set to 1.
        room: SO_RCVBUF; 0: the default.
        protocol: 0 is NETLINK_ROUTE.
        groups: A bit for each group to listen to.
    """

    def __init__(
        self, fd: int, *options: int, room: int = 0, protocol: int = 0, groups: int = 0, sender_room: int = 0
    ) -> None:
        with system.entered(fd):
            self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        for option in options:
            self.socket.setsockopt(uapi.SOL_NETLINK, option, 1)
        if room:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        if sender_room:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sender_room)
        self.socket.bind((0, groups))
        self.portid = int(self.socket.getsockname()[0])

    def send(self, *messages: bytes, first: int = 1) -> str:
        """Sends messages in one datagram, numbered from `first` on; "ok" or the errno of send(2)."""
        return self.send_as_is(b"".join(numbered(message, first + i) for i, message in enumerate(messages)))

    def send_as_is(self, data: bytes) -> str:
        try:
            self.socket.send(data)
        except OSError as e:
            return error_name(e.errno or 0)
        return "ok"

    def datagram(self, room: int = ROOM) -> bytes | str | None:
        """The next datagram; None: there is none; a string: the errno."""
        try:
            return self.socket.recv(room, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError as e:
            return error_name(e.errno or errno.EIO)

    def messages(self) -> list[wire.Message]:
        """All that can be read now; errors of the socket are skipped."""
        found: list[wire.Message] = []
        while (data := self.datagram()) is not None:
            if isinstance(data, bytes):
                found += wire.messages(data)
        return found

    def acks(self) -> list[str]:
        """The seq and the error of each ack that can be read now: "2 ENODEV"."""
        return [f"{m.seq} {reply_of(m.padded()).error}" for m in self.messages() if m.type == uapi.NLMSG_ERROR]

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def numbered(message: bytes, seq: int, portid: int = 0) -> bytes:
    """The message with a seq and an nlmsg_pid."""
    return message[:8] + struct.pack("=II", seq, portid) + message[16:]


def flagged(message: bytes, flags: int) -> bytes:
    """The message with exactly these flags in its header."""
    return message[:6] + struct.pack("=H", flags) + message[8:]


def kinds(messages: Iterable[wire.Message]) -> list[str]:
    """The types of messages, with the family and, for links, the name: "newlink eth1", "deladdr4"."""
    return [kind_of(message) for message in messages]


def kind_of(message: wire.Message) -> str:
    kind = TYPES.get(message.type, str(message.type))
    family = {2: "4", 7: "-bridge", 10: "6"}.get(message.body[0] if message.body else 0, "")
    if message.type in (uapi.RTM_NEWLINK, uapi.RTM_DELLINK):
        return f"{kind}{family} {wire.Link(message.body).name.decode()}"
    return kind if message.type <= uapi.NLMSG_DONE else kind + family
