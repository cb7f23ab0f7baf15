"""The batch in C at its limits: much of everything, names of any byte, and an allocation that fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.csrc.compilers import BUILDS
from tests.support import hostile
from tests.support.namespaces import Namespace
from tests.support.restored import Restored, assert_equal_soon

from .fighter import HOST, Driver, killed, under_valgrind

NEVER = 1 << 30


def to_and_fro(c: Driver, host: Namespace, target: Namespace, devices: dict[str, str]) -> None:
    """A move and an undo, after which all is as before, the driver's descriptors too."""
    host.wait_until_quiet()
    before = host.dump()
    descriptors = len(os.listdir(f"/proc/{c.pid}/fd"))
    c.moved(target, devices)
    assert target.names() >= set(devices.values())
    answer = c.undo()
    assert (answer.code, answer.left) == (0, {}), answer
    c.close()
    assert len(os.listdir(f"/proc/{c.pid}/fd")) == descriptors
    assert_equal_soon(before, host)


# ---- much of everything ----


def test_thousand_addresses(host: Namespace, target: Namespace, c: Driver) -> None:
    """P2: 500 addresses of each family arrive and return."""
    host.batch(["link set lo up", "link add eth1 type ifb", "link set eth1 up"])
    host.batch(f"addr add 10.{n // 250}.{n % 250}.1/24 dev eth1" for n in range(500))
    host.batch(f"addr add 2001:db8::{n:x}/64 nodad dev eth1" for n in range(1, 501))
    to_and_fro(c, host, target, {"eth1": "net1"})


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.thorough)])
def test_many_devices(host: Namespace, target: Namespace, c: Driver, count: int) -> None:
    """P1: hundreds of devices, to and fro."""
    host.batch(f"link add d{n} index {1000 + n} type ifb\nlink set d{n} up" for n in range(count))
    host.batch(f"addr add 10.{n // 250}.{n % 250}.1/24 dev d{n}" for n in range(count))
    to_and_fro(c, host, target, {f"d{n}": f"net{n}" for n in range(count)})


@pytest.mark.parametrize("name", [b"\xff\xfe\xfd", b"\xc3\xa4\xe2\x82\xac", b"\x80" * 15, b'"\\\x01\x7f', b"a.b;c"])
def test_names_of_any_byte(host: Namespace, target: Namespace, c: Driver, name: bytes) -> None:
    """P2: names are bytes, and so are alternative names."""
    text = os.fsdecode(name)
    host.batch(["link set lo up", "link add eth1 type ifb", "link add eth2 type ifb"])
    host.ip(f"link set eth1 name {text}")
    host.batch(["link set eth2 up", "addr add 10.2.0.1/24 dev eth2"])
    host.ip(f"link set {text} up")
    host.ip(f"addr add 10.1.0.1/24 dev {text}")
    host.ip(f"link property add dev eth2 altname alt-{text}")
    to_and_fro(c, host, target, {text: "net1", "eth2": text})


@pytest.mark.parametrize("way", ["gcc", pytest.param("musl", marks=pytest.mark.thorough)])
def test_stack(sides: tuple[Namespace, Namespace], tmp_path: Path, way: str) -> None:
    """120 KiB, as netdevns.h says, suffice for an undo and a recovery of devices that were renamed and renumbered."""
    host, target = sides
    host.wait_until_quiet()
    before = host.dump()
    tmp_path.chmod(0o700)
    for is_recovery in (False, True):
        with Driver(BUILDS[way], ("prlimit", "--stack=122880")) as c:
            if is_recovery:
                killed(target, tmp_path)
            else:
                c.moved(target)
            hostile.change_net1(target, "name and mac", "other")
            answer = c.recover(tmp_path, undo_complete=True) if is_recovery else c.undo()
            assert (answer.code, answer.left) == (0, {}), answer
        target.ip("link del thief")
        assert_equal_soon(before, host)


@pytest.mark.thorough
def test_alternative_names_of_64_kib(host: Namespace, target: Namespace, c: Driver) -> None:
    """P1: as many alternative names as a device can have, and the container adds some and removes others."""
    names = [f"{n:03}" + "x" * 124 for n in range(490)]
    host.batch(["link set lo up", "link add eth1 type ifb", "link set eth1 up", "addr add 10.1.0.1/24 dev eth1"])
    host.batch(f"link property add dev eth1 altname {name}" for name in names)
    host.wait_until_quiet()
    before = host.dump()
    c.moved(target, {"eth1": "net1"})
    target.batch(f"link property del dev net1 altname {name}" for name in names[::7])
    target.batch(f"link property add dev net1 altname theirs{n:x<110}" for n in range(70))
    answer = c.undo()
    assert (answer.code, answer.left) == (0, {}), answer
    c.close()
    assert_equal_soon(before, host)


# ---- an allocation that fails ----


def furnished(host: Namespace) -> None:
    host.batch(HOST)
    host.wait_until_quiet()


def tried(c: Driver, target: Namespace, records: Path) -> str:
    """Opens, moves, undoes and closes; "refused", "undone", "reported" or "done"."""
    opened = c.open(target, records=records)
    if opened.code:
        assert opened.code == errno.ENOMEM, opened
        c.close()
        return "refused"
    moved = c.move()
    if moved.code and not moved.left_count:
        assert moved.code == errno.ENOMEM, moved
        c.close()
        return "undone" if moved.begun else "refused"
    answer = c.undo()
    if answer.left_count == 0 and not moved.code:
        assert answer.code == 0, answer
        c.close()
        return "done"
    # A second try, with memory.
    assert answer.code == (errno.ENOMEM if answer.left_count else 0), answer
    c.fail(NEVER, NEVER)
    answer = c.undo() if answer.code else answer
    assert (answer.code, answer.left) == (0, {}), answer
    c.close()
    return "reported"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("last", ["one", pytest.param("all", marks=pytest.mark.thorough)])
def test_an_allocation_fails(host: Namespace, target: Namespace, c: Driver, tmp_path: Path, last: str) -> None:
    """P1: whichever allocation fails, or all from it on, the host is as before, or it is said that it is not."""
    furnished(host)
    before = host.dump()
    descriptors = len(os.listdir(f"/proc/{c.pid}/fd"))
    c.fail(NEVER, NEVER)
    assert tried(c, target, tmp_path) == "done"
    count = c.fail(NEVER, NEVER)
    assert count > 30
    ends: set[str] = set()
    for n in range(1, count + 1):
        c.fail(n, n if last == "one" else NEVER)
        ends.add(tried(c, target, tmp_path))
        c.fail(NEVER, NEVER)
        assert_equal_soon(before, host)
        assert len(os.listdir(f"/proc/{c.pid}/fd")) == descriptors, n
        assert os.listdir(tmp_path) == [], n
        assert target.names() == set()
    assert {"refused", "reported"} <= ends


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_an_allocation_of_a_recovery_fails(host: Namespace, target: Namespace, c: Driver, tmp_path: Path) -> None:
    """P4: whichever allocation fails, the record stays until all is restored."""
    furnished(host)
    before = host.dump()
    n = 0
    while True:
        n += 1
        with Driver() as killed:
            killed.moved(target, records=tmp_path)
            killed.kill()
        c.fail(n, n)
        answer = c.recover(tmp_path, undo_complete=True)
        count = c.fail(NEVER, NEVER)
        if answer.code:
            assert len(os.listdir(tmp_path)) == 1, answer
            answer = c.recover(tmp_path, undo_complete=True)
        assert answer.code == 0, answer
        assert os.listdir(tmp_path) == [], answer
        assert_equal_soon(before, host)
        if count < n:
            break
    assert n > 20


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_valgrind(host: Namespace, target: Namespace, tmp_path: Path) -> None:
    """Neither a move and an undo nor one whose allocation fails leaks, or reads what is not there."""
    furnished(host)
    records = tmp_path / "records"
    records.mkdir(0o700)
    with Restored(host), under_valgrind(tmp_path / "log") as c:
        for n in (NEVER, 30, 60, 90):
            c.fail(n, n)
            tried(c, target, records)
            c.fail(NEVER, NEVER)
