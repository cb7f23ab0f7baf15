"""`netdevns prepare` and its undo, killed at each call: no device is lost, and the next command settles the rest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.attacks import FULL, Tally, sample

from .prepared import PATH, PREPARE, UNDO, Host

FEW = 7 if FULL else 4
FAILING = ("mount", "openat", "unshare", "write", "sendto", "linkat", "mkdirat", "umount2", "unlink")


@pytest.fixture
def host() -> Iterator[Host]:
    with Host("native") as found:
        yield found


def settled(host: Host) -> list[str]:
    """What is wrong after `recover`, and `--undo` where a namespace is there still."""
    wrong = []
    out, err, code = host.plain("recover")
    if code:
        wrong.append(f"recover: {code}: {out}{err}")
    if PATH.exists():
        out, err, code = host.plain(*UNDO)
        if code:
            wrong.append(f"--undo: {code}: {out}{err}")
    return wrong + host.differs() + host.left()


def prepared(host: Host) -> None:
    out, err, code = host.plain(*PREPARE)
    assert code == 0, (out, err)


ARGUMENTS = {"prepare": PREPARE, "undo": UNDO}


def calls(host: Host, what: str) -> list[tuple[str, int]]:
    """The calls of a command that succeeds; all is as before it, or, for an undo, before what it undoes."""
    if what == "undo":
        prepared(host)
    whole = host.command(*ARGUMENTS[what])
    assert whole.code == 0, whole
    if what == "prepare":
        assert host.plain(*UNDO)[2] == 0
    return whole.own


@pytest.mark.timeout(1800)
@pytest.mark.sampled(2)
@pytest.mark.parametrize("what", ARGUMENTS)
def test_killed_at_any_call(host: Host, what: str, tally: Tally) -> None:
    """Nothing is lost: `recover`, and `--undo` where it had been complete, leave the host as it was."""
    for call, number in sample(calls(host, what), FEW, 200):
        if what == "undo":
            prepared(host)
        ended = host.command(*ARGUMENTS[what], inject=(f"{call}:signal=KILL:when={number}",))
        tally.count(f"{call} {number}", "killed" if ended.code else "not reached", settled(host), ended)


@pytest.mark.sampled(1, 2)
@pytest.mark.thorough
@pytest.mark.parametrize("what", ARGUMENTS)
def test_failing_calls(host: Host, what: str, tally: Tally) -> None:
    """It is done, or refused, or undone, where a call fails; "nothing was touched" is true; the rest is settled."""
    for call, number in sample([(call, n) for call, n in calls(host, what) if call in FAILING], FEW, 200):
        if what == "undo":
            prepared(host)
        ended = host.command(*ARGUMENTS[what], inject=(f"{call}:error=EIO:when={number}",))
        is_done = ("eth1" in host.host.names()) == (what == "undo")
        untrue = ["internal error", *(["nothing was touched"] if is_done else [])]
        wrong = [text for text in untrue if text in ended.err]
        tally.count(f"{call} {number}", str(ended.code), wrong + settled(host), ended)
