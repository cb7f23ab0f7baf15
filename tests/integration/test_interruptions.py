"""A move that is interrupted, or runs out of time, is undone."""

from __future__ import annotations

import errno
import fcntl
import signal
import time
from collections.abc import Callable

import pytest

import netdevns
from netdevns.system import exclusion
from tests.support.namespaces import Namespace
from tests.support.restored import Restored

from .batch import DEVICES, expect_failed, furnished


@pytest.fixture
def sides(host: Namespace, target: Namespace) -> tuple[Namespace, Namespace]:
    return furnished(host, target)


@pytest.mark.sampled(5)
@pytest.mark.smoke(2)
@pytest.mark.parametrize("step", ["snapshot", "move", "up_and_replay", "verify"])
@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, MemoryError])
def test_interruption(
    sides: tuple[Namespace, Namespace],
    before_step: Callable[..., None],
    step: str,
    nth: int,
    kind: type[BaseException],
) -> None:
    """DESIGN 4.1: any BaseException in between undoes, then propagates; its cause says where everything is."""
    host, target = sides

    def interrupt() -> None:
        raise kind

    before_step(step, nth, interrupt)
    with Restored(host, target):
        with pytest.raises(kind) as raised:
            netdevns.move(DEVICES, target.fd)
        cause = raised.value.__cause__
    assert isinstance(cause, netdevns.MoveFailed)
    assert (cause.step, cause.rolled_back, cause.device) == ("interrupt", True, None)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("part", range(1, 7))
def test_second_interruption_during_the_undo(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None], part: int
) -> None:
    """DESIGN 4.1: a second Ctrl-C in the middle of the undo does not leave it half done."""
    host, target = sides

    def interrupt() -> None:
        raise KeyboardInterrupt

    before_step("verify", 2, interrupt)
    before_step("undo", part, interrupt)
    with Restored(host, target), pytest.raises(KeyboardInterrupt):
        netdevns.move(DEVICES, target.fd)


@pytest.mark.parametrize("count", [2, 3, 4])  # not more: their frames must fit on the alternate stack of pytest
def test_many_signals_at_once(sides: tuple[Namespace, Namespace], before_step: Callable[..., None], count: int) -> None:
    """P1: handlers of several signals that are pending at once, each of which raises, do not end the undo."""
    host, target = sides
    chosen = {signal.SIGRTMIN + n for n in range(count)}

    def strike() -> None:
        for each in chosen:
            signal.raise_signal(each)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, chosen)  # all arrive within one call in C

    # A handler in C, which raises: a Python function would run the other handlers when it is entered.
    before = {each: signal.signal(each, signal.default_int_handler) for each in chosen}
    signal.pthread_sigmask(signal.SIG_BLOCK, chosen)
    try:
        before_step("verify", 2, strike)
        with Restored(host, target), pytest.raises(KeyboardInterrupt):
            netdevns.move(DEVICES, target.fd)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, chosen)
        for each, was in before.items():
            signal.signal(each, was)


@pytest.mark.smoke
@pytest.mark.parametrize("step", ["move", "up_and_replay"])
def test_time_is_over(
    sides: tuple[Namespace, Namespace], before_step: Callable[..., None], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """DESIGN 4.1: when the time is over between two devices, all are back: ETIMEDOUT."""
    host, target = sides
    real = time.monotonic
    # Ten minutes pass at once: before that the devices have as long as they need.
    before_step(step, 2, lambda: monkeypatch.setattr(time, "monotonic", lambda: real() + 600))
    with Restored(host, target):
        error = expect_failed(target, "eth2", "time-out", errno.ETIMEDOUT, timeout_s=600)
    assert "time" in str(error)


def test_no_time_at_all(sides: tuple[Namespace, Namespace]) -> None:
    """DESIGN 4.1: with no time nothing is begun, or undone at once."""
    with Restored(*sides):
        expect_failed(sides[1], "eth0", "time-out", errno.ETIMEDOUT, timeout_s=0)


def test_enough_time(sides: tuple[Namespace, Namespace]) -> None:
    """DESIGN 4.1: a limit that is not reached changes nothing."""
    assert len(netdevns.move(DEVICES, sides[1].fd, timeout_s=60)) == 3


@pytest.mark.parametrize("times", [1, 3])
def test_locks_are_given_back(sides: tuple[Namespace, Namespace], monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """P8: a signal's handler that raises while the locks are given back does not keep one: the next move has them."""
    host, target = sides
    real, struck = exclusion._set, []

    def set_(fd: int, kind: int, *more: int) -> bool:
        if kind == fcntl.F_UNLCK and len(struck) < times:
            struck.append(fd)
            raise KeyboardInterrupt
        return real(fd, kind, *more)

    monkeypatch.setattr(exclusion, "_set", set_)
    with pytest.raises(KeyboardInterrupt):
        netdevns.move({"eth1": "net1"}, target.fd)
    assert len(struck) == times
    netdevns.move({"net1": "eth1"}, host.fd, source=target.fd)
    assert "eth1" in host.names()
