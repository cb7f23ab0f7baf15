"""Root in the target deletes, replaces or moves on devices while they arrive, or takes their names."""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import Any

import pytest

import netdevns
from netdevns.batch import way_back
from tests.support import hostile, kinds
from tests.support.kinds import TUNNELS
from tests.support.namespaces import Namespace, fresh
from tests.support.restored import State, assert_equal_soon

from .strikes import MACVLAN, BeforeStep, failed_move, furnished, has_altnames, strike


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


@pytest.mark.parametrize("mac", ["same", "changed"])
def test_name_is_taken_in_both(sides: tuple[Namespace, Namespace], before_step: BeforeStep, mac: str) -> None:
    """P1: a device whose own name and present name are both taken in the host returns under another one, reported."""
    host, target = sides
    commands = ["link set net1 down", "link set net1 name stays"]

    def take() -> None:
        host.ip("link add eth1 type ifb")

    before_step("verify", 2, strike(target, *commands, then=take))
    if mac == "changed":  # behind the step that finds it by one of the two
        before_step("undo", 1, lambda: target.ip("link set stays address 02:00:00:00:00:77"))
    (left,) = failed_move(target).left
    assert (left.device, left.location) == ("eth1", "source")
    assert left.name is not None
    assert left.name.startswith("nd")
    assert host.links()[left.name].attrs[1] == "020000000001"
    assert any("name" in words for words in left.missing)


def test_moved_on(sides: tuple[Namespace, Namespace], before_step: BeforeStep) -> None:
    """P7: a device that the container moved on is in neither namespace; the others are home."""
    host, target = sides
    with fresh("third") as third:
        before_step("verify", 2, strike(target, then=lambda: target.give("net1", third)))
        (left,) = failed_move(target).left
        assert third.names() == {"net1"}
    assert (left.device, left.location, left.name) == ("eth1", "gone", None)
    assert "it is neither in the source nor in the target" in left.missing[0]
    assert host.links()["eth0"].up


@pytest.mark.sampled(2)
@pytest.mark.parametrize("changed", ["nothing", "name", "mac", "name-and-mac"])
@pytest.mark.parametrize("ifindex", ["same", "other"])
def test_there_and_back(
    sides: tuple[Namespace, Namespace], before_step: BeforeStep, changed: str, ifindex: str
) -> None:
    """P1: a device that was in a third namespace meanwhile is found under another ifindex, name or MAC address."""
    host, target = sides
    before = host.dump()
    before_step("verify", 2, strike(target, then=lambda: hostile.change_net1(target, changed, ifindex)))
    left = failed_move(target).left
    if ifindex == "other" and not kinds.honours_new_ifindex():
        assert [(x.device, x.location, x.missing) for x in left] == [("eth1", "source", ("ifindex 102",))]
    else:
        assert left == ()
        assert_equal_soon(before, host)


@pytest.mark.skipif(not kinds.honours_new_ifindex(), reason="before 5.13 an ifindex cannot be requested")
@pytest.mark.parametrize("decoy", ["net1 index 102", "net1", "evil"])
def test_decoy(sides: tuple[Namespace, Namespace], before_step: BeforeStep, decoy: str) -> None:
    """P7: a veth of the container's own with our name, ifindex or MAC address does not hide ours, which is home."""
    host, target = sides
    before = host.dump()
    before_step("verify", 2, strike(target, then=lambda: hostile.hide_net1(target, decoy)))
    assert failed_move(target).left == ()
    assert "ours" not in target.names()
    assert_equal_soon(before, host)


@pytest.mark.parametrize("kind", ["tap", pytest.param("macvlan", marks=pytest.mark.kinds("macvlan"))])
def test_decoy_beside_ours(sides: tuple[Namespace, Namespace], before_step: BeforeStep, kind: str) -> None:
    """P7: a device with our name and MAC address is not taken for ours, which is still under its ifindex."""
    host, target = sides
    before = hostile.make_dev0(host, kind)
    mac = before["links"]["dev0"].attrs[1]
    before_step("verify", 1, strike(target, then=lambda: hostile.put_decoy(target, kind, mac)))
    assert failed_move(target, {"dev0": "net0"}).left == ()
    assert target.names() == {"net0"}
    assert_equal_soon(before, host)


def test_peer_moved_elsewhere(sides: tuple[Namespace, Namespace], before_step: BeforeStep) -> None:
    """P7: if the host gave the peer away meanwhile, the veth cannot be identified: it stays, and is not "deleted"."""
    host, target = sides
    with fresh("third") as third:
        before_step("verify", 1, strike(target, then=lambda: host.give("peer", third)))
        (left,) = failed_move(target, {"eth1": "net1"}).left
        assert (left.device, left.location, left.name) == ("eth1", "target", "net1")
        assert "or it got another peer or lower device: it stays there" in left.missing[0]
        assert "net1" in target.names()


@pytest.mark.skipif(not kinds.honours_new_ifindex(), reason="before 5.13 an ifindex cannot be requested")
@pytest.mark.parametrize("changed", ["nothing", "name"])
@pytest.mark.parametrize("kind", ["veth", pytest.param("macvlan", marks=pytest.mark.kinds("macvlan"))])
def test_lower_under_another_ifindex(
    sides: tuple[Namespace, Namespace], before_step: BeforeStep, kind: str, changed: str
) -> None:
    """P1: a device whose peer or lower device moved with it, and got another ifindex, comes home with it."""
    host, target = sides
    if kind == "macvlan":
        host.batch([*MACVLAN.format("bridge").strip().splitlines()])
        host.wait_until_quiet()
    devices = {"eth1": "net1", "peer": "below"} if kind == "veth" else {"mv0": "net1", "lower": "below"}
    before = host.dump()
    lower = host.links()["lower"].ifindex if kind == "macvlan" else 103
    before_step("verify", 1, strike(target, then=lambda: hostile.lower_to_and_fro(target, lower, changed)))
    assert failed_move(target, devices).left == ()
    assert_equal_soon(before, host)


@pytest.mark.skipif(not kinds.honours_new_ifindex(), reason="before 5.13 an ifindex cannot be requested")
def test_both_ends_under_other_ifindexes(sides: tuple[Namespace, Namespace], before_step: BeforeStep) -> None:
    """P1: a veth and its peer come home, neither of which has its name or ifindex: each is searched by the other."""
    host, target = sides
    before = host.dump()
    before_step("verify", 1, strike(target, then=lambda: hostile.pair_to_and_fro(target)))
    assert failed_move(target, {"eth1": "net1", "peer": "below"}).left == ()
    assert_equal_soon(before, host)


@has_altnames
def test_another_kind_behind_the_look(
    sides: tuple[Namespace, Namespace], before_step: BeforeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P7: a veth that takes the place of a device of another kind, behind the last look, is not left in the host."""
    host, target = sides
    moved = way_back.WayBack._moved

    def replace(self: way_back.WayBack, *args: Any, **more: Any) -> bytes:
        target.batch(["link del net0", "link add net0 index 101 type veth peer name evil"])
        monkeypatch.setattr(way_back.WayBack, "_moved", moved)
        return moved(self, *args, **more)

    monkeypatch.setattr(way_back.WayBack, "_moved", replace)
    before_step("verify", 1, strike(target))
    # What its first try to return is refused for.
    before_step("undo", 1, lambda: target.ip("link property add dev net0 altname stays"))
    (left,) = failed_move(target, {"eth0": "net0"}).left
    assert left.device == "eth0"
    assert "eth0" not in host.names()
    assert "evil" in target.names()


@has_altnames
def test_no_way_home_from_our_own(
    sides: tuple[Namespace, Namespace], before_step: BeforeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: a device that cannot go home from a namespace of our own goes back to the target, and does not end there."""
    _, target = sides
    no_such_device = way_back.wire.link_message(way_back.uapi.RTM_NEWLINK, way_back.uapi.NLM_F_ACK, 0x7FFFFFFF, b"")
    monkeypatch.setattr(way_back.WayBack, "_moved", lambda *_, **__: no_such_device)
    before_step("verify", 1, strike(target))
    # What each try to return is refused for.
    before_step("undo", 1, lambda: target.ip("link property add dev net0 altname stays"))
    before_step("undo", 2, lambda: target.ip(f"link property add dev {target.names().pop()} altname stays"))
    (left,) = failed_move(target, {"eth0": "net0"}).left
    assert (left.device, left.location) == ("eth0", "target")
    assert left.name is not None
    assert left.name.startswith("nd")
    assert any("is in the target again" in words for words in left.missing)


@pytest.mark.kinds("macvlan")
def test_macvlan_of_another_move_stays(sides: tuple[Namespace, Namespace], before_step: BeforeStep) -> None:
    """P7: one that lies on the same device is not taken for one that the container deleted."""
    host, target = sides
    host.batch(
        [*MACVLAN.format("bridge").strip().splitlines(), "link add link lower name mv1 type macvlan mode bridge"]
    )
    host.wait_until_quiet()
    netdevns.move({"mv1": "theirs"}, target.fd)
    before_step("verify", 2, strike(target, "link del net1"))
    (left,) = failed_move(target, {"eth0": "net0", "mv0": "net1"}).left
    assert (left.device, left.location) == ("mv0", "gone")
    assert (target.names(), "mv0" in host.names()) == ({"theirs"}, False)


def test_replaced_between_look_and_move(sides: tuple[Namespace, Namespace], before_step: BeforeStep) -> None:
    """P7: a veth of the container's own that takes the place behind the look is not left in the host."""
    host, target = sides
    new = "link add net1 index 102 address 02:00:00:00:00:01 type veth peer name evil"
    before_step("verify", 1, strike(target))
    before_step("undo", 1, lambda: target.batch(["link del net1", new]))
    (left,) = failed_move(target, {"eth1": "net1"}).left
    assert (left.device, left.location) == ("eth1", "target")
    assert "another device has its name" in left.missing[0]
    assert not {"eth1", "net1"} & host.names()
    assert "evil" in target.names()


@pytest.mark.parametrize("kind", ["veth", pytest.param("macvlan", marks=pytest.mark.kinds("macvlan"))])
def test_deleted(sides: tuple[Namespace, Namespace], before_step: BeforeStep, kind: str) -> None:
    """P7: a device that the container deleted is gone, and said to be."""
    host, target = sides
    if kind == "macvlan":
        host.batch([*MACVLAN.format("bridge").strip().splitlines()])
        host.wait_until_quiet()
    name = "mv0" if kind == "macvlan" else "eth1"
    before_step("verify", 2, strike(target, "link del net1"))
    failed = failed_move(target, {"eth0": "net0", name: "net1"})
    assert [left.location for left in failed.left if left.device == name] == ["gone"]
    assert failed.rolled_back is False
    assert host.links()["eth0"].up


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize(("tunnel", "is_known"), TUNNELS)
def test_tunnel(
    host: Namespace, target: Namespace, before_step: BeforeStep, tunnel: str, is_known: bool, replaced: bool
) -> None:
    """P1, P7: a tunnel is brought home; one that the container made in its place, whose packets leave there, stays."""
    host.batch(
        f"link add tun1 address 02:00:00:00:00:09 type {tunnel}\naddr add 10.9.0.1/24 dev tun1\nlink set tun1 up"
    )
    host.wait_until_quiet()
    before, ifindex = host.dump(), host.links()["tun1"].ifindex
    new = f"link add net1 index {ifindex} address 02:00:00:00:00:09 type {tunnel}"
    commands = ["link del net1", new] if replaced else []
    before_step("verify", 1, strike(target, *commands, then=str))
    lefts = failed_move(target, {"tun1": "net1"}).left
    if replaced and is_known:
        (left,) = lefts
        assert (left.location, "another device has its name" in left.missing[0]) == ("target", True)
        assert "tun1" not in host.names()
    elif not replaced:
        assert lefts == ()
        assert_equal_soon(before, host)


@pytest.mark.parametrize("there", ["target", "third"])
@pytest.mark.parametrize("kind", ["veth", pytest.param("macvlan", marks=pytest.mark.kinds("macvlan"))])
def test_replaced(sides: tuple[Namespace, Namespace], before_step: BeforeStep, kind: str, there: str) -> None:
    """P7: what the container made with the name, ifindex and MAC address of a device that it deleted stays there.

    Also where its peer or lower device is in a third namespace, under the ifindex that the host's one had.
    """
    host, target = sides
    if kind == "macvlan":
        host.batch([*MACVLAN.format("bridge").strip().splitlines()])
        host.wait_until_quiet()
    name = "mv0" if kind == "macvlan" else "eth1"
    was = host.links()[name]
    mac = ":".join(was.attrs[1][n : n + 2] for n in range(0, 12, 2))
    new = f"net1 index {was.ifindex} address {mac}"
    lower = host.links()[host.ip_json(f"link show dev {name}")[0]["link"]].ifindex
    if kind == "veth":
        made = [f"link add {new} type veth peer name evil index {lower}"]
    else:
        made = [
            f"link add evil index {lower} type veth peer name evil2",
            f"link add {new} link evil type macvlan mode bridge",
        ]

    with fresh("third") as third:
        away = partial(target.give, "evil", third) if there == "third" else str
        before_step("verify", 2, strike(target, "link del net1", *made, then=away))
        lefts = failed_move(target, {"eth0": "net0", name: "net1"}).left
        assert "net1" in target.names()
    assert [x.device for x in lefts] == [name], lefts
    (left,) = lefts
    assert (left.device, left.location, "another device has its name" in left.missing[0]) == (name, "target", True)
    assert name not in host.names()


@pytest.mark.skipif(not kinds.honours_new_ifindex(), reason="before 5.13 an ifindex cannot be requested")
def test_ifindex_is_taken(sides: tuple[Namespace, Namespace], before_step: BeforeStep) -> None:
    """P1: a new device that took its ifindex in the host keeps it; all else of the device is restored."""
    host, target = sides
    before = host.dump()
    take = strike(target, "link set net1 mtu 1300", then=lambda: host.ip("link add thief index 102 type ifb"))
    before_step("verify", 2, take)
    (left,) = failed_move(target).left
    assert (left.device, left.missing) == ("eth1", ("ifindex 102",))

    def eth1(dump: State) -> State:
        """Its addresses and attributes, without IFLA_LINK: its peer's has the ifindex, and its own is the peer's."""
        attrs = sorted(f"{type_} {value}" for type_, value in dump["links"]["eth1"].attrs.items() if type_ != 5)
        return {"addresses": dump["addresses"]["eth1"], "attributes": attrs}

    assert_equal_soon(before, host, shown=eth1)


@pytest.mark.kinds("macvlan")
def test_refusals_are_reported(host: Namespace, target: Namespace, before_step: BeforeStep) -> None:
    """P7: a setting that the kernel refuses to restore is reported with both values and the kernel's error."""
    host.batch(MACVLAN.format("bridge"))
    host.wait_until_quiet()
    before_step("verify", 1, strike(target, then=lambda: host.ip("link set lower mtu 1300")))
    failed = failed_move(target, {"mv0": "net0"})
    (left,) = failed.left
    assert f"MTU 1500 -> 1300: {os.strerror(errno.EINVAL)}" in left.missing
    assert set(left.missing) <= {left.missing[0], left.missing[1], "sysctl ipv6.mtu"}  # which follows it
    assert (failed.rolled_back, left.location) == (False, "source")
