"""Recovery in C after the target has ended: devices that ended with it, and others that have their names now."""

from __future__ import annotations

import errno
import struct
import zlib
from pathlib import Path

import pytest

from tests.support.kinds import TUNNELS
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until
from tests.support.restored import Untouched, assert_equal_soon

from .fighter import Driver, killed

MAC = "address 02:00:00:00:00:01"
VETH = {"eth1": "net1"}
# Another device with the name, the kind and the MAC of the one that ended, but another ifindex and peer.
NEW = f"""
    link add eth1 index 202 mtu 1300 {MAC} type veth peer name peer index 203
    link set eth1 alias mine up
    link set peer up
    addr add 10.77.7.7/24 dev eth1
"""


def ended(target: Namespace, source: Namespace) -> None:
    """The target ends, and its veth with it, as the disappearance of the peer shows."""
    target.close()
    wait_until(lambda: "peer" not in source.names(), "the veth has ended")


@pytest.mark.parametrize("where", ["initial", "other"])
def test_new_device_of_that_name(
    where: str, host: Namespace, initial: Namespace, target: Namespace, tmp_path: Path
) -> None:
    """P5: a new device with the name and MAC of one that ended with the target is not changed."""
    source = initial if where == "initial" else host
    source.batch(f"link add eth1 index 102 {MAC} type veth peer name peer index 103\naddr add 10.1.0.1/24 dev eth1")
    source.wait_until_quiet()
    with source.entered():
        killed(target, tmp_path, VETH)
        ended(target, source)
        source.batch(NEW)
        with Untouched(source), Driver() as c:
            for _ in range(2):
                answer = c.recover(tmp_path)
                assert answer.code == errno.EIO, answer
                assert "; not restored: another device has its name" in answer.report, answer
    assert [path.suffix for path in tmp_path.iterdir()] == [".undo"]


def test_new_macvlan_of_that_name(initial: Namespace, target: Namespace, tmp_path: Path) -> None:
    """P5: nor is one of a kind that has the same lower device again."""
    new = f"link add eth1 link stays {MAC} type macvlan mode bridge"
    initial.batch(f"link add stays type ifb\n{new}")
    initial.wait_until_quiet()
    before = initial.names()
    with initial.entered():
        killed(target, tmp_path, VETH)
        target.close()
        wait_until(lambda: "020000000001" not in str(initial.dump()["fdb"]), "it has left its lower device's filter")
        initial.batch(f"{new}\nlink set eth1 alias mine")
        with Untouched(initial), Driver() as c:
            answer = c.recover(tmp_path)
            assert answer.code == errno.EIO, answer
            assert "another device has its name" in answer.report, answer
    assert initial.names() == before


def test_new_device_while_the_target_lives(host: Namespace, c: Driver, target: Namespace, tmp_path: Path) -> None:
    """P5: the same where the container has deleted the device, for an undo and for a recovery."""
    host.batch(f"link add eth1 index 102 {MAC} type veth peer name peer index 103")
    c.moved(target, VETH, records=tmp_path)
    target.ip("link del net1")
    host.batch(NEW)
    with Untouched(host):
        undone = c.undo()
        assert "another device has its name in the source" in undone.left["eth1"], undone
        assert undone.place("eth1") == "gone"
        c.close()
        answer = c.recover(tmp_path)
        assert (answer.code, answer.report.startswith("eth1: kept: not found in either namespace")) == (0, True), answer
    assert [path.suffix for path in tmp_path.iterdir()] == [".undo"]


@pytest.mark.parametrize(("tunnel", "is_known"), TUNNELS)
def test_tunnel(host: Namespace, target: Namespace, c: Driver, tunnel: str, is_known: bool) -> None:
    """P1, P7: a tunnel is brought home; one that the container made in its place, whose packets leave there, stays."""
    host.batch(f"link add tun1 index 109 address 02:00:00:00:00:09 type {tunnel}\naddr add 10.9.0.1/24 dev tun1")
    host.wait_until_quiet()
    before = host.dump()
    c.moved(target, {"tun1": "net1"})
    assert c.undo().left == {}
    assert_equal_soon(before, host)
    c.close()
    c.moved(target, {"tun1": "net1"})
    target.batch(["link del net1", f"link add net1 index 109 address 02:00:00:00:00:09 type {tunnel}"])
    answer = c.undo()
    if not is_known:
        return
    assert (answer.place("tun1"), list(answer.left)) == ("target", ["tun1"]), answer
    assert "another device has its name" in answer.left["tun1"]


# ---- devices that ended, or will be back ----


def test_virtual_device_is_gone(host: Namespace, c: Driver, target: Namespace, tmp_path: Path) -> None:
    """P7: a device that ended with its namespace is reported once, which is no failure; its record is removed."""
    host.batch(f"link add eth1 {MAC} type veth peer name peer")
    killed(target, tmp_path, VETH)
    ended(target, host)
    answer = c.recover(tmp_path)
    text = "in neither namespace: a veth ends with its network namespace, unless the container had moved it on"
    assert (answer.code, answer.left_count, answer.report) == (0, 0, f"eth1: gone: {text}\n"), answer
    assert list(tmp_path.iterdir()) == []
    assert c.recover(tmp_path).report == ""


def as_can(path: Path) -> None:
    """Makes an ifb of the record a CAN device, which the kernel returns when its namespace ends."""
    record = path.read_bytes().replace(b"ifb\0", b"can\0")
    end = 28  # bytes of END: a header and a number, the checksum of all before
    path.write_bytes(record[:-8] + struct.pack("=Q", zlib.crc32(record[:-end])))


def test_device_is_not_back_yet(host: Namespace, c: Driver, target: Namespace, tmp_path: Path) -> None:
    """P4: hardware outlives its namespace: its record is kept as it is, until the kernel has returned the device."""
    host.batch("link add eth1 type ifb")
    killed(target, tmp_path, VETH)
    target.close()
    (path,) = tmp_path.iterdir()
    as_can(path)
    record = path.read_bytes()
    for _ in range(2):
        answer = c.recover(tmp_path)
        assert (answer.code, answer.left_count) == (errno.EAGAIN, 1), answer
        assert answer.report == "eth1: not restored: not back in the initial network namespace yet\n"
        assert [each.read_bytes() for each in tmp_path.iterdir()] == [record]


def test_returned_device_is_no_complete_move(
    host: Namespace, c: Driver, initial: Namespace, target: Namespace, tmp_path: Path
) -> None:
    """P4: a device in the initial namespace has left the container, though it has all that the move gave it."""
    host.batch(f"link add eth1 index 102 {MAC} type ifb\nlink set eth1 up")
    host.wait_until_quiet()
    before = host.dump()
    killed(target, tmp_path, VETH)
    target.ip("link set net1 down")
    target.give("net1", initial)
    initial.ip("link set net1 up")
    target.close()
    answer = c.recover(tmp_path)
    assert (answer.code, answer.report) == (0, "eth1: restored\n"), answer
    assert_equal_soon(before, host)
