"""Targets are evaluated as they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import report, results, targets
from bench.results import Refused
from tests.bench.documents import raw, rounds

TEXT = """
[[target]]
what = "W"
scenario = "batch-60"
metric = "wall"
kind = "ratio"
against = ["go", "floor plain"]
kernels = "running"
native = { limit = 1.2, aim = 0.9 }
reference = { limit = "1/2", contestants = ["gone", "netdevns hook"] }
"""
FLOOR = rounds("batch-60", "floor plain", 1.0)


def evaluated(tmp_path: Path, text: str, *benchmarks: list[dict[str, object]], uml: bool = False) -> list[object]:
    (tmp_path / "t.toml").write_text(text)
    document = results.parsed(raw([each for some in benchmarks for each in some], uml=uml), "a")
    (row,) = targets.evaluate(targets.load(tmp_path / "t.toml"), [document])
    return [(row[engine].reached, row[engine].verdict, row[engine].words) for engine in ("native", "reference")]


@pytest.mark.parametrize(
    ("wall_s", "reached", "verdict"),
    [(0.9, True, "yes, and the aim"), (1.0, True, "yes"), (1.2, True, "yes"), (1.3, False, "no")],
)
def test_target_is_reached_by_the_median(wall_s: float, reached: bool, verdict: str, tmp_path: Path) -> None:
    """At most the limit; the aim is told besides."""
    native, _ = evaluated(tmp_path, TEXT, FLOOR, rounds("batch-60", "netdevns native", wall_s))
    assert native[:2] == (reached, verdict)


def test_spread_is_no_excuse(tmp_path: Path) -> None:
    """The median is beyond the limit, a quartile is not: not reached, and that is said."""
    ours = [rounds("batch-60", "netdevns native", wall_s)[k] for k, wall_s in enumerate((1.0, 1.1, 1.3, 1.3, 1.3))]
    native, _ = evaluated(tmp_path, TEXT.replace("1.2", "1.15"), FLOOR, ours)
    assert native[:2] == (False, "no (some rounds)")


def test_limit_as_a_fraction(tmp_path: Path) -> None:
    """What was measured is told as one, too; the contestant is the one that is named."""
    _, reference = evaluated(tmp_path, TEXT, FLOOR, rounds("batch-60", "netdevns hook", 0.25))
    assert reference == (True, "yes", "1/4.00 (1/4.00 to 1/4.00)")


def test_first_opponent_that_was_there_counts(tmp_path: Path) -> None:
    """Of several."""
    go = rounds("batch-60", "go", 4.0)
    native, _ = evaluated(tmp_path, TEXT, FLOOR, go, rounds("batch-60", "netdevns native", 2.0))
    assert native[2] == "0.500 (0.500 to 0.500)"


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    """No contestant, no floor, no such kernel: never reached."""
    nothing = (None, "not measured", "-")
    assert evaluated(tmp_path, TEXT, FLOOR) == [nothing, nothing]
    ours = rounds("batch-60", "netdevns native", 0.5)
    assert evaluated(tmp_path, TEXT, ours) == [nothing, nothing]
    assert evaluated(tmp_path, TEXT, FLOOR, ours, uml=True) == [nothing, nothing]


@pytest.mark.parametrize(
    ("metric", "unit", "limit", "words"),
    [("wall", "ms", 400, "300 ms (297 to 306)"), ("rss", "MiB", 8, "5.00 MiB (5.00 to 5.00)")],
)
def test_difference_has_a_unit(metric: str, unit: str, limit: int, words: str, tmp_path: Path) -> None:
    """Milliseconds of time, MiB of memory."""
    text = TEXT.replace('"wall"', f'"{metric}"').replace('"ratio"', f'"difference"\nunit = "{unit}"')
    text = text.replace("limit = 1.2, aim = 0.9", f"limit = {limit}")
    ours = rounds("batch-60", "netdevns native", 1.3, max_rss_kib=20_000 + 5 * 1024)
    native, _ = evaluated(tmp_path, text, FLOOR, ours)
    assert native == (True, "yes", words)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("what", "waht"),
        ('"wall"', '"time"'),
        ('"ratio"', '"difference"'),
        ('"running"', '"all"'),
        ("limit = 1.2", "limt = 1.2"),
        ('"ratio"', '"ratio"\nunit = "ms"'),
    ],
)
def test_entry_that_is_wrong_is_refused(old: str, new: str, tmp_path: Path) -> None:
    """A misspelt key, a word that is none of those that there are, a unit too many or too few."""
    (tmp_path / "t.toml").write_text(TEXT.replace(old, new))
    with pytest.raises(Refused, match=r"^t\.toml: "):
        targets.load(tmp_path / "t.toml")


def test_own_targets_can_be_evaluated() -> None:
    """Each entry of targets.toml is right, and made-up documents of two kernels fill the rows of what they have."""
    documents = [results.parsed(raw(), "a"), results.parsed(raw(kernel="6.12.1", uml=True), "b")]
    table = report.targets(targets.evaluate(targets.load(), documents))
    filled = [row for row in table.rows if row[4] != "not measured"]
    assert len(filled) > 10
    assert {row[1] for row in filled} == {"Linux 6.18.44", "UML 6.12.1"}
    (wall,) = [row for row in filled if "wall, against the plain floor" in row[0] and row[0].startswith("one device")]
    assert wall[2:5] == ["≤ 1.05", "0.902 (0.902 to 0.902)", "yes"]
