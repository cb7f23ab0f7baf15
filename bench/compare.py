"""Compares the ratios to the floor in two documents of tools/bench: before and after a change, or of two kernels.

Each is compared with the floor of its own rounds: so do two runs on one machine, even if it was busier once. A change
is marked where it is larger than the spread: the quartiles of the two do not overlap, and chance alone would rank the
rounds so in at most one of a hundred comparisons, which takes five rounds of each. A load that was there in one run
alone is no chance: to be sure, measure before, after, and before again. Exit code 2: a file is no such
document.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
import sys
from collections.abc import Sequence

from bench.report import ABSENT, TITLES, Table
from bench.results import PLAIN, Document, Refused, Spread, load, spread
from bench.summary import show

CHANCE = 0.01  # marks one or two of 150 comparisons by chance
FEWEST = 5  # rounds of each: with 4 and 4, complete separation has a p-value of 0.03
COMPARED = ("CPU", "processors", "CONFIG_HZ")  # facts that a ratio may depend on


@dataclasses.dataclass(frozen=True)
class Change:
    """One contestant in one scenario, against the floor, in two documents."""

    scenario: str
    contestant: str
    against: str
    metric: str
    before: Spread
    after: Spread
    chance: float  # the p-value

    @property
    def share(self) -> float:
        """-0.05: 5 % less than before."""
        return self.after.median / self.before.median - 1

    @property
    def exceeds_spread(self) -> bool:
        overlap = self.after.low <= self.before.high and self.before.low <= self.after.high
        return not overlap and self.chance <= CHANCE

    @property
    def mark(self) -> str:
        if not self.exceeds_spread:
            return ""
        return "more" if self.share > 0 else "less"


def chance(before: Sequence[float], after: Sequence[float]) -> float:
    """The exact two-sided p-value of the Mann-Whitney test; slightly too large for ties."""
    n, m = len(before), len(after)
    below = sum((a < b) + (a == b) / 2 for a in before for b in after)
    rare = math.floor(min(below, n * m - below) + 0.5)
    return min(1.0, 2 * sum(_orders(n, m, u) for u in range(rare + 1)) / math.comb(n + m, n))


@functools.cache
def _orders(n: int, m: int, pairs: int) -> int:
    """The number of orders of n and m values in which so many pairs have the first above the second."""
    if pairs < 0 or not n or not m:
        return int(pairs == 0)
    # The largest is one of the n, and above all of the m, or one of the m.
    return _orders(n - 1, m, pairs - m) + _orders(n, m - 1, pairs)


def changes(before: Document, after: Document) -> list[Change]:
    """Compares all that both documents have, in the order of the first."""
    found = []
    for scenario in before.scenarios:
        there = [name for name in before.contestants(scenario) if name in after.contestants(scenario)]
        floor = next((name for name in before.bases(scenario) if name in there), "")
        for name in there if floor else ():
            for metric in before.metrics:
                a, b = (each.ratios(scenario, name, floor, metric) for each in (before, after))
                one, other = Spread.of(a), Spread.of(b)
                if name != floor and one and other:
                    found.append(Change(scenario, name, floor, metric, one, other, chance(a, b)))
    return found


def differences(before: Document, after: Document) -> list[str]:
    """Differences of machine, kernel and versions, one line each."""
    found = []
    if before.name != after.name:
        found.append(f"two kernels: {before.name} and {after.name}; only ratios to the floor can be compared")
    other = [
        f"{key} {before.machine.get(key, 'unknown')} and {after.machine.get(key, 'unknown')}"
        for key in sorted(before.machine.keys() | after.machine.keys())
        if before.machine.get(key) != after.machine.get(key) and key in COMPARED
    ]
    if other and before.uml == after.uml:  # User Mode Linux has a CPU of its own on any machine
        found.append(f"two machines: {'; '.join(other)}; a difference may be theirs")
    shapes = [id_ for id_, each in before.scenarios.items() if after.scenarios.get(id_, each) != each]
    if shapes:
        found.append(f"not the same work: {', '.join(shapes)}")
    return found


def missing(before: Document, after: Document) -> list[str]:
    """The scenarios and contestants that only one of the two has."""
    found = []
    for one, other in ((before, after), (after, before)):
        only = [
            f"{id_} of {name}" if other.contestants(id_) else id_
            for id_, name in one.series
            if (id_, name) not in other.series
        ]
        if only:
            found.append(f"only in {one.file}: {', '.join(dict.fromkeys(only))}")
    return found


def table(found: Sequence[Change]) -> Table:
    titles = ["scenario", "contestant", "time", "before", "after", "change", ""]
    rows = []
    for each in found:
        what = f"{TITLES[each.metric]} / {each.against}" if each.against != PLAIN else TITLES[each.metric]
        share = f"{each.share:+.1%}" if each.share else ABSENT
        words = [spread(each.before), spread(each.after), share, each.mark]
        rows.append([each.scenario, each.contestant, what, *words])
    return Table(titles, rows)


def as_json(found: Sequence[Change], notes: Sequence[str]) -> str:
    rows = [{**dataclasses.asdict(each), "change": each.share, "mark": each.mark} for each in found]
    return json.dumps({"notes": list(notes), "changes": rows}, indent=2)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bench.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", metavar="A.json")
    parser.add_argument("after", metavar="B.json")
    parser.add_argument("--marked", action="store_true", help="only what changed by more than the spread")
    parser.add_argument("--json", action="store_true", help="one JSON document, with the extremes")
    args = parser.parse_args(argv)
    try:
        before, after = load(args.before), load(args.after)
    except Refused as e:
        print(e, file=sys.stderr)
        return 2
    every = changes(before, after)
    marked = [each for each in every if each.mark]
    notes = [*differences(before, after), *missing(before, after)]
    few = [each for each in every if min(each.before.count, each.after.count) < FEWEST]
    if few:
        ids = ", ".join(dict.fromkeys(each.scenario for each in few))
        notes.append(f"never marked, for want of {FEWEST} rounds of each: {ids}")
    notes += [f"{each.file}: {one}" for each in (before, after) for one in each.dropped]
    if args.json:
        print(as_json(marked if args.marked else every, notes))
        return 0
    shown = marked if args.marked else every
    if shown:
        show(f"ratios to the floor: {before.file} and {after.file}", table(shown))
    print(*notes, sep="\n", end="\n" if notes else "")
    print(f"{len(every)} compared, {len(marked)} changed by more than the spread of the rounds")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
