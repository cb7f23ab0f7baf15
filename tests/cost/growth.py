"""How the cost of a move grows with what there is: one axis after the other, slopes and exponents.

The measures: system calls, bytes of netlink, and executed bytecodes, which stand for Python's work (trace.py). What
the compiled core computes by itself is counted in test_core.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import trace
from .shown import aligned
from .source import Source
from .trace import Cost

MEASURES: dict[str, Callable[[Cost], int]] = {
    "calls": lambda cost: cost.total_calls,
    "bytes": lambda cost: cost.bytes,
    "bytecodes": lambda cost: cost.bytecodes,
}


@dataclass(frozen=True)
class Axis:
    """One thing of which there is more and more, and nothing else changes.

    Attributes:
        is_foreign: No device of the batch has it. Then a batch of FEW devices meets it, and one of MANY, and the
            engines take turns; otherwise each engine has scenes of its own.
    """

    name: str
    points: tuple[int, ...]
    source: Callable[[int], Source]
    is_foreign: bool = False


FEW, MANY = 2, 6


def _foreign(name: str, points: tuple[int, ...], field: str, **others: Any) -> Axis:
    return Axis(name, points, lambda n: Source(batches=(FEW, MANY), **{field: n, **others}), is_foreign=True)


# Not 32, and not 1000 others: with some numbers of devices (34, 35, 69, 70, ...) the kernel leaves all entries of one
# family out of a dump of RTM_GETNEIGHTBL. Where the header of the second table does not fit into the datagram, it goes
# on behind as many entries as the first one had. Source: net/core/neighbour.c, neightbl_dump_info().
DEVICES = Axis("devices in the batch", (1, 2, 4, 8, 16, 31), lambda n: Source(batches=(n,)))
ADDRESSES = Axis("addresses on the device", (0, 100, 500, 1000), lambda n: Source(addresses=n, ipv6=True))
SOURCE = (
    _foreign("other devices in the source", (0, 250, 1100), "others"),
    _foreign("routes in the source", (0, 2500, 10_000), "routes"),
    _foreign("other devices' addresses in the source", (0, 1000, 4000), "other_addresses", ipv6=True),
    _foreign("neighbours in the source", (0, 1000, 4000), "neighbours"),
)
TARGET = _foreign("devices in the target", (0, 250, 1000), "target_others")
TAKEN = _foreign("devices in the target, ifindexes clash", (0, 250, 1000), "target_others", same_ifindexes=True)
AXES = (DEVICES, ADDRESSES, *SOURCE, TARGET, TAKEN)


@dataclass(frozen=True)
class Growth:
    """A measure along an axis.

    Attributes:
        devices: Of the batch; None: what grows is the batch's own.
        slope: For one more, at the upper end.
        exponent: Of what is added to the cost at the first point, at the upper end: 1 is linear; 0: nothing is added.
    """

    axis: Axis
    devices: int | None
    measure: str
    values: tuple[int, ...]

    @property
    def slope(self) -> float:
        *_, a, b = self.axis.points
        return (self.values[-1] - self.values[-2]) / (b - a)

    @property
    def exponent(self) -> float:
        first, *_, a, b = self.axis.points
        added = [value - self.values[0] for value in self.values[-2:]]
        if added[1] <= 0:
            return 0.0
        return math.log(added[1] / max(added[0], 1)) / math.log((b - first) / (a - first))


def measured(axis: Axis, engines: Sequence[str]) -> dict[str, list[Growth]]:
    """Each measure along an axis, for each of the source's batches, by engine."""
    if axis.is_foreign:
        points = [trace.costs_of_each(axis.source(n), engines, count=True) for n in axis.points]
    else:
        points = [{e: trace.costs(axis.source(n), e, count=True) for e in engines} for n in axis.points]
    return {
        engine: [
            Growth(axis, devices if axis.is_foreign else None, name, tuple(value(p[engine][batch]) for p in points))
            for name, value in MEASURES.items()
            for batch, devices in enumerate(axis.source(1).batches)
        ]
        for engine in engines
    }


def table(grown: Sequence[Growth]) -> str:
    """One line a measure: what is moved, the values at the points, slope and exponent."""
    axis = grown[0].axis
    rows: list[list[object]] = [["", *(f"{n:,}" for n in axis.points), "each more", "exponent"]]
    for growth in grown:
        who = growth.measure if growth.devices is None else f"{growth.measure}, {growth.devices} moved"
        rows.append([who, *(f"{v:,}" for v in growth.values), f"{growth.slope:,.2f}", f"{growth.exponent:.2f}"])
    return f"{axis.name}\n{aligned(rows)}"
