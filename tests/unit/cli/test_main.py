"""What the command says when memory runs out: no address for a report, and what to do about what may be left."""

from __future__ import annotations

import errno
import threading

import pytest

from netdevns import errors
from netdevns.cli import main as command
from netdevns.prepare import make, namespace
from netdevns.system import named_netns

LINE = (
    "netdevns: too little memory; run `netdevns recover`, which undoes what may be left of a move or of a new namespace"
)


def test_too_little_memory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is no fault of the program."""

    def fail() -> None:
        raise MemoryError

    monkeypatch.setattr(command, "_parser", fail)
    assert command.main(["show"]) == 1
    assert capsys.readouterr().err.splitlines() == [LINE]


def test_too_little_memory_during_a_move(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The failure that the undo has left says where each device is, also for `prepare`."""

    def fail(*args: object, **how: object) -> None:  # noqa: ARG001
        raise MemoryError from errors.MoveFailed(
            "interrupted by MemoryError; all devices are restored", step="interrupt"
        )

    monkeypatch.setattr(make, "prepare", fail)
    assert command.main(["prepare", "blue", "eth1"]) == 1
    assert capsys.readouterr().err.splitlines() == ["netdevns: interrupted by MemoryError; all devices are restored"]


def test_no_thread_for_a_new_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stack needs memory, too. The error is about no file: `prepare` puts the namespace's path before it."""

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(OSError, match="no thread can be started") as raised:
        named_netns.new("/run/netns/blue")
    assert raised.value.errno == errno.EAGAIN
    assert namespace.words(raised.value) == "no thread can be started: Resource temporarily unavailable"


def test_no_memory_in_the_thread_of_a_new_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised where the namespace is asked for, not printed by the thread."""

    def fail(*args: object, **how: object) -> None:  # noqa: ARG001
        raise MemoryError

    monkeypatch.setattr(named_netns, "call", fail)
    with pytest.raises(MemoryError):
        named_netns.new("/run/netns/blue")
