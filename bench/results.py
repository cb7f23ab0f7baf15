"""Reads documents of tools/bench, and computes paired ratios with their spread and fits of the cost.

A document is a pytest-benchmark JSON file of one kernel, or what store.py keeps of it; each of its benchmarks is one
round of one contestant in one scenario. Contestants take turns, so that two which are compared meet the same noise: a
ratio is taken in each round, and their median is reported. A round that was not verified is listed, and not used.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from bench import store

PLAIN, PHASED = "floor plain", "floor phased"
FLOORS = (PLAIN, "floor plain-one-ack", PHASED)
NATIVE, REFERENCE = "netdevns native", "netdevns reference"
C_BATCH = "netdevns C batch"
BARE_START = "runtime bare"
# A container's start, by the way its devices arrive; each with 1 and 10 of them.
PREPARED, STATIC_HOOK, OWN_MOVE, PYTHON_HOOK = (
    "runtime, prepared", "runtime + netdevns-hook", "runtime + its own move", "runtime + netdevns hook",
)  # fmt: skip
WAYS = (PREPARED, STATIC_HOOK, OWN_MOVE, PYTHON_HOOK)
COUNTS = {1: "1 device", 10: "10 devices"}
OWN_MOVES = tuple(f"{OWN_MOVE}, {count}" for count in COUNTS.values())
STARTS = (BARE_START, *(f"{way}, {count}" for way in WAYS for count in COUNTS.values()))
# Hooks that move nothing.
IDLE = ("runtime + empty hook", f"{STATIC_HOOK}, no devices", f"{PYTHON_HOOK}, no devices")
# The order of contestants in tables; others come last.
CONTESTANTS = (
    *FLOORS, C_BATCH, NATIVE, REFERENCE, f"{NATIVE} record", f"{REFERENCE} record", "netdevns command",
    "netdevns-hook", "netdevns hook", "netdevns hook reference", "ip -batch", "ip per step", "pyroute2", "go",
    STARTS[0], *IDLE, *STARTS[1:],
)  # fmt: skip
# The baselines where no floor takes part: a process that does nothing, a container without a hook.
BARE = ("true", "python", "python isolated", "bare python", BARE_START)
PEERS = ("ip -batch", "ip per step", "pyroute2", "go")
WALL, CPU, RSS = "wall", "cpu", "rss"
METRICS = {WALL: "wall_s", CPU: "cpu_s", RSS: "max_rss_kib"}
# Keys of machine_info.
FACTS = {"cpu": "CPU", "cores": "processors", "hz": "CONFIG_HZ", "python": "Python", "netdevns_commit": "netdevns"}


class Refused(Exception):
    """A file is unusable; the text is one line."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """The median and the quartiles of values."""

    median: float
    low: float  # the quartiles
    high: float
    least: float
    most: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """The spread of at least one value, else None."""
        known = sorted(values)
        if not known:
            return None
        low, middle, high = statistics.quantiles(known, n=4, method="inclusive") if len(known) > 1 else known * 3
        return cls(middle, low, high, known[0], known[-1], len(known))

    def times(self, factor: float) -> Spread:
        """In another unit."""
        middle, low, high, least, most = (
            factor * each for each in (self.median, self.low, self.high, self.least, self.most)
        )
        return Spread(middle, low, high, least, most, self.count)


@dataclasses.dataclass(frozen=True)
class Scenario:
    """The job of the contestants."""

    id: str
    devices: int
    ipv4: int  # addresses of each device
    ipv6: int
    other_devices: int = 0  # in the source, not to be moved
    target_devices: int = 0  # in the target already
    other_routes: int = 0
    callers: int = 1  # processes that move concurrently

    @property
    def whole_processes(self) -> bool:
        """Whether it measures a process's start and memory, not the growth of a move."""
        return self.id.endswith(("-cold", "-move")) or self.id.startswith(("hook-", "import", "memory-"))

    @property
    def addresses(self) -> int:
        """Of all devices."""
        return self.devices * (self.ipv4 + self.ipv6)


@dataclasses.dataclass(frozen=True)
class Dropped:
    """Discarded rounds, and why."""

    scenario: str
    contestant: str
    why: str
    rounds: int

    def __str__(self) -> str:
        return f"{self.scenario}, {self.contestant}: {self.rounds} not used: {self.why}"


Values = Mapping[int, Mapping[str, float]]  # by round: by metric


@dataclasses.dataclass(frozen=True)
class Document:
    """The measurements on one kernel."""

    file: str
    kernel: str
    uml: bool
    machine: Mapping[str, str]  # facts for the page
    scenarios: Mapping[str, Scenario]
    series: Mapping[tuple[str, str], Values]  # (scenario, contestant)
    dropped: Sequence[Dropped]

    @property
    def name(self) -> str:
        """`UML 6.12.113`, `Linux 6.18.44`, without a distribution's suffix."""
        return f"{'UML' if self.uml else 'Linux'} {'.'.join(map(str, version(self.kernel)))}"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that are shown: User Mode Linux counts CPU time in jiffies of 10 ms, too coarse to show."""
        return (WALL,) if self.uml else (WALL, CPU)

    def contestants(self, scenario: str) -> list[str]:
        """Contestants with a valid round, in the order of CONTESTANTS."""
        found = [contestant for id_, contestant in self.series if id_ == scenario]
        return sorted(found, key=lambda name: CONTESTANTS.index(name) if name in CONTESTANTS else len(CONTESTANTS))

    def bases(self, scenario: str) -> list[str]:
        """The baselines of a scenario: its floors, else a process that does nothing."""
        there = self.contestants(scenario)
        floors = [name for name in (PLAIN, PHASED) if name in there]
        return floors or [name for name in BARE if name in there][:1]

    def value(self, scenario: str, contestant: str, metric: str) -> Spread | None:
        """Seconds, or KiB."""
        if self.uml and metric == CPU:
            return None
        rounds = self.series.get((scenario, contestant), {}).values()
        return Spread.of(each[metric] for each in rounds if metric in each)

    def ratio(self, scenario: str, ours: str, theirs: str, metric: str) -> Spread | None:
        """Ours / theirs, in the rounds that both have."""
        return Spread.of(self.ratios(scenario, ours, theirs, metric))

    def ratios(self, scenario: str, ours: str, theirs: str, metric: str) -> list[float]:
        """Ours / theirs of each round that both have."""
        return [a / b for a, b in self._pairs((scenario, ours), (scenario, theirs), metric) if b > 0]

    def difference(self, scenario: str, ours: str, theirs: str, metric: str) -> Spread | None:
        """Ours - theirs, in the rounds that both have; seconds, or KiB."""
        return Spread.of(a - b for a, b in self._pairs((scenario, ours), (scenario, theirs), metric))

    def growth(self, scenario: str, base: str, contestant: str, metric: str) -> Spread | None:
        """A contestant's times in a scenario / its median in another one; not paired, as that was another time."""
        value, alone = self.value(scenario, contestant, metric), self.value(base, contestant, metric)
        return value.times(1 / alone.median) if value and alone and alone.median > 0 else None

    def _pairs(self, ours: tuple[str, str], theirs: tuple[str, str], metric: str) -> list[tuple[float, float]]:
        if self.uml and metric == CPU:
            return []
        a, b = self.series.get(ours, {}), self.series.get(theirs, {})
        return [(a[k][metric], b[k][metric]) for k in sorted(a.keys() & b.keys()) if metric in a[k] and metric in b[k]]


# ---- reading ----


def load(file: str | Path) -> Document:
    """One document. Raises Refused."""
    try:
        raw = json.loads(Path(file).read_text(encoding="utf-8"))
        return parsed(store.expanded(raw) if "rounds" in raw else raw, Path(file).name)
    except OSError as e:
        raise Refused(f"{file}: {e.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Refused(f"{file}: no document of tools/bench") from None


def load_all(files: Sequence[str | Path]) -> list[Document]:
    """Several, one for each kernel, that of the running kernel first. Raises Refused."""
    documents = sorted((load(file) for file in files), key=lambda each: (each.uml, version(each.kernel)))
    names = [each.name for each in documents]
    for name in names:
        if names.count(name) > 1:
            both = ", ".join(each.file for each in documents if each.name == name)
            raise Refused(f"{both}: the same kernel, {name}; give one document of each")
    return documents


def version(release: str) -> tuple[int, ...]:
    """`6.12.113-x` -> (6, 12, 113). Raises ValueError."""
    found = re.match(r"\d+(\.\d+)*", release)
    if not found:
        raise ValueError(f"{release} is no release of a kernel")
    return tuple(map(int, found[0].split(".")))


def parsed(raw: Mapping[str, Any], file: str) -> Document:
    """Decodes a document. Raises KeyError, TypeError or ValueError for another shape."""
    machine, benchmarks = raw["machine_info"], raw["benchmarks"]
    scenarios: dict[str, Scenario] = {}
    series: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    dropped: dict[tuple[str, str, str], int] = {}
    for info in (benchmark["extra_info"] for benchmark in benchmarks):
        id_, contestant, number = str(info["scenario"]), str(info["contestant"]), int(info["round"])
        sizes = {each.name: info.get(each.name) for each in dataclasses.fields(Scenario) if each.name != "id"}
        scenario = Scenario(id_, **{name: int(size) for name, size in sizes.items() if size is not None})
        if scenarios.setdefault(id_, scenario) != scenario:
            raise ValueError(f"{id_} is two different scenarios")
        if why := _unusable(info):
            dropped[id_, contestant, why] = dropped.get((id_, contestant, why), 0) + 1
            continue
        values = {metric: float(info[key]) for metric, key in METRICS.items() if info.get(key) is not None}
        series.setdefault((id_, contestant), {})[number] = values
    version(str(machine["kernel"]))  # raises if it is no version
    return Document(
        file, str(machine["kernel"]), bool(machine["uml"]), _facts(machine), scenarios, series,
        [Dropped(*key, rounds) for key, rounds in dropped.items()],
    )  # fmt: skip


def _unusable(info: Mapping[str, Any]) -> str:
    if info.get("verified") is not True:
        return " ".join(str(info.get("why") or "not verified").split())
    return "" if isinstance(info.get("wall_s"), (int, float)) else "no time"


def _facts(machine: Mapping[str, Any]) -> dict[str, str]:
    """Facts that differ between machines: the CPU, and the versions of all contestants."""
    known = {**machine, "cpu": machine.get("cpu", {}).get("brand_raw")}
    found = {title: known.get(key) for key, title in FACTS.items()} | dict(machine.get("versions", {}))
    return {key: str(value) for key, value in found.items() if value not in (None, "")}


# ---- growth of the cost ----


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fit of seconds to a number of things: a line through the medians, and the exponent of the growth."""

    slope_s: float  # for each
    fixed_s: float
    exponent: float  # 1: twice as many take twice as long
    points: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, points: Iterable[tuple[int, float]]) -> Fit | None:
        """None: fewer than two different numbers."""
        known = sorted((x, y) for x, y in points if x > 0 and y > 0)
        if len({x for x, _ in known}) < 2:
            return None
        line = statistics.linear_regression([x for x, _ in known], [y for _, y in known])
        power = statistics.linear_regression([math.log(x) for x, _ in known], [math.log(y) for _, y in known])
        return cls(line.slope, line.intercept, power.slope, tuple(known))


def sizes(document: Document) -> list[Scenario]:
    """Batches that differ only in the number of devices: batch-1 ... batch-1000."""
    return _family(document, "batch-", lambda each: each.devices)


def address_counts(document: Document) -> list[Scenario]:
    """One device with more and more addresses: addresses-1000, addresses-10000."""
    return _family(document, "addresses-", lambda each: each.addresses)


def containers(document: Document) -> list[Scenario]:
    """A container's start, by each runtime."""
    return [each for id_, each in document.scenarios.items() if id_.startswith("container-")]


def newest(document: Document) -> list[tuple[str, str]]:
    """Scenario and title (`crun 1.28`) of each runtime that moves devices itself."""
    ids = [each.id for each in containers(document) if each.id.endswith("-newest")]
    names = [(id_, id_.split("-")[1]) for id_ in ids if document.contestants(id_)]
    return [(id_, f"{name} {document.machine.get(name, '')}".rstrip()) for id_, name in names]


def _family(document: Document, prefix: str, size: Any) -> list[Scenario]:
    found = [each for id_, each in document.scenarios.items() if id_.removeprefix(prefix).isdigit()]
    return sorted(found, key=size)


def per_device(document: Document, contestant: str, metric: str) -> Fit | None:
    """The growth of the cost with the number of devices."""
    found = [(each.devices, document.value(each.id, contestant, metric)) for each in sizes(document)]
    return Fit.of((size, value.median) for size, value in found if value)


def per_address(document: Document, contestant: str, metric: str) -> Fit | None:
    """The growth of the cost with the number of addresses."""
    found = [(each.addresses, document.value(each.id, contestant, metric)) for each in address_counts(document)]
    return Fit.of((size, value.median) for size, value in found if value)


def crowded(document: Document) -> list[tuple[Scenario, Scenario]]:
    """Pairs of a scenario among other devices or routes and the same one alone, if both were measured."""
    found = []
    for scenario in document.scenarios.values():
        alone = dataclasses.replace(scenario, other_devices=0, target_devices=0, other_routes=0)
        if alone != scenario:
            same = [id_ for id_, each in document.scenarios.items() if dataclasses.replace(alone, id=id_) == each]
            # Of scenarios with one layout (batch-1, batch-1-cold, ...), the shortest name is the plain one.
            batches = [id_ for id_ in same if id_.startswith("batch-")]
            if batches:
                found.append((scenario, document.scenarios[min(batches, key=len)]))
    return found


# ---- formatting of numbers ----


def number(value: float) -> str:
    """Three digits, never an exponent."""
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{min(digits, 4)}f}"


def spread(value: Spread | None, unit: str = "") -> str:
    """`0.85 (0.83-0.88)`: the median and the quartiles."""
    if value is None:
        return "-"
    text = f"{number(value.median)}{unit and f' {unit}'}"
    return text if value.count == 1 else f"{text} ({number(value.low)} to {number(value.high)})"


def inverse(value: Spread | None) -> str:
    """`1/12.1 (1/12.9 to 1/11.8)`."""
    if value is None or not (value.low > 0 and value.median > 0):
        return spread(value)
    text = f"1/{number(1 / value.median)}"
    return text if value.count == 1 else f"{text} (1/{number(1 / value.low)} to 1/{number(1 / value.high)})"


def limit(text: str | float) -> float:
    """`1/12` or a number."""
    return float(Fraction(text)) if isinstance(text, str) else float(text)
