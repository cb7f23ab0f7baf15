"""Runs the steps of one device (csrc/netdevns-core.h) in pure Python, with the same bytes on the wire as the C core.

It is a readable specification of the C core: csrc/device.c is here, find.c in `find`, replay.c and compare.c in
`replay`, notify.c in `late` and `netlink.rtnl`, socket.c and exchange.c in `netlink.rtnl`. A snapshot consists of the
kernel's messages, from which the requests are made. All failures are EngineErrors, as in the header.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Iterator
from typing import Any

from ...netlink import uapi, wire
from ...netlink.error import EngineError
from ...netlink.ifaddr import IFADDRMSG, is_protected
from ..numbers import PLACE_GONE, PLACE_SOURCE, PLACE_TARGET, PLACE_UNKNOWN, RESTORE, RETURN, Read
from .address import Link
from .find import Findable, look_up
from .late import is_as_dumped, update
from .replay import Replay, is_wanted
from .replay import read as read_there
from .socket import Socket


def _step(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a step: its EngineErrors carry its name."""

    def named(call: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(call)
        def step(*args: Any, **more: Any) -> None:
            try:
                call(*args, **more)
            except EngineError as e:
                raise EngineError(e.errno, e.extack, name, e.index) from None

        return step

    return named


def _failure(call: Callable[..., object], *args: object) -> EngineError | None:
    """Returns the EngineError of a call instead of raising it; None: it succeeded."""
    try:
        call(*args)
    except EngineError as e:
        return e
    return None


def _sound(link: bytes, addresses: bytes) -> Link:
    """Checks a snapshot, one RTM_NEWLINK and RTM_NEWADDR messages, and returns its link."""
    try:
        (message,) = wire.messages(link)
        is_sound = all(t == uapi.RTM_NEWADDR and end - at >= IFADDRMSG.size for t, at, end in wire.spans(addresses))
    except (ValueError, wire.Malformed):
        raise EngineError(errno.EBADMSG, "the link of the record is damaged", "snapshot") from None
    if message.type != uapi.RTM_NEWLINK or len(message.body) < wire.IFINFOMSG.size:
        raise EngineError(errno.EBADMSG, "the link of the record is damaged", "snapshot")
    if not is_sound:
        raise EngineError(errno.EBADMSG, "the addresses of the record are damaged", "snapshot")
    return Link(message)


def _send_move(sock: Socket, ifindex: int, netns_fd: int, name: bytes, new_ifindex: int) -> None:
    """Sends one RTM_NEWLINK with namespace, name and, unless 0, ifindex."""
    attrs = wire.attr_u32(uapi.IFLA_NET_NS_FD, netns_fd) if netns_fd >= 0 else b""
    attrs += wire.attr_name(uapi.IFLA_IFNAME, name)
    attrs += wire.attr_u32(uapi.IFLA_NEW_IFINDEX, new_ifindex) if new_ifindex else b""
    sock.command(wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, ifindex, attrs))


def address_runs(messages: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
    """Runs of consecutive messages about one device's addresses: its ifindex, and the messages.

    Raises:
        EngineError: EBADMSG: a message has a wrong length.
    """
    view = memoryview(messages)
    runs: list[list[int]] = []  # ifindex, begin, end
    try:
        for type_, at, end in wire.spans(view):
            if type_ not in (uapi.RTM_NEWADDR, uapi.RTM_DELADDR) or end - at < IFADDRMSG.size:
                continue
            ifindex = wire.S32.unpack_from(view, at + 4)[0]
            if not runs or runs[-1][0] != ifindex or runs[-1][2] != at - 16:
                runs.append([ifindex, at - 16, 0])
            runs[-1][2] = (end + 3) & ~3
    except wire.Malformed as e:
        raise EngineError(errno.EBADMSG, str(e), "exchange") from None
    return ((ifindex, view[begin:end]) for ifindex, begin, end in runs)


def _bodies(addresses: bytes) -> list[bytes]:
    """The messages without their headers, whose seq and portid differ between dumps."""
    return [addresses[at:end] for _, at, end in wire.spans(addresses)]


class Device(Findable):
    """One device that moves.

    Args:
        ifname: Its name in the source.
        wanted: Its name in the target, or a template with one %d.
        ifindex: In the source; 0: looked up by the snapshot.
    """

    def __init__(self, ifname: bytes, wanted: bytes, ifindex: int) -> None:
        if not 0 < len(ifname) < uapi.IFNAMSIZ or not 0 < len(wanted) < uapi.IFNAMSIZ:
            raise EngineError(errno.EINVAL, "a name must have 1 to 15 bytes", "")
        super().__init__(ifname, wanted, ifindex)
        self.was_up = False
        self.cut_labels = 0
        self.was_late = False  # whether `late` found addresses that the snapshot lacked, or had with other values
        self.addresses = b""  # snapshot: RTM_NEWADDR messages of every scope and lifetime, in dump order
        # The RTM_NEWADDR messages that verify compared, perhaps preceded by the RTM_NEWLINK.
        self.arrived: bytes | memoryview = b""
        self.arrived_link = b""  # the RTM_NEWLINK that was read in the target when a batch was verified
        self.depth = 0  # how many devices of the batch are below it
        self.touched = False  # whether a request that may have changed it was sent

    @property
    def unprotected(self) -> bytes:
        """The snapshot's RTM_NEWADDR messages of addresses that the runtime-spec does not protect."""
        found = self.addresses
        return b"".join(
            found[at - 16 : (end + 3) & ~3]
            for _, at, end in wire.spans(found)
            if not is_protected(*found[at + 2 : at + 4])
        )

    @property
    def has_snapshot(self) -> bool:
        return self.snapshot_link is not None

    @property
    def link_message(self) -> bytes:
        """The snapshot's RTM_NEWLINK; empty without a snapshot."""
        return self.snapshot_link.message.padded() if self.snapshot_link else b""

    @property
    def link_body(self) -> bytes:
        """Its body."""
        return self.link_message[16:]

    def ask_ifindex(self, ifindex: int, *, unsure: bool) -> None:
        """Sets the ifindex to ask for in the target; `unsure`: the kernel may choose another."""
        self.target_ifindex = ifindex
        self.ifindex_unsure = unsure

    def load(self, link: bytes, addresses: bytes) -> None:
        """Loads a record's snapshot: RTM_NEWLINK, and RTM_NEWADDR messages."""
        self._refuse_if_moved()
        self._keep(_sound(link, addresses), addresses)
        self.place = PLACE_UNKNOWN

    def _refuse_if_moved(self) -> None:
        if self.sent or self.place == PLACE_TARGET:
            text = "it was moved already: its snapshot is what an undo needs"
            raise EngineError(errno.EINVAL, text, "snapshot")

    def _keep(self, link: Link, addresses: bytes) -> None:
        self.snapshot_link, self.addresses, self.arrived, self.was_late = link, addresses, b"", False
        self.ifindex, self.was_up = link.ifindex, bool(link.flags & uapi.IFF_UP)

    def find(self, source: Socket, target: Socket) -> None:
        """Finds the device: sets `place`, and its name and ifindex there."""
        if not self.snapshot_link:
            raise EngineError(errno.EINVAL, "no snapshot", "")
        self._find(source, target)

    # ---- the steps ----

    @_step("snapshot")
    def snapshot(self, source: Socket, read: Read | None = None) -> None:
        """Records the device's link and addresses: those just `read` in the source, or by an exchange."""
        self._refuse_if_moved()
        link, addresses = self._read(source) if read is None else (read[0], bytes(read[1]))
        found = _sound(link, addresses)
        if found.name != self.ifname:
            raise EngineError(errno.ENODEV, "it was renamed meanwhile", "")
        self._keep(found, addresses)
        self.place = PLACE_SOURCE

    def _read(self, source: Socket) -> tuple[bytes, bytes]:
        """Reads link and addresses in one exchange; resolves the name first."""
        ifindex = self.ifindex
        if not ifindex:
            found = look_up(source, 0, self.ifname)
            if found.name != self.ifname:
                raise EngineError(errno.ENODEV, "this is an alternative name of another device", "")
            ifindex = found.ifindex
        message, addresses = read_there(source, ifindex)
        return bytes(message.data), addresses

    @_step("watch")
    def late(self, notifications: bytes | memoryview) -> None:
        """Merges notifications of a Watch into the snapshot."""
        if not self.snapshot_link:
            raise EngineError(errno.EINVAL, "no snapshot", "")
        changes = bytes(notifications)
        if is_as_dumped(self.addresses, changes, self.ifindex):
            return
        before, self.addresses = self.addresses, update(self.addresses, changes, self.ifindex)
        self.was_late |= _bodies(before) != _bodies(self.addresses)

    @_step("move")
    def move(self, source: Socket, target: Socket, target_fd: int) -> None:
        """Moves and renames in one RTM_NEWLINK. After an error the device may have left: `place` says where it is.

        A device that is in the target already, under another name than the wanted one, is renamed there.
        """
        if not self.snapshot_link or (self.place == PLACE_UNKNOWN and not self.sent):
            raise EngineError(errno.EINVAL, "no snapshot", "")
        # An earlier move failed, and the device could not be looked up after it.
        if self.place not in (PLACE_SOURCE, PLACE_TARGET):
            self._find(source, target)
        if self.place == PLACE_GONE:
            raise EngineError(errno.ENODEV, "it is neither in the source nor in the target", "")
        if self.place == PLACE_SOURCE:
            self._move_there(source, target, target_fd)
        # It moved under a temporary name, or an earlier move left it under its old one.
        if not is_wanted(self.wanted, self.name):
            refusal = _failure(_send_move, target, self.target_ifindex, -1, self.wanted, 0)
            lost = _failure(self._found_in_target, target)
            if refusal or lost:
                raise refusal or lost  # type: ignore[misc]  # one of them is an exception

    def _found_in_target(self, target: Socket) -> None:
        if not self._find_in_target(target):
            raise EngineError(errno.ENODEV, "it is not in the target any more", "")

    def _move_there(self, source: Socket, target: Socket, target_fd: int) -> None:
        template = b"%" in self.wanted
        unsure = self.ifindex_unsure or not self.target_ifindex
        name = self._temporary_name(target) if template and unsure else self.wanted
        self.sent = True
        refusal = _failure(_send_move, source, self.ifindex, target_fd, name, self.target_ifindex)
        if refusal:  # it may have left all the same (probes clash.wanted-name, clash.both-names)
            _failure(self._find, source, target)  # if that fails, the place is unknown
            raise refusal
        self.name, self.place = name, PLACE_TARGET
        if not template and not unsure:
            return
        # The name that the kernel made from a template is read back (probe clash.template-old-taken).
        if template and not unsure:
            self.name = b""
        self.place = PLACE_UNKNOWN
        if not self._find_in_target(target):
            raise EngineError(errno.ENODEV, "it left, but is not in the target", "")

    @_step("replay")
    def up_and_replay(self, target: Socket) -> None:
        """Replays the protected addresses in the target and sets the link up, in one send."""
        self._run(self._in_target(target))

    @_step("verify")
    def verify(self, target: Socket, read: Read | None = None) -> None:
        """Compares the device, as just `read` in the target or by an exchange. ESTALE, with a text: it differs."""
        replay = self._in_target(target)
        if read is None:
            self.arrived = replay.compare()
            return
        try:
            (message,) = wire.messages(read[0])
        except (ValueError, wire.Malformed):
            raise EngineError(errno.EBADMSG, "no link in the answer", "") from None
        self.arrived = read[1]
        replay.judge(message, bytes(read[1]))

    @_step("undo")
    def undo(self, source: Socket, target: Socket, source_fd: int, parts: int) -> None:
        """Undoes a move in parts. RETURN: moves to the source; RESTORE: restores addresses and IFF_UP, and compares."""
        if not self.snapshot_link:  # no snapshot: nothing was begun
            return
        if parts & RETURN:
            self._return(source, target, source_fd)
        if not parts & RESTORE:
            return
        if self.place != PLACE_SOURCE:
            raise EngineError(errno.ENODEV, "it is not in the source", "")
        link, addresses = self.snapshot_link, self.addresses
        replay = Replay(source, self.ifname, link, addresses, self.ifname, self.ifindex, undo=True, up=self.was_up)
        # Compared first: a device that never changed is not touched, so no notification is sent. And compared again
        # after a failed replay: the result may be right all the same.
        if _failure(replay.compare):
            _failure(self._run, replay)
            replay.compare()
        self.sent = False

    def _in_target(self, target: Socket) -> Replay:
        if self.place != PLACE_TARGET or not self.snapshot_link:
            raise EngineError(errno.EINVAL, "it is not in the target", "")
        return Replay(
            target, self.ifname, self.snapshot_link, self.addresses, self.name, self.target_ifindex, wanted=self.wanted
        )

    def _run(self, replay: Replay) -> None:
        try:
            replay.run()
        finally:
            self.cut_labels = replay.cut_labels

    def _temporary_name(self, target: Socket) -> bytes:
        """An unused name, for a template on a kernel that may choose the ifindex (before 5.13, or it is taken).

        Otherwise neither name nor ifindex would be known after the move, as the ack has neither (probes
        message.new-ifindex.free, message.new-ifindex.taken). It ends in a letter, so no template yields it.
        """
        bits = ((target.portid * 2654435761) & 0xFFFFFFFF) ^ self.ifindex
        name = b"nd" + bytes(b"0123456789abcdef"[bits >> shift & 15] for shift in range(0, 28, 4))
        return name + b"abcdef"[(bits >> 28) % 6 :][:1]

    def _return(self, source: Socket, target: Socket, source_fd: int) -> None:
        was = self.ifindex
        seen = self._find(source, target)
        if self.place == PLACE_SOURCE and seen:
            # Under another name: renamed meanwhile, or returned by the kernel when the target died.
            if seen.name != self.ifname:
                _send_move(source, self.ifindex, -1, self.ifname, 0)
            return
        if self.place == PLACE_GONE:
            raise EngineError(errno.ENODEV, "it is neither in the source nor in the target", "")
        refusal = _failure(_send_move, target, self.target_ifindex, source_fd, self.ifname, was)
        # Its ifindex is taken (probe message.new-ifindex.taken): it returns under another one.
        if refusal and refusal.errno == errno.EBUSY:
            refusal = _failure(_send_move, target, self.target_ifindex, source_fd, self.ifname, 0)
        lost = _failure(self._find, source, target)
        if self.place != PLACE_SOURCE:
            gone = EngineError(errno.ENODEV, "it was moved back, but is not in the source", "")
            raise refusal or lost or gone
