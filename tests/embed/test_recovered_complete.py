"""A batch that was complete stays with its container, whatever that has changed; one that was not is undone."""

from __future__ import annotations

from pathlib import Path

import pytest

import netdevns
from tests.support.namespaces import Namespace
from tests.support.records import unmarked
from tests.support.restored import Untouched, assert_equal_soon

from .fighter import DEVICES, MOVE, Driver, killed

# What a container may do with its devices.
CHANGES = {
    "nothing": [],
    "MTU": ["link set net1 mtu 1300"],
    "address": ["addr flush dev net1"],
    "another address": ["addr add 10.77.0.1/24 dev net1"],
    "down": ["link set net0 down"],
    "name": ["link set net0 down", "link set net0 name other"],
    "deleted": ["link del net0"],
}


def recovered(c: Driver, folder: Path, *, by_c: bool) -> set[str]:
    """The first word of each outcome."""
    if by_c:
        answer = c.recover(folder)
        assert answer.code == 0, answer
        return {line.split(": ")[1].split()[0].strip(";") for line in answer.report.splitlines()}
    return {each.outcome for each in netdevns.recover(folder.parent)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory of records for C, and for Python."""
    made = tmp_path / "txn"
    made.mkdir(mode=0o700)
    return made


@pytest.mark.parametrize("by_c", [True, False], ids=["C", "Python"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_complete_batch_stays(
    sides: tuple[Namespace, Namespace], c: Driver, folder: Path, change: list[str], by_c: bool
) -> None:
    """netdevns.h: a batch that is complete in the target is left there, and its record is removed."""
    host, target = sides
    killed(target, folder)
    target.batch(change)
    with Untouched(host, target):
        assert recovered(c, folder, by_c=by_c) == {"complete"}
    assert list(folder.iterdir()) == []


def test_undo_complete(sides: tuple[Namespace, Namespace], c: Driver, folder: Path) -> None:
    """netdevns.h: with `undo_complete` it is restored nevertheless."""
    host, target = sides
    before = host.dump()
    killed(target, folder)
    target.batch(CHANGES["MTU"])
    answer = c.recover(folder, undo_complete=True)
    assert answer.code == 0, answer
    assert_equal_soon(before, host)


@pytest.mark.parametrize("by_c", [True, False], ids=["C", "Python"])
def test_killed_undo_is_completed(sides: tuple[Namespace, Namespace], c: Driver, folder: Path, by_c: bool) -> None:
    """A kill in the undo of a complete batch leaves no record by which the rest would count as complete."""
    host, target = sides
    before = host.dump()
    with Driver() as driver:
        driver.moved(target, records=folder)
        driver.stop(MOVE, len(DEVICES))
        driver.write("undo 0")
        assert driver.read() == {"stopped": 1}
        driver.kill()
    assert target.names()
    assert recovered(c, folder, by_c=by_c) == ({"restored"} if by_c else {"undone"})
    assert_equal_soon(before, host)
    assert target.names() == set()


@pytest.mark.parametrize("by_c", [True, False], ids=["C", "Python"])
def test_incomplete_batch_is_undone(sides: tuple[Namespace, Namespace], c: Driver, folder: Path, by_c: bool) -> None:
    """Also if all devices have arrived: the mover had not verified them."""
    host, target = sides
    before = host.dump()
    killed(target, folder)
    (record,) = folder.iterdir()
    record.write_bytes(unmarked(record.read_bytes()))
    assert recovered(c, folder, by_c=by_c) == ({"restored"} if by_c else {"undone"})
    assert_equal_soon(before, host)
