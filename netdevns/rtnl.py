"""A minimal rtnetlink client in Python alone: raw AF_NETLINK sockets, opened in a namespace, and one exchange.

The same as csrc/socket.c, message for message and system call for system call; it works without the compiled core.
Layouts: linux/netlink.h; recvmmsg(2) and setns(2) through ctypes, which Python 3.11 does not have.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
from collections.abc import Callable, Mapping
from struct import Struct

from . import uapi, wire
from .errors import EngineError

# A dump's datagram has at most NLMSG_GOODSIZE (8 KiB) unless a bigger buffer was once offered, so all slots have that
# size; single answers are smaller. Eight of them are read by one system call.
SLOTS = 8
SLOT_BYTES = 8192
DUMP_TRIES = 8
ANSWER_TIMEOUT_S = 10
WATCH_SLOTS = 64
WATCH_SLOT_BYTES = 512  # a notification about an address has about 100 bytes
FILE_BYTES = 63  # of a file under /proc/sys/net
SOCKADDR_NL = Struct("=HHII")  # nl_family, nl_pad, nl_pid, nl_groups
SEQ_PORTID = Struct("=II")  # nlmsg_seq, nlmsg_pid: 8 bytes into struct nlmsghdr
TIMEVAL = Struct("@ll")
U64 = Struct("=Q")
MSG_TRUNC = int(socket.MSG_TRUNC)  # an enum's & is dear


class _Iovec(ctypes.Structure):
    _fields_ = (("iov_base", ctypes.c_void_p), ("iov_len", ctypes.c_size_t))


class _Msghdr(ctypes.Structure):
    _fields_ = (
        ("msg_name", ctypes.c_void_p),
        ("msg_namelen", ctypes.c_uint32),
        ("msg_iov", ctypes.POINTER(_Iovec)),
        ("msg_iovlen", ctypes.c_size_t),
        ("msg_control", ctypes.c_void_p),
        ("msg_controllen", ctypes.c_size_t),
        ("msg_flags", ctypes.c_int),
    )


class _Mmsghdr(ctypes.Structure):
    _fields_ = (("msg_hdr", _Msghdr), ("msg_len", ctypes.c_uint))


_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd: int, text: str, failure: int = 0) -> None:
    """Enters a namespace; EngineError with `failure`, or setns's own errno, where that is refused."""
    if _libc.setns(fd, uapi.CLONE_NEWNET):
        raise EngineError(failure or ctypes.get_errno(), text, "open")


def _file(path: str, text: str | None) -> str | int:
    """One read or one write: a file of /proc/sys takes a value whole. Its text, or a negative errno."""
    try:
        fd = os.open(path, (os.O_RDONLY if text is None else os.O_WRONLY) | os.O_CLOEXEC)
        try:
            if text is None:
                return os.read(fd, FILE_BYTES).decode()
            os.write(fd, text.encode())
            return text
        finally:
            uapi.close(fd)
    except OSError as e:
        return -(e.errno or errno.EIO)


def _open_here(files: Mapping[str, str | None], where: str) -> tuple[socket.socket, dict[str, str | int]]:
    try:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)  # 0: NETLINK_ROUTE
    except OSError as e:
        raise EngineError(e.errno or errno.EIO, f"cannot open a NETLINK_ROUTE socket{where}", "open") from None
    return made, {path: _file(path, text) for path, text in files.items()}


def _open_there(netns_fd: int, files: Mapping[str, str | None]) -> tuple[socket.socket, dict[str, str | int]]:
    """The one function that leaves the calling thread's namespace, signals blocked meanwhile.

    A handler of Python's can still run in between, for a signal that came before or to another thread, and raise: the
    way back is a `finally`, and Python looks for such handlers only after the call that is in it.
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
        # Tried before it is needed: who may enter the other namespace need not have the right to return.
        _setns(home, "setns into this thread's own namespace, the way back, was refused")
        try:
            _setns(netns_fd, "setns into the namespace was refused")
            made = _open_here(files, " in the namespace")
        finally:
            text = "setns back failed: this thread is in the wrong network namespace and must end"
            _setns(home, text, errno.ENOTRECOVERABLE)
    except BaseException:
        if made:
            uapi.close(made[0].detach())
        raise
    finally:
        uapi.close(home)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return made


class _Burst:
    """Memory for as many datagrams as one recvmmsg(2) reads."""

    def __init__(self, slots: int, slot_bytes: int) -> None:
        self.slots = slots
        self._bytes = slot_bytes
        self._data = ctypes.create_string_buffer(slots * slot_bytes)
        self._from = ctypes.create_string_buffer(slots * SOCKADDR_NL.size)
        self._iov = (_Iovec * slots)()
        self._headers = (_Mmsghdr * slots)()
        for i, (iov, slot) in enumerate(zip(self._iov, self._headers, strict=True)):
            iov.iov_base = ctypes.addressof(self._data) + i * slot_bytes
            iov.iov_len = slot_bytes
            slot.msg_hdr.msg_iov = ctypes.pointer(iov)
            slot.msg_hdr.msg_iovlen = 1
            slot.msg_hdr.msg_name = ctypes.addressof(self._from) + i * SOCKADDR_NL.size

    def receive(self, fd: int, flags: int) -> int:
        """How many came, or a negative errno. Signals do not end it."""
        for slot in self._headers:
            slot.msg_hdr.msg_namelen = SOCKADDR_NL.size
        while True:
            n = int(_libc.recvmmsg(fd, self._headers, self.slots, flags, None))
            if n >= 0 or ctypes.get_errno() != errno.EINTR:
                return n if n >= 0 else -ctypes.get_errno()

    def datagram(self, i: int) -> tuple[int, int, memoryview]:
        """The sender's portid (the kernel's: 0), msg_flags, and what it sent."""
        header, length = self._headers[i].msg_hdr, self._headers[i].msg_len
        family, _, pid, _ = SOCKADDR_NL.unpack_from(self._from, i * SOCKADDR_NL.size)
        is_netlink = header.msg_namelen >= SOCKADDR_NL.size and family == socket.AF_NETLINK
        data = memoryview(self._data).cast("B")[i * self._bytes : i * self._bytes + length]
        return pid if is_netlink else 0, header.msg_flags, data


class Watch:
    """Is told of each change of an address in a namespace from now on; a context manager that ends it.

    Args:
        netns_fd: The namespace; -1 is the calling thread's.
        buffer_bytes: The kernel's room for what was not read yet, about 1 KiB a notification.
    """

    def __init__(self, netns_fd: int, buffer_bytes: int) -> None:
        self._kept: list[bytes] = []
        self._burst = _Burst(WATCH_SLOTS, WATCH_SLOT_BYTES)
        self._socket, _ = _open_there(netns_fd, {}) if netns_fd >= 0 else _open_here({}, "")
        groups = 1 << (uapi.RTNLGRP_IPV4_IFADDR - 1) | 1 << (uapi.RTNLGRP_IPV6_IFADDR - 1)
        try:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, uapi.SO_RCVBUFFORCE, buffer_bytes)
            except OSError:  # without CAP_NET_ADMIN over the machine: what net.core.rmem_max allows
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            self._socket.bind((0, groups))
        except OSError as e:
            self.close()
            text = "cannot subscribe to notifications about addresses"
            raise EngineError(e.errno or errno.EIO, text, "watch") from None

    def drain(self) -> None:
        """Reads what came so far, without waiting; ENOBUFS: the kernel dropped some of it."""
        n = WATCH_SLOTS
        while n == WATCH_SLOTS:  # fewer: there was no more; an overflow is told before anything else is read
            n = self._burst.receive(self._socket.fileno(), socket.MSG_DONTWAIT)
            if n == -errno.EAGAIN:
                return
            if n < 0:
                dropped = "the kernel dropped notifications about addresses"
                raise EngineError(-n, dropped if n == -errno.ENOBUFS else "recvmmsg failed", "watch")
            for i in range(n):
                portid, flags, data = self._burst.datagram(i)
                if flags & MSG_TRUNC:
                    raise EngineError(errno.EMSGSIZE, "a notification of more than 512 bytes", "watch")
                if not portid:
                    self._kept += [m.padded() for m in wire.messages(data)]

    @property
    def told(self) -> memoryview:
        """All messages that were read."""
        return memoryview(b"".join(self._kept))

    def close(self) -> None:
        uapi.close(self._socket.detach())


class Socket:
    """A NETLINK_ROUTE socket in a namespace; a context manager that closes it.

    Args:
        netns_fd: The namespace; -1 is the calling thread's.
        files: Small files under /proc/sys/net: read inside, or, where a text is given, written. `files` then maps each
            to its text, or to a negative errno.

    Raises:
        EngineError: Nothing is left open. ENOTRECOVERABLE: the calling thread is in the wrong namespace and must end.
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
            # The kernel's choice: the process id is only its first try (probe acks.echo.second-socket).
            portid = made.getsockname()[0]
        except OSError as e:
            uapi.close(made.detach())
            raise EngineError(e.errno or errno.EIO, "cannot set up a NETLINK_ROUTE socket", "open") from None
        self._use(made, portid)

    def _use(self, made: socket.socket, portid: int) -> None:
        self._socket = made
        self.portid = portid
        self.seq = 0  # of the message sent last
        self._burst = _Burst(SLOTS, SLOT_BYTES)

    @property
    def fd(self) -> int:
        return self._socket.fileno()

    @property
    def cookie(self) -> int:
        """SO_NETNS_COOKIE: which namespace this is; 0 before Linux 5.14 (probe netns.cookie.same)."""
        try:
            return int(U64.unpack(self._socket.getsockopt(socket.SOL_SOCKET, uapi.SO_NETNS_COOKIE, U64.size))[0])
        except OSError:
            return 0

    def query(
        self,
        request: bytes,
        size: int = 0,  # noqa: ARG002  # a hint that is not needed
        keeps: Callable[[wire.Message], bool] | None = None,
    ) -> tuple[int, bytes]:
        """Sends requests that change nothing; returns the seq of the first and all answers, refusals included.

        `keeps`: which of the answers.
        """
        exchange = self._exchange(request, keep=True, keeps=keeps)
        return exchange.first, b"".join(exchange.kept)

    def command(self, request: bytes) -> None:
        """Sends requests; raises EngineError for the first that is refused. Ask for an ack on the last."""
        refusal = self._exchange(request, keep=False).refusal
        if refusal:
            raise refusal

    def _exchange(
        self, request: bytes, *, keep: bool, keeps: Callable[[wire.Message], bool] | None = None
    ) -> _Exchange:
        """Sends all messages in one datagram and reads until the last is answered; an interrupted dump, again."""
        for _ in range(DUMP_TRIES):
            exchange = _Exchange(self, request, keep, keeps)
            self._send(exchange.request)
            while not exchange.done:
                for datagram in self._receive():
                    exchange.take(datagram)
            # A refusal ends it: that of a get in front of the dump would be the same again.
            if exchange.refusal or not exchange.interrupted:
                return exchange
        raise EngineError(errno.EAGAIN, "the dump was interrupted each time by changes", "exchange")

    def _send(self, request: bytearray) -> None:
        try:
            self._socket.send(request)
        except OSError as e:
            raise EngineError(e.errno or errno.EIO, "send failed", "exchange") from None

    def _receive(self) -> list[memoryview]:
        """A burst. The kernel's address has nl_pid 0; a datagram of another process is not an answer."""
        n = self._burst.receive(self.fd, uapi.MSG_WAITFORONE)
        if n < 0:
            code = -n
            text = {errno.ENOBUFS: "the kernel dropped replies", errno.EAGAIN: "no answer from the kernel"}
            code_said = errno.ETIMEDOUT if code == errno.EAGAIN else code
            raise EngineError(code_said, text.get(code, "recvmmsg failed"), "exchange")
        return [datagram for i in range(n) if (datagram := self._datagram(i)) is not None]

    def _datagram(self, i: int) -> memoryview | None:
        portid, flags, data = self._burst.datagram(i)
        if portid:
            return None
        if not len(data):
            raise EngineError(errno.EBADMSG, "an empty datagram", "exchange")
        if flags & MSG_TRUNC:
            raise EngineError(errno.EMSGSIZE, "an answer of more than 8 KiB", "exchange")
        return data

    def close(self) -> None:
        uapi.close(self._socket.detach())

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Exchange:
    """One request, numbered, and what was answered so far."""

    def __init__(
        self, sock: Socket, request: bytes, keep: bool, keeps: Callable[[wire.Message], bool] | None = None
    ) -> None:
        self.keeps = keeps
        self.portid = sock.portid
        self.first = (sock.seq + 1) & 0xFFFFFFFF
        self.request = bytearray(request)
        self.keep = keep
        self.kept: list[bytes] = []
        self.refusal: EngineError | None = None
        self.interrupted = self.done = self.last_acked = False
        self.last = 0  # of its messages, counted from 0
        at = 0
        try:
            for number, message in enumerate(wire.messages(request)):
                sock.seq = (sock.seq + 1) & 0xFFFFFFFF
                SEQ_PORTID.pack_into(self.request, at + 8, sock.seq, sock.portid)
                self.last, self.last_acked = number, bool(message.flags & uapi.NLM_F_ACK)
                at += (16 + len(message.body) + 3) & ~3
        except wire.Malformed:
            at = 0
        if not at:
            raise EngineError(errno.EINVAL, "not a netlink request", "exchange")

    def take(self, datagram: memoryview) -> None:
        """A datagram. Only what answers this request counts: its seq, our portid (probe acks.echo.pid-zero)."""
        try:
            for message in wire.messages(datagram):
                number = (message.seq - self.first) & 0xFFFFFFFF
                if message.portid == self.portid and number <= self.last:
                    self._answer(message, number)
        except wire.Malformed as e:
            raise EngineError(errno.EBADMSG, str(e), "exchange") from None

    def _answer(self, message: wire.Message, number: int) -> None:
        """One message of the kernel's: an answer to the request's message of that number."""
        code, text = 0, ""
        self.interrupted |= bool(message.flags & uapi.NLM_F_DUMP_INTR)
        if message.type == uapi.NLMSG_NOOP:
            return
        if message.type == uapi.NLMSG_OVERRUN:
            raise EngineError(errno.ENOBUFS, "the kernel reports lost replies", "exchange")
        if message.type == uapi.NLMSG_ERROR:
            code, text = wire.error(message)
        elif message.type == uapi.NLMSG_DONE and len(message.body) >= 4:
            code, text = -wire.S32.unpack_from(message.body)[0], "the dump was ended by an error"
            if code > 0 and self.keep:
                raise EngineError(code, text, "exchange")
        if code > 0 and not self.keep and not self.refusal:
            self.refusal = EngineError(code, text, "exchange", number)
        ends = message.type in (uapi.NLMSG_ERROR, uapi.NLMSG_DONE)
        if number == self.last and (ends or not (message.flags & uapi.NLM_F_MULTI or self.last_acked)):
            self.done = True
        if not self.keep or message.type == uapi.NLMSG_DONE:
            return
        if self.keeps is None or self.keeps(message):
            self.kept.append(message.padded())
