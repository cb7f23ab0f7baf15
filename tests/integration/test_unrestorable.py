"""State that an undo cannot restore: `left` names the device and its place."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import netdevns
from netdevns.cli.main import main
from netdevns.engine import EngineError
from tests.support.namespaces import Namespace
from tests.support.processes import wait_until
from tests.support.restored import assert_equal_soon, differences

from .batch import DEVICES, fail_at, furnished


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


@pytest.mark.smoke
@pytest.mark.parametrize("nth", [1, 2])
def test_lost_qdiscs_are_reported(
    host: Namespace, target: Namespace, before_step: Callable[..., None], tmp_path: Path, nth: int
) -> None:
    """P1: unrestorable state is reported, only for devices that had left, and no record is kept for another try."""
    host.batch(["link add eth0 type ifb", "link add eth1 type ifb", "link set eth0 up"])
    with host.entered():
        for device in ("eth0", "eth1"):
            for words in (f"dev {device} root handle 7: htb", f"dev {device} clsact"):
                subprocess.run(["tc", "qdisc", "add", *words.split()], check=True)
    host.wait_until_quiet()
    before = host.dump()
    fail_at(before_step, "move", nth)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move({"eth0": "net0", "eth1": "net1"}, target.fd, journal=tmp_path)
    gone = ("qdisc htb, with its classes and filters", "qdisc clsact, with its classes and filters")
    left = [(each.device, each.location, each.missing) for each in raised.value.left]
    assert left == [("eth0", "source", gone)][: nth - 1]
    assert "recover" not in str(raised.value)
    assert os.listdir(tmp_path / "txn") == []
    # Apart from that not even IFLA_QDISC differs.
    links = differences(host.dump, before, timeout_s=0)
    assert all("eth0" in line for line in links), links


# What the kernel deletes when its lower leaves, and what lies on that.
ENDING = [
    pytest.param("link add up0 type vxlan id 7 dstport 4789 remote 10.0.0.2 dev eth0", id="vxlan"),
    pytest.param("link add link eth0 name up0 type macsec", marks=pytest.mark.kinds("macsec"), id="macsec"),
]


@pytest.mark.parametrize("line", ENDING)
def test_deleted_upper_is_reported(
    host: Namespace, target: Namespace, before_step: Callable[..., None], tmp_path: Path, line: str
) -> None:
    """P1: a vxlan or macsec device is deleted when its lower moves: check reports it, and an undo as unrestorable."""
    host.batch(
        ["link add eth0 index 101 type veth peer name peer", "link set eth0 up", "addr add 10.0.0.1/24 dev eth0"]
    )
    host.batch([line, "link add link up0 name up1 type macvlan", "link set up0 up", "link set up1 up"])
    host.batch(["addr add 10.7.0.1/24 dev up0", "route add 192.0.2.0/24 via 10.7.0.9"])
    host.batch(["neigh add 10.7.0.9 lladdr 02:00:00:00:00:99 nud permanent dev up0"])
    host.wait_until_quiet()
    before = host.dump()
    report = netdevns.check({"eth0": "net0"}, target.fd)
    assert [f.text for f in report.findings if f.code == "loss.upper"] == [
        "eth0: a move loses: up0 on top of it, which the kernel deletes"
    ]
    fail_at(before_step)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move({"eth0": "net0"}, target.fd, journal=tmp_path)
    left = [(each.device, each.location, each.name, each.missing) for each in raised.value.left]
    gone = ("the device: deleted by the kernel when its lower device moved",)
    assert left == [("up0", "gone", None, gone), ("up1", "gone", None, gone)]
    assert os.listdir(tmp_path / "txn") == []
    found = differences(host.dump, before, timeout_s=0)
    here = [line for line in found if "eth0" in line and not line.startswith("links")]
    assert (host.names(), here) == ({"eth0", "peer"}, [])


def test_temporary_address_is_reported(
    host: Namespace, target: Namespace, before_step: Callable[..., None], tmp_path: Path
) -> None:
    """P1: a privacy address is restored, but no request makes it temporary again, which is reported."""
    host.batch(["link add eth1 type veth peer name peer", "link set peer up", "link set eth1 up"])
    host.sysctl("ipv6/conf/eth1/use_tempaddr", 2)
    host.ip("addr add 2001:db8:8::1/64 mngtmpaddr nodad dev eth1")

    def temporary() -> list[str]:
        return [a.address for a in host.addresses("eth1", valid="finite") if a.flags & 1]

    wait_until(temporary, "the kernel adds a temporary address")
    host.wait_until_quiet()
    address = temporary()[0]
    fail_at(before_step)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move({"eth1": {}}, target.fd, journal=tmp_path)
    left = [(each.device, each.location, each.missing) for each in raised.value.left]
    assert left == [("eth1", "source", (f"that {address} is temporary",))]
    assert address in [a.address for a in host.addresses("eth1")]
    assert os.listdir(tmp_path / "txn") == []


@pytest.fixture
def device_deleted(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None]
) -> Iterator[tuple[Namespace, Namespace]]:
    """eth0 is deleted in the target by another process, before it gets its addresses."""
    before_step("up_and_replay", 1, lambda: sides[1].ip("link del net0"))
    return sides  # type: ignore[return-value]


def without_eth0(dump: dict[str, Any]) -> dict[str, Any]:
    """A dump without the state of eth0."""
    parts = {part: {k: v for k, v in dump[part].items() if k != "eth0"} for part in ("links", "addresses")}
    routes = [route for route in dump["routes"] if "65000000" not in route]  # its ifindex, 101
    return {**dump, **parts, "routes": routes}


def test_device_that_is_gone(device_deleted: tuple[Namespace, Namespace]) -> None:
    """DESIGN 4.1: a device that was deleted meanwhile is reported as gone; the others are restored."""
    host, target = device_deleted
    before = host.dump()
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd)
    error = raised.value
    assert (error.device, error.step, error.errno, error.location) == ("eth0", "replay", errno.ENODEV, "gone")
    assert not error.rolled_back
    (left,) = error.left  # its routes are not missing from the others
    assert (left.device, left.location, left.name, left.ifindex) == ("eth0", "gone", None, None)
    assert left.missing
    assert target.names() == set()
    assert_equal_soon(before, host, shown=without_eth0)


def test_device_that_is_gone_before_the_move(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None]
) -> None:
    """DESIGN 4.1: the same for a device that disappears from the source between check and move."""
    host, target = sides
    before_step("move", 2, lambda: host.ip("link del eth1"))
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd)
    assert (raised.value.device, raised.value.location) == ("eth1", "gone")
    assert "eth1" in {left.device for left in raised.value.left}
    assert {"eth0", "eth2", "stays"} <= host.names()
    assert target.names() == set()


def thief(sides: tuple[Namespace, Namespace], before_step: Callable[..., None]) -> None:
    """While eth1 is away, another device takes its name in the source; then a step fails."""
    host, _ = sides

    def steal() -> None:
        host.ip("link add eth1 type ifb")
        raise EngineError(errno.ENOMEM, "made to fail", "exchange")

    before_step("verify", 2, steal)


def test_old_name_is_taken_in_the_source(sides: tuple[Namespace, Namespace], before_step: Callable[..., None]) -> None:
    """DESIGN 4.1: a device whose name was taken meanwhile cannot get it back: `left` has its place."""
    host, target = sides
    thief(sides, before_step)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd)
    error = raised.value
    assert not error.rolled_back
    (left,) = (entry for entry in error.left if entry.device == "eth1")
    where = {"source": host, "target": target}[left.location]
    (found,) = (link for link in where.links().values() if link.attrs.get(1) == "020000000077")  # its MAC address
    assert found.ifindex == left.ifindex
    assert left.missing
    assert {"eth0", "eth2"} <= host.names()
    assert "eth1" in str(error)


@pytest.mark.parametrize("as_json", [False, True], ids=["human", "json"])
def test_command_exits_with_3(
    sides: tuple[Namespace, Namespace],
    before_step: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    """DESIGN 4.2: exit code 3: a device could not be restored; the message names it and its place."""
    _, target = sides
    thief(sides, before_step)
    arguments = [f"{old}={new}" for old, new in DEVICES.items()]
    assert main(["move", *arguments, "--to", f"fd:{target.fd}", *(["--json"] if as_json else [])]) == 3
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert all(line.startswith("netdevns: ") for line in lines)
    lines = [line for line in lines if " of 3 devices " not in line]  # progress, on a machine that is slow
    assert "NOT restored: eth1" in lines[0]
    assert any(line.startswith("netdevns: eth1: in ") and "not restored: " in line for line in lines[1:])
    if as_json:
        error = json.loads(out)["error"]
        assert error["rolled_back"] is False
        assert [left["device"] for left in error["left"]] == ["eth1"]
    (record,) = Path(netdevns.JOURNAL_DIR, "txn").iterdir()  # kept, for another try
    record.unlink()


def test_ifindex_is_taken_in_the_source(sides: tuple[Namespace, Namespace], before_step: Callable[..., None]) -> None:
    """P1: a device whose ifindex was taken meanwhile is restored but for that, which `left` has."""
    host, target = sides
    before = host.addresses("eth1")

    def steal() -> None:
        host.ip("link add other index 102 type ifb")
        raise EngineError(errno.ENOMEM, "made to fail", "exchange")

    before_step("verify", 2, steal)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd)
    (left,) = (entry for entry in raised.value.left if entry.device == "eth1")
    assert (left.location, left.name) == ("source", "eth1")
    assert left.ifindex == host.links()["eth1"].ifindex != 102
    assert any("ifindex 102" in missing for missing in left.missing)
    assert host.addresses("eth1") == before
    assert target.names() == set()


def test_left_has_the_name_in_the_source(sides: tuple[Namespace, Namespace], before_step: Callable[..., None]) -> None:
    """DESIGN 4.1: `left` has the present name of a device that came back under another one."""
    host, _ = sides
    thief(sides, before_step)
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, sides[1].fd)
    (left,) = raised.value.left
    (found,) = (link for link in host.links().values() if link.attrs.get(1) == "020000000077")
    assert (left.location, left.name, left.ifindex) == ("source", found.name, found.ifindex)
