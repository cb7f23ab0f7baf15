"""csrc/filter.c and engine/reference/filter.py keep the same messages of a dump: all that concern our devices."""

from __future__ import annotations

import struct
from collections.abc import Collection

from hypothesis import event, given
from hypothesis import strategies as st

from netdevns._ffi import ffi, lib
from netdevns.engine.reference.filter import Filter
from netdevns.netlink import uapi, wire
from netdevns.state import routes
from tests.property import messages as nl
from tests.property.profiles import examples
from tests.support.guarded import Guarded
from tests.unit import messages as made

OURS = (3, 7, 9)
NAMES = (b"eth1", b"fifteen-bytes-x", b"net0")
IFINDEXES = st.sampled_from([0, 1, *OURS, 8, 2**31 - 1])
U32 = struct.Struct("=I").pack
INDEX_VALUES = st.one_of(IFINDEXES.map(U32), st.binary(max_size=6))


def attributes(types: dict[int, st.SearchStrategy[bytes]]) -> st.SearchStrategy[bytes]:
    """A list of some of these and of others, whose last length may lie."""
    one = st.one_of(
        *(st.tuples(st.just(type_), value) for type_, value in types.items()), st.tuples(nl.TYPES, nl.PAYLOADS)
    )
    listed = st.lists(one, max_size=6).map(lambda found: b"".join(made.attr(*a) for a in found))
    return st.tuples(listed, st.one_of(st.just(b""), st.binary(max_size=9))).map(b"".join)


def nested(types: dict[int, st.SearchStrategy[bytes]]) -> st.SearchStrategy[bytes]:
    return attributes(types)


LEGS = st.lists(
    st.tuples(st.sampled_from([8, 8, 16, 7, 40]), IFINDEXES, st.binary(min_size=8, max_size=8)), max_size=3
).map(lambda legs: b"".join(struct.pack("=HBBi", n, 0, 0, i) + (rest if n == 16 else b"") for n, i, rest in legs))
KINDS = st.sampled_from([b"veth\0", b"vlan\0", b"vxlan\0", b"ifb\0", b"veth", b"vx", b""])
MACS = st.sampled_from([bytes((2, 0, 0, 0, 0, 1)), bytes((0x33, 0x33, 0, 0, 0, 1)), b""])
LINKS = st.tuples(
    st.builds(struct.pack, st.just("=BxHiII"), nl.U8, nl.U16, IFINDEXES, nl.U32, nl.U32),
    attributes(
        {
            uapi.IFLA_IFNAME: st.sampled_from([*(n + b"\0" for n in NAMES), b"eth1", b"eth10\0", b"x" * 20, b""]),
            uapi.IFLA_LINK: INDEX_VALUES,
            uapi.IFLA_LINK_NETNSID: INDEX_VALUES,
            uapi.IFLA_LINKINFO: nested({uapi.IFLA_INFO_KIND: KINDS}),
        }
    ),
).map(b"".join)
BODIES = st.tuples(
    st.builds(struct.pack, st.just("=BBBBI"), nl.U8, nl.U8, nl.U8, nl.U8, IFINDEXES.map(lambda i: i & 0xFFFFFFFF)),
    attributes({}),
).map(b"".join)
NEIGHBOURS = st.tuples(
    st.builds(
        struct.pack,
        st.just("=BxxxiHBB"),
        st.sampled_from([uapi.AF_INET, uapi.AF_INET6, uapi.AF_BRIDGE]),
        IFINDEXES,
        st.sampled_from([0, uapi.NUD_PERMANENT, uapi.NUD_NOARP]),
        st.sampled_from([0, uapi.NTF_PROXY, uapi.NTF_EXT_LEARNED, uapi.NTF_SELF]),
        st.sampled_from([0, uapi.RTN_UNICAST, uapi.RTN_BROADCAST, uapi.RTN_MULTICAST]),
    ),
    attributes({uapi.NDA_LLADDR: MACS}),
).map(b"".join)
ROUTES = st.tuples(
    st.builds(
        struct.pack,
        st.just("=BBBBBBBBI"),
        st.sampled_from([uapi.AF_INET, uapi.AF_INET6]),
        st.sampled_from([0, 24, 24]),
        nl.U8,
        nl.U8,
        st.sampled_from([uapi.RT_TABLE_MAIN, 255]),
        st.sampled_from([uapi.RTPROT_KERNEL, 3, 3]),
        nl.U8,
        st.sampled_from([uapi.RTN_UNICAST, uapi.RTN_LOCAL]),
        nl.U32,
    ),
    attributes(
        {
            uapi.RTA_OIF: INDEX_VALUES,
            uapi.RTA_IIF: INDEX_VALUES,
            uapi.RTA_MULTIPATH: LEGS,
            uapi.RTA_PREFSRC: st.just(bytes(4)),
            uapi.RTA_NH_ID: st.just(U32(5)),
        }
    ),
).map(b"".join)
TABLES = st.tuples(st.just(bytes(4)), attributes({uapi.NDTA_PARMS: nested({uapi.NDTPA_IFINDEX: INDEX_VALUES})})).map(
    b"".join
)
MESSAGES = st.one_of(
    LINKS.map(lambda body: (uapi.RTM_NEWLINK, body)),
    st.tuples(st.sampled_from([uapi.RTM_NEWADDR, uapi.RTM_NEWQDISC]), BODIES),
    NEIGHBOURS.map(lambda body: (uapi.RTM_NEWNEIGH, body)),
    ROUTES.map(lambda body: (uapi.RTM_NEWROUTE, body)),
    TABLES.map(lambda body: (uapi.RTM_NEWNEIGHTBL, body)),
    st.tuples(st.sampled_from([uapi.NLMSG_ERROR, uapi.RTM_NEWNEXTHOP, uapi.RTM_DELADDR]), st.binary(max_size=40)),
    st.tuples(st.sampled_from([16, 20, 24, 28, 36, 64]), st.binary(max_size=40)),  # too short, or anything
)


def core_keeps(data: bytes) -> bool:
    """In memory behind which nothing may be read."""
    guarded = Guarded(data)
    assert guarded.next() == 1
    ifindexes = ffi.new("int32_t[]", OURS)
    names = ffi.new("char[]", b"".join(sorted(name.ljust(16, b"\0") for name in NAMES)))
    only = ffi.new("struct nd_filter *", (ifindexes, len(OURS), names, len(NAMES)))
    return bool(lib.nd_filter_keeps(only, guarded.view))


def python_keeps(data: bytes, names: Collection[bytes]) -> bool:
    ((type_, at, end),) = wire.spans(data)
    rule = Filter(OURS, names).rule(type_)
    return rule is None or rule(data, at, end)


@examples(300, 2000)
@given(MESSAGES)
def test_both_keep_the_same(message: tuple[int, bytes]) -> None:
    """Message by message, with any content; and neither reads beyond its end."""
    type_, body = message
    data = made.message(type_, body)
    kept = python_keeps(data, NAMES)
    event(f"{type_}: {'kept' if kept else 'dropped'}")
    assert core_keeps(data) == kept


@examples(60, 750)
@given(st.lists(ROUTES, max_size=6))
def test_no_route_that_counts_is_dropped(bodies: list[bytes]) -> None:
    """What is said of the devices that leave is the same of the whole dump and of what is kept of it."""
    messages = [made.message(uapi.RTM_NEWROUTE, body) for body in bodies]
    kept = [m for m in messages if python_keeps(m, ())]
    found = []
    for listed in (messages, kept):
        dump = b"".join(map(nl.padded, listed))
        try:
            seen = routes.RouteUsage(dump, b"", OURS)
            owners = sorted(seen.source_owners(dump))
        except wire.Malformed:
            return  # the reader complains of what is damaged, and nothing damaged is dropped
        found.append((seen.default, {i: n for i, n in seen.counts.items() if i in OURS}, owners))
    assert found[0] == found[1]
