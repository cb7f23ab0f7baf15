"""Exchanges that fail: damaged or missing replies, invalid requests, and refusals."""

import errno
import socket
import struct

import pytest

from netdevns._ffi import ffi, lib
from netdevns.engine import EngineError
from netdevns.netlink import wire
from tests.unit import messages as nl
from tests.unit.engine.exchange import GET_ADDR, GET_LINK, SET_LINK, UNACKED, entry, numbers, query, refused
from tests.unit.fake import Kernel, serve, socket_on

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
def test_damaged_reply_is_an_error(datagrams, code, text):
    """A malformed, truncated or incomplete reply is a failure, and nothing is returned."""
    e = refused(Kernel(lambda r: datagrams(r[0])), GET_ADDR)
    assert (e.errno, e.extack, e.step) == (code, text, "exchange")


def test_exchange_after_a_damaged_one():
    """Late replies to a failed exchange are skipped by the next one."""
    kernel = Kernel(
        lambda r: [nl.message(20, seq=r[0].seq, length=3), *[entry(r[0], 9)] * 12, nl.done(r[0])],
        lambda r: [entry(r[0], 1), nl.done(r[0])],
    )
    with serve(kernel) as s:
        with pytest.raises(EngineError):
            s.query(GET_ADDR)
        assert numbers(s.query(GET_ADDR)[1]) == [1]


# ---- no answer, no request -----------------------------------------------------------------------------------------


def test_missing_reply_is_a_time_out():
    """A kernel that never answers: ETIMEDOUT, after SO_RCVTIMEO (10 s outside of tests)."""
    e = refused(Kernel(), GET_LINK, timeout_s=0.05)
    assert (e.errno, e.extack) == (errno.ETIMEDOUT, "no answer from the kernel")


def test_dump_without_an_end_is_a_time_out():
    """A dump that stops in the middle is an error."""
    assert refused(Kernel(lambda r: [entry(r[0], 1)]), GET_ADDR, timeout_s=0.05).errno == errno.ETIMEDOUT


def test_closed_peer():
    """If the other end of the socket is closed, the exchange fails at once, with send's errno."""
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
def test_invalid_request_is_not_sent(request_, code):
    """A request that is not a netlink message is refused before anything is sent."""
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
def test_refusal_has_the_extack_text(capped):
    """errno and extack text of a refusal, whether the request is echoed or NLM_F_CAPPED."""
    e = command(Kernel(lambda r: [nl.error(errno.EEXIST, r[0], text="taken", offset=32, capped=capped)]), SET_LINK)
    assert (e.errno, e.extack, e.step, e.index) == (errno.EEXIST, "taken", "exchange", 0)


def test_first_refusal_is_the_result():
    """Of several refusals in a batch the first counts, with its index; the exchange reads on."""
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
    """The text is that of the refusal, not of an earlier exchange."""
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
    """A refusal with EBADMSG and an extack is returned by a query as any other."""
    _, data = query(Kernel(lambda r: [nl.error(errno.EBADMSG, r[0], text="so it is")]))
    (answer,) = wire.messages(data)
    assert wire.error(answer) == (errno.EBADMSG, "so it is")
