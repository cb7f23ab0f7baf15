"""Runs probes, each in a process and in namespaces of its own, so that cleaning up is the kernel's work.

The command's process forks a helper, which unshares and forks the keeper: process 1 of a pid namespace. The keeper
forks the probes. Whatever ends the keeper ends all of them, and with them their namespaces; each dies with its parent.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NoReturn

from . import system
from .probe import ROOT, NotAvailable, Probe, Value
from .world import World

LIMIT_S = 10.0  # of one probe; a move takes 20 ms, so this one hangs
ROOM = 1 << 16


class NoNamespaces(Exception):
    """This user may have no fresh namespaces; the text says what the kernel answered."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came of a probe: `status` "ok" with a value, "n/a" or "error" with a reason."""

    status: str
    value: Value = None
    reason: str | None = None


OnAnswer = Callable[[int, int], None]  # how many probes are done, of how many


def run(
    probes: Sequence[Probe], *, jobs: int = 0, limit_s: float = LIMIT_S, on_answer: OnAnswer | None = None
) -> list[Answer]:
    """Runs probes; the answers are in their order.

    Args:
        probes: What to run.
        jobs: How many at a time; 0: one for each processor.
        limit_s: Seconds for each; then it is killed, and its status is "error".
        on_answer: Is told how far it is.

    Raises:
        NoNamespaces: Neither root's rights nor a user namespace can be had. Nothing was started.
    """
    read, write = os.pipe()
    stay, keep = os.pipe()  # the keeper ends when `keep` is closed
    pid = os.fork()
    if pid == 0:
        os.close(read)
        os.close(keep)
        _help(lambda is_root: _Keeper(probes, jobs or os.cpu_count() or 1, limit_s, is_root, write, stay).run(), write)
    os.close(write)
    os.close(stay)
    try:
        return _collect(read, len(probes), on_answer)
    finally:
        os.close(keep)
        os.close(read)
        os.waitpid(pid, 0)


def _collect(read: int, count: int, on_answer: OnAnswer | None) -> list[Answer]:
    found: dict[int, Answer] = {}
    with os.fdopen(os.dup(read), encoding="utf-8") as lines:
        for line in lines:
            told = json.loads(line)
            if "no_namespaces" in told:
                raise NoNamespaces(told["no_namespaces"])
            found[told["number"]] = Answer(told["status"], told["value"], told["reason"])
            if on_answer is not None:
                on_answer(len(found), count)
    lost = Answer("error", reason="the runner died")
    return [found.get(number, lost) for number in range(count)]


# ---- the helper ----


def _help(serve: Callable[[bool], object], write: int) -> NoReturn:
    """In the forked helper: unshares, forks the keeper and waits for it."""
    code = 1
    try:
        system.die_with_parent(signal.SIGKILL)
        os.setsid()  # Ctrl-C is for the command, which ends us
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        try:
            is_root = _unshare()
        except OSError as e:
            os.write(write, json.dumps({"no_namespaces": str(e)}).encode() + b"\n")
            os._exit(1)
        pid = os.fork()
        if pid == 0:
            system.die_with_parent(signal.SIGKILL)
            serve(is_root)
            os._exit(0)
        os.close(write)
        os.waitpid(pid, 0)
        code = 0
    finally:
        os._exit(code)


def _unshare() -> bool:
    """Network, mount and pid namespaces of our own, as root or as a user namespace's root. Whether it is real root."""
    flags = system.CLONE_NEWNET | system.CLONE_NEWNS | system.CLONE_NEWPID
    try:
        system.unshare(flags)
    except PermissionError:
        system.enter_user_namespace(flags)
    system.mount(None, b"/", None, system.MS_REC | system.MS_PRIVATE)
    system.mount(b"tmpfs", b"/run", b"tmpfs")  # where a probe writes
    return system.is_real_root()


# ---- the keeper ----


@dataclasses.dataclass
class _Running:
    number: int
    pid: int
    until_s: float
    data: bytearray


class _Keeper:
    """Process 1: starts probes, gathers what they tell, and ends those that hang."""

    def __init__(
        self, probes: Sequence[Probe], jobs: int, limit_s: float, is_root: bool, write: int, stay: int
    ) -> None:
        self.probes = probes
        self.jobs = jobs
        self.limit_s = limit_s
        self.is_root = is_root
        self.write = write
        self.stay = stay
        self.waiting = deque(range(len(probes)))
        self.running: dict[int, _Running] = {}

    def run(self) -> None:
        gc.collect()
        gc.freeze()  # a collection in a child would copy the pages that it shares with us
        while self.waiting or self.running:
            while self._may_start():
                self._start(self.waiting.popleft())
            now = time.monotonic()
            wait_s = max(0.0, min(each.until_s for each in self.running.values()) - now)
            ready = select.select([self.stay, *self.running], [], [], wait_s)[0]
            if self.stay in ready:
                return
            for fd in ready:
                self._read(fd)
            self._end_late()

    def _may_start(self) -> bool:
        if not self.waiting or len(self.running) >= self.jobs:
            return False
        if any(self.probes[each.number].alone for each in self.running.values()):
            return False
        return not (self.running and self.probes[self.waiting[0]].alone)

    def _start(self, number: int) -> None:
        probe = self.probes[number]
        pid, read = system.spawn(lambda write: _answer(probe, self.is_root, write))
        self.running[read] = _Running(number, pid, time.monotonic() + self.limit_s, bytearray())

    def _read(self, fd: int) -> None:
        running = self.running[fd]
        data = os.read(fd, ROOM)
        running.data += data
        if running.data.endswith(b"\n"):
            self._finish(fd, json.loads(running.data))
        elif not data:
            self._finish(fd, {"status": "error", "value": None, "reason": "the probe's process died"})

    def _end_late(self) -> None:
        now = time.monotonic()
        for fd in [fd for fd, each in self.running.items() if each.until_s <= now]:
            reason = f"no end after {self.limit_s:g} s"
            self._finish(fd, {"status": "error", "value": None, "reason": reason})

    def _finish(self, fd: int, told: dict[str, object]) -> None:
        running = self.running.pop(fd)
        os.close(fd)
        try:
            os.killpg(
                running.pid, signal.SIGKILL
            )  # its children, too; it has not been reaped, so the number is its own
        except ProcessLookupError:
            os.kill(running.pid, signal.SIGKILL)  # it has not come to be its group's leader
        os.waitpid(running.pid, 0)
        _reap_group(running.pid)
        os.write(self.write, json.dumps({"number": running.number, **told}).encode() + b"\n")


def _reap_group(pid: int) -> None:
    """The killed children of a probe are process 1's now."""
    try:
        while True:
            os.waitpid(-pid, 0)
    except ChildProcessError:
        return


def _answer(probe: Probe, is_root: bool, write: int) -> None:
    """In a probe's process: runs it and tells what came of it, in a line."""
    os.setpgid(0, 0)
    system.die_with_parent(signal.SIGKILL)
    told: dict[str, object] = {"status": "ok", "value": None, "reason": None}
    try:
        if ROOT in probe.needs and not is_root:
            raise NotAvailable("needs root of the machine, not of a user namespace")
        told["value"] = probe.run(World(is_root))
        line = json.dumps(told)
    except NotAvailable as e:
        line = json.dumps({**told, "status": "n/a", "value": None, "reason": str(e)})
    except Exception as e:
        line = json.dumps({**told, "status": "error", "value": None, "reason": f"{type(e).__name__}: {e}{_place(e)}"})
    data = line.encode() + b"\n"
    while data:
        data = data[os.write(write, data) :]


def _place(e: Exception) -> str:
    """Where in the probe's own file an error came up."""
    where, place = e.__traceback__, ""
    while where is not None:
        file = where.tb_frame.f_code.co_filename
        if os.path.basename(os.path.dirname(file)) == "subjects":
            place = f" ({os.path.basename(file)}:{where.tb_lineno})"
        where = where.tb_next
    return place
