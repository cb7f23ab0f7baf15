"""Progress of a batch: nothing in the first second, then one changing line; or a line every 5 s."""

from __future__ import annotations

import io
import threading

import pytest

from netdevns.cli import progress
from netdevns.cli.progress import Progress


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.isatty = lambda: terminal  # type: ignore[method-assign]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def batch(progress: Progress, clock: Clock, step: str = "move", count: int = 400, each_s: float = 1 / 32) -> None:
    for done in range(1, count + 1):
        clock.now += each_s
        progress(step, done, count)


def screen(text: str) -> list[str]:
    """The line on a terminal after each carriage return."""
    shown, seen = "", []
    for piece in text.split("\r")[1:]:
        shown = piece + shown[len(piece) :]
        seen.append(shown.rstrip())
    return seen


def test_lines_without_a_terminal(clock: Clock) -> None:
    """12.5 s: a line every 5 s, complete and with the program's name."""
    stream = Stream(terminal=False)
    with Progress(stream) as progress:
        batch(progress, clock)
    assert stream.getvalue().splitlines() == [
        "netdevns: 160 of 400 devices moved",
        "netdevns: 320 of 400 devices moved",
    ]
    assert "\r" not in stream.getvalue()


@pytest.mark.parametrize(("terminal", "each_s"), [(False, 5 / 32), (True, 1 / 32)], ids=["pipe", "terminal"])
def test_short_batch_shows_no_progress(clock: Clock, terminal: bool, each_s: float) -> None:
    """Nothing in the first second, without a terminal in the first five, also of its undo."""
    stream = Stream(terminal)
    with Progress(stream) as progress:
        batch(progress, clock, count=20, each_s=each_s)
        batch(progress, clock, "undo", count=11, each_s=each_s)
    assert stream.getvalue() == ""


def test_one_line_on_a_terminal(clock: Clock) -> None:
    """The line is overwritten at most ten times a second, and removed at the end."""
    stream = Stream(terminal=True)
    with Progress(stream) as progress:
        batch(progress, clock)
    seen = screen(stream.getvalue())
    assert "\n" not in stream.getvalue()
    assert seen[0] == "netdevns: 32 of 400 devices moved"
    assert seen[1] == "netdevns: 36 of 400 devices moved"
    assert seen[-3:] == ["netdevns: 400 of 400 devices moved", "", ""]
    assert stream.getvalue().endswith("\r")


def test_shorter_line_erases_the_longer(clock: Clock) -> None:
    """A shorter text erases the rest of a longer one."""
    stream = Stream(terminal=True)
    progress = Progress(stream)
    clock.now += 2
    progress("replay", 400, 400)
    clock.now += 2
    progress("verify", 1, 400)
    assert screen(stream.getvalue()) == [
        "netdevns: 400 of 400 devices are up with their addresses",
        "netdevns: 1 of 400 devices read back",
    ]


def test_a_line_never_wraps(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a narrow terminal the line is cut: a second row could not be overwritten."""
    monkeypatch.setenv("COLUMNS", "24")
    stream = Stream(terminal=True)
    progress = Progress(stream)
    clock.now += 2
    progress("move", 1, 400)
    assert screen(stream.getvalue()) == ["netdevns: 1 of 400 devi"]


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_undo_is_shown_at_once(clock: Clock, terminal: bool) -> None:
    """An undo is shown at once, even if the last line is recent."""
    stream = Stream(terminal)
    with Progress(stream) as progress:
        batch(progress, clock, count=180)
        progress("undo", 0, 5)
        clock.now += 5
        progress("undo", 3, 5)
    text = stream.getvalue()
    seen = screen(text)[:-2] if terminal else text.splitlines()
    assert seen[-2:] == ["netdevns: undoing: 0 of 5 devices are back", "netdevns: undoing: 3 of 5 devices are back"]


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("closed")], ids=["pipe", "closed"])
def test_stream_without_a_reader(clock: Clock, error: Exception) -> None:
    """A broken stream is not written to again, and the batch goes on."""
    writes = []

    class Broken(Stream):
        def write(self, text: str) -> int:
            writes.append(text)
            raise error

    with Progress(Broken(terminal=True)) as progress:
        batch(progress, clock)
    assert len(writes) == 1


def test_no_stream(clock: Clock) -> None:
    """With --json there is no output."""
    with Progress(None) as progress:
        batch(progress, clock)


def test_no_thread(clock: Clock) -> None:
    """Progress starts no thread: one would keep the namespace alive and could receive signals."""
    before = threading.active_count()
    with Progress(Stream(terminal=True)) as progress:
        batch(progress, clock, count=100)
        assert threading.active_count() == before
