"""Interrupts and other exceptions at each call of the batch, and its deadline: all is undone."""

import errno
import threading

import pytest

from netdevns.batch import transaction
from netdevns.errors import MoveFailed
from tests.unit import messages as nl
from tests.unit.batch.setting import VERIFY, fail_verify, state

# ---- interrupts ----------------------------------------------------------------------------------------------------

FORWARD, UNDO = range(VERIFY + 1), range(VERIFY + 1, VERIFY + 15)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", FORWARD)
def test_interrupt_at_every_call_is_undone(setting, at, after):
    """KeyboardInterrupt before or after any call of the engine: all is as before, then it propagates."""
    made = setting()
    made.strike.at, made.strike.after = {at: KeyboardInterrupt()}, after
    with pytest.raises(KeyboardInterrupt) as caught:
        made.run()
    assert state(made.world) == made.before
    cause = caught.value.__cause__
    assert isinstance(cause, MoveFailed)
    assert (cause.step, cause.left, cause.device) == ("interrupt", (), None)
    assert str(cause) == "interrupted (KeyboardInterrupt); all devices are restored"


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", UNDO)
def test_interrupt_at_every_call_of_the_undo(setting, at, after, exception):
    """A second interrupt, anywhere in the undo, does not end it: it begins again, and all is as before."""
    made = setting()
    made.strike.at, made.strike.after = {VERIFY: KeyboardInterrupt(), at: exception()}, after
    with pytest.raises(KeyboardInterrupt):
        made.run()
    assert len(made.strike.calls) > 20
    assert state(made.world) == made.before


def test_impatient_user(setting):
    """An interrupt at every second call of the undo: it still completes."""
    made = setting()
    fail_verify(made)
    made.strike.at |= {at: KeyboardInterrupt() for at in (8, 10, 13, 17, 22)}
    made.failed()
    assert state(made.world) == made.before


@pytest.mark.parametrize("exception", [MemoryError, ValueError, GeneratorExit])
@pytest.mark.parametrize("at", FORWARD)
def test_any_exception_is_undone(setting, at, exception):
    """Any exception, from a signal handler for instance, is undone, then propagates."""
    made = setting()
    made.strike.at = {at: exception()}
    with pytest.raises(exception):
        made.run()
    assert state(made.world) == made.before


@pytest.mark.parametrize("at", UNDO)
def test_any_exception_in_the_undo(setting, at):
    """An exception from a signal handler (TimeoutError for an alarm) does not end the undo."""
    made = setting()
    made.strike.at = {VERIFY: KeyboardInterrupt(), at: TimeoutError()}
    with pytest.raises((KeyboardInterrupt, TimeoutError)):
        made.run()
    assert state(made.world) == made.before


def test_interrupt_after_a_failed_undo_reports_what_is_left(setting):
    """The interrupt propagates; its cause has the place of each device."""
    made = setting()
    made.strike.at = {VERIFY: KeyboardInterrupt()}
    made.world.target.fault = lambda r: (
        errno.EPERM if r.type == nl.RTM_NEWLINK and nl.IFLA_NET_NS_FD in r.attrs() else 0
    )
    with pytest.raises(KeyboardInterrupt) as caught:
        made.run()
    assert [(left.device, left.location) for left in caught.value.__cause__.left] == [
        ("eth1", "target"),
        ("eth2", "target"),
    ]


# ---- time-out ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("looks", "device"),
    [
        pytest.param(0, "eth1", id="before-the-first-move"),
        pytest.param(1, "eth2", id="before-the-second-move"),
        pytest.param(2, "eth1", id="before-the-first-replay"),
        pytest.param(3, "eth2", id="before-the-second-replay"),
    ],
)
def test_time_out(setting, monkeypatch, looks, device):
    """The deadline is checked before each device is moved and before each is replayed; then all is undone."""
    made = setting()
    clock = iter([0.0] * looks + [5.0] * 9)
    monkeypatch.setattr(transaction.time, "monotonic", lambda: next(clock))
    e = made.failed(deadline=5.0)
    assert (e.errno, e.step, e.device, e.left) == (errno.ETIMEDOUT, "time-out", device, ())
    assert str(e) == f"{device}: timed out before this device was finished; all devices are restored"
    assert state(made.world) == made.before


def test_in_time(setting, monkeypatch):
    """A move that is complete before its deadline succeeds."""
    made = setting()
    monkeypatch.setattr(transaction.time, "monotonic", lambda: 4.9)
    assert len(made.run(deadline=5.0)) == 2


def test_no_thread_is_started(setting):
    """A batch runs in the calling thread: nothing is left running after it."""
    made = setting()
    before = threading.active_count()
    made.run()
    assert threading.active_count() == before
