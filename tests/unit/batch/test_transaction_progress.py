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
        self.steps: list[tuple[str, int, int]] = []

    def __call__(self, *step) -> None:
        self.steps.append(step)
        self.made.strike.calls.append(f"step {step}")
        if len(self.steps) - 1 == self.at:
            raise self.error

    def run(self):
        return self.made.run(on_step=self)


FORWARD_STEPS = [*((step, done, 2) for step in ("move", "replay") for done in (1, 2)), ("verify", 2, 2)]
UNDO_STEPS = [("undo", done, 2) for done in (0, 1, 2)]
LAST_VERIFY = 11  # calls of the watcher count, too


def test_steps_are_reported(setting):
    """Each step once a device has passed it, between two calls of the engine; the comparison in windows."""
    made = setting()
    watcher = Watcher(made)
    watcher.run()
    assert watcher.steps == FORWARD_STEPS
    move = "phases.move_next"
    assert made.strike.calls[2:6] == [move, "step ('move', 1, 2)", move, "step ('move', 2, 2)"]


def test_undo_is_reported(setting):
    """Its begin, then each device that is back."""
    made = setting()
    made.strike.at = {LAST_VERIFY: EngineError(errno.EIO, "", "verify")}
    watcher = Watcher(made)
    with pytest.raises(MoveFailed):
        watcher.run()
    assert watcher.steps[-3:] == UNDO_STEPS
    assert state(made.world) == made.before


def test_count_excludes_devices_that_do_not_return(setting):
    """The count is of devices that are back in the source."""
    made = setting()
    made.strike.at = {LAST_VERIFY: EngineError(errno.EIO, "", "verify")}
    made.world.target.fault = lambda r: (
        errno.EPERM if r.type == nl.RTM_NEWLINK and nl.IFLA_NET_NS_FD in r.attrs() and r.ifindex == 7 else 0
    )
    watcher = Watcher(made)
    with pytest.raises(MoveFailed):
        watcher.run()
    assert [done for step, done, _ in watcher.steps if step == "undo"] == [0, 0, 1]


@pytest.mark.parametrize("at", range(len(FORWARD_STEPS)))
def test_failing_watcher_does_not_stop_the_move(setting, at):
    """An Exception of the callback ends its calls; the batch arrives."""
    made = setting()
    watcher = Watcher(made, at, OSError("no reader"))
    assert [m.name for m in watcher.run()] == ["net1", "net2"]
    assert len(watcher.steps) == at + 1


@pytest.mark.parametrize("at", range(4, 7))
def test_failing_watcher_does_not_stop_the_undo(setting, at):
    """The undo goes on without it."""
    made = setting()
    made.strike.at = {LAST_VERIFY: EngineError(errno.EIO, "", "verify")}
    watcher = Watcher(made, at, ValueError("a mistake"))
    with pytest.raises(MoveFailed) as caught:
        watcher.run()
    assert caught.value.left == ()
    assert len(watcher.steps) == at + 1
    assert state(made.world) == made.before


@pytest.mark.parametrize("at", range(len(FORWARD_STEPS)))
def test_interrupt_in_the_watcher_undoes(setting, at):
    """Ctrl-C in the watcher: undone as anywhere else."""
    made = setting()
    with pytest.raises(KeyboardInterrupt):
        Watcher(made, at, KeyboardInterrupt()).run()
    assert state(made.world) == made.before


@pytest.mark.parametrize("at", range(4, 7))
def test_interrupt_in_the_watcher_during_the_undo(setting, at):
    """Ctrl-C in the watcher during the undo: it begins again, and all is as before."""
    made = setting()
    made.strike.at = {LAST_VERIFY: EngineError(errno.EIO, "", "verify")}
    with pytest.raises(MoveFailed):
        Watcher(made, at, KeyboardInterrupt()).run()
    assert state(made.world) == made.before
