"""The batch's `on_step`: the steps that it reports, and a callback that fails."""

import errno

import pytest

from netdevns.engine import EngineError
from netdevns.errors import MoveFailed
from tests.unit import messages as nl
from tests.unit.batch.setting import Setting, state


class Watcher:
    """An `on_step` that records, beside the engine's calls, and raises at one of its calls."""

    def __init__(self, made: Setting, at: int = -1, error: BaseException | None = None) -> None:
        self.made, self.at, self.error = made, at, error
        self.told: list[tuple[str, int, int]] = []

    def __call__(self, *step) -> None:
        self.told.append(step)
        self.made.strike.calls.append(f"told {step}")
        if len(self.told) - 1 == self.at:
            raise self.error

    def run(self):
        return self.made.run(on_step=self)


FORWARD_STEPS = [*((step, done, 2) for step in ("move", "replay") for done in (1, 2)), ("verify", 2, 2)]
UNDO_STEPS = [("undo", done, 2) for done in (0, 1, 2)]
LAST_VERIFY = 11  # what is told is among the calls, too


def test_steps_are_told(setting):
    """Each step when a device has done it, between two calls of the engine; the comparison in windows."""
    made = setting()
    watcher = Watcher(made)
    watcher.run()
    assert watcher.told == FORWARD_STEPS
    move = "phases.move_next"
    assert made.strike.calls[2:6] == [move, "told ('move', 1, 2)", move, "told ('move', 2, 2)"]


def test_an_undo_is_told(setting):
    """That it begins, then each device that is back."""
    made = setting()
    made.strike.at = {LAST_VERIFY: EngineError(errno.EIO, "", "verify")}
    watcher = Watcher(made)
    with pytest.raises(MoveFailed):
        watcher.run()
    assert watcher.told[-3:] == UNDO_STEPS
    assert state(made.world) == made.before


def test_what_does_not_come_back_is_not_told_to_be(setting):
    """The count is of devices that are back in the source."""
    made = setting()
    made.strike.at = {LAST_VERIFY: EngineError(errno.EIO, "", "verify")}
    made.world.target.fault = lambda r: (
        errno.EPERM if r.type == nl.RTM_NEWLINK and nl.IFLA_NET_NS_FD in r.attrs() and r.ifindex == 7 else 0
    )
    watcher = Watcher(made)
    with pytest.raises(MoveFailed):
        watcher.run()
    assert [done for step, done, _ in watcher.told if step == "undo"] == [0, 0, 1]


@pytest.mark.parametrize("at", range(len(FORWARD_STEPS)))
def test_a_watcher_that_fails_stops_nothing(setting, at):
    """An Exception of the callback ends its calls; the batch arrives."""
    made = setting()
    watcher = Watcher(made, at, OSError("nobody reads"))
    assert [m.name for m in watcher.run()] == ["net1", "net2"]
    assert len(watcher.told) == at + 1


@pytest.mark.parametrize("at", range(4, 7))
def test_a_watcher_that_fails_in_the_undo_loses_nothing(setting, at):
    """The undo goes on without it."""
    made = setting()
    made.strike.at = {LAST_VERIFY: EngineError(errno.EIO, "", "verify")}
    watcher = Watcher(made, at, ValueError("a mistake"))
    with pytest.raises(MoveFailed) as caught:
        watcher.run()
    assert caught.value.left == ()
    assert len(watcher.told) == at + 1
    assert state(made.world) == made.before


@pytest.mark.parametrize("at", range(len(FORWARD_STEPS)))
def test_an_interrupt_of_the_watcher_undoes(setting, at):
    """Ctrl-C while it is told: undone as anywhere else."""
    made = setting()
    with pytest.raises(KeyboardInterrupt):
        Watcher(made, at, KeyboardInterrupt()).run()
    assert state(made.world) == made.before


@pytest.mark.parametrize("at", range(4, 7))
def test_an_interrupt_of_the_watcher_in_the_undo(setting, at):
    """Ctrl-C while the undo is told: it begins again, and all is as before."""
    made = setting()
    made.strike.at = {LAST_VERIFY: EngineError(errno.EIO, "", "verify")}
    with pytest.raises(MoveFailed):
        Watcher(made, at, KeyboardInterrupt()).run()
    assert state(made.world) == made.before
