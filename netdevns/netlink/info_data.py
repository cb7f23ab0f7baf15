"""Compares IFLA_INFO_DATA, whose format depends on the kind of device, and makes the attributes that restore it.

Layouts: linux/if_link.h (IFLA_MACVLAN_*, IFLA_VLAN_*, IFLA_TUN_*, IFLA_HSR_*), linux/can/netlink.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from . import wire

QOS_MAP = Struct("=II")  # struct ifla_vlan_qos_mapping: from, to
TWO_U32 = Struct("=II")
VLAN_FLAGS, VLAN_EGRESS, VLAN_INGRESS = 2, 3, 4
CAN_CTRLMODE = 5
MACVLAN_MACADDR_MODE, MACVLAN_MACADDR_DATA, MACVLAN_BC_CUTOFF = 3, 5, 9
MACADDR_FLUSH, MACADDR_SET = 2, 3
DATA_WORDS: dict[bytes, dict[int, str]] = {
    b"macvlan": {1: "mode", 2: "flags", 5: "source MACs", 7: "bcqueuelen", 9: "bclim"},
    b"ipvlan": {1: "mode", 2: "flags"},
    b"vlan": {1: "id", 2: "flags", 3: "egress QoS map", 4: "ingress QoS map", 5: "protocol"},
    b"vxlan": {1: "id", 2: "group", 4: "local", 5: "ttl", 6: "tos", 7: "learning", 8: "ageing", 9: "limit", 15: "port"},
    b"can": {1: "bit timing", 5: "control mode", 6: "restart-ms", 9: "data bit timing", 11: "termination"},
    b"tun": {1: "owner", 2: "group", 6: "persist"},
}
# State, not settings. macvlan: the number of MACs (the MACs are compared), and the queue length in use for all macvlans
# on the lower device; tun: the number of queues that processes have open; CAN: state and error counters; HSR: the next
# sequence number.
_COUNTS: dict[bytes, tuple[int, ...]] = {b"macvlan": (6, 8), b"tun": (8, 9), b"can": (4, 8), b"hsr": (5,)}
# Set while the device is up, if it was up. A macvlan in passthru mode changes its lower device's promiscuity count with
# the flag nopromisc, also while it is down, and IFF_UP counts it again (drivers/net/macvlan.c).
UP = frozenset({(b"macvlan", 2), (b"macvtap", 2)})
_ALIKE = {b"macvtap": b"macvlan", b"ipvtap": b"ipvlan"}
# These kinds replace all settings at once: a request clears those that it omits. Source: net/ipv4/ip_tunnel.c and the
# changelink functions of its users.
_WHOLE = (b"ipip", b"sit", b"gre", b"gretap", b"erspan", b"vti", b"vti6", b"ip6tnl", b"ip6gre", b"ip6gretap",
          b"ip6erspan", b"xfrm")  # fmt: skip


def differences(was: wire.Link, now: wire.Link) -> Iterator[tuple[int, str, bytes, bytes]]:
    """Of each difference: its type, short words, the attributes that restore all settings, and those that restore it.

    b"": no attributes can.
    """
    kind = _ALIKE.get(was.kind, was.kind)
    before, there = (wire.attrs(memoryview(link.data), strict=False) for link in (was, now))
    differ = {}
    for type_ in sorted({*before, *there} - {*_COUNTS.get(kind, ())}):
        attrs = _attrs(kind, type_, before.get(type_), there.get(type_))
        if attrs is not None:
            differ[type_] = attrs
    together = was.data if kind in _WHOLE else b"".join(a for t, a in differ.items() if (kind, t) not in UP)
    for type_, attrs in differ.items():
        words = DATA_WORDS.get(kind, {}).get(type_, f"attribute {type_}")
        values = numbers(bytes(before.get(type_, b"")), bytes(there.get(type_, b"")))
        alone = b"" if kind in _WHOLE else attrs
        shared = alone if (kind, type_) in UP else together if alone or kind in _WHOLE else b""
        yield type_, f"{was.kind.decode('ascii', 'replace')} {words}{values}", shared, alone


def numbers(value: bytes, value_now: bytes) -> str:
    """Both values as text, where they are numbers."""
    sizes = {1: "=B", 2: "=H", 4: "=I"}
    if len(value) != len(value_now) or len(value) not in sizes:
        return ""
    layout = Struct(sizes[len(value)])
    return f" {layout.unpack(value)[0]} -> {layout.unpack(value_now)[0]}"


def _attrs(kind: bytes, type_: int, was: memoryview | None, now: memoryview | None) -> bytes | None:
    """The attributes that restore a setting; b"": none can; None: it does not differ."""
    value, value_now = (b"" if view is None else bytes(view) for view in (was, now))
    if (kind, type_) in ((b"vlan", VLAN_EGRESS), (b"vlan", VLAN_INGRESS)):
        return _qos_map(type_, value, value_now)
    if kind == b"macvlan" and type_ == MACVLAN_MACADDR_DATA:
        lists = (wire.attr_list(memoryview(x), strict=False) for x in (value, value_now))
        macs, macs_now = ({bytes(mac) for _, mac in macs} for macs in lists)
        if macs == macs_now:
            return None
        mode = wire.attr_u32(MACVLAN_MACADDR_MODE, MACADDR_SET if macs else MACADDR_FLUSH)
        return mode + (wire.nested(MACVLAN_MACADDR_DATA, value) if macs else b"")
    if was == now:
        return None
    if kind == b"macvlan" and type_ == MACVLAN_BC_CUTOFF and not value:
        value = wire.S32.pack(1)  # the default, which is not reported
    if len(value) == len(value_now) == TWO_U32.size:
        (one, two), (one_now, two_now) = TWO_U32.unpack(value), TWO_U32.unpack(value_now)
        # A dump's mask has all bits or none; a request's mask selects the flags to change.
        if (kind, type_) == (b"vlan", VLAN_FLAGS):  # struct ifla_vlan_flags: flags, mask
            value = TWO_U32.pack(one, one ^ one_now)
        elif (kind, type_) == (b"can", CAN_CTRLMODE):  # struct can_ctrlmode: mask, flags
            value = TWO_U32.pack(two ^ two_now, two)
    # Most kinds do not report zeros: a setting that was absent is set to zero.
    value = value or (bytes(len(value_now)) if was is None else b"")
    return wire.attr(type_, value) if value or was is not None else b""


def _qos_map(type_: int, was: bytes, now: bytes) -> bytes | None:
    """The entries that differ; one that was added is set to 0, which removes it."""
    maps = []
    for data in (was, now):
        found = (bytes(v) for _, v in wire.attr_list(memoryview(data), strict=False))
        maps.append(dict(QOS_MAP.unpack(v) for v in found if len(v) == QOS_MAP.size))
    before, there = maps
    changed = {start: before.get(start, 0) for start in sorted({*before, *there})}
    changed = {start: to for start, to in changed.items() if there.get(start, 0) != to}
    entries = b"".join(wire.attr(1, QOS_MAP.pack(start, to)) for start, to in changed.items())  # IFLA_VLAN_QOS_MAPPING
    return wire.nested(type_, entries) if entries else None
