"""Runs each probe in namespaces of its own, in other processes, so that the kernel cleans up.

The command forks a helper, which unshares and forks the keeper: process 1 of a pid namespace. The keeper forks workers,
which run the probes; a worker in which a probe leaves something is ended. Each process dies with its parent, and the
namespaces with the processes.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import select
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from struct import Struct
from typing import NoReturn

from . import system
from .probe import ROOT, NotAvailable, Probe, Value
from .world import World

LIMIT_S = 90.0  # of one probe; a move takes 20 ms, a wait for work that the kernel defers up to 60 s
END_S = 5.0  # for the helper's end, which takes milliseconds
ROOM = 1 << 16
NUMBER = Struct("=I")  # of a probe, as a worker receives it


class NoNamespaces(Exception):
    """This user may make no namespaces; the text is the kernel's error."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """A probe's outcome: `status` "ok" with a value, or "n/a" or "error" with a reason."""

    status: str
    value: Value = None
    reason: str | None = None


OnAnswer = Callable[[int, int], None]  # probes done, probes in all


def run(
    probes: Sequence[Probe], *, jobs: int = 0, limit_s: float = LIMIT_S, on_answer: OnAnswer | None = None
) -> list[Answer]:
    """Runs probes and returns their answers, in order.

    Args:
        probes: The probes.
        jobs: Number of probes at a time; 0: one for each processor.
        limit_s: Seconds for each; then it is killed, and its status is "error".
        on_answer: Called after each answer.

    Raises:
        NoNamespaces: This user is not root, and may make no user namespaces. Nothing was started.
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
        _wait(pid)


def _wait(pid: int) -> None:
    """Waits until the helper has ended; kills it after END_S, as the keeper may wait for the kernel."""
    end = time.monotonic() + END_S
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return
        time.sleep(0.002)


def _collect(read: int, count: int, on_answer: OnAnswer | None) -> list[Answer]:
    found: dict[int, Answer] = {}
    with os.fdopen(os.dup(read), encoding="utf-8") as lines:
        for line in lines:
            fields = json.loads(line)
            if "no_namespaces" in fields:
                raise NoNamespaces(fields["no_namespaces"])
            found[fields["number"]] = Answer(fields["status"], fields["value"], fields["reason"])
            if on_answer is not None:
                on_answer(len(found), count)
    lost = Answer("error", reason="the runner died")
    return [found.get(number, lost) for number in range(count)]


# ---- the helper ----


def _help(serve: Callable[[bool], object], write: int) -> NoReturn:
    """The forked helper: unshares, forks the keeper and waits for it."""
    code = 1
    try:
        system.die_with_parent(signal.SIGKILL)
        os.setsid()  # Ctrl-C reaches the command only, which ends the helper
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
    """Unshares network, mount and pid namespaces, without root in a user namespace. Whether this is real root."""
    flags = system.CLONE_NEWNET | system.CLONE_NEWNS | system.CLONE_NEWPID
    try:
        system.unshare(flags)
    except PermissionError:
        system.enter_user_namespace(flags)
    system.mount(None, b"/", None, system.MS_REC | system.MS_PRIVATE)
    system.mount(b"tmpfs", b"/run", b"tmpfs")  # for the probes' files
    return system.is_real_root()


# ---- the keeper ----


@dataclasses.dataclass
class _Worker:
    """A process that runs probes, one after the other."""

    pid: int
    to: socket.socket
    number: int = 0  # of the probe that it runs
    until_s: float = 0.0
    data: bytearray = dataclasses.field(default_factory=bytearray)


class _Keeper:
    """Process 1: hands probes to workers, collects their answers, and ends workers that hang."""

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
        self.running: dict[int, _Worker] = {}
        self.idle: list[_Worker] = []

    def run(self) -> None:
        gc.collect()
        gc.freeze()  # a collection in a child would copy the shared pages
        while self.waiting or self.running:
            while self._may_start():
                self._start(self.waiting.popleft())
            wait_s = max(0.0, min(each.until_s for each in self.running.values()) - time.monotonic())
            ready = select.select([self.stay, *self.running], [], [], wait_s)[0]
            if self.stay in ready:
                return
            for fd in ready:
                self._read(self.running[fd])
            for late in [each for each in self.running.values() if each.until_s <= time.monotonic()]:
                self._finish(late, _error(f"no end after {self.limit_s:g} s"))

    def _may_start(self) -> bool:
        if not self.waiting or len(self.running) >= self.jobs:
            return False
        if any(self.probes[each.number].alone for each in self.running.values()):
            return False
        return not (self.running and self.probes[self.waiting[0]].alone)

    def _start(self, number: int) -> None:
        worker = self.idle.pop() if self.idle else self._fork()
        worker.number, worker.until_s = number, time.monotonic() + self.limit_s
        worker.to.send(NUMBER.pack(number))
        self.running[worker.to.fileno()] = worker

    def _fork(self) -> _Worker:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid:
            theirs.close()
            return _Worker(pid, ours)
        try:
            os.setpgid(0, 0)
            system.die_with_parent(signal.SIGKILL)
            # A worker's descriptors are compared after each probe: it has none of the keeper's.
            for fd in (self.stay, self.write, ours.fileno(), *self.running, *(each.to.fileno() for each in self.idle)):
                os.close(fd)
            _work(self.probes, self.is_root, theirs)
        finally:
            os._exit(0)

    def _read(self, worker: _Worker) -> None:
        data = worker.to.recv(ROOM)
        worker.data += data
        if worker.data.endswith(b"\n"):
            self._finish(worker, json.loads(worker.data))
        elif not data:
            self._finish(worker, _error("the probe's process died"))

    def _finish(self, worker: _Worker, answer: dict[str, Value]) -> None:
        self.running.pop(worker.to.fileno())
        if answer.pop("clean"):
            worker.data.clear()
            self.idle.append(worker)
        else:
            _end(worker)
        os.write(self.write, json.dumps({"number": worker.number, **answer}).encode() + b"\n")


def _fields(status: str, value: Value = None, reason: str | None = None) -> dict[str, Value]:
    return {"status": status, "value": value, "reason": reason, "clean": False}


def _error(reason: str) -> dict[str, Value]:
    return _fields("error", reason=reason)


def _end(worker: _Worker) -> None:
    """Kills a worker and its children, and reaps them: orphans are children of process 1."""
    worker.to.close()
    try:
        os.killpg(worker.pid, signal.SIGKILL)  # not reaped yet, so the pid is still its own
    except ProcessLookupError:
        os.kill(worker.pid, signal.SIGKILL)  # it does not lead its process group yet
    os.waitpid(worker.pid, 0)
    try:
        while True:
            os.waitpid(-worker.pid, 0)
    except ChildProcessError:
        return


# ---- a worker ----


def _work(probes: Sequence[Probe], is_root: bool, to: socket.socket) -> None:
    """Runs probes by number, until one leaves something behind.

    A fork for each probe would be simpler, but takes most of the time on a kernel with slow page faults (UML).
    """
    home = system.current()
    left = _state()
    while data := to.recv(NUMBER.size):
        answer = _answer(probes[NUMBER.unpack(data)[0]], is_root)
        system.enter(home)
        answer["clean"] = answer["status"] != "error" and _state() == left
        to.sendall(json.dumps(answer).encode() + b"\n")


def _state() -> tuple[Value, ...]:
    """Children, threads and descriptors: they keep namespaces alive, or disturb the next probe."""
    try:
        os.waitpid(-1, os.WNOHANG)
        children = True
    except ChildProcessError:
        children = False
    return children, threading.active_count(), *sorted(os.listdir("/proc/self/fd"))


def _answer(probe: Probe, is_root: bool) -> dict[str, Value]:
    """Runs a probe."""
    try:
        if ROOT in probe.needs and not is_root:
            raise NotAvailable("needs root of the machine, not of a user namespace")
        with World(is_root) as world:
            value = probe.run(world)
        json.dumps(value)
    except NotAvailable as e:
        return _fields("n/a", reason=str(e))
    except Exception as e:
        return _error(f"{type(e).__name__}: {e}{_place(e)}")
    return _fields("ok", value)


def _place(e: Exception) -> str:
    """The place in the probe's file where an error was raised."""
    where, place = e.__traceback__, ""
    while where is not None:
        file = where.tb_frame.f_code.co_filename
        if os.path.basename(os.path.dirname(file)) == "subjects":
            place = f" ({os.path.basename(file)}:{where.tb_lineno})"
        where = where.tb_next
    return place
