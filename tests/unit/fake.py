"""A scripted kernel on a socketpair, and sockets of the engine that talk to it: no privilege, no namespace, no network.

Two kinds: `Kernel` answers from a script, request by request, and may answer anything. `World` is a small model of two
namespaces with one device, for the steps of a move; its `faults` make it misbehave.
"""

import contextlib
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

from netdevns._ffi import ffi
from netdevns.engine import Device, Socket
from netdevns.netlink import rtnl
from tests.unit import messages as nl

FIRST_SEQ = 1000
Answer = Callable[[list[nl.Request]], list[bytes]]


def socket_on(fd: int, timeout_s: float = 5.0, engine: type = Socket) -> Any:
    """An engine's Socket around a copy of a descriptor. SO_RCVTIMEO stands for the engine's own 10 s."""
    seconds, fraction = divmod(timeout_s, 1)
    own = socket.socket(fileno=os.dup(fd))
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", int(seconds), int(fraction * 1e6)))
    made: Any = engine.__new__(engine)  # past the opening
    made.files = {}
    if issubclass(engine, rtnl.Socket):
        made._use(own, nl.PORTID)
    else:
        made.raw = ffi.new("struct nd_sock *")
        made._err = ffi.new("struct nd_err *")
        made._room = ffi.new("unsigned char[]", 1 << 20)
        made.raw.fd, made.raw.portid = own.detach(), nl.PORTID
    set_seq(made, FIRST_SEQ - 1)
    return made


def set_seq(sock: Any, seq: int) -> None:
    """The seq of the message that was sent last."""
    raw = sock if isinstance(sock, rtnl.Socket) else sock.raw
    raw.seq = seq


@contextlib.contextmanager
def serve(answer: Answer, *, timeout_s: float = 5.0, engine: type = Socket) -> Iterator[Any]:
    """A Socket whose requests are answered by `answer`, in a thread: one call a datagram, any number of datagrams."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    broken: list[BaseException] = []

    def run() -> None:
        while True:
            try:
                data = theirs.recv(1 << 20)
                if not data:
                    return
                for datagram in answer(nl.requests(data)):
                    theirs.send(datagram)
            except (BrokenPipeError, ConnectionResetError):
                return  # the test has seen enough
            except BaseException as e:
                broken.append(e)
                theirs.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    made = socket_on(ours.fileno(), timeout_s, engine)
    ours.close()
    try:
        yield made
    finally:
        made.close()
        thread.join(10)
        theirs.close()
        if broken:
            raise broken[0]


class Kernel:
    """Answers each request by the next entry of a script; records what it was sent."""

    def __init__(self, *script: Answer) -> None:
        self.script = list(script)
        self.sent: list[list[nl.Request]] = []

    def __call__(self, request: list[nl.Request]) -> list[bytes]:
        self.sent.append(request)
        return self.script.pop(0)(request) if self.script else []


class Namespace:
    """Links and addresses of one namespace; `trace` is every message that it was sent, in order."""

    def __init__(self, world: "World", fd: int) -> None:
        self.world = world
        self.fd = fd
        self.links: dict[int, tuple[int, dict[int, bytes]]] = {}  # ifindex -> flags, attributes
        self.addresses: list[bytes] = []  # bodies of RTM_NEWADDR
        self.routes: list[bytes] = []  # bodies of RTM_NEWROUTE with RTA_OIF as their first attribute
        self.trace: list[nl.Request] = []
        self.datagrams: list[list[nl.Request]] = []
        # The errno that a message is refused with, or 0: without obeying it, and after obeying it all the same.
        self.fault: Callable[[nl.Request], int] = lambda _: 0
        self.late_fault: Callable[[nl.Request], int] = lambda _: 0
        self.altnames: dict[str, int] = {}
        # Changes the result of a lookup: (flags, attributes of the link, addresses) -> the same.
        self.tamper: Callable[[int, dict[int, bytes], list[bytes]], tuple[int, dict[int, bytes], list[bytes]]]
        self.tamper = lambda flags, attributes, addresses: (flags, attributes, addresses)

    def __call__(self, datagram: list[nl.Request]) -> list[bytes]:
        self.datagrams.append(datagram)
        answers: list[bytes] = []
        for request in datagram:
            self.trace.append(request)
            code = self.fault(request)
            found: list[bytes] = []
            if not code:
                found, code = self._obey(request)
                code = code or self.late_fault(request)
            answers += [nl.error(code, request)] if code or request.flags & nl.NLM_F_ACK else found
        return answers

    def _obey(self, request: nl.Request) -> tuple[list[bytes], int]:
        if request.type == nl.RTM_GETLINK:
            return self._get_link(request)
        if request.type == nl.RTM_GETADDR:
            return self._get_addresses(request), 0
        if request.type == nl.RTM_NEWLINK:
            return [], self._set_link(request)
        if request.type in (nl.RTM_GETROUTE, nl.RTM_GETNEXTHOP):
            found = self.routes if request.type == nl.RTM_GETROUTE else []
            messages = [nl.message(nl.RTM_NEWROUTE, r, seq=request.seq, flags=nl.NLM_F_MULTI) for r in found]
            return [*messages, nl.done(request)], 0
        if request.type == nl.RTM_NEWROUTE:
            self.routes.append(request.body)
            return [], 0
        if request.type == nl.RTM_DELROUTE:
            return [], 0
        assert request.type == nl.RTM_NEWADDR, request.type
        return [], self._set_address(request.body)

    def _seen(self, ifindex: int) -> tuple[int, dict[int, bytes], list[bytes]]:
        flags, attributes = self.links[ifindex]
        addresses = [a for a in self.addresses if struct.unpack_from("=I", a, 4)[0] == ifindex]
        return self.tamper(flags, dict(attributes), addresses)

    def _get_link(self, request: nl.Request) -> tuple[list[bytes], int]:
        name = request.attrs().get(nl.IFLA_IFNAME, b"").rstrip(b"\0")
        ifindex = request.ifindex
        if not ifindex:
            ifindex = self.altnames.get(name.decode(), 0)
            for i, (_, attributes) in self.links.items():
                if attributes[nl.IFLA_IFNAME].rstrip(b"\0") == name:
                    ifindex = i
        if ifindex not in self.links:
            return [], errno.ENODEV
        flags, attributes, _ = self._seen(ifindex)
        return [nl.message(nl.RTM_NEWLINK, nl.link_body(ifindex, flags, attributes), seq=request.seq)], 0

    def _get_addresses(self, request: nl.Request) -> list[bytes]:
        asked = [request.ifindex] if request.ifindex else [*self.links]  # 0: of all
        found = [a for ifindex in asked if ifindex in self.links for a in self._seen(ifindex)[2]]
        messages = [nl.message(nl.RTM_NEWADDR, a, seq=request.seq, flags=nl.NLM_F_MULTI) for a in found]
        datagrams = [b""]
        for each in messages:
            if len(datagrams[-1]) + len(each) > 4000:
                datagrams.append(b"")
            datagrams[-1] += nl.padded(each)
        return [d for d in datagrams if d] + [nl.done(request)]

    def _set_link(self, request: nl.Request) -> int:
        ifindex, wanted = request.ifindex, request.attrs()
        if ifindex not in self.links:
            return errno.ENODEV
        to = self
        if nl.IFLA_NET_NS_FD in wanted:
            to = self.world.by_fd[struct.unpack("=I", wanted[nl.IFLA_NET_NS_FD])[0]]
            asked = struct.unpack("=I", wanted.get(nl.IFLA_NEW_IFINDEX, bytes(4)))[0]
            if asked in to.links:
                return errno.EBUSY
            flags, attributes = self.links.pop(ifindex)
            attributes = {t: v for t, v in attributes.items() if t != nl.IFLA_MASTER}
            self.routes = [r for r in self.routes if r[16:20] != struct.pack("=I", ifindex)]
            self.addresses = [a for a in self.addresses if struct.unpack_from("=I", a, 4)[0] != ifindex]
            ifindex = asked or (ifindex if ifindex not in to.links else 100)
            to.links[ifindex] = (flags & ~nl.IFF_UP, attributes)
        flags, attributes = to.links[ifindex]
        name = wanted.get(nl.IFLA_IFNAME)
        if name:
            if b"%d" in name:
                taken = [a[nl.IFLA_IFNAME] for _, a in to.links.values()]
                name = next(n for i in range(99) if (n := name.replace(b"%d", b"%d" % i)) not in taken)
            if any(a[nl.IFLA_IFNAME] == name for i, (_, a) in to.links.items() if i != ifindex):
                return errno.EEXIST  # after the move, as in the kernel where the old name is free in the target
            attributes = attributes | {nl.IFLA_IFNAME: name}
        if nl.IFLA_MASTER in wanted:
            attributes = attributes | {nl.IFLA_MASTER: wanted[nl.IFLA_MASTER]}
        change, new = struct.unpack_from("=I", request.body, 12)[0], struct.unpack_from("=I", request.body, 8)[0]
        to.links[ifindex] = (flags & ~change | new & change, attributes)
        return 0

    def _set_address(self, body: bytes) -> int:
        """Replaces the same address in place; a new IPv6 one is tentative unless IFA_F_NODAD."""
        ifindex = struct.unpack_from("=I", body, 4)[0]
        if ifindex not in self.links:
            return errno.ENODEV
        found = nl.attrs(body[8:])
        flags = struct.unpack("=I", found[nl.IFA_FLAGS])[0]
        if nl.IFA_ADDRESS not in found:
            return errno.EINVAL
        if found.get(nl.IFA_CACHEINFO, b"\xff" * 8)[4:8] == b"\xff" * 4:  # ifa_valid
            flags |= nl.IFA_F_PERMANENT
        for at, there in enumerate(self.addresses):
            have = nl.attrs(there[8:])
            if there[4:8] == body[4:8] and have[nl.IFA_ADDRESS] == found[nl.IFA_ADDRESS]:
                self.addresses[at] = self._stored(body, found, flags)
                return 0
        if body[0] == socket.AF_INET6 and not flags & nl.IFA_F_NODAD:
            flags |= nl.IFA_F_TENTATIVE
        # A dump of all families begins with IPv4: there the new one is the last, of IPv6 the first.
        ipv4 = sum(a[0] != socket.AF_INET6 for a in self.addresses)
        self.addresses.insert(ipv4, self._stored(body, found, flags))
        return 0

    @staticmethod
    def _stored(body: bytes, found: dict[int, bytes], flags: int) -> bytes:
        found = found | {nl.IFA_FLAGS: struct.pack("=I", flags)}
        head = body[:2] + bytes([flags & 0xFF]) + body[3:8]
        return head + b"".join(nl.attr(t, v) for t, v in found.items())


class World:
    """Two namespaces; device eth1 (ifindex 7) is up in the source."""

    SOURCE_FD, TARGET_FD = 70, 71  # only numbers in messages: never opened
    MAC = bytes.fromhex("020000000001")

    def __init__(self, *addresses: bytes, up: bool = True) -> None:
        self.source, self.target = Namespace(self, self.SOURCE_FD), Namespace(self, self.TARGET_FD)
        self.by_fd = {self.SOURCE_FD: self.source, self.TARGET_FD: self.target}
        self.source.links[7] = (nl.IFF_UP if up else 0, self.attributes("eth1", self.MAC))
        self.target.links[1] = (nl.IFF_UP, self.attributes("lo", bytes(6)))
        self.source.addresses = list(addresses)

    @staticmethod
    def attributes(name: str, mac: bytes, kind: bytes = b"ifb\0") -> dict[int, bytes]:
        u32 = struct.Struct("=I").pack
        return {
            nl.IFLA_IFNAME: name.encode() + b"\0",
            nl.IFLA_TXQLEN: u32(1000),
            nl.IFLA_MTU: u32(1400),
            nl.IFLA_GROUP: u32(0),
            nl.IFLA_NUM_TX_QUEUES: u32(1),
            nl.IFLA_NUM_RX_QUEUES: u32(1),
            nl.IFLA_GSO_MAX_SIZE: u32(65536),
            nl.IFLA_ADDRESS: mac,
            nl.IFLA_BROADCAST: b"\xff" * 6,
            nl.IFLA_LINKINFO: nl.attr(1, kind),
        }

    @contextlib.contextmanager
    def sockets(self, engine: type = Socket) -> Iterator[tuple[Any, Any]]:
        with serve(self.source, engine=engine) as source, serve(self.target, engine=engine) as target:
            yield source, target


def device(wanted: str = "net0", *, ask: int = 7, unsure: bool = False, engine: type = Device) -> Any:
    """eth1, wanted in the target as `wanted` and ifindex `ask`."""
    made = engine(b"eth1", wanted.encode(), 7)
    made.ask_ifindex(ask, unsure=unsure)
    return made
