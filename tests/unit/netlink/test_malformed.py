"""Malformed input: every length is checked before a field is read, by the core and by `wire` alike.

The core's inputs end where an unreadable page begins: one byte read behind the end is a crash, not a test that passes.
"""

import errno
import struct

import pytest

from netdevns._ffi import ffi, lib
from netdevns.netlink import ifaddr, uapi, wire
from tests.support.guarded import Guarded
from tests.unit import messages as nl

BAD = -errno.EBADMSG
M = nl.message  # short names: the tables below are easier to read with one line a case
A = nl.attr

# ---- messages ------------------------------------------------------------------------------------------------------

# (bytes, the payload of each message, whether the walk ends with an error)
WALKS = [
    pytest.param(b"", [], False, id="empty"),
    pytest.param(M(3)[:15], [], True, id="header-one-byte-short"),
    pytest.param(M(3), [b""], False, id="header-only"),
    pytest.param(M(3, b"abcd"), [b"abcd"], False, id="one"),
    pytest.param(M(3, b"abcd") + M(4, b"efgh"), [b"abcd", b"efgh"], False, id="two"),
    pytest.param(nl.padded(M(3, b"abcde")) + M(4), [b"abcde", b""], False, id="padded"),
    pytest.param(M(3, b"abcde"), [b"abcde"], False, id="last-without-padding"),
    pytest.param(M(3, b"abcde") + b"\0", [b"abcde"], False, id="last-with-half-its-padding"),
    pytest.param(M(3, b"abcd", length=0), [], True, id="length-0"),
    pytest.param(M(3, b"abcd", length=15), [], True, id="length-15"),
    pytest.param(M(3, b"abcd", length=21), [], True, id="length-one-more-than-there-is"),
    pytest.param(M(3, b"abcd", length=0xFFFFFFFF), [], True, id="length-4-gib"),
    pytest.param(M(3, b"abcd", length=0xFFFFFFFD), [], True, id="length-that-wraps-when-aligned"),
    pytest.param(M(3, b"abcd") + M(4, length=15) + M(5), [b"abcd"], True, id="bad-length-in-the-middle"),
    pytest.param(M(3, b"abcd") + bytes(16), [b"abcd"], True, id="zeros-behind"),
    pytest.param(M(3, b"abcd") + b"\x10", [b"abcd"], True, id="rest-of-one-byte"),
    pytest.param(M(3, b"abcd", length=36) + M(4), [b"abcd" + M(4)], False, id="covers-the-next"),
]


@pytest.mark.parametrize(("data", "payloads", "bad"), WALKS)
def test_view_next(data, payloads, bad):
    """nd_view_next returns the messages before the first wrong length, then -EBADMSG."""
    guarded, found = Guarded(data), []
    while (code := guarded.next()) > 0:
        found.append(bytes(ffi.buffer(guarded.view.body, guarded.view.body_len)))
        assert guarded.pos[0] <= len(data)
    assert (found, code) == (payloads, BAD if bad else 0)


@pytest.mark.parametrize(("data", "payloads", "bad"), WALKS)
def test_wire_messages(data, payloads, bad):
    """wire.messages returns the same messages, then Malformed."""
    found = []
    try:
        for message in wire.messages(data):
            found.append(bytes(message.body))
        code = False
    except wire.Malformed:
        code = True
    assert (found, code) == (payloads, bad)


def test_view_has_all_header_fields():
    """Type, flags, seq, portid, and the whole message are those of the header."""
    data = M(20, b"abcd", seq=0xDEADBEEF, flags=0x12, portid=0xFFFFFFFF)
    guarded = Guarded(data)
    assert guarded.next() == 1
    view = guarded.view
    assert (view.type, view.flags, view.seq, view.portid) == (20, 0x12, 0xDEADBEEF, 0xFFFFFFFF)
    assert bytes(ffi.buffer(view.start, view.len)) == data


# ---- attributes ----------------------------------------------------------------------------------------------------

# (attributes, what type 3 is for the core, what it is for wire; None: not there). The core ends a search where a list
# is damaged: what came before counts. wire, which reads whole lists, refuses them.
MALFORMED = "malformed"
LISTS = [
    pytest.param(b"", None, None, id="none"),
    pytest.param(A(3, b"ab"), b"ab", b"ab", id="one"),
    pytest.param(A(3, b""), b"", b"", id="empty-payload"),
    pytest.param(A(1, b"x") + A(3, b"ab"), b"ab", b"ab", id="second"),
    pytest.param(A(3, b"ab") + A(3, b"cd"), b"cd", b"cd", id="duplicate-last-counts"),
    pytest.param(A(3 | 0x8000, b"ab"), b"ab", b"ab", id="nested-flag"),
    pytest.param(A(3 | 0x4000, b"ab"), b"ab", b"ab", id="net-byteorder-flag"),
    pytest.param(A(3, b"ab")[:6], b"ab", b"ab", id="last-without-padding"),
    pytest.param(A(1, b"x")[:5], None, None, id="other-without-padding"),
    pytest.param(b"\x08\0\x03", None, None, id="three-bytes"),
    pytest.param(A(3, b"abcd", length=0), None, MALFORMED, id="length-0"),
    pytest.param(A(3, b"abcd", length=3), None, MALFORMED, id="length-3"),
    pytest.param(A(3, b"abcd", length=9), None, MALFORMED, id="length-one-more-than-there-is"),
    pytest.param(A(3, b"abcd", length=0xFFFF), None, MALFORMED, id="length-64-kib"),
    pytest.param(A(3, b"ab") + A(1, b"x", length=2), b"ab", MALFORMED, id="damaged-behind-it"),
    pytest.param(A(1, b"x", length=2) + A(3, b"ab"), None, MALFORMED, id="damaged-in-front-of-it"),
    pytest.param(A(1, A(3, b"ab")), None, None, id="nested-is-not-searched"),
    pytest.param(A(1, b"", length=12) + A(3, b"ab"), None, None, id="overlaps-the-next"),
    pytest.param(A(3, b"ab") + b"\0\0", b"ab", b"ab", id="two-bytes-behind"),
]


@pytest.mark.parametrize(("attributes", "expected", "_"), LISTS)
@pytest.mark.parametrize("header", [0, 1, 8, 16])
def test_view_attr(attributes, expected, _, header):
    """nd_view_attr finds attributes behind a header of any length, and ends at the first wrong length."""
    guarded = Guarded(M(16, bytes((header + 3) & ~3) + attributes))
    assert guarded.next() == 1
    assert guarded.attr(header, 3) == expected


@pytest.mark.parametrize(("attributes", "_", "expected"), LISTS)
def test_wire_attrs(attributes, _, expected):
    """wire.attrs finds the same in valid lists and refuses damaged ones."""
    try:
        found = wire.attrs(memoryview(attributes)).get(3)
    except wire.Malformed:
        assert expected == MALFORMED
    else:
        assert (None if found is None else bytes(found)) == expected


@pytest.mark.parametrize("header", [13, 16, 64])
def test_view_attr_with_a_body_shorter_than_the_header(header):
    """A message that is shorter than its family header has no attributes."""
    guarded = Guarded(M(16, A(3, b"abcdef")))
    assert guarded.next() == 1
    assert guarded.attr(header, 3) is None


# ---- NLMSG_ERROR ---------------------------------------------------------------------------------------------------

REQUEST = nl.Request(M(16, bytes(16) + A(3, b"net0"), seq=5))
CODE = struct.pack("=i", -errno.EEXIST)
HEAD = REQUEST.data[:16]
TLVS, CAPPED = nl.NLM_F_ACK_TLVS, nl.NLM_F_CAPPED


def echo(length: int) -> bytes:
    """The echoed header with a wrong length."""
    return struct.pack("=I", length) + HEAD[4:]


# (message, code, text, offset)
ERRORS = [
    pytest.param(nl.error(0, REQUEST), 0, "", 0, id="ack"),
    pytest.param(nl.error(17, REQUEST), -17, "", 0, id="refusal"),
    pytest.param(nl.error(17, REQUEST, text="taken", offset=32), -17, "taken", 32, id="extack-capped"),
    pytest.param(nl.error(17, REQUEST, text="taken", offset=32, capped=False), -17, "taken", 32, id="extack-uncapped"),
    pytest.param(nl.error(17, REQUEST, capped=False), -17, "", 0, id="uncapped-without-extack"),
    pytest.param(nl.error(0, REQUEST, text="a warning"), 0, "a warning", 0, id="ack-with-a-warning"),
    pytest.param(M(2, CODE + HEAD + A(1, b"cut off"), flags=TLVS | CAPPED), -17, "cut off", 0, id="text-without-nul"),
    pytest.param(M(2, CODE + HEAD + A(1, b"a\0b"), flags=TLVS | CAPPED), -17, "a", 0, id="text-ends-at-nul"),
    pytest.param(M(2, CODE + HEAD + A(1, b""), flags=TLVS | CAPPED), -17, "", 0, id="text-empty"),
    pytest.param(M(2, CODE + HEAD + A(1, b"x" * 300), flags=TLVS | CAPPED), -17, "x" * 191, 0, id="text-too-long"),
    pytest.param(M(2, CODE + HEAD + A(2, b"ab"), flags=TLVS | CAPPED), -17, "", 0, id="offset-of-two-bytes"),
    pytest.param(M(2, CODE + HEAD + A(1, b"x"), flags=CAPPED), -17, "", 0, id="attributes-without-the-flag"),
    pytest.param(M(2, CODE + HEAD, flags=TLVS | CAPPED), -17, "", 0, id="flag-without-attributes"),
    pytest.param(M(2, CODE + HEAD + b"\x09\0\x01\0abcd", flags=TLVS | CAPPED), -17, "", 0, id="attribute-too-long"),
    pytest.param(M(2, CODE + echo(15) + A(1, b"x"), flags=TLVS), -17, "", 0, id="echo-shorter-than-a-header"),
    pytest.param(M(2, CODE + echo(99) + A(1, b"x"), flags=TLVS), -17, "", 0, id="echo-longer-than-the-message"),
    pytest.param(M(2, CODE + echo(0xFFFFFFFF), flags=TLVS), -17, "", 0, id="echo-4-gib"),
    pytest.param(M(2, CODE + echo(20), flags=TLVS), -17, "", 0, id="echo-ends-behind-the-message"),
    pytest.param(M(2, CODE + HEAD[:-1]), BAD, "a malformed error message", 0, id="one-byte-short"),
    pytest.param(M(2), BAD, "a malformed error message", 0, id="empty"),
    pytest.param(M(2, struct.pack("=i", 1) + HEAD), BAD, "an error message with a positive code", 0, id="positive"),
    pytest.param(
        M(2, struct.pack("=i", -(2**31)) + HEAD), BAD, "an error message with a positive code", 0, id="int-min"
    ),
    pytest.param(M(3, CODE + HEAD), BAD, "a malformed error message", 0, id="not-an-error"),
]


@pytest.mark.parametrize(("data", "code", "text", "offset"), ERRORS)
def test_view_error(data, code, text, offset):
    """nd_view_error returns code, extack text and offset, and checks all lengths."""
    guarded = Guarded(data)
    err = ffi.new("struct nd_err *", {"index": 9, "offset": 9, "text": b"old"})
    assert guarded.next() == 1
    assert lib.nd_view_error(guarded.view, err) == code
    assert (err.code, ffi.string(err.text).decode(), err.offset) == (code, text, offset)


# Where the core is lenient, wire is strict, or cuts nothing off; it reads only what the engine has let pass.
NOT_FOR_WIRE = {"text-too-long", "attribute-too-long", "not-an-error"}
WIRE_ERRORS = [case for case in ERRORS if case.id not in NOT_FOR_WIRE]


@pytest.mark.parametrize(("data", "code", "text", "_"), WIRE_ERRORS)
def test_wire_error(data, code, text, _):
    """wire.error returns the same errno, positive, and the same text, or refuses the same."""
    (message,) = wire.messages(data)
    if code == BAD:
        with pytest.raises(wire.Malformed):
            wire.error(message)
    else:
        assert wire.error(message) == (-code, text)


@pytest.mark.parametrize("body", [b"", CODE, CODE + HEAD[:-1]], ids=["empty", "code-only", "one-byte-short"])
def test_wire_error_truncated(body):
    """An error message without a whole header of the request is Malformed."""
    (message,) = wire.messages(M(2, body))
    with pytest.raises(wire.Malformed):
        wire.error(message)


def test_wire_error_with_a_damaged_attribute():
    """Attributes with a wrong length drop the extack text; the errno counts."""
    (message,) = wire.messages(M(2, CODE + HEAD + b"\x09\0\x01\0abcd", flags=TLVS | CAPPED))
    assert wire.error(message) == (-struct.unpack("=i", CODE)[0], "")


# ---- what Python decodes -------------------------------------------------------------------------------------------

GOOD = nl.address_body("10.0.0.1/24", 7)


def address(attributes: bytes, head: bytes = GOOD[:8]) -> bytes:
    return nl.padded(M(20, head + attributes))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(M(20, GOOD)[:15], id="truncated-header"),
        pytest.param(M(20, GOOD, length=200), id="overlong"),
        pytest.param(address(A(1, b"abcd", length=3)), id="attribute-too-short"),
        pytest.param(address(A(1, b"abcd", length=99)), id="attribute-too-long"),
        pytest.param(address(b"", head=b"\x02\x18\x80"), id="body-shorter-than-its-header"),
        pytest.param(address(b"", head=b""), id="body-empty"),
        pytest.param(address(A(6, bytes(15))), id="cacheinfo-too-short"),
        pytest.param(address(A(11, b"")), id="protocol-empty"),
    ],
)
def test_addresses_malformed(data):
    """A snapshot with a wrong length is Malformed, not an address with half its fields."""
    with pytest.raises(wire.Malformed):
        list(ifaddr.addresses(data))


@pytest.mark.parametrize(
    ("attributes", "field", "value"),
    [
        pytest.param(b"", "address", "", id="no-address"),
        pytest.param(A(1, b"abc"), "address", "616263", id="address-of-three-bytes"),
        pytest.param(A(1, bytes(4)) + A(1, b"\x0a\0\0\x01"), "address", "10.0.0.1", id="address-twice"),
        pytest.param(A(2, b"\x0a\0\0\x01") + A(1, b"\x0a\0\0\x02"), "peer", "10.0.0.2", id="peer"),
        pytest.param(A(2, b"\x0a\0\0\x01") + A(1, b"\x0a\0\0\x01"), "peer", None, id="no-peer"),
        pytest.param(A(3, b"eth1"), "label", "eth1", id="label-without-nul"),
        pytest.param(A(3, b"eth1\0junk"), "label", "eth1", id="label-ends-at-nul"),
        pytest.param(A(3, b"\xff\0"), "label", "\udcff", id="label-is-bytes"),
        pytest.param(A(8, b"\x80\x02\0\0"), "flags", 0x280, id="flags-of-32-bits"),
        pytest.param(A(8, b"\x80"), "flags", 0x80, id="flags-of-one-byte-ignored"),
        pytest.param(A(9, b"\x05\0\0"), "metric", None, id="metric-of-three-bytes"),
        pytest.param(A(6, bytes(20)), "valid_lft_s", 0, id="cacheinfo-longer"),
        pytest.param(A(77, b"new") + A(1, b"\x0a\0\0\x01"), "address", "10.0.0.1", id="unknown-attribute"),
    ],
)
def test_addresses_odd(attributes, field, value):
    """Unusual but well-formed addresses are decoded as far as possible."""
    (found,) = ifaddr.addresses(address(attributes))
    assert found[field] == value


def test_addresses_skip_other_messages():
    """Only RTM_NEWADDR messages are decoded."""
    data = nl.padded(M(16, nl.link_body(7))) + M(20, GOOD)
    assert [a["address"] for a in ifaddr.addresses(data)] == ["10.0.0.1"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(bytes(15), id="shorter-than-its-header"),
        pytest.param(bytes(16) + A(3, b"eth1", length=99), id="attribute-too-long"),
        pytest.param(bytes(16) + A(18, A(1, b"ifb", length=99)), id="nested-attribute-too-long"),
        pytest.param(bytes(16) + A(52, A(53, b"alt", length=2)), id="property-too-short"),
        pytest.param(bytes(16) + A(67, b""), id="immutable-empty"),
    ],
)
def test_link_malformed(body):
    """A link with a wrong length is Malformed, in nested lists, too."""
    with pytest.raises(wire.Malformed):
        wire.Link(memoryview(body))


def test_link_with_duplicates_and_padding():
    """Of duplicates the last counts, but all of IFLA_ALT_IFNAME; empty lists have no names."""
    names = A(53, b"first\0") + A(53, b"second-and-longer\0")
    link = wire.Link(memoryview(nl.link_body(7) + A(3, b"old\0") + A(3, b"eth1\0") + A(52 | 0x8000, names)))
    assert (link.name, link.altnames) == (b"eth1", (b"first", b"second-and-longer"))
    assert wire.Link(memoryview(nl.link_body(7) + A(52, b""))).altnames == ()


def test_immutable_has_three_answers():
    """IFLA_NETNS_IMMUTABLE: yes, no, and not reported (before 6.15)."""
    said = [wire.Link(memoryview(nl.link_body(7) + more)).immutable for more in (A(67, b"\1"), A(67, b"\0"), b"")]
    assert said == [True, False, None]


@pytest.mark.parametrize(
    ("attributes", "lower"),
    [
        pytest.param(A(5, b"\x02\0\0\0"), 2, id="vlan"),
        pytest.param(A(5, b"\x02\0\0\0") + A(37, bytes(4)), None, id="in-another-namespace"),
        pytest.param(A(5, b"\x02\0\0\0") + A(18, A(1, b"veth\0")), None, id="veth-peer"),
        pytest.param(b"", None, id="none"),
    ],
)
def test_lower(attributes, lower):
    """IFLA_LINK is a lower device, except a veth's peer and one in another namespace."""
    assert wire.Link(memoryview(nl.link_body(7) + attributes)).lower == lower


def test_u32_of_another_length_is_none():
    """A u32 attribute of another length is ignored."""
    assert [wire.u32(v and memoryview(v)) for v in (None, b"abc", b"\1\0\0\0", b"abcde")] == [None, None, 1, None]


def test_messages_flags_are_named_right():
    """The flags that decide here have the kernel's values (linux/netlink.h)."""
    assert (uapi.NLM_F_CAPPED, uapi.NLM_F_ACK_TLVS, uapi.NLM_F_DUMP_INTR) == (0x100, 0x200, 0x10)
