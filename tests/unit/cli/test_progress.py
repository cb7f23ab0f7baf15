"""Progress of a batch: nothing in the first second, then one line that changes, or a line now and then."""

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


def batch(told: Progress, clock: Clock, step: str = "move", count: int = 400, each_s: float = 1 / 32) -> None:
    for done in range(1, count + 1):
        clock.now += each_s
        told(step, done, count)


def screen(text: str) -> list[str]:
    """What a terminal shows after each write that goes back to the line's beginning."""
    shown, seen = "", []
    for piece in text.split("\r")[1:]:
        shown = piece + shown[len(piece) :]
        seen.append(shown.rstrip())
    return seen


def test_lines_where_there_is_no_terminal(clock: Clock) -> None:
    """12.5 s: a line after the first second, and one every 5 s; each whole, each of this program."""
    stream = Stream(terminal=False)
    with Progress(stream) as told:
        batch(told, clock)
    assert stream.getvalue().splitlines() == [
        "netdevns: 32 of 400 devices moved",
        "netdevns: 192 of 400 devices moved",
        "netdevns: 352 of 400 devices moved",
    ]
    assert "\r" not in stream.getvalue()


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_a_short_batch_says_nothing(clock: Clock, terminal: bool) -> None:
    """Nothing in the first second, also of its undo."""
    stream = Stream(terminal)
    with Progress(stream) as told:
        batch(told, clock, count=20)
        batch(told, clock, "undo", count=11)
    assert stream.getvalue() == ""


def test_one_line_on_a_terminal(clock: Clock) -> None:
    """It is written over, not more often than ten times a second, and gone at the end."""
    stream = Stream(terminal=True)
    with Progress(stream) as told:
        batch(told, clock)
    seen = screen(stream.getvalue())
    assert "\n" not in stream.getvalue()
    assert seen[0] == "netdevns: 32 of 400 devices moved"
    assert seen[1] == "netdevns: 36 of 400 devices moved"
    assert seen[-3:] == ["netdevns: 400 of 400 devices moved", "", ""]
    assert stream.getvalue().endswith("\r")


def test_a_shorter_line_leaves_nothing_of_the_longer(clock: Clock) -> None:
    """`replay` has more words than `verify`."""
    stream = Stream(terminal=True)
    told = Progress(stream)
    clock.now += 2
    told("replay", 400, 400)
    clock.now += 2
    told("verify", 1, 400)
    assert screen(stream.getvalue()) == [
        "netdevns: 400 of 400 devices are up with their addresses",
        "netdevns: 1 of 400 devices read back",
    ]


def test_a_line_never_wraps(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a narrow terminal it is cut: a second line could not be written over."""
    monkeypatch.setenv("COLUMNS", "24")
    stream = Stream(terminal=True)
    told = Progress(stream)
    clock.now += 2
    told("move", 1, 400)
    assert screen(stream.getvalue()) == ["netdevns: 1 of 400 devi"]


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_an_undo_is_told_at_once(clock: Clock, terminal: bool) -> None:
    """Who waits learns that it goes backwards, although the last line is not old yet."""
    stream = Stream(terminal)
    with Progress(stream) as told:
        batch(told, clock, count=60)
        told("undo", 0, 5)
        clock.now += 5
        told("undo", 3, 5)
    text = stream.getvalue()
    seen = screen(text)[:-2] if terminal else text.splitlines()
    assert seen[-2:] == ["netdevns: undoing: 0 of 5 devices are back", "netdevns: undoing: 3 of 5 devices are back"]


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("closed")], ids=["pipe", "closed"])
def test_nobody_reads(clock: Clock, error: Exception) -> None:
    """A stream that breaks is left alone; the batch does not notice."""
    writes = []

    class Broken(Stream):
        def write(self, text: str) -> int:
            writes.append(text)
            raise error

    with Progress(Broken(terminal=True)) as told:
        batch(told, clock)
    assert len(writes) == 1


def test_no_stream(clock: Clock) -> None:
    """With --json nothing is told."""
    with Progress(None) as told:
        batch(told, clock)


def test_no_thread(clock: Clock) -> None:
    """A thread would hold the namespace, and signals would come between."""
    before = threading.active_count()
    with Progress(Stream(terminal=True)) as told:
        batch(told, clock, count=100)
        assert threading.active_count() == before
