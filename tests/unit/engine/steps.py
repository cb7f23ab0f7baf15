"""One device on the model of two namespaces, whose steps a test calls: eth1 (ifindex 7) is in the source.

The target has lo only. The fixture `run` (conftest.py) begins.
"""

import socket
import struct

import pytest

from netdevns.engine import RESTORE, RETURN, Device, EngineError
from tests.unit import messages as nl
from tests.unit.fake import Namespace, World

U32 = struct.Struct("=I").pack
IPV4 = nl.address_body("10.0.0.1/24", 7, more={nl.IFA_LABEL: b"eth1\0"})
SECOND = nl.address_body("10.0.0.2/24", 7, more={nl.IFA_LABEL: b"eth1:x\0"})
IPV6 = nl.address_body("2001:db8::1/64", 7)
SECOND6 = nl.address_body("2001:db8::2/64", 7)
PEER6 = nl.address_body("2001:db8:1::1/64", 7, peer="2001:db8:2::1")


def local(body: bytes) -> str:
    found = nl.attrs(body[8:])
    return socket.inet_ntop(body[0], found.get(nl.IFA_LOCAL, found[nl.IFA_ADDRESS]))


def flags_of(body: bytes) -> int:
    return struct.unpack("=I", nl.attrs(body[8:])[nl.IFA_FLAGS])[0]


def failure(call, *args) -> EngineError:
    with pytest.raises(EngineError) as caught:
        call(*args)
    return caught.value


class Run:
    """A world with one device, whose snapshot was taken."""

    def __init__(self, world: World, source, target, dev: Device) -> None:
        self.world, self.source, self.target, self.dev = world, source, target, dev

    def move(self) -> None:
        self.dev.move(self.source, self.target, self.world.TARGET_FD)

    def undo(self, parts: int = RETURN | RESTORE) -> None:
        self.dev.undo(self.source, self.target, self.world.SOURCE_FD, parts)

    def replay(self) -> None:
        self.dev.up_and_replay(self.target)

    def verify(self) -> None:
        self.dev.verify(self.target)


def refuse(code: int, *, times: int = 10**6, when=lambda _: True):
    """A fault: `code` for the next `times` messages for which `when` is true."""
    left = [times]

    def fault(request: nl.Request) -> int:
        if left[0] and when(request):
            left[0] -= 1
            return code
        return 0

    return fault


def is_move(request: nl.Request) -> bool:
    return request.type == nl.RTM_NEWLINK and nl.IFLA_NET_NS_FD in request.attrs()


class Fault:
    """Refuses the message with a number, counted over both namespaces, or all from it on; before or after doing it."""

    def __init__(self, at: int, code: int, *, late: bool, last: bool) -> None:
        self.at, self.code, self.late, self.last = at, code, late, last
        self.seen = 0

    def install(self, *namespaces: Namespace) -> None:
        for namespace in namespaces:
            if self.late:
                namespace.late_fault = self
            else:
                namespace.fault = self

    def __call__(self, _: nl.Request) -> int:
        self.seen += 1
        return self.code if self.seen - 1 == self.at or (self.last and self.seen > self.at) else 0


def wire_form(request: nl.Request) -> str:
    """A message in hexadecimal, without nlmsg_seq and nlmsg_pid."""
    return (request.data[:8] + bytes(8) + request.data[16:]).hex()
