"""Wraps the core's sockets: csrc/socket.c, exchange.c, notify.c. Semantics and errors: csrc/netdevns-core.h."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Mapping
from typing import Any

from ..._ffi import ffi, lib
from .memory import failure, new_raw

# For a dump of 15,000 addresses, or of their routes; unused pages are never touched. Below 2 MiB, where some systems
# would allocate and clear a huge page.
REPLY_BYTES = 1536 << 10
NAME_BYTES = lib.ND_NAME_SIZE


class Socket:
    """A NETLINK_ROUTE socket in a namespace; a context manager that closes it.

    Args:
        netns_fd: The namespace; -1: the calling thread's.
        files: Small files under /proc/sys/net to read there, or to write where a text is given. The attribute `files`
            then maps each to its text, or to a negative errno.

    Raises:
        EngineError: As nd_sock_open. ENOTRECOVERABLE: the calling thread is in the wrong namespace and must end.
    """

    __slots__ = ("_err", "_room", "files", "raw")

    def __init__(self, netns_fd: int = -1, files: Mapping[str, str | None] | None = None) -> None:
        self.raw = ffi.new("struct nd_sock *")
        self._err = ffi.new("struct nd_err *")
        self._room = new_raw("unsigned char[]", REPLY_BYTES)
        files = files or {}
        paths = [ffi.new("char[]", os.fsencode(path)) for path in files]
        wanted = ffi.new("struct nd_file[]", len(paths))
        for file, path, text in zip(wanted, paths, files.values(), strict=True):
            file.path = path
            if text is not None:
                file.write, file.text = 1, text.encode()
        if lib.nd_sock_open(self.raw, netns_fd, wanted, len(paths), self._err):
            raise failure(self._err)
        self.files = {p: f.code or ffi.string(f.text).decode() for p, f in zip(files, wanted, strict=True)}

    @property
    def fd(self) -> int:
        return int(self.raw.fd)

    @property
    def cookie(self) -> int:
        """SO_NETNS_COOKIE, the namespace's identity; 0 before Linux 5.14."""
        return int(lib.nd_sock_cookie(self.raw))

    def query(
        self, request: bytes, size: int = 0, about: Collection[int] | None = None, names: Collection[bytes] = ()
    ) -> tuple[int, bytes]:
        """Sends requests that change nothing; returns the first one's seq and all replies, errors included.

        Repeated with a larger buffer where the replies do not fit, so never for a request that changes something.
        `about`: keeps only messages about these ifindexes and names (nd_filter_keeps).
        """
        reply, room = self._ask(request, self._room, size, about, names)
        return reply.first_seq, bytes(ffi.buffer(room, reply.used))

    def read(
        self, request: bytes, size: int = 0, about: Collection[int] | None = None, names: Collection[bytes] = ()
    ) -> memoryview:
        """The same replies, not copied: valid until the next exchange, or, with a `size`, in memory of their own."""
        room = new_raw("unsigned char[]", size) if size else self._room
        reply, room = self._ask(request, room, 0, about, names)
        return memoryview(ffi.buffer(room, reply.used))

    def _ask(
        self, request: bytes, room: Any, size: int, about: Collection[int] | None, names: Collection[bytes]
    ) -> tuple[Any, Any]:
        reply = ffi.new("struct nd_buf *", {"harmless": 1})
        if about is not None:
            ifindexes = ffi.new("int32_t[]", sorted(about))
            listed = ffi.new("char[]", b"".join(sorted(name.ljust(NAME_BYTES, b"\0") for name in names)))
            only = ffi.new("struct nd_filter *", (ifindexes, len(ifindexes), listed, len(names)))
            reply.filter = only
        while True:
            message, data = self._message(request)
            if size > len(room):
                room = new_raw("unsigned char[]", size)
            reply.data, reply.size, reply.used = room, len(room), 0
            if lib.nd_sock_exchange(self.raw, message, reply, self._err) == 0:
                return reply, room
            if self._err.code != -errno.EOVERFLOW or reply.need <= reply.size:
                raise failure(self._err)
            size = reply.need + reply.need // 4
            del data

    def command(self, request: bytes) -> None:
        """Sends requests, the last with NLM_F_ACK; raises EngineError for the first that is refused."""
        message, data = self._message(request)
        if lib.nd_sock_exchange(self.raw, message, ffi.NULL, self._err):
            raise failure(self._err)
        del data

    @staticmethod
    def _message(request: bytes) -> tuple[Any, Any]:
        message = ffi.new("struct nd_msg *")
        data = ffi.new("unsigned char[]", request)  # a copy with a trailing NUL: the core writes the seqs
        message.data, message.size, message.used = data, len(request), len(request)
        return message, data

    def close(self) -> None:
        lib.nd_sock_close(self.raw)

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Watch:
    """Subscribes to address notifications of a namespace; a context manager that ends the subscription.

    Args:
        netns_fd: The namespace; -1: the calling thread's.
        buffer_bytes: The kernel's buffer for unread notifications, about 1 KiB each.
    """

    __slots__ = ("raw",)

    def __init__(self, netns_fd: int, buffer_bytes: int) -> None:
        self.raw = ffi.new("struct nd_sock *")
        err = ffi.new("struct nd_err *")
        if lib.nd_sock_subscribe(self.raw, netns_fd, buffer_bytes, err):
            raise failure(err)

    def close(self) -> None:
        lib.nd_sock_close(self.raw)
