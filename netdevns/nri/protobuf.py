"""Encodes and decodes protobuf's wire format as far as the messages of NRI need it.

For six small messages the protobuf package is not needed; the tests compare with it. Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_BYTES = {VARINT: 10, FIXED64: 8, FIXED32: 4}


class Malformed(Exception):
    """Bytes that are no message."""


class Message:
    """The fields of a message; unknown ones are ignored, and so are those of another type than the one asked for.

    Args:
        data: Its bytes.

    Raises:
        Malformed: They are no message.
    """

    __slots__ = ("_fields",)

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[int | bytes]] = {}
        for number, value in _decoded(data):
            self._fields.setdefault(number, []).append(value)

    def number(self, field: int) -> int:
        """An unsigned integer; 0: absent. Of several values the last one counts."""
        return next((each for each in reversed(self._fields.get(field, [])) if isinstance(each, int)), 0)

    def all(self, field: int) -> list[bytes]:
        """The values of a repeated string or message."""
        return [each for each in self._fields.get(field, []) if isinstance(each, bytes)]

    def data(self, field: int) -> bytes:
        """Bytes; empty: absent."""
        return (self.all(field) or [b""])[-1]

    def text(self, field: int) -> str:
        """A string; empty: absent. Raises Malformed: it is not UTF-8."""
        try:
            return self.data(field).decode()
        except UnicodeDecodeError:
            raise Malformed(f"field {field} is not UTF-8") from None

    def message(self, field: int) -> Message:
        """A message, empty where it is absent; several are merged. Raises Malformed."""
        return Message(b"".join(self.all(field)))

    def messages(self, field: int) -> list[Message]:
        """A repeated message. Raises Malformed."""
        return [Message(each) for each in self.all(field)]

    def texts(self, field: int) -> dict[str, str]:
        """A map of strings. Raises Malformed."""
        return {entry.text(1): entry.text(2) for entry in self.messages(field)}


def encoded(fields: dict[int, int | bytes | str]) -> bytes:
    """A message of unsigned integers, bytes and strings; those that are 0 or empty are left out, as in proto3."""
    parts = []
    for number, value in fields.items():
        if isinstance(value, int):
            parts += [_varint(number << 3 | VARINT), _varint(value)] if value else []
            continue
        data = value.encode() if isinstance(value, str) else value
        parts += [_varint(number << 3 | LENGTH), _varint(len(data)), data] if data else []
    return b"".join(parts)


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def _decoded(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if not 1 <= number < 1 << 29:
            raise Malformed(f"no field has the number {number}")
        if kind == VARINT:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if kind == LENGTH:
            size, at = _read_varint(data, at)
        elif kind in _BYTES:
            size = _BYTES[kind]
        else:
            raise Malformed(f"field {number} has the wire type {kind}")
        if size > len(data) - at:
            raise Malformed(f"field {number} is cut off")
        at += size
        if kind == LENGTH:
            yield number, data[at - size : at]


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(data[at : at + _BYTES[VARINT]]):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at + shift + 1
    raise Malformed("an integer is cut off or too long")
