"""The record of a move: exists while it runs, is ignored when it is damaged, and kept when an undo fails."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import netdevns
from netdevns.engine import EngineError
from netdevns.recovery import layout, recover
from tests.support import steps
from tests.support.namespaces import Namespace
from tests.support.restored import Restored, assert_equal_soon

from .crashes import DEVICES, BeforeStep, furnished, killed, records


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


def test_record_with_late_addresses_that_cannot_be_written(
    sides: tuple[Namespace, Namespace], directory: str, monkeypatch: pytest.MonkeyPatch, before_step: BeforeStep
) -> None:
    """Then the move is undone, the late addresses are restored, too, and nothing stays in the target."""
    host, target = sides
    before = host.dump()
    before_step("move", 1, lambda: host.ip("addr add 10.9.0.1/24 dev eth1"))
    real, count = layout.os.link, iter(range(100))

    def refuse(*words: Any, **more: Any) -> None:
        if next(count):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*words, **more)

    monkeypatch.setattr(layout.os, "link", refuse)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd, journal=directory)
    assert (raised.value.step, raised.value.errno, raised.value.left) == ("record", errno.ENOSPC, ())
    assert "may" not in str(raised.value)
    assert records(directory) == []
    host.ip("addr del 10.9.0.1/24 dev eth1")
    assert_equal_soon(before, host)


def test_nothing_is_left_after_a_move(sides: tuple[Namespace, Namespace], directory: str) -> None:
    """DESIGN 5: a record exists only while a move runs: not after it, nor after one that failed or was refused."""
    _, target = sides
    with pytest.raises(netdevns.CheckFailed):
        netdevns.move({"eth9": ""}, target.fd, journal=directory)
    target.ip("link add taken type ifb")
    netdevns.move({"eth0": "net0"}, target.fd, journal=directory)
    assert records(directory) == []
    assert os.stat(f"{directory}/txn").st_mode & 0o777 == 0o700


@pytest.mark.smoke
def test_running_move_is_left_alone(
    sides: tuple[Namespace, Namespace], directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A locked record is not a crashed move: `recover` beside a live move does nothing."""
    _, target = sides
    seen: list[tuple[object, tuple[list[str], list[str], list[str]]]] = []

    def beside(_: int) -> None:
        seen.append((netdevns.recover(directory), recover.pending(directory)))

    monkeypatch.setattr(*steps.before("up_and_replay", beside))
    netdevns.move(DEVICES, target.fd, journal=directory)
    (running,) = {line for _, (_, lines, _) in seen for line in lines}
    assert seen == [((), ([], [running], []))] * 2
    assert re.fullmatch(rf"{directory}/txn/\S+: eth0 -> .*", running)


@pytest.fixture
def crashed(sides: tuple[Namespace, Namespace], directory: str) -> Path:
    """A record of a move that was killed after its first device had left."""
    killed(directory, sides[1], "move", 2)
    (name,) = records(directory)
    return Path(directory, "txn", name)


DAMAGES = {
    "torn": lambda data: data[: len(data) // 2],
    "one-byte-short": lambda data: data[:-1],
    "a-bit-flipped": lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
    "empty": lambda data: data[:0],
    "something-else": lambda data: data[:0] + b"#!/bin/sh\nreboot\n",
}


@pytest.mark.sampled(2)
@pytest.mark.smoke(3)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_record_is_reported_and_ignored(
    sides: tuple[Namespace, Namespace], crashed: Path, directory: str, damage: Callable[[bytes], bytes]
) -> None:
    """A truncated or damaged record is reported once and set aside, and changes nothing."""
    host, target = sides
    data = crashed.read_bytes()
    crashed.write_bytes(damage(data))
    with Restored(host, target):
        (found,) = netdevns.recover(directory)
        assert (found.device, found.outcome, found.location) == (None, "kept", "unknown")
        assert found.record == f"{directory}/aside/{crashed.name}.undo"
        assert Path(found.record).read_bytes() == damage(data)
        assert netdevns.recover(directory) == ()
    crashed.write_bytes(data)
    crashed.chmod(0o600)
    assert {r.outcome for r in netdevns.recover(directory)} == {"undone"}


def test_record_of_another_boot_is_discarded(crashed: Path, directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reboot resets the devices: there is nothing to undo."""
    monkeypatch.setattr(layout, "boot_id", lambda: b"another")
    assert {(r.outcome, r.text) for r in netdevns.recover(directory)} == {("gone", recover.BEFORE_BOOT)}
    assert not crashed.exists()


def test_foreign_files_are_not_followed(crashed: Path, directory: str, tmp_path: Path) -> None:
    """A symbolic link, or a file or directory that others may write to, is reported and ignored."""
    data = crashed.read_bytes()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(data)
    crashed.unlink()
    crashed.symlink_to(elsewhere)
    (found,) = netdevns.recover(directory)
    assert (found.outcome, "no regular file" in found.text) == ("kept", True)
    assert Path(found.record).is_symlink()
    crashed.write_bytes(data)
    crashed.chmod(0o666)
    (found,) = netdevns.recover(directory)
    assert (found.outcome, "others may write" in found.text) == ("kept", True)
    os.rename(found.record, crashed)
    crashed.chmod(0o600)
    crashed.parent.chmod(0o777)
    with pytest.raises(PermissionError):
        netdevns.recover(directory)
    crashed.parent.chmod(0o700)
    assert {r.outcome for r in netdevns.recover(directory)} == {"undone"}


def test_record_that_cannot_be_written(sides: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    """The move does not begin: the caller has asked for a record."""
    host, target = sides
    (tmp_path / "file").write_text("")
    with Restored(host), pytest.raises(netdevns.NetDevError) as raised:
        netdevns.move(DEVICES, target.fd, journal=tmp_path / "file")
    assert (raised.value.step, raised.value.errno, raised.value.left) == ("record", errno.ENOTDIR, ())


def test_directory_that_vanishes(sides: tuple[Namespace, Namespace], tmp_path: Path, monkeypatch: Any) -> None:
    """The move does not begin, and no descriptor of the record stays open."""
    _, target = sides
    directory, real = tmp_path / "records", os.link

    def link(*names: Any, **where: Any) -> None:
        shutil.rmtree(directory)
        real(*names, **where)

    monkeypatch.setattr(os, "link", link)
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd, journal=directory)
    assert (raised.value.step, raised.value.errno, raised.value.left) == ("record", errno.ENOENT, ())
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_record_that_cannot_be_removed(
    sides: tuple[Namespace, Namespace], directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DESIGN 4.2: the move succeeds with a warning, and the rest of the record never causes an undo."""
    _, target = sides

    def refuse(path: object, **_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)

    with monkeypatch.context() as patch:
        patch.setattr(layout.os, "unlink", refuse)
        with pytest.warns(RuntimeWarning, match="cannot remove the record"):
            netdevns.move(DEVICES, target.fd, journal=directory)
    target.ip("link set net0 down")
    assert [(r.device, r.outcome) for r in netdevns.recover(directory)] == [(None, "kept")]
    assert target.names() == {"net0", "net1"}


def test_undo_that_fails_keeps_the_record(
    sides: tuple[Namespace, Namespace], directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: devices that could not be restored are reported, and the record stays for another try."""
    host, target = sides
    before = host.dump()

    def fail(_: int) -> None:
        raise EngineError(errno.EIO, "made to fail", "undo")

    with monkeypatch.context() as patch:
        patch.setattr(*steps.before("verify", fail))
        patch.setattr(*steps.before("undo", fail))
        with pytest.raises(netdevns.MoveFailed, match="the record is kept") as raised:
            netdevns.move(DEVICES, target.fd, journal=directory)
    assert {left.location for left in raised.value.left} == {"target", "source"}  # mv0 stayed
    assert {r.outcome for r in netdevns.recover(directory)} == {"undone"}
    assert_equal_soon(before, host)
    assert records(directory) == []
