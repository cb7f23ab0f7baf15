"""Builds and parses netlink messages, without system calls.

Layouts: linux/netlink.h (struct nlmsghdr, struct nlattr, struct nlmsgerr), linux/rtnetlink.h (struct ifinfomsg).
Netlink uses the machine's byte order.
"""

import errno
from collections.abc import Iterable, Iterator
from struct import Struct

from . import uapi
from .error import EngineError

NLMSGHDR = Struct("=IHHII")  # nlmsg_len, nlmsg_type, nlmsg_flags, nlmsg_seq, nlmsg_pid
LENGTH_TYPE = Struct("=IH")  # of struct nlmsghdr
NLATTR = Struct("=HH")  # nla_len, nla_type
IFINFOMSG = Struct("=BxHiII")  # ifi_family, ifi_type, ifi_index, ifi_flags, ifi_change
U32 = Struct("=I")
S32 = Struct("=i")
S32_MAX = 0x7FFFFFFF
TEXT_BYTES = 191  # of an extack text
TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER


class Malformed(EngineError):
    """A message or an attribute with a wrong length."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.EBADMSG, text, "exchange")

    def __str__(self) -> str:
        return self.extack


def attr(type_: int, data: bytes | memoryview) -> bytes:
    """One attribute, padded to 4 bytes."""
    return NLATTR.pack(4 + len(data), type_) + data + bytes(-len(data) & 3)


def attr_u32(type_: int, value: int) -> bytes:
    return attr(type_, U32.pack(value))


def attr_name(type_: int, name: bytes) -> bytes:
    return attr(type_, name + b"\0")


def nested(type_: int, attrs_: bytes) -> bytes:
    """An attribute that holds others."""
    return attr(type_ | uapi.NLA_F_NESTED, attrs_)


def message(type_: int, flags: int, body: bytes) -> bytes:
    """One request; the socket sets seq and portid."""
    # A wrong length drops the requests behind it (probe message.bad.length-in-a-batch).
    return NLMSGHDR.pack(16 + len(body), type_, flags | uapi.NLM_F_REQUEST, 0, 0) + body + bytes(-len(body) & 3)


def with_ack(message_: bytes) -> bytes:
    """A request that asks for an ack, too."""
    length, type_, flags, seq, portid = NLMSGHDR.unpack_from(message_)
    return NLMSGHDR.pack(length, type_, flags | uapi.NLM_F_ACK, seq, portid) + message_[16:]


def link_message(type_: int, flags: int, ifindex: int, attrs: bytes = b"", *, up: bool | None = None) -> bytes:
    """An RTM_*LINK request; `up` sets or clears IFF_UP and nothing else (ifi_change)."""
    # 0 and ~0 would clear the other flags (probes message.flags.change-zero, message.flags.change-all).
    change = 0 if up is None else uapi.IFF_UP
    size = _LINK.size + len(attrs)
    return _LINK.pack(size, type_, flags | uapi.NLM_F_REQUEST, 0, 0, 0, 0, ifindex, change if up else 0, change) + attrs


def down_message(ifindex: int) -> bytes:
    """RTM_NEWLINK that clears IFF_UP."""
    return link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, ifindex, up=False)


def rename_message(ifindex: int, name: bytes) -> bytes:
    """RTM_NEWLINK that sets IFLA_IFNAME."""
    return link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, ifindex, attr_name(uapi.IFLA_IFNAME, name))


def get_link(ifindex: int = 0, name: bytes | None = None) -> bytes:
    """RTM_GETLINK by ifindex, or by name or alternative name (probe message.key.altname-as-name).

    An alternative name may be anything that fits, even empty. The reply has no statistics, which are slow.
    """
    if name is None:
        return _BEFORE_IFINDEX + S32.pack(ifindex) + _AFTER_IFINDEX
    by_name = attr_name(uapi.IFLA_IFNAME if len(name) < uapi.IFNAMSIZ else uapi.IFLA_ALT_IFNAME, name)
    return link_message(uapi.RTM_GETLINK, 0, ifindex, SKIP_STATS + by_name)


_LINK = Struct("=IHHII BxHiII".replace(" ", ""))  # nlmsghdr and ifinfomsg
SKIP_STATS = attr_u32(uapi.IFLA_EXT_MASK, uapi.RTEXT_FILTER_SKIP_STATS)
_GET_LINK = link_message(uapi.RTM_GETLINK, 0, 0, SKIP_STATS)  # the most frequent request of a batch
_BEFORE_IFINDEX, _AFTER_IFINDEX = _GET_LINK[:20], _GET_LINK[24:]


def altnames_message(type_: int, ifindex: int, names: Iterable[bytes]) -> bytes:
    """RTM_NEWLINKPROP or RTM_DELLINKPROP: adds or removes alternative names."""
    listed = b"".join(attr_name(uapi.IFLA_ALT_IFNAME, name) for name in names)
    flags = uapi.NLM_F_ACK | (uapi.NLM_F_CREATE | uapi.NLM_F_EXCL if type_ == uapi.RTM_NEWLINKPROP else 0)
    return link_message(type_, flags, ifindex, nested(uapi.IFLA_PROP_LIST, listed))


class Message:
    """A received message: `data` is the whole, `body` the part behind struct nlmsghdr."""

    __slots__ = ("body", "data", "flags", "portid", "seq", "type")

    def __init__(self, data: memoryview) -> None:
        _, self.type, self.flags, self.seq, self.portid = NLMSGHDR.unpack_from(data)
        self.data = data
        self.body = data[16:]

    def padded(self) -> bytes:
        """The message, padded to NLMSG_ALIGN."""
        return bytes(self.data) + bytes(-len(self.data) & 3)


def spans(data: bytes | memoryview, at: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int]]:
    """Of each message its type, and where its body begins and ends. Raises Malformed at a wrong length.

    `at` is a multiple of 4.
    """
    end, unpack = len(data) if end is None else end, LENGTH_TYPE.unpack_from
    last = end - 16
    while at <= last:
        length, type_ = unpack(data, at)
        stop = at + length
        if length < 16 or stop > end:
            break
        yield type_, at + 16, stop
        at = (stop + 3) & ~3
    if at < end:
        raise Malformed("a netlink message with a wrong length")


def messages(data: bytes | memoryview) -> Iterator[Message]:
    """The same as `Message` objects."""
    view = memoryview(data)
    for _, at, end in spans(view):
        yield Message(view[at - 16 : end])


def attrs(view: memoryview, at: int = 0, *, strict: bool = True) -> dict[int, memoryview]:
    """The attributes from offset `at` on, a multiple of 4; of duplicates the last counts, as in the kernel's nla_parse.

    As `attr_list`, whose loop is repeated here for speed.
    """
    found: dict[int, memoryview] = {}
    end, unpack = len(view), NLATTR.unpack_from
    while end - at >= 4:
        length, type_ = unpack(view, at)
        stop = at + length
        if length < 4 or stop > end:
            if strict:
                raise Malformed(f"an attribute of {length} bytes in {end - at}")
            break
        found[type_ & TYPE_MASK] = view[at + 4 : stop]
        at = (stop + 3) & ~3
    return found


def nested_attrs(view: memoryview | None) -> dict[int, memoryview]:
    """The attributes in one that may be absent; as `attrs` that is not strict."""
    return {} if view is None else attrs(view, strict=False)


def attr_list(view: memoryview, at: int = 0, *, strict: bool = True) -> Iterator[tuple[int, memoryview]]:
    """The attributes in order, duplicates included (IFLA_PROP_LIST has one IFLA_ALT_IFNAME for each name).

    A damaged list raises Malformed; if not `strict`, it ends before the damage. The steps of a move read that way,
    because an undo must work with whatever was dumped.
    """
    end, unpack = len(view), NLATTR.unpack_from
    while end - at >= 4:
        length, type_ = unpack(view, at)
        if not 4 <= length <= end - at:
            if strict:
                raise Malformed(f"an attribute of {length} bytes in {end - at}")
            return
        yield type_ & TYPE_MASK, view[at + 4 : at + length]
        at += (length + 3) & ~3


def text(view: bytes | memoryview | None) -> bytes:
    """A NUL-terminated string attribute."""
    return b"" if view is None else bytes(view).partition(b"\0")[0]


def u32(view: memoryview | None) -> int | None:
    return None if view is None or len(view) != 4 else int(U32.unpack(view)[0])


def u8(view: memoryview) -> int:
    if not view:
        raise Malformed("an empty attribute that should be a u8")
    return view[0]


def error_code(message_: Message) -> int:
    """The positive errno of an NLMSG_ERROR; 0: an ack. Raises Malformed at any other message."""
    body = message_.body
    if len(body) < 20:
        raise Malformed("a malformed error message")
    code: int = -S32.unpack_from(body)[0]
    if not 0 <= code <= S32_MAX:
        raise Malformed("an error message with a positive code")
    return code


def error(message_: Message) -> tuple[int, str]:
    """The errno of an NLMSG_ERROR, and its extack text."""
    code, body, at = error_code(message_), message_.body, 20
    if not message_.flags & uapi.NLM_F_CAPPED:  # the request is echoed in front (probe acks.options.ext-ack)
        echoed = U32.unpack_from(body, 4)[0]
        at = 4 + ((echoed + 3) & ~3) if 16 <= echoed <= len(body) else len(body)
    tlvs = message_.flags & uapi.NLM_F_ACK_TLVS
    said = attrs(body, at, strict=False).get(uapi.NLMSGERR_ATTR_MSG) if tlvs else None
    return code, text(said)[:TEXT_BYTES].decode("utf-8", "replace")


class Link:
    """The parts of an RTM_NEWLINK that this package uses."""

    __slots__ = (
        "af_spec", "altnames", "body", "data", "flags", "has_xdp", "ifindex", "immutable", "kind", "lower", "mac",
        "master", "mtu", "name", "port", "port_kind",
    )  # fmt: skip

    def __init__(self, body: memoryview) -> None:
        if len(body) < IFINFOMSG.size:
            raise Malformed("a truncated link message")
        self.body = body
        _, _, self.ifindex, self.flags, _ = IFINFOMSG.unpack_from(body)
        found = attrs(body, IFINFOMSG.size)
        info = found.get(uapi.IFLA_LINKINFO)
        immutable = found.get(uapi.IFLA_NETNS_IMMUTABLE)
        names = found.get(uapi.IFLA_PROP_LIST)
        self.name = text(found.get(uapi.IFLA_IFNAME))
        self.af_spec = found.get(uapi.IFLA_AF_SPEC)  # its settings, by family
        infos = attrs(info) if info is not None else {}
        self.kind = text(infos.get(uapi.IFLA_INFO_KIND))
        self.data = bytes(infos.get(uapi.IFLA_INFO_DATA, b""))  # settings of the kind: a VLAN's id, ...
        # Settings as a port of its master: IFLA_BRPORT_*, IFLA_BOND_SLAVE_*, ...
        self.port_kind = text(infos.get(uapi.IFLA_INFO_SLAVE_KIND))
        self.port = bytes(infos.get(uapi.IFLA_INFO_SLAVE_DATA, b""))
        self.mac = bytes(found.get(uapi.IFLA_ADDRESS, b""))
        self.mtu = u32(found.get(uapi.IFLA_MTU))
        self.master = u32(found.get(uapi.IFLA_MASTER))
        xdp = attrs(found[uapi.IFLA_XDP]) if uapi.IFLA_XDP in found else {}
        self.has_xdp = bytes(xdp.get(uapi.IFLA_XDP_ATTACHED, b"")).strip(b"\0") != b""
        self.altnames = tuple(text(v) for t, v in attr_list(names) if t == uapi.IFLA_ALT_IFNAME) if names else ()
        # None: the kernel does not report it (before 6.15; probe kinds.immutable.veth).
        self.immutable = None if immutable is None else u8(immutable) != 0
        # A veth's IFLA_LINK is its peer, not a lower device (probe kinds.veth.link); with a netnsid it is in another
        # namespace (probe kinds.upper-moves.vlan).
        elsewhere = self.kind == b"veth" or uapi.IFLA_LINK_NETNSID in found
        self.lower = None if elsewhere else u32(found.get(uapi.IFLA_LINK))
        if self.kind == b"vxlan" and not elsewhere:  # IFLA_VXLAN_LINK instead of IFLA_LINK
            self.lower = u32(nested_attrs(infos.get(uapi.IFLA_INFO_DATA)).get(uapi.IFLA_VXLAN_LINK)) or None

    def message(self) -> bytes:
        """The RTM_NEWLINK, as a snapshot stores it."""
        return message(uapi.RTM_NEWLINK, 0, bytes(self.body))
