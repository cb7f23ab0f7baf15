"""One round of one contestant: sets up devices, starts it, runs its job, verifies the result, tears down."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netdevns import JOURNAL_DIR
from tests.support import rawdump
from tests.support.namespaces import Namespace

from . import layout as layouts
from . import verify
from .contestants import Contestant, Setting
from .scenario import Scenario

TOP = Path(__file__).resolve().parent.parent
WORKER_TIMEOUT_S = 240
SETTLE_S = 0.1  # for the kernel's work after the set-up, even if a contestant is ready sooner
MS_BIND, MNT_DETACH = 4096, 2
_libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """A contestant's process broke the protocol of worker.py, or failed."""


@dataclass(frozen=True)
class Result:
    wall_s: float = 0.0
    cpu_s: float = 0.0
    max_rss_kib: int | None = None
    more: dict[str, Any] = field(default_factory=dict)
    why: str = ""  # it was discarded


class Place:
    """The namespaces of a scenario. Expensive set-up (other devices, routes) is kept between rounds."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.host: Namespace | None = None
        self.dying: list[Namespace] = []

    def fresh_host(self) -> Namespace:
        if self.host is None:
            self.host = Namespace.create("host")
            self.host.ip("link set lo up")
            if self.scenario.other_devices:
                furnish(self.host, layouts.others(self.scenario.other_devices))
            if self.scenario.other_routes:
                furnish(self.host, layouts.routes(self.scenario.other_routes))
        return self.host

    def leave_host(self) -> None:
        if self.host is not None:
            self.dying.append(self.host)
            self.host = None
        self._bury()

    def _bury(self) -> None:
        destroy(self.dying)
        self.dying = []

    def play(self, contestant: Contestant) -> Result:
        """Never raises for a contestant's failure: `why` has it."""
        result = Result(why="not played")
        try:
            result = self._play(contestant)
        finally:
            if result.why or not self.scenario.surroundings:
                self.leave_host()  # with the targets: the kernel cleans them up together
            self._bury()
        return result

    def _play(self, contestant: Contestant) -> Result:
        scenario, layout, host = self.scenario, self.scenario.layout, self.fresh_host()
        with contextlib.ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="bench-", dir="/run"))  # a tmpfs
            stack.callback(shutil.rmtree, folder)
            if "NETDEVNS_OWN_RUN" in os.environ:  # otherwise a hook would read the loans of earlier turns
                stack.callback(shutil.rmtree, JOURNAL_DIR, ignore_errors=True)
            targets = [stack.enter_context(self._target(f"bench{i}")) for i in range(scenario.callers)]
            for target in targets:
                target.ip("link set lo up")
                if scenario.target_devices:
                    furnish(target, layouts.others(scenario.target_devices))
            here = _names(host)
            there = [_names(target) for target in targets]
            spare = None
            if scenario.is_warm and contestant.stays:
                spare = stack.enter_context(self._target("spare"))
            furnish(host, layout.lines())
            setting = Setting(scenario, host, targets, folder, stack, spare)
            try:
                with host.entered():
                    times = _race(contestant, setting)
            except Failed as e:
                return Result(why=str(e))
            result = combined(times)
            why = self._verify(host, targets, here, there, contestant)
            return Result(result.wall_s, result.cpu_s, result.max_rss_kib, result.more, why)

    @contextlib.contextmanager
    def _target(self, name: str) -> Iterator[Namespace]:
        """A named namespace, as of `ip netns add`; leaves nothing."""
        path = Path("/run/netns") / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        namespace = Namespace.create(name)
        try:
            if _libc.mount(namespace.path.encode(), bytes(path), b"none", MS_BIND, None):
                raise OSError(ctypes.get_errno(), f"mount {path}")
            yield namespace
        finally:
            _libc.umount2(bytes(path), MNT_DETACH)
            path.unlink()
            self.dying.append(namespace)

    def _verify(
        self,
        host: Namespace,
        targets: list[Namespace],
        here: set[str],
        there: list[set[str]],
        contestant: Contestant,
    ) -> str:
        layout = self.scenario.layout
        moved = 0 if not self.scenario.moves else layout.devices if contestant.moves is None else contestant.moves
        stay = {old: n for n, old in enumerate(layout.names) if n >= moved}
        why = verify.wrong(layout, stay, here, host.ip_json("addr show"), "source")
        for i, target in enumerate(targets):
            # One target gets all devices; of several, each gets the device of its own number.
            arrive = {
                new: n for n, new in enumerate(layout.names.values()) if n < moved and (len(targets) == 1 or n == i)
            }
            relabelled = contestant.relabels or self.scenario.runtime == "embed"
            shown = target.ip_json("addr show")
            why = why or verify.wrong(layout, arrive, there[i], shown, "target", relabelled=relabelled)
        return why


def furnish(namespace: Namespace, lines: Iterator[str]) -> None:
    """In parts: `ip -batch` keeps 4 KiB per line, and a guest of User Mode Linux has little memory."""
    while part := list(itertools.islice(lines, 10_000)):
        namespace.batch(part)


def combined(times: list[dict[str, Any]]) -> Result:
    """Of concurrent callers: the wall time of the slowest, the CPU time of all."""
    more = {key: sum(t[key] for t in times) for key in ("user_s", "system_s") if all(key in t for t in times)}
    peaks = [t["max_rss_kib"] for t in times if "max_rss_kib" in t]
    return Result(max(t["wall_s"] for t in times), sum(t["cpu_s"] for t in times), max(peaks, default=None), more)


def _race(contestant: Contestant, setting: Setting) -> list[dict[str, Any]]:
    commands = [(argv, setting) for argv in contestant.commands(setting)]
    _wait_for_carriers(setting.host)
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker(n, *each)) for n, each in enumerate(commands)]
        for worker in workers:
            if (line := worker.line()) != "ready":
                raise Failed(f"said {line!r} instead of ready")
        time.sleep(SETTLE_S)
        for worker in workers:
            worker.start()
        return [worker.times() for worker in workers]


class Worker:
    """A contestant's process; a context manager."""

    def __init__(self, number: int, argv: list[str], setting: Setting) -> None:
        environment = {**os.environ, "PYTHONPATH": str(TOP), **setting.environment}
        self.log = setting.folder / f"stderr{number}"
        with open(self.log, "wb") as stderr:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                pass_fds=[n.fd for n in (*setting.targets, setting.spare) if n is not None],
                env=environment,
                cwd=setting.folder,
            )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exc: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def line(self) -> str:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], WORKER_TIMEOUT_S)[0]:
            self.process.kill()
            raise Failed(f"silent for {WORKER_TIMEOUT_S} s")
        line = self.process.stdout.readline().decode().strip()
        if not line:
            code = self.process.wait()
            said = self.log.read_text(errors="replace").strip().splitlines()
            raise Failed(f"exit code {code}: {'; '.join(said[-2:]) or 'nothing on stderr'}")
        return line

    def start(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.stdin.flush()

    def times(self) -> dict[str, Any]:
        line = self.line()
        try:
            times = dict(json.loads(line))
            return times if {"wall_s", "cpu_s"} <= times.keys() else _no_times(line)
        except ValueError:
            return _no_times(line)


def _no_times(line: str) -> dict[str, Any]:
    raise Failed(f"said {line!r} instead of its times")


def _names(namespace: Namespace) -> set[str]:
    with namespace.entered():
        return {name for _, name in socket.if_nameindex()}


def _wait_for_carriers(host: Namespace) -> None:
    """Waits for work that the set-up started: it must not overlap with the measurement."""
    end = time.monotonic() + 10
    with host.socket() as raw:
        while rawdump.carrier_events_to_come(raw) and time.monotonic() < end:
            time.sleep(0.01)


def destroy(namespaces: list[Namespace]) -> None:
    """Closes namespaces and waits until their devices are gone; otherwise the next turn would be disturbed.

    A veth's other end stays here until the kernel has deleted it.
    """
    ends = []
    for namespace in namespaces:
        end = f"end{namespace.fd}"
        peer = f"peer name {end} netns /proc/{os.getpid()}/fd/{namespace.fd}"
        subprocess.run(["ip", *f"link add {end} type veth {peer}".split()], check=True)
        namespace.close()
        ends.append(end)
    deadline = time.monotonic() + 60
    while {name for _, name in socket.if_nameindex()} & set(ends) and time.monotonic() < deadline:
        time.sleep(0.002)
