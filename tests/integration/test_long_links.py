"""Links whose messages are longer than 8 KiB: many long alternative names, of a device that moves or of another one."""

from __future__ import annotations

import errno
import struct

import pytest

import netdevns
from netdevns.engine import EngineError, Socket, lookups
from tests.support import rawdump, steps
from tests.support.namespaces import Namespace
from tests.support.restored import Restored

from .c_batch import Mover

RTM_NEWLINKPROP, IFLA_PROP_LIST, IFLA_ALT_IFNAME = 108, 52, 53
NLA_F_NESTED = 0x8000


def give_altnames(side: Namespace, device: str, count: int) -> int:
    """Gives it that many alternative names of 127 bytes, or as many as the kernel takes; returns how many."""
    with side.socket() as socket:
        (link,) = side.ip_json(f"link show dev {device}")
        ifindex = link["ifindex"]
        for number in range(count):
            name = f"{device}-{number}-".ljust(127, "x").encode() + b"\0"
            names = rawdump.attribute(IFLA_PROP_LIST | NLA_F_NESTED, rawdump.attribute(IFLA_ALT_IFNAME, name))
            body = struct.pack("=BxHiII", 0, 0, ifindex, 0, 0) + names
            if socket.request(RTM_NEWLINKPROP, 0x400 | 0x200, body):
                return number
    return count


def altnames(side: Namespace, device: str) -> int:
    with Socket(side.fd) as socket:
        found = lookups.link(socket, name=device.encode())
    assert found
    return len(found.altnames)


def shown_names(side: Namespace) -> set[str]:
    """By `ip`: a plain dump with statistics ends, empty and without a word, where one link has more than 32 KiB."""
    return {link["ifname"] for link in side.ip_json("link show")}


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    host.batch(
        [
            *(f"link add eth{n} type ifb" for n in range(3)),
            *(f"link set eth{n} up" for n in range(3)),
            *(f"addr add 10.0.{n}.1/24 dev eth{n}" for n in range(3)),
            "addr add 2001:db8::1/64 nodad dev eth0",
            "link add foreign type ifb",
        ]
    )
    target.ip("link add foreign type ifb")
    host.wait_until_quiet()
    return host, target


DEVICES = {"eth0": "net0", "eth1": "net%d", "eth2": ""}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("count", [70, 400])
@pytest.mark.parametrize("where", ["source", "target", "both"])
def test_foreign_device_with_many_names(sides: tuple[Namespace, Namespace], where: str, count: int, batch: int) -> None:
    """A device that has nothing to do with a move, and many long alternative names, does not prevent it."""
    host, target = sides
    for side in (host, target):
        if where in (side.name, "both") or (where == "source" and side is host):
            assert give_altnames(side, "foreign", count) == count
    devices = dict([*DEVICES.items()][:batch])
    assert netdevns.check(devices, target.fd).ok
    moved = netdevns.move(devices, target.fd)
    assert [len(each.addresses) for each in moved] == [2, 1, 1][:batch]
    assert {each.name for each in moved} | {"foreign", "lo"} == shown_names(target)


@pytest.mark.parametrize("count", [70, 400, 1000])
def test_moved_device_with_many_names(sides: tuple[Namespace, Namespace], count: int) -> None:
    """The names travel with it: as many as the kernel lets a device have (496 of 127 bytes: their list has 64 KiB)."""
    host, target = sides
    given = give_altnames(host, "eth0", count)
    if given > 496:  # before 5.16 the kernel has no limit, and the length of the list wraps
        with pytest.raises(netdevns.CheckFailed, match="malformed netlink reply"):
            netdevns.move({"eth0": "net0"}, target.fd)
        return
    assert given == min(count, 496)
    assert altnames(host, "eth0") == given
    (moved,) = netdevns.move({"eth0": "net0"}, target.fd)
    assert len(moved.addresses) == 2
    assert altnames(target, "net0") == given


@pytest.mark.parametrize("count", [70, 1000])
def test_undo_of_a_device_with_many_names(
    sides: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """And they are there after an undo."""
    if not lookups.moves_altnames():
        pytest.skip("before 6.6 alternative names do not come back")
    host, target = sides
    given = give_altnames(host, "eth0", count)

    def refused(*_: object) -> None:
        raise EngineError(errno.ESTALE, "on purpose", "verify")

    monkeypatch.setattr(*steps.before("verify", refused))
    before = host.ip_json("addr show dev eth0")
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move({"eth0": "net0"}, target.fd)
    assert raised.value.rolled_back, raised.value.left
    host.wait_until_quiet()
    assert host.ip_json("addr show dev eth0") == before
    assert altnames(host, "eth0") == given


def test_batch_of_devices_with_many_names(host: Namespace, target: Namespace) -> None:
    """Their answers do not fit into a receive buffer together: they are asked for in smaller parts."""
    devices = [f"eth{n}" for n in range(20)]
    host.batch([f"link add {device} type ifb" for device in devices])
    for device in devices:
        give_altnames(host, device, 300)
    assert len(netdevns.move(dict.fromkeys(devices, ""), target.fd)) == len(devices)
    assert [altnames(target, device) for device in devices] == [300] * len(devices)


@pytest.mark.thorough
def test_batch_in_c_of_devices_with_many_names(host: Namespace, target: Namespace) -> None:
    """The same of the C batch: moved, and each as it was after an undo.

    Where tokens are reported with statistics only (5.10), no dump has room for both: refused, and nothing is changed.
    """
    devices = [f"eth{n}" for n in range(20)]
    host.batch([f"link add {device} type ifb" for device in devices])
    for device in devices:
        give_altnames(host, device, 300)
    with Restored(host, target):
        done = Mover(target)("undo", *devices)
    if done.code == 2 and not lookups.moves_altnames():
        assert "the dump was ended by an error" in done.err
        return
    assert (done.code, done.err) == (0, "")
    done = Mover(target)("move", *devices)
    assert (done.code, done.err) == (0, "")
    assert [altnames(target, device) for device in devices] == [300] * len(devices)
