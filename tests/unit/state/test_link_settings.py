"""Differences between two RTM_NEWLINK of a device, and the requests that restore the first one."""

from __future__ import annotations

import struct

import pytest

from netdevns.netlink import uapi, wire
from netdevns.state import link_settings

U8, U32 = struct.Struct("=B").pack, struct.Struct("=I").pack
PAIR = struct.Struct("=II").pack
ALL = 0xFFFFFFFF


def link(
    *, ifindex: int = 7, flags: int = 0x1002, type_: int = 1, kind: bytes = b"", data: bytes = b"", **attrs: bytes
) -> wire.Link:
    packed = b"".join(wire.attr(getattr(uapi, name), value) for name, value in attrs.items())
    if kind:
        info = wire.attr_name(uapi.IFLA_INFO_KIND, kind) + wire.nested(uapi.IFLA_INFO_DATA, data)
        packed += wire.nested(uapi.IFLA_LINKINFO, info)
    return wire.Link(memoryview(wire.IFINFOMSG.pack(0, type_, ifindex, flags, 0) + packed))


def found(was: wire.Link, now: wire.Link, here: dict[int, int] | None = None) -> list[link_settings.Difference]:
    return link_settings.differences(was, now, here or {})


def names(*altnames: bytes) -> bytes:
    return b"".join(wire.attr_name(uapi.IFLA_ALT_IFNAME, name) for name in altnames)


def attrs_of(request: bytes) -> dict[int, bytes]:
    return {t: bytes(v) for t, v in wire.attrs(memoryview(request), 16 + wire.IFINFOMSG.size).items()}


def data_of(request: bytes) -> list[tuple[int, bytes]]:
    info = wire.attrs(memoryview(attrs_of(request)[uapi.IFLA_LINKINFO]))
    return [(t, bytes(v)) for t, v in wire.attr_list(info[uapi.IFLA_INFO_DATA])]


@pytest.mark.parametrize(
    ("was", "now", "words"),
    [
        ({}, {}, []),
        ({"IFLA_MTU": U32(1500)}, {"IFLA_MTU": U32(1500)}, []),
        ({"IFLA_MTU": U32(1500)}, {"IFLA_MTU": U32(1400)}, ["MTU 1500 -> 1400"]),
        (
            {"IFLA_ADDRESS": b"\2\0\0\0\0\1"},
            {"IFLA_ADDRESS": b"\2\0\0\0\0\2"},
            ["MAC address 02:00:00:00:00:01 -> 02:00:00:00:00:02"],
        ),
        ({"IFLA_IFALIAS": b"a\0"}, {}, ['alias "a" -> ""']),
        ({}, {"IFLA_IFALIAS": b"a\nb\0"}, ['alias "" -> "a\\nb"']),
        ({"IFLA_TXQLEN": U32(1), "IFLA_GROUP": U32(1)}, {"IFLA_TXQLEN": U32(2), "IFLA_GROUP": U32(1)},
         ["transmit queue length 1 -> 2"]),
        ({"flags": 0x1002}, {"flags": 0x11043}, []),  # IFF_UP is the engine's, the others say how the carrier is
        ({"flags": 0x1002}, {"flags": 0x1103}, ["flag PROMISC off -> on"]),
        ({"flags": 0x1182}, {"flags": 0x0002},
         ["flag NOARP on -> off", "flag PROMISC on -> off", "flag MULTICAST on -> off"]),
        ({"flags": 0x1002}, {"flags": 0x1000}, ["flag BROADCAST on -> off"]),
        ({"type_": 1}, {"type_": 512}, ["hardware type 1 -> 512"]),
        ({"IFLA_NUM_TX_QUEUES": U32(4)}, {"IFLA_NUM_TX_QUEUES": U32(2)}, ["number of transmit queues"]),
        ({"IFLA_STATS64": U32(4)}, {"IFLA_OPERSTATE": U8(2), "IFLA_PROMISCUITY": U32(1)}, []),
        ({"IFLA_LINKMODE": U8(0)}, {"IFLA_LINKMODE": U8(1)}, ["link mode 0 -> 1"]),
    ],
)  # fmt: skip
def test_differences(was: dict[str, bytes], now: dict[str, bytes], words: list[str]) -> None:
    """P1: each difference, and nothing else, in the field's words."""
    assert [each.words for each in found(link(**was), link(**now))] == words  # type: ignore[arg-type]


def test_every_attribute_is_compared() -> None:
    """P1: every IFLA_* that is not left out on purpose is compared, also those of later kernels."""
    for type_ in {*range(1, 120)} - link_settings.LEFT_OUT:
        body = wire.IFINFOMSG.pack(0, 1, 7, 0x1002, 0)
        was, now = (wire.Link(memoryview(body + wire.attr(type_, U32(value)))) for value in (1, 2))
        (each,) = found(was, now)
        assert (each.key, bool(each.together)) == ((type_,), type_ in link_settings.SET)


def test_flags_are_set_exactly() -> None:
    """P5: ifi_change has only the flags that differ, and never IFF_UP."""
    requests = {each.together for each in found(link(flags=0x1003), link(flags=0x0303, ifindex=9))}
    (request,) = requests
    assert wire.IFINFOMSG.unpack_from(request, 16) == (0, 0, 9, 0x1000, 0x1300)


def test_added_altnames() -> None:
    """P1: alternative names that were added are removed, all in one request, or one by one."""
    now = link(IFLA_PROP_LIST=names(b"one", b"two", b"three"))
    first, second = found(link(IFLA_PROP_LIST=names(b"two")), now)
    assert first.words == 'alternative name "one" was added'
    assert first.together == second.together == wire.altnames_message(uapi.RTM_DELLINKPROP, 7, [b"one", b"three"])
    assert second.alone == wire.altnames_message(uapi.RTM_DELLINKPROP, 7, [b"three"])


def test_slave_of_a_bond() -> None:
    """P1: a slave that left its bond must have its own MAC, and no other."""
    port = wire.attr_name(uapi.IFLA_INFO_SLAVE_KIND, b"bond")
    port += wire.nested(uapi.IFLA_INFO_SLAVE_DATA, wire.attr(uapi.IFLA_BOND_SLAVE_PERM_HWADDR, b"\2\0\0\0\0\1"))
    was = link(IFLA_ADDRESS=b"\2\0\0\0\0\xb0", IFLA_LINKINFO=port)
    assert found(was, link(IFLA_ADDRESS=b"\2\0\0\0\0\xb0")) == []
    assert found(was, link(IFLA_ADDRESS=b"\2\0\0\0\0\1")) == []
    (each,) = found(was, link(IFLA_ADDRESS=b"\2\0\0\0\0\7"))
    assert attrs_of(each.together) == {uapi.IFLA_ADDRESS: b"\2\0\0\0\0\1"}
    assert link_settings.mac_request(was, link(IFLA_ADDRESS=b"\2\0\0\0\0\7")) == [("MAC address", each.together)]


def test_proto_down() -> None:
    """P1: reasons of proto_down are set before it is cleared, in one request."""
    reasons = wire.attr_u32(uapi.IFLA_PROTO_DOWN_REASON_VALUE, 5)
    (each,) = found(link(IFLA_PROTO_DOWN=U8(0)), link(IFLA_PROTO_DOWN=U8(1), IFLA_PROTO_DOWN_REASON=reasons))
    assert each.words == "proto_down 0 -> 1"
    sent = attrs_of(each.together)
    assert sent[uapi.IFLA_PROTO_DOWN] == b"\0"
    assert sent[uapi.IFLA_PROTO_DOWN_REASON] == wire.attr_u32(1, 5) + wire.attr_u32(2, 0)


def test_xdp() -> None:
    """P1: a program that was attached meanwhile is detached; the one that it replaced is reported as lost."""

    def xdp(program: int) -> bytes:
        return wire.attr_u32(uapi.IFLA_XDP_SKB_PROG_ID, program)

    (each,) = found(link(), link(IFLA_XDP=xdp(9)))
    nested = wire.attr(uapi.IFLA_XDP_FD, struct.pack("=i", -1)) + wire.attr_u32(uapi.IFLA_XDP_FLAGS, 2)
    assert attrs_of(each.together) == {uapi.IFLA_XDP: nested}
    gone, attached = found(link(IFLA_XDP=xdp(8)), link(IFLA_XDP=xdp(9)))
    assert (gone.words, gone.together) == ("XDP program 8 (generic)", b"")
    assert (attached.words, attached.together) == ("XDP program 9 (generic) was attached", each.together)


def test_lower_device() -> None:
    """P1: a lower device with a new ifindex is still the same; one in another namespace, or another peer, is not."""
    assert found(link(IFLA_LINK=U32(3)), link(IFLA_LINK=U32(4)), {3: 4}) == []
    (each,) = found(link(IFLA_LINK=U32(3)), link(IFLA_LINK=U32(4)))
    assert each.words == "lower device (ifindex 3) -> (ifindex 4)"
    (each,) = found(link(kind=b"veth", IFLA_LINK=U32(3)), link(kind=b"veth", IFLA_LINK=U32(4)))
    assert each.words == "peer (ifindex 3) -> (ifindex 4)"
    (each,) = found(link(IFLA_LINK=U32(3)), link(IFLA_LINK=U32(3), IFLA_LINK_NETNSID=U32(0)))
    assert each.words == "lower device (ifindex 3) -> (ifindex 3) in another network namespace"
    elsewhere = link(IFLA_LINK=U32(3), IFLA_LINK_NETNSID=U32(0))
    assert found(elsewhere, elsewhere, {3: 4}) == []


def test_other_families() -> None:
    """P1: settings of MCTP (45) are compared; sysctls.Settings handles IPv4 and IPv6."""
    was = link(IFLA_AF_SPEC=wire.nested(uapi.AF_INET, U32(1)) + wire.nested(45, U32(1)))
    now = link(IFLA_AF_SPEC=wire.nested(uapi.AF_INET, U32(2)) + wire.nested(45, U32(2)))
    assert [each.words for each in found(was, now)] == ["settings of address family 45"]


# ---- IFLA_INFO_DATA ----


def qos(type_: int, maps: dict[int, int]) -> bytes:
    return wire.nested(type_, b"".join(wire.attr(1, PAIR(*pair)) for pair in maps.items()))


@pytest.mark.parametrize(
    ("kind", "was", "now", "words", "sent"),
    [
        (b"macvlan", wire.attr_u32(1, 4), wire.attr_u32(1, 2), "macvlan mode 4 -> 2", [(1, U32(4))]),
        (b"macvtap", wire.attr(2, b"\0\0"), wire.attr(2, b"\1\0"), "macvtap flags 0 -> 1", [(2, b"\0\0")]),
        (b"macvlan", b"", wire.attr(9, U32(5)), "macvlan bclim", [(9, U32(1))]),
        (
            b"vlan",
            wire.attr(2, PAIR(1, 0xFFFFFFFF)),
            wire.attr(2, PAIR(6, 0xFFFFFFFF)),
            "vlan flags",
            [(2, PAIR(1, 7))],
        ),
        (b"can", wire.attr(5, PAIR(0, 1)), wire.attr(5, PAIR(0, 6)), "can control mode", [(5, PAIR(7, 1))]),
        (b"vxlan", b"", wire.attr_u32(2, 0x010000EF), "vxlan group", [(2, U32(0))]),
        (b"netkit", wire.attr_u32(3, 1), wire.attr_u32(3, 2), "netkit attribute 3 1 -> 2", [(3, U32(1))]),
    ],
)
def test_info_data(kind: bytes, was: bytes, now: bytes, words: str, sent: list[tuple[int, bytes]]) -> None:
    """P1: settings of a kind, in the form that its changelink accepts."""
    (each,) = found(link(kind=kind, data=was), link(kind=kind, data=now))
    assert (each.words, data_of(each.together)) == (words, sent)


@pytest.mark.parametrize(
    ("kind", "type_"),
    [(b"macvlan", 8), (b"macvtap", 8), (b"tun", 8), (b"tun", 9), (b"can", 4), (b"can", 8), (b"hsr", 5)],
)
def test_counters_of_a_kind(kind: bytes, type_: int) -> None:
    """P1: counters of a kind are no difference."""
    assert found(*(link(kind=kind, data=wire.attr_u32(type_, value)) for value in (1, 2))) == []


def test_qos_maps() -> None:
    """P1: entries of a VLAN's maps may come in any order; an added one is set to 0, which removes it."""
    was = link(kind=b"vlan", data=qos(3, {1: 2, 5: 6}))
    assert found(was, link(kind=b"vlan", data=qos(3, {5: 6, 1: 2}))) == []
    (each,) = found(was, link(kind=b"vlan", data=qos(3, {1: 3, 4: 4})))
    ((type_, entries),) = data_of(each.together)
    maps = [bytes(v) for _, v in wire.attr_list(memoryview(entries))]
    assert (each.words, type_, maps) == ("vlan egress QoS map", 3, [PAIR(1, 2), PAIR(4, 0), PAIR(5, 6)])


def test_source_macs() -> None:
    """P1: the MACs of a macvlan in source mode are a set; all present ones are removed if there were none."""
    macs = wire.attr(4, b"\2\0\0\0\0\1") + wire.attr(4, b"\2\0\0\0\0\2")
    again = wire.attr(4, b"\2\0\0\0\0\2") + wire.attr(4, b"\2\0\0\0\0\1")
    was = link(kind=b"macvlan", data=wire.nested(5, macs))
    assert found(was, link(kind=b"macvlan", data=wire.nested(5, again))) == []
    (each,) = found(was, link(kind=b"macvlan"))
    assert data_of(each.together) == [(3, U32(3)), (5, macs)]
    (each,) = found(link(kind=b"macvlan"), was)
    assert data_of(each.together) == [(3, U32(2))]


def test_together_and_alone() -> None:
    """P1: all settings of a kind in one request, or one by one if it is refused; for a tunnel always all."""
    data = wire.attr_u32(1, 1) + wire.attr_u32(2, 2) + wire.attr_u32(3, 3)
    other = wire.attr_u32(1, 9) + wire.attr_u32(2, 9) + wire.attr_u32(3, 3)
    one, two = found(link(kind=b"geneve", data=data), link(kind=b"geneve", data=other))
    assert one.together == two.together
    assert data_of(one.together) == [(1, U32(1)), (2, U32(2))]
    assert data_of(two.alone) == [(2, U32(2))]
    one, two = found(link(kind=b"ipip", data=data), link(kind=b"ipip", data=other))
    assert data_of(one.together) == [(1, U32(1)), (2, U32(2)), (3, U32(3))]
    assert one.alone == two.alone == b""
