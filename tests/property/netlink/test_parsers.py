"""Recorded dumps of a kernel, damaged: no parser reads outside, both agree, and nothing but Malformed is raised.

Where the two parsers differ, on purpose: in a list of attributes with a length that lies, the core finds what stands in
front of the lie (a caller asks it for one attribute, and most that it asks for are optional), `wire`, which reads whole
lists, raises Malformed. The text of a refusal is cut by the core to the 191 bytes that a struct nd_err has room for.
"""

from __future__ import annotations

import errno
import struct
import sys

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from netdevns import results
from netdevns.engine import EngineError, native, reference
from netdevns.netlink import ifaddr, route, uapi, wire
from netdevns.state import nexthops, routes
from tests.property import messages as nl
from tests.property.profiles import examples
from tests.property.record import RECORDED

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the bytes were recorded on a little-endian machine")

DUMPS = {
    path.stem: [bytes.fromhex(line) for line in path.read_text().split()] for path in sorted(RECORDED.glob("*.hex"))
}
DUMPS["multipath"] = [message for message in DUMPS["routes"] if 9 in dict(nl.walk_attributes(message[28:])[0])]
ALL = [message for messages in DUMPS.values() for message in messages]
HEADERS = {16: 16, 20: 8, 24: 12, 104: 8}  # of each RTM_NEW*, the family header's bytes
NESTED = {16: (uapi.IFLA_LINKINFO, uapi.IFLA_PROP_LIST, 26), 24: (uapi.RTA_METRICS,), 104: (uapi.NHA_RES_GROUP,)}


def length_fields(data: bytes) -> list[tuple[int, int]]:
    """(offset, bytes) of each length in sound messages: nlmsg_len, nla_len, also of nested attributes."""
    found, at = [], 0

    def attributes(begin: int, end: int, nested: tuple[int, ...]) -> None:
        while begin + 4 <= end:
            length, type_ = struct.unpack_from("=HH", data, begin)
            if length < 4 or begin + length > end:
                return
            found.append((begin, 2))
            if type_ & 0x3FFF in nested:
                attributes(begin + 4, begin + length, ())
            if nested == NESTED[24] and type_ == uapi.RTA_MULTIPATH:
                found.append((begin + 4, 2))  # rtnh_len of the first leg
            begin += (length + 3) & ~3

    while at + 16 <= len(data):
        length, type_ = struct.unpack_from("=IH", data, at)
        if length < 16:
            break
        found.append((at, 4))
        attributes(at + 16 + HEADERS.get(type_, 4), min(at + length, len(data)), NESTED.get(type_, ()))
        at += (length + 3) & ~3
    return found


ODD = st.sampled_from([0, 1, 3, 4, 5, 7, 8, 15, 16, 17, 19, 20, 0x7FFF, 0xFFFC, 0xFFFD, 0xFFFF, 0x7FFFFFFF, 2**32 - 1])


def _shorten(data: bytearray, fields: list[tuple[int, int]], at: int, left: int) -> None:
    """Leaves `left` bytes of an attribute's payload; its message is as much shorter, so that no other length lies."""
    length = int.from_bytes(data[at : at + 2], sys.byteorder)
    kept, whole = (4 + left + 3) & ~3, (length + 3) & ~3
    if 4 + left >= length or at + whole > len(data):
        return
    del data[at + kept : at + whole]
    data[at : at + 2] = (4 + left).to_bytes(2, sys.byteorder)
    message = max(field for field, size in fields if size == 4 and field < at)
    was = int.from_bytes(data[message : message + 4], sys.byteorder)
    data[message : message + 4] = max(was - whole + kept, 0).to_bytes(4, sys.byteorder)


@st.composite
def damaged(draw, *names: str) -> bytes:
    """Some messages of the recorded dumps, one after the other, with some damage."""
    one = st.sampled_from(names).flatmap(lambda name: st.sampled_from(DUMPS[name]))
    chosen = draw(st.lists(one, min_size=1, max_size=4))
    data = bytearray(b"".join(nl.padded(message) for message in chosen))
    for _ in range(draw(st.integers(0, 3))):
        how = draw(st.sampled_from(["length", "length", "length", "shorten", "byte", "truncate", "remove", "splice"]))
        at = draw(st.integers(0, len(data)))
        if how == "length":
            fields = length_fields(bytes(data))
            if not fields:
                continue
            at, size = draw(st.sampled_from(fields))
            was = int.from_bytes(data[at : at + size], sys.byteorder)
            lie = draw(ODD | st.integers(-9, 9).map(lambda n, was=was: was + n))
            data[at : at + size] = (lie % 256**size).to_bytes(size, sys.byteorder)
        elif how == "shorten":
            fields = length_fields(bytes(data))
            attributes = [field for field in fields if field[1] == 2]
            if attributes:
                _shorten(data, fields, draw(st.sampled_from(attributes))[0], draw(st.integers(0, 5)))
        elif how == "byte" and at < len(data):
            data[at] = draw(nl.U8)
        elif how == "truncate":
            del data[at:]
        elif how == "remove":
            del data[at : at + draw(st.integers(1, 40))]
        elif how == "splice":
            other = draw(st.sampled_from(ALL))
            begin = draw(st.integers(0, len(other)))
            data[at:at] = other[begin : begin + draw(st.integers(1, 40))]
    return bytes(data)


DUMPED = damaged("links", "addresses", "routes", "multipath", "nexthops")


@examples(60, 750)
@given(damaged(*DUMPS))
def test_messages(data):
    """Both parsers step through the same messages, and end with an error where the first length lies."""
    sound, lies = nl.walk_messages(data)
    found, code = nl.core_messages(data)
    event("a message's length lies" if lies else "sound messages")
    assert [message[16:] for message in sound] == [body for *_, body in found]
    assert [struct.unpack_from("=HHI", message, 4) for message in sound] == [tuple(head) for *head, _ in found]
    assert code == (-errno.EBADMSG if lies else 0)
    assert nl.python_messages(data) == (found, lies)


def lists(data: bytes) -> list[tuple[bytes, int]]:
    """Each list of attributes in damaged messages: the bytes and how many of a header stand in front."""
    found = []
    for message in nl.walk_messages(data)[0]:
        type_ = struct.unpack_from("=H", message, 4)[0]
        header = HEADERS.get(type_, 4)
        found.append((message[16:], header))
        found += [
            (value, 0)
            for attribute, value in nl.walk_attributes(message[16 + header :])[0]
            if attribute in NESTED.get(type_, ())
        ]
    return found


@examples(60, 750)
@given(DUMPED)
def test_attributes(data):
    """Of each list, nested ones too, the core finds what stands before the first lie; `wire` the same, or it raises."""
    for body, header in lists(data):
        sound, lies = nl.walk_attributes(body[header:])
        event("an attribute's length lies" if lies else "sound attributes")
        types = {type_ for type_, _ in sound}
        assert nl.core_attributes(body, header, types | {1, 3, 8, 52}) == dict(sound)
        assert nl.python_attributes(body, header) == (None if lies else dict(sound))
        listed = []
        try:
            for type_, value in wire.attr_list(memoryview(body), header):
                listed.append((type_, bytes(value)))
        except wire.Malformed:
            assert lies
        else:
            assert not lies
        assert listed == sound


def short_leg() -> bytes:
    """A multipath route whose first leg is shorter than its header: too rare to be left to chance."""
    message = bytearray(nl.padded(DUMPS["multipath"][0]))
    at = message.index(dict(nl.walk_attributes(bytes(message[28:]))[0])[uapi.RTA_MULTIPATH])
    message[at : at + 2] = struct.pack("=H", 5)
    return bytes(message)


def raises_malformed(call, *args) -> bool:
    """Whether a call raises Malformed; anything else that it raises fails the test."""
    try:
        call(*args)
    except wire.Malformed:
        return True
    return False


def put_back(before: bytes, now: bytes) -> None:
    """Everything that an undo does with a namespace's dumps."""
    for body in nexthops.missing(before, now, {7: 70}):
        assert len(route.add_nexthop(body)) % 4 == 0
        assert route.nexthop_id(body)
    for body in routes.missing(before, now, {7: 70}):
        assert len(route.add(body)) % 4 == 0
        assert route.text(body)
        route.needs_gateway(body)


# A nexthop object of device 7 whose NHA_ID is empty.
WITHOUT_ID = bytes.fromhex("2c000000 68000200 04000000 88370000 0200000000000000") + bytes.fromhex(
    "04000100 0800050007000000 080006000a000009"
)


@examples(60, 500)
@given(DUMPED, DUMPED)
@example(short_leg(), b"")
@example(WITHOUT_ID, b"")
def test_nothing_but_malformed_is_raised(data, other):
    """On any dump each reader returns a result or raises Malformed."""
    outcomes = [
        raises_malformed(routes.RouteUsage, data, other, (7,)),
        raises_malformed(put_back, data, other),
        raises_malformed(lambda: [vars(address) for address in results.addresses(data)]),
        raises_malformed(lambda: list(ifaddr.addresses(data, protected=True, ifindex=7))),
    ]
    messages = nl.walk_messages(data)[0]
    outcomes += [raises_malformed(wire.Link, memoryview(message)[16:]) for message in messages]
    event(f"{sum(outcomes[:5])} of 5 dumps refused")


@examples(40, 625)
@given(damaged("addresses"))
def test_addresses(data):
    """snapshots.addresses refuses exactly the dumps in which an address has a length that lies or is too short."""
    messages, lies = nl.walk_messages(data)
    for message in messages:
        if struct.unpack_from("=H", message, 4)[0] == uapi.RTM_NEWADDR:
            attributes, damaged_list = nl.walk_attributes(message[24:])
            found = dict(attributes)
            lies |= len(message) < 24 or damaged_list or len(found.get(6, bytes(16))) < 16 or found.get(11) == b""
    assert raises_malformed(lambda: list(ifaddr.addresses(data))) == lies
    event("refused" if lies else "decoded")


@examples(60, 625)
@given(damaged("addresses", "addresses", "links"))
def test_runs_of_addresses(data):
    """Both engines find the messages about addresses, together where they are of one device; or both refuse them."""
    messages, lies = nl.walk_messages(data)
    expected, at, end = [], 0, None
    for message in messages:
        type_ = struct.unpack_from("=H", message, 4)[0]
        padded = data[at : at + len(nl.padded(message))]
        if type_ in (uapi.RTM_NEWADDR, uapi.RTM_DELADDR) and len(message) >= 24:
            ifindex = struct.unpack_from("=i", message, 20)[0]
            if end == at and expected[-1][0] == ifindex:
                expected[-1] = (ifindex, expected[-1][1] + padded)
            else:
                expected.append((ifindex, padded))
            end = at + len(padded)
        at += len(padded)
    event(f"{'refused' if lies else 'sound'}, {min(len(expected), 2)} runs")
    for engine in (native, reference):
        if lies:
            with pytest.raises(EngineError) as refused:
                list(engine.address_runs(data))
            assert refused.value.errno == errno.EBADMSG
        else:
            assert [(ifindex, bytes(run)) for ifindex, run in engine.address_runs(data)] == expected


@examples(60, 625)
@given(damaged("addresses", "links", "refusals", "routes"))
def test_spans(data):
    """Both engines step through messages alike, and refuse the same; the core all at once."""
    messages, lies = nl.walk_messages(data)
    expected, foreign, at = [], [], 0
    for message in messages:
        type_ = struct.unpack_from("=H", message, 4)[0]
        expected.append((type_, at + 16, at + len(message)))
        if type_ == uapi.RTM_NEWROUTE and len(message) >= 28:
            dst_len, protocol = message[17], message[21]
            foreign += expected[-1:] if protocol != 2 or dst_len == 0 else []
        at += len(nl.padded(message))
    event(f"{'refused' if lies else 'sound'}, {min(len(expected), 2)} messages, {min(len(foreign), 2)} routes")
    for engine in (native, reference):
        for find, found in (engine.spans, expected), (engine.foreign_routes, foreign):
            if lies:
                assert raises_malformed(lambda find=find: list(find(data)))
            else:
                assert list(find(data)) == found


@examples(60, 750)
@given(damaged("refusals"))
def test_refusals(data):
    """Both read the same code and text of a refusal, or both refuse it."""
    for message in nl.walk_messages(data)[0]:
        if struct.unpack_from("=H", message, 4)[0] != uapi.NLMSG_ERROR:
            continue
        code, text = nl.core_error(message)
        (read,) = wire.messages(message)
        try:
            said = wire.error(read)
        except wire.Malformed:
            event("refused by wire")
            assert code == -errno.EBADMSG or nl.walk_attributes(_behind_the_echo(message))[1]
        else:
            event("read by both")
            assert said[0] == -code
            assert said[1].encode("utf-8", "replace")[:191] == text.decode("utf-8", "replace").encode()[:191]


def _behind_the_echo(message: bytes) -> bytes:
    """What follows the request in a refusal, which is whole unless NLM_F_CAPPED says otherwise."""
    flags, length = struct.unpack_from("=H", message, 6)[0], struct.unpack_from("=I", message, 20)[0]
    return message[36:] if flags & uapi.NLM_F_CAPPED else message[20 + ((length + 3) & ~3) :]
