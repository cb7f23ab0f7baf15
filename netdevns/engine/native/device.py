"""Wraps the core's steps of one device (csrc/netdevns-core.h), for a device of a batch (struct nd_member)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from ..._ffi import ffi, lib
from ..numbers import Read
from .memory import failure, new_raw
from .socket import Socket

MEMORY_BYTES = 16384  # a link and about 40 addresses, before their number is known


class Device:
    """One device that moves: the steps of csrc/netdevns-core.h.

    Args:
        ifname: Its name in the source.
        wanted: Its name in the target, or a template with one %d.
        ifindex: In the source.
    """

    __slots__ = ("_arrived", "_err", "member")

    def __init__(self, ifname: bytes, wanted: bytes, ifindex: int) -> None:
        self._err = ffi.new("struct nd_err *")
        made = ffi.new("struct nd_member **")
        if lib.nd_member_open(made, ifname, wanted, ifindex, self._err):
            raise failure(self._err)
        self.member = ffi.gc(made[0], lib.nd_member_free)
        self._arrived: bytes | None = None

    @property
    def raw(self) -> Any:
        """The core's `struct nd_dev`, whose address changes when it grows."""
        return self.member.dev

    def _step(self, call: Callable[..., int], *args: Any) -> None:
        while call(self.raw, *args, self._err):
            if self._err.code != -errno.EOVERFLOW or self.raw.need <= self.raw.size:
                raise failure(self._err)
            self._reserve(self.raw.need)

    def _reserve(self, size: int) -> None:
        if lib.nd_member_reserve(self.member, size):
            raise MemoryError

    def load(self, link: bytes, addresses: bytes) -> None:
        """Loads a record's snapshot: RTM_NEWLINK, and RTM_NEWADDR messages."""
        self._step(lib.nd_dev_load, link, len(link), addresses, len(addresses))

    def find(self, source: Socket, target: Socket) -> None:
        """Finds the device: sets `place`, and its name and ifindex there."""
        self._step(lib.nd_dev_find, source.raw, target.raw)

    def snapshot(self, source: Socket, read: Read | None = None) -> None:
        """Records the device's link and addresses: those just `read` in the source, or by an exchange."""
        if read is None:
            self._reserve(MEMORY_BYTES)
            self._step(lib.nd_dev_snapshot, source.raw)
        else:
            with ffi.from_buffer(read[1]) as addresses:  # see address_runs
                self._step(lib.nd_dev_take, read[0], len(read[0]), addresses, len(read[1]))

    def late(self, notifications: bytes | memoryview) -> None:
        """Merges notifications of a Watch into the snapshot."""
        with ffi.from_buffer(notifications) as data:
            self._step(lib.nd_dev_catch_up, data, len(notifications))

    @property
    def was_late(self) -> bool:
        """Whether `late` found addresses that the snapshot lacked, or had with other values."""
        return bool(self.raw.late)

    @property
    def unprotected(self) -> bytes:
        """The snapshot's RTM_NEWADDR messages of addresses that the runtime-spec does not protect."""
        room = new_raw("unsigned char[]", self.raw.addrs_len)
        used = lib.nd_addr_unprotected(self._at(self.raw.addrs), self.raw.addrs_len, room)
        return bytes(ffi.buffer(room, used))

    def move(self, source: Socket, target: Socket, target_fd: int) -> None:
        self._step(lib.nd_dev_move, source.raw, target.raw, target_fd)

    def up_and_replay(self, target: Socket) -> None:
        self._step(lib.nd_dev_up_and_replay, target.raw)

    def verify(self, target: Socket, read: Read | None = None) -> None:
        """Compares the device in the target with the snapshot: as just `read` there, or by an exchange."""
        if read is None:
            self._step(lib.nd_dev_verify, target.raw)
            self._arrived = self._bytes(self.raw.back, self.raw.back_len)
        else:
            with ffi.from_buffer(read[1]) as addresses:
                self._step(lib.nd_dev_compare, read[0], len(read[0]), addresses, len(read[1]))
            self._arrived = bytes(read[1])

    def undo(self, source: Socket, target: Socket, source_fd: int, parts: int) -> None:
        room = self.raw.addrs + 2 * self.raw.addrs_len + MEMORY_BYTES  # one read of all addresses fits
        if self.raw.link_len:
            self._reserve(room)
        self._step(lib.nd_dev_undo, source.raw, target.raw, source_fd, parts)

    def ask_ifindex(self, ifindex: int, *, unsure: bool) -> None:
        """Sets the ifindex to ask for in the target; `unsure`: the kernel may choose another."""
        self.raw.target_ifindex = ifindex
        self.raw.ifindex_unsure = unsure

    @property
    def place(self) -> int:
        return int(self.raw.place)

    @property
    def name(self) -> bytes:
        """The name in the target, as read back; empty before it has arrived."""
        return bytes(ffi.string(self.raw.name))

    @property
    def ifindex(self) -> int:
        return int(self.raw.ifindex)

    @property
    def target_ifindex(self) -> int:
        return int(self.raw.target_ifindex)

    @property
    def ifindex_unsure(self) -> bool:
        return bool(self.raw.ifindex_unsure)

    @property
    def was_up(self) -> bool:
        return bool(self.raw.was_up)

    @property
    def cut_labels(self) -> int:
        return int(self.raw.cut_labels)

    def _at(self, offset: int) -> Any:
        return ffi.cast("unsigned char *", self.raw) + offset

    def _bytes(self, at: int, length: int) -> bytes:
        return bytes(ffi.buffer(self._at(at), length))

    @property
    def has_snapshot(self) -> bool:
        return bool(self.raw.link_len)

    @property
    def link_message(self) -> bytes:
        """The snapshot's RTM_NEWLINK; empty without a snapshot."""
        return self._bytes(self.raw.link, self.raw.link_len)

    @property
    def link_body(self) -> bytes:
        """Its body."""
        return self.link_message[16:]

    @property
    def addresses(self) -> bytes:
        """The snapshot's RTM_NEWADDR messages."""
        return self._bytes(self.raw.addrs, self.raw.addrs_len)

    @property
    def depth(self) -> int:
        """How many devices of the batch are below it."""
        return int(self.member.depth)

    @depth.setter
    def depth(self, depth: int) -> None:
        self.member.depth = depth

    @property
    def touched(self) -> bool:
        """Whether a request that may have changed it was sent."""
        return bool(self.member.touched)

    @touched.setter
    def touched(self, touched: bool) -> None:
        self.member.touched = touched

    @property
    def arrived(self) -> bytes:
        """The RTM_NEWADDR messages that verify compared, perhaps with the RTM_NEWLINK in front."""
        return _copied(self.member.addresses) if self._arrived is None else self._arrived

    @property
    def arrived_link(self) -> bytes:
        """The RTM_NEWLINK that was read in the target when a batch was verified."""
        return _copied(self.member.arrived)


def _copied(memory: Any) -> bytes:
    return bytes(ffi.buffer(memory.data, memory.used)) if memory.used else b""
