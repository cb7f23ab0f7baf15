"""How the kernel answers a request: acks, their options, several messages in one datagram, and full buffers."""

from __future__ import annotations

import os
import struct

from ...netlink import uapi, wire
from .. import requests
from ..probe import ABI, SPEC, Value, probe
from ..requests import ns_fd, set_link
from ..world import World, offset_of
from .raw import Raw, flagged, kinds, numbered

RCV = "net/netlink/af_netlink.c, netlink_rcv_skb and netlink_ack"
RTNL = "net/core/rtnetlink.c, rtnetlink_rcv_msg"
SEND = "net/netlink/af_netlink.c, netlink_sendmsg"
PLAIN = uapi.NLM_F_REQUEST
NOBODY = 4711  # an ifindex that no device has
TOO_SHORT = wire.attr(uapi.IFLA_MTU, b"\1")
EXTACK = {1: "msg", 2: "offs", 3: "cookie", 4: "policy"}  # linux/netlink.h, NLMSGERR_ATTR_*


def toggle(ifindex: int, up: bool, *, ack: bool = True) -> bytes:
    """A change of IFF_UP, with or without NLM_F_ACK."""
    return flagged(set_link(ifindex, up=up), PLAIN | (uapi.NLM_F_ACK if ack else 0))


def is_up(world: World, name: bytes = b"eth1") -> bool:
    link = world.source.link(name)
    return link is not None and bool(link.flags & uapi.IFF_UP)


# ---- when there is one ----


@probe("acks.without-flag.{}", SPEC, "Without NLM_F_ACK, what comes back of a request that {}.", source=RCV,
       cases={"succeeds": (True,), "fails": (False,)})  # fmt: skip
def without_flag(world: World, good: bool) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        raw.send(toggle(device.ifindex if good else NOBODY, True, ack=False))
        return {"answers": raw.acks(), "up": is_up(world)}


@probe("acks.without-flag.move", SPEC, "The same for a move: it is done, without an answer.", source=RCV)
def without_flag_move(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        raw.send(flagged(set_link(device.ifindex, ns_fd(world.target.fd)), PLAIN))
        return {"answers": raw.acks(), "device": world.place(device)}


@probe("acks.without-request-flag", ABI, "A message without NLM_F_REQUEST is not done, but its NLM_F_ACK is answered.",
       source=RCV)  # fmt: skip
def without_request(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        raw.send(flagged(toggle(device.ifindex, True), uapi.NLM_F_ACK))
        return {"answers": raw.acks(), "up": is_up(world)}


@probe("acks.control-type.{}", ABI, "A message of a type below 16 is not done, but answered: {}.", source=RCV,
       cases={"noop": (1,), "error": (2,), "reserved": (15,)})  # fmt: skip
def control_type(world: World, type_: int) -> Value:
    with Raw(world.source.fd) as raw:
        raw.send(wire.message(type_, uapi.NLM_F_ACK, bytes(16)))
        return raw.acks()


@probe("acks.unknown-type.{}", ABI, "A message type that rtnetlink does not have: {}.", source=RTNL,
       cases={"above-all": (0x7FF0,), "gap": (23,)})  # fmt: skip
def unknown_type(world: World, type_: int) -> Value:
    with Raw(world.source.fd) as raw:
        raw.send(wire.message(type_, uapi.NLM_F_ACK, bytes(16)))
        return raw.acks()


@probe("acks.family.{}", ABI, "A move with an ifi_family other than 0: {}.", source=RTNL,
       cases={"inet": (2,), "bridge": (7,), "unassigned": (255,)})  # fmt: skip
def wrong_family(world: World, family: int) -> Value:
    device = world.source.device(b"eth1")
    message = set_link(device.ifindex, ns_fd(world.target.fd))
    reply = world.source.request(message[:16] + bytes([family]) + message[17:])
    return world.outcome(device, reply)


@probe("acks.empty-body", ABI, "A message that ends with its header.", source=RTNL)
def empty_body(world: World) -> Value:
    with Raw(world.source.fd) as raw:
        raw.send(wire.message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, b""))
        return raw.acks()


@probe("acks.after-dump.busy", ABI, "A second dump on a socket whose first one was not read to its end.",
       source="net/netlink/af_netlink.c, __netlink_dump_start")  # fmt: skip
def dump_busy(world: World) -> Value:
    for number in range(12):
        world.source.device(b"d%d" % number)
    with Raw(world.source.fd) as raw:
        raw.send(requests.dump(uapi.RTM_GETLINK))
        raw.socket.recv(1024)  # a small buffer: the rest of the dump is still to come
        raw.send(requests.dump(uapi.RTM_GETLINK), first=2)
        return raw.acks()


@probe("acks.during-dump", ABI, "A change on a socket whose dump was not read to its end is done, and answered.",
       source="net/netlink/af_netlink.c, netlink_recvmsg")  # fmt: skip
def during_dump(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        raw.send(requests.dump(uapi.RTM_GETLINK))
        raw.send(toggle(device.ifindex, True), first=2)
        return {"acks": raw.acks(), "up": is_up(world)}


# ---- seq, portid ----


@probe("acks.echo.{}", SPEC, "The ack has the seq of its request, and the socket's portid, whatever nlmsg_pid was: {}.",
       source=RCV, cases={"pid-zero": (0,), "pid-foreign": (0x7FFFFFFF,)})  # fmt: skip
def echo(world: World, pid: int) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        raw.send_as_is(numbered(toggle(device.ifindex, True), 0xFFFFFFFE, pid))
        return [[m.seq == 0xFFFFFFFE, m.portid == raw.portid] for m in raw.messages()]


@probe("acks.echo.second-socket", ABI, "A process's second socket has another portid, which the kernel chooses.",
       source="net/netlink/af_netlink.c, netlink_autobind")  # fmt: skip
def second_socket(world: World) -> Value:
    with Raw(world.namespace("alone").fd) as first, Raw(world.namespace("alone").fd) as second:
        # World's own socket there has the process id already.
        return {"pid": os.getpid() in (first.portid, second.portid), "same": first.portid == second.portid}


# ---- NETLINK_CAP_ACK, NETLINK_EXT_ACK ----


OPTIONS: dict[str, tuple[int, ...]] = {
    "none": (),
    "cap-ack": (uapi.NETLINK_CAP_ACK,),
    "ext-ack": (uapi.NETLINK_EXT_ACK,),
    "both": (uapi.NETLINK_CAP_ACK, uapi.NETLINK_EXT_ACK),
}


@probe("acks.options.{}", ABI, "Flags of a refusal and of an ack, and whether the request is in them: options: {}.",
       source=RCV, cases={name: (options,) for name, options in OPTIONS.items()})  # fmt: skip
def options(world: World, chosen: tuple[int, ...]) -> Value:
    device = world.source.device(b"eth1")
    refused = set_link(device.ifindex, TOO_SHORT)
    found: dict[str, Value] = {}
    with Raw(world.source.fd, *chosen) as raw:
        for name, message in (("refusal", refused), ("ack", toggle(device.ifindex, True))):
            raw.send(message)
            (answer,) = raw.messages()
            flags = {"capped": uapi.NLM_F_CAPPED, "tlvs": uapi.NLM_F_ACK_TLVS}
            told = [text for text, flag in flags.items() if answer.flags & flag]
            found[name] = {"flags": told, "request": message[16:] == bytes(answer.body[20 : 4 + len(message)])}
    return found


@probe("acks.extack.offset.{}", ABI, "Which attribute a refusal is about (NLMSGERR_ATTR_OFFS): the bad one is {}.",
       source="lib/nlattr.c, validate_nla",
       cases={"first": (b"",), "second": (wire.attr_u32(uapi.IFLA_TXQLEN, 1000),)})  # fmt: skip
def extack_offset(world: World, before: bytes) -> Value:
    device = world.source.device(b"eth1")
    message = set_link(device.ifindex, before + TOO_SHORT)
    with Raw(world.source.fd, uapi.NETLINK_EXT_ACK) as raw:
        raw.send(message)
        (answer,) = raw.messages()
        return {"offset": offset_of(answer), "attribute": message.find(TOO_SHORT)}


@probe("acks.extack.attributes", ABI, "Which NLMSGERR_ATTR_* come with the refusal of a u32 that is too short.",
       source="net/netlink/af_netlink.c, netlink_ack_tlv_fill")  # fmt: skip
def extack_attributes(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd, uapi.NETLINK_EXT_ACK, uapi.NETLINK_CAP_ACK) as raw:
        raw.send(set_link(device.ifindex, TOO_SHORT))
        (answer,) = raw.messages()
        return [EXTACK.get(type_, str(type_)) for type_, _ in wire.attr_list(answer.body, 20)]


# ---- several messages in one datagram ----


@probe("acks.batch.error-in-the-middle", SPEC, "An error in the middle of a datagram: the messages behind it are done.",
       source=RCV)  # fmt: skip
def batch_error(world: World) -> Value:
    first, last = world.source.device(b"eth1"), world.source.device(b"eth2")
    with Raw(world.source.fd) as raw:
        raw.send(toggle(first.ifindex, True), toggle(NOBODY, True), toggle(last.ifindex, True))
        return {"acks": raw.acks(), "up": [is_up(world), is_up(world, b"eth2")]}


@probe("acks.batch.ack-on-last", SPEC, "NLM_F_ACK on the last message only: errors of the others are told, in order.",
       source=RCV)  # fmt: skip
def batch_last(world: World) -> Value:
    device = world.source.device(b"eth1")
    on = toggle(device.ifindex, True, ack=False)
    with Raw(world.source.fd) as raw:
        raw.send(on, toggle(NOBODY, True, ack=False), on, toggle(device.ifindex, False))
        return {"acks": raw.acks(), "up": is_up(world)}


@probe("acks.batch.one-datagram-each", ABI, "The acks of one datagram's messages come in a datagram each.", source=RCV)
def batch_datagrams(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        raw.send(*[toggle(device.ifindex, True)] * 3)
        count = 0
        while raw.datagram() is not None:
            count += 1
        return count


@probe("acks.batch.length-{}", ABI, "A nlmsg_len in the middle of a datagram that is {}: what is done, and answered.",
       source=RCV, cases={"short": (8,), "zero": (0,), "beyond-the-end": (1 << 20,), "not-aligned": (33,)},
       texts={"short": "less than a header", "beyond-the-end": "beyond its end",
              "not-aligned": "not a multiple of 4, with its padding"})  # fmt: skip
def batch_length(world: World, length: int) -> Value:
    first, last = world.source.device(b"eth1"), world.source.device(b"eth2")
    middle = numbered(toggle(first.ifindex, True), 2)
    middle = struct.pack("=I", length) + middle[4:] + (bytes(4) if length == 33 else b"")
    one, three = numbered(toggle(first.ifindex, True), 1), numbered(toggle(last.ifindex, True), 3)
    with Raw(world.source.fd) as raw:
        sent = raw.send_as_is(one + middle + three)
        return {"send": sent, "acks": raw.acks(), "last": is_up(world, b"eth2")}


@probe("acks.batch.trailing-bytes", ABI, "Bytes behind the last message that are too few for a header are not read.",
       source=RCV)  # fmt: skip
def batch_trailing(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        sent = raw.send_as_is(numbered(toggle(device.ifindex, True), 1) + b"\xff" * 12)
        return {"send": sent, "acks": raw.acks()}


@probe("acks.batch.move-then-change", SPEC, "In one datagram: a move, then a change of the same ifindex.",
       source=RCV)  # fmt: skip
def batch_move(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        raw.send(set_link(device.ifindex, ns_fd(world.target.fd)), toggle(device.ifindex, True))
        return {"acks": raw.acks(), "device": world.place(device)}


# ---- room ----


def flood(world: World, room: int, *messages: bytes, first: int = 1) -> dict[str, Value]:
    """Sends to a socket that does not read, then reads: how much came, and the error that says that it is not all."""
    with Raw(world.source.fd, uapi.NETLINK_CAP_ACK, room=room) as raw:
        sent = raw.send(*messages, first=first)
        acks, errors = 0, []
        while (data := raw.datagram()) is not None:
            acks += isinstance(data, bytes)
            errors += [data] if isinstance(data, str) else []
    return {"send": sent, "all-acks": acks >= len(messages), "errors": errors}


@probe("acks.overflow.acks", SPEC, "More acks than the receive buffer holds: ENOBUFS, yet all requests are done.",
       source="net/netlink/af_netlink.c, netlink_overrun")  # fmt: skip
def overflow_acks(world: World) -> Value:
    device = world.source.device(b"eth1")
    same = toggle(device.ifindex, True)
    found = flood(world, 2304, *[same] * 40, toggle(device.ifindex, False), same)
    return {**found, "last-done": is_up(world)}


@probe("acks.overflow.errors", ABI, "Errors that do not fit are lost like acks.",
       source="net/netlink/af_netlink.c, netlink_ack")  # fmt: skip
def overflow_errors(world: World) -> Value:
    return flood(world, 2304, *[toggle(NOBODY, True, ack=False)] * 40)


@probe("acks.overflow.208-kib", SPEC, "Whether 200 unread acks fit into 208 KiB, the usual size of a receive buffer.",
       source="net/netlink/af_netlink.c, netlink_attachskb")  # fmt: skip
def overflow_usual(world: World) -> Value:
    device = world.source.device(b"eth1")
    return flood(world, 208 * 1024 // 2, *[toggle(device.ifindex, True)] * 200)  # the kernel doubles it


@probe("acks.send.too-long", ABI, "A datagram that is longer than SO_SNDBUF allows is refused, and nothing is done.",
       source=SEND)  # fmt: skip
def send_long(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd, sender_room=4096) as raw:
        sent = raw.send(*[toggle(device.ifindex, True)] * 400)
        return {"send": sent, "acks": len(raw.acks()), "up": is_up(world)}


@probe("acks.send.100-kib", SPEC, "A datagram of 100 KiB, as a large replay sends it.", source=SEND)
def send_large(world: World) -> Value:
    device = world.source.device(b"eth1")
    filler = toggle(device.ifindex, True, ack=False)
    with Raw(world.source.fd, sender_room=208 * 1024 // 2) as raw:  # the usual size, which the kernel doubles
        sent = raw.send(*[filler] * (100 * 1024 // len(filler)), toggle(device.ifindex, False), first=1)
        return {"send": sent, "acks": len(raw.acks()), "up": is_up(world)}


@probe("acks.truncated-read", ABI, "An ack that is read into too little room is cut, and the rest of it is lost.",
       source="net/netlink/af_netlink.c, netlink_recvmsg")  # fmt: skip
def truncated(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        raw.send(toggle(device.ifindex, True), toggle(device.ifindex, True))
        first = raw.socket.recv(20)
        return {"first": len(first), "then": kinds(raw.messages())}
