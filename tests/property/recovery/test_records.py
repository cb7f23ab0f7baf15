"""Records that are damaged: `parse` raises Damaged and nothing else, and what it takes is what was written."""

from __future__ import annotations

import binascii
import re
import struct
import sys

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from netdevns.netlink import wire
from netdevns.recovery import layout, loaded_record, record
from tests.property import messages as nl
from tests.property.profiles import examples
from tests.property.record import RECORDED

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the bytes were recorded on a little-endian machine")

DUMPS = {
    path.stem: [bytes.fromhex(line) for line in path.read_text().split()] for path in sorted(RECORDED.glob("*.hex"))
}
LINK = next(message for message in DUMPS["links"] if b"eth1\0" in message)
HEAD = {layout.A_VERSION: layout.VERSION, layout.A_BOOT: b"boot", layout.A_PRESERVE: b"", layout.A_PID: 7}
HEAD |= {layout.A_SINCE_MS: 11}
WHERE = {layout.A_WHERE: b"/run/netns/blue", **dict.fromkeys(range(layout.A_COOKIE, layout.A_PID_NS + 1), 7)}
DEVICE = {
    layout.A_HOST_NAME: b"eth1",
    layout.A_IFNAME: b"eth1",
    layout.A_WANTED: b"net%d",
    layout.A_IFINDEX: 7,
    layout.A_ASKED: 7,
    layout.A_UNSURE: 0,
    layout.A_DEPTH: 0,
}
BODY = b"".join(
    [
        *layout.section(layout.HEAD, HEAD),
        *layout.section(layout.SOURCE, WHERE),
        *layout.section(layout.TARGET, WHERE),
        *layout.section(layout.DEVICE, DEVICE, *map(nl.padded, (LINK, *DUMPS["addresses"]))),
        *layout.section(layout.STATE, {layout.A_KIND: b"routes"}, *map(nl.padded, DUMPS["routes"])),
        *layout.section(layout.STATE, {layout.A_KIND: b"nexthops"}, *map(nl.padded, DUMPS["nexthops"])),
    ]
)


def with_checksum(body: bytes) -> bytes:
    return body + wire.message(layout.END, 0, wire.attr(layout.A_CHECKSUM, struct.pack("=Q", binascii.crc32(body))))


SOUND = with_checksum(BODY)


def edits(data: bytes) -> st.SearchStrategy[bytes]:
    """One place of it overwritten, left out, or cut off behind it."""
    at = st.integers(0, len(data) - 1)
    return st.one_of(
        st.builds(lambda at, put: data[:at] + put + data[at + len(put) :], at, st.binary(min_size=1, max_size=8)),
        st.builds(lambda at, size: data[:at] + data[at + size :], at, st.integers(1, 64)),
        st.builds(lambda at: data[:at], at),
    )


def test_sound_record() -> None:
    """What the properties damage is taken whole."""
    sections = layout.parse(SOUND)
    assert [s.type - layout.RECORD for s in sections] == [0, 1, 2, 3, 5, 5]
    assert bytes(sections[3].body) == b"".join(map(nl.padded, (LINK, *DUMPS["addresses"])))
    assert record._device(sections[3]).wanted == b"net%d"


def test_record_of_another_version_is_reported() -> None:
    """Before anything else that it has: sections may mean something else there."""
    head = b"".join(layout.section(layout.HEAD, HEAD | {layout.A_VERSION: 1}))
    with pytest.raises(
        layout.Damaged, match=f"^its format is version 1, this netdevns reads version {layout.VERSION}$"
    ):
        layout.parse(with_checksum(head + wire.message(layout.DEVICE, 0, wire.attr(7, b""))))


@examples(60, 5000)
@given(edits(SOUND))
def test_damaged_record_is_reported(data: bytes) -> None:
    """The checksum finds each damage of up to 8 bytes in a row, and each cut; of END itself not each matters."""
    try:
        sections = layout.parse(data)
    except layout.Damaged:
        return
    assert data[: len(BODY)] == BODY
    assert [(s.type, s.body) for s in sections] == [(s.type, s.body) for s in layout.parse(SOUND)]


@examples(60, 5000)
@given(edits(BODY))
@example(
    BODY.replace(wire.attr(layout.A_IFINDEX, struct.pack("=Q", 7)), wire.attr(layout.A_IFINDEX, bytes(7) + b"\x80"))
)
@example(BODY.replace(wire.attr(layout.A_ASKED, struct.pack("=Q", 7)), wire.attr(layout.A_ASKED, bytes(7) + b"\x80")))
def test_wrong_record_is_reported(body: bytes) -> None:
    """With a checksum that is right: what is wrong is Damaged, too, at the latest where its batch is made of it."""
    try:
        loaded_record.LoadedRecord(None, layout.parse(with_checksum(body))).__exit__()  # type: ignore[arg-type]  # only kept
        event("taken")
    except layout.Damaged as e:
        event(re.sub(r"\d+", "N", str(e)))
