"""Detects a device in the target that has replaced one of the batch (as csrc/replaced.c).

Root in the target can delete a device and make another one with its name, ifindex and MAC, but not on a lower device in
the source, nor a tunnel whose packets leave from the source. Brought home, such a veth or VXLAN would connect the
host's addresses with the container.
"""

from __future__ import annotations

import contextlib

from ..engine import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, EngineError, Socket, lookups
from ..engine.batch_device import BatchDevice
from ..netlink import uapi, wire
from ..state.link_settings import mac_request, own_mac
from .plan import Sides

# Kinds whose packets leave from the namespace that they were made in; their links report it (get_link_net of
# linux/include/net/rtnetlink.h). They may have a lower device.
TUNNELS = (
    *(b"vxlan", b"geneve", b"gre", b"gretap", b"erspan", b"ip6gre", b"ip6gretap", b"ip6erspan", b"ipip", b"ip6tnl"),
    *(b"sit", b"vti", b"vti6", b"xfrm", b"gtp"),
)
# Kinds that never change their lower device or peer, and whose links report its namespace.
BOUND = (b"veth", b"netkit", b"vxcan", b"macvlan", b"macvtap", b"vlan", b"ipvlan", b"ipvtap", b"macsec", *TUNNELS)
# Kinds whose links omit that namespace: ipvtap always, macvtap before 5.17, geneve and gtp at least up to 6.12.
SILENT = (b"macvtap", b"ipvtap", b"geneve", b"gtp")
# Kinds with the MAC of their lower device; IFLA_INFO_DATA (a VLAN's number) differs.
SHARE_A_MAC = (b"vlan", b"ipvlan", b"ipvtap")
# Kinds of which a device has only one: its peer, or a VLAN with a given number.
ALONE = (b"veth", b"vlan")
RTGENMSG = bytes(4)  # struct rtgenmsg, padded


class Places:
    """Finds out whether the devices of a batch, in both namespaces, are still the same ones."""

    def __init__(self, sides: Sides, members: list[BatchDevice]) -> None:
        self._source, self._source_fd = sides.source_socket, sides.source.fd
        self._target, self._target_fd = sides.target_socket, sides.target.fd
        self._devices = {member.link.ifindex: member for member in members}
        self._sought: set[int] = set()  # during `search`, which for a veth searches its peer, too: by former ifindex

    def _lower_of(self, below: tuple[int, int | None]) -> BatchDevice | None:
        """The lower device, if it is of the batch; located anew, as a container may have changed its ifindex."""
        lower, nsid = below
        moved = self._devices.get(lower) if nsid is None else None
        if moved is not None:
            moved.find(self._source, self._target)
            if moved.place == PLACE_GONE and lower not in self._sought:
                self.search(moved)
        return moved

    def is_another(self, member: BatchDevice, now: wire.Link) -> bool:
        """Whether a device in the target has another lower device or peer than the member had."""
        return member.link.kind in BOUND and self._is_below_another(member, _below(now))

    def _is_below_another(self, member: BatchDevice, now: tuple[int, int | None]) -> bool:
        (lower, nsid), (lower_now, nsid_now) = _below(member.link), now
        moved = self._lower_of((lower, nsid))
        if moved is not None and moved.place == PLACE_TARGET:
            return (lower_now, nsid_now) != (moved.target_ifindex, None)
        if moved is not None and moved.place == PLACE_GONE and lower in self._sought:
            return False  # its peer, whose search compares them
        if lower_now != (lower if moved is None else moved.ifindex):
            return True
        if not lower and member.link.kind not in TUNNELS:
            return False
        if nsid is None:
            if nsid_now is None:
                return member.link.kind not in SILENT
            return nsid_now != _nsid(self._target, uapi.NETNSA_FD, self._source_fd, nsid_now)
        # The lower was in a third namespace, or in the target, which has an nsid in the source since the move at least.
        target = _nsid(self._source, uapi.NETNSA_FD, self._target_fd, None)
        if target is None:
            return False
        if target == nsid:
            return nsid_now is not None
        return nsid_now != _nsid(self._source, uapi.NETNSA_NSID, nsid, nsid_now, target)

    def stranger(self, member: BatchDevice) -> int | None:
        """The ifindex, in the source, of another device that came back in place of the member; None: there is none.

        A device may be replaced between the check in the target and its move back.
        """
        link, is_another = None, False
        try:
            if member.place == PLACE_GONE:  # a device of another kind may have its name
                link = lookups.link(self._source, name=member.ifname)
                is_another = link is not None and link.name == member.ifname and self._is_from_target(link)
            elif member.place == PLACE_SOURCE and member.link.kind in BOUND:
                link = lookups.link(self._source, ifindex=member.ifindex)
                is_another = link is not None and self._is_on_another(member, link)
        except EngineError:
            return None  # the next exchange reports it
        return link.ifindex if link is not None and is_another else None

    def is_namesake(self, member: BatchDevice) -> bool:
        """Whether a new device in the source, with its name and MAC, was found under another ifindex.

        The ifindex alone does not show it: the member itself has another one if an earlier try returned it. A device on
        another peer or lower device is a new one, and the member has ended in the target.
        """
        if member.place != PLACE_SOURCE or member.ifindex == member.link.ifindex:
            return False
        return self.stranger(member) is not None

    def _is_from_target(self, link: wire.Link) -> bool:
        """Whether its lower device or peer is in the target."""
        _, nsid = _below(link)
        if link.kind not in BOUND or nsid is None:
            return False
        return nsid == _nsid(self._source, uapi.NETNSA_FD, self._target_fd, None)

    def _is_on_another(self, member: BatchDevice, link: wire.Link) -> bool:
        before, (lower_now, nsid_now) = _below(member.link), _below(link)
        moved = self._lower_of(before)
        if moved is None or moved.place != PLACE_TARGET:
            return (lower_now, nsid_now) != (before[0] if moved is None else moved.ifindex, before[1])
        if lower_now != moved.target_ifindex:
            return True
        if nsid_now is None and link.kind in SILENT:
            return False
        return nsid_now != _nsid(self._source, uapi.NETNSA_FD, self._target_fd, nsid_now)

    def search(self, member: BatchDevice) -> None:
        """Searches the target for a missing or replaced device, which has another ifindex after a detour.

        Accepts the only candidate of its kind with its MAC; or, for a veth or VLAN, the only one with its peer, or with
        its lower device and VLAN number.
        """
        was, ours = member.link, {m.target_ifindex for m in self._devices.values() if m.place == PLACE_TARGET}
        alike = [x for x in lookups.links(self._target) if x.kind == was.kind and x.ifindex not in ours]
        if was.kind in SHARE_A_MAC:
            alike = [x for x in alike if x.data == was.data]
        self._sought.add(was.ifindex)
        try:
            alike = [x for x in alike if not self.is_another(member, x)]
        finally:
            self._sought.remove(was.ifindex)
        found = [x for x in alike if was.mac and x.mac in (was.mac, own_mac(was))]
        if len(found) != 1 and was.kind in ALONE:
            found = [x for x in alike if _below(x)[0]]
        if len(found) != 1:
            return
        restore_mac(self._target, member, found[0])  # otherwise a device with its name or MAC would be found instead
        asked, unsure = member.target_ifindex, member.ifindex_unsure
        member.ask_ifindex(found[0].ifindex, unsure=False)
        member.find(self._source, self._target)
        if member.place != PLACE_TARGET:
            member.ask_ifindex(asked, unsure=unsure)


def restore_mac(socket: Socket, member: BatchDevice, now: wire.Link) -> None:
    """Restores the MAC of a device in the socket's namespace."""
    for _, request in mac_request(member.link, now):
        with contextlib.suppress(EngineError):  # refused by its driver: name and ifindex must suffice
            socket.command(request)


def _below(link: wire.Link) -> tuple[int, int | None]:
    """IFLA_LINK (0: none), and IFLA_LINK_NETNSID (None: the same namespace).

    A tunnel without a lower device may report itself (net/core/rtnetlink.c, nla_put_iflink).
    """
    found = wire.attrs(link.body, wire.IFINFOMSG.size, strict=False)
    lower, nsid = wire.u32(found.get(uapi.IFLA_LINK)) or 0, found.get(uapi.IFLA_LINK_NETNSID)
    lower = 0 if lower == link.ifindex and link.kind in TUNNELS else lower
    return lower, None if nsid is None else wire.S32.unpack(nsid)[0]


def _nsid(socket: Socket, type_: int, value: int, otherwise: int | None, seen_from: int | None = None) -> int | None:
    """The nsid of a namespace; None: it has none.

    Args:
        socket: In the namespace that assigned the nsid, or one that knows that namespace by the nsid `seen_from`.
        type_, value: NETNSA_FD or NETNSA_NSID: the namespace.
        otherwise: The result if the request fails.
    """
    attrs = wire.attr_u32(type_, value)
    if seen_from is not None:
        attrs += wire.attr(uapi.NETNSA_TARGET_NSID, wire.S32.pack(seen_from))
    try:
        _, answer = socket.query(wire.message(uapi.RTM_GETNSID, 0, RTGENMSG + attrs))
        message = next(wire.messages(answer), None)
    except EngineError:
        return otherwise
    if message is None or message.type != uapi.RTM_NEWNSID:
        return otherwise
    data = wire.attrs(message.body, len(RTGENMSG)).get(uapi.NETNSA_NSID)
    nsid = None if data is None else wire.S32.unpack(data)[0]
    return None if nsid == uapi.NETNSA_NSID_NOT_ASSIGNED else nsid
