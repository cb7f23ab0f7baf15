"""The charts of docs/performance.md, drawn by matplotlib as SVG that is the same each time.

A chart is for a dark and for a light page: nothing behind it, text and axes in a colour that the page's scheme chooses,
data in colours of middle brightness that people with any colour vision can tell apart, with a marker each and, where
there is room, their name beside them.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bench import results
from bench.report import TITLES, crowd
from bench.results import CPU, NATIVE, PHASED, PLAIN, REFERENCE, WALL, Document, Refused, Spread, number

WIDTH = 9.0  # inches
# What stands for "the page's own colour" until the picture is made; nothing else has it.
INK, FAINT = "#010203", "#040506"
GRID = "#8c959f66"
STYLE = """<style>
svg { color: #4d5560 }
@media (prefers-color-scheme: dark) { svg { color: #b8c0ca } }
</style>
"""
RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "netdevns",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.linewidth": 0.5,
    "grid.color": FAINT,
    "figure.constrained_layout.use": True,
    **{f"{name}.color": INK for name in ("text", "xtick", "ytick")},
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
}
# Okabe and Ito's hues, made as bright as both pages allow; each with a marker of its own.
LOOKS = {
    NATIVE: ("#1f88d2", "o"),
    REFERENCE: ("#b07aa1", "s"),
    f"{NATIVE} record": ("#1f88d2", "P"),
    f"{REFERENCE} record": ("#b07aa1", "X"),
    PLAIN: ("#8a8a8a", "|"),
    PHASED: ("#8a8a8a", "d"),
    "ip -batch": ("#d98200", "^"),
    "ip per step": ("#d98200", "<"),
    "pyroute2": ("#d5541c", "v"),
    "go": ("#0f9b72", "D"),
}
OTHER = ("#8a8a8a", "*")
LINES = (PLAIN, PHASED, NATIVE, REFERENCE, "ip -batch", "pyroute2", "go")


@dataclasses.dataclass(frozen=True)
class Chart:
    """A picture, what it shows, and the file that it goes to."""

    file: str
    title: str
    alt: str
    svg: str


Family = Callable[[Document], list[results.Scenario]]
Size = Callable[[results.Scenario], int]
Draw = Callable[[Sequence[Document]], Chart | None]


def look(contestant: str) -> tuple[str, str]:
    return LOOKS.get(contestant, OTHER)


@contextmanager
def drawing(rows: int, columns: int, height: float) -> Iterator[tuple[Any, Any]]:
    """A figure with its axes as a list. Raises Refused where matplotlib is missing."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise Refused("the charts need matplotlib, which is not installed: pip install matplotlib") from None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # not the user's own style
        matplotlib.rcParams.update(RC)
        figure = Figure(figsize=(WIDTH, height))
        yield figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def svg(figure: Any, alt: str) -> str:
    """Its text. Whoever reads a page in other colours than the system's can still read these."""
    import matplotlib

    out = io.StringIO()
    creator = f"netdevns bench, matplotlib {matplotlib.__version__}"
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": creator, "Title": alt})
    text = out.getvalue()
    text = text.replace(INK, "currentColor").replace(FAINT, GRID)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"(<svg [^>]*>\s*)", lambda found: f"{found[1].rstrip()}\n{STYLE}", text, count=1)


def panels(documents: Sequence[Document]) -> list[tuple[Document, str]]:
    """Each kernel with each time that it can tell."""
    return [(document, metric) for document in documents for metric in document.metrics]


def grid(count: int, row_height: float) -> tuple[int, int, float]:
    """Rows, columns and the height of so many panels."""
    columns = min(2, count)
    rows = -(-count // columns)
    return rows, columns, rows * row_height + 0.3


def finished(axes: Sequence[Any], used: int) -> None:
    """Without the panels that nothing is in."""
    for each in axes[used:]:
        each.set_axis_off()


def named(axis: Any, document: Document, metric: str) -> None:
    axis.set_title(f"{document.name}, {TITLES[metric]} time")


# ---- dots with their spread ----


def dots(axis: Any, rows: Sequence[tuple[str, Sequence[tuple[str, Spread]]]], *, write: bool) -> None:
    """A line of dots for each label, quartiles as bars; with `write` the median beside it."""
    for y, (_, found) in enumerate(rows):
        for at, (name, value) in enumerate(found):
            colour, marker = look(name)
            height = y + (at - (len(found) - 1) / 2) * min(0.26, 0.8 / len(found))
            axis.plot([value.low, value.high], [height] * 2, color=colour, linewidth=2.5, alpha=0.6)
            axis.plot(value.median, height, marker, color=colour, markersize=6)
            if write:
                axis.annotate(
                    number(value.median), (value.high, height), (6, 0), textcoords="offset points", va="center",
                    color=INK, fontsize=8,
                )  # fmt: skip
    axis.set_yticks(range(len(rows)), [label for label, _ in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)


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
    with drawing(*grid(len(found), 0.6 + most * 0.24)) as (figure, axes):
        for axis, (document, metric, values) in zip(axes, found, strict=False):
            dots(axis, [(name, [(name, value)]) for name, value in values], write=True)
            ratios(axis, log=True)
            axis.margins(x=0.18)
            named(axis, document, metric)
        finished(axes, len(found))
        return Chart("peers.svg", "All contestants, 60 devices", alt, svg(figure, alt))


def ratios(axis: Any, *, log: bool) -> None:
    """An axis of ratios: plain numbers, and a line where the floor is."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.axvline(1, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axis.set_xlabel("times the plain floor")
    if log:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def floor(documents: Sequence[Document]) -> Chart | None:
    """Both engines against the plain floor, in each scenario."""
    who = (NATIVE, REFERENCE, PHASED)
    found = []
    for document, metric in panels(documents):
        rows = [
            (id_, [(name, value) for name in who if (value := document.ratio(id_, name, PLAIN, metric))])
            for id_ in document.scenarios
        ]
        rows = [row for row in rows if {name for name, _ in row[1]} - {PHASED}]
        if rows:
            found.append((document, metric, rows))
    if not found:
        return None
    most = max(len(rows) for _, _, rows in found)
    alt = "Time of both engines and of the phased floor divided by that of the plain floor, in each scenario"
    with drawing(*grid(len(found), 0.9 + most * 0.26)) as (figure, axes):
        for axis, (document, metric, rows) in zip(axes, found, strict=False):
            dots(axis, rows, write=False)
            ratios(axis, log=False)
            named(axis, document, metric)
        finished(axes, len(found))
        legend(figure, who)
        return Chart("floor.svg", "netdevns against the floor", alt, svg(figure, alt))


def legend(figure: Any, names: Sequence[str]) -> None:
    """Once for all panels, above them."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look(name)[0], marker=look(name)[1], linestyle="", markersize=6, label=name)
        for name in names
    ]
    figure.legend(
        handles=handles, loc="outside upper left", ncols=len(names), frameon=False, columnspacing=1.2, handletextpad=0.2
    )


# ---- lines against a size ----


def lines(documents: Sequence[Document], file: str, title: str, what: str, family: Family, size: Size) -> Chart | None:
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
    with drawing(*grid(len(found), 2.9)) as (figure, axes):
        for axis, (document, metric, curves) in zip(axes, found, strict=False):
            for name, known in curves:
                curve(axis, name, known)
            logarithmic(axis, [x for _, known in curves for x, _ in known])
            labelled(axis, [(name, *known[-1]) for name, known in curves])
            axis.set_xlabel(f"{what.replace('address', 'addresse')}s in one move")
            axis.set_ylabel(f"µs for each {what}")
            named(axis, document, metric)
        finished(axes, len(found))
        return Chart(file, title, alt, svg(figure, alt))


def curve(axis: Any, name: str, known: Sequence[tuple[int, Spread]]) -> None:
    colour, marker = look(name)
    xs = [x for x, _ in known]
    dashes = (0, (4, 2)) if name in results.FLOORS else "-"
    axis.fill_between(xs, [v.low for _, v in known], [v.high for _, v in known], color=colour, alpha=0.2, linewidth=0)
    axis.plot(xs, [v.median for _, v in known], marker, color=colour, linestyle=dashes, markersize=4, linewidth=1.4)


def logarithmic(axis: Any, sizes: Sequence[int]) -> None:
    """Ticks where something was measured, and plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(sorted(set(sizes)), [f"{x:,}" for x in sorted(set(sizes))])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    # Room for the names.
    first, last = min(sizes), max(sizes)
    axis.set_xlim(first / 1.25, last * (last / first) ** 0.48)
    axis.margins(y=0.12)


def labelled(axis: Any, ends: Sequence[tuple[str, int, Spread]]) -> None:
    """Each curve's name at its end, in its colour; names that would cover each other are moved apart."""
    least = 0.068  # of the axis: a line of text
    transform = axis.transData + axis.transAxes.inverted()
    axis.figure.canvas.draw()
    axis.autoscale_view()
    wanted = sorted((float(transform.transform((x, v.median))[1]), name, x, v) for name, x, v in ends)
    for (_, name, x, value), at in zip(wanted, apart([y for y, *_ in wanted], least), strict=True):
        axis.annotate(
            name.replace("netdevns ", ""), (x, value.median), (0.73, at), textcoords="axes fraction", va="center",
            color=look(name)[0], fontsize=8,
            arrowprops={"arrowstyle": "-", "color": look(name)[0], "linewidth": 0.6, "alpha": 0.6, "shrinkA": 1},
        )  # fmt: skip


def apart(wanted: Sequence[float], least: float) -> list[float]:
    """Sorted places, each at least so far from the one before, moved up and down no more than it takes."""
    groups: list[tuple[float, list[float]]] = []  # (where its first one is, its wishes)
    for each in wanted:
        wishes = [each]
        while True:
            begin = sum(wish - at * least for at, wish in enumerate(wishes)) / len(wishes)
            if not groups or groups[-1][0] + len(groups[-1][1]) * least <= begin:
                break
            wishes = groups.pop()[1] + wishes
        groups.append((begin, wishes))
    return [begin + at * least for begin, wishes in groups for at in range(len(wishes))]


def batches(documents: Sequence[Document]) -> Chart | None:
    title = "Cost against the size of a batch"
    return lines(documents, "batch.svg", title, "device", results.sizes, lambda each: each.devices)


def addresses(documents: Sequence[Document]) -> Chart | None:
    title = "Cost against the number of addresses"
    return lines(
        documents, "addresses.svg", title, "address", results.address_counts, lambda each: each.addresses
    )  # fmt: skip


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
    alt = "How many times as much the same move takes with other devices and routes in the namespaces; logarithmic"
    with drawing(len(found), 1, len(found) * (0.9 + most * 0.17) + 0.3) as (figure, axes):
        for axis, (document, metric, rows) in zip(axes, found, strict=True):
            dots(axis, rows, write=False)
            ratios(axis, log=True)
            axis.set_xlabel("times the same move alone")
            left, right = axis.get_xlim()
            axis.set_xlim(min(left, 0.5), max(right, 2.0))  # noise is not shown as large as the axis
            named(axis, document, metric)
        legend(
            figure, [name for name in LINES if any(name == n for *_, rows in found for _, vs in rows for n, _ in vs)]
        )
        return Chart("others.svg", "Other devices and routes", alt, svg(figure, alt))


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
    with drawing(len(found), 1, len(found) * 2.4 + 0.2) as (figure, axes):
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
        return Chart("container.svg", "Where the time of a container's start goes", alt, svg(figure, alt))


# In the order of the page.
EVERY: dict[str, Draw] = {
    "floor": floor, "peers": peers, "batch": batches, "addresses": addresses, "others": others, "container": container,
}  # fmt: skip
