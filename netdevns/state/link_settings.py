"""Compares two RTM_NEWLINK of a device, and builds the requests that restore the settings of the first.

All attributes are compared except LEFT_OUT, so both messages must have been requested with the same IFLA_EXT_MASK.
Unknown attributes, of later kernels, are compared and reported, but never set: setting one could have side effects.
Layouts: linux/if_link.h, linux/if.h.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from ..engine import Socket, lookups
from ..netlink import info_data, uapi, wire
from ..text import quote
from .kind import DOWN, UP, Finding, Here, Kind, Leaving, Repair, View

Key = tuple[object, ...]
Attrs = Mapping[int, memoryview]

LEFT_OUT = frozenset({
    # Counters, and state that the kernel derives by itself or from other devices.
    uapi.IFLA_STATS, uapi.IFLA_STATS64, uapi.IFLA_PAD, uapi.IFLA_PROMISCUITY, uapi.IFLA_ALLMULTI, uapi.IFLA_OPERSTATE,
    uapi.IFLA_CARRIER, uapi.IFLA_CARRIER_CHANGES, uapi.IFLA_CARRIER_UP_COUNT, uapi.IFLA_CARRIER_DOWN_COUNT,
    # A driver may get another interrupt each time that the device is opened.
    uapi.IFLA_MAP,
    # The driver's limits: they follow a lower device or the peer, and the settings below.
    uapi.IFLA_MIN_MTU, uapi.IFLA_MAX_MTU, uapi.IFLA_TSO_MAX_SIZE, uapi.IFLA_TSO_MAX_SEGS, uapi.IFLA_HEADROOM,
    uapi.IFLA_TAILROOM,
    # Of the message; IFLA_LINK_NETNSID is compared with IFLA_LINK.
    uapi.IFLA_EVENT, uapi.IFLA_EXT_MASK, uapi.IFLA_NEW_NETNSID, uapi.IFLA_TARGET_NETNSID, uapi.IFLA_NEW_IFINDEX,
    uapi.IFLA_LINK_NETNSID,
    # Handled elsewhere: by the engine, `ports`, `qdiscs`, `sysctls`, or by functions of their own below.
    uapi.IFLA_IFNAME, uapi.IFLA_MASTER, uapi.IFLA_PROTINFO, uapi.IFLA_QDISC, uapi.IFLA_AF_SPEC,
    uapi.IFLA_PROP_LIST, uapi.IFLA_LINKINFO, uapi.IFLA_LINK, uapi.IFLA_XDP, uapi.IFLA_PROTO_DOWN,
    uapi.IFLA_PROTO_DOWN_REASON,
})  # fmt: skip
# The settings that RTM_NEWLINK can change, in this order: gso_max_size and gro_max_size also set those of IPv4
# (net/core/dev.c, netif_set_gso_max_size()), so the latter come after them.
SET = {
    uapi.IFLA_ADDRESS: "MAC address", uapi.IFLA_BROADCAST: "broadcast address", uapi.IFLA_MTU: "MTU",
    uapi.IFLA_TXQLEN: "transmit queue length", uapi.IFLA_GROUP: "group", uapi.IFLA_IFALIAS: "alias",
    uapi.IFLA_GSO_MAX_SIZE: "gso_max_size", uapi.IFLA_GSO_MAX_SEGS: "gso_max_segs",
    uapi.IFLA_GRO_MAX_SIZE: "gro_max_size", uapi.IFLA_GSO_IPV4_MAX_SIZE: "gso_ipv4_max_size",
    uapi.IFLA_GRO_IPV4_MAX_SIZE: "gro_ipv4_max_size", uapi.IFLA_LINKMODE: "link mode",
}  # fmt: skip
# Attributes that no request can set.
FIXED = {
    uapi.IFLA_NUM_TX_QUEUES: "number of transmit queues", uapi.IFLA_NUM_RX_QUEUES: "number of receive queues",
    uapi.IFLA_PERM_ADDRESS: "permanent MAC address", uapi.IFLA_PARENT_DEV_NAME: "parent device",
    uapi.IFLA_PARENT_DEV_BUS_NAME: "bus of the parent device",
}  # fmt: skip
# The flags that userspace can set; the engine handles IFF_UP. Source: net/core/dev.c, __dev_change_flags().
FLAGS = {
    uapi.IFF_DEBUG: "DEBUG", uapi.IFF_NOTRAILERS: "NOTRAILERS", uapi.IFF_NOARP: "NOARP", uapi.IFF_PROMISC: "PROMISC",
    uapi.IFF_ALLMULTI: "ALLMULTI", uapi.IFF_MULTICAST: "MULTICAST", uapi.IFF_PORTSEL: "PORTSEL",
    uapi.IFF_AUTOMEDIA: "AUTOMEDIA", uapi.IFF_DYNAMIC: "DYNAMIC",
}  # fmt: skip
FIXED_FLAGS = {
    uapi.IFF_BROADCAST: "BROADCAST", uapi.IFF_LOOPBACK: "LOOPBACK", uapi.IFF_POINTOPOINT: "POINTOPOINT",
    uapi.IFF_ECHO: "ECHO",
}  # fmt: skip
XDP_MODES = (
    ("driver", uapi.IFLA_XDP_DRV_PROG_ID, uapi.XDP_FLAGS_DRV_MODE),
    ("generic", uapi.IFLA_XDP_SKB_PROG_ID, uapi.XDP_FLAGS_SKB_MODE),
    ("hardware", uapi.IFLA_XDP_HW_PROG_ID, uapi.XDP_FLAGS_HW_MODE),
)


class LinkSettings(Kind):
    name = "link"
    stages = (DOWN, UP)
    is_read_before = False
    is_in_links = True
    messages = ((uapi.RTM_GETLINK, wire.IFINFOMSG.size),)

    def read(self, socket: Socket, links: Mapping[int, wire.Link], about: Collection[int]) -> bytes:
        """Before 6.6: for each alternative name, a look-up request with the ifindex of the device that it finds.

        A device that came back from a dead namespace still lists its alternative names, but no look-up finds them.
        Such a name can be added again, but not deleted (seen on 5.10 and 6.1). The replies themselves are not kept, as
        each lists all names of its device.
        """
        names = [name for ifindex, link in links.items() if ifindex in about for name in link.altnames]
        if not names or lookups.moves_altnames():
            return b""
        found = []
        for at in range(0, len(names), lookups.WINDOW):
            window = names[at : at + lookups.WINDOW]
            answers = lookups.ask(socket, [wire.get_link(name=name) for name in window])
            for name, link in zip(window, map(lookups.link_of, answers), strict=True):
                found.append(wire.get_link(link.ifindex if link else 0, name))
        return b"".join(found)

    def findings(self, before: View, leaving: Leaving) -> Iterator[Finding]:
        for ifindex in leaving.ifindexes:
            if before.links[ifindex].has_xdp:  # (probes links.xdp.generic, links.xdp.native)
                yield Finding(ifindex, "device.xdp", "its XDP program stays attached")

    def repairs(self, before: View, now: View, here: Here) -> Iterator[Repair]:
        answers = _answers(now.of(self.name))
        for ifindex, was in before.links.items():
            is_ = now.links.get(here.get(ifindex, 0))
            if is_ is None:
                continue
            about_to_be_up = bool(was.flags & ~is_.flags & uapi.IFF_UP)
            waits = {("data", type_) for kind, type_ in info_data.UP if kind == is_.kind}
            for each in differences(was, is_, here):
                for stage in (UP,) if about_to_be_up and each.key in waits else (DOWN, UP):
                    yield Repair(is_.ifindex, stage, each.words, each.together or None, each.alone or None)
            had, has = dict.fromkeys(was.altnames), is_.altnames
            lost = [name for name in had if name not in has or answers.get(name, is_.ifindex) != is_.ifindex]
            if lost:
                request = wire.altnames_message(uapi.RTM_NEWLINKPROP, is_.ifindex, lost)
                for stage in (DOWN, UP):
                    yield Repair(is_.ifindex, stage, f"altname {', '.join(map(quote.shown, lost))}", request)


def _answers(state: bytes) -> dict[bytes, int]:
    """From `read`: the ifindex that each name belongs to; 0: none."""
    found = {}
    for message in wire.messages(state):
        asked = wire.attrs(message.body, wire.IFINFOMSG.size)
        name = wire.text(asked.get(uapi.IFLA_IFNAME, asked.get(uapi.IFLA_ALT_IFNAME)))
        found[name] = wire.IFINFOMSG.unpack_from(message.body)[2]
    return found


@dataclass(slots=True)
class Difference:
    """One setting that differs.

    Attributes:
        key: Identifies the setting.
        words: For messages, with both values if they are numbers: "MTU 1400 -> 1300".
        together: The request that restores it along with others; b"": none.
        alone: The request that restores it alone, if the other is refused; b"": none.
    """

    key: Key
    words: str
    together: bytes = b""
    alone: bytes = b""


def own_mac(link: wire.Link) -> bytes:
    """The device's own MAC: a slave has that of its bond, and regains its own when it leaves."""
    if link.port_kind == b"bond":
        slave = wire.attrs(memoryview(link.port), strict=False)
        return bytes(slave.get(uapi.IFLA_BOND_SLAVE_PERM_HWADDR, link.mac))
    return link.mac


def mac_request(was: wire.Link, now: wire.Link) -> list[tuple[str, bytes]]:
    """The request that restores a changed MAC, by which an undo finds the device."""
    mac = own_mac(was)
    if not mac or now.mac in (mac, was.mac):
        return []
    return [(SET[uapi.IFLA_ADDRESS], _request(now.ifindex, wire.attr(uapi.IFLA_ADDRESS, mac)))]


def differences(was: wire.Link, now: wire.Link, here: Mapping[int, int]) -> list[Difference]:
    """The settings of a link that differ, in the order to restore them.

    Args:
        was: The link in the snapshot.
        now: The link now; ifindex and name may differ.
        here: ifindex before -> ifindex now, of devices whose ifindex may have changed.
    """
    before, there = (wire.attrs(link.body, wire.IFINFOMSG.size, strict=False) for link in (was, now))
    found = [*_altnames(was, now), *_data(was, now), *_proto_down(before, there, now.ifindex)]
    for type_, words in SET.items():
        found += _attribute(was, now, before, there, type_, words)
    found += [*_flags(was, now), *_xdp(before, there, now.ifindex)]
    for type_ in sorted({*before, *there} - LEFT_OUT - SET.keys()):
        if before.get(type_) != there.get(type_):
            found.append(Difference((type_,), FIXED.get(type_, f"attribute {type_} of RTM_NEWLINK")))
    lower, lower_now = (wire.u32(attrs.get(uapi.IFLA_LINK)) or 0 for attrs in (before, there))
    netnsid, netnsid_now = (attrs.get(uapi.IFLA_LINK_NETNSID) for attrs in (before, there))
    if netnsid != netnsid_now or (here.get(lower, lower) if netnsid is None else lower) != lower_now:
        what = "peer" if was.kind == b"veth" else "lower device"
        now_where = " in another network namespace" if netnsid is None and netnsid_now is not None else ""
        found.append(Difference((uapi.IFLA_LINK,), f"{what} (ifindex {lower}) -> (ifindex {lower_now}){now_where}"))
    types = [wire.IFINFOMSG.unpack_from(link.body)[1] for link in (was, now)]
    if types[0] != types[1]:
        found.append(Difference(("type",), f"hardware type {types[0]} -> {types[1]}"))
    return [*found, *_families(before, there)]


# ---- single settings ----


def _request(ifindex: int, attrs: bytes) -> bytes:
    return wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, ifindex, attrs)


def _attribute(
    was: wire.Link, now: wire.Link, before: Attrs, there: Attrs, type_: int, words: str
) -> Iterator[Difference]:
    value, value_now = (bytes(attrs.get(type_, b"")) for attrs in (before, there))
    if value == value_now:
        return
    if type_ == uapi.IFLA_ADDRESS:
        if value_now == own_mac(was):
            return  # it left its bond
        value = own_mac(was)
    # An empty alias removes it. Any other attribute that was not reported is unknown to this kernel.
    can_be_set = value or type_ == uapi.IFLA_IFALIAS
    text = f"{words}{_change(type_, value, value_now)}"
    yield Difference((type_,), text, _request(now.ifindex, wire.attr(type_, value)) if can_be_set else b"")


def _change(type_: int, value: bytes, value_now: bytes) -> str:
    """Both values as text, if they are short enough to print."""
    if type_ in (uapi.IFLA_ADDRESS, uapi.IFLA_BROADCAST):
        return f" {value.hex(':')} -> {value_now.hex(':')}"
    if type_ == uapi.IFLA_IFALIAS:
        return " {} -> {}".format(*(f'"{quote.shown(wire.text(v))}"' for v in (value, value_now)))
    return info_data.numbers(value, value_now)


def _altnames(was: wire.Link, now: wire.Link) -> Iterator[Difference]:
    """Alternative names that were added; `LinkSettings.repairs` handles lost ones."""
    added = [*dict.fromkeys(name for name in now.altnames if name not in was.altnames)]
    together = remove_altnames(now.ifindex, added)
    for name in added:
        words = f'alternative name "{quote.shown(name)}" was added'
        yield Difference(("altname", name), words, together, remove_altnames(now.ifindex, [name]))


def remove_altnames(ifindex: int, altnames: list[bytes]) -> bytes:
    """The request that removes alternative names."""
    return wire.altnames_message(uapi.RTM_DELLINKPROP, ifindex, altnames)


def _flags(was: wire.Link, now: wire.Link) -> Iterator[Difference]:
    changed = was.flags ^ now.flags
    ours = sum(flag for flag in FLAGS if changed & flag)
    # ifi_change has exactly these, so that all others, such as IFF_UP, stay (probe message.flags.change-all).
    head = wire.IFINFOMSG.pack(0, 0, now.ifindex, was.flags & ours, ours)
    request = wire.message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, head)
    for flag, name in (FLAGS | FIXED_FLAGS).items():
        if changed & flag:
            words = f"flag {name} {'on -> off' if was.flags & flag else 'off -> on'}"
            yield Difference(("flag", flag), words, request if flag in FLAGS else b"")


def _proto_down(before: Attrs, there: Attrs, ifindex: int) -> Iterator[Difference]:
    """proto_down and its reasons: in one request, as the kernel clears proto_down only without reasons."""
    down, down_now = (wire.u8(attrs.get(uapi.IFLA_PROTO_DOWN) or memoryview(b"\0")) for attrs in (before, there))
    reasons, reasons_now = map(_reasons, (before, there))
    if (down, reasons) == (down_now, reasons_now):
        return
    attrs = b""
    if reasons != reasons_now:
        mask = wire.attr_u32(uapi.IFLA_PROTO_DOWN_REASON_MASK, reasons ^ reasons_now)
        attrs += wire.nested(
            uapi.IFLA_PROTO_DOWN_REASON, mask + wire.attr_u32(uapi.IFLA_PROTO_DOWN_REASON_VALUE, reasons)
        )
    if down != down_now:
        attrs += wire.attr(uapi.IFLA_PROTO_DOWN, bytes([down]))
    words = f"proto_down {down} -> {down_now}" if down != down_now else "reasons of proto_down"
    yield Difference((uapi.IFLA_PROTO_DOWN,), words, _request(ifindex, attrs))


def _reasons(attrs: Attrs) -> int:
    found = wire.nested_attrs(attrs.get(uapi.IFLA_PROTO_DOWN_REASON))
    return wire.u32(found.get(uapi.IFLA_PROTO_DOWN_REASON_VALUE)) or 0


def _xdp(before: Attrs, there: Attrs, ifindex: int) -> Iterator[Difference]:
    """Detaches a program that was attached meanwhile; a detached one cannot be attached again."""
    was, now = (wire.nested_attrs(attrs.get(uapi.IFLA_XDP)) for attrs in (before, there))
    for mode, type_, flag in XDP_MODES:
        program, program_now = (wire.u32(attrs.get(type_)) or 0 for attrs in (was, now))
        if program == program_now:
            continue
        detach = wire.attr(uapi.IFLA_XDP_FD, wire.S32.pack(-1)) + wire.attr_u32(uapi.IFLA_XDP_FLAGS, flag)
        request = _request(ifindex, wire.nested(uapi.IFLA_XDP, detach))
        if program:
            yield Difference(("xdp", mode), f"XDP program {program} ({mode})")
        if program_now:
            words = f"XDP program {program_now} ({mode}) was attached"
            yield Difference(("xdp", mode, "attached"), words, request)


def _families(before: Attrs, there: Attrs) -> Iterator[Difference]:
    """Settings of families such as MCTP; `sysctls` handles IPv4 and IPv6."""
    was, now = (wire.nested_attrs(attrs.get(uapi.IFLA_AF_SPEC)) for attrs in (before, there))
    for family in sorted({*was, *now} - {uapi.AF_INET, uapi.AF_INET6}):
        if was.get(family) != now.get(family):
            yield Difference((uapi.IFLA_AF_SPEC, family), f"settings of address family {family}")


def _data(was: wire.Link, now: wire.Link) -> Iterator[Difference]:
    """IFLA_INFO_DATA: all differences in one request, or one by one."""
    for type_, words, together, alone in info_data.differences(was, now):
        yield Difference(("data", type_), words, _data_request(now, together), _data_request(now, alone))


def _data_request(now: wire.Link, data: bytes) -> bytes:
    if not data:
        return b""
    kind = wire.attr_name(uapi.IFLA_INFO_KIND, now.kind)
    return _request(now.ifindex, wire.nested(uapi.IFLA_LINKINFO, kind + wire.nested(uapi.IFLA_INFO_DATA, data)))
