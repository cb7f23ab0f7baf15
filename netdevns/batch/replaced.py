"""Whether another device is in the place of one of the batch: what csrc/replaced.c does.

Root in the target can delete a device and make one with its name, ifindex and MAC address, but not on a device of the
source. Brought home, a veth like that would connect the host's addresses with the container.
"""

from __future__ import annotations

import contextlib

from ..engine import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, EngineError, Socket, lookups
from ..engine.batch_device import BatchDevice
from ..netlink import uapi, wire
from ..state.link_settings import mac_request, own_mac
from .plan import Sides

# Kinds that keep their lower device, or peer, for all of their life, and whose links say in which namespace it is.
BOUND = (b"veth", b"macvlan", b"macvtap", b"vlan", b"ipvlan", b"ipvtap")
# The kernel does not say it of these: of an ipvtap never, of a macvtap not before 5.17.
SILENT = (b"macvtap", b"ipvtap")
# Kinds with the MAC address of their lower device: of several, IFLA_INFO_DATA (a VLAN's number) identifies each.
SHARE_A_MAC = (b"vlan", b"ipvlan", b"ipvtap")
# Kinds of which a device has one: its peer, or one VLAN of a number.
ALONE = (b"veth", b"vlan")
RTGENMSG = bytes(4)  # struct rtgenmsg, padded


class Places:
    """The places of a batch's devices in both namespaces, and other devices that have taken one."""

    def __init__(self, sides: Sides, members: list[BatchDevice]) -> None:
        self._source, self._source_fd = sides.source_socket, sides.source.fd
        self._target, self._target_fd = sides.target_socket, sides.target.fd
        self._devices = {member.link.ifindex: member for member in members}

    def _lower_of(self, below: tuple[int, int | None]) -> BatchDevice | None:
        """The one of the batch. It is looked for: the container may have given it another ifindex."""
        lower, nsid = below
        moved = self._devices.get(lower) if nsid is None else None
        if moved is not None:
            moved.find(self._source, self._target)
            if moved.place == PLACE_GONE:
                self.search(moved)
        return moved

    def is_another(self, member: BatchDevice, now: wire.Link) -> bool:
        """Whether a device in the target lies on another lower device, or has another peer."""
        return member.link.kind in BOUND and self._is_below_another(member, _below(now))

    def _is_below_another(self, member: BatchDevice, now: tuple[int, int | None]) -> bool:
        (lower, nsid), (lower_now, nsid_now) = _below(member.link), now
        moved = self._lower_of((lower, nsid))
        if moved is not None and moved.place == PLACE_TARGET:
            return (lower_now, nsid_now) != (moved.target_ifindex, None)
        if lower_now != (lower if moved is None else moved.ifindex):
            return True
        if not lower:
            return False
        if nsid is None:
            if nsid_now is None:
                return member.link.kind not in SILENT
            return nsid_now != _nsid(self._target, uapi.NETNSA_FD, self._source_fd, nsid_now)
        # It was in a third namespace, or in the target, which got its number in the source by the move at the latest.
        target = _nsid(self._source, uapi.NETNSA_FD, self._target_fd, None)
        if target is None:
            return False
        if target == nsid:
            return nsid_now is not None
        return nsid_now != _nsid(self._source, uapi.NETNSA_NSID, nsid, nsid_now, target)

    def stranger(self, member: BatchDevice) -> int | None:
        """The ifindex, at home, of another device that has just come from the target in its place; None: there is none.

        It may have been replaced after the look there.
        """
        link, is_another = None, False
        try:
            if member.place == PLACE_GONE:  # of another kind: it has its name
                link = lookups.link(self._source, name=member.ifname)
                is_another = link is not None and link.name == member.ifname and self._is_from_target(link)
            elif member.place == PLACE_SOURCE and member.link.kind in BOUND:
                link = lookups.link(self._source, ifindex=member.ifindex)
                is_another = link is not None and self._is_on_another(member, link)
        except EngineError:
            return None  # the next exchange reports it
        return link.ifindex if link is not None and is_another else None

    def _is_from_target(self, link: wire.Link) -> bool:
        """Whether it lies on, or is the peer of, a device of the target."""
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

    def restore_mac(self, member: BatchDevice, now: wire.Link) -> None:
        """Gives one in the target its own MAC address again; a driver may refuse that."""
        for _, request in mac_request(member.link, now):
            with contextlib.suppress(EngineError):  # it is looked for by name and ifindex
                self._target.command(request)

    def search(self, member: BatchDevice) -> None:
        """Looks for one that is gone, or that another device has the place of, under another ifindex in the target.

        A move to a third namespace and back gives it one. Taken is the only one of its kind, of none other of the
        batch, with its MAC address; or on what it lies on, where that is no other's: the peer of a veth, or the lower
        device of a VLAN with its number.
        """
        was, ours = member.link, {m.target_ifindex for m in self._devices.values() if m.place == PLACE_TARGET}
        alike = [x for x in lookups.links(self._target) if x.kind == was.kind and x.ifindex not in ours]
        if was.kind in SHARE_A_MAC:
            alike = [x for x in alike if x.data == was.data]
        alike = [x for x in alike if not self.is_another(member, x)]
        found = [x for x in alike if was.mac and x.mac in (was.mac, own_mac(was))]
        if len(found) != 1 and was.kind in ALONE:
            found = [x for x in alike if _below(x)[0]]
        if len(found) != 1:
            return
        self.restore_mac(member, found[0])  # without it one that has its name or MAC address is found instead
        asked, unsure = member.target_ifindex, member.ifindex_unsure
        member.ask_ifindex(found[0].ifindex, unsure=False)
        member.find(self._source, self._target)
        if member.place != PLACE_TARGET:
            member.ask_ifindex(asked, unsure=unsure)


def _below(link: wire.Link) -> tuple[int, int | None]:
    """IFLA_LINK (0: none), and the number of the namespace that it is in, as the link's has it (None: that one)."""
    found = wire.attrs(link.body, wire.IFINFOMSG.size, strict=False)
    nsid = found.get(uapi.IFLA_LINK_NETNSID)
    return wire.u32(found.get(uapi.IFLA_LINK)) or 0, None if nsid is None else wire.S32.unpack(nsid)[0]


def _nsid(socket: Socket, type_: int, value: int, otherwise: int | None, seen_from: int | None = None) -> int | None:
    """The number of a namespace, given by descriptor or by its number in the socket's namespace.

    Args:
        socket: In the namespace whose numbers are meant, or in which `seen_from` is the number of that one.
        type_, value: NETNSA_FD or NETNSA_NSID.
        otherwise: The answer where the kernel cannot be asked; a namespace without a number is None.
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
