"""A move is killed (SIGKILL) at any of its system calls: `netdevns recover` then finds or makes a whole state.

That is exactly the state before, or exactly the complete one; of the other engine is the recovery. Short: a few places
at random; NETDEVNS_ATTACK=long: all of those that send something or touch the record, and of the others some.
"""

from __future__ import annotations

import time

import pytest

from tests.support.attacks import CHANCE, LONG, Tally, finish, sample

from .attack import CALLS, MOVE, UNDONE, Attacks, run

RECORD = ("openat", "write", "rename", "renameat", "unlink", "unlinkat", "flock", "close")


@pytest.mark.parametrize(("group", "few"), [("sendto", 4), ("recvmmsg", 1), ("record", 2)])
def test_killed_at_one_call(attacks: Attacks, tally: Tally, group: str, few: int) -> None:
    """Killed at the entry of one call: what came before it was done, it was not."""
    calls = RECORD if group == "record" else CALLS[group]
    reached = [(call, number) for call in calls for number in attacks.clean.numbers(call)]
    for call, number in sample(reached, few, 12 if group == "recvmmsg" else None):
        attacks.kill(tally, f"{call}:signal=KILL:when={number}")
    assert not LONG or group == "record" or tally.ends[UNDONE]


def test_killed_in_the_undo(attacks: Attacks, tally: Tally) -> None:
    """An answer is lost, and the undo of that is killed at one of its sends."""
    answers = list(attacks.clean.numbers("recvmmsg"))
    for number in sample(answers[len(answers) * 3 // 4 :], 4, 8):
        fault = f"recvmmsg:error=ENOBUFS:when={number}"
        probe = run(attacks.scene, attacks.engine, MOVE, fault, "sendto:delay_enter=0:when=1")
        attacks.renew()
        if probe.code == 0:
            continue  # of what was to be heard of, not of what was asked: nothing is undone
        for send in sample(range(number + 1, probe.calls.count("sendto") + 1), 2, 6):
            attacks.kill(tally, fault, f"sendto:signal=KILL:when={send}")
        if not LONG:
            break
    assert tally.ends[UNDONE]


def test_group_killed_at_any_time(attacks: Attacks, tally: Tally) -> None:
    """The move and all of its process group are killed from outside, at any time."""
    scene = attacks.scene
    begun = time.monotonic()
    _, _, code = finish(scene.command(attacks.engine, *MOVE))
    lasts_s = time.monotonic() - begun
    assert code == 0
    attacks.renew()
    for _ in range(20 if LONG else 2):
        attacks.kill_group(tally, CHANCE.uniform(0.05, lasts_s))


def test_recovery_killed(attacks: Attacks, tally: Tally) -> None:
    """The recovery is killed, too; the next one ends what it began."""
    sends = list(attacks.clean.numbers("sendto"))
    killed = f"sendto:signal=KILL:when={sends[len(sends) * 3 // 4]}"
    for send in sample(range(1, 40), 1, 10):
        attacks.kill_recovery(tally, killed, f"sendto:signal=KILL:when={send}")
    assert tally.ends[UNDONE]
