"""Finds a device in the source or the target after a failure: csrc/find.c in Python."""

from __future__ import annotations

import errno

from ...netlink import uapi, wire
from ...netlink.error import EngineError
from ..numbers import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, PLACE_UNKNOWN
from .address import Link
from .socket import Socket

# A link with the right ifindex or name must also match in the MAC address; or in one of the device's names, where no
# other device can have the ifindex and the MAC address was changed; or in nothing more (Findable._find_renamed).
BY_MAC, BY_NAME, BY_IFINDEX = range(3)
# Attributes that no request changes and that differ on other hardware. IFLA_LINK is a veth's peer, or the lower device.
# A driver may change the permanent MAC address: igbvf sets it to the present one whenever the device goes down
# (drivers/net/ethernet/intel/igbvf/netdev.c, igbvf_reset()), so a known parent device outweighs it.
FIXED = (uapi.IFLA_PARENT_DEV_NAME, uapi.IFLA_PERM_ADDRESS, uapi.IFLA_LINK)


def look_up(sock: Socket, ifindex: int, name: bytes | None = None) -> Link:
    """One link by ifindex or name. Raises EngineError: ENODEV: there is none."""
    _, answer = sock.query(wire.get_link(ifindex, name))
    message = next(wire.messages(answer), None)
    if message is None:
        raise EngineError(errno.EBADMSG, "no link in the answer", "exchange")
    code, text = wire.error(message) if message.type == uapi.NLMSG_ERROR else (0, "")
    if code:
        raise EngineError(code, text, "exchange")
    if message.type == uapi.RTM_NEWLINK and len(message.body) >= wire.IFINFOMSG.size:
        found = Link(message)
        name_there = found.get(uapi.IFLA_IFNAME)
        if name_there is not None and len(name_there) <= uapi.IFNAMSIZ:
            return found
    raise EngineError(errno.EBADMSG, "not a link in the answer", "exchange")


def _same(was: memoryview | None, now: memoryview | None) -> bool | None:
    """Whether an attribute is equal; None: one link lacks it."""
    return None if was is None or now is None else was == now


class Findable:
    """A device that can be found again after a failure, once it has a snapshot."""

    def __init__(self, ifname: bytes, wanted: bytes, ifindex: int) -> None:
        self.ifname = ifname
        self.wanted = wanted
        self.name = b""  # in the target, as read back; empty before it has arrived
        self.ifindex = ifindex
        self.target_ifindex = 0
        self.ifindex_unsure = False
        self.place = PLACE_UNKNOWN
        self.sent = False  # whether a move was sent and not undone since
        self.snapshot_link: Link | None = None  # snapshot: RTM_NEWLINK

    def _find(self, source: Socket, target: Socket) -> Link | None:
        """Looks in the source first: a device that never left is still there under its ifindex.

        By name it is looked for there only after the target: a device without a MAC (tun), or with a shared one
        (ipvlan), cannot be told from a new device of that name.
        """
        self.place = PLACE_UNKNOWN
        found = (
            self._find_in_source(source, self.ifindex)
            or self._find_in_target(target)
            or self._find_in_source(source, 0, self.ifname)
            # With a changed MAC address: only if it is nowhere else.
            or self._find_in_source(source, self.ifindex, trust=BY_NAME)
            or self._find_renamed(target)
        )
        if not found:
            self.place = PLACE_GONE
        return found

    def _find_in_source(
        self, source: Socket, ifindex: int, name: bytes | None = None, *, trust: int = BY_MAC
    ) -> Link | None:
        found = self._try_at(source, ifindex, name, trust)
        if found:
            self.place, self.ifindex = PLACE_SOURCE, found.ifindex
        return found

    def _find_in_target(self, target: Socket) -> Link | None:
        found = None
        if self.target_ifindex:
            found = self._try_at(target, self.target_ifindex, None, BY_MAC if self.ifindex_unsure else BY_NAME)
        for name in (self.name if b"%" in self.wanted else self.wanted, self.ifname):
            if not found and name:
                found = self._try_at(target, 0, name, BY_MAC)
        if found and self.name and found.ifindex != self.target_ifindex:
            # Another device, perhaps made by the container, has its name and MAC address; its ifindex is decisive.
            return self._find_renamed(target) or self._in_target_now(found)
        return self._in_target_now(found)

    def _in_target_now(self, found: Link | None) -> Link | None:
        if found:
            self.place, self.target_ifindex, self.name = PLACE_TARGET, found.ifindex, found.name
            self.ifindex_unsure = False
        return found

    def _find_renamed(self, target: Socket) -> Link | None:
        """Last resort, by ifindex alone: the container has changed its name and its MAC address.

        find_renamed in csrc/find.c explains why this is safe.
        """
        if not self.target_ifindex or self.ifindex_unsure:
            return None
        return self._in_target_now(self._try_at(target, self.target_ifindex, None, BY_IFINDEX))

    def _try_at(self, sock: Socket, ifindex: int, name: bytes | None, trust: int) -> Link | None:
        """Looks the device up; kind and hardware must match the snapshot, as others can take its name and ifindex."""
        was = self.snapshot_link
        assert was is not None  # checked by every step that searches
        try:
            found = look_up(sock, ifindex, name)
        except EngineError as e:
            if e.errno == errno.ENODEV:
                return None
            raise
        by_altname = name is not None and found.name != name
        if by_altname or found.identity != was.identity:
            return None
        same = {type_: _same(was.get(type_), found.get(type_)) for type_ in FIXED}
        parent = same[uapi.IFLA_PARENT_DEV_NAME]
        if parent is False or (same[uapi.IFLA_PERM_ADDRESS] is False and not parent):
            return None
        if found.mac in (was.mac, was.own_mac):
            return found
        has_our_name = found.name in (self.ifname, self.wanted, self.name)
        if trust >= BY_NAME and has_our_name:
            return found
        # It must have arrived there, or match in an attribute that the container cannot change.
        is_known = True in same.values() or (bool(self.name) and same[uapi.IFLA_LINK] is None)
        return found if trust == BY_IFINDEX and is_known else None
