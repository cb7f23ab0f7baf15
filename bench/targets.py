"""The targets in targets.toml, evaluated from documents of tools/bench."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.results import METRICS, NATIVE, REFERENCE, Document, Refused, Spread, inverse, limit, spread

FILE = Path(__file__).resolve().with_name("targets.toml")
ENGINES = {"native": NATIVE, "reference": REFERENCE}
KERNELS = ("running", "uml")
UNITS = {"ms": 1e3, "MiB": 1 / 1024}  # of a second, of a KiB
KEYS = {"what", "scenario", "metric", "kind", "against", "kernels", "native"}


@dataclasses.dataclass(frozen=True)
class Goal:
    """What one engine is to reach."""

    contestants: Sequence[str]  # the first of these that was measured
    limit: str | float  # as it is written
    aim: str | float | None

    def words(self, unit: str) -> str:
        """`≤ 1.15, aim 0.95`."""
        return f"≤ {self.limit}{unit and f' {unit}'}" + (f", aim {self.aim}" if self.aim is not None else "")


@dataclasses.dataclass(frozen=True)
class Target:
    """One row."""

    what: str
    scenario: str
    metric: str
    is_ratio: bool
    unit: str
    against: Sequence[str]
    uml: bool
    goals: Mapping[str, Goal]  # by engine

    def measured(self, document: Document, engine: str) -> Spread | None:
        """None: it was not, on this kernel."""
        there = document.contestants(self.scenario)
        ours = next((name for name in self.goals[engine].contestants if name in there), None)
        theirs = next((name for name in self.against if name in there), None)
        if ours is None or theirs is None:
            return None
        if self.is_ratio:
            return document.ratio(self.scenario, ours, theirs, self.metric)
        value = document.difference(self.scenario, ours, theirs, self.metric)
        return value and value.times(UNITS[self.unit])


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A target, of one engine, on one kernel."""

    target: Target
    engine: str
    kernel: str
    value: Spread | None

    @property
    def goal(self) -> Goal:
        return self.target.goals[self.engine]

    @property
    def reached(self) -> bool | None:
        """Whether the median is; None: nothing was measured."""
        return None if self.value is None else self.value.median <= limit(self.goal.limit)

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.value is None:
            return "not measured"
        aim = self.goal.aim
        if self.reached:
            return "yes, and the aim" if aim is not None and self.value.median <= limit(aim) else "yes"
        # What other rounds might have shown otherwise is said, and is no excuse.
        return "no (some rounds)" if self.value.low <= limit(self.goal.limit) else "no"

    @property
    def words(self) -> str:
        """What was measured, in the form of the limit."""
        if isinstance(self.goal.limit, str):
            return inverse(self.value)
        return spread(self.value, self.target.unit)


def load(file: Path = FILE) -> list[Target]:
    """Raises Refused where an entry is wrong."""
    found = []
    for raw in tomllib.loads(file.read_text(encoding="utf-8")).get("target", []):
        if why := _wrong(raw):
            raise Refused(f"{file.name}: {raw.get('what', '(no name)')}: {why}")
        goals = {
            engine: Goal(raw[engine].get("contestants", [default]), raw[engine]["limit"], raw[engine].get("aim"))
            for engine, default in ENGINES.items()
            if engine in raw
        }
        is_ratio, is_uml = raw["kind"] == "ratio", raw["kernels"] == "uml"
        what = (raw["what"], raw["scenario"], raw["metric"])
        found.append(Target(*what, is_ratio, raw.get("unit", ""), raw["against"], is_uml, goals))
    return found


def _wrong(raw: Mapping[str, Any]) -> str:
    if raw.keys() - KEYS - {"unit", "reference"} or KEYS - raw.keys():
        return f"an entry has {', '.join(sorted(KEYS))}, unit where it is a difference, and perhaps reference"
    if raw["metric"] not in METRICS or raw["kernels"] not in KERNELS or raw["kind"] not in ("ratio", "difference"):
        return "metric, kind or kernels is none of those that there are"
    if (raw["kind"] == "difference") != (raw.get("unit") in UNITS):
        return f"a difference has a unit, one of {', '.join(UNITS)}; a ratio has none"
    if any(
        raw[engine].keys() - {"limit", "aim", "contestants"} or "limit" not in raw[engine]
        for engine in ENGINES.keys() & raw.keys()
    ):
        return "an engine has limit, aim, contestants"
    return ""


def evaluate(targets: Sequence[Target], documents: Sequence[Document]) -> list[dict[str, Verdict]]:
    """By engine, for each target and each kernel that it is about; without such a document nothing was measured."""
    found = []
    for target in targets:
        mine = [each for each in documents if each.uml == target.uml]
        for document in mine:
            found.append(
                {
                    engine: Verdict(target, engine, document.name, target.measured(document, engine))
                    for engine in target.goals
                }
            )
        if not mine:
            kernel = "UML" if target.uml else "running"
            found.append({engine: Verdict(target, engine, kernel, None) for engine in target.goals})
    return found


def known(rows: Sequence[Mapping[str, Verdict]]) -> list[Mapping[str, Verdict]]:
    """Those of which something was measured."""
    return [row for row in rows if any(each.value for each in row.values())]
