"""The oracle: what a namespace contains, as the kernel dumps it. Deliberately not a line of it is netdevns' own.

Everything that changes by itself is left out: statistics, time stamps, carrier and operational state, remaining seconds
of a finite lifetime. What is left must be equal before and after a move that was refused or undone.

Layouts: linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/neighbour.h,
linux/nexthop.h.
"""

from __future__ import annotations

import difflib
import errno
import ipaddress
import os
import socket as sockets
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NETLINK_ROUTE = 0
SOL_NETLINK, NETLINK_GET_STRICT_CHK = 270, 12
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
NLM_F_CREATE_EXCL = 0x600
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE, RTM_NEWNEIGH, RTM_NEWNEXTHOP = 16, 20, 24, 28, 104
GET = 2  # RTM_GET* is RTM_NEW* + 2
TYPES = {
    16: "NEWLINK", 17: "DELLINK", 20: "NEWADDR", 21: "DELADDR", 24: "NEWROUTE", 25: "DELROUTE", 28: "NEWNEIGH",
    29: "DELNEIGH", 104: "NEWNEXTHOP", 105: "DELNEXTHOP",
}  # fmt: skip
IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS = 29, 8
FOREVER = 0xFFFFFFFF

IFF_UP, IFF_NOARP, IFF_LOWER_UP = 0x1, 0x80, 0x10000
IFLA_ADDRESS, IFLA_OPERSTATE = 1, 16
IF_OPER_UNKNOWN, IF_OPER_DOWN, IF_OPER_LOWERLAYERDOWN, IF_OPER_UP = 0, 2, 3, 6
IFA_F_NODAD, IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE = 0x02, 0x08, 0x20, 0x40
IFA_F_PERMANENT, IFA_F_NOPREFIXROUTE = 0x80, 0x200

# IFLA_*: STATS, OPERSTATE, STATS64, CARRIER, CARRIER_CHANGES, PAD, CARRIER_UP_COUNT, CARRIER_DOWN_COUNT.
_LINK_MOVES = {7, 16, 23, 33, 35, 42, 47, 48}
_IFF_MOVES = 0x40 | IFF_LOWER_UP | 0x20000  # IFF_RUNNING, IFF_LOWER_UP, IFF_DORMANT
_RTNH_MOVES = 0x1 | 0x10  # RTNH_F_DEAD, RTNH_F_LINKDOWN
IFLA_LINKINFO, IFLA_AF_SPEC, IFLA_IFNAME, IFLA_PROP_LIST = 18, 26, 3, 52
RTA_MULTIPATH, RTA_CACHEINFO = 9, 12
NUD_PERMANENT, NTF_PROXY, NDA_LLADDR, RTN_UNICAST = 0x80, 0x08, 2, 1
_NDA_MOVES = {3, 4}  # NDA_CACHEINFO, NDA_PROBES
# Of a bridge's port: what its bridge sets, its number and id (the first that is free), timers and counters.
_PORT_MOVES = {*range(13, 24), 26, 35, 36, 38, 41}
_BOND_PORT_SETTINGS = {5, 9, 10}  # QUEUE_ID, PRIO, ACTOR_PORT_PRIO
AF_BRIDGE, RTEXT_FILTER_BRVLAN = 7, 2
NUD_NOARP, NTF_EXT_LEARNED = 0x40, 0x10
NHA_GROUP = 2
RTM_NEWMDB, MDB_PERMANENT = 84, 1


def attributes(data: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    while at + 4 <= len(data):
        length, type_ = struct.unpack_from("=HH", data, at)
        assert 4 <= length <= len(data) - at
        yield type_ & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


def attribute(type_: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), type_) + data + bytes(-len(data) & 3)


class Socket:
    """A NETLINK_ROUTE socket in the namespace that it was opened in; a context manager that closes it."""

    def __init__(self) -> None:
        self.raw = sockets.socket(sockets.AF_NETLINK, sockets.SOCK_RAW | sockets.SOCK_CLOEXEC, NETLINK_ROUTE)
        self.raw.bind((0, 0))
        self.seq = 0

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *exc: object) -> None:
        self.raw.close()

    def _send(self, type_: int, flags: int, body: bytes) -> None:
        self.seq += 1
        self.raw.send(struct.pack("=IHHII", 16 + len(body), type_, flags | NLM_F_REQUEST, self.seq, 0) + body)

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        data = self.raw.recv(1 << 18)
        at = 0
        while at < len(data):
            length, type_, flags, _, _ = struct.unpack_from("=IHHII", data, at)
            yield type_, flags, data[at + 16 : at + length]
            at += (length + 3) & ~3

    def dump(self, type_: int, body: bytes) -> list[bytes]:
        """The bodies of a dump; asked again where the kernel says that it was interrupted."""
        while True:
            self._send(type_ + GET, NLM_F_DUMP, body)
            bodies, done, interrupted = [], False, False
            while not done:
                for got, flags, body_ in self._receive():
                    interrupted |= bool(flags & NLM_F_DUMP_INTR)
                    assert got != NLMSG_ERROR, os.strerror(-struct.unpack_from("=i", body_)[0])
                    if got == NLMSG_DONE:
                        done = True
                    else:
                        bodies.append(body_)
            if not interrupted:
                return bodies

    def request(self, type_: int, flags: int, body: bytes) -> int:
        """Sends one request; returns 0 or the errno of the refusal."""
        self._send(type_, flags | NLM_F_ACK, body)
        for got, _, body_ in self._receive():
            if got == NLMSG_ERROR:
                return -int(struct.unpack_from("=i", body_)[0])
        raise AssertionError("no answer")

    def change_link(self, ifindex: int, attrs: bytes) -> int:
        """RTM_NEWLINK for a device that is there. Returns 0 or an errno."""
        return self.request(RTM_NEWLINK, 0, struct.pack("=BxHiII", 0, 0, ifindex, 0, 0) + attrs)

    def add_address(self, ifindex: int, address: str, *, scope: int = 0, flags: int = 0, **attrs: bytes) -> int:
        """RTM_NEWADDR with attributes that older versions of ip(8) cannot give. Returns 0 or an errno."""
        types = {"proto": 11, "label": 3, "broadcast": 4, "metric": 9}
        interface = ipaddress.ip_interface(address)
        family = sockets.AF_INET if interface.version == 4 else sockets.AF_INET6
        body = struct.pack("=BBBBI", family, interface.network.prefixlen, 0, scope, ifindex)
        body += attribute(1, interface.ip.packed) + attribute(2, interface.ip.packed)
        body += b"".join(attribute(types[name], value) for name, value in attrs.items())
        return self.request(RTM_NEWADDR, NLM_F_CREATE_EXCL, body + attribute(8, struct.pack("=I", flags)))


@dataclass(frozen=True)
class Link:
    """A device."""

    name: str
    ifindex: int
    flags: int
    altnames: tuple[str, ...]
    attrs: dict[object, str]

    @property
    def up(self) -> bool:
        return bool(self.flags & IFF_UP)


@dataclass(frozen=True)
class Address:
    """An address; lifetimes are "forever", "finite" or 0."""

    family: int
    address: str
    prefixlen: int
    peer: str | None
    broadcast: str | None
    label: str | None
    scope: int
    flags: int
    metric: int | None
    proto: int | None
    valid: str
    preferred: str
    other: tuple[tuple[int, str], ...]

    @property
    def tentative(self) -> bool:
        return bool(self.flags & IFA_F_TENTATIVE)

    @property
    def failed(self) -> bool:
        return bool(self.flags & IFA_F_DADFAILED)


def links(socket: Socket) -> dict[str, Link]:
    found = {}
    # With the statistics: 5.10 leaves out the token of IPv6 without them.
    for body in socket.dump(RTM_NEWLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0)):
        family, type_, ifindex, flags, _ = struct.unpack_from("=BxHiII", body)
        raw = dict(attributes(body, 16))
        name = os.fsdecode(raw[IFLA_IFNAME].rstrip(b"\0"))
        alt = tuple(sorted(os.fsdecode(v.rstrip(b"\0")) for _, v in attributes(raw.get(IFLA_PROP_LIST, b""))))
        attrs: dict[object, str] = {"family": str(family), "type": str(type_)}
        for key, value in raw.items():
            if key == IFLA_LINKINFO:
                attrs |= _link_info(value)
            elif key == IFLA_AF_SPEC:
                attrs |= _af_spec(value)
            elif key not in _LINK_MOVES:
                attrs[key] = value.hex()
        found[name] = Link(name, ifindex, flags & ~_IFF_MOVES, alt, attrs)
    return found


STACKED = ("vlan", "macvlan", "macvtap", "macsec")


def carrier_events_to_come(socket: Socket) -> set[str]:
    """Devices that are up and whose IF_OPER_* does not say yet what their carrier says (net/core/link_watch.c).

    Of most kinds the kernel never looks at the carrier where there is one from the beginning: IF_OPER_UNKNOWN is their
    end. That of STACKED ones it does look at, up to a second after they were made.
    """
    found = set()
    for body in socket.dump(RTM_NEWLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0)):
        flags, raw = struct.unpack_from("=BxHiII", body)[3], dict(attributes(body, 16))
        state = raw[IFLA_OPERSTATE][0]
        is_late = (
            state in (IF_OPER_DOWN, IF_OPER_LOWERLAYERDOWN)
            or (state == IF_OPER_UNKNOWN and _link_info(raw.get(IFLA_LINKINFO, b""))["kind"] in STACKED)
            if flags & IFF_LOWER_UP
            else state in (IF_OPER_UNKNOWN, IF_OPER_UP)
        )
        if flags & IFF_UP and is_late:
            found.add(os.fsdecode(raw[IFLA_IFNAME].rstrip(b"\0")))
    return found


def _link_info(data: bytes) -> dict[object, str]:
    """Kind and master's kind; of a bridge's data nothing, which has its timers, and of a port what can be set."""
    raw = dict(attributes(data))
    kinds = [raw.get(key, b"").rstrip(b"\0") for key in (1, 4)]  # IFLA_INFO_KIND, IFLA_INFO_SLAVE_KIND
    info = {"kind": kinds[0].decode(), "slave kind": kinds[1].decode()}
    if kinds[0] not in (b"bridge", b"bond", b"") and 2 in raw:  # IFLA_INFO_DATA
        info["data"] = raw[2].hex()
    data = dict(attributes(raw.get(2, b"")))
    if kinds[0] == b"bond":
        info["active slave, primary"] = f"{data.get(2, b'').hex()}, {data.get(11, b'').hex()}"
    for key, value in attributes(raw.get(5, b"")):  # IFLA_INFO_SLAVE_DATA
        if key not in _PORT_MOVES if kinds[1] == b"bridge" else key in _BOND_PORT_SETTINGS:
            info[f"port {key}"] = value.hex()
    return dict(info)


def _af_spec(data: bytes) -> dict[object, str]:
    """The per-device sysctls; without IFLA_INET6_FLAGS (link state), STATS, CACHEINFO (a time stamp), ICMP6STATS."""
    return {
        (family, key): value.hex()
        for family, nested in attributes(data)
        for key, value in attributes(nested)
        if not (family == sockets.AF_INET6 and key in (1, 3, 5, 6))
    }


def addresses(socket: Socket) -> dict[int, list[Address]]:
    found: dict[int, list[Address]] = {}
    for body in socket.dump(RTM_NEWADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0)):
        family, prefixlen, flags, scope, ifindex = struct.unpack_from("=BBBBI", body)
        raw = dict(attributes(body, 8))
        local, other = raw.get(2, raw.get(1, b"")), raw.get(1, b"")  # IFA_LOCAL, IFA_ADDRESS
        preferred, valid = struct.unpack_from("=II", raw[6]) if 6 in raw else (FOREVER, FOREVER)
        found.setdefault(ifindex, []).append(
            Address(
                family=family,
                address=_text(local),
                prefixlen=prefixlen,
                peer=_text(other) if other != local else None,
                broadcast=_text(raw[4]) if 4 in raw else None,
                label=os.fsdecode(raw[3].rstrip(b"\0")) if 3 in raw else None,
                scope=scope,
                flags=struct.unpack("=I", raw[8])[0] if 8 in raw else flags,
                metric=struct.unpack("=I", raw[9])[0] if 9 in raw else None,
                proto=raw[11][0] if 11 in raw else None,
                valid=_lifetime(valid),
                preferred=_lifetime(preferred),
                other=tuple((k, v.hex()) for k, v in sorted(raw.items()) if k not in (1, 2, 3, 4, 6, 8, 9, 11)),
            )
        )
    return found


def _text(data: bytes) -> str:
    return str(ipaddress.ip_address(data)) if len(data) in (4, 16) else data.hex()


def _lifetime(seconds: int) -> str:
    return "forever" if seconds == FOREVER else "finite" if seconds else "0"


def routes(socket: Socket) -> list[str]:
    """IPv4 in the kernel's order; the others sorted: equal IPv6 routes of different devices have none that matters."""
    found = []
    for body in socket.dump(RTM_NEWROUTE, struct.pack("=BBBBBBBBI", *[0] * 9)):
        family, dst_len, src_len, tos, table, protocol, scope, type_, flags = struct.unpack_from("=BBBBBBBBI", body)
        attrs = {}
        for key, value in attributes(body, 12):
            if key == RTA_MULTIPATH:
                attrs[key] = _legs(value)
            elif key != RTA_CACHEINFO:
                attrs[key] = value.hex()
        dst = f"{_text(bytes.fromhex(attrs.pop(1)))}/{dst_len}" if 1 in attrs else f"default/{dst_len}"
        head = f"inet{'6' if family == sockets.AF_INET6 else ''} {dst} type {type_} table {table} proto {protocol}"
        rest = f"scope {scope} src_len {src_len} tos {tos} flags {flags & ~_RTNH_MOVES:#x} {sorted(attrs.items())}"
        found.append((family != sockets.AF_INET, f"{head} {rest}"))
    return [text for other, text in found if not other] + sorted(text for other, text in found if other)


def _legs(data: bytes) -> str:
    legs, at = [], 0
    while at + 8 <= len(data):
        length, flags, hops, ifindex = struct.unpack_from("=HBBi", data, at)
        legs.append(f"[{ifindex} {flags & ~_RTNH_MOVES:#x} {hops} {data[at + 8 : at + length].hex()}]")
        at += (length + 3) & ~3
    return "".join(legs)


def nexthops(socket: Socket) -> list[str]:
    found = []
    for body in socket.dump(RTM_NEWNEXTHOP, struct.pack("=BBBxI", *[0] * 4)):
        family, scope, protocol, flags = struct.unpack_from("=BBBxI", body)
        # Of each struct nexthop_grp the last two bytes are padding, which old kernels do not clear.
        attrs = sorted(
            (
                key,
                " ".join(value[n : n + 6].hex() for n in range(0, len(value), 8)) if key == NHA_GROUP else value.hex(),
            )
            for key, value in attributes(body, 8)
        )
        found.append(f"family {family} scope {scope} proto {protocol} flags {flags & ~_RTNH_MOVES:#x} {attrs}")
    return found


def neighbours(socket: Socket) -> list[str]:
    """Permanent ones, proxies, and noarp ones that a user added: what the kernel learned or made comes and goes."""
    found = []
    links = socket.dump(RTM_NEWLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0))
    macs = {struct.unpack_from("=BxHiII", body)[2]: dict(attributes(body, 16)).get(IFLA_ADDRESS) for body in links}
    for flags in (0, NTF_PROXY):
        for body in socket.dump(RTM_NEWNEIGH, struct.pack("=BxxxiHBB", 0, 0, 0, flags, 0)):
            family, ifindex, state, its, type_ = struct.unpack_from("=BxxxiHBB", body)
            # The kernel's own are of groups and broadcasts, or have the MAC of a device without ARP, or none.
            mac = dict(attributes(body, 12)).get(NDA_LLADDR, b"").strip(b"\0")
            is_noarp = state & NUD_NOARP and type_ == RTN_UNICAST and mac and mac != macs.get(ifindex)
            if state & NUD_PERMANENT or its & NTF_PROXY or is_noarp:
                attrs = {key: value.hex() for key, value in attributes(body, 12) if key not in _NDA_MOVES}
                found.append(f"{ifindex} family {family} state {state:#x} flags {its:#x} type {type_} {attrs}")
    return sorted(found)


def vlans(socket: Socket) -> list[str]:
    """The VLANs of bridges and their ports, each by itself."""
    mask = attribute(IFLA_EXT_MASK, struct.pack("=I", RTEXT_FILTER_BRVLAN))
    found = []
    for body in socket.dump(RTM_NEWLINK, struct.pack("=BxHiII", AF_BRIDGE, 0, 0, 0, 0) + mask):
        spec = dict(attributes(body, 16)).get(IFLA_AF_SPEC, b"")
        ifindex = struct.unpack_from("=BxHiII", body)[2]
        found += [f"{ifindex} vlan {value.hex()}" for key, value in attributes(spec) if key == 2]
    return sorted(found)


def fdb(socket: Socket) -> list[str]:
    """Entries of bridges that are not learned, and the devices' own.

    Without the groups that a device listens to: they follow from addresses and sysctls, in time, or from VLANs on it
    (01:80:c2:00:00:21, GVRP's), and a move drops these permanently (docs/limits.md: multicast joins).
    """
    found = []
    for body in socket.dump(RTM_NEWNEIGH, struct.pack("=BxxxiHBB", AF_BRIDGE, 0, 0, 0, 0)):
        _, ifindex, state, flags, type_ = struct.unpack_from("=BxxxiHBB", body)
        if state & (NUD_PERMANENT | NUD_NOARP) or flags & NTF_EXT_LEARNED:
            attrs = {key: value.hex() for key, value in attributes(body, 12) if key not in _NDA_MOVES}
            if int(attrs.get(2, "00")[:2], 16) & 1:  # NDA_LLADDR: a group's
                continue
            found.append(f"{ifindex} fdb state {state:#x} flags {flags:#x} type {type_} {sorted(attrs.items())}")
    return sorted(found)


def mdb(socket: Socket) -> list[str]:
    """The permanent entries of multicast databases; nothing where the kernel has none."""
    found = []
    try:
        bodies = socket.dump(RTM_NEWMDB, struct.pack("=BxxxI", AF_BRIDGE, 0))
    except AssertionError as e:
        if str(e) != os.strerror(errno.EOPNOTSUPP):
            raise
        return found
    for body in bodies:
        for key, database in attributes(body, 8):
            if key != 1:  # MDBA_MDB
                continue
            infos = [info for _, entry in attributes(database) for _, info in attributes(entry)]
            for info in (each for each in infos if len(each) >= 28 and each[4] == MDB_PERMANENT):
                attrs = sorted((key, value.hex()) for key, value in attributes(info, 28) if key != 1)  # a timer
                found.append(f"{struct.unpack_from('=I', info)[0]} mdb {info[6:28].hex()} {attrs}")
    return sorted(found)


def everything(socket: Socket) -> dict[str, object]:
    """All of it, as plain data that pytest can show the differences of. Closes the socket."""
    with socket:
        by_name = links(socket)
        names = {link.ifindex: name for name, link in by_name.items()}
        return {
            "links": by_name,
            "addresses": {names.get(ifindex, str(ifindex)): found for ifindex, found in addresses(socket).items()},
            "routes": routes(socket),
            "nexthops": nexthops(socket),
            "neighbours": neighbours(socket),
            "vlans": vlans(socket),
            "fdb": fdb(socket),
            "mdb": mdb(socket),
        }


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Two dumps that should be equal, as the lines of a diff: what a failing test shows."""
    return [
        f"{part}: {line}"
        for part in before
        for line in difflib.unified_diff(_lines(before[part]), _lines(after[part]), lineterm="", n=0)
        if line[:2] not in ("--", "++", "@@")
    ]


def _lines(part: Any) -> list[str]:
    if isinstance(part, list):
        return [str(line) for line in part]
    return [
        f"{name} {line}"
        for name, value in sorted(part.items())
        for line in ([str(a) for a in value] if isinstance(value, list) else [str(value)])
    ]


class Monitor:
    """Notifications about links, addresses, routes and nexthop objects; a context manager."""

    GROUPS = (1, 5, 7, 9, 11, 32)  # RTNLGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE, NEXTHOP

    def __init__(self) -> None:
        self.raw = sockets.socket(sockets.AF_NETLINK, sockets.SOCK_RAW | sockets.SOCK_CLOEXEC, NETLINK_ROUTE)
        self.raw.bind((0, 0))
        self.raw.setblocking(False)
        for group in self.GROUPS:
            self.raw.setsockopt(SOL_NETLINK, 1, group)  # NETLINK_ADD_MEMBERSHIP

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.raw.close()

    def seen(self) -> list[str]:
        """What was notified since the last call."""
        found = []
        while True:
            try:
                data = self.raw.recv(1 << 16)
            except BlockingIOError:
                return found
            at = 0
            while at < len(data):
                length, type_ = struct.unpack_from("=IH", data, at)
                found.append(TYPES.get(type_, str(type_)))
                at += (length + 3) & ~3
