"""The core's parser on bytes that end where an unreadable page begins: one byte read behind them is a crash."""

from __future__ import annotations

import ctypes
import mmap

from netdevns._ffi import ffi, lib

_libc = ctypes.CDLL(None, use_errno=True)


class Guarded:
    """Bytes in memory whose next byte cannot be read, and the core's cursor on the messages in them."""

    def __init__(self, data: bytes) -> None:
        page = mmap.PAGESIZE
        room = (len(data) // page + 1) * page
        self.memory = mmap.mmap(-1, room + page)  # unmapped when the last reference to it is gone
        self.whole = ffi.from_buffer(self.memory)
        address = int(ffi.cast("uintptr_t", self.whole))
        assert _libc.mprotect(ctypes.c_void_p(address + room), ctypes.c_size_t(page), 0) == 0
        self.data = ffi.cast("unsigned char *", self.whole) + room - len(data)
        ffi.memmove(self.data, data, len(data))
        self.length = len(data)
        self.view, self.pos = ffi.new("struct nd_view *"), ffi.new("size_t *")

    def next(self) -> int:
        return lib.nd_view_next(self.data, self.length, self.pos, self.view)

    def attr(self, header: int, type_: int) -> bytes | None:
        """An attribute of the message that `next` came to."""
        length = ffi.new("size_t *", 99)
        found = lib.nd_view_attr(self.view, header, type_, length)
        if found == ffi.NULL:
            assert length[0] == 0
            return None
        return bytes(ffi.buffer(found, length[0]))
