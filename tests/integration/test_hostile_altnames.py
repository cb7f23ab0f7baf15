"""Root in the target adds alternative names while devices arrive: they keep no device from coming home."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from netdevns.batch import way_back
from tests.support import rawdump
from tests.support.namespaces import Namespace
from tests.support.restored import assert_equal_soon

from .strikes import BeforeStep, failed_move, furnished, has_altnames, strike


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


@pytest.mark.sampled(5)
@pytest.mark.smoke
@has_altnames
@pytest.mark.parametrize("name", ["stays", "lo", "eth0", "eth1", "peer", "taken"])
@pytest.mark.parametrize("device", ["net0", "net1"])
def test_taken_altname(sides: tuple[Namespace, Namespace], before_step: BeforeStep, name: str, device: str) -> None:
    """P1: an alternative name that a device of the host has keeps none from coming home.

    It may be the name or an alternative name of one that stays, of another one of the batch, or the device's own.
    """
    host, target = sides
    host.ip("link property add dev stays altname taken")
    before = host.dump()
    renamed = ["link set lo name nobody"] if name == "lo" else []
    before_step("verify", 2, strike(target, *renamed, f"link property add dev {device} altname {name}"))
    assert failed_move(target).left == ()
    assert_equal_soon(before, host)
    assert target.names() <= {"nobody"}


def test_added_altname_is_removed_in_the_target(sides: tuple[Namespace, Namespace], before_step: BeforeStep) -> None:
    """P1: an alternative name that the container added is never visible in the host, not even for a moment."""
    host, target = sides
    before = host.dump()
    before_step("verify", 2, strike(target, "link property add dev net1 altname theirs"))
    notifications = b""
    with host.monitor() as monitor:
        assert failed_move(target).left == ()
        with contextlib.suppress(BlockingIOError):
            while data := monitor.raw.recv(1 << 16):
                notifications += data
    assert b"enp1" in notifications
    assert b"theirs" not in notifications
    assert_equal_soon(before, host)


@pytest.mark.sampled(3)
@has_altnames
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("tries", [way_back.TRIES, 0], ids=["in-the-target", "in-our-own"])
@pytest.mark.parametrize("name", ["stays", "eth0", "eth1", "lo"])
def test_altname_between_look_and_move(
    sides: tuple[Namespace, Namespace],
    before_step: BeforeStep,
    monkeypatch: pytest.MonkeyPatch,
    nth: int,
    tries: int,
    name: str,
) -> None:
    """P1: the same where it is added behind the look: removed with the move in one send, or in a namespace of ours."""
    host, target = sides
    before = host.dump()
    monkeypatch.setattr(way_back, "TRIES", tries)
    made: list[int] = []
    real = way_back.named_netns.new
    monkeypatch.setattr(way_back.named_netns, "new", lambda path: made.append(1) or real(path))
    before_step("verify", 2, strike(target))

    device, way = [("net1", ["stays", "lo"]), ("net0", ["stays", "lo", "eth1"])][nth - 1]  # eth1 is the first home

    def add() -> None:
        if name == "lo":
            target.ip("link set lo name nobody")
        target.ip(f"link property add dev {device} altname {name}")

    before_step("undo", nth, add)
    assert failed_move(target).left == ()
    assert_equal_soon(before, host)
    assert bool(made) == (not tries and name in way)


@has_altnames
def test_everything_in_a_namespace_of_our_own(
    sides: tuple[Namespace, Namespace], before_step: BeforeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: a device that comes through a namespace of ours has everything again, with another MAC and name, too."""
    host, target = sides
    before = host.dump()
    monkeypatch.setattr(way_back, "TRIES", 0)
    before_step("verify", 2, strike(target, "link set net1 address 02:00:00:00:00:77 mtu 1300"))
    before_step("undo", 1, lambda: target.ip("link property add dev net1 altname stays"))
    assert failed_move(target).left == ()
    assert_equal_soon(before, host)


@has_altnames
def test_interrupt_in_a_namespace_of_our_own(
    sides: tuple[Namespace, Namespace], before_step: BeforeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: Ctrl-C while the device is there: it does not end with that namespace."""
    host, target = sides
    before = host.dump()
    monkeypatch.setattr(way_back, "TRIES", 0)
    before_step("verify", 2, strike(target))
    before_step("undo", 1, lambda: target.ip("link property add dev net1 altname stays"))
    real, struck = way_back.WayBack._home, []

    def home(self: way_back.WayBack, *args: Any) -> None:
        if not struck:
            struck.append(1)
            raise KeyboardInterrupt
        real(self, *args)

    monkeypatch.setattr(way_back.WayBack, "_home", home)
    assert failed_move(target).left == ()
    assert struck
    assert_equal_soon(before, host)


LOOP_NAMES = ("stays", "peer", "lo2")


def add_names(side: Namespace, ifindex: int, parent: int) -> None:
    """Adds alternative names to a device as fast as it can, until it is killed or its parent is."""
    requests = b""
    for name in LOOP_NAMES * 10:
        names = rawdump.attribute(52 | 0x8000, rawdump.attribute(53, name.encode() + b"\0"))
        body = struct.pack("=BxHiII", 0, 0, ifindex, 0, 0) + names
        requests += struct.pack("=IHHII", 16 + len(body), 108, 0x601, 0, 0) + body  # RTM_NEWLINKPROP
    with side.socket() as socket:
        while os.getppid() == parent:
            socket.raw.send(requests)
            with contextlib.suppress(BlockingIOError):
                while socket.raw.recv(1 << 16, rawdump.sockets.MSG_DONTWAIT):
                    pass


@pytest.fixture
def loop(sides: tuple[Namespace, Namespace]) -> Iterator[Callable[[str], None]]:
    """Starts a process that adds alternative names to a device of the target as fast as it can."""
    _, target = sides
    children: list[int] = []

    def start(device: str) -> None:
        ifindex, parent = target.links()[device].ifindex, os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                add_names(target, ifindex, parent)
            finally:
                os._exit(1)
        children.append(pid)

    yield start
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@has_altnames
@pytest.mark.parametrize("round_", range(5))
def test_loop_that_adds_altnames(
    sides: tuple[Namespace, Namespace], before_step: BeforeStep, loop: Callable[[str], None], round_: int
) -> None:
    """P1: a process that adds names in a loop, faster than the undo, does not prevent it."""
    host, target = sides
    before = host.dump()
    before_step("verify", 2, strike(target, then=lambda: loop("net1")))
    assert failed_move(target).left == (), round_
    assert_equal_soon(before, host)
