"""The charts of docs/performance.md: what each of them shows, and where it is left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from bench import drawing, results
from bench.drawing import INK, dots, grid, look, svg
from bench.report import TITLES, crowd
from bench.results import CPU, NATIVE, PHASED, PLAIN, REFERENCE, WALL, Document, number

LINES = (PLAIN, PHASED, NATIVE, REFERENCE, "ip -batch", "pyroute2", "go")


@dataclasses.dataclass(frozen=True)
class Chart:
    """A picture, what it shows, and the file that it goes to."""

    file: str
    alt: str
    svg: str


Family = Callable[[Document], list[results.Scenario]]
Size = Callable[[results.Scenario], int]
Draw = Callable[[Sequence[Document]], Chart | None]


def panels(documents: Sequence[Document]) -> list[tuple[Document, str]]:
    """Each kernel with each time that it can tell."""
    return [(document, metric) for document in documents for metric in document.metrics]


def named(axis: Any, document: Document, metric: str) -> None:
    axis.set_title(f"{document.name}, {TITLES[metric]} time")


def peers(documents: Sequence[Document], scenario: str = "batch-60") -> Chart | None:
    """All contestants of one batch beside each other, against the plain floor."""
    found = []
    for document, metric in panels(documents):
        values = [
            (name, value)
            for name in document.contestants(scenario)
            if (value := document.ratio(scenario, name, PLAIN, metric)) and name != PLAIN
        ]
        if values:
            found.append((document, metric, values))
    if not found:
        return None
    most = max(len(values) for _, _, values in found)
    alt = f"{scenario}: time of each contestant divided by that of the plain floor; median and quartiles of the rounds"
    with drawing.panels(*grid(len(found), 0.6 + most * 0.24)) as (figure, axes):
        for axis, (document, metric, values) in zip(axes, found, strict=False):
            dots(axis, [(name, [(name, value)]) for name, value in values], write=True)
            drawing.ratios(axis, [value for _, value in values])
            axis.margins(x=0.25)  # room for the numbers
            named(axis, document, metric)
        drawing.finished(axes, len(found))
        return Chart("peers.svg", alt, svg(figure, alt))


def floor(documents: Sequence[Document]) -> Chart | None:
    """Both engines against the plain floor, in each scenario."""
    who = (NATIVE, REFERENCE, PHASED)
    found = []
    for document, metric in panels(documents):
        rows = [
            (id_, [(name, value) for name in who if (value := document.ratio(id_, name, PLAIN, metric))])
            for id_ in document.scenarios
            if not id_.endswith("-cold")  # whole processes, of which starting Python is the largest part
        ]
        rows = [row for row in rows if {name for name, _ in row[1]} - {PHASED}]
        if rows:
            found.append((document, metric, rows))
    if not found:
        return None
    most = max(len(rows) for _, _, rows in found)
    alt = "Time of both engines and of the phased floor divided by that of the plain floor, in each scenario"
    with drawing.panels(*grid(len(found), 0.9 + most * 0.26)) as (figure, axes):
        for axis, (document, metric, rows) in zip(axes, found, strict=False):
            dots(axis, rows, write=False)
            drawing.ratios(axis, [value for _, row in rows for _, value in row])
            named(axis, document, metric)
        drawing.finished(axes, len(found))
        drawing.legend(figure, who)
        return Chart("floor.svg", alt, svg(figure, alt))


# ---- lines against a size ----


def lines(documents: Sequence[Document], file: str, what: str, family: Family, size: Size) -> Chart | None:
    """What one of `what` takes against how many there are, for each contestant; both axes logarithmic."""
    found = []
    for document, metric in panels(documents):
        scenarios = [each for each in family(document) if size(each)]
        if len({size(each) for each in scenarios}) < 2:
            continue
        curves = []
        for name in LINES:
            points = [(size(each), document.value(each.id, name, metric)) for each in scenarios]
            known = [(x, value.times(1e6 / x)) for x, value in points if value]
            if len(known) > 1:
                curves.append((name, known))
        if curves:
            found.append((document, metric, curves))
    if not found:
        return None
    alt = f"Time for each {what} against the number of them in one move; median and quartiles, both axes logarithmic"
    with drawing.panels(*grid(len(found), 2.9)) as (figure, axes):
        for axis, (document, metric, curves) in zip(axes, found, strict=False):
            for name, known in curves:
                drawing.curve(axis, name, known)
            drawing.logarithmic(axis, [x for _, known in curves for x, _ in known])
            drawing.labelled(axis, [(name, *known[-1]) for name, known in curves])
            axis.set_xlabel(f"{what.replace('address', 'addresse')}s in one move")
            axis.set_ylabel(f"µs for each {what}")
            named(axis, document, metric)
        drawing.finished(axes, len(found))
        return Chart(file, alt, svg(figure, alt))


def batches(documents: Sequence[Document]) -> Chart | None:
    return lines(documents, "batch.svg", "device", results.sizes, lambda each: each.devices)


def addresses(documents: Sequence[Document]) -> Chart | None:
    return lines(documents, "addresses.svg", "address", results.address_counts, lambda each: each.addresses)


# ---- others ----


def others(documents: Sequence[Document]) -> Chart | None:
    """How much longer a move takes among other devices and routes."""
    found = []
    for document in documents:
        rows = []
        for scenario, alone in results.crowded(document):
            values = [
                (name, value)
                for name in LINES
                if (value := document.growth(scenario.id, alone.id, name, WALL if document.uml else CPU))
            ]
            if values:
                rows.append((crowd(scenario).replace(" (", "\n("), values))
        if rows:
            found.append((document, WALL if document.uml else CPU, rows))
    if not found:
        return None
    most = max(sum(len(values) for _, values in rows) for _, _, rows in found)
    alt = "How many times as much the same move takes with other devices and routes in the namespaces"
    with drawing.panels(len(found), 1, len(found) * (0.9 + most * 0.17) + 0.3) as (figure, axes):
        for axis, (document, metric, rows) in zip(axes, found, strict=True):
            dots(axis, rows, write=False)
            drawing.ratios(axis, [value for _, row in rows for _, value in row], "the same move alone")
            left, right = axis.get_xlim()
            axis.set_xlim(min(left, 0.5), max(right, 2.0))  # noise is not shown as large as the axis
            named(axis, document, metric)
        drawing.legend(
            figure, [name for name in LINES if any(name == n for *_, rows in found for _, vs in rows for n, _ in vs)]
        )
        return Chart("others.svg", alt, svg(figure, alt))


# From the bare runtime to a hook that moves ten devices: each does what the one before it does, and something more.
STEPS = (
    "runtime bare", "runtime + empty hook", "runtime + netdevns hook, no devices", "runtime + netdevns hook, 1 device",
    "runtime + netdevns hook, 10 devices",
)  # fmt: skip


def container(documents: Sequence[Document], scenario: str = "container") -> Chart | None:
    """Where the time of a container's start goes, step by step."""
    found = []
    for document in documents:
        steps = [step for step in STEPS if step in document.contestants(scenario)]
        if len(steps) > 1:
            found.append((document, steps))
    if not found:
        return None
    alt = "Wall time of a container's start: the bare runtime, and what each step adds to it, in ms"
    with drawing.panels(len(found), 1, len(found) * 2.4 + 0.2) as (figure, axes):
        for axis, (document, steps) in zip(axes, found, strict=True):
            end = 0.0
            for y, step in enumerate(steps):
                value = document.difference(scenario, step, steps[y - 1], WALL) if y else None
                value = value or document.value(scenario, step, WALL)
                if value is None:
                    continue
                value = value.times(1e3)
                axis.barh(y, value.median, left=end, color=look(NATIVE if "netdevns" in step else PLAIN)[0], height=0.6)
                end += value.median
                axis.plot([end - value.median + value.low, end - value.median + value.high], [y] * 2, color=INK)
                text = f"{'+' if y else ''}{number(value.median)} ms"
                at = max(end, end - value.median + value.high)
                axis.annotate(text, (at, y), (6, 0), textcoords="offset points", va="center", color=INK)
            axis.set_yticks(range(len(steps)), [step.replace("runtime + ", "+ ") for step in steps])
            axis.invert_yaxis()
            axis.grid(axis="y", visible=False)
            axis.set_xlim(0, axis.get_xlim()[1] * 1.12)
            axis.set_xlabel("ms")
            named(axis, document, WALL)
        return Chart("container.svg", alt, svg(figure, alt))


# In the order of the page.
EVERY: dict[str, Draw] = {
    "floor": floor, "peers": peers, "batch": batches, "addresses": addresses, "others": others, "container": container,
}  # fmt: skip
