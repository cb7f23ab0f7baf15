"""One handle of the batch in C, used in odd ways, and where calls fail: nothing else is touched, no word is false."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import hostile, require
from tests.support.namespaces import Namespace, fresh
from tests.support.processes import wait_until
from tests.support.restored import Untouched, assert_equal_soon

from .fighter import ACCEPT_ALL, MOVE, Driver
from .test_across import mover
from .test_hostile_records import killed


def descriptors(c: Driver) -> int:
    """The number of those that it has open."""
    return len(os.listdir(f"/proc/{c.pid}/fd"))


# ---- the order of calls, and the thread ----


def test_thread_that_went_elsewhere(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """P7: the source is the namespace that the thread was in when it opened the batch, wherever it is later."""
    host, target = sides
    before = host.dump()
    with fresh("third") as third:
        third.batch(["link add eth0 type ifb", "link add eth1 type ifb"])
        with Untouched(third):
            assert c.open(target).code == 0
            c.disturb(f"enter /proc/{os.getpid()}/fd/{third.fd}")
            assert c.move().code == 0
            assert target.names() == {"net0", "net1"}
            answer = c.undo()
            assert (answer.code, answer.left) == (0, {}), answer
            c.close()
    assert_equal_soon(before, host)


def test_second_check_has_nothing_of_the_first(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """A check that cannot open the source does not go on with the devices that the check before had found."""
    _, target = sides
    target.batch(["link add x0 index 101 type ifb", "link add x1 index 102 type ifb"])
    with Untouched(*sides):
        assert c.open(target).code == 0
        assert c.ask("check 0 0").code == 0
        c.disturb("sockets 1")
        answer = c.ask("check 0 0")
        assert (answer.code, [d["host_ifindex"] for d in answer.devices.values()]) == (errno.ENOBUFS, [0, 0])
        assert c.ask("check 0 0").code == 0
        c.close()


def test_another_directory_for_the_record(sides: tuple[Namespace, Namespace], c: Driver, tmp_path: Path) -> None:
    """P4: after the move the record stays where it is, and ends with the batch."""
    host, target = sides
    before = host.dump()
    for name in ("first", "second"):
        (tmp_path / name).mkdir(mode=0o700)
    c.moved(target, records=tmp_path / "first")
    answer = c.ask(f"record 0 {tmp_path / 'second'}")
    assert (answer.code, answer.text) == (errno.EINVAL, "the batch has moved already: open another one")
    assert len(os.listdir(tmp_path / "first")) == 1
    answer = c.undo()
    assert (answer.code, answer.left) == (0, {}), answer
    c.close()
    assert [os.listdir(tmp_path / name) for name in ("first", "second")] == [[], []]
    assert_equal_soon(before, host)


# ---- calls that fail ----


def test_no_memory_on_the_way_through_our_own(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """P1: a device that is in a namespace of the batch's own does not end with it, whichever allocations fail."""
    host, target = sides
    before = host.dump()
    for first in range(1, 60, 2):
        c.moved(target)
        host.batch(["link add taker type ifb", "link property add dev taker altname enp1"])
        c.fail(first, first + 2)
        answer = c.undo()
        tried = c.fail(0, 0)
        assert answer.place("eth1") in ("source", "target"), (first, answer)
        host.ip("link del taker")
        if answer.left:
            answer = c.undo()
        assert (answer.code, answer.left) == (0, {}), (first, answer)
        c.close()
        if first > tried:
            break
    else:
        raise AssertionError(f"an undo asks for memory {tried} times")
    assert first > 10
    assert_equal_soon(before, host)


def test_no_way_home_from_our_own(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """P1: a device that cannot go home from a namespace of the batch's own goes back to where it was."""
    host, target = sides
    before, names = host.dump(), set[str]()
    for first in range(1, 16):
        c.moved(target)
        host.batch(["link add taker type ifb", "link property add dev taker altname enp1"])
        c.disturb(f"unsent {first} {first + 2}")
        answer = c.undo()
        assert answer.place("eth1") in ("source", "target"), (first, answer)
        names |= {name[:2] for name in target.names()}
        c.disturb("unsent 0 0")
        host.ip("link del taker")
        if answer.left:
            answer = c.undo()
        assert (answer.code, answer.left) == (0, {}), (first, answer)
        c.close()
    assert "nd" in names  # under a name that could not be guessed
    assert_equal_soon(before, host)


def test_no_descriptor_for_the_locks(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """P8: a mover that has no descriptor left for the locks does not take another mover's devices."""
    host, target = sides
    c.moved(target)
    target.wait_until_quiet()
    refused = set()
    with Untouched(host, target), Driver() as other:
        for more in range(2, 9):
            other.disturb("files 1024")
            assert other.open(host, {"net0": "mine"}, source=target).code == 0
            other.disturb(f"files {descriptors(other) + more}")
            answer = other.move()
            refused.add(answer.code)
            other.close()
            if answer.code == errno.EBUSY:
                break
            assert answer.code == errno.EMFILE, answer
    assert refused == {errno.EMFILE, errno.EBUSY}


@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "EIO"])
def test_recovery_without_its_locks(sides: tuple[Namespace, Namespace], c: Driver, tmp_path: Path, error: str) -> None:
    """P8: nor does a recovery go on where the file of the locks cannot be opened for a reason of the moment."""
    host, target = sides
    if shutil.which("strace") is None:
        require("netns", "there is no strace")
    killed(target, tmp_path, line="stop")
    host.wait_until_quiet()
    # The second one in the directory: the first opens that.
    inject = ("-P", "/run/netdevns", "-e", "trace=openat", "-e", f"inject=openat:error={error}:when=2")
    argv = ["strace", "-qq", "-o", "/dev/null", *inject, mover(), "recover", "0", str(tmp_path)]
    with Untouched(host, target):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        why = f"{os.strerror(getattr(errno, error))}: the devices cannot be locked in /run/netdevns"
        assert (done.returncode, done.stdout.endswith(f": kept: {why}\n")) == (3, True), done
    assert c.recover(tmp_path).code == 0


# ---- words ----


def test_accepted_loss_is_not_restored(sides: tuple[Namespace, Namespace], c: Driver) -> None:
    """P7: after a failure it is said that state whose loss was accepted is lost."""
    host, target = sides
    host.ip("route add 192.0.2.0/24 via 10.1.0.9")
    assert c.open(target).code == 0

    def take() -> None:
        (name,) = {"net0", "net1"} - target.names()
        target.ip(f"link add {name} type ifb")

    answer = c.at_send(f"move 0 {ACCEPT_ALL}", MOVE, 2, take)
    assert (answer.begun, answer.left) == (True, {}), answer
    assert answer.text.endswith("; all devices are restored, but not the state whose loss was accepted")
    assert "192.0.2.0" not in host.ip("route show")


def test_name_with_control_characters(host: Namespace, target: Namespace, c: Driver) -> None:
    """A terminal is sent none, wherever a text has the name."""
    name = "a\x1b[31mb"
    host.batch(["link set lo up", "link add eth1 type ifb"])
    host.ip(f"link set eth1 name {name}")
    c.moved(target, {name: "net1"})
    host.batch(["link add taker type ifb"])
    host.ip(f"link set taker name {name}")
    answer = c.undo()
    assert list(answer.left) == [name]
    assert answer.text.isprintable()
    assert "a\\x1b[31mb" in answer.text


def test_recovery_that_keeps_one_record(sides: tuple[Namespace, Namespace], c: Driver, tmp_path: Path) -> None:
    """P7: a recovery that restored something does not say that nothing was changed."""
    host, target = sides
    before = host.dump()
    killed(target, tmp_path)
    (tmp_path / "other").write_bytes(b"none")
    (tmp_path / "other").chmod(0o600)
    answer = c.recover(tmp_path, undo_complete=True)
    assert (answer.code, answer.begun, answer.left_count) == (errno.EBADMSG, True, 0), answer
    assert_equal_soon(before, host)


def test_temporary_address(host: Namespace, target: Namespace, c: Driver, tmp_path: Path) -> None:
    """P7: an address that the kernel made for privacy is restored as another kind, which is reported once."""
    host.batch(["link set lo up", "link add eth1 type veth peer name peer", "link set peer up"])
    host.sysctl("ipv6/conf/eth1/use_tempaddr", 2)
    host.ip("link set eth1 up")
    host.ip("addr add 2001:db8::1/64 dev eth1 nodad mngtmpaddr valid_lft 3000 preferred_lft 2000")

    def temporary() -> list[str]:
        return [a.address for a in host.addresses("eth1") if a.family == 10 and a.flags & 1 and not a.flags & 0x40]

    wait_until(lambda: bool(temporary()), "the kernel has made a temporary address")
    (address,) = temporary()
    c.moved(target, {"eth1": "net1"}, records=tmp_path)
    answer = c.undo()
    assert answer.left == {"eth1": f"that {address} is temporary"}
    c.close()
    answer = c.recover(tmp_path)
    lost = f"eth1: restored; cannot be restored: that {address} is temporary\n"
    assert (answer.code, answer.report, list(tmp_path.iterdir())) == (0, lost, []), answer


@pytest.mark.parametrize("kind", ["tap", pytest.param("macvlan", marks=pytest.mark.kinds("macvlan"))])
def test_decoy_beside_ours(sides: tuple[Namespace, Namespace], c: Driver, kind: str) -> None:
    """P7: a device with our name and MAC address is not taken for ours, which is still under its ifindex."""
    host, target = sides
    before = hostile.make_dev0(host, kind)
    c.moved(target, {"dev0": "net0"})
    hostile.put_decoy(target, kind, before["links"]["dev0"].attrs[1])
    answer = c.undo()
    assert (answer.code, answer.left) == (0, {}), answer
    assert target.names() == {"net0"}
    c.close()
    assert_equal_soon(before, host)
