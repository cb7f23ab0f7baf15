"""Shows a batch's progress: after a second one changing line on a terminal, otherwise a line every 5 s."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

QUIET_S = 1.0  # most batches are done by then
LIVE_S = 0.1
LINES_S = 5.0
WORDS = {
    "move": "{} of {} devices moved",
    "replay": "{} of {} devices are up with their addresses",
    "verify": "{} of {} devices read back",
    "undo": "undoing: {} of {} devices are back",
}


class Progress:
    """A transaction's `on_step`, and a context manager that removes the line at the end.

    Args:
        stream: stderr; None: no output.

    Attributes:
        arrived: Whether the last device has completed its last step.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._live = stream is not None and stream.isatty()
        self._due = self._quiet_until = time.monotonic() + (QUIET_S if self._live else LINES_S)
        self._undoing = False
        self._drawn = 0  # cells of the line that is on the terminal
        self.arrived = False

    def __call__(self, step: str, done: int, count: int) -> None:
        self.arrived = (step, done) == ("verify", count)
        now = time.monotonic()
        if step == "undo" and not self._undoing:
            self._undoing, self._due = True, self._quiet_until
        if now < self._due:
            return
        self._due = now + (LIVE_S if self._live else LINES_S)
        text = "netdevns: " + WORDS[step].format(done, count)
        self._write(self._over(text) if self._live else f"{text}\n")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._drawn:
            self._write(self._over("") + "\r")

    def _over(self, text: str) -> str:
        """The text that replaces the current line; blanks erase the rest, on any terminal."""
        text = text[: shutil.get_terminal_size().columns - 1]
        blanks = max(0, self._drawn - len(text))
        self._drawn = len(text)
        return "\r" + text + " " * blanks

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None  # the reader is gone; the move goes on
