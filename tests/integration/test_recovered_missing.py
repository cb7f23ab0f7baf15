"""A recovery keeps the record of a device that it does not find, as long as the target exists: it may be back."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import netdevns
from netdevns.cli.main import main
from netdevns.recovery import layout, record, store
from netdevns.recovery.loaded_record import NOT_FOUND
from tests.support import kinds
from tests.support.namespaces import Namespace
from tests.support.restored import Untouched, assert_equal_soon

from .crashes import furnished, killed, records


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


@pytest.fixture
def third() -> Iterator[Namespace]:
    """Where a container moves a device on to."""
    with Namespace.create("third") as found:
        yield found


def fail(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def outcomes(directory: str) -> dict[str | None, tuple[str, str]]:
    return {each.device: (each.outcome, each.text) for each in netdevns.recover(directory)}


@pytest.mark.parametrize("is_full", [False, True], ids=["", "full"])
def test_device_that_was_moved_on(
    sides: tuple[Namespace, Namespace],
    third: Namespace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    is_full: bool,
) -> None:
    """P1: it is not gone: its record is kept, without the other device, and restores it once it is back.

    Also if a full /run has no space for another record.
    """
    host, target = sides
    before = host.dump()
    killed(netdevns.JOURNAL_DIR, target, "up_and_replay", 2)
    target.give("net0", third)
    with monkeypatch.context() as patch:
        if is_full:
            patch.setattr(store.Journal, "write", fail)
        assert main(["recover"]) == 0
    said, err = capsys.readouterr()
    assert err == ""
    assert "eth0: kept: not found in either namespace: deleted, or moved on by the container" in said
    assert "eth1: undone: restored" in said
    (name,) = records(netdevns.JOURNAL_DIR)
    host.batch(["link set eth1 mtu 1450", "route del 192.0.2.0/24"])
    with Untouched(host):  # what was changed since is not undone
        for _ in range(4):  # nor does it count as a try
            assert outcomes(netdevns.JOURNAL_DIR) == {"eth0": ("kept", NOT_FOUND)}
    assert records(netdevns.JOURNAL_DIR) == [name]
    third.give("net0", target)
    assert outcomes(netdevns.JOURNAL_DIR) == {"eth0": ("undone", "restored")}
    assert records(netdevns.JOURNAL_DIR) == []
    host.batch(["link set eth1 mtu 1400", "route add 192.0.2.0/24 via 10.1.0.9"])
    assert_equal_soon(before, host)


def test_new_device_of_that_name_may_move(sides: tuple[Namespace, Namespace], third: Namespace, directory: str) -> None:
    """P8: a record of a device that is not found refuses no move, and stays."""
    host, target = sides
    killed(directory, target, "up_and_replay", 2)
    target.give("net0", third)
    host.batch(["link add eth0 type veth peer name new0", "addr add 10.9.0.1/24 dev eth0", "link set new0 up"])
    with Namespace.create("fourth") as fourth:
        moved = netdevns.move({"eth0": "net0", "other": ""}, fourth.fd, journal=directory)
        assert [a.address for a in moved[0].addresses] == ["10.9.0.1"]
    assert len(records(directory)) == 1
    assert [*outcomes(directory)] == ["eth0"]


@pytest.mark.skipif(not kinds.honours_new_ifindex(), reason="before 5.13 an ifindex cannot be requested")
def test_device_that_cannot_be_recognized(sides: tuple[Namespace, Namespace], third: Namespace, directory: str) -> None:
    """P7: a macvlan that came back from a detour with another MAC and ifindex is not gone, either."""
    host, target = sides
    killed(directory, target, "up_and_replay", 1, devices={"mv0": "net0"})
    ifindex = target.links()["net0"].ifindex
    third.batch(["link add first type ifb", f"link add taken index {ifindex} type ifb"])
    target.give("net0", third)
    third.give("net0", target)
    target.batch(["link set net0 address 02:00:00:00:00:66"])
    assert target.links()["net0"].ifindex != ifindex
    assert outcomes(directory) == {"mv0": ("kept", NOT_FOUND)}
    assert "mv0" not in host.names()
    target.ip(f"link set net0 address {host_mac(directory)}")
    assert outcomes(directory) == {"mv0": ("undone", "restored")}


def host_mac(directory: str) -> str:
    """The MAC of the only device in the record."""
    (name,) = records(directory)
    (device,) = record.load(layout.parse(Path(directory, "txn", name).read_bytes())).devices
    return device.link.mac.hex(":")


@pytest.mark.usefixtures("sides")
def test_target_of_a_missing_device_ends(third: Namespace, directory: str) -> None:
    """P7: then its record ends, and the text does not say that it was deleted."""
    with Namespace.create("short-lived") as short:
        killed(directory, short, "up_and_replay", 2)
        short.give("net0", third)
        assert outcomes(directory)["eth0"] == ("kept", NOT_FOUND)
    text = "in neither namespace: a veth ends with its network namespace, unless the container had moved it on"
    assert outcomes(directory) == {"eth0": ("gone", text)}
    assert records(directory) == []
    assert third.names() == {"net0"}
