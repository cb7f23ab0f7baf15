"""Profiles netdevns: a batch, phase by phase, with the time of engine and kernel apart from that of Python.

    ./tools/bench profile                  # NETDEVNS_ENGINE=reference: the other engine
    ./tools/bench profile --kernel 6.12    # in User Mode Linux, by wall time: CPU time has steps of 10 ms

Sixty devices with two addresses each, UP, as the scenario batch-60 has them; medians of the batches after the first,
which is shown apart: it touches code and memory for the first time. The engine's calls are wrapped, which costs some of
what is shown as Python's; in User Mode Linux much of it, since reading the clock is a system call there.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netdevns import api
from netdevns.batch import checks, transaction
from netdevns.engine import Device, Socket, Watch
from netdevns.engine.phases import Phases
from tests.support.namespaces import Namespace

from .layout import Layout
from .round import furnish

DEVICES = 60
BATCHES = 8
ENGINE = os.environ.get("NETDEVNS_ENGINE") or "native"
PHASES = ("check", "snapshots", "links down", "moves", "late addresses", "replays", "comparison", "result")
IS_UML = "User Mode Linux" in Path("/proc/cpuinfo").read_text(encoding="utf-8")


class Clock:
    """Wall and CPU time of the engine's calls and of everything, by phase."""

    def __init__(self) -> None:
        self.phase = ""
        self.engine = dict.fromkeys(PHASES, 0.0)
        self.all = dict.fromkeys(PHASES, 0.0)
        self.begun = 0.0
        self.is_inside = False  # a call of the engine

    @staticmethod
    def now() -> float:
        return time.perf_counter() if IS_UML else time.thread_time()

    def enter(self, phase: str) -> None:
        now = self.now()
        if self.phase:
            self.all[self.phase] += now - self.begun
        self.phase, self.begun = phase, now

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **more: Any) -> Any:
            if self.is_inside:  # the reference engine's steps call its own socket
                return call(*args, **more)
            self.is_inside, begin = True, self.now()
            try:
                return call(*args, **more)
            finally:
                self.is_inside = False
                if self.phase:
                    self.engine[self.phase] += self.now() - begin

        return wrapped


CLOCK = Clock()


def entering(phase: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a call with which a phase begins."""

    def wrapped(*args: Any, **more: Any) -> Any:
        if CLOCK.phase != phase:
            CLOCK.enter(phase)
        return call(*args, **more)

    return wrapped


def arrange() -> None:
    steps = ("snapshot", "set_down", "move_next", "catch_up", "replay_next", "verify_next")
    for owner, names in (
        (Socket, ("__init__", "query", "read", "command", "close")),
        (Watch, ("__init__", "close")),
        (Device, ("__init__", "snapshot", "move", "up_and_replay", "verify", "late")),
        *([(Phases, ("__init__", *steps))] if ENGINE == "native" else []),
    ):
        for name in names:
            setattr(owner, name, CLOCK.timed(getattr(owner, name)))
    batch: Any = transaction.Batch
    begins: list[tuple[Any, str, str]] = [
        (checks, "examine", "check"),
        (Phases, "snapshot", "snapshots"),
        (Phases, "set_down", "links down"),
        (Phases, "move_next", "moves"),
        (Phases, "catch_up", "late addresses"),
        (Phases, "replay_next", "replays"),
        (Phases, "verify_next", "comparison"),
        (batch, "results", "result"),
    ]
    for owner, name, phase in begins:
        setattr(owner, name, entering(phase, getattr(owner, name)))


def batch() -> tuple[Clock, int]:
    """One batch in fresh namespaces: its clock and the number of page faults."""
    layout = Layout(DEVICES)
    with Namespace.create("host") as host, Namespace.create("target") as target, host.entered():
        furnish(host, layout.lines())
        host.wait_until_quiet()
        time.sleep(0.1)
        CLOCK.__init__()  # type: ignore[misc]  # the wrappers refer to this object
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        api.move(layout.names, target.fd)
        CLOCK.enter("")
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
        done = Clock()
        done.engine, done.all = dict(CLOCK.engine), dict(CLOCK.all)
    return done, faults


def main() -> int:
    from netdevns import results  # imported beforehand: its import is not measured

    assert results.Moved.__module__
    arrange()
    found = [batch() for _ in range(BATCHES)]
    (first, first_faults), later = found[0], found[1:]
    kind = "wall" if IS_UML else "CPU"
    print(f"Linux {os.uname().release}, {ENGINE} engine, {DEVICES} devices: us of {kind} time a device")
    print(f"{'':16}{'in all':>10}{'engine, kernel':>16}{'Python above':>14}{'first batch':>13}")
    for phase in (*PHASES, "sum"):
        keys = PHASES if phase == "sum" else (phase,)
        whole, inner = (
            statistics.median(sum(getattr(clock, which)[key] for key in keys) for clock, _ in later) * 1e6 / DEVICES
            for which in ("all", "engine")
        )
        once = sum(first.all[key] for key in keys) * 1e6 / DEVICES
        print(f"{phase:16}{whole:10.1f}{inner:16.1f}{whole - inner:14.1f}{once:13.1f}")
    print(f"page faults a batch: {statistics.median(f for _, f in later):.0f}; of the first: {first_faults}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
