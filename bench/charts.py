"""The charts of docs/performance.md: what each of them shows, and where it is left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from bench import drawing, results
from bench.drawing import INK, dots, grid, look, svg
from bench.report import TITLES, crowd
from bench.results import CPU, NATIVE, PHASED, PLAIN, REFERENCE, WALL, Document, Spread, number

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
            if not document.scenarios[id_].whole_processes  # of which starting Python is the largest part
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


@dataclasses.dataclass(frozen=True)
class Axes:
    """What is drawn against what; both are logarithmic."""

    family: Family
    size: Size
    across: str
    up: str
    value: Callable[[Spread, int], Spread]  # of what a contestant takes with such a size
    who: Sequence[str] = LINES


def lines(documents: Sequence[Document], file: str, alt: str, of: Axes) -> Chart | None:
    """A curve for each contestant."""
    found = []
    for document, metric in panels(documents):
        scenarios = [each for each in of.family(document) if of.size(each)]
        if len({of.size(each) for each in scenarios}) < 2:
            continue
        curves = []
        for name in of.who:
            points = [(of.size(each), document.value(each.id, name, metric)) for each in scenarios]
            known = [(x, of.value(value, x)) for x, value in points if value]
            if len(known) > 1:
                curves.append((name, known))
        if curves:
            found.append((document, metric, curves))
    if not found:
        return None
    with drawing.panels(*grid(len(found), 2.9)) as (figure, axes):
        for axis, (document, metric, curves) in zip(axes, found, strict=False):
            for name, known in curves:
                drawing.curve(axis, name, known)
            drawing.logarithmic(axis, [x for _, known in curves for x, _ in known])
            drawing.labelled(axis, [(name, *known[-1]) for name, known in curves])
            axis.set_xlabel(of.across)
            axis.set_ylabel(of.up)
            named(axis, document, metric)
        drawing.finished(axes, len(found))
        return Chart(file, alt, svg(figure, alt))


def batches(documents: Sequence[Document]) -> Chart | None:
    alt = "Time for each device against the number of them in one move; median and quartiles, both axes logarithmic"
    of = Axes(results.sizes, lambda each: each.devices, "devices in one move", "µs for each device", _share)
    return lines(documents, "batch.svg", alt, of)


def addresses(documents: Sequence[Document]) -> Chart | None:
    alt = "Time for each address against the number of them on one device; median and quartiles, both axes logarithmic"
    of = Axes(
        results.address_counts, lambda each: each.addresses, "addresses of one device", "µs for each address", _share
    )
    return lines(documents, "addresses.svg", alt, of)


def callers(documents: Sequence[Document]) -> Chart | None:
    """How long it takes until the last of those that move at the same time is done."""
    alt = (
        "Time until the last of several callers at the same time has moved its device, and the CPU time of all of them"
    )
    of = Axes(
        results.callers,
        lambda each: each.callers,
        "callers at the same time, a device each",
        "ms",
        lambda value, _: value.times(1e3),
        (PLAIN, NATIVE, REFERENCE, f"{NATIVE} threads", "ip -batch", "go"),
    )
    return lines(documents, "callers.svg", alt, of)


def _share(value: Spread, size: int) -> Spread:
    return value.times(1e6 / size)


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


def container(documents: Sequence[Document]) -> Chart | None:
    """Where the time of a container's start goes, step by step, by each runtime."""
    found = []
    for document in documents:
        for scenario in (each.id for each in results.containers(document)):
            steps = [step for step in results.STEPS if step in document.contestants(scenario)]
            if any("hook" in step for step in steps):  # each bar begins where the one before it ends
                steps = [step for step in steps if step not in results.APART]
            if len(steps) > 1:
                found.append((document, scenario, steps))
    if not found:
        return None
    alt = "Wall time of a container's start: the bare runtime, and what each step adds to it, in ms"
    with drawing.panels(len(found), 1, len(found) * 2.4 + 0.2) as (figure, axes):
        for axis, (document, scenario, steps) in zip(axes, found, strict=True):
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
                text = f"{'+' if y and value.median >= 0 else ''}{number(value.median)} ms"
                at = max(end, end - value.median + value.high)
                axis.annotate(text, (at, y), (6, 0), textcoords="offset points", va="center", color=INK)
            axis.set_yticks(range(len(steps)), [step.replace("runtime + ", "+ ") for step in steps])
            axis.invert_yaxis()
            axis.grid(axis="y", visible=False)
            axis.set_xlim(0, axis.get_xlim()[1] * 1.12)
            axis.set_xlabel("ms")
            axis.set_title(f"{document.name}, {scenario.removeprefix('container-')}, wall time")
        return Chart("container.svg", alt, svg(figure, alt))


# In the order of the page.
EVERY: dict[str, Draw] = {
    "floor": floor, "peers": peers, "batch": batches, "addresses": addresses, "others": others, "callers": callers,
    "container": container,
}  # fmt: skip
