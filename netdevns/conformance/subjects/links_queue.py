"""The packet path of a device in a move: queueing disciplines, filters, BPF programs, offloads."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct

from ...netlink import uapi, wire
from .. import requests
from ..probe import ABI, ROOT, NotAvailable, Value, probe
from ..requests import set_link
from ..world import Device, Namespace, Reply, SetupFailed, World
from .links import must_move, pair

# linux/rtnetlink.h, linux/pkt_sched.h, linux/pkt_cls.h
RTM_NEWQDISC, RTM_GETQDISC, RTM_NEWTFILTER, RTM_GETTFILTER = 36, 38, 44, 46
TCMSG = Struct("=BxxxiIII")  # tcm_family, tcm_ifindex, tcm_handle, tcm_parent, tcm_info
TCA_KIND, TCA_OPTIONS, TCA_U32_CLASSID, TCA_U32_SEL = 1, 2, 1, 5
TC_H_ROOT, TC_H_CLSACT, CLSACT_HANDLE, CLSACT_INGRESS = 0xFFFFFFFF, 0xFFFFFFF1, 0xFFFF0000, 0xFFFFFFF2
PRIORITY_1_ALL = 1 << 16 | socket.htons(3)  # ETH_P_ALL
# linux/bpf.h, linux/if_link.h
BPF_PROG_LOAD, BPF_PROG_ATTACH, BPF_PROG_QUERY = 5, 8, 16
BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP, BPF_TCX_INGRESS = 3, 6, 46
BPF_NUMBERS = {"x86_64": 321, "aarch64": 280}  # asm/unistd.h
BPF_ATTR_BYTES = 128
IFLA_QDISC, IFLA_XDP_FLAGS, IFLA_XDP_PROG_ID = 6, 3, 4
XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE = 2, 4
# linux/ethtool.h, linux/sockios.h: get and set
FEATURES = {"rx-checksum": (0x14, 0x15), "tx-checksum": (0x16, 0x17), "scatter-gather": (0x18, 0x19),
            "tso": (0x1E, 0x1F), "gso": (0x23, 0x24), "gro": (0x2B, 0x2C)}  # fmt: skip
SIOCETHTOOL = 0x8946
IFREQ = Struct("@16sP16x")
SHUTDOWN = "net/sched/sch_generic.c, dev_shutdown; net/core/dev.c, __dev_change_net_namespace"
XDP = "net/core/dev.c, dev_xdp_uninstall is not called by __dev_change_net_namespace"


# ---- queueing disciplines and filters ----


def must_have(namespace: Namespace, message: bytes) -> None:
    """Sends a request for a qdisc or filter. Raises NotAvailable where the kernel has no such kind."""
    reply: Reply = namespace.request(message)
    if reply.error in ("ENOENT", "EOPNOTSUPP"):
        raise NotAvailable(f"this kernel does not have it: {reply.extack or reply.error}")
    if reply.error != "ok":
        raise SetupFailed(f"{reply.error} {reply.extack}".rstrip())


def new_qdisc(ifindex: int, parent: int, handle: int, kind: bytes, options: bytes = b"") -> bytes:
    body = TCMSG.pack(0, ifindex, handle, parent, 0) + wire.attr_name(TCA_KIND, kind)
    return wire.message(RTM_NEWQDISC, requests.CREATE, body + (wire.attr(TCA_OPTIONS, options) if options else b""))


def kinds(namespace: Namespace, ifindex: int, type_: int, parent: int = 0) -> list[str]:
    """The kinds of a device's qdiscs, or of its filters below a parent."""
    found = []
    for message in namespace.dump(type_, 0, TCMSG.pack(0, ifindex, 0, parent, 0)):
        if TCMSG.unpack_from(message.body)[1] == ifindex:
            found.append(wire.text(wire.attrs(message.body, TCMSG.size).get(TCA_KIND)).decode())
    return sorted(set(found))


def root(namespace: Namespace, name: bytes = b"eth1") -> str:
    return wire.text(namespace.attributes(namespace.known(name).ifindex).get(IFLA_QDISC)).decode()


@probe("links.qdisc.root", ABI, "A move drops a device's root qdisc; IFF_UP gives it the default one.",
       source=SHUTDOWN)  # fmt: skip
def qdisc_root(world: World) -> Value:
    device = pair(world)
    world.source.must(set_link(device.ifindex, up=True))
    must_have(world.source, new_qdisc(device.ifindex, TC_H_ROOT, 0x10000, b"pfifo", wire.U32.pack(9)))
    before = root(world.source)
    must_move(world, device)
    moved = root(world.target)
    world.target.must(set_link(world.target.known(b"eth1").ifindex, up=True))
    return {"before": before, "moved": moved, "up": root(world.target)}


@probe("links.qdisc.default", ABI, "A device with the default qdisc has it again after IFF_UP in the target.",
       source="net/sched/sch_generic.c, dev_activate", needs=("ifb",))  # fmt: skip
def qdisc_default(world: World) -> Value:
    device = world.source.make(b"ifb", b"eth1")
    world.source.must(set_link(device.ifindex, up=True))
    before = root(world.source)
    must_move(world, device)
    moved = root(world.target)
    world.target.must(set_link(world.target.known(b"eth1").ifindex, up=True))
    return {"moved": moved, "up": "as before" if root(world.target) == before else root(world.target)}


def with_clsact(world: World) -> Device:
    device = pair(world)
    must_have(world.source, new_qdisc(device.ifindex, TC_H_CLSACT, CLSACT_HANDLE, b"clsact"))
    return device


@probe("links.qdisc.clsact", ABI, "A move drops a device's clsact qdisc.", source=SHUTDOWN)
def qdisc_clsact(world: World) -> Value:
    device = with_clsact(world)
    before = "clsact" in kinds(world.source, device.ifindex, RTM_GETQDISC)
    must_move(world, device)
    after = kinds(world.target, world.target.known(b"eth1").ifindex, RTM_GETQDISC)
    return {"before": before, "after": "clsact" in after}


@probe("links.qdisc.filter", ABI, "A move drops the filters at clsact; a new clsact in the target has none.",
       source=SHUTDOWN)  # fmt: skip
def qdisc_filter(world: World) -> Value:
    device = with_clsact(world)
    options = wire.attr_u32(TCA_U32_CLASSID, 0x10001) + wire.attr(TCA_U32_SEL, b"\1" + bytes(15))
    body = TCMSG.pack(0, device.ifindex, 0, CLSACT_INGRESS, PRIORITY_1_ALL) + wire.attr_name(TCA_KIND, b"u32")
    must_have(world.source, wire.message(RTM_NEWTFILTER, requests.CREATE, body + wire.nested(TCA_OPTIONS, options)))
    before = kinds(world.source, device.ifindex, RTM_GETTFILTER, CLSACT_INGRESS)
    must_move(world, device)
    ifindex = world.target.known(b"eth1").ifindex
    world.target.must(new_qdisc(ifindex, TC_H_CLSACT, CLSACT_HANDLE, b"clsact"))
    return {"before": before, "after": kinds(world.target, ifindex, RTM_GETTFILTER, CLSACT_INGRESS)}


# ---- BPF programs ----


def bpf(command: int, data: bytes) -> tuple[int, bytes]:
    """bpf(2): its result, and the structure as the kernel leaves it. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if platform.machine() not in BPF_NUMBERS:
        raise NotAvailable(f"no number for bpf(2) on {platform.machine()}")
    area = ctypes.create_string_buffer(data, BPF_ATTR_BYTES)
    result = libc.syscall(BPF_NUMBERS[platform.machine()], command, area, BPF_ATTR_BYTES)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"bpf: {os.strerror(code)}")
    return result, area.raw


@contextmanager
def program(type_: int) -> Iterator[int]:
    """The descriptor of a program that returns 0 (XDP_ABORTED, TC_ACT_OK); no packet passes it here."""
    code = Struct("=BBhi")
    instructions = ctypes.create_string_buffer(code.pack(0xB7, 0, 0, 0) + code.pack(0x95, 0, 0, 0))  # r0 = 0; exit
    license_ = ctypes.create_string_buffer(b"Apache-2.0")
    try:
        data = Struct("=IIQQ").pack(type_, 2, ctypes.addressof(instructions), ctypes.addressof(license_))
        fd = bpf(BPF_PROG_LOAD, data)[0]
    except OSError as e:
        raise NotAvailable(f"a BPF program cannot be loaded: {e.strerror}") from None
    try:
        yield fd
    finally:
        os.close(fd)


@probe(
    "links.xdp.{}",
    ABI,
    "A device keeps its XDP program in a move: {}.",
    source=XDP,
    needs=(ROOT,),
    cases={"generic": (XDP_FLAGS_SKB_MODE,), "native": (XDP_FLAGS_DRV_MODE,)},
)
def xdp(world: World, mode: int) -> Value:
    device = pair(world)
    with program(BPF_PROG_TYPE_XDP) as fd:
        attached = wire.attr(requests.IFLA_XDP_FD, wire.S32.pack(fd)) + wire.attr_u32(IFLA_XDP_FLAGS, mode)
        world.source.must(set_link(device.ifindex, wire.nested(uapi.IFLA_XDP, attached)))
    before = xdp_of(world.source)
    must_move(world, device)
    after = xdp_of(world.target)
    return {"before": before[0], "after": after[0], "same program": before[1] == after[1] is not None}


def xdp_of(namespace: Namespace) -> tuple[int, int | None]:
    """IFLA_XDP_ATTACHED, and the number of the program."""
    found = wire.attrs(namespace.attributes(namespace.known(b"eth1").ifindex)[uapi.IFLA_XDP])
    return wire.u8(found[uapi.IFLA_XDP_ATTACHED]), wire.u32(found.get(IFLA_XDP_PROG_ID))


@probe("links.tcx.ingress", ABI, "A device keeps its BPF programs at tcx, the successor of clsact, in a move.",
       source="kernel/bpf/tcx.c; dev_tcx_uninstall is not called by __dev_change_net_namespace",
       needs=(ROOT,))  # fmt: skip
def tcx(world: World) -> Value:
    device = pair(world)
    with program(BPF_PROG_TYPE_SCHED_CLS) as fd, world.source.entered():
        try:
            bpf(BPF_PROG_ATTACH, Struct("=IIII").pack(device.ifindex, fd, BPF_TCX_INGRESS, 0))
        except OSError as e:
            if e.errno == errno.EINVAL:
                raise NotAvailable("this kernel has no tcx") from None
            raise
    before = tcx_count(world.source)
    must_move(world, device)
    return {"before": before, "after": tcx_count(world.target)}


def tcx_count(namespace: Namespace) -> int:
    query = Struct("=IIIIQI")
    with namespace.entered():
        asked = query.pack(namespace.known(b"eth1").ifindex, BPF_TCX_INGRESS, 0, 0, 0, 0)
        return int(query.unpack_from(bpf(BPF_PROG_QUERY, asked)[1])[5])


# ---- offloads ----


def ethtool(namespace: Namespace, command: int, value: int = 0) -> int:
    """An ethtool command whose argument is one number."""
    area = (ctypes.c_uint32 * 2)(command, value)
    request = IFREQ.pack(b"eth1", ctypes.addressof(area))
    with namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_:
        fcntl.ioctl(any_, SIOCETHTOOL, request)
    return area[1]


@probe(
    "links.offload.{}",
    ABI,
    "In a move, a device keeps an offload that was switched by hand: {}.",
    source="net/core/dev.c, __netdev_update_features",
    cases=FEATURES,
)
def offload(world: World, get: int, set_: int) -> Value:
    device = pair(world)
    wanted = 1 - ethtool(world.source, get)
    try:
        ethtool(world.source, set_, wanted)
    except OSError as e:
        raise NotAvailable(f"a veth of this kernel cannot switch it: {e.strerror}") from None
    if ethtool(world.source, get) != wanted:
        raise NotAvailable("a veth of this kernel does not switch it")
    must_move(world, device)
    return "kept" if ethtool(world.target, get) == wanted else "back to the default"
