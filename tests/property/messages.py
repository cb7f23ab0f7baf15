"""Netlink bytes for properties: what strategies make, and a second, plain walk over messages and attributes."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

from netdevns._ffi import ffi, lib
from netdevns.netlink import wire
from tests.support.guarded import Guarded

U8, U16, U32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
S32 = st.integers(-(2**31), 2**31 - 1)
TYPES = st.one_of(st.integers(0, 70), st.integers(0, 0x3FFF))  # of attributes, without NLA_F_NESTED and the like
PAYLOADS = st.one_of(st.binary(max_size=20), st.binary(max_size=300))
ATTRIBUTES = st.lists(st.tuples(TYPES, PAYLOADS), max_size=8)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) & 3)


def walk_messages(data: bytes) -> tuple[list[bytes], bool]:
    """Whole messages in front of the first length that lies; whether one does."""
    found, at = [], 0
    while at < len(data):
        length = struct.unpack_from("=I", data, at)[0] if len(data) - at >= 16 else 0
        if length < 16 or at + length > len(data):
            return found, True
        found.append(data[at : at + length])
        at += (length + 3) // 4 * 4
    return found, False


def walk_attributes(data: bytes) -> tuple[list[tuple[int, bytes]], bool]:
    """(type, payload) in front of the first length that lies; whether one does. Less than a header ends the list."""
    found, at = [], 0
    while at + 4 <= len(data):
        length, type_ = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > len(data):
            return found, True
        found.append((type_ % 0x4000, data[at + 4 : at + length]))
        at += (length + 3) // 4 * 4
    return found, False


def core_messages(data: bytes) -> tuple[list[tuple[int, int, int, bytes]], int]:
    """(type, flags, seq, body) of each message as the core steps through them, and its last answer."""
    guarded, found = Guarded(data), []
    while (code := guarded.next()) > 0:
        view = guarded.view
        found.append((view.type, view.flags, view.seq, bytes(ffi.buffer(view.body, view.body_len))))
        assert len(found) <= len(data) // 16
    return found, code


def python_messages(data: bytes) -> tuple[list[tuple[int, int, int, bytes]], bool]:
    """The same as `wire` does, and whether it ended with Malformed."""
    found = []
    try:
        for message in wire.messages(data):
            found.append((message.type, message.flags, message.seq, bytes(message.body)))
    except wire.Malformed:
        return found, True
    return found, False


def core_attributes(body: bytes, header: int, types: set[int]) -> dict[int, bytes]:
    """Those of the types that the core finds in a body."""
    guarded = Guarded(body)
    guarded.view.body, guarded.view.body_len = guarded.data, len(body)
    found = {type_: guarded.attr(header, type_) for type_ in types}
    return {type_: value for type_, value in found.items() if value is not None}


def python_attributes(body: bytes, header: int) -> dict[int, bytes] | None:
    """All that `wire` finds in a body; None: Malformed."""
    try:
        return {type_: bytes(value) for type_, value in wire.attrs(memoryview(body), header).items()}
    except wire.Malformed:
        return None


def core_error(data: bytes) -> tuple[int, bytes]:
    """The code and the text of the NLMSG_ERROR at the start of the bytes, as the core reads them."""
    guarded, err = Guarded(data), ffi.new("struct nd_err *")
    assert guarded.next() == 1
    code = lib.nd_view_error(guarded.view, err)
    assert code == err.code
    return code, ffi.string(err.text)


class Builder:
    """The core's builder, over memory that is not zero before."""

    def __init__(self, size: int) -> None:
        self.memory = ffi.new("unsigned char[]", b"\xa5" * size)
        self.msg = ffi.new("struct nd_msg *")
        lib.nd_msg_init(self.msg, self.memory, size)

    def begin(self, type_: int, flags: int, header: bytes) -> None:
        lib.nd_msg_begin(self.msg, type_, flags, header, len(header))

    def put(self, type_: int, value: bytes | int | str) -> None:
        """Bytes as they are, an int as a u32, a str as a name."""
        if isinstance(value, bytes):
            lib.nd_msg_put(self.msg, type_, value, len(value))
        elif isinstance(value, int):
            lib.nd_msg_put_u32(self.msg, type_, value)
        else:
            lib.nd_msg_put_name(self.msg, type_, value.encode("latin-1"))

    def ack(self) -> None:
        lib.nd_msg_ack(self.msg)

    def request(self) -> bytes:
        assert self.msg.err == 0
        return bytes(ffi.buffer(self.memory, self.msg.used))
