"""A step of a move fails: the devices that had left are back, with addresses, routes and nexthop objects.

What fails is made to fail from outside where that is possible: `ip` changes something just before an engine call of the
package. Where that is not possible (a lack of memory), the call raises.
"""

from __future__ import annotations

import contextlib
import errno
import subprocess
from collections.abc import Callable

import pytest

import netdevns
from netdevns.engine import Device, EngineError
from netdevns.engine.failed import Failed
from netdevns.engine.phases import Phases
from tests.support import steps
from tests.support.namespaces import Namespace, named
from tests.support.restored import Restored, assert_equal_soon

from .batch import DEVICES, expect_failed, fail_at, furnished


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


# ---- the move itself fails ----


@pytest.mark.sampled(2)
@pytest.mark.smoke
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_name_appears_in_the_target(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None], nth: int
) -> None:
    """S11: a device of the wanted name that appears after the check undoes the batch, the devices before it, too.

    The old name is free in the target: the kernel moves first and then refuses the name, so the device itself is there.
    """
    host, target = sides
    name = f"net{nth - 1}"
    before_step("move", nth, lambda: target.ip(f"link add {name} type ifb"))
    before = host.dump()
    error = expect_failed(target, f"eth{nth - 1}", "move", errno.EEXIST)
    assert_equal_soon(before, host)
    assert target.names() == {name}
    assert error.extack or error.errno


@pytest.mark.parametrize(("step", "nth"), [("move", 2), ("verify", 1)])
@pytest.mark.parametrize("is_replaced", [False, True])
def test_target_loses_its_path(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None], step: str, nth: int, is_replaced: bool
) -> None:
    """S11: `ip netns del` during a move undoes it: otherwise the devices would end with the target."""
    host, target = sides
    before = host.dump()
    with named(target, "blue") as path, contextlib.ExitStack() as stack:

        def remove() -> None:
            subprocess.run(["ip", "netns", "del", "blue"], check=True)
            if is_replaced:
                stack.enter_context(named(host, "blue"))

        before_step(step, nth, remove)
        with pytest.raises(netdevns.MoveFailed) as caught:
            netdevns.move(DEVICES, "blue")
    said = f"{path} was removed or replaced during the move; all devices are restored"
    assert (caught.value.text, caught.value.step, caught.value.errno) == (said, "target", errno.ENOENT)
    assert_equal_soon(before, host)
    assert target.names() == set()


def test_device_ends_before_the_move(sides: tuple[Namespace, Namespace], before_step: Callable[..., None]) -> None:
    """P7: its error does not say that it is restored."""
    host, target = sides
    before_step("snapshot", 1, lambda: host.ip("link del eth2"))
    with pytest.raises(netdevns.MoveFailed) as caught:
        netdevns.move({"eth2": "net2"}, target.fd)
    assert caught.value.text.startswith("eth2: its addresses could not be read: No such device")
    assert caught.value.text.endswith("; it is not here any more")
    assert (caught.value.location, caught.value.left) == ("gone", ())


def test_target_without_a_path_is_held_by_its_descriptor(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None]
) -> None:
    """Who passes an open namespace keeps it, whatever becomes of its name."""
    _, target = sides
    with named(target, "blue"), netdevns.NetNS.open("blue") as opened:
        before_step("verify", 1, lambda: subprocess.run(["ip", "netns", "del", "blue"], check=True))
        assert len(netdevns.move(DEVICES, opened)) == len(DEVICES)


@pytest.mark.parametrize("nth", [1, 3])
def test_old_and_new_name_appear_in_the_target(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None], nth: int
) -> None:
    """S11: with both names taken the kernel refuses before it moves; the rest of the batch comes back."""
    host, target = sides
    old, new = f"eth{nth - 1}", f"net{nth - 1}"
    before_step("move", nth, lambda: target.batch([f"link add {old} type ifb", f"link add {new} type ifb"]))
    before = host.dump()
    expect_failed(target, old, "move", errno.EEXIST)
    assert_equal_soon(before, host)
    assert target.names() == {old, new}


def test_ifindex_is_taken_meanwhile(sides: tuple[Namespace, Namespace], before_step: Callable[..., None]) -> None:
    """S11: the ifindex that was chosen in the target is taken after the check: the move fails or copes."""
    host, target = sides
    before_step("move", 2, lambda: target.ip("link add thief index 102 type ifb"))
    before = host.dump()
    failed, moved = None, ()
    try:
        moved = netdevns.move(DEVICES, target.fd)
    except netdevns.MoveFailed as e:
        failed = e
    thief = target.links()["thief"]
    assert (thief.up, target.addresses("thief")) == (False, [])
    if failed:
        assert (failed.device, failed.step, failed.errno, failed.left) == ("eth1", "move", errno.EBUSY, ())
        assert_equal_soon(before, host)
        assert target.names() == {"thief"}
    else:  # a kernel before 5.13 does not look at the number that is asked for
        assert target.names() == {"thief", "net0", "net1", "net2"}
        assert [m.ifindex for m in moved] == [target.links()[m.name].ifindex for m in moved]


def test_single_device(host: Namespace, target: Namespace, before_step: Callable[..., None]) -> None:
    """S11: all or nothing holds for one device as for many."""
    host.batch(["link add eth0 index 101 type ifb", "link set eth0 up", "addr add 10.0.0.1/24 dev eth0"])
    host.batch(["addr add 10.0.3.2/24 dev eth0 scope link", "route add 192.0.2.0/24 via 10.0.0.9"])
    host.wait_until_quiet()
    before_step("move", 1, lambda: target.ip("link add net0 type ifb"))
    before = host.dump()
    expect_failed(target, "eth0", "move", errno.EEXIST, {"eth0": "net0"})
    assert_equal_soon(before, host)


@pytest.mark.parametrize("kind", ["macvlan mode bridge", pytest.param("vlan id 7", marks=pytest.mark.kinds("vlan"))])
def test_what_lies_on_it_stays(host: Namespace, target: Namespace, before_step: Callable[..., None], kind: str) -> None:
    """S11: the kernel flushes a device's unicast filter in a move: the MAC of a macvlan on it is in there again.

    A VLAN goes down with its lower device and loses its IPv6 addresses: it is up and has them again.
    """
    host.batch(
        f"""
        link add eth0 type veth peer name peer
        link set peer up
        link set eth0 up
        link add up0 link eth0 type {kind}
        link set up0 up
        addr add 10.0.0.1/24 dev up0
        addr add 2001:db8::1/64 nodad dev up0
        route add 2001:db8:7::/48 via 2001:db8::9
        """
    )
    host.wait_until_quiet()
    before_step("move", 1, lambda: target.ip("link add net0 type ifb"))
    before = host.dump()
    expect_failed(target, "eth0", "move", errno.EEXIST, {"eth0": "net0"})
    assert_equal_soon(before, host)


# ---- what comes after the move fails ----


def test_ipv6_is_disabled_meanwhile(sides: tuple[Namespace, Namespace], before_step: Callable[..., None]) -> None:
    """S11: IPv6 is switched off in the target after the check: an address cannot be set, all come back."""
    host, target = sides
    before_step("move", 1, lambda: target.sysctl("ipv6/conf/default/disable_ipv6", 1))
    with Restored(host, target):
        error = expect_failed(target, "eth1", "replay", errno.EACCES)
        target.sysctl("ipv6/conf/default/disable_ipv6", 0)
    assert "IPv6 is disabled" in error.extack or not error.extack  # 5.10 does not say


def test_address_is_taken_away_before_the_comparison(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None]
) -> None:
    """P2: what arrived is read back: a missing address undoes the batch."""
    host, target = sides
    before_step("up_and_replay", 3, lambda: target.ip("addr del 10.1.0.2/24 dev net1"))
    with Restored(host, target):
        error = expect_failed(target, "eth1", "verify", 0)
    assert "10.1.0.2/24 is missing" in error.extack


def test_alternative_name_is_taken_away_before_the_comparison(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None]
) -> None:
    """P2: the same for alternative names, which the kernel carries along, or which are given again before 6.6."""
    host, target = sides
    host.ip("link property add dev eth1 altname second")
    before_step("verify", 1, lambda: target.ip("link property del dev net1 altname second"))
    with Restored(host, target):
        error = expect_failed(target, "eth1", "verify", 0)
    assert error.extack == "its alternative names did not arrive"


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("link set net1 mtu 1300", "MTU"),
        ("link set net1 down", "not up"),
        ("link set net1 alias other", "alias"),
        ("link set net1 txqueuelen 7", "queue"),
        ("link set net1 group 9", "group"),
        ("addr change 10.1.0.1/24 broadcast 10.1.0.88 metric 51 label net1:vip dev net1", "10.1.0.1/24"),
        ("addr change 2001:db8:1::1/64 preferred_lft 0 dev net1", "2001:db8:1::1/64"),
        ("addr del 2001:db8:1::2/64 dev net1", "2001:db8:1::2/64"),
    ],
    ids=["mtu", "down", "alias", "txqlen", "group", "metric", "deprecated", "inet6"],
)
def test_difference_is_seen(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None], change: str, says: str
) -> None:
    """S6: a changed attribute, a lost or changed address is a failure, not a success with a loss."""
    host, target = sides
    before_step("up_and_replay", 3, lambda: target.ip(change))
    before = host.dump()
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd)
    assert (raised.value.device, raised.value.step, raised.value.errno) == ("eth1", "verify", 0)
    assert says in raised.value.extack
    assert target.names() == set()
    assert raised.value.left == ()
    assert_equal_soon(before, host)


@pytest.mark.parametrize("nth", [1, 2])
def test_down_is_refused(sides: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    """S11: the first step that changes anything, all links down in one send, fails for one of them."""
    host, target = sides
    real = Phases.set_down

    def set_down(self: Phases) -> None:
        real(self)
        raise Failed(self.moves[nth - 1], "down", errno.EBUSY, "made to fail")

    monkeypatch.setattr(Phases, "set_down", set_down)
    up = {"eth0": "net0", "eth1": "net1"}
    with Restored(host, target):
        expect_failed(target, list(up)[nth - 1], "down", errno.EBUSY, up)


def test_down_is_refused_before_all_were_asked(
    sides: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """S11: of many devices only the first ones were set down: nothing of the others is taken for lost."""
    host, target = sides
    host.batch(["route add 198.18.0.0/24 dev eth1", "neigh add 10.1.0.77 lladdr 02:00:00:00:00:77 dev eth1"])

    def set_down(self: Phases) -> None:
        self.moves[0].touched = True
        host.ip("link set eth0 down")
        raise Failed(self.moves[0], "down", errno.EBUSY, "made to fail")

    monkeypatch.setattr(Phases, "set_down", set_down)
    with Restored(host, target):
        expect_failed(target, "eth0", "down", errno.EBUSY, {"eth0": "net0", "eth1": "net1"})


@pytest.mark.sampled(5)
@pytest.mark.smoke
@pytest.mark.parametrize("step", ["snapshot", "move", "up_and_replay", "verify"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_engine_fails(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None], step: str, nth: int
) -> None:
    """S11: whichever step fails, for whichever device, all devices are restored."""
    host, target = sides

    def fail() -> None:
        raise EngineError(errno.ENOMEM, "made to fail", "exchange")

    before_step(step, nth, fail)
    with Restored(host, target):
        error = expect_failed(target, f"eth{nth - 1}", step.removeprefix("up_and_"), errno.ENOMEM)
    assert error.extack == "made to fail"
    assert "made to fail" in str(error)


@pytest.mark.parametrize("nth", [1, 3])
def test_location_after_a_failed_snapshot(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None], nth: int
) -> None:
    """DESIGN 4.1: a device whose snapshot failed was never touched: its location is "source", not "unknown"."""

    def fail():
        raise EngineError(errno.ENOMEM, "made to fail", "exchange")

    before_step("snapshot", nth, fail)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, sides[1].fd)
    assert raised.value.location == "source"


@pytest.mark.parametrize("devices", [{"eth1": "net1"}, DEVICES], ids=["one", "several"])
def test_device_that_vanished_before_its_snapshot(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None], devices: dict[str, str]
) -> None:
    """P7: it is nowhere, and said to be gone."""
    host, target = sides
    before_step("snapshot", 1, lambda: host.ip("link del eth1"))
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(devices, target.fd)
    assert {left.location for left in raised.value.left if left.device == "eth1"} <= {"gone"}
    if raised.value.device == "eth1":
        assert raised.value.location == "gone"


def test_failure_before_anything_changed_touches_nothing(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None]
) -> None:
    """S11: a failure of the first snapshots causes not a single notification."""
    host, target = sides
    fail_at(before_step, "snapshot", 3)
    with host.monitor() as here, target.monitor() as there:
        expect_failed(target, "eth2", "snapshot", errno.ENOMEM)
        assert (here.seen(), there.seen()) == ([], [])


def test_the_same_move_works_after_an_undo(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None]
) -> None:
    """S11: as if it had never been attempted: the next attempt succeeds, with all that is protected."""
    host, target = sides
    before = [(a.address, a.flags) for a in host.addresses("eth1", scope=0) if a.flags & 0x80]
    fail_at(before_step)
    expect_failed(target, "eth0", "verify", errno.ENOMEM)
    netdevns.move(DEVICES, target.fd)
    assert target.names() == {"net0", "net1", "net2"}
    assert [(a.address, a.flags) for a in target.addresses("net1", scope=0)] == before


def test_changed_mac_does_not_hide_the_device(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None]
) -> None:
    """P1: a device whose MAC was changed in the target meanwhile is still found by its ifindex, and comes back."""
    host, target = sides
    before_step("up_and_replay", 3, lambda: target.ip("link set net1 address 02:00:00:00:00:78"))
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd)
    assert "MAC" in raised.value.extack
    assert "eth1" in host.names()
    assert target.names() == set()


def test_hook_points_are_the_engines_own() -> None:
    """These tests depend on names in the engine: a rename must fail here, or they would silently test nothing."""
    assert all(callable(getattr(Phases, step)) for step in steps.CALLS.values())
    assert callable(Device.undo)


def test_new_device_with_its_name_in_the_source(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None]
) -> None:
    """P9: a device that ended in the target is reported; a new one with its name at home gets none of its addresses."""
    host, target = sides
    changes = [
        lambda: target.ip("link del net1"),
        lambda: host.ip("link add eth1 index 201 address 02:00:00:00:00:77 type veth peer name other index 202"),
    ]
    before_step("verify", 1, lambda: [change() for change in changes])
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move({"eth1": "net1"}, target.fd)
    (left,) = raised.value.left
    assert (left.device, left.location) == ("eth1", "gone")
    assert "another device has its name" in "; ".join(left.missing)
    new = host.links()["eth1"]
    assert (new.ifindex, new.up, host.addresses("eth1")) == (201, False, [])
