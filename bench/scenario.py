"""The scenarios: what is furnished, what is done, by whom, how often."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .container import STEPS
from .layout import Layout
from .results import OWN_MOVES

FLOORS = ("floor plain", "floor plain-one-ack", "floor phased")
ENGINES = ("netdevns native", "netdevns reference")
HOOKS = ("netdevns hook", "netdevns hook reference", "netdevns-hook")
PEERS = ("ip -batch", "pyroute2", "go")
BATCH = (*FLOORS, *ENGINES, *PEERS)


@dataclass(frozen=True)
class Scenario:
    """One row of the report.

    Args:
        contestants: In the order in which they take their turns in each round.
        rounds: By default.
        main: Whether it runs without --all.
        task: "move", or what else is done: "check", "rollback", "import".
        callers: How many move one device each, to a target of its own, at the same time.
        cold: Whole processes are measured, from fork to exit.
        guest: Whether it runs by default in a guest of User Mode Linux, which is slow at starting processes as no other
            machine is, and at the largest.
        runtime: What starts a container in it.
        first: What is measured is a process's first move.
    """

    id: str
    layout: Layout
    contestants: tuple[str, ...]
    rounds: int = 5
    main: bool = False
    task: str = "move"
    other_devices: int = 0
    other_routes: int = 0
    target_devices: int = 0
    callers: int = 1
    cold: bool = False
    guest: bool = True
    runtime: str = ""
    first: bool = False

    @property
    def is_warm(self) -> bool:
        """Whether processes that are there before the job have moved something before, as a runtime has."""
        return self.layout.devices > 0 and not (self.cold or self.first)

    @property
    def moves(self) -> bool:
        """Whether the devices are in the target afterwards."""
        return self.task == "move"

    @property
    def surroundings(self) -> bool:
        """Whether there is something in the source that is dear to furnish."""
        return bool(self.other_devices or self.other_routes)

    def described(self) -> dict[str, object]:
        """For the report."""
        return {
            "scenario": self.id,
            "devices": self.layout.devices,
            "ipv4": self.layout.ipv4,
            "ipv6": self.layout.ipv6,
            "other_devices": self.other_devices,
            "other_routes": self.other_routes,
            "target_devices": self.target_devices,
            "callers": self.callers,
        }


def _batches() -> Iterator[Scenario]:
    records = tuple(f"{engine} record" for engine in ENGINES)
    yield Scenario("batch-1", Layout(1), (*BATCH, "ip per step"), rounds=15, main=True)
    # Without the Go peer: it has no form that is a whole process.
    cold = ("floor plain", *ENGINES, "netdevns command", "netdevns hook", "ip -batch", "ip per step", "pyroute2")
    yield Scenario("batch-1-cold", Layout(1), cold, rounds=9, main=True, cold=True, guest=False)
    yield Scenario("batch-10", Layout(10), (*BATCH, "ip per step"), rounds=5, main=True)
    yield Scenario("batch-60", Layout(60), (*BATCH, *records), rounds=5, main=True)
    yield Scenario(
        "batch-60-cold", Layout(60), ("floor plain", "netdevns command", "ip per step"), cold=True, guest=False
    )
    yield Scenario("batch-200", Layout(200), BATCH, rounds=3)
    yield Scenario(
        "batch-1000", Layout(1000), ("floor plain", "floor phased", *ENGINES, "ip -batch", "go"), rounds=3, guest=False
    )
    for ipv4, ipv6 in ((0, 0), (16, 0), (0, 2), (0, 16), (2, 2)):
        family = f"-v6x{ipv6}" if not ipv4 and ipv6 else f"-v4x{ipv4}" + (f"-v6x{ipv6}" if ipv6 else "")
        main = (ipv4, ipv6) == (2, 2)
        contestants = BATCH if not main else ("floor plain", "floor phased", *ENGINES, "ip -batch")
        yield Scenario(f"batch-60{family}", Layout(60, ipv4, ipv6), contestants, rounds=3, main=main)


def _large() -> Iterator[Scenario]:
    one = ("floor plain", "floor plain-one-ack", *ENGINES, *PEERS)
    yield Scenario("addresses-1000", Layout(1, 1000), one, rounds=5, main=True)
    yield Scenario("addresses-10000", Layout(1, 10_000), one, rounds=3)
    yield Scenario("addresses-10000-32", Layout(1, 10_000, host_routes=True), one, rounds=3, guest=False)
    yield Scenario("addresses-1000-v6", Layout(1, 0, 1000), one, rounds=5)
    ten = ("floor plain", *ENGINES, *PEERS)
    yield Scenario("target-1000", Layout(10), ten, target_devices=1000)
    yield Scenario("source-10000", Layout(10), ten, other_devices=10_000)
    yield Scenario("routes-200000", Layout(10), ten, other_routes=200_000)


def _others() -> Iterator[Scenario]:
    yield Scenario("check-60", Layout(60), ENGINES, task="check", main=True)
    yield Scenario("rollback-60", Layout(60), ("netdevns native", "netdevns reference"), rounds=3, task="rollback")
    yield Scenario(
        "hook-nothing",
        Layout(0),
        ("python isolated", "true", *HOOKS),
        rounds=15,
        task="import",
        main=True,
        cold=True,
        guest=False,
    )
    yield Scenario("hook-1", Layout(1), ("floor plain", *HOOKS), rounds=9, main=True, cold=True, guest=False)
    callers = ("floor plain", *ENGINES, "netdevns native threads", "netdevns reference threads", "ip -batch", "go")
    for count in (2, 4, 8):
        yield Scenario(f"callers-{count}", Layout(count), callers, rounds=7, main=count == 4, callers=count)
    imports = ("python", *(f"{e} import{what}" for e in ENGINES for what in ("", ", move")), "python isolated")
    yield Scenario("import", Layout(0), imports, rounds=15, task="import", main=True, cold=True, guest=False)
    first = ("floor plain", *(f"{e} first" for e in ENGINES))
    yield Scenario("first-move", Layout(1), first, rounds=15, guest=False, first=True)
    for runtime in ("runc", "crun"):
        yield Scenario(
            f"container-{runtime}", Layout(10), tuple(STEPS), rounds=9, cold=True, runtime=runtime, guest=False
        )
    own = ("runtime bare", *OWN_MOVES)
    yield Scenario("container-embed", Layout(10), own, rounds=9, cold=True, runtime="embed", guest=False)
    memory = ("bare python", "floor plain", *ENGINES)
    yield Scenario("memory-10000", Layout(1, 10_000), memory, rounds=1, guest=False)


SCENARIOS = {scenario.id: scenario for scenario in (*_batches(), *_large(), *_others())}


def chosen(
    patterns: list[str],
    contestants: list[str],
    rounds: int | None,
    *,
    everything: bool,
    quick: bool,
    guest: bool = False,
) -> list[Scenario]:
    """Those that the options of the command ask for."""
    found = []
    for scenario in SCENARIOS.values():
        named = any(fnmatch.fnmatchcase(scenario.id, pattern) for pattern in patterns)
        if not (named if patterns else (everything or scenario.main) and (scenario.guest or not guest)):
            continue
        who = tuple(c for c in scenario.contestants if not contestants or _matches(c, contestants))
        times = rounds or (min(2, scenario.rounds) if quick else scenario.rounds)
        if who:
            found.append(replace(scenario, contestants=who, rounds=times))
    return found


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
