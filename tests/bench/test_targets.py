"""Targets are evaluated as they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import report, results, targets
from bench.contestants import CONTESTANTS
from bench.results import Refused
from bench.scenario import SCENARIOS
from tests.bench.documents import raw, rounds

TEXT = """
[[target]]
what = "W"
scenario = "batch-60"
metric = "wall"
ours = "netdevns native"
against = "floor plain"
limit = 1.2
"""
FLOOR = rounds("batch-60", "floor plain", 1.0)


def evaluated(tmp_path: Path, text: str, *benchmarks: list[dict[str, object]], uml: bool = False) -> list[object]:
    (tmp_path / "t.toml").write_text(text)
    document = results.parsed(raw([each for some in benchmarks for each in some], uml=uml), "a")
    (found,) = targets.evaluate(targets.load(tmp_path / "t.toml"), [document])
    return [found.reached, found.verdict, found.words]


@pytest.mark.parametrize(("wall_s", "reached", "verdict"), [(0.9, True, "yes"), (1.2, True, "yes"), (1.3, False, "no")])
def test_target_is_reached_by_the_median(wall_s: float, reached: bool, verdict: str, tmp_path: Path) -> None:
    """At most the limit."""
    found = evaluated(tmp_path, TEXT, FLOOR, rounds("batch-60", "netdevns native", wall_s))
    assert found[:2] == [reached, verdict]


def test_spread_is_no_excuse(tmp_path: Path) -> None:
    """The median is beyond the limit, a quartile is not: not reached, and marked."""
    ours = [rounds("batch-60", "netdevns native", wall_s)[k] for k, wall_s in enumerate((1.0, 1.1, 1.3, 1.3, 1.3))]
    found = evaluated(tmp_path, TEXT.replace("1.2", "1.15"), FLOOR, ours)
    assert found[:2] == [False, "no (some rounds)"]


def test_limit_as_a_fraction(tmp_path: Path) -> None:
    """The measured ratio is written as one, too."""
    ours = rounds("batch-60", "netdevns native", 0.25)
    found = evaluated(tmp_path, TEXT.replace("1.2", '"1/2"'), FLOOR, ours)
    assert found == [True, "yes", "1/4.00 (1/4.00 to 1/4.00)"]


def test_difference_is_in_milliseconds(tmp_path: Path) -> None:
    """With limit_ms."""
    ours = rounds("batch-60", "netdevns native", 1.3)
    found = evaluated(tmp_path, TEXT.replace("limit = 1.2", "limit_ms = 400"), FLOOR, ours)
    assert found == [True, "yes", "300 ms (297 to 306)"]


def test_target_that_was_not_measured_is_not_reached(tmp_path: Path) -> None:
    """No contestant, no floor, a guest alone."""
    nothing = [None, "not measured", "-"]
    assert evaluated(tmp_path, TEXT, FLOOR) == nothing
    ours = rounds("batch-60", "netdevns native", 0.5)
    assert evaluated(tmp_path, TEXT, ours) == nothing
    assert evaluated(tmp_path, TEXT, FLOOR, ours, uml=True) == nothing


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("what", "waht"),
        ('"wall"', '"rss"'),
        ("limit = 1.2", "limt = 1.2"),
        ("limit = 1.2", "limit = 1.2\nlimit_ms = 3"),
        ("limit = 1.2", ""),
    ],
)
def test_entry_that_is_wrong_is_refused(old: str, new: str, tmp_path: Path) -> None:
    """A misspelt key, another metric, no limit or two."""
    (tmp_path / "t.toml").write_text(TEXT.replace(old, new))
    with pytest.raises(Refused, match=r"^t\.toml: "):
        targets.load(tmp_path / "t.toml")


def test_each_target_is_about_what_the_page_measures() -> None:
    """A scenario of the page, and two contestants that take part in it."""
    for target in targets.load():
        scenario = SCENARIOS[target.scenario]
        assert scenario.on_page
        assert {target.ours, target.against} <= {*scenario.contestants} & CONTESTANTS.keys()


def test_targets_are_a_table() -> None:
    """Limit, measured, reached: of the running kernel alone."""
    documents = [results.parsed(raw(), "a"), results.parsed(raw(kernel="6.12.1", uml=True), "b")]
    table = report.targets(targets.evaluate(targets.load(), documents))
    (wall,) = [row for row in table.rows if row[0] == "one device: wall, against the plain floor"]
    assert wall[1:] == ["≤ 1.05", "0.902 (0.902 to 0.902)", "yes"]
    assert "not measured" in {row[3] for row in table.rows}
