"""Both parsers read back every message that the package builds, and both builders make the same bytes."""

from __future__ import annotations

import ipaddress
import socket
import struct

from hypothesis import assume, given
from hypothesis import strategies as st

from netdevns import results
from netdevns.netlink import ifaddr, route, uapi, wire
from netdevns.state import nexthops, routes
from tests.property import messages as nl
from tests.property.profiles import examples
from tests.unit import messages as made

NAMES = st.binary(min_size=1, max_size=127).map(lambda name: name.replace(b"\0", b"\1"))
VALUES = st.one_of(nl.PAYLOADS, nl.U32, st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=20))
MESSAGES = st.lists(
    st.tuples(nl.U16, nl.U16, st.binary(max_size=64), st.lists(st.tuples(nl.U16, VALUES), max_size=6), st.booleans()),
    min_size=1,
    max_size=4,
)


def attr(type_: int, value: bytes | int | str) -> bytes:
    if isinstance(value, bytes):
        return wire.attr(type_, value)
    return wire.attr_u32(type_, value) if isinstance(value, int) else wire.attr_name(type_, value.encode("latin-1"))


def read(request: bytes, header: int) -> tuple[int, int, bytes, list[tuple[int, bytes]]]:
    """Type, flags, family header, and attributes of one request, after both parsers agreed on it."""
    ((type_, flags, seq, body),), code = nl.core_messages(request)
    assert nl.python_messages(request) == ([(type_, flags, seq, body)], False)
    assert (code, seq) == (0, 0)
    listed = [(t, bytes(value)) for t, value in wire.attr_list(memoryview(body), header)]
    assert (
        nl.core_attributes(body, header, {t for t, _ in listed}) == dict(listed) == nl.python_attributes(body, header)
    )
    return type_, flags, body[:header], listed


@examples(30, 375)
@given(MESSAGES)
def test_both_builders_make_the_same(messages):
    """nd_msg_* and wire.message: equal bytes for any types, flags, headers and attributes, one message or several."""
    builder, expected = nl.Builder(8192), b""
    for type_, flags, header, attributes, ack in messages:
        builder.begin(type_, flags, header)
        for attribute in attributes:
            builder.put(*attribute)
        if ack:
            builder.ack()
        body = nl.padded(header) + b"".join(attr(*attribute) for attribute in attributes)
        expected += wire.message(type_, flags | (uapi.NLM_F_ACK if ack else 0), body)
    assert builder.request() == expected


@examples(30, 375)
@given(MESSAGES)
def test_what_is_built_is_read_back(messages):
    """Both parsers find in a request what went into it: types, flags, headers, and each attribute's last value."""
    request = b"".join(
        wire.message(type_, flags, nl.padded(header) + b"".join(attr(*attribute) for attribute in attributes))
        for type_, flags, header, attributes, _ in messages
    )
    found, code = nl.core_messages(request)
    assert code == 0
    assert nl.python_messages(request) == (found, False)
    for (type_, flags, _, body), (in_type, in_flags, header, attributes, _) in zip(found, messages, strict=True):
        assert (type_, flags, body[: len(header)]) == (in_type, in_flags | uapi.NLM_F_REQUEST, header)
        size = len(nl.padded(header))
        last = {t & 0x3FFF: attr(0, value)[4:] for t, value in attributes}
        read_back = nl.python_attributes(body, size)
        assert read_back == nl.core_attributes(body, size, set(last))
        assert {t: nl.padded(value) for t, value in read_back.items()} == last


@examples(20, 300)
@given(nl.U16, nl.U16, nl.S32, nl.ATTRIBUTES, st.sampled_from([None, True, False]))
def test_link_message(type_, flags, ifindex, attributes, up):
    """ifi_index is as given, IFF_UP is all that is changed, and only if it is asked for (ifi_change)."""
    request = wire.link_message(type_, flags, ifindex, b"".join(wire.attr(*a) for a in attributes), up=up)
    got, got_flags, header, listed = read(request, 16)
    assert (got, got_flags, listed) == (type_, flags | uapi.NLM_F_REQUEST, attributes)
    assert struct.unpack("=BxHiII", header) == (0, 0, ifindex, 1 if up else 0, 0 if up is None else 1)


@examples(20, 300)
@given(nl.S32, st.one_of(st.none(), st.just(b""), NAMES))
def test_get_link(ifindex, name):
    """A name of up to 15 bytes is asked for as IFLA_IFNAME, a longer one as IFLA_ALT_IFNAME; statistics never."""
    type_, flags, header, listed = read(wire.get_link(ifindex, name), 16)
    by = uapi.IFLA_ALT_IFNAME if name and len(name) > 15 else uapi.IFLA_IFNAME
    named = [] if name is None else [(by, name + b"\0")]
    assert (type_, flags, listed) == (uapi.RTM_GETLINK, uapi.NLM_F_REQUEST, [(29, b"\x08\0\0\0"), *named])
    assert struct.unpack("=BxHiII", header) == (0, 0, ifindex, 0, 0)


@examples(20, 300)
@given(st.sampled_from([uapi.RTM_NEWLINKPROP, uapi.RTM_DELLINKPROP]), nl.S32, st.lists(NAMES, max_size=20))
def test_altnames_message(type_, ifindex, altnames):
    """All names in one nested list, in order, each with its NUL; read as a link, it has these alternative names."""
    request = wire.altnames_message(type_, ifindex, altnames)
    _, _, _, ((list_type, nested),) = read(request, 16)
    assert list_type == uapi.IFLA_PROP_LIST
    assert nl.walk_attributes(nested) == ([(uapi.IFLA_ALT_IFNAME, name + b"\0") for name in altnames], False)
    assert wire.Link(memoryview(request)[16:]).altnames == tuple(altnames)


LINKS = st.fixed_dictionaries(
    {"ifindex": nl.S32, "flags": nl.U32, "name": NAMES},
    optional={
        "kind": st.one_of(st.just(b"veth"), NAMES), "master": nl.U32, "immutable": nl.U8,
        "link": nl.U32, "link_netnsid": nl.U32, "mtu": nl.U32, "mac": st.binary(max_size=32),
        "altnames": st.lists(NAMES, min_size=1, max_size=5), "port_kind": NAMES, "port": st.binary(max_size=64),
        "data": st.binary(max_size=64), "af_spec": st.binary(max_size=64),
        "xdp": st.integers(0, 4),
    },
)  # fmt: skip


@examples(30, 375)
@given(LINKS, nl.ATTRIBUTES, st.randoms())
def test_link(fields, others, random):
    """wire.Link has each field of a link message, with any attributes in between; a missing one is None or empty."""
    known = {3: fields["name"] + b"\0"}
    numbers = {"master": 10, "link": 5, "link_netnsid": 37, "mtu": 4}
    known |= {type_: struct.pack("=I", fields[name]) for name, type_ in numbers.items() if name in fields}
    if "mac" in fields:
        known[1] = fields["mac"]
    if "immutable" in fields:
        known[67] = bytes([fields["immutable"]])
    info = b"".join(made.attr(t, fields[n] + b"\0") for n, t in (("kind", 1), ("port_kind", 4)) if n in fields)
    info += made.attr(5 | 0x8000, fields["port"]) if "port" in fields else b""
    info += made.attr(2 | 0x8000, fields["data"]) if "data" in fields else b""
    if info:
        known[18 | 0x8000] = info
    if "xdp" in fields:
        known[43 | 0x8000] = made.attr(2, bytes([fields["xdp"]]))
    if "altnames" in fields:
        known[52 | 0x8000] = b"".join(made.attr(53, name + b"\0") for name in fields["altnames"])
    if "af_spec" in fields:
        known[26 | 0x8000] = fields["af_spec"]
    read_types = {type_ & 0x3FFF for type_ in (*known, 1, 3, 4, 5, 10, 18, 26, 37, 43, 52, 67)}
    listed = [*known.items(), *((t, v) for t, v in others if t not in read_types)]
    random.shuffle(listed)
    header = struct.pack("=BxHiII", 0, 1, fields["ifindex"], fields["flags"], 0)
    link = wire.Link(memoryview(header + b"".join(made.attr(*a) for a in listed)))
    elsewhere = fields.get("kind") == b"veth" or "link_netnsid" in fields
    assert {slot: getattr(link, slot) for slot in wire.Link.__slots__ if slot != "body"} == {
        "ifindex": fields["ifindex"],
        "flags": fields["flags"],
        "name": fields["name"],
        "kind": fields.get("kind", b""),
        "data": fields.get("data", b""),
        "af_spec": fields.get("af_spec"),
        "port_kind": fields.get("port_kind", b""),
        "port": fields.get("port", b""),
        "has_xdp": bool(fields.get("xdp", 0)),
        "mac": fields.get("mac", b""),
        "mtu": fields.get("mtu"),
        "master": fields.get("master"),
        "altnames": tuple(fields.get("altnames", ())),
        "immutable": None if "immutable" not in fields else fields["immutable"] != 0,
        "lower": None if elsewhere else fields.get("link"),
    }


LIFETIMES = st.one_of(st.just(0xFFFFFFFF), st.just(0), nl.U32)


@st.composite
def addresses(draw):
    """(the body of an RTM_NEWADDR, what is in it)."""
    family = draw(st.sampled_from([socket.AF_INET, socket.AF_INET6, 45]))
    size = {socket.AF_INET: 4, socket.AF_INET6: 16}.get(family, 3)
    numbers = st.binary(min_size=size, max_size=size)
    local, peer = draw(numbers), draw(st.none() | numbers)
    head = [draw(field) for field in (nl.U8, nl.U8, nl.U8, nl.U32)]  # prefixlen, the low 8 flags, scope, ifindex
    more = {
        "flags": draw(st.none() | nl.U32), "broadcast": draw(st.none() | numbers), "metric": draw(st.none() | nl.U32),
        "label": draw(st.none() | NAMES), "protocol": draw(st.none() | nl.U8),
        "lifetimes": draw(st.none() | st.tuples(LIFETIMES, LIFETIMES)),  # preferred, valid
    }  # fmt: skip
    found = {1: peer if peer is not None else local}
    if peer is not None or draw(st.booleans()):
        found[2] = local
    raw = {
        8: more["flags"] is not None and struct.pack("=I", more["flags"]),
        4: more["broadcast"],
        9: more["metric"] is not None and struct.pack("=I", more["metric"]),
        3: more["label"] is not None and more["label"] + b"\0",
        11: more["protocol"] is not None and bytes([more["protocol"]]),
        6: more["lifetimes"] is not None and struct.pack("=IIII", *more["lifetimes"], 5, 6),
    }
    found |= {type_: value for type_, value in raw.items() if value}
    order = draw(st.permutations(list(found)))
    body = struct.pack("=BBBBI", family, *head) + b"".join(made.attr(t, found[t]) for t in order)
    text = ipaddress.ip_address if size != 3 else bytes.hex
    preferred, valid = more["lifetimes"] or (0xFFFFFFFF, 0xFFFFFFFF)
    expected = {
        "family": {socket.AF_INET: "inet", socket.AF_INET6: "inet6"}.get(family, str(family)),
        "address": str(text(local)),
        "prefixlen": head[0],
        "peer": None if peer in (None, local) else str(text(peer)),
        "broadcast": None if more["broadcast"] is None else str(text(more["broadcast"])),
        "label": None if more["label"] is None else more["label"].decode("utf-8", "surrogateescape"),
        "scope": {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}.get(head[2], str(head[2])),
        "flags": head[1] if more["flags"] is None else more["flags"],
        "metric": more["metric"],
        "protocol": more["protocol"],
        "valid_lft_s": None if valid == 0xFFFFFFFF else valid,
        "preferred_lft_s": None if preferred == 0xFFFFFFFF else preferred,
    }
    return body, expected


@examples(30, 375)
@given(st.lists(addresses(), max_size=4), nl.U32)
def test_addresses(listed, ifindex):
    """A dump of any addresses is decoded field by field and in order; `protected` and `ifindex` leave others out."""
    dump = b"".join(nl.padded(made.message(20, body, flags=2)) for body, _ in listed)
    everything = [fields for _, fields in listed]
    assert list(ifaddr.addresses(dump)) == everything
    assert [vars(address) for address in results.addresses(dump)] == everything
    protected = [fields for fields in everything if fields["flags"] & 0x80 and fields["scope"] == "global"]
    assert list(ifaddr.addresses(dump, protected=True)) == protected
    of_one = [fields for body, fields in listed if struct.unpack_from("=I", body, 4)[0] == ifindex]
    assert list(ifaddr.addresses(dump, ifindex=ifindex)) == of_one


@examples(30, 375)
@given(nl.U16, st.binary(max_size=200), nl.U16, st.text(max_size=300), st.none() | nl.U32, st.booleans())
def test_error(code, body, seq, text, offset, capped):
    """Both parsers read an error, or an ack, with its text, whether the request is echoed or only its header."""
    request = made.Request(made.message(16, body, seq=seq))
    text = text.replace("\0", "")
    text = text.encode("utf-8", "replace").decode()
    data = made.error(code, request, text=text, offset=offset, capped=capped)
    (message,) = wire.messages(data)
    assert wire.error(message) == (code, text)
    assert nl.core_error(data) == (-code, text.encode()[:191])


# ---- routes --------------------------------------------------------------------------------------------------------

IFINDEXES = st.integers(1, 5)


def leg(ifindex: int, flags: int, hops: int, gateway: bytes) -> bytes:
    attributes = made.attr(5, gateway) if gateway else b""
    return struct.pack("=HBBi", 8 + len(attributes), flags, hops, ifindex) + attributes


LEGS = st.lists(
    st.builds(leg, IFINDEXES, nl.U8, nl.U8, st.binary(max_size=16)), min_size=1, max_size=4
).map(b"".join)  # fmt: skip
ROUTE_HEADS = st.builds(
    lambda family, *rest: struct.pack("=BBBBBBBBI", family, *rest),
    st.sampled_from([2, 10]), st.sampled_from([0, 24]), nl.U8, nl.U8, st.sampled_from([254, 255, 0, 7]),
    st.sampled_from([2, 3, 4]), nl.U8, st.sampled_from([1, 2, 5, 6]), nl.U32,
)  # fmt: skip
ROUTES = st.builds(
    lambda head, known, others: head + b"".join(made.attr(t, v) for t, v in (*known.items(), *others)),
    ROUTE_HEADS,
    st.fixed_dictionaries(
        {},
        optional={
            1: st.binary(max_size=16), 3: IFINDEXES.map(wire.U32.pack), 4: IFINDEXES.map(wire.U32.pack),
            5: st.binary(min_size=4, max_size=4), 6: nl.U32.map(wire.U32.pack), 7: st.binary(max_size=16),
            9: LEGS, 12: st.binary(min_size=12, max_size=36), 15: st.sampled_from([254, 7]).map(wire.U32.pack),
            30: IFINDEXES.map(wire.U32.pack),
        },
    ),
    st.lists(st.tuples(st.sampled_from([2, 8, 10, 11, 14, 16, 18, 19, 20, 21, 22, 26, 99]), nl.PAYLOADS), max_size=3),
)  # fmt: skip
NEXTHOPS = st.builds(
    lambda head, known, others: head + b"".join(made.attr(t, v) for t, v in (*known.items(), *others)),
    st.builds(struct.pack, st.just("=BBBxI"), nl.U8, nl.U8, nl.U8, nl.U32),
    st.fixed_dictionaries(
        {1: IFINDEXES.map(wire.U32.pack)},
        optional={
            2: st.lists(IFINDEXES.map(lambda i: struct.pack("=IBBH", i, 1, 7, 9)), max_size=3).map(b"".join),
            4: st.just(b""), 5: IFINDEXES.map(wire.U32.pack), 6: st.binary(max_size=16),
            12: st.just(made.attr(1, b"\1\0") + made.attr(4, bytes(8)) + made.attr(2, bytes(4))), 14: nl.U32.map(
                wire.U32.pack
            ),
        },
    ),
    st.lists(st.tuples(st.sampled_from([3, 7, 8, 9, 10, 11, 13, 99]), nl.PAYLOADS), max_size=3),
)  # fmt: skip


def nexthop(body: bytes) -> dict[int, bytes]:
    return dict(nl.walk_attributes(body[8:])[0])


def dump(type_: int, bodies: list[bytes]) -> bytes:
    return b"".join(nl.padded(made.message(type_, body, flags=2)) for body in bodies)


@examples(30, 375)
@given(st.lists(ROUTES, max_size=5), st.dictionaries(IFINDEXES, st.integers(11, 15)))
def test_routes_put_back(bodies, renumbered):
    """What is put back of a dump is not missing any more, nothing else is, and both parsers read each request alike."""
    before = dump(uapi.RTM_NEWROUTE, bodies)
    gone = routes.missing(before, b"", renumbered)
    made_by_kernel = [b for b in bodies if b[5] == uapi.RTPROT_KERNEL and b[7] in (2, 3, 4, 5)]
    assert len(gone) == len(bodies) - len(made_by_kernel)
    after = dump(uapi.RTM_NEWROUTE, gone)
    assert routes.missing(before, after, renumbered) == []
    assert routes.missing(after, before if not renumbered else after) == []
    assert routes.missing(before, before) == []
    assert [route.needs_gateway(body) for body in gone] == sorted(map(route.needs_gateway, gone))
    for body in gone:
        type_, flags, head, listed = read(route.add(body), 12)
        assert (type_, flags & 0x5) == (uapi.RTM_NEWROUTE, uapi.NLM_F_REQUEST | uapi.NLM_F_ACK)
        whole = body[0] == socket.AF_INET6 and uapi.RTA_MULTIPATH in dict(listed)
        assert flags & 0xF00 == uapi.NLM_F_CREATE | (uapi.NLM_F_REPLACE if whole else uapi.NLM_F_APPEND)
        assert struct.unpack_from("=I", head, 8)[0] & ~uapi.RTNH_F_ONLINK == 0
        assert not {12, 14, 10} & dict(listed).keys()  # RTA_CACHEINFO, RTA_MFC_STATS, RTA_SESSION: no request's
        if uapi.RTA_NH_ID in dict(listed):
            assert not {4, 5, 9, 18} & dict(listed).keys()
            assert struct.unpack_from("=I", head, 8)[0] == 0
        assert route.text(body).startswith("route ")
        assert not renumbered.keys() & set(_out(dict(listed)))


def _out(found: dict[int, bytes]) -> list[int]:
    """The ifindexes in a request about a route."""
    indexes = [wire.U32.unpack(found[t])[0] for t in (3, 4) if t in found]
    at, legs = 0, found.get(9, b"")
    while at < len(legs):
        length, _, _, ifindex = struct.unpack_from("=HBBi", legs, at)
        indexes.append(ifindex)
        at += (length + 3) & ~3
    return indexes


@examples(30, 375)
@given(st.lists(ROUTES, max_size=5), st.lists(NEXTHOPS, max_size=4, unique_by=lambda body: nexthop(body)[1]))
def test_default_routes(bodies, objects):
    """The devices of unicast routes of the main table with prefix length 0: their own, their legs', their objects'."""
    by_id: dict[int, set[int]] = {}
    members: dict[int, list[int]] = {}
    for body in objects:
        found = nexthop(body)
        id_ = wire.U32.unpack(found[1])[0]
        by_id[id_] = {wire.U32.unpack(found[5])[0]} if 5 in found else set()
        members[id_] = [wire.U32.unpack_from(found.get(2, b""), at)[0] for at in range(0, len(found.get(2, b"")), 8)]
    assume(not any(members.get(member) for listed in members.values() for member in listed))  # no group is in a group
    expected, counts = set(), {}
    for body in bodies:
        found = dict(nl.walk_attributes(body[12:])[0])
        devices = set(_out({t: v for t, v in found.items() if t in (4, 9)}))
        if 30 in found:
            id_ = wire.U32.unpack(found[30])[0]
            devices |= by_id.get(id_, set()).union(*(by_id.get(m, set()) for m in members.get(id_, ())))
        table = wire.U32.unpack(found[15])[0] if 15 in found else body[4]
        if (body[1], body[7], table) == (0, 1, 254):
            expected |= devices
        if body[5] != 2:
            for ifindex in devices:
                counts[ifindex] = counts.get(ifindex, 0) + 1
    dumps = dump(uapi.RTM_NEWROUTE, bodies), dump(uapi.RTM_NEWNEXTHOP, objects)
    found = routes.RouteUsage(*dumps, ())
    assert (found.default, found.counts) == (expected, counts)


@examples(30, 375)
@given(st.lists(NEXTHOPS, max_size=5), st.dictionaries(IFINDEXES, st.integers(11, 15)))
def test_nexthops_put_back(bodies, renumbered):
    """The same for nexthop objects: groups come behind what they consist of, and nh_scope is left to the kernel."""
    before = dump(uapi.RTM_NEWNEXTHOP, bodies)
    gone = nexthops.missing(before, b"", renumbered)
    assert len(gone) == len(bodies)
    after = dump(uapi.RTM_NEWNEXTHOP, gone)
    assert nexthops.missing(before, before) == []
    assert nexthops.missing(after, after) == []
    groups = []
    for body in gone:
        type_, flags, head, listed = read(route.add_nexthop(body), 8)
        assert (type_, flags) == (uapi.RTM_NEWNEXTHOP, 0x1 | 0x4 | 0x100 | 0x400)
        assert struct.unpack("=BBBxI", head)[1] == 0
        found = dict(listed)
        groups.append(2 in found)
        assert not {9, 10, 13, 14, 99} & found.keys()
        if 12 in found:
            assert 4 not in dict(nl.walk_attributes(found[12])[0])
        if 5 in found:
            assert wire.U32.unpack(found[5])[0] not in renumbered
    assert groups == sorted(groups)
