"""Plays a row with each runner, each in a world of its own, unless nothing may change there."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import struct
import threading
import time
from collections.abc import Iterator

from tests.support import rawdump

from .judge import Played
from .racer import Racer
from .rows import REFUSED, Row
from .runners import Runner
from .world import World

LOCKS = "/run/netdevns"
TRIES = 8  # of a racer


@contextlib.contextmanager
def held(row: Row, worlds: list[World]) -> Iterator[None]:
    """Another mover holds a device of each world, as netdevns.system.exclusion says: the file's byte of its ifindex."""
    if row.busy is None:
        yield
        return
    side, ifindex, for_s = row.busy
    os.makedirs(LOCKS, mode=0o700, exist_ok=True)
    fds = []
    for world in worlds:
        inode = os.fstat(getattr(world, side).fd).st_ino
        fds.append(os.open(f"{LOCKS}/{inode}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        fcntl.fcntl(fds[-1], fcntl.F_OFD_SETLK, struct.pack("@hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, ifindex, 1, 0))
        os.pwrite(fds[-1], struct.pack("=I", os.getpid()), 4 * ifindex)

    def release() -> None:
        while fds:
            os.close(fds.pop())

    timer = threading.Timer(for_s, release)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        release()


def play(row: Row, runners: list[Runner], last: Last) -> list[str]:
    """What is wrong with a row; none if all is as it must be."""
    runners = [runner for runner in runners if not row.only or runner.name in row.only]
    if row.race is not None:
        played = [_raced_in_time(row, runner) for runner in runners]
    elif row.wanted == REFUSED and row.busy is None and not row.enter:
        played = _one_after_the_other(row, runners, last)
    else:
        played = _together(row, runners)
    return [line for each in played for line in each.wrong] or _compare(played)


def _one_after_the_other(row: Row, runners: list[Runner], last: Last) -> list[Played]:
    """In one world, as nothing changes there: that of the last row with the same set-up."""
    played = []
    for runner in runners:
        one = Played(row, runner, last.of(row), is_shared=True)
        for what in ("check", "move"):
            one.ask(what)
            one.answered(what)
        runner.end()
        played.append(one)
    if any(one.wrong for one in played):
        last.close()
    return played


def _together(row: Row, runners: list[Runner]) -> list[Played]:
    """Each in a world of its own; while the kernel lets one wait, there are others."""
    with contextlib.ExitStack() as stack:
        worlds = [stack.enter_context(World(row)) for _ in runners]
        played = [Played(row, *pair) for pair in zip(runners, worlds, strict=True)]
        with held(row, worlds):
            # Of another mover a check knows nothing.
            for what in ("move",) if row.busy is not None else ("check", "move"):
                for each in played:
                    each.ask(what)
                answers = [each.answer() for each in played]
                for each, answer in zip(played, answers, strict=True):
                    each.judge(what, answer)
        for each in played[1:]:
            each.settle(played[0])
        for each in played:
            each.judge_undo()
            each.runner.end()
        return played


def _raced_in_time(row: Row, runner: Runner) -> Played:
    """Again where the racer came too late."""
    for _ in range(TRIES):
        one, late = _raced(row, runner)
        if not late:
            return one
    one.bad(f"the racer came too late, {TRIES} times: {late}")
    return one


def _raced(row: Row, runner: Runner) -> tuple[Played, str]:
    """Plays a race once; why its racer came too late, or ""."""
    assert row.race is not None
    racer = Racer(row.race, world := World(row))
    with world, racer:
        one = Played(row, runner, world)
        racer.start()
        one.ask("move")
        said = one.answer()
        moved = time.monotonic()
        racer.finish()
        one.judge("move", said)
        one.runner.end()
    is_late = not racer.done_at or racer.done_at > moved
    return one, racer.errors or "the move had ended" * is_late


def _compare(played: list[Played]) -> list[str]:
    """The state afterwards, which must be one and the same."""
    found = []
    for first, other in itertools.pairwise(played if played[0].row.is_compared else []):
        lines = rawdump.differences(*(other.comparable(each) for each in (first, other)))
        found += [f"{first.runner.name} and {other.runner.name}: {line}" for line in lines]
    return found


class Last:
    """The world of the last rows that were refused."""

    def __init__(self) -> None:
        self._world: World | None = None

    def of(self, row: Row) -> World:
        if self._world is None or (row.source, row.target) != (self._world.row.source, self._world.row.target):
            self.close()
            self._world = World(row)
        return self._world

    def close(self) -> None:
        if self._world is not None:
            self._world.__exit__()
        self._world = None
