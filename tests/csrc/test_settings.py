"""nd_settings_restore (settings.c, built as in test_unit.py): all that RTM_NEWLINK and /proc/sys/net set of a link.

Each scene is made twice, and changed in the same way: C restores one, netdevns.state.restore the other. The oracle is
the raw dump; what cannot be restored is missing in the same words. Pairs of links that this kernel has no device for
come from a scripted peer, which both drivers ask.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import random
import re
import socket as sockets
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from netdevns.engine import EngineError, Socket, lookups
from netdevns.netlink import uapi, wire
from netdevns.state import restore
from netdevns.state.kind import DOWN, UP, View
from netdevns.state.link_settings import LinkSettings
from netdevns.state.sysctls import Sysctls
from tests.support import bpf, kinds
from tests.support.namespaces import Namespace, fresh
from tests.support.restored import assert_equal_soon, differences

from .ways import Start, starter, ways

VETH = ["link add eth1 index 20 address 02:00:00:00:00:01 type veth peer name peer index 21 address 02:00:00:00:00:02"]
UP_VETH = [*VETH, "link set peer up", "link set eth1 up", "addr add 10.1.0.1/24 dev eth1"]
MACVLAN = [
    *(line.replace("eth1", "low") for line in VETH),
    "link set low up",
    "link add link low name eth1 index 22 address 02:00:00:00:00:03 type macvlan mode vepa",
]
VXLAN = ["link add eth1 index 20 address 02:00:00:00:00:01 type vxlan id 7 dstport 4789 ttl 3"]

# kinds, how a scene is made, how it is changed ("sysctl NAME VALUE" or a line of `ip -batch`)
SCENES: dict[str, tuple[str, list[str], list[str]]] = {
    "nothing": ("veth", UP_VETH, []),
    "attributes": (
        "veth",
        UP_VETH,
        [
            "link set eth1 mtu 1300",
            "link set eth1 address 02:00:00:00:00:99",
            "link set eth1 broadcast ff:ff:ff:ff:ff:fe",
            "link set eth1 txqueuelen 77",
            "link set eth1 alias other",
            "link set eth1 group 7",
        ],
    ),
    "alias is back": (
        "ifb",
        ["link add eth1 address 02:00:00:00:00:01 type ifb", "link set eth1 alias some"],
        ["link set eth1 alias other"],
    ),
    "sizes": (
        "veth",
        UP_VETH,
        ["link set eth1 gso_max_size 40000 gso_max_segs 77", "link set eth1 gro_max_size 30000"],
    ),
    "flags": (
        "veth",
        UP_VETH,
        [
            "link set eth1 promisc on",
            "link set eth1 allmulticast on",
            "link set eth1 multicast off",
            "link set eth1 arp off",
        ],
    ),
    "names": (
        "veth",
        [*VETH, "link property add dev eth1 altname one altname two altname three"],
        [
            "link property del dev eth1 altname two altname three",
            "link property add dev eth1 altname four altname five",
        ],
    ),
    "new name": ("veth", UP_VETH, ["link set eth1 down", "link set eth1 name net0", "link set net0 mtu 1300"]),
    "ipv4": (
        "veth",
        UP_VETH,
        [
            "sysctl ipv4/conf/eth1/rp_filter 2",
            "sysctl ipv4/conf/eth1/medium_id -1",
            "sysctl ipv4/conf/eth1/forwarding 1",
            "sysctl ipv4/conf/eth1/arp_evict_nocarrier 0",
        ],
    ),
    "ipv6": (
        "veth",
        [*UP_VETH, "sysctl ipv6/conf/eth1/ioam6_id_wide 7"],
        [
            "sysctl ipv6/conf/eth1/forwarding 1",
            "sysctl ipv6/conf/eth1/hop_limit 77",
            "sysctl ipv6/conf/eth1/mtu 1300",
            "sysctl ipv6/conf/eth1/router_solicitation_interval 9",
            "sysctl ipv6/conf/eth1/router_solicitation_delay 3",
            "sysctl ipv6/conf/eth1/router_solicitations 7",
            "sysctl ipv6/conf/eth1/router_solicitation_max_interval 77",
            "sysctl ipv6/conf/eth1/router_probe_interval 7",
            "sysctl ipv6/conf/eth1/ndisc_tclass 7",
            "sysctl ipv6/conf/eth1/ioam6_id_wide 77",
        ],
    ),
    "disable_ipv6": ("veth", UP_VETH, ["sysctl ipv6/conf/eth1/disable_ipv6 1", "sysctl ipv6/conf/eth1/accept_ra 0"]),
    "token": ("veth", [*UP_VETH, "token set ::77 dev eth1"], ["token set ::78 dev eth1"]),
    "token is gone": ("veth", UP_VETH, ["token set ::78 dev eth1"]),
    "token, no advertisements": (
        "veth",
        [*UP_VETH, "token set ::77 dev eth1", "sysctl ipv6/conf/eth1/accept_ra 0"],
        ["sysctl ipv6/conf/eth1/accept_ra 1", "token set ::78 dev eth1"],
    ),
    "token, forwarding": (
        "veth",
        [*UP_VETH, "token set ::77 dev eth1", "sysctl ipv6/conf/eth1/forwarding 1"],
        ["sysctl ipv6/conf/eth1/accept_ra 2", "token set ::78 dev eth1"],
    ),
    "down": (
        "veth",
        [*UP_VETH, "sysctl ipv6/conf/eth1/mtu 1400"],
        ["link set eth1 down", "link set eth1 mtu 1300", "link set eth1 addrgenmode random"],
    ),
    "down, no link-local address": ("veth", [*UP_VETH, "link set eth1 addrgenmode eui64"], ["link set eth1 down"]),
    "proto_down": ("macvlan", MACVLAN, ["link set eth1 protodown on", "link set eth1 protodown_reason 3 on"]),
    "proto_down is back": (
        "macvlan",
        [*MACVLAN, "link set eth1 protodown on", "link set eth1 protodown_reason 3 on"],
        ["link set eth1 protodown_reason 3 off", "link set eth1 protodown off"],
    ),
    "reasons of proto_down": (
        "macvlan",
        [*MACVLAN, "link set eth1 protodown on", "link set eth1 protodown_reason 3 on"],
        ["link set eth1 protodown_reason 5 on"],
    ),
    "macvlan mode": ("macvlan", MACVLAN, ["link set eth1 type macvlan mode private bcqueuelen 77"]),
    "macvlan passthru": (
        "macvlan",
        [*MACVLAN[:-1], MACVLAN[-1].replace("vepa", "passthru"), "link set eth1 up"],
        ["link set eth1 type macvlan mode passthru nopromisc", "link set eth1 down"],
    ),
    "macvlan source": (
        "macvlan",
        [
            *MACVLAN[:-1],
            MACVLAN[-1].replace("vepa", "source"),
            "link set eth1 type macvlan macaddr set 02:00:00:00:01:01 02:00:00:00:01:02",
        ],
        ["link set eth1 type macvlan macaddr set 02:00:00:00:01:02 02:00:00:00:01:03"],
    ),
    "macvlan is refused its MTU": (
        "macvlan",
        [*MACVLAN, "link set eth1 up"],
        ["link set low mtu 1300", "link set eth1 alias other"],
    ),
    "vxlan": ("vxlan", VXLAN, ["link set eth1 type vxlan id 7 ttl 7 tos 8 ageing 77"]),
    "vxlan, another one": (
        "vxlan",
        VXLAN,
        ["link del eth1", VXLAN[0].replace("id 7", "id 8").replace("ttl 3", "ttl 7 tos 8 nolearning")],
    ),
    "ipvlan": (
        "ipvlan",
        [*MACVLAN[:-1], "link add link low name eth1 index 22 type ipvlan mode l3"],
        ["link set eth1 type ipvlan mode l2 private"],
    ),
    "another peer": ("veth", VETH, ["link del eth1", VETH[0].replace("index 21", "index 31")]),
    "another ifindex": (
        "ifb",
        ["link add eth1 index 20 address 02:00:00:00:00:01 type ifb", "link set eth1 mtu 1400"],
        ["link del eth1", "link add eth1 index 30 address 02:00:00:00:00:07 numtxqueues 4 type ifb"],
    ),
    "another type": (
        "veth",
        VETH,
        ["link del eth1", "link add eth1 index 20 mtu 1300 address 02:00:00:00:00:07 type ifb"],
    ),
}


# What both leave as it is, by scene: a part of what is missing; "": the words of both are compared, no more.
MISSING = {
    "macvlan is refused its MTU": "MTU 1500 -> 1300: ",
    "vxlan, another one": "vxlan id 7 -> 8: ",
    "another peer": "peer (ifindex 21) -> (ifindex 31)",
    "another ifindex": "number of transmit queues",
    "another type": "",
}


def change(side: Namespace, lines: list[str]) -> None:
    for line in lines:
        words = line.split()
        if words[0] == "sysctl":
            side.sysctl(words[1], words[2])
        else:
            side.ip(line)


def python_restores(side: Namespace, was: wire.Link, name: str) -> list[str]:
    """The twin: what netdevns.state does, with the two kinds that C has; returns what is missing."""
    with side.entered(), Socket() as socket:
        now = lookups.link(socket, name=name.encode())
        assert now
        restorer = restore.Restorer([LinkSettings(), Sysctls()], socket, -1, View({was.ifindex: was}))
        here = {was.ifindex: now.ifindex}
        restorer.run([DOWN], here)
        if was.flags & uapi.IFF_UP:
            socket.command(wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, now.ifindex, up=True))
        restorer.run([UP], here)
        return [each.words for each in restorer.unrestored(here)]


def path_of(side: Namespace) -> str:
    """One that the program, a child, can open."""
    return f"/proc/{os.getpid()}/fd/{side.fd}"


class Twins:
    """Two namespaces with the same scene."""

    def __init__(self, start: Start, file: Path, make: list[str], sides: tuple[Namespace, Namespace]) -> None:
        self.start, self.file, self.sides = start, file, sides
        for side in sides:
            change(side, make)
            side.wait_until_quiet()
        self.before = [side.dump() for side in sides]
        done = start("settings", "save", path_of(sides[0]), "eth1", str(file))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        with sides[1].entered(), Socket() as socket:
            was = lookups.link(socket, name=b"eth1")
        assert was
        self.was = was

    def restore(self, name: str = "eth1", *arguments: str) -> tuple[str, str]:
        """What is missing where C restored, and where Python did."""
        done = self.start("settings", "restore", path_of(self.sides[0]), name, str(self.file), *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        # musl has shorter words for EOPNOTSUPP.
        missing = re.sub(": Not supported", ": Operation not supported", done.stdout.removesuffix("\n"))
        return missing, "; ".join(python_restores(self.sides[1], self.was, name))

    def differences(self, timeout_s: float = 5) -> list[list[str]]:
        """What is not as before, in each."""
        sides = zip(self.sides, self.before, strict=True)
        return [differences(side.dump, before, timeout_s=timeout_s) for side, before in sides]


@pytest.fixture
def twins(start_few: Start, tmp_path: Path) -> Iterator[Callable[[list[str]], Twins]]:
    with fresh("C") as one, fresh("Python") as two:
        yield lambda make: Twins(start_few, tmp_path / "link", make, (one, two))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("scene", SCENES)
def test_scene(twins: Callable[[list[str]], Twins], scene: str) -> None:
    """P1: all that was changed is as before, or missing in the same words; and nothing else changes."""
    needs, make, changes = SCENES[scene]
    if needs not in kinds.offered():
        pytest.skip(f"this kernel has no {needs}")
    both = twins(make)
    for side in both.sides:
        change(side, changes)
    assert not changes or all(both.differences(0)), "the changes change nothing"
    missing, expected = both.restore("net0" if scene == "new name" else "eth1")
    assert missing == expected
    assert bool(missing) == (scene in MISSING), missing
    assert MISSING.get(scene, "") in missing
    first, second = both.sides
    assert_equal_soon(first.dump(), second)
    if scene not in MISSING and scene != "new name":
        assert both.differences() == [[], []]


def test_nothing_is_sent_where_nothing_differs(start_few: Start, tmp_path: Path, host: Namespace) -> None:
    """P5: a link that is as before is not touched."""
    change(host, [*UP_VETH, "link property add dev eth1 altname one", "token set ::77 dev eth1"])
    host.wait_until_quiet()
    file = str(tmp_path / "link")
    assert start_few("settings", "save", path_of(host), "eth1", file).returncode == 0
    with host.monitor() as monitor:
        done = start_few("settings", "restore", path_of(host), "eth1", file)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert monitor.seen() == []


def test_other_devices_are_not_touched(start_few: Start, tmp_path: Path, host: Namespace) -> None:
    """P5: settings of another device, and of the namespace, stay as they are."""
    change(host, [*UP_VETH, "link add eth2 type ifb", "link set eth2 mtu 1300 alias two up"])
    host.wait_until_quiet()
    file, before = str(tmp_path / "link"), host.dump()
    assert start_few("settings", "save", path_of(host), "eth1", file).returncode == 0
    change(host, SCENES["attributes"][2] + SCENES["ipv6"][2][:-1])
    assert start_few("settings", "restore", path_of(host), "eth1", file).stdout == ""
    assert differences(host.dump, before) == []


def test_files_are_written_where_the_program_is(start_few: Start, tmp_path: Path, host: Namespace) -> None:
    """visit_fd -1: the calling thread's namespace."""
    change(host, UP_VETH)
    host.wait_until_quiet()
    file, before = str(tmp_path / "link"), host.dump()
    with host.entered():
        assert start_few("settings", "save", "-", "eth1", file).returncode == 0
        host.sysctl("ipv6/conf/eth1/hop_limit", 77)
        done = start_few("settings", "restore", "-", "eth1", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert differences(host.dump, before) == []


def test_token_that_is_given(start_few: Start, tmp_path: Path, host: Namespace) -> None:
    """5.10 reports no token without statistics: where the caller knows it, it is restored."""
    change(host, [*UP_VETH, "token set ::77 dev eth1"])
    host.wait_until_quiet()
    file, before = tmp_path / "link", host.dump()
    assert start_few("settings", "save", path_of(host), "eth1", str(file)).returncode == 0
    # IFLA_INET6_TOKEN gets a type that no kernel has, as if it was not there.
    token = wire.attr(uapi.IFLA_INET6_TOKEN, bytes(15) + b"\x77")
    data = file.read_bytes()
    assert data.count(token) == 1
    file.write_bytes(data.replace(token, wire.attr(100, token[4:])))
    change(host, ["token set ::78 dev eth1"])
    assert start_few("settings", "restore", path_of(host), "eth1", str(file)).stdout == ""
    assert differences(host.dump, before, timeout_s=0) != []
    assert start_few("settings", "restore", path_of(host), "eth1", str(file), token[4:].hex()).stdout == ""
    assert differences(host.dump, before) == []


def test_xdp_program_is_detached(start_few: Start, tmp_path: Path, host: Namespace) -> None:
    """A program that was attached meanwhile is detached."""
    change(host, VETH)
    file, before = str(tmp_path / "link"), host.dump()
    assert start_few("settings", "save", path_of(host), "eth1", file).returncode == 0
    bpf.attach_xdp(host, "eth1")
    assert start_few("settings", "restore", path_of(host), "eth1", file).stdout == ""
    assert differences(host.dump, before) == []


def test_device_that_is_gone(start_few: Start, tmp_path: Path, host: Namespace) -> None:
    """It could not be asked for: that is a failure, and nothing missing."""
    change(host, VETH)
    file = str(tmp_path / "link")
    assert start_few("settings", "save", path_of(host), "eth1", file).returncode == 0
    host.ip("link del eth1")
    done = start_few("settings", "restore", path_of(host), "eth1", file)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("size", [0, 8, 16, 24, 31])
def test_damaged_link(start_few: Start, tmp_path: Path, host: Namespace, size: int) -> None:
    """A message without a whole header is refused; nothing is sent."""
    change(host, VETH)
    file = tmp_path / "link"
    file.write_bytes(struct.pack("=IHHII", size, 16, 0, 0, 0)[:size] + bytes(max(size - 16, 0)))
    before = host.dump()
    done = start_few("settings", "restore", path_of(host), "eth1", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert differences(host.dump, before) == []


# ---- a scripted peer ----

Refuse = Callable[[bytes], int]


class Kernel:
    """Answers RTM_GETLINK with the link, and any other request with the errno that `refuse` returns, or 0: an ack."""

    def __init__(self, now: bytes, refuse: Refuse) -> None:
        self.now, self.refuse = now, refuse
        self.sent: list[bytes] = []
        self.asked: list[bytes] = []

    def answer(self, request: bytes) -> bytes:
        length, type_, flags, seq, portid = struct.unpack_from("=IHHII", request)
        ifindex, mine = (struct.unpack_from("=i", data, 4)[0] for data in (request[16:], self.now))
        if type_ == uapi.RTM_GETLINK:
            self.asked.append(request)
            if ifindex not in (0, mine):
                return self._error(request, errno.ENODEV)
            return struct.pack("=IHHII", 16 + len(self.now), uapi.RTM_NEWLINK, 0, seq, portid) + self.now
        plain = struct.pack("=IHHII", length, type_, flags, 0, 0) + request[16:]
        self.sent.append(plain)
        # IFF_UP is always set and cleared.
        is_up = wire.IFINFOMSG.unpack_from(plain, 16)[4] == uapi.IFF_UP
        return self._error(request, 0 if is_up else self.refuse(plain))

    @staticmethod
    def _error(request: bytes, code: int) -> bytes:
        seq, portid = struct.unpack_from("=II", request, 8)
        body = struct.pack("=i", -code) + request[:16]
        return struct.pack("=IHHII", 16 + len(body), uapi.NLMSG_ERROR, uapi.NLM_F_CAPPED, seq, portid) + body


class ScriptedSocket:
    """What a Restorer needs of a socket."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def query(self, request: bytes, size: int = 0, about: object = None) -> tuple[int, bytes]:
        del size, about
        answers = []
        for seq, message in enumerate(wire.messages(request)):
            answer = self.kernel.answer(bytes(message.data[:8]) + struct.pack("=I", seq) + bytes(message.data[12:]))
            answers.append(answer + bytes(-len(answer) & 3))
        return 0, b"".join(answers)

    def command(self, request: bytes) -> None:
        code, text = wire.error(wire.Message(memoryview(self.kernel.answer(request))))
        if code:
            raise EngineError(code, text, "exchange")


def python_asks(was: wire.Link, kernel: Kernel, lower: int) -> list[str]:
    socket = cast("Socket", ScriptedSocket(kernel))
    restorer = restore.Restorer([LinkSettings(), Sysctls()], socket, -1, View({was.ifindex: was}))
    here = {was.ifindex: wire.Link(memoryview(kernel.now)).ifindex} | ({3: lower} if lower else {})
    restorer.run([DOWN], here)
    if was.flags & uapi.IFF_UP:
        socket.command(wire.link_message(uapi.RTM_NEWLINK, uapi.NLM_F_ACK, here[was.ifindex], up=True))
    restorer.run([UP], here)
    return [each.words for each in restorer.unrestored(here)]


def c_asks(way: str, folder: Path, was: wire.Link, kernel: Kernel, lower: int, token: str = "-") -> str:
    ours, its = sockets.socketpair(sockets.AF_UNIX, sockets.SOCK_SEQPACKET)

    def serve() -> None:
        while request := ours.recv(1 << 18):
            ours.send(kernel.answer(request))

    def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
        with its:
            return subprocess.run(
                argv, capture_output=True, text=True, timeout=250, check=False, pass_fds=[its.fileno()]
            )

    (folder / "was").write_bytes(was.message())
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        peer = f"peer:{its.fileno()}"
        done = starter(way, folder, run)("settings", "restore", peer, "eth1", str(folder / "was"), token, str(lower))
    finally:
        its.close()
        thread.join()
        ours.close()
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.removesuffix("\n")


def same(
    way: str, folder: Path, was: wire.Link, now: wire.Link, refusal: Callable[[], Refuse], lower: int = 0
) -> tuple[str, list[bytes]]:
    """Both send the same requests and miss the same."""
    c, python = Kernel(bytes(now.body), refusal()), Kernel(bytes(now.body), refusal())
    missing = c_asks(way, folder, was, c, lower)
    expected = python_asks(was, python, lower)
    assert [*difflib.unified_diff(expected, missing.split("; ") if missing else [], n=0)] == []
    assert [each.hex() for each in c.sent] == [each.hex() for each in python.sent]
    return missing, c.sent


U8, U32, PAIR = struct.Struct("=B").pack, struct.Struct("=I").pack, struct.Struct("=II").pack


def link(
    kind: bytes = b"", data: bytes = b"", *, ifindex: int = 7, flags: int = 0x1002, type_: int = 1, port: bytes = b"",
    spec: bytes = b"", **attrs: bytes,
) -> wire.Link:  # fmt: skip
    packed = wire.attr_name(uapi.IFLA_IFNAME, b"eth1")
    packed += b"".join(wire.attr(getattr(uapi, name), value) for name, value in attrs.items())
    info = wire.attr_name(uapi.IFLA_INFO_KIND, kind) + wire.nested(uapi.IFLA_INFO_DATA, data) if kind else b""
    if info + port:
        packed += wire.nested(uapi.IFLA_LINKINFO, info + port)
    if spec:
        packed += wire.nested(uapi.IFLA_AF_SPEC, spec)
    return wire.Link(memoryview(wire.IFINFOMSG.pack(0, type_, ifindex, flags, 0) + packed))


def names(*altnames: bytes) -> bytes:
    return b"".join(wire.attr_name(uapi.IFLA_ALT_IFNAME, name) for name in altnames)


def qos(type_: int, maps: dict[int, int]) -> bytes:
    return wire.nested(type_, b"".join(wire.attr(1, PAIR(*pair)) for pair in maps.items()))


def macs(*numbers: int) -> bytes:
    return wire.nested(5, b"".join(wire.attr(4, b"\2\0\0\0\0" + bytes([number])) for number in numbers))


def three(*values: int) -> bytes:
    return b"".join(wire.attr_u32(type_, value) for type_, value in enumerate(values, 1))


def xdp(program: int) -> bytes:
    return wire.attr_u32(uapi.IFLA_XDP_SKB_PROG_ID, program)


SLAVE = wire.attr_name(uapi.IFLA_INFO_SLAVE_KIND, b"bond") + wire.nested(
    uapi.IFLA_INFO_SLAVE_DATA, wire.attr(uapi.IFLA_BOND_SLAVE_PERM_HWADDR, b"\2\0\0\0\0\1")
)
REASONS = wire.attr_u32(uapi.IFLA_PROTO_DOWN_REASON_VALUE, 5)
PAIRS: dict[str, tuple[wire.Link, wire.Link]] = {
    "equal": (link(IFLA_MTU=U32(1500)), link(IFLA_MTU=U32(1500))),
    "added names": (
        link(IFLA_PROP_LIST=names(b"two", b"gone", b"lost")),
        link(IFLA_PROP_LIST=names(b"one", b"two", b"", b"a\nb", b"x" * 127)),
    ),
    "alias": (link(), link(IFLA_IFALIAS=b"a\n\t\x1bb\\" + b"x" * 200 + b"\0")),
    "all sizes": (
        link(
            IFLA_GSO_IPV4_MAX_SIZE=U32(1), IFLA_GRO_IPV4_MAX_SIZE=U32(2), IFLA_GRO_MAX_SIZE=U32(3), IFLA_LINKMODE=U8(0)
        ),
        link(
            IFLA_GSO_IPV4_MAX_SIZE=U32(4), IFLA_GRO_IPV4_MAX_SIZE=U32(5), IFLA_GRO_MAX_SIZE=U32(6), IFLA_LINKMODE=U8(1)
        ),
    ),
    "not known to this kernel": (link(), link(IFLA_GRO_MAX_SIZE=U32(3))),
    "flags": (link(flags=0x1183), link(flags=0x1B02, ifindex=9)),
    "fixed flags": (link(flags=0x4101A), link(flags=0x10142)),
    "fixed": (
        link(IFLA_NUM_TX_QUEUES=U32(4), IFLA_PERM_ADDRESS=b"\2\0\0\0\0\1", IFLA_PARENT_DEV_NAME=b"a\0"),
        link(IFLA_NUM_RX_QUEUES=U32(4), IFLA_PERM_ADDRESS=b"\2\0\0\0\0\2", IFLA_HEADROOM=U32(4)),
    ),
    "hardware type": (link(type_=1), link(type_=512)),
    "slave, left": (link(port=SLAVE, IFLA_ADDRESS=b"\2\0\0\0\0\xb0"), link(IFLA_ADDRESS=b"\2\0\0\0\0\1")),
    "slave, changed": (link(port=SLAVE, IFLA_ADDRESS=b"\2\0\0\0\0\xb0"), link(IFLA_ADDRESS=b"\2\0\0\0\0\7")),
    "proto_down": (link(IFLA_PROTO_DOWN=U8(0)), link(IFLA_PROTO_DOWN=U8(1), IFLA_PROTO_DOWN_REASON=REASONS)),
    "reasons": (
        link(IFLA_PROTO_DOWN=U8(1), IFLA_PROTO_DOWN_REASON=REASONS),
        link(IFLA_PROTO_DOWN=U8(1), IFLA_PROTO_DOWN_REASON=wire.attr_u32(uapi.IFLA_PROTO_DOWN_REASON_VALUE, 6)),
    ),
    "program": (link(), link(IFLA_XDP=xdp(9))),
    "another program": (link(IFLA_XDP=xdp(8)), link(IFLA_XDP=xdp(9))),
    "lower device": (link(IFLA_LINK=U32(3)), link(IFLA_LINK=U32(4))),
    "lower device elsewhere": (link(IFLA_LINK=U32(3)), link(IFLA_LINK=U32(3), IFLA_LINK_NETNSID=U32(0))),
    "still elsewhere": (
        link(IFLA_LINK=U32(3), IFLA_LINK_NETNSID=U32(0)),
        link(IFLA_LINK=U32(3), IFLA_LINK_NETNSID=U32(0)),
    ),
    "peer": (link(b"veth", IFLA_LINK=U32(3)), link(b"veth", IFLA_LINK=U32(5))),
    "families": (
        link(spec=wire.nested(uapi.AF_INET, U32(1)) + wire.nested(45, U32(1))),
        link(spec=wire.nested(45, U32(2))),
    ),
    "macvlan": (link(b"macvlan", wire.attr_u32(1, 4)), link(b"macvlan", wire.attr_u32(1, 2) + wire.attr(9, U32(5)))),
    "macvtap, up": (
        link(b"macvtap", wire.attr(2, b"\0\0") + wire.attr_u32(1, 4), flags=0x1003),
        link(b"macvtap", wire.attr(2, b"\1\0") + wire.attr_u32(1, 2)),
    ),
    "vlan flags": (
        link(b"vlan", wire.attr(2, PAIR(1, 0xFFFFFFFF))),
        link(b"vlan", wire.attr(2, PAIR(6, 0xFFFFFFFF))),
    ),
    "can": (
        link(b"can", wire.attr(5, PAIR(0, 1)) + wire.attr_u32(4, 1)),
        link(b"can", wire.attr(5, PAIR(0, 6)) + wire.attr_u32(4, 2)),
    ),
    "vxlan": (link(b"vxlan", b""), link(b"vxlan", wire.attr_u32(2, 0x010000EF) + wire.attr(20, b""))),
    "flag of a tunnel": (link(b"vxlan", wire.attr(20, b"")), link(b"vxlan", b"")),
    "counts": (
        link(b"tun", wire.attr_u32(8, 1) + wire.attr_u32(9, 1)),
        link(b"tun", wire.attr_u32(8, 2) + wire.attr_u32(9, 2)),
    ),
    "maps in another order": (link(b"vlan", qos(3, {1: 2, 5: 6})), link(b"vlan", qos(3, {5: 6, 1: 2}))),
    "maps": (
        link(b"vlan", qos(3, {1: 2, 5: 6}) + qos(4, {7: 1})),
        link(b"vlan", qos(3, {1: 3, 9: 4})),
    ),
    "source MACs in another order": (link(b"macvlan", macs(1, 2)), link(b"macvlan", macs(2, 1))),
    "source MACs": (link(b"macvlan", macs(1, 2)), link(b"macvlan", macs(2, 3))),
    "source MACs, none": (link(b"macvlan"), link(b"macvlan", macs(2, 3))),
    "together": (link(b"geneve", three(1, 2, 3)), link(b"geneve", three(9, 9, 3))),
    "whole": (link(b"ipip", three(1, 2, 3)), link(b"ipip", three(9, 9, 3))),
    "no such device": (
        link(spec=wire.nested(uapi.AF_INET6, wire.attr(uapi.IFLA_INET6_CONF, U32(1) * 60))),
        link(spec=wire.nested(uapi.AF_INET6, wire.attr(uapi.IFLA_INET6_CONF, U32(0) * 60))),
    ),
}


def _taken(_: bytes) -> int:
    return 0


def _refused(_: bytes) -> int:
    return errno.EOPNOTSUPP


def _busy() -> Refuse:
    """Each request is refused when it is asked for the first time, and the third, ..."""
    seen: Counter[bytes] = Counter()

    def refuse(request: bytes) -> int:
        seen[request] += 1
        return errno.EBUSY if seen[request] % 2 else 0

    return refuse


def _single() -> Refuse:
    """Each request with more than one attribute of IFLA_INFO_DATA, or name, is refused."""
    return lambda request: errno.EINVAL if len(request) > 72 else 0


REFUSALS: dict[str, Callable[[], Refuse]] = {
    "taken": lambda: _taken,
    "refused": lambda: _refused,
    "busy": _busy,
    "refused together": _single,
}


@pytest.fixture(params=ways("gcc", "gcc-sanitized", "valgrind", full=("gcc",)))
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("refusal", REFUSALS)
def test_pairs(way: str, tmp_path: Path, refusal: str) -> None:
    """P1: of each pair C sends what Python sends, byte for byte, and misses the same."""
    # valgrind takes half a second to start: every twelfth of them, another one for each refusal.
    of_it = slice([*REFUSALS].index(refusal), None, 12) if way == "valgrind" else slice(None)
    for name, (was, now) in [*PAIRS.items()][of_it]:
        for lower in (0, 4):
            with _naming(name):
                same(way, tmp_path, was, now, REFUSALS[refusal], lower)


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except AssertionError as e:
        raise AssertionError(f"{name}: {e}") from e


def random_link(chance: random.Random) -> wire.Link:
    """Attributes of all types with few values, so that some are equal."""

    def some(types: range, of: Callable[[], bytes]) -> bytes:
        return b"".join(wire.attr(type_, of()) for type_ in types if chance.random() < 0.5)

    def number() -> bytes:
        return chance.choice([U8(1), U32(1), U32(2), PAIR(1, 2), PAIR(3, 2), b"", b"ab\0", b"\2\0\0\0\0\1", b"abc\0"])

    skipped = {uapi.IFLA_IFNAME, uapi.IFLA_MASTER, uapi.IFLA_PROTO_DOWN, *range(18, 19), 26, 52, 43, 55, 5, 29, 67}
    packed = b"".join(wire.attr(t, number()) for t in range(1, 120) if t not in skipped and chance.random() < 0.3)
    packed += wire.attr_name(uapi.IFLA_IFNAME, b"eth1") + wire.attr(uapi.IFLA_PROTO_DOWN, U8(chance.randrange(2)))
    kind = chance.choice([b"macvlan", b"vlan", b"can", b"ipip", b"vxlan", b"other"])
    info = wire.attr_name(uapi.IFLA_INFO_KIND, kind) + wire.nested(uapi.IFLA_INFO_DATA, some(range(1, 30), number))
    packed += wire.nested(uapi.IFLA_LINKINFO, info)
    packed += wire.nested(uapi.IFLA_PROP_LIST, names(*(n for n in (b"a", b"b", b"c", b"d") if chance.random() < 0.5)))
    conf = b"".join(U32(chance.randrange(3)) for _ in range(chance.randrange(40)))
    packed += wire.nested(uapi.IFLA_AF_SPEC, wire.nested(uapi.AF_INET, wire.attr(uapi.IFLA_INET_CONF, conf)))
    flags = chance.getrandbits(19)
    return wire.Link(memoryview(wire.IFINFOMSG.pack(0, 1, 7, flags, 0) + packed))


@pytest.mark.thorough
def test_random_pairs(way: str, tmp_path: Path) -> None:
    """P1: the same of links with anything in them."""
    for seed in range(8 if way == "valgrind" else 40):
        chance = random.Random(seed)
        was, now = random_link(chance), random_link(chance)
        with _naming(f"seed {seed}"):
            same(way, tmp_path, was, now, REFUSALS[chance.choice([*REFUSALS])])


def test_statistics_are_asked_for_where_the_token_needs_them(tmp_path: Path) -> None:
    """5.10: a link that does not report its token is read with statistics, but only for a token that is known."""
    with_statistics = {}
    for token in ("-", f"{0x77:032x}"):
        kernel = Kernel(bytes(link().body), _taken)
        assert c_asks("gcc", tmp_path, link(), kernel, 0, token) == ""
        whole = wire.link_message(uapi.RTM_GETLINK, 0, 7)
        with_statistics[token] = [each for each in kernel.asked if len(each) == len(whole)]
    assert [len(found) for found in with_statistics.values()] == [0, 2]  # of each stage


def test_every_repair_is_sent_once_in_a_stage(tmp_path: Path) -> None:
    """P5: a kernel that takes a request and changes nothing is not asked again and again."""
    was, now = PAIRS["together"]
    missing, sent = same("gcc", tmp_path, was, now, REFUSALS["taken"])
    assert missing == "geneve attribute 1 1 -> 9; geneve attribute 2 2 -> 9"
    assert len(sent) == 2
