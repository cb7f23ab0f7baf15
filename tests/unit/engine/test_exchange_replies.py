"""The messages that end an exchange, those that it skips, and signals meanwhile.

A datagram of another process comes over NETLINK_USERSOCK, which reaches processes only.
"""

import errno
import signal
import socket
import threading
import time

import pytest

from netdevns.engine import EngineError
from netdevns.netlink import rtnl, wire
from tests.support import require
from tests.unit import messages as nl
from tests.unit.engine.exchange import GET_ADDR, GET_LINK, SET_LINK, entry, link, numbers, query
from tests.unit.fake import Kernel, serve, set_seq, socket_on

# ---- what ends an exchange -----------------------------------------------------------------------------------------


def test_reply_ends_an_unacked_get():
    """A get without NLM_F_ACK ends with its reply; the seq of the first message is returned."""
    first, data = query(Kernel(lambda r: [link(r[0])]))
    assert first == 1000
    assert data == nl.padded(nl.message(16, nl.link_body(7, 1, {3: b"eth1\0"}), seq=1000))


def test_ack_ends_a_get_that_asked_for_one():
    """With NLM_F_ACK the reply does not end it; the ack is returned, too."""
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
    """recvmmsg reads 8 datagrams at once: 30 are read by several calls, and none is lost."""
    kernel = Kernel(lambda r: [entry(r[0], i) for i in range(30)] + [nl.done(r[0])])
    assert numbers(query(kernel, GET_ADDR)[1]) == list(range(30))


def test_batch_ends_with_its_last_message():
    """Replies to earlier messages do not end a batch, and all are kept in order."""
    kernel = Kernel(lambda r: [link(r[0]), nl.error(errno.ENODEV, r[1]), link(r[2])])
    first, data = query(kernel, GET_LINK * 3)
    assert [(m.type, m.seq - first) for m in nl.requests(data)] == [(16, 0), (2, 1), (16, 2)]


def test_get_and_dump_in_one_send():
    """A get in front of a dump: both replies, ended by the dump's NLMSG_DONE."""
    kernel = Kernel(lambda r: [link(r[0]), entry(r[1], 1), nl.done(r[1])])
    assert [m.type for m in nl.requests(query(kernel, GET_LINK + GET_ADDR)[1])] == [16, 20]


def test_seq_goes_on_between_exchanges():
    """Each message of a socket has its own seq."""
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
def test_other_messages_are_skipped(strangers):
    """Stale replies, notifications and other sockets' replies are skipped, before the right one and among it."""
    kernel = Kernel(lambda r: [*strangers(r[0]), nl.padded(strangers(r[0])[0]) + link(r[0])])
    _, data = query(kernel)
    assert numbers(data) == [7]
    assert len(kernel.sent) == 1


@pytest.fixture
def usersock():
    """A pair of NETLINK_USERSOCK sockets: the second stands in for another process, not the kernel."""
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
    """A reply with the right seq and portid is skipped if its sender is not the kernel (nl_pid 0)."""
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


# ---- signals -------------------------------------------------------------------------------------------------------


def test_signals_do_not_end_an_exchange():
    """A signal handler that interrupts recvmmsg every millisecond does not end the exchange."""
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
    """KeyboardInterrupt is raised after the exchange: no reply is left unread."""

    def strike(r: list[nl.Request]) -> list[bytes]:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.02)
        return [link(r[0])]

    kernel = Kernel(strike, lambda r: [link(r[0])])
    with serve(kernel) as s:
        with pytest.raises(KeyboardInterrupt):
            s.query(GET_LINK)
        assert s.query(GET_LINK)[0] == 1001
