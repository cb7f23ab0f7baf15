"""Both engines put the same bytes on the wire, on this kernel: the command's own system calls, by strace.

tests/unit/engine/test_engines.py does the same on a model, with many more jobs.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.support import rawdump
from tests.support.namespaces import Namespace, fresh
from tests.support.require import require
from tests.support.restored import assert_equal_soon

TOP = Path(__file__).parents[2]
LONG = os.environ.get("NETDEVNS_PROFILE") == "long"
# Numbers of the sends that fail in turn. A move of three devices takes about 30, its undo as many again.
FAILING = range(1, 60) if LONG else range(3, 45, 9)

SETUP = """
    link add eth1 index 4711 address 02:00:00:00:00:01 type ifb
    link add eth2 index 4712 address 02:00:00:00:00:02 mtu 1400 type ifb
    link add low index 4713 address 02:00:00:00:00:03 type ifb
    link add mv0 index 4714 address 02:00:00:00:00:04 link low type macvlan
    link set eth1 alias uplink up
    link set low up
    link set mv0 up
    link property add dev eth1 altname enp1
    addr add 10.0.0.1/24 brd + label eth1:a dev eth1
    addr add 10.0.0.2/24 label eth1 dev eth1
    addr add 10.1.0.1/32 peer 10.1.0.2 metric 7 dev eth1
    addr add 10.2.0.1/24 preferred_lft 0 dev eth1
    addr add 2001:db8::1/64 nodad dev eth1
    addr add 2001:db8::2/64 nodad noprefixroute dev eth1
    addr add fe80::1/64 nodad dev eth1
    addr add 10.3.0.1/24 dev eth2
    addr add 10.4.0.1/24 dev mv0
    addr add 2001:db8:4::1/64 nodad dev mv0
    route add 192.0.2.0/24 via 10.0.0.9
"""
FD = 900  # a number that the command has in both runs
# A rename, a template, and a device whose lower one stays behind.
JOB = ("eth1=net0", "eth2=eth%d", "mv0=eth1")


@pytest.fixture
def made() -> Iterator[tuple[Namespace, Namespace]]:
    """Makes a furnished host and an empty target; the same MAC addresses and ifindexes each time."""

    def make(*more: str) -> tuple[Namespace, Namespace]:
        host, target = (stack.enter_context(fresh(name)) for name in ("host", "target"))
        host.batch([*SETUP.strip().splitlines(), *more])
        host.wait_until_quiet()
        return host, target

    with contextlib.ExitStack() as stack:
        yield make


def traced(engine: str, host: Namespace, target: Namespace, *inject: str) -> tuple[list[str], tuple[int, str, str]]:
    """Moves the job's devices: the messages sent, and the command's exit code and output."""
    with tempfile.NamedTemporaryFile("r") as trace:
        watch = "trace=sendto,openat,fcntl"  # the latter two open the namespaces
        command = ["strace", "-y", "-o", trace.name, "-e", watch, "-e", "write=all", *inject]
        os.dup2(target.fd, FD)
        command += [sys.executable, "-m", "netdevns", "move", *JOB, "--to", f"fd:{FD}", "--json"]
        try:
            with host.entered():
                done = subprocess.run(
                    command,
                    cwd=TOP,
                    env=os.environ | {"NETDEVNS_ENGINE": engine},
                    pass_fds=[FD],
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                )
        finally:
            os.close(FD)
        sides = {f"net:[{os.fstat(side.fd).st_ino}]": side.name for side in (host, target)}
        sent = [message for each in datagrams(trace, sides) for message in messages(*each)]
    return sent, (done.returncode, done.stdout, done.stderr)


def datagrams(trace: Iterable[str], sides: dict[str, str]) -> Iterator[tuple[bytes, dict[int, str]]]:
    """What `-e write=all` shows of each call that succeeded, in lines of 16 bytes, and the descriptors of the sides."""
    found: list[tuple[bytes, dict[int, str]]] = []
    opened: dict[int, str] = {}
    for line in trace:
        if namespace := re.search(r" = (\d+)<(net:\[\d+\])>$", line):
            opened[int(namespace[1])] = sides[namespace[2]]
        dumped = re.match(r" \| ([0-9a-f]{5,})  ([0-9a-f ]{49}) ", line)
        if not dumped:
            continue
        if int(dumped[1], 16) == 0:
            found.append((b"", dict(opened)))
        found[-1] = (found[-1][0] + bytes.fromhex(dumped[2]), found[-1][1])
    yield from found


def messages(datagram: bytes, sides: dict[int, str]) -> Iterator[str]:
    """Each message, without what differs from run to run: seq, portid, time stamps, and what is made of the portid.

    That is the name under which a device passes, on a kernel that chooses its ifindex (before 5.13). A descriptor is
    shown as the namespace that it is: its number depends on what the libraries of an engine keep open.
    """
    at = 0
    while at < len(datagram):
        length, type_, flags = struct.unpack_from("=IHH", datagram, at)
        body = re.sub(rb"nd[0-9a-f]{8}\0", b"nd-passing\0", datagram[at + 16 : at + length])
        head = {16: 16, 20: 8}.get(type_, len(body))  # RTM_NEWLINK, RTM_NEWADDR
        attrs = list(rawdump.attributes(body, head))
        attrs = [(t, v[:8] if (type_, t) == (20, 6) else v) for t, v in attrs]  # IFA_CACHEINFO: the lifetimes
        # IFLA_NET_NS_FD
        attrs = [(t, sides[int.from_bytes(v, "little")].encode() if (type_, t) == (16, 28) else v) for t, v in attrs]
        yield f"{type_} {flags:#x} {body[:head].hex()} " + " ".join(f"{t}:{v.hex()}" for t, v in attrs)
        at += (length + 3) & ~3


@pytest.fixture(autouse=True)
def _strace() -> None:
    if not shutil.which("strace"):
        require("netns", "no strace here")


def test_same_messages_on_this_kernel(made) -> None:
    """A batch that succeeds: message for message the same, and the same result."""
    # Not in the test below: the kernel restores this one's routes in its own time, so an undo may find them or not.
    peer = "addr add 2001:db8:1::1/64 peer 2001:db8:2::1 nodad dev eth1"
    sent, (code, out, err) = traced("native", *made(peer))
    assert (code, err) == (0, "")
    assert traced("reference", *made(peer)) == (sent, (code, out, err))
    assert len(sent) > 40


@pytest.mark.sampled(3)
@pytest.mark.here
@pytest.mark.parametrize("number", FAILING)
def test_same_messages_when_a_send_fails(made, number: int) -> None:
    """A send that fails (ENOBUFS): the same messages of the undo, the same words, and the host is as before."""
    inject = ("-e", f"inject=sendto:error=ENOBUFS:when={number}")
    found = []
    for engine in ("native", "reference"):
        host, target = made()
        before = host.dump()
        found.append(traced(engine, host, target, *inject))
        code = found[-1][1][0]
        assert len(found[-1][0]) > number // 2
        if code:
            assert_equal_soon(before, host)
    assert found[0] == found[1]
