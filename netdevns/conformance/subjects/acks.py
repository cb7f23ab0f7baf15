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


@probe("acks.without-flag.{}", SPEC, "Without NLM_F_ACK, a request that {}.", source=RCV,
       cases={"succeeds": (True,), "fails": (False,)},
       texts={"succeeds": "succeeds is not answered", "fails": "fails is answered with the error"})  # fmt: skip
def without_flag(world: World, good: bool) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        raw.send(toggle(device.ifindex if good else NOBODY, True, ack=False))
        return {"answers": raw.acks(), "up": is_up(world)}


@probe("acks.without-flag.move", SPEC, "Without NLM_F_ACK, a move that succeeds is not answered.", source=RCV)
def without_flag_move(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        raw.send(flagged(set_link(device.ifindex, ns_fd(world.target.fd)), PLAIN))
        return {"answers": raw.acks(), "device": world.place(device)}


@probe("acks.without-request-flag", ABI,
       "A message with NLM_F_ACK but without NLM_F_REQUEST is acknowledged, and does nothing.",
       source=RCV)  # fmt: skip
def without_request(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        raw.send(flagged(toggle(device.ifindex, True), uapi.NLM_F_ACK))
        return {"answers": raw.acks(), "up": is_up(world)}


@probe("acks.control-type.{}", ABI,
       "A control message with NLM_F_ACK is acknowledged, and does nothing: {}.", source=RCV,
       cases={"noop": (1,), "error": (2,), "reserved": (15,)},
       texts={"noop": "NLMSG_NOOP", "error": "NLMSG_ERROR", "reserved": "the reserved type 15"})  # fmt: skip
def control_type(world: World, type_: int) -> Value:
    with Raw(world.source.fd) as raw:
        raw.send(wire.message(type_, uapi.NLM_F_ACK, bytes(16)))
        return raw.acks()


@probe("acks.unknown-type.{}", ABI,
       "A message type that rtnetlink does not have is refused with EOPNOTSUPP: {}.", source=RTNL,
       cases={"above-all": (0x7FF0,), "gap": (23,)}, texts={"above-all": "0x7ff0", "gap": "23"})  # fmt: skip
def unknown_type(world: World, type_: int) -> Value:
    with Raw(world.source.fd) as raw:
        raw.send(wire.message(type_, uapi.NLM_F_ACK, bytes(16)))
        return raw.acks()


@probe("acks.family.{}", ABI, "A move succeeds whatever its ifi_family: {}.", source=RTNL,
       cases={"inet": (2,), "bridge": (7,), "unassigned": (255,)},
       texts={"inet": "AF_INET", "bridge": "AF_BRIDGE", "unassigned": "255"})  # fmt: skip
def wrong_family(world: World, family: int) -> Value:
    device = world.source.device(b"eth1")
    message = set_link(device.ifindex, ns_fd(world.target.fd))
    reply = world.source.request(message[:16] + bytes([family]) + message[17:])
    return world.outcome(device, reply)


@probe(
    "acks.empty-body", ABI, "An RTM_NEWLINK that ends with its header is acknowledged, and does nothing.", source=RTNL
)
def empty_body(world: World) -> Value:
    with Raw(world.source.fd) as raw:
        raw.send(wire.message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, b""))
        return raw.acks()


@probe("acks.after-dump.busy", ABI,
       "A second dump on a socket is refused with EBUSY until the first has been read to its end.",
       source="net/netlink/af_netlink.c, __netlink_dump_start")  # fmt: skip
def dump_busy(world: World) -> Value:
    for number in range(12):
        world.source.device(b"d%d" % number)
    with Raw(world.source.fd) as raw:
        raw.send(requests.dump(uapi.RTM_GETLINK))
        raw.socket.recv(1024)  # a small buffer: the rest of the dump is still to come
        raw.send(requests.dump(uapi.RTM_GETLINK), first=2)
        return raw.acks()


@probe("acks.during-dump", ABI, "A change on a socket with an unfinished dump is made and acknowledged.",
       source="net/netlink/af_netlink.c, netlink_recvmsg")  # fmt: skip
def during_dump(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        raw.send(requests.dump(uapi.RTM_GETLINK))
        raw.send(toggle(device.ifindex, True), first=2)
        return {"acks": raw.acks(), "up": is_up(world)}


# ---- seq, portid ----


@probe("acks.echo.{}", SPEC, "An ack carries the request's seq and the socket's portid, whatever the nlmsg_pid: {}.",
       source=RCV, cases={"pid-zero": (0,), "pid-foreign": (0x7FFFFFFF,)},
       texts={"pid-zero": "0", "pid-foreign": "another one"})  # fmt: skip
def echo(world: World, pid: int) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        raw.send_as_is(numbered(toggle(device.ifindex, True), 0xFFFFFFFE, pid))
        return [[m.seq == 0xFFFFFFFE, m.portid == raw.portid] for m in raw.messages()]


@probe("acks.echo.second-socket", ABI, "Further sockets of a process get portids that the kernel chooses.",
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
OPTION_TEXTS = {
    "none": "Without options, an error carries the request; an ack never does",
    "cap-ack": "With NETLINK_CAP_ACK, an error does not carry the request (NLM_F_CAPPED)",
    "ext-ack": "With NETLINK_EXT_ACK, an error carries attributes (NLM_F_ACK_TLVS) after the request",
    "both": "With NETLINK_CAP_ACK and NETLINK_EXT_ACK, an error carries attributes, not the request",
}


@probe("acks.options.{}", ABI, "{}.", source=RCV,
       cases={name: (options,) for name, options in OPTIONS.items()}, texts=OPTION_TEXTS)  # fmt: skip
def options(world: World, chosen: tuple[int, ...]) -> Value:
    device = world.source.device(b"eth1")
    refused = set_link(device.ifindex, TOO_SHORT)
    found: dict[str, Value] = {}
    with Raw(world.source.fd, *chosen) as raw:
        for name, message in (("refusal", refused), ("ack", toggle(device.ifindex, True))):
            raw.send(message)
            (answer,) = raw.messages()
            flags = {"capped": uapi.NLM_F_CAPPED, "tlvs": uapi.NLM_F_ACK_TLVS}
            found_flags = [text for text, flag in flags.items() if answer.flags & flag]
            found[name] = {"flags": found_flags, "request": message[16:] == bytes(answer.body[20 : 4 + len(message)])}
    return found


@probe("acks.extack.offset.{}", ABI, "NLMSGERR_ATTR_OFFS is the offset of the bad attribute, here the {}.",
       source="lib/nlattr.c, validate_nla",
       cases={"first": (b"",), "second": (wire.attr_u32(uapi.IFLA_TXQLEN, 1000),)})  # fmt: skip
def extack_offset(world: World, before: bytes) -> Value:
    device = world.source.device(b"eth1")
    message = set_link(device.ifindex, before + TOO_SHORT)
    with Raw(world.source.fd, uapi.NETLINK_EXT_ACK) as raw:
        raw.send(message)
        (answer,) = raw.messages()
        return {"offset": offset_of(answer), "attribute": message.find(TOO_SHORT)}


@probe("acks.extack.attributes", ABI, "A u32 that is too short is refused with NLMSGERR_ATTR_MSG, _OFFS and _POLICY.",
       source="net/netlink/af_netlink.c, netlink_ack_tlv_fill")  # fmt: skip
def extack_attributes(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd, uapi.NETLINK_EXT_ACK, uapi.NETLINK_CAP_ACK) as raw:
        raw.send(set_link(device.ifindex, TOO_SHORT))
        (answer,) = raw.messages()
        return [EXTACK.get(type_, str(type_)) for type_, _ in wire.attr_list(answer.body, 20)]


# ---- several messages in one datagram ----


@probe("acks.batch.error-in-the-middle", SPEC,
       "An error in the middle of a datagram does not stop the messages after it.",
       source=RCV)  # fmt: skip
def batch_error(world: World) -> Value:
    first, last = world.source.device(b"eth1"), world.source.device(b"eth2")
    with Raw(world.source.fd) as raw:
        raw.send(toggle(first.ifindex, True), toggle(NOBODY, True), toggle(last.ifindex, True))
        return {"acks": raw.acks(), "up": [is_up(world), is_up(world, b"eth2")]}


@probe("acks.batch.ack-on-last", SPEC,
       "With NLM_F_ACK on the last message only, errors of the others are still reported, in order.",
       source=RCV)  # fmt: skip
def batch_last(world: World) -> Value:
    device = world.source.device(b"eth1")
    on = toggle(device.ifindex, True, ack=False)
    with Raw(world.source.fd) as raw:
        raw.send(on, toggle(NOBODY, True, ack=False), on, toggle(device.ifindex, False))
        return {"acks": raw.acks(), "up": is_up(world)}


@probe(
    "acks.batch.one-datagram-each",
    ABI,
    "The acks of messages sent in one datagram arrive in one datagram each.",
    source=RCV,
)
def batch_datagrams(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        raw.send(*[toggle(device.ifindex, True)] * 3)
        count = 0
        while raw.datagram() is not None:
            count += 1
        return count


@probe("acks.batch.length-{}", ABI, "In the middle of a datagram, a nlmsg_len {}.",
       source=RCV, cases={"short": (8,), "zero": (0,), "beyond-the-end": (1 << 20,), "not-aligned": (33,)},
       texts={"short": "shorter than a header drops the rest, without an error",
              "zero": "of 0 drops the rest, without an error",
              "beyond-the-end": "beyond the end drops the rest, without an error",
              "not-aligned": "that is not a multiple of 4 is accepted, if the padding follows"})  # fmt: skip
def batch_length(world: World, length: int) -> Value:
    first, last = world.source.device(b"eth1"), world.source.device(b"eth2")
    middle = numbered(toggle(first.ifindex, True), 2)
    middle = struct.pack("=I", length) + middle[4:] + (bytes(4) if length == 33 else b"")
    one, three = numbered(toggle(first.ifindex, True), 1), numbered(toggle(last.ifindex, True), 3)
    with Raw(world.source.fd) as raw:
        sent = raw.send_as_is(one + middle + three)
        return {"send": sent, "acks": raw.acks(), "last": is_up(world, b"eth2")}


@probe("acks.batch.trailing-bytes", ABI, "Bytes after the last message that are too few for a header are ignored.",
       source=RCV)  # fmt: skip
def batch_trailing(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        sent = raw.send_as_is(numbered(toggle(device.ifindex, True), 1) + b"\xff" * 12)
        return {"send": sent, "acks": raw.acks()}


@probe("acks.batch.move-then-change", SPEC,
       "In one datagram, a change after a move of the same ifindex fails with ENODEV.",
       source=RCV)  # fmt: skip
def batch_move(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        raw.send(set_link(device.ifindex, ns_fd(world.target.fd)), toggle(device.ifindex, True))
        return {"acks": raw.acks(), "device": world.place(device)}


# ---- room ----


def flood(world: World, room: int, *messages: bytes, first: int = 1) -> dict[str, Value]:
    """Sends without reading, then reads: whether all acks arrived, and the socket's errors."""
    with Raw(world.source.fd, uapi.NETLINK_CAP_ACK, room=room) as raw:
        sent = raw.send(*messages, first=first)
        acks, errors = 0, []
        while (data := raw.datagram()) is not None:
            acks += isinstance(data, bytes)
            errors += [data] if isinstance(data, str) else []
    return {"send": sent, "all-acks": acks >= len(messages), "errors": errors}


@probe("acks.overflow.acks", SPEC,
       "Acks beyond the receive buffer are lost with ENOBUFS; all requests are carried out.",
       source="net/netlink/af_netlink.c, netlink_overrun")  # fmt: skip
def overflow_acks(world: World) -> Value:
    device = world.source.device(b"eth1")
    same = toggle(device.ifindex, True)
    found = flood(world, 2304, *[same] * 40, toggle(device.ifindex, False), same)
    return {**found, "last-done": is_up(world)}


@probe("acks.overflow.errors", ABI, "Error replies beyond the receive buffer are lost with ENOBUFS, like acks.",
       source="net/netlink/af_netlink.c, netlink_ack")  # fmt: skip
def overflow_errors(world: World) -> Value:
    return flood(world, 2304, *[toggle(NOBODY, True, ack=False)] * 40)


@probe("acks.overflow.208-kib", SPEC, "A receive buffer of 208 KiB, the usual size, holds 200 unread acks.",
       source="net/netlink/af_netlink.c, netlink_attachskb")  # fmt: skip
def overflow_usual(world: World) -> Value:
    device = world.source.device(b"eth1")
    return flood(world, 208 * 1024 // 2, *[toggle(device.ifindex, True)] * 200)  # the kernel doubles it


@probe("acks.send.too-long", ABI,
       "A datagram longer than SO_SNDBUF is refused with EMSGSIZE, and nothing of it is carried out.",
       source=SEND)  # fmt: skip
def send_long(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd, sender_room=4096) as raw:
        sent = raw.send(*[toggle(device.ifindex, True)] * 400)
        return {"send": sent, "acks": len(raw.acks()), "up": is_up(world)}


@probe("acks.send.100-kib", SPEC, "A datagram of 100 KiB, as a large replay sends, is accepted.", source=SEND)
def send_large(world: World) -> Value:
    device = world.source.device(b"eth1")
    filler = toggle(device.ifindex, True, ack=False)
    with Raw(world.source.fd, sender_room=208 * 1024 // 2) as raw:  # the usual size, which the kernel doubles
        sent = raw.send(*[filler] * (100 * 1024 // len(filler)), toggle(device.ifindex, False), first=1)
        return {"send": sent, "acks": len(raw.acks()), "up": is_up(world)}


@probe("acks.truncated-read", ABI, "An ack read into a short buffer is truncated; its rest is lost.",
       source="net/netlink/af_netlink.c, netlink_recvmsg")  # fmt: skip
def truncated(world: World) -> Value:
    device = world.source.device(b"eth1")
    with Raw(world.source.fd) as raw:
        raw.send(toggle(device.ifindex, True), toggle(device.ifindex, True))
        first = raw.socket.recv(20)
        return {"first": len(first), "then": kinds(raw.messages())}
