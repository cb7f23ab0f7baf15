"""The tables of documents as text in cells, for bench.summary and bench.page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from bench import results
from bench.results import C_BATCH, CPU, FLOORS, NATIVE, PEERS, REFERENCE, RSS, WALL, Document, Spread, number, spread
from bench.targets import Verdict

ABSENT = "-"
MOVE = "batch-60"  # the baseline of variants
TITLES = {WALL: "wall", CPU: "CPU"}
WAYS = {
    results.PREPARED: "prepared", results.STATIC_HOOK: "`netdevns-hook`", results.OWN_MOVE: "the runtime's own move",
    results.PYTHON_HOOK: "`netdevns hook` (Python)",
}  # fmt: skip
OURS = (C_BATCH, NATIVE, REFERENCE)
COLUMNS = (*FLOORS[1:], *OURS, *PEERS)  # beside the plain floor


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under titles."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]


Of = Callable[[Document], Table | None]


def contestants(document: Document, scenario: str) -> Table:
    """All contestants of one scenario: times, and ratios to the baselines."""
    bases = document.bases(scenario)
    titles = ["contestant"]
    titles += [f"{TITLES[metric]}, ms" for metric in document.metrics]
    titles += [f"{TITLES[metric]} / {base}" for base in bases for metric in document.metrics]
    rows = []
    for name in document.contestants(scenario):
        row = [name, *(_ms(document.value(scenario, name, metric)) for metric in document.metrics)]
        for base in bases:
            row += [
                ABSENT if name == base else spread(document.ratio(scenario, name, base, metric))
                for metric in document.metrics
            ]
        rows.append(row)
    return Table(titles, rows)


def _ms(value: Spread | None) -> str:
    return ABSENT if value is None else number(value.median * 1e3)


def targets(verdicts: Sequence[Verdict]) -> Table:
    """Each target with its limit, the measured value, and whether it was reached."""
    rows = [[each.target.what, each.limit, each.words, each.verdict] for each in verdicts]
    return Table(["what", "target", "measured", "reached"], rows)


def starts(document: Document) -> Table | None:
    """A container's start in ms, and its difference to the bare one; None: not measured."""
    runtimes = results.newest(document)
    titles = ["start", *(f"{title}, {count}" for _, title in runtimes for count in results.COUNTS.values())]
    first, *others = results.COUNTS.values()
    bare = [_ms(document.value(id_, results.BARE_START, WALL)) if count == first else "" for id_, _ in runtimes
            for count in (first, *others)]  # fmt: skip
    rows = [["bare", *bare]]
    for way, label in WAYS.items():
        cells = [_over(document, id_, f"{way}, {count}") for id_, _ in runtimes for count in results.COUNTS.values()]
        rows.append([label, *cells])
    return Table(titles, rows) if runtimes else None


def _over(document: Document, scenario: str, start: str) -> str:
    """`31.1 (+19.4)`."""
    more = document.difference(scenario, start, results.BARE_START, WALL)
    value = _ms(document.value(scenario, start, WALL))
    return value if more is None else f"{value} ({'+' if more.median >= 0 else ''}{number(more.median * 1e3)})"


def cost(document: Document) -> Table | None:
    """For docs/embedding.md: netdevns in a batch against the floor and the others; None: not measured."""
    columns = [("wall / floor", WALL, results.PLAIN), ("CPU / floor", CPU, results.PLAIN)]
    columns += [(f"CPU / `{peer}`", CPU, peer) for peer in ("ip -batch", "pyroute2", "go")]
    rows = []
    for name in OURS:
        values = [document.ratio(MOVE, name, against, metric) for _, metric, against in columns]
        if any(values):
            cells = [f"{value.median:.2f}" if value else ABSENT for value in values]
            rows.append([name.removeprefix("netdevns "), *cells])
    return Table(["", *(title for title, _, _ in columns)], rows) if rows else None


def costs(document: Document) -> Table | None:
    """The cost of one more device and of one more address; None: no two batches of different sizes were measured."""
    kinds = (("device", results.sizes, results.per_device), ("address", results.address_counts, results.per_address))
    titles, columns = ["contestant"], []
    for what, family, fit in kinds:
        if len(family(document)) < 2:
            continue
        for metric in document.metrics:
            titles += [f"{TITLES[metric]}, µs per {what}", "exponent"]
            columns.append((fit, metric))
    rows = []
    names = {name for _, name in document.series}
    for name in (each for each in results.CONTESTANTS if each in names):
        row = [name]
        for fit, metric in columns:
            found = fit(document, name, metric)
            row += [number(found.slope_s * 1e6), f"{found.exponent:.2f}"] if found else [ABSENT, ABSENT]
        if set(row[1:]) != {ABSENT}:
            rows.append(row)
    return Table(titles, rows) if columns and rows else None


def growth(document: Document) -> Table | None:
    """The ratio of a move among other devices and routes to the move alone; None: not measured."""
    rows = []
    for scenario, alone in results.crowded(document):
        for name in document.contestants(scenario.id):
            cells = []
            for metric in document.metrics:
                more, one = (document.value(id_, name, metric) for id_ in (scenario.id, alone.id))
                cells.append(spread(document.growth(scenario.id, alone.id, name, metric)))
                cells.append(number((more.median - one.median) * 1e3) if more and one else ABSENT)
            if set(cells) != {ABSENT}:
                rows.append([crowd(scenario), alone.id, name, *cells])
    titles = ["among", "alone", "contestant"]
    titles += [title for m in document.metrics for title in (f"{TITLES[m]}: times alone", f"{TITLES[m]}: added, ms")]
    return Table(titles, rows) if rows else None


def overview(document: Document) -> list[tuple[str, Table]]:
    """Medians of ratios to the plain floor: a row for each scenario and metric, a column for each contestant."""
    there = [id_ for id_ in document.scenarios if results.PLAIN in document.contestants(id_)]
    shown = [id_ for id_ in there if not document.scenarios[id_].whole_processes]
    columns = [name for name in COLUMNS if any(name in document.contestants(id_) for id_ in shown)]
    found = []
    for metric in document.metrics:
        rows = []
        for id_ in shown:
            ratios = [document.ratio(id_, name, results.PLAIN, metric) for name in columns]
            rows.append([id_, *(number(value.median) if value else ABSENT for value in ratios)])
        rows = [row for row in rows if set(row[1:]) != {ABSENT}]
        if rows:
            found.append((TITLES[metric], Table(["scenario", *columns], rows)))
    return found


def safety(document: Document, engines: Sequence[str] = (NATIVE, REFERENCE)) -> Table | None:
    """The cost of a record, of the check alone and of an undo, beside the same move; None: not measured."""
    rows = []
    for engine in engines:
        for what, id_, name in (
            ("a move", MOVE, engine),
            ("a move, with the record", MOVE, f"{engine} record"),
            ("the check alone", "check-60", engine),
            ("a move that is interrupted after the last device, and its undo", "rollback-60", engine),
        ):
            if name not in document.contestants(id_):
                continue
            row = [
                what,
                engine.removeprefix("netdevns "),
                *(_ms(document.value(id_, name, m)) for m in document.metrics),
            ]
            for metric in document.metrics:
                paired = id_ == MOVE
                value = (
                    document.ratio(id_, name, engine, metric) if paired else document.growth(id_, MOVE, name, metric)
                )
                row.append(ABSENT if name == engine and paired else spread(value))
            rows.append(row)
    titles = ["60 devices", "engine", *(f"{TITLES[metric]}, ms" for metric in document.metrics)]
    titles += [f"{TITLES[metric]}: times the move" for metric in document.metrics]
    return Table(titles, rows) if rows else None


def rest(document: Document) -> Table | None:
    """Whole processes, a process's first moves, memory."""
    rows = []
    for id_ in document.scenarios:
        for name in document.contestants(id_) if document.scenarios[id_].whole_processes else ():
            memory = document.value(id_, name, RSS)
            row = [id_, name, *(_ms(document.value(id_, name, metric)) for metric in document.metrics)]
            row.append(number(memory.median / 1024) if memory else ABSENT)
            others = [base for base in document.bases(id_)[:1] if base != name and name not in results.BARE]
            ratios = [f"{spread(document.ratio(id_, name, base, WALL))} of {base}" for base in others]
            row += ratios or [ABSENT]
            rows.append(row)
    titles = ["scenario", "contestant", *(f"{TITLES[metric]}, ms" for metric in document.metrics)]
    return Table([*titles, "peak memory, MiB", "wall: times"], rows) if rows else None


def crowd(scenario: results.Scenario) -> str:
    """`1,000 devices in the target (target-1000)`."""
    parts = [
        (scenario.other_devices, "devices in the source"),
        (scenario.target_devices, "devices in the target"),
        (scenario.other_routes, "routes in the source"),
    ]
    return f"{' and '.join(f'{count:,} {what}' for count, what in parts if count)} ({scenario.id})"


def dropped(documents: Sequence[Document]) -> list[str]:
    """One line for each contestant with discarded rounds."""
    return [f"{document.name}: {each}" for document in documents for each in document.dropped]
