"""What a move costs, counted: system calls, bytes of netlink, executed bytecodes.

Devices are UP, with two IPv4 addresses each. "A device" is what one more costs in a batch of ten, "a batch" is what is
there without any, "an address" is one more of a thousand of both families. --growth prints what each device, route,
address and neighbour costs that is not moved, too (a minute).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter

from tests.cost import growth, trace
from tests.cost.growth import MEASURES
from tests.cost.shown import aligned, by_name
from tests.cost.source import Source
from tests.cost.trace import ENGINES, Cost


def summary(engine: str) -> str:
    ones, tens = (trace.costs(Source(batches=(n, n)), engine, count=True) for n in (1, 10))
    recorded = trace.costs(Source(batches=(10, 10)), engine, count=True, journal=True)
    many = [trace.costs(Source(addresses=n, ipv6=True), engine, count=True)[0] for n in (500, 1000)]
    rows: list[list[object]] = [[engine, *MEASURES]]

    def row(name: str, figures: list[float]) -> None:
        rows.append([name, *(f"{figure:,.1f}" for figure in figures)])

    def values(cost: Cost) -> list[int]:
        return [value(cost) for value in MEASURES.values()]

    # The second move of a process: nothing is loaded on first use any more.
    each = [(b - a) / 9 for a, b in zip(values(ones[1]), values(tens[1]), strict=True)]
    row("a device", each)
    row("a batch", [a - b for a, b in zip(values(ones[1]), each, strict=True)])
    row("an address", [(b - a) / 500 for a, b in zip(values(many[0]), values(many[1]), strict=True)])
    for name, which in ("a process's first record", 0), ("a record", 1):
        row(name, [b - a for a, b in zip(values(tens[which]), values(recorded[which]), strict=True)])
    columns: dict[str, Counter[str]] = {
        "1 device": ones[1].calls,
        "10 devices": tens[1].calls,
        "10, first record": recorded[0].calls,
        "10, record": recorded[1].calls,
    }
    return f"{aligned(rows)}\n\n{by_name(columns)}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--growth", action="store_true", help="along eight axes")
    args = parser.parse_args()
    print(f"Linux {os.uname().release}, Python {sys.version.split()[0]}\n")
    for engine in ENGINES:
        print(summary(engine), flush=True)
    for axis in growth.AXES if args.growth else ():
        for engine, found in growth.measured(axis, ENGINES).items():
            print(f"{engine}: {growth.table(found)}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
