"""Another process that changes something while a move runs: at a notification, by a program that waits for its line."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import threading
import time

from .rows import Race
from .world import Numbers, World, expand

LIMIT_S = 20


def _hurry(pid: int) -> None:
    """A racer does not wait for a processor, where that is allowed; 0: the calling thread."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))


class Racer:
    """Waits in a thread for the notification; a context manager."""

    def __init__(self, race: Race, world: World) -> None:
        self.race = race
        self.done_at = 0.0
        self.errors = ""  # of a racer that came too late for some of its lines
        where = getattr(world, race.where)
        self._monitor = getattr(world, race.side).monitor()
        numbers = Numbers(race.where)
        self._batch = [each for line in race.lines if not line.startswith("sysctl ") for each in expand(line, numbers)]
        with where.entered():
            # Files of /proc/sys/net are those of the opening thread's namespace.
            written = [line.split()[1:] for line in race.lines if line.startswith("sysctl ")]
            self._sysctls = [(os.open(f"/proc/sys/net/{path}", os.O_WRONLY), value) for path, value in written]
            # stdbuf: the ip of Debian sid keeps what it writes to a pipe until it ends.
            self._ip = subprocess.Popen(
                ["stdbuf", "-oL", "ip", "-force", "-batch", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, bufsize=0,
            )  # fmt: skip
        _hurry(self._ip.pid)
        self._say("link show dev lo")  # it has started, and has its socket
        self._hear()
        self._thread = threading.Thread(target=self._run)
        self._stop, self._stopped = os.pipe()

    def _say(self, *lines: str) -> None:
        assert self._ip.stdin
        self._ip.stdin.write("".join(f"{line}\n" for line in lines).encode())

    def _hear(self) -> None:
        assert self._ip.stdout
        os.read(self._ip.stdout.fileno(), 1 << 16)

    def __enter__(self) -> Racer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.finish()
        self._monitor.raw.close()
        for fd in (self._stop, self._stopped, *(fd for fd, _ in self._sysctls)):
            os.close(fd)
        assert self._ip.stdin
        assert self._ip.stdout
        self._ip.stdin.close()
        assert self._ip.stderr
        self.errors = self._ip.stderr.read().decode()
        for file in (self._ip.stdout, self._ip.stderr):
            file.close()
        self._ip.wait(LIMIT_S)

    def start(self) -> None:
        self._monitor.seen()
        self._thread.start()

    def finish(self) -> None:
        """The move is at its end."""
        if self._thread.ident is not None and self._thread.is_alive():
            os.write(self._stopped, b"x")
        if self._thread.ident is not None:
            self._thread.join(LIMIT_S)

    def _run(self) -> None:
        _hurry(0)
        seen = 0
        while seen < self.race.nth:
            ready, _, _ = select.select([self._monitor.raw, self._stop], [], [], LIMIT_S)
            seen += self._monitor.seen().count(self.race.what)
            if self._monitor.raw not in ready:
                return
        for fd, value in self._sysctls:
            os.write(fd, value.encode())
        if self._batch:
            self._say(*self._batch, "link show dev lo")
            self._hear()
        self.done_at = time.monotonic()
