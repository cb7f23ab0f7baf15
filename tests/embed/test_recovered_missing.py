"""A recovery in C keeps the record of a device that it does not find, as long as the target exists: it may be back."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import netdevns
from tests.support.namespaces import Namespace, fresh
from tests.support.restored import Untouched, assert_equal_soon

from .fighter import Driver, killed

KEPT = (
    "eth1: kept: not found in either namespace: deleted, or moved on by the container; "
    "its record is kept until it is back or its network namespace ends\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A directory of records for C, and for Python: a small file system."""
    made = tmp_path / "txn"
    made.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", made], check=True)
    yield made
    subprocess.run(["umount", made], check=True)


@pytest.fixture
def third() -> Iterator[Namespace]:
    with fresh("third") as found:
        yield found


@contextlib.contextmanager
def full(folder: Path, is_full: bool) -> Iterator[None]:
    """There is no space left in its file system."""
    with open(os.open(folder, os.O_RDWR | os.O_TMPFILE), "wb", buffering=0) as filler:
        with contextlib.suppress(OSError):
            while is_full and filler.write(bytes(4096)):
                pass
        yield


@pytest.mark.parametrize("is_full", [False, True], ids=["", "full"])
@pytest.mark.parametrize("by_c", [True, False], ids=["C", "Python"])
def test_device_that_was_moved_on(
    sides: tuple[Namespace, Namespace], third: Namespace, c: Driver, folder: Path, by_c: bool, is_full: bool
) -> None:
    """P1: it is no failure; the record is kept for it alone, for either reader, and restores it once it is back.

    Also if there is no space for another record.
    """
    host, target = sides
    before = host.dump()
    killed(target, folder)
    target.give("net1", third)
    with full(folder, is_full):
        answer = c.recover(folder, undo_complete=True)
    assert (answer.code, answer.left_count, answer.report) == (0, 0, f"{KEPT}eth0: restored\n"), answer
    host.ip("link set eth0 mtu 1300")
    with Untouched(host):
        answer = c.recover(folder)
        assert (answer.code, answer.report) == (0, KEPT), answer
        assert [each.outcome for each in netdevns.recover(folder.parent)] == ["kept"]
    host.ip("link set eth0 mtu 1500")
    third.give("net1", target)
    if by_c:
        answer = c.recover(folder)
        assert (answer.code, answer.report) == (0, "eth1: restored\n"), answer
    else:
        assert [(each.device, each.outcome) for each in netdevns.recover(folder.parent)] == [("eth1", "undone")]
    assert_equal_soon(before, host)
    assert list(folder.iterdir()) == []


def test_only_device_was_moved_on(
    sides: tuple[Namespace, Namespace], third: Namespace, c: Driver, folder: Path
) -> None:
    """`undo_complete` holds for the next call, too."""
    host, target = sides
    before = host.dump()
    killed(target, folder, {"eth1": "net1"})
    target.give("net1", third)
    assert c.recover(folder, undo_complete=True).report == KEPT
    third.give("net1", target)
    assert c.recover(folder).report == "eth1: restored\n"
    assert_equal_soon(before, host)


def test_target_of_a_missing_device_ends(
    sides: tuple[Namespace, Namespace], third: Namespace, c: Driver, folder: Path
) -> None:
    """P7: its record ends, and the line does not say that it was deleted."""
    _, target = sides
    killed(target, folder)
    target.give("net1", third)
    assert c.recover(folder, undo_complete=True).code == 0
    target.close()
    answer = c.recover(folder)
    text = "a veth ends with its network namespace, unless the container had moved it on"
    assert (answer.code, answer.report) == (0, f"eth1: gone: in neither namespace: {text}\n"), answer
    assert list(folder.iterdir()) == []
    assert third.names() == {"net1"}


@pytest.mark.parametrize("by_c", [True, False], ids=["C", "Python"])
def test_two_records_of_one_device(sides: tuple[Namespace, Namespace], c: Driver, folder: Path, by_c: bool) -> None:
    """The newer record is undone first: the device gets the state of the older one, and its first name.

    C moves a device that is named in a record of the folder, here one whose undo was not complete.
    """
    host, target = sides
    before, ifindex = host.dump(), host.links()["eth0"].ifindex
    killed(target, folder, {"eth0": "net0"})
    target.ip("link set net0 name other")
    target.give("other", host, ifindex)
    killed(target, folder, {"other": "net1"})
    if by_c:
        answer = c.recover(folder, undo_complete=True)
        assert (answer.code, answer.report) == (0, "other: restored\neth0: restored\n"), answer
    else:
        for path in folder.iterdir():
            path.rename(f"{path}.undo")  # as where the container did not start
        assert [each.device for each in netdevns.recover(folder.parent)] == ["other", "eth0"]
    assert_equal_soon(before, host)
    assert list(folder.iterdir()) == []
