"""The framing of NRI: ttrpc messages, in the frames of a multiplexer that puts two connections on one socket.

A frame of the multiplexer is a connection's number, a length, and a part of what that connection carries. A ttrpc
message is a length, a stream's number, a type, flags, and protobuf. On the connection PLUGIN the runtime calls the
plugin, on RUNTIME the plugin calls the runtime.

Source: containerd/ttrpc, PROTOCOL.md (1.2; NRI has unary requests only); containerd/nri, pkg/net/multiplex.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from .protobuf import Malformed

PLUGIN, RUNTIME = 1, 2
REQUEST, RESPONSE = 1, 2
DATA_BYTES = 4 << 20  # of one ttrpc message
_MUX = Struct(">II")
_HEADER = Struct(">IIBB")
FRAME_BYTES = _HEADER.size + DATA_BYTES


@dataclass(frozen=True)
class Frame:
    """A ttrpc message.

    Attributes:
        connection: PLUGIN or RUNTIME.
        stream: The request's number, which its response has, too; the client's are odd.
        kind: REQUEST or RESPONSE.
        data: At most DATA_BYTES.
    """

    connection: int
    stream: int
    kind: int
    data: bytes

    def packed(self) -> bytes:
        """Its bytes on the socket."""
        size = _HEADER.size + len(self.data)
        return _MUX.pack(self.connection, size) + _HEADER.pack(len(self.data), self.stream, self.kind, 0) + self.data


class Unpacker:
    """Takes apart what arrives on the socket, however it is cut; keeps at most one frame and one message each."""

    def __init__(self) -> None:
        self._raw = bytearray()
        self._streams = {PLUGIN: bytearray(), RUNTIME: bytearray()}

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The messages that are complete with these bytes. Raises Malformed: the connection must be closed."""
        self._raw += data
        while len(self._raw) >= _MUX.size:
            connection, size = _MUX.unpack_from(self._raw)
            if size > FRAME_BYTES:
                raise Malformed(f"a frame of {size} bytes; {FRAME_BYTES} are allowed")
            end = _MUX.size + size
            if len(self._raw) < end:
                return
            part = bytes(self._raw[_MUX.size : end])
            del self._raw[:end]
            if connection in self._streams:  # others are ignored, as the runtime does
                yield from self._messages(connection, part)

    def _messages(self, connection: int, part: bytes) -> Iterator[Frame]:
        stream = self._streams[connection]
        stream += part
        while len(stream) >= _HEADER.size:
            size, number, kind, _ = _HEADER.unpack_from(stream)
            if size > DATA_BYTES:
                raise Malformed(f"a message of {size} bytes; {DATA_BYTES} are allowed")
            end = _HEADER.size + size
            if len(stream) < end:
                return
            data = bytes(stream[_HEADER.size : end])
            del stream[:end]
            yield Frame(connection, number, kind, data)
