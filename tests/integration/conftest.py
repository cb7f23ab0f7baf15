"""What every integration test is held to: it leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netdevns.cli import progress
from netdevns.state import restore
from tests.support import steps
from tests.support.namespaces import GRAVES, Namespace

# A failed assertion in one of these shows its values, as in a test.
for _module in ("batch", "crashes", "lending", "preserved", "refusals", "strikes"):
    pytest.register_assert_rewrite(f"tests.integration.{_module}")

# The directory of the records stays, as /run/netns does; a record must not.
RECORDS = {"/run/netdevns", "/run/netdevns/txn"}
EXIT_S = 20.0  # for a thread's end


def _descriptors() -> Iterator[str]:
    for number in {*os.listdir("/proc/self/fd")} - {*map(str, GRAVES.fds)}:
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            yield f"{number} {os.readlink(f'/proc/self/fd/{number}')}"


def _state() -> dict[str, object]:
    """What keeps a namespace alive, and what outlives a test: descriptors, threads, mounts, files."""
    return {
        "descriptors": sorted(_descriptors()),
        "threads": threading.active_count(),
        "mounts": Path("/proc/self/mounts").read_text(),
        "run": sorted({str(path) for path in Path("/run").rglob("*") if path.suffix != ".lock"} - RECORDS),
        "namespace": os.readlink("/proc/thread-self/ns/net"),
    }


def _children() -> object:
    """None, or that there are living ones: runners of tests/scenarios that stay; or the one that has ended just now."""
    try:
        return os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None


@pytest.fixture(autouse=True)
def quiet(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a busy machine does not change: progress on stderr, which is for tests/integration/test_long_batches.py, and
    the time in which a port gets its carrier.
    """
    monkeypatch.setattr(restore, "LATE_S", 15.0)
    if request.path.stem != "test_long_batches":
        monkeypatch.setattr(progress, "QUIET_S", 300.0)
        monkeypatch.setattr(progress, "LINES_S", 300.0)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Set up first, torn down last: no descriptor, thread, process, mount or file in /run is left by a test."""
    before, children = _state(), _children()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in handlers.items():  # the command, called in this process, has its own
        signal.signal(number, handler)
    assert _children() == children  # neither a living one more nor a zombie
    # A thread that was joined may still be on its way out: glibc then looks into /proc/sys/vm/overcommit_memory.
    end = time.monotonic() + EXIT_S
    while (left := _state()) != before and time.monotonic() < end:
        time.sleep(0.01)
    assert left == before


@pytest.fixture
def before_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int, Callable[[], object]], None]:
    """Runs something just before the n-th device (from 1) does a step: tests/support/steps.py."""

    def arrange(step: str, nth: int, action: Callable[[], object]) -> None:
        monkeypatch.setattr(*steps.before(step, lambda number: action() if number == nth else None))

    return arrange


@pytest.fixture
def directory(tmp_path: Path) -> str:
    """The directory of the test's records and loans."""
    return str(tmp_path / "records")


@pytest.fixture
def renumbered(sides: tuple[Namespace, Namespace]) -> tuple[Namespace, Namespace]:
    """The module's own `sides`, with a target in which no device keeps its ifindex."""
    host, target = sides
    target.batch(["link add first index 101 type ifb", "link add second index 102 type ifb"])
    return host, target
