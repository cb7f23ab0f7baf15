"""A system call of a move fails: all devices arrive or all are restored, or exit code 3 reports the rest.

Each call of a move of four devices, from its first netlink socket on, with each of several errors: the command ends,
without a traceback, and with the exit code that is true; after exit code 3 a recovery puts all back. Short: a few at
random; NETDEVNS_ATTACK=long: each call, in some of the ways; NETDEVNS_FAULTS_ALL=1: in all.
"""

from __future__ import annotations

import itertools

import pytest

from tests.support.attacks import AS_BEFORE, COMPLETE, LONG, REPORTED, Tally, sample

from .attack import CALLS, ERRORS, MOVE, RECOVER, Attacks, clear_records, run

NETLINK = ("sendto", "recvmmsg")
# Errors that must stay invisible: the call is repeated, or its failure changes nothing.
INVISIBLE = {
    "sendto": {"EINTR"},
    "recvmmsg": {"EINTR"},
    "read": {"EINTR"},
    "write": {"EINTR"},
    "close": {*ERRORS},
}
# What cannot fail, or whose failure ends the interpreter.
HARMLESS = {"rt_sigaction", "rt_sigprocmask", "munmap", "mprotect", "brk", "exit_group", "getpid", "gettid", "futex",
            "geteuid", "clock_gettime", "dup", "sigaltstack", "uname", "rt_sigpending"}  # fmt: skip


def test_calls_are_known(attacks: Attacks) -> None:
    """The move makes no call, of those that can fail, that is left out of the attacks."""
    made = set(attacks.clean.calls[attacks.clean.begin :])
    assert made - HARMLESS <= {*itertools.chain(*CALLS.values())}
    assert {"sendto", "recvmmsg", "setns", "close", "read"} <= made


@pytest.fixture
def reached(attacks: Attacks, group: str) -> list[tuple[str, int]]:
    """The calls of a group that a move makes, with their numbers."""
    found = [(call, number) for call in CALLS[group] for number in attacks.clean.numbers(call)]
    if group == "memory" and not found:
        # Decided by Python's allocator, and by a libc that draws random bytes without the kernel.
        pytest.skip("a move of this Python asks the kernel for no memory and no random bytes")
    return found


@pytest.mark.parametrize(
    ("group", "few"), [("sendto", 6), ("recvmmsg", 4), ("sockets", 2), ("files", 4), ("memory", 1)]
)
def test_one_call_fails(attacks: Attacks, reached: list[tuple[str, int]], tally: Tally, group: str, few: int) -> None:
    """One call fails, in one of the ways."""
    tally.may_miss = group == "memory"  # a move makes now one more of these calls, now one less
    every = [(*place, error) for place in reached for error in ERRORS]
    # In the long run each call, in two of the ways.
    for call, number, error in sample(every, few, 2 * len(reached)):
        attacks.fault(tally, f"{call}:error={error}:when={number}", invisible=error in INVISIBLE.get(call, ()))


@pytest.mark.parametrize("call", NETLINK)
def test_call_fails_from_then_on(attacks: Attacks, tally: Tally, call: str) -> None:
    """From one call on all requests fail, those of the undo, too: the report is true."""
    for number in sample(attacks.clean.numbers(call), 2, 14):
        attacks.fault(tally, f"{call}:error=ENOBUFS:when={number}+")
    assert tally.ends[COMPLETE] == 0
    assert not LONG or tally.ends[REPORTED]


@pytest.mark.parametrize("call", NETLINK)
def test_undo_fails_in_parts(attacks: Attacks, tally: Tally, call: str) -> None:
    """One in every few calls fails, in the undo, too: the report is true."""
    steps = sample(itertools.product(list(attacks.clean.numbers(call))[8:], (2, 3, 5, 9)), 2, 16)
    for number, step in steps:
        attacks.fault(tally, f"{call}:error=ENOBUFS:when={number}+{step}")
    assert tally.ends[AS_BEFORE] + tally.ends[REPORTED] + tally.ends[COMPLETE] == len(steps)


# ---- what was wrong once ----


def test_no_close_matters(attacks: Attacks, tally: Tally) -> None:
    """Every close(2) of the move's own fails."""
    first = attacks.clean.numbers("close")[0]
    attacks.fault(tally, f"close:error=EIO:when={first}+", invisible=True)
    assert tally.ends[COMPLETE] == 1


def test_nothing_is_opened_once_the_record_is_written(attacks: Attacks) -> None:
    """From the record on nothing can be opened any more: no module, for one, is loaded only when all has moved."""
    opened = attacks.clean.calls[: attacks.clean.calls.index("flock")].count("openat")
    ended = run(attacks.scene, attacks.engine, MOVE, f"openat:error=EMFILE:when={opened + 1}+")
    assert (ended.code, ended.err) == (0, "")
    assert attacks.scene.differences(attacks.complete) == []
    attacks.renew()


def test_record_that_cannot_be_removed(attacks: Attacks, tally: Tally) -> None:
    """All has moved: it is a warning that the record stays. A recovery says the same, and what it did."""
    attacks.fault(tally, "unlinkat:error=EIO:when=1+", invisible=True)
    assert tally.ends[COMPLETE] == 1
    killed = attacks.clean.numbers("sendto")[-1]
    run(attacks.scene, attacks.engine, MOVE, f"sendto:signal=KILL:when={killed}")
    ended = run(attacks.scene, attacks.engine, RECOVER, "unlinkat:error=EIO:when=1+")
    assert (ended.code, ended.injected) == (0, 1)
    assert ended.err.count("\n") == ended.err.count("remove it yourself") == 1
    attacks.renew()
    assert len(clear_records()) == 1
