"""P5: the life of a loan: it is written, found, completed after an interruption, and removed."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
from pathlib import Path

import pytest

import netdevns
from netdevns.cli.main import main
from netdevns.recovery import layout, loaded_record, loans, return_home, returns, store
from tests.support.namespaces import Namespace
from tests.support.restored import Restored, assert_equal_soon

from .lending import HOME, end, furnished, kept, lend, once, outcomes, throw_back, without_shared_routes


@pytest.fixture
def host(host: Namespace, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    return furnished(host, monkeypatch)


def test_another_boot(host: Namespace, target: Namespace, directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """P5: a reboot resets all devices: an older loan is dropped."""
    lend(directory, target)
    throw_back(target, ["net0", "net1"], host)
    before = host.dump()
    monkeypatch.setattr(layout, "boot_id", lambda: b"another")
    assert loans.listed(directory) == []
    results = returns.return_loans(directory)
    assert outcomes(results) == [("eth1", "gone", "gone"), ("eth2", "gone", "gone")]
    assert results[0].text == returns.BEFORE_BOOT
    assert_equal_soon(before, host)
    assert kept(directory) == []


def test_damaged_loan(host: Namespace, target: Namespace, directory: str) -> None:
    """P5: a loan that cannot be trusted is ignored, reported once and set aside; others are used."""
    before = host.dump()
    lend(directory, target)
    path = Path(directory) / "loan" / "c2"
    path.write_bytes((Path(directory) / "loan" / "c1").read_bytes()[:-9])
    path.chmod(0o600)
    throw_back(target, ["net0", "net1"], host)
    end(target)
    results = returns.return_loans(directory)
    assert [each for each in outcomes(results) if each[0]] == HOME
    (bad,) = (each for each in results if each.device is None)
    assert (bad.outcome, bad.record) == ("kept", f"{directory}/aside/c2.undo")
    assert bad.text.startswith("record ignored: ")
    assert kept(directory) == []
    assert returns.return_loans(directory) == []
    assert_equal_soon(before, host, shown=without_shared_routes)


def test_only_devices_that_arrived(
    host: Namespace, target: Namespace, directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P5: one look at the initial namespace selects the loans and opens no other; if it fails, all are tried."""
    monkeypatch.setattr(loaded_record, "SURVIVING_KINDS", (b"veth",))
    before = host.dump()
    lend(directory, target, {"eth1": "net0"}, "c1")
    lend(directory, target, {"eth2": "net1"}, "c2")
    asked = []
    real = return_home.ReturnHome.run
    monkeypatch.setattr(
        return_home.ReturnHome, "run", lambda self, *more: asked.append(self.record.name) or real(self, *more)
    )
    assert returns.return_loans(directory, has_arrived=True) == []
    throw_back(target, ["net0"], host)
    assert outcomes(returns.return_loans(directory, has_arrived=True)) == HOME[:1]
    assert asked == ["c1"]
    monkeypatch.setattr(loaded_record, "INIT", "/proc/1/ns/missing")
    assert outcomes(returns.return_loans(directory, has_arrived=True)) == [("eth2", "kept", "target")]
    monkeypatch.undo()
    throw_back(target, ["net1"], host)
    returns.return_loans(directory)
    assert_equal_soon(before, host, shown=without_shared_routes)


@pytest.mark.parametrize("step", ["_free_names", "_prepare", "_outcome", "_end"])
def test_interrupted_anywhere(
    host: Namespace, target: Namespace, directory: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """P5: an interrupted call leaves the loan unchanged, and the next call completes it."""
    before = host.dump()
    lend(directory, target)
    throw_back(target, ["net0", "net1"], host)
    end(target)

    def strike(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(return_home.ReturnHome, step, strike)
        with pytest.raises(KeyboardInterrupt):
            returns.return_loans(directory)
    assert kept(directory) == ["c1"]
    assert outcomes(returns.return_loans(directory)) == HOME
    assert_equal_soon(before, host, shown=without_shared_routes)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("ends", [False, True])
def test_killed_at_the_loan(
    host: Namespace, target: Namespace, directory: str, when: str, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P4, P5: killed just before or after the loan is written: the move is undone, and no loan of it is left."""
    before = host.dump()

    def strike(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        with monkeypatch.context() as patch:
            patch.setattr(
                loans.Lender if when == "before" else store.Record, "lend" if when == "before" else "drop", strike
            )
            lend(directory, target)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    if ends:
        throw_back(target, ["net0", "net1"], host)
        end(target)
    assert {each.outcome for each in netdevns.recover(directory)} == {"undone"}
    assert_equal_soon(before, host, shown=once)
    assert kept(directory) == []


def test_listing_takes_no_lock(host: Namespace, target: Namespace, directory: str) -> None:
    """P5: a call waits for a loan that another process holds, and then names it; listing loans locks none."""
    lend(directory, target)
    throw_back(target, ["net0", "net1"], host)
    end(target)
    with store.Journal(directory, create=False, folder=loans.FOLDER) as opened:
        (record,) = opened.crashed()
        assert [x.device for x in loans.listed(directory)] == ["eth1", "eth2"]
        (held,) = returns.return_loans(directory)
        assert (held.record, held.text) == (f"{directory}/loan/c1", returns.HELD)
        assert returns.sweep(directory) == []
        threading.Timer(0.3, record.close).start()
        assert outcomes(returns.return_loans(directory, container="c1", held_s=60)) == HOME


def test_loan_that_cannot_be_written(
    host: Namespace, target: Namespace, directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P1: if the loan cannot be written, the move is undone; without the folder of loans it does not begin."""
    before = host.dump()
    os.makedirs(directory, mode=0o700)
    Path(directory, "loan").write_text("")
    with pytest.raises(NotADirectoryError):
        lend(directory, target)
    assert_equal_soon(before, host)
    Path(directory, "loan").unlink()

    real = store.Journal.write

    def write(self: store.Journal, *args: object, **more: object) -> store.Record:
        if self.path.endswith(loans.FOLDER):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(store.Journal, "write", write)
    with pytest.raises(netdevns.MoveFailed, match="the record of this move could not be written"):
        lend(directory, target)
    assert_equal_soon(before, host)
    assert os.listdir(f"{directory}/txn") == []


def test_two_loans_of_one_container(host: Namespace, target: Namespace, directory: str) -> None:
    """P5: a container with the id of an earlier one does not replace the earlier one's loan."""
    lend(directory, target, {"eth1": "net0"}, "a/b")
    lend(directory, target, {"eth2": "net1"}, "a/b")
    assert len(kept(directory)) == 2
    assert all(name.startswith("a%2Fb") for name in kept(directory))
    assert sorted(x.device for x in loans.listed(directory)) == ["eth1", "eth2"]
    assert {x.container for x in loans.listed(directory)} == {"a/b"}
    assert returns.return_loans(directory, container="a%2Fb") == []
    throw_back(target, ["net0", "net1"], host)
    end(target)
    assert sorted(outcomes(returns.return_loans(directory, container="a/b"))) == HOME


def test_only_loans_of_these_devices(host: Namespace, target: Namespace, directory: str) -> None:
    """P5: a hook returns loans of its own devices only."""
    lend(directory, target, {"eth1": "net0"}, "c1")
    lend(directory, target, {"eth2": "net1"}, "c2")
    throw_back(target, ["net0", "net1"], host)
    end(target)
    assert outcomes(returns.return_loans(directory, devices=[b"eth2"])) == HOME[1:]
    assert "net0" in host.names()
    assert kept(directory) == ["c1"]
    returns.return_loans(directory)


def test_recover_leaves_loans_alone(host: Namespace, target: Namespace, directory: str) -> None:
    """P5: `recover` ignores loans."""
    lend(directory, target)
    for side in host, target:
        side.wait_until_quiet()  # the peers have just lost their carrier
    with Restored(host, target):
        assert netdevns.recover(directory) == ()
    assert kept(directory) == ["c1"]


def test_return_command(
    host: Namespace,
    target: Namespace,
    directory: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """DESIGN 4.2: `return [CONTAINER]` prints a line for each device, or {"recovered": [...]}; 3 on failure."""
    real = returns.return_loans
    monkeypatch.setattr(returns, "return_loans", lambda **how: real(directory, **how))
    assert main(["return"]) == 0
    assert capsys.readouterr().out == "nothing is on loan; nothing to do\n"
    lend(directory, target)
    assert main(["return"]) == 0
    assert "eth1: kept: its network namespace still exists" in capsys.readouterr().out
    listed = loans.listed
    monkeypatch.setattr(loans, "listed", lambda **which: listed(directory, **which))
    assert main(["return", "c9"]) == 0
    assert capsys.readouterr().out == "nothing is on loan to c9, but to c1; nothing to do\n"
    host.ip("link add eth1 type ifb")
    throw_back(target, ["net0", "net1"], host)
    end(target)
    assert main(["return", "c1", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)["recovered"]
    assert [(x["device"], x["outcome"]) for x in found] == [("eth1", "kept"), ("eth2", "undone")]
    host.ip("link del eth1")
    assert main(["return"]) == 0
    assert "eth1: undone: restored" in capsys.readouterr().out
