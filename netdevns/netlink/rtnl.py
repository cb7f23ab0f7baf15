"""A minimal rtnetlink client in pure Python: raw AF_NETLINK sockets, opened in a namespace, and one exchange.

It makes the same messages and system calls as csrc/socket.c, and works without the compiled core.
Layouts: linux/netlink.h; setns(2) through ctypes, which Python 3.11 does not have.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from struct import Struct

from .. import descriptors
from . import uapi, wire
from .error import EngineError
from .recvmmsg import MSG_TRUNC, Burst

# A slot receives one datagram. The kernel's dump datagrams have at most NLMSG_GOODSIZE (8 KiB), unless a larger receive
# buffer was once offered. One link can be longer (alternative names). Eight slots are filled by one system call.
SLOT_BYTES = 8192
MEMORY_BYTES = 65536
TRIES = 8
DRAIN_MAX = 100_000  # datagrams
ANSWER_TIMEOUT_S = 10
WATCH_SLOTS = 64
WATCH_SLOT_BYTES = 1024  # a notification about an address has about 100 bytes
FILE_BYTES = 63  # of a file under /proc/sys/net
SEQ_PORTID = Struct("=II")  # nlmsg_seq, nlmsg_pid: 8 bytes into struct nlmsghdr
TIMEVAL = Struct("@ll")
U64 = Struct("=Q")
# Which messages of a type are kept (None: all). Arguments: the datagram, and where the message's body begins and ends.
Rule = Callable[[bytes, int, int], bool] | None
Rules = Callable[[int], Rule]

_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd: int, text: str, failure: int = 0) -> None:
    """Enters a namespace. Raises EngineError with `failure`, or setns's errno, where that is refused."""
    if _libc.setns(fd, uapi.CLONE_NEWNET):
        raise EngineError(failure or ctypes.get_errno(), text, "open")


def _file(path: str, text: str | None) -> str | int:
    """Reads or writes a file of /proc/sys in one call, as it requires. Returns its text, or a negative errno."""
    try:
        fd = os.open(path, (os.O_RDONLY if text is None else os.O_WRONLY) | os.O_CLOEXEC)
        try:
            if text is None:
                return os.read(fd, FILE_BYTES).decode()
            os.write(fd, text.encode())
            return text
        finally:
            descriptors.close(fd)
    except OSError as e:
        return -(e.errno or errno.EIO)


def _open_here(files: Mapping[str, str | None], where: str) -> tuple[socket.socket, dict[str, str | int]]:
    try:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)  # 0: NETLINK_ROUTE
    except OSError as e:
        raise EngineError(e.errno or errno.EIO, f"cannot open a NETLINK_ROUTE socket{where}", "open") from None
    return made, {path: _file(path, text) for path, text in files.items()}


def _open_there(netns_fd: int, files: Mapping[str, str | None]) -> tuple[socket.socket, dict[str, str | int]]:
    """The only function that leaves the calling thread's namespace; signals are blocked meanwhile.

    A Python handler can still run in between, for an earlier signal or one to another thread, and raise. So the way
    back is in a `finally`: Python runs such handlers only after the first call in it.
    """
    try:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        text = "cannot open /proc/thread-self/ns/net, the way back"
        raise EngineError(e.errno or errno.EIO, text, "open") from None
    made = None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        # Tried before it is needed: the right to enter the other namespace does not imply the right to return.
        _setns(home, "setns into this thread's own namespace, the way back, was refused")
        try:
            _setns(netns_fd, "setns into the namespace was refused")
            made = _open_here(files, " in the namespace")
        finally:
            text = "setns back failed: this thread is in the wrong network namespace and must end"
            _setns(home, text, errno.ENOTRECOVERABLE)
    except BaseException:
        if made:
            descriptors.close(made[0].detach())
        raise
    finally:
        descriptors.close(home)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return made


def _append(kept: bytearray, data: bytes, at: int, end: int) -> None:
    """Appends messages, the last one padded to NLMSG_ALIGN."""
    kept += data[at:end]
    if end & 3:
        kept += bytes(-end & 3)


class Watch:
    """Subscribes to address notifications of a namespace; a context manager that ends the subscription.

    Args:
        netns_fd: The namespace; -1: the calling thread's.
        buffer_bytes: The kernel's buffer for unread notifications, about 1 KiB each.
    """

    def __init__(self, netns_fd: int, buffer_bytes: int) -> None:
        self._notifications = bytearray()
        self._burst = Burst(WATCH_SLOTS, WATCH_SLOT_BYTES)
        self._socket, _ = _open_there(netns_fd, {}) if netns_fd >= 0 else _open_here({}, "")
        groups = 1 << (uapi.RTNLGRP_IPV4_IFADDR - 1) | 1 << (uapi.RTNLGRP_IPV6_IFADDR - 1)
        try:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, uapi.SO_RCVBUFFORCE, buffer_bytes)
            except OSError:  # without CAP_NET_ADMIN in the initial user namespace: at most net.core.rmem_max
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            self._socket.bind((0, groups))
        except OSError as e:
            self.close()
            text = "cannot subscribe to notifications about addresses"
            raise EngineError(e.errno or errno.EIO, text, "watch") from None

    def drain(self) -> None:
        """Reads all pending notifications, without waiting; ENOBUFS: the kernel dropped some."""
        n = WATCH_SLOTS
        while n == WATCH_SLOTS:  # fewer: no more are pending; an overflow is reported before any data
            n = self._burst.receive(self._socket.fileno(), socket.MSG_DONTWAIT)
            if n == -errno.EAGAIN:
                return
            if n < 0:
                dropped = "the kernel dropped notifications about addresses"
                raise EngineError(-n, dropped if n == -errno.ENOBUFS else "recvmmsg failed", "watch")
            for portid, length, data in self._burst.datagrams(n):
                if length > len(data):
                    # It cannot be read again.
                    raise EngineError(errno.ENOBUFS, "a notification of more than 1 KiB was lost", "watch")
                if not portid:
                    for _, at, end in wire.spans(data):
                        _append(self._notifications, data, at - 16, end)

    @property
    def notifications(self) -> memoryview:
        """All messages read so far; not a copy: release it before the next `drain`."""
        return memoryview(self._notifications)

    def close(self) -> None:
        descriptors.close(self._socket.detach())


class Socket:
    """A NETLINK_ROUTE socket in a namespace; a context manager that closes it.

    Args:
        netns_fd: The namespace; -1: the calling thread's.
        files: Small files under /proc/sys/net to read there, or to write where a text is given. The attribute `files`
            then maps each to its text, or to a negative errno.

    Raises:
        EngineError: Nothing stays open. ENOTRECOVERABLE: the calling thread is in the wrong namespace and must end.
    """

    def __init__(self, netns_fd: int = -1, files: Mapping[str, str | None] | None = None) -> None:
        files = files or {}
        made, self.files = _open_there(netns_fd, files) if netns_fd >= 0 else _open_here(files, "")
        try:
            for option in (uapi.NETLINK_EXT_ACK, uapi.NETLINK_CAP_ACK, uapi.NETLINK_GET_STRICT_CHK):
                try:
                    made.setsockopt(uapi.SOL_NETLINK, option, 1)
                except OSError as e:
                    if e.errno != errno.ENOPROTOOPT:
                        raise
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, TIMEVAL.pack(ANSWER_TIMEOUT_S, 0))
            made.bind((0, 0))
            # The kernel chooses it; only a process's first socket gets its pid (probe acks.echo.second-socket).
            portid = made.getsockname()[0]
        except OSError as e:
            descriptors.close(made.detach())
            raise EngineError(e.errno or errno.EIO, "cannot set up a NETLINK_ROUTE socket", "open") from None
        self._use(made, portid)

    def _use(self, made: socket.socket, portid: int) -> None:
        self._socket = made
        self.portid = portid
        self.seq = 0  # of the last message sent
        self._cut = 0  # bytes of the longest datagram of an exchange that did not fit into a slot
        self._burst = Burst(MEMORY_BYTES // SLOT_BYTES, SLOT_BYTES)

    @property
    def fd(self) -> int:
        return self._socket.fileno()

    @property
    def cookie(self) -> int:
        """SO_NETNS_COOKIE, the namespace's identity; 0 before Linux 5.14 (probe netns.cookie.same)."""
        try:
            return int(U64.unpack(self._socket.getsockopt(socket.SOL_SOCKET, uapi.SO_NETNS_COOKIE, U64.size))[0])
        except OSError:
            return 0

    def query(self, request: bytes) -> tuple[int, bytes]:
        """Sends requests that change nothing; returns the first one's seq and all replies, errors included."""
        exchange = self._exchange(request, keep=True)
        return exchange.first, bytes(exchange.kept)

    def command(self, request: bytes) -> None:
        """Sends requests, the last with NLM_F_ACK; raises EngineError for the first that is refused."""
        refusal = self._exchange(request, keep=False).refusal
        if refusal:
            raise refusal

    def _exchange(self, request: bytes, *, keep: bool, keeps: Rules | None = None) -> _Exchange:
        """Sends all messages in one datagram and reads until the last is answered.

        Repeated where a dump was interrupted; and, with longer slots, where a reply did not fit and the request changes
        nothing: it consists of RTM_GET* only, or its replies are kept (`query`). `keeps`: the replies to keep, by type.
        """
        for _ in range(TRIES):
            exchange = _Exchange(self, request, keep, keeps)
            self._send(exchange.request)
            self._cut = 0
            while not exchange.done and not self._cut:
                for datagram in self._receive():
                    exchange.take(datagram)
            if self._cut:
                self._widen()
                if not keep and not _is_query(request):
                    text = "an answer that is too long: look whether it was done"
                    raise EngineError(errno.EMSGSIZE, text, "exchange")
            # An error ends it: a get in front of the dump would fail again.
            elif exchange.refusal or not exchange.interrupted:
                return exchange
        raise EngineError(errno.EAGAIN, "the dump was interrupted each time by changes", "exchange")

    def _widen(self) -> None:
        """Enlarges the slots for the life of this socket: the kernel's dump datagrams grow with the buffer offered."""
        size = SLOT_BYTES
        while size < self._cut and size < MEMORY_BYTES:
            size *= 2
        size = size if size >= self._cut else (self._cut + 3) & ~3
        if size > self._burst.slot_bytes:
            self._burst = Burst(MEMORY_BYTES // size or 1, size)
        self._drain()

    def _drain(self) -> None:
        """Drops the replies to an abandoned request: its dump must end before the next can begin."""
        for _ in range(DRAIN_MAX):
            try:
                self._socket.recv(1, socket.MSG_DONTWAIT | MSG_TRUNC)
            except OSError as e:
                if e.errno != errno.ENOBUFS:
                    return

    def _send(self, request: bytearray) -> None:
        try:
            self._socket.send(request)
        except OSError as e:
            raise EngineError(e.errno or errno.EIO, "send failed", "exchange") from None

    def _receive(self) -> Iterator[bytes]:
        """The datagrams of one recvmmsg. Only the kernel (nl_pid 0) answers; those of other processes are dropped."""
        n = self._burst.receive(self.fd, uapi.MSG_WAITFORONE | MSG_TRUNC)
        if n < 0:
            code = -n
            if code == errno.ENOBUFS:
                self._drain()
            text = {errno.ENOBUFS: "the kernel dropped replies", errno.EAGAIN: "no answer from the kernel"}
            code_said = errno.ETIMEDOUT if code == errno.EAGAIN else code
            raise EngineError(code_said, text.get(code, "recvmmsg failed"), "exchange")
        for portid, length, data in self._burst.datagrams(n):
            if portid:
                continue
            if not length:
                raise EngineError(errno.EBADMSG, "an empty datagram", "exchange")
            if length > len(data):
                self._cut = max(self._cut, length)
            else:
                yield data

    def close(self) -> None:
        descriptors.close(self._socket.detach())

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _is_query(request: bytes) -> bool:
    """Whether all messages are RTM_GET*; the kernel tests the same bits (rtnetlink_rcv_msg)."""
    get = uapi.RTM_GETLINK & 3
    return all(type_ >= uapi.NLMSG_MIN_TYPE and type_ & 3 == get for type_, _, _ in wire.spans(request))


class _Exchange:
    """One request with its seqs, and the replies so far."""

    def __init__(self, sock: Socket, request: bytes, keep: bool, keeps: Rules | None = None) -> None:
        self.keeps = keeps
        self.portid = sock.portid
        self.first = (sock.seq + 1) & 0xFFFFFFFF
        self.request = bytearray(request)
        self.keep = keep
        self.kept = bytearray()
        self.refusal: EngineError | None = None
        self.interrupted = self.done = False
        self.last = -1  # of its messages, counted from 0
        begin = 0
        try:
            for _, body, _ in wire.spans(request):
                sock.seq = (sock.seq + 1) & 0xFFFFFFFF
                SEQ_PORTID.pack_into(self.request, body - 8, sock.seq, sock.portid)
                self.last, begin = self.last + 1, body - 16
        except wire.Malformed:
            self.last = -1
        if self.last < 0:
            raise EngineError(errno.EINVAL, "not a netlink request", "exchange")
        self.last_acked = bool(wire.NLMSGHDR.unpack_from(request, begin)[2] & uapi.NLM_F_ACK)

    def take(self, datagram: bytes) -> None:
        """Takes a datagram's replies to this request, by seq and portid (probe acks.echo.pid-zero); drops the rest."""
        known = b""  # type, flags, seq and portid of messages within a dump: a fast path, as there are thousands
        rule = None  # for these
        begin = end = 0  # of the run that is kept but not appended yet
        try:
            for type_, body, stop in wire.spans(datagram):
                head = datagram[body - 12 : body]
                if head != known:
                    is_kept = self._answer(wire.Message(memoryview(datagram)[body - 16 : stop]))
                    if not is_kept:
                        continue
                    known, rule = head if self._is_in_a_dump(type_, head) else b"", self.keeps and self.keeps(type_)
                if rule is not None and not rule(datagram, body, stop):
                    continue
                if end != body - 16 or end & 3:
                    _append(self.kept, datagram, begin, end)
                    begin = body - 16
                end = stop
        except wire.Malformed as e:
            raise EngineError(errno.EBADMSG, str(e), "exchange") from None
        _append(self.kept, datagram, begin, end)

    @staticmethod
    def _is_in_a_dump(type_: int, head: bytes) -> bool:
        """Whether it is an ordinary message within a dump, neither its end nor an error."""
        flags = int.from_bytes(head[2:4], sys.byteorder)
        is_multi = flags & (uapi.NLM_F_MULTI | uapi.NLM_F_DUMP_INTR) == uapi.NLM_F_MULTI
        return is_multi and type_ >= uapi.NLMSG_MIN_TYPE

    def _answer(self, message: wire.Message) -> bool:
        """Handles one message; returns whether it answers this request and is kept, unless `keeps` drops it."""
        number = (message.seq - self.first) & 0xFFFFFFFF  # of the message that it answers
        if message.portid != self.portid or number > self.last:
            return False
        code, text = 0, ""
        self.interrupted |= bool(message.flags & uapi.NLM_F_DUMP_INTR)
        if message.type == uapi.NLMSG_NOOP:
            return False
        if message.type == uapi.NLMSG_OVERRUN:
            raise EngineError(errno.ENOBUFS, "the kernel reports lost replies", "exchange")
        if message.type == uapi.NLMSG_ERROR:
            code = wire.error_code(message)
            text = wire.error(message)[1] if code else ""
        elif message.type == uapi.NLMSG_DONE and len(message.body) >= 4:
            code, text = -wire.S32.unpack_from(message.body)[0], "the dump was ended by an error"
            if code > 0 and self.keep:
                raise EngineError(code, text, "exchange")
        if code > 0 and not self.keep and not self.refusal:
            self.refusal = EngineError(code, text, "exchange", number)
        ends = message.type in (uapi.NLMSG_ERROR, uapi.NLMSG_DONE)
        if number == self.last and (ends or not (message.flags & uapi.NLM_F_MULTI or self.last_acked)):
            self.done = True
        return self.keep and message.type != uapi.NLMSG_DONE
