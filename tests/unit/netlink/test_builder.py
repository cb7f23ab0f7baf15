"""nd_msg_*: requests are built in the caller's memory, and no byte behind it is written."""

import errno
import struct

import pytest

from netdevns._ffi import ffi, lib
from netdevns.netlink import wire

CANARY = b"\xa5" * 64


class Built:
    """A struct nd_msg over `size` bytes with canaries behind them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.memory = ffi.new("unsigned char[]", b"\xa5" * size + CANARY)
        self.msg = ffi.new("struct nd_msg *")
        lib.nd_msg_init(self.msg, self.memory, size)

    def request(self) -> bytes:
        return bytes(ffi.buffer(self.memory, self.msg.used))

    def rest(self) -> bytes:
        return bytes(ffi.buffer(self.memory, self.size + len(CANARY))[self.msg.used :])


IFINFOMSG = struct.pack("=BxHiII", 0, 0, 7, 0, 0)


def build_move(size: int) -> Built:
    """The message of a move, in `size` bytes."""
    built = Built(size)
    lib.nd_msg_begin(built.msg, 16, 4, IFINFOMSG, len(IFINFOMSG))
    lib.nd_msg_put_u32(built.msg, 28, 71)
    lib.nd_msg_put_name(built.msg, 3, b"net0")
    lib.nd_msg_put(built.msg, 1, b"\x02\0\0\0\0\1", 6)
    return built


FULL = wire.link_message(16, 4, 7, wire.attr_u32(28, 71) + wire.attr_name(3, b"net0") + wire.attr(1, b"\x02\0\0\0\0\1"))


def test_builder_makes_what_wire_makes():
    """The core's builder and `wire` agree on headers, attributes, padding and lengths."""
    built = build_move(200)
    assert built.msg.err == 0
    assert built.request() == FULL


@pytest.mark.parametrize("size", range(len(FULL) + 1))
def test_too_small_is_sticky_and_writes_nothing_behind_the_end(size):
    """In every smaller buffer the error is -EOVERFLOW, the beginning is intact, and nothing behind it is written."""
    built = build_move(size)
    assert built.msg.err == (0 if size == len(FULL) else -errno.EOVERFLOW)
    assert built.msg.used <= size
    assert built.request()[4:] == FULL[: built.msg.used][4:]
    assert set(built.rest()) == {0xA5}


def test_error_stays_after_something_that_would_fit():
    """After one attribute that did not fit, a smaller one is not appended: a request never has a hole."""
    built = Built(40)
    lib.nd_msg_begin(built.msg, 16, 0, IFINFOMSG, len(IFINFOMSG))
    lib.nd_msg_put(built.msg, 20, b"x" * 20, 20)
    lib.nd_msg_put(built.msg, 20, b"", 0)
    assert (built.msg.err, built.msg.used) == (-errno.EOVERFLOW, 32)


def test_begin_after_an_error_begins_nothing():
    """A message begun after an error is not in the request."""
    built = Built(32)
    lib.nd_msg_begin(built.msg, 16, 0, IFINFOMSG, 16)
    lib.nd_msg_put_u32(built.msg, 4, 1400)
    lib.nd_msg_begin(built.msg, 17, 0, IFINFOMSG, 0)
    assert (built.msg.err, built.msg.used) == (-errno.EOVERFLOW, 32)


def test_begin_refuses_a_long_header():
    """A family header of more than 64 bytes is refused."""
    built = Built(400)
    lib.nd_msg_begin(built.msg, 16, 0, b"x" * 65, 65)
    assert (built.msg.err, built.msg.used) == (-errno.EOVERFLOW, 0)


@pytest.mark.parametrize(
    ("length", "err"),
    [
        pytest.param(0xFFFF - 4, 0, id="longest"),
        pytest.param(0xFFFF - 3, -errno.EOVERFLOW, id="one-more"),
        pytest.param(0xFFFFFFFFFFFFFFFF, -errno.EOVERFLOW, id="size-max"),
    ],
)
def test_attribute_length_is_16_bits(length, err):
    """nla_len is at most 65535: a longer attribute is an error."""
    built = Built(70000)
    data = ffi.new("char[]", 70000)
    lib.nd_msg_begin(built.msg, 16, 0, IFINFOMSG, 16)
    lib.nd_msg_put(built.msg, 20, data, length)
    assert built.msg.err == err
    if not err:
        assert struct.unpack_from("=HH", built.request(), 32) == (0xFFFF, 20)


@pytest.mark.parametrize("length", range(9))
def test_padding_is_zero(length):
    """The padding between attributes is 0, not old memory."""
    built = Built(100)
    lib.nd_msg_begin(built.msg, 16, 0, IFINFOMSG, 16)
    lib.nd_msg_put(built.msg, 20, b"x" * length, length)
    assert built.request()[36:] == b"x" * length + bytes(-length & 3)


def test_header_is_padded_and_counted():
    """A family header of 1 byte (struct rtgenmsg) is padded, so that attributes behind it begin at 4 bytes."""
    built = Built(100)
    lib.nd_msg_begin(built.msg, 18, 0x300, b"\x0a", 1)
    lib.nd_msg_put_u32(built.msg, 29, 8)
    assert built.request() == wire.message(18, 0x300, b"\x0a\0\0\0" + wire.attr_u32(29, 8))


def test_second_message_has_its_own_length():
    """Attributes and NLM_F_ACK go to the message begun last."""
    built = Built(200)
    lib.nd_msg_begin(built.msg, 16, 0, IFINFOMSG, 16)
    lib.nd_msg_put_u32(built.msg, 4, 1400)
    lib.nd_msg_begin(built.msg, 16, 0, IFINFOMSG, 16)
    lib.nd_msg_put_name(built.msg, 3, b"a")
    lib.nd_msg_ack(built.msg)
    first = wire.link_message(16, 0, 7, wire.attr_u32(4, 1400))
    assert built.request() == first + wire.link_message(16, 4, 7, wire.attr_name(3, b"a"))


@pytest.mark.parametrize("size", [0, 20], ids=["nothing-begun", "does-not-fit"])
def test_ack_without_a_message_does_nothing(size):
    """nd_msg_ack on a request that has no message touches no memory."""
    built = Built(size)
    if size:
        lib.nd_msg_begin(built.msg, 16, 0, IFINFOMSG, 16)
    lib.nd_msg_ack(built.msg)
    assert built.msg.used == 0
    assert set(built.rest()) == {0xA5}
