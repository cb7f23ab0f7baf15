"""A process that is root in its network namespace alone, and changes devices that arrive there, over and over."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import platform
import signal
import struct
import traceback
from collections.abc import Callable

from tests.support.namespaces import CLONE_NEWNET, Namespace, current, enter_user_namespace, setns, unshare
from tests.support.rawdump import (
    NLM_F_CREATE_EXCL,
    RTM_NEWADDR,
    RTM_NEWLINK,
    Link,
    Socket,
    attribute,
    links,
)

RTM_DELLINK, RTM_DELADDR, RTM_NEWLINKPROP = 17, 21, 108
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_TXQLEN, IFLA_LINKINFO, IFLA_IFALIAS = 1, 3, 4, 10, 13, 18, 20
IFLA_GROUP, IFLA_NET_NS_FD, IFLA_GSO_MAX_SEGS, IFLA_GSO_MAX_SIZE, IFLA_XDP, IFLA_PROP_LIST = 27, 28, 40, 41, 43, 52
IFLA_GRO_MAX_SIZE, IFLA_ALT_IFNAME, IFLA_INFO_KIND, IFLA_XDP_FD, IFLA_XDP_FLAGS = 58, 53, 1, 1, 3
IFF_UP, IFF_NOARP, IFF_PROMISC, IFF_ALLMULTI = 0x1, 0x80, 0x100, 0x200
NLA_F_NESTED, XDP_FLAGS_SKB_MODE = 0x8000, 2
BRIDGE = "evil-br"
MAKES = ("lo", BRIDGE)  # its own devices
U32 = struct.Struct("=I")


def load_xdp() -> int | None:
    """A descriptor of an XDP program that lets everything pass; None where this kernel, or user, has none."""
    number = {"x86_64": 321, "aarch64": 280}.get(platform.machine())
    if number is None:
        return None
    code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0))  # r0 = XDP_PASS; exit
    licence = ctypes.create_string_buffer(b"GPL")
    # union bpf_attr of BPF_PROG_LOAD (5): prog_type XDP (6), insn_cnt, insns, license.
    attr = ctypes.create_string_buffer(
        struct.pack("=IIQQ", 6, 2, ctypes.addressof(code), ctypes.addressof(licence)), 48
    )
    fd = ctypes.CDLL(None, use_errno=True).syscall(number, 5, attr, 48)
    return fd if fd >= 0 else None


class Hands:
    """What the fighter changes a device with."""

    def __init__(self, xdp: int | None) -> None:
        self.socket = Socket()
        self.xdp = xdp
        self.elsewhere = -1  # another network namespace of its own
        self.bridge = 0
        self.turn = 0

    def change(self, ifindex: int, *attrs: bytes, flags: int = 0, mask: int = 0) -> int:
        """RTM_NEWLINK; returns 0 or an errno."""
        body = struct.pack("=BxHiII", 0, 0, ifindex, flags, mask) + b"".join(attrs)
        return self.socket.request(RTM_NEWLINK, 0, body)

    def number(self, ifindex: int, **attrs: int) -> int:
        """The same with attributes of 32 bits, by the kernel's names."""
        return self.change(ifindex, *(attribute(globals()[name], U32.pack(value)) for name, value in attrs.items()))

    def make(self, name: str, kind: bytes = b"bridge") -> int:
        """A device of its own; returns 0 or an errno."""
        info = attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, kind))
        body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, name.encode() + b"\0") + info
        return self.socket.request(RTM_NEWLINK, NLM_F_CREATE_EXCL, body)

    def alternative(self, link: Link, name: str) -> int:
        names = attribute(IFLA_PROP_LIST | NLA_F_NESTED, attribute(IFLA_ALT_IFNAME, name.encode() + b"\0"))
        return self.socket.request(
            RTM_NEWLINKPROP, NLM_F_CREATE_EXCL, struct.pack("=BxHiII", 0, 0, link.ifindex, 0, 0) + names
        )

    def flush(self, link: Link) -> int:
        """Down, and without addresses."""
        code = self.change(link.ifindex, mask=IFF_UP)
        for body in self.socket.dump(RTM_NEWADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0)):
            if U32.unpack_from(body, 4)[0] == link.ifindex:
                self.socket.request(RTM_DELADDR, 0, body)
        return code

    def away(self, link: Link) -> int:
        """Into a private namespace; every other one is deleted instead."""
        self.turn += 1
        if self.turn % 2:
            return self.number(link.ifindex, IFLA_NET_NS_FD=self.elsewhere)
        return self.socket.request(RTM_DELLINK, 0, struct.pack("=BxHiII", 0, 0, link.ifindex, 0, 0))

    def attach(self, link: Link) -> int:
        nested = attribute(IFLA_XDP_FD, U32.pack(self.xdp or 0)) + attribute(
            IFLA_XDP_FLAGS, U32.pack(XDP_FLAGS_SKB_MODE)
        )
        return self.change(link.ifindex, attribute(IFLA_XDP | NLA_F_NESTED, nested))

    def rename(self, link: Link) -> int:
        if link.name.startswith("evil"):
            return -1
        return self.change(link.ifindex, attribute(IFLA_IFNAME, b"evil%d\0" % link.ifindex))


Kind = Callable[[Hands, Link], int]
# Each returns 0 where it changed something.
KINDS: dict[str, Kind] = {
    "mac": lambda h, d: h.change(d.ifindex, attribute(IFLA_ADDRESS, b"\x02\x66" + U32.pack(d.ifindex))),
    "mtu": lambda h, d: h.number(d.ifindex, IFLA_MTU=1300),
    "alias": lambda h, d: h.change(d.ifindex, attribute(IFLA_IFALIAS, b"evil")),
    "group": lambda h, d: h.number(d.ifindex, IFLA_GROUP=66),
    "txqlen": lambda h, d: h.number(d.ifindex, IFLA_TXQLEN=66),
    "gso": lambda h, d: h.number(d.ifindex, IFLA_GSO_MAX_SIZE=6600, IFLA_GSO_MAX_SEGS=6, IFLA_GRO_MAX_SIZE=6600),
    "promisc": lambda h, d: h.change(d.ifindex, flags=IFF_PROMISC | IFF_ALLMULTI, mask=IFF_PROMISC | IFF_ALLMULTI),
    "noarp": lambda h, d: h.change(d.ifindex, flags=IFF_NOARP, mask=IFF_NOARP),
    "rename": Hands.rename,
    "altname": lambda h, d: h.alternative(d, f"evil-alt{d.ifindex}"),
    "altname-of-host": lambda h, d: h.alternative(d, f"wire{d.ifindex % 10}"),
    "enslave": lambda h, d: h.number(d.ifindex, IFLA_MASTER=h.bridge),
    "flush": Hands.flush,
    "away": Hands.away,
    "xdp": Hands.attach,
}


class Fighter:
    """A process, and its network namespace; a context manager that ends it.

    Args:
        kind: What it does, of KINDS.
        taken: A name that it takes as soon as the first device is there; "": none.
        xdp: As `load_xdp`.
    """

    def __init__(self, kind: str, taken: str = "", xdp: int | None = None) -> None:
        self._changes = mmap.mmap(-1, 8)
        read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(read)
                self._fight(kind, taken, xdp, write)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(write)
        with open(read, "rb") as file:
            ready = file.read()
        if ready != b"ready":
            os.waitpid(self.pid, 0)
            raise OSError("no user namespace with a network namespace of its own for this user")
        self.namespace = Namespace(os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC), "fighter")

    @property
    def changes(self) -> int:
        """How many of its requests changed a device."""
        return int.from_bytes(self._changes[:8], "little")

    def _fight(self, kind: str, taken: str, xdp: int | None, write: int) -> None:
        """Until it is killed."""
        enter_user_namespace(CLONE_NEWNET)
        home = current()
        unshare(CLONE_NEWNET)
        elsewhere = current()
        setns(home)
        hands = Hands(xdp)
        hands.elsewhere = elsewhere
        if kind == "enslave":
            hands.make(BRIDGE)
            hands.bridge = links(hands.socket)[BRIDGE].ifindex
        os.write(write, b"ready")
        os.close(write)
        done = 0
        while True:
            here = [link for name, link in links(hands.socket).items() if name not in (*MAKES, taken)]
            for link in here:
                with contextlib.suppress(AssertionError):
                    done += KINDS[kind](hands, link) == 0
            self._changes[:8] = done.to_bytes(8, "little")
            if here and taken:
                hands.make(taken)

    def end(self) -> None:
        """Its process is killed; what is in its namespace stays there."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.pid = 0

    def __enter__(self) -> Fighter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()
        self.namespace.close()
        self._changes.close()
