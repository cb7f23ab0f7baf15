"""The charts of docs/performance.md and its appendix; a chart without measurements is left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from bench import drawing, results
from bench.drawing import dots, grid, look, svg
from bench.report import TITLES
from bench.results import C_BATCH, NATIVE, PHASED, PLAIN, REFERENCE, WALL, Document, Spread

LINES = (PLAIN, PHASED, C_BATCH, NATIVE, REFERENCE, "ip -batch", "pyroute2", "go")
SHORT = {
    results.PREPARED: "prepared",
    results.STATIC_HOOK: "netdevns-hook",
    results.PYTHON_HOOK: "netdevns hook (Python)",
}


@dataclasses.dataclass(frozen=True)
class Chart:
    """A picture, its description, and its file."""

    file: str
    alt: str
    svg: str


Draw = Callable[[Sequence[Document]], Chart | None]


def running(documents: Sequence[Document]) -> list[Document]:
    """The documents that the page shows; those of guests are in the appendix."""
    return [document for document in documents if not document.uml]


def panels(documents: Sequence[Document]) -> list[tuple[Document, str]]:
    """Each kernel with each metric that it measures."""
    return [(document, metric) for document in documents for metric in document.metrics]


def named(axis: Any, document: Document, metric: str) -> None:
    axis.set_title(f"{document.name}, {TITLES[metric]} time")


def peers(documents: Sequence[Document], scenario: str = "batch-60") -> Chart | None:
    """All contestants of one batch, against the plain floor."""
    found = []
    for document, metric in panels(running(documents)):
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
    """The batch in C and both engines against the plain floor, in each scenario."""
    who = (C_BATCH, NATIVE, REFERENCE, PHASED)
    found = []
    for document, metric in panels(documents):
        rows = [
            (id_, [(name, value) for name in who if (value := document.ratio(id_, name, PLAIN, metric))])
            for id_ in document.scenarios
            if not document.scenarios[id_].whole_processes  # mostly Python's start
        ]
        rows = [row for row in rows if {name for name, _ in row[1]} - {PHASED}]
        if rows:
            found.append((document, metric, rows))
    if not found:
        return None
    most = max(len(rows) for _, _, rows in found)
    alt = "Time of netdevns and of the phased floor divided by that of the plain floor, in each scenario"
    with drawing.panels(*grid(len(found), 0.9 + most * 0.26)) as (figure, axes):
        for axis, (document, metric, rows) in zip(axes, found, strict=False):
            dots(axis, rows, write=False)
            drawing.ratios(axis, [value for _, row in rows for _, value in row])
            named(axis, document, metric)
        drawing.finished(axes, len(found))
        drawing.legend(figure, who)
        return Chart("floor.svg", alt, svg(figure, alt))


def batches(documents: Sequence[Document]) -> Chart | None:
    """A curve for each contestant: time for each device, by the number of devices."""
    found = []
    for document, metric in panels(running(documents)):
        scenarios = results.sizes(document)
        curves = []
        for name in LINES:
            values = [(each.devices, document.value(each.id, name, metric)) for each in scenarios]
            known = [(size, value.times(1e6 / size)) for size, value in values if value]
            if len(known) > 1:
                curves.append((name, known))
        if curves:
            found.append((document, metric, curves))
    if not found:
        return None
    alt = "Time for each device, by the number of devices in one move; median and quartiles, both axes logarithmic"
    with drawing.panels(*grid(len(found), 2.9)) as (figure, axes):
        for axis, (document, metric, curves) in zip(axes, found, strict=False):
            for name, known in curves:
                drawing.curve(axis, name, known)
            drawing.logarithmic(axis, [size for _, known in curves for size, _ in known])
            drawing.labelled(axis, [(name, *known[-1]) for name, known in curves])
            axis.set_xlabel("devices in one move")
            axis.set_ylabel("µs for each device")
            named(axis, document, metric)
        drawing.finished(axes, len(found))
        return Chart("batch.svg", alt, svg(figure, alt))


# ---- a container's start ----


def container(documents: Sequence[Document]) -> Chart | None:
    """Wall time of a start by each runtime, with one device and with ten."""
    found = []
    for document in running(documents):
        for scenario, title in results.newest(document):
            for count in results.COUNTS.values():
                bars = _bars(document, scenario, title.partition(" ")[0], count)
                if len(bars) > 1:
                    found.append((f"{title}, {count}", bars))
    if not found:
        return None
    most = max(len(bars) for _, bars in found)
    alt = "Wall time of a container's start in ms, by the way in which its devices get there, with 1 and 10 devices"
    with drawing.panels(*grid(len(found), 0.5 + most * 0.24)) as (figure, axes):
        for axis, (title, bars) in zip(axes, found, strict=False):
            drawing.bars(axis, bars)
            axis.set_title(title)
        drawing.finished(axes, len(found))
        return Chart("container.svg", alt, svg(figure, alt))


def _bars(document: Document, scenario: str, runtime: str, count: str) -> list[tuple[str, Spread, str]]:
    """Label, ms and colour of each start."""
    starts = [(results.BARE_START, "bare start", PLAIN)]
    for way in results.WAYS:
        ours = {results.OWN_MOVE: "go", results.PYTHON_HOOK: REFERENCE}.get(way, NATIVE)
        starts.append((f"{way}, {count}", SHORT.get(way, f"{runtime}'s own move"), ours))
    values = [(label, document.value(scenario, start, WALL), look(like)[0]) for start, label, like in starts]
    return [(label, value.times(1e3), colour) for label, value, colour in values if value]


# In the order of the page; the last one is in the appendix.
EVERY: dict[str, Draw] = {"container": container, "peers": peers, "batch": batches, "floor": floor}
