"""Dumps: interrupted ones, which are repeated, and their ends."""

import errno

import pytest

from netdevns._ffi import ffi, lib
from netdevns.engine import EngineError, lookups
from tests.unit import messages as nl
from tests.unit.engine.exchange import GET_ADDR, GET_LINK, entry, link, numbers, query, refused
from tests.unit.fake import Kernel, serve


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
def test_interrupted_dump_is_repeated(where, is_one):
    """NLM_F_DUMP_INTR on any message: the dump is discarded, and the second try is the result."""
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
    """Link and addresses belong together: both are requested again, with new seqs."""
    kernel = Kernel(
        lambda r: [link(r[0]), *interrupted(91)(r)],
        lambda r: [link(r[0]), *sound(r)],
    )
    _, data = query(kernel, GET_LINK + GET_ADDR)
    assert [m.type for m in nl.requests(data)] == [16, 20, 20]
    assert [[m.seq for m in sent] for sent in kernel.sent] == [[1000, 1001], [1002, 1003]]


def test_dump_that_ends_with_an_error():
    """NLMSG_DONE with a negative code is a failure, also after data."""
    e = refused(Kernel(lambda r: [entry(r[0], 1), nl.done(r[0], -errno.ENOMEM)]), GET_ADDR)
    assert (e.errno, e.extack) == (errno.ENOMEM, "the dump was ended by an error")


def test_done_without_a_code_is_a_sound_end():
    """NLMSG_DONE with an empty body ends a dump without an error."""
    kernel = Kernel(lambda r: [entry(r[0], 1), nl.message(3, seq=r[0].seq, flags=nl.NLM_F_MULTI)])
    assert numbers(query(kernel, GET_ADDR)[1]) == [1]


def test_refused_dump_is_a_reply():
    """A refused dump is answered by NLMSG_ERROR, which a query returns."""
    _, data = query(Kernel(lambda r: [nl.error(errno.EOPNOTSUPP, r[0])]), GET_ADDR)
    assert [m.type for m in nl.requests(data)] == [nl.NLMSG_ERROR]


def test_dump_of_an_optional_subsystem():
    """Only "not supported" means an empty dump; any other error is raised, and also that for what every kernel has."""

    def refuse(code: int) -> Kernel:
        return Kernel(lambda r: [nl.error(code, r[0])])

    with serve(refuse(errno.EOPNOTSUPP)) as s:
        assert lookups.dump_if_known(s, GET_ADDR) == b""
    for code, ask in ((errno.EPERM, lookups.dump_if_known), (errno.EOPNOTSUPP, lookups.dump)):
        with serve(refuse(code)) as s, pytest.raises(EngineError) as raised:
            ask(s, GET_ADDR)
        assert raised.value.errno == code
