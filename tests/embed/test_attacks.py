"""The small runtime is killed at each of its system calls and recovered, or each of them fails: nothing is lost.

A sample of the calls; NETDEVNS_ATTACK=long: all of them, and each fails in each of the ways.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fault.attack import UNDONE
from tests.support import require
from tests.support.attacks import AS_BEFORE, CHANCE, COMPLETE, FULL, LONG, REPORTED, Tally, sample

from .attack import FAILING_START, RECOVER, START, Attacks, Call

ERRORS = ("ENOBUFS", "ENOMEM", "EIO", "EPERM")
# Calls that cannot fail. close(2) closes even on error, which strace would prevent; brk(2) has no errno.
HARMLESS = {"exit_group", "close", "brk"}


@pytest.fixture(scope="module")
def attacks(tmp_path_factory: pytest.TempPathFactory, complete: dict[str, Any]) -> Iterator[Attacks]:
    if not shutil.which("strace"):
        require("netns", "no strace here")
    with Attacks(tmp_path_factory.mktemp("attacks"), complete) as found:
        yield found


@pytest.fixture(scope="module")
def start_calls(attacks: Attacks) -> list[Call]:
    """Those of a start that succeeds."""
    found = attacks.calls(START)
    attacks.renew()
    return found


@pytest.mark.timeout(1800)
def test_killed_at_any_call(attacks: Attacks, start_calls: list[Call], tally: Tally) -> None:
    """A start that would succeed: before the first change, in the move, and when the process already runs."""
    names = [call.name for call in start_calls]
    # A twentieth of the calls are between the record and the child's last answer.
    record, runs = names.index("linkat"), len(names) - names[::-1].index("recvfrom")
    before, during, after = (28, 8, 6) if FULL else (14, 4, 3)
    killed = [*sample(start_calls[:record], before), *sample(start_calls[record:runs], during)]
    for call in [*killed, *sample(start_calls[runs:], after)]:
        attacks.kill(tally, START, call.inject("signal=KILL"))
    assert {AS_BEFORE, UNDONE, COMPLETE} <= {*tally.ends}


@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_killed_in_the_undo(attacks: Attacks, tally: Tally) -> None:
    """A start whose execve fails: at any call from there on."""
    every = attacks.calls(FAILING_START)
    begin = every.index(Call("kill", 1))
    for call in sample(every[begin:], 30):
        attacks.kill(tally, FAILING_START, call.inject("signal=KILL"))
    assert tally.ends[UNDONE]


@pytest.mark.thorough
@pytest.mark.timeout(1800)
def test_recovery_is_killed(attacks: Attacks, start_calls: list[Call], tally: Tally) -> None:
    """The next one ends what it began."""
    sends = [call for call in start_calls if call.name == "sendto"]
    killed = sends[len(sends) * 3 // 4].inject("signal=KILL")
    attacks.run(START, killed)
    every = attacks.calls(RECOVER)
    attacks.scene.is_as_before()
    for call in sample(every, 20):
        attacks.run(START, killed)
        attacks.run(RECOVER, call.inject("signal=KILL"))
        attacks.recovered(tally, f"recover: {call}")
    assert tally.ends[UNDONE]


@pytest.mark.timeout(1800)
def test_one_call_fails(attacks: Attacks, start_calls: list[Call], tally: Tally) -> None:
    """All devices arrive or all are restored; the rest is reported, and a recovery restores it."""
    reached = [call for call in start_calls if call.name not in HARMLESS]
    for call in sample(reached, 30 if FULL else 15):
        for error in ERRORS if LONG else [CHANCE.choice(ERRORS)]:
            attacks.fault(tally, START, call.inject(f"error={error}"))
    assert {AS_BEFORE, COMPLETE} <= {*tally.ends}


@pytest.mark.timeout(1800)
def test_kernel_cannot_be_asked_any_more(attacks: Attacks, start_calls: list[Call], tally: Tally) -> None:
    """Nor by the undo: exit code 3, and the record is kept for a recovery."""
    sends = [call.number for call in start_calls if call.name == "sendto"]
    for number in sends[:-1]:
        attacks.fault(tally, START, f"sendto:error=ENOBUFS:when={number}+")
    assert tally.ends[REPORTED]
    assert not tally.ends[COMPLETE]


@pytest.mark.parametrize(
    "inject",
    [
        # Calls of the child's: those of its parent of that name and number come after.
        "pivot_root:error=EPERM:when=1",
        "pivot_root:signal=KILL:when=1",
        "umount2:signal=KILL:when=1",
        "mount:error=EPERM:when=2",
        "mount:signal=KILL:when=3",
        "chdir:error=EACCES:when=2",
        # The last one before its execve, when all has moved.
        "chdir:error=EACCES:when=3",
        "chdir:signal=KILL:when=3",
    ],
)
def test_child_fails(attacks: Attacks, tally: Tally, inject: str) -> None:
    """The container's process fails, or is killed, on its way: all is as before."""
    attacks.fault(tally, START, inject, children=True)
    assert tally.ends[AS_BEFORE] == 1
