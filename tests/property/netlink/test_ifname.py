"""The rules for names against the kernel's own verdict on the same bytes, asked by requests of the test's own."""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Iterator

import pytest
from hypothesis import assume, event, example, given
from hypothesis import strategies as st

from netdevns.batch import checks
from netdevns.engine import Socket, lookups
from netdevns.netlink import ifname
from tests.property.profiles import examples
from tests.support import rawdump
from tests.support.namespaces import Namespace, fresh

pytestmark = pytest.mark.kinds("veth")

PROBE, TAKEN, TAKEN_ALTNAME = b"\xfeprobe", b"net0", b"spare"
RTM_NEWLINKPROP, RTM_DELLINKPROP, IFLA_IFNAME, IFLA_PROP_LIST, IFLA_ALT_IFNAME = 108, 109, 3, 52, 53
KNOWN = [b"all", b"default", b".", b"..", b"net0", b"net1", b"spare", b"net%d", b"%d", b"spare%d"]
ODD = [
    b"\t",
    b"\n",
    b"\v",
    b"\f",
    b"\r",
    b" ",
    b"\xa0",
    b"/",
    b":",
    b".",
    b"%",
    b"%d",
    b"d",
    b"a",
    b"\x1f",
    b"\x85",
    b"0",
]

# Without NUL: in C a name ends there, so the kernel would be asked about another one.
PIECES = st.one_of(st.sampled_from([*KNOWN, *ODD]), st.integers(1, 255).map(lambda byte: bytes([byte])))


def bytes_of(longest: int) -> st.SearchStrategy[bytes]:
    """Names that may be one: pieces, mostly of a few bytes, sometimes filled up to near the limit."""
    short = st.lists(PIECES, max_size=5).map(b"".join)
    filled = st.tuples(short, st.integers(0, longest)).map(lambda t: t[0] + b"x" * (t[1] - len(t[0])))
    return st.one_of(st.sampled_from(KNOWN), short, filled).map(lambda name: name[:longest])


class Sides:
    """A device `eth1` in one namespace; in the other a probe, and a device that has one name and one altname."""

    def __init__(self, host: Namespace, target: Namespace) -> None:
        self.host, self.target = host, target
        host.ip("link add eth1 type veth peer name peer1")
        target.batch(["link add probe type veth peer name net0", "link property add dev net0 altname spare"])
        self.ifindex = {"host": host.links()["eth1"].ifindex, "target": target.links()["probe"].ifindex}
        self.sockets = {"host": host.socket(), "target": target.socket()}
        self.ours = Socket(target.fd)
        assert self.rename(PROBE) == 0

    def close(self) -> None:
        self.ours.close()
        for socket in self.sockets.values():
            socket.raw.close()

    def rename(self, name: bytes) -> int:
        """The kernel's verdict: 0 or an errno."""
        attr = rawdump.attribute(IFLA_IFNAME, name + b"\0")
        return self.sockets["target"].change_link(self.ifindex["target"], attr)

    def altname(self, side: str, name: bytes, type_: int = RTM_NEWLINKPROP) -> int:
        listed = rawdump.attribute(IFLA_PROP_LIST | 0x8000, rawdump.attribute(IFLA_ALT_IFNAME, name + b"\0"))
        header = struct.pack("=BxHiII", 0, 0, self.ifindex[side], 0, 0)
        return self.sockets[side].request(type_, 0x600 if type_ == RTM_NEWLINKPROP else 0, header + listed)

    def errors(self, host_name: bytes, wanted: bytes) -> list[tuple[str, int]]:
        """Code and errno of each error finding of a move to the target."""
        devices = {os.fsdecode(host_name): os.fsdecode(wanted)}
        with checks.examine(devices, self.target.fd, self.host.fd, False) as plan:
            assert all(found.text.isprintable() for found in plan.found)
            return [(found.code, found.errno) for found in plan.errors]


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    with fresh("host") as host, fresh("target") as target:
        made = Sides(host, target)
        yield made
        made.close()


@examples(20, 250)
@given(bytes_of(20))
@example(b"all")
@example(b"default")
@example("à".encode())
def test_wanted_name(sides, name):
    """A wanted name or template is refused exactly where the kernel refuses a rename to it, with its errno."""
    assume(name != PROBE)
    found = sides.errors(b"eth1", name)
    verdict = sides.rename(name)
    try:
        assert [code for _, code in found] == ([verdict] if verdict else [])
        link = lookups.link(sides.ours, ifindex=sides.ifindex["target"])
        if not verdict and ifname.is_template(name):
            assert re.fullmatch(re.escape(name).replace(b"%d", rb"\d+"), link.name, re.DOTALL)
        else:
            assert link.name == (name if name and not verdict else PROBE)
    finally:
        assert sides.rename(PROBE) == 0
    event(f"{errno.errorcode.get(verdict, 'accepted')} {'template' if ifname.is_template(name) else ''}")


@examples(12, 150)
@given(bytes_of(130), st.booleans())
@example(b"x" * 127, True)
@example(b"x" * 128, True)
@example(b"a b", True)
@example(b"", True)
def test_altname(sides, name, both):
    """An altname that the kernel takes is read back as it is, found by name, and blocks what would clash with it."""
    assume(name not in (b"lo", b"eth1", b"peer1", b"free", b"x", PROBE, TAKEN, TAKEN_ALTNAME))
    verdict = sides.altname("host", name)
    assert verdict == (errno.ERANGE if len(name) > 127 else 0)
    event("refused" if verdict else "accepted")
    if verdict:
        return
    try:
        if both:
            assert sides.altname("target", name) == 0
        with Socket(sides.host.fd) as socket:
            link = lookups.link(socket, ifindex=sides.ifindex["host"])
            assert link.altnames == (name,)
            assert lookups.link(socket, name=name).ifindex == link.ifindex
        # Under no name can the device move to a namespace in which its altname is taken.
        assert [code for code, _ in sides.errors(b"eth1", b"free")] == (["altname.taken"] if both else [])
        # It is no name of a device.
        assert {code for code, _ in sides.errors(name, b"x")} <= {
            "device.altname",
            "device.invalid-name",
            "device.unknown",
        }
        if ifname.why_invalid(name) is None and not ifname.is_template(name):
            expected = {"name.own-altname", "name.taken-altname", "altname.taken"}
            found = {code for code, _ in sides.errors(b"eth1", name)}
            assert "name.own-altname" in found
            assert found <= expected
    finally:
        assert sides.altname("host", name, RTM_DELLINKPROP) == 0
        if both:
            assert sides.altname("target", name, RTM_DELLINKPROP) == 0


@examples(20, 250)
@given(bytes_of(130), bytes_of(20))
def test_no_name_makes_a_check_fail(sides, name, wanted):
    """Any host name has one finding, unless it is the name of a device; any wanted name has some, or none."""
    kinds = [code.split(".")[0] for code, _ in sides.errors(name, wanted)]
    assert kinds.count("device") == (name not in (b"eth1", b"peer1"))
    assert set(kinds) <= {"device", "name"}
