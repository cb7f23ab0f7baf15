"""Reads several netlink datagrams with one system call: recvmmsg(2) through ctypes.

Layouts: sys/socket.h, linux/netlink.h.
"""

from __future__ import annotations

import ctypes
import errno
import socket
from collections.abc import Iterator
from struct import Struct

MSG_TRUNC = int(socket.MSG_TRUNC)  # IntFlag's & is slow
SOCKADDR_NL = Struct("=HHII")  # nl_family, nl_pad, nl_pid, nl_groups
IOVEC = Struct("@PN")  # iov_base, iov_len
# struct mmsghdr: msg_name, _namelen, _iov, _iovlen, _control, _controllen, _flags, and msg_len; 0P: aligned
MMSGHDR = Struct("@PIPNPNi0PI0P")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)


class Burst:
    """Memory for as many datagrams as one recvmmsg(2) reads."""

    def __init__(self, slots: int, slot_bytes: int) -> None:
        self.slots = slots
        self.slot_bytes = slot_bytes
        self._data = bytearray(slots * slot_bytes)
        self._from = bytearray(slots * SOCKADDR_NL.size)
        self._iov = bytearray(slots * IOVEC.size)
        self._headers = bytearray(slots * MMSGHDR.size)
        memory = (self._data, self._from, self._iov, self._headers)
        # A bytearray whose buffer is exported to ctypes is never moved.
        self._lent = [(ctypes.c_char * len(each)).from_buffer(each) for each in memory]
        data, senders, iov, self._address = map(ctypes.addressof, self._lent)
        for i in range(slots):
            IOVEC.pack_into(self._iov, i * IOVEC.size, data + i * slot_bytes, slot_bytes)
            header = (senders + i * SOCKADDR_NL.size, SOCKADDR_NL.size, iov + i * IOVEC.size, 1, 0, 0, 0, 0)
            MMSGHDR.pack_into(self._headers, i * MMSGHDR.size, *header)
        self._unused = bytes(self._headers)

    def receive(self, fd: int, flags: int) -> int:
        """The number of datagrams received, or a negative errno. Signals do not interrupt it.

        MSG_TRUNC in `flags`: each datagram's length is its own, also where it exceeds the slot.
        """
        self._headers[:] = self._unused  # resets the lengths that the kernel wrote last time
        while True:
            n = int(_libc.recvmmsg(fd, self._address, self.slots, flags, None))
            if n >= 0 or ctypes.get_errno() != errno.EINTR:
                return n if n >= 0 else -ctypes.get_errno()

    def datagrams(self, count: int) -> Iterator[tuple[int, int, bytes]]:
        """Of each datagram: the sender's portid (the kernel's is 0), the length, and the data, perhaps truncated."""
        headers = MMSGHDR.iter_unpack(memoryview(self._headers)[: count * MMSGHDR.size])
        senders = SOCKADDR_NL.iter_unpack(self._from)
        at, data = 0, memoryview(self._data)
        for (_, name_bytes, _, _, _, _, flags, length), (family, _, pid, _) in zip(headers, senders, strict=False):
            is_netlink = name_bytes >= SOCKADDR_NL.size and family == socket.AF_NETLINK
            whole = min(length, self.slot_bytes)
            # Without MSG_TRUNC in the call, the kernel reports the slot's length for a truncated datagram.
            yield pid if is_netlink else 0, length + bool(flags & MSG_TRUNC), bytes(data[at : at + whole])
            at += self.slot_bytes
