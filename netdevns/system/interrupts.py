"""Signals that would end a command: held back (blocked) while it changes something, and looked at between two steps.

A handler that raises can strike anywhere, also after the last device has arrived, when the command can no longer say
what is true. A signal that is held back stays pending: a step that looks finds it and ends the batch, and one that
comes after the commit changes nothing, neither the devices nor the exit code.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable

PAUSE_S = 0.005
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What a program cannot hold back, or must not: they come from its own instructions (signal(7)).
OWN_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS)
HELD_BACK = frozenset(map(int, signal.valid_signals())) - {*OWN_FAULTS}

# Behind the wrapper that makes an enum of each of 60 signals: 0.2 ms of the 2.4 ms CPU of a move of one device.
_set_mask: Callable[[int, Iterable[int]], set[int]] = getattr(
    signal.pthread_sigmask, "__wrapped__", signal.pthread_sigmask
)


class Interrupted(Exception):
    """A signal that is held back asks for the end; the step that looked for it was not begun.

    Attributes:
        name: "SIGTERM", ...
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Interrupts:
    """INT, TERM and HUP are held back in the calling thread from now on; who made this restores its mask.

    What the caller ignores (nohup) or holds back itself stays his: it ends nothing. In another thread than the main one
    of a program only signals to that thread are found.
    """

    __slots__ = ("_watched",)

    def __init__(self) -> None:
        # An exception of a handler (KeyboardInterrupt) for a signal that came before is raised here, and not later on.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        self._watched = [n for n in ENDING if n not in before and signal.getsignal(n) is not signal.SIG_IGN]

    @property
    def name(self) -> str:
        """The signal that waits; "": none."""
        pending = signal.sigpending() if self._watched else ()
        return next((number.name for number in self._watched if number in pending), "")

    def look(self) -> None:
        """Raises Interrupted where a signal waits."""
        name = self.name
        if name:
            raise Interrupted(name)


class Patience:
    """How long a mover waits for others, all its waiting together; counted from the first time on.

    Args:
        wait_s: Seconds.
        interrupts: A command's: a signal that waits ends it, too.
    """

    __slots__ = ("_end", "_interrupts", "_wait_s")

    def __init__(self, wait_s: float, interrupts: Interrupts | None = None) -> None:
        self._wait_s = wait_s
        self._interrupts = interrupts
        self._end: float | None = None

    def wait(self) -> bool:
        """Waits for a moment; False: it was long enough. Raises Interrupted."""
        if self._interrupts is not None:
            self._interrupts.look()
        now = time.monotonic()
        if self._end is None:
            self._end = now + self._wait_s
        if now >= self._end:
            return False
        time.sleep(min(PAUSE_S, self._end - now))
        return True


def until_interrupted(wait_s: float, interrupts: Interrupts | None) -> Callable[[], bool]:
    """As `Patience.wait`, for a loop over records: a signal only ends the waiting, and the loop reports the rest."""
    patience = Patience(wait_s)
    return lambda: (interrupts is None or not interrupts.name) and patience.wait()


class Shield:
    """For a caller of the library: no signal handler strikes between `hold` and `release`.

    Python runs handlers in the main thread alone; in another one this changes nothing.
    """

    __slots__ = ("_before",)

    def __init__(self) -> None:
        self._before = _set_mask(signal.SIG_BLOCK, ())

    def hold(self) -> None:
        """Can be repeated. What a handler raises for a signal that came before is raised here, with all held back."""
        _set_mask(signal.SIG_BLOCK, HELD_BACK)

    def release(self) -> None:
        """Whatever came meanwhile strikes now: what a handler raises is raised here."""
        _set_mask(signal.SIG_SETMASK, self._before)
