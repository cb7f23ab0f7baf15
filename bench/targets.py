"""The targets in targets.toml, evaluated from a document of tools/bench."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.results import CPU, WALL, Document, Refused, Spread, inverse, limit, spread

FILE = Path(__file__).resolve().with_name("targets.toml")
KEYS = {"what", "scenario", "metric", "ours", "against"}
LIMITS = {"limit", "limit_ms"}


@dataclasses.dataclass(frozen=True)
class Target:
    """One row."""

    what: str
    scenario: str
    metric: str
    ours: str
    against: str
    limit: str | float  # as in the file
    unit: str = ""  # empty: the limit is a ratio; "ms": a difference

    def measured(self, document: Document) -> Spread | None:
        """None: it was not."""
        if not self.unit:
            return document.ratio(self.scenario, self.ours, self.against, self.metric)
        value = document.difference(self.scenario, self.ours, self.against, self.metric)
        return value and value.times(1e3)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A target and its measured value."""

    target: Target
    value: Spread | None

    @property
    def limit(self) -> str:
        """`≤ 1.15`."""
        return f"≤ {self.target.limit} {self.target.unit}".rstrip()

    @property
    def reached(self) -> bool | None:
        """Whether the median is within the limit; None: not measured."""
        return None if self.value is None else self.value.median <= limit(self.target.limit)

    @property
    def verdict(self) -> str:
        """The verdict in a word or two."""
        if self.value is None:
            return "not measured"
        if self.reached:
            return "yes"
        # A quartile within the limit is reported, but does not count.
        return "no (some rounds)" if self.value.low <= limit(self.target.limit) else "no"

    @property
    def words(self) -> str:
        """The measured value, in the form of the limit."""
        if isinstance(self.target.limit, str):
            return inverse(self.value)
        return spread(self.value, self.target.unit)


def load(file: Path = FILE) -> list[Target]:
    """Reads the targets. Raises Refused for a wrong entry."""
    found = []
    for raw in tomllib.loads(file.read_text(encoding="utf-8")).get("target", []):
        if why := _wrong(raw):
            raise Refused(f"{file.name}: {raw.get('what', '(no name)')}: {why}")
        (kind,) = raw.keys() & LIMITS
        words = {key: raw[key] for key in KEYS}
        found.append(Target(**words, limit=raw[kind], unit=kind.removeprefix("limit").removeprefix("_")))
    return found


def _wrong(raw: Mapping[str, Any]) -> str:
    if raw.keys() - LIMITS != KEYS or len(raw.keys() & LIMITS) != 1:
        return f"an entry has {', '.join(sorted(KEYS))}, and limit or limit_ms"
    return "" if raw["metric"] in (WALL, CPU) else "the metric is wall or cpu"


def evaluate(targets: Sequence[Target], documents: Sequence[Document]) -> list[Verdict]:
    """Evaluates each target on the running kernel: the first document that is not a guest's."""
    running = next((each for each in documents if not each.uml), None)
    return [Verdict(target, target.measured(running) if running else None) for target in targets]
