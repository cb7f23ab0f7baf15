"""Blocks the signals that end a command while it changes devices, and checks for them between steps.

A signal handler that raises can interrupt any instruction, also after the last device has arrived, when the outcome can
no longer be reported correctly. A blocked signal stays pending: the next check between two steps finds it and ends the
batch, and one that comes after the commit changes neither the devices nor the exit code.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable

PAUSE_S = 0.005
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Never blocked: the program's own instructions cause them (signal(7)).
OWN_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS)
HELD_BACK = frozenset(map(int, signal.valid_signals())) - {*OWN_FAULTS}

# Without signal.pthread_sigmask, which makes an enum of each of 60 signals: 0.2 ms of a move's 2.4 ms of CPU.
_set_mask: Callable[[int, Iterable[int]], set[int]] = getattr(
    signal.pthread_sigmask, "__wrapped__", signal.pthread_sigmask
)


class Interrupted(Exception):
    """A blocked signal is pending; the step that checked for it was not begun.

    Attributes:
        name: "SIGTERM", ...
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Interrupts:
    """Blocks INT, TERM and HUP in the calling thread from now on; the caller restores the thread's mask.

    Signals that the caller ignores (nohup) or blocks end nothing. Outside the main thread, only signals sent to the
    calling thread are found.
    """

    __slots__ = ("_watched",)

    def __init__(self) -> None:
        # A handler's exception (KeyboardInterrupt) for an earlier signal is raised here, not later.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        self._watched = [n for n in ENDING if n not in before and signal.getsignal(n) is not signal.SIG_IGN]

    @property
    def name(self) -> str:
        """The pending signal; "": none."""
        pending = signal.sigpending() if self._watched else ()
        return next((number.name for number in self._watched if number in pending), "")

    def look(self) -> None:
        """Raises Interrupted if a signal is pending."""
        name = self.name
        if name:
            raise Interrupted(name)


class Patience:
    """The time a mover waits for others, for all waits together; it starts with the first one.

    Args:
        wait_s: Seconds.
        interrupts: A command's: a pending signal ends the waiting, too.
    """

    __slots__ = ("_end", "_interrupts", "_wait_s")

    def __init__(self, wait_s: float, interrupts: Interrupts | None = None) -> None:
        self._wait_s = wait_s
        self._interrupts = interrupts
        self._end: float | None = None

    def wait(self) -> bool:
        """Waits for a moment; False: the time is over. Raises Interrupted."""
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
    """As `Patience.wait`, for a loop over records: a signal ends the waiting only, and the loop reports the rest."""
    patience = Patience(wait_s)
    return lambda: (interrupts is None or not interrupts.name) and patience.wait()


class Shield:
    """Keeps signal handlers of a library's caller from running between `hold` and `release`.

    Python runs handlers in the main thread only; in another thread this changes nothing. Where the process has other
    threads, one of them may receive a signal that is blocked here, and its handler still runs in the main thread.
    """

    __slots__ = ("_before",)

    def __init__(self) -> None:
        self._before = _set_mask(signal.SIG_BLOCK, ())

    def hold(self) -> None:
        """Blocks signals; can be repeated. A handler's exception for an earlier signal is raised here, after that."""
        _set_mask(signal.SIG_BLOCK, HELD_BACK)

    def release(self) -> None:
        """Unblocks signals; a handler's exception for one that came meanwhile is raised here."""
        _set_mask(signal.SIG_SETMASK, self._before)
