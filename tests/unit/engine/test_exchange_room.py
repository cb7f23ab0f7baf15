"""Replies longer than the slots of recvmmsg, or than the caller's buffer.

ENOBUFS of an overrun comes from a real NETLINK_ROUTE socket, which any user may open; the request names an
ifindex that is not in use.
"""

import errno
import os
import socket
import struct

import pytest

from netdevns._ffi import ffi, lib
from netdevns.engine import EngineError, Socket
from netdevns.netlink import wire
from tests.support import require
from tests.unit import messages as nl
from tests.unit.engine.exchange import GET_ADDR, GET_LINK, SET_LINK, UNACKED, entry, link, numbers, query
from tests.unit.fake import Kernel, serve

# ---- slots ---------------------------------------------------------------------------------------------------------


def test_reply_of_exactly_8_kib():
    """The largest datagram of a dump fits: one request is sent."""
    kernel = Kernel(lambda r: [nl.message(20, bytes(8192 - 16), seq=r[0].seq, flags=nl.NLM_F_MULTI), nl.done(r[0])])
    assert len(query(kernel, GET_ADDR)[1]) == 8192
    assert len(kernel.sent) == 1


def long_dump(size: int):
    """A dump with one message of that many bytes among short ones, each in its own datagram."""

    def answer(r):
        long = nl.message(20, bytes(4) + struct.pack("=I", 2) + bytes(size - 24), seq=r[0].seq, flags=nl.NLM_F_MULTI)
        return [entry(r[0], 1), long, entry(r[0], 3), nl.done(r[0])]

    return answer


@pytest.mark.parametrize("size", [8196, 16384, 16388, 40000, 65536, 65540, 150000])
def test_query_with_a_long_reply_is_repeated(size):
    """A reply longer than a slot is lost: a query is sent again with longer slots, which stay."""
    kernel = Kernel(*[long_dump(size)] * 3)
    with serve(kernel) as s:
        for _ in range(2):
            _, data = s.query(GET_ADDR)
            assert [len(m.data) for m in nl.requests(data)] == [24, size, 24]
            assert numbers(data) == [1, 2, 3]
    assert len(kernel.sent) == 3


def test_slots_grow_with_replies():
    """Slots grow with each longer reply; a dump that grows each time ends after eight tries."""
    kernel = Kernel(*[long_dump(size) for size in (9000, 17000, 33000, 70000, 70000)])
    with serve(kernel) as s:
        assert numbers(s.query(GET_ADDR)[1]) == [1, 2, 3]
    assert len(kernel.sent) == 5
    growing = Kernel(*[long_dump(80000 + 4000 * n) for n in range(20)])
    with serve(growing) as s, pytest.raises(EngineError) as raised:
        s.query(GET_ADDR)
    assert raised.value.errno == errno.EAGAIN
    assert len(growing.sent) == 8


def test_change_is_not_repeated():
    """A long reply to a change is an error: the caller has to check whether it was done."""
    kernel = Kernel(lambda r: [nl.message(16, bytes(9000), seq=r[0].seq), nl.error(0, r[0])])
    with serve(kernel) as s, pytest.raises(EngineError) as raised:
        s.command(SET_LINK)
    assert (raised.value.errno, len(kernel.sent)) == (errno.EMSGSIZE, 1)


def test_query_with_a_refused_change_is_repeated():
    """A request that is always refused, beside a look-up, changes nothing: as a query it is repeated."""
    kernel = Kernel(*[lambda r: [nl.error(errno.ENODEV, r[0]), nl.message(16, bytes(9000), seq=r[1].seq)]] * 2)
    with serve(kernel) as s:
        _, data = s.query(UNACKED + GET_LINK)
    assert [m.type for m in nl.requests(data)] == [nl.NLMSG_ERROR, nl.RTM_NEWLINK]
    assert len(kernel.sent) == 2


# ---- the reply -----------------------------------------------------------------------------------------------------


def exchange(s: Socket, request: bytes, size: int) -> tuple[int, int, bytes, bytes]:
    """code, need, the reply, and the bytes behind its buffer."""
    message, data = s._message(request)
    room = ffi.new("unsigned char[]", b"\xa5" * (size + 64))
    reply = ffi.new("struct nd_buf *", {"data": room, "size": size})
    code = lib.nd_sock_exchange(s.raw, message, reply, s._err)
    del data
    return code, reply.need, bytes(ffi.buffer(room, reply.used)), bytes(ffi.buffer(room + size, 64))


@pytest.mark.native
@pytest.mark.parametrize("size", [0, 1, 23, 24, 100, 24 * 20 - 1])
def test_need_is_what_suffices(size):
    """A reply that does not fit is read to its end and counted; with `need` bytes the same request succeeds."""
    dump = Kernel(*[lambda r: [entry(r[0], i) for i in range(20)] + [nl.done(r[0])]] * 2)
    with serve(dump) as s:
        code, need, _, behind = exchange(s, GET_ADDR, size)
        assert (code, need, set(behind)) == (-errno.EOVERFLOW, 24 * 20, {0xA5})
        code, need, data, behind = exchange(s, GET_ADDR, need)
    assert (code, numbers(data), set(behind)) == (0, list(range(20)), {0xA5})


@pytest.mark.native
def test_reply_is_appended():
    """Earlier contents of the buffer stay in front of the replies, and count for `need`."""
    with serve(Kernel(*[lambda r: [link(r[0])]] * 2)) as s:
        message, data = s._message(GET_LINK)
        room = ffi.new("unsigned char[]", b"in front" + bytes(192))
        reply = ffi.new("struct nd_buf *", {"data": room, "size": 30, "used": 8})
        assert lib.nd_sock_exchange(s.raw, message, reply, s._err) == -errno.EOVERFLOW
        reply.used, reply.size = 8, reply.need
        assert lib.nd_sock_exchange(s.raw, message, reply, s._err) == 0
        del data
        found = bytes(ffi.buffer(room, reply.used))
    assert found[:8] == b"in front"
    assert numbers(found[8:]) == [7]
    assert reply.used == reply.size


@pytest.mark.native
def test_query_grows_until_it_fits():
    """The engine repeats the query with a larger buffer."""
    dump = Kernel(*[lambda r: [entry(r[0], i) for i in range(100)] + [nl.done(r[0])]] * 2)
    with serve(dump) as s:
        s._room = ffi.new("unsigned char[]", 64)
        assert numbers(s.query(GET_ADDR)[1]) == list(range(100))
    assert len(dump.sent) == 2


@pytest.mark.native
def test_unaligned_replies_are_padded_with_zeros():
    """A reply of 17 bytes takes 20: the next one is aligned to 4 bytes, with zeros in between."""
    kernel = Kernel(lambda r: [nl.message(20, b"x", seq=r[0].seq, flags=2), entry(r[0], 5), nl.done(r[0])])
    with serve(kernel) as s:
        _, _, data, _ = exchange(s, GET_ADDR, 100)
    assert data[16:20] == b"x\0\0\0"
    assert numbers(data[20:]) == [5]


@pytest.mark.native
def test_overrun_of_a_real_socket_is_enobufs_without_need():
    """The kernel drops replies that the receive buffer cannot hold: ENOBUFS with need 0, not just to be repeated."""
    try:
        s = Socket()
    except EngineError as e:
        require("netns", f"no NETLINK_ROUTE socket here: {e}")
    unused = wire.get_link(0x7FFFFFFF) * 2000
    with s:
        with socket.socket(fileno=os.dup(s.fd)) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        code, need, _, _ = exchange(s, unused, 1 << 20)
        assert (code, need) == (-errno.ENOBUFS, 0)
        assert ffi.string(s._err.text) == b"the kernel dropped replies"
