"""Looks up links and addresses in few system calls, without changing anything."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Mapping

from ..netlink import ifaddr, uapi, wire
from . import EngineError, Socket, address_runs, spans

# A default receive buffer holds about 90 unread answers about links (probe dumps.datagram.look-ups).
WINDOW = 32
ANSWER_BYTES = 4096


def format_error(e: EngineError) -> str:
    """An error in one phrase: the errno's text with the kernel's extack, or the reason why a reply is malformed."""
    if isinstance(e, wire.Malformed):
        return str(e)
    words = os.strerror(e.errno)
    return f"{words}: {e.extack}" if e.extack else words


def ask(socket: Socket, requests: list[bytes]) -> list[wire.Message]:
    """One reply for each request, errors included, in few system calls."""
    answers: list[wire.Message] = []
    size = WINDOW
    while len(answers) < len(requests):
        window = requests[len(answers) : len(answers) + size]
        try:
            first, data = socket.query(b"".join(window), len(window) * ANSWER_BYTES)
        except EngineError as e:
            # Links with many alternative names have longer replies: fewer of them fit into the receive buffer.
            if e.errno != errno.ENOBUFS or len(window) == 1:
                raise
            size = len(window) // 2
            continue
        view = memoryview(data)
        messages = [wire.Message(view[at - 16 : end]) for _, at, end in spans(data)]
        by_seq = {message.seq: message for message in messages}
        for seq in range(first, first + len(window)):
            if seq not in by_seq:
                raise EngineError(errno.EBADMSG, "a request was not answered", "exchange")
            answers.append(by_seq[seq])
    return answers


def refused(answer: wire.Message) -> int:
    """The errno of a reply; 0: an ack, or the object that was asked for."""
    return wire.error_code(answer) if answer.type == uapi.NLMSG_ERROR else 0


def link_of(answer: wire.Message) -> wire.Link | None:
    """The link of a reply; None: no such device. Any other error raises EngineError."""
    if answer.type == uapi.RTM_NEWLINK:
        return wire.Link(answer.body)
    # Not there: ENODEV (probe dumps.get.unknown-name), and EINVAL for a name that no device can have.
    if wire.error_code(answer) in (errno.ENODEV, errno.EINVAL):
        return None
    raise EngineError(*wire.error(answer), "exchange")


def link(socket: Socket, *, ifindex: int = 0, name: bytes | None = None) -> wire.Link | None:
    """One link by ifindex or name; None: no such device."""
    return link_of(ask(socket, [wire.get_link(ifindex, name)])[0])


def dump(socket: Socket, request: bytes, size: int = 0, about: Collection[int] | None = None) -> bytes:
    """A whole dump. Raises EngineError where the kernel refuses it. `size`: of the first buffer, at least.

    `about`: keeps only messages about these ifindexes (nd_filter_keeps in csrc/netdevns-core.h).
    """
    _, dumped = socket.query(request, size, about)
    _raise_refusal(dumped)
    return dumped


def _raise_refusal(dumped: bytes | memoryview) -> None:
    first = next(wire.messages(dumped), None)
    if first is not None and first.type == uapi.NLMSG_ERROR:
        raise EngineError(*wire.error(first), "exchange")


def dump_if_known(socket: Socket, request: bytes, about: Collection[int] | None = None) -> bytes:
    """A dump of what a kernel may be built without (traffic control, snooping); then it is empty."""
    try:
        return dump(socket, request, about=about)
    except EngineError as e:
        if e.errno != errno.EOPNOTSUPP:
            raise
        return b""


_DUMP_LINKS = wire.link_message(uapi.RTM_GETLINK, uapi.NLM_F_DUMP, 0, wire.SKIP_STATS)


def links(socket: Socket, size: int = 0) -> list[wire.Link]:
    """All links of a namespace."""
    return _links(dump(socket, _DUMP_LINKS, size))


def links_of(socket: Socket, names: Collection[bytes]) -> list[wire.Link]:
    """The links with these names, and all links on top of another one."""
    dumped = socket.read(_DUMP_LINKS, (len(names) + 8) * ANSWER_BYTES, (), names)
    _raise_refusal(dumped)
    return _links(dumped)


def _links(dumped: bytes | memoryview) -> list[wire.Link]:
    view = memoryview(dumped)
    bodies = [view[at:end] for type_, at, end in spans(dumped) if type_ == uapi.RTM_NEWLINK]
    return [wire.Link(body) for body in bodies]


def addresses(socket: Socket, ifindexes: Collection[int]) -> Mapping[int, bytes | memoryview]:
    """The RTM_NEWADDR messages of some devices by ifindex, in dump order.

    Several devices need a dump of all: the kernel filters by one ifindex only (probe dumps.addresses.ifindex). Those of
    one device are valid until the next exchange.
    """
    if len(ifindexes) == 1:
        (one,) = ifindexes
        seen = socket.read(ifaddr.dump_addresses(one), about=ifindexes)
        _raise_refusal(seen)
        return {one: seen}
    dumped = dump(socket, ifaddr.dump_addresses(), about=ifindexes)
    found: dict[int, list[bytes | memoryview]] = {ifindex: [] for ifindex in ifindexes}
    for ifindex, messages in address_runs(dumped):
        found[ifindex].append(messages)
    return {ifindex: runs[0] if len(runs) == 1 else b"".join(runs) for ifindex, runs in found.items()}


def link_and_addresses(socket: Socket, ifindex: int) -> tuple[list[wire.Message], Mapping[int, bytes | memoryview]]:
    """One device in one exchange: its link or the error, and its addresses, valid until the next exchange."""
    try:
        answers = socket.read(wire.get_link(ifindex) + ifaddr.dump_addresses(ifindex))
    except EngineError as e:
        if e.errno != errno.ENOBUFS:
            raise
        return ask(socket, [wire.get_link(ifindex)]), addresses(socket, (ifindex,))  # as in `ask`: a long reply
    first = next(wire.messages(answers), None)
    if first is None or first.type not in (uapi.RTM_NEWLINK, uapi.NLMSG_ERROR):
        raise EngineError(errno.EBADMSG, "a request was not answered", "exchange")
    dumped = answers[(len(first.data) + 3) & ~3 :]
    if first.type == uapi.RTM_NEWLINK:
        _raise_refusal(dumped)
    return [first], {ifindex: dumped}


def moves_altnames() -> bool:
    """Whether a move takes alternative names along; before 6.6 they stay in the source's table and keep names taken.

    Only the kernel's version shows this. Where the fix was backported, the fallback works, too: the names are removed
    before the move and added after it (probe clash.own-altname.left-behind). Source: net/core/dev.c, "net: move
    altnames together with the netdevice".
    """
    numbers = os.uname().release.split("-")[0].split(".")[:2]
    return not all(n.isdigit() for n in numbers) or tuple(map(int, numbers)) >= (6, 6)


def lost_altnames(socket: Socket, had: Collection[bytes], now: wire.Link | None) -> list[bytes]:
    """The alternative names by which a device cannot be found any more.

    Before 6.6 a device that came back from a dead namespace still lists its alternative names, but no look-up finds
    them; such a name can be added again, but not deleted (seen on 5.10 and 6.1).
    """
    names = [*dict.fromkeys(had)]
    lost = [name for name in names if now is None or name not in now.altnames]
    if now is not None and names and not moves_altnames():
        links = map(link_of, ask(socket, [wire.get_link(name=name) for name in names]))
        answering = [name for name, link in zip(names, links, strict=True) if link and link.ifindex == now.ifindex]
        lost = [name for name in names if name not in answering]
    return lost
