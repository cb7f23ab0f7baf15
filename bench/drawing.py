"""Draws charts by matplotlib, as reproducible SVG for dark and light pages.

The background is transparent; the page's colour scheme chooses the colour of text and axes. Data have colours of medium
brightness that are distinct for any colour vision, a marker each and, where there is room, their name beside them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bench.results import C_BATCH, FLOORS, NATIVE, PHASED, PLAIN, REFERENCE, Refused, Spread, number

WIDTH = 9.0  # inches
LOWEST = 0.04  # of an axis: a lower name would cover it
# Placeholders for the page's own colours; nothing else in a picture has them.
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
# Okabe and Ito's hues, in a brightness for both pages; each with its marker.
LOOKS = {
    NATIVE: ("#1f88d2", "o"),
    REFERENCE: ("#b07aa1", "s"),
    C_BATCH: ("#12789a", "h"),
    f"{NATIVE} record": ("#1f88d2", "P"),
    f"{REFERENCE} record": ("#b07aa1", "X"),
    f"{NATIVE} threads": ("#1f88d2", "p"),
    PLAIN: ("#8a8a8a", "|"),
    PHASED: ("#8a8a8a", "d"),
    "ip -batch": ("#d98200", "^"),
    "ip per step": ("#d98200", "<"),
    "pyroute2": ("#d5541c", "v"),
    "go": ("#0f9b72", "D"),
}
OTHER = ("#8a8a8a", "*")


def look(contestant: str) -> tuple[str, str]:
    return LOOKS.get(contestant, OTHER)


@contextmanager
def panels(rows: int, columns: int, height: float) -> Iterator[tuple[Any, Any]]:
    """A figure with its axes as a list. Raises Refused where matplotlib is missing."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise Refused("the charts need matplotlib, which is not installed: pip install matplotlib") from None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # not the user's style
        matplotlib.rcParams.update(RC)
        figure = Figure(figsize=(WIDTH, height))
        yield figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def svg(figure: Any, alt: str) -> str:
    """The SVG, with colours that are readable on either page."""
    import matplotlib

    out = io.StringIO()
    creator = f"netdevns bench, matplotlib {matplotlib.__version__}"
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": creator, "Title": alt})
    text = out.getvalue()
    text = text.replace(INK, "currentColor").replace(FAINT, GRID)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"(<svg [^>]*>\s*)", lambda found: f"{found[1].rstrip()}\n{STYLE}", text, count=1)


def grid(count: int, row_height: float) -> tuple[int, int, float]:
    """Rows, columns and height for a number of panels."""
    columns = min(2, count)
    rows = -(-count // columns)
    return rows, columns, rows * row_height + 0.3


def finished(axes: Sequence[Any], used: int) -> None:
    """Removes empty panels."""
    for each in axes[used:]:
        each.set_axis_off()


def dots(axis: Any, rows: Sequence[tuple[str, Sequence[tuple[str, Spread]]]], *, write: bool) -> None:
    """A line of dots for each label, quartiles as bars; with `write` the median beside it."""
    for y, (_, found) in enumerate(rows):
        for at, (name, value) in enumerate(found):
            colour, marker = look(name)
            height = y + (at - (len(found) - 1) / 2) * min(0.26, 0.8 / len(found))
            axis.plot([value.low, value.high], [height] * 2, color=colour, linewidth=2.5, alpha=0.6)
            axis.plot(value.median, height, marker, color=colour, markersize=6, markeredgewidth=1.5)
            if write:
                # Not on the line at 1.
                x, offset, side = (value.low, -6, "right") if value.high < 1 else (value.high, 6, "left")
                axis.annotate(
                    number(value.median), (x, height), (offset, 0), textcoords="offset points", va="center", ha=side,
                    color=INK, fontsize=8,
                )  # fmt: skip
    axis.set_yticks(range(len(rows)), [label for label, _ in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)


def bars(axis: Any, rows: Sequence[tuple[str, Spread, str]]) -> None:
    """A bar for each label, with its quartiles as a line, and the median beside it."""
    for y, (_, value, colour) in enumerate(rows):
        axis.barh(y, value.median, color=colour, height=0.6)
        axis.plot([value.low, value.high], [y] * 2, color=INK, linewidth=1)
        x = max(value.median, value.high)
        axis.annotate(
            f"{number(value.median)} ms", (x, y), (5, 0), textcoords="offset points", va="center", color=INK, fontsize=8
        )
    axis.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)
    axis.set_xlim(0, max(value.high for _, value, _ in rows) * 1.25)


def ratios(axis: Any, found: Sequence[Spread], what: str = "the plain floor") -> None:
    """An axis of ratios with plain numbers and a line at 1; logarithmic if they are far apart."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.axvline(1, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axis.set_xlabel(f"times {what}")
    if max(each.high for each in found) > 4 * max(min(each.low for each in found), 1e-9):
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def legend(figure: Any, names: Sequence[str]) -> None:
    """One legend for all panels, above them."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look(name)[0], marker=look(name)[1], linestyle="", markersize=6, label=name)
        for name in names
    ]
    figure.legend(
        handles=handles, loc="outside upper left", ncols=len(names), frameon=False, columnspacing=1.2, handletextpad=0.2
    )


def curve(axis: Any, name: str, known: Sequence[tuple[int, Spread]]) -> None:
    colour, marker = look(name)
    xs = [x for x, _ in known]
    dashes = (0, (4, 2)) if name in FLOORS else (0, (1, 1.5)) if name.endswith(" threads") else "-"
    axis.fill_between(xs, [v.low for _, v in known], [v.high for _, v in known], color=colour, alpha=0.2, linewidth=0)
    axis.plot(xs, [v.median for _, v in known], marker, color=colour, linestyle=dashes, markersize=4, linewidth=1.4)


def logarithmic(axis: Any, sizes: Sequence[int]) -> None:
    """Ticks at the measured points, with plain numbers."""
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
    """Sorted positions with a least distance, moved no further than necessary."""
    groups: list[tuple[float, list[float]]] = []  # (position of its first, wanted positions)
    for each in wanted:
        wishes = [each]
        while True:
            begin = sum(wish - at * least for at, wish in enumerate(wishes)) / len(wishes)
            if not groups or groups[-1][0] + len(groups[-1][1]) * least <= begin:
                break
            wishes = groups.pop()[1] + wishes
        groups.append((begin, wishes))
    found = [begin + at * least for begin, wishes in groups for at in range(len(wishes))]
    return [max(each, LOWEST + at * least) for at, each in enumerate(found)]
