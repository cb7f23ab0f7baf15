"""Charts of docs/performance.md: for dark and light pages, the same each time, left out where nothing was measured."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import pytest

from bench import charts, drawing, prose, results
from tests.bench.documents import FLOOR, container, raw, rounds, shape
from tests.support.require import require_module

GUEST = results.parsed(raw(kernel="6.12.1", uml=True, hz=100, cores=1), "b.json")


@pytest.fixture(scope="module")
def drawn() -> dict[str, charts.Chart]:
    """All charts of two kernels, one of them with containers."""
    require_module("bench", "matplotlib")
    documents = [container(), GUEST]
    return {name: chart for name, draw in charts.EVERY.items() if (chart := draw(documents))}


def words_of(chart: charts.Chart) -> list[str]:
    root = ElementTree.fromstring(chart.svg)
    return ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.thorough
def test_all_charts_are_drawn(drawn: dict[str, charts.Chart]) -> None:
    """Each is in a section of the page."""
    assert list(drawn) == list(charts.EVERY)
    assert set(charts.EVERY) <= set(prose.SECTIONS)


@pytest.mark.thorough
@pytest.mark.parametrize("name", charts.EVERY)
def test_chart_is_for_dark_and_light_pages(name: str, drawn: dict[str, charts.Chart]) -> None:
    """Text is text, in the page's colour; nothing is behind it, nothing black or white in it."""
    svg = drawn[name].svg
    assert "@media (prefers-color-scheme: dark)" in svg
    assert words_of(drawn[name])
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"']+)", svg))
    assert (
        {"currentColor"} <= colours <= {"currentColor", "none", drawing.GRID, *(c for c, _ in drawing.LOOKS.values())}
    )
    # matplotlib writes no colour where it is black: a shape of its own without a fill, outside of <defs>, would be.
    bare = [text for text in re.findall(r"<text [^>]*>", svg) if "currentColor" not in text]
    assert [text for text in bare if not re.search(r"fill: #", text)] == []


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["floor", "batch"])  # of each kind one: drawing is slow
def test_chart_is_the_same_each_time(name: str, drawn: dict[str, charts.Chart]) -> None:
    """Of the same documents; without a date."""
    documents = [container(), GUEST]
    again = charts.EVERY[name](documents)
    assert again
    assert again.svg == drawn[name].svg
    assert "dc:date" not in again.svg


@pytest.mark.parametrize("name", charts.EVERY)
def test_chart_of_what_was_not_measured_is_left_out(name: str) -> None:
    """Without a crash."""
    assert charts.EVERY[name]([results.parsed(raw(rounds("check-60", "netdevns native", 1.0)), "a")]) is None


@pytest.mark.thorough
def test_chart_names_kernels_and_contestants(drawn: dict[str, charts.Chart]) -> None:
    """A panel for each time, of the running kernel on the page; of all kernels in the appendix."""
    words = words_of(drawn["peers"])
    assert [each for each in words if each.endswith("time")] == [
        "Linux 6.18.44, wall time",
        "Linux 6.18.44, CPU time",
    ]
    assert words.count("pyroute2") == 2
    assert "UML 6.12.1, wall time" in words_of(drawn["floor"])
    assert f"{results.number((14e-3 * 60 + 1e-4 * 120 + 5e-3) / FLOOR(shape('batch-60')))}" in words


@pytest.mark.thorough
def test_first_chart_is_a_containers_start(drawn: dict[str, charts.Chart]) -> None:
    """A panel for each count of devices, a bar for each way, with its time."""
    assert next(iter(charts.EVERY)) == "container"
    words = words_of(drawn["container"])
    bars = ("bare start", "prepared", "netdevns-hook", "crun's own move", "netdevns hook (Python)")
    assert {words.count(bar) for bar in bars} == {2}
    assert {"crun 1.28, 1 device", "crun 1.28, 10 devices", "500 ms", "600 ms"} <= set(words)


def test_names_beside_curves_are_moved_apart() -> None:
    """No more than it takes, in their order."""
    assert drawing.apart([0.1, 0.5, 0.9], 0.1) == [0.1, 0.5, 0.9]
    assert drawing.apart([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert drawing.apart([0.0, 0.0], 0.1) == pytest.approx([0.04, 0.14])  # not below the axis
    places = drawing.apart([0.1, 0.5, 0.52, 0.53, 0.6], 0.1)
    assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(places))
