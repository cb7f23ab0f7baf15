"""Routes and nexthop objects: devices that carry a default route, and the requests that restore routes.

RECORDED are the bodies of RTM_NEWROUTE and RTM_NEWNEXTHOP of Linux 6.18, dumped through `engine.Socket.query` with
`route.DUMP_ROUTES` and `route.DUMP_NEXTHOPS` in a namespace with (eth1: ifindex 7, 10.0.0.1/24)

    ip nexthop add id 5 via 10.0.0.254 dev eth1
    ip nexthop add id 6 dev eth1
    ip nexthop add id 7 group 5/6
    ip route add default via 10.0.0.254 dev eth1 metric 50
    ip route add 198.51.100.0/24 nexthop via 10.0.0.254 dev eth1 nexthop via 10.0.0.253 dev eth1 weight 2
    ip route add 203.0.113.0/24 nhid 5
"""

import socket
import struct
import sys

import pytest

from netdevns.netlink import route, uapi, wire
from netdevns.state import nexthops, routes
from tests.unit import messages as nl

RECORDED = {
    "default": "02000000fe0300010000000008000f00fe0000000800060032000000080005000a0000fe0800040007000000",
    "multipath": "02180000fe0300010000000008000f00fe00000008000100c6336400240009001000000007000000080005000a0000fe"
    "1000000107000000080005000a0000fd",
    "nhid": "02180000fe0300010000000008000f00fe00000008000100cb00710008001e0005000000080005000a0000fe0800040007000000",
}
RECORDED_NEXTHOPS = {
    5: "02fd00000000000008000100050000000800050007000000080006000a0000fe",
    6: "02fe00000000000008000100060000000800050007000000",
    7: "000000000000000008000100070000000600030000000000140002000500000000000000060000000000000008000e0000000080",
}
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_MULTIPATH, RTA_CACHEINFO = 1, 4, 5, 6, 9, 12
RTA_TABLE, RTA_VIA, RTA_NH_ID = 15, 18, 30
NHA_ID, NHA_GROUP, NHA_OIF, NHA_GATEWAY = 1, 2, 5, 6
DEAD, LINKDOWN, ONLINK, OFFLOAD = 1, 16, 4, 8
U32 = struct.Struct("=I").pack


def default_devices(routes_: bytes, nexthops: bytes) -> set[int]:
    return routes.RouteUsage(routes_, nexthops, ()).default


def count_by_device(routes_: bytes, nexthops: bytes) -> dict[int, int]:
    return routes.RouteUsage(routes_, nexthops, ()).counts


little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="recorded on a little-endian machine")


def gateway(text: str) -> tuple[int, bytes]:
    return RTA_GATEWAY, socket.inet_pton(socket.AF_INET, text)


def a_route(
    *attributes: tuple[int, bytes],
    dst: str = "0.0.0.0/0",
    table: int = 254,
    proto: int = 3,
    type_: int = 1,
    flags: int = 0,
) -> bytes:
    """A struct rtmsg with RTA_TABLE and RTA_DST, as in a dump of IPv4 routes."""
    address, dst_len = dst.split("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    head = struct.pack(
        "=8BI", family, int(dst_len), 0, 0, min(table, 252) if table > 255 else table, proto, 0, type_, flags
    )
    found = [(RTA_TABLE, U32(table)), *attributes]
    if int(dst_len):
        found.insert(1, (RTA_DST, socket.inet_pton(family, address)))
    return head + b"".join(nl.attr(t, v) for t, v in found)


def oif(ifindex: int) -> tuple[int, bytes]:
    return RTA_OIF, U32(ifindex)


def hop(ifindex: int, *, flags: int = 0, via: str | None = None, weight: int = 1) -> bytes:
    attributes = nl.attr(*gateway(via)) if via else b""
    return struct.pack("=HBBi", 8 + len(attributes), flags, weight - 1, ifindex) + attributes


def nexthop(id_: int, *attributes: tuple[int, bytes], flags: int = 0, scope: int = 0) -> bytes:
    return struct.pack("=BBBxI", 2, scope, 0, flags) + b"".join(
        nl.attr(t, v) for t, v in [(NHA_ID, U32(id_)), *attributes]
    )


def group(id_: int, *members: int) -> bytes:
    return nexthop(id_, (NHA_GROUP, b"".join(struct.pack("=IBBH", m, 0, 0, 0) for m in members)))


def dump(type_: int, bodies: list[bytes]) -> bytes:
    return b"".join(nl.padded(nl.message(type_, body, flags=2)) for body in bodies)


def route_dump(*bodies: bytes) -> bytes:
    return dump(nl.RTM_NEWROUTE, list(bodies))


def nexthop_dump(*bodies: bytes) -> bytes:
    return dump(nl.RTM_NEWNEXTHOP, list(bodies))


# ---- default routes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bodies", "nexthops", "devices"),
    [
        pytest.param([], [], set(), id="none"),
        pytest.param([a_route(oif(7))], [], {7}, id="device"),
        pytest.param([a_route(oif(7), gateway("10.0.0.254"))], [], {7}, id="gateway"),
        pytest.param([a_route(oif(7), dst="10.0.0.0/8")], [], set(), id="not-default"),
        pytest.param([a_route(oif(7), dst="0.0.0.0/1")], [], set(), id="half-of-it"),
        pytest.param([a_route(oif(7)), a_route(oif(8), (RTA_PRIORITY, U32(9)))], [], {7, 8}, id="two-metrics"),
        pytest.param([a_route(oif(7), table=100)], [], set(), id="other-table"),
        pytest.param([a_route(oif(7), table=1000)], [], set(), id="table-above-255"),
        pytest.param([a_route(oif(7), table=255)], [], set(), id="local-table"),
        pytest.param([a_route(oif(1), type_=7)], [], set(), id="unreachable"),
        pytest.param([a_route(oif(1), type_=6)], [], set(), id="blackhole"),
        pytest.param([a_route(oif(7), dst="::/0")], [], {7}, id="ipv6"),
        pytest.param([a_route((RTA_MULTIPATH, hop(7) + hop(8, via="10.0.0.9")))], [], {7, 8}, id="multipath"),
        pytest.param([a_route((RTA_MULTIPATH, hop(7, flags=DEAD)))], [], {7}, id="dead-nexthop"),
        pytest.param([a_route((RTA_NH_ID, U32(5)))], [nexthop(5, (NHA_OIF, U32(7)))], {7}, id="nexthop"),
        pytest.param([a_route((RTA_NH_ID, U32(5)))], [], set(), id="nexthop-unknown"),
        pytest.param(
            [a_route((RTA_NH_ID, U32(9)))],
            [group(9, 5, 6), nexthop(5, (NHA_OIF, U32(7))), nexthop(6, (NHA_OIF, U32(8)))],
            {7, 8},
            id="group-in-front-of-its-members",
        ),
        pytest.param([a_route((RTA_NH_ID, U32(9)))], [group(9, 5), nexthop(5)], set(), id="group-of-a-blackhole"),
        pytest.param([a_route((RTA_NH_ID, U32(9)))], [group(9, 9)], set(), id="group-of-itself"),
    ],
)
def test_default_devices(bodies, nexthops, devices):
    """Default routes of the main table, by device, multipath, nexthop object or group."""
    assert default_devices(route_dump(*bodies), nexthop_dump(*nexthops)) == devices


def test_table_of_an_old_dump():
    """Without RTA_TABLE the table is rtm_table."""
    body = a_route(oif(7))
    assert default_devices(route_dump(body[:12] + body[20:]), b"") == {7}


@little_endian
def test_default_device_of_a_recorded_dump():
    """The same from the recorded bytes of a kernel."""
    dumped = route_dump(*map(bytes.fromhex, RECORDED.values()))
    nexthops = nexthop_dump(*map(bytes.fromhex, RECORDED_NEXTHOPS.values()))
    assert default_devices(dumped, nexthops) == {7}
    assert count_by_device(dumped, nexthops) == {7: 3}


def test_count_leaves_out_the_kernels_own():
    """Routes that the kernel makes for addresses are no loss: it makes them again."""
    bodies = [
        a_route(oif(7), dst="10.0.0.0/24", proto=2),
        a_route(oif(7), dst="10.1.0.0/24"),
        a_route(oif(8), dst="10.2.0.0/24"),
        a_route((RTA_MULTIPATH, hop(7) + hop(7, via="10.0.0.9")), dst="10.3.0.0/24"),
    ]
    assert count_by_device(route_dump(*bodies), b"") == {7: 2, 8: 1}


# ---- what is missing -----------------------------------------------------------------------------------------------

PLAIN = a_route(oif(7), dst="10.1.0.0/24")
VIA = a_route(oif(7), gateway("10.1.0.9"), dst="10.2.0.0/24")
MULTI = a_route((RTA_MULTIPATH, hop(7, via="10.0.0.1") + hop(8, via="10.1.0.1", weight=2)), dst="10.3.0.0/24")


def alike(*bodies: bytes) -> list[tuple[bytes, dict[int, bytes]]]:
    """Routes as header and attributes, without the order of the attributes."""
    return [(body[:12], nl.attrs(body[12:])) for body in bodies]


def missing(before: list[bytes], now: list[bytes]) -> list[tuple[bytes, dict[int, bytes]]]:
    return alike(*routes.missing(route_dump(*before), route_dump(*now)))


def test_nothing_is_missing():
    """A route that still exists is not missing."""
    assert missing([PLAIN, VIA, MULTI], [MULTI, VIA, PLAIN]) == []


def test_missing_route_keeps_all_attributes():
    """A route that needs no change is restored with all dumped attributes."""
    assert missing([PLAIN], []) == alike(PLAIN)


@little_endian
@pytest.mark.parametrize("which", ["default", "multipath"])
def test_recorded_route_is_its_own_request(which):
    """A recorded route becomes the request that adds it again, with its attributes in our order."""
    body = bytes.fromhex(RECORDED[which])
    assert missing([body], []) == alike(body)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(a_route(oif(7), dst="10.1.0.0/24", flags=DEAD | LINKDOWN), id="dead"),
        pytest.param(a_route(oif(7), dst="10.1.0.0/24", flags=OFFLOAD), id="offload"),
        pytest.param(a_route(oif(7), (RTA_CACHEINFO, bytes(32)), dst="10.1.0.0/24"), id="cacheinfo"),
        pytest.param(a_route(oif(7), (99, b"new"), dst="10.1.0.0/24"), id="unknown-attribute"),
    ],
)
def test_state_of_a_route_is_not_the_route(changed):
    """Flags and counters for the present state do not make it another route, and are not restored."""
    assert missing([PLAIN], [changed]) == []
    assert missing([changed], []) == alike(PLAIN)


def test_state_of_a_nexthop_is_not_the_route():
    """The same for the nexthops of a multipath route."""
    flags = DEAD | LINKDOWN
    down = a_route(
        (
            RTA_MULTIPATH,
            hop(7, via="10.0.0.1", flags=flags) + hop(8, via="10.1.0.1", weight=2, flags=flags),
        ),
        dst="10.3.0.0/24",
    )
    assert missing([down], [MULTI]) == []
    assert missing([down], []) == alike(MULTI)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(a_route(oif(8), dst="10.1.0.0/24"), id="device"),
        pytest.param(a_route(oif(7), dst="10.1.0.0/25"), id="prefixlen"),
        pytest.param(a_route(oif(7), dst="10.1.0.0/24", table=100), id="table"),
        pytest.param(a_route(oif(7), dst="10.1.0.0/24", proto=4), id="protocol"),
        pytest.param(a_route(oif(7), (RTA_PRIORITY, U32(5)), dst="10.1.0.0/24"), id="metric"),
        pytest.param(a_route(oif(7), gateway("10.0.0.1"), dst="10.1.0.0/24"), id="gateway"),
        pytest.param(a_route(oif(7), dst="10.1.0.0/24", flags=ONLINK), id="onlink"),
        pytest.param(a_route(oif(7), dst="10.1.0.0/24", type_=6), id="type"),
    ],
)
def test_other_route_does_not_count(other):
    """A route that differs in a key or setting is not the missing one."""
    assert missing([PLAIN], [other]) == alike(PLAIN)


@pytest.mark.parametrize("type_", [2, 3, 4, 5], ids=["local", "broadcast", "anycast", "multicast"])
def test_routes_made_with_addresses_are_left_to_the_kernel(type_):
    """The kernel makes them with the addresses, and not before DAD is done."""
    assert missing([a_route(oif(7), dst="10.0.0.1/32", table=255, proto=2, type_=type_)], []) == []


def test_prefix_route_of_the_kernel_is_restored():
    """A unicast route of RTPROT_KERNEL may have been lost with another device's address: it counts."""
    kernel = a_route(oif(7), dst="10.0.0.0/24", proto=2)
    assert missing([kernel], []) == alike(kernel)


def test_routes_with_gateways_come_last():
    """A gateway must be reachable when its route is added; apart from that, the order of the dump stays."""
    other = a_route(oif(7), dst="10.9.0.0/24")
    via_object = a_route((RTA_NH_ID, U32(5)), dst="10.8.0.0/24")
    over = a_route(oif(7), (RTA_VIA, b"\x0a\0" + bytes(16)), dst="10.7.0.0/24")
    assert missing([VIA, MULTI, PLAIN, via_object, over, other], []) == alike(
        PLAIN, other, VIA, MULTI, via_object, over
    )


def test_route_with_nexthop_object_has_no_nexthops_of_its_own():
    """Device and gateway, which a dump adds for old programs, are the object's; a request with both is refused."""
    dumped = a_route((RTA_NH_ID, U32(5)), gateway("10.0.0.1"), oif(7), dst="10.8.0.0/24", flags=ONLINK)
    assert missing([dumped], []) == alike(a_route((RTA_NH_ID, U32(5)), dst="10.8.0.0/24"))


def test_routes_of_other_devices_count():
    """A route of another device that vanished (its `src` moved away) is missing as well."""
    src = a_route(oif(3), (uapi.RTA_PREFSRC, bytes([10, 0, 0, 1])), dst="10.9.0.0/24")
    assert missing([src], []) == alike(src)


def missing_nexthops(before: list[bytes], now: list[bytes]) -> list[bytes]:
    return nexthops.missing(nexthop_dump(*before), nexthop_dump(*now))


def test_groups_come_after_their_members():
    """A group can only be made of existing objects."""
    five, six = nexthop(5, (NHA_OIF, U32(7))), nexthop(6, (NHA_OIF, U32(8)))
    assert missing_nexthops([group(4, 5, 6), five, group(9, 5), six], []) == [five, six, group(4, 5, 6), group(9, 5)]


def test_group_that_lost_a_member_is_missing():
    """The kernel removes a vanished member from its group, so the group must be set again."""
    assert missing_nexthops([group(9, 5, 6)], [group(9, 6)]) == [group(9, 5, 6)]


def test_scope_and_state_of_a_nexthop_are_the_kernels():
    """A request with nh_scope is refused; flags such as DEAD are state."""
    dumped = nexthop(5, (NHA_OIF, U32(7)), flags=DEAD | LINKDOWN, scope=253)
    assert missing_nexthops([dumped], []) == [nexthop(5, (NHA_OIF, U32(7)))]
    assert missing_nexthops([dumped], [nexthop(5, (NHA_OIF, U32(7)))]) == []


# Linux 6.18, dumped as above; `ip nexthop add`:
ENCAP = bytes.fromhex(  # id 8 encap ip id 42 dst 10.0.0.9 via 10.0.0.254 dev eth1
    "02fd00000000000008000100080000000800050007000000080006000a0000fe380008000c000100000000000000002a080002000a000009"
    "08000300000000000500050000000000050004000000000006000600000000000600070002000000"
)
RESILIENT = bytes.fromhex(  # id 9 group 5/6 type resilient buckets 4
    "000000000000000008000100090000000600030001000000140002000500000000000000060000000000000028000c8006000100040000000800"
    "0200e02e000008000300000000000c000400000000000000000008000e0000000080"
)
NESTED = 0x8000


@little_endian
@pytest.mark.parametrize(("body", "type_"), [(ENCAP, 8), (RESILIENT, 12)], ids=["encap", "res-group"])
def test_nested_attributes_are_marked(body, type_):
    """RTM_NEWNEXTHOP is parsed strictly: NHA_ENCAP and NHA_RES_GROUP need NLA_F_NESTED, which the dump may lack."""
    (again,) = missing_nexthops([body], [])
    assert type_ | NESTED in nl.attrs(again[8:])


@little_endian
def test_unbalanced_time_is_state():
    """NHA_RES_GROUP_UNBALANCED_TIME (4) is a running time, not an attribute for a request."""
    (again,) = missing_nexthops([RESILIENT], [])
    found = {t & ~NESTED: v for t, v in nl.attrs(again[8:]).items()}
    assert set(nl.attrs(found[12])) == {1, 2, 3}


# ---- requests ------------------------------------------------------------------------------------------------------


def test_add_route_keeps_ipv4_order():
    """IPv4: NLM_F_APPEND, so that equal routes stay in the order of the dump."""
    (request,) = nl.requests(route.add(PLAIN))
    assert (request.type, request.flags, request.body) == (24, 0x1 | 0x4 | 0x400 | 0x800, PLAIN)


def test_add_route_replaces_an_ipv6_multipath_route():
    """IPv6: the rest of a multipath route is replaced by the whole, not appended to."""
    whole = a_route((RTA_MULTIPATH, hop(7) + hop(8)), dst="2001:db8::/32")
    single = a_route(oif(7), dst="2001:db8::/32")
    assert [nl.requests(route.add(r))[0].flags for r in (whole, single)] == [0x505, 0xC05]


def test_add_nexthop_replaces():
    """A group that lost members is replaced by the whole one."""
    (request,) = nl.requests(route.add_nexthop(group(9, 5)))
    assert (request.type, request.flags, request.body) == (104, 0x505, group(9, 5))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param(a_route(oif(7)), "route default", id="default"),
        pytest.param(PLAIN, "route 10.1.0.0/24", id="plain"),
        pytest.param(VIA, "route 10.2.0.0/24 via 10.1.0.9", id="gateway"),
        pytest.param(a_route(oif(7), dst="2001:db8::/32"), "route 2001:db8::/32", id="ipv6"),
    ],
)
def test_route_text(body, text):
    """A route in short words."""
    assert route.text(body) == text


def test_nexthop_text():
    """A nexthop object in short words."""
    assert route.nexthop_id(group(9, 5)) == 9


# ---- malformed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(a_route((RTA_MULTIPATH, hop(7) + b"\x07\0\0\0\x08\0\0\0")), id="nexthop-too-short"),
        pytest.param(a_route((RTA_MULTIPATH, b"\x09\0\0\0\x08\0\0\0")), id="nexthop-too-long"),
        pytest.param(a_route((RTA_MULTIPATH, b"\0\0\0\0\x08\0\0\0")), id="nexthop-of-0-bytes"),
        pytest.param(a_route() + nl.attr(RTA_OIF, U32(7), length=3), id="attribute-too-short"),
        pytest.param(a_route() + nl.attr(RTA_OIF, U32(7), length=99), id="attribute-too-long"),
    ],
)
def test_route_malformed(body):
    """A wrong length raises Malformed: parsing neither loops nor reads beyond the end."""
    with pytest.raises(wire.Malformed):
        default_devices(route_dump(body), b"")
    with pytest.raises(wire.Malformed):
        routes.missing(route_dump(body), b"")


@pytest.mark.parametrize(
    ("body", "devices"),
    [
        pytest.param(a_route()[:11], set(), id="shorter-than-its-header"),
        pytest.param(a_route((RTA_MULTIPATH, hop(7) + b"\x08\0\0")), {7}, id="rest-of-three-bytes"),
        pytest.param(a_route((RTA_OIF, b"\x07\0")), set(), id="device-of-two-bytes"),
        pytest.param(a_route(oif(8), oif(7)), {7}, id="duplicate"),
    ],
)
def test_route_odd(body, devices):
    """Odd but well-formed routes are used as far as they go."""
    assert default_devices(route_dump(body), b"") == devices


def test_group_with_half_a_member():
    """struct nexthop_grp has 8 bytes: half of one is not a member."""
    nexthops = nexthop_dump(nexthop(9, (NHA_GROUP, U32(5))), nexthop(5, (NHA_OIF, U32(7))))
    assert default_devices(route_dump(a_route((RTA_NH_ID, U32(9)))), nexthops) == set()
