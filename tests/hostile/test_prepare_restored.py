"""A killed `prepare`, and an undo that is refused: each device that was restored or kept meanwhile is named."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.prepared import NAME, PATH, PREPARE, UNDO, Host
from tests.support.attacks import finish
from tests.support.processes import wait_until

ASIDE, LOAN = Path("/run/netdevns/aside"), Path("/run/netdevns/loan", NAME)
FIRST = "netdevns: eth1: restored first, after a killed move or an ended container: restored\n"
UNTOUCHED_ELSE = "netdevns: nothing else was touched\n"
# Killed once the device is in the namespace.
KILLED = """
import os, signal, sys
from netdevns.cli.main import main
from tests.support import steps
setattr(*steps.after("move", lambda _: os.kill(os.getpid(), signal.SIGKILL)))
main(sys.argv[1:])
"""


@pytest.fixture
def host() -> Iterator[Host]:
    with Host("native") as found:
        yield found


@pytest.fixture
def killed(host: Host) -> Host:
    """The host after a `prepare` that was killed."""
    process = host.python("-c", KILLED, *PREPARE)
    out, err, code = finish(process)
    assert (out, code) == ("", -signal.SIGKILL), err
    assert "eth1" not in host.host.names()
    return host


@pytest.fixture
def sleeper(killed: Host) -> Iterator[int]:  # noqa: ARG001  # its namespace
    """A process in the namespace."""
    with subprocess.Popen(["ip", "netns", "exec", NAME, "sleep", "100"]) as process:
        wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "it has entered the namespace")
        yield process.pid
        process.kill()


# ---- killed moves ----------------------------------------------------------------------------------------------------


def test_undo_names_the_device_of_a_killed_move(killed: Host) -> None:
    """It was in the namespace: "no device was in it" would not be true."""
    out, err, code = killed.plain(*UNDO)
    assert (err, code) == ("", 0)
    assert out.startswith("eth1: undone: restored (/run/netdevns/txn/"), out
    assert (killed.differs(), killed.left()) == ([], [])


def test_recover_reports_the_namespace_that_it_removes(killed: Host) -> None:
    """After the device of the killed move, with the same fields."""
    out, err, code = killed.plain("recover", "--json")
    device, removed = json.loads(out)["recovered"]
    assert (err, code, device["device"], device["outcome"]) == ("", 0, "eth1", "undone")
    assert (removed["record"], removed["device"], removed["outcome"]) == (str(PATH), None, "undone")
    assert (
        removed["text"]
        == "the empty namespace is removed: the `netdevns prepare` that made it was killed, or could not remove it"
    )
    assert (killed.differs(), killed.left()) == ([], [])


def test_refused_undo_names_the_restored_device(killed: Host, sleeper: int) -> None:
    """A process is in the namespace: the device of the killed move is home, and nothing else was touched."""
    out, err, code = killed.plain(*UNDO)
    assert (out, code) == ("", 2)
    refusal, *rest = err.splitlines(keepends=True)
    assert f"process {sleeper} (sleep) is in it" in refusal
    assert rest == [FIRST, UNTOUCHED_ELSE]
    assert killed.differs() == []


def test_refused_undo_names_the_restored_device_in_json(killed: Host, sleeper: int) -> None:
    """The document has the result, as that of `recover` has."""
    out, err, code = killed.plain(*UNDO, "--json")
    document = json.loads(out)
    (found,) = document["recovered"]
    assert (found["device"], found["outcome"], found["location"]) == ("eth1", "undone", "source")
    assert f"process {sleeper} " in document["error"]["text"]
    assert document["error"]["rolled_back"] is True
    assert (code, err.endswith(UNTOUCHED_ELSE)) == (2, True), err


def test_refused_undo_names_the_device_that_is_not_restored(killed: Host, sleeper: int) -> None:
    """Its name is taken on the host: each call says so, and the last one that the record is set aside."""
    killed.host.ip("link add eth1 type ifb")
    said = []
    for number in range(3):
        out, err, code = killed.plain(*UNDO, *(["--json"] if number == 1 else []))
        assert code == 3, err
        refusal, device, verdict = err.splitlines(keepends=True)
        assert f"process {sleeper} (sleep) is in it" in refusal
        assert device.startswith("netdevns: eth1: in its old namespace; not restored: "), device
        assert "it has another name; it is named net0" in device
        assert verdict == UNTOUCHED_ELSE
        said.append("set aside after 3 tries" in device)
        if out:
            document = json.loads(out)
            (kept,) = document["recovered"]
            assert (kept["device"], kept["outcome"], document["error"]["rolled_back"]) == ("eth1", "kept", False)
            (left,) = document["error"]["left"]
            assert (left["device"], left["location"], left["missing"]) == ("eth1", "source", [kept["text"]])
    assert said == [False, False, True]
    assert len(os.listdir(ASIDE)) == 1
    out, err, code = killed.plain(*UNDO)
    assert (out, code) == ("", 2)
    assert err.endswith("netdevns: nothing was touched\n")
    assert PATH.exists()


def test_prepare_names_the_device_of_a_killed_move(killed: Host) -> None:
    """It was restored, then moved."""
    assert_restored_first(killed)


def assert_restored_first(host: Host) -> None:
    """`prepare` succeeds and names the device; the undo leaves nothing."""
    out, err, code = host.plain(*PREPARE)
    assert (out, code) == (f"{PATH}\n", 0), err
    assert err.startswith(FIRST), err
    assert host.plain(*UNDO)[2] == 0
    assert (host.differs(), host.left()) == ([], [])


# ---- loans -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def back(host: Host) -> Host:
    """The host, with a device that was on loan to a container and was brought back by hand, without its settings."""
    _, err, code = host.plain("hook", "createRuntime", "eth1=net0")
    assert code == 0, err
    host.target.ip("link set net0 down")
    host.target.give("net0", host.host)
    host.host.ip("link set net0 name eth1")
    assert not host.host.links()["eth1"].up
    return host


def test_prepare_names_the_device_of_a_loan(back: Host) -> None:
    """Its settings were restored, then it was moved."""
    assert_restored_first(back)


@pytest.mark.parametrize("wanted", ["lo", "a/b"])
def test_refused_prepare_names_the_device_of_a_loan(back: Host, wanted: str) -> None:
    """ "nothing was touched" would not be true: its settings were restored."""
    out, err, code = back.plain("prepare", NAME, f"eth1={wanted}")
    assert (out, code) == ("", 2)
    assert err.endswith(FIRST + UNTOUCHED_ELSE), err
    assert (back.differs(), back.left()) == ([], [])


@pytest.mark.parametrize("wanted", ["net1", "lo"])
def test_prepare_names_the_device_that_a_loan_did_not_restore(back: Host, wanted: str) -> None:
    """It came back under another name, and another device has its own, which is moved, or refused."""
    back.host.ip("link set eth1 name net0")
    back.host.ip("link add eth1 type ifb")
    out, err, code = back.plain("prepare", NAME, f"eth1={wanted}")
    assert (out, code) == (("", 2) if wanted == "lo" else (f"{PATH}\n", 0)), err
    assert 'eth1: not restored completely, and named net0: name "eth1" is taken' in err
    assert "restored first" not in err


# ---- what another process holds --------------------------------------------------------------------------------------

HELD = "another process is restoring it; repeat this"


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process works on this record."""
    with subprocess.Popen(["flock", str(path), "sleep", "60"], start_new_session=True) as other:
        wait_until(lambda: subprocess.run(["flock", "--nonblock", path, "true"], check=False).returncode, "it is held")
        try:
            yield
        finally:
            os.killpg(other.pid, signal.SIGKILL)


@pytest.mark.thorough
def test_undo_names_the_loan_that_is_held(host: Host) -> None:
    """Its device is not one that `prepare` did not move there, which the user is to move away by hand."""
    assert host.plain(*PREPARE)[2] == 0
    with held(LOAN):
        assert host.plain(*UNDO) == (f"{LOAN}: kept: {HELD}\n", "", 3)
    assert host.plain(*UNDO)[2] == 0
    assert (host.differs(), host.left()) == ([], [])


@pytest.mark.thorough
def test_return_names_the_loan_that_is_held(host: Host) -> None:
    """It is on loan: "nothing is on loan" would not be true."""
    assert host.plain(*PREPARE)[2] == 0
    with held(LOAN):
        assert host.plain("return") == (f"{LOAN}: kept: {HELD}\n", "", 3)
        assert host.plain("return", "c1")[2] == 0
    out, _, code = host.plain("return")
    assert (code, out.startswith("eth1: kept: its network namespace still exists")) == (0, True), out


def test_return_waits_for_a_loan_that_is_held_for_a_moment(host: Host) -> None:
    """A poststop hook holds it while udev starts `return --arrived`: that is no failure."""
    assert host.plain(*PREPARE)[2] == 0
    with held(LOAN):
        process = host.python("-m", "netdevns", "return")
        time.sleep(1)
    out, _, code = finish(process)
    assert (code, out.startswith("eth1: kept: its network namespace still exists")) == (0, True), out


def test_undo_names_the_killed_move_that_is_held(killed: Host) -> None:
    """It is refused, also with --force: the device is in the namespace, and another process restores it."""
    busy = "another process is moving a device into it, or undoing such a move; repeat this"
    (record,) = Path("/run/netdevns/txn").iterdir()
    with held(record):
        for options in ((), ("--force",)):
            assert killed.plain(*UNDO, *options) == (
                "",
                f"netdevns: {PATH}: {busy}\nnetdevns: nothing was touched\n",
                2,
            )
    assert killed.plain(*UNDO)[2] == 0
    assert (killed.differs(), killed.left()) == ([], [])


def test_signal_while_an_undo_waits_for_a_loan(host: Host) -> None:
    """It ends, and names the devices that it has restored."""
    assert host.plain(*PREPARE)[2] == 0
    host.host.ip("link add eth2 type ifb")
    assert host.plain("prepare", NAME, "eth2")[2] == 0
    with held(LOAN):
        process = host.python("-m", "netdevns", *UNDO)
        wait_until(lambda: [*LOAN.parent.iterdir()] == [LOAN], "the other loan is settled")
        process.send_signal(signal.SIGTERM)
        out, err, code = finish(process)
    assert (err, code) == ("", 3)
    device, rest = out.splitlines()
    assert device.startswith("eth2: undone: restored"), device
    assert rest == f"{PATH}: kept: not checked: interrupted by SIGTERM"
