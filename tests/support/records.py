"""Changes records of crashed moves, for tests: docs/records.md."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

A_SINCE_MS = struct.pack("=HH", 12, 7)  # an attribute of HEAD: length and type
END_BYTES = 28  # of END: a header and a number, the checksum of all before


def sealed(record: bytes) -> bytes:
    """With the right checksum."""
    return record[:-8] + struct.pack("=Q", zlib.crc32(record[:-END_BYTES]))


def make_older(record: Path, seconds: int) -> None:
    """As if it had been written that long ago."""
    data = record.read_bytes()
    at = data.index(A_SINCE_MS, 16) + 4
    (since_ms,) = struct.unpack_from("=Q", data, at)
    since_ms -= 1000 * seconds
    assert since_ms > 0, "this kernel has not been running for so long"
    record.write_bytes(sealed(data[:at] + struct.pack("=Q", since_ms) + data[at + 8 :]))


def unmarked(record: bytes) -> bytes:
    """As if its mover had been killed before it noted that the move was complete, in the seq of END."""
    at = len(record) - END_BYTES + 8
    assert record[at : at + 4] == struct.pack("=I", 0x646F6E65)
    return record[:at] + bytes(4) + record[at + 4 :]
