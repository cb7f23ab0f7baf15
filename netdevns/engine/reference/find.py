"""Where a device of the reference engine is: what csrc/find.c does, message for message."""

from __future__ import annotations

import errno

from ...netlink import uapi, wire
from ...netlink.error import EngineError
from ..numbers import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, PLACE_UNKNOWN
from .address import Link, link_in
from .socket import Socket

# Which links under the right ifindex or name are taken for ours: one with our MAC address; where nobody else can have
# that ifindex and the MAC address was changed, one with a name of ours; one with any (Device._find_renamed).
BY_MAC, BY_NAME, BY_IFINDEX = range(3)
# What nobody can change: on other hardware it is another one. The third is the other end, or what it lies on.
FIXED = (uapi.IFLA_PERM_ADDRESS, uapi.IFLA_PARENT_DEV_NAME, uapi.IFLA_LINK)


def look_up(sock: Socket, ifindex: int, name: bytes | None = None) -> Link:
    """One link by ifindex or name. ENODEV: it is not there."""
    _, answer = sock.query(wire.get_link(ifindex, name))
    message = next(wire.messages(answer), None)
    if message is None:
        raise EngineError(errno.EBADMSG, "no link in the answer", "exchange")
    code, text = wire.error(message) if message.type == uapi.NLMSG_ERROR else (0, "")
    if code:
        raise EngineError(code, text, "exchange")
    if message.type == uapi.RTM_NEWLINK and len(message.body) >= wire.IFINFOMSG.size:
        found = link_in(message)
        name_there = found.get(uapi.IFLA_IFNAME)
        if name_there is not None and len(name_there) <= uapi.IFNAMSIZ:
            return found
    raise EngineError(errno.EBADMSG, "not a link in the answer", "exchange")


def _same(was: memoryview | None, now: memoryview | None) -> bool | None:
    """Whether an attribute is the same; None: one has none."""
    return None if was is None or now is None else was == now


class Findable:
    """A device that can be found again after something went wrong; once it has a snapshot."""

    def __init__(self, ifname: bytes, wanted: bytes, ifindex: int) -> None:
        self.ifname = ifname
        self.wanted = wanted
        self.name = b""  # in the target, as read back; empty before it was there
        self.ifindex = ifindex
        self.target_ifindex = 0
        self.ifindex_unsure = False
        self.place = PLACE_UNKNOWN
        self.sent = False  # a move of it, and no undo has restored it since
        self.snapshot_link: Link | None = None  # snapshot: RTM_NEWLINK

    def _find(self, source: Socket, target: Socket) -> Link | None:
        """The source first: a device that never left is still there under its own ifindex.

        By its name there only behind the target: without a MAC (tun), or with a shared one (ipvlan), a new device of
        that name is not ours while ours is in the target.
        """
        self.place = PLACE_UNKNOWN
        found = (
            self._find_in_source(source, self.ifindex)
            or self._find_in_target(target)
            or self._find_in_source(source, 0, self.ifname)
            # With another MAC address now: only if it is nowhere else.
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
            # Its name and MAC address are on another one, which the container can have made; its ifindex is there.
            return self._find_renamed(target) or self._in_target_now(found)
        return self._in_target_now(found)

    def _in_target_now(self, found: Link | None) -> Link | None:
        if found:
            self.place, self.target_ifindex, self.name = PLACE_TARGET, found.ifindex, found.name
            self.ifindex_unsure = False  # from now on it is known
        return found

    def _find_renamed(self, target: Socket) -> Link | None:
        """The last resort: the container gave it another name and another MAC address; what is left is the ifindex.

        Why nothing is lost by it: find_renamed in csrc/find.c.
        """
        if not self.target_ifindex or self.ifindex_unsure:
            return None
        return self._in_target_now(self._try_at(target, self.target_ifindex, None, BY_IFINDEX))

    def _try_at(self, sock: Socket, ifindex: int, name: bytes | None, trust: int) -> Link | None:
        """Looks for ours. Names and numbers can be taken by others: ours has the snapshot's kind and hardware, too."""
        was = self.snapshot_link
        assert was is not None  # every step that looks has made sure of it
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
        if same[uapi.IFLA_PERM_ADDRESS] is False or same[uapi.IFLA_PARENT_DEV_NAME] is False:
            return None
        if found.mac in (was.mac, was.own_mac):
            return found
        has_our_name = found.name in (self.ifname, self.wanted, self.name)
        if trust >= BY_NAME and has_our_name:
            return found
        # It must have arrived there, or have what the container cannot change.
        is_known = True in same.values() or (bool(self.name) and same[uapi.IFLA_LINK] is None)
        return found if trust == BY_IFINDEX and is_known else None
