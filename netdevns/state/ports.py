"""Restores the settings of bridge ports and bond slaves, which the kernel drops when a port leaves.

(probes kinds.port-state.bond, multicast.bridge.fdb-static, multicast.bridge.mdb)

A bridge port has settings, VLANs, static entries in the forwarding database, and permanent multicast groups (their
source lists are not restored). A bond slave has settings, and may be the active one; the bond's MAC becomes random once
its last slave has left. Of a port of a VRF or team, rtnetlink reports the master only (a team's options are in generic
netlink).
Layouts: linux/if_link.h (IFLA_BRPORT_*, IFLA_BOND_*), linux/if_bridge.h (struct bridge_vlan_info, struct br_mdb_entry),
linux/neighbour.h.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from itertools import groupby
from struct import Struct

from ..engine import Socket, lookups
from ..netlink import uapi, wire
from ..netlink.ifaddr import address_text
from ..text import quote
from . import neighbours
from .kind import LATE, UP, Finding, Here, Kind, Leaving, Repair, View
from .masters import Links, active_slave, links_of, mac_request
from .neighbours import NDMSG

VLAN_INFO = Struct("=HH")  # flags, vid
BR_PORT_MSG = Struct("=BxxxI")  # family, ifindex
MDB_ENTRY = Struct("=IBBH16s2sxx")  # ifindex, state, flags, vid, address, protocol (ETH_P_*, in network order)

# The settings that br_setport() accepts, by IFLA_BRPORT_*, in this order (MAB needs LOCKED first), with the default of
# a new port. None: the kernel derives it: state from the link and STP, cost from the link's speed.
BRIDGE: dict[int, tuple[str, int | None]] = {
    1: ("state", None), 2: ("priority", 32), 3: ("cost", None), 4: ("hairpin", 0), 5: ("guard", 0),
    6: ("root_block", 0), 7: ("fastleave", 0), 8: ("learning", 1), 9: ("flood", 1), 10: ("proxy_arp", 0),
    12: ("proxy_arp_wifi", 0), 25: ("mcast_router", 1), 27: ("mcast_flood", 1), 28: ("mcast_to_unicast", 0),
    29: ("vlan_tunnel", 0), 30: ("bcast_flood", 1), 31: ("group_fwd_mask", 0), 32: ("neigh_suppress", 0),
    33: ("isolated", 0), 34: ("backup_port", 0), 37: ("mcast_hosts_limit", 512), 39: ("locked", 0), 40: ("mab", 0),
    42: ("mcast_max_groups", 0), 43: ("neigh_vlan_suppress", 0), 44: ("backup_nhid", 0),
    45: ("neigh_forward_grat", 0),
}  # fmt: skip
# IFLA_BOND_SLAVE_* that can be set.
BOND: dict[int, tuple[str, int | None]] = {5: ("queue_id", 0), 9: ("prio", 0), 10: ("actor_port_prio", 255)}
_KINDS = {b"bridge": BRIDGE, b"bond": BOND}

_DUMP_GROUPS = wire.message(uapi.RTM_GETMDB, uapi.NLM_F_DUMP, BR_PORT_MSG.pack(uapi.AF_BRIDGE, 0))
_DUMP_VLANS = wire.message(
    uapi.RTM_GETLINK,
    uapi.NLM_F_DUMP,
    wire.IFINFOMSG.pack(uapi.AF_BRIDGE, 0, 0, 0, 0)
    + wire.attr_u32(uapi.IFLA_EXT_MASK, uapi.RTEXT_FILTER_BRVLAN_COMPRESSED),
)


class Ports(Kind):
    name = "ports"
    stages = (UP, LATE)
    is_in_links = True
    needs = ("masters",)
    messages = (
        (uapi.RTM_NEWLINK, wire.IFINFOMSG.size),
        (uapi.RTM_NEWNEIGH, NDMSG.size),
        (uapi.RTM_GETMDB, BR_PORT_MSG.size),  # the kernel answers with the type of the request
        (uapi.RTM_NEWMDB, BR_PORT_MSG.size),
    )

    def read(self, socket: Socket, links: Mapping[int, wire.Link], about: Collection[int]) -> bytes:
        """VLANs, entries and groups of bridge ports; the links have the rest."""
        bridged = {i: link for i, link in links.items() if i in about and link.master and link.port_kind == b"bridge"}
        if not bridged:
            return b""
        bridges = {link.master for link in bridged.values()}
        only = next(iter(bridged)) if len(bridged) == 1 else 0
        entries = wire.message(uapi.RTM_GETNEIGH, uapi.NLM_F_DUMP, NDMSG.pack(uapi.AF_BRIDGE, only, 0, 0, 0))
        sizes, kept = dict(self.messages), []
        for dumped in (
            lookups.dump(socket, _DUMP_VLANS),
            lookups.dump(socket, entries),
            lookups.dump_if_known(socket, _DUMP_GROUPS),
        ):
            for message in wire.messages(dumped):
                if len(message.body) < sizes.get(message.type, 1 << 16):
                    continue
                owner = _owner(message)
                if owner in bridged or (message.type in (uapi.RTM_GETMDB, uapi.RTM_NEWMDB) and owner in bridges):
                    kept.append(message.padded())
        return b"".join(kept)

    def findings(self, before: View, leaving: Leaving) -> Iterator[Finding]:
        for ifindex, port in _ports(before).items():
            if ifindex in leaving.ifindexes and (non_default := port.non_default_settings()):
                yield Finding(ifindex, "loss.port", f"{port.kind.decode()} port: {', '.join(non_default)}")

    def repairs(self, before: View, now: View, here: Here) -> Iterator[Repair]:
        there, masters, masters_now = _ports(now), links_of(before), links_of(now)
        for ifindex, port in _ports(before).items():
            if ifindex not in here or port.master not in here:  # nothing can be restored
                continue
            if port.active not in before.links and port.active not in masters:
                port.active = 0  # back from a loan: another slave stays active
            for stage, what, request in port.differences(there.get(here[ifindex]), here[ifindex], here):
                yield Repair(here[ifindex], stage, f"{port.kind.decode()} port: {what}", request or None)
            if request := mac_request(port.master, masters, masters_now, here):
                yield Repair(here[ifindex], UP, f"{port.kind.decode()} port: MAC of its bond", request)
            yield from _macs_of_others(here[ifindex], port, before, masters, masters_now, here)


def _macs_of_others(
    ifindex: int, port: Port, before: View, masters: Links, masters_now: Links, here: Here
) -> Iterator[Repair]:
    """Restores the MACs of slaves that stayed, which got those of slaves that left (fail_over_mac follow).

    Waits until the old active slave is active again: until then the bond swaps MACs (drivers/net/bonding/bond_main.c,
    bond_do_fail_over_mac()).
    """
    master = here[port.master]
    if port.active == 0 or active_slave(masters_now.get(master)) != here.get(port.active, port.active):
        return
    for other, was in masters.items():
        is_ = masters_now.get(other)
        if is_ is None or other in before.links or (was.master, is_.master) != (port.master, master):
            continue
        if is_.mac != was.mac:
            mac = wire.attr(uapi.IFLA_ADDRESS, was.mac)
            request = wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, other, mac)
            yield Repair(ifindex, LATE, f"bond port: MAC of {quote.shown(was.name)}", request)


def _owner(message: wire.Message) -> int:
    """The ifindex, which struct ifinfomsg, ndmsg and br_port_msg have at the same offset."""
    return int(wire.U32.unpack_from(message.body, 4)[0])


def _ports(view: View) -> dict[int, Port]:
    """The ports of bridges and bonds, by ifindex."""
    ports = {i: link for i, link in view.links.items() if link.master and link.port_kind in _KINDS}
    if not ports:
        return {}
    masters, state = links_of(view), view.of(Ports.name)
    vlans, entries, groups = _vlans_of(state), _entries_of(state), _groups_of(state)
    return {
        ifindex: Port(
            link,
            masters.get(link.master or 0),
            vlans.get(ifindex, {}),
            entries.get(ifindex, []),
            groups.get(ifindex, []),
        )
        for ifindex, link in ports.items()
    }


class Port:
    """A port of a bridge or bond at one moment.

    Attributes:
        settings: By IFLA_BRPORT_* or IFLA_BOND_SLAVE_*, in host byte order, as in the kernel's messages.
        vlans: VID -> BRIDGE_VLAN_INFO_* flags.
        entries: In the forwarding database: bodies of RTM_NEWNEIGH without ifindex.
        groups: In the multicast database: struct br_mdb_entry without ifindex, and MDBE_ATTR_*.
        active: The ifindex of its bond's active slave, which a returning port may replace; 0: none.
        default_vlan: The VID that its bridge gives a new port; 0: none.
        bond_mac: The MAC that it has from its bond until it leaves; b"": the same as its own.
    """

    __slots__ = (
        "active",
        "bond_mac",
        "default_vlan",
        "entries",
        "groups",
        "kind",
        "master",
        "settings",
        "vlans",
    )

    def __init__(
        self,
        link: wire.Link,
        master: wire.Link | None,
        vlans: dict[int, int],
        entries: list[bytes],
        groups: list[bytes],
    ) -> None:
        self.kind = link.port_kind
        self.master = link.master or 0
        known = _KINDS[self.kind]
        attrs = wire.attrs(memoryview(link.port), strict=False)
        self.settings = {type_: bytes(attrs[type_]) for type_ in known if type_ in attrs}
        self.vlans = vlans
        self.entries = entries
        self.groups = groups
        self.active, self.default_vlan, self.bond_mac = 0, 0, b""
        if self.kind == b"bond":
            own = attrs.get(uapi.IFLA_BOND_SLAVE_PERM_HWADDR)
            self.bond_mac = link.mac if own is not None and own != link.mac else b""
            self.active = active_slave(master)
        else:
            data = wire.attrs(memoryview(master.data if master else b""), strict=False)
            self.default_vlan = _number(data.get(uapi.IFLA_BR_VLAN_DEFAULT_PVID, b""))
            # The kernel sets the state itself with its own STP, and without a carrier: then it disables the port, up to
            # a second after the carrier is lost.
            by_stp = wire.u32(data.get(uapi.IFLA_BR_STP_STATE)) == uapi.BR_KERNEL_STP
            if by_stp or not link.flags & uapi.IFF_LOWER_UP:
                self.settings.pop(uapi.IFLA_BRPORT_STATE, None)

    def non_default_settings(self) -> list[str]:
        """The settings that a new port would not have, in short words."""
        known = _KINDS[self.kind]
        words = [known[t][0] for t, value in self.settings.items() if known[t][1] not in (None, _number(value))]
        default = {self.default_vlan: uapi.BRIDGE_VLAN_INFO_PVID | uapi.BRIDGE_VLAN_INFO_UNTAGGED}
        changed = {*self.vlans.items()} ^ ({*default.items()} if self.default_vlan and self.vlans else set())
        vids = {vid for vid, _ in changed}
        static = sum(not NDMSG.unpack_from(body)[2] & uapi.NUD_PERMANENT for body in self.entries)
        words += [f"MAC {self.bond_mac.hex(':')}"] if self.bond_mac else []
        words += [f"{len(vids)} vlan{'s' if len(vids) > 1 else ''}"] if vids else []
        counts = (static, "fdb"), (len(self.groups), "mdb")
        return words + [f"{count} {what} entr{'ies' if count > 1 else 'y'}" for count, what in counts if count]

    def differences(self, now: Port | None, ifindex: int, here: Here) -> Iterator[tuple[int, str, bytes]]:
        """The differences: each with its stage, short words, and the request that restores it.

        VLANs come before the entries in them, and the bridge's entries before the device's, some of which the bridge
        makes. `now`: None: it is not a port, so nothing can be restored.
        """
        master = here[self.master]
        if now is None or now.kind != self.kind or now.master != master:
            yield UP, "all settings", b""
            return
        for type_, value in self._wanted(now, here).items():
            if now.settings.get(type_, bytes(len(value))) != value:
                stage = LATE if (self.kind, type_) == (b"bridge", uapi.IFLA_BRPORT_STATE) else UP
                yield stage, _KINDS[self.kind][type_][0], _slave(self.kind, ifindex, wire.attr(type_, value))
        for vid in sorted(now.vlans.keys() - self.vlans.keys()):
            yield UP, f"vlan {vid}", _vlans(uapi.RTM_DELLINK, ifindex, [vid], 0)
        lost = sorted((flags, vid) for vid, flags in self.vlans.items() if now.vlans.get(vid) != flags)
        for (flags, _), run in groupby(enumerate(lost), lambda at: (at[1][0], at[1][1] - at[0])):
            vids = [vid for _, (_, vid) in run]
            words = "-".join(map(str, dict.fromkeys((vids[0], vids[-1]))))
            yield UP, f"vlan {words}", _vlans(uapi.RTM_SETLINK, ifindex, vids, flags)
        missing = [body for body in self.entries if body not in now.entries]
        for body in sorted(missing, key=lambda body: NDMSG.unpack_from(body)[3] & uapi.NTF_SELF):
            yield UP, _text(body), neighbours.add(neighbours.on(body, {0: ifindex}))
        for group in self.groups:
            if group not in now.groups:  # LATE: the bridge refuses it while the port has no carrier
                yield LATE, _group_text(group), _join(group, master, ifindex)
        active = here.get(self.active, self.active)
        if active and now.active != active:
            data = wire.nested(uapi.IFLA_INFO_DATA, wire.attr_u32(uapi.IFLA_BOND_ACTIVE_SLAVE, active))
            yield LATE, "active slave", _link_info(master, wire.attr_name(uapi.IFLA_INFO_KIND, self.kind) + data)

    def _wanted(self, now: Port, here: Here) -> dict[int, bytes]:
        """The settings with present ifindexes; 0 for those that are reported only if set (backup_port)."""
        wanted = {**{type_: bytes(len(value)) for type_, value in now.settings.items()}, **self.settings}
        backup = wire.u32(memoryview(wanted.get(uapi.IFLA_BRPORT_BACKUP_PORT, b"")))
        if self.kind == b"bridge" and backup is not None and backup in here:
            wanted[uapi.IFLA_BRPORT_BACKUP_PORT] = wire.U32.pack(here[backup])
        if self.kind == b"bridge" and uapi.IFLA_BRPORT_STATE not in self.settings:
            wanted.pop(uapi.IFLA_BRPORT_STATE, None)
        return dict(sorted(wanted.items()))


def _vlans_of(state: bytes) -> dict[int, dict[int, int]]:
    found: dict[int, dict[int, int]] = {}
    for message in wire.messages(state):
        if message.type != uapi.RTM_NEWLINK or len(message.body) < wire.IFINFOMSG.size:
            continue
        ifindex = wire.IFINFOMSG.unpack_from(message.body)[2]
        spec = wire.attrs(message.body, wire.IFINFOMSG.size).get(uapi.IFLA_AF_SPEC, memoryview(b""))
        first = 0
        for type_, value in wire.attr_list(spec):
            if type_ == uapi.IFLA_BRIDGE_VLAN_INFO and len(value) == VLAN_INFO.size:
                flags, vid = VLAN_INFO.unpack(value)
                first = first if flags & uapi.BRIDGE_VLAN_INFO_RANGE_END else vid
                if not flags & uapi.BRIDGE_VLAN_INFO_RANGE_BEGIN:
                    kept = flags & (uapi.BRIDGE_VLAN_INFO_PVID | uapi.BRIDGE_VLAN_INFO_UNTAGGED)
                    found.setdefault(ifindex, {}).update(dict.fromkeys(range(first, vid + 1), kept))
    return found


def _entries_of(state: bytes) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = {}
    for ifindex, entry in _entries(state):
        found.setdefault(ifindex, []).append(entry)
    return found


def _entries(dumped: bytes) -> Iterator[tuple[int, bytes]]:
    """Static and permanent entries; neither learned ones nor multicast membership."""
    for message in wire.messages(dumped):
        if message.type != uapi.RTM_NEWNEIGH or len(message.body) < NDMSG.size:
            continue
        _, ifindex, state, flags, _ = NDMSG.unpack_from(message.body)
        found = wire.attrs(message.body, NDMSG.size)
        mac = bytes(found.get(uapi.NDA_LLADDR, b""))
        is_static = state & (uapi.NUD_PERMANENT | uapi.NUD_NOARP) or flags & uapi.NTF_EXT_LEARNED
        # The kernel derives the device's multicast groups from its addresses, some later, in a work item.
        if not is_static or mac.startswith((b"\x33\x33", b"\x01\x00\x5e")):
            continue
        flags &= uapi.NTF_SELF | uapi.NTF_EXT_LEARNED | uapi.NTF_STICKY
        if not flags & uapi.NTF_SELF:
            flags |= uapi.NTF_MASTER
        attrs = wire.attr(uapi.NDA_LLADDR, mac)
        if uapi.NDA_VLAN in found:
            attrs += wire.attr(uapi.NDA_VLAN, found[uapi.NDA_VLAN])
        yield ifindex, NDMSG.pack(uapi.AF_BRIDGE, 0, state, flags, 0) + attrs


def _text(body: bytes) -> str:
    found = wire.attrs(memoryview(body), NDMSG.size)
    vlan = f" vlan {_number(found[uapi.NDA_VLAN])}" if uapi.NDA_VLAN in found else ""
    own = " self" if NDMSG.unpack_from(body)[3] & uapi.NTF_SELF else ""
    return f"fdb {bytes(found[uapi.NDA_LLADDR]).hex(':')}{vlan}{own}"


def _groups_of(messages: bytes) -> dict[int, list[bytes]]:
    """The permanent entries of multicast databases, by the port's ifindex."""
    found: dict[int, list[bytes]] = {}
    for message in wire.messages(messages):
        if message.type in (uapi.RTM_GETMDB, uapi.RTM_NEWMDB):  # the kernel answers with the type of the request
            database = wire.attrs(message.body, BR_PORT_MSG.size).get(uapi.MDBA_MDB, memoryview(b""))
            infos = [info for _, entry in wire.attr_list(database) for _, info in wire.attr_list(entry)]
            for info in (each for each in infos if len(each) >= MDB_ENTRY.size):
                ifindex, state, _, vid, address, protocol = MDB_ENTRY.unpack_from(info)
                if state == uapi.MDB_PERMANENT:
                    group = MDB_ENTRY.pack(0, state, 0, vid, address, protocol)
                    found.setdefault(ifindex, []).append(group + _group_attrs(wire.attrs(info, MDB_ENTRY.size)))
    return found


def _group_attrs(dumped: Mapping[int, memoryview]) -> bytes:
    """The MDBE_ATTR_* that set a dumped entry's attributes; RTPROT_STATIC (4) is the default."""
    attrs = b""
    if uapi.MDBA_MDB_EATTR_SOURCE in dumped:
        attrs += wire.attr(uapi.MDBE_ATTR_SOURCE, dumped[uapi.MDBA_MDB_EATTR_SOURCE])
    protocol = bytes(dumped.get(uapi.MDBA_MDB_EATTR_RTPROT, b"\x04"))
    return attrs + (wire.attr(uapi.MDBE_ATTR_RTPROT, protocol) if protocol != b"\x04" else b"")


def _join(group: bytes, master: int, ifindex: int) -> bytes:
    _, *rest = MDB_ENTRY.unpack_from(group)
    body = BR_PORT_MSG.pack(uapi.AF_BRIDGE, master) + wire.attr(uapi.MDBA_SET_ENTRY, MDB_ENTRY.pack(ifindex, *rest))
    if attrs := group[MDB_ENTRY.size :]:
        body += wire.nested(uapi.MDBA_SET_ENTRY_ATTRS, attrs)
    return wire.message(uapi.RTM_NEWMDB, uapi.NLM_F_ACK | uapi.NLM_F_CREATE | uapi.NLM_F_EXCL, body)


def _group_text(group: bytes) -> str:
    """A group in the notation of bridge(8)."""
    _, _, _, vid, address, protocol = MDB_ENTRY.unpack_from(group)
    source = wire.attrs(memoryview(group), MDB_ENTRY.size).get(uapi.MDBE_ATTR_SOURCE)
    family, size = {b"\x08\x00": (uapi.AF_INET, 4), b"\x86\xdd": (uapi.AF_INET6, 16)}.get(protocol, (0, 6))
    text = address_text(family, address[:size]) if family else address[:size].hex(":")
    text += f" src {address_text(family, bytes(source))}" if source is not None else ""
    return f"mdb {text} vlan {vid}" if vid else f"mdb {text}"


def _number(value: bytes | memoryview) -> int:
    return int.from_bytes(value, sys.byteorder)


def _link_info(ifindex: int, attrs: bytes) -> bytes:
    return wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, ifindex, wire.nested(uapi.IFLA_LINKINFO, attrs))


def _slave(kind: bytes, ifindex: int, attr: bytes) -> bytes:
    data = wire.nested(uapi.IFLA_INFO_SLAVE_DATA, attr)
    return _link_info(ifindex, wire.attr_name(uapi.IFLA_INFO_SLAVE_KIND, kind) + data)


def _vlans(type_: int, ifindex: int, vids: list[int], flags: int) -> bytes:
    """The request that adds or removes one VLAN or a range."""
    ends = [(flags, vids[0])]
    if len(vids) > 1:
        begin, end = flags | uapi.BRIDGE_VLAN_INFO_RANGE_BEGIN, flags | uapi.BRIDGE_VLAN_INFO_RANGE_END
        ends = [(begin, vids[0]), (end, vids[-1])]
    spec = b"".join(wire.attr(uapi.IFLA_BRIDGE_VLAN_INFO, VLAN_INFO.pack(*end)) for end in ends)
    body = wire.IFINFOMSG.pack(uapi.AF_BRIDGE, 0, ifindex, 0, 0) + wire.nested(uapi.IFLA_AF_SPEC, spec)
    return wire.message(type_, uapi.NLM_F_ACK, body)
