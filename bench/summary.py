"""Prints documents of tools/bench in a terminal: each scenario, the targets, the cost of a device and an address.

Exit code 2: a file is no such document. --json prints the ratios with their quartiles and extremes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from bench import report, targets
from bench.report import Table
from bench.results import FLOORS, PEERS, Document, Refused, Spread, load_all


def show(title: str, table: Table) -> None:
    """A table by rich, if installed."""
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table as Drawn
    except ImportError:
        print(f"\n{title}", plain(table), sep="\n")
        return
    drawn = Drawn(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(table.titles):
        drawn.add_column(name, overflow="fold", justify="left" if not index else "right")
    for row in table.rows:
        drawn.add_row(*row)
    # A file or a pipe has no width to wrap at.
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 250
    console.print(drawn)


def plain(table: Table) -> str:
    """A plain table; each column is as wide as its cells."""
    lines = [list(table.titles), *map(list, table.rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(table.titles))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def ratios(document: Document) -> list[dict[str, Any]]:
    """Ratios of each contestant to each floor and peer, by scenario and metric."""
    found = []
    for scenario in document.scenarios:
        there = document.contestants(scenario)
        for theirs in (name for name in (*FLOORS, *PEERS) if name in there):
            for ours in (name for name in there if name != theirs):
                for metric in document.metrics:
                    value = document.ratio(scenario, ours, theirs, metric)
                    pair = {"scenario": scenario, "contestant": ours, "against": theirs, "metric": metric}
                    found += [{**pair, **_values(value)}] if value else []
    return found


def _values(value: Spread | None) -> dict[str, Any]:
    names = {"median": "median", "low": "q1", "high": "q3", "least": "min", "most": "max", "count": "rounds"}
    return {name: getattr(value, field) for field, name in names.items()} if value else {"median": None}


def as_json(documents: Sequence[Document]) -> dict[str, Any]:
    return {
        "documents": [
            {
                "name": each.name,
                "file": each.file,
                "machine": dict(each.machine),
                "ratios": ratios(each),
                "dropped": [dataclasses.asdict(one) for one in each.dropped],
            }
            for each in documents
        ],
        "targets": [
            {
                "what": each.target.what,
                "limit": each.target.limit,
                "unit": each.target.unit,
                "reached": each.reached,
                **_values(each.value),
            }
            for each in targets.evaluate(targets.load(), documents)
        ],
    }


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bench.summary", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", metavar="JSON", help="what tools/bench wrote, one of each kernel")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    args = parser.parse_args(argv)
    try:
        documents = load_all(args.files)
        wanted = targets.load()
    except Refused as e:
        print(e, file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(as_json(documents), indent=2))
        return 0
    for document in documents:
        for scenario in document.scenarios:
            if document.contestants(scenario):
                show(f"{document.name}: {scenario}", report.contestants(document, scenario))
        for title, table in (
            ("what one more costs", report.costs(document)),
            ("a crowd", report.growth(document)),
            ("what being sure costs", report.safety(document)),
        ):
            if table:
                show(f"{document.name}: {title}", table)
    rows = targets.evaluate(wanted, documents)
    if known := [each for each in rows if each.value]:
        show("targets", report.targets(known))
    if len(known) < len(rows):
        print(f"{len(rows) - len(known)} targets were not measured here")
    for line in report.dropped(documents):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
