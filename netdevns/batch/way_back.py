"""Brings devices back into the source, even out of a container that keeps them from leaving.

The kernel refuses a move if the device's name or, from 6.6 on, one of its alternative names is taken, and root in the
target can add such names. So added names are removed in the target first; if they keep coming, the device goes through
a private namespace that no other process can enter.
"""

from __future__ import annotations

import errno
import os

from ..engine import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, RETURN, EngineError, Socket, lookups
from ..engine.batch_device import BatchDevice
from ..netlink import uapi, wire
from ..state import link_settings
from ..system import named_netns
from ..text import quote
from .plan import Sides
from .replaced import Places, restore_mac

# Tries to remove names and move in one send, before the private namespace. Against a loop in C that adds one
# alternative name, 1 of 5 tries fails; against one that adds three, up to 200 in a row (Linux 6.18, 2 processors).
TRIES = 4
NAMESAKE = "it is in neither namespace; another device has its name in the source, and is left as it is"
REPLACED = "another device has its name and ifindex there, or it got another peer or lower device: it stays there"


class _Replaced(Exception):
    """Another device has replaced ours in the target."""


class WayBack:
    """The way back of a batch's devices.

    Attributes:
        missing: By member, the failures of the last try.
    """

    def __init__(self, sides: Sides, members: list[BatchDevice]) -> None:
        self.source_fd = sides.source.fd
        self.target_fd = sides.target.fd
        self.source = sides.source_socket
        self.target = sides.target_socket
        self.missing: dict[BatchDevice, list[str]] = {}
        self._places = Places(sides, members)

    def bring(self, member: BatchDevice) -> None:
        """Moves a device back, and renames it if it is back under another name. Can be repeated."""
        self.missing[member] = []
        try:
            self._free_altnames(member)
        except _Replaced:
            self.missing[member] = [REPLACED]
            return
        was_there = member.place == PLACE_TARGET
        member.is_replaced = not was_there and self._places.is_namesake(member)
        if member.is_replaced:
            self.missing[member] = [NAMESAKE]
            return
        refused = self._return(member)
        if refused is not None and refused.errno == errno.EEXIST and member.place == PLACE_TARGET:
            try:
                self._insist(member)
            except (EngineError, OSError) as e:
                words = os.strerror(e.errno or errno.EIO) if isinstance(e, OSError) else lookups.format_error(e)
                self.missing[member].append(f"through a private namespace: {words}")
            refused = self._return(member)
        stranger = self._places.stranger(member) if was_there else None
        if stranger is not None:
            self._expel(member, stranger)
            self.missing[member] = [REPLACED]
        elif refused is not None:
            self.missing[member].append(
                refused.extack if refused.errno == errno.ESTALE else lookups.format_error(refused)
            )

    def _expel(self, member: BatchDevice, ifindex: int) -> None:
        """Moves a device that is not ours back to the target."""
        netns = wire.attr_u32(uapi.IFLA_NET_NS_FD, self.target_fd)
        # Its name may be taken there; then under a name that is not.
        for attrs in (netns, netns + wire.attr_name(uapi.IFLA_IFNAME, _unguessable())):
            try:
                self.source.command(wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, ifindex, attrs))
            except EngineError:
                continue  # the result reports where the device is
            break
        member.find(self.source, self.target)

    def bring_all_again(self, members: list[BatchDevice]) -> None:
        """Removes alternative names that came along, which may be names of other devices of the batch; tries again."""
        if self._remove_added([m for m in members if m.is_home]):
            for member in members:
                self.bring(member)

    def _return(self, member: BatchDevice) -> EngineError | None:
        try:
            try:
                member.undo(self.source, self.target, self.source_fd, RETURN)
            except EngineError as e:
                # Home and up under another name, which before 6.2 can only be changed while it is down (probe
                # names.up.in-place). RESTORE sets it up again.
                if (e.errno, member.place) != (errno.EBUSY, PLACE_SOURCE):
                    raise
                self.source.command(wire.down_message(member.ifindex))
                member.undo(self.source, self.target, self.source_fd, RETURN)
        except EngineError as e:
            return e
        return None

    # ---- alternative names ----

    def _free_altnames(self, member: BatchDevice) -> None:
        """Removes alternative names that were added in the target; before 6.6 all, which would stay blocked there.

        Tries twice: once the device has left, they cannot be freed.
        """
        for failures in ([], self.missing[member]):
            try:
                failures += self._free_once(member)
            except EngineError as e:
                failures.append(f"alternative names, removed in the target: {lookups.format_error(e)}")
            if not failures:
                return

    def _free_once(self, member: BatchDevice) -> list[str]:
        member.find(self.source, self.target)
        if member.place == PLACE_GONE:
            self._places.search(member)
        try:
            link = self._link_there(member)
        except _Replaced:  # ours may still be there, under another ifindex
            self._places.search(member)
            link = self._link_there(member)
            if link is None:
                raise
        if link is None:
            return []
        restore_mac(self.target, member, link)
        stay = member.link.altnames if lookups.moves_altnames() else ()
        return _remove(self.target, link, [name for name in dict.fromkeys(link.altnames) if name not in stay])

    def _link_there(self, member: BatchDevice) -> wire.Link | None:
        """Its link in the target; None: it is not there. Raises _Replaced."""
        link = lookups.link(self.target, ifindex=member.target_ifindex) if member.place == PLACE_TARGET else None
        if link is not None and self._places.is_another(member, link):
            raise _Replaced
        return link

    def _remove_added(self, members: list[BatchDevice]) -> bool:
        """Removes added alternative names of devices in the source; returns whether there were any."""
        found = False
        try:
            answers = lookups.ask(self.source, [wire.get_link(m.ifindex) for m in members])
            for member, answer in zip(members, answers, strict=True):
                link = lookups.link_of(answer)
                added = [name for name in link.altnames if name not in member.link.altnames] if link else []
                if link and added:
                    found = True
                    _remove(self.source, link, added)
        except EngineError:
            return found  # the final comparison reports it
        return found

    # ---- against a hostile container ----

    def _insist(self, member: BatchDevice) -> None:
        for _ in range(TRIES):
            link = lookups.link(self.target, ifindex=member.target_ifindex)
            if link is None or link.kind != member.link.kind:
                return
            added = [name for name in dict.fromkeys(link.altnames) if name not in member.link.altnames]
            removal = link_settings.remove_altnames(link.ifindex, added) if added else b""
            try:
                self.target.command(removal + self._moved(member, link.ifindex))
            except EngineError:
                # The removal failed because a name is gone already, or the move failed: then it is still in the target.
                member.find(self.source, self.target)
                if member.place != PLACE_TARGET:
                    return
            else:
                return
        self._through_private(member)

    def _moved(self, member: BatchDevice, ifindex: int, *, number: bool = True) -> bytes:
        """The request that moves it home."""
        attrs = wire.attr_u32(uapi.IFLA_NET_NS_FD, self.source_fd)
        attrs += wire.attr_name(uapi.IFLA_IFNAME, member.ifname)
        if number:
            attrs += wire.attr_u32(uapi.IFLA_NEW_IFINDEX, member.ifindex)
        return wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, ifindex, attrs)

    def _through_private(self, member: BatchDevice) -> None:
        """Moves the device into a private namespace, removes the names there, and moves it home.

        Costs a namespace and a second move. If this process is killed in between, the namespace ends: a virtual device
        is deleted, a NIC goes to the initial namespace.
        """
        with named_netns.new("a private namespace") as private, Socket(private.fd) as ours:
            # The devices of every new namespace, such as lo, must not block a name that the container chose.
            there = {link.ifindex for link in lookups.links(ours)}
            for ifindex in there:
                ours.command(wire.rename_message(ifindex, _unguessable()))
            try:
                self.target.command(_away(member.target_ifindex, private.fd))
                self._home_from(ours, there, member)
            except BaseException:  # an interrupt: the device must leave before the namespace ends
                self._home_from(ours, there, member)
                raise

    def _home_from(self, ours: Socket, there: set[int], member: BatchDevice) -> None:
        for link in lookups.links(ours):
            if link.ifindex not in there and link.kind == member.link.kind:
                self._home(ours, member, link)

    def _home(self, ours: Socket, member: BatchDevice, link: wire.Link) -> None:
        restore_mac(ours, member, link)  # by which it is found
        added = [name for name in dict.fromkeys(link.altnames) if name not in member.link.altnames]
        # Another device in the source may have its ifindex by now, or one of its alternative names. An EEXIST after the
        # move is harmless: its name is taken, and it is home under the unguessable one.
        for altnames, request in (
            (added, self._moved(member, link.ifindex)),
            ([], self._moved(member, link.ifindex, number=False)),
            ([*dict.fromkeys(link.altnames)], self._moved(member, link.ifindex, number=False)),
        ):
            _remove(ours, link, altnames)
            try:
                ours.command(request)
            except EngineError:
                if lookups.link(ours, ifindex=link.ifindex) is None:
                    return
            else:
                return
        # It must not stay in this namespace, which ends: back to the target.
        ours.command(_away(link.ifindex, self.target_fd))
        raise EngineError(errno.EEXIST, "it could not leave for the source and is in the target again", "undo")


def _away(ifindex: int, netns_fd: int) -> bytes:
    """The request that moves a device to a namespace under an unguessable name."""
    attrs = wire.attr_u32(uapi.IFLA_NET_NS_FD, netns_fd) + wire.attr_name(uapi.IFLA_IFNAME, _unguessable())
    return wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, ifindex, attrs)


def _unguessable() -> bytes:
    return b"nd" + os.urandom(6).hex().encode()


def _remove(socket: Socket, link: wire.Link, altnames: list[bytes]) -> list[str]:
    """Removes alternative names, all at once or else one by one; returns the refusals.

    Before 6.6 the kernel cannot remove one in a namespace where it was not added.
    """
    refused = []
    if altnames:
        try:
            socket.command(link_settings.remove_altnames(link.ifindex, altnames))
        except EngineError:
            for name in altnames:
                try:
                    socket.command(link_settings.remove_altnames(link.ifindex, [name]))
                except EngineError as e:
                    refused.append(f'alternative name "{quote.shown(name)}": {lookups.format_error(e)}')
    return refused
