"""The native engine: csrc/ through cffi. Thin: buffers are made and copied here, nothing is decided.

cffi releases the GIL around every call. Semantics and errors: csrc/netdevns-core.h.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterator, Mapping

from .._ffi import ffi, lib
from ..netlink import wire
from ..netlink.error import EngineError
from .numbers import Read

TYPE_CHECKING = False
if TYPE_CHECKING:  # the hook path must not pay for typing
    from typing import Any

STEPS = ("", "open", "exchange", "snapshot", "move", "replay", "verify", "undo", "watch")
DEVICE_BYTES = ffi.sizeof("struct nd_dev")  # to begin with: grows on demand
MEMORY_BYTES = 16384  # a link and about 40 addresses, before an exchange has told how many there are
# What of it is not used is not touched. A dump of 15,000 addresses fits in, or of their routes; less than 2 MiB, which
# some systems would make one huge page of, and clear it.
REPLY_BYTES = 1536 << 10
TOLD_BYTES = 131072
ADDRESS_BYTES = 24  # the least that a message about one has: nlmsghdr, ifaddrmsg
NAME_BYTES = lib.ND_NAME_SIZE
# Memory that is not set to zero first: what is not used is then never touched, which spares its page faults.
new_raw = ffi.new_allocator(should_clear_after_alloc=False)


def _failure(err: Any) -> EngineError:
    text = ffi.string(err.text).decode("utf-8", "replace")
    return EngineError(-err.code, text, STEPS[err.step], err.index)


class Socket:
    """A NETLINK_ROUTE socket in a namespace; a context manager that closes it.

    Args:
        netns_fd: The namespace; -1 is the calling thread's.
        files: Small files under /proc/sys/net: read inside, or, where a text is given, written. `files` then maps each
            to its text, or to a negative errno.

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
            raise _failure(self._err)
        self.files = {p: f.code or ffi.string(f.text).decode() for p, f in zip(files, wanted, strict=True)}

    @property
    def fd(self) -> int:
        return int(self.raw.fd)

    @property
    def portid(self) -> int:
        return int(self.raw.portid)

    @property
    def cookie(self) -> int:
        """SO_NETNS_COOKIE: which namespace this is; 0 before Linux 5.14."""
        return int(lib.nd_sock_cookie(self.raw))

    def query(
        self, request: bytes, size: int = 0, about: Collection[int] | None = None, names: Collection[bytes] = ()
    ) -> tuple[int, bytes]:
        """Sends requests that change nothing; returns the seq of the first and all answers, refusals included.

        Repeated with more room where the answers do not fit, so never for a request that changes something.
        `about`: only what nd_filter_keeps for these ifindexes and names.
        """
        reply, room = self._ask(request, self._room, size, about, names)
        return reply.first_seq, bytes(ffi.buffer(room, reply.used))

    def read(
        self, request: bytes, size: int = 0, about: Collection[int] | None = None, names: Collection[bytes] = ()
    ) -> memoryview:
        """The same answers, not copied: until the next exchange, or for good, in memory of its own, with a `size`."""
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
                raise _failure(self._err)
            size = reply.need + reply.need // 4
            del data

    def command(self, request: bytes) -> None:
        """Sends requests; raises EngineError for the first that is refused. Ask for an ack on the last."""
        message, data = self._message(request)
        if lib.nd_sock_exchange(self.raw, message, ffi.NULL, self._err):
            raise _failure(self._err)
        del data

    @staticmethod
    def _message(request: bytes) -> tuple[Any, Any]:
        message = ffi.new("struct nd_msg *")
        data = ffi.new("unsigned char[]", request)  # a copy: the core numbers the messages; and its trailing NUL
        message.data, message.size, message.used = data, len(request), len(request)
        return message, data

    def close(self) -> None:
        lib.nd_sock_close(self.raw)

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Watch:
    """Is told of each change of an address in a namespace from now on; a context manager that ends it.

    Args:
        netns_fd: The namespace; -1 is the calling thread's.
        buffer_bytes: The kernel's room for what was not read yet, about 1 KiB a notification.
    """

    __slots__ = ("_err", "_memory", "_told", "raw")

    def __init__(self, netns_fd: int, buffer_bytes: int) -> None:
        self.raw = ffi.new("struct nd_sock *")
        self._err = ffi.new("struct nd_err *")
        self._told = ffi.new("struct nd_buf *")
        self._memory = new_raw("unsigned char[]", TOLD_BYTES)
        self._told.data, self._told.size = self._memory, TOLD_BYTES
        if lib.nd_sock_subscribe(self.raw, netns_fd, buffer_bytes, self._err):
            raise _failure(self._err)

    def _grow(self, size: int) -> None:
        memory = new_raw("unsigned char[]", size)
        ffi.memmove(memory, self._memory, self._told.used)
        self._memory = memory
        self._told.data, self._told.size = memory, size

    def drain(self) -> None:
        """Reads what came so far, without waiting; ENOBUFS: the kernel dropped some of it."""
        while lib.nd_sock_drain(self.raw, self._told, self._err):
            if self._err.code != -errno.EOVERFLOW or self._told.need <= self._told.size:
                raise _failure(self._err)
            self._grow(self._told.need + self._told.need // 2)

    @property
    def told(self) -> memoryview:
        """All RTM_NEWADDR and RTM_DELADDR messages that were read; not a copy, so until the next `drain`."""
        return memoryview(ffi.buffer(self._memory, self._told.used))

    def close(self) -> None:
        lib.nd_sock_close(self.raw)


def spans(data: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """What wire.spans finds, all at once. Raises wire.Malformed before the first, where any length lies."""
    return _spans(lib.nd_spans, data)


def foreign_routes(dumped: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """The same of routes that the kernel did not make with an address, and of default routes."""
    return _spans(lib.nd_route_spans, dumped)


def _spans(find: Callable[..., int], data: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    numbers = new_raw("uint32_t[]", 3 * (len(data) // wire.NLMSGHDR.size))
    with ffi.from_buffer(data) as view:  # see address_runs
        found = find(view, len(data), numbers, len(numbers) // 3)
    if found < 0:
        raise wire.Malformed("a netlink message with a wrong length")
    each = iter(ffi.unpack(numbers, 3 * found))
    return zip(each, each, each, strict=True)


def address_runs(told: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
    """Messages about addresses that follow one another and are of one device: its ifindex, and all of them.

    Raises:
        EngineError: EBADMSG: the length of a message lies.
    """
    view = memoryview(told)
    runs = new_raw("struct nd_run[]", len(view) // ADDRESS_BYTES)
    # Let go of at once, and not with the last traceback that knows of it: CPython before 3.11.8 and 3.12.2 crashes when
    # a memoryview that somebody holds is collected with a cycle (gh-77894).
    with ffi.from_buffer(told) as data:
        found = lib.nd_addr_runs(data, len(view), runs, len(runs))
    if found < 0:
        raise EngineError(-found, "a netlink message with a wrong length", "exchange")
    for run in runs[0:found]:
        yield run.ifindex, view[run.at : run.at + run.len]


class Device:
    """One device on its way: the steps of csrc/netdevns-core.h.

    Args:
        ifname: Its name in the source.
        wanted: Its name in the target, or a template with one %d.
        ifindex: In the source.
    """

    __slots__ = ("_arrived", "_err", "_memory", "raw")

    def __init__(self, ifname: bytes, wanted: bytes, ifindex: int) -> None:
        self._err = ffi.new("struct nd_err *")
        self._memory = new_raw("unsigned char[]", DEVICE_BYTES)
        made = ffi.new("struct nd_dev **")
        if lib.nd_dev_init(made, self._memory, DEVICE_BYTES, ifname, wanted, self._err):
            raise _failure(self._err)
        self.raw = made[0]
        self.raw.ifindex = ifindex
        self._arrived: bytes | memoryview = b""

    def _step(self, call: Callable[..., int], *args: Any) -> None:
        while call(self.raw, *args, self._err):
            if self._err.code != -errno.EOVERFLOW or self.raw.need <= self.raw.size:
                raise _failure(self._err)
            self._grow(self.raw.need)

    def _grow(self, size: int) -> None:
        memory = new_raw("unsigned char[]", size)
        ffi.memmove(memory, self._memory, self.raw.size)
        self._memory = memory
        self.raw = ffi.cast("struct nd_dev *", memory)
        lib.nd_dev_resize(self.raw, size)

    def load(self, link: bytes, addresses: bytes) -> None:
        """A snapshot out of a record: RTM_NEWLINK, and RTM_NEWADDR messages."""
        self._step(lib.nd_dev_load, link, len(link), addresses, len(addresses))

    def find(self, source: Socket, target: Socket) -> None:
        """Looks where it is: `place`, and its name and ifindex there."""
        self._step(lib.nd_dev_find, source.raw, target.raw)

    def snapshot(self, source: Socket, read: Read | None = None) -> None:
        """Records what the kernel drops; out of what was just `read` in the source, or by an exchange."""
        if read is None:
            if self.raw.size < MEMORY_BYTES:
                self._grow(MEMORY_BYTES)
            self._step(lib.nd_dev_snapshot, source.raw)
        else:
            with ffi.from_buffer(read[1]) as addresses:  # see address_runs
                self._step(lib.nd_dev_take, read[0], len(read[0]), addresses, len(read[1]))

    def late(self, told: bytes | memoryview) -> None:
        """Brings the snapshot up to date with messages of a Watch."""
        with ffi.from_buffer(told) as data:
            self._step(lib.nd_dev_catch_up, data, len(told))

    @property
    def was_late(self) -> bool:
        """Whether `late` found what the snapshot had not, or had otherwise."""
        return bool(self.raw.late)

    @property
    def unprotected(self) -> bytes:
        """The snapshot's RTM_NEWADDR messages of addresses that the runtime-spec does not protect."""
        room = new_raw("unsigned char[]", self.raw.addrs_len)
        used = lib.nd_addr_unprotected(self._memory + self.raw.addrs, self.raw.addrs_len, room)
        return bytes(ffi.buffer(room, used))

    def move(self, source: Socket, target: Socket, target_fd: int) -> None:
        self._step(lib.nd_dev_move, source.raw, target.raw, target_fd)

    def up_and_replay(self, target: Socket) -> None:
        self._step(lib.nd_dev_up_and_replay, target.raw)

    def verify(self, target: Socket, read: Read | None = None) -> None:
        """Compares what arrived: what was just `read` in the target, or by an exchange."""
        if read is None:
            self._step(lib.nd_dev_verify, target.raw)
            self._arrived = self._bytes(self.raw.back, self.raw.back_len)
        else:
            with ffi.from_buffer(read[1]) as addresses:
                self._step(lib.nd_dev_compare, read[0], len(read[0]), addresses, len(read[1]))
            self._arrived = read[1]

    def undo(self, source: Socket, target: Socket, source_fd: int, parts: int) -> None:
        room = self.raw.addrs + 2 * self.raw.addrs_len + MEMORY_BYTES  # it reads back what is there: in one go
        if self.raw.link_len and self.raw.size < room:
            self._grow(room)
        self._step(lib.nd_dev_undo, source.raw, target.raw, source_fd, parts)

    def ask_ifindex(self, ifindex: int, *, unsure: bool) -> None:
        """Which ifindex to ask for in the target; `unsure`: the kernel may choose another."""
        self.raw.target_ifindex = ifindex
        self.raw.ifindex_unsure = unsure

    @property
    def place(self) -> int:
        return int(self.raw.place)

    @property
    def name(self) -> bytes:
        """The name in the target, as read back; empty before it was there."""
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

    def _bytes(self, at: int, length: int) -> bytes:
        return bytes(ffi.buffer(self._memory + at, length))

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
    def addresses_size(self) -> int:
        """Its length."""
        return int(self.raw.addrs_len)

    @property
    def arrived(self) -> bytes | memoryview:
        """The RTM_NEWADDR messages that verify compared, perhaps with the RTM_NEWLINK in front."""
        return self._arrived
