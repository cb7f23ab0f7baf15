"""bench.summary and bench.compare: what they print, and how they end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as command
from bench import build, compare, results, startup, summary
from bench.report import Table
from tests.bench.documents import changed, raw, rounds, shape, written


def two(folder: Path, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [str(written(folder, "a.json", before)), str(written(folder, "b.json", after))]


# ---- compare ----


def test_change_beyond_the_spread_is_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the contestant that changed, in each scenario and both times; no other."""
    assert compare.main([*two(tmp_path, raw(), changed(raw(), "netdevns native", 0.8)), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    marked = {(each["contestant"], each["metric"], each["mark"]) for each in found["changes"] if each["mark"]}
    assert marked == {("netdevns native", "wall", "less"), ("netdevns native", "cpu", "less")}
    assert {round(each["change"], 6) for each in found["changes"] if each["mark"]} == {-0.2}
    assert found["notes"] == []


def compared(before: Sequence[float], after: Sequence[float]) -> compare.Change:
    """Rounds of one contestant that take so many times as long as the floor."""

    def document(values: Sequence[float]) -> results.Document:
        one = [{**shape("batch-1"), "contestant": "floor plain", "wall_s": 1.0}] * len(values)
        other = [{**shape("batch-1"), "contestant": "go", "wall_s": value} for value in values]
        found = [{**info, "round": k, "verified": True} for infos in (one, other) for k, info in enumerate(infos)]
        return results.parsed(raw([{"extra_info": info} for info in found]), "a")

    (change,) = compare.changes(document(before), document(after))
    return change


@pytest.mark.parametrize(
    ("before", "after", "mark"),
    [
        ((1.0, 1.1, 1.2, 1.3, 1.4), (1.5, 1.6, 1.7, 1.8, 1.9), "more"),
        ((1.5, 1.6, 1.7, 1.8, 1.9), (1.0, 1.1, 1.2, 1.3, 1.4), "less"),
        ((1.0, 1.1, 1.2, 1.3), (1.5, 1.6, 1.7, 1.8), ""),  # too few
        ((1.0, 1.1, 1.2, 1.3, 1.6), (1.4, 1.5, 1.7, 1.8, 1.9), ""),  # quartiles apart, but chance does that, too
        (range(100, 130), range(110, 140), ""),  # no chance, but not larger than the spread
    ],
)
def test_change_is_marked_beyond_spread_and_chance(before: Sequence[float], after: Sequence[float], mark: str) -> None:
    """Both are needed."""
    change = compared(before, after)
    assert change.mark == mark
    assert (change.share > 0) == (mark != "less")


@pytest.mark.parametrize(
    ("before", "after", "p"),
    [
        # scipy.stats.mannwhitneyu(before, after, method="exact").pvalue
        ((1, 2, 3, 4, 5), (6, 7, 8, 9, 10), 0.007936507936507936),
        ((6, 7, 8, 9, 10), (1, 2, 3, 4, 5), 0.007936507936507936),
        ((1, 2, 3, 4, 7), (5, 6, 8, 9, 10), 0.031746031746031744),
        ((1, 2, 3), (4, 5, 6, 7), 0.05714285714285714),
        ((1, 4), (2, 3), 1.0),
        ((1, 1, 1), (1, 1, 1), 1.0),
    ],
)
def test_chance_is_that_of_mann_and_whitney(before: Sequence[float], after: Sequence[float], p: float) -> None:
    """As another implementation has it; equal values are no evidence."""
    assert compare.chance(before, after) == pytest.approx(p)


def test_too_few_rounds_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A change is not marked then, however large."""
    benchmarks = rounds("batch-1", "floor plain", 1.0)[:4] + rounds("batch-1", "go", 1.0)
    assert compare.main(two(tmp_path, raw(benchmarks), changed(raw(benchmarks), "go", 9.0))) == 0
    out = capsys.readouterr().out
    assert "never marked, for want of 5 rounds of each: batch-1\n" in out
    assert out.endswith("2 compared, 0 changed by more than the spread of the rounds\n")


def test_busier_machine_changes_nothing() -> None:
    """All take twice as long, the floor, too."""
    busy = raw()
    for each in busy["benchmarks"]:
        each["extra_info"]["wall_s"] *= 2
        each["extra_info"]["cpu_s"] *= 2
    found = compare.changes(results.parsed(raw(), "a"), results.parsed(busy, "b"))
    assert len(found) > 50
    assert {each.mark for each in found} == {""}


def test_processes_are_compared_with_a_bare_one() -> None:
    """Where no floor takes part."""
    benchmarks = rounds("import", "python", 1.0) + rounds("import", "netdevns native", 2.0)
    document = results.parsed(raw(benchmarks), "a")
    assert {(each.contestant, each.against) for each in compare.changes(document, document)} == {
        ("netdevns native", "python")
    }


def test_different_kernels_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CPU time is left out where one has none; the CPU of User Mode Linux is no difference."""
    assert compare.main(two(tmp_path, raw(), raw(kernel="6.12.1", uml=True, cores=1))) == 0
    out = capsys.readouterr().out
    assert "two kernels: Linux 6.18.44 and UML 6.12.1; only ratios to the floor can be compared\n" in out
    assert "two machines" not in out
    assert "CPU" not in out


def test_different_machines_are_reported() -> None:
    """By their CPU, processors and ticks; other versions are no other machine."""
    one, other = (results.parsed(raw(cores=cores, python=str(cores)), "a") for cores in (2, 4))
    assert compare.differences(one, other) == ["two machines: processors 2 and 4; a difference may be theirs"]


def test_different_work_is_reported() -> None:
    """A scenario of the same name, but of another size."""
    one, other = (
        results.parsed(raw(rounds("batch-1", "floor plain", 1.0, devices=devices)), "a") for devices in (1, 2)
    )
    assert compare.differences(one, other) == ["not the same work: batch-1"]
    assert compare.differences(one, one) == []


def test_what_only_one_has_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A scenario, a contestant, rounds that lost something."""
    floor = rounds("batch-1", "floor plain", 1.0)
    lost = rounds("batch-1", "go", 1.0, verified=False, why="lost")
    one = [*floor, *rounds("batch-1", "go", 1.0), *rounds("batch-10", "go", 1.0)]
    assert compare.main(two(tmp_path, raw(one), raw(floor + lost))) == 0
    out = capsys.readouterr().out
    assert "only in a.json: batch-1 of go, batch-10\n" in out
    assert "b.json: batch-1, go: 5 not used: lost\n" in out
    assert out.endswith("0 compared, 0 changed by more than the spread of the rounds\n")


@pytest.mark.parametrize("command", [compare.main, summary.main])
def test_file_that_is_no_document(command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit code 2, no table."""
    good = str(written(tmp_path, "a.json", raw()))
    bad = str(written(tmp_path, "b.json", {"x": 1}))
    assert command([good, bad]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{bad}: no document of tools/bench\n")


# ---- summary ----


def test_summary_has_all_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each scenario, the costs, the crowd, the targets, and what was thrown out."""
    lost = rounds("batch-1", "pyroute2", 1.0, verified=False, why="an address is missing")
    document = raw(
        [*raw()["benchmarks"], *[{**each, "extra_info": {**each["extra_info"], "round": 9}} for each in lost]]
    )
    assert summary.main([str(written(tmp_path, "a.json", document))]) == 0
    out = capsys.readouterr().out
    for title in ("batch-60", "addresses-10000", "what one more costs", "a crowd"):
        assert f"Linux 6.18.44: {title}" in out
    assert "µs per address" in out
    assert re.search(r"^\d+ targets were not measured here$", out, re.MULTILINE)
    assert "Linux 6.18.44: batch-1, pyroute2: 5 not used: an address is missing\n" in out


def test_summary_in_json_has_quartiles_and_extremes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of each pair."""
    benchmarks = rounds("batch-1", "floor plain", 1.0) + rounds("batch-1", "go", 2.0)
    assert summary.main([str(written(tmp_path, "a.json", raw(benchmarks))), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (document,) = found["documents"]
    ratio = next(each for each in document["ratios"] if each["contestant"] == "go" and each["metric"] == "wall")
    assert (ratio["against"], ratio["rounds"]) == ("floor plain", 5)
    assert {ratio[key] for key in ("median", "q1", "q3", "min", "max")} == {2.0}
    assert {each["reached"] for each in found["targets"]} == {None}


def test_table_without_rich() -> None:
    """Columns of their own width, no spaces at the end."""
    assert summary.plain(Table(["a", "long"], [["value", "x"]])) == "a      long\nvalue  x"


def test_summary_without_rich(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an extra: the same cells in columns of their own width."""
    monkeypatch.setitem(sys.modules, "rich", None)
    benchmarks = rounds("batch-1", "floor plain", 1.0) + rounds("batch-1", "go", 2.0)
    assert summary.main([str(written(tmp_path, "a.json", raw(benchmarks)))]) == 0
    out = capsys.readouterr().out
    assert "\nLinux 6.18.44: batch-1\ncontestant   wall, ms  CPU, ms  wall / floor plain" in out
    assert re.search(r"^go +2,000 +1,000 +2\.00 \(2\.00 to 2\.00\) +2\.00 \(2\.00 to 2\.00\)$", out, re.MULTILINE)


# ---- tools/bench ----


@pytest.mark.parametrize("word", ["compare", "page"])
def test_one_command_has_them_all(word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not asked of the suite itself."""
    files = two(tmp_path, {}, {})
    assert command.main([word, *files]) == 2
    assert capsys.readouterr().err.endswith("no document of tools/bench\n")


def test_go_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, its build reports that with exit code 3; another one is a failure."""
    monkeypatch.setattr(build, "TOP", tmp_path)
    monkeypatch.setattr(build, "GO_PEER", tmp_path / "go-peer")
    script = tmp_path / "bench/go/build"
    script.parent.mkdir(parents=True)
    (script.parent / "main.go").touch()
    script.write_text("#!/bin/sh\necho no Go >&2; exit 3\n")
    script.chmod(0o755)
    assert build.go_peer() == "no Go"
    script.write_text("#!/bin/sh\necho no type >&2; exit 1\n")
    with pytest.raises(subprocess.CalledProcessError):
        build.go_peer()


def test_startup(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each variant starts, and ends with exit code 0."""
    monkeypatch.setattr(startup, "ROUNDS", 1)
    assert startup.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:30].strip() for line in lines] == [*startup.VARIANTS]
