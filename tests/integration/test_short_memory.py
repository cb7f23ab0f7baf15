"""Short memory of the caller's: what -EOVERFLOW of an exchange means, on this kernel."""

from __future__ import annotations

import errno

import pytest

from netdevns._ffi import ffi, lib
from netdevns.engine import Socket
from netdevns.netlink import uapi, wire
from tests.support.namespaces import Namespace


@pytest.mark.native
@pytest.mark.parametrize("room", [0, 4, 35, 36])
def test_request_was_done_though_its_answer_does_not_fit(host: Namespace, room: int) -> None:
    """A create with too short a reply is done all the same: only queries are repeated after -EOVERFLOW."""
    kind = wire.attr(uapi.IFLA_LINKINFO, wire.attr(uapi.IFLA_INFO_KIND, b"ifb\0"))
    flags = uapi.NLM_F_CREATE | uapi.NLM_F_EXCL | uapi.NLM_F_ACK
    request = wire.link_message(uapi.RTM_NEWLINK, flags, 0, wire.attr_name(uapi.IFLA_IFNAME, b"made0") + kind)
    err, memory = ffi.new("struct nd_err *"), ffi.new("unsigned char[]", 64)
    with Socket(host.fd) as socket:
        message, data = socket._message(request)
        reply = ffi.new("struct nd_buf *", {"data": memory, "size": room})
        code = lib.nd_sock_exchange(socket.raw, message, reply, err)
        del data
    ack = 36  # struct nlmsghdr, nlmsgerr
    assert code == err.code == (0 if room >= ack else -errno.EOVERFLOW)
    assert (reply.need, reply.used) == (ack, ack if room >= ack else 0)
    assert "made0" in host.names()
