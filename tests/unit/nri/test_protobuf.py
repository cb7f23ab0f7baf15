"""The wire format of protobuf: the same as the protobuf package reads and writes."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given
from hypothesis import strategies as st

from netdevns.nri.protobuf import Malformed, Message, encoded
from tests.property.profiles import examples

FIELD = descriptor_pb2.FieldDescriptorProto


def oracle():
    """A class with a uint64 1, a string 2, a repeated string 3, a message 4 of its own type, and a map 5 of strings."""
    file = descriptor_pb2.FileDescriptorProto(name="oracle.proto", package="oracle", syntax="proto3")
    message = file.message_type.add(name="M")
    entry = message.nested_type.add(name="MapEntry", options=descriptor_pb2.MessageOptions(map_entry=True))
    for number, name in ((1, "key"), (2, "value")):
        entry.field.add(name=name, number=number, type=FIELD.TYPE_STRING, label=FIELD.LABEL_OPTIONAL)
    message.field.add(name="number", number=1, type=FIELD.TYPE_UINT64, label=FIELD.LABEL_OPTIONAL)
    message.field.add(name="text", number=2, type=FIELD.TYPE_STRING, label=FIELD.LABEL_OPTIONAL)
    message.field.add(name="texts", number=3, type=FIELD.TYPE_STRING, label=FIELD.LABEL_REPEATED)
    within = {"type": FIELD.TYPE_MESSAGE, "label": FIELD.LABEL_OPTIONAL, "type_name": ".oracle.M"}
    message.field.add(name="within", number=4, **within)
    a_map = {"type": FIELD.TYPE_MESSAGE, "label": FIELD.LABEL_REPEATED, "type_name": ".oracle.M.MapEntry"}
    message.field.add(name="map", number=5, **a_map)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("oracle.M"))


M = oracle()


def seen(message: Message) -> tuple:
    """What the plugin reads; raises Malformed as it would."""
    within = message.message(4)
    texts = [each.decode() for each in message.all(3)]
    return message.number(1), message.text(2), texts, (within.number(1), within.text(2)), message.texts(5)


def expected(message) -> tuple:
    within = (message.within.number, message.within.text)
    return message.number, message.text, list(message.texts), within, dict(message.map)


def built(number: int, text: str, texts: list[str], within: tuple[int, str], a_map: dict[str, str]):
    message = M(number=number, text=text, texts=texts, map=a_map)
    message.within.number, message.within.text = within
    return message


TEXT = st.text(st.characters(codec="utf-8"), max_size=9)
NUMBER = st.integers(0, 2**64 - 1)
MESSAGES = st.builds(
    built, NUMBER, TEXT, st.lists(TEXT, max_size=3), st.tuples(NUMBER, TEXT), st.dictionaries(TEXT, TEXT, max_size=3)
)


@examples(200, 2_000)
@given(MESSAGES)
def test_reads_what_the_package_writes(message):
    """Every field arrives."""
    assert seen(Message(message.SerializeToString())) == expected(message)


@examples(200, 2_000)
@given(NUMBER, TEXT, st.tuples(NUMBER, TEXT))
def test_the_package_reads_what_is_written(number, text, within):
    """Every field arrives, and zero and empty ones take no bytes."""
    data = encoded({1: number, 2: text, 4: encoded({1: within[0], 2: within[1]})})
    message = M.FromString(data)
    assert (message.number, message.text, (message.within.number, message.within.text)) == (number, text, within)
    assert data == built(number, text, [], within, {}).SerializeToString() or not any(within)


@examples(500, 5_000)
@given(MESSAGES, st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4), st.integers(0, 200))
def test_damaged_bytes(message, changes, cut):
    """What is read from damaged bytes is what the package reads, or both refuse them; never another error."""
    data = bytearray(message.SerializeToString()[:cut])
    for at, byte in changes:
        if at < len(data):
            data[at] = byte
    compare(bytes(data))


@examples(500, 5_000)
@given(st.binary(max_size=40))
def test_random_bytes(data):
    """The same of bytes that are no message."""
    compare(data)


def compare(data: bytes) -> None:
    try:
        found = seen(Message(data))
    except (Malformed, UnicodeDecodeError):
        return
    try:
        message = M.FromString(data)
    except DecodeError:
        # Stricter than the plugin, which takes fields apart as far as it reads them: `within` of `within`, say.
        return
    wanted = expected(message)
    # The package keeps a whole entry of a map as unknown for an unknown field in it, which the format does not ask for.
    is_whole = all(each.field_number != 5 for each in UnknownFieldSet(message))
    assert found == wanted if is_whole else found[:4] == wanted[:4]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x08", "an integer is cut off"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "an integer is cut off or too long"),
        (b"\x12\x05abc", "field 2 is cut off"),
        (b"\x12\xff\xff\xff\xff\x0f", "field 2 is cut off"),
        (b"\x00\x01", "no field has the number 0"),
        (b"\x0b\x0c", "field 1 has the wire type 3"),
        (b"\x11\x01", "field 2 is cut off"),
    ],
)
def test_malformed(data, why):
    """Bytes that are no message are refused, with the reason."""
    with pytest.raises(Malformed, match=why):
        Message(data)


def test_other_type_is_ignored():
    """A known number with another wire type is an unknown field, as for the package."""
    data = b"\x0a\x01x\x10\x05"  # 1 as a string, 2 as an integer
    message = Message(data)
    assert (message.number(1), message.text(2)) == (0, "") == (M.FromString(data).number, M.FromString(data).text)


def test_text_is_utf8():
    """A string that is not UTF-8 is refused."""
    with pytest.raises(Malformed, match="field 2 is not UTF-8"):
        Message(b"\x12\x01\xff").text(2)
