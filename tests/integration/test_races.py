"""What others do to a device between two steps of a move: nothing that the runtime-spec protects is lost.

Deterministic: something is done just before an engine call. Hammering: a thread adds addresses as fast as it can to a
device that moves to and fro.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

import netdevns
from netdevns import api
from netdevns.engine.phases import Phases
from tests.support import rawdump
from tests.support.namespaces import Namespace
from tests.support.restored import State, assert_equal_soon

HAMMER_S = 60.0 if os.environ.get("NETDEVNS_ATTACK") == "long" else 5.0
ROUND_S = 1.0  # the addresses of a round are counted, then removed: thousands would slow the moves down

HOST = """
    link set lo up
    link add eth0 type ifb
    link add eth1 type ifb
    link add eth2 type ifb
    link set eth0 up
    link set eth1 up
    addr add 10.0.0.1/24 dev eth0
    addr add 2001:db8::1/64 nodad dev eth0
    addr add 10.1.0.1/24 dev eth1
    addr add 10.1.0.2/24 dev eth1
    addr add 10.1.1.1/24 dev eth1
    addr add 2001:db8:1::1/64 nodad dev eth1
    addr add 2001:db8:1::2/64 nodad dev eth1
    addr add 10.2.0.1/24 dev eth2
    addr add 2001:db8:2::1/64 nodad dev eth2
"""
DEVICES = {"eth0": "net0", "eth1": "net1", "eth2": "net2"}
LATE = """
    addr add 10.1.0.9/24 brd 10.1.0.99 dev {0}
    addr add 10.9.0.1/24 metric 77 noprefixroute dev {0}
    addr add 10.9.0.2/24 dev {0}
    addr add 10.9.1.1 peer 10.9.2.1/32 dev {0}
    addr add 2001:db8:9::1/64 nodad dev {0}
    addr add 2001:db8:9::2/64 nodad preferred_lft 0 dev {0}
    addr add 2001:db8:9::3/64 dev {0}
"""
LESSER = """
    addr add 10.9.9.1/32 scope host dev {0}
    addr add 169.254.9.1/16 scope link dev {0}
    addr add 10.9.9.2/24 valid_lft 5000 preferred_lft 4000 dev {0}
    addr add fe80::99/64 nodad dev {0}
    addr add 2001:db8:9::9/64 nodad valid_lft 5000 preferred_lft 4000 dev {0}
"""
BeforeStep = Callable[[str, int, Callable[[], object]], None]


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    host.batch(HOST)
    host.wait_until_quiet()
    return host, target


def protected(side: Namespace, device: str) -> list[rawdump.Address]:
    """In the kernel's order, without labels, which follow the name, and the verdict of DAD."""
    return [
        rawdump.Address(**{**vars(a), "label": None, "flags": a.flags & ~rawdump.IFA_F_TENTATIVE})
        for a in side.addresses(device)
        if a.scope == 0 and a.flags & rawdump.IFA_F_PERMANENT
    ]


def local(side: Namespace, device: str) -> list[str]:
    return [a.address for a in side.addresses(device)]


# ---- between snapshot and move ----


@pytest.mark.smoke
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_late_addresses_arrive(sides: tuple[Namespace, Namespace], before_step: BeforeStep, nth: int) -> None:
    """P2: addresses that are added just before the move of the n-th device arrive, as they were and in their order."""
    host, target = sides
    before: list[rawdump.Address] = []
    device = f"eth{nth - 1}"

    def add() -> None:
        host.batch(LATE.format(device))
        before.extend(protected(host, device))

    before_step("move", nth, add)
    ipv6_was = [a for a in protected(host, device) if a.family == 10]
    netdevns.move(DEVICES, target.fd)
    # A link that the batch has set down has no IPv6 address of before any more when the late ones are added.
    down = [a for a in ipv6_was if a not in before]
    assert protected(target, f"net{nth - 1}") == before + down
    assert len(before) >= 7


def test_addresses_before_the_links_are_set_down(
    sides: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """P2: the same for those that are added before the links are set down, which is what drops IPv6's."""
    host, target = sides
    before: list[list[rawdump.Address]] = []
    real = Phases.set_down

    def down(self: Phases) -> None:
        for device in DEVICES:
            host.batch(LATE.format(device))
        before.extend(protected(host, device) for device in DEVICES)
        real(self)

    monkeypatch.setattr(Phases, "set_down", down)
    netdevns.move(DEVICES, target.fd)
    assert [protected(target, name) for name in DEVICES.values()] == before


def test_single_device(host: Namespace, target: Namespace, before_step: BeforeStep) -> None:
    """P2: one device is set down by its move alone, and out of a namespace that the caller is not in."""
    with target.entered():
        target.batch(HOST)
        target.wait_until_quiet()
    before: list[rawdump.Address] = []

    def add() -> None:
        target.batch(LATE.format("eth1"))
        before.extend(protected(target, "eth1"))

    before_step("move", 1, add)
    (moved,) = netdevns.move({"eth1": "net1"}, host.fd, source=target.fd)
    assert protected(host, "net1") == before
    assert len([a for a in moved.addresses if a.address.startswith(("10.9.", "2001:db8:9:"))]) == 6


def addresses(dump: State, device: str) -> State:
    """A device's addresses, without what DAD changes."""
    found = dump["addresses"][device]
    return {device: [replace(a, flags=a.flags & ~rawdump.IFA_F_TENTATIVE) for a in found]}


@pytest.mark.sampled(3)
@pytest.mark.smoke
@pytest.mark.parametrize("step", ["move", "up_and_replay", "verify"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_late_addresses_come_back(
    sides: tuple[Namespace, Namespace], before_step: BeforeStep, step: str, nth: int
) -> None:
    """P1: after a failure they are back in the source, those of lesser scope and lifetime, too."""
    host, target = sides
    dumps = []

    def add() -> None:
        host.batch(LATE.format("eth2") + LESSER.format("eth2"))
        dumps.append(host.dump())

    def fail() -> None:
        raise netdevns.engine.EngineError(errno.ENOMEM, "made to fail", "exchange")

    # eth2 is down: nothing is dropped before its own move.
    before_step("move", 1, add)
    if step != "move" or nth > 1:
        before_step(step, nth, fail)
    else:
        before_step("move", 2, fail)
    down_before = host.dump()
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd)
    assert (raised.value.errno, raised.value.left) == (errno.ENOMEM, ())
    assert target.names() == set()
    assert_equal_soon(dumps[0], host, shown=lambda dump: addresses(dump, "eth2"))
    assert_equal_soon(down_before, host, shown=lambda dump: addresses(dump, "eth0"))


@pytest.mark.parametrize("nth", [1, 3])
def test_late_addresses_come_back_although_the_moves_did_not_end(
    sides: tuple[Namespace, Namespace], before_step: BeforeStep, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """P1: late addresses that were dropped by IFF_DOWN, or by the moves before the failed one, are restored, too."""
    host, target = sides
    before: list[dict[str, object]] = []

    def add() -> None:
        for device in DEVICES:
            host.batch((LATE + LESSER).format(device))
        before.append(host.dump())

    def interrupt() -> None:
        raise KeyboardInterrupt

    real = Phases.set_down

    def down(self: Phases) -> None:
        add()
        real(self)

    monkeypatch.setattr(Phases, "set_down", down)
    before_step("move", nth, interrupt)
    with pytest.raises(KeyboardInterrupt) as raised:
        netdevns.move(DEVICES, target.fd)
    assert isinstance(raised.value.__cause__, netdevns.MoveFailed)
    assert raised.value.__cause__.left == ()
    assert target.names() == set()
    for device in DEVICES:
        was, now = before[0]["addresses"][device], host.addresses(device)  # type: ignore[index]
        assert [a.address for a in now] == [a.address for a in was]


def test_later_state_counts(sides: tuple[Namespace, Namespace], before_step: BeforeStep) -> None:
    """P2: an address that was changed after the snapshot arrives as it was changed."""
    host, target = sides
    before_step(
        "move",
        1,
        lambda: host.batch(
            """
            addr change 10.2.0.1/24 broadcast 10.2.0.77 metric 9 dev eth2
            addr change 2001:db8:2::1/64 preferred_lft 0 dev eth2
            addr change 10.1.0.1/24 metric 8 preferred_lft 0 dev eth1
            """
        ),
    )
    netdevns.move(DEVICES, target.fd)
    (ipv4,) = target.addresses("net2", address="10.2.0.1")
    (ipv6,) = target.addresses("net2", address="2001:db8:2::1")
    (other,) = target.addresses("net1", address="10.1.0.1")
    assert (ipv4.metric, ipv6.preferred, other.metric) == (9, "0", 8)
    assert other.flags & rawdump.IFA_F_DEPRECATED


def test_address_that_is_deleted_meanwhile(sides: tuple[Namespace, Namespace], before_step: BeforeStep) -> None:
    """What a request deleted stays away where the kernel says whose it was (IPv4); otherwise it comes back."""
    host, target = sides
    before_step(
        "move",
        1,
        lambda: host.batch(
            """
            addr del 10.1.1.1/24 dev eth1
            addr del 10.2.0.1/24 dev eth2
            addr add 10.2.0.1/24 metric 5 dev eth2
            addr del 2001:db8:2::1/64 dev eth2
            """
        ),
    )
    netdevns.move(DEVICES, target.fd)
    assert [a for a in local(target, "net1") if a.startswith("10.")] == ["10.1.0.1", "10.1.0.2"]
    assert [a.metric for a in target.addresses("net2", address="10.2.0.1")] == [5]
    assert "2001:db8:2::1" in local(target, "net2")


# ---- too many notifications ----


@pytest.mark.parametrize("when", ["move", "undo"])
def test_dropped_notifications_undo(
    sides: tuple[Namespace, Namespace], before_step: BeforeStep, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """P7: if the kernel dropped notifications, additions may be missed: the batch is undone, and says so."""
    host, target = sides
    monkeypatch.setattr(api, "WATCH_BYTES", 1)  # the kernel's least: a few notifications
    host.batch(f"addr add 2001:db8:1::{n:x}/64 nodad dev eth1" for n in range(16, 80))
    host.wait_until_quiet()
    if when == "undo":
        before_step("move", 2, lambda: target.ip("link add net1 index 900 type ifb"))
    before = host.dump()
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd)
    error = raised.value
    step, code = ("watch", errno.ENOBUFS) if when == "move" else ("move", errno.EEXIST)
    assert (error.step, error.errno, error.left) == (step, code, ())
    assert "an address that was added during the move may be missing" in str(error)
    assert_equal_soon(before, host)


def test_many_addresses_fit(host: Namespace, target: Namespace) -> None:
    """Thousands of notifications fit; each address of the batch is one."""
    host.batch(f"link add d{d} type ifb\nlink set d{d} up" for d in range(8))
    host.batch(f"addr add 10.{d}.{n // 250}.{n % 250 + 1}/32 dev d{d}" for d in range(8) for n in range(500))
    moved = netdevns.move({f"d{d}": f"net{d}" for d in range(8)}, target.fd)
    assert [len(m.addresses) for m in moved] == [500] * 8


def test_small_buffer_is_read_in_time(host: Namespace, target: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where net.core.rmem_max is the limit, what all devices of a batch drop together need not fit."""
    monkeypatch.setattr(api, "WATCH_BYTES", 128 << 10)
    host.batch(f"link add d{d} type ifb" for d in range(8))
    host.batch(f"addr add 10.{d}.0.{n + 1}/32 dev d{d}" for d in range(8) for n in range(100))
    moved = netdevns.move({f"d{d}": f"net{d}" for d in range(8)}, target.fd)
    assert [len(m.addresses) for m in moved] == [100] * 8


# ---- hammering ----


class Hammer:
    """A thread that adds addresses to a device wherever it is, and remembers those that the kernel acknowledged."""

    def __init__(self, sides: tuple[Namespace, Namespace], ifindex: int) -> None:
        self.sockets = [side.socket() for side in sides]
        self.ifindex = ifindex
        self.added: list[str] = []
        self.away = self.number = 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self) -> Hammer:
        self.stop.clear()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop.set()
        self.thread.join()

    def _run(self) -> None:
        while not self.stop.is_set():
            self.number += 1
            n = self.number
            ipv6 = n % 2
            base = "2001:db8::" if ipv6 else "10.0.0.0"
            text = str(ipaddress.ip_address(base) + n)
            flags = rawdump.IFA_F_NODAD if n % 4 == 1 else 0
            for socket in self.sockets:
                code = socket.add_address(self.ifindex, f"{text}/{128 if ipv6 else 32}", flags=flags)
                assert code in (0, errno.ENODEV, errno.EINVAL), os.strerror(code)
                if code == 0:
                    self.added.append(text)
                    break
            else:
                self.away += 1
            time.sleep(0.002)

    def close(self) -> None:
        for socket in self.sockets:
            socket.raw.close()


@pytest.fixture
def hammer(host: Namespace, target: Namespace) -> Iterator[Hammer]:
    host.batch("link set lo up\nlink add eth1 type ifb\nlink set eth1 up\naddr add 192.0.2.1/24 dev eth1")
    host.wait_until_quiet()
    made = Hammer((host, target), host.links()["eth1"].ifindex)
    yield made
    made.close()


@pytest.mark.thorough
def test_nothing_is_lost_under_load(
    host: Namespace, target: Namespace, hammer: Hammer, record_property: Callable[[str, object], None]
) -> None:
    """P2: of the addresses that the kernel acknowledged while the device moved to and fro, not one is lost."""
    moves = total = 0
    lost: list[str] = []
    end = time.monotonic() + HAMMER_S
    while time.monotonic() < end:
        round_end = time.monotonic() + ROUND_S
        hammer.added.clear()
        with hammer:
            while time.monotonic() < round_end:
                netdevns.move({"eth1": "eth1"}, target.fd)
                netdevns.move({"eth1": "eth1"}, host.fd, source=target.fd)
                moves += 2
        there = set(local(host, "eth1"))
        assert "192.0.2.1" in there
        lost += [address for address in hammer.added if address not in there]
        total += len(hammer.added)
        host.batch(["addr flush dev eth1", "addr add 192.0.2.1/24 dev eth1"])
    for name, value in (("moves", moves), ("added", total), ("away", hammer.away), ("lost", len(lost))):
        record_property(name, value)
    print(f"{moves} moves, {total} addresses added, {hammer.away} while it was away, {len(lost)} lost")
    assert not lost
    assert total > HAMMER_S  # on a busy machine the kernel itself lets them wait


# ---- two movers of one device ----


@pytest.mark.smoke
def test_two_movers(sides: tuple[Namespace, Namespace]) -> None:
    """P1: of two movers of one device one wins, the other fails; the device is in one place with all it had."""
    host, target = sides
    before = protected(host, "eth0")
    with Namespace.create("other") as other:
        places, results = {"a": target, "b": other}, {}
        start = threading.Barrier(2)

        def run(name: str, home: int) -> None:
            start.wait()
            try:
                results[name] = netdevns.move({"eth0": "net0"}, places[name].fd, source=home)
            except netdevns.NetDevError as e:
                results[name] = e

        for _ in range(10):
            results.clear()
            threads = [threading.Thread(target=run, args=(name, host.fd)) for name in places]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            won = [name for name in places if not isinstance(results[name], netdevns.NetDevError)]
            assert len(won) == 1, results
            assert protected(places[won[0]], "net0") == before
            assert "net0" not in places["b" if won == ["a"] else "a"].names()
            netdevns.move({"net0": "eth0"}, host.fd, source=places[won[0]].fd)
            assert protected(host, "eth0") == before


def test_renamed_meanwhile(sides: tuple[Namespace, Namespace], before_step: BeforeStep) -> None:
    """A daemon renames it between check and move: what arrives is the device that had the name in the check."""
    host, target = sides
    rename = ["link set eth1 down", "link set eth1 name udev1", "link set udev1 up"]
    ifindex = host.links()["eth1"].ifindex
    before = [protected(host, device) for device in ("eth0", "eth2")]
    before_step("snapshot", 2, lambda: host.batch(rename))
    moved = netdevns.move(DEVICES, target.fd)
    assert [(m.host_name, m.host_ifindex) for m in moved if m.host_name == "eth1"] == [("eth1", ifindex)]
    assert host.names().isdisjoint({*DEVICES, "udev1"})
    assert [protected(target, DEVICES[device]) for device in ("eth0", "eth2")] == before


def test_given_away_meanwhile(sides: tuple[Namespace, Namespace], before_step: BeforeStep) -> None:
    """S11: another process moves a device elsewhere first: the others are restored, and it is reported as gone."""
    host, target = sides
    with Namespace.create("other") as other:
        before_step("move", 2, lambda: host.give("eth1", other))
        before = [protected(host, device) for device in ("eth0", "eth2")]
        with pytest.raises(netdevns.MoveFailed) as raised:
            netdevns.move(DEVICES, target.fd)
        assert ("eth1", "gone") in [(left.device, left.location) for left in raised.value.left]
        assert [protected(host, device) for device in ("eth0", "eth2")] == before
        assert other.names() == {"eth1"}
        assert target.names() == set()


def test_renamed_right_after_its_arrival(sides: tuple[Namespace, Namespace], before_step: BeforeStep) -> None:
    """S11: a daemon in the target renames what arrives: not as it was asked for, so all are back under their names."""
    host, target = sides
    before_step("up_and_replay", 1, lambda: target.ip("link set net1 name udev1"))
    before = [protected(host, device) for device in DEVICES]
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd)
    assert (raised.value.device, raised.value.step, raised.value.left) == ("eth1", "verify", ())
    assert "name" in raised.value.extack
    assert [protected(host, device) for device in DEVICES] == before
    assert target.names() == set()


def test_target_is_abandoned_meanwhile(sides: tuple[Namespace, Namespace], before_step: BeforeStep) -> None:
    """P1: when its last process ends, the move itself keeps the target alive: the devices do not die with it."""
    host, target = sides

    def fail() -> None:
        raise netdevns.engine.EngineError(errno.ENOMEM, "made to fail", "exchange")

    before_step("move", 2, target.close)
    before_step("verify", 1, fail)
    before = host.dump()
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd)
    assert (raised.value.step, raised.value.left) == ("verify", ())
    assert_equal_soon(before, host)
