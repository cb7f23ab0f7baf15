"""Plays rows in several threads, each with runners of its own: most of the time the kernel lets one wait."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from .play import Last, play
from .rows import Row
from .runners import NATIVE, REFERENCE, C, CRunner, PythonRunner, Runner

# NETDEVNS_RUNNERS=c: only these.
NAMES = os.environ.get("NETDEVNS_RUNNERS", f"{NATIVE},{REFERENCE},{C}").split(",")
THREADS = 3


def started(stack: contextlib.ExitStack) -> list[Runner]:
    """The runners, which end with the stack."""
    return [stack.enter_context(CRunner() if name == C else PythonRunner(name)) for name in NAMES]


class Pool:
    """A context manager; `rows` are played from now on, in their order, but for races, which need the machine."""

    def __init__(self, rows: Iterable[Row], runners: list[Runner]) -> None:
        self._runners = runners
        self._own = threading.local()
        self._stack = contextlib.ExitStack()
        self._last = Last()
        self._starting = threading.Lock()
        self._executor = ThreadPoolExecutor(THREADS)
        self._results: dict[str, Future[list[str]]] = {
            row.id: self._executor.submit(self._play, row) for row in rows if row.race is None
        }

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        self._executor.shutdown(cancel_futures=True)
        self._last.close()
        self._stack.close()

    def _play(self, row: Row) -> list[str]:
        if not hasattr(self._own, "runners"):
            with self._starting:
                self._own.runners = started(self._stack)
                self._own.last = Last()
                self._stack.callback(self._own.last.close)
        return play(row, self._own.runners, self._own.last)

    def wrong(self, row: Row) -> list[str]:
        """What is wrong with a row, now or once it was played."""
        if row.id in self._results:
            return self._results[row.id].result()
        wait(self._results.values())
        return play(row, self._runners, self._last)
