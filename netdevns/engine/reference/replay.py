"""Replays a snapshot's addresses into a namespace and compares the result: csrc/replay.c and compare.c in Python."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from struct import Struct

from ...netlink import uapi, wire
from ...netlink.error import EngineError
from ...netlink.ifaddr import dump_addresses
from ...netlink.route import RTMSG
from .address import FOREVER, Address, Link, addresses_in
from .socket import Socket

# A default receive buffer holds about 250 replies; the errors of a whole window must fit.
WINDOW_MESSAGES = 120
WINDOW_BYTES = 16384
IP6_RT_PRIO_ADDRCONF = 256  # net/ip6_route.h: the metric of an address's routes
AT_ONCE = uapi.IFA_F_NODAD | uapi.IFA_F_NOPREFIXROUTE
SAME = ((uapi.IFA_BROADCAST, "broadcast address"), (uapi.IFA_RT_PRIORITY, "metric"), (uapi.IFA_PROTO, "protocol"))
NEWADDR = Struct("=IHHIIBBBBI")  # struct nlmsghdr, struct ifaddrmsg
NEWADDR_FLAGS = uapi.NLM_F_REQUEST | uapi.NLM_F_CREATE | uapi.NLM_F_REPLACE
ATTR_U32 = Struct("=HHI")
LINK_KEPT = {
    uapi.IFLA_BROADCAST: "the link's broadcast address changed",
    uapi.IFLA_MTU: "the MTU changed",
    uapi.IFLA_TXQLEN: "the transmit queue length changed",
    uapi.IFLA_IFALIAS: "the alias changed",
    uapi.IFLA_GROUP: "the group changed",
    uapi.IFLA_NUM_TX_QUEUES: "the number of transmit queues changed",
    uapi.IFLA_NUM_RX_QUEUES: "the number of receive queues changed",
    uapi.IFLA_GSO_MAX_SIZE: "gso_max_size changed",
}


def read(sock: Socket, ifindex: int) -> tuple[wire.Message, bytes]:
    """Reads link and addresses in one exchange; a kernel without strict checking dumps all devices' addresses."""
    _, answer = sock.query(wire.get_link(ifindex) + dump_addresses(ifindex))
    links: list[wire.Message] = []
    found = bytearray()
    for type_, at, end in wire.spans(answer):
        if type_ == uapi.NLMSG_ERROR:
            code, text = wire.error(wire.Message(memoryview(answer)[at - 16 : end]))
            if code:
                raise EngineError(code, text, "exchange")
        # ifi_index and ifa_index both lie 4 bytes behind the header's start.
        elif end - at < 8 or wire.S32.unpack_from(answer, at + 4)[0] != ifindex:
            continue
        elif type_ == uapi.RTM_NEWADDR:
            if not links:
                break
            found += answer[at - 16 : (end + 3) & ~3]
        elif type_ == uapi.RTM_NEWLINK and end - at >= wire.IFINFOMSG.size:
            links.append(wire.Message(memoryview(answer)[at - 16 : end]))
    if len(links) != 1:
        raise EngineError(errno.EBADMSG, "no link in the answer", "exchange")
    return links[0], bytes(found)


# A connected route, which the kernel makes with an address: destination, bits, metric.
_Prefix = tuple[bytes, int, bytes]


def _prefix(address: Address, *, of_peer: bool = False) -> _Prefix | None:
    """The connected route of an IPv6 address, or of its peer (IFA_ADDRESS beside IFA_LOCAL); None: it has none."""
    local, other = address.get(uapi.IFA_LOCAL), address.get(uapi.IFA_ADDRESS)
    dst = other if of_peer or local is None else local
    if address.family != uapi.AF_INET6 or address.flags & uapi.IFA_F_NOPREFIXROUTE:
        return None
    if dst is None or len(dst) != 16 or (of_peer and local is None):
        return None
    rest = max(128 - address.prefixlen, 0)
    metric = address.get(uapi.IFA_RT_PRIORITY)
    metric = metric if metric is not None and len(metric) == 4 else wire.U32.pack(IP6_RT_PRIO_ADDRCONF)
    return (int.from_bytes(dst) >> rest << rest).to_bytes(16), address.prefixlen, metric


def is_wanted(wanted: bytes, name: bytes) -> bool:
    """Whether the name is the wanted one, or one that the kernel makes from the template: prefix, number, suffix."""
    prefix, is_template, suffix = wanted.partition(b"%d")
    if not is_template:
        return name == wanted
    number = name[len(prefix) : len(name) - len(suffix)]
    is_number = number.isdigit() and (number == b"0" or number[:1] != b"0")
    return is_number and name == prefix + number + suffix


class Replay:
    """A snapshot, and the device on which it is replayed or compared.

    Args:
        ifname: The device's name in the snapshot.
        link, addresses: The snapshot.
        name, ifindex: The device's in the namespace of `sock`.
        wanted: Name or template that it must match.
        undo: Addresses of every scope and lifetime, not only those that the runtime-spec protects; a refused address
            does not end the replay.
        up: Whether the link is to be up.
    """

    def __init__(
        self,
        sock: Socket,
        ifname: bytes,
        link: Link,
        addresses: bytes,
        name: bytes,
        ifindex: int,
        *,
        wanted: bytes | None = None,
        undo: bool = False,
        up: bool = True,
    ) -> None:
        self.sock = sock
        self.ifname = ifname
        self.link = link
        self.addresses = addresses
        self.name = name
        self.wanted = wanted
        self.ifindex = ifindex
        self.undo = undo
        self.up = up
        self.cut_labels = 0
        self._labels: dict[bytes, tuple[bytes, bytes, bool]] = {}  # results of _label
        self._window: list[bytes] = []
        self._window_bytes = 0
        self._failure: EngineError | None = None  # the first one of an undo, which goes on

    def _held(self) -> Iterator[Address]:
        """The snapshot's addresses that are replayed and compared."""
        return addresses_in(self.addresses, protected=not self.undo)

    # ---- replay ----

    def run(self) -> None:
        self.cut_labels = 0
        ipv6 = []  # offsets
        # IPv4 before IFF_UP: in dump order, primaries are before secondaries (probe addresses.ipv4.order.replayed).
        for address in self._held():
            if address.family == uapi.AF_INET6:
                ipv6.append((address.at, address.end))
            else:
                self._add(address, self._message(address, address.flags))
        # In an undo, usable link-locals are added before IFF_UP: after it, the kernel may have made the same address as
        # tentative, and no replace ends its DAD.
        for address in self._reversed(ipv6) if self.undo else ():
            if address.scope == uapi.RT_SCOPE_LINK and address.is_proven:
                self._add(address, self._message(address, address.flags | AT_ONCE))
        if self.up:
            self._put(wire.link_message(uapi.RTM_NEWLINK, 0, self.ifindex, up=True))
        # The other IPv6 addresses after IFF_UP: one with a peer that is added with IFA_F_NODAD while the link is down
        # never gets its peer route (probe addresses.ipv6.routes.peer).
        for address in self._reversed(ipv6):
            self._add(address, *self._messages(address))
        self._flush()
        if ipv6:
            self._drop_peer_routes()
        if self._failure:
            raise self._failure

    def _reversed(self, places: list[tuple[int, int]]) -> Iterator[Address]:
        """Reversed: the kernel lists the newest address of a scope first (probe addresses.ipv6.order.newest)."""
        return (Address(self.addresses, at, end) for at, end in reversed(places))

    def _add(self, address: Address, *messages: bytes) -> None:
        """Adds an address's messages to the window; sends it first where two as long as the dumped one do not fit."""
        room = 2 * (16 + address.end - address.at + 64)
        if len(self._window) + 2 > WINDOW_MESSAGES or self._window_bytes + room > WINDOW_BYTES:
            self._flush()
        self._put(*messages)

    def _put(self, *messages: bytes) -> None:
        self._window += messages
        self._window_bytes += sum(map(len, messages))

    def _flush(self) -> None:
        if not self._window:
            return
        *others, last = self._window
        self._window, self._window_bytes = [], 0
        try:
            self.sock.command(b"".join([*others, wire.with_ack(last)]))
        except EngineError as e:
            if not self.undo:
                raise
            self._failure = self._failure or e

    def _messages(self, address: Address) -> Iterator[bytes]:
        """The requests that add an address.

        An IPv6 address that had completed DAD is added with IFA_F_NODAD, so it is usable at once: MAC and link are the
        same, so it is still verified. A second request has its original flags: a replace that clears NODAD starts no
        DAD and keeps the order (seen on 5.10, 6.1, 6.12, 6.18 and 7.2). A tentative or duplicate address runs DAD.

        The first request also has IFA_F_NOPREFIXROUTE: a replace of an address with a prefix route takes any route of
        that prefix on the device for its own, and deletes it if the metric differs (modify_prefix_route). Without one,
        the replace only adds it.
        """
        if address.is_proven:
            yield self._message(address, address.flags | AT_ONCE)
        yield self._message(address, address.flags)

    def _message(self, address: Address, flags: int) -> bytes:
        """The dumped message with another ifindex, label and flags.

        NLM_F_REPLACE makes a repeated replay harmless, and also covers a link-local address that the kernel has made.
        """
        attrs = address.attrs_as_is
        label = address.get(uapi.IFA_LABEL)
        if label is not None:
            _, attribute, cut = self._label(label)
            attrs += attribute
            self.cut_labels += cut
        attrs += ATTR_U32.pack(8, uapi.IFA_FLAGS, flags)
        where = (address.family, address.prefixlen, flags & 0xFF, address.scope, self.ifindex)
        return NEWADDR.pack(NEWADDR.size + len(attrs), uapi.RTM_NEWADDR, NEWADDR_FLAGS, 0, 0, *where) + attrs

    def _label(self, dumped: bytes) -> tuple[bytes, bytes, bool]:
        """The label as a rename in place would leave it: `old` -> name, `old:x` -> `name:x`, any other unchanged.

        Also returns its attribute, and whether it would exceed 15 bytes; then it is the plain name.
        """
        if dumped not in self._labels:
            label, cut = dumped.split(b"\0", 1)[0], False
            if label == self.ifname or label.startswith(self.ifname + b":"):
                label = self.name + label[len(self.ifname) :]
                cut = len(label) >= uapi.IFNAMSIZ
            label = self.name if cut else label[: uapi.IFNAMSIZ - 1]
            self._labels[dumped] = label, wire.attr_name(uapi.IFA_LABEL, label), cut
        return self._labels[dumped]

    def _drop_peer_routes(self) -> None:
        """Deletes the route for the peer's prefix that a replace makes the kernel add (inet6_addr_modify).

        The source never had it, and a move adds no routes (runtime-spec). A kernel that adds none answers ESRCH. The
        route stays if it is also the prefix route of another address with the same metric: a replayed one, or one that
        the kernel made meanwhile (fe80::/64, a router's).
        """
        there: set[_Prefix | None] | None = None
        for address in self._held():
            peer = _prefix(address, of_peer=True) if address.prefixlen < 128 else None
            if not peer or peer == _prefix(address):
                continue
            if there is None:
                there = {_prefix(other) for other in addresses_in(read(self.sock, self.ifindex)[1])}
            if peer not in there:
                self._drop_route(*peer)

    def _drop_route(self, dst: bytes, prefixlen: int, metric: bytes) -> None:
        kernel = (uapi.RT_TABLE_MAIN, uapi.RTPROT_KERNEL, uapi.RT_SCOPE_UNIVERSE, uapi.RTN_UNICAST)
        body = RTMSG.pack(uapi.AF_INET6, prefixlen, 0, 0, *kernel, 0)
        body += wire.attr(uapi.RTA_DST, dst)
        body += wire.attr_u32(uapi.RTA_OIF, self.ifindex)
        body += wire.attr(uapi.RTA_PRIORITY, metric)
        try:
            self.sock.command(wire.message(uapi.RTM_DELROUTE, uapi.NLM_F_ACK, body))
        except EngineError as e:
            if e.errno != errno.ESRCH:
                raise

    # ---- compare ----

    def compare(self) -> bytes:
        """Reads back and compares; returns RTM_NEWLINK and RTM_NEWADDR messages. ESTALE: they differ."""
        message, addresses = read(self.sock, self.ifindex)
        self.judge(message, addresses)
        return message.padded() + addresses

    def judge(self, message: wire.Message, addresses: bytes) -> None:
        """Compares messages that were read already."""
        text = self._compare_link(Link(message))
        if not text and not self._is_as_it_was(addresses):
            text = self._compare_addresses(addresses)
        if text:
            raise EngineError(errno.ESTALE, text, "")

    def _compare_link(self, now: Link) -> str | None:
        if now.name != self.name or (self.wanted is not None and not is_wanted(self.wanted, self.name)):
            return "it has another name"
        if bool(now.flags & uapi.IFF_UP) != self.up:
            return "it is not up" if self.up else "it is up"
        if now.mac != self.link.mac and (self.undo or now.mac != self.link.own_mac):
            return "the MAC address changed"
        was, is_ = self.link.all_of(LINK_KEPT), now.all_of(LINK_KEPT)
        if was == is_:
            return None
        return next(text for text, *both in zip(LINK_KEPT.values(), was, is_, strict=True) if both[0] != both[1])

    def _is_as_it_was(self, there: bytes) -> bool:
        """Whether all addresses are identical and in order, as permanent ones usually are."""
        others = addresses_in(there)
        for address in self._held():
            label, wanted = address.get(uapi.IFA_LABEL), address.essence
            for other in others:
                if other.essence == wanted and self._has_label(other, label):
                    break
                if other.identity == address.identity:
                    return False
            else:
                return False
        return True

    def _has_label(self, address: Address, was: bytes | None) -> bool:
        """Whether the address has the label that the snapshot's label becomes here."""
        if was is None:
            return True
        return wire.text(address.get(uapi.IFA_LABEL)) == self._label(was)[0]

    def _compare_addresses(self, there: bytes) -> str | None:
        """Each address of the snapshot must be there, unchanged and in order; others in between are ignored."""
        others = list(addresses_in(there))
        places: dict[object, list[int]] = {}
        for at, other in enumerate(others):
            places.setdefault(other.identity, []).append(at)
        begin = 0
        for address in self._held():
            found = places.get(address.identity, [])
            if not found:
                return f"{address} is missing"
            # The order counts for protected addresses only: the kernel may have added a link-local one before an undo.
            at = next((at for at in found if at >= begin or not address.is_protected), -1)
            if at < 0:
                return f"{address} is out of order"
            if address.is_protected:
                begin = at + 1
            differs = self._difference(address, others[at])
            if differs:
                return f"{address} {differs}"
        return None

    def _difference(self, was: Address, now: Address) -> str | None:
        # The kernel decides on SECONDARY (IPv6: TEMPORARY): a secondary whose primary is not carried becomes primary.
        ignored = uapi.IFA_F_SECONDARY
        if was.flags & (uapi.IFA_F_TENTATIVE | uapi.IFA_F_DADFAILED):
            ignored |= uapi.IFA_F_TENTATIVE | uapi.IFA_F_DADFAILED
        if was.lifetimes[0] not in (FOREVER, 0):
            ignored |= uapi.IFA_F_DEPRECATED
        if (was.flags ^ now.flags) & ~ignored:
            tentative = now.flags & ~was.flags & uapi.IFA_F_TENTATIVE
            return "is tentative, but was usable" if tentative else "has other flags"
        if was.scope != now.scope:
            return "has another scope"
        for type_, what in SAME:
            if was.get(type_) != now.get(type_):
                return f"has another {what}"
        for before, left in zip(was.lifetimes, now.lifetimes, strict=True):
            if before != left if FOREVER in (before, left) else left > before:
                return "has another lifetime"
        return None if self._has_label(now, was.get(uapi.IFA_LABEL)) else "has another label"
