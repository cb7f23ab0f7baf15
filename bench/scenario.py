"""The scenarios: devices, task, contestants and rounds of each."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass, replace

from .layout import Layout
from .results import BARE_START, C_BATCH, IDLE, OWN_MOVES, STARTS

FLOORS = ("floor plain", "floor plain-one-ack", "floor phased")
ENGINES = ("netdevns native", "netdevns reference")
HOOKS = ("netdevns hook", "netdevns hook reference", "netdevns-hook")
PEERS = ("ip -batch", "pyroute2", "go")
BATCH = (*FLOORS, C_BATCH, *ENGINES, *PEERS)
FEW = ("floor plain", "floor phased", C_BATCH, *ENGINES, "ip -batch")


@dataclass(frozen=True)
class Scenario:
    """One row of the report.

    Args:
        contestants: In the order in which they take their turns in each round.
        rounds: By default.
        main: Whether it runs without --all.
        on_page: Whether docs/performance.md and its appendix have it: of those, all are measured in one go.
        task: "move", "check", "rollback" or "import".
        callers: Number of processes that move one device each, to a target of its own, at the same time.
        cold: Whole processes are measured, from fork to exit.
        guest: Whether it runs by default in a guest of User Mode Linux, which is slow at starting processes as no other
            machine is, and at the largest.
        runtime: What starts a container in it (container.py).
        first: A process's first move is measured.
    """

    id: str
    layout: Layout
    contestants: tuple[str, ...]
    rounds: int = 5
    main: bool = False
    on_page: bool = True
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
        """Whether processes that start before the job do a warm-up move, as a long-running runtime has."""
        return self.layout.devices > 0 and not (self.cold or self.first)

    @property
    def moves(self) -> bool:
        """Whether the devices are in the target afterwards."""
        return self.task == "move"

    @property
    def surroundings(self) -> bool:
        """Whether the source has something that is expensive to set up."""
        return bool(self.other_devices or self.other_routes)

    def described(self) -> dict[str, object]:
        """The scenario's description in reports."""
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
    yield Scenario("batch-1", Layout(1), (*BATCH, "ip per step"), rounds=9, main=True)
    # Without the Go peer, which has no one-shot process.
    cold = (
        *("floor plain", *ENGINES, "netdevns command", "netdevns-hook", "netdevns hook"),
        *("ip -batch", "ip per step", "pyroute2"),
    )
    yield Scenario("batch-1-cold", Layout(1), cold, rounds=5, main=True, cold=True, guest=False)
    yield Scenario("batch-10", Layout(10), (*BATCH, "ip per step"), rounds=5, main=True)
    yield Scenario("batch-60", Layout(60), (*BATCH, *(f"{engine} record" for engine in ENGINES)), rounds=5, main=True)
    few = ("floor plain", "netdevns command", "ip per step")
    yield Scenario("batch-60-cold", Layout(60), few, on_page=False, cold=True, guest=False)
    yield Scenario("batch-200", Layout(200), BATCH, rounds=3, on_page=False)
    large = ("floor plain", "floor phased", C_BATCH, *ENGINES, "ip -batch", "go")
    yield Scenario("batch-1000", Layout(1000), large, rounds=3, on_page=False, guest=False)
    for ipv4, ipv6 in ((0, 0), (16, 0), (0, 2), (0, 16), (2, 2)):
        family = f"-v6x{ipv6}" if not ipv4 and ipv6 else f"-v4x{ipv4}" + (f"-v6x{ipv6}" if ipv6 else "")
        main = (ipv4, ipv6) == (2, 2)
        on_page = main or ipv4 == 16
        contestants = FEW if on_page else BATCH
        yield Scenario(
            f"batch-60{family}", Layout(60, ipv4, ipv6), contestants, rounds=3, main=main, on_page=on_page, guest=False
        )


def _large() -> Iterator[Scenario]:
    one = ("floor plain", "floor plain-one-ack", C_BATCH, *ENGINES, *PEERS)
    yield Scenario("addresses-1000", Layout(1, 1000), one, rounds=5, main=True)
    few = ("floor plain", C_BATCH, *ENGINES, "ip -batch")
    yield Scenario("addresses-10000", Layout(1, 10_000), few, rounds=3, guest=False)
    host_routes = Layout(1, 10_000, host_routes=True)
    yield Scenario("addresses-10000-32", host_routes, one, rounds=3, on_page=False, guest=False)
    yield Scenario("addresses-1000-v6", Layout(1, 0, 1000), one, rounds=5, on_page=False)
    ten = ("floor plain", C_BATCH, *ENGINES, *PEERS)
    yield Scenario("target-1000", Layout(10), ten, rounds=3, target_devices=1000, on_page=False, guest=False)
    yield Scenario("source-10000", Layout(10), ten, rounds=3, other_devices=10_000, guest=False)
    yield Scenario("routes-200000", Layout(10), ten, rounds=3, other_routes=200_000, guest=False)


def _others() -> Iterator[Scenario]:
    yield Scenario("check-60", Layout(60), ENGINES, rounds=3, task="check", main=True, guest=False)
    yield Scenario("rollback-60", Layout(60), ENGINES, rounds=3, task="rollback", guest=False)
    callers = ("floor plain", C_BATCH, *ENGINES, "netdevns native threads", "ip -batch", "go")
    for count in (2, 4, 8):
        # 4: compared with one, they show the cost of waiting for each other.
        yield Scenario(
            f"callers-{count}", Layout(count), callers, main=count == 4, on_page=count == 4, callers=count, guest=False
        )
    first = ("floor plain", *(f"{e} first" for e in ENGINES))
    yield Scenario("first-move", Layout(1), first, rounds=15, on_page=False, guest=False, first=True)
    memory = ("bare python", "floor plain", *ENGINES)
    yield Scenario("memory-10000", Layout(1, 10_000), memory, rounds=1, on_page=False, guest=False)


def _processes() -> Iterator[Scenario]:
    idle = ("true", "python isolated", *HOOKS)
    yield Scenario("hook-nothing", Layout(0), idle, rounds=15, task="import", main=True, cold=True, guest=False)
    yield Scenario("hook-1", Layout(1), ("floor plain", *HOOKS), rounds=15, main=True, cold=True, guest=False)
    imports = ("python", *(f"{e} import{what}" for e in ENGINES for what in ("", ", move")))
    yield Scenario("import", Layout(0), imports, rounds=9, task="import", main=True, cold=True, guest=False)


def _containers() -> Iterator[Scenario]:
    for runtime in ("crun-newest", "runc-newest", "crun", "runc"):
        newest = runtime.endswith("-newest")
        starts = STARTS if newest else (*STARTS[:1], *IDLE, *STARTS[1:])
        yield Scenario(
            f"container-{runtime}", Layout(10), starts, rounds=15 if newest else 9, on_page=newest, cold=True,
            runtime=runtime, guest=False,
        )  # fmt: skip
    own = (BARE_START, *OWN_MOVES)
    yield Scenario("container-embed", Layout(10), own, rounds=9, on_page=False, cold=True, runtime="embed", guest=False)


SCENARIOS = {scenario.id: scenario for scenario in (*_containers(), *_processes(), *_batches(), *_large(), *_others())}


def chosen(
    patterns: list[str],
    contestants: list[str],
    rounds: int | None,
    *,
    everything: bool,
    quick: bool,
    page: bool = False,
    guest: bool = False,
) -> list[Scenario]:
    """Scenarios selected by the command's options."""
    found = []
    for scenario in SCENARIOS.values():
        named = any(fnmatch.fnmatchcase(scenario.id, pattern) for pattern in patterns)
        wanted = scenario.on_page if page else everything or scenario.main
        if not (named if patterns else wanted and (scenario.guest or not guest)):
            continue
        who = tuple(c for c in scenario.contestants if not contestants or _matches(c, contestants))
        times = rounds or (min(2, scenario.rounds) if quick else scenario.rounds)
        if who:
            found.append(replace(scenario, contestants=who, rounds=times))
    return found


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
