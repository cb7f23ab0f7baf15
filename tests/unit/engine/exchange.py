"""An exchange with the scripted kernel (fake.Kernel): requests and their replies.

The socketpair carries what a netlink socket would, but for ENOBUFS and for datagrams of other processes.
"""

import struct

import pytest

from netdevns.engine import EngineError
from netdevns.netlink import wire
from tests.unit import messages as nl
from tests.unit.fake import Kernel, serve

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
