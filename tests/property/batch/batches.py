"""Random batches in real namespaces: what is there, what is asked for, and a model of what must come of it.

The model is a second writing of the rules of `netdevns.batch.checks` and of the kernel; it reads raw dumps alone.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import time
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from tests.support import rawdump
from tests.support.namespaces import Namespace
from tests.support.rawdump import FOREVER, IFA_F_PERMANENT, IFF_UP, Address, Link, attribute

RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE, RTM_NEWLINKPROP = 16, 20, 24, 108
IFLA_IFNAME, IFLA_LINK, IFLA_LINKINFO, IFLA_PROP_LIST, IFLA_ALT_IFNAME, IFLA_NETNS_IMMUTABLE = 3, 5, 18, 52, 53, 67
CREATE = 0x600
IFA_F_SECONDARY, IFA_F_TENTATIVE = 0x01, 0x40


def u32(value: int) -> bytes:
    return struct.pack("=I", value)


# ---- what is there -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wish:
    """An address to be added; the kernel may refuse it, or change what it says.

    DEV in an IPv4 address stands for a number of the device's own.
    """

    local: str
    prefixlen: int
    peer: str | None = None
    broadcast: str | None = None
    label: str | None = None  # SELF stands for the device's name
    scope: int = 0
    flags: int = 0
    metric: int | None = None
    protocol: int | None = None
    preferred: int = FOREVER
    valid: int = FOREVER

    def body(self, ifindex: int, name: bytes) -> bytes:
        family = socket.AF_INET6 if ":" in self.local else socket.AF_INET

        def packed(text: str) -> bytes:
            return socket.inet_pton(family, text.replace("DEV", str(10 + ifindex)))

        found = {2: packed(self.local), 1: packed(self.peer or self.local)}
        if self.broadcast:
            found[4] = packed(self.broadcast)
        if self.label is not None:
            found[3] = self.label.encode().replace(b"SELF", name) + b"\0"
        if self.metric is not None:
            found[9] = u32(self.metric)
        if self.protocol is not None:
            found[11] = bytes([self.protocol])
        found[8] = u32(self.flags)
        found[6] = struct.pack("=IIII", self.preferred, self.valid, 0, 0)
        head = struct.pack("=BBBBI", family, self.prefixlen, self.flags & 0xFF, self.scope, ifindex)
        return head + b"".join(attribute(type_, value) for type_, value in found.items())


LIFETIMES = st.sampled_from([(FOREVER, FOREVER)] * 5 + [(4000, 5000), (0, FOREVER), (4000, FOREVER)])


def _wish(local, lifetimes, **fields) -> Wish:
    return Wish(local, preferred=lifetimes[0], valid=lifetimes[1], **fields)


V4 = st.builds(
    _wish,
    st.builds("DEV.{}.0.{}".format, st.integers(0, 2), st.integers(1, 4)),
    LIFETIMES,
    prefixlen=st.sampled_from([24, 24, 24, 32, 31, 8, 16]),
    peer=st.sampled_from([None, None, None, "DEV.9.0.1", "DEV.9.0.2"]),
    broadcast=st.sampled_from([None, None, "DEV.0.0.255", "DEV.0.0.77"]),
    label=st.sampled_from([None, None, "SELF", "SELF:x", "SELF:1234", "other:x"]),
    scope=st.sampled_from([0, 0, 0, 0, 200, 253, 254]),
    flags=st.sampled_from([0, 0, 0, 0x200]),  # IFA_F_NOPREFIXROUTE
    metric=st.sampled_from([None, None, 5]),
    protocol=st.sampled_from([None, None, 4]),
)
V6 = st.builds(
    _wish,
    st.builds("{}::{}".format, st.sampled_from(["2001:db8:1", "2001:db8:1", "2001:db8:2", "fe80"]), st.integers(1, 4)),
    LIFETIMES,
    prefixlen=st.sampled_from([64, 64, 128, 48]),
    peer=st.sampled_from([None, None, None, "2001:db8:9::1"]),
    flags=st.sampled_from([0, 0x02, 0x10, 0x100, 0x200, 0x202]),  # NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE
    metric=st.sampled_from([None, None, 5]),
    protocol=st.sampled_from([None, None, 4]),
)


@dataclass(frozen=True)
class Made:
    """A device to be created in the source; `lower`: which device before it a macvlan lies on (-1: one that stays)."""

    kind: str
    name: str
    lower: int
    altnames: tuple[str, ...]
    addresses: tuple[Wish, ...]
    up: str  # "before" the addresses are added, "after", or "" (down)
    routes: int = 0  # of IPv4, and as many of IPv6; only where it is up


@dataclass(frozen=True)
class Batch:
    """All that an example is about."""

    devices: tuple[Made, ...]
    taken: tuple[tuple[str, tuple[str, ...]], ...]  # in the target: names and alternative names
    no_ipv6: bool
    asked: dict[str, str | None]


HOST_NAMES = ["eth1", "eth2", "net1", "a", "é", "b\udcff", "a-name-of-15-by"]
ALTNAMES = ["spare", "net0", "net2", "a-name-of-more-than-15-bytes", "a b"]
WANTED = [
    *[None, "", "net0", "net1", "net2", "net3", "eth1", "eth2", "spare", "a-name-of-15-by", "\udcfe"],
    *["net%d", "eth%d", "net0", "net3", "b%dc"],
]
BAD = ["all", "default", "a/b", "a\xa0", "x" * 16, "%s", "net%d%d", "..", ":"]


@st.composite
def batches(draw) -> Batch:
    names = draw(st.lists(st.sampled_from(HOST_NAMES), min_size=1, max_size=3, unique=True))
    altnames = draw(st.lists(st.sampled_from(ALTNAMES), max_size=2, unique=True))
    owners = [draw(st.integers(0, len(names) - 1)) for _ in altnames]
    devices = []
    for number, name in enumerate(names):
        kind = draw(
            st.sampled_from(["ifb", "ifb", "veth", "macvlan", "bridge" if draw(st.integers(0, 9)) == 9 else "veth"])
        )
        devices.append(
            Made(
                kind,
                name,
                draw(st.integers(-1, number - 1)),
                tuple(a for a, owner in zip(altnames, owners, strict=True) if owner == number),
                tuple(draw(st.lists(V4 | V6, max_size=5))),
                draw(st.sampled_from(["before", "before", "after", ""])),
                draw(st.integers(0, 2)),
            )
        )
    taken = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["net0", "eth1", "other"]), st.lists(st.sampled_from(["spare", "net1"]), max_size=1)
            ),
            max_size=2,
            unique_by=(lambda t: t[0], lambda t: tuple(t[1]) or t[0]),
        )
    )
    wanted = st.integers(0, 24).flatmap(lambda n: st.sampled_from(BAD if n == 24 else WANTED))
    asked = {name: draw(wanted) for name in names if draw(st.integers(0, 5)) < 5}
    if draw(st.integers(0, 19)) == 19:
        asked[draw(st.sampled_from(["nobody", "lo", "a/b", "%d", "x" * 200, *altnames]))] = draw(wanted)
    keys = draw(st.permutations(list(asked)))
    return Batch(
        tuple(devices),
        tuple((name, tuple(alt)) for name, alt in taken),
        draw(st.integers(0, 19)) == 19,
        {key: asked[key] for key in keys},
    )


def create(
    at: rawdump.Socket,
    kind: str,
    name: bytes,
    altnames: tuple[str, ...] = (),
    *,
    data: bytes = b"",
    lower: int = 0,
    ifindex: int = 0,
) -> int:
    """A new device; returns its ifindex."""
    info = attribute(1, kind.encode() + b"\0") + (attribute(2, data) if data else b"")
    attrs = attribute(IFLA_IFNAME, name + b"\0") + attribute(IFLA_LINKINFO, info)
    if lower:
        attrs += attribute(IFLA_LINK, u32(lower))
    header = struct.pack("=BxHiII", 0, 0, ifindex, 0, 0)
    assert at.request(RTM_NEWLINK, CREATE, header + attrs) == 0, (kind, name)
    ifindex = rawdump.links(at)[os.fsdecode(name)].ifindex
    if altnames:
        listed = b"".join(attribute(IFLA_ALT_IFNAME, os.fsencode(altname) + b"\0") for altname in altnames)
        header = struct.pack("=BxHiII", 0, 0, ifindex, 0, 0)
        assert at.request(RTM_NEWLINKPROP, CREATE, header + attribute(IFLA_PROP_LIST | 0x8000, listed)) == 0
    return ifindex


def _set_up(at: rawdump.Socket, ifindexes: list[int]) -> None:
    for ifindex in ifindexes:
        assert at.request(RTM_NEWLINK, 0, struct.pack("=BxHiII", 0, 0, ifindex, IFF_UP, IFF_UP)) == 0


def _add_routes(at: rawdump.Socket, ifindex: int, number: int) -> None:
    """One of each family, to a network of its own behind the device."""
    for family, scope, dst in (
        (socket.AF_INET, 253, bytes([198, 18 + ifindex, number, 0])),
        (socket.AF_INET6, 0, bytes.fromhex("20010db80070") + bytes([ifindex, number]) + bytes(8)),
    ):
        head = struct.pack("=BBBBBBBBI", family, 24 if family == socket.AF_INET else 64, 0, 0, 254, 4, scope, 1, 0)
        assert at.request(RTM_NEWROUTE, CREATE, head + attribute(1, dst) + attribute(4, u32(ifindex))) == 0


def build(batch: Batch, host: Namespace, target: Namespace) -> None:
    """Fills both namespaces. DAD is off: what is there, and what comes, is final at once."""
    for side in (host, target):
        side.sysctl("ipv6/conf/default/accept_dad", 0)
    if batch.no_ipv6:
        target.sysctl("ipv6/conf/default/disable_ipv6", 1)
    with host.socket() as socket_:
        ifindexes = [create(socket_, "ifb", b"stays")]
        _set_up(socket_, ifindexes)
        for number, made in enumerate(batch.devices):
            name, data, lower = os.fsencode(made.name), b"", 0
            if made.kind == "veth":
                data = attribute(1, bytes(16) + attribute(IFLA_IFNAME, b"peer%d\0" % number))
            if made.kind == "macvlan":
                # A macvlan on a macvlan would lie on that one's lower, and on a bridge it is of no use here.
                on = made.lower if made.lower >= 0 and batch.devices[made.lower].kind in ("ifb", "veth") else -1
                data, lower = attribute(1, u32(4)), ifindexes[on + 1]
            ifindexes.append(create(socket_, made.kind, name, made.altnames, data=data, lower=lower))
            if made.kind == "veth" and made.up:
                # The other end of one that is down would see a carrier during the move, and keep a route of it.
                _set_up(socket_, [rawdump.links(socket_)[f"peer{number}"].ifindex])
        made_of = dict(zip(ifindexes[1:], batch.devices, strict=True))
        _set_up(socket_, [ifindex for ifindex, made in made_of.items() if made.up == "before"])
    _settle(batch, host)
    with host.socket() as socket_:
        for ifindex, made in made_of.items():
            for wish in made.addresses:
                if ":" in wish.local and made.up != "before":
                    # Some IPv6 addresses that were there before the link was up have no route; put back, they have.
                    wish = replace(wish, peer=None, valid=FOREVER)
                socket_.request(RTM_NEWADDR, CREATE, wish.body(ifindex, os.fsencode(made.name)))
        _set_up(socket_, [ifindex for ifindex, made in made_of.items() if made.up == "after"])
        for ifindex, made in made_of.items():
            for number in range(made.routes if made.up else 0):
                _add_routes(socket_, ifindex, number)
    with target.socket() as socket_:
        for name, altnames in batch.taken:
            create(socket_, "ifb", os.fsencode(name), altnames)
    _settle(batch, host)


def _settle(batch: Batch, host: Namespace) -> None:
    """Until the kernel's work items are done: a veth's carrier, which makes IPv6 ready there, and local routes."""
    end = time.monotonic() + 10
    with host.socket() as socket_:
        links = rawdump.links(socket_)
        ready = {links["stays"].ifindex}
        for number, made in enumerate(batch.devices):
            link = links[made.name]
            lower_ready = made.kind != "macvlan" or any(link.attrs[IFLA_LINK] == u32(i).hex() for i in ready)
            if link.up and made.kind != "bridge" and lower_ready:
                ready.add(link.ifindex)
                if made.kind == "veth":
                    ready.add(links[f"peer{number}"].ifindex)
        while True:
            found = rawdump.addresses(socket_)
            v6 = [(i, a) for i, there in found.items() for a in there if a.family == socket.AF_INET6]
            expected = [("ff00::/8 type 5", i) for i in ready] + [(f"{a.address}/128 type 2", i) for i, a in v6]
            routes = rawdump.routes(socket_)
            waiting = [(dst, i) for dst, i in expected if not any(_is_route(route, dst, i) for route in routes)]
            if not waiting and not any(a.tentative for _, a in v6):
                return
            assert time.monotonic() < end, (waiting, v6)
            time.sleep(0.002)


def _is_route(route: str, dst: str, oif: int) -> bool:
    return route.startswith(f"inet6 {dst} table 255 ") and f"(4, '{u32(oif).hex()}')" in route


# ---- what must come of it ------------------------------------------------------------------------------------------


def valid(name: bytes) -> bool:
    """dev_valid_name, and what net.ipv4.conf keeps for itself."""
    white = bytes([9, 10, 11, 12, 13, 32, 160])
    refused = name in (b"", b".", b"..", b"all", b"default") or len(name) > 15
    return not refused and not any(byte in white + b"/:\0" for byte in name)


def bad_wish(name: bytes) -> str | None:
    """The finding about a wanted name by itself."""
    if b"%" in name:
        return None if valid(name) and name.count(b"%") == 1 and b"%d" in name else "name.template"
    return None if valid(name) else "name.invalid"


def encode(text: str) -> bytes:
    return os.fsencode(text)


class Model:
    """What a batch must come to, from the raw dumps of both sides before it."""

    def __init__(self, batch: Batch, host: dict[str, object], target: dict[str, object]) -> None:
        self.asked = {key: encode(wanted or key) for key, wanted in batch.asked.items()}
        self.host: dict[str, Link] = host["links"]  # type: ignore[assignment]
        self.target: dict[str, Link] = target["links"]  # type: ignore[assignment]
        self.addresses: dict[str, list[Address]] = host["addresses"]  # type: ignore[assignment]
        self.no_ipv6 = batch.no_ipv6

    def refusals(self) -> set[tuple[str, str]]:
        """(device, code) of every error finding."""
        return {*self._sources(), *self._wishes(), *self._clashes()}

    def _present(self) -> dict[str, Link]:
        return {key: self.host[key] for key in self.asked if key in self.host}

    def _sources(self):
        altnames = {altname for link in self.host.values() for altname in link.altnames}
        for key in self.asked:
            name = encode(key)
            could_be = valid(name) and b"%" not in name
            long_altname = 16 <= len(name) < 128 and valid(name[:15])
            if key in self.host:
                immutable = self.host[key].attrs.get(IFLA_NETNS_IMMUTABLE)
                kind = self.host[key].attrs.get("kind")
                if (immutable == "01") if immutable is not None else (key == "lo" or kind == "bridge"):
                    yield key, "device.immutable"
            elif key in altnames and (could_be or long_altname):
                yield key, "device.altname"
            else:
                yield key, "device.unknown" if could_be else "device.invalid-name"

    def _wishes(self):
        seen = set()
        for key, wanted in self.asked.items():
            name = encode(key)
            if wanted == name and not (valid(name) and b"%" not in name):
                continue  # reported once: no device can have it
            bad = bad_wish(wanted)
            if bad:
                yield key, bad
            elif b"%" not in wanted:
                if wanted in seen:
                    yield key, "name.twice"
                seen.add(wanted)

    def _clashes(self):
        owner = {encode(altname): key for key, link in self._present().items() for altname in link.altnames}
        names = {encode(name) for name in self.target}
        altnames = {encode(altname) for link in self.target.values() for altname in link.altnames}
        for key, wanted in self.asked.items():
            if wanted in owner:
                yield key, "name.own-altname" if owner[wanted] == key else "name.twice"
            travelling = [encode(a) for a in self.host[key].altnames] if key in self.host else []
            literal = [wanted] if b"%" not in wanted and valid(wanted) else []
            for name in {*travelling, *literal}:
                if name in names | altnames:
                    taken = "name.taken" if name in names else "name.taken-altname"
                    yield key, taken if name == wanted else "altname.taken"
            v6 = [a for a in self.protected(key) if a.family == socket.AF_INET6]
            if self.no_ipv6 and key in self.host and valid(wanted) and v6:
                yield key, "ipv6.disabled"

    def unlucky(self) -> bool:
        """Whether a template may be given a name that a device brings which has to move after it.

        An upper device moves before its lower; of two templates with alternative names one must be the first.
        """
        for key, wanted in self.asked.items():
            for other in self.asked.keys() - {key} if b"%" in wanted else ():
                brings = {*self.host[other].altnames, os.fsdecode(self.asked[other])}
                if any(matches(wanted, name) is not None for name in brings) and not self._before(other, key):
                    return True
        return False

    def _before(self, first: str, second: str) -> bool:
        """Whether a device can be moved before another: it is no lower of it, and not the lesser of two templates."""
        link = self.host[second].attrs.get(IFLA_LINK)
        if self.host[second].attrs["kind"] == "macvlan" and link == u32(self.host[first].ifindex).hex():
            return False
        return b"%" not in self.asked[first] or not self.host[second].altnames

    def protected(self, key: str) -> list[Address]:
        """S6: permanent and of global scope."""
        return [a for a in self.addresses.get(key, []) if a.flags & IFA_F_PERMANENT and a.scope == 0]

    def arrival(self, key: str, name: str) -> tuple[list[Address], int]:
        """The addresses as they must be in the target, under that name; how many labels do not fit any more."""
        arrived, cut = [], 0
        for address in self.protected(key):
            label = address.label
            if label == key:
                label = name
            elif label is not None and label.startswith(key + ":"):
                label = name + label[len(key) :]
                if len(encode(label)) > 15:
                    label, cut = name, cut + 1
            arrived.append(comparable(replace(address, label=label)))
        return arrived, cut


def comparable(address: Address) -> Address:
    """Without what is the kernel's own verdict of the moment: secondary, tentative, deprecated with a limited time."""
    ignored = IFA_F_SECONDARY | IFA_F_TENTATIVE
    return replace(address, flags=address.flags & ~ignored)


def matches(template: bytes, name: str) -> int | None:
    """The number that a name has for a template; None: it is not one of its names."""
    found = re.fullmatch(re.escape(template).replace(b"%d", rb"(0|[1-9]\d*)"), encode(name), re.DOTALL)
    return None if found is None else int(found[1])
