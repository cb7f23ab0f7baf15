"""nd_sock_exchange against a scripted kernel that also misbehaves.

The socketpair carries what a netlink socket would; two things it cannot do. ENOBUFS of an overrun comes from a real
NETLINK_ROUTE socket here, which any user may open and which is asked for an interface that nobody has; a datagram of
another process comes over NETLINK_USERSOCK, which reaches processes only.
"""

import errno
import os
import signal
import socket
import struct
import threading
import time

import pytest

from netdevns import lookups, rtnl, wire
from netdevns._ffi import ffi, lib
from netdevns.engine import EngineError, Socket
from tests.support import require

from . import netlink as nl
from .fake import Kernel, serve, set_seq, socket_on

GET_LINK = wire.get_link(7)
GET_ADDR = wire.message(nl.RTM_GETADDR, nl.NLM_F_DUMP, bytes(8))
SET_LINK = wire.link_message(nl.RTM_NEWLINK, nl.NLM_F_ACK, 7, up=True)
UNACKED = wire.link_message(nl.RTM_NEWLINK, 0, 7, up=True)


def link(request: nl.Request, **fields: int) -> bytes:
    return nl.message(nl.RTM_NEWLINK, nl.link_body(7, 1, {3: b"eth1\0"}), seq=request.seq, **fields)


def entry(request: nl.Request, number: int, flags: int = nl.NLM_F_MULTI) -> bytes:
    """One message of a dump: 24 bytes."""
    return nl.message(nl.RTM_NEWADDR, struct.pack("=II", 0, number), seq=request.seq, flags=flags)


def numbers(data: bytes) -> list[int]:
    return [m.ifindex for m in nl.requests(data)]


def query(kernel: Kernel, request: bytes = GET_LINK, **options: float) -> tuple[int, bytes]:
    with serve(kernel, **options) as s:
        return s.query(request)


def refused(kernel: Kernel, request: bytes, **options: float) -> EngineError:
    """The error of a query."""
    with pytest.raises(EngineError) as caught:
        query(kernel, request, **options)
    return caught.value


# ---- what ends an exchange -----------------------------------------------------------------------------------------


def test_reply_ends_an_unacked_get():
    """A get without NLM_F_ACK is answered by its reply; the seq of the first message is told."""
    first, data = query(Kernel(lambda r: [link(r[0])]))
    assert first == 1000
    assert data == nl.padded(nl.message(16, nl.link_body(7, 1, {3: b"eth1\0"}), seq=1000))


def test_ack_ends_a_get_that_asked_for_one():
    """With NLM_F_ACK the reply comes first and does not end it; the ack is an answer, too."""
    request = wire.message(18, nl.NLM_F_ACK, nl.link_body(7))
    _, data = query(Kernel(lambda r: [link(r[0]), nl.error(0, r[0])]), request)
    assert [m.type for m in nl.requests(data)] == [nl.RTM_NEWLINK, nl.NLMSG_ERROR]


def test_done_ends_a_dump_of_several_datagrams():
    """A dump is complete at NLMSG_DONE, in whichever datagram; NLMSG_DONE itself is not kept."""
    kernel = Kernel(
        lambda r: [entry(r[0], 1) + entry(r[0], 2), entry(r[0], 3), entry(r[0], 4) + nl.done(r[0])],
    )
    assert numbers(query(kernel, GET_ADDR)[1]) == [1, 2, 3, 4]


def test_more_datagrams_than_one_burst():
    """recvmmsg reads 8 datagrams at once: 30 are read by several calls, none is lost."""
    kernel = Kernel(lambda r: [entry(r[0], i) for i in range(30)] + [nl.done(r[0])])
    assert numbers(query(kernel, GET_ADDR)[1]) == list(range(30))


def test_batch_ends_with_its_last_message():
    """Answers of earlier messages do not end a batch, and all are kept in order."""
    kernel = Kernel(lambda r: [link(r[0]), nl.error(errno.ENODEV, r[1]), link(r[2])])
    first, data = query(kernel, GET_LINK * 3)
    assert [(m.type, m.seq - first) for m in nl.requests(data)] == [(16, 0), (2, 1), (16, 2)]


def test_get_and_dump_in_one_send():
    """A get in front of a dump: both answers, ended by the dump's NLMSG_DONE."""
    kernel = Kernel(lambda r: [link(r[0]), entry(r[1], 1), nl.done(r[1])])
    assert [m.type for m in nl.requests(query(kernel, GET_LINK + GET_ADDR)[1])] == [16, 20]


def test_seq_goes_on_between_exchanges():
    """Each message of a socket has a number of its own."""
    kernel = Kernel(lambda r: [link(r[0])], lambda r: [link(r[1])])
    with serve(kernel) as s:
        assert s.query(GET_LINK)[0] == 1000
        assert s.query(GET_LINK * 2)[0] == 1001
    assert [[m.seq for m in sent] for sent in kernel.sent] == [[1000], [1001, 1002]]


def test_seq_wraps():
    """After 2**32 - 1 comes 0; a request across it is answered as any other."""
    kernel = Kernel(lambda r: [link(r[0]), link(r[1]), link(r[2])])
    with serve(kernel) as s:
        set_seq(s, 2**32 - 2)
        first, data = s.query(GET_LINK * 3)
    assert (first, [m.seq for m in nl.requests(data)]) == (2**32 - 1, [2**32 - 1, 0, 1])


# ---- answers that are none -----------------------------------------------------------------------------------------


def stale(request: nl.Request, distance: int) -> bytes:
    return nl.message(nl.RTM_NEWLINK, nl.link_body(66), seq=(request.seq + distance) % 2**32)


@pytest.mark.parametrize(
    "strangers",
    [
        pytest.param(lambda r: [stale(r, -1)], id="seq-one-less"),
        pytest.param(lambda r: [stale(r, 1)], id="seq-one-more"),
        pytest.param(lambda r: [stale(r, 2**31)], id="seq-far-away"),
        pytest.param(lambda r: [stale(r, -r.seq)], id="seq-0-a-notification"),
        pytest.param(lambda r: [nl.error(errno.EPERM, r, portid=nl.PORTID + 1)], id="other-portid"),
        pytest.param(lambda r: [nl.error(errno.EPERM, r, portid=0)], id="portid-0"),
        pytest.param(lambda r: [nl.message(nl.NLMSG_NOOP, seq=r.seq)], id="noop"),
        pytest.param(lambda r: [stale(r, -1) + link(r)[:0]] * 20, id="many"),
        pytest.param(lambda r: [nl.message(nl.NLMSG_OVERRUN, seq=r.seq - 1)], id="stale-overrun"),
        pytest.param(
            lambda r: [nl.message(20, bytes(8), seq=r.seq - 1, flags=nl.NLM_F_DUMP_INTR)], id="stale-dump-intr"
        ),
    ],
)
def test_what_is_no_answer_is_skipped(strangers):
    """Stale answers, notifications and other sockets' answers are skipped, in front of the right one and beside it."""
    kernel = Kernel(lambda r: [*strangers(r[0]), nl.padded(strangers(r[0])[0]) + link(r[0])])
    _, data = query(kernel)
    assert numbers(data) == [7]
    assert len(kernel.sent) == 1


@pytest.fixture
def usersock():
    """A NETLINK_USERSOCK pair: ours, connected to theirs, which is another socket and not the kernel."""
    try:
        pair = [socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_USERSOCK) for _ in range(2)]
    except OSError as e:
        require("netns", f"this kernel has no NETLINK_USERSOCK: {e}")
    for s in pair:
        s.bind((0, 0))
    pair[0].connect(pair[1].getsockname())
    pair[1].settimeout(5)
    yield pair
    for s in pair:
        s.close()


def test_datagram_of_another_process_is_skipped(usersock):
    """An answer with the right seq and portid is none if its sender is not the kernel (nl_pid 0)."""
    ours, theirs = usersock
    s = socket_on(ours.fileno(), timeout_s=0.2)
    raw = s if isinstance(s, rtnl.Socket) else s.raw
    raw.portid = ours.getsockname()[0]

    def forge() -> None:
        data, sender = theirs.recvfrom(4096)
        (request,) = nl.requests(data)
        theirs.sendto(nl.error(0, request, portid=request.portid), sender)

    forger = threading.Thread(target=forge)
    forger.start()
    with s, pytest.raises(EngineError) as caught:
        s.command(SET_LINK)
    forger.join()
    assert caught.value.errno == errno.ETIMEDOUT


# ---- dumps ---------------------------------------------------------------------------------------------------------


def interrupted(where: int):
    """A dump of three entries with NLM_F_DUMP_INTR on one of its messages (3: NLMSG_DONE)."""

    def answer(r: list[nl.Request]) -> list[bytes]:
        parts = [entry(r[-1], i, nl.NLM_F_MULTI | (nl.NLM_F_DUMP_INTR if i == where else 0)) for i in range(90, 93)]
        end = nl.message(3, bytes(4), seq=r[-1].seq, flags=nl.NLM_F_MULTI | (nl.NLM_F_DUMP_INTR if where == 93 else 0))
        return [*parts, end]

    return answer


def sound(r: list[nl.Request]) -> list[bytes]:
    return [entry(r[-1], 1), entry(r[-1], 2), nl.done(r[-1])]


@pytest.mark.parametrize("where", [90, 91, 92, 93], ids=["first", "middle", "last", "done"])
@pytest.mark.parametrize("is_one", [False, True], ids=["datagrams", "one-datagram"])
def test_interrupted_dump_is_asked_for_again(where, is_one):
    """NLM_F_DUMP_INTR on any message of a dump: nothing of it is kept, the second try is the result."""
    dump = interrupted(where)
    kernel = Kernel((lambda r: [b"".join(map(nl.padded, dump(r)))]) if is_one else dump, sound)
    first, data = query(kernel, GET_ADDR)
    assert (first, numbers(data)) == (1001, [1, 2])


def test_dump_that_is_always_interrupted_is_eagain():
    """Eight tries, then EAGAIN."""
    kernel = Kernel(*[interrupted(91)] * 20)
    assert refused(kernel, GET_ADDR).errno == errno.EAGAIN
    assert len(kernel.sent) == 8


@pytest.mark.native
def test_failed_dump_leaves_nothing_in_the_reply():
    """After EAGAIN the caller's buffer counts as empty: a partial dump is never returned."""
    with serve(Kernel(*[interrupted(91)] * 8)) as s:
        message, data = s._message(GET_ADDR)
        room = ffi.new("unsigned char[]", 4096)
        reply = ffi.new("struct nd_buf *", {"data": room, "size": 4096})
        assert lib.nd_sock_exchange(s.raw, message, reply, s._err) == -errno.EAGAIN
        del data
    assert reply.used == 0


def test_messages_in_front_of_an_interrupted_dump_are_sent_again():
    """Link and addresses belong together: both are asked for anew, with new numbers."""
    kernel = Kernel(
        lambda r: [link(r[0]), *interrupted(91)(r)],
        lambda r: [link(r[0]), *sound(r)],
    )
    _, data = query(kernel, GET_LINK + GET_ADDR)
    assert [m.type for m in nl.requests(data)] == [16, 20, 20]
    assert [[m.seq for m in sent] for sent in kernel.sent] == [[1000, 1001], [1002, 1003]]


def test_dump_that_ends_with_an_error():
    """NLMSG_DONE with a negative code is a failure, whatever was read before it."""
    e = refused(Kernel(lambda r: [entry(r[0], 1), nl.done(r[0], -errno.ENOMEM)]), GET_ADDR)
    assert (e.errno, e.extack) == (errno.ENOMEM, "the dump was ended by an error")


def test_done_without_a_code_is_a_sound_end():
    """NLMSG_DONE with an empty body ends a dump without an error."""
    kernel = Kernel(lambda r: [entry(r[0], 1), nl.message(3, seq=r[0].seq, flags=nl.NLM_F_MULTI)])
    assert numbers(query(kernel, GET_ADDR)[1]) == [1]


def test_refused_dump_is_an_answer():
    """A dump that is refused outright is answered by NLMSG_ERROR, which a query hands over."""
    _, data = query(Kernel(lambda r: [nl.error(errno.EOPNOTSUPP, r[0])]), GET_ADDR)
    assert [m.type for m in nl.requests(data)] == [nl.NLMSG_ERROR]


def test_dump_of_what_a_kernel_may_not_have():
    """Only "not supported" is nothing there; any other refusal is an error, and so is that of what every kernel has."""

    def refuse(code: int) -> Kernel:
        return Kernel(lambda r: [nl.error(code, r[0])])

    with serve(refuse(errno.EOPNOTSUPP)) as s:
        assert lookups.dump_if_known(s, GET_ADDR) == b""
    for code, ask in ((errno.EPERM, lookups.dump_if_known), (errno.EOPNOTSUPP, lookups.dump)):
        with serve(refuse(code)) as s, pytest.raises(EngineError) as raised:
            ask(s, GET_ADDR)
        assert raised.value.errno == code


# ---- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("datagrams", "code", "text"),
    [
        pytest.param(
            lambda r: [entry(r, 1) + nl.message(20, bytes(8), seq=r.seq, length=5) + nl.done(r)],
            errno.EBADMSG,
            "a netlink message with a wrong length",
            id="short-length-in-the-middle",
        ),
        pytest.param(
            lambda r: [entry(r, 1) + nl.message(20, bytes(8), seq=r.seq, length=500) + nl.done(r)],
            errno.EBADMSG,
            "a netlink message with a wrong length",
            id="long-length-in-the-middle",
        ),
        pytest.param(
            lambda r: [nl.message(20, seq=r.seq)[:10]],
            errno.EBADMSG,
            "a netlink message with a wrong length",
            id="header",
        ),
        pytest.param(lambda r: [entry(r, 1), b"", nl.done(r)], errno.EBADMSG, "an empty datagram", id="empty-datagram"),
        pytest.param(
            lambda r: [entry(r, 1), nl.message(nl.NLMSG_OVERRUN, seq=r.seq), nl.done(r)],
            errno.ENOBUFS,
            "the kernel reports lost replies",
            id="overrun",
        ),
        pytest.param(
            lambda r: [nl.message(nl.NLMSG_ERROR, struct.pack("=i", -1), seq=r.seq)],
            errno.EBADMSG,
            "a malformed error message",
            id="error-too-short",
        ),
        pytest.param(
            lambda r: [nl.message(nl.NLMSG_ERROR, struct.pack("=i", 7) + r.data[:16], seq=r.seq)],
            errno.EBADMSG,
            "an error message with a positive code",
            id="error-positive",
        ),
    ],
)
def test_damaged_answer_is_an_error(datagrams, code, text):
    """An answer that lies, is cut, or says that something is missing is a failure, and nothing is returned."""
    e = refused(Kernel(lambda r: datagrams(r[0])), GET_ADDR)
    assert (e.errno, e.extack, e.step) == (code, text, "exchange")


def test_exchange_after_a_damaged_one():
    """What is left of a failed exchange is stale for the next one."""
    kernel = Kernel(
        lambda r: [nl.message(20, seq=r[0].seq, length=3), *[entry(r[0], 9)] * 12, nl.done(r[0])],
        lambda r: [entry(r[0], 1), nl.done(r[0])],
    )
    with serve(kernel) as s:
        with pytest.raises(EngineError):
            s.query(GET_ADDR)
        assert numbers(s.query(GET_ADDR)[1]) == [1]


def test_answer_of_exactly_8_kib():
    """The largest datagram of a dump fits: it is asked for once."""
    kernel = Kernel(lambda r: [nl.message(20, bytes(8192 - 16), seq=r[0].seq, flags=nl.NLM_F_MULTI), nl.done(r[0])])
    assert len(query(kernel, GET_ADDR)[1]) == 8192
    assert len(kernel.sent) == 1


def long_dump(size: int):
    """A dump with one message of that many bytes among short ones, in datagrams of their own."""

    def answer(r):
        long = nl.message(20, bytes(4) + struct.pack("=I", 2) + bytes(size - 24), seq=r[0].seq, flags=nl.NLM_F_MULTI)
        return [entry(r[0], 1), long, entry(r[0], 3), nl.done(r[0])]

    return answer


@pytest.mark.parametrize("size", [8196, 16384, 16388, 40000, 65536, 65540, 150000])
def test_long_answer_is_asked_for_once_more(size):
    """An answer longer than a slot is lost: what only asks is sent again with longer slots, which stay."""
    kernel = Kernel(*[long_dump(size)] * 3)
    with serve(kernel) as s:
        for _ in range(2):
            _, data = s.query(GET_ADDR)
            assert [len(m.data) for m in nl.requests(data)] == [24, size, 24]
            assert numbers(data) == [1, 2, 3]
    assert len(kernel.sent) == 3


def test_slots_grow_as_often_as_answers_do():
    """Each time that an answer is longer than any before: but a dump that grows each time ends, after eight tries."""
    kernel = Kernel(*[long_dump(size) for size in (9000, 17000, 33000, 70000, 70000)])
    with serve(kernel) as s:
        assert numbers(s.query(GET_ADDR)[1]) == [1, 2, 3]
    assert len(kernel.sent) == 5
    growing = Kernel(*[long_dump(80000 + 4000 * n) for n in range(20)])
    with serve(growing) as s, pytest.raises(EngineError) as raised:
        s.query(GET_ADDR)
    assert raised.value.errno == errno.EAGAIN
    assert len(growing.sent) == 8


def test_request_that_changes_something_is_not_sent_twice():
    """A long answer to it is an error: whether it was done has to be looked at."""
    kernel = Kernel(lambda r: [nl.message(16, bytes(9000), seq=r[0].seq), nl.error(0, r[0])])
    with serve(kernel) as s, pytest.raises(EngineError) as raised:
        s.command(SET_LINK)
    assert (raised.value.errno, len(kernel.sent)) == (errno.EMSGSIZE, 1)


def test_query_that_tries_a_change_is_sent_twice():
    """What is refused in any case (a try) beside a look-up changes nothing, and its caller says so by asking."""
    kernel = Kernel(*[lambda r: [nl.error(errno.ENODEV, r[0]), nl.message(16, bytes(9000), seq=r[1].seq)]] * 2)
    with serve(kernel) as s:
        _, data = s.query(UNACKED + GET_LINK)
    assert [m.type for m in nl.requests(data)] == [nl.NLMSG_ERROR, nl.RTM_NEWLINK]
    assert len(kernel.sent) == 2


def test_no_answer_is_a_time_out():
    """A kernel that never answers: ETIMEDOUT, after SO_RCVTIMEO (10 s outside of tests)."""
    e = refused(Kernel(), GET_LINK, timeout_s=0.05)
    assert (e.errno, e.extack) == (errno.ETIMEDOUT, "no answer from the kernel")


def test_dump_without_an_end_is_a_time_out():
    """A dump that stops in the middle is not a shorter dump."""
    assert refused(Kernel(lambda r: [entry(r[0], 1)]), GET_ADDR, timeout_s=0.05).errno == errno.ETIMEDOUT


def test_closed_peer():
    """A socket whose other end is gone fails at once, as send says."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    with ours, pytest.raises(EngineError) as caught:
        socket_on(ours.fileno()).query(GET_LINK)
    assert caught.value.errno == errno.EPIPE


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param(b"", errno.EINVAL, id="empty"),
        pytest.param(GET_LINK[:15], errno.EINVAL, id="truncated"),
        pytest.param(GET_LINK + b"\x01\0\0\0" + bytes(12), errno.EINVAL, id="length-1"),
    ],
)
def test_what_is_no_request_is_not_sent(request_, code):
    """A request that is no netlink message is refused before anything is sent."""
    kernel = Kernel()
    assert refused(kernel, request_).errno == code
    assert kernel.sent == []


@pytest.mark.native
def test_request_that_did_not_fit_is_not_sent():
    """The builder's sticky error is the exchange's result."""
    kernel = Kernel()
    with serve(kernel) as s:
        message, data = s._message(GET_LINK)
        message.err = -errno.EOVERFLOW
        assert lib.nd_sock_exchange(s.raw, message, ffi.NULL, s._err) == -errno.EOVERFLOW
        del data
    assert kernel.sent == []


# ---- refusals ------------------------------------------------------------------------------------------------------


def command(kernel: Kernel, request: bytes) -> EngineError | None:
    with serve(kernel) as s:
        try:
            s.command(request)
        except EngineError as e:
            return e
    return None


def test_command_is_done_when_acked():
    """Only the last message is acked: no error."""
    assert command(Kernel(lambda r: [nl.error(0, r[1])]), UNACKED + SET_LINK) is None


@pytest.mark.parametrize("capped", [True, False])
def test_refusal_has_the_kernels_words(capped):
    """errno and extack text of a refusal, whether the request is echoed or NLM_F_CAPPED."""
    e = command(Kernel(lambda r: [nl.error(errno.EEXIST, r[0], text="taken", offset=32, capped=capped)]), SET_LINK)
    assert (e.errno, e.extack, e.step, e.index) == (errno.EEXIST, "taken", "exchange", 0)


def test_first_refusal_is_the_result():
    """Of several refusals in a batch the first counts, with its place in the request; the exchange reads on."""
    kernel = Kernel(
        lambda r: [
            nl.error(errno.EPERM, r[1], text="the first"),
            nl.error(errno.EINVAL, r[2], text="the second"),
            nl.error(0, r[3]),
        ]
    )
    e = command(kernel, UNACKED * 3 + SET_LINK)
    assert (e.errno, e.extack, e.index) == (errno.EPERM, "the first", 1)


def test_refusal_without_an_extack_after_one_with():
    """The text is the refusal's own, not a leftover of an earlier exchange."""
    kernel = Kernel(
        lambda r: [nl.error(errno.EEXIST, r[0], text="taken")],
        lambda r: [nl.error(errno.EPERM, r[0])],
    )
    with serve(kernel) as s:
        for code, text in ((errno.EEXIST, "taken"), (errno.EPERM, "")):
            with pytest.raises(EngineError) as caught:
                s.command(SET_LINK)
            assert (caught.value.errno, caught.value.extack) == (code, text)


def test_refusal_by_ebadmsg_is_the_kernels():
    """A kernel may refuse with EBADMSG and say why; a query hands that over as it does any refusal."""
    _, data = query(Kernel(lambda r: [nl.error(errno.EBADMSG, r[0], text="so it is")]))
    (answer,) = wire.messages(data)
    assert wire.error(answer) == (errno.EBADMSG, "so it is")


# ---- room ----------------------------------------------------------------------------------------------------------


def exchange(s: Socket, request: bytes, size: int) -> tuple[int, int, bytes, bytes]:
    """code, need, what is in the reply, and what lies behind its room."""
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
    """What is in the buffer already stays in front of the answers, and counts for `need`."""
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
    """The engine gives more room and asks again."""
    dump = Kernel(*[lambda r: [entry(r[0], i) for i in range(100)] + [nl.done(r[0])]] * 2)
    with serve(dump) as s:
        s._room = ffi.new("unsigned char[]", 64)
        assert numbers(s.query(GET_ADDR)[1]) == list(range(100))
    assert len(dump.sent) == 2


@pytest.mark.native
def test_unaligned_answers_are_padded_with_zeros():
    """An answer of 17 bytes takes 20: the next one begins at 4 bytes, and nothing old is between them."""
    kernel = Kernel(lambda r: [nl.message(20, b"x", seq=r[0].seq, flags=2), entry(r[0], 5), nl.done(r[0])])
    with serve(kernel) as s:
        _, _, data, _ = exchange(s, GET_ADDR, 100)
    assert data[16:20] == b"x\0\0\0"
    assert numbers(data[20:]) == [5]


@pytest.mark.native
def test_overrun_of_a_real_socket_is_enobufs_without_need():
    """The kernel drops answers that the receive buffer cannot hold: ENOBUFS with need 0, no reason to just retry."""
    try:
        s = Socket()
    except EngineError as e:
        require("netns", f"no NETLINK_ROUTE socket here: {e}")
    nobody = wire.get_link(0x7FFFFFFF) * 2000
    with s:
        with socket.socket(fileno=os.dup(s.fd)) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        code, need, _, _ = exchange(s, nobody, 1 << 20)
        assert (code, need) == (-errno.ENOBUFS, 0)
        assert ffi.string(s._err.text) == b"the kernel dropped replies"


# ---- signals -------------------------------------------------------------------------------------------------------


def test_signals_do_not_end_an_exchange():
    """A handler that runs every millisecond while recvmmsg blocks interrupts it, and the answer is still awaited."""
    struck = []
    before = signal.signal(signal.SIGALRM, lambda *_: struck.append(1))

    def late(r: list[nl.Request]) -> list[bytes]:
        time.sleep(0.1)
        return [link(r[0])]

    try:
        with serve(Kernel(late)) as s:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            _, data = s.query(GET_LINK)
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert numbers(data) == [7]
    assert struck  # Python's part of a handler runs when the call is back: many signals, at least one call


def test_interrupt_during_an_exchange_is_raised_after_it():
    """KeyboardInterrupt comes when the exchange is complete: no answer is left unread."""

    def strike(r: list[nl.Request]) -> list[bytes]:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.02)
        return [link(r[0])]

    kernel = Kernel(strike, lambda r: [link(r[0])])
    with serve(kernel) as s:
        with pytest.raises(KeyboardInterrupt):
            s.query(GET_LINK)
        assert s.query(GET_LINK)[0] == 1001
