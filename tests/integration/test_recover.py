"""A move that was killed: the next `recover`, or the next move of its devices, undoes or completes it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import netdevns
from netdevns import engine
from netdevns.cli.main import main
from netdevns.netlink import wire
from netdevns.recovery import identity, layout
from netdevns.recovery.loaded_record import NOT_FOUND
from netdevns.recovery.recover import NAMESAKE
from netdevns.system import exclusion, netns
from tests.support import kinds, steps
from tests.support.namespaces import Namespace
from tests.support.processes import blocks, wait_until
from tests.support.restored import Untouched, assert_equal_soon

from .crashes import DEVICES, furnished, killed, records


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


POINTS = [
    (step, nth, after)
    for step in ("snapshot", "move", "up_and_replay", "verify")
    for nth in (1, 2)
    for after in (False, True)
]


@pytest.mark.sampled(3)
@pytest.mark.smoke(2)
@pytest.mark.parametrize(("step", "nth", "after"), POINTS)
def test_killed_anywhere(sides: tuple[Namespace, Namespace], directory: str, step: str, nth: int, after: bool) -> None:
    """P4: after `recover` everything is exactly as before, and no record is left: the move has not returned."""
    host, target = sides
    before = host.dump(), target.dump()
    killed(directory, target, step, nth, after=after)
    found = netdevns.recover(directory)
    if step == "snapshot":  # before any change and any record
        assert (found, records(directory)) == ((), [])
    else:
        assert [(r.device, r.outcome, r.location) for r in found] == [
            ("eth0", "undone", "source"),
            ("eth1", "undone", "source"),
        ]
        assert records(directory) == []
    for dump, side in zip(before, sides, strict=True):
        assert_equal_soon(dump, side)
    with host.entered():
        assert Path("/proc/sys/net/ipv4/neigh/eth1/gc_stale_time").read_text() == "77\n"
    assert netdevns.recover(directory) == ()


@pytest.mark.parametrize(("step", "nth"), [("up_and_replay", 1), ("up_and_replay", 2), ("verify", 1)])
def test_late_addresses_are_in_the_record(
    sides: tuple[Namespace, Namespace], directory: str, step: str, nth: int
) -> None:
    """P4: addresses that were added after the snapshots are restored, too, once they are in the record."""
    host, target = sides
    late = "ip addr add 10.9.0.1/24 dev eth1", "ip addr add 10.9.0.2/24 valid_lft 5000 preferred_lft 4000 dev eth1"
    before = host.dump()
    killed(directory, target, step, nth, late=late)
    assert len(records(directory)) == 1
    outcomes = {r.outcome for r in netdevns.recover(directory)}
    assert (records(directory), len(outcomes)) == ([], 1)
    assert outcomes == {"undone"}
    assert [a.address for a in host.addresses("eth1")][:4] == ["10.1.0.1", "10.9.0.1", "10.1.0.2", "10.9.0.2"]
    host.ip("addr del 10.9.0.1/24 dev eth1")  # and with it its secondary
    assert_equal_soon(before, host)


@pytest.mark.parametrize("preserve", [("sysctls",), ("routes", "neighbours")])
def test_killed_move_with_preserve(
    sides: tuple[Namespace, Namespace], directory: str, preserve: tuple[str, ...]
) -> None:
    """P4: the move is undone, and nothing is lost."""
    host, target = sides
    before = host.dump()
    killed(directory, target, "verify", 1, preserve=preserve)
    assert {r.outcome for r in netdevns.recover(directory)} == {"undone"}
    assert (records(directory), target.names()) == ([], set())
    assert_equal_soon(before, host)


def test_lost_qdiscs_are_reported(sides: tuple[Namespace, Namespace], directory: str) -> None:
    """Unrestorable state is reported for the device that had left, and the record is dropped."""
    host, target = sides
    with host.entered():
        for device in ("eth0", "eth1"):
            subprocess.run(["tc", "qdisc", "add", "dev", device, "clsact"], check=True)
    killed(directory, target, "move", 2)
    found = netdevns.recover(directory)
    assert [(r.device, r.outcome, r.text) for r in found] == [
        ("eth0", "undone", "restored; cannot be restored: qdisc clsact, with its classes and filters"),
        ("eth1", "undone", "restored"),
    ]
    assert records(directory) == []


def test_deleted_upper_is_reported(sides: tuple[Namespace, Namespace], directory: str) -> None:
    """A vxlan device that was deleted with its lower's move is reported, and the record is dropped."""
    host, target = sides
    host.batch(["link add vx0 type vxlan id 7 dstport 4789 dev eth1", "link set vx0 up"])
    killed(directory, target, "up_and_replay", 1)
    found = netdevns.recover(directory)
    assert [(r.device, r.outcome, r.location) for r in found] == [
        ("eth0", "undone", "source"),
        ("eth1", "undone", "source"),
        ("vx0", "gone", "gone"),
    ]
    assert (records(directory), target.names()) == ([], set())


@pytest.mark.kinds("vlan")
def test_other_vlan_is_not_taken_for_a_deleted_one(sides: tuple[Namespace, Namespace], directory: str) -> None:
    """Both have their lower's MAC: the deleted one is reported as gone, and the other one stays where it is."""
    host, target = sides
    host.batch(["link add v7 link eth1 type vlan id 7", "link add v8 link eth1 type vlan id 8"])
    killed(directory, target, "up_and_replay", 1, devices={"v7": "net7"})
    netdevns.move({"v8": ""}, target.fd)
    target.ip("link del net7")
    assert [(r.device, r.outcome, r.text) for r in netdevns.recover(directory)] == [("v7", "kept", NOT_FOUND)]
    assert target.names() == {"v8"}


@pytest.mark.kinds("vlan")
def test_renamed_vlan_is_found(sides: tuple[Namespace, Namespace], directory: str) -> None:
    """By its MAC and VLAN number, also beside another VLAN with the same MAC."""
    host, target = sides
    host.batch(["link add v7 link eth1 type vlan id 7", "link add v8 link eth1 type vlan id 8"])
    killed(directory, target, "up_and_replay", 1, devices={"v7": "net7"})
    netdevns.move({"v8": ""}, target.fd)
    target.batch(["link set net7 down", "link set net7 name other"])
    assert [(r.device, r.outcome) for r in netdevns.recover(directory)] == [("v7", "undone")]
    assert target.names() == {"v8"}
    assert "v7" in host.names()


def test_recover_can_be_killed_and_repeated(
    sides: tuple[Namespace, Namespace], directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P4: an interrupted undo leaves the record; the next one completes it."""
    host, target = sides
    before = host.dump()
    killed(directory, target, "up_and_replay", 2)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("netdevns.state.neighbours.Neighbours.repairs", interrupted)
        with pytest.raises(KeyboardInterrupt):
            netdevns.recover(directory)
    assert len(records(directory)) == 1
    assert {r.outcome for r in netdevns.recover(directory)} == {"undone"}
    assert_equal_soon(before, host)
    assert records(directory) == []


@pytest.mark.smoke
def test_next_move_recovers_first(sides: tuple[Namespace, Namespace], directory: str) -> None:
    """DESIGN 5: a move that names a device of a crashed record undoes that one first, then moves it whole."""
    _, target = sides
    killed(directory, target, "move", 2)
    moved = netdevns.move(DEVICES, target.fd, journal=directory)
    assert [m.host_name for m in moved] == ["eth0", "eth1"]
    assert sorted(a.address for a in moved[1].addresses) == ["10.1.0.1", "2001:db8:1::1", "2001:db8:1::2"]
    assert records(directory) == []


def test_device_of_that_name_in_another_namespace(sides: tuple[Namespace, Namespace], directory: str) -> None:
    """DESIGN 5: a stuck record of eth1 here does not block an eth1 in another namespace."""
    _, target = sides
    killed(directory, target, "move", 2)
    before = records(directory)
    with Namespace.create("third") as third:
        third.ip("link add eth1 type ifb")
        netdevns.move({"eth1": "other"}, target.fd, source=third.fd, journal=directory)
    assert target.names() >= {"other"}
    assert records(directory) == before
    assert {r.outcome for r in netdevns.recover(directory)} == {"undone"}


def test_new_device_of_that_name_is_left_alone(host: Namespace, target: Namespace, directory: str) -> None:
    """A tun device has no MAC: a new one with its name is left alone, and the clash of names is reported."""
    host.batch(["tuntap add dev tun0 mode tun", "link set tun0 up", "addr add 10.0.0.1/24 dev tun0"])
    host.batch(["link add eth1 type ifb"])
    killed(directory, target, "move", 1, after=True, devices={"tun0": "net0", "eth1": ""})
    host.ip("tuntap add dev tun0 mode tun")
    before = host.links()["tun0"]
    found = netdevns.recover(directory)
    assert [(r.device, r.outcome, r.location) for r in found] == [
        ("tun0", "kept", "source"),
        ("eth1", "undone", "source"),
    ]
    assert (host.names(), target.names()) == ({"tun0", "net0", "eth1"}, set())
    assert (host.links()["tun0"], host.addresses("tun0")) == (before, [])
    if not kinds.honours_new_ifindex():  # it is in the source under another name and another ifindex
        return
    host.ip("link del tun0")
    assert [(r.device, r.outcome, r.text) for r in netdevns.recover(directory) if r.outcome != "undone"] == []
    assert [a.address for a in host.addresses("tun0", family=2)] == ["10.0.0.1"]


def test_move_is_refused_while_an_earlier_one_cannot_be_undone(
    host: Namespace, target: Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    """An earlier move that cannot be undone refuses the next, and names the record and the command to type."""
    host.batch(["tuntap add dev tun0 mode tun", "link set tun0 up"])
    killed(netdevns.JOURNAL_DIR, target, "move", 1, after=True, devices={"tun0": "net0"})
    host.ip("tuntap add dev tun0 mode tun")
    before = host.links()["tun0"]
    assert main(["move", "tun0", "--to", target.path]) == 2
    said = capsys.readouterr().err
    assert "tun0: an earlier move was killed and cannot be undone: " in said
    (record,) = (f"{netdevns.JOURNAL_DIR}/txn/{name}" for name in records(netdevns.JOURNAL_DIR))
    assert f"({record})" in said
    assert "netdevns: next: " in said
    assert " recover\n" in said
    if not kinds.honours_new_ifindex():  # the device is in the source under another name and another ifindex
        os.unlink(record)
        return
    assert (host.links()["tun0"], host.names(), target.names()) == (before, {"tun0", "net0"}, set())
    host.ip("link del tun0")
    assert main(["recover"]) == 0
    assert host.links()["tun0"].ifindex != before.ifindex
    assert main(["move", "tun0", "--to", target.path]) == 0


def test_move_of_another_device_leaves_the_record(sides: tuple[Namespace, Namespace], directory: str) -> None:
    """A record is recovered only by a move that names one of its devices."""
    _, target = sides
    killed(directory, target, "move", 2)
    netdevns.move({"other": ""}, target.fd, journal=directory)
    assert len(records(directory)) == 1
    assert {r.outcome for r in netdevns.recover(directory)} == {"undone"}


@pytest.mark.usefixtures("sides")
def test_target_died(directory: str) -> None:
    """A virtual device that was deleted with its namespace is reported, and the record is dropped."""
    with Namespace.create("short-lived") as short:
        killed(directory, short, "move", 2)
    found = {r.device: r for r in netdevns.recover(directory)}
    assert (found["eth0"].outcome, found["eth0"].location) == ("gone", "gone")
    ends = "in neither namespace: a veth ends with its network namespace, unless the container had moved it on"
    assert found["eth0"].text == ends
    assert found["eth1"].outcome == "undone"
    assert records(directory) == []


@pytest.mark.parametrize("is_target_gone", [True, False])
def test_new_device_of_that_name_and_mac(host: Namespace, directory: str, is_target_gone: bool) -> None:
    """P5: a new veth with the name and MAC of one that has ended, but another ifindex and peer, is not changed."""
    mac = "address 02:00:00:00:00:77"
    host.batch([f"link add dev7 {mac} type veth peer name peer7", "addr add 10.7.0.1/24 dev dev7"])
    target = Namespace.create("short-lived")
    killed(directory, target, "move", 1, after=True, devices={"dev7": "net7"})
    if is_target_gone:
        target.close()
        wait_until(lambda: "peer7" not in host.names())
    else:
        target.ip("link del net7")
    host.batch([f"link add dev7 index 777 mtu 1300 {mac} type veth peer name peer7 index 778", "link set dev7 alias x"])
    with Untouched(host):
        (found,) = netdevns.recover(directory)
    assert (found.outcome, found.location) == ("kept", "gone" if is_target_gone else "unknown")
    assert found.text == (NAMESAKE if is_target_gone else NOT_FOUND)
    with Namespace.create("third") as third:  # the new one may move
        assert [m.name for m in netdevns.move({"dev7": ""}, third.fd, journal=directory)] == ["dev7"]
    target.close()


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES])
def test_namespace_that_cannot_be_opened(
    sides: tuple[Namespace, Namespace], directory: str, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """P8: a namespace that cannot be examined is not taken for gone: the record is kept for the next call."""
    host, target = sides
    killed(directory, target, "move", 2)
    away, real = os.stat(f"/proc/self/fd/{target.fd}").st_ino, netns.NetNS.open

    def open_(where: Any) -> netns.NetNS:
        found = real(where)
        if os.fstat(found.fd).st_ino == away:
            found.close()
            raise netdevns.NetDevError("no", errno=error)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(netns.NetNS, "open", open_)
        kept = netdevns.recover(directory)
    assert {(each.outcome, each.location) for each in kept} == {("kept", "unknown")}
    assert all(os.strerror(error) in each.text for each in kept)
    assert len(records(directory)) == 1
    assert {each.outcome for each in netdevns.recover(directory)} == {"undone"}
    assert host.names() > {"eth0", "eth1"}


@pytest.mark.usefixtures("sides")
def test_another_pid_namespace(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """P8: in another pid namespace than the mover's, a namespace that is not found does not count as gone."""
    with Namespace.create("short-lived") as short:
        killed(directory, short, "move", 2)
    with monkeypatch.context() as patch:
        patch.setattr(identity, "PID_NS", "/proc/self/ns/uts")  # another inode
        kept = netdevns.recover(directory)
        assert {each.outcome for each in kept} == {"kept"}
        assert all("another pid namespace" in each.text for each in kept)
        (record,) = (Path(directory, "txn", name) for name in records(directory))
        (where,) = (s for s in layout.parse(record.read_bytes()) if s.type == layout.TARGET)
        attrs = {layout.A_OF_PID: 4194305, layout.A_OF_START: 7, layout.A_PID_NS: where.number(layout.A_PID_NS)}
        parts = b"".join(layout.section(layout.TARGET, attrs))  # of a process that does not exist
        ended = layout.Section(layout.TARGET, wire.attrs(next(wire.messages(parts)).body))
        assert not identity.is_orphan(ended)
    assert identity.is_orphan(ended)
    assert {each.outcome for each in netdevns.recover(directory)} == {"gone", "undone"}


def test_command(sides: tuple[Namespace, Namespace], capsys: pytest.CaptureFixture[str]) -> None:
    """DESIGN 4.2: `recover --list` shows pending records, `recover` its results, `--json` either in one document."""
    host, target = sides
    before = host.dump()
    killed(netdevns.JOURNAL_DIR, target, "move", 2)
    assert main(["recover", "--list"]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("killed: /run/netdevns/txn/")
    assert listed.endswith(": eth0 -> net0, eth1 -> net%d; run `netdevns recover`\n")
    assert main(["recover", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["recovered"]
    assert [(r["device"], r["outcome"]) for r in results] == [("eth0", "undone"), ("eth1", "undone")]
    assert main(["recover"]) == 0
    assert capsys.readouterr().out == "nothing to recover\n"
    assert_equal_soon(before, host)


def test_commands_name_the_record(sides: tuple[Namespace, Namespace], capsys: pytest.CaptureFixture[str]) -> None:
    """`check` and `show` name the record of a killed move; the next `move` says what it restored first."""
    _, target = sides
    killed(netdevns.JOURNAL_DIR, target, "move", 2)
    line = "eth0: a killed move of it is recorded (/run/netdevns/txn/"
    assert main(["check", "eth0", "--to", target.path]) == 2
    assert line in capsys.readouterr().out
    assert main(["show", "eth0"]) == 2
    assert line in capsys.readouterr().err
    assert main(["show"]) == 0
    shown = capsys.readouterr().out
    assert [each in shown for each in (line, line.replace("eth0", "eth1"))] == [True, True]
    assert main(["show", "--netns", target.path]) == 0
    assert "killed" not in capsys.readouterr().out
    with Namespace.create("third") as third:  # another device of that name
        assert main(["check", "eth0", "--from", third.path, "--to", target.path]) == 2
    assert "killed" not in capsys.readouterr().out
    assert main(["move", "eth1=net1", "--to", target.path]) == 0
    words = "restored first, after a killed move or an ended container: restored"
    assert capsys.readouterr().err.splitlines()[:2] == [f"netdevns: {device}: {words}" for device in DEVICES]


def test_move_after_devices_that_ended(sides: tuple[Namespace, Namespace], capsys: pytest.CaptureFixture[str]) -> None:
    """The next move of one of them says that the others ended with their namespace, not that they were restored."""
    host, target = sides
    with Namespace.create("short-lived") as short:
        killed(netdevns.JOURNAL_DIR, short, "verify", 2)
        short.give("net0", target)
    wait_until(lambda: "mv0" not in host.names(), "eth1 has ended, and what was on it")
    assert main(["move", "eth0=new", "--to", target.path]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "restored first" in line] == []
    after = "gone, after a killed move or an ended container: in neither namespace"
    assert [line for line in said if line.startswith(f"netdevns: eth1: {after}")], said


def test_failed_move_after_a_killed_one(sides: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the devices that were restored first, although this move was undone as well."""
    _, target = sides
    killed(netdevns.JOURNAL_DIR, target, "verify", 1)

    def fail(_: int) -> None:
        raise engine.EngineError(errno.ENOMEM, "made to fail", "exchange")

    monkeypatch.setattr(*steps.before("up_and_replay", fail))
    with pytest.raises(netdevns.MoveFailed) as raised:
        netdevns.move(DEVICES, target.fd, journal=netdevns.JOURNAL_DIR)
    assert [(each.device, each.outcome) for each in raised.value.earlier] == [(name, "undone") for name in DEVICES]


def test_recovery_is_interrupted_while_it_waits(sides: tuple[Namespace, Namespace]) -> None:
    """For another mover of a device: it says that it did not check the record, and keeps it."""
    _, target = sides
    killed(netdevns.JOURNAL_DIR, target, "verify", 1)
    patience = exclusion.Patience(0, None)
    with exclusion.Exclusion(patience, is_must=True) as other, netns.NetNS.open(netns.CURRENT) as here:
        other.hold(here, [101])  # eth0
        with subprocess.Popen(
            [sys.executable, "-m", "netdevns", "recover"], stdout=subprocess.PIPE, text=True
        ) as waits:
            wait_until(lambda: blocks(waits.pid, signal.SIGTERM), "it has begun")
            time.sleep(0.3)
            waits.send_signal(signal.SIGTERM)
            said, _ = waits.communicate(timeout=30)
            assert waits.returncode == 1
    assert "eth0: kept: not checked: interrupted by SIGTERM" in said
    assert {each.outcome for each in netdevns.recover()} == {"undone"}


def test_show_and_list_only_look(sides: tuple[Namespace, Namespace], capsys: pytest.CaptureFixture[str]) -> None:
    """Neither locks a record nor removes what a killed writer left; of another source `show` says nothing."""
    _, target = sides
    killed(netdevns.JOURNAL_DIR, target, "move", 2)
    (record,) = os.listdir(f"{netdevns.JOURNAL_DIR}/txn")
    half = Path(netdevns.JOURNAL_DIR, "txn", ".0123456789abcdef")
    half.touch(0o600)
    os.utime(half, (0, 0))
    with open(f"{netdevns.JOURNAL_DIR}/txn/{record}", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main(["recover", "--list"]) == 0
        assert capsys.readouterr().out.startswith("running: ")
        assert main(["show"]) == 0
        assert "killed" not in capsys.readouterr().out
        fcntl.flock(file, fcntl.LOCK_SH)  # which a lock of theirs would not get
        fcntl.flock(file, fcntl.LOCK_UN)
    calls: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", lambda *asked: calls.append(asked))
        assert (main(["show"]), main(["recover", "--list"])) == (0, 0)
        assert capsys.readouterr().out.count("killed") == 3
        with target.entered():
            assert main(["show"]) == 0
        assert "killed" not in capsys.readouterr().out
    assert (calls, half.exists()) == ([], True)
    assert {each.outcome for each in netdevns.recover(netdevns.JOURNAL_DIR)} == {"undone"}
