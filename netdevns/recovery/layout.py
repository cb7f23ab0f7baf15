"""Builds and parses the binary form of records and loans (docs/records.md).

A record is a sequence of netlink messages: our own (types from RECORD on) introduce the kernel's, which are stored as
they were dumped. The last message holds a checksum of all before it. `parse` rejects a damaged or incomplete record
before anything is done with it.
"""

from __future__ import annotations

import binascii
import os
from collections.abc import Iterable, Sequence
from struct import Struct

from .. import descriptors, state
from ..netlink import ifname, uapi, wire
from ..netlink.ifaddr import IFADDRMSG

RECORD = 0xF000
HEAD, SOURCE, TARGET, DEVICE, UPPER, STATE, LOAN, END = range(RECORD, RECORD + 8)
VERSION = 3
A_VERSION, A_BOOT, A_CHECKSUM, A_PRESERVE, A_LENDS, A_PID, A_SINCE_MS = range(1, 8)  # of HEAD and END
A_WHERE, A_COOKIE, A_DEV, A_INO, A_OF_PID, A_OF_START, A_PID_NS = range(1, 8)  # of SOURCE and TARGET
A_HOST_NAME, A_IFNAME, A_WANTED, A_IFINDEX, A_ASKED, A_UNSURE, A_DEPTH = range(1, 8)  # of DEVICE and UPPER
A_KIND = 1  # of STATE
A_CONTAINER = 1  # of LOAN
COMPLETE = 0x646F6E65  # the seq of END, once the mover has verified all devices; 0 before
RESTORED = 0x6261636B  # the seq of a DEVICE that a partial undo has restored; 0 before
SEQ = 8  # its offset in a message
U64 = Struct("=Q")
NUMBER = Struct("=HHQ")  # an attribute of 12 bytes
BOOT_ID = "/proc/sys/kernel/random/boot_id"

_NAMESPACE = (A_COOKIE, A_DEV, A_INO, A_OF_PID, A_OF_START, A_PID_NS)
_LINK = (A_IFINDEX, A_ASKED, A_UNSURE, A_DEPTH)
# The mandatory numbers and texts of each section type.
_NUMBERS = {
    HEAD: (A_VERSION, A_PID, A_SINCE_MS),
    SOURCE: _NAMESPACE,
    TARGET: _NAMESPACE,
    DEVICE: _LINK,
    UPPER: _LINK,
    END: (A_CHECKSUM,),
}
_TEXTS = {
    HEAD: (A_BOOT, A_PRESERVE),
    SOURCE: (A_WHERE,),
    TARGET: (A_WHERE,),
    DEVICE: (A_HOST_NAME, A_IFNAME, A_WANTED),
    UPPER: (A_HOST_NAME, A_IFNAME, A_WANTED),
    STATE: (A_KIND,),
    LOAN: (A_CONTAINER,),
}
# The kernel messages that follow DEVICE and UPPER, the link first, with the sizes of their fixed headers. STATE is
# followed by the messages of its kind.
_LINK_AND_ADDRESSES = {uapi.RTM_NEWLINK: wire.IFINFOMSG.size, uapi.RTM_NEWADDR: IFADDRMSG.size}
_ONCE = (HEAD, SOURCE, TARGET)  # each occurs once in a record


class Damaged(ValueError):
    """A record is truncated, malformed, of another version, or not ours."""


class Section:
    """One of our messages, with the kernel messages that follow it.

    Attributes:
        at: Its offset in the record.
        body: The kernel messages.
        is_restored: Whether it is a device that is marked as restored.
        is_shortened: Of HEAD: whether the record has such devices; their state is then still in it.
    """

    __slots__ = ("_attrs", "at", "body", "is_restored", "is_shortened", "type")

    def __init__(self, type_: int, attrs: dict[int, memoryview], at: int = 0, seq: int = 0) -> None:
        self.type = type_
        self._attrs = attrs
        self.at = at
        self.body = bytearray()
        self.is_restored = type_ == DEVICE and seq == RESTORED
        self.is_shortened = False

    def number(self, type_: int) -> int:
        data = self._attrs.get(type_, memoryview(b""))
        if len(data) != U64.size:
            raise Damaged("a number is missing")
        return int(U64.unpack(data)[0])

    def ifindex(self, type_: int) -> int:
        found = self.number(type_)
        if found > 0x7FFFFFFF:
            raise Damaged("invalid ifindex")
        return found

    def text(self, type_: int) -> bytes:
        if type_ not in self._attrs:
            raise Damaged("a name is missing")
        return bytes(self._attrs[type_])

    def optional(self, type_: int) -> bytes | None:
        return bytes(self._attrs[type_]) if type_ in self._attrs else None

    def parts(self) -> list[bytes]:
        """The messages, as `section` built them."""
        return section(self.type, {type_: bytes(data) for type_, data in self._attrs.items()}, bytes(self.body))


def section(type_: int, attrs: dict[int, int | bytes], *dumped: bytes) -> list[bytes]:
    """Builds one of our messages, with the kernel messages that follow it; numbers take 64 bits."""
    number, text = NUMBER.pack, wire.attr
    packed = [text(t, v) if isinstance(v, bytes) else number(12, t, v & 0xFFFFFFFFFFFFFFFF) for t, v in attrs.items()]
    return [wire.message(type_, 0, b"".join(packed)), *dumped]


def head(preserve: Iterable[str], *, since_ms: int, loan_id: int = 0) -> list[bytes]:
    """Builds the HEAD section.

    Args:
        preserve: The kinds of state to preserve.
        since_ms: When the snapshots were taken (`clock.now_ms`).
        loan_id: Of the loan that the move writes at its end; 0: none.
    """
    attrs: dict[int, int | bytes] = {A_VERSION: VERSION, A_BOOT: boot_id(), A_PRESERVE: " ".join(preserve).encode()}
    attrs |= {A_PID: os.getpid(), A_SINCE_MS: since_ms}
    return section(HEAD, attrs | {A_LENDS: loan_id} if loan_id else attrs)


def boot_id() -> bytes:
    """The kernel's id of this boot."""
    fd = os.open(BOOT_ID, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 64).strip()
    finally:
        descriptors.close(fd)


def parse(data: bytes) -> list[Section]:
    """The sections of a record, each with all mandatory parts; without END and devices that are marked as restored.

    Raises:
        Damaged: The record is truncated, of another version, or has a missing or malformed part. Of the kernel
            messages, only types and attribute lengths are checked.
    """
    found: list[Section] = []
    try:
        for type_, at, stop in wire.spans(data):
            if found and found[-1].type == END:
                raise Damaged("data after its end")
            if type_ >= RECORD:
                (seq,) = wire.U32.unpack_from(data, at - 16 + SEQ)
                found.append(Section(type_, wire.attrs(memoryview(data)[at:stop]), at - 16, seq))
                if len(found) == 1 and type_ == HEAD:  # first: in another version the rest may mean something else
                    _check_version(found[0].number(A_VERSION))
            elif not found:
                raise Damaged("it has no header")
            else:
                found[-1].body += data[at - 16 : stop] + bytes(-stop & 3)
            if type_ == END and found[-1].number(A_CHECKSUM) != binascii.crc32(_unmarked(data[: at - 16], found)):
                raise Damaged("wrong checksum")
        if not found or found[0].type != HEAD or found[-1].type != END:
            raise Damaged("it is truncated")
        _check(found)
    except wire.Malformed as e:
        raise Damaged(str(e)) from None
    left = [each for each in found[:-1] if not each.is_restored]
    left[0].is_shortened = len(left) < len(found) - 1
    return left


def _unmarked(data: bytes, sections: Sequence[Section]) -> bytes:
    """These bytes of a record as they were written: without the marks of restored devices."""
    marks = [each.at + SEQ for each in sections if each.is_restored]
    written = bytearray(data if marks else b"")
    for at in marks:
        written[at : at + 4] = bytes(4)
    return bytes(written) if marks else data


def target(sections: Sequence[Section]) -> Section:
    """The section of a record's target; `parse` has seen that there is one."""
    return next(section for section in sections if section.type == TARGET)


def is_complete(data: bytes) -> bool:
    """Whether a sound record says that its move was complete (nd_record_mark in C)."""
    return any(wire.U32.unpack_from(data, at - 8)[0] == COMPLETE for type_, at, _ in wire.spans(data) if type_ == END)


def _check_version(version: int) -> None:
    if version != VERSION:
        raise Damaged(f"its format is version {version}, this netdevns reads version {VERSION}")


def _check(sections: list[Section]) -> None:
    """Checks the parts that readers of a record rely on. Raises Damaged, Malformed."""
    for type_ in _ONCE:
        if (count := sum(each.type == type_ for each in sections)) != 1:
            raise Damaged(f"a section that must occur once occurs {count} times")
    for each in sections:
        for number in _NUMBERS.get(each.type, ()):
            each.number(number)
        for text in _TEXTS.get(each.type, ()):
            each.text(text)
        if each.type in (DEVICE, UPPER):
            if ifname.why_invalid(each.text(A_IFNAME)):  # it becomes part of paths below /proc/sys
                raise Damaged("invalid device name")
            if b"\0" in each.text(A_WANTED):
                raise Damaged("NUL byte in a device name")
            each.ifindex(A_IFINDEX)
            each.ifindex(A_ASKED)
        _check_dumped(each)


def _check_dumped(section_: Section) -> None:
    is_first = section_.type in (DEVICE, UPPER)
    sizes = _LINK_AND_ADDRESSES if is_first else {}
    if section_.type == STATE:
        name = section_.text(A_KIND)
        kind = next((kind for kind in state.KINDS if kind.name.encode() == name), None)
        if kind is None:
            raise Damaged("unknown kind of state")
        sizes = dict(kind.messages)
    for message in wire.messages(bytes(section_.body)) if sizes else ():
        size = sizes.get(message.type, -1)
        if size < 0 or len(message.body) < size or (is_first and message.type != uapi.RTM_NEWLINK):
            raise Damaged("unexpected kernel message")
        wire.attrs(message.body, size)
        is_first = False
    if is_first:
        raise Damaged("a snapshot is missing")
